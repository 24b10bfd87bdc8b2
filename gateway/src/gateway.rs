//! The gateway as the outside sees it.

use crate::app::App;
use crate::config::GatewayConfig;
use crate::error::Problem;
use crate::payment::PaymentProvider;
use crate::routes;
use crate::tokens::Role;
use axum::Router;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{
    CreateOrganisation, DirectoryAnswer, DirectoryCommand, DirectoryQuery, OrganisationId, Outcome, RequestId, UserId,
};
use vestibule_raft::cluster::{Cluster, Consistency};
use vestibule_raft::seams::{Clock, IdSource};

/// One gateway. Cloning gives another handle on the same one. It lives in a tokio runtime.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) app: Arc<App>,
}

/// Why a gateway could not do what its own process asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct GatewayError {
    /// The stable name of the reason, as in a problem.
    pub code: String,
    /// The reason in words.
    pub detail: String,
}

impl From<Problem> for GatewayError {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code().to_owned(), detail: problem.detail().to_owned() }
    }
}

/// An access token of an organiser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizerToken {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// How long it lives.
    pub expires_in: Duration,
    /// The organisation it acts for.
    pub organisation: OrganisationId,
}

impl Gateway {
    /// A gateway to `cluster`. It asks nothing of the cluster before the first request.
    pub fn new(
        config: GatewayConfig,
        cluster: Arc<dyn Cluster>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Self {
        Self::with_payments(config, cluster, clock, ids, Arc::new(crate::Sandbox))
    }

    /// A gateway whose payments go through `payments`.
    pub fn with_payments(
        config: GatewayConfig,
        cluster: Arc<dyn Cluster>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        payments: Arc<dyn PaymentProvider>,
    ) -> Self {
        Self { app: Arc::new(App::new(config, cluster, clock, ids, payments)) }
    }

    /// Everything it serves, without a socket.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.app))
    }

    /// Begins to load the token keys, so that the first request need not wait for them, and goes on until they are there.
    pub(crate) fn load_keys(&self) {
        let tokens = Arc::downgrade(&self.app.tokens);
        tokio::spawn(async move {
            let mut pause = Duration::from_millis(50);
            while let Some(tokens) = tokens.upgrade() {
                if tokens.ring().await.is_ok() {
                    return;
                }
                drop(tokens);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        });
    }

    /// The access token of an organiser of the organisation called `name`, which is made if there is none. The subject
    /// follows from the name, so that every such token is the same organiser.
    ///
    /// For whoever runs the cluster (`demo`, `ctl token`): it asks for no credentials. Bounded by the patience of the
    /// configuration.
    pub async fn organizer_token(&self, name: &str) -> Result<OrganizerToken, GatewayError> {
        let digest = Sha256::digest(format!("organizer\0{name}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        let user = UserId(u128::from_be_bytes(bytes));
        let organisation = self.organisation(name, user).await?;
        let (token, secs) = self.app.tokens.access(user, Role::Organizer, Some(organisation)).await?;
        Ok(OrganizerToken { token, expires_in: Duration::from_secs(secs), organisation })
    }

    async fn organisation(&self, name: &str, by: UserId) -> Result<OrganisationId, Problem> {
        let query = DirectoryQuery::Organisations;
        let answer = self.app.backend.ask_directory(&query, Consistency::Linearizable).await?;
        if let DirectoryAnswer::Organisations(organisations) = answer
            && let Some(found) = organisations.iter().find(|organisation| organisation.name == name)
        {
            return Ok(found.organisation);
        }
        // Two who ask at once are one request.
        let command = DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: name.to_owned() });
        let applied = self.app.backend.directory(RequestId(by.0), command).await?;
        match applied.outcome()? {
            Outcome::OrganisationCreated { organisation } => Ok(organisation),
            other => Err(Problem::internal(format!("making an organisation gave {other:?}"))),
        }
    }
}

//! Tokens: who somebody is, which ticket is theirs, and that they were admitted.
//!
//! Three kinds, told apart by audience, each signed by keys of one algorithm:
//!
//! | Kind      | `aud`                 | Algorithm | Says |
//! |-----------|-----------------------|-----------|------|
//! | access    | `vestibule`           | RS256     | who it is, in which role, of which organisation |
//! | ticket    | `vestibule:ticket`    | EdDSA     | this ticket is theirs |
//! | admission | `vestibule:admission` | EdDSA     | this ticket was admitted, until `exp` |
//!
//! A token opens doors of the gateway only: the state machine asks for itself whether a buyer is admitted.

mod ring;
mod verify;

use crate::app::Heavy;
use crate::backend::Backend;
use crate::config::GatewayConfig;
use crate::error::Problem;
use crate::wire;
use parking_lot::RwLock;
pub(crate) use ring::{KeyRing, make_keys};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
pub(crate) use verify::TokenFault;
use vestibule_engine::{
    DirectoryAnswer, DirectoryCommand, DirectoryQuery, OrganisationId, Outcome, PutTokenKeys, RequestId, ShowtimeId,
    TicketNumber, Timestamp, UserId,
};
use vestibule_raft::cluster::Consistency;
use vestibule_raft::seams::{Clock, IdSource};

/// The audience of access tokens.
pub(crate) const ACCESS: &str = "vestibule";
/// The audience of ticket tokens.
pub(crate) const TICKET: &str = "vestibule:ticket";
/// The audience of admission tokens.
pub(crate) const ADMISSION: &str = "vestibule:admission";

/// How old the known keys may be before they are asked for again, on the side.
const KEYS_AGE_MAX: Duration = Duration::from_secs(60);
/// An unknown `kid` asks for the keys at most this often.
const RELOAD_PAUSE: Duration = Duration::from_secs(2);

/// What a role may do, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Guest,
    Customer,
    Staff,
    Organizer,
    Admin,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Customer => "customer",
            Self::Staff => "staff",
            Self::Organizer => "organizer",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Guest, Self::Customer, Self::Staff, Self::Organizer, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// What a token that holds says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Who it is.
    Access { role: Role, organisation: Option<OrganisationId> },
    /// This ticket is theirs. `position` is the log index at which they joined.
    Ticket { showtime: ShowtimeId, number: TicketNumber, position: u64 },
    /// This ticket was admitted.
    Admission { showtime: ShowtimeId, number: TicketNumber },
}

/// Whoever asks, as their token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) user: UserId,
    pub(crate) grant: Grant,
}

/// The claims as they stand in a token. An unknown claim, or one twice, is refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) sub: String,
    pub(crate) exp: u64,
    pub(crate) nbf: u64,
    pub(crate) iat: u64,
    pub(crate) jti: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) org: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) showtime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ticket: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u64>,
}

/// Issues and checks tokens with the keys that all gateways share through the directory.
pub(crate) struct Tokens {
    backend: Backend,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    config: Arc<GatewayConfig>,
    known: RwLock<Option<Known>>,
    loading: Mutex<()>,
    refreshing: AtomicBool,
    heavy: Heavy,
}

#[derive(Clone)]
struct Known {
    ring: Arc<KeyRing>,
    loaded_at: Instant,
}

impl Tokens {
    pub(crate) fn new(
        backend: Backend,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        config: Arc<GatewayConfig>,
        heavy: Heavy,
    ) -> Self {
        Self {
            backend,
            clock,
            ids,
            config,
            known: RwLock::new(None),
            loading: Mutex::new(()),
            refreshing: AtomicBool::new(false),
            heavy,
        }
    }

    /// The keys, loaded at the first call. Keys that are a while old are asked for again on the side.
    pub(crate) async fn ring(self: &Arc<Self>) -> Result<Arc<KeyRing>, Problem> {
        let known = self.known.read().clone();
        let Some(known) = known else {
            return self.load(None).await;
        };
        if known.loaded_at.elapsed() > KEYS_AGE_MAX && !self.refreshing.swap(true, Ordering::AcqRel) {
            let tokens = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(problem) = tokens.load(Some(known.loaded_at)).await {
                    tracing::warn!(code = problem.code(), "the token keys cannot be refreshed");
                }
                tokens.refreshing.store(false, Ordering::Release);
            });
        }
        Ok(known.ring)
    }

    /// Asks the directory for the keys, unless somebody else has done so since `seen`.
    async fn load(&self, seen: Option<Instant>) -> Result<Arc<KeyRing>, Problem> {
        let _one_at_a_time = self.loading.lock().await;
        if let Some(known) = self.known.read().clone()
            && seen != Some(known.loaded_at)
        {
            return Ok(known.ring);
        }
        let mut keys = Vec::new();
        for consistency in [Consistency::AppliedMin(0), Consistency::Linearizable] {
            if let DirectoryAnswer::TokenKeys { keys: found, .. } =
                self.backend.ask_directory(&DirectoryQuery::TokenKeys, consistency).await?
            {
                keys = found;
            }
            if !keys.is_empty() {
                break;
            }
        }
        if keys.is_empty() {
            keys = match &self.config.first_token_keys {
                Some(keys) => keys.clone(),
                None => {
                    let now = self.clock.now();
                    self.heavy.run(move || make_keys(now)).await?.map_err(Problem::internal)?
                }
            };
            let command = DirectoryCommand::PutTokenKeys(PutTokenKeys { keys });
            let applied = self.backend.directory(RequestId(self.ids.draw()), command).await?;
            keys = match applied.outcome()? {
                Outcome::TokenKeys { keys, .. } => keys,
                other => return Err(Problem::internal(format!("installing token keys gave {other:?}"))),
            };
        }
        let ring = Arc::new(KeyRing::new(&keys).map_err(Problem::internal)?);
        *self.known.write() = Some(Known { ring: Arc::clone(&ring), loaded_at: Instant::now() });
        Ok(ring)
    }

    /// Whose token this is, if it holds.
    pub(crate) async fn verify(self: &Arc<Self>, token: &str) -> Result<Caller, Problem> {
        let ring = self.ring().await?;
        let fault = match self.check(&ring, token) {
            Ok(caller) => return Ok(caller),
            Err(fault) => fault,
        };
        // Another gateway may have installed a key since.
        let known = self.known.read().clone();
        if fault == TokenFault::UnknownKey
            && let Some(known) = known
            && known.loaded_at.elapsed() > RELOAD_PAUSE
        {
            let ring = self.load(Some(known.loaded_at)).await?;
            return self.check(&ring, token).map_err(|fault| fault.problem());
        }
        Err(fault.problem())
    }

    fn check(&self, ring: &KeyRing, token: &str) -> Result<Caller, TokenFault> {
        verify::verify(token, ring, &self.config.issuer, self.clock.now(), self.config.token_leeway)
    }

    /// An access token and how many seconds it lives.
    pub(crate) async fn access(
        self: &Arc<Self>,
        user: UserId,
        role: Role,
        organisation: Option<OrganisationId>,
    ) -> Result<(String, u64), Problem> {
        let ring = self.ring().await?;
        let lives_secs = self.config.access_ttl.as_secs();
        let mut claims = self.claims(ACCESS, user, self.now_secs().saturating_add(lives_secs));
        claims.role = Some(role.as_str().to_owned());
        claims.org = organisation.map(|organisation| organisation.to_string());
        let token = self.heavy.run(move || ring.sign_access(&claims)).await?;
        Ok((token.map_err(Problem::internal)?, lives_secs))
    }

    /// A token that says whose ticket it is.
    pub(crate) async fn ticket(
        self: &Arc<Self>,
        user: UserId,
        showtime: ShowtimeId,
        number: TicketNumber,
        position: u64,
    ) -> Result<String, Problem> {
        let exp = self.now_secs().saturating_add(self.config.ticket_token_ttl.as_secs());
        let mut claims = self.claims(TICKET, user, exp);
        claims.position = Some(position);
        self.sign_for_ticket(claims, showtime, number).await
    }

    /// A token that says that a ticket was admitted.
    pub(crate) async fn admission(
        self: &Arc<Self>,
        user: UserId,
        showtime: ShowtimeId,
        number: TicketNumber,
        expires_at: Timestamp,
    ) -> Result<String, Problem> {
        let claims = self.claims(ADMISSION, user, expires_at.0.div_ceil(1_000));
        self.sign_for_ticket(claims, showtime, number).await
    }

    async fn sign_for_ticket(
        self: &Arc<Self>,
        mut claims: Claims,
        showtime: ShowtimeId,
        number: TicketNumber,
    ) -> Result<String, Problem> {
        claims.showtime = Some(showtime.to_string());
        claims.ticket = Some(number.0);
        self.ring().await?.sign_ticket(&claims).map_err(Problem::internal)
    }

    fn claims(&self, audience: &str, user: UserId, exp: u64) -> Claims {
        let now = self.now_secs();
        Claims {
            iss: self.config.issuer.clone(),
            aud: audience.to_owned(),
            sub: user.to_string(),
            exp,
            nbf: now,
            iat: now,
            jti: wire::hex(&self.ids.draw().to_be_bytes()),
            role: None,
            org: None,
            showtime: None,
            ticket: None,
            position: None,
        }
    }

    fn now_secs(&self) -> u64 {
        self.clock.now().0 / 1_000
    }
}

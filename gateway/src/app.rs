//! Everything that handlers share.

use crate::backend::Backend;
use crate::config::{GatewayConfig, HeavyWork};
use crate::error::Problem;
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::payment::PaymentProvider;
use crate::tokens::Tokens;
use std::sync::Arc;
use tokio::sync::Semaphore;
use vestibule_raft::cluster::Cluster;
use vestibule_raft::seams::{Clock, IdSource};

pub(crate) struct App {
    pub(crate) config: Arc<GatewayConfig>,
    pub(crate) backend: Backend,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) mirror: Mirror,
    pub(crate) payments: Arc<dyn PaymentProvider>,
    pub(crate) metrics: Metrics,
    heavy: Heavy,
    /// Places for requests under way.
    pub(crate) places: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(
        config: GatewayConfig,
        cluster: Arc<dyn Cluster>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        payments: Arc<dyn PaymentProvider>,
    ) -> Self {
        let config = Arc::new(config);
        let metrics = Metrics::new();
        let backend = Backend::new(cluster, metrics.clone(), config.write_patience, config.read_patience);
        let heavy = Heavy::new(config.heavy_work);
        let tokens =
            Tokens::new(backend.clone(), Arc::clone(&clock), Arc::clone(&ids), Arc::clone(&config), heavy.clone());
        Self {
            mirror: Mirror::new(backend.clone(), Arc::clone(&config), metrics.clone()),
            heavy,
            tokens: Arc::new(tokens),
            payments,
            places: Arc::new(Semaphore::new(config.requests_max.min(Semaphore::MAX_PERMITS))),
            config,
            backend,
            clock,
            ids,
            metrics,
        }
    }
}

impl App {
    /// Does work that would hold up other requests.
    pub(crate) async fn heavy<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.heavy.run(work).await
    }
}

/// Does heavy work where the configuration wants it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Heavy {
    /// Nothing where work is done inline.
    permits: Option<Arc<Semaphore>>,
}

impl Heavy {
    fn new(config: HeavyWork) -> Self {
        let permits = match config {
            HeavyWork::Pool(count) => Some(Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)))),
            HeavyWork::Inline => None,
        };
        Self { permits }
    }

    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let Some(permits) = &self.permits else {
            return Ok(work());
        };
        // The permit goes along, so that a caller who stops waiting does not make room for more.
        let permit = Arc::clone(permits).acquire_owned().await.map_err(Problem::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(Problem::internal)
    }
}

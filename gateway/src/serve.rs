//! Serves connections: bounded heads, bounded numbers, bounded patience with those who do not read, a graceful end.

use crate::Gateway;
use crate::begun::Begun;
use crate::write_timeout::WriteTimeout;
use axum::serve::Listener;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;
use vestibule_engine::planted::{self, Bug};

/// The most header lines of a request.
const HEADERS_MAX: usize = 64;
/// The longest head of a request, in bytes.
const HEAD_LEN_MAX: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Silent HTTP/2 connections are asked whether they live.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Serves `gateway` on `listener` until `shutdown` is done. Then accepts nothing more, lets requests under way finish for
/// [`drain_timeout`](crate::GatewayConfig::drain_timeout), cuts what is left, and returns.
pub async fn serve<L: Listener>(listener: L, gateway: Gateway, shutdown: impl Future<Output = ()>) {
    let mut listener = listener;
    let config = Arc::clone(&gateway.app.config);
    let router = gateway.router();
    gateway.load_keys();
    let places = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_LEN_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(KEEP_ALIVE);
    let graceful = GracefulShutdown::new();
    // Connections that are still open when the patience with them ends are cut.
    let (cut, uncut) = watch::channel(());

    let mut shutdown = pin!(shutdown);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut shutdown => break,
        };
        let Ok(place) = place else { break };
        let io = tokio::select! {
            (io, _) = listener.accept() => io,
            () = &mut shutdown => break,
        };
        let service = router.clone().map_request(|request: Request<Incoming>| request.map(axum::body::Body::new));
        let io = Begun::new(WriteTimeout::new(io, config.write_timeout));
        let has_begun = io.flag();
        let head_timeout = config.head_timeout;
        let silent = async move {
            tokio::time::sleep(head_timeout).await;
            if has_begun.load(Ordering::Relaxed) || planted::is(Bug::AwaitSilent) {
                // From here on hyper has an eye on the time.
                std::future::pending::<()>().await;
            }
        };
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), TowerToHyperService::new(service));
        let connection = graceful.watch(connection.into_owned());
        let counted = gateway.app.metrics.connected();
        let mut uncut = uncut.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection ended badly");
                    }
                }
                _ = uncut.changed() => {}
                () = silent => tracing::debug!("a connection did not begin in time"),
            }
            drop((counted, place));
        });
    }
    drop(listener);
    if tokio::time::timeout(config.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::info!("requests were still under way when the gateway stopped");
    }
    drop(cut);
}

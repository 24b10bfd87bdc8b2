//! What a node tells whoever watches over it: `GET /metrics`, `/health/live` and `/health/ready`.

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpListener;
use vestibule_raft::metrics::NodeMetrics;

/// The longest answer that `ctl health` reads, in bytes.
const ANSWER_LEN_MAX: usize = 64 << 10;

/// Serves the figures of a node until the process ends. They say nothing of buyers and change nothing.
pub(crate) async fn serve(listener: TcpListener, metrics: NodeMetrics) {
    if let Err(error) = axum::serve(listener, router(metrics)).await {
        tracing::error!(%error, "the metrics are not served any more");
    }
}

fn router(metrics: NodeMetrics) -> Router {
    Router::new()
        .route("/metrics", get(figures))
        .route("/health/live", get(|| async { json(StatusCode::OK, &serde_json::json!({ "status": "live" })) }))
        .route("/health/ready", get(ready))
        .with_state(metrics)
}

async fn figures(State(metrics): State<NodeMetrics>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.render()).into_response()
}

/// Ready is a node that could answer for every group that it hosts, or say who does.
async fn ready(State(metrics): State<NodeMetrics>) -> Response {
    match metrics.not_ready() {
        None => json(StatusCode::OK, &serde_json::json!({ "status": "ready" })),
        Some(reason) => {
            let body = serde_json::json!({ "status": "not_ready", "reason": reason });
            json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `vestibule ctl health`: whether a URL answers with success, and what it says.
pub(crate) async fn health(url: &str, patience: Duration) -> anyhow::Result<ExitCode> {
    let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
    ensure!(
        uri.scheme_str() == Some("http") && uri.host().is_some(),
        "{url:?} is not of the form http://host:port/path"
    );
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<axum::body::Bytes>>();
    let asked = async {
        let answer = client.get(uri).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LEN_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        Ok::<_, anyhow::Error>((status, String::from_utf8_lossy(&body).into_owned()))
    };
    let (status, body) = tokio::time::timeout(patience, asked)
        .await
        .with_context(|| format!("{url} gave no answer in {patience:?}"))?
        .with_context(|| format!("{url} cannot be asked"))?;
    println!("{status} {body}");
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

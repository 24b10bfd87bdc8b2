//! Whether the gateway works, and how.

use super::json;
use crate::app::App;
use crate::error::Problem;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use vestibule_engine::DirectoryQuery;
use vestibule_raft::cluster::Consistency;

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Result<Response, Problem> {
    json(StatusCode::OK, &json!({"status": "live"}))
}

/// `GET /health/ready`: the token keys are there, and the directory has a leader that a majority follows.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let not_ready = |problem: Problem| Problem::unavailable("not_ready", format!("not ready: {}", problem.code()));
    app.tokens.ring().await.map_err(not_ready)?;
    let query = DirectoryQuery::Groups;
    app.backend.ask_directory(&query, Consistency::Linearizable).await.map_err(not_ready)?;
    json(StatusCode::OK, &json!({"status": "ready"}))
}

/// `GET /metrics`, in the text format of Prometheus.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.mirror.measure();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.render()).into_response()
}

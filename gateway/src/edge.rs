//! What every request passes on its way in and every answer on its way out.

use crate::app::App;
use crate::error::Problem;
use crate::wire;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};
use tokio::time::Instant;
use tracing::Instrument;
use vestibule_raft::cluster::on_behalf_of;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken over from outside.
const REQUEST_ID_LEN_MAX: usize = 64;

/// The route of requests that match none.
static NO_ROUTE: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("none"));

/// Gives the request an id, a place and a time limit; writes problems, logs and figures.
pub(crate) async fn edge(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(&app, request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let route = route.map_or_else(|| Arc::clone(&NO_ROUTE), Arc::from);
    let span = tracing::info_span!(
        "request",
        id = request_id.to_str().unwrap_or_default(),
        %method,
        route = &*route
    );

    let id: Arc<str> = request_id.to_str().unwrap_or_default().into();
    let mut response = on_behalf_of(id, handle(&app, request, next).instrument(span.clone())).await;

    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let bare = response;
        response = problem.render(request_id.to_str().unwrap_or_default());
        // What came with it, like `Allow`, stays.
        for (name, value) in bare.headers() {
            if !response.headers().contains_key(name) && *name != http::header::CONTENT_LENGTH {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
    response.headers_mut().insert(REQUEST_ID, request_id);
    let (status, took) = (response.status(), started.elapsed());
    app.metrics.answered(&method, &route, status.as_u16(), took);
    let _entered = span.enter();
    if status.is_server_error() {
        tracing::info!(status = status.as_u16(), micros = took.as_micros() as u64, "answered");
    } else {
        tracing::debug!(status = status.as_u16(), micros = took.as_micros() as u64, "answered");
    }
    response
}

async fn handle(app: &App, request: Request, next: Next) -> Response {
    let _counted = app.metrics.in_flight();
    let Ok(_place) = app.places.try_acquire() else {
        app.metrics.shed();
        return Problem::unavailable("overloaded", "too many requests are under way here").into_response();
    };
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(app.config.request_timeout, answer).await {
        Ok(Ok(response)) => plain_problem(response),
        Ok(Err(panic)) => {
            let what = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned());
            Problem::internal(format!("a handler panicked: {}", what.unwrap_or_default())).into_response()
        }
        Err(_) => {
            let detail = "the request took too long; what it asked for may happen yet";
            Problem::unavailable("outcome_unknown", detail).into_response()
        }
    }
}

/// Any refusal that is not a problem yet, from the parts of the router that do not know ours, becomes one.
fn plain_problem(response: Response) -> Response {
    let status = response.status();
    if response.extensions().get::<Problem>().is_some() || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        _ => "refused",
    };
    let detail = status.canonical_reason().unwrap_or("refused").to_lowercase();
    let mut problem = Problem::new(status, code, detail).into_response();
    problem.headers_mut().extend(response.headers().clone());
    problem
}

/// The id that came with the request, if it is fit to be one, or else a fresh one.
fn request_id(app: &App, headers: &HeaderMap) -> HeaderValue {
    let fit = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        (1..=REQUEST_ID_LEN_MAX).contains(&bytes.len()) && bytes.iter().all(plain)
    };
    headers.get(&REQUEST_ID).filter(fit).cloned().unwrap_or_else(|| {
        let id = wire::hex(&app.ids.draw().to_be_bytes());
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

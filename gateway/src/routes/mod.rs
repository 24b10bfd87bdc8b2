//! The calls of the contract, one file a noun.

mod auth;
mod events;
mod health;
mod holds;
mod orders;
mod queue;
mod seats;
mod showtimes;
mod venues;

use crate::app::App;
use crate::edge::edge;
use crate::error::Problem;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use std::sync::Arc;

/// The whole contract.
pub(crate) fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/auth/guest", post(auth::guest))
        .route("/venues", post(venues::create))
        .route("/venues/{venue}/seatmap", get(venues::seat_map))
        .route("/events", get(events::list).post(events::create))
        .route("/events/{event}", get(events::show).patch(events::update).delete(events::delete))
        .route("/showtimes", post(showtimes::create))
        .route("/showtimes/{showtime}", get(showtimes::show))
        .route("/showtimes/{showtime}/sale", patch(showtimes::update_sale))
        .route("/showtimes/{showtime}/report", get(showtimes::report))
        .route("/showtimes/{showtime}/blocks", post(showtimes::block).delete(showtimes::unblock))
        .route("/showtimes/{showtime}/queue", get(queue::status))
        .route("/showtimes/{showtime}/queue/draw", get(queue::draw))
        .route("/showtimes/{showtime}/queue/pause", post(showtimes::pause_queue))
        .route("/showtimes/{showtime}/queue/resume", post(showtimes::resume_queue))
        .route("/showtimes/{showtime}/queue/open", post(showtimes::open_queue))
        .route("/showtimes/{showtime}/queue/close", post(showtimes::close_queue))
        .route("/showtimes/{showtime}/queue/beacon", post(showtimes::record_beacon))
        .route("/showtimes/{showtime}/queue/message", post(showtimes::set_queue_message))
        .route("/showtimes/{showtime}/queue/entries", post(queue::join))
        .route("/showtimes/{showtime}/queue/entries/{ticket}", get(queue::show).delete(queue::leave))
        .route("/showtimes/{showtime}/queue/entries/{ticket}/claim", post(queue::claim))
        .route("/showtimes/{showtime}/queue/entries/{ticket}/receipt", get(queue::receipt))
        .route("/showtimes/{showtime}/seats", get(seats::show))
        .route("/showtimes/{showtime}/holds", post(holds::create))
        .route("/holds/{hold}", get(holds::show).delete(holds::release))
        .route("/holds/{hold}/extend", post(holds::extend))
        .route("/orders", post(orders::create))
        .route("/orders/{order}", get(orders::show))
        .route("/orders/{order}/cancel", post(orders::cancel))
        .route("/orders/{order}/payments", post(orders::pay))
        .route("/orders/{order}/refunds", post(orders::refund));
    Router::new()
        .nest("/api/v1", api)
        .route("/.well-known/jwks.json", get(auth::jwks))
        .route("/.well-known/openid-configuration", get(auth::openid_configuration))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(|| async { Problem::not_found("not_found", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            let detail = "this path does not know this method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), edge))
        .with_state(app)
}

/// An answer of JSON that nobody else may keep.
fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(body).map_err(Problem::internal)?;
    Ok(json_bytes(status, Bytes::from(bytes), HeaderValue::from_static("no-store")))
}

/// An answer of JSON that is written already.
fn json_bytes(status: StatusCode, body: Bytes, cache_control: HeaderValue) -> Response {
    let headers =
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::CACHE_CONTROL, cache_control)];
    (status, headers, body).into_response()
}

/// Says so when the answer is a remembered one.
fn replayed(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// A command gave an outcome that does not belong to it.
fn unexpected(outcome: &vestibule_engine::Outcome) -> Problem {
    Problem::internal(format!("a command gave {outcome:?}"))
}

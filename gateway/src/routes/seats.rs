//! The seats, as buyers see them.

use super::json_bytes;
use crate::app::App;
use crate::error::Problem;
use crate::extract::{Id, Query};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use vestibule_engine::{Sequence, ShowtimeId};

/// `GET /showtimes/{id}/seats`, from memory.
///
/// With `?since=` the member `states` has only the seats that changed after that sequence, and `since` repeats it. Where
/// that is too long ago to tell, the answer is as without it: all seats, and `since` is `null`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id<ShowtimeId>,
    query: Query,
) -> Result<Response, Problem> {
    let since: Option<Sequence> = query.parsed("since")?;
    let showtime = app.mirror.seats(id).await?;
    showtime.caught_up().await;
    let body = showtime.seats_body(since);
    let body = body.ok_or_else(|| Problem::unavailable("unavailable", "the seats are not loaded yet"))?;
    Ok(json_bytes(StatusCode::OK, body, HeaderValue::from_static("no-cache")))
}

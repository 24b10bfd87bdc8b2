//! Venues and their layouts.

use super::{json, json_bytes, replayed, unexpected};
use crate::app::App;
use crate::error::Problem;
use crate::extract::{Id, IdempotencyKey, read_body, read_json};
use crate::tokens::Caller;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use vestibule_engine::plan::{ExtraArea, import_with_areas};
use vestibule_engine::{CreateVenue, DirectoryCommand, Outcome, VenueId};

/// The body of `POST /venues`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VenueInput {
    name: String,
    city: String,
    country: String,
    plan: Box<RawValue>,
    #[serde(default)]
    areas: Vec<ExtraArea>,
}

/// `POST /venues`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    key: IdempotencyKey,
    request: Request,
) -> Result<Response, Problem> {
    let organiser = caller.organiser()?;
    let organisation = organiser.organisation()?;
    let body = read_body(request, &app, app.config.plan_len_max).await?;
    let (input, map) = app
        .heavy(move || {
            let input: VenueInput = read_json(&body)?;
            let map = import_with_areas(input.plan.get().as_bytes(), &input.areas).map_err(|error| {
                let path = match error.path.as_str() {
                    "plan" => error.path.clone(),
                    path if path.starts_with("areas[") => error.path.clone(),
                    path => format!("plan.{path}"),
                };
                Problem::unprocessable("invalid_plan", format!("{path}: {}", error.reason)).with("path", path)
            })?;
            Ok::<_, Problem>((input, map))
        })
        .await??;
    let map = Arc::new(map);
    let VenueInput { name, city, country, .. } = input;
    let by = organiser.user;
    let command = CreateVenue { by, organisation, name, city, country, map: Arc::clone(&map) };
    let applied = app.backend.directory(key.request(&app, by), DirectoryCommand::CreateVenue(command)).await?;
    let was_replayed = applied.replayed;
    let (venue, version) = match applied.outcome()? {
        Outcome::VenueCreated { venue, version } => (venue, version),
        other => return Err(unexpected(&other)),
    };
    let category = |id| map.category(id).map(|category| category.name.as_str());
    let areas = map.areas.iter();
    let areas = areas.map(|a| json!({"name": a.name, "capacity": a.capacity, "category": category(a.category)}));
    let body = json!({
        "venueId": venue.to_string(),
        "version": version,
        "seats": map.seat_count(),
        "areas": areas.collect::<Vec<_>>(),
        "categories": map.categories.iter().map(|category| category.name.as_str()).collect::<Vec<_>>(),
    });
    Ok(replayed(json(StatusCode::CREATED, &body)?, was_replayed))
}

/// `GET /venues/{id}/seatmap`: for everybody; it never changes.
pub(super) async fn seat_map(
    State(app): State<Arc<App>>,
    Id(id): Id<VenueId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let layout = app.mirror.layout(id).await?;
    let cache = HeaderValue::from_static("public, max-age=60");
    let etag = HeaderValue::from_str(&layout.etag).map_err(Problem::internal)?;
    let mut response = if matches_etag(&headers, &layout.etag) {
        (StatusCode::NOT_MODIFIED, [(header::CACHE_CONTROL, cache)]).into_response()
    } else {
        json_bytes(StatusCode::OK, layout.body.clone(), cache)
    };
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

/// Whether `If-None-Match` names this tag, strong or weak.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

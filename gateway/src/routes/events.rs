//! The catalogue.

use super::{json, replayed, unexpected};
use crate::app::App;
use crate::error::Problem;
use crate::extract::{Body, Id, IdempotencyKey, NoBody, Organiser, Query};
use crate::tokens::Caller;
use crate::wire::{EventBody, Time, time_text};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use vestibule_engine::{
    CreateEvent, DeleteEvent, DirectoryAnswer, DirectoryCommand, DirectoryQuery, EventDetails, EventEntry, EventFilter,
    EventId, Outcome, ShowtimeState, UpdateEvent,
};
use vestibule_raft::cluster::Consistency;

/// The longest page.
const LIMIT_MAX: u32 = 1_000;

/// The body of `POST /events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventInput {
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    city: String,
    #[serde(default)]
    performers: Vec<String>,
}

/// `POST /events`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<EventInput>,
) -> Result<Response, Problem> {
    let organiser = caller.organiser()?;
    let EventInput { title, description, category, city, performers } = input;
    let details = EventDetails { title, description, category, city, performers };
    let (by, organisation) = (organiser.user, organiser.organisation()?);
    let command = DirectoryCommand::CreateEvent(CreateEvent { by, organisation, details });
    let applied = app.backend.directory(key.request(&app, by), command).await?;
    let was_replayed = applied.replayed;
    match applied.outcome()? {
        Outcome::EventStored { event, version } => {
            let body = json!({"eventId": event.to_string(), "version": version});
            Ok(replayed(with_version(json(StatusCode::CREATED, &body)?, version), was_replayed))
        }
        other => Err(unexpected(&other)),
    }
}

/// Any part of an event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventPatch {
    title: Option<String>,
    description: Option<String>,
    category: Option<String>,
    city: Option<String>,
    performers: Option<Vec<String>>,
}

/// `PATCH /events/{id}`; `If-Match` guards against a change in between.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    Id(id): Id<EventId>,
    caller: Caller,
    key: IdempotencyKey,
    headers: HeaderMap,
    Body(patch): Body<EventPatch>,
) -> Result<Response, Problem> {
    let organiser = owner_of(&app, id, caller).await?;
    let EventPatch { title, description, category, city, performers } = patch;
    let (by, expected_version) = (organiser.user, expected_version(&headers)?);
    let command = UpdateEvent { by, event: id, expected_version, title, description, category, city, performers };
    let applied = app.backend.directory(key.request(&app, by), DirectoryCommand::UpdateEvent(command)).await?;
    let was_replayed = applied.replayed;
    applied.outcome()?;
    let event = find(&app, id, Consistency::Linearizable).await?.ok_or_else(no_such_event)?;
    let response = json(StatusCode::OK, &EventBody::new(&event))?;
    Ok(replayed(with_version(response, event.version), was_replayed))
}

/// `DELETE /events/{id}`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Id(id): Id<EventId>,
    caller: Caller,
    key: IdempotencyKey,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Response, Problem> {
    let organiser = owner_of(&app, id, caller).await?;
    let (by, expected_version) = (organiser.user, expected_version(&headers)?);
    let command = DirectoryCommand::DeleteEvent(DeleteEvent { by, event: id, expected_version });
    let applied = app.backend.directory(key.request(&app, by), command).await?;
    let was_replayed = applied.replayed;
    applied.outcome()?;
    Ok(replayed(StatusCode::NO_CONTENT.into_response(), was_replayed))
}

/// `GET /events`
pub(super) async fn list(State(app): State<Arc<App>>, query: Query) -> Result<Response, Problem> {
    let limit = query.parsed("limit")?.unwrap_or(50);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::malformed(format!("limit is not between 1 and {LIMIT_MAX}")).with("field", "limit"));
    }
    let text = |name: &str| query.text(name).map(str::to_owned);
    let filter = EventFilter {
        organisation: None,
        text: text("q"),
        city: text("city"),
        category: text("category"),
        from: query.time("from")?,
        to: query.time("to")?,
        after: query.parsed("cursor")?,
        limit,
    };
    let answer = app.backend.ask_directory(&DirectoryQuery::Events(filter), Consistency::AppliedMin(0)).await?;
    let DirectoryAnswer::Events { events, next } = answer else {
        return Err(Problem::internal("asking for events gave something else"));
    };
    let items: Vec<EventBody<'_>> = events.iter().map(EventBody::new).collect();
    json(StatusCode::OK, &json!({"items": items, "nextCursor": next.map(|next| next.to_string())}))
}

/// `GET /events/{id}`, with its showtimes.
pub(super) async fn show(State(app): State<Arc<App>>, Id(id): Id<EventId>) -> Result<Response, Problem> {
    let pick = |answer| match answer {
        DirectoryAnswer::Event(event) => event,
        _ => None,
    };
    let found = app.backend.find_in_directory(&DirectoryQuery::Event(id), pick).await?;
    let (event, position) = found.ok_or_else(no_such_event)?;
    let (query, consistency) = (DirectoryQuery::Showtimes(id), Consistency::AppliedMin(position.index));
    let DirectoryAnswer::Showtimes(showtimes) = app.backend.ask_directory(&query, consistency).await? else {
        return Err(Problem::internal("asking for showtimes gave something else"));
    };
    let showtimes: Vec<Value> = showtimes
        .iter()
        .filter(|showtime| showtime.state != ShowtimeState::Provisioning)
        .map(|showtime| {
            json!({
                "showtimeId": showtime.showtime.to_string(),
                "venueId": showtime.venue.to_string(),
                "startsAt": time_text(showtime.starts_at),
                "opensAt": showtime.sale.opens_at.map(Time),
                "state": showtime.state.as_str(),
            })
        })
        .collect();
    let mut body = serde_json::to_value(EventBody::new(&event)).map_err(Problem::internal)?;
    if let Value::Object(body) = &mut body {
        body.insert("showtimes".to_owned(), showtimes.into());
    }
    Ok(with_version(json(StatusCode::OK, &body)?, event.version))
}

pub(super) async fn find(app: &App, id: EventId, consistency: Consistency) -> Result<Option<Box<EventEntry>>, Problem> {
    match app.backend.ask_directory(&DirectoryQuery::Event(id), consistency).await? {
        DirectoryAnswer::Event(event) => Ok(event),
        _ => Err(Problem::internal("asking for an event gave something else")),
    }
}

async fn owner_of(app: &App, id: EventId, caller: Caller) -> Result<Organiser, Problem> {
    let organiser = caller.organiser()?;
    let event = find(app, id, Consistency::Linearizable).await?.ok_or_else(no_such_event)?;
    organiser.must_own(event.organisation)?;
    Ok(organiser)
}

/// The version that `If-Match` wants, as `ETag` gave it.
fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Problem::malformed("If-Match is not an ETag of an event").with("field", "If-Match"))
}

fn with_version(mut response: Response, version: u64) -> Response {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

pub(super) fn no_such_event() -> Problem {
    Problem::not_found("no_such_event", "there is no such event")
}

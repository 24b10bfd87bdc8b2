//! Holds: seats kept for a buyer for a while.

use super::{json, replayed, unexpected};
use crate::app::App;
use crate::error::Problem;
use crate::extract::{Body, Id, IdempotencyKey, NoBody};
use crate::layout::Layout;
use crate::mirror::Showtime;
use crate::tokens::{Caller, Grant};
use crate::wire::HoldBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use vestibule_engine::{
    BestSeats, ExtendHold, HoldAnswer, HoldId, HoldSeats, HoldView, Outcome, ReleaseHold, SeatChoice, SeatId,
    ShardAnswer, ShardCommand, ShardQuery, ShowtimeId,
};
use vestibule_raft::cluster::Consistency;

/// The most seats that a request may name. No sale lets one hold take more than a tenth of it.
const SEATS_NAMED_MAX: usize = 1_000;

/// Exactly one of `seats`, `best`, or `area` with `quantity`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldInput {
    seats: Option<Vec<String>>,
    best: Option<BestInput>,
    area: Option<String>,
    quantity: Option<u32>,
    channel: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BestInput {
    quantity: u32,
    category: Option<String>,
    section: Option<String>,
    #[serde(default)]
    accessible: bool,
    #[serde(default)]
    companion: bool,
    #[serde(default)]
    together: bool,
}

impl HoldInput {
    fn choice(self, layout: &Layout) -> Result<SeatChoice, Problem> {
        match (self.seats, self.best, self.area, self.quantity) {
            (Some(labels), None, None, None) => seat_ids(&labels, layout).map(SeatChoice::Named),
            (None, Some(best), None, None) => Ok(SeatChoice::Best(BestSeats {
                quantity: best.quantity,
                category: best.category,
                section: best.section,
                accessible: best.accessible,
                companion: best.companion,
                together: best.together,
            })),
            (None, None, Some(area), Some(quantity)) => {
                let no_such_area = || {
                    let detail = format!("there is no area called {area:?}");
                    Problem::unprocessable("no_such_area", detail).with("area", area.as_str())
                };
                Ok(SeatChoice::Area { area: layout.map.area_id(&area).ok_or_else(no_such_area)?, quantity })
            }
            _ => Err(Problem::malformed("exactly one of seats, best, or area with quantity is needed")),
        }
    }
}

/// The seats that people call so.
pub(super) fn seat_ids(labels: &[String], layout: &Layout) -> Result<Vec<SeatId>, Problem> {
    let (mut seats, mut unknown) = (Vec::with_capacity(labels.len()), Vec::new());
    for label in labels {
        match layout.index.seat_id(label) {
            Some(seat) => seats.push(seat),
            None => unknown.push(label.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(seats);
    }
    unknown.truncate(SEATS_NAMED_MAX);
    let detail = format!("{} of the seats do not exist here", unknown.len());
    Err(Problem::unprocessable("no_such_seat", detail).with("seats", unknown))
}

/// `POST /showtimes/{id}/holds`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Id(id): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<HoldInput>,
) -> Result<Response, Problem> {
    key.required()?;
    let ticket = match caller.grant {
        Grant::Admission { showtime, number } if showtime == id => Some(number),
        Grant::Admission { .. } => {
            return Err(Problem::forbidden("not_admitted", "this admission is to another showtime"));
        }
        // Without a ticket the engine only lets somebody in where there is no line.
        Grant::Access { .. } => None,
        Grant::Ticket { .. } => {
            return Err(Problem::forbidden("not_admitted", "holding needs the admission token: claim it first"));
        }
    };
    let user = caller.user;
    let showtime = app.mirror.showtime(id).await?;
    if input.seats.as_ref().is_some_and(|seats| seats.len() > SEATS_NAMED_MAX) {
        let detail = format!("one request names {SEATS_NAMED_MAX} seats at most");
        return Err(Problem::unprocessable("too_many_seats", detail).with("max", SEATS_NAMED_MAX));
    }
    let channel = input.channel.clone();
    let choice = input.choice(&showtime.layout)?;
    let command = ShardCommand::HoldSeats(HoldSeats { showtime: id, user, ticket, channel, choice });
    let applied = app.backend.shard(id.group(), key.request(&app, user), command).await?;
    let was_replayed = applied.replayed;
    match applied.result {
        Ok(Outcome::Held { hold }) => {
            if !was_replayed {
                app.mirror.hold_made(hold.hold, &showtime);
            }
            let body = HoldBody::new(&hold, &showtime.layout, &showtime.info.prices);
            Ok(replayed(json(StatusCode::CREATED, &body)?, was_replayed))
        }
        Ok(other) => Err(unexpected(&other)),
        Err(refusal) => Err(Problem::of_refusal(&refusal, Some(&showtime.layout)).replayed(was_replayed)),
    }
}

/// `GET /holds/{id}`
pub(super) async fn show(State(app): State<Arc<App>>, Id(id): Id<HoldId>, caller: Caller) -> Result<Response, Problem> {
    let user = caller.buyer()?;
    app.mirror.check_group(id.group(), no_such_hold).await?;
    let query = ShardQuery::Hold(id);
    let (answer, _) = app.backend.ask_shard(id.group(), &query, Consistency::Linearizable).await?;
    match answer {
        ShardAnswer::Hold(HoldAnswer::Live(hold)) if hold.user == user => {
            let showtime = app.mirror.showtime(hold.showtime).await?;
            hold_answer(StatusCode::OK, &hold, &showtime)
        }
        // Whose it was is not known any more, and what it held is told to nobody.
        ShardAnswer::Hold(HoldAnswer::Gone) => {
            Err(Problem::new(StatusCode::GONE, "hold_gone", "the hold has expired, was released, or was bought"))
        }
        _ => Err(no_such_hold()),
    }
}

/// `POST /holds/{id}/extend`
pub(super) async fn extend(
    State(app): State<Arc<App>>,
    Id(id): Id<HoldId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    let user = caller.buyer()?;
    app.mirror.check_group(id.group(), no_such_hold).await?;
    let command = ShardCommand::ExtendHold(ExtendHold { hold: id, user });
    let applied = app.backend.shard(id.group(), key.request(&app, user), command).await?;
    let was_replayed = applied.replayed;
    match applied.outcome()? {
        Outcome::Held { hold } => {
            let showtime = app.mirror.showtime(hold.showtime).await?;
            Ok(replayed(hold_answer(StatusCode::OK, &hold, &showtime)?, was_replayed))
        }
        other => Err(unexpected(&other)),
    }
}

/// `DELETE /holds/{id}`
pub(super) async fn release(
    State(app): State<Arc<App>>,
    Id(id): Id<HoldId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    let user = caller.buyer()?;
    app.mirror.check_group(id.group(), no_such_hold).await?;
    let command = ShardCommand::ReleaseHold(ReleaseHold { hold: id, user });
    let applied = app.backend.shard(id.group(), key.request(&app, user), command).await?;
    let was_replayed = applied.replayed;
    applied.outcome()?;
    if !was_replayed {
        app.mirror.hold_released(id);
    }
    Ok(replayed(StatusCode::NO_CONTENT.into_response(), was_replayed))
}

fn hold_answer(status: StatusCode, hold: &HoldView, showtime: &Showtime) -> Result<Response, Problem> {
    json(status, &HoldBody::new(hold, &showtime.layout, &showtime.info.prices))
}

fn no_such_hold() -> Problem {
    Problem::not_found("no_such_hold", "there is no such hold")
}

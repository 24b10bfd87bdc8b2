//! The line, as buyers meet it.

use super::{json, json_bytes, replayed, unexpected};
use crate::app::App;
use crate::error::Problem;
use crate::extract::{Id, IdempotencyKey, NoBody};
use crate::mirror::no_such_showtime;
use crate::tokens::{Caller, Grant};
use crate::wire::{TicketBody, Time, hex};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::sync::Arc;
use vestibule_engine::{
    ClaimAdmission, DrawBundle, JoinQueue, LeaveQueue, Millis, Outcome, ShardAnswer, ShardCommand, ShardQuery,
    ShowtimeId, TicketId, TicketState, TicketView,
};

/// `GET /showtimes/{id}/queue`: the same bytes for everybody.
pub(super) async fn status(State(app): State<Arc<App>>, Id(id): Id<ShowtimeId>) -> Result<Response, Problem> {
    let status = app.mirror.showtime(id).await?.status().await?;
    Ok(json_bytes(StatusCode::OK, status.body, HeaderValue::from_static("public, max-age=1")))
}

/// `POST /showtimes/{id}/queue/entries`
pub(super) async fn join(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    let user = caller.buyer()?;
    app.mirror.check_group(showtime.group(), no_such_showtime).await?;
    let command = ShardCommand::JoinQueue(JoinQueue { showtime, user });
    let applied = app.backend.shard(showtime.group(), key.request(&app, user), command).await?;
    let (position, was_replayed) = (applied.position, applied.replayed);
    let (ticket, joined) = match applied.outcome()? {
        Outcome::Queued { ticket, joined } => (ticket, joined),
        other => return Err(unexpected(&other)),
    };
    app.mirror.ticket_changed(TicketId { showtime, number: ticket.number }, position.index);
    let token = app.tokens.ticket(user, showtime, ticket.number, position.index).await?;
    let status = if joined { StatusCode::CREATED } else { StatusCode::OK };
    let body = TicketBody::new(&ticket, wait(&app, &ticket).await, Some(token));
    Ok(replayed(json(status, &body)?, was_replayed))
}

/// `GET /showtimes/{id}/queue/entries/{ticketId}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    Id(ticket): Id<TicketId>,
    caller: Caller,
) -> Result<Response, Problem> {
    let ticket = own_ticket(&app, showtime, ticket, caller).await?;
    json(StatusCode::OK, &TicketBody::new(&ticket, wait(&app, &ticket).await, None))
}

/// The caller's ticket, from any replica that has seen the last change of it that is known here.
async fn own_ticket(app: &App, showtime: ShowtimeId, ticket: TicketId, caller: Caller) -> Result<TicketView, Problem> {
    let user = in_line_of(showtime, ticket).and_then(|()| caller.holder_of(ticket))?;
    app.mirror.check_group(showtime.group(), no_such_ticket).await?;
    let joined_at = if let Grant::Ticket { position, .. } = caller.grant { position } else { 0 };
    let index = joined_at.max(app.mirror.ticket_position(ticket));
    let query = ShardQuery::Ticket { showtime, number: ticket.number };
    let pick = |answer| if let ShardAnswer::Ticket(ticket) = answer { ticket } else { None };
    let found = app.backend.find_in_shard(showtime.group(), &query, index, pick).await?;
    found.map(|(ticket, _)| ticket).filter(|ticket| ticket.user == user).ok_or_else(no_such_ticket)
}

/// `POST /showtimes/{id}/queue/entries/{ticketId}/claim`
pub(super) async fn claim(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    Id(ticket): Id<TicketId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    let user = in_line_of(showtime, ticket).and_then(|()| caller.holder_of(ticket))?;
    app.mirror.check_group(showtime.group(), no_such_ticket).await?;
    let command = ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket: ticket.number });
    let applied = app.backend.shard(showtime.group(), key.request(&app, user), command).await?;
    let was_replayed = applied.replayed;
    app.mirror.ticket_changed(ticket, applied.position.index);
    let expires_at = match applied.outcome()? {
        Outcome::Claimed { expires_at, .. } => expires_at,
        other => return Err(unexpected(&other)),
    };
    let token = app.tokens.admission(user, showtime, ticket.number, expires_at).await?;
    let body = json!({"admissionToken": token, "expiresAt": Time(expires_at)});
    Ok(replayed(json(StatusCode::OK, &body)?, was_replayed))
}

/// `DELETE /showtimes/{id}/queue/entries/{ticketId}`
pub(super) async fn leave(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    Id(ticket): Id<TicketId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    let user = in_line_of(showtime, ticket).and_then(|()| caller.holder_of(ticket))?;
    app.mirror.check_group(showtime.group(), no_such_ticket).await?;
    let command = ShardCommand::LeaveQueue(LeaveQueue { showtime, user, ticket: ticket.number });
    let applied = app.backend.shard(showtime.group(), key.request(&app, user), command).await?;
    let was_replayed = applied.replayed;
    app.mirror.ticket_changed(ticket, applied.position.index);
    applied.outcome()?;
    Ok(replayed(StatusCode::NO_CONTENT.into_response(), was_replayed))
}

/// `GET /showtimes/{id}/queue/draw`: the commitment, and the rest once the line is open.
pub(super) async fn draw(State(app): State<Arc<App>>, Id(id): Id<ShowtimeId>) -> Result<Response, Problem> {
    let showtime = app.mirror.showtime(id).await?;
    let query = ShardQuery::Draw(id);
    let pick = |answer| if let ShardAnswer::Draw(draw) = answer { draw } else { None };
    let found = app.backend.find_in_shard(showtime.group(), &query, 0, pick).await?;
    let (draw, _) = found.ok_or_else(no_such_showtime)?;
    let cache = HeaderValue::from_static("public, max-age=1");
    let body = match &draw.bundle {
        None => json!({"commitment": hex(&draw.commitment)}),
        Some(bundle) => {
            let DrawBundle { entrants, commitment, secret, merkle_root, beacon, seed, rounds } = &**bundle;
            json!({
                "entrants": entrants,
                "commitment": hex(commitment),
                "secret": hex(secret),
                "merkleRoot": hex(merkle_root),
                "beacon": beacon.as_ref().map(|beacon| hex(beacon)),
                "seed": hex(seed),
                "rounds": rounds,
            })
        }
    };
    Ok(json_bytes(StatusCode::OK, body.to_string().into(), cache))
}

/// `GET /showtimes/{id}/queue/entries/{ticketId}/receipt`
pub(super) async fn receipt(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    Id(ticket): Id<TicketId>,
    caller: Caller,
) -> Result<Response, Problem> {
    own_ticket(&app, showtime, ticket, caller).await?;
    let query = ShardQuery::Receipt { showtime, number: ticket.number };
    let pick = |answer| if let ShardAnswer::Receipt(receipt) = answer { receipt } else { None };
    let found = app.backend.find_in_shard(showtime.group(), &query, 0, pick).await?;
    let Some((receipt, _)) = found else {
        return Err(Problem::not_found("no_receipt", "this ticket was in no published draw"));
    };
    let proof: Vec<String> = receipt.proof.iter().map(|hash| hex(hash)).collect();
    json(
        StatusCode::OK,
        &json!({
            "number": receipt.number.0,
            "subjectHash": hex(&receipt.subject_hash),
            "leaf": hex(&receipt.leaf),
            "proof": proof,
            "merkleRoot": hex(&receipt.merkle_root),
            "place": receipt.place,
        }),
    )
}

/// How long nothing will happen to a ticket in line before the opening.
async fn wait(app: &App, ticket: &TicketView) -> Option<Millis> {
    if ticket.state != TicketState::Prequeue {
        return None;
    }
    let showtime = app.mirror.showtime(ticket.showtime).await.ok()?;
    let opens_at = match showtime.opens_at() {
        Some(opens_at) => opens_at,
        None => showtime.status().await.ok()?.view.sale.opens_at?,
    };
    Some(opens_at - app.clock.now())
}

fn in_line_of(showtime: ShowtimeId, ticket: TicketId) -> Result<(), Problem> {
    if ticket.showtime == showtime { Ok(()) } else { Err(no_such_ticket()) }
}

fn no_such_ticket() -> Problem {
    Problem::not_found("no_such_ticket", "there is no such ticket")
}

//! Showtimes: putting one on sale, and steering its sale.

use super::events::{find, no_such_event};
use super::holds::seat_ids;
use super::{json, json_bytes, replayed, unexpected};
use crate::app::App;
use crate::error::Problem;
use crate::extract::{Body, Id, IdempotencyKey, NoBody, Organiser, step};
use crate::layout::Layout;
use crate::mirror::{Showtime, no_such_showtime};
use crate::tokens::Caller;
use crate::wire::{MoneyBody, MoneyInput, Prices, SaleBody, SaleInput, Time, from_hex, price_list};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use vestibule_engine::{
    ActivateShowtime, BlockSeats, CloseQueue, CreateShowtime, DirectoryCommand, EventId, Money, OpenQueue, Outcome,
    PauseQueue, RecordBeacon, Refusal, ResumeQueue, Sale, SalePatch, ScheduleShowtime, SetQueueMessage, ShardAnswer,
    ShardCommand, ShardQuery, ShowtimeId, UnblockSeats, UpdateSale, VenueId,
};
use vestibule_raft::cluster::Consistency;

/// The body of `POST /showtimes`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShowtimeInput {
    event_id: String,
    venue_id: String,
    starts_at: Time,
    prices: Prices<MoneyInput>,
    #[serde(default)]
    sale: SaleInput,
}

/// `POST /showtimes`
///
/// Three steps, each under a request id that follows from the first: the directory gives it an id and a group, the group
/// creates it, the directory activates it. A retry through any gateway finishes what was begun.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<ShowtimeInput>,
) -> Result<Response, Problem> {
    let organiser = caller.organiser()?;
    let event: EventId = input.event_id.parse().map_err(|_| no_such_event())?;
    let venue: VenueId = input.venue_id.parse().map_err(|_| Problem::not_found("no_such_venue", "no such venue"))?;
    let entry = find(&app, event, Consistency::Linearizable).await?.ok_or_else(no_such_event)?;
    organiser.must_own(entry.organisation)?;
    let layout = app.mirror.layout(venue).await?;
    organiser.must_own(layout.organisation)?;
    let prices = prices(&layout, input.prices)?;
    let sale = SalePatch::from(input.sale).apply(&Sale::default());

    let request = key.request(&app, organiser.user);
    let mut draw_secret = [0; 32];
    draw_secret[..16].copy_from_slice(&app.ids.draw().to_be_bytes());
    draw_secret[16..].copy_from_slice(&app.ids.draw().to_be_bytes());
    let schedule = ScheduleShowtime {
        by: organiser.user,
        event,
        venue,
        seat_map_version: Some(layout.seat_map_version),
        starts_at: input.starts_at.0,
        prices,
        sale,
        draw_secret,
    };
    let applied = app.backend.directory(request, DirectoryCommand::ScheduleShowtime(schedule)).await?;
    let was_replayed = applied.replayed;
    if matches!(applied.result, Err(Refusal::VersionMismatch { .. })) {
        // Whoever tries again will do so with the layout that is.
        app.mirror.forget_layout(venue);
    }
    let record = match applied.outcome()? {
        Outcome::ShowtimeStored { showtime } => showtime,
        other => return Err(unexpected(&other)),
    };

    let (showtime, group) = (record.showtime, record.showtime.group());
    let create = CreateShowtime {
        showtime,
        organisation: record.organisation,
        seat_map: Arc::clone(&layout.map),
        prices: record.prices,
        sale: record.sale,
        draw_secret: record.draw_secret,
    };
    let create = ShardCommand::CreateShowtime(create);
    app.backend.shard(group, step(request, "create"), create).await?.outcome()?;
    // Activation only goes forward: it does not matter who else has done it.
    let activate = DirectoryCommand::ActivateShowtime(ActivateShowtime { showtime, expected_version: None });
    app.backend.directory(step(request, "activate"), activate).await?.outcome()?;
    let body = json!({"showtimeId": showtime.to_string(), "group": group.0});
    Ok(replayed(json(StatusCode::CREATED, &body)?, was_replayed))
}

/// One price for every category, in the order of the layout.
fn prices(layout: &Layout, mut given: BTreeMap<String, MoneyInput>) -> Result<Vec<Money>, Problem> {
    let mut prices = Vec::with_capacity(layout.map.categories.len());
    for category in &layout.map.categories {
        let price = given.remove(&category.name).ok_or_else(|| {
            let field = format!("prices.{}", category.name);
            Problem::unprocessable("price_missing", format!("{field}: every category needs a price"))
                .with("field", field)
        })?;
        prices.push(price.into());
    }
    match given.keys().next() {
        None => Ok(prices),
        Some(name) => {
            let field = format!("prices.{name}");
            let detail = format!("{field}: the venue has no such category");
            Err(Problem::unprocessable("no_such_category", detail).with("field", field))
        }
    }
}

/// `GET /showtimes/{id}`
pub(super) async fn show(State(app): State<Arc<App>>, Id(id): Id<ShowtimeId>) -> Result<Response, Problem> {
    let showtime = app.mirror.showtime(id).await?;
    let status = showtime.status().await?;
    let info = &showtime.info;
    let body = json!({
        "showtimeId": id.to_string(),
        "eventId": info.event.to_string(),
        "venueId": info.venue.to_string(),
        "organisationId": info.organisation.to_string(),
        "seatMapVersion": info.seat_map_version,
        "startsAt": Time(info.starts_at),
        "prices": price_list(&showtime.layout, &info.prices),
        "sale": SaleBody::from(&status.view.sale),
        "state": status.view.state.as_str(),
        "seats": showtime.layout.index.seat_count(),
        "group": showtime.group().0,
    });
    Ok(json_bytes(StatusCode::OK, body.to_string().into(), HeaderValue::from_static("public, max-age=1")))
}

/// `PATCH /showtimes/{id}/sale`
pub(super) async fn update_sale(
    State(app): State<Arc<App>>,
    Id(id): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<SaleInput>,
) -> Result<Response, Problem> {
    let (organiser, showtime) = own(&app, id, caller).await?;
    let command = ShardCommand::UpdateSale(UpdateSale { showtime: id, patch: input.into() });
    let applied = app.backend.shard(id.group(), key.request(&app, organiser.user), command).await?;
    let was_replayed = applied.replayed;
    showtime.changed(applied.position.index);
    match applied.outcome()? {
        Outcome::SaleUpdated { sale } => Ok(replayed(json(StatusCode::OK, &SaleBody::from(&*sale))?, was_replayed)),
        other => Err(unexpected(&other)),
    }
}

/// `POST /showtimes/{id}/queue/pause`
pub(super) async fn pause_queue(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    steer(&app, showtime, caller, key, ShardCommand::PauseQueue(PauseQueue { showtime })).await
}

/// `POST /showtimes/{id}/queue/resume`
pub(super) async fn resume_queue(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    steer(&app, showtime, caller, key, ShardCommand::ResumeQueue(ResumeQueue { showtime })).await
}

/// `POST /showtimes/{id}/queue/open`
pub(super) async fn open_queue(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    steer(&app, showtime, caller, key, ShardCommand::OpenQueue(OpenQueue { showtime })).await
}

/// `POST /showtimes/{id}/queue/close`
pub(super) async fn close_queue(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    steer(&app, showtime, caller, key, ShardCommand::CloseQueue(CloseQueue { showtime })).await
}

/// The body of `POST /showtimes/{id}/queue/message`; `null` clears the message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageInput {
    #[serde(deserialize_with = "Option::deserialize")]
    text: Option<String>,
}

/// `POST /showtimes/{id}/queue/message`
pub(super) async fn set_queue_message(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<MessageInput>,
) -> Result<Response, Problem> {
    let command = ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text: input.text });
    steer(&app, showtime, caller, key, command).await
}

/// The body of `POST /showtimes/{id}/queue/beacon`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BeaconInput {
    /// The round that the sale plans.
    round: u64,
    /// What its source published for that round, in hex.
    #[serde(deserialize_with = "from_hex")]
    randomness: Vec<u8>,
}

/// `POST /showtimes/{id}/queue/beacon`: makes the public randomness known that the line waits for since `opensAt`.
pub(super) async fn record_beacon(
    State(app): State<Arc<App>>,
    Id(showtime): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<BeaconInput>,
) -> Result<Response, Problem> {
    let BeaconInput { round, randomness } = input;
    let command = ShardCommand::RecordBeacon(RecordBeacon { showtime, round, randomness });
    steer(&app, showtime, caller, key, command).await
}

/// Gives an order to the line and answers its status after that.
async fn steer(
    app: &App,
    id: ShowtimeId,
    caller: Caller,
    key: IdempotencyKey,
    command: ShardCommand,
) -> Result<Response, Problem> {
    let (organiser, showtime) = own(app, id, caller).await?;
    let applied = app.backend.shard(id.group(), key.request(app, organiser.user), command).await?;
    let was_replayed = applied.replayed;
    showtime.changed(applied.position.index);
    applied.outcome()?;
    let status = showtime.status_now().await?;
    Ok(replayed(json_bytes(StatusCode::OK, status.body, HeaderValue::from_static("no-store")), was_replayed))
}

/// The body of `POST /showtimes/{id}/blocks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockInput {
    seats: Vec<String>,
    reason: String,
    channel: Option<String>,
}

/// `POST /showtimes/{id}/blocks`
pub(super) async fn block(
    State(app): State<Arc<App>>,
    Id(id): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<BlockInput>,
) -> Result<Response, Problem> {
    let (organiser, showtime) = own(&app, id, caller).await?;
    let seats = seat_ids(&input.seats, &showtime.layout)?;
    let BlockInput { seats: labels, reason, channel } = input;
    let command = ShardCommand::BlockSeats(BlockSeats { showtime: id, seats, reason, channel });
    seats_kept_back(&app, &showtime, organiser, key, command, &labels).await
}

/// The body of `DELETE /showtimes/{id}/blocks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnblockInput {
    seats: Vec<String>,
}

/// `DELETE /showtimes/{id}/blocks`
pub(super) async fn unblock(
    State(app): State<Arc<App>>,
    Id(id): Id<ShowtimeId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<UnblockInput>,
) -> Result<Response, Problem> {
    let (organiser, showtime) = own(&app, id, caller).await?;
    let seats = seat_ids(&input.seats, &showtime.layout)?;
    let command = ShardCommand::UnblockSeats(UnblockSeats { showtime: id, seats });
    seats_kept_back(&app, &showtime, organiser, key, command, &input.seats).await
}

async fn seats_kept_back(
    app: &App,
    showtime: &Showtime,
    organiser: Organiser,
    key: IdempotencyKey,
    command: ShardCommand,
    labels: &[String],
) -> Result<Response, Problem> {
    let applied = app.backend.shard(showtime.group(), key.request(app, organiser.user), command).await?;
    let was_replayed = applied.replayed;
    match applied.result {
        Ok(_) => Ok(replayed(json(StatusCode::OK, &json!({"seats": labels}))?, was_replayed)),
        Err(refusal) => Err(Problem::of_refusal(&refusal, Some(&showtime.layout)).replayed(was_replayed)),
    }
}

/// `GET /showtimes/{id}/report`
pub(super) async fn report(
    State(app): State<Arc<App>>,
    Id(id): Id<ShowtimeId>,
    caller: Caller,
) -> Result<Response, Problem> {
    own(&app, id, caller).await?;
    let query = ShardQuery::Report(id);
    let (answer, _) = app.backend.ask_shard(id.group(), &query, Consistency::Linearizable).await?;
    let ShardAnswer::Report(Some(report)) = answer else {
        return Err(no_such_showtime());
    };
    let categories = report.categories.iter().zip(&report.revenue).map(|(counts, &revenue)| {
        json!({
            "category": counts.name,
            "price": MoneyBody::from(counts.price),
            "available": counts.available,
            "held": counts.held,
            "sold": counts.sold,
            "blocked": counts.blocked,
            "revenue": MoneyBody::from(revenue),
        })
    });
    let orders: BTreeMap<&str, u64> = report.orders.iter().map(|(state, &count)| (state.as_str(), count)).collect();
    let queue = &report.queue;
    json(
        StatusCode::OK,
        &json!({
            "showtimeId": id.to_string(),
            "categories": categories.collect::<Vec<_>>(),
            "orders": orders,
            "captured": MoneyBody::from(report.captured),
            "refundDue": MoneyBody::from(report.refund_due),
            "refunded": MoneyBody::from(report.refunded),
            "holds": report.holds,
            "queue": {
                "joined": queue.joined,
                "called": queue.called,
                "claimed": queue.claimed,
                "done": queue.done,
                "left": queue.left,
                "missed": queue.missed,
                "expired": queue.expired,
            },
        }),
    )
}

/// A showtime that the caller runs.
async fn own(app: &App, id: ShowtimeId, caller: Caller) -> Result<(Organiser, Arc<Showtime>), Problem> {
    let organiser = caller.organiser()?;
    let showtime = app.mirror.showtime(id).await?;
    organiser.must_own(showtime.info.organisation)?;
    Ok((organiser, showtime))
}

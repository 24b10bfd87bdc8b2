//! Orders and what is paid for them.

use super::{json, replayed, unexpected};
use crate::app::App;
use crate::error::Problem;
use crate::extract::{Body, Id, IdempotencyKey, NoBody, digest};
use crate::mirror::Fact;
use crate::payment::{Charge, ChargeError};
use crate::tokens::Caller;
use crate::wire::{OrderBody, payment_status};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{
    CancelOrder, HoldId, OrderId, OrderState, OrderView, Outcome, PaymentId, PaymentOutcome, PlaceOrder, RecordPayment,
    RefundOrder, ShardAnswer, ShardCommand, ShardQuery,
};
use vestibule_raft::cluster::Consistency;

/// The body of `POST /orders`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OrderInput {
    hold_id: String,
    email: String,
}

/// `POST /orders`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<OrderInput>,
) -> Result<Response, Problem> {
    key.required()?;
    let user = caller.buyer()?;
    let absent = || Problem::not_found("no_such_hold", "there is no such hold");
    let hold: HoldId = input.hold_id.parse().map_err(|_| absent())?;
    app.mirror.check_group(hold.group(), absent).await?;
    let command = ShardCommand::PlaceOrder(PlaceOrder { hold, user, email: input.email });
    let applied = app.backend.shard(hold.group(), key.request(&app, user), command).await?;
    let was_replayed = applied.replayed;
    match applied.outcome()? {
        Outcome::Ordered { order } => Ok(replayed(answer(&app, StatusCode::CREATED, &order).await?, was_replayed)),
        other => Err(unexpected(&other)),
    }
}

/// `GET /orders/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Id(id): Id<OrderId>,
    caller: Caller,
) -> Result<Response, Problem> {
    let order = find(&app, id).await?;
    if order.user != caller.buyer()? {
        return Err(no_such_order());
    }
    answer(&app, StatusCode::OK, &order).await
}

/// `POST /orders/{id}/cancel`
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Id(id): Id<OrderId>,
    caller: Caller,
    key: IdempotencyKey,
    _: NoBody,
) -> Result<Response, Problem> {
    let user = caller.buyer()?;
    app.mirror.check_group(id.group(), no_such_order).await?;
    let command = ShardCommand::CancelOrder(CancelOrder { order: id, user });
    let applied = app.backend.shard(id.group(), key.request(&app, user), command).await?;
    let was_replayed = applied.replayed;
    match applied.outcome()? {
        Outcome::Ordered { order } => {
            if !was_replayed {
                app.mirror.showtime(order.showtime).await?.answered(Fact::Canceled(id));
            }
            Ok(replayed(answer(&app, StatusCode::OK, &order).await?, was_replayed))
        }
        other => Err(unexpected(&other)),
    }
}

/// The body of `POST /orders/{id}/payments`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PaymentInput {
    method: MethodInput,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
enum MethodInput {
    Card { token: String },
}

/// `POST /orders/{id}/payments`
///
/// The payment id follows from order and key: a retry charges under the same one, so the provider charges once, and the
/// engine records it once.
pub(super) async fn pay(
    State(app): State<Arc<App>>,
    Id(id): Id<OrderId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<PaymentInput>,
) -> Result<Response, Problem> {
    let payment = payment_id(id, key.required()?);
    let user = caller.buyer()?;
    let order = find(&app, id).await?;
    if order.user != user {
        return Err(no_such_order());
    }
    let is_known = order.payments.iter().any(|known| known.payment == payment);
    if order.state != OrderState::PendingPayment && !is_known {
        let detail = format!("the order is {}", order.state);
        let problem = Problem::new(StatusCode::CONFLICT, "wrong_order_state", detail);
        return Err(problem.with("state", order.state.as_str()));
    }

    let MethodInput::Card { token: card } = &input.method;
    let charge = Charge { payment, order: id, amount: order.total, card };
    let outcome = app.payments.charge(charge).await.map_err(|error| match error {
        ChargeError::UnknownCard => Problem::unprocessable("unknown_card", error.to_string()),
        ChargeError::NoAnswer => Problem::unavailable("outcome_unknown", error.to_string()),
    })?;

    let command = ShardCommand::RecordPayment(RecordPayment { order: id, payment, outcome, amount: order.total });
    let (order, was_replayed) = match planted::is(Bug::PayUnrecorded) && payment.0.is_multiple_of(4) {
        true => (Box::new(OrderView { state: OrderState::Completed, ..*order }), false),
        false => {
            let applied = app.backend.shard(id.group(), key.request(&app, user), command).await?;
            let was_replayed = applied.replayed;
            match applied.outcome()? {
                Outcome::Ordered { order } | Outcome::PaymentKnown { order, .. } => (order, was_replayed),
                other => return Err(unexpected(&other)),
            }
        }
    };
    let showtime = app.mirror.showtime(order.showtime).await?;
    if !was_replayed && outcome == PaymentOutcome::Succeeded && order.state == OrderState::Completed {
        showtime.answered(Fact::Purchased(id));
    }
    let body = json!({
        "paymentId": payment.to_string(),
        "orderId": id.to_string(),
        "status": payment_status(outcome),
        "amount": crate::wire::MoneyBody::from(order.total),
        "order": OrderBody::new(&order, &showtime.layout, &showtime.info.prices),
    });
    Ok(replayed(json(StatusCode::OK, &body)?, was_replayed))
}

/// The payment of this order under this key.
fn payment_id(order: OrderId, key: &str) -> PaymentId {
    let digest = digest(&[order.to_string().as_bytes(), key.as_bytes()]);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    PaymentId(u64::from_be_bytes(bytes))
}

/// The body of `POST /orders/{id}/refunds`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundInput {
    seats: Option<Vec<String>>,
    reason: String,
}

/// `POST /orders/{id}/refunds`, by the organiser.
pub(super) async fn refund(
    State(app): State<Arc<App>>,
    Id(id): Id<OrderId>,
    caller: Caller,
    key: IdempotencyKey,
    Body(input): Body<RefundInput>,
) -> Result<Response, Problem> {
    let organiser = caller.organiser()?;
    let order = find(&app, id).await?;
    let showtime = app.mirror.showtime(order.showtime).await?;
    organiser.must_own(showtime.info.organisation)?;
    let seats = input.seats.map(|labels| super::holds::seat_ids(&labels, &showtime.layout)).transpose()?;
    let command = ShardCommand::RefundOrder(RefundOrder { order: id, seats, reason: input.reason });
    let applied = app.backend.shard(id.group(), key.request(&app, organiser.user), command).await?;
    let was_replayed = applied.replayed;
    match applied.outcome()? {
        Outcome::Ordered { order } => Ok(replayed(answer(&app, StatusCode::ACCEPTED, &order).await?, was_replayed)),
        other => Err(unexpected(&other)),
    }
}

async fn find(app: &App, id: OrderId) -> Result<Box<OrderView>, Problem> {
    app.mirror.check_group(id.group(), no_such_order).await?;
    match app.backend.ask_shard(id.group(), &ShardQuery::Order(id), Consistency::Linearizable).await? {
        (ShardAnswer::Order(Some(order)), _) => Ok(order),
        _ => Err(no_such_order()),
    }
}

async fn answer(app: &App, status: StatusCode, order: &OrderView) -> Result<Response, Problem> {
    let showtime = app.mirror.showtime(order.showtime).await?;
    json(status, &OrderBody::new(order, &showtime.layout, &showtime.info.prices))
}

fn no_such_order() -> Problem {
    Problem::not_found("no_such_order", "there is no such order")
}

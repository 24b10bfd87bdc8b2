//! One buyer, from the door to the end.

use super::record::{Claim, HoldEnd, HoldRecord, Join, OrderRecord, Probe, Vanished};
use super::report::{Outcome, Step};
use super::script::{Ending, Script};
use super::{Rush, lock};
use crate::client::Connector;
use crate::{
    Client, Error, Hold, HoldRequest, IdempotencyKey, Order, OrderState, PaymentStatus, Ticket, TicketState, Token,
};
use std::sync::Arc;
use std::time::Duration;

/// How often a buyer is told that its seats are taken before it gives up.
const CONFLICTS_MAX: u32 = 40;
/// Pauses between two polls of a ticket, whatever the server proposes.
const POLL_MIN: Duration = Duration::from_millis(200);
const POLL_MAX: Duration = Duration::from_secs(30);
/// Between two looks of a shopper at a house without a free seat.
const SCARCE_PAUSE: Duration = Duration::from_secs(1);
/// How many buyers try to get at the seats while they wait.
const QUEUE_JUMPERS: u32 = 10;
/// Cards of the sandbox.
const GOOD_CARD: &str = "tok_ok";
const DECLINED_CARD: &str = "tok_declined";

/// Why a buyer went no further.
enum Stop {
    At(Outcome),
    /// The step was answered with something that the contract does not foresee, or not at all.
    Failed(&'static str, Error),
}

impl From<Outcome> for Stop {
    fn from(outcome: Outcome) -> Self {
        Self::At(outcome)
    }
}

/// Runs the buyer of this number to its end.
pub(super) async fn run<C: Connector>(rush: Arc<Rush<C>>, number: u32) -> Outcome {
    let options = &rush.options;
    let mut script = Script::draw(options.seed, number, options.abandon, options.decline);
    let client = rush.client.reseeded(script.dice.seed());
    let mut buyer = Buyer { rush: &rush, client, script, number, access: Token::new(""), ticket: None };
    match buyer.go().await {
        Ok(outcome) | Err(Stop::At(outcome)) => outcome,
        Err(Stop::Failed(step, error)) => {
            rush.record().unexpected(format!("buyer {number}, {step}: {error}"));
            Outcome::Failed
        }
    }
}

struct Buyer<'a, C> {
    rush: &'a Rush<C>,
    client: Client<C>,
    script: Script,
    number: u32,
    access: Token,
    ticket: Option<Ticket>,
}

impl<C: Connector> Buyer<'_, C> {
    async fn go(&mut self) -> Result<Outcome, Stop> {
        let (guest, ..) = self.rush.insist(Step::Guest, || self.client.guest()).await;
        self.access = guest.map_err(|error| Stop::Failed("guest", error))?.access_token;
        let token = if self.rush.has_line { self.stand_in_line().await? } else { self.access.clone() };
        let (hold, record) = self.find_seats(&token).await?;
        self.finish(hold, record).await
    }

    /// Joins, polls as told, and claims. Gives the admission token.
    async fn stand_in_line(&mut self) -> Result<Token, Stop> {
        let showtime = &self.rush.options.showtime;
        let (ticket, sent, acked) = self.rush.insist(Step::Join, || self.client.join(&self.access, showtime)).await;
        let ticket = ticket.map_err(|error| Stop::Failed("join", error))?;
        let join = {
            let mut record = self.rush.record();
            record.joins.push(Join { number: ticket.number, place: ticket.place, waited_until: None, sent, acked });
            record.joins.len() - 1
        };
        self.ticket = Some(ticket.clone());
        let mut ticket = ticket;
        let mut jumped = false;
        loop {
            match ticket.state {
                TicketState::Called | TicketState::Shopping => {
                    let (claim, _, acked) = self
                        .rush
                        .insist(Step::Claim, || self.client.claim(&self.access, showtime, &ticket.ticket_id))
                        .await;
                    match claim {
                        Ok(admission) => {
                            let place = ticket.place.unwrap_or(0);
                            lock(&self.rush.steps).add(Step::Line, acked - sent);
                            self.rush.record().claims.push(Claim { number: ticket.number, place, acked });
                            return Ok(admission.admission_token);
                        }
                        // The gateway that answered the poll was ahead of the one that answered the claim.
                        Err(error) if error.code() == Some("not_called_yet") => {}
                        Err(error) if status_of(&error) == Some(410) => return Err(Outcome::Missed.into()),
                        Err(error) => return Err(Stop::Failed("claim", error)),
                    }
                }
                TicketState::Waiting | TicketState::Prequeue | TicketState::Unknown => {}
                TicketState::Done | TicketState::Left | TicketState::Expired => return Err(Outcome::Missed.into()),
            }
            if self.rush.is_hopeless() {
                self.leave().await?;
                return Err(Outcome::SoldOut.into());
            }
            if !jumped && self.number < QUEUE_JUMPERS && ticket.state == TicketState::Waiting {
                jumped = true;
                self.try_to_jump_the_queue(&ticket).await;
            }
            let told = Duration::try_from_secs_f64(ticket.poll_after_seconds.unwrap_or(1.0)).unwrap_or(POLL_MAX);
            let jitter = 0.9 + 0.2 * self.script.dice.roll();
            if !self.rush.pause(told.clamp(POLL_MIN, POLL_MAX).mul_f64(jitter)).await {
                self.leave().await?;
                return Err(Outcome::Unfinished.into());
            }
            let (polled, asked, told) =
                self.rush.insist(Step::Poll, || self.client.ticket(&self.access, showtime, &ticket.ticket_id)).await;
            let now = match polled {
                Ok(now) => now,
                Err(error) if status_of(&error) == Some(410) => return Err(Outcome::Missed.into()),
                Err(error) => return Err(Stop::Failed("poll", error)),
            };
            if now.number != ticket.number || (ticket.place.is_some() && now.place != ticket.place) {
                let before = format!("number {} place {:?}", ticket.number, ticket.place);
                let after = format!("number {} place {:?}", now.number, now.place);
                self.rush.record().moved.push(format!("{}: {before}, then {after}", now.ticket_id));
            }
            {
                let mut record = self.rush.record();
                record.note_ahead(&now, asked, told, self.rush.options.staleness_max);
                record.joins[join].place = now.place;
                if now.state == TicketState::Waiting {
                    record.joins[join].waited_until = Some(asked);
                }
            }
            ticket = now;
        }
    }

    /// A buyer who was not called tries to hold a seat, with everything it has. Nothing of that may open the seats.
    async fn try_to_jump_the_queue(&mut self, ticket: &Ticket) {
        let showtime = &self.rush.options.showtime;
        let seats = self.rush.house().pick(&mut self.script.dice, 1);
        if seats.is_empty() {
            return;
        }
        let mut tries = vec![("an access token of a waiting ticket", self.access.clone())];
        if let Some(token) = &ticket.ticket_token.clone().or_else(|| self.ticket.as_ref()?.ticket_token.clone()) {
            tries.push(("a ticket token", token.clone()));
        }
        tries.push(("no real token", Token::new("eyJhbGciOiJub25lIn0.e30.")));
        for (with, token) in tries {
            let request = HoldRequest::Seats { seats: seats.clone() };
            let key = self.client.new_key();
            let (answer, ..) =
                self.rush.insist(Step::Probe, || self.client.hold(&token, showtime, &request, &key)).await;
            self.note_probe(with, answer);
        }
    }

    fn note_probe(&self, with: &'static str, answer: Result<Hold, Error>) {
        let refused = match answer {
            Ok(hold) => Err(hold.hold_id),
            Err(Error::Refused(problem)) if matches!(problem.status, 401 | 403) => Ok(problem.code),
            // "Those seats are taken" says nothing about the door, and no answer says nothing at all.
            Err(_) => return,
        };
        self.rush.record().probes.push(Probe { with, refused });
    }

    /// Looks at the seats and tries until it holds some.
    async fn find_seats(&mut self, token: &Token) -> Result<(Hold, usize), Stop> {
        let showtime = &self.rush.options.showtime;
        let mut party = self.script.party;
        let mut conflicts = 0;
        loop {
            let since = self.rush.house().sequence();
            let (answer, ..) = self.rush.insist(Step::Look, || self.client.seats_bytes(showtime, Some(since))).await;
            self.rush.record().looks += 1;
            let answer = answer.map_err(|error| Stop::Failed("look", error))?;
            let seats = {
                let mut house = self.rush.house();
                house.apply(&answer).map_err(|error| Stop::Failed("look", error))?;
                house.pick(&mut self.script.dice, party)
            };
            if seats.is_empty() {
                if self.rush.is_hopeless() {
                    self.leave().await?;
                    return Err(Outcome::SoldOut.into());
                }
                if !self.rush.pause(SCARCE_PAUSE.mul_f64(0.5 + self.script.dice.roll())).await {
                    self.leave().await?;
                    return Err(Outcome::Unfinished.into());
                }
                continue;
            }
            let key = self.client.new_key();
            let request = HoldRequest::Seats { seats: seats.clone() };
            let (answer, sent, acked) =
                self.rush.insist(Step::Hold, || self.client.hold(token, showtime, &request, &key)).await;
            match answer {
                Ok(hold) => {
                    let given = hold.seats.iter().map(|seat| seat.id.clone()).collect();
                    let held = HoldRecord {
                        hold: Some(hold.hold_id.clone()),
                        asked: seats,
                        seats: given,
                        sent,
                        acked,
                        end: HoldEnd::Left,
                    };
                    let mut record = self.rush.record();
                    record.holds.push(held);
                    return Ok((hold, record.holds.len() - 1));
                }
                Err(Error::Refused(problem)) if problem.code == "seats_unavailable" => {
                    self.rush.record().conflicts += 1;
                    self.rush.house().note_unavailable(&problem.seats());
                    conflicts += 1;
                }
                // A rule about how many, or which: fewer may do, and others another time.
                Err(Error::Refused(problem)) if matches!(problem.status, 409 | 422) => {
                    party = (party - 1).max(1);
                    conflicts += 1;
                }
                Err(Error::Refused(problem)) if matches!(problem.status, 401 | 403 | 410) => {
                    return Err(Outcome::SessionOver.into());
                }
                Err(error) => {
                    if error.is_outcome_unknown() {
                        let end = HoldEnd::Unsettled;
                        let held = HoldRecord { hold: None, asked: seats.clone(), seats, sent, acked, end };
                        self.rush.record().holds.push(held);
                    }
                    return Err(Stop::Failed("hold", error));
                }
            }
            if conflicts >= CONFLICTS_MAX {
                self.leave().await?;
                return Err(Outcome::GaveUp.into());
            }
        }
    }

    /// Does with the seats what it set out to do.
    async fn finish(&mut self, hold: Hold, record: usize) -> Result<Outcome, Stop> {
        match self.script.ending {
            Ending::Vanish => {
                let access = self.access.clone();
                let vanished = Vanished { access, expires_at: hold.expires_at, gone: false, overdue: false };
                self.end_hold(record, HoldEnd::Vanished(vanished));
                return Ok(Outcome::Vanished);
            }
            Ending::Release => {
                let (answer, asked, _) =
                    self.rush.insist(Step::Release, || self.client.release_hold(&self.access, &hold.hold_id)).await;
                let answer = answer.or_else(|error| gone_is_fine(error, "release"));
                self.settle_hold(record, answer, HoldEnd::GivenBack { asked })?;
                self.leave().await?;
                return Ok(Outcome::Released);
            }
            Ending::Pay | Ending::DeclinedThenPay | Ending::DeclinedThenCancel => {}
        }

        let email = format!("buyer-{}@example.org", self.number);
        let key = self.client.new_key();
        let (order, ..) =
            self.rush.insist(Step::Order, || self.client.order(&self.access, &hold.hold_id, &email, &key)).await;
        let order = match order {
            Err(error) if status_of(&error) == Some(410) => {
                self.end_hold(record, HoldEnd::RanOut);
                return Ok(Outcome::HoldRanOut);
            }
            order => self.settle_hold(record, order.map_err(|error| Stop::Failed("order", error)), HoldEnd::Left)?,
        };

        match self.script.ending {
            Ending::DeclinedThenPay => {
                let status = self.pay(&order, DECLINED_CARD, record).await?;
                if status != PaymentStatus::Failed {
                    return Err(self.surprise("a declined card", status));
                }
                self.pay_well(hold, order, record).await?;
                Ok(Outcome::BoughtAfterDecline)
            }
            Ending::DeclinedThenCancel => {
                let status = self.pay(&order, DECLINED_CARD, record).await?;
                if status != PaymentStatus::Failed {
                    return Err(self.surprise("a declined card", status));
                }
                let key = self.client.new_key();
                let (answer, asked, _) = self
                    .rush
                    .insist(Step::Cancel, || self.client.cancel_order(&self.access, &order.order_id, &key))
                    .await;
                let answer = answer.map_err(|error| Stop::Failed("cancel", error));
                self.settle_hold(record, answer, HoldEnd::GivenBack { asked })?;
                self.leave().await?;
                Ok(Outcome::Canceled)
            }
            _ => {
                self.pay_well(hold, order, record).await?;
                Ok(Outcome::Bought)
            }
        }
    }

    /// Pays with a good card, and notes the order as paid.
    async fn pay_well(&mut self, hold: Hold, order: Order, record: usize) -> Result<(), Stop> {
        let status = self.pay(&order, GOOD_CARD, record).await?;
        if status != PaymentStatus::Succeeded {
            return Err(self.surprise("a good card", status));
        }
        let mut facts = self.rush.record();
        facts.holds[record].end = HoldEnd::Paid;
        facts.orders.push(OrderRecord {
            order: order.order_id,
            access: self.access.clone(),
            seats: hold.seats.iter().map(|seat| seat.id.clone()).collect(),
            paid: order.total,
            found: None,
        });
        Ok(())
    }

    async fn pay(&mut self, order: &Order, card: &str, record: usize) -> Result<PaymentStatus, Stop> {
        let key: IdempotencyKey = self.client.new_key();
        let (answer, ..) =
            self.rush.insist(Step::Pay, || self.client.pay(&self.access, &order.order_id, card, &key)).await;
        match answer {
            Ok(payment) => Ok(payment.status),
            Err(error) => {
                // Was it paid in time? The order knows.
                let (order, ..) =
                    self.rush.insist(Step::Check, || self.client.get_order(&self.access, &order.order_id)).await;
                match order.map(|order| order.state) {
                    Ok(OrderState::Completed) => Ok(PaymentStatus::Succeeded),
                    Ok(OrderState::Expired | OrderState::Canceled) => {
                        self.end_hold(record, HoldEnd::RanOut);
                        Err(Outcome::HoldRanOut.into())
                    }
                    _ => self.settle_hold(record, Err(Stop::Failed("pay", error)), HoldEnd::Left),
                }
            }
        }
    }

    fn surprise(&self, with: &'static str, status: PaymentStatus) -> Stop {
        let reason = format!("a payment with {with} came back as {status:?}");
        Stop::Failed("pay", Error::Malformed { status: 200, reason })
    }

    /// Notes how a hold ended, or that nobody knows.
    fn settle_hold<T>(&self, record: usize, answer: Result<T, Stop>, end: HoldEnd) -> Result<T, Stop> {
        let unknown = matches!(&answer, Err(Stop::Failed(_, error)) if error.is_outcome_unknown()
            || error.is_worth_repeating());
        match &answer {
            Ok(_) => self.end_hold(record, end),
            Err(_) if unknown => self.end_hold(record, HoldEnd::Unsettled),
            Err(_) => {}
        }
        answer
    }

    fn end_hold(&self, record: usize, end: HoldEnd) {
        self.rush.record().holds[record].end = end;
    }

    /// Gives up the place in line, if there is one.
    async fn leave(&mut self) -> Result<(), Stop> {
        let Some(ticket) = self.ticket.take() else { return Ok(()) };
        let showtime = &self.rush.options.showtime;
        let (answer, ..) =
            self.rush.insist(Step::Leave, || self.client.leave(&self.access, showtime, &ticket.ticket_id)).await;
        answer.or_else(|error| gone_is_fine(error, "leave"))
    }
}

/// Whoever asks again after a lost answer, or too late, hears that it is gone.
fn gone_is_fine(error: Error, step: &'static str) -> Result<(), Stop> {
    match status_of(&error) {
        Some(404 | 409 | 410) => Ok(()),
        _ => Err(Stop::Failed(step, error)),
    }
}

fn status_of(error: &Error) -> Option<u16> {
    error.problem().map(|problem| problem.status)
}

/// Tries the seats with tokens that nobody was admitted with, before the first buyer comes.
pub(super) async fn probe_the_door<C: Connector>(rush: &Rush<C>) -> Result<(), Error> {
    if !rush.has_line {
        return Ok(());
    }
    let mut script = Script::draw(rush.options.seed, u32::MAX, 0.0, 0.0);
    let client = rush.client.reseeded(script.dice.seed());
    let access = client.guest().await?.access_token;
    let buyer = Buyer { rush, client, number: u32::MAX, access: access.clone(), ticket: None, script };
    let mut dice = Script::draw(rush.options.seed, u32::MAX, 0.0, 0.0).dice;
    let seats = rush.house().pick(&mut dice, 1);
    if seats.is_empty() {
        return Ok(());
    }
    for (with, token) in [
        ("an access token of somebody not in line", access),
        ("a forged token", Token::new("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyXzEifQ.AAAA")),
    ] {
        let request = HoldRequest::Seats { seats: seats.clone() };
        let key = buyer.client.new_key();
        let showtime = &rush.options.showtime;
        let (answer, ..) = rush.insist(Step::Probe, || buyer.client.hold(&token, showtime, &request, &key)).await;
        buyer.note_probe(with, answer);
    }
    Ok(())
}

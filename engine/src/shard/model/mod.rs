//! A naive model of the shard, written to be obviously right: plain vectors, scanned from end to end, nothing counted in
//! advance, nothing sorted by due time. Replies, facts and state of the machine must be those of the model after every
//! command.
//!
//! [`show`] is one showtime as plainly as it can be said, [`house`] its seats. The commands stand by topic in [`group`],
//! [`sale`], [`line`], [`holds`], [`money`] and [`waitlist`]; [`views`] answers questions.

#![allow(clippy::unwrap_used, reason = "a model that breaks fails whatever asked it")]
#![cfg_attr(not(test), allow(dead_code, reason = "tests look at the rest of it"))]

mod group;
mod holds;
mod house;
mod line;
mod money;
mod sale;
mod show;
mod views;
mod waitlist;

use super::waitlist::OFFERS_PER_STEP;
use crate::*;
use group::{Answered, ModelSink};
use holds::ModelHold;
use sha2::{Digest, Sha256};
pub(crate) use show::At;
#[cfg(test)]
pub(crate) use show::ModelTicket;
use show::Show;
use std::collections::BTreeMap;
use waitlist::ModelEntry;

impl crate::model::Model for Model {
    type Command = ShardCommand;

    fn advance(&mut self, at: Timestamp) {
        self.advance(at);
    }

    fn apply(&mut self, at: Timestamp, envelope: &Envelope<ShardCommand>) -> Reply {
        self.apply(at, envelope)
    }

    fn records(&self) -> &[EventRecord] {
        &self.records
    }

    fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// The whole group.
#[derive(Debug, Clone)]
pub struct Model {
    group: GroupId,
    pub(crate) now: Timestamp,
    pub(crate) shows: BTreeMap<ShowtimeId, Show>,
    pub(crate) holds: BTreeMap<HoldId, ModelHold>,
    holds_made: u64,
    /// All orders: number n is at n - 1.
    pub(crate) orders: Vec<OrderView>,
    /// Payments that they no longer name.
    older_payments: Vec<(OrderId, PaymentView)>,
    entries: Vec<ModelEntry>,
    entries_made: u64,
    /// So many offers may yet be made in the step at work.
    offers_left: usize,
    /// Remembered requests, oldest first.
    answered: Vec<Answered>,
    requests_max: u64,
    request_age_max: Millis,
    event_age_min: Millis,
    events_max: u64,
    tickets_max: u64,
    pub(crate) sinks: BTreeMap<String, ModelSink>,
    /// All facts there ever were: number n is at n - 1.
    records: Vec<EventRecord>,
    /// The bytes that each fact takes.
    record_lens: Vec<u64>,
    /// So many of them are no longer kept.
    forgotten: u64,
}

/// What falls due. Of several in the same millisecond, the first listed comes first, then the lower id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ModelDue {
    Prequeue(ShowtimeId),
    Opening(ShowtimeId),
    Closing(ShowtimeId),
    Order(OrderId),
    Hold(HoldId),
    Session(ShowtimeId, u64),
    Claims(ShowtimeId, u64),
    Admission(ShowtimeId),
    Offers(ShowtimeId),
}

/// How many seats and places these are.
fn size(places: &Places) -> u32 {
    places.seats.len() as u32 + places.areas.iter().map(|area| area.1).sum::<u32>()
}

fn bounds(field: &str, reason: impl Into<String>) -> Refusal {
    Refusal::out_of_bounds(field, reason)
}

/// A text has to be so many bytes long.
fn check_len(field: &str, text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    let len = text.len();
    if len < min || len > max {
        return Err(bounds(field, format!("{len} bytes are not between {min} and {max}")));
    }
    Ok(())
}

impl Model {
    /// A group that has nothing yet.
    pub fn new(group: GroupId) -> Self {
        Self {
            group,
            now: Timestamp(0),
            shows: BTreeMap::new(),
            holds: BTreeMap::new(),
            holds_made: 0,
            orders: Vec::new(),
            older_payments: Vec::new(),
            entries: Vec::new(),
            entries_made: 0,
            offers_left: 0,
            answered: Vec::new(),
            requests_max: 1_000_000,
            request_age_max: Millis(24 * 60 * 60 * 1_000),
            event_age_min: Millis(60 * 60 * 1_000),
            events_max: 4_000_000,
            tickets_max: 100_000_000,
            sinks: BTreeMap::new(),
            records: Vec::new(),
            record_lens: Vec::new(),
            forgotten: 0,
        }
    }

    fn show(&self, id: ShowtimeId) -> Result<&Show, Refusal> {
        self.shows.get(&id).ok_or(Refusal::NoSuchShowtime)
    }

    fn show_mut(&mut self, id: ShowtimeId) -> &mut Show {
        self.shows.get_mut(&id).unwrap()
    }

    /// A fact: numbered, stamped and linked to the last one of its showtime.
    fn tell(&mut self, showtime: Option<ShowtimeId>, event: Event) {
        let sequence = self.records.len() as u64 + 1;
        let before = self.records.iter().rev().find(|record| record.showtime == showtime);
        let mut bytes = before.map_or([0; 32], |record| record.chain).to_vec();
        bytes.extend(codec::encode(&(sequence, self.now, showtime, &event)));
        let chain = Sha256::digest(&bytes).into();
        // As many bytes as were hashed: a link stands behind the fact where one stood in front.
        self.record_lens.push(bytes.len() as u64);
        self.records.push(EventRecord { sequence, at: self.now, showtime, event, chain });
    }

    fn tell_of(&mut self, showtime: ShowtimeId, event: Event) {
        self.tell(Some(showtime), event);
    }

    pub(crate) fn apply(&mut self, at: Timestamp, envelope: &Envelope<ShardCommand>) -> Reply {
        self.advance(at);
        if let Some(reply) = self.answer_again(envelope) {
            self.forget_requests();
            return reply;
        }
        self.offers_left = OFFERS_PER_STEP;
        let result = self.execute(&envelope.command);
        self.offer();
        self.settle();
        let reply = Reply { result, replayed: false };
        self.remember(envelope, &reply);
        self.forget_requests();
        self.forget();
        reply
    }

    fn advance(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        self.settle();
        self.forget();
    }

    fn dues(&self) -> Vec<(Timestamp, ModelDue)> {
        let mut dues = Vec::new();
        for (&id, show) in &self.shows {
            if show.state == QueueState::Scheduled {
                dues.extend(show.sale.prequeue_at.map(|at| (at, ModelDue::Prequeue(id))));
            }
            if show.is_ahead() && !show.awaits_beacon {
                dues.extend(show.sale.opens_at.map(|at| (at, ModelDue::Opening(id))));
            }
            if show.state != QueueState::Closed {
                dues.extend(show.sale.closes_at.map(|at| (at, ModelDue::Closing(id))));
            }
            for (ticket, number) in show.tickets.iter().zip(1..) {
                if let At::Shopping(until) = ticket.at {
                    dues.push((until, ModelDue::Session(id, number)));
                }
            }
            dues.extend(show.calls.iter().map(|call| (call.claim_by, ModelDue::Claims(id, call.from))));
            if show.state == QueueState::Closed && self.waits(id) {
                dues.push((show.ended_at + Millis(20), ModelDue::Admission(id)));
            }
            dues.extend(show.step_at().map(|at| (at, ModelDue::Admission(id))));
            dues.extend(show.offers_due.map(|at| (at, ModelDue::Offers(id))));
        }
        for (&id, hold) in &self.holds {
            dues.push((hold.expires_at, hold.order.map_or(ModelDue::Hold(id), ModelDue::Order)));
        }
        dues
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.dues().into_iter().map(|due| due.0).min()
    }

    /// Everything happens whose time has come, one after the other.
    fn settle(&mut self) {
        self.offers_left = OFFERS_PER_STEP;
        while let Some((_, due)) = self.dues().into_iter().filter(|due| due.0 <= self.now).min() {
            match due {
                ModelDue::Prequeue(id) => self.start_prequeue(id),
                ModelDue::Opening(id) => self.open_on_time(id),
                ModelDue::Closing(id) => self.close(id),
                ModelDue::Order(id) => self.expire_order(id),
                ModelDue::Hold(id) => self.expire_hold(id),
                ModelDue::Session(id, number) => {
                    let ticket = &mut self.show_mut(id).tickets[number as usize - 1];
                    let number = TicketNumber(number);
                    if ticket.has_bought {
                        ticket.at = At::Done;
                        self.tell_of(id, Event::AdmissionDone { ticket: number });
                    } else {
                        ticket.at = At::Expired;
                        self.tell_of(id, Event::AdmissionExpired { ticket: number });
                    }
                }
                ModelDue::Claims(id, from) => self.expire_claims(id, from),
                ModelDue::Admission(id) if self.shows[&id].state == QueueState::Closed => self.end_waiting(id),
                ModelDue::Admission(id) => self.admit(id),
                ModelDue::Offers(id) => self.show_mut(id).offers_due = None,
            }
            self.offer();
        }
    }

    fn execute(&mut self, command: &ShardCommand) -> Result<Outcome, Refusal> {
        match command {
            ShardCommand::Tick => Ok(Outcome::Done),
            ShardCommand::CreateShowtime(ask) => self.create(ask),
            ShardCommand::UpdateSale(ask) => self.update_sale(ask),
            ShardCommand::OpenQueue(ask) => self.open_now(ask.showtime),
            ShardCommand::PauseQueue(ask) => {
                self.switch(ask.showtime, QueueState::Open, QueueState::Paused, Event::QueuePaused)
            }
            ShardCommand::ResumeQueue(ask) => {
                self.switch(ask.showtime, QueueState::Paused, QueueState::Open, Event::QueueResumed)
            }
            ShardCommand::CloseQueue(ask) => {
                if self.show(ask.showtime)?.state != QueueState::Closed {
                    self.close(ask.showtime);
                }
                Ok(Outcome::Done)
            }
            ShardCommand::SetQueueMessage(ask) => self.set_message(ask),
            ShardCommand::RecordBeacon(ask) => self.record_beacon(ask),
            ShardCommand::JoinQueue(ask) => self.join(ask),
            ShardCommand::LeaveQueue(ask) => self.leave(ask),
            ShardCommand::ClaimAdmission(ask) => self.claim(ask),
            ShardCommand::HoldSeats(ask) => self.hold(ask),
            ShardCommand::ExtendHold(ask) => self.extend(ask),
            ShardCommand::ReleaseHold(ask) => {
                if self.hold_of(ask.hold, ask.user)?.order.is_some() {
                    return Err(Refusal::HoldHasOrder);
                }
                self.give_back(ask.hold);
                Ok(Outcome::Done)
            }
            ShardCommand::BlockSeats(ask) => self.block(ask),
            ShardCommand::UnblockSeats(ask) => self.unblock(ask),
            ShardCommand::PlaceOrder(ask) => self.order(ask),
            ShardCommand::CancelOrder(ask) => self.cancel(ask),
            ShardCommand::RecordPayment(ask) => self.pay(ask),
            ShardCommand::RefundOrder(ask) => self.refund(ask),
            ShardCommand::RecordRefund(ask) => self.repay(ask),
            ShardCommand::JoinWaitlist(ask) => self.join_waitlist(ask),
            ShardCommand::LeaveWaitlist(ask) => self.leave_waitlist(ask),
            ShardCommand::SetLimits(ask) => self.set_limits(ask),
            ShardCommand::RegisterSink(ask) => self.register_sink(ask),
            ShardCommand::AcknowledgeEvents(ask) => self.acknowledge(ask),
            ShardCommand::RemoveSink(ask) => {
                check_len("sink", &ask.sink, 1, 100)?;
                self.sinks.remove(&ask.sink);
                Ok(Outcome::Done)
            }
        }
    }
}

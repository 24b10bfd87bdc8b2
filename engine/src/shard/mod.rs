//! The state machine of a shard: everything of the showtimes placed there.
//!
//! One file a command. What they work on: [`showtime`] (settings and house), [`seats`] (packed pages), [`line`] (the
//! cursor and the tickets), [`hold`], [`order`], and [`deadlines`] (everything that falls due).
//!
//! Each command is preceded and followed by what is due: expiries in order of time, then admission. So what a batch
//! does depends on its commands and times alone, not on how it was cut.

mod audit;
mod best;
mod best_runs;
mod block_seats;
mod cancel_order;
mod claim_admission;
mod create_showtime;
mod deadlines;
mod extend_hold;
mod hold;
mod hold_seats;
mod house;
mod join_queue;
mod leave_queue;
mod line;
#[cfg(any(test, feature = "model"))]
pub(crate) mod model;
mod older_payments;
mod order;
mod place_order;
mod queries;
mod ranks;
mod record_beacon;
mod record_payment;
mod record_refund;
mod refund_order;
mod release_hold;
mod rooms;
mod rows;
mod run_queue;
mod seats;
mod set_queue_message;
mod showtime;
mod showtimes;
mod unblock_seats;
mod update_sale;
mod waitlist;

#[cfg(test)]
mod tests;

use crate::group_state::{Events, GroupState, Recalled};
use crate::row::{RowWriter, digest_rows};
use crate::table::Table;
use crate::{
    DirtyRows, Envelope, EventRecord, GroupId, HoldId, Loader, OrderView, Outcome, Refusal, Reply, Row, Sequence,
    ShardAnswer, ShardCommand, ShardQuery, ShowtimeId, StateMachine, Timestamp, codec,
};
pub(crate) use create_showtime::{GROUP_SHOWTIMES_MAX, check_each_price, check_prices};
use deadlines::{Deadlines, Due};
use hold::Hold;
use older_payments::OlderPayments;
use showtime::Showtime;
use showtimes::Showtimes;
use std::collections::BTreeSet;
use waitlist::Entry;

/// The state machine of a shard: everything of the showtimes placed there.
#[derive(Debug)]
pub struct Shard {
    state: GroupState,
    showtimes: Showtimes,
    /// Live holds by counter.
    holds: Table<Hold>,
    /// All orders by counter.
    orders: Table<OrderView>,
    /// Payments that the orders no longer name.
    older_payments: OlderPayments,
    /// Live entries of waitlists by counter.
    entries: Table<Entry>,
    counters: Counters,
    counters_dirty: bool,
    /// Derived from all of the above.
    deadlines: Deadlines,
    /// Showtimes in which something came free during the command at work.
    freed: BTreeSet<ShowtimeId>,
    /// So many offers may yet be made in the step at work.
    offers_left: usize,
    /// Facts of the command at work.
    events: Events,
}

/// The counters of the ids made last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Counters {
    hold: u64,
    order: u64,
    offer: u64,
}

impl Shard {
    fn apply_one(&mut self, envelope: &Envelope<ShardCommand>) -> Reply {
        self.settle();
        let command = &envelope.command;
        let reply = match self.state.recall(envelope.request, |bytes| codec::encode_into(command, bytes)) {
            Recalled::Answered(reply) => reply,
            Recalled::New(request) => {
                let result = self.execute(command);
                self.state.reply(request, result)
            }
        };
        self.state.forget_requests();
        self.state.forget_events();
        reply
    }

    /// Executes one command and everything that is due after it, and records the facts.
    fn execute(&mut self, command: &ShardCommand) -> Result<Outcome, Refusal> {
        self.offers_left = waitlist::OFFERS_PER_STEP;
        let mut events = std::mem::take(&mut self.events);
        let result = self.dispatch(command, &mut events);
        self.make_offers(&mut events);
        assert!(result.is_ok() || events.0.is_empty(), "a refused command leaves no trace");
        self.record(&mut events);
        self.events = events;
        self.settle();
        result
    }

    fn dispatch(&mut self, command: &ShardCommand, events: &mut Events) -> Result<Outcome, Refusal> {
        match command {
            ShardCommand::Tick => Ok(Outcome::Done),
            ShardCommand::CreateShowtime(ask) => self.create_showtime(ask, events),
            ShardCommand::UpdateSale(ask) => self.update_sale(ask, events),
            ShardCommand::OpenQueue(ask) => self.open_queue(ask, events),
            ShardCommand::PauseQueue(ask) => self.pause_queue(ask, events),
            ShardCommand::ResumeQueue(ask) => self.resume_queue(ask, events),
            ShardCommand::CloseQueue(ask) => self.close_queue(ask, events),
            ShardCommand::SetQueueMessage(ask) => self.set_queue_message(ask, events),
            ShardCommand::JoinQueue(ask) => self.join_queue(ask, events),
            ShardCommand::LeaveQueue(ask) => self.leave_queue(ask, events),
            ShardCommand::ClaimAdmission(ask) => self.claim_admission(ask, events),
            ShardCommand::HoldSeats(ask) => self.hold_seats(ask, events),
            ShardCommand::ExtendHold(ask) => self.extend_hold(ask, events),
            ShardCommand::ReleaseHold(ask) => self.release_hold(ask, events),
            ShardCommand::PlaceOrder(ask) => self.place_order(ask, events),
            ShardCommand::CancelOrder(ask) => self.cancel_order(ask, events),
            ShardCommand::RecordPayment(ask) => self.record_payment(ask, events),
            ShardCommand::RefundOrder(ask) => self.refund_order(ask, events),
            ShardCommand::RecordRefund(ask) => self.record_refund(ask, events),
            ShardCommand::BlockSeats(ask) => self.block_seats(ask, events),
            ShardCommand::UnblockSeats(ask) => self.unblock_seats(ask, events),
            ShardCommand::JoinWaitlist(ask) => self.join_waitlist(ask, events),
            ShardCommand::LeaveWaitlist(ask) => self.leave_waitlist(ask, events),
            ShardCommand::RecordBeacon(ask) => self.record_beacon(ask, events),
            ShardCommand::SetLimits(ask) => self.state.set_limits(ask, events),
            ShardCommand::RegisterSink(ask) => self.state.register_sink(ask),
            ShardCommand::AcknowledgeEvents(ask) => self.state.acknowledge_events(ask),
            ShardCommand::RemoveSink(ask) => self.state.remove_sink(ask),
        }
    }

    /// Numbers the facts and links them into the chains of their showtimes.
    fn record(&mut self, events: &mut Events) {
        let now = self.state.now;
        for (showtime, event) in events.0.drain(..) {
            let chain = match showtime.and_then(|id| self.showtimes.get_mut(&id)) {
                Some(showtime) => {
                    showtime.touch(now);
                    &mut showtime.chain
                }
                None => &mut self.state.chain,
            };
            self.state.journal.append(now, showtime, &event, chain);
        }
    }

    /// Lets everything happen whose time has come, in order of time.
    fn settle(&mut self) {
        self.offers_left = waitlist::OFFERS_PER_STEP;
        while let Some(due) = self.deadlines.pop_due(self.state.now) {
            let mut events = std::mem::take(&mut self.events);
            match due {
                Due::Prequeue(showtime) => self.start_prequeue(showtime, &mut events),
                Due::Opening(showtime) => self.open_on_time(showtime, &mut events),
                Due::Closing(showtime) => self.close_on_time(showtime, &mut events),
                Due::Order(order) => self.expire_order(order, &mut events),
                Due::Hold(hold) => self.expire_hold(hold, &mut events),
                Due::Session(showtime, ticket) => self.expire_session(showtime, ticket, &mut events),
                Due::Claims(showtime, segment) => self.expire_claims(showtime, segment, &mut events),
                Due::Admission(showtime) => self.admit(showtime, &mut events),
                Due::Offers(showtime) => self.go_on_offering(showtime),
            }
            self.make_offers(&mut events);
            self.record(&mut events);
            self.events = events;
        }
    }

    fn showtime(&self, id: ShowtimeId) -> Result<&Showtime, Refusal> {
        self.showtimes.get(&id).ok_or(Refusal::NoSuchShowtime)
    }

    /// A showtime that something of the state belongs to.
    fn showtime_mut(&mut self, id: ShowtimeId) -> &mut Showtime {
        self.showtimes.get_mut(&id).expect("what belongs to a showtime goes before it")
    }

    fn hold_id(&self, counter: u64) -> HoldId {
        HoldId::new(self.state.group, counter)
    }
}

impl StateMachine for Shard {
    type Command = ShardCommand;
    type Query = ShardQuery;
    type Answer = ShardAnswer;

    fn new(group: GroupId) -> Self {
        Self {
            state: GroupState::new(group),
            showtimes: Showtimes::default(),
            holds: Table::default(),
            orders: Table::default(),
            older_payments: OlderPayments::default(),
            entries: Table::default(),
            counters: Counters::default(),
            counters_dirty: false,
            deadlines: Deadlines::default(),
            freed: BTreeSet::new(),
            offers_left: 0,
            events: Events::default(),
        }
    }

    fn apply(&mut self, at: Timestamp, batch: &[Envelope<ShardCommand>]) -> Vec<Reply> {
        self.state.advance(at);
        self.settle();
        self.state.forget_events();
        batch.iter().map(|envelope| self.apply_one(envelope)).collect()
    }

    fn query(&self, query: &ShardQuery) -> ShardAnswer {
        self.answer(query)
    }

    fn tick() -> ShardCommand {
        ShardCommand::Tick
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.deadlines.first()
    }

    fn now(&self) -> Timestamp {
        self.state.now
    }

    fn last_sequence(&self) -> Sequence {
        self.state.journal.last_sequence()
    }

    fn events(&self, from: Sequence, count_max: usize) -> Result<Vec<EventRecord>, Sequence> {
        self.state.journal.events(from, count_max)
    }

    fn drain_dirty(&mut self) -> DirtyRows {
        let mut rows = RowWriter::default();
        self.write_dirty(&mut rows);
        rows.0
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = RowWriter::default();
        self.write_all(&mut rows);
        rows.into_rows()
    }

    fn loader(group: GroupId) -> impl Loader<Self> + Send + 'static {
        rows::ShardLoader::new(group)
    }

    fn digest(&self) -> [u8; 32] {
        digest_rows(&self.rows())
    }

    fn audit(&self) -> Result<(), String> {
        self.audit_all()
    }
}

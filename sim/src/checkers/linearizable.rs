//! Linearizability of single seats and holds, by search: from calls and returns alone, trusting nothing that the server says
//! about order.
//!
//! The calls that touch a seat are taken as operations on one register: nobody's, or some hold's until it is over. The search is that of Wing and Gong with Lowe's memory of the states it has been in: J. M. Wing and
//! C. Gong, "Testing and Verifying Concurrent Objects", J. Parallel Distrib. Comput. 17 (1993); G. Lowe, "Testing for
//! linearizability", Concurrency Computat. Pract. Exper. 29 (2017). Seats are searched one by one, as linearizability is
//! local (Herlihy and Wing, 1990).
//!
//! What the server does by itself, when a time is over, is a call that nobody made: it may come at any moment from when the
//! hold was granted on. A call of unknown outcome may take effect at any moment after it was made, or never. Who asked for
//! seats and heard nothing, or was offered some and did not look, is a stranger: a seat may be refused because of one, once
//! for each. What was done twice, the first time being forgotten, is two calls of unknown outcome. A search that gives up has
//! failed.

use super::{Checker, Look};
use crate::clock::{EPOCH, LOG_TIME_AHEAD_MAX};
use crate::history::{Answer, Ask, Call, Happening};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{
    ExtendHold, GroupId, HoldAnswer, HoldId, LeaveQueue, LeaveWaitlist, OfferId, OrderId, OrderState, Outcome,
    PlaceOrder, Refusal, Reply, RequestId, SeatChoice, SeatId, ShardAnswer, ShardCommand, ShowtimeId, Timestamp,
    UserId,
};
use vestibule_raft::cluster::Consistency;

/// After so many states the search gives up.
const STATES_MAX: usize = 400_000;

/// What a call did to a seat, as far as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It became this hold's.
    Take(HoldId),
    /// It was seen to be this hold's: it was ordered, prolonged or paid.
    See(HoldId),
    /// It was sold to this hold, or to the order made of it: no time is over any more.
    Sell(HoldId),
    /// It was sold to an order whose time may have been over. Such an order is booked once more if its seats are still free.
    SellLate(HoldId),
    /// Somebody saw that it was not free.
    SeeTaken,
    /// This hold or what was sold with it gave it up.
    Free(HoldId),
    /// It was blocked, or freed of its block.
    Block,
    Unblock,
}

/// One operation. Times count happenings.
#[derive(Debug, Clone, Copy)]
struct Operation {
    effect: Effect,
    called: usize,
    /// Never, if its outcome is not known.
    returned: usize,
    /// Whether it may never have taken effect.
    is_optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Register {
    Free,
    Blocked,
    Held(HoldId),
    Sold(HoldId),
    /// A stranger has it, or had it and gave it up: no client can tell.
    Stranger,
}

impl Register {
    /// What it becomes; nothing if this cannot happen now.
    fn after(self, effect: Effect) -> Option<Self> {
        match (effect, self) {
            (Effect::Take(hold), Self::Free | Self::Stranger) => Some(Self::Held(hold)),
            (Effect::See(hold), Self::Held(owner)) | (Effect::See(hold), Self::Sold(owner)) if hold == owner => {
                Some(self)
            }
            (Effect::Sell(hold) | Effect::SellLate(hold), Self::Held(owner) | Self::Sold(owner)) if hold == owner => {
                Some(Self::Sold(hold))
            }
            (Effect::SellLate(hold), Self::Free | Self::Stranger) => Some(Self::Sold(hold)),
            (Effect::SeeTaken, Self::Held(_) | Self::Sold(_) | Self::Blocked | Self::Stranger) => Some(self),
            (Effect::Free(hold), Self::Held(owner)) | (Effect::Free(hold), Self::Sold(owner)) if hold == owner => {
                Some(Self::Free)
            }
            (Effect::Block, Self::Free | Self::Blocked | Self::Stranger) => Some(Self::Blocked),
            (Effect::Unblock, Self::Blocked) => Some(Self::Free),
            (Effect::Unblock, Self::Free | Self::Held(_) | Self::Sold(_) | Self::Stranger) => Some(self),
            _ => None,
        }
    }
}

/// Which operations are done, what the register is then, and how many strangers have been there.
type State = (Vec<u64>, Register, usize);

/// Searches for an order of the operations that a register allows and that keeps real time. Strangers come at these
/// happenings or later, each once at most.
fn search(operations: &[Operation], strangers: &[usize], states_max: usize) -> Result<(), String> {
    let count = operations.len();
    let has = |done: &[u64], index: usize| done[index / 64] >> (index % 64) & 1 == 1;
    let mut seen: HashSet<State, BuildFixed> = HashSet::default();
    let mut stack = vec![(vec![0u64; count.div_ceil(64)], Register::Free, 0)];
    while let Some((done, register, used)) = stack.pop() {
        let open: Vec<usize> = (0..count).filter(|&index| !has(&done, index)).collect();
        let must = || open.iter().map(|&index| &operations[index]).filter(|operation| !operation.is_optional);
        // Nothing can come after an operation that had returned before it was called.
        let Some(bound) = must().map(|operation| operation.returned).min() else { return Ok(()) };
        let mut next: Vec<(bool, usize, State)> = Vec::new();
        for &index in open.iter().filter(|&&index| operations[index].called <= bound) {
            let operation = &operations[index];
            // The earliest stranger excludes least.
            let stranger = strangers.get(used).filter(|&&called| called <= bound && register == Register::Free);
            let (after, called, used) = match (register.after(operation.effect), stranger) {
                (Some(after), _) => (after, operation.called, used),
                (None, Some(&stranger)) if operation.effect == Effect::SeeTaken => {
                    (Register::Stranger, operation.called.max(stranger), used + 1)
                }
                _ => continue,
            };
            let mut with = done.clone();
            with[index / 64] |= 1 << (index % 64);
            let mut forfeits = false;
            for &other in open.iter().filter(|&&other| operations[other].returned < called) {
                // It had returned, so it has not taken effect and cannot do so any more.
                with[other / 64] |= 1 << (other % 64);
                forfeits = true;
            }
            let only_looks = matches!(operation.effect, Effect::See(_) | Effect::SeeTaken) && after == register;
            if only_looks && !operation.is_optional && !forfeits {
                // What never changes anything and excludes nothing may as well come now: no other order is easier to complete.
                // It is not so for a second block, which changes nothing now and would later.
                next = vec![(false, 0, (with, after, used))];
                break;
            }
            next.push((operation.is_optional, operation.returned, (with, after, used)));
        }
        // What has to be, and was over first, is tried first.
        next.sort_by_key(|&(is_optional, returned, _)| std::cmp::Reverse((is_optional, returned)));
        for (.., state) in next {
            if seen.insert(state.clone()) {
                stack.push(state);
            }
        }
        if seen.len() > states_max {
            return Err(format!("the search gave up after {states_max} states of {count} operations"));
        }
    }
    Err(format!("no order of its {count} operations explains what clients were told"))
}

/// Hashes alike in every process, so that every run of a seed searches alike.
type BuildFixed = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// A call with the happening at which it began, and its first reply with the happening at which that came.
type Asked = (Arc<Call>, usize, Option<(Reply, usize)>);

/// See the file's head.
#[derive(Default)]
pub struct Linearizable {
    /// When each happening was.
    times: Vec<Duration>,
    calls: BTreeMap<usize, Asked>,
    /// Questions that were answered, with the happenings at which they began and ended.
    reads: Vec<(Arc<Call>, usize, usize, ShardAnswer)>,
    /// What was done anew, the first time being forgotten.
    anew: BTreeSet<(GroupId, RequestId)>,
}

/// What happens to a seat.
#[derive(Default)]
struct Doings {
    operations: Vec<Operation>,
    /// When strangers may have begun to take it, in order.
    strangers: Vec<usize>,
}

/// What clients learnt of a hold.
struct Hold {
    showtime: ShowtimeId,
    user: UserId,
    seats: BTreeSet<SeatId>,
    /// The happening from which on its time may be over.
    over_from: usize,
    is_granted: bool,
}

impl Linearizable {
    /// The first happening at which clocks may have shown this time of day.
    fn happening_at(&self, time: Timestamp) -> usize {
        let since = Duration::from_millis(time.0).saturating_sub(EPOCH).saturating_sub(LOG_TIME_AHEAD_MAX);
        self.times.partition_point(|&at| at < since)
    }

    /// The operations on a seat, by when they were called, for whoever looks into it.
    fn tell(&self, doings: &Doings) -> String {
        let at = |happening: usize| match self.times.get(happening) {
            Some(at) => format!("{:.3}s", at.as_secs_f64()),
            None => "?".to_owned(),
        };
        let mut operations = doings.operations.clone();
        operations.sort_by_key(|operation| operation.called);
        let operations = operations.iter().map(|operation| {
            let maybe = if operation.is_optional { " maybe" } else { "" };
            format!("{:?}{maybe} {} to {}", operation.effect, at(operation.called), at(operation.returned))
        });
        let strangers = doings.strangers.iter().map(|&called| format!("stranger from {}", at(called)));
        operations.chain(strangers).collect::<Vec<_>>().join(", ")
    }

    /// Makes two calls of unknown outcome of each that was done twice.
    fn split_those_done_anew(&mut self) {
        let anew = self.calls.values_mut().filter(|(call, ..)| self.anew.contains(&(call.group, call.request)));
        let second: Vec<Asked> = anew
            .map(|(call, called, answer)| {
                *answer = None;
                (call.clone(), *called, None)
            })
            .collect();
        let first = self.calls.last_key_value().map_or(0, |(last, _)| last + 1);
        self.calls.extend((first..).zip(second));
    }

    /// The holds that clients heard of, and the holds that orders were made of.
    fn holds(&self) -> (BTreeMap<HoldId, Hold>, BTreeMap<OrderId, HoldId>) {
        let (mut holds, mut orders) = (BTreeMap::new(), BTreeMap::new());
        let mut learn = |id, showtime, user, seats: &[SeatId], until| {
            let (seats, over_from) = (seats.iter().copied(), self.happening_at(until));
            let fresh = Hold { showtime, user, seats: BTreeSet::new(), over_from, is_granted: false };
            let hold: &mut Hold = holds.entry(id).or_insert(fresh);
            hold.seats.extend(seats);
            hold.over_from = hold.over_from.min(over_from);
        };
        for (.., answer) in self.calls.values() {
            match answer.as_ref().map(|(reply, _)| &reply.result) {
                Some(Ok(Outcome::Held { hold })) => {
                    learn(hold.hold, hold.showtime, hold.user, &hold.places.seats, hold.expires_at);
                }
                Some(Ok(Outcome::Ordered { order } | Outcome::PaymentKnown { order, .. })) => {
                    learn(order.hold, order.showtime, order.user, &order.places.seats, order.pay_by);
                    orders.insert(order.order, order.hold);
                }
                _ => {}
            }
        }
        for (.., answer) in &self.reads {
            if let ShardAnswer::Hold(HoldAnswer::Live(hold)) = answer {
                learn(hold.hold, hold.showtime, hold.user, &hold.places.seats, hold.expires_at);
            }
        }
        for (call, called, answer) in self.calls.values() {
            let Ask::Shard(command) = &call.ask else { continue };
            match (&**command, answer) {
                // Its order may be there, with a deadline that nobody heard of.
                (ShardCommand::PlaceOrder(ask), None) => {
                    if let Some(hold) = holds.get_mut(&ask.hold) {
                        hold.over_from = hold.over_from.min(*called);
                    }
                }
                (ShardCommand::HoldSeats(_), Some((Reply { result: Ok(Outcome::Held { hold }), .. }, _))) => {
                    if let Some(hold) = holds.get_mut(&hold.hold) {
                        hold.is_granted = true;
                    }
                }
                _ => {}
            }
        }
        (holds, orders)
    }

    /// When strangers may have begun to take a seat, in order.
    fn strangers(&self, holds: &BTreeMap<HoldId, Hold>) -> Vec<(ShowtimeId, Option<&[SeatId]>, usize)> {
        // An entry whose offer clients know of is no stranger.
        let known: BTreeSet<OfferId> = self
            .reads
            .iter()
            .filter_map(|(.., answer)| match answer {
                ShardAnswer::Waitlist(Some(view)) => {
                    view.hold.filter(|hold| holds.contains_key(hold)).map(|_| view.entry)
                }
                _ => None,
            })
            .collect();
        let strangers = self.calls.values().filter_map(|(call, called, answer)| {
            let Ask::Shard(command) = &call.ask else { return None };
            match (&**command, answer.as_ref().map(|(reply, _)| &reply.result)) {
                (ShardCommand::HoldSeats(ask), None) => match &ask.choice {
                    SeatChoice::Named(seats) => Some((ask.showtime, Some(&**seats), *called)),
                    // Its places are no seats.
                    SeatChoice::Area { .. } => None,
                    SeatChoice::Best(_) => Some((ask.showtime, None, *called)),
                },
                (ShardCommand::JoinWaitlist(ask), None) => Some((ask.showtime, None, *called)),
                (ShardCommand::JoinWaitlist(ask), Some(Ok(Outcome::Waitlisted { entry, .. })))
                    if !known.contains(entry) =>
                {
                    Some((ask.showtime, None, *called))
                }
                _ => None,
            }
        });
        let mut strangers: Vec<_> = strangers.collect();
        strangers.sort_by_key(|&(.., called)| called);
        strangers
    }

    /// What happens to each seat that clients have heard of.
    fn doings(&self) -> BTreeMap<(ShowtimeId, SeatId), Doings> {
        let (holds, orders) = self.holds();
        let mut all: BTreeMap<(ShowtimeId, SeatId), Doings> = BTreeMap::new();
        let mut put = |showtime: ShowtimeId, seats: &mut dyn Iterator<Item = SeatId>, operation: Operation| {
            seats.for_each(|seat| all.entry((showtime, seat)).or_default().operations.push(operation));
        };
        for (call, called, returned, answer) in &self.reads {
            if let (Ask::Read(_, Consistency::Linearizable), ShardAnswer::Hold(HoldAnswer::Live(hold))) =
                (&call.ask, answer)
            {
                let effect = Effect::See(hold.hold);
                let seen = Operation { effect, called: *called, returned: *returned, is_optional: false };
                put(hold.showtime, &mut hold.places.seats.iter().copied(), seen);
            }
        }
        for (call, called, answer) in self.calls.values() {
            let Ask::Shard(command) = &call.ask else { continue };
            let result = answer.as_ref().map(|(reply, _)| &reply.result);
            let returned = answer.as_ref().map_or(usize::MAX, |(_, at)| *at);
            let maybe = |effect| Operation { effect, called: *called, returned, is_optional: true };
            let certain = |effect| Operation { is_optional: answer.is_none(), ..maybe(effect) };
            let is_done = matches!(result, None | Some(Ok(_)));
            match (&**command, result) {
                (ShardCommand::HoldSeats(_), Some(Ok(Outcome::Held { hold }))) => {
                    put(hold.showtime, &mut hold.places.seats.iter().copied(), certain(Effect::Take(hold.hold)));
                }
                (ShardCommand::HoldSeats(ask), Some(Err(Refusal::SeatsUnavailable { seats })))
                    if matches!(ask.choice, SeatChoice::Named(_)) =>
                {
                    put(ask.showtime, &mut seats.iter().copied(), certain(Effect::SeeTaken));
                }
                (ShardCommand::ExtendHold(ExtendHold { hold: id, .. }), Some(Ok(_)))
                | (ShardCommand::PlaceOrder(PlaceOrder { hold: id, .. }), Some(Ok(_))) => {
                    if let Some(hold) = holds.get(id) {
                        put(hold.showtime, &mut hold.seats.iter().copied(), certain(Effect::See(*id)));
                    }
                }
                (ShardCommand::ReleaseHold(ask), _) if is_done => {
                    if let Some(hold) = holds.get(&ask.hold) {
                        put(hold.showtime, &mut hold.seats.iter().copied(), certain(Effect::Free(ask.hold)));
                    }
                }
                (ShardCommand::LeaveQueue(LeaveQueue { user, .. }), _)
                | (ShardCommand::LeaveWaitlist(LeaveWaitlist { user, .. }), _)
                    if is_done =>
                {
                    for (&id, hold) in holds.iter().filter(|(_, hold)| hold.user == *user) {
                        put(hold.showtime, &mut hold.seats.iter().copied(), maybe(Effect::Free(id)));
                    }
                }
                (ShardCommand::CancelOrder(ask), _) if is_done => {
                    // Whoever cancels what is canceled frees nothing.
                    if let Some((id, hold)) = orders.get(&ask.order).and_then(|id| Some((*id, holds.get(id)?))) {
                        put(hold.showtime, &mut hold.seats.iter().copied(), maybe(Effect::Free(id)));
                    }
                }
                (ShardCommand::RecordPayment(_), Some(Ok(Outcome::Ordered { order })))
                    if order.state == OrderState::Completed =>
                {
                    put(order.showtime, &mut order.places.seats.iter().copied(), certain(Effect::Sell(order.hold)));
                }
                (ShardCommand::RecordPayment(ask), None) => {
                    if let Some((id, hold)) = orders.get(&ask.order).and_then(|id| Some((*id, holds.get(id)?))) {
                        put(hold.showtime, &mut hold.seats.iter().copied(), maybe(Effect::Sell(id)));
                    }
                }
                (ShardCommand::RefundOrder(ask), _) if is_done => {
                    if let Some((id, hold)) = orders.get(&ask.order).and_then(|id| Some((*id, holds.get(id)?))) {
                        match &ask.seats {
                            Some(seats) => put(hold.showtime, &mut seats.iter().copied(), certain(Effect::Free(id))),
                            // What went back before does not go back again.
                            None => put(hold.showtime, &mut hold.seats.iter().copied(), maybe(Effect::Free(id))),
                        }
                    }
                }
                (ShardCommand::BlockSeats(ask), _) if is_done => {
                    let seats: BTreeSet<SeatId> = ask.seats.iter().copied().collect();
                    put(ask.showtime, &mut seats.into_iter(), certain(Effect::Block));
                }
                (ShardCommand::UnblockSeats(ask), _) if is_done => {
                    let seats: BTreeSet<SeatId> = ask.seats.iter().copied().collect();
                    put(ask.showtime, &mut seats.into_iter(), certain(Effect::Unblock));
                }
                _ => {}
            }
        }
        for (&id, hold) in &holds {
            let over =
                Operation { effect: Effect::Free(id), called: hold.over_from, returned: usize::MAX, is_optional: true };
            put(hold.showtime, &mut hold.seats.iter().copied(), over);
            if !hold.is_granted {
                // It was offered to somebody who waited, or nobody heard of its grant.
                let taken = Operation { effect: Effect::Take(id), called: 0, ..over };
                put(hold.showtime, &mut hold.seats.iter().copied(), taken);
            }
        }
        let strangers = self.strangers(&holds);
        for (&(showtime, seat), doings) in &mut all {
            let theirs = strangers
                .iter()
                .filter(|(id, seats, _)| *id == showtime && seats.is_none_or(|seats| seats.contains(&seat)));
            doings.strangers = theirs.map(|&(.., called)| called).collect();
            let frees = doings.operations.clone();
            for sold in &mut doings.operations {
                let Effect::Sell(hold) = sold.effect else { continue };
                let may_be_over = |free: &Operation| free.effect == Effect::Free(hold) && free.called <= sold.returned;
                if frees.iter().any(may_be_over) {
                    sold.effect = Effect::SellLate(hold);
                }
            }
        }
        all
    }
}

impl Checker for Linearizable {
    fn name(&self) -> &'static str {
        "linearizable"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            let now = self.times.len();
            match happening {
                Happening::Called(call) => {
                    self.times.push(call.at);
                    self.calls.insert(call.number, (call.clone(), now, None));
                }
                Happening::Answered { call, answer, at } => {
                    self.times.push(*at);
                    match answer {
                        Answer::Reply(reply, _) => {
                            if let Some((.., answer)) = self.calls.get_mut(&call.number) {
                                answer.get_or_insert_with(|| (reply.clone(), now));
                            }
                        }
                        Answer::NotDone(_) => drop(self.calls.remove(&call.number)),
                        Answer::Read(answer, _) => {
                            if let Some((call, called, _)) = self.calls.remove(&call.number) {
                                self.reads.push((call, called, now, (**answer).clone()));
                            }
                        }
                        Answer::Unknown | Answer::LookUp(..) => {}
                    }
                }
            }
        }
        for (played, told) in
            look.played.iter().flat_map(|played| played.commands.iter().map(move |told| (played, told)))
        {
            self.anew.extend(told.request.filter(|_| told.is_anew).map(|request| (played.group, request)));
        }
        Ok(())
    }

    fn finish(&mut self, _last: &Look) -> Result<(), String> {
        self.split_those_done_anew();
        self.doings().iter().try_for_each(|((showtime, seat), doings)| {
            let searched = search(&doings.operations, &doings.strangers, STATES_MAX);
            searched.map_err(|what| format!("seat {} of {showtime}: {what}: {}", seat.0, self.tell(doings)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, joined};
    use super::*;
    use vestibule_engine::{JoinWaitlist, ReleaseHold};

    const ANN: UserId = UserId(7);
    const BOB: UserId = UserId(8);

    fn operation(effect: Effect, called: usize, returned: usize) -> Operation {
        Operation { effect, called, returned, is_optional: returned == usize::MAX }
    }

    fn explain(operations: &[Operation]) -> Result<(), String> {
        search(operations, &[], 1_000)
    }

    #[test]
    fn only_orders_that_keep_real_time_explain_a_history() {
        let (one, other) = (HoldId(1), HoldId(2));
        let take = |hold, called, returned| operation(Effect::Take(hold), called, returned);
        let free = |hold, called, returned| operation(Effect::Free(hold), called, returned);
        explain(&[take(one, 0, 1), take(other, 2, 3)]).expect_err("the first was not over");
        explain(&[take(one, 0, 1), free(one, 2, 3), take(other, 4, 5)]).expect("it was released");
        explain(&[take(one, 0, 1), free(one, 4, 5), take(other, 2, 3)]).expect_err("it was released too late");
        explain(&[take(one, 0, 1), free(one, 2, 5), take(other, 3, 4)]).expect("it was released meanwhile");
        explain(&[take(one, 0, 1), free(one, 2, usize::MAX), take(other, 8, 9)]).expect("it may take effect later");
        explain(&[take(one, 0, 1), free(one, 7, usize::MAX), take(other, 3, 4)]).expect_err("it was not called yet");
        let lost = Operation { is_optional: true, ..free(one, 2, 3) };
        explain(&[take(one, 0, 1), lost, operation(Effect::See(one), 4, 5), take(other, 6, 7)])
            .expect_err("what had returned before it was seen held cannot free it later");
        let seen = operation(Effect::SeeTaken, 2, 3);
        explain(&[seen]).expect_err("nobody had it");
        explain(&[take(one, 0, 4), seen]).expect("somebody was about to have it");
    }

    #[test]
    fn what_changes_nothing_now_may_have_come_later() {
        let operations = [
            operation(Effect::Block, 0, 1),
            operation(Effect::Unblock, 2, 6),
            operation(Effect::Block, 3, 7),
            operation(Effect::SeeTaken, 8, 9),
        ];
        explain(&operations).expect("blocked, freed, blocked again");
    }

    #[test]
    fn a_search_that_gives_up_has_failed() {
        let takes =
            (0..40).map(|hold| Operation { is_optional: false, ..operation(Effect::Take(HoldId(hold)), 0, 99) });
        let frees = (0..40).map(|hold| operation(Effect::Free(HoldId(hold)), 0, usize::MAX));
        let never = operation(Effect::See(HoldId(77)), 0, 99);
        let error = explain(&takes.chain(frees).chain([never]).collect::<Vec<_>>()).expect_err("there is no order");
        assert!(error.contains("gave up"), "{error}");
    }

    #[test]
    fn who_heard_nothing_may_stand_in_the_way_once() {
        let refused = |called| operation(Effect::SeeTaken, called, called + 1);
        let one = operation(Effect::Take(HoldId(1)), 6, 7);
        let explain = |operations: &[Operation], strangers: &[usize]| search(operations, strangers, 1_000);
        explain(&[refused(2)], &[]).expect_err("nobody had it");
        explain(&[refused(2)], &[1]).expect("unknown hold, then refused");
        explain(&[refused(2)], &[4]).expect_err("they came later");
        explain(&[refused(2), refused(4), one], &[1]).expect("they may have given it up");
        let free = operation(Effect::Free(HoldId(1)), 8, 9);
        explain(&[refused(2), one, free, refused(10)], &[1]).expect_err("they come once");
        explain(&[refused(2), one, free, refused(10)], &[1, 3]).expect("one each");
        explain(&[one, operation(Effect::Take(HoldId(2)), 8, 9)], &[1]).expect_err("a stranger frees nothing");
    }

    #[test]
    fn what_was_nobodys_is_sold_only_where_a_time_was_over() {
        let (take, free) = (operation(Effect::Take(HoldId(1)), 0, 1), operation(Effect::Free(HoldId(1)), 2, 3));
        let sold = |effect| operation(effect, 4, 5);
        explain(&[take, free, sold(Effect::Sell(HoldId(1)))]).expect_err("it had been released");
        explain(&[take, free, sold(Effect::SellLate(HoldId(1)))]).expect("it was still free");
        let other = operation(Effect::Take(HoldId(2)), 3, 3);
        explain(&[take, free, other, sold(Effect::SellLate(HoldId(1)))]).expect_err("it was another's");
    }

    fn check(looks: Vec<Look>) -> Result<(), String> {
        let mut checker = Linearizable::default();
        checker.observe(&joined(looks))?;
        checker.finish(&Look::default())
    }

    #[test]
    fn a_seat_with_two_owners_is_noticed() {
        let epoch = EPOCH.as_millis() as u64;
        let mut stage = Stage::without_line();
        stage.set_time(epoch);
        let (opened, first) = (stage.open(), stage.hold(ANN, &[SeatId(4)]));
        let refused = stage.hold(BOB, &[SeatId(4)]);
        let hold = HoldId::new(stage.group(), 1);
        let released = stage.run(ShardCommand::ReleaseHold(ReleaseHold { hold, user: ANN }));
        let second = stage.hold(BOB, &[SeatId(4)]);
        let all = vec![opened.clone(), first.clone(), refused, released, second.clone()];
        check(all).expect("as it was");
        check(vec![opened, first, second]).expect_err("nobody had released it");
    }

    /// Ann holds seat 4 for her 120 s; then Bob is refused, but nobody has heard of her hold.
    fn refused(answer: impl FnOnce(&mut Vec<Happening>)) -> Result<(), String> {
        let mut stage = Stage::without_line();
        stage.set_time(EPOCH.as_millis() as u64);
        let opened = stage.open();
        let mut first = stage.hold(ANN, &[SeatId(4)]);
        answer(&mut first.happenings);
        check(vec![opened, first, stage.hold(BOB, &[SeatId(4)])])
    }

    #[test]
    fn a_hold_of_which_nobody_heard_explains_a_refusal() {
        refused(|_| {}).expect("as it was");
        refused(Vec::clear).expect_err("nobody had asked for it");
        refused(|happenings| drop(happenings.pop())).expect("it was asked for, and nobody heard what came of it");
    }

    #[test]
    fn an_offer_of_which_nobody_heard_explains_a_refusal() {
        let waiting = |happenings: &mut Vec<Happening>| {
            let Some(Happening::Called(call)) = happenings.first() else { return };
            let showtime = ShowtimeId::new(call.group, 1);
            let ask = JoinWaitlist { showtime, user: ANN, quantity: 3, category: None, together: true };
            let ask = Ask::Shard(Box::new(ShardCommand::JoinWaitlist(ask)));
            *happenings = vec![Happening::Called(Arc::new(Call { ask, ..(**call).clone() }))];
        };
        refused(waiting).expect("she may have been offered it");
    }
}

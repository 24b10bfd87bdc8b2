//! A seat has at most one owner: what clients were told, and nothing else, must leave every seat one owner at a time.
//!
//! It knows holds, orders and their ends from replies alone. Where a call may free seats, they count as free from its
//! beginning on, whatever its outcome. Replies of one group are ordered by their positions; how long a hold lives is
//! counted in log time, which replies carry.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Call, Happening};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::{
    HoldId, HoldView, Millis, OrderId, OrderState, OrderView, Outcome, SeatId, ShardCommand, ShowtimeId, Timestamp,
    UserId,
};

/// See the file's head.
#[derive(Default)]
pub struct Seats {
    claims: BTreeMap<(ShowtimeId, SeatId), Vec<Claim>>,
    /// Holds that somebody may have given up, or that were bought and may have been given back.
    freed: BTreeSet<HoldId>,
    /// The hold that each order was made of.
    orders: BTreeMap<OrderId, HoldId>,
    /// Orders that somebody wanted to give back.
    refunded: BTreeSet<OrderId>,
    /// Holds that somebody wanted an order of: from then on the order's deadline counts, be it earlier or later.
    ordered: BTreeSet<HoldId>,
    /// The shortest life of holds that a showtime ever had.
    hold_ttl: BTreeMap<ShowtimeId, Millis>,
}

/// What somebody was told of a seat.
#[derive(Debug, Clone)]
struct Claim {
    /// The hold with which the seat was first taken; orders keep its name.
    hold: HoldId,
    user: UserId,
    /// The index of the entry that says so.
    index: u64,
    /// When that entry was made, at the latest; nothing if that is not known.
    made_at: Option<Timestamp>,
    /// Until when the seat is theirs; nothing if it is sold to them.
    until: Option<Timestamp>,
    /// Whether it comes from an order.
    is_of_order: bool,
}

impl Claim {
    /// Whether `later` cannot be, because of this one.
    fn excludes(&self, later: &Self) -> bool {
        self.hold != later.hold
            && self.index < later.index
            && match (self.until, later.made_at) {
                (None, _) => true,
                (Some(until), Some(made_at)) => made_at < until,
                (Some(_), None) => false,
            }
    }
}

impl Seats {
    fn claim(&mut self, showtime: ShowtimeId, seats: &[SeatId], claim: &Claim) -> Result<(), String> {
        for &seat in seats {
            let claims = self.claims.entry((showtime, seat)).or_default();
            let (freed, ordered) = (&self.freed, &self.ordered);
            let is_open =
                |claim: &Claim| freed.contains(&claim.hold) || !claim.is_of_order && ordered.contains(&claim.hold);
            let excluded = claims.iter().find_map(|other| {
                let (earlier, later) = if other.index < claim.index { (other, claim) } else { (claim, other) };
                (earlier.excludes(later) && !is_open(earlier)).then_some((earlier, later))
            });
            if let Some((earlier, later)) = excluded {
                return Err(format!(
                    "seat {} of {showtime} is {}'s by {} since entry {}, and became {}'s by {} in entry {}",
                    seat.0, earlier.user, earlier.hold, earlier.index, later.user, later.hold, later.index
                ));
            }
            claims.push(claim.clone());
        }
        Ok(())
    }

    fn hold(&mut self, hold: &HoldView, index: u64, is_new: bool) -> Result<(), String> {
        let ttl = self.hold_ttl.get(&hold.showtime).copied().filter(|_| is_new);
        let made_at = ttl.map(|ttl| Timestamp(hold.expires_at.0.saturating_sub(ttl.0)));
        let until = Some(hold.expires_at);
        let claim = Claim { hold: hold.hold, user: hold.user, index, made_at, until, is_of_order: false };
        self.claim(hold.showtime, &hold.places.seats, &claim)
    }

    fn order(&mut self, order: &OrderView, index: u64) -> Result<(), String> {
        self.orders.insert(order.order, order.hold);
        if self.refunded.contains(&order.order) {
            self.freed.insert(order.hold);
        }
        let until = match order.state {
            OrderState::PendingPayment => Some(order.pay_by),
            OrderState::Completed => None,
            // It has given its seats up.
            _ => {
                self.freed.insert(order.hold);
                return Ok(());
            }
        };
        let claim = Claim { hold: order.hold, user: order.user, index, made_at: None, until, is_of_order: true };
        self.claim(order.showtime, &order.places.seats, &claim)
    }

    fn note_call(&mut self, call: &Call) {
        let Ask::Shard(command) = &call.ask else { return };
        let mut live = |showtime: ShowtimeId, ttl: Millis| {
            let shortest = self.hold_ttl.entry(showtime).or_insert(ttl);
            *shortest = ttl.min(*shortest);
        };
        match &**command {
            ShardCommand::CreateShowtime(ask) => live(ask.showtime, ask.sale.hold_ttl),
            ShardCommand::UpdateSale(ask) => {
                if let Some(ttl) = ask.patch.hold_ttl {
                    live(ask.showtime, ttl);
                }
            }
            ShardCommand::ReleaseHold(ask) => {
                let mut claims = self.claims.values().flatten().filter(|claim| claim.hold == ask.hold);
                // Who has no claim to it cannot give it up, unless nobody is known to have one.
                if claims.next().is_none_or(|claim| claim.user == ask.user) {
                    self.freed.insert(ask.hold);
                }
            }
            ShardCommand::PlaceOrder(ask) => drop(self.ordered.insert(ask.hold)),
            // Which hold an order was made of stands in replies only: all of the buyer's count.
            ShardCommand::CancelOrder(ask) => self.free(|claim| claim.user == ask.user),
            ShardCommand::LeaveQueue(ask) => self.free(|claim| claim.user == ask.user),
            ShardCommand::RefundOrder(ask) => {
                self.refunded.insert(ask.order);
                // Of an order that nobody was told of there is no claim yet.
                self.freed.extend(self.orders.get(&ask.order));
            }
            _ => {}
        }
    }

    fn free(&mut self, is_theirs: impl Fn(&Claim) -> bool) {
        let theirs = self.claims.values().flatten().filter(|claim| is_theirs(claim)).map(|claim| claim.hold);
        self.freed.extend(theirs);
    }
}

impl Checker for Seats {
    fn name(&self) -> &'static str {
        "seats"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            match happening {
                Happening::Called(call) => self.note_call(call),
                Happening::Answered { call, answer: Answer::Reply(reply, at), .. } => match &reply.result {
                    // A repeated answer tells of the past: its position is that of the repetition.
                    Ok(_) if reply.replayed => {}
                    Ok(Outcome::Held { hold }) => {
                        let is_new =
                            matches!(&call.ask, Ask::Shard(ask) if matches!(**ask, ShardCommand::HoldSeats(_)));
                        self.hold(hold, at.index, is_new)?;
                    }
                    Ok(Outcome::Ordered { order } | Outcome::PaymentKnown { order, .. }) => {
                        self.order(order, at.index)?;
                    }
                    _ => {}
                },
                Happening::Answered { .. } => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;
    use vestibule_engine::{
        Currency, GroupId, HoldSeats, Money, PlaceOrder, Places, RefundOrder, ReleaseHold, Reply, RequestId, SeatChoice,
    };
    use vestibule_raft::cluster::Position;

    const GROUP: GroupId = GroupId(1);
    const SHOWTIME: ShowtimeId = ShowtimeId::new(GROUP, 1);
    const EUR: Currency = Currency(*b"EUR");
    const TTL: u64 = 5_000;

    fn called(command: ShardCommand) -> Happening {
        let ask = Ask::Shard(Box::new(command));
        let at = Duration::ZERO;
        Happening::Called(Arc::new(Call { number: 0, by: String::new(), group: GROUP, request: RequestId(0), ask, at }))
    }

    /// The user holds seat 4 with the hold of this number since log time `at`.
    fn held(user: u128, hold: u64, index: u64, at: u64) -> Happening {
        let user = UserId(user);
        let choice = SeatChoice::Named(vec![SeatId(4)]);
        let Happening::Called(call) = called(ShardCommand::HoldSeats(HoldSeats {
            showtime: SHOWTIME,
            user,
            ticket: None,
            channel: None,
            choice,
        })) else {
            unreachable!("it is a call")
        };
        let hold = HoldView {
            hold: HoldId::new(GROUP, hold),
            showtime: SHOWTIME,
            user,
            places: Places { seats: vec![SeatId(4)].into(), areas: Vec::new() },
            total: Money::zero(EUR),
            expires_at: Timestamp(at + TTL),
            order: None,
        };
        let reply = Reply { result: Ok(Outcome::Held { hold: Box::new(hold) }), replayed: false };
        let answer = Answer::Reply(reply, Position { term: 1, index });
        Happening::Answered { call, answer, at: Duration::ZERO }
    }

    fn check(happenings: Vec<Happening>) -> Result<(), String> {
        let mut seats = Seats::default();
        seats.hold_ttl.insert(SHOWTIME, Millis(TTL));
        seats.observe(&Look { happenings, ..Look::default() })
    }

    #[test]
    fn two_holders_at_a_time_are_noticed_in_whatever_order_they_hear_of_it() {
        check(vec![held(1, 1, 10, 0), held(2, 2, 11, 4_999)]).expect_err("the first hold lived");
        check(vec![held(2, 2, 11, 4_999), held(1, 1, 10, 0)]).expect_err("the first hold lived");
        check(vec![held(1, 1, 10, 0), held(2, 2, 11, 5_000)]).expect("the first hold had expired");
    }

    #[test]
    fn what_may_have_been_released_is_nobodys() {
        let release = |hold| called(ShardCommand::ReleaseHold(ReleaseHold { hold, user: UserId(1) }));
        let (own, other) = (HoldId::new(GROUP, 1), HoldId::new(GROUP, 9));
        check(vec![held(1, 1, 10, 0), release(own), held(2, 2, 12, 100)]).expect("it may have been released");
        check(vec![held(1, 1, 10, 0), release(other), held(2, 2, 12, 100)]).expect_err("another one was released");
    }

    /// Seat 4 is sold to the user by the hold and the order of this number.
    fn sold(user: u128, number: u64, index: u64) -> Happening {
        let Happening::Answered { call, answer: Answer::Reply(reply, _), at } = held(user, number, index, 0) else {
            unreachable!("it is an answer")
        };
        let Ok(Outcome::Held { hold }) = reply.result else { unreachable!("it is held") };
        let order = OrderView {
            order: OrderId::new(GROUP, number),
            hold: hold.hold,
            showtime: SHOWTIME,
            user: hold.user,
            email: String::new(),
            places: hold.places.clone(),
            channel: None,
            ticket: None,
            total: Money::zero(EUR),
            state: OrderState::Completed,
            placed_at: Timestamp(0),
            pay_by: Timestamp(0),
            captured: Money::zero(EUR),
            refund_due: Money::zero(EUR),
            refunded: Money::zero(EUR),
            payments: Vec::new(),
            foreign: Vec::new(),
        };
        let reply = Reply { result: Ok(Outcome::Ordered { order: Box::new(order) }), replayed: false };
        Happening::Answered { call, answer: Answer::Reply(reply, Position { term: 1, index }), at }
    }

    #[test]
    fn what_was_sold_is_theirs_unless_it_may_have_been_given_back() {
        let refund = |number| {
            let order = OrderId::new(GROUP, number);
            called(ShardCommand::RefundOrder(RefundOrder { order, seats: None, reason: String::new() }))
        };
        check(vec![sold(1, 1, 10), held(2, 2, 12, 100)]).expect_err("it was sold");
        check(vec![sold(1, 1, 10), refund(1), held(2, 2, 12, 100)]).expect("it may have been given back");
        check(vec![refund(1), sold(1, 1, 10), held(2, 2, 12, 100)]).expect("whoever hears of the order first");
        check(vec![sold(1, 1, 10), refund(9), held(2, 2, 12, 100)]).expect_err("another order was given back");
    }

    #[test]
    fn an_order_has_a_deadline_of_its_own() {
        let (hold, user) = (HoldId::new(GROUP, 1), UserId(1));
        let place = called(ShardCommand::PlaceOrder(PlaceOrder { hold, user, email: String::new() }));
        check(vec![held(1, 1, 10, 0), place, held(2, 2, 12, 100)]).expect("the order may have ended already");
    }
}

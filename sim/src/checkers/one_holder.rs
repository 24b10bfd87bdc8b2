//! A seat that one buyer was told is theirs is nobody else's meanwhile, as far as buyers over HTTP know.
//!
//! A hold counts from when its buyer heard of it until its buyer may have given it up, or wanted an order of it, or until its
//! deadline: it still lived if the other hold, whose deadline tells when it was made at the latest, was made before. A seat
//! that was paid for counts for ever, unless somebody wanted the money given back.

use super::{Checker, Look};
use crate::history::{Ask, Happening};
use crate::web::visits::{Deed, Event, HoldSeen, Said};
use std::collections::BTreeMap;
use std::time::Duration;
use vestibule_client::OrderState;
use vestibule_engine::{HoldId, Millis, OrderId, SeatId, ShardCommand, ShowtimeId, Timestamp, UserId};

/// What a buyer was told of a hold.
#[derive(Debug, Clone)]
struct Claim {
    hold: HoldSeen,
    user: Option<UserId>,
    /// When it was first asked for, and when its buyer heard of it.
    called: Duration,
    heard: Duration,
    /// When somebody first did what may end it.
    open_from: Option<Duration>,
    /// When its buyer heard that its seats are sold to them.
    sold_from: Option<Duration>,
    /// When somebody first wanted money back.
    refunded_from: Option<Duration>,
}

/// See the file's head.
#[derive(Default)]
pub struct OneHolder {
    claims: BTreeMap<HoldId, Claim>,
    holds: BTreeMap<OrderId, HoldId>,
    /// When a key was first used.
    keys: BTreeMap<(Option<UserId>, String), Duration>,
    /// The shortest life of holds that a showtime ever had.
    hold_ttl: BTreeMap<ShowtimeId, Millis>,
}

impl OneHolder {
    fn begin(&mut self, deed: &Deed, user: Option<UserId>, at: Duration) {
        match deed {
            Deed::Release(hold) | Deed::Order(hold) => self.open(hold, at),
            Deed::Leave(_) => {
                let theirs = self.claims.values_mut().filter(|claim| claim.user == user);
                theirs.for_each(|claim| {
                    claim.open_from.get_or_insert(at);
                });
            }
            Deed::Refund(order) => {
                if let Some(claim) = self.holds.get(order).and_then(|hold| self.claims.get_mut(hold)) {
                    claim.refunded_from.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, hold: &HoldId, at: Duration) {
        if let Some(claim) = self.claims.get_mut(hold) {
            claim.open_from.get_or_insert(at);
        }
    }

    fn end(&mut self, deed: &Deed, user: Option<UserId>, called: Duration, said: &Said, at: Duration) {
        match (deed, said) {
            (Deed::Hold(..), Said::Hold(hold)) => {
                let (hold, id) = (hold.clone(), hold.hold);
                let (open_from, sold_from, refunded_from) = (None, None, None);
                let claim = Claim { hold, user, called, heard: at, open_from, sold_from, refunded_from };
                self.claims.entry(id).or_insert(claim);
            }
            (_, Said::Order(order) | Said::Payment(_, _, order)) => {
                self.holds.insert(order.order, order.hold);
                if order.state == OrderState::Completed
                    && !matches!(deed, Deed::Refund(_))
                    && let Some(claim) = self.claims.get_mut(&order.hold)
                {
                    claim.sold_from.get_or_insert(at);
                }
            }
            _ => {}
        }
    }

    /// Whether `later`, which was asked for when the other was known, cannot be because of `earlier`.
    fn excludes(&self, earlier: &Claim, later: &Claim) -> bool {
        if earlier.hold.hold == later.hold.hold || earlier.heard > later.called {
            return false;
        }
        let was_sold = earlier.sold_from.is_some_and(|from| from <= later.called)
            && earlier.refunded_from.is_none_or(|from| from > later.heard);
        let ttl = self.hold_ttl.get(&later.hold.showtime).copied().unwrap_or_default();
        let made_at = Timestamp(later.hold.expires_at.0.saturating_sub(ttl.0));
        let was_held =
            earlier.open_from.is_none_or(|from| from > later.heard) && ttl.0 > 0 && made_at < earlier.hold.expires_at;
        was_sold || was_held
    }
}

impl Checker for OneHolder {
    fn name(&self) -> &'static str {
        "one holder"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            let Happening::Called(call) = happening else { continue };
            let Ask::Shard(command) = &call.ask else { continue };
            let (showtime, ttl) = match &**command {
                ShardCommand::CreateShowtime(ask) => (ask.showtime, Some(ask.sale.hold_ttl)),
                ShardCommand::UpdateSale(ask) => (ask.showtime, ask.patch.hold_ttl),
                _ => continue,
            };
            if let Some(ttl) = ttl {
                let shortest = self.hold_ttl.entry(showtime).or_insert(ttl);
                *shortest = ttl.min(*shortest);
            }
        }
        for event in &look.visits {
            match event {
                Event::Began(visit) => {
                    if let Some(key) = &visit.key {
                        self.keys.entry((visit.user, key.clone())).or_insert(visit.at);
                    }
                    self.begin(&visit.deed, visit.user, visit.at);
                }
                Event::Ended { visit, said, at, .. } => {
                    let first = visit.key.as_ref().and_then(|key| self.keys.get(&(visit.user, key.clone())));
                    let called = first.copied().unwrap_or(visit.at);
                    self.end(&visit.deed, visit.user, called, said, *at);
                }
                Event::Charged(_) => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self, _last: &Look) -> Result<(), String> {
        let mut by_seat: BTreeMap<(ShowtimeId, SeatId), Vec<&Claim>> = BTreeMap::new();
        for claim in self.claims.values() {
            for &seat in &claim.hold.seats {
                by_seat.entry((claim.hold.showtime, seat)).or_default().push(claim);
            }
        }
        for ((showtime, seat), claims) in by_seat {
            for earlier in &claims {
                if let Some(later) = claims.iter().find(|later| self.excludes(earlier, later)) {
                    return Err(format!("seat {} of {showtime} was held as {later:?} during {earlier:?}", seat.0));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::visited;
    use super::*;
    use crate::web::visits::OrderSeen;
    use vestibule_client::PaymentStatus;
    use vestibule_engine::{GroupId, PaymentId};

    const GROUP: GroupId = GroupId(1);
    const SHOWTIME: ShowtimeId = ShowtimeId::new(GROUP, 1);
    const ORDER: OrderId = OrderId::new(GROUP, 1);
    const TTL: u64 = 5_000;

    /// The user holds seat 4 since log time `made_at`.
    fn held(user: u128, number: u64, made_at: u64) -> (Option<UserId>, Deed, Said) {
        let (hold, expires_at) = (HoldId::new(GROUP, number), Timestamp(made_at + TTL));
        let seen = HoldSeen { hold, showtime: SHOWTIME, seats: vec![SeatId(4)], total: 1, expires_at };
        (Some(UserId(user)), Deed::Hold(SHOWTIME, String::new()), Said::Hold(seen))
    }

    fn paid() -> (Option<UserId>, Deed, Said) {
        let (hold, state, seats) = (HoldId::new(GROUP, 1), OrderState::Completed, vec![SeatId(4)]);
        let order = OrderSeen { order: ORDER, hold, showtime: SHOWTIME, state, seats, total: 1 };
        let said = Said::Payment(PaymentId(1), PaymentStatus::Succeeded, order);
        (Some(UserId(1)), Deed::Pay(ORDER, String::new()), said)
    }

    fn asked(deed: Deed) -> (Option<UserId>, Deed, Said) {
        (Some(UserId(1)), deed, Said::Unknown(String::new()))
    }

    fn check(visits: &[(Option<UserId>, Deed, Said)]) -> Result<(), String> {
        let mut checker = OneHolder::default();
        checker.hold_ttl.insert(SHOWTIME, Millis(TTL));
        checker.observe(&visited(visits))?;
        checker.finish(&Look::default())
    }

    #[test]
    fn a_seat_that_is_held_twice_is_noticed() {
        check(&[held(1, 1, 0), held(2, 2, TTL)]).expect("the first had expired");
        check(&[held(1, 1, 0), held(2, 2, TTL - 1)]).expect_err("the first lived");
        let release = asked(Deed::Release(HoldId::new(GROUP, 1)));
        check(&[held(1, 1, 0), release.clone(), held(2, 2, 1)]).expect("it may have been released");
        check(&[held(1, 1, 0), held(2, 2, 1), release]).expect_err("it was released too late");
    }

    #[test]
    fn a_seat_that_was_sold_is_noticed_when_it_is_held() {
        let (order, refund) = (asked(Deed::Order(HoldId::new(GROUP, 1))), asked(Deed::Refund(ORDER)));
        check(&[held(1, 1, 0), order.clone(), held(2, 2, TTL * 9)]).expect("the order may be over");
        check(&[held(1, 1, 0), order.clone(), paid(), held(2, 2, TTL * 9)]).expect_err("it was sold");
        check(&[held(1, 1, 0), order, paid(), refund, held(2, 2, TTL * 9)]).expect("it may have been given back");
    }
}

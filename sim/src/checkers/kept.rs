//! What a buyer was told over HTTP stays true: every hold, order and payment is found on all replicas in the end as it was
//! told, or the log says how it ended. What a gateway did about it is not asked.

use super::{Checker, Look};
use crate::history::Ask;
use crate::web::visits::{Deed, Event, HoldSeen, OrderSeen, Said};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_client::{OrderState as Seen, PaymentStatus};
use vestibule_engine::{
    Event as Fact, HoldAnswer, HoldId, OrderId, OrderState, Outcome, PaymentId, PaymentOutcome, ShardAnswer,
    ShardCommand, ShardQuery, UserId,
};

/// See the file's head.
#[derive(Default)]
pub struct Kept {
    holds: BTreeMap<HoldId, (HoldSeen, Option<UserId>)>,
    /// Holds that their buyers were told are released.
    released: BTreeSet<HoldId>,
    orders: BTreeMap<OrderId, (OrderSeen, Option<UserId>)>,
    /// Orders that their buyers were told are completed, or canceled.
    settled: BTreeMap<OrderId, Seen>,
    payments: BTreeMap<(OrderId, PaymentId), PaymentStatus>,
    /// Holds that ended, by the log: given up, over, or bought.
    ended: BTreeSet<HoldId>,
    /// Holds that were given up, by the log.
    given_up: BTreeSet<HoldId>,
    /// Orders of which seats went back, by the log.
    refunded: BTreeSet<OrderId>,
}

impl Kept {
    fn note(&mut self, deed: &Deed, user: Option<UserId>, said: &Said) -> Result<(), String> {
        match said {
            Said::Hold(hold) => {
                let (known, owner) = self.holds.entry(hold.hold).or_insert_with(|| (hold.clone(), user));
                let same = |known: &HoldSeen| (known.showtime, known.seats.clone(), known.total);
                if same(known) != same(hold) || *owner != user {
                    return Err(format!("{} is {hold:?} of {user:?}, and was {known:?} of {owner:?}", hold.hold));
                }
            }
            Said::Done => {
                if let Deed::Release(hold) = deed {
                    self.released.insert(*hold);
                }
            }
            Said::Order(order) | Said::Payment(_, _, order) => {
                let is_own = !matches!(deed, Deed::Refund(_));
                let (known, owner) = self.orders.entry(order.order).or_insert_with(|| (order.clone(), user));
                if (known.hold, known.showtime, known.total) != (order.hold, order.showtime, order.total)
                    || is_own && *owner != user
                {
                    return Err(format!("{} is {order:?} of {user:?}, and was {known:?} of {owner:?}", order.order));
                }
                if matches!(order.state, Seen::Completed | Seen::Canceled) {
                    self.settled.insert(order.order, order.state);
                }
                if let Said::Payment(payment, status, _) = said {
                    self.payments.insert((order.order, *payment), *status);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_order(&self, seen: &OrderSeen, user: Option<UserId>, answer: &ShardAnswer) -> Result<(), String> {
        let id = seen.order;
        let ShardAnswer::Order(Some(order)) = answer else { return Err(format!("{id} is lost")) };
        if Some(order.user) != user || order.hold != seen.hold || order.total.amount != seen.total {
            return Err(format!("{id} is {order:?}, which is not what {user:?} was told: {seen:?}"));
        }
        let is_refunded = self.refunded.contains(&id);
        let seats = &order.places.seats;
        if seats.iter().any(|seat| !seen.seats.contains(seat)) || !is_refunded && seats.len() != seen.seats.len() {
            return Err(format!("{id} is for {seats:?}, and its buyer was told {:?}", seen.seats));
        }
        match self.settled.get(&id) {
            Some(Seen::Completed) if order.state != OrderState::Completed && !is_refunded => {
                return Err(format!("{id} was completed and is {} without a refund", order.state));
            }
            // A late payment may still come.
            Some(Seen::Canceled) if matches!(order.state, OrderState::PendingPayment | OrderState::Expired) => {
                return Err(format!("{id} was canceled and is {}", order.state));
            }
            _ => {}
        }
        for ((_, payment), status) in self.payments.range((id, PaymentId(0))..=(id, PaymentId(u64::MAX))) {
            let known = order.payments.iter().find(|known| known.payment == *payment);
            let outcome = known.map(|known| known.outcome);
            let told =
                if *status == PaymentStatus::Succeeded { PaymentOutcome::Succeeded } else { PaymentOutcome::Failed };
            if outcome != Some(told) {
                return Err(format!("{payment} of {id} is {outcome:?}, and its buyer was told {status:?}"));
            }
        }
        Ok(())
    }
}

impl Checker for Kept {
    fn name(&self) -> &'static str {
        "kept"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for event in &look.visits {
            if let Event::Ended { visit, said, .. } = event {
                let noted = self.note(&visit.deed, visit.user, said);
                noted.map_err(|what| format!("visit @{}: {what}", visit.number))?;
            }
        }
        for told in look.played.iter().flat_map(|played| &played.commands) {
            if let Ask::Shard(command) = &told.ask
                && let ShardCommand::RefundOrder(ask) = &**command
                && told.reply.result.is_ok()
            {
                self.refunded.insert(ask.order);
            }
            if let Ok(Outcome::Ordered { order }) = &told.reply.result
                && order.state == OrderState::Completed
            {
                self.ended.insert(order.hold);
            }
        }
        for record in look.played.iter().flat_map(|played| played.events()) {
            if let Fact::HoldReleased { hold, .. } | Fact::HoldExpired { hold, .. } = &record.event {
                self.ended.insert(*hold);
                if matches!(record.event, Fact::HoldReleased { .. }) {
                    self.given_up.insert(*hold);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        if let Some(hold) = self.released.difference(&self.given_up).next() {
            return Err(format!("the buyer of {hold} was told that it is released, and the log knows nothing of it"));
        }
        for ((node, group), replica) in &last.replicas {
            let said = |what: String| format!("node {node}: {what}");
            for (&id, (seen, user)) in self.holds.iter().filter(|(id, _)| id.group() == *group) {
                match replica.ask(&ShardQuery::Hold(id))? {
                    ShardAnswer::Hold(HoldAnswer::Live(hold)) => {
                        if Some(hold.user) != *user || !hold.places.seats.iter().copied().eq(seen.seats.iter().copied())
                        {
                            return Err(said(format!("{id} is {hold:?}, and {user:?} was told {seen:?}")));
                        }
                    }
                    ShardAnswer::Hold(HoldAnswer::Gone) if self.ended.contains(&id) => {}
                    answer => return Err(said(format!("{id} is {answer:?}, and nothing says that it ended"))),
                }
            }
            for (&id, (seen, user)) in self.orders.iter().filter(|(id, _)| id.group() == *group) {
                let answer = replica.ask(&ShardQuery::Order(id))?;
                self.check_order(seen, *user, &answer).map_err(said)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, joined, visited};
    use super::*;
    use vestibule_engine::{RefundOrder, ReleaseHold, SeatId, Timestamp};

    const ANN: UserId = UserId(7);
    const BOB: UserId = UserId(8);

    fn seen(stage: &Stage, number: u64) -> HoldSeen {
        let (hold, showtime) = (HoldId::new(stage.group(), number), stage.showtime());
        HoldSeen { hold, showtime, seats: vec![SeatId(4)], total: 2_500, expires_at: Timestamp(9) }
    }

    fn check(stage: &Stage, looks: Vec<Look>, visits: &[(Option<UserId>, Deed, Said)]) -> Result<(), String> {
        let mut checker = Kept::default();
        checker.observe(&joined(looks.into_iter().chain([visited(visits)])))?;
        checker.finish(&Look { replicas: stage.replicas(&[1, 2, 3]), ..Look::default() })
    }

    #[test]
    fn a_hold_that_is_not_what_its_buyer_was_told_is_noticed() {
        let mut stage = Stage::without_line();
        let mut looks = vec![stage.open(), stage.hold(ANN, &[SeatId(4)])];
        let hold = seen(&stage, 1);
        let deed = Deed::Hold(stage.showtime(), String::new());
        let told = |user, hold: &HoldSeen| (Some(user), deed.clone(), Said::Hold(hold.clone()));
        let mine = told(ANN, &hold);
        check(&stage, looks.clone(), std::slice::from_ref(&mine)).expect("as it is");
        check(&stage, looks.clone(), &[told(BOB, &hold)]).expect_err("another's");
        check(&stage, looks.clone(), &[told(ANN, &seen(&stage, 2))]).expect_err("it was never made");
        let more = HoldSeen { seats: vec![SeatId(4), SeatId(5)], ..hold.clone() };
        check(&stage, looks.clone(), &[told(ANN, &more)]).expect_err("it has one seat only");
        check(&stage, looks.clone(), &[mine.clone(), told(ANN, &more)]).expect_err("it changed");
        let released = (Some(ANN), Deed::Release(hold.hold), Said::Done);
        check(&stage, looks.clone(), &[mine.clone(), released.clone()]).expect_err("it was not released");
        looks.push(stage.run(ShardCommand::ReleaseHold(ReleaseHold { hold: hold.hold, user: ANN })));
        check(&stage, looks.clone(), &[mine.clone(), released]).expect("now it is");
        looks.pop();
        check(&stage, looks, &[mine]).expect_err("it is gone, and nobody said how");
    }

    #[test]
    fn an_order_that_is_not_what_its_buyer_was_told_is_noticed() {
        let mut stage = Stage::without_line();
        let mut looks = vec![stage.open(), stage.hold(ANN, &[SeatId(4)]), stage.place(ANN, 1)];
        looks.push(stage.pay(1, 44, 2_500));
        let (order, hold) = (OrderId::new(stage.group(), 1), HoldId::new(stage.group(), 1));
        let (showtime, seats) = (stage.showtime(), vec![SeatId(4)]);
        let paid = OrderSeen { order, hold, showtime, state: Seen::Completed, seats, total: 2_500 };
        let told = |payment, status, order: &OrderSeen| {
            let deed = Deed::Pay(order.order, "tok_ok".to_owned());
            (Some(ANN), deed, Said::Payment(PaymentId(payment), status, order.clone()))
        };
        let ok = told(44, PaymentStatus::Succeeded, &paid);
        check(&stage, looks.clone(), std::slice::from_ref(&ok)).expect("as it is");
        check(&stage, looks.clone(), &[told(45, PaymentStatus::Succeeded, &paid)]).expect_err("another payment");
        check(&stage, looks.clone(), &[told(44, PaymentStatus::Failed, &paid)]).expect_err("it succeeded");
        let other = OrderSeen { order: OrderId::new(stage.group(), 2), ..paid.clone() };
        check(&stage, looks.clone(), &[told(44, PaymentStatus::Succeeded, &other)]).expect_err("it is not there");
        let canceled = OrderSeen { state: Seen::Canceled, ..paid };
        let cancel = (Some(ANN), Deed::Cancel(order), Said::Order(canceled));
        check(&stage, looks.clone(), &[cancel]).expect("a late payment may have completed it");
        let refund = RefundOrder { order, seats: None, reason: "ill".to_owned() };
        let refunded = stage.run(ShardCommand::RefundOrder(refund));
        check(&stage, looks.clone(), std::slice::from_ref(&ok)).expect_err("nobody said that it was refunded");
        looks.push(refunded);
        check(&stage, looks, &[ok]).expect("it was refunded");
    }
}

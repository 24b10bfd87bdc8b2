//! What the payment provider took is what the log says was paid: every charge that took money, of that order and that sum, once;
//! and nothing that it did not take. A buyer who was told that a payment was made finds it recorded by a gateway, not by the
//! provider's notice alone. In the end an order has kept its price at most once.

use super::{Checker, Look};
use crate::history::{Ask, Happening};
use crate::web::provider;
use crate::web::visits::{self, Charged, Said};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_client::PaymentStatus;
use vestibule_engine::{
    Event as Fact, Money, OrderId, OrderState, PaymentId, PaymentOutcome, RequestId, ShardAnswer, ShardCommand,
    ShardQuery,
};

/// See the file's head.
#[derive(Default)]
pub struct Provider {
    /// What it decided.
    charges: BTreeMap<PaymentId, Charged>,
    /// Payments that buyers beside a gateway tell of. Nobody took that money.
    others: BTreeSet<PaymentId>,
    /// Requests that the provider made of the cluster.
    notices: BTreeSet<RequestId>,
    /// What was captured, by the log.
    captured: BTreeMap<PaymentId, (OrderId, Money)>,
    /// Payments that gateways recorded, by the log.
    by_gateways: BTreeSet<PaymentId>,
    /// Payments of which visitors were told how they ended, and in which visit.
    told: BTreeMap<PaymentId, usize>,
}

impl Provider {
    fn note_charge(&mut self, charged: Charged) -> Result<(), String> {
        let known = self.charges.entry(charged.payment).or_insert(charged);
        if *known != charged {
            return Err(format!("the provider was asked for {charged:?} and had decided {known:?}"));
        }
        Ok(())
    }

    fn note_told(&mut self, visit: usize, order: OrderId, id: PaymentId, status: PaymentStatus) -> Result<(), String> {
        let told = match status {
            PaymentStatus::Succeeded => PaymentOutcome::Succeeded,
            _ => PaymentOutcome::Failed,
        };
        let charge = self.charges.get(&id).map(|charge| (charge.order, charge.outcome));
        if charge != Some((order, told)) {
            return Err(format!("visit @{visit}: {id} of {order} is {status:?}, and the provider has {charge:?}"));
        }
        self.told.entry(id).or_insert(visit);
        Ok(())
    }

    fn note_call(&mut self, by: &str, request: RequestId, ask: &Ask) {
        if by == provider::NAME {
            self.notices.insert(request);
        } else if by.starts_with("buyer-")
            && let Ask::Shard(command) = ask
            && let ShardCommand::RecordPayment(ask) = &**command
        {
            self.others.insert(ask.payment);
        }
    }

    fn note_captured(&mut self, order: OrderId, id: PaymentId, amount: Money) -> Result<(), String> {
        if self.others.contains(&id) {
            return Ok(());
        }
        let charge = self.charges.get(&id).filter(|charge| charge.outcome == PaymentOutcome::Succeeded);
        if charge.is_none_or(|charge| (charge.order, charge.amount) != (order, amount)) {
            return Err(format!(
                "the log has {amount:?} captured as {id} for {order}, and the provider has {charge:?}"
            ));
        }
        match self.captured.insert(id, (order, amount)) {
            Some(_) => Err(format!("{id} is captured twice, by the log")),
            None => Ok(()),
        }
    }
}

impl Checker for Provider {
    fn name(&self) -> &'static str {
        "provider"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for event in &look.visits {
            match event {
                visits::Event::Charged(charged) => self.note_charge(*charged)?,
                visits::Event::Ended { visit, said: Said::Payment(id, status, order), .. } => {
                    self.note_told(visit.number, order.order, *id, *status)?;
                }
                _ => {}
            }
        }
        for happening in &look.happenings {
            if let Happening::Called(call) = happening {
                self.note_call(&call.by, call.request, &call.ask);
            }
        }
        for told in look.played.iter().flat_map(|played| &played.commands) {
            if let Ask::Shard(command) = &told.ask
                && let ShardCommand::RecordPayment(ask) = &**command
                && told.reply.result.is_ok()
                && told.request.is_some_and(|request| !self.notices.contains(&request))
            {
                self.by_gateways.insert(ask.payment);
            }
        }
        for record in look.played.iter().flat_map(|played| played.events()) {
            if let Fact::PaymentSucceeded { order, payment, amount } = &record.event {
                self.note_captured(*order, *payment, *amount)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        let mut taken: BTreeMap<OrderId, i64> = BTreeMap::new();
        for charge in self.charges.values().filter(|charge| charge.outcome == PaymentOutcome::Succeeded) {
            if !self.captured.contains_key(&charge.payment) {
                return Err(format!("the provider took {charge:?}, and the log knows nothing of it"));
            }
            *taken.entry(charge.order).or_default() += charge.amount.amount;
        }
        if let Some((id, visit)) = self.told.iter().find(|(id, _)| !self.by_gateways.contains(id)) {
            return Err(format!("visit @{visit} was told of {id}, which no gateway has recorded"));
        }
        for (&id, &taken) in &taken {
            for ((node, _), replica) in last.replicas.iter().filter(|((_, group), _)| *group == id.group()) {
                let ShardAnswer::Order(Some(order)) = replica.ask(&ShardQuery::Order(id))? else {
                    return Err(format!("node {node} does not know {id}, for which the provider took {taken}"));
                };
                let said = |what: &str| Err(format!("node {node}: {id} {what}; the provider took {taken}: {order:?}"));
                let kept = taken - order.refunded.amount;
                if order.captured.amount != taken {
                    return said("was paid another sum");
                }
                if !(0..=order.total.amount).contains(&kept) {
                    return said("has kept more than its price, or given back more than it took");
                }
                if (order.state == OrderState::Completed) != (kept > 0) {
                    return said("is bought and not paid for, or paid for and not bought");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{PRICE, Puppet, Stage, joined, visited};
    use super::*;
    use crate::web::visits::{Deed, OrderSeen};
    use std::rc::Rc;
    use std::sync::Arc;
    use vestibule_client::OrderState as Seen;
    use vestibule_engine::{HoldId, RecordRefund, RefundOrder, SeatId, UserId};

    const ANN: UserId = UserId(7);

    fn charged(stage: &Stage, payment: u64) -> Charged {
        let order = OrderId::new(stage.group(), 1);
        Charged { payment: PaymentId(payment), order, amount: PRICE, outcome: PaymentOutcome::Succeeded }
    }

    /// What the provider did.
    fn charges(all: &[Charged]) -> Look {
        Look { visits: all.iter().copied().map(visits::Event::Charged).collect(), ..Look::default() }
    }

    /// What the visitor was told of the payment.
    fn told(stage: &Stage, payment: u64, status: PaymentStatus) -> Look {
        let (order, hold) = (OrderId::new(stage.group(), 1), HoldId::new(stage.group(), 1));
        let (showtime, seats, state, total) = (stage.showtime(), vec![SeatId(4)], Seen::Completed, 2_500);
        let seen = OrderSeen { order, hold, showtime, state, seats, total };
        let said = Said::Payment(PaymentId(payment), status, seen);
        visited(&[(Some(ANN), Deed::Pay(order, "tok_ok".to_owned()), said)])
    }

    /// The same, asked by somebody.
    fn by(name: &str, mut look: Look) -> Look {
        for happening in &mut look.happenings {
            let (Happening::Called(call) | Happening::Answered { call, .. }) = happening;
            Arc::make_mut(call).by = name.to_owned();
        }
        look
    }

    /// An order that waits for its payment.
    fn ordered() -> (Stage, Look) {
        let mut stage = Stage::without_line();
        let looks = [stage.open(), stage.hold(ANN, &[SeatId(4)]), stage.place(ANN, 1)];
        (stage, joined(looks))
    }

    fn refund(stage: &mut Stage, amount: i64) -> Look {
        let (order, refund, amount) = (OrderId::new(stage.group(), 1), PaymentId(99), Money { amount, ..PRICE });
        let outcome = PaymentOutcome::Succeeded;
        stage.run(ShardCommand::RecordRefund(RecordRefund { order, refund, outcome, amount }))
    }

    fn check(stage: &Stage, looks: &[Look]) -> Result<(), String> {
        let mut checker = Provider::default();
        looks.iter().try_for_each(|look| checker.observe(look))?;
        checker.finish(&Look { replicas: stage.replicas(&[1, 2]), ..Look::default() })
    }

    #[test]
    fn money_that_was_taken_and_is_not_in_the_log_is_noticed() {
        let (mut stage, begun) = ordered();
        let taken = charges(&[charged(&stage, 44)]);
        let declined = charges(&[Charged { outcome: PaymentOutcome::Failed, ..charged(&stage, 45) }]);
        check(&stage, &[begun.clone(), declined.clone()]).expect("nothing was taken");
        let error = check(&stage, &[begun.clone(), taken.clone()]).expect_err("nobody recorded it");
        assert!(error.contains("the log knows nothing of it"), "{error}");
        let paid = by("gateway-1", stage.pay(1, 44, 2_500));
        check(&stage, &[begun, taken, declined, paid]).expect("as it should be");
    }

    #[test]
    fn money_that_the_log_has_and_nobody_took_is_noticed() {
        let (mut stage, begun) = ordered();
        let taken = charged(&stage, 44);
        let paid = by("gateway-1", stage.pay(1, 44, 2_500));
        let check = |charges: Look| check(&stage, &[begun.clone(), charges, paid.clone()]);
        check(charges(&[taken])).expect("as it should be");
        check(Look::default()).expect_err("nobody took it");
        check(charges(&[Charged { outcome: PaymentOutcome::Failed, ..taken }])).expect_err("it was declined");
        check(charges(&[Charged { order: OrderId::new(stage.group(), 2), ..taken }])).expect_err("another order");
        check(charges(&[Charged { amount: Money { amount: 7, ..PRICE }, ..taken }])).expect_err("another sum");
        check(charges(&[taken, Charged { amount: Money { amount: 7, ..PRICE }, ..taken }]))
            .expect_err("two sums under one id");
        let mut twice = paid.clone();
        let events = &mut twice.played[0].commands[0].events;
        events.extend(events.clone());
        super::Provider::default().observe(&joined([charges(&[taken]), twice])).expect_err("captured twice");
    }

    #[test]
    fn what_buyers_beside_a_gateway_tell_is_their_own_affair() {
        let (mut stage, begun) = ordered();
        let paid = stage.pay(1, 44, 2_500);
        check(&stage, &[begun.clone(), by("buyer-101", paid.clone())]).expect("no provider took part in it");
        check(&stage, &[begun, by("gateway-1", paid)]).expect_err("the provider knows nothing of it");
    }

    #[test]
    fn a_visitor_who_is_told_of_a_payment_that_no_gateway_made_is_noticed() {
        let (mut stage, begun) = ordered();
        let taken = charges(&[charged(&stage, 44)]);
        let heard = told(&stage, 44, PaymentStatus::Succeeded);
        let noticed = by(provider::NAME, stage.pay(1, 44, 2_500));
        let all = [begun, taken, noticed];
        check(&stage, &all).expect("nobody was told");
        let told_too = |more: &[Look]| check(&stage, &[&all[..], more].concat());
        let error = told_too(std::slice::from_ref(&heard)).expect_err("only the notice says so");
        assert!(error.contains("no gateway has recorded"), "{error}");
        told_too(&[told(&stage, 44, PaymentStatus::Failed)]).expect_err("it was taken");
        told_too(&[told(&stage, 45, PaymentStatus::Succeeded)]).expect_err("the provider does not know it");
        let again = by("gateway-1", stage.pay(1, 44, 2_500));
        check(&stage, &[&all[..], &[heard, again]].concat()).expect("the gateway recorded it after the notice");
    }

    #[test]
    fn an_order_that_keeps_more_than_its_price_is_noticed() {
        let (mut stage, begun) = ordered();
        let mut looks = vec![begun, charges(&[charged(&stage, 44), charged(&stage, 45)])];
        looks.extend([44, 45].map(|payment| by("gateway-1", stage.pay(1, payment, 2_500))));
        let error = check(&stage, &looks).expect_err("it was paid twice");
        assert!(error.contains("more than its price"), "{error}");
        looks.push(refund(&mut stage, 2_500));
        check(&stage, &looks).expect("one of the two went back");
        looks.remove(3);
        check(&stage, &looks).expect_err("the second is not in the log");
    }

    #[test]
    fn an_order_that_is_not_what_was_paid_for_is_noticed() {
        let (mut stage, begun) = ordered();
        let mut looks = vec![begun, charges(&[charged(&stage, 44)])];
        looks.push(by("gateway-1", stage.pay(1, 44, 2_500)));
        let mut last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        let mut checker = Provider::default();
        looks.iter().try_for_each(|look| checker.observe(look)).expect("as it was");
        checker.finish(&last).expect("as it is");
        let query = ShardQuery::Order(OrderId::new(stage.group(), 1));
        let known = last.replicas[&(1, stage.group())].ask(&query).expect("it is there");
        let mut show = |change: fn(&mut vestibule_engine::OrderView)| {
            let ShardAnswer::Order(Some(mut order)) = known.clone() else { panic!("it is an order") };
            change(&mut order);
            let puppet = Puppet { answer: Some(ShardAnswer::Order(Some(order))), ..Puppet::default() };
            last.replicas.insert((1, stage.group()), Rc::new(puppet));
            checker.finish(&last)
        };
        show(|order| order.state = OrderState::Expired).expect_err("paid for and not bought");
        show(|order| order.captured.amount = 0).expect_err("the money is not there");
        show(|order| order.refunded.amount = 2_500).expect_err("bought, and given back");
        show(|order| order.refunded.amount = 2_501).expect_err("more than was taken");
        show(|_| {}).expect("as it is");
        let lost = Puppet { answer: Some(ShardAnswer::Order(None)), ..Puppet::default() };
        last.replicas.insert((1, stage.group()), Rc::new(lost));
        checker.finish(&last).expect_err("it is lost");
        let (order, reason) = (OrderId::new(stage.group(), 1), String::new());
        looks.push(stage.run(ShardCommand::RefundOrder(RefundOrder { order, seats: None, reason })));
        check(&stage, &looks).expect_err("it has to go back");
        looks.push(refund(&mut stage, 2_500));
        check(&stage, &looks).expect("it went back");
    }
}

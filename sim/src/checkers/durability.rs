//! What a client was told stays true: every hold, order, ticket, payment and refund that was acknowledged is found at the end
//! on all replicas, or the log says how it ended. Calls of unknown outcome promise nothing.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Call, Happening};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::{
    Event, HoldAnswer, HoldId, OrderId, OrderState, Outcome, PaymentId, Reply, ShardAnswer, ShardCommand, ShardQuery,
    ShowtimeId, TicketNumber, UserId,
};

/// See the file's head.
#[derive(Default)]
pub struct Durability {
    holds: BTreeMap<HoldId, UserId>,
    orders: BTreeMap<OrderId, UserId>,
    /// Orders that were acknowledged as completed.
    completed: BTreeSet<OrderId>,
    payments: BTreeSet<(OrderId, PaymentId)>,
    tickets: BTreeMap<(ShowtimeId, TicketNumber), UserId>,
    /// Holds that ended, by the log.
    ended: BTreeSet<HoldId>,
    /// Orders of which seats went back, by the log.
    refunded: BTreeSet<OrderId>,
}

impl Durability {
    fn acknowledge(&mut self, call: &Call, reply: &Reply) {
        let Ok(outcome) = &reply.result else { return };
        match outcome {
            Outcome::Held { hold } => drop(self.holds.insert(hold.hold, hold.user)),
            Outcome::Queued { ticket, .. } | Outcome::Claimed { ticket, .. } => {
                self.tickets.insert((ticket.showtime, ticket.number), ticket.user);
            }
            Outcome::Ordered { order } | Outcome::PaymentKnown { order, .. } => {
                self.holds.insert(order.hold, order.user);
                self.orders.insert(order.order, order.user);
                if order.state == OrderState::Completed {
                    self.completed.insert(order.order);
                }
                if let Ask::Shard(command) = &call.ask {
                    match &**command {
                        ShardCommand::RecordPayment(ask) => drop(self.payments.insert((ask.order, ask.payment))),
                        ShardCommand::RecordRefund(ask) => drop(self.payments.insert((ask.order, ask.refund))),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn check_order(&self, id: OrderId, user: UserId, answer: &ShardAnswer) -> Result<(), String> {
        let ShardAnswer::Order(Some(order)) = answer else { return Err(format!("{id} is lost")) };
        if order.user != user {
            return Err(format!("{id} was {user}'s and is {}'s", order.user));
        }
        if self.completed.contains(&id) && order.state != OrderState::Completed && !self.refunded.contains(&id) {
            return Err(format!("{id} was completed and is {} without a refund", order.state));
        }
        let known: BTreeSet<PaymentId> = order.payments.iter().map(|payment| payment.payment).collect();
        match self.payments.iter().find(|(order, payment)| *order == id && !known.contains(payment)) {
            Some((_, payment)) => Err(format!("{payment} of {id} is lost")),
            None => Ok(()),
        }
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            if let Happening::Answered { call, answer: Answer::Reply(reply, _), .. } = happening {
                self.acknowledge(call, reply);
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
            if let Event::HoldReleased { hold, .. } | Event::HoldExpired { hold, .. } = &record.event {
                self.ended.insert(*hold);
            }
        }
        Ok(())
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for ((node, group), replica) in &last.replicas {
            let said = |what: String| format!("node {node}: {what}");
            for (&id, &user) in self.holds.iter().filter(|(id, _)| id.group() == *group) {
                match replica.ask(&ShardQuery::Hold(id))? {
                    ShardAnswer::Hold(HoldAnswer::Live(hold)) if hold.user == user => {}
                    ShardAnswer::Hold(HoldAnswer::Gone) if self.ended.contains(&id) => {}
                    answer => return Err(said(format!("{id} was acknowledged, and nothing ended it: {answer:?}"))),
                }
            }
            for (&id, &user) in self.orders.iter().filter(|(id, _)| id.group() == *group) {
                self.check_order(id, user, &replica.ask(&ShardQuery::Order(id))?).map_err(said)?;
            }
            for (&(showtime, number), &user) in self.tickets.iter().filter(|((id, _), _)| id.group() == *group) {
                match replica.ask(&ShardQuery::Ticket { showtime, number })? {
                    ShardAnswer::Ticket(Some(ticket)) if ticket.user == user => {}
                    answer => return Err(said(format!("ticket {number} of {user} is lost: {answer:?}"))),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Puppet, Stage, joined};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::{JoinQueue, Sale, SeatId};

    const ANN: UserId = UserId(7);

    fn ends_with(stage: &Stage, checker: &mut Durability, answer: ShardAnswer) -> Result<(), String> {
        let puppet: Rc<dyn super::super::Replica> = Rc::new(Puppet { answer: Some(answer), ..Puppet::default() });
        checker.finish(&Look { replicas: [((1, stage.group()), puppet)].into(), ..Look::default() })
    }

    #[test]
    fn a_lost_hold_is_noticed() {
        let mut stage = Stage::without_line();
        let mut checker = Durability::default();
        checker.observe(&joined([stage.open(), stage.hold(ANN, &[SeatId(4)])])).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("it lives");
        ends_with(&stage, &mut checker, ShardAnswer::Hold(HoldAnswer::Gone)).expect_err("nothing ended it");
        checker.observe(&stage.tick(400_000)).expect("it expires");
        ends_with(&stage, &mut checker, ShardAnswer::Hold(HoldAnswer::Gone)).expect("it expired");
        ends_with(&stage, &mut checker, ShardAnswer::Hold(HoldAnswer::Unknown)).expect_err("it had been made");
    }

    #[test]
    fn a_lost_order_or_payment_is_noticed() {
        let mut stage = Stage::without_line();
        let mut checker = Durability::default();
        let looks = [stage.open(), stage.hold(ANN, &[SeatId(4)]), stage.place(ANN, 1)];
        checker.observe(&joined(looks)).expect("as it was");
        let id = OrderId::new(stage.group(), 1);
        let placed = stage.replicas(&[1])[&(1, stage.group())].ask(&ShardQuery::Order(id)).expect("it answers");
        checker.observe(&stage.pay(1, 5, 2_500)).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("all is there");
        let ShardAnswer::Order(Some(mut order)) = placed else { unreachable!("it was placed") };
        checker.check_order(id, ANN, &ShardAnswer::Order(None)).expect_err("the order is lost");
        checker.check_order(id, ANN, &ShardAnswer::Order(Some(order.clone()))).expect_err("it was completed");
        order.state = OrderState::Completed;
        checker.check_order(id, ANN, &ShardAnswer::Order(Some(order))).expect_err("the payment is lost");
    }

    #[test]
    fn a_lost_ticket_is_noticed() {
        let mut stage = Stage::new(Sale::default());
        let mut checker = Durability::default();
        let showtime = stage.showtime();
        let looks = [stage.open(), stage.run(ShardCommand::JoinQueue(JoinQueue { showtime, user: ANN }))];
        checker.observe(&joined(looks)).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("it is there");
        ends_with(&stage, &mut checker, ShardAnswer::Ticket(None)).expect_err("it is lost");
    }
}

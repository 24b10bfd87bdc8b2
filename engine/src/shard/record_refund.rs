//! `RecordRefund`: money went back, or did not, as the payment provider tells it.

use super::Shard;
use super::order::{due_in, forgets_failures, owes};
use super::record_payment::check_amount;
use crate::group_state::Events;
use crate::{Event, OrderState, Outcome, PaymentOutcome, PaymentView, RecordRefund, Refusal};

impl Shard {
    pub(super) fn record_refund(&mut self, ask: &RecordRefund, events: &mut Events) -> Result<Outcome, Refusal> {
        check_amount(ask.amount, 1)?;
        let order = self.order(ask.order)?;
        let (mut known, mut is_known) = (None, false);
        if let Some((index, refund)) = self.known_payment(order, ask.refund) {
            (known, is_known) = (index, true);
            let is_news = refund.outcome == PaymentOutcome::Failed && ask.outcome == PaymentOutcome::Succeeded;
            if !refund.refund || refund.amount != ask.amount && refund.outcome == ask.outcome {
                return Err(Refusal::PaymentIdReused);
            }
            if !is_news {
                return Ok(Outcome::PaymentKnown { payment: ask.refund, order: Box::new(order.clone()) });
            }
        }
        let due = due_in(order, ask.amount.currency);
        if ask.outcome == PaymentOutcome::Succeeded && ask.amount.amount > due {
            return Err(Refusal::MoreThanDue { due });
        }
        if ask.outcome == PaymentOutcome::Succeeded && self.has_many_successes(order, true) {
            return Err(Refusal::AtCapacity { what: "refunds of the order".into() });
        }
        if !is_known && ask.outcome == PaymentOutcome::Failed && forgets_failures(order) {
            return Ok(Outcome::Ordered { order: Box::new(order.clone()) });
        }

        let now = self.state.now;
        let refund =
            PaymentView { payment: ask.refund, outcome: ask.outcome, amount: ask.amount, at: now, refund: true };
        self.note_payment(ask.order, known, refund);
        let order = self.order_mut(ask.order);
        let (id, refund, amount) = (ask.order, ask.refund, ask.amount);
        match ask.outcome {
            PaymentOutcome::Failed => events.push(order.showtime, Event::RefundFailed { order: id, refund, amount }),
            PaymentOutcome::Succeeded => {
                if amount.currency == order.total.currency {
                    order.refund_due.amount -= amount.amount;
                    order.refunded.amount += amount.amount;
                } else if let Some(foreign) =
                    order.foreign.iter_mut().find(|foreign| foreign.captured.currency == amount.currency)
                {
                    foreign.refunded.amount += amount.amount;
                }
                if order.state == OrderState::RefundDue && !owes(order) {
                    order.state = OrderState::Refunded;
                }
                events.push(order.showtime, Event::PaymentRefunded { order: id, refund, amount });
            }
        }
        Ok(Outcome::Ordered { order: Box::new(order.clone()) })
    }
}

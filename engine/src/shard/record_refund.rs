//! `RecordRefund`: money went back, or did not, as the payment provider tells it.

use super::Shard;
use super::order::{closed_state, due_in, forgets_failures, owes};
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
            let has_bounced = self.has_bounced(ask.order, ask.refund);
            // Tried again under the same id. Of what bounced this is old news.
            let is_news =
                refund.outcome == PaymentOutcome::Failed && ask.outcome == PaymentOutcome::Succeeded && !has_bounced;
            if !refund.refund || refund.amount != ask.amount && !is_news {
                return Err(Refusal::PaymentIdReused);
            }
            if refund.outcome == PaymentOutcome::Succeeded && ask.outcome == PaymentOutcome::Failed {
                return Ok(self.bounce_refund(ask, known, events));
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

    /// Money that went back has come back: the buyer's bank did not take it, days after the provider had sent it. It is owed
    /// as before.
    fn bounce_refund(&mut self, ask: &RecordRefund, known: Option<usize>, events: &mut Events) -> Outcome {
        let (id, refund, amount, at) = (ask.order, ask.refund, ask.amount, self.state.now);
        self.note_bounce(id, known, PaymentView { payment: refund, outcome: ask.outcome, amount, at, refund: true });
        let order = self.order_mut(id);
        if amount.currency == order.total.currency {
            order.refunded.amount -= amount.amount;
            order.refund_due.amount += amount.amount;
        } else {
            let mut foreign = order.foreign.iter_mut();
            let foreign = foreign.find(|foreign| foreign.captured.currency == amount.currency);
            foreign.expect("a refund of this currency was booked").refunded.amount -= amount.amount;
        }
        if !matches!(order.state, OrderState::PendingPayment | OrderState::Completed) {
            order.state = closed_state(order, order.state);
        }
        events.push(order.showtime, Event::RefundFailed { order: id, refund, amount });
        Outcome::Ordered { order: Box::new(order.clone()) }
    }
}

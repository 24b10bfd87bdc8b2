//! `RecordPayment`: a payment succeeded or failed, as the payment provider tells it.

use super::Shard;
use super::order::{
    AMOUNT_MAX, CAPTURED_MAX, capture, captured_in, closed_state, forgets_failures, has_many_currencies,
};
use crate::group_state::Events;
use crate::planted::{self, Bug};
use crate::{Event, Money, OrderState, Outcome, PaymentOutcome, PaymentView, RecordPayment, Refusal};

/// Refuses an amount that no payment has, or no refund: of those the least is 1.
pub(super) fn check_amount(amount: Money, min: i64) -> Result<(), Refusal> {
    if !amount.currency.is_valid() {
        return Err(Refusal::out_of_bounds("amount.currency", "it is no ISO 4217 code"));
    }
    if !(min..=AMOUNT_MAX).contains(&amount.amount) {
        let reason = format!("{} is not between {min} and {AMOUNT_MAX}", amount.amount);
        return Err(Refusal::out_of_bounds("amount", reason));
    }
    Ok(())
}

/// What an order does with money that was taken for it.
enum Use {
    /// It is paid in time.
    Complete,
    /// It lost its hold, and its seats are still free.
    Rebook,
    /// It all has to go back.
    Return(&'static str),
}

impl Shard {
    pub(super) fn record_payment(&mut self, ask: &RecordPayment, events: &mut Events) -> Result<Outcome, Refusal> {
        check_amount(ask.amount, 0)?;
        let order = self.order(ask.order)?;
        // As a debt it could never be settled, and a bound on the payments of an order there is none.
        let is_nothing = ask.outcome == PaymentOutcome::Succeeded && ask.amount.amount == 0;
        if is_nothing && ask.amount != order.total {
            let reason = "0 pays for nothing but a free order, in its currency";
            return Err(Refusal::out_of_bounds("amount", reason));
        }
        let mut known = None;
        if let Some((index, payment)) = self.known_payment(order, ask.payment) {
            known = index;
            // A failure told after the success, or either told again, changes nothing. A success told after the failure
            // is news: the provider tried again under the same id.
            let is_news = payment.outcome == PaymentOutcome::Failed && ask.outcome == PaymentOutcome::Succeeded;
            let is_same = payment.amount == ask.amount;
            if payment.refund || !is_same && payment.outcome == ask.outcome {
                return Err(Refusal::PaymentIdReused);
            }
            if !is_news {
                return Ok(Outcome::PaymentKnown { payment: ask.payment, order: Box::new(order.clone()) });
            }
        } else if ask.outcome == PaymentOutcome::Failed && forgets_failures(order) {
            return Ok(Outcome::Ordered { order: Box::new(order.clone()) });
        }
        if ask.outcome == PaymentOutcome::Succeeded
            && ask.amount.amount > CAPTURED_MAX - captured_in(order, ask.amount.currency)
        {
            return Err(Refusal::AtCapacity { what: "amounts of the order".into() });
        }
        if ask.outcome == PaymentOutcome::Succeeded && has_many_currencies(order, ask.amount.currency) {
            return Err(Refusal::AtCapacity { what: "currencies of the order".into() });
        }
        if ask.outcome == PaymentOutcome::Succeeded && self.has_many_successes(order, false) {
            return Err(Refusal::AtCapacity { what: "payments of the order".into() });
        }
        let is_right = ask.amount == order.total;
        let purpose = match order.state {
            OrderState::PendingPayment if is_right => Use::Complete,
            OrderState::Expired if is_right && planted::is(Bug::CompleteExpired) => Use::Complete,
            OrderState::Completed if is_right && planted::is(Bug::CompleteTwice) => Use::Complete,
            _ if !is_right => Use::Return("the amount is not that of the order"),
            OrderState::PendingPayment | OrderState::Completed => Use::Return("the order was paid already"),
            // The first two owe nothing, the others have owed something besides: all have lost their hold.
            OrderState::Canceled | OrderState::Expired | OrderState::RefundDue | OrderState::Refunded => {
                self.check_rebook(order).map_or_else(Use::Return, |()| Use::Rebook)
            }
        };
        if is_nothing && matches!(purpose, Use::Return(_)) {
            // No money has moved. Like a failure too many, it is answered and leaves no trace.
            return Ok(Outcome::Ordered { order: Box::new(order.clone()) });
        }

        let now = self.state.now;
        let payment =
            PaymentView { payment: ask.payment, outcome: ask.outcome, amount: ask.amount, at: now, refund: false };
        self.note_payment(ask.order, known, payment);
        let order = self.order_mut(ask.order);
        let (showtime, id, amount) = (order.showtime, ask.order, ask.amount);
        match ask.outcome {
            PaymentOutcome::Failed => {
                events.push(showtime, Event::PaymentFailed { order: id, payment: ask.payment, amount });
            }
            PaymentOutcome::Succeeded => {
                let is_kept = !matches!(purpose, Use::Return(_)) || planted::is(Bug::KeepExcess);
                capture(order, amount, is_kept);
                events.push(showtime, Event::PaymentSucceeded { order: id, payment: ask.payment, amount });
                match purpose {
                    Use::Complete => self.complete_order(id, events),
                    Use::Rebook => self.rebook_order(id, events),
                    Use::Return(_) if planted::is(Bug::KeepExcess) => {}
                    Use::Return(reason) => {
                        if !matches!(order.state, OrderState::PendingPayment | OrderState::Completed) {
                            order.state = closed_state(order, order.state);
                        }
                        events.push(showtime, Event::RefundDue { order: id, amount, reason: reason.to_owned() });
                    }
                }
            }
        }
        Ok(Outcome::Ordered { order: Box::new(self.order_mut(id).clone()) })
    }
}

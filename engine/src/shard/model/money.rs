//! Orders and what was paid for them.

use super::show::At;
use super::{Model, bounds, check_len, size};
use crate::shard::older_payments::{NAMED_MAX, SUCCESSES_MAX};
use crate::shard::place_order::SPARE_ORDERS_MAX;
use crate::*;

/// Whether any money has to go back.
fn owes(order: &OrderView) -> bool {
    order.refund_due.amount > 0 || order.foreign.iter().any(|foreign| foreign.captured.amount > foreign.refunded.amount)
}

/// The state of an order that lost its seats.
fn without_seats(order: &OrderView, otherwise: OrderState) -> OrderState {
    if owes(order) { OrderState::RefundDue } else { otherwise }
}

fn check_amount(amount: Money, least: i64) -> Result<(), Refusal> {
    let most = 1_000_000_000_000_000;
    if amount.amount < least || amount.amount > most {
        return Err(bounds("amount", format!("{} is not between {least} and {most}", amount.amount)));
    }
    Ok(())
}

/// Where news of a payment is kept; nothing if it is no news.
fn slot(
    order: &OrderView,
    older: &[(OrderId, PaymentView)],
    id: PaymentId,
    outcome: PaymentOutcome,
    amount: Money,
    refund: bool,
) -> Result<Option<usize>, Refusal> {
    let index = order.payments.iter().position(|payment| payment.payment == id);
    let older = older.iter().find(|(of, payment)| (*of, payment.payment) == (order.order, id));
    let (known, index) = match (index, older) {
        (Some(index), _) => (&order.payments[index], index),
        (None, Some((_, older))) => (older, OLDER),
        (None, None) => return Ok(Some(order.payments.len())),
    };
    let has_bounced = older.is_some_and(|(_, older)| older.outcome == PaymentOutcome::Failed);
    let is_news = match (known.outcome, outcome) {
        (PaymentOutcome::Failed, PaymentOutcome::Succeeded) => !has_bounced,
        (PaymentOutcome::Succeeded, PaymentOutcome::Failed) => refund,
        _ => false,
    };
    let may_differ = known.outcome != outcome && (!refund || outcome == PaymentOutcome::Succeeded && !has_bounced);
    if known.refund != refund || known.amount != amount && !may_differ {
        return Err(Refusal::PaymentIdReused);
    }
    Ok(is_news.then_some(index))
}

/// Where a refund is that its order no longer names.
const OLDER: usize = usize::MAX;

/// A failure that an order does not know and has no room to remember: only failures are bounded.
fn is_ignored(order: &OrderView, slot: usize, outcome: PaymentOutcome) -> bool {
    let is_failure = |outcome| outcome == PaymentOutcome::Failed;
    let failures = order.payments.iter().filter(|payment| is_failure(payment.outcome)).count();
    is_failure(outcome) && slot == order.payments.len() && failures >= 100
}

/// Keeps that a refund bounced: for good with what is older, and in the order where there is room.
fn keep_bounce(order: &mut OrderView, older: &mut Vec<(OrderId, PaymentView)>, slot: usize, refund: PaymentView) {
    older.retain(|(of, other)| (*of, other.payment) != (order.order, refund.payment));
    older.push((order.order, refund.clone()));
    if slot == OLDER {
        return;
    }
    order.payments[slot] = refund;
    if order.payments.iter().filter(|payment| payment.outcome == PaymentOutcome::Failed).count() > 100 {
        order.payments.remove(slot);
    }
}

/// Keeps what was told. An order names its last successes.
fn keep(order: &mut OrderView, older: &mut Vec<(OrderId, PaymentView)>, slot: usize, payment: PaymentView) {
    if slot < order.payments.len() {
        order.payments.remove(slot);
    }
    order.payments.push(payment);
    let is_success = |payment: &PaymentView| payment.outcome == PaymentOutcome::Succeeded;
    if order.payments.iter().filter(|payment| is_success(payment)).count() > NAMED_MAX {
        let oldest = order.payments.iter().position(is_success).unwrap();
        older.push((order.order, order.payments.remove(oldest)));
    }
}

impl Model {
    pub(super) fn order(&mut self, ask: &PlaceOrder) -> Result<Outcome, Refusal> {
        check_len("email", &ask.email, 3, 254)?;
        if !ask.email.contains('@') {
            return Err(bounds("email", "it is no address"));
        }
        let hold = self.hold_of(ask.hold, ask.user)?;
        if hold.order.is_some() {
            return Err(Refusal::HoldHasOrder);
        }
        let show = &self.shows[&hold.showtime];
        let made = self.orders.iter().filter(|order| (order.showtime, order.user) == (hold.showtime, ask.user));
        // One for each seat that the buyer may have, and a few that come to nothing.
        if made.count() as u32 >= show.sale.seats_per_buyer_max + SPARE_ORDERS_MAX as u32 {
            return Err(Refusal::AtCapacity { what: "orders of the buyer".into() });
        }
        let id = OrderId::new(self.group, self.orders.len() as u64 + 1);
        let nothing = Money { amount: 0, currency: show.created.prices[0].currency };
        let (pay_by, total) = (self.now + show.sale.payment_ttl, show.price(&hold.places));
        let order = OrderView {
            order: id,
            hold: ask.hold,
            showtime: hold.showtime,
            user: ask.user,
            email: ask.email.clone(),
            places: hold.places.clone(),
            channel: hold.channel.clone(),
            ticket: hold.ticket,
            total,
            state: OrderState::PendingPayment,
            placed_at: self.now,
            pay_by,
            captured: nothing,
            refund_due: nothing,
            refunded: nothing,
            payments: Vec::new(),
            foreign: Vec::new(),
        };
        self.orders.push(order.clone());
        let held = self.holds.get_mut(&ask.hold).unwrap();
        held.order = Some(id);
        held.expires_at = pay_by;
        let (user, places) = (ask.user, hold.places);
        self.tell_of(hold.showtime, Event::OrderPlaced { order: id, user, places, total, pay_by });
        if let Some(entry) = self.take_offer(ask.hold) {
            self.tell_of(hold.showtime, Event::WaitlistAccepted { entry: entry.id, user: entry.user });
        }
        Ok(Outcome::Ordered { order: Box::new(order) })
    }

    fn order_index(&self, id: OrderId) -> Result<usize, Refusal> {
        self.orders.iter().position(|order| order.order == id).ok_or(Refusal::NoSuchOrder)
    }

    /// Takes out the hold of an order.
    fn drop_order_hold(&mut self, order: OrderId) -> HoldId {
        let id = *self.holds.iter().find(|(_, hold)| hold.order == Some(order)).unwrap().0;
        self.holds.remove(&id);
        id
    }

    pub(super) fn expire_order(&mut self, id: OrderId) {
        let hold = self.drop_order_hold(id);
        let index = self.order_index(id).unwrap();
        let order = &mut self.orders[index];
        order.state = without_seats(order, OrderState::Expired);
        let (showtime, user, places, total) = (order.showtime, order.user, order.places.clone(), order.total);
        self.tell_of(showtime, Event::OrderExpired { order: id, user, places: places.clone(), total });
        self.tell_of(showtime, Event::HoldExpired { hold, places: places.clone() });
        self.blocked_again(showtime, &places);
        self.end_admissions(showtime);
    }

    pub(super) fn cancel(&mut self, ask: &CancelOrder) -> Result<Outcome, Refusal> {
        let index = self.order_index(ask.order)?;
        let order = self.orders[index].clone();
        if order.user != ask.user {
            return Err(Refusal::NoSuchOrder);
        }
        match order.state {
            OrderState::Canceled => return Ok(Outcome::Ordered { order: Box::new(order) }),
            OrderState::PendingPayment => {}
            state => return Err(Refusal::WrongOrderState { state }),
        }
        let hold = self.drop_order_hold(ask.order);
        let order = &mut self.orders[index];
        order.state = without_seats(order, OrderState::Canceled);
        let order = order.clone();
        let (showtime, user, places, total) = (order.showtime, order.user, order.places.clone(), order.total);
        self.tell_of(showtime, Event::OrderCanceled { order: ask.order, user, places: places.clone(), total });
        self.tell_of(showtime, Event::HoldReleased { hold, places: places.clone() });
        self.blocked_again(showtime, &places);
        self.end_admissions(showtime);
        Ok(Outcome::Ordered { order: Box::new(order) })
    }

    pub(super) fn pay(&mut self, ask: &RecordPayment) -> Result<Outcome, Refusal> {
        check_amount(ask.amount, 0)?;
        let index = self.order_index(ask.order)?;
        let order = self.orders[index].clone();
        let costs_nothing = order.total.amount == 0 && order.total.currency == ask.amount.currency;
        if ask.outcome == PaymentOutcome::Succeeded && ask.amount.amount == 0 && !costs_nothing {
            return Err(bounds("amount", "0 pays for nothing but a free order, in its currency"));
        }
        let Some(slot) = slot(&order, &self.older_payments, ask.payment, ask.outcome, ask.amount, false)? else {
            return Ok(Outcome::PaymentKnown { payment: ask.payment, order: Box::new(order) });
        };
        if is_ignored(&order, slot, ask.outcome) {
            return Ok(Outcome::Ordered { order: Box::new(order) });
        }
        let is_nothing = ask.outcome == PaymentOutcome::Succeeded && ask.amount.amount == 0;
        let taken: i128 = self
            .successes(&order)
            .into_iter()
            .filter(|known| !known.refund && known.amount.currency == ask.amount.currency)
            .map(|known| i128::from(known.amount.amount))
            .sum();
        let is_too_much = taken + i128::from(ask.amount.amount) > 10_i128.pow(17);
        if ask.outcome == PaymentOutcome::Succeeded && is_too_much {
            return Err(Refusal::AtCapacity { what: "amounts of the order".into() });
        }
        let is_new = order.foreign.iter().all(|foreign| foreign.captured.currency != ask.amount.currency);
        let is_foreign = ask.amount.currency != order.total.currency;
        if ask.outcome == PaymentOutcome::Succeeded && is_foreign && is_new && order.foreign.len() == 200 {
            return Err(Refusal::AtCapacity { what: "currencies of the order".into() });
        }
        let count = self.successes(&order).iter().filter(|known| !known.refund).count();
        if ask.outcome == PaymentOutcome::Succeeded && count as u64 == SUCCESSES_MAX {
            return Err(Refusal::AtCapacity { what: "payments of the order".into() });
        }
        let showtime = order.showtime;
        let is_right = ask.amount == order.total;
        let is_lost = !matches!(order.state, OrderState::PendingPayment | OrderState::Completed);
        let is_refunded = order.places.seats.is_empty() && order.places.areas.is_empty();
        let is_free = !is_refunded && self.is_all_free(&order);
        let is_allowed = self.may_have_more(&order);
        let rebooks = is_lost && is_free && is_allowed;
        let completes = is_right && (order.state == OrderState::PendingPayment || rebooks);
        if is_nothing && !completes {
            return Ok(Outcome::Ordered { order: Box::new(order) });
        }

        let (payment, outcome, amount) = (ask.payment, ask.outcome, ask.amount);
        let stored = &mut self.orders[index];
        let told = PaymentView { payment, outcome, amount, at: self.now, refund: false };
        keep(stored, &mut self.older_payments, slot, told);
        if ask.outcome == PaymentOutcome::Failed {
            self.tell_of(showtime, Event::PaymentFailed { order: ask.order, payment, amount });
            return Ok(Outcome::Ordered { order: Box::new(self.orders[index].clone()) });
        }
        if amount.currency == stored.total.currency {
            stored.captured.amount += amount.amount;
            if !completes {
                stored.refund_due.amount += amount.amount;
            }
        } else if let Some(foreign) = stored.foreign.iter_mut().find(|f| f.captured.currency == amount.currency) {
            foreign.captured.amount += amount.amount;
        } else {
            stored.foreign.push(ForeignMoney { captured: amount, refunded: Money { amount: 0, ..amount } });
        }
        self.tell_of(showtime, Event::PaymentSucceeded { order: ask.order, payment, amount });
        if completes {
            self.complete(index);
        } else {
            let stored = &mut self.orders[index];
            if !matches!(stored.state, OrderState::PendingPayment | OrderState::Completed) {
                stored.state = without_seats(stored, stored.state);
            }
            let reason = match () {
                _ if !is_right => "the amount is not that of the order",
                _ if !is_lost => "the order was paid already",
                _ if is_refunded => "the order was refunded",
                _ if !is_free => "the seats were gone",
                _ => "the buyer has as many seats as the sale allows",
            };
            self.tell_of(showtime, Event::RefundDue { order: ask.order, amount, reason: reason.into() });
        }
        Ok(Outcome::Ordered { order: Box::new(self.orders[index].clone()) })
    }

    /// Every payment and refund of an order that succeeded, also those that bounced.
    fn successes(&self, order: &OrderView) -> Vec<PaymentView> {
        let older = self.older_payments.iter().filter(|(of, _)| *of == order.order).map(|(_, payment)| payment);
        let named = order.payments.iter().filter(|payment| payment.outcome == PaymentOutcome::Succeeded);
        older.chain(named).cloned().collect()
    }

    /// Whether the seats of an order that lost them are free to it.
    fn is_all_free(&self, order: &OrderView) -> bool {
        let id = order.showtime;
        self.in_the_way(id, &order.places.seats, order.channel.as_ref()).is_empty()
            && order.places.areas.iter().all(|(area, count)| *count <= self.free_places(id, *area))
    }

    /// Whether its buyer may have so many seats more.
    fn may_have_more(&self, order: &OrderView) -> bool {
        let id = order.showtime;
        self.taken(id, order.user) + size(&order.places) <= self.shows[&id].sale.seats_per_buyer_max
    }

    /// The seats of an order are sold.
    fn complete(&mut self, index: usize) {
        let before = self.orders[index].clone();
        let (id, showtime, user, total) = (before.order, before.showtime, before.user, before.total);
        self.orders[index].state = OrderState::Completed;
        self.tell_of(showtime, Event::SeatsPurchased { order: id, places: before.places.clone() });
        self.tell_of(showtime, Event::OrderCompleted { order: id, user, places: before.places.clone(), total });
        // Bought through its channel: the block is used up.
        self.show_mut(showtime).lift(&before.places.seats);
        if let Some(number) = before.ticket {
            self.show_mut(showtime).tickets[number.0 as usize - 1].has_bought = true;
        }
        if before.state == OrderState::PendingPayment {
            self.drop_order_hold(id);
        }
        self.end_admissions(showtime);
    }

    /// Whoever shops, has bought, and holds nothing more with the ticket has done.
    pub(super) fn end_admissions(&mut self, id: ShowtimeId) {
        for number in (1..=self.shows[&id].tickets.len() as u64).map(TicketNumber) {
            let holds = self.holds.values().any(|hold| (hold.showtime, hold.ticket) == (id, Some(number)));
            let ticket = &mut self.show_mut(id).tickets[number.0 as usize - 1];
            if matches!(ticket.at, At::Shopping(_)) && ticket.has_bought && !holds {
                ticket.at = At::Done;
                self.tell_of(id, Event::AdmissionDone { ticket: number });
            }
        }
    }

    pub(super) fn refund(&mut self, ask: &RefundOrder) -> Result<Outcome, Refusal> {
        check_len("reason", &ask.reason, 0, 200)?;
        if ask.seats.as_ref().is_some_and(Vec::is_empty) {
            return Err(bounds("seats", "0 is not between 1 and 1000"));
        }
        let index = self.order_index(ask.order)?;
        let order = &self.orders[index];
        if let Some(seat) = ask.seats.iter().flatten().find(|seat| !order.places.seats.contains(seat)) {
            return Err(Refusal::NoSuchSeat(*seat));
        }
        if order.state != OrderState::Completed {
            return Err(Refusal::WrongOrderState { state: order.state });
        }
        let (mut back, mut left) = (order.places.clone(), Places::default());
        if let Some(seats) = &ask.seats {
            left.areas = std::mem::take(&mut back.areas);
            (back.seats, left.seats) = back.seats.into_iter().partition(|seat| seats.contains(seat));
        }
        let showtime = order.showtime;
        let amount = self.shows[&showtime].price(&back);
        let order = &mut self.orders[index];
        order.places = left;
        order.refund_due.amount += amount.amount;
        if order.places == Places::default() {
            order.state = without_seats(order, OrderState::Refunded);
        }
        let (order, reason) = (order.clone(), ask.reason.clone());
        self.tell_of(showtime, Event::SeatsReleased { places: back, reason: reason.clone() });
        if amount.amount > 0 {
            self.tell_of(showtime, Event::RefundDue { order: ask.order, amount, reason });
        }
        Ok(Outcome::Ordered { order: Box::new(order) })
    }

    pub(super) fn repay(&mut self, ask: &RecordRefund) -> Result<Outcome, Refusal> {
        check_amount(ask.amount, 1)?;
        let index = self.order_index(ask.order)?;
        let order = self.orders[index].clone();
        let Some(slot) = slot(&order, &self.older_payments, ask.refund, ask.outcome, ask.amount, true)? else {
            return Ok(Outcome::PaymentKnown { payment: ask.refund, order: Box::new(order) });
        };
        let foreign = order.foreign.iter().position(|f| f.captured.currency == ask.amount.currency);
        let due = match foreign {
            _ if ask.amount.currency == order.total.currency => order.refund_due.amount,
            Some(f) => order.foreign[f].captured.amount - order.foreign[f].refunded.amount,
            None => 0,
        };
        if ask.outcome == PaymentOutcome::Succeeded && ask.amount.amount > due {
            return Err(Refusal::MoreThanDue { due });
        }
        let count = self.successes(&order).iter().filter(|known| known.refund).count();
        if ask.outcome == PaymentOutcome::Succeeded && count as u64 == SUCCESSES_MAX {
            return Err(Refusal::AtCapacity { what: "refunds of the order".into() });
        }
        if is_ignored(&order, slot, ask.outcome) {
            return Ok(Outcome::Ordered { order: Box::new(order) });
        }
        let (refund, outcome, amount) = (ask.refund, ask.outcome, ask.amount);
        let stored = &mut self.orders[index];
        let told = PaymentView { payment: refund, outcome, amount, at: self.now, refund: true };
        let is_bounce = slot != order.payments.len() && ask.outcome == PaymentOutcome::Failed;
        if is_bounce {
            keep_bounce(stored, &mut self.older_payments, slot, told);
            match foreign.filter(|_| amount.currency != stored.total.currency) {
                Some(f) => stored.foreign[f].refunded.amount -= amount.amount,
                None => {
                    stored.refund_due.amount += amount.amount;
                    stored.refunded.amount -= amount.amount;
                }
            }
            let is_closed = !matches!(stored.state, OrderState::PendingPayment | OrderState::Completed);
            stored.state = if is_closed { OrderState::RefundDue } else { stored.state };
        } else {
            keep(stored, &mut self.older_payments, slot, told);
        }
        if ask.outcome == PaymentOutcome::Failed {
            self.tell_of(order.showtime, Event::RefundFailed { order: ask.order, refund, amount });
        } else {
            if amount.currency == stored.total.currency {
                stored.refund_due.amount -= amount.amount;
                stored.refunded.amount += amount.amount;
            } else if let Some(f) = foreign {
                stored.foreign[f].refunded.amount += amount.amount;
            }
            if stored.state == OrderState::RefundDue && !owes(stored) {
                stored.state = OrderState::Refunded;
            }
            self.tell_of(order.showtime, Event::PaymentRefunded { order: ask.order, refund, amount });
        }
        Ok(Outcome::Ordered { order: Box::new(self.orders[index].clone()) })
    }
}

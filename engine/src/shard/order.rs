//! Orders: what they owe, how they end. The table of payments is in `docs/engine/payments.md`.

use super::Shard;
use super::hold::{Hold, count};
use super::older_payments::failures;
use crate::group_state::Events;
use crate::planted::{self, Bug};
use crate::{
    Event, ForeignMoney, HoldId, Money, OrderId, OrderState, OrderView, Places, Refusal, ShowtimeId, TicketNumber,
    UserId,
};

/// The most failures that an order remembers, of payments and refunds together.
pub(super) const FAILURES_MAX: usize = 100;
/// The most money of one currency that an order books: a hundred of the highest payments, so that no sum overflows.
pub(super) const CAPTURED_MAX: i64 = 100 * AMOUNT_MAX;
/// The most currencies besides its own that an order books: there are fewer codes in use than that.
const FOREIGN_MAX: usize = 200;
/// The highest amount of a payment, in minor units.
pub(super) const AMOUNT_MAX: i64 = 1_000_000_000_000_000;

/// Money of this currency that was taken, given back or not.
pub(super) fn captured_in(order: &OrderView, currency: crate::Currency) -> i64 {
    if currency == order.total.currency {
        return order.captured.amount;
    }
    let foreign = order.foreign.iter().find(|foreign| foreign.captured.currency == currency);
    foreign.map_or(0, |foreign| foreign.captured.amount)
}

/// Whether money of this currency would be of one more than there may be.
pub(super) fn has_many_currencies(order: &OrderView, currency: crate::Currency) -> bool {
    let is_known = |foreign: &ForeignMoney| foreign.captured.currency == currency;
    currency != order.total.currency && order.foreign.len() >= FOREIGN_MAX && !order.foreign.iter().any(is_known)
}

/// Whether one more failure would not be remembered. It is answered all the same, and leaves no trace: so it stays
/// without effect however often it is told. To forget the oldest instead would make news of that one when told again.
pub(super) fn forgets_failures(order: &OrderView) -> bool {
    failures(&order.payments) >= FAILURES_MAX
}

/// Money of this currency that has to go back and has not.
pub(super) fn due_in(order: &OrderView, currency: crate::Currency) -> i64 {
    if currency == order.total.currency {
        return order.refund_due.amount;
    }
    let foreign = order.foreign.iter().find(|foreign| foreign.captured.currency == currency);
    foreign.map_or(0, |foreign| foreign.captured.amount - foreign.refunded.amount)
}

/// Whether any money has to go back.
pub(super) fn owes(order: &OrderView) -> bool {
    order.refund_due.amount > 0 || order.foreign.iter().any(|foreign| foreign.captured.amount > foreign.refunded.amount)
}

/// The state of an order that ends without its seats: money that it owes comes first.
pub(super) fn closed_state(order: &OrderView, otherwise: OrderState) -> OrderState {
    if owes(order) { OrderState::RefundDue } else { otherwise }
}

/// Books money that was taken. Gives how much of it has to go back when `kept` of it is not kept.
pub(super) fn capture(order: &mut OrderView, amount: Money, is_kept: bool) {
    if amount.currency == order.total.currency {
        order.captured.amount += amount.amount;
        if !is_kept {
            order.refund_due.amount += amount.amount;
        }
        return;
    }
    let known = order.foreign.iter_mut().find(|foreign| foreign.captured.currency == amount.currency);
    match known {
        Some(foreign) => foreign.captured.amount += amount.amount,
        None => order.foreign.push(ForeignMoney { captured: amount, refunded: Money::zero(amount.currency) }),
    }
}

impl Shard {
    pub(super) fn order(&self, id: OrderId) -> Result<&OrderView, Refusal> {
        let order = self.orders.get(id.counter()).filter(|_| id.group() == self.state.group);
        order.ok_or(Refusal::NoSuchOrder)
    }

    /// An order of this buyer.
    pub(super) fn order_of(&self, id: OrderId, user: UserId) -> Result<&OrderView, Refusal> {
        self.order(id).ok().filter(|order| order.user == user).ok_or(Refusal::NoSuchOrder)
    }

    /// An order that the caller found.
    pub(super) fn order_mut(&mut self, id: OrderId) -> &mut OrderView {
        self.orders.get_mut(id.counter()).expect("the caller found the order")
    }

    /// An order was not paid in time: it expires with its hold. Its deadline is taken out already.
    pub(super) fn expire_order(&mut self, id: OrderId, events: &mut Events) {
        let order = self.orders.get(id.counter()).expect("a pending order has a deadline");
        let (hold_id, pay_by) = (order.hold, order.pay_by);
        self.deadlines.insert(pay_by, super::Due::Order(id));
        let hold = self.free_hold(hold_id);
        let order = self.order_mut(id);
        order.state = closed_state(order, OrderState::Expired);
        let (showtime, user, places, total) = (order.showtime, order.user, order.places.clone(), order.total);
        events.push(showtime, Event::OrderExpired { order: id, user, places, total });
        events.push(showtime, Event::HoldExpired { hold: hold_id, places: hold.places.clone() });
        self.tell_blocked_again(showtime, &hold.places.seats, events);
        self.end_admission_if_bought(&hold, events);
    }

    /// Completes an order whose hold lives.
    pub(super) fn complete_order(&mut self, id: OrderId, events: &mut Events) {
        let hold_id = self.order_mut(id).hold;
        if (planted::is(Bug::CompleteExpired) || planted::is(Bug::CompleteTwice)) && self.live_hold(hold_id).is_none() {
            self.tell_completed(id, events);
            return;
        }
        let hold = match self.live_hold(hold_id).filter(|_| planted::is(Bug::HoldAfterSale)) {
            Some(hold) => hold.clone(),
            None => self.close_hold(hold_id),
        };
        self.showtime_mut(hold.showtime).sell(&hold.places);
        self.tell_completed(id, events);
        self.end_admission_if_bought(&hold, events);
    }

    /// A hold was sold, or went otherwise: the last one of an admission with a purchase ends it. What the buyer holds
    /// without this ticket, like the offer of a waitlist, is no reason to keep the slot.
    pub(super) fn end_admission_if_bought(&mut self, hold: &Hold, events: &mut Events) {
        if let Some(ticket) = hold.ticket {
            self.end_bought_admission(hold.showtime, hold.user, ticket, events);
        }
    }

    /// Ends the admission of a ticket that has bought, unless something is held with it.
    fn end_bought_admission(&mut self, id: ShowtimeId, user: UserId, ticket: TicketNumber, events: &mut Events) {
        let showtime = &self.showtimes[&id];
        let is_of_ticket = |id: HoldId| self.live_hold(id).is_some_and(|other| other.ticket == Some(ticket));
        let has_more = showtime.buyers.get(&user).is_some_and(|buyer| buyer.holds.iter().any(is_of_ticket));
        if !has_more && showtime.line.has_bought(ticket) {
            self.finish_admission(id, ticket, events);
        }
    }

    /// Whether the places of an order that lost its hold could be sold to it all the same; if not, why.
    pub(super) fn check_rebook(&self, order: &OrderView) -> Result<(), &'static str> {
        // Canceled and expired orders keep the names of their places. The organiser took them back from this one.
        if order.places == Places::default() {
            return Err("the order was refunded");
        }
        let showtime = self.showtimes.get(&order.showtime).ok_or("the seats were gone")?;
        let fits = |&(area, count): &(crate::AreaId, u32)| {
            usize::from(area.0) < showtime.areas.len() && showtime.free_places(area) >= count
        };
        let are_free = showtime.in_the_way(&order.places.seats, order.channel.as_deref()).is_empty();
        if !are_free || !order.places.areas.iter().all(fits) {
            return Err("the seats were gone");
        }
        let taken = showtime.buyers.get(&order.user).map_or(0, |buyer| buyer.taken);
        if taken.saturating_add(count(&order.places)) > showtime.sale().seats_per_buyer_max {
            return Err("the buyer has as many seats as the sale allows");
        }
        Ok(())
    }

    /// Sells the free places of an order that lost its hold. The caller has decided.
    pub(super) fn rebook_order(&mut self, id: OrderId, events: &mut Events) {
        let order = self.order_mut(id);
        let (showtime_id, user, ticket, places) = (order.showtime, order.user, order.ticket, order.places.clone());
        let showtime = self.showtime_mut(showtime_id);
        showtime.hold(&places);
        showtime.sell(&places);
        showtime.change_taken(user, |taken| taken + count(&places));
        self.tell_completed(id, events);
        if let Some(ticket) = ticket {
            self.end_bought_admission(showtime_id, user, ticket, events);
        }
    }

    /// An order is paid: tells so, and its ticket has bought.
    fn tell_completed(&mut self, id: OrderId, events: &mut Events) {
        let order = self.order_mut(id);
        order.state = OrderState::Completed;
        let (showtime, ticket, user, total) = (order.showtime, order.ticket, order.user, order.total);
        let places = order.places.clone();
        if let Some(ticket) = ticket {
            self.showtime_mut(showtime).line.mark_bought(ticket);
        }
        events.push(showtime, Event::SeatsPurchased { order: id, places: places.clone() });
        events.push(showtime, Event::OrderCompleted { order: id, user, places, total });
    }
}

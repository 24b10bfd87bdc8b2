//! `PlaceOrder`: makes an order of a hold, whose seats stay held until the payment deadline.

use super::Shard;
use super::deadlines::Due;
use crate::group_state::{Events, check_email};
use crate::{Event, Money, OrderId, OrderState, OrderView, Outcome, PlaceOrder, Refusal};

/// Orders that a buyer may make in a showtime beyond the seats that the sale allows: as many may come to nothing. All are
/// kept, since money may come late for any. Lower under test, so that a test reaches it.
pub(super) const SPARE_ORDERS_MAX: usize = if cfg!(test) { 10 } else { 100 };

impl Shard {
    pub(super) fn place_order(&mut self, ask: &PlaceOrder, events: &mut Events) -> Result<Outcome, Refusal> {
        check_email(&ask.email)?;
        let hold = self.hold_of(ask.hold, ask.user)?;
        if hold.order.is_some() {
            return Err(Refusal::HoldHasOrder);
        }
        let showtime = self.showtime(hold.showtime)?;
        let orders_len = showtime.buyers.get(&ask.user).map_or(0, |buyer| buyer.orders.len());
        if orders_len >= showtime.sale().seats_per_buyer_max as usize + SPARE_ORDERS_MAX {
            return Err(Refusal::AtCapacity { what: "orders of the buyer".into() });
        }

        let now = self.state.now;
        let pay_by = now + self.showtime(hold.showtime)?.sale().payment_ttl;
        let before = hold.expires_at;
        self.counters.order += 1;
        self.counters_dirty = true;
        let id = OrderId::new(self.state.group, self.counters.order);
        let hold = self.holds.get_mut(ask.hold.counter()).expect("it was found above");
        hold.order = Some(id);
        let offer = hold.offer.take();
        hold.expires_at = pay_by;
        let nothing = Money::zero(hold.total.currency);
        let order = OrderView {
            order: id,
            hold: ask.hold,
            showtime: hold.showtime,
            user: hold.user,
            email: ask.email.clone(),
            places: hold.places.clone(),
            channel: hold.channel.clone(),
            ticket: hold.ticket,
            total: hold.total,
            state: OrderState::PendingPayment,
            placed_at: now,
            pay_by,
            captured: nothing,
            refund_due: nothing,
            refunded: nothing,
            payments: Vec::new(),
            foreign: Vec::new(),
        };
        self.deadlines.remove(before, Due::Hold(ask.hold));
        self.deadlines.insert(pay_by, Due::Order(id));
        let buyer = self.showtime_mut(order.showtime).buyers.get_mut(&order.user);
        buyer.expect("a buyer with a hold is known").orders.push(id);
        self.orders.insert(id.counter(), order.clone());

        let (user, places, total) = (order.user, order.places.clone(), order.total);
        events.push(order.showtime, Event::OrderPlaced { order: id, user, places, total, pay_by });
        self.end_offer(offer, |entry, user| Event::WaitlistAccepted { entry, user }, events);
        Ok(Outcome::Ordered { order: Box::new(order) })
    }
}

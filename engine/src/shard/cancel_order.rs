//! `CancelOrder`: cancels an order that is not paid.

use super::Shard;
use super::order::closed_state;
use crate::group_state::Events;
use crate::{CancelOrder, Event, OrderState, Outcome, Refusal};

impl Shard {
    pub(super) fn cancel_order(&mut self, ask: &CancelOrder, events: &mut Events) -> Result<Outcome, Refusal> {
        let order = self.order_of(ask.order, ask.user)?;
        match order.state {
            OrderState::PendingPayment => {}
            OrderState::Canceled => return Ok(Outcome::Ordered { order: Box::new(order.clone()) }),
            state => return Err(Refusal::WrongOrderState { state }),
        }

        let hold_id = order.hold;
        let hold = self.free_hold(hold_id);
        let order = self.order_mut(ask.order);
        order.state = closed_state(order, OrderState::Canceled);
        let order = order.clone();
        let (user, places, total) = (order.user, order.places.clone(), order.total);
        events.push(order.showtime, Event::OrderCanceled { order: ask.order, user, places, total });
        events.push(order.showtime, Event::HoldReleased { hold: hold_id, places: hold.places.clone() });
        self.tell_blocked_again(order.showtime, &hold.places.seats, events);
        self.end_admission_if_bought(&hold, events);
        Ok(Outcome::Ordered { order: Box::new(order) })
    }
}

//! `RefundOrder`: takes back sold seats and makes their price due to go back.

use super::Shard;
use super::hold::count;
use super::order::closed_state;
use crate::group_state::{Events, check_text};
use crate::planted::{self, Bug};
use crate::{Event, OrderState, Outcome, Places, RefundOrder, Refusal, SeatList};

impl Shard {
    pub(super) fn refund_order(&mut self, ask: &RefundOrder, events: &mut Events) -> Result<Outcome, Refusal> {
        check_text("reason", &ask.reason, 0, 200)?;
        let seats_len = ask.seats.as_ref().map_or(1, Vec::len);
        if !(1..=1_000).contains(&seats_len) {
            return Err(Refusal::out_of_bounds("seats", format!("{seats_len} is not between 1 and 1000")));
        }
        let order = self.order(ask.order)?;
        let back = match &ask.seats {
            None => order.places.clone(),
            Some(seats) => {
                if let Some(&seat) = seats.iter().find(|seat| !order.places.seats.contains(seat)) {
                    return Err(Refusal::NoSuchSeat(seat));
                }
                let mut seats = SeatList::from_slice(seats);
                seats.sort_unstable();
                seats.dedup();
                Places { seats, areas: Vec::new() }
            }
        };
        if order.state != OrderState::Completed {
            return Err(Refusal::WrongOrderState { state: order.state });
        }

        let (showtime_id, user) = (order.showtime, order.user);
        let showtime = self.showtime_mut(showtime_id);
        let amount = showtime.price_of(&back);
        showtime.take_back(&back);
        showtime.change_taken(user, |taken| taken - count(&back));
        self.freed.insert(showtime_id);
        let order = self.order_mut(ask.order);
        order.places.seats.retain(|seat| !back.seats.contains(seat));
        if ask.seats.is_none() {
            order.places.areas.clear();
        }
        order.refund_due.amount += if planted::is(Bug::RefundTwice) { 2 * amount.amount } else { amount.amount };
        if order.places == Places::default() {
            order.state = closed_state(order, OrderState::Refunded);
        }
        let order = order.clone();
        events.push(showtime_id, Event::SeatsReleased { places: back, reason: ask.reason.clone() });
        if amount.amount > 0 {
            events.push(showtime_id, Event::RefundDue { order: ask.order, amount, reason: ask.reason.clone() });
        }
        Ok(Outcome::Ordered { order: Box::new(order) })
    }
}

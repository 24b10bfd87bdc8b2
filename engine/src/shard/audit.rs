//! The audit: every invariant, recounted from scratch.
//!
//! What it cannot recount: the total of an order of which the organiser refunded some seats, since nothing but the events
//! tells which. There it demands the payment of exactly that total, which completed the order, and that what is left costs no
//! more.

use super::Shard;
use super::hold::count;
use super::line::Standing;
use super::older_payments::{SUCCESSES_MAX, check_named, failures};
use super::order::FAILURES_MAX;
use super::showtime::Buyer;
use crate::{
    ForeignMoney, Money, OrderState, OrderView, PaymentId, PaymentOutcome, PaymentView, Places, SeatId, SeatState,
    ShowtimeId, UserId,
};
use std::collections::{BTreeMap, BTreeSet};

impl Shard {
    /// Recounts the whole state, the logs included.
    pub(super) fn audit_all(&self) -> Result<(), String> {
        for (showtime, link) in self.state.audit()? {
            let chain = match showtime {
                Some(id) => self.showtimes.get(&id).map(|showtime| showtime.chain),
                None => Some(self.state.chain),
            };
            if chain != Some(link) {
                return Err(format!("the chain of {showtime:?} does not end with its last event"));
            }
        }
        self.audit_showtimes()
    }

    /// Recounts everything but the logs.
    pub(super) fn audit_showtimes(&self) -> Result<(), String> {
        self.audit_holds()?;
        self.audit_waitlists()?;
        self.showtimes
            .iter()
            .try_for_each(|(id, showtime)| showtime.audit().map_err(|reason| format!("{id}: {reason}")))
    }

    /// Recounts what belongs to whom and what is due: everything that does not look at every ticket.
    pub(super) fn audit_holds(&self) -> Result<(), String> {
        let mut owners: BTreeMap<(ShowtimeId, SeatId), SeatState> = BTreeMap::new();
        let mut areas: BTreeMap<(ShowtimeId, u16), (u32, u32)> = BTreeMap::new();
        let mut buyers: BTreeMap<(ShowtimeId, UserId), Buyer> = BTreeMap::new();
        let mut own = |showtime, seat, state| match owners.insert((showtime, seat), state) {
            Some(_) => Err(format!("seat {} has two owners", seat.0)),
            None => Ok(()),
        };
        for (counter, hold) in self.holds.iter() {
            let id = self.hold_id(counter);
            let showtime = self.showtimes.get(&hold.showtime).ok_or_else(|| format!("{id} has no showtime"))?;
            if counter == 0 || counter > self.counters.hold {
                return Err(format!("{id} was never made"));
            }
            if !showtime.contains(&hold.places) {
                return Err(format!("{id} holds what is not in the house"));
            }
            if hold.ticket.is_some_and(|ticket| showtime.line.owner(ticket) != Some(hold.user)) {
                return Err(format!("{id} was made with a ticket that is not its buyer's"));
            }
            for &seat in &hold.places.seats {
                own(hold.showtime, seat, SeatState::Held)?;
                let block = showtime.blocks.get(&showtime.seats.block(seat));
                if block.is_some_and(|block| block.channel.is_none() || block.channel != hold.channel) {
                    return Err(format!("{id} holds seat {} under a block that is not of its channel", seat.0));
                }
            }
            for &(area, places) in &hold.places.areas {
                let area = areas.entry((hold.showtime, area.0)).or_default();
                area.0 = area.0.saturating_add(places);
            }
            let buyer = buyers.entry((hold.showtime, hold.user)).or_default();
            buyer.taken = buyer.taken.saturating_add(count(&hold.places));
            buyer.holds.push(id);
            if let Some(order) = hold.order {
                let order = self.order(order).map_err(|_| format!("the order of {id} is missing"))?;
                let fits = order.hold == id && order.state == OrderState::PendingPayment && order.places == hold.places;
                let fits = fits && order.channel == hold.channel && order.ticket == hold.ticket;
                let fits = fits && order.showtime == hold.showtime && order.total == hold.total;
                if !fits || order.pay_by != hold.expires_at || order.user != hold.user {
                    return Err(format!("{id} and {} contradict each other", order.order));
                }
            }
            if hold.held_at > self.state.now {
                return Err(format!("{id} was held in a time to come"));
            }
            if hold.total != showtime.price_of(&hold.places) {
                return Err(format!("{id} costs something else"));
            }
        }
        for (counter, order) in self.orders.iter() {
            let id = order.order;
            let showtime = self.showtimes.get(&order.showtime).ok_or_else(|| format!("{id} has no showtime"))?;
            if counter == 0 || counter > self.counters.order {
                return Err(format!("{id} was never made"));
            }
            if !showtime.contains(&order.places) {
                return Err(format!("{id} is for what is not in the house"));
            }
            if order.ticket.is_some_and(|ticket| showtime.line.owner(ticket) != Some(order.user)) {
                return Err(format!("{id} was made with a ticket that is not its buyer's"));
            }
            let buyer = buyers.entry((order.showtime, order.user)).or_default();
            buyer.orders.push(id);
            let pending = self.live_hold(order.hold).is_some_and(|hold| hold.order == Some(id));
            if pending != (order.state == OrderState::PendingPayment) {
                return Err(format!("{id} is {} and its hold says otherwise", order.state));
            }
            let mut kept = 0;
            if order.state == OrderState::Completed {
                buyer.taken = buyer.taken.saturating_add(count(&order.places));
                kept = i128::from(showtime.price_of(&order.places).amount);
                for &seat in &order.places.seats {
                    own(order.showtime, seat, SeatState::Sold)?;
                }
                for &(area, places) in &order.places.areas {
                    let area = areas.entry((order.showtime, area.0)).or_default();
                    area.1 = area.1.saturating_add(places);
                }
            }
            if order.placed_at > self.state.now {
                return Err(format!("{id} was placed in a time to come"));
            }
            audit_payments(order, self.older_payments.of(id)).map_err(|reason| format!("{id}: {reason}"))?;
            self.audit_total(order, showtime.price_of(&order.places)).map_err(|reason| format!("{id}: {reason}"))?;
            let gone = i128::from(order.refunded.amount) + i128::from(order.refund_due.amount);
            if i128::from(order.captured.amount) - gone != kept {
                return Err(format!("{id} has kept another sum than its seats cost"));
            }
            if order.refund_due.amount < 0 || order.refunded.amount < 0 {
                return Err(format!("{id} owes less than nothing"));
            }
            let owes = super::order::owes(order);
            let fits = match order.state {
                OrderState::RefundDue => owes,
                OrderState::PendingPayment | OrderState::Completed => true,
                OrderState::Canceled | OrderState::Expired | OrderState::Refunded => !owes,
            };
            if !fits {
                return Err(format!("{id} is {} and owes otherwise", order.state));
            }
        }
        self.older_payments.audit(&self.orders)?;
        for (&id, showtime) in self.showtimes.iter() {
            for seat in (0..showtime.seats.len() as u32).map(SeatId) {
                let state = showtime.seats.state(seat);
                let owned = owners.remove(&(id, seat));
                let wanted = if matches!(state, SeatState::Held | SeatState::Sold) { Some(state) } else { None };
                if owned != wanted {
                    return Err(format!("seat {} of {id} is {state}, by its owner {owned:?}", seat.0));
                }
            }
            for (number, area) in (0..).zip(&showtime.areas) {
                let (held, sold) = areas.remove(&(id, number)).unwrap_or_default();
                if (held, sold) != (area.held, area.sold) || area.capacity < area.held.saturating_add(area.sold) {
                    return Err(format!("area {number} of {id} counts {area:?}, recounted {held} and {sold}"));
                }
            }
            let mut of_showtime = buyers.range((id, UserId(0))..=(id, UserId(u128::MAX)));
            if showtime.buyers.len() != of_showtime.clone().count()
                || of_showtime.any(|((_, user), buyer)| showtime.buyers.get(user) != Some(buyer))
            {
                return Err(format!("the buyers of {id} are not those of its holds and orders"));
            }
            if showtime.updated_at.max(showtime.line.last_moment()) > self.state.now {
                return Err(format!("{id} has changed in a time to come"));
            }
            if showtime.step_due != Self::wanted_step(showtime) {
                return Err(format!("the next step of {id} is not where it should be"));
            }
            for (ticket, until) in showtime.line.sessions() {
                let is_live = showtime.line.standing(ticket) == Standing::Shopping { until };
                if !is_live || until <= self.state.now {
                    return Err(format!("the session of ticket {ticket} outlived its end"));
                }
            }
        }
        if !owners.is_empty() || !areas.is_empty() {
            return Err("something belongs to seats that are not there".into());
        }
        if self.deadlines != self.wanted_deadlines() {
            return Err("the deadlines are not those of the state".into());
        }
        if self.deadlines.first().is_some_and(|at| at <= self.state.now) {
            return Err("something is overdue".into());
        }
        Ok(())
    }
}

impl Shard {
    /// Recounts the total of an order from what its places cost, or, once some may have been refunded, from its payments.
    fn audit_total(&self, order: &OrderView, price: Money) -> Result<(), String> {
        // An order that lost its hold without having been paid still names all of its places.
        let is_whole = order.state != OrderState::Completed && order.places != Places::default();
        let paid = |payment: &PaymentView| {
            payment.outcome == PaymentOutcome::Succeeded && !payment.refund && payment.amount == order.total
        };
        let fits = if is_whole {
            order.total == price
        } else {
            let older = self.older_payments.of(order.order);
            order.total.amount >= price.amount && older.chain(&order.payments).any(paid)
        };
        if fits { Ok(()) } else { Err(format!("its total is not what it cost, {:?}", order.total)) }
    }
}

/// Recounts from all of its payments what an order has captured and refunded, in each currency.
fn audit_payments<'a>(order: &'a OrderView, older: impl Iterator<Item = &'a PaymentView>) -> Result<(), String> {
    let mut moved: BTreeMap<[u8; 3], (i128, i128)> = BTreeMap::new();
    let (failures, mut successes) = (failures(&order.payments), [0, 0]);
    let has_succeeded = |payment: &&PaymentView| payment.outcome == PaymentOutcome::Succeeded;
    let named = order.payments.iter().filter(has_succeeded);
    for payment in older.chain(named) {
        // Also a refund that bounced.
        successes[usize::from(payment.refund)] += 1;
        if payment.outcome == PaymentOutcome::Failed {
            continue;
        }
        let (captured, refunded) = moved.entry(payment.amount.currency.0).or_default();
        let amount = i128::from(payment.amount.amount);
        if payment.refund { *refunded += amount } else { *captured += amount }
    }
    let ids: BTreeSet<PaymentId> = order.payments.iter().map(|payment| payment.payment).collect();
    if ids.len() != order.payments.len() {
        return Err("it names a payment twice".into());
    }
    if failures > FAILURES_MAX {
        return Err(format!("it remembers {failures} failures"));
    }
    check_named(order)?;
    if successes.iter().any(|&count| count > SUCCESSES_MAX) {
        return Err("it has more payments or refunds than there may be".into());
    }
    let own = ForeignMoney { captured: order.captured, refunded: order.refunded };
    for counted in std::iter::once(&own).chain(&order.foreign) {
        let told = (i128::from(counted.captured.amount), i128::from(counted.refunded.amount));
        if moved.remove(&counted.captured.currency.0).unwrap_or_default() != told {
            return Err(format!("it captured and refunded {told:?}, which its payments do not come to"));
        }
        if told.1 > told.0 || counted.refunded.currency != counted.captured.currency {
            return Err("more went back than was taken".into());
        }
    }
    if moved.is_empty() { Ok(()) } else { Err("it was paid in a currency that it does not count".into()) }
}

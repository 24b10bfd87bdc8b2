//! Holds: how they are made, kept and given back.

use super::Shard;
use super::deadlines::Due;
use super::seats::BlockId;
use crate::group_state::Events;
use crate::planted::{self, Bug};
use crate::{
    Event, HoldId, HoldView, Millis, Money, OfferId, OrderId, Places, Refusal, SeatId, SeatState, ShowtimeId,
    TicketNumber, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};

/// A live hold.
///
/// ```text
///   held ──order──▶ ordered ──paid──▶ (sold)
///     └──release, expire──┴──cancel, expire──▶ (gone)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub(crate) showtime: ShowtimeId,
    pub(crate) user: UserId,
    /// The admitted ticket it was made with; none in a sale without a line.
    pub(crate) ticket: Option<TicketNumber>,
    pub(crate) places: Places,
    /// The allocation through which they were taken: who pays late may have them back through it.
    pub(crate) channel: Option<String>,
    pub(crate) total: Money,
    pub(crate) held_at: Timestamp,
    /// With an order: until when that is to be paid.
    pub(crate) expires_at: Timestamp,
    pub(crate) order: Option<OrderId>,
    /// The entry of the waitlist that it was offered to, until that takes it up.
    pub(crate) offer: Option<OfferId>,
}

impl Hold {
    pub(crate) fn view(&self, hold: HoldId) -> HoldView {
        HoldView {
            hold,
            showtime: self.showtime,
            user: self.user,
            places: self.places.clone(),
            total: self.total,
            expires_at: self.expires_at,
            order: self.order,
        }
    }
}

/// How many seats and places these are.
pub(crate) fn count(places: &Places) -> u32 {
    places.areas.iter().fold(places.seats.len() as u32, |sum, &(_, count)| sum.saturating_add(count))
}

impl Shard {
    /// A live hold of this buyer.
    pub(super) fn hold_of(&self, id: HoldId, user: UserId) -> Result<&Hold, Refusal> {
        match self.live_hold(id) {
            Some(hold) if hold.user == user => Ok(hold),
            Some(_) => Err(Refusal::NoSuchHold),
            None if self.was_held(id) => Err(Refusal::HoldGone),
            None => Err(Refusal::NoSuchHold),
        }
    }

    pub(super) fn live_hold(&self, id: HoldId) -> Option<&Hold> {
        self.holds.get(id.counter()).filter(|_| id.group() == self.state.group)
    }

    /// Whether there is or was such a hold.
    pub(super) fn was_held(&self, id: HoldId) -> bool {
        id.group() == self.state.group && (1..=self.counters.hold).contains(&id.counter())
    }

    /// Makes a hold of free places. The caller has decided.
    pub(super) fn make_hold(
        &mut self,
        showtime_id: ShowtimeId,
        user: UserId,
        ticket: Option<TicketNumber>,
        places: Places,
        ttl: Millis,
        events: &mut Events,
    ) -> HoldId {
        let now = self.state.now;
        let expires_at = now + ttl;
        self.counters.hold += 1;
        self.counters_dirty = true;
        let id = self.hold_id(self.counters.hold);
        let showtime = self.showtime_mut(showtime_id);
        showtime.hold(&places);
        let total = showtime.price_of(&places);
        showtime.change_taken(user, |taken| taken + count(&places)).holds.push(id);
        self.deadlines.insert(expires_at, Due::Hold(id));

        events.push(showtime_id, Event::SeatsHeld { hold: id, user, places: places.clone(), expires_at });
        let hold = Hold {
            showtime: showtime_id,
            user,
            ticket,
            places,
            channel: None,
            total,
            held_at: now,
            expires_at,
            order: None,
            offer: None,
        };
        self.holds.insert(id.counter(), hold);
        id
    }

    /// Takes a hold out of the books: its deadline, its buyer's list. Its places stay as they are.
    pub(super) fn close_hold(&mut self, id: HoldId) -> Hold {
        let hold = self.holds.remove(id.counter()).expect("the caller found the hold");
        let due = hold.order.map_or(Due::Hold(id), Due::Order);
        self.deadlines.remove(hold.expires_at, due);
        let buyer = self.showtime_mut(hold.showtime).buyers.get_mut(&hold.user).expect("a buyer with a hold is known");
        buyer.holds.remove(id);
        hold
    }

    /// Takes a hold out of the books and frees its places.
    pub(super) fn free_hold(&mut self, id: HoldId) -> Hold {
        let hold = self.close_hold(id);
        let showtime = self.showtime_mut(hold.showtime);
        showtime.release(&hold.places);
        showtime.change_taken(hold.user, |taken| taken - count(&hold.places));
        showtime.tidy_buyer(hold.user);
        self.freed.insert(hold.showtime);
        hold
    }

    /// Tells which of the places given back fell under their block again: those are not for everybody.
    pub(super) fn tell_blocked_again(&self, showtime_id: ShowtimeId, seats: &[SeatId], events: &mut Events) {
        let showtime = &self.showtimes[&showtime_id];
        let mut blocked: Vec<(BlockId, Vec<SeatId>)> = Vec::new();
        for &seat in seats.iter().filter(|&&seat| showtime.seats.state(seat) == SeatState::Blocked) {
            let block = showtime.seats.block(seat);
            match blocked.iter_mut().find(|(other, _)| *other == block) {
                Some((_, seats)) => seats.push(seat),
                None => blocked.push((block, vec![seat])),
            }
        }
        for (block, seats) in blocked {
            let reason = showtime.blocks.get(&block).map_or(String::new(), |block| block.reason.clone());
            events.push(showtime_id, Event::SeatsBlocked { seats, reason });
        }
    }

    /// Gives a hold without an order back.
    pub(super) fn give_back(&mut self, id: HoldId, events: &mut Events) {
        let hold = self.free_hold(id);
        events.push(hold.showtime, Event::HoldReleased { hold: id, places: hold.places.clone() });
        self.tell_blocked_again(hold.showtime, &hold.places.seats, events);
        self.end_offer(hold.offer, |entry, user| Event::WaitlistLeft { entry, user }, events);
        self.end_admission_if_bought(&hold, events);
    }

    /// A hold without an order has run out. Its deadline is taken out already.
    pub(super) fn expire_hold(&mut self, id: HoldId, events: &mut Events) {
        let expires_at = self.live_hold(id).expect("a live hold has a deadline").expires_at;
        self.deadlines.insert(expires_at, Due::Hold(id));
        let hold = self.free_hold(id);
        if !planted::is(Bug::ExpireSilently) {
            events.push(hold.showtime, Event::HoldExpired { hold: id, places: hold.places.clone() });
        }
        self.tell_blocked_again(hold.showtime, &hold.places.seats, events);
        self.end_offer(hold.offer, |entry, user| Event::WaitlistExpired { entry, user }, events);
        self.end_admission_if_bought(&hold, events);
    }
}

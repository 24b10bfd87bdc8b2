//! The waitlist: who waits, and what is offered.

use super::house::{Need, Wanted};
use super::{Model, bounds};
use crate::shard::waitlist::ENDED_PER_STEP;
use crate::*;

#[derive(Debug, Clone)]
pub(super) struct ModelEntry {
    pub(super) id: OfferId,
    pub(super) showtime: ShowtimeId,
    pub(super) user: UserId,
    pub(super) wish: Wish,
    /// The hold offered.
    pub(super) hold: Option<HoldId>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wish {
    pub(super) quantity: u32,
    pub(super) category: Option<u16>,
    pub(super) together: bool,
}

impl Model {
    /// Takes out the entry that this hold was offered to.
    pub(super) fn take_offer(&mut self, hold: HoldId) -> Option<ModelEntry> {
        let index = self.entries.iter().position(|entry| entry.hold == Some(hold))?;
        Some(self.entries.remove(index))
    }

    /// Whether freed seats go to the waitlist now.
    fn offers(&self, id: ShowtimeId) -> bool {
        let show = &self.shows[&id];
        let is_on = matches!(show.state, QueueState::Open | QueueState::Paused);
        show.sale.waitlist && show.sale.method != Method::Reject && is_on
    }

    /// Free seats for a wish, or else places of the first area that has them.
    fn satisfy(&self, id: ShowtimeId, wish: Wish) -> Option<Places> {
        let Wish { quantity, category, together } = wish;
        let wanted = Wanted { quantity, category, section: None, need: Need::Nothing, together };
        if let Some(seats) = self.best(id, &wanted, None) {
            return Some(Places { seats: seats.into(), areas: Vec::new() });
        }
        let areas = &self.shows[&id].created.seat_map.areas;
        let fits = |area: &AreaId| {
            let of = areas[usize::from(area.0)].category.0;
            category.is_none_or(|category| category == of) && self.area(id, *area).available() >= quantity
        };
        let area = (0..areas.len() as u16).map(AreaId).find(fits)?;
        Some(Places { seats: Vec::new().into(), areas: vec![(area, quantity)] })
    }

    fn may_take(&self, id: ShowtimeId, user: UserId, quantity: u32) -> bool {
        let sale = &self.shows[&id].sale;
        quantity <= sale.seats_per_hold_max && self.taken(id, user) + quantity <= sale.seats_per_buyer_max
    }

    /// Categories that are kept for those who wait, none for all, while not all is offered that is free.
    pub(super) fn promised(&self, id: ShowtimeId) -> Vec<Option<u16>> {
        let is_due = self.shows[&id].offers_due.is_some() && self.offers(id);
        let waits = |entry: &&ModelEntry| is_due && entry.showtime == id && entry.hold.is_none();
        let could_have = |entry: &&ModelEntry| {
            self.may_take(id, entry.user, entry.wish.quantity) && self.satisfy(id, entry.wish).is_some()
        };
        self.entries.iter().filter(waits).filter(could_have).map(|entry| entry.wish.category).collect()
    }

    /// Offers what is free to the first who waits for it, again and again; three times in a step.
    pub(super) fn offer(&mut self) {
        loop {
            let first = self.entries.iter().find_map(|entry| {
                let is_due = self.shows[&entry.showtime].offers_due.is_some();
                let waits = entry.hold.is_none() && self.offers(entry.showtime) && !is_due;
                let may = waits && self.may_take(entry.showtime, entry.user, entry.wish.quantity);
                let places = if may { self.satisfy(entry.showtime, entry.wish)? } else { return None };
                Some((entry.id, entry.showtime, entry.user, places))
            });
            let Some((id, showtime, user, places)) = first else { return };
            if self.offers_left == 0 {
                self.show_mut(showtime).offers_due = Some(self.now + Millis(20));
                continue;
            }
            self.offers_left -= 1;
            let hold = self.make_hold(showtime, user, None, places.clone());
            self.entries.iter_mut().find(|entry| entry.id == id).unwrap().hold = Some(hold);
            let expires_at = self.now + self.shows[&showtime].sale.hold_ttl;
            self.tell_of(showtime, Event::WaitlistOffered { entry: id, user, hold, places, expires_at });
        }
    }

    /// Whether anybody waits for an offer.
    pub(super) fn waits(&self, id: ShowtimeId) -> bool {
        self.entries.iter().any(|entry| entry.showtime == id && entry.hold.is_none())
    }

    /// Some of those who wait learn that the sale is closed, whoever joined first before the others.
    pub(super) fn end_waiting(&mut self, id: ShowtimeId) {
        for _ in 0..ENDED_PER_STEP {
            let waits = |entry: &ModelEntry| entry.showtime == id && entry.hold.is_none();
            let Some(index) = self.entries.iter().position(waits) else { return };
            let entry = self.entries.remove(index);
            self.tell_of(id, Event::WaitlistExpired { entry: entry.id, user: entry.user });
            self.show_mut(id).ended_at = self.now;
        }
    }

    /// How many wait before this entry.
    pub(super) fn ahead(&self, showtime: ShowtimeId, id: OfferId) -> u64 {
        let before = |entry: &&ModelEntry| entry.showtime == showtime && entry.hold.is_none() && entry.id < id;
        self.entries.iter().filter(before).count() as u64
    }

    pub(super) fn join_waitlist(&mut self, ask: &JoinWaitlist) -> Result<Outcome, Refusal> {
        let id = ask.showtime;
        let show = self.show(id)?;
        let max = show.sale.seats_per_hold_max;
        if ask.quantity == 0 || ask.quantity > max {
            return Err(bounds("quantity", format!("{} is not between 1 and {max}", ask.quantity)));
        }
        let category = match &ask.category {
            None => None,
            Some(name) => {
                let found = show.category_named(name);
                Some(found.ok_or_else(|| bounds("category", "there is none of this name"))?)
            }
        };
        let wish = Wish { quantity: ask.quantity, category, together: ask.together };
        if let Some(entry) = self.entries.iter().find(|entry| entry.showtime == id && entry.user == ask.user) {
            if entry.wish != wish {
                return Err(Refusal::AlreadyExists);
            }
            return Ok(Outcome::Waitlisted { entry: entry.id, ahead: self.ahead(id, entry.id) });
        }
        if show.sale.method == Method::Reject {
            return Err(Refusal::SaleRejects);
        }
        if !show.sale.waitlist {
            return Err(Refusal::NoWaitlist);
        }
        if !self.offers(id) {
            return Err(show.wrong_state());
        }
        if !self.may_take(id, ask.user, ask.quantity) {
            return Err(Refusal::BuyerLimit { max: show.sale.seats_per_buyer_max, taken: self.taken(id, ask.user) });
        }
        if show.offers_due.is_none() && self.satisfy(id, wish).is_some() {
            return Err(Refusal::SeatsFit);
        }
        self.entries_made += 1;
        let entry = OfferId::new(self.group, self.entries_made);
        self.entries.push(ModelEntry { id: entry, showtime: id, user: ask.user, wish, hold: None });
        self.tell_of(id, Event::WaitlistJoined { entry, user: ask.user });
        Ok(Outcome::Waitlisted { entry, ahead: self.ahead(id, entry) })
    }

    pub(super) fn leave_waitlist(&mut self, ask: &LeaveWaitlist) -> Result<Outcome, Refusal> {
        let mine = |entry: &&ModelEntry| entry.id == ask.entry && entry.user == ask.user;
        let entry = self.entries.iter().find(mine).cloned().ok_or(Refusal::NoSuchEntry)?;
        match entry.hold {
            Some(hold) => self.give_back(hold),
            None => {
                self.entries.retain(|other| other.id != entry.id);
                self.tell_of(entry.showtime, Event::WaitlistLeft { entry: entry.id, user: entry.user });
            }
        }
        Ok(Outcome::Done)
    }
}

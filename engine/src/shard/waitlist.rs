//! The waitlist: seats that come free go to the first entry they satisfy, before anybody else can ask.
//!
//! ```text
//!   waiting ──seats come free──▶ offered ──order──▶ accepted (gone)
//!      └──leave, close──▶ (gone)    └──release, expire──▶ (gone), the seats go to the next
//! ```
//!
//! While the line is open or paused no entry waits that the free seats could satisfy: whatever frees a seat makes the
//! offers in the same step. An entry that could be satisfied at once is not taken: those seats are for the line.
//!
//! Where more comes free than one step offers, the next steps go on. Until they are done the showtime's offers are *due*, and
//! nobody else gets what an entry that waits could have.

use super::Shard;
use super::deadlines::Due;
use super::hold::count;
use super::house::RESERVED;
use super::ranks::Ranks;
use super::seats::Counts;
use super::showtime::Showtime;
use crate::group_state::{Events, check_text};
use crate::planted::{self, Bug};
use crate::{
    AreaId, BestSeats, CategoryId, Event, HoldId, JoinWaitlist, LeaveWaitlist, Method, Millis, OfferId, Outcome,
    Places, QueueState, Refusal, SEATS_PER_HOLD_MAX, SeatId, SeatList, SeatState, ShowtimeId, Timestamp, UserId,
    WaitlistView,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most entries of a showtime that wait. Lower under test, so that a test reaches it.
const ENTRIES_MAX: usize = if cfg!(test) { 500 } else { 1_000_000 };

/// The most entries that one step ends once the line is closed, so that no step takes long.
pub(super) const ENDED_PER_STEP: usize = if cfg!(test) { 3 } else { 1_024 };

/// The most offers that one step makes, so that no step takes long.
pub(super) const OFFERS_PER_STEP: usize = if cfg!(test) { 3 } else { 64 };

/// From a step that did not offer all that is free to the next.
const OFFERS_STEP: Millis = Millis(20);

/// What is waited for. Entries of one wish are satisfied by the same seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Wish {
    quantity: u32,
    category: Option<u16>,
    together: bool,
}

/// An entry that waits or has an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) showtime: ShowtimeId,
    pub(crate) user: UserId,
    wish: Wish,
    /// The hold offered.
    pub(crate) hold: Option<HoldId>,
}

impl Entry {
    /// Whether this can be waited for in this house.
    pub(super) fn check(&self, showtime: &Showtime) -> Result<(), String> {
        let Wish { quantity, category, .. } = self.wish;
        // The sale may have lowered its own bound since.
        if !(1..=SEATS_PER_HOLD_MAX).contains(&quantity) {
            return Err(format!("it is for {quantity} seats"));
        }
        match category {
            Some(category) if usize::from(category) >= showtime.seat_map.categories.len() => {
                Err(format!("the house has no category {category}"))
            }
            _ => Ok(()),
        }
    }
}

/// What decides whether an entry gets an offer: of those that are alike in this, the first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Want {
    wish: Wish,
    /// Seats and places that the buyer has already.
    taken: u32,
}

/// The entry of a buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    counter: u64,
    wish: Wish,
    /// While it waits: what the buyer has already.
    waits_with: Option<u32>,
}

/// The entries of a showtime, in look-up order. Derived from the entries and from what their buyers have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Waitlist {
    /// Counters of those that wait, by want: who may have nothing now is not looked at one by one.
    waiting: BTreeMap<Want, BTreeSet<u64>>,
    /// The first of each want, the earliest first.
    heads: BTreeSet<(u64, Want)>,
    /// Counters of those that wait, by position.
    ranks: Ranks,
    /// Those that wait or have an offer, by buyer.
    by_user: BTreeMap<UserId, Standing>,
}

impl Waitlist {
    /// Takes in an entry of a buyer who has so much already.
    pub(super) fn add(&mut self, counter: u64, entry: &Entry, taken: u32) {
        let waits_with = entry.hold.is_none().then_some(taken);
        self.by_user.insert(entry.user, Standing { counter, wish: entry.wish, waits_with });
        if waits_with.is_some() {
            self.line_up(Want { wish: entry.wish, taken }, counter);
            self.ranks.push(counter);
        }
    }

    fn line_up(&mut self, want: Want, counter: u64) {
        let waiting = self.waiting.entry(want).or_default();
        let first = waiting.first().copied();
        waiting.insert(counter);
        if first.is_none_or(|first| counter < first) {
            first.into_iter().for_each(|first| assert!(self.heads.remove(&(first, want)), "a head was missing"));
            self.heads.insert((counter, want));
        }
    }

    fn step_out(&mut self, want: Want, counter: u64) {
        let waiting = self.waiting.get_mut(&want).expect("an entry waits among those of its want");
        assert!(waiting.remove(&counter), "entry {counter} did not wait");
        if self.heads.remove(&(counter, want)) {
            self.heads.extend(waiting.first().map(|&next| (next, want)));
        }
        if waiting.is_empty() {
            self.waiting.remove(&want);
        }
    }

    /// A buyer has more or less than before.
    pub(super) fn taken_changed(&mut self, user: UserId, taken: u32) {
        let Some(standing) = self.by_user.get_mut(&user) else { return };
        let Standing { counter, wish, waits_with: Some(before) } = *standing else { return };
        standing.waits_with = Some(taken);
        if before != taken {
            self.step_out(Want { wish, taken: before }, counter);
            self.line_up(Want { wish, taken }, counter);
        }
    }

    fn stop_waiting(&mut self, user: UserId) {
        let standing = self.by_user.get_mut(&user).expect("the buyer has an entry");
        let Standing { counter, wish, waits_with } = *standing;
        if let Some(taken) = waits_with {
            standing.waits_with = None;
            self.step_out(Want { wish, taken }, counter);
            self.ranks.remove(counter);
        }
    }

    fn remove(&mut self, user: UserId) {
        self.stop_waiting(user);
        self.by_user.remove(&user);
    }

    /// The first so many of those that wait, in order.
    fn first(&self, count: usize) -> Vec<u64> {
        let mut heads = self.heads.clone();
        let mut found = Vec::new();
        while found.len() < count
            && let Some((counter, want)) = heads.pop_first()
        {
            found.push(counter);
            heads.extend(self.waiting[&want].range(counter + 1..).next().map(|&next| (next, want)));
        }
        found
    }

    pub(super) fn len(&self) -> usize {
        self.ranks.len()
    }

    /// How many entries wait before this one.
    fn ahead(&self, counter: u64) -> u64 {
        self.ranks.before(counter)
    }
}

/// What there is room for in a category, or anywhere.
struct Room {
    /// Free seats.
    seats: u32,
    /// The most of them side by side.
    together: u32,
    /// The most places in one area.
    places: u32,
}

impl Room {
    fn has(&self, wish: Wish) -> bool {
        let seats = if wish.together { self.together } else { self.seats };
        wish.quantity <= seats.max(self.places)
    }
}

impl Showtime {
    fn room(&self, category: Option<u16>) -> Room {
        let (seats, together) = self.free_room(category);
        let areas = self.areas.iter().zip(&self.seat_map.areas);
        let fitting = areas.filter(|(_, area)| category.is_none_or(|category| area.category.0 == category));
        Room { seats, together, places: fitting.map(|(counts, _)| counts.available()).max().unwrap_or(0) }
    }

    /// Categories of what is free and kept for those who wait, because it could not all be offered in one step; none for
    /// all of them.
    pub(super) fn promised(&self) -> BTreeSet<Option<u16>> {
        let mut promised = BTreeSet::new();
        if self.offers_due().is_none() || !self.offers() {
            return promised;
        }
        let mut rooms: BTreeMap<Option<u16>, Room> = BTreeMap::new();
        for &Want { wish, taken } in self.waitlist.waiting.keys() {
            if !promised.contains(&wish.category)
                && self.may_take_beside(taken, wish.quantity)
                && rooms.entry(wish.category).or_insert_with(|| self.room(wish.category)).has(wish)
            {
                promised.insert(wish.category);
            }
        }
        promised
    }

    /// Whether a seat is kept for those who wait.
    pub(super) fn is_promised(&self, promised: &BTreeSet<Option<u16>>, seat: SeatId) -> bool {
        is_of(promised, self.seats.category(seat) as u16)
            && self.seats.state(seat) == SeatState::Available
            && self.seats.house().flags[seat.0 as usize] & RESERVED == 0
    }

    /// Places of an area that are free and not kept for those who wait.
    pub(super) fn free_places(&self, area: AreaId) -> u32 {
        let area = usize::from(area.0);
        let is_promised = is_of(&self.promised(), self.seat_map.areas[area].category.0);
        if is_promised { 0 } else { self.areas[area].available() }
    }

    /// Whether freed seats go to the waitlist now.
    fn offers(&self) -> bool {
        self.sale().waitlist
            && self.sale().method != Method::Reject
            && matches!(self.line.head.state, QueueState::Open | QueueState::Paused)
    }

    /// Free seats and places of a category, or of all.
    fn available(&self, category: Option<u16>) -> u32 {
        let of = |counts: &Counts| counts.of(SeatState::Available);
        match category {
            Some(category) => self.seats.counts.get(usize::from(category)).map_or(0, of),
            None => self.seats.counts.iter().fold(0, |sum: u32, counts| sum.saturating_add(of(counts))),
        }
    }

    /// Free seats or places that satisfy a wish.
    fn satisfy(&self, wish: Wish) -> Option<Places> {
        if self.available(wish.category) < wish.quantity {
            return None;
        }
        let best = BestSeats {
            quantity: wish.quantity,
            category: wish.category.map(|category| self.seat_map.categories[usize::from(category)].name.clone()),
            section: None,
            accessible: false,
            companion: false,
            together: wish.together,
        };
        if let Ok(seats) = self.best_seats(&best, None) {
            return Some(Places { seats: seats.into(), areas: Vec::new() });
        }
        let areas = self.areas.iter().zip(&self.seat_map.areas).zip(0..);
        let mut fitting = areas.filter(|((counts, area), _)| {
            counts.available() >= wish.quantity && wish.category.is_none_or(|category| area.category.0 == category)
        });
        fitting.next().map(|(_, area)| Places { seats: SeatList::new(), areas: vec![(AreaId(area), wish.quantity)] })
    }

    /// Whether a buyer may have so many more.
    fn may_take(&self, user: UserId, quantity: u32) -> bool {
        self.may_take_beside(self.taken_by(user), quantity)
    }

    /// Whether a buyer who has so many may have so many more.
    fn may_take_beside(&self, taken: u32, quantity: u32) -> bool {
        quantity <= self.sale().seats_per_hold_max && taken.saturating_add(quantity) <= self.sale().seats_per_buyer_max
    }

    /// Seats and places that a buyer has, held and bought.
    pub(super) fn taken_by(&self, user: UserId) -> u32 {
        self.buyers.get(&user).map_or(0, |buyer| buyer.taken)
    }
}

/// Whether a category is among these, none standing for all.
fn is_of(categories: &BTreeSet<Option<u16>>, category: u16) -> bool {
    categories.contains(&None) || categories.contains(&Some(category))
}

impl Shard {
    pub(super) fn join_waitlist(&mut self, ask: &JoinWaitlist, events: &mut Events) -> Result<Outcome, Refusal> {
        check_text("category", ask.category.as_deref().unwrap_or_default(), 0, 400)?;
        let showtime = self.showtime(ask.showtime)?;
        let sale = showtime.sale();
        if !(1..=sale.seats_per_hold_max).contains(&ask.quantity) {
            let reason = format!("{} is not between 1 and {}", ask.quantity, sale.seats_per_hold_max);
            return Err(Refusal::out_of_bounds("quantity", reason));
        }
        let category = showtime.category_named("category", ask.category.as_deref())?;
        let wish = Wish { quantity: ask.quantity, category, together: ask.together };
        if let Some(&Standing { counter, wish: before, .. }) = showtime.waitlist.by_user.get(&ask.user) {
            let is_same = before == wish;
            let ahead = showtime.waitlist.ahead(counter);
            let entry = OfferId::new(self.state.group, counter);
            return if is_same { Ok(Outcome::Waitlisted { entry, ahead }) } else { Err(Refusal::AlreadyExists) };
        }
        if sale.method == Method::Reject {
            return Err(Refusal::SaleRejects);
        }
        if !sale.waitlist {
            return Err(Refusal::NoWaitlist);
        }
        if !showtime.offers() {
            return Err(self.wrong_queue_state(ask.showtime));
        }
        if !showtime.may_take(ask.user, ask.quantity) {
            let taken = showtime.taken_by(ask.user);
            return Err(Refusal::BuyerLimit { max: sale.seats_per_buyer_max, taken });
        }
        // What is still to be offered is not to be had in the line.
        if showtime.offers_due().is_none() && showtime.satisfy(wish).is_some() {
            return Err(Refusal::SeatsFit);
        }
        if showtime.waitlist.len() >= ENTRIES_MAX {
            return Err(Refusal::AtCapacity { what: "entries of the waitlist".into() });
        }

        self.counters.offer += 1;
        self.counters_dirty = true;
        let counter = self.counters.offer;
        let entry = Entry { showtime: ask.showtime, user: ask.user, wish, hold: None };
        let showtime = self.showtime_mut(ask.showtime);
        showtime.waitlist.add(counter, &entry, showtime.taken_by(ask.user));
        let ahead = showtime.waitlist.ahead(counter);
        self.entries.insert(counter, entry);
        let entry = OfferId::new(self.state.group, counter);
        events.push(ask.showtime, Event::WaitlistJoined { entry, user: ask.user });
        Ok(Outcome::Waitlisted { entry, ahead })
    }

    pub(super) fn leave_waitlist(&mut self, ask: &LeaveWaitlist, events: &mut Events) -> Result<Outcome, Refusal> {
        let entry = self.entries.get(ask.entry.counter()).filter(|_| ask.entry.group() == self.state.group);
        let entry = entry.filter(|entry| entry.user == ask.user).ok_or(Refusal::NoSuchEntry)?;

        match entry.hold {
            // Giving the hold back takes the entry with it.
            Some(hold) => self.give_back(hold, events),
            None => {
                let entry = self.remove_entry(ask.entry.counter());
                events.push(entry.showtime, Event::WaitlistLeft { entry: ask.entry, user: ask.user });
                // It may have been the last for which a step was due.
                self.schedule_step(entry.showtime);
            }
        }
        Ok(Outcome::Done)
    }

    fn remove_entry(&mut self, counter: u64) -> Entry {
        let entry = self.entries.remove(counter).expect("the caller found the entry");
        self.showtime_mut(entry.showtime).waitlist.remove(entry.user);
        entry
    }

    /// The line is closed, and nothing will be offered any more: ends the first of those that wait. The next step ends more.
    pub(super) fn end_waiting(&mut self, id: ShowtimeId, events: &mut Events) {
        let now = self.state.now;
        let showtime = self.showtime_mut(id);
        let ended = showtime.waitlist.first(ENDED_PER_STEP);
        if ended.is_empty() {
            return;
        }
        showtime.line.note_step(now);
        for counter in ended {
            let entry = self.remove_entry(counter);
            let offer = OfferId::new(self.state.group, counter);
            events.push(id, Event::WaitlistExpired { entry: offer, user: entry.user });
        }
    }

    /// An offer ends with its hold, one way or another.
    pub(super) fn end_offer(
        &mut self,
        offer: Option<OfferId>,
        tell: impl FnOnce(OfferId, UserId) -> Event,
        events: &mut Events,
    ) {
        if let Some(id) = offer {
            let entry = self.remove_entry(id.counter());
            events.push(entry.showtime, tell(id, entry.user));
        }
    }

    /// The first entry that free seats satisfy.
    fn next_offer(showtime: &Showtime) -> Option<(u64, Wish)> {
        if !showtime.offers() {
            return None;
        }
        // A want that fails, fails for all its entries. Wants may be many, looking through the house takes long and
        // searching it longer: the house is looked through where the counts allow it, and searched where there is room.
        let mut available: BTreeMap<Option<u16>, u32> = BTreeMap::new();
        let mut rooms: BTreeMap<Option<u16>, Room> = BTreeMap::new();
        showtime.waitlist.heads.iter().find_map(|&(counter, Want { wish, taken })| {
            let available = *available.entry(wish.category).or_insert_with(|| showtime.available(wish.category));
            if available < wish.quantity || !showtime.may_take_beside(taken, wish.quantity) {
                return None;
            }
            let room = rooms.entry(wish.category).or_insert_with(|| showtime.room(wish.category));
            if !room.has(wish) {
                return None;
            }
            let last = showtime.waitlist.waiting.get(&Want { wish, taken }).and_then(BTreeSet::last);
            let counter = last.copied().filter(|_| planted::is(Bug::OfferToLast)).unwrap_or(counter);
            Some((counter, wish))
        })
    }

    /// Brings up to date what is free of each category that somebody waits for who may have some.
    fn refresh_rooms(showtime: &mut Showtime) {
        let mut available: BTreeMap<Option<u16>, u32> = BTreeMap::new();
        let mut wanted = BTreeSet::new();
        for &(_, Want { wish, taken }) in &showtime.waitlist.heads {
            let available = *available.entry(wish.category).or_insert_with(|| showtime.available(wish.category));
            if available >= wish.quantity && showtime.may_take_beside(taken, wish.quantity) {
                wanted.insert(wish.category);
            }
        }
        wanted.into_iter().for_each(|category| showtime.refresh_free_room(category));
    }

    /// Puts the next offers among the deadlines, or takes them out of what is to come.
    fn set_offers_due(&mut self, id: ShowtimeId, at: Option<Timestamp>) {
        self.showtime_mut(id).set_offers_due(at);
        self.deadlines.replace(None, at, Due::Offers(id));
    }

    /// What could not be offered in the step before can be now. The deadline is taken out already.
    pub(super) fn go_on_offering(&mut self, id: ShowtimeId) {
        self.set_offers_due(id, None);
        self.freed.insert(id);
    }

    /// Offers what is free to whoever waits for it, first come first, as much as one step offers.
    pub(super) fn make_offers(&mut self, events: &mut Events) {
        while let Some(id) = self.freed.pop_first() {
            let offers = |showtime: &Showtime| showtime.offers() && showtime.waitlist.len() > 0;
            if !self.showtimes.get(&id).is_some_and(|showtime| offers(showtime) && showtime.offers_due().is_none()) {
                continue;
            }
            loop {
                let is_last = self.offers_left == 0;
                let showtime = self.showtime_mut(id);
                Self::refresh_rooms(showtime);
                let Some((counter, wish)) = Self::next_offer(showtime) else { break };
                if is_last {
                    self.set_offers_due(id, Some(self.state.now + OFFERS_STEP));
                    break;
                }
                showtime.remember_best(wish.quantity);
                let places = showtime.satisfy(wish).expect("there is room for it");
                self.offers_left -= 1;
                let offer = OfferId::new(self.state.group, counter);
                let entry = self.entries.get(counter).expect("it was found just now");
                let user = entry.user;
                let ttl = self.showtimes[&id].sale().hold_ttl;
                let hold = self.make_hold(id, user, None, places.clone(), ttl, events);
                self.holds.get_mut(hold.counter()).expect("it was made just now").offer = Some(offer);
                self.entries.get_mut(counter).expect("it was found just now").hold = Some(hold);
                self.showtime_mut(id).waitlist.stop_waiting(user);
                let expires_at = self.state.now + ttl;
                events.push(id, Event::WaitlistOffered { entry: offer, user, hold, places, expires_at });
            }
        }
    }

    pub(super) fn waitlist_view(&self, id: OfferId) -> Option<WaitlistView> {
        let entry = self.entries.get(id.counter()).filter(|_| id.group() == self.state.group)?;
        let waitlist = &self.showtimes.get(&entry.showtime)?.waitlist;
        Some(WaitlistView {
            entry: id,
            showtime: entry.showtime,
            user: entry.user,
            quantity: entry.wish.quantity,
            category: entry.wish.category.map(CategoryId),
            together: entry.wish.together,
            ahead: entry.hold.is_none().then(|| waitlist.ahead(id.counter())),
            hold: entry.hold,
        })
    }

    /// Recounts the waitlists: entries and offers belong together, and nobody waits for what is free.
    pub(super) fn audit_waitlists(&self) -> Result<(), String> {
        let mut waitlists: BTreeMap<ShowtimeId, Waitlist> = BTreeMap::new();
        for (counter, entry) in self.entries.iter() {
            if counter == 0 || counter > self.counters.offer {
                return Err(format!("entry {counter} of the waitlist was never made"));
            }
            if let Some(showtime) = self.showtimes.get(&entry.showtime) {
                entry.check(showtime).map_err(|reason| format!("entry {counter} of the waitlist: {reason}"))?;
            }
            let waitlist = waitlists.entry(entry.showtime).or_default();
            if waitlist.by_user.contains_key(&entry.user) {
                return Err(format!("{} waits twice", entry.user));
            }
            let taken = self.showtimes.get(&entry.showtime).map_or(0, |showtime| showtime.taken_by(entry.user));
            waitlist.add(counter, entry, taken);
            let offer = OfferId::new(self.state.group, counter);
            if let Some(id) = entry.hold {
                let hold = self.live_hold(id).filter(|hold| hold.offer == Some(offer));
                let fits = |hold: &&super::Hold| hold.user == entry.user && count(&hold.places) == entry.wish.quantity;
                if hold.filter(fits).is_none_or(|hold| hold.order.is_some()) {
                    return Err(format!("{offer} and its hold contradict each other"));
                }
            }
        }
        for (counter, hold) in self.holds.iter() {
            let id = self.hold_id(counter);
            let entry = hold.offer.map(|offer| self.entries.get(offer.counter()).and_then(|entry| entry.hold));
            if entry.is_some_and(|hold| hold != Some(id)) {
                return Err(format!("the entry that {id} was offered to is gone"));
            }
        }
        for (id, showtime) in self.showtimes.iter() {
            if waitlists.remove(id).unwrap_or_default() != showtime.waitlist {
                return Err(format!("the waitlist of {id} is not that of its entries"));
            }
            if let Some(at) = showtime.offers_due() {
                // Since the last step made offers the line may have closed, the organiser may have ended the waitlist and
                // everybody who waited may have left it.
                let state = showtime.line.head.state;
                let is_ahead = matches!(state, QueueState::Scheduled | QueueState::Prequeue);
                if at > self.state.now + OFFERS_STEP || is_ahead || self.counters.offer == 0 {
                    return Err(format!("offers of {id} are due, and no step can have left any"));
                }
            }
            // While more is to be offered that very thing is due, and comes first.
            let left = Self::next_offer(showtime).filter(|_| showtime.offers_due().is_none());
            if let Some((counter, _)) = left {
                return Err(format!("entry {counter} of the waitlist waits for seats that are free"));
            }
        }
        if waitlists.is_empty() { Ok(()) } else { Err("a waitlist without a showtime".into()) }
    }
}

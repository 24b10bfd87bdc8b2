//! The waitlist: seats that come free go to the first entry they satisfy, before anybody else can ask.
//!
//! ```text
//!   waiting ──seats come free──▶ offered ──order──▶ accepted (gone)
//!      └──leave, close──▶ (gone)    └──release, expire──▶ (gone), the seats go to the next
//! ```
//!
//! While the line is open or paused no entry waits that the free seats could satisfy: whatever frees a seat makes the
//! offers in the same step. An entry that could be satisfied at once is not taken: those seats are for the line.

use super::Shard;
use super::hold::count;
use super::ranks::Ranks;
use super::showtime::Showtime;
use crate::group_state::{Events, check_text};
use crate::planted::{self, Bug};
use crate::{
    BestSeats, CategoryId, Event, HoldId, JoinWaitlist, LeaveWaitlist, Method, OfferId, Outcome, Places, QueueState,
    Refusal, SeatList, SeatState, ShowtimeId, UserId, WaitlistView,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most entries of a showtime that wait. Lower under test, so that a test reaches it.
const ENTRIES_MAX: usize = if cfg!(test) { 500 } else { 1_000_000 };

/// The most entries that one step ends once the line is closed, so that no step takes long.
const ENDED_PER_STEP: usize = if cfg!(test) { 3 } else { 1_024 };

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

/// The entries of a showtime, in look-up order. Derived from the entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Waitlist {
    /// Counters of those that wait, by wish.
    waiting: BTreeMap<Wish, BTreeSet<u64>>,
    /// Counters of those that wait, by position.
    ranks: Ranks,
    /// Counters of those that wait or have an offer, by buyer.
    by_user: BTreeMap<UserId, u64>,
}

impl Waitlist {
    pub(super) fn add(&mut self, counter: u64, entry: &Entry) {
        self.by_user.insert(entry.user, counter);
        if entry.hold.is_none() {
            self.waiting.entry(entry.wish).or_default().insert(counter);
            self.ranks.push(counter);
        }
    }

    fn stop_waiting(&mut self, counter: u64, entry: &Entry) {
        if let Some(waiting) = self.waiting.get_mut(&entry.wish)
            && waiting.remove(&counter)
        {
            self.ranks.remove(counter);
            if waiting.is_empty() {
                self.waiting.remove(&entry.wish);
            }
        }
    }

    fn remove(&mut self, counter: u64, entry: &Entry) {
        self.stop_waiting(counter, entry);
        self.by_user.remove(&entry.user);
    }

    /// The first so many of those that wait, in order.
    fn first(&self, count: usize) -> Vec<u64> {
        let mut heads: BTreeSet<(u64, Wish)> =
            self.waiting.iter().filter_map(|(wish, waiting)| Some((*waiting.first()?, *wish))).collect();
        let mut found = Vec::new();
        while found.len() < count
            && let Some((counter, wish)) = heads.pop_first()
        {
            found.push(counter);
            heads.extend(self.waiting[&wish].range(counter + 1..).next().map(|&next| (next, wish)));
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

    /// Whether freed seats go to the waitlist now.
    fn offers(&self) -> bool {
        self.sale().waitlist
            && self.sale().method != Method::Reject
            && matches!(self.line.head.state, QueueState::Open | QueueState::Paused)
    }

    /// Free seats or places that satisfy a wish.
    fn satisfy(&self, wish: Wish) -> Option<Places> {
        let counts = &self.seats.counts;
        let available = match wish.category {
            Some(category) => counts.get(usize::from(category))?.of(SeatState::Available),
            None => counts.iter().fold(0, |sum: u32, counts| sum.saturating_add(counts.of(SeatState::Available))),
        };
        if available < wish.quantity {
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
        fitting
            .next()
            .map(|(_, area)| Places { seats: SeatList::new(), areas: vec![(crate::AreaId(area), wish.quantity)] })
    }

    /// Whether a buyer may have so many more.
    fn may_take(&self, user: UserId, quantity: u32) -> bool {
        let taken = self.buyers.get(&user).map_or(0, |buyer| buyer.taken);
        quantity <= self.sale().seats_per_hold_max && taken.saturating_add(quantity) <= self.sale().seats_per_buyer_max
    }
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
        if let Some(&counter) = showtime.waitlist.by_user.get(&ask.user) {
            let is_same = self.entries.get(counter).is_some_and(|entry| entry.wish == wish);
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
            let taken = showtime.buyers.get(&ask.user).map_or(0, |buyer| buyer.taken);
            return Err(Refusal::BuyerLimit { max: sale.seats_per_buyer_max, taken });
        }
        if showtime.satisfy(wish).is_some() {
            return Err(Refusal::SeatsFit);
        }
        if showtime.waitlist.len() >= ENTRIES_MAX {
            return Err(Refusal::AtCapacity { what: "entries of the waitlist".into() });
        }

        self.counters.offer += 1;
        self.counters_dirty = true;
        let counter = self.counters.offer;
        let entry = Entry { showtime: ask.showtime, user: ask.user, wish, hold: None };
        let waitlist = &mut self.showtime_mut(ask.showtime).waitlist;
        waitlist.add(counter, &entry);
        let ahead = waitlist.ahead(counter);
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
        self.showtime_mut(entry.showtime).waitlist.remove(counter, &entry);
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

    /// The first entry that free seats satisfy, with those seats.
    fn next_offer(&self, showtime: &Showtime) -> Option<(u64, Places)> {
        if !showtime.offers() {
            return None;
        }
        // The head of each wish, the earliest first; a wish that fails, fails for all its entries.
        let may_have = |wish: &Wish, counter: u64| {
            self.entries.get(counter).is_some_and(|entry| showtime.may_take(entry.user, wish.quantity))
        };
        let heads = showtime.waitlist.waiting.iter().filter_map(|(wish, waiting)| {
            let found = if planted::is(Bug::OfferToLast) {
                waiting.iter().rev().find(|&&counter| may_have(wish, counter))
            } else {
                waiting.iter().find(|&&counter| may_have(wish, counter))
            };
            found.map(|&counter| (counter, *wish))
        });
        let heads: BTreeMap<u64, Wish> = heads.collect();
        // Wishes may be many and searches take long: only what has room is searched for.
        let mut rooms: BTreeMap<Option<u16>, Room> = BTreeMap::new();
        heads.into_iter().find_map(|(counter, wish)| {
            let room = rooms.entry(wish.category).or_insert_with(|| showtime.room(wish.category));
            if room.has(wish) { Some((counter, showtime.satisfy(wish)?)) } else { None }
        })
    }

    /// Offers what is free to whoever waits for it, first come first.
    pub(super) fn make_offers(&mut self, events: &mut Events) {
        while let Some(id) = self.freed.pop_first() {
            while let Some((counter, places)) = self.showtimes.get(&id).and_then(|s| self.next_offer(s)) {
                let offer = OfferId::new(self.state.group, counter);
                let entry = self.entries.get(counter).expect("it was found just now");
                let user = entry.user;
                let ttl = self.showtimes[&id].sale().hold_ttl;
                let hold = self.make_hold(id, user, None, places.clone(), ttl, events);
                self.holds.get_mut(hold.counter()).expect("it was made just now").offer = Some(offer);
                let entry = self.entries.get_mut(counter).expect("it was found just now");
                let before = entry.clone();
                entry.hold = Some(hold);
                self.showtime_mut(id).waitlist.stop_waiting(counter, &before);
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
            let waitlist = waitlists.entry(entry.showtime).or_default();
            if waitlist.by_user.contains_key(&entry.user) {
                return Err(format!("{} waits twice", entry.user));
            }
            waitlist.add(counter, entry);
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
        for (id, showtime) in &self.showtimes {
            if waitlists.remove(id).unwrap_or_default() != showtime.waitlist {
                return Err(format!("the waitlist of {id} is not that of its entries"));
            }
            if let Some((counter, _)) = self.next_offer(showtime) {
                return Err(format!("entry {counter} of the waitlist waits for seats that are free"));
            }
        }
        if waitlists.is_empty() { Ok(()) } else { Err("a waitlist without a showtime".into()) }
    }
}

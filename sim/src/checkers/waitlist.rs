//! The waitlist, kept once more by the facts of the log: whoever waits longer for the same is offered it first, an offer is what
//! was asked for, and nobody is forgotten.

use super::{Checker, Look};
use crate::history::Ask;
use crate::player::{Played, Told};
use std::collections::BTreeMap;
use vestibule_engine::{
    Event, EventRecord, HoldId, JoinWaitlist, OfferId, OrderId, Outcome, Places, Sale, ShardAnswer, ShardCommand,
    ShardQuery, ShowtimeId, UserId,
};

struct Entry {
    showtime: ShowtimeId,
    user: UserId,
    wish: JoinWaitlist,
    offered: Option<HoldId>,
}

impl Entry {
    /// Whether any places that satisfy `other` would do.
    fn is_modester(&self, other: &Self) -> bool {
        let (one, other) = (&self.wish, &other.wish);
        one.showtime == other.showtime
            && one.category == other.category
            && one.together == other.together
            && one.quantity <= other.quantity
    }
}

/// What the sale lets buyers take, and what each has.
struct Counter {
    per_hold_max: u32,
    per_buyer_max: u32,
    taken: BTreeMap<UserId, u32>,
}

impl Counter {
    fn new(sale: &Sale) -> Self {
        let mut counter = Self { per_hold_max: 0, per_buyer_max: 0, taken: BTreeMap::new() };
        counter.set_sale(sale);
        counter
    }

    fn set_sale(&mut self, sale: &Sale) {
        (self.per_hold_max, self.per_buyer_max) = (sale.seats_per_hold_max, sale.seats_per_buyer_max);
    }

    fn may_take(&self, user: UserId, quantity: u32) -> bool {
        let taken = self.taken.get(&user).copied().unwrap_or(0);
        quantity <= self.per_hold_max && taken + quantity <= self.per_buyer_max
    }
}

struct Order {
    user: UserId,
    /// Whether it still has its hold.
    is_pending: bool,
}

fn count(places: &Places) -> u32 {
    places.seats.len() as u32 + places.areas.iter().map(|&(_, count)| count).sum::<u32>()
}

/// See the file's head.
#[derive(Default)]
pub struct Waitlist {
    counters: BTreeMap<ShowtimeId, Counter>,
    /// Whose holds are, and were.
    holds: BTreeMap<HoldId, UserId>,
    orders: BTreeMap<OrderId, Order>,
    /// Those that wait or have an offer.
    entries: BTreeMap<OfferId, Entry>,
    /// Those that have gone.
    gone: BTreeMap<OfferId, UserId>,
}

impl Waitlist {
    fn entry(&mut self, played: &Played) -> Result<(), String> {
        played.due.iter().try_for_each(|record| self.event(record, None))?;
        let told = played.commands.iter().flat_map(|told| told.events.iter().map(move |record| (record, told)));
        { told }.try_for_each(|(record, told)| self.event(record, Some(told)))
    }

    fn event(&mut self, record: &EventRecord, told: Option<&Told>) -> Result<(), String> {
        self.book(record, told).map_err(|what| format!("event {} ({}): {what}", record.sequence, record.event.kind()))
    }

    /// Keeps count of what buyers have, held and bought.
    fn count(&mut self, record: &EventRecord, told: Option<&Told>) {
        let Some(showtime) = record.showtime else { return };
        let command = told.and_then(|told| match &told.ask {
            Ask::Shard(command) => Some(&**command),
            _ => None,
        });
        if let (Event::ShowtimeCreated { .. }, Some(ShardCommand::CreateShowtime(ask))) = (&record.event, command) {
            self.counters.insert(showtime, Counter::new(&ask.sale));
        }
        let Some(counter) = self.counters.get_mut(&showtime) else { return };
        let mut give = |user, places| *counter.taken.entry(user).or_default() += count(places);
        match &record.event {
            Event::SeatsHeld { hold, user, places, .. } => {
                self.holds.insert(*hold, *user);
                give(*user, places);
            }
            Event::OrderPlaced { order, user, .. } => {
                self.orders.insert(*order, Order { user: *user, is_pending: true });
            }
            Event::OrderCanceled { order, .. } | Event::OrderExpired { order, .. } => {
                self.orders.entry(*order).and_modify(|order| order.is_pending = false);
            }
            Event::SeatsPurchased { order, places } => match self.orders.get(order) {
                // It was paid too late, and its places were free.
                Some(order) if !order.is_pending => give(order.user, places),
                _ => {}
            },
            Event::HoldReleased { hold, places } | Event::HoldExpired { hold, places } => {
                let user = self.holds.get(hold).copied();
                self.take_back(showtime, user, places);
            }
            Event::SeatsReleased { places, .. } => {
                // Others were blocked.
                let Some(ShardCommand::RefundOrder(ask)) = command else { return };
                let user = self.orders.get(&ask.order).map(|order| order.user);
                self.take_back(showtime, user, places);
            }
            Event::SaleUpdated => {
                if let Some(Ok(Outcome::SaleUpdated { sale })) = told.map(|told| &told.reply.result) {
                    counter.set_sale(sale);
                }
            }
            _ => {}
        }
    }

    fn take_back(&mut self, showtime: ShowtimeId, user: Option<UserId>, places: &Places) {
        let counter = self.counters.get_mut(&showtime);
        if let Some(taken) = counter.zip(user).and_then(|(counter, user)| counter.taken.get_mut(&user)) {
            *taken = taken.saturating_sub(count(places));
        }
    }

    /// Whether an entry waits that could have what is offered to another.
    fn could_have(&self, entry: &Entry, offered: &Entry) -> bool {
        let counter = self.counters.get(&entry.showtime);
        entry.offered.is_none()
            && entry.is_modester(offered)
            && counter.is_none_or(|counter| counter.may_take(entry.user, entry.wish.quantity))
    }

    fn book(&mut self, record: &EventRecord, told: Option<&Told>) -> Result<(), String> {
        self.count(record, told);
        match &record.event {
            Event::WaitlistJoined { entry, user } => {
                let Some(Ask::Shard(command)) = told.map(|told| &told.ask) else { return Err("nobody asked".into()) };
                let ShardCommand::JoinWaitlist(ask) = &**command else { return Err("nobody asked for it".into()) };
                if ask.user != *user || Some(ask.showtime) != record.showtime {
                    return Err(format!("{} asked", ask.user));
                }
                let mut known = self.entries.keys().chain(self.gone.keys()).filter(|id| id.group() == entry.group());
                if known.any(|known| known >= entry) {
                    return Err("it does not follow those before".into());
                }
                let entered = Entry { showtime: ask.showtime, user: *user, wish: ask.clone(), offered: None };
                self.entries.insert(*entry, entered);
            }
            Event::WaitlistOffered { entry: id, user, hold, places, .. } => {
                let entry = self.entries.get(id).ok_or("it does not wait")?;
                if entry.user != *user || entry.offered.is_some() || entry.wish.quantity != count(places) {
                    return Err(format!(
                        "{user} is offered {places:?}, where {} asked for {:?}",
                        entry.user, entry.wish
                    ));
                }
                let passed = self.entries.range(..*id).find(|(_, other)| self.could_have(other, entry));
                if let Some((passed, _)) = passed {
                    return Err(format!("it was offered seats before {passed}, which waits for no more"));
                }
                self.entries.entry(*id).and_modify(|entry| entry.offered = Some(*hold));
            }
            Event::WaitlistAccepted { entry, user } => {
                let gone = self.end(*entry, *user)?;
                gone.offered.ok_or("nothing was offered to it")?;
            }
            Event::WaitlistExpired { entry, user } | Event::WaitlistLeft { entry, user } => {
                drop(self.end(*entry, *user)?)
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, id: OfferId, user: UserId) -> Result<Entry, String> {
        let entry = self.entries.remove(&id).filter(|entry| entry.user == user).ok_or("it does not wait")?;
        self.gone.insert(id, user);
        Ok(entry)
    }
}

impl Checker for Waitlist {
    fn name(&self) -> &'static str {
        "waitlist"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        look.played.iter().try_for_each(|played| self.entry(played))
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for ((node, group), replica) in &last.replicas {
            for (&id, entry) in self.entries.iter().filter(|(id, _)| id.group() == *group) {
                match replica.ask(&ShardQuery::Waitlist(id))? {
                    ShardAnswer::Waitlist(Some(view))
                        if (view.showtime, view.user, view.hold) == (entry.showtime, entry.user, entry.offered) => {}
                    answer => return Err(format!("node {node}: {id} of {} is {answer:?}", entry.user)),
                }
            }
            for &id in self.gone.keys().filter(|id| id.group() == *group) {
                if !matches!(replica.ask(&ShardQuery::Waitlist(id))?, ShardAnswer::Waitlist(None)) {
                    return Err(format!("node {node}: {id} waits, though it had gone"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{PRICE, Puppet, Stage, joined};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::{HoldId, LeaveWaitlist, Method, ReleaseHold, SalePatch, SeatId, UpdateSale};

    const ANN: UserId = UserId(7);

    /// The house is full of holds; three wait for two seats each, the last gives up, and two seats come free.
    fn full() -> (Stage, Look) {
        let mut stage = Stage::new(Sale {
            method: Method::Passthrough,
            waitlist: true,
            seats_per_hold_max: 60,
            seats_per_buyer_max: 200,
            ..Sale::default()
        });
        let showtime = stage.showtime();
        let mut looks = vec![stage.open(), stage.fill_areas()];
        for from in (0..60).step_by(2) {
            looks.push(stage.hold(ANN, &[SeatId(from), SeatId(from + 1)]));
        }
        for user in (1..=3).map(UserId) {
            let ask = JoinWaitlist { showtime, user, quantity: 2, category: None, together: false };
            looks.push(stage.run(ShardCommand::JoinWaitlist(ask)));
        }
        let entry = OfferId::new(stage.group(), 3);
        looks.push(stage.run(ShardCommand::LeaveWaitlist(LeaveWaitlist { entry, user: UserId(3) })));
        let hold = HoldId::new(stage.group(), 8);
        looks.push(stage.run(ShardCommand::ReleaseHold(ReleaseHold { hold, user: ANN })));
        let look = joined(looks);
        (stage, look)
    }

    fn check(kind: &str, change: impl Fn(&mut Event)) -> Result<(), String> {
        let (_, mut look) = full();
        let records = look.played.iter_mut().flat_map(|played| &mut played.commands).flat_map(|told| &mut told.events);
        let record = { records }.find(|record| record.event.kind() == kind);
        change(&mut record.expect("it is part of it").event);
        Waitlist::default().observe(&look)
    }

    #[test]
    fn overtaking_is_noticed() {
        check("waitlist.offered", |_| {}).expect("as it was");
        check("waitlist.offered", |event| {
            let Event::WaitlistOffered { entry, user, .. } = event else { return };
            (*entry, *user) = (OfferId::new(entry.group(), 2), UserId(2));
        })
        .expect_err("the first was passed over");
        check("waitlist.offered", |event| {
            let Event::WaitlistOffered { places, .. } = event else { return };
            places.seats = vec![places.seats[0]].into();
        })
        .expect_err("two seats were asked for");
        check("waitlist.offered", |event| {
            let Event::WaitlistOffered { entry, user, .. } = event else { return };
            (*entry, *user) = (OfferId::new(entry.group(), 3), UserId(3));
        })
        .expect_err("it had gone");
        check("waitlist.joined", |event| {
            let Event::WaitlistJoined { user, .. } = event else { return };
            *user = UserId(9);
        })
        .expect_err("another one asked");
    }

    /// Two wait for six seats each. The first buys a single one that comes free, and then the sale lets nobody have
    /// more than six: of six that come free the second is offered all.
    #[test]
    fn whoever_has_too_many_already_may_be_passed_over() {
        let sale = Sale { method: Method::Passthrough, waitlist: true, seats_per_buyer_max: 8, ..Sale::default() };
        let mut stage = Stage::new(sale);
        let (showtime, group) = (stage.showtime(), stage.group());
        let release = |hold, user| ShardCommand::ReleaseHold(ReleaseHold { hold: HoldId::new(group, hold), user });
        let mut looks = vec![stage.open(), stage.fill_areas()];
        looks.push(stage.hold(ANN, &[SeatId(0)]));
        for (user, from) in (100..).map(UserId).zip((1..60).step_by(6)) {
            let seats: Vec<SeatId> = (from..60.min(from + 6)).map(SeatId).collect();
            looks.push(stage.hold(user, &seats));
        }
        for user in (1..=2).map(UserId) {
            let ask = JoinWaitlist { showtime, user, quantity: 6, category: None, together: false };
            looks.push(stage.run(ShardCommand::JoinWaitlist(ask)));
        }
        looks.push(stage.run(release(4, ANN)));
        looks.push(stage.hold(UserId(1), &[SeatId(0)]));
        looks.push(stage.place(UserId(1), 15));
        looks.push(stage.pay(1, 1, PRICE.amount));
        let patch = SalePatch { seats_per_buyer_max: Some(6), ..SalePatch::default() };
        looks.push(stage.run(ShardCommand::UpdateSale(UpdateSale { showtime, patch })));
        looks.push(stage.run(release(5, UserId(100))));
        let look = joined(looks);
        let without = |is_left_out: fn(&Event) -> bool| {
            let mut look = look.clone();
            for told in look.played.iter_mut().flat_map(|played| &mut played.commands) {
                told.events.retain(|record| !is_left_out(&record.event));
            }
            Waitlist::default().observe(&look)
        };
        let is_offer = |event: &Event| matches!(event, Event::WaitlistOffered { user: UserId(2), .. });
        assert!(look.played.iter().flat_map(Played::events).any(|record| is_offer(&record.event)), "it was offered");
        without(|_| false).expect("the first has one already");
        without(|event| matches!(event, Event::SeatsHeld { user: UserId(1), .. })).expect_err("it has none");
        without(|event| matches!(event, Event::SaleUpdated)).expect_err("it may have eight");
    }

    #[test]
    fn whoever_is_forgotten_is_noticed() {
        let (stage, look) = full();
        let mut checker = Waitlist::default();
        checker.observe(&look).expect("as it was");
        let mut last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect("as it was");
        let puppet = Puppet { answer: Some(ShardAnswer::Waitlist(None)), ..Puppet::default() };
        last.replicas.insert((1, stage.group()), Rc::new(puppet));
        checker.finish(&last).expect_err("the second waits");
    }
}

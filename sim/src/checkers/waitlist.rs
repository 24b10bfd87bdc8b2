//! The waitlist, kept once more by the facts of the log: whoever waits longer for the same is offered it first, an offer is what
//! was asked for, and nobody is forgotten.

use super::{Checker, Look};
use crate::history::Ask;
use crate::player::{Played, Told};
use std::collections::BTreeMap;
use vestibule_engine::{
    Event, EventRecord, HoldId, JoinWaitlist, OfferId, ShardAnswer, ShardCommand, ShardQuery, ShowtimeId, UserId,
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

/// See the file's head.
#[derive(Default)]
pub struct Waitlist {
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

    fn book(&mut self, record: &EventRecord, told: Option<&Told>) -> Result<(), String> {
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
                let quantity =
                    places.seats.len() + places.areas.iter().map(|&(_, count)| count as usize).sum::<usize>();
                if entry.user != *user || entry.offered.is_some() || entry.wish.quantity as usize != quantity {
                    return Err(format!(
                        "{user} is offered {places:?}, where {} asked for {:?}",
                        entry.user, entry.wish
                    ));
                }
                let passed =
                    self.entries.range(..*id).find(|(_, other)| other.offered.is_none() && other.is_modester(entry));
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
    use super::super::stage::{Puppet, Stage, joined};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::{HoldId, LeaveWaitlist, Method, ReleaseHold, Sale, SeatId};

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

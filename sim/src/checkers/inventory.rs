//! Seats, seen through the facts of the log by books of our own: a seat has one owner, free + held + sold + blocked is the
//! capacity, sold becomes free only through a refund, nobody gives another's seats away, and nothing outlives its deadline.

use super::{Checker, Look};
use crate::history::Ask;
use crate::player::{Played, Told};
use std::collections::BTreeMap;
use vestibule_engine::{
    AreaId, Event, EventRecord, GroupId, HoldId, OrderId, Places, SeatId, ShardAnswer, ShardCommand, ShardQuery,
    ShowtimeId, Timestamp, UserId,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seat {
    Free,
    Blocked,
    Held(HoldId),
    Sold(OrderId),
}

impl Seat {
    /// As it stands in [`vestibule_engine::SeatsView`].
    fn byte(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Held(_) => 1,
            Self::Sold(_) => 2,
            Self::Blocked => 3,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Area {
    capacity: u32,
    held: u32,
    sold: u32,
}

struct House {
    seats: Vec<Seat>,
    areas: Vec<Area>,
}

struct Hold {
    showtime: ShowtimeId,
    user: UserId,
    places: Places,
    expires_at: Timestamp,
    order: Option<OrderId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its seats are held by this.
    Pending(HoldId),
    /// It was given up, or its time was over.
    Ended,
    Completed,
}

struct Order {
    user: UserId,
    stage: Stage,
}

/// See the file's head.
#[derive(Default)]
pub struct Inventory {
    houses: BTreeMap<ShowtimeId, House>,
    holds: BTreeMap<HoldId, Hold>,
    orders: BTreeMap<OrderId, Order>,
    now: BTreeMap<GroupId, Timestamp>,
}

/// Who asked, where the command says so.
fn asker(told: Option<&Told>) -> Option<UserId> {
    let Ask::Shard(command) = &told?.ask else { return None };
    match &**command {
        ShardCommand::HoldSeats(ask) => Some(ask.user),
        ShardCommand::ExtendHold(ask) => Some(ask.user),
        ShardCommand::ReleaseHold(ask) => Some(ask.user),
        ShardCommand::PlaceOrder(ask) => Some(ask.user),
        ShardCommand::CancelOrder(ask) => Some(ask.user),
        ShardCommand::LeaveQueue(ask) => Some(ask.user),
        ShardCommand::LeaveWaitlist(ask) => Some(ask.user),
        _ => None,
    }
}

/// The command of a shard that something came of.
fn command_of(told: Option<&Told>) -> Option<&ShardCommand> {
    match &told?.ask {
        Ask::Shard(command) => Some(command),
        _ => None,
    }
}

impl Inventory {
    fn entry(&mut self, played: &Played) -> Result<(), String> {
        played.due.iter().try_for_each(|record| self.event(record, None))?;
        for told in &played.commands {
            if let Ask::Shard(command) = &told.ask
                && let ShardCommand::CreateShowtime(ask) = &**command
                && told.events.iter().any(|record| matches!(record.event, Event::ShowtimeCreated { .. }))
            {
                let seats = vec![Seat::Free; ask.seat_map.seat_count()];
                let areas = ask.seat_map.areas.iter().map(|area| Area { capacity: area.capacity, ..Area::default() });
                self.houses.insert(ask.showtime, House { seats, areas: areas.collect() });
            }
            told.events.iter().try_for_each(|record| self.event(record, Some(told)))?;
        }
        let now = self.now.entry(played.group).or_default();
        *now = played.at.unwrap_or_default().max(*now);
        let mut holds = self.holds.iter().filter(|(id, _)| id.group() == played.group);
        match holds.find(|(_, hold)| hold.expires_at <= *now) {
            Some((id, hold)) => {
                Err(format!("{id} lives at {now:?}, though its time was over at {:?}", hold.expires_at))
            }
            None => Ok(()),
        }
    }

    /// Moves places from one state to another.
    fn move_places(
        &mut self,
        showtime: ShowtimeId,
        places: &Places,
        is_right: impl Fn(Seat) -> bool,
        to: Seat,
        change: impl Fn(&mut Area, u32) -> bool,
    ) -> Result<(), String> {
        let house = self.houses.get_mut(&showtime).ok_or_else(|| format!("nobody knows {showtime}"))?;
        for &SeatId(number) in &places.seats {
            let seat = house.seats.get_mut(number as usize).ok_or_else(|| format!("there is no seat {number}"))?;
            if !is_right(*seat) {
                return Err(format!("seat {number} of {showtime} became {to:?} when it was {seat:?}"));
            }
            *seat = to;
        }
        for &(AreaId(number), count) in &places.areas {
            let area = house.areas.get_mut(usize::from(number)).ok_or_else(|| format!("there is no area {number}"))?;
            if !change(area, count) || area.held + area.sold > area.capacity {
                return Err(format!(
                    "{count} places of area {number} of {showtime} became {to:?}, which leaves {area:?}"
                ));
            }
        }
        Ok(())
    }

    fn end_hold(&mut self, id: HoldId, places: &Places) -> Result<Hold, String> {
        let hold = self.holds.remove(&id).ok_or_else(|| format!("{id} ended, which was not there"))?;
        if hold.places != *places {
            return Err(format!("{id} ended with {places:?}, but held {:?}", hold.places));
        }
        Ok(hold)
    }

    fn free(&mut self, id: HoldId, hold: &Hold) -> Result<(), String> {
        let change = |area: &mut Area, count| area.held.checked_sub(count).map(|held| area.held = held).is_some();
        self.move_places(hold.showtime, &hold.places, |seat| seat == Seat::Held(id), Seat::Free, change)
    }

    fn event(&mut self, record: &EventRecord, told: Option<&Told>) -> Result<(), String> {
        let showtime = record.showtime.unwrap_or_default();
        let said = |what: String| format!("event {} ({}): {what}", record.sequence, record.event.kind());
        self.book(record, showtime, told).map_err(said)
    }

    fn book(&mut self, record: &EventRecord, showtime: ShowtimeId, told: Option<&Told>) -> Result<(), String> {
        let owned = |user: UserId| match asker(told) {
            Some(asker) if asker != user => Err(format!("{asker} did this to what is {user}'s")),
            _ => Ok(()),
        };
        match &record.event {
            Event::SeatsHeld { hold, user, places, expires_at } => {
                let held = Hold { showtime, user: *user, places: places.clone(), expires_at: *expires_at, order: None };
                let change = |area: &mut Area, count| {
                    area.held += count;
                    true
                };
                self.move_places(showtime, places, |seat| seat == Seat::Free, Seat::Held(*hold), change)?;
                if self.holds.insert(*hold, held).is_some() {
                    return Err(format!("{hold} was made twice"));
                }
            }
            Event::HoldExtended { hold, expires_at } => {
                let held = self.holds.get_mut(hold).ok_or_else(|| format!("{hold} is not there"))?;
                owned(held.user)?;
                held.expires_at = *expires_at;
            }
            Event::HoldReleased { hold, places } => {
                let held = self.end_hold(*hold, places)?;
                owned(held.user)?;
                self.free(*hold, &held)?;
            }
            Event::HoldExpired { hold, places } => {
                let held = self.end_hold(*hold, places)?;
                if record.at < held.expires_at {
                    return Err(format!("{hold} expired at {:?}, before {:?}", record.at, held.expires_at));
                }
                self.free(*hold, &held)?;
            }
            Event::OrderPlaced { order, user, places, pay_by, .. } => {
                owned(*user)?;
                // A buyer may have as many places of an area in two holds.
                let asked = match command_of(told) {
                    Some(ShardCommand::PlaceOrder(ask)) => Some(ask.hold),
                    _ => None,
                };
                let is_wanted = |id: HoldId, hold: &Hold| {
                    hold.showtime == showtime && asked.is_none_or(|asked| asked == id) && hold.user == *user
                };
                let is_free = |hold: &Hold| hold.places == *places && hold.order.is_none();
                let hold = self.holds.iter_mut().find(|(id, hold)| is_wanted(**id, hold) && is_free(hold));
                let (&id, hold) = hold.ok_or("there is no such hold")?;
                (hold.order, hold.expires_at) = (Some(*order), *pay_by);
                self.orders.insert(*order, Order { user: *user, stage: Stage::Pending(id) });
            }
            Event::OrderCanceled { order, user, .. } | Event::OrderExpired { order, user, .. } => {
                if matches!(record.event, Event::OrderCanceled { .. }) {
                    owned(*user)?;
                }
                let known = self.orders.get_mut(order).ok_or("nobody placed it")?;
                if !matches!(known.stage, Stage::Pending(_)) || known.user != *user {
                    return Err(format!("it was {:?}", known.stage));
                }
                known.stage = Stage::Ended;
            }
            Event::SeatsPurchased { order, places } => self.sell(record.at, showtime, *order, places)?,
            Event::SeatsBlocked { seats, .. } => {
                let places = Places { seats: seats.clone().into(), areas: Vec::new() };
                let is_right = |seat| matches!(seat, Seat::Free | Seat::Blocked);
                self.move_places(showtime, &places, is_right, Seat::Blocked, |_, _| false)?;
            }
            Event::SeatsReleased { places, .. } => {
                let refunded = match command_of(told) {
                    Some(ShardCommand::RefundOrder(ask)) => Some(ask.order),
                    _ => None,
                };
                let is_right = |seat| match refunded {
                    Some(order) => seat == Seat::Sold(order),
                    None => seat == Seat::Blocked,
                };
                let change = |area: &mut Area, count| {
                    refunded.is_some() && area.sold.checked_sub(count).map(|sold| area.sold = sold).is_some()
                };
                self.move_places(showtime, places, is_right, Seat::Free, change)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn sell(&mut self, at: Timestamp, showtime: ShowtimeId, id: OrderId, places: &Places) -> Result<(), String> {
        let order = self.orders.get_mut(&id).ok_or("nobody placed the order")?;
        let stage = std::mem::replace(&mut order.stage, Stage::Completed);
        let to = Seat::Sold(id);
        match stage {
            Stage::Completed => Err(format!("{id} completed twice")),
            Stage::Pending(hold) => {
                let held = self.end_hold(hold, places)?;
                if at >= held.expires_at {
                    return Err(format!("{id} completed at {at:?}, though {hold} was over at {:?}", held.expires_at));
                }
                let change = |area: &mut Area, count: u32| {
                    area.sold += count;
                    area.held.checked_sub(count).map(|held| area.held = held).is_some()
                };
                self.move_places(showtime, places, |seat| seat == Seat::Held(hold), to, change)
            }
            Stage::Ended => {
                let change = |area: &mut Area, count: u32| {
                    area.sold += count;
                    true
                };
                self.move_places(showtime, places, |seat| seat == Seat::Free, to, change)
            }
        }
    }
}

impl Checker for Inventory {
    fn name(&self) -> &'static str {
        "inventory"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        look.played.iter().try_for_each(|played| self.entry(played))
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for (&showtime, house) in &self.houses {
            let replicas = last.replicas.iter().filter(|((_, group), _)| *group == showtime.group());
            for ((node, _), replica) in replicas {
                let said = |what: String| format!("{showtime} on node {node}: {what}");
                let answer = replica.ask(&ShardQuery::Seats(showtime))?;
                let ShardAnswer::Seats(Some(view)) = answer else {
                    return Err(said("it is not known".to_owned()));
                };
                let states: Vec<u8> = house.seats.iter().map(|seat| seat.byte()).collect();
                if view.states != states {
                    let at = view.states.iter().zip(&states).position(|(one, other)| one != other);
                    return Err(said(format!("seat {at:?} is not what the log makes of it")));
                }
                let areas = view.areas.iter().map(|area| (area.capacity, area.held, area.sold));
                if !areas.eq(house.areas.iter().map(|area| (area.capacity, area.held, area.sold))) {
                    return Err(said(format!("its areas are {:?}, not {:?}", view.areas, house.areas)));
                }
                let ShardAnswer::Showtime(Some(view)) = replica.ask(&ShardQuery::Showtime(showtime))? else {
                    return Err(said("it is not known".to_owned()));
                };
                let counts = |of: fn(&vestibule_engine::CategoryCounts) -> u32| -> u32 {
                    view.availability.iter().map(of).sum()
                };
                let told = counts(|count| count.available + count.held + count.sold + count.blocked);
                let capacity = house.seats.len() as u32 + house.areas.iter().map(|area| area.capacity).sum::<u32>();
                let sold = states.iter().filter(|&&state| state == 2).count() as u32
                    + house.areas.iter().map(|area| area.sold).sum::<u32>();
                if told != capacity || counts(|count| count.sold) != sold {
                    return Err(said(format!("it counts {told} seats of {capacity}, {sold} of them sold")));
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
    use vestibule_engine::{CancelOrder, RefundOrder, ReleaseHold};

    const ANN: UserId = UserId(7);
    const BOB: UserId = UserId(8);

    /// A purchase of seat 4 and its refund, and a hold on seat 5 that is released.
    fn sale() -> (Stage, Look) {
        let mut stage = Stage::without_line();
        let group = stage.group();
        let mut looks = vec![stage.open(), stage.hold(ANN, &[SeatId(4)]), stage.hold(BOB, &[SeatId(5)])];
        looks.push(stage.place(ANN, 1));
        looks.push(stage.pay(1, 1, 2_500));
        let (order, reason) = (OrderId::new(group, 1), String::new());
        looks.push(stage.run(ShardCommand::RefundOrder(RefundOrder { order, seats: None, reason })));
        let hold = HoldId::new(group, 2);
        looks.push(stage.run(ShardCommand::ReleaseHold(ReleaseHold { hold, user: BOB })));
        looks.push(stage.hold(BOB, &[SeatId(6)]));
        looks.push(stage.place(BOB, 3));
        looks.push(stage.run(ShardCommand::CancelOrder(CancelOrder { order: OrderId::new(group, 2), user: BOB })));
        let look = joined(looks);
        (stage, look)
    }

    fn check(change: impl FnOnce(&mut Vec<Played>)) -> Result<(), String> {
        let (_, mut look) = sale();
        change(&mut look.played);
        Inventory::default().observe(&look)
    }

    /// The first event of this kind.
    fn event<'a>(played: &'a mut [Played], kind: &str) -> &'a mut EventRecord {
        let commands = played.iter_mut().flat_map(|played| &mut played.commands);
        let mut events = commands.flat_map(|told| &mut told.events);
        events.find(|record| record.event.kind() == kind).expect("it is part of the sale")
    }

    #[test]
    fn what_the_books_cannot_explain_is_noticed() {
        check(|_| {}).expect("as it was");
        check(|played| {
            let Event::SeatsHeld { places, .. } = &mut event(&mut played[3..], "inventory.hold.created").event else {
                unreachable!("that is its kind")
            };
            places.seats = vec![SeatId(4)].into();
        })
        .expect_err("seat 4 is held twice");
        check(|played| event(played, "inventory.seats.purchased").at.0 += 10_000_000).expect_err("paid too late");
        check(|played| {
            let mut again = event(played, "inventory.seats.purchased").clone();
            again.sequence += 1;
            played[5].commands[0].events.push(again);
        })
        .expect_err("it completed twice");
        check(|played| played[6].commands[0].ask = Ask::Shard(Box::new(ShardCommand::Tick)))
            .expect_err("sold became free without a refund");
        check(|played| {
            let hold = HoldId::new(GroupId(1), 2);
            played[7].commands[0].ask =
                Ask::Shard(Box::new(ShardCommand::ReleaseHold(ReleaseHold { hold, user: ANN })));
        })
        .expect_err("Ann released what was Bob's");
        check(|played| played[3].at = Some(Timestamp(301_000))).expect_err("a hold outlived its time");
    }

    #[test]
    fn an_area_that_does_not_come_out_is_noticed() {
        let gallery = AreaId(1);
        let mut stage = Stage::without_line();
        let group = stage.group();
        let mut looks = vec![stage.open(), stage.hold_area(ANN, gallery, 3), stage.hold_area(BOB, gallery, 2)];
        looks.push(stage.place(ANN, 1));
        looks.push(stage.pay(1, 1, 3 * 2_700));
        let (order, reason) = (OrderId::new(group, 1), String::new());
        looks.push(stage.run(ShardCommand::RefundOrder(RefundOrder { order, seats: None, reason })));
        looks.push(stage.hold_area(ANN, gallery, 1));
        let look = joined(looks);
        let last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        let check = |kind: &str, quantity: u32| {
            let mut look = look.clone();
            let counted = match &mut event(&mut look.played, kind).event {
                Event::SeatsHeld { places, .. }
                | Event::SeatsPurchased { places, .. }
                | Event::SeatsReleased { places, .. } => places,
                other => unreachable!("{other:?} is not tampered with"),
            };
            counted.areas = vec![(gallery, quantity)];
            let mut checker = Inventory::default();
            checker.observe(&look)?;
            checker.finish(&last)
        };
        let (held, released) = ("inventory.hold.created", "inventory.seats.released");
        check(held, 3).expect("as it was");
        let full = check(held, 5).expect_err("there are 6 places, and Bob has 2");
        assert!(full.contains("places of area 1"), "{full}");
        check("inventory.seats.purchased", 2).expect_err("it was for 3");
        check(released, 4).expect_err("3 were sold");
        let short = check(released, 2).expect_err("3 went back");
        assert!(short.contains("its areas are"), "{short}");
    }

    #[test]
    fn seats_of_a_replica_that_are_not_those_of_the_log_are_noticed() {
        let (mut stage, look) = sale();
        let mut checker = Inventory::default();
        checker.observe(&look).expect("as it was");
        let mut last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect("as it was");
        // The replica goes on, and the books do not hear of it.
        stage.hold(ANN, &[SeatId(9)]);
        checker.finish(&last).expect_err("seat 9 is held there");
        last.replicas.insert((2, stage.group()), Rc::new(Puppet::default()));
        checker.finish(&last).expect_err("it knows nothing");
    }
}

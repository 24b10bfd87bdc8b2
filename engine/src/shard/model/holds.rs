//! Seats: who has them, holding them, giving them back, keeping them back.

use super::house::{Need, Wanted};
use super::show::{At, ModelBlock};
use super::{Model, bounds, check_len, size};
use crate::*;

#[derive(Debug, Clone)]
pub(crate) struct ModelHold {
    pub(crate) showtime: ShowtimeId,
    pub(crate) user: UserId,
    pub(super) ticket: Option<TicketNumber>,
    pub(super) places: Places,
    /// The allocation it was made through.
    pub(super) channel: Option<String>,
    held_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(crate) order: Option<OrderId>,
}

/// A list of seats in order, each once.
fn distinct(seats: &[SeatId]) -> Result<Vec<SeatId>, Refusal> {
    if seats.is_empty() {
        return Err(bounds("seats", "0 is not between 1 and 10000"));
    }
    let mut seats = seats.to_vec();
    seats.sort();
    seats.dedup();
    Ok(seats)
}

impl Model {
    /// A seat as everybody sees it.
    pub(crate) fn seat_state(&self, id: ShowtimeId, seat: SeatId) -> SeatState {
        if self.holds.values().any(|hold| hold.showtime == id && hold.places.seats.contains(&seat)) {
            return SeatState::Held;
        }
        if self.sold(id).any(|order| order.places.seats.contains(&seat)) {
            return SeatState::Sold;
        }
        match self.shows[&id].block_of(seat) {
            Some(_) => SeatState::Blocked,
            None => SeatState::Available,
        }
    }

    fn sold(&self, id: ShowtimeId) -> impl Iterator<Item = &OrderView> {
        self.orders.iter().filter(move |order| order.showtime == id && order.state == OrderState::Completed)
    }

    pub(crate) fn area(&self, id: ShowtimeId, area: AreaId) -> AreaCounts {
        let in_area = |places: &Places| places.areas.iter().filter(|(a, _)| *a == area).map(|(_, n)| n).sum::<u32>();
        AreaCounts {
            capacity: self.shows[&id].created.seat_map.areas[usize::from(area.0)].capacity,
            held: self.holds.values().filter(|hold| hold.showtime == id).map(|hold| in_area(&hold.places)).sum(),
            sold: self.sold(id).map(|order| in_area(&order.places)).sum(),
        }
    }

    /// Seats and places of a buyer, held and bought.
    pub(super) fn taken(&self, id: ShowtimeId, user: UserId) -> u32 {
        let holds = self.holds.values().filter(|hold| hold.showtime == id && hold.user == user);
        let held: u32 = holds.map(|hold| size(&hold.places)).sum();
        held + self.sold(id).filter(|order| order.user == user).map(|order| size(&order.places)).sum::<u32>()
    }

    /// Whether a seat is free to a buyer with this channel.
    pub(super) fn is_free(&self, id: ShowtimeId, seat: SeatId, channel: Option<&String>) -> bool {
        match self.seat_state(id, seat) {
            SeatState::Available => true,
            SeatState::Blocked => {
                channel.is_some() && self.shows[&id].block_of(seat).unwrap().channel.as_ref() == channel
            }
            SeatState::Held | SeatState::Sold => false,
        }
    }

    pub(super) fn in_the_way(&self, id: ShowtimeId, seats: &[SeatId], channel: Option<&String>) -> Vec<SeatId> {
        let promised = self.promised(id);
        let is_free = |seat| self.is_free(id, seat, channel) && !self.is_promised(id, &promised, seat);
        seats.iter().copied().filter(|seat| !is_free(*seat)).collect()
    }

    /// Whether a seat is kept for those who wait.
    fn is_promised(&self, id: ShowtimeId, promised: &[Option<u16>], seat: SeatId) -> bool {
        let spot = &self.shows[&id].house.spots[seat.0 as usize];
        let is_special = spot.flags & (SEAT_WHEELCHAIR | SEAT_COMPANION) != 0;
        (promised.contains(&None) || promised.contains(&Some(spot.category)))
            && self.is_free(id, seat, None)
            && !is_special
    }

    /// Places of an area that are free and not kept for those who wait.
    pub(super) fn free_places(&self, id: ShowtimeId, area: AreaId) -> u32 {
        let promised = self.promised(id);
        let category = self.shows[&id].created.seat_map.areas[usize::from(area.0)].category.0;
        let is_promised = promised.contains(&None) || promised.contains(&Some(category));
        if is_promised { 0 } else { self.area(id, area).available() }
    }

    /// The best seats for a wish: every seat's state is found once.
    pub(super) fn best(&self, id: ShowtimeId, wanted: &Wanted, channel: Option<&String>) -> Option<Vec<SeatId>> {
        let house = &self.shows[&id].house;
        let open: Vec<bool> =
            (0..house.spots.len() as u32).map(|seat| self.is_free(id, SeatId(seat), channel)).collect();
        house.best(wanted, &|seat| open[seat as usize])
    }

    pub(super) fn hold(&mut self, ask: &HoldSeats) -> Result<Outcome, Refusal> {
        let id = ask.showtime;
        let (field, wanted) = match &ask.choice {
            SeatChoice::Named(seats) => ("seats", seats.len() as u32),
            SeatChoice::Best(best) => ("best.quantity", best.quantity),
            SeatChoice::Area { quantity, .. } => ("quantity", *quantity),
        };
        if wanted == 0 || wanted > 100 {
            return Err(bounds(field, format!("{wanted} is not between 1 and 100")));
        }
        if matches!(&ask.choice, SeatChoice::Best(best) if best.companion && best.quantity < 2) {
            return Err(bounds("best.quantity", "a wheelchair space and its companion seat are two"));
        }
        let show = self.show(id)?;
        if let Some(number) = ask.ticket
            && show.has_line()
        {
            show.ticket_of(number, ask.user)?;
        }
        let mut places = Places::default();
        match &ask.choice {
            SeatChoice::Named(seats) => {
                if let Some(seat) = seats.iter().find(|seat| seat.0 as usize >= show.house.spots.len()) {
                    return Err(Refusal::NoSuchSeat(*seat));
                }
                places.seats = distinct(seats)?.into();
            }
            SeatChoice::Area { area, quantity } => {
                if usize::from(area.0) >= show.created.seat_map.areas.len() {
                    return Err(Refusal::NoSuchArea(*area));
                }
                places.areas = vec![(*area, *quantity)];
            }
            SeatChoice::Best(best) => {
                show.best_named(best)?;
            }
        }
        let ticket = self.admitted(ask)?;
        let sale = &show.sale;
        let wanted = if let SeatChoice::Best(best) = &ask.choice { best.quantity } else { size(&places) };
        if wanted > sale.seats_per_hold_max {
            return Err(Refusal::TooManySeats { max: sale.seats_per_hold_max });
        }
        let taken = self.taken(id, ask.user);
        if taken + wanted > sale.seats_per_buyer_max {
            return Err(Refusal::BuyerLimit { max: sale.seats_per_buyer_max, taken });
        }
        let seats = self.in_the_way(id, &places.seats, ask.channel.as_ref());
        if !seats.is_empty() {
            return Err(Refusal::SeatsUnavailable { seats });
        }
        for (area, quantity) in &places.areas {
            let available = self.free_places(id, *area);
            if *quantity > available {
                return Err(Refusal::AreaFull { available });
            }
        }
        match &ask.choice {
            SeatChoice::Best(best) => {
                let (category, section) = show.best_named(best)?;
                let need = match best {
                    BestSeats { companion: true, .. } => Need::SpaceAndCompanion,
                    BestSeats { accessible: true, .. } => Need::Space,
                    _ => Need::Nothing,
                };
                let (quantity, together) = (best.quantity, best.together);
                let wanted = Wanted { quantity, category, section, need, together };
                let seats = self.best(id, &wanted, ask.channel.as_ref()).ok_or(Refusal::NoSeatsFit)?;
                let promised = self.promised(id);
                if seats.iter().any(|seat| self.is_promised(id, &promised, *seat)) {
                    return Err(Refusal::NoSeatsFit);
                }
                places.seats = seats.into();
            }
            SeatChoice::Named(_) if sale.prevent_orphans => {
                let is_open = |seat: u32| self.is_free(id, SeatId(seat), ask.channel.as_ref());
                let pick: Vec<u32> = places.seats.iter().map(|seat| seat.0).collect();
                let alone = show.house.alone_after(&pick, &is_open);
                if !alone.is_empty() && show.house.can_spare(pick.len(), &is_open) {
                    return Err(Refusal::LeavesOrphan { seats: alone });
                }
            }
            SeatChoice::Named(_) | SeatChoice::Area { .. } => {}
        }
        let hold = self.make_hold(id, ask.user, ticket, places);
        self.holds.get_mut(&hold).unwrap().channel = ask.channel.clone();
        Ok(Outcome::Held { hold: Box::new(self.hold_view(hold)) })
    }

    /// Whether this buyer may hold anything now, and with which ticket.
    fn admitted(&self, ask: &HoldSeats) -> Result<Option<TicketNumber>, Refusal> {
        let show = self.show(ask.showtime)?;
        match show.sale.method {
            Method::Reject => Err(Refusal::SaleRejects),
            Method::Passthrough if show.state == QueueState::Open => Ok(None),
            Method::Draw | Method::Fifo if matches!(show.state, QueueState::Open | QueueState::Paused) => {
                let number = ask.ticket.ok_or(Refusal::NotAdmitted)?;
                let index = show.ticket_of(number, ask.user)?;
                match show.tickets[index].at {
                    At::Shopping(_) => Ok(Some(number)),
                    _ => Err(Refusal::NotAdmitted),
                }
            }
            _ => Err(show.wrong_state()),
        }
    }

    pub(super) fn make_hold(
        &mut self,
        showtime: ShowtimeId,
        user: UserId,
        ticket: Option<TicketNumber>,
        places: Places,
    ) -> HoldId {
        self.holds_made += 1;
        let id = HoldId::new(self.group, self.holds_made);
        let expires_at = self.now + self.shows[&showtime].sale.hold_ttl;
        self.tell_of(showtime, Event::SeatsHeld { hold: id, user, places: places.clone(), expires_at });
        let (channel, order) = (None, None);
        let hold = ModelHold { showtime, user, ticket, places, channel, held_at: self.now, expires_at, order };
        self.holds.insert(id, hold);
        id
    }

    pub(super) fn hold_of(&self, id: HoldId, user: UserId) -> Result<ModelHold, Refusal> {
        match self.holds.get(&id) {
            Some(hold) if hold.user == user => Ok(hold.clone()),
            None if self.was_held(id) => Err(Refusal::HoldGone),
            _ => Err(Refusal::NoSuchHold),
        }
    }

    pub(super) fn was_held(&self, id: HoldId) -> bool {
        id.group() == self.group && (1..=self.holds_made).contains(&id.counter())
    }

    pub(super) fn extend(&mut self, ask: &ExtendHold) -> Result<Outcome, Refusal> {
        let hold = self.hold_of(ask.hold, ask.user)?;
        if hold.order.is_some() {
            return Err(Refusal::HoldHasOrder);
        }
        // An offer has a deadline of its own.
        if self.entries.iter().any(|entry| entry.hold == Some(ask.hold)) {
            return Err(Refusal::HoldTotalReached);
        }
        let sale = &self.shows[&hold.showtime].sale;
        let latest = hold.held_at + sale.hold_total_max;
        let expires_at = (self.now + sale.hold_ttl).min(latest).max(hold.expires_at);
        if expires_at == hold.expires_at && hold.expires_at >= latest {
            return Err(Refusal::HoldTotalReached);
        }
        if expires_at != hold.expires_at {
            self.holds.get_mut(&ask.hold).unwrap().expires_at = expires_at;
            self.tell_of(hold.showtime, Event::HoldExtended { hold: ask.hold, expires_at });
        }
        Ok(Outcome::Held { hold: Box::new(self.hold_view(ask.hold)) })
    }

    /// A hold without an order comes back.
    pub(super) fn give_back(&mut self, id: HoldId) {
        let hold = self.holds.remove(&id).unwrap();
        self.tell_of(hold.showtime, Event::HoldReleased { hold: id, places: hold.places.clone() });
        self.blocked_again(hold.showtime, &hold.places);
        if let Some(entry) = self.take_offer(id) {
            self.tell_of(hold.showtime, Event::WaitlistLeft { entry: entry.id, user: entry.user });
        }
        self.end_admissions(hold.showtime);
    }

    /// A hold without an order runs out.
    pub(super) fn expire_hold(&mut self, id: HoldId) {
        let hold = self.holds.remove(&id).unwrap();
        self.tell_of(hold.showtime, Event::HoldExpired { hold: id, places: hold.places.clone() });
        self.blocked_again(hold.showtime, &hold.places);
        if let Some(entry) = self.take_offer(id) {
            self.tell_of(hold.showtime, Event::WaitlistExpired { entry: entry.id, user: entry.user });
        }
        self.end_admissions(hold.showtime);
    }

    /// Tells which seats fell under their blocks again, block by block in order of their first seats.
    pub(super) fn blocked_again(&mut self, id: ShowtimeId, places: &Places) {
        let mut left = places.seats.clone();
        while !left.is_empty() {
            let first = left.remove(0);
            let Some(block) = self.shows[&id].block_of(first).cloned() else { continue };
            let rest = left.iter().copied().filter(|seat| block.seats.contains(seat));
            let seats: Vec<SeatId> = std::iter::once(first).chain(rest).collect();
            left.retain(|seat| !seats.contains(seat));
            self.tell_of(id, Event::SeatsBlocked { seats, reason: block.reason });
        }
    }

    pub(super) fn block(&mut self, ask: &BlockSeats) -> Result<Outcome, Refusal> {
        let seats = distinct(&ask.seats)?;
        check_len("reason", &ask.reason, 1, 200)?;
        if let Some(channel) = &ask.channel {
            check_len("channel", channel, 1, 100)?;
        }
        self.check_seats(ask.showtime, &seats)?;
        let is_taken =
            |seat: &SeatId| matches!(self.seat_state(ask.showtime, *seat), SeatState::Held | SeatState::Sold);
        let taken: Vec<SeatId> = seats.iter().copied().filter(is_taken).collect();
        if !taken.is_empty() {
            return Err(Refusal::SeatsUnavailable { seats: taken });
        }
        let show = self.show_mut(ask.showtime);
        show.lift(&seats);
        let (channel, reason) = (ask.channel.clone(), ask.reason.clone());
        show.blocks.push(ModelBlock { seats: seats.clone(), channel, reason: reason.clone() });
        self.tell_of(ask.showtime, Event::SeatsBlocked { seats, reason });
        Ok(Outcome::Done)
    }

    pub(super) fn unblock(&mut self, ask: &UnblockSeats) -> Result<Outcome, Refusal> {
        let mut seats = distinct(&ask.seats)?;
        self.check_seats(ask.showtime, &seats)?;
        let all = seats.clone();
        seats.retain(|seat| self.seat_state(ask.showtime, *seat) == SeatState::Blocked);
        // Not only over those: a seat that is held has none to fall under, either.
        self.show_mut(ask.showtime).lift(&all);
        if !seats.is_empty() {
            let places = Places { seats: seats.into(), areas: Vec::new() };
            self.tell_of(ask.showtime, Event::SeatsReleased { places, reason: "unblocked".into() });
        }
        Ok(Outcome::Done)
    }

    fn check_seats(&self, id: ShowtimeId, seats: &[SeatId]) -> Result<(), Refusal> {
        let count = self.show(id)?.house.spots.len();
        match seats.iter().find(|seat| seat.0 as usize >= count) {
            Some(seat) => Err(Refusal::NoSuchSeat(*seat)),
            None => Ok(()),
        }
    }
}

//! `UnblockSeats`: frees seats that were kept back.

use super::Shard;
use super::block_seats::distinct_seats;
use crate::group_state::Events;
use crate::{Event, Outcome, Places, Refusal, SeatState, UnblockSeats};

impl Shard {
    pub(super) fn unblock_seats(&mut self, ask: &UnblockSeats, events: &mut Events) -> Result<Outcome, Refusal> {
        let mut seats = distinct_seats(&ask.seats)?;
        let showtime = self.showtime(ask.showtime)?;
        if let Some(&seat) = seats.iter().find(|&&seat| !showtime.seats.contains(seat)) {
            return Err(Refusal::NoSuchSeat(seat));
        }
        seats.retain(|&seat| showtime.seats.block(seat) != 0);
        if seats.is_empty() {
            return Ok(Outcome::Done);
        }

        let showtime = self.showtime_mut(ask.showtime);
        seats.iter().for_each(|&seat| showtime.unblock(seat));
        // The others are held: they are not free now, but no block waits for them any more.
        seats.retain(|&seat| showtime.seats.state(seat) == SeatState::Available);
        if seats.is_empty() {
            return Ok(Outcome::Done);
        }
        self.freed.insert(ask.showtime);
        let places = Places { seats: seats.into(), areas: Vec::new() };
        events.push(ask.showtime, Event::SeatsReleased { places, reason: "unblocked".into() });
        Ok(Outcome::Done)
    }
}

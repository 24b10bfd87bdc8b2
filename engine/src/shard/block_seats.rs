//! `BlockSeats`: keeps seats back, or for a channel alone.

use super::Shard;
use super::seats::BLOCKS_MAX;
use crate::group_state::{Events, check_text};
use crate::{BlockSeats, Event, Outcome, Refusal, SeatId};

/// The most seats that one command blocks or unblocks: replies and events name them all.
const SEATS_NAMED_MAX: usize = 10_000;

/// The seats of a list in order, each once; refused when there are none or too many.
pub(super) fn distinct_seats(seats: &[SeatId]) -> Result<Vec<SeatId>, Refusal> {
    if !(1..=SEATS_NAMED_MAX).contains(&seats.len()) {
        return Err(Refusal::out_of_bounds("seats", format!("{} is not between 1 and {SEATS_NAMED_MAX}", seats.len())));
    }
    let mut seats = seats.to_vec();
    seats.sort_unstable();
    seats.dedup();
    Ok(seats)
}

impl Shard {
    pub(super) fn block_seats(&mut self, ask: &BlockSeats, events: &mut Events) -> Result<Outcome, Refusal> {
        let seats = distinct_seats(&ask.seats)?;
        check_text("reason", &ask.reason, 1, 200)?;
        if let Some(channel) = &ask.channel {
            check_text("channel", channel, 1, 100)?;
        }
        let showtime = self.showtime(ask.showtime)?;
        if let Some(&seat) = seats.iter().find(|&&seat| !showtime.seats.contains(seat)) {
            return Err(Refusal::NoSuchSeat(seat));
        }
        let taken: Vec<SeatId> = seats.iter().copied().filter(|&seat| !showtime.seats.is_untaken(seat)).collect();
        if !taken.is_empty() {
            return Err(Refusal::SeatsUnavailable { seats: taken });
        }
        if showtime.blocks.len() >= BLOCKS_MAX {
            return Err(Refusal::AtCapacity { what: "blocks".into() });
        }

        self.showtime_mut(ask.showtime).block(&seats, &ask.reason, ask.channel.as_deref());
        events.push(ask.showtime, Event::SeatsBlocked { seats, reason: ask.reason.clone() });
        Ok(Outcome::Done)
    }
}

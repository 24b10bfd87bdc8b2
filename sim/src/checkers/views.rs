//! What gateways show of the seats is what the log says as of the event they name, whether all seats were asked for or only
//! what changed: nothing is left out, nothing comes twice, nothing is shown that never was. And whoever says what they have seen
//! is not sent back in time.

use super::{Checker, Look};
use crate::web::visits::{Deed, Event, Said, SeatsSeen};
use std::collections::BTreeMap;
use vestibule_client::SeatState;
use vestibule_engine::{Event as Fact, GroupId, SeatId, Sequence, ShowtimeId};

/// See the file's head.
#[derive(Default)]
pub struct Views {
    /// What every seat became, and with which event.
    seats: BTreeMap<(ShowtimeId, SeatId), Vec<(Sequence, SeatState)>>,
    /// The last event of each group that is known.
    known: BTreeMap<GroupId, Sequence>,
    /// Looks that show more than is known yet.
    open: Vec<(usize, SeatsSeen)>,
}

impl Views {
    fn fact(&mut self, showtime: ShowtimeId, sequence: Sequence, fact: &Fact) {
        let mut turn = |seats: &[SeatId], state| {
            for &seat in seats {
                self.seats.entry((showtime, seat)).or_default().push((sequence, state));
            }
        };
        match fact {
            Fact::SeatsHeld { places, .. } => turn(&places.seats, SeatState::Held),
            Fact::HoldReleased { places, .. }
            | Fact::HoldExpired { places, .. }
            | Fact::SeatsReleased { places, .. } => {
                turn(&places.seats, SeatState::Available);
            }
            Fact::SeatsPurchased { places, .. } => turn(&places.seats, SeatState::Sold),
            Fact::SeatsBlocked { seats, .. } => turn(seats, SeatState::Blocked),
            _ => {}
        }
    }

    fn state(&self, showtime: ShowtimeId, seat: SeatId, sequence: Sequence) -> SeatState {
        let Some(changes) = self.seats.get(&(showtime, seat)) else { return SeatState::Available };
        let count = changes.partition_point(|(at, _)| *at <= sequence);
        count.checked_sub(1).map_or(SeatState::Available, |last| changes[last].1)
    }

    fn judge(&self, seen: &SeatsSeen) -> Result<(), String> {
        let SeatsSeen { showtime, sequence, states, counts } = seen;
        for (&seat, &state) in states {
            let known = self.state(*showtime, seat, *sequence);
            if state != known {
                return Err(format!(
                    "seat {} of {showtime} is shown as {state:?} as of {sequence}, and was {known:?}",
                    seat.0
                ));
            }
        }
        let all = [SeatState::Available, SeatState::Held, SeatState::Sold, SeatState::Blocked];
        let counted = all.map(|state| states.values().filter(|shown| **shown == state).count() as u64);
        match counts {
            Some(counts) if *counts != counted => {
                Err(format!("{counted:?} seats are shown, and counted as {counts:?}"))
            }
            _ => Ok(()),
        }
    }
}

impl Checker for Views {
    fn name(&self) -> &'static str {
        "views"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for played in &look.played {
            for record in played.events() {
                if let Some(showtime) = record.showtime {
                    self.fact(showtime, record.sequence, &record.event);
                }
                self.known.insert(played.group, record.sequence);
            }
        }
        for event in &look.visits {
            let Event::Ended { visit, said: Said::Seats(seen), .. } = event else { continue };
            if let Deed::SeeSeats(_, Some(since)) = visit.deed
                && seen.sequence < since
            {
                return Err(format!("visit @{}: whoever had seen {since} was shown {}", visit.number, seen.sequence));
            }
            self.open.push((visit.number, seen.clone()));
        }
        for (number, seen) in std::mem::take(&mut self.open) {
            if self.known.get(&seen.showtime.group()).is_some_and(|known| *known >= seen.sequence) {
                self.judge(&seen).map_err(|what| format!("visit @{number}: {what}"))?;
            } else {
                self.open.push((number, seen));
            }
        }
        Ok(())
    }

    fn finish(&mut self, _last: &Look) -> Result<(), String> {
        match self.open.first() {
            Some((number, seen)) => Err(format!("visit @{number}: event {} never happened", seen.sequence)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, joined, visited};
    use super::*;
    use vestibule_engine::UserId;

    #[test]
    fn seats_that_are_not_those_of_the_log_are_noticed() {
        let mut stage = Stage::without_line();
        let looks = vec![stage.open(), stage.hold(UserId(7), &[SeatId(0)])];
        let last = looks[1].played[0].commands[0].events[0].sequence;
        let showtime = stage.showtime();
        let see = |sequence, states: &[SeatState], counts, since| {
            let states = states.iter().enumerate().map(|(seat, state)| (SeatId(seat as u32), *state)).collect();
            let said = Said::Seats(SeatsSeen { showtime, sequence, states, counts });
            let mut checker = Views::default();
            checker.observe(&joined(looks.clone().into_iter().chain([visited(&[(
                None,
                Deed::SeeSeats(showtime, since),
                said,
            )])])))?;
            checker.finish(&Look::default())
        };
        use SeatState::{Available, Held, Sold};
        see(last, &[Held, Available], None, None).expect("as it is");
        see(last, &[Held, Available], Some([1, 1, 0, 0]), None).expect("as it is, counted");
        see(last - 1, &[Available, Available], None, Some(last - 1)).expect("as it was");
        see(last, &[Available, Available], None, None).expect_err("it is held");
        see(last - 1, &[Held, Available], None, None).expect_err("it was not held yet");
        see(last, &[Held, Sold], None, None).expect_err("it was never sold");
        see(last, &[Held, Available], Some([2, 0, 0, 0]), None).expect_err("counted wrong");
        see(last + 1, &[Held, Available], None, None).expect_err("that event never happened");
        see(last - 1, &[Available, Available], None, Some(last)).expect_err("back in time");
    }
}

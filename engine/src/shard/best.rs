//! The best seats there are, and the seats that a pick would leave alone.
//!
//! Best are the seats nearest to the [focus](super::house) by the sum of their distances; of equals those with the
//! lowest ids, so that replicas and auditors agree. A wish is met by the first of these that finds anything:
//!
//! 1. side by side, leaving no free seat alone;
//! 2. side by side;
//! 3. in two parts side by side, in neighbouring rows of a section, the larger part as large as can be;
//! 4. anywhere: the nearest one by one.
//!
//! The last two only when the wish allows seats that are not together.

use super::house::{House, RESERVED, Stretch};
use super::showtime::Showtime;
use crate::{BestSeats, Refusal, SEAT_WHEELCHAIR, SeatId, SeatState};
use std::cmp::Reverse;

/// What a wish comes down to in one house.
struct Wish<'a> {
    showtime: &'a Showtime,
    house: &'a House,
    quantity: u32,
    category: Option<u16>,
    section: Option<u16>,
    accessible: bool,
    channel: Option<&'a str>,
}

/// Seats side by side, with how far they are away together. The least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    distance: u64,
    first: u32,
}

impl Wish<'_> {
    fn is_free(&self, seat: u32) -> bool {
        self.showtime.is_free(SeatId(seat), self.channel)
    }

    /// Whether a seat can be part of the answer.
    fn fits(&self, seat: u32) -> bool {
        let index = seat as usize;
        self.is_free(seat)
            && self.category.is_none_or(|category| self.house.categories[index] == category)
            && (self.accessible || self.house.flags[index] & RESERVED == 0)
    }

    /// Word `number` of a stretch: a bit for each seat that can be part of the answer.
    fn fitting_word(&self, stretch: &Stretch, number: u32) -> u64 {
        let word = (stretch.word + number) as usize;
        let is_seat_by_seat = self.channel.is_some()
            || self.category.is_some_and(|category| stretch.category.is_none_or(|all| all != category));
        if !is_seat_by_seat {
            let free = self.showtime.seats.free_word(word);
            return if self.accessible { free } else { free & !self.house.reserved[word] };
        }
        if self.category.is_some_and(|category| stretch.category.is_some_and(|all| all != category)) {
            return 0;
        }
        let from = stretch.first + 64 * number;
        let to = (from + 64).min(stretch.first + stretch.len);
        (from..to).filter(|&seat| self.fits(seat)).fold(0, |bits, seat| bits | 1 << (seat - from))
    }

    /// Whether seats can be the answer, as far as wheelchairs go.
    fn seats_whom_it_must(&self, from: u32, to: u32) -> bool {
        !self.accessible
            || self.house.flags[from as usize..to as usize].iter().any(|flags| flags & SEAT_WHEELCHAIR != 0)
    }

    fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.house.by_distance.iter().filter(|stretch| self.section.is_none_or(|section| stretch.section == section))
    }

    /// Calls `found` with the first seat of every run of `quantity` fitting seats of a stretch.
    fn runs(&self, stretch: &Stretch, quantity: u32, mut found: impl FnMut(u32)) {
        if stretch.len < quantity {
            return;
        }
        if stretch.len <= 64 {
            // Seats whose next `reach` seats fit too; the reach doubles until it is the quantity.
            let mut starts = self.fitting_word(stretch, 0);
            let mut reach = 1;
            while reach < quantity && starts != 0 {
                let step = reach.min(quantity - reach);
                starts &= starts >> step;
                reach += step;
            }
            while starts != 0 {
                found(stretch.first + starts.trailing_zeros());
                starts &= starts - 1;
            }
            return;
        }
        let mut fitting = 0;
        for number in 0..stretch.len.div_ceil(64) {
            let word = self.fitting_word(stretch, number);
            if word == 0 {
                fitting = 0;
                continue;
            }
            for bit in 0..64.min(stretch.len - 64 * number) {
                fitting = if word >> bit & 1 == 1 { fitting + 1 } else { 0 };
                if fitting >= quantity {
                    found(stretch.first + 64 * number + bit + 1 - quantity);
                }
            }
        }
    }

    /// Whether taking `from..to` leaves a free seat alone beside it.
    fn leaves_alone(&self, stretch: &Stretch, from: u32, to: u32) -> bool {
        let seats = stretch.seats();
        let is_free = |seat: u32| seats.contains(&seat) && self.is_free(seat);
        let before = from > seats.start && is_free(from - 1) && !(from > seats.start + 1 && is_free(from - 2));
        before || is_free(to) && !is_free(to + 1)
    }

    /// The best run of `quantity` seats of a stretch.
    fn best_of(&self, stretch: &Stretch, quantity: u32, spare_alone: bool, must: bool) -> Option<Run> {
        let mut best: Option<Run> = None;
        self.runs(stretch, quantity, |first| {
            let run = Run { distance: self.house.distance(first, first + quantity), first };
            if best.is_none_or(|best| run < best)
                && !(spare_alone && self.leaves_alone(stretch, first, first + quantity))
                && (!must || self.seats_whom_it_must(first, first + quantity))
            {
                best = Some(run);
            }
        });
        best
    }

    /// Steps 1 and 2: side by side.
    fn together(&self, spare_alone: bool) -> Option<Vec<SeatId>> {
        let mut best: Option<Run> = None;
        for stretch in self.stretches() {
            // Every further stretch is at least as far away: nothing better is to come.
            if best.is_some_and(|best| stretch.nearest.saturating_mul(u64::from(self.quantity)) > best.distance) {
                break;
            }
            if stretch.len < self.quantity {
                continue;
            }
            if let Some(run) = self.best_of(stretch, self.quantity, spare_alone, true)
                && best.is_none_or(|best| run < best)
            {
                best = Some(run);
            }
        }
        best.map(|run| (run.first..run.first + self.quantity).map(SeatId).collect())
    }

    /// Step 3: two parts in neighbouring rows, the larger as large as can be.
    fn split(&self) -> Option<Vec<SeatId>> {
        let mut rows: Vec<(u16, u32, Vec<&Stretch>)> = Vec::new();
        for stretch in &self.house.stretches {
            if self.section.is_some_and(|section| stretch.section != section) {
                continue;
            }
            match rows.last_mut() {
                Some((_, row, stretches)) if *row == stretch.row => stretches.push(stretch),
                _ => rows.push((stretch.section, stretch.row, vec![stretch])),
            }
        }
        for larger in (self.quantity.div_ceil(2)..self.quantity).rev() {
            let smaller = self.quantity - larger;
            let best_in = |row: &(u16, u32, Vec<&Stretch>), quantity: u32| {
                row.2.iter().filter_map(|stretch| self.best_of(stretch, quantity, false, false)).min()
            };
            let parts: Vec<(Option<Run>, Option<Run>)> =
                rows.iter().map(|row| (best_in(row, larger), best_in(row, smaller))).collect();
            let mut best: Option<(u64, Run, Run)> = None;
            for (index, pair) in rows.windows(2).enumerate() {
                let are_neighbours = pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1;
                for (large, small) in [(index, index + 1), (index + 1, index)] {
                    let (Some(large), Some(small)) = (parts[large].0, parts[small].1) else { continue };
                    let must = self.seats_whom_it_must(large.first, large.first + larger)
                        || self.seats_whom_it_must(small.first, small.first + smaller);
                    let candidate = (large.distance + small.distance, large, small);
                    if are_neighbours && must && best.is_none_or(|best| candidate < best) {
                        best = Some(candidate);
                    }
                }
            }
            if let Some((_, large, small)) = best {
                let seats = (large.first..large.first + larger).chain(small.first..small.first + smaller);
                return Some(sorted(seats.map(SeatId)));
            }
        }
        None
    }

    /// Step 4: anywhere.
    fn scattered(&self) -> Option<Vec<SeatId>> {
        let mut seats: Vec<(bool, u64, u32)> = Vec::new();
        for stretch in self.stretches() {
            for seat in stretch.seats().filter(|&seat| self.fits(seat)) {
                // Where a wheelchair comes along, its space comes first.
                let is_space = self.accessible && self.house.flags[seat as usize] & SEAT_WHEELCHAIR != 0;
                seats.push((!is_space, self.house.distance(seat, seat + 1), seat));
            }
        }
        seats.sort_unstable();
        if self.accessible {
            // One space, then whatever is nearest.
            let space = seats.first().copied().filter(|seat| !seat.0)?;
            seats.sort_unstable_by_key(|&seat| (Reverse(seat == space), seat.1, seat.2));
        }
        (seats.len() >= self.quantity as usize)
            .then(|| sorted(seats[..self.quantity as usize].iter().map(|seat| SeatId(seat.2))))
    }
}

fn sorted(seats: impl Iterator<Item = SeatId>) -> Vec<SeatId> {
    let mut seats: Vec<SeatId> = seats.collect();
    seats.sort_unstable();
    seats
}

impl Showtime {
    /// Whether a seat is free to a buyer with this channel.
    pub(crate) fn is_free(&self, seat: SeatId, channel: Option<&str>) -> bool {
        match self.seats.state(seat) {
            SeatState::Available => true,
            SeatState::Blocked => {
                let block = self.blocks.get(&self.seats.block(seat));
                channel.is_some() && block.is_some_and(|block| block.channel.as_deref() == channel)
            }
            SeatState::Held | SeatState::Sold => false,
        }
    }

    /// The best seats for a wish, in order of id.
    pub(crate) fn best_seats(&self, best: &BestSeats, channel: Option<&str>) -> Result<Vec<SeatId>, Refusal> {
        let missing = |field: &str| Refusal::out_of_bounds(field, "there is none of this name");
        let map = &self.seat_map;
        let position = |found: Option<usize>, field: &str| found.map(|at| at as u16).ok_or_else(|| missing(field));
        let category = match &best.category {
            Some(name) => Some(position(map.categories.iter().position(|c| c.name == *name), "best.category")?),
            None => None,
        };
        let section = match &best.section {
            Some(name) => Some(position(map.sections.iter().position(|s| s.name == *name), "best.section")?),
            None => None,
        };
        let (quantity, accessible) = (best.quantity, best.accessible);
        let house = self.seats.house();
        let wish = Wish { showtime: self, house, quantity, category, section, accessible, channel };
        let found = wish.together(true).or_else(|| wish.together(false));
        let found = found.or_else(|| if best.together { None } else { wish.split().or_else(|| wish.scattered()) });
        found.ok_or(Refusal::NoSeatsFit)
    }

    /// Free seats that a pick would leave alone: both neighbours taken or missing, one of them by this pick. In order.
    pub(crate) fn left_alone(&self, pick: &[SeatId]) -> Vec<SeatId> {
        let is_open = |stretch: &Stretch, seat: Option<u32>| {
            seat.is_some_and(|seat| {
                stretch.seats().contains(&seat)
                    && self.seats.state(SeatId(seat)) == SeatState::Available
                    && pick.binary_search(&SeatId(seat)).is_err()
            })
        };
        let mut alone = Vec::new();
        for &SeatId(picked) in pick {
            let stretch = self.seats.house().stretch(SeatId(picked));
            for (neighbour, beyond) in
                [(picked.checked_sub(1), picked.checked_sub(2)), (picked.checked_add(1), picked.checked_add(2))]
            {
                if let Some(seat) = neighbour
                    && is_open(stretch, neighbour)
                    && !is_open(stretch, beyond)
                {
                    alone.push(SeatId(seat));
                }
            }
        }
        alone.sort_unstable();
        alone.dedup();
        alone
    }

    /// Whether any pick of so many free seats leaves none alone.
    pub(crate) fn can_spare_alone(&self, quantity: u32) -> bool {
        // From a run of L free seats any number can be taken without leaving one alone, but L - 1. Bit n: n is possible.
        let all: u128 = (1 << (quantity + 1)) - 1;
        let mut possible: u128 = 1;
        for stretch in &self.seats.house().stretches {
            let mut run = 0;
            for seat in stretch.first..=stretch.first + stretch.len {
                let is_free = stretch.seats().contains(&seat) && self.seats.state(SeatId(seat)) == SeatState::Available;
                if is_free {
                    run += 1;
                } else if run > 0 {
                    let mut with_run = possible;
                    for taken in (1..=run.min(quantity)).filter(|&taken| taken + 1 != run) {
                        with_run |= possible << taken & all;
                    }
                    possible = with_run;
                    if possible >> quantity & 1 == 1 {
                        return true;
                    }
                    run = 0;
                }
            }
        }
        false
    }
}

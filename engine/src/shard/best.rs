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
//!
//! Wheelchair spaces and companion seats are given only to those who ask for them. What was asked for must be among the
//! seats at every step; at the third within one of the parts, at the fourth the nearest of it comes first.

use super::best_runs::{REMEMBERED_MAX, Run};
use super::house::{House, RESERVED, Stretch, is_pair};
use super::seats::BlockId;
use super::showtime::Showtime;
use crate::{BestSeats, Refusal, SEAT_WHEELCHAIR, SeatId, SeatState};
use std::cell::OnceCell;
use std::cmp::Reverse;

/// What must be among the seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing: spaces for wheelchairs and seats for companions are left alone.
    Nothing,
    /// A space for a wheelchair.
    Space,
    /// A space for a wheelchair and a seat for a companion directly beside it.
    SpaceAndCompanion,
}

/// The blocks that a channel opens: a bit for each number of a block.
struct Opened(Vec<u64>);

impl Opened {
    /// Nothing where no block carries the channel: then there is nothing to look for seat by seat.
    fn by(showtime: &Showtime, channel: Option<&str>) -> Option<Self> {
        let channel = channel?;
        let mut bits = Vec::new();
        for (&block, _) in showtime.blocks.iter().filter(|(_, block)| block.channel.as_deref() == Some(channel)) {
            let word = usize::from(block / 64);
            bits.resize(word + 1, 0_u64);
            bits[word] |= 1 << (block % 64);
        }
        (!bits.is_empty()).then_some(Self(bits))
    }

    fn contains(&self, block: BlockId) -> bool {
        self.0.get(usize::from(block / 64)).is_some_and(|word| word >> (block % 64) & 1 == 1)
    }
}

/// What a wish comes down to in one house.
struct Wish<'a> {
    showtime: &'a Showtime,
    house: &'a House,
    quantity: u32,
    category: Option<u16>,
    section: Option<u16>,
    need: Need,
    opened: Option<Opened>,
    /// A bit for each seat that can be part of the answer, once a step has asked for all of them: the first two seldom
    /// look far.
    fitting: OnceCell<Vec<u64>>,
}

/// The best runs of a row for either part of a split.
#[derive(Default)]
struct Parts {
    large: Option<Run>,
    small: Option<Run>,
    large_must: Option<Run>,
    small_must: Option<Run>,
}

/// Two runs in neighbouring rows. The least is the best: of equal distance that of the lowest ids, one by one. With
/// equal first seats that is the one that takes more from the row in front, whose ids are lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Split {
    distance: u64,
    front: u32,
    front_len: Reverse<u32>,
    back: u32,
}

impl<'a> Wish<'a> {
    fn new(showtime: &'a Showtime, quantity: u32, category: Option<u16>) -> Self {
        Self {
            showtime,
            house: showtime.seats.house(),
            quantity,
            category,
            section: None,
            need: Need::Nothing,
            opened: None,
            fitting: OnceCell::new(),
        }
    }

    fn is_free(&self, seat: u32) -> bool {
        let (seats, seat) = (&self.showtime.seats, SeatId(seat));
        match seats.state(seat) {
            SeatState::Available => true,
            SeatState::Blocked => self.opened.as_ref().is_some_and(|opened| opened.contains(seats.block(seat))),
            SeatState::Held | SeatState::Sold => false,
        }
    }

    /// Whether a seat can be part of the answer.
    fn fits(&self, seat: u32) -> bool {
        let index = seat as usize;
        self.is_free(seat)
            && self.category.is_none_or(|category| self.house.categories[index] == category)
            && (self.need != Need::Nothing || self.house.flags[index] & RESERVED == 0)
    }

    /// Word `number` of a stretch: a bit for each seat that can be part of the answer.
    fn fitting_word(&self, stretch: &Stretch, number: u32) -> u64 {
        let word = (stretch.word + number) as usize;
        if let Some(fitting) = self.fitting.get() {
            return fitting[word];
        }
        let is_seat_by_seat = self.opened.is_some()
            || self.category.is_some_and(|category| stretch.category.is_none_or(|all| all != category));
        if !is_seat_by_seat {
            let free = self.showtime.seats.free_word(word);
            return if self.need == Need::Nothing { free & !self.house.reserved[word] } else { free };
        }
        if self.category.is_some_and(|category| stretch.category.is_some_and(|all| all != category)) {
            return 0;
        }
        let from = stretch.first + 64 * number;
        let to = (from + 64).min(stretch.first + stretch.len);
        (from..to).filter(|&seat| self.fits(seat)).fold(0, |bits, seat| bits | 1 << (seat - from))
    }

    /// Whether what must be among the seats is among these, which are side by side.
    fn has_need(&self, from: u32, to: u32) -> bool {
        let flags = &self.house.flags[from as usize..to as usize];
        match self.need {
            Need::Nothing => true,
            Need::Space => flags.iter().any(|flags| flags & SEAT_WHEELCHAIR != 0),
            Need::SpaceAndCompanion => flags.windows(2).any(|pair| is_pair(pair[0], pair[1])),
        }
    }

    /// Stretches in which what must be among the seats is left, the nearest first. None where nothing must be: then all are
    /// as good.
    fn with_need(&self) -> Vec<&Stretch> {
        let (numbers, wanted) = match self.need {
            Need::Nothing => return Vec::new(),
            Need::Space => (&self.house.with_space, &self.house.spaces),
            Need::SpaceAndCompanion => (&self.house.with_pair, &self.house.pairs),
        };
        let has_need = |stretch: &&Stretch| {
            let words = stretch.len.div_ceil(64);
            (0..words).any(|number| {
                let wanted = wanted[(stretch.word + number) as usize];
                if wanted == 0 {
                    return false;
                }
                let fitting = wanted & self.fitting_word(stretch, number);
                if self.need == Need::Space || fitting == 0 {
                    return fitting != 0;
                }
                let next = if number + 1 < words { self.fitting_word(stretch, number + 1) } else { 0 };
                fitting & (self.fitting_word(stretch, number) >> 1 | next << 63) != 0
            })
        };
        let all = numbers.iter().map(|&number| &self.house.by_distance[number as usize]);
        all.filter(|stretch| self.section.is_none_or(|section| stretch.section == section)).filter(has_need).collect()
    }

    /// Looks at every seat once, for steps that look at each stretch many times.
    fn look_at_all(&self) {
        let words = |stretch: &Stretch| 0..stretch.len.div_ceil(64);
        let all = self.house.by_distance.iter();
        // Their bits lie in this order.
        let fitting = all.flat_map(|stretch| words(stretch).map(|number| self.fitting_word(stretch, number))).collect();
        self.fitting.get_or_init(|| fitting);
    }

    /// How many seats of a stretch can be part of the answer, and the most of them side by side.
    fn room_in(&self, stretch: &Stretch) -> (u32, u32) {
        let (mut count, mut longest, mut run) = (0, 0, 0);
        for number in 0..stretch.len.div_ceil(64) {
            let (mut word, mut left) = (self.fitting_word(stretch, number), 64.min(stretch.len - 64 * number));
            count += word.count_ones();
            while left > 0 {
                let ones = word.trailing_ones().min(left);
                run += ones;
                longest = run.max(longest);
                left -= ones;
                word = word.checked_shr(ones).unwrap_or(0);
                if left > 0 {
                    run = 0;
                    let zeros = word.trailing_zeros().min(left);
                    left -= zeros;
                    word = word.checked_shr(zeros).unwrap_or(0);
                }
            }
        }
        (count, longest)
    }

    fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.house.by_distance.iter().filter(|stretch| self.section.is_none_or(|section| stretch.section == section))
    }

    /// The runs of `quantity` fitting seats of a stretch of 64 seats at most: a bit for the first seat of each.
    fn starts(&self, stretch: &Stretch, quantity: u32) -> u64 {
        // Seats whose next `reach` seats fit too; the reach doubles until it is the quantity.
        let mut starts = self.fitting_word(stretch, 0);
        let mut reach = 1;
        while reach < quantity && starts != 0 {
            let step = reach.min(quantity - reach);
            starts &= starts >> step;
            reach += step;
        }
        starts
    }

    /// Calls `found` with the first seat of every run of `quantity` fitting seats of a stretch.
    fn runs(&self, stretch: &Stretch, quantity: u32, mut found: impl FnMut(u32)) {
        if stretch.len < quantity {
            return;
        }
        if stretch.len <= 64 {
            let mut starts = self.starts(stretch, quantity);
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

    /// The best run of `quantity` seats of a stretch: with `spare_alone` one that leaves no free seat alone, with `must`
    /// one that has what must be among the seats.
    fn best_of(&self, stretch: &Stretch, quantity: u32, spare_alone: bool, must: bool) -> Option<Run> {
        self.best_before(None, stretch, quantity, spare_alone, must)
    }

    /// The better of `best` and of the best run of a stretch.
    fn best_before(
        &self,
        mut best: Option<Run>,
        stretch: &Stretch,
        quantity: u32,
        spare_alone: bool,
        must: bool,
    ) -> Option<Run> {
        if stretch.len < quantity {
            return best;
        }
        let run_at = |first: u32| Run { distance: self.house.distance(first, first + quantity), first };
        let is_right = |first: u32| {
            !(spare_alone && self.leaves_alone(stretch, first, first + quantity))
                && (!must || self.has_need(first, first + quantity))
        };
        let Some(valley) = stretch.valley.filter(|_| stretch.len <= 64) else {
            self.runs(stretch, quantity, |first| {
                let run = run_at(first);
                if best.is_none_or(|best| run < best) && is_right(first) {
                    best = Some(run);
                }
            });
            return best;
        };

        let starts = self.starts(stretch, quantity);
        let first_at = |bit: u32| stretch.first + bit;
        // Behind the valley runs only get worse, so the first that is right is the best of them.
        let behind = u64::MAX.checked_shl(valley + 1).unwrap_or(0);
        let mut after = starts & behind;
        while after != 0 {
            let run = run_at(first_at(after.trailing_zeros()));
            if best.is_some_and(|best| run >= best) {
                break;
            }
            if is_right(run.first) {
                best = Some(run);
                break;
            }
            after &= after - 1;
        }
        // Towards the front runs get worse once they end before the valley; of those that are equal the last one is the best.
        let ends_before = (valley + 1).saturating_sub(quantity);
        let mut before = starts & !behind;
        while before != 0 {
            let bit = 63 - before.leading_zeros();
            before ^= 1 << bit;
            let run = run_at(first_at(bit));
            if best.is_some_and(|best| run >= best) {
                if bit < ends_before && best.is_some_and(|best| run.distance > best.distance) {
                    break;
                }
                continue;
            }
            if is_right(run.first) {
                best = Some(run);
            }
        }
        best
    }

    /// Step 1 or 2, by what is remembered of each stretch, where that tells.
    fn remembered(&self, spare_alone: bool) -> Option<Option<Run>> {
        let is_plain = self.need == Need::Nothing && self.opened.is_none();
        let runs = self.showtime.seats.best_runs(self.quantity, spare_alone).filter(|_| is_plain)?;
        let mut best: Option<Run> = None;
        for ((distances, stale), stretches) in runs.chunks().zip(self.house.by_distance.chunks(64)) {
            // Every further stretch is at least as far away: nothing better is to come.
            let nearest = stretches[0].nearest.saturating_mul(u64::from(self.quantity));
            if best.is_some_and(|best| nearest > best.distance) {
                break;
            }
            for ((&distance, stretch), bit) in distances.iter().zip(stretches).zip(0..) {
                let is_stale = stale >> bit & 1 == 1;
                if !is_stale && distance > best.map_or(u64::MAX - 1, |best| best.distance)
                    || self.section.is_some_and(|section| stretch.section != section)
                {
                    continue;
                }
                if is_stale || self.category.is_some() && stretch.category.is_none() {
                    best = self.best_before(best, stretch, self.quantity, spare_alone, false);
                } else if self.category.is_none() || self.category == stretch.category {
                    let run = runs.run(stretch.rank as usize);
                    best = Some(best.map_or(run, |best| best.min(run)));
                }
            }
        }
        Some(best)
    }

    /// Steps 1 and 2: side by side.
    fn together(&self, with_need: &[&Stretch], spare_alone: bool) -> Option<Vec<SeatId>> {
        let seats = |run: Run| (run.first..run.first + self.quantity).map(SeatId).collect();
        if let Some(best) = self.remembered(spare_alone) {
            return best.map(seats);
        }
        match self.need {
            Need::Nothing => self.best_among(self.stretches(), spare_alone),
            _ => self.best_among(with_need.iter().copied(), spare_alone),
        }
        .map(seats)
    }

    /// The best run of these stretches, the nearest of which comes first.
    fn best_among<'b>(&self, stretches: impl Iterator<Item = &'b Stretch>, spare_alone: bool) -> Option<Run> {
        let mut best: Option<Run> = None;
        for stretch in stretches {
            // Every further stretch is at least as far away: nothing better is to come.
            if best.is_some_and(|best| stretch.nearest.saturating_mul(u64::from(self.quantity)) > best.distance) {
                break;
            }
            best = self.best_before(best, stretch, self.quantity, spare_alone, true);
        }
        best
    }

    /// Step 3: two parts in neighbouring rows, the larger as large as can be.
    fn split(&self, with_need: &[&Stretch]) -> Option<Vec<SeatId>> {
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
        self.look_at_all();
        // What must be there is in one of two neighbouring rows: others need not be looked at.
        let mut has_need = vec![self.need == Need::Nothing; rows.len()];
        if self.need != Need::Nothing {
            for stretch in with_need {
                let row = rows.binary_search_by_key(&stretch.row, |row| row.1);
                has_need[row.expect("every stretch lies in a row")] = true;
            }
        }
        let is_looked_at = |index: usize| {
            has_need[index] || index > 0 && has_need[index - 1] || has_need.get(index + 1) == Some(&true)
        };
        // Nothing is to be found of more seats than are side by side anywhere.
        let longest = self.stretches().map(|stretch| self.room_in(stretch).1).max().unwrap_or(0);
        for larger in (self.quantity.div_ceil(2)..self.quantity.min(longest + 1)).rev() {
            let smaller = self.quantity - larger;
            let best_in = |row: &(u16, u32, Vec<&Stretch>), quantity: u32, must: bool| {
                row.2.iter().filter_map(|stretch| self.best_of(stretch, quantity, false, must)).min()
            };
            let parts: Vec<Parts> = rows
                .iter()
                .enumerate()
                .map(|(index, row)| {
                    if !is_looked_at(index) {
                        return Parts::default();
                    }
                    let (large, small) = (best_in(row, larger, false), best_in(row, smaller, false));
                    // What must be there need be in one of the two only, and that one may be worse without it.
                    let (large_must, small_must) = match self.need {
                        Need::Nothing => (large, small),
                        _ if !has_need[index] => (None, None),
                        _ => (best_in(row, larger, true), best_in(row, smaller, true)),
                    };
                    Parts { large, small, large_must, small_must }
                })
                .collect();
            let mut best: Option<Split> = None;
            for (index, pair) in rows.windows(2).enumerate() {
                if pair[0].0 != pair[1].0 || pair[0].1 + 1 != pair[1].1 {
                    continue;
                }
                let (front, back) = (&parts[index], &parts[index + 1]);
                for (front, back, front_len) in [
                    (front.large_must, back.small, larger),
                    (front.large, back.small_must, larger),
                    (front.small_must, back.large, smaller),
                    (front.small, back.large_must, smaller),
                ] {
                    let (Some(front), Some(back)) = (front, back) else { continue };
                    let distance = front.distance + back.distance;
                    let front_len = Reverse(front_len);
                    let split = Split { distance, front: front.first, front_len, back: back.first };
                    if best.is_none_or(|best| split < best) {
                        best = Some(split);
                    }
                }
            }
            if let Some(Split { front, front_len: Reverse(front_len), back, .. }) = best {
                let back_len = self.quantity - front_len;
                return Some((front..front + front_len).chain(back..back + back_len).map(SeatId).collect());
            }
        }
        None
    }

    /// Step 4: anywhere. What must be there first, then whatever is nearest.
    fn scattered(&self, with_need: &[&Stretch]) -> Option<Vec<SeatId>> {
        let must = match self.need {
            Need::Nothing => 0,
            Need::Space => 1,
            Need::SpaceAndCompanion => 2,
        };
        let first = if must > 0 {
            with_need.iter().filter_map(|stretch| self.best_of(stretch, must, false, true)).min()?.first
        } else {
            0
        };
        let first = first..first + must;
        let mut seats: Vec<(bool, u64, u32)> = Vec::new();
        for stretch in self.stretches() {
            for number in 0..stretch.len.div_ceil(64) {
                let mut word = self.fitting_word(stretch, number);
                while word != 0 {
                    let seat = stretch.first + 64 * number + word.trailing_zeros();
                    seats.push((!first.contains(&seat), self.house.distance(seat, seat + 1), seat));
                    word &= word - 1;
                }
            }
        }
        let quantity = self.quantity as usize;
        if seats.len() > quantity {
            seats.select_nth_unstable(quantity);
        }
        (seats.len() >= quantity).then(|| sorted(seats[..quantity].iter().map(|seat| SeatId(seat.2))))
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
                let is_of = |channel| {
                    let block = self.blocks.get(&self.seats.block(seat));
                    block.is_some_and(|block| block.channel.as_deref() == Some(channel))
                };
                channel.is_some_and(is_of)
            }
            SeatState::Held | SeatState::Sold => false,
        }
    }

    /// The category and the section of a wish; refused where there is none of the name.
    pub(crate) fn best_named(&self, best: &BestSeats) -> Result<(Option<u16>, Option<u16>), Refusal> {
        let category = self.category_named("best.category", best.category.as_deref())?;
        let sections = self.seat_map.sections.iter().map(|section| section.name.as_str());
        Ok((category, position_named("best.section", best.section.as_deref(), sections)?))
    }

    /// The category of a name; refused where there is none.
    pub(crate) fn category_named(&self, field: &str, name: Option<&str>) -> Result<Option<u16>, Refusal> {
        position_named(field, name, self.seat_map.categories.iter().map(|category| category.name.as_str()))
    }

    /// Looks at the stretches that changed since the last wish for so many seats, before the next.
    pub(crate) fn remember_best(&mut self, quantity: u32) {
        if (1..=REMEMBERED_MAX).contains(&quantity) {
            for spare_alone in [true, false] {
                let mut runs = self.seats.take_best_runs(quantity, spare_alone);
                let wish = Wish::new(self, quantity, None);
                runs.refresh(|stretch| wish.best_of(&wish.house.by_distance[stretch], quantity, spare_alone, false));
                self.seats.put_best_runs(runs);
            }
        }
    }

    /// Looks at all stretches again.
    pub(crate) fn check_best(&self) -> Result<(), String> {
        for quantity in 1..=REMEMBERED_MAX {
            for spare_alone in [true, false] {
                let Some(runs) = self.seats.best_runs(quantity, spare_alone) else { continue };
                let wish = Wish::new(self, quantity, None);
                runs.check(|stretch| wish.best_of(&wish.house.by_distance[stretch], quantity, spare_alone, false))?;
            }
        }
        let categories = (0..self.seats.counts.len()).map(|category| Some(category as u16));
        for category in std::iter::once(None).chain(categories) {
            if self.free_room(category) != self.count_free_room(category) {
                return Err(format!("of category {category:?} other seats are free than remembered"));
            }
        }
        Ok(())
    }

    /// The best seats for a wish, in order of id.
    pub(crate) fn best_seats(&self, best: &BestSeats, channel: Option<&str>) -> Result<Vec<SeatId>, Refusal> {
        let (category, section) = self.best_named(best)?;
        let need = match (best.accessible, best.companion) {
            (_, true) => Need::SpaceAndCompanion,
            (true, false) => Need::Space,
            (false, false) => Need::Nothing,
        };
        let opened = Opened::by(self, channel);
        let wish = Wish { section, need, opened, ..Wish::new(self, best.quantity, category) };
        let with_need = wish.with_need();
        if need != Need::Nothing && with_need.is_empty() {
            return Err(Refusal::NoSeatsFit);
        }
        let found = wish.together(&with_need, true).or_else(|| wish.together(&with_need, false));
        let found = found.or_else(|| {
            if best.together { None } else { wish.split(&with_need).or_else(|| wish.scattered(&with_need)) }
        });
        found.ok_or(Refusal::NoSeatsFit)
    }

    /// How many seats of a category anybody may have who asks for nothing special, and the most of them side by side.
    pub(crate) fn free_room(&self, category: Option<u16>) -> (u32, u32) {
        self.seats.free_room(category).unwrap_or_else(|| self.count_free_room(category))
    }

    /// Looks at the stretches that changed since what is free of a category was asked for, before it is again.
    pub(crate) fn refresh_free_room(&mut self, category: Option<u16>) {
        let mut room = self.seats.take_free_room(category);
        let wish = Wish::new(self, 1, category);
        room.refresh(|stretch| wish.room_in(&wish.house.by_distance[stretch]));
        self.seats.put_free_room(category, room);
    }

    fn count_free_room(&self, category: Option<u16>) -> (u32, u32) {
        let wish = Wish::new(self, 1, category);
        let rooms = wish.stretches().map(|stretch| wish.room_in(stretch));
        rooms.fold((0, 0), |(count, longest), (more, run)| (count + more, longest.max(run)))
    }

    /// Seats free to a buyer with this channel that a pick would leave alone: both neighbours taken or missing, one of
    /// them by this pick. In order.
    pub(crate) fn left_alone(&self, pick: &[SeatId], channel: Option<&str>) -> Vec<SeatId> {
        let is_open = |stretch: &Stretch, seat: Option<u32>| {
            seat.is_some_and(|seat| {
                stretch.seats().contains(&seat)
                    && self.is_free(SeatId(seat), channel)
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

    /// Whether any pick of so many seats free to a buyer with this channel leaves none alone.
    pub(crate) fn can_spare_alone(&self, quantity: u32, channel: Option<&str>) -> bool {
        // From a run of L free seats any number can be taken without leaving one alone, but L - 1. Bit n: n is possible.
        let all: u128 = (1 << (quantity + 1)) - 1;
        let mut possible: u128 = 1;
        for stretch in &self.seats.house().stretches {
            let mut run = 0;
            for seat in stretch.first..=stretch.first + stretch.len {
                let is_free = stretch.seats().contains(&seat) && self.is_free(SeatId(seat), channel);
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

/// Where a name stands among others; nothing when none is asked for.
fn position_named<'a>(
    field: &str,
    name: Option<&str>,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<Option<u16>, Refusal> {
    let Some(name) = name else { return Ok(None) };
    match names.position(|other| other == name) {
        Some(position) => Ok(Some(u16::try_from(position).expect("bounded by SeatMap::check"))),
        None => Err(Refusal::out_of_bounds(field, "there is none of this name")),
    }
}

//! What never changes of a house, laid out for searching: stretches of adjacent seats, and how far each seat is from
//! where one sees best.

use crate::{SEAT_COMPANION, SEAT_GAP_AFTER, SEAT_WHEELCHAIR, SeatId, SeatMap};

/// Seats side by side without an aisle between: a row, or a part of one. Its seats have consecutive ids.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    /// First seat.
    pub(crate) first: u32,
    /// How many seats.
    pub(crate) len: u32,
    /// Where its bits begin, in words: no two stretches share a word.
    pub(crate) word: u32,
    /// How many stretches are nearer.
    pub(crate) rank: u32,
    /// Its section, by position in the map.
    pub(crate) section: u16,
    /// Its row, counted over the whole map.
    pub(crate) row: u32,
    /// The category of all its seats, if they share one.
    pub(crate) category: Option<u16>,
    /// Distance of its nearest seat.
    pub(crate) nearest: u64,
    /// That seat, counted from the first, if along the stretch each seat is at least as far away as those between it and
    /// that one: so it is in all straight rows. Then the same holds of runs of seats of one length.
    pub(crate) valley: Option<u32>,
}

impl Stretch {
    /// Where the bit of one of its seats is: its word and its place there.
    pub(crate) fn bit(&self, seat: SeatId) -> (usize, u32) {
        let offset = seat.0 - self.first;
        ((self.word + offset / 64) as usize, offset % 64)
    }

    /// Ids of its seats.
    pub(crate) fn seats(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.len
    }
}

/// The layout of a house for searching.
#[derive(Debug)]
pub(crate) struct House {
    /// In order of seat id.
    pub(crate) stretches: Vec<Stretch>,
    /// The same, the nearest first, then by seat id.
    pub(crate) by_distance: Vec<Stretch>,
    /// Stretch of each seat.
    stretch_of: Vec<u32>,
    /// Category of each seat.
    pub(crate) categories: Vec<u16>,
    /// Flags of each seat.
    pub(crate) flags: Vec<u8>,
    /// Sums of distances: seats `a..b` are `sums[b] - sums[a]` away together.
    sums: Vec<u64>,
    /// Words of a bit map with one bit a seat.
    pub(crate) words: usize,
    /// Seats that a buyer without a wheelchair leaves alone, as such a bit map.
    pub(crate) reserved: Vec<u64>,
    /// Spaces for wheelchairs, as such a bit map.
    pub(crate) spaces: Vec<u64>,
    /// The first seat of each two side by side of which one is a space and the other a companion's.
    pub(crate) pairs: Vec<u64>,
    /// Stretches that have a space, as they stand in `by_distance`.
    pub(crate) with_space: Vec<u32>,
    /// Those that have a space beside a companion seat.
    pub(crate) with_pair: Vec<u32>,
}

/// Seats that a buyer without a wheelchair leaves alone.
pub(crate) const RESERVED: u8 = SEAT_WHEELCHAIR | SEAT_COMPANION;

impl House {
    pub(crate) fn new(map: &SeatMap) -> Self {
        let (focus_x, focus_y) = focus(map);
        let distance = |x: i32, y: i32| {
            let (dx, dy) = (i64::from(x).abs_diff(focus_x), i64::from(y).abs_diff(focus_y));
            (dx * dx + dy * dy).isqrt()
        };
        let count = map.seat_count();
        let mut house = Self {
            stretches: Vec::new(),
            by_distance: Vec::new(),
            stretch_of: Vec::with_capacity(count),
            categories: Vec::with_capacity(count),
            flags: Vec::with_capacity(count),
            sums: Vec::with_capacity(count + 1),
            words: 0,
            reserved: Vec::new(),
            spaces: Vec::new(),
            pairs: Vec::new(),
            with_space: Vec::new(),
            with_pair: Vec::new(),
        };
        house.sums.push(0);
        let (mut seat, mut row_number, mut sum) = (0, 0, 0);
        for (position, section) in map.sections.iter().enumerate() {
            let section_number = u16::try_from(position).expect("bounded by SeatMap::check");
            for row in &section.rows {
                let parts = row.seats.split_inclusive(|seat| seat.flags & SEAT_GAP_AFTER != 0);
                for part in parts {
                    let number = house.stretches.len() as u32;
                    let away: Vec<u64> = part.iter().map(|seat| distance(seat.x, seat.y)).collect();
                    let (nearest, valley) = valley(&away);
                    for (seat, away) in part.iter().zip(away) {
                        sum += away;
                        house.sums.push(sum);
                        house.stretch_of.push(number);
                        house.categories.push(seat.category.0);
                        house.flags.push(seat.flags);
                    }
                    let (first, len, word, rank) = (seat, part.len() as u32, 0, 0);
                    let (section, row) = (section_number, row_number);
                    let category = part[0].category.0;
                    let category = part.iter().all(|seat| seat.category.0 == category).then_some(category);
                    house.stretches.push(Stretch { first, len, word, rank, section, row, category, nearest, valley });
                    seat += len;
                }
                row_number += 1;
            }
        }
        let mut order: Vec<u32> = (0..house.stretches.len() as u32).collect();
        order.sort_by_key(|&number| (house.stretches[number as usize].nearest, number));
        // Bits lie in the order in which the search walks.
        for (number, rank) in order.into_iter().zip(0..) {
            let stretch = &mut house.stretches[number as usize];
            stretch.rank = rank;
            stretch.word = house.words as u32;
            house.words += stretch.len.div_ceil(64) as usize;
            house.by_distance.push(stretch.clone());
            let flags: Vec<u8> = stretch.seats().map(|seat| house.flags[seat as usize]).collect();
            let bits = |is: &dyn Fn(usize) -> bool| {
                let words = (0..flags.len()).step_by(64).map(|from| from..flags.len().min(from + 64));
                let word = |seats: std::ops::Range<usize>| {
                    seats.clone().filter(|&seat| is(seat)).fold(0, |bits: u64, seat| bits | 1 << (seat - seats.start))
                };
                words.map(word).collect::<Vec<u64>>()
            };
            let spaces = bits(&|seat| flags[seat] & SEAT_WHEELCHAIR != 0);
            let pairs = bits(&|seat| flags.get(seat + 1).is_some_and(|&next| is_pair(flags[seat], next)));
            house.with_space.extend(spaces.iter().any(|&word| word != 0).then_some(rank));
            house.with_pair.extend(pairs.iter().any(|&word| word != 0).then_some(rank));
            house.reserved.extend(bits(&|seat| flags[seat] & RESERVED != 0));
            house.spaces.extend(spaces);
            house.pairs.extend(pairs);
        }
        house
    }

    /// How many seats.
    pub(crate) fn len(&self) -> usize {
        self.categories.len()
    }

    /// The stretch in which a seat lies.
    pub(crate) fn stretch(&self, seat: SeatId) -> &Stretch {
        &self.stretches[self.stretch_of[seat.0 as usize] as usize]
    }

    /// Where the bit of a seat is: its word and its place there.
    pub(crate) fn bit(&self, seat: SeatId) -> (usize, u32) {
        self.stretch(seat).bit(seat)
    }

    /// How far seats `from..to` are away, all together.
    pub(crate) fn distance(&self, from: u32, to: u32) -> u64 {
        self.sums[to as usize] - self.sums[from as usize]
    }
}

/// Whether of two seats side by side one is a space for a wheelchair and the other for a companion.
pub(crate) fn is_pair(one: u8, other: u8) -> bool {
    let is = |space: u8, seat: u8| space & SEAT_WHEELCHAIR != 0 && seat & SEAT_COMPANION != 0;
    is(one, other) || is(other, one)
}

/// The least distance, and where it is if from there on all grow or stay in both directions.
fn valley(away: &[u64]) -> (u64, Option<u32>) {
    let (at, &nearest) = away.iter().enumerate().min_by_key(|(_, away)| **away).expect("a stretch has a seat");
    let (before, after) = away.split_at(at);
    let is_valley = before.is_sorted_by(|near, far| near >= far) && after.is_sorted();
    (nearest, is_valley.then_some(at as u32))
}

/// Where one sees best: the middle of the house's width, at its front.
fn focus(map: &SeatMap) -> (i64, i64) {
    let xs = map.seats().map(|seat| i64::from(seat.x));
    let (min_x, max_x) = xs.fold((i64::MAX, i64::MIN), |(min, max), x| (min.min(x), max.max(x)));
    let front = map.seats().map(|seat| i64::from(seat.y)).min();
    match front {
        Some(front) => (min_x + (max_x - min_x) / 2, front),
        None => (0, 0),
    }
}

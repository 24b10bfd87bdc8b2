//! Seats and who sits beside whom; the best of them and those left alone, by looking at every candidate.

use crate::*;

/// A seat and everything that never changes of it.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    section: usize,
    /// Counted over the whole house.
    row: usize,
    x: i64,
    y: i64,
    pub(super) category: u16,
    pub(super) flags: u8,
    /// Whether the next seat is beside it.
    has_next: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct House {
    pub(crate) spots: Vec<Spot>,
}

/// What must be among the seats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Need {
    Nothing,
    Space,
    SpaceAndCompanion,
}

/// A wish for the best seats, by numbers.
pub(super) struct Wanted {
    pub(super) quantity: u32,
    pub(super) category: Option<u16>,
    pub(super) section: Option<usize>,
    pub(super) need: Need,
    pub(super) together: bool,
}

impl House {
    pub(super) fn new(map: &SeatMap) -> Self {
        let mut spots: Vec<Spot> = Vec::new();
        let mut row_number = 0;
        for (section, section_number) in map.sections.iter().zip(0..) {
            for row in &section.rows {
                for seat in &row.seats {
                    let (x, y, flags) = (i64::from(seat.x), i64::from(seat.y), seat.flags);
                    let (category, has_next) = (seat.category.0, flags & SEAT_GAP_AFTER == 0);
                    spots.push(Spot { section: section_number, row: row_number, x, y, category, flags, has_next });
                }
                spots.last_mut().unwrap().has_next = false;
                row_number += 1;
            }
        }
        Self { spots }
    }

    fn ids(&self) -> std::ops::Range<u32> {
        0..self.spots.len() as u32
    }

    /// The seats beside a seat.
    fn neighbours(&self, seat: u32) -> Vec<u32> {
        let before = seat.checked_sub(1).filter(|before| self.spots[*before as usize].has_next);
        let after = self.spots[seat as usize].has_next.then_some(seat + 1);
        before.into_iter().chain(after).collect()
    }

    /// Open seats that would have no open neighbour after this pick, and have one in it.
    pub(super) fn alone_after(&self, pick: &[u32], is_open: &dyn Fn(u32) -> bool) -> Vec<SeatId> {
        let stays_open = |seat: u32| is_open(seat) && !pick.contains(&seat);
        let is_alone = |seat: &u32| {
            let neighbours = self.neighbours(*seat);
            stays_open(*seat)
                && neighbours.iter().any(|other| pick.contains(other))
                && !neighbours.iter().any(|other| stays_open(*other))
        };
        self.ids().filter(is_alone).map(SeatId).collect()
    }

    /// Whether any pick of so many open seats leaves none alone: all of them are tried.
    pub(super) fn can_spare(&self, quantity: usize, is_open: &dyn Fn(u32) -> bool) -> bool {
        let open: Vec<u32> = self.ids().filter(|seat| is_open(*seat)).collect();
        self.can_spare_from(&mut Vec::new(), &open, quantity, is_open)
    }

    fn can_spare_from(
        &self,
        pick: &mut Vec<u32>,
        rest: &[u32],
        quantity: usize,
        is_open: &dyn Fn(u32) -> bool,
    ) -> bool {
        if pick.len() == quantity {
            return self.alone_after(pick, is_open).is_empty();
        }
        (0..rest.len()).any(|next| {
            pick.push(rest[next]);
            let can = self.can_spare_from(pick, &rest[next + 1..], quantity, is_open);
            pick.pop();
            can
        })
    }

    /// How far a seat is from the middle of the front.
    fn distance(&self, seat: u32) -> u64 {
        let xs = || self.spots.iter().map(|spot| spot.x);
        let (least, most) = (xs().min().unwrap(), xs().max().unwrap());
        let front = self.spots.iter().map(|spot| spot.y).min().unwrap();
        let spot = &self.spots[seat as usize];
        let (dx, dy) = (spot.x.abs_diff(least + (most - least) / 2), spot.y.abs_diff(front));
        (dx * dx + dy * dy).isqrt()
    }

    /// Whether what must be there is among these seats.
    fn serves(&self, seats: &[u32], need: Need) -> bool {
        let has = |seat: &u32, flag: u8| self.spots[*seat as usize].flags & flag != 0;
        let beside = |seat: &u32| self.neighbours(*seat).into_iter().filter(|other| seats.contains(other));
        let spaces: Vec<&u32> = seats.iter().filter(|seat| has(seat, SEAT_WHEELCHAIR)).collect();
        match need {
            Need::Nothing => true,
            Need::Space => !spaces.is_empty(),
            Need::SpaceAndCompanion => {
                spaces.into_iter().any(|space| beside(space).any(|seat| has(&seat, SEAT_COMPANION)))
            }
        }
    }

    /// The best seats for a wish.
    pub(super) fn best(&self, wanted: &Wanted, is_open: &dyn Fn(u32) -> bool) -> Option<Vec<SeatId>> {
        let &Wanted { quantity, category, section, need, together } = wanted;
        let fits = |seat: u32| {
            let spot = &self.spots[seat as usize];
            is_open(seat)
                && category.is_none_or(|category| category == spot.category)
                && section.is_none_or(|section| section == spot.section)
                && (need != Need::Nothing || spot.flags & (SEAT_WHEELCHAIR | SEAT_COMPANION) == 0)
        };
        // Fitting seats side by side, the nearest first.
        let runs = |quantity: u32| {
            let mut runs: Vec<(u64, Vec<u32>)> = Vec::new();
            for first in 0..(self.spots.len() as u32 + 1).saturating_sub(quantity) {
                let seats: Vec<u32> = (first..first + quantity).collect();
                let is_run = seats.windows(2).all(|pair| self.spots[pair[0] as usize].has_next);
                if is_run && seats.iter().all(|seat| fits(*seat)) {
                    runs.push((seats.iter().map(|seat| self.distance(*seat)).sum(), seats));
                }
            }
            runs.sort();
            runs
        };
        let ids = |seats: &[u32]| Some(seats.iter().copied().map(SeatId).collect());
        let whole: Vec<_> = runs(quantity).into_iter().filter(|(_, seats)| self.serves(seats, need)).collect();
        let kind = whole.iter().find(|(_, seats)| self.alone_after(seats, is_open).is_empty());
        if let Some((_, seats)) = kind.or(whole.first()) {
            return ids(seats);
        }
        if together {
            return None;
        }
        // In two parts, in neighbouring rows of a section; what must be there is in one of them.
        for larger in (quantity.div_ceil(2)..quantity).rev() {
            let mut splits = Vec::new();
            for large in runs(larger) {
                for small in runs(quantity - larger) {
                    let spot = |seats: &[u32]| &self.spots[seats[0] as usize];
                    let (a, b) = (spot(&large.1), spot(&small.1));
                    let are_neighbours = a.section == b.section && a.row.abs_diff(b.row) == 1;
                    if are_neighbours && (self.serves(&large.1, need) || self.serves(&small.1, need)) {
                        let mut seats = [large.1.clone(), small.1].concat();
                        seats.sort();
                        splits.push((large.0 + small.0, seats));
                    }
                }
            }
            if let Some((_, seats)) = splits.into_iter().min() {
                return ids(&seats);
            }
        }
        // Anywhere: what must be there, then whatever is nearest.
        let mut picked = match need {
            Need::Nothing => Vec::new(),
            Need::Space => runs(1).into_iter().find(|(_, seats)| self.serves(seats, need))?.1,
            Need::SpaceAndCompanion => runs(2).into_iter().find(|(_, seats)| self.serves(seats, need))?.1,
        };
        let nearest = runs(1).into_iter().map(|(_, seats)| seats[0]);
        let others: Vec<u32> = nearest.filter(|seat| !picked.contains(seat)).collect();
        picked.extend(others.into_iter().take(quantity as usize - picked.len()));
        picked.sort();
        if picked.len() == quantity as usize { ids(&picked) } else { None }
    }
}

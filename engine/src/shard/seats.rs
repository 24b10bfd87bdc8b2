//! The seats of a showtime, packed in pages, and what of each category is left.
//!
//! ```text
//!   available ──hold──▶ held ──sell──▶ sold        A block lies over an available seat; held through
//!       ▲                 │              │         its channel, the block comes back with the seat.
//!       └─────release─────┴───take back──┘
//! ```

use super::best_runs::BestRuns;
use super::house::House;
use super::rooms::FreeRoom;
use crate::row::{CorruptRow, ROW_VERSION, Row, RowWriter, row_key};
use crate::{SeatId, SeatMap, SeatState};
use std::collections::BTreeMap;

/// Seats a page.
pub(crate) const PAGE_LEN: usize = 256;

/// Number of a block of its showtime; 0 means none.
pub(crate) type BlockId = u16;

/// The most blocks of a showtime: what fits beside the state.
pub(crate) const BLOCKS_MAX: usize = (1 << 14) - 1;

/// A seat: its state in the low two bits (available, held, sold), its block above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seat(u16);

impl Seat {
    const AVAILABLE: u16 = 0;
    const HELD: u16 = 1;
    const SOLD: u16 = 2;

    fn raw(self) -> u16 {
        self.0 & 3
    }

    fn block(self) -> BlockId {
        self.0 >> 2
    }

    fn with_raw(self, raw: u16) -> Self {
        Self(self.0 & !3 | raw)
    }

    fn state(self) -> SeatState {
        match (self.raw(), self.block()) {
            (Self::AVAILABLE, 0) => SeatState::Available,
            (Self::AVAILABLE, _) => SeatState::Blocked,
            (Self::HELD, _) => SeatState::Held,
            _ => SeatState::Sold,
        }
    }
}

/// How many seats and places are in each state. Indexed by [`SeatState`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts([u32; 4]);

impl Counts {
    pub(crate) fn of(&self, state: SeatState) -> u32 {
        self.0[state as usize]
    }

    pub(crate) fn add(&mut self, state: SeatState, count: u32) {
        self.0[state as usize] += count;
    }

    pub(crate) fn move_some(&mut self, from: SeatState, to: SeatState, count: u32) {
        self.0[from as usize] -= count;
        self.0[to as usize] += count;
    }
}

/// The seats of a showtime.
#[derive(Debug)]
pub(crate) struct Seats {
    seats: Vec<Seat>,
    house: House,
    /// One bit a seat: whether it is available. See [`House::bit`].
    free: Vec<u64>,
    /// Seats and places by category and state.
    pub(crate) counts: Vec<Counts>,
    dirty: PageSet,
    /// The best runs of each quantity that was asked for.
    best_runs: Vec<BestRuns>,
    /// What is free at all, and behind it of each category, where that was asked for.
    rooms: Vec<Option<Box<FreeRoom>>>,
}

impl Seats {
    /// Every seat and place of the house, available.
    pub(crate) fn new(map: &SeatMap) -> Self {
        let house = House::new(map);
        let mut counts = vec![Counts::default(); map.categories.len()];
        for &category in &house.categories {
            counts[usize::from(category)].add(SeatState::Available, 1);
        }
        for area in &map.areas {
            counts[usize::from(area.category.0)].add(SeatState::Available, area.capacity);
        }
        let seats = vec![Seat::default(); house.len()];
        let dirty = PageSet::full(seats.len().div_ceil(PAGE_LEN));
        let mut free = vec![0; house.words];
        for seat in (0..seats.len() as u32).map(SeatId) {
            let (word, bit) = house.bit(seat);
            free[word] |= 1 << bit;
        }
        let rooms = std::iter::repeat_with(|| None).take(1 + counts.len()).collect();
        Self { seats, house, free, counts, dirty, best_runs: Vec::new(), rooms }
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn contains(&self, seat: SeatId) -> bool {
        (seat.0 as usize) < self.seats.len()
    }

    /// The category of a seat.
    pub(crate) fn category(&self, seat: SeatId) -> usize {
        usize::from(self.house.categories[seat.0 as usize])
    }

    /// The state of a seat as everybody sees it.
    pub(crate) fn state(&self, seat: SeatId) -> SeatState {
        self.seats[seat.0 as usize].state()
    }

    /// The block over a seat, 0 for none.
    pub(crate) fn block(&self, seat: SeatId) -> BlockId {
        self.seats[seat.0 as usize].block()
    }

    /// Whether nobody holds or has bought it; a block may lie over it.
    pub(crate) fn is_untaken(&self, seat: SeatId) -> bool {
        self.seats[seat.0 as usize].raw() == Seat::AVAILABLE
    }

    fn change(&mut self, seat: SeatId, from: u16, change: impl FnOnce(Seat) -> Seat) {
        let index = seat.0 as usize;
        let before = self.seats[index];
        assert_eq!(before.raw(), from, "seat {} is {}", seat.0, before.state());
        self.set(index, change(before));
        self.dirty.insert(index / PAGE_LEN);
    }

    /// Sets a seat and all that is counted of it.
    fn set(&mut self, index: usize, after: Seat) {
        let before = std::mem::replace(&mut self.seats[index], after);
        self.counts[usize::from(self.house.categories[index])].move_some(before.state(), after.state(), 1);
        let stretch = self.house.stretch(SeatId(index as u32));
        let (word, bit) = stretch.bit(SeatId(index as u32));
        self.best_runs.iter_mut().for_each(|runs| runs.forget(stretch.rank as usize));
        for room in [0, 1 + usize::from(self.house.categories[index])] {
            if let Some(room) = &mut self.rooms[room] {
                room.forget(stretch.rank as usize);
            }
        }
        let is_free = after.state() == SeatState::Available;
        self.free[word] = self.free[word] & !(1 << bit) | u64::from(is_free) << bit;
    }

    pub(crate) fn house(&self) -> &House {
        &self.house
    }

    /// A word of the bit map of available seats.
    pub(crate) fn free_word(&self, word: usize) -> u64 {
        self.free[word]
    }

    /// The best runs of so many seats, if they were asked for before.
    pub(super) fn best_runs(&self, quantity: u32, spare_alone: bool) -> Option<&BestRuns> {
        self.best_runs.iter().find(|runs| (runs.quantity, runs.spare_alone) == (quantity, spare_alone))
    }

    /// Takes the best runs of so many seats out, to be put back up to date.
    pub(super) fn take_best_runs(&mut self, quantity: u32, spare_alone: bool) -> BestRuns {
        let same = |runs: &BestRuns| (runs.quantity, runs.spare_alone) == (quantity, spare_alone);
        match self.best_runs.iter().position(same) {
            Some(index) => self.best_runs.swap_remove(index),
            None => BestRuns::new(quantity, spare_alone, self.house.by_distance.len()),
        }
    }

    pub(super) fn put_best_runs(&mut self, runs: BestRuns) {
        self.best_runs.push(runs);
    }

    /// What is free of a category, or of all, as far as it is known.
    pub(super) fn free_room(&self, category: Option<u16>) -> Option<(u32, u32)> {
        self.rooms[room_of(category)].as_ref()?.get()
    }

    /// Takes what is free of a category, or of all, out, to be put back up to date.
    pub(super) fn take_free_room(&mut self, category: Option<u16>) -> Box<FreeRoom> {
        let room = self.rooms[room_of(category)].take();
        room.unwrap_or_else(|| Box::new(FreeRoom::new(self.house.by_distance.len())))
    }

    pub(super) fn put_free_room(&mut self, category: Option<u16>, room: Box<FreeRoom>) {
        self.rooms[room_of(category)] = Some(room);
    }

    /// Recounts the bit map.
    pub(crate) fn check_free(&self) -> Result<(), String> {
        for seat in (0..self.seats.len() as u32).map(SeatId) {
            let (word, bit) = self.house.bit(seat);
            if (self.free[word] >> bit & 1 == 1) != (self.state(seat) == SeatState::Available) {
                return Err(format!("the bit of seat {} is wrong", seat.0));
            }
        }
        Ok(())
    }

    /// The caller has decided. A seat that is taken here is our bug, not the buyer's.
    pub(crate) fn hold(&mut self, seat: SeatId) {
        self.change(seat, Seat::AVAILABLE, |seat| seat.with_raw(Seat::HELD));
    }

    /// Gives a held seat back.
    pub(crate) fn release(&mut self, seat: SeatId) {
        self.change(seat, Seat::HELD, |seat| seat.with_raw(Seat::AVAILABLE));
    }

    /// Sells a held seat. Its block, if it had one, is used up.
    pub(crate) fn sell(&mut self, seat: SeatId) {
        self.change(seat, Seat::HELD, |_| Seat(Seat::SOLD));
    }

    /// Takes a sold seat back.
    pub(crate) fn take_back(&mut self, seat: SeatId) {
        self.change(seat, Seat::SOLD, |_| Seat(Seat::AVAILABLE));
    }

    /// Lays a block over an untaken seat.
    pub(crate) fn set_block(&mut self, seat: SeatId, block: BlockId) {
        self.change(seat, Seat::AVAILABLE, |_| Seat(block << 2));
    }

    /// Lifts the block of a seat, which may be held through its channel.
    pub(crate) fn lift_block(&mut self, seat: SeatId) {
        let raw = self.seats[seat.0 as usize].raw();
        self.change(seat, raw, |_| Seat(raw));
    }

    /// One byte a seat, see [`SeatsView`](crate::SeatsView).
    pub(crate) fn states(&self) -> Vec<u8> {
        self.seats.iter().map(|seat| seat.state() as u8).collect()
    }

    /// Blocks that lie over some seat, and over how many.
    pub(crate) fn blocks_in_use(&self) -> BTreeMap<BlockId, u32> {
        let mut blocks = BTreeMap::new();
        for block in self.seats.iter().map(|seat| seat.block()).filter(|&block| block != 0) {
            *blocks.entry(block).or_insert(0) += 1;
        }
        blocks
    }

    fn page_row(&self, page: u64) -> Vec<u8> {
        let from = page as usize * PAGE_LEN;
        let seats = &self.seats[from..self.seats.len().min(from + PAGE_LEN)];
        let mut value = Vec::with_capacity(1 + 2 * seats.len());
        value.push(ROW_VERSION);
        seats.iter().for_each(|seat| value.extend_from_slice(&seat.0.to_le_bytes()));
        value
    }

    pub(crate) fn write_all(&self, table: u8, showtime: u64, rows: &mut RowWriter) {
        for page in 0..self.seats.len().div_ceil(PAGE_LEN) as u64 {
            rows.put(row_key(table, &[showtime, page]), self.page_row(page));
        }
    }

    pub(crate) fn write_dirty(&mut self, table: u8, showtime: u64, rows: &mut RowWriter) {
        for page in self.dirty.take() {
            rows.put(row_key(table, &[showtime, page]), self.page_row(page));
        }
    }

    /// Takes in a page as it was written.
    pub(crate) fn load_page(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        let len = self.seats.len();
        let from = usize::try_from(page).ok().and_then(|page| page.checked_mul(PAGE_LEN)).filter(|&from| from < len);
        let from = from.ok_or_else(|| row.corrupt("the house has no such page"))?;
        let (words, rest) = row.payload()?.as_chunks::<2>();
        if words.len() != (len - from).min(PAGE_LEN) || !rest.is_empty() {
            return Err(row.corrupt("the page has another number of seats"));
        }
        for (index, word) in words.iter().enumerate() {
            let seat = Seat(u16::from_le_bytes(*word));
            if seat.raw() == 3 {
                return Err(row.corrupt("a seat in no known state"));
            }
            self.set(from + index, seat);
        }
        self.dirty.remove(page as usize);
        Ok(())
    }

    /// Whether every page was loaded.
    pub(crate) fn is_complete(&self) -> bool {
        self.dirty.is_empty()
    }
}

/// Where it is known what is free of a category, or of all.
fn room_of(category: Option<u16>) -> usize {
    category.map_or(0, |category| 1 + usize::from(category))
}

/// Numbers of pages, one bit each: a seat changes with nearly every command, and its page is marked with it.
#[derive(Debug)]
struct PageSet(Vec<u64>);

impl PageSet {
    /// The first `count` pages.
    fn full(count: usize) -> Self {
        let mut set = Self(vec![0; count.div_ceil(64)]);
        (0..count).for_each(|page| set.insert(page));
        set
    }

    fn insert(&mut self, page: usize) {
        self.0[page / 64] |= 1 << (page % 64);
    }

    fn remove(&mut self, page: usize) {
        self.0[page / 64] &= !(1 << (page % 64));
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Empties the set; its pages in order.
    fn take(&mut self) -> Vec<u64> {
        let mut pages = Vec::new();
        for (word, first) in self.0.iter_mut().zip((0..).step_by(64)) {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                pages.push(first + u64::from(bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
        pages
    }
}

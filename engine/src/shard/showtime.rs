//! One showtime on sale: its settings, its house, its line, and who has what.

use super::line::{Line, LineHead, LineTables};
use super::seats::{BlockId, Seats};
use super::waitlist::Waitlist;
use crate::row::{CorruptRow, Row, RowWriter, row_key, row_value};
use crate::{
    AreaCounts, CategoryCounts, CreateShowtime, DrawBundle, HoldId, Method, Money, OrderId, OrganisationId, Places,
    Sale, SeatId, SeatMap, SeatState, ShowtimeId, Timestamp, UserId, codec,
};
use foldhash::quality::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Settings, prices, secret: what changes only by an organiser's command.
pub(super) const TABLE_SETTINGS: u8 = 0x10;
/// The seat map in pieces.
pub(super) const TABLE_SEAT_MAP: u8 = 0x11;
/// Chain, line head: what changes all the time and is small.
pub(super) const TABLE_PROGRESS: u8 = 0x12;
/// Pages of seats.
pub(super) const TABLE_SEATS: u8 = 0x13;
/// Areas.
pub(super) const TABLE_AREAS: u8 = 0x14;
/// Blocks.
pub(super) const TABLE_BLOCKS: u8 = 0x15;
/// When more is offered to a waitlist: only of showtimes where not all was offered that is free.
pub(super) const TABLE_OFFERS: u8 = 0x16;
/// Pages of tickets.
pub(super) const TABLE_TICKETS: u8 = 0x20;
/// Pages of segments.
pub(super) const TABLE_SEGMENTS: u8 = 0x21;

/// Pages of roots over pages of entrants.
pub(super) const TABLE_ROOTS: u8 = 0x22;

/// Where the line is stored.
const LINE_TABLES: LineTables = LineTables { tickets: TABLE_TICKETS, segments: TABLE_SEGMENTS, roots: TABLE_ROOTS };

/// Bytes of one piece of a seat map.
const SEAT_MAP_PIECE_LEN: usize = 32 << 10;

/// What one buyer has in the showtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Buyer {
    /// Seats and places held and bought.
    pub(crate) taken: u32,
    /// Live holds, in order.
    pub(crate) holds: BuyerHolds,
    /// Orders, in order.
    pub(crate) orders: SmallVec<[OrderId; 2]>,
}

/// Live holds of one buyer, in order. Nearly all have one, which takes no memory of its own; who has thousands gives each
/// back without a look at the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BuyerHolds {
    first: Option<HoldId>,
    rest: BTreeSet<HoldId>,
}

impl BuyerHolds {
    /// Adds the hold made last: no other was made after it.
    pub(crate) fn push(&mut self, hold: HoldId) {
        match self.first {
            None => self.first = Some(hold),
            Some(_) => drop(self.rest.insert(hold)),
        }
    }

    pub(crate) fn remove(&mut self, hold: HoldId) {
        if self.first == Some(hold) {
            self.first = self.rest.pop_first();
        } else {
            self.rest.remove(&hold);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = HoldId> {
        self.first.into_iter().chain(self.rest.iter().copied())
    }
}

/// Seats kept back together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) reason: String,
    pub(crate) channel: Option<String>,
    /// Seats it lies over, those held through its channel included.
    pub(crate) seats: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Settings {
    organisation: OrganisationId,
    prices: Vec<Money>,
    sale: Sale,
    draw_secret: [u8; 32],
    message: Option<String>,
    /// What the planned round of public randomness gave.
    beacon: Option<Vec<u8>>,
    /// SHA-256 of the command that created it.
    created_by: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Progress {
    chain: [u8; 32],
    updated_at: Timestamp,
    line: LineHead,
}

/// One showtime on sale.
#[derive(Debug)]
pub(crate) struct Showtime {
    pub(crate) id: ShowtimeId,
    settings: Settings,
    pub(crate) seat_map: Arc<SeatMap>,
    pub(crate) seats: Seats,
    pub(crate) areas: Vec<AreaCounts>,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    pub(crate) line: Line,
    pub(crate) chain: [u8; 32],
    pub(crate) updated_at: Timestamp,
    /// Only looked up, never walked.
    pub(crate) buyers: HashMap<UserId, Buyer, FixedState>,
    pub(super) waitlist: Waitlist,
    /// When the next step of admission is due, or of ending the waitlist, as it stands among the deadlines.
    pub(crate) step_due: Option<Timestamp>,
    /// When more is offered to the waitlist, while not all is offered that is free.
    offers_due: Option<Timestamp>,
    offers_dirty: bool,
    is_new: bool,
    settings_dirty: bool,
    areas_dirty: bool,
    blocks_dirty: bool,
    progress_dirty: bool,
}

/// SHA-256 of a command that creates a showtime: tells a repetition from another showtime under the same id.
pub(crate) fn content_hash(ask: &CreateShowtime) -> [u8; 32] {
    Sha256::digest(codec::encode(ask)).into()
}

impl Showtime {
    /// A new showtime. The caller has checked every bound.
    pub(crate) fn new(ask: &CreateShowtime) -> Self {
        let settings = Settings {
            organisation: ask.organisation,
            prices: ask.prices.clone(),
            sale: ask.sale.clone(),
            draw_secret: ask.draw_secret,
            message: None,
            beacon: None,
            created_by: content_hash(ask),
        };
        Self { is_new: true, ..Self::empty(ask.showtime, settings, ask.seat_map.clone()) }
    }

    fn empty(id: ShowtimeId, settings: Settings, seat_map: Arc<SeatMap>) -> Self {
        let areas = seat_map.areas.iter().map(|area| AreaCounts { capacity: area.capacity, held: 0, sold: 0 });
        Self {
            id,
            settings,
            seats: Seats::new(&seat_map),
            areas: areas.collect(),
            seat_map,
            blocks: BTreeMap::new(),
            line: Line::new(),
            chain: [0; 32],
            updated_at: Timestamp::default(),
            buyers: HashMap::with_hasher(crate::lookup::hasher(0x6275_7965)),
            waitlist: Waitlist::default(),
            step_due: None,
            offers_due: None,
            offers_dirty: false,
            is_new: false,
            settings_dirty: true,
            areas_dirty: true,
            blocks_dirty: true,
            progress_dirty: true,
        }
    }

    pub(crate) fn organisation(&self) -> OrganisationId {
        self.settings.organisation
    }

    pub(crate) fn sale(&self) -> &Sale {
        &self.settings.sale
    }

    pub(crate) fn prices(&self) -> &[Money] {
        &self.settings.prices
    }

    pub(crate) fn message(&self) -> Option<&String> {
        self.settings.message.as_ref()
    }

    pub(crate) fn created_by(&self) -> &[u8; 32] {
        &self.settings.created_by
    }

    pub(crate) fn draw_secret(&self) -> &[u8; 32] {
        &self.settings.draw_secret
    }

    /// SHA-256 of the draw's secret.
    pub(crate) fn commitment(&self) -> [u8; 32] {
        Sha256::digest(self.settings.draw_secret).into()
    }

    pub(crate) fn set_sale(&mut self, sale: Sale) {
        self.settings.sale = sale;
        self.settings_dirty = true;
    }

    /// When more is offered to the waitlist, while not all is offered that is free.
    pub(crate) fn offers_due(&self) -> Option<Timestamp> {
        self.offers_due
    }

    pub(crate) fn set_offers_due(&mut self, at: Option<Timestamp>) {
        self.offers_due = at;
        self.offers_dirty = true;
    }

    pub(crate) fn beacon(&self) -> Option<&Vec<u8>> {
        self.settings.beacon.as_ref()
    }

    pub(crate) fn set_beacon(&mut self, beacon: Vec<u8>) {
        self.settings.beacon = Some(beacon);
        self.settings_dirty = true;
    }

    /// Whether the draw needs public randomness that is not known yet.
    pub(crate) fn lacks_beacon(&self) -> bool {
        self.sale().method == Method::Draw && self.sale().beacon.is_some() && self.settings.beacon.is_none()
    }

    /// The published draw.
    pub(crate) fn draw_bundle(&self) -> Option<DrawBundle> {
        let drawn = self.line.head.draw.as_ref()?;
        Some(DrawBundle {
            entrants: self.line.head.entrants,
            commitment: self.commitment(),
            secret: self.settings.draw_secret,
            merkle_root: drawn.merkle_root,
            beacon: drawn.beacon.clone(),
            seed: drawn.seed,
            rounds: crate::draw::ROUNDS,
        })
    }

    pub(crate) fn set_message(&mut self, message: Option<String>) {
        self.settings.message = message;
        self.settings_dirty = true;
    }

    /// Lays a new block over untaken seats. The caller has decided: there is room for one more block.
    pub(crate) fn block(&mut self, seats: &[SeatId], reason: &str, channel: Option<&str>) {
        let free = (1..).find(|number| !self.blocks.contains_key(number)).expect("there is room for one more");
        for &seat in seats {
            self.lift_block(seat);
            self.seats.set_block(seat, free);
        }
        let channel = channel.map(str::to_owned);
        self.blocks.insert(free, Block { reason: reason.to_owned(), channel, seats: seats.len() as u32 });
        self.blocks_dirty = true;
    }

    /// Lifts the block of a seat, if it has one.
    pub(crate) fn unblock(&mut self, seat: SeatId) {
        self.lift_block(seat);
        self.seats.lift_block(seat);
    }

    /// One seat less under its block.
    fn lift_block(&mut self, seat: SeatId) {
        let number = self.seats.block(seat);
        if let Some(block) = self.blocks.get_mut(&number) {
            block.seats -= 1;
            if block.seats == 0 {
                self.blocks.remove(&number);
            }
            self.blocks_dirty = true;
        }
    }

    /// A fact of this showtime was recorded.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
        self.progress_dirty = true;
    }

    /// Nothing, in the currency of the showtime.
    pub(crate) fn no_money(&self) -> Money {
        Money::zero(self.settings.prices.first().map_or(crate::Currency(*b"XXX"), |price| price.currency))
    }

    /// Whether these seats and places are in the house.
    pub(crate) fn contains(&self, places: &Places) -> bool {
        let fits = |&(area, count): &(crate::AreaId, u32)| {
            self.areas.get(usize::from(area.0)).is_some_and(|counts| (1..=counts.capacity).contains(&count))
        };
        places.seats.iter().all(|&seat| self.seats.contains(seat)) && places.areas.iter().all(fits)
    }

    /// What these seats and places cost. Of damaged rows they may be any number: what overflows is told apart by its total.
    pub(crate) fn price_of(&self, places: &Places) -> Money {
        let mut total = self.no_money();
        for &seat in &places.seats {
            total.amount = total.amount.saturating_add(self.prices()[self.seats.category(seat)].amount);
        }
        for &(area, count) in &places.areas {
            let category = self.seat_map.areas[usize::from(area.0)].category;
            let price = self.prices()[usize::from(category.0)].amount;
            total.amount = total.amount.saturating_add(price.saturating_mul(i64::from(count)));
        }
        total
    }

    /// Seats of the list that are not free to a buyer with this channel, or kept for who waits for them.
    pub(crate) fn in_the_way(&self, seats: &[SeatId], channel: Option<&str>) -> Vec<SeatId> {
        let promised = self.promised();
        let is_free = |&seat: &SeatId| self.is_free(seat, channel) && !self.is_promised(&promised, seat);
        seats.iter().copied().filter(|seat| !is_free(seat)).collect()
    }

    fn move_areas(&mut self, places: &Places, from: SeatState, to: SeatState) {
        for &(area, count) in &places.areas {
            let counts = &mut self.areas[usize::from(area.0)];
            let category = usize::from(self.seat_map.areas[usize::from(area.0)].category.0);
            match (from, to) {
                (SeatState::Available, SeatState::Held) => {
                    assert!(counts.available() >= count, "held more places than there are");
                    counts.held += count;
                }
                (SeatState::Held, SeatState::Available) => counts.held -= count,
                (SeatState::Held, SeatState::Sold) => {
                    counts.held -= count;
                    counts.sold += count;
                }
                (SeatState::Sold, SeatState::Available) => counts.sold -= count,
                _ => unreachable!("places of an area go from available to held to sold and back"),
            }
            self.seats.counts[category].move_some(from, to, count);
            self.areas_dirty = true;
        }
    }

    /// The caller has decided: everything is free.
    pub(crate) fn hold(&mut self, places: &Places) {
        places.seats.iter().for_each(|&seat| self.seats.hold(seat));
        self.move_areas(places, SeatState::Available, SeatState::Held);
    }

    /// Gives held places back.
    pub(crate) fn release(&mut self, places: &Places) {
        places.seats.iter().for_each(|&seat| self.seats.release(seat));
        self.move_areas(places, SeatState::Held, SeatState::Available);
    }

    /// Sells held places.
    pub(crate) fn sell(&mut self, places: &Places) {
        for &seat in &places.seats {
            self.lift_block(seat);
            self.seats.sell(seat);
        }
        self.move_areas(places, SeatState::Held, SeatState::Sold);
    }

    /// Takes sold places back.
    pub(crate) fn take_back(&mut self, places: &Places) {
        places.seats.iter().for_each(|&seat| self.seats.take_back(seat));
        self.move_areas(places, SeatState::Sold, SeatState::Available);
    }

    /// Changes how much a buyer has, which those who wait are lined up by.
    pub(crate) fn change_taken(&mut self, user: UserId, change: impl FnOnce(u32) -> u32) -> &mut Buyer {
        let buyer = self.buyers.entry(user).or_default();
        buyer.taken = change(buyer.taken);
        self.waitlist.taken_changed(user, buyer.taken);
        buyer
    }

    /// Forgets a buyer who has nothing any more.
    pub(crate) fn tidy_buyer(&mut self, user: UserId) {
        if self.buyers.get(&user) == Some(&Buyer::default()) {
            self.buyers.remove(&user);
        }
    }

    /// Counts and prices by category.
    pub(crate) fn category_counts(&self) -> Vec<CategoryCounts> {
        let categories = self.seat_map.categories.iter().zip(&self.seats.counts).zip(self.prices()).zip(0..);
        categories
            .map(|(((category, counts), &price), number)| CategoryCounts {
                category: crate::CategoryId(number),
                name: category.name.clone(),
                price,
                available: counts.of(SeatState::Available),
                held: counts.of(SeatState::Held),
                sold: counts.of(SeatState::Sold),
                blocked: counts.of(SeatState::Blocked),
            })
            .collect()
    }

    fn progress(&self) -> Vec<u8> {
        let (chain, updated_at) = (self.chain, self.updated_at);
        row_value(&Progress { chain, updated_at, line: self.line.head.clone() })
    }

    fn write_seat_map(&self, rows: &mut RowWriter) {
        for (number, piece) in codec::encode(&*self.seat_map).chunks(SEAT_MAP_PIECE_LEN).enumerate() {
            let mut value = vec![crate::row::ROW_VERSION];
            value.extend_from_slice(piece);
            rows.put(row_key(TABLE_SEAT_MAP, &[self.id.0, number as u64]), value);
        }
    }

    pub(crate) fn write_all(&self, rows: &mut RowWriter) {
        let id = self.id.0;
        rows.put(row_key(TABLE_SETTINGS, &[id]), row_value(&self.settings));
        self.write_seat_map(rows);
        rows.put(row_key(TABLE_PROGRESS, &[id]), self.progress());
        self.seats.write_all(TABLE_SEATS, id, rows);
        rows.put(row_key(TABLE_AREAS, &[id]), row_value(&self.areas));
        rows.put(row_key(TABLE_BLOCKS, &[id]), row_value(&self.blocks));
        if let Some(at) = self.offers_due {
            rows.put(row_key(TABLE_OFFERS, &[id]), row_value(&at));
        }
        self.line.write_all(LINE_TABLES, id, rows);
    }

    pub(crate) fn write_dirty(&mut self, rows: &mut RowWriter) {
        let id = self.id.0;
        if std::mem::take(&mut self.is_new) {
            self.write_seat_map(rows);
        }
        if std::mem::take(&mut self.settings_dirty) {
            rows.put(row_key(TABLE_SETTINGS, &[id]), row_value(&self.settings));
        }
        if std::mem::take(&mut self.progress_dirty) | std::mem::take(&mut self.line.head_dirty) {
            rows.put(row_key(TABLE_PROGRESS, &[id]), self.progress());
        }
        self.seats.write_dirty(TABLE_SEATS, id, rows);
        if std::mem::take(&mut self.areas_dirty) {
            rows.put(row_key(TABLE_AREAS, &[id]), row_value(&self.areas));
        }
        if std::mem::take(&mut self.blocks_dirty) {
            rows.put(row_key(TABLE_BLOCKS, &[id]), row_value(&self.blocks));
        }
        if std::mem::take(&mut self.offers_dirty) {
            match self.offers_due {
                Some(at) => rows.put(row_key(TABLE_OFFERS, &[id]), row_value(&at)),
                None => rows.remove(row_key(TABLE_OFFERS, &[id])),
            }
        }
        self.line.write_dirty(LINE_TABLES, id, rows);
    }
}

/// A showtime on its way from rows: settings first, then the pieces of its seat map, then the rest.
#[derive(Debug)]
pub(super) struct Loading {
    id: ShowtimeId,
    settings: Settings,
    pieces: Vec<u8>,
    piece_count: u64,
}

impl Loading {
    pub(super) fn begin(row: &Row) -> Result<(ShowtimeId, Self), CorruptRow> {
        let [id] = row.key_parts()?;
        let id = ShowtimeId(id);
        Ok((id, Self { id, settings: row.decode()?, pieces: Vec::new(), piece_count: 0 }))
    }

    pub(super) fn add_piece(&mut self, number: u64, row: &Row) -> Result<(), CorruptRow> {
        if number != self.piece_count {
            return Err(row.corrupt(format!("piece {} was to come", self.piece_count)));
        }
        self.piece_count += 1;
        self.pieces.extend_from_slice(row.payload()?);
        Ok(())
    }

    /// The showtime with its house, everything available and nobody in line.
    pub(super) fn finish(self) -> Result<Showtime, String> {
        let seat_map: SeatMap = codec::decode(&self.pieces).map_err(|error| error.to_string())?;
        seat_map.check().map_err(|error| error.to_string())?;
        super::check_prices(&seat_map, &self.settings.prices).map_err(|refusal| refusal.to_string())?;
        self.settings.sale.validate().map_err(|refusal| refusal.to_string())?;
        Ok(Showtime::empty(self.id, self.settings, Arc::new(seat_map)))
    }
}

/// Whose row this is, and which page: of what is one row for a showtime, the first.
pub(super) fn parse_key(table: u8, row: &Row) -> Result<(ShowtimeId, u64), CorruptRow> {
    let (id, page) = match table {
        TABLE_PROGRESS | TABLE_AREAS | TABLE_BLOCKS | TABLE_OFFERS => (row.key_parts::<1>()?[0], 0),
        TABLE_SEATS | TABLE_TICKETS | TABLE_SEGMENTS | TABLE_ROOTS => row.key_parts::<2>()?.into(),
        _ => return Err(row.corrupt("an unknown table")),
    };
    Ok((ShowtimeId(id), page))
}

impl Showtime {
    /// Takes in one of the other rows. The caller has parsed its key.
    pub(super) fn load_row(&mut self, table: u8, page: u64, row: &Row) -> Result<(), CorruptRow> {
        match table {
            TABLE_PROGRESS => {
                let progress: Progress = row.decode()?;
                self.chain = progress.chain;
                self.updated_at = progress.updated_at;
                self.line.head = progress.line;
                self.progress_dirty = false;
            }
            TABLE_SEATS => self.seats.load_page(page, row)?,
            TABLE_AREAS => {
                let areas: Vec<AreaCounts> = row.decode()?;
                let fits = areas.len() == self.areas.len()
                    && areas.iter().zip(&self.areas).all(|(area, empty)| {
                        area.capacity == empty.capacity
                            && area.held.checked_add(area.sold).is_some_and(|taken| taken <= area.capacity)
                    });
                if !fits {
                    return Err(row.corrupt("the areas are not those of the house"));
                }
                for (area, counts) in areas.iter().zip(&self.seat_map.areas) {
                    let counts = &mut self.seats.counts[usize::from(counts.category.0)];
                    counts.move_some(SeatState::Available, SeatState::Held, area.held);
                    counts.move_some(SeatState::Available, SeatState::Sold, area.sold);
                }
                self.areas = areas;
                self.areas_dirty = false;
            }
            TABLE_BLOCKS => {
                self.blocks = row.decode()?;
                self.blocks_dirty = false;
            }
            TABLE_OFFERS => self.offers_due = Some(row.decode()?),
            TABLE_TICKETS => self.line.load_tickets(page, row)?,
            TABLE_SEGMENTS => self.line.load_segments(page, row)?,
            TABLE_ROOTS => self.line.load_roots(page, row)?,
            _ => return Err(row.corrupt("an unknown table")),
        }
        Ok(())
    }

    /// Checks that every part was there and rebuilds what is derived.
    pub(super) fn finish_load(&mut self) -> Result<(), String> {
        if self.progress_dirty || self.areas_dirty || self.blocks_dirty || !self.seats.is_complete() {
            return Err("parts of the showtime are missing".into());
        }
        self.settings_dirty = false;
        if self.seats.blocks_in_use() != self.blocks.iter().map(|(&number, block)| (number, block.seats)).collect() {
            return Err("the blocks are not those over the seats".into());
        }
        self.line.finish_load()
    }

    /// Recounts what the showtime counts by itself.
    pub(super) fn audit(&self) -> Result<(), String> {
        let mut counts = vec![super::seats::Counts::default(); self.seat_map.categories.len()];
        for seat in (0..self.seats.len() as u32).map(SeatId) {
            counts[self.seats.category(seat)].add(self.seats.state(seat), 1);
        }
        for (area, layout) in self.areas.iter().zip(&self.seat_map.areas) {
            let counts = &mut counts[usize::from(layout.category.0)];
            counts.add(SeatState::Available, area.available());
            counts.add(SeatState::Held, area.held);
            counts.add(SeatState::Sold, area.sold);
        }
        if counts != self.seats.counts {
            return Err(format!("seats count {:?}, recounted {counts:?}", self.seats.counts));
        }
        if self.seats.blocks_in_use() != self.blocks.iter().map(|(&number, block)| (number, block.seats)).collect() {
            return Err("the blocks are not those over the seats".into());
        }
        self.seats.check_free()?;
        self.check_best()?;
        self.line.audit(self.sale(), self.draw_secret(), self.beacon())
    }
}

//! The line of a showtime: tickets by number, a cursor over places, and the slots inside.
//!
//! A ticket's place never changes once the line is open, so admission is a cursor: a step calls the next places and
//! records one segment, whatever their number. What has become of a ticket follows from its flag, its place and the
//! segments. Nothing is stored or timed for those who only wait.

use crate::draw::{self, Shuffle};
use crate::merkle::{self, Frontier, Hash};
use crate::row::{CorruptRow, ROW_VERSION, Row, RowWriter, row_key};
use crate::table::Table;
use crate::{Method, Millis, QueueReport, QueueState, Receipt, Sale, TicketNumber, TicketState, Timestamp, UserId};
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::hash::BuildHasher;

/// Tickets a page.
const PAGE_LEN: usize = 1_024;

/// The most tickets of a line.
pub(crate) const TICKETS_MAX: u64 = 100_000_000;

/// The least time between two steps of admission: keeps a line that trickles from being all ticks.
pub(crate) const ADMISSION_STEP_MIN: Millis = Millis(20);

/// Tickets given up before a draw whose places are found in one step of admission.
const PLACED_PER_STEP: usize = 1_024;

/// What one call costs, in the units in which credit grows by the rate per minute every millisecond.
const CALL_COST: u64 = 60_000;

/// What is stored of a ticket: its owner, a flag, and a time or a place. 24 bytes.
#[derive(Debug, Clone, Copy)]
struct Ticket {
    user: [u8; 16],
    /// The flag in the low three bits; above, by flag: nothing, the end of the session, or the place given up.
    packed: u64,
}

/// What is stored of a ticket's state; the rest follows from place and segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    /// Waiting, called, or not claimed in time.
    InLine = 0,
    Shopping = 1,
    Done = 2,
    Left = 3,
    Expired = 4,
}

impl Ticket {
    fn new(user: UserId) -> Self {
        Self { user: user.0.to_le_bytes(), packed: 0 }
    }

    fn user(&self) -> UserId {
        UserId(u128::from_le_bytes(self.user))
    }

    fn flag(&self) -> Flag {
        match self.packed & 7 {
            0 => Flag::InLine,
            1 => Flag::Shopping,
            2 => Flag::Done,
            3 => Flag::Left,
            _ => Flag::Expired,
        }
    }

    /// End of the session, or the place given up.
    fn detail(&self) -> u64 {
        self.packed >> 3
    }

    fn set(&mut self, flag: Flag, detail: u64) {
        self.packed = detail.min(u64::MAX >> 3) << 3 | flag as u64;
    }
}

/// Places called in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// First place.
    pub(crate) from: u64,
    /// Last place.
    pub(crate) to: u64,
    /// Until when they can be claimed.
    pub(crate) claim_by: Timestamp,
    /// How many are called and have neither claimed nor left.
    pub(crate) called: u64,
    /// Whether the time to claim is over.
    pub(crate) is_over: bool,
}

/// The cursor and the counters: everything of a line that is small. Stored as one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LineHead {
    pub(crate) state: QueueState,
    /// Tickets taken.
    pub(crate) joined: u64,
    /// Tickets that were in line at the opening.
    pub(crate) entrants: u64,
    /// The last place called.
    pub(crate) cursor: u64,
    /// Up to this place every segment is over and dropped.
    settled: u64,
    first_segment: u64,
    next_segment: u64,
    /// Credit for calls at `credit_at`, in [`CALL_COST`]ths of a call.
    credit: u64,
    credit_at: Timestamp,
    stepped_at: Option<Timestamp>,
    /// Called or shopping.
    pub(crate) active: u64,
    pub(crate) report: QueueReport,
    /// The tree over the entrants, while and after they join a line that is drawn.
    frontier: Frontier,
    /// The draw, once the line is open.
    pub(crate) draw: Option<Drawn>,
    /// Whether the line is to open as soon as the public randomness is known.
    pub(crate) awaits_beacon: bool,
    /// The cursor at a few moments of the last minute, oldest first: the rate really achieved.
    samples: Vec<(Timestamp, u64)>,
}

/// A draw that was made: places 1 to `entrants` are shuffled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drawn {
    pub(crate) merkle_root: Hash,
    pub(crate) beacon: Option<Vec<u8>>,
    pub(crate) seed: [u8; 32],
}

/// The line of a showtime.
pub(crate) struct Line {
    pub(crate) head: LineHead,
    pages: Vec<Vec<Ticket>>,
    /// Ticket numbers by owner. Only looked up, never walked.
    index: HashTable<u32>,
    segments: Table<Segment>,
    /// Places ahead of the cursor whose tickets were given up.
    gaps: BTreeSet<u64>,
    /// Tickets given up before the draw, whose places are not found yet.
    unplaced: BTreeSet<u64>,
    /// Roots over full pages of entrants.
    roots: Table<Hash>,
    /// The shuffle of the draw, ready to be used. Derived.
    shuffle: Option<Shuffle>,
    pub(crate) head_dirty: bool,
    dirty: BTreeSet<u64>,
}

/// Where a ticket stands: its state, with what belongs to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Before the opening.
    Prequeue,
    /// Behind the cursor's end.
    Waiting,
    /// Called in this segment.
    Called { segment: u64, claim_by: Timestamp },
    /// Inside.
    Shopping { until: Timestamp },
    /// Bought.
    Done,
    /// Given up.
    Left,
    /// Too late.
    Expired,
}

impl Standing {
    pub(crate) fn state(self) -> TicketState {
        match self {
            Self::Prequeue => TicketState::Prequeue,
            Self::Waiting => TicketState::Waiting,
            Self::Called { .. } => TicketState::Called,
            Self::Shopping { .. } => TicketState::Shopping,
            Self::Done => TicketState::Done,
            Self::Left => TicketState::Left,
            Self::Expired => TicketState::Expired,
        }
    }
}

/// The leaf of an entrant.
fn leaf_of(number: TicketNumber, user: UserId) -> Hash {
    merkle::leaf_hash(&merkle::leaf_data(number, &merkle::subject_hash(user)))
}

/// The tables in which a line is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineTables {
    pub(crate) tickets: u8,
    pub(crate) segments: u8,
    pub(crate) roots: u8,
}

fn hash_of(user: UserId) -> u64 {
    crate::lookup::hasher(0x6c69_6e65).hash_one(user.0)
}

impl Line {
    pub(crate) fn new() -> Self {
        let head = LineHead {
            state: QueueState::Scheduled,
            joined: 0,
            entrants: 0,
            cursor: 0,
            settled: 0,
            first_segment: 0,
            next_segment: 0,
            credit: 0,
            credit_at: Timestamp::default(),
            stepped_at: None,
            frontier: Frontier::default(),
            draw: None,
            awaits_beacon: false,
            active: 0,
            report: QueueReport::default(),
            samples: Vec::new(),
        };
        Self {
            head,
            pages: Vec::new(),
            index: HashTable::new(),
            segments: Table::default(),
            gaps: BTreeSet::new(),
            unplaced: BTreeSet::new(),
            roots: Table::default(),
            shuffle: None,
            head_dirty: true,
            dirty: BTreeSet::new(),
        }
    }

    fn ticket(&self, number: TicketNumber) -> Option<&Ticket> {
        let index = usize::try_from(number.0.checked_sub(1)?).ok()?;
        self.pages.get(index / PAGE_LEN)?.get(index % PAGE_LEN)
    }

    fn ticket_mut(&mut self, number: TicketNumber) -> &mut Ticket {
        let index = (number.0 - 1) as usize;
        self.dirty.insert((index / PAGE_LEN) as u64);
        &mut self.pages[index / PAGE_LEN][index % PAGE_LEN]
    }

    /// Whose ticket it is.
    pub(crate) fn owner(&self, number: TicketNumber) -> Option<UserId> {
        self.ticket(number).map(Ticket::user)
    }

    /// The ticket of a buyer.
    pub(crate) fn ticket_of(&self, user: UserId) -> Option<TicketNumber> {
        let same = |&number: &u32| self.owner(TicketNumber(u64::from(number))) == Some(user);
        self.index.find(hash_of(user), same).map(|&number| TicketNumber(u64::from(number)))
    }

    /// Whether places are known.
    fn is_drawn(&self) -> bool {
        !matches!(self.head.state, QueueState::Scheduled | QueueState::Prequeue)
    }

    /// The place of a ticket; it must exist. Before the opening it is not final.
    fn place_of(&self, number: TicketNumber) -> u64 {
        let drawn = self.shuffle.as_ref().and_then(|shuffle| shuffle.position_of(number.0.checked_sub(1)?));
        drawn.map_or(number.0, |position| position + 1)
    }

    /// The place of a ticket as its owner may know it.
    pub(crate) fn public_place(&self, number: TicketNumber) -> Option<u64> {
        self.is_drawn().then(|| self.place_of(number))
    }

    /// Where a ticket stands; it must exist.
    pub(crate) fn standing(&self, number: TicketNumber) -> Standing {
        let ticket = self.ticket(number).expect("the caller found the ticket");
        match ticket.flag() {
            Flag::Shopping => Standing::Shopping { until: Timestamp(ticket.detail()) },
            Flag::Done => Standing::Done,
            Flag::Left => Standing::Left,
            Flag::Expired => Standing::Expired,
            Flag::InLine if !self.is_drawn() => Standing::Prequeue,
            Flag::InLine => {
                let place = self.place_of(number);
                if place > self.head.cursor {
                    return Standing::Waiting;
                }
                match self.segment_of(place) {
                    Some((segment, value)) if !value.is_over => Standing::Called { segment, claim_by: value.claim_by },
                    _ => Standing::Expired,
                }
            }
        }
    }

    /// The segment in which a place was called, unless it is over and dropped.
    fn segment_of(&self, place: u64) -> Option<(u64, &Segment)> {
        if place <= self.head.settled {
            return None;
        }
        let (mut low, mut high) = (self.head.first_segment, self.head.next_segment);
        while low < high {
            let middle = low + (high - low) / 2;
            let segment = self.segments.get(middle)?;
            if segment.to < place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.segments.get(low).filter(|segment| segment.from <= place).map(|segment| (low, segment))
    }

    /// Takes a new ticket. The caller has decided: the owner has none, and there is room.
    pub(crate) fn join(&mut self, user: UserId, is_drawn: bool) -> TicketNumber {
        self.head_dirty = true;
        if self.waiting() == 0 {
            // How fast the line moved while nobody waited says nothing about how fast it moves.
            self.head.samples.clear();
        }
        self.head.joined += 1;
        self.head.report.joined += 1;
        let number = TicketNumber(self.head.joined);
        let index = (number.0 - 1) as usize;
        if index.is_multiple_of(PAGE_LEN) {
            self.pages.push(Vec::new());
        }
        self.pages[index / PAGE_LEN].push(Ticket::new(user));
        self.dirty.insert((index / PAGE_LEN) as u64);
        self.insert_index(number.0 as u32, user);
        if is_drawn && !self.is_drawn() {
            let page = self.head.frontier.count() / PAGE_LEN as u64;
            if let Some(root) = self.head.frontier.push(leaf_of(number, user), PAGE_LEN.trailing_zeros()) {
                self.roots.insert(page, root);
            }
        }
        number
    }

    fn insert_index(&mut self, number: u32, user: UserId) {
        let pages = &self.pages;
        self.index.insert_unique(hash_of(user), number, |&number| {
            let index = number as usize - 1;
            hash_of(pages[index / PAGE_LEN][index % PAGE_LEN].user())
        });
    }

    /// Takes up the admission of a called ticket.
    pub(crate) fn claim(&mut self, number: TicketNumber, segment: u64, until: Timestamp) {
        let segment = self.segments.get_mut(segment).expect("a called ticket has a live segment");
        segment.called -= 1;
        self.head.report.claimed += 1;
        self.head_dirty = true;
        self.ticket_mut(number).set(Flag::Shopping, until.0);
    }

    /// Gives a ticket up. Gives the end of the session that ends with it.
    pub(crate) fn leave(&mut self, number: TicketNumber) -> Option<Timestamp> {
        let mut place = self.place_of(number);
        let mut session = None;
        match self.standing(number) {
            Standing::Prequeue if self.head.frontier.count() > 0 => {
                // The draw will tell its place.
                self.unplaced.insert(number.0);
                place = 0;
            }
            Standing::Prequeue | Standing::Waiting => {
                self.gaps.insert(place);
            }
            Standing::Called { segment, .. } => {
                self.segments.get_mut(segment).expect("a called ticket has a live segment").called -= 1;
                self.head.active -= 1;
            }
            Standing::Shopping { until } => {
                session = Some(until);
                self.head.active -= 1;
            }
            over => panic!("left with a ticket that is {}", over.state()),
        }
        self.head.report.left += 1;
        self.head_dirty = true;
        self.ticket_mut(number).set(Flag::Left, place);
        session
    }

    fn end_session(&mut self, number: TicketNumber, flag: Flag) {
        assert!(matches!(self.standing(number), Standing::Shopping { .. }), "ended a session that was none");
        self.head.active -= 1;
        self.head_dirty = true;
        self.ticket_mut(number).set(flag, 0);
    }

    /// Ends a session with a purchase.
    pub(crate) fn finish(&mut self, number: TicketNumber) {
        self.end_session(number, Flag::Done);
        self.head.report.done += 1;
    }

    /// Ends a session whose time is over.
    pub(crate) fn expire_session(&mut self, number: TicketNumber) {
        self.end_session(number, Flag::Expired);
        self.head.report.expired += 1;
    }

    /// Opens the line: places are fixed, and the first burst may be called at once.
    pub(crate) fn open(&mut self, now: Timestamp, sale: &Sale, secret: &[u8; 32], beacon: Option<&Vec<u8>>) {
        if sale.method == Method::Draw {
            let merkle_root = self.head.frontier.root();
            let beacon = beacon.cloned();
            let seed = draw::seed(secret, &merkle_root, beacon.as_deref());
            self.head.draw = Some(Drawn { merkle_root, beacon, seed });
            self.shuffle = Some(Shuffle::new(seed, self.head.joined));
        }
        self.head.awaits_beacon = false;
        self.head.entrants = self.head.joined;
        self.head.credit = burst(sale);
        self.head.credit_at = now;
        self.set_state(QueueState::Open);
    }

    /// The line opens as soon as the public randomness is known.
    pub(crate) fn await_beacon(&mut self) {
        self.head.awaits_beacon = true;
        self.head_dirty = true;
    }

    pub(crate) fn set_state(&mut self, state: QueueState) {
        self.head.state = state;
        self.head_dirty = true;
    }

    /// Tickets that wait to be called.
    pub(crate) fn waiting(&self) -> u64 {
        (self.head.joined - self.head.cursor).saturating_sub((self.gaps.len() + self.unplaced.len()) as u64)
    }

    /// Counts the credit up to `now`, before the rate changes.
    pub(crate) fn settle_credit(&mut self, now: Timestamp, sale: &Sale) {
        let grown = u128::from((now - self.head.credit_at).0) * u128::from(sale.admission.rate_per_minute);
        let grown = u64::try_from(grown).unwrap_or(u64::MAX);
        self.head.credit = self.head.credit.saturating_add(grown).min(credit_max(sale));
        self.head.credit_at = self.head.credit_at.max(now);
        self.head_dirty = true;
    }

    /// Keeps the credit within a burst of a rate that was changed.
    pub(crate) fn clamp_credit(&mut self, sale: &Sale) {
        self.head.credit = self.head.credit.min(credit_max(sale));
        self.head_dirty = true;
    }

    /// When the next step of admission can be made, if one can: a function of the state alone.
    pub(crate) fn next_step(&self, sale: &Sale) -> Option<Timestamp> {
        let head = &self.head;
        if head.state != QueueState::Open || self.waiting() == 0 || head.active >= u64::from(sale.admission.active_max)
        {
            return None;
        }
        let missing = CALL_COST.saturating_sub(head.credit);
        let at = head.credit_at + Millis(missing.div_ceil(u64::from(sale.admission.rate_per_minute.max(1))));
        Some(head.stepped_at.map_or(at, |stepped| at.max(stepped + ADMISSION_STEP_MIN)))
    }

    /// Calls the next places, as many as credit and room allow. Gives the number of the segment made.
    pub(crate) fn step(&mut self, now: Timestamp, sale: &Sale) -> Option<u64> {
        if self.next_step(sale).is_none_or(|at| at > now) {
            return None;
        }
        self.settle_credit(now, sale);
        for _ in 0..PLACED_PER_STEP {
            let Some(number) = self.unplaced.pop_first() else { break };
            let place = self.place_of(TicketNumber(number));
            self.gaps.insert(place);
            self.ticket_mut(TicketNumber(number)).set(Flag::Left, place);
        }
        if !self.unplaced.is_empty() {
            // Nobody is called before it is known who is not there.
            self.head.stepped_at = Some(now);
            return None;
        }
        let room = u64::from(sale.admission.active_max) - self.head.active;
        let count = (self.head.credit / CALL_COST).min(room).min(self.waiting());
        assert!(count > 0, "a step was due and calls nobody");

        // The last place called is that of the last ticket called: gaps before it are passed over.
        let from = self.head.cursor + 1;
        let mut to = self.head.cursor + count;
        while let Some(&gap) = self.gaps.first() {
            if gap > to {
                break;
            }
            self.gaps.pop_first();
            to += 1;
        }

        self.head.credit -= count * CALL_COST;
        self.head.stepped_at = Some(now);
        self.sample(now);
        self.head.cursor = to;
        self.head.active += count;
        self.head.report.called += count;
        self.head_dirty = true;
        let number = self.head.next_segment;
        self.head.next_segment += 1;
        let claim_by = now + sale.admission.claim_ttl;
        self.segments.insert(number, Segment { from, to, claim_by, called: count, is_over: false });
        Some(number)
    }

    /// A segment that is not yet dropped.
    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.get(number)
    }

    /// Segments that can still be claimed in.
    pub(crate) fn live_segments(&self) -> impl Iterator<Item = (u64, &Segment)> {
        self.segments.iter().filter(|(_, segment)| !segment.is_over)
    }

    /// The time to claim in a segment is over. Gives how many missed it.
    pub(crate) fn end_segment(&mut self, number: u64) -> u64 {
        let segment = self.segments.get_mut(number).expect("a live segment has a deadline");
        let missed = std::mem::take(&mut segment.called);
        segment.is_over = true;
        self.head.active -= missed;
        self.head.report.missed += missed;
        while let Some(segment) = self.segments.get(self.head.first_segment)
            && segment.is_over
        {
            self.head.settled = segment.to;
            self.segments.remove(self.head.first_segment);
            self.head.first_segment += 1;
        }
        self.head_dirty = true;
        missed
    }

    fn sample(&mut self, now: Timestamp) {
        let samples = &mut self.head.samples;
        if samples.last().is_none_or(|&(at, _)| (now - at).0 >= SAMPLE_EVERY.0) {
            samples.push((now, self.head.cursor));
            if samples.len() > SAMPLES_MAX {
                samples.remove(0);
            }
        }
    }

    /// Calls per minute of late; the configured rate until that is known.
    pub(crate) fn rate_achieved(&self, now: Timestamp, sale: &Sale) -> u32 {
        let configured = sale.admission.rate_per_minute;
        match self.head.samples.first() {
            Some(&(at, cursor)) if (now - at).0 >= SAMPLE_EVERY.0 => {
                let called = u128::from(self.head.cursor.saturating_sub(cursor));
                let rate = called * 60_000 / u128::from((now - at).0);
                u32::try_from(rate).unwrap_or(u32::MAX).clamp(1, configured)
            }
            _ => configured,
        }
    }

    /// Open sessions, in order of ticket.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (TicketNumber, Timestamp)> {
        self.tickets().filter(|(_, ticket)| ticket.flag() == Flag::Shopping).map(|(n, t)| (n, Timestamp(t.detail())))
    }

    fn tickets(&self) -> impl Iterator<Item = (TicketNumber, &Ticket)> {
        self.pages.iter().flatten().zip(1..).map(|(ticket, number)| (TicketNumber(number), ticket))
    }

    fn page_row(page: &[Ticket]) -> Vec<u8> {
        let mut value = Vec::with_capacity(1 + 24 * page.len());
        value.push(ROW_VERSION);
        for ticket in page {
            value.extend_from_slice(&ticket.user);
            value.extend_from_slice(&ticket.packed.to_le_bytes());
        }
        value
    }

    /// The proof that an entrant was in the draw.
    pub(crate) fn receipt(&self, number: TicketNumber) -> Option<Receipt> {
        let drawn = self.head.draw.as_ref()?;
        let entrants = self.head.entrants;
        let user = self.owner(number).filter(|_| number.0 <= entrants)?;
        let mut perfect = |from: u64, count: u64| match count {
            1 => Some(leaf_of(TicketNumber(from + 1), self.owner(TicketNumber(from + 1))?)),
            _ if count == PAGE_LEN as u64 => self.roots.get(from / count).copied(),
            _ => None,
        };
        Some(Receipt {
            number,
            subject_hash: merkle::subject_hash(user),
            leaf: leaf_of(number, user),
            proof: merkle::proof(number.0 - 1, entrants, &mut perfect),
            merkle_root: drawn.merkle_root,
            place: self.place_of(number),
        })
    }

    /// Writes the pages of tickets and segments; the head is written by the showtime.
    pub(crate) fn write_all(&self, tables: LineTables, showtime: u64, rows: &mut RowWriter) {
        for (number, page) in self.pages.iter().enumerate() {
            rows.put(row_key(tables.tickets, &[showtime, number as u64]), Self::page_row(page));
        }
        self.segments.write_all(tables.segments, &[showtime], rows);
        self.roots.write_all(tables.roots, &[showtime], rows);
    }

    pub(crate) fn write_dirty(&mut self, tables: LineTables, showtime: u64, rows: &mut RowWriter) {
        for page in std::mem::take(&mut self.dirty) {
            rows.put(row_key(tables.tickets, &[showtime, page]), Self::page_row(&self.pages[page as usize]));
        }
        self.segments.write_dirty(tables.segments, &[showtime], rows);
        self.roots.write_dirty(tables.roots, &[showtime], rows);
    }

    pub(crate) fn load_tickets(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        let (tickets, rest) = row.payload()?.as_chunks::<24>();
        let before = self.pages.last().map_or(PAGE_LEN, Vec::len);
        if page != self.pages.len() as u64 || before != PAGE_LEN || tickets.len() > PAGE_LEN || !rest.is_empty() {
            return Err(row.corrupt("a page of tickets is missing, misplaced or misshapen"));
        }
        let mut loaded = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let mut user = [0; 16];
            user.copy_from_slice(&ticket[..16]);
            let packed = u64::from_le_bytes(*ticket.last_chunk().expect("8 is less than 24"));
            if packed & 7 > Flag::Expired as u64 {
                return Err(row.corrupt("a ticket with an unknown flag"));
            }
            loaded.push(Ticket { user, packed });
        }
        self.pages.push(loaded);
        Ok(())
    }

    pub(crate) fn load_segments(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        self.segments.load_page(page, row)
    }

    pub(crate) fn load_roots(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        self.roots.load_page(page, row)
    }

    /// Rebuilds what is derived, once head, tickets and segments are there.
    pub(crate) fn finish_load(&mut self) -> Result<(), String> {
        let count = self.tickets().count() as u64;
        if count != self.head.joined || count > TICKETS_MAX {
            return Err(format!("{count} tickets of {}", self.head.joined));
        }
        if self.head.cursor > self.head.joined {
            return Err("the cursor is past the last ticket".into());
        }
        self.index = HashTable::with_capacity(count as usize);
        for number in 1..=count {
            let user = self.owner(TicketNumber(number)).ok_or("a ticket is missing")?;
            if self.ticket_of(user).is_some() {
                return Err(format!("the owner of ticket {number} has two"));
            }
            self.insert_index(number as u32, user);
        }
        let cursor = self.head.cursor;
        let (mut gaps, mut unplaced) = (BTreeSet::new(), BTreeSet::new());
        for (number, ticket) in self.tickets().filter(|(_, ticket)| ticket.flag() == Flag::Left) {
            match ticket.detail() {
                0 => unplaced.insert(number.0),
                place if place > cursor => gaps.insert(place),
                _ => false,
            };
        }
        (self.gaps, self.unplaced) = (gaps, unplaced);
        self.shuffle = self.head.draw.as_ref().map(|drawn| Shuffle::new(drawn.seed, self.head.entrants));
        if !self.head.frontier.is_sound() || self.roots.len() != self.head.frontier.count() / PAGE_LEN as u64 {
            return Err("the tree over the entrants is not sound".into());
        }
        self.check_segments()?;
        self.head_dirty = false;
        self.dirty.clear();
        Ok(())
    }

    /// Recounts what is small: segments follow each other, credit is within a burst.
    fn check_segments(&self) -> Result<(), String> {
        let head = &self.head;
        let mut next = head.settled.saturating_add(1);
        for number in head.first_segment..head.next_segment {
            let segment = self.segments.get(number).ok_or("a segment is missing")?;
            if segment.from != next || segment.to < segment.from {
                return Err(format!("segment {number} does not follow the one before"));
            }
            next = segment.to.saturating_add(1);
        }
        if next != head.cursor + 1 || self.segments.len() != head.next_segment - head.first_segment {
            return Err("the segments do not end at the cursor".into());
        }
        Ok(())
    }

    /// Recounts everything that is counted.
    pub(crate) fn audit(&self, sale: &Sale) -> Result<(), String> {
        let head = &self.head;
        let mut report = QueueReport { joined: head.joined, ..QueueReport::default() };
        let (mut active, mut waiting) = (0, 0);
        let mut called_in = std::collections::BTreeMap::new();
        let (mut gaps, mut unplaced) = (BTreeSet::new(), BTreeSet::new());
        for (number, ticket) in self.tickets() {
            if self.ticket_of(ticket.user()) != Some(number) {
                return Err(format!("ticket {number} is not found by its owner"));
            }
            let place = self.place_of(number);
            match self.standing(number) {
                Standing::Prequeue | Standing::Waiting => waiting += 1,
                Standing::Called { segment, .. } => {
                    active += 1;
                    *called_in.entry(segment).or_insert(0) += 1;
                }
                Standing::Shopping { .. } => active += 1,
                Standing::Done => report.done += 1,
                Standing::Left => {
                    report.left += 1;
                    if ticket.detail() == 0 {
                        unplaced.insert(number.0);
                    } else if ticket.detail() != place {
                        return Err(format!("ticket {number} was given up at place {}", ticket.detail()));
                    } else if place > head.cursor {
                        gaps.insert(place);
                    }
                }
                Standing::Expired if ticket.flag() == Flag::Expired => report.expired += 1,
                Standing::Expired => report.missed += 1,
            }
        }
        report.called = head.report.called;
        report.claimed = head.report.claimed;
        if report != head.report {
            return Err(format!("the line counts {:?}, recounted {report:?}", head.report));
        }
        let same_gaps = gaps == self.gaps && unplaced == self.unplaced;
        if active != head.active || waiting != self.waiting() || !same_gaps {
            return Err(format!(
                "{} active and {} waiting, recounted {active} and {waiting}",
                head.active,
                self.waiting()
            ));
        }
        if head.active > 0 && !self.is_drawn() {
            return Err("somebody is inside before the opening".into());
        }
        self.check_segments()?;
        for number in head.first_segment..head.next_segment {
            let segment = self.segments.get(number).ok_or("a segment is missing")?;
            if segment.called != called_in.remove(&number).unwrap_or(0) {
                return Err(format!("segment {number} counts {} called", segment.called));
            }
        }
        let mut frontier = Frontier::default();
        for (number, ticket) in self.tickets().take(head.frontier.count() as usize) {
            let page = frontier.count() / PAGE_LEN as u64;
            if let Some(root) = frontier.push(leaf_of(number, ticket.user()), PAGE_LEN.trailing_zeros())
                && self.roots.get(page) != Some(&root)
            {
                return Err(format!("the root over page {page} of the entrants is another"));
            }
        }
        let drawn_of = if head.draw.is_some() { head.entrants } else { frontier.count() };
        if frontier != head.frontier || frontier.count() != drawn_of {
            return Err("the tree over the entrants is another".into());
        }
        if head.credit > credit_max(sale) && head.credit_at > Timestamp::default() {
            return Err("more credit than a burst".into());
        }
        Ok(())
    }
}

/// The least time between two samples of the cursor.
const SAMPLE_EVERY: Millis = Millis(5_000);
/// Samples kept.
const SAMPLES_MAX: usize = 13;

/// The most credit there is: less than one call above a burst, so that a step made late loses nothing of the rate.
fn credit_max(sale: &Sale) -> u64 {
    burst(sale) + CALL_COST - 1
}

/// Credit for one second's worth of calls, at least one call.
fn burst(sale: &Sale) -> u64 {
    u64::from(sale.admission.rate_per_minute / 60).max(1) * CALL_COST
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("head", &self.head).field("gaps", &self.gaps).finish_non_exhaustive()
    }
}

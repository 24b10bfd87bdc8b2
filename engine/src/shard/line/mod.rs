//! The line of a showtime: tickets by number, a cursor over places, and the slots inside.
//!
//! A ticket's place never changes once the line is open, so admission is a cursor: a step calls the next places and
//! records one segment, whatever their number. What has become of a ticket follows from its flag, its place and the
//! segments. Nothing is stored or timed for those who only wait.
//!
//! One file a topic: [`ticket`] (what is stored of one), [`joining`] (taking a ticket and giving it up), [`drawing`]
//! (opening, and the proofs of the draw), [`admission`] (credit and steps), [`gaps`] (places given up), [`claims`] (sessions and missed claims),
//! [`rows`] and [`audit`].

pub(super) mod admission;
mod audit;
mod claims;
mod drawing;
mod gaps;
mod joining;
mod rows;
mod ticket;

use crate::draw::Shuffle;
use crate::lookup::Index;
use crate::merkle::{Frontier, Hash};
use crate::planted::{self, Bug};
use crate::table::Table;
use crate::{Method, QueueReport, QueueState, TicketNumber, TicketState, Timestamp, UserId};
use gaps::Gaps;
use joining::hash_of;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use ticket::{Flag, Ticket};

pub(crate) use rows::LineTables;

/// Tickets a page.
const PAGE_LEN: usize = 1_024;

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
    /// Tickets that were in line when the time to open had come.
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
    /// The last step of admission; once the line is closed, the last one that ended entries of the waitlist.
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
    /// The cursor when measuring began and at a few moments of the last minute, oldest first: the rate really achieved.
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
    index: Index<u32>,
    segments: Table<Segment>,
    /// Places ahead of the cursor whose tickets were given up.
    gaps: Gaps,
    /// Tickets given up before the draw, whose places are not found yet.
    unplaced: BTreeSet<u64>,
    /// Roots over full pages of entrants.
    roots: Table<Hash>,
    /// Roots over two full pages, over four, and so on, so that no receipt hashes all of them again. Derived.
    roots_above: Vec<Vec<Hash>>,
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

impl Line {
    /// The latest time of anything that the line remembers as done.
    pub(crate) fn last_moment(&self) -> Timestamp {
        let sampled = self.head.samples.iter().map(|&(at, _)| at);
        sampled.chain(self.head.stepped_at).fold(self.head.credit_at, Timestamp::max)
    }

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
            index: Index::with_capacity(0),
            segments: Table::default(),
            gaps: Gaps::default(),
            unplaced: BTreeSet::new(),
            roots: Table::default(),
            roots_above: Vec::new(),
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
        drawn.map_or_else(|| self.undrawn(number.0), |position| position + 1)
    }

    /// Whether places may be told. A line that was closed before its draw has none that anybody drew.
    fn has_places(&self, method: Method) -> bool {
        self.is_drawn() && (method != Method::Draw || self.head.draw.is_some())
    }

    /// The place of a ticket as its owner may know it.
    pub(crate) fn public_place(&self, number: TicketNumber, method: Method) -> Option<u64> {
        self.has_places(method).then(|| self.place_of(number))
    }

    /// The ticket at a place, once places are known: drawn among the entrants, in join order behind them.
    pub(crate) fn ticket_at(&self, place: u64, method: Method) -> Option<TicketNumber> {
        let is_known = self.has_places(method) && (1..=self.head.joined).contains(&place);
        is_known.then(|| self.number_at(place))
    }

    /// The ticket at a place; it must exist. Before the opening it is not final.
    fn number_at(&self, place: u64) -> TicketNumber {
        let drawn = self.shuffle.as_ref().and_then(|shuffle| shuffle.index_at(place.checked_sub(1)?));
        TicketNumber(drawn.map_or_else(|| self.undrawn(place), |index| index + 1))
    }

    /// The place of a ticket that was not drawn, and the ticket at such a place: tickets are numbered as they come.
    fn undrawn(&self, number: u64) -> u64 {
        let bug = if self.shuffle.is_some() { Bug::LateOvertake } else { Bug::PlaceByArrival };
        let first = self.shuffle.as_ref().map_or(0, |_| self.head.entrants);
        if !planted::is(bug) || number <= first {
            return number;
        }
        let other = first + ((number - first - 1) ^ 1) + 1;
        if other <= self.head.joined { other } else { number }
    }

    /// Where a ticket stands; it must exist.
    pub(crate) fn standing(&self, number: TicketNumber) -> Standing {
        let ticket = self.ticket(number).expect("the caller found the ticket");
        match ticket.flag() {
            Flag::Shopping | Flag::ShoppingBought => Standing::Shopping { until: Timestamp(ticket.detail()) },
            Flag::Done => Standing::Done,
            Flag::Left | Flag::LeftCalled | Flag::LeftShopping => Standing::Left,
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

    pub(crate) fn set_state(&mut self, state: QueueState) {
        self.head.state = state;
        self.head_dirty = true;
    }

    /// Tickets that wait to be called.
    pub(crate) fn waiting(&self) -> u64 {
        (self.head.joined - self.head.cursor).saturating_sub(self.gaps.len() + self.unplaced.len() as u64)
    }

    /// A segment that is not yet dropped.
    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.get(number)
    }

    /// Segments that can still be claimed in.
    pub(crate) fn live_segments(&self) -> impl Iterator<Item = (u64, &Segment)> {
        self.segments.iter().filter(|(_, segment)| !segment.is_over)
    }

    /// Open sessions, in order of ticket.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (TicketNumber, Timestamp)> {
        let is_inside = |ticket: &Ticket| matches!(ticket.flag(), Flag::Shopping | Flag::ShoppingBought);
        self.tickets().filter(move |(_, ticket)| is_inside(ticket)).map(|(n, t)| (n, Timestamp(t.detail())))
    }

    fn tickets(&self) -> impl Iterator<Item = (TicketNumber, &Ticket)> {
        self.pages.iter().flatten().zip(1..).map(|(ticket, number)| (TicketNumber(number), ticket))
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("head", &self.head).field("gaps", &self.gaps.len()).finish_non_exhaustive()
    }
}

//! What was said during a rush: facts only, judged later.

use crate::{HoldId, OrderId, OrderState, SeatState, Token};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// All facts of a rush.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// Every seat before the first buyer came.
    pub(super) before: BTreeMap<String, SeatState>,
    pub(super) joins: Vec<Join>,
    pub(super) claims: Vec<Claim>,
    pub(super) samples: Vec<Sample>,
    pub(super) probes: Vec<Probe>,
    pub(super) holds: Vec<HoldRecord>,
    pub(super) orders: Vec<OrderRecord>,
    /// How far the line had come for certain, each time that was further than known before; and when it was known.
    pub(super) heights: Vec<(Instant, u64)>,
    /// Tickets that were told of a line less far than it had been long before.
    pub(super) turned_back: Vec<String>,
    /// How many tickets were told how far the line is.
    pub(super) told: u64,
    /// A ticket that changed its number, or its place once it had one.
    pub(super) moved: Vec<String>,
    /// Answers that the contract does not foresee, and calls that were never answered.
    pub(super) unexpected: Vec<String>,
    pub(super) unexpected_count: u64,
    /// Looks at the seats, also those of the monitor.
    pub(super) looks: u64,
    /// Refusals because a seat was taken.
    pub(super) conflicts: u64,
}

/// The most unexpected answers that are kept; the rest is counted.
const UNEXPECTED_MAX: usize = 100;

impl Record {
    /// Notes what a ticket was told about the line: how far it has come follows from its place and who is ahead.
    pub(super) fn note_ahead(
        &mut self,
        ticket: &crate::Ticket,
        sent: Instant,
        acked: Instant,
        staleness_max: Duration,
    ) {
        let (Some(place), Some(ahead)) = (ticket.place, ticket.ahead) else { return };
        self.told += 1;
        let cursor = place.saturating_sub(ahead);
        // With nobody ahead the line may be much further.
        if ahead > 0 {
            let known = self.heights.partition_point(|(known_at, _)| *known_at + staleness_max < sent);
            let height = known.checked_sub(1).map_or(0, |last| self.heights[last].1);
            if cursor < height && self.turned_back.len() < UNEXPECTED_MAX {
                let ticket = ticket.number;
                self.turned_back.push(format!("the line was at {height}, and then at {cursor} for ticket {ticket}"));
            }
        }
        self.note_height(acked, cursor);
    }

    /// Notes how far the line has come.
    pub(super) fn note_height(&mut self, known_at: Instant, cursor: u64) {
        // Answers are noted a moment after they came: keep the list in order.
        let known_at = self.heights.last().map_or(known_at, |(last, _)| known_at.max(*last));
        if self.heights.last().is_none_or(|(_, height)| *height < cursor) {
            self.heights.push((known_at, cursor));
        }
    }

    pub(super) fn unexpected(&mut self, what: String) {
        self.unexpected_count += 1;
        if self.unexpected.len() < UNEXPECTED_MAX {
            self.unexpected.push(what);
        }
    }
}

/// A buyer joined the line.
#[derive(Debug, Clone)]
pub(super) struct Join {
    pub(super) number: u64,
    /// Known once the line is open.
    pub(super) place: Option<u64>,
    /// When it was last asked for and found waiting.
    pub(super) waited_until: Option<Instant>,
    /// When the first attempt was sent.
    pub(super) sent: Instant,
    /// When the answer was there.
    pub(super) acked: Instant,
}

/// A ticket was admitted.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) number: u64,
    pub(super) place: u64,
    pub(super) acked: Instant,
}

/// The public status at one moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) sent: Instant,
    pub(super) sequence: u64,
    pub(super) cursor: u64,
}

/// Somebody without a right tried to hold seats.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    /// With what.
    pub(super) with: &'static str,
    /// What came of it: the code of the refusal, or the hold that it got.
    pub(super) refused: Result<String, HoldId>,
}

/// A buyer held seats.
#[derive(Debug, Clone)]
pub(super) struct HoldRecord {
    /// Unknown if no answer ever came.
    pub(super) hold: Option<HoldId>,
    /// What was asked for.
    pub(super) asked: Vec<String>,
    /// What was given.
    pub(super) seats: Vec<String>,
    pub(super) sent: Instant,
    pub(super) acked: Instant,
    pub(super) end: HoldEnd,
}

/// How a hold ended, as far as its buyer was told.
#[derive(Debug, Clone)]
pub(super) enum HoldEnd {
    /// Its buyer had no more to say: it lives until it expires.
    Left,
    /// Its seats were given back: asked for then, and agreed.
    GivenBack { asked: Instant },
    /// Its seats were paid.
    Paid,
    /// Its buyer vanished.
    Vanished(Vanished),
    /// No answer came to what its buyer last asked for: anything may have happened.
    Unsettled,
    /// It ran out before its buyer was done.
    RanOut,
}

#[derive(Debug, Clone)]
pub(super) struct Vanished {
    pub(super) access: Token,
    pub(super) expires_at: OffsetDateTime,
    /// Whether the server says that it is gone.
    pub(super) gone: bool,
    /// Whether the server still called it alive well after `expires_at`.
    pub(super) overdue: bool,
}

/// A paid order.
#[derive(Debug, Clone)]
pub(super) struct OrderRecord {
    pub(super) order: OrderId,
    pub(super) access: Token,
    /// The seats held for it.
    pub(super) seats: Vec<String>,
    pub(super) paid: crate::Money,
    /// What the server says of it afterwards.
    pub(super) found: Option<Result<(OrderState, Vec<String>), String>>,
}

//! What was said during a rush: facts only, judged later.

use crate::{HoldId, OrderId, OrderState, SeatState, Token};
use std::collections::BTreeMap;
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

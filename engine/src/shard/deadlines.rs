//! Everything that falls due, in one ordered set.

use crate::{HoldId, OrderId, ShowtimeId, TicketNumber, Timestamp};
use std::collections::BTreeSet;

/// What falls due. Of several in the same millisecond, the first listed comes first, then the lower id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Joining begins.
    Prequeue(ShowtimeId),
    /// The line opens.
    Opening(ShowtimeId),
    /// The sale closes.
    Closing(ShowtimeId),
    /// An order was not paid in time; its hold expires with it.
    Order(OrderId),
    /// A hold without an order ends.
    Hold(HoldId),
    /// The time to shop is over.
    Session(ShowtimeId, TicketNumber),
    /// The time to claim is over, for all places called in one step.
    Claims(ShowtimeId, u64),
    /// The next places can be called; of a line that is closed, the next entries of its waitlist end.
    Admission(ShowtimeId),
    /// More of what is free can be offered to the waitlist.
    Offers(ShowtimeId),
}

/// The ordered set of deadlines. Derived from the rest of the state, and rebuilt at load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deadlines {
    set: BTreeSet<(Timestamp, Due)>,
    /// The time of the earliest: asked for around every command.
    first: Option<Timestamp>,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, at: Timestamp, due: Due) {
        let is_new = self.set.insert((at, due));
        assert!(is_new, "{due:?} was due at {at} already");
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
    }

    pub(crate) fn remove(&mut self, at: Timestamp, due: Due) {
        let was_there = self.set.remove(&(at, due));
        assert!(was_there, "{due:?} was not due at {at}");
        if self.first == Some(at) {
            self.first = self.set.first().map(|&(at, _)| at);
        }
    }

    /// Moves one deadline.
    pub(crate) fn replace(&mut self, from: Option<Timestamp>, to: Option<Timestamp>, due: Due) {
        if from != to {
            if let Some(at) = from {
                self.remove(at, due);
            }
            if let Some(at) = to {
                self.insert(at, due);
            }
        }
    }

    /// The earliest deadline.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.first
    }

    /// Takes the earliest deadline out, if its time has come.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Due> {
        if self.first? > now {
            return None;
        }
        let (_, due) = self.set.pop_first()?;
        self.first = self.set.first().map(|&(at, _)| at);
        Some(due)
    }
}

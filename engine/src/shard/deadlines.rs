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
    /// The next places can be called.
    Admission(ShowtimeId),
}

/// The ordered set of deadlines. Derived from the rest of the state, and rebuilt at load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deadlines(BTreeSet<(Timestamp, Due)>);

impl Deadlines {
    pub(crate) fn insert(&mut self, at: Timestamp, due: Due) {
        let is_new = self.0.insert((at, due));
        assert!(is_new, "{due:?} was due at {at} already");
    }

    pub(crate) fn remove(&mut self, at: Timestamp, due: Due) {
        let was_there = self.0.remove(&(at, due));
        assert!(was_there, "{due:?} was not due at {at}");
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
        self.0.first().map(|&(at, _)| at)
    }

    /// Takes the earliest deadline out, if its time has come.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Due> {
        let &(at, due) = self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(due)
    }
}

//! What this gateway has done and its feed has not told yet.
//!
//! The feed comes from any replica and may lag behind the answer that a buyer got by a heartbeat. Whoever looks at the
//! seats through the gateway that answered is to find what was answered, so such a look waits a moment for the feed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::{Event, EventRecord, HoldId, OrderId, Sequence};

/// How long a fact is waited for: much longer than a feed lags in good health.
pub(super) const AWAIT_MAX: Duration = Duration::from_millis(250);
/// Facts that the feed has told before anybody waited for them.
const TOLD_MAX: usize = 8_192;
/// Facts waited for at once; more are let go.
const AWAITED_MAX: usize = 8_192;

/// Something that a feed tells exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fact {
    /// This hold was made.
    Held(HoldId),
    /// This hold was given back.
    Released(HoldId),
    /// This order was paid.
    Purchased(OrderId),
    /// This order was given up, and its hold with it.
    Canceled(OrderId),
}

impl Fact {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::SeatsHeld { hold, .. } => Some(Self::Held(*hold)),
            Event::HoldReleased { hold, .. } => Some(Self::Released(*hold)),
            Event::SeatsPurchased { order, .. } => Some(Self::Purchased(*order)),
            Event::OrderCanceled { order, .. } => Some(Self::Canceled(*order)),
            _ => None,
        }
    }
}

/// Facts that are awaited, in the order in which they were answered.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    next: u64,
    awaited: BTreeMap<u64, (Fact, Instant)>,
    by_fact: BTreeMap<Fact, u64>,
    /// Facts that nobody waited for, oldest first, and at which sequence they were told.
    told: VecDeque<Fact>,
    told_at: BTreeMap<Fact, Sequence>,
    /// The last event that tells something answered here.
    sequence: Sequence,
}

impl Awaited {
    /// A command was answered with this fact.
    pub(super) fn answered(&mut self, fact: Fact) {
        self.forget_old();
        if let Some(&sequence) = self.told_at.get(&fact) {
            self.sequence = self.sequence.max(sequence);
            return;
        }
        if self.by_fact.contains_key(&fact) || self.awaited.len() >= AWAITED_MAX {
            return;
        }
        self.awaited.insert(self.next, (fact, Instant::now()));
        self.by_fact.insert(fact, self.next);
        self.next += 1;
    }

    /// The feed tells an event.
    pub(super) fn told(&mut self, record: &EventRecord) {
        let Some(fact) = Fact::of(&record.event) else {
            return;
        };
        if let Some(turn) = self.by_fact.remove(&fact) {
            self.awaited.remove(&turn);
            self.sequence = record.sequence;
            return;
        }
        if self.told.len() >= TOLD_MAX
            && let Some(oldest) = self.told.pop_front()
        {
            self.told_at.remove(&oldest);
        }
        self.told.push_back(fact);
        self.told_at.insert(fact, record.sequence);
    }

    /// A snapshot as of `sequence` took the place of events that will not be told.
    pub(super) fn clear(&mut self, sequence: Sequence) {
        self.awaited.clear();
        self.by_fact.clear();
        self.sequence = sequence;
    }

    /// The last event that tells something answered here, as far as it was told.
    pub(super) fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Everything answered so far has a lower turn than this.
    pub(super) fn turn(&self) -> u64 {
        self.next
    }

    /// Whether everything answered before `turn` was told, or is not waited for any longer.
    pub(super) fn is_told(&mut self, turn: u64) -> bool {
        self.forget_old();
        self.awaited.first_key_value().is_none_or(|(&first, _)| first >= turn)
    }

    fn forget_old(&mut self) {
        while let Some(entry) = self.awaited.first_entry() {
            let (fact, since) = *entry.get();
            if since.elapsed() < AWAIT_MAX {
                return;
            }
            entry.remove();
            self.by_fact.remove(&fact);
        }
    }
}

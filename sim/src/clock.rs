//! The time of day and the ids of a simulated node.

use crate::dice::Dice;
use crate::trace::Trace;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vestibule_engine::Timestamp;
use vestibule_raft::seams::{Clock, IdSource};

/// When every run begins: 2026-01-01T00:00:00Z.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// How far log time may be ahead of the true time: clocks that count as right are off by some hundreds of milliseconds, and by as
/// much again before it is noticed.
pub const LOG_TIME_AHEAD_MAX: Duration = Duration::from_secs(2);

/// A clock that may be off by some milliseconds.
#[derive(Clone)]
pub struct SimClock {
    trace: Trace,
    skew_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock that is right.
    pub fn new(trace: Trace) -> Self {
        Self { trace, skew_ms: Arc::default() }
    }

    /// From now on it is off by this much.
    pub fn set_skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::SeqCst);
    }

    /// By how much it is off.
    pub fn skew(&self) -> i64 {
        self.skew_ms.load(Ordering::SeqCst)
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let right = u64::try_from((EPOCH + self.trace.now()).as_millis()).unwrap_or(u64::MAX);
        Timestamp(right.saturating_add_signed(self.skew()))
    }
}

/// Ids drawn from the seed.
pub struct SimIds(Mutex<Dice>);

impl SimIds {
    /// Ids of this stream.
    pub fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }
}

impl IdSource for SimIds {
    fn draw(&self) -> u128 {
        self.0.lock().expect("no holder of this lock panics").wide()
    }
}

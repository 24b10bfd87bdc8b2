//! What really happened, counted where it happens: a fault that was ordered and never came does not count.

use super::Kind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Counts what happened. Clones share it.
#[derive(Clone, Default)]
pub struct Tally {
    counts: Arc<Mutex<BTreeMap<Kind, u64>>>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, u64>> {
        self.counts.lock().expect("no holder of this lock panics")
    }

    /// It has happened.
    pub fn happened(&self, kind: Kind) {
        *self.lock().entry(kind).or_default() += 1;
    }

    /// How many times it has.
    pub fn of(&self, kind: Kind) -> u64 {
        self.lock().get(&kind).copied().unwrap_or(0)
    }

    /// All counts.
    pub fn counts(&self) -> BTreeMap<Kind, u64> {
        self.lock().clone()
    }
}

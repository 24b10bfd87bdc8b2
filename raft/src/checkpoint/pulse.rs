//! What can be seen of the checkpointer from outside, also while it is busy: that it gets on, and how long others wait.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use vestibule_sync::distribution::Distribution;

#[derive(Debug, Default)]
pub(crate) struct Pulse {
    steps: AtomicU64,
    /// How long requests waited before they were begun.
    pub(crate) waits: Distribution,
    longest_wait_micros: AtomicU64,
    /// Whether it was found not to get on.
    is_stalled: AtomicBool,
    /// Whether the store cannot be used until it is made anew.
    is_without_store: AtomicBool,
}

impl Pulse {
    /// The checkpointer has got on: a page was read or written, a request is done.
    pub(super) fn beat(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// How far it has got. When this stays the same, it has not.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// It was found not to get on: nobody is to wait for it once more.
    pub(super) fn note_stalled(&self) {
        self.is_stalled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// The store cannot be used from now on, or can be again.
    pub(super) fn set_without_store(&self, is_without_store: bool) {
        self.is_without_store.store(is_without_store, Ordering::Relaxed);
    }

    pub(crate) fn is_without_store(&self) -> bool {
        self.is_without_store.load(Ordering::Relaxed)
    }

    /// A request is begun that was made so long ago.
    pub(super) fn note_wait(&self, wait: Duration) {
        self.waits.observe_duration(wait);
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        self.longest_wait_micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// The longest that a request has waited.
    pub(crate) fn longest_wait(&self) -> Duration {
        Duration::from_micros(self.longest_wait_micros.load(Ordering::Relaxed))
    }
}

/// Why there is no answer from the checkpointer. It works on files that may be damaged, and sled panics on some of those
/// and hangs on others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It has ended.
    #[error("the checkpointer has stopped")]
    Stopped,
    /// It has neither read nor written anything for so long.
    #[error("the checkpointer has not got on for {0:?}")]
    Stalled(Duration),
}

/// How the checkpointer is.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Running,
    /// It was closed in good order.
    Closed,
    Failed(String),
}

//! What is on its way from a group's state to its checkpoint.

use crate::state::{Drained, GroupState};
use crate::wal::WalGroup;
use std::sync::Arc;
use vestibule_engine::planted::{self, Bug};

/// A group whose changes are written.
///
/// ```text
/// state ──drain──▶ gathered ──▶ waiting ──▶ store
///         always   unless one waits  once the log has its last entry on disk, and nobody reads the checkpoint
/// ```
pub(super) struct Attached {
    pub(super) state: Arc<GroupState>,
    pub(super) log: WalGroup,
    /// The index, plus one, up to which changes were taken from the state.
    pub(super) taken: u64,
    /// What was taken from the state behind what waits. It grows, so that little is left to be taken at a time.
    gathered: Option<Drained>,
    /// What waits for its entries to be on disk: a checkpoint must not be ahead of the log, or a restart would find a
    /// state that the log contradicts. It does not grow: under load the newest entry is never on disk.
    pub(super) waiting: Option<Drained>,
}

impl Attached {
    pub(super) fn new(state: Arc<GroupState>, log: WalGroup, taken: u64) -> Self {
        Self { state, log, taken, gathered: None, waiting: None }
    }

    /// Whether everything that changed was given out to be written.
    pub(super) fn is_level(&self) -> bool {
        self.gathered.is_none() && self.waiting.is_none() && self.state.progress().next_index == self.taken
    }

    /// Takes what changed from the state.
    pub(super) fn gather(&mut self) {
        if self.state.progress().next_index == self.taken {
            return;
        }
        let mut drained = self.state.drain();
        if planted::is(Bug::KeepRows) {
            drained.rows.0.retain(|_, value| value.is_some());
        }
        self.taken = drained.last.map_or(0, |last| last.index + 1);
        match &mut self.gathered {
            Some(gathered) => gathered.merge(drained),
            None => self.gathered = Some(drained),
        }
    }

    /// What is to be written next, if the log has come so far.
    pub(super) fn next_to_write(&mut self) -> Option<Drained> {
        if self.waiting.is_none() {
            self.waiting = self.gathered.take();
        }
        let log = &self.log;
        self.waiting.take_if(|waiting| waiting.last.is_none_or(|last| !log.is_pending(last.index)))
    }

    /// What was taken from the state is of no use any more: the whole of it, up to `next_index`, is in the store.
    pub(super) fn begin_at(&mut self, next_index: u64) {
        (self.taken, self.gathered, self.waiting) = (next_index, None, None);
    }
}

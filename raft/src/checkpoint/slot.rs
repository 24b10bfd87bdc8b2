//! Where the checkpoint of one group is.

use super::CheckpointMeta;
use std::sync::Arc;

/// Where a group's checkpoint is, and what it is.
pub(super) struct Slot {
    pub(super) number: u8,
    /// What was written last.
    pub(super) meta: CheckpointMeta,
    /// What was flushed last.
    pub(super) durable: CheckpointMeta,
    pub(super) pin: Arc<()>,
    pub(super) turn: Arc<()>,
}

impl Slot {
    pub(super) fn new(number: u8, durable: CheckpointMeta) -> Self {
        Self { number, meta: durable.clone(), durable, pin: Arc::default(), turn: Arc::default() }
    }

    /// Whether somebody reads the checkpoint.
    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }
}

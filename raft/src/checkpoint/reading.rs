//! Checkpoints that are read page by page, for peers and for backups.

use super::meta::META_KEY;
use super::{CheckpointMeta, Checkpoints, Request};
use std::io;
use std::sync::Arc;
use vestibule_engine::{GroupId, Row};

/// A checkpoint that is being read: it does not change while this lives.
pub struct Reading {
    checkpoints: Checkpoints,
    group: GroupId,
    meta: CheckpointMeta,
    cursor: Cursor,
}

/// A checkpoint that does not change for as long as somebody holds the pin.
pub(super) struct Pinned {
    pub(super) meta: CheckpointMeta,
    pub(super) pin: Arc<()>,
}

/// How far a checkpoint has been read.
#[derive(Clone)]
pub(super) struct Cursor {
    pub(super) pin: Arc<()>,
    pub(super) after: Vec<u8>,
    /// What has been read: at the end it has to be all that was written.
    pub(super) found: CheckpointMeta,
}

impl Reading {
    pub(super) fn new(checkpoints: Checkpoints, group: GroupId, Pinned { meta, pin }: Pinned) -> Self {
        let cursor = Cursor { pin, after: META_KEY.to_vec(), found: meta.without_rows() };
        Self { checkpoints, group, meta, cursor }
    }

    /// What is being read.
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// Waits until `bytes` more may leave this node.
    pub(crate) async fn pace(&self, bytes: usize) {
        self.checkpoints.pace.pass(bytes).await;
    }

    /// The next rows; none when all have been read. `InvalidData` means that they are not what was written, whether one is
    /// damaged or, which shows at the end, some are missing or old.
    pub async fn next_page(&mut self) -> io::Result<Vec<Row>> {
        let (group, cursor) = (self.group, self.cursor.clone());
        let (rows, cursor) = self.checkpoints.ask(|answer| Request::ReadPage { group, cursor, answer }).await?;
        self.cursor = cursor;
        Ok(rows)
    }
}

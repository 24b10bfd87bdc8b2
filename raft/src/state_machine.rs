//! openraft's view of a group's state machine, and of its snapshots.

use crate::checkpoint::{Checkpoints, Reading, Receiving};
use crate::metrics::Instruments;
use crate::state::GroupState;
use crate::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use futures::{Stream, StreamExt};
use openraft::alias::SnapshotOf;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use std::io;
use std::sync::Arc;
use tokio::time::Instant;
use vestibule_engine::GroupId;

/// A snapshot on its way: our own checkpoint, or one received from a peer.
pub enum SnapshotHandle {
    /// A durable checkpoint, mostly of this node.
    Own(OwnCheckpoint),
    /// One that was received whole and waits to be installed.
    Received(Receiving),
}

/// The durable checkpoint of a group, as it will be once it is opened: what openraft was told of it, or newer. To open it
/// may take long, and openraft asks for snapshots where it applies entries.
pub struct OwnCheckpoint {
    checkpoints: Checkpoints,
    group: GroupId,
}

impl OwnCheckpoint {
    /// Begins to read it.
    pub(crate) async fn open(&self) -> io::Result<Reading> {
        self.checkpoints.begin_read(self.group).await
    }
}

/// A snapshot, as openraft has it.
pub type Snapshot = SnapshotOf<TypeConfig, SnapshotHandle>;

/// The state machine of one group, for openraft.
pub struct MachineStore {
    state: Arc<GroupState>,
    checkpoints: Checkpoints,
    instruments: Arc<Instruments>,
}

impl MachineStore {
    /// The store over a group's state; its snapshots are the checkpoints of `checkpoints`.
    pub fn new(state: Arc<GroupState>, checkpoints: Checkpoints) -> Self {
        Self { state, checkpoints, instruments: Arc::default() }
    }

    /// Notes how long applying takes.
    pub(crate) fn measured(self, instruments: Arc<Instruments>) -> Self {
        Self { instruments, ..self }
    }

    async fn copy(&self, reading: &mut Reading) -> io::Result<Receiving> {
        let mut receiving = self.checkpoints.begin_receive(self.state.group()).await?;
        loop {
            let rows = reading.next_page().await?;
            if rows.is_empty() {
                return Ok(receiving);
            }
            receiving = self.checkpoints.put_page(receiving, rows).await?;
        }
    }
}

/// Builds a snapshot: makes the group's checkpoint durable and hands it out.
pub struct CheckpointBuilder {
    state: Arc<GroupState>,
    checkpoints: Checkpoints,
}

fn current(state: &GroupState, checkpoints: &Checkpoints) -> Snapshot {
    let saved = checkpoints.saved(state.group());
    let meta = SnapshotMeta { last_log_id: saved.last, last_membership: saved.membership };
    let own = OwnCheckpoint { checkpoints: checkpoints.clone(), group: state.group() };
    Snapshot { meta, snapshot: SnapshotHandle::Own(own) }
}

impl RaftSnapshotBuilder<TypeConfig> for CheckpointBuilder {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        self.checkpoints.save(self.state.group()).await?;
        Ok(current(&self.state, &self.checkpoints))
    }
}

impl RaftStateMachine<TypeConfig> for MachineStore {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = CheckpointBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.state.applied())
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let begun = Instant::now();
            let replies = self.state.apply(&entry)?;
            self.instruments.apply.observe_duration(begun.elapsed());
            if let Some(responder) = responder {
                responder.send(replies);
            }
            // Long runs of entries, as after a restart, must not starve the other groups.
            if matches!(entry.payload, EntryPayload::Normal(_)) {
                tokio::task::consume_budget().await;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> CheckpointBuilder {
        CheckpointBuilder { state: self.state.clone(), checkpoints: self.checkpoints.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotHandle) -> io::Result<()> {
        let receiving = match snapshot {
            SnapshotHandle::Received(receiving) => receiving,
            SnapshotHandle::Own(own) => self.copy(&mut own.open().await?).await?,
        };
        self.checkpoints.install(receiving, meta.last_log_id, meta.last_membership.clone()).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshot = current(&self.state, &self.checkpoints);
        Ok(snapshot.meta.last_log_id.is_some().then_some(snapshot))
    }
}

//! The applied state of a group: its machine, and how far the log has been applied to it.

use crate::checkpoint::Checkpoints;
use crate::machine::Machine;
use crate::types::{Batch, Entry, LogId, Replies, StoredMembership};
use bytes::Bytes;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, watch};
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{DirtyRows, GroupId, Sequence, Timestamp};

/// How far a group has come on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Term of the last entry applied; 0 before the first.
    pub term: u64,
    /// Index of the last entry applied, plus one; 0 before the first.
    pub next_index: u64,
    /// Sequence of the last event.
    pub last_sequence: Sequence,
    /// When the machine wants a tick.
    pub next_due: Option<Timestamp>,
}

/// The applied state of one group on one node.
pub struct GroupState {
    group: GroupId,
    applied: RwLock<Applied>,
    progress: watch::Sender<Progress>,
    /// Where what changes is counted, once it is written to checkpoints.
    dirt: OnceLock<Arc<Dirt>>,
}

/// How much log was applied, to all groups together, since their changes were last taken to be written. It bounds what
/// has to be applied again after a crash.
#[derive(Debug)]
pub(crate) struct Dirt {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
    due: Notify,
}

impl Default for Dirt {
    fn default() -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max: AtomicU64::new(u64::MAX), due: Notify::new() }
    }
}

impl Dirt {
    pub(crate) fn set_max(&self, bytes: u64) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    fn add(&self, bytes: u64) {
        let (before, max) = (self.bytes.fetch_add(bytes, Ordering::Relaxed), self.bytes_max.load(Ordering::Relaxed));
        // Told once: when it cannot be written now, the next look comes with time.
        if before < max && before.saturating_add(bytes) >= max {
            self.due.notify_one();
        }
    }

    /// Resolves when there is more than may be.
    pub(crate) async fn due(&self) {
        self.due.notified().await;
    }

    /// What there is so far is being taken.
    pub(crate) fn begin(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }
}

/// A machine with the log position that it stands at.
pub(crate) struct Applied {
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl Applied {
    fn progress(&self) -> Progress {
        Progress {
            term: self.last.map_or(0, |last| last.leader_id.term),
            next_index: self.last.map_or(0, |last| last.index + 1),
            last_sequence: self.machine.last_sequence(),
            next_due: self.machine.next_due(),
        }
    }
}

/// What changed since the last drain, and the position that it brings the stored state to.
pub(crate) struct Drained {
    pub(crate) rows: DirtyRows,
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl GroupState {
    pub(crate) fn new(group: GroupId, applied: Applied) -> Self {
        let progress = watch::Sender::new(applied.progress());
        Self { group, applied: RwLock::new(applied), progress, dirt: OnceLock::new() }
    }

    /// The state as the group's checkpoint has it; `InvalidData` means that the checkpoint is damaged.
    pub async fn open(group: GroupId, checkpoints: &Checkpoints) -> io::Result<Self> {
        Ok(Self::new(group, checkpoints.load(group).await?))
    }

    /// Which group's state this is.
    pub fn group(&self) -> GroupId {
        self.group
    }

    fn read(&self) -> RwLockReadGuard<'_, Applied> {
        self.applied.read().expect("a machine that panicked has stopped the node")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Applied> {
        self.applied.write().expect("a machine that panicked has stopped the node")
    }

    /// Follows how far the group has come.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// How far the group has come.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Answers an encoded query, and says as of where.
    pub fn query(&self, query: &[u8]) -> Result<(Vec<u8>, Progress), String> {
        let applied = self.read();
        let answer = applied.machine.query(query).map_err(|error| error.to_string())?;
        Ok((answer, applied.progress()))
    }

    /// Up to `count_max` encoded events from a sequence on; `Err` is the oldest sequence that is kept.
    pub fn events(&self, from: Sequence, count_max: usize) -> Result<Vec<Bytes>, Sequence> {
        self.read().machine.events(from, count_max)
    }

    /// Recounts the machine's invariants; `Err` names the first that does not hold.
    pub fn audit(&self) -> Result<(), String> {
        self.read().machine.audit()
    }

    /// The position of the last entry applied, and the digest of the state there.
    pub fn digest(&self) -> (Option<LogId>, [u8; 32]) {
        let applied = self.read();
        (applied.last, applied.machine.digest())
    }

    /// From now on, what is applied counts as dirt.
    pub(crate) fn count_dirt(&self, dirt: Arc<Dirt>) {
        // A state that is attached again counts where it did.
        let _ = self.dirt.set(dirt);
    }

    pub(crate) fn applied(&self) -> (Option<LogId>, StoredMembership) {
        let applied = self.read();
        (applied.last, applied.membership.clone())
    }

    pub(crate) fn apply(&self, entry: &Entry) -> io::Result<Replies> {
        let mut applied = self.write();
        let replies = match &entry.payload {
            openraft::EntryPayload::Blank => Replies::default(),
            openraft::EntryPayload::Normal(batch) => apply_batch(&mut *applied.machine, batch)?,
            openraft::EntryPayload::Membership(membership) => {
                applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                Replies::default()
            }
        };
        applied.last = Some(entry.log_id);
        let progress = applied.progress();
        drop(applied);
        self.progress.send_replace(progress);
        if let (Some(dirt), openraft::EntryPayload::Normal(batch)) = (self.dirt.get(), &entry.payload) {
            dirt.add(batch.bytes().len() as u64);
        }
        Ok(replies)
    }

    /// Lets happen what is due by a node's own clock: what one planted bug does, and nothing else may.
    pub(crate) fn expire(&self, now: Timestamp) {
        if planted::is(Bug::ExpireByTimer) {
            let tick = crate::machine::tick(self.group);
            self.write().machine.apply(now, &[tick]).expect("a tick decodes");
        }
    }

    pub(crate) fn drain(&self) -> Drained {
        let mut applied = self.write();
        Drained { rows: applied.machine.drain_dirty(), last: applied.last, membership: applied.membership.clone() }
    }

    /// Every row of the state, as what there is to be stored of it.
    pub(crate) fn drain_whole(&self) -> Drained {
        let mut applied = self.write();
        applied.machine.drain_dirty();
        let rows = applied.machine.rows().into_iter().map(|row| (row.key, Some(row.value))).collect();
        Drained { rows: DirtyRows(rows), last: applied.last, membership: applied.membership.clone() }
    }

    pub(crate) fn replace(&self, new: Applied) {
        let progress = new.progress();
        *self.write() = new;
        self.progress.send_replace(progress);
    }
}

/// A batch was checked before it was proposed, so one that does not decode means damage or another version of the
/// engine: the node must stop.
fn apply_batch(machine: &mut dyn Machine, batch: &Batch) -> io::Result<Replies> {
    let bad = |reason: String| io::Error::new(io::ErrorKind::InvalidData, format!("a committed batch: {reason}"));
    let (at, commands) = batch.unpack().map_err(|error| bad(error.to_string()))?;
    let replies = machine.apply(at, &commands).map_err(|error| bad(error.to_string()))?;
    Ok(Replies(replies))
}

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

/// Commands after whose changes are taken from the machine, where they wait to be written. What is left to be taken at any
/// other time is no more, so that applying never pauses for long.
const COMMANDS_A_SLICE: usize = 512;
/// Events copied in one go: applying waits as long.
const EVENTS_A_LOOK: usize = 64;

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
    backlog: Backlog,
}

/// What was taken from a machine, and is not written yet.
#[derive(Default)]
struct Backlog {
    slices: Vec<DirtyRows>,
    /// Commands applied since the last of them was taken.
    commands: usize,
}

impl Applied {
    pub(crate) fn new(machine: Box<dyn Machine>, last: Option<LogId>, membership: StoredMembership) -> Self {
        Self { machine, last, membership, backlog: Backlog::default() }
    }

    /// Notes that changes came from so many commands; takes them from the machine when they are many.
    fn note_changes(&mut self, commands: usize) {
        self.backlog.commands += commands;
        if self.backlog.commands >= COMMANDS_A_SLICE {
            self.backlog.commands = 0;
            self.backlog.slices.push(self.machine.drain_dirty());
        }
    }

    /// Index of the last entry applied, plus one; 0 before the first.
    pub(crate) fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    fn progress(&self) -> Progress {
        Progress {
            term: self.last.map_or(0, |last| last.leader_id.term),
            next_index: self.next_index(),
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

impl Drained {
    /// Takes in what was drained after it.
    pub(crate) fn merge(&mut self, later: Self) {
        self.rows.merge(later.rows);
        (self.last, self.membership) = (later.last, later.membership);
    }
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
        let (answer, progress) = {
            let applied = self.read();
            (applied.machine.query(query).map_err(|error| error.to_string())?, applied.progress())
        };
        Ok((answer.encode(), progress))
    }

    /// Up to `count_max` encoded events from a sequence on; `Err` is the oldest sequence that is kept.
    pub fn events(&self, from: Sequence, count_max: usize) -> Result<Vec<Bytes>, Sequence> {
        let mut events = Vec::new();
        loop {
            let next = from + events.len() as u64;
            let wanted = EVENTS_A_LOOK.min(count_max - events.len());
            let looked = self.read().machine.events(next, wanted);
            let found = match looked {
                Ok(found) => found.encode(),
                // Forgotten since the last look: whoever asks next is told.
                Err(_) if !events.is_empty() => return Ok(events),
                Err(oldest) => return Err(oldest),
            };
            let is_last = found.len() < EVENTS_A_LOOK;
            events.extend(found);
            if is_last || events.len() >= count_max {
                return Ok(events);
            }
        }
    }

    /// Recounts the machine's invariants; `Err` names the first that does not hold. Nothing is applied meanwhile: it is
    /// for tests.
    pub fn audit(&self) -> Result<(), String> {
        self.read().machine.audit()
    }

    /// The position of the last entry applied, and the digest of the state there. Nothing is applied meanwhile: it is for
    /// tests.
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

    #[tracing::instrument(level = "debug", skip_all, fields(group = %self.group, index = entry.log_id.index))]
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
        if self.dirt.get().is_some() {
            applied.note_changes(replies.0.len());
        }
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

    /// Takes what changed since the last time.
    pub(crate) fn drain(&self) -> Drained {
        let (slices, last, membership) = {
            let mut applied = self.write();
            let rest = applied.machine.drain_dirty();
            let mut slices = std::mem::take(&mut applied.backlog).slices;
            slices.push(rest);
            (slices, applied.last, applied.membership.clone())
        };
        let mut rows = DirtyRows::default();
        slices.into_iter().for_each(|slice| rows.merge(slice));
        Drained { rows, last, membership }
    }

    /// Every row of the state, as what there is to be stored of it.
    pub(crate) fn drain_whole(&self) -> Drained {
        let mut applied = self.write();
        applied.machine.drain_dirty();
        applied.backlog = Backlog::default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;
    use crate::types::to_entry;
    use crate::wal::{EntryBody, LogPosition};
    use vestibule_engine::{CreateOrganisation, DirectoryCommand, Envelope, RequestId, Row, UserId, codec};

    /// An entry of a hundred commands.
    fn entry(index: u64) -> Entry {
        let command = |number: u64| {
            let ask = CreateOrganisation { by: UserId(7), name: format!("House {index} {number}") };
            let request = Some(RequestId(u128::from(index * 100 + number)));
            codec::encode(&Envelope { request, command: DirectoryCommand::CreateOrganisation(ask) }).into()
        };
        let batch = Batch::new(Timestamp(1_000 + index), &(0..100).map(command).collect::<Vec<_>>());
        let position = LogPosition { term: 1, node: 1, index };
        to_entry(position, EntryBody::Batch(batch.bytes().clone())).expect("a batch makes an entry")
    }

    fn empty() -> GroupState {
        let machine = machine::load(GroupId::DIRECTORY, std::iter::empty()).expect("no rows are the empty state");
        GroupState::new(GroupId::DIRECTORY, Applied::new(machine, None, StoredMembership::default()))
    }

    #[test]
    fn little_is_left_to_be_taken_at_a_time() {
        let state = empty();
        state.count_dirt(Arc::default());
        (0..103).for_each(|index| drop(state.apply(&entry(index)).expect("it applies")));
        let left = state.write().machine.drain_dirty();
        let drained = state.drain();
        assert!(drained.rows.0.len() > 10_000, "{} rows in all", drained.rows.0.len());
        assert!(left.0.len() < 4 * COMMANDS_A_SLICE, "{} rows at once", left.0.len());
        // Together they are the state as of the last entry.
        let mut rows = drained.rows;
        rows.merge(left);
        let rows = rows.0.into_iter().filter_map(|(key, value)| Some(Row { key, value: value? }));
        let loaded = machine::load(GroupId::DIRECTORY, rows).expect("the rows load");
        assert_eq!((drained.last, loaded.digest()), state.digest());
    }

    #[test]
    fn what_is_applied_is_not_kept_where_nobody_writes_it() {
        let state = empty();
        (0..20).for_each(|index| drop(state.apply(&entry(index)).expect("it applies")));
        assert!(state.write().backlog.slices.is_empty());
    }

    #[test]
    fn events_are_given_in_order_however_many_are_wanted() {
        let state = empty();
        (0..5).for_each(|index| drop(state.apply(&entry(index)).expect("it applies")));
        let last = state.progress().last_sequence;
        let all = state.events(1, usize::MAX).expect("none is forgotten");
        assert_eq!(all.len() as u64, last);
        for count_max in [0, 1, EVENTS_A_LOOK - 1, EVENTS_A_LOOK, EVENTS_A_LOOK + 1, 300] {
            assert_eq!(state.events(7, count_max).expect("none is forgotten"), all[6..6 + count_max], "{count_max}");
        }
        assert_eq!(state.events(last + 1, 10).expect("there will be some"), Vec::<Bytes>::new());
    }
}

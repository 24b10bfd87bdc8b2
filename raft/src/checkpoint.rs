//! Checkpoints: what each group has applied, written to a [`CheckpointStore`] behind its back.
//!
//! One task owns the store. Every so often it takes the rows that changed in each group since the last time, writes
//! them in one batch a group together with the log position they stand for, and flushes once for all. Applying never
//! waits for it. Each row carries a checksum; the meta row carries the number of rows and a digest over all of them
//! that does not depend on their order, both recounted when a checkpoint is loaded.
//!
//! A store that meets a full disk is done without until there is room; then it is made anew from memory (`outage`).
//!
//! ```text
//!  catalog   identity                       whose checkpoints these are
//!            g3 ▶ slot 1                    which of its two namespaces a group's checkpoint is in
//!  g3.0      (empty, or a snapshot that is being received)
//!  g3.1      meta: owner, position, membership, count, digest     rows…
//! ```

mod attached;
mod final_error;
mod meta;
mod outage;
mod pace;
mod pulse;
mod reading;
mod slot;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;

pub(crate) use meta::is_damage_of_group;
pub use meta::{CheckpointMeta, ForeignCheckpoints};
pub use pulse::NoAnswer;
pub use reading::Reading;
pub(crate) use verify::verify;

use crate::machine;
use crate::node::is_damage;
use crate::seams::{CheckpointStore, StoredChanges};
use crate::state::{Applied, Dirt, Drained, GroupState};
use crate::types::{LogId, StoredMembership};
use crate::wal::{Owner, WalGroup};
use attached::Attached;
use final_error::FinalError;
use meta::{IDENTITY_KEY, META_KEY, check_identity, damaged, identity, row_key, seal, unseal, unseal_row};
use outage::Outage;
use pace::Pace;
use pulse::{Condition, Pulse};
use reading::{Cursor, Pinned};
use slot::Slot;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{CorruptRow, GroupId, Row};

/// Bytes of rows that are read from the store at a time, unless something else is said.
const PAGE_BYTES: usize = 256 << 10;
/// How long whoever wants a checkpoint waits for the log to have what is to be in it. After that an older one has to do.
const LOG_PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
const LOG_PAUSE: Duration = Duration::from_millis(5);
/// How long the checkpointer may take over a page, or anything else that it does in one piece, before it counts as
/// stalled: damaged files can make sled hang. However long a whole checkpoint takes to be loaded, page follows page.
const STALLED_AFTER: Duration = Duration::from_secs(60);
/// How long a checkpointer may do anything in one piece before it counts as hung for good: sled waits for ever behind a flush
/// that failed. To clear away a large checkpoint takes long, and is one piece.
const HUNG_AFTER: Duration = Duration::from_secs(300);
/// How long the last changes may take to be written when the node stops.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);
/// Requests that may wait for the checkpointer.
const REQUESTS_MAX: usize = 256;
const CATALOG: &str = "catalog";

/// Not of the kind `StorageFull`: the store has not met the full disk, and goes on.
fn no_room(group: GroupId) -> io::Error {
    io::Error::other(format!("there is no room for a snapshot of {group}; nothing is kept of it"))
}

fn namespace(group: GroupId, slot: u8) -> String {
    format!("{group}.{slot}")
}

fn next_index(meta: &CheckpointMeta) -> u64 {
    meta.last.map_or(0, |last| last.index + 1)
}

type Answer<T> = oneshot::Sender<io::Result<T>>;

enum Request {
    Load { group: GroupId, answer: Answer<Applied> },
    Attach { state: Arc<GroupState>, log: WalGroup, answer: Answer<()> },
    Save { group: GroupId, answer: Answer<Saved> },
    BeginRead { group: GroupId, answer: Answer<Pinned> },
    ReadPage { group: GroupId, cursor: Cursor, answer: Answer<(Vec<Row>, Cursor)> },
    BeginReceive { group: GroupId, answer: Answer<Receiving> },
    PutPage { receiving: Receiving, rows: Vec<Row>, answer: Answer<Receiving> },
    FinishReceive { receiving: Receiving, answer: Answer<Receiving> },
    Install { receiving: Receiving, meta: Box<CheckpointMeta>, answer: Answer<()> },
    Unpin { group: GroupId, answer: Answer<bool> },
    Forget { group: GroupId, answer: Answer<()> },
    SetAside { group: GroupId, is_kept: bool, answer: Answer<()> },
    Close { answer: Answer<()> },
}

/// What is durable of a group.
struct Saved {
    meta: CheckpointMeta,
    /// The index, plus one, up to which what was applied is written as soon as the log has it on disk.
    awaited: Option<u64>,
}

/// A checkpoint that is being received into the group's other slot.
pub struct Receiving {
    group: GroupId,
    slot: u8,
    meta: CheckpointMeta,
    /// While it lives, no other may be received into the slot.
    turn: Arc<()>,
}

/// A handle to the checkpointer of a node. Clones share it.
#[derive(Clone)]
pub struct Checkpoints {
    /// With the time at which each was made.
    requests: mpsc::Sender<(Instant, Request)>,
    pulse: Arc<Pulse>,
    condition: watch::Receiver<Condition>,
    saved: watch::Receiver<BTreeMap<GroupId, CheckpointMeta>>,
    pace: Arc<Pace>,
    dirt: Arc<Dirt>,
    page_bytes: Arc<AtomicUsize>,
    all_attached: Arc<AtomicBool>,
    interval: Duration,
}

impl Checkpoints {
    /// Makes a checkpointer over `store`: a handle to it, and the task that has to be run for it to work. It writes
    /// what changed every `interval`. A store that is not the owner's is refused by the first call.
    pub fn new(
        store: Arc<dyn CheckpointStore>,
        owner: Owner,
        interval: Duration,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let (fail, condition) = watch::channel(Condition::Running);
        let store = Arc::new(FinalError::new(store, fail.clone()));
        let (save, saved) = watch::channel(BTreeMap::new());
        let (slots, attached) = (BTreeMap::new(), BTreeMap::new());
        let (dirt, pulse): (Arc<Dirt>, Arc<Pulse>) = Default::default();
        let page_bytes = Arc::new(AtomicUsize::new(PAGE_BYTES));
        let all_attached: Arc<AtomicBool> = Arc::default();
        let task = Checkpointer {
            store,
            owner,
            is_claimed: false,
            interval,
            slots,
            attached,
            outage: None,
            mends: Vec::new(),
            all_attached: all_attached.clone(),
            dirt: dirt.clone(),
            page_bytes: page_bytes.clone(),
            pulse: pulse.clone(),
            fail,
            save,
        };
        (
            Self { requests, pulse, condition, saved, pace: Arc::default(), dirt, page_bytes, all_attached, interval },
            task.run(received),
        )
    }

    /// From now on, the state of every group that has a checkpoint here is attached, so that memory has all that is in the
    /// store. Before, no store is made anew.
    pub fn note_all_attached(&self) {
        self.all_attached.store(true, Ordering::Relaxed);
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> io::Result<T> {
        let stopped = || io::Error::other(NoAnswer::Stopped);
        let (answer, answered) = oneshot::channel();
        self.requests.send((Instant::now(), request(answer))).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Asks, and gives up when the checkpointer does not get on: with this, or with what was asked for before.
    async fn ask_while_it_gets_on<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> io::Result<T> {
        let mut asked = std::pin::pin!(self.ask(request));
        let mut steps = self.pulse.steps();
        loop {
            match tokio::time::timeout(STALLED_AFTER, &mut asked).await {
                Ok(answer) => return answer,
                Err(_) if self.pulse.steps() == steps => {
                    self.pulse.note_stalled();
                    return Err(io::Error::new(io::ErrorKind::TimedOut, NoAnswer::Stalled(STALLED_AFTER)));
                }
                Err(_) => steps = self.pulse.steps(),
            }
        }
    }

    /// From now on, checkpoints leave this node with so many bytes a second, all together.
    pub fn limit_sending(&self, bytes_per_second: u64) {
        self.pace.set(bytes_per_second);
    }

    /// From now on, what changed is written at once when that comes from so many bytes of log, of all groups together.
    pub fn limit_dirt(&self, bytes: u64) {
        self.dirt.set_max(bytes);
    }

    /// From now on, about so many bytes of rows are read from the store at a time.
    pub fn limit_pages(&self, bytes: usize) {
        self.page_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Loads and verifies the checkpoint of a group. `InvalidData` means that it is damaged, and [`NoAnswer`] that it may
    /// be; with any other error it may be good.
    pub(crate) async fn load(&self, group: GroupId) -> io::Result<Applied> {
        self.ask_while_it_gets_on(|answer| Request::Load { group, answer }).await
    }

    /// From now on, the state's changes are written, once the entries that they come from are on disk in `log`. What the
    /// state was made from must have been loaded here, or be empty.
    pub async fn attach(&self, state: Arc<GroupState>, log: WalGroup) -> io::Result<()> {
        self.ask(|answer| Request::Attach { state, log, answer }).await
    }

    /// Makes what the group has applied durable, and says what that is. While the group's checkpoint is being read, and
    /// when the log takes too long to have on disk what was applied, the answer is an older one.
    pub async fn save(&self, group: GroupId) -> io::Result<CheckpointMeta> {
        let deadline = Instant::now() + LOG_PATIENCE;
        let mut wanted = None;
        loop {
            let Saved { meta, awaited } = self.ask(|answer| Request::Save { group, answer }).await?;
            // What is applied meanwhile is not waited for: it would never end.
            let Some(awaited) = awaited else { return Ok(meta) };
            if next_index(&meta) >= *wanted.get_or_insert(awaited) || Instant::now() > deadline {
                return Ok(meta);
            }
            // Here and not where checkpoints are written: the other groups' go on.
            tokio::time::sleep(LOG_PAUSE).await;
        }
    }

    /// Begins to read the group's durable checkpoint.
    pub async fn begin_read(&self, group: GroupId) -> io::Result<Reading> {
        let pinned = self.ask(|answer| Request::BeginRead { group, answer }).await?;
        Ok(Reading::new(self.clone(), group, pinned))
    }

    /// Begins to receive a checkpoint of the group from elsewhere. Refused while another is being received or waits to be
    /// installed.
    pub async fn begin_receive(&self, group: GroupId) -> io::Result<Receiving> {
        self.ask(|answer| Request::BeginReceive { group, answer }).await
    }

    /// Takes rows of a checkpoint that is being received. Without room for them, all that has arrived is removed.
    pub async fn put_page(&self, receiving: Receiving, rows: Vec<Row>) -> io::Result<Receiving> {
        self.ask(|answer| Request::PutPage { receiving, rows, answer }).await
    }

    /// Makes what was received durable. A disk that has no room for it shows now, while it can still be given up: Raft takes
    /// it for an error of the disk when a checkpoint that has arrived cannot be installed.
    pub async fn finish_receive(&self, receiving: Receiving) -> io::Result<Receiving> {
        self.ask(|answer| Request::FinishReceive { receiving, answer }).await
    }

    /// Puts a received checkpoint in place of the group's own, durably and all at once, and its state in place of the
    /// attached one. Nothing may be applied to that meanwhile.
    pub async fn install(
        &self,
        receiving: Receiving,
        last: Option<LogId>,
        membership: StoredMembership,
    ) -> io::Result<()> {
        let meta = Box::new(CheckpointMeta { last, membership, is_received: true, ..receiving.meta.clone() });
        self.ask(|answer| Request::Install { receiving, meta, answer }).await
    }

    /// Takes the group's checkpoint from whoever reads it: what they have not read yet they do not get. It can change
    /// again then. Gives whether anybody read it.
    pub(crate) async fn unpin(&self, group: GroupId) -> io::Result<bool> {
        self.ask(|answer| Request::Unpin { group, answer }).await
    }

    /// Gives up the checkpoint of a group that is hosted here no longer. Nothing of it is written any more.
    pub async fn forget(&self, group: GroupId) -> io::Result<()> {
        self.ask(|answer| Request::Forget { group, answer }).await
    }

    /// Begins the checkpoint of a group anew because it is damaged, and leaves those of the others alone. What there is of it
    /// may be kept for as long as there is no other copy here.
    pub(crate) async fn set_aside(&self, group: GroupId, is_kept: bool) -> io::Result<()> {
        self.ask(|answer| Request::SetAside { group, is_kept, answer }).await
    }

    /// Writes everything that changed and stops. One that was found not to get on is left behind.
    pub async fn close(&self) -> io::Result<()> {
        if self.pulse.is_stalled() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, NoAnswer::Stalled(STALLED_AFTER)));
        }
        let late = || {
            io::Error::new(io::ErrorKind::TimedOut, format!("the checkpointer has not closed in {CLOSE_PATIENCE:?}"))
        };
        let closed = self.ask(|answer| Request::Close { answer });
        let closed = tokio::time::timeout(CLOSE_PATIENCE, closed).await.map_err(|_| late())?;
        closed.map_err(|error| match &*self.condition.borrow() {
            Condition::Failed(reason) => io::Error::other(format!("the checkpoints failed before: {reason}")),
            _ => error,
        })
    }

    /// Resolves when the store has failed or hangs, with the reason. The node must stop then.
    pub async fn failed(&self) -> String {
        let mut condition = self.condition.clone();
        let mut ended = std::pin::pin!(condition.wait_for(|now| !matches!(now, Condition::Running)));
        let mut steps = self.pulse.steps();
        loop {
            match tokio::time::timeout(self.interval.saturating_add(HUNG_AFTER), &mut ended).await {
                Ok(Ok(now)) => match &*now {
                    Condition::Failed(reason) => return reason.clone(),
                    _ => break,
                },
                Ok(Err(_)) => return "the checkpointer died".to_owned(),
                // It takes a step at least every interval.
                Err(_) if self.pulse.steps() == steps => return NoAnswer::Stalled(HUNG_AFTER).to_string(),
                Err(_) => steps = self.pulse.steps(),
            }
        }
        std::future::pending().await
    }

    /// Requests that wait for the checkpointer.
    pub(crate) fn queue_len(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }

    /// How it gets on.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The index, plus one, up to which the group's state is durable.
    pub fn saved_next_index(&self, group: GroupId) -> u64 {
        self.saved.borrow().get(&group).map_or(0, next_index)
    }

    /// What is durable of the group. Nothing is waited for.
    pub(crate) fn saved(&self, group: GroupId) -> CheckpointMeta {
        self.saved.borrow().get(&group).cloned().unwrap_or_default()
    }
}

impl Receiving {
    /// What was received so far.
    pub(crate) fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }
}

struct Checkpointer {
    store: Arc<dyn CheckpointStore>,
    owner: Owner,
    /// Whether the store is known to be the owner's.
    is_claimed: bool,
    interval: Duration,
    slots: BTreeMap<GroupId, Slot>,
    attached: BTreeMap<GroupId, Attached>,
    /// While the store cannot be used, because the disk was full or it was found damaged.
    outage: Option<Outage>,
    /// When the store was found damaged, and was to be made anew.
    mends: Vec<Instant>,
    all_attached: Arc<AtomicBool>,
    dirt: Arc<Dirt>,
    page_bytes: Arc<AtomicUsize>,
    pulse: Arc<Pulse>,
    fail: watch::Sender<Condition>,
    save: watch::Sender<BTreeMap<GroupId, CheckpointMeta>>,
}

impl Checkpointer {
    async fn run(mut self, mut requests: mpsc::Receiver<(Instant, Request)>) {
        let mut due = Instant::now() + self.interval;
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some((made_at, request)) = request else { return };
                    self.pulse.note_wait(made_at.elapsed());
                    if let Request::Close { answer } = request {
                        let saved = self.save_last().await;
                        // First the store: sled writes to its files until it is gone.
                        drop(self);
                        let _ = answer.send(saved);
                        return;
                    }
                    self.handle(request).await;
                    self.pulse.beat();
                }
                () = async { tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.dirt.due() => {}
                } } => {
                    if let Err(error) = self.tend().await {
                        self.fail.send_replace(Condition::Failed(error.to_string()));
                        return;
                    }
                    self.pulse.beat();
                    due = Instant::now() + self.interval;
                }
            }
        }
    }

    /// Writes what changed, or sees whether there is a store again to write it to.
    async fn tend(&mut self) -> io::Result<()> {
        if self.outage.is_some() {
            return self.try_anew().await;
        }
        self.save_all().await.or_else(|error| self.survive(error))
    }

    /// An answer that nobody waits for any more is dropped.
    async fn handle(&mut self, request: Request) {
        let Some(request) = self.answer_without_store(request) else { return };
        match request {
            Request::Load { group, answer } => drop(answer.send(self.load(group).await)),
            Request::Attach { state, log, answer } => drop(answer.send(self.attach(state, log).await)),
            Request::Save { group, answer } => {
                let saved: io::Result<Saved> = self.save_one(group).await.or_else(|error| {
                    self.survive(error)?;
                    Ok(Saved { meta: self.durable(group)?, awaited: None })
                });
                if let Err(error) = &saved {
                    self.fail.send_replace(Condition::Failed(error.to_string()));
                }
                drop(answer.send(saved));
            }
            Request::BeginRead { group, answer } => {
                let pinned = self.begin_read(group).await.or_else(|error| {
                    self.survive(error)?;
                    self.pin(group)
                });
                drop(answer.send(pinned));
            }
            Request::ReadPage { group, cursor, answer } => {
                let page = self.read_page(group, cursor).await;
                drop(answer.send(self.note_lost(page)));
            }
            Request::BeginReceive { group, answer } => {
                let begun = self.begin_receive(group).await;
                drop(answer.send(self.note_lost(begun)));
            }
            Request::PutPage { receiving, rows, answer } => {
                let put = self.put_page(receiving, rows).await;
                drop(answer.send(self.note_lost(put)));
            }
            Request::FinishReceive { receiving, answer } => {
                let finished = self.finish_receive(receiving).await;
                drop(answer.send(self.note_lost(finished)));
            }
            Request::Install { receiving, meta, answer } => {
                let installed = self.install(receiving, *meta).await;
                drop(answer.send(self.note_lost(installed)));
            }
            Request::Unpin { group, answer } => {
                let slot = self.slots.get_mut(&group).filter(|slot| slot.is_pinned());
                let was_read = slot.map(|slot| slot.pin = Arc::default()).is_some();
                drop(answer.send(Ok(was_read)));
            }
            Request::Forget { group, answer } => {
                let forgotten = self.forget(group).await;
                let forgotten = self.note_lost(forgotten);
                if forgotten.is_err() && self.outage.is_none() {
                    self.fail.send_replace(Condition::Failed(format!("{forgotten:?}")));
                }
                drop(answer.send(forgotten));
            }
            Request::SetAside { group, is_kept, answer } => {
                let set_aside = self.set_aside(group, is_kept).await;
                // With a damaged catalog nobody knows what there is: whoever asked puts all of it aside.
                let set_aside =
                    if set_aside.as_ref().is_err_and(is_damage) { set_aside } else { self.note_lost(set_aside) };
                drop(answer.send(set_aside));
            }
            Request::Close { .. } => unreachable!("handled where requests are received"),
        }
    }

    fn page_bytes(&self) -> usize {
        self.page_bytes.load(Ordering::Relaxed)
    }

    /// Sees that the store is the owner's. One that says nothing becomes it; what it may hold of groups says whose that
    /// is, too.
    async fn claim(&mut self) -> io::Result<()> {
        match self.store.get(CATALOG, IDENTITY_KEY).await? {
            None => {
                self.store.write(CATALOG, vec![(IDENTITY_KEY.to_vec(), Some(identity(self.owner)))]).await?;
                self.store.flush().await?;
            }
            Some(identity) => check_identity(&identity, self.owner)?,
        }
        self.is_claimed = true;
        Ok(())
    }

    /// Which slot holds the group's checkpoint, by the catalog.
    async fn slot_in_catalog(&self, group: GroupId) -> io::Result<u8> {
        let key = group.to_string().into_bytes();
        let Some(sealed) = self.store.get(CATALOG, &key).await? else { return Ok(0) };
        match unseal(group, &key, &sealed)? {
            [number @ (0 | 1)] => Ok(*number),
            _ => Err(damaged(group, "its row in the catalog makes no sense")),
        }
    }

    /// The slot that holds the group's checkpoint, looked up in the catalog once.
    async fn slot(&mut self, group: GroupId) -> io::Result<&mut Slot> {
        if !self.slots.contains_key(&group) {
            if !self.is_claimed {
                self.claim().await?;
            }
            let number = self.slot_in_catalog(group).await?;
            let meta = match self.store.get(&namespace(group, number), &META_KEY).await? {
                None => CheckpointMeta::default(),
                Some(sealed) => CheckpointMeta::decode(group, &sealed, self.owner)?,
            };
            self.note_saved(group, &meta);
            self.slots.insert(group, Slot::new(number, meta));
        }
        Ok(self.slots.get_mut(&group).expect("it was just put there"))
    }

    /// Notes that all that was written of the group has been flushed.
    fn note_durable(&mut self, group: GroupId) {
        if let Some(slot) = self.slots.get_mut(&group) {
            slot.durable = slot.meta.clone();
            let durable = slot.durable.clone();
            self.note_saved(group, &durable);
        }
    }

    fn note_saved(&self, group: GroupId, meta: &CheckpointMeta) {
        self.save.send_modify(|saved| {
            saved.insert(group, meta.clone());
        });
    }

    async fn attach(&mut self, state: Arc<GroupState>, log: WalGroup) -> io::Result<()> {
        let group = state.group();
        let stored = self.slot(group).await?.durable.clone();
        if stored.last != state.applied().0 {
            // The store was made anew in between, without this group.
            return Err(damaged(group, "it is not what the state was made from"));
        }
        state.count_dirt(self.dirt.clone());
        self.attached.insert(group, Attached::new(state, log, next_index(&stored)));
        Ok(())
    }

    async fn load(&mut self, group: GroupId) -> io::Result<Applied> {
        let slot = self.slot(group).await?;
        let (number, expected) = (slot.number, slot.meta.clone());
        self.load_slot(group, number, expected).await
    }

    /// Reads all rows of a slot, verifies them against its meta row, and makes the machine of them.
    #[tracing::instrument(level = "debug", skip_all, fields(%group, number))]
    async fn load_slot(&self, group: GroupId, number: u8, expected: CheckpointMeta) -> io::Result<Applied> {
        let name = namespace(group, number);
        let mut found = expected.without_rows();
        // Row by row, so that memory does not hold them all beside the machine that is made of them.
        let mut loader = machine::loader(group);
        let corrupt = |error: CorruptRow| damaged(group, &error.to_string());
        let mut after: Option<Vec<u8>> = Some(META_KEY.to_vec());
        loop {
            let page = self.store.scan(&name, after.as_deref(), self.page_bytes()).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, sealed) in page {
                found.add(&key, &sealed);
                loader.take(unseal_row(group, key, sealed)?).map_err(corrupt)?;
            }
            self.pulse.beat();
        }
        if found != expected && !planted::is(Bug::IgnoreChecksums) {
            return Err(damaged(group, &found.other_rows_than(&expected)));
        }
        let machine = loader.finish().map_err(corrupt)?;
        Ok(Applied::new(machine, expected.last, expected.membership))
    }

    /// Writes what the group has applied since the last time, as far as the log has it on disk, without flushing. Says
    /// whether there was anything.
    async fn write_dirt(&mut self, group: GroupId) -> io::Result<bool> {
        let is_pinned = self.slot(group).await?.is_pinned();
        let Some(attached) = self.attached.get_mut(&group).filter(|attached| !attached.is_level()) else {
            return Ok(false);
        };
        if !attached.log.has_room_for_checkpoint(0).await? {
            // What has not been taken from the state stays there until there is room.
            return Ok(false);
        }
        attached.gather();
        let mut has_written = false;
        // What waited, and then what has gathered behind it.
        while !is_pinned && let Some(drained) = self.attached.get_mut(&group).and_then(Attached::next_to_write) {
            has_written |= self.write_drained(group, drained).await?;
        }
        Ok(has_written)
    }

    /// Writes changes in one batch with the position that they bring the checkpoint to.
    #[tracing::instrument(level = "debug", skip_all, fields(%group, rows = drained.rows.0.len()))]
    async fn write_drained(&mut self, group: GroupId, drained: Drained) -> io::Result<bool> {
        let (store, owner) = (self.store.clone(), self.owner);
        let slot = self.slot(group).await?;
        if drained.last == slot.meta.last && drained.rows.is_empty() {
            return Ok(false);
        }
        let name = namespace(group, slot.number);
        let mut meta = slot.meta.clone();
        meta.is_received &= drained.last == meta.last;
        if !planted::is(Bug::ForgetPosition) || meta.last.is_none() {
            meta.last = drained.last;
        }
        meta.membership = drained.membership;
        let mut changes: StoredChanges = Vec::with_capacity(drained.rows.0.len() + 1);
        for (key, value) in drained.rows.0 {
            let key = row_key(&key);
            if let Some(before) = store.get(&name, &key).await? {
                meta.subtract(&key, &before);
            }
            let sealed = value.map(|value| seal(&key, &value));
            if let Some(sealed) = &sealed {
                meta.add(&key, sealed);
            }
            changes.push((key, sealed));
        }
        changes.push((META_KEY.to_vec(), Some(meta.encode(owner))));
        store.write(&name, changes).await?;
        slot.meta = meta;
        Ok(true)
    }

    async fn save_one(&mut self, group: GroupId) -> io::Result<Saved> {
        self.write_dirt(group).await?;
        let slot = self.slot(group).await?;
        let is_pinned = slot.is_pinned();
        // What was written before may not have been flushed either.
        if slot.meta != slot.durable && !planted::is(Bug::PurgeEarly) {
            self.store.flush().await?;
        }
        self.note_durable(group);
        let attached = self.attached.get(&group).filter(|attached| attached.waiting.is_some() && !is_pinned);
        Ok(Saved { meta: self.durable(group)?, awaited: attached.map(|attached| attached.taken) })
    }

    async fn save_all(&mut self) -> io::Result<()> {
        self.dirt.begin();
        let groups: Vec<GroupId> = self.attached.keys().copied().collect();
        let mut written = Vec::new();
        for group in groups {
            if self.write_dirt(group).await? {
                written.push(group);
            }
        }
        if written.is_empty() {
            return Ok(());
        }
        self.store.flush().await?;
        for group in written {
            self.note_durable(group);
        }
        Ok(())
    }
}

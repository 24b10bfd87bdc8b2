//! The write-ahead log: one a node, all groups in it, one sync for everything in flight.
//!
//! ```text
//! group 3 ─append─┐                      ┌─▶ group 3: on disk
//! group 5 ─vote───┼─▶ queue ─▶ Syncer ───┼─▶ group 5: on disk        callbacks, in the order of the queue
//! group 3 ─append─┘   (one frame, one fdatasync)
//! ```
//!
//! Whatever has queued up while the last frame was being synced goes into the next frame. Something is acknowledged only
//! after the sync of its frame returned. The first error of the disk is final: every waiting and later call fails, and
//! [`Wal::failed`] tells the node to stop.
//!
//! Segments are zeroed files of one size. Each begins by restating votes, commit points and purge points of all groups,
//! so a segment whose entries are all purged can be dropped with everything before it. What a group cannot purge is moved up
//! to the end, so that it does not keep what the others no longer need. A manifest says which segments there are.

mod cold;
mod group_log;
mod manifest;
mod move_up;
mod record;
mod recover;
mod resident;
mod segment;
mod space;
mod stamp;
mod syncer;
#[cfg(test)]
mod tests;
#[expect(clippy::disallowed_methods, reason = "it reads the files of a node that does not run")]
mod verify;

pub(crate) use manifest::MANIFEST_NAME;
pub use move_up::MovedUp;
pub use record::{Ballot, EntryBody, LogPosition};
pub use recover::{OpenError, RecoveryReport};
pub use stamp::Owner;
pub(crate) use stamp::{BadStamp, FORMAT, decode as decode_stamp, encode as encode_stamp};
pub(crate) use verify::verify;

use crate::seams::{Disk, Spawner};
use cold::{ColdReader, Spot};
use group_log::{Found, GroupLog, Place};
use record::RecordBody;
use segment::Segment;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use vestibule_engine::GroupId;
use vestibule_engine::planted::{self, Bug};
use vestibule_sync::distribution::Distribution;
use vestibule_sync::hand_off::HandOff;

/// Sizes of the log.
#[derive(Debug, Clone)]
pub struct WalConfig {
    /// Bytes of a segment file. Bounds the largest entry, see [`WalConfig::entry_len_max`].
    pub segment_len: u64,
    /// Bytes of entries that the node keeps in memory once they are on disk, of all groups together.
    pub resident_bytes_max: usize,
    /// Bytes that may wait for the syncer before callers have to wait too.
    pub queue_bytes_max: usize,
    /// Bytes after which no further item joins a frame.
    pub frame_bytes_max: usize,
    /// Bytes of a file that is given up when the disk is full; 0 for none. The disk counts as full when it has less
    /// than this free, until it has three times as much.
    pub ballast_len: u64,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            // Two of them and the ballast are 64 MiB on an idle node, and the largest entry is 8 MiB: a venue of 100,000
            // seats has 3 of them. Beginning a segment costs four syncs, some 2 ms here; at 100 MB/s that is 1 % of the
            // time.
            segment_len: 16 << 20,
            resident_bytes_max: 64 << 20,
            queue_bytes_max: 64 << 20,
            frame_bytes_max: 4 << 20,
            ballast_len: 32 << 20,
        }
    }
}

impl WalConfig {
    /// The largest entry the log takes, in bytes: half a segment.
    pub fn entry_len_max(&self) -> usize {
        usize::try_from(self.segment_len / 2).unwrap_or(usize::MAX)
    }

    /// Bytes after which no further record joins a frame. What is of this length has a frame of its own.
    fn frame_len_max(&self) -> u64 {
        let segment_room = self.segment_len - segment::SEGMENT_HEADER_LEN;
        segment_room / 2 + (self.frame_bytes_max as u64).min(segment_room / 4)
    }
}

/// Called when an item is on disk, or will never be.
pub type OnFlushed = Box<dyn FnOnce(io::Result<()>) + Send>;

/// One thing to write, and whom to tell.
struct Item {
    group: GroupId,
    bodies: Vec<RecordBody>,
    bytes: usize,
    /// Whether all of it has to be in one frame. It is not longer than one.
    is_whole: bool,
    /// `None` for a commit point: nobody waits for it, so it alone is no reason for a sync.
    on_flushed: Option<OnFlushed>,
    space: Option<OwnedSemaphorePermit>,
}

/// The log of a node. Clones share it.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
}

struct Shared {
    config: WalConfig,
    owner: Owner,
    disk: Arc<dyn Disk>,
    groups: Mutex<BTreeMap<GroupId, Arc<Mutex<GroupLog>>>>,
    segments: Mutex<BTreeMap<u64, Segment>>,
    cold_reader: ColdReader,
    /// The stamp of the next entry of any group.
    next_stamp: AtomicU64,
    /// Bytes appended since what is in memory was last looked after.
    added_bytes: AtomicUsize,
    queue: HandOff<Item>,
    queue_space: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
    /// How many of the tasks that write files are left.
    writers: watch::Sender<usize>,
    failure: OnceLock<String>,
    failed: watch::Sender<bool>,
    stats: Mutex<WalStats>,
    full: watch::Sender<bool>,
    /// Bytes that are left of the segment being written.
    head_left: AtomicU64,
    /// The disk is full, and as far as is known there is no room for another segment.
    is_last_segment: AtomicBool,
    /// A segment was begun, so that there may be no spare file now.
    spare_taken: Notify,
    instruments: WalInstruments,
}

/// What the syncer notes as it works.
#[derive(Debug, Default)]
pub(crate) struct WalInstruments {
    /// Times of syncs.
    pub(crate) sync: Distribution,
    /// Records in one sync.
    pub(crate) records: Distribution,
}

/// What the log has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Frames written and synced.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Nanoseconds spent in syncs.
    pub sync_nanos: u64,
    /// Nanoseconds that a sync takes: a mean in which each counts an eighth less than the next.
    pub sync_mean_nanos: u64,
    /// Segments begun.
    pub segments: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

impl Wal {
    /// Opens the log in `disk`, verifying every byte of it, and starts its syncer. Says what was found. A disk without
    /// anything on it becomes an empty log.
    pub async fn open(
        disk: Arc<dyn Disk>,
        owner: Owner,
        config: WalConfig,
        spawner: &dyn Spawner,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let recovered = recover::recover(&disk, owner, &config).await?;
        let queue_space = Arc::new(Semaphore::new(config.queue_bytes_max));
        let (cold_reader, reading) = ColdReader::new();
        spawner.spawn_blocking_task("wal-reader", Box::pin(reading)).map_err(OpenError::Io)?;
        let head_left = recovered.head.left(config.segment_len);
        let shared = Arc::new(Shared {
            cold_reader,
            next_stamp: AtomicU64::new(recovered.next_stamp),
            added_bytes: AtomicUsize::new(0),
            groups: Mutex::new(recovered.groups),
            segments: Mutex::new(recovered.segments),
            config,
            owner,
            disk,
            queue: HandOff::default(),
            queue_space,
            stopping: watch::Sender::new(false),
            writers: watch::Sender::new(0),
            failure: OnceLock::new(),
            failed: watch::Sender::new(false),
            stats: Mutex::default(),
            instruments: WalInstruments::default(),
            full: watch::Sender::new(false),
            head_left: AtomicU64::new(head_left),
            is_last_segment: AtomicBool::new(false),
            spare_taken: Notify::new(),
        });
        let syncer = syncer::Syncer::new(shared.clone(), recovered.head, recovered.manifest);
        let syncing = Writer::begin(&shared).run(syncer.run());
        spawner.spawn_blocking_task("wal-syncer", Box::pin(syncing)).map_err(OpenError::Io)?;
        let keeping = Writer::begin(&shared).run(space::keep_room(shared.clone()));
        spawner.spawn_blocking_task("wal-room", Box::pin(keeping)).map_err(OpenError::Io)?;
        Ok((Self { shared }, recovered.report))
    }

    /// Makes an empty log in `disk`. What a crash left of an earlier attempt is put right.
    pub async fn create(disk: &dyn Disk, owner: Owner) -> io::Result<()> {
        manifest::Manifest::create(disk, owner).await.map(drop)
    }

    /// The log of one group.
    pub fn group(&self, group: GroupId) -> WalGroup {
        let log = lock(&self.shared.groups).entry(group).or_default().clone();
        WalGroup { shared: self.shared.clone(), group, log }
    }

    /// Every group that the log knows.
    pub fn groups(&self) -> Vec<GroupId> {
        lock(&self.shared.groups).keys().copied().collect()
    }

    /// The largest entry it takes, in bytes.
    pub fn entry_len_max(&self) -> usize {
        self.shared.config.entry_len_max()
    }

    /// What it has done since it was opened.
    pub fn stats(&self) -> WalStats {
        *lock(&self.shared.stats)
    }

    pub(crate) fn instruments(&self) -> &WalInstruments {
        &self.shared.instruments
    }

    /// Bytes that wait for the syncer.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.shared.queued_bytes()
    }

    /// Whether there is hardly any room left for the log: see [`WalGroup::is_out_of_room`].
    pub fn is_out_of_room(&self) -> bool {
        self.shared.is_out_of_room()
    }

    /// Follows whether the disk is full: then nothing new is to be written that can be refused.
    pub fn watch_full(&self) -> watch::Receiver<bool> {
        self.shared.full.subscribe()
    }

    /// How many segment files there are, and for each group that holds the oldest one its last entry: purging those
    /// groups lets segments go.
    pub fn oldest_segment_holders(&self) -> (usize, Vec<GroupId>) {
        let segments = lock(&self.shared.segments).len();
        let groups = lock(&self.shared.groups).clone();
        let oldest: BTreeMap<GroupId, u64> =
            groups.iter().filter_map(|(group, log)| Some((*group, lock(log).oldest_segment()?))).collect();
        let least = oldest.values().min().copied();
        (segments, oldest.into_iter().filter(|(_, segment)| Some(*segment) == least).map(|(group, _)| group).collect())
    }

    /// Resolves when the disk has failed, with the reason. The node must stop then.
    pub async fn failed(&self) -> String {
        let mut failed = self.shared.failed.subscribe();
        // The sender lives in `shared`, which this handle keeps alive.
        let _ = failed.wait_for(|failed| *failed).await;
        self.shared.failure.get().cloned().unwrap_or_default()
    }

    /// Writes what has queued up, and returns once nothing of this log writes to the disk any more: it may be opened again
    /// then. Later calls fail.
    pub async fn close(&self) {
        self.shared.stopping.send_replace(true);
        self.shared.queue.finish();
        let mut writers = self.shared.writers.subscribe();
        let _ = writers.wait_for(|writers| *writers == 0).await;
    }
}

impl Shared {
    fn fail(&self, error: &io::Error) {
        let _ = self.failure.set(error.to_string());
        self.failed.send_replace(true);
    }

    fn check_open(&self) -> io::Result<()> {
        if let Some(reason) = self.failure.get() {
            return Err(io::Error::other(format!("the log failed before: {reason}")));
        }
        if *self.stopping.borrow() {
            return Err(closed());
        }
        Ok(())
    }

    /// Why nothing is taken any more.
    fn ended(&self) -> io::Error {
        self.check_open().err().unwrap_or_else(closed)
    }
}

/// A task that writes files, counted until it ends, whichever way.
struct Writer(Arc<Shared>);

impl Writer {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.writers.send_modify(|writers| *writers += 1);
        Self(shared.clone())
    }

    async fn run(self, task: impl Future<Output = ()>) {
        task.await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.writers.send_modify(|writers| *writers -= 1);
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

/// The log of one group of a node.
#[derive(Clone)]
pub struct WalGroup {
    shared: Arc<Shared>,
    group: GroupId,
    log: Arc<Mutex<GroupLog>>,
}

impl WalGroup {
    /// Which group's log this is.
    pub fn id(&self) -> GroupId {
        self.group
    }

    /// The last entry, or the purge point when there is none.
    pub fn last(&self) -> Option<LogPosition> {
        lock(&self.log).last()
    }

    /// The purge point.
    pub fn purged(&self) -> Option<LogPosition> {
        lock(&self.log).purged
    }

    /// Where the entry at an index was decided, if it is held.
    pub fn position(&self, index: u64) -> Option<LogPosition> {
        lock(&self.log).position(index)
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        lock(&self.log).len()
    }

    /// Whether the entry is here but not on disk yet.
    pub fn is_pending(&self, index: u64) -> bool {
        lock(&self.log).is_pending(index)
    }

    /// Whether the disk is full: then nothing new is to be written that can be refused.
    pub fn is_disk_full(&self) -> bool {
        *self.shared.full.borrow()
    }

    /// Whether the log has come to the end of the last segment that there is room for. What is left of it is for votes, and no
    /// entries of other leaders are to be taken. A purge changes that, and room.
    pub fn is_out_of_room(&self) -> bool {
        self.shared.is_out_of_room()
    }

    /// Whether a checkpoint of about so many bytes may be written: its store should not meet a full disk.
    pub(crate) async fn has_room_for_checkpoint(&self, bytes: u64) -> io::Result<bool> {
        self.shared.has_room_for_checkpoint(bytes).await
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The vote last saved.
    pub fn vote(&self) -> Option<Ballot> {
        lock(&self.log).vote
    }

    /// The commit point last saved.
    pub fn committed(&self) -> Option<LogPosition> {
        lock(&self.log).committed
    }

    /// Saves the vote; returns once it is on disk.
    pub async fn save_vote(&self, ballot: Ballot) -> io::Result<()> {
        let flushed = {
            let mut log = lock(&self.log);
            log.vote = Some(ballot);
            if planted::is(Bug::ForgetVote) || planted::is(Bug::VoteAfterLog) {
                log.promised = Some(ballot);
                return Ok(());
            }
            self.enqueue_and_wait(vec![RecordBody::Vote(ballot)])?
        };
        wait_flushed(flushed).await?;
        lock(&self.log).promised = Some(ballot);
        Ok(())
    }

    /// The last vote that was saved and acknowledged: it must never be forgotten.
    pub fn promised(&self) -> Option<Ballot> {
        lock(&self.log).promised
    }

    /// Notes the commit point. It reaches the disk with the next frame, behind all that was asked for before, so that it
    /// never points at an entry that is not on disk: losing it costs a replay, never an entry.
    pub fn save_committed(&self, committed: Option<LogPosition>) -> io::Result<()> {
        self.shared.check_open()?;
        let mut log = lock(&self.log);
        log.committed = committed;
        let bodies = vec![RecordBody::Committed(committed)];
        let amended = self.shared.queue.amend(|queue| {
            // One that still waits behind the same items is overtaken.
            match queue.iter_mut().rev().find(|item| item.group == self.group) {
                Some(item) if item.on_flushed.is_none() => item.bodies = bodies,
                _ => {
                    let bytes = record::record_len(1);
                    let (group, is_whole) = (self.group, false);
                    queue.push_back(Item { group, bodies, bytes, is_whole, on_flushed: None, space: None });
                }
            }
        });
        amended.ok_or_else(|| self.shared.ended())
    }

    /// Appends entries. They can be read when this returns; `on_flushed` is called when they are on disk.
    pub async fn append(&self, entries: Vec<(LogPosition, EntryBody)>, on_flushed: OnFlushed) -> io::Result<()> {
        let bytes: usize = entries.iter().map(|(_, body)| record::record_len(body.bytes().len())).sum();
        let entry_len_max = self.shared.config.entry_len_max();
        if let Some((position, body)) = entries.iter().find(|(_, body)| body.bytes().len() > entry_len_max) {
            let (index, len) = (position.index, body.bytes().len());
            return Err(io::Error::other(format!("entry {index} has {len} bytes, more than {entry_len_max}")));
        }
        let want = u32::try_from(bytes.min(self.shared.config.queue_bytes_max)).unwrap_or(u32::MAX);
        let space = self.shared.queue_space.clone().acquire_many_owned(want).await.map_err(io::Error::other)?;
        let mut on_flushed = Some(on_flushed);
        if planted::is(Bug::AcknowledgeEarly)
            && let Some(tell) = on_flushed.replace(Box::new(|_| {}))
        {
            tell(Ok(()));
        }
        {
            let mut log = lock(&self.log);
            self.shared.check_open()?;
            let mut bodies = Vec::with_capacity(entries.len());
            for (position, body) in entries {
                let stamp = self.shared.next_stamp.fetch_add(1, Ordering::Relaxed);
                log.append(stamp, position, body.clone(), None).map_err(|due| {
                    io::Error::other(format!("entry {} of {} leaves a hole: {due} is due", position.index, self.group))
                })?;
                bodies.push(RecordBody::Entry(position, body));
            }
            if planted::is(Bug::VoteAfterLog) {
                bodies.extend(log.vote.map(RecordBody::Vote));
            }
            let (group, is_whole) = (self.group, false);
            self.enqueue(Item { group, bodies, bytes, is_whole, on_flushed, space: Some(space) })?;
        }
        self.shared.note_resident(bytes);
        Ok(())
    }

    /// Voids every entry behind `last`; returns once that is on disk.
    pub async fn truncate(&self, last: Option<LogPosition>) -> io::Result<()> {
        let kept =
            planted::is(Bug::TruncateLess).then(|| last.map(|last| LogPosition { index: last.index + 1, ..last }));
        let last = kept.unwrap_or(last);
        let flushed = {
            let mut log = lock(&self.log);
            log.truncate(last);
            self.enqueue_and_wait(vec![RecordBody::Truncate(last)])?
        };
        wait_flushed(flushed).await
    }

    /// Forgets every entry up to `upto`; returns once that is on disk.
    pub async fn purge(&self, upto: LogPosition) -> io::Result<()> {
        let flushed = {
            let mut log = lock(&self.log);
            log.purge(upto);
            self.enqueue_and_wait(vec![RecordBody::Purge(upto)])?
        };
        wait_flushed(flushed).await
    }

    /// The entries from `start` up to but without `end` that the log has, in order; at most `bytes_max` of bodies, but
    /// at least one entry.
    pub async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(LogPosition, EntryBody)>> {
        self.read_by(Some(&self.shared.cold_reader), start, end, bytes_max).await
    }

    /// The same, read where it is polled, which it may block: for whoever looks at a node from outside.
    pub async fn read_here(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<(LogPosition, EntryBody)>> {
        self.read_by(None, start, end, bytes_max).await
    }

    async fn read_by(
        &self,
        reader: Option<&ColdReader>,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<(LogPosition, EntryBody)>> {
        let found = lock(&self.log).find(start, end, bytes_max);
        let spots: Vec<io::Result<Spot>> = found
            .iter()
            .filter_map(|entry| match entry {
                Found::Here(..) => None,
                Found::OnDisk(position, place) => Some(self.spot(*position, *place)),
            })
            .collect();
        let mut read = match spots.is_empty() {
            true => Vec::new(),
            false => self.read_spots(reader, spots).await?,
        }
        .into_iter();
        let mut entries = Vec::with_capacity(found.len());
        for entry in found {
            match entry {
                Found::Here(position, body) => entries.push((position, body)),
                Found::OnDisk(position, place) => {
                    let bytes = read.next().unwrap_or_else(|| Err(closed()));
                    match bytes.and_then(|bytes| self.check_place(position, place, bytes)) {
                        Ok(body) => entries.push((position, body)),
                        // It was purged, and its segment dropped, between the look-up and the read.
                        Err(_) if self.purged().is_some_and(|purged| purged.index >= position.index) => entries.clear(),
                        Err(error) => match self.read_moved(reader, position, place).await? {
                            Some(body) => entries.push((position, body)),
                            None => return Err(error),
                        },
                    }
                }
            }
        }
        Ok(entries)
    }

    fn spot(&self, position: LogPosition, place: Place) -> io::Result<Spot> {
        let gone = || io::Error::other(format!("segment {} of entry {} is gone", place.segment, position.index));
        let segment = lock(&self.shared.segments).get(&place.segment).cloned().ok_or_else(gone)?;
        Ok(Spot { segment, offset: u64::from(place.offset), len: place.len as usize })
    }

    /// What is at each spot that is still there, in their order.
    async fn read_spots(
        &self,
        reader: Option<&ColdReader>,
        spots: Vec<io::Result<Spot>>,
    ) -> io::Result<Vec<io::Result<Vec<u8>>>> {
        let mut there = Vec::with_capacity(spots.len());
        let mut results = Vec::with_capacity(spots.len());
        for spot in spots {
            results.push(spot.map(|spot| there.push(spot)));
        }
        let read = match reader {
            Some(reader) => reader.read(there).await?,
            None => cold::read_all(there, || true).await,
        };
        let mut read = read.into_iter();
        Ok(results.into_iter().map(|there| there.and_then(|()| read.next().unwrap_or_else(|| Err(closed())))).collect())
    }

    fn check_place(&self, position: LogPosition, place: Place, bytes: Vec<u8>) -> io::Result<EntryBody> {
        match record::decode_record(&bytes.into()) {
            Ok((record, _, _)) => match record.body {
                RecordBody::Entry(found, body) if found == position && record.group == self.group => Ok(body),
                _ => Err(corrupt(position, place, "another record lies there")),
            },
            Err(malformed) => Err(corrupt(position, place, &malformed.0)),
        }
    }

    fn enqueue(&self, item: Item) -> io::Result<()> {
        self.shared.queue.push(item).map_err(|_| self.shared.ended())
    }

    /// Called with the group's lock held, so that the order on disk is the order of the calls.
    fn enqueue_and_wait(&self, bodies: Vec<RecordBody>) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        self.shared.check_open()?;
        let bytes = bodies.iter().map(|body| record::record_len(record::payload_len(body))).sum();
        let (on_flushed, flushed) = waiter();
        let (group, is_whole) = (self.group, false);
        self.enqueue(Item { group, bodies, bytes, is_whole, on_flushed: Some(on_flushed), space: None })?;
        Ok(flushed)
    }
}

/// Whom to tell, and who waits for it.
fn waiter() -> (OnFlushed, oneshot::Receiver<io::Result<()>>) {
    let (tell, flushed) = oneshot::channel();
    let on_flushed: OnFlushed = Box::new(move |result| {
        let _ = tell.send(result);
    });
    (on_flushed, flushed)
}

async fn wait_flushed(flushed: oneshot::Receiver<io::Result<()>>) -> io::Result<()> {
    flushed.await.unwrap_or_else(|_| Err(io::Error::other("the log stopped before the write was on disk")))
}

fn corrupt(position: LogPosition, place: Place, reason: &str) -> io::Error {
    let message = format!(
        "entry {} in segment {:016x} at byte {} is damaged: {reason}",
        position.index, place.segment, place.offset
    );
    io::Error::new(io::ErrorKind::InvalidData, message)
}

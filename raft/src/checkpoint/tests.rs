//! Readers that are too slow, snapshots without rows, and groups that are given up half way.

use super::*;
use crate::hosting::forget_data;
use crate::seams::{StoredRows, ThreadSpawner};
use crate::snapshot;
use crate::std_disk::StdDisk;
use crate::types::{Batch, Entry, to_entry};
use crate::wal::{EntryBody, LogPosition, Wal, WalConfig};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use vestibule_engine::{CreateOrganisation, DirectoryCommand, Envelope, RequestId, Timestamp, UserId, codec};
use vestibule_proto::v1::SnapshotChunk;

const OWNER: Owner = Owner { cluster: 7, node: 1, incarnation: 77 };
const GROUP: GroupId = GroupId::DIRECTORY;
const INTERVAL: Duration = Duration::from_millis(10);

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store in memory.
#[derive(Default)]
struct MemoryStore {
    rows: Mutex<BTreeMap<String, Rows>>,
    /// Whether it refuses to clear a namespace.
    keeps: AtomicBool,
    /// Whether its disk is full.
    is_full: AtomicBool,
    /// Whether flushes fail.
    is_broken: AtomicBool,
    /// Whether the next key that is looked up is found damaged.
    rots: AtomicBool,
}

impl CheckpointStore for MemoryStore {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        assert!(!changes.is_empty(), "a store is not asked to write nothing");
        if self.is_full.load(Ordering::Relaxed) {
            return std::future::ready(Err(io::ErrorKind::StorageFull.into())).boxed();
        }
        let mut all = self.rows.lock().expect("no holder of this lock panics");
        let rows = all.entry(namespace.to_owned()).or_default();
        for (key, value) in changes {
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        std::future::ready(Ok(())).boxed()
    }
    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        if self.rots.swap(false, Ordering::Relaxed) {
            return std::future::ready(Err(io::ErrorKind::InvalidData.into())).boxed();
        }
        let all = self.rows.lock().expect("no holder of this lock panics");
        std::future::ready(Ok(all.get(namespace).and_then(|rows| rows.get(key).cloned()))).boxed()
    }
    fn scan<'a>(
        &'a self,
        name: &'a str,
        after: Option<&'a [u8]>,
        bytes: usize,
    ) -> BoxFuture<'a, io::Result<StoredRows>> {
        let all = self.rows.lock().expect("no holder of this lock panics");
        let mut left = bytes;
        let rows =
            all.get(name).into_iter().flatten().filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        let page = rows.take_while(|(key, value)| {
            let goes_on = left > 0;
            left = left.saturating_sub(key.len() + value.len());
            goes_on
        });
        std::future::ready(Ok(page.map(|(key, value)| (key.clone(), value.clone())).collect())).boxed()
    }
    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        let is_broken = self.is_broken.load(Ordering::Relaxed);
        std::future::ready(if is_broken { Err(io::Error::other("the device failed")) } else { Ok(()) }).boxed()
    }
    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        if self.keeps.load(Ordering::Relaxed) {
            return std::future::ready(Err(io::Error::other("nothing is cleared"))).boxed();
        }
        self.rows.lock().expect("no holder of this lock panics").remove(namespace);
        std::future::ready(Ok(())).boxed()
    }
    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

fn position(index: u64) -> LogPosition {
    LogPosition { term: 1, node: 1, index }
}

/// An entry that makes an organisation.
fn entry(index: u64) -> Entry {
    let ask = CreateOrganisation { by: UserId(7), name: format!("House {index} {}", "x".repeat(100)) };
    let envelope =
        Envelope { request: Some(RequestId(index.into())), command: DirectoryCommand::CreateOrganisation(ask) };
    let batch = Batch::new(Timestamp(1_000 + index), &[codec::encode(&envelope).into()]);
    to_entry(position(index), EntryBody::Batch(batch.bytes().clone())).expect("a batch makes an entry")
}

struct World {
    store: Arc<MemoryStore>,
    checkpoints: Checkpoints,
    state: Arc<GroupState>,
    log: WalGroup,
    _wal: Wal,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        Self::writing_every(INTERVAL, true).await
    }

    async fn writing_every(interval: Duration, is_whole: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = WalConfig { segment_len: 256 << 10, ballast_len: 0, ..WalConfig::default() };
        let disk = Arc::new(StdDisk::open(dir.path()).expect("it can be opened"));
        let (wal, _) = Wal::open(disk, OWNER, config, &ThreadSpawner).await.expect("an empty log");
        let store = Arc::new(MemoryStore::default());
        let (checkpoints, task) = Checkpoints::new(store.clone(), OWNER, interval);
        tokio::spawn(task);
        let state = Arc::new(GroupState::open(GROUP, &checkpoints).await.expect("it is empty"));
        let log = wal.group(GROUP);
        checkpoints.attach(state.clone(), log.clone()).await.expect("it attaches");
        if is_whole {
            checkpoints.note_all_attached();
        }
        Self { store, checkpoints, state, log, _wal: wal, _dir: dir }
    }

    /// One that has applied twenty entries, which are on disk, and written none of it to the checkpoint.
    async fn with_twenty_entries() -> Self {
        // So rarely that nothing is written by itself.
        let world = Self::writing_every(Duration::from_secs(3_600), true).await;
        let entries = (0..20).map(|index| (position(index), EntryBody::Blank)).collect();
        let (flushed, is_flushed) = oneshot::channel();
        let tell = Box::new(move |result| drop(flushed.send(result)));
        world.log.append(entries, tell).await.expect("the log takes entries");
        is_flushed.await.expect("it is told").expect("the disk is good");
        world.apply(0..20);
        world
    }

    /// Waits until the store cannot be used, or can be again.
    async fn until_out(&self, is_out: bool) {
        let turned = async {
            while self.checkpoints.pulse().is_without_store() != is_out {
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), turned).await.expect("the store is met full, or made anew");
    }

    /// What the checkpoint holds must be the state.
    async fn loads_as_it_is(&self) {
        let loaded = GroupState::open(GROUP, &self.checkpoints).await.expect("it loads");
        assert_eq!(loaded.digest(), self.state.digest());
    }

    fn apply(&self, indexes: std::ops::Range<u64>) {
        indexes.for_each(|index| drop(self.state.apply(&entry(index)).expect("it applies")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_leaves_no_faster_than_it_may() {
    let world = World::new().await;
    world.apply(0..500);
    world.checkpoints.save(GROUP).await.expect("it is saved");
    world.checkpoints.limit_sending(1_000);
    let begun = Instant::now();
    // Two receivers share what the node may send.
    let receive = async || {
        let reading = world.checkpoints.begin_read(GROUP).await.expect("it can be read");
        let header = snapshot::header(GROUP, None, &CheckpointMeta::default());
        let (chunks, mut taken) = mpsc::channel::<SnapshotChunk>(1);
        let receiver = async {
            let mut bytes = 0;
            while let Some(chunk) = taken.recv().await {
                bytes += chunk.rows.iter().map(|row| row.key.len() + row.value.len()).sum::<usize>();
            }
            bytes
        };
        let sender = async {
            let sent = snapshot::send(reading, header, &chunks).await;
            drop(chunks);
            sent
        };
        let (sent, bytes) = tokio::join!(sender, receiver);
        sent.expect("it is taken");
        bytes
    };
    let (one, other) = tokio::join!(receive(), receive());
    assert!(one == other && one > 10_000, "{one} bytes and {other}");
    let least = Duration::from_millis((one + other) as u64);
    assert!(begun.elapsed() + Duration::from_millis(2) >= least, "{:?} for {} bytes", begun.elapsed(), one + other);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_is_given_up() {
    let world = World::new().await;
    world.apply(0..5_000);
    world.checkpoints.save(GROUP).await.expect("it is saved");
    let reading = world.checkpoints.begin_read(GROUP).await.expect("it can be read");
    let header = snapshot::header(GROUP, None, &CheckpointMeta::default());
    let (chunks, mut taken) = mpsc::channel(1);
    let begun = Instant::now();
    // Never silent for as long as it may be.
    let reader = async {
        let mut count = 0;
        while taken.recv().await.is_some() {
            count += 1;
            tokio::time::sleep(Duration::from_secs(25)).await;
        }
        count
    };
    let (sent, count) = tokio::join!(
        async {
            let sent = snapshot::send(reading, header, &chunks).await;
            drop(chunks);
            sent
        },
        reader
    );
    let refused = sent.expect_err("it is too slow");
    assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused}");
    assert!(count > 1, "it took something");
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_checkpoint_that_is_taken_from_its_readers_goes_on() {
    let world = World::new().await;
    world.apply(0..50);
    world.checkpoints.save(GROUP).await.expect("it is saved");
    let mut reading = world.checkpoints.begin_read(GROUP).await.expect("it can be read");
    world.apply(50..100);
    let saved = world.checkpoints.save(GROUP).await.expect("the older one is the answer");
    assert_eq!(next_index(&saved), 50, "what is read does not change");
    assert!(world.checkpoints.unpin(GROUP).await.expect("it is an answer"), "somebody read it");
    assert!(reading.next_page().await.is_err(), "the reader is told");
    let saved = world.checkpoints.save(GROUP).await.expect("it is saved");
    assert_eq!(next_index(&saved), 100);
    assert!(!world.checkpoints.unpin(GROUP).await.expect("it is an answer"), "nobody reads it");
    // What gathered meanwhile is all there.
    world.loads_as_it_is().await;
}

#[tokio::test]
async fn damage_in_the_slot_that_nothing_is_read_from_is_noted_and_no_damage() {
    let store = MemoryStore::default();
    // The catalog says nothing, so slot 0 is the one that counts.
    for slot in [0, 1] {
        let rows = vec![(row_key(b"row"), Some(b"not sealed".to_vec()))];
        store.write(&namespace(GROUP, slot), rows).await.expect("memory takes it");
    }
    for (slot, is_damage) in [(0, true), (1, false)] {
        let mut report = crate::verify::Report::default();
        verify(&store, &[namespace(GROUP, slot)], Some(OWNER), &mut report).await.expect("memory can be read");
        let found: Vec<bool> = report.findings.iter().map(|finding| finding.is_damage).collect();
        assert!(!found.is_empty() && found.iter().all(|found| *found == is_damage), "slot {slot}: {report:?}");
    }
}

#[tokio::test]
async fn what_changed_is_level_once_it_was_given_out() {
    let world = World::new().await;
    let state = Arc::new(GroupState::open(GROUP, &world.checkpoints).await.expect("it is empty"));
    let mut attached = Attached::new(state.clone(), world.log.clone(), 0);
    assert!(attached.is_level(), "nothing was applied");
    state.count_dirt(Arc::default());
    for (index, taken) in [(0, 1), (1, 2)] {
        drop(state.apply(&entry(index)).expect("it applies"));
        assert!(!attached.is_level(), "entry {index} was applied");
        attached.gather();
        assert!(!attached.is_level(), "entry {index} was taken, and nobody has it");
        let given = attached.next_to_write().expect("the log does not wait for it");
        assert_eq!((given.last.map(|last| last.index), attached.taken), (Some(index), taken));
        assert!(attached.is_level(), "entry {index} was given out");
    }
}

#[tokio::test]
async fn a_snapshot_without_rows_arrives() {
    let (here, there) = (World::new().await, World::new().await);
    let reading = here.checkpoints.begin_read(GROUP).await.expect("it can be read");
    let header = snapshot::header(GROUP, None, &CheckpointMeta::default());
    let (chunks, taken) = mpsc::channel(1);
    let chunks_in = tokio_stream::wrappers::ReceiverStream::new(taken).map(Ok);
    let (sent, received) = tokio::join!(
        snapshot::send(reading, header, &chunks),
        snapshot::receive(&there.checkpoints, chunks_in, |_, _| Ok(()))
    );
    sent.expect("it is taken");
    let received = received.expect("it arrives");
    assert_eq!(received.receiving.meta().row_count, 0);
    let installed = there.checkpoints.install(received.receiving, None, StoredMembership::default()).await;
    installed.expect("it is put in place");
    assert_eq!(there.state.digest(), here.state.digest());
}

/// Found by the simulator: a node that died between the purge of the log and the end of the checkpoint had neither.
#[tokio::test]
async fn a_group_that_is_given_up_half_way_has_no_gap() {
    let world = World::with_twenty_entries().await;
    world.store.keeps.store(true, Ordering::Relaxed);
    let broken_off = forget_data(&world.log, &world.checkpoints, Some(position(19))).await;
    assert!(broken_off.is_err(), "the checkpoint could not be cleared");
    assert_eq!(world.log.purged(), Some(position(19)));

    let (checkpoints, task) = Checkpoints::new(world.store.clone(), OWNER, INTERVAL);
    tokio::spawn(task);
    let left = GroupState::open(GROUP, &checkpoints).await.expect("it loads");
    assert_eq!(left.progress().next_index, 20, "it reaches what is left of the log");
}

/// A flush that fails while a snapshot is received may have been for the rows of other groups, too.
#[tokio::test]
async fn the_first_error_of_the_store_is_final_whoever_it_was_for() {
    let world = World::new().await;
    let receiving = world.checkpoints.begin_receive(GROUP).await.expect("there is room");
    world.store.is_broken.store(true, Ordering::Relaxed);
    assert!(world.checkpoints.finish_receive(receiving).await.is_err());
    world.store.is_broken.store(false, Ordering::Relaxed);
    let reason = tokio::time::timeout(Duration::from_secs(60), world.checkpoints.failed()).await;
    assert_eq!(reason.expect("the node hears of it"), "the device failed");
    world.apply(0..5);
    assert!(world.checkpoints.save(GROUP).await.is_err(), "nothing is flushed behind it");
}

/// Found by seed 594 of the simulator: the log was purged though the checkpoint could not be written.
#[tokio::test]
async fn a_group_is_not_given_up_while_its_checkpoint_cannot_be_written() {
    let world = World::with_twenty_entries().await;
    world.store.is_full.store(true, Ordering::Relaxed);
    let is_forgotten = forget_data(&world.log, &world.checkpoints, Some(position(19))).await;
    assert!(!is_forgotten.expect("a full disk is no error"));
    assert_eq!((world.log.purged(), world.log.len()), (None, 20), "the log has what the checkpoint has not");
}

#[tokio::test(start_paused = true)]
async fn it_can_be_seen_whether_checkpoints_can_be_written() {
    let world = World::new().await;
    world.until_out(false).await;
    world.store.is_full.store(true, Ordering::Relaxed);
    world.apply(0..20);
    world.until_out(true).await;
    world.store.is_full.store(false, Ordering::Relaxed);
    world.until_out(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_found_damaged_is_made_good_from_memory() {
    let world = World::new().await;
    world.apply(0..50);
    world.checkpoints.save(GROUP).await.expect("it is saved");
    let mut reading = world.checkpoints.begin_read(GROUP).await.expect("it can be read");
    for (name, rows) in world.store.rows.lock().expect("no holder of this lock panics").iter_mut() {
        if name != CATALOG {
            let value = rows.iter_mut().find(|(key, _)| **key != META_KEY).expect("there are rows").1;
            *value.last_mut().expect("it is sealed") ^= 1;
        }
    }
    let error = reading.next_page().await.expect_err("a row is damaged");
    assert!(crate::node::is_damage(&error), "{error}");
    assert!(world.checkpoints.pulse().is_without_store(), "operators are told");
    world.until_out(false).await;
    let mut reading = world.checkpoints.begin_read(GROUP).await.expect("it can be read");
    assert!(!reading.next_page().await.expect("it is good").is_empty());
    world.loads_as_it_is().await;
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_missing_is_found_when_the_checkpoint_is_read_and_made_good_from_memory() {
    let world = World::new().await;
    world.apply(0..50);
    world.checkpoints.save(GROUP).await.expect("it is saved");
    let mut reading = world.checkpoints.begin_read(GROUP).await.expect("it can be read");
    for (name, rows) in world.store.rows.lock().expect("no holder of this lock panics").iter_mut() {
        if name != CATALOG {
            rows.pop_last().expect("there are rows");
        }
    }
    assert!(!reading.next_page().await.expect("what is there is good").is_empty());
    let error = reading.next_page().await.expect_err("it is not all");
    assert!(crate::node::is_damage(&error) && error.to_string().contains("where"), "{error}");
    world.until_out(false).await;
    world.loads_as_it_is().await;
}

#[tokio::test(start_paused = true)]
async fn damage_that_is_met_while_a_checkpoint_is_written_is_made_good_from_memory() {
    let world = World::new().await;
    world.apply(0..20);
    world.checkpoints.save(GROUP).await.expect("it is saved");
    world.store.rots.store(true, Ordering::Relaxed);
    world.apply(20..30);
    world.until_out(true).await;
    world.until_out(false).await;
    assert_eq!(world.checkpoints.save(GROUP).await.expect("it goes on").last.map(|last| last.index), Some(29));
    world.loads_as_it_is().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_anew_before_memory_has_every_group() {
    let damaged = World::writing_every(INTERVAL, false).await;
    damaged.store.rots.store(true, Ordering::Relaxed);
    damaged.apply(0..20);
    let failed = tokio::time::timeout(Duration::from_secs(60), damaged.checkpoints.failed()).await;
    assert!(failed.is_ok(), "the old store has the only copy of what is not loaded yet");

    let full = World::writing_every(INTERVAL, false).await;
    full.store.is_full.store(true, Ordering::Relaxed);
    full.apply(0..20);
    full.until_out(true).await;
    full.store.is_full.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(full.checkpoints.pulse().is_without_store());
    full.checkpoints.note_all_attached();
    full.until_out(false).await;
}

#[tokio::test(start_paused = true)]
async fn damage_that_comes_again_and_again_ends_the_node() {
    let world = World::new().await;
    for round in 0..3 {
        world.store.rots.store(true, Ordering::Relaxed);
        world.apply(10 * round..10 * round + 10);
        world.until_out(true).await;
        world.until_out(false).await;
    }
    world.store.rots.store(true, Ordering::Relaxed);
    world.apply(30..40);
    let failed = tokio::time::timeout(Duration::from_secs(60), world.checkpoints.failed()).await;
    assert!(failed.is_ok(), "a disk that rots what is written to it is of no use");
}

#[test]
fn rows_that_are_not_those_that_were_sent_are_refused() {
    let meta = |value: u8| {
        let mut meta = CheckpointMeta::default();
        meta.add_row(&Row { key: vec![1], value: vec![value] });
        meta
    };
    let digest = meta(2).digest();
    assert!(snapshot::check_whole(&meta(2), 1, Some(&digest)).is_ok());
    for (received, row_count, digest) in
        [(meta(3), 1, Some(digest.as_slice())), (meta(2), 2, Some(&digest)), (meta(2), 1, None)]
    {
        let refused = snapshot::check_whole(&received, row_count, digest).expect_err("it is not what was sent");
        assert_eq!(refused.code(), tonic::Code::DataLoss, "{refused}");
    }
}

#[tokio::test]
async fn a_group_is_given_up_though_somebody_reads_its_checkpoint() {
    let world = World::with_twenty_entries().await;
    let mut reading = world.checkpoints.begin_read(GROUP).await.expect("it can be read");
    let is_forgotten = forget_data(&world.log, &world.checkpoints, Some(position(19))).await;
    assert!(is_forgotten.expect("the disk is good"));
    assert_eq!((world.log.purged(), world.log.len()), (Some(position(19)), 0));
    assert!(reading.next_page().await.is_err(), "the reader is told");
    let left = GroupState::open(GROUP, &world.checkpoints).await.expect("it loads");
    assert_eq!(left.progress().next_index, 0);
}

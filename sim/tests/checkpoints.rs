//! The real checkpointer on a simulated store: the power is cut, or the disk is full, at every step.

use futures::future::BoxFuture;
use futures::stream;
use openraft::storage::RaftStateMachine;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{
    CreateOrganisation, DirectoryCommand, Envelope, GroupId, RequestId, Row, Timestamp, UserId, codec,
};
use vestibule_raft::checkpoint::{CheckpointMeta, Checkpoints};
use vestibule_raft::seams::{CheckpointStore, StoredChanges, StoredRows};
use vestibule_raft::state::GroupState;
use vestibule_raft::state_machine::MachineStore;
use vestibule_raft::types::{Batch, LogId, to_entry};
use vestibule_raft::wal::{EntryBody, LogPosition, Owner, Wal, WalConfig};
use vestibule_sim::disk::SimDisk;
use vestibule_sim::spawner::TaskSpawner;
use vestibule_sim::store::SimStore;

const OWNER: Owner = Owner { cluster: 3, node: 1, incarnation: 9 };
const GROUP: GroupId = GroupId::DIRECTORY;
const INTERVAL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);
/// Rows in one message of a snapshot.
const PAGE_ROWS: usize = 9;

type Digest = (Option<LogId>, [u8; 32]);

/// A group on a store: what a node makes of it at its start.
struct World {
    checkpoints: Checkpoints,
    state: Arc<GroupState>,
    _wal: Wal,
}

impl World {
    async fn open(store: &SimStore, interval: Duration) -> Self {
        Self::open_on(Arc::new(store.clone()), interval).await
    }

    async fn open_on(store: Arc<dyn CheckpointStore>, interval: Duration) -> Self {
        let config = WalConfig { segment_len: 24 << 10, ballast_len: 0, ..WalConfig::default() };
        let (wal, _) = Wal::open(Arc::new(SimDisk::new(1)), OWNER, config, &TaskSpawner).await.expect("a log");
        let (checkpoints, task) = Checkpoints::new(store, OWNER, interval);
        tokio::spawn(task);
        let state = Arc::new(GroupState::open(GROUP, &checkpoints).await.expect("the checkpoint loads"));
        checkpoints.attach(state.clone(), wal.group(GROUP)).await.expect("it attaches");
        checkpoints.note_all_attached();
        Self { checkpoints, state, _wal: wal }
    }

    /// Applies entries that make organisations.
    async fn apply(&self, indexes: std::ops::Range<u64>) {
        let entries = indexes.map(|index| {
            let ask = CreateOrganisation { by: UserId(7), name: format!("House {index}") };
            let command = DirectoryCommand::CreateOrganisation(ask);
            let envelope = Envelope { request: Some(RequestId(index.into())), command };
            let batch = Batch::new(Timestamp(1_000 + index), &[codec::encode(&envelope).into()]);
            let position = LogPosition { term: 1, node: 1, index };
            to_entry(position, EntryBody::Batch(batch.bytes().clone())).map(|entry| (entry, None))
        });
        let mut machine = MachineStore::new(self.state.clone(), self.checkpoints.clone());
        machine.apply(stream::iter(entries.collect::<Vec<_>>())).await.expect("entries apply");
    }

    /// The rows of the group's checkpoint.
    async fn snapshot(&self) -> (CheckpointMeta, Vec<Row>) {
        self.checkpoints.save(GROUP).await.expect("it is saved");
        let mut reading = self.checkpoints.begin_read(GROUP).await.expect("it can be read");
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let page = reading.next_page().await.expect("pages can be read");
            if page.is_empty() {
                return (reading.meta().clone(), rows);
            }
            rows.extend(page);
        }
    }

    async fn install(&self, (meta, rows): &(CheckpointMeta, Vec<Row>)) -> std::io::Result<()> {
        let mut receiving = self.checkpoints.begin_receive(GROUP).await?;
        for page in rows.chunks(PAGE_ROWS) {
            receiving = self.checkpoints.put_page(receiving, page.to_vec()).await?;
        }
        self.checkpoints.install(receiving, meta.last, meta.membership.clone()).await
    }

    async fn until_saved(&self, next_index: u64) {
        let saved = async {
            while self.checkpoints.saved_next_index(GROUP) < next_index {
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::time::timeout(PATIENCE, saved).await.expect("it is saved in the end");
    }
}

/// A store that takes its time over every page, and has small ones.
struct SlowStore {
    store: SimStore,
    page_takes: Duration,
}

impl CheckpointStore for SlowStore {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        self.store.write(namespace, changes)
    }
    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        self.store.get(namespace, key)
    }
    fn scan<'a>(&'a self, name: &'a str, after: Option<&'a [u8]>, _: usize) -> BoxFuture<'a, io::Result<StoredRows>> {
        Box::pin(async move {
            tokio::time::sleep(self.page_takes).await;
            self.store.scan(name, after, 2_000).await
        })
    }
    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.flush()
    }
    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.store.clear(namespace)
    }
    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.begin_anew()
    }
    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.abandon_anew()
    }
    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.commit_anew()
    }
}

/// What a start finds on the store.
async fn load(store: &SimStore) -> Digest {
    World::open(store, Duration::MAX / 4).await.state.digest()
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_while_a_snapshot_is_received_and_installed_leaves_the_old_or_the_new_state() {
    const NEVER: Duration = Duration::from_secs(1_000_000);
    let there = World::open(&SimStore::new(0), NEVER).await;
    there.apply(0..60).await;
    let (snapshot, new) = (there.snapshot().await, there.state.digest());
    assert!(snapshot.1.len() > 5 * PAGE_ROWS, "{} rows", snapshot.1.len());
    let (mut cuts, mut found) = (0, BTreeSet::new());
    for seed in 0..3 {
        for cut in 0.. {
            let store = SimStore::new(seed);
            let here = World::open(&store, NEVER).await;
            here.apply(0..20).await;
            here.checkpoints.save(GROUP).await.expect("it is saved");
            let old = here.state.digest();
            store.cut_power_after(cut);
            let installed = here.install(&snapshot).await;
            // A cut behind the moment at which it took effect is an error, too.
            let has_power = store.operations() > 0 && installed.is_ok();
            store.restore_power();
            drop(here);
            let loaded = load(&store).await;
            assert!(loaded == old || loaded == new, "seed {seed}, cut {cut}: neither the old nor the new state");
            assert!(installed.is_err() || loaded == new, "seed {seed}, cut {cut}: what was installed is lost");
            found.insert(loaded == new);
            // What the cut left behind gets into nothing later.
            let again = World::open(&store, NEVER).await;
            again.install(&snapshot).await.expect("with power it is installed");
            again.apply(60..70).await;
            again.checkpoints.save(GROUP).await.expect("it is saved");
            assert_eq!(load(&store).await, again.state.digest(), "seed {seed}, cut {cut}: after another attempt");
            if has_power {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 30 && found.len() == 2, "{cuts} cuts, {found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_meets_a_full_disk_is_made_anew_and_nothing_stops() {
    for room in 0..6 {
        let store = SimStore::new(room);
        let here = World::open(&store, INTERVAL).await;
        here.apply(0..20).await;
        here.until_saved(20).await;
        let before = here.state.digest();
        store.fill_after(Some(room));
        // Until the disk is full; some checkpoints still find room.
        let mut next = 20;
        while here.checkpoints.begin_receive(GROUP).await.is_ok() {
            here.apply(next..next + 3).await;
            next += 3;
            tokio::time::sleep(2 * INTERVAL).await;
        }
        let saved = here.checkpoints.saved_next_index(GROUP);
        here.apply(next..next + 50).await;
        next += 50;
        tokio::time::sleep(20 * INTERVAL).await;
        // Raft is told what is durable, and nothing has failed.
        let told = here.checkpoints.save(GROUP).await.expect("a full disk is no failure");
        assert_eq!(told.last.map(|last| last.index + 1), Some(saved));
        let mut pinned = here.checkpoints.begin_read(GROUP).await.expect("nor is it for readers");
        assert_eq!(pinned.meta().last, told.last);
        assert!(pinned.next_page().await.is_err(), "there is nothing to read from");
        assert!(saved < next && saved >= before.0.map_or(0, |last| last.index + 1));
        assert!(futures::FutureExt::now_or_never(here.checkpoints.failed()).is_none());

        // With room everything is there again, and goes on as before.
        store.fill_after(None);
        here.until_saved(next).await;
        here.apply(next..next + 5).await;
        here.until_saved(next + 5).await;
        let expected = here.state.digest();
        store.cut_power_after(0);
        store.restore_power();
        assert_eq!(load(&store).await, expected, "room for {room}");
        // What was read from the store that is gone is not gone on with in the other.
        assert!(pinned.next_page().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_while_the_store_is_made_anew_leaves_a_checkpoint() {
    let (mut old_found, mut new_found) = (0, 0);
    for cut in 0..40 {
        let store = SimStore::new(cut);
        let here = World::open(&store, INTERVAL).await;
        here.apply(0..20).await;
        here.until_saved(20).await;
        let old = here.state.digest();
        store.fill_after(Some(0));
        here.apply(20..40).await;
        tokio::time::sleep(3 * INTERVAL).await;
        store.fill_after(None);
        store.cut_power_after(cut);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let new = here.state.digest();
        let was_saved = here.checkpoints.saved_next_index(GROUP) == 40;
        store.restore_power();
        let loaded = load(&store).await;
        assert!(loaded == old || loaded == new, "cut {cut}: neither the old nor the new state");
        assert!(loaded == new || !was_saved, "cut {cut}: what was saved is lost");
        if loaded == new { new_found += 1 } else { old_found += 1 }
    }
    assert!(old_found > 3 && new_found > 3, "{old_found} old, {new_found} new");
}

#[tokio::test(start_paused = true)]
async fn what_changed_is_written_at_once_when_it_is_much() {
    let here = World::open(&SimStore::new(5), Duration::from_secs(1_000_000)).await;
    here.checkpoints.limit_dirt(2_000);
    here.apply(0..10).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(here.checkpoints.saved_next_index(GROUP), 0, "it is little, and the time has not come");
    here.apply(10..100).await;
    here.until_saved(100).await;
    here.apply(100..105).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(here.checkpoints.saved_next_index(GROUP), 100, "counting begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_waited_for_as_long_as_page_follows_page() {
    let store = SimStore::new(6);
    let here = World::open(&store, INTERVAL).await;
    here.apply(0..400).await;
    here.until_saved(400).await;
    let (snapshot, expected) = (here.snapshot().await, here.state.digest());
    drop(here);
    let slow = Arc::new(SlowStore { store, page_takes: Duration::from_secs(20) });
    let begun = tokio::time::Instant::now();
    let here = World::open_on(slow.clone(), INTERVAL).await;
    assert_eq!(here.state.digest(), expected);
    assert!(begun.elapsed() > Duration::from_secs(150), "it was not slow: {:?}", begun.elapsed());

    // A group that is taken on while a snapshot of another is installed waits for that, too, and fails nothing.
    let (install, take_on) = tokio::join!(here.install(&snapshot), async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        let begun = tokio::time::Instant::now();
        let opened = GroupState::open(GroupId(5), &here.checkpoints).await;
        opened.map(|_| begun.elapsed())
    });
    install.expect("it is installed");
    let waited = take_on.expect("it can be taken on");
    assert!(waited > Duration::from_secs(100), "it did not have to wait: {waited:?}");
}

/// A group whose entries are agreed on elsewhere, and applied before the own disk has them.
struct LateLog {
    disk: SimDisk,
    wal: Wal,
    checkpoints: Checkpoints,
    state: Arc<GroupState>,
    next: u64,
}

impl LateLog {
    async fn open() -> Self {
        let disk = SimDisk::new(1);
        let config = WalConfig { segment_len: 1 << 20, ballast_len: 0, ..WalConfig::default() };
        let (wal, _) = Wal::open(Arc::new(disk.clone()), OWNER, config, &TaskSpawner).await.expect("a log");
        let (checkpoints, task) = Checkpoints::new(Arc::new(SimStore::new(7)), OWNER, INTERVAL);
        tokio::spawn(task);
        let state = Arc::new(GroupState::open(GROUP, &checkpoints).await.expect("it is empty"));
        checkpoints.attach(state.clone(), wal.group(GROUP)).await.expect("it attaches");
        Self { disk, wal, checkpoints, state, next: 0 }
    }

    /// Appends an entry, and applies it at once.
    async fn apply_next(&mut self) {
        let index = self.next;
        self.next += 1;
        let ask = CreateOrganisation { by: UserId(7), name: format!("House {index}") };
        let command = DirectoryCommand::CreateOrganisation(ask);
        let envelope = Envelope { request: Some(RequestId(index.into())), command };
        let batch = Batch::new(Timestamp(1_000 + index), &[codec::encode(&envelope).into()]);
        let body = EntryBody::Batch(batch.bytes().clone());
        let position = LogPosition { term: 1, node: 1, index };
        let log = self.wal.group(GROUP);
        log.append(vec![(position, body.clone())], Box::new(|_| {})).await.expect("the log takes entries");
        let mut machine = MachineStore::new(self.state.clone(), self.checkpoints.clone());
        let entry = to_entry(position, body).map(|entry| (entry, None));
        machine.apply(stream::iter([entry])).await.expect("the entry applies");
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_keep_up_with_a_log_that_never_catches_up() {
    const SYNC_TAKES: Duration = Duration::from_millis(200);
    // Some thirty entries for each sync: the newest one applied is never on disk.
    const PERIOD: Duration = Duration::from_millis(7);
    const LAG_MAX: u64 = 150;
    let mut here = LateLog::open().await;
    here.disk.set_sync_delay(SYNC_TAKES);
    for _ in 0..500 {
        here.apply_next().await;
        tokio::time::sleep(PERIOD).await;
    }
    for _ in 0..2_000 {
        here.apply_next().await;
        assert!(here.wal.group(GROUP).is_pending(here.next - 1), "the disk is too fast for this test");
        let saved = here.checkpoints.saved_next_index(GROUP);
        assert!(saved + LAG_MAX > here.next, "{saved} of {} entries are saved", here.next);
        tokio::time::sleep(PERIOD).await;
    }

    // Whoever asks for a checkpoint waits for what is applied now, and for nothing that comes after it.
    let wanted = here.next;
    let checkpoints = here.checkpoints.clone();
    let asked = tokio::spawn(async move {
        let begun = tokio::time::Instant::now();
        (checkpoints.save(GROUP).await, begun.elapsed())
    });
    while !asked.is_finished() {
        here.apply_next().await;
        tokio::time::sleep(PERIOD).await;
    }
    let (saved, took) = asked.await.expect("it does not panic");
    let saved = saved.expect("a late log is no failure").last.expect("there are entries").index;
    assert!(saved + 1 >= wanted && took < 4 * SYNC_TAKES, "{saved} of {wanted} after {took:?}");
    assert!(futures::FutureExt::now_or_never(here.checkpoints.failed()).is_none(), "the node goes on");
}

#[tokio::test(start_paused = true)]
async fn a_late_log_stops_neither_a_node_nor_the_checkpoints_of_other_groups() {
    const OTHER: GroupId = GroupId(5);
    let mut here = LateLog::open().await;
    here.disk.set_sync_delay(Duration::from_secs(3_600));
    for _ in 0..10 {
        here.apply_next().await;
    }
    let checkpoints = &here.checkpoints;

    let (saved, other) = tokio::join!(checkpoints.save(GROUP), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = tokio::time::Instant::now();
        let opened = GroupState::open(OTHER, checkpoints).await;
        opened.map(|_| begun.elapsed())
    });
    assert_eq!(saved.expect("a late log is no failure").last, None, "the answer is what is durable");
    let waited = other.expect("the other group opens");
    assert!(waited < Duration::from_secs(1), "the other group waited for {waited:?}");
    assert!(futures::FutureExt::now_or_never(checkpoints.failed()).is_none(), "the node goes on");
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    assert_eq!(checkpoints.saved_next_index(GROUP), 10, "it is written once the log has it");
}

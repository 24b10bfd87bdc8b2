//! openraft's own storage suite over our log and our checkpoints, on the real file system.

use openraft::StorageError;
use openraft::storage::RaftLogReader;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::GroupId;
use vestibule_raft::checkpoint::Checkpoints;
use vestibule_raft::log_store::LogStore;
use vestibule_raft::seams::{Spawner, ThreadSpawner};
use vestibule_raft::sled_store::SledStore;
use vestibule_raft::state::GroupState;
use vestibule_raft::state_machine::MachineStore;
use vestibule_raft::std_disk::StdDisk;
use vestibule_raft::types::{Entry, TypeConfig};
use vestibule_raft::wal::{EntryBody, LogPosition, Owner, Wal, WalConfig};

struct Builder;

/// Keeps the directory and the log for as long as the stores are used.
struct Guard {
    _directory: tempfile::TempDir,
    _wal: Wal,
}

impl StoreBuilder<TypeConfig, LogStore, MachineStore, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, MachineStore), StorageError<TypeConfig>> {
        let group = GroupId(1);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Arc::new(StdDisk::open(directory.path().join("wal")).expect("the directory opens"));
        let config = WalConfig { segment_len: 256 << 10, resident_bytes_max: 512, ..WalConfig::default() };
        let owner = Owner { cluster: 1, node: 0, incarnation: 1 };
        let (wal, _) = Wal::open(disk, owner, config, &ThreadSpawner).await.expect("an empty log opens");
        let sled = SledStore::open(&directory.path().join("checkpoint"), Duration::from_secs(30)).expect("sled opens");
        let (checkpoints, task) = Checkpoints::new(Arc::new(sled), owner, Duration::from_millis(20));
        ThreadSpawner.spawn_blocking_task("checkpointer", Box::pin(task)).expect("a thread starts");
        let state = Arc::new(GroupState::open(group, &checkpoints).await.expect("an empty checkpoint loads"));
        checkpoints.attach(state.clone(), wal.group(group)).await.expect("the checkpointer runs");
        let log = LogStore::new(wal.group(group));
        Ok((Guard { _directory: directory, _wal: wal }, log, MachineStore::new(state, checkpoints)))
    }
}

#[test]
fn openraft_storage_suite_passes() {
    TypeConfig::run(async { Suite::test_all(Builder).await }).expect("every test of the suite passes");
}

/// A stream to a follower that is being given up asks for what was purged meanwhile: what comes behind must not go in its place.
#[test]
fn nothing_is_read_for_replication_behind_a_hole() {
    TypeConfig::run(async {
        let (guard, mut log, _machine) = Builder.build().await.expect("the stores open");
        let group = guard._wal.group(GroupId(1));
        let position = |index| LogPosition { term: 1, node: 0, index };
        let entries = (0..10).map(|index| (position(index), EntryBody::Blank)).collect();
        let (flushed, is_flushed) = tokio::sync::oneshot::channel();
        let tell = Box::new(move |result| drop(flushed.send(result)));
        group.append(entries, tell).await.expect("the log takes entries");
        is_flushed.await.expect("the log lives").expect("the disk is sound");
        group.purge(position(4)).await.expect("the disk is sound");
        let first = |entries: Vec<Entry>| entries.first().map(|entry| entry.log_id.index);
        assert_eq!(first(log.limited_get_log_entries(3, 10).await.expect("the disk is sound")), None);
        assert_eq!(first(log.limited_get_log_entries(5, 10).await.expect("the disk is sound")), Some(5));
    });
}

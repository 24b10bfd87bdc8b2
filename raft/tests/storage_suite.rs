//! openraft's own storage suite over our log and our checkpoints, on the real file system.

use openraft::StorageError;
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
use vestibule_raft::types::TypeConfig;
use vestibule_raft::wal::{Owner, Wal, WalConfig};

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

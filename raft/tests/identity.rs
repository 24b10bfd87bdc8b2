//! Checkpoints know whose they are: those of another node are refused, and left as they are.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::GroupId;
use vestibule_raft::checkpoint::{Checkpoints, ForeignCheckpoints};
use vestibule_raft::seams::{Spawner, ThreadSpawner};
use vestibule_raft::sled_store::SledStore;
use vestibule_raft::state::GroupState;
use vestibule_raft::wal::Owner;

const OWNER: Owner = Owner { cluster: 1, node: 1, incarnation: 100 };

/// Opens the database as `owner` and loads a group from it; gives the refusal, if that is one of another node's data.
async fn open(path: &Path, owner: Owner) -> Result<(), Option<ForeignCheckpoints>> {
    let sled = SledStore::open(path, Duration::from_secs(30)).expect("sled opens");
    let (checkpoints, task) = Checkpoints::new(Arc::new(sled), owner, Duration::from_millis(20));
    ThreadSpawner.spawn_blocking_task("checkpointer", Box::pin(task)).expect("a thread starts");
    let loaded = GroupState::open(GroupId(1), &checkpoints).await.map(drop);
    checkpoints.close().await.expect("it closes");
    loaded.map_err(|error| error.get_ref().and_then(|inner| inner.downcast_ref()).copied())
}

#[tokio::test]
async fn checkpoints_of_another_node_or_another_life_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    assert_eq!(open(dir.path(), OWNER).await, Ok(()));
    for other in [Owner { cluster: 2, ..OWNER }, Owner { node: 2, ..OWNER }, Owner { incarnation: 101, ..OWNER }] {
        assert_eq!(open(dir.path(), other).await, Err(Some(ForeignCheckpoints { found: OWNER, expected: other })));
    }
    assert_eq!(open(dir.path(), OWNER).await, Ok(()));
}

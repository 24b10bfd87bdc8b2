//! A store that hangs or panics, as sled may on damaged files, is found out in bounded time.

use futures::future::BoxFuture;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::GroupId;
use vestibule_raft::checkpoint::Checkpoints;
use vestibule_raft::seams::{CheckpointStore, StoredChanges, StoredRows};
use vestibule_raft::state::GroupState;
use vestibule_raft::wal::Owner;

const OWNER: Owner = Owner { cluster: 1, node: 1, incarnation: 100 };

/// A store in which reading rows hangs, or panics.
struct Broken {
    panics: bool,
}

impl CheckpointStore for Broken {
    fn write<'a>(&'a self, _: &'a str, _: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn get<'a>(&'a self, _: &'a str, _: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        Box::pin(async { Ok(None) })
    }
    fn scan<'a>(&'a self, _: &'a str, _: Option<&'a [u8]>, _: usize) -> BoxFuture<'a, io::Result<StoredRows>> {
        assert!(!self.panics, "planted");
        Box::pin(std::future::pending())
    }
    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn clear<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_or_panics_is_given_up() {
    for panics in [false, true] {
        let (checkpoints, task) = Checkpoints::new(Arc::new(Broken { panics }), OWNER, Duration::from_secs(1));
        tokio::spawn(task);
        let limit = Duration::from_secs(200);
        let opened = tokio::time::timeout(limit, GroupState::open(GroupId(1), &checkpoints)).await;
        assert!(opened.expect("it does not take for ever").is_err(), "panics: {panics}");
        let failed = tokio::time::timeout(Duration::from_secs(700), checkpoints.failed()).await;
        let reason = failed.expect("it is noticed without anybody asking for anything");
        assert!(reason.contains(if panics { "died" } else { "has not got on" }), "{reason}");
        // What was found to hang is not waited for once more.
        let closed = tokio::time::timeout(Duration::from_secs(1), checkpoints.close()).await;
        assert!(closed.expect("it does not take long").is_err(), "panics: {panics}");
    }
}

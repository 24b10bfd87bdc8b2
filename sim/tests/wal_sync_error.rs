//! The real log on a disk whose sync has failed: the pages count as clean, so nothing but writing them again makes them
//! durable. A log that is opened again vouches for what it finds.

use bytes::Bytes;
use std::sync::Arc;
use vestibule_engine::GroupId;
use vestibule_raft::wal::{EntryBody, LogPosition, Owner, Wal, WalConfig, WalGroup};
use vestibule_sim::disk::SimDisk;
use vestibule_sim::spawner::TaskSpawner;

const OWNER: Owner = Owner { cluster: 3, node: 1, incarnation: 9 };
const GROUP: GroupId = GroupId(1);

async fn open(disk: &SimDisk) -> Wal {
    let config = WalConfig { segment_len: 24 << 10, ballast_len: 0, ..WalConfig::default() };
    Wal::open(Arc::new(disk.clone()), OWNER, config, &TaskSpawner).await.expect("it opens").0
}

async fn append(log: &WalGroup, index: u64) -> std::io::Result<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let position = LogPosition { term: 1, node: 1, index };
    let entry = (position, EntryBody::Batch(Bytes::from(vec![7; 3_000])));
    log.append(vec![entry], Box::new(|result| drop(tell.send(result)))).await?;
    told.await.unwrap_or_else(|_| Err(std::io::Error::other("the log stopped")))
}

/// Entries 0 to 9 with a failing sync on the way, on a disk that loses what `seed` says.
async fn play(seed: u64, syncs: u64) {
    let disk = SimDisk::new(seed);
    let mut next = 0;
    disk.fail_sync_after(syncs);
    for _ in 0..2 {
        // The process ends with the first error, and starts again on the same page cache.
        let Ok((opened, _)) = Wal::open(
            Arc::new(disk.clone()),
            OWNER,
            WalConfig { segment_len: 24 << 10, ballast_len: 0, ..WalConfig::default() },
            &TaskSpawner,
        )
        .await
        else {
            continue;
        };
        let log = opened.group(GROUP);
        // What is found is vouched for from now on.
        next = log.last().map_or(0, |last| last.index + 1);
        while next < 10 && append(&log, next).await.is_ok() {
            next += 1;
        }
    }
    disk.cut_power_after(0);
    disk.restore_power();
    let found = open(&disk).await.group(GROUP).last().map_or(0, |last| last.index + 1);
    assert!(found >= next, "seed {seed}, sync {syncs}: {next} entries were vouched for, {found} are there");
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_sync_left_is_written_again() {
    for syncs in 0..24 {
        for seed in 0..40 {
            play(seed, syncs).await;
        }
    }
}

//! The real log on a simulated disk that is full: it says so, votes and purges go on, and it recovers when there is room.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::GroupId;
use vestibule_raft::seams::Disk;
use vestibule_raft::wal::{Ballot, EntryBody, LogPosition, Owner, Wal, WalConfig, WalGroup};
use vestibule_sim::disk::SimDisk;
use vestibule_sim::spawner::TaskSpawner;

const OWNER: Owner = Owner { cluster: 3, node: 1, incarnation: 9 };
const SEGMENT_LEN: u64 = 24 << 10;
const BALLAST_LEN: u64 = 48 << 10;

fn config() -> WalConfig {
    WalConfig {
        segment_len: SEGMENT_LEN,
        resident_bytes_max: 2 << 10,
        queue_bytes_max: 256 << 10,
        frame_bytes_max: 2 << 10,
        ballast_len: BALLAST_LEN,
    }
}

async fn open(disk: &SimDisk) -> Wal {
    Wal::open(Arc::new(disk.clone()), OWNER, config(), &TaskSpawner).await.expect("it opens").0
}

fn at(index: u64) -> LogPosition {
    LogPosition { term: 1, node: 1, index }
}

async fn append(log: &WalGroup, index: u64) -> std::io::Result<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let entry = (at(index), EntryBody::Batch(Bytes::from(vec![7; 1_000])));
    log.append(vec![entry], Box::new(|result| tell.send(result).expect("the test waits"))).await?;
    told.await.expect("the callback is called")
}

async fn until(wal: &Wal, full: bool) {
    let mut state = wal.watch_full();
    let changed = tokio::time::timeout(Duration::from_secs(30), state.wait_for(|now| *now == full)).await;
    changed.expect("the log notices").expect("the log lives");
}

async fn has_ballast(disk: &SimDisk) -> bool {
    disk.list().await.expect("it can be listed").iter().any(|name| name == "ballast")
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_noticed_and_left_behind() {
    let disk = SimDisk::new(1);
    let wal = open(&disk).await;
    let (log, voter) = (wal.group(GroupId(1)), wal.group(GroupId(2)));
    append(&log, 0).await.expect("there is room");
    while !has_ballast(&disk).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!log.is_disk_full());

    // Somebody else fills the disk.
    disk.set_capacity(disk.used_bytes() + BALLAST_LEN - 1);
    until(&wal, true).await;
    assert!(!has_ballast(&disk).await, "it was given up");
    // Votes go on, and entries of other leaders, in steady state without end: what is purged makes room.
    for index in 1..300 {
        append(&log, index).await.expect("the log goes on");
        if index % 10 == 0 {
            voter.save_vote(Ballot { term: index, node: 1, committed: false }).await.expect("votes are saved");
            log.purge(at(index - 3)).await.expect("the log purges");
        }
    }
    assert!(log.is_disk_full());

    // A little more room is not enough, so that the ballast does not come and go.
    disk.set_capacity(disk.used_bytes() + 3 * BALLAST_LEN - 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(log.is_disk_full() && !has_ballast(&disk).await);
    disk.set_capacity(disk.used_bytes() + 3 * BALLAST_LEN);
    until(&wal, false).await;
    assert!(has_ballast(&disk).await, "it was made again");
    wal.close().await;

    let wal = open(&disk).await;
    assert_eq!(wal.group(GroupId(1)).last(), Some(at(299)));
    assert_eq!(wal.group(GroupId(2)).vote().map(|vote| vote.term), Some(290));
}

#[tokio::test(start_paused = true)]
async fn the_ballast_makes_room_for_a_segment_at_once() {
    let disk = SimDisk::new(2);
    let wal = open(&disk).await;
    let log = wal.group(GroupId(1));
    append(&log, 0).await.expect("there is room");
    while !has_ballast(&disk).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Full from one moment to the next, and time stands still for whoever watches.
    disk.set_capacity(disk.used_bytes());
    let mut index = 0;
    let error = loop {
        index += 1;
        if let Err(error) = append(&log, index).await {
            break error;
        }
    };
    // The spare and two segments in place of the ballast were filled before there was no room at all.
    let filled = index * 1_048 / SEGMENT_LEN;
    assert_eq!(filled, 3, "{index} entries");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(log.is_disk_full());
    wal.failed().await;
    disk.restore_power();
    // With some room again nothing that was acknowledged is missing.
    disk.set_capacity(u64::MAX);
    let wal = open(&disk).await;
    assert_eq!(wal.group(GroupId(1)).last(), Some(at(index - 1)));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_last_segment_is_kept_for_votes() {
    let disk = SimDisk::new(4);
    let wal = open(&disk).await;
    let (log, voter) = (wal.group(GroupId(1)), wal.group(GroupId(2)));
    append(&log, 0).await.expect("there is room");
    while !has_ballast(&disk).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    disk.set_capacity(disk.used_bytes());
    let mut index = 0;
    // As a follower does, which looks before it takes an entry. As fast as it can: nobody has time to look at the disk.
    loop {
        if log.is_out_of_room() {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if log.is_out_of_room() {
                break;
            }
        }
        index += 1;
        append(&log, index).await.expect("there is room for another segment");
    }
    assert!(index * 1_048 > 5 * SEGMENT_LEN / 2, "{index} entries: the spare and the ballast were used");
    for term in 1..=10 {
        voter.save_vote(Ballot { term, node: 1, committed: false }).await.expect("votes are saved");
    }
    // A segment that is used again is room.
    log.purge(at(index - 1)).await.expect("the log purges");
    while log.is_out_of_room() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    append(&log, index + 1).await.expect("there is room");
}

#[tokio::test(start_paused = true)]
async fn a_disk_without_room_for_a_ballast_is_full_from_the_start() {
    let disk = SimDisk::new(3);
    disk.set_capacity(SEGMENT_LEN + BALLAST_LEN);
    let wal = open(&disk).await;
    until(&wal, true).await;
    append(&wal.group(GroupId(1)), 0).await.expect("there is room for a segment");
}

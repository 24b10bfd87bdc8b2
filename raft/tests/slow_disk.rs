//! A node whose disk is slow costs the others nothing.

mod support;

use futures::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{World, create, eventually};
use vestibule_engine::GroupId;
use vestibule_raft::cluster::Cluster;
use vestibule_raft::node::Node;

/// Commits of one measurement.
const COMMITS: u128 = 21;
/// How long a sync of a slow disk takes: longer than the leader waits for an answer to one append.
const SLOW: Duration = Duration::from_millis(300);

/// How often the leader may change while it is measured: a busy machine can cost one its leadership, too.
const ATTEMPTS: u128 = 2;

/// Who ask at once in a steady load: with one the log would come to rest between two commits.
const ASKERS: u128 = 8;
/// The most that the log may come to under a steady load: a few times what a snapshot is declared after.
const LOG_ENTRIES_MAX: u64 = 1_000;

/// The median time of commits, one after the other.
async fn median(cluster: &dyn Cluster, first: u128) -> Duration {
    let mut times = Vec::new();
    for request in first..first + COMMITS {
        let began = Instant::now();
        assert!(create(cluster, request).await.result.is_ok());
        times.push(began.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Waits until a node has the directory that another one has.
async fn catches_up(world: &World, node: u64, with: u64) {
    let next = |id: u64| world.nodes[&id].node.state(GroupId::DIRECTORY).map(|state| state.progress().next_index);
    let target = next(with);
    eventually("the node catches up", || async { (next(node) >= target).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_on_one_follower_does_not_slow_commits() {
    let world = World::of(3).await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 0).await.result.is_ok());
    let slow_down = |node: u64, by: Duration| {
        world.delays[&node].store(u64::try_from(by.as_millis()).expect("short"), Ordering::SeqCst);
    };

    let usual = median(&*cluster, 1_000).await;
    let mut undisturbed = None;
    for attempt in 1..=ATTEMPTS {
        let leader = world.leader(GroupId::DIRECTORY).await;
        let followers: Vec<u64> = world.nodes.keys().copied().filter(|id| *id != leader).collect();
        slow_down(followers[0], SLOW);
        let with_one = median(&*cluster, 10_000 * attempt).await;
        if world.leader(GroupId::DIRECTORY).await == leader {
            undisturbed = Some((leader, followers, with_one));
            break;
        }
        slow_down(followers[0], Duration::ZERO);
    }
    let (leader, followers, with_one) = undisturbed.expect("the slow node disturbed the others every time");
    let (slow, other) = (followers[0], followers[1]);
    // However slow, it keeps up in the end.
    catches_up(&world, slow, leader).await;
    // The delay is real: no majority can do without two slow ones.
    slow_down(other, SLOW);
    let with_two = median(&*cluster, 3_000).await;
    eprintln!("median commit: {usual:?}, with a slow follower {with_one:?}, with two {with_two:?}");
    assert!(with_one < usual + SLOW / 3, "{with_one:?} with one slow follower, {usual:?} without");
    assert!(with_two >= SLOW, "{with_two:?} with two slow followers");

    followers.iter().for_each(|node| slow_down(*node, Duration::ZERO));
    catches_up(&world, slow, leader).await;
    world.stop_all().await;
}

/// A figure of the directory on a node.
fn figure(node: &Node, name: &str) -> u64 {
    let text = node.metrics().render();
    let name = format!("vestibule_node_group_{name}{{group=\"0\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// Keeps the log of the cluster from ever being at rest, until told to stop.
fn load(world: &World, first: u128) -> (Arc<AtomicBool>, Vec<tokio::task::JoinHandle<()>>) {
    let is_over = Arc::<AtomicBool>::default();
    let askers = (0..ASKERS).map(|asker| {
        let (cluster, is_over) = (world.client_of_all(), is_over.clone());
        tokio::spawn(async move {
            let mut request = first + asker;
            while !is_over.load(Ordering::Relaxed) {
                assert!(create(&*cluster, request).await.result.is_ok());
                request += ASKERS;
            }
        })
    });
    let askers = askers.collect();
    (is_over, askers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_under_steady_load_starves_no_checkpoint() {
    const SLOWER: Duration = Duration::from_millis(100);
    const ROUNDS: u64 = 4;
    let world = World::of(3).await;
    assert!(create(&*world.client_of_all(), 0).await.result.is_ok());
    let leader = world.leader(GroupId::DIRECTORY).await;
    let follower = world.nodes.keys().copied().find(|id| *id != leader).expect("two others");
    for (turn, slow) in [follower, leader].into_iter().enumerate() {
        let node = &world.nodes[&slow].node;
        world.delays[&slow].store(u64::try_from(SLOWER.as_millis()).expect("short"), Ordering::SeqCst);
        let (is_over, askers) = load(&world, 1_000_000 * (turn as u128 + 1));
        let saved = || (figure(node, "applied_index") + 1).saturating_sub(figure(node, "checkpoint_lag"));
        let longest_log = AtomicU64::new(0);
        for round in 0..ROUNDS {
            // More than a snapshot is declared after.
            let target = figure(node, "applied_index") + 100;
            eventually("what was applied is saved under load", || async {
                longest_log.fetch_max(figure(node, "log_entries"), Ordering::Relaxed);
                assert_eq!(node.failed().now_or_never(), None, "round {round}: the node goes on");
                (saved() > target).then_some(())
            })
            .await;
        }
        is_over.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.await.expect("it was answered");
        }
        world.delays[&slow].store(0, Ordering::SeqCst);
        let longest_log = longest_log.into_inner();
        eprintln!("{}: the log had at most {longest_log} entries", ["follower", "leader"][turn]);
        assert!(longest_log < LOG_ENTRIES_MAX, "{longest_log} entries: nothing was purged");
        catches_up(&world, follower, leader).await;
    }
    world.stop_all().await;
}

/// openraft does not purge what it is still sending, and a member that answers, however slowly, is sent the log for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leaders_log_does_not_grow_for_a_follower_that_cannot_keep_up() {
    const SEGMENT_LEN: u64 = 16 << 10;
    /// Behind so many segments a follower is given up.
    const SEGMENTS_MAX: u64 = 16;
    let world = World::tuned(3, |config| {
        // With a slow sync a kilobyte at a time the follower takes less than it is sent.
        (config.wal.segment_len, config.wal.frame_bytes_max) = (SEGMENT_LEN, 1 << 10);
        config.segments_max = 1;
    })
    .await;
    assert!(create(&*world.client_of_all(), 0).await.result.is_ok());
    let leader = world.leader(GroupId::DIRECTORY).await;
    let follower = world.nodes.keys().copied().find(|id| *id != leader).expect("two others");
    world.delays[&follower].store(400, Ordering::SeqCst);
    let node = &world.nodes[&leader].node;
    let begun = node.wal_stats().segments;
    let (is_over, askers) = load(&world, 1_000_000);
    let most = AtomicU64::new(0);
    // More come until that is seen and done; how many is a matter of how busy the machine is.
    eventually("the log is short, though far more was written and the follower is slow", || async {
        let text = node.metrics().render();
        let segments = text.lines().find_map(|line| line.strip_prefix("vestibule_node_log_segments ")?.parse().ok());
        let segments: u64 = segments.expect("it is measured");
        most.fetch_max(segments, Ordering::Relaxed);
        let written = node.wal_stats().segments - begun;
        let has_grown = most.load(Ordering::Relaxed) > SEGMENTS_MAX;
        (has_grown && written > 2 * SEGMENTS_MAX && segments < SEGMENTS_MAX).then_some(())
    })
    .await;
    is_over.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.expect("it was answered");
    }
    eprintln!("the leader's log had at most {} segments", most.into_inner());
    world.delays[&follower].store(0, Ordering::SeqCst);
    catches_up(&world, follower, leader).await;
    world.stop_all().await;
}

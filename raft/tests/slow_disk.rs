//! A node whose disk is slow costs the others nothing.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use support::{World, create, eventually};
use vestibule_engine::GroupId;
use vestibule_raft::cluster::Cluster;

/// Commits of one measurement.
const COMMITS: u128 = 21;
/// How long a sync of a slow disk takes: longer than the leader waits for an answer to one append.
const SLOW: Duration = Duration::from_millis(300);

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
    let leader = world.leader(GroupId::DIRECTORY).await;
    let followers: Vec<u64> = world.nodes.keys().copied().filter(|id| *id != leader).collect();
    let (slow, other) = (followers[0], followers[1]);
    let slow_down = |node: u64, by: Duration| {
        world.delays[&node].store(u64::try_from(by.as_millis()).expect("short"), Ordering::SeqCst);
    };

    let usual = median(&*cluster, 1_000).await;
    slow_down(slow, SLOW);
    let with_one = median(&*cluster, 2_000).await;
    assert_eq!(world.leader(GroupId::DIRECTORY).await, leader, "the slow node disturbed the others");
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

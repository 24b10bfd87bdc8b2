//! A follower that was away for long: by what it catches up, as long as the entries are there.

mod support;

use futures::FutureExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{PATIENCE, World, create, eventually, figure};
use vestibule_engine::{Directory, DirectoryQuery, GroupId};
use vestibule_raft::cluster::{Cluster, Consistency, GrpcCluster};
use vestibule_raft::node::Node;
use vestibule_raft::seams::TcpConnector;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_catches_up_from_entries_that_are_on_disk_only() {
    // Next to nothing stays in memory, and nothing is purged.
    let mut world = World::tuned(3, |config| {
        config.wal.resident_bytes_max = 1;
        config.snapshot_entries = 1_000_000;
    })
    .await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 1).await.result.is_ok());
    let leader = world.leader(GroupId::DIRECTORY).await;
    let away = (1..=3).find(|id| *id != leader).expect("two others");
    world.stop(away).await;
    for request in 2..400 {
        assert!(create(&*cluster, request).await.result.is_ok());
    }
    world.start_again(away).await;
    let state = |id: u64| world.nodes[&id].node.state(GroupId::DIRECTORY);
    eventually("the same directory", || async { (state(away)?.digest() == state(leader)?.digest()).then_some(()) })
        .await;
    assert!(state(away).expect("it is here").progress().next_index > 400);
    let node = &world.nodes[&away].node;
    assert_eq!(figure(node, "vestibule_node_snapshot_receive_seconds_count"), 0, "no snapshot was needed");
    assert!(
        figure(node, "vestibule_node_apply_seconds_count") > 0,
        "it applied the entries itself, in however many goes"
    );
    world.stop_all().await;
}

/// Found by seed 412 of the simulator.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_answers_behind_what_its_leader_has_answered() {
    let world = World::of(3).await;
    let writer = world.client_of_all();
    assert!(create(&*writer, 1).await.result.is_ok());
    let leader = world.leader(GroupId::DIRECTORY).await;
    let late = (1..=3).find(|id| *id != leader).expect("two others");
    // It asks the late one first.
    let addresses = [late, leader].map(|id| world.addresses[&id].clone()).into();
    let reader: Arc<dyn Cluster> = GrpcCluster::new(addresses, Arc::new(TcpConnector));
    let query = DirectoryQuery::Groups;
    let ask = async |consistency| {
        let asked = reader.query::<Directory>(GroupId::DIRECTORY, &query, consistency, PATIENCE).await;
        asked.expect("it is answered").1.index
    };
    ask(Consistency::AppliedMin(0)).await;
    world.delays[&late].store(1_500, Ordering::SeqCst);
    let requests = AtomicU64::new(2);
    eventually("an answer while it was late", || async {
        let request = requests.fetch_add(1, Ordering::SeqCst);
        assert!(create(&*writer, request.into()).await.result.is_ok());
        let now = ask(Consistency::Linearizable).await;
        let was_late = world.nodes[&late].node.state(GroupId::DIRECTORY)?.progress().next_index <= now;
        let then = ask(Consistency::AppliedMin(0)).await;
        assert!(then >= now, "entry {then}, after an answer of entry {now}");
        was_late.then_some(())
    })
    .await;
    world.delays[&late].store(0, Ordering::SeqCst);
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_hears_of_no_leader_soon_answers_nothing() {
    let mut world = World::of(3).await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 1).await.result.is_ok());
    let reader: Arc<dyn Cluster> = GrpcCluster::new([world.addresses[&1].clone()].into(), Arc::new(TcpConnector));
    let ask = async || {
        let anywhere = Consistency::AppliedMin(0);
        reader.query::<Directory>(GroupId::DIRECTORY, &DirectoryQuery::Groups, anywhere, Duration::from_secs(1)).await
    };
    eventually("an answer", || async { ask().await.ok().map(drop) }).await;
    world.stop(2).await;
    world.stop(3).await;
    assert!(ask().await.is_ok(), "as in an election, nothing is known to have changed");
    eventually("no answer any more", || async { ask().await.err().map(drop) }).await;
    world.start_again(2).await;
    eventually("an answer again", || async { ask().await.ok().map(drop) }).await;
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_room_goes_on_and_takes_its_snapshot_later() {
    let mut world = World::of(3).await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 1).await.result.is_ok());
    let leader = world.leader(GroupId::DIRECTORY).await;
    let away = (1..=3).find(|id| *id != leader).expect("two others");
    let failed = "vestibule_node_snapshots_failed_total";
    let mut requests = 2..;
    // A snapshot that comes before the group is attached to the checkpoints is not measured against the disk, and is taken.
    for round in 0.. {
        assert!(round < 10, "its snapshot always comes before it looks at its disk");
        world.stop(away).await;
        // For so long that what it lacks is purged.
        for request in requests.by_ref().take(300) {
            assert!(create(&*cluster, request).await.result.is_ok());
        }
        world.rooms[&away].store(0, Ordering::SeqCst);
        world.start_again(away).await;
        let was_refused = eventually("it has no room for the snapshot, again and again", || async {
            let node = &world.nodes[&away].node;
            let digest = |node: &Node| Some(node.state(GroupId::DIRECTORY)?.digest());
            let has_it = digest(node).is_some_and(|here| Some(here) == digest(&world.nodes[&leader].node));
            (figure(node, failed) > 3).then_some(true).or(has_it.then_some(false))
        })
        .await;
        if was_refused {
            break;
        }
        world.rooms[&away].store(u64::MAX, Ordering::SeqCst);
    }
    let node = &world.nodes[&away].node;
    assert_eq!(node.failed().now_or_never(), None, "it goes on");
    assert!(figure(node, failed) < 200, "it is not sent as fast as it is refused");

    world.rooms[&away].store(u64::MAX, Ordering::SeqCst);
    let state = |id: u64| world.nodes[&id].node.state(GroupId::DIRECTORY);
    eventually("the same directory", || async { (state(away)?.digest() == state(leader)?.digest()).then_some(()) })
        .await;
    world.stop_all().await;
}

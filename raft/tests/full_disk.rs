//! A follower whose disk has no room left at all costs the others nothing, and does not end.

mod support;

use futures::FutureExt;
use std::sync::atomic::Ordering;
use support::{World, create, eventually, figure};
use vestibule_engine::GroupId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_room_for_its_log_waits_for_room() {
    let world = World::tuned(3, |config| {
        (config.wal.segment_len, config.wal.ballast_len) = (16 << 10, 32 << 10);
    })
    .await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 0).await.result.is_ok());
    let leader = world.leader(GroupId::DIRECTORY).await;
    let follower = world.nodes.keys().copied().find(|id| *id != leader).expect("two others");
    let node = &world.nodes[&follower].node;
    let next = |id: u64| world.nodes[&id].node.state(GroupId::DIRECTORY).map(|state| state.progress().next_index);

    world.rooms[&follower].store(0, Ordering::SeqCst);
    eventually("it notices", || async { (figure(node, "vestibule_node_disk_full") == 1).then_some(()) }).await;
    let mut requests = 1..;
    while figure(node, "vestibule_node_log_out_of_room") == 0 {
        let request = requests.next().expect("there are enough");
        assert!(request < 5_000, "it takes entries without end");
        assert!(create(&*cluster, request).await.result.is_ok());
    }
    // Far more than would fit into what is left.
    for request in requests.take(1_000) {
        assert!(create(&*cluster, request).await.result.is_ok(), "the others go on");
    }
    assert!(next(follower) < next(leader), "it has taken everything");
    assert_eq!(node.failed().now_or_never(), None, "it goes on");

    world.rooms[&follower].store(u64::MAX, Ordering::SeqCst);
    let target = next(leader);
    eventually("it catches up", || async { (next(follower) >= target).then_some(()) }).await;
    assert_eq!(figure(node, "vestibule_node_log_out_of_room"), 0);
    world.stop_all().await;
}

//! A log that ends before what its node has acknowledged, as after damage to the very last frame, which cannot be told from a
//! write that was cut off: the leader sends that again.

mod support;

use futures::FutureExt;
use std::path::Path;
use support::{World, create, eventually};
use vestibule_engine::GroupId;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("it can be made");
    for entry in std::fs::read_dir(from).expect("it is there").map(|entry| entry.expect("it can be read")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("it can be copied");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lost_the_end_of_its_log_gets_it_again() {
    let mut world = World::of(3).await;
    let cluster = world.client_of_all();
    let group = GroupId::DIRECTORY;
    let next = |world: &World, id: u64| world.nodes[&id].node.state(group).map(|state| state.progress().next_index);
    let everywhere = |world: &World| {
        let all: Vec<_> = world.nodes.keys().map(|id| next(world, *id)).collect();
        all.iter().all(|next| next.is_some() && *next == all[0]).then_some(())
    };
    let ballot = |world: &World, id: u64| world.nodes[&id].node.log(group).vote();
    let mut requests = 0..1_000;
    // With another leader there is nothing to see, and it moves once or twice in the beginning.
    loop {
        assert!(create(&*cluster, requests.next().expect("it has to rest")).await.result.is_ok());
        let leader = world.leader(group).await;
        let follower = world.nodes.keys().copied().find(|id| *id != leader).expect("two others");
        let before = ballot(&world, leader);
        eventually("the same everywhere", || async { everywhere(&world) }).await;
        let (directory, earlier) = (world.directory_of(follower), world.root.path().join("earlier"));
        world.stop(follower).await;
        copy(&directory, &earlier);
        world.start_again(follower).await;
        for request in requests.by_ref().take(3) {
            assert!(create(&*cluster, request).await.result.is_ok());
        }
        eventually("the same everywhere", || async { everywhere(&world) }).await;
        world.stop(follower).await;
        std::fs::remove_dir_all(if ballot(&world, leader) == before { &directory } else { &earlier })
            .expect("it can be removed");
        if !directory.exists() {
            std::fs::rename(&earlier, &directory).expect("it can be put there");
        }
        world.start_again(follower).await;
        let target = next(&world, leader);
        eventually("it catches up", || async { (next(&world, follower) >= target).then_some(()) }).await;
        assert_eq!(world.nodes[&leader].node.failed().now_or_never(), None, "the leader goes on");
        if ballot(&world, leader) == before {
            break;
        }
    }
    world.stop_all().await;
}

//! Three nodes in this process, over real sockets and files.

mod support;

use futures::{StreamExt, TryStreamExt};
use support::{GROUPS, PATIENCE, World, create, eventually};
use vestibule_engine::{
    CreateOrganisation, Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, GroupId, RequestId,
    UserId,
};
use vestibule_raft::cluster::{Cluster, Consistency, ProposeError};

async fn group_count(cluster: &dyn Cluster) -> usize {
    let query =
        cluster.query::<Directory>(GroupId::DIRECTORY, &DirectoryQuery::Groups, Consistency::Linearizable, PATIENCE);
    match query.await.expect("an answer comes").0 {
        DirectoryAnswer::Groups(groups) => groups.len(),
        other => panic!("{other:?} is no answer to that"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_survive_one_and_remember_across_a_restart() {
    let mut world = World::of(3).await;
    let cluster = world.client_of_all();

    let first = create(&*cluster, 1).await;
    assert!(first.result.is_ok(), "{first:?}");
    assert_eq!(create(&*cluster, 1).await, vestibule_engine::Reply { replayed: true, ..first.clone() });
    let groups = GROUPS as usize;
    eventually("all groups are known", || async { (group_count(&*cluster).await == groups).then_some(()) }).await;

    // What the log cannot take is refused for what it is, with the limit: half a segment, which is small here.
    let by = UserId(7);
    let long = DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: "x".repeat(600_000) });
    let long = Envelope { request: Some(RequestId(1_000)), command: long };
    match (&*cluster as &dyn Cluster).propose::<Directory>(GroupId::DIRECTORY, &long, PATIENCE).await {
        Err(ProposeError::TooLarge(detail)) => assert!(detail.contains(" takes 524224 "), "{detail}"),
        other => panic!("{other:?} is no refusal"),
    }

    // Without the directory's leader the others go on, for so long that they purge what it lacks.
    let leader = world.leader(GroupId::DIRECTORY).await;
    world.stop(leader).await;
    for request in 2..300 {
        assert!(create(&*cluster, request).await.result.is_ok());
    }
    assert_eq!(create(&*cluster, 1).await, vestibule_engine::Reply { replayed: true, ..first.clone() });

    // It comes back, and catches up with what it missed by a snapshot: the entries are gone.
    world.start_again(leader).await;
    let other = *world.nodes.keys().find(|id| **id != leader).expect("two others run");
    agree(&world, leader, other).await;

    // The feed is gapless on whichever replica, and resumes anywhere.
    let all: Vec<_> = cluster.watch(GroupId::DIRECTORY, 1).take(200).try_collect().await.expect("events come");
    assert!((1..).zip(&all).all(|(sequence, event)| event.sequence == sequence));
    for from in [2, 77, 150, 199] {
        let some: Vec<_> = cluster.watch(GroupId::DIRECTORY, from).take(2).try_collect().await.expect("events come");
        assert_eq!(some[..], all[from as usize - 1..from as usize + 1]);
    }
    let last = all.last().expect("200 events");
    let mut rest = cluster.watch(GroupId::DIRECTORY, last.sequence + 1);
    let before = rest.try_next().await.expect("events come").expect("the feed has no end").sequence;
    assert_eq!(before, last.sequence + 1);

    // All stop, all start again: everything is still there. One of them has lost its checkpoint, and its log was purged.
    for id in 1..=3 {
        world.stop(id).await;
    }
    std::fs::remove_dir_all(world.directory_of(1).join("checkpoint")).expect("it can be removed");
    for id in 1..=3 {
        world.start_again(id).await;
    }
    assert_eq!(create(&*cluster, 1).await, vestibule_engine::Reply { replayed: true, ..first });
    assert_eq!(group_count(&*cluster).await, groups);
    agree(&world, 1, 2).await;
    for running in world.nodes.values() {
        running.node.state(GroupId::DIRECTORY).expect("it hosts the directory").audit().expect("the audit is clean");
    }
    world.stop_all().await;
}

/// Waits until two nodes have the same directory.
async fn agree(world: &World, one: u64, other: u64) {
    let digest = |id: u64| Some(world.nodes[&id].node.state(GroupId::DIRECTORY)?.digest());
    eventually("the same directory", || async {
        digest(one).zip(digest(other)).filter(|(one, other)| one == other).map(drop)
    })
    .await;
}

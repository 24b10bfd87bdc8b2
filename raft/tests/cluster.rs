//! Three nodes in this process, over real sockets and files.

mod support;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use std::sync::atomic::Ordering;
use support::{GROUPS, PATIENCE, World, create, eventually, figure, try_create};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_a_full_queue_is_refused_at_once_and_nothing_of_it_is_done() {
    let world = World::tuned(3, |config| {
        (config.proposals.len_max, config.proposals.batch_len_max) = (4, 2);
    })
    .await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 0).await.result.is_ok());
    let leader = world.leader(GroupId::DIRECTORY).await;
    // Syncs take so long that what has been taken is not done before the rest is refused.
    world.delays.values().for_each(|delay| delay.store(30, Ordering::SeqCst));
    let asked = (1..=500).map(async |request| (request, try_create(&*cluster, request).await));
    let answers = join_all(asked).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.is_ok());
    assert!(!taken.is_empty(), "what had room is done");
    assert!(refused.len() > 100, "only {} of 500 were refused", refused.len());
    assert!(
        refused.iter().all(|(_, answer)| *answer == Err(ProposeError::Overloaded(GroupId::DIRECTORY))),
        "{refused:?}"
    );
    let counted = figure(&world.nodes[&leader].node, "vestibule_node_proposals_total{result=\"overloaded\"}");
    assert!(counted >= refused.len() as u64, "{counted} of {} are counted", refused.len());

    // Nothing of what was refused was done, and there is room again.
    world.delays.values().for_each(|delay| delay.store(0, Ordering::SeqCst));
    for (request, _) in refused.iter().take(20) {
        let reply = create(&*cluster, *request).await;
        assert!(reply.result.is_ok() && !reply.replayed, "{reply:?}");
    }
    for (request, _) in taken.iter().take(20) {
        assert!(create(&*cluster, *request).await.replayed);
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

//! Nodes come and go while the cluster works.

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{GROUPS, PATIENCE, World, create, eventually, figure};
use vestibule_engine::{
    CreateEvent, CreateOrganisation, CreateVenue, Currency, Directory, DirectoryAnswer, DirectoryCommand,
    DirectoryQuery, Envelope, EventDetails, GroupId, Money, NodeNumber, NodeState, Outcome, RequestId, Sale,
    ScheduleShowtime, SetPlacement, ShowtimeState, Timestamp, UserId, plan,
};
use vestibule_raft::admin::AdminError;
use vestibule_raft::cluster::{Cluster, Consistency};

/// The voters of a group, as its leader has them.
async fn voters(world: &World, group: GroupId) -> Option<BTreeSet<u64>> {
    let overview = world.admin().overview().await;
    let reports = overview.reports.iter().filter_map(|(_, report)| report.as_ref().ok());
    let led = reports.filter_map(|report| {
        let status = report.groups.iter().find(|status| status.group == group.0)?;
        (status.leader == report.node && !status.is_joint).then_some((status.term, status.voters.clone()))
    });
    led.max().map(|(_, voters)| voters.into_iter().collect())
}

/// Waits until all groups are where they are wanted, and nowhere else.
async fn settled(world: &World) {
    eventually("every group is where it is wanted", || async {
        let placements =
            world.admin().placements().await.ok().filter(|placements| placements.len() > GROUPS as usize)?;
        for (group, placement) in placements {
            let wanted: BTreeSet<u64> = placement.voters.iter().map(|voter| voter.0).collect();
            if voters(world, group).await? != wanted {
                return None;
            }
            let hosts = world.nodes.iter().filter(|(_, running)| running.node.state(group).is_some());
            let hosts: BTreeSet<u64> = hosts.map(|(id, _)| *id).collect();
            if group != GroupId::DIRECTORY && !hosts.is_subset(&wanted) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_takes_its_share_and_replaces_one_that_leaves() {
    let mut world = World::of(3).await;
    settled(&world).await;
    let cluster = world.client();
    for request in 0..100 {
        assert!(create(&*cluster, request).await.result.is_ok());
    }
    // Three are as many as a group is kept on.
    let refused = world.admin().drain(2, false).await;
    assert!(matches!(refused, Err(AdminError::TooFewNodes { node: 2, left: 2 })), "{refused:?}");
    assert!(matches!(world.admin().drain(9, false).await, Err(AdminError::NoSuchNode(9))));

    world.join(4).await;
    eventually("the node is known", || async { world.admin().nodes().await.ok()?.remove(&4) }).await;
    let moved = world.admin().rebalance().await.expect("the directory takes it").changed;
    assert!(!moved.is_empty());
    settled(&world).await;
    assert!(
        world.admin().rebalance().await.expect("the directory answers").changed.is_empty(),
        "there is nothing more to move"
    );
    let taken = (1..=GROUPS).filter(|group| world.nodes[&4].node.state(GroupId(*group)).is_some()).count();
    assert!(taken >= 2, "node 4 has {taken} groups");

    // One of the first goes, with all that it leads; what was said before is known after.
    world.admin().remove_node(1, false).await.expect("there are enough others");
    eventually("the node is removed", || async {
        let node = world.admin().nodes().await.ok()?.remove(&1)?;
        (node.state == NodeState::Removed).then_some(())
    })
    .await;
    assert_eq!(world.admin().remove_node(1, false).await.expect("it is gone").state, NodeState::Removed);
    assert!(world.admin().drain(1, false).await.is_err(), "what is gone cannot be drained");
    let reason = tokio::time::timeout(PATIENCE, world.nodes[&1].node.failed()).await.expect("it hears of it");
    assert!(reason.contains("removed"), "{reason}");
    world.stop(1).await;
    settled(&world).await;
    // The client knew no other node than that one at first.
    assert!(create(&*cluster, 7).await.replayed);
    assert!(create(&*cluster, 1_000).await.result.is_ok());
    for running in world.nodes.values() {
        running.node.state(GroupId::DIRECTORY).expect("every node has it").audit().expect("the audit is clean");
    }
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_never_comes_keeps_nothing_from_being_formed() {
    let world = World::without(5, &[2]).await;
    settled(&world).await;
    assert_eq!(voters(&world, GroupId::DIRECTORY).await.expect("it is led").len(), 3);
    assert!(create(&*world.client_of_all(), 1).await.result.is_ok());
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_added_takes_the_place_of_a_founder_that_never_comes() {
    let mut world = World::without(3, &[2]).await;
    settled(&world).await;
    world.join(4).await;
    let all = BTreeSet::from([1, 3, 4]);
    eventually("the node has its share", || async {
        for group in (0..=GROUPS).map(GroupId) {
            voters(&world, group).await.filter(|voters| *voters == all)?;
        }
        Some(())
    })
    .await;
    assert!(create(&*world.client_of_all(), 1).await.result.is_ok());
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_drains_at_once_one_is_refused_and_the_other_empties_its_node() {
    let mut world = World::of(3).await;
    settled(&world).await;
    world.join(4).await;
    eventually("the node is known", || async { world.admin().nodes().await.ok()?.remove(&4) }).await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 1).await.result.is_ok());

    // Either may go, and not both.
    let (first, second) = (world.admin(), world.admin());
    let (first, second) = tokio::join!(first.drain(1, false), second.drain(2, false));
    let drained = match (&first, &second) {
        (Ok(_), Err(AdminError::TooFewNodes { node: 2, left: 2 })) => 1,
        (Err(AdminError::TooFewNodes { node: 1, left: 2 }), Ok(_)) => 2,
        other => panic!("{other:?}"),
    };
    settled(&world).await;
    eventually("the node is empty", || async {
        let node = &world.nodes[&drained].node;
        let hosted = (1..=GROUPS).filter(|group| node.state(GroupId(*group)).is_some()).count();
        let is_voter = voters(&world, GroupId::DIRECTORY).await?.contains(&drained);
        (hosted == 0 && !is_voter && node.leader(GroupId::DIRECTORY)? != drained).then_some(())
    })
    .await;
    assert_eq!(world.admin().nodes().await.expect("they are known")[&drained].state, NodeState::Draining);
    assert!(create(&*cluster, 2).await.result.is_ok());

    // It is still a member, and takes its share again.
    assert_eq!(world.admin().activate(drained).await.expect("it may").state, NodeState::Active);
    assert!(!world.admin().rebalance().await.expect("the directory answers").changed.is_empty());
    settled(&world).await;
    let hosted = (1..=GROUPS).filter(|group| world.nodes[&drained].node.state(GroupId(*group)).is_some()).count();
    assert!(hosted >= 2, "it has {hosted} groups");
    assert!(create(&*cluster, 1).await.replayed);
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced_under_a_new_number_and_cannot_come_back_without_its_data() {
    let mut world = World::of(3).await;
    settled(&world).await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 1).await.result.is_ok());
    world.stop(3).await;
    std::fs::remove_dir_all(world.directory_of(3)).expect("it can be removed");

    // Under its old number it is refused: it may have promised what it has forgotten.
    world.start_again(3).await;
    let reason = tokio::time::timeout(PATIENCE, world.nodes[&3].node.failed()).await.expect("it is told");
    assert!(reason.contains("new id"), "{reason}");
    world.stop(3).await;

    world.join(4).await;
    eventually("the node is known", || async { world.admin().nodes().await.ok()?.remove(&4) }).await;
    world.admin().remove_node(3, false).await.expect("there are enough others");
    eventually("the node is removed", || async {
        let node = world.admin().nodes().await.ok()?.remove(&3)?;
        (node.state == NodeState::Removed).then_some(())
    })
    .await;
    settled(&world).await;
    assert!(create(&*cluster, 1).await.replayed);
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_wild_clock_hands_over_and_stamps_nothing() {
    let world = World::of(3).await;
    settled(&world).await;
    let cluster = world.client_of_all();
    let leader = world.leader(GroupId::DIRECTORY).await;
    world.clocks[&leader].0.store(3_600_000, Ordering::SeqCst);
    eventually("another leads", || async {
        let all = (0..=GROUPS).map(GroupId);
        let others_lead = |group| world.nodes.values().all(|running| running.node.leader(group) != Some(leader));
        all.into_iter().all(others_lead).then_some(())
    })
    .await;
    // Log time is not an hour ahead, so a tick of the honest ones moves it.
    assert!(create(&*cluster, 1).await.result.is_ok());
    let report = eventually("the watch says so", || async {
        let overview = world.admin().overview().await;
        overview.reports.into_iter().filter_map(|(_, report)| report.ok()).find(|report| report.clock_is_wild)
    })
    .await;
    assert_eq!(report.node, leader);
    assert!((3_590_000..3_610_000).contains(&report.clock_ahead_ms), "{}", report.clock_ahead_ms);
    let node = &world.nodes[&leader].node;
    assert_eq!(figure(node, "vestibule_node_clock_off"), 1);
    assert!((3_590_000..3_610_000).contains(&figure(node, "vestibule_node_clock_ahead_milliseconds")));

    world.clocks[&leader].0.store(0, Ordering::SeqCst);
    eventually("it is trusted again", || async {
        let overview = world.admin().overview().await;
        let wild = |report: &vestibule_proto::v1::StatusResponse| report.clock_is_wild;
        let reports: Vec<_> = overview.reports.into_iter().filter_map(|(_, report)| report.ok()).collect();
        (reports.len() == 3 && !reports.iter().any(wild)).then_some(())
    })
    .await;
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_not_let_in() {
    let mut world = World::tuned(3, |config| {
        if [4, 5].contains(&config.id) {
            config.cluster = "other".to_owned();
        }
    })
    .await;
    settled(&world).await;
    world.wait_to_be_added(4).await;
    let refused = world.admin().add_node(4, &world.addresses[&4]).await.expect_err("it is of another cluster");
    assert!(refused.to_string().contains(r#"started for the cluster "other", and this is "test""#), "{refused}");
    // Nor does one come in that joins by itself; one of this cluster that comes after it does.
    world.addresses.remove(&4);
    world.join(5).await;
    world.addresses.remove(&5);
    world.join(6).await;
    let nodes = eventually("the other one is known", || async {
        world.admin().nodes().await.ok().filter(|nodes| nodes.contains_key(&6))
    })
    .await;
    assert_eq!(nodes.into_keys().collect::<Vec<_>>(), [1, 2, 3, 6]);
    world.stop_all().await;
}

/// Found by seed 16 of the simulator: its controller found nobody whom it could tell what it had decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_told_of_nobody_can_lead_the_directory() {
    let mut world = World::of(3).await;
    settled(&world).await;
    world.wait_to_be_added(4).await;
    world.admin().add_node(4, &world.addresses[&4]).await.expect("it is there");
    let cluster = world.client_of_all();
    let place = async |group, voters: [u64; 3]| {
        let voters = voters.map(NodeNumber).into();
        let ask = DirectoryCommand::SetPlacement(SetPlacement { group, expected_version: None, voters });
        let envelope = Envelope { request: Some(RequestId(u128::from(group.0) + 77)), command: ask };
        let cluster: &dyn Cluster = &*cluster;
        let placed = cluster.propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await;
        assert!(placed.expect("it is applied").0.result.is_ok());
    };
    place(GroupId::DIRECTORY, [1, 2, 4]).await;
    settled(&world).await;
    world.admin().transfer(GroupId::DIRECTORY, 4).await.expect("it takes over");
    assert_eq!(world.leader(GroupId::DIRECTORY).await, 4);

    // Whoever leads the directory moves the groups.
    place(GroupId(1), [2, 3, 4]).await;
    settled(&world).await;
    assert_eq!(voters(&world, GroupId(1)).await, Some(BTreeSet::from([2, 3, 4])));
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_transferred_on_request() {
    let world = World::of(3).await;
    settled(&world).await;
    let leader = world.leader(GroupId(1)).await;
    let to = *world.nodes.keys().find(|id| **id != leader).expect("there are others");
    world.admin().transfer(GroupId(1), to).await.expect("it takes over");
    assert_eq!(world.leader(GroupId(1)).await, to);
    let refused = world.admin().transfer(GroupId(1), 77).await;
    assert!(matches!(&refused, Err(AdminError::Failed(reason)) if reason.contains("no voter")), "{refused:?}");
    world.stop_all().await;
}

/// A leader that has offered its place to somebody dead writes nothing until another is elected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_not_offered_to_a_node_that_is_gone() {
    let mut world = World::of(3).await;
    settled(&world).await;
    let leader = world.leader(GroupId::DIRECTORY).await;
    let gone = *world.nodes.keys().find(|id| **id != leader).expect("there are others");
    world.stop(gone).await;
    eventually("nothing was heard of it for a second", || async {
        let reports = world.admin().overview().await.reports;
        let groups = reports.into_iter().filter_map(|(_, report)| report.ok()).flat_map(|report| report.groups);
        let mut followers =
            groups.filter(|group| group.group == GroupId::DIRECTORY.0).flat_map(|group| group.followers);
        followers.any(|follower| follower.node == gone && follower.silent_ms > 1_000).then_some(())
    })
    .await;
    let refused = world.admin().transfer(GroupId::DIRECTORY, gone).await;
    assert!(matches!(&refused, Err(AdminError::Failed(reason)) if reason.contains("not heard of")), "{refused:?}");
    assert!(create(&*world.client_of_all(), 1).await.result.is_ok());
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_showtime_whose_gateway_died_is_finished() {
    let world = World::of(3).await;
    settled(&world).await;
    let cluster = world.client_of_all();
    let by = UserId(7);
    let tell = |request: u128, command: DirectoryCommand| {
        let cluster = cluster.clone();
        async move {
            let envelope = Envelope { request: Some(RequestId(request)), command };
            let cluster: &dyn Cluster = &*cluster;
            let proposed = cluster.propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await;
            proposed.expect("a reply comes").0.result.expect("it is not refused")
        }
    };
    let ask = CreateOrganisation { by, name: "House".to_owned() };
    let Outcome::OrganisationCreated { organisation } = tell(1, DirectoryCommand::CreateOrganisation(ask)).await else {
        panic!("an organisation is created");
    };
    let seat_map = plan::import(plan::theatre().as_bytes()).expect("the theatre is a good plan");
    let categories = seat_map.categories.len();
    let ask = CreateVenue {
        by,
        organisation,
        name: "Theatre".to_owned(),
        city: "Vienna".to_owned(),
        country: "AT".to_owned(),
        map: seat_map.into(),
    };
    let Outcome::VenueCreated { venue, .. } = tell(2, DirectoryCommand::CreateVenue(ask)).await else {
        panic!("a venue is created");
    };
    let details = EventDetails { title: "Play".to_owned(), ..EventDetails::default() };
    let ask = CreateEvent { by, organisation, details };
    let Outcome::EventStored { event, .. } = tell(3, DirectoryCommand::CreateEvent(ask)).await else {
        panic!("an event is created");
    };
    let price = Money { amount: 1_000, currency: Currency::new("EUR").expect("a currency") };
    let ask = ScheduleShowtime {
        by,
        event,
        venue,
        seat_map_version: None,
        starts_at: Timestamp(4_000_000_000_000),
        prices: vec![price; categories],
        sale: Sale::default(),
        draw_secret: [7; 32],
    };
    let Outcome::ShowtimeStored { showtime } = tell(4, DirectoryCommand::ScheduleShowtime(ask)).await else {
        panic!("a showtime is scheduled");
    };
    assert_eq!(showtime.state, ShowtimeState::Provisioning);
    // Nobody does the rest.
    eventually("the showtime is active", || async {
        let cluster: &dyn Cluster = &*cluster;
        let query = DirectoryQuery::Showtime(showtime.showtime);
        let asked = cluster.query::<Directory>(GroupId::DIRECTORY, &query, Consistency::Linearizable, PATIENCE).await;
        match asked.ok()?.0 {
            DirectoryAnswer::Showtime(Some(found)) => (found.state == ShowtimeState::Active).then_some(()),
            _ => None,
        }
    })
    .await;
    tokio::time::timeout(Duration::from_secs(30), world.stop_all()).await.expect("they stop");
}

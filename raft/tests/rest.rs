//! Groups in which nothing happens: they cost nothing, and lose nothing by it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::{GROUPS, PATIENCE, World, create, eventually};
use tokio::time::Instant;
use vestibule_engine::{Directory, DirectoryQuery, GroupId};
use vestibule_raft::cluster::{Cluster, Consistency};

/// What the nodes that run say of their groups, for one metric: by node and group.
fn figures(world: &World, name: &str) -> BTreeMap<(u64, u32), u64> {
    let mut found = BTreeMap::new();
    for (node, running) in &world.nodes {
        for line in running.node.metrics().render().lines() {
            let figure = line.strip_prefix(&format!("vestibule_node_{name}{{group=\""));
            if let Some((group, value)) = figure.and_then(|rest| rest.split_once("\"} ")) {
                found.insert((*node, group.parse().expect("a group")), value.parse().expect("a figure"));
            }
        }
    }
    found
}

fn all_rest(world: &World) -> Option<()> {
    let rests = figures(world, "group_rests");
    let expected = world.nodes.len() * (GROUPS as usize + 1);
    (rests.len() == expected && rests.values().all(|rests| *rests == 1)).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_rest_wake_for_a_command_and_outlive_their_leaders() {
    let mut world = World::of(3).await;
    let cluster = world.client_of_all();
    assert!(create(&*cluster, 1).await.result.is_ok());
    eventually("all groups at rest on all nodes", || async { all_rest(&world) }).await;

    // For longer than an election takes to come: all of them stay at rest, and nobody is elected.
    let terms = figures(&world, "group_term");
    let until = Instant::now() + Duration::from_secs(2);
    let mut samples = 0_u32;
    let mut at_rest = 0_u32;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
        samples += 1;
        at_rest += u32::from(all_rest(&world).is_some());
        assert!(world.nodes.values().all(|running| running.node.metrics().not_ready().is_none()));
    }
    assert_eq!(figures(&world, "group_term"), terms);
    assert!(at_rest * 2 > samples, "at rest in {at_rest} of {samples} samples");

    // A command is applied by the same leader as before, though its lease is long over, and then there is rest again.
    assert!(create(&*cluster, 2).await.result.is_ok());
    eventually("all groups at rest on all nodes again", || async { all_rest(&world) }).await;
    // So is a read.
    let cluster_of_all: &dyn Cluster = &*cluster;
    let (question, now) = (DirectoryQuery::Groups, Consistency::Linearizable);
    let groups = cluster_of_all.query::<Directory>(GroupId::DIRECTORY, &question, now, PATIENCE);
    groups.await.expect("an answer comes");
    assert_eq!(figures(&world, "group_term"), terms);

    // A leader of sleepers falls silent without a word: they wake, and elect another.
    let leader = world.leader(GroupId::DIRECTORY).await;
    world.nodes.remove(&leader).expect("it runs").node.fall_silent().await;
    let led = |world: &World| figures(world, "group_leader");
    eventually("other leaders that all know", || async {
        let led = led(&world);
        let leaders: BTreeSet<(u32, u64)> = led.iter().map(|((_, group), leader)| (*group, *leader)).collect();
        let is_settled = leaders.len() == GROUPS as usize + 1;
        (is_settled && leaders.iter().all(|(_, leader)| world.nodes.contains_key(leader))).then_some(())
    })
    .await;
    assert!(create(&*cluster, 3).await.result.is_ok());
    let rests = figures(&world, "group_rests");
    let leads = figures(&world, "group_leads");
    assert!(
        rests.iter().all(|(at, rests)| *rests == 0 || leads[at] == 0),
        "no leader rests while a member is silent: {rests:?}"
    );
    world.stop_all().await;
}

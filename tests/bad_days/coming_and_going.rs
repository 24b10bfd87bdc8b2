//! Nodes come and others go in the middle of a rush.

use crate::support::{Cluster, Origin, Process, clean_report, eventually};
use crate::{group_of, turn};
use serde_json::Value;
use std::time::Instant;

/// A rush that is under way and goes on for a while.
fn rush(cluster: &Cluster, seed: &str) -> Process {
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--rate-per-minute", "600", "--hold-seconds", "5"]);
    let rush = cluster.start_rush(&showtime, "300", &["--concurrency", "60", "--seed", seed]);
    let before = cluster.applied(group_of(&showtime));
    eventually("the rush is under way", || (cluster.applied(group_of(&showtime)) > before + 40).then_some(()));
    rush
}

/// The outcome of a command of the operator's.
fn operate(cluster: &Cluster, args: &[&str]) -> Value {
    let output = cluster.ctl(args).args(["--timeout-seconds", "100", "--json"]).output().expect("the binary runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

/// How many groups have a node among their voters, of those that each node leads.
fn votes_of(cluster: &Cluster, id: usize) -> usize {
    let status = cluster.status();
    let all = status.iter().flat_map(|node| {
        let groups = node["groups"].as_array().cloned().unwrap_or_default();
        groups.into_iter().filter(|group| group["leader"] == node["node"])
    });
    all.filter(|group| group["voters"].as_array().is_some_and(|voters| voters.contains(&id.into()))).count()
}

/// Takes a node out while people buy. Its process ends by itself.
fn remove(cluster: &mut Cluster, id: usize) {
    let removed = operate(cluster, &["remove-node", &id.to_string()]);
    assert_eq!(removed["state"], "removed", "{removed}");
    assert!(!cluster.node_ends(id).success(), "a removed node says that it cannot go on");
    assert_eq!(votes_of(cluster, id), 0);
}

#[test]
fn a_node_joins_and_another_leaves_in_mid_rush() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, 2);
    let mut rush = rush(&cluster, "61");
    let began = Instant::now();
    let id = cluster.start_another(Origin::Joins);
    eventually("the node is known", || cluster.status().iter().any(|node| node["node"] == id).then_some(()));
    let moved = operate(&cluster, &["rebalance"]);
    assert!(!moved["placements"].as_array().expect("placements").is_empty());
    assert!(votes_of(&cluster, id) >= 2, "node {id} has {} groups", votes_of(&cluster, id));
    eprintln!("after {:?} node {id} has its share", began.elapsed());
    remove(&mut cluster, 1);
    eprintln!("after {:?} node 1 is gone", began.elapsed());
    assert!(rush.is_running(), "the rush was over before the node was gone");
    clean_report(rush.finish());
}

#[test]
fn a_waiting_node_is_added_and_another_leaves_in_mid_rush() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, 2);
    let mut rush = rush(&cluster, "62");
    let began = Instant::now();
    let id = cluster.start_another(Origin::Waits);
    let address = cluster.node_address(id);
    let added = operate(&cluster, &["add-node", &id.to_string(), &address, "--rebalance"]);
    assert_eq!((&added["state"], &added["address"]), (&"active".into(), &address.into()), "{added}");
    assert!(votes_of(&cluster, id) >= 2, "node {id} has {} groups", votes_of(&cluster, id));
    eprintln!("after {:?} node {id} has its share", began.elapsed());
    remove(&mut cluster, 2);
    eprintln!("after {:?} node 2 is gone", began.elapsed());
    assert!(rush.is_running(), "the rush was over before the node was gone");
    clean_report(rush.finish());
}

//! What operators do with a cluster that sells: they drain a node and take it back, and say which node leads a group.

mod support;

use serde_json::Value;
use std::process::Output;
use support::{Cluster, GROUPS, Origin, Process, clean_report, eventually};

/// What comes of a command of the operator's that waits until it is fulfilled.
fn operate(cluster: &Cluster, args: &[&str]) -> Output {
    cluster.ctl(args).args(["--timeout-seconds", "100", "--json"]).output().expect("the binary runs")
}

/// What it prints; it must go well.
fn granted(output: Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

/// What it says when it is refused, which it must be.
fn refused(output: Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("text")
}

/// The groups that a node has, and how many of them it leads and votes in, as it says itself.
fn groups_of(cluster: &Cluster, id: usize) -> (Vec<u64>, usize, usize) {
    let status = cluster.status();
    let node = status.iter().find(|node| node["node"] == id).expect("the node answers");
    let groups = node["groups"].as_array().expect("groups");
    let votes = |group: &&Value| group["voters"].as_array().is_some_and(|voters| voters.contains(&id.into()));
    (
        groups.iter().filter_map(|group| group["group"].as_u64()).collect(),
        groups.iter().filter(|group| group["leader"] == id).count(),
        groups.iter().filter(votes).count(),
    )
}

/// A rush that is under way and goes on for a while.
fn rush(cluster: &Cluster, seed: &str) -> (Process, u64) {
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--rate-per-minute", "600", "--hold-seconds", "5"]);
    let id: vestibule_engine::ShowtimeId = showtime.parse().expect("a showtime's id");
    let group = u64::from(id.group().0);
    let before = cluster.applied(group);
    let rush = cluster.start_rush(&showtime, "200", &["--concurrency", "40", "--seed", seed]);
    eventually("the rush is under way", || (cluster.applied(group) > before + 40).then_some(()));
    (rush, group)
}

#[test]
fn a_node_is_drained_in_mid_rush_and_taken_back() {
    let mut cluster = Cluster::start(3, 2);
    cluster.token();
    cluster.targets();
    let says = refused(operate(&cluster, &["drain", "1"]));
    assert!(says.contains("2 active nodes"), "{says}");

    let id = cluster.start_another(Origin::Joins);
    eventually("the node is known", || cluster.status().iter().any(|node| node["node"] == id).then_some(()));
    let (rush, group) = rush(&cluster, "71");
    let drained = cluster.leader(group);
    let record = granted(operate(&cluster, &["drain", &drained.to_string()]));
    assert_eq!((&record["node"], &record["state"]), (&drained.into(), &"draining".into()), "{record}");
    // Every node keeps the directory; it leads nothing, and nothing depends on it.
    eventually("the node is empty", || (groups_of(&cluster, drained) == (vec![0], 0, 0)).then_some(()));
    assert!(cluster.node(drained).is_running(), "a drained node goes on");
    // Two more are needed than are left.
    let says = refused(operate(&cluster, &["remove-node", &id.to_string()]));
    assert!(says.contains("2 active nodes"), "{says}");
    clean_report(rush.finish());

    // The drained one is not missed.
    cluster.kill_node(drained);
    let (rush, _) = self::rush(&cluster, "72");
    cluster.start_node(drained);
    clean_report(rush.finish());

    let record = granted(operate(&cluster, &["drain", &drained.to_string(), "--undo"]));
    assert_eq!(record["state"], "active", "{record}");
    granted(operate(&cluster, &["rebalance"]));
    let (groups, _, votes) = groups_of(&cluster, drained);
    assert!(groups.len() > 1 && votes > 0, "node {drained} has {groups:?} and votes in {votes}");
}

/// The words of each line of the table that `ctl status` prints, and whether it says that all is well.
fn table(cluster: &Cluster) -> (Vec<Vec<String>>, bool) {
    let printed = cluster.ctl(&["status"]).output().expect("the binary runs");
    let text = String::from_utf8(printed.stdout).expect("text");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    (text.lines().map(words).collect(), printed.status.success())
}

/// Whether the table says of a node and of the groups what they say themselves.
fn table_is_right(cluster: &Cluster) -> bool {
    let (rows, is_well) = table(cluster);
    let begins = |wanted: &[String]| rows.iter().any(|row| row.starts_with(wanted));
    let nodes = (1..=3).all(|id| {
        let (groups, leads, _) = groups_of(cluster, id);
        let state = "active".to_owned();
        begins(&[id.to_string(), cluster.node_address(id), state, groups.len().to_string(), leads.to_string()])
    });
    let groups = (0..=GROUPS).all(|group| begins(&[format!("g{group}"), cluster.leader(group).to_string()]));
    let voters = rows.iter().filter(|row| row.last().is_some_and(|word| word == "1,2,3")).count();
    is_well && nodes && groups && voters == GROUPS as usize + 1
}

#[test]
fn leadership_is_handed_to_the_node_that_is_named() {
    let mut cluster = Cluster::start(3, 2);
    let (rush, group) = rush(&cluster, "73");
    let name = format!("g{group}");
    for _ in 0..3 {
        let leader = cluster.leader(group);
        let to = leader % 3 + 1;
        let transferred = cluster.ctl(&["transfer", &name, &to.to_string(), "--json"]).output();
        // It answers when that node leads.
        assert_eq!(granted(transferred.expect("the binary runs"))["leader"], to);
        assert_eq!(cluster.leader(group), to);
    }
    for (group, to, why) in [(name.as_str(), "9", "no voter"), (&format!("g{}", GROUPS + 1), "1", "no leader")] {
        let says = refused(cluster.ctl(&["transfer", group, to, "--json"]).output().expect("the binary runs"));
        assert!(says.contains(why), "{group} to {to}: {says}");
    }
    clean_report(rush.finish());

    eventually("the table says the same", || table_is_right(&cluster).then_some(()));
    cluster.kill_node(3);
    let row = eventually("the directory says that there is a node 3", || {
        let (rows, is_well) = table(&cluster);
        assert!(!is_well, "it is dead");
        rows.into_iter().find(|row| row.first().is_some_and(|word| word == "3"))
    });
    assert!(row[1] == cluster.node_address(3) && row[2] == "active" && row.len() > 3, "{row:?}");
}

#[test]
fn nodes_with_certificates_join_are_added_restart_and_are_removed() {
    let mut cluster = Cluster::start_secured(3, 1);
    let token = cluster.token();
    cluster.targets();
    let joined = cluster.start_another(Origin::Joins);
    eventually("the node is known", || cluster.status().iter().any(|node| node["node"] == joined).then_some(()));
    let added = cluster.start_another(Origin::Waits);
    // Its certificate names it, whatever the operator was told.
    let address = cluster.node_address(added);
    let says = refused(operate(&cluster, &["add-node", "9", &address]));
    assert!(says.contains(&format!("node {added} listens at")), "{says}");
    let record = granted(operate(&cluster, &["add-node", &added.to_string(), &address, "--rebalance"]));
    assert_eq!((&record["state"], &record["address"]), (&"active".into(), &address.as_str().into()), "{record}");

    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    let rush = cluster.start_rush(&showtime, "200", &["--concurrency", "20", "--seed", "74"]);
    for (id, command) in [(1, "drain"), (1, "remove-node")] {
        granted(operate(&cluster, &[command, &id.to_string()]));
    }
    // It is told so, and goes.
    assert!(!cluster.node_ends(1).success());
    cluster.stop_node(joined);
    cluster.start_node(joined);
    eventually("all is well again", || table(&cluster).1.then_some(()));
    clean_report(rush.finish());

    // Those that have come are relied on.
    cluster.kill_node(2);
    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    clean_report(cluster.start_rush(&showtime, "60", &["--seed", "75"]).finish());
}

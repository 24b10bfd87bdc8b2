//! All nodes are restarted one after the other, as for an upgrade, and nobody notices.

use crate::support::{Cluster, clean_report, eventually};
use crate::{group_of, often, turn};
use std::time::Instant;

#[test]
fn all_nodes_are_restarted_in_turn_and_no_request_fails() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, 2);
    let token = cluster.token();
    // The line sets the pace, so that the rush outlasts the restarts.
    let rounds = often(1, 5);
    let showtime = cluster.sell(&token, &["--rate-per-minute", "600", "--hold-seconds", "5"]);
    let buyers = (often(300, 450) * rounds).to_string();
    let mut rush = cluster.start_rush(&showtime, &buyers, &["--concurrency", "60", "--seed", "51"]);
    let before = cluster.applied(group_of(&showtime));
    eventually("the rush is under way", || (cluster.applied(group_of(&showtime)) > before + 40).then_some(()));
    let began = Instant::now();
    for id in (0..rounds).flat_map(|_| 1..=3) {
        cluster.stop_node(id);
        cluster.start_node(id);
        cluster.wait_until_caught_up(id);
    }
    eprintln!("{rounds} restarts of three nodes took {:?}", began.elapsed());
    let is_running = rush.is_running();
    let report = clean_report(rush.finish());
    assert!(is_running, "the rush was over before the last node was back: {report}");
    let http = &report["http"];
    assert_eq!((&http["unanswered"], &http["turnedAway"]), (&0.into(), &0.into()), "{http}");
}

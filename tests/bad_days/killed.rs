//! Nodes are killed, one and all, while people buy.

use crate::buyers::Crowd;
use crate::support::{Cluster, vestibule};
use crate::{often, turn};

#[test]
fn each_node_and_all_at_once_are_killed_and_nothing_acknowledged_is_lost() {
    let _turn = turn();
    let mut cluster = Cluster::without_nodes(3, 2, &["--segment-mib", "4", "--ballast-mib", "1"]);
    (1..=3).for_each(|id| cluster.start_node(id));
    let token = cluster.token();
    let showtime = cluster.sell_arena(&token, often(12_000, 40_000));
    let crowd = Crowd::start(&cluster, &showtime);
    for round in 0..often(1, 30) {
        for id in 1..=3 {
            crowd.goes_on(5 + round % 7);
            cluster.kill_node(id);
            // Those that are left serve everybody.
            crowd.goes_on(20);
            cluster.start_node(id);
            cluster.wait_until_caught_up(id);
        }
        crowd.goes_on(5 + round % 7);
        (1..=3).for_each(|id| cluster.kill_node(id));
        (1..=3).for_each(|id| cluster.start_node(id));
        crowd.goes_on(20);
        (1..=3).for_each(|id| cluster.wait_until_caught_up(id));
    }
    let books = crowd.finish();
    books.check(&cluster);
    cluster.kill_all_and_restart();
    books.check(&cluster);
    for id in 1..=3 {
        cluster.stop_node(id);
        let data = cluster.node_data(id);
        let output = vestibule(&["ctl", "verify-data"]).arg(&data).output().expect("the binary runs");
        assert!(output.status.success(), "node {id}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

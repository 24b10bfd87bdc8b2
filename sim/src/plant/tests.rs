//! Which ends of nodes are found fault with.

use super::*;
use crate::history::History;

/// What is found fault with when node 1 ends for this reason, and whether it is started again.
fn ended(names_damage: bool, reason: &str, prepare: impl Fn(&Machine)) -> (Option<String>, bool) {
    let (options, trace) = (Options::of(3), Trace::default());
    let shop = Shop::new(History::new(trace.clone()));
    let mut plant = Plant::new(&options, &trace, &shop, 1);
    let machine = plant.machines[&1].clone();
    prepare(&machine);
    let comes_again = plant.judge(&machine, &Ended { reason: reason.to_owned(), names_damage }).is_some();
    (plant.take_loss(), comes_again)
}

#[test]
fn a_node_may_end_for_a_device_that_failed_and_for_nothing_else() {
    assert_eq!(ended(false, "the log failed: the device failed", |_| ()), (None, true));
    let (loss, comes_again) = ended(false, "the log failed: no storage space", |_| ());
    assert!(loss.is_some_and(|what| what.starts_with("node 1 ended without need")), "a full disk is no reason");
    assert!(comes_again);
    let snapshot = format!("g1 stopped: when Write Snapshot: {}", no_room_words());
    assert_eq!(ended(false, &snapshot, |_| ()), (None, true), "Raft may not go on without it");
    let other = format!("g1 stopped: when Write Logs: {}", no_room_words());
    assert!(ended(false, &other, |_| ()).0.is_some());
}

#[test]
fn damage_is_found_fault_with_unless_somebody_did_it() {
    let reason = "it cannot start: segment 3 is damaged";
    assert!(ended(true, reason, |_| ()).0.is_some_and(|what| what.contains("damage that nobody did")));
    let rots: [fn(&Machine); 2] =
        [|machine| machine.is_rotten.set(true), |machine| machine.has_rotten_manifest.set(true)];
    for rot in rots {
        assert_eq!(ended(true, reason, rot), (None, false), "another takes its place");
    }
}

#[test]
fn a_node_that_was_removed_is_started_once_more() {
    let retired = |machine: &Machine| machine.standing.set(Standing::Retired);
    assert_eq!(ended(false, "node 1 was removed from the cluster", retired), (None, true));
    let returned = |machine: &Machine| {
        retired(machine);
        machine.has_returned.set(true);
    };
    assert_eq!(ended(false, "node 1 was removed from the cluster", returned), (None, false));
}

//! Which ends of nodes are found fault with.

use super::*;
use crate::history::History;

/// What is found fault with when node 1 ends for this reason, and whether it is started again.
fn ended(names_damage: bool, reason: &str, prepare: impl Fn(&Plant, &Machine)) -> (Option<String>, bool) {
    let (options, trace) = (Options::of(3), Trace::default());
    let shop = Shop::new(History::new(trace.clone()));
    let mut plant = Plant::new(&options, &trace, &shop, 1);
    let machine = plant.machines[&1].clone();
    prepare(&plant, &machine);
    let comes_again = plant.judge(&machine, &Ended { reason: reason.to_owned(), names_damage }).is_some();
    (plant.take_loss(), comes_again)
}

fn is_found_fault_with(reason: &str, prepare: impl Fn(&Plant, &Machine)) -> bool {
    ended(false, reason, prepare).0.is_some_and(|what| what.starts_with("node 1 ended without need"))
}

#[test]
fn a_node_may_end_for_a_device_that_failed_and_for_nothing_else() {
    assert_eq!(ended(false, "the log failed: the device failed", |_, _| ()), (None, true));
    let (loss, comes_again) = ended(false, "the log failed: no storage space", |_, _| ());
    assert!(loss.is_some_and(|what| what.starts_with("node 1 ended without need")), "a full disk is no reason");
    assert!(comes_again);
    let snapshot = format!("g1 stopped: when Write Snapshot: {}", no_room_words());
    assert_eq!(ended(false, &snapshot, |_, _| ()), (None, true), "Raft may not go on without it");
    let other = format!("g1 stopped: when Write Logs: {}", no_room_words());
    assert!(ended(false, &other, |_, _| ()).0.is_some());
}

#[test]
fn a_node_that_is_asked_to_may_stop_and_its_devices_may_fail_it() {
    assert!(!is_found_fault_with("it was asked to stop", |_, _| ()));
    let late = "it was asked to stop: the log has not closed in 60s";
    assert!(is_found_fault_with(late, |_, _| ()), "no disk is slow for so long");
    assert!(!is_found_fault_with(late, |_, machine| machine.power.note_failure()));
    let full = format!("it was asked to stop: {}", no_room_words());
    let without_store =
        "it was asked to stop: the checkpoints cannot be used until they are made anew: the disk was full, …";
    let failed = "it was asked to stop: the device failed: Sync";
    for reason in [&*full, without_store, failed] {
        assert!(!is_found_fault_with(reason, |_, _| ()), "{reason}");
    }
}

#[test]
fn who_is_shut_out_is_not_to_be_there() {
    for words in FAREWELLS {
        let reason = format!("node 1 {words}");
        assert!(is_found_fault_with(&reason, |_, _| ()), "it belongs to the cluster");
        for standing in [Standing::Lost, Standing::Retired] {
            assert!(!is_found_fault_with(&reason, |_, machine| machine.standing.set(standing)));
        }
        assert!(!is_found_fault_with(&reason, |plant, _| plant.operator.remove(1)));
        assert!(!is_found_fault_with(&reason, |plant, _| plant.operator.add(1)));
        assert!(is_found_fault_with(&reason, |plant, _| plant.operator.remove(2)), "another one goes");
    }
}

#[test]
fn damage_is_found_fault_with_unless_somebody_did_it() {
    let reason = "it cannot start: the log is damaged in 0000000000000003.wal at byte 4096: there is no frame";
    let is_loss = |(loss, _): (Option<String>, bool)| loss.is_some_and(|what| what.contains("damage that nobody did"));
    assert!(is_loss(ended(true, reason, |_, _| ())));
    let rot = |_: &Plant, machine: &Machine| machine.is_rotten.set(true);
    assert_eq!(ended(true, reason, rot), (None, false), "another takes its place");
    let rot = |_: &Plant, machine: &Machine| machine.has_rotten_manifest.set(true);
    assert!(is_loss(ended(true, reason, rot)), "the manifest has nothing to do with that");
}

#[test]
fn a_rotten_manifest_excuses_what_may_come_of_it() {
    let rot = |_: &Plant, machine: &Machine| machine.has_rotten_manifest.set(true);
    for error in [
        "the log is damaged in manifest at byte 0: neither of its slots is good",
        "the log is damaged in 4.wal at byte 4096: frame 9 is there, in a segment that the manifest does not list",
        "the log is damaged in 0000000000000005.wal at byte 0: the manifest does not list this segment",
        "segment 0000000000000002 is missing",
    ] {
        let reason = format!("it cannot start: {error}");
        assert_eq!(ended(true, &reason, rot), (None, false), "{error}");
        assert!(ended(true, &reason, |_, _| ()).0.is_some(), "nobody did anything to it: {error}");
    }
    for error in ["frame 9 is not good, yet it had been on disk", "the header is not what was written"] {
        let reason = format!("it cannot start: the log is damaged in 0000000000000004.wal at byte 4096: {error}");
        assert!(ended(true, &reason, rot).0.is_some(), "{error}");
    }
    let gone = "it cannot start: the log has segments but no manifest";
    assert!(ended(true, gone, rot).0.is_some(), "a flipped bit takes no file away");
}

#[test]
fn a_node_that_was_removed_is_started_once_more() {
    let retired = |_: &Plant, machine: &Machine| machine.standing.set(Standing::Retired);
    assert_eq!(ended(false, "node 1 was removed from the cluster", retired), (None, true));
    let returned = |_: &Plant, machine: &Machine| {
        machine.standing.set(Standing::Retired);
        machine.has_returned.set(true);
    };
    assert_eq!(ended(false, "node 1 was removed from the cluster", returned), (None, false));
}

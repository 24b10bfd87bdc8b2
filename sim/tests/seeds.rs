//! Runs that once found something, and a run played twice. The binary plays each in a process of its own.

use std::process::Command;

fn sim(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule-sim")).args(args).output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{args:?}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn one_seed_is_one_run() {
    sim(&["meta", "--seeds", "1", "--first", "4"]);
}

/// A frame whose sync had failed was vouched for after a restart, and was gone after a power cut.
#[test]
fn seed_11_a_failed_sync_and_then_a_power_cut() {
    sim(&["run", "--seed", "11"]);
}

/// A leader whose peer refused connections tried again without a break, until there were no ports left.
#[test]
fn seed_15_a_peer_that_refuses_connections() {
    sim(&["run", "--seed", "15"]);
}

/// A buyer heard nothing of two seats that the log gave them, and another one was refused one of these: the search of seats
/// knew of nobody who could have it.
#[test]
fn seed_146_a_refusal_because_of_a_hold_that_nobody_heard_of() {
    sim(&["run", "--seed", "146"]);
}

//! Runs that are written down, and a run played twice. The binary plays each in a process of
//! its own.

use std::process::Command;
use vestibule_sim::scenario::{SCENARIOS, Scenario};

fn sim(args: &[&str]) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule-sim")).args(args).output().expect("the binary starts");
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{args:?}: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

#[test]
fn one_seed_is_one_run() {
    sim(&["meta", "--seeds", "1", "--first", "4"]).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_scenario_passes() {
    let (even, odd): (Vec<_>, Vec<_>) = SCENARIOS.iter().enumerate().partition(|(index, _)| index % 2 == 0);
    let play = |half: Vec<(usize, &Scenario)>| -> Vec<String> {
        half.into_iter().filter_map(|(_, scenario)| sim(&["run", "--scenario", scenario.name]).err()).collect()
    };
    let failed = std::thread::scope(|scope| {
        let beside = scope.spawn(|| play(odd));
        let mut failed = play(even);
        failed.extend(beside.join().expect("it does not panic"));
        failed
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn a_scenario_that_is_not_there_is_no_success() {
    assert!(sim(&["run", "--scenario", "no such scenario"]).is_err());
}

//! `ctl verify-data` on the data of a real node: a running one is left alone, damage to sled's files never goes unseen.

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use support::{Cluster, clean_report, vestibule};

/// Positions tried in the files of the checkpoint.
const FLIPS: usize = 24;

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Runs the tool: whether it succeeded, and its report.
fn look(directory: &Path) -> (bool, Value) {
    let directory = directory.to_str().expect("plain names");
    let args = ["ctl", "verify-data", directory, "--patience-seconds", "5", "--json"];
    let output = vestibule(&args).output().expect("the binary runs");
    let report = serde_json::from_slice(&output.stdout);
    (output.status.success(), report.unwrap_or_else(|_| String::from_utf8_lossy(&output.stderr).into_owned().into()))
}

#[test]
fn damage_to_the_checkpoint_is_seen_or_made_good_by_the_log() {
    let mut cluster = Cluster::without_nodes(1, 1, &["--segment-mib", "1", "--ballast-mib", "1"]);
    cluster.start_node(1);
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    clean_report(cluster.start_rush(&showtime, "60", &["--seed", "41"]).finish());
    let data = cluster.node_data(1);
    let (succeeded, refusal) = look(&data);
    assert!(!succeeded && refusal.as_str().is_some_and(|text| text.contains("is in use")), "{refusal}");
    cluster.kill_node(1);

    let (succeeded, whole) = look(&data);
    assert!(succeeded && whole["rows"].as_u64() > Some(20), "{whole}");
    let mut spots = Vec::new();
    for file in files(&data.join("checkpoint")) {
        let bytes = std::fs::read(&file).expect("it can be read");
        spots.extend((0..bytes.len()).filter(|at| bytes[*at] != 0).map(|at| (file.clone(), at)));
    }
    let (mut named, mut outlived) = (0, 0);
    for (file, at) in spots.iter().step_by((spots.len() / FLIPS).max(1)) {
        let bytes = std::fs::read(file).expect("it can be read");
        let mut bad = bytes.clone();
        bad[*at] ^= 0x20;
        std::fs::write(file, &bad).expect("it can be written");
        let (succeeded, report) = look(&data);
        let findings = report["findings"].as_array().unwrap_or_else(|| panic!("{report}"));
        if succeeded {
            assert!(findings.iter().all(|found| found["damage"] == false), "{report}");
            outlived += 1;
        } else {
            assert!(findings.iter().any(|found| found["file"] == "checkpoint"), "{report}");
            named += 1;
        }
        std::fs::write(file, &bytes).expect("it can be written");
    }
    assert!(named > 0 && named + outlived >= FLIPS, "{named} named, {outlived} outlived");
    assert_eq!(look(&data).1, whole);
}

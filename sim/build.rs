//! Tells the program which commit it is built from: a seed is one run for one build only.

use std::path::Path;
use std::process::Command;

/// What git says, if there is one and this is a repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

fn main() {
    let commit = git(&["describe", "--always", "--dirty", "--exclude=*"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=VESTIBULE_COMMIT={commit}");
    // It is another one after a commit, and once something is changed that a run is made of.
    let logs = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    let builds = ["../Cargo.toml", "../Cargo.lock", "../.cargo", "../rust-toolchain.toml"];
    let sources = ["../engine", "../raft", "../gateway", "../client", "../proto", "."];
    for path in logs.iter().map(String::as_str).chain(builds).chain(sources).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}

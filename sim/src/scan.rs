//! What lies on the disks of a machine that does not run, looked through by what `vestibule verify` does.

use crate::host::Machine;
use futures::FutureExt;
use std::fmt::Display;
use vestibule_raft::verify::verify_parts;

/// Looks through log and checkpoints; `Err` is the first thing that was durable once and cannot be vouched for.
pub fn look_through(machine: &Machine) -> Result<(), String> {
    let said = |what: &dyn Display| format!("on the disks of node {}: {what}", machine.id);
    let directory = std::env::temp_dir().join(format!("vestibule-sim-{}-scan", std::process::id()));
    let verified = || {
        std::fs::create_dir_all(&directory)?;
        for (name, bytes) in machine.disk.durable_files() {
            std::fs::write(directory.join(name), bytes)?;
        }
        let names = machine.store.namespaces();
        let verified = verify_parts(&directory, &machine.store, &names, machine.owner()).now_or_never();
        verified.expect("a simulated store never waits")
    };
    let report = verified();
    // It is named for this process, so nobody else has anything there.
    let removed = std::fs::remove_dir_all(&directory);
    let report = report.and_then(|report| removed.map(|()| report)).map_err(|error| said(&error))?;
    match report.findings.iter().find(|finding| finding.is_damage) {
        Some(finding) => Err(said(&format_args!("{finding:?}"))),
        None => Ok(()),
    }
}

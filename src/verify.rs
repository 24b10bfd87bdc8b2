//! `vestibule ctl verify-data`: looks through the data of a node that does not run.

use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use vestibule_raft::verify::{Finding, Report, verify};

pub(crate) fn run(
    directory: &Path,
    scratch: Option<&Path>,
    patience: Duration,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let parent = scratch.map_or_else(std::env::temp_dir, Path::to_path_buf);
    let scratch = tempfile::tempdir_in(&parent)
        .with_context(|| format!("cannot make a directory for a copy of the checkpoints in {}", parent.display()))?;
    let report = verify(directory, scratch.path(), patience)?;
    if json {
        println!("{}", describe(&report));
    } else {
        print(&report);
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(report: &Report) -> serde_json::Value {
    let finding = |finding: &Finding| {
        serde_json::json!({
            "damage": finding.is_damage, "file": finding.file, "offset": finding.offset,
            "group": finding.group.map(|group| group.0), "index": finding.index, "key": finding.key,
            "reason": finding.reason,
        })
    };
    serde_json::json!({
        "clean": report.is_clean(), "segments": report.segments, "frames": report.frames, "records": report.records,
        "rows": report.rows, "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn print(report: &Report) {
    for finding in &report.findings {
        let mut place = finding.file.clone();
        if let Some(offset) = finding.offset {
            place += &format!(" byte {offset}");
        }
        if let Some(group) = finding.group {
            place += &format!(" {group}");
        }
        if let Some(index) = finding.index {
            place += &format!(" entry {index}");
        }
        if let Some(key) = &finding.key {
            place += &format!(" row {key}");
        }
        let kind = if finding.is_damage { "DAMAGE" } else { "note  " };
        println!("{kind} {place}: {}", finding.reason);
    }
    println!(
        "{}: {} segments with {} frames and {} records, {} rows in the checkpoints",
        if report.is_clean() { "clean" } else { "damaged" },
        report.segments,
        report.frames,
        report.records,
        report.rows
    );
}

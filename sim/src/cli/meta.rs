//! `vestibule-sim meta`: is a run decided by its seed alone?

use super::play;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds to play twice.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// A run that takes longer than this many seconds has failed.
    #[arg(long, default_value_t = 300)]
    seed_seconds: u64,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let patience = Duration::from_secs(args.seed_seconds);
    let mut bad = 0;
    for seed in args.first..args.first.saturating_add(args.seeds) {
        match (play_once(seed, patience), play_once(seed, patience)) {
            (Ok(one), Ok(other)) if one.trace == other.trace && one.status == other.status => {
                if one.has_passed {
                    say!("seed {seed}: the same run twice");
                } else {
                    bad += 1;
                    say!("seed {seed}: the same run twice, and it fails: {}", one.status);
                }
            }
            (Ok(one), Ok(other)) => {
                bad += 1;
                say!("seed {seed}: two different runs, which ended with {} and {}", one.status, other.status);
                let (one, other): (Vec<&str>, Vec<&str>) = (one.trace.lines().collect(), other.trace.lines().collect());
                let at = (0..one.len().max(other.len())).find(|at| one.get(*at) != other.get(*at)).unwrap_or(0);
                say!("  {}", one.get(at).unwrap_or(&"(the end)"));
                say!("  {}", other.get(at).unwrap_or(&"(the end)"));
            }
            (Err(error), _) | (_, Err(error)) => {
                bad += 1;
                say!("seed {seed}: {error}");
            }
        }
    }
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A run in a process of its own.
struct Once {
    /// The whole trace, and what the process printed.
    trace: String,
    /// How the process ended.
    status: String,
    has_passed: bool,
}

fn play_once(seed: u64, patience: Duration) -> std::io::Result<Once> {
    let file = std::env::temp_dir().join(format!("vestibule-sim-{}-{seed}.trace", std::process::id()));
    let mut command = play::elsewhere(seed)?;
    command.arg("--trace").arg(&file);
    let output = play::Playing::begin(command)?.wait(patience);
    let trace = std::fs::read_to_string(&file);
    // What was not written need not be removed.
    let _ = std::fs::remove_file(&file);
    let output = output?;
    let trace = trace? + &String::from_utf8_lossy(&output.stdout);
    Ok(Once { trace, status: output.status.to_string(), has_passed: output.status.success() })
}

//! `vestibule-sim meta`: is a run decided by its seed alone?

use super::play;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds to play twice.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let mut differing = 0;
    for seed in args.first..args.first + args.seeds {
        match (trace_of(seed), trace_of(seed)) {
            (Ok(one), Ok(other)) if one == other => println!("seed {seed}: the same run twice"),
            (Ok(one), Ok(other)) => {
                differing += 1;
                let at = one.lines().zip(other.lines()).position(|(one, other)| one != other);
                println!("seed {seed}: two different runs");
                if let Some(at) = at {
                    println!("  {}", one.lines().nth(at).unwrap_or_default());
                    println!("  {}", other.lines().nth(at).unwrap_or_default());
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                println!("seed {seed}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if differing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The whole trace of a seed, played in a process of its own, and what that process printed.
fn trace_of(seed: u64) -> Result<String, String> {
    let file = std::env::temp_dir().join(format!("vestibule-sim-{}-{seed}.trace", std::process::id()));
    let read = || {
        let played = play::elsewhere(seed)?.arg("--trace").arg(&file).output()?;
        let trace = std::fs::read_to_string(&file)?;
        std::fs::remove_file(&file)?;
        Ok(trace + &String::from_utf8_lossy(&played.stdout))
    };
    read().map_err(|error: std::io::Error| error.to_string())
}

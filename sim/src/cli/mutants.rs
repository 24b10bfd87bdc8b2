//! `vestibule-sim mutants`: is every planted bug caught, and how soon?

use super::play;
use std::process::{ExitCode, Stdio};
use vestibule_engine::planted::BUGS;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds to try for each bug before giving up.
    #[arg(long, default_value_t = 40)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Only bugs whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let mut uncaught = 0;
    for (_, name) in BUGS.iter().filter(|(_, name)| name.contains(&args.only)) {
        match catch(name, args) {
            Ok(Some((seeds, why))) => println!("| {name} | {seeds} | {why} |"),
            Ok(None) => {
                uncaught += 1;
                println!("| {name} | not in {} | |", args.seeds);
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if uncaught == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many seeds it took to catch a bug, and what the last one says.
fn catch(name: &str, args: &Args) -> std::io::Result<Option<(u64, String)>> {
    for seed in args.first..args.first + args.seeds {
        let output = play::elsewhere(seed)?.args(["--plant", name]).stderr(Stdio::null()).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let why = text.lines().find_map(|line| line.strip_prefix("FAILED ")).unwrap_or("it fell over");
            return Ok(Some((seed + 1 - args.first, why.replace('|', "/"))));
        }
    }
    Ok(None)
}

//! `vestibule-sim mutants`: is every planted bug caught, by which checker, and how soon?

use super::verdict::{Verdict, judge};
use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use vestibule_engine::planted::{BUGS, Bug, Known};

/// Bugs that show in what never comes to pass. Of all others that is no sign: they have to be called by their name.
const STALLING: [Bug; 0] = [];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds to try for each bug before giving up.
    #[arg(long, default_value_t = 88, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Only bugs whose names contain this.
    #[arg(long, default_value = "")]
    only: String,
    /// A run that takes longer than this many seconds is ended, and shows nothing.
    #[arg(long, default_value_t = 300)]
    seed_seconds: u64,
}

/// How a bug was caught.
struct Catch {
    seed: u64,
    /// How many seeds were played with it.
    seeds: u64,
    by: String,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let mut baseline = Baseline { patience: Duration::from_secs(args.seed_seconds), verdicts: BTreeMap::new() };
    let (mut lines, mut uncaught) = (Vec::new(), 0);
    for known in BUGS.iter().filter(|known| known.name.contains(&args.only)) {
        let line = match catch(known, args, &mut baseline) {
            Ok(Some(Catch { seed, seeds, by })) => {
                format!("| `{}` |{} | {by} | {seed} | {seeds} |", known.name, known.what)
            }
            Ok(None) => {
                uncaught += 1;
                format!("| `{}` |{} | nobody | | more than {} |", known.name, known.what, args.seeds)
            }
            Err(error) => {
                eprintln!("{}: {error}", known.name);
                return ExitCode::FAILURE;
            }
        };
        say!("{line}");
        lines.push(line);
    }
    say!("\n| Bug | What goes wrong | Caught by | Seed | Seeds needed |\n|---|---|---|---|---|");
    lines.iter().for_each(|line| say!("{line}"));
    let failing = baseline.failing();
    if !failing.is_empty() {
        say!("without a bug these seeds fail, so they show nothing: {failing:?}");
    }
    say!("{} of {} caught", lines.len() - uncaught, lines.len());
    if uncaught == 0 && !lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What seeds come to when nothing is planted.
struct Baseline {
    patience: Duration,
    verdicts: BTreeMap<u64, bool>,
}

impl Baseline {
    fn passes(&mut self, seed: u64) -> io::Result<bool> {
        if let Some(passes) = self.verdicts.get(&seed) {
            return Ok(*passes);
        }
        let passes = judge(seed, None, self.patience)? == Verdict::Passed;
        self.verdicts.insert(seed, passes);
        Ok(passes)
    }

    fn failing(&self) -> Vec<u64> {
        self.verdicts.iter().filter(|(_, passes)| !**passes).map(|(seed, _)| *seed).collect()
    }
}

/// Plays seeds with the bug until one is caught that passes without it.
fn catch(known: &Known, args: &Args, baseline: &mut Baseline) -> io::Result<Option<Catch>> {
    for seed in args.first..args.first.saturating_add(args.seeds) {
        let verdict = judge(seed, Some(known.name), baseline.patience)?;
        let by = match verdict {
            Verdict::Violation { checker, .. } => checker,
            Verdict::Panic(what) => format!("a panic: {}", what.replace('|', "/")),
            Verdict::TooLate(what) if STALLING.contains(&known.bug) => format!("not in time: {what}"),
            Verdict::Passed | Verdict::TooLate(_) | Verdict::Other(_) | Verdict::Killed => continue,
        };
        if baseline.passes(seed)? {
            return Ok(Some(Catch { seed, seeds: seed + 1 - args.first, by }));
        }
    }
    Ok(None)
}

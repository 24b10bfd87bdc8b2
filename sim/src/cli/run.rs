//! `vestibule-sim run`: plays one seed.

use super::play;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use vestibule_sim::options::Options;
use vestibule_sim::scenario::{self, SCENARIOS};
use vestibule_sim::trace::Trace;
use vestibule_sim::world::Summary;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What everything follows from.
    #[arg(long, required_unless_present = "scenario")]
    seed: Option<u64>,
    /// Plays a run that is written down; `list` names them.
    #[arg(long, conflicts_with = "seed")]
    scenario: Option<String>,
    /// Writes everything that happened to this file.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Switches a bug on, which is to be caught.
    #[cfg(feature = "planted")]
    #[arg(long)]
    plant: Option<String>,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let options = match (&args.scenario, args.seed) {
        (Some(name), _) if name == "list" => {
            SCENARIOS.iter().for_each(|scenario| println!("{:<20} {}", scenario.name, scenario.about));
            return ExitCode::SUCCESS;
        }
        (Some(name), _) => match scenario::find(name) {
            Some(options) => options,
            None => {
                eprintln!("there is no scenario called {name}; `--scenario list` names them");
                return ExitCode::FAILURE;
            }
        },
        (None, seed) => Options::of(seed.unwrap_or_default()),
    };
    let replay = play::replay_of(&options);
    println!("{options}");
    #[cfg(feature = "planted")]
    if let Some(name) = &args.plant {
        use vestibule_engine::planted::{BUGS, plant};
        let Some((bug, _)) = BUGS.iter().find(|(_, known)| known == name) else {
            eprintln!("there is no bug called {name}");
            return ExitCode::FAILURE;
        };
        plant(*bug);
        println!("planted: {name}");
    }
    let trace = Trace::default();
    let outcome = play::here(options, &trace, args.trace.as_ref());
    if let Some(path) = &args.trace
        && let Err(error) = play::write(&trace, path)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    println!(
        "trace {}: {} lines, {} bytes read from the network",
        trace.digest(),
        trace.lines().len(),
        trace.wire_bytes()
    );
    match outcome {
        Ok(summary) => {
            report(&summary);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("FAILED {failure}");
            println!("commit: {}", play::commit());
            println!("replay: {replay}");
            ExitCode::FAILURE
        }
    }
}

/// What `sweep` reads, too.
fn report(summary: &Summary) {
    println!("passed: {} simulated milliseconds", summary.elapsed.as_millis());
    for (group, (index, digest)) in &summary.states {
        println!("  {group} at entry {index}, state {digest}");
    }
    println!("answered:{}", list(&summary.operations));
    println!("unanswered: calls={}", summary.unanswered.len());
    println!("faults:{}", list(&summary.faults));
    println!("edges:{}", list(&summary.edges));
}

fn list<K: ToString>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!(" {}={count}", name.to_string())).collect()
}

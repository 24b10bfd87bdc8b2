//! `vestibule-sim run`: plays one seed.

use super::play;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use vestibule_sim::scenario::SCENARIOS;
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
    #[command(flatten)]
    planting: play::Planting,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    if args.scenario.as_deref() == Some("list") {
        SCENARIOS.iter().for_each(|scenario| say!("{:<20} {}", scenario.name, scenario.about));
        return ExitCode::SUCCESS;
    }
    let options = match play::options(args.seed, args.scenario.as_deref()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let replay = play::replay_of(&options);
    say!("{options}");
    if let Err(error) = args.planting.apply() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trace = Trace::default();
    let file = args.trace.clone();
    let outcome = play::here(options, &trace, move |trace| {
        if let Some(Err(error)) = file.as_ref().map(|file| play::write(trace, file)) {
            eprintln!("the trace cannot be written: {error}");
        }
    });
    if let Some(path) = &args.trace
        && let Err(error) = play::write(&trace, path)
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    say!("trace {}: {} lines, {} bytes read from the network", trace.digest(), trace.lines().len(), trace.wire_bytes());
    match outcome {
        Ok(summary) => {
            report(&summary);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            play::tell_failure(&replay, failure);
            ExitCode::FAILURE
        }
    }
}

/// What `sweep` reads, too.
fn report(summary: &Summary) {
    say!("passed: {} simulated milliseconds", summary.elapsed.as_millis());
    for (group, (index, digest)) in &summary.states {
        say!("  {group} at entry {index}, state {digest}");
    }
    say!("done:{}", list(&summary.operations));
    say!("refused:{}", list(&summary.refusals));
    say!("unanswered: calls={}", summary.unanswered.len());
    say!("visits:{}", list(&summary.visits));
    say!("visits unanswered: calls={}", summary.visits_unanswered);
    say!("faults:{}", list(&summary.faults));
    say!("edges passed:{}", list(&summary.passed));
    say!("edges:{}", list(&summary.edges));
    say!("forgotten:{}", list(&summary.forgotten));
    say!("webhooks:{}", list(&summary.webhooks));
}

fn list<K: ToString>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!(" {}={count}", name.to_string())).collect()
}

//! `vestibule-sim explain`: what happened in a run, a line an event.

use super::play;
use std::process::ExitCode;
use vestibule_sim::options::Options;
use vestibule_sim::trace::Trace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which run.
    seed: u64,
    /// Characters of a line above which its end is left out; 0 for none.
    #[arg(long, default_value_t = 180)]
    width: usize,
    #[command(flatten)]
    planting: play::Planting,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let options = Options::of(args.seed);
    let replay = play::replay_of(&options);
    say!("{options}");
    if let Err(error) = args.planting.apply() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let (trace, width) = (Trace::default(), args.width);
    // Also if the code under test falls over: then its last lines are what is looked for.
    let outcome = play::here(options, &trace, move |trace| show(trace, width));
    show(&trace, width);
    match outcome {
        Ok(_) => {
            say!("passed");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            play::tell_failure(&replay, failure);
            ExitCode::FAILURE
        }
    }
}

fn show(trace: &Trace, width: usize) {
    for line in trace.lines() {
        let line = line.to_string();
        match line.char_indices().nth(width).filter(|_| width > 0) {
            Some((end, _)) => say!("{}…", &line[..end]),
            None => say!("{line}"),
        }
    }
}

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
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let options = Options::of(args.seed);
    println!("{options}");
    let trace = Trace::default();
    let outcome = play::here(options, &trace, None);
    for line in trace.lines() {
        let line = line.to_string();
        match line.char_indices().nth(args.width).filter(|_| args.width > 0) {
            Some((end, _)) => println!("{}…", &line[..end]),
            None => println!("{line}"),
        }
    }
    match outcome {
        Ok(_) => {
            println!("passed");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("FAILED {failure}");
            ExitCode::FAILURE
        }
    }
}

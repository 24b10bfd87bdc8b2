//! `vestibule-sim run`: plays one seed.

use mad_turmoil::rand::set_rng;
use mad_turmoil::time::SimClocksGuard;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use vestibule_sim::options::Options;
use vestibule_sim::trace::{Journal, Trace};
use vestibule_sim::world::{Failure, Summary, World};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What everything follows from.
    #[arg(long)]
    seed: u64,
    /// Writes everything that happened to this file.
    #[arg(long)]
    trace: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let options = Options::of(args.seed);
    println!("{options}");
    let trace = Trace::default();
    let outcome = play(options, &trace);
    if let Some(path) = &args.trace {
        let written = std::fs::File::create(path).and_then(|file| {
            let mut file = std::io::BufWriter::new(file);
            trace.lines().iter().try_for_each(|line| writeln!(file, "{line}"))?;
            file.flush()
        });
        if let Err(error) = written {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
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
            println!("replay: cargo run -p vestibule-sim -- run --seed {}", args.seed);
            ExitCode::FAILURE
        }
    }
}

fn report(summary: &Summary) {
    println!("passed: {:.1} simulated seconds", summary.elapsed.as_secs_f64());
    for (group, (index, digest)) in &summary.states {
        println!("  {group} at entry {index}, state {digest}");
    }
    let operations: Vec<String> = summary.operations.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("  answered: {}; without an answer: {}", operations.join(", "), summary.unanswered);
}

/// Plays one run. Only once in a process: some of what libraries count is never reset.
fn play(options: Options, trace: &Trace) -> Result<Summary, Failure> {
    tracing_subscriber::registry().with(Journal::new(trace.clone())).init();
    // What comes from the operating system comes from the seed, and time is the simulation's.
    set_rng(StdRng::seed_from_u64(options.seed));
    let _clocks = SimClocksGuard::init();
    let played = catch_unwind(AssertUnwindSafe(|| World::new(options, trace.clone()).run()));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Failure::Panic(text.unwrap_or("without a message").to_owned()))
    })
}

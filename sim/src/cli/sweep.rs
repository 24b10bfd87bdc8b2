//! `vestibule-sim sweep`: plays many seeds, each in a process of its own.

use super::play;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 60)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many are played at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Begins no further seed after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// A seed that takes longer than this many seconds has failed.
    #[arg(long, default_value_t = 300)]
    seed_seconds: u64,
}

/// A seed that is being played.
struct Playing {
    seed: u64,
    child: Child,
    since: Duration,
}

/// What all seeds came to, together.
#[derive(Default)]
struct Totals {
    played: u64,
    simulated_ms: u64,
    /// By what is counted, then by name.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    failures: Vec<(u64, String)>,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let start = now();
    let deadline = args.minutes.map(|minutes| start + Duration::from_secs(60 * minutes));
    let mut seeds = args.first..args.first + args.seeds;
    let mut playing: Vec<Playing> = Vec::new();
    let mut totals = Totals::default();
    loop {
        while playing.len() < args.jobs.max(1) && deadline.is_none_or(|deadline| now() < deadline) {
            let Some(seed) = seeds.next() else { break };
            match play::elsewhere(seed)
                .and_then(|mut command| command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn())
            {
                Ok(child) => playing.push(Playing { seed, child, since: now() }),
                Err(error) => totals.failures.push((seed, error.to_string())),
            }
        }
        if playing.is_empty() {
            break;
        }
        // Their output is a few lines, which the pipes hold.
        let mut left = Vec::new();
        for mut one in playing {
            let is_late = now() - one.since > Duration::from_secs(args.seed_seconds);
            match one.child.try_wait() {
                Ok(None) if !is_late => left.push(one),
                Ok(None) => {
                    // It may have ended in this very moment.
                    let _ = one.child.kill();
                    let _ = one.child.wait();
                    totals.fail(one.seed, format!("it took longer than {} s", args.seed_seconds));
                }
                _ => totals.take(one),
            }
        }
        playing = left;
        std::thread::sleep(Duration::from_millis(20));
    }
    totals.report(now() - start)
}

/// The simulation's clocks replace the usual ones in the whole program, so this asks the kernel.
pub(super) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl Totals {
    fn take(&mut self, one: Playing) {
        let took = now() - one.since;
        let output = match one.child.wait_with_output() {
            Ok(output) => output,
            Err(error) => return self.fail(one.seed, error.to_string()),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let why = text.lines().find_map(|line| line.strip_prefix("FAILED ")).map(str::to_owned);
            let last = || String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no word of why").to_owned();
            return self.fail(one.seed, why.unwrap_or_else(last));
        }
        self.played += 1;
        for line in text.lines() {
            if let Some(passed) = line.strip_prefix("passed: ") {
                let millis: u64 = passed.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
                self.simulated_ms += millis;
                println!("seed {}: {:.1} s simulated in {:.1} s", one.seed, millis as f64 / 1e3, took.as_secs_f64());
            }
            let Some((what, counts)) = line.split_once(':') else { continue };
            if !["answered", "unanswered", "visits", "visits unanswered", "faults"].contains(&what) {
                continue;
            }
            let totals = self.counts.entry(what.to_owned()).or_default();
            for (name, count) in counts.split_whitespace().filter_map(|word| word.split_once('=')) {
                *totals.entry(name.to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
            }
        }
    }

    fn fail(&mut self, seed: u64, why: String) {
        println!("seed {seed}: FAILED {why}");
        self.failures.push((seed, why));
    }

    fn report(&self, took: Duration) -> ExitCode {
        for (what, counts) in &self.counts {
            println!("{what}");
            counts.iter().for_each(|(name, count)| println!("  {count:>9}  {name}"));
        }
        println!(
            "{} seeds passed, {} failed; {:.0} simulated seconds in {:.0} s",
            self.played,
            self.failures.len(),
            self.simulated_ms as f64 / 1e3,
            took.as_secs_f64()
        );
        if self.failures.is_empty() && self.played > 0 {
            return ExitCode::SUCCESS;
        }
        println!("commit: {}", play::commit());
        for (seed, why) in &self.failures {
            println!("  {why}\n    {}", play::replay(*seed));
        }
        ExitCode::FAILURE
    }
}

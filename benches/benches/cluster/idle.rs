//! The CPU that idle groups cost: all three processes together, in percent of one core.

use crate::processes::{Nodes, cpu_time};
use clap::Args;
use std::time::{Duration, Instant};

#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// Shard groups; the directory comes on top.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    groups: Vec<u32>,
    /// How long each number of groups is measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How many times.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
}

/// Measures and prints.
pub(crate) async fn run(args: &Sizes) {
    println!("{:>6} {:>14} {:>20}", "groups", "% of one core", "µs a group a second");
    for &groups in &args.groups {
        let nodes = Nodes::start(groups);
        {
            let client = nodes.client();
            nodes.settle(&client).await;
        }
        // What the start has left to do, checkpoints and leaders that are spread, is no part of being idle.
        tokio::time::sleep(Duration::from_secs(5)).await;
        for _ in 0..args.rounds {
            let used = || nodes.pids().into_iter().map(cpu_time).sum::<Duration>();
            let (before, begun) = (used(), Instant::now());
            tokio::time::sleep(Duration::from_secs(args.seconds)).await;
            let share = (used() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
            println!("{groups:>6} {:>14.1} {:>20.0}", share * 100.0, share * 1e6 / f64::from(groups + 1));
        }
    }
}

//! A whole cluster: three nodes as processes of their own, on the disk that holds the build, and a client as gateways use
//! it. `cargo bench -p vestibule-benches --bench cluster -- --help` lists what is measured; without a name, all of it,
//! briefly.

mod buyers;
mod disk_use;
mod failover;
mod holds;
mod idle;
mod places;
mod processes;

use clap::{Parser, Subcommand};
use std::time::Duration;

#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Given by cargo.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Durable holds, from one command in flight to many.
    Holds(holds::Sizes),
    /// From the death of a leader to the next hold that is accepted.
    Failover(failover::Sizes),
    /// The CPU that idle groups cost.
    Idle(idle::Sizes),
    /// How the data directories grow with the number of commands.
    DiskUse(disk_use::Sizes),
    /// Millions who wait: restart, and applying while their checkpoint streams to another node.
    Places(places::Sizes),
}

/// The smallest time that is not below the given share of `sorted`.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// A time in milliseconds.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[tokio::main]
async fn main() {
    let default = |name: &str| Args::parse_from(["cluster", name]).what;
    let chosen = match Args::parse().what {
        Some(what) => vec![what],
        None => ["holds", "failover", "idle", "disk-use", "places"].into_iter().filter_map(default).collect(),
    };
    for what in chosen {
        println!("\n# {what:?}");
        match what {
            What::Holds(sizes) => holds::run(&sizes).await,
            What::Failover(sizes) => failover::run(&sizes).await,
            What::Idle(sizes) => idle::run(&sizes).await,
            What::DiskUse(sizes) => disk_use::run(&sizes).await,
            What::Places(sizes) => places::run(&sizes).await,
        }
    }
}

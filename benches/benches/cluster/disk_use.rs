//! How the data directories grow with the number of commands: the log is bounded by its segments, the checkpoint by the
//! state, which remembers requests and events up to their bounds.

use crate::buyers::{Buyer, open_showtime};
use crate::processes::{NODES, Nodes, disk_use};
use clap::Args;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vestibule_engine::GroupId;
use vestibule_raft::cluster::Cluster;

#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// How many commands.
    #[arg(long, default_value_t = 200_000)]
    commands: u64,
    /// Lines of the table.
    #[arg(long, default_value_t = 10)]
    samples: u64,
    /// Shard groups, each with a showtime.
    #[arg(long, default_value_t = 4)]
    groups: u32,
    /// Commands in flight.
    #[arg(long, default_value_t = 256)]
    in_flight: u32,
}

fn print(nodes: &Nodes, done: u64, begun: Instant) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let of = |part: &str| (1..=NODES).map(|id| disk_use(&nodes.data(id).join(part))).max().unwrap_or(0);
    let (log, checkpoints, all) = (of("wal"), of("checkpoint"), of("."));
    let segments = (1..=NODES).map(|id| nodes.figure(id, "vestibule_node_log_segments")).fold(0.0, f64::max);
    println!(
        "{done:>10} {:>8.0} {segments:>9.0} {:>9.1} {:>15.1} {:>10.1} {:>16.0}",
        begun.elapsed().as_secs_f64(),
        mib(log),
        mib(checkpoints),
        mib(all),
        checkpoints as f64 / done.max(1) as f64,
    );
}

/// Measures and prints.
pub(crate) async fn run(args: &Sizes) {
    let nodes = Nodes::start(args.groups);
    let client = nodes.client();
    let cluster: Arc<dyn Cluster> = client.clone();
    nodes.settle(&client).await;
    let mut showtimes = Vec::new();
    for group in 1..=args.groups {
        showtimes.push(open_showtime(&*cluster, GroupId(group)).await);
    }
    println!("the largest of the three nodes, in MiB");
    println!(
        "{:>10} {:>8} {:>9} {:>9} {:>15} {:>10} {:>16}",
        "commands", "seconds", "segments", "log", "checkpoints", "all", "checkpoint B/cmd"
    );
    let begun = Instant::now();
    print(&nodes, 0, begun);
    let (taken, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let commands = args.commands;
    let tasks: Vec<_> = (0..args.in_flight)
        .zip(showtimes.iter().cycle())
        .map(|(number, showtime)| {
            let (buyer, taken, done) = (Buyer::new(cluster.clone(), *showtime, number), taken.clone(), done.clone());
            tokio::spawn(async move {
                while taken.fetch_add(2, Ordering::Relaxed) < commands {
                    let (hold, _) = buyer.hold().await.expect("the seat is held");
                    buyer.release(hold).await.expect("the hold is given back");
                    done.fetch_add(2, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for sample in 1..=args.samples {
        while done.load(Ordering::Relaxed) < args.commands * sample / args.samples {
            assert!(!tasks.iter().all(tokio::task::JoinHandle::is_finished), "the buyers go on to the end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        print(&nodes, done.load(Ordering::Relaxed), begun);
    }
    for task in tasks {
        task.await.expect("a buyer does not panic");
    }
    // What is left to write and to purge.
    tokio::time::sleep(Duration::from_secs(10)).await;
    print(&nodes, done.load(Ordering::Relaxed), begun);
}

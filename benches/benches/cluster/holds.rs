//! Durable holds through three processes, over the stream that gateways use: each buyer holds a seat, gives it back and
//! begins again. One showtime, which one group decides alone, and one in each of several groups.

use crate::buyers::{Buyer, open_showtime};
use crate::processes::{NODES, Nodes, bare_syncs, cpu_time};
use crate::{millis, quantile};
use clap::Args;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_engine::{GroupId, ShowtimeId};
use vestibule_raft::cluster::{Cluster, GrpcCluster};

#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// Commands in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
    in_flight: Vec<u32>,
    /// How long each line of the table is measured.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Shard groups; "many" is a showtime in each.
    #[arg(long, default_value_t = 8)]
    groups: u32,
    /// Lines of the table are measured so many times.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

/// What a node counts.
#[derive(Clone, Copy)]
struct Counts {
    syncs: f64,
    records: f64,
    entries: f64,
    commands: f64,
}

fn counts(nodes: &Nodes) -> Vec<Counts> {
    let of = |id| Counts {
        syncs: nodes.figure(id, "vestibule_node_log_sync_records_count"),
        records: nodes.figure(id, "vestibule_node_log_sync_records_sum"),
        entries: nodes.figure(id, "vestibule_node_batch_commands_count"),
        commands: nodes.figure(id, "vestibule_node_batch_commands_sum"),
    };
    (1..=NODES).map(of).collect()
}

fn grown(before: &[Counts], after: &[Counts], what: impl Fn(&Counts) -> f64) -> f64 {
    after.iter().map(&what).sum::<f64>() - before.iter().map(&what).sum::<f64>()
}

async fn buy(buyer: Buyer, until: Instant) -> (Vec<Duration>, usize) {
    let (mut times, mut refused) = (Vec::new(), 0);
    while Instant::now() < until {
        match buyer.hold().await {
            Ok((hold, took)) => {
                times.push(took);
                times.push(buyer.release(hold).await.expect("the hold is given back"));
            }
            Err(_) => refused += 1,
        }
    }
    (times, refused)
}

async fn measure(nodes: &Nodes, cluster: &Arc<GrpcCluster>, showtimes: &[ShowtimeId], in_flight: u32, span: Duration) {
    let (before, begun) = (counts(nodes), Instant::now());
    let cpu = |pids: Vec<u32>| pids.into_iter().map(cpu_time).sum::<Duration>();
    let cpu_before = cpu(nodes.pids());
    let tasks: Vec<_> = (0..in_flight)
        .zip(showtimes.iter().cycle())
        .map(|(number, showtime)| {
            let cluster: Arc<dyn Cluster> = cluster.clone();
            tokio::spawn(buy(Buyer::new(cluster, *showtime, number), begun + span))
        })
        .collect();
    let (mut times, mut refused) = (Vec::new(), 0);
    for task in tasks {
        let (more, not) = task.await.expect("a buyer does not panic");
        times.extend(more);
        refused += not;
    }
    let took = begun.elapsed();
    let (after, cpu_used) = (counts(nodes), cpu(nodes.pids()) - cpu_before);
    times.sort_unstable();
    println!(
        "{:>9} {in_flight:>9} {:>10.0} {:>8.2} {:>8.2} {:>8.2} {:>8.1} {:>10.1} {:>10.1} {:>10.0} {:>8}",
        showtimes.len(),
        times.len() as f64 / took.as_secs_f64(),
        millis(quantile(&times, 0.5)),
        millis(quantile(&times, 0.99)),
        millis(quantile(&times, 1.0)),
        grown(&before, &after, |counts| counts.commands) / grown(&before, &after, |counts| counts.entries).max(1.0),
        grown(&before, &after, |counts| counts.records) / grown(&before, &after, |counts| counts.syncs).max(1.0),
        // Every node writes every entry once; records are commit points as well.
        grown(&before, &after, |counts| counts.entries) * NODES as f64
            / grown(&before, &after, |counts| counts.syncs).max(1.0),
        cpu_used.as_micros() as f64 / times.len().max(1) as f64,
        refused,
    );
}

/// Measures and prints.
pub(crate) async fn run(args: &Sizes) {
    let nodes = Nodes::start(args.groups);
    let cluster = nodes.client();
    nodes.settle(&cluster).await;
    let mut many = Vec::new();
    for group in 1..=args.groups {
        many.push(open_showtime(&*cluster, GroupId(group)).await);
    }
    let bare = |when: &str| {
        let syncs = bare_syncs(nodes.beside(), 500);
        let (p50, p99) = (millis(quantile(&syncs, 0.5)), millis(quantile(&syncs, 0.99)));
        println!("bare write and fdatasync {when}: p50 {p50:.2} ms, p99 {p99:.2} ms");
    };
    bare("before");
    println!(
        "{:>9} {:>9} {:>10} {:>8} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10} {:>8}",
        "showtimes",
        "in flight",
        "commands/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "batch",
        "rec/sync",
        "entr/sync",
        "CPU µs/cmd",
        "refused"
    );
    for _ in 0..args.rounds {
        for showtimes in [&many[..1], &many[..]] {
            for in_flight in &args.in_flight {
                measure(&nodes, &cluster, showtimes, *in_flight, Duration::from_secs(args.seconds)).await;
            }
        }
    }
    bare("after");
}

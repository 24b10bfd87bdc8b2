//! From the death of a leader to the next hold that is accepted: three processes, of which the one that leads a
//! showtime's group is killed, started again, and so on.

use crate::buyers::{Buyer, open_showtime};
use crate::processes::Nodes;
use crate::{millis, quantile};
use clap::Args;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_engine::{GroupId, ShowtimeId};
use vestibule_raft::cluster::Cluster;

const GROUP: GroupId = GroupId(1);
/// Buyers who hold and give back all the time.
const BUSY: u32 = 4;
/// Buyers who ask right after the leader's death.
const ASKING: u32 = 8;

#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// How many leaders die.
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// Shard groups. All are on the three nodes.
    #[arg(long, default_value_t = 4)]
    groups: u32,
}

/// Times from the kill to the first hold of those that were asked for after it, and to the last.
async fn fail_over(
    nodes: &mut Nodes,
    cluster: &Arc<dyn Cluster>,
    showtime: ShowtimeId,
    leader: usize,
) -> [Duration; 2] {
    nodes.kill(leader);
    let killed = Instant::now();
    let asked: Vec<_> = (BUSY..BUSY + ASKING)
        .map(|number| {
            let buyer = Buyer::new(cluster.clone(), showtime, number);
            tokio::spawn(async move {
                let (hold, _) = buyer.hold().await.expect("the cluster has a majority");
                let held = Instant::now();
                buyer.release(hold).await.expect("the cluster has a majority");
                held
            })
        })
        .collect();
    let mut held = Vec::new();
    for asked in asked {
        held.push(asked.await.expect("a buyer does not panic").duration_since(killed));
    }
    held.sort_unstable();
    [held[0], held[held.len() - 1]]
}

/// Measures and prints.
pub(crate) async fn run(args: &Sizes) {
    let mut nodes = Nodes::start(args.groups);
    let client = nodes.client();
    let cluster: Arc<dyn Cluster> = client.clone();
    nodes.settle(&client).await;
    let showtime = open_showtime(&*cluster, GROUP).await;
    for number in 0..BUSY {
        let buyer = Buyer::new(cluster.clone(), showtime, number);
        tokio::spawn(async move {
            loop {
                // An answer that is lost for good ends the buyer's part: its seat may stay held.
                let Ok((hold, _)) = buyer.hold().await else { return };
                let Ok(_) = buyer.release(hold).await else { return };
            }
        });
    }
    let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
    for number in 1..=args.kills {
        let leader = nodes.leader(&client, GROUP).await;
        let [first, last] = fail_over(&mut nodes, &cluster, showtime, leader).await;
        println!("kill {number}, of node {leader}: {:.0} ms; all {ASKING}: {:.0} ms", millis(first), millis(last));
        firsts.push(first);
        lasts.push(last);
        nodes.run(leader);
        // Those that are busy go on, so that waiting for "nothing left to apply" would be in vain.
        nodes.caught_up(&client).await;
    }
    println!("{:<40} {:>8} {:>8} {:>8}   (ms, {} kills)", "", "p50", "p99", "max", args.kills);
    for (what, times) in [("next accepted hold", &mut firsts), ("all buyers who asked", &mut lasts)] {
        times.sort_unstable();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| millis(quantile(times, share)));
        println!("{what:<40} {p50:>8.0} {p99:>8.0} {max:>8.0}");
    }
}

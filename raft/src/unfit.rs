//! What a node does about the groups that it leads while it cannot serve them, because its disk is full or its clock is
//! off: it hands them to nodes that can.

use crate::hosting::Host;
use crate::steps;
use crate::types::NodeId;
use futures::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;

/// How long to wait before leaderships that nobody took are offered again.
const OFFER_INTERVAL: Duration = Duration::from_millis(500);

/// While this node is unfit, hands the leadership of every group to a voter that is fit, as far as there is one.
pub(crate) async fn hand_over_while_unfit(host: Host) {
    let mut stop = host.stop.clone();
    tokio::select! {
        () = work(&host) => {}
        () = stop.stopped() => {}
    }
}

async fn work(host: &Host) {
    let (mut full, mut verdict) = (host.wal.watch_full(), host.clock_watch.follow());
    loop {
        // An error means that the log, or the watch on the clock, is gone, and with it the node.
        let gone = tokio::select! {
            full = full.wait_for(|full| *full) => full.is_err(),
            wild = verdict.wait_for(|verdict| verdict.is_wild) => wild.is_err(),
        };
        if gone {
            return;
        }
        if *full.borrow() {
            tracing::error!("the disk is full: no new commands are taken, and leaderships are handed over");
        }
        while *full.borrow() || verdict.borrow().is_wild {
            offer_all(host).await;
            tokio::time::sleep(OFFER_INTERVAL).await;
        }
        tracing::warn!("this node may lead again");
    }
}

/// Hands each group to the voter with the most of its log among those that are fit.
async fn offer_all(host: &Host) {
    let led: Vec<_> = host.groups.all().into_iter().filter(|group| group.is_leader()).collect();
    let heirs: Vec<(_, Vec<NodeId>)> = led.iter().map(|group| (group, steps::successors(group))).collect();
    let candidates: BTreeSet<NodeId> = heirs.iter().flat_map(|(_, heirs)| heirs).copied().collect();
    let asked = candidates.into_iter().map(|node| async move {
        let status = host.peers.status(node).await?;
        (!status.disk_full && !status.clock_is_wild).then_some(node)
    });
    let fit: BTreeSet<NodeId> = join_all(asked).await.into_iter().flatten().collect();
    let offers = heirs.into_iter().map(|(group, heirs)| {
        let heir = heirs.into_iter().find(|heir| fit.contains(heir));
        async move {
            let Some(heir) = heir else {
                tracing::warn!(group = %group.id, "no other voter can lead it");
                return;
            };
            tracing::info!(group = %group.id, to = heir, "handing over what this node cannot serve");
            if let Err(error) = steps::transfer(group, heir).await {
                tracing::warn!(group = %group.id, error, "the leadership cannot be handed over");
            }
        }
    });
    join_all(offers).await;
}

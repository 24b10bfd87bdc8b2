//! What a node with a full disk does about the groups that it leads: it hands them to nodes that have room.

use crate::group::{Group, Groups};
use crate::stop::Stop;
use crate::transport::Peers;
use crate::types::NodeId;
use openraft::async_runtime::WatchReceiver;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long to wait before the leadership of a group is offered again.
const OFFER_INTERVAL: Duration = Duration::from_secs(1);

/// While the disk is full, hands the leadership of every group to a voter that has room, as far as there is one.
pub(crate) async fn hand_over_when_full(
    mut full: watch::Receiver<bool>,
    groups: Arc<Groups>,
    peers: Arc<Peers>,
    mut stop: Stop,
) {
    let work = async {
        loop {
            // An error means that the log is gone, and with it the node.
            if full.wait_for(|full| *full).await.is_err() {
                return;
            }
            tracing::error!("the disk is full: no new commands are taken, and leaderships are handed over");
            while *full.borrow() {
                for group in groups.all().into_iter().filter(|group| group.is_leader()) {
                    offer(&group, &peers).await;
                }
                tokio::time::sleep(OFFER_INTERVAL).await;
            }
            tracing::warn!("the disk has room again");
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.stopped() => {}
    }
}

/// Hands the group to the voter with the most of its log among those whose disk has room.
async fn offer(group: &Group, peers: &Arc<Peers>) {
    let metrics = group.raft.metrics().borrow_watched().clone();
    let membership = metrics.membership_config.membership();
    let matched = metrics.replication.unwrap_or_default();
    let mut voters: Vec<NodeId> = membership.voter_ids().filter(|voter| *voter != group.node).collect();
    voters.sort_by_key(|voter| std::cmp::Reverse(matched.get(voter).copied().flatten().map(|last| last.index)));
    for voter in voters {
        let has_room = peers.status(voter).await.is_some_and(|status| !status.disk_full);
        if has_room {
            tracing::info!(group = %group.id, to = voter, "handing over, because the disk is full");
            if let Err(error) = group.raft.trigger().transfer_leader(voter).await {
                tracing::warn!(group = %group.id, %error, "the leadership cannot be handed over");
            }
            return;
        }
    }
    tracing::warn!(group = %group.id, "no other voter has room");
}

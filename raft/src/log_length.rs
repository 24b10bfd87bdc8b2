//! Keeps the log of a node short: groups that hold its oldest segment are made to purge, or moved out of the way.

use crate::hosting::Host;
use crate::types::LogId;
use crate::wal::{MovedUp, Wal};
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeSet;
use std::time::Duration;
use vestibule_engine::GroupId;

/// How often the length of the log is looked at.
const PURGE_INTERVAL: Duration = Duration::from_secs(2);
/// How many times over the segments that the log is to have it may have before a checkpoint that holds the oldest is not read
/// to its end.
const SEGMENTS_READ_FACTOR: usize = 16;

/// Makes groups with little traffic purge when their old entries keep the log from shrinking.
pub(crate) async fn keep_log_short(host: Host) {
    let Host { config, wal, groups, checkpoints, peers, mut stop, .. } = host;
    let (mut held, mut told) = (Vec::new(), BTreeSet::new());
    loop {
        tokio::select! {
            () = tokio::time::sleep(PURGE_INTERVAL) => {}
            () = stop.stopped() => return,
        }
        let (segments, holders) = wal.oldest_segment_holders();
        // A full disk is short of room long before that.
        if segments <= config.segments_max && !wal.is_out_of_room() {
            continue;
        }
        let is_far_too_long = segments > config.segments_max.saturating_mul(SEGMENTS_READ_FACTOR);
        let held_before = std::mem::replace(&mut held, if is_far_too_long { holders.clone() } else { Vec::new() });
        for id in holders {
            if is_far_too_long && held_before.contains(&id) && wal.is_mostly_purged() {
                move_up(&wal, id, segments, &mut told).await;
            }
            let Ok(group) = groups.get(id) else { continue };
            if is_far_too_long && matches!(checkpoints.unpin(id).await, Ok(true)) {
                tracing::warn!(
                    group = %id,
                    segments,
                    "its checkpoint was still being sent or backed up; that is broken off, because the log grows meanwhile"
                );
            }
            let snapshot = group.raft.metrics().borrow_watched().snapshot;
            // The snapshot of this round is what the next one purges up to.
            let purged = match snapshot {
                Some(snapshot) => group.raft.trigger().purge_log(snapshot.index).await,
                None => Ok(()),
            };
            if is_far_too_long {
                // openraft keeps what it is sending, to however slow a member.
                let metrics = group.raft.metrics().borrow_watched().clone();
                let is_behind = |matched: &Option<LogId>| *matched < metrics.snapshot;
                let laggards = metrics.replication.iter().flatten().filter(|(_, matched)| is_behind(matched));
                for (node, _) in laggards {
                    tracing::warn!(group = %id, node, segments, "it is too far behind to be sent the log; it gets a snapshot");
                    peers.break_off(id, *node);
                }
            }
            let triggered = group.raft.trigger().snapshot().await;
            if let Err(fatal) = purged.and(triggered) {
                tracing::warn!(group = %id, %fatal, "the group cannot purge");
            }
        }
    }
}

/// Moves what a group cannot purge out of the way of the others.
async fn move_up(wal: &Wal, group: GroupId, segments: usize, told: &mut BTreeSet<GroupId>) {
    match wal.group(group).move_up().await {
        Ok(MovedUp::TooLong) if told.insert(group) => {
            tracing::warn!(%group, segments, "it cannot purge, and has too much to be moved up: the log of the node grows");
        }
        Ok(MovedUp::TooLong | MovedUp::NotNow) => {}
        Ok(MovedUp::Done) => {
            told.remove(&group);
            tracing::info!(%group, segments, "it cannot purge: its entries were moved up in the log");
        }
        Err(error) => tracing::warn!(%group, %error, "its entries cannot be moved up in the log"),
    }
}

//! One clock for all groups of a node that are at rest, in place of one a group.
//!
//! openraft gives every group a clock that ticks every 20 ms on every node, and every heartbeat a call of its own: much for
//! groups in which nothing happens. So once a heartbeat this node says to each of its peers, in one call, which quiet
//! groups it leads that the peer is a member of. The peers answer which of these they agree on; [`crate::rest`] says what that
//! means. They say what time they have as well, so that [`crate::clock_watch`] need not ask them. The clocks of groups that are not at rest run as ever.

use crate::clock_watch::Reading;
use crate::group::Group;
use crate::hosting::Host;
use crate::types::NodeId;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use vestibule_engine::GroupId;
use vestibule_proto::v1;

/// How many times in a heartbeat the clocks are looked after.
const LOOKS: u32 = 2;

/// Beats, and stops and starts the clocks of groups, until the node stops.
pub(crate) async fn run(host: Host) {
    let mut stop = host.stop.clone();
    tokio::select! {
        () = beat(&host) => {}
        () = tend(&host) => {}
        () = stop.stopped() => {}
    }
}

async fn tend(host: &Host) {
    let mut clock = interval(host.config.timing.heartbeat / LOOKS);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let now = Instant::now();
        for group in host.groups.all() {
            group.tend_clock(now);
        }
    }
}

async fn beat(host: &Host) {
    let mut clock = interval(host.config.timing.heartbeat);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        round(host).await;
    }
}

/// A quiet group that is led here, and its other members.
struct Quiet {
    group: Arc<Group>,
    beat: v1::Beat,
    others: BTreeSet<NodeId>,
}

async fn round(host: &Host) {
    let begun = Instant::now();
    let quiet: Vec<Quiet> = host
        .groups
        .all()
        .into_iter()
        .filter_map(|group| {
            let (beat, others) = group.beat(begun)?;
            Some(Quiet { group, beat, others })
        })
        .collect();
    let mut beats: BTreeMap<NodeId, Vec<v1::Beat>> = BTreeMap::new();
    for quiet in &quiet {
        for other in &quiet.others {
            beats.entry(*other).or_default().push(quiet.beat);
        }
    }
    let patience = host.config.timing.heartbeat * 9 / 10;
    let asked = beats.into_iter().map(|(node, beats)| async move {
        let reading = Reading::begin(&*host.clock);
        // Whoever gives no answer in time agrees to nothing.
        let answer = timeout(patience, host.peers.beat(node, beats)).await.ok().flatten().unwrap_or_default();
        if answer.now > 0 {
            host.clock_watch.note(node, reading.end(&*host.clock, answer.now));
        }
        (node, answer.agreed.into_iter().map(GroupId).collect::<BTreeSet<_>>())
    });
    let agreed: BTreeMap<NodeId, BTreeSet<GroupId>> = join_all(asked).await.into_iter().collect();
    for Quiet { group, others, .. } in quiet {
        let agrees = |other: &NodeId| agreed.get(other).is_some_and(|groups| groups.contains(&group.id));
        group.rest.conclude(begun, others.iter().all(agrees));
    }
}

//! How the groups of a running node stand, for those who check it from beside: the simulator.

use crate::group::Group;
use crate::node::Node;
use crate::steps;
use crate::types::{NodeId, to_position};
use crate::wal::{Ballot, LogPosition, WalGroup};
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use vestibule_engine::GroupId;

/// How one group stands on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupView {
    /// The term that its Raft is in.
    pub term: u64,
    /// Whether it leads in that term.
    pub is_leader: bool,
    /// The last entry known to be committed.
    pub committed: Option<LogPosition>,
    /// The last entry applied.
    pub applied: Option<LogPosition>,
    /// Who votes, as far as is known here.
    pub voters: BTreeSet<NodeId>,
    /// The sets of voters of which each has to agree with a majority: one, or two while they change.
    pub quorums: Vec<BTreeSet<NodeId>>,
    /// The last vote that was acknowledged as being on disk.
    pub promised: Option<Ballot>,
    /// How far each member's log is known to go, where this node leads.
    pub matched: BTreeMap<NodeId, LogPosition>,
}

impl Node {
    /// The groups that are hosted here.
    pub fn hosted(&self) -> Vec<GroupId> {
        self.host.groups.all().into_iter().map(|group| group.id).collect()
    }

    /// Whether some group waits for a peer's checkpoint here, or is being given up.
    pub fn is_in_motion(&self) -> bool {
        self.host.in_motion.is_busy()
    }

    /// How a group that is hosted here stands.
    pub fn view(&self, group: GroupId) -> Option<GroupView> {
        self.host.groups.get(group).ok().map(|group| view(&group))
    }

    /// The log of a group.
    pub fn log(&self, group: GroupId) -> WalGroup {
        self.host.wal.group(group)
    }

    /// How many checkpoints were found damaged and made again since the node started.
    pub fn checkpoints_remade(&self) -> u64 {
        self.host.instruments.checkpoints_remade.load(Ordering::Relaxed)
    }

    /// Ends all groups without a word to anybody, as a process does that is killed: for several nodes in one process.
    pub async fn fall_silent(self) {
        for group in self.host.groups.all() {
            // An error means that it has ended already.
            let _ = group.raft.shutdown().await;
        }
    }

    /// Hands the leadership of a group to whoever can best take it over, if it is here.
    pub async fn hand_over(&self, group: GroupId) -> Result<(), String> {
        let group = self.host.groups.get(group).map_err(|status| status.message().to_owned())?;
        match steps::successors(&group).first().copied() {
            Some(successor) if group.is_leader() => steps::transfer(&group, successor).await,
            _ => Err("there is nothing to hand over, or nobody to take it".to_owned()),
        }
    }
}

fn view(group: &Group) -> GroupView {
    let applied = group.state.applied().0;
    let metrics = group.raft.metrics();
    let metrics = metrics.borrow_watched();
    let followers = metrics.replication.iter().flatten();
    let matched = followers.filter_map(|(node, matched)| Some((*node, to_position(matched.as_ref()?))));
    GroupView {
        term: metrics.current_term,
        is_leader: metrics.state == ServerState::Leader,
        committed: metrics.local_committed.as_ref().map(to_position),
        applied: applied.as_ref().map(to_position),
        voters: metrics.membership_config.membership().voter_ids().collect(),
        quorums: metrics.membership_config.membership().get_joint_config().clone(),
        promised: group.log.promised(),
        matched: matched.collect(),
    }
}

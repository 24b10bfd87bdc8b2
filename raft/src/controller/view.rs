//! What the controller sees: the directory's wishes beside what the nodes report.

use crate::hosting::Plan;
use crate::steps::LAG_MAX;
use crate::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::{GroupId, NodeState};
use vestibule_proto::v1;

/// A node as the controller sees it.
#[derive(Debug, Clone)]
pub(crate) struct SeenNode {
    pub(crate) state: NodeState,
    pub(crate) version: u64,
    pub(crate) address: String,
    /// Whether it has just said how it is.
    pub(crate) answers: bool,
    /// Whether it has just said that its directory has come as far as the one that is looked at here.
    pub(crate) is_current: bool,
    /// Whether its clock is right, and its disk has room and is not slow, so that it may lead.
    pub(crate) is_fit: bool,
    /// Whether it has said that its disk is full, so that nothing more may be put there.
    pub(crate) is_full: bool,
}

/// A group's membership, as its leader has it.
#[derive(Debug, Clone)]
pub(crate) struct Led {
    pub(crate) leader: NodeId,
    pub(crate) term: u64,
    pub(crate) voters: BTreeSet<NodeId>,
    pub(crate) learners: BTreeSet<NodeId>,
    pub(crate) is_joint: bool,
    /// Whether the members have agreed to be these: what is only in the leader's log may yet be undone.
    pub(crate) is_agreed: bool,
    /// Where the membership was decided.
    pub(crate) membership: v1::LogId,
    pub(crate) last_log_index: u64,
    /// What each other member is known to have.
    pub(crate) matched: BTreeMap<NodeId, u64>,
}

/// How long a sync of the log takes, in microseconds, on a node that may be slow.
const SLOW_SYNC_MICROS: u64 = 50_000;
/// How many times as long as on the quickest node: what slows all disks alike makes none of them worse than the others.
const SLOW_SYNC_RATIO: u64 = 4;

/// Nodes whose disks are so slow beside the others' that what they lead suffers.
fn slow_nodes(reports: &BTreeMap<NodeId, v1::StatusResponse>) -> BTreeSet<NodeId> {
    let quickest = reports.values().map(|report| report.log_sync_micros).min().unwrap_or_default();
    let limit = quickest.saturating_mul(SLOW_SYNC_RATIO).max(SLOW_SYNC_MICROS);
    reports.iter().filter(|(_, report)| report.log_sync_micros > limit).map(|(node, _)| *node).collect()
}

impl Led {
    /// Whether a member has all but the last few entries.
    pub(crate) fn has_caught_up(&self, node: NodeId) -> bool {
        node == self.leader
            || self.matched.get(&node).is_some_and(|matched| matched + LAG_MAX >= self.last_log_index && *matched > 0)
    }
}

/// A group as the controller sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenGroup {
    pub(crate) wanted: BTreeSet<NodeId>,
    pub(crate) version: u64,
    /// Nothing while it has no leader that answers.
    pub(crate) led: Option<Led>,
    /// Who hosts it, and whether it has a first entry there.
    pub(crate) hosts: BTreeMap<NodeId, bool>,
}

/// All that the controller decides by.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) nodes: BTreeMap<NodeId, SeenNode>,
    pub(crate) groups: BTreeMap<GroupId, SeenGroup>,
    /// How many shard groups the directory knows.
    pub(crate) group_count: u32,
    /// How far the directory has come here.
    pub(crate) directory_applied: u64,
}

impl View {
    /// Puts together what the directory wants and what the nodes said.
    pub(crate) fn new(
        plan: Plan,
        reports: &BTreeMap<NodeId, v1::StatusResponse>,
        group_count: u32,
        directory_applied: u64,
    ) -> Self {
        let slow = slow_nodes(reports);
        let seen_node = |record: vestibule_engine::NodeRecord| {
            let report = reports.get(&record.node.0);
            let seen = SeenNode {
                state: record.state,
                version: record.version,
                address: record.address,
                answers: report.is_some(),
                is_current: report.is_some_and(|report| directory_of(report) >= Some(directory_applied)),
                is_full: report.is_some_and(|report| report.disk_full),
                is_fit: report.is_some_and(|report| !report.clock_is_wild && !report.disk_full)
                    && !slow.contains(&record.node.0),
            };
            (record.node.0, seen)
        };
        let nodes = plan.nodes.into_iter().map(seen_node).collect();
        let mut groups: BTreeMap<GroupId, SeenGroup> =
            (0..=group_count).map(|group| (GroupId(group), SeenGroup::default())).collect();
        for (id, placement) in plan.placements {
            let group = groups.entry(id).or_default();
            group.wanted = placement.voters.iter().map(|voter| voter.0).collect();
            group.version = placement.version;
        }
        for (node, report) in reports {
            for status in &report.groups {
                let group = groups.entry(GroupId(status.group)).or_default();
                group.hosts.insert(*node, status.is_formed);
                if status.leader == *node && group.led.as_ref().is_none_or(|led| led.term < status.term) {
                    group.led = led(*node, status);
                }
            }
        }
        Self { nodes, groups, group_count, directory_applied }
    }

    /// Nodes that replicas may stay on.
    pub(crate) fn active(&self) -> BTreeSet<NodeId> {
        let active = self.nodes.iter().filter(|(_, node)| node.state == NodeState::Active);
        active.map(|(id, _)| *id).collect()
    }

    /// Nodes that replicas may be placed on: active ones that answer and whose disk has room. What cannot be placed now is
    /// placed when one answers; what was placed on a node that never answers would stay there.
    pub(crate) fn open(&self) -> BTreeSet<NodeId> {
        self.active().into_iter().filter(|node| self.answers(*node) && !self.is_full(*node)).collect()
    }

    pub(crate) fn is_full(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.is_full)
    }

    /// Nodes that belong to the cluster.
    pub(crate) fn present(&self) -> BTreeSet<NodeId> {
        let present = self.nodes.iter().filter(|(_, node)| node.state != NodeState::Removed);
        present.map(|(id, _)| *id).collect()
    }

    pub(crate) fn answers(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.answers)
    }

    /// Whether a node may be given a leadership.
    pub(crate) fn may_lead(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.answers && node.is_fit && node.state == NodeState::Active)
    }
}

/// How far a node's copy of the directory has come, if it has one.
fn directory_of(report: &v1::StatusResponse) -> Option<u64> {
    let status = report.groups.iter().find(|status| status.group == GroupId::DIRECTORY.0);
    status.map(|status| status.applied_index)
}

fn led(leader: NodeId, status: &v1::GroupStatus) -> Option<Led> {
    let matched = status.followers.iter().map(|follower| (follower.node, follower.matched_index)).collect();
    Some(Led {
        leader,
        term: status.term,
        voters: status.voters.iter().copied().collect(),
        learners: status.learners.iter().copied().collect(),
        is_joint: status.is_joint,
        is_agreed: status.membership.is_some_and(|membership| status.applied_index >= membership.index),
        membership: status.membership?,
        last_log_index: status.last_log_index,
        matched,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_slow_beside_others_only() {
        let slow = |syncs: &[u64]| {
            let report = |log_sync_micros| v1::StatusResponse { log_sync_micros, ..v1::StatusResponse::default() };
            slow_nodes(&(1..).zip(syncs.iter().map(|micros| report(*micros))).collect())
        };
        assert!(slow(&[]).is_empty());
        assert!(slow(&[300, 900, 49_000]).is_empty());
        assert_eq!(slow(&[300, 900, 51_000]), BTreeSet::from([3]));
        assert!(slow(&[100_000, 120_000, 390_000]).is_empty(), "all are slow");
        assert_eq!(slow(&[100_000, 120_000, 410_000]), BTreeSet::from([3]));
    }
}

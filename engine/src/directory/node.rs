//! `RegisterNode`, `SetNodeState`, `RetireNode`, `SetPlacement`: which nodes there are and where groups are to be.

use super::rows::Dirty;
use super::{Directory, check_room, check_version};
use crate::group_state::{Events, check_text};
use crate::{
    Event, NodeRecord, NodeState, Outcome, PlacementRecord, Refusal, RegisterNode, RetireNode, SetNodeState,
    SetPlacement,
};

/// The most nodes, removed ones included.
pub(super) const NODES_MAX: usize = if cfg!(test) { 8 } else { 10_000 };
/// The most nodes that vote in a group.
const VOTERS_MAX: usize = 9;

impl Directory {
    pub(super) fn register_node(&mut self, ask: &RegisterNode, events: &mut Events) -> Result<Outcome, Refusal> {
        check_text("address", &ask.address, 1, 300)?;
        if ask.node.0 == 0 {
            return Err(Refusal::out_of_bounds("nodeId", "nodes are numbered from 1"));
        }
        let before = self.nodes.get(&ask.node);
        if before.is_some_and(|node| node.state == NodeState::Removed || node.incarnation != ask.incarnation) {
            return Err(Refusal::AlreadyExists);
        }
        check_version(ask.expected_version, before.map_or(0, |node| node.version))?;
        let (state, version) = match before {
            Some(node) if node.address == ask.address => return Ok(Outcome::Stored { version: node.version }),
            Some(node) => (node.state, node.version + 1),
            None => (NodeState::Active, 1),
        };
        if before.is_none() {
            check_room("nodes", self.nodes.len(), NODES_MAX)?;
        }

        self.nodes.insert(
            ask.node,
            NodeRecord { node: ask.node, address: ask.address.clone(), incarnation: ask.incarnation, state, version },
        );
        self.dirty.insert(Dirty::Node(ask.node));
        events.push_group(Event::NodeChanged { node: ask.node, state });
        Ok(Outcome::Stored { version })
    }

    pub(super) fn set_node_state(&mut self, ask: &SetNodeState, events: &mut Events) -> Result<Outcome, Refusal> {
        let is_placed = self.placements.values().any(|placement| placement.voters.contains(&ask.node));
        let node = self.nodes.get_mut(&ask.node).ok_or(Refusal::NoSuchNode)?;
        if node.state == NodeState::Removed && ask.state != NodeState::Removed {
            return Err(Refusal::AlreadyExists);
        }
        check_version(ask.expected_version, node.version)?;
        if ask.state == NodeState::Removed && is_placed {
            return Err(Refusal::InUse);
        }

        if node.state != ask.state {
            node.state = ask.state;
            node.version += 1;
            self.dirty.insert(Dirty::Node(ask.node));
            events.push_group(Event::NodeChanged { node: ask.node, state: ask.state });
        }
        Ok(Outcome::Stored { version: node.version })
    }

    pub(super) fn retire_node(&mut self, ask: &RetireNode, events: &mut Events) -> Result<Outcome, Refusal> {
        if !matches!(ask.state, NodeState::Draining | NodeState::Leaving) {
            return Err(Refusal::out_of_bounds("state", "draining or leaving"));
        }
        let node = self.nodes.get(&ask.node).ok_or(Refusal::NoSuchNode)?;
        if node.state == NodeState::Removed {
            return Err(Refusal::AlreadyExists);
        }
        check_version(ask.expected_version, node.version)?;
        if node.state == NodeState::Active {
            let others = self.nodes.values().filter(|other| other.node != ask.node);
            let left = others.filter(|other| other.state == NodeState::Active).count() as u32;
            if left < ask.active_min {
                return Err(Refusal::TooFewNodes { left });
            }
        }

        let (node, expected_version, state) = (ask.node, ask.expected_version, ask.state);
        self.set_node_state(&SetNodeState { node, expected_version, state }, events)
    }

    pub(super) fn set_placement(&mut self, ask: &SetPlacement, events: &mut Events) -> Result<Outcome, Refusal> {
        let mut voters = ask.voters.clone();
        voters.sort_unstable();
        voters.dedup();
        if voters.len() != ask.voters.len() || !(1..=VOTERS_MAX).contains(&voters.len()) {
            return Err(Refusal::out_of_bounds("voters", format!("1 to {VOTERS_MAX} nodes, each once")));
        }
        if !voters.iter().all(|voter| self.nodes.contains_key(voter)) {
            return Err(Refusal::NoSuchNode);
        }
        if ask.group.0 > self.group_count {
            return Err(Refusal::NoSuchGroup);
        }
        if voters.iter().any(|voter| self.nodes[voter].state != NodeState::Active) {
            return Err(Refusal::out_of_bounds("voters", "every one must be active"));
        }
        let before = self.placements.get(&ask.group);
        let version = before.map_or(0, |placement| placement.version);
        check_version(ask.expected_version, version)?;
        if before.is_some_and(|placement| placement.voters == voters) {
            return Ok(Outcome::Stored { version });
        }

        let (group, version) = (ask.group, version + 1);
        self.placements.insert(group, PlacementRecord { group, voters: voters.clone(), version });
        self.dirty.insert(Dirty::Placement(group));
        events.push_group(Event::PlacementChanged { group, voters });
        Ok(Outcome::Stored { version })
    }
}

//! Groups, nodes, placements and token keys.

use super::{Model, bounds, check_len, check_room, check_version};
use crate::directory::node::NODES_MAX;
use crate::*;

fn check_key(key: &TokenKey) -> Result<(), Refusal> {
    check_len("kid", &key.kid, 1, 64)?;
    if key.der.is_empty() || key.der.len() > 8_192 {
        return Err(bounds("der", "not between 1 and 8192 bytes"));
    }
    Ok(())
}

impl Model {
    pub(super) fn set_groups(&mut self, ask: &SetGroups) -> Result<Outcome, Refusal> {
        if ask.count == 0 || ask.count > 1_024 {
            return Err(bounds("count", format!("{} is not between 1 and 1024", ask.count)));
        }
        if ask.count < self.groups {
            return Err(bounds("count", format!("there are {} groups already", self.groups)));
        }
        check_version(ask.expected_version, self.groups.into())?;
        if ask.count != self.groups {
            self.groups = ask.count;
            self.tell(Event::GroupsChanged { count: ask.count });
        }
        Ok(Outcome::Done)
    }

    fn keys_outcome(&self) -> Outcome {
        Outcome::TokenKeys { version: self.keys_version, keys: self.keys.clone() }
    }

    fn replace_keys(&mut self, keys: Vec<TokenKey>) {
        if keys != self.keys {
            self.keys = keys;
            self.keys_version += 1;
            self.tell(Event::TokenKeysInstalled);
        }
    }

    pub(super) fn put_token_keys(&mut self, ask: &PutTokenKeys) -> Result<Outcome, Refusal> {
        if self.keys_version > 0 {
            return Ok(self.keys_outcome());
        }
        if ask.keys.is_empty() || ask.keys.len() > 16 {
            return Err(bounds("keys", format!("{} is not between 1 and 16", ask.keys.len())));
        }
        let mut keys: Vec<TokenKey> = Vec::new();
        for key in &ask.keys {
            check_key(key)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(bounds("kid", "two keys of one name"));
            }
            keys.push(key.clone());
        }
        self.replace_keys(keys);
        Ok(self.keys_outcome())
    }

    pub(super) fn rotate_token_key(&mut self, ask: &RotateTokenKey) -> Result<Outcome, Refusal> {
        // A key that is there to the letter is no new one.
        let new = ask.add.as_ref().filter(|key| !self.keys.contains(key));
        let mut keys = self.keys.clone();
        if let Some(key) = new {
            check_key(key)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(Refusal::AlreadyExists);
            }
            keys.push(key.clone());
        }
        check_version(ask.expected_version, self.keys_version)?;
        let (kept, retired): (Vec<TokenKey>, Vec<TokenKey>) =
            keys.into_iter().partition(|key| Some(&key.kid) != ask.retire.as_ref());
        if retired.iter().any(|retired| kept.iter().all(|key| key.algorithm != retired.algorithm)) {
            return Err(Refusal::InUse);
        }
        check_room("token keys", kept.len(), 17)?;
        self.replace_keys(kept);
        Ok(self.keys_outcome())
    }

    pub(super) fn register_node(&mut self, ask: &RegisterNode) -> Result<Outcome, Refusal> {
        check_len("address", &ask.address, 1, 300)?;
        if ask.node == NodeNumber(0) {
            return Err(bounds("nodeId", "nodes are numbered from 1"));
        }
        let Some(mut node) = self.nodes.get(&ask.node).cloned() else {
            check_version(ask.expected_version, 0)?;
            check_room("nodes", self.nodes.len(), NODES_MAX)?;
            let (node, address, state) = (ask.node, ask.address.clone(), NodeState::Active);
            let incarnation = ask.incarnation;
            self.nodes.insert(node, NodeRecord { node, address, incarnation, state, version: 1 });
            self.tell(Event::NodeChanged { node, state });
            return Ok(Outcome::Stored { version: 1 });
        };
        if node.state == NodeState::Removed || node.incarnation != ask.incarnation {
            return Err(Refusal::AlreadyExists);
        }
        check_version(ask.expected_version, node.version)?;
        if node.address != ask.address {
            node.address = ask.address.clone();
            node.version += 1;
            self.tell(Event::NodeChanged { node: ask.node, state: node.state });
        }
        let version = node.version;
        self.nodes.insert(ask.node, node);
        Ok(Outcome::Stored { version })
    }

    pub(super) fn set_node_state(&mut self, ask: &SetNodeState) -> Result<Outcome, Refusal> {
        let mut node = self.nodes.get(&ask.node).ok_or(Refusal::NoSuchNode)?.clone();
        if node.state == NodeState::Removed && ask.state != NodeState::Removed {
            return Err(Refusal::AlreadyExists);
        }
        check_version(ask.expected_version, node.version)?;
        let votes = self.placements.values().any(|placement| placement.voters.contains(&ask.node));
        if ask.state == NodeState::Removed && votes {
            return Err(Refusal::InUse);
        }
        if node.state != ask.state {
            node.state = ask.state;
            node.version += 1;
            self.tell(Event::NodeChanged { node: ask.node, state: ask.state });
        }
        let version = node.version;
        self.nodes.insert(ask.node, node);
        Ok(Outcome::Stored { version })
    }

    pub(super) fn retire_node(&mut self, ask: &RetireNode) -> Result<Outcome, Refusal> {
        if ask.state == NodeState::Active || ask.state == NodeState::Removed {
            return Err(bounds("state", "draining or leaving"));
        }
        let mut node = self.nodes.get(&ask.node).ok_or(Refusal::NoSuchNode)?.clone();
        if node.state == NodeState::Removed {
            return Err(Refusal::AlreadyExists);
        }
        check_version(ask.expected_version, node.version)?;
        let active: Vec<_> = self.nodes.values().filter(|node| node.state == NodeState::Active).collect();
        if node.state == NodeState::Active && active.len() - 1 < ask.active_min as usize {
            return Err(Refusal::TooFewNodes { left: active.len() as u32 - 1 });
        }
        if node.state != ask.state {
            node.state = ask.state;
            node.version += 1;
            self.tell(Event::NodeChanged { node: ask.node, state: ask.state });
        }
        let version = node.version;
        self.nodes.insert(ask.node, node);
        Ok(Outcome::Stored { version })
    }

    pub(super) fn set_placement(&mut self, ask: &SetPlacement) -> Result<Outcome, Refusal> {
        let is_twice = |voter| ask.voters.iter().filter(|other| *other == voter).count() > 1;
        if ask.voters.is_empty() || ask.voters.len() > 9 || ask.voters.iter().any(is_twice) {
            return Err(bounds("voters", "1 to 9 nodes, each once"));
        }
        if ask.voters.iter().any(|voter| !self.nodes.contains_key(voter)) {
            return Err(Refusal::NoSuchNode);
        }
        if ask.group.0 > self.groups {
            return Err(Refusal::NoSuchGroup);
        }
        if ask.voters.iter().any(|voter| self.nodes[voter].state != NodeState::Active) {
            return Err(bounds("voters", "every one must be active"));
        }
        let before = self.placements.get(&ask.group).cloned();
        let version = before.as_ref().map_or(0, |placement| placement.version);
        check_version(ask.expected_version, version)?;
        let (group, mut voters) = (ask.group, ask.voters.clone());
        voters.sort();
        if before.is_some_and(|placement| placement.voters == voters) {
            return Ok(Outcome::Stored { version });
        }
        let version = version + 1;
        self.placements.insert(group, PlacementRecord { group, voters: voters.clone(), version });
        self.tell(Event::PlacementChanged { group, voters });
        Ok(Outcome::Stored { version })
    }
}

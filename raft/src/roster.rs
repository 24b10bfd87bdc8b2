//! Which nodes there are, as far as this one knows: where they listen, which life of theirs is the true one, and whether
//! they still belong to the cluster.
//!
//! A node that lost its data has forgotten what it promised: whom it voted for, which entries it has. Back under its old
//! id it could help to decide what was decided differently before. So every data directory has an incarnation, drawn
//! when it is made; the directory (group 0) keeps the one that each node was registered with, and nodes refuse to speak
//! with another. Before a node is registered, its peers hold it to the incarnation that they met first.

use crate::transport::SHUT_OUT_KEY;
use crate::types::NodeId;
use std::collections::BTreeMap;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataValue;
use vestibule_engine::{NodeRecord, NodeState};

/// One node, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Host and port.
    pub(crate) address: String,
    /// The incarnation that it is held to, once one is known.
    pub(crate) incarnation: Option<u128>,
    /// As the directory has it; `None` before the directory knows the node.
    pub(crate) state: Option<NodeState>,
}

/// What one node knows of all.
pub(crate) struct Roster {
    own: NodeId,
    incarnation: u128,
    nodes: RwLock<BTreeMap<NodeId, Known>>,
    shut_out: watch::Sender<Option<String>>,
}

impl Roster {
    /// The roster of node `own`, which begins with the addresses that it was started with.
    pub(crate) fn new(own: NodeId, incarnation: u128, peers: &BTreeMap<NodeId, String>) -> Self {
        let known =
            |(node, address): (&NodeId, &String)| (*node, Known { address: address.clone(), ..Known::default() });
        let mut nodes: BTreeMap<NodeId, Known> = peers.iter().map(known).collect();
        nodes.entry(own).or_default().incarnation = Some(incarnation);
        Self { own, incarnation, nodes: RwLock::new(nodes), shut_out: watch::Sender::new(None) }
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Known>> {
        self.nodes.read().expect("no holder of this lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, Known>> {
        self.nodes.write().expect("no holder of this lock panics")
    }

    /// This node's number.
    pub(crate) fn own(&self) -> NodeId {
        self.own
    }

    /// Which life of its data directory this node lives.
    pub(crate) fn incarnation(&self) -> u128 {
        self.incarnation
    }

    /// Takes over what the directory says.
    pub(crate) fn update(&self, records: &[NodeRecord]) {
        let mut nodes = self.write();
        for record in records {
            let known = nodes.entry(record.node.0).or_default();
            *known = Known {
                address: record.address.clone(),
                incarnation: Some(record.incarnation),
                state: Some(record.state),
            };
        }
        let own = nodes.get(&self.own).cloned().unwrap_or_default();
        drop(nodes);
        if own.state == Some(NodeState::Removed) {
            self.shut(format!("node {} was removed from the cluster", self.own));
        } else if own.incarnation != Some(self.incarnation) {
            self.shut(is_a_stranger(self.own));
        }
    }

    /// All nodes that have not been removed.
    pub(crate) fn present(&self) -> BTreeMap<NodeId, Known> {
        let nodes = self.read();
        let present = nodes.iter().filter(|(_, known)| known.state != Some(NodeState::Removed));
        present.map(|(node, known)| (*node, known.clone())).collect()
    }

    /// Everything known, removed nodes included.
    pub(crate) fn all(&self) -> BTreeMap<NodeId, Known> {
        self.read().clone()
    }

    /// Where a node listens.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.read().get(&node).map(|known| known.address.clone()).filter(|address| !address.is_empty())
    }

    /// The incarnation that the directory has registered a node with.
    pub(crate) fn registered(&self, node: NodeId) -> Option<u128> {
        self.read().get(&node).filter(|known| known.state.is_some())?.incarnation
    }

    /// Refuses a caller that is not the node it was, or that was removed.
    pub(crate) fn check_caller(&self, node: NodeId, incarnation: u128) -> Result<(), Status> {
        let mut nodes = self.write();
        let known = nodes.entry(node).or_default();
        if known.state == Some(NodeState::Removed) {
            return Err(for_good(format!("node {node} was removed from the cluster")));
        }
        if *known.incarnation.get_or_insert(incarnation) == incarnation {
            return Ok(());
        }
        match known.state {
            Some(_) => Err(for_good(is_a_stranger(node))),
            None => Err(Status::unavailable(format!("node {node} was met with other data before it was registered"))),
        }
    }

    /// Notes where a node says that it listens, unless an address of it is known.
    pub(crate) fn hear_of(&self, node: NodeId, address: &str) {
        if self.read().get(&node).is_some_and(|known| !known.address.is_empty()) {
            return;
        }
        let mut nodes = self.write();
        let known = nodes.entry(node).or_default();
        if known.address.is_empty() {
            address.clone_into(&mut known.address);
        }
    }

    /// Refuses a call that was meant for an earlier life of this node. Its data is gone, and so must it be.
    pub(crate) fn check_meant(&self, incarnation: u128) -> Result<(), Status> {
        if incarnation == self.incarnation {
            return Ok(());
        }
        let reason = is_a_stranger(self.own);
        self.shut(reason.clone());
        Err(Status::unavailable(reason))
    }

    /// A peer refuses this node for good.
    pub(crate) fn shut(&self, reason: String) {
        self.shut_out.send_if_modified(|known| {
            let is_first = known.is_none();
            known.get_or_insert(reason);
            is_first
        });
    }

    /// Resolves when this node may take part no longer, with the reason.
    pub(crate) async fn shut_out(&self) -> String {
        let mut shut_out = self.shut_out.subscribe();
        // The sender lives in `self`.
        let reason = shut_out.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }
}

/// A refusal that its receiver is to take as the end of its time in the cluster.
fn for_good(reason: String) -> Status {
    let mut status = Status::failed_precondition(reason);
    status.metadata_mut().insert(SHUT_OUT_KEY, MetadataValue::from_static("yes"));
    status
}

fn is_a_stranger(node: NodeId) -> String {
    format!(
        "node {node} is registered with other data than it has now; a node that lost its data has to come back under a \
         new id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_engine::NodeNumber;

    fn record(node: u64, incarnation: u128, state: NodeState) -> NodeRecord {
        NodeRecord { node: NodeNumber(node), address: format!("host-{node}:1"), incarnation, state, version: 1 }
    }

    #[test]
    fn a_node_is_held_to_the_incarnation_met_first_and_then_to_the_registered_one() {
        let roster = Roster::new(1, 10, &BTreeMap::from([(1, "a:1".to_owned()), (2, "b:1".to_owned())]));
        assert_eq!(roster.registered(2), None);
        assert!(roster.check_caller(2, 20).is_ok(), "the first is believed");
        assert!(roster.check_caller(2, 21).is_err(), "another is not");
        assert!(roster.check_caller(2, 20).is_ok());
        roster.update(&[record(2, 22, NodeState::Active)]);
        assert!(roster.check_caller(2, 20).is_err(), "the directory knows better");
        assert!(roster.check_caller(2, 22).is_ok());
        assert_eq!(roster.registered(2), Some(22));
        assert_eq!(roster.address(2).as_deref(), Some("host-2:1"));
    }

    #[test]
    fn a_caller_is_believed_where_it_listens_until_the_directory_says_so() {
        let roster = Roster::new(1, 10, &BTreeMap::from([(2, "b:1".to_owned())]));
        roster.hear_of(2, "c:1");
        roster.hear_of(3, "d:1");
        roster.hear_of(3, "e:1");
        assert_eq!(roster.address(2).as_deref(), Some("b:1"));
        assert_eq!(roster.address(3).as_deref(), Some("d:1"));
        roster.update(&[record(3, 30, NodeState::Active)]);
        assert_eq!(roster.address(3).as_deref(), Some("host-3:1"));
    }

    #[test]
    fn a_removed_node_is_refused_and_a_lost_one_shuts_itself_out() {
        let roster = Roster::new(1, 10, &BTreeMap::new());
        roster.update(&[record(1, 10, NodeState::Active), record(3, 30, NodeState::Removed)]);
        assert!(roster.check_caller(3, 30).is_err());
        assert!(!roster.present().contains_key(&3));
        assert_eq!(*roster.shut_out.borrow(), None);
        assert!(roster.check_meant(10).is_ok());
        assert!(roster.check_meant(11).is_err());
        assert!(roster.shut_out.borrow().as_deref().is_some_and(|reason| reason.contains("new id")));
    }
}

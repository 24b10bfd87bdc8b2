//! What operators do with a cluster: look at it, add nodes and take them out, and say where leaders are to be.
//!
//! Wishes go into the directory, and its controller fulfils them; only a transfer of leadership is done at once.

use crate::cluster::{Cluster, Consistency, GrpcCluster, ProposeError, QueryError};
use crate::controller::placing::{self, Voters};
use crate::node::REPLICAS;
use crate::seams::IdSource;
use crate::types::NodeId;
use futures::future::{join, join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use vestibule_engine::{
    Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, GroupId, NodeNumber, NodeRecord, NodeState,
    Outcome, PlacementRecord, Refusal, RegisterNode, RequestId, RetireNode, SetNodeState, SetPlacement,
};
use vestibule_proto::v1;

/// How long a node may take to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);
/// How long a node that is to be added may take to listen: who adds it may have started it a moment ago.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait before asking it again.
const START_PAUSE: Duration = Duration::from_millis(100);
/// How long the directory may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why an operator's wish was not met.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The directory refuses.
    #[error("the directory refuses: {0}")]
    Refused(Refusal),
    /// The directory gave no answer; the wish may be noted yet. Asking again is safe.
    #[error(transparent)]
    NotProposed(#[from] ProposeError),
    /// The directory could not be read.
    #[error(transparent)]
    NotRead(#[from] QueryError),
    /// There is no such node.
    #[error("there is no node {0}")]
    NoSuchNode(NodeId),
    /// Too few nodes would be left.
    #[error(
        "without node {node} there are {left} active nodes, fewer than the {REPLICAS} that a group is kept on; add a \
         node first, or force it"
    )]
    TooFewNodes {
        /// The node that is to go.
        node: NodeId,
        /// How many would be left.
        left: u32,
    },
    /// The node did not do it, or could not be asked.
    #[error("{0}")]
    Failed(String),
}

/// The whole of a cluster as it says it is.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Nodes as the directory has them, removed ones included; nothing when the directory gives no answer.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Where groups are to be.
    pub placements: BTreeMap<GroupId, PlacementRecord>,
    /// What each address that was asked said.
    pub reports: Vec<(String, Result<v1::StatusResponse, String>)>,
    /// Why the directory gave no answer, if it gave none.
    pub silence: Option<String>,
}

/// Looks after a cluster.
#[derive(Clone)]
pub struct Admin {
    cluster: Arc<GrpcCluster>,
    ids: Arc<dyn IdSource>,
}

/// What came of spreading the groups evenly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebalanced {
    /// The placements that are wanted now and were not before.
    pub changed: Vec<PlacementRecord>,
    /// Active nodes that nothing was put on: they gave no answer, or their disks are full.
    pub left_out: BTreeSet<NodeId>,
}

impl Admin {
    /// Looks after the cluster behind `cluster`; each wish goes under an id from `ids`.
    pub fn new(cluster: Arc<GrpcCluster>, ids: Arc<dyn IdSource>) -> Self {
        Self { cluster, ids }
    }

    async fn ask(&self, query: DirectoryQuery) -> Result<DirectoryAnswer, QueryError> {
        let cluster: &dyn Cluster = &*self.cluster;
        Ok(cluster.query::<Directory>(GroupId::DIRECTORY, &query, Consistency::Linearizable, PATIENCE).await?.0)
    }

    async fn tell(&self, command: DirectoryCommand) -> Result<Outcome, AdminError> {
        let cluster: &dyn Cluster = &*self.cluster;
        // When the answer is lost it is asked again, and told what came of it the first time.
        let envelope = Envelope { request: Some(RequestId(self.ids.draw())), command };
        let (reply, _) = cluster.propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await?;
        reply.result.map_err(AdminError::Refused)
    }

    /// All nodes that the directory knows, removed ones included.
    pub async fn nodes(&self) -> Result<BTreeMap<NodeId, NodeRecord>, AdminError> {
        match self.ask(DirectoryQuery::Nodes).await? {
            DirectoryAnswer::Nodes(nodes) => Ok(nodes.into_iter().map(|node| (node.node.0, node)).collect()),
            other => Err(unexpected(&other)),
        }
    }

    /// Where groups are to be.
    pub async fn placements(&self) -> Result<BTreeMap<GroupId, PlacementRecord>, AdminError> {
        match self.ask(DirectoryQuery::Placements).await? {
            DirectoryAnswer::Placements(placements) => {
                Ok(placements.into_iter().map(|placement| (placement.group, placement)).collect())
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn node(&self, node: NodeId) -> Result<NodeRecord, AdminError> {
        self.nodes().await?.remove(&node).ok_or(AdminError::NoSuchNode(node))
    }

    /// Asks every node that is known how it is, and the directory what it wants. Gives what it got.
    pub async fn overview(&self) -> Overview {
        let (nodes, placements) = join(self.nodes(), self.placements()).await;
        let silence = nodes.as_ref().err().or(placements.as_ref().err()).map(ToString::to_string);
        let (nodes, placements) = (nodes.unwrap_or_default(), placements.unwrap_or_default());
        let present = nodes.values().filter(|node| node.state != NodeState::Removed);
        let mut addresses: Vec<String> = present.map(|node| node.address.clone()).collect();
        let gone: BTreeSet<&String> =
            nodes.values().filter(|node| node.state == NodeState::Removed).map(|node| &node.address).collect();
        for seed in self.cluster.seeds() {
            if !addresses.contains(&seed) && !gone.contains(&seed) {
                addresses.push(seed);
            }
        }
        let asked = addresses.into_iter().map(|address| async {
            let answer = self.cluster.status(&address, STATUS_PATIENCE).await;
            (address, answer.map_err(|status| status.message().to_owned()))
        });
        Overview { reports: join_all(asked).await, nodes, placements, silence }
    }

    /// What a node says that may have been started a moment ago.
    async fn greet(&self, address: &str) -> Result<v1::StatusResponse, AdminError> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            match self.cluster.status(address, STATUS_PATIENCE).await {
                Ok(status) => return Ok(status),
                Err(status) if Instant::now() >= deadline => {
                    return Err(AdminError::Failed(format!("{address}: {}", status.message())));
                }
                Err(_) => sleep(START_PAUSE).await,
            }
        }
    }

    /// Makes a running node, which waits at `address` under the number `node`, part of the cluster. It may take 15 s to
    /// answer. The address must be the one that the node gives for itself.
    pub async fn add_node(&self, node: NodeId, address: &str) -> Result<NodeRecord, AdminError> {
        let status = self.greet(address).await?;
        if status.node != node {
            return Err(AdminError::Failed(format!("node {} listens at {address}, not node {node}", status.node)));
        }
        // One that has read of itself in the directory may have moved since.
        let is_itself = |member: &&v1::Member| member.node == node && member.state.is_empty();
        let own = status.members.iter().find(is_itself).map(|member| member.address.as_str());
        if let Some(own) = own.filter(|own| *own != address) {
            return Err(AdminError::Failed(format!(
                "node {node} is reached at {address}, and says itself that it is at {own}, which is what it would register: add \
                 it as {own}, or start it with `--advertise {address}`"
            )));
        }
        let ours = self
            .cluster
            .cluster_name(&[address])
            .await
            .map_err(|status| AdminError::Failed(status.message().to_owned()))?;
        if status.cluster != ours {
            return Err(AdminError::Failed(format!(
                "node {node} at {address} was started for the cluster {:?}, and this is {ours:?}: give it an empty data \
                 directory and `--cluster {ours}`",
                status.cluster
            )));
        }
        let incarnation = u128::from_str_radix(&status.incarnation, 16)
            .map_err(|_| AdminError::Failed(format!("{address} does not say which data it has")))?;
        let (number, address) = (NodeNumber(node), address.to_owned());
        let ask = RegisterNode { node: number, expected_version: None, address, incarnation };
        self.tell(DirectoryCommand::RegisterNode(ask)).await?;
        self.node(node).await
    }

    /// Has a node give its groups and leaderships away. It stays a member and can be made active again.
    pub async fn drain(&self, node: NodeId, force: bool) -> Result<NodeRecord, AdminError> {
        self.retire(node, NodeState::Draining, force).await
    }

    /// Has a node, which may be dead, replaced everywhere and then removed for good.
    pub async fn remove_node(&self, node: NodeId, force: bool) -> Result<NodeRecord, AdminError> {
        self.retire(node, NodeState::Leaving, force).await
    }

    async fn retire(&self, node: NodeId, state: NodeState, force: bool) -> Result<NodeRecord, AdminError> {
        let nodes = self.nodes().await?;
        let record = nodes.get(&node).ok_or(AdminError::NoSuchNode(node))?;
        if record.state == NodeState::Removed {
            return match state {
                NodeState::Leaving => Ok(record.clone()),
                _ => Err(AdminError::Failed(format!("node {node} was removed"))),
            };
        }
        let ask = RetireNode {
            node: record.node,
            expected_version: Some(record.version),
            state,
            active_min: if force { 0 } else { REPLICAS as u32 },
        };
        match self.tell(DirectoryCommand::RetireNode(ask)).await {
            Err(AdminError::Refused(Refusal::TooFewNodes { left })) => Err(AdminError::TooFewNodes { node, left }),
            Err(error) => Err(error),
            Ok(_) => self.node(node).await,
        }
    }

    /// Makes a draining node active again.
    pub async fn activate(&self, node: NodeId) -> Result<NodeRecord, AdminError> {
        self.set_state(&self.node(node).await?, NodeState::Active).await
    }

    async fn set_state(&self, record: &NodeRecord, state: NodeState) -> Result<NodeRecord, AdminError> {
        let ask = SetNodeState { node: record.node, expected_version: Some(record.version), state };
        self.tell(DirectoryCommand::SetNodeState(ask)).await?;
        self.node(record.node.0).await
    }

    /// Spreads the groups evenly over the active nodes that answer and whose disk has room.
    pub async fn rebalance(&self) -> Result<Rebalanced, AdminError> {
        let nodes = self.nodes().await?;
        let active: BTreeSet<NodeId> =
            nodes.values().filter(|node| node.state == NodeState::Active).map(|node| node.node.0).collect();
        let placements = self.placements().await?;
        let reports = self.overview().await.reports;
        let reports: Vec<_> = reports.into_iter().filter_map(|(_, report)| report.ok()).collect();
        let wanted: Voters = placements
            .iter()
            .map(|(group, placement)| (*group, placement.voters.iter().map(|voter| voter.0).collect()))
            .collect();
        let mut changed = Vec::new();
        let open = reports.iter().filter(|report| !report.disk_full).map(|report| report.node);
        let open: BTreeSet<NodeId> = open.filter(|node| active.contains(node)).collect();
        for (group, voters) in placing::balance(&wanted, &active, &open) {
            if !voters.is_subset(&active) {
                return Err(AdminError::Failed(format!("too few active nodes to place {group} on")));
            }
            let voters: Vec<NodeNumber> = voters.into_iter().map(NodeNumber).collect();
            let expected_version = placements.get(&group).map(|placement| placement.version);
            let ask = SetPlacement { group, voters: voters.clone(), expected_version };
            match self.tell(DirectoryCommand::SetPlacement(ask)).await? {
                Outcome::Stored { version } => changed.push(PlacementRecord { group, voters, version }),
                other => return Err(AdminError::Failed(format!("an unexpected outcome: {other:?}"))),
            }
        }
        Ok(Rebalanced { changed, left_out: active.difference(&open).copied().collect() })
    }

    /// Hands the leadership of a group to a node; returns once it leads.
    pub async fn transfer(&self, group: GroupId, to: NodeId) -> Result<(), AdminError> {
        let overview = self.overview().await;
        let led = overview.reports.iter().filter_map(|(address, report)| {
            let report = report.as_ref().ok()?;
            let status = report.groups.iter().find(|status| status.group == group.0)?;
            (status.leader == report.node).then_some((status.term, address))
        });
        let Some((_, address)) = led.max() else {
            return Err(AdminError::Failed(format!("{group} has no leader that answers")));
        };
        let transferred = self.cluster.transfer_leader(address, group, to, PATIENCE).await;
        transferred.map_err(|status| AdminError::Failed(status.message().to_owned()))
    }
}

fn unexpected(answer: &DirectoryAnswer) -> AdminError {
    AdminError::Failed(format!("an unexpected answer of the directory: {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{Actor, Part};
    use crate::seams::{SystemIds, TcpConnector};
    use vestibule_engine::{StateMachine, Timestamp};

    fn admin(seeds: Vec<String>) -> Admin {
        Admin::new(GrpcCluster::new(seeds, Arc::new(TcpConnector)), Arc::new(SystemIds))
    }

    /// Four nodes are registered.
    fn register(part: &mut Part) {
        for node in (1..=4).map(NodeNumber) {
            let ask = RegisterNode { node, expected_version: None, address: format!("{}:1", node.0), incarnation: 1 };
            let envelope = Envelope { request: None, command: DirectoryCommand::RegisterNode(ask) };
            assert!(part.directory.apply(Timestamp(0), &[envelope])[0].result.is_ok());
        }
    }

    #[tokio::test]
    async fn what_was_done_is_not_reported_as_a_failure_because_the_answer_was_lost() {
        let (leader, address) = Actor::start().await;
        register(&mut leader.part());
        leader.part().answers_lost = 1;
        let drained = admin(vec![address]).drain(2, false).await.expect("it was done");
        assert_eq!((drained.state, drained.version), (NodeState::Draining, 2));
        let part = leader.part();
        assert_eq!((part.answers_lost, part.index), (0, 2), "it was asked twice");
    }

    #[tokio::test]
    async fn a_node_is_added_under_the_address_that_it_gives_itself() {
        let ((leader, known), (waiting, address)) = (Actor::start().await, Actor::start().await);
        register(&mut leader.part());
        let member = |address: &str| v1::Member { node: 5, address: address.to_owned(), state: String::new() };
        let says = |address: &str| v1::StatusResponse {
            node: 5,
            incarnation: "1".to_owned(),
            members: vec![member(address)],
            ..v1::StatusResponse::default()
        };
        waiting.part().status = says("db5.example:7105");
        let admin = admin(vec![known]);
        let refused = admin.add_node(5, &address).await.expect_err("it would register the other").to_string();
        assert!(refused.contains(&address) && refused.contains("db5.example:7105"), "{refused}");
        assert!(!admin.nodes().await.expect("an answer").contains_key(&5), "nothing was noted");
        waiting.part().status = says(&address);
        assert_eq!(admin.add_node(5, &address).await.expect("they agree").address, address);
    }
}

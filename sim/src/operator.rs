//! Whoever looks after the cluster: adds nodes and takes them out, drains, rebalances, with the calls that `vestibule ctl`
//! makes. One thing after the other, and each until it has come true; only for a node that is on its way out nobody waits,
//! since another may have to go before it can.

use crate::clock::SimIds;
use crate::dice::Dice;
use crate::faults::{Kind, Tally};
use crate::host::address;
use crate::net::SimConnector;
use crate::trace::Trace;
use futures::future::join_all;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use vestibule_engine::{Envelope, GroupId, HoldId, NodeState, ReleaseHold, Shard, ShardCommand, UserId};
use vestibule_raft::admin::{Admin, AdminError};
use vestibule_raft::cluster::{Cluster, GrpcCluster, ProposeError};
use vestibule_raft::types::NodeId;

/// The name of the operator's machine.
pub const OPERATOR: &str = "operator";
/// How long to wait before a look at what has come true, or another attempt.
const PAUSE: Duration = Duration::from_millis(200);
/// How much is asked at once, how many times, and how long each may take.
const FLOOD_WIDTH: usize = 100;
const FLOOD_ROUNDS: usize = 5;
const FLOOD_PATIENCE: Duration = Duration::from_secs(2);
/// How long a drained node may take to have given everything away. It is made active again then.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Add(NodeId),
    Remove(NodeId),
    Drain(NodeId),
    Rebalance,
    Transfer(GroupId, NodeId),
    Flood(GroupId),
}

/// Looks after the cluster, on a machine of its own.
pub struct Operator {
    seeds: Vec<String>,
    trace: Trace,
    tally: Tally,
    ids: Arc<SimIds>,
    orders: RefCell<VecDeque<Order>>,
    is_working: Cell<bool>,
    /// The node that is being added.
    adding: Cell<Option<NodeId>>,
    /// Nodes that are being removed, until somebody took note.
    removed: RefCell<Vec<NodeId>>,
    /// The node that the directory is being told of.
    removing: Cell<Option<NodeId>>,
    /// Nodes that are on their way out.
    leaving: RefCell<BTreeSet<NodeId>>,
    told: Notify,
    /// There is one more that leaves.
    parted: Notify,
}

impl Operator {
    /// One who knows nodes at these addresses, and draws the ids of what is asked.
    pub fn new(seeds: Vec<String>, trace: Trace, tally: Tally, dice: Dice) -> Self {
        Self {
            seeds,
            trace,
            tally,
            ids: Arc::new(SimIds::new(dice)),
            orders: RefCell::default(),
            is_working: Cell::new(false),
            adding: Cell::default(),
            removed: RefCell::default(),
            removing: Cell::default(),
            leaving: RefCell::default(),
            told: Notify::new(),
            parted: Notify::new(),
        }
    }

    fn order(&self, order: Order) {
        self.orders.borrow_mut().push_back(order);
        self.told.notify_one();
    }

    /// A running node is to become part of the cluster.
    pub fn add(&self, node: NodeId) {
        self.order(Order::Add(node));
    }

    /// A node is to leave for good.
    pub fn remove(&self, node: NodeId) {
        self.order(Order::Remove(node));
    }

    /// A node is to give everything away, and then take part again.
    pub fn drain(&self, node: NodeId) {
        self.order(Order::Drain(node));
    }

    /// The groups are to be spread evenly.
    pub fn rebalance(&self) {
        self.order(Order::Rebalance);
    }

    /// A group is to be led by a node.
    pub fn transfer(&self, group: GroupId, to: NodeId) {
        self.order(Order::Transfer(group, to));
    }

    /// More is to be asked of a group than it takes.
    pub fn flood(&self, group: GroupId) {
        self.order(Order::Flood(group));
    }

    /// Whether something is not done yet.
    pub fn is_busy(&self) -> bool {
        self.is_working.get() || !self.orders.borrow().is_empty() || !self.leaving.borrow().is_empty()
    }

    /// Whether a node is to be added yet, or to leave, or is on its way.
    pub fn moves(&self, node: NodeId) -> bool {
        self.adding.get() == Some(node) || self.orders.borrow().contains(&Order::Add(node)) || self.removes(node)
    }

    /// Whether a node is to leave, or is on its way.
    pub fn removes(&self, node: NodeId) -> bool {
        self.removing.get() == Some(node)
            || self.orders.borrow().contains(&Order::Remove(node))
            || self.leaving.borrow().contains(&node)
    }

    /// Nodes of which the directory now says that they are to go; told once.
    pub fn take_removed(&self) -> Vec<NodeId> {
        self.removed.take()
    }

    /// Does what is ordered.
    pub async fn run(&self) {
        let cluster = GrpcCluster::new(self.seeds.clone(), Arc::new(SimConnector::new(self.trace.clone())));
        let admin = Admin::new(cluster.clone(), self.ids.clone());
        futures::future::join(self.work(&*cluster, &admin), self.see_off(&admin)).await;
    }

    async fn work(&self, cluster: &dyn Cluster, admin: &Admin) {
        loop {
            let next = self.orders.borrow_mut().pop_front();
            let Some(order) = next else {
                self.told.notified().await;
                continue;
            };
            self.is_working.set(true);
            self.note(format!("{order:?} begins"));
            match order {
                Order::Add(node) => {
                    self.adding.set(Some(node));
                    let added = self.do_add(admin, node).await;
                    self.adding.set(None);
                    added
                }
                Order::Remove(node) => self.do_remove(admin, node).await,
                Order::Drain(node) => self.do_drain(admin, node).await,
                Order::Rebalance => {
                    self.insist("rebalance", async || admin.rebalance().await).await;
                    self.tally.happened(Kind::Rebalance);
                }
                Order::Transfer(group, to) => match admin.transfer(group, to).await {
                    Ok(()) => self.tally.happened(Kind::AdminTransfer),
                    Err(error) => self.note(format!("{order:?}: {error}")),
                },
                Order::Flood(group) => self.do_flood(cluster, group).await,
            }
            self.note(format!("{order:?} is done"));
            self.is_working.set(false);
        }
    }

    fn note(&self, what: String) {
        self.trace.note(OPERATOR, what);
    }

    /// Tries until it is done.
    async fn insist<T>(&self, what: &str, attempt: impl AsyncFn() -> Result<T, AdminError>) -> T {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => self.note(format!("{what}: {error}")),
            }
            sleep(PAUSE).await;
        }
    }

    async fn do_add(&self, admin: &Admin, node: NodeId) {
        self.insist("add", async || admin.add_node(node, &address(node)).await).await;
        self.tally.happened(Kind::AddNode);
    }

    async fn do_remove(&self, admin: &Admin, node: NodeId) {
        self.removing.set(Some(node));
        self.insist("remove", async || admin.remove_node(node, false).await).await;
        self.removing.set(None);
        self.removed.borrow_mut().push(node);
        self.leaving.borrow_mut().insert(node);
        self.parted.notify_one();
    }

    /// Looks on until those who leave have left.
    async fn see_off(&self, admin: &Admin) {
        loop {
            if self.leaving.borrow().is_empty() {
                self.parted.notified().await;
            }
            let nodes = self.insist("look", async || admin.nodes().await).await;
            let has_left = |node: &NodeId| nodes[node].state == NodeState::Removed;
            let left: Vec<NodeId> = self.leaving.borrow().iter().copied().filter(has_left).collect();
            for node in left {
                self.leaving.borrow_mut().remove(&node);
                self.tally.happened(Kind::RemoveNode);
                self.note(format!("node {node} has left"));
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks for the same again and again, many times at once, of which the engine refuses every one.
    async fn do_flood(&self, cluster: &dyn Cluster, group: GroupId) {
        let command = ShardCommand::ReleaseHold(ReleaseHold { hold: HoldId::default(), user: UserId(1) });
        let envelope = Envelope { request: None, command };
        let (mut refused, mut answered) = (0, 0);
        for _ in 0..FLOOD_ROUNDS {
            let asked = (0..FLOOD_WIDTH).map(|_| cluster.propose::<Shard>(group, &envelope, FLOOD_PATIENCE));
            for answer in join_all(asked).await {
                match answer {
                    Err(ProposeError::Overloaded(_)) => refused += 1,
                    Ok(_) => answered += 1,
                    Err(_) => {}
                }
            }
        }
        self.note(format!("{answered} were answered, {refused} refused because it is too much"));
        if refused > 0 {
            self.tally.happened(Kind::Overload);
        }
    }

    async fn do_drain(&self, admin: &Admin, node: NodeId) {
        // With as few nodes as a group is kept on, only its leaderships can go.
        let record = self.insist("drain", async || match admin.drain(node, false).await {
            Err(AdminError::TooFewNodes { .. }) => admin.drain(node, true).await,
            drained => drained,
        });
        record.await;
        let deadline = Instant::now() + DRAIN_PATIENCE;
        while Instant::now() < deadline {
            let overview = admin.overview().await;
            let leads = overview
                .reports
                .iter()
                .filter_map(|(_, report)| report.as_ref().ok())
                .any(|report| report.groups.iter().any(|group| group.leader == node && report.node == node));
            let answers =
                overview.reports.iter().any(|(_, report)| report.as_ref().is_ok_and(|report| report.node == node));
            if answers && !leads {
                self.tally.happened(Kind::Drain);
                break;
            }
            sleep(PAUSE).await;
        }
        self.insist("activate", async || admin.activate(node).await).await;
    }
}

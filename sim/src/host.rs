//! A simulated machine with a node on it: what survives a crash of the node, and how the node is run.

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::lost_disk;
use crate::net::{self, SimConnector};
use crate::options::Options;
use crate::spawner::TaskSpawner;
use crate::store::SimStore;
use crate::trace::Trace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use vestibule_engine::planted::{self, Bug};
use vestibule_raft::node::{Node, NodeConfig, NodeSeams, StartError, Timing};
use vestibule_raft::types::NodeId;
use vestibule_raft::wal::{Owner, Wal, WalConfig};

/// The port that nodes listen on.
const PORT: u16 = 7101;
/// The cluster's name, and the number that stands for it in files.
const CLUSTER: (&str, u64) = ("sim", 0x51);

/// The name of a node's machine.
pub fn host_name(node: NodeId) -> String {
    format!("node-{node}")
}

/// Where a node is reached.
pub fn address(node: NodeId) -> String {
    format!("{}:{PORT}", host_name(node))
}

/// A machine. It outlives the node that runs on it.
pub struct Machine {
    /// The node's number.
    pub id: NodeId,
    /// Under the log.
    pub disk: SimDisk,
    /// Under the checkpoints.
    pub store: SimStore,
    /// The time of day there.
    pub clock: SimClock,
    config: NodeConfig,
    incarnation: u128,
    trace: Trace,
    has_log: Cell<bool>,
    node: RefCell<Option<Rc<Node>>>,
    lives: Cell<u64>,
    stop: Notify,
    hand_over: Notify,
    /// Why the node's process ended by itself.
    ended: RefCell<Option<String>>,
}

impl Machine {
    /// A machine with empty disks.
    pub fn new(id: NodeId, options: &Options, trace: &Trace) -> Self {
        let mut dice = crate::dice::Dice::new(options.seed, &host_name(id));
        let (disk, store) = (SimDisk::new(dice.number()), SimStore::new(dice.number()));
        Self {
            id,
            disk,
            store,
            clock: SimClock::new(trace.clone()),
            config: config(id, options),
            incarnation: dice.wide(),
            trace: trace.clone(),
            has_log: Cell::new(false),
            node: RefCell::default(),
            lives: Cell::new(0),
            stop: Notify::new(),
            hand_over: Notify::new(),
            ended: RefCell::default(),
        }
    }

    /// The node, if it runs.
    pub fn node(&self) -> Option<Rc<Node>> {
        self.node.borrow().clone()
    }

    /// How many times the node was started.
    pub fn lives(&self) -> u64 {
        self.lives.get()
    }

    /// Whose its files are.
    pub fn owner(&self) -> Owner {
        Owner { cluster: CLUSTER.1, node: self.id, incarnation: self.incarnation }
    }

    /// Why the node's process has ended, if it has; told once.
    pub fn take_ended(&self) -> Option<String> {
        self.ended.borrow_mut().take()
    }

    /// Asks the node to stop in good order.
    pub fn ask_to_stop(&self) {
        self.stop.notify_one();
    }

    /// Asks the node to hand over one of the groups that it leads.
    pub fn ask_to_hand_over(&self) {
        self.hand_over.notify_one();
    }

    /// Whether the disks do what they are told.
    pub fn has_power(&self) -> bool {
        self.disk.has_power() && self.store.has_power()
    }

    /// The process is gone, with all that it had in memory. Call this before its machine is crashed.
    pub fn forget_node(&self) {
        self.node.borrow_mut().take();
        self.ended.borrow_mut().take();
    }

    /// Runs the node, as the binary does, until it cannot go on or is asked to stop.
    pub async fn run(&self) {
        let reason = match self.start().await {
            Ok(node) => {
                let node = Rc::new(node);
                self.node.replace(Some(node.clone()));
                self.trace.note(host_name(self.id), format!("node {} is up, life {}", self.id, self.lives.get()));
                let failed = loop {
                    tokio::select! {
                        reason = node.failed() => break Some(reason),
                        () = self.stop.notified() => break None,
                        () = self.hand_over.notified() => {}
                    }
                    let led = node.hosted().into_iter().find(|group| node.leader(*group) == Some(self.id));
                    let Some(group) = led else { continue };
                    let handed = tokio::select! {
                        reason = node.failed() => break Some(reason),
                        handed = node.hand_over(group) => handed,
                    };
                    let what = handed.map_or_else(|error| error, |()| "done".to_owned());
                    self.trace.note(host_name(self.id), format!("handing over {group}: {what}"));
                };
                self.node.borrow_mut().take();
                match failed {
                    // Nothing is flushed and nobody is answered any more: the log decides what was durable.
                    Some(reason) => reason,
                    None => {
                        let node = Rc::try_unwrap(node).ok().expect("checkers look at nodes between steps only");
                        match node.shutdown().await {
                            Ok(()) => "it was asked to stop".to_owned(),
                            Err(error) => format!("it was asked to stop: {error}"),
                        }
                    }
                }
            }
            Err(error) => format!("it cannot start: {error}"),
        };
        self.trace.note(host_name(self.id), format!("node {} ends: {reason}", self.id));
        self.ended.replace(Some(reason));
        // Its tasks are still there. The world takes the machine down.
        std::future::pending::<()>().await;
    }

    async fn start(&self) -> Result<Node, StartError> {
        self.lives.set(self.lives.get() + 1);
        match self.try_start().await {
            Err(StartError::Checkpoint(error)) => {
                // As the binary does: checkpoints come back from the log or from a peer.
                self.trace.note(host_name(self.id), format!("the checkpoints are put away: {error}"));
                self.store.wipe();
                self.try_start().await
            }
            other => other,
        }
    }

    async fn try_start(&self) -> Result<Node, StartError> {
        let owner = self.owner();
        if planted::is(Bug::ReuseNode) && self.lives.get() > 1 {
            lost_disk::lose(&self.disk, &self.store).await?;
            self.has_log.set(false);
        }
        if !self.has_log.get() {
            Wal::create(&self.disk, owner).await?;
            self.has_log.set(true);
        }
        let seams = NodeSeams {
            clock: Arc::new(self.clock.clone()),
            connector: Arc::new(SimConnector::new(self.trace.clone())),
            spawner: Arc::new(TaskSpawner),
            disk: Arc::new(self.disk.clone()),
            store: Arc::new(self.store.clone()),
            owner,
        };
        let incoming = net::listen(PORT, self.trace.clone()).await?;
        Node::start(self.config.clone(), seams, incoming).await
    }
}

fn config(id: NodeId, options: &Options) -> NodeConfig {
    let peers: BTreeMap<NodeId, String> = (1..=options.nodes).map(|node| (node, address(node))).collect();
    NodeConfig {
        timing: Timing {
            heartbeat: options.heartbeat,
            election_min: options.election.0,
            election_max: options.election.1,
        },
        wal: WalConfig {
            segment_len: options.segment_len,
            resident_bytes_max: options.resident_bytes,
            ballast_len: options.segment_len * 2,
            ..WalConfig::default()
        },
        checkpoint_interval: options.checkpoint_interval,
        checkpoint_bytes: options.checkpoint_bytes,
        snapshot_entries: options.snapshot_entries,
        ..NodeConfig::new(id, CLUSTER.0, peers, options.groups)
    }
}

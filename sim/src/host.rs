//! A simulated machine with a node on it: what survives a crash of the node, and how the node is run.

use crate::clock::SimClock;
use crate::dice::Dice;
use crate::disk::SimDisk;
use crate::faults::{Kind, Tally};
use crate::net::{self, SimConnector};
use crate::options::Options;
use crate::power::Power;
use crate::spawner::TaskSpawner;
use crate::store::SimStore;
use crate::trace::Trace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use vestibule_engine::planted::{self, Bug};
use vestibule_raft::node::{Node, NodeConfig, NodeSeams, StartError, Timing};
use vestibule_raft::types::NodeId;
use vestibule_raft::wal::{OpenError, Owner, Wal, WalConfig};

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

/// What has become of a machine's node for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not been started yet.
    Spare,
    /// It belongs to the cluster.
    Member,
    /// It lost its data, and is not to be let in again.
    Lost,
    /// It is being removed, or was.
    Retired,
}

/// How a node's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub reason: String,
    /// Whether it named something in its log that is not what was written.
    pub names_damage: bool,
}

/// A machine. It outlives the node that runs on it.
pub struct Machine {
    /// The node's number.
    pub id: NodeId,
    /// Under the disk and the checkpoints.
    pub power: Power,
    /// Under the log.
    pub disk: SimDisk,
    /// Under the checkpoints.
    pub store: SimStore,
    /// The time of day there.
    pub clock: SimClock,
    /// What has become of the node.
    pub standing: Cell<Standing>,
    /// Whether a bit of its log was flipped.
    pub is_rotten: Cell<bool>,
    /// Whether a bit of its manifest was flipped: it may refuse to start.
    pub has_rotten_manifest: Cell<bool>,
    /// Whether something that was durable was taken from it since the node last came up: a bit was flipped, or
    /// checkpoints were put away.
    pub is_marred: Cell<bool>,
    /// Whether the node came up on what was marred, and no power cut has shown since that nothing is missing.
    may_lack: Cell<bool>,
    /// The last life of the node that began on what was marred.
    marred_life: Cell<u64>,
    /// Since when the node has run on although an operation of its devices had failed.
    pub failed_since: Cell<Option<Duration>>,
    /// Whether the node was started again after it had been removed.
    pub has_returned: Cell<bool>,
    config: NodeConfig,
    incarnation: Cell<u128>,
    trace: Trace,
    tally: Tally,
    has_log: Cell<bool>,
    node: RefCell<Option<Rc<Node>>>,
    /// The same while it stops in good order.
    stopping: RefCell<Option<Rc<Node>>>,
    lives: Cell<u64>,
    stop: Notify,
    hand_over: Notify,
    /// How the node's process ended by itself.
    ended: RefCell<Option<Ended>>,
    /// What the node found damaged though nobody had damaged it.
    losses: RefCell<Vec<String>>,
}

impl Machine {
    /// A machine with empty disks.
    pub fn new(id: NodeId, options: &Options, trace: &Trace, tally: &Tally) -> Self {
        let mut dice = Dice::new(options.seed, &host_name(id));
        let power = Power::of_machine();
        let disk = SimDisk::of_machine(dice.number(), power.clone(), tally.clone());
        let store = SimStore::of_machine(dice.number(), power.clone(), tally.clone());
        let standing = if id <= options.nodes { Standing::Member } else { Standing::Spare };
        Self {
            id,
            power,
            disk,
            store,
            clock: SimClock::new(trace.clone()),
            standing: Cell::new(standing),
            is_rotten: Cell::new(false),
            has_rotten_manifest: Cell::new(false),
            is_marred: Cell::new(false),
            may_lack: Cell::new(false),
            marred_life: Cell::new(0),
            failed_since: Cell::new(None),
            has_returned: Cell::new(false),
            config: config(id, options),
            incarnation: Cell::new(dice.wide()),
            trace: trace.clone(),
            tally: tally.clone(),
            has_log: Cell::new(false),
            node: RefCell::default(),
            stopping: RefCell::default(),
            lives: Cell::new(0),
            stop: Notify::new(),
            hand_over: Notify::new(),
            ended: RefCell::default(),
            losses: RefCell::default(),
        }
    }

    /// The node, if it runs.
    pub fn node(&self) -> Option<Rc<Node>> {
        self.node.borrow().clone()
    }

    /// The node, also while it stops: it goes on until what it leads is handed over.
    pub fn node_or_stopping(&self) -> Option<Rc<Node>> {
        self.node().or_else(|| self.stopping.borrow().clone())
    }

    /// How many times the node was started.
    pub fn lives(&self) -> u64 {
        self.lives.get()
    }

    /// Whose its files are.
    pub fn owner(&self) -> Owner {
        Owner { cluster: CLUSTER.1, node: self.id, incarnation: self.incarnation.get() }
    }

    /// How the node's process has ended, if it has; told once.
    pub fn take_ended(&self) -> Option<Ended> {
        self.ended.borrow_mut().take()
    }

    /// Whether there is anything on its disks to look through.
    pub fn has_data(&self) -> bool {
        self.has_log.get() && self.standing.get() != Standing::Lost
    }

    /// Takes in what a look through its disks found after a power cut; gives what nobody did.
    pub fn judge_look(&self, found: Result<(), String>) -> Result<(), String> {
        let may_lack = self.is_marred.get() || self.may_lack.get();
        if found.is_ok() {
            self.may_lack.set(false);
        }
        if may_lack { Ok(()) } else { found }
    }

    /// What the node found damaged though nobody had damaged it; told once.
    pub fn take_losses(&self) -> Vec<String> {
        let remade = self.node().map_or(0, |node| node.checkpoints_remade());
        let mut losses = self.losses.take();
        // The life that finds the damage makes the checkpoint again, and no later one.
        if remade > 0 && self.marred_life.replace(self.lives.get()) != self.lives.get() {
            losses.push(format!("node {} makes a checkpoint again that nobody damaged", self.id));
        }
        losses
    }

    /// Asks the node to stop in good order.
    pub fn ask_to_stop(&self) {
        self.stop.notify_one();
    }

    /// Asks the node to hand over one of the groups that it leads.
    pub fn ask_to_hand_over(&self) {
        self.hand_over.notify_one();
    }

    /// Somebody has put empty disks in. The node that is made on them is another one, under the same number.
    pub fn lose_data(&self) {
        self.disk.wipe();
        self.store.wipe();
        self.has_log.set(false);
        self.incarnation.set(self.incarnation.get() ^ 1);
    }

    /// The process is gone, with all that it had in memory. Call this before its machine is crashed.
    pub fn forget_node(&self) {
        self.node.borrow_mut().take();
        self.stopping.borrow_mut().take();
        self.ended.borrow_mut().take();
    }

    /// Runs the node, as the binary does, until it cannot go on or is asked to stop.
    pub async fn run(&self) {
        self.power.forget_failure();
        let ended = match self.start().await {
            Ok(node) => {
                let node = Rc::new(node);
                self.note_up();
                self.node.replace(Some(node.clone()));
                self.trace.note(host_name(self.id), format!("node {} is up, life {}", self.id, self.lives.get()));
                let failed = self.serve(&node).await;
                self.node.borrow_mut().take();
                let reason = match failed {
                    // Nothing is flushed and nobody is answered any more: the log decides what was durable.
                    Some(reason) => reason,
                    None => {
                        self.stopping.replace(Some(node.clone()));
                        let stopped = node.shutdown().await;
                        self.stopping.borrow_mut().take();
                        self.tally.happened(Kind::Stop);
                        match stopped {
                            Ok(()) => "it was asked to stop".to_owned(),
                            Err(error) => format!("it was asked to stop: {error}"),
                        }
                    }
                };
                Ended { reason, names_damage: false }
            }
            Err(error) => {
                let names_damage = matches!(&error, StartError::Log(log) if !matches!(log, OpenError::Io(_)));
                Ended { reason: format!("it cannot start: {error}"), names_damage }
            }
        };
        self.trace.note(host_name(self.id), format!("node {} ends: {}", self.id, ended.reason));
        self.ended.replace(Some(ended));
        // Its tasks are still there. The world takes the machine down.
        std::future::pending::<()>().await;
    }

    /// The node has read all that it has, and put right or put away what was damaged.
    fn note_up(&self) {
        if self.is_marred.replace(false) {
            self.may_lack.set(true);
            self.marred_life.set(self.lives.get());
        }
    }

    /// Waits until the node fails, and says why, or is asked to stop.
    async fn serve(&self, node: &Node) -> Option<String> {
        loop {
            tokio::select! {
                reason = node.failed() => return Some(reason),
                () = self.stop.notified() => return None,
                () = self.hand_over.notified() => {}
            }
            let led = node.hosted().into_iter().find(|group| node.leader(*group) == Some(self.id));
            let Some(group) = led else { continue };
            let handed = tokio::select! {
                reason = node.failed() => return Some(reason),
                handed = node.hand_over(group) => handed,
            };
            if handed.is_ok() {
                self.tally.happened(Kind::Transfer);
            }
            let what = handed.map_or_else(|error| error, |()| "done".to_owned());
            self.trace.note(host_name(self.id), format!("handing over {group}: {what}"));
        }
    }

    async fn start(&self) -> Result<Node, StartError> {
        self.lives.set(self.lives.get() + 1);
        match self.try_start().await {
            Err(StartError::Checkpoint(error)) => {
                // As the binary does: checkpoints come back from the log or from a peer.
                self.trace.note(host_name(self.id), format!("the checkpoints are put away: {error}"));
                if !self.is_marred.replace(true) {
                    let what = format!("node {} finds checkpoints damaged that nobody damaged: {error}", self.id);
                    self.losses.borrow_mut().push(what);
                }
                self.store.wipe();
                self.try_start().await
            }
            other => other,
        }
    }

    async fn try_start(&self) -> Result<Node, StartError> {
        if planted::is(Bug::ReuseNode) && self.lives.get() > 1 {
            // Empty disks, and the same node on them: what it had promised is forgotten.
            self.disk.wipe();
            self.store.wipe();
            self.has_log.set(false);
        }
        let owner = self.owner();
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
    let founders: BTreeMap<NodeId, String> = (1..=options.nodes).map(|node| (node, address(node))).collect();
    let config = if id <= options.nodes {
        NodeConfig::new(id, CLUSTER.0, founders, options.groups)
    } else {
        // Some join by themselves, others wait to be added.
        let join = if options.spares_join { founders.into_values().collect() } else { Vec::new() };
        NodeConfig::joining(id, CLUSTER.0, address(id), join)
    };
    NodeConfig {
        timing: Timing {
            heartbeat: options.heartbeat,
            election_min: options.election.0,
            election_max: options.election.1,
        },
        wal: WalConfig {
            segment_len: options.segment_len,
            resident_bytes_max: options.resident_bytes,
            queue_bytes_max: options.tuning.queue_bytes_max,
            frame_bytes_max: options.tuning.frame_bytes_max,
            ballast_len: options.segment_len * 2,
        },
        proposals: options.tuning.proposals,
        snapshot_bytes_per_second: options.tuning.snapshot_bytes_per_second,
        checkpoint_page_bytes: options.tuning.checkpoint_page_bytes,
        segments_max: options.tuning.segments_max,
        showtime_patience: options.tuning.showtime_patience,
        checkpoint_interval: options.checkpoint_interval,
        checkpoint_bytes: options.checkpoint_bytes,
        snapshot_entries: options.snapshot_entries,
        ..config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_excused_until_nothing_is() {
        let machine = Machine::new(1, &Options::of(3), &Trace::default(), &Tally::default());
        let missing = || Err("something is missing".to_owned());
        machine.judge_look(missing()).expect_err("nobody took anything");
        machine.is_marred.set(true);
        machine.judge_look(missing()).expect("a bit was flipped");
        machine.note_up();
        assert!(!machine.is_marred.get(), "the node has seen it");
        machine.judge_look(missing()).expect("a peer's checkpoint may be on its way");
        machine.judge_look(Ok(())).expect("nothing is missing");
        machine.judge_look(missing()).expect_err("nothing was");
        machine.note_up();
        machine.judge_look(missing()).expect_err("nobody took anything since");
    }
}

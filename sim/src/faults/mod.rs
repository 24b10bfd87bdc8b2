//! What goes wrong: which kinds of faults there are, when they come, and when they pass.
//!
//! To add one, add a [`Kind`], its name and weight in [`KINDS`], and an arm in `strike`.

mod strike;
mod tally;

pub use tally::Tally;

use crate::dice::Dice;
use crate::host::host_name;
use crate::plant::Plant;
use crate::power::{EDGES, Edge};
use crate::trace::Trace;
use std::fmt;
use std::time::Duration;
use strike::Heal;
use vestibule_raft::types::NodeId;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A node is asked to stop, as in a rolling restart.
    Stop,
    /// A node's process is killed between two steps.
    Kill,
    /// A node's process is killed in the middle of what it writes.
    KillInWrite,
    /// A node's machine loses power between two steps.
    PowerCut,
    /// A node's machine loses power in the middle of what it writes.
    PowerCutInWrite,
    /// All nodes lose power at once.
    Blackout,
    /// A node is gone for so long that it needs a snapshot.
    LongOutage,
    /// Nothing gets through between two machines, or between one and all others.
    Partition,
    /// The same in one direction only.
    PartitionOneWay,
    /// Some packets are lost.
    Loss,
    /// Packets are late.
    Delay,
    /// A machine hangs: what it sends and what it is sent waits.
    Stall,
    /// A clock is some milliseconds off.
    ClockSkew,
    /// A clock jumps far away.
    ClockJump,
    /// A sync fails.
    SyncError,
    /// A write to the log fails.
    WriteError,
    /// A read of the log fails.
    ReadError,
    /// A sync of names fails.
    DirectorySyncError,
    /// A file cannot be made.
    CreateError,
    /// Giving a file its name, or doing away with one, fails.
    NameError,
    /// The store of the checkpoints fails, where it is written to or read from.
    CheckpointError,
    /// Syncs take long.
    SlowSync,
    /// Syncs take longer than an election.
    StalledSync,
    /// Writes and reads take long.
    SlowDisk,
    /// The disk is full.
    DiskFull,
    /// A bit of a stopped node's checkpoint flips.
    CheckpointRot,
    /// A bit of a stopped node's log flips. It refuses to start, and another takes its place.
    LogRot,
    /// A bit of a stopped node's manifest flips. The other of its two slots will do, or the node refuses to start and another takes
    /// its place.
    ManifestRot,
    /// A node's disks are lost. Started on empty ones it is refused, and another takes its place.
    DiskLoss,
    /// A leader hands over.
    Transfer,
    /// The operator has another node lead.
    AdminTransfer,
    /// A node is added.
    AddNode,
    /// A node is removed, after another was added if there were too few.
    RemoveNode,
    /// A node is drained, and made active again.
    Drain,
    /// The groups are spread evenly.
    Rebalance,
    /// Every node is stopped and started in turn, the next when the last has caught up.
    RollingRestart,
    /// Far more is asked of a group than it takes.
    Overload,
    /// A gateway dies.
    GatewayDeath,
    /// A gateway is stopped as a signal does, and started again: requests under way end first.
    GatewayStop,
    /// Some send a gateway their requests a byte at a time, or do not read its answers.
    SlowClients,
    /// A gateway is asked more at once than it has room for.
    GatewayRush,
}

/// Every kind, its name, and how often it comes where it comes at all.
pub const KINDS: &[(Kind, &str, u64)] = &[
    (Kind::Stop, "stop", 4),
    (Kind::Kill, "kill", 8),
    (Kind::KillInWrite, "kill-in-write", 8),
    (Kind::PowerCut, "power-cut", 8),
    (Kind::PowerCutInWrite, "power-cut-in-write", 10),
    (Kind::Blackout, "blackout", 2),
    (Kind::LongOutage, "long-outage", 3),
    (Kind::Partition, "partition", 6),
    (Kind::PartitionOneWay, "partition-one-way", 6),
    (Kind::Loss, "loss", 4),
    (Kind::Delay, "delay", 4),
    (Kind::Stall, "stall", 4),
    (Kind::ClockSkew, "clock-skew", 3),
    (Kind::ClockJump, "clock-jump", 2),
    (Kind::SyncError, "sync-error", 4),
    (Kind::WriteError, "write-error", 3),
    (Kind::ReadError, "read-error", 3),
    (Kind::DirectorySyncError, "directory-sync-error", 2),
    (Kind::CreateError, "create-error", 2),
    (Kind::NameError, "name-error", 2),
    (Kind::CheckpointError, "checkpoint-error", 3),
    (Kind::SlowSync, "slow-sync", 4),
    (Kind::StalledSync, "stalled-sync", 2),
    (Kind::SlowDisk, "slow-disk", 3),
    (Kind::DiskFull, "disk-full", 3),
    (Kind::CheckpointRot, "checkpoint-rot", 3),
    (Kind::LogRot, "log-rot", 1),
    (Kind::ManifestRot, "manifest-rot", 1),
    (Kind::DiskLoss, "disk-loss", 1),
    (Kind::Transfer, "transfer", 6),
    (Kind::AdminTransfer, "admin-transfer", 3),
    (Kind::AddNode, "add-node", 1),
    (Kind::RemoveNode, "remove-node", 1),
    (Kind::Drain, "drain", 2),
    (Kind::Rebalance, "rebalance", 2),
    (Kind::RollingRestart, "rolling-restart", 1),
    (Kind::Overload, "overload", 2),
    (Kind::GatewayDeath, "gateway-death", 2),
    (Kind::GatewayStop, "gateway-stop", 2),
    (Kind::SlowClients, "slow-clients", 3),
    (Kind::GatewayRush, "gateway-rush", 2),
];

/// How long something may take to end at the edge that a run is about. It is not void without: that edge may not be passed.
const EDGE_MAX: Duration = Duration::from_secs(40);
/// How long a kind that was to come may take to come, before it is tried again.
const COMING_PATIENCE: Duration = Duration::from_secs(3);

/// How often a rolling restart looks whether a node has caught up.
const ROLL_INTERVAL: Duration = Duration::from_millis(50);

impl Kind {
    /// Whether a machine that was not in use has to be there for it.
    pub fn takes_spare(self) -> bool {
        matches!(self, Self::LogRot | Self::ManifestRot | Self::DiskLoss | Self::AddNode | Self::RemoveNode)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(kind, ..)| kind == self).map_or("?", |(_, name, _)| name);
        f.write_str(name)
    }
}

/// Which kinds come in a run, and how often.
#[derive(Debug, Clone, Default)]
pub struct Mix {
    /// The kinds with their weights.
    pub weights: Vec<(Kind, u64)>,
    /// The most time from one fault to the next.
    pub gap_max: Duration,
    /// What comes at which time, beside that; to a certain node or to any.
    pub script: Vec<(Duration, Kind, Option<NodeId>)>,
    /// The edge at which nodes and machines mostly end, where they end in the middle of what they write.
    pub edge: Option<Edge>,
}

/// Every so many seeds one is about a certain edge, so that many seeds in a row are about each.
pub const EDGE_EVERY: u64 = 2;

/// Faults that lead past an edge which is rare without them.
fn leads_past(edge: Edge) -> &'static [Kind] {
    match edge {
        Edge::TruncateWrite => &[Kind::Partition, Kind::PartitionOneWay, Kind::Stall, Kind::Transfer],
        Edge::SlotClear
        | Edge::SnapshotPage
        | Edge::SnapshotFlush
        | Edge::SnapshotMeta
        | Edge::SnapshotSwap
        | Edge::SwapFlush => &[Kind::CheckpointRot, Kind::LongOutage],
        Edge::FileRemove | Edge::StoreAnew => &[Kind::DiskFull],
        _ => &[],
    }
}

impl Mix {
    /// Some of all kinds; in a few runs none.
    pub fn draw(dice: &mut Dice) -> Self {
        let share = *dice.weighted(&[(0, 1), (10, 4), (25, 4), (60, 1)]);
        let weights = KINDS.iter().filter(|_| dice.percent(share)).map(|(kind, _, weight)| (*kind, *weight)).collect();
        Self { weights, gap_max: dice.millis(400..=3_000), script: Vec::new(), edge: None }
    }

    /// Makes the run be about an edge if it is one of those that are.
    pub fn draw_edge(&mut self, seed: u64) {
        if !seed.is_multiple_of(EDGE_EVERY) {
            return;
        }
        let turn = usize::try_from(seed / EDGE_EVERY).unwrap_or_default() % EDGES.len();
        let edge = EDGES[turn].0;
        self.edge = Some(edge);
        self.gap_max = self.gap_max.min(Duration::from_millis(1_500));
        for kind in [Kind::KillInWrite, Kind::PowerCutInWrite].iter().chain(leads_past(edge)) {
            self.weights.retain(|(known, _)| known != kind);
            self.weights.push((*kind, 12));
        }
    }

    /// Every kind that comes.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.weights.iter().map(|(kind, _)| *kind).chain(self.script.iter().map(|(_, kind, _)| *kind))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weights.is_empty() {
            true => f.write_str("none at random")?,
            false => write!(f, "up to {:?} apart:", self.gap_max)?,
        }
        self.weights.iter().try_for_each(|(kind, weight)| write!(f, " {kind}×{weight}"))?;
        if let Some(edge) = self.edge {
            write!(f, "; mostly at {edge}")?;
        }
        for (at, kind, node) in &self.script {
            write!(f, "; at {at:?} {kind}")?;
            if let Some(node) = node {
                write!(f, " of {}", host_name(*node))?;
            }
        }
        Ok(())
    }
}

/// A rolling restart on its way.
#[derive(Debug)]
struct Rolling {
    /// Whose turn comes yet, the next last.
    left: Vec<NodeId>,
    /// Whose turn it is, and in which life it was asked to stop, once it was.
    turn: Option<(NodeId, Option<u64>)>,
}

/// The faults of a run.
pub struct Faults {
    mix: Mix,
    /// How long faults go on before only those come that have not come yet.
    chaos: Duration,
    dice: Dice,
    trace: Trace,
    begun: Option<Duration>,
    next: Duration,
    next_roll: Duration,
    /// All kinds of the mix in the order in which they come first, and when each was last tried.
    tried: Vec<(Kind, Option<Duration>)>,
    /// What passes, and when.
    pending: Vec<(Duration, Heal)>,
    rolling: Option<Rolling>,
}

impl Faults {
    /// None yet.
    pub fn new(mix: Mix, chaos: Duration, mut dice: Dice, trace: Trace) -> Self {
        let mut left: Vec<Kind> = mix.weights.iter().map(|(kind, _)| *kind).collect();
        let mut tried = Vec::new();
        while !left.is_empty() {
            tried.push((left.swap_remove(dice.index(left.len())), None));
        }
        let (begun, next, pending, rolling) = (None, Duration::ZERO, Vec::new(), None);
        let next_roll = next;
        Self { mix, chaos, dice, trace, begun, next, next_roll, tried, pending, rolling }
    }

    /// Whether every kind of the mix has really happened at least once, and all that was to.
    pub fn are_complete(&self, plant: &Plant) -> bool {
        self.missing(plant).is_empty() && self.mix.script.is_empty() && self.rolling.is_none()
    }

    /// Whether the run is about an edge at which nothing has ended yet, and still waits for that.
    pub fn misses_edge(&self, plant: &Plant) -> bool {
        let waits = self.begun.is_none_or(|begun| plant.elapsed() < begun + EDGE_MAX);
        waits && self.mix.edge.is_some_and(|edge| !plant.edges().contains_key(&edge))
    }

    /// The kinds of the mix that have not happened.
    pub fn missing(&self, plant: &Plant) -> Vec<Kind> {
        self.mix.kinds().filter(|kind| plant.tally.of(*kind) == 0).collect()
    }

    /// Lets pass what is due to, and strikes if it is time.
    pub fn act(&mut self, plant: &mut Plant) {
        let now = plant.elapsed();
        let begun = *self.begun.get_or_insert(now);
        self.heal(plant, |due| due <= now);
        if now >= self.next_roll {
            self.next_roll = now + ROLL_INTERVAL;
            self.roll(plant);
        }
        if let Some((at, kind, node)) = self.mix.script.first().copied()
            && now >= begun + at
            && self.strike(kind, node, plant)
        {
            self.mix.script.remove(0);
        }
        if self.mix.weights.is_empty() || now < self.next {
            return;
        }
        let gap_max = u64::try_from(self.mix.gap_max.as_millis()).unwrap_or(u64::MAX);
        self.next = now + self.dice.millis(1..=gap_max);
        let misses_edge = self.misses_edge(plant);
        // First each kind once, then as the weights say.
        let is_wanted = |(kind, tried): &&mut (Kind, Option<Duration>)| {
            plant.tally.of(*kind) == 0 && tried.is_none_or(|tried| now >= tried + COMING_PATIENCE)
        };
        let first = self.tried.iter_mut().filter(is_wanted).min_by_key(|(_, tried)| *tried);
        let kind = match first {
            Some((kind, tried)) => {
                *tried = Some(now);
                *kind
            }
            None if now >= begun + self.chaos && !misses_edge => return,
            None => *self.dice.weighted(&self.mix.weights),
        };
        self.strike(kind, None, plant);
    }

    /// Goes on with a rolling restart.
    fn roll(&mut self, plant: &mut Plant) {
        let Some(rolling) = &mut self.rolling else { return };
        match &mut rolling.turn {
            Some((node, asked)) => {
                let machine = &plant.machines[node];
                let is_done = asked.is_some_and(|life| machine.lives() > life) && plant.has_caught_up(*node);
                if is_done || !plant.members().contains(node) {
                    rolling.turn = None;
                } else if asked.is_none() && machine.node().is_some() {
                    self.trace.note("world", format!("FAULT rolling-restart: the turn of {}", host_name(*node)));
                    *asked = Some(machine.lives());
                    machine.ask_to_stop();
                }
            }
            None => match rolling.left.pop() {
                Some(node) => rolling.turn = Some((node, None)),
                None => {
                    self.rolling = None;
                    plant.tally.happened(Kind::RollingRestart);
                }
            },
        }
    }

    /// Nodes that are down start again a little later.
    pub fn note_ended(&mut self, nodes: &[NodeId], now: Duration) {
        for node in nodes {
            let due = now + self.dice.millis(20..=2_000);
            self.pending.push((due, Heal::Boot(*node)));
        }
    }

    /// Everything passes, now.
    pub fn end(&mut self, plant: &mut Plant) {
        self.heal(plant, |_| true);
        plant.mend_all();
    }

    /// Starts nodes that are due to, and strikes no more.
    pub fn mend(&mut self, plant: &mut Plant) {
        let now = plant.elapsed();
        self.heal(plant, |due| due <= now);
    }

    fn heal(&mut self, plant: &mut Plant, is_due: impl Fn(Duration) -> bool) {
        for number in plant.take_stopped_gateways() {
            self.later(100..=2_000, Heal::BootGateway(number), plant);
        }
        let (due, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(at, _)| is_due(*at));
        self.pending = pending;
        let due: Vec<(Duration, Heal)> = due;
        due.into_iter().for_each(|(_, heal)| heal.apply(plant));
    }
}

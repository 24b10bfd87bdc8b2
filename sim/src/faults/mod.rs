//! What goes wrong: which kinds of faults there are, when they come, and when they pass.
//!
//! To add one, add a [`Kind`], its name and weight in [`KINDS`], and an arm in `strike`.

mod strike;

use crate::dice::Dice;
use crate::plant::Plant;
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use strike::Heal;
use vestibule_raft::types::NodeId;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A node is asked to stop, as in a rolling restart.
    Stop,
    /// A node's process is killed.
    Kill,
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
    /// Syncs take long.
    SlowSync,
    /// The disk is full.
    DiskFull,
    /// A bit of a stopped node's checkpoint flips.
    CheckpointRot,
    /// A leader hands over.
    Transfer,
    /// A gateway dies.
    GatewayDeath,
    /// Some send a gateway their requests a byte at a time, or do not read its answers.
    SlowClients,
    /// A gateway is asked more at once than it has room for.
    Overload,
}

/// Every kind, its name, and how often it comes where it comes at all.
pub const KINDS: [(Kind, &str, u64); 21] = [
    (Kind::Stop, "stop", 4),
    (Kind::Kill, "kill", 8),
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
    (Kind::SlowSync, "slow-sync", 4),
    (Kind::DiskFull, "disk-full", 3),
    (Kind::CheckpointRot, "checkpoint-rot", 3),
    (Kind::Transfer, "transfer", 6),
    (Kind::GatewayDeath, "gateway-death", 2),
    (Kind::SlowClients, "slow-clients", 3),
    (Kind::Overload, "overload", 2),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(kind, ..)| kind == self).map_or("?", |(_, name, _)| name);
        f.write_str(name)
    }
}

/// Which kinds come in a run, and how often.
#[derive(Debug, Clone)]
pub struct Mix {
    /// The kinds with their weights.
    pub weights: Vec<(Kind, u64)>,
    /// The most time from one fault to the next.
    pub gap_max: Duration,
}

impl Mix {
    /// Some of all kinds; in a few runs none.
    pub fn draw(dice: &mut Dice) -> Self {
        let share = *dice.weighted(&[(0, 1), (15, 4), (35, 4), (70, 1)]);
        let weights = KINDS.iter().filter(|_| dice.percent(share)).map(|(kind, _, weight)| (*kind, *weight)).collect();
        Self { weights, gap_max: dice.millis(400..=3_000) }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weights.is_empty() {
            return f.write_str("none");
        }
        write!(f, "up to {:?} apart:", self.gap_max)?;
        self.weights.iter().try_for_each(|(kind, weight)| write!(f, " {kind}×{weight}"))
    }
}

/// The faults of a run.
pub struct Faults {
    mix: Mix,
    dice: Dice,
    trace: Trace,
    next: Duration,
    /// Kinds that have not come yet.
    wanted: Vec<Kind>,
    /// What passes, and when.
    pending: Vec<(Duration, Heal)>,
    /// How many of each kind there were.
    pub counts: BTreeMap<Kind, u64>,
}

impl Faults {
    /// None yet.
    pub fn new(mix: Mix, mut dice: Dice, trace: Trace) -> Self {
        let mut left: Vec<Kind> = mix.weights.iter().map(|(kind, _)| *kind).collect();
        let mut wanted = Vec::new();
        while !left.is_empty() {
            wanted.push(left.swap_remove(dice.index(left.len())));
        }
        Self { mix, dice, trace, next: Duration::ZERO, wanted, pending: Vec::new(), counts: BTreeMap::new() }
    }

    /// Whether every kind of the mix has come at least once.
    pub fn are_complete(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Lets pass what is due to, and strikes if it is time.
    pub fn act(&mut self, plant: &mut Plant) {
        let now = plant.elapsed();
        self.heal(plant, |due| due <= now);
        if self.mix.weights.is_empty() || now < self.next {
            return;
        }
        let gap_max = u64::try_from(self.mix.gap_max.as_millis()).unwrap_or(u64::MAX);
        self.next = now + self.dice.millis(1..=gap_max);
        // First each kind once, then as the weights say.
        let first = self.wanted.last().copied();
        let kind = first.unwrap_or_else(|| *self.dice.weighted(&self.mix.weights));
        if self.strike(kind, plant) {
            *self.counts.entry(kind).or_default() += 1;
            if first.is_some() {
                self.wanted.pop();
            }
        }
    }

    /// Nodes whose processes ended by themselves start again a little later.
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
        let (due, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(at, _)| is_due(*at));
        self.pending = pending;
        let due: Vec<(Duration, Heal)> = due;
        due.into_iter().for_each(|(_, heal)| heal.apply(plant));
    }
}

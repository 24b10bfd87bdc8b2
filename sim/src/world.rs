//! A whole run: the cluster, its clients, and everything that happens to them.
//!
//! ```text
//!   opening ──▶ selling, with faults ──▶ closing, without ──▶ still: replicas are equal
//!       every step of the simulation: machines run, checkers look
//! ```

use crate::checkers::replica::Running;
use crate::checkers::{self, AppliedEntry, Look, NodeLook, Panel, StateDigest, Violation};
use crate::dice::Dice;
use crate::faults::{Faults, Kind};
use crate::history::{Answer, Happening, History};
use crate::options::Options;
use crate::plant::Plant;
use crate::trace::{Trace, hexadecimal};
use crate::workload::{Shop, Stage};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::time::Duration;
use vestibule_engine::GroupId;
use vestibule_raft::node::Node;
use vestibule_raft::types::{NodeId, to_position};

/// How long the cluster may take to form and to put everything on sale.
const OPENING_MAX: Duration = Duration::from_secs(60);
/// How long each kind of fault may take to come once.
const CHAOS_MAX: Duration = Duration::from_secs(120);
/// How few answered calls make a run void.
const OPERATIONS_MIN: u64 = 40;

/// Why a run failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// An invariant does not hold.
    #[error("violation: {0}")]
    Violation(#[from] Violation),
    /// Something that has to come true did not.
    #[error("not in time: {0}")]
    TooLate(String),
    /// The code under test fell over.
    #[error("panic: {0}")]
    Panic(String),
    /// It shows nothing.
    #[error("void: {0}")]
    Void(String),
}

/// What a run came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Simulated time.
    pub elapsed: Duration,
    /// For each group the last index applied, and the state there.
    pub states: BTreeMap<GroupId, (u64, String)>,
    /// Calls of clients that got a reply, by command.
    pub operations: BTreeMap<String, u64>,
    /// Calls that ended without one.
    pub unanswered: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<Kind, u64>,
}

/// Plays a run.
pub struct World {
    options: Options,
    trace: Trace,
    plant: Plant,
    faults: Faults,
    shop: Shop,
    checkers: Panel,
    /// For each node its life, and for each group the index, plus one, up to which its log was looked at.
    looked: BTreeMap<NodeId, (u64, BTreeMap<GroupId, u64>)>,
    happenings: usize,
    summary: Summary,
}

impl World {
    /// Sets everything up; nothing has happened yet.
    pub fn new(options: Options, trace: Trace) -> Self {
        let mut dice = Dice::new(options.seed, "world");
        let shop = Shop::new(History::new(trace.clone()));
        let plant = Plant::new(&options, &trace, &shop, dice.number());
        let faults = Faults::new(options.faults.clone(), Dice::new(options.seed, "faults"), trace.clone());
        Self {
            options,
            trace,
            plant,
            faults,
            shop,
            checkers: checkers::all(),
            looked: BTreeMap::new(),
            happenings: 0,
            summary: Summary::default(),
        }
    }

    /// Plays the run to its end.
    pub fn run(mut self) -> Result<Summary, Failure> {
        self.trace.note("world", "everything starts");
        self.run_until("everything is on sale", OPENING_MAX, |world| world.shop.house().is_some())?;
        self.trace.note("world", "everything is on sale");
        self.shop.set_stage(Stage::Selling);
        let (start, chaos) = (self.plant.elapsed(), self.options.chaos);
        while self.plant.elapsed() < start + chaos
            || (!self.faults.are_complete() || self.operations() < OPERATIONS_MIN)
                && self.plant.elapsed() < start + CHAOS_MAX
        {
            self.faults.act(&mut self.plant);
            self.step()?;
        }
        self.trace.note("world", "no more faults");
        self.faults.end(&mut self.plant);
        self.shop.set_stage(Stage::Closing);
        let patience = self.options.calm_max;
        self.run_until("every group serves, and buyers make an end", patience, |world| {
            world.plant.gateways.iter().all(|gateway| !gateway.is_busy())
        })?;
        self.run_until("all replicas are equal", patience, Self::is_still)?;
        let mut last = self.look();
        checkers::observe(&mut self.checkers, &mut last)?;
        checkers::finish(&mut self.checkers, &last)?;
        self.summary.elapsed = self.plant.elapsed();
        self.summary.faults = self.faults.counts.clone();
        let operations = self.operations();
        if operations < OPERATIONS_MIN {
            return Err(Failure::Void(format!("only {operations} calls were answered")));
        }
        if !self.faults.are_complete() {
            return Err(Failure::Void("some kind of fault never came".to_owned()));
        }
        self.trace.note("world", "the end");
        Ok(self.summary)
    }

    /// Calls that were answered so far.
    fn operations(&self) -> u64 {
        self.summary.operations.values().sum()
    }

    fn run_until(&mut self, what: &str, patience: Duration, is_so: impl Fn(&mut Self) -> bool) -> Result<(), Failure> {
        let deadline = self.plant.elapsed() + patience;
        while !is_so(self) {
            if self.plant.elapsed() >= deadline {
                return Err(Failure::TooLate(format!("{what} (waited {patience:?})")));
            }
            self.faults.mend(&mut self.plant);
            self.step()?;
        }
        Ok(())
    }

    /// A step of the simulation, and a look at what it led to.
    fn step(&mut self) -> Result<(), Failure> {
        let ended = self.plant.step().map_err(Failure::Panic)?;
        self.faults.note_ended(&ended, self.plant.elapsed());
        let mut look = self.look();
        look.happenings.iter().for_each(|happening| self.count(happening));
        checkers::observe(&mut self.checkers, &mut look)?;
        Ok(())
    }

    fn count(&mut self, happening: &Happening) {
        let Happening::Answered { call, answer, .. } = happening else { return };
        match answer {
            Answer::Reply(..) | Answer::Read(..) => *self.summary.operations.entry(call.ask.name()).or_default() += 1,
            Answer::Unknown | Answer::NotDone(_) => self.summary.unanswered += 1,
        }
    }

    fn look(&mut self) -> Look {
        let mut look = Look { at: self.plant.elapsed(), ..Look::default() };
        for (&id, machine) in &self.plant.machines {
            let Some(node) = machine.node() else { continue };
            let life = machine.lives();
            let (seen_life, seen) = self.looked.entry(id).or_default();
            if *seen_life != life {
                (*seen_life, *seen) = (life, BTreeMap::new());
            }
            let mut now = NodeLook { life, ..NodeLook::default() };
            for group in node.hosted() {
                let Some(view) = node.view(group) else { continue };
                let applied = view.applied.map_or(0, |applied| applied.index + 1);
                let from = seen.insert(group, applied).unwrap_or(0);
                if applied > from {
                    look_at_log(&node, id, group, from, applied, &mut look);
                }
                now.last.extend(node.log(group).last().map(|last| (group, last)));
                now.groups.insert(group, view);
                look.replicas.extend(Running::of(&node, group).map(|replica| ((id, group), replica)));
            }
            look.nodes.insert(id, now);
        }
        look.happenings = self.shop.history.since(self.happenings);
        self.happenings += look.happenings.len();
        look
    }

    /// Whether all nodes run and all replicas of a group stand at the same entry. Notes the states if so.
    fn is_still(&mut self) -> bool {
        let mut states: BTreeMap<GroupId, (u64, String)> = BTreeMap::new();
        for machine in self.plant.machines.values() {
            let Some(node) = machine.node() else { return false };
            for group in node.hosted() {
                let Some(state) = node.state(group) else { return false };
                let (Some(applied), digest) = state.digest() else { return false };
                if node.view(group).and_then(|view| view.committed).is_none_or(|at| at.index != applied.index) {
                    return false;
                }
                let here = (applied.index, hexadecimal(&digest));
                if *states.entry(group).or_insert_with(|| here.clone()) != here {
                    return false;
                }
            }
        }
        if states.len() != self.options.groups as usize + 1 {
            return false;
        }
        for (group, (index, digest)) in &states {
            self.trace.note("world", format!("{group} is at entry {index} everywhere, state {digest}"));
        }
        self.summary.states = states;
        true
    }
}

/// Reads what a node has newly applied. What was purged meanwhile came in a snapshot, and others had it.
fn look_at_log(node: &Node, id: NodeId, group: GroupId, from: u64, to: u64, look: &mut Look) {
    let read = node.log(group).read_here(from, to, usize::MAX).now_or_never();
    let entries = read.expect("reading from a simulated disk never waits").unwrap_or_default();
    look.applied.extend(entries.into_iter().map(|(position, body)| AppliedEntry { node: id, group, position, body }));
    if let Some((Some(applied), digest)) = node.state(group).map(|state| state.digest()) {
        look.digests.push(StateDigest { node: id, group, applied: to_position(&applied), digest });
    }
}

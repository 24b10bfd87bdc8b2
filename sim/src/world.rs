//! A whole run: the cluster, its clients, and everything that happens to them.
//!
//! ```text
//!   opening ──▶ selling, with faults ──▶ closing, without ──▶ still: replicas are equal
//!       every step of the simulation: hosts run, checkers look
//! ```

use crate::checkers::replica::Running;
use crate::checkers::{self, AppliedEntry, Look, NodeLook, Panel, StateDigest, Violation};
use crate::dice::Dice;
use crate::history::History;
use crate::host::{Machine, address, host_name};
use crate::net::SimConnector;
use crate::options::Options;
use crate::trace::{self, Trace, hexadecimal};
use crate::workload::{Client, Shop, Stage, buy, open_house};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use vestibule_engine::{GroupId, UserId};
use vestibule_raft::cluster::GrpcCluster;
use vestibule_raft::node::Node;
use vestibule_raft::types::{NodeId, to_position};

/// How long the cluster may take to form and to put everything on sale.
const OPENING_MAX: Duration = Duration::from_secs(60);
/// How long buyers may take to make an end.
const CLOSING_MAX: Duration = Duration::from_secs(60);

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
}

/// Plays a run.
pub struct World {
    options: Options,
    trace: Trace,
    sim: turmoil::Sim<'static>,
    machines: BTreeMap<NodeId, Rc<Machine>>,
    shop: Shop,
    checkers: Panel,
    /// For each node its life and for each group the index, plus one, up to which its log was looked at.
    looked: BTreeMap<NodeId, (u64, BTreeMap<GroupId, u64>)>,
    happenings: usize,
    /// Buyers that have not made an end.
    busy: Rc<std::cell::Cell<usize>>,
    summary: Summary,
}

impl World {
    /// Sets everything up; nothing has happened yet.
    pub fn new(options: Options, trace: Trace) -> Self {
        let mut dice = Dice::new(options.seed, "world");
        let mut builder = turmoil::Builder::new();
        builder
            .epoch(SystemTime::UNIX_EPOCH + crate::clock::EPOCH)
            .simulation_duration(Duration::from_secs(86_400))
            .tick_duration(options.tick)
            .min_message_latency(options.latency.0)
            .max_message_latency(options.latency.1)
            .tcp_capacity(65_536)
            .rng_seed(dice.number())
            .enable_random_order();
        let mut sim = builder.build();
        let machines: BTreeMap<NodeId, Rc<Machine>> =
            (1..=options.nodes).map(|id| (id, Rc::new(Machine::new(id, &options, &trace)))).collect();
        for machine in machines.values() {
            let machine = machine.clone();
            sim.host(host_name(machine.id), move || {
                let machine = machine.clone();
                async move {
                    machine.run().await;
                    Ok(())
                }
            });
        }
        let shop = Shop::new(History::new(trace.clone()));
        let busy = Rc::new(std::cell::Cell::new(options.gateways * options.buyers));
        for number in 1..=options.gateways {
            let (options, trace, shop, busy) = (options.clone(), trace.clone(), shop.clone(), busy.clone());
            sim.host(gateway_name(number), move || {
                run_gateway(number, options.clone(), trace.clone(), shop.clone(), busy.clone())
            });
        }
        Self {
            options,
            trace,
            sim,
            machines,
            shop,
            checkers: checkers::all(),
            looked: BTreeMap::new(),
            happenings: 0,
            busy,
            summary: Summary::default(),
        }
    }

    /// Plays the run to its end.
    pub fn run(mut self) -> Result<Summary, Failure> {
        self.trace.note("world", "everything starts");
        self.run_until("the cluster forms and everything is on sale", OPENING_MAX, |world| {
            world.shop.house().is_some()
        })?;
        self.trace.note("world", "everything is on sale");
        self.shop.set_stage(Stage::Selling);
        let end = self.sim.elapsed() + self.options.chaos;
        while self.sim.elapsed() < end {
            self.step()?;
        }
        self.trace.note("world", "no more faults");
        self.shop.set_stage(Stage::Closing);
        self.run_until("buyers make an end", CLOSING_MAX, |world| world.busy.get() == 0)?;
        self.run_until("replicas become equal", self.options.calm_max, Self::is_still)?;
        let mut last = self.look();
        checkers::observe(&mut self.checkers, &mut last)?;
        checkers::finish(&mut self.checkers, &last)?;
        self.summary.elapsed = self.sim.elapsed();
        self.trace.note("world", "the end");
        Ok(self.summary)
    }

    fn run_until(&mut self, what: &str, patience: Duration, is_so: impl Fn(&mut Self) -> bool) -> Result<(), Failure> {
        let deadline = self.sim.elapsed() + patience;
        while !is_so(self) {
            if self.sim.elapsed() >= deadline {
                return Err(Failure::TooLate(format!("{what} (waited {patience:?})")));
            }
            self.step()?;
        }
        Ok(())
    }

    /// A step of the simulation, and a look at what it led to.
    fn step(&mut self) -> Result<(), Failure> {
        let stepped = self.sim.step();
        trace::leave_host();
        self.trace.set_now(self.sim.elapsed());
        stepped.map_err(|error| Failure::Panic(error.to_string()))?;
        let mut look = self.look();
        for happening in &look.happenings {
            self.count(happening);
        }
        checkers::observe(&mut self.checkers, &mut look)?;
        Ok(())
    }

    fn count(&mut self, happening: &crate::history::Happening) {
        let crate::history::Happening::Answered { call, answer, .. } = happening else { return };
        match answer {
            crate::history::Answer::Reply(..) => *self.summary.operations.entry(call.ask.name()).or_default() += 1,
            _ => self.summary.unanswered += 1,
        }
    }

    fn look(&mut self) -> Look {
        let mut look = Look { at: self.sim.elapsed(), ..Look::default() };
        for (&id, machine) in &self.machines {
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
        for machine in self.machines.values() {
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

fn gateway_name(number: usize) -> String {
    format!("gateway-{number}")
}

/// Reads what a node has newly applied. What was purged meanwhile came in a snapshot, and others had it.
fn look_at_log(node: &Node, id: NodeId, group: GroupId, from: u64, to: u64, look: &mut Look) {
    let read = node.log(group).read(from, to, usize::MAX).now_or_never();
    let entries = read.expect("reading from a simulated disk never waits").unwrap_or_default();
    look.applied.extend(entries.into_iter().map(|(position, body)| AppliedEntry { node: id, group, position, body }));
    if let Some((Some(applied), digest)) = node.state(group).map(|state| state.digest()) {
        look.digests.push(StateDigest { node: id, group, applied: to_position(&applied), digest });
    }
}

async fn run_gateway(
    number: usize,
    options: Options,
    trace: Trace,
    shop: Shop,
    busy: Rc<std::cell::Cell<usize>>,
) -> turmoil::Result {
    let seeds = (1..=options.nodes).map(address).collect();
    let cluster = GrpcCluster::new(seeds, Arc::new(SimConnector::new(trace)));
    let client = |name: String| {
        let dice = Dice::new(options.seed, &format!("requests of {name}"));
        Client::new(name, cluster.clone(), shop.history.clone(), dice)
    };
    if number == 1 {
        tokio::spawn(open_house(client("organiser".to_owned()), options.clone(), shop.clone()));
    }
    let buyers = (0..options.buyers).map(|buyer| {
        let user = UserId((number * 100 + buyer) as u128);
        let name = format!("buyer-{}", user.0);
        let (dice, busy) = (Dice::new(options.seed, &name), busy.clone());
        let buying = buy(client(name), user, options.clone(), shop.clone(), dice);
        async move {
            buying.await;
            busy.set(busy.get() - 1);
        }
    });
    futures::future::join_all(buyers).await;
    // The session to each node stays open, as a gateway's does.
    std::future::pending().await
}

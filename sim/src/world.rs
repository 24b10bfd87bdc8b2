//! A whole run: the cluster, its clients, and everything that happens to them.
//!
//! ```text
//!   opening ──▶ selling, with faults ──▶ closing, without ──▶ still: replicas are equal, gateways show it
//!       every step of the simulation: machines run, checkers look
//! ```

use crate::checkers::replica::Running;
use crate::checkers::{self, AppliedEntry, Look, NodeLook, Panel, StateDigest, Violation};
use crate::dice::Dice;
use crate::faults::{Faults, Kind};
use crate::history::{Answer, Ask, Happening, History};
use crate::host::Standing;
use crate::options::Options;
use crate::plant::Plant;
use crate::power::Edge;
use crate::scan;
use crate::trace::{Trace, hexadecimal};
use crate::web::visits::{self, Deed, Offence, Said, Visit};
use crate::web::webhooks::Webhooks;
use crate::workload::{Shop, Stage};
use futures::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vestibule_engine::GroupId;
use vestibule_raft::node::Node;
use vestibule_raft::types::{NodeId, to_position};

/// How long the cluster may take to form and to put everything on sale.
const OPENING_MAX: Duration = Duration::from_secs(60);
/// How long each kind of fault may take to come once.
const CHAOS_MAX: Duration = Duration::from_secs(120);
/// With fewer commands done by shards during the sale a run is void.
const OPERATIONS_MIN: u64 = 40;
/// The same for what was done over HTTP: neither looks nor refusals.
const VISITS_MIN: u64 = 20;
/// Without these commands, so many times, nothing was sold.
const SOLD_MIN: [(&str, u64); 3] = [("HoldSeats", 5), ("PlaceOrder", 2), ("RecordPayment", 1)];
/// The same over HTTP.
const SOLD_ONLINE_MIN: [(&str, u64); 3] = [("Hold", 2), ("Order", 1), ("Pay", 1)];

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
    /// Calls of clients that were done, by command.
    pub operations: BTreeMap<String, u64>,
    /// Commands that shards have done during the sale.
    pub commands: u64,
    /// The same by command.
    pub sold: BTreeMap<String, u64>,
    /// Those that were refused.
    pub refusals: BTreeMap<String, u64>,
    /// When the calls began that ended without one.
    pub unanswered: Vec<Duration>,
    /// Calls over HTTP that got an answer, by what was asked.
    pub visits: BTreeMap<String, u64>,
    /// Those of them by which something was done during the sale.
    pub deeds: u64,
    /// The same by what was done.
    pub sold_online: BTreeMap<String, u64>,
    /// Calls over HTTP that got none, or one that settles nothing.
    pub visits_unanswered: u64,
    /// Calls over HTTP that had reached a gateway before one was asked to stop, and ended after it: those that were answered.
    pub drained: u64,
    /// And those that broke off.
    pub broken_off: u64,
    /// Faults that really happened, by kind.
    pub faults: BTreeMap<Kind, u64>,
    /// How many times nodes came past each edge.
    pub passed: BTreeMap<Edge, u64>,
    /// How many times a node or its machine ended at each edge.
    pub edges: BTreeMap<Edge, u64>,
    /// What groups no longer knew: requests that were then done anew, and the events that they had dropped in the end.
    pub forgotten: BTreeMap<&'static str, u64>,
    /// Notices of the payment provider that came again, and those that came too late.
    pub webhooks: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// How many calls that began after `start` ended without a reply.
    fn unanswered_since(&self, start: Duration) -> usize {
        self.unanswered.iter().filter(|at| **at >= start).count()
    }
}

/// Plays a run.
pub struct World {
    options: Options,
    trace: Trace,
    plant: Plant,
    faults: Faults,
    shop: Shop,
    checkers: Panel,
    webhooks: Webhooks,
    /// For each node its life, and for each group the index, plus one, up to which its log was looked at.
    looked: BTreeMap<NodeId, (u64, BTreeMap<GroupId, u64>)>,
    /// What a node has of its log and could not read.
    unread: Option<String>,
    happenings: usize,
    visits: usize,
    /// The terms of all groups at the time from which on they are not to change.
    terms: BTreeMap<GroupId, u64>,
    summary: Summary,
}

impl World {
    /// Sets everything up; nothing has happened yet.
    pub fn new(options: Options, trace: Trace) -> Self {
        let mut dice = Dice::new(options.seed, "world");
        let shop = Shop::new(History::new(trace.clone()));
        let plant = Plant::new(&options, &trace, &shop, dice.number());
        let faults =
            Faults::new(options.faults.clone(), options.chaos, Dice::new(options.seed, "faults"), trace.clone());
        Self {
            options,
            trace,
            plant,
            faults,
            shop,
            checkers: checkers::all(),
            webhooks: Webhooks::default(),
            looked: BTreeMap::new(),
            unread: None,
            happenings: 0,
            visits: 0,
            terms: BTreeMap::new(),
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
            || self.faults.misses_edge(&self.plant)
            || (!self.faults.are_complete(&self.plant) || self.lacks().is_some())
                && self.plant.elapsed() < start + CHAOS_MAX
        {
            self.faults.act(&mut self.plant);
            self.step()?;
            if self.lacks().is_none() {
                self.shop.note_has_sold();
            }
            let calm_after = self.options.demands.calm_after;
            if self.terms.is_empty() && calm_after.is_some_and(|calm_after| self.plant.elapsed() > start + calm_after) {
                self.terms = self.plant.terms();
            }
        }
        self.check_demands(start)?;
        if let Some(what) = self.lacks() {
            return Err(Failure::Void(what));
        }
        self.trace.note("world", "no more faults");
        self.faults.end(&mut self.plant);
        self.shop.set_stage(Stage::Closing);
        let patience = self.patience();
        self.run_until("every group serves, and buyers make an end", patience, |world| {
            world.plant.gateways.iter().all(|gateway| !gateway.is_busy()) && !world.shop.web.is_busy()
        })?;
        self.run_until("all replicas are equal", patience, Self::is_still)?;
        self.scan_disks()?;
        self.inspect_gateways()?;
        let mut last = self.look();
        checkers::observe(&mut self.checkers, &mut last)?;
        // One that is to be gone and has nobody left to tell it runs on, with what it had.
        let members = self.plant.members();
        last.replicas.retain(|(node, _), _| members.contains(node));
        checkers::finish(&mut self.checkers, &last)?;
        self.summary.elapsed = self.plant.elapsed();
        self.summary.faults = self.plant.tally.counts();
        self.summary.passed = self.plant.passed();
        self.summary.edges = self.plant.edges();
        self.summary.webhooks = self.webhooks.counts();
        if !self.faults.are_complete(&self.plant) {
            let missing: Vec<String> = self.faults.missing(&self.plant).iter().map(Kind::to_string).collect();
            return Err(Failure::Void(format!("some kinds of faults never came: {}", missing.join(", "))));
        }
        self.trace.note("world", "the end");
        Ok(self.summary)
    }

    /// How long everything may take to be in order again: nodes may have to send each other all that they have, twice.
    fn patience(&self) -> Duration {
        let rate = self.options.tuning.snapshot_bytes_per_second;
        self.options.calm_max + Duration::from_secs(2 * self.plant.checkpoint_bytes() as u64 / rate)
    }

    /// What the options demand of the time of faults, which began at `start`.
    fn check_demands(&self, start: Duration) -> Result<(), Failure> {
        let unanswered = self.summary.unanswered_since(start);
        let met = self.options.demands.check(
            unanswered,
            (self.summary.drained, self.summary.broken_off),
            &self.terms,
            &self.plant.terms(),
        );
        met.map_err(|what| Violation { checker: "demands", what }.into())
    }

    /// What there is too little of for the run to show anything.
    fn lacks(&self) -> Option<String> {
        let Summary { sold, sold_online, commands, deeds, .. } = &self.summary;
        if *commands < OPERATIONS_MIN {
            return Some(format!("shards have done {commands} commands, not {OPERATIONS_MIN}"));
        }
        if *deeds < VISITS_MIN {
            return Some(format!("{deeds} things were done over HTTP, not {VISITS_MIN}"));
        }
        let too_few = |what: &str, counts: &BTreeMap<String, u64>, wanted: &[(&str, u64)]| {
            let count = |name: &str| counts.get(name).copied().unwrap_or(0);
            let (name, min) = wanted.iter().find(|(name, min)| count(name) < *min)?;
            Some(format!("{name} was done {} times{what}, not {min}", count(name)))
        };
        too_few("", sold, &SOLD_MIN).or_else(|| too_few(" over HTTP", sold_online, &SOLD_ONLINE_MIN))
    }

    fn run_until(&mut self, what: &str, patience: Duration, is_so: impl Fn(&mut Self) -> bool) -> Result<(), Failure> {
        let deadline = self.plant.elapsed() + patience;
        while !is_so(self) {
            if self.plant.elapsed() >= deadline {
                let unsettled = self.plant.unsettled().map(|what| format!(": {what}")).unwrap_or_default();
                return Err(Failure::TooLate(format!("{what} (waited {patience:?}){unsettled}")));
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
        if let Some(what) = self.plant.take_loss() {
            return Err(Violation { checker: "disks", what }.into());
        }
        let mut look = self.look();
        if let Some(what) = self.unread.take() {
            return Err(Violation { checker: "disks", what }.into());
        }
        look.happenings.iter().for_each(|happening| self.count(happening));
        look.visits.iter().for_each(|event| self.count_visit(event));
        checkers::observe(&mut self.checkers, &mut look)?;
        let anew = look.played.iter().flat_map(|played| &played.commands).filter(|told| told.is_anew).count() as u64;
        if anew > 0 {
            *self.summary.forgotten.entry("requests-asked-again").or_default() += anew;
        }
        self.webhooks.observe(&look);
        Ok(())
    }

    fn count(&mut self, happening: &Happening) {
        let Happening::Answered { call, answer, .. } = happening else { return };
        match answer {
            Answer::Reply(reply, _) if reply.result.is_err() => {
                *self.summary.refusals.entry(call.ask.name()).or_default() += 1
            }
            Answer::Reply(..) | Answer::Read(..) | Answer::LookUp(..) => {
                if matches!(call.ask, Ask::Shard(_)) && self.shop.stage() == Stage::Selling {
                    self.summary.commands += 1;
                    *self.summary.sold.entry(call.ask.name()).or_default() += 1;
                }
                *self.summary.operations.entry(call.ask.name()).or_default() += 1
            }
            Answer::Unknown | Answer::NotDone(_) => self.summary.unanswered.push(call.at),
        }
    }

    /// Whether a gateway was asked to stop since the visit must have reached it. What is only on its way then, on a connection
    /// that was kept, breaks off: HTTP/1 cannot help it.
    fn was_stopped_under(&self, visit: &Visit) -> bool {
        let reached = visit.at + 4 * self.options.latency.1;
        self.plant.gateway_stops().iter().any(|&stop| stop >= reached)
    }

    fn count_visit(&mut self, event: &visits::Event) {
        let visits::Event::Ended { visit, said, .. } = event else { return };
        if let (Deed::Offend(offence), Said::Endured(_)) = (&visit.deed, said) {
            let kind = if *offence == Offence::Rush { Kind::GatewayRush } else { Kind::SlowClients };
            self.plant.tally.happened(kind);
        }
        match said {
            Said::Unknown(_) | Said::NotDone(_) | Said::Unfit(_) => {
                self.summary.visits_unanswered += 1;
                let broke_off = !matches!(said, Said::NotDone(_)) && self.was_stopped_under(visit);
                self.summary.broken_off += u64::from(broke_off);
            }
            Said::Refused(..) => *self.summary.visits.entry(format!("{}-refused", visit.deed.name())).or_default() += 1,
            _ => {
                self.summary.drained += u64::from(self.was_stopped_under(visit));
                if self.shop.stage() == Stage::Selling && visit.deed.is_business() {
                    self.summary.deeds += 1;
                    *self.summary.sold_online.entry(visit.deed.name()).or_default() += 1;
                }
                *self.summary.visits.entry(visit.deed.name()).or_default() += 1;
            }
        }
    }

    fn look(&mut self) -> Look {
        let mut look = Look { at: self.plant.elapsed(), ..Look::default() };
        for (&id, machine) in &self.plant.machines {
            // Not one that lost its data: it says what another node of its number said.
            let Some(node) = machine.node_or_stopping().filter(|_| machine.standing.get() != Standing::Lost) else {
                continue;
            };
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
                    self.unread = look_at_log(&node, id, group, from, applied, &mut look).or(self.unread.take());
                }
                now.last.extend(node.log(group).last().map(|last| (group, last)));
                now.groups.insert(group, view);
                look.replicas.extend(Running::of(&node, group).map(|replica| ((id, group), replica)));
            }
            look.nodes.insert(id, now);
        }
        look.happenings = self.shop.history.since(self.happenings);
        self.happenings += look.happenings.len();
        look.sent = self.shop.take_sent();
        look.visits = self.shop.web.visits.since(self.visits);
        self.visits += look.visits.len();
        look
    }

    /// What is acknowledged is on the disks: all nodes lose power at once, what is left is looked through, and the cluster
    /// comes up from it, not behind where it was. Checkers look on, and close their books on what came up.
    fn scan_disks(&mut self) -> Result<(), Failure> {
        let before = self.summary.states.clone();
        self.trace.note("world", "all nodes lose power, and what they had is looked for");
        let nodes = self.plant.members();
        nodes.iter().for_each(|node| self.plant.cut_power(*node));
        for node in &nodes {
            scan::look_through(&self.plant.machines[node]).map_err(|what| Violation { checker: "disks", what })?;
        }
        nodes.iter().for_each(|node| self.plant.boot(*node));
        self.run_until("all replicas are equal after a power cut", self.patience(), Self::is_still)?;
        for (group, (index, digest)) in before {
            let (now, state) = &self.summary.states[&group];
            if *now < index || *now == index && *state != digest {
                let what = format!("{group} was at entry {index}, state {digest}, and came up at {now}, state {state}");
                return Err(Violation { checker: "disks", what }.into());
            }
        }
        Ok(())
    }

    /// Every gateway has to show all that has happened, though all nodes have lost power under it.
    fn inspect_gateways(&mut self) -> Result<(), Failure> {
        let mut last_events = BTreeMap::new();
        let nodes = self.plant.members().into_iter().filter_map(|id| self.plant.machines[&id].node());
        for (node, group) in nodes.flat_map(|node| node.hosted().into_iter().map(move |group| (node.clone(), group))) {
            let Some(replica) = Running::of(&node, group) else { continue };
            let kept = replica.events(1).or_else(|oldest| {
                let gone = self.summary.forgotten.entry("events").or_default();
                *gone = (*gone).max(oldest - 1);
                replica.events(oldest)
            });
            for record in kept.unwrap_or_default() {
                let last = record.showtime.map(|showtime| last_events.entry(showtime).or_insert(0));
                last.into_iter().for_each(|last| *last = record.sequence.max(*last));
            }
        }
        self.shop.web.set_last_events(last_events);
        self.shop.set_stage(Stage::Still);
        let patience = self.patience();
        self.run_until("gateways show all that has happened", patience, |world| world.shop.web.is_inspected())?;
        // What fell due meanwhile has to reach all replicas as well.
        self.run_until("all replicas are equal once more", patience, Self::is_still)
    }

    /// Whether all nodes run, every group has a leader, every voter of a group hosts it and every node the directory, and
    /// all replicas of a group stand at the same entry, the last of their logs. Notes the states if so.
    fn is_still(&mut self) -> bool {
        if self.plant.unsettled().is_some() {
            return false;
        }
        let mut states: BTreeMap<GroupId, (u64, String)> = BTreeMap::new();
        let mut led: BTreeSet<GroupId> = BTreeSet::new();
        let mut hosts: BTreeSet<(GroupId, NodeId)> = BTreeSet::new();
        let mut voters: BTreeSet<(GroupId, NodeId)> = BTreeSet::new();
        for id in self.plant.members() {
            let Some(node) = self.plant.machines[&id].node() else { return false };
            // The directory is everywhere.
            voters.insert((GroupId::DIRECTORY, id));
            for group in node.hosted() {
                let Some(state) = node.state(group) else { return false };
                let (Some(applied), digest) = state.digest() else { return false };
                let Some(view) = node.view(group) else { return false };
                // What has not been agreed on yet may still be, or may go.
                let last = node.log(group).last();
                if [view.committed, last].into_iter().any(|at| at.is_none_or(|at| at.index != applied.index)) {
                    return false;
                }
                led.extend(view.is_leader.then_some(group));
                hosts.insert((group, id));
                voters.extend(view.voters.into_iter().map(|voter| (group, voter)));
                let here = (applied.index, hexadecimal(&digest));
                if *states.entry(group).or_insert_with(|| here.clone()) != here {
                    return false;
                }
            }
        }
        let count = self.options.groups as usize + 1;
        if states.len() != count || led.len() != count || !voters.is_subset(&hosts) {
            return false;
        }
        for (group, (index, digest)) in &states {
            self.trace.note("world", format!("{group} is at entry {index} everywhere, state {digest}"));
        }
        self.summary.states = states;
        true
    }
}

/// Reads what a node has newly applied. What was purged meanwhile came in a snapshot, and others had it. Gives what cannot be
/// read.
fn look_at_log(node: &Node, id: NodeId, group: GroupId, from: u64, to: u64, look: &mut Look) -> Option<String> {
    let state =
        node.state(group).map(|state| state.digest()).and_then(|(last, digest)| Some((to_position(&last?), digest)));
    // Between a snapshot that is in place and the purge behind it the log has what that superseded.
    let is_of_log = state.is_some_and(|(last, _)| node.log(group).position(last.index) == Some(last));
    let to = if is_of_log { to } else { from };
    let read = node.log(group).read_here(from, to, usize::MAX).now_or_never();
    let entries = match read.expect("reading from a simulated disk never waits") {
        Ok(entries) => entries,
        Err(error) => return Some(format!("node {id} cannot read its log of {group}: {error}")),
    };
    look.applied.extend(entries.into_iter().map(|(position, body)| AppliedEntry { node: id, group, position, body }));
    if let Some((applied, digest)) = state {
        look.digests.push(StateDigest { node: id, group, applied, digest });
    }
    None
}

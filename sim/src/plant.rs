//! The machines of a run and the network between them: what faults act on.

mod effects;
#[cfg(test)]
mod tests;

pub use effects::{Effect, FAR_CLOCK};

use crate::dice::Dice;
use crate::faults::{Kind, Tally};
use crate::gateway::{Gateway, gateway_name};
use crate::host::{Ended, Machine, Standing, address, host_name};
use crate::operator::{OPERATOR, Operator};
use crate::options::Options;
use crate::power::{Edge, End};
use crate::scan;
use crate::trace::{self, Trace};
use crate::web;
use crate::workload::Shop;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use vestibule_engine::{
    Directory, DirectoryAnswer, DirectoryQuery, GroupId, NodeRecord, PlacementRecord, StateMachine, codec,
};
use vestibule_raft::inspect::GroupView;
use vestibule_raft::node::Node;
use vestibule_raft::types::NodeId;

fn sum(counts: impl Iterator<Item = (Edge, u64)>) -> BTreeMap<Edge, u64> {
    let mut sum = BTreeMap::new();
    counts.for_each(|(edge, count)| *sum.entry(edge).or_default() += count);
    sum
}

/// Everything that can be broken.
pub struct Plant {
    sim: turmoil::Sim<'static>,
    trace: Trace,
    latency_max: Duration,
    /// The first nodes have numbers up to this.
    founders: NodeId,
    /// Whether all others join by themselves, and do not wait to be added.
    spares_join: bool,
    /// The machines of nodes.
    pub machines: BTreeMap<NodeId, Rc<Machine>>,
    /// The gateways.
    pub gateways: Vec<Rc<Gateway>>,
    /// Those that have stopped because they were asked to, until somebody took note.
    stopped_gateways: Vec<usize>,
    gateway_stops: Vec<Duration>,
    /// Those who come to them over HTTP.
    pub web: web::Web,
    /// Machines of visitors between whom and the gateways the network may break. Those of the first are spared: who comes last
    /// is served in time from there.
    pub visitors: Vec<String>,
    /// Who looks after the cluster.
    pub operator: Rc<Operator>,
    /// What really happened.
    pub tally: Tally,
    /// By how much each clock is always off.
    base_skew: BTreeMap<NodeId, i64>,
    /// Machines on which nothing runs.
    down: BTreeSet<String>,
    /// What is wrong, for a while.
    effects: BTreeMap<u64, Effect>,
    next_effect: u64,
    /// Links on which packets wait.
    held: BTreeSet<(String, String)>,
    /// See [`Self::take_loss`].
    losses: Vec<String>,
}

/// How long a node may take to end after the first error of a device.
const FAILURE_PATIENCE: Duration = Duration::from_secs(1);
/// Words of the reasons for which any node may end.
const EXCUSES: [&str; 4] = [
    // It cannot read its checkpoints then, and must not go on without them.
    "it cannot start: the checkpoints cannot be read, and may be good: the checkpoints cannot be used until they are made anew",
    "it cannot start: the checkpoints cannot be read, and may be good: no storage space",
    "the device failed",
    "the power is gone",
];
/// Words of the reasons for which a node may end that comes or goes, or is not to be there.
const FAREWELLS: [&str; 3] = ["was removed from the cluster", "is registered with other data", "refuses to register"];

/// Whether a flipped bit of the manifest may be the reason. Where the slot before has to do, that may not list the last
/// segment, or may list segments that were dropped since.
fn speaks_of_manifest(reason: &str) -> bool {
    let is_missing = reason.starts_with("it cannot start: segment ") && reason.ends_with(" is missing");
    is_missing
        || ["the log is damaged in manifest at", "the manifest does not list"]
            .iter()
            .any(|words| reason.contains(words))
}

/// How a full disk is called.
fn no_room_words() -> String {
    io::Error::from(io::ErrorKind::StorageFull).to_string()
}

impl Plant {
    /// Sets everything up; nothing runs yet.
    pub fn new(options: &Options, trace: &Trace, shop: &Shop, seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .epoch(SystemTime::UNIX_EPOCH + crate::clock::EPOCH)
            .simulation_duration(Duration::from_secs(86_400))
            .tick_duration(options.tick)
            .min_message_latency(options.latency.0)
            .max_message_latency(options.latency.1)
            .tcp_capacity(65_536)
            .rng_seed(seed)
            .enable_random_order()
            .build();
        let tally = Tally::default();
        let machines: BTreeMap<NodeId, Rc<Machine>> = (1..=options.nodes + options.spares)
            .map(|id| (id, Rc::new(Machine::new(id, options, trace, &tally))))
            .collect();
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
        let gateways: Vec<Rc<Gateway>> = (1..=options.gateways)
            .map(|number| Rc::new(Gateway::new(number, options.clone(), trace.clone(), shop.clone())))
            .collect();
        for gateway in &gateways {
            let gateway = gateway.clone();
            sim.host(gateway_name(gateway.number), move || {
                let gateway = gateway.clone();
                async move {
                    gateway.run().await;
                    Ok(())
                }
            });
        }
        for number in 1..=options.web.hosts {
            let host = Rc::new(web::host::Host::new(number, options.clone(), trace.clone(), shop.clone()));
            sim.host(web::host::host_name(number), move || {
                let host = host.clone();
                async move {
                    host.run().await;
                    Ok(())
                }
            });
        }
        let founders = (1..=options.nodes).map(address).collect();
        let operator =
            Rc::new(Operator::new(founders, trace.clone(), tally.clone(), Dice::new(options.seed, OPERATOR)));
        {
            let operator = operator.clone();
            sim.host(OPERATOR, move || {
                let operator = operator.clone();
                async move {
                    operator.run().await;
                    Ok(())
                }
            });
        }
        let mut plant = Self {
            sim,
            trace: trace.clone(),
            latency_max: options.latency.1,
            founders: options.nodes,
            spares_join: options.spares_join,
            base_skew: machines.keys().copied().zip(options.base_skew_ms.iter().copied()).collect(),
            machines,
            gateways,
            stopped_gateways: Vec::new(),
            gateway_stops: Vec::new(),
            web: shop.web.clone(),
            visitors: (2..=options.web.hosts).map(web::host::host_name).collect(),
            operator,
            tally,
            down: BTreeSet::new(),
            effects: BTreeMap::new(),
            next_effect: 0,
            held: BTreeSet::new(),
            losses: Vec::new(),
        };
        for machine in plant.machines.values() {
            machine.clock.set_skew(plant.skew(machine.id));
            if machine.standing.get() == Standing::Spare {
                plant.down.insert(host_name(machine.id));
                plant.sim.crash(host_name(machine.id).as_str());
            }
        }
        trace::leave_host();
        plant
    }

    /// Something that was durable and is gone, though nobody did anything to it, or that is wrong and was not noticed.
    pub fn take_loss(&mut self) -> Option<String> {
        self.losses.pop()
    }

    /// Simulated time.
    pub fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Lets a little time pass. Takes down the machines whose power went and the nodes whose processes have ended meanwhile;
    /// gives the numbers of those that are to be started again. `Err` says what is wrong.
    pub fn step(&mut self) -> Result<Vec<NodeId>, String> {
        let stepped = self.sim.step();
        trace::leave_host();
        self.trace.set_now(self.sim.elapsed());
        stepped.map_err(|error| error.to_string())?;
        // First: what a node ends for depends on it.
        for gone in self.operator.take_removed() {
            self.machines[&gone].standing.set(Standing::Retired);
        }
        let mut down = Vec::new();
        for machine in self.machines.values().cloned().collect::<Vec<_>>() {
            self.losses.extend(machine.take_losses());
            if let Some((edge, end)) = machine.power.take_burnt() {
                self.note(format!("{} ends at {edge}: {end:?}", host_name(machine.id)));
                match end {
                    End::Power => {
                        self.tally.happened(Kind::PowerCutInWrite);
                        self.cut_power(machine.id);
                    }
                    End::Process => {
                        self.tally.happened(Kind::KillInWrite);
                        machine.power.restore();
                        self.kill(machine.id);
                    }
                }
                down.push(machine.id);
            } else if let Some(ended) = machine.take_ended() {
                self.kill(machine.id);
                down.extend(self.judge(&machine, &ended));
            } else if let Some(what) = self.runs_on(&machine) {
                self.losses.push(what);
            } else if machine.is_rotten.get() && machine.node().is_some() {
                self.losses.push(format!("node {} runs on a log of which a bit was flipped", machine.id));
            }
            if machine.node().is_some() {
                // The other slot did.
                machine.has_rotten_manifest.set(false);
            }
        }
        for gateway in self.gateways.clone() {
            if gateway.take_stopped() {
                self.note(format!("{} has stopped", gateway_name(gateway.number)));
                self.tally.happened(Kind::GatewayStop);
                self.kill_gateway(gateway.number);
                self.stopped_gateways.push(gateway.number);
            }
        }
        Ok(down)
    }

    /// Whether a node has run on for long although an operation of its devices had failed: the first error is final.
    fn runs_on(&self, machine: &Machine) -> Option<String> {
        if machine.node().is_none() || !machine.power.has_failed() {
            machine.failed_since.set(None);
            return None;
        }
        let now = self.elapsed();
        let since = machine.failed_since.get().unwrap_or(now);
        machine.failed_since.set(Some(since));
        (now > since + FAILURE_PATIENCE)
            .then(|| format!("node {} has run on for {:?} on a device that failed", machine.id, now - since))
    }

    /// Whether a node whose process ended is to be started again. A node ends by itself for a failed device, for damage, and
    /// because it is not to be there; never because a disk is full, or because something took too long.
    fn judge(&mut self, machine: &Machine, ended: &Ended) -> Option<NodeId> {
        if !ended.names_damage && !self.excuses(machine, &ended.reason) {
            self.losses.push(format!("node {} ended without need: {}", machine.id, ended.reason));
        }
        if ended.names_damage {
            let has_rotten_manifest = machine.has_rotten_manifest.replace(false);
            if machine.is_rotten.replace(false) {
                self.tally.happened(Kind::LogRot);
            } else if !has_rotten_manifest || !speaks_of_manifest(&ended.reason) {
                self.losses.push(format!("node {} finds damage that nobody did: {}", machine.id, ended.reason));
            }
        }
        let is_refused = machine.standing.get() == Standing::Lost && ended.reason.contains("under a new id");
        if is_refused {
            self.tally.happened(Kind::DiskLoss);
        }
        if ended.names_damage || is_refused {
            machine.standing.set(Standing::Retired);
            self.replace(machine.id);
            return None;
        }
        // A node that was removed tries once more.
        let comes_again = machine.standing.get() != Standing::Retired || !machine.has_returned.replace(true);
        comes_again.then_some(machine.id)
    }

    /// Whether a node may end for this reason.
    fn excuses(&self, machine: &Machine, reason: &str) -> bool {
        let says = |words: &[&str]| words.iter().any(|words| reason.contains(words));
        if let Some(error) = reason.strip_prefix("it was asked to stop") {
            let was_full = says(&["the disk was full", &no_room_words()]);
            return error.is_empty() || machine.power.has_failed() || was_full || says(&EXCUSES);
        }
        // A snapshot that has arrived, and cannot be put in place on a disk that has become full since: Raft may neither go on
        // without it nor say that it is there.
        let has_no_room = reason.contains("when Write Snapshot")
            && (reason.ends_with(&no_room_words())
                || reason.contains("the checkpoints cannot be used until they are made anew"));
        let is_here_to_stay = machine.standing.get() == Standing::Member && !self.operator.moves(machine.id);
        has_no_room || says(&EXCUSES) || !is_here_to_stay && says(&FAREWELLS)
    }

    /// Has the operator put a spare machine in the place of a node that does not come back.
    fn replace(&mut self, node: NodeId) {
        if let Some(spare) = self.start_spare() {
            self.operator.add(spare);
        }
        self.operator.remove(node);
    }

    /// Starts a machine that was not in use, if there is one.
    pub fn start_spare(&mut self) -> Option<NodeId> {
        let spare = self.spares().first().copied()?;
        self.machines[&spare].standing.set(Standing::Member);
        self.boot(spare);
        Some(spare)
    }

    /// Machines that are not in use.
    pub fn spares(&self) -> Vec<NodeId> {
        self.standing(Standing::Spare)
    }

    /// Nodes that belong to the cluster, or are about to.
    pub fn members(&self) -> Vec<NodeId> {
        self.standing(Standing::Member)
    }

    fn standing(&self, standing: Standing) -> Vec<NodeId> {
        self.machines.values().filter(|machine| machine.standing.get() == standing).map(|machine| machine.id).collect()
    }

    /// What the directory says, as the replica of it has it that has come farthest.
    pub fn directory(&self) -> (BTreeMap<NodeId, NodeRecord>, BTreeMap<GroupId, PlacementRecord>) {
        let nodes = self.members().into_iter().filter_map(|id| self.machines[&id].node());
        let states = nodes.filter_map(|node| node.state(GroupId::DIRECTORY));
        let Some(state) = states.max_by_key(|state| state.progress().next_index) else { return Default::default() };
        let ask = |query: DirectoryQuery| {
            let (answer, _) = state.query(&codec::encode(&query)).ok()?;
            codec::decode::<<Directory as StateMachine>::Answer>(&answer).ok()
        };
        let nodes = match ask(DirectoryQuery::Nodes) {
            Some(DirectoryAnswer::Nodes(nodes)) => nodes.into_iter().map(|node| (node.node.0, node)).collect(),
            _ => BTreeMap::new(),
        };
        let placements = match ask(DirectoryQuery::Placements) {
            Some(DirectoryAnswer::Placements(placements)) => {
                placements.into_iter().map(|placement| (placement.group, placement)).collect()
            }
            _ => BTreeMap::new(),
        };
        (nodes, placements)
    }

    /// How a group stands on each node that serves it.
    pub fn views(&self, group: GroupId) -> BTreeMap<NodeId, GroupView> {
        let members = self.members().into_iter();
        members.filter_map(|id| Some((id, self.machines[&id].node()?.view(group)?))).collect()
    }

    /// The groups that there are.
    pub fn groups(&self) -> BTreeSet<GroupId> {
        self.members().into_iter().filter_map(|id| self.machines[&id].node()).flat_map(|node| node.hosted()).collect()
    }

    /// The term of each group, as far as anybody knows it.
    pub fn terms(&self) -> BTreeMap<GroupId, u64> {
        let term = |group: GroupId| self.views(group).values().map(|view| view.term).max();
        self.groups().into_iter().filter_map(|group| Some((group, term(group)?))).collect()
    }

    /// Whether a node may lose something that it stored: of every set of voters that has to agree, or is going to, the others
    /// that serve, and have any of it, are still a majority.
    pub fn may_lose_storage(&self, node: NodeId) -> bool {
        let Some(running) = self.machines[&node].node() else { return false };
        let placements = self.directory().1;
        // A group that waits for a peer's checkpoint does not say who votes in it.
        let waits = placements.iter().any(|(group, placement)| {
            placement.voters.iter().any(|voter| voter.0 == node) && running.view(*group).is_none()
        });
        !waits
            && running.hosted().into_iter().all(|group| {
                let views = self.views(group);
                let wanted = placements.get(&group).map(|placement| &placement.voters);
                let wanted = wanted.map(|voters| voters.iter().map(|voter| voter.0).collect::<BTreeSet<NodeId>>());
                let quorums = views.values().flat_map(|view| view.quorums.iter().cloned());
                quorums.chain(wanted).filter(|voters| voters.contains(&node)).all(|voters| {
                    let has_any = |voter: &&NodeId| views.get(voter).is_some_and(|view| !view.voters.is_empty());
                    let others = voters.iter().filter(|voter| **voter != node).filter(has_any).count();
                    others > voters.len() / 2
                })
            })
    }

    /// Whether a node serves all that it is to serve, and has come as far as the others.
    pub fn has_caught_up(&self, node: NodeId) -> bool {
        let placements = self.directory().1;
        placements.into_iter().all(|(group, placement)| {
            let views = self.views(group);
            let is_wanted = placement.voters.iter().any(|voter| voter.0 == node);
            let farthest = views.values().filter_map(|view| view.committed).map(|committed| committed.index).max();
            let here = views.get(&node).and_then(|view| view.applied).map(|applied| applied.index);
            !is_wanted
                || views.values().any(|view| view.is_leader) && here.is_some_and(|here| Some(here + 3) >= farthest)
        })
    }

    /// How many times a node or its machine ended at each edge.
    pub fn edges(&self) -> BTreeMap<Edge, u64> {
        sum(self.machines.values().flat_map(|machine| machine.power.ends()))
    }

    /// How many times nodes came past each edge.
    pub fn passed(&self) -> BTreeMap<Edge, u64> {
        sum(self.machines.values().flat_map(|machine| machine.power.passed()))
    }

    /// What is not yet as it is to be once nothing goes wrong any more; nothing if all is.
    pub fn unsettled(&self) -> Option<String> {
        if self.operator.is_busy() {
            return Some("the operator has not come to an end".to_owned());
        }
        let is_up = |node: &NodeId| self.is_up(&host_name(*node));
        let gone = [Standing::Retired, Standing::Lost].map(|standing| self.standing(standing)).concat();
        if let Some(node) = gone.iter().find(|node| is_up(node) && !self.waits_to_be_added(**node)) {
            return Some(format!("node {node}, which is to be gone, runs"));
        }
        let is_in_motion =
            |node: &&NodeId| self.machines[*node].node().is_some_and(|node: Rc<Node>| node.is_in_motion());
        if let Some(node) = self.members().iter().find(is_in_motion) {
            return Some(format!("node {node} waits for a checkpoint, or gives a group up"));
        }
        for (group, placement) in self.directory().1 {
            let wanted: BTreeSet<NodeId> = placement.voters.iter().map(|voter| voter.0).collect();
            let views = self.views(group);
            if !views.values().any(|view| view.is_leader && view.voters == wanted) {
                return Some(format!("{group} is not led where it is wanted, on {wanted:?}"));
            }
            if let Some(node) = wanted.iter().find(|node| !views.contains_key(node)) {
                return Some(format!("{group} is not served by node {node}"));
            }
        }
        None
    }

    /// Whether a node has nothing of the directory, and was told of nobody, or only of nodes that are gone by now: it
    /// cannot hear that it is to be gone, too.
    fn waits_to_be_added(&self, node: NodeId) -> bool {
        let is_empty = |node: &Node| node.state(GroupId::DIRECTORY).is_none_or(|state| state.digest().0.is_none());
        !self.spares_join && node > self.founders && self.machines[&node].node().is_some_and(|node| is_empty(&node))
    }

    /// Bytes of the largest store of a member.
    pub fn checkpoint_bytes(&self) -> usize {
        self.members().iter().map(|node| self.machines[node].store.bytes()).max().unwrap_or(0)
    }

    fn note(&self, what: String) {
        self.trace.note("world", what);
    }

    /// All machines, by name.
    pub fn names(&self) -> Vec<String> {
        let gateways = self.gateways.iter().map(|gateway| gateway_name(gateway.number));
        let machines = self.machines.values().filter(|machine| machine.standing.get() != Standing::Spare);
        machines.map(|machine| host_name(machine.id)).chain(gateways).collect()
    }

    /// Whether a machine has something running on it.
    pub fn is_up(&self, name: &str) -> bool {
        !self.down.contains(name)
    }

    /// The nodes that run and belong to the cluster.
    pub fn nodes_up(&self) -> Vec<NodeId> {
        self.members().into_iter().filter(|node| self.is_up(&host_name(*node))).collect()
    }

    /// The node's process is gone from one moment to the next. What it wrote is there, apart from checkpoints that it had not
    /// flushed; what its kernel has of its connections is closed.
    pub fn kill(&mut self, node: NodeId) {
        let name = host_name(node);
        if !self.down.insert(name.clone()) {
            return;
        }
        self.machines[&node].forget_node();
        self.sim.crash(name.as_str());
        trace::leave_host();
        self.machines[&node].store.settle();
    }

    /// The machine has no power: nobody hears of it, and what was not synced is lost, in part.
    pub fn cut_power(&mut self, node: NodeId) {
        let machine = self.machines[&node].clone();
        // First the disks, then the network: what runs while the host is taken down changes nothing any more.
        machine.power.cut();
        let name = host_name(node);
        let others: Vec<String> = self.everything().into_iter().filter(|other| *other != name).collect();
        for other in &others {
            self.sim.partition(name.as_str(), other.as_str());
        }
        self.kill(node);
        machine.disk.settle();
        machine.power.restore();
        self.losses.extend(scan::look_after_cut(&machine).err());
        for other in &others {
            self.sim.repair(name.as_str(), other.as_str());
            self.apply_link(&name, other);
        }
    }

    /// All machines there are, spare ones and the operator's included.
    fn everything(&self) -> Vec<String> {
        let gateways = self.gateways.iter().map(|gateway| gateway_name(gateway.number));
        let machines = self.machines.keys().map(|node| host_name(*node));
        machines.chain(gateways).chain([OPERATOR.to_owned()]).collect()
    }

    /// Starts the node of a machine on which none runs.
    pub fn boot(&mut self, node: NodeId) {
        let name = host_name(node);
        if self.down.remove(&name) {
            self.note(format!("{name} starts"));
            self.sim.bounce(name.as_str());
            trace::leave_host();
        }
    }

    /// A gateway is gone, with all its clients.
    pub fn kill_gateway(&mut self, number: usize) {
        let name = gateway_name(number);
        if self.down.insert(name.clone()) {
            self.sim.crash(name.as_str());
            trace::leave_host();
        }
    }

    /// Asks a gateway to stop, as a signal does.
    pub fn stop_gateway(&mut self, number: usize) {
        self.gateway_stops.push(self.elapsed());
        self.gateways[number - 1].ask_to_stop();
    }

    /// When gateways were asked to stop.
    pub fn gateway_stops(&self) -> &[Duration] {
        &self.gateway_stops
    }

    /// Gateways that have stopped because they were asked to, since this was asked last.
    pub fn take_stopped_gateways(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.stopped_gateways)
    }

    /// Nothing is wrong any more, and everything runs that belongs to the cluster.
    pub fn mend_all(&mut self) {
        for id in self.effects.keys().copied().collect::<Vec<_>>() {
            self.end(id);
        }
        for machine in self.machines.values() {
            machine.power.disarm();
            machine.disk.mend();
            machine.store.mend();
        }
        let lost = self.standing(Standing::Lost);
        for node in self.members().into_iter().chain(lost) {
            self.boot(node);
        }
        for number in 1..=self.gateways.len() {
            self.boot_gateway(number);
        }
    }

    /// Starts a gateway again.
    pub fn boot_gateway(&mut self, number: usize) {
        let name = gateway_name(number);
        if self.down.remove(&name) {
            self.note(format!("{name} starts"));
            self.sim.bounce(name.as_str());
            trace::leave_host();
        }
    }
}

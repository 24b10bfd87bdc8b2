//! How each kind of fault strikes, and how it passes.

use super::{Faults, Kind, Rolling, leads_past};
use crate::disk::{Op, STALL};
use crate::gateway::gateway_name;
use crate::host::{Machine, Standing, host_name};
use crate::plant::{Effect, FAR_CLOCK, Plant};
use crate::power::{EDGES, End, Fuse};
use crate::web::visits::Offence;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;
use vestibule_engine::GroupId;
use vestibule_raft::types::NodeId;

/// After so long a kind that has not come is struck wherever it can be, and not where the run is about.
const OVERDUE: Duration = Duration::from_secs(40);

/// How a fault passes.
#[derive(Debug, Clone)]
pub(super) enum Heal {
    Boot(NodeId),
    BootGateway(usize),
    End(u64),
}

impl Heal {
    pub(super) fn apply(self, plant: &mut Plant) {
        match self {
            Self::Boot(node) => plant.boot(node),
            Self::BootGateway(number) => plant.boot_gateway(number),
            Self::End(effect) => plant.end(effect),
        }
    }
}

impl Faults {
    /// Strikes, if there is anything to strike; gives whether there was. That it really came is noted where it does.
    pub(super) fn strike(&mut self, kind: Kind, node: Option<NodeId>, plant: &mut Plant) -> bool {
        let up = plant.nodes_up();
        if up.is_empty() {
            return false;
        }
        let given = node;
        let node = node.unwrap_or_else(|| *self.dice.pick(&up));
        let machine = plant.machines[&node].clone();
        match kind {
            Kind::Stop => {
                self.note(kind, &host_name(node));
                machine.ask_to_stop();
            }
            // Where nothing is written meanwhile there is nothing that a node comes to need.
            Kind::LongOutage if up.len() - 1 <= plant.members().len() / 2 => return false,
            Kind::Kill | Kind::PowerCut | Kind::LongOutage => {
                self.note(kind, &host_name(node));
                if kind == Kind::Kill {
                    plant.kill(node)
                } else {
                    plant.cut_power(node)
                }
                let span = if kind == Kind::LongOutage { 5_000..=12_000 } else { 20..=3_000 };
                self.later(span, Heal::Boot(node), plant);
                plant.tally.happened(kind);
            }
            Kind::KillInWrite | Kind::PowerCutInWrite => self.set_fuses(kind, &machine, plant),
            Kind::Blackout => {
                self.note(kind, "all nodes");
                for node in up {
                    plant.cut_power(node);
                    self.later(20..=2_000, Heal::Boot(node), plant);
                }
                plant.tally.happened(kind);
            }
            Kind::Partition | Kind::PartitionOneWay => self.partition(kind, node, plant),
            Kind::Loss | Kind::Delay => {
                let (one, other) = self.link(node, plant);
                self.note(kind, &format!("{one} and {other}"));
                let effect = match kind {
                    Kind::Loss => Effect::Loss { one, other, percent: self.dice.within(1..=20) },
                    _ => Effect::Late { one, other, by: self.dice.millis(20..=400) },
                };
                self.begin(200..=4_000, effect, plant);
                plant.tally.happened(kind);
            }
            Kind::Stall => {
                let name = host_name(node);
                self.note(kind, &name);
                let span = self.dice.within(50..=2_500);
                for other in plant.names().into_iter().filter(|other| *other != name) {
                    self.begin(span..=span, Effect::Held { one: name.clone(), other }, plant);
                }
                plant.tally.happened(kind);
            }
            // Two at once, and nobody could tell which clocks are right.
            Kind::ClockJump if plant.has_far_clock() => return false,
            Kind::ClockSkew | Kind::ClockJump => {
                let far = if kind == Kind::ClockSkew { 1..=450 } else { FAR_CLOCK..=3_600_000 };
                let off = self.dice.within(far) as i64;
                let off = if self.dice.percent(50) { off } else { -off };
                self.note(kind, &format!("{} by {off} ms", host_name(node)));
                self.begin(500..=6_000, Effect::Skew(node, off), plant);
                plant.tally.happened(kind);
            }
            Kind::SyncError | Kind::WriteError => {
                self.note(kind, &host_name(node));
                let op = if kind == Kind::SyncError { Op::Sync } else { Op::Write };
                machine.disk.fail_after(op, self.dice.within(0..=20));
            }
            Kind::ReadError | Kind::DirectorySyncError | Kind::CreateError | Kind::NameError => {
                // Little of this is done while a node runs in its usual way; much when it starts and lacks a file.
                self.note(kind, &host_name(node));
                let (op, after) = match kind {
                    Kind::ReadError => (Op::Read, self.dice.within(0..=3)),
                    Kind::DirectorySyncError => (Op::SyncDirectory, self.dice.within(0..=1)),
                    Kind::NameError => (Op::Rename, 0),
                    _ => (Op::Create, 0),
                };
                machine.disk.fail_after(op, after);
                if kind == Kind::NameError && self.dice.percent(50) {
                    machine.disk.fail_after(Op::Remove, 0);
                }
                plant.kill(node);
                if kind != Kind::ReadError {
                    machine.disk.lose_file("spare");
                }
                self.later(20..=1_000, Heal::Boot(node), plant);
            }
            Kind::CheckpointError => {
                self.note(kind, &host_name(node));
                let after = self.dice.within(0..=6);
                // There are far more reads than changes: whichever came first would always be a read.
                if self.dice.percent(50) {
                    machine.store.fail_read_after(after);
                } else {
                    machine.store.fail_after(after);
                }
            }
            Kind::SlowSync | Kind::StalledSync => {
                let stall = STALL.as_millis() as u64;
                let (delay, span) = match kind {
                    Kind::SlowSync => (self.dice.millis(5..=600), 200..=4_000),
                    _ => (self.dice.millis(stall..=3 * stall), 2_000..=6_000),
                };
                self.note(kind, &format!("{} takes {delay:?}", host_name(node)));
                self.begin(span, Effect::SlowSync(node, delay), plant);
            }
            Kind::SlowDisk => {
                let delay = self.dice.millis(1..=80);
                self.note(kind, &format!("{} takes {delay:?}", host_name(node)));
                self.begin(500..=4_000, Effect::SlowDisk(node, delay), plant);
            }
            Kind::DiskFull => {
                self.note(kind, &host_name(node));
                let capacity = machine.disk.used_bytes() + self.dice.within(0..=200_000);
                let room = self.dice.percent(50).then(|| self.dice.within(0..=10));
                self.begin(500..=5_000, Effect::Full(node, capacity, room), plant);
            }
            Kind::CheckpointRot => {
                if !plant.may_lose_storage(node) {
                    return false;
                }
                plant.kill(node);
                self.later(20..=3_000, Heal::Boot(node), plant);
                let Some(place) = machine.store.rot() else { return self.only_killed(node, plant) };
                machine.is_marred.set(true);
                self.note(kind, &format!("{}, in {place}", host_name(node)));
                plant.tally.happened(kind);
            }
            Kind::LogRot => {
                if !self.has_spare(kind, plant) || plant.operator.moves(node) || !plant.may_lose_storage(node) {
                    return false;
                }
                plant.kill(node);
                self.later(20..=3_000, Heal::Boot(node), plant);
                let Some((file, offset)) = machine.disk.rot() else { return self.only_killed(node, plant) };
                self.note(kind, &format!("{}, in {file} at byte {offset}", host_name(node)));
                machine.is_rotten.set(true);
                machine.is_marred.set(true);
            }
            Kind::ManifestRot => {
                if !self.has_spare(kind, plant) || plant.operator.moves(node) || !plant.may_lose_storage(node) {
                    return false;
                }
                plant.kill(node);
                self.later(20..=3_000, Heal::Boot(node), plant);
                let Some(offset) = machine.disk.rot_manifest() else { return self.only_killed(node, plant) };
                self.note(kind, &format!("{}, at byte {offset}", host_name(node)));
                machine.has_rotten_manifest.set(true);
                machine.is_marred.set(true);
                plant.tally.happened(kind);
            }
            Kind::DiskLoss => {
                let is_registered = plant.directory().0.contains_key(&node);
                let is_here_to_stay = is_registered && !plant.operator.moves(node);
                if !self.has_spare(kind, plant) || !is_here_to_stay || !plant.may_lose_storage(node) {
                    return false;
                }
                self.note(kind, &host_name(node));
                plant.kill(node);
                machine.lose_data();
                machine.standing.set(Standing::Lost);
                self.later(20..=3_000, Heal::Boot(node), plant);
            }
            Kind::Transfer => {
                let leads = |node: &NodeId| {
                    let running = plant.machines[node].node();
                    running.is_some_and(|running| {
                        running.hosted().into_iter().any(|group| running.leader(group) == Some(*node))
                    })
                };
                let leaders: Vec<NodeId> = up.into_iter().filter(leads).collect();
                if leaders.is_empty() {
                    return false;
                }
                let leader = *self.dice.pick(&leaders);
                self.note(kind, &host_name(leader));
                plant.machines[&leader].ask_to_hand_over();
            }
            Kind::AdminTransfer | Kind::AddNode | Kind::RemoveNode | Kind::Drain | Kind::Rebalance | Kind::Overload => {
                return self.order(kind, node, plant);
            }
            Kind::RollingRestart => {
                if self.rolling.is_some() {
                    return false;
                }
                self.note(kind, "every node in turn");
                self.rolling = Some(Rolling { left: plant.members(), turn: None });
            }
            Kind::SlowClients | Kind::GatewayRush => {
                let number = 1 + self.dice.index(plant.gateways.len());
                let slow = [Offence::SlowHead, Offence::SlowBody, Offence::DeafEar];
                let offence = if kind == Kind::GatewayRush { Offence::Rush } else { *self.dice.pick(&slow) };
                if !plant.web.want(offence, number) {
                    return false;
                }
                self.note(kind, &format!("{}: {offence:?}", gateway_name(number)));
            }
            Kind::GatewayDeath | Kind::GatewayStop => {
                // A script counts gateways as it counts nodes.
                let drawn = 1 + self.dice.index(plant.gateways.len());
                let number = given.and_then(|given| usize::try_from(given).ok()).unwrap_or(drawn);
                if !plant.is_up(&gateway_name(number)) {
                    return false;
                }
                self.note(kind, &gateway_name(number));
                if kind == Kind::GatewayStop {
                    plant.stop_gateway(number);
                } else {
                    plant.kill_gateway(number);
                    self.later(100..=3_000, Heal::BootGateway(number), plant);
                    plant.tally.happened(kind);
                }
            }
        }
        true
    }

    /// Tells the operator to do something.
    fn order(&mut self, kind: Kind, node: NodeId, plant: &mut Plant) -> bool {
        if plant.operator.is_busy() {
            return false;
        }
        match kind {
            Kind::AdminTransfer => {
                let groups: Vec<_> = plant.groups().into_iter().collect();
                if groups.is_empty() {
                    return false;
                }
                let group = *self.dice.pick(&groups);
                let views = plant.views(group);
                let heirs = views.iter().filter(|(node, view)| !view.is_leader && view.voters.contains(node));
                let heirs: Vec<NodeId> = heirs.map(|(node, _)| *node).collect();
                if heirs.is_empty() {
                    return false;
                }
                let heir = *self.dice.pick(&heirs);
                self.note(kind, &format!("{group} to {}", host_name(heir)));
                plant.operator.transfer(group, heir);
            }
            Kind::AddNode => {
                let Some(spare) = self.has_spare(kind, plant).then(|| plant.start_spare()).flatten() else {
                    return false;
                };
                self.note(kind, &host_name(spare));
                plant.operator.add(spare);
            }
            Kind::RemoveNode => {
                if plant.members().len() <= NODES_MIN {
                    let Some(spare) = self.has_spare(kind, plant).then(|| plant.start_spare()).flatten() else {
                        return false;
                    };
                    self.note(kind, &format!("first {} comes", host_name(spare)));
                    plant.operator.add(spare);
                }
                self.note(kind, &host_name(node));
                plant.operator.remove(node);
            }
            Kind::Drain => {
                self.note(kind, &host_name(node));
                plant.operator.drain(node);
            }
            Kind::Overload => {
                let groups: Vec<_> = plant.groups().into_iter().filter(|group| *group != GroupId::DIRECTORY).collect();
                if groups.is_empty() {
                    return false;
                }
                let group = *self.dice.pick(&groups);
                self.note(kind, &group.to_string());
                plant.operator.flood(group);
            }
            _ => {
                self.note(kind, "the cluster");
                plant.operator.rebalance();
            }
        }
        true
    }

    /// A node, or its machine, is to end in the middle of what it writes: one of those that come past a certain edge, for not
    /// all of them do, or a given one at whatever edge it passes.
    fn set_fuses(&mut self, kind: Kind, machine: &Machine, plant: &Plant) {
        let share = if self.misses_edge(plant) { 85 } else { 20 };
        // An edge that is hardly ever passed was waited for long enough.
        let is_overdue = plant.tally.of(kind) == 0 && self.begun.is_some_and(|begun| plant.elapsed() > begun + OVERDUE);
        let edge = match self.mix.edge.filter(|_| self.dice.percent(share)) {
            _ if is_overdue => None,
            None => self.dice.percent(75).then(|| self.dice.pick(EDGES).0),
            wanted => wanted,
        };
        let passes_max = match edge {
            Some(edge) if leads_past(edge).is_empty() => 2,
            // It is not passed often.
            Some(_) => 0,
            None => 15,
        };
        let passes = self.dice.within(0..=passes_max);
        let end = if kind == Kind::KillInWrite { End::Process } else { End::Power };
        let fuse = Fuse { edge, passes, takes_effect: self.dice.percent(50), end };
        let place = edge.map_or_else(|| "any edge".to_owned(), |edge| edge.to_string());
        let when = if fuse.takes_effect { "after" } else { "before" };
        let whose = if edge.is_some() { "every node".to_owned() } else { host_name(machine.id) };
        self.note(kind, &format!("{whose}, {when} {place}, {passes} later"));
        match edge {
            Some(_) => plant.machines.values().for_each(|machine| machine.power.arm(fuse)),
            None => machine.power.arm(fuse),
        }
    }

    /// What was to be struck was not there, so all that came of it is a kill.
    fn only_killed(&self, node: NodeId, plant: &Plant) -> bool {
        self.note(Kind::Kill, &host_name(node));
        plant.tally.happened(Kind::Kill);
        false
    }

    fn note(&self, kind: Kind, what: &str) {
        self.trace.note("world", format!("FAULT {kind}: {what}"));
    }

    pub(super) fn later(&mut self, millis: RangeInclusive<u64>, heal: Heal, plant: &Plant) {
        let due = plant.elapsed() + self.dice.millis(millis);
        self.pending.push((due, heal));
    }

    /// Something is wrong for a while.
    fn begin(&mut self, millis: RangeInclusive<u64>, effect: Effect, plant: &mut Plant) {
        let begun = plant.begin(effect);
        self.later(millis, Heal::End(begun), plant);
    }

    /// The way between a node and some other machine, or now and then between a visitor and a gateway.
    fn link(&mut self, node: NodeId, plant: &Plant) -> (String, String) {
        if !plant.visitors.is_empty() && self.dice.percent(15) {
            return (self.dice.pick(&plant.visitors).clone(), self.gateway(plant));
        }
        let name = host_name(node);
        let others: Vec<String> = plant.names().into_iter().filter(|other| *other != name).collect();
        let other = self.dice.pick(&others).clone();
        (name, other)
    }

    /// Whether there is a machine in reserve for this: one that nobody waits for, and that no other kind of the mix needs in
    /// order to happen at all.
    fn has_spare(&self, kind: Kind, plant: &Plant) -> bool {
        let is_waited_for = |machine: &&Rc<Machine>| {
            machine.is_rotten.get() || machine.has_rotten_manifest.get() || machine.standing.get() == Standing::Lost
        };
        let waiting = plant.machines.values().filter(is_waited_for).count();
        let needs_one = |other: &Kind| *other != kind && other.takes_spare() && plant.tally.of(*other) == 0;
        plant.spares().len() > waiting + self.mix.kinds().filter(needs_one).count()
    }

    fn gateway(&mut self, plant: &Plant) -> String {
        gateway_name(1 + self.dice.index(plant.gateways.len()))
    }

    fn partition(&mut self, kind: Kind, node: NodeId, plant: &mut Plant) {
        let (name, others) = if self.dice.percent(50) {
            let name = host_name(node);
            let others = plant.names().into_iter().filter(|other| *other != name).collect();
            (name, others)
        } else {
            let (name, other) = self.link(node, plant);
            (name, vec![other])
        };
        let inwards = self.dice.percent(50);
        let way = match kind {
            Kind::Partition => "and",
            _ if inwards => "does not hear",
            _ => "is not heard by",
        };
        self.note(kind, &format!("{name} {way} {}", others.join(", ")));
        let span = self.dice.within(100..=5_000);
        for other in others {
            if kind == Kind::Partition || inwards {
                self.begin(span..=span, Effect::Cut { from: other.clone(), to: name.clone() }, plant);
            }
            if kind == Kind::Partition || !inwards {
                self.begin(span..=span, Effect::Cut { from: name.clone(), to: other }, plant);
            }
        }
        plant.tally.happened(kind);
    }
}

/// Nodes that a cluster has at least: as many as a group is kept on.
const NODES_MIN: usize = 3;

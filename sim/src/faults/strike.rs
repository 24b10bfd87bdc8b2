//! How each kind of fault strikes, and how it passes.

use super::{Faults, Kind};
use crate::gateway::gateway_name;
use crate::host::host_name;
use crate::plant::Plant;
use crate::web::visits::Offence;
use std::ops::RangeInclusive;
use std::time::Duration;
use vestibule_raft::types::NodeId;

/// How a fault passes.
#[derive(Debug, Clone)]
pub(super) enum Heal {
    Boot(NodeId),
    BootGateway(usize),
    Mend(String, String),
    EndLoss(String, String),
    EndDelay(String, String),
    Release(String, String),
    RightClock(NodeId),
    FastSync(NodeId),
    MakeRoom(NodeId),
}

impl Heal {
    pub(super) fn apply(self, plant: &mut Plant) {
        match self {
            Self::Boot(node) => plant.boot(node),
            Self::BootGateway(number) => plant.boot_gateway(number),
            Self::Mend(one, other) => plant.mend(&one, &other),
            Self::EndLoss(one, other) => plant.set_loss(&one, &other, 0.0),
            Self::EndDelay(one, other) => plant.set_latency(&one, &other, None),
            Self::Release(one, other) => plant.release(&one, &other),
            Self::RightClock(node) => plant.machines[&node].clock.set_skew(0),
            Self::FastSync(node) => plant.machines[&node].disk.set_sync_delay(Duration::ZERO),
            Self::MakeRoom(node) => {
                plant.machines[&node].disk.set_capacity(u64::MAX);
                plant.machines[&node].store.fill_after(None);
            }
        }
    }
}

impl Faults {
    /// Strikes, if there is anything to strike; gives whether there was.
    pub(super) fn strike(&mut self, kind: Kind, plant: &mut Plant) -> bool {
        let up = plant.nodes_up();
        if up.is_empty() {
            return false;
        }
        let node = *self.dice.pick(&up);
        let machine = plant.machines[&node].clone();
        match kind {
            Kind::Stop => {
                self.note(kind, &host_name(node));
                machine.ask_to_stop();
            }
            Kind::Kill => {
                self.note(kind, &host_name(node));
                plant.kill(node);
                self.later(20..=3_000, Heal::Boot(node), plant);
            }
            Kind::PowerCut => {
                self.note(kind, &host_name(node));
                plant.cut_power(node);
                self.later(20..=3_000, Heal::Boot(node), plant);
            }
            Kind::PowerCutInWrite => {
                // The node notices with its next write, and is taken down then.
                self.note(kind, &host_name(node));
                if self.dice.percent(70) {
                    machine.disk.cut_power_after(self.dice.within(0..=12));
                } else {
                    machine.store.cut_power_after(self.dice.within(0..=6));
                }
            }
            Kind::Blackout => {
                self.note(kind, "all nodes");
                for node in up {
                    plant.cut_power(node);
                    self.later(20..=2_000, Heal::Boot(node), plant);
                }
            }
            Kind::LongOutage => {
                self.note(kind, &host_name(node));
                plant.cut_power(node);
                self.later(5_000..=12_000, Heal::Boot(node), plant);
            }
            Kind::Partition | Kind::PartitionOneWay => self.partition(kind, node, plant),
            Kind::Loss => {
                let (one, other) = self.link(node, plant);
                self.note(kind, &format!("{one} and {other}"));
                plant.set_loss(&one, &other, self.dice.within(1..=20) as f64 / 100.0);
                self.later(200..=4_000, Heal::EndLoss(one, other), plant);
            }
            Kind::Delay => {
                let (one, other) = self.link(node, plant);
                self.note(kind, &format!("{one} and {other}"));
                plant.set_latency(&one, &other, Some(self.dice.millis(20..=400)));
                self.later(200..=4_000, Heal::EndDelay(one, other), plant);
            }
            Kind::Stall => {
                let name = host_name(node);
                self.note(kind, &name);
                let span = self.dice.within(50..=2_500);
                for other in plant.names().into_iter().filter(|other| *other != name) {
                    plant.hold(&name, &other);
                    self.later(span..=span, Heal::Release(name.clone(), other), plant);
                }
            }
            Kind::ClockSkew | Kind::ClockJump => {
                let far = if kind == Kind::ClockSkew { 1..=450 } else { 600..=3_600_000 };
                let off = self.dice.within(far) as i64;
                let off = if self.dice.percent(50) { off } else { -off };
                self.note(kind, &format!("{} by {off} ms", host_name(node)));
                machine.clock.set_skew(off);
                self.later(500..=6_000, Heal::RightClock(node), plant);
            }
            Kind::SyncError => {
                self.note(kind, &host_name(node));
                machine.disk.fail_sync_after(self.dice.within(0..=20));
            }
            Kind::SlowSync => {
                let delay = self.dice.millis(5..=600);
                self.note(kind, &format!("{} takes {delay:?}", host_name(node)));
                machine.disk.set_sync_delay(delay);
                self.later(200..=4_000, Heal::FastSync(node), plant);
            }
            Kind::DiskFull => {
                self.note(kind, &host_name(node));
                machine.disk.set_capacity(machine.disk.used_bytes() + self.dice.within(0..=200_000));
                if self.dice.percent(50) {
                    machine.store.fill_after(Some(self.dice.within(0..=10)));
                }
                self.later(500..=5_000, Heal::MakeRoom(node), plant);
            }
            Kind::CheckpointRot => {
                self.note(kind, &host_name(node));
                plant.kill(node);
                self.later(20..=3_000, Heal::Boot(node), plant);
                return machine.store.rot();
            }
            Kind::Transfer => {
                self.note(kind, &host_name(node));
                machine.ask_to_hand_over();
            }
            Kind::SlowClients | Kind::Overload => {
                let number = 1 + self.dice.index(plant.gateways.len());
                let slow = [Offence::SlowHead, Offence::SlowBody, Offence::DeafEar];
                let offence = if kind == Kind::Overload { Offence::Rush } else { *self.dice.pick(&slow) };
                if !plant.web.want(offence, number) {
                    return false;
                }
                self.note(kind, &format!("{}: {offence:?}", gateway_name(number)));
            }
            Kind::GatewayDeath => {
                let number = 1 + self.dice.index(plant.gateways.len());
                if !plant.is_up(&gateway_name(number)) {
                    return false;
                }
                self.note(kind, &gateway_name(number));
                plant.kill_gateway(number);
                self.later(100..=3_000, Heal::BootGateway(number), plant);
            }
        }
        true
    }

    fn note(&self, kind: Kind, what: &str) {
        self.trace.note("world", format!("FAULT {kind}: {what}"));
    }

    fn later(&mut self, millis: RangeInclusive<u64>, heal: Heal, plant: &Plant) {
        let due = plant.elapsed() + self.dice.millis(millis);
        self.pending.push((due, heal));
    }

    /// The way between a node and some other machine.
    fn link(&mut self, node: NodeId, plant: &Plant) -> (String, String) {
        let name = host_name(node);
        let others: Vec<String> = plant.names().into_iter().filter(|other| *other != name).collect();
        let other = self.dice.pick(&others).clone();
        (name, other)
    }

    fn partition(&mut self, kind: Kind, node: NodeId, plant: &mut Plant) {
        let name = host_name(node);
        let others: Vec<String> = if self.dice.percent(50) {
            plant.names().into_iter().filter(|other| *other != name).collect()
        } else {
            vec![self.link(node, plant).1]
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
                plant.cut(&other, &name);
            }
            if kind == Kind::Partition || !inwards {
                plant.cut(&name, &other);
            }
            self.later(span..=span, Heal::Mend(name.clone(), other), plant);
        }
    }
}

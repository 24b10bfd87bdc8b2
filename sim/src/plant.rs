//! The machines of a run and the network between them: what faults act on.

use crate::gateway::{Gateway, gateway_name};
use crate::host::{Machine, host_name};
use crate::options::Options;
use crate::trace::{self, Trace};
use crate::web;
use crate::workload::Shop;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use vestibule_raft::types::NodeId;

/// Everything that can be broken.
pub struct Plant {
    sim: turmoil::Sim<'static>,
    trace: Trace,
    latency_max: Duration,
    /// The machines of nodes.
    pub machines: BTreeMap<NodeId, Rc<Machine>>,
    /// The gateways.
    pub gateways: Vec<Rc<Gateway>>,
    /// Those who come to them over HTTP.
    pub web: web::Web,
    /// Machines on which nothing runs.
    down: BTreeSet<String>,
    /// Ways on which nothing gets through, from and to.
    cut: BTreeSet<(String, String)>,
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
        let machines: BTreeMap<NodeId, Rc<Machine>> =
            (1..=options.nodes).map(|id| (id, Rc::new(Machine::new(id, options, trace)))).collect();
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
        let (down, cut) = (BTreeSet::new(), BTreeSet::new());
        let (trace, web, latency_max) = (trace.clone(), shop.web.clone(), options.latency.1);
        Self { sim, trace, latency_max, machines, gateways, web, down, cut }
    }

    /// Simulated time.
    pub fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Lets a little time pass. Takes down the nodes whose processes have ended meanwhile; gives their numbers. `Err` says
    /// what fell over.
    pub fn step(&mut self) -> Result<Vec<NodeId>, String> {
        let stepped = self.sim.step();
        trace::leave_host();
        self.trace.set_now(self.sim.elapsed());
        stepped.map_err(|error| error.to_string())?;
        let machines = self.machines.values();
        let ended: Vec<NodeId> =
            machines.filter(|machine| machine.take_ended().is_some()).map(|machine| machine.id).collect();
        for node in &ended {
            // A node whose disks have no power any more has none either.
            if self.machines[node].has_power() {
                self.kill(*node);
            } else {
                self.cut_power(*node);
            }
        }
        Ok(ended)
    }

    fn note(&self, what: String) {
        self.trace.note("world", what);
    }

    /// All machines, by name.
    pub fn names(&self) -> Vec<String> {
        let gateways = self.gateways.iter().map(|gateway| gateway_name(gateway.number));
        self.machines.keys().map(|node| host_name(*node)).chain(gateways).collect()
    }

    /// Whether a machine has something running on it.
    pub fn is_up(&self, name: &str) -> bool {
        !self.down.contains(name)
    }

    /// The nodes that run.
    pub fn nodes_up(&self) -> Vec<NodeId> {
        self.machines.keys().copied().filter(|node| self.is_up(&host_name(*node))).collect()
    }

    /// The node's process is gone from one moment to the next. What it wrote is there; what its kernel has of its
    /// connections is closed.
    pub fn kill(&mut self, node: NodeId) {
        let name = host_name(node);
        if !self.down.insert(name.clone()) {
            return;
        }
        self.machines[&node].forget_node();
        self.sim.crash(name.as_str());
        trace::leave_host();
    }

    /// The machine has no power: nobody hears of it, and what was not synced is lost, in part.
    pub fn cut_power(&mut self, node: NodeId) {
        let machine = self.machines[&node].clone();
        // First the disks, then the network: what runs while the host is taken down changes nothing any more.
        machine.disk.cut_power_after(0);
        machine.store.cut_power_after(0);
        let name = host_name(node);
        for other in self.names().into_iter().filter(|other| *other != name) {
            self.sim.partition(name.as_str(), other.as_str());
        }
        self.kill(node);
        machine.disk.restore_power();
        machine.store.restore_power();
        for other in self.names().into_iter().filter(|other| *other != name) {
            self.reconnect(&name, &other);
        }
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

    /// Nothing is wrong any more, and everything runs.
    pub fn mend_all(&mut self) {
        for (node, machine) in self.machines.clone() {
            if !machine.has_power() {
                self.cut_power(node);
            }
            machine.disk.mend();
            machine.store.mend();
            machine.clock.set_skew(0);
        }
        for node in self.machines.keys().copied().collect::<Vec<_>>() {
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

    /// Nothing gets from one machine to another any more.
    pub fn cut(&mut self, from: &str, to: &str) {
        if self.cut.insert((from.to_owned(), to.to_owned())) {
            self.sim.partition_oneway(from, to);
        }
    }

    /// Everything gets through again between the two.
    pub fn mend(&mut self, one: &str, other: &str) {
        self.cut.remove(&(one.to_owned(), other.to_owned()));
        self.cut.remove(&(other.to_owned(), one.to_owned()));
        self.reconnect(one, other);
    }

    fn reconnect(&mut self, one: &str, other: &str) {
        self.sim.repair(one, other);
        for (from, to) in [(one, other), (other, one)] {
            if self.cut.contains(&(from.to_owned(), to.to_owned())) {
                self.sim.partition_oneway(from, to);
            }
        }
    }

    /// Packets between the two are lost with this probability.
    pub fn set_loss(&mut self, one: &str, other: &str, loss: f64) {
        self.sim.set_link_fail_rate(one, other, loss);
    }

    /// Packets between the two take up to this long; nothing means as usual.
    pub fn set_latency(&mut self, one: &str, other: &str, latency: Option<Duration>) {
        self.sim.set_link_max_message_latency(one, other, latency.unwrap_or(self.latency_max));
    }

    /// Packets between the two wait.
    pub fn hold(&mut self, one: &str, other: &str) {
        self.sim.hold(one, other);
    }

    /// Packets that waited between the two arrive.
    pub fn release(&mut self, one: &str, other: &str) {
        self.sim.release(one, other);
        self.reconnect(one, other);
    }
}

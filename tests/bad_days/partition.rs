//! Nodes in network namespaces of their own, and cables that are pulled.

use crate::buyers::Crowd;
use crate::support::{Cluster, eventually, vestibule_in};
use crate::{group_of, often, run, turn};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const NODES: usize = 3;

/// A bridge with a namespace behind each of its ports. What is made of it is removed at the end.
struct Network {
    number: u32,
}

impl Network {
    /// Names no other test has: interfaces have short ones.
    fn lay() -> Result<Self, String> {
        let network = Self { number: std::process::id() };
        let (bridge, subnet) = (network.bridge(), network.subnet());
        run(&["ip", "link", "add", &bridge, "type", "bridge"])?;
        run(&["ip", "address", "add", &format!("{subnet}.254/24"), "dev", &bridge])?;
        run(&["ip", "link", "set", &bridge, "up"])?;
        for node in 1..=NODES {
            let (namespace, port) = (network.namespace(node), network.port(node));
            let inside = ["ip", "-n", &namespace];
            let within = |more: &[&str]| run(&[&inside[..], more].concat());
            run(&["ip", "netns", "add", &namespace])?;
            run(&["ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            run(&["ip", "link", "set", &port, "master", &bridge, "up"])?;
            within(&["address", "add", &format!("{subnet}.{node}/24"), "dev", "eth0"])?;
            within(&["link", "set", "eth0", "up"])?;
            within(&["link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    fn bridge(&self) -> String {
        format!("vb{}", self.number)
    }

    fn port(&self, node: usize) -> String {
        format!("vp{}n{node}", self.number)
    }

    fn namespace(&self, node: usize) -> String {
        format!("vestibule-{}-{node}", self.number)
    }

    fn subnet(&self) -> String {
        format!("10.{}.{}", 200 + self.number / 256 % 50, self.number % 256)
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let address = |node| format!("{}.{node}:7100", self.subnet()).parse().expect("an address");
        (1..=NODES).map(address).collect()
    }

    fn pull(&self, node: usize) {
        run(&["ip", "link", "set", &self.port(node), "down"]).expect("the cable can be pulled");
    }

    fn plug(&self, node: usize) {
        run(&["ip", "link", "set", &self.port(node), "up"]).expect("the cable can be plugged in");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With a namespace its end of the cable goes, and with that the other one. Not all may have been made.
        for node in 1..=NODES {
            let _ = run(&["ip", "netns", "delete", &self.namespace(node)]);
        }
        let _ = run(&["ip", "link", "delete", &self.bridge()]);
    }
}

/// What `ctl` comes to, run where only one node can be reached.
fn ctl_beside(network: &Network, cluster: &Cluster, node: usize, args: &[&str]) -> (bool, Vec<u8>) {
    let (nodes, plain) = (cluster.node_address(node), "--insecure-plaintext");
    let args = [&["ctl"], args, &["--nodes", &nodes, plain]].concat();
    let output = vestibule_in(&network.namespace(node), &args).output().expect("the binary runs");
    (output.status.success(), output.stdout)
}

/// Whether the node has a command of anybody's carried out.
fn takes_commands(network: &Network, cluster: &Cluster, node: usize) -> bool {
    ctl_beside(network, cluster, node, &["token", "--organisation", "Lonely House"]).0
}

/// Whether the node answers a question as of now: `status` asks which nodes there are.
fn answers_questions(network: &Network, cluster: &Cluster, node: usize) -> bool {
    let (_, overview) = ctl_beside(network, cluster, node, &["status", "--json"]);
    let overview: Value = serde_json::from_slice(&overview).expect("JSON");
    assert!(overview["reports"][0]["groups"].is_array(), "the node itself is there: {overview}");
    overview["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty())
}

#[test]
fn a_minority_refuses_the_majority_goes_on_and_both_meet_again() {
    let _turn = turn();
    let network = match Network::lay() {
        Ok(network) => network,
        Err(reason) => {
            eprintln!("SKIPPED: no network namespaces can be made here ({reason}); partitions were NOT tested");
            return;
        }
    };
    let namespaces = (1..=NODES).map(|node| network.namespace(node)).collect();
    let mut cluster = Cluster::in_namespaces(namespaces, network.addresses());
    let token = cluster.token();
    let showtime = cluster.sell_arena(&token, often(12_000, 40_000));
    let group = group_of(&showtime);
    let crowd = Crowd::start(&cluster, &showtime);
    let span = Duration::from_secs(often(3, 10) as u64);
    for _ in 0..often(1, 5) {
        crowd.goes_on(20);
        let alone = cluster.leader(group);
        assert!(takes_commands(&network, &cluster, alone), "it does while it is not alone");
        assert!(answers_questions(&network, &cluster, alone), "it does while it is not alone");
        network.pull(alone);
        let began = Instant::now();
        eventually("another leads", || (cluster.leader(group) != alone).then_some(()));
        crowd.goes_on(20);
        // Both at once, because it takes its time to refuse.
        let (answers, takes) = std::thread::scope(|scope| {
            let takes = scope.spawn(|| takes_commands(&network, &cluster, alone));
            (answers_questions(&network, &cluster, alone), takes.join().expect("it does not panic"))
        });
        assert!(!takes && !answers, "without a majority it takes commands: {takes}, answers questions: {answers}");
        while began.elapsed() < span {
            crowd.goes_on(10);
        }
        network.plug(alone);
        cluster.wait_until_caught_up(alone);
        eprintln!("node {alone} was alone for {:?}", began.elapsed());
    }
    crowd.goes_on(20);
    crowd.finish().check(&cluster);
    // Before their networks go.
    (1..=NODES).for_each(|id| cluster.kill_node(id));
}

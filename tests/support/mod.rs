//! Runs the binary as a user does, and looks after the processes it started.

#![allow(dead_code, reason = "each test file uses a part of this")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Nothing that a test waits for may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Shard groups of a test's cluster.
pub(crate) const GROUPS: u64 = 4;

/// So much of each node's log is printed when a test fails.
const LINES_OF_A_FAILURE: usize = 60;

/// The binary with the given arguments.
pub(crate) fn vestibule(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(args).env("VESTIBULE_LOG", "error,openraft=off");
    command
}

/// The same in a network namespace. The process is the binary's own.
pub(crate) fn vestibule_in(namespace: &str, args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_vestibule")]).args(args);
    command.env("VESTIBULE_LOG", "error,openraft=off");
    command
}

/// The same on a disk of which every sync takes so much longer. The process is the binary's own, and `strace` watches it.
pub(crate) fn vestibule_with_slow_disk(delay: Duration, args: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
    command.args(["-e", "trace=fsync,fdatasync,sync_file_range", "-e"]);
    command.arg(format!("inject=fsync,fdatasync,sync_file_range:delay_enter={}", delay.as_micros()));
    command.arg(env!("CARGO_BIN_EXE_vestibule")).args(args).env("VESTIBULE_LOG", "error,openraft=off");
    command
}

/// A process that is killed when the test ends, however it ends.
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts the binary. Its standard output is read by the test, its standard error goes to the test's.
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        Self::spawn(name, vestibule(args))
    }

    /// The same with a command that was prepared otherwise.
    pub(crate) fn spawn(name: &str, mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        Self { child, name: name.to_owned() }
    }

    /// The first line it prints.
    pub(crate) fn first_line(&mut self) -> String {
        let stdout = self.child.stdout.take().expect("it is read once");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it prints text");
        assert!(!line.is_empty(), "{} ended without a line", self.name);
        line
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state can be read").is_none()
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("its state can be read") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end and gives all that it printed.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().expect("it is read once");
        stdout.read_to_string(&mut text).expect("it prints text");
        (self.wait(), text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports of loopback that were free a moment ago.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports")).collect();
    held.iter().map(|listener| listener.local_addr().expect("it is bound")).collect()
}

/// How a node comes to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It forms the cluster together with the others of its kind.
    Founder,
    /// It joins by the founders.
    Joins,
    /// It was told of nobody, and waits to be added.
    Waits,
}

/// A cluster of processes: nodes and gateways started by hand.
pub(crate) struct Cluster {
    node_addresses: Vec<SocketAddr>,
    origins: Vec<Origin>,
    http_addresses: Vec<SocketAddr>,
    metrics_addresses: Vec<SocketAddr>,
    /// What nodes write to their logs, if that is wanted.
    node_log: Option<String>,
    nodes: Vec<Option<Process>>,
    gateways: Vec<Process>,
    /// Where the certificates are, if there are any.
    certificates: Option<PathBuf>,
    name: String,
    /// More arguments of every node.
    more: Vec<String>,
    /// The network namespace of each node, if nodes have their own.
    namespaces: Vec<String>,
    /// Where nodes keep their data, if that is not below `root`.
    data_root: Option<PathBuf>,
    // The last to go: nodes that still run must not lose their files.
    root: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The logs go with the directory, and whoever looks for the reason of a failure has only what was printed.
        if std::thread::panicking() && self.node_log.is_some() {
            for id in 1..=self.nodes.len() {
                let log = std::fs::read_to_string(self.node_log(id)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(LINES_OF_A_FAILURE)..];
                eprintln!("the last of node {id}'s log:\n{}", last.join("\n"));
            }
        }
    }
}

impl Cluster {
    /// Starts gateways first and nodes after them: the order must not matter.
    pub(crate) fn start(nodes: usize, gateways: usize) -> Self {
        Self::start_with(nodes, gateways, false)
    }

    /// The same with certificates for all, made as a user makes them.
    pub(crate) fn start_secured(nodes: usize, gateways: usize) -> Self {
        Self::start_with(nodes, gateways, true)
    }

    /// A new cluster made of a backup, with one gateway.
    pub(crate) fn restore(backup: &Path, name: &str, nodes: usize) -> Self {
        let mut cluster = Self::prepare(nodes, 1);
        cluster.name = name.to_owned();
        let peers = cluster.peers();
        for id in 1..=nodes {
            let (data, id) = (cluster.node_data(id), id.to_string());
            let args = ["ctl", "restore", "--from", text(backup), "--data", text(&data), "--id", &id];
            let output = vestibule(&args).args(["--peers", &peers, "--cluster", name]).output().expect("it runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        cluster.start_all();
        cluster
    }

    fn start_with(nodes: usize, gateways: usize, is_secured: bool) -> Self {
        let mut cluster = Self::prepare(nodes, gateways);
        if is_secured {
            cluster.certificates = Some(cluster.root.path().join("certs"));
            cluster.certify(1..=nodes);
        }
        cluster.start_all();
        cluster
    }

    /// Makes certificates for nodes, and for the gateway and the operator unless they have theirs.
    fn certify(&self, nodes: std::ops::RangeInclusive<usize>) {
        let ids: Vec<String> = nodes.flat_map(|id| ["--node".to_owned(), id.to_string()]).collect();
        let mut args = vec!["ctl", "certs", text(self.certificates()), "--gateway", "--operator"];
        args.extend(ids.iter().map(String::as_str));
        assert!(vestibule(&args).stdout(Stdio::null()).status().expect("the binary runs").success());
    }

    /// Nodes and a gateway; the nodes write a log of JSON, of what passes the filter.
    pub(crate) fn start_logging(nodes: usize, filter: &str) -> Self {
        let mut cluster = Self::prepare(nodes, 1);
        cluster.node_log = Some(filter.to_owned());
        cluster.start_all();
        cluster
    }

    /// Where a node writes its log.
    pub(crate) fn node_log(&self, id: usize) -> PathBuf {
        self.root.path().join(format!("node{id}.log"))
    }

    /// Where a node serves its figures.
    pub(crate) fn metrics_address(&self, id: usize) -> SocketAddr {
        self.metrics_addresses[id - 1]
    }

    /// Where the first gateway listens.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http_addresses[0]
    }

    /// Has the nodes that are started from now on write a log of JSON, of what passes the filter.
    pub(crate) fn log_nodes(&mut self, filter: &str) {
        self.node_log = Some(filter.to_owned());
    }

    /// Starts the gateways only. The nodes will have some more arguments.
    pub(crate) fn without_nodes(nodes: usize, gateways: usize, more: &[&str]) -> Self {
        let mut cluster = Self::prepare(nodes, gateways);
        cluster.more = more.iter().map(|&arg| arg.to_owned()).collect();
        cluster.start_gateways();
        cluster
    }

    /// Starts a gateway, and nodes that have a network namespace each; the nodes are to listen at the given addresses.
    pub(crate) fn in_namespaces(namespaces: Vec<String>, addresses: Vec<SocketAddr>) -> Self {
        let mut cluster = Self::prepare(namespaces.len(), 1);
        (cluster.namespaces, cluster.node_addresses) = (namespaces, addresses);
        cluster.start_all();
        cluster
    }

    /// The same as [`Self::without_nodes`], with the nodes' data below another directory.
    pub(crate) fn with_data_at(nodes: usize, gateways: usize, data: PathBuf) -> Self {
        let mut cluster = Self::prepare(nodes, gateways);
        cluster.data_root = Some(data);
        cluster.start_gateways();
        cluster
    }

    fn start_all(&mut self) {
        self.start_gateways();
        for id in (1..=self.nodes.len()).rev() {
            self.start_node(id);
        }
    }

    /// A cluster of which nothing runs yet.
    fn prepare(nodes: usize, gateways: usize) -> Self {
        let mut addresses = free_addresses(2 * nodes + gateways);
        let http_addresses = addresses.split_off(2 * nodes);
        let metrics_addresses = addresses.split_off(nodes);
        let root = tempfile::tempdir().expect("a temporary directory");
        Self {
            root,
            node_addresses: addresses,
            origins: vec![Origin::Founder; nodes],
            http_addresses,
            metrics_addresses,
            node_log: None,
            nodes: (0..nodes).map(|_| None).collect(),
            gateways: Vec::new(),
            certificates: None,
            name: "vestibule".to_owned(),
            more: Vec::new(),
            namespaces: Vec::new(),
            data_root: None,
        }
    }

    fn start_gateways(&mut self) {
        for http in self.http_addresses.clone() {
            let (http, nodes, security) = (http.to_string(), self.node_list(), self.security("gateway"));
            let mut args = vec!["gateway", "--http", &http, "--nodes", &nodes];
            args.extend(security.iter().map(String::as_str));
            self.gateways.push(Process::start("gateway", &args));
        }
    }

    /// Where the certificates are.
    pub(crate) fn certificates(&self) -> &Path {
        self.certificates.as_deref().expect("the cluster was started with certificates")
    }

    /// A node's address.
    pub(crate) fn node_address(&self, id: usize) -> String {
        self.node_addresses[id - 1].to_string()
    }

    /// The options with which `who` shows its certificate.
    pub(crate) fn security(&self, who: &str) -> Vec<String> {
        let Some(directory) = &self.certificates else {
            // Beyond loopback, but not beyond this machine.
            let is_plain = !self.namespaces.is_empty();
            return is_plain.then(|| "--insecure-plaintext".to_owned()).into_iter().collect();
        };
        let file = |name: String| text(&directory.join(name)).to_owned();
        let options = [("--tls-ca", "ca.pem".to_owned()), ("--tls-cert", format!("{who}.pem"))];
        let options = options.into_iter().chain([("--tls-key", format!("{who}.key"))]);
        options.flat_map(|(option, name)| [option.to_owned(), file(name)]).collect()
    }

    /// `vestibule ctl` with the given arguments and the operator's certificate, about this cluster.
    pub(crate) fn ctl(&self, args: &[&str]) -> Command {
        let mut command = vestibule(&["ctl"]);
        command.args(args).args(["--nodes", &self.node_list()]).args(self.security("operator"));
        command
    }

    /// The addresses of the first nodes, as `--nodes` takes them: whoever came later is known to them.
    pub(crate) fn node_list(&self) -> String {
        self.founders().map(|(_, address)| address.to_string()).collect::<Vec<_>>().join(",")
    }

    fn founders(&self) -> impl Iterator<Item = (usize, &SocketAddr)> {
        let all = (1..).zip(&self.node_addresses).zip(&self.origins);
        all.filter(|(_, origin)| **origin == Origin::Founder).map(|(node, _)| node)
    }

    /// Starts one more node, with a certificate if the others have one, and gives its number.
    pub(crate) fn start_another(&mut self, origin: Origin) -> usize {
        let mut addresses = free_addresses(2);
        self.metrics_addresses.extend(addresses.pop());
        self.node_addresses.extend(addresses);
        self.origins.push(origin);
        self.nodes.push(None);
        let id = self.nodes.len();
        if self.certificates.is_some() {
            self.certify(id..=id);
        }
        self.start_node(id);
        id
    }

    /// The gateways' URLs.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.http_addresses.iter().map(|address| format!("http://{address}")).collect()
    }

    /// Where a node keeps its data.
    pub(crate) fn node_data(&self, id: usize) -> PathBuf {
        self.data_root.as_deref().unwrap_or(self.root.path()).join(format!("node{id}"))
    }

    /// Starts a node, for the first time or again.
    pub(crate) fn start_node(&mut self, id: usize) {
        let args = self.node_args(id);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let command = match self.namespaces.get(id - 1) {
            Some(namespace) => vestibule_in(namespace, &args),
            None => vestibule(&args),
        };
        self.spawn_node(id, command);
    }

    /// The same on a disk of which every sync takes so much longer.
    pub(crate) fn start_node_with_slow_disk(&mut self, id: usize, delay: Duration) {
        let args = self.node_args(id);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.spawn_node(id, vestibule_with_slow_disk(delay, &args));
    }

    fn spawn_node(&mut self, id: usize, mut command: Command) {
        if let Some(filter) = &self.node_log {
            let file = std::fs::File::options().create(true).append(true).open(self.node_log(id)).expect("a file");
            command.env("VESTIBULE_LOG", filter).env("VESTIBULE_LOG_FORMAT", "json").stderr(file);
        }
        self.nodes[id - 1] = Some(Process::spawn(&format!("node {id}"), command));
    }

    /// Starts a node that must refuse to start, and gives what it says.
    pub(crate) fn start_in_vain(&self, id: usize) -> String {
        let args = self.node_args(id);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = vestibule(&args).output().expect("the binary runs");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("text")
    }

    fn peers(&self) -> String {
        let peers: Vec<String> = self.founders().map(|(id, at)| format!("{id}={at}")).collect();
        peers.join(",")
    }

    fn node_args(&self, id: usize) -> Vec<String> {
        let (listen, data) = (self.node_addresses[id - 1].to_string(), self.node_data(id));
        let groups = GROUPS.to_string();
        let args = ["node", "--listen", &listen, "--data", text(&data), "--groups", &groups, "--id"];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        args.push(id.to_string());
        match self.origins[id - 1] {
            Origin::Founder => args.extend(["--peers".to_owned(), self.peers()]),
            Origin::Joins => args.extend(["--join".to_owned(), self.node_list()]),
            Origin::Waits => {}
        }
        args.extend(["--cluster".to_owned(), self.name.clone()]);
        args.extend(["--metrics".to_owned(), self.metrics_addresses[id - 1].to_string()]);
        args.extend(self.security(&format!("node-{id}")));
        args.extend(self.more.iter().cloned());
        args
    }

    /// `kill -9` of a node.
    pub(crate) fn kill_node(&mut self, id: usize) {
        self.nodes[id - 1].take().expect("it runs").kill();
    }

    /// The process of a node that runs.
    pub(crate) fn node(&mut self, id: usize) -> &mut Process {
        self.nodes[id - 1].as_mut().expect("it runs")
    }

    /// Asks a node to stop and waits until it has done so, which it must do well.
    pub(crate) fn stop_node(&mut self, id: usize) {
        let mut node = self.nodes[id - 1].take().expect("it runs");
        node.signal("TERM");
        let status = node.wait();
        assert!(status.success(), "node {id}: {status}");
    }

    /// Waits for the end of a node that is to end by itself, and gives how it ended.
    pub(crate) fn node_ends(&mut self, id: usize) -> ExitStatus {
        self.nodes[id - 1].take().expect("it runs").wait()
    }

    /// `kill -9` of everything, and then all nodes and gateways again.
    pub(crate) fn kill_all_and_restart(&mut self) {
        for id in 1..=self.nodes.len() {
            self.kill_node(id);
        }
        for gateway in &mut self.gateways {
            gateway.kill();
        }
        self.gateways.clear();
        for id in 1..=self.nodes.len() {
            self.start_node(id);
        }
        self.start_gateways();
    }

    /// An organiser's token, as soon as the cluster answers.
    pub(crate) fn token(&self) -> String {
        eventually("the cluster gives out a token", || {
            let output = self.ctl(&["token"]).output().expect("the binary runs");
            output.status.success().then(|| String::from_utf8(output.stdout).expect("text").trim().to_owned())
        })
    }

    /// Puts a showtime on sale and gives its id.
    pub(crate) fn sell(&self, token: &str, more: &[&str]) -> String {
        let url = self.urls()[0].clone();
        let mut args = vec!["ctl", "sell", "--url", &url, "--token", token, "--json"];
        args.extend(more);
        let output = vestibule(&args).output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
        line["showtimeId"].as_str().expect("an id").to_owned()
    }

    /// Puts an arena on sale that has no line, and holds that live longer than any test. Gives the showtime's id.
    pub(crate) fn sell_arena(&self, token: &str, seats: usize) -> String {
        let plan = self.root.path().join("arena.json");
        let output = vestibule(&["plan", "arena", "--seats", &seats.to_string()]).output().expect("the binary runs");
        std::fs::write(&plan, output.stdout).expect("a file");
        self.sell(token, &["--plan", text(&plan), "--method", "passthrough", "--hold-seconds", "3600"])
    }

    /// What the nodes that answer say of their groups.
    pub(crate) fn status(&self) -> Vec<Value> {
        let output = self.ctl(&["status", "--json"]).output().expect("the binary runs");
        let overview: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        overview["reports"].as_array().expect("reports").clone()
    }

    /// The highest index that any node has applied in the group.
    pub(crate) fn applied(&self, group: u64) -> u64 {
        self.status().iter().filter_map(|node| applied_in(node, group)).max().unwrap_or(0)
    }

    /// How far the cluster has come in each group, once every group is led.
    pub(crate) fn targets(&self) -> Vec<u64> {
        eventually("all groups are led", || {
            let status = self.status();
            let led = |group| status.iter().any(|node| group_of(node, group).is_some_and(|g| g["leader"] != 0));
            let targets = (0..=GROUPS).map(|group| {
                let applied = status.iter().filter_map(|node| applied_in(node, group)).max();
                applied.filter(|_| led(group))
            });
            targets.collect()
        })
    }

    /// Whether a node has applied that much of every group, and knows who leads it.
    pub(crate) fn has_reached(&self, id: usize, targets: &[u64]) -> bool {
        let status = self.status();
        let Some(node) = status.iter().find(|node| node["node"] == id) else { return false };
        let has_come = |(group, target): (u64, &u64)| {
            applied_in(node, group).is_some_and(|applied| applied >= *target)
                && group_of(node, group).is_some_and(|group| group["leader"] != 0)
        };
        (0..).zip(targets).all(has_come)
    }

    /// Waits until a node has applied in every group what the cluster has applied by now, and knows who leads it.
    pub(crate) fn wait_until_caught_up(&self, id: usize) {
        let targets = self.targets();
        eventually("the node has caught up", || self.has_reached(id, &targets).then_some(()));
    }

    /// The node that leads the given group, as soon as there is one.
    pub(crate) fn leader(&self, group: u64) -> usize {
        eventually("the group has a leader", || {
            self.status().iter().find_map(|node| {
                let groups = node["groups"].as_array()?;
                let found = groups.iter().find(|entry| entry["group"] == group)?;
                let leads = found["leader"] == node["node"] && found["leader"] != 0;
                leads.then(|| usize::try_from(node["node"].as_u64()?).ok()).flatten()
            })
        })
    }

    /// Starts a rush of the given size against all gateways.
    pub(crate) fn start_rush(&self, showtime: &str, buyers: &str, more: &[&str]) -> Process {
        let urls = self.urls().join(",");
        let mut args = vec!["rush", "--url", &urls, "--showtime", showtime, "--buyers", buyers, "--json"];
        args.extend(more);
        Process::start("rush", &args)
    }
}

/// The files below a directory, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What a node's report says of a group.
fn group_of(node: &Value, group: u64) -> Option<&Value> {
    node["groups"].as_array()?.iter().find(|entry| entry["group"] == group)
}

fn applied_in(node: &Value, group: u64) -> Option<u64> {
    group_of(node, group)?["appliedIndex"].as_u64()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

/// What the binary says when it refuses to do what it is asked.
pub(crate) fn refusal(args: &[&str]) -> String {
    let mut child = vestibule(args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary starts");
    let mut stderr = child.stderr.take().expect("it is piped");
    // One that does not refuse is killed when the time is up.
    let mut process = Process { child, name: args.join(" ") };
    assert!(!process.wait().success(), "{args:?} was not refused");
    let mut says = String::new();
    stderr.read_to_string(&mut says).expect("text");
    says
}

/// Tries until `attempt` gives something.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The report of a rush that has to be clean.
pub(crate) fn clean_report((status, text): (ExitStatus, String)) -> Value {
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(status.success(), "{status}: {}", report["violations"]);
    report
}

//! Three nodes as processes of their own, as in production, on the disk that holds the build.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_engine::GroupId;
use vestibule_proto::v1::GroupStatus;
use vestibule_raft::cluster::GrpcCluster;
use vestibule_raft::seams::TcpConnector;

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Nodes of a cluster.
pub(crate) const NODES: usize = 3;

/// A directory on the disk that holds the build, since `/tmp` is memory on some machines.
pub(crate) fn directory() -> tempfile::TempDir {
    let target = target_directory();
    fs::create_dir_all(&target).expect("the target directory can be made");
    tempfile::tempdir_in(target).expect("a temporary directory")
}

fn target_directory() -> PathBuf {
    // target/release/deps/bench
    let own = std::env::current_exe().expect("a program knows where it is");
    own.ancestors().nth(3).expect("cargo puts programs that deep").to_owned()
}

/// Builds the binary of this tree, so that no older one is measured, and copies it: another build may replace it.
/// `VESTIBULE_BINARY` names another one to measure, to compare two.
fn build(into: &Path) -> PathBuf {
    let copy = into.join("vestibule");
    if let Some(other) = std::env::var_os("VESTIBULE_BINARY") {
        fs::copy(other, &copy).expect("the binary can be copied");
        return copy;
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--package", "vestibule", "--bin", "vestibule"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .arg("--target-dir")
        .arg(target_directory())
        .status();
    assert!(built.expect("cargo runs").success(), "the binary cannot be built");
    fs::copy(target_directory().join("release/vestibule"), &copy).expect("the binary can be copied");
    copy
}

/// The nodes of a cluster, killed when this is dropped.
pub(crate) struct Nodes {
    binary: PathBuf,
    addresses: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    groups: u32,
    processes: Vec<Option<Child>>,
    // The last to go: nodes that still run must not lose their files.
    root: tempfile::TempDir,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for id in 1..=NODES {
            self.kill(id);
        }
    }
}

impl Nodes {
    /// A new cluster with so many shard groups.
    pub(crate) fn start(groups: u32) -> Self {
        let root = directory();
        let binary = build(root.path());
        let held: Vec<TcpListener> =
            (0..2 * NODES).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports")).collect();
        let mut addresses: Vec<SocketAddr> =
            held.iter().map(|listener| listener.local_addr().expect("it is bound")).collect();
        drop(held);
        let metrics = addresses.split_off(NODES);
        let processes = (0..NODES).map(|_| None).collect();
        let mut nodes = Self { binary, addresses, metrics, groups, processes, root };
        for id in 1..=NODES {
            nodes.run(id);
        }
        nodes
    }

    /// Starts a node, for the first time or again.
    pub(crate) fn run(&mut self, id: usize) {
        let peers: Vec<String> = (1..).zip(&self.addresses).map(|(id, at)| format!("{id}={at}")).collect();
        let mut command = Command::new(&self.binary);
        command.args(["node", "--id", &id.to_string(), "--listen", &self.addresses[id - 1].to_string()]);
        command.args(["--peers", &peers.join(","), "--groups", &self.groups.to_string()]);
        command.args(["--metrics", &self.metrics[id - 1].to_string()]).arg("--data").arg(self.data(id));
        command.env("VESTIBULE_LOG", std::env::var("VESTIBULE_LOG").unwrap_or("error,openraft=off".to_owned()));
        self.processes[id - 1] = Some(command.stdout(Stdio::null()).spawn().expect("the binary starts"));
    }

    /// `kill -9`; returns once the process is gone.
    pub(crate) fn kill(&mut self, id: usize) {
        if let Some(mut process) = self.processes[id - 1].take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    /// The ids of the processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().flatten().map(Child::id).collect()
    }

    /// Where a node keeps its data.
    pub(crate) fn data(&self, id: usize) -> PathBuf {
        self.root.path().join(format!("node{id}"))
    }

    /// A directory beside the nodes', on the same disk.
    pub(crate) fn beside(&self) -> &Path {
        self.root.path()
    }

    /// A client that knows all nodes.
    pub(crate) fn client(&self) -> Arc<GrpcCluster> {
        GrpcCluster::new(self.addresses.iter().map(ToString::to_string).collect(), Arc::new(TcpConnector))
    }

    /// The node that leads a group, as it says itself.
    pub(crate) async fn leader(&self, client: &GrpcCluster, group: GroupId) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (id, address) in (1..).zip(&self.addresses) {
                let Ok(status) = client.status(&address.to_string(), Duration::from_secs(1)).await else { continue };
                if status.groups.iter().any(|entry| entry.group == group.0 && entry.leader == id as u64) {
                    return id;
                }
            }
            assert!(Instant::now() < deadline, "{group} has no leader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every node that runs has all groups, each of them with a leader and nothing left to apply.
    pub(crate) async fn settle(&self, client: &GrpcCluster) {
        self.wait(client, 0).await;
    }

    /// The same under load: a few entries may be on their way.
    pub(crate) async fn caught_up(&self, client: &GrpcCluster) {
        self.wait(client, 20).await;
    }

    async fn wait(&self, client: &GrpcCluster, lag_max: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut settled = true;
            for (address, _) in self.addresses.iter().zip(&self.processes).filter(|(_, process)| process.is_some()) {
                let status = client.status(&address.to_string(), Duration::from_secs(1)).await;
                settled &= status.is_ok_and(|status| {
                    let is_settled = |group: &GroupStatus| {
                        let lags = group
                            .followers
                            .iter()
                            .map(|follower| group.last_log_index.saturating_sub(follower.matched_index));
                        group.leader != 0
                            && group.voters.len() == NODES
                            && group.last_log_index <= group.applied_index + lag_max
                            && lags.max().unwrap_or(0) <= lag_max
                    };
                    status.groups.len() > self.groups as usize && status.groups.iter().all(is_settled)
                });
            }
            if settled {
                return;
            }
            assert!(Instant::now() < deadline, "the groups do not settle");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A figure of a node, summed over its groups.
    pub(crate) fn figure(&self, id: usize, name: &str) -> f64 {
        let text = get(self.metrics[id - 1], "/metrics").expect("the node serves its figures");
        let is_it =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'));
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
        text.lines().filter(is_it).map(value).sum()
    }
}

/// The body of an HTTP answer.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// CPU time that a process has used so far, in user space and in the kernel.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs, on Linux");
    let (_, fields) = stat.rsplit_once(')').expect("its name is in parentheses");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    // A tick is a hundredth of a second wherever Linux shows one to users.
    Duration::from_millis(ticks * 10)
}

/// Bytes on disk under a directory.
pub(crate) fn disk_use(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_use(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        // Files come and go.
        Err(_) => 0,
    });
    sizes.sum()
}

/// Times of a write of 240 bytes with its `fdatasync`, on the disk that holds `directory`, in order.
pub(crate) fn bare_syncs(directory: &Path, count: usize) -> Vec<Duration> {
    use std::os::unix::fs::FileExt;
    let path = directory.join("bare");
    let file = fs::File::create(&path).expect("a file");
    file.write_all_at(&vec![0; 1 << 20], 0).expect("it can be filled");
    file.sync_all().expect("it can be synced");
    let mut times: Vec<Duration> = (0..count)
        .map(|number| {
            let begun = Instant::now();
            file.write_all_at(&[7; 240], (number as u64 * 240) % (1 << 19)).expect("it can be written");
            file.sync_data().expect("it can be synced");
            begun.elapsed()
        })
        .collect();
    fs::remove_file(path).expect("it is there");
    times.sort_unstable();
    times
}

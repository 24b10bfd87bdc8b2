//! A cluster in this process, over real sockets and files.

#![allow(dead_code, reason = "each test file uses what it needs of it")]

mod slow_disk;

use slow_disk::{Delay, Room, SlowDisk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use vestibule_engine::{
    CreateOrganisation, Directory, DirectoryCommand, Envelope, GroupId, Reply, RequestId, Timestamp, UserId,
};
use vestibule_raft::admin::Admin;
use vestibule_raft::cluster::{Cluster, GrpcCluster, ProposeError};
use vestibule_raft::data_dir::DataDir;
use vestibule_raft::node::{Node, NodeConfig, NodeSeams};
use vestibule_raft::seams::{Clock, SystemClock, SystemIds, TcpConnector, ThreadSpawner};
use vestibule_raft::wal::WalConfig;

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Shard groups of a test's cluster.
pub(crate) const GROUPS: u32 = 4;

/// A node that runs, with the directory that it keeps locked.
pub(crate) struct Running {
    pub(crate) node: Node,
    _data: DataDir,
}

/// A clock that is some milliseconds off.
#[derive(Debug, Clone, Default)]
pub(crate) struct SkewedClock(pub(crate) Arc<AtomicI64>);

impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_add_signed(self.0.load(Ordering::SeqCst)))
    }
}

/// Nodes by number, the address of each, and the directory under which all have theirs.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) addresses: BTreeMap<u64, String>,
    pub(crate) nodes: BTreeMap<u64, Running>,
    pub(crate) clocks: BTreeMap<u64, SkewedClock>,
    /// How much slower each node's disk is than it could be.
    pub(crate) delays: BTreeMap<u64, Delay>,
    /// The most room that each node's disk seems to have.
    pub(crate) rooms: BTreeMap<u64, Room>,
    /// What is different about the nodes' settings.
    tune: fn(&mut NodeConfig),
}

impl World {
    /// A cluster of nodes 1 to `count`, started.
    pub(crate) async fn of(count: u64) -> Self {
        Self::tuned(count, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn tuned(count: u64, tune: fn(&mut NodeConfig)) -> Self {
        Self::founded(count, &[], tune).await
    }

    /// The same, and these of the first nodes never come.
    pub(crate) async fn without(count: u64, absent: &[u64]) -> Self {
        Self::founded(count, absent, |_| {}).await
    }

    async fn founded(count: u64, absent: &[u64], tune: fn(&mut NodeConfig)) -> Self {
        // `RUST_LOG=info cargo test …` shows what the nodes say.
        let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
        let mut world = Self {
            root: tempfile::tempdir().expect("a temporary directory"),
            addresses: BTreeMap::new(),
            nodes: BTreeMap::new(),
            clocks: BTreeMap::new(),
            delays: BTreeMap::new(),
            rooms: BTreeMap::new(),
            tune,
        };
        let mut listeners = BTreeMap::new();
        for id in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
            world.addresses.insert(id, listener.local_addr().expect("it is bound").to_string());
            listeners.insert(id, listener);
        }
        let peers = world.addresses.clone();
        listeners.retain(|id, _| !absent.contains(id));
        for (id, listener) in listeners {
            world.start(NodeConfig::new(id, "test", peers.clone(), GROUPS), listener).await;
        }
        world
    }

    pub(crate) fn directory_of(&self, id: u64) -> PathBuf {
        self.root.path().join(format!("node{id}"))
    }

    async fn start(&mut self, config: NodeConfig, listener: TcpListener) {
        let id = config.id;
        let clock = self.clocks.entry(id).or_default().clone();
        let delay = self.delays.entry(id).or_default().clone();
        let room = self.rooms.entry(id).or_insert_with(|| Arc::new(AtomicU64::new(u64::MAX))).clone();
        let (directory, clock) = (self.directory_of(id), Arc::new(clock));
        let running = start(&directory, config, self.tune, listener, clock, (delay, room)).await;
        self.nodes.insert(id, running);
    }

    /// Starts a node again that was one of the first.
    pub(crate) async fn start_again(&mut self, id: u64) {
        let listener = TcpListener::bind(&self.addresses[&id]).await.expect("the port is free");
        let first = (1..=3).filter_map(|id| Some((id, self.addresses.get(&id)?.clone()))).collect();
        self.start(NodeConfig::new(id, "test", first, GROUPS), listener).await;
    }

    /// Starts a node that joins by the others.
    pub(crate) async fn join(&mut self, id: u64) {
        self.join_by(id, self.addresses.values().cloned().collect()).await;
    }

    /// Starts a node that was told of nobody: it waits to be added.
    pub(crate) async fn wait_to_be_added(&mut self, id: u64) {
        self.join_by(id, Vec::new()).await;
    }

    async fn join_by(&mut self, id: u64, others: Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        self.addresses.insert(id, address.clone());
        self.start(NodeConfig::joining(id, "test", address, others), listener).await;
    }

    /// Stops a node in good order.
    pub(crate) async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).expect("it runs").node.shutdown().await.expect("it stops cleanly");
    }

    pub(crate) async fn stop_all(mut self) {
        for (_, running) in std::mem::take(&mut self.nodes) {
            running.node.shutdown().await.expect("it stops cleanly");
        }
    }

    /// A client that knows the first node only.
    pub(crate) fn client(&self) -> Arc<GrpcCluster> {
        GrpcCluster::new(self.addresses.values().take(1).cloned().collect(), Arc::new(TcpConnector))
    }

    /// A client that knows all nodes.
    pub(crate) fn client_of_all(&self) -> Arc<GrpcCluster> {
        GrpcCluster::new(self.addresses.values().cloned().collect(), Arc::new(TcpConnector))
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(self.client_of_all(), Arc::new(SystemIds))
    }

    /// The node that leads a group, once all that run agree on one of them.
    pub(crate) async fn leader(&self, group: GroupId) -> u64 {
        eventually("a leader that all know", || async {
            let mut known = self.nodes.values().filter_map(|running| running.node.leader(group));
            let first = known.next()?;
            (self.nodes.contains_key(&first) && known.all(|leader| leader == first)).then_some(first)
        })
        .await
    }
}

/// Starts a node with small files and short intervals.
pub(crate) async fn start(
    directory: &Path,
    mut config: NodeConfig,
    tune: fn(&mut NodeConfig),
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    (delay, room): (Delay, Room),
) -> Running {
    let data = DataDir::open(directory, &config.cluster, config.id, &SystemIds).expect("a data directory");
    config.wal = WalConfig { segment_len: 1 << 20, ..WalConfig::default() };
    config.checkpoint_interval = Duration::from_millis(30);
    config.snapshot_entries = 50;
    config.showtime_patience = Duration::from_millis(500);
    tune(&mut config);
    let seams = NodeSeams {
        clock,
        connector: Arc::new(TcpConnector),
        spawner: Arc::new(ThreadSpawner),
        disk: Arc::new(SlowDisk { disk: data.wal_disk().expect("a disk"), room, delay }),
        store: data.checkpoint_store().expect("sled opens"),
        owner: data.owner(),
    };
    let node = Node::start(config, seams, TcpListenerStream::new(listener)).await.expect("the node starts");
    Running { node, _data: data }
}

/// Tries until there is something, for as long as a test may wait.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut attempt: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "this has not come true in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Has the directory create an organisation, under a request id.
pub(crate) async fn create(cluster: &dyn Cluster, request: u128) -> Reply {
    try_create(cluster, request).await.expect("a reply comes")
}

/// The same where there may be no reply.
pub(crate) async fn try_create(cluster: &dyn Cluster, request: u128) -> Result<Reply, ProposeError> {
    let command =
        DirectoryCommand::CreateOrganisation(CreateOrganisation { by: UserId(7), name: format!("House {request}") });
    let envelope = Envelope { request: Some(RequestId(request)), command };
    Ok(cluster.propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await?.0)
}

/// A figure of a node.
pub(crate) fn figure(node: &Node, name: &str) -> u64 {
    let text = node.metrics().render();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

//! A node: it wires the log, the checkpoints, the groups and the services, and alone knows them all.

use crate::access_service::AccessService;
use crate::checkpoint::{Checkpoints, ForeignCheckpoints, NoAnswer};
use crate::clock_watch::ClockWatch;
use crate::cluster::{Cluster, GrpcCluster};
use crate::consensus_service::ConsensusService;
use crate::controller::Controller;
use crate::controller::placing::first_voters;
use crate::group::{Group, Groups};
use crate::hosting::Host;
use crate::log_length::keep_log_short;
use crate::metrics::{Instruments, Measured, NodeMetrics, TimedStore};
use crate::pacemaker;
use crate::roster::Roster;
use crate::seams::{
    CONNECTION_WINDOW_LEN, CheckpointStore, Clock, Connector, Disk, STREAM_WINDOW_LEN, Spawner, check_address,
};
use crate::state::GroupState;
use crate::steps;
use crate::stop;
use crate::tls::{self, Guard, Tls};
use crate::transport::{MESSAGE_LEN_MAX, Peers};
use crate::types::NodeId;
use crate::unfit;
use crate::wal::{OpenError, Owner, RecoveryReport, Wal, WalConfig, WalStats};
use futures::Stream;
use futures::future::{FutureExt, join_all};
use openraft::impls::BasicNode;
use openraft::{Config, SnapshotPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;
use vestibule_engine::{Directory, DirectoryCommand, Envelope, GroupId, NodeNumber, RegisterNode, Reply};
use vestibule_proto::v1::access_server::AccessServer;
use vestibule_proto::v1::consensus_server::ConsensusServer;
pub use vestibule_sync::proposal_queue::Bounds;

/// Voters of a group.
pub const REPLICAS: usize = 3;
/// The most groups of a cluster, the directory not counted.
pub const GROUPS_MAX: u32 = 1_024;

/// How long open connections may take to end when the node stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that a snapshot may take: a day.
const SNAPSHOT_MAX_MILLIS: u64 = 86_400_000;
/// A leader that was silent for this many of the longest waits for an election counts as gone.
const SILENT_ELECTIONS: u32 = 4;
/// How long a node that is asked to stop waits for others to take over what it leads.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the directory may take to register this node before it is asked again.
const REGISTER_PATIENCE: Duration = Duration::from_secs(5);

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The node's number.
    pub id: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// The address (host and port) that other nodes and gateways reach this one at.
    pub address: String,
    /// The nodes that form a new cluster together, with their addresses, this one included. Empty on a node that joins a
    /// cluster.
    pub peers: BTreeMap<NodeId, String>,
    /// Addresses of nodes of the cluster that this node joins. With neither these nor peers it waits to be added.
    pub join: Vec<String>,
    /// Number of shard groups, from 1 to [`GROUPS_MAX`]. The directory keeps what the cluster was first made with.
    pub groups: u32,
    /// Raft's timing.
    pub timing: Timing,
    /// Sizes of the log.
    pub wal: WalConfig,
    /// How often changes are written to the checkpoint.
    pub checkpoint_interval: Duration,
    /// Bytes of applied log after which changes are written earlier than that.
    pub checkpoint_bytes: u64,
    /// How fast snapshots leave the node, all together.
    pub snapshot_bytes_per_second: u64,
    /// Entries after which a snapshot is declared and the log purged.
    pub snapshot_entries: u64,
    /// Segments of the log above which groups that hold the oldest are made to purge.
    pub segments_max: usize,
    /// The node's certificates. Without them it speaks plain text and believes what callers say of themselves.
    pub tls: Option<Tls>,
    /// How long a showtime may be in the making before the controller finishes it: by then its gateway is gone.
    pub showtime_patience: Duration,
    /// What may wait for a group's proposer, and what shares an entry.
    pub proposals: Bounds,
    /// Bytes of rows that are read from a checkpoint, or sent of a snapshot, at a time.
    pub checkpoint_page_bytes: usize,
}

/// Raft's timing.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often a leader that has nothing to say says so.
    pub heartbeat: Duration,
    /// The least that a node waits, once a silent leader's lease is over, before it stands for election.
    pub election_min: Duration,
    /// The most that it waits; a leader's lease lasts as long. So another leads after [`Self::election_max`] plus
    /// something between the two.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(350),
        }
    }
}

impl NodeConfig {
    /// The usual settings of node `id` in a cluster that `peers` form.
    pub fn new(id: NodeId, cluster: impl Into<String>, peers: BTreeMap<NodeId, String>, groups: u32) -> Self {
        Self {
            id,
            cluster: cluster.into(),
            address: peers.get(&id).cloned().unwrap_or_default(),
            peers,
            join: Vec::new(),
            groups,
            timing: Timing::default(),
            wal: WalConfig::default(),
            checkpoint_interval: Duration::from_millis(250),
            checkpoint_bytes: 16 << 20,
            snapshot_bytes_per_second: 64 << 20,
            snapshot_entries: 5_000,
            segments_max: 4,
            tls: None,
            showtime_patience: Duration::from_secs(10),
            // Venues with their plans are long: a few may wait.
            proposals: Bounds { len_max: 8_192, bytes_max: 32 << 20, batch_len_max: 1_024, batch_bytes_max: 1 << 20 },
            checkpoint_page_bytes: 256 << 10,
        }
    }

    /// The usual settings of node `id`, reached at `address`, that joins a cluster by the nodes at `join`.
    pub fn joining(id: NodeId, cluster: impl Into<String>, address: String, join: Vec<String>) -> Self {
        Self { address, join, ..Self::new(id, cluster, BTreeMap::new(), 1) }
    }

    /// Whether the settings make sense.
    pub fn check(&self) -> Result<(), StartError> {
        let bad = |reason: String| Err(StartError::Config(reason));
        if self.cluster.is_empty() || !self.cluster.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return bad(format!(
                "the cluster's name {:?} is not made of letters, digits, '-', '_' and '.'",
                self.cluster
            ));
        }
        if self.id == 0 || self.peers.contains_key(&0) {
            return bad("node ids start at 1".to_owned());
        }
        if !self.peers.is_empty() && !self.peers.contains_key(&self.id) {
            return bad(format!("node {} is not among the peers", self.id));
        }
        check_address(&self.address).map_err(|reason| {
            StartError::Config(format!("the address that others are to reach node {} at: {reason}", self.id))
        })?;
        for address in self.peers.values().chain(&self.join) {
            check_address(address).map_err(|reason| StartError::Config(format!("the address of a peer: {reason}")))?;
        }
        let names = [tls::NODE.to_owned(), tls::node_name(self.id)];
        if let Some(missing) = names.iter().find(|name| self.tls.as_ref().is_some_and(|tls| !tls.is_named(name))) {
            return bad(format!("the certificate of node {} does not name {missing}", self.id));
        }
        if self.groups == 0 || self.groups > GROUPS_MAX {
            return bad(format!("{} groups: from 1 to {GROUPS_MAX} are possible", self.groups));
        }
        let Bounds { len_max, bytes_max, batch_len_max, .. } = self.proposals;
        if len_max == 0 || batch_len_max == 0 || bytes_max < self.wal.entry_len_max() {
            let entry_len_max = self.wal.entry_len_max();
            return bad(format!(
                "a command of {entry_len_max} bytes, which the log takes, would never get into a queue of {len_max} \
                 commands and {bytes_max} bytes, or out of it {batch_len_max} at a time"
            ));
        }
        Ok(())
    }

    fn raft_config(&self) -> Result<Arc<Config>, StartError> {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: self.cluster.clone(),
            heartbeat_interval: millis(self.timing.heartbeat),
            election_timeout_min: millis(self.timing.election_min),
            election_timeout_max: millis(self.timing.election_max),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            // A follower may have had to cut off the end of its log (decision 2). Without this, its leader ends or never
            // finds where they agree. Whoever lost all of its data is kept out by its number and not by this.
            allow_log_reversion: Some(true),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            // Its purging is off: it may take back what a purge that was asked for has scheduled. Groups purge on their own.
            max_in_snapshot_log_to_keep: u64::MAX,
            // How long one may take depends on how much there is: whoever is silent or too slow is given up on its way.
            install_snapshot_timeout: SNAPSHOT_MAX_MILLIS,
            ..Config::default()
        };
        Ok(Arc::new(config.validate().map_err(|error| StartError::Config(error.to_string()))?))
    }
}

/// What a node takes from the world outside.
#[derive(Clone)]
pub struct NodeSeams {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Connections to the peers.
    pub connector: Arc<dyn Connector>,
    /// Threads for the log and the checkpoints.
    pub spawner: Arc<dyn Spawner>,
    /// Where the log is.
    pub disk: Arc<dyn Disk>,
    /// Where the checkpoints are.
    pub store: Arc<dyn CheckpointStore>,
    /// What stands in every file of the log and in the checkpoints.
    pub owner: Owner,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its settings make no sense.
    #[error("{0}")]
    Config(String),
    /// Its log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Its checkpoints are damaged, or sled hangs or panics over them. They may be put aside: they come back from the log
    /// or from a peer.
    #[error("{0}")]
    Checkpoint(#[source] io::Error),
    /// Its checkpoints cannot be read now. They may be good, and the only ones: they must not be put aside.
    #[error("the checkpoints cannot be read, and may be good: {0}")]
    CheckpointUnread(#[source] io::Error),
    /// Its checkpoints are another node's. They must not be wiped.
    #[error(transparent)]
    ForeignCheckpoints(ForeignCheckpoints),
    /// Raft refused.
    #[error("{0}")]
    Raft(String),
    /// No thread could be started.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl StartError {
    pub(crate) fn of_checkpoint(error: io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(foreign) = inner.and_then(|inner| inner.downcast_ref::<ForeignCheckpoints>()) {
            return Self::ForeignCheckpoints(*foreign);
        }
        let has_no_answer = inner.is_some_and(|inner| inner.is::<NoAnswer>());
        if has_no_answer || is_damage(&error) { Self::Checkpoint(error) } else { Self::CheckpointUnread(error) }
    }

    /// Whether the checkpoints may be there later: there is no room now, or they are slow.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::CheckpointUnread(error) => error.kind() == io::ErrorKind::StorageFull,
            Self::Checkpoint(error) => error.kind() == io::ErrorKind::TimedOut,
            _ => false,
        }
    }
}

/// Whether an error says that a file does not hold what it should. Any other is of the machine, and says nothing of the
/// file.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    // The last two are sled's words for a file that is cut short, and for a header that makes no sense.
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Unsupported)
}

type Server = tokio::task::JoinHandle<Result<(), tonic::transport::Error>>;

/// A running node.
pub struct Node {
    pub(crate) host: Host,
    stop: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    /// Until the node stops.
    server: Mutex<Option<Server>>,
    /// What was found when the log was opened.
    pub recovery: RecoveryReport,
}

impl Node {
    /// Opens the node's data, starts its groups and serves what arrives on `incoming`: connections that send at once what
    /// there is to send (`TCP_NODELAY`).
    pub async fn start<I, S>(config: NodeConfig, seams: NodeSeams, incoming: I) -> Result<Self, StartError>
    where
        I: Stream<Item = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        config.check()?;
        let raft_config = config.raft_config()?;
        let incarnation = seams.owner.incarnation;
        let (wal, recovery) = Wal::open(seams.disk, seams.owner, config.wal.clone(), &*seams.spawner).await?;
        let instruments = Arc::new(Instruments::default());
        let store = Arc::new(TimedStore { store: seams.store, instruments: instruments.clone() });
        let (checkpoints, task) = Checkpoints::new(store, seams.owner, config.checkpoint_interval);
        checkpoints.limit_sending(config.snapshot_bytes_per_second);
        checkpoints.limit_dirt(config.checkpoint_bytes);
        checkpoints.limit_pages(config.checkpoint_page_bytes);
        seams.spawner.spawn_blocking_task("checkpointer", Box::pin(task))?;
        let roster = Arc::new(Roster::new(config.id, incarnation, &config.peers));
        // Said to whoever asks, before the directory knows it.
        roster.hear_of(config.id, &config.address);
        // Below what an election takes: the lease and the wait after it.
        let deadline = config.timing.election_max.mul_f64(0.8);
        let peers = Peers::new(&config.cluster, &config.address, roster.clone(), seams.connector.clone(), deadline);
        let peers = peers.map_err(|error| StartError::Config(error.to_string()))?.measured(instruments.clone());
        let peers = Arc::new(peers);

        let (stop, follower) = stop::switch();
        let (fail, failed) = watch::channel(None);
        let host = Host {
            config,
            raft_config,
            wal,
            checkpoints,
            peers,
            roster,
            clock: seams.clock,
            clock_watch: Arc::new(ClockWatch::new()),
            said: Arc::default(),
            groups: Arc::new(Groups::default()),
            in_motion: Arc::default(),
            instruments,
            stop: follower,
            fail,
        };
        if let Err(error) = host.take_on_all().await {
            // Nothing may go on writing to what the caller is going to mend.
            if let Err(error) = host.close().await {
                tracing::warn!(%error, "the checkpoints were not written");
            }
            return Err(error);
        }
        // Itself first: a node that was added, and told of nobody, may come to lead the directory.
        let mut given = vec![host.config.address.clone()];
        for address in host.config.peers.values().chain(&host.config.join) {
            if !given.contains(address) {
                given.push(address.clone());
            }
        }
        let cluster = GrpcCluster::new(given, seams.connector);
        let (controller, obstacles) = Controller::new(host.clone(), cluster.clone());
        let server = serve(&host, obstacles, incoming);
        let clock_watch = host.clock_watch.clone().run(host.peers.clone(), host.clock.clone(), host.stop.clone());
        supervise(&host, "watch over the clock", clock_watch);
        supervise(&host, "follower of the directory", host.clone().follow_directory());
        supervise(&host, "making of the directory", form_directory(host.clone()));
        supervise(&host, "registration", register(host.clone(), cluster));
        supervise(&host, "watch over what this node cannot serve", unfit::hand_over_while_unfit(host.clone()));
        supervise(&host, "controller", controller.run());
        supervise(&host, "watch over the log's length", keep_log_short(host.clone()));
        supervise(&host, "pacemaker", pacemaker::run(host.clone()));
        Ok(Self { host, stop, failed, server: Mutex::new(Some(server)), recovery })
    }

    /// The node's settings.
    pub fn config(&self) -> &NodeConfig {
        &self.host.config
    }

    /// What the log has done since it was opened.
    pub fn wal_stats(&self) -> WalStats {
        self.host.wal.stats()
    }

    /// What the node measures.
    pub fn metrics(&self) -> NodeMetrics {
        let Host { config, wal, checkpoints, groups, clock_watch, instruments, .. } = self.host.clone();
        let silence_max = config.timing.election_max * SILENT_ELECTIONS;
        NodeMetrics::new(Measured { wal, checkpoints, groups, clock_watch, instruments, silence_max })
    }

    /// The applied state of a group that is hosted here.
    pub fn state(&self, group: GroupId) -> Option<Arc<GroupState>> {
        self.host.groups.get(group).ok().map(|group| group.state.clone())
    }

    /// The node that leads a group, as far as this one knows.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        Some(self.host.groups.get(group).ok()?.leader()?.0)
    }

    /// Resolves when the node can go on no longer, with the reason. It must be stopped then, and its process ended.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        let a_group = async move {
            let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_else(|| "the node is gone".to_owned())
        };
        tokio::select! {
            // What failed first is the reason, and not what failed of it.
            biased;
            reason = self.host.wal.failed() => reason,
            reason = self.host.checkpoints.failed() => reason,
            reason = self.host.roster.shut_out() => reason,
            reason = a_group => reason,
        }
    }

    /// Hands over what it leads, stops answering, writes everything that changed and closes the files.
    pub async fn shutdown(&self) -> io::Result<()> {
        let led = self.host.groups.all().into_iter().filter(|group| group.is_leader());
        let handed = join_all(led.map(|group| async move { hand_over(&group).await }));
        // Without it the others find out by themselves, a little later.
        if tokio::time::timeout(HAND_OVER_TIMEOUT, handed).await.is_err() {
            tracing::warn!(node = self.host.config.id, "not everything that this node led was taken over in time");
        }
        self.stop.send_replace(true);
        let saved = self.host.close().await;
        let server = self.server.lock().expect("no holder of this lock panics").take();
        if let Some(mut server) = server
            && tokio::time::timeout(CLOSE_TIMEOUT, &mut server).await.is_err()
        {
            server.abort();
        }
        saved
    }
}

/// Runs a task of the node. One that panics ends the node: the others would go on as if it were there.
fn supervise(host: &Host, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    let fail = host.fail.clone();
    tokio::spawn(async move {
        if std::panic::AssertUnwindSafe(task).catch_unwind().await.is_err() {
            fail.send_replace(Some(format!("the {name} panicked")));
        }
    });
}

/// Hands the leadership of a group to whoever can best take it over.
async fn hand_over(group: &Group) {
    let Some(successor) = steps::successors(group).first().copied() else { return };
    if let Err(error) = steps::transfer(group, successor).await {
        tracing::info!(group = %group.id, error, "the leadership was not handed over");
    }
}

fn serve<I, S>(host: &Host, obstacles: watch::Receiver<Vec<String>>, incoming: I) -> Server
where
    I: Stream<Item = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let tls = host.config.tls.as_ref();
    let guard = Guard::new(tls);
    let consensus = ConsensusServer::new(ConsensusService { host: host.clone() })
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(MESSAGE_LEN_MAX);
    let access = AccessServer::new(AccessService { host: host.clone(), guard, sessions: AtomicU64::new(0), obstacles })
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(MESSAGE_LEN_MAX);
    let mut server = tonic::transport::Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls.server()).expect("making a `Tls` has tried this");
    }
    let server = server
        .initial_connection_window_size(CONNECTION_WINDOW_LEN)
        .initial_stream_window_size(STREAM_WINDOW_LEN)
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        .add_service(InterceptedService::new(consensus, guard.nodes()))
        .add_service(InterceptedService::new(access, guard.users()));
    let mut until = host.stop.clone();
    let until = async move { until.stopped().await };
    tokio::spawn(server.serve_with_incoming_shutdown(incoming, until))
}

/// Forms the directory of a new cluster: its first voter at once, the others if that one does not. All other groups are
/// formed by the controller.
async fn form_directory(host: Host) {
    let Host { config, groups, mut stop, .. } = host;
    let members: BTreeSet<NodeId> = config.peers.keys().copied().collect();
    let voters = first_voters(GroupId::DIRECTORY, &members);
    let Some(rank) = voters.iter().position(|node| *node == config.id) else { return };
    // Several may form it: all write the same first entry.
    let wait = config.timing.election_max * 3 * u32::try_from(rank).unwrap_or(u32::MAX);
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = stop.stopped() => return,
    }
    // One that waits for a peer's checkpoint was formed long ago.
    let Ok(directory) = groups.get(GroupId::DIRECTORY) else { return };
    if !matches!(directory.raft.is_initialized().await, Ok(false)) {
        return;
    }
    let members: BTreeMap<NodeId, BasicNode> =
        voters.iter().filter_map(|node| Some((*node, BasicNode::new(config.peers.get(node)?)))).collect();
    if let Err(error) = directory.raft.initialize(members).await {
        tracing::info!(%error, "the directory was formed by another");
    }
}

/// Makes this node known to the directory, with its address and the incarnation of its data, unless it is. A node that
/// was told of nobody waits to be added.
async fn register(host: Host, cluster: Arc<GrpcCluster>) {
    let Host { config, roster, mut stop, .. } = host;
    let ask = RegisterNode {
        node: NodeNumber(config.id),
        expected_version: None,
        address: config.address.clone(),
        incarnation: roster.incarnation(),
    };
    let envelope = Envelope { request: None, command: DirectoryCommand::RegisterNode(ask) };
    let mut foreign = None;
    loop {
        let known = roster.all().get(&config.id).cloned().unwrap_or_default();
        let is_known = known.state.is_some();
        if is_known && known.address == config.address {
            return;
        }
        // An added node has met the others, and learns of them from the directory.
        cluster.add_seeds(roster.present().into_values().map(|known| known.address));
        if is_known || is_ours(&cluster, &config, &mut foreign).await {
            let registered =
                (&*cluster as &dyn Cluster).propose::<Directory>(GroupId::DIRECTORY, &envelope, REGISTER_PATIENCE);
            match registered.await {
                Ok((Reply { result: Err(refusal), .. }, _)) => {
                    let id = config.id;
                    return roster
                        .shut(format!("the directory refuses to register node {id} with this data: {refusal}"));
                }
                Ok(_) => return,
                Err(error) => tracing::info!(%error, "the directory has not registered this node yet"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = stop.stopped() => return,
        }
    }
}

/// Whether the nodes that this one is to register with are of its cluster. What speaks against it is said once.
async fn is_ours(cluster: &GrpcCluster, config: &NodeConfig, foreign: &mut Option<String>) -> bool {
    let own = [Some(&config.address), config.peers.get(&config.id)];
    let own: Vec<&str> = own.into_iter().flatten().map(String::as_str).collect();
    if cluster.seeds().iter().all(|seed| own.contains(&seed.as_str())) {
        return true;
    }
    let theirs = match cluster.cluster_name(&own).await {
        Ok(theirs) if theirs == config.cluster => return true,
        Ok(theirs) => format!("they are of the cluster {theirs:?}"),
        Err(status) if status.code() == Code::FailedPrecondition => status.message().to_owned(),
        Err(_) => return false,
    };
    if foreign.as_ref() != Some(&theirs) {
        let (node, ours) = (config.id, &config.cluster);
        tracing::error!(
            node,
            ours,
            theirs,
            "the nodes that this one is to join are of another cluster: it takes no part"
        );
        *foreign = Some(theirs);
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data_dir::DataDir;
    use crate::seams::{SystemClock, SystemIds, TcpConnector, ThreadSpawner};
    use std::path::Path;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;

    #[test]
    fn a_queue_takes_whatever_the_log_takes() {
        let node = NodeConfig::new(1, "test", BTreeMap::from([(1, "a:1".to_owned())]), 1);
        assert!(node.check().is_ok());
        let with = |proposals: Bounds| NodeConfig { proposals, ..node.clone() }.check();
        let bytes_max = node.wal.entry_len_max();
        assert!(with(Bounds { bytes_max, ..node.proposals }).is_ok());
        assert!(with(Bounds { bytes_max: bytes_max - 1, ..node.proposals }).is_err());
        assert!(with(Bounds { len_max: 0, ..node.proposals }).is_err());
        assert!(with(Bounds { batch_len_max: 0, ..node.proposals }).is_err());
    }

    /// A node that is a cluster by itself, and its directory, which is locked.
    pub(crate) async fn lone_node(directory: &Path) -> (Node, DataDir) {
        lone_node_with(directory, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn lone_node_with(directory: &Path, tune: impl FnOnce(&mut NodeConfig)) -> (Node, DataDir) {
        let data = DataDir::open(directory, "test", 1, &SystemIds).expect("a data directory");
        let seams = NodeSeams {
            clock: Arc::new(SystemClock),
            connector: Arc::new(TcpConnector),
            spawner: Arc::new(ThreadSpawner),
            disk: data.wal_disk().expect("a disk"),
            store: data.checkpoint_store().expect("sled opens"),
            owner: data.owner(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        let mut config = NodeConfig::new(1, "test", BTreeMap::from([(1, address)]), 1);
        tune(&mut config);
        let node = Node::start(config, seams, TcpListenerStream::new(listener)).await.expect("the node starts");
        (node, data)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_group_whose_raft_panics_ends_the_node() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (node, _data) = lone_node(directory.path()).await;
        let directory = node.host.groups.get(GroupId::DIRECTORY).expect("every node has it");
        // Nobody answers: the one who would is gone.
        let _ = directory.raft.with_raft_state(|_| panic!("planted")).await;
        let reason = tokio::time::timeout(Duration::from_secs(60), node.failed()).await.expect("the node ends");
        assert!(reason.starts_with("g0 stopped"), "{reason}");
        assert!(node.shutdown().await.is_ok(), "what can be saved is");
    }
}

//! A node: it wires the log, the checkpoints, the groups and the services, and alone knows them all.

use crate::access_service::AccessService;
use crate::checkpoint::{Checkpoints, ForeignCheckpoints};
use crate::consensus_service::ConsensusService;
use crate::group::{Group, Groups};
use crate::log_store::LogStore;
use crate::metrics::{Instruments, Measured, NodeMetrics, TimedStore};
use crate::room;
use crate::seams::{CheckpointStore, Clock, Connector, Disk, Spawner};
use crate::state::GroupState;
use crate::state_machine::MachineStore;
use crate::stop::{self, Stop};
use crate::tls::{self, Guard, Tls};
use crate::transport::{MESSAGE_LEN_MAX, Peers};
use crate::types::NodeId;
use crate::wal::{OpenError, Owner, RecoveryReport, Wal, WalConfig, WalStats};
use futures::Stream;
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft::{Config, Raft, SnapshotPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;
use vestibule_engine::{
    Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, GroupId, SetGroups, codec,
};
use vestibule_proto::v1::access_server::AccessServer;
use vestibule_proto::v1::consensus_server::ConsensusServer;

/// Voters of a group.
pub const REPLICAS: usize = 3;
/// The most groups of a cluster, the directory not counted.
pub const GROUPS_MAX: u32 = 1_024;

/// How long open connections may take to end when the node stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A leader that was silent for this many of the longest waits for an election counts as gone.
const SILENT_ELECTIONS: u32 = 4;

/// How long a group that lacks a checkpoint waits before it asks its peers again.
const FETCH_INTERVAL: Duration = Duration::from_millis(500);

/// Settings of a node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The node's number.
    pub id: NodeId,
    /// The cluster's name.
    pub cluster: String,
    /// Every node of the cluster with the address (host and port) that its peers reach it at; this one included.
    pub peers: BTreeMap<NodeId, String>,
    /// Number of shard groups, from 1 to [`GROUPS_MAX`]. The directory keeps what the cluster was first made with.
    pub groups: u32,
    /// Raft's timing.
    pub timing: Timing,
    /// Sizes of the log.
    pub wal: WalConfig,
    /// How often changes are written to the checkpoint.
    pub checkpoint_interval: Duration,
    /// How fast snapshots leave the node, all together.
    pub snapshot_bytes_per_second: u64,
    /// Entries after which a snapshot is declared and the log purged.
    pub snapshot_entries: u64,
    /// Segments of the log above which groups that hold the oldest are made to purge.
    pub segments_max: usize,
    /// The node's certificates. Without them it speaks plain text and believes what callers say of themselves.
    pub tls: Option<Tls>,
}

/// Raft's timing.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often a leader that has nothing to say says so.
    pub heartbeat: Duration,
    /// The shortest silence of a leader after which another may be elected.
    pub election_min: Duration,
    /// The longest such silence; a leader's lease lasts as long.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(900),
        }
    }
}

impl NodeConfig {
    /// The usual settings of node `id` in a cluster of `peers`.
    pub fn new(id: NodeId, cluster: impl Into<String>, peers: BTreeMap<NodeId, String>, groups: u32) -> Self {
        Self {
            id,
            cluster: cluster.into(),
            peers,
            groups,
            timing: Timing::default(),
            wal: WalConfig::default(),
            checkpoint_interval: Duration::from_millis(250),
            snapshot_bytes_per_second: 64 << 20,
            snapshot_entries: 5_000,
            segments_max: 4,
            tls: None,
        }
    }

    /// The voters of a group: [`REPLICAS`] of the peers, taken in turn so that groups spread evenly. The first is the
    /// one that forms the group.
    pub fn placement(&self, group: GroupId) -> Vec<NodeId> {
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        let start = group.0 as usize % nodes.len().max(1);
        nodes.iter().cycle().skip(start).take(REPLICAS.min(nodes.len())).copied().collect()
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
        if !self.peers.contains_key(&self.id) {
            return bad(format!("node {} is not among the peers", self.id));
        }
        let names = [tls::NODE.to_owned(), tls::node_name(self.id)];
        if let Some(missing) = names.iter().find(|name| self.tls.as_ref().is_some_and(|tls| !tls.is_named(name))) {
            return bad(format!("the certificate of node {} does not name {missing}", self.id));
        }
        if self.groups == 0 || self.groups > GROUPS_MAX {
            return bad(format!("{} groups: from 1 to {GROUPS_MAX} are possible", self.groups));
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
            allow_log_reversion: Some(false),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.snapshot_entries / 5,
            purge_batch_size: 256,
            install_snapshot_timeout: 600_000,
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
    /// Its checkpoints cannot be loaded. They may be wiped: they come back from the log or from a peer.
    #[error("{0}")]
    Checkpoint(#[source] io::Error),
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
    fn of_checkpoint(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ForeignCheckpoints>()) {
            Some(foreign) => Self::ForeignCheckpoints(*foreign),
            None => Self::Checkpoint(error),
        }
    }
}

type Server = tokio::task::JoinHandle<Result<(), tonic::transport::Error>>;

/// A running node.
pub struct Node {
    parts: Parts,
    stop: watch::Sender<bool>,
    failed: watch::Receiver<Option<String>>,
    server: Server,
    /// What was found when the log was opened.
    pub recovery: RecoveryReport,
}

impl Node {
    /// Opens the node's data, starts its groups and serves what arrives on `incoming`.
    pub async fn start<I, S>(config: NodeConfig, seams: NodeSeams, incoming: I) -> Result<Self, StartError>
    where
        I: Stream<Item = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        config.check()?;
        let raft_config = config.raft_config()?;
        let (wal, recovery) = Wal::open(seams.disk, seams.owner, config.wal.clone(), &*seams.spawner).await?;
        let instruments = Arc::new(Instruments::default());
        let store = Arc::new(TimedStore { store: seams.store, instruments: instruments.clone() });
        let (checkpoints, task) = Checkpoints::new(store, seams.owner, config.checkpoint_interval);
        checkpoints.limit_sending(config.snapshot_bytes_per_second);
        seams.spawner.spawn_blocking_task("checkpointer", Box::pin(task))?;
        let deadline = config.timing.election_min.mul_f64(0.8);
        let peers = Peers::new(&config.cluster, config.id, seams.connector, deadline);
        let peers = peers.map_err(|error| StartError::Config(error.to_string()))?.measured(instruments.clone());
        let peers = Arc::new(peers);

        let (stop, follower) = stop::switch();
        let (fail, failed) = watch::channel(None);
        let groups = Arc::new(Groups::default());
        let clock = seams.clock;
        let parts =
            Parts { config, raft_config, wal, checkpoints, peers, clock, groups, instruments, stop: follower, fail };
        let gaps = match parts.start_groups().await {
            Ok(gaps) => gaps,
            Err(error) => {
                // Nothing may go on writing to what the caller is going to mend.
                if let Err(error) = parts.close().await {
                    tracing::warn!(%error, "the checkpoints were not written");
                }
                return Err(error);
            }
        };
        let server = parts.serve(incoming);
        parts.instruments.groups_waiting.store(gaps.len() as u64, Ordering::Relaxed);
        for state in gaps {
            tokio::spawn(parts.clone().close_gap(state));
        }
        tokio::spawn(keep_log_short(parts.clone()));
        let (full, groups, peers) = (parts.wal.watch_full(), parts.groups.clone(), parts.peers.clone());
        tokio::spawn(room::hand_over_when_full(full, groups, peers, parts.stop.clone()));
        Ok(Self { parts, stop, failed, server, recovery })
    }

    /// The node's settings.
    pub fn config(&self) -> &NodeConfig {
        &self.parts.config
    }

    /// What the log has done since it was opened.
    pub fn wal_stats(&self) -> WalStats {
        self.parts.wal.stats()
    }

    /// What the node measures.
    pub fn metrics(&self) -> NodeMetrics {
        let Parts { config, wal, checkpoints, groups, instruments, .. } = self.parts.clone();
        let silence_max = config.timing.election_max * SILENT_ELECTIONS;
        NodeMetrics::new(Measured { wal, checkpoints, groups, instruments, silence_max })
    }

    /// The applied state of a group that is hosted here.
    pub fn state(&self, group: GroupId) -> Option<Arc<GroupState>> {
        self.parts.groups.get(group).ok().map(|group| group.state.clone())
    }

    /// The node that leads a group, as far as this one knows.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        Some(self.parts.groups.get(group).ok()?.leader()?.0)
    }

    /// Resolves when the node can go on no longer, with the reason. It must be stopped then, and its process ended.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        let a_group = async move {
            let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_else(|| "the node is gone".to_owned())
        };
        tokio::select! {
            reason = self.parts.wal.failed() => reason,
            reason = self.parts.checkpoints.failed() => reason,
            reason = a_group => reason,
        }
    }

    /// Stops answering, writes everything that changed and closes the files.
    pub async fn shutdown(mut self) -> io::Result<()> {
        self.stop.send_replace(true);
        let saved = self.parts.close().await;
        if tokio::time::timeout(CLOSE_TIMEOUT, &mut self.server).await.is_err() {
            self.server.abort();
        }
        saved
    }
}

/// What the tasks of a node share.
#[derive(Clone)]
struct Parts {
    config: NodeConfig,
    raft_config: Arc<Config>,
    wal: Wal,
    checkpoints: Checkpoints,
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
    groups: Arc<Groups>,
    instruments: Arc<Instruments>,
    stop: Stop,
    fail: watch::Sender<Option<String>>,
}

impl Parts {
    /// Loads the state of every group that is hosted here and starts its Raft. Gives those whose checkpoint is older
    /// than what is left of the log: they need a peer's.
    async fn start_groups(&self) -> Result<Vec<Arc<GroupState>>, StartError> {
        let wanted = (0..=self.config.groups).map(GroupId);
        let wanted = wanted.filter(|group| self.config.placement(*group).contains(&self.config.id));
        let hosted: BTreeSet<GroupId> = wanted.chain(self.wal.groups()).collect();
        let mut gaps = Vec::new();
        for id in hosted {
            let state = Arc::new(GroupState::open(id, &self.checkpoints).await.map_err(StartError::of_checkpoint)?);
            self.checkpoints.attach(state.clone(), self.wal.group(id)).await.map_err(StartError::of_checkpoint)?;
            if self.has_gap(&state) {
                gaps.push(state);
            } else {
                self.start_group(state).await?;
            }
        }
        Ok(gaps)
    }

    fn has_gap(&self, state: &GroupState) -> bool {
        let purged = self.wal.group(state.group()).purged();
        purged.is_some_and(|purged| state.progress().next_index <= purged.index)
    }

    async fn start_group(&self, state: Arc<GroupState>) -> Result<(), StartError> {
        let id = state.group();
        let log = LogStore::new(self.wal.group(id)).measured(self.instruments.clone());
        let store = MachineStore::new(state.clone(), self.checkpoints.clone()).measured(self.instruments.clone());
        let raft = Raft::new(self.config.id, self.raft_config.clone(), self.peers.network(id), log, store)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let (log, clock, instruments) = (self.wal.group(id), self.clock.clone(), self.instruments.clone());
        let group = Group::start(id, self.config.id, raft, state, log, clock, instruments);
        self.groups.insert(group.clone());
        tokio::spawn(report_failure(group.clone(), self.fail.clone()));
        tokio::spawn(form(self.config.clone(), group.clone(), self.stop.clone()));
        if id == GroupId::DIRECTORY {
            tokio::spawn(keep_groups_set(self.config.groups, group, self.stop.clone()));
        }
        Ok(())
    }

    /// Fetches the checkpoint of a group from one peer after another until one reaches what is left of the log, and
    /// starts the group on it. The vote and the log are our own, so nothing that this node has promised is forgotten.
    async fn close_gap(mut self, state: Arc<GroupState>) {
        let id = state.group();
        tracing::warn!(node = self.config.id, group = %id, "the checkpoint is behind the log; asking the peers for theirs");
        loop {
            for peer in self.config.placement(id) {
                let Some(address) = self.config.peers.get(&peer).filter(|_| peer != self.config.id) else { continue };
                match self.fetch(id, peer, address).await {
                    Ok(()) => break,
                    Err(error) => tracing::info!(group = %id, peer, error, "no checkpoint from this peer"),
                }
            }
            if !self.has_gap(&state) {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(FETCH_INTERVAL) => {}
                () = self.stop.stopped() => return,
            }
        }
        self.instruments.groups_waiting.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = self.start_group(state).await {
            self.fail.send_replace(Some(format!("{id} cannot start on a peer's checkpoint: {error}")));
        }
    }

    async fn fetch(&self, id: GroupId, peer: NodeId, address: &str) -> Result<(), String> {
        let fetched = self.peers.fetch_snapshot(id, peer, address, &self.checkpoints).await;
        let received = fetched.map_err(|status| status.message().to_owned())?;
        let purged = self.wal.group(id).purged().map(|purged| purged.index);
        if received.meta.last_log_id.map(|last| last.index) < purged {
            return Err("its checkpoint is older than what is left of the log here".to_owned());
        }
        let (last, membership) = (received.meta.last_log_id, received.meta.last_membership);
        let installed = self.checkpoints.install(received.receiving, last, membership).await;
        installed.map_err(|error| error.to_string())
    }

    /// Stops the groups and closes the files.
    async fn close(&self) -> io::Result<()> {
        let stops = self.groups.all().into_iter().map(|group| async move {
            if let Err(error) = group.raft.shutdown().await {
                tracing::warn!(group = %group.id, %error, "the group did not stop cleanly");
            }
        });
        futures::future::join_all(stops).await;
        let saved = self.checkpoints.close().await;
        self.wal.close().await;
        saved
    }

    fn serve<I, S>(&self, incoming: I) -> Server
    where
        I: Stream<Item = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let Self { config, wal, checkpoints, groups, stop, instruments, .. } = self.clone();
        let mut until = stop.clone();
        let guard = Guard::new(config.tls.as_ref());
        let consensus = ConsensusService {
            cluster: config.cluster.clone(),
            node: config.id,
            groups: groups.clone(),
            checkpoints: checkpoints.clone(),
            instruments: instruments.clone(),
            stop: stop.clone(),
        };
        let access = AccessService {
            cluster: config.cluster.clone(),
            node: config.id,
            groups: groups.clone(),
            checkpoints: checkpoints.clone(),
            members: config.peers.clone(),
            command_len_max: wal.entry_len_max() - 64,
            guard,
            instruments,
            sessions: AtomicU64::new(0),
            full: wal.watch_full(),
            stop: stop.clone(),
        };
        let consensus = ConsensusServer::new(consensus)
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        let access = AccessServer::new(access)
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX);
        let mut server = tonic::transport::Server::builder();
        if let Some(tls) = &config.tls {
            server = server.tls_config(tls.server()).expect("making a `Tls` has tried this");
        }
        let server = server
            .tcp_nodelay(true)
            .initial_connection_window_size(8 << 20)
            .initial_stream_window_size(8 << 20)
            .http2_keepalive_interval(Some(Duration::from_secs(2)))
            .http2_keepalive_timeout(Some(Duration::from_secs(2)))
            .add_service(InterceptedService::new(consensus, guard.nodes()))
            .add_service(InterceptedService::new(access, guard.users()));
        let until = async move { until.stopped().await };
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, until))
    }
}

/// Tells the node when a group's Raft has failed.
async fn report_failure(group: Arc<Group>, fail: watch::Sender<Option<String>>) {
    let mut metrics = group.raft.metrics();
    let reason = loop {
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            break fatal.to_string();
        }
        if metrics.changed().await.is_err() {
            break "its Raft is gone".to_owned();
        }
    };
    fail.send_replace(Some(format!("{} stopped: {reason}", group.id)));
}

/// Forms a group that nobody has formed yet: its first voter at once, the others if that one does not.
async fn form(config: NodeConfig, group: Arc<Group>, mut stop: Stop) {
    let placement = config.placement(group.id);
    let Some(rank) = placement.iter().position(|node| *node == config.id) else { return };
    // Several may form it: all write the same first entry.
    let wait = config.timing.election_max * 3 * u32::try_from(rank).unwrap_or(u32::MAX);
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = stop.stopped() => return,
    }
    if !matches!(group.raft.is_initialized().await, Ok(false)) {
        return;
    }
    let members: BTreeMap<NodeId, BasicNode> =
        placement.iter().filter_map(|node| Some((*node, BasicNode::new(config.peers.get(node)?)))).collect();
    if let Err(error) = group.raft.initialize(members).await {
        tracing::info!(group = %group.id, %error, "the group was formed by another");
    }
}

/// While this node leads the directory: sees that the directory knows how many groups there are.
async fn keep_groups_set(count: u32, directory: Arc<Group>, mut stop: Stop) {
    let query = codec::encode(&DirectoryQuery::Groups);
    let envelope: Envelope<DirectoryCommand> = Envelope {
        request: None,
        command: DirectoryCommand::SetGroups(SetGroups { expected_version: Some(0), count }),
    };
    let command = bytes::Bytes::from(codec::encode(&envelope));
    loop {
        if directory.is_leader() {
            let known = directory.state.query(&query).ok().and_then(|(answer, _)| {
                match codec::decode::<<Directory as vestibule_engine::StateMachine>::Answer>(&answer) {
                    Ok(DirectoryAnswer::Groups(groups)) => Some(groups.len()),
                    _ => None,
                }
            });
            if known.is_some_and(|known| known > 0) {
                return;
            }
            if let Ok(answered) = directory.propose(command.clone()) {
                // Whether it took effect is seen in the next round.
                let _ = answered.await;
                continue;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            () = stop.stopped() => return,
        }
    }
}

/// Makes groups with little traffic purge when their old entries keep the log from shrinking.
async fn keep_log_short(parts: Parts) {
    let Parts { config, wal, groups, mut stop, .. } = parts;
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = stop.stopped() => return,
        }
        let (segments, holders) = wal.oldest_segment_holders();
        if segments <= config.segments_max {
            continue;
        }
        for id in holders {
            let Ok(group) = groups.get(id) else { continue };
            let snapshot = group.raft.metrics().borrow_watched().snapshot;
            // The snapshot of this round is what the next one purges up to.
            let purged = match snapshot {
                Some(snapshot) => group.raft.trigger().purge_log(snapshot.index).await,
                None => Ok(()),
            };
            let triggered = group.raft.trigger().snapshot().await;
            if let Err(fatal) = purged.and(triggered) {
                tracing::warn!(group = %id, %fatal, "the group cannot purge");
            }
        }
    }
}

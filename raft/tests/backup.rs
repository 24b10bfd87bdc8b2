//! A backup of three nodes in this process, and three others made of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use vestibule_engine::{
    CreateOrganisation, Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, GroupId, RegisterSink,
    RequestId, Shard, ShardCommand, Timestamp, UserId,
};
use vestibule_raft::backup::{self, BackupHead, BackupWriter, GroupHead, Verified};
use vestibule_raft::cluster::{Cluster, Consistency, GrpcCluster, Position};
use vestibule_raft::data_dir::DataDir;
use vestibule_raft::node::{Node, NodeConfig, NodeSeams};
use vestibule_raft::seams::{SystemClock, SystemIds, TcpConnector, ThreadSpawner};

const PATIENCE: Duration = Duration::from_secs(60);
const GROUPS: u32 = 2;

type Addresses = BTreeMap<u64, String>;

fn config(cluster: &str, id: u64, peers: &Addresses) -> NodeConfig {
    let mut config = NodeConfig::new(id, cluster, peers.clone(), GROUPS);
    config.wal.segment_len = 1 << 20;
    // So that nothing is in a checkpoint but what somebody had saved.
    config.checkpoint_interval = Duration::from_secs(3_600);
    config
}

fn seams(data: &DataDir) -> NodeSeams {
    NodeSeams {
        clock: Arc::new(SystemClock),
        connector: Arc::new(TcpConnector),
        spawner: Arc::new(ThreadSpawner),
        disk: data.wal_disk().expect("a disk"),
        store: data.checkpoint_store().expect("sled opens"),
        owner: data.owner(),
    }
}

fn open(root: &Path, cluster: &str, id: u64) -> DataDir {
    DataDir::open(&root.join(format!("{cluster}-{id}")), cluster, id, &SystemIds).expect("a data directory")
}

struct Nodes {
    name: &'static str,
    addresses: Addresses,
    running: BTreeMap<u64, (Node, DataDir)>,
    cluster: Arc<GrpcCluster>,
}

impl Nodes {
    /// Addresses for three nodes of which none runs yet.
    async fn prepare(name: &'static str) -> Self {
        let mut held = BTreeMap::new();
        for id in 1..=3 {
            held.insert(id, TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports"));
        }
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound").to_string();
        let addresses: Addresses = held.iter().map(|(id, listener)| (*id, address(listener))).collect();
        let cluster = GrpcCluster::new(addresses.values().cloned().collect(), Arc::new(TcpConnector));
        Self { name, addresses, running: BTreeMap::new(), cluster }
    }

    async fn start(&mut self, root: &Path, id: u64) {
        let data = open(root, self.name, id);
        let listener = TcpListener::bind(&self.addresses[&id]).await.expect("the port is free");
        let config = config(self.name, id, &self.addresses);
        let started = Node::start(config, seams(&data), TcpListenerStream::new(listener)).await;
        self.running.insert(id, (started.expect("the node starts"), data));
    }

    async fn stop(&mut self, id: u64) {
        let (node, data) = self.running.remove(&id).expect("it runs");
        node.shutdown().await.expect("it stops cleanly");
        drop(data);
    }

    async fn create(&self, request: u128) -> Position {
        let name = format!("House {request}");
        let command = DirectoryCommand::CreateOrganisation(CreateOrganisation { by: UserId(7), name });
        let envelope = Envelope { request: Some(RequestId(request)), command };
        let cluster: &dyn Cluster = &*self.cluster;
        let proposed = cluster.propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await;
        let (reply, position) = proposed.expect("a reply comes");
        assert!(reply.result.is_ok(), "{reply:?}");
        position
    }

    /// Something for each shard group to remember, on all nodes.
    async fn register_sinks(&self) {
        let cluster: &dyn Cluster = &*self.cluster;
        for group in (1..=GROUPS).map(GroupId) {
            // A node that has just started does not have its groups yet.
            let before = eventually("all have the group", async || self.agreed_digest(group)).await;
            let sink = format!("ledger of {group}");
            let envelope = Envelope { request: None, command: ShardCommand::RegisterSink(RegisterSink { sink }) };
            let proposed = cluster.propose::<Shard>(group, &envelope, PATIENCE).await;
            assert!(proposed.expect("a reply comes").0.result.is_ok());
            let applied = async || self.agreed_digest(group).filter(|now| *now != before);
            eventually("all have applied it", applied).await;
        }
    }

    async fn organisations(&self) -> usize {
        let cluster: &dyn Cluster = &*self.cluster;
        let query = DirectoryQuery::Organisations;
        let asked = cluster.query::<Directory>(GroupId::DIRECTORY, &query, Consistency::Linearizable, PATIENCE).await;
        match asked.expect("an answer comes").0 {
            DirectoryAnswer::Organisations(organisations) => organisations.len(),
            other => panic!("{other:?} is no answer to that"),
        }
    }

    fn digests(&self, group: GroupId) -> Vec<[u8; 32]> {
        let digest = |node: &Node| node.state(group).map(|state| state.digest().1);
        self.running.values().filter_map(|(node, _)| digest(node)).collect()
    }

    /// The digest of the group, once all running nodes have the same.
    fn agreed_digest(&self, group: GroupId) -> Option<[u8; 32]> {
        let digests = self.digests(group);
        let (first, others) = digests.split_first()?;
        let all = digests.len() == self.running.len();
        (all && others.iter().all(|digest| digest == first)).then_some(*first)
    }

    async fn backup(&self) -> Vec<u8> {
        let head = BackupHead { cluster: self.name.to_owned(), begun_at: Timestamp(1), groups: GROUPS };
        let mut writer = BackupWriter::new(Vec::new(), &head).expect("memory takes all");
        for group in (0..=GROUPS).map(GroupId) {
            let mut taken = eventually("the group has a leader", async || self.cluster.backup(group).await.ok()).await;
            writer.begin_group(&GroupHead { group, last: taken.last }).expect("memory takes all");
            while let Some(rows) = taken.rows().await.expect("rows come") {
                writer.rows(&rows).expect("memory takes all");
            }
            writer.end_group().expect("memory takes all");
        }
        writer.finish().expect("memory takes all")
    }
}

async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn restore(root: &Path, file: &[u8], verified: &Verified, nodes: &Nodes) {
    for id in 1..=3 {
        let data = open(root, nodes.name, id);
        let config = config(nodes.name, id, &nodes.addresses);
        backup::restore(file, verified, &config, seams(&data)).await.expect("it can be restored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_is_what_was_there() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut old = Nodes::prepare("old").await;
    for id in 1..=3 {
        old.start(root.path(), id).await;
    }
    let mut last = old.create(1).await;
    for request in 2..=40 {
        last = old.create(request).await;
    }
    old.register_sinks().await;
    // At once: the checkpoint on disk is older than what was acknowledged.
    let file = old.backup().await;
    let verified = backup::verify(&*file).expect("it is whole");
    let taken = &verified.groups[0];
    let taken_at = taken.head.last.expect("a position");
    assert!(taken_at.index >= last.index, "{taken_at:?} is before {last:?}");
    for group in &verified.groups[1..] {
        assert_eq!(old.digests(group.head.group), vec![group.end.digest; 3], "{}", group.head.group);
    }
    for id in 1..=3 {
        old.stop(id).await;
    }

    let mut new = Nodes::prepare("new").await;
    restore(root.path(), &file, &verified, &new).await;
    for id in 1..=3 {
        new.start(root.path(), id).await;
    }
    assert_eq!(new.organisations().await, 40);
    // The directory is not: it enters its own nodes.
    for group in &verified.groups[1..] {
        assert_eq!(new.digests(group.head.group), vec![group.end.digest; 3], "{}", group.head.group);
    }
    for (node, _) in new.running.values() {
        for group in (0..=GROUPS).map(GroupId) {
            node.state(group).expect("it is hosted here").audit().expect("the audit is clean");
        }
    }
    // Requests of before are remembered, and indexes go on where they were.
    assert!(new.create(40).await.index > taken_at.index);
    assert_eq!(new.organisations().await, 40);
    new.create(41).await;

    // A restored node is a node like any other: it starts again, and a peer gives it back a checkpoint that is lost.
    for id in 1..=3 {
        new.stop(id).await;
    }
    std::fs::remove_dir_all(root.path().join("new-2/checkpoint")).expect("it can be removed");
    for id in 1..=3 {
        new.start(root.path(), id).await;
    }
    assert_eq!(new.organisations().await, 41);
    eventually("all have the same state", async || {
        let digests = new.digests(GroupId::DIRECTORY);
        (digests.len() == 3 && digests.iter().all(|digest| *digest == digests[0])).then_some(())
    })
    .await;
    for id in 1..=3 {
        new.stop(id).await;
    }
}

//! Three nodes in this process, over real sockets and files.

use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use vestibule_engine::{
    CreateOrganisation, Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, GroupId, RequestId,
    UserId,
};
use vestibule_raft::cluster::{Cluster, Consistency, GrpcCluster};
use vestibule_raft::data_dir::DataDir;
use vestibule_raft::node::{Node, NodeConfig, NodeSeams};
use vestibule_raft::seams::{SystemClock, SystemIds, TcpConnector, ThreadSpawner};
use vestibule_raft::wal::WalConfig;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    node: Node,
    _data: DataDir,
}

async fn start(root: &Path, id: u64, listener: TcpListener, peers: &BTreeMap<u64, String>) -> Running {
    let data = DataDir::open(&root.join(format!("node{id}")), "test", id, &SystemIds).expect("a data directory");
    let mut config = NodeConfig::new(id, "test", peers.clone(), 4);
    config.wal = WalConfig { segment_len: 1 << 20, ..WalConfig::default() };
    config.checkpoint_interval = Duration::from_millis(30);
    config.snapshot_entries = 50;
    let seams = NodeSeams {
        clock: Arc::new(SystemClock),
        connector: Arc::new(TcpConnector),
        spawner: Arc::new(ThreadSpawner),
        disk: data.wal_disk().expect("a disk"),
        store: data.checkpoint_store().expect("sled opens"),
        owner: data.owner(),
    };
    let node = Node::start(config, seams, TcpListenerStream::new(listener)).await.expect("the node starts");
    Running { node, _data: data }
}

async fn listen(addresses: &BTreeMap<u64, String>, id: u64) -> TcpListener {
    TcpListener::bind(&addresses[&id]).await.expect("the port is free")
}

/// Three addresses on loopback, with listeners that hold them.
async fn addresses() -> (BTreeMap<u64, String>, BTreeMap<u64, TcpListener>) {
    let mut addresses = BTreeMap::new();
    let mut listeners = BTreeMap::new();
    for id in 1..=3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        addresses.insert(id, listener.local_addr().expect("it is bound").to_string());
        listeners.insert(id, listener);
    }
    (addresses, listeners)
}

async fn create(cluster: &dyn Cluster, request: u128) -> vestibule_engine::Reply {
    let command =
        DirectoryCommand::CreateOrganisation(CreateOrganisation { by: UserId(7), name: format!("House {request}") });
    let envelope = Envelope { request: Some(RequestId(request)), command };
    cluster.propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await.expect("a reply comes").0
}

async fn group_count(cluster: &dyn Cluster) -> usize {
    let query =
        cluster.query::<Directory>(GroupId::DIRECTORY, &DirectoryQuery::Groups, Consistency::Linearizable, PATIENCE);
    match query.await.expect("an answer comes").0 {
        DirectoryAnswer::Groups(groups) => groups.len(),
        other => panic!("{other:?} is no answer to that"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_survive_one_and_remember_across_a_restart() {
    // `RUST_LOG=info cargo test …` shows what the nodes say.
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    let root = tempfile::tempdir().expect("a temporary directory");
    let (addresses, mut listeners) = addresses().await;
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        let listener = listeners.remove(&id).expect("bound above");
        nodes.insert(id, start(root.path(), id, listener, &addresses).await);
    }
    let cluster: Arc<dyn Cluster> =
        Arc::new(GrpcCluster::new(addresses.values().cloned().collect(), Arc::new(TcpConnector)));

    let first = create(&*cluster, 1).await;
    assert!(first.result.is_ok(), "{first:?}");
    assert_eq!(create(&*cluster, 1).await, vestibule_engine::Reply { replayed: true, ..first.clone() });
    while group_count(&*cluster).await != 4 {
        tokio::task::yield_now().await;
    }

    // Without the directory's leader the others go on, for so long that they purge what it lacks.
    let leader = nodes[&1].node.leader(GroupId::DIRECTORY).expect("there is a leader");
    nodes.remove(&leader).expect("it runs").node.shutdown().await.expect("it stops cleanly");
    for request in 2..300 {
        assert!(create(&*cluster, request).await.result.is_ok());
    }
    assert_eq!(create(&*cluster, 1).await, vestibule_engine::Reply { replayed: true, ..first.clone() });

    // It comes back, and catches up with what it missed by a snapshot: the entries are gone.
    nodes.insert(leader, start(root.path(), leader, listen(&addresses, leader).await, &addresses).await);
    let (other, _) = nodes.iter().find(|(id, _)| **id != leader).expect("two others run");
    loop {
        let here = nodes[&leader].node.state(GroupId::DIRECTORY).expect("it hosts the directory").digest();
        let there = nodes[other].node.state(GroupId::DIRECTORY).expect("it hosts the directory").digest();
        if here == there {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The feed is gapless on whichever replica, and resumes anywhere.
    let all: Vec<_> = cluster.watch(GroupId::DIRECTORY, 1).take(200).try_collect().await.expect("events come");
    assert!((1..).zip(&all).all(|(sequence, event)| event.sequence == sequence));
    for from in [2, 77, 150, 199] {
        let some: Vec<_> = cluster.watch(GroupId::DIRECTORY, from).take(2).try_collect().await.expect("events come");
        assert_eq!(some[..], all[from as usize - 1..from as usize + 1]);
    }
    let last = all.last().expect("200 events");
    let mut rest = cluster.watch(GroupId::DIRECTORY, last.sequence + 1);
    let before = rest.try_next().await.expect("events come").expect("the feed has no end").sequence;
    assert_eq!(before, last.sequence + 1);

    // All stop, all start again: everything is still there. One of them has lost its checkpoint, and its log was purged.
    for (_, running) in std::mem::take(&mut nodes) {
        running.node.shutdown().await.expect("it stops cleanly");
    }
    std::fs::remove_dir_all(root.path().join("node1/checkpoint")).expect("it can be removed");
    for id in 1..=3 {
        nodes.insert(id, start(root.path(), id, listen(&addresses, id).await, &addresses).await);
    }
    assert_eq!(create(&*cluster, 1).await, vestibule_engine::Reply { replayed: true, ..first });
    assert_eq!(group_count(&*cluster).await, 4);
    while nodes[&1].node.state(GroupId::DIRECTORY).is_none_or(|state| {
        Some(state.digest()) != nodes[&2].node.state(GroupId::DIRECTORY).map(|state| state.digest())
    }) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for running in nodes.values() {
        running.node.state(GroupId::DIRECTORY).expect("it hosts the directory").audit().expect("the audit is clean");
    }
    for (_, running) in nodes {
        running.node.shutdown().await.expect("it stops cleanly");
    }
}

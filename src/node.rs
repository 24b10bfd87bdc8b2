//! `vestibule node`: one node of a cluster.

use crate::cli::NodeArgs;
use crate::security::Security;
use crate::{asked_to_stop, metrics};
use anyhow::{Context, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use vestibule_raft::data_dir::{Aside, DataDir};
use vestibule_raft::metrics::NodeMetrics;
use vestibule_raft::node::{Node, NodeConfig, NodeSeams, StartError};
use vestibule_raft::seams::{CheckpointStore, SystemClock, SystemIds, ThreadSpawner};
use vestibule_raft::types::NodeId;

/// How often a node that has put checkpoints aside looks whether what was in them has come back.
const ASIDE_INTERVAL: Duration = Duration::from_millis(200);
/// After how many looks in vain it says again where they lie.
const LOOKS_A_REMINDER: u32 = 150;

/// A node with the directory that it keeps locked.
pub(crate) struct Running {
    pub(crate) node: Node,
    _data: DataDir,
}

/// Starts a node on `listener` over the data in `directory`.
pub(crate) async fn start(
    config: NodeConfig,
    directory: &Path,
    listener: TcpListener,
    security: &Security,
) -> anyhow::Result<Running> {
    let config = NodeConfig { tls: security.tls().cloned(), ..config };
    let id = config.id;
    // Before the directory is claimed for this node.
    config.check()?;
    security.check_reach(config.peers.values().chain(&config.join).chain([&config.address]))?;
    let data = DataDir::open(directory, &config.cluster, id, &SystemIds)?;
    let store = match data.checkpoint_store() {
        Ok(store) => store,
        Err(error) if error.is_damage() => put_aside(&data, id, &error)?,
        Err(error) => {
            return Err(error).context("the checkpoints cannot be opened, and may be good: nothing is touched");
        }
    };
    let mut seams = NodeSeams {
        clock: Arc::new(SystemClock),
        connector: security.connector(),
        spawner: Arc::new(ThreadSpawner),
        disk: data.wal_disk()?,
        store,
        owner: data.owner(),
    };
    // The socket is taken by whichever start succeeds.
    let listener = listener.into_std()?;
    // What a server sets is not set on sockets that it is given. With Nagle's algorithm an answer may wait 40 ms for the
    // acknowledgement of the one before.
    let incoming = |listener: &std::net::TcpListener| -> anyhow::Result<TcpIncoming> {
        Ok(TcpIncoming::from(TcpListener::from_std(listener.try_clone()?)?).with_nodelay(Some(true)))
    };
    let node = match Node::start(config.clone(), seams.clone(), incoming(&listener)?).await {
        Err(StartError::Checkpoint(error)) => {
            drop(seams.store);
            seams.store = put_aside(&data, id, &error)?;
            Node::start(config, seams, incoming(&listener)?).await?
        }
        other => other?,
    };
    tokio::spawn(mind_aside(id, data.aside(), node.metrics()));
    if let Some((segment, offset)) = node.recovery.trimmed {
        tracing::warn!(
            node = id,
            "what may have been an unfinished write was cut off in segment {segment:016x} at byte {offset}"
        );
    }
    Ok(Running { node, _data: data })
}

/// Puts the checkpoints out of the way; what was in them comes from the log, and what the log has purged from peers.
fn put_aside(
    data: &DataDir,
    node: NodeId,
    error: &(dyn std::error::Error + 'static),
) -> anyhow::Result<Arc<dyn CheckpointStore>> {
    let store = data.replace_checkpoint_store()?;
    let aside = data.aside().list()?.into_values().next_back().unwrap_or_default();
    tracing::error!(
        node,
        error,
        aside = %aside.display(),
        "the checkpoints are of no use, and were put aside; they will be made again from the log and from peers"
    );
    Ok(store)
}

/// Keeps checkpoints that were put aside until everything is here again, and says meanwhile where they lie: they may be
/// the only copy.
async fn mind_aside(node: NodeId, aside: Aside, metrics: NodeMetrics) {
    for look in 1_u32.. {
        let there = match aside.list() {
            Ok(there) if there.is_empty() => return,
            Ok(there) => there,
            Err(error) => return tracing::warn!(node, %error, "cannot see what was put aside"),
        };
        tokio::time::sleep(ASIDE_INTERVAL).await;
        match metrics.missing() {
            None => {
                // Blocks for the time that it takes to remove some files.
                match tokio::task::spawn_blocking(move || aside.remove()).await {
                    Ok(Ok(())) => tracing::info!(node, "everything is here again; what was put aside has been removed"),
                    failed => tracing::warn!(node, ?failed, "what was put aside cannot be removed"),
                }
                return;
            }
            Some(missing) if look.is_multiple_of(LOOKS_A_REMINDER) => {
                let copies: Vec<_> = there.into_values().map(|path| path.display().to_string()).collect();
                tracing::error!(
                    node,
                    missing,
                    copies = copies.join(", "),
                    "not everything has come back from the log and from peers; if no peer has it, these checkpoints that were put aside are \
                     the only copy"
                );
            }
            Some(_) => {}
        }
    }
}

/// Takes the address a node listens on.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

fn config(args: &NodeArgs) -> NodeConfig {
    let address = args.advertise.clone();
    let mut config = match &args.peers {
        Some(peers) => NodeConfig::new(args.id, &args.cluster, peers.0.clone(), args.groups),
        None => NodeConfig::joining(args.id, &args.cluster, args.listen.to_string(), args.join.0.clone()),
    };
    config.address = address.unwrap_or(config.address);
    args.sizes.apply(&mut config);
    config
}

pub(crate) async fn run(args: NodeArgs) -> anyhow::Result<ExitCode> {
    let security = Security::new(&args.security)?;
    security.check_listen(args.listen)?;
    let listener = listen(args.listen).await?;
    let metrics_listener = match args.metrics {
        Some(address) => {
            let may_be_read = address.ip().is_loopback() || args.insecure_metrics || args.security.insecure_plaintext;
            ensure!(
                may_be_read,
                "metrics on {address} would be plain text beyond this machine: serve them on a loopback address, or \
                 give --insecure-metrics where everybody may read them"
            );
            Some(listen(address).await?)
        }
        None => None,
    };
    let running = start(config(&args), &args.data, listener, &security).await?;
    let recovery = &running.node.recovery;
    tracing::info!(
        node = args.id,
        listen = %args.listen,
        data = %args.data.display(),
        segments = recovery.segments,
        records = recovery.records,
        "the node is up"
    );
    if let Some(listener) = metrics_listener {
        tokio::spawn(metrics::serve(listener, running.node.metrics()));
    }
    tokio::select! {
        stop = asked_to_stop() => stop?,
        reason = running.node.failed() => {
            // Nothing is flushed and nobody is answered any more: the log decides what was durable.
            tracing::error!(node = args.id, reason, "the node cannot go on");
            eprintln!("vestibule: node {} cannot go on: {reason}", args.id);
            return Ok(ExitCode::FAILURE);
        }
    }
    tracing::info!(node = args.id, "the node stops");
    running.node.shutdown().await?;
    Ok(ExitCode::SUCCESS)
}

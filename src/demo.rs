//! `vestibule demo`: a cluster and a gateway in this process, with a showtime on sale.

use crate::cli::{DemoArgs, Nodes, SecurityArgs};
use crate::node::{self, Running};
use crate::sale::{OnSale, put_on_sale};
use crate::security::Security;
use crate::{asked_to_stop, gateway};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use vestibule_client::{Client, Settings, Token, entropy_seed};
use vestibule_gateway::{Gateway, GatewayConfig, serve};
use vestibule_raft::node::NodeConfig;

const CLUSTER: &str = "demo";
const ORGANISATION: &str = "Demo House";
/// Nodes get the first free ports from here.
const FIRST_PORT: u16 = 7101;
/// How long the cluster may take to elect its leaders and answer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What the demo remembers between two starts on the same directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    /// Nodes with their addresses: they are part of the groups' membership.
    nodes: BTreeMap<u64, SocketAddr>,
    groups: u32,
    showtime: Option<String>,
}

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let temporary;
    let root: &Path = if args.ephemeral {
        temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
        temporary.path()
    } else {
        &args.data
    };
    let http = TcpListener::bind(args.http).await.with_context(|| format!("cannot listen on {}", args.http))?;
    let url = format!("http://{}", http.local_addr()?);
    let (mut remembered, listeners) = addresses(root, &args).await?;

    let peers: BTreeMap<u64, String> =
        remembered.nodes.iter().map(|(id, address)| (*id, address.to_string())).collect();
    let mut nodes: Vec<Running> = Vec::new();
    for (id, listener) in listeners {
        let directory = node_directory(root, id);
        let config = NodeConfig::new(id, CLUSTER, peers.clone(), remembered.groups);
        let started = node::start(config, &directory, listener, &Security::Loopback).await;
        nodes.push(started.with_context(|| format!("node {id} cannot start"))?);
    }
    let nodes_at = Nodes { nodes: peers.values().cloned().collect(), security: SecurityArgs::default() };
    let gateway = gateway::connect(GatewayConfig::default(), &nodes_at)?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(http, gateway.clone(), async {
        // An error means that the sender is gone, which is as good.
        let _ = stopped.await;
    }));

    let (token, on_sale) = open(&gateway, &url, &args, &mut remembered, root).await?;
    announce(&args, &url, &token, &remembered, on_sale.as_ref(), root)?;

    let failed = nodes.iter().map(|running| Box::pin(running.node.failed()));
    let failure = tokio::select! {
        stop = asked_to_stop() => { stop?; None }
        (reason, at, _) = futures::future::select_all(failed) => Some((at + 1, reason)),
    };
    if let Some((id, reason)) = failure {
        eprintln!("vestibule: node {id} cannot go on: {reason}");
        return Ok(ExitCode::FAILURE);
    }
    if !args.json {
        eprintln!("Stopping.");
    }
    drop(stop);
    serving.await?;
    for stopped in futures::future::join_all(nodes.iter().map(|running| running.node.shutdown())).await {
        stopped?;
    }
    Ok(ExitCode::SUCCESS)
}

fn node_directory(root: &Path, id: u64) -> PathBuf {
    root.join(format!("node{id}"))
}

fn memory_path(root: &Path) -> PathBuf {
    root.join("demo.json")
}

fn remember(root: &Path, remembered: &Remembered) -> anyhow::Result<()> {
    let (path, draft) = (memory_path(root), root.join("demo.json.draft"));
    std::fs::write(&draft, serde_json::to_vec_pretty(remembered)?)
        .and_then(|()| std::fs::rename(&draft, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The addresses of the nodes, remembered or found anew, with sockets that hold them.
async fn addresses(root: &Path, args: &DemoArgs) -> anyhow::Result<(Remembered, BTreeMap<u64, TcpListener>)> {
    let path = memory_path(root);
    let mut listeners = BTreeMap::new();
    match std::fs::read(&path) {
        Ok(bytes) => {
            let remembered: Remembered = serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not what a demo wrote", path.display()))?;
            for (id, address) in &remembered.nodes {
                listeners.insert(
                    *id,
                    node::listen(*address).await.with_context(|| {
                        format!("node {id} of the demo in {} needs its address again", root.display())
                    })?,
                );
            }
            Ok((remembered, listeners))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
            let mut nodes = BTreeMap::new();
            let mut port = FIRST_PORT;
            for id in 1..=args.nodes {
                let listener = loop {
                    let address = SocketAddr::from(([127, 0, 0, 1], port));
                    port = port.checked_add(1).context("no port is free")?;
                    if let Ok(listener) = TcpListener::bind(address).await {
                        break listener;
                    }
                };
                nodes.insert(id, listener.local_addr()?);
                listeners.insert(id, listener);
            }
            let remembered = Remembered { nodes, groups: args.groups, showtime: None };
            remember(root, &remembered)?;
            Ok((remembered, listeners))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Waits for the cluster, and puts a showtime on sale unless an earlier start has.
async fn open(
    gateway: &Gateway,
    url: &str,
    args: &DemoArgs,
    remembered: &mut Remembered,
    root: &Path,
) -> anyhow::Result<(String, Option<OnSale>)> {
    let deadline = Instant::now() + READY_TIMEOUT;
    let token = loop {
        match gateway.organizer_token(ORGANISATION).await {
            Ok(organiser) => break organiser.token,
            // The groups elect their leaders; on a busy machine that takes a while.
            Err(error) if Instant::now() < deadline => tracing::info!(%error, "the cluster is not ready yet"),
            Err(error) => return Err(error).context("the cluster gave no answer"),
        }
    };
    if remembered.showtime.is_some() {
        return Ok((token, None));
    }
    let client = Client::new([url], Settings::default(), entropy_seed())?;
    let on_sale = put_on_sale(&client, &Token::new(token.clone()), &args.sale).await?;
    remembered.showtime = Some(on_sale.showtime_id.clone());
    remember(root, remembered)?;
    Ok((token, Some(on_sale)))
}

fn announce(
    args: &DemoArgs,
    url: &str,
    token: &str,
    remembered: &Remembered,
    on_sale: Option<&OnSale>,
    root: &Path,
) -> anyhow::Result<()> {
    let showtime = remembered.showtime.clone().unwrap_or_default();
    if args.json {
        let nodes: Vec<serde_json::Value> = remembered
            .nodes
            .iter()
            .map(|(id, address)| {
                serde_json::json!({ "id": id, "grpc": address.to_string(), "data": node_directory(root, *id) })
            })
            .collect();
        let line = serde_json::json!({
            "url": url, "showtimeId": showtime, "organizerToken": token, "nodes": nodes,
        });
        println!("{line}");
        return Ok(());
    }
    let what = match on_sale {
        Some(on_sale) => format!("{} with {} seats is on sale.", on_sale.venue, on_sale.seats),
        None => format!("The sale in {} goes on where it was.", root.display()),
    };
    println!(
        "Vestibule is up: {} nodes, {} groups, one gateway. {what}

  url        {url}
  showtime   {showtime}
  organiser  {token}
  data       {}{}

Look at the line:

  curl {url}/api/v1/showtimes/{showtime}/queue

Send 2,000 buyers:

  cargo run --release -- rush --url {url} --showtime {showtime} --buyers 2000

Ctrl-C stops it.",
        remembered.nodes.len(),
        remembered.groups,
        root.display(),
        if args.ephemeral { " (removed at the end)" } else { "" },
    );
    Ok(())
}

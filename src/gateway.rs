//! `vestibule gateway`: the HTTP edge of a cluster.

use crate::cli::{GatewayArgs, Nodes};
use crate::{asked_to_stop, security};
use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use vestibule_gateway::{Gateway, GatewayConfig, serve};
use vestibule_raft::cluster::Cluster;
use vestibule_raft::seams::{SystemClock, SystemIds};

/// A gateway to the cluster that `nodes` belong to.
pub(crate) fn connect(config: GatewayConfig, nodes: &Nodes) -> anyhow::Result<Gateway> {
    let cluster: Arc<dyn Cluster> = security::cluster(nodes)?;
    Ok(Gateway::new(config, cluster, Arc::new(SystemClock), Arc::new(SystemIds)))
}

pub(crate) async fn run(args: GatewayArgs) -> anyhow::Result<ExitCode> {
    let config = GatewayConfig { guests: !args.no_guests, ..GatewayConfig::default() };
    let gateway = connect(config, &args.nodes)?;
    let listener = TcpListener::bind(args.http).await.with_context(|| format!("cannot listen on {}", args.http))?;
    tracing::info!(http = %args.http, "the gateway is up");
    serve(listener, gateway, async {
        if let Err(error) = asked_to_stop().await {
            tracing::error!(%error, "signals cannot be received");
        }
    })
    .await;
    Ok(ExitCode::SUCCESS)
}

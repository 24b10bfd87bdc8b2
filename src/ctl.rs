//! `vestibule ctl`: looks after a cluster.

use crate::cli::CtlCommand;
use crate::cluster_admin;
use crate::sale::put_on_sale;
use crate::{backup, certs, gateway, metrics, verify};
use std::process::ExitCode;
use std::time::Duration;
use vestibule_client::{Client, Settings, Token, entropy_seed};
use vestibule_gateway::GatewayConfig;

pub(crate) async fn run(command: CtlCommand) -> anyhow::Result<ExitCode> {
    match command {
        CtlCommand::Status { nodes, json } => cluster_admin::status(nodes, json).await,
        CtlCommand::AddNode { nodes, id, address, rebalance, until } => {
            cluster_admin::add_node(nodes, id, &address, rebalance, until).await
        }
        CtlCommand::Drain { nodes, id, undo: true, until, .. } => cluster_admin::activate(nodes, id, until).await,
        CtlCommand::Drain { nodes, id, force, until, .. } => cluster_admin::drain(nodes, id, force, until).await,
        CtlCommand::RemoveNode { nodes, id, force, until } => cluster_admin::remove_node(nodes, id, force, until).await,
        CtlCommand::Transfer { nodes, group, to, json } => cluster_admin::transfer(nodes, group, to, json).await,
        CtlCommand::Rebalance { nodes, until } => cluster_admin::rebalance(nodes, until).await,
        CtlCommand::Token { nodes, organisation } => {
            let gateway = gateway::connect(GatewayConfig::default(), &nodes)?;
            println!("{}", gateway.organizer_token(&organisation).await?.token);
            Ok(ExitCode::SUCCESS)
        }
        CtlCommand::Health { url, timeout } => metrics::health(&url, Duration::from_secs(timeout)).await,
        CtlCommand::Backup(args) => backup::take(&args).await,
        CtlCommand::VerifyBackup { file, json } => backup::verify(&file, json),
        CtlCommand::Restore(args) => backup::restore(args).await,
        CtlCommand::Certs(args) => certs::make(&args),
        CtlCommand::VerifyData { directory, patience_seconds, scratch, json } => {
            verify::run(&directory, scratch.as_deref(), Duration::from_secs(patience_seconds), json)
        }
        CtlCommand::Sell { url, token, sale, json } => {
            let client = Client::new([url], Settings::default(), entropy_seed())?;
            let on_sale = put_on_sale(&client, &Token::new(token), &sale).await?;
            if json {
                println!("{}", serde_json::to_string(&on_sale)?);
            } else {
                println!("{} ({} seats) is on sale: {}", on_sale.venue, on_sale.seats, on_sale.showtime_id);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

//! `vestibule ctl`: looks after a cluster.

use crate::cli::{CtlCommand, Nodes};
use crate::sale::put_on_sale;
use crate::{backup, certs, gateway, metrics, security, verify};
use std::process::ExitCode;
use std::time::Duration;
use vestibule_client::{Client, Settings, Token, entropy_seed};
use vestibule_gateway::GatewayConfig;
use vestibule_proto::v1::StatusResponse;

/// How long a node may take to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) async fn run(command: CtlCommand) -> anyhow::Result<ExitCode> {
    match command {
        CtlCommand::Status { nodes, json } => status(&nodes, json).await,
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
        CtlCommand::VerifyData { directory, patience_seconds, json } => {
            verify::run(&directory, Duration::from_secs(patience_seconds), json)
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

async fn status(nodes: &Nodes, json: bool) -> anyhow::Result<ExitCode> {
    let cluster = security::cluster(nodes)?;
    let mut found: Vec<(String, Result<StatusResponse, String>)> = Vec::new();
    for address in cluster.seeds() {
        let answer = cluster.status(address, STATUS_PATIENCE).await;
        found.push((address.clone(), answer.map_err(|status| status.message().to_owned())));
    }
    let all_answered = found.iter().all(|(_, answer)| answer.is_ok());
    if json {
        println!("{}", serde_json::to_string(&found.iter().map(describe).collect::<Vec<_>>())?);
    } else {
        print_table(&found);
    }
    Ok(if all_answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe((address, answer): &(String, Result<StatusResponse, String>)) -> serde_json::Value {
    match answer {
        Err(error) => serde_json::json!({ "address": address, "error": error }),
        Ok(status) => {
            let groups: Vec<serde_json::Value> = status
                .groups
                .iter()
                .map(|group| {
                    serde_json::json!({
                        "group": group.group, "leader": group.leader, "term": group.term,
                        "lastLogIndex": group.last_log_index, "appliedIndex": group.applied_index,
                        "purgedIndex": group.purged_index, "checkpointedIndex": group.checkpointed_index,
                        "lastSequence": group.last_sequence, "voters": group.voters, "learners": group.learners,
                    })
                })
                .collect();
            serde_json::json!({
                "address": address, "node": status.node, "cluster": status.cluster, "diskFull": status.disk_full,
                "groups": groups,
            })
        }
    }
}

fn print_table(found: &[(String, Result<StatusResponse, String>)]) {
    println!(
        "{:<24} {:>5} {:>6} {:>7} {:>6} {:>10} {:>10} {:>10}",
        "address", "node", "group", "leader", "term", "log", "applied", "saved"
    );
    for (address, answer) in found {
        match answer {
            Err(error) => println!("{address:<24} {error}"),
            Ok(status) => {
                for group in &status.groups {
                    let leader = if group.leader == status.node { "here".to_owned() } else { group.leader.to_string() };
                    println!(
                        "{address:<24} {:>5} {:>6} {leader:>7} {:>6} {:>10} {:>10} {:>10}",
                        status.node,
                        format!("g{}", group.group),
                        group.term,
                        group.last_log_index,
                        group.applied_index,
                        group.checkpointed_index,
                    );
                }
            }
        }
    }
}

//! `vestibule ctl status | add-node | drain | remove-node | transfer | rebalance`: what operators do with a cluster.

use crate::cli::{Nodes, Until};
use crate::security;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_engine::{GroupId, NodeRecord, NodeState, PlacementRecord};
use vestibule_proto::v1::{GroupStatus, StatusResponse};
use vestibule_raft::admin::{Admin, Overview, Rebalanced};
use vestibule_raft::seams::SystemIds;

/// How often the cluster is looked at while something is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

fn admin(nodes: &Nodes) -> anyhow::Result<Admin> {
    Ok(Admin::new(security::cluster(nodes)?, Arc::new(SystemIds)))
}

/// A group as its leader has it, beside what is wanted.
struct Led<'a> {
    leader: &'a StatusResponse,
    status: &'a GroupStatus,
}

/// Each group with its leader's report, if it has a leader that answered.
fn led(overview: &Overview) -> BTreeMap<u32, Option<Led<'_>>> {
    let mut groups: BTreeMap<u32, Option<Led<'_>>> = overview.placements.keys().map(|group| (group.0, None)).collect();
    for report in answers(overview) {
        for status in &report.groups {
            let known = groups.entry(status.group).or_default();
            let is_newer = known.as_ref().is_none_or(|known| known.status.term < status.term);
            if status.leader == report.node && is_newer {
                *known = Some(Led { leader: report, status });
            }
        }
    }
    groups
}

fn voters(placement: &PlacementRecord) -> Vec<u64> {
    placement.voters.iter().map(|voter| voter.0).collect()
}

/// What the nodes that answered say of themselves.
fn answers(overview: &Overview) -> impl Iterator<Item = &StatusResponse> {
    overview.reports.iter().filter_map(|(_, report)| report.as_ref().ok())
}

/// Where what is differs from what is wanted, in words.
fn differences(overview: &Overview) -> Vec<String> {
    let groups = led(overview);
    // A node that gives no answer is said to give none.
    let lacks = |node: u64, group: u32| {
        let report = answers(overview).find(|report| report.node == node);
        report.is_some_and(|report| report.groups.iter().all(|status| status.group != group))
    };
    let silence = overview.silence.as_ref();
    let mut differences: Vec<String> =
        silence.map(|why| format!("the directory does not answer: {why}")).into_iter().collect();
    for (group, placement) in &overview.placements {
        let wanted = voters(placement);
        match groups.get(&group.0) {
            Some(Some(led)) if led.status.is_joint => differences.push(format!("{group} changes its voters")),
            Some(Some(led)) if led.status.voters != wanted => {
                differences.push(format!("{group} is on {:?} and is to be on {wanted:?}", led.status.voters));
            }
            Some(Some(_)) => {}
            _ => differences.push(format!("{group} has no leader that answers")),
        }
        let voters = groups.get(&group.0).and_then(Option::as_ref).map(|led| &led.status.voters);
        let lacking = voters.into_iter().flatten().filter(|voter| lacks(**voter, group.0));
        differences.extend(lacking.map(|voter| format!("node {voter} votes in {group} and does not have it yet")));
    }
    differences.extend(answers(overview).flat_map(|report| report.obstacles.iter().cloned()));
    differences
}

/// What else is wrong, in words. No wish is kept from coming true by it, so that nobody waits for its end.
fn ailments(overview: &Overview) -> Vec<String> {
    let of_node = |report: &StatusResponse| {
        let node = report.node;
        let disk = report.disk_full.then(|| format!("the disk of node {node} is full"));
        let ahead = report.clock_ahead_ms;
        let clock = report.clock_is_wild.then(|| format!("the clock of node {node} is off, by {ahead:+} ms"));
        disk.into_iter().chain(clock)
    };
    answers(overview).flat_map(of_node).collect()
}

/// All that is not as it should be.
fn faults(overview: &Overview) -> Vec<String> {
    [differences(overview), ailments(overview)].concat()
}

pub(crate) async fn status(nodes: Nodes, json: bool) -> anyhow::Result<ExitCode> {
    let overview = admin(&nodes)?.overview().await;
    if json {
        println!("{}", describe(&overview));
    } else {
        print_table(&overview);
    }
    let is_well = overview.reports.iter().all(|(_, report)| report.is_ok()) && faults(&overview).is_empty();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe_group(status: &GroupStatus) -> Value {
    let followers: Vec<Value> = status
        .followers
        .iter()
        .map(|follower| {
            json!({
                "node": follower.node, "matchedIndex": follower.matched_index, "silentMs": follower.silent_ms,
                "lag": status.last_log_index.saturating_sub(follower.matched_index),
            })
        })
        .collect();
    json!({
        "group": status.group, "leader": status.leader, "term": status.term,
        "lastLogIndex": status.last_log_index, "appliedIndex": status.applied_index,
        "purgedIndex": status.purged_index, "checkpointedIndex": status.checkpointed_index,
        "lastSequence": status.last_sequence, "voters": status.voters, "learners": status.learners,
        "followers": followers,
    })
}

fn describe(overview: &Overview) -> Value {
    let report = |(address, report): &(String, Result<StatusResponse, String>)| match report {
        Err(error) => json!({ "address": address, "error": error }),
        Ok(status) => json!({
            "address": address, "node": status.node, "cluster": status.cluster, "incarnation": status.incarnation,
            "clockAheadMs": status.clock_ahead_ms, "clockIsWild": status.clock_is_wild,
            "diskFull": status.disk_full, "logSyncMicros": status.log_sync_micros,
            "groups": status.groups.iter().map(describe_group).collect::<Vec<_>>(),
        }),
    };
    let node = |record: &NodeRecord| json!({ "node": record.node.0, "address": record.address, "state": record.state.as_str() });
    let placement = |record: &PlacementRecord| json!({ "group": record.group.0, "voters": voters(record) });
    json!({
        "nodes": overview.nodes.values().map(node).collect::<Vec<_>>(),
        "placements": overview.placements.values().map(placement).collect::<Vec<_>>(),
        "reports": overview.reports.iter().map(report).collect::<Vec<_>>(),
        "differences": faults(overview),
    })
}

fn print_table(overview: &Overview) {
    println!("{:>5}  {:<24} {:<9} {:>6} {:>6} {:>10}  disk", "node", "address", "state", "groups", "leads", "clock");
    for (address, report) in &overview.reports {
        let record = overview.nodes.values().find(|record| record.address == *address);
        let state = record.map_or("unknown", |record| record.state.as_str());
        match report {
            Err(error) => {
                let node = record.map_or_else(|| "?".to_owned(), |record| record.node.0.to_string());
                println!("{node:>5}  {address:<24} {state:<9} {error}");
            }
            Ok(status) => {
                let leads = status.groups.iter().filter(|group| group.leader == status.node).count();
                let clock = format!("{:+} ms{}", status.clock_ahead_ms, if status.clock_is_wild { "!" } else { "" });
                let (node, hosts) = (status.node, status.groups.len());
                let disk = if status.disk_full { "full!" } else { "ok" };
                println!("{node:>5}  {address:<24} {state:<9} {hosts:>6} {leads:>6} {clock:>10}  {disk}");
            }
        }
    }
    println!();
    println!(
        "{:>6} {:>7} {:>6} {:>10} {:>10} {:>10} {:>8}  {:<12} learners",
        "group", "leader", "term", "log", "applied", "saved", "lag", "voters"
    );
    let list = |nodes: &[u64]| nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    for (group, led) in led(overview) {
        let Some(Led { leader, status }) = led else {
            println!("{:>6} {:>7}", format!("g{group}"), "none");
            continue;
        };
        let lag = status.followers.iter().map(|follower| status.last_log_index.saturating_sub(follower.matched_index));
        println!(
            "{:>6} {:>7} {:>6} {:>10} {:>10} {:>10} {:>8}  {:<12} {}",
            format!("g{group}"),
            leader.node,
            status.term,
            status.last_log_index,
            status.applied_index,
            status.checkpointed_index,
            lag.max().unwrap_or(0),
            list(&status.voters),
            list(&status.learners),
        );
    }
    let faults = faults(overview);
    if !faults.is_empty() {
        println!();
    }
    for fault in faults {
        println!("! {fault}");
    }
}

/// Waits until the cluster is as it is wanted to be and `is_done` says so too.
async fn settle(admin: &Admin, until: Until, is_done: impl Fn(&Overview) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(until.timeout_seconds);
    let mut said: Vec<String> = Vec::new();
    loop {
        let overview = admin.overview().await;
        let differences = differences(&overview);
        if !overview.placements.is_empty() && differences.is_empty() && is_done(&overview) {
            return Ok(());
        }
        if !until.json && differences != said {
            for difference in differences.iter().filter(|difference| !said.contains(difference)) {
                eprintln!("{difference}");
            }
            said.clone_from(&differences);
        }
        if Instant::now() >= deadline {
            bail!("after {} s this is still to come: {}", until.timeout_seconds, differences.join("; "));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn announce(until: Until, record: &NodeRecord) {
    let (node, state, address) = (record.node.0, record.state.as_str(), &record.address);
    if until.json {
        println!("{}", json!({ "node": node, "state": state, "address": address }));
    } else {
        println!("Node {node} at {address} is {state}.");
    }
}

/// Whether a node has nothing to vote on or to lead any more.
fn is_drained(overview: &Overview, node: u64) -> bool {
    let is_free = |led: &Led<'_>| !led.status.voters.contains(&node) && led.leader.node != node;
    led(overview).values().all(|led| led.as_ref().is_some_and(is_free))
}

pub(crate) async fn add_node(
    nodes: Nodes,
    id: u64,
    address: &str,
    rebalance: bool,
    until: Until,
) -> anyhow::Result<ExitCode> {
    let admin = admin(&nodes)?;
    let record = admin.add_node(id, address).await?;
    if rebalance {
        admin.rebalance().await?;
    }
    if !until.no_wait {
        settle(&admin, until, |overview| {
            let directory = led(overview).remove(&0).flatten();
            directory.is_some_and(|led| led.status.voters.contains(&id) || led.status.learners.contains(&id))
        })
        .await?;
    }
    announce(until, &record);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn drain(nodes: Nodes, id: u64, force: bool, until: Until) -> anyhow::Result<ExitCode> {
    let admin = admin(&nodes)?;
    let record = admin.drain(id, force).await?;
    if !until.no_wait {
        settle(&admin, until, |overview| is_drained(overview, id)).await?;
    }
    announce(until, &record);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn activate(nodes: Nodes, id: u64, until: Until) -> anyhow::Result<ExitCode> {
    let admin = admin(&nodes)?;
    let record = admin.activate(id).await?;
    if !until.no_wait {
        settle(&admin, until, |_| true).await?;
    }
    announce(until, &record);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn remove_node(nodes: Nodes, id: u64, force: bool, until: Until) -> anyhow::Result<ExitCode> {
    let admin = admin(&nodes)?;
    let mut record = admin.remove_node(id, force).await?;
    if !until.no_wait {
        let is_removed =
            |overview: &Overview| overview.nodes.get(&id).is_some_and(|record| record.state == NodeState::Removed);
        settle(&admin, until, is_removed).await?;
        record = admin.nodes().await?.remove(&id).context("the node is known no longer")?;
    }
    announce(until, &record);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn transfer(nodes: Nodes, group: u32, to: u64, json: bool) -> anyhow::Result<ExitCode> {
    admin(&nodes)?.transfer(GroupId(group), to).await?;
    if json {
        println!("{}", json!({ "group": group, "leader": to }));
    } else {
        println!("Node {to} leads g{group}.");
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn rebalance(nodes: Nodes, until: Until) -> anyhow::Result<ExitCode> {
    let admin = admin(&nodes)?;
    let Rebalanced { changed, left_out } = admin.rebalance().await?;
    for node in &left_out {
        eprintln!("Nothing was put on node {node}, which gives no answer or has a full disk.");
    }
    if !until.no_wait {
        settle(&admin, until, |_| true).await?;
    }
    if until.json {
        let placements = changed.iter().map(|record| json!({ "group": record.group.0, "voters": voters(record) }));
        println!("{}", json!({ "placements": placements.collect::<Vec<_>>(), "leftOut": left_out }));
    } else if changed.is_empty() && left_out.is_empty() {
        println!("The groups are spread evenly.");
    } else if changed.is_empty() {
        println!("The groups are spread evenly over the other nodes.");
    } else {
        for record in &changed {
            println!("{} is on {:?}.", record.group, voters(record));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_engine::NodeNumber;

    /// Three nodes that have the directory, led by node 1.
    fn overview() -> Overview {
        let report = |node: u64| {
            let voters = vec![1, 2, 3];
            let directory = GroupStatus { leader: 1, term: 1, voters, ..GroupStatus::default() };
            let status = StatusResponse { node, groups: vec![directory], ..StatusResponse::default() };
            (format!("{node}:1"), Ok(status))
        };
        let group = GroupId::DIRECTORY;
        let placement = PlacementRecord { group, voters: [1, 2, 3].map(NodeNumber).into(), version: 1 };
        Overview {
            nodes: BTreeMap::new(),
            placements: BTreeMap::from([(group, placement)]),
            reports: (1..=3).map(report).collect(),
            silence: None,
        }
    }

    #[test]
    fn whatever_is_wrong_with_a_node_is_said() {
        assert!(faults(&overview()).is_empty());
        let with = |change: fn(&mut StatusResponse)| {
            let mut overview = overview();
            change(overview.reports[2].1.as_mut().expect("it answers"));
            overview
        };
        let lacking = with(|report| report.groups.clear());
        assert_eq!(faults(&lacking), ["node 3 votes in g0 and does not have it yet"]);
        assert_eq!(differences(&lacking), faults(&lacking), "it is waited for");
        let full = with(|report| report.disk_full = true);
        assert_eq!(faults(&full), ["the disk of node 3 is full"]);
        let wild = with(|report| (report.clock_is_wild, report.clock_ahead_ms) = (true, 1_500));
        assert_eq!(faults(&wild), ["the clock of node 3 is off, by +1500 ms"]);
        // Such a node can be drained all the same.
        assert!(differences(&full).is_empty() && differences(&wild).is_empty());
    }
}

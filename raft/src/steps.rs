//! What a node does when the controller, or an operator, asks for one step with a group.
//!
//! Every step is safe whoever asks for it and however late: a change of members names the membership that it was made for,
//! and openraft refuses it when another has taken its place; forming names the placement, and is refused where the directory
//! has another; a leadership is offered by whoever has it. What the directory here does not know yet is seen to by
//! [`crate::controller`]: a group is formed where it was first placed, or where all nodes know that it is placed anew.

use crate::convert;
use crate::group::Group;
use crate::hosting::{Host, read_plan};
use crate::types::{LogId, NodeId, TypeConfig};
use openraft::async_runtime::WatchReceiver;
use openraft::impls::BasicNode;
use openraft::raft::Precondition;
use openraft::{ChangeMembers, Instant as _, ReadPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::GroupId;
use vestibule_proto::v1;
use vestibule_proto::v1::change_group_request::Step;

/// Entries that a member may be behind and still be made a voter, or the leader.
pub(crate) const LAG_MAX: u64 = 200;
/// How long a transfer waits for whoever is to take over to be heard of and to catch up: after a rest it takes a heartbeat.
const READY_PATIENCE: Duration = Duration::from_secs(1);
/// How often that is looked at.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// How long a transfer of leadership may take until the new leader is known here.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(3);

/// Forms a group for a placement, unless the directory here has another.
async fn form_for(
    host: &Host,
    group: &Group,
    placement: u64,
    voters: BTreeMap<NodeId, BasicNode>,
) -> Result<(), String> {
    let directory = host.groups.get(GroupId::DIRECTORY).map_err(|status| status.message().to_owned())?;
    let placed = read_plan(&directory.state).placements.get(&group.id).map_or(0, |placement| placement.version);
    if placed != placement {
        let id = group.id;
        return Err(format!("{id} was to be formed for placement {placement}, and the directory here has {placed}"));
    }
    group.raft.initialize(voters).await.map_err(|error| error.to_string())
}

/// Takes a step; `Err` says why it was not taken.
pub(crate) async fn take(host: &Host, id: GroupId, step: Step) -> Result<(), String> {
    let find = || host.groups.get(id).map_err(|status| status.message().to_owned());
    match step {
        Step::Form(form) => {
            let voters: BTreeMap<NodeId, BasicNode> =
                form.voters.into_iter().map(|(node, address)| (node, BasicNode::new(address))).collect();
            let group = find()?;
            // Before the placement is looked at: whoever hears that this node knows a newer one hears of this as well.
            group.begin_forming();
            let formed = form_for(host, &group, form.placement, voters).await;
            if formed.is_err() {
                group.end_forming();
            }
            formed
        }
        Step::AddLearner(ask) => {
            let node = BTreeMap::from([(ask.node, BasicNode::new(ask.address))]);
            change(&*find()?, ChangeMembers::AddNodes(node), true, seen(ask.seen)?).await
        }
        Step::SetVoters(ask) => {
            let voters: BTreeSet<NodeId> = ask.voters.into_iter().collect();
            let members = match voters.is_empty() {
                true => ChangeMembers::AddVoterIds(voters),
                false => ChangeMembers::ReplaceAllVoters(voters),
            };
            change(&*find()?, members, ask.retain, seen(ask.seen)?).await
        }
        Step::RemoveLearner(ask) => {
            change(&*find()?, ChangeMembers::RemoveNodes(BTreeSet::from([ask.node])), true, seen(ask.seen)?).await
        }
        Step::TransferTo(node) => transfer(&*find()?, node).await,
        Step::Drop(ask) => {
            let (host, seen) = (host.clone(), seen(ask.seen)?);
            // In a task of its own: whoever asked may hang up, and nothing may be left half given up.
            let given_up = tokio::spawn(async move { host.give_up(id, seen, ask.directory_applied).await });
            given_up.await.unwrap_or_else(|error| Err(error.to_string()))
        }
    }
}

fn seen(membership: Option<v1::LogId>) -> Result<LogId, String> {
    let membership = membership.ok_or("the membership that the step is made for is missing")?;
    convert::log_id_in(membership).map_err(|status| status.message().to_owned())
}

/// Has the others confirm that this node leads: one whose lease is over, as after a rest, may write nothing.
async fn confirm_lead(group: &Group) -> Result<(), String> {
    let confirmed = group.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
    confirmed.map(drop).map_err(|error| error.to_string())
}

async fn change(
    group: &Group,
    members: ChangeMembers<NodeId, BasicNode>,
    retain: bool,
    seen: LogId,
) -> Result<(), String> {
    confirm_lead(group).await?;
    let still = Precondition::<TypeConfig>::LastMembershipLogId { last_membership_log_id: Some(seen) };
    let changed = group.raft.change_membership_if(members, retain, [still]).await;
    changed.map(drop).map_err(|error| error.to_string())
}

/// Hands the leadership of a group that is led here to another voter; returns once that one leads. Refused unless that one
/// was heard of lately and has all but the last [`LAG_MAX`] entries: from the offer on, openraft writes nothing and sends no
/// heartbeats until somebody is elected.
pub(crate) async fn transfer(group: &Group, to: NodeId) -> Result<(), String> {
    let mut metrics = group.raft.metrics();
    let now = metrics.borrow_watched().clone();
    if now.current_leader == Some(to) {
        return Ok(());
    }
    if now.current_leader != Some(group.node) {
        return Err(format!("this node does not lead {}: {:?} does", group.id, now.current_leader));
    }
    if !now.membership_config.membership().voter_ids().any(|voter| voter == to) {
        return Err(format!("node {to} is no voter of {}", group.id));
    }
    let deadline = Instant::now() + READY_PATIENCE;
    while let Some(lack) = lack(group, to) {
        if Instant::now() >= deadline {
            return Err(lack);
        }
        tokio::time::sleep(READY_INTERVAL).await;
    }
    let term = metrics.borrow_watched().current_term;
    group.rest.offer(term);
    group.raft.trigger().transfer_leader(to).await.map_err(|error| error.to_string())?;
    let done = async {
        loop {
            if metrics.changed().await.is_err() {
                return Err("the group has stopped".to_owned());
            }
            match metrics.borrow_watched().current_leader {
                Some(leader) if leader == to => return Ok(()),
                Some(leader) if leader != group.node => return Err(format!("node {leader} leads instead")),
                _ => {}
            }
        }
    };
    let patience = tokio::time::timeout(TRANSFER_PATIENCE, done).await;
    patience.unwrap_or_else(|_| Err(format!("node {to} did not take over in {TRANSFER_PATIENCE:?}")))
}

/// What a voter lacks to take over a group that is led here.
fn lack(group: &Group, to: NodeId) -> Option<String> {
    let len = |last: Option<u64>| last.map_or(0, |last| last + 1);
    let last = group.raft.metrics().borrow_watched().last_log_index;
    let Some(matched) = heard_of(group).remove(&to) else {
        return Some(format!("node {to} was not heard of lately: it cannot take {} over", group.id));
    };
    let behind = len(last).saturating_sub(len(matched.map(|matched| matched.index)));
    (behind > LAG_MAX).then(|| format!("node {to} lacks {behind} entries of {}: it cannot take over yet", group.id))
}

/// The other voters of a group that is led here that were heard of lately, and what each is known to have.
fn heard_of(group: &Group) -> BTreeMap<NodeId, Option<LogId>> {
    let metrics = group.raft.metrics().borrow_watched().clone();
    let heard = metrics.heartbeat.unwrap_or_default();
    let is_fresh = |age: Duration| age < Duration::from_secs(1);
    let all_are_alive = group.rest.agreed_ago(Instant::now()).is_some_and(is_fresh);
    let is_alive = |node: &NodeId| {
        all_are_alive || heard.get(node).copied().flatten().is_some_and(|heard| is_fresh(heard.elapsed()))
    };
    let voters: BTreeSet<NodeId> = metrics.membership_config.membership().voter_ids().collect();
    let followers = metrics.replication.unwrap_or_default().into_iter();
    followers.filter(|(node, _)| *node != group.node && voters.contains(node) && is_alive(node)).collect()
}

/// The voters that can take over a group that is led here, of those heard of lately: the one known to have most first.
pub(crate) fn successors(group: &Group) -> Vec<NodeId> {
    let mut successors: Vec<(NodeId, Option<LogId>)> = heard_of(group).into_iter().collect();
    successors.sort_by_key(|(node, matched)| (std::cmp::Reverse(matched.map(|matched| matched.index)), *node));
    successors.into_iter().map(|(node, _)| node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::lone_node;
    use crate::types::to_log_id;
    use crate::wal::LogPosition;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_step_that_was_made_for_something_else_is_not_taken() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (node, _data) = lone_node(directory.path()).await;
        let directory = node.host.groups.get(GroupId::DIRECTORY).expect("every node has it");
        let is_led = async {
            while !directory.is_leader() || directory.state.progress().next_index < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), is_led).await.expect("the directory is formed");

        // The directory has placed this group nowhere.
        let id = GroupId(7);
        node.host.take_on(id).await.expect("it is empty");
        let form = |placement| {
            let voters = [(1, node.config().address.clone())].into();
            take(&node.host, id, Step::Form(v1::Form { voters, placement }))
        };
        let refused = form(3).await.expect_err("it is for another placement");
        assert!(refused.contains("placement 3"), "{refused}");
        let group = node.host.groups.get(id).expect("it was started");
        assert!(matches!(group.raft.is_initialized().await, Ok(false)));
        form(0).await.expect("nothing contradicts");

        let add = |seen: LogId| {
            let (node_id, address) = (2, "127.0.0.1:1".to_owned());
            let seen = Some(convert::log_id_out(&seen));
            take(&node.host, GroupId::DIRECTORY, Step::AddLearner(v1::AddLearner { node: node_id, address, seen }))
        };
        let learners = || {
            let metrics = directory.raft.metrics().borrow_watched().clone();
            metrics.membership_config.membership().learner_ids().collect::<Vec<_>>()
        };
        add(to_log_id(LogPosition { term: 1, node: 1, index: 99 })).await.expect_err("it is for another membership");
        assert!(learners().is_empty());
        let seen = *directory.raft.metrics().borrow_watched().membership_config.log_id();
        add(seen.expect("it is formed")).await.expect("nothing contradicts");
        assert_eq!(learners(), [2]);
        node.shutdown().await.expect("it stops cleanly");
    }
}

//! What the controller does next: a pure function of what it sees.
//!
//! ```text
//!   wanted, not there ──add learner──▶ learner ──caught up──▶ voter (joint change, an unwanted voter leaves in it)
//!   unwanted leader ──transfer──▶ voter ──change──▶ no member ──drop──▶ gone
//! ```
//!
//! At most [`MOVES_MAX`] groups move at a time, and a group takes one step at a time.

use super::placing::{self, Voters};
use super::view::{Led, SeenGroup, View};
use crate::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::{GroupId, NodeState};
use vestibule_proto::v1;

/// Groups that may change their members at a time.
const MOVES_MAX: usize = 2;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Note in the directory where a group is to be.
    Place { group: GroupId, voters: BTreeSet<NodeId>, expected: u64 },
    /// Have a node write the first entry of a group.
    Form { group: GroupId, on: NodeId, voters: BTreeSet<NodeId>, placement: u64 },
    /// Send the group to one more node.
    AddLearner { group: GroupId, leader: NodeId, node: NodeId, seen: v1::LogId },
    /// Change the voters; with none, bring a change that was left half-way to its end.
    SetVoters { group: GroupId, leader: NodeId, voters: BTreeSet<NodeId>, seen: v1::LogId },
    /// Send the group to one node less.
    RemoveLearner { group: GroupId, leader: NodeId, node: NodeId, seen: v1::LogId },
    /// Hand leadership over.
    Transfer { group: GroupId, leader: NodeId, to: NodeId },
    /// Have a node give up what it has of a group.
    Drop { group: GroupId, on: NodeId, seen: v1::LogId },
    /// Note in the directory that a node is gone.
    Remove { node: NodeId, expected: u64 },
}

/// What to do, and what stands in the way of what is wanted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decision {
    pub(crate) steps: Vec<Step>,
    pub(crate) obstacles: Vec<String>,
}

/// Decides on the next steps. `may_place` says whether groups that are placed nowhere may be placed now.
pub(crate) fn decide(view: &View, may_place: bool) -> Decision {
    let mut decision = Decision::default();
    place(view, may_place, &mut decision);
    let mut moving = 0;
    for (id, group) in &view.groups {
        if group.wanted.is_empty() {
            continue;
        }
        let Some(led) = &group.led else {
            form(view, *id, group, &mut decision);
            continue;
        };
        if moving < MOVES_MAX || *id == GroupId::DIRECTORY {
            match next_move(view, *id, group, led) {
                Next::Settled => {}
                Next::Step(step) => {
                    moving += 1;
                    decision.steps.push(step);
                    continue;
                }
                Next::Waits(reason) => {
                    moving += 1;
                    decision.obstacles.push(reason);
                    continue;
                }
                // It takes nobody's turn: others can move meanwhile.
                Next::Stands(reason) => {
                    decision.obstacles.push(reason);
                    continue;
                }
            }
        }
        give_up(view, *id, group, led, &mut decision);
    }
    // What is given up concerns no leader, and a node may fail to do so for long.
    if decision.steps.iter().all(|step| matches!(step, Step::Drop { .. })) {
        decision.steps.extend(spread_leaders(view));
    }
    remove(view, &mut decision);
    decision
}

fn wanted(view: &View) -> Voters {
    let placed = view.groups.iter().filter(|(_, group)| !group.wanted.is_empty());
    placed.map(|(id, group)| (*id, group.wanted.clone())).collect()
}

fn place(view: &View, may_place: bool, decision: &mut Decision) {
    let active = view.active();
    if active.is_empty() {
        return;
    }
    let (mut wanted, open) = (wanted(view), view.open());
    let mut changes = Voters::new();
    if may_place {
        for (id, group) in view.groups.iter().filter(|(_, group)| group.wanted.is_empty()) {
            // A group that is there already, as the directory at first, is wanted where it is, as far as these are nodes.
            let there = group.led.as_ref().map(|led| led.voters.clone());
            if there.is_none() && open.len() < placing::replicas(active.len()) {
                decision.obstacles.push(format!("{id} waits for nodes that answer and whose disks have room"));
                continue;
            }
            let voters = there.unwrap_or_else(|| placing::first_voters(*id, &open));
            wanted.insert(*id, voters.clone());
            changes.insert(*id, voters);
        }
    }
    changes.extend(placing::repair(&wanted, &active, &open));
    for (id, group) in &view.groups {
        let next = changes.get(id).unwrap_or(&group.wanted);
        for node in next.difference(&active) {
            decision.obstacles.push(format!("no other node can take {id} over from node {node}"));
        }
    }
    decision.steps.extend(
        changes.into_iter().filter(|(_, voters)| voters.is_subset(&active)).map(|(group, voters)| Step::Place {
            group,
            voters,
            expected: view.groups[&group].version,
        }),
    );
}

/// A group that nobody has formed is formed, once all its voters are ready.
fn form(view: &View, id: GroupId, group: &SeenGroup, decision: &mut Decision) {
    let is_pristine = group.hosts.values().all(|formed| !formed);
    let are_ready = group.wanted.iter().all(|node| view.answers(*node) && group.hosts.contains_key(node));
    if id == GroupId::DIRECTORY || !is_pristine {
        decision.obstacles.push(format!("{id} has no leader that answers"));
    } else if !are_ready {
        decision.obstacles.push(format!("{id} waits for its nodes to be ready to form it"));
    } else if let Some(node) = may_have_formed(view, group) {
        decision.obstacles.push(format!("{id} was to be elsewhere before: it waits for node {node} to know better"));
    } else {
        let turn = id.0 as usize % group.wanted.len();
        let on = group.wanted.iter().nth(turn).copied().expect("a turn is less than their number");
        let (voters, placement) = (group.wanted.clone(), group.version);
        decision.steps.push(Step::Form { group: id, on, voters, placement });
    }
}

/// A node that may have formed the group for an earlier placement, or may yet, as far as is known: one that does not
/// answer, or does not know of this placement.
fn may_have_formed(view: &View, group: &SeenGroup) -> Option<NodeId> {
    let is_first = group.version <= 1;
    view.present().into_iter().find(|node| !is_first && !view.nodes[node].is_current)
}

enum Next {
    Settled,
    Step(Step),
    /// Something is under way.
    Waits(String),
    /// Nothing can be done before something changes that no step brings about.
    Stands(String),
}

fn next_move(view: &View, id: GroupId, group: &SeenGroup, led: &Led) -> Next {
    let mut members: BTreeSet<NodeId> = group.wanted.clone();
    if id == GroupId::DIRECTORY {
        // Every node has a copy of the directory.
        members.extend(view.present());
    }
    let missing = members.iter().copied().filter(|node| !led.voters.contains(node) && !led.learners.contains(node));
    let (full, missing): (BTreeSet<NodeId>, BTreeSet<NodeId>) = missing.partition(|node| view.is_full(*node));
    let next = change_members(view, id, group, led, &members, missing.first().copied());
    match (&next, full.first()) {
        // Whatever else can be done is done first.
        (Next::Settled | Next::Stands(_), Some(node)) => {
            Next::Stands(format!("{id} waits for room on the disk of node {node}"))
        }
        _ => next,
    }
}

/// One step towards `members`, of whom `missing` can be added.
fn change_members(
    view: &View,
    id: GroupId,
    group: &SeenGroup,
    led: &Led,
    members: &BTreeSet<NodeId>,
    missing: Option<NodeId>,
) -> Next {
    let (leader, seen) = (led.leader, led.membership);
    let step = |voters: BTreeSet<NodeId>| Next::Step(Step::SetVoters { group: id, leader, voters, seen });
    if led.is_joint {
        // No other voters than those that the change was for: it is only brought to its end.
        return step(BTreeSet::new());
    }
    if !led.is_agreed {
        return Next::Waits(format!("{id} waits for its members to agree on who they are"));
    }
    // Voters that cannot agree on anything would never be others again. A node that lost its data answers until it has
    // found out, but has nothing of the group.
    let can_vote = |node: &&NodeId| view.answers(**node) && group.hosts.get(node) == Some(&true);
    let set = |voters: BTreeSet<NodeId>| match voters.iter().filter(can_vote).count() {
        answering if answering > voters.len() / 2 => step(voters),
        _ => Next::Stands(format!("{id} would have too few voters that answer")),
    };
    if let Some(node) = missing.filter(|node| view.nodes.contains_key(node)) {
        return Next::Step(Step::AddLearner { group: id, leader, node, seen });
    }
    if let Some(node) = led.learners.iter().find(|node| !members.contains(node)) {
        return Next::Step(Step::RemoveLearner { group: id, leader, node: *node, seen });
    }
    let arriving: Vec<NodeId> = group.wanted.difference(&led.voters).copied().collect();
    // Voters that do not answer go first; the leader goes last.
    let mut leaving: Vec<NodeId> = led.voters.difference(&group.wanted).copied().collect();
    leaving.sort_by_key(|node| (*node == leader, view.answers(*node), *node));
    if arriving.is_empty() && leaving.is_empty() {
        return Next::Settled;
    }
    let ready = arriving.iter().find(|node| can_vote(node) && led.has_caught_up(**node));
    if !arriving.is_empty() && ready.is_none() {
        let reason = format!("{id} waits for {} to catch up", names(&arriving));
        let is_under_way = arriving.iter().any(|node| view.answers(*node) && led.learners.contains(node));
        return if is_under_way { Next::Waits(reason) } else { Next::Stands(reason) };
    }
    let mut voters = led.voters.clone();
    if let Some(node) = ready {
        voters.insert(*node);
    }
    if let Some(node) = leaving.first() {
        if *node == leader {
            let heir = led.voters.intersection(&group.wanted).find(|heir| can_vote(heir) && led.has_caught_up(**heir));
            return match heir {
                Some(heir) => Next::Step(Step::Transfer { group: id, leader, to: *heir }),
                // Nobody else is wanted yet: the newcomer votes first.
                None if ready.is_some() => set(voters),
                None => Next::Stands(format!("{id} waits for a voter that can take over from node {leader}")),
            };
        }
        voters.remove(node);
    }
    set(voters)
}

fn names(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("node {node}")).collect();
    names.join(", ")
}

/// What nodes have of a group that is settled elsewhere.
fn give_up(view: &View, id: GroupId, group: &SeenGroup, led: &Led, decision: &mut Decision) {
    let is_settled = led.is_agreed && !led.is_joint && led.voters == group.wanted;
    if id == GroupId::DIRECTORY || !is_settled {
        return;
    }
    let strangers = group
        .hosts
        .keys()
        .filter(|node| view.answers(**node) && !led.voters.contains(node) && !led.learners.contains(node));
    for node in strangers {
        if view.is_full(*node) {
            // It is given up with a last checkpoint, which a full disk does not take.
            decision.obstacles.push(format!("{id} waits for room on the disk of node {node}, which is to give it up"));
        } else {
            decision.steps.push(Step::Drop { group: id, on: *node, seen: led.membership });
        }
    }
}

/// Evens out who leads: one transfer at a time, from the one that leads most to the one that leads least. A difference
/// of two is left alone, so that what an operator transferred stays where it is, unless a node leads nothing.
fn spread_leaders(view: &View) -> Option<Step> {
    let mut leads: BTreeMap<NodeId, usize> =
        view.nodes.keys().filter(|node| view.may_lead(**node)).map(|node| (*node, 0)).collect();
    let leaders = view.groups.values().filter_map(|group| group.led.as_ref()).map(|led| led.leader);
    for leader in leaders {
        if let Some(count) = leads.get_mut(&leader) {
            *count += 1;
        }
    }
    let settled = view.groups.iter().filter_map(|(id, group)| {
        let led = group.led.as_ref()?;
        (!led.is_joint && led.voters == group.wanted).then_some((*id, led))
    });
    let moves = settled.flat_map(|(id, led)| {
        let leads = &leads;
        led.voters.iter().filter_map(move |to| {
            let gain = match (leads.get(&led.leader), leads.get(to)) {
                (Some(from), Some(to)) => {
                    let gain_min = if *to == 0 { 2 } else { 3 };
                    from.checked_sub(*to).filter(|gain| *gain >= gain_min)?
                }
                // A leader that may not lead hands over to whoever may.
                (None, Some(to)) => usize::MAX - *to,
                _ => return None,
            };
            led.has_caught_up(*to).then_some((gain, Step::Transfer { group: id, leader: led.leader, to: *to }))
        })
    });
    // The first of the greatest gain, so that the same view gives the same step.
    moves
        .fold(None, |best: Option<(usize, Step)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .map(|(_, step)| step)
}

/// Nodes that are to go and have nothing left are gone.
fn remove(view: &View, decision: &mut Decision) {
    for (id, node) in view.nodes.iter().filter(|(_, node)| node.state == NodeState::Leaving) {
        let is_needed = view.groups.values().any(|group| {
            group.wanted.contains(id)
                // Of a group that nobody leads, nothing is known.
                || (!group.wanted.is_empty()
                    && group.led.as_ref().is_none_or(|led| led.voters.contains(id) || led.is_joint || !led.is_agreed))
        });
        if !is_needed {
            decision.steps.push(Step::Remove { node: *id, expected: node.version });
        }
    }
}

#[cfg(test)]
mod tests;

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
mod tests {
    use super::super::view::SeenNode;
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
        ids.into_iter().collect()
    }

    fn node(state: NodeState) -> SeenNode {
        SeenNode {
            state,
            version: 7,
            address: String::new(),
            answers: true,
            is_current: true,
            is_fit: true,
            is_full: false,
        }
    }

    fn membership(index: u64) -> v1::LogId {
        v1::LogId { leader: None, index }
    }

    /// A group that is led by `leader`, with `voters` who all have everything.
    fn group(wanted: &[NodeId], leader: NodeId, voters: &[NodeId]) -> SeenGroup {
        SeenGroup {
            wanted: nodes(wanted.iter().copied()),
            version: 1,
            led: Some(Led {
                leader,
                term: 1,
                voters: nodes(voters.iter().copied()),
                learners: BTreeSet::new(),
                is_joint: false,
                is_agreed: true,
                membership: membership(5),
                last_log_index: 1_000,
                matched: voters.iter().map(|voter| (*voter, 1_000)).collect(),
            }),
            hosts: voters.iter().map(|voter| (*voter, true)).collect(),
        }
    }

    fn view(states: &[(NodeId, NodeState)], groups: Vec<SeenGroup>) -> View {
        View {
            nodes: states.iter().map(|(id, state)| (*id, node(*state))).collect(),
            group_count: u32::try_from(groups.len()).expect("few") - 1,
            groups: (0..).map(GroupId).zip(groups).collect(),
            directory_applied: 9,
        }
    }

    const ACTIVE: NodeState = NodeState::Active;
    const THREE: [(NodeId, NodeState); 3] = [(1, ACTIVE), (2, ACTIVE), (3, ACTIVE)];

    fn steps(view: &View) -> Vec<Step> {
        decide(view, true).steps
    }

    #[test]
    fn what_waits_for_a_silent_node_keeps_nobody_from_moving() {
        let states = [(1, ACTIVE), (2, ACTIVE), (3, ACTIVE), (4, ACTIVE), (5, ACTIVE)];
        let to_silent = || {
            let mut group = group(&[1, 2, 4], 1, &[1, 2, 3]);
            group.led.as_mut().expect("it is led").learners.insert(4);
            group
        };
        let directory = group(&[1, 2, 3], 1, &[1, 2, 3]);
        let to_other = group(&[1, 2, 5], 1, &[1, 2, 3]);
        let mut view = view(&states, vec![directory, to_silent(), to_silent(), to_silent(), to_other]);
        view.groups.get_mut(&GroupId(0)).and_then(|group| group.led.as_mut()).expect("it is led").learners =
            nodes([4, 5]);
        let moves = |view: &View| {
            let steps = steps(view).into_iter();
            steps.filter(|step| !matches!(step, Step::Transfer { .. })).collect::<Vec<_>>()
        };
        assert_eq!(moves(&view), [], "two groups wait for a node that catches up");
        view.nodes.get_mut(&4).expect("it is there").answers = false;
        assert_eq!(moves(&view), [Step::AddLearner { group: GroupId(4), leader: 1, node: 5, seen: membership(5) }]);
        assert_eq!(decide(&view, true).obstacles.len(), 3);
    }

    #[test]
    fn a_new_cluster_is_placed_and_then_formed() {
        let mut directory = group(&[], 1, &[1, 2, 3]);
        directory.version = 0;
        let mut young = view(&THREE, vec![directory, SeenGroup::default(), SeenGroup::default()]);
        assert_eq!(decide(&young, false).steps, []);
        let all = nodes([1, 2, 3]);
        let place = |group| Step::Place { group: GroupId(group), voters: all.clone(), expected: 0 };
        assert_eq!(steps(&young), [place(0), place(1), place(2)]);

        for group in young.groups.values_mut() {
            group.wanted.clone_from(&all);
        }
        assert_eq!(decide(&young, true).obstacles.len(), 2, "they are not ready");
        for id in [1, 2] {
            let hosts = young.groups.get_mut(&GroupId(id)).expect("it is there");
            hosts.hosts = all.iter().map(|node| (*node, false)).collect();
        }
        let form = |group, on| Step::Form { group: GroupId(group), on, voters: all.clone(), placement: 0 };
        assert_eq!(steps(&young), [form(1, 2), form(2, 3)]);
        // One that is formed somewhere is never formed again.
        young.groups.get_mut(&GroupId(2)).expect("it is there").hosts.insert(3, true);
        assert_eq!(steps(&young), [form(1, 2)]);
    }

    #[test]
    fn a_founder_that_never_came_is_done_without() {
        let states = |ids: &[NodeId]| ids.iter().map(|id| (*id, ACTIVE)).collect::<Vec<_>>();
        let place = |group, voters: &[NodeId]| Step::Place {
            group: GroupId(group),
            voters: nodes(voters.iter().copied()),
            expected: 0,
        };
        // The directory is formed on nodes 1 to 3, and node 2 is none yet.
        let young = |ids: &[NodeId]| {
            let mut directory = group(&[], 1, &[1, 2, 3]);
            directory.version = 0;
            view(&states(ids), vec![directory, SeenGroup::default()])
        };
        assert_eq!(steps(&young(&[1, 3, 4, 5])), [place(0, &[1, 3, 4]), place(1, &[3, 4, 5])]);
        assert_eq!(steps(&young(&[1, 3])), [place(0, &[1, 3]), place(1, &[1, 3])]);
        assert_eq!(steps(&young(&[1, 3, 4])), [place(0, &[1, 3, 4]), place(1, &[1, 3, 4])]);
    }

    /// Of a group that was placed anew before it was formed, or so it seems, one that is silent may know more.
    #[test]
    fn what_is_placed_anew_is_formed_once_all_nodes_know_it() {
        let states = [(1, ACTIVE), (2, NodeState::Leaving), (3, ACTIVE), (4, ACTIVE)];
        let wanted = nodes([1, 3, 4]);
        let unformed = |version| SeenGroup {
            wanted: wanted.clone(),
            version,
            led: None,
            hosts: wanted.iter().map(|node| (*node, false)).collect(),
        };
        let of = |version| {
            let mut directory = group(&[1, 3, 4], 1, &[1, 3, 4]);
            directory.led.as_mut().expect("it is led").learners.insert(2);
            view(&states, vec![directory, unformed(version)])
        };
        let form = |placement| Step::Form { group: GroupId(1), on: 3, voters: wanted.clone(), placement };
        let (mut first, mut second) = (of(1), of(2));
        assert_eq!((steps(&first), steps(&second)), (vec![form(1)], vec![form(2)]));
        for view in [&mut first, &mut second] {
            // It may have been asked to form the group, and not have got round to it.
            view.nodes.get_mut(&2).expect("it is there").is_current = false;
        }
        assert_eq!((steps(&first), steps(&second)), (vec![form(1)], vec![]));
        let waits = "g1 was to be elsewhere before: it waits for node 2 to know better";
        assert_eq!(decide(&second, true).obstacles, [waits]);
    }

    #[test]
    fn a_replica_moves_one_safe_step_at_a_time() {
        let states = [(1, ACTIVE), (2, ACTIVE), (3, ACTIVE), (4, ACTIVE)];
        let mut directory = group(&[1, 2, 3], 2, &[1, 2, 3]);
        directory.led.as_mut().expect("led").learners.insert(4);
        let mut moving = view(&states, vec![directory, group(&[1, 2, 4], 3, &[1, 2, 3])]);
        let id = GroupId(1);
        let led = |view: &mut View, change: &dyn Fn(&mut Led)| {
            change(view.groups.get_mut(&id).and_then(|group| group.led.as_mut()).expect("led"));
        };
        assert_eq!(steps(&moving), [Step::AddLearner { group: id, leader: 3, node: 4, seen: membership(5) }]);
        led(&mut moving, &|led| led.learners.extend([4]));
        assert!(steps(&moving).is_empty(), "it has not caught up");
        led(&mut moving, &|led| led.matched.extend([(4, 799)]));
        assert!(steps(&moving).is_empty(), "it has not caught up");
        led(&mut moving, &|led| led.matched.extend([(4, 800)]));
        assert!(steps(&moving).is_empty(), "it had caught up, and has lost its data since");
        moving.groups.get_mut(&id).expect("it is there").hosts.insert(4, true);
        // The leader is to go: first another leads.
        assert_eq!(steps(&moving), [Step::Transfer { group: id, leader: 3, to: 1 }]);
        led(&mut moving, &|led| led.leader = 1);
        let set = |voters| Step::SetVoters { group: id, leader: 1, voters, seen: membership(5) };
        assert_eq!(steps(&moving), [set(nodes([1, 2, 4]))]);
        // Half-way through, it is brought to its end.
        led(&mut moving, &|led| {
            led.voters = nodes([1, 2, 3, 4]);
            led.learners.clear();
            led.is_joint = true;
        });
        assert_eq!(steps(&moving), [set(nodes([]))]);
        led(&mut moving, &|led| {
            led.voters = nodes([1, 2, 4]);
            led.is_joint = false;
        });
        assert_eq!(steps(&moving), [Step::Drop { group: id, on: 3, seen: membership(5) }]);
        moving.groups.get_mut(&id).expect("it is there").hosts.remove(&3);
        assert_eq!(decide(&moving, true), Decision::default());
    }

    #[test]
    fn no_change_leaves_too_few_voters_that_answer() {
        let states = [(1, ACTIVE), (2, ACTIVE), (4, NodeState::Draining)];
        let mut thin = view(&states, vec![group(&[1, 2], 1, &[1, 2, 4])]);
        let set = |voters| Step::SetVoters { group: GroupId(0), leader: 1, voters, seen: membership(5) };
        assert_eq!(steps(&thin), [set(nodes([1, 2]))]);
        // With node 2 dead, nodes 1 and 4 are all that is left of the majority.
        thin.nodes.get_mut(&2).expect("it is there").answers = false;
        assert!(steps(&thin).is_empty());
        assert_eq!(decide(&thin, true).obstacles, ["g0 would have too few voters that answer"]);
        // It answers again, but with an empty disk: it is about to learn that it may not come back.
        thin.nodes.get_mut(&2).expect("it is there").answers = true;
        thin.groups.get_mut(&GroupId(0)).expect("it is there").hosts.insert(2, false);
        assert!(steps(&thin).is_empty());
        assert_eq!(decide(&thin, true).obstacles, ["g0 would have too few voters that answer"]);
    }

    #[test]
    fn a_dead_node_that_leaves_is_replaced_and_removed() {
        let states = [(1, ACTIVE), (2, ACTIVE), (3, NodeState::Leaving), (4, ACTIVE)];
        let mut directory = group(&[1, 2, 3], 1, &[1, 2, 3]);
        directory.led.as_mut().expect("led").learners.insert(4);
        let mut dying = view(&states, vec![directory]);
        dying.nodes.get_mut(&3).expect("it is there").answers = false;
        let place = Step::Place { group: GroupId(0), voters: nodes([1, 2, 4]), expected: 1 };
        assert_eq!(steps(&dying), [place]);

        let directory = dying.groups.get_mut(&GroupId(0)).expect("it is there");
        directory.wanted = nodes([1, 2, 4]);
        directory.hosts.insert(4, true);
        directory.led.as_mut().expect("led").matched.insert(4, 1_000);
        let seen = membership(5);
        let swap = Step::SetVoters { group: GroupId(0), leader: 1, voters: nodes([1, 2, 4]), seen };
        assert_eq!(steps(&dying), [swap]);

        let led = dying.groups.get_mut(&GroupId(0)).and_then(|group| group.led.as_mut()).expect("led");
        led.voters = nodes([1, 2, 4]);
        led.learners = nodes([3]);
        assert_eq!(steps(&dying), [Step::Remove { node: 3, expected: 7 }]);

        dying.nodes.get_mut(&3).expect("it is there").state = NodeState::Removed;
        assert_eq!(steps(&dying), [Step::RemoveLearner { group: GroupId(0), leader: 1, node: 3, seen }]);
    }

    #[test]
    fn leaders_are_spread_and_leave_nodes_that_are_not_fit() {
        let groups = |leaders: &[NodeId]| leaders.iter().map(|leader| group(&[1, 2, 3], *leader, &[1, 2, 3])).collect();
        let transfer = |group, leader, to| Step::Transfer { group: GroupId(group), leader, to };
        assert_eq!(steps(&view(&THREE, groups(&[1, 1, 1]))), [transfer(0, 1, 2)]);
        assert_eq!(steps(&view(&THREE, groups(&[1, 2, 3]))), []);
        assert_eq!(steps(&view(&THREE, groups(&[1, 1, 1, 2, 2, 3]))), [], "a difference of two is left alone");
        assert_eq!(steps(&view(&THREE, groups(&[1, 1, 1, 1, 2, 3]))), [transfer(0, 1, 2)]);
        let mut wild = view(&THREE, groups(&[1, 2, 3]));
        wild.nodes.get_mut(&3).expect("it is there").is_fit = false;
        assert_eq!(steps(&wild), [transfer(2, 3, 1)]);
        let mut silent = view(&THREE, groups(&[1, 1, 1]));
        silent.nodes.get_mut(&2).expect("it is there").answers = false;
        assert_eq!(steps(&silent), [transfer(0, 1, 3)]);
    }

    #[test]
    fn nothing_more_is_put_on_a_full_disk() {
        let four = [(1, ACTIVE), (2, ACTIVE), (3, ACTIVE), (4, ACTIVE)];
        let mut directory = group(&[1, 2, 3], 1, &[1, 2, 3]);
        directory.led.as_mut().expect("led").learners.insert(4);
        let fill = |view: &mut View, node| {
            let seen = view.nodes.get_mut(&node).expect("it is there");
            (seen.is_full, seen.is_fit) = (true, false);
        };

        // Groups without a place.
        let mut young = view(&four, vec![directory.clone(), SeenGroup::default(), SeenGroup::default()]);
        fill(&mut young, 2);
        let place = |group| Step::Place { group: GroupId(group), voters: nodes([1, 3, 4]), expected: 0 };
        assert_eq!(steps(&young), [place(1), place(2)]);
        fill(&mut young, 3);
        let waits = |group| format!("g{group} waits for nodes that answer and whose disks have room");
        assert_eq!(decide(&young, true), Decision { steps: vec![], obstacles: vec![waits(1), waits(2)] });

        // One that was placed before the disk was full.
        let mut late = view(&four, vec![directory, group(&[1, 2, 4], 2, &[1, 2, 3])]);
        fill(&mut late, 4);
        assert_eq!(decide(&late, true).obstacles, ["g1 waits for room on the disk of node 4"]);
        assert_eq!(decide(&late, true).steps, []);
    }

    #[test]
    fn a_full_node_keeps_nobody_else_from_coming_and_going() {
        let five = [(1, ACTIVE), (2, ACTIVE), (3, NodeState::Leaving), (4, ACTIVE), (5, ACTIVE)];
        let mut directory = group(&[1, 2, 5], 1, &[1, 2, 3]);
        directory.hosts.insert(5, true);
        let mut mixed = view(&five, vec![directory]);
        mixed.nodes.get_mut(&3).expect("it is there").answers = false;
        mixed.nodes.get_mut(&4).expect("it is there").is_full = true;
        // The one that has room is added, though it is not the first that is missing.
        assert_eq!(steps(&mixed), [Step::AddLearner { group: GroupId(0), leader: 1, node: 5, seen: membership(5) }]);
        let led = mixed.groups.get_mut(&GroupId(0)).and_then(|group| group.led.as_mut()).expect("it is led");
        led.learners.insert(5);
        led.matched.insert(5, 1_000);
        // So the dead voter goes.
        let swap = Step::SetVoters { group: GroupId(0), leader: 1, voters: nodes([1, 2, 5]), seen: membership(5) };
        assert_eq!(steps(&mixed), [swap]);
        let led = mixed.groups.get_mut(&GroupId(0)).and_then(|group| group.led.as_mut()).expect("it is led");
        (led.voters, led.learners) = (nodes([1, 2, 5]), nodes([3]));
        assert_eq!(decide(&mixed, true).obstacles, ["g0 waits for room on the disk of node 4"]);
    }

    #[test]
    fn nothing_is_placed_on_a_node_that_does_not_answer() {
        let states = [(1, ACTIVE), (2, ACTIVE), (3, NodeState::Draining), (4, ACTIVE), (5, ACTIVE)];
        let mut directory = group(&[1, 2, 4], 1, &[1, 2, 4]);
        directory.led.as_mut().expect("it is led").learners.extend([3, 5]);
        let mut draining = view(&states, vec![directory, group(&[1, 2, 3], 1, &[1, 2, 3])]);
        let place = |node| Step::Place { group: GroupId(1), voters: nodes([1, 2, node]), expected: 1 };
        assert!(steps(&draining).contains(&place(5)), "node 5 has the fewest");
        draining.nodes.get_mut(&5).expect("it is there").answers = false;
        assert!(steps(&draining).contains(&place(4)));
        draining.nodes.get_mut(&4).expect("it is there").answers = false;
        let waits = decide(&draining, true);
        assert!(!waits.steps.iter().any(|step| matches!(step, Step::Place { .. })), "{waits:?}");
        assert_eq!(waits.obstacles, ["no other node can take g1 over from node 3"]);
        // Nor where nothing is placed yet.
        let mut young =
            view(&[(1, ACTIVE), (2, ACTIVE), (4, ACTIVE), (5, ACTIVE)], vec![group(&[1, 2, 4], 1, &[1, 2, 4])]);
        young.groups.insert(GroupId(1), SeenGroup::default());
        young.nodes.get_mut(&2).expect("it is there").answers = false;
        let place = Step::Place { group: GroupId(1), voters: nodes([1, 4, 5]), expected: 0 };
        assert!(steps(&young).contains(&place), "{:?}", steps(&young));
    }

    #[test]
    fn a_node_that_cannot_give_up_a_group_holds_nothing_up() {
        let four = [(1, ACTIVE), (2, ACTIVE), (3, ACTIVE), (4, ACTIVE)];
        let mut left = view(&four, (0..3).map(|_| group(&[1, 2, 3], 1, &[1, 2, 3])).collect());
        left.groups.get_mut(&GroupId(0)).and_then(|group| group.led.as_mut()).expect("it is led").learners.insert(4);
        left.groups.get_mut(&GroupId(1)).expect("it is there").hosts.insert(4, true);
        let drop = Step::Drop { group: GroupId(1), on: 4, seen: membership(5) };
        let transfer = Step::Transfer { group: GroupId(0), leader: 1, to: 2 };
        assert_eq!(steps(&left), [drop, transfer.clone()]);
        left.nodes.get_mut(&4).expect("it is there").is_full = true;
        assert_eq!(steps(&left), [transfer]);
        let waits = "g1 waits for room on the disk of node 4, which is to give it up";
        assert_eq!(decide(&left, true).obstacles, [waits]);
    }

    /// What is only in the leader's log may be undone: then those who had to go are needed again.
    #[test]
    fn nobody_gives_up_anything_before_the_members_have_agreed() {
        let states = [(1, ACTIVE), (2, ACTIVE), (3, NodeState::Leaving), (4, ACTIVE)];
        let moved = |is_agreed: bool| {
            let mut moved = group(&[1, 2, 4], 1, &[1, 2, 4]);
            moved.hosts.insert(3, true);
            moved.led.as_mut().expect("it is led").is_agreed = is_agreed;
            decide(&view(&states, vec![group(&[1, 2, 4], 1, &[1, 2, 4]), moved]), true).steps
        };
        let gives_up = |step: &Step| matches!(step, Step::Drop { on: 3, .. } | Step::Remove { node: 3, .. });
        assert!(!moved(false).iter().any(gives_up), "{:?}", moved(false));
        assert_eq!(moved(true).into_iter().filter(gives_up).count(), 2);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let states = [(1, ACTIVE), (2, NodeState::Draining)];
        let stuck = decide(&view(&states, vec![group(&[2], 2, &[2])]), true);
        // One active node can take it.
        assert_eq!(stuck.steps[0], Step::Place { group: GroupId(0), voters: nodes([1]), expected: 1 });
        let none = decide(&view(&[(2, NodeState::Draining)], vec![group(&[2], 2, &[2])]), true);
        assert!(none.steps.is_empty());
        let mut leaderless = group(&[1, 2, 3], 1, &[1, 2, 3]);
        leaderless.led = None;
        let lost = decide(&view(&THREE, vec![leaderless]), true);
        assert_eq!(lost.obstacles, ["g0 has no leader that answers"]);
    }
}

//! What the controller decides in views made up for it.

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
    view.groups.get_mut(&GroupId(0)).and_then(|group| group.led.as_mut()).expect("it is led").learners = nodes([4, 5]);
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
    let mut young = view(&[(1, ACTIVE), (2, ACTIVE), (4, ACTIVE), (5, ACTIVE)], vec![group(&[1, 2, 4], 1, &[1, 2, 4])]);
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

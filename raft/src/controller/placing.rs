//! Where groups are to be: pure functions from what is to what is wanted.

use crate::node::REPLICAS;
use crate::types::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::GroupId;

/// The voters wanted of each group.
pub type Voters = BTreeMap<GroupId, BTreeSet<NodeId>>;

/// How many voters a group of a cluster with so many active nodes is to have.
pub fn replicas(active: usize) -> usize {
    REPLICAS.min(active).max(1)
}

/// The voters of a group that has none yet: [`REPLICAS`] of the nodes, taken in turn so that groups spread evenly.
pub fn first_voters(group: GroupId, nodes: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let start = group.0 as usize % nodes.len().max(1);
    nodes.iter().cycle().skip(start).take(replicas(nodes.len()).min(nodes.len())).copied().collect()
}

fn loads(wanted: &Voters, active: &BTreeSet<NodeId>) -> BTreeMap<NodeId, usize> {
    let mut loads: BTreeMap<NodeId, usize> = active.iter().map(|node| (*node, 0)).collect();
    for voter in wanted.values().flatten() {
        if let Some(load) = loads.get_mut(voter) {
            *load += 1;
        }
    }
    loads
}

/// The open node with the fewest replicas that `voters` lacks; the first of several.
fn idlest(loads: &BTreeMap<NodeId, usize>, open: &BTreeSet<NodeId>, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
    loads
        .iter()
        .filter(|(node, _)| open.contains(node) && !voters.contains(node))
        .min_by_key(|(node, load)| (**load, **node))
        .map(|(node, _)| *node)
}

/// Replaces voters that are not active, and adds some where there are too few; only nodes that are `open` get more. Gives
/// what changes; a voter that nobody can replace stays.
pub fn repair(wanted: &Voters, active: &BTreeSet<NodeId>, open: &BTreeSet<NodeId>) -> Voters {
    let mut next = wanted.clone();
    for group in wanted.keys() {
        let mut voters = next[group].clone();
        let leaving: Vec<NodeId> = voters.difference(active).copied().collect();
        for node in leaving {
            if let Some(substitute) = idlest(&loads(&next, active), open, &voters) {
                voters.remove(&node);
                voters.insert(substitute);
                next.insert(*group, voters.clone());
            } else if voters.intersection(active).count() >= replicas(active.len()) {
                voters.remove(&node);
                next.insert(*group, voters.clone());
            }
        }
        while voters.len() < replicas(active.len()) {
            let Some(node) = idlest(&loads(&next, active), open, &voters) else { break };
            voters.insert(node);
            next.insert(*group, voters.clone());
        }
    }
    next.retain(|group, voters| wanted[group] != *voters);
    next
}

/// Spreads the replicas over the active nodes until no open one has two less than another, moving as few as that takes.
/// Gives what changes.
pub fn balance(wanted: &Voters, active: &BTreeSet<NodeId>, open: &BTreeSet<NodeId>) -> Voters {
    let mut next = wanted.clone();
    next.extend(repair(wanted, active, open));
    loop {
        let loads = loads(&next, active);
        let idlest = loads.iter().filter(|(node, _)| open.contains(node)).min_by_key(|(node, load)| (**load, **node));
        let Some((least, low)) = idlest else { break };
        // From the fullest first; one may have no group that the idlest lacks.
        let mut fuller: Vec<(&NodeId, &usize)> = loads.iter().filter(|(_, load)| **load > *low + 1).collect();
        fuller.sort_by_key(|(node, load)| (std::cmp::Reverse(**load), **node));
        let moved = fuller.into_iter().find_map(|(from, _)| {
            let movable = |voters: &BTreeSet<NodeId>| voters.contains(from) && !voters.contains(least);
            // The directory moves last: every node has a copy of it anyway.
            let group = next.iter().rev().find(|(_, voters)| movable(voters)).map(|(group, _)| *group)?;
            Some((group, *from))
        });
        let Some((group, from)) = moved else { break };
        let (least, voters) = (*least, next.get_mut(&group).expect("it was found there"));
        voters.remove(&from);
        voters.insert(least);
    }
    next.retain(|group, voters| wanted[group] != *voters);
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = NodeId>) -> BTreeSet<NodeId> {
        ids.into_iter().collect()
    }

    fn placed(groups: u32, active: &BTreeSet<NodeId>) -> Voters {
        (0..=groups).map(|group| (GroupId(group), first_voters(GroupId(group), active))).collect()
    }

    fn spread(wanted: &Voters, active: &BTreeSet<NodeId>) -> (usize, usize) {
        let loads = loads(wanted, active);
        (*loads.values().min().expect("nodes"), *loads.values().max().expect("nodes"))
    }

    #[test]
    fn groups_are_first_spread_in_turn() {
        let five = nodes(1..=5);
        assert_eq!(first_voters(GroupId(0), &five), nodes([1, 2, 3]));
        assert_eq!(first_voters(GroupId(4), &five), nodes([5, 1, 2]));
        assert_eq!(first_voters(GroupId(7), &nodes([4])), nodes([4]));
        assert_eq!(first_voters(GroupId(7), &nodes([4, 9])), nodes([4, 9]));
        let (low, high) = spread(&placed(14, &five), &five);
        assert_eq!((low, high), (9, 9));
    }

    #[test]
    fn a_node_that_leaves_is_replaced_everywhere_by_the_idlest() {
        let wanted = placed(8, &nodes(1..=4));
        let active = nodes([1, 2, 4, 5]);
        let mut next = wanted.clone();
        let changes = repair(&wanted, &active, &active);
        assert!(changes.keys().all(|group| wanted[group].contains(&3)), "only what has to move moves");
        next.extend(changes);
        assert!(next.values().all(|voters| voters.len() == 3 && voters.is_subset(&active)));
        assert!(repair(&next, &active, &active).is_empty());
    }

    #[test]
    fn a_voter_stays_when_nobody_can_replace_it() {
        let wanted = placed(2, &nodes(1..=3));
        assert_eq!(
            repair(&wanted, &nodes([1, 2]), &nodes([1, 2])),
            Voters::new().into_iter().chain(wanted.keys().map(|group| (*group, nodes([1, 2])))).collect(),
            "two of two are as many as there can be"
        );
        assert!(repair(&wanted, &nodes([]), &nodes([])).is_empty());
    }

    #[test]
    fn too_few_voters_become_enough_when_nodes_arrive() {
        let wanted = placed(3, &nodes([1]));
        let next = repair(&wanted, &nodes(1..=3), &nodes(1..=3));
        assert_eq!(next.len(), 4);
        assert!(next.values().all(|voters| voters.len() == 3));
    }

    #[test]
    fn balancing_moves_no_more_than_it_must() {
        let wanted = placed(8, &nodes(1..=3));
        let active = nodes(1..=4);
        let changes = balance(&wanted, &active, &active);
        let mut next = wanted.clone();
        next.extend(changes.clone());
        let (low, high) = spread(&next, &active);
        assert!(high - low <= 1, "{low} to {high}");
        assert!(next.values().all(|voters| voters.len() == 3));
        // 27 replicas over four nodes: the new one gets six, each from another group.
        assert_eq!(changes.len(), 6);
        assert!(!changes.contains_key(&GroupId::DIRECTORY));
        assert!(balance(&next, &active, &active).is_empty());
    }

    #[test]
    fn a_full_node_keeps_what_it_has_and_gets_no_more() {
        let wanted = placed(8, &nodes(1..=3));
        let active = nodes(1..=5);
        let open = nodes([1, 2, 3, 5]);
        let next: Voters = wanted.clone().into_iter().chain(balance(&wanted, &active, &open)).collect();
        assert_eq!(loads(&next, &active)[&4], 0);
        assert!(loads(&next, &active)[&5] > 0);
        // Node 2 leaves and node 3 is full: of those left only node 1 and 5 get more.
        let (active, open) = (nodes([1, 3, 4, 5]), nodes([1, 5]));
        let next: Voters = wanted.clone().into_iter().chain(repair(&wanted, &active, &open)).collect();
        assert!(next.values().all(|voters| *voters == nodes([1, 3, 5])), "{next:?}");
        // Nobody has room: what should leave stays.
        assert!(repair(&wanted, &active, &nodes([])).is_empty());
    }
}

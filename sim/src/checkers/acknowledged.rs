//! What a node has told its leader that it has of a log, it has, also after it has lost power: as long as that leader leads, and
//! nobody else can have cut its log.

use super::{Checker, Look};

/// See the file's head.
pub struct Acknowledged;

impl Checker for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for (&leader, now) in &look.nodes {
            for (&group, view) in now.groups.iter().filter(|(_, view)| view.is_leader) {
                for (&node, matched) in view.matched.iter().filter(|(node, _)| **node != leader) {
                    let Some(there) = look.nodes.get(&node) else { continue };
                    let Some(follower) = there.groups.get(&group) else { continue };
                    let follows = follower.term == view.term
                        && follower
                            .promised
                            .is_some_and(|promised| (promised.term, promised.node) == (view.term, leader));
                    let last = there.last.get(&group).map(|last| last.index);
                    if follows && last < Some(matched.index) {
                        let index = matched.index;
                        return Err(format!(
                            "node {node} has told node {leader} that it has entry {index} of {group}, and its log ends at {last:?}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::NodeLook;
    use super::*;
    use std::collections::BTreeMap;
    use vestibule_engine::GroupId;
    use vestibule_raft::inspect::GroupView;
    use vestibule_raft::wal::{Ballot, LogPosition};

    const GROUP: GroupId = GroupId(1);

    fn node(term: u64, is_leader: bool, last: u64) -> NodeLook {
        let position = |index| LogPosition { term: 1, node: 1, index };
        let view = GroupView {
            term,
            is_leader,
            committed: None,
            applied: None,
            voters: [1, 2].into(),
            quorums: Vec::new(),
            promised: Some(Ballot { term, node: 1, committed: true }),
            matched: if is_leader { [(1, position(last)), (2, position(7))].into() } else { BTreeMap::new() },
        };
        NodeLook { life: 1, groups: [(GROUP, view)].into(), last: [(GROUP, position(last))].into() }
    }

    fn check(leader: NodeLook, follower: NodeLook) -> Result<(), String> {
        Acknowledged.observe(&Look { nodes: [(1, leader), (2, follower)].into(), ..Look::default() })
    }

    #[test]
    fn a_log_that_ends_before_what_it_acknowledged_is_noticed() {
        check(node(3, true, 9), node(3, false, 7)).expect("it has it");
        check(node(3, true, 9), node(3, false, 8)).expect("it has more");
        check(node(3, true, 9), node(3, false, 6)).expect_err("entry 7 is gone");
        check(node(3, true, 9), node(4, false, 6)).expect("a later leader may have cut it");
        let mut empty = node(3, false, 6);
        empty.last.clear();
        check(node(3, true, 9), empty).expect_err("everything is gone");
        let mut elsewhere = node(3, false, 6);
        elsewhere.groups.clear();
        check(node(3, true, 9), elsewhere).expect("it does not host the group any more");
    }
}

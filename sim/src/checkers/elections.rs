//! Election safety, and leader completeness: a term has one leader, which has every entry that was applied before.

use super::{Checker, Look};
use std::collections::BTreeMap;
use vestibule_engine::GroupId;
use vestibule_raft::types::NodeId;
use vestibule_raft::wal::LogPosition;

/// See the file's head.
#[derive(Default)]
pub struct Elections {
    leaders: BTreeMap<(GroupId, u64), NodeId>,
    /// The last entry that anybody has applied.
    applied: BTreeMap<GroupId, LogPosition>,
}

impl Checker for Elections {
    fn name(&self) -> &'static str {
        "elections"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for (&node, now) in &look.nodes {
            for (&group, view) in now.groups.iter().filter(|(_, view)| view.is_leader) {
                let leader = self.leaders.entry((group, view.term)).or_insert(node);
                if *leader != node {
                    return Err(format!("in term {} both node {leader} and node {node} lead {group}", view.term));
                }
                let last = now.last.get(&group);
                match self.applied.get(&group) {
                    Some(applied) if applied.term < view.term && last.is_none_or(|last| last.index < applied.index) => {
                        return Err(format!(
                            "node {node} leads {group} in term {} with the log up to {last:?}, but {applied:?} was applied",
                            view.term
                        ));
                    }
                    _ => {}
                }
            }
        }
        for entry in &look.applied {
            let applied = self.applied.entry(entry.group).or_insert(entry.position);
            if entry.position.index > applied.index {
                *applied = entry.position;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AppliedEntry, NodeLook};
    use super::*;
    use vestibule_raft::inspect::GroupView;
    use vestibule_raft::wal::EntryBody;

    const GROUP: GroupId = GroupId(1);

    fn leading(node: NodeId, term: u64, last: u64) -> Look {
        let view = GroupView { term, is_leader: true, committed: None, applied: None, voters: [1, 2, 3].into() };
        let last = [(GROUP, LogPosition { term: 1, node: 1, index: last })].into();
        let now = NodeLook { life: 1, groups: [(GROUP, view)].into(), last };
        Look { nodes: [(node, now)].into(), ..Look::default() }
    }

    #[test]
    fn two_leaders_of_one_term_are_noticed() {
        let mut checker = Elections::default();
        checker.observe(&leading(1, 4, 9)).expect("one leader");
        checker.observe(&leading(2, 5, 9)).expect("another in another term");
        checker.observe(&leading(2, 4, 9)).expect_err("two in term 4");
    }

    #[test]
    fn a_leader_that_lacks_what_was_applied_is_noticed() {
        let mut checker = Elections::default();
        let position = LogPosition { term: 3, node: 1, index: 10 };
        let applied = vec![AppliedEntry { node: 1, group: GROUP, position, body: EntryBody::Blank }];
        checker.observe(&Look { applied, ..Look::default() }).expect("an entry is applied");
        checker.observe(&leading(1, 4, 10)).expect("it has the entry");
        checker.observe(&leading(2, 5, 9)).expect_err("it does not");
    }
}

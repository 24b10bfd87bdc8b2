//! Elections: whoever leads has every entry that was applied under those who led before.
//!
//! A leader is known by its term and its node, and these are ordered: in one term a node with a higher number may be elected
//! after one with a lower. So a term may see two leaders, one after the other, and that is no reason to complain. But once an
//! entry of the later one was applied, none of the earlier one is accepted behind it.

use super::{Checker, Look};
use std::collections::BTreeMap;
use vestibule_engine::GroupId;
use vestibule_raft::wal::LogPosition;

/// See the file's head.
#[derive(Default)]
pub struct Elections {
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
                let Some(applied) = self.applied.get(&group) else { continue };
                let led_before = (applied.term, applied.node) < (view.term, node);
                let last = now.last.get(&group);
                if led_before && last.is_none_or(|last| last.index < applied.index) {
                    return Err(format!(
                        "node {node} leads {group} in term {} with the log up to {last:?}, but {applied:?} was applied",
                        view.term
                    ));
                }
            }
        }
        for entry in &look.applied {
            let applied = self.applied.entry(entry.group).or_insert(entry.position);
            if entry.position.index > applied.index {
                if (entry.position.term, entry.position.node) < (applied.term, applied.node) {
                    return Err(format!(
                        "{}: {:?} was accepted behind {applied:?}, whose leader came later",
                        entry.group, entry.position
                    ));
                }
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
    use vestibule_raft::types::NodeId;
    use vestibule_raft::wal::EntryBody;

    const GROUP: GroupId = GroupId(1);

    fn leading(node: NodeId, term: u64, last: u64) -> Look {
        let view = GroupView {
            term,
            is_leader: true,
            committed: None,
            applied: None,
            voters: [1, 2, 3].into(),
            quorums: Vec::new(),
            promised: None,
            matched: std::collections::BTreeMap::new(),
        };
        let last = [(GROUP, LogPosition { term: 1, node: 1, index: last })].into();
        let now = NodeLook { life: 1, groups: [(GROUP, view)].into(), last };
        Look { nodes: [(node, now)].into(), ..Look::default() }
    }

    #[test]
    fn two_leaders_that_get_entries_accepted_at_a_time_are_noticed() {
        let accepted = |term, node, index| {
            let position = LogPosition { term, node, index };
            let applied = vec![AppliedEntry { node: 1, group: GROUP, position, body: EntryBody::Blank }];
            Look { applied, ..Look::default() }
        };
        let mut checker = Elections::default();
        for look in [accepted(3, 1, 10), accepted(3, 2, 11), accepted(3, 1, 10), accepted(3, 2, 12), accepted(4, 1, 13)]
        {
            checker.observe(&look).expect("one after the other");
        }
        checker.observe(&accepted(3, 2, 14)).expect_err("the leader of term 4 had taken over");
    }

    #[test]
    fn a_leader_that_lacks_what_was_applied_is_noticed() {
        let mut checker = Elections::default();
        let position = LogPosition { term: 3, node: 1, index: 10 };
        let applied = vec![AppliedEntry { node: 1, group: GROUP, position, body: EntryBody::Blank }];
        checker.observe(&Look { applied, ..Look::default() }).expect("an entry is applied");
        checker.observe(&leading(1, 4, 10)).expect("it has the entry");
        checker.observe(&leading(2, 5, 9)).expect_err("it does not");
        checker.observe(&leading(2, 3, 9)).expect_err("it comes after node 1 in the same term, and does not");
    }
}

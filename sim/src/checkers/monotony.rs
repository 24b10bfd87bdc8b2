//! Terms, commit points and applied indexes of a running node never go back.

use super::{Checker, Look};
use std::collections::BTreeMap;
use vestibule_engine::GroupId;
use vestibule_raft::types::NodeId;

/// See the file's head.
#[derive(Default)]
pub struct Monotony {
    seen: BTreeMap<(NodeId, GroupId), Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    life: u64,
    term: u64,
    committed: Option<u64>,
    applied: Option<u64>,
}

impl Checker for Monotony {
    fn name(&self) -> &'static str {
        "monotony"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for (&node, now) in &look.nodes {
            for (&group, view) in &now.groups {
                let now = Seen {
                    life: now.life,
                    term: view.term,
                    committed: view.committed.map(|position| position.index),
                    applied: view.applied.map(|position| position.index),
                };
                let before = self.seen.insert((node, group), now);
                let Some(before) = before.filter(|before| before.life == now.life) else { continue };
                let back = |what: &str| Err(format!("the {what} of {group} on node {node} went back"));
                if now.term < before.term {
                    return back("term");
                }
                if now.committed < before.committed {
                    return back("commit point");
                }
                if now.applied < before.applied {
                    return back("applied index");
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
    use vestibule_raft::inspect::GroupView;
    use vestibule_raft::wal::LogPosition;

    fn look(life: u64, term: u64, index: u64) -> Look {
        let position = Some(LogPosition { term, node: 1, index });
        let view = GroupView { term, is_leader: false, committed: position, applied: position, voters: [1].into() };
        let now = NodeLook { life, groups: [(GroupId(1), view)].into(), ..NodeLook::default() };
        Look { nodes: [(1, now)].into(), ..Look::default() }
    }

    #[test]
    fn a_step_back_is_noticed_unless_the_node_was_restarted() {
        let mut checker = Monotony::default();
        for step in [look(1, 1, 1), look(1, 2, 5), look(2, 2, 3)] {
            checker.observe(&step).expect("forward, or another life");
        }
        checker.observe(&look(2, 1, 3)).expect_err("the term went back");
        checker.observe(&look(2, 2, 4)).expect("forward");
        checker.observe(&look(2, 2, 3)).expect_err("the applied index went back");
    }
}

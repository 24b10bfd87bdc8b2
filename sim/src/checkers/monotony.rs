//! Terms, commit points and applied indexes of a running node never go back; votes that a node has given never do, also when it
//! was started again meanwhile.

use super::{Checker, Look};
use std::collections::BTreeMap;
use vestibule_engine::GroupId;
use vestibule_raft::types::NodeId;

/// See the file's head.
#[derive(Default)]
pub struct Monotony {
    seen: BTreeMap<(NodeId, GroupId), Seen>,
    /// The highest vote that was acknowledged as being on disk: term, node, whether a quorum has granted it.
    promised: BTreeMap<(NodeId, GroupId), (u64, NodeId, bool)>,
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
                let promised = view.promised.map(|ballot| (ballot.term, ballot.node, ballot.committed));
                let known = self.promised.get(&(node, group)).copied();
                if promised < known {
                    return Err(format!("node {node} has voted {known:?} in {group}, and then {promised:?}"));
                }
                self.promised.extend(promised.map(|promised| ((node, group), promised)));
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
    use vestibule_raft::wal::{Ballot, LogPosition};

    fn look(life: u64, term: u64, index: u64) -> Look {
        seen(life, term, index, index, None)
    }

    fn seen(life: u64, term: u64, committed: u64, applied: u64, promised: Option<Ballot>) -> Look {
        let position = |index| Some(LogPosition { term, node: 1, index });
        let (committed, applied) = (position(committed), position(applied));
        let (voters, quorums, matched) = ([1].into(), Vec::new(), BTreeMap::new());
        let view = GroupView { term, is_leader: false, committed, applied, voters, quorums, promised, matched };
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
        checker.observe(&seen(2, 2, 4, 3, None)).expect_err("the applied index went back");
        let mut checker = Monotony::default();
        checker.observe(&seen(1, 1, 5, 5, None)).expect("the first");
        checker.observe(&seen(1, 1, 4, 5, None)).expect_err("the commit point went back");
    }

    #[test]
    fn a_vote_that_was_forgotten_is_noticed() {
        let vote = |life, term, node, committed| seen(life, term, 0, 0, Some(Ballot { term, node, committed }));
        let mut checker = Monotony::default();
        for step in [vote(1, 1, 1, false), vote(1, 1, 1, true), vote(2, 1, 2, false), vote(3, 2, 1, false)] {
            checker.observe(&step).expect("forward");
        }
        checker.observe(&vote(4, 1, 2, false)).expect_err("the node had voted in term 2");
        checker.observe(&vote(4, 2, 1, false)).expect("as it was");
        checker.observe(&seen(4, 2, 0, 0, None)).expect_err("it is as if the node had never voted");
    }
}

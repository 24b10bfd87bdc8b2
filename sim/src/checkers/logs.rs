//! Log matching and leader completeness: entries of one index and one leadership (a term and its node) are the same in every
//! log, with the same before them, and whoever becomes leader has every entry that was applied.

use super::{Checker, Look};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::GroupId;
use vestibule_raft::types::NodeId;
use vestibule_raft::wal::{EntryBody, LogPosition};

/// An entry, with the position before it where that was seen.
struct Known {
    node: NodeId,
    body: EntryBody,
    before: Option<LogPosition>,
}

/// See the file's head.
#[derive(Default)]
pub struct Logs {
    known: BTreeMap<(GroupId, LogPosition), Known>,
    last: BTreeMap<(NodeId, GroupId), (u64, LogPosition)>,
    /// The last entry of each group that anybody has applied.
    applied: BTreeMap<GroupId, LogPosition>,
    leaders: BTreeSet<(GroupId, u64, NodeId)>,
}

impl Logs {
    fn compare(&mut self, node: NodeId, group: GroupId, entries: Vec<(LogPosition, EntryBody)>) -> Result<(), String> {
        let mut before: Option<LogPosition> = None;
        for (position, body) in entries {
            let known =
                self.known.entry((group, position)).or_insert_with(|| Known { node, body: body.clone(), before });
            if known.body != body {
                return Err(format!(
                    "{group}: nodes {} and {node} have different entries at {}.{}",
                    known.node, position.term, position.index
                ));
            }
            match (known.before, before) {
                (Some(one), Some(other)) if one != other => {
                    return Err(format!(
                        "{group}: before {}.{} node {} has {one:?}, node {node} has {other:?}",
                        position.term, position.index, known.node
                    ));
                }
                (None, Some(_)) => known.before = before,
                _ => {}
            }
            before = Some(position);
        }
        Ok(())
    }
}

impl Checker for Logs {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for (&node, now) in &look.nodes {
            for (&group, &last) in &now.last {
                let seen = self.last.insert((node, group), (now.life, last));
                let Some(replica) = look.replicas.get(&(node, group)).filter(|_| seen != Some((now.life, last))) else {
                    continue;
                };
                // What is committed does not change, and is compared when it is applied: the rest is short.
                let committed = now.groups.get(&group).and_then(|view| view.committed).map_or(0, |at| at.index);
                self.compare(node, group, replica.log(committed, last.index + 1)?)?;
            }
            for (&group, view) in now.groups.iter().filter(|(_, view)| view.is_leader) {
                if !self.leaders.insert((group, view.term, node)) {
                    continue;
                }
                let led_before = |applied: &&LogPosition| (applied.term, applied.node) < (view.term, node);
                let Some(&applied) = self.applied.get(&group).filter(led_before) else { continue };
                let Some(replica) = look.replicas.get(&(node, group)) else { continue };
                let here = replica.log(applied.index, applied.index + 1)?;
                let is_purged = now.last.get(&group).is_none_or(|last| last.index >= applied.index)
                    && view.applied.is_some_and(|at| at.index >= applied.index);
                match here.first() {
                    Some((position, _)) if *position == applied => {}
                    None if is_purged => {}
                    _ => {
                        return Err(format!(
                            "node {node} leads {group} in term {} without {applied:?}, which was applied",
                            view.term
                        ));
                    }
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
    use super::super::stage::Puppet;
    use super::super::{AppliedEntry, NodeLook};
    use super::*;
    use std::rc::Rc;
    use vestibule_raft::inspect::GroupView;

    const GROUP: GroupId = GroupId(1);

    fn position(term: u64, index: u64) -> LogPosition {
        LogPosition { term, node: 1, index }
    }

    fn entry(term: u64, index: u64, body: &'static [u8]) -> (LogPosition, EntryBody) {
        (position(term, index), EntryBody::Batch(bytes::Bytes::from_static(body)))
    }

    fn with_log(node: NodeId, leads: Option<u64>, log: Vec<(LogPosition, EntryBody)>) -> Look {
        let last = log.last().map(|(position, _)| (GROUP, *position)).into_iter().collect();
        let term = leads.unwrap_or(0);
        let view = GroupView {
            term,
            is_leader: leads.is_some(),
            committed: None,
            applied: None,
            voters: [1, 2, 3].into(),
            quorums: Vec::new(),
            promised: None,
            matched: std::collections::BTreeMap::new(),
        };
        let now = NodeLook { life: 1, groups: [(GROUP, view)].into(), last };
        let puppet: Rc<dyn super::super::Replica> = Rc::new(Puppet { log, ..Puppet::default() });
        Look { nodes: [(node, now)].into(), replicas: [((node, GROUP), puppet)].into(), ..Look::default() }
    }

    #[test]
    fn logs_that_do_not_match_are_noticed() {
        let log = || vec![entry(1, 0, b"a"), entry(1, 1, b"b"), entry(2, 2, b"c")];
        let mut checker = Logs::default();
        checker.observe(&with_log(1, None, log())).expect("the first");
        checker.observe(&with_log(2, None, log())).expect("the same");
        checker.observe(&with_log(3, None, vec![entry(1, 0, b"a"), entry(2, 1, b"x")])).expect("of another term");
        checker.observe(&with_log(3, None, vec![entry(1, 0, b"?")])).expect_err("another entry of the same term");
        let other_before = vec![entry(1, 0, b"a"), entry(2, 1, b"x"), entry(2, 2, b"c")];
        checker.observe(&with_log(3, None, other_before)).expect_err("the same entry after another one");
    }

    #[test]
    fn a_leader_without_an_applied_entry_is_noticed() {
        let (position, body) = entry(1, 1, b"b");
        let applied = vec![AppliedEntry { node: 1, group: GROUP, position, body }];
        let mut checker = Logs::default();
        checker.observe(&Look { applied, ..Look::default() }).expect("applied");
        let whole = vec![entry(1, 0, b"a"), entry(1, 1, b"b"), entry(2, 2, b"")];
        checker.observe(&with_log(2, Some(2), whole)).expect("it has it");
        let replaced = vec![entry(1, 0, b"a"), entry(2, 1, b"x"), entry(3, 2, b"")];
        checker.observe(&with_log(3, Some(3), replaced)).expect_err("it has another one there");
        checker.observe(&with_log(3, Some(4), vec![entry(1, 0, b"a")])).expect_err("it has nothing there");
    }
}

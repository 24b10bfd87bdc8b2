//! Log matching and state-machine safety: whatever nodes apply at an index is the same entry, and its state the same.

use super::{Checker, Look};
use std::collections::BTreeMap;
use vestibule_engine::GroupId;
use vestibule_raft::types::NodeId;
use vestibule_raft::wal::{EntryBody, LogPosition};

/// See the file's head.
#[derive(Default)]
pub struct Agreement {
    entries: BTreeMap<(GroupId, u64), (NodeId, LogPosition, EntryBody)>,
    states: BTreeMap<(GroupId, u64), (NodeId, [u8; 32])>,
}

impl Checker for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for entry in &look.applied {
            let key = (entry.group, entry.position.index);
            let seen = (entry.node, entry.position, entry.body.clone());
            let (node, position, body) = self.entries.entry(key).or_insert(seen);
            if (*position, &*body) != (entry.position, &entry.body) {
                return Err(format!(
                    "{}: node {node} applied {position:?}, node {} applied {:?} there",
                    entry.group, entry.node, entry.position
                ));
            }
        }
        for state in &look.digests {
            let key = (state.group, state.applied.index);
            let (node, digest) = self.states.entry(key).or_insert((state.node, state.digest));
            if *digest != state.digest {
                return Err(format!(
                    "{}: after entry {} node {node} and node {} are in different states",
                    state.group, state.applied.index, state.node
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AppliedEntry, StateDigest};
    use super::*;

    const GROUP: GroupId = GroupId(1);

    fn position(term: u64, index: u64) -> LogPosition {
        LogPosition { term, node: 1, index }
    }

    fn applied(node: NodeId, position: LogPosition, body: &'static [u8]) -> Look {
        let body = EntryBody::Batch(bytes::Bytes::from_static(body));
        Look { applied: vec![AppliedEntry { node, group: GROUP, position, body }], ..Look::default() }
    }

    #[test]
    fn different_entries_at_one_index_are_noticed() {
        let mut checker = Agreement::default();
        checker.observe(&applied(1, position(1, 5), b"a")).expect("the first");
        checker.observe(&applied(2, position(1, 5), b"a")).expect("the same");
        checker.observe(&applied(3, position(2, 5), b"a")).expect_err("of another term");
        checker.observe(&applied(3, position(1, 5), b"b")).expect_err("with another body");
    }

    #[test]
    fn different_states_at_one_index_are_noticed() {
        let state = |node, digest| {
            let digests = vec![StateDigest { node, group: GROUP, applied: position(1, 5), digest: [digest; 32] }];
            Look { digests, ..Look::default() }
        };
        let mut checker = Agreement::default();
        checker.observe(&state(1, 7)).expect("the first");
        checker.observe(&state(2, 7)).expect("the same");
        checker.observe(&state(3, 8)).expect_err("another");
    }
}

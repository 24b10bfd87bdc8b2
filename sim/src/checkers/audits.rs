//! Every replica's own books come out: seats, holds, money, deadlines and the line, recounted from scratch.
//!
//! The state of a replica is compared to others by what is stored of it. What is derived from that can be wrong on one
//! node alone, after it was loaded or a snapshot was installed.

use super::{Checker, Look};
use std::collections::BTreeMap;
use vestibule_engine::GroupId;
use vestibule_raft::types::NodeId;

/// After how many entries a replica is recounted.
const EVERY: usize = 25;

/// See the file's head.
#[derive(Default)]
pub struct Audits {
    since: BTreeMap<(NodeId, GroupId), (u64, usize)>,
}

impl Checker for Audits {
    fn name(&self) -> &'static str {
        "audits"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for entry in &look.applied {
            let key = (entry.node, entry.group);
            let life = look.nodes.get(&entry.node).map_or(0, |node| node.life);
            let (seen, count) = self.since.entry(key).or_insert((life, EVERY));
            if *seen != life {
                (*seen, *count) = (life, EVERY);
            }
            *count += 1;
            if *count >= EVERY
                && let Some(replica) = look.replicas.get(&key)
            {
                *count = 0;
                replica.audit().map_err(|what| format!("{} on node {}: {what}", entry.group, entry.node))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for ((node, group), replica) in &last.replicas {
            replica.audit().map_err(|what| format!("{group} on node {node}: {what}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Puppet, Stage};
    use super::*;

    #[test]
    fn books_that_do_not_come_out_are_noticed() {
        let mut stage = Stage::without_line();
        let wrong = Puppet { audit: Err("one seat too many".to_owned()), ..Puppet::default() };
        let good = Look { replicas: stage.replicas(&[1, 2]), ..stage.tick(1) };
        let mut checker = Audits::default();
        checker.observe(&good).expect("they come out");
        checker.finish(&good).expect("they come out");
        let mut bad = good;
        bad.replicas.insert((2, stage.group()), std::rc::Rc::new(wrong));
        checker.finish(&bad).expect_err("the end is looked at");
        let noticed = (0..EVERY).any(|_| checker.observe(&bad).is_err());
        assert!(!noticed, "only node 1 has applied anything");
        bad.applied.iter_mut().for_each(|entry| entry.node = 2);
        checker.observe(&bad).expect_err("a replica is looked at when it first applies something");
    }
}

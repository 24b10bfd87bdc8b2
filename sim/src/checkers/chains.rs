//! Events are numbered without gaps, chained by showtime, and the same on all replicas, and for everybody who is sent them, at
//! the same number.

use super::{Checker, Look, Sent};
use std::collections::BTreeMap;
use vestibule_engine::{EventRecord, GroupId, Sequence, ShowtimeId};
use vestibule_raft::types::NodeId;

/// See the file's head.
#[derive(Default, Clone)]
pub struct Chains {
    /// The events of each group as they were first seen.
    told: BTreeMap<GroupId, BTreeMap<Sequence, EventRecord>>,
    /// The last link of each chain; events without a showtime have one of their own.
    links: BTreeMap<(GroupId, Option<ShowtimeId>), [u8; 32]>,
    /// How far each replica has been read, in which life.
    read: BTreeMap<(NodeId, GroupId), (u64, Sequence)>,
    /// What sinks were sent and no entry has made yet that was looked at.
    sent: Vec<Sent>,
}

impl Chains {
    /// An event of the log, in order.
    fn add(&mut self, group: GroupId, record: &EventRecord) -> Result<(), String> {
        let told = self.told.entry(group).or_default();
        let last = told.last_key_value().map_or(0, |(&last, _)| last);
        if record.sequence != last + 1 {
            return Err(format!("{group}: event {} follows event {last}", record.sequence));
        }
        let link = self.links.entry((group, record.showtime)).or_default();
        if record.link(link) != record.chain {
            return Err(format!(
                "{group}: event {} does not continue the chain of {:?}",
                record.sequence, record.showtime
            ));
        }
        *link = record.chain;
        told.insert(record.sequence, record.clone());
        Ok(())
    }

    /// What sinks were sent is what the log says, one after the other. Gives back what the log does not say yet.
    fn check_sent(&self, sent: Vec<Sent>) -> Result<Vec<Sent>, String> {
        let mut early = Vec::new();
        for Sent { group, next, record } in sent {
            if record.sequence != next {
                return Err(format!("{group}: a sink was sent event {} and not {next}", record.sequence));
            }
            match self.told.get(&group).and_then(|told| told.get(&record.sequence)) {
                Some(same) if *same == record => {}
                Some(_) => return Err(format!("{group}: a sink was sent another event {}", record.sequence)),
                None => early.push(Sent { group, next, record }),
            }
        }
        Ok(early)
    }
}

impl Checker for Chains {
    fn name(&self) -> &'static str {
        "chains"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for played in &look.played {
            played.events().try_for_each(|record| self.add(played.group, record))?;
        }
        let sent = self.sent.drain(..).chain(look.sent.iter().cloned()).collect();
        self.sent = self.check_sent(sent)?;
        for (&(node, group), replica) in &look.replicas {
            let life = look.nodes.get(&node).map_or(0, |node| node.life);
            let (seen, read) = self.read.entry((node, group)).or_insert((life, 0));
            if *seen != life {
                (*seen, *read) = (life, 0);
            }
            if replica.last_sequence() == *read {
                continue;
            }
            if replica.last_sequence() < *read {
                return Err(format!("{group}: the events of node {node} end before event {read}, which it had"));
            }
            // What is no longer kept cannot be compared.
            let records = replica.events(*read + 1).or_else(|oldest| replica.events(oldest));
            let told = self.told.entry(group).or_default();
            let mut next = None;
            for record in records.map_err(|_| format!("{group}: node {node} does not know what it keeps"))? {
                if next.is_some_and(|next| next != record.sequence) {
                    return Err(format!("{group}: node {node} has a gap before event {}", record.sequence));
                }
                next = Some(record.sequence + 1);
                match told.get(&record.sequence) {
                    Some(same) if *same == record => {}
                    Some(_) => return Err(format!("{group}: node {node} has another event {}", record.sequence)),
                    // The entry that made it is not played yet; it is compared then.
                    None => break,
                }
                *read = record.sequence;
            }
        }
        Ok(())
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        if let Some(Sent { group, record, .. }) = self.sent.first() {
            return Err(format!("{group}: a sink was sent event {}, which nothing made", record.sequence));
        }
        for ((node, group), replica) in &last.replicas {
            let told = self.told.get(group).and_then(|told| told.last_key_value()).map_or(0, |(&last, _)| last);
            if replica.last_sequence() != told {
                return Err(format!("{group}: node {node} ends at event {}, not {told}", replica.last_sequence()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Puppet, Stage};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::Event;

    fn played() -> (Stage, Look) {
        let mut stage = Stage::without_line();
        let look = stage.open();
        (stage, look)
    }

    #[test]
    fn gaps_and_broken_links_are_noticed() {
        let (_, look) = played();
        Chains::default().observe(&look).expect("as it was");
        let mut gap = look.clone();
        gap.played[0].commands[0].events.remove(0);
        Chains::default().observe(&gap).expect_err("an event is missing");
        let mut broken = look;
        broken.played[0].commands[0].events[0].event = Event::QueueClosed;
        Chains::default().observe(&broken).expect_err("the link is that of another event");
    }

    #[test]
    fn a_sink_that_is_sent_something_else_is_noticed() {
        let (stage, look) = played();
        let events: Vec<_> = look.played.iter().flat_map(|played| played.events().cloned()).collect();
        let sent = |record: &EventRecord| {
            let (group, next, record) = (stage.group(), record.sequence, record.clone());
            Look { sent: vec![Sent { group, next, record }], ..Look::default() }
        };
        let mut early = Chains::default();
        early.observe(&sent(&events[1])).expect("it may be ahead of who looks");
        early.clone().finish(&Look::default()).expect_err("nothing has made it");
        early.observe(&look).expect("now the log says so");
        early.observe(&sent(&events[1])).expect("once more");
        early.finish(&Look::default()).expect("as it was");
        let mut other = events[1].clone();
        other.event = Event::QueueClosed;
        early.observe(&sent(&other)).expect_err("another event of that number");
        let mut skipping = sent(&events[1]);
        skipping.sent[0].next -= 1;
        early.observe(&skipping).expect_err("one was left out");
    }

    #[test]
    fn another_event_on_a_replica_is_noticed() {
        let (stage, mut look) = played();
        look.replicas = stage.replicas(&[1]);
        let mut checker = Chains::default();
        checker.observe(&look).expect("as it was");
        checker.finish(&look).expect("as it was");
        let mut events: Vec<_> = look.played.iter().flat_map(|played| played.events().cloned()).collect();
        events[1].at.0 += 1;
        let puppet = |events| -> Rc<dyn super::super::Replica> { Rc::new(Puppet { events, ..Puppet::default() }) };
        look.replicas.insert((2, stage.group()), puppet(events.clone()));
        Chains::default().observe(&look).expect_err("event 2 is of another time");
        events.truncate(1);
        look.replicas.insert((2, stage.group()), puppet(events));
        let mut checker = Chains::default();
        checker.observe(&look).expect("it may be behind");
        checker.finish(&look).expect_err("but not at the end");
    }
}

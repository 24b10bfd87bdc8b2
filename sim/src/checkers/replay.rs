//! Linearizability of what changes things: replies are what a machine of our own gives when it is fed the log.
//!
//! The entries that nodes apply are applied here once more, in the order of the log, to a machine that has never crashed,
//! never loaded a checkpoint and never taken a snapshot. Each reply that a client got must be the one that this machine
//! gave at the position the reply names; a call that ended before another began must stand before it in the log; the
//! states of nodes must be this machine's at the same index; and its recount of its own invariants must come out.

use super::{AppliedEntry, Checker, Look, StateDigest};
use crate::history::{Answer, Call, Happening};
use std::collections::BTreeMap;
use std::sync::Arc;
use vestibule_engine::{Directory, Envelope, GroupId, Reply, RequestId, Shard, StateMachine, codec};
use vestibule_raft::cluster::Position;
use vestibule_raft::types::Batch;
use vestibule_raft::wal::{EntryBody, LogPosition};

/// See the file's head.
#[derive(Default)]
pub struct Replay {
    groups: BTreeMap<GroupId, Replayed>,
    /// For each group the index of the latest entry that a client has heard of.
    heard: BTreeMap<GroupId, u64>,
    /// What had been heard of when a call began.
    floors: BTreeMap<usize, u64>,
}

/// What entries say, applied outside the cluster.
trait Machine {
    fn apply(&mut self, batch: &Batch) -> Result<Vec<(Option<RequestId>, Reply)>, String>;
    fn digest(&self) -> [u8; 32];
    fn audit(&self) -> Result<(), String>;
}

struct Typed<M>(M);

impl<M: StateMachine> Machine for Typed<M> {
    fn apply(&mut self, batch: &Batch) -> Result<Vec<(Option<RequestId>, Reply)>, String> {
        let (at, commands) = batch.unpack().map_err(|error| error.to_string())?;
        let envelopes: Vec<Envelope<M::Command>> = commands
            .iter()
            .map(|command| codec::decode(command))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let replies = self.0.apply(at, &envelopes);
        Ok(envelopes.iter().map(|envelope| envelope.request).zip(replies).collect())
    }

    fn digest(&self) -> [u8; 32] {
        self.0.digest()
    }

    fn audit(&self) -> Result<(), String> {
        self.0.audit()
    }
}

struct Replayed {
    machine: Box<dyn Machine>,
    next: u64,
    /// Entries that arrived before those that come before them.
    ahead: BTreeMap<u64, (LogPosition, EntryBody)>,
    /// The term of each entry, and the state after it.
    states: BTreeMap<u64, (u64, [u8; 32])>,
    replies: BTreeMap<(u64, RequestId), Vec<Reply>>,
    /// What cannot be judged before more of the log is known.
    open_replies: Vec<(Arc<Call>, Reply, Position)>,
    open_states: Vec<StateDigest>,
}

impl Replayed {
    fn new(group: GroupId) -> Self {
        let machine: Box<dyn Machine> = if group == GroupId::DIRECTORY {
            Box::new(Typed(Directory::new(group)))
        } else {
            Box::new(Typed(Shard::new(group)))
        };
        Self {
            machine,
            next: 0,
            ahead: BTreeMap::new(),
            states: BTreeMap::new(),
            replies: BTreeMap::new(),
            open_replies: Vec::new(),
            open_states: Vec::new(),
        }
    }

    fn take(&mut self, entry: &AppliedEntry) -> Result<(), String> {
        if entry.position.index >= self.next {
            self.ahead.entry(entry.position.index).or_insert_with(|| (entry.position, entry.body.clone()));
        }
        while let Some((position, body)) = self.ahead.remove(&self.next) {
            if let EntryBody::Batch(bytes) = body {
                for (request, reply) in self.machine.apply(&Batch::from_bytes(bytes))? {
                    if let Some(request) = request {
                        self.replies.entry((position.index, request)).or_default().push(reply);
                    }
                }
                self.machine.audit()?;
            }
            self.states.insert(position.index, (position.term, self.machine.digest()));
            self.next += 1;
        }
        Ok(())
    }

    fn judge(&mut self) -> Result<(), String> {
        let open = std::mem::take(&mut self.open_replies);
        for (call, reply, at) in open {
            let Some((term, _)) = self.states.get(&at.index) else {
                self.open_replies.push((call, reply, at));
                continue;
            };
            let told =
                || format!("call #{} ({}) was answered at {}.{}", call.number, call.ask.name(), at.term, at.index);
            if *term != at.term {
                return Err(format!("{}, where the entry is of term {term}", told()));
            }
            let given = self.replies.get(&(at.index, call.request)).map_or(&[][..], Vec::as_slice);
            if !given.contains(&reply) {
                return Err(format!("{} with {reply:?}, but the log gives {given:?}", told()));
            }
        }
        let open = std::mem::take(&mut self.open_states);
        for state in open {
            match self.states.get(&state.applied.index) {
                Some((_, digest)) if *digest == state.digest => {}
                Some(_) => {
                    return Err(format!(
                        "{}: the state of node {} after entry {} is not what the log gives",
                        state.group, state.node, state.applied.index
                    ));
                }
                None => self.open_states.push(state),
            }
        }
        Ok(())
    }
}

impl Checker for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for entry in &look.applied {
            self.groups.entry(entry.group).or_insert_with(|| Replayed::new(entry.group)).take(entry)?;
        }
        for state in &look.digests {
            let group = self.groups.entry(state.group).or_insert_with(|| Replayed::new(state.group));
            group.open_states.push(state.clone());
        }
        for happening in &look.happenings {
            match happening {
                Happening::Called(call) => {
                    let heard = self.heard.get(&call.group).copied().unwrap_or(0);
                    self.floors.insert(call.number, heard);
                }
                Happening::Answered { call, answer, .. } => {
                    let floor = self.floors.remove(&call.number).unwrap_or(0);
                    let Answer::Reply(reply, at) = answer else { continue };
                    if at.index <= floor {
                        return Err(format!(
                            "call #{} was answered at {}.{}, though one at {floor} had ended before it began",
                            call.number, at.term, at.index
                        ));
                    }
                    let heard = self.heard.entry(call.group).or_default();
                    *heard = at.index.max(*heard);
                    let group = self.groups.entry(call.group).or_insert_with(|| Replayed::new(call.group));
                    group.open_replies.push((call.clone(), reply.clone(), *at));
                }
            }
        }
        self.groups.values_mut().try_for_each(Replayed::judge)
    }

    fn finish(&mut self) -> Result<(), String> {
        for (id, group) in &self.groups {
            if let Some((index, _)) = group.ahead.first_key_value() {
                return Err(format!("{id}: entry {index} was seen, but not all before it: {} is missing", group.next));
            }
            if let Some((call, _, at)) = group.open_replies.first() {
                return Err(format!(
                    "{id}: call #{} was answered at {}.{}, which nobody applied",
                    call.number, at.term, at.index
                ));
            }
            if let Some(state) = group.open_states.first() {
                return Err(format!(
                    "{id}: node {} has applied entry {}, which was not seen",
                    state.node, state.applied.index
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Ask;
    use std::time::Duration;
    use vestibule_engine::{Refusal, ShardCommand, Timestamp};

    const GROUP: GroupId = GroupId(1);

    fn entry(index: u64) -> AppliedEntry {
        let envelope = Envelope { request: Some(RequestId(u128::from(index))), command: ShardCommand::Tick };
        let body = EntryBody::Batch(Batch::new(Timestamp(index), &[codec::encode(&envelope).into()]).bytes().clone());
        AppliedEntry { node: 1, group: GROUP, position: LogPosition { term: 1, node: 1, index }, body }
    }

    fn call(number: usize, request: u128) -> Arc<Call> {
        let ask = Ask::Shard(Box::new(ShardCommand::Tick));
        let at = Duration::ZERO;
        Arc::new(Call { number, by: "ann".to_owned(), group: GROUP, request: RequestId(request), ask, at })
    }

    fn reply(of: u64) -> Reply {
        let mut machine = Replayed::new(GROUP);
        (0..=of).for_each(|index| machine.take(&entry(index)).expect("an entry"));
        machine.replies[&(of, RequestId(u128::from(of)))][0].clone()
    }

    fn answered(call: &Arc<Call>, reply: Reply, index: u64) -> Happening {
        let answer = Answer::Reply(reply, Position { term: 1, index });
        Happening::Answered { call: call.clone(), answer, at: Duration::ZERO }
    }

    fn look(applied: Vec<AppliedEntry>, happenings: Vec<Happening>) -> Look {
        Look { applied, happenings, ..Look::default() }
    }

    #[test]
    fn a_reply_that_the_log_does_not_give_is_noticed() {
        let asked = call(1, 2);
        let mut checker = Replay::default();
        let entries = (0..=2).map(entry).collect();
        checker.observe(&look(entries, vec![Happening::Called(asked.clone())])).expect("the log");
        checker.observe(&look(Vec::new(), vec![answered(&asked, reply(2), 2)])).expect("as the log has it");
        checker.observe(&look(Vec::new(), vec![answered(&call(2, 1), reply(1), 2)])).expect_err("another's position");
        let mut checker = Replay::default();
        let wrong = Reply { result: Err(Refusal::NoSuchShowtime), replayed: false };
        checker
            .observe(&look((0..=2).map(entry).collect(), vec![answered(&asked, wrong, 2)]))
            .expect_err("another reply");
    }

    #[test]
    fn an_answer_from_the_past_is_noticed() {
        let (first, second) = (call(1, 2), call(2, 1));
        let mut checker = Replay::default();
        let happenings = vec![answered(&first, reply(2), 2), Happening::Called(second.clone())];
        checker.observe(&look((0..=2).map(entry).collect(), happenings)).expect("the first");
        checker.observe(&look(Vec::new(), vec![answered(&second, reply(1), 1)])).expect_err("it began after the first");
    }

    #[test]
    fn what_stays_open_is_noticed() {
        let mut checker = Replay::default();
        checker.observe(&look(vec![entry(0), entry(2)], Vec::new())).expect("entry 1 may come yet");
        checker.finish().expect_err("it never came");
        let mut checker = Replay::default();
        checker.observe(&look(vec![entry(0)], vec![answered(&call(1, 1), reply(1), 1)])).expect("it may come yet");
        checker.finish().expect_err("it never came");
    }

    #[test]
    fn a_state_that_the_log_does_not_give_is_noticed() {
        let position = LogPosition { term: 1, node: 1, index: 0 };
        let state = |digest| StateDigest { node: 1, group: GROUP, applied: position, digest };
        let mut machine = Replayed::new(GROUP);
        machine.take(&entry(0)).expect("an entry");
        let mut checker = Replay::default();
        let right = Look { digests: vec![state(machine.machine.digest())], ..look(vec![entry(0)], Vec::new()) };
        checker.observe(&right).expect("what the log gives");
        checker.observe(&Look { digests: vec![state([0; 32])], ..Look::default() }).expect_err("something else");
    }
}

//! The log, played once more outside the cluster: what every entry did, command by command.
//!
//! The entries that nodes apply are applied here in the order of the log, to machines that have never crashed, never loaded
//! a checkpoint and never taken a snapshot, and to the engine's naive models, which must answer and tell the same. Checkers of
//! what the sale promises look at what this gives; `replay`, `agreement` and `chains` see to it that every replica did the same.

use crate::checkers::AppliedEntry;
use crate::history::Ask;
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::model::{DirectoryModel, Model, ShardModel};
use vestibule_engine::{
    Directory, Envelope, EventRecord, GroupId, Refusal, Reply, RequestId, Shard, StateMachine, Timestamp, codec,
};
use vestibule_raft::types::Batch;
use vestibule_raft::wal::{EntryBody, LogPosition};

/// What one command did.
#[derive(Debug, Clone)]
pub struct Told {
    /// Under which id it came; ticks have none.
    pub request: Option<RequestId>,
    /// What it said.
    pub ask: Ask,
    /// What it was answered.
    pub reply: Reply,
    /// Whether something had been done under its id before, and that was forgotten.
    pub is_anew: bool,
    /// The facts it made, and those that fell due.
    pub events: Vec<EventRecord>,
}

/// What one entry did.
#[derive(Debug, Clone)]
pub struct Played {
    /// In which group.
    pub group: GroupId,
    /// Where in its log.
    pub position: LogPosition,
    /// Log time, as the entry says; none where there are no commands.
    pub at: Option<Timestamp>,
    /// Facts that fell due before its first command.
    pub due: Vec<EventRecord>,
    /// Its commands, in order.
    pub commands: Vec<Told>,
    /// The state after it.
    pub digest: [u8; 32],
    /// What the machine says of itself after it.
    pub audit: Result<(), String>,
}

impl Played {
    /// All facts of this entry, in order.
    pub fn events(&self) -> impl Iterator<Item = &EventRecord> {
        self.due.iter().chain(self.commands.iter().flat_map(|told| &told.events))
    }
}

trait Machine {
    fn apply(&mut self, batch: &Batch) -> Result<(Timestamp, Vec<EventRecord>, Vec<Told>), String>;
    fn digest(&self) -> [u8; 32];
    fn audit(&self) -> Result<(), String>;
    fn reloaded(&self) -> Result<[u8; 32], String>;
}

struct Typed<M: StateMachine, N: Model<Command = M::Command>> {
    group: GroupId,
    machine: M,
    model: N,
    ask: fn(M::Command) -> Ask,
    /// Under which ids something was done.
    done: BTreeSet<RequestId>,
}

impl<M: StateMachine, N: Model<Command = M::Command>> Typed<M, N> {
    fn new(group: GroupId, machine: M, model: N, ask: fn(M::Command) -> Ask) -> Self {
        Self { group, machine, model, ask, done: BTreeSet::new() }
    }

    /// Facts since that one. Some may be forgotten at once: those are as the model has them.
    fn new_events(&self, since: u64) -> Result<Vec<EventRecord>, String> {
        let oldest = match self.machine.events(since + 1, usize::MAX) {
            Ok(events) => return Ok(events),
            Err(oldest) => oldest,
        };
        let forgotten = self.model.forgotten();
        let modelled = usize::try_from(since).ok().zip(usize::try_from(forgotten).ok());
        let gone = modelled.and_then(|(since, forgotten)| self.model.records().get(since..forgotten));
        let left =
            self.machine.events(oldest, usize::MAX).map_err(|_| format!("{}: {oldest} is not kept", self.group))?;
        Ok(gone.unwrap_or_default().iter().cloned().chain(left).collect())
    }

    /// Whether the model has forgotten as many facts.
    fn compare_forgotten(&self) -> Result<(), String> {
        let (oldest, forgotten) = (self.machine.events(1, 0).err().unwrap_or(1), self.model.forgotten());
        if oldest == forgotten + 1 {
            return Ok(());
        }
        Err(format!("{}: the oldest event is {oldest}, and the model has forgotten {forgotten}", self.group))
    }

    /// Whether the model tells the same since an event.
    fn compare_events(&self, since: u64, events: &[EventRecord]) -> Result<(), String> {
        let modelled =
            usize::try_from(since).ok().and_then(|since| self.model.records().get(since..)).unwrap_or_default();
        if modelled == events {
            return Ok(());
        }
        let differs = modelled.iter().zip(events).position(|(modelled, event)| modelled != event);
        let place = differs.unwrap_or(modelled.len().min(events.len()));
        let (event, modelled) = (events.get(place), modelled.get(place));
        Err(format!("{}: the event is {event:?}, but the model says {modelled:?}", self.group))
    }
}

impl<M: StateMachine, N: Model<Command = M::Command>> Machine for Typed<M, N> {
    fn apply(&mut self, batch: &Batch) -> Result<(Timestamp, Vec<EventRecord>, Vec<Told>), String> {
        let (at, commands) = batch.unpack().map_err(|error| error.to_string())?;
        let since = self.machine.last_sequence();
        self.machine.apply(at, &[]);
        self.model.advance(at);
        self.compare_forgotten()?;
        let due = self.new_events(since)?;
        self.compare_events(since, &due)?;
        let mut told = Vec::new();
        for command in commands {
            let envelope: Envelope<M::Command> = codec::decode(&command).map_err(|error| error.to_string())?;
            let since = self.machine.last_sequence();
            // One at a time: however a batch is cut, it does the same.
            let reply = self.machine.apply(at, std::slice::from_ref(&envelope)).pop();
            let reply = reply.ok_or("a command was not answered")?;
            let modelled = self.model.apply(at, &envelope);
            if reply != modelled {
                let command = (self.ask)(envelope.command);
                return Err(format!("{}: {command:?} gave {reply:?}, but the model says {modelled:?}", self.group));
            }
            self.compare_forgotten()?;
            let events = self.new_events(since)?;
            self.compare_events(since, &events)?;
            let is_done = !reply.replayed && reply.result != Err(Refusal::RequestIdReused);
            let is_anew = is_done && envelope.request.is_some_and(|request| !self.done.insert(request));
            told.push(Told { request: envelope.request, ask: (self.ask)(envelope.command), reply, is_anew, events });
        }
        Ok((at, due, told))
    }

    fn digest(&self) -> [u8; 32] {
        self.machine.digest()
    }

    fn audit(&self) -> Result<(), String> {
        self.machine.audit()
    }

    fn reloaded(&self) -> Result<[u8; 32], String> {
        let again = M::load(self.group, self.machine.rows().into_iter()).map_err(|error| error.to_string())?;
        again.audit()?;
        Ok(again.digest())
    }
}

struct Group {
    machine: Box<dyn Machine>,
    next: u64,
    /// Entries that were seen before those that come before them.
    ahead: BTreeMap<u64, (LogPosition, EntryBody)>,
}

impl Group {
    fn new(group: GroupId) -> Self {
        let machine: Box<dyn Machine> = if group == GroupId::DIRECTORY {
            let ask = |command| Ask::Directory(Box::new(command));
            Box::new(Typed::new(group, Directory::new(group), DirectoryModel::default(), ask))
        } else {
            let ask = |command| Ask::Shard(Box::new(command));
            Box::new(Typed::new(group, Shard::new(group), ShardModel::new(group), ask))
        };
        Self { machine, next: 0, ahead: BTreeMap::new() }
    }
}

/// See the file's head.
#[derive(Default)]
pub struct Player {
    groups: BTreeMap<GroupId, Group>,
}

impl Player {
    /// Plays what these entries make possible: an entry waits for those before it.
    pub fn play(&mut self, applied: &[AppliedEntry]) -> Result<Vec<Played>, String> {
        let mut all = Vec::new();
        for entry in applied {
            let id = entry.group;
            let group = self.groups.entry(id).or_insert_with(|| Group::new(id));
            if entry.position.index >= group.next {
                group.ahead.entry(entry.position.index).or_insert_with(|| (entry.position, entry.body.clone()));
            }
            while let Some((position, body)) = group.ahead.remove(&group.next) {
                group.next += 1;
                let (at, due, commands) = match body {
                    EntryBody::Batch(bytes) => {
                        let (at, due, commands) = group.machine.apply(&Batch::from_bytes(bytes))?;
                        (Some(at), due, commands)
                    }
                    _ => (None, Vec::new(), Vec::new()),
                };
                let (digest, audit) = (group.machine.digest(), group.machine.audit());
                all.push(Played { group: id, position, at, due, commands, digest, audit });
            }
        }
        Ok(all)
    }

    /// The run is over: no entry may be missing, and what is stored of a state has to give that state again.
    pub fn finish(&self) -> Result<(), String> {
        for (id, group) in &self.groups {
            if let Some((index, _)) = group.ahead.first_key_value() {
                return Err(format!("{id}: entry {index} was seen, but not all before it: {} is missing", group.next));
            }
            if group.machine.reloaded()? != group.machine.digest() {
                return Err(format!("{id}: the state loaded from its own rows is another one"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_engine::{AcknowledgeEvents, RegisterSink, ShardCommand};

    fn entry(index: u64) -> AppliedEntry {
        let envelope = Envelope { request: Some(RequestId(u128::from(index))), command: ShardCommand::Tick };
        let body = EntryBody::Batch(Batch::new(Timestamp(index), &[codec::encode(&envelope).into()]).bytes().clone());
        AppliedEntry { node: 1, group: GroupId(1), position: LogPosition { term: 1, node: 1, index }, body }
    }

    #[test]
    fn entries_are_played_once_and_in_order() {
        let mut player = Player::default();
        assert!(player.play(&[entry(1)]).expect("it decodes").is_empty());
        player.finish().expect_err("entry 0 is missing");
        let played = player.play(&[entry(0), entry(1), entry(0), entry(2)]).expect("they decode");
        assert_eq!(played.iter().map(|played| played.position.index).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(played[1].commands[0].request, Some(RequestId(1)));
        player.finish().expect("nothing is missing");
    }

    #[test]
    fn what_the_model_would_not_say_is_noticed() {
        let acknowledge = AcknowledgeEvents { sink: "relay".to_owned(), sequence: 0 };
        let envelope = Envelope { request: None, command: ShardCommand::AcknowledgeEvents(acknowledge) };
        let batch = Batch::new(Timestamp(1), &[codec::encode(&envelope).into()]);
        let group = GroupId(1);
        let ask = |command| Ask::Shard(Box::new(command));
        let mut typed = Typed::new(group, Shard::new(group), ShardModel::new(group), ask);
        Machine::apply(&mut typed, &batch).expect("both know no such sink");
        let register = ShardCommand::RegisterSink(RegisterSink { sink: "relay".to_owned() });
        Model::apply(&mut typed.model, Timestamp(1), &Envelope { request: None, command: register });
        let error = Machine::apply(&mut typed, &batch).expect_err("the model knows it");
        assert!(error.contains("but the model says"), "{error}");
    }

    #[test]
    fn what_does_not_decode_is_noticed() {
        let body = EntryBody::Batch(bytes::Bytes::from_static(b"?"));
        Player::default().play(&[AppliedEntry { body, ..entry(0) }]).expect_err("it is no batch");
    }
}

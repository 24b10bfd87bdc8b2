//! A linearizable read shows at least what anybody had heard of when it began, any other at least what it asked for; and every
//! read, of a shard or of the directory, shows what the log, played once more, makes of the state as of the position it names.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Call, Happening};
use std::collections::BTreeMap;
use std::sync::Arc;
use vestibule_engine::{Directory, DirectoryAnswer, Envelope, GroupId, Shard, ShardAnswer, StateMachine, codec};
use vestibule_raft::cluster::{Consistency, Position};
use vestibule_raft::types::Batch;
use vestibule_raft::wal::{EntryBody, LogPosition};

/// See the file's head.
#[derive(Default)]
pub struct Reads {
    /// For each group the latest entry that somebody has heard of.
    heard: BTreeMap<GroupId, u64>,
    /// What a read has to show at least.
    floors: BTreeMap<usize, u64>,
    /// The log of each group.
    log: BTreeMap<GroupId, BTreeMap<u64, (LogPosition, EntryBody)>>,
    /// Answers by the position that they name.
    answers: BTreeMap<GroupId, BTreeMap<u64, Vec<Read>>>,
}

struct Read {
    call: Arc<Call>,
    term: u64,
    content: Content,
}

/// What was read.
#[derive(Debug, PartialEq)]
enum Content {
    Shard(ShardAnswer),
    Directory(DirectoryAnswer),
}

fn of_shard(shard: &Shard, ask: &Ask) -> Option<Content> {
    let Ask::Read(query, _) = ask else { return None };
    Some(Content::Shard(shard.query(query)))
}

fn of_directory(directory: &Directory, ask: &Ask) -> Option<Content> {
    let Ask::LookUp(query, _) = ask else { return None };
    Some(Content::Directory(directory.query(query)))
}

impl Reads {
    /// Plays the log of a group from its beginning, and asks again what was asked.
    fn ask_again<M: StateMachine>(
        &self,
        group: GroupId,
        answers: &BTreeMap<u64, Vec<Read>>,
        read: fn(&M, &Ask) -> Option<Content>,
    ) -> Result<(), String> {
        let nothing = BTreeMap::new();
        let log = self.log.get(&group).unwrap_or(&nothing);
        let mut machine = M::new(group);
        let mut next = 0;
        for (&index, reads) in answers {
            while next <= index {
                let said = |what: &str| format!("{group}: entry {next}, as of which something was read, {what}");
                let (_, body) = log.get(&next).ok_or_else(|| said("was applied by nobody"))?;
                if let EntryBody::Batch(bytes) = body {
                    let (at, commands) =
                        Batch::from_bytes(bytes.clone()).unpack().map_err(|error| said(&error.to_string()))?;
                    let commands: Result<Vec<Envelope<M::Command>>, _> =
                        commands.iter().map(|command| codec::decode(command)).collect();
                    machine.apply(at, &commands.map_err(|error| said(&error.to_string()))?);
                }
                next += 1;
            }
            for Read { call, term, content } in reads {
                let right = read(&machine, &call.ask);
                if right.as_ref() != Some(content) || log[&index].0.term != *term {
                    return Err(format!(
                        "call #{} read {content:?} as of {term}.{index}, where the log gives {right:?}",
                        call.number
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Checker for Reads {
    fn name(&self) -> &'static str {
        "reads"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for entry in &look.applied {
            let log = self.log.entry(entry.group).or_default();
            log.entry(entry.position.index).or_insert_with(|| (entry.position, entry.body.clone()));
        }
        for happening in &look.happenings {
            match happening {
                Happening::Called(call) => {
                    let (Ask::Read(_, consistency) | Ask::LookUp(_, consistency)) = call.ask else { continue };
                    let floor = match consistency {
                        Consistency::Linearizable => self.heard.get(&call.group).copied().unwrap_or(0),
                        Consistency::AppliedMin(index) => index,
                    };
                    self.floors.insert(call.number, floor);
                }
                Happening::Answered { call, answer, .. } => {
                    let floor = self.floors.remove(&call.number).unwrap_or(0);
                    let (content, at) = match answer {
                        Answer::Reply(_, at) => (None, *at),
                        Answer::Read(answer, at) => (Some(Content::Shard((**answer).clone())), *at),
                        Answer::LookUp(answer, at) => (Some(Content::Directory((**answer).clone())), *at),
                        Answer::Unknown | Answer::NotDone(_) => continue,
                    };
                    let Position { term, index } = at;
                    if index < floor {
                        return Err(format!(
                            "call #{} was read as of {term}.{index}, and had to show {floor}",
                            call.number
                        ));
                    }
                    if let Some(content) = content {
                        let read = Read { call: call.clone(), term, content };
                        self.answers.entry(call.group).or_default().entry(index).or_default().push(read);
                    }
                    let heard = self.heard.entry(call.group).or_default();
                    *heard = index.max(*heard);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, _last: &Look) -> Result<(), String> {
        self.answers.iter().try_for_each(|(&group, answers)| match group {
            GroupId::DIRECTORY => self.ask_again(group, answers, of_directory),
            _ => self.ask_again(group, answers, of_shard),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;
    use std::time::Duration;
    use vestibule_engine::{
        CreateOrganisation, DirectoryCommand, DirectoryQuery, RequestId, SeatId, ShardQuery, Timestamp, UserId,
    };

    #[test]
    fn a_stale_read_is_noticed() {
        let mut stage = Stage::without_line();
        let read = |consistency, index| {
            let ask = Ask::Read(ShardQuery::Showtimes, consistency);
            let (at, by) = (Duration::ZERO, String::new());
            let call = Call { number: 99, by, group: GroupId(1), request: RequestId(0), ask, at };
            let call = Arc::new(call);
            let answer = Answer::Read(Box::new(ShardAnswer::Showtimes(Vec::new())), Position { term: 1, index });
            let happenings = vec![Happening::Called(call.clone()), Happening::Answered { call, answer, at }];
            Look { happenings, ..Look::default() }
        };
        let mut checker = Reads::default();
        checker.observe(&stage.open()).expect("it was heard that entry 2 is there");
        checker.observe(&read(Consistency::Linearizable, 2)).expect("as of then");
        checker.observe(&read(Consistency::AppliedMin(0), 1)).expect("it may be behind");
        checker.observe(&read(Consistency::Linearizable, 1)).expect_err("it must not be behind");
        checker.observe(&read(Consistency::AppliedMin(1), 1)).expect("that was asked for");
        checker.observe(&read(Consistency::AppliedMin(2), 1)).expect_err("more was asked for");
    }

    #[test]
    fn an_answer_that_never_was_the_right_one_is_noticed() {
        let mut stage = Stage::without_line();
        let query = ShardQuery::Seats(stage.showtime());
        let mut checker = Reads::default();
        let blank = crate::checkers::AppliedEntry {
            node: 1,
            group: stage.group(),
            position: LogPosition { term: 1, node: 1, index: 0 },
            body: EntryBody::Blank,
        };
        checker.observe(&Look { applied: vec![blank], ..Look::default() }).expect("a leader's first entry");
        let opened = stage.open();
        let index = opened.applied.last().expect("entries").position.index;
        let before = stage.replicas(&[1])[&(1, stage.group())].ask(&query).expect("it answers");
        checker.observe(&opened).expect("as it was");
        checker.observe(&stage.hold(UserId(7), &[SeatId(4)])).expect("as it was");
        let mut read = |index: u64| {
            let ask = Ask::Read(query.clone(), Consistency::AppliedMin(0));
            let (at, by, group) = (Duration::ZERO, String::new(), GroupId(1));
            let call = Arc::new(Call { number: 99, by, group, request: RequestId(0), ask, at });
            let answer = Answer::Read(Box::new(before.clone()), Position { term: 1, index });
            let happenings = vec![Happening::Called(call.clone()), Happening::Answered { call, answer, at }];
            checker.observe(&Look { happenings, ..Look::default() }).expect("nothing is compared yet");
            checker.finish(&Look::default())
        };
        read(index).expect("it was so then");
        read(index + 1).expect_err("a seat was held then");
    }
    #[test]
    fn a_look_up_that_never_was_the_right_one_is_noticed() {
        let (group, by) = (GroupId::DIRECTORY, UserId(1));
        let command = DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: "The House".to_owned() });
        let envelope = Envelope { request: Some(RequestId(1)), command };
        let batch = Batch::new(Timestamp(1), &[codec::encode(&envelope).into()]);
        let entry = |index, body| crate::checkers::AppliedEntry {
            node: 1,
            group,
            position: LogPosition { term: 1, node: 1, index },
            body,
        };
        let applied = vec![entry(0, EntryBody::Blank), entry(1, EntryBody::Batch(batch.bytes().clone()))];
        let query = DirectoryQuery::Organisations;
        let mut directory = Directory::new(group);
        let before = directory.query(&query);
        directory.apply(Timestamp(1), &[envelope]);
        let after = directory.query(&query);
        let read = |answer: &DirectoryAnswer| {
            let mut checker = Reads::default();
            let (at, by) = (Duration::ZERO, String::new());
            let ask = Ask::LookUp(query.clone(), Consistency::AppliedMin(0));
            let call = Arc::new(Call { number: 99, by, group, request: RequestId(0), ask, at });
            let answer = Answer::LookUp(Box::new(answer.clone()), Position { term: 1, index: 1 });
            let happenings = vec![Happening::Called(call.clone()), Happening::Answered { call, answer, at }];
            checker.observe(&Look { applied: applied.clone(), happenings, ..Look::default() })?;
            checker.finish(&Look::default())
        };
        read(&after).expect("it was so then");
        read(&before).expect_err("there was an organisation then");
    }
}

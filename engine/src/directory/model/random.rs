//! Random commands to machine and model; a failure shrinks to a short list.
//!
//! Runs are short, so that after every command reply, facts, every answer and all invariants are looked at. At random
//! points what changed is drained into a store, as a checkpoint would, and the machine is rebuilt from that store and
//! what came since: it must be the same to the byte, and goes on.

use super::Model;
use super::commands::command;
use crate::dice::Dice;
use crate::directory::tests::{golden, precedence};
use crate::precedence::{name_of, variants};
use crate::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// One move of a run.
#[derive(Debug, Clone)]
enum Move {
    Apply(Timestamp, Box<Envelope<DirectoryCommand>>),
    /// The cluster is restored from a backup.
    Refound(u64),
    /// What changed is written to the store.
    Drain,
    /// The machine is rebuilt from the store and what came since it was written.
    Restart,
}

/// How often each command was granted, each was refused for each reason, and so on: a run that never saw something has
/// not tested it.
#[derive(Debug, Default)]
struct Tally {
    commands: u64,
    granted: BTreeMap<String, u64>,
    refused: BTreeMap<(String, String), u64>,
    events: BTreeMap<&'static str, u64>,
    questions: BTreeSet<String>,
    replayed: u64,
    restarts: u64,
    forgotten: u64,
}

/// A machine and a model side by side.
struct Pair {
    directory: Directory,
    model: Model,
    /// What was drained, and what came since.
    stored: DirtyRows,
    since: Vec<Move>,
    /// Draws questions.
    dice: Dice,
}

fn same<T: PartialEq + Debug>(what: &str, machine: &T, model: &T) -> Result<(), String> {
    if machine == model { Ok(()) } else { Err(format!("{what}\n  machine {machine:?}\n  model   {model:?}")) }
}

impl Pair {
    fn new() -> Self {
        Self {
            directory: Directory::new(GroupId::DIRECTORY),
            model: Model::default(),
            stored: DirtyRows::default(),
            since: Vec::new(),
            dice: Dice::new(0),
        }
    }

    fn play(&mut self, step: &Move, tally: &mut Tally) -> Result<(), String> {
        match step {
            Move::Apply(at, envelope) => {
                self.since.push(step.clone());
                self.apply(*at, envelope, tally)?;
            }
            Move::Refound(last_showtime) => {
                self.since.push(step.clone());
                self.directory.refound(*last_showtime);
                self.model.refound(*last_showtime);
            }
            Move::Drain => {
                self.stored.merge(self.directory.drain_dirty());
                self.since.clear();
                return same("drained rows", &self.stored_rows(), &self.directory.rows());
            }
            Move::Restart => {
                tally.restarts += 1;
                self.restart()?;
            }
        }
        self.directory.audit()?;
        self.compare_answers(tally)
    }

    fn stored_rows(&self) -> Vec<Row> {
        let rows = self.stored.0.iter();
        rows.filter_map(|(key, value)| Some(Row { key: key.clone(), value: value.clone()? })).collect()
    }

    fn restart(&mut self) -> Result<(), String> {
        let rows = self.stored_rows().into_iter();
        let mut again = Directory::load(GroupId::DIRECTORY, rows).map_err(|error| error.to_string())?;
        for step in &self.since {
            match step {
                Move::Apply(at, envelope) => drop(again.apply(*at, std::slice::from_ref(&**envelope))),
                Move::Refound(last_showtime) => again.refound(*last_showtime),
                Move::Drain | Move::Restart => {}
            }
        }
        same("rows after a restart", &again.rows(), &self.directory.rows())?;
        same("digest after a restart", &again.digest(), &self.directory.digest())?;
        self.directory = again;
        Ok(())
    }

    fn apply(&mut self, at: Timestamp, envelope: &Envelope<DirectoryCommand>, tally: &mut Tally) -> Result<(), String> {
        let from = self.model.last_sequence() + 1;
        let reply = self.directory.apply(at, std::slice::from_ref(envelope)).remove(0);
        same("reply", &reply, &self.model.apply(at, envelope))?;
        let records = self.directory.events(from, usize::MAX);
        same("facts", &records.as_deref(), &self.model.events(from).as_ref().map(|records| *records))?;
        same("oldest fact", &self.directory.events(1, 1).err(), &self.model.events(1).err())?;
        same("time", &self.directory.now(), &self.model.now)?;
        same("due", &self.directory.next_due(), &None)?;

        tally.commands += 1;
        tally.replayed += u64::from(reply.replayed);
        tally.forgotten += u64::from(self.model.events(1).is_err());
        let name = name_of(&envelope.command);
        match &reply.result {
            _ if reply.replayed => {}
            Ok(_) => *tally.granted.entry(name).or_default() += 1,
            Err(refusal) => *tally.refused.entry((name, name_of(refusal))).or_default() += 1,
        }
        for record in records.unwrap_or_default() {
            *tally.events.entry(record.event.kind()).or_default() += 1;
        }
        Ok(())
    }

    /// Everything that can be asked.
    fn compare_answers(&mut self, tally: &mut Tally) -> Result<(), String> {
        for question in self.model.questions(&mut self.dice) {
            let (answer, wanted) = (self.directory.query(&question), self.model.answer(&question));
            if answer != wanted {
                return same(&format!("{question:?}"), &answer, &wanted);
            }
            if tally.commands < 100 {
                tally.questions.insert(name_of(&question));
            }
        }
        Ok(())
    }
}

/// Leaves moves out as long as it still goes wrong.
fn shrink(mut moves: Vec<Move>, mut reason: String) -> (Vec<Move>, String) {
    let fails = |moves: &[Move]| {
        let (mut pair, mut tally) = (Pair::new(), Tally::default());
        let play = |(index, step)| pair.play(step, &mut tally).err().map(|reason| (index, reason));
        moves.iter().enumerate().find_map(play)
    };
    let mut chunk = moves.len().div_ceil(2);
    loop {
        let mut from = 0;
        while from < moves.len() {
            let mut fewer = moves.clone();
            fewer.drain(from..(from + chunk).min(moves.len()));
            match fails(&fewer) {
                Some((index, why)) => {
                    fewer.truncate(index + 1);
                    (moves, reason) = (fewer, why);
                }
                None => from += chunk,
            }
        }
        if chunk == 1 {
            return (moves, reason);
        }
        chunk = chunk.div_ceil(2);
    }
}

/// A move, for the transcript of a failure. Users do not print what is private, and here it is needed.
fn describe(step: &Move) -> String {
    let Move::Apply(at, envelope) = step else { return format!("{step:?}") };
    let private = match &envelope.command {
        DirectoryCommand::CreateUser(ask) => format!(" {:?} {:?} {:?}", ask.email, ask.password_hash, ask.name),
        DirectoryCommand::UpdateUser(ask) => {
            format!(" {:?} {:?} {:?} {:?}", ask.email, ask.password_hash, ask.name, ask.is_active)
        }
        _ => String::new(),
    };
    format!("{at} {:?} {:?}{private}", envelope.request.map(|id| id.0), envelope.command)
}

/// A key of each algorithm in turn.
fn plain_key(number: usize) -> TokenKey {
    let algorithm = [KeyAlgorithm::Rs256, KeyAlgorithm::Ed25519][number % 2];
    TokenKey { kid: format!("k{number}"), algorithm, der: vec![1], created_at: Timestamp(1) }
}

/// Makes the commands of a run, one after the other.
struct Maker {
    dice: Dice,
    at: u64,
    made: Vec<Envelope<DirectoryCommand>>,
    /// Commands that come next, the last one first.
    planned: Vec<Envelope<DirectoryCommand>>,
    /// One of each command, and those that this run likes many times.
    kinds: Vec<DirectoryCommand>,
}

impl Maker {
    fn new(seed: u64, is_long: bool) -> Self {
        let mut dice = Dice::new(seed);
        let samples = golden::samples();
        let mut kinds = samples.clone();
        for _ in 0..dice.below(5) {
            let liked = dice.pick(&samples);
            kinds.extend(vec![liked; 15]);
        }
        let mut planned = Vec::new();
        if is_long {
            // Facts and requests beyond their bounds, and a sink that never answers.
            let limits = SetLimits { events_max: Some(1_000), requests_max: Some(1_000), ..SetLimits::default() };
            planned.push(DirectoryCommand::SetLimits(limits));
            planned.push(DirectoryCommand::RegisterSink(RegisterSink { sink: "sink 1".into() }));
            let count = |count| DirectoryCommand::SetGroups(SetGroups { expected_version: None, count });
            planned.extend((1..=1_024).map(count));
            let acknowledge = |sequence| AcknowledgeEvents { sink: "sink 1".into(), sequence };
            planned.extend((1..=5).map(acknowledge).map(DirectoryCommand::AcknowledgeEvents));
        } else if !dice.one_in(4) {
            // A house to begin with, most of the time.
            let furniture = samples.iter().filter(|command| {
                matches!(
                    command,
                    DirectoryCommand::SetGroups(_)
                        | DirectoryCommand::CreateOrganisation(_)
                        | DirectoryCommand::CreateVenue(_)
                        | DirectoryCommand::CreateEvent(_)
                        | DirectoryCommand::CreateUser(_)
                        | DirectoryCommand::RegisterNode(_)
                )
            });
            planned.extend(furniture.cloned());
        }
        let mut like = |liked: fn(&DirectoryCommand) -> bool| {
            let liked: Vec<_> = samples.iter().filter(|command| liked(command)).cloned().collect();
            (0..20).for_each(|_| kinds.extend(liked.clone()));
        };
        if is_long {
            like(|command| matches!(command, DirectoryCommand::AcknowledgeEvents(_)));
        } else if seed % 20 < 2 {
            // So many sinks and keys that there is hardly room for another.
            let sink = |number| DirectoryCommand::RegisterSink(RegisterSink { sink: format!("full {number}") });
            planned.extend((0..98).map(sink));
            planned.push(DirectoryCommand::PutTokenKeys(PutTokenKeys { keys: (0..16).map(plain_key).collect() }));
            like(|command| matches!(command, DirectoryCommand::RegisterSink(_) | DirectoryCommand::RotateTokenKey(_)));
        }
        let envelope = |(command, number)| Envelope { request: is_long.then_some(RequestId(number)), command };
        let mut planned: Vec<_> = planned.into_iter().zip(1 << 50..).map(envelope).collect();
        planned.reverse();
        Self { dice, at: 0, made: Vec::new(), planned, kinds }
    }

    fn next(&mut self, model: &Model) -> (Timestamp, Envelope<DirectoryCommand>) {
        let dice = &mut self.dice;
        if let Some(envelope) = self.planned.pop() {
            self.made.push(envelope.clone());
            return (Timestamp(self.at), envelope);
        }
        self.at += match dice.below(10) {
            0..5 => 0,
            5..8 => dice.below(200),
            8 => dice.below(2_000),
            _ => dice.below(100_000_000) * u64::from(dice.one_in(8)),
        };
        let like = &self.kinds[dice.below(self.kinds.len() as u64) as usize];
        let fresh = command(like, dice, model);
        let request = dice.one_in(2).then(|| RequestId(u128::from(dice.below(1 << 40))));
        // Sometimes a request comes again: to the letter, with what its proposer drew anew, or with another body.
        let earlier = dice.below(self.made.len().max(1) as u64) as usize;
        let envelope = match self.made.get(earlier) {
            Some(earlier) if dice.one_in(20) => {
                let mut again = earlier.clone();
                match &mut again.command {
                    DirectoryCommand::CreateUser(ask) => {
                        (ask.user, ask.password_hash) = (UserId(dice.below(9).into()), "drawn anew".into());
                        ask.name.extend(dice.one_in(9).then_some('!'));
                    }
                    DirectoryCommand::ScheduleShowtime(ask) => {
                        (ask.draw_secret, ask.seat_map_version) = ([77; 32], dice.one_in(2).then_some(1));
                        ask.starts_at.0 += u64::from(dice.one_in(9));
                    }
                    _ => {}
                }
                again
            }
            Some(earlier) if dice.one_in(60) => Envelope { request: earlier.request, command: fresh },
            _ => Envelope { request, command: fresh },
        };
        self.made.push(envelope.clone());
        // A clock behind must not matter.
        let stamped = if self.dice.one_in(50) { self.at / 2 } else { self.at };
        (Timestamp(stamped), envelope)
    }
}

/// Plays so many random commands from one seed; a failure panics with its shortest list.
fn run(seed: u64, count: u64, tally: &mut Tally) {
    let mut maker = Maker::new(seed, count > 1_000);
    let mut pair = Pair::new();
    let mut moves = Vec::new();
    for _ in 0..count {
        let from = moves.len();
        let (at, envelope) = maker.next(&pair.model);
        moves.push(Move::Apply(at, Box::new(envelope)));
        let dice = &mut maker.dice;
        if dice.one_in(400) {
            moves.push(Move::Refound(dice.below(20)));
        }
        if dice.one_in(9) {
            moves.push(Move::Drain);
        }
        if dice.one_in(25) {
            moves.push(Move::Restart);
        }
        for index in from..moves.len() {
            if let Err(reason) = pair.play(&moves[index], tally) {
                moves.truncate(index + 1);
                let (moves, reason) = shrink(moves, reason);
                let list: Vec<String> = moves.iter().map(describe).collect();
                panic!("seed {seed}: {reason}\n{}", list.join("\n"));
            }
        }
    }
}

/// Half of the seeds; the halves run side by side. Together they play over 100,000 commands.
fn half(number: u64) {
    let mut tally = Tally::default();
    for seed in (number..1_000).step_by(2) {
        let count = match seed {
            0 | 1 => 1_150,
            _ if seed % 20 < 2 => 200,
            _ => 95,
        };
        run(seed, count, &mut tally);
    }
    assert!(tally.commands >= 50_000, "{} commands", tally.commands);
    assert_eq!(tally.granted.len(), variants::<DirectoryCommand>().len(), "commands granted: {:?}", tally.granted);
    assert!(tally.granted.values().all(|&count| count >= 100), "some were hardly granted: {:?}", tally.granted);
    assert_eq!(tally.questions.len(), variants::<DirectoryQuery>().len(), "questions: {:?}", tally.questions);
    // Whatever happened, the table of precedence knows.
    let refused: BTreeSet<_> = tally.refused.keys().cloned().collect();
    let unknown = crate::precedence::unknown(&refused, &precedence::reasons());
    assert!(unknown.is_empty(), "refused for what the table of precedence does not know: {unknown:?}");
    // And whatever that knows, has happened.
    let reused = tally.refused.iter().filter(|((_, refusal), _)| refusal == "RequestIdReused");
    assert!(reused.map(|(_, count)| count).sum::<u64>() >= 50, "{:?}", tally.refused);
    let hardly: Vec<_> = precedence::reasons()
        .into_iter()
        .filter(|reason| tally.refused.get(reason).is_none_or(|&count| count < 5))
        .collect();
    assert!(hardly.is_empty(), "hardly refused: {hardly:?} of {:?}", tally.refused);
    assert_eq!(tally.events.len(), 18, "facts: {:?}", tally.events);
    assert!(tally.replayed >= 500 && tally.restarts >= 500 && tally.forgotten >= 50, "{tally:?}");
}

#[test]
fn machine_and_model_agree_1() {
    half(0);
}

#[test]
fn machine_and_model_agree_2() {
    half(1);
}

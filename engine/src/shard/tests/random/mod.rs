//! Random commands to machine and model; a failure shrinks to a short list.
//!
//! A run is short and its houses are small, so that after every command replies, facts, everything that can be asked and
//! all invariants are looked at. At random points what changed is drained into a store, as a checkpoint would, and the
//! machine is rebuilt from that store and the commands since: it must be the same to the byte, and goes on.

mod commands;
mod kinds;

use super::{GROUP, precedence, seat_names, time};
use crate::dice::Dice;
use crate::precedence::name_of;
use crate::shard::model::Model;
use crate::*;
use kinds::{CommandKind, EventKind, RefusalKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// A command of a log, with its time.
pub(super) type Step = (Timestamp, Envelope<ShardCommand>);

/// One move of a run.
#[derive(Debug, Clone)]
enum Move {
    Apply(Timestamp, Box<Envelope<ShardCommand>>),
    /// What changed is written to the store.
    Drain,
    /// The machine is rebuilt from the store and the commands applied since it was written.
    Restart,
}

/// How often each command was given, each refusal was the answer and each fact happened: a run that never saw something
/// has not tested it.
#[derive(Debug, Default)]
struct Tally {
    commands: BTreeMap<CommandKind, u64>,
    done: BTreeMap<CommandKind, u64>,
    refusals: BTreeMap<RefusalKind, u64>,
    /// What each command was refused for, by name.
    reasons: BTreeSet<(String, String)>,
    events: BTreeMap<EventKind, u64>,
    replayed: u64,
    restarts: u64,
    forgotten: u64,
}

/// A machine and a model side by side.
struct Pair {
    shard: Shard,
    model: Model,
    /// What was drained, and the commands since.
    stored: DirtyRows,
    since: Vec<Step>,
}

fn same<T: PartialEq + Debug>(what: &str, machine: &T, model: &T) -> Result<(), String> {
    if machine == model { Ok(()) } else { Err(format!("{what}\n  machine {machine:?}\n  model   {model:?}")) }
}

impl Pair {
    fn new() -> Self {
        Self { shard: Shard::new(GROUP), model: Model::new(GROUP), stored: DirtyRows::default(), since: Vec::new() }
    }

    fn play(&mut self, step: &Move, tally: &mut Tally) -> Result<(), String> {
        match step {
            Move::Apply(at, envelope) => self.apply(*at, envelope, tally),
            Move::Drain => {
                self.stored.merge(self.shard.drain_dirty());
                self.since.clear();
                Ok(())
            }
            Move::Restart => {
                tally.restarts += 1;
                self.restart()
            }
        }
    }

    fn apply(&mut self, at: Timestamp, envelope: &Envelope<ShardCommand>, tally: &mut Tally) -> Result<(), String> {
        let from = self.model.last_sequence() + 1;
        let reply = self.shard.apply(at, std::slice::from_ref(envelope)).remove(0);
        let wanted = self.model.apply(at, envelope);
        self.since.push((at, envelope.clone()));
        same("reply", &reply, &wanted)?;
        same("facts", &self.shard.events(from, usize::MAX).as_deref(), &self.model.events(from).as_ref().map(|e| *e))?;
        same("oldest fact", &self.shard.events(1, 1).err(), &self.model.events(1).err())?;
        self.shard.audit()?;
        self.compare_state()?;

        let kind = CommandKind::of(&envelope.command);
        *tally.commands.entry(kind).or_default() += 1;
        match &reply.result {
            Ok(_) => *tally.done.entry(kind).or_default() += 1,
            Err(refusal) => {
                *tally.refusals.entry(RefusalKind::of(refusal)).or_default() += 1;
                tally.reasons.insert((name_of(&envelope.command), name_of(refusal)));
            }
        }
        for record in self.model.events(from).unwrap_or_default() {
            *tally.events.entry(EventKind::of(&record.event)).or_default() += 1;
        }
        tally.replayed += u64::from(reply.replayed);
        tally.forgotten += u64::from(self.model.events(1).is_err());
        Ok(())
    }

    /// Everything that can be asked.
    fn compare_state(&self) -> Result<(), String> {
        let ask = |query: ShardQuery, wanted: ShardAnswer| {
            let answer = self.shard.query(&query);
            if answer == wanted { Ok(()) } else { same(&format!("{query:?}"), &answer, &wanted) }
        };
        let model = &self.model;
        same("due", &self.shard.next_due(), &model.next_due())?;
        ask(ShardQuery::Showtimes, ShardAnswer::Showtimes(model.shows.keys().copied().collect()))?;
        for (&showtime, show) in &model.shows {
            let view = Some(Box::new(model.showtime_view(showtime)));
            ask(ShardQuery::Showtime(showtime), ShardAnswer::Showtime(view))?;
            let seats = Some(Box::new(model.seats_view(showtime)));
            ask(ShardQuery::Seats(showtime), ShardAnswer::Seats(seats))?;
            let report = Some(Box::new(model.report(showtime)));
            ask(ShardQuery::Report(showtime), ShardAnswer::Report(report))?;
            ask(ShardQuery::Draw(showtime), ShardAnswer::Draw(Some(model.draw_view(showtime))))?;
            for view in model.ticket_views(showtime) {
                let (number, user) = (view.number, view.user);
                ask(ShardQuery::TicketOf { showtime, user }, ShardAnswer::Ticket(Some(view)))?;
                let ShardAnswer::Receipt(receipt) = self.shard.query(&ShardQuery::Receipt { showtime, number }) else {
                    return Err("a receipt was asked for".into());
                };
                if !show.check_receipt(number, receipt.as_deref()) {
                    return Err(format!("another receipt of ticket {number}: {receipt:?}"));
                }
            }
            for place in 0..=show.tickets.len() as u64 + 1 {
                let views = model.ticket_views(showtime);
                let wanted = views.into_iter().find(|view| view.place == Some(place));
                ask(ShardQuery::TicketAt { showtime, place }, ShardAnswer::Ticket(wanted))?;
            }
            for user in (1..=3).map(UserId) {
                let view = model.buyer_view(showtime, user);
                ask(ShardQuery::Buyer { showtime, user }, ShardAnswer::Buyer(Some(view)))?;
            }
        }
        for wanted in &model.orders {
            ask(ShardQuery::Order(wanted.order), ShardAnswer::Order(Some(Box::new(wanted.clone()))))?;
        }
        for hold in (0..=model.holds_made() + 1).map(|counter| HoldId::new(GROUP, counter)) {
            ask(ShardQuery::Hold(hold), ShardAnswer::Hold(model.hold_answer(hold)))?;
        }
        for wanted in model.entry_views() {
            ask(ShardQuery::Waitlist(wanted.entry), ShardAnswer::Waitlist(Some(wanted)))?;
        }
        Ok(())
    }

    /// Goes on with a machine rebuilt from what was stored and what was applied since.
    fn restart(&mut self) -> Result<(), String> {
        let rows = self.stored.0.iter();
        let rows = rows.filter_map(|(key, value)| Some(Row { key: key.clone(), value: value.clone()? }));
        let mut rebuilt = Shard::load(GROUP, rows).map_err(|error| error.to_string())?;
        for (at, envelope) in &self.since {
            rebuilt.apply(*at, std::slice::from_ref(envelope));
        }
        rebuilt.audit()?;
        if rebuilt.digest() != self.shard.digest() || rebuilt.rows() != self.shard.rows() {
            return Err("the rebuilt machine is another".into());
        }
        self.shard = rebuilt;
        Ok(())
    }
}

/// Plays a list; the index of the first move that goes wrong.
fn play(moves: &[Move]) -> Result<(), (usize, String)> {
    let mut pair = Pair::new();
    for (index, step) in moves.iter().enumerate() {
        pair.play(step, &mut Tally::default()).map_err(|reason| (index, reason))?;
    }
    Ok(())
}

/// Leaves moves out as long as it still goes wrong.
fn shrink(mut moves: Vec<Move>, mut reason: String) -> (Vec<Move>, String) {
    let mut chunk = moves.len().div_ceil(2);
    loop {
        let mut from = 0;
        while from < moves.len() {
            let mut fewer = moves.clone();
            fewer.drain(from..(from + chunk).min(moves.len()));
            match play(&fewer) {
                Err((index, why)) => {
                    fewer.truncate(index + 1);
                    (moves, reason) = (fewer, why);
                }
                Ok(()) => from += chunk,
            }
        }
        if chunk == 1 {
            return (moves, reason);
        }
        chunk = chunk.div_ceil(2);
    }
}

/// A move in few words, for the transcript of a failure.
fn describe(step: &Move) -> String {
    let Move::Apply(at, envelope) = step else { return format!("{step:?}") };
    let command = match &envelope.command {
        ShardCommand::HoldSeats(HoldSeats { user, showtime, choice: SeatChoice::Named(seats), .. }) => {
            format!("{user} holds {} of {}", seat_names(seats), showtime.counter())
        }
        ShardCommand::CreateShowtime(ask) => {
            format!("creates {} in the house {:?}: {:?}", ask.showtime, ask.seat_map.name, ask.sale)
        }
        other => format!("{other:?}"),
    };
    format!("{} {:?} {command}", time(*at), envelope.request.map(|id| id.0))
}

/// Makes the commands of a run, one after the other.
struct Maker {
    dice: Dice,
    at: u64,
    made: Vec<Envelope<ShardCommand>>,
    /// Commands that come next, whatever else.
    planned: Vec<ShardCommand>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut planned: Vec<ShardCommand> = Vec::new();
        // Where seats are few, orphans, waitlists and splits come up.
        let is_scarce = dice.one_in(2);
        let creations = [1, 2].map(|number| commands::create(&mut dice, number));
        for ask in creations {
            let (showtime, seats) = (ask.showtime, ask.seat_map.seat_count() as u64);
            planned.push(ShardCommand::CreateShowtime(ask));
            if is_scarce {
                let seats = (0..dice.pick(&[12, 40])).map(|_| SeatId(dice.below(seats) as u32)).collect();
                let (reason, channel) = ("scarce".into(), None);
                planned.push(ShardCommand::BlockSeats(BlockSeats { showtime, seats, reason, channel }));
            }
        }
        if dice.one_in(20) {
            // Facts are forgotten as soon as a page of them is full.
            let limits = SetLimits { event_age_min: Some(Millis(0)), ..SetLimits::default() };
            planned.push(ShardCommand::SetLimits(limits));
        }
        if seed % 1_000 >= 998 {
            // More sinks than there is room for.
            planned.extend((0..150).map(|n| ShardCommand::RegisterSink(RegisterSink { sink: format!("sink {n}") })));
        }
        if seed % 200 < 2 {
            // Facts without end, and sinks that never answer.
            let limits = SetLimits { events_max: Some(1_000), ..SetLimits::default() };
            planned.push(ShardCommand::SetLimits(limits));
            planned.extend(["lazy", "idle"].map(|sink| ShardCommand::RegisterSink(RegisterSink { sink: sink.into() })));
            let message = |n: u64| SetQueueMessage { showtime: super::showtime_id(), text: Some(n.to_string()) };
            planned.extend((0..1_000).map(|n| ShardCommand::SetQueueMessage(message(n))));
            let acknowledge = AcknowledgeEvents { sink: "lazy".into(), sequence: 1 };
            planned.push(ShardCommand::AcknowledgeEvents(acknowledge));
        }
        planned.reverse();
        Self { dice, at: 0, made: Vec::new(), planned }
    }

    fn next(&mut self, model: &Model) -> Step {
        let dice = &mut self.dice;
        if let Some(command) = self.planned.pop() {
            let envelope = Envelope { request: None, command };
            self.made.push(envelope.clone());
            return (Timestamp(self.at), envelope);
        }
        self.at += match dice.below(10) {
            0..5 => 0,
            5..8 => dice.below(200),
            8 => dice.below(2_000),
            _ => dice.below(30_000) * u64::from(dice.one_in(8)),
        };
        let request = dice.one_in(2).then(|| RequestId(u128::from(dice.below(1 << 40))));
        let fresh = Envelope { request, command: commands::command(dice, model) };
        // Sometimes a request comes again, now and then with another body.
        let earlier = dice.below(self.made.len() as u64) as usize;
        let envelope = match dice.below(30) {
            0 => self.made[earlier].clone(),
            1 if dice.one_in(4) => Envelope { request: self.made[earlier].request, ..fresh },
            2 if dice.one_in(50) => {
                // One order is paid again and again: failures beyond the bound are forgotten, successes never.
                if let ShardCommand::RecordPayment(pay) = &fresh.command {
                    let again = |n| ShardCommand::RecordPayment(RecordPayment { payment: PaymentId(n), ..pay.clone() });
                    self.planned.extend((100..210).map(again));
                }
                fresh
            }
            _ => fresh,
        };
        self.made.push(envelope.clone());
        // A clock behind must not matter.
        let stamped = if self.dice.one_in(50) { self.at / 2 } else { self.at };
        (Timestamp(stamped), envelope)
    }
}

/// A log of random commands from one seed.
pub(super) fn log(seed: u64, count: usize) -> Vec<Step> {
    let mut maker = Maker::new(seed);
    let mut model = Model::new(GROUP);
    let step = |_| {
        let (at, envelope) = maker.next(&model);
        model.apply(at, &envelope);
        (at, envelope)
    };
    (0..count).map(step).collect()
}

/// Plays so many random commands from one seed; a failure panics with its shortest list.
fn run(seed: u64, count: u64, tally: &mut Tally) {
    let mut maker = Maker::new(seed);
    let mut pair = Pair::new();
    let mut moves = Vec::new();
    for _ in 0..count {
        let (at, envelope) = maker.next(&pair.model);
        let from = moves.len();
        moves.push(Move::Apply(at, Box::new(envelope)));
        if maker.dice.one_in(9) {
            moves.push(Move::Drain);
        }
        if maker.dice.one_in(25) {
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

/// How many commands are played, all told. `VESTIBULE_RANDOM_COMMANDS` makes it fewer, or more.
#[expect(clippy::disallowed_methods, reason = "how long the test plays is no matter of the engine")]
fn commands_wanted() -> u64 {
    let wanted = std::env::var("VESTIBULE_RANDOM_COMMANDS").ok();
    wanted.map_or(COMMANDS, |wanted| wanted.parse().expect("VESTIBULE_RANDOM_COMMANDS is a number"))
}

/// What the normal test run plays.
const COMMANDS: u64 = 1_000_000;

/// Half of the seeds; the halves run side by side.
fn half(number: u64) {
    let mut tally = Tally::default();
    let wanted = commands_wanted() / 2;
    let (mut seed, mut played) = (number, 0);
    while played < wanted {
        // Now and then a long one, in which pages fill.
        let count = match seed {
            _ if seed % 200 < 2 => 1_100,
            _ if seed % 40 < 2 => 500,
            _ => 110,
        };
        run(seed, count, &mut tally);
        played += count;
        seed += 2;
    }
    // Whatever happened is in the table of precedence, and so held to it.
    let unknown = crate::precedence::unknown(&tally.reasons, &precedence::reasons());
    assert!(unknown.is_empty(), "refused for what the table of precedence does not know: {unknown:?}");
    if wanted < COMMANDS / 2 {
        // Too few to meet everything.
        return;
    }
    assert_eq!(played, tally.commands.values().sum::<u64>(), "{tally:?}");
    let count = |counts: &BTreeMap<_, u64>, kind| counts.get(&kind).copied().unwrap_or(0);
    for &kind in CommandKind::ALL {
        assert!(count(&tally.commands, kind) >= 500, "{kind:?} was hardly tried: {tally:?}");
        assert!(count(&tally.done, kind) >= 50, "{kind:?} hardly succeeded: {tally:?}");
    }
    for &kind in RefusalKind::ALL {
        assert!(tally.refusals.get(&kind).is_some_and(|&count| count >= 20), "{kind:?} was hardly given: {tally:?}");
    }
    for &kind in EventKind::ALL {
        assert!(tally.events.get(&kind).is_some_and(|&count| count >= 20), "{kind:?} hardly happened: {tally:?}");
    }
    assert!(tally.replayed >= 1_000 && tally.restarts >= 1_000 && tally.forgotten >= 100, "{tally:?}");
}

#[test]
fn machine_and_model_agree_1() {
    half(0);
}

#[test]
fn machine_and_model_agree_2() {
    half(1);
}

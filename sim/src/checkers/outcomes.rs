//! A request id has one outcome: whoever asks again, through whatever gateway or leader, hears what was said the first
//! time, and nothing is done twice. What clients were told is not done is not done, be it before they are told or after.
//! What the bounds of the group let it forget may be done anew.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Call, Happening};
use crate::player::Told;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vestibule_engine::{Event, GroupId, Millis, Outcome, Refusal, RequestId, Timestamp};

/// What a group may forget of requests.
#[derive(Debug, Default)]
struct Memory {
    /// Log time.
    now: Timestamp,
    /// Requests so far.
    count: u64,
    /// The least that were ever to be remembered, and for how long, if that was ever changed.
    least: Option<(u64, Millis)>,
}

impl Memory {
    /// Whether a request of then may be forgotten now.
    fn may_forget(&self, at: Timestamp, number: u64) -> bool {
        self.least.is_some_and(|(count, age)| self.count - number > count || at.0 + age.0 <= self.now.0)
    }
}

/// A request the first time that it was done, as far as that is remembered.
#[derive(Debug)]
struct First {
    ask: Ask,
    result: Result<Outcome, Refusal>,
    at: Timestamp,
    number: u64,
}

/// See the file's head.
#[derive(Default)]
pub struct Outcomes {
    first: BTreeMap<(GroupId, RequestId), First>,
    memories: BTreeMap<GroupId, Memory>,
    /// What was done anew.
    anew: BTreeSet<(GroupId, RequestId)>,
    /// What clients were told, the first time.
    heard: BTreeMap<(GroupId, RequestId), (Ask, Result<Outcome, Refusal>)>,
    /// The calls under each id. There are several if the first were certainly not done.
    calls: BTreeMap<(GroupId, RequestId), Vec<Arc<Call>>>,
    /// Calls that ended as not done, by their numbers.
    not_done: BTreeSet<usize>,
}

/// Whether this can happen by itself when its time has come, whatever is asked meanwhile.
fn falls_due(event: &Event) -> bool {
    matches!(
        event,
        Event::PrequeueStarted
            | Event::QueueOpened
            | Event::QueueClosed
            | Event::DrawPublished(_)
            | Event::QueueAdmitted { .. }
            | Event::AdmissionExpired { .. }
            | Event::ClaimsMissed { .. }
            | Event::AdmissionDone { .. }
            | Event::HoldExpired { .. }
            | Event::OrderExpired { .. }
            | Event::SeatsBlocked { .. }
            | Event::WaitlistExpired { .. }
            | Event::WaitlistOffered { .. }
            | Event::SeatsHeld { .. }
    )
}

impl Outcomes {
    fn check(&mut self, group: GroupId, told: &Told) -> Result<(), String> {
        let Some(request) = told.request else { return Ok(()) };
        let memory = self.memories.entry(group).or_default();
        memory.count += 1;
        let (at, number) = (memory.now, memory.count);
        let said = || First { ask: told.ask.clone(), result: told.reply.result.clone(), at, number };
        let Some(First { ask, result, at, number }) = self.first.get(&(group, request)) else {
            self.first.insert((group, request), said());
            if told.reply.replayed {
                return Err(format!("{group}: {request:?} was answered as if it had been asked before"));
            }
            return Ok(());
        };
        if told.is_anew {
            if !memory.may_forget(*at, *number) {
                return Err(format!("{group}: {request:?} was forgotten before its time"));
            }
            self.first.insert((group, request), said());
            self.anew.insert((group, request));
            return Ok(());
        }
        if *ask == told.ask && *result != told.reply.result {
            return Err(format!("{group}: {request:?} had the outcome {result:?}, then {:?}", told.reply.result));
        }
        if *ask == told.ask && !told.reply.replayed {
            return Err(format!("{group}: {request:?} was done again"));
        }
        if let Some(record) = told.events.iter().find(|record| !falls_due(&record.event)) {
            return Err(format!("{group}: {request:?} asked again made event {}", record.sequence));
        }
        Ok(())
    }

    /// What was done under an id, one of its calls must have been for: one that has not ended as not done.
    fn check_done(&self, id: (GroupId, RequestId)) -> Result<(), String> {
        let Some(First { ask, .. }) = self.first.get(&id) else { return Ok(()) };
        // Entries that nobody is known to have asked for are the nodes' own.
        let mut calls = self.calls.get(&id).into_iter().flatten().filter(|call| call.ask == *ask).peekable();
        match calls.peek().map(|call| call.number) {
            Some(number) if calls.all(|call| self.not_done.contains(&call.number)) => {
                Err(format!("{}: {:?} was done, but call #{number} was told that it is not", id.0, id.1))
            }
            _ => Ok(()),
        }
    }

    fn hear(&mut self, call: &Arc<Call>, answer: &Answer) -> Result<(), String> {
        let id = (call.group, call.request);
        match answer {
            Answer::Reply(reply, _) => {
                let first = || (call.ask.clone(), reply.result.clone());
                let (ask, heard) = self.heard.entry(id).or_insert_with(first);
                // Something else under the same id is refused, which says nothing of the first.
                if *ask == call.ask && *heard != reply.result && !self.anew.contains(&id) {
                    return Err(format!(
                        "call #{} was told {:?}; the same request had been told {heard:?}",
                        call.number, reply.result
                    ));
                }
                Ok(())
            }
            Answer::NotDone(_) => {
                self.not_done.insert(call.number);
                self.check_done(id)
            }
            Answer::Read(..) | Answer::LookUp(..) | Answer::Unknown => Ok(()),
        }
    }
}

impl Checker for Outcomes {
    fn name(&self) -> &'static str {
        "outcomes"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        // What a call asked for may have been done in the very step in which it began.
        for happening in &look.happenings {
            if let Happening::Called(call) = happening
                && matches!(call.ask, Ask::Shard(_) | Ask::Directory(_))
            {
                self.calls.entry((call.group, call.request)).or_default().push(call.clone());
            }
        }
        for played in &look.played {
            let memory = self.memories.entry(played.group).or_default();
            memory.now = memory.now.max(played.at.unwrap_or_default());
            for record in played.events() {
                if let Event::LimitsChanged { requests_max, request_age_max, .. } = record.event {
                    let (count, age) = memory.least.unwrap_or((requests_max, request_age_max));
                    memory.least = Some((count.min(requests_max), age.min(request_age_max)));
                }
            }
            for told in &played.commands {
                self.check(played.group, told)?;
                told.request.map_or(Ok(()), |request| self.check_done((played.group, request)))?;
            }
        }
        for happening in &look.happenings {
            if let Happening::Answered { call, answer, .. } = happening {
                self.hear(call, answer)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;
    use vestibule_engine::{SeatId, SetLimits, ShardCommand, UserId};

    #[test]
    fn a_request_with_two_outcomes_is_noticed() {
        let mut stage = Stage::without_line();
        stage.open();
        let first = stage.hold(UserId(7), &[SeatId(4)]);
        let again = stage.repeat();
        let mut checker = Outcomes::default();
        checker.observe(&first).expect("the first");
        checker.observe(&again).expect("told again");
        let mut done_again = again.clone();
        done_again.played[0].commands[0].reply.replayed = false;
        checker.observe(&done_again).expect_err("it was done again");
        let mut other = again.clone();
        other.played[0].commands[0].reply.result = Ok(Outcome::Done);
        checker.observe(&other).expect_err("another outcome");
        let mut release = again;
        let hold = vestibule_engine::HoldId::new(stage.group(), 1);
        let mut record = first.played[0].commands[0].events[0].clone();
        record.event = Event::HoldReleased { hold, places: vestibule_engine::Places::default() };
        release.played[0].commands[0].events.push(record);
        checker.observe(&release).expect_err("it did something");
        Outcomes::default().observe(&stage.repeat()).expect_err("it was never asked before");
    }

    #[test]
    fn what_is_forgotten_before_its_time_is_noticed() {
        let mut stage = Stage::without_line();
        stage.open();
        let span = Millis(2_000);
        let limits = SetLimits { request_age_max: Some(span), ..SetLimits::default() };
        let limits = stage.run(ShardCommand::SetLimits(limits));
        let first = stage.hold(UserId(7), &[SeatId(4)]);
        stage.set_time(1 + span.0);
        let anew = stage.repeat();
        assert!(anew.played[0].commands[0].is_anew);
        let check = |looks: &[&Look]| {
            let mut checker = Outcomes::default();
            looks.iter().try_for_each(|look| checker.observe(look))
        };
        check(&[&limits, &first, &anew]).expect("its time was over, and the client may hear both");
        check(&[&first, &anew]).expect_err("nothing was to be forgotten");
        let mut early = anew;
        early.played[0].at = Some(Timestamp(span.0));
        check(&[&limits, &first, &early]).expect_err("a moment too early");
    }

    #[test]
    fn a_client_that_hears_two_outcomes_is_noticed() {
        let mut stage = Stage::without_line();
        stage.open();
        let look = stage.hold(UserId(7), &[SeatId(4)]);
        let mut checker = Outcomes::default();
        let mut heard = Look { happenings: look.happenings.clone(), ..Look::default() };
        checker.observe(&heard).expect("the first");
        checker.observe(&heard).expect("the same again");
        for happening in &mut heard.happenings {
            if let Happening::Answered { answer: Answer::Reply(reply, _), .. } = happening {
                reply.result = Ok(Outcome::Done);
            }
        }
        checker.observe(&heard).expect_err("another outcome");
    }
    #[test]
    fn what_was_done_though_it_was_said_not_to_be_is_noticed() {
        let mut stage = Stage::without_line();
        stage.open();
        let look = stage.hold(UserId(7), &[SeatId(4)]);
        let Happening::Called(call) = look.happenings[0].clone() else { unreachable!("a call begins first") };
        let called = |number| Happening::Called(Arc::new(Call { number, ..(*call).clone() }));
        let refused = |number| {
            let (call, answer) =
                (Arc::new(Call { number, ..(*call).clone() }), Answer::NotDone("no leader".to_owned()));
            Happening::Answered { call, answer, at: look.at }
        };
        let done = Look { happenings: Vec::new(), ..look.clone() };
        let check = |looks: [Option<Vec<Happening>>; 3]| {
            let mut checker = Outcomes::default();
            let mut looks = looks.into_iter().map(|happenings| match happenings {
                Some(happenings) => Look { happenings, ..Look::default() },
                None => done.clone(),
            });
            looks.try_for_each(|look| checker.observe(&look))
        };
        check([Some(vec![called(1)]), None, Some(vec![])]).expect("nobody was told anything");
        check([Some(vec![called(1), refused(1)]), None, None]).expect_err("it was done afterwards");
        check([Some(vec![called(1)]), None, Some(vec![refused(1)])]).expect_err("it had been done");
        let again = || vec![called(1), refused(1), called(2)];
        check([Some(again()), None, Some(vec![])]).expect("it was asked again");
        check([Some(again()), None, Some(vec![refused(2)])]).expect_err("that was not done either");
        check([None, Some(vec![]), Some(vec![])]).expect("nobody asked for it");
    }
}

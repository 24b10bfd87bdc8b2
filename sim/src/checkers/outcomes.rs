//! A request id has one outcome: whoever asks again, through whatever gateway or leader, hears what was said the first
//! time, and nothing is done twice.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Happening};
use crate::player::Told;
use std::collections::BTreeMap;
use vestibule_engine::{Event, GroupId, Outcome, Refusal, RequestId};

/// See the file's head.
#[derive(Default)]
pub struct Outcomes {
    first: BTreeMap<(GroupId, RequestId), (Ask, Result<Outcome, Refusal>)>,
    /// What clients were told, the first time.
    heard: BTreeMap<(GroupId, RequestId), (Ask, Result<Outcome, Refusal>)>,
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
        let said = (told.ask.clone(), told.reply.result.clone());
        let Some((ask, result)) = self.first.get(&(group, request)) else {
            self.first.insert((group, request), said);
            if told.reply.replayed {
                return Err(format!("{group}: {request:?} was answered as if it had been asked before"));
            }
            return Ok(());
        };
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
}

impl Checker for Outcomes {
    fn name(&self) -> &'static str {
        "outcomes"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for played in &look.played {
            played.commands.iter().try_for_each(|told| self.check(played.group, told))?;
        }
        for happening in &look.happenings {
            let Happening::Answered { call, answer: Answer::Reply(reply, _), .. } = happening else { continue };
            let first = || (call.ask.clone(), reply.result.clone());
            let (ask, heard) = self.heard.entry((call.group, call.request)).or_insert_with(first);
            // Something else under the same id is refused, which says nothing of the first.
            if *ask == call.ask && *heard != reply.result {
                return Err(format!(
                    "call #{} was told {:?}; the same request had been told {heard:?}",
                    call.number, reply.result
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;
    use vestibule_engine::{SeatId, UserId};

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
}

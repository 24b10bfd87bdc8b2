//! What every group has: remembered requests, bounds, sinks, and how long facts are kept.

use super::{Model, bounds, check_len, check_room};
use crate::ledger::FORGOTTEN_PER_COMMAND;
use crate::*;

/// A request that was answered.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    id: RequestId,
    at: Timestamp,
    command: DirectoryCommand,
    result: Result<Outcome, Refusal>,
    /// Bytes of id, body and time, then of the result.
    len: u64,
}

/// Who reads the facts.
#[derive(Debug, Clone)]
pub(super) struct ModelSink {
    acknowledged: Sequence,
    /// Facts that it has not acknowledged were forgotten.
    is_lapsed: bool,
}

/// Facts are forgotten by so many together.
const PAGE: u64 = 256;

/// Bytes of a request or a fact, on average over as many as there may be.
const MEAN: u64 = 512;

/// The bounds, by their place in [`Model::limits`].
const REQUESTS_MAX: usize = 0;
const REQUEST_AGE_MAX: usize = 1;
const EVENT_AGE_MIN: usize = 2;
const EVENTS_MAX: usize = 3;

/// Whether two commands ask for the same, whatever their proposers drew or saw.
fn is_same(one: &DirectoryCommand, other: &DirectoryCommand) -> bool {
    match (one, other) {
        (DirectoryCommand::ScheduleShowtime(one), DirectoryCommand::ScheduleShowtime(other)) => {
            let ScheduleShowtime { seat_map_version, draw_secret, .. } = other.clone();
            ScheduleShowtime { seat_map_version, draw_secret, ..one.clone() } == *other
        }
        (DirectoryCommand::CreateUser(one), DirectoryCommand::CreateUser(other)) => {
            one.email == other.email && one.name == other.name
        }
        (DirectoryCommand::PutTokenKeys(_), DirectoryCommand::PutTokenKeys(_)) => true,
        (one, other) => one == other,
    }
}

impl Model {
    /// The answer to a request that was answered before.
    pub(super) fn answer_again(&self, envelope: &Envelope<DirectoryCommand>) -> Option<Reply> {
        let index = self.answered.iter().rposition(|known| Some(known.id) == envelope.request)?;
        let known = self.answered.get(index).filter(|_| self.is_known(index))?;
        if !is_same(&known.command, &envelope.command) {
            return Some(Reply { result: Err(Refusal::RequestIdReused), replayed: false });
        }
        Some(Reply { result: known.result.clone(), replayed: true })
    }

    pub(super) fn remember(&mut self, envelope: &Envelope<DirectoryCommand>, reply: &Reply) {
        if let Some(id) = envelope.request {
            let (command, result) = (envelope.command.clone(), reply.result.clone());
            let len = (16 + 16 + 8 + codec::encode(&result).len()) as u64;
            self.answered.push(Answered { id, at: self.now, command, result, len });
        }
    }

    /// Whether a request is new enough, and not one of too many.
    fn is_known(&self, index: usize) -> bool {
        let rest = &self.answered[index..];
        let is_old = rest[0].at.0 + self.limits[REQUEST_AGE_MAX] <= self.now.0;
        let len: u64 = rest.iter().map(|known| known.len).sum();
        let max = self.limits[REQUESTS_MAX];
        !(is_old || rest.len() as u64 > max || len > max * MEAN)
    }

    /// Forgets a few requests that are too old or too many.
    pub(super) fn forget_requests(&mut self) {
        for _ in 0..FORGOTTEN_PER_COMMAND {
            if self.answered.is_empty() || self.is_known(0) {
                return;
            }
            self.answered.remove(0);
        }
    }

    /// Forgets facts that are too old or too many.
    pub(super) fn forget(&mut self) {
        // Page by page, until there is none that is old and that nobody waits for, and none beyond the bound.
        loop {
            let end = (self.forgotten / PAGE + 1) * PAGE;
            let last = self.records.get(end as usize - 1);
            let is_wanted = self.sinks.values().any(|sink| !sink.is_lapsed && sink.acknowledged < end);
            let is_old = last.is_some_and(|last| last.at.0 + self.limits[EVENT_AGE_MIN] <= self.now.0);
            let len: u64 = self.record_lens[self.forgotten as usize..].iter().sum();
            let is_large = len > self.limits[EVENTS_MAX] * MEAN && last.is_some();
            let is_over = is_large || self.last_sequence() - self.forgotten > self.limits[EVENTS_MAX];
            if !is_over && (is_wanted || !is_old) {
                return;
            }
            self.forgotten = end;
            let mut lapsed = Vec::new();
            for (name, sink) in &mut self.sinks {
                if !sink.is_lapsed && sink.acknowledged < end {
                    sink.is_lapsed = true;
                    lapsed.push(Event::SinkLapsed { sink: name.clone(), acknowledged: sink.acknowledged });
                }
            }
            lapsed.into_iter().for_each(|event| self.tell(event));
        }
    }

    pub(super) fn set_limits(&mut self, ask: &SetLimits) -> Result<Outcome, Refusal> {
        const DAY: u64 = 86_400_000;
        let (age_max, age_min) = (ask.request_age_max.map(|age| age.0), ask.event_age_min.map(|age| age.0));
        let mut limits = self.limits;
        for (index, (field, given, min, max)) in [
            ("requestsMax", ask.requests_max, 1_000, 100_000_000),
            ("requestAgeMax", age_max, 1_000, 30 * DAY),
            ("eventAgeMin", age_min, 0, 365 * DAY),
            ("eventsMax", ask.events_max, 1_000, 100_000_000),
            ("ticketsMax", ask.tickets_max, 1, 100_000_000),
        ]
        .into_iter()
        .enumerate()
        {
            let Some(value) = given else { continue };
            if value < min || value > max {
                return Err(bounds(field, format!("{value} is not between {min} and {max}")));
            }
            limits[index] = value;
        }
        if limits != self.limits {
            self.limits = limits;
            let [requests_max, request_age_max, event_age_min, events_max, tickets_max] = limits;
            let (request_age_max, event_age_min) = (Millis(request_age_max), Millis(event_age_min));
            self.tell(Event::LimitsChanged { requests_max, request_age_max, event_age_min, events_max, tickets_max });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn register_sink(&mut self, ask: &RegisterSink) -> Result<Outcome, Refusal> {
        check_len("sink", &ask.sink, 1, 100)?;
        match self.sinks.get(&ask.sink) {
            Some(sink) if !sink.is_lapsed => return Ok(Outcome::Done),
            Some(_) => {}
            None => check_room("sinks", self.sinks.len(), 100)?,
        }
        self.sinks.insert(ask.sink.clone(), ModelSink { acknowledged: self.forgotten, is_lapsed: false });
        Ok(Outcome::Done)
    }

    pub(super) fn acknowledge_events(&mut self, ask: &AcknowledgeEvents) -> Result<Outcome, Refusal> {
        check_len("sink", &ask.sink, 1, 100)?;
        let last = self.last_sequence();
        if ask.sequence > last {
            return Err(bounds("sequence", format!("the last event is {last}")));
        }
        let sink = self.sinks.get_mut(&ask.sink).ok_or(Refusal::NoSuchSink)?;
        if sink.is_lapsed {
            return Err(Refusal::SinkLapsed { oldest: self.forgotten + 1 });
        }
        sink.acknowledged = sink.acknowledged.max(ask.sequence);
        Ok(Outcome::Done)
    }

    pub(super) fn remove_sink(&mut self, ask: &RemoveSink) -> Result<Outcome, Refusal> {
        check_len("sink", &ask.sink, 1, 100)?;
        self.sinks.remove(&ask.sink);
        Ok(Outcome::Done)
    }

    pub(super) fn last_sequence(&self) -> Sequence {
        self.records.len() as u64
    }

    /// Facts from a number on, or the oldest that is kept.
    pub(super) fn events(&self, from: Sequence) -> Result<&[EventRecord], Sequence> {
        let skipped = from.saturating_sub(1);
        if skipped < self.forgotten {
            return Err(self.forgotten + 1);
        }
        Ok(self.records.get(skipped as usize..).unwrap_or_default())
    }
}

//! What belongs to no showtime: remembered requests, sinks, bounds, and how long facts are kept.

use super::{Model, bounds, check_len};
use crate::ledger::FORGOTTEN_PER_COMMAND;
use crate::*;

/// A request that was answered.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    id: RequestId,
    at: Timestamp,
    command: ShardCommand,
    result: Result<Outcome, Refusal>,
    /// The bytes that it takes.
    len: u64,
}

/// Who reads the facts.
#[derive(Debug, Clone)]
pub(crate) struct ModelSink {
    acknowledged: Sequence,
    /// Facts that it has not acknowledged were forgotten.
    is_lapsed: bool,
}

/// Facts are forgotten by so many together.
const PAGE: u64 = 256;

/// All requests that may be remembered, and all facts that may be kept, take so many bytes each at most, on average.
const MEAN: u64 = 512;

impl Model {
    /// The answer to a request that was answered before.
    pub(super) fn answer_again(&self, envelope: &Envelope<ShardCommand>) -> Option<Reply> {
        let id = envelope.request?;
        let index = self.answered.iter().rposition(|known| known.id == id).filter(|&index| self.is_known(index))?;
        let known = &self.answered[index];
        if known.command != envelope.command {
            return Some(Reply { result: Err(Refusal::RequestIdReused), replayed: false });
        }
        Some(Reply { result: known.result.clone(), replayed: true })
    }

    pub(super) fn remember(&mut self, envelope: &Envelope<ShardCommand>, reply: &Reply) {
        if let Some(id) = envelope.request {
            let (command, result) = (envelope.command.clone(), reply.result.clone());
            // Id and body take 16 bytes each, the time 8.
            let len = 16 + 16 + 8 + codec::encode(&result).len() as u64;
            self.answered.push(Answered { id, at: self.now, command, result, len });
        }
    }

    /// Whether a request is new enough, and not one of too many.
    fn is_known(&self, index: usize) -> bool {
        let rest = &self.answered[index..];
        rest.len() as u64 <= self.requests_max
            && rest.iter().map(|known| known.len).sum::<u64>() <= self.requests_max * MEAN
            && rest[0].at + self.request_age_max > self.now
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

    /// Forgets facts that are too old or too many, until there are no more of them.
    pub(super) fn forget(&mut self) {
        loop {
            let end = (self.forgotten / PAGE + 1) * PAGE;
            let is_full = end <= self.last_sequence();
            // A page that is not full stays, however large.
            let is_over = self.last_sequence() - self.forgotten > self.events_max
                || (self.kept_bytes() > self.events_max * MEAN && is_full);
            let is_wanted = self.sinks.values().any(|sink| !sink.is_lapsed && sink.acknowledged < end);
            let is_old = is_full && self.records[end as usize - 1].at + self.event_age_min <= self.now;
            if !is_over && (is_wanted || !is_old) {
                return;
            }
            self.forgotten = end;
            for sink in self.sinks.keys().cloned().collect::<Vec<_>>() {
                let of = self.sinks.get_mut(&sink).unwrap();
                if !of.is_lapsed && of.acknowledged < self.forgotten {
                    of.is_lapsed = true;
                    let acknowledged = of.acknowledged;
                    self.tell(None, Event::SinkLapsed { sink, acknowledged });
                }
            }
        }
    }

    pub(super) fn set_limits(&mut self, ask: &SetLimits) -> Result<Outcome, Refusal> {
        let requests_max = ask.requests_max.unwrap_or(self.requests_max);
        let request_age_max = ask.request_age_max.unwrap_or(self.request_age_max);
        let event_age_min = ask.event_age_min.unwrap_or(self.event_age_min);
        let events_max = ask.events_max.unwrap_or(self.events_max);
        let tickets_max = ask.tickets_max.unwrap_or(self.tickets_max);
        let day = 86_400_000;
        for (field, value, min, max) in [
            ("requestsMax", requests_max, 1_000, 100_000_000),
            ("requestAgeMax", request_age_max.0, 1_000, 30 * day),
            ("eventAgeMin", event_age_min.0, 0, 365 * day),
            ("eventsMax", events_max, 1_000, 100_000_000),
            ("ticketsMax", tickets_max, 1, 100_000_000),
        ] {
            if value < min || value > max {
                return Err(bounds(field, format!("{value} is not between {min} and {max}")));
            }
        }
        let told = Event::LimitsChanged { requests_max, request_age_max, event_age_min, events_max, tickets_max };
        let before = (self.requests_max, self.request_age_max, self.event_age_min, self.events_max, self.tickets_max);
        if before != (requests_max, request_age_max, event_age_min, events_max, tickets_max) {
            (self.requests_max, self.request_age_max, self.event_age_min) =
                (requests_max, request_age_max, event_age_min);
            (self.events_max, self.tickets_max) = (events_max, tickets_max);
            self.tell(None, told);
        }
        Ok(Outcome::Done)
    }

    pub(super) fn register_sink(&mut self, ask: &RegisterSink) -> Result<Outcome, Refusal> {
        check_len("sink", &ask.sink, 1, 100)?;
        if !self.sinks.contains_key(&ask.sink) && self.sinks.len() == 100 {
            return Err(Refusal::AtCapacity { what: "sinks".into() });
        }
        // One that is there goes on, one that lapsed begins anew.
        if self.sinks.get(&ask.sink).is_none_or(|sink| sink.is_lapsed) {
            self.sinks.insert(ask.sink.clone(), ModelSink { acknowledged: self.forgotten, is_lapsed: false });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn acknowledge(&mut self, ask: &AcknowledgeEvents) -> Result<Outcome, Refusal> {
        check_len("sink", &ask.sink, 1, 100)?;
        let last = self.last_sequence();
        if ask.sequence > last {
            return Err(bounds("sequence", format!("the last event is {last}")));
        }
        match self.sinks.get_mut(&ask.sink) {
            Some(sink) if sink.is_lapsed => return Err(Refusal::SinkLapsed { oldest: self.forgotten + 1 }),
            Some(sink) => sink.acknowledged = ask.sequence.max(sink.acknowledged),
            None => return Err(Refusal::NoSuchSink),
        }
        Ok(Outcome::Done)
    }

    fn kept_bytes(&self) -> u64 {
        self.record_lens[self.forgotten as usize..].iter().sum()
    }

    pub(crate) fn last_sequence(&self) -> Sequence {
        self.records.len() as u64
    }

    /// Facts from a number on, or the oldest that is kept.
    pub(crate) fn events(&self, from: Sequence) -> Result<&[EventRecord], Sequence> {
        if from.saturating_sub(1) < self.forgotten {
            return Err(self.forgotten + 1);
        }
        Ok(&self.records[(from.saturating_sub(1) as usize).min(self.records.len())..])
    }
}

//! What both machines have in common: the clock, the remembered requests, the event log and the bounds.

use crate::journal::{Journal, Sink};
use crate::ledger::{Bounds, Fingerprint, Ledger};
use crate::record_log::RecordLog;
use crate::row::{CorruptRow, Row, RowWriter, row_key, row_value};
use crate::{
    AcknowledgeEvents, Event, GroupId, Millis, Outcome, Refusal, RegisterSink, RemoveSink, Reply, RequestId, SetLimits,
    ShowtimeId, Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The header: clock, bounds, sinks and the ends of both logs. Sorts before every other table.
const TABLE_HEADER: u8 = 0x01;
/// Pages of the event log.
const TABLE_EVENTS: u8 = 0x70;
/// Pages of remembered requests.
const TABLE_REQUESTS: u8 = 0x71;

/// The bounds of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) requests_max: u64,
    pub(crate) request_age_max: Millis,
    pub(crate) event_age_min: Millis,
    pub(crate) events_max: u64,
    pub(crate) tickets_max: u64,
}

/// Bytes that each remembered request, and each event, may take on average over the most there may be.
const RECORD_LEN_MEAN: u64 = 512;

/// The most tickets of any line.
pub(crate) const TICKETS_MAX: u64 = 100_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_max: 1_000_000,
            request_age_max: Millis::from_secs(24 * 60 * 60),
            event_age_min: Millis::from_secs(60 * 60),
            events_max: 4_000_000,
            tickets_max: TICKETS_MAX,
        }
    }
}

impl Limits {
    /// The most bytes of remembered requests.
    fn request_bytes_max(&self) -> u64 {
        self.requests_max * RECORD_LEN_MEAN
    }

    /// The most bytes of events, but for a page that is not full yet.
    fn event_bytes_max(&self) -> u64 {
        self.events_max * RECORD_LEN_MEAN
    }

    /// Refuses limits outside the bounds that [`SetLimits`] documents.
    fn check(&self) -> Result<(), Refusal> {
        const DAY: u64 = 24 * 60 * 60 * 1_000;
        for (field, value, min, max) in [
            ("requestsMax", self.requests_max, 1_000, 100_000_000),
            ("requestAgeMax", self.request_age_max.0, 1_000, 30 * DAY),
            ("eventAgeMin", self.event_age_min.0, 0, 365 * DAY),
            ("eventsMax", self.events_max, 1_000, 100_000_000),
            ("ticketsMax", self.tickets_max, 1, TICKETS_MAX),
        ] {
            if !(min..=max).contains(&value) {
                return Err(Refusal::out_of_bounds(field, format!("{value} is not between {min} and {max}")));
            }
        }
        Ok(())
    }
}

/// Time stops here, in two million years: no span added to it overflows, however wild a leader's clock.
const TIME_MAX: Timestamp = Timestamp(1 << 56);

/// The most sinks of a group.
const SINKS_MAX: usize = 100;

/// Facts of one command, before they are numbered.
#[derive(Debug, Default)]
pub(crate) struct Events(pub(crate) Vec<(Option<ShowtimeId>, Event)>);

impl Events {
    /// Something happened in a showtime.
    pub(crate) fn push(&mut self, showtime: ShowtimeId, event: Event) {
        self.0.push((Some(showtime), event));
    }

    /// Something happened in the group.
    pub(crate) fn push_group(&mut self, event: Event) {
        self.0.push((None, event));
    }
}

/// What is known of a request.
pub(crate) enum Recalled {
    /// It was answered, or its id belongs to another body.
    Answered(Reply),
    /// It is to be answered now, and the answer remembered under this if it has an id.
    New(Option<(RequestId, Fingerprint)>),
}

/// What both machines have in common.
#[derive(Debug)]
pub(crate) struct GroupState {
    pub(crate) group: GroupId,
    pub(crate) now: Timestamp,
    pub(crate) limits: Limits,
    /// Whether anything was ever applied; the empty state has no rows.
    started: bool,
    /// The chain over events without a showtime.
    pub(crate) chain: [u8; 32],
    pub(crate) journal: Journal,
    pub(crate) ledger: Ledger,
    header_dirty: bool,
    scratch: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    group: GroupId,
    now: Timestamp,
    limits: Limits,
    chain: [u8; 32],
    sinks: BTreeMap<String, Sink>,
    events: (u64, u64),
    requests: (u64, u64),
}

impl GroupState {
    pub(crate) fn new(group: GroupId) -> Self {
        Self {
            group,
            now: Timestamp::default(),
            limits: Limits::default(),
            started: false,
            chain: [0; 32],
            journal: Journal::new(RecordLog::default(), BTreeMap::new()),
            ledger: Ledger::new(RecordLog::default()),
            header_dirty: false,
            scratch: Vec::new(),
        }
    }

    /// Time goes on, never back.
    pub(crate) fn advance(&mut self, at: Timestamp) {
        self.now = self.now.max(at.min(TIME_MAX));
        self.started = true;
        self.header_dirty = true;
    }

    /// What is remembered of requests now.
    fn request_bounds(&self) -> Bounds {
        let limits = &self.limits;
        let (count_max, bytes_max) = (limits.requests_max, limits.request_bytes_max());
        Bounds { now: self.now, age_max: limits.request_age_max, count_max, bytes_max }
    }

    /// Forgets some of the requests that are too old or too many. To be called once a command, and only then: how many there
    /// are does not depend on how a batch was cut.
    pub(crate) fn forget_requests(&mut self) {
        self.ledger.forget(self.request_bounds());
    }

    /// Forgets events that are too old or too many. To be called once everything due at this time has happened and again after
    /// each command, so that what is left, and which sinks lapse, does not depend on how a batch was cut. A sink that lapses may
    /// have been the last that wanted an event: so it goes on until a second call would find nothing more.
    pub(crate) fn forget_events(&mut self) {
        loop {
            let limits = &self.limits;
            self.journal.forget(self.now, limits.event_age_min);
            if !self.journal.is_over(limits.events_max, limits.event_bytes_max()) {
                return;
            }
            for (sink, acknowledged) in self.journal.drop_oldest_page() {
                let event = Event::SinkLapsed { sink, acknowledged };
                self.journal.append(self.now, None, &event, &mut self.chain);
            }
        }
    }

    /// Whether a request was answered before. `write_body` writes what makes two requests the same.
    pub(crate) fn recall(&mut self, id: Option<RequestId>, write_body: impl FnOnce(&mut Vec<u8>)) -> Recalled {
        let Some(id) = id else { return Recalled::New(None) };
        self.scratch.clear();
        write_body(&mut self.scratch);
        let hash: [u8; 32] = Sha256::digest(&self.scratch).into();
        let fingerprint = Fingerprint(*hash.first_chunk().expect("16 is less than 32"));
        match self.ledger.find(id, fingerprint, self.request_bounds()) {
            Some(reply) => Recalled::Answered(reply),
            None => Recalled::New(Some((id, fingerprint))),
        }
    }

    /// Makes the reply to a command, and remembers it under its request.
    pub(crate) fn reply(
        &mut self,
        request: Option<(RequestId, Fingerprint)>,
        result: Result<Outcome, Refusal>,
    ) -> Reply {
        let reply = Reply { result, replayed: false };
        if let Some((id, fingerprint)) = request {
            self.ledger.remember(id, fingerprint, self.now, &reply);
        }
        reply
    }

    pub(crate) fn set_limits(&mut self, ask: &SetLimits, events: &mut Events) -> Result<Outcome, Refusal> {
        let limits = Limits {
            requests_max: ask.requests_max.unwrap_or(self.limits.requests_max),
            request_age_max: ask.request_age_max.unwrap_or(self.limits.request_age_max),
            event_age_min: ask.event_age_min.unwrap_or(self.limits.event_age_min),
            events_max: ask.events_max.unwrap_or(self.limits.events_max),
            tickets_max: ask.tickets_max.unwrap_or(self.limits.tickets_max),
        };
        limits.check()?;

        if self.limits != limits {
            self.limits = limits;
            let Limits { requests_max, request_age_max, event_age_min, events_max, tickets_max } = self.limits;
            events.push_group(Event::LimitsChanged {
                requests_max,
                request_age_max,
                event_age_min,
                events_max,
                tickets_max,
            });
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn register_sink(&mut self, ask: &RegisterSink) -> Result<Outcome, Refusal> {
        check_sink(&ask.sink)?;
        if !self.journal.sinks.contains_key(&ask.sink) && self.journal.sinks.len() >= SINKS_MAX {
            return Err(Refusal::AtCapacity { what: "sinks".into() });
        }

        let anew = Sink { acknowledged: self.journal.records().first(), is_lapsed: false };
        let sink = self.journal.sinks.entry(ask.sink.clone()).or_insert_with(|| anew.clone());
        if sink.is_lapsed {
            *sink = anew;
        }
        Ok(Outcome::Done)
    }

    pub(crate) fn acknowledge_events(&mut self, ask: &AcknowledgeEvents) -> Result<Outcome, Refusal> {
        check_sink(&ask.sink)?;
        let (oldest, last) = (self.journal.records().first() + 1, self.journal.last_sequence());
        if ask.sequence > last {
            return Err(Refusal::out_of_bounds("sequence", format!("the last event is {last}")));
        }
        let Some(sink) = self.journal.sinks.get_mut(&ask.sink) else {
            return Err(Refusal::NoSuchSink);
        };
        if sink.is_lapsed {
            return Err(Refusal::SinkLapsed { oldest });
        }

        sink.acknowledged = ask.sequence.max(sink.acknowledged);
        Ok(Outcome::Done)
    }

    pub(crate) fn remove_sink(&mut self, ask: &RemoveSink) -> Result<Outcome, Refusal> {
        check_sink(&ask.sink)?;

        self.journal.sinks.remove(&ask.sink);
        Ok(Outcome::Done)
    }

    fn header(&self) -> Vec<u8> {
        let (events, requests) = (self.journal.records(), self.ledger.records());
        row_value(&Header {
            group: self.group,
            now: self.now,
            limits: self.limits.clone(),
            chain: self.chain,
            sinks: self.journal.sinks.clone(),
            events: (events.first(), events.next()),
            requests: (requests.first(), requests.next()),
        })
    }

    pub(crate) fn write_all(&self, rows: &mut RowWriter) {
        if self.started {
            rows.put(row_key(TABLE_HEADER, &[]), self.header());
        }
        self.journal.write_all(TABLE_EVENTS, rows);
        self.ledger.write_all(TABLE_REQUESTS, rows);
    }

    pub(crate) fn write_dirty(&mut self, rows: &mut RowWriter) {
        if std::mem::take(&mut self.header_dirty) {
            rows.put(row_key(TABLE_HEADER, &[]), self.header());
        }
        self.journal.write_dirty(TABLE_EVENTS, rows);
        self.ledger.write_dirty(TABLE_REQUESTS, rows);
    }

    /// Takes in a row, if it is one of those common to both machines.
    pub(crate) fn load_row(&mut self, table: u8, row: &Row) -> Result<bool, CorruptRow> {
        match table {
            TABLE_HEADER => {
                let [] = row.key_parts()?;
                let header: Header = row.decode()?;
                if header.group != self.group {
                    return Err(row.corrupt(format!("these are the rows of {}", header.group)));
                }
                let in_order = |(first, next): (u64, u64)| first <= next && next < u64::MAX / 2;
                if self.started || !in_order(header.events) || !in_order(header.requests) {
                    return Err(row.corrupt("a second header, or its logs end before they begin"));
                }
                header.limits.check().map_err(|refusal| row.corrupt(refusal.to_string()))?;
                self.started = true;
                self.now = header.now;
                self.limits = header.limits;
                self.chain = header.chain;
                self.journal = Journal::new(RecordLog::with_bounds(header.events.0, header.events.1), header.sinks);
                self.ledger = Ledger::new(RecordLog::with_bounds(header.requests.0, header.requests.1));
            }
            TABLE_EVENTS => {
                let [page] = row.key_parts()?;
                self.journal.load_page(page, row)?;
            }
            TABLE_REQUESTS => {
                let [page] = row.key_parts()?;
                self.ledger.load_page(page, row)?;
            }
            _ if !self.started => return Err(row.corrupt("the header is missing")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn finish_load(&mut self) -> Result<(), CorruptRow> {
        let whole = |reason| CorruptRow { key: String::new(), reason };
        self.journal.finish_load(self.now).map_err(whole)?;
        self.ledger.finish_load().map_err(whole)
    }

    /// Recounts the logs. Gives the last link of each chain that has events retained.
    pub(crate) fn audit(&self) -> Result<BTreeMap<Option<ShowtimeId>, [u8; 32]>, String> {
        self.ledger.audit()?;
        if self.journal.is_over(self.limits.events_max, self.limits.event_bytes_max()) {
            return Err("more events are kept than may be".into());
        }
        self.journal.audit(self.now)
    }
}

fn check_sink(sink: &str) -> Result<(), Refusal> {
    check_text("sink", sink, 1, 100)
}

/// Refuses a text that is not `min` to `max` bytes long.
pub(crate) fn check_text(field: &str, text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    if (min..=max).contains(&text.len()) {
        Ok(())
    } else {
        Err(Refusal::out_of_bounds(field, format!("{} bytes are not between {min} and {max}", text.len())))
    }
}

/// Refuses what is no e-mail address: 3 to 254 bytes with an `@` inside, nothing blank or invisible.
pub(crate) fn check_email(email: &str) -> Result<(), Refusal> {
    check_text("email", email, 3, 254)?;
    let is_address =
        email.trim_matches('@').contains('@') && !email.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_address { Ok(()) } else { Err(Refusal::out_of_bounds("email", "it is no address")) }
}

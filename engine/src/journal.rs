//! The event log of a group: numbered without gaps, each showtime's events chained, kept until nobody needs them.

use crate::record_log::{PAGE_LEN, RecordLog};
use crate::row::{CorruptRow, Row, RowWriter};
use crate::{Event, EventRecord, Millis, Sequence, ShowtimeId, Timestamp, codec};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Who reads the events of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sink {
    /// The last event that it has acknowledged.
    pub(crate) acknowledged: Sequence,
    /// Whether it fell so far behind that nothing is kept for it any more.
    pub(crate) is_lapsed: bool,
}

/// The event log. Event number n is record n - 1.
#[derive(Debug)]
pub(crate) struct Journal {
    records: RecordLog,
    /// Sinks by name.
    pub(crate) sinks: BTreeMap<String, Sink>,
    /// Time of the last event of the oldest page, once known and while that page stays.
    oldest_page_at: Option<Timestamp>,
}

impl Journal {
    pub(crate) fn new(records: RecordLog, sinks: BTreeMap<String, Sink>) -> Self {
        Self { records, sinks, oldest_page_at: None }
    }

    pub(crate) fn records(&self) -> &RecordLog {
        &self.records
    }

    /// The number of the last event, 0 before the first.
    pub(crate) fn last_sequence(&self) -> Sequence {
        self.records.next()
    }

    /// Appends a fact and links it into `chain`.
    pub(crate) fn append(&mut self, at: Timestamp, showtime: Option<ShowtimeId>, event: &Event, chain: &mut [u8; 32]) {
        let sequence = self.records.next() + 1;
        self.records.push(|bytes| {
            let from = bytes.len();
            // An `EventRecord` is these four and the link: see `EventRecord::link`.
            codec::encode_into(&(sequence, at, showtime, event), bytes);
            *chain = link(chain, &bytes[from..]);
            bytes.extend_from_slice(chain);
        });
    }

    fn record(&self, number: u64) -> Option<EventRecord> {
        Some(decode(self.records.get(number)?).expect("a record was encoded or checked at load"))
    }

    /// See [`StateMachine::events`](crate::StateMachine::events).
    pub(crate) fn events(&self, from: Sequence, count_max: usize) -> Result<Vec<EventRecord>, Sequence> {
        let first = from.saturating_sub(1);
        if first < self.records.first() {
            return Err(self.records.first() + 1);
        }
        Ok((first..self.records.next()).take(count_max).filter_map(|number| self.record(number)).collect())
    }

    /// The number of the last event of the oldest page.
    fn oldest_page_end(&self) -> Sequence {
        (self.records.first() / PAGE_LEN + 1) * PAGE_LEN
    }

    /// Whether there are more than `count_max` events, or more bytes of them than `bytes_max` in more than a page that is
    /// not full yet: nothing is dropped of that.
    pub(crate) fn is_over(&self, count_max: u64, bytes_max: u64) -> bool {
        let (first, next) = (self.records.first(), self.records.next());
        next - first > count_max || (self.oldest_page_end() <= next && self.records.bytes_from(first) > bytes_max)
    }

    /// Drops the oldest page, whoever still wants it. Gives the sinks that lapse with it, and what each had acknowledged.
    pub(crate) fn drop_oldest_page(&mut self) -> Vec<(String, Sequence)> {
        let end = self.oldest_page_end();
        self.records.drop_before(end);
        self.oldest_page_at = None;
        let mut lapsed = Vec::new();
        for (name, sink) in self.sinks.iter_mut().filter(|(_, sink)| !sink.is_lapsed && sink.acknowledged < end) {
            sink.is_lapsed = true;
            lapsed.push((name.clone(), sink.acknowledged));
        }
        lapsed
    }

    /// Drops whole pages that every sink has acknowledged and whose events are all older than `age_min`.
    pub(crate) fn forget(&mut self, now: Timestamp, age_min: Millis) {
        loop {
            let end = self.oldest_page_end();
            let is_wanted = self.sinks.values().any(|sink| !sink.is_lapsed && sink.acknowledged < end);
            if end > self.records.next() || is_wanted {
                return;
            }
            let at = match self.oldest_page_at {
                Some(at) => at,
                None => self.record(end - 1).expect("the page is full").at,
            };
            self.oldest_page_at = Some(at);
            if at + age_min > now {
                return;
            }
            self.records.drop_before(end);
            self.oldest_page_at = None;
        }
    }

    pub(crate) fn write_all(&self, table: u8, rows: &mut RowWriter) {
        self.records.write_all(table, rows);
    }

    pub(crate) fn write_dirty(&mut self, table: u8, rows: &mut RowWriter) {
        self.records.write_dirty(table, rows);
    }

    pub(crate) fn load_page(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        self.records.load_page(page, row)
    }

    /// Checks every record.
    pub(crate) fn finish_load(&self, now: Timestamp) -> Result<(), String> {
        self.audit(now).map(|_| ())
    }

    /// Recounts: every event is there under its number, in order of time up to `now`, the links follow each other, and nothing
    /// is gone that a sink has yet to acknowledge, unless the sink was told so. Gives the last link of each chain that has
    /// events retained.
    pub(crate) fn audit(&self, now: Timestamp) -> Result<BTreeMap<Option<ShowtimeId>, [u8; 32]>, String> {
        if !self.records.is_complete() {
            return Err("pages of events are missing".into());
        }
        for (name, sink) in &self.sinks {
            let is_behind = sink.acknowledged < self.records.first();
            if is_behind != sink.is_lapsed || sink.acknowledged > self.records.next() {
                return Err(format!("sink {name} has {}, lapsed: {}", sink.acknowledged, sink.is_lapsed));
            }
        }
        let mut chains = BTreeMap::new();
        let mut last = Timestamp::default();
        for number in self.records.first()..self.records.next() {
            let bytes = self.records.get(number).ok_or("an event is missing")?;
            let record = decode(bytes).map_err(|error| format!("event {}: {error}", number + 1))?;
            if record.sequence != number + 1 || record.at < last || record.at > now {
                return Err(format!("event {} is out of order", number + 1));
            }
            last = record.at;
            if let Some(previous) = chains.insert(record.showtime, record.chain)
                && link(&previous, &bytes[..bytes.len() - LINK_LEN]) != record.chain
            {
                return Err(format!("event {} does not follow in its chain", number + 1));
            }
        }
        Ok(chains)
    }
}

/// Bytes of the link at the end of each record.
const LINK_LEN: usize = 32;

/// The link of a record whose encoding, but for its link, is `record`.
fn link(previous: &[u8; LINK_LEN], record: &[u8]) -> [u8; LINK_LEN] {
    Sha256::new().chain_update(previous).chain_update(record).finalize().into()
}

/// A record from its bytes. The link is taken as it stands: byte by byte it would cost as much as all the rest.
fn decode(bytes: &[u8]) -> Result<EventRecord, codec::DecodeError> {
    let (head, &chain) = bytes.split_last_chunk().ok_or_else(|| codec::DecodeError("no link".into()))?;
    let (sequence, at, showtime, event) = codec::decode(head)?;
    Ok(EventRecord { sequence, at, showtime, event, chain })
}

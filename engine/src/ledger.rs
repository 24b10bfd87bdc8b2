//! Remembered replies: a request that comes again gets the answer it got.

use crate::lookup::{self, Index};
use crate::planted::{self, Bug};
use crate::record_log::RecordLog;
use crate::row::{CorruptRow, Row, RowWriter};
use crate::{Millis, Refusal, Reply, RequestId, Timestamp, codec};
use std::collections::BTreeMap;
use std::hash::BuildHasher;

/// Bytes in front of the encoded result: request id, fingerprint of the body, log time.
const HEAD_LEN: usize = 16 + 16 + 8;

/// The replies of the last while, oldest first, and where to find each.
pub(crate) struct Ledger {
    records: RecordLog,
    /// Record numbers by request id, each with the hash of its id so that the table grows without reading the records.
    /// Only looked up, never walked.
    index: Index<(u64, u64)>,
    /// When the oldest was remembered, once known: asked for after every command.
    oldest_at: Option<Timestamp>,
}

/// The most records that one command forgets, so that none takes long however many have had their time.
pub(crate) const FORGOTTEN_PER_COMMAND: u64 = if cfg!(test) { 4 } else { 2_048 };

/// How long, and how much, is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) now: Timestamp,
    pub(crate) age_max: Millis,
    pub(crate) count_max: u64,
    pub(crate) bytes_max: u64,
}

/// What a body boils down to. Two bodies of one fingerprint are the same body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) [u8; 16]);

fn hash_of(id: RequestId) -> u64 {
    lookup::hasher(0x7665_7374_6962_756c).hash_one(id.0)
}

fn id_of(record: &[u8]) -> RequestId {
    RequestId(u128::from_le_bytes(*record.first_chunk().expect("every record begins with its head")))
}

fn at_of(record: &[u8]) -> Timestamp {
    let head = record.first_chunk::<HEAD_LEN>().expect("every record begins with its head");
    Timestamp(u64::from_le_bytes(*head.last_chunk().expect("a head ends with 8 bytes of time")))
}

impl Ledger {
    pub(crate) fn new(records: RecordLog) -> Self {
        Self { records, index: Index::with_capacity(0), oldest_at: None }
    }

    pub(crate) fn records(&self) -> &RecordLog {
        &self.records
    }

    /// The remembered answer to a request, or the refusal that its id belongs to another body. What has had its time is
    /// unknown at once, also while it waits to be forgotten.
    pub(crate) fn find(&self, id: RequestId, fingerprint: Fingerprint, bounds: Bounds) -> Option<Reply> {
        if planted::is(Bug::ForgetReplies) {
            return None;
        }
        let hash = hash_of(id);
        let same = |&(other, number): &(u64, u64)| {
            other == hash && self.records.get(number).is_some_and(|record| id_of(record) == id)
        };
        let (_, number) = self.index.find(hash, same)?;
        if self.has_had_its_time(*number, self.records.get(*number).map(at_of)?, bounds) {
            return None;
        }
        let record = self.records.get(*number).expect("the index holds only numbers of records");
        if record[16..32] != fingerprint.0 {
            return Some(Reply { result: Err(Refusal::RequestIdReused), replayed: false });
        }
        let result = codec::decode(&record[HEAD_LEN..]).expect("a record was encoded or checked at load");
        Some(Reply { result, replayed: true })
    }

    /// Remembers an answer. Its id is unknown: a record of it that waits to be forgotten is found no longer.
    pub(crate) fn remember(&mut self, id: RequestId, fingerprint: Fingerprint, at: Timestamp, reply: &Reply) {
        let hash = hash_of(id);
        let records = &self.records;
        let same = |&(other, number): &(u64, u64)| {
            other == hash && records.get(number).is_some_and(|record| id_of(record) == id)
        };
        self.index.remove(hash, same);
        let number = self.records.push(|bytes| {
            bytes.extend_from_slice(&id.0.to_le_bytes());
            bytes.extend_from_slice(&fingerprint.0);
            bytes.extend_from_slice(&at.0.to_le_bytes());
            codec::encode_into(&reply.result, bytes);
        });
        self.index.insert(hash, (hash, number), |&(hash, _)| hash);
    }

    /// Whether a record of this time is too old, or those from this one on are too many or too long.
    fn has_had_its_time(&self, number: u64, at: Timestamp, bounds: Bounds) -> bool {
        let Bounds { now, age_max, count_max, bytes_max } = bounds;
        let is_over = self.records.next() - number > count_max || self.records.bytes_from(number) > bytes_max;
        at + age_max <= now || is_over
    }

    /// Forgets what has had its time, oldest first, as much as one command does.
    pub(crate) fn forget(&mut self, bounds: Bounds) {
        let mut first = self.records.first();
        let end = first + FORGOTTEN_PER_COMMAND;
        while let Some(at) = self.oldest_at.or_else(|| self.records.get(first).map(at_of)) {
            self.oldest_at = Some(at);
            if first == end || !self.has_had_its_time(first, at, bounds) {
                break;
            }
            self.oldest_at = None;
            let record = self.records.get(first).expect("its time was known");
            self.index.remove(hash_of(id_of(record)), |&(_, number)| number == first);
            first += 1;
        }
        if first > self.records.first() {
            self.records.drop_before(first);
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

    /// Builds the index anew and checks every record.
    pub(crate) fn finish_load(&mut self) -> Result<(), String> {
        if !self.records.is_complete() {
            return Err("pages of remembered requests are missing".into());
        }
        // Every record is there, so their number can be believed.
        self.index = Index::with_capacity((self.records.next() - self.records.first()) as usize);
        let mut last = Timestamp::default();
        for number in self.records.first()..self.records.next() {
            let record = self.records.get(number).expect("the log is complete");
            if record.len() < HEAD_LEN || at_of(record) < last {
                return Err(format!("remembered request {number} is malformed or out of order"));
            }
            last = at_of(record);
            let _: Result<crate::Outcome, Refusal> =
                codec::decode(&record[HEAD_LEN..]).map_err(|error| format!("remembered request {number}: {error}"))?;
            let id = id_of(record);
            let records = &self.records;
            let same = |&(_, other): &(u64, u64)| records.get(other).is_some_and(|record| id_of(record) == id);
            let hash = hash_of(id);
            // The one before waits to be forgotten.
            self.index.remove(hash, same);
            self.index.insert(hash, (hash, number), |&(hash, _)| hash);
        }
        Ok(())
    }

    /// Recounts: the last record of every id is found by it, and nothing else is.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let mut last = BTreeMap::new();
        for number in self.records.first()..self.records.next() {
            let id = id_of(self.records.get(number).ok_or("a remembered request is missing")?);
            last.insert(id, number);
        }
        if self.index.len() != last.len() {
            return Err(format!("{} requests are indexed, {} remembered", self.index.len(), last.len()));
        }
        for (id, number) in last {
            if self.index.find(hash_of(id), |&(_, other)| other == number).is_none() {
                return Err(format!("remembered request {number} is not indexed"));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("first", &self.records.first()).field("next", &self.records.next()).finish()
    }
}

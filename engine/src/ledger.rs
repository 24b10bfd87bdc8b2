//! Remembered replies: a request that comes again gets the answer it got.

use crate::planted::{self, Bug};
use crate::record_log::RecordLog;
use crate::row::{CorruptRow, Row, RowWriter};
use crate::{Millis, Refusal, Reply, RequestId, Timestamp, codec, lookup};
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Bytes in front of the encoded result: request id, fingerprint of the body, log time.
const HEAD_LEN: usize = 16 + 16 + 8;

/// The replies of the last while, oldest first, and where to find each.
pub(crate) struct Ledger {
    records: RecordLog,
    /// Record numbers by request id, each with the hash of its id so that the table grows without reading the records.
    /// Only looked up, never walked.
    index: HashTable<(u64, u64)>,
    /// When the oldest was remembered, once known: asked for around every command.
    oldest_at: Option<Timestamp>,
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
        Self { records, index: HashTable::new(), oldest_at: None }
    }

    pub(crate) fn records(&self) -> &RecordLog {
        &self.records
    }

    /// The remembered answer to a request, or the refusal that its id belongs to another body.
    pub(crate) fn find(&self, id: RequestId, fingerprint: Fingerprint) -> Option<Reply> {
        if planted::is(Bug::ForgetReplies) {
            return None;
        }
        let hash = hash_of(id);
        let same = |&(other, number): &(u64, u64)| {
            other == hash && self.records.get(number).is_some_and(|record| id_of(record) == id)
        };
        let (_, number) = self.index.find(hash, same)?;
        let record = self.records.get(*number).expect("the index holds only numbers of records");
        if record[16..32] != fingerprint.0 {
            return Some(Reply { result: Err(Refusal::RequestIdReused), replayed: false });
        }
        let result = codec::decode(&record[HEAD_LEN..]).expect("a record was encoded or checked at load");
        Some(Reply { result, replayed: true })
    }

    /// Remembers an answer. The id must be new.
    pub(crate) fn remember(&mut self, id: RequestId, fingerprint: Fingerprint, at: Timestamp, reply: &Reply) {
        let number = self.records.push(|bytes| {
            bytes.extend_from_slice(&id.0.to_le_bytes());
            bytes.extend_from_slice(&fingerprint.0);
            bytes.extend_from_slice(&at.0.to_le_bytes());
            codec::encode_into(&reply.result, bytes);
        });
        let hash = hash_of(id);
        self.index.insert_unique(hash, (hash, number), |&(hash, _)| hash);
    }

    /// Whether those from this one on are more than `count_max`, or more bytes than `bytes_max`.
    fn is_over(&self, first: u64, count_max: u64, bytes_max: u64) -> bool {
        self.records.next() - first > count_max || self.records.bytes_from(first) > bytes_max
    }

    /// Forgets what is older than `age_max`, and what is more than `count_max` or `bytes_max`, oldest first.
    pub(crate) fn forget(&mut self, now: Timestamp, age_max: Millis, count_max: u64, bytes_max: u64) {
        let mut first = self.records.first();
        while let Some(at) = self.oldest_at.or_else(|| self.records.get(first).map(at_of)) {
            self.oldest_at = Some(at);
            if at + age_max > now && !self.is_over(first, count_max, bytes_max) {
                break;
            }
            self.oldest_at = None;
            let record = self.records.get(first).expect("its time was known");
            if let Ok(entry) = self.index.find_entry(hash_of(id_of(record)), |&(_, number)| number == first) {
                entry.remove();
            }
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
        self.index = HashTable::with_capacity((self.records.next() - self.records.first()) as usize);
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
            if self.index.find(hash, same).is_some() {
                return Err(format!("remembered request {number} is there twice"));
            }
            self.index.insert_unique(hash, (hash, number), |&(hash, _)| hash);
        }
        Ok(())
    }

    /// Recounts: every record is found by its id, nothing else is, and there are no more than may be.
    pub(crate) fn audit(&self, count_max: u64, bytes_max: u64) -> Result<(), String> {
        if self.is_over(self.records.first(), count_max, bytes_max) {
            return Err("more requests are remembered than may be".into());
        }
        if self.index.len() as u64 != self.records.next() - self.records.first() {
            return Err(format!(
                "{} requests are indexed, {} remembered",
                self.index.len(),
                self.records.next() - self.records.first()
            ));
        }
        for number in self.records.first()..self.records.next() {
            let id = id_of(self.records.get(number).ok_or("a remembered request is missing")?);
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

//! openraft's view of a group's log.

use crate::metrics::Instruments;
use crate::types::{Entry, LogId, TypeConfig, Vote, to_ballot, to_body, to_entry, to_log_id, to_position, to_vote};
use crate::wal::WalGroup;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, RaftTypeConfig};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of entries that one read for replication returns at most.
const READ_BYTES_MAX: usize = 1 << 20;

/// The log of one group, for openraft. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    log: WalGroup,
    instruments: Arc<Instruments>,
}

impl LogStore {
    /// The store over a group's part of the write-ahead log.
    pub fn new(log: WalGroup) -> Self {
        Self { log, instruments: Arc::default() }
    }

    /// Notes how long appends take.
    pub(crate) fn measured(self, instruments: Arc<Instruments>) -> Self {
        Self { instruments, ..self }
    }

    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let found = self.log.read(start, end, bytes_max).await?;
        found.into_iter().map(|(position, body)| to_entry(position, body)).collect()
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().map(to_vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let entries = self.read(start, end, READ_BYTES_MAX).await?;
        // A stream to a follower that is being given up may ask for what was purged meanwhile. What comes behind a hole
        // must not be sent in its place. Nothing goes out as an append without entries, and the transport ends a stream
        // that sends it twice.
        let is_gapless = entries.first().is_none_or(|first| first.log_id.index == start);
        Ok(if is_gapless { entries } else { Vec::new() })
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        Ok(LogState {
            last_purged_log_id: self.log.purged().map(to_log_id),
            last_log_id: self.log.last().map(to_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.log.save_vote(to_ballot(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.log.save_committed(committed.as_ref().map(to_position))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(to_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = <TypeConfig as RaftTypeConfig>::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(|entry| (to_position(&entry.log_id), to_body(&entry))).collect();
        let (begun, instruments) = (Instant::now(), self.instruments.clone());
        let on_flushed = move |result| {
            instruments.append.observe_duration(begun.elapsed());
            callback.io_completed(result);
        };
        self.log.append(entries, Box::new(on_flushed)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.log.truncate(last.as_ref().map(to_position)).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(to_position(&upto)).await
    }
}

//! The one writer of the log.

use super::manifest::{Extent, Manifest};
use super::record::{self, Ballot, FRAME_HEADER_LEN, LogPosition, RecordBody};
use super::segment::{self, SEGMENT_HEADER_LEN, Segment};
use super::space;
use super::{Item, OnFlushed, Place, Shared, lock};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;
use vestibule_engine::GroupId;
use vestibule_engine::planted::{self, Bug};

/// Where the log ends.
pub(crate) struct Head {
    /// The segment being written; none before the first.
    pub(crate) segment: Option<Segment>,
    /// Where the next frame goes.
    pub(crate) offset: u64,
    /// The number of the next frame.
    pub(crate) next_sequence: u64,
    /// What has been written of each group.
    pub(crate) written: BTreeMap<GroupId, Written>,
    /// What each segment holds.
    pub(crate) extents: Extents,
}

impl Head {
    /// Bytes that are left of the segment being written.
    pub(crate) fn left(&self, segment_len: u64) -> u64 {
        self.segment.as_ref().map_or(0, |_| segment_len.saturating_sub(self.offset))
    }
}

/// For each segment, the last entry of each group that it holds, as far as the log on disk says.
#[derive(Debug, Default)]
pub(crate) struct Extents(BTreeMap<u64, BTreeMap<GroupId, u64>>);

impl Extents {
    pub(crate) fn note(&mut self, segment: u64, group: GroupId, body: &RecordBody) {
        match body {
            RecordBody::Entry(position, _) => {
                let last = self.0.entry(segment).or_default().entry(group).or_default();
                *last = position.index.max(*last);
            }
            RecordBody::Truncate(position) => {
                for groups in self.0.values_mut() {
                    match (position, groups.get_mut(&group)) {
                        (Some(position), Some(last)) => *last = position.index.min(*last),
                        (None, _) => drop(groups.remove(&group)),
                        (Some(_), None) => {}
                    }
                }
            }
            RecordBody::Vote(_) | RecordBody::Committed(_) | RecordBody::Purge(_) => {}
        }
    }

    /// The first segment from `from` on that holds an entry which is not purged on disk.
    fn first_needed(&self, from: u64, written: &BTreeMap<GroupId, Written>) -> Option<u64> {
        let purged = |group: &GroupId| {
            written.get(group).and_then(|written: &Written| written.purged).map(|purged| purged.index)
        };
        let is_needed = |groups: &BTreeMap<GroupId, u64>| {
            groups.iter().any(|(group, last)| purged(group).is_none_or(|purged| purged < *last))
        };
        self.0.range(from..).find(|(_, groups)| is_needed(groups)).map(|(segment, _)| *segment)
    }
}

/// What the log on disk says of a group, apart from its entries. A new segment restates it, so that the segments before
/// can go. It lags behind the group's memory by what is still in the queue.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    /// The chain value that the group's next record carries.
    pub(crate) link: u64,
    vote: Option<Ballot>,
    committed: Option<LogPosition>,
    purged: Option<LogPosition>,
}

impl Written {
    pub(crate) fn note(&mut self, body: &RecordBody) {
        match body {
            RecordBody::Entry(..) | RecordBody::Truncate(_) => {}
            RecordBody::Vote(ballot) => self.vote = Some(*ballot),
            RecordBody::Committed(position) => self.committed = *position,
            RecordBody::Purge(position) => self.purged = Some(*position),
        }
    }

    fn restate(&self) -> impl Iterator<Item = RecordBody> {
        let purged = self.purged.map(RecordBody::Purge);
        let vote = self.vote.map(RecordBody::Vote);
        purged.into_iter().chain(vote).chain([RecordBody::Committed(self.committed)])
    }
}

pub(crate) struct Syncer {
    shared: Arc<Shared>,
    head: Head,
    manifest: Manifest,
    /// The frame being made, kept for its capacity.
    frame: Vec<u8>,
    ended: bool,
}

impl Drop for Syncer {
    /// A syncer that dies in the middle of its work must not leave the node waiting for it.
    fn drop(&mut self) {
        if !self.ended {
            let died = io::Error::other("the syncer died");
            self.shared.fail(&died);
            self.refuse_rest(&died);
        }
    }
}

/// Whom to tell when an item is on disk, and the queue space that it held.
type Waiting = (Option<OnFlushed>, Option<OwnedSemaphorePermit>);

fn split(items: Vec<Item>) -> (Vec<(GroupId, RecordBody)>, Vec<Waiting>) {
    let mut records = Vec::new();
    let mut waiting = Vec::new();
    for item in items {
        records.extend(item.bodies.into_iter().map(|body| (item.group, body)));
        waiting.push((item.on_flushed, item.space));
    }
    (records, waiting)
}

fn refuse(waiting: Vec<Waiting>, error: &io::Error) {
    for tell in waiting.into_iter().filter_map(|(tell, _space)| tell) {
        tell(Err(io::Error::new(error.kind(), error.to_string())));
    }
}

/// What goes into the next frames: commit points alone wait for something to go with, or for the end.
fn pick(queue: &mut VecDeque<Item>, is_last: bool, bytes_max: usize) -> Option<Vec<Item>> {
    if queue.iter().all(|item| item.on_flushed.is_none()) && !is_last {
        return None;
    }
    let mut items = Vec::new();
    let mut bytes = 0;
    while let Some(item) = queue.front() {
        bytes += item.bytes;
        if (bytes > bytes_max || item.is_whole) && !items.is_empty() {
            break;
        }
        let is_whole = item.is_whole;
        items.extend(queue.pop_front());
        if is_whole {
            break;
        }
    }
    (!items.is_empty()).then_some(items)
}

/// An entry that gets its place when the frame is on disk.
struct Placed {
    group: GroupId,
    position: LogPosition,
    place: Place,
}

impl Syncer {
    pub(crate) fn new(shared: Arc<Shared>, head: Head, manifest: Manifest) -> Self {
        Self { shared, head, manifest, frame: Vec::new(), ended: false }
    }

    /// Writes frames until the log is closed or the disk fails.
    pub(crate) async fn run(mut self) {
        let frame_bytes_max = self.shared.config.frame_bytes_max;
        while let Some(items) = self.shared.queue.take(|queue, is_last| pick(queue, is_last, frame_bytes_max)).await {
            let (records, waiting) = split(items);
            if let Err(error) = self.write(records).await {
                self.shared.fail(&error);
                refuse(waiting, &error);
                break;
            }
            for tell in waiting.into_iter().filter_map(|(tell, _space)| tell) {
                tell(Ok(()));
            }
            if let Err(error) = self.drop_segments().await {
                self.shared.fail(&error);
                break;
            }
        }
        if self.shared.failure.get().is_none() {
            // So that the next opening can tell damage to the last frame from a write that was cut short.
            let synced = self.head.next_sequence;
            if let Err(error) = self.manifest.set(Extent { synced, ..self.manifest.extent }).await {
                self.shared.fail(&error);
            }
        }
        self.refuse_rest(&self.shared.ended());
        self.shared.stopping.send_replace(true);
        self.ended = true;
    }

    /// Takes nothing from now on.
    fn refuse_rest(&self, error: &io::Error) {
        refuse(split(self.shared.queue.close().into()).1, error);
    }

    /// Writes one or more frames with `records`, each synced before the next is begun.
    async fn write(&mut self, records: Vec<(GroupId, RecordBody)>) -> io::Result<()> {
        let mut rest = &records[..];
        while !rest.is_empty() {
            let taken = self.write_frame(rest).await?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Writes as many of `records` as one frame takes; says how many those were.
    async fn write_frame(&mut self, records: &[(GroupId, RecordBody)]) -> io::Result<usize> {
        let budget = self.shared.config.frame_len_max();
        let mut len = FRAME_HEADER_LEN;
        let mut count = 0;
        for (_, body) in records {
            len += record::record_len(record::payload_len(body));
            if count > 0 && len as u64 > budget {
                break;
            }
            count += 1;
        }
        let records = &records[..count];
        let body_len: usize = records.iter().map(|(_, body)| record::record_len(record::payload_len(body))).sum();
        let frame_len = (FRAME_HEADER_LEN + body_len) as u64;
        let fits = self.head.segment.is_some() && self.head.offset + frame_len <= self.shared.config.segment_len;
        if !fits {
            self.begin_segment().await?;
        }
        if self.head.offset == SEGMENT_HEADER_LEN {
            // Also when the segment was begun in an earlier life, which ended before it wrote a frame.
            self.restate().await?;
        }
        let placed = self.put_frame(records).await?;
        for Placed { group, position, place } in placed {
            let log = lock(&self.shared.groups).get(&group).cloned();
            if let Some(log) = log {
                lock(&log).set_place(position, place);
            }
        }
        Ok(count)
    }

    /// Begins the next segment.
    async fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.manifest.extent.newest + 1;
        let len = self.shared.config.segment_len;
        let make = || segment::make_segment(&*self.shared.disk, number, self.shared.owner, len);
        let segment = match make().await {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                space::give_up_ballast(&self.shared).await?;
                make().await?
            }
            made => made?,
        };
        // Before the first frame: from here on the segment must be there.
        let synced = self.head.next_sequence;
        self.manifest.set(Extent { newest: number, synced, ..self.manifest.extent }).await?;
        lock(&self.shared.segments).insert(number, segment.clone());
        self.head.segment = Some(segment);
        self.head.offset = SEGMENT_HEADER_LEN;
        self.shared.note_head(&self.head);
        // Until it has been looked for another one.
        self.shared.is_last_segment.store(*self.shared.full.borrow(), Ordering::Relaxed);
        lock(&self.shared.stats).segments += 1;
        self.shared.spare_taken.notify_one();
        Ok(())
    }

    /// Writes the first frame of a segment: what the segments before it say of every group, apart from entries.
    async fn restate(&mut self) -> io::Result<()> {
        let written = &self.head.written;
        let restated: Vec<(GroupId, RecordBody)> =
            written.iter().flat_map(|(group, written)| written.restate().map(|body| (*group, body))).collect();
        if !restated.is_empty() {
            self.put_frame(&restated).await?;
        }
        Ok(())
    }

    /// Writes and syncs one frame at the head of the log.
    #[tracing::instrument(level = "debug", skip_all, fields(frame = self.head.next_sequence, records = records.len()))]
    async fn put_frame(&mut self, records: &[(GroupId, RecordBody)]) -> io::Result<Vec<Placed>> {
        let segment = self.head.segment.clone().expect("a segment is begun before the first frame");
        self.frame.clear();
        self.frame.resize(FRAME_HEADER_LEN, 0);
        let mut placed = Vec::new();
        for (group, body) in records {
            let start = self.frame.len();
            let written = self.head.written.entry(*group).or_default();
            written.link = record::encode_record(*group, written.link, body, &mut self.frame);
            written.note(body);
            self.head.extents.note(segment.number, *group, body);
            if let RecordBody::Entry(position, _) = body {
                let offset = u32::try_from(self.head.offset + start as u64).map_err(io::Error::other)?;
                let len = u32::try_from(self.frame.len() - start).map_err(io::Error::other)?;
                let place = Place { segment: segment.number, offset, len };
                placed.push(Placed { group: *group, position: *position, place });
            }
        }
        let body_len = self.frame.len() - FRAME_HEADER_LEN;
        let record_count = u32::try_from(records.len()).map_err(io::Error::other)?;
        let header = record::encode_frame_header(segment.number, self.head.next_sequence, record_count, body_len);
        self.frame[..FRAME_HEADER_LEN].copy_from_slice(&header);
        segment.file.write_at(self.head.offset, &self.frame).await?;
        let before_sync = tokio::time::Instant::now();
        if !planted::is(Bug::SkipSync) {
            let synced = segment.file.sync_data().await;
            if !planted::is(Bug::IgnoreSyncError) {
                synced?;
            }
        }
        let sync_nanos = u64::try_from(before_sync.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.shared.instruments.sync.observe_duration(before_sync.elapsed());
        self.shared.instruments.records.observe(records.len() as u64);
        self.head.offset += self.frame.len() as u64;
        self.shared.note_head(&self.head);
        self.head.next_sequence += 1;
        let mut stats = lock(&self.shared.stats);
        stats.frames += 1;
        stats.records += records.len() as u64;
        stats.bytes += self.frame.len() as u64;
        stats.sync_nanos = stats.sync_nanos.saturating_add(sync_nanos);
        stats.sync_mean_nanos = stats.sync_mean_nanos - stats.sync_mean_nanos / 8 + sync_nanos / 8;
        Ok(placed)
    }

    /// Drops the segments before the oldest one that holds an entry whose purge is not on disk. The newest of them
    /// becomes the spare when there is none.
    async fn drop_segments(&mut self) -> io::Result<()> {
        let Some(current) = self.head.segment.as_ref().map(|segment| segment.number) else { return Ok(()) };
        let Some(first) = lock(&self.shared.segments).keys().next().copied() else { return Ok(()) };
        if first == current {
            return Ok(());
        }
        let needed = self.head.extents.first_needed(first, &self.head.written).unwrap_or(current).min(current);
        let dropped: Vec<u64> = lock(&self.shared.segments).range(..needed).map(|(number, _)| *number).collect();
        if dropped.is_empty() {
            return Ok(());
        }
        // First the manifest: a segment that it lists is never missing.
        let synced = self.head.next_sequence;
        self.manifest.set(Extent { oldest: needed, synced, ..self.manifest.extent }).await?;
        for number in dropped {
            lock(&self.shared.segments).remove(&number);
            self.head.extents.0.remove(&number);
            let name = segment::segment_name(number);
            let has_spare = self.shared.disk.list().await?.iter().any(|name| name == segment::SPARE_NAME);
            if has_spare {
                self.shared.disk.remove(&name).await?;
            } else {
                self.shared.disk.rename(&name, segment::SPARE_NAME).await?;
            }
        }
        self.shared.disk.sync_directory().await
    }
}

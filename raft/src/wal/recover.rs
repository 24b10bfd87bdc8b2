//! Opening the log: every byte is verified, a torn tail is cut off, anything else that is wrong stops the node.
//!
//! What may be found behind the last good frame of the last segment, and what it means:
//!
//! - no later frame anywhere, and no word of one in the manifest: the node stopped in the middle of writing a frame that
//!   was never acknowledged. It is zeroed.
//! - a later frame: that one was begun only after the sync of all before it, so something durable is damaged. The same
//!   holds when the manifest knows that the frame was durable, as it does after a clean stop.
//!
//! What is read comes from the page cache, and may be nowhere else: the process may have been killed before the sync of its
//! last frame, or that sync failed, after which the pages count as clean and no other sync writes them. Whatever is found
//! is going to be vouched for, so the last frame and the manifest are written again and synced.
//!
//! The manifest says which segments there must be. A segment behind its last one was being begun, and one before its
//! first one was being dropped: they are removed. Frames are numbered without gaps over all segments, so an exchanged
//! segment is found as well. Within a group each record carries a hash of the one before.

use super::group_log::{GroupLog, Place};
use super::manifest::{MANIFEST_NAME, Manifest};
use super::record::{self, FRAME_HEADER_LEN, Record, RecordBody};
use super::resident;
use super::segment::{self, BadHeader, SEGMENT_HEADER_LEN, Segment};
use super::stamp::{BadStamp, FORMAT, Owner};
use super::syncer::{Extents, Head, Written};
use super::{WalConfig, lock};
use crate::seams::{Disk, DiskFile};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use vestibule_engine::GroupId;
use vestibule_engine::planted::{self, Bug};

/// Why a log cannot be opened. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("the log cannot be read: {0}")]
    Io(#[source] io::Error),
    /// A file belongs to another node, another cluster, or another life of this node.
    #[error("{file} belongs to {found}; this is {expected}")]
    Foreign {
        /// The file.
        file: String,
        /// Whose it is.
        found: Owner,
        /// Whose it should be.
        expected: Owner,
    },
    /// A file was written by another version.
    #[error("{file} has format {found}; this version reads format {FORMAT}")]
    OtherFormat {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// Segments are there, and the manifest that says which there must be is not.
    #[error("the log has segments but no manifest")]
    NoManifest,
    /// A segment is missing.
    #[error("segment {0:016x} is missing")]
    MissingSegment(u64),
    /// Bytes that had been durable are no longer what was written.
    #[error("the log is damaged in {file} at byte {offset}: {reason}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Entries of a group are missing before the first one found.
    #[error("the log of {group} lacks entry {index}")]
    Hole {
        /// The group.
        group: GroupId,
        /// The first missing index.
        index: u64,
    },
}

impl OpenError {
    pub(crate) fn of_stamp(bad: BadStamp, file: &str, expected: Owner, damage: &str) -> Self {
        let file = file.to_owned();
        match bad {
            BadStamp::Foreign(found) => Self::Foreign { file, found, expected },
            BadStamp::OtherFormat(found) => Self::OtherFormat { file, found },
            BadStamp::Blank | BadStamp::Damaged => Self::Damaged { file, offset: 0, reason: damage.to_owned() },
        }
    }

    fn damaged(segment: u64, offset: usize, reason: String) -> Self {
        Self::Damaged { file: segment::segment_name(segment), offset: offset as u64, reason }
    }
}

/// What was found on opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments read.
    pub segments: usize,
    /// Frames verified.
    pub frames: u64,
    /// Records verified.
    pub records: u64,
    /// Where a torn tail was cut off: segment and offset.
    pub trimmed: Option<(u64, u64)>,
}

pub(crate) struct Recovered {
    pub(crate) groups: BTreeMap<GroupId, Arc<Mutex<GroupLog>>>,
    pub(crate) next_stamp: u64,
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) head: Head,
    pub(crate) manifest: Manifest,
    pub(crate) report: RecoveryReport,
}

pub(crate) async fn recover(disk: &Arc<dyn Disk>, owner: Owner, config: &WalConfig) -> Result<Recovered, OpenError> {
    let names = disk.list().await.map_err(OpenError::Io)?;
    let found: Vec<u64> = names.iter().filter_map(|name| segment::parse_segment_name(name)).collect();
    let mut manifest = if names.iter().any(|name| name == MANIFEST_NAME) {
        Manifest::open(&**disk, owner).await?
    } else if found.is_empty() {
        Manifest::create(&**disk, owner).await.map_err(OpenError::Io)?
    } else {
        return Err(OpenError::NoManifest);
    };
    let extent = manifest.extent;
    if let Some(missing) = (extent.oldest..=extent.newest).find(|number| !found.contains(number)) {
        return Err(OpenError::MissingSegment(missing));
    }
    let mut reader = Reader {
        config,
        groups: BTreeMap::new(),
        written: BTreeMap::new(),
        extents: Extents::default(),
        next_sequence: None,
        last_frame: None,
        oldest_segment: extent.oldest,
        added_bytes: 0,
        report: RecoveryReport::default(),
    };
    let mut segments = BTreeMap::new();
    let mut head_segment = None;
    let mut head_offset = SEGMENT_HEADER_LEN;
    let mut torn = None;
    let mut before: Option<(u64, usize)> = None;
    for number in extent.oldest..=extent.newest {
        let file = disk.open(&segment::segment_name(number)).await.map_err(OpenError::Io)?;
        let bytes = read_whole(&file).await?;
        check_header(&bytes, number, owner)?;
        let first = record::decode_frame_header(&bytes[SEGMENT_HEADER_LEN as usize..], number);
        if let (Some((before, end)), Some(first), Some(due)) = (before, first, reader.next_sequence)
            && first.sequence > due
        {
            // The last frames of a segment are of no use, and nothing behind them in that one shows that there were any.
            let reason = format!("frame {due} is not good, yet the next segment begins with frame {}", first.sequence);
            return Err(OpenError::damaged(before, end, reason));
        }
        let end = reader.read_segment(number, &bytes)?;
        before = Some((number, end));
        let next = reader.next_sequence.unwrap_or(1);
        let segment = Segment { number, file };
        if number == extent.newest {
            if next < extent.synced {
                let reason = format!("frame {next} is not good, yet it had been on disk");
                return Err(OpenError::damaged(number, end, reason));
            }
            torn = has_own_garbage(&bytes[end..], number, next).then_some((number, end as u64));
            head_offset = end as u64;
            // Segments keep the length they were made with; one of another length is not continued.
            head_segment = (bytes.len() as u64 == config.segment_len).then(|| segment.clone());
        }
        segments.insert(number, segment);
    }
    for (group, log) in &reader.groups {
        if let Some(index) = lock(log).hole() {
            return Err(OpenError::Hole { group: *group, index });
        }
    }
    let surplus: Vec<u64> =
        found.into_iter().filter(|number| !(extent.oldest..=extent.newest).contains(number)).collect();
    for number in surplus.iter().copied().filter(|number| *number > extent.newest) {
        if number > extent.newest + 1 {
            return Err(OpenError::damaged(number, 0, "the manifest does not list this segment".to_owned()));
        }
        let file = disk.open(&segment::segment_name(number)).await.map_err(OpenError::Io)?;
        if let Some((at, sequence)) = later_frame(&read_whole(&file).await?, SEGMENT_HEADER_LEN as usize, number) {
            let reason = format!("frame {sequence} is there, in a segment that the manifest does not list");
            return Err(OpenError::damaged(number, at, reason));
        }
    }
    // All is well; only now is anything changed.
    if let Some((number, end)) = torn {
        trim(&segments[&number], end).await.map_err(OpenError::Io)?;
        reader.report.trimmed = torn;
    }
    if let Some(LastFrame { segment, offset, bytes }) = reader.last_frame.take()
        && !planted::is(Bug::VouchForCache)
    {
        let file = &segments[&segment].file;
        file.write_at(offset, &bytes).await.map_err(OpenError::Io)?;
        file.sync_data().await.map_err(OpenError::Io)?;
    }
    manifest.set(extent).await.map_err(OpenError::Io)?;
    for number in &surplus {
        disk.remove(&segment::segment_name(*number)).await.map_err(OpenError::Io)?;
    }
    if !surplus.is_empty() {
        disk.sync_directory().await.map_err(OpenError::Io)?;
    }
    reader.report.segments = segments.len();
    let head = Head {
        segment: head_segment,
        offset: head_offset,
        next_sequence: reader.next_sequence.unwrap_or(1),
        written: reader.written,
        extents: reader.extents,
    };
    let next_stamp = reader.report.records + 1;
    Ok(Recovered { groups: reader.groups, next_stamp, segments, head, manifest, report: reader.report })
}

async fn read_whole(file: &Arc<dyn DiskFile>) -> Result<Bytes, OpenError> {
    let len = file.size().await.map_err(OpenError::Io)?;
    Ok(file.read_at(0, usize::try_from(len).unwrap_or(usize::MAX)).await.map_err(OpenError::Io)?.into())
}

/// Checks the header of a segment that the manifest lists.
fn check_header(bytes: &Bytes, number: u64, owner: Owner) -> Result<(), OpenError> {
    if (bytes.len() as u64) < SEGMENT_HEADER_LEN {
        return Err(OpenError::damaged(number, 0, format!("the file has only {} bytes", bytes.len())));
    }
    segment::check_header(bytes, number, owner).map_err(|bad| match bad {
        BadHeader::Stamp(bad) => {
            OpenError::of_stamp(bad, &segment::segment_name(number), owner, "the header is not what was written")
        }
        BadHeader::Number(found) => OpenError::damaged(number, 0, format!("it is segment {found:016x}")),
    })
}

struct Reader<'a> {
    config: &'a WalConfig,
    groups: BTreeMap<GroupId, Arc<Mutex<GroupLog>>>,
    written: BTreeMap<GroupId, Written>,
    extents: Extents,
    next_sequence: Option<u64>,
    last_frame: Option<LastFrame>,
    oldest_segment: u64,
    /// Bytes of entries since what is in memory was last looked after.
    added_bytes: usize,
    report: RecoveryReport,
}

/// The last good frame: where it is, and its bytes.
struct LastFrame {
    segment: u64,
    offset: u64,
    bytes: Bytes,
}

impl Reader<'_> {
    /// Reads all frames of a segment; gives where they end.
    fn read_segment(&mut self, number: u64, bytes: &Bytes) -> Result<usize, OpenError> {
        let damaged = |offset: usize, reason: String| OpenError::damaged(number, offset, reason);
        let mut offset = SEGMENT_HEADER_LEN as usize;
        loop {
            match self.read_frame(number, bytes, offset) {
                Ok(len) => offset += len,
                Err(Unreadable::Damaged(reason)) => return Err(damaged(offset, reason)),
                Err(Unreadable::Unfinished(reason)) => {
                    // Durable once, if a later frame was begun behind it. A later segment shows that by its number.
                    if let Some((at, sequence)) = later_frame(bytes, offset + 8, number) {
                        let reason = format!("{reason}, yet frame {sequence} stands behind it at byte {at}");
                        return Err(damaged(offset, reason));
                    }
                    return Ok(offset);
                }
            }
        }
    }

    /// Reads one frame and applies its records; gives its length, or why there is no good frame.
    fn read_frame(&mut self, number: u64, bytes: &Bytes, offset: usize) -> Result<usize, Unreadable> {
        let unfinished = |reason: &str| Unreadable::Unfinished(reason.to_owned());
        let header = record::decode_frame_header(&bytes[offset.min(bytes.len())..], number)
            .ok_or_else(|| unfinished("there is no frame"))?;
        if let Some(due) = self.next_sequence
            && header.sequence != due
        {
            return Err(Unreadable::Damaged(format!("frame {} stands where frame {due} is due", header.sequence)));
        }
        let body_start = offset + FRAME_HEADER_LEN;
        let body_end = body_start.saturating_add(header.body_len);
        if body_end > bytes.len() {
            return Err(Unreadable::Damaged("a frame is longer than its segment".to_owned()));
        }
        // The whole frame is decoded before any of it counts.
        let mut records = Vec::with_capacity(header.record_count.min(1 << 16) as usize);
        let mut at = body_start;
        for _ in 0..header.record_count {
            let (record, len, link) = record::decode_record(&bytes.slice(at..body_end))
                .map_err(|malformed| Unreadable::Unfinished(malformed.0))?;
            let place = Place { segment: number, offset: to_u32(at)?, len: to_u32(len)? };
            records.push((record, link, place));
            at += len;
        }
        if at != body_end {
            return Err(unfinished("a frame's length is wrong"));
        }
        let mut links: BTreeMap<GroupId, u64> = BTreeMap::new();
        for (record, link, _) in &records {
            let due = links.get(&record.group).copied().or_else(|| self.written.get(&record.group).map(|w| w.link));
            // The first record of a group links to one in a segment that was dropped, or to none at all.
            let unlinked = due.is_none() && (record.link == 0 || self.oldest_segment > 1);
            if due != Some(record.link) && !unlinked {
                // Torn, perhaps: in a file that was used before, a sector that was not written may hold a whole record of
                // back then.
                return Err(Unreadable::Unfinished(format!(
                    "a record of {} does not follow the one before it",
                    record.group
                )));
            }
            links.insert(record.group, *link);
        }
        self.report.frames += 1;
        self.next_sequence = Some(header.sequence + 1);
        self.last_frame = Some(LastFrame { segment: number, offset: offset as u64, bytes: bytes.slice(offset..at) });
        for (record, link, place) in records {
            self.replay(record, link, place)?;
        }
        Ok(at - offset)
    }

    fn replay(&mut self, record: Record, link: u64, place: Place) -> Result<(), Unreadable> {
        self.report.records += 1;
        let written = self.written.entry(record.group).or_default();
        written.link = link;
        written.note(&record.body);
        self.extents.note(place.segment, record.group, &record.body);
        let log = self.groups.entry(record.group).or_default().clone();
        let mut log = lock(&log);
        match record.body {
            RecordBody::Entry(position, body) => {
                self.added_bytes += body.bytes().len();
                // A copy: a slice would keep the whole segment in memory.
                log.append_found(self.report.records, position, body.copied(), place).map_err(|due| {
                    let (index, group) = (position.index, record.group);
                    Unreadable::Damaged(format!("entry {index} stands where entry {due} of {group} is due"))
                })?;
                drop(log);
                let (budget, part) = resident::budget(self.config);
                if self.added_bytes >= part {
                    self.added_bytes = 0;
                    resident::evict(&self.groups.values().cloned().collect::<Vec<_>>(), budget);
                }
            }
            RecordBody::Vote(ballot) => (log.vote, log.promised) = (Some(ballot), Some(ballot)),
            RecordBody::Committed(position) => log.committed = position,
            RecordBody::Truncate(position) => log.truncate(position),
            RecordBody::Purge(position) => log.purge(position),
        }
        Ok(())
    }
}

/// Why there is no good frame at a place.
enum Unreadable {
    /// Nothing, or a frame that was not written whole.
    Unfinished(String),
    /// Whole, and yet wrong.
    Damaged(String),
}

fn to_u32(value: usize) -> Result<u32, Unreadable> {
    u32::try_from(value).map_err(|_| Unreadable::Damaged("a segment is longer than 4 GiB".to_owned()))
}

/// The first frame of this segment at or behind `from`: its place and sequence. Bytes inside a command that look like
/// a frame's header do not count, unless a whole record follows them.
pub(super) fn later_frame(bytes: &Bytes, from: usize, number: u64) -> Option<(usize, u64)> {
    let mut at = from.next_multiple_of(8);
    while at + FRAME_HEADER_LEN <= bytes.len() {
        if let Some(header) = record::decode_frame_header(&bytes[at..], number)
            && record::decode_record(&bytes.slice(at + FRAME_HEADER_LEN..)).is_ok()
        {
            return Some((at, header.sequence));
        }
        at += 8;
    }
    None
}

/// Whether the bytes behind the last frame hold anything of this use of the file, where frame `due` was to come; a recycled
/// file is full of older frames, which mean nothing and need no zeroing.
fn has_own_garbage(bytes: &[u8], number: u64, due: u64) -> bool {
    record::decode_frame_header(bytes, number).is_some() || record::is_broken_frame_header(bytes, number, due)
}

async fn trim(segment: &Segment, from: u64) -> io::Result<()> {
    let len = segment.file.size().await?;
    let zeroes = vec![0; usize::try_from(len - from).unwrap_or(usize::MAX)];
    segment.file.write_at(from, &zeroes).await?;
    segment.file.sync_data().await
}

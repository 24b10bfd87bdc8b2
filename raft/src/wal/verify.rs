//! Looks through all files of a log for bytes that cannot be vouched for, and goes on behind each.
//!
//! Opening a log stops at the first thing that is wrong. This finds everything, by the same rules, and changes nothing.

use super::manifest::{Extent, MANIFEST_NAME, Slots};
use super::record::{self, FRAME_HEADER_LEN, RecordBody};
use super::recover::later_frame;
use super::segment::{self, BadHeader, SEGMENT_HEADER_LEN};
use super::stamp::{BadStamp, Owner};
use crate::verify::{Finding, Report};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use vestibule_engine::GroupId;

/// What the records of a group have said so far.
#[derive(Default)]
struct Known {
    /// The chain value due next; unknown behind damage and at the beginning of a log whose first segments were dropped.
    link: Option<u64>,
    next_index: Option<u64>,
}

struct Walk<'a> {
    file: String,
    number: u64,
    groups: &'a mut BTreeMap<GroupId, Known>,
    next_sequence: &'a mut Option<u64>,
    report: &'a mut Report,
}

/// Looks through the log in `directory`. Without an owner, whose the files are is not checked.
pub(crate) fn verify(directory: &Path, owner: Option<Owner>, report: &mut Report) -> io::Result<Option<Owner>> {
    let manifest_path = directory.join(MANIFEST_NAME);
    let bytes = match std::fs::read(&manifest_path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report.add(Finding::damage(in_log(MANIFEST_NAME), "the manifest of the log is missing"));
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let owner = owner.or_else(|| owner_of(&bytes));
    let Some(owner) = owner else {
        report.add(Finding::damage(in_log(MANIFEST_NAME), "nothing says whose log this is"));
        return Ok(None);
    };
    let extent = verify_manifest(&bytes, owner, report);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(segment::parse_segment_name));
    }
    numbers.sort_unstable();
    let listed = extent.map_or_else(|| numbers.clone(), |extent| (extent.oldest..=extent.newest).collect());
    let mut groups = BTreeMap::new();
    let mut next_sequence = (listed.first() == Some(&1)).then_some(1);
    for &number in &listed {
        let file = in_log(&segment::segment_name(number));
        if !numbers.contains(&number) {
            report.add(Finding::damage(file, "the segment is missing"));
            next_sequence = None;
            groups.values_mut().for_each(|known| *known = Known::default());
            continue;
        }
        let bytes = Bytes::from(std::fs::read(directory.join(segment::segment_name(number)))?);
        report.segments += 1;
        let mut walk =
            Walk { file, number, groups: &mut groups, next_sequence: &mut next_sequence, report: &mut *report };
        let is_last = Some(&number) == listed.last();
        walk.segment(&bytes, owner, listed[0], is_last, extent.map_or(0, |extent| extent.synced));
    }
    for (group, known) in groups {
        let purged = report.purged.get(&group).map(|purged| purged + 1);
        if let Some(end) = known.next_index.max(purged).filter(|_| known.link.is_some()) {
            report.log_ends.insert(group, end);
        }
    }
    for number in numbers.into_iter().filter(|number| !listed.contains(number)) {
        let file = in_log(&segment::segment_name(number));
        let was_next = extent.is_none_or(|extent| number == extent.newest + 1);
        let was_first = extent.is_none_or(|extent| number < extent.oldest);
        let bytes = Bytes::from(std::fs::read(directory.join(segment::segment_name(number)))?);
        let frame = later_frame(&bytes, SEGMENT_HEADER_LEN as usize, number);
        if was_first || (was_next && frame.is_none()) {
            report.add(Finding::note(file, "the segment was being begun or dropped, and is not part of the log"));
        } else {
            let offset = frame.map_or(0, |(at, _)| at as u64);
            report.add(Finding { offset: Some(offset), ..Finding::damage(file, "the manifest does not list it") });
        }
    }
    Ok(Some(owner))
}

fn in_log(name: &str) -> String {
    format!("wal/{name}")
}

/// Whose the manifest says that it is.
fn owner_of(manifest: &[u8]) -> Option<Owner> {
    let nobody = Owner { cluster: 0, node: 0, incarnation: 0 };
    Slots::decode(manifest, nobody).0.into_iter().find_map(|slot| match slot {
        Err(BadStamp::Foreign(found)) => Some(found),
        _ => None,
    })
}

fn describe(bad: BadStamp, owner: Owner) -> String {
    match bad {
        BadStamp::Blank => "it was never written".to_owned(),
        BadStamp::Damaged => "it is not what was written".to_owned(),
        BadStamp::OtherFormat(found) => format!("it has the unknown format {found}"),
        BadStamp::Foreign(found) => format!("it belongs to {found}; this is {owner}"),
    }
}

fn verify_manifest(bytes: &[u8], owner: Owner, report: &mut Report) -> Option<Extent> {
    if bytes.is_empty() {
        return None;
    }
    let slots = Slots::decode(bytes, owner);
    for (slot, offset) in slots.0.iter().zip([0, super::manifest::SLOT_LEN]) {
        if let Err(bad) = slot {
            let reason = format!("a slot of the manifest: {}", describe(*bad, owner));
            report.add(Finding { offset: Some(offset), ..Finding::damage(in_log(MANIFEST_NAME), reason) });
        }
    }
    slots.newest().ok().map(|(_, extent)| extent)
}

impl Walk<'_> {
    fn damage(&mut self, offset: usize, group: Option<GroupId>, index: Option<u64>, reason: impl Into<String>) {
        let offset = Some(offset as u64);
        self.report.add(Finding { offset, group, index, ..Finding::damage(self.file.clone(), reason) });
    }

    fn segment(&mut self, bytes: &Bytes, owner: Owner, oldest: u64, is_last: bool, synced: u64) {
        if (bytes.len() as u64) < SEGMENT_HEADER_LEN {
            self.damage(0, None, None, format!("the file has only {} bytes", bytes.len()));
            return;
        }
        match segment::check_header(bytes, self.number, owner) {
            Ok(()) => {}
            Err(BadHeader::Stamp(bad)) => self.damage(0, None, None, format!("the header: {}", describe(bad, owner))),
            Err(BadHeader::Number(found)) => self.damage(0, None, None, format!("it is segment {found:016x}")),
        }
        let mut offset = SEGMENT_HEADER_LEN as usize;
        loop {
            match self.frame(bytes, offset, oldest) {
                Ok(len) => offset += len,
                Err(reason) => match later_frame(bytes, offset + 8, self.number) {
                    Some((at, sequence)) => {
                        self.name_records(bytes, offset, at);
                        let reason = format!("{reason}, up to frame {sequence} at byte {at}");
                        self.damage(offset, None, None, reason);
                        self.forget();
                        offset = at;
                    }
                    None => break self.end(bytes, offset, &reason, is_last, synced),
                },
            }
        }
    }

    /// What lies behind the last good frame of a segment.
    fn end(&mut self, bytes: &Bytes, offset: usize, reason: &str, is_last: bool, synced: u64) {
        let was_durable = is_last && self.next_sequence.is_some_and(|next| next < synced);
        if was_durable {
            self.name_records(bytes, offset, bytes.len());
            self.damage(offset, None, None, format!("{reason}, yet a frame here had been on disk"));
            return;
        }
        let rest = &bytes[offset.min(bytes.len())..];
        // Whether a frame is missing behind a header that is none, the next segment shows.
        let is_begun = record::decode_frame_header(rest, self.number).is_some()
            || is_last && record::is_broken_frame_header(rest, self.number, self.next_sequence.unwrap_or(1));
        if is_begun {
            if is_last {
                let note = Finding::note(self.file.clone(), "a write that was not finished, or the last one, damaged");
                self.report.has_torn_tail = true;
                self.report.add(Finding { offset: Some(offset as u64), ..note });
            } else {
                self.name_records(bytes, offset, bytes.len());
                self.damage(offset, None, None, reason);
                self.forget();
            }
        }
    }

    /// Behind damage, chains and numbers begin anew.
    fn forget(&mut self) {
        *self.next_sequence = None;
        self.groups.values_mut().for_each(|known| *known = Known::default());
    }

    /// Names each record of a bad frame whose header can still be read.
    fn name_records(&mut self, bytes: &Bytes, offset: usize, end: usize) {
        let Some(header) = record::decode_frame_header(&bytes[offset.min(bytes.len())..], self.number) else { return };
        let mut at = offset + FRAME_HEADER_LEN;
        for _ in 0..header.record_count {
            let rest = bytes.slice(at.min(end)..end.min(bytes.len()));
            let Some(len) = record::claimed_len(&rest) else { return };
            if let Err(malformed) = record::decode_record(&rest) {
                let (group, index) = record::claimed_place(&rest);
                self.damage(at, Some(group), index, malformed.0);
            }
            at += len;
        }
    }

    /// Checks one frame; gives its length, or why it is none.
    fn frame(&mut self, bytes: &Bytes, offset: usize, oldest: u64) -> Result<usize, String> {
        let header = record::decode_frame_header(&bytes[offset.min(bytes.len())..], self.number)
            .ok_or_else(|| "there is no frame".to_owned())?;
        let start = offset + FRAME_HEADER_LEN;
        let end = start.saturating_add(header.body_len);
        if end > bytes.len() {
            return Err("a frame is longer than its segment".to_owned());
        }
        let mut records = Vec::new();
        let mut at = start;
        for _ in 0..header.record_count {
            let (record, len, link) = record::decode_record(&bytes.slice(at..end)).map_err(|malformed| malformed.0)?;
            records.push((at, record, link));
            at += len;
        }
        if at != end {
            return Err("a frame's length is wrong".to_owned());
        }
        if let Some(due) = *self.next_sequence
            && due != header.sequence
        {
            self.damage(offset, None, None, format!("frame {} stands where frame {due} is due", header.sequence));
        }
        *self.next_sequence = Some(header.sequence + 1);
        self.report.frames += 1;
        for (at, record, link) in records {
            self.report.records += 1;
            if let RecordBody::Purge(upto) = &record.body {
                let purged = self.report.purged.entry(record.group).or_default();
                *purged = upto.index.max(*purged);
            }
            let is_first = !self.groups.contains_key(&record.group);
            let known = self.groups.entry(record.group).or_default();
            let due = known.link.or((is_first && oldest == 1).then_some(0));
            let is_linked = due.is_none_or(|due| due == record.link);
            known.link = Some(link);
            let (index, due_index) = match &record.body {
                RecordBody::Entry(position, _) => (Some(position.index), known.next_index.replace(position.index + 1)),
                RecordBody::Truncate(last) => {
                    known.next_index = known.next_index.map(|_| last.map_or(0, |last| last.index + 1));
                    (None, None)
                }
                // A purge ahead of the log empties it.
                RecordBody::Purge(upto) if known.next_index.is_none_or(|next| next <= upto.index) => {
                    known.next_index = None;
                    (None, None)
                }
                RecordBody::Purge(_) | RecordBody::Vote(_) | RecordBody::Committed(_) => (None, None),
            };
            if !is_linked {
                self.damage(at, Some(record.group), index, "the record does not follow the one before it");
            }
            if let (Some(index), Some(due)) = (index, due_index)
                && index != due
            {
                self.damage(at, Some(record.group), Some(index), format!("entry {due} is due here"));
            }
        }
        Ok(end - offset)
    }
}

//! Segment files: names, headers, and the zeroed files they are made from.

use super::stamp::{self, BadStamp, Owner};
use crate::seams::{Disk, DiskFile};
use std::io;
use std::sync::Arc;
use vestibule_engine::planted::{self, Bug};

/// Frames begin behind the header, which has a page of its own.
pub(crate) const SEGMENT_HEADER_LEN: u64 = 4096;
const MAGIC: [u8; 8] = *b"VSTBWALS";
const NAME_SUFFIX: &str = ".wal";
/// A zeroed file that waits to become a segment.
pub(crate) const SPARE_NAME: &str = "spare";
/// A segment being made without a spare: a file with a segment's name has a segment's length.
const SEGMENT_DRAFT_NAME: &str = "segment.draft";
/// A file being made.
const DRAFT_SUFFIX: &str = ".draft";

pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}{NAME_SUFFIX}")
}

pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_SUFFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

pub(crate) fn encode_header(number: u64, owner: Owner) -> Vec<u8> {
    stamp::encode(MAGIC, owner, &[number])
}

/// Checks the header of a segment that is known to have been begun.
pub(crate) fn check_header(bytes: &[u8], number: u64, owner: Owner) -> Result<(), BadHeader> {
    let [found] = stamp::decode(MAGIC, owner, bytes).map_err(BadHeader::Stamp)?;
    if found == number { Ok(()) } else { Err(BadHeader::Number(found)) }
}

/// Why a segment's header is not what it should be.
pub(crate) enum BadHeader {
    /// It is none, or of another owner.
    Stamp(BadStamp),
    /// It is of this other segment.
    Number(u64),
}

/// An open segment.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// Turns the spare file, or else a new one, into segment `number`: named, headed and durable.
pub(crate) async fn make_segment(disk: &dyn Disk, number: u64, owner: Owner, len: u64) -> io::Result<Segment> {
    let name = segment_name(number);
    let names = disk.list().await?;
    let is_there = |wanted: &str| names.iter().any(|name| name == wanted);
    let spare = if is_there(SPARE_NAME) { Some(disk.open(SPARE_NAME).await?) } else { None };
    let file = match spare {
        Some(spare) if spare.size().await? == len => {
            disk.rename(SPARE_NAME, &name).await?;
            // Opened by its new name: another spare may have taken the place of the one looked at.
            disk.open(&name).await?
        }
        // None, or one from when segments had another length.
        _ => {
            if is_there(SEGMENT_DRAFT_NAME) {
                disk.remove(SEGMENT_DRAFT_NAME).await?;
            }
            let file = disk.create(SEGMENT_DRAFT_NAME, len).await?;
            file.sync_data().await?;
            disk.rename(SEGMENT_DRAFT_NAME, &name).await?;
            file
        }
    };
    file.write_at(0, &encode_header(number, owner)).await?;
    file.sync_data().await?;
    if !planted::is(Bug::SkipDirectorySync) {
        disk.sync_directory().await?;
    }
    Ok(Segment { number, file })
}

/// Whether there is a file of this name and length.
pub(crate) async fn has_file(disk: &dyn Disk, name: &str, len: u64) -> io::Result<bool> {
    if !disk.list().await?.iter().any(|there| there == name) {
        return Ok(false);
    }
    match disk.open(name).await {
        Ok(file) => Ok(file.size().await? == len),
        // The syncer has made a segment of it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes sure that a file of zeroes with this name and length is there. Gives the reason if there is no room for it.
pub(crate) async fn keep_file(disk: &dyn Disk, name: &str, len: u64) -> io::Result<()> {
    if has_file(disk, name, len).await? {
        return Ok(());
    }
    let draft = format!("{name}{DRAFT_SUFFIX}");
    if disk.list().await?.contains(&draft) {
        disk.remove(&draft).await?;
    }
    disk.create(&draft, len).await?.sync_data().await?;
    disk.rename(&draft, name).await?;
    disk.sync_directory().await
}

//! Segment files: names, headers, and the zeroed files they are made from.

use crate::seams::{Disk, DiskFile};
use std::io;
use std::sync::Arc;

/// Frames begin behind the header, which has a page of its own.
pub(crate) const SEGMENT_HEADER_LEN: u64 = 4096;
const HEADER_USED_LEN: usize = 40;
const MAGIC: &[u8; 8] = b"VSTBWAL1";
const NAME_SUFFIX: &str = ".wal";
/// A zeroed file that waits to become a segment.
pub(crate) const SPARE_NAME: &str = "spare";
/// A segment being made without a spare: a file with a segment's name has a segment's length.
const SEGMENT_DRAFT_NAME: &str = "segment.draft";
/// A spare being made.
pub(crate) const SPARE_DRAFT_NAME: &str = "spare.draft";

/// Whose log it is: stands in every segment, so that a file from another node or cluster is never taken for our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// A hash of the cluster's name.
    pub cluster: u64,
    /// The node id.
    pub node: u64,
}

pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:016x}{NAME_SUFFIX}")
}

pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(NAME_SUFFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

pub(crate) fn encode_header(number: u64, owner: Owner) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_USED_LEN);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&number.to_le_bytes());
    header.extend_from_slice(&owner.cluster.to_le_bytes());
    header.extend_from_slice(&owner.node.to_le_bytes());
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header
}

/// Why a segment's header is not what it should be.
pub(crate) enum BadHeader {
    /// Never written whole: the segment was being made when the node stopped.
    Unwritten,
    /// Of another node or cluster.
    Foreign(Owner),
    /// Written once, and changed since.
    Damaged,
}

pub(crate) fn check_header(bytes: &[u8], number: u64, owner: Owner) -> Result<(), BadHeader> {
    let expected = encode_header(number, owner);
    if bytes[..HEADER_USED_LEN] == expected[..] {
        return Ok(());
    }
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"));
    let found = Owner { cluster: word(16), node: word(24) };
    if bytes[..HEADER_USED_LEN] == encode_header(word(8), found)[..] {
        // A whole header. A recycled file that was renamed but not yet given its new header has an older number.
        return Err(if found != owner { BadHeader::Foreign(found) } else { BadHeader::Unwritten });
    }
    Err(if bytes[..HEADER_USED_LEN].iter().all(|&byte| byte == 0) { BadHeader::Unwritten } else { BadHeader::Damaged })
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
            spare
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
    disk.sync_directory().await?;
    Ok(Segment { number, file })
}

/// Makes the spare file if there is none, so that the next segment costs a rename.
pub(crate) async fn make_spare(disk: &dyn Disk, len: u64) -> io::Result<()> {
    let names = disk.list().await?;
    if names.iter().any(|name| name == SPARE_NAME) {
        return Ok(());
    }
    if names.iter().any(|name| name == SPARE_DRAFT_NAME) {
        disk.remove(SPARE_DRAFT_NAME).await?;
    }
    disk.create(SPARE_DRAFT_NAME, len).await?.sync_data().await?;
    disk.rename(SPARE_DRAFT_NAME, SPARE_NAME).await?;
    disk.sync_directory().await
}

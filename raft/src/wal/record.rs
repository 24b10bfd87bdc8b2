//! The bytes of the log: frames of records.
//!
//! ```text
//! frame   magic u32 | crc u32 | segment u64 | sequence u64 | body length u32 | record count u32 | records…
//! record  payload length u32 | crc u32 | group u32 | kind u8, 3 zero | index u64 | term u64 | node u64 | link u64
//!         | payload | zeroes up to a multiple of 8
//! ```
//!
//! Integers are little endian. A frame is what one sync makes durable: it is written only after the sync of the frame
//! before it has returned, so a frame that is there proves that all earlier ones were durable. The crc of a frame covers
//! the rest of its header; the crc of a record covers the rest of the record. `link` chains the records of a group: it is
//! made from the record before it.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use vestibule_engine::GroupId;
use vestibule_engine::planted::{self, Bug};

/// The position of an entry in the log of a group, with the leadership that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The term of the leader.
    pub term: u64,
    /// The leader's node id.
    pub node: u64,
    /// The index of the entry.
    pub index: u64,
}

/// A vote as it is kept in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ballot {
    /// The term voted in.
    pub term: u64,
    /// The node voted for.
    pub node: u64,
    /// Whether a quorum has granted it.
    pub committed: bool,
}

/// What a log entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryBody {
    /// Nothing: a leader's first entry.
    Blank,
    /// A batch of commands.
    Batch(Bytes),
    /// An encoded membership configuration.
    Membership(Bytes),
}

impl EntryBody {
    /// The same with bytes of its own.
    pub(crate) fn copied(&self) -> Self {
        match self {
            EntryBody::Blank => EntryBody::Blank,
            EntryBody::Batch(bytes) => EntryBody::Batch(Bytes::copy_from_slice(bytes)),
            EntryBody::Membership(bytes) => EntryBody::Membership(Bytes::copy_from_slice(bytes)),
        }
    }

    /// The bytes it carries.
    pub fn bytes(&self) -> &[u8] {
        match self {
            EntryBody::Blank => &[],
            EntryBody::Batch(bytes) | EntryBody::Membership(bytes) => bytes,
        }
    }
}

/// One thing that the log remembers of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordBody {
    /// An entry of the Raft log.
    Entry(LogPosition, EntryBody),
    /// The vote from here on.
    Vote(Ballot),
    /// What is known to be committed from here on.
    Committed(Option<LogPosition>),
    /// Entries behind this one are void.
    Truncate(Option<LogPosition>),
    /// Entries up to this one are no longer needed.
    Purge(LogPosition),
}

const KIND_BLANK: u8 = 1;
const KIND_BATCH: u8 = 2;
const KIND_MEMBERSHIP: u8 = 3;
const KIND_VOTE: u8 = 4;
const KIND_COMMITTED: u8 = 5;
const KIND_TRUNCATE: u8 = 6;
const KIND_PURGE: u8 = 7;

/// A record and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The group whose record it is.
    pub(crate) group: GroupId,
    /// The chain value of the record before it in the group; 0 at the first.
    pub(crate) link: u64,
    /// What it says.
    pub(crate) body: RecordBody,
}

/// Length of a frame's header, in bytes.
pub(crate) const FRAME_HEADER_LEN: usize = 32;
/// Length of a record's header, in bytes.
pub(crate) const RECORD_HEADER_LEN: usize = 48;
const FRAME_MAGIC: u32 = 0x4c57_5356;

/// Bytes that are no frame or record; says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// The length of a record in the log, with its padding.
pub(crate) fn record_len(payload_len: usize) -> usize {
    RECORD_HEADER_LEN + payload_len.next_multiple_of(8)
}

/// The length of the payload of `body`.
pub(crate) fn payload_len(body: &RecordBody) -> usize {
    match body {
        RecordBody::Entry(_, entry) => entry.bytes().len(),
        RecordBody::Vote(_) | RecordBody::Committed(_) | RecordBody::Truncate(_) => 1,
        RecordBody::Purge(_) => 0,
    }
}

/// Appends the record to `out` and returns the chain value that the group's next record carries.
pub(crate) fn encode_record(group: GroupId, link: u64, body: &RecordBody, out: &mut Vec<u8>) -> u64 {
    let none = LogPosition { term: 0, node: 0, index: 0 };
    let one_byte: [u8; 1];
    let (kind, position, payload): (u8, LogPosition, &[u8]) = match body {
        RecordBody::Entry(position, entry) => {
            let kind = match entry {
                EntryBody::Blank => KIND_BLANK,
                EntryBody::Batch(_) => KIND_BATCH,
                EntryBody::Membership(_) => KIND_MEMBERSHIP,
            };
            (kind, *position, entry.bytes())
        }
        RecordBody::Vote(ballot) => {
            one_byte = [u8::from(ballot.committed)];
            (KIND_VOTE, LogPosition { term: ballot.term, node: ballot.node, index: 0 }, &one_byte)
        }
        RecordBody::Committed(position) => {
            one_byte = [u8::from(position.is_some())];
            (KIND_COMMITTED, position.unwrap_or(none), &one_byte)
        }
        RecordBody::Truncate(position) => {
            one_byte = [u8::from(position.is_some())];
            (KIND_TRUNCATE, position.unwrap_or(none), &one_byte)
        }
        RecordBody::Purge(position) => (KIND_PURGE, *position, &[]),
    };
    let start = out.len();
    let payload_len = u32::try_from(payload.len()).expect("an entry is bounded far below 4 GiB by the proposer");
    out.extend_from_slice(&payload_len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&group.0.to_le_bytes());
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&position.index.to_le_bytes());
    out.extend_from_slice(&position.term.to_le_bytes());
    out.extend_from_slice(&position.node.to_le_bytes());
    out.extend_from_slice(&link.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(start + record_len(payload.len()), 0);
    let crc = record_crc(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    next_link(link, crc, &position)
}

fn record_crc(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..4]), &record[8..])
}

fn next_link(link: u64, crc: u32, position: &LogPosition) -> u64 {
    let mut hash = Sha256::new();
    hash.update(link.to_le_bytes());
    hash.update(crc.to_le_bytes());
    hash.update(position.index.to_le_bytes());
    hash.update(position.term.to_le_bytes());
    let digest = hash.finalize();
    u64::from_le_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"))
}

/// Decodes the record at the start of `bytes`: the record, its length, and the next chain value of its group.
pub(crate) fn decode_record(bytes: &Bytes) -> Result<(Record, usize, u64), Malformed> {
    let malformed = |reason: &str| Malformed(reason.to_owned());
    if bytes.len() < RECORD_HEADER_LEN {
        return Err(malformed("a record is cut short"));
    }
    let payload_len = read_u32(bytes, 0) as usize;
    let len = RECORD_HEADER_LEN + payload_len.next_multiple_of(8);
    if bytes.len() < len {
        return Err(malformed("a record is cut short"));
    }
    let crc = read_u32(bytes, 4);
    if crc != record_crc(&bytes[..len]) && !planted::is(Bug::IgnoreLogChecksums) {
        return Err(malformed("a record's checksum is wrong"));
    }
    let group = GroupId(read_u32(bytes, 8));
    let position = LogPosition { index: read_u64(bytes, 16), term: read_u64(bytes, 24), node: read_u64(bytes, 32) };
    let link = read_u64(bytes, 40);
    let payload = bytes.slice(RECORD_HEADER_LEN..RECORD_HEADER_LEN + payload_len);
    let flag = payload.first().copied() == Some(1);
    let body = match bytes[12] {
        KIND_BLANK => RecordBody::Entry(position, EntryBody::Blank),
        KIND_BATCH => RecordBody::Entry(position, EntryBody::Batch(payload)),
        KIND_MEMBERSHIP => RecordBody::Entry(position, EntryBody::Membership(payload)),
        KIND_VOTE => RecordBody::Vote(Ballot { term: position.term, node: position.node, committed: flag }),
        KIND_COMMITTED => RecordBody::Committed(flag.then_some(position)),
        KIND_TRUNCATE => RecordBody::Truncate(flag.then_some(position)),
        KIND_PURGE => RecordBody::Purge(position),
        kind => return Err(Malformed(format!("a record has the unknown kind {kind}"))),
    };
    Ok((Record { group, link, body }, len, next_link(link, crc, &position)))
}

/// How long the record at the start of `bytes` says that it is, if there is room for it.
pub(crate) fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let len = record_len(read_u32(bytes.get(..RECORD_HEADER_LEN)?, 0) as usize);
    (len <= bytes.len()).then_some(len)
}

/// The group of a record that may be damaged, and the index of the entry, if it says that it is one.
pub(crate) fn claimed_place(bytes: &[u8]) -> (GroupId, Option<u64>) {
    let is_entry = matches!(bytes[12], KIND_BLANK | KIND_BATCH | KIND_MEMBERSHIP);
    (GroupId(read_u32(bytes, 8)), is_entry.then(|| read_u64(bytes, 16)))
}

/// Makes the header of a frame whose records are `body`.
pub(crate) fn encode_frame_header(
    segment: u64,
    sequence: u64,
    record_count: u32,
    body_len: usize,
) -> [u8; FRAME_HEADER_LEN] {
    let mut header = [0; FRAME_HEADER_LEN];
    let body_len = u32::try_from(body_len).expect("a frame is bounded by its segment, far below 4 GiB");
    header[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    header[8..16].copy_from_slice(&segment.to_le_bytes());
    header[16..24].copy_from_slice(&sequence.to_le_bytes());
    header[24..28].copy_from_slice(&body_len.to_le_bytes());
    header[28..32].copy_from_slice(&record_count.to_le_bytes());
    let crc = crc32c::crc32c(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Its place among all frames of the log: 1, 2, 3 …
    pub(crate) sequence: u64,
    /// Length of its records.
    pub(crate) body_len: usize,
    /// How many records it has.
    pub(crate) record_count: u32,
}

/// Reads a frame's header, `None` when there is none of this segment.
pub(crate) fn decode_frame_header(bytes: &[u8], segment: u64) -> Option<FrameHeader> {
    if bytes.len() < FRAME_HEADER_LEN || read_u32(bytes, 0) != FRAME_MAGIC {
        return None;
    }
    let is_right = read_u32(bytes, 4) == crc32c::crc32c(&bytes[8..FRAME_HEADER_LEN]);
    if !is_right && !planted::is(Bug::IgnoreLogChecksums) || read_u64(bytes, 8) != segment {
        return None;
    }
    Some(FrameHeader {
        sequence: read_u64(bytes, 16),
        body_len: read_u32(bytes, 24) as usize,
        record_count: read_u32(bytes, 28),
    })
}

/// Whether what is here was begun as the header of frame `due` of this segment, and is none: of what an earlier use of the file
/// left behind, only the magic number is the same.
pub(crate) fn is_broken_frame_header(bytes: &[u8], segment: u64, due: u64) -> bool {
    if bytes.len() < FRAME_HEADER_LEN || decode_frame_header(bytes, segment).is_some() {
        return false;
    }
    let agrees = [read_u32(bytes, 0) == FRAME_MAGIC, read_u64(bytes, 8) == segment, read_u64(bytes, 16) == due];
    agrees.into_iter().filter(|agrees| *agrees).count() >= 2
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were asked for"))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were asked for"))
}

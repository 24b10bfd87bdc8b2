//! The file of a backup.
//!
//! ```text
//! magic, version
//! head      which cluster, when, how many groups
//! group     g0: the entry that it stands at            ┐
//! rows      …                                          │ once for each group, in order
//! end       how many rows, and their digest            ┘
//! trailer   how much there was in all, and SHA-256 of everything before
//! ```
//!
//! Everything behind the version lies in frames: kind, length, number of the frame, checksum of these; payload, checksum
//! of the payload. Numbers are little-endian. A flipped byte is found where it is and called by name; a frame that is
//! missing, or there twice, breaks the count; what is cut off at the end is missed.

use crate::wal::LogPosition;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::{self, Read, Write};
use vestibule_engine::{GroupId, Row, RowDigest, Timestamp, codec};

const MAGIC: [u8; 8] = *b"VESTBKUP";
/// The version of the format.
const VERSION: u32 = 1;
/// Kind, length, number and checksum.
const FRAME_HEAD_LEN: usize = 1 + 4 + 8 + 4;
/// The longest payload. A page of rows ends with the first row beyond its length, and the longest rows are pieces of
/// plans: far below this.
const PAYLOAD_LEN_MAX: usize = 64 << 20;

/// What stands at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHead {
    /// The cluster that it was taken from.
    pub cluster: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// How many shard groups there are; the directory comes in addition.
    pub groups: u32,
}

/// What is known of a group once its rows are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEnd {
    /// Number of rows.
    pub row_count: u64,
    /// The digest of the state that the rows are.
    pub digest: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct StoredGroup {
    group: u32,
    /// Term, node and index.
    last: Option<(u64, u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Trailer {
    row_count: u64,
    /// Frames before this one.
    frame_count: u64,
    sha256: [u8; 32],
}

/// Where a group stood when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHead {
    /// Which group.
    pub group: GroupId,
    /// The last entry that the rows contain.
    pub last: Option<LogPosition>,
}

/// Why a file is not a backup that can be relied on. Says where it is bad.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is not a backup of Vestibule")]
    NotABackup,
    /// It was written by a later version.
    #[error("it has the format {0}, which this version does not know")]
    Version(u32),
    /// Something is missing at its end.
    #[error("it is cut short in {part}, at byte {at}")]
    CutShort {
        /// What was being read.
        part: String,
        /// Where the part begins.
        at: u64,
    },
    /// Something in it is not what was written.
    #[error("{part}, at byte {at}, is damaged: {reason}")]
    Damaged {
        /// What was being read.
        part: String,
        /// Where the part begins.
        at: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// All is as it was written, and makes no sense.
    #[error("{group} cannot be made of it: {reason}")]
    Unsound {
        /// Which group.
        group: GroupId,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head = 1,
    Group = 2,
    Rows = 3,
    End = 4,
    Trailer = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Head, Self::Group, Self::Rows, Self::End, Self::Trailer].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Writes a backup.
pub struct BackupWriter<W> {
    out: W,
    state: Written,
}

/// What has been written so far. A group that came only in part is taken back to where it began.
#[derive(Clone)]
pub struct Written {
    /// Bytes.
    pub len: u64,
    frames: u64,
    rows: u64,
    hash: Sha256,
    group_rows: u64,
    group_digest: RowDigest,
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup.
    pub fn new(out: W, head: &BackupHead) -> io::Result<Self> {
        let state = Written {
            len: 0,
            frames: 0,
            rows: 0,
            hash: Sha256::new(),
            group_rows: 0,
            group_digest: RowDigest::default(),
        };
        let mut writer = Self { out, state };
        writer.write(&MAGIC)?;
        writer.write(&VERSION.to_le_bytes())?;
        writer.frame(Kind::Head, &codec::encode(head))?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.state.hash.update(bytes);
        self.state.len += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn frame(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        if payload.len() > PAYLOAD_LEN_MAX {
            return Err(io::Error::other(format!("{} bytes are too many for one frame", payload.len())));
        }
        let head = frame_head(kind, payload.len(), self.state.frames);
        self.write(&head)?;
        self.write(payload)?;
        self.write(&crc32c::crc32c(payload).to_le_bytes())?;
        self.state.frames += 1;
        Ok(())
    }

    /// Where it is now.
    pub fn mark(&self) -> Written {
        self.state.clone()
    }

    /// Goes on from `mark`, once `cut` has cut the output back to there.
    pub fn rewind(&mut self, mark: Written, cut: impl FnOnce(&mut W, u64) -> io::Result<()>) -> io::Result<()> {
        cut(&mut self.out, mark.len)?;
        self.state = mark;
        Ok(())
    }

    /// Begins the next group.
    pub fn begin_group(&mut self, head: &GroupHead) -> io::Result<()> {
        (self.state.group_rows, self.state.group_digest) = (0, RowDigest::default());
        let last = head.last.map(|last| (last.term, last.node, last.index));
        let stored = StoredGroup { group: head.group.0, last };
        self.frame(Kind::Group, &codec::encode(&stored))
    }

    /// Takes rows of the group, in key order.
    pub fn rows(&mut self, rows: &[Row]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            self.state.group_digest.add(row);
        }
        self.state.group_rows += rows.len() as u64;
        self.state.rows += rows.len() as u64;
        let mut payload = Vec::with_capacity(rows.iter().map(|row| 8 + row.key.len() + row.value.len()).sum());
        for row in rows {
            for bytes in [&row.key, &row.value] {
                let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
                payload.extend_from_slice(&len.to_le_bytes());
                payload.extend_from_slice(bytes);
            }
        }
        self.frame(Kind::Rows, &payload)
    }

    /// Ends the group.
    pub fn end_group(&mut self) -> io::Result<GroupEnd> {
        let digest = std::mem::take(&mut self.state.group_digest).finish();
        let end = GroupEnd { row_count: self.state.group_rows, digest };
        self.frame(Kind::End, &codec::encode(&end))?;
        Ok(end)
    }

    /// Ends the backup and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        let Written { rows, frames, hash, .. } = self.state.clone();
        let trailer = Trailer { row_count: rows, frame_count: frames, sha256: hash.finalize().into() };
        self.frame(Kind::Trailer, &codec::encode(&trailer))?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn frame_head(kind: Kind, len: usize, number: u64) -> [u8; FRAME_HEAD_LEN] {
    let mut head = [0; FRAME_HEAD_LEN];
    head[0] = kind as u8;
    head[1..5].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    head[5..13].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&head[..13]);
    head[13..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// What comes next in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A group begins.
    Group(GroupHead),
    /// Rows of it.
    Rows(Vec<Row>),
    /// It ends; its rows were as many as were written, and the same.
    End(GroupEnd),
}

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// This group, or the trailer if there is none of this number.
    Group(u32),
    /// Rows of this group, or its end.
    Rows(u32),
    Nothing,
}

impl fmt::Display for Due {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(group) => write!(out, "the beginning of {}", GroupId(*group)),
            Self::Rows(group) => write!(out, "the rows of {}", GroupId(*group)),
            Self::Nothing => out.write_str("what follows the trailer"),
        }
    }
}

/// Reads a backup, part by part, and trusts nothing in it.
pub struct BackupReader<R> {
    input: R,
    head: BackupHead,
    due: Due,
    state: Written,
}

impl<R: Read> BackupReader<R> {
    /// Reads the beginning.
    pub fn open(input: R) -> Result<Self, BackupError> {
        let state = Written {
            len: 0,
            frames: 0,
            rows: 0,
            hash: Sha256::new(),
            group_rows: 0,
            group_digest: RowDigest::default(),
        };
        let head = BackupHead { cluster: String::new(), begun_at: Timestamp(0), groups: 0 };
        let mut reader = Self { input, head, due: Due::Group(0), state };
        let mut magic = [0; 8];
        reader.read(&mut magic, "the first bytes", 0)?;
        if magic != MAGIC {
            return Err(BackupError::NotABackup);
        }
        let mut version = [0; 4];
        reader.read(&mut version, "the first bytes", 0)?;
        if u32::from_le_bytes(version) != VERSION {
            return Err(BackupError::Version(u32::from_le_bytes(version)));
        }
        let frame = reader.frame("the head")?;
        if frame.kind != Kind::Head {
            return Err(frame.damaged("it is not there"));
        }
        reader.head = frame.decode()?;
        Ok(reader)
    }

    /// What stands at the beginning.
    pub fn head(&self) -> &BackupHead {
        &self.head
    }

    /// The next part; nothing when the backup has come to its end, whole.
    pub fn next_part(&mut self) -> Result<Option<Part>, BackupError> {
        let due = self.due;
        match due {
            Due::Nothing => return Ok(None),
            Due::Group(group) if group > self.head.groups => return self.trailer(),
            Due::Group(_) | Due::Rows(_) => {}
        }
        let frame = self.frame(&due.to_string())?;
        match (due, frame.kind) {
            (Due::Group(group), Kind::Group) => {
                let stored: StoredGroup = frame.decode()?;
                if stored.group != group {
                    return Err(frame.damaged(format!("{} is there instead", GroupId(stored.group))));
                }
                (self.state.group_rows, self.state.group_digest) = (0, RowDigest::default());
                self.due = Due::Rows(group);
                let last = stored.last.map(|(term, node, index)| LogPosition { term, node, index });
                Ok(Some(Part::Group(GroupHead { group: GroupId(group), last })))
            }
            (Due::Rows(_), Kind::Rows) => {
                let rows = unpack_rows(&frame.payload).ok_or_else(|| frame.damaged("the rows have other lengths"))?;
                rows.iter().for_each(|row| self.state.group_digest.add(row));
                self.state.group_rows += rows.len() as u64;
                self.state.rows += rows.len() as u64;
                Ok(Some(Part::Rows(rows)))
            }
            (Due::Rows(group), Kind::End) => {
                let end: GroupEnd = frame.decode()?;
                let digest = std::mem::take(&mut self.state.group_digest).finish();
                let found = GroupEnd { row_count: self.state.group_rows, digest };
                if found != end {
                    let (found, written) = (found.row_count, end.row_count);
                    return Err(
                        frame.damaged(format!("other rows, {found} of them, are there than the {written} written"))
                    );
                }
                self.due = Due::Group(group + 1);
                Ok(Some(Part::End(end)))
            }
            (_, kind) => Err(frame.damaged(format!("{kind:?} is there instead"))),
        }
    }

    fn trailer(&mut self) -> Result<Option<Part>, BackupError> {
        let Written { rows, frames, hash, .. } = self.state.clone();
        let frame = self.frame("the trailer")?;
        if frame.kind != Kind::Trailer {
            return Err(frame.damaged("it is not there"));
        }
        let found = Trailer { row_count: rows, frame_count: frames, sha256: hash.finalize().into() };
        if frame.decode::<Trailer>()? != found {
            return Err(frame.damaged("what comes before is not what was written"));
        }
        let at = self.state.len;
        self.due = Due::Nothing;
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    let reason = "nothing was written there".to_owned();
                    return Err(BackupError::Damaged { part: Due::Nothing.to_string(), at, reason });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8], part: &str, at: u64) -> Result<(), BackupError> {
        match self.input.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(BackupError::CutShort { part: part.to_owned(), at });
            }
            Err(error) => return Err(error.into()),
        }
        self.state.hash.update(&*bytes);
        self.state.len += bytes.len() as u64;
        Ok(())
    }

    fn frame(&mut self, part: &str) -> Result<Frame, BackupError> {
        let at = self.state.len;
        let damaged = |reason: &str| BackupError::Damaged { part: part.to_owned(), at, reason: reason.to_owned() };
        let mut head = [0; FRAME_HEAD_LEN];
        self.read(&mut head, part, at)?;
        let kind = Kind::of(head[0]).ok_or_else(|| damaged("the checksum of its head is wrong"))?;
        let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let expected = frame_head(kind, len, self.state.frames);
        if head[13..] != crc32c::crc32c(&head[..13]).to_le_bytes() || len > PAYLOAD_LEN_MAX {
            return Err(damaged("the checksum of its head is wrong"));
        }
        if head != expected {
            return Err(damaged("frames are missing before it, or too many"));
        }
        let mut payload = vec![0; len];
        self.read(&mut payload, part, at)?;
        let mut crc = [0; 4];
        self.read(&mut crc, part, at)?;
        if u32::from_le_bytes(crc) != crc32c::crc32c(&payload) {
            return Err(damaged("its checksum is wrong"));
        }
        self.state.frames += 1;
        Ok(Frame { kind, payload, part: part.to_owned(), at })
    }
}

struct Frame {
    kind: Kind,
    payload: Vec<u8>,
    part: String,
    at: u64,
}

impl Frame {
    fn damaged(&self, reason: impl Into<String>) -> BackupError {
        BackupError::Damaged { part: self.part.clone(), at: self.at, reason: reason.into() }
    }

    fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, BackupError> {
        codec::decode(&self.payload).map_err(|error| self.damaged(error.to_string()))
    }
}

fn unpack_rows(mut bytes: &[u8]) -> Option<Vec<Row>> {
    fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (taken, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        *bytes = rest;
        Some(taken)
    }
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let (key, value) = (take(&mut bytes)?.to_vec(), take(&mut bytes)?.to_vec());
        rows.push(Row { key, value });
    }
    Some(rows)
}

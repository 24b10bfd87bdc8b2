//! What is stored beside the rows, and the checksums over all of it.

use crate::types::{LogId, StoredMembership, decode_membership, encode_membership, to_log_id, to_position};
use crate::wal::{BadStamp, LogPosition, Owner, decode_stamp, encode_stamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{GroupId, Row, codec};

/// The key of the meta row; all other keys start with [`ROW_PREFIX`].
pub(super) const META_KEY: [u8; 1] = [0];
const ROW_PREFIX: u8 = 1;
const META_VERSION: u8 = 3;
/// The key in the catalog of whose checkpoints these are; all others are names of groups.
pub(super) const IDENTITY_KEY: &[u8] = b"identity";
const IDENTITY_MAGIC: [u8; 8] = *b"VSTBCKPT";

/// The row that says whose checkpoints these are.
pub(super) fn identity(owner: Owner) -> Vec<u8> {
    encode_stamp(IDENTITY_MAGIC, owner, &[])
}

pub(super) fn check_identity(identity: &[u8], owner: Owner) -> io::Result<()> {
    decode_stamp::<0>(IDENTITY_MAGIC, owner, identity).map(drop).map_err(|bad| match bad {
        BadStamp::Foreign(found) => foreign(found, owner),
        BadStamp::OtherFormat(_) | BadStamp::Blank | BadStamp::Damaged => {
            let reason = format!("the checkpoints do not say whose they are: {bad:?}");
            io::Error::new(io::ErrorKind::InvalidData, reason)
        }
    })
}

/// What a checkpoint stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointMeta {
    /// The last entry that it contains.
    pub last: Option<LogId>,
    /// The membership as of there.
    pub membership: StoredMembership,
    /// Whether it came from another node as it is, so that the log here need never have had what it contains.
    pub is_received: bool,
    /// Number of rows.
    pub row_count: u64,
    /// Sum over all rows of a hash of each.
    pub(super) digest: u128,
}

/// The stored form of [`CheckpointMeta`].
#[derive(Serialize, Deserialize)]
struct StoredMeta {
    /// Cluster, node and incarnation: rows of another node are not taken for our own.
    owner: (u64, u64, u128),
    last: Option<(u64, u64, u64)>,
    membership_at: Option<(u64, u64, u64)>,
    membership: Vec<u8>,
    is_received: bool,
    row_count: u64,
    digest: u128,
}

fn pack(id: &LogId) -> (u64, u64, u64) {
    let position = to_position(id);
    (position.term, position.node, position.index)
}

fn unpack((term, node, index): (u64, u64, u64)) -> LogId {
    to_log_id(LogPosition { term, node, index })
}

impl CheckpointMeta {
    pub(super) fn encode(&self, owner: Owner) -> Vec<u8> {
        let stored = StoredMeta {
            owner: (owner.cluster, owner.node, owner.incarnation),
            last: self.last.as_ref().map(pack),
            membership_at: self.membership.log_id().as_ref().map(pack),
            membership: encode_membership(self.membership.membership()).to_vec(),
            is_received: self.is_received,
            row_count: self.row_count,
            digest: self.digest,
        };
        let mut value = vec![META_VERSION];
        value.extend(codec::encode(&stored));
        seal(&META_KEY, &value)
    }

    pub(super) fn decode(group: GroupId, sealed: &[u8], owner: Owner) -> io::Result<Self> {
        let bytes = unseal(group, &META_KEY, sealed)?;
        let (version, bytes) = bytes.split_first().ok_or_else(|| damaged(group, "the meta row is empty"))?;
        if *version != META_VERSION {
            return Err(damaged(group, &format!("the meta row has the unknown version {version}")));
        }
        let stored: StoredMeta = codec::decode(bytes).map_err(|error| damaged(group, &error.to_string()))?;
        let (cluster, node, incarnation) = stored.owner;
        let found = Owner { cluster, node, incarnation };
        if found != owner {
            return Err(foreign(found, owner));
        }
        let membership = decode_membership(&stored.membership)?;
        Ok(Self {
            last: stored.last.map(unpack),
            membership: StoredMembership::new(stored.membership_at.map(unpack), membership),
            is_received: stored.is_received,
            row_count: stored.row_count,
            digest: stored.digest,
        })
    }

    /// The same before any row.
    pub(super) fn without_rows(&self) -> Self {
        Self { row_count: 0, digest: 0, ..self.clone() }
    }

    /// In what the rows found differ from those that should be there.
    pub(super) fn other_rows_than(&self, expected: &Self) -> String {
        match (self.row_count, expected.row_count) {
            (found, written) if found != written => format!("{found} rows are there where {written} were written"),
            (found, _) => format!("not all of its {found} rows are those that were written last"),
        }
    }

    /// Counts a row in as it is stored.
    pub(crate) fn add_row(&mut self, row: &Row) {
        let key = row_key(&row.key);
        self.add(&key, &seal(&key, &row.value));
    }

    /// The digest over all rows, for the wire.
    pub(crate) fn digest(&self) -> [u8; 16] {
        self.digest.to_le_bytes()
    }

    pub(super) fn add(&mut self, key: &[u8], sealed: &[u8]) {
        self.row_count += 1;
        self.digest = self.digest.wrapping_add(row_hash(key, sealed));
    }

    pub(super) fn subtract(&mut self, key: &[u8], sealed: &[u8]) {
        self.row_count = self.row_count.wrapping_sub(1);
        self.digest = self.digest.wrapping_sub(row_hash(key, sealed));
    }
}

/// The checkpoints are of another node. They are not damaged, so they must not be wiped either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoints belong to {found}; this is {expected}")]
pub struct ForeignCheckpoints {
    /// Whose they are.
    pub found: Owner,
    /// Whose they should be.
    pub expected: Owner,
}

pub(super) fn foreign(found: Owner, expected: Owner) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, ForeignCheckpoints { found, expected })
}

/// What is stored of one group is not what was written. That says nothing about other groups, whose checkpoints are
/// verified like this one.
#[derive(Debug, thiserror::Error)]
#[error("the checkpoint of {group} is damaged: {reason}")]
struct GroupDamaged {
    group: GroupId,
    reason: String,
}

pub(super) fn damaged(group: GroupId, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, GroupDamaged { group, reason: reason.to_owned() })
}

/// Whether it is one group's checkpoint that is damaged, and not the store.
pub(crate) fn is_damage_of_group(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<GroupDamaged>())
}

pub(super) fn row_hash(key: &[u8], sealed: &[u8]) -> u128 {
    let mut hash = Sha256::new();
    hash.update(u64::try_from(key.len()).unwrap_or(u64::MAX).to_le_bytes());
    hash.update(key);
    hash.update(sealed);
    let digest = hash.finalize();
    u128::from_le_bytes(digest[..16].try_into().expect("a SHA-256 digest has 32 bytes"))
}

/// A value behind its checksum, which covers the key too.
pub(super) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), value);
    let mut sealed = Vec::with_capacity(4 + value.len());
    sealed.extend_from_slice(&crc.to_le_bytes());
    sealed.extend_from_slice(value);
    sealed
}

pub(super) fn unseal<'a>(group: GroupId, key: &[u8], sealed: &'a [u8]) -> io::Result<&'a [u8]> {
    let (crc, value) = sealed.split_first_chunk::<4>().ok_or_else(|| damaged(group, "a row is cut short"))?;
    let is_right = u32::from_le_bytes(*crc) == crc32c::crc32c_append(crc32c::crc32c(key), value);
    if !is_right && !planted::is(Bug::IgnoreChecksums) {
        return Err(damaged(group, "a row's checksum is wrong"));
    }
    Ok(value)
}

/// The row that is stored under `key` as `sealed`. No byte of it is copied to new memory: a checkpoint has millions.
pub(super) fn unseal_row(group: GroupId, mut key: Vec<u8>, mut sealed: Vec<u8>) -> io::Result<Row> {
    let value_len = unseal(group, &key, &sealed)?.len();
    sealed.drain(..sealed.len() - value_len);
    key.drain(..1);
    Ok(Row { key, value: sealed })
}

pub(super) fn row_key(key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(ROW_PREFIX);
    full.extend_from_slice(key);
    full
}

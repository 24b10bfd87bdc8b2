//! What stands at the beginning of every file of the log: what it is, in which format, and whose.
//!
//! ```text
//! magic 8 bytes | format u32 | crc u32 | cluster u64 | node u64 | incarnation u128 | words u64…
//! ```
//!
//! Integers are little endian. The crc covers everything but itself.

use std::fmt;

/// The version of everything that a node writes to its data directory.
pub(crate) const FORMAT: u32 = 2;
const MAGIC_LEN: usize = 8;
/// Length of a stamp without its words.
const BASE_LEN: usize = 48;

/// Whose log it is: stands in every file, so that one from another node, another cluster, or another life of the same
/// node is never taken for our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// A hash of the cluster's name.
    pub cluster: u64,
    /// The node id.
    pub node: u64,
    /// Drawn when the data directory was made: a node that lost its data never has this one again.
    pub incarnation: u128,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, node, incarnation } = self;
        write!(f, "node {node} of cluster {cluster:016x}, incarnation {incarnation:032x}")
    }
}

/// Why the beginning of a file is not the stamp that is due there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadStamp {
    /// Nothing but zeroes.
    Blank,
    /// Not what was written.
    Damaged,
    /// Whole, and written by another version.
    OtherFormat(u32),
    /// Whole, and of another owner.
    Foreign(Owner),
}

pub(crate) const fn stamp_len(word_count: usize) -> usize {
    BASE_LEN + 8 * word_count
}

pub(crate) fn encode(magic: [u8; MAGIC_LEN], owner: Owner, words: &[u64]) -> Vec<u8> {
    encode_as(magic, FORMAT, owner, words)
}

fn encode_as(magic: [u8; MAGIC_LEN], format: u32, owner: Owner, words: &[u64]) -> Vec<u8> {
    let mut stamp = Vec::with_capacity(stamp_len(words.len()));
    stamp.extend_from_slice(&magic);
    stamp.extend_from_slice(&format.to_le_bytes());
    stamp.extend_from_slice(&[0; 4]);
    stamp.extend_from_slice(&owner.cluster.to_le_bytes());
    stamp.extend_from_slice(&owner.node.to_le_bytes());
    stamp.extend_from_slice(&owner.incarnation.to_le_bytes());
    for word in words {
        stamp.extend_from_slice(&word.to_le_bytes());
    }
    let crc = crc(&stamp);
    stamp[12..16].copy_from_slice(&crc.to_le_bytes());
    stamp
}

fn crc(stamp: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&stamp[..12]), &stamp[16..])
}

/// The words of the stamp at the start of `bytes`.
pub(crate) fn decode<const WORDS: usize>(
    magic: [u8; MAGIC_LEN],
    owner: Owner,
    bytes: &[u8],
) -> Result<[u64; WORDS], BadStamp> {
    let Some(stamp) = bytes.get(..stamp_len(WORDS)) else { return Err(BadStamp::Damaged) };
    let word = |at: usize| u64::from_le_bytes(stamp[at..at + 8].try_into().expect("a slice of eight bytes"));
    let half = |at: usize| u32::from_le_bytes(stamp[at..at + 4].try_into().expect("a slice of four bytes"));
    if stamp.iter().all(|&byte| byte == 0) {
        return Err(BadStamp::Blank);
    }
    if stamp[..MAGIC_LEN] != magic || half(12) != crc(stamp) {
        return Err(BadStamp::Damaged);
    }
    if half(8) != FORMAT {
        return Err(BadStamp::OtherFormat(half(8)));
    }
    let incarnation = u128::from(word(32)) | u128::from(word(40)) << 64;
    let found = Owner { cluster: word(16), node: word(24), incarnation };
    if found != owner {
        return Err(BadStamp::Foreign(found));
    }
    Ok(std::array::from_fn(|at| word(BASE_LEN + 8 * at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner = Owner { cluster: 7, node: 1, incarnation: 1 << 100 | 5 };
    const MAGIC: [u8; 8] = *b"VSTBTEST";

    #[test]
    fn a_stamp_tells_who_wrote_it_and_every_flipped_bit() {
        let stamp = encode(MAGIC, OWNER, &[3, 4]);
        assert_eq!(decode(MAGIC, OWNER, &stamp), Ok([3, 4]));
        for bit in 0..stamp.len() * 8 {
            let mut bad = stamp.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode::<2>(MAGIC, OWNER, &bad), Err(BadStamp::Damaged), "bit {bit}");
        }
        for found in [Owner { cluster: 8, ..OWNER }, Owner { node: 2, ..OWNER }, Owner { incarnation: 5, ..OWNER }] {
            assert_eq!(decode::<2>(MAGIC, OWNER, &encode(MAGIC, found, &[3, 4])), Err(BadStamp::Foreign(found)));
        }
        let older = encode_as(MAGIC, 1, OWNER, &[3, 4]);
        assert_eq!(decode::<2>(MAGIC, OWNER, &older), Err(BadStamp::OtherFormat(1)));
        assert_eq!(decode::<2>(MAGIC, OWNER, &vec![0; stamp.len()]), Err(BadStamp::Blank));
        assert_eq!(decode::<2>(*b"VSTBELSE", OWNER, &stamp), Err(BadStamp::Damaged));
    }

    #[test]
    fn the_bytes_of_a_stamp_stay_what_they_are() {
        let hex: String = encode(MAGIC, OWNER, &[3]).iter().map(|byte| format!("{byte:02x}")).collect();
        let parts = [
            "5653544254455354", // magic
            "02000000",         // format
            "ea509b47",         // crc
            "0700000000000000", // cluster
            "0100000000000000", // node
            "05000000000000000000000010000000",
            "0300000000000000",
        ];
        assert_eq!(hex, parts.concat());
    }
}

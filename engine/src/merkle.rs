//! RFC 6962 Merkle trees: what proves that an entrant was in the draw.

use crate::{TicketNumber, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A hash of the tree.
pub type Hash = [u8; 32];

/// The hash of a leaf: `SHA-256(0x00 ‖ data)`.
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// The hash of a node: `SHA-256(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The hash of a subject as it stands in a leaf: SHA-256 over the 16 bytes of the user id, big endian.
pub fn subject_hash(user: UserId) -> Hash {
    Sha256::digest(user.0.to_be_bytes()).into()
}

/// The data of an entrant's leaf: its ticket number in 8 bytes, big endian, and the hash of its subject.
pub fn leaf_data(number: TicketNumber, subject: &Hash) -> [u8; 40] {
    let mut data = [0; 40];
    data[..8].copy_from_slice(&number.0.to_be_bytes());
    data[8..].copy_from_slice(subject);
    data
}

/// The hash of the tree without leaves.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The right edge of a growing tree: roots of its perfect subtrees, the largest first. Enough to append and to know
/// the root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    count: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// Leaves so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Appends the hash of a leaf. Where that completes an aligned subtree of 2^`level` leaves, gives its root.
    pub fn push(&mut self, leaf: Hash, level: u32) -> Option<Hash> {
        let mut node = leaf;
        let mut completed = (level == 0).then_some(leaf);
        for merged in 1..=self.count.trailing_ones() {
            let Some(left) = self.roots.pop() else { break };
            node = node_hash(&left, &node);
            if merged == level {
                completed = Some(node);
            }
        }
        self.roots.push(node);
        self.count += 1;
        completed
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev().copied();
        match roots.next() {
            Some(last) => roots.fold(last, |right, left| node_hash(&left, &right)),
            None => empty_root(),
        }
    }

    /// The root over `count` leaves from `from` on, if it is one of those kept.
    pub(crate) fn subtree(&self, from: u64, count: u64) -> Option<Hash> {
        let mut start = 0;
        for (size, root) in
            (0..u64::BITS).rev().map(|bit| 1 << bit).filter(|size| self.count & size > 0).zip(&self.roots)
        {
            if (start, size) == (from, count) {
                return Some(*root);
            }
            start += size;
        }
        None
    }

    /// Whether it has as many roots as so many leaves make.
    pub(crate) fn is_sound(&self) -> bool {
        self.roots.len() == self.count.count_ones() as usize
    }
}

/// Where a tree of n > 1 leaves divides: the largest power of two below n.
fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// The root over `count` leaves from `from` on, where `perfect` may know the roots of perfect, aligned subtrees and must
/// know those of one leaf.
pub fn root(from: u64, count: u64, perfect: &mut impl FnMut(u64, u64) -> Option<Hash>) -> Hash {
    if count == 0 {
        return empty_root();
    }
    if count.is_power_of_two()
        && let Some(root) = perfect(from, count)
    {
        return root;
    }
    if count == 1 {
        return empty_root();
    }
    let left = split(count);
    node_hash(&root(from, left, perfect), &root(from + left, count - left, perfect))
}

/// The audit path of leaf `index` of `count`, from the leaf up; see [`root`] for `perfect`.
pub fn proof(index: u64, count: u64, perfect: &mut impl FnMut(u64, u64) -> Option<Hash>) -> Vec<Hash> {
    let (mut from, mut count) = (0, count);
    let mut path = Vec::new();
    while count > 1 {
        let left = split(count);
        if index < from + left {
            path.push(root(from + left, count - left, perfect));
            count = left;
        } else {
            path.push(root(from, left, perfect));
            from += left;
            count -= left;
        }
    }
    path.reverse();
    path
}

/// Whether a leaf stands at `index` of the tree with `count` leaves and this root.
pub fn verify(leaf: &Hash, index: u64, count: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= count {
        return false;
    }
    // RFC 9162, 2.1.3.2.
    let (mut at, mut last) = (index, count - 1);
    let mut node = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            node = node_hash(sibling, &node);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && node == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vectors {
        leaves: Vec<String>,
        trees: Vec<Tree>,
    }

    #[derive(serde::Deserialize)]
    struct Tree {
        size: u64,
        root: String,
        proofs: Vec<Vec<String>>,
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap()).collect()
    }

    fn hash(hex: &str) -> Hash {
        bytes(hex).try_into().unwrap()
    }

    #[test]
    fn it_is_the_tree_of_certificate_transparency() {
        let file = include_str!("../tests/fixtures/merkle-vectors.json");
        let vectors: Vectors = serde_json::from_str(file).unwrap();
        let leaves: Vec<Hash> = vectors.leaves.iter().map(|leaf| leaf_hash(&bytes(leaf))).collect();
        assert!(vectors.trees.len() > 7);
        for tree in vectors.trees {
            let mut frontier = Frontier::default();
            for leaf in &leaves[..tree.size as usize] {
                frontier.push(*leaf, 10);
            }
            assert_eq!(frontier.root(), hash(&tree.root));
            let mut one = |from: u64, count: u64| (count == 1).then(|| leaves[from as usize]);
            assert_eq!(root(0, tree.size, &mut one), hash(&tree.root));
            for (wanted, index) in tree.proofs.iter().zip(0..) {
                let wanted: Vec<Hash> = wanted.iter().map(|node| hash(node)).collect();
                assert_eq!(proof(index, tree.size, &mut one), wanted);
                let leaf = &leaves[index as usize];
                assert!(verify(leaf, index, tree.size, &wanted, &hash(&tree.root)));
                assert!(!verify(leaf, index + 1, tree.size, &wanted, &hash(&tree.root)) || tree.size == 1);
            }
        }
    }

    #[test]
    fn every_leaf_is_proved_and_no_other() {
        for count in (1..40).chain([63, 64, 65, 100]) {
            let leaves: Vec<Hash> = (0..count).map(|leaf: u64| leaf_hash(&leaf.to_be_bytes())).collect();
            let mut frontier = Frontier::default();
            let mut one = |from: u64, count: u64| (count == 1).then(|| leaves[from as usize]);
            for (leaf, number) in leaves.iter().zip(1..) {
                let page = frontier.push(*leaf, 3);
                assert_eq!(page, (number % 8 == 0).then(|| root(number - 8, 8, &mut one)));
            }
            assert!(frontier.is_sound());
            for index in 0..count {
                let path = proof(index, count, &mut one);
                assert!(verify(&leaves[index as usize], index, count, &path, &frontier.root()));
                let other = leaf_hash(b"other");
                assert!(!verify(&other, index, count, &path, &frontier.root()));
                assert!(!verify(&leaves[index as usize], index, count + 64, &path, &frontier.root()));
            }
        }
    }
}

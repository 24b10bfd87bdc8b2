//! Opening the line, and the proofs that the draw was fair.

use super::admission::burst;
use super::{Drawn, Line, PAGE_LEN};
use crate::draw::{self, Shuffle};
use crate::merkle::{self, Hash};
use crate::planted::{self, Bug};
use crate::{Method, QueueState, Receipt, Sale, TicketNumber, Timestamp, UserId};

/// The leaf of an entrant.
pub(super) fn leaf_of(number: TicketNumber, user: UserId) -> Hash {
    merkle::leaf_hash(&merkle::leaf_data(number, &merkle::subject_hash(user)))
}

impl Line {
    /// Opens the line: places are fixed, and the first burst may be called at once.
    pub(crate) fn open(&mut self, now: Timestamp, sale: &Sale, secret: &[u8; 32], beacon: Option<&Vec<u8>>) {
        if !self.head.awaits_beacon {
            self.head.entrants = self.head.joined;
            self.head.entrants -= u64::from(planted::is(Bug::DrawWithoutLast)).min(self.head.joined);
        }
        if sale.method == Method::Draw {
            let merkle_root = self.head.frontier.root();
            let beacon = beacon.cloned();
            let seed = draw::seed(secret, &merkle_root, beacon.as_deref());
            self.head.draw = Some(Drawn { merkle_root, beacon, seed });
            self.shuffle = Some(Shuffle::new(seed, self.head.entrants));
        }
        self.head.awaits_beacon = false;
        self.head.credit = burst(sale);
        self.head.credit_at = now;
        self.measure_anew(now);
        self.set_state(QueueState::Open);
    }

    /// The line opens as soon as the public randomness is known. Until then buyers join behind the entrants: whoever could
    /// know the randomness and add an entrant could choose among orders.
    pub(crate) fn await_beacon(&mut self) {
        self.head.entrants = self.head.joined;
        self.head.awaits_beacon = true;
        self.head_dirty = true;
    }

    /// Adds the root over a full page of entrants, the next in order, to those over two pages, four, and so on.
    pub(super) fn add_root_above(&mut self, page: u64, root: Hash) {
        let (mut node, mut index) = (root, page);
        for level in 0.. {
            if index & 1 == 0 {
                return;
            }
            let left = match level {
                0 => self.roots.get(index - 1),
                _ => self.roots_above.get(level - 1).and_then(|roots| roots.get(index as usize - 1)),
            };
            node = merkle::node_hash(left.expect("pages are filled in order"), &node);
            index >>= 1;
            if level == self.roots_above.len() {
                self.roots_above.push(Vec::new());
            }
            self.roots_above[level].push(node);
        }
    }

    /// The root over a power of two of entrants, where it is known: over full pages, and at the end of the tree.
    pub(crate) fn known_root(&self, from: u64, count: u64) -> Option<Hash> {
        if let Some(root) = self.head.frontier.subtree(from, count) {
            return Some(root);
        }
        if count < PAGE_LEN as u64 {
            return None;
        }
        let level = (count / PAGE_LEN as u64).trailing_zeros() as usize;
        let index = from / count;
        match level.checked_sub(1) {
            None => self.roots.get(index).copied(),
            Some(above) => self.roots_above.get(above)?.get(usize::try_from(index).ok()?).copied(),
        }
    }

    /// The proof that an entrant was in the draw. It hashes the leaves of one page; every other root is known.
    pub(crate) fn receipt(&self, number: TicketNumber) -> Option<Receipt> {
        let drawn = self.head.draw.as_ref()?;
        let entrants = self.head.entrants;
        let user = self.owner(number).filter(|_| number.0 <= entrants)?;
        let leaf = |index: u64| Some(leaf_of(TicketNumber(index + 1), self.owner(TicketNumber(index + 1))?));
        let mut perfect = |from: u64, count: u64| match self.known_root(from, count) {
            None if count == 1 => leaf(from),
            known => known,
        };
        Some(Receipt {
            number,
            subject_hash: merkle::subject_hash(user),
            leaf: leaf_of(number, user),
            proof: merkle::proof(number.0 - 1, entrants, &mut perfect),
            merkle_root: drawn.merkle_root,
            place: self.place_of(number),
        })
    }
}

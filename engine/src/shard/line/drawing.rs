//! Opening the line, and the proofs that the draw was fair.

use super::admission::burst;
use super::{Drawn, Line, PAGE_LEN};
use crate::draw::{self, Shuffle};
use crate::merkle::{self, Hash};
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

    /// The proof that an entrant was in the draw.
    pub(crate) fn receipt(&self, number: TicketNumber) -> Option<Receipt> {
        let drawn = self.head.draw.as_ref()?;
        let entrants = self.head.entrants;
        let user = self.owner(number).filter(|_| number.0 <= entrants)?;
        let mut perfect = |from: u64, count: u64| match count {
            1 => Some(leaf_of(TicketNumber(from + 1), self.owner(TicketNumber(from + 1))?)),
            _ if count == PAGE_LEN as u64 => self.roots.get(from / count).copied(),
            _ => None,
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

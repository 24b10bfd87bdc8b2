//! Places ahead of the cursor whose tickets were given up, counted by page: passing over many of them costs little more
//! than passing over none.

use std::collections::BTreeMap;

/// Places a page.
const PAGE_LEN: u64 = 1_024;
const WORDS: usize = PAGE_LEN as usize / 64;

/// Places that nobody stands at, each a bit of its page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    /// The pages with gaps.
    pages: BTreeMap<u64, Page>,
    len: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Page {
    bits: [u64; WORDS],
    count: u64,
}

impl Page {
    /// Takes the gaps of a word out that are among these bits.
    fn forget(&mut self, word: usize, bits: u64) -> u64 {
        let forgotten = u64::from((self.bits[word] & bits).count_ones());
        self.bits[word] &= !bits;
        self.count -= forgotten;
        forgotten
    }
}

impl Gaps {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a place that is no gap yet.
    pub(super) fn insert(&mut self, place: u64) {
        let page = self.pages.entry(place / PAGE_LEN).or_default();
        let (word, bit) = ((place % PAGE_LEN / 64) as usize, place % 64);
        assert!(page.bits[word] >> bit & 1 == 0, "place {place} was given up twice");
        page.bits[word] |= 1 << bit;
        page.count += 1;
        self.len += 1;
    }

    /// The next place behind this one that is no gap.
    pub(super) fn next_taken(&self, place: u64) -> u64 {
        let mut next = place + 1;
        while let Some(page) = self.pages.get(&(next / PAGE_LEN)) {
            let from = next % PAGE_LEN;
            let mut mask = u64::MAX << (from % 64);
            for word in from as usize / 64..WORDS {
                let taken = !page.bits[word] & mask;
                if taken != 0 {
                    return next - from + 64 * word as u64 + u64::from(taken.trailing_zeros());
                }
                mask = u64::MAX;
            }
            next = next - from + PAGE_LEN;
        }
        next
    }

    /// Goes on from a place, before which there are no gaps any more, to the last of the next `count` places that are
    /// none, and forgets those passed over. `count` is at least 1.
    pub(super) fn pass(&mut self, place: u64, count: u64) -> u64 {
        let (mut place, mut left) = (place, count);
        while let Some(mut entry) = self.pages.first_entry() {
            let first = entry.key() * PAGE_LEN;
            let before = first.saturating_sub(place + 1);
            if left <= before {
                break;
            }
            left -= before;
            place += before;
            let from = place + 1 - first;
            let page = entry.get_mut();
            let taken = PAGE_LEN - from - page.count;
            if left > taken {
                left -= taken;
                place = first + PAGE_LEN - 1;
                self.len -= page.count;
                entry.remove();
                continue;
            }
            let mut mask = u64::MAX << (from % 64);
            for word in from as usize / 64..WORDS {
                let mut taken = !page.bits[word] & mask;
                mask = u64::MAX;
                if left > u64::from(taken.count_ones()) {
                    left -= u64::from(taken.count_ones());
                    self.len -= page.forget(word, u64::MAX);
                    continue;
                }
                (1..left).for_each(|_| taken &= taken - 1);
                let bit = taken.trailing_zeros();
                self.len -= page.forget(word, (1 << bit) - 1);
                if page.count == 0 {
                    entry.remove();
                }
                return first + 64 * word as u64 + u64::from(bit);
            }
            unreachable!("so many places of the page are none");
        }
        place + left
    }
}

#[cfg(test)]
mod tests {
    use super::Gaps;
    use std::collections::BTreeSet;

    #[test]
    fn gaps_are_passed_over_as_one_by_one() {
        let mut dice = 7_u64;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        for round in 0..200 {
            let (mut gaps, mut list, mut cursor) = (Gaps::default(), BTreeSet::new(), 0);
            // From few and far between to hardly anybody left.
            let density = 1 + round % 20;
            for _ in 0..60 {
                for place in cursor + 1..cursor + 1 + 5_000 {
                    if roll(20) < density && list.insert(place) {
                        gaps.insert(place);
                    }
                }
                let most = [1, 3, 70, 3_000][roll(4) as usize];
                let count = 1 + roll(most);
                let next = (cursor + 1..).find(|place| !list.contains(place)).unwrap();
                assert_eq!(gaps.next_taken(cursor), next);
                let to = (cursor + 1..).filter(|place| !list.contains(place)).nth(count as usize - 1).unwrap();
                assert_eq!(gaps.pass(cursor, count), to, "{count} from {cursor}");
                list.retain(|&place| place > to);
                cursor = to;
                let mut same = Gaps::default();
                list.iter().for_each(|&place| same.insert(place));
                assert_eq!(gaps, same);
                assert_eq!(gaps.len(), list.len() as u64);
            }
        }
    }
}

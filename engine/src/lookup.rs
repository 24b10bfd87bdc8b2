//! The hashers of the look-up maps. Their seeds are fixed, and the maps are only looked up, never walked: no seed shows.

use foldhash::quality::FixedState;
use hashbrown::HashTable;
#[cfg(test)]
use std::hash::BuildHasher;

/// Entries beyond which an index is made of many tables. Lower under test, so that tests meet both kinds.
const SPLIT_AT: usize = if cfg!(test) { 24 } else { 16_384 };

/// The tables of a large index.
const TABLES: usize = if cfg!(test) { 4 } else { 1_024 };

/// A look-up table that grows a little at a time: a large one is many small ones, chosen by the hash, and each doubles by
/// itself. One of four million entries moves all of them at once when it doubles, and a buyer would wait for that.
#[derive(Debug)]
pub(crate) struct Index<T> {
    /// One, or [`TABLES`].
    tables: Vec<HashTable<T>>,
    len: usize,
}

impl<T> Index<T> {
    pub(crate) fn with_capacity(len: usize) -> Self {
        let count = if len < SPLIT_AT { 1 } else { TABLES };
        Self { tables: (0..count).map(|_| HashTable::with_capacity(len.div_ceil(count))).collect(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The table of a hash. A table itself looks at other bits.
    fn table(&self, hash: u64) -> usize {
        (hash >> 44) as usize & (self.tables.len() - 1)
    }

    pub(crate) fn find(&self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<&T> {
        self.tables[self.table(hash)].find(hash, same)
    }

    /// Adds an entry that is not there yet. `hash_of` gives the hash of any.
    pub(crate) fn insert(&mut self, hash: u64, entry: T, hash_of: impl Fn(&T) -> u64) {
        if self.tables.len() < TABLES && self.len >= SPLIT_AT {
            let all = std::mem::replace(self, Self::with_capacity(2 * SPLIT_AT));
            for entry in all.tables.into_iter().flatten() {
                let hash = hash_of(&entry);
                let table = self.table(hash);
                self.tables[table].insert_unique(hash, entry, &hash_of);
            }
            self.len = all.len;
        }
        let table = self.table(hash);
        self.tables[table].insert_unique(hash, entry, &hash_of);
        self.len += 1;
    }

    /// Takes an entry out, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, same: impl FnMut(&T) -> bool) -> Option<T> {
        let table = self.table(hash);
        let (entry, _) = self.tables[table].find_entry(hash, same).ok()?.remove();
        self.len -= 1;
        Some(entry)
    }
}

/// The hasher of one kind of map.
pub(crate) fn hasher(seed: u64) -> FixedState {
    #[cfg(test)]
    let seed = seed ^ OTHER.get();
    FixedState::with_seed(seed)
}

#[cfg(test)]
thread_local! {
    static OTHER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Works with other seeds than the fixed ones. A machine must stay within the seeds it was made with.
#[cfg(test)]
pub(crate) fn with_other_seeds<T>(other: u64, work: impl FnOnce() -> T) -> T {
    let before = OTHER.replace(other);
    let result = work();
    OTHER.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Small and large, growing and shrinking.
    #[test]
    fn what_is_in_an_index_is_found_and_nothing_else() {
        let hash_of = |number: &u64| hasher(7).hash_one(*number);
        for capacity in [0, SPLIT_AT - 1, SPLIT_AT, 1_000] {
            let (mut index, mut wanted) = (Index::with_capacity(capacity), BTreeSet::new());
            for step in 0..2_000_u64 {
                let number = step * step % 293;
                let hash = hash_of(&number);
                assert_eq!(index.find(hash, |&other| other == number).is_some(), wanted.contains(&number));
                if step % 3 < 2 {
                    if wanted.insert(number) {
                        index.insert(hash, number, hash_of);
                    }
                } else {
                    assert_eq!(index.remove(hash, |&other| other == number).is_some(), wanted.remove(&number));
                }
                assert_eq!(index.len(), wanted.len());
            }
            assert!(wanted.len() > SPLIT_AT && index.tables.len() == TABLES);
            assert!(index.tables.iter().all(|table| !table.is_empty()), "all hashes go to a few tables");
        }
    }
}

//! What a file of a simulated disk holds: in the page cache, on the platter, and what is on its way there.

use super::{FRAME_MAGIC, FRAMES_START, SECTOR_LEN};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use std::collections::BTreeMap;

/// A file, as it is read and as it would survive.
#[derive(Default)]
pub(super) struct FileState {
    pub(super) cached: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// How many writes there have been.
    pub(super) writes: u64,
    /// Those since the last sync, by their number: where, and what.
    pub(super) unsynced: BTreeMap<u64, (usize, Vec<u8>)>,
    /// Where frames of a log were written: offsets and lengths.
    pub(super) frames: BTreeMap<usize, usize>,
}

/// What there is of a file at some time: so many writes, and its length.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    writes: u64,
    len: usize,
}

impl FileState {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[offset..end].copy_from_slice(bytes);
        self.unsynced.insert(self.writes, (offset, bytes.to_vec()));
        self.writes += 1;
        // What is written over is no frame any more, and a new header makes a new segment.
        let gone_from = if offset < FRAMES_START { 0 } else { offset };
        self.frames.split_off(&gone_from);
        if bytes.starts_with(&FRAME_MAGIC) {
            self.frames.insert(offset, bytes.len());
        }
    }

    /// All that has been written so far.
    pub(super) fn now(&self) -> Extent {
        Extent { writes: self.writes, len: self.cached.len() }
    }

    fn take_unsynced(&mut self, extent: Extent) -> impl Iterator<Item = (usize, Vec<u8>)> + use<> {
        let later = self.unsynced.split_off(&extent.writes);
        std::mem::replace(&mut self.unsynced, later).into_values()
    }

    /// Brings what was written since the last sync, and before this one, to the platter.
    pub(super) fn settle(&mut self, extent: Extent) {
        self.durable.resize(extent.len.max(self.durable.len()), 0);
        for (offset, bytes) in self.take_unsynced(extent) {
            self.durable[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// The same for some sectors only; gives the number of those that are lost.
    pub(super) fn settle_some(&mut self, extent: Extent, random: &mut ChaCha8Rng) -> u64 {
        let mut lost = 0;
        // Its length is written like anything else.
        if self.durable.len() < extent.len && random.next_u32().is_multiple_of(2) {
            self.durable.resize(extent.len, 0);
        }
        for (offset, bytes) in self.take_unsynced(extent) {
            for (at, sector) in sectors(offset, &bytes) {
                if at + sector.len() <= self.durable.len() && random.next_u32().is_multiple_of(2) {
                    self.durable[at..at + sector.len()].copy_from_slice(sector);
                } else {
                    lost += 1;
                }
            }
        }
        lost
    }
}

/// The parts of a write that lie in one sector each, with where they go.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = (SECTOR_LEN - at % SECTOR_LEN).min(rest.len());
        let (sector, tail) = rest.split_at(len);
        let found = (at, sector);
        at += len;
        rest = tail;
        Some(found)
    })
}

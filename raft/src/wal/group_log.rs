//! What the log holds of one group, in memory.

use super::record::{Ballot, EntryBody, LogPosition};
use std::collections::VecDeque;

/// Where an entry's record lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// One entry: always its position; its body while it is recent or not yet on disk; its place once it is.
#[derive(Debug, Clone)]
struct Slot {
    position: LogPosition,
    /// Larger than those of all entries that any group of the node had before it.
    stamp: u64,
    body: Option<EntryBody>,
    place: Option<Place>,
}

/// An entry as found: the body itself, or where to read it.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Here(LogPosition, EntryBody),
    OnDisk(LogPosition, Place),
}

/// The log of one group: consecutive entries after the purge point, the vote, and the commit point.
///
/// Bodies of recent entries stay in memory up to a bound. `resident_from` is the first slot whose body is certain to be
/// here; a body leaves only when its record is on disk.
#[derive(Debug, Default)]
pub(crate) struct GroupLog {
    pub(crate) vote: Option<Ballot>,
    /// The vote that is known to be on disk.
    pub(crate) promised: Option<Ballot>,
    pub(crate) committed: Option<LogPosition>,
    pub(crate) purged: Option<LogPosition>,
    slots: VecDeque<Slot>,
    resident_from: usize,
    resident_bytes: usize,
}

impl GroupLog {
    pub(crate) fn last(&self) -> Option<LogPosition> {
        self.slots.back().map(|slot| slot.position).or(self.purged)
    }

    fn first_index(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.position.index)
    }

    /// Adds an entry. `Err` says which index was due instead.
    pub(crate) fn append(
        &mut self,
        stamp: u64,
        position: LogPosition,
        body: EntryBody,
        place: Option<Place>,
    ) -> Result<(), u64> {
        if let Some(due) = self.last().map(|last| last.index + 1)
            && position.index != due
        {
            return Err(due);
        }
        self.resident_bytes += body.bytes().len();
        self.slots.push_back(Slot { position, stamp, body: Some(body), place });
        Ok(())
    }

    /// Adds an entry found on disk. The first one found may lie behind entries that were purged, and whose segments
    /// have been dropped, before the purge itself is found.
    pub(crate) fn append_found(
        &mut self,
        stamp: u64,
        position: LogPosition,
        body: EntryBody,
        place: Place,
    ) -> Result<(), u64> {
        if self.slots.is_empty() && self.purged.is_some_and(|purged| purged.index < position.index) {
            self.resident_from = 0;
            self.resident_bytes = body.bytes().len();
            self.slots.push_back(Slot { position, stamp, body: Some(body), place: Some(place) });
            return Ok(());
        }
        self.append(stamp, position, body, Some(place))
    }

    /// Whether entries are missing: between the purge point and the first entry, or up to the commit point. Says which
    /// index is.
    pub(crate) fn hole(&self) -> Option<u64> {
        let due = self.purged.map_or(0, |purged| purged.index + 1);
        if self.first_index().is_some_and(|first| first != due) {
            return Some(due);
        }
        let next = self.last().map_or(0, |last| last.index + 1);
        self.committed.is_some_and(|committed| committed.index >= next).then_some(next)
    }

    /// Notes that the entry now lies on disk, unless another has taken its index since.
    pub(crate) fn set_place(&mut self, position: LogPosition, place: Place) {
        if let Some(slot) = self.slot_of(position.index)
            && self.slots[slot].position == position
        {
            self.slots[slot].place = Some(place);
        }
    }

    fn slot_of(&self, index: u64) -> Option<usize> {
        let at = usize::try_from(index.checked_sub(self.first_index()?)?).ok()?;
        (at < self.slots.len()).then_some(at)
    }

    /// Whether the entry is here but not on disk yet.
    pub(crate) fn is_pending(&self, index: u64) -> bool {
        self.slot_of(index).is_some_and(|slot| self.slots[slot].place.is_none())
    }

    /// Voids every entry behind `last`.
    pub(crate) fn truncate(&mut self, last: Option<LogPosition>) {
        let keep_below = last.map_or(0, |last| last.index + 1);
        while self.slots.back().is_some_and(|slot| slot.position.index >= keep_below) {
            if let Some(slot) = self.slots.pop_back() {
                self.resident_bytes -= slot.body.map_or(0, |body| body.bytes().len());
            }
        }
        self.resident_from = self.resident_from.min(self.slots.len());
    }

    /// Where the entry at an index was decided, if it is held.
    pub(crate) fn position(&self, index: u64) -> Option<LogPosition> {
        let first = self.slots.front()?.position.index;
        let slot = self.slots.get(usize::try_from(index.checked_sub(first)?).ok()?)?;
        Some(slot.position)
    }

    /// Forgets every entry up to `upto`. A purge point ahead of the log empties it.
    pub(crate) fn purge(&mut self, upto: LogPosition) {
        while self.slots.front().is_some_and(|slot| slot.position.index <= upto.index) {
            if let Some(slot) = self.slots.pop_front() {
                self.resident_bytes -= slot.body.map_or(0, |body| body.bytes().len());
                self.resident_from = self.resident_from.saturating_sub(1);
            }
        }
        if self.purged.is_none_or(|purged| purged.index < upto.index) {
            self.purged = Some(upto);
        }
    }

    /// Bytes of entries that are in memory.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.resident_bytes
    }

    /// The stamp of the oldest entry that could be let go of.
    pub(crate) fn oldest_resident(&self) -> Option<u64> {
        self.slots.get(self.resident_from).filter(|slot| slot.place.is_some()).map(|slot| slot.stamp)
    }

    /// Lets go of the oldest bodies that are on disk and have no stamp above `until`, until `bytes` are free. Gives how
    /// many are.
    pub(crate) fn evict(&mut self, bytes: usize, until: u64) -> usize {
        let mut freed = 0;
        while freed < bytes && self.oldest_resident().is_some_and(|stamp| stamp <= until) {
            if let Some(body) = self.slots[self.resident_from].body.take() {
                freed += body.bytes().len();
            }
            self.resident_from += 1;
        }
        self.resident_bytes -= freed;
        freed
    }

    /// The entries from `start` up to but without `end` that the log has, in order, at most `bytes_max` of bodies but
    /// at least one entry.
    pub(crate) fn find(&self, start: u64, end: u64, bytes_max: usize) -> Vec<Found> {
        let Some(first) = self.first_index() else { return Vec::new() };
        let from = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let to = usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX).min(self.slots.len());
        let mut found = Vec::new();
        let mut bytes = 0;
        for slot in self.slots.range(from.min(to)..to) {
            let (len, entry) = match (&slot.body, slot.place) {
                (Some(body), _) => (body.bytes().len(), Found::Here(slot.position, body.clone())),
                (None, Some(place)) => (place.len as usize, Found::OnDisk(slot.position, place)),
                (None, None) => unreachable!("a body leaves memory only once its record has a place on disk"),
            };
            bytes += len;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        found
    }

    /// The oldest segment that still holds an entry of this group.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.slots.front().and_then(|slot| slot.place).map(|place| place.segment)
    }

    /// Whether these are all entries held, and no others.
    pub(crate) fn holds_just(&self, entries: &[(LogPosition, EntryBody)]) -> bool {
        let held = self.slots.iter().map(|slot| slot.position);
        held.eq(entries.iter().map(|(position, _)| *position))
    }

    /// Bytes of the entries held that are on disk.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.slots.iter().filter_map(|slot| slot.place).map(|place| u64::from(place.len)).sum()
    }

    /// Number of entries held.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

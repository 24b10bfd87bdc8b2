//! The showtimes of a shard, and which of them changed: a checkpoint looks at those alone.

use super::showtime::Showtime;
use crate::ShowtimeId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// The showtimes by id. They change through [`get_mut`](Self::get_mut) alone, which remembers it.
#[derive(Debug, Default)]
pub(crate) struct Showtimes {
    map: BTreeMap<ShowtimeId, Showtime>,
    /// Those that may have changed since they were last written.
    dirty: BTreeSet<ShowtimeId>,
    /// The one touched last: most changes follow each other in one showtime.
    last: Option<ShowtimeId>,
}

impl Deref for Showtimes {
    type Target = BTreeMap<ShowtimeId, Showtime>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl Showtimes {
    fn touch(&mut self, id: ShowtimeId) {
        if self.last != Some(id) {
            self.dirty.insert(id);
            self.last = Some(id);
        }
    }

    pub(crate) fn insert(&mut self, id: ShowtimeId, showtime: Showtime) {
        self.touch(id);
        self.map.insert(id, showtime);
    }

    /// A showtime, about to change.
    pub(crate) fn get_mut(&mut self, id: &ShowtimeId) -> Option<&mut Showtime> {
        self.touch(*id);
        self.map.get_mut(id)
    }

    /// Goes through those that may have changed since the last time, in order.
    pub(crate) fn each_dirty(&mut self, mut work: impl FnMut(&mut Showtime)) {
        self.last = None;
        for id in std::mem::take(&mut self.dirty) {
            self.map.get_mut(&id).into_iter().for_each(&mut work);
        }
    }

    /// All of them, while they are loaded: none of them counts as changed afterwards.
    pub(crate) fn loading(&mut self) -> impl Iterator<Item = (ShowtimeId, &mut Showtime)> {
        self.last = None;
        self.dirty.clear();
        self.map.iter_mut().map(|(&id, showtime)| (id, showtime))
    }
}

//! Showtimes that whoever scheduled them left half made: whose turn it is to be finished.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::ShowtimeId;

/// Showtimes in the making, and since when each has waited to be finished.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    since: BTreeMap<ShowtimeId, Instant>,
}

impl Unfinished {
    /// Notes that these are in the making now, and no others.
    pub(super) fn note(&mut self, now: Instant, showtimes: &BTreeSet<ShowtimeId>) {
        self.since.retain(|showtime, _| showtimes.contains(showtime));
        for showtime in showtimes {
            self.since.entry(*showtime).or_insert(now);
        }
    }

    /// The one that has waited longest of those that `can_be` finished, once that is for `patience`.
    pub(super) fn due(
        &self,
        now: Instant,
        patience: Duration,
        can_be: impl Fn(ShowtimeId) -> bool,
    ) -> Option<ShowtimeId> {
        let due = self.since.iter().filter(|(id, since)| now.duration_since(**since) >= patience && can_be(**id));
        due.min_by_key(|(id, since)| (**since, **id)).map(|(id, _)| *id)
    }

    /// Notes that finishing one was tried until `now`, whatever came of it: it waits anew.
    pub(super) fn tried(&mut self, now: Instant, showtime: ShowtimeId) {
        self.since.insert(showtime, now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.since.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.since.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_engine::GroupId;

    #[test]
    fn showtimes_take_turns_and_those_of_a_group_without_a_leader_none() {
        let patience = Duration::from_secs(10);
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let [a, b, c] = [(1, 1), (1, 2), (2, 3)].map(|(group, counter)| ShowtimeId::new(GroupId(group), counter));
        let mut unfinished = Unfinished::default();
        unfinished.note(begun, &BTreeSet::from([a, b]));
        unfinished.note(at(3), &BTreeSet::from([a, b, c]));
        assert_eq!(unfinished.due(at(9), patience, |_| true), None, "whoever schedules them may still be at it");
        assert_eq!(unfinished.due(at(10), patience, |_| true), Some(a));
        // Trying takes as long as it likes, and the others come first then.
        unfinished.tried(at(15), a);
        assert_eq!(unfinished.due(at(15), patience, |_| true), Some(b));
        unfinished.tried(at(20), b);
        assert_eq!(unfinished.due(at(20), patience, |_| true), Some(c));
        unfinished.tried(at(25), c);
        assert_eq!(unfinished.due(at(24), patience, |_| true), None);
        unfinished.tried(at(30), a);
        assert_eq!(unfinished.due(at(40), patience, |_| true), Some(b));
        assert_eq!(unfinished.due(at(40), patience, |showtime| showtime.group() == GroupId(2)), Some(c));
        unfinished.note(at(40), &BTreeSet::from([b]));
        assert_eq!(unfinished.due(at(40), patience, |_| true), Some(b));
    }
}

//! The seats as far as this process knows them.
//!
//! Every buyer asks for the seats itself, but for what changed since the newest answer that any of them got; all read
//! into one view. So a look at 20,000 seats costs a request and the few seats that changed, not a megabyte of JSON.

use super::script::Dice;
use crate::{Counts, Error, SeatState};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tokio::time::Instant;

/// The seats by popularity: the smaller a seat's rank, the more buyers want it.
pub(super) struct House {
    sequence: u64,
    labels: Vec<Box<str>>,
    ranks: BTreeMap<Box<str>, u32>,
    states: Vec<SeatState>,
    available: BTreeSet<u32>,
    /// Seats that a refusal named, with the sequence known then: not asked for again before a newer look.
    refused: BTreeMap<u32, u64>,
    counts: Counts,
    /// Since when there has been no seat to be had.
    none_since: Option<Instant>,
}

impl House {
    /// Reads the answer to a look at all seats.
    pub(super) fn new(answer: &[u8]) -> Result<Self, Error> {
        let answer = parse(answer)?;
        let mut seats = answer.states;
        // People say "front row first": by section and row, then by number, in the order of counting.
        seats.sort_by_cached_key(|(label, _)| natural_key(label));
        let mut house = Self {
            sequence: answer.sequence,
            labels: Vec::with_capacity(seats.len()),
            ranks: BTreeMap::new(),
            states: Vec::with_capacity(seats.len()),
            available: BTreeSet::new(),
            refused: BTreeMap::new(),
            counts: Counts::default(),
            none_since: None,
        };
        for (rank, (label, state)) in seats.into_iter().enumerate() {
            let label: Box<str> = label.into();
            if house.ranks.insert(label.clone(), rank as u32).is_some() {
                return Err(malformed(format!("seat {label} twice")));
            }
            house.labels.push(label);
            house.states.push(state);
            if state == SeatState::Available {
                house.available.insert(rank as u32);
            }
            *house.count_of(state) += 1;
        }
        house.note_scarcity();
        Ok(house)
    }

    /// Lays the answer to a look at changes over what is known. An older answer than the newest one changes nothing.
    pub(super) fn apply(&mut self, answer: &[u8]) -> Result<(), Error> {
        let answer = parse(answer)?;
        if answer.sequence < self.sequence {
            return Ok(());
        }
        self.sequence = answer.sequence;
        self.refused.retain(|_, noted_at| *noted_at >= answer.sequence);
        for (label, state) in answer.states {
            let rank =
                *self.ranks.get(&*label).ok_or_else(|| malformed(format!("seat {label} was not there before")))?;
            self.set(rank, state);
        }
        self.note_scarcity();
        Ok(())
    }

    /// What to pass as `since`.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many seats are in which state.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Since when there has been no seat to be had.
    pub(super) fn none_since(&self) -> Option<Instant> {
        self.none_since
    }

    /// A refusal said that these seats are not to be had. That may be older news than what the looks have told since,
    /// so it changes no state: the seats are left alone until the next newer look.
    pub(super) fn note_unavailable(&mut self, seats: &[&str]) {
        for label in seats {
            if let Some(&rank) = self.ranks.get(*label) {
                self.refused.insert(rank, self.sequence);
            }
        }
        self.note_scarcity();
    }

    /// Chooses up to `party` seats: popular ones by far more often, so that buyers get in each other's way.
    pub(super) fn pick(&self, dice: &mut Dice, party: usize) -> Vec<String> {
        let wish = (self.labels.len() as f64 * dice.roll().powi(3)) as u32;
        let around = self.available.range(wish..).chain(self.available.range(..wish));
        around
            .filter(|rank| !self.refused.contains_key(rank))
            .take(party)
            .map(|&rank| self.labels[rank as usize].to_string())
            .collect()
    }

    /// Every seat with its state.
    pub(super) fn states(&self) -> BTreeMap<String, SeatState> {
        self.labels.iter().map(|label| label.to_string()).zip(self.states.iter().copied()).collect()
    }

    fn set(&mut self, rank: u32, state: SeatState) {
        let before = std::mem::replace(&mut self.states[rank as usize], state);
        *self.count_of(before) -= 1;
        *self.count_of(state) += 1;
        if state == SeatState::Available {
            self.available.insert(rank);
        } else {
            self.available.remove(&rank);
        }
    }

    fn count_of(&mut self, state: SeatState) -> &mut u64 {
        match state {
            SeatState::Available => &mut self.counts.available,
            SeatState::Held => &mut self.counts.held,
            SeatState::Sold => &mut self.counts.sold,
            SeatState::Blocked => &mut self.counts.blocked,
        }
    }

    fn note_scarcity(&mut self) {
        if self.available.iter().any(|rank| !self.refused.contains_key(rank)) {
            self.none_since = None;
        } else if self.none_since.is_none() {
            self.none_since = Some(Instant::now());
        }
    }
}

/// The counts that an answer itself claims, whether it has areas, and its sequence and states.
pub(super) fn parse(answer: &[u8]) -> Result<SeatsAnswer<'_>, Error> {
    serde_json::from_slice(answer).map_err(|error| malformed(error.to_string()))
}

#[derive(Deserialize)]
pub(super) struct SeatsAnswer<'a> {
    pub(super) sequence: u64,
    pub(super) counts: Counts,
    #[serde(borrow, deserialize_with = "pairs")]
    pub(super) states: Vec<(Cow<'a, str>, SeatState)>,
    #[serde(default)]
    pub(super) areas: serde_json::Value,
}

impl SeatsAnswer<'_> {
    /// Whether places are sold besides seats: `counts` may include them.
    pub(super) fn has_areas(&self) -> bool {
        match &self.areas {
            serde_json::Value::Array(areas) => !areas.is_empty(),
            serde_json::Value::Object(areas) => !areas.is_empty(),
            _ => false,
        }
    }
}

/// Reads a map as a list, borrowing its keys: no tree is built, and nothing is copied.
fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Cow<'de, str>, SeatState)>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Label<'a>(#[serde(borrow)] Cow<'a, str>);

    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(Cow<'de, str>, SeatState)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map from seat to state")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(0));
            while let Some((Label(label), state)) = map.next_entry()? {
                pairs.push((label, state));
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Pairs)
}

/// Sorts `Stalls-C-9` before `Stalls-C-10`.
fn natural_key(label: &str) -> (String, u32, String, u32, String) {
    let mut parts = label.rsplitn(3, '-');
    let number = parts.next().unwrap_or_default();
    let row = parts.next().unwrap_or_default();
    let section = parts.next().unwrap_or_default();
    let value = |text: &str| text.parse().unwrap_or(u32::MAX);
    (section.to_owned(), value(row), row.to_owned(), value(number), number.to_owned())
}

fn malformed(reason: String) -> Error {
    Error::Malformed { status: 200, reason }
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    #[test]
    fn follows_changes_and_ignores_old_news() {
        let full = br#"{"sequence": 5, "counts": {"available": 3, "sold": 1},
            "states": {"A-1-10": "available", "A-1-9": "available", "A-1-1": "sold", "B-1-1": "available"}}"#;
        let mut house = House::new(full).unwrap();
        assert_eq!(
            house.labels.iter().map(|label| &**label).collect::<Vec<_>>(),
            ["A-1-1", "A-1-9", "A-1-10", "B-1-1"]
        );
        assert_eq!(house.counts(), Counts { available: 3, sold: 1, ..Counts::default() });
        house.apply(br#"{"sequence": 7, "counts": {}, "states": {"A-1-9": "held"}}"#).unwrap();
        house.apply(br#"{"sequence": 6, "counts": {}, "states": {"A-1-9": "available"}}"#).unwrap();
        assert_eq!((house.counts().held, house.sequence()), (1, 7));
        assert!(house.apply(br#"{"sequence": 8, "counts": {}, "states": {"C-1-1": "held"}}"#).is_err());

        let mut dice = Script::draw(1, 1, 0.0, 0.0).dice;
        for _ in 0..100 {
            let picked = house.pick(&mut dice, 5);
            assert_eq!(picked.len(), 2);
            assert!(picked.iter().all(|label| ["A-1-10", "B-1-1"].contains(&label.as_str())));
        }
        house.note_unavailable(&["A-1-10", "B-1-1", "nowhere"]);
        assert!(house.none_since().is_some() && house.pick(&mut dice, 1).is_empty());
        // The refusal may have been late: what the looks told stands.
        assert_eq!(house.states()["A-1-10"], SeatState::Available);
        house.apply(br#"{"sequence": 9, "counts": {}, "states": {"B-1-1": "available"}}"#).unwrap();
        assert!(house.none_since().is_none());
        assert_eq!(house.pick(&mut dice, 5).len(), 2);
    }
}

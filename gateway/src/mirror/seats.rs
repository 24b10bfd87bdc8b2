//! The seats of one showtime as the feed tells them, and the bodies that show them.

use crate::layout::Layout;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{
    AreaCounts, Event, EventRecord, OrderId, Places, SeatId, SeatState, SeatsView, Sequence, ShowtimeId,
};

const AVAILABLE: u8 = SeatState::Available as u8;
const HELD: u8 = SeatState::Held as u8;
const SOLD: u8 = SeatState::Sold as u8;
const BLOCKED: u8 = SeatState::Blocked as u8;

/// Orders that lost their hold, as far as they are remembered.
const LOST_ORDERS_MAX: usize = 100_000;

/// States by their byte.
const STATES: [SeatState; 4] = [SeatState::Available, SeatState::Held, SeatState::Sold, SeatState::Blocked];

/// The state of every seat and area, as of `sequence`.
#[derive(Debug)]
pub(crate) struct Seats {
    showtime: ShowtimeId,
    layout: Arc<Layout>,
    sequence: Sequence,
    states: Vec<u8>,
    counts: [u32; 4],
    areas: Vec<AreaCounts>,
    /// Seats that changed, in order of sequence, oldest first.
    changes: VecDeque<(Sequence, SeatId)>,
    /// Every change after this sequence is in `changes`.
    changes_after: Sequence,
    changes_max: usize,
    /// Orders with places in areas that lost their hold: a late payment sells them free places, not held ones.
    lost_orders: BTreeSet<OrderId>,
    /// The last body that shows everything.
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    bytes: Bytes,
    sequence: Sequence,
    written_at: Instant,
}

impl Seats {
    pub(crate) fn new(showtime: ShowtimeId, layout: Arc<Layout>, view: SeatsView, changes_max: usize) -> Self {
        let mut seats = Self {
            showtime,
            layout,
            sequence: 0,
            states: Vec::new(),
            counts: [0; 4],
            areas: Vec::new(),
            changes: VecDeque::new(),
            changes_after: view.sequence,
            changes_max,
            lost_orders: BTreeSet::new(),
            body: None,
        };
        seats.set(view);
        seats
    }

    /// The last event that this takes account of.
    pub(crate) fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Takes over a snapshot. What happened before it is not known any more: a seat may have changed and changed back,
    /// and whoever saw that at another gateway has to be told, so older looks are answered with everything.
    pub(crate) fn replace(&mut self, view: SeatsView) {
        if view.sequence < self.sequence {
            return;
        }
        self.changes.clear();
        self.changes_after = view.sequence;
        self.set(view);
    }

    fn set(&mut self, view: SeatsView) {
        self.sequence = view.sequence;
        self.states = view.states;
        self.areas = view.areas;
        self.counts = [0; 4];
        for state in &mut self.states {
            // A state that this gateway does not know is not for sale.
            *state = (*state).min(BLOCKED);
            self.counts[usize::from(*state)] += 1;
        }
        self.body = None;
    }

    /// Takes account of an event of this showtime. One that is accounted for already changes nothing.
    pub(crate) fn apply(&mut self, record: &EventRecord) {
        if record.sequence <= self.sequence {
            return;
        }
        self.sequence = record.sequence;
        let held = |area: &mut AreaCounts, places: u32| area.held = area.held.saturating_add(places);
        let freed = |area: &mut AreaCounts, places: u32| area.held = area.held.saturating_sub(places);
        let sold = |area: &mut AreaCounts, places: u32| {
            area.held = area.held.saturating_sub(places);
            area.sold = area.sold.saturating_add(places);
        };
        let returned = |area: &mut AreaCounts, places: u32| area.sold = area.sold.saturating_sub(places);
        match &record.event {
            Event::SeatsHeld { places, .. } => self.turn(places, HELD, held),
            Event::HoldReleased { places, .. } | Event::HoldExpired { places, .. } => {
                self.turn(places, AVAILABLE, freed);
            }
            Event::OrderCanceled { order, places, .. } | Event::OrderExpired { order, places, .. }
                if !places.areas.is_empty() && self.lost_orders.len() < LOST_ORDERS_MAX =>
            {
                self.lost_orders.insert(*order);
            }
            Event::SeatsPurchased { order, places } => {
                if self.lost_orders.remove(order) {
                    self.turn(places, SOLD, held);
                }
                self.turn(places, SOLD, sold);
            }
            Event::SeatsReleased { places, .. } => self.turn(places, AVAILABLE, returned),
            Event::SeatsBlocked { seats, .. } => {
                for &seat in seats {
                    self.turn_seat(seat, BLOCKED);
                }
            }
            _ => {}
        }
    }

    fn turn(&mut self, places: &Places, state: u8, area: impl Fn(&mut AreaCounts, u32)) {
        for &seat in &places.seats {
            self.turn_seat(seat, state);
        }
        for &(id, quantity) in &places.areas {
            if let Some(counts) = self.areas.get_mut(usize::from(id.0)) {
                area(counts, quantity);
            }
        }
    }

    fn turn_seat(&mut self, seat: SeatId, state: u8) {
        let Some(old) = self.states.get_mut(seat.0 as usize) else {
            return;
        };
        if *old == state {
            return;
        }
        self.counts[usize::from(*old)] -= 1;
        self.counts[usize::from(state)] += 1;
        *old = state;
        self.remember(self.sequence, seat);
    }

    fn remember(&mut self, sequence: Sequence, seat: SeatId) {
        if self.changes.len() >= self.changes_max
            && let Some((forgotten, _)) = self.changes.pop_front()
        {
            self.changes_after = self.changes_after.max(forgotten);
        }
        self.changes.push_back((sequence, seat));
    }

    /// The body that shows everything up to `sequence_min` at least; written anew when something changed since, and
    /// `age_max` has passed.
    pub(crate) fn body(&mut self, sequence_min: Sequence, age_max: Duration) -> Bytes {
        if let Some(body) = &self.body
            && body.sequence >= sequence_min
            && (body.sequence == self.sequence || body.written_at.elapsed() < age_max)
        {
            return body.bytes.clone();
        }
        let seats = (0..self.states.len()).map(|seat| seat as u32);
        let bytes = Bytes::from(self.write(None, seats, self.layout.body.len() / 2));
        self.body = Some(Body { bytes: bytes.clone(), sequence: self.sequence, written_at: Instant::now() });
        bytes
    }

    /// The body that shows what changed after `since`; nothing when that is too long ago to tell.
    pub(crate) fn body_since(&self, since: Sequence) -> Option<Bytes> {
        if since < self.changes_after {
            return None;
        }
        let told = since + Sequence::from(planted::is(Bug::ChangesWithoutFirst));
        let first = self.changes.partition_point(|&(sequence, _)| sequence <= told);
        let changed: BTreeSet<u32> = self.changes.range(first..).map(|&(_, seat)| seat.0).collect();
        let len = changed.len() * 32 + 512;
        Some(Bytes::from(self.write(Some(since), changed.into_iter(), len)))
    }

    fn write(&self, since: Option<Sequence>, seats: impl Iterator<Item = u32>, len: usize) -> String {
        let mut text = String::with_capacity(len);
        // Whoever has seen more from another gateway is not sent back in time.
        let sequence = self.sequence.max(since.unwrap_or(0));
        let since = since.map_or_else(|| "null".to_owned(), |since| since.to_string());
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{{"showtimeId":"{}","sequence":{sequence},"since":{since},"counts":{{"available":{},"held":{},"sold":{},"blocked":{}}},"states":{{"#,
            self.showtime, self.counts[0], self.counts[1], self.counts[2], self.counts[3],
        );
        let mut comma = "";
        for seat in seats {
            let state = self.states.get(seat as usize).and_then(|&state| STATES.get(usize::from(state)));
            let key = self.layout.seat_key(seat as usize);
            let (Some(state), false) = (state, key.is_empty()) else {
                continue;
            };
            text.push_str(comma);
            text.push_str(key);
            text.push('"');
            text.push_str(state.as_str());
            text.push('"');
            comma = ",";
        }
        text.push_str(r#"},"areas":{"#);
        comma = "";
        for (area, counts) in self.layout.map.areas.iter().zip(&self.areas) {
            let name = serde_json::Value::from(area.name.as_str());
            let _ = write!(
                text,
                r#"{comma}{name}:{{"capacity":{},"available":{},"held":{},"sold":{}}}"#,
                counts.capacity,
                counts.available(),
                counts.held,
                counts.sold
            );
            comma = ",";
        }
        text.push_str("}}");
        text
    }
}

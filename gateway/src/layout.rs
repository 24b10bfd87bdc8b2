//! The immutable layout of a venue as the gateway needs it: look-ups, and the parts of bodies that never change.

use crate::wire;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use vestibule_engine::{
    OrganisationId, SEAT_COMPANION, SEAT_GAP_AFTER, SEAT_RESTRICTED_VIEW, SEAT_STEP_FREE, SEAT_WHEELCHAIR, SeatIndex,
    SeatMap, VenueRecord,
};

/// One version of a venue's layout.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) organisation: OrganisationId,
    pub(crate) seat_map_version: u32,
    pub(crate) map: Arc<SeatMap>,
    pub(crate) index: SeatIndex,
    /// `"Stalls-C-12":` for every seat, one after the other, as it stands in JSON.
    seat_keys: Box<str>,
    /// Where the key of each seat ends.
    seat_key_ends: Vec<u32>,
    /// The whole layout as JSON.
    pub(crate) body: Bytes,
    /// The strong entity tag of `body`, with its quotes.
    pub(crate) etag: String,
}

impl Layout {
    pub(crate) fn new(record: &VenueRecord) -> Self {
        let map = Arc::clone(&record.map);
        let index = SeatIndex::new(&map);
        let mut seat_keys = String::new();
        let mut seat_key_ends = Vec::with_capacity(index.seat_count());
        for label in index.labels() {
            seat_keys.push_str(&Value::from(label).to_string());
            seat_keys.push(':');
            seat_key_ends.push(seat_keys.len() as u32);
        }
        let body = Bytes::from(describe(record, &index).to_string());
        let digest = Sha256::digest(&body);
        let etag = format!("\"{}\"", wire::hex(&digest[..12]));
        Self {
            organisation: record.organisation,
            seat_map_version: record.seat_map_version,
            map,
            index,
            seat_keys: seat_keys.into_boxed_str(),
            seat_key_ends,
            body,
            etag,
        }
    }

    /// `"Stalls-C-12":` as it stands in JSON; nothing for a seat that does not exist.
    pub(crate) fn seat_key(&self, seat: usize) -> &str {
        let start = if seat == 0 { Some(&0) } else { self.seat_key_ends.get(seat - 1) };
        let range = start.zip(self.seat_key_ends.get(seat));
        range.and_then(|(&start, &end)| self.seat_keys.get(start as usize..end as usize)).unwrap_or_default()
    }
}

fn describe(record: &VenueRecord, index: &SeatIndex) -> Value {
    let map = &record.map;
    let category = |id: vestibule_engine::CategoryId| map.category(id).map(|category| category.name.as_str());
    let mut ids = index.labels();
    let sections: Vec<Value> = map
        .sections
        .iter()
        .map(|section| {
            let rows: Vec<Value> = section
                .rows
                .iter()
                .map(|row| {
                    let seats: Vec<Value> = row
                        .seats
                        .iter()
                        .map(|seat| {
                            let flags = [
                                (SEAT_WHEELCHAIR, "wheelchair"),
                                (SEAT_COMPANION, "companion"),
                                (SEAT_RESTRICTED_VIEW, "restrictedView"),
                                (SEAT_STEP_FREE, "stepFree"),
                            ];
                            let flags = flags.iter().filter(|(flag, _)| seat.flags & flag != 0);
                            let accessibility: Vec<&str> = flags.map(|&(_, name)| name).collect();
                            json!({
                                "id": ids.next(),
                                "label": seat.number,
                                "x": f64::from(seat.x) / 1_000.0,
                                "y": f64::from(seat.y) / 1_000.0,
                                "category": category(seat.category),
                                "accessibility": accessibility,
                                "gapAfter": seat.flags & SEAT_GAP_AFTER != 0,
                            })
                        })
                        .collect();
                    json!({"name": row.name, "seats": seats})
                })
                .collect();
            json!({"name": section.name, "rows": rows})
        })
        .collect();
    let areas: Vec<Value> = map
        .areas
        .iter()
        .map(|area| json!({"id": area.name, "capacity": area.capacity, "category": category(area.category)}))
        .collect();
    let categories: Vec<Value> =
        map.categories.iter().map(|category| json!({"name": category.name, "color": category.color})).collect();
    json!({
        "venueId": record.venue.to_string(),
        "version": record.seat_map_version,
        "name": record.name,
        "city": record.city,
        "country": record.country,
        "plan": map.name,
        "categories": categories,
        "sections": sections,
        "areas": areas,
    })
}

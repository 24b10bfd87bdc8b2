//! `CreateVenue` and `UpdateVenue`: a venue and the versions of its layout.

use super::rows::Dirty;
use super::{Directory, check_room, check_version};
use crate::group_state::{Events, check_text};
use crate::{CreateVenue, Event, Outcome, Refusal, SeatMap, UpdateVenue, VenueId, VenueRecord};
use std::sync::Arc;

/// The most venues.
pub(super) const VENUES_MAX: usize = if cfg!(test) { 6 } else { 100_000 };
/// The most versions of a venue's layout.
pub(super) const SEAT_MAP_VERSIONS_MAX: u32 = if cfg!(test) { 4 } else { 1_000 };

impl Directory {
    pub(super) fn create_venue(&mut self, ask: &CreateVenue, events: &mut Events) -> Result<Outcome, Refusal> {
        check_text("name", &ask.name, 1, 200)?;
        check_text("city", &ask.city, 0, 200)?;
        check_text("country", &ask.country, 0, 200)?;
        ask.map.check().map_err(|error| Refusal::out_of_bounds("plan", error.to_string()))?;
        if !self.organisations.contains_key(&ask.organisation) {
            return Err(Refusal::NoSuchOrganisation);
        }
        check_room("venues", self.venues.len(), VENUES_MAX)?;

        self.counters.venue += 1;
        let venue = VenueId(self.counters.venue);
        let record = VenueRecord {
            venue,
            organisation: ask.organisation,
            name: ask.name.clone(),
            city: ask.city.clone(),
            country: ask.country.clone(),
            version: 1,
            seat_map_version: 1,
            map: ask.map.clone(),
        };
        self.venues.insert(venue, record);
        self.dirty.extend([Dirty::Cluster, Dirty::Venue(venue), Dirty::SeatMap(venue, 1)]);
        events.push_group(Event::VenueCreated { venue });
        Ok(Outcome::VenueCreated { venue, version: 1 })
    }

    pub(super) fn update_venue(&mut self, ask: &UpdateVenue, events: &mut Events) -> Result<Outcome, Refusal> {
        check_text("name", ask.name.as_deref().unwrap_or("kept"), 1, 200)?;
        check_text("city", ask.city.as_deref().unwrap_or_default(), 0, 200)?;
        check_text("country", ask.country.as_deref().unwrap_or_default(), 0, 200)?;
        if let Some(map) = &ask.map {
            map.check().map_err(|error| Refusal::out_of_bounds("plan", error.to_string()))?;
        }
        let venue = self.venues.get(&ask.venue).ok_or(Refusal::NoSuchVenue)?;
        let mut changed = venue.clone();
        changed.name = ask.name.clone().unwrap_or(changed.name);
        changed.city = ask.city.clone().unwrap_or(changed.city);
        changed.country = ask.country.clone().unwrap_or(changed.country);
        if let Some(map) = &ask.map
            && *map != changed.map
        {
            changed.map = map.clone();
            changed.seat_map_version += 1;
        }
        check_version(ask.expected_version, venue.version)?;
        if changed.seat_map_version > SEAT_MAP_VERSIONS_MAX {
            return Err(Refusal::AtCapacity { what: "versions of the seat map".into() });
        }

        if *venue != changed {
            changed.version += 1;
            let version = changed.seat_map_version;
            if venue.seat_map_version != version {
                self.seat_maps.insert((ask.venue, venue.seat_map_version), venue.map.clone());
                self.dirty.insert(Dirty::SeatMap(ask.venue, version));
            }
            self.dirty.insert(Dirty::Venue(ask.venue));
            events.push_group(Event::VenueUpdated { venue: ask.venue, version });
        }
        let version = changed.version;
        self.venues.insert(ask.venue, changed);
        Ok(Outcome::Stored { version })
    }

    /// One version of a venue's layout.
    pub(super) fn seat_map(&self, venue: VenueId, version: u32) -> Option<&Arc<SeatMap>> {
        let current = self.venues.get(&venue).filter(|venue| venue.seat_map_version == version).map(|venue| &venue.map);
        current.or_else(|| self.seat_maps.get(&(venue, version)))
    }
}

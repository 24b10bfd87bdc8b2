//! `CreateVenue`.

use super::rows::Dirty;
use super::{Directory, check_room};
use crate::group_state::{Events, check_text};
use crate::{CreateVenue, Event, Outcome, Refusal, VenueId, VenueRecord};

/// The most venues.
const VENUES_MAX: usize = 100_000;

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
            map: ask.map.clone(),
        };
        self.venues.insert(venue, record);
        self.dirty.extend([Dirty::Cluster, Dirty::Venue(venue)]);
        events.push_group(Event::VenueCreated { venue });
        Ok(Outcome::VenueCreated { venue, version: 1 })
    }
}

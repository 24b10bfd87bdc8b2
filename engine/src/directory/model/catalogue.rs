//! Organisations, venues, events and showtimes.

use super::{Model, ModelVenue, bounds, check_given, check_len, check_room, check_version};
use crate::directory::event::EVENTS_MAX;
use crate::directory::organisation::ORGANISATIONS_MAX;
use crate::directory::showtime::SHOWTIMES_MAX;
use crate::directory::venue::{SEAT_MAP_VERSIONS_MAX, VENUES_MAX};
use crate::shard::GROUP_SHOWTIMES_MAX;
use crate::*;
use std::sync::Arc;

fn number<T>(list: &[T]) -> u64 {
    list.len() as u64 + 1
}

fn place(number: u64) -> usize {
    (number as usize).wrapping_sub(1)
}

/// Whether a layout holds together is the layout's own business, tested beside it.
fn check_map(map: &SeatMap) -> Result<(), Refusal> {
    map.check().map_err(|error| bounds("plan", error.to_string()))
}

fn check_performers(performers: &[String]) -> Result<(), Refusal> {
    if performers.len() > 100 {
        return Err(bounds("performers", "more than 100"));
    }
    performers.iter().try_for_each(|performer| check_len("performers", performer, 1, 200))
}

fn check_each_price(prices: &[Money]) -> Result<(), Refusal> {
    for price in prices {
        let is_code = price.currency.0.iter().all(u8::is_ascii_uppercase);
        if !is_code || price.currency != prices[0].currency {
            return Err(bounds("prices", "one ISO 4217 currency for all prices"));
        }
        if price.amount < 0 || price.amount > PRICE_MAX {
            return Err(bounds("prices", format!("{} is not between 0 and {PRICE_MAX}", price.amount)));
        }
    }
    Ok(())
}

impl Model {
    fn organisation(&self, id: OrganisationId) -> Result<&OrganisationRecord, Refusal> {
        self.organisations.get(place(id.0)).ok_or(Refusal::NoSuchOrganisation)
    }

    pub(super) fn create_organisation(&mut self, ask: &CreateOrganisation) -> Result<Outcome, Refusal> {
        check_len("name", &ask.name, 1, 200)?;
        check_room("organisations", self.organisations.len(), ORGANISATIONS_MAX)?;
        let organisation = OrganisationId(number(&self.organisations));
        self.organisations.push(OrganisationRecord { organisation, name: ask.name.clone(), version: 1 });
        self.tell(Event::OrganisationCreated { organisation });
        Ok(Outcome::OrganisationCreated { organisation })
    }

    pub(super) fn update_organisation(&mut self, ask: &UpdateOrganisation) -> Result<Outcome, Refusal> {
        check_len("name", &ask.name, 1, 200)?;
        let OrganisationRecord { organisation, name, version } = self.organisation(ask.organisation)?.clone();
        check_version(ask.expected_version, version)?;
        if name == ask.name {
            return Ok(Outcome::Stored { version });
        }
        let (name, version) = (ask.name.clone(), version + 1);
        self.organisations[place(organisation.0)] = OrganisationRecord { organisation, name, version };
        self.tell(Event::OrganisationUpdated { organisation });
        Ok(Outcome::Stored { version })
    }

    pub(super) fn create_venue(&mut self, ask: &CreateVenue) -> Result<Outcome, Refusal> {
        check_len("name", &ask.name, 1, 200)?;
        check_len("city", &ask.city, 0, 200)?;
        check_len("country", &ask.country, 0, 200)?;
        check_map(&ask.map)?;
        self.organisation(ask.organisation)?;
        check_room("venues", self.venues.len(), VENUES_MAX)?;
        let venue = VenueId(number(&self.venues));
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
        self.venues.push(ModelVenue { record, maps: vec![ask.map.clone()] });
        self.tell(Event::VenueCreated { venue });
        Ok(Outcome::VenueCreated { venue, version: 1 })
    }

    pub(super) fn update_venue(&mut self, ask: &UpdateVenue) -> Result<Outcome, Refusal> {
        check_given("name", ask.name.as_ref(), 1, 200)?;
        check_given("city", ask.city.as_ref(), 0, 200)?;
        check_given("country", ask.country.as_ref(), 0, 200)?;
        ask.map.as_ref().map_or(Ok(()), |map| check_map(map))?;
        let ModelVenue { record: old, mut maps } =
            self.venues.get(place(ask.venue.0)).ok_or(Refusal::NoSuchVenue)?.clone();
        check_version(ask.expected_version, old.version)?;
        let mut new = old.clone();
        ask.name.iter().for_each(|name| new.name = name.clone());
        ask.city.iter().for_each(|city| new.city = city.clone());
        ask.country.iter().for_each(|country| new.country = country.clone());
        if let Some(map) = ask.map.as_ref().filter(|map| **map != old.map) {
            check_room("versions of the seat map", maps.len(), SEAT_MAP_VERSIONS_MAX as usize)?;
            maps.push(map.clone());
            new.map = map.clone();
            new.seat_map_version = maps.len() as u32;
        }
        if new != old {
            new.version += 1;
            self.tell(Event::VenueUpdated { venue: ask.venue, version: new.seat_map_version });
        }
        let version = new.version;
        self.venues[place(ask.venue.0)] = ModelVenue { record: new, maps };
        Ok(Outcome::Stored { version })
    }

    pub(super) fn create_event(&mut self, ask: &CreateEvent) -> Result<Outcome, Refusal> {
        let EventDetails { title, description, category, city, performers } = &ask.details;
        check_len("title", title, 1, 300)?;
        check_len("description", description, 0, 20_000)?;
        check_len("category", category, 0, 100)?;
        check_len("city", city, 0, 200)?;
        check_performers(performers)?;
        self.organisation(ask.organisation)?;
        check_room("events", self.events.len(), EVENTS_MAX)?;
        self.events_made += 1;
        let event = EventId(self.events_made);
        let (organisation, details) = (ask.organisation, ask.details.clone());
        self.events.insert(event, EventEntry { event, organisation, version: 1, details });
        self.tell(Event::EventCreated { event });
        Ok(Outcome::EventStored { event, version: 1 })
    }

    pub(super) fn update_event(&mut self, ask: &UpdateEvent) -> Result<Outcome, Refusal> {
        check_given("title", ask.title.as_ref(), 1, 300)?;
        check_given("description", ask.description.as_ref(), 0, 20_000)?;
        check_given("category", ask.category.as_ref(), 0, 100)?;
        check_given("city", ask.city.as_ref(), 0, 200)?;
        ask.performers.as_ref().map_or(Ok(()), |performers| check_performers(performers))?;
        let old = self.events.get(&ask.event).ok_or(Refusal::NoSuchEvent)?.clone();
        check_version(ask.expected_version, old.version)?;
        let mut new = old.clone();
        ask.title.iter().for_each(|title| new.details.title = title.clone());
        ask.description.iter().for_each(|text| new.details.description = text.clone());
        ask.category.iter().for_each(|category| new.details.category = category.clone());
        ask.city.iter().for_each(|city| new.details.city = city.clone());
        ask.performers.iter().for_each(|performers| new.details.performers = performers.clone());
        if new != old {
            new.version += 1;
            self.tell(Event::EventUpdated { event: ask.event });
        }
        let version = new.version;
        self.events.insert(ask.event, new);
        Ok(Outcome::EventStored { event: ask.event, version })
    }

    pub(super) fn delete_event(&mut self, ask: &DeleteEvent) -> Result<Outcome, Refusal> {
        let entry = self.events.get(&ask.event).ok_or(Refusal::NoSuchEvent)?;
        check_version(ask.expected_version, entry.version)?;
        if self.showtimes.iter().any(|showtime| showtime.event == ask.event) {
            return Err(Refusal::InUse);
        }
        self.events.remove(&ask.event);
        self.tell(Event::EventDeleted { event: ask.event });
        Ok(Outcome::Done)
    }

    /// Showtimes of a group that are not over.
    pub(super) fn load(&self, group: u32) -> u64 {
        let of_group = |showtime: &&ShowtimeRecord| {
            showtime.showtime.group() == GroupId(group) && showtime.state != ShowtimeState::Archived
        };
        self.showtimes.iter().filter(of_group).count() as u64
    }

    pub(super) fn schedule_showtime(&mut self, ask: &ScheduleShowtime) -> Result<Outcome, Refusal> {
        // Whether settings fit together is their own business, tested beside them.
        ask.sale.validate()?;
        check_each_price(&ask.prices)?;
        let venue = self.venues.get(place(ask.venue.0)).ok_or(Refusal::NoSuchVenue)?.record.clone();
        let organisation = self.events.get(&ask.event).ok_or(Refusal::NoSuchEvent)?.organisation;
        if venue.organisation != organisation {
            return Err(Refusal::NoSuchVenue);
        }
        let (count, wanted) = (ask.prices.len(), venue.map.categories.len());
        if count != wanted {
            return Err(bounds("prices", format!("{count} prices for {wanted} categories")));
        }
        check_version(ask.seat_map_version.map(u64::from), u64::from(venue.seat_map_version))?;
        if self.groups == 0 {
            return Err(Refusal::NoGroups);
        }
        check_room("showtimes", self.showtimes.len(), SHOWTIMES_MAX)?;
        // The first of those that have the fewest, of those that have not had all that they may have, over or not.
        let mut chosen = None;
        for group in 1..=self.groups {
            let ever = self.showtimes.iter().filter(|showtime| showtime.showtime.group() == GroupId(group)).count();
            if ever < GROUP_SHOWTIMES_MAX && chosen.is_none_or(|chosen| self.load(group) < self.load(chosen)) {
                chosen = Some(group);
            }
        }
        let full = Refusal::AtCapacity { what: "showtimes of all groups".into() };
        let group = GroupId(chosen.ok_or(full)?);
        self.showtimes_made += 1;
        let showtime = ShowtimeId::new(group, self.showtimes_made);
        let record = ShowtimeRecord {
            showtime,
            organisation,
            event: ask.event,
            venue: ask.venue,
            seat_map_version: venue.seat_map_version,
            starts_at: ask.starts_at,
            prices: ask.prices.clone(),
            sale: ask.sale.clone(),
            draw_secret: ask.draw_secret,
            state: ShowtimeState::Provisioning,
            version: 1,
        };
        self.showtimes.push(record.clone());
        self.tell(Event::ShowtimeScheduled { showtime, event: ask.event });
        Ok(Outcome::ShowtimeStored { showtime: Box::new(record) })
    }

    /// The place of a showtime in the list.
    fn find_showtime(&self, id: ShowtimeId) -> Result<usize, Refusal> {
        self.showtimes.iter().position(|showtime| showtime.showtime == id).ok_or(Refusal::NoSuchShowtime)
    }

    pub(super) fn activate_showtime(&mut self, ask: &ActivateShowtime) -> Result<Outcome, Refusal> {
        let index = self.find_showtime(ask.showtime)?;
        check_version(ask.expected_version, self.showtimes[index].version)?;
        if self.showtimes[index].state == ShowtimeState::Provisioning {
            self.showtimes[index].state = ShowtimeState::Active;
            self.showtimes[index].version += 1;
            self.tell(Event::ShowtimeActivated { showtime: ask.showtime });
        }
        Ok(Outcome::ShowtimeStored { showtime: Box::new(self.showtimes[index].clone()) })
    }

    pub(super) fn archive_showtime(&mut self, ask: &ArchiveShowtime) -> Result<Outcome, Refusal> {
        let index = self.find_showtime(ask.showtime)?;
        check_version(ask.expected_version, self.showtimes[index].version)?;
        match self.showtimes[index].state {
            ShowtimeState::Provisioning => return Err(Refusal::InUse),
            ShowtimeState::Archived => {}
            ShowtimeState::Active => {
                self.showtimes[index].state = ShowtimeState::Archived;
                self.showtimes[index].version += 1;
                self.tell(Event::ShowtimeArchived { showtime: ask.showtime });
            }
        }
        Ok(Outcome::ShowtimeStored { showtime: Box::new(self.showtimes[index].clone()) })
    }

    pub(super) fn venue(&self, id: VenueId) -> Option<&ModelVenue> {
        self.venues.get(place(id.0))
    }

    pub(super) fn seat_map(&self, venue: VenueId, version: u32) -> Option<Arc<SeatMap>> {
        self.venue(venue)?.maps.get(place(version.into())).cloned()
    }
}

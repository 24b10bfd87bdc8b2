//! `CreateEvent`, `UpdateEvent`, `DeleteEvent`: the catalogue.

use super::rows::Dirty;
use super::{Directory, check_room, check_version};
use crate::group_state::{Events, check_text};
use crate::{CreateEvent, DeleteEvent, Event, EventDetails, EventEntry, EventId, Outcome, Refusal, UpdateEvent};

/// The most events.
pub(super) const EVENTS_MAX: usize = if cfg!(test) { 8 } else { 1_000_000 };

fn check_details(details: &EventDetails) -> Result<(), Refusal> {
    check_text("title", &details.title, 1, 300)?;
    check_text("description", &details.description, 0, 20_000)?;
    check_text("category", &details.category, 0, 100)?;
    check_text("city", &details.city, 0, 200)?;
    if details.performers.len() > 100 {
        return Err(Refusal::out_of_bounds("performers", "more than 100"));
    }
    details.performers.iter().try_for_each(|performer| check_text("performers", performer, 1, 200))
}

impl Directory {
    pub(super) fn create_event(&mut self, ask: &CreateEvent, events: &mut Events) -> Result<Outcome, Refusal> {
        check_details(&ask.details)?;
        if !self.organisations.contains_key(&ask.organisation) {
            return Err(Refusal::NoSuchOrganisation);
        }
        check_room("events", self.events.len(), EVENTS_MAX)?;

        self.counters.event += 1;
        let event = EventId(self.counters.event);
        let details = ask.details.clone();
        self.events.insert(event, EventEntry { event, organisation: ask.organisation, version: 1, details });
        self.dirty.extend([Dirty::Cluster, Dirty::Event(event)]);
        events.push_group(Event::EventCreated { event });
        Ok(Outcome::EventStored { event, version: 1 })
    }

    pub(super) fn update_event(&mut self, ask: &UpdateEvent, events: &mut Events) -> Result<Outcome, Refusal> {
        check_details(&EventDetails {
            title: ask.title.clone().unwrap_or_else(|| "kept".into()),
            description: ask.description.clone().unwrap_or_default(),
            category: ask.category.clone().unwrap_or_default(),
            city: ask.city.clone().unwrap_or_default(),
            performers: ask.performers.clone().unwrap_or_default(),
        })?;
        let entry = self.events.get(&ask.event).ok_or(Refusal::NoSuchEvent)?;
        let old = &entry.details;
        let details = EventDetails {
            title: ask.title.clone().unwrap_or_else(|| old.title.clone()),
            description: ask.description.clone().unwrap_or_else(|| old.description.clone()),
            category: ask.category.clone().unwrap_or_else(|| old.category.clone()),
            city: ask.city.clone().unwrap_or_else(|| old.city.clone()),
            performers: ask.performers.clone().unwrap_or_else(|| old.performers.clone()),
        };
        check_version(ask.expected_version, entry.version)?;
        let entry = self.events.get_mut(&ask.event).ok_or(Refusal::NoSuchEvent)?;

        if entry.details != details {
            entry.details = details;
            entry.version += 1;
            self.dirty.insert(Dirty::Event(ask.event));
            events.push_group(Event::EventUpdated { event: ask.event });
        }
        Ok(Outcome::EventStored { event: ask.event, version: entry.version })
    }

    pub(super) fn delete_event(&mut self, ask: &DeleteEvent, events: &mut Events) -> Result<Outcome, Refusal> {
        let entry = self.events.get(&ask.event).ok_or(Refusal::NoSuchEvent)?;
        check_version(ask.expected_version, entry.version)?;
        if self.showtimes.values().any(|showtime| showtime.event == ask.event) {
            return Err(Refusal::InUse);
        }

        self.events.remove(&ask.event);
        self.dirty.insert(Dirty::Event(ask.event));
        events.push_group(Event::EventDeleted { event: ask.event });
        Ok(Outcome::Done)
    }
}

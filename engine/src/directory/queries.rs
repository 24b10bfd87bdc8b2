//! Questions and their answers: nothing here changes anything.

use super::Directory;
use crate::{DirectoryAnswer, DirectoryQuery, EventEntry, EventFilter, EventId, ShowtimeRecord, ShowtimeState};
use std::collections::BTreeSet;
use std::ops::Bound;

/// Events a page, when the filter does not say.
const EVENTS_LIMIT: usize = 100;
/// The most events a page.
const EVENTS_LIMIT_MAX: usize = 1_000;

impl Directory {
    pub(super) fn answer(&self, query: &DirectoryQuery) -> DirectoryAnswer {
        let showtimes = |wanted: &dyn Fn(&ShowtimeRecord) -> bool| {
            self.showtimes.values().filter(|showtime| wanted(showtime)).cloned().collect::<Vec<_>>()
        };
        match query {
            DirectoryQuery::Venue(id) => DirectoryAnswer::Venue(self.venues.get(id).cloned().map(Box::new)),
            DirectoryQuery::Event(id) => DirectoryAnswer::Event(self.events.get(id).cloned().map(Box::new)),
            DirectoryQuery::Events(filter) => self.find_events(filter),
            DirectoryQuery::Showtime(id) => DirectoryAnswer::Showtime(self.showtimes.get(id).cloned().map(Box::new)),
            DirectoryQuery::Showtimes(event) => {
                let mut found = showtimes(&|showtime| showtime.event == *event);
                found.sort_by_key(|showtime| (showtime.starts_at, showtime.showtime));
                DirectoryAnswer::Showtimes(found)
            }
            DirectoryQuery::Provisioning => {
                DirectoryAnswer::Showtimes(showtimes(&|showtime| showtime.state == ShowtimeState::Provisioning))
            }
            DirectoryQuery::Groups => DirectoryAnswer::Groups(self.group_records()),
            DirectoryQuery::TokenKeys => {
                DirectoryAnswer::TokenKeys { version: self.keys_version, keys: self.keys.clone() }
            }
            DirectoryQuery::Organisation(id) => DirectoryAnswer::Organisation(self.organisations.get(id).cloned()),
            DirectoryQuery::SeatMap { venue, version } => {
                DirectoryAnswer::SeatMap(self.seat_map(*venue, *version).cloned())
            }
            DirectoryQuery::User(id) => DirectoryAnswer::User(self.users.get(id).cloned().map(Box::new)),
            DirectoryQuery::UserByEmail(email) => {
                let user = self.users_by_email.get(&email.to_lowercase()).and_then(|id| self.users.get(id));
                DirectoryAnswer::User(user.cloned().map(Box::new))
            }
            DirectoryQuery::Nodes => DirectoryAnswer::Nodes(self.nodes.values().cloned().collect()),
            DirectoryQuery::Placements => DirectoryAnswer::Placements(self.placements.values().cloned().collect()),
            DirectoryQuery::Organisations => {
                DirectoryAnswer::Organisations(self.organisations.values().cloned().collect())
            }
        }
    }

    fn find_events(&self, filter: &EventFilter) -> DirectoryAnswer {
        let limit = match filter.limit as usize {
            0 => EVENTS_LIMIT,
            limit => limit.min(EVENTS_LIMIT_MAX),
        };
        let in_time: Option<BTreeSet<EventId>> = (filter.from.is_some() || filter.to.is_some()).then(|| {
            let in_time = |showtime: &&ShowtimeRecord| {
                filter.from.is_none_or(|from| showtime.starts_at >= from)
                    && filter.to.is_none_or(|to| showtime.starts_at < to)
            };
            self.showtimes.values().filter(in_time).map(|showtime| showtime.event).collect()
        });
        let text = filter.text.as_ref().map(|text| text.to_lowercase());
        let is_same = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.to_lowercase() == value.to_lowercase())
        };
        let is_wanted = |entry: &&EventEntry| {
            let details = &entry.details;
            filter.organisation.is_none_or(|organisation| organisation == entry.organisation)
                && is_same(&filter.city, &details.city)
                && is_same(&filter.category, &details.category)
                && in_time.as_ref().is_none_or(|events| events.contains(&entry.event))
                && text.as_ref().is_none_or(|text| {
                    let texts = [&details.title, &details.description].into_iter().chain(&details.performers);
                    texts.into_iter().any(|candidate| candidate.to_lowercase().contains(text))
                })
        };
        let after = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.events.range((after, Bound::Unbounded)).map(|(_, entry)| entry).filter(is_wanted);
        let mut events: Vec<EventEntry> = found.take(limit + 1).cloned().collect();
        let has_more = events.len() > limit;
        events.truncate(limit);
        let next = events.last().map(|entry| entry.event).filter(|_| has_more);
        DirectoryAnswer::Events { events, next }
    }
}

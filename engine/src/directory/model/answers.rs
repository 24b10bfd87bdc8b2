//! Every question, and what the model answers.

use super::Model;
use crate::dice::Dice;
use crate::*;

impl Model {
    /// Every question about everything there is, and about a little that is not.
    pub(super) fn questions(&self, dice: &mut Dice) -> Vec<DirectoryQuery> {
        let mut questions = vec![
            DirectoryQuery::Provisioning,
            DirectoryQuery::Groups,
            DirectoryQuery::TokenKeys,
            DirectoryQuery::Organisations,
            DirectoryQuery::Nodes,
            DirectoryQuery::Placements,
            DirectoryQuery::Events(EventFilter::default()),
            DirectoryQuery::Events(filter(dice)),
            DirectoryQuery::Events(filter(dice)),
        ];
        let organisations = 0..=self.organisations.len() as u64 + 1;
        questions.extend(organisations.map(|id| DirectoryQuery::Organisation(OrganisationId(id))));
        for id in (0..=self.venues.len() as u64 + 1).map(VenueId) {
            questions.push(DirectoryQuery::Venue(id));
            questions.extend((0..=5).map(|version| DirectoryQuery::SeatMap { venue: id, version }));
        }
        for id in (0..=self.events_made + 1).map(EventId) {
            questions.extend([DirectoryQuery::Event(id), DirectoryQuery::Showtimes(id)]);
        }
        let unknown = ShowtimeId::new(GroupId(1), self.showtimes_made + 1);
        let showtimes = self.showtimes.iter().map(|record| record.showtime).chain([unknown]);
        questions.extend(showtimes.map(DirectoryQuery::Showtime));
        for number in 0..9 {
            questions.push(DirectoryQuery::User(UserId(number)));
            let email = format!("U{number}@Example.org");
            let email = if dice.one_in(2) { email } else { email.to_lowercase() };
            questions.push(DirectoryQuery::UserByEmail(email));
        }
        questions
    }

    pub(super) fn answer(&self, query: &DirectoryQuery) -> DirectoryAnswer {
        match query {
            DirectoryQuery::Venue(id) => {
                DirectoryAnswer::Venue(self.venue(*id).map(|venue| Box::new(venue.record.clone())))
            }
            DirectoryQuery::Event(id) => DirectoryAnswer::Event(self.events.get(id).cloned().map(Box::new)),
            DirectoryQuery::Events(filter) => self.find_events(filter),
            DirectoryQuery::Showtime(id) => {
                let found = self.showtimes.iter().find(|record| record.showtime == *id);
                DirectoryAnswer::Showtime(found.cloned().map(Box::new))
            }
            DirectoryQuery::Showtimes(event) => {
                let mut found = self.showtimes.clone();
                found.retain(|record| record.event == *event);
                found.sort_by_key(|record| (record.starts_at, record.showtime));
                DirectoryAnswer::Showtimes(found)
            }
            DirectoryQuery::Provisioning => {
                let mut found = self.showtimes.clone();
                found.retain(|record| record.state == ShowtimeState::Provisioning);
                found.sort_by_key(|record| record.showtime);
                DirectoryAnswer::Showtimes(found)
            }
            DirectoryQuery::Groups => {
                let record = |group| GroupRecord { group: GroupId(group), showtimes: self.load(group) };
                DirectoryAnswer::Groups((1..=self.groups).map(record).collect())
            }
            DirectoryQuery::TokenKeys => {
                DirectoryAnswer::TokenKeys { version: self.keys_version, keys: self.keys.clone() }
            }
            DirectoryQuery::Organisation(id) => {
                let found = self.organisations.iter().find(|record| record.organisation == *id);
                DirectoryAnswer::Organisation(found.cloned())
            }
            DirectoryQuery::Organisations => DirectoryAnswer::Organisations(self.organisations.clone()),
            DirectoryQuery::SeatMap { venue, version } => DirectoryAnswer::SeatMap(self.seat_map(*venue, *version)),
            DirectoryQuery::User(id) => {
                let found = self.users.iter().find(|record| record.user == *id);
                DirectoryAnswer::User(found.cloned().map(Box::new))
            }
            DirectoryQuery::UserByEmail(email) => {
                DirectoryAnswer::User(self.user_by_email(email).cloned().map(Box::new))
            }
            DirectoryQuery::Nodes => DirectoryAnswer::Nodes(self.nodes.values().cloned().collect()),
            DirectoryQuery::Placements => DirectoryAnswer::Placements(self.placements.values().cloned().collect()),
        }
    }

    fn is_wanted(&self, filter: &EventFilter, entry: &EventEntry) -> bool {
        let EventDetails { title, description, category, city, performers } = &entry.details;
        let mut is_wanted = filter.organisation.is_none_or(|organisation| organisation == entry.organisation);
        if let Some(text) = &filter.text {
            let everything = [std::slice::from_ref(title), std::slice::from_ref(description), performers].concat();
            is_wanted &= everything.iter().any(|part| part.to_lowercase().contains(&text.to_lowercase()));
        }
        for (wanted, value) in [(&filter.city, city), (&filter.category, category)] {
            is_wanted &= wanted.as_ref().is_none_or(|wanted| wanted.to_lowercase() == value.to_lowercase());
        }
        if filter.from.is_some() || filter.to.is_some() {
            is_wanted &= self.showtimes.iter().any(|showtime| {
                showtime.event == entry.event
                    && filter.from.is_none_or(|from| from <= showtime.starts_at)
                    && filter.to.is_none_or(|to| showtime.starts_at < to)
            });
        }
        is_wanted && filter.after.is_none_or(|after| after < entry.event)
    }

    fn find_events(&self, filter: &EventFilter) -> DirectoryAnswer {
        let mut events: Vec<EventEntry> = self.events.values().cloned().collect();
        events.retain(|entry| self.is_wanted(filter, entry));
        let limit = if filter.limit == 0 { 100 } else { filter.limit.min(1_000) as usize };
        let next = (events.len() > limit).then(|| events[limit - 1].event);
        events.truncate(limit);
        DirectoryAnswer::Events { events, next }
    }
}

/// A filter that lets some through.
fn filter(dice: &mut Dice) -> EventFilter {
    let text = |dice: &mut Dice| dice.pick(&[None, None, None, Some("a"), Some("É"), Some("")]).map(str::to_owned);
    EventFilter {
        organisation: dice.one_in(3).then(|| OrganisationId(dice.below(3))),
        text: text(dice),
        city: text(dice),
        category: text(dice),
        from: dice.one_in(4).then(|| Timestamp(dice.below(4))),
        to: dice.one_in(4).then(|| Timestamp(dice.below(4))),
        after: dice.one_in(4).then(|| EventId(dice.below(6))),
        limit: dice.pick(&[0, 1, 2, 3, 5_000]),
    }
}

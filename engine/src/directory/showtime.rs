//! `ScheduleShowtime` and `ActivateShowtime`: from the plan to the group that serves it.
//!
//! ```text
//!   provisioning ──its group has it──▶ active ──▶ archived
//! ```

use super::rows::Dirty;
use super::{Directory, check_room, check_version};
use crate::group_state::Events;
use crate::shard::{GROUP_SHOWTIMES_MAX, check_each_price, check_prices};
use crate::{
    ActivateShowtime, ArchiveShowtime, Event, GroupId, GroupRecord, Outcome, Refusal, ScheduleShowtime, ShowtimeId,
    ShowtimeRecord, ShowtimeState,
};

/// The most showtimes.
pub(super) const SHOWTIMES_MAX: usize = if cfg!(test) { 12 } else { 1_000_000 };

impl Directory {
    /// The shard groups and how many showtimes each has, archived ones not counted.
    pub(super) fn group_records(&self) -> Vec<GroupRecord> {
        let mut groups: Vec<GroupRecord> =
            (1..=self.group_count).map(|group| GroupRecord { group: GroupId(group), showtimes: 0 }).collect();
        for showtime in self.showtimes.values().filter(|showtime| showtime.state != ShowtimeState::Archived) {
            let index = showtime.showtime.group().0.checked_sub(1);
            if let Some(group) = index.and_then(|index| groups.get_mut(index as usize)) {
                group.showtimes += 1;
            }
        }
        groups
    }

    pub(super) fn schedule_showtime(
        &mut self,
        ask: &ScheduleShowtime,
        events: &mut Events,
    ) -> Result<Outcome, Refusal> {
        ask.sale.validate()?;
        check_each_price(&ask.prices)?;
        let venue = self.venues.get(&ask.venue).ok_or(Refusal::NoSuchVenue)?;
        let event = self.events.get(&ask.event).ok_or(Refusal::NoSuchEvent)?;
        if venue.organisation != event.organisation {
            return Err(Refusal::NoSuchVenue);
        }
        check_prices(&venue.map, &ask.prices)?;
        check_version(ask.seat_map_version.map(u64::from), u64::from(venue.seat_map_version))?;
        let mut groups = self.group_records();
        if groups.is_empty() {
            return Err(Refusal::NoGroups);
        }
        check_room("showtimes", self.showtimes.len(), SHOWTIMES_MAX)?;
        // A group keeps what is archived, and refuses more than it can have.
        let mut ever = vec![0; groups.len()];
        for index in self.showtimes.keys().filter_map(|showtime| showtime.group().0.checked_sub(1)) {
            if let Some(count) = ever.get_mut(index as usize) {
                *count += 1;
            }
        }
        groups.retain(|group| ever[group.group.0 as usize - 1] < GROUP_SHOWTIMES_MAX);
        let group = groups.iter().min_by_key(|group| (group.showtimes, group.group));
        let group = group.ok_or(Refusal::AtCapacity { what: "showtimes of all groups".into() })?.group;

        self.counters.showtime += 1;
        let showtime = ShowtimeId::new(group, self.counters.showtime);
        let record = ShowtimeRecord {
            showtime,
            organisation: event.organisation,
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
        self.showtimes.insert(showtime, record.clone());
        self.dirty.extend([Dirty::Cluster, Dirty::Showtime(showtime)]);
        events.push_group(Event::ShowtimeScheduled { showtime, event: ask.event });
        Ok(Outcome::ShowtimeStored { showtime: Box::new(record) })
    }

    pub(super) fn activate_showtime(
        &mut self,
        ask: &ActivateShowtime,
        events: &mut Events,
    ) -> Result<Outcome, Refusal> {
        let record = self.showtimes.get_mut(&ask.showtime).ok_or(Refusal::NoSuchShowtime)?;
        check_version(ask.expected_version, record.version)?;

        if record.state == ShowtimeState::Provisioning {
            record.state = ShowtimeState::Active;
            record.version += 1;
            self.dirty.insert(Dirty::Showtime(ask.showtime));
            events.push_group(Event::ShowtimeActivated { showtime: ask.showtime });
        }
        Ok(Outcome::ShowtimeStored { showtime: Box::new(record.clone()) })
    }

    pub(super) fn archive_showtime(&mut self, ask: &ArchiveShowtime, events: &mut Events) -> Result<Outcome, Refusal> {
        let record = self.showtimes.get_mut(&ask.showtime).ok_or(Refusal::NoSuchShowtime)?;
        check_version(ask.expected_version, record.version)?;
        if record.state == ShowtimeState::Provisioning {
            return Err(Refusal::InUse);
        }

        if record.state == ShowtimeState::Active {
            record.state = ShowtimeState::Archived;
            record.version += 1;
            self.dirty.insert(Dirty::Showtime(ask.showtime));
            events.push_group(Event::ShowtimeArchived { showtime: ask.showtime });
        }
        Ok(Outcome::ShowtimeStored { showtime: Box::new(record.clone()) })
    }
}

//! The directory as rows, and back; and its audit.

use super::{Counters, Directory};
use crate::row::{CorruptRow, ROW_VERSION, Row, RowWriter, row_key, row_value};
use crate::shard::GROUP_SHOWTIMES_MAX;
use crate::{
    EventId, GroupId, Loader, NodeNumber, NodeState, OrganisationId, SeatMap, ShowtimeId, ShowtimeState, StateMachine,
    TokenKey, UserId, VenueId, VenueRecord, codec,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Groups, keys and counters.
const TABLE_CLUSTER: u8 = 0x02;
/// Organisations.
const TABLE_ORGANISATIONS: u8 = 0x10;
/// Venues without their layouts.
const TABLE_VENUES: u8 = 0x11;
/// Events.
const TABLE_EVENTS: u8 = 0x12;
/// Showtimes.
const TABLE_SHOWTIMES: u8 = 0x13;

/// Layouts of venues, by version, in pieces.
const TABLE_SEAT_MAPS: u8 = 0x14;
/// Users.
const TABLE_USERS: u8 = 0x15;
/// Nodes.
const TABLE_NODES: u8 = 0x16;
/// Placements.
const TABLE_PLACEMENTS: u8 = 0x17;

/// Bytes of one piece of a layout.
const PIECE_LEN: usize = 32 << 10;

/// What changed since the last drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirty {
    Cluster,
    Organisation(OrganisationId),
    Venue(VenueId),
    Event(EventId),
    Showtime(ShowtimeId),
    SeatMap(VenueId, u32),
    User(UserId),
    Node(NodeNumber),
    Placement(GroupId),
}

/// A venue as it is stored: its layouts have rows of their own.
#[derive(Serialize, Deserialize)]
struct StoredVenue {
    organisation: OrganisationId,
    name: String,
    city: String,
    country: String,
    version: u64,
    seat_map_version: u32,
}

/// What the rows of layouts held: how many pieces, and their bytes.
type Pieces = BTreeMap<(VenueId, u32), (u64, Vec<u8>)>;

#[derive(Serialize, Deserialize)]
struct Cluster {
    group_count: u32,
    keys: Vec<TokenKey>,
    keys_version: u64,
    counters: Counters,
}

fn put_or_remove<T: Serialize>(table: u8, id: u64, value: Option<&T>, rows: &mut RowWriter) {
    match value {
        Some(value) => rows.put(row_key(table, &[id]), row_value(value)),
        None => rows.remove(row_key(table, &[id])),
    }
}

/// A directory that is being rebuilt.
pub(super) struct DirectoryLoader {
    directory: Directory,
    /// Venues whose layouts have not come yet.
    stored: BTreeMap<VenueId, StoredVenue>,
    pieces: Pieces,
    last_key: Option<Vec<u8>>,
}

impl DirectoryLoader {
    pub(super) fn new(group: GroupId) -> Self {
        Self { directory: Directory::new(group), stored: BTreeMap::new(), pieces: Pieces::new(), last_key: None }
    }
}

impl Loader<Directory> for DirectoryLoader {
    fn take(&mut self, row: Row) -> Result<(), CorruptRow> {
        if self.last_key.as_ref() >= Some(&row.key) {
            return Err(row.corrupt("the rows are out of order"));
        }
        let table = row.table()?;
        if !self.directory.state.load_row(table, &row)? {
            self.directory.load_row(table, &row, &mut self.stored, &mut self.pieces)?;
        }
        self.last_key = Some(row.key);
        Ok(())
    }

    fn finish(self) -> Result<Directory, CorruptRow> {
        let Self { mut directory, stored, pieces, .. } = self;
        let whole = |reason| CorruptRow { key: String::new(), reason };
        for ((id, version), (_, bytes)) in pieces {
            let map: SeatMap = codec::decode(&bytes).map_err(|error| whole(format!("{id}: {error}")))?;
            map.check().map_err(|error| whole(format!("{id}: {error}")))?;
            directory.seat_maps.insert((id, version), Arc::new(map));
        }
        for (venue, stored) in stored {
            let StoredVenue { organisation, name, city, country, version, seat_map_version } = stored;
            let map = directory.seat_maps.remove(&(venue, seat_map_version));
            let map = map.ok_or_else(|| whole(format!("the layout of {venue} is missing")))?;
            let record = VenueRecord { venue, organisation, name, city, country, version, seat_map_version, map };
            directory.venues.insert(venue, record);
        }
        for user in directory.users.values() {
            directory.users_by_email.insert(user.email.to_lowercase(), user.user);
        }
        directory.state.finish_load()?;
        directory.audit_all().map_err(whole)?;
        Ok(directory)
    }
}

impl Directory {
    fn write_row(&self, dirty: Dirty, rows: &mut RowWriter) {
        match dirty {
            Dirty::Cluster => {
                let cluster = Cluster {
                    group_count: self.group_count,
                    keys: self.keys.clone(),
                    keys_version: self.keys_version,
                    counters: self.counters,
                };
                rows.put(row_key(TABLE_CLUSTER, &[]), row_value(&cluster));
            }
            Dirty::Organisation(id) => put_or_remove(TABLE_ORGANISATIONS, id.0, self.organisations.get(&id), rows),
            Dirty::Venue(id) => {
                let stored = self.venues.get(&id).map(|venue| StoredVenue {
                    organisation: venue.organisation,
                    name: venue.name.clone(),
                    city: venue.city.clone(),
                    country: venue.country.clone(),
                    version: venue.version,
                    seat_map_version: venue.seat_map_version,
                });
                put_or_remove(TABLE_VENUES, id.0, stored.as_ref(), rows);
            }
            Dirty::SeatMap(id, version) => {
                let Some(map) = self.seat_map(id, version) else { return };
                for (number, piece) in codec::encode(&**map).chunks(PIECE_LEN).enumerate() {
                    let mut value = vec![ROW_VERSION];
                    value.extend_from_slice(piece);
                    rows.put(row_key(TABLE_SEAT_MAPS, &[id.0, u64::from(version), number as u64]), value);
                }
            }
            Dirty::User(id) => {
                // A subject has 128 bits: two numbers of the key.
                let key = row_key(TABLE_USERS, &[(id.0 >> 64) as u64, id.0 as u64]);
                if let Some(user) = self.users.get(&id) {
                    rows.put(key, row_value(user));
                }
            }
            Dirty::Node(id) => put_or_remove(TABLE_NODES, id.0, self.nodes.get(&id), rows),
            Dirty::Placement(id) => put_or_remove(TABLE_PLACEMENTS, u64::from(id.0), self.placements.get(&id), rows),
            Dirty::Event(id) => put_or_remove(TABLE_EVENTS, id.0, self.events.get(&id), rows),
            Dirty::Showtime(id) => put_or_remove(TABLE_SHOWTIMES, id.0, self.showtimes.get(&id), rows),
        }
    }

    fn is_untouched(&self) -> bool {
        self.group_count == 0 && self.keys.is_empty() && self.counters == Counters::default()
    }

    pub(super) fn write_all(&self, rows: &mut RowWriter) {
        self.state.write_all(rows);
        if !self.is_untouched() {
            self.write_row(Dirty::Cluster, rows);
        }
        self.organisations.keys().for_each(|&id| self.write_row(Dirty::Organisation(id), rows));
        for (&id, venue) in &self.venues {
            self.write_row(Dirty::Venue(id), rows);
            self.write_row(Dirty::SeatMap(id, venue.seat_map_version), rows);
        }
        self.seat_maps.keys().for_each(|&(id, version)| self.write_row(Dirty::SeatMap(id, version), rows));
        self.users.keys().for_each(|&id| self.write_row(Dirty::User(id), rows));
        self.nodes.keys().for_each(|&id| self.write_row(Dirty::Node(id), rows));
        self.placements.keys().for_each(|&id| self.write_row(Dirty::Placement(id), rows));
        self.events.keys().for_each(|&id| self.write_row(Dirty::Event(id), rows));
        self.showtimes.keys().for_each(|&id| self.write_row(Dirty::Showtime(id), rows));
    }

    pub(super) fn write_dirty(&mut self, rows: &mut RowWriter) {
        self.state.write_dirty(rows);
        for dirty in std::mem::take(&mut self.dirty) {
            self.write_row(dirty, rows);
        }
    }

    fn load_row(
        &mut self,
        table: u8,
        row: &Row,
        stored: &mut BTreeMap<VenueId, StoredVenue>,
        pieces: &mut Pieces,
    ) -> Result<(), CorruptRow> {
        match table {
            TABLE_CLUSTER => {
                let [] = row.key_parts()?;
                let cluster: Cluster = row.decode()?;
                self.group_count = cluster.group_count;
                self.keys = cluster.keys;
                self.keys_version = cluster.keys_version;
                self.counters = cluster.counters;
            }
            TABLE_VENUES => {
                let [id] = row.key_parts()?;
                stored.insert(VenueId(id), row.decode()?);
            }
            TABLE_SEAT_MAPS => {
                let [id, version, piece] = row.key_parts()?;
                let version = u32::try_from(version).map_err(|_| row.corrupt("an impossible version"))?;
                let (count, bytes) = pieces.entry((VenueId(id), version)).or_default();
                if piece != *count {
                    return Err(row.corrupt(format!("piece {count} was to come")));
                }
                *count += 1;
                bytes.extend_from_slice(row.payload()?);
            }
            TABLE_USERS => {
                let [high, low] = row.key_parts()?;
                self.users.insert(UserId(u128::from(high) << 64 | u128::from(low)), row.decode()?);
            }
            TABLE_NODES => {
                let [id] = row.key_parts()?;
                self.nodes.insert(NodeNumber(id), row.decode()?);
            }
            TABLE_PLACEMENTS => {
                let [id] = row.key_parts()?;
                let id = u32::try_from(id).map_err(|_| row.corrupt("an impossible group"))?;
                self.placements.insert(GroupId(id), row.decode()?);
            }
            TABLE_ORGANISATIONS => {
                let [id] = row.key_parts()?;
                self.organisations.insert(OrganisationId(id), row.decode()?);
            }
            TABLE_EVENTS => {
                let [id] = row.key_parts()?;
                self.events.insert(EventId(id), row.decode()?);
            }
            TABLE_SHOWTIMES => {
                let [id] = row.key_parts()?;
                self.showtimes.insert(ShowtimeId(id), row.decode()?);
            }
            _ => return Err(row.corrupt("an unknown table")),
        }
        Ok(())
    }

    /// Recounts every invariant: what is named exists, under its own id, and was counted.
    pub(super) fn audit_all(&self) -> Result<(), String> {
        self.state.audit()?;
        let fail = |what: String| Err(what);
        if self.keys.is_empty() != (self.keys_version == 0) {
            return fail("the keys are of another version".into());
        }
        for (id, record) in &self.organisations {
            if record.organisation != *id || record.version == 0 || id.0 == 0 || id.0 > self.counters.organisation {
                return fail(format!("{id} was never made, or is another"));
            }
        }
        for (id, venue) in &self.venues {
            if venue.venue != *id
                || venue.version < u64::from(venue.seat_map_version)
                || id.0 == 0
                || id.0 > self.counters.venue
            {
                return fail(format!("{id} was never made, or is another"));
            }
            if !self.organisations.contains_key(&venue.organisation) {
                return fail(format!("the organisation of {id} is missing"));
            }
        }
        for (id, event) in &self.events {
            if event.event != *id || id.0 == 0 || id.0 > self.counters.event || event.version == 0 {
                return fail(format!("{id} was never made, or is another"));
            }
            if !self.organisations.contains_key(&event.organisation) {
                return fail(format!("the organisation of {id} is missing"));
            }
        }
        let mut of_groups: BTreeMap<u32, usize> = BTreeMap::new();
        for (id, showtime) in &self.showtimes {
            let group = id.group().0;
            let steps = match showtime.state {
                ShowtimeState::Provisioning => 1,
                ShowtimeState::Active => 2,
                ShowtimeState::Archived => 3,
            };
            if showtime.showtime != *id
                || showtime.version < steps
                || id.counter() > self.counters.showtime
                || group == 0
            {
                return fail(format!("{id} was never made, or is another"));
            }
            if group > self.group_count {
                return fail(format!("there is no group of {id}"));
            }
            let (Some(event), Some(venue)) = (self.events.get(&showtime.event), self.venues.get(&showtime.venue))
            else {
                return fail(format!("the event or the venue of {id} is missing"));
            };
            if [event.organisation, venue.organisation] != [showtime.organisation; 2] {
                return fail(format!("{id}, its event and its venue are of several organisations"));
            }
            if !(1..=venue.seat_map_version).contains(&showtime.seat_map_version) {
                return fail(format!("{id} is for a layout of {} that was never made", showtime.venue));
            }
            let count = of_groups.entry(group).or_insert(0);
            *count += 1;
            if *count > GROUP_SHOWTIMES_MAX {
                return fail(format!("{} has more showtimes than a group may have", id.group()));
            }
        }
        for (&id, venue) in &self.venues {
            let older = self.seat_maps.range((id, 0)..=(id, u32::MAX)).map(|((_, version), _)| *version);
            if !older.eq(1..venue.seat_map_version) {
                return fail(format!("older layouts of {id} are missing"));
            }
        }
        for (venue, version) in self.seat_maps.keys() {
            if self.venues.get(venue).is_none_or(|venue| *version == 0 || *version >= venue.seat_map_version) {
                return fail(format!("version {version} of the layout of {venue} was never made"));
            }
        }
        for (id, user) in &self.users {
            if user.user != *id || user.version == 0 || self.users_by_email.get(&user.email.to_lowercase()) != Some(id)
            {
                return fail(format!("{id} is another, or is not found by address"));
            }
            let mut organisations = user.roles.keys().flatten();
            if organisations.any(|organisation| !self.organisations.contains_key(organisation)) {
                return fail(format!("{id} has a role in an organisation that is missing"));
            }
        }
        if self.users_by_email.len() != self.users.len() {
            return fail("two users share an address".into());
        }
        for (id, node) in &self.nodes {
            if node.node != *id || id.0 == 0 || node.version == 0 {
                return fail(format!("{id} is another"));
            }
        }
        for (id, placement) in &self.placements {
            let is_placed = |voter| self.nodes.get(voter).is_some_and(|node| node.state != NodeState::Removed);
            if placement.group != *id
                || placement.version == 0
                || id.0 > self.group_count
                || !placement.voters.iter().all(is_placed)
            {
                return fail(format!("{id} is placed where it cannot be"));
            }
        }
        Ok(())
    }
}

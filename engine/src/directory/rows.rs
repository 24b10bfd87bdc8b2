//! The directory as rows, and back; and its audit.

use super::{Counters, Directory};
use crate::row::{CorruptRow, ROW_VERSION, Row, RowWriter, row_key, row_value};
use crate::{EventId, GroupId, OrganisationId, ShowtimeId, StateMachine, TokenKey, VenueId, VenueRecord, codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Groups, keys and counters.
const TABLE_CLUSTER: u8 = 0x02;
/// Organisations.
const TABLE_ORGANISATIONS: u8 = 0x10;
/// Venues in pieces.
const TABLE_VENUES: u8 = 0x11;
/// Events.
const TABLE_EVENTS: u8 = 0x12;
/// Showtimes.
const TABLE_SHOWTIMES: u8 = 0x13;

/// Bytes of one piece of a venue.
const PIECE_LEN: usize = 32 << 10;

/// What changed since the last drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dirty {
    Cluster,
    Organisation(OrganisationId),
    Venue(VenueId),
    Event(EventId),
    Showtime(ShowtimeId),
}

#[derive(Serialize, Deserialize)]
struct Cluster {
    group_count: u32,
    keys: Vec<TokenKey>,
    counters: Counters,
}

fn put_or_remove<T: Serialize>(table: u8, id: u64, value: Option<&T>, rows: &mut RowWriter) {
    match value {
        Some(value) => rows.put(row_key(table, &[id]), row_value(value)),
        None => rows.remove(row_key(table, &[id])),
    }
}

impl Directory {
    fn write_row(&self, dirty: Dirty, rows: &mut RowWriter) {
        match dirty {
            Dirty::Cluster => {
                let cluster =
                    Cluster { group_count: self.group_count, keys: self.keys.clone(), counters: self.counters };
                rows.put(row_key(TABLE_CLUSTER, &[]), row_value(&cluster));
            }
            Dirty::Organisation(id) => put_or_remove(TABLE_ORGANISATIONS, id.0, self.organisations.get(&id), rows),
            Dirty::Venue(id) => {
                let Some(venue) = self.venues.get(&id) else { return };
                for (number, piece) in codec::encode(venue).chunks(PIECE_LEN).enumerate() {
                    let mut value = vec![ROW_VERSION];
                    value.extend_from_slice(piece);
                    rows.put(row_key(TABLE_VENUES, &[id.0, number as u64]), value);
                }
            }
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
        self.venues.keys().for_each(|&id| self.write_row(Dirty::Venue(id), rows));
        self.events.keys().for_each(|&id| self.write_row(Dirty::Event(id), rows));
        self.showtimes.keys().for_each(|&id| self.write_row(Dirty::Showtime(id), rows));
    }

    pub(super) fn write_dirty(&mut self, rows: &mut RowWriter) {
        self.state.write_dirty(rows);
        for dirty in std::mem::take(&mut self.dirty) {
            self.write_row(dirty, rows);
        }
    }

    pub(super) fn from_rows(group: GroupId, rows: impl Iterator<Item = Row>) -> Result<Self, CorruptRow> {
        let mut directory = Self::new(group);
        let mut venues: BTreeMap<VenueId, (u64, Vec<u8>)> = BTreeMap::new();
        let mut last_key = None;
        for row in rows {
            if last_key.as_ref() >= Some(&row.key) {
                return Err(row.corrupt("the rows are out of order"));
            }
            let table = row.table()?;
            if !directory.state.load_row(table, &row)? {
                directory.load_row(table, &row, &mut venues)?;
            }
            last_key = Some(row.key);
        }
        let whole = |reason| CorruptRow { key: String::new(), reason };
        for (id, (_, bytes)) in venues {
            let venue: VenueRecord = codec::decode(&bytes).map_err(|error| whole(format!("{id}: {error}")))?;
            venue.map.check().map_err(|error| whole(format!("{id}: {error}")))?;
            directory.venues.insert(id, venue);
        }
        directory.state.finish_load()?;
        directory.audit_all().map_err(whole)?;
        Ok(directory)
    }

    fn load_row(
        &mut self,
        table: u8,
        row: &Row,
        venues: &mut BTreeMap<VenueId, (u64, Vec<u8>)>,
    ) -> Result<(), CorruptRow> {
        match table {
            TABLE_CLUSTER => {
                let [] = row.key_parts()?;
                let cluster: Cluster = row.decode()?;
                self.group_count = cluster.group_count;
                self.keys = cluster.keys;
                self.counters = cluster.counters;
            }
            TABLE_VENUES => {
                let [id, piece] = row.key_parts()?;
                let (pieces, bytes) = venues.entry(VenueId(id)).or_default();
                if piece != *pieces {
                    return Err(row.corrupt(format!("piece {pieces} was to come")));
                }
                *pieces += 1;
                bytes.extend_from_slice(row.payload()?);
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
        for (id, record) in &self.organisations {
            if record.organisation != *id || id.0 == 0 || id.0 > self.counters.organisation {
                return fail(format!("{id} was never made, or is another"));
            }
        }
        for (id, venue) in &self.venues {
            if venue.venue != *id || id.0 == 0 || id.0 > self.counters.venue {
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
        for (id, showtime) in &self.showtimes {
            let group = id.group().0;
            if showtime.showtime != *id || id.counter() > self.counters.showtime || group == 0 {
                return fail(format!("{id} was never made, or is another"));
            }
            if group > self.group_count {
                return fail(format!("there is no group of {id}"));
            }
            if !self.events.contains_key(&showtime.event) || !self.venues.contains_key(&showtime.venue) {
                return fail(format!("the event or the venue of {id} is missing"));
            }
        }
        Ok(())
    }
}

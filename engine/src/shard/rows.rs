//! The shard as rows, and back.

use super::deadlines::Deadlines;
use super::hold::count;
use super::showtime::{self, Loading, TABLE_SEAT_MAP, TABLE_SETTINGS};
use super::{Counters, Due, Shard};
use crate::row::{CorruptRow, Row, RowWriter, row_key, row_value};
use crate::{GroupId, HoldId, Loader, OrderId, OrderState, QueueState, ShowtimeId, StateMachine};
use std::collections::BTreeMap;

/// The counters of ids.
const TABLE_COUNTERS: u8 = 0x02;
/// Pages of holds.
const TABLE_HOLDS: u8 = 0x30;
/// Pages of waitlist entries.
const TABLE_ENTRIES: u8 = 0x32;
/// Pages of orders.
const TABLE_ORDERS: u8 = 0x31;
/// Pages of payments that the orders no longer name.
const TABLE_OLDER_PAYMENTS: u8 = 0x33;

fn whole(reason: impl Into<String>) -> CorruptRow {
    CorruptRow { key: String::new(), reason: reason.into() }
}

/// A shard that is being rebuilt.
pub(super) struct ShardLoader {
    shard: Shard,
    /// Showtimes whose plans have not come whole yet.
    loading: BTreeMap<ShowtimeId, Loading>,
    last_key: Option<Vec<u8>>,
}

impl ShardLoader {
    pub(super) fn new(group: GroupId) -> Self {
        Self { shard: Shard::new(group), loading: BTreeMap::new(), last_key: None }
    }
}

impl Loader<Shard> for ShardLoader {
    fn take(&mut self, row: Row) -> Result<(), CorruptRow> {
        if self.last_key.as_ref() >= Some(&row.key) {
            return Err(row.corrupt("the rows are out of order"));
        }
        let table = row.table()?;
        if !self.shard.state.load_row(table, &row)? {
            self.shard.load_row(table, &row, &mut self.loading)?;
        }
        self.last_key = Some(row.key);
        Ok(())
    }

    fn finish(mut self) -> Result<Shard, CorruptRow> {
        self.shard.finish_showtimes(&mut self.loading)?;
        self.shard.finish_load()?;
        Ok(self.shard)
    }
}

impl Shard {
    pub(super) fn write_all(&self, rows: &mut RowWriter) {
        self.state.write_all(rows);
        if self.counters != Counters::default() {
            rows.put(row_key(TABLE_COUNTERS, &[]), row_value(&self.counters));
        }
        self.showtimes.values().for_each(|showtime| showtime.write_all(rows));
        self.holds.write_all(TABLE_HOLDS, &[], rows);
        self.orders.write_all(TABLE_ORDERS, &[], rows);
        self.entries.write_all(TABLE_ENTRIES, &[], rows);
        self.older_payments.write_all(TABLE_OLDER_PAYMENTS, rows);
    }

    pub(super) fn write_dirty(&mut self, rows: &mut RowWriter) {
        self.state.write_dirty(rows);
        if std::mem::take(&mut self.counters_dirty) {
            rows.put(row_key(TABLE_COUNTERS, &[]), row_value(&self.counters));
        }
        self.showtimes.each_dirty(|showtime| showtime.write_dirty(rows));
        self.holds.write_dirty(TABLE_HOLDS, &[], rows);
        self.orders.write_dirty(TABLE_ORDERS, &[], rows);
        self.entries.write_dirty(TABLE_ENTRIES, &[], rows);
        self.older_payments.write_dirty(TABLE_OLDER_PAYMENTS, rows);
    }

    fn finish_showtimes(&mut self, loading: &mut BTreeMap<ShowtimeId, Loading>) -> Result<(), CorruptRow> {
        for (id, loading) in std::mem::take(loading) {
            let showtime = loading.finish().map_err(|reason| whole(format!("{id}: {reason}")))?;
            self.showtimes.insert(id, showtime);
        }
        Ok(())
    }

    fn load_row(
        &mut self,
        table: u8,
        row: &Row,
        loading: &mut BTreeMap<ShowtimeId, Loading>,
    ) -> Result<(), CorruptRow> {
        match table {
            TABLE_COUNTERS => {
                let [] = row.key_parts()?;
                self.counters = row.decode()?;
            }
            TABLE_SETTINGS => {
                let (id, showtime) = Loading::begin(row)?;
                loading.insert(id, showtime);
            }
            TABLE_SEAT_MAP => {
                let [id, piece] = row.key_parts()?;
                let showtime = loading.get_mut(&ShowtimeId(id));
                showtime.ok_or_else(|| row.corrupt("its showtime is missing"))?.add_piece(piece, row)?;
            }
            TABLE_HOLDS => {
                let [page] = row.key_parts()?;
                self.holds.load_page(page, row)?;
            }
            TABLE_ORDERS => {
                let [page] = row.key_parts()?;
                self.orders.load_page(page, row)?;
            }
            TABLE_ENTRIES => {
                let [page] = row.key_parts()?;
                self.entries.load_page(page, row)?;
            }
            TABLE_OLDER_PAYMENTS => {
                let [page] = row.key_parts()?;
                self.older_payments.load_page(page, row)?;
            }
            _ => {
                self.finish_showtimes(loading)?;
                let (id, page) = showtime::parse_key(table, row)?;
                let showtime = self.showtimes.get_mut(&id);
                showtime.ok_or_else(|| row.corrupt("its showtime is missing"))?.load_row(table, page, row)?;
            }
        }
        Ok(())
    }

    fn finish_load(&mut self) -> Result<(), CorruptRow> {
        self.state.finish_load()?;
        for (id, showtime) in self.showtimes.loading() {
            showtime.finish_load().map_err(|reason| whole(format!("{id}: {reason}")))?;
        }
        let group = self.state.group;
        for (counter, hold) in self.holds.iter() {
            let id = HoldId::new(group, counter);
            if id.counter() != counter {
                return Err(whole(format!("there is no hold of number {counter}")));
            }
            // Before the deadlines are: two holds of one order would be due as one.
            if let Some(order) = hold.order
                && self.orders.get(order.counter()).is_none_or(|order| order.hold != id)
            {
                return Err(whole(format!("{id} and {order} contradict each other")));
            }
            let showtime = self.showtimes.get_mut(&hold.showtime);
            let showtime = showtime.ok_or_else(|| whole(format!("the showtime of {id} is missing")))?;
            let buyer = showtime.buyers.entry(hold.user).or_default();
            buyer.taken = buyer.taken.saturating_add(count(&hold.places));
            buyer.holds.push(id);
        }
        for (counter, order) in self.orders.iter() {
            let showtime = self.showtimes.get_mut(&order.showtime);
            let showtime = showtime.ok_or_else(|| whole(format!("the showtime of {} is missing", order.order)))?;
            if order.order != OrderId::new(group, counter) {
                return Err(whole(format!("order {counter} calls itself {}", order.order)));
            }
            let buyer = showtime.buyers.entry(order.user).or_default();
            buyer.orders.push(order.order);
            if order.state == OrderState::Completed {
                buyer.taken = buyer.taken.saturating_add(count(&order.places));
            }
        }
        for (counter, entry) in self.entries.iter() {
            let showtime = self.showtimes.get_mut(&entry.showtime);
            let showtime = showtime.ok_or_else(|| whole(format!("the showtime of entry {counter} is missing")))?;
            entry.check(showtime).map_err(|reason| whole(format!("entry {counter} of the waitlist: {reason}")))?;
            showtime.waitlist.add(counter, entry, showtime.taken_by(entry.user));
        }
        self.older_payments.finish_load();
        for (_, showtime) in self.showtimes.loading() {
            showtime.step_due = Self::wanted_step(showtime);
        }
        self.deadlines = self.wanted_deadlines();
        self.audit_holds().map_err(whole)?;
        self.audit_waitlists().map_err(whole)
    }

    /// Every deadline that follows from the state.
    pub(super) fn wanted_deadlines(&self) -> Deadlines {
        let mut deadlines = Deadlines::default();
        for (counter, hold) in self.holds.iter() {
            deadlines.insert(hold.expires_at, hold.order.map_or(Due::Hold(self.hold_id(counter)), Due::Order));
        }
        for (&id, showtime) in self.showtimes.iter() {
            let (state, sale) = (showtime.line.head.state, showtime.sale());
            let is_ahead = matches!(state, QueueState::Scheduled | QueueState::Prequeue);
            for (at, due) in [
                (sale.prequeue_at.filter(|_| state == QueueState::Scheduled), Due::Prequeue(id)),
                (sale.opens_at.filter(|_| is_ahead && !showtime.line.head.awaits_beacon), Due::Opening(id)),
                (sale.closes_at.filter(|_| state != QueueState::Closed), Due::Closing(id)),
                (showtime.step_due, Due::Admission(id)),
                (showtime.offers_due(), Due::Offers(id)),
            ] {
                deadlines.replace(None, at, due);
            }
            for (number, segment) in showtime.line.live_segments() {
                deadlines.insert(segment.claim_by, Due::Claims(id, number));
            }
            for (ticket, until) in showtime.line.sessions() {
                deadlines.insert(until, Due::Session(id, ticket));
            }
        }
        deadlines
    }
}

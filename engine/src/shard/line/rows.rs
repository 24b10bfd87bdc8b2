//! The line as rows, and back.

use super::gaps::Gaps;
use super::ticket::{Flag, Ticket};
use super::{Line, PAGE_LEN};
use crate::TicketNumber;
use crate::draw::Shuffle;
use crate::group_state::TICKETS_MAX;
use crate::lookup::Index;
use crate::planted::{self, Bug};
use crate::row::{CorruptRow, ROW_VERSION, Row, RowWriter, row_key};
use std::collections::BTreeSet;

/// The tables in which a line is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineTables {
    pub(crate) tickets: u8,
    pub(crate) segments: u8,
    pub(crate) roots: u8,
}

impl Line {
    fn page_row(page: &[Ticket]) -> Vec<u8> {
        let mut value = Vec::with_capacity(1 + 24 * page.len());
        value.push(ROW_VERSION);
        for ticket in page {
            value.extend_from_slice(&ticket.user);
            value.extend_from_slice(&ticket.packed.to_le_bytes());
        }
        value
    }

    /// Writes the pages of tickets and segments; the head is written by the showtime.
    pub(crate) fn write_all(&self, tables: LineTables, showtime: u64, rows: &mut RowWriter) {
        for (number, page) in self.pages.iter().enumerate() {
            rows.put(row_key(tables.tickets, &[showtime, number as u64]), Self::page_row(page));
        }
        self.segments.write_all(tables.segments, &[showtime], rows);
        self.roots.write_all(tables.roots, &[showtime], rows);
    }

    pub(crate) fn write_dirty(&mut self, tables: LineTables, showtime: u64, rows: &mut RowWriter) {
        for page in std::mem::take(&mut self.dirty) {
            rows.put(row_key(tables.tickets, &[showtime, page]), Self::page_row(&self.pages[page as usize]));
        }
        self.segments.write_dirty(tables.segments, &[showtime], rows);
        self.roots.write_dirty(tables.roots, &[showtime], rows);
    }

    pub(crate) fn load_tickets(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        let (tickets, rest) = row.payload()?.as_chunks::<24>();
        let before = self.pages.last().map_or(PAGE_LEN, Vec::len);
        if page != self.pages.len() as u64 || before != PAGE_LEN || tickets.len() > PAGE_LEN || !rest.is_empty() {
            return Err(row.corrupt("a page of tickets is missing, misplaced or misshapen"));
        }
        let mut loaded = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            let mut user = [0; 16];
            user.copy_from_slice(&ticket[..16]);
            let packed = u64::from_le_bytes(*ticket.last_chunk().expect("8 is less than 24"));
            loaded.push(Ticket { user, packed });
        }
        self.pages.push(loaded);
        Ok(())
    }

    pub(crate) fn load_segments(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        self.segments.load_page(page, row)
    }

    pub(crate) fn load_roots(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        self.roots.load_page(page, row)
    }

    /// Rebuilds what is derived, once head, tickets and segments are there.
    pub(crate) fn finish_load(&mut self) -> Result<(), String> {
        let count = self.tickets().count() as u64;
        if count != self.head.joined || count > TICKETS_MAX {
            return Err(format!("{count} tickets of {}", self.head.joined));
        }
        if self.head.cursor > self.head.joined {
            return Err("the cursor is past the last ticket".into());
        }
        if self.head.entrants > self.head.joined {
            return Err("there are more entrants than tickets".into());
        }
        self.index = Index::with_capacity(count as usize);
        for number in 1..=count {
            let user = self.owner(TicketNumber(number)).ok_or("a ticket is missing")?;
            if !self.insert_index(number as u32, user) {
                return Err(format!("the owner of ticket {number} has two"));
            }
        }
        let cursor = self.head.cursor;
        let (mut gaps, mut unplaced) = (Gaps::default(), BTreeSet::new());
        for (number, ticket) in self.tickets().filter(|(_, ticket)| ticket.flag() == Flag::Left) {
            match ticket.detail() {
                0 => drop(unplaced.insert(number.0)),
                place if place > cursor => gaps.insert(place),
                _ => {}
            };
        }
        (self.gaps, self.unplaced) = (gaps, unplaced);
        self.shuffle = self.head.draw.as_ref().map(|drawn| Shuffle::new(drawn.seed, self.head.entrants));
        if !self.head.frontier.is_sound() || self.roots.len() != self.head.frontier.count() / PAGE_LEN as u64 {
            return Err("the tree over the entrants is not sound".into());
        }
        for page in 0..self.roots.len() {
            let root = *self.roots.get(page).ok_or("a root over a page of entrants is missing")?;
            self.add_root_above(page, root);
        }
        self.check_segments()?;
        if planted::is(Bug::ResetAdmissions) {
            (self.head.credit, self.head.active) = (u64::MAX, 0);
        }
        self.head_dirty = false;
        self.dirty.clear();
        Ok(())
    }
}

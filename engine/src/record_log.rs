//! Encoded records in the order they were appended, kept in pages, dropped from the front.

use crate::row::{CorruptRow, ROW_VERSION, Row, RowWriter, row_key};
use std::collections::{BTreeSet, VecDeque};

/// Records a page.
pub(crate) const PAGE_LEN: u64 = 256;

/// An append-only log of byte records, numbered from 0. A page is there as long as one of its numbers is alive or still
/// to come.
#[derive(Debug, Default)]
pub(crate) struct RecordLog {
    first: u64,
    next: u64,
    pages: VecDeque<Page>,
    dirty: BTreeSet<u64>,
    /// Whether the page of the last record is among them.
    is_end_dirty: bool,
}

#[derive(Debug, Default)]
struct Page {
    /// The bytes of all pages before it, since the first that this log has seen.
    from: u64,
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Page {
    /// Where the record of this slot begins, or where the last ends.
    fn start(&self, slot: usize) -> usize {
        if slot == 0 { 0 } else { self.ends[slot - 1] as usize }
    }

    fn record(&self, slot: usize) -> &[u8] {
        &self.bytes[self.start(slot)..self.ends[slot] as usize]
    }

    /// The bytes of this page and of all before it.
    fn to(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

impl RecordLog {
    /// The oldest record that is still there; equal to `next` when there is none.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next record will get.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Appends what `write` writes.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let number = self.next;
        if number.is_multiple_of(PAGE_LEN) {
            // About as large as the page before, so that it seldom has to grow.
            let (from, len) = self.pages.back().map_or((0, 0), |page| (page.to(), page.bytes.len()));
            let (ends, bytes) = (Vec::with_capacity(PAGE_LEN as usize), Vec::with_capacity(len + len / 8));
            let page = Page { from, ends, bytes };
            self.pages.push_back(page);
        }
        let page = self.pages.back_mut().expect("the page of the next record was made with its first record");
        write(&mut page.bytes);
        page.ends.push(u32::try_from(page.bytes.len()).expect("a page of bounded records is far below 4 GiB"));
        self.next += 1;
        if !std::mem::replace(&mut self.is_end_dirty, true) || number.is_multiple_of(PAGE_LEN) {
            self.dirty.insert(number / PAGE_LEN);
        }
        number
    }

    /// The record of this number.
    pub(crate) fn get(&self, number: u64) -> Option<&[u8]> {
        if number < self.first || number >= self.next {
            return None;
        }
        let page = &self.pages[(number / PAGE_LEN - self.first / PAGE_LEN) as usize];
        Some(page.record((number % PAGE_LEN) as usize))
    }

    /// How many bytes the records have from this one on. It has to be there, or the next.
    pub(crate) fn bytes_from(&self, number: u64) -> u64 {
        let page = self.pages.get((number / PAGE_LEN - self.first / PAGE_LEN) as usize);
        match (page, self.pages.back()) {
            (Some(page), Some(last)) => last.to() - page.from - page.start((number % PAGE_LEN) as usize) as u64,
            _ => 0,
        }
    }

    /// Drops everything before `first`.
    pub(crate) fn drop_before(&mut self, first: u64) {
        let first = first.clamp(self.first, self.next);
        for page in self.first / PAGE_LEN..first / PAGE_LEN {
            self.pages.pop_front();
            self.dirty.insert(page);
        }
        self.first = first;
    }

    fn page_row(page: &Page) -> Vec<u8> {
        let mut value = Vec::with_capacity(5 + 4 * page.ends.len() + page.bytes.len());
        value.push(ROW_VERSION);
        value.extend_from_slice(&(page.ends.len() as u32).to_le_bytes());
        page.ends.iter().for_each(|end| value.extend_from_slice(&end.to_le_bytes()));
        value.extend_from_slice(&page.bytes);
        value
    }

    /// Writes every page under `table` and its number.
    pub(crate) fn write_all(&self, table: u8, rows: &mut RowWriter) {
        for (index, page) in self.pages.iter().enumerate() {
            rows.put(row_key(table, &[self.first / PAGE_LEN + index as u64]), Self::page_row(page));
        }
    }

    /// Writes the pages that changed since the last time.
    pub(crate) fn write_dirty(&mut self, table: u8, rows: &mut RowWriter) {
        self.is_end_dirty = false;
        for page in std::mem::take(&mut self.dirty) {
            let key = row_key(table, &[page]);
            let index = page.checked_sub(self.first / PAGE_LEN);
            match index.and_then(|index| self.pages.get(index as usize)) {
                Some(page) => rows.put(key, Self::page_row(page)),
                None => rows.remove(key),
            }
        }
    }

    /// An empty log that goes from `first` to `next`, to be filled page by page.
    pub(crate) fn with_bounds(first: u64, next: u64) -> Self {
        Self { first, next, ..Self::default() }
    }

    /// Takes in one page as it was written, in order.
    pub(crate) fn load_page(&mut self, number: u64, row: &Row) -> Result<(), CorruptRow> {
        let wanted = self.first / PAGE_LEN + self.pages.len() as u64;
        let records = self.next.saturating_sub(number.saturating_mul(PAGE_LEN)).min(PAGE_LEN) as usize;
        if number != wanted || records == 0 {
            return Err(row.corrupt(format!("page {wanted} was to come")));
        }
        let payload = row.payload()?;
        let from = self.pages.back().map_or(0, Page::to);
        let read = || {
            let (count, rest) = payload.split_at_checked(4)?;
            let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
            let (ends, bytes) = rest.split_at_checked(count.checked_mul(4)?)?;
            let ends: Vec<u32> = ends.as_chunks::<4>().0.iter().map(|end| u32::from_le_bytes(*end)).collect();
            let fits = ends.is_sorted() && ends.last().copied().unwrap_or(0) as usize == bytes.len();
            (fits && count == records).then(|| Page { from, ends, bytes: bytes.to_vec() })
        };
        let page = read().ok_or_else(|| row.corrupt("the lengths of its records contradict it"))?;
        self.pages.push_back(page);
        Ok(())
    }

    /// Whether every page between the bounds is there.
    pub(crate) fn is_complete(&self) -> bool {
        let pages = self.next.div_ceil(PAGE_LEN).saturating_sub(self.first / PAGE_LEN);
        self.first <= self.next && self.pages.len() as u64 == pages
    }
}

//! Numbered values in pages: the page is the unit of dirtiness and of storage.

use crate::row::{CorruptRow, Row, RowWriter, row_key, row_value_of};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeSet, VecDeque};

/// Values a page.
const PAGE_LEN: u64 = 64;

/// Values by number. Numbers are handed out upwards and never again, so pages fill at the end and empty from the front.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// The number of the first page in `pages`.
    first_page: u64,
    pages: VecDeque<Option<Box<Page<T>>>>,
    len: u64,
    dirty: BTreeSet<u64>,
    /// The page touched last: most changes follow each other on one page.
    dirty_last: Option<u64>,
}

#[derive(Debug)]
struct Page<T> {
    slots: Vec<Option<T>>,
    live: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { first_page: 0, pages: VecDeque::new(), len: 0, dirty: BTreeSet::new(), dirty_last: None }
    }
}

impl<T> Table<T> {
    /// How many values there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    fn page(&self, page: u64) -> Option<&Page<T>> {
        self.pages.get(page.checked_sub(self.first_page)? as usize)?.as_deref()
    }

    fn page_mut(&mut self, page: u64) -> Option<&mut Page<T>> {
        self.pages.get_mut(page.checked_sub(self.first_page)? as usize)?.as_deref_mut()
    }

    fn touch(&mut self, page: u64) {
        if self.dirty_last != Some(page) {
            self.dirty.insert(page);
            self.dirty_last = Some(page);
        }
    }

    /// The value of this number.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.page(number / PAGE_LEN)?.slots.get((number % PAGE_LEN) as usize)?.as_ref()
    }

    /// The value of this number, about to change.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.get(number)?;
        self.touch(number / PAGE_LEN);
        self.page_mut(number / PAGE_LEN)?.slots.get_mut((number % PAGE_LEN) as usize)?.as_mut()
    }

    /// Adds a value under a number that has none.
    pub(crate) fn insert(&mut self, number: u64, value: T) {
        let page = number / PAGE_LEN;
        if self.pages.is_empty() {
            self.first_page = page;
        }
        while page < self.first_page {
            self.first_page -= 1;
            self.pages.push_front(None);
        }
        let index = (page - self.first_page) as usize;
        while self.pages.len() <= index {
            self.pages.push_back(None);
        }
        let page_mut = self.pages[index]
            .get_or_insert_with(|| Box::new(Page { slots: Vec::with_capacity(PAGE_LEN as usize), live: 0 }));
        let slot = (number % PAGE_LEN) as usize;
        if page_mut.slots.len() <= slot {
            page_mut.slots.resize_with(slot + 1, || None);
        }
        let before = page_mut.slots[slot].replace(value);
        assert!(before.is_none(), "number {number} was in use");
        page_mut.live += 1;
        self.len += 1;
        self.touch(page);
    }

    /// Takes the value of this number out.
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let page = number / PAGE_LEN;
        let page_mut = self.page_mut(page)?;
        let value = page_mut.slots.get_mut((number % PAGE_LEN) as usize)?.take()?;
        page_mut.live -= 1;
        let is_empty = page_mut.live == 0;
        self.len -= 1;
        self.touch(page);
        if is_empty {
            let index = (page - self.first_page) as usize;
            self.pages[index] = None;
            while let Some(None) = self.pages.front() {
                self.pages.pop_front();
                self.first_page += 1;
            }
        }
        Some(value)
    }

    /// All values in order of number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.pages.iter().enumerate().filter_map(|(index, page)| Some((index, page.as_deref()?))).flat_map(
            move |(index, page)| {
                let first = (self.first_page + index as u64) * PAGE_LEN;
                page.slots
                    .iter()
                    .enumerate()
                    .filter_map(move |(slot, value)| Some((first + slot as u64, value.as_ref()?)))
            },
        )
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    fn page_row(page: &Page<T>) -> Vec<u8> {
        let live: Vec<(u8, &T)> =
            page.slots.iter().enumerate().filter_map(|(slot, value)| Some((slot as u8, value.as_ref()?))).collect();
        row_value_of(&live, 4_096)
    }

    /// Writes every page. The key of a page is `table`, `prefix` and its number.
    pub(crate) fn write_all(&self, table: u8, prefix: &[u64], rows: &mut RowWriter) {
        for (index, page) in self.pages.iter().enumerate() {
            if let Some(page) = page {
                rows.put(page_key(table, prefix, self.first_page + index as u64), Self::page_row(page));
            }
        }
    }

    /// Writes the pages that changed since the last time.
    pub(crate) fn write_dirty(&mut self, table: u8, prefix: &[u64], rows: &mut RowWriter) {
        self.dirty_last = None;
        for page in std::mem::take(&mut self.dirty) {
            let key = page_key(table, prefix, page);
            match self.page(page) {
                Some(page) => rows.put(key, Self::page_row(page)),
                None => rows.remove(key),
            }
        }
    }

    /// Takes in one page as it was written.
    pub(crate) fn load_page(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        let live: Vec<(u8, T)> = row.decode()?;
        if live.is_empty() || page >= u64::MAX / PAGE_LEN || self.page(page).is_some() {
            return Err(row.corrupt("an empty, repeated or impossible page"));
        }
        let mut last = None;
        for (slot, value) in live {
            if last >= Some(slot) || u64::from(slot) >= PAGE_LEN {
                return Err(row.corrupt("the slots are out of order"));
            }
            // Pages arrive in key order; a far jump from bit rot must not allocate the gap.
            let end = self.first_page + self.pages.len() as u64;
            if !self.pages.is_empty() && (page < self.first_page || page > end + LOAD_GAP_MAX) {
                return Err(row.corrupt("the page lies too far from the others"));
            }
            last = Some(slot);
            self.insert(page * PAGE_LEN + u64::from(slot), value);
        }
        self.dirty.clear();
        self.dirty_last = None;
        Ok(())
    }
}

/// The most empty pages between two pages of a table.
const LOAD_GAP_MAX: u64 = 10_000_000;

fn page_key(table: u8, prefix: &[u64], page: u64) -> Vec<u8> {
    let mut key = row_key(table, prefix);
    key.extend_from_slice(&page.to_be_bytes());
    key
}

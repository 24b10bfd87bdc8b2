//! Numbered values in pages: the page is the unit of dirtiness and of storage.

use crate::row::{CorruptRow, Row, RowWriter, row_key, row_value_of};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};

/// Values a page.
const PAGE_LEN: u64 = 64;

/// Values by number. Numbers are handed out upwards and never again, so pages fill at the end; they empty anywhere, and
/// one value may outlive all that came long after it.
#[derive(Debug)]
pub(crate) struct Table<T> {
    /// The pages with values.
    pages: BTreeMap<u64, Page<T>>,
    len: u64,
    dirty: Dirty,
}

/// Pages that changed since they were last written.
#[derive(Debug, Default)]
struct Dirty {
    pages: BTreeSet<u64>,
    /// The page touched last: most changes follow each other on one page.
    last: Option<u64>,
}

impl Dirty {
    fn touch(&mut self, page: u64) {
        if self.last != Some(page) {
            self.pages.insert(page);
            self.last = Some(page);
        }
    }

    fn take(&mut self) -> BTreeSet<u64> {
        std::mem::take(self).pages
    }
}

#[derive(Debug)]
struct Page<T> {
    slots: Vec<Option<T>>,
    live: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { pages: BTreeMap::new(), len: 0, dirty: Dirty::default() }
    }
}

impl<T> Table<T> {
    /// How many values there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The value of this number.
    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.pages.get(&(number / PAGE_LEN))?.slots.get((number % PAGE_LEN) as usize)?.as_ref()
    }

    /// The value of this number, about to change.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let page = number / PAGE_LEN;
        let value = self.pages.get_mut(&page)?.slots.get_mut((number % PAGE_LEN) as usize)?.as_mut()?;
        self.dirty.touch(page);
        Some(value)
    }

    /// Adds a value under a number that has none.
    pub(crate) fn insert(&mut self, number: u64, value: T) {
        let page = number / PAGE_LEN;
        let empty = || Page { slots: Vec::with_capacity(PAGE_LEN as usize), live: 0 };
        let page_mut = self.pages.entry(page).or_insert_with(empty);
        let slot = (number % PAGE_LEN) as usize;
        if page_mut.slots.len() <= slot {
            page_mut.slots.resize_with(slot + 1, || None);
        }
        let before = page_mut.slots[slot].replace(value);
        assert!(before.is_none(), "number {number} was in use");
        page_mut.live += 1;
        self.len += 1;
        self.dirty.touch(page);
    }

    /// Takes the value of this number out.
    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let page = number / PAGE_LEN;
        let page_mut = self.pages.get_mut(&page)?;
        let value = page_mut.slots.get_mut((number % PAGE_LEN) as usize)?.take()?;
        page_mut.live -= 1;
        let is_empty = page_mut.live == 0;
        self.len -= 1;
        self.dirty.touch(page);
        if is_empty {
            self.pages.remove(&page);
        }
        Some(value)
    }

    /// All values in order of number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.pages.iter().flat_map(|(number, page)| {
            let first = number * PAGE_LEN;
            page.slots.iter().zip(first..).filter_map(|(value, number)| Some((number, value.as_ref()?)))
        })
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
        for (&number, page) in &self.pages {
            rows.put(page_key(table, prefix, number), Self::page_row(page));
        }
    }

    /// Writes the pages that changed since the last time.
    pub(crate) fn write_dirty(&mut self, table: u8, prefix: &[u64], rows: &mut RowWriter) {
        for page in self.dirty.take() {
            let key = page_key(table, prefix, page);
            match self.pages.get(&page) {
                Some(page) => rows.put(key, Self::page_row(page)),
                None => rows.remove(key),
            }
        }
    }

    /// Takes in one page as it was written.
    pub(crate) fn load_page(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        let live: Vec<(u8, T)> = row.decode()?;
        if live.is_empty() || page >= u64::MAX / PAGE_LEN || self.pages.contains_key(&page) {
            return Err(row.corrupt("an empty, repeated or impossible page"));
        }
        let mut last = None;
        for (slot, value) in live {
            if last >= Some(slot) || u64::from(slot) >= PAGE_LEN {
                return Err(row.corrupt("the slots are out of order"));
            }
            last = Some(slot);
            self.insert(page * PAGE_LEN + u64::from(slot), value);
        }
        self.dirty = Dirty::default();
        Ok(())
    }
}

fn page_key(table: u8, prefix: &[u64], page: u64) -> Vec<u8> {
    let mut key = row_key(table, prefix);
    key.extend_from_slice(&page.to_be_bytes());
    key
}

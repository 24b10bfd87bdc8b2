//! The immutable layout of a venue: sections, rows, seats and general-admission areas.
//!
//! A [`SeatMap`] is plain data that travels in the log. Whoever looks seats up often builds a [`SeatIndex`] of it once.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// A seat's dense number in its seat map: sections in plan order, rows in section order, seats in row order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeatId(pub u32);

/// An area's dense number in its seat map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AreaId(pub u16);

/// A price category's dense number in its seat map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CategoryId(pub u16);

/// A venue's layout. `SeatMap::new` is the only way to make one, and it refuses a layout that breaks a rule below.
///
/// Rules: at least one seat or area; names unique and not empty; no empty section or row; labels and guids unique in
/// the map; every category used exists; at most [`SEATS_MAX`] seats, [`SECTIONS_MAX`] sections, [`AREAS_MAX`] areas and
/// [`CATEGORIES_MAX`] categories; positions within [`POSITION_MAX`]; texts without what is invisible. [`check`](SeatMap::check) recounts them all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatMap {
    /// The plan's name.
    pub name: String,
    /// Names of the price categories, indexed by [`CategoryId`].
    pub categories: Vec<Category>,
    /// Sections in plan order.
    pub sections: Vec<Section>,
    /// General-admission areas, indexed by [`AreaId`].
    pub areas: Vec<Area>,
}

/// A price category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Its name, unique in the map.
    pub name: String,
    /// A colour for drawings, `#rrggbb` or empty.
    pub color: String,
}

/// A named part of the house: stalls, circle, block 112.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its name, unique in the map.
    pub name: String,
    /// Rows from the front.
    pub rows: Vec<SeatRow>,
}

/// Seats side by side. Neighbours in the list are adjacent unless an aisle lies between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatRow {
    /// Its name, unique in the section.
    pub name: String,
    /// Seats in the order of adjacency.
    pub seats: Vec<Seat>,
}

/// One seat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// What stands on the seat, unique in its row.
    pub number: String,
    /// The plan's own id of it (`seat_guid`), unique in the map.
    pub guid: String,
    /// Across the house, in thousandths of a plan unit.
    pub x: i32,
    /// Away from the stage, in thousandths of a plan unit.
    pub y: i32,
    /// Its price category.
    pub category: CategoryId,
    /// Accessibility and sight, see the `SEAT_*` flags.
    pub flags: u8,
}

/// A wheelchair space.
pub const SEAT_WHEELCHAIR: u8 = 1;
/// Beside a wheelchair space, for the companion.
pub const SEAT_COMPANION: u8 = 2;
/// The view is restricted.
pub const SEAT_RESTRICTED_VIEW: u8 = 4;
/// Reached without steps.
pub const SEAT_STEP_FREE: u8 = 8;
/// An aisle follows: the next seat in the list is not adjacent.
pub const SEAT_GAP_AFTER: u8 = 16;

/// A general-admission area: places without numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Its name, unique in the map, and its public id.
    pub name: String,
    /// Places on sale.
    pub capacity: u32,
    /// Its price category.
    pub category: CategoryId,
}

/// The most seats of a map.
pub const SEATS_MAX: usize = 200_000;
/// The most sections of a map.
pub const SECTIONS_MAX: usize = 10_000;
/// The most areas of a map.
pub const AREAS_MAX: usize = 1_000;
/// The most price categories of a map.
pub const CATEGORIES_MAX: usize = 1_000;
/// The most places of one area.
pub const AREA_CAPACITY_MAX: u32 = 1_000_000;
/// The furthest a seat may lie from the origin along either axis, in thousandths of a plan unit.
pub const POSITION_MAX: i32 = 1_000_000_000;
/// The longest name of a plan, section, category or area, in characters.
pub const NAME_LEN_MAX: usize = 100;
/// The longest row name or seat number, in characters.
pub const NUMBER_LEN_MAX: usize = 20;
/// The longest `seat_guid`, in characters.
pub const GUID_LEN_MAX: usize = 100;

/// All flags a seat may have.
const SEAT_FLAGS_ALL: u8 = SEAT_WHEELCHAIR | SEAT_COMPANION | SEAT_RESTRICTED_VIEW | SEAT_STEP_FREE | SEAT_GAP_AFTER;

/// A layout that breaks a rule of [`SeatMap`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeatMapError {
    /// Nothing to sell.
    #[error("there are no seats and no areas")]
    Empty,
    /// More of something than a map may have.
    #[error("there are more than {max} {what}")]
    TooMany {
        /// `seats`, `sections`, `areas` or `categories`.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A name, number or guid that is not fit to be one.
    #[error("{what} {text:?}: {fault}")]
    Text {
        /// What the text was to name.
        what: &'static str,
        /// Its beginning.
        text: String,
        /// What is wrong with it.
        fault: TextFault,
    },
    /// Two things of one name.
    #[error("there is another {what} {name:?}")]
    Duplicate {
        /// What they are.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// A section without rows or a row without seats.
    #[error("{what} {name:?} is empty")]
    EmptyPart {
        /// `section` or `row`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A category that the map does not have.
    #[error("{user} is in a category that the map does not have: {category}")]
    NoSuchCategory {
        /// The label of the seat, or the name of the area.
        user: String,
        /// The category's name or number.
        category: String,
    },
    /// A seat too far out, an area of no or too many places, an unknown flag or a colour that is none.
    #[error("{what} of {name:?} is out of bounds")]
    OutOfBounds {
        /// What is out of bounds.
        what: &'static str,
        /// Whose it is.
        name: String,
    },
}

/// What makes a text unfit as a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than the bound.
    #[error("is longer than {0} characters")]
    TooLong(usize),
    /// A control character, or one that reorders or hides text.
    #[error("has a control character (U+{0:04X})")]
    Control(u32),
    /// White space at either end: two names that differ only there look the same.
    #[error("begins or ends with white space")]
    Padded,
}

/// Whether `text` may be a new name of at most `len_max` characters. Names are shown to people and compared by machines, so
/// nothing invisible may tell two of them apart.
pub fn check_text(text: &str, len_max: usize) -> Result<(), TextFault> {
    check_known_text(text, len_max)?;
    match text.chars().find(|&c| is_ignorable(c)) {
        Some(bad) => Err(TextFault::Control(bad as u32)),
        None => Ok(()),
    }
}

/// Whether `text` may be the name of a map that there is: stored maps, and logs of commands, have names from before
/// [`check_text`] refused all that is ignorable, and must be read for ever.
fn check_known_text(text: &str, len_max: usize) -> Result<(), TextFault> {
    if text.is_empty() {
        return Err(TextFault::Empty);
    }
    // A character has at most four bytes: a text of 10 MB is refused without counting it.
    if text.len() > 4 * len_max || text.chars().count() > len_max {
        return Err(TextFault::TooLong(len_max));
    }
    if let Some(bad) = text.chars().find(|&c| is_invisible(c)) {
        return Err(TextFault::Control(bad as u32));
    }
    if text.trim() != text {
        return Err(TextFault::Padded);
    }
    Ok(())
}

/// Control characters, line and paragraph separators, zero-width characters and those that turn the writing direction.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// `Default_Ignorable_Code_Point` of Unicode 16: what nothing is drawn for, fillers, joiners, variation selectors and tags
/// included, and what is reserved for more of the kind.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}')
        || matches!(c, '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether `color` is `#rrggbb` or empty.
pub(crate) fn is_color(color: &str) -> bool {
    color.is_empty()
        || color.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A row of the map with the ids of its seats, as [`SeatMap::rows`] gives it.
#[derive(Debug, Clone)]
pub struct RowOfSeats<'a> {
    /// The section it lies in.
    pub section: &'a Section,
    /// The row.
    pub row: &'a SeatRow,
    /// Ids of its seats, in the order of adjacency.
    pub ids: Range<u32>,
}

impl RowOfSeats<'_> {
    /// What people call the seat of this row at `position`, like `Stalls-C-12`.
    fn label(&self, position: usize) -> String {
        format!("{}-{}-{}", self.section.name, self.row.name, self.row.seats[position].number)
    }
}

impl SeatMap {
    /// Makes a map of its parts, or names the rule they break.
    pub fn new(
        name: String,
        categories: Vec<Category>,
        sections: Vec<Section>,
        areas: Vec<Area>,
    ) -> Result<Self, SeatMapError> {
        let map = Self { name, categories, sections, areas };
        map.check()?;
        Ok(map)
    }

    /// The map with one more general-admission area.
    pub fn with_area(mut self, name: &str, capacity: u32, category: &str) -> Result<Self, SeatMapError> {
        let category = self
            .category_id(category)
            .ok_or_else(|| SeatMapError::NoSuchCategory { user: name.to_owned(), category: category.to_owned() })?;
        if self.areas.len() == AREAS_MAX {
            return Err(SeatMapError::TooMany { what: "areas", max: AREAS_MAX });
        }
        let area = Area { name: name.to_owned(), capacity, category };
        self.check_area(&area)?;
        if self.area_id(name).is_some() {
            return Err(SeatMapError::Duplicate { what: "area", name: area.name });
        }
        self.areas.push(area);
        Ok(self)
    }

    /// Recounts every rule from scratch, and names the first that is broken.
    pub fn check(&self) -> Result<(), SeatMapError> {
        check_named("plan", &self.name, NAME_LEN_MAX)?;
        for (what, count, max) in [
            ("seats", self.seat_count(), SEATS_MAX),
            ("sections", self.sections.len(), SECTIONS_MAX),
            ("areas", self.areas.len(), AREAS_MAX),
            ("categories", self.categories.len(), CATEGORIES_MAX),
        ] {
            if count > max {
                return Err(SeatMapError::TooMany { what, max });
            }
        }
        if self.seat_count() == 0 && self.areas.is_empty() {
            return Err(SeatMapError::Empty);
        }
        for category in &self.categories {
            check_named("category", &category.name, NAME_LEN_MAX)?;
            if !is_color(&category.color) {
                return Err(SeatMapError::OutOfBounds { what: "the colour", name: category.name.clone() });
            }
        }
        check_unique("category", self.categories.iter().map(|category| category.name.as_str()))?;
        for area in &self.areas {
            self.check_area(area)?;
        }
        check_unique("area", self.areas.iter().map(|area| area.name.as_str()))?;
        for section in &self.sections {
            self.check_section(section)?;
        }
        check_unique("section", self.sections.iter().map(|section| section.name.as_str()))?;
        check_unique("seat_guid", self.seats().map(|seat| seat.guid.as_str()))?;

        let mut labels = BTreeSet::new();
        for row in self.rows() {
            for (position, seat) in row.row.seats.iter().enumerate() {
                let label = row.label(position);
                if usize::from(seat.category.0) >= self.categories.len() {
                    return Err(SeatMapError::NoSuchCategory { user: label, category: seat.category.0.to_string() });
                }
                let inside = -POSITION_MAX..=POSITION_MAX;
                if !inside.contains(&seat.x) || !inside.contains(&seat.y) {
                    return Err(SeatMapError::OutOfBounds { what: "the position", name: label });
                }
                if seat.flags & !SEAT_FLAGS_ALL != 0 {
                    return Err(SeatMapError::OutOfBounds { what: "a flag", name: label });
                }
                if let Some(label) = labels.replace(label) {
                    return Err(SeatMapError::Duplicate { what: "seat labelled", name: label });
                }
            }
        }
        Ok(())
    }

    fn check_section(&self, section: &Section) -> Result<(), SeatMapError> {
        check_named("section", &section.name, NAME_LEN_MAX)?;
        if section.rows.is_empty() {
            return Err(SeatMapError::EmptyPart { what: "section", name: section.name.clone() });
        }
        for row in &section.rows {
            check_named("row", &row.name, NUMBER_LEN_MAX)?;
            if row.seats.is_empty() {
                let name = format!("{}-{}", section.name, row.name);
                return Err(SeatMapError::EmptyPart { what: "row", name });
            }
            for seat in &row.seats {
                check_named("seat number", &seat.number, NUMBER_LEN_MAX)?;
                check_named("seat_guid", &seat.guid, GUID_LEN_MAX)?;
            }
        }
        check_unique("row", section.rows.iter().map(|row| row.name.as_str()))
    }

    fn check_area(&self, area: &Area) -> Result<(), SeatMapError> {
        check_named("area", &area.name, NAME_LEN_MAX)?;
        if !(1..=AREA_CAPACITY_MAX).contains(&area.capacity) {
            return Err(SeatMapError::OutOfBounds { what: "the capacity", name: area.name.clone() });
        }
        if usize::from(area.category.0) >= self.categories.len() {
            let category = area.category.0.to_string();
            return Err(SeatMapError::NoSuchCategory { user: area.name.clone(), category });
        }
        Ok(())
    }

    /// How many seats there are; their ids are `0..seat_count`.
    pub fn seat_count(&self) -> usize {
        self.sections.iter().flat_map(|section| &section.rows).map(|row| row.seats.len()).sum()
    }

    /// Every seat in the order of the ids.
    pub fn seats(&self) -> impl Iterator<Item = &Seat> {
        self.sections.iter().flat_map(|section| &section.rows).flat_map(|row| &row.seats)
    }

    /// Every row in plan order, each with the ids of its seats.
    pub fn rows(&self) -> impl Iterator<Item = RowOfSeats<'_>> {
        let mut next = 0_u32;
        self.sections.iter().flat_map(|section| section.rows.iter().map(move |row| (section, row))).map(
            move |(section, row)| {
                let first = next;
                next += row.seats.len() as u32;
                RowOfSeats { section, row, ids: first..next }
            },
        )
    }

    /// The row in which a seat lies, and its position there. Walks the rows: a [`SeatIndex`] is faster.
    pub fn row_of(&self, id: SeatId) -> Option<(RowOfSeats<'_>, usize)> {
        let row = self.rows().find(|row| row.ids.contains(&id.0))?;
        let position = (id.0 - row.ids.start) as usize;
        Some((row, position))
    }

    /// A seat by its id. Walks the rows: a [`SeatIndex`] is faster.
    pub fn seat(&self, id: SeatId) -> Option<&Seat> {
        let (row, position) = self.row_of(id)?;
        Some(&row.row.seats[position])
    }

    /// What people call a seat, like `Stalls-C-12`. Walks the rows: a [`SeatIndex`] is faster.
    pub fn label(&self, id: SeatId) -> Option<String> {
        let (row, position) = self.row_of(id)?;
        Some(row.label(position))
    }

    /// The category of this name.
    pub fn category_id(&self, name: &str) -> Option<CategoryId> {
        let found = self.categories.iter().position(|category| category.name == name)?;
        u16::try_from(found).ok().map(CategoryId)
    }

    /// A category by its id.
    pub fn category(&self, id: CategoryId) -> Option<&Category> {
        self.categories.get(usize::from(id.0))
    }

    /// The area of this name.
    pub fn area_id(&self, name: &str) -> Option<AreaId> {
        let found = self.areas.iter().position(|area| area.name == name)?;
        u16::try_from(found).ok().map(AreaId)
    }

    /// An area by its id.
    pub fn area(&self, id: AreaId) -> Option<&Area> {
        self.areas.get(usize::from(id.0))
    }
}

/// Look-ups over one [`SeatMap`], built once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatIndex {
    /// Labels by seat id.
    labels: Vec<Box<str>>,
    /// Seat ids in the order of their labels, for binary search.
    by_label: Vec<SeatId>,
    /// Categories by seat id.
    categories: Vec<CategoryId>,
    /// Rows in plan order, so also in the order of their first seats.
    rows: Vec<RowSpan>,
}

/// Where one row lies: `sections[section].rows[row]` has the seats `first..first + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSpan {
    /// Index of the section in the map.
    pub section: u32,
    /// Index of the row in the section.
    pub row: u32,
    /// The first seat of the row.
    pub first: SeatId,
    /// How many seats it has, at least one.
    pub len: u32,
}

impl SeatIndex {
    /// Builds the look-ups of `map`.
    pub fn new(map: &SeatMap) -> Self {
        let seat_count = map.seat_count();
        let mut labels = Vec::with_capacity(seat_count);
        for row in map.rows() {
            labels.extend((0..row.row.seats.len()).map(|position| row.label(position).into_boxed_str()));
        }
        let mut by_label: Vec<SeatId> = (0..seat_count as u32).map(SeatId).collect();
        by_label.sort_unstable_by(|a, b| labels[a.0 as usize].cmp(&labels[b.0 as usize]));

        let places = map.sections.iter().enumerate();
        let places = places.flat_map(|(section, s)| (0..s.rows.len()).map(move |row| (section as u32, row as u32)));
        let rows = map.rows().zip(places).map(|(row, (section, position))| RowSpan {
            section,
            row: position,
            first: SeatId(row.ids.start),
            len: row.ids.len() as u32,
        });
        let rows = rows.collect();
        Self { labels, by_label, categories: map.seats().map(|seat| seat.category).collect(), rows }
    }

    /// How many seats there are.
    pub fn seat_count(&self) -> usize {
        self.labels.len()
    }

    /// The seat that people call `label`.
    pub fn seat_id(&self, label: &str) -> Option<SeatId> {
        let found = self.by_label.binary_search_by(|id| (*self.labels[id.0 as usize]).cmp(label)).ok()?;
        Some(self.by_label[found])
    }

    /// What people call a seat.
    pub fn label(&self, id: SeatId) -> Option<&str> {
        self.labels.get(id.0 as usize).map(|label| &**label)
    }

    /// Labels of all seats, in the order of the ids.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter().map(|label| &**label)
    }

    /// A seat's price category.
    pub fn category(&self, id: SeatId) -> Option<CategoryId> {
        self.categories.get(id.0 as usize).copied()
    }

    /// Every row in plan order.
    pub fn rows(&self) -> &[RowSpan] {
        &self.rows
    }

    /// The row in which a seat lies.
    pub fn row_of(&self, id: SeatId) -> Option<RowSpan> {
        if id.0 as usize >= self.labels.len() {
            return None;
        }
        let after = self.rows.partition_point(|row| row.first <= id);
        Some(self.rows[after - 1])
    }
}

fn check_named(what: &'static str, text: &str, len_max: usize) -> Result<(), SeatMapError> {
    check_known_text(text, len_max).map_err(|fault| SeatMapError::Text {
        what,
        text: text.chars().take(40).collect(),
        fault,
    })
}

fn check_unique<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), SeatMapError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(SeatMapError::Duplicate { what, name: name.to_owned() });
        }
    }
    Ok(())
}

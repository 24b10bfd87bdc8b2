//! The immutable layout of a venue: sections, rows, seats and general-admission areas.

use serde::{Deserialize, Serialize};

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
/// Rules: at least one seat or area; names unique and not empty; no empty row; labels unique in the map; every category
/// used exists; at most [`SEATS_MAX`] seats and [`AREAS_MAX`] areas.
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
/// The most areas of a map.
pub const AREAS_MAX: usize = 1_000;

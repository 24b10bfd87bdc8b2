//! Venue plans: the open seating-plan JSON in, a [`SeatMap`] out; and generators of such plans.
//!
//! The format is the one pretix reads and writes, with our optional fields under `x-vestibule`. Fields of pretix that
//! say nothing about what is for sale (drawings, colours of areas, radii) are accepted and ignored. What we make of
//! a plan:
//!
//! - A zone is a section. Zones sharing a name are one section, in plan order. A zone without a name is called by its
//!   `zone_id`, or else `Zone n` by its position in the plan, counted from 1; without seats it needs no name.
//! - Rows sharing a `row_number` in one section are the pieces of one row, with an aisle between them.
//! - A seat is called `Section-Row-Number`; two seats may not be called the same.
//! - Positions of zone, row and seat add up.
//! - An area is on sale if it has an `x-vestibule`, with name, category and capacity; otherwise it is a drawing.
//! - Names are trimmed. A colour other than `#rrggbb` is dropped: it only matters to drawings.
//!
//! Inside `x-vestibule` an unknown field is refused: there, it is a misspelt one of ours.

mod format;
mod generate;
mod import;

pub use generate::{ARENA_SEATS_MAX, arena, theatre};
pub use import::{ExtraArea, PLAN_LEN_MAX, PlanError, import, import_with_areas};

#[cfg(doc)]
use crate::seat_map::SeatMap;

#[cfg(test)]
mod tests;

//! Reads a plan and names the place of whatever is wrong with it.

use super::format::{self, Position};
use crate::seat_map::{
    AREA_CAPACITY_MAX, AREAS_MAX, Area, CATEGORIES_MAX, Category, CategoryId, GUID_LEN_MAX, NAME_LEN_MAX,
    NUMBER_LEN_MAX, POSITION_MAX, SEAT_COMPANION, SEAT_GAP_AFTER, SEAT_RESTRICTED_VIEW, SEAT_STEP_FREE,
    SEAT_WHEELCHAIR, SEATS_MAX, SECTIONS_MAX, Seat, SeatMap, SeatRow, Section, check_text, is_color,
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The largest plan, in bytes.
pub const PLAN_LEN_MAX: usize = 16 << 20;

/// Why a plan was refused, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct PlanError {
    /// The place in the JSON, like `zones[2].rows[0].seats[14].category`, or `plan` for the whole.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

impl PlanError {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

/// A general-admission area that comes beside the plan: one of `areas` of `POST /venues`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraArea {
    /// Its name, unique in the venue.
    pub name: String,
    /// Places on sale.
    pub capacity: u32,
    /// The name of one of the plan's categories.
    pub category: String,
}

/// Reads a seating plan.
pub fn import(json: &[u8]) -> Result<SeatMap, PlanError> {
    import_with_areas(json, &[])
}

/// Reads a seating plan and adds general-admission areas to it: a plan without a seat of its own is fine then. Paths of
/// `extra` begin with `areas[0]`, those of the plan with `zones`, `categories` or `name`.
pub fn import_with_areas(json: &[u8], extra: &[ExtraArea]) -> Result<SeatMap, PlanError> {
    if json.len() > PLAN_LEN_MAX {
        let reason = format!("is {} bytes long, more than the {PLAN_LEN_MAX} allowed", json.len());
        return Err(PlanError::new("plan", reason));
    }
    let plan = parse(json)?;
    let mut draft = Draft::default();
    let name = text(&plan.name, NAME_LEN_MAX, || "name".to_owned())?;
    draft.add_categories(&plan.categories)?;
    for (position, zone) in plan.zones.iter().enumerate() {
        draft.add_zone(position, zone)?;
    }
    for (position, area) in extra.iter().enumerate() {
        draft.add_area(&area.name, area.capacity, &area.category, || format!("areas[{position}]"))?;
    }
    if draft.seat_count == 0 && draft.areas.is_empty() {
        return Err(PlanError::new("zones", "there are no seats and no areas on sale"));
    }
    // Every rule has been looked at above, with its path. The map looks once more, with none.
    SeatMap::new(name, draft.categories, draft.sections, draft.areas)
        .map_err(|error| PlanError::new("plan", error.to_string()))
}

/// From bytes to the plan's own shape. Nothing but the size of the input bounds the work, and it is linear in that.
fn parse(json: &[u8]) -> Result<format::Plan, PlanError> {
    let deserializer = &mut serde_json::Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut *deserializer, &mut track);
    let plan = format::object(tracked).map_err(|error: serde_json::Error| {
        let path = track.path().to_string();
        let path = if path == "." { "plan".to_owned() } else { path };
        PlanError::new(path, error.to_string())
    })?;
    deserializer.end().map_err(|error| PlanError::new("plan", error.to_string()))?;
    Ok(plan)
}

/// The map in the making.
#[derive(Default)]
struct Draft {
    categories: Vec<Category>,
    category_ids: BTreeMap<String, CategoryId>,
    sections: Vec<Section>,
    section_positions: BTreeMap<String, usize>,
    /// By section and row name.
    row_positions: BTreeMap<(usize, String), usize>,
    areas: Vec<Area>,
    area_paths: BTreeMap<String, String>,
    seat_count: usize,
    /// Where each guid and each label was first used, as zone, row and seat.
    guids: BTreeMap<String, [usize; 3]>,
    labels: BTreeMap<String, [usize; 3]>,
}

impl Draft {
    fn add_categories(&mut self, categories: &[format::Category]) -> Result<(), PlanError> {
        if categories.len() > CATEGORIES_MAX {
            return Err(PlanError::new("categories", format!("there are more than {CATEGORIES_MAX} categories")));
        }
        for (position, category) in categories.iter().enumerate() {
            let path = || format!("categories[{position}].name");
            let name = text(&category.name, NAME_LEN_MAX, path)?;
            let color = category.color.clone().filter(|color| is_color(color)).unwrap_or_default();
            if let Some(first) = self.category_ids.insert(name.clone(), CategoryId(position as u16)) {
                return Err(PlanError::new(path(), format!("{name:?} is the name of categories[{}] already", first.0)));
            }
            self.categories.push(Category { name, color });
        }
        Ok(())
    }

    fn add_zone(&mut self, z: usize, zone: &format::Zone) -> Result<(), PlanError> {
        check_position(zone.position, || format!("zones[{z}].position"))?;
        if !zone.rows.is_empty() {
            let section = self.section_of(z, zone)?;
            for (r, row) in zone.rows.iter().enumerate() {
                self.add_row(section, [z, r], zone.position, row)?;
            }
        }
        for (position, area) in zone.areas.iter().enumerate() {
            if let Some(ours) = &area.ours {
                let path = || format!("zones[{z}].areas[{position}].x-vestibule");
                self.add_area(&ours.name, ours.capacity, &ours.category, path)?;
            }
        }
        Ok(())
    }

    /// The section of a zone's name, a new one if that name is new.
    fn section_of(&mut self, z: usize, zone: &format::Zone) -> Result<usize, PlanError> {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.trim().is_empty());
        let name = match (given(&zone.name), given(&zone.zone_id)) {
            (Some(name), _) => text(&name, NAME_LEN_MAX, || format!("zones[{z}].name"))?,
            (None, Some(id)) => text(&id, NAME_LEN_MAX, || format!("zones[{z}].zone_id"))?,
            (None, None) => format!("Zone {}", z + 1),
        };
        if let Some(&position) = self.section_positions.get(&name) {
            return Ok(position);
        }
        if self.sections.len() == SECTIONS_MAX {
            let reason = format!("there are more than {SECTIONS_MAX} sections up to here");
            return Err(PlanError::new(format!("zones[{z}]"), reason));
        }
        let position = self.sections.len();
        self.section_positions.insert(name.clone(), position);
        self.sections.push(Section { name, rows: Vec::new() });
        Ok(position)
    }

    fn add_row(
        &mut self,
        section: usize,
        [z, r]: [usize; 2],
        zone_position: Position,
        row: &format::Row,
    ) -> Result<(), PlanError> {
        let name = text(&row.row_number, NUMBER_LEN_MAX, || format!("zones[{z}].rows[{r}].row_number"))?;
        let row_position = row.position.unwrap_or_default();
        check_position(row_position, || format!("zones[{z}].rows[{r}].position"))?;
        if row.seats.is_empty() {
            return Err(PlanError::new(format!("zones[{z}].rows[{r}].seats"), "the row is empty"));
        }
        if self.seat_count + row.seats.len() > SEATS_MAX {
            let path = format!("zones[{z}].rows[{r}].seats");
            return Err(PlanError::new(path, format!("there are more than {SEATS_MAX} seats up to here")));
        }
        self.seat_count += row.seats.len();

        let corner = Position { x: zone_position.x + row_position.x, y: zone_position.y + row_position.y };
        let section_name = self.sections[section].name.clone();
        let mut seats = Vec::with_capacity(row.seats.len());
        for (s, seat) in row.seats.iter().enumerate() {
            seats.push(self.read_seat(&section_name, &name, [z, r, s], corner, seat)?);
        }

        let rows = &mut self.sections[section].rows;
        let position = *self.row_positions.entry((section, name.clone())).or_insert(rows.len());
        match rows.get_mut(position) {
            // Another piece of the same row: an aisle lies between the two.
            Some(row) => {
                if let Some(last) = row.seats.last_mut() {
                    last.flags |= SEAT_GAP_AFTER;
                }
                row.seats.append(&mut seats);
            }
            None => rows.push(SeatRow { name, seats }),
        }
        Ok(())
    }

    fn read_seat(
        &mut self,
        section: &str,
        row: &str,
        at: [usize; 3],
        corner: Position,
        seat: &format::Seat,
    ) -> Result<Seat, PlanError> {
        let path = |field: &str| format!("{}.{field}", seat_path(at));
        let number = text(&seat.seat_number, NUMBER_LEN_MAX, || path("seat_number"))?;
        let guid = text(&seat.seat_guid, GUID_LEN_MAX, || path("seat_guid"))?;
        if let Some(first) = self.guids.insert(guid.clone(), at) {
            let reason = format!("{guid:?} is the seat_guid of {} already", seat_path(first));
            return Err(PlanError::new(path("seat_guid"), reason));
        }
        let label = format!("{section}-{row}-{number}");
        if let Some(first) = self.labels.insert(label.clone(), at) {
            let reason = format!("{} is called {label:?} already", seat_path(first));
            return Err(PlanError::new(path("seat_number"), reason));
        }
        let category = self.category(&seat.category, || path("category"))?;
        check_position(seat.position, || path("position"))?;
        let place = |along: f64, axis: &str| {
            thousandths(along).ok_or_else(|| PlanError::new(path("position"), format!("{axis} is too far out")))
        };
        let x = place(corner.x + seat.position.x, "x")?;
        let y = place(corner.y + seat.position.y, "y")?;
        let ours = seat.ours.unwrap_or_default();
        let flags = [
            (ours.wheelchair, SEAT_WHEELCHAIR),
            (ours.companion, SEAT_COMPANION),
            (ours.restricted_view, SEAT_RESTRICTED_VIEW),
            (ours.step_free, SEAT_STEP_FREE),
            (ours.gap_after, SEAT_GAP_AFTER),
        ];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag);
        Ok(Seat { number, guid, x, y, category, flags })
    }

    fn add_area(
        &mut self,
        name: &str,
        capacity: u32,
        category: &str,
        path: impl Fn() -> String,
    ) -> Result<(), PlanError> {
        if self.areas.len() == AREAS_MAX {
            return Err(PlanError::new(path(), format!("there are more than {AREAS_MAX} areas on sale up to here")));
        }
        let name = text(name, NAME_LEN_MAX, || format!("{}.name", path()))?;
        if let Some(first) = self.area_paths.insert(name.clone(), path()) {
            let reason = format!("{name:?} is the name of {first} already");
            return Err(PlanError::new(format!("{}.name", path()), reason));
        }
        if !(1..=AREA_CAPACITY_MAX).contains(&capacity) {
            let reason = format!("{capacity} is not between 1 and {AREA_CAPACITY_MAX}");
            return Err(PlanError::new(format!("{}.capacity", path()), reason));
        }
        let category = self.category(category, || format!("{}.category", path()))?;
        self.areas.push(Area { name, capacity, category });
        Ok(())
    }

    fn category(&self, name: &str, path: impl Fn() -> String) -> Result<CategoryId, PlanError> {
        let found = self.category_ids.get(name.trim());
        found.copied().ok_or_else(|| PlanError::new(path(), format!("no category named {:?}", excerpt(name))))
    }
}

fn seat_path([z, r, s]: [usize; 3]) -> String {
    format!("zones[{z}].rows[{r}].seats[{s}]")
}

/// The text without white space around it, if it is fit to be a name.
fn text(text: &str, len_max: usize, path: impl Fn() -> String) -> Result<String, PlanError> {
    let text = text.trim();
    check_text(text, len_max).map_err(|fault| PlanError::new(path(), fault.to_string()))?;
    Ok(text.to_owned())
}

/// The beginning of a text: a message does not repeat megabytes.
fn excerpt(text: &str) -> String {
    text.chars().take(NAME_LEN_MAX).collect()
}

fn check_position(position: Position, path: impl Fn() -> String) -> Result<(), PlanError> {
    for (axis, along) in [("x", position.x), ("y", position.y)] {
        if thousandths(along).is_none() {
            let reason = format!("{along:?} is not between -{0} and {0}", POSITION_MAX / 1_000);
            return Err(PlanError::new(format!("{}.{axis}", path()), reason));
        }
    }
    Ok(())
}

/// Plan units in thousandths, unless too far out or not a number at all.
fn thousandths(along: f64) -> Option<i32> {
    let scaled = (along * 1_000.0).round();
    let inside = scaled.is_finite() && scaled.abs() <= f64::from(POSITION_MAX);
    inside.then_some(scaled as i32)
}

//! Plans drawn by rule: a theatre with curved rows and an arena of any size.
//!
//! One plan unit is a centimetre. Everything is whole numbers, so every machine draws the same file, byte for byte.

use super::PlanError;
use super::format::{Category, Plan, Position, Row, Seat, SeatExtras, Size, Zone};
use serde::Serialize;

/// The most seats of a generated arena: its plan stays well below [`PLAN_LEN_MAX`](super::PLAN_LEN_MAX).
pub const ARENA_SEATS_MAX: usize = 120_000;

/// From one seat to the next.
const SEAT_WIDTH: i64 = 52;
/// From one row to the next.
const ROW_DEPTH: i64 = 90;
/// Half the width of the aisle in the middle.
const HALF_AISLE: i64 = 70;
/// What an aisle at the side adds between two seats.
const SIDE_AISLE: i64 = 90;

/// The plan of a theatre of 1,204 seats: stalls, circle and balcony, with curved rows, odd numbers left of the middle
/// aisle and even ones right of it, as old houses count.
pub fn theatre() -> String {
    let categories =
        categories(&[("Premium", "#b8860b"), ("Stalls", "#8b1a1a"), ("Circle", "#1f4e79"), ("Balcony", "#4f6228")]);
    let zones = TIERS.iter().map(Tier::zone).collect();
    let size = Some(Size { width: 2_400, height: 4_600 });
    write(&Plan { name: "Theatre Royal".to_owned(), size, categories, zones })
}

/// One floor of the theatre.
struct Tier {
    name: &'static str,
    /// Where the front row's middle lies.
    front: i64,
    rows: &'static str,
    /// Seats on one side of the middle aisle, in the front row and in the back row.
    half: [usize; 2],
    /// After how many seats from the middle an aisle at the side follows.
    side_aisle: Option<usize>,
    /// How strongly rows curve: the radius in the middle.
    radius: i64,
}

/// Row letters leave out I and O, which read as digits.
const TIERS: [Tier; 3] = [
    Tier { name: "Stalls", front: 700, rows: "ABCDEFGHJKLMNPQRSTUV", half: [12, 17], side_aisle: None, radius: 2_400 },
    Tier { name: "Circle", front: 2_700, rows: "ABCDEFGHJKLM", half: [14, 18], side_aisle: Some(9), radius: 2_000 },
    Tier { name: "Balcony", front: 3_900, rows: "ABCDEFGH", half: [14, 16], side_aisle: Some(9), radius: 1_800 },
];

impl Tier {
    fn zone(&self) -> Zone {
        let last = self.rows.len() - 1;
        let rows = self.rows.chars().enumerate().map(|(depth, letter)| {
            let [front, back] = self.half;
            let half = front + ((back - front) * depth + last / 2) / last;
            let position = Some(Position::whole(0, depth as i64 * ROW_DEPTH));
            Row { row_number: letter.to_string(), position, seats: self.seats(letter, half) }
        });
        Zone {
            name: Some(self.name.to_owned()),
            zone_id: None,
            position: Position::whole(1_200, self.front),
            rows: rows.collect(),
            areas: Vec::new(),
        }
    }

    /// From the left wall to the right one: 23, 21 … 3, 1, the aisle, 2, 4 … 22, 24.
    fn seats(&self, row: char, half: usize) -> Vec<Seat> {
        let left = (0..half).rev().map(|out| self.seat(row, half, out, true));
        let right = (0..half).map(|out| self.seat(row, half, out, false));
        left.chain(right).collect()
    }

    /// The seat `out` places away from the middle aisle.
    fn seat(&self, row: char, half: usize, out: usize, left: bool) -> Seat {
        let number = if left { 2 * out + 1 } else { 2 * out + 2 };
        let beyond_side_aisle = self.side_aisle.is_some_and(|aisle| out >= aisle);
        let across = HALF_AISLE + out as i64 * SEAT_WIDTH + if beyond_side_aisle { SIDE_AISLE } else { 0 };
        // A parabola hugs the circle closely enough, and is exact in whole numbers.
        let forward = across * across / (2 * self.radius);
        let name = self.name;
        Seat {
            seat_guid: format!("{name}-{row}-{number}"),
            seat_number: number.to_string(),
            position: Position::whole(if left { -across } else { across }, -forward),
            category: self.category(row, out).to_owned(),
            ours: Some(self.extras(row, half, out, left)).filter(|extras| *extras != SeatExtras::default()),
        }
    }

    fn category(&self, row: char, out: usize) -> &'static str {
        match self.name {
            "Stalls" if ('C'..='J').contains(&row) && out < 9 => "Premium",
            "Circle" if row == 'A' => "Premium",
            name => name,
        }
    }

    fn extras(&self, row: char, half: usize, out: usize, left: bool) -> SeatExtras {
        let from_wall = half - 1 - out;
        let last_row = self.rows.ends_with(row);
        // Wheelchair spaces lie at the walls: two a side in the last row of the stalls, one in the first, each with its
        // companion's seat beside it.
        let spaces = match self.name {
            "Stalls" if last_row => 2,
            "Stalls" if row == 'A' => 1,
            _ => 0,
        };
        let accessible = from_wall < 2 * spaces;
        // Reading from the left wall, an aisle follows the last seat on its near side.
        let gap_after = match self.side_aisle {
            _ if left && out == 0 => true,
            Some(aisle) if left => out == aisle,
            Some(aisle) => out + 1 == aisle && half > aisle,
            None => false,
        };
        SeatExtras {
            wheelchair: accessible && from_wall.is_multiple_of(2),
            companion: accessible && !from_wall.is_multiple_of(2),
            step_free: self.name == "Stalls" && (last_row || row == 'A'),
            restricted_view: match self.name {
                "Stalls" => false,
                "Circle" => last_row && from_wall < 3,
                _ => from_wall < 3,
            },
            gap_after,
        }
    }
}

/// The plan of an arena of exactly `seats` seats: blocks on the floor before the stage, and two rings of blocks around
/// it, `101…` and `201…`.
pub fn arena(seats: usize) -> Result<String, PlanError> {
    if !(1..=ARENA_SEATS_MAX).contains(&seats) {
        return Err(PlanError::new("seats", format!("{seats} is not between 1 and {ARENA_SEATS_MAX}")));
    }
    let floor = seats * 15 / 100;
    let lower = seats * 45 / 100;
    let upper = seats - floor - lower;
    let mut zones = Vec::new();

    // The floor: two rows of four blocks that face the stage, which lies at the top.
    let blocks = share(floor, 8);
    let floor_side = block_depth(blocks[0]).max(block_width(blocks[0]) * SEAT_WIDTH) + 200;
    for (block, (&count, letter)) in blocks.iter().zip('A'..).enumerate() {
        let corner = Position::whole((block as i64 % 4 - 2) * floor_side, (block as i64 / 4) * floor_side);
        let name = format!("Floor-{letter}");
        zones.push(block_zone(name, corner, Facing::Stage, count, |_| "Floor"));
    }

    // The rings: a third of the blocks along each of the left, the back and the right of the floor.
    let mut inner = 2 * floor_side + 300;
    for (first_name, count, per_side) in [(101, lower, 8), (201, upper, 10)] {
        let blocks = share(count, 3 * per_side);
        let pitch = block_width(blocks[0]) * SEAT_WIDTH + 150;
        let reach = inner.max(pitch * per_side as i64 / 2 + 200);
        for (block, &count) in blocks.iter().enumerate() {
            let along = (block % per_side) as i64 * pitch;
            let (facing, corner) = match block / per_side {
                0 => (Facing::Right, Position::whole(-reach, along)),
                1 => (Facing::Stage, Position::whole(along - reach, pitch * per_side as i64 + 200)),
                _ => (Facing::Left, Position::whole(reach, pitch * per_side as i64 - along)),
            };
            let lower_ring = first_name == 101;
            let category = move |row: usize| match (lower_ring, facing) {
                (true, Facing::Stage) => "Lower",
                (true, _) if row < 8 => "Premium",
                (true, _) => "Lower",
                (false, _) => "Upper",
            };
            zones.push(block_zone((first_name + block).to_string(), corner, facing, count, category));
        }
        inner = reach + block_depth(blocks[0]) + 400;
    }

    zones.retain(|zone| !zone.rows.is_empty());
    let categories =
        categories(&[("Premium", "#b8860b"), ("Floor", "#8b1a1a"), ("Lower", "#1f4e79"), ("Upper", "#4f6228")]);
    let size = Some(Size { width: 2 * inner, height: 2 * inner });
    Ok(write(&Plan { name: format!("Arena of {seats}"), size, categories, zones }))
}

/// Which way the seats of a block look.
#[derive(Clone, Copy, PartialEq)]
enum Facing {
    Stage,
    Left,
    Right,
}

/// Shares `seats` out among `blocks`: as even as can be, the first ones get the rest.
fn share(seats: usize, blocks: usize) -> Vec<usize> {
    (0..blocks).map(|block| seats / blocks + usize::from(block < seats % blocks)).collect()
}

/// Seats a row in a block of `seats` seats: a little wider than deep.
fn block_width(seats: usize) -> i64 {
    ((seats as u64 * 4 / 3).isqrt() as i64).clamp(4, 60)
}

/// How deep a block of `seats` seats is, in centimetres.
fn block_depth(seats: usize) -> i64 {
    (seats as i64 / block_width(seats) + 1) * ROW_DEPTH
}

/// A block whose rows fill up from the front; the last one may be short.
fn block_zone(
    name: String,
    position: Position,
    facing: Facing,
    seats: usize,
    category: impl Fn(usize) -> &'static str,
) -> Zone {
    let width = block_width(seats) as usize;
    let mut rows = Vec::new();
    while rows.len() * width < seats {
        let depth = rows.len();
        let row_len = width.min(seats - depth * width);
        let row_seats = (0..row_len).map(|along| {
            let (x, y) = (along as i64 * SEAT_WIDTH, depth as i64 * ROW_DEPTH);
            let position = match facing {
                Facing::Stage => Position::whole(x, y),
                Facing::Right => Position::whole(-y, x),
                Facing::Left => Position::whole(y, -x),
            };
            // The front row of a block is reached without steps, and ends in a wheelchair space.
            let front = depth == 0;
            let extras = SeatExtras {
                wheelchair: front && row_len >= 4 && along + 1 == row_len,
                companion: front && row_len >= 4 && along + 2 == row_len,
                step_free: front,
                ..SeatExtras::default()
            };
            Seat {
                seat_guid: format!("{name}-{}-{}", depth + 1, along + 1),
                seat_number: (along + 1).to_string(),
                position,
                category: category(depth).to_owned(),
                ours: front.then_some(extras),
            }
        });
        let seats = row_seats.collect();
        rows.push(Row { row_number: (depth + 1).to_string(), position: Some(Position::whole(0, 0)), seats });
    }
    Zone { name: Some(name), zone_id: None, position, rows, areas: Vec::new() }
}

fn categories(named: &[(&str, &str)]) -> Vec<Category> {
    let one = |&(name, color): &(&str, &str)| Category { name: name.to_owned(), color: Some(color.to_owned()) };
    named.iter().map(one).collect()
}

/// Writes a plan with a line a seat, so that a change of a plan reads well in a diff.
fn write(plan: &Plan) -> String {
    let mut out = String::new();
    let head = format!("{{\"name\": {}, \"size\": {},\n", json(&plan.name), json(&plan.size));
    out.push_str(&head);
    list(&mut out, "\"categories\": [", &plan.categories, |out, category| out.push_str(&json(category)));
    out.push_str(",\n");
    list(&mut out, "\"zones\": [", &plan.zones, |out, zone| {
        let head = format!("{{\"name\": {}, \"position\": {}, \"rows\": [", json(&zone.name), json(&zone.position));
        list(out, &head, &zone.rows, |out, row| {
            let (number, position) = (json(&row.row_number), json(&row.position));
            let head = format!("{{\"row_number\": {number}, \"position\": {position}, \"seats\": [");
            list(out, &head, &row.seats, |out, seat| out.push_str(&json(seat)));
            out.push('}');
        });
        out.push('}');
    });
    out.push_str("}\n");
    out
}

/// Writes `head`, the items a line each, and the closing bracket.
fn list<T>(out: &mut String, head: &str, items: &[T], item: impl Fn(&mut String, &T)) {
    out.push_str(head);
    for (position, value) in items.iter().enumerate() {
        out.push_str(if position == 0 { "\n" } else { ",\n" });
        item(out, value);
    }
    out.push(']');
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a plan's parts are strings, whole numbers and flags")
}

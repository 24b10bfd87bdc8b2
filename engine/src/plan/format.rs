//! The seating-plan JSON as it is written.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    pub(super) name: String,
    #[serde(default, deserialize_with = "maybe_object")]
    pub(super) size: Option<Size>,
    #[serde(deserialize_with = "objects")]
    pub(super) categories: Vec<Category>,
    #[serde(deserialize_with = "objects")]
    pub(super) zones: Vec<Zone>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Size {
    pub(super) width: i64,
    pub(super) height: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Category {
    pub(super) name: String,
    #[serde(default)]
    pub(super) color: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Zone {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) zone_id: Option<String>,
    #[serde(deserialize_with = "object")]
    pub(super) position: Position,
    #[serde(deserialize_with = "objects")]
    pub(super) rows: Vec<Row>,
    #[serde(default, deserialize_with = "objects")]
    pub(super) areas: Vec<Area>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub(super) row_number: String,
    #[serde(default, deserialize_with = "maybe_object")]
    pub(super) position: Option<Position>,
    #[serde(deserialize_with = "objects")]
    pub(super) seats: Vec<Seat>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Seat {
    pub(super) seat_guid: String,
    pub(super) seat_number: String,
    #[serde(deserialize_with = "object")]
    pub(super) position: Position,
    pub(super) category: String,
    #[serde(
        rename = "x-vestibule",
        default,
        deserialize_with = "maybe_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) ours: Option<SeatExtras>,
}

/// Our optional fields of a seat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct SeatExtras {
    #[serde(skip_serializing_if = "is_false")]
    pub(super) wheelchair: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) companion: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) restricted_view: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) step_free: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(super) gap_after: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Area {
    #[serde(rename = "x-vestibule", default, deserialize_with = "maybe_object")]
    pub(super) ours: Option<AreaExtras>,
}

/// Our optional fields of an area: they put it on sale.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AreaExtras {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) capacity: u32,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Position {
    #[serde(serialize_with = "whole")]
    pub(super) x: f64,
    #[serde(serialize_with = "whole")]
    pub(super) y: f64,
}

impl Position {
    pub(super) fn whole(x: i64, y: i64) -> Self {
        Self { x: x as f64, y: y as f64 }
    }
}

/// A struct that is read from an object only: serde would take `[1, 2]` for a position as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfObject(PhantomData)).map(Object)
    }
}

pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

fn maybe_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<Object<T>>::deserialize(deserializer).map(|object| object.map(|object| object.0))
}

fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

/// Writes a whole number without a decimal point.
fn whole<S: Serializer>(along: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if along.fract() == 0.0 { serializer.serialize_i64(*along as i64) } else { serializer.serialize_f64(*along) }
}

fn is_false(value: &bool) -> bool {
    !value
}

use super::*;
use crate::seat_map::{
    AREAS_MAX, SEAT_GAP_AFTER, SEAT_STEP_FREE, SEAT_WHEELCHAIR, SECTIONS_MAX, SeatId, SeatIndex, SeatMap,
};
use expect_test::{expect, expect_file};
use serde_json::{Value, json};

/// A plan as pretix writes it, with fields that we ignore, and with ours.
fn fixture() -> Value {
    json!({
        "name": "Kleines Haus", "size": {"width": 800, "height": 600},
        "categories": [{"name": "Stalls", "color": "#7f4a91"}, {"name": "Box", "color": "red"}],
        "zones": [
            {
                "name": "Parkett", "zone_id": "p", "displayed": true, "uuid": "0-1", "position": {"x": 100, "y": 50.5},
                "rows": [
                    {
                        "row_number": "A", "row_number_position": "both", "position": {"x": 10, "y": 0}, "uuid": "1",
                        "number_of_seats": 3, "seats_spacing": 25,
                        "seats": [
                            {"seat_guid": "g1", "seat_number": "1", "position": {"x": 0, "y": 0}, "category": "Stalls",
                             "radius": 10.5, "x-vestibule": {"wheelchair": true, "stepFree": true}},
                            {"seat_guid": "g2", "seat_number": "2", "position": {"x": 25, "y": 0.25},
                             "category": "Stalls",
                             "x-vestibule": {"gapAfter": true, "companion": true, "restrictedView": true}},
                            {"seat_guid": "g3", "seat_number": "3", "position": {"x": 50, "y": 0}, "category": "Stalls"}
                        ]
                    },
                    {"row_number": "B", "row_number_position": null, "seats": [
                        {"seat_guid": "g4", "seat_number": "1", "position": {"x": 0, "y": 30}, "category": " Stalls "}]}
                ],
                "areas": [{"shape": "rectangle", "color": "#fff", "rotation": 0, "position": {"x": 0, "y": 0},
                           "width": 10, "height": 10, "text": {"text": "Bühne", "size": 16}}]
            },
            {
                "name": "Parkett", "position": {"x": 300, "y": 0},
                "rows": [{"row_number": "A", "position": {"x": 0, "y": 0}, "seats": [
                    {"seat_guid": "g5", "seat_number": "4", "position": {"x": 0, "y": 0}, "category": "Stalls"}]}]
            },
            {
                "name": null, "position": {"x": -20, "y": 0},
                "rows": [{"row_number": "1", "seats": [
                    {"seat_guid": "g6", "seat_number": "1", "position": {"x": 0, "y": 0}, "category": "Box"}]}],
                "areas": [{"position": {"x": 0, "y": 0},
                           "x-vestibule": {"name": "Stehplatz", "category": "Box", "capacity": 40}}]
            }
        ]
    })
}

fn import_value(plan: &Value) -> Result<SeatMap, PlanError> {
    import(plan.to_string().as_bytes())
}

/// A line a seat and area: what the import made of a plan.
fn transcript(map: &SeatMap) -> String {
    let mut out = format!("{}: {} seats\n", map.name, map.seat_count());
    for category in &map.categories {
        out += &format!("category {} {}\n", category.name, category.color);
    }
    for (id, seat) in map.seats().enumerate() {
        let label = map.label(SeatId(id as u32)).unwrap();
        let category = &map.category(seat.category).unwrap().name;
        out += &format!("{id} {label} {} {} {} {category} {:#07b}\n", seat.guid, seat.x, seat.y, seat.flags);
    }
    for area in &map.areas {
        out += &format!("area {}: {} places in {}\n", area.name, area.capacity, area.category.0);
    }
    out
}

#[test]
fn reads_a_plan_as_pretix_writes_it() {
    expect![[r#"
        Kleines Haus: 6 seats
        category Stalls #7f4a91
        category Box 
        0 Parkett-A-1 g1 110000 50500 Stalls 0b01001
        1 Parkett-A-2 g2 135000 50750 Stalls 0b10110
        2 Parkett-A-3 g3 160000 50500 Stalls 0b10000
        3 Parkett-A-4 g5 300000 0 Stalls 0b00000
        4 Parkett-B-1 g4 100000 80500 Stalls 0b00000
        5 Zone 3-1-1 g6 -20000 0 Box 0b00000
        area Stehplatz: 40 places in 1
    "#]]
    .assert_eq(&transcript(&import_value(&fixture()).unwrap()));
}

#[test]
fn refuses_and_names_the_place() {
    type Spoil = fn(&mut Value);
    let table: &[(&str, Spoil)] = &[
        ("category of a seat", |p| p["zones"][0]["rows"][0]["seats"][2]["category"] = json!("Stals")),
        ("category twice", |p| p["categories"][1]["name"] = json!("Stalls ")),
        ("guid twice", |p| p["zones"][1]["rows"][0]["seats"][0]["seat_guid"] = json!("g2")),
        ("number twice", |p| p["zones"][1]["rows"][0]["seats"][0]["seat_number"] = json!("3")),
        ("two roads to one label", |p| {
            p["zones"][1]["name"] = json!("Parkett-A");
            p["zones"][1]["rows"][0]["row_number"] = json!("1");
            p["zones"][0]["rows"][0]["seats"][0]["seat_number"] = json!("1-4");
        }),
        ("empty row", |p| p["zones"][0]["rows"][1]["seats"] = json!([])),
        ("row without a name", |p| p["zones"][0]["rows"][1]["row_number"] = json!("  ")),
        ("seat without a number", |p| p["zones"][0]["rows"][1]["seats"][0]["seat_number"] = json!("")),
        ("absurd coordinate", |p| p["zones"][0]["rows"][0]["seats"][1]["position"]["x"] = json!(1e300)),
        ("absurd sum of coordinates", |p| {
            p["zones"][0]["position"]["y"] = json!(999_999);
            p["zones"][0]["rows"][0]["position"]["y"] = json!(2);
        }),
        ("absurd zone", |p| p["zones"][1]["position"]["y"] = json!(-1_000_001)),
        ("coordinate as text", |p| p["zones"][0]["position"]["x"] = json!("NaN")),
        ("coordinate is null", |p| p["zones"][0]["rows"][0]["seats"][1]["position"]["x"] = Value::Null),
        ("no position", |p| {
            p["zones"][0]["rows"][0]["seats"][1].as_object_mut().unwrap().remove("position");
        }),
        ("nothing to sell", |p| p["zones"] = json!([])),
        ("wrong type", |p| p["zones"][0]["rows"][0]["row_number"] = json!(7)),
        ("wrong type of zones", |p| p["zones"] = json!({})),
        ("not an object", |p| *p = json!([1])),
        ("position as a list", |p| p["zones"][0]["rows"][0]["seats"][1]["position"] = json!([1, 2])),
        ("seat as a list", |p| p["zones"][0]["rows"][0]["seats"][1] = json!(["g2", "2", {"x": 1, "y": 1}, "Stalls"])),
        ("no categories", |p| {
            p.as_object_mut().unwrap().remove("categories");
        }),
        ("control character", |p| p["zones"][0]["name"] = json!("Par\u{7}kett")),
        ("hidden character", |p| p["zones"][0]["rows"][0]["seats"][0]["seat_guid"] = json!("g\u{202e}1")),
        ("long name", |p| p["name"] = json!("x".repeat(101))),
        ("long number", |p| p["zones"][0]["rows"][0]["seats"][0]["seat_number"] = json!("9".repeat(21))),
        ("misspelt field of ours", |p| {
            p["zones"][0]["rows"][0]["seats"][0]["x-vestibule"] = json!({"wheelChair": true});
        }),
        ("wheelchair as text", |p| {
            p["zones"][0]["rows"][0]["seats"][0]["x-vestibule"] = json!({"wheelchair": "yes"});
        }),
        ("area without capacity", |p| {
            p["zones"][0]["areas"][0]["x-vestibule"] = json!({"name": "Pit", "category": "Box"});
        }),
        ("area of no places", |p| p["zones"][2]["areas"][0]["x-vestibule"]["capacity"] = json!(0)),
        ("area of negative places", |p| p["zones"][2]["areas"][0]["x-vestibule"]["capacity"] = json!(-4)),
        ("category of an area", |p| p["zones"][2]["areas"][0]["x-vestibule"]["category"] = json!("Pit")),
        ("area twice", |p| {
            let area = p["zones"][2]["areas"][0].clone();
            p["zones"][0]["areas"].as_array_mut().unwrap().push(area);
        }),
        ("areas past counting", |p| {
            let ours = |n| json!({"x-vestibule": {"name": format!("a{n}"), "category": "Box", "capacity": 1}});
            p["zones"][2]["areas"] = (0..=AREAS_MAX).map(ours).collect();
        }),
        ("sections past counting", |p| {
            let at = json!({"x": 0, "y": 0});
            let zone = |n| {
                let guid = format!("s{n}");
                let seat = json!({"seat_guid": guid, "seat_number": "1", "position": at, "category": "Box"});
                let row = json!({"row_number": "1", "position": at, "seats": [seat]});
                json!({"name": format!("z{n}"), "position": at, "rows": [row], "areas": []})
            };
            p["zones"] = (0..=SECTIONS_MAX).map(zone).collect();
        }),
    ];
    let mut transcript = String::new();
    for (what, spoil) in table {
        let mut plan = fixture();
        spoil(&mut plan);
        let answer = match import_value(&plan) {
            Ok(_) => "ACCEPTED".to_owned(),
            Err(error) => error.to_string(),
        };
        transcript += &format!("{what}\n    {answer}\n");
    }
    expect![[r#"
        category of a seat
            zones[0].rows[0].seats[2].category: no category named "Stals"
        category twice
            categories[1].name: "Stalls" is the name of categories[0] already
        guid twice
            zones[1].rows[0].seats[0].seat_guid: "g2" is the seat_guid of zones[0].rows[0].seats[1] already
        number twice
            zones[1].rows[0].seats[0].seat_number: zones[0].rows[0].seats[2] is called "Parkett-A-3" already
        two roads to one label
            zones[1].rows[0].seats[0].seat_number: zones[0].rows[0].seats[0] is called "Parkett-A-1-4" already
        empty row
            zones[0].rows[1].seats: the row is empty
        row without a name
            zones[0].rows[1].row_number: is empty
        seat without a number
            zones[0].rows[1].seats[0].seat_number: is empty
        absurd coordinate
            zones[0].rows[0].seats[1].position.x: 1e300 is not between -1000000 and 1000000
        absurd sum of coordinates
            zones[0].rows[0].seats[0].position: y is too far out
        absurd zone
            zones[1].position.y: -1000001.0 is not between -1000000 and 1000000
        coordinate as text
            zones[0].position.x: invalid type: string "NaN", expected f64 at line 1 column 345
        coordinate is null
            zones[0].rows[0].seats[1].position.x: invalid type: null, expected f64 at line 1 column 651
        no position
            zones[0].rows[0].seats[1]: missing field `position` at line 1 column 737
        nothing to sell
            zones: there are no seats and no areas on sale
        wrong type
            zones[0].rows[0].row_number: invalid type: integer `7`, expected a string at line 1 column 423
        wrong type of zones
            zones: invalid type: map, expected a sequence at line 1 column 145
        not an object
            plan: invalid type: sequence, expected an object at line 1 column 0
        position as a list
            zones[0].rows[0].seats[1].position: invalid type: sequence, expected an object at line 1 column 642
        seat as a list
            zones[0].rows[0].seats[1]: invalid type: sequence, expected an object at line 1 column 610
        no categories
            plan: missing field `categories` at line 1 column 1425
        control character
            zones[0].name: has a control character (U+0007)
        hidden character
            zones[0].rows[0].seats[0].seat_guid: has a control character (U+202E)
        long name
            name: is longer than 100 characters
        long number
            zones[0].rows[0].seats[0].seat_number: is longer than 20 characters
        misspelt field of ours
            zones[0].rows[0].seats[0].x-vestibule.wheelChair: unknown field `wheelChair`, expected one of `wheelchair`, `companion`, `restrictedView`, `stepFree`, `gapAfter` at line 1 column 586
        wheelchair as text
            zones[0].rows[0].seats[0].x-vestibule.wheelchair: invalid type: string "yes", expected a boolean at line 1 column 592
        area without capacity
            zones[0].areas[0].x-vestibule: missing field `capacity` at line 1 column 333
        area of no places
            zones[2].areas[0].x-vestibule.capacity: 0 is not between 1 and 1000000
        area of negative places
            zones[2].areas[0].x-vestibule.capacity: invalid value: integer `-4`, expected u32 at line 1 column 1307
        category of an area
            zones[2].areas[0].x-vestibule.category: no category named "Pit"
        area twice
            zones[2].areas[0].x-vestibule.name: "Stehplatz" is the name of zones[0].areas[1].x-vestibule already
        areas past counting
            zones[2].areas[1000].x-vestibule: there are more than 1000 areas on sale up to here
        sections past counting
            zones[10000]: there are more than 10000 sections up to here
    "#]].assert_eq(&transcript);
}

#[test]
fn refuses_what_is_not_a_plan_at_all() {
    let texts: &[(&str, Vec<u8>)] = &[
        ("nothing", Vec::new()),
        ("no JSON", b"BEGIN:VCALENDAR".to_vec()),
        ("no UTF-8", b"{\"name\": \"\xff\xfe\"}".to_vec()),
        ("half a plan", b"{\"name\": \"x\", \"zones\": [{\"position\": {\"x\": 1, \"y\"".to_vec()),
        ("not a number", b"{\"name\": \"x\", \"zones\": [{\"position\": {\"x\": NaN}}]}".to_vec()),
        ("infinite", b"{\"name\": \"x\", \"zones\": [{\"position\": {\"x\": 1e999}}]}".to_vec()),
        ("name twice", b"{\"name\": \"x\", \"name\": \"y\"}".to_vec()),
        ("more after the plan", [fixture().to_string().as_bytes(), b"{}"].concat()),
    ];
    let mut transcript = String::new();
    for (what, text) in texts {
        transcript += &format!("{what}\n    {}\n", import(text).unwrap_err());
    }
    expect![[r#"
        nothing
            plan: EOF while parsing a value at line 1 column 0
        no JSON
            plan: expected value at line 1 column 1
        no UTF-8
            name: invalid unicode code point at line 1 column 11
        half a plan
            zones[0].position: EOF while parsing an object at line 1 column 49
        not a number
            zones[0].position.x: expected value at line 1 column 44
        infinite
            zones[0].position.x: number out of range at line 1 column 48
        name twice
            plan: duplicate field `name` at line 1 column 20
        more after the plan
            plan: trailing characters at line 1 column 1506
    "#]]
    .assert_eq(&transcript);
}

/// No work grows faster than the input: each of these answers in a blink, where anything quadratic would take minutes.
#[test]
fn ten_megabytes_of_nonsense() {
    let len = 10 << 20;
    let deep = "[".repeat(len);
    let deep_inside = format!("{{\"name\": {}", "{\"a\":".repeat(len / 5));
    let ignored = format!("{{\"mystery\": {}", "[".repeat(len));
    let zone = r#"{"position":{"x":0,"y":0},"rows":[]},"#;
    let zones = format!(r#"{{"name":"n","categories":[],"zones":[{}{{}}]}}"#, zone.repeat(len / zone.len()));
    let text = format!("{{\"name\": \"{}\", \"categories\": [], \"zones\": []}}", "n".repeat(len));
    let categories = format!(r#"{{"name":"n","categories":[{}{{}}]}}"#, r#"{"name":"c"},"#.repeat(len / 13));
    let mut transcript = String::new();
    for text in [deep, deep_inside, ignored, zones, text, categories] {
        transcript += &format!("{}\n", import(text.as_bytes()).unwrap_err());
    }
    transcript += &format!("{}\n", import(&vec![b' '; PLAN_LEN_MAX + 1]).unwrap_err());
    expect![[r#"
        plan: invalid type: sequence, expected an object at line 1 column 0
        name: invalid type: map, expected a string at line 1 column 9
        mystery: EOF while parsing a list at line 1 column 10485772
        zones[283398]: missing field `position` at line 1 column 10485765
        name: is longer than 100 characters
        categories[806596]: missing field `name` at line 1 column 10485776
        plan: is 16777217 bytes long, more than the 16777216 allowed
    "#]]
    .assert_eq(&transcript);
}

#[test]
fn areas_come_beside_the_plan_too() {
    let bare = json!({"name": "Field", "categories": [{"name": "Entry"}], "zones": []});
    let bare = bare.to_string();
    let area = |name: &str, capacity, category: &str| ExtraArea {
        name: name.to_owned(),
        capacity,
        category: category.to_owned(),
    };
    let mut transcript = String::new();
    for extra in [
        vec![area("Field", 500, "Entry")],
        vec![area("Field", 500, "Entry"), area("Field", 5, "Entry")],
        vec![area("Field", 0, "Entry")],
        vec![area("Field", 5, "VIP")],
        vec![],
    ] {
        transcript += &match import_with_areas(bare.as_bytes(), &extra) {
            Ok(map) => transcript_of_areas(&map),
            Err(error) => format!("{error}\n"),
        };
    }
    let map = import(fixture().to_string().as_bytes()).unwrap().with_area("Galerie", 7, "Box").unwrap();
    transcript += &transcript_of_areas(&map);
    transcript += &format!("{}\n", map.clone().with_area("Galerie", 7, "Box").unwrap_err());
    transcript += &format!("{}\n", map.with_area("Loge", 7, "Loge").unwrap_err());
    expect![[r#"
        Field 500 0
        areas[1].name: "Field" is the name of areas[0] already
        areas[0].capacity: 0 is not between 1 and 1000000
        areas[0].category: no category named "VIP"
        zones: there are no seats and no areas on sale
        Stehplatz 40 1
        Galerie 7 1
        there is another area "Galerie"
        Loge is in a category that the map does not have: Loge
    "#]]
    .assert_eq(&transcript);
}

fn transcript_of_areas(map: &SeatMap) -> String {
    map.areas.iter().map(|area| format!("{} {} {}\n", area.name, area.capacity, area.category.0)).collect()
}

#[test]
fn the_theatre_in_the_repository_is_the_one_that_is_generated() {
    expect_file!["../../../plans/theatre.json"].assert_eq(&theatre());
}

#[test]
fn the_theatre_is_a_theatre() {
    let map = import(theatre().as_bytes()).unwrap();
    let mut transcript = String::new();
    for section in &map.sections {
        let seats: usize = section.rows.iter().map(|row| row.seats.len()).sum();
        transcript += &format!("{}: {} rows, {seats} seats\n", section.name, section.rows.len());
    }
    for (id, category) in map.categories.iter().enumerate() {
        let seats = map.seats().filter(|seat| usize::from(seat.category.0) == id).count();
        transcript += &format!("{}: {seats} seats\n", category.name);
    }
    for (flag, name) in ["wheelchair", "companion", "restricted view", "step-free", "gap after"].iter().enumerate() {
        let seats = map.seats().filter(|seat| seat.flags & (1 << flag) != 0).count();
        transcript += &format!("{name}: {seats} seats\n");
    }
    let row = &map.sections[1].rows[0];
    for seat in &row.seats {
        transcript += &seat.number;
        transcript += if seat.flags & SEAT_GAP_AFTER != 0 { " | " } else { " " };
    }
    expect![[r#"
        Stalls: 20 rows, 580 seats
        Circle: 12 rows, 384 seats
        Balcony: 8 rows, 240 seats
        Premium: 154 seats
        Stalls: 454 seats
        Circle: 356 seats
        Balcony: 240 seats
        wheelchair: 6 seats
        companion: 6 seats
        restricted view: 54 seats
        step-free: 58 seats
        gap after: 80 seats
        27 25 23 21 19 | 17 15 13 11 9 7 5 3 1 | 2 4 6 8 10 12 14 16 18 | 20 22 24 26 28 "#]]
    .assert_eq(&transcript);
}

#[test]
fn an_arena_has_exactly_the_seats_asked_for() {
    for seats in [1, 2, 7, 99, 1_000, 20_000, ARENA_SEATS_MAX] {
        let json = arena(seats).unwrap();
        assert!(json.len() < PLAN_LEN_MAX / 10 * 9, "{seats} seats make {} bytes", json.len());
        let map = import(json.as_bytes()).unwrap();
        assert_eq!(map.seat_count(), seats);
        assert_eq!(json, arena(seats).unwrap());
    }
    let refused = [0, ARENA_SEATS_MAX + 1].map(|seats| arena(seats).unwrap_err().to_string());
    expect![[r#"
        seats: 0 is not between 1 and 120000
        seats: 120001 is not between 1 and 120000"#]]
    .assert_eq(&refused.join("\n"));
}

/// Row and seat are read off a label from its right end, whatever hyphens the section's name has.
#[test]
fn labels_of_an_arena_are_unambiguous() {
    let map = import(arena(20_000).unwrap().as_bytes()).unwrap();
    for row in map.rows() {
        for (id, seat) in row.ids.clone().zip(&row.row.seats) {
            let label = map.label(SeatId(id)).unwrap();
            let parts: Vec<_> = label.rsplitn(3, '-').collect();
            assert_eq!(parts, [&seat.number, &row.row.name, &row.section.name]);
        }
        if row.ids.start > 600 {
            break;
        }
    }
    let names: Vec<_> = map.sections.iter().map(|section| section.name.as_str()).collect();
    expect!["Floor-A Floor-B Floor-C Floor-D Floor-E Floor-F Floor-G Floor-H 101 102 103 104 105 106 107 108 109 110 111 112 113 114 115 116 117 118 119 120 121 122 123 124 201 202 203 204 205 206 207 208 209 210 211 212 213 214 215 216 217 218 219 220 221 222 223 224 225 226 227 228 229 230"].assert_eq(&names.join(" "));
    let flagged = |flag| map.seats().filter(|seat| seat.flags & flag != 0).count();
    assert!(flagged(SEAT_WHEELCHAIR) > 50 && flagged(SEAT_STEP_FREE) > 500);
}

#[test]
fn seats_of_generated_plans_do_not_overlap() {
    for json in [theatre(), arena(20_000).unwrap(), arena(500).unwrap()] {
        let map = import(json.as_bytes()).unwrap();
        let mut places: Vec<_> = map.seats().map(|seat| (seat.x, seat.y)).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), map.seat_count(), "two seats of {} in one place", map.name);
    }
}

#[test]
fn an_index_agrees_with_its_map() {
    let map = import_value(&fixture()).unwrap();
    let index = SeatIndex::new(&map);
    assert_eq!(index.seat_count(), map.seat_count());
    for (id, seat) in map.seats().enumerate() {
        let id = SeatId(id as u32);
        let label = map.label(id).unwrap();
        assert_eq!(index.label(id), Some(label.as_str()));
        assert_eq!(index.seat_id(&label), Some(id));
        assert_eq!(index.category(id), Some(seat.category));
        assert_eq!(map.seat(id), Some(seat));
        let span = index.row_of(id).unwrap();
        let row = &map.sections[span.section as usize].rows[span.row as usize];
        assert_eq!(&row.seats[(id.0 - span.first.0) as usize], seat);
    }
    let beyond = SeatId(map.seat_count() as u32);
    assert_eq!((index.label(beyond), index.row_of(beyond), map.seat(beyond)), (None, None, None));
    assert_eq!(index.seat_id("Parkett-A-99"), None);
}

/// A map from the log or a hand is checked by the same rules as one from a plan.
#[test]
fn a_map_checks_itself() {
    type Spoil = fn(&mut SeatMap);
    let table: &[Spoil] = &[
        |map| map.sections[0].rows[0].seats[0].category.0 = 9,
        |map| map.sections[0].rows[0].seats[0].guid = "g2".to_owned(),
        |map| map.sections[0].rows[0].seats[0].number = "2".to_owned(),
        |map| map.sections[0].rows[0].seats.clear(),
        |map| map.sections[0].rows.clear(),
        |map| map.sections[0].rows[1].name = "A".to_owned(),
        |map| map.sections[1].name = "Parkett".to_owned(),
        |map| map.sections[0].rows[0].seats[0].x = i32::MIN,
        |map| map.sections[0].rows[0].seats[0].flags = 128,
        |map| map.areas[0].capacity = 0,
        |map| map.areas[0].name = " ".to_owned(),
        |map| map.categories[0].color = "blue".to_owned(),
        |map| {
            map.sections.clear();
            map.areas.clear();
        },
        |map| {
            let section = &map.sections[0];
            map.sections = vec![section.clone(); SECTIONS_MAX + 1];
        },
    ];
    let good = import_value(&fixture()).unwrap();
    good.check().unwrap();
    let mut transcript = String::new();
    for spoil in table {
        let mut map = good.clone();
        spoil(&mut map);
        transcript += &format!("{}\n", map.check().unwrap_err());
    }
    expect![[r#"
        Parkett-A-1 is in a category that the map does not have: 9
        there is another seat_guid "g2"
        there is another seat labelled "Parkett-A-2"
        row "Parkett-A" is empty
        section "Parkett" is empty
        there is another row "A"
        there is another section "Parkett"
        the position of "Parkett-A-1" is out of bounds
        a flag of "Parkett-A-1" is out of bounds
        the capacity of "Stehplatz" is out of bounds
        area " ": begins or ends with white space
        the colour of "Stalls" is out of bounds
        there are no seats and no areas
        there are more than 10000 sections
    "#]]
    .assert_eq(&transcript);
}

/// Two names that look alike are one name, or none. Maps that are stored already stay readable.
#[test]
fn names_with_what_is_not_drawn_are_refused_when_they_come_in() {
    let hidden = [
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{17b4}',
        '\u{180e}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{202e}',
        '\u{2060}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{fff0}',
        '\u{1bca0}',
        '\u{1d173}',
        '\u{e0001}',
        '\u{e0fff}',
    ];
    for c in hidden {
        assert_eq!(crate::check_text(&format!("Stal{c}ls"), 100), Err(crate::TextFault::Control(c as u32)), "{c:?}");
    }
    for name in ["Stalls", "Çırağan", "客席", "עמודה", "ชั้น", "Ränge 1–4", "A\u{301}", "★"] {
        assert_eq!(crate::check_text(name, 100), Ok(()), "{name}");
    }
    let mut map = import_value(&fixture()).unwrap();
    map.areas[0].name = "Stal\u{ad}ls".into();
    map.check().unwrap();
}

//! The search for the best seats against one that looks at every candidate, on small houses that are drawn at random.

use super::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// One seat as the naive search sees it.
struct Place {
    section: usize,
    row: usize,
    /// Side by side means: consecutive, and of the same part of a row.
    part: usize,
    category: usize,
    flags: u8,
    distance: u64,
    free: bool,
    through_channel: bool,
}

fn draw_house(dice: &mut impl FnMut(u64) -> u64) -> SeatMap {
    let category = |name: &str| Category { name: name.into(), color: String::new() };
    let mut guid = 0;
    let mut sections = Vec::new();
    for section in 0..1 + dice(2) {
        let mut rows = Vec::new();
        for row in 0..1 + dice(4) {
            // Now and then a row that is longer than a word of the bit map.
            let is_long = dice(40) == 0;
            let len = if is_long { 60 + dice(80) } else { 1 + dice(9) };
            // And then mostly in one piece.
            let gap_one_in = if is_long { 150 } else { 6 };
            let whole = (dice(2) == 0).then(|| dice(2));
            let reserved_one_in = 3 + dice(12);
            let seats = (1..=len).map(|number| {
                guid += 1;
                let mut flags = if dice(gap_one_in) == 0 { SEAT_GAP_AFTER } else { 0 };
                if dice(reserved_one_in) == 0 {
                    flags |= [SEAT_WHEELCHAIR, SEAT_COMPANION, SEAT_WHEELCHAIR | SEAT_COMPANION][dice(3) as usize];
                }
                Seat {
                    number: number.to_string(),
                    guid: guid.to_string(),
                    // Coarse, so that many candidates are equally far away.
                    x: 1_000 * (number as i32 - len as i32 / 2) + 5_000 * section as i32,
                    y: 1_000 * row as i32,
                    category: CategoryId(whole.unwrap_or_else(|| dice(2)) as u16),
                    flags,
                }
            });
            rows.push(SeatRow { name: row.to_string(), seats: seats.collect() });
        }
        sections.push(Section { name: format!("S{section}"), rows });
    }
    SeatMap::new("Drawn".into(), vec![category("C0"), category("C1")], sections, Vec::new()).unwrap()
}

fn places_of(map: &SeatMap) -> Vec<Place> {
    let seats = || map.sections.iter().flat_map(|section| &section.rows).flat_map(|row| &row.seats);
    let (min, max) = (seats().map(|seat| seat.x).min().unwrap(), seats().map(|seat| seat.x).max().unwrap());
    let focus = (i64::from(min) + i64::from(max - min) / 2, i64::from(seats().map(|seat| seat.y).min().unwrap()));
    let (mut places, mut part) = (Vec::new(), 0);
    for (section, layout) in map.sections.iter().enumerate() {
        for (row, seats) in layout.rows.iter().enumerate() {
            part += 1;
            for seat in &seats.seats {
                let (dx, dy) = (i64::from(seat.x) - focus.0, i64::from(seat.y) - focus.1);
                places.push(Place {
                    section,
                    row,
                    part,
                    category: usize::from(seat.category.0),
                    flags: seat.flags,
                    distance: ((dx * dx + dy * dy) as u64).isqrt(),
                    free: true,
                    through_channel: false,
                });
                part += usize::from(seat.flags & SEAT_GAP_AFTER != 0);
            }
        }
    }
    places
}

/// What the documentation says, by looking at everything.
fn naive(places: &[Place], best: &BestSeats, with_channel: bool) -> Option<Vec<usize>> {
    let quantity = best.quantity as usize;
    let asks = best.accessible || best.companion;
    let is_free = |seat: usize| places[seat].free || with_channel && places[seat].through_channel;
    let fits = |seat: usize| {
        let place = &places[seat];
        is_free(seat)
            && best.category.as_ref().is_none_or(|name| *name == format!("C{}", place.category))
            && best.section.as_ref().is_none_or(|name| *name == format!("S{}", place.section))
            && (asks || place.flags & (SEAT_WHEELCHAIR | SEAT_COMPANION) == 0)
    };
    let has = |seat: usize, flag: u8| places[seat].flags & flag != 0;
    let side_by_side = |a: usize, b: usize| b == a + 1 && b < places.len() && places[a].part == places[b].part;
    let has_need = |seats: &[usize]| {
        let pair = |a: usize, b: usize| {
            (side_by_side(a, b) || side_by_side(b, a)) && has(a, SEAT_WHEELCHAIR) && has(b, SEAT_COMPANION)
        };
        if best.companion {
            seats.iter().any(|&a| seats.iter().any(|&b| pair(a, b)))
        } else {
            !best.accessible || seats.iter().any(|&seat| has(seat, SEAT_WHEELCHAIR))
        }
    };
    let distance = |seats: &[usize]| seats.iter().map(|&seat| places[seat].distance).sum::<u64>();
    let runs = |quantity: usize| {
        let firsts = 0..=places.len().saturating_sub(quantity);
        let runs = firsts.map(|first| (first..first + quantity).collect::<Vec<_>>());
        let is_run = |run: &Vec<usize>| {
            run.iter().all(|&seat| seat < places.len() && fits(seat))
                && run.windows(2).all(|pair| side_by_side(pair[0], pair[1]))
        };
        runs.filter(is_run).collect::<Vec<_>>()
    };
    let leaves_none_alone = |run: &Vec<usize>| {
        let (first, last) = (run[0], run[run.len() - 1]);
        let open = |from: usize, to: Option<usize>| {
            to.is_some_and(|to| to < places.len() && places[to].part == places[from].part && is_free(to))
        };
        let before = open(first, first.checked_sub(1)) && !open(first, first.checked_sub(2));
        let after = open(last, Some(last + 1)) && !open(last, Some(last + 2));
        !before && !after
    };
    let nearest =
        |candidates: Vec<Vec<usize>>| candidates.into_iter().min_by_key(|seats| (distance(seats), seats.clone()));

    let together: Vec<_> = runs(quantity).into_iter().filter(|run| has_need(run)).collect();
    let tidy = together.iter().filter(|run| leaves_none_alone(run)).cloned().collect();
    if let Some(found) = nearest(tidy).or_else(|| nearest(together)) {
        return Some(found);
    }
    if best.together {
        return None;
    }
    for larger in (quantity.div_ceil(2)..quantity).rev() {
        let mut splits = Vec::new();
        for large in runs(larger) {
            for small in runs(quantity - larger) {
                let (a, b) = (&places[large[0]], &places[small[0]]);
                if a.section == b.section && a.row.abs_diff(b.row) == 1 && (has_need(&large) || has_need(&small)) {
                    let mut seats = [large.clone(), small].concat();
                    seats.sort_unstable();
                    splits.push(seats);
                }
            }
        }
        if let Some(found) = nearest(splits) {
            return Some(found);
        }
    }
    let must = if best.companion { 2 } else { usize::from(best.accessible) };
    let mut found = match must {
        0 => Vec::new(),
        _ => nearest(runs(must).into_iter().filter(|run| has_need(run)).collect())?,
    };
    let mut rest: Vec<usize> = (0..places.len()).filter(|seat| fits(*seat) && !found.contains(seat)).collect();
    rest.sort_by_key(|&seat| (places[seat].distance, seat));
    found.extend(rest.into_iter().take(quantity - found.len()));
    found.sort_unstable();
    (found.len() == quantity).then_some(found)
}

/// A sale of this house in which some seats are held, some blocked, and some kept for a channel.
fn sale_of(map: &SeatMap, places: &mut [Place], dice: &mut impl FnMut(u64) -> u64) -> Shard {
    let mut shard = Shard::new(GROUP);
    let showtime = showtime_id();
    let taken_of_ten = dice(7);
    let (mut held, mut blocked, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for (seat, place) in places.iter_mut().enumerate() {
        if dice(10) >= taken_of_ten {
            continue;
        }
        place.free = false;
        let seats = match dice(4) {
            0 => &mut blocked,
            1 => {
                place.through_channel = true;
                &mut kept
            }
            _ => &mut held,
        };
        seats.push(SeatId(seat as u32));
    }
    let mut commands = vec![ShardCommand::CreateShowtime(CreateShowtime {
        showtime,
        organisation: OrganisationId(1),
        seat_map: Arc::new(map.clone()),
        prices: vec![eur(1), eur(1)],
        sale: Sale {
            method: Method::Passthrough,
            opens_at: Some(Timestamp(0)),
            seats_per_hold_max: 100,
            seats_per_buyer_max: 10_000,
            ..Sale::default()
        },
        draw_secret: [0; 32],
    })];
    for (seats, channel) in [(blocked, None), (kept, Some("press".to_owned()))] {
        if !seats.is_empty() {
            commands.push(ShardCommand::BlockSeats(BlockSeats { showtime, seats, reason: "kept".into(), channel }));
        }
    }
    for seats in held.chunks(100) {
        let choice = SeatChoice::Named(seats.to_vec());
        let hold = HoldSeats { showtime, user: UserId(1), ticket: None, channel: None, choice };
        commands.push(ShardCommand::HoldSeats(hold));
    }
    for command in commands {
        shard.apply(Timestamp(1), &[Envelope { request: None, command }]).remove(0).result.unwrap();
    }
    shard
}

#[test]
fn the_best_seats_are_those_that_looking_at_all_of_them_finds() {
    let mut random = ChaCha8Rng::seed_from_u64(0x6265_7374);
    let mut dice = |bound: u64| random.next_u64() % bound;
    let (mut found, mut refused, mut scattered, mut reserved) = (0, 0, 0, 0);
    for house in 0..400 {
        let map = draw_house(&mut dice);
        let mut places = places_of(&map);
        let shard = sale_of(&map, &mut places, &mut dice);
        let showtime = &shard.showtimes[&showtime_id()];
        for quantity in [1, 2, 3, 4, 5, 6, 9, 14] {
            for wishes in 0..12 {
                let of = |letter: char, number: u64| (number < 2).then(|| format!("{letter}{number}"));
                let best = BestSeats {
                    quantity,
                    category: of('C', dice(5)),
                    section: of('S', dice(5)).filter(|_| map.sections.len() == 2),
                    accessible: wishes % 4 == 1 || wishes % 4 == 3 && dice(2) == 0,
                    companion: wishes % 4 >= 2,
                    together: wishes >= 8,
                };
                if best.companion && quantity == 1 {
                    // Refused before any search.
                    continue;
                }
                // No block carries the second.
                let channel = [Some("press"), Some("club"), None][dice(3) as usize];
                let got = showtime.best_seats(&best, channel).ok();
                let got: Option<Vec<usize>> = got.map(|seats| seats.iter().map(|seat| seat.0 as usize).collect());
                let wanted = naive(&places, &best, channel == Some("press"));
                assert_eq!(got, wanted, "house {house}, {best:?}, channel {channel:?}\n{map:?}");
                let Some(seats) = got else {
                    refused += 1;
                    continue;
                };
                found += 1;
                let is_reserved = |seat: &usize| places[*seat].flags & (SEAT_WHEELCHAIR | SEAT_COMPANION) != 0;
                let has_reserved = seats.iter().any(is_reserved);
                assert!(best.accessible || best.companion || !has_reserved, "{best:?} got {seats:?}");
                reserved += u32::from(has_reserved);
                scattered += u32::from(seats.windows(2).filter(|pair| pair[1] != pair[0] + 1).count() > 1);
            }
        }
    }
    assert!(found > 8_000 && refused > 5_000, "{found} found, {refused} refused");
    assert!(scattered > 500 && reserved > 1_000, "{scattered} scattered, {reserved} with reserved seats");
}

/// One row: a space, two ordinary seats, and after the aisle a companion seat, a space, a companion seat.
fn accessible_house() -> SeatMap {
    let seat = |number: i32, flags| Seat {
        number: number.to_string(),
        guid: number.to_string(),
        x: number * 1_000,
        y: 0,
        category: CategoryId(0),
        flags,
    };
    let flags = [SEAT_WHEELCHAIR, 0, SEAT_GAP_AFTER, SEAT_COMPANION, SEAT_WHEELCHAIR, SEAT_COMPANION];
    let seats = flags.into_iter().zip(1..).map(|(flags, number)| seat(number, flags)).collect();
    let category = Category { name: "all".into(), color: String::new() };
    let section = Section { name: "S0".into(), rows: vec![SeatRow { name: "A".into(), seats }] };
    SeatMap::new("Row".into(), vec![category], vec![section], Vec::new()).unwrap()
}

#[test]
fn reserved_seats_are_for_those_who_ask_or_pick_them() {
    let mut shard = Shard::new(GROUP);
    let showtime = showtime_id();
    let mut ask = |command| shard.apply(Timestamp(1), &[Envelope { request: None, command }]).remove(0).result;
    ask(ShardCommand::CreateShowtime(CreateShowtime {
        showtime,
        organisation: OrganisationId(1),
        seat_map: Arc::new(accessible_house()),
        prices: vec![eur(1)],
        sale: Sale {
            method: Method::Passthrough,
            opens_at: Some(Timestamp(0)),
            seats_per_buyer_max: 100,
            ..Sale::default()
        },
        draw_secret: [0; 32],
    }))
    .unwrap();
    let mut hold = |choice| {
        let hold = HoldSeats { showtime, user: UserId(1), ticket: None, channel: None, choice };
        match ask(ShardCommand::HoldSeats(hold)) {
            Ok(Outcome::Held { hold }) => {
                let seats: Vec<u32> = hold.places.seats.iter().map(|seat| seat.0).collect();
                ask(ShardCommand::ReleaseHold(ReleaseHold { hold: hold.hold, user: UserId(1) })).unwrap();
                Ok(seats)
            }
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        }
    };
    let best = |quantity, accessible, companion| {
        SeatChoice::Best(BestSeats { quantity, category: None, section: None, accessible, companion, together: false })
    };
    assert_eq!(hold(best(2, false, false)), Ok(vec![1, 2]));
    assert_eq!(hold(best(3, false, false)), Err(Refusal::NoSeatsFit), "there are only two for everybody");
    assert_eq!(hold(SeatChoice::Named(vec![SeatId(0), SeatId(3)])), Ok(vec![0, 3]), "who picks by hand gets them");
    assert_eq!(hold(best(1, true, false)), Ok(vec![0]), "the other would leave seats alone");
    assert_eq!(hold(best(2, true, false)), Ok(vec![3, 4]));
    assert_eq!(hold(best(2, true, true)), Ok(vec![3, 4]));
    assert_eq!(hold(best(2, false, true)), Ok(vec![3, 4]), "a companion comes with a space");
    assert_eq!(hold(best(4, false, true)), Ok(vec![1, 2, 3, 4]), "the pair, and what is nearest");
    let too_few = Refusal::out_of_bounds("best.quantity", "a wheelchair space and its companion seat are two");
    assert_eq!(hold(best(1, false, true)), Err(too_few));
}

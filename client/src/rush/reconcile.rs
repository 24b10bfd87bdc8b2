//! Whether everything that was said fits together. Pure: the books in, the violations out.

use super::record::{HoldEnd, HoldRecord, Record};
use super::report::{Check, Violation};
use super::settle::LastLook;
use crate::{OrderState, SeatState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How far the clock here and the server's may be apart.
const CLOCK_MARGIN: Duration = Duration::from_secs(5);

/// All evidence.
pub(super) struct Books {
    pub(super) fifo: bool,
    pub(super) has_line: bool,
    pub(super) not_alone: bool,
    pub(super) staleness_max: Duration,
    pub(super) record: Record,
    pub(super) last: LastLook,
}

/// Runs every check.
pub(super) fn reconcile(books: &Books) -> (Vec<Check>, Vec<Violation>) {
    let mut findings = Findings::default();
    answered(books, &mut findings);
    if books.has_line {
        admission(books, &mut findings);
        join_order(books, &mut findings);
        places_stay(books, &mut findings);
        cursor_moves_on(books, &mut findings);
    }
    holds_as_asked(books, &mut findings);
    one_hold_a_seat(books, &mut findings);
    orders_have_their_seats(books, &mut findings);
    one_order_a_seat(books, &mut findings);
    if books.last.complete {
        sold_is_paid(books, &mut findings);
        held_is_known(books, &mut findings);
        counts_add_up(books, &mut findings);
        changes_add_up(books, &mut findings);
    }
    holds_expire(books, &mut findings);
    (findings.checks, findings.violations)
}

#[derive(Default)]
struct Findings {
    checks: Vec<Check>,
    violations: Vec<Violation>,
}

impl Findings {
    /// Notes a check over `looked_at` facts with what it found. `may_pass` says that a later look may find it in order.
    fn add(&mut self, check: &'static str, looked_at: usize, may_pass: bool, found: Vec<String>) {
        self.checks.push(Check { check, looked_at: looked_at as u64, violations: found.len() as u64 });
        let violations = found.into_iter().map(|detail| Violation { check, detail, may_pass });
        self.violations.extend(violations);
    }
}

/// Every question got an answer that the contract foresees.
fn answered(books: &Books, findings: &mut Findings) {
    let record = &books.record;
    let mut found = record.unexpected.clone();
    let more = record.unexpected_count - found.len() as u64;
    if more > 0 {
        found.push(format!("and {more} more of these"));
    }
    for hold in &record.holds {
        if matches!(hold.end, HoldEnd::Unsettled) {
            found.push(format!("what became of a hold on {} is unknown", hold.asked.join(" ")));
        }
    }
    let looked_at = record.joins.len() + record.claims.len() + record.holds.len() + record.orders.len();
    findings.add("every call is answered as the contract says", looked_at, false, found);
}

/// Nobody shops without having been called.
fn admission(books: &Books, findings: &mut Findings) {
    let record = &books.record;
    let mut found = Vec::new();
    for probe in &record.probes {
        if let Err(hold) = &probe.refused {
            found.push(format!("{hold} was made with {}", probe.with));
        }
    }
    findings.add("seats open to admitted buyers only", record.probes.len(), false, found);

    let mut found = Vec::new();
    for claim in &record.claims {
        // The first sample taken when the status should have known.
        let later = record.samples.partition_point(|sample| sample.sent < claim.acked + books.staleness_max);
        let cursor = record.samples.get(later).map(|sample| sample.cursor);
        let cursor = cursor.or_else(|| books.last.complete.then_some(books.last.cursor));
        if cursor.is_some_and(|cursor| claim.place > cursor) {
            found.push(format!(
                "ticket {} shopped at place {}, but the line had only come to place {}",
                claim.number,
                claim.place,
                cursor.unwrap_or_default()
            ));
        }
    }
    findings.add("who shops was called", record.claims.len(), true, found);

    // Whoever is still waiting well after somebody else was let in has the larger place.
    let mut found = Vec::new();
    let mut claims: Vec<_> = record.claims.iter().map(|claim| (claim.acked, claim.place)).collect();
    claims.sort_unstable();
    for index in 1..claims.len() {
        claims[index].1 = claims[index].1.max(claims[index - 1].1);
    }
    let mut looked_at = 0;
    for join in &record.joins {
        let (Some(place), Some(waited_until)) = (join.place, join.waited_until) else { continue };
        let before = claims.partition_point(|(acked, _)| *acked + books.staleness_max < waited_until);
        let Some((_, largest)) = before.checked_sub(1).map(|last| claims[last]) else { continue };
        looked_at += 1;
        if largest > place {
            found.push(format!("ticket {} still waits at place {place}, and place {largest} is inside", join.number));
        }
    }
    findings.add("nobody is called before a smaller place", looked_at, false, found);
}

/// Numbers follow the order of joining; in a first-come line places follow numbers.
fn join_order(books: &Books, findings: &mut Findings) {
    let joins = &books.record.joins;
    let mut found = Vec::new();
    let mut numbers = BTreeSet::new();
    let mut places = BTreeMap::new();
    for join in joins {
        if !numbers.insert(join.number) {
            found.push(format!("number {} was given twice", join.number));
        }
        if let Some(place) = join.place
            && let Some(other) = places.insert(place, join.number)
        {
            found.push(format!("place {place} was given to number {other} and to number {}", join.number));
        }
    }
    findings.add("every number and place is given once", joins.len(), false, found);

    // Whoever was told its number before another even asked has the smaller one.
    let mut found = Vec::new();
    let mut moments: Vec<(Instant, bool, u64)> = Vec::with_capacity(2 * joins.len());
    for join in joins {
        // At the same instant an asking counts as before a telling.
        moments.push((join.sent, false, join.number));
        moments.push((join.acked, true, join.number));
    }
    moments.sort_unstable();
    let mut largest_told = 0;
    for (_, told, number) in moments {
        if told {
            largest_told = largest_told.max(number);
        } else if number < largest_told {
            found.push(format!("number {number} was asked for after number {largest_told} had been given"));
        }
    }
    findings.add("numbers follow the order of joining", joins.len(), false, found);

    if books.fifo {
        let by_number: BTreeMap<u64, u64> = joins.iter().filter_map(|join| Some((join.number, join.place?))).collect();
        let in_order: Vec<_> = by_number.iter().collect();
        let found = in_order.windows(2).filter(|pair| pair[0].1 >= pair[1].1).map(|pair| {
            let [(a, at_a), (b, at_b)] = [pair[0], pair[1]];
            format!("number {a} has place {at_a}, and number {b} has place {at_b}")
        });
        findings.add("places follow numbers", by_number.len(), false, found.collect());
    }
}

fn places_stay(books: &Books, findings: &mut Findings) {
    let moved = books.record.moved.clone();
    findings.add("a ticket keeps its number and place", books.record.joins.len(), false, moved);
}

/// The cursor never goes back, in the order of the sequences that it was published with.
fn cursor_moves_on(books: &Books, findings: &mut Findings) {
    let samples = &books.record.samples;
    let mut by_sequence: Vec<(u64, u64)> = samples.iter().map(|sample| (sample.sequence, sample.cursor)).collect();
    by_sequence.sort_unstable();
    let mut found = Vec::new();
    for pair in by_sequence.windows(2) {
        let [(before, from), (after, to)] = [pair[0], pair[1]];
        if to < from {
            found.push(format!("the cursor was {from} at sequence {before}, and {to} at sequence {after}"));
        }
    }
    // Samples were taken one after another: with an equal sequence the later one may not be behind.
    for pair in samples.windows(2) {
        if pair[0].sequence == pair[1].sequence && pair[1].cursor < pair[0].cursor {
            found.push(format!("the cursor went from {} back to {}", pair[0].cursor, pair[1].cursor));
        }
    }
    found.extend(books.record.turned_back.iter().cloned());
    let looked_at = samples.len() + books.record.told as usize;
    findings.add("the cursor never goes back", looked_at, false, found);
}

/// A hold is on the seats that were asked for.
fn holds_as_asked(books: &Books, findings: &mut Findings) {
    let holds = books.record.holds.iter().filter(|hold| hold.hold.is_some());
    let found = holds.filter(|hold| sorted(&hold.asked) != sorted(&hold.seats)).map(|hold| {
        format!("{} was asked for {} and holds {}", name(hold), hold.asked.join(" "), hold.seats.join(" "))
    });
    let found = found.collect();
    findings.add("a hold is on the seats asked for", books.record.holds.len(), false, found);
}

/// Nobody is given a seat while it is another's: between the answer to one hold and the wish to give it back, no other hold
/// on the same seat was both asked for and given.
fn one_hold_a_seat(books: &Books, findings: &mut Findings) {
    let mut by_seat: BTreeMap<&str, Vec<&HoldRecord>> = BTreeMap::new();
    let holds = books.record.holds.iter().filter(|hold| hold.hold.is_some());
    for hold in holds {
        for seat in &hold.seats {
            by_seat.entry(seat).or_default().push(hold);
        }
    }
    let mut found = Vec::new();
    for (seat, holds) in &mut by_seat {
        holds.sort_by_key(|hold| hold.acked);
        for (position, first) in holds.iter().enumerate() {
            for second in &holds[position + 1..] {
                let still_held = match &first.end {
                    HoldEnd::Paid => true,
                    HoldEnd::GivenBack { asked } => second.acked < *asked,
                    HoldEnd::Left | HoldEnd::Vanished(_) | HoldEnd::Unsettled | HoldEnd::RanOut => false,
                };
                if still_held && second.sent > first.acked {
                    found.push(format!("{seat} was given to {} while {} had it", name(second), name(first)));
                }
            }
        }
    }
    findings.add("a seat is in one hold at a time", by_seat.len(), false, found);
}

/// Every paid order is found again, completed, with the seats that were held for it.
fn orders_have_their_seats(books: &Books, findings: &mut Findings) {
    let mut found = Vec::new();
    for paid in &books.record.orders {
        let order = &paid.order;
        match &paid.found {
            None => found.push(format!("{order} was not looked at")),
            Some(Err(error)) => found.push(format!("{order} is paid, but: {error}")),
            Some(Ok((state, _))) if *state != OrderState::Completed => {
                found.push(format!("{order} is paid, but {state:?}"));
            }
            Some(Ok((_, seats))) if sorted(seats) != sorted(&paid.seats) => {
                found.push(format!("{order} is for {}, but has {}", paid.seats.join(" "), seats.join(" ")));
            }
            Some(Ok(_)) => {}
        }
    }
    findings.add("a paid order has its seats", books.record.orders.len(), false, found);
}

/// No seat is in two paid orders.
fn one_order_a_seat(books: &Books, findings: &mut Findings) {
    let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for paid in &books.record.orders {
        let found = paid.found.iter().flatten().flat_map(|(_, seats)| seats);
        for seat in paid.seats.iter().chain(found) {
            owners.entry(seat).or_default().insert(&paid.order.0);
        }
    }
    let looked_at = owners.len();
    let found = owners
        .into_iter()
        .filter(|(_, orders)| orders.len() > 1)
        .map(|(seat, orders)| format!("{seat} is in {}", orders.into_iter().collect::<Vec<_>>().join(" and ")));
    let found = found.collect();
    findings.add("a seat is in one order", looked_at, false, found);
}

/// What was sold during the rush is what was paid.
fn sold_is_paid(books: &Books, findings: &mut Findings) {
    let record = &books.record;
    let paid: BTreeSet<&str> = record.orders.iter().flat_map(|paid| &paid.seats).map(String::as_str).collect();
    let unsettled = seats_of(record, |end| matches!(end, HoldEnd::Unsettled));
    let mut found = Vec::new();
    let mut looked_at = 0;
    for (seat, state) in &books.last.states {
        let before = record.before.get(seat);
        let sold_before = before == Some(&SeatState::Sold);
        let (is_sold, is_paid) = (*state == SeatState::Sold, paid.contains(seat.as_str()));
        looked_at += usize::from(is_sold || is_paid);
        if before.is_none() {
            found.push(format!("{seat} was not there before"));
        }
        if is_paid && !is_sold {
            found.push(format!("{seat} is paid, but {state:?}"));
        }
        if is_paid && sold_before {
            found.push(format!("{seat} was sold before, and is paid again"));
        }
        if books.not_alone {
            continue;
        }
        if is_sold && !is_paid && !sold_before && !unsettled.contains(seat.as_str()) {
            found.push(format!("{seat} is sold, but in no paid order"));
        }
        if sold_before && !is_sold {
            found.push(format!("{seat} was sold before, and is {state:?} now"));
        }
    }
    found.extend(
        paid.iter()
            .filter(|seat| !books.last.states.contains_key(**seat))
            .map(|seat| format!("{seat} is paid, but there is no such seat")),
    );
    findings.add("sold is what was paid", looked_at, true, found);
}

/// Whatever is held now is held by somebody known to be away.
fn held_is_known(books: &Books, findings: &mut Findings) {
    if books.not_alone {
        return;
    }
    let now = books.last.now;
    let known = seats_of(&books.record, |end| match end {
        HoldEnd::Vanished(vanished) => !vanished.gone && !vanished.overdue && vanished.expires_at > now,
        HoldEnd::Unsettled => true,
        _ => false,
    });
    let surely = seats_of(&books.record, |end| match end {
        HoldEnd::Vanished(vanished) => !vanished.gone && vanished.expires_at > now + CLOCK_MARGIN,
        _ => false,
    });
    let mut found = Vec::new();
    let mut looked_at = 0;
    for (seat, state) in &books.last.states {
        let before = books.record.before.get(seat);
        match state {
            SeatState::Held => {
                looked_at += 1;
                if !known.contains(seat.as_str()) && before != Some(&SeatState::Held) {
                    found.push(format!("{seat} is held, but by nobody known"));
                }
            }
            SeatState::Blocked if before != Some(&SeatState::Blocked) => {
                found.push(format!("{seat} is blocked, and was not before"));
            }
            SeatState::Available | SeatState::Sold | SeatState::Blocked => {
                if surely.contains(seat.as_str()) && *state == SeatState::Available {
                    found.push(format!("{seat} is free, but in a hold that has time left"));
                }
            }
        }
    }
    findings.add("every seat is sold, free, or in a known hold", books.last.states.len().max(looked_at), true, found);
}

fn counts_add_up(books: &Books, findings: &mut Findings) {
    let Some(claimed) = books.last.counts else { return };
    let mut counted = crate::Counts::default();
    for state in books.last.states.values() {
        match state {
            SeatState::Available => counted.available += 1,
            SeatState::Held => counted.held += 1,
            SeatState::Sold => counted.sold += 1,
            SeatState::Blocked => counted.blocked += 1,
        }
    }
    let mut found = Vec::new();
    if counted != claimed {
        found.push(format!("counted {counted:?}, claimed {claimed:?}"));
    }
    if books.last.states.len() != books.record.before.len() {
        found.push(format!("{} seats before, {} after", books.record.before.len(), books.last.states.len()));
    }
    findings.add("counts are those of the states", books.last.states.len(), true, found);
}

/// Whoever only followed the changes sees the same as whoever looks at everything.
fn changes_add_up(books: &Books, findings: &mut Findings) {
    let Some(followed) = &books.last.followed else { return };
    let differing = books.last.states.iter().filter(|(seat, state)| followed.get(*seat) != Some(state));
    let found = differing.map(|(seat, state)| {
        let followed = followed.get(seat).map_or("not there".to_owned(), |state| format!("{state:?}"));
        format!("{seat} is {state:?}, but {followed} by the changes")
    });
    findings.add("changes add up to the whole", books.last.states.len(), true, found.collect());
}

/// What was left behind expires when it was said to.
fn holds_expire(books: &Books, findings: &mut Findings) {
    let mut looked_at = 0;
    let mut found = Vec::new();
    for hold in &books.record.holds {
        if let HoldEnd::Vanished(vanished) = &hold.end {
            looked_at += usize::from(vanished.gone || vanished.overdue);
            if vanished.overdue {
                found.push(format!("{} lives on after {}", name(hold), vanished.expires_at));
            }
        }
    }
    findings.add("holds expire when they should", looked_at, false, found);
}

fn seats_of(record: &Record, wanted: impl Fn(&HoldEnd) -> bool) -> BTreeSet<&str> {
    let holds = record.holds.iter().filter(|hold| wanted(&hold.end));
    holds.flat_map(|hold| &hold.seats).map(String::as_str).collect()
}

fn name(hold: &HoldRecord) -> &str {
    hold.hold.as_ref().map_or("a hold", |hold| &hold.0)
}

fn sorted(seats: &[String]) -> Vec<&str> {
    let mut seats: Vec<_> = seats.iter().map(String::as_str).collect();
    seats.sort_unstable();
    seats
}

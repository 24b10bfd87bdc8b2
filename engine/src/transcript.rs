//! Transcripts, for the tests of both machines: how one is replayed, and whether all of them tell every refusal.
//!
//! A transcript is checked by the test it belongs to, so what it says is what the machine answered. The match over the
//! refusals does not compile until a new one is added to it.

use crate::{AreaId, OrderState, QueueState, Refusal, SeatId};
use expect_test::Expect;

/// Replays the left side of every line and compares the right, or rewrites it under `UPDATE_EXPECT=1`.
#[track_caller]
pub(crate) fn check(expect: Expect, mut run: impl FnMut(&str) -> String) {
    let lefts: Vec<String> = expect
        .data()
        .lines()
        .map(|line| line.split("=>").next().unwrap_or_default().trim().to_owned())
        .filter(|left| !left.is_empty())
        .collect();
    let width = lefts.iter().map(String::len).max().unwrap_or(0);
    let mut transcript = String::new();
    for left in &lefts {
        let right = run(left);
        transcript += &format!("{left:width$} => {right}\n");
    }
    expect.assert_eq(&transcript);
}

/// The lines of transcripts in the source of tests: what was asked, and what was answered.
pub(crate) fn lines(files: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    let lines = files.iter().flat_map(|file| file.lines());
    lines.filter_map(|line| line.split_once("=> ")).map(|(left, right)| (left.trim(), right.trim())).collect()
}

/// Stands for whatever a refusal says of its case.
pub(crate) const MARK: u32 = 42_424;

fn mark() -> String {
    MARK.to_string()
}

/// One of each refusal, with marks for what it says of its case.
pub(crate) fn refusals() -> impl Iterator<Item = Refusal> {
    std::iter::successors(Some(Refusal::RequestIdReused), after)
}

/// The refusal that comes after this one in the list.
fn after(refusal: &Refusal) -> Option<Refusal> {
    match refusal {
        Refusal::RequestIdReused => Some(Refusal::OutOfBounds { field: mark(), reason: mark() }),
        Refusal::OutOfBounds { .. } => Some(Refusal::NoSuchShowtime),
        Refusal::NoSuchShowtime => Some(Refusal::NoSuchTicket),
        Refusal::NoSuchTicket => Some(Refusal::NoSuchHold),
        Refusal::NoSuchHold => Some(Refusal::HoldGone),
        Refusal::HoldGone => Some(Refusal::NoSuchOrder),
        Refusal::NoSuchOrder => Some(Refusal::NoSuchSeat(SeatId(MARK))),
        Refusal::NoSuchSeat(_) => Some(Refusal::NoSuchArea(AreaId(MARK as u16))),
        Refusal::NoSuchArea(_) => Some(Refusal::NoSuchOrganisation),
        Refusal::NoSuchOrganisation => Some(Refusal::NoSuchVenue),
        Refusal::NoSuchVenue => Some(Refusal::NoSuchEvent),
        Refusal::NoSuchEvent => Some(Refusal::NoSuchEntry),
        Refusal::NoSuchEntry => Some(Refusal::NoSuchUser),
        Refusal::NoSuchUser => Some(Refusal::NoSuchNode),
        Refusal::NoSuchNode => Some(Refusal::NoSuchGroup),
        Refusal::NoSuchGroup => Some(Refusal::NoSuchSink),
        Refusal::NoSuchSink => Some(Refusal::AlreadyExists),
        Refusal::AlreadyExists => Some(Refusal::VersionMismatch { expected: MARK.into(), actual: MARK.into() }),
        Refusal::VersionMismatch { .. } => Some(Refusal::NoGroups),
        Refusal::NoGroups => Some(Refusal::InUse),
        Refusal::InUse => Some(Refusal::SaleRejects),
        Refusal::SaleRejects => Some(Refusal::NoLine),
        Refusal::NoLine => Some(Refusal::NoWaitlist),
        Refusal::NoWaitlist => Some(Refusal::WrongQueueState { state: QueueState::Paused, opens_at: None }),
        Refusal::WrongQueueState { .. } => Some(Refusal::BeaconMissing),
        Refusal::BeaconMissing => Some(Refusal::QueueFull),
        Refusal::QueueFull => Some(Refusal::NotCalledYet { ahead: MARK.into() }),
        Refusal::NotCalledYet { .. } => Some(Refusal::TicketOver),
        Refusal::TicketOver => Some(Refusal::NotAdmitted),
        Refusal::NotAdmitted => Some(Refusal::TooManySeats { max: MARK }),
        Refusal::TooManySeats { .. } => Some(Refusal::BuyerLimit { max: MARK, taken: MARK }),
        Refusal::BuyerLimit { .. } => Some(Refusal::SeatsUnavailable { seats: Vec::new() }),
        Refusal::SeatsUnavailable { .. } => Some(Refusal::LeavesOrphan { seats: Vec::new() }),
        Refusal::LeavesOrphan { .. } => Some(Refusal::NoSeatsFit),
        Refusal::NoSeatsFit => Some(Refusal::AreaFull { available: MARK }),
        Refusal::AreaFull { .. } => Some(Refusal::SeatsFit),
        Refusal::SeatsFit => Some(Refusal::HoldHasOrder),
        Refusal::HoldHasOrder => Some(Refusal::HoldTotalReached),
        Refusal::HoldTotalReached => Some(Refusal::WrongOrderState { state: OrderState::Completed }),
        Refusal::WrongOrderState { .. } => Some(Refusal::PaymentIdReused),
        Refusal::PaymentIdReused => Some(Refusal::MoreThanDue { due: MARK.into() }),
        Refusal::MoreThanDue { .. } => Some(Refusal::AtCapacity { what: mark() }),
        Refusal::AtCapacity { .. } => Some(Refusal::SinkLapsed { oldest: MARK.into() }),
        Refusal::SinkLapsed { .. } => Some(Refusal::TooFewNodes { left: MARK }),
        Refusal::TooFewNodes { .. } => None,
    }
}

/// Whether an answer is this refusal, whatever stands where the marks are.
pub(crate) fn is_told(answer: &str, refusal: &str) -> bool {
    let mark = mark();
    let mut parts = refusal.split(mark.as_str());
    let Some(mut rest) = answer.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut ends_open = false;
    for part in parts {
        ends_open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    ends_open || rest.is_empty()
}

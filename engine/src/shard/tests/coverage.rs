//! Every command and every refusal of a shard is in some transcript.
//!
//! A transcript is checked by the test it belongs to, so what it says is what the machine answered. The two matches here
//! do not compile until a new command or refusal is added to them.

use super::hostile::{created, samples};
use super::*;
use std::collections::BTreeSet;

const TRANSCRIPTS: [&str; 10] = [
    include_str!("admission.rs"),
    include_str!("best.rs"),
    include_str!("drawing.rs"),
    include_str!("holds.rs"),
    include_str!("ledger.rs"),
    include_str!("money.rs"),
    include_str!("refusals.rs"),
    include_str!("sinks.rs"),
    include_str!("storage.rs"),
    include_str!("waitlist.rs"),
];

/// Stands for whatever a refusal says of its case.
const MARK: u32 = 42_424;

fn mark() -> String {
    MARK.to_string()
}

/// One of each refusal, each found by the one before.
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
        Refusal::AlreadyExists => Some(Refusal::VersionMismatch { expected: 1, actual: 2 }),
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
        Refusal::SinkLapsed { .. } => None,
    }
}

/// Refusals that no command of a shard gets: they are the directory's.
fn is_of_the_directory(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NoSuchOrganisation
            | Refusal::NoSuchVenue
            | Refusal::NoSuchEvent
            | Refusal::NoSuchUser
            | Refusal::NoSuchNode
            | Refusal::NoSuchGroup
            | Refusal::VersionMismatch { .. }
            | Refusal::NoGroups
            | Refusal::InUse
    )
}

fn verb(command: &ShardCommand) -> &'static str {
    match command {
        ShardCommand::Tick => "tick",
        ShardCommand::CreateShowtime(_) => "sale",
        ShardCommand::UpdateSale(_) => "update",
        ShardCommand::OpenQueue(_) => "open",
        ShardCommand::PauseQueue(_) => "pause",
        ShardCommand::ResumeQueue(_) => "resume",
        ShardCommand::CloseQueue(_) => "close",
        ShardCommand::SetQueueMessage(_) => "message",
        ShardCommand::JoinQueue(_) => "join",
        ShardCommand::LeaveQueue(_) => "leave",
        ShardCommand::ClaimAdmission(_) => "claim",
        ShardCommand::HoldSeats(_) => "hold",
        ShardCommand::ExtendHold(_) => "extend",
        ShardCommand::ReleaseHold(_) => "release",
        ShardCommand::PlaceOrder(_) => "order",
        ShardCommand::CancelOrder(_) => "cancel",
        ShardCommand::RecordPayment(_) => "pay",
        ShardCommand::RefundOrder(_) => "refund",
        ShardCommand::RecordRefund(_) => "repay",
        ShardCommand::BlockSeats(_) => "block",
        ShardCommand::UnblockSeats(_) => "unblock",
        ShardCommand::JoinWaitlist(_) => "waitlist",
        ShardCommand::LeaveWaitlist(_) => "unwait",
        ShardCommand::RecordBeacon(_) => "beacon",
        ShardCommand::SetLimits(_) => "limits",
        ShardCommand::RegisterSink(_) => "register",
        ShardCommand::AcknowledgeEvents(_) => "acknowledge",
        ShardCommand::RemoveSink(_) => "unregister",
    }
}

/// The lines of all transcripts: what was asked, and what was answered.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = TRANSCRIPTS.iter().flat_map(|file| file.lines());
    lines.filter_map(|line| line.split_once("=> ")).map(|(left, right)| (left.trim(), right.trim()))
}

/// Whether an answer is this refusal, whatever stands where the marks are.
fn is_told(answer: &str, refusal: &str) -> bool {
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

#[test]
fn every_refusal_is_in_a_transcript() {
    let refusals = std::iter::successors(Some(Refusal::RequestIdReused), after);
    let (mut told, mut missing) = (0, Vec::new());
    for refusal in refusals.filter(|refusal| !is_of_the_directory(refusal)) {
        let text = match &refusal {
            // Transcripts tell the seats.
            Refusal::SeatsUnavailable { .. } => format!("{MARK} not available"),
            Refusal::LeavesOrphan { .. } => format!("would leave {MARK} alone"),
            refusal => refusal.to_string(),
        };
        let answers = || lines().filter_map(|(_, right)| right.strip_prefix("refused: "));
        match answers().any(|answer| is_told(answer, &text)) {
            true => told += 1,
            false => missing.push(text),
        }
    }
    assert!(missing.is_empty(), "no transcript tells: {missing:#?}");
    assert!(told > 25, "{told} refusals are not all");
}

#[test]
fn every_command_is_in_a_transcript() {
    let commands = samples().into_iter().chain([created(Sale::default())]);
    let verbs: BTreeSet<&str> = commands.map(|command| verb(&command)).collect();
    assert_eq!(verbs.len(), 28, "a command is missing among the samples: {verbs:?}");
    let done: BTreeSet<&str> = lines()
        .filter(|(_, right)| !right.starts_with("refused"))
        .flat_map(|(left, _)| left.split_whitespace().skip(2))
        .collect();
    let missing: Vec<_> = verbs.difference(&done).collect();
    assert!(missing.is_empty(), "no transcript does: {missing:?}");
}

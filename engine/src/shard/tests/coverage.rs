//! Every command and every refusal of a shard is in some transcript.
//!
//! The match over the commands does not compile until a new one is added to it, nor does that over the refusals in
//! [`transcript`](crate::transcript). Which refusals are a shard's, and which the directory's, the tables of precedence say.

use super::hostile::{created, samples};
use super::*;
use crate::directory::tests::precedence::reasons as directory_reasons;
use crate::precedence::name_of;
use crate::transcript::{MARK, is_told, lines, refusals};
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

#[test]
fn every_refusal_is_in_a_transcript() {
    let lines = lines(&TRANSCRIPTS);
    let of_the_shard: BTreeSet<String> = super::precedence::reasons().into_iter().map(|(_, refusal)| refusal).collect();
    let of_the_directory: BTreeSet<String> = directory_reasons().into_iter().map(|(_, refusal)| refusal).collect();
    let mut missing = Vec::new();
    for refusal in refusals() {
        let name = name_of(&refusal);
        if !of_the_shard.contains(&name) && refusal != Refusal::RequestIdReused {
            assert!(of_the_directory.contains(&name), "no command of any machine is refused with {name}");
            continue;
        }
        let text = match &refusal {
            // Transcripts tell the seats.
            Refusal::SeatsUnavailable { .. } => format!("{MARK} not available"),
            Refusal::LeavesOrphan { .. } => format!("would leave {MARK} alone"),
            refusal => refusal.to_string(),
        };
        let answers = || lines.iter().filter_map(|(_, right)| right.strip_prefix("refused: "));
        if !answers().any(|answer| is_told(answer, &text)) {
            missing.push(text);
        }
    }
    assert!(missing.is_empty(), "no transcript tells: {missing:#?}");
}

#[test]
fn every_command_is_in_a_transcript() {
    let commands = samples().into_iter().chain([created(Sale::default())]);
    let verbs: BTreeSet<&str> = commands.map(|command| verb(&command)).collect();
    assert_eq!(verbs.len(), 28, "a command is missing among the samples: {verbs:?}");
    let done: BTreeSet<&str> = lines(&TRANSCRIPTS)
        .into_iter()
        .filter(|(_, right)| !right.starts_with("refused"))
        .flat_map(|(left, _)| left.split_whitespace().skip(2))
        .collect();
    let missing: Vec<_> = verbs.difference(&done).collect();
    assert!(missing.is_empty(), "no transcript does: {missing:?}");
}

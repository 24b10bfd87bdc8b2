//! Every command of the directory is in some transcript, and so is every reason to refuse it.
//!
//! The match over the commands does not compile until a new one is added to it; the reasons are those of the table of
//! precedence.

use super::{golden, precedence};
use crate::DirectoryCommand;
use crate::precedence::{name_of, variants};
use crate::transcript::{is_told, lines, refusals};
use std::collections::BTreeMap;

const TRANSCRIPTS: [&str; 4] =
    [include_str!("catalogue.rs"), include_str!("cluster.rs"), include_str!("group.rs"), include_str!("people.rs")];

fn verb(command: &DirectoryCommand) -> &'static str {
    match command {
        DirectoryCommand::Tick => "tick",
        DirectoryCommand::SetGroups(_) => "groups",
        DirectoryCommand::PutTokenKeys(_) => "install",
        DirectoryCommand::CreateOrganisation(_) => "found",
        DirectoryCommand::CreateVenue(_) => "build",
        DirectoryCommand::CreateEvent(_) => "announce",
        DirectoryCommand::UpdateEvent(_) => "edit",
        DirectoryCommand::DeleteEvent(_) => "delete",
        DirectoryCommand::ScheduleShowtime(_) => "schedule",
        DirectoryCommand::ActivateShowtime(_) => "activate",
        DirectoryCommand::ArchiveShowtime(_) => "archive",
        DirectoryCommand::UpdateOrganisation(_) => "rename",
        DirectoryCommand::UpdateVenue(_) => "rebuild",
        DirectoryCommand::CreateUser(_) => "enrol",
        DirectoryCommand::UpdateUser(_) => "change",
        DirectoryCommand::GrantRole(_) => "grant",
        DirectoryCommand::RevokeRole(_) => "revoke",
        DirectoryCommand::RegisterNode(_) => "register",
        DirectoryCommand::SetNodeState(_) => "turn",
        DirectoryCommand::SetPlacement(_) => "place",
        DirectoryCommand::RotateTokenKey(_) => "rotate",
        DirectoryCommand::SetLimits(_) => "limits",
        DirectoryCommand::RegisterSink(_) => "follow",
        DirectoryCommand::AcknowledgeEvents(_) => "acknowledge",
        DirectoryCommand::RemoveSink(_) => "unfollow",
        DirectoryCommand::RetireNode(_) => "retire",
    }
}

/// Verbs by the name of their command.
fn verbs() -> BTreeMap<String, &'static str> {
    let verbs: BTreeMap<_, _> = golden::samples().iter().map(|command| (name_of(command), verb(command))).collect();
    assert_eq!(verbs.len(), variants::<DirectoryCommand>().len(), "a command is missing among the samples");
    verbs
}

/// The answers that a command gets in any transcript.
fn answers(verb: &str) -> Vec<&'static str> {
    let is_asked = |left: &str| {
        let mut words = left.split_whitespace().skip(1);
        match words.next() {
            Some("repeat") => words.nth(1) == Some(verb),
            word => word == Some(verb),
        }
    };
    lines(&TRANSCRIPTS).into_iter().filter(|(left, _)| is_asked(left)).map(|(_, right)| right).collect()
}

#[test]
fn every_command_is_granted_in_a_transcript() {
    let is_granted = |verb: &str| answers(verb).iter().any(|answer| !answer.starts_with("refused"));
    let missing: Vec<_> = verbs().into_values().filter(|verb| !is_granted(verb)).collect();
    assert!(missing.is_empty(), "no transcript does: {missing:?}");
}

#[test]
fn every_reason_to_refuse_a_command_is_in_a_transcript() {
    let verbs = verbs();
    let texts: BTreeMap<String, String> = refusals().map(|refusal| (name_of(&refusal), refusal.to_string())).collect();
    let reasons = precedence::reasons();
    let is_missing = |(command, refusal): &&(String, String)| {
        let refusals = answers(verbs[command]).into_iter().filter_map(|answer| answer.strip_prefix("refused: "));
        !refusals.into_iter().any(|answer| is_told(answer, &texts[refusal]))
    };
    let missing: Vec<_> = reasons.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "no transcript tells: {missing:?}");
    assert!(reasons.len() > 70, "{} reasons are not all", reasons.len());
}

//! The bytes of version 1 as text, and the tests that pin them: what was written once must be read for ever.
//!
//! A fixture has a line a value. Lines are added by hand, never changed: see [`check`].

mod samples;

pub(crate) use samples::sale;

use crate::precedence::{name_of, variants};
use crate::{
    DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, Event, HoldAnswer, KeyAlgorithm, Method, NodeState,
    OrderState, Outcome, PaymentOutcome, QueueState, Refusal, RequestId, Role, Row, SeatChoice, SeatState, ShardAnswer,
    ShardCommand, ShardQuery, ShowtimeState, TicketState, codec,
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;
use std::fmt::Debug;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row as it is read again by [`rows_of`].
pub(crate) fn row_line(row: &Row) -> String {
    format!("{} = {}", hex(&row.key), hex(&row.value))
}

/// A row of which a long value is told by its length and its hash alone.
pub(crate) fn short_row_line(row: &Row) -> String {
    if row.value.len() <= 400 {
        return row_line(row);
    }
    let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&row.value).into();
    format!("{} = {} bytes, sha256 {}", hex(&row.key), row.value.len(), hex(&hash))
}

/// The rows of a fixture.
pub(crate) fn rows_of(fixture: &str) -> Vec<Row> {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let row = |line: &str| {
        let (key, value) = line.split_once(" = ").unwrap();
        Row { key: bytes(key), value: bytes(value) }
    };
    fixture.lines().map(row).collect()
}

/// The name and the bytes of a command, which must decode again.
pub(crate) fn command_line<C>(command: C) -> String
where
    C: Serialize + DeserializeOwned + Debug,
{
    let bytes = codec::encode(&Envelope { request: Some(RequestId(1)), command });
    let decoded: Envelope<C> = codec::decode(&bytes).unwrap();
    format!("{} = {}", name_of(&decoded.command), hex(&bytes))
}

/// The name and the bytes of a value, which must decode again.
fn value_line<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: T) -> String {
    let bytes = codec::encode(&value);
    assert_eq!(codec::decode::<T>(&bytes).as_ref(), Ok(&value));
    format!("{} = {}", name_of(&value), hex(&bytes))
}

/// Holds lines to those of a fixture of this name: none may be gone or changed, none may be new without being there.
pub(crate) fn check(name: &str, fixture: &str, lines: &[String]) {
    let missing = |from: &[&str], others: &[&str]| -> Vec<String> {
        from.iter().filter(|line| !others.contains(line)).map(|line| (*line).to_owned()).collect()
    };
    let written: Vec<&str> = fixture.lines().collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (lost, new) = (missing(&written, &lines), missing(&lines, &written));
    assert!(
        lost.is_empty(),
        "{name}: this is not written any more as version 1 wrote it:\n{}\nbut so:\n{}\n\
         What was written once must be read for ever. Undo the change of order or shape: a new variant goes to the end \
         of its list (where a refusal stands among others, `Refusal::precedence` says), and what needs another shape \
         becomes a variant of its own. Lines of this file are never changed.",
        lost.join("\n"),
        new.join("\n")
    );
    assert!(new.is_empty(), "{name}: these have no golden line yet, add them:\n{}", new.join("\n"));
}

/// Demands a line for every variant of `T`.
pub(crate) fn check_complete<T: DeserializeOwned>(name: &str, lines: &[String]) {
    let of = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let named: BTreeSet<String> = lines.iter().map(of).collect();
    let missing: Vec<_> = variants::<T>().iter().filter(|variant| !named.contains(**variant)).collect();
    assert!(missing.is_empty(), "{name}: add a sample, then its golden line, of: {missing:?}");
}

#[test]
fn variants_are_numbered_as_in_version_1() {
    fn numbered<T: DeserializeOwned>() -> Vec<String> {
        let name = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
        (0..).zip(variants::<T>()).map(|(number, variant)| format!("{name} {number} = {variant}")).collect()
    }
    let lines = [
        numbered::<DirectoryAnswer>(),
        numbered::<DirectoryCommand>(),
        numbered::<DirectoryQuery>(),
        numbered::<Event>(),
        numbered::<HoldAnswer>(),
        numbered::<KeyAlgorithm>(),
        numbered::<Method>(),
        numbered::<NodeState>(),
        numbered::<OrderState>(),
        numbered::<Outcome>(),
        numbered::<PaymentOutcome>(),
        numbered::<QueueState>(),
        numbered::<Refusal>(),
        numbered::<Role>(),
        numbered::<SeatChoice>(),
        numbered::<SeatState>(),
        numbered::<ShardAnswer>(),
        numbered::<ShardCommand>(),
        numbered::<ShardQuery>(),
        numbered::<ShowtimeState>(),
        numbered::<TicketState>(),
    ];
    check("variants-v1.txt", include_str!("../tests/fixtures/variants-v1.txt"), &lines.concat());
}

#[test]
fn refusals_are_written_as_version_1_was() {
    let lines: Vec<String> = crate::transcript::refusals().chain(samples::refusals()).map(value_line).collect();
    check_complete::<Refusal>("refusals-v1.txt", &lines);
    check("refusals-v1.txt", include_str!("../tests/fixtures/refusals-v1.txt"), &lines);
}

#[test]
fn outcomes_are_written_as_version_1_was() {
    let lines: Vec<String> = samples::outcomes().into_iter().map(value_line).collect();
    check_complete::<Outcome>("outcomes-v1.txt", &lines);
    check("outcomes-v1.txt", include_str!("../tests/fixtures/outcomes-v1.txt"), &lines);
}

#[test]
fn events_are_written_as_version_1_was() {
    let lines: Vec<String> = samples::events().into_iter().map(value_line).collect();
    check_complete::<Event>("events-v1.txt", &lines);
    check("events-v1.txt", include_str!("../tests/fixtures/events-v1.txt"), &lines);
}

//! A backup is whole, or says where it is not.

use super::*;
use crate::machine::check_envelope;
use vestibule_engine::{
    CreateOrganisation, DirectoryCommand, Envelope, RequestId, SetGroups, Shard, Timestamp, UserId,
};

fn directory() -> Directory {
    let mut directory = Directory::new(GroupId::DIRECTORY);
    let mut run = |number: u128, command| {
        let envelope = Envelope { request: Some(RequestId(number)), command };
        check_envelope(GroupId::DIRECTORY, &codec::encode(&envelope)).expect("it is a command");
        assert!(directory.apply(Timestamp(5), &[envelope]).remove(0).result.is_ok());
    };
    run(1, DirectoryCommand::SetGroups(SetGroups { count: 1, expected_version: None }));
    run(2, DirectoryCommand::CreateOrganisation(CreateOrganisation { by: UserId(7), name: "Opera".to_owned() }));
    directory
}

fn put(writer: &mut BackupWriter<Vec<u8>>, group: u32, rows: &[Row]) {
    let last = Some(LogPosition { term: 3, node: 2, index: 40 + u64::from(group) });
    writer.begin_group(&GroupHead { group: GroupId(group), last }).expect("memory takes all");
    rows.chunks(2).for_each(|rows| writer.rows(rows).expect("memory takes all"));
    writer.end_group().expect("memory takes all");
}

fn head() -> BackupHead {
    BackupHead { cluster: "north".to_owned(), begun_at: Timestamp(9), groups: 1 }
}

fn written() -> Vec<u8> {
    let mut writer = BackupWriter::new(Vec::new(), &head()).expect("memory takes all");
    put(&mut writer, 0, &directory().rows());
    // A leader that went away in the middle of it.
    let mark = writer.mark();
    put(&mut writer, 1, &directory().rows());
    let cut = |out: &mut Vec<u8>, len: u64| {
        out.truncate(usize::try_from(len).expect("it fits"));
        Ok(())
    };
    writer.rewind(mark, cut).expect("memory can be cut");
    put(&mut writer, 1, &Shard::new(GroupId(1)).rows());
    writer.finish().expect("memory takes all")
}

#[test]
fn what_is_written_is_read() {
    let verified = verify(&*written()).expect("it is whole");
    assert_eq!(verified.head, head());
    assert_eq!(verified.groups.len(), 2);
    let group = &verified.groups[0];
    assert_eq!(group.head.last, Some(LogPosition { term: 3, node: 2, index: 40 }));
    assert_eq!(group.end.digest, directory().digest());
    assert_eq!(group.last_sequence, directory().last_sequence());
    assert_eq!(verified.groups[1].end.digest, Shard::new(GroupId(1)).digest());
}

#[test]
fn every_flipped_bit_and_every_missing_byte_is_noticed() {
    let whole = written();
    let mut parts = BTreeSet::new();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = verify(&*bytes).expect_err("a byte was changed");
        if let BackupError::Damaged { part, at: begins, .. } = &error {
            assert!(*begins <= at as u64, "byte {at}: {error}");
            parts.insert(part.clone());
        }
        match at {
            0..8 => assert!(matches!(error, BackupError::NotABackup), "byte {at}: {error}"),
            8..12 => assert!(matches!(error, BackupError::Version(_)), "byte {at}: {error}"),
            _ => assert!(matches!(error, BackupError::Damaged { .. }), "byte {at}: {error}"),
        }
        assert!(matches!(verify(&whole[..at]), Err(BackupError::CutShort { .. })), "cut at {at}");
    }
    let named: Vec<&str> = parts.iter().map(String::as_str).collect();
    let expected =
        ["the beginning of g0", "the beginning of g1", "the head", "the rows of g0", "the rows of g1", "the trailer"];
    assert_eq!(named, expected);
    let longer = [&whole[..], &[0]].concat();
    let error = verify(&*longer).expect_err("a byte too many").to_string();
    assert!(error.starts_with("what follows the trailer"), "{error}");
}

/// Where frames begin.
fn frames(whole: &[u8]) -> Vec<usize> {
    let mut at = 12;
    let mut frames = Vec::new();
    while at < whole.len() {
        frames.push(at);
        let len = u32::from_le_bytes(whole[at + 1..at + 5].try_into().expect("four bytes"));
        at += 17 + len as usize + 4;
    }
    frames
}

#[test]
fn frames_that_are_whole_but_out_of_place_are_noticed() {
    let whole = written();
    let frames = frames(&whole);
    for pair in frames.windows(2) {
        let frame = pair[0]..pair[1];
        let without = [&whole[..frame.start], &whole[frame.end..]].concat();
        assert!(verify(&*without).is_err(), "without the frame at {}", frame.start);
        let twice = [&whole[..frame.end], &whole[frame.start..]].concat();
        assert!(verify(&*twice).is_err(), "with the frame at {} twice", frame.start);
    }
}

#[test]
fn rows_that_make_no_state_are_refused() {
    let mut writer = BackupWriter::new(Vec::new(), &head()).expect("memory takes all");
    put(&mut writer, 0, &directory().rows());
    // All checksums are right, but these rows are no shard's.
    put(&mut writer, 1, &directory().rows());
    let error = verify(&*writer.finish().expect("memory takes all")).expect_err("they make no sense");
    assert!(matches!(error, BackupError::Unsound { group: GroupId(1), .. }), "{error}");
}

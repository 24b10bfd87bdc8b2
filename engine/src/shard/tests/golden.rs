//! The bytes of version 1: what was written once must be read for ever.

use super::hostile::{created, samples};
use super::*;
use crate::golden::{self, command_line, row_line};
use expect_test::expect_file;

/// A shard in which every table has rows.
fn full() -> Shard {
    let sale = Sale { method: Method::Draw, prequeue_at: Some(Timestamp(0)), waitlist: true, ..Sale::default() };
    let mut shard = Shard::new(GROUP);
    let mut commands = vec![created(sale)];
    let showtime = showtime_id();
    commands.extend((2..6).map(|user| ShardCommand::JoinQueue(JoinQueue { showtime, user: UserId(user) })));
    commands.extend((1..1_030).map(|user| ShardCommand::JoinQueue(JoinQueue { showtime, user: UserId(user + 10) })));
    commands.push(ShardCommand::OpenQueue(OpenQueue { showtime }));
    let blocked = BlockSeats { showtime, seats: vec![SeatId(7)], reason: "camera".into(), channel: None };
    commands.push(ShardCommand::BlockSeats(blocked));
    // The rest of the house is blocked away, so that somebody waits.
    let others = BlockSeats { showtime, seats: (0..16).map(SeatId).collect(), reason: "closed".into(), channel: None };
    commands.push(ShardCommand::BlockSeats(others));
    let wait = |user| JoinWaitlist {
        showtime,
        user: UserId(user),
        quantity: 1,
        category: Some("back".into()),
        together: false,
    };
    commands.extend([7, 8].map(|user| ShardCommand::JoinWaitlist(wait(user))));
    commands.push(ShardCommand::UnblockSeats(UnblockSeats { showtime, seats: vec![SeatId(12)] }));
    commands.push(ShardCommand::PlaceOrder(PlaceOrder {
        hold: HoldId::new(GROUP, 1),
        user: UserId(7),
        email: "a@b.example".into(),
    }));
    commands.push(ShardCommand::UnblockSeats(UnblockSeats { showtime, seats: vec![SeatId(13)] }));
    for (command, at) in commands.into_iter().zip(1_u64..) {
        shard.apply(Timestamp(at * 10), &[Envelope { request: Some(RequestId(at.into())), command }]);
    }
    shard.audit().unwrap();
    shard
}

#[test]
fn rows_are_written_as_version_1_was() {
    let shard = full();
    let tables: std::collections::BTreeSet<u8> = shard.rows().iter().map(|row| row.key[0]).collect();
    let wanted = [0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x20, 0x21, 0x22, 0x30, 0x31, 0x32, 0x70, 0x71];
    assert_eq!(tables.into_iter().collect::<Vec<_>>(), wanted, "a table without a row is a table untested");
    let text: String = shard.rows().iter().map(row_line).collect();
    expect_file!["../../../tests/fixtures/shard-rows-v1.txt"].assert_eq(&text);
}

#[test]
fn commands_are_written_as_version_1_was() {
    let commands = samples().into_iter().chain([created(golden::sale())]);
    let lines: Vec<String> = commands.map(command_line).collect();
    golden::check_complete::<ShardCommand>("shard-commands-v1.txt", &lines);
    golden::check("shard-commands-v1.txt", include_str!("../../../tests/fixtures/shard-commands-v1.txt"), &lines);
}

//! The bytes of version 1: what was written once must be read for ever.

use super::hostile::{created, samples};
use super::*;
use crate::golden::{self, command_line, row_line, rows_of, short_row_line};
use std::collections::BTreeSet;

/// Of a state with full pages.
const ROWS: &str = include_str!("../../../tests/fixtures/shard-rows-v1.txt");
/// Of a state that has something of everything and stands there whole.
const STATE: &str = include_str!("../../../tests/fixtures/shard-state-v1.txt");

/// Of a state that has more to offer.
const OFFERS: &str = include_str!("../../../tests/fixtures/shard-offers-v1.txt");

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

/// A shard in which everything has a row but the roots over full pages of entrants: it takes 1,024 of those.
fn small() -> Shard {
    let mut world = World::new();
    for line in [
        "0s org register broker key=q1",
        "0s org limits age=7200s events=60s eventsmax=2000 tickets=5000 key=q2",
        "0s org sale draw prequeue=0s opens=10s closes=9000s rate=6000 room=7 claim=20s session=300s waitlist=yes beacon=7 perhold=8 perbuyer=9",
        "0s org message soon",
        "1s ann join key=a1",
        "1s bob join",
        "1s cat join",
        "1s dan join",
        "1s eve join",
        "1s fay join",
        "1s gus join",
        "1s hal join",
        "2s hal leave",
        "3s org block A7 A8 via=press",
        "3s org block B8",
        "10s org beacon 7 abcd",
        "11s ann claim",
        "11s bob claim",
        "11s cat claim",
        "11s dan claim",
        "11s eve claim",
        "11s fay claim",
        // Paid, too often, and refunded in part; done.
        "12s ann hold A1 A2 key=a2",
        "12s ann order h1",
        "12s ann pay o1 p1 ok 10000 key=a3",
        "12s ann pay o1 p2 no 10000",
        "12s ann pay o1 p3 ok 10000",
        "12s ann pay o1 p4 ok 10000",
        "12s ann pay o1 p5 ok 10000",
        "12s ann repay o1 r6 ok 9000",
        "12s org refund o1 A2",
        // Waits for its money, of which some came in another currency.
        "13s bob hold A7 via=press",
        "13s bob order h2",
        "13s bob pay o2 p1 no 5000",
        "13s bob pay o2 p2 ok 5000 USD",
        "13s bob repay o2 r3 ok 1000 USD",
        // Canceled, owing.
        "14s cat hold A3",
        "14s cat order h3",
        "14s cat pay o3 p1 ok 4999",
        "14s cat cancel o3",
        // Refunded.
        "15s dan hold floor x3",
        "15s dan order h4",
        "15s dan pay o4 p1 ok 3000",
        "15s org refund o4",
        "15s org repay o4 r2 ok 3000",
        // Held; one has left, some wait, one was offered something.
        "16s eve hold B1",
        "16s eve hold floor x2",
        "16s fay leave",
        "16s ivy join",
        "17s ivy waitlist 5 category=front together",
        "17s jon waitlist 7 category=back together",
        "17s kim waitlist 8 category=front",
        "18s eve release h5",
        "18s org acknowledge broker 12",
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
    }
    assert!(world.run("19s ann hold A1 key=a4").starts_with("refused"));
    world.shard
}

/// A shard with more to offer to those who wait than it offers in a step.
fn offering() -> Shard {
    let mut world = World::new();
    for line in [
        "0s org sale passthrough waitlist=yes",
        "1s org block A1 A2 A3 A4 A5 A6 A7 A8",
        "2s ann waitlist 1 category=front",
        "3s bob waitlist 1 category=front",
        "4s cat waitlist 1 category=front",
        "5s dan waitlist 1 category=front",
        "6s eve waitlist 1 category=front",
        "7s org unblock A1 A2 A3 A4 A5 A6 A7 A8",
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
    }
    world.shard
}

#[test]
fn rows_are_written_as_version_1_was() {
    let tables = |shard: &Shard| -> BTreeSet<u8> { shard.rows().iter().map(|row| row.key[0]).collect() };
    let (full, small, offering) = (full(), small(), offering());
    let wanted =
        [0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x20, 0x21, 0x22, 0x30, 0x31, 0x32, 0x33, 0x70, 0x71];
    let all: BTreeSet<u8> = [&full, &small, &offering].into_iter().flat_map(tables).collect();
    assert_eq!(Vec::from_iter(all), wanted, "a table without a row is a table untested");
    assert_eq!(wanted.len() - tables(&small).len(), 2, "but for tables 16 and 22 they stand there whole");
    let lines = |shard: &Shard, line: fn(&Row) -> String| -> Vec<String> { shard.rows().iter().map(line).collect() };
    golden::check("shard-rows-v1.txt", ROWS, &lines(&full, short_row_line));
    golden::check("shard-state-v1.txt", STATE, &lines(&small, row_line));
    golden::check("shard-offers-v1.txt", OFFERS, &lines(&offering, row_line));
}

#[test]
fn rows_of_version_1_are_read() {
    for (rows, written) in [(STATE, small()), (OFFERS, offering())] {
        let shard = Shard::load(GROUP, rows_of(rows).into_iter()).unwrap();
        shard.audit().unwrap();
        assert_eq!(shard.digest(), written.digest());
    }
}

#[test]
fn commands_are_written_as_version_1_was() {
    let commands = samples().into_iter().chain([created(golden::sale())]);
    let lines: Vec<String> = commands.map(command_line).collect();
    golden::check_complete::<ShardCommand>("shard-commands-v1.txt", &lines);
    golden::check("shard-commands-v1.txt", include_str!("../../../tests/fixtures/shard-commands-v1.txt"), &lines);
}

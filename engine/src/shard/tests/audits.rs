//! The audit notices what it recounts: each count is bent once.

use super::*;
use crate::shard::showtime::Showtime;

/// A drawn line in which somebody waits, was called, missed it, shops, has bought, was too late, and has left at each of
/// these stages.
fn busy() -> World {
    let mut world = World::new();
    for line in [
        "0s org sale draw opens=10s prequeue=0s room=100 rate=6000 claim=20s session=30s beacon=7",
        "1s a join",
        "1s b join",
        "1s c join",
        "1s d join",
        "1s e join",
        "1s f join",
        "1s g join",
        "2s g leave",
        "10s org beacon 7 abc",
        "11s a claim",
        "11s b claim",
        "11s c claim",
        "11s d leave",
        "12s a leave",
        "12s b hold A1",
        "12s b order h1",
        "12s b pay o1 p1 ok 5000",
        "31s x join",
        "42s y join",
        "42s y claim",
        "42s z join",
        "42s org pause",
        "42s late join",
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
    }
    world
}

#[test]
fn what_the_line_counts_and_what_was_drawn_is_recounted() {
    let world = busy();
    let report = world.shard.showtimes[&showtime_id()].line.head.report;
    let QueueReport { joined, called, claimed, done, left, missed, expired } = report;
    let counts = [joined, called, claimed, done, left, missed, expired];
    assert!(counts.iter().all(|count| *count > 0), "a count that is 0 is not tested: {report:?}");
    type Bend = fn(&mut Showtime);
    let bends: [(&str, Bend); 15] = [
        ("joined", |showtime| showtime.line.head.report.joined += 1),
        ("called", |showtime| showtime.line.head.report.called += 1),
        ("claimed", |showtime| showtime.line.head.report.claimed += 1),
        ("done", |showtime| showtime.line.head.report.done += 1),
        ("left", |showtime| showtime.line.head.report.left += 1),
        ("missed", |showtime| showtime.line.head.report.missed += 1),
        ("expired", |showtime| showtime.line.head.report.expired += 1),
        ("tickets", |showtime| {
            showtime.line.head.joined += 1;
            showtime.line.head.report.joined += 1;
        }),
        ("entrants", |showtime| showtime.line.head.entrants += 1),
        ("active", |showtime| showtime.line.head.active += 1),
        ("seed", |showtime| showtime.line.head.draw.as_mut().unwrap().seed[0] ^= 1),
        ("root", |showtime| showtime.line.head.draw.as_mut().unwrap().merkle_root[0] ^= 1),
        ("the draw's beacon", |showtime| showtime.line.head.draw.as_mut().unwrap().beacon = None),
        ("beacon", |showtime| showtime.set_beacon(b"abd".to_vec())),
        ("draw", |showtime| showtime.line.head.draw = None),
    ];
    for (name, bend) in bends {
        let mut shard = Shard::load(GROUP, world.shard.rows().into_iter()).unwrap();
        shard.audit().unwrap();
        bend(shard.showtimes.get_mut(&showtime_id()).unwrap());
        assert!(shard.audit().is_err(), "{name} was bent, and the audit says nothing");
    }
}

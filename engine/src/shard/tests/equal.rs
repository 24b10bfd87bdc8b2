//! Machines fed the same log are equal, byte for byte: whatever the seeds of their look-up maps, however the batches
//! were cut.

use super::random::{Step, log};
use super::*;
use crate::lookup::{hasher, with_other_seeds};
use std::hash::BuildHasher;

/// Everything that a log gives.
#[derive(Debug, PartialEq)]
struct Given {
    replies: Vec<Reply>,
    events: Vec<EventRecord>,
    drained: Vec<Row>,
    rows: Vec<Row>,
    digest: [u8; 32],
}

/// Plays a log in batches of at most so many. Gives what it gave, and its buyers in the order of their map.
fn play(steps: &[Step], batch_max: usize) -> (Given, Vec<UserId>) {
    let mut shard = Shard::new(GROUP);
    let mut given = Given { replies: vec![], events: vec![], drained: vec![], rows: vec![], digest: [0; 32] };
    let mut stored = DirtyRows::default();
    for same_time in steps.chunk_by(|a, b| a.0 == b.0) {
        for batch in same_time.chunks(batch_max) {
            let envelopes: Vec<_> = batch.iter().map(|(_, envelope)| envelope.clone()).collect();
            given.replies.extend(shard.apply(batch[0].0, &envelopes));
            stored.merge(shard.drain_dirty());
        }
    }
    shard.audit().unwrap();
    // Those that are still kept; the chains over all of them are in the rows.
    let oldest = shard.events(1, 1).err().unwrap_or(1);
    given.events = shard.events(oldest, usize::MAX).unwrap();
    given.drained = stored.0.into_iter().filter_map(|(key, value)| Some(Row { key, value: value? })).collect();
    given.rows = shard.rows();
    given.digest = shard.digest();
    let buyers = shard.showtimes.get(&showtime_id()).map(|showtime| showtime.buyers.keys().copied().collect());
    (given, buyers.unwrap_or_default())
}

fn assert_equal(got: &Given, wanted: &Given, what: &str) {
    assert!(got.replies == wanted.replies, "{what}: other replies");
    assert!(got.events == wanted.events, "{what}: other events");
    assert!(got.drained == wanted.drained, "{what}: other rows were drained");
    assert!(got.rows == wanted.rows, "{what}: other rows");
    assert!(got.digest == wanted.digest, "{what}: another digest");
}

#[test]
fn neither_seeds_nor_cuts_show() {
    let (mut reordered, mut replayed, mut kinds) = (0, 0, BTreeMap::<&str, u32>::new());
    for number in 0..40 {
        let steps = log(10_000 + number, 500);
        let (wanted, buyers) = play(&steps, 1);
        replayed += wanted.replies.iter().filter(|reply| reply.replayed).count();
        wanted.events.iter().for_each(|record| *kinds.entry(record.event.kind()).or_default() += 1);
        for (other, batch_max) in [(0, 2), (0, 7), (0, usize::MAX), (1, 1), (u64::MAX, 1), (number + 2, 3)] {
            let (got, got_buyers) = with_other_seeds(other, || play(&steps, batch_max));
            assert_equal(&got, &wanted, &format!("log {number}, seed {other}, batches of {batch_max}"));
            reordered += u32::from(got_buyers != buyers);
        }
    }
    // Other seeds were really others, and something happened.
    let hash = |other| with_other_seeds(other, || hasher(7).hash_one(1_u128));
    assert_ne!(hash(0), hash(1));
    assert!(reordered >= 30 && replayed >= 100, "{reordered} reordered, {replayed} replayed");
    for kind in ["inventory.hold.expired", "inventory.seats.purchased", "queue.draw.published", "waitlist.offered"] {
        assert!(kinds.get(kind).is_some_and(|&count| count >= 5), "{kind} hardly happened: {kinds:?}");
    }
}

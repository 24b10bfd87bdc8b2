//! A leader stands still for a while and then goes on as if nothing had happened.

use crate::buyers::Crowd;
use crate::session::Session;
use crate::support::{Cluster, eventually};
use crate::{group_of, often, turn};
use std::time::{Duration, Instant};
use vestibule_engine::{HoldAnswer, HoldId, ShardAnswer, ShardQuery, codec};

/// Questions that wait for the node when it goes on, and as many are put to it right after.
const QUESTIONS: usize = 50;

/// Judges what a node says of a hold that it missed: it may refuse to answer, it may not deny it.
fn judge(session: &mut Session, hold: HoldId) -> (usize, usize) {
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..QUESTIONS {
        match session.next() {
            Some(Ok(answer)) => {
                let ShardAnswer::Hold(found) = codec::decode(&answer).expect("an answer") else {
                    panic!("that is no answer to the question")
                };
                assert!(
                    matches!(&found, HoldAnswer::Live(found) if found.hold == hold),
                    "the node answers from an old state: {found:?}"
                );
                answered += 1;
            }
            Some(Err(_)) => refused += 1,
            // It may cut a connection that it finds silent for so long.
            None => break,
        }
    }
    (answered, refused)
}

#[test]
fn a_leader_that_was_frozen_answers_nothing_stale_and_loses_no_write() {
    let _turn = turn();
    let mut cluster = Cluster::start(3, 2);
    let token = cluster.token();
    let showtime = cluster.sell_arena(&token, often(12_000, 40_000));
    let group = group_of(&showtime);
    let crowd = Crowd::start(&cluster, &showtime);
    let span = Duration::from_secs(often(3, 10) as u64);
    for _ in 0..often(1, 5) {
        crowd.goes_on(20);
        let old = cluster.leader(group);
        let mut session = Session::open(&cluster.node_address(old));
        cluster.node(old).signal("STOP");
        let began = Instant::now();
        eventually("another leads", || (cluster.leader(group) != old).then_some(()));
        let hold: HoldId = crowd.hold_one().parse().expect("a hold's id");
        while began.elapsed() < span {
            crowd.goes_on(10);
        }

        // What it was asked while it stood still it finds first thing when it goes on.
        (0..QUESTIONS).for_each(|_| session.ask_linearizable(group, &ShardQuery::Hold(hold)));
        cluster.node(old).signal("CONT");
        let waiting = judge(&mut session, hold);
        let mut session = Session::open(&cluster.node_address(old));
        (0..QUESTIONS).for_each(|_| session.ask_linearizable(group, &ShardQuery::Hold(hold)));
        let later = judge(&mut session, hold);
        assert!(waiting.0 + waiting.1 + later.0 + later.1 > 0, "the node said nothing");
        eprintln!("frozen for {span:?}: (answered, refused) {waiting:?} of what waited, {later:?} after");
        cluster.wait_until_caught_up(old);
    }
    crowd.goes_on(20);
    crowd.finish().check(&cluster);
}

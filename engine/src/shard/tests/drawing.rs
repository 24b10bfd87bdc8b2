//! The draw: who joined before the opening is drawn by lot, and can prove it.

use super::*;
use expect_test::expect;

#[test]
fn entrants_are_drawn_and_late_joiners_follow() {
    check(expect![[r#"
        0s org sale draw prequeue=0s opens=10s rate=60 room=10 => created 1
        1s ann join                                            => #1 prequeue
        1s bob join                                            => #2 prequeue
        1s cat join                                            => #3 prequeue
        1s dan join                                            => #4 prequeue
        1s eve join                                            => #5 prequeue
        2s ann show draw                                       => not drawn
        2s ann show receipt                                    => no receipt
        9s bob claim                                           => refused: the line is prequeue
        10s ann show ticket                                    => #1 waiting, place 5, 4 ahead, eta 4s
        10s bob show ticket                                    => #2 waiting, place 2, 1 ahead, eta 1s
        10s cat show ticket                                    => #3 waiting, place 4, 3 ahead, eta 3s
        10s dan show ticket                                    => #4 called, place 1, 0 ahead, claim by 130s
        10s eve show ticket                                    => #5 waiting, place 3, 2 ahead, eta 2s
        10s fay join                                           => #6 waiting, place 6, 5 ahead, eta 5s
        10s org show draw                                      => 5 entrants, seed 4285edd5…
        10s ann show receipt                                   => #1 proved by 3 hashes, place 5
        10s eve show receipt                                   => #5 proved by 1 hashes, place 3
        10s fay show receipt                                   => no receipt
        11s org show line                                      => open, 6 joined, 5 entrants, cursor 2, 2 active
        14s org show line                                      => open, 6 joined, 5 entrants, cursor 3, 3 active
        15s fay show ticket                                    => #6 waiting, place 6, 2 ahead, eta 3s
        16s org show events                                    => showtimes.created queue.prequeue.started queue.joined queue.joined queue.joined queue.joined queue.joined queue.draw.published queue.opened queue.admitted queue.joined queue.admitted queue.admitted queue.admitted queue.admitted
    "#]]);
}

#[test]
fn those_who_left_before_the_draw_are_passed_over() {
    check(expect![[r#"
        0s org sale draw prequeue=0s opens=10s rate=6000 room=2 => created 1
        1s ann join                                             => #1 prequeue
        1s bob join                                             => #2 prequeue
        1s cat join                                             => #3 prequeue
        1s dan join                                             => #4 prequeue
        1s eve join                                             => #5 prequeue
        2s bob leave                                            => done
        2s eve leave                                            => done
        2s eve join                                             => #5 left (as before)
        10s org show draw                                       => 5 entrants, seed 4285edd5…
        10s org show line                                       => open, 5 joined, 5 entrants, cursor 4, 2 active
        10s ann show ticket                                     => #1 waiting, place 5, 1 ahead, eta 1s
        10s bob show ticket                                     => #2 left, place 2, 0 ahead
        10s cat show ticket                                     => #3 called, place 4, 0 ahead, claim by 130s
        10s dan show ticket                                     => #4 called, place 1, 0 ahead, claim by 130s
        10s eve show ticket                                     => #5 left, place 3, 0 ahead
        10s eve show receipt                                    => #5 proved by 1 hashes, place 3
        11s org restart                                         => restarted
        131s org show line                                      => open, 5 joined, 5 entrants, cursor 5, 1 active
    "#]]);
}

#[test]
fn a_planned_beacon_is_waited_for() {
    check(expect![[r#"
        0s org sale draw opens=10s beacon=77       => created 1
        0s org beacon 77 tooearlyisfine showtime=2 => refused: there is no such showtime
        1s org beacon 76 abc                       => refused: round is out of bounds: round 77 is planned
        10s ann join                               => #1 prequeue
        10s org show line                          => prequeue, 1 joined, 0 entrants, cursor 0, 0 active
        11s org open                               => refused: the planned randomness is not known yet
        11s org update opens=20s                   => refused: opensAt is out of bounds: it is too late to change it
        12s bob join                               => #2 prequeue
        13s org beacon 77 abc                      => done
        13s org beacon 77 abc                      => done
        13s org beacon 77 abd                      => refused: it exists already with another content
        13s org show line                          => open, 2 joined, 0 entrants, cursor 2, 2 active
        13s org show draw                          => 0 entrants, seed b59b7a48…
        13s ann show receipt                       => no receipt
        13s org show events                        => showtimes.created queue.prequeue.started queue.joined queue.joined queue.draw.published queue.opened queue.admitted
    "#]]);
}

#[test]
fn a_beacon_is_refused_while_entrants_may_join() {
    check(expect![[r#"
        0s org sale draw opens=10s prequeue=0s beacon=77 => created 1
        1s ann join                                      => #1 prequeue
        2s org beacon 77 abc                             => refused: the line is prequeue
        3s bob join                                      => #2 prequeue
        4s org update opens=20s                          => refused: opensAt is out of bounds: it is too late to change it
        10s org beacon 77 abc                            => done
        10s org show line                                => open, 2 joined, 2 entrants, cursor 2, 2 active
        10s org show draw                                => 2 entrants, seed 92b92082…
    "#]]);
    check(expect![[r#"
        0s org sale draw opens=10s prequeue=5s beacon=77 => created 1
        2s org beacon 77 abc                             => refused: the line is scheduled
    "#]]);
}

#[test]
fn who_joins_while_the_beacon_is_awaited_is_not_drawn() {
    check(expect![[r#"
        0s org sale draw opens=10s prequeue=0s beacon=77 rate=1 room=100 => created 1
        1s ann join                                                      => #1 prequeue
        1s bob join                                                      => #2 prequeue
        1s cat join                                                      => #3 prequeue
        10s dan join                                                     => #4 prequeue
        11s eve join                                                     => #5 prequeue
        11s fay join                                                     => #6 prequeue
        11s org show line                                                => prequeue, 6 joined, 3 entrants, cursor 0, 0 active
        12s bob leave                                                    => done
        12s eve leave                                                    => done
        12s eve show ticket                                              => #5 left
        12s org restart                                                  => restarted
        13s org beacon 77 abc                                            => done
        13s org show draw                                                => 3 entrants, seed 37c2fd80…
        13s ann show ticket                                              => #1 called, place 2, 0 ahead, claim by 133s
        13s bob show ticket                                              => #2 left, place 1, 0 ahead
        13s cat show ticket                                              => #3 waiting, place 3, 1 ahead, eta 60s
        13s dan show ticket                                              => #4 waiting, place 4, 2 ahead, eta 120s
        13s eve show ticket                                              => #5 left, place 5, 3 ahead
        13s fay show ticket                                              => #6 waiting, place 6, 4 ahead, eta 240s
        13s cat show receipt                                             => #3 proved by 1 hashes, place 3
        13s dan show receipt                                             => no receipt
        13s org show place4                                              => #4 of dan
        200s org show line                                               => open, 6 joined, 3 entrants, cursor 3, 1 active
    "#]]);
}

#[test]
fn opening_early_fixes_the_entrants() {
    check(expect![[r#"
        0s org sale draw opens=100s prequeue=50s beacon=77 => created 1
        1s org open                                        => done
        1s org show line                                   => prequeue, 0 joined, 0 entrants, cursor 0, 0 active
        2s ann join                                        => #1 prequeue
        2s org open                                        => refused: the planned randomness is not known yet
        3s org beacon 77 abc                               => done
        3s org show line                                   => open, 1 joined, 0 entrants, cursor 1, 1 active
        3s ann show ticket                                 => #1 called, place 1, 0 ahead, claim by 123s
    "#]]);
    check(expect![[r#"
        0s org sale draw opens=never beacon=77 => refused: beacon is out of bounds: a draw with planned randomness needs opensAt
        0s org sale draw opens=5s beacon=77    => created 1
        1s org update opens=never              => refused: beacon is out of bounds: a draw with planned randomness needs opensAt
    "#]]);
}

#[test]
fn a_line_closed_before_its_draw_has_no_places() {
    check(expect![[r#"
        0s org sale draw opens=10s prequeue=0s => created 1
        1s ann join                            => #1 prequeue
        1s bob join                            => #2 prequeue
        2s org close                           => done
        3s ann show ticket                     => #1 waiting
        3s bob claim                           => refused: the line is closed
        3s org show place1                     => no ticket
        3s ann leave                           => done
        3s ann show ticket                     => #1 left
        3s ann show receipt                    => no receipt
    "#]]);
    check(expect![[r#"
        0s org sale draw opens=10s prequeue=0s beacon=7 => created 1
        1s ann join                                     => #1 prequeue
        11s bob join                                    => #2 prequeue
        12s org close                                   => done
        13s ann show ticket                             => #1 waiting
        13s org beacon 7 abc                            => refused: the line is closed
    "#]]);
}

#[test]
fn what_the_line_waits_for_cannot_be_dropped() {
    check(expect![[r#"
        0s org sale draw opens=10s beacon=7 => created 1
        10s ann join                        => #1 prequeue
        11s org update beacon=none          => refused: beacon is out of bounds: it is too late to change it
        11s org update beacon=8             => refused: beacon is out of bounds: it is too late to change it
        12s org beacon 7 abc                => done
        12s ann show ticket                 => #1 called, place 1, 0 ahead, claim by 132s
    "#]]);
    check(expect![[r#"
        0s org sale draw opens=10s beacon=7 => created 1
        11s org update beacon=none          => refused: beacon is out of bounds: it is too late to change it
        11s org update method=fifo          => refused: method is out of bounds: it is too late to change it
        12s org beacon 7 abc                => done
        12s org show line                   => open, 0 joined, 0 entrants, cursor 0, 0 active
    "#]]);
}

#[test]
fn without_entrants_the_line_is_in_join_order() {
    check(expect![[r#"
        0s org sale draw    => created 1
        0s org show draw    => 0 entrants, seed 05bf521b…
        1s ann join         => #1 called, place 1, 0 ahead, claim by 121s
        1s bob join         => #2 waiting, place 2, 1 ahead, eta 1s
        1s ann show receipt => no receipt
    "#]]);
}

/// Opens a line of `count` entrants, of whom every `leaver`th left before.
fn opened(count: u64, leaver: u64) -> Shard {
    let showtime = showtime_id();
    let mut shard = Shard::new(GROUP);
    let sale = Sale {
        method: Method::Draw,
        prequeue_at: Some(Timestamp(0)),
        opens_at: Some(Timestamp(10_000)),
        admission: Admission { rate_per_minute: 60_000, active_max: 500, ..Admission::default() },
        ..Sale::default()
    };
    let create = CreateShowtime {
        showtime,
        organisation: OrganisationId(1),
        seat_map: small_house(),
        prices: vec![eur(1), eur(1), eur(1)],
        sale,
        draw_secret: [3; 32],
    };
    let mut batch = vec![ShardCommand::CreateShowtime(create)];
    batch.extend((1..=count).map(|user| ShardCommand::JoinQueue(JoinQueue { showtime, user: UserId(user.into()) })));
    batch.extend((1..=count).filter(|number| number % leaver == 0).map(|number| {
        let (user, ticket) = (UserId(number.into()), TicketNumber(number));
        ShardCommand::LeaveQueue(LeaveQueue { showtime, user, ticket })
    }));
    let batch: Vec<_> = batch.into_iter().map(|command| Envelope { request: None, command }).collect();
    assert!(shard.apply(Timestamp(1), &batch).iter().all(|reply| reply.result.is_ok()));
    shard
}

#[test]
fn proofs_reach_over_pages() {
    let mut shard = opened(3_000, 3_000);
    shard.apply(Timestamp(10_000), &[]);
    shard.audit().unwrap();
    let showtime = showtime_id();
    let ShardAnswer::Draw(Some(DrawView { bundle: Some(bundle), .. })) = shard.query(&ShardQuery::Draw(showtime))
    else {
        panic!()
    };
    let mut places = std::collections::BTreeSet::new();
    for number in (1..=3_000).map(TicketNumber) {
        let query = ShardQuery::Receipt { showtime, number };
        if number.0 % 97 == 1 || number.0 > 2_990 {
            let ShardAnswer::Receipt(Some(receipt)) = shard.query(&query) else { panic!() };
            let (index, root) = (number.0 - 1, &bundle.merkle_root);
            assert!(merkle::verify(&receipt.leaf, index, 3_000, &receipt.proof, root), "{number}");
        }
        let ShardAnswer::Ticket(Some(view)) = shard.query(&ShardQuery::Ticket { showtime, number }) else { panic!() };
        places.insert(view.place.unwrap());
    }
    assert_eq!((places.len(), places.first(), places.last()), (3_000, Some(&1), Some(&3_000)));
}

#[test]
fn a_receipt_hashes_no_more_than_the_leaves_of_its_page() {
    // 35 full pages and a part of the next: roots over one, two, four and so on up to 32 pages, and those of the part.
    let count = 35 * 1_024 + 300;
    let mut shard = opened(count, count);
    shard.apply(Timestamp(10_000), &[]);
    shard.audit().unwrap();
    let restarted = Shard::load(GROUP, shard.rows().into_iter()).unwrap();
    for shard in [&shard, &restarted] {
        let line = &shard.showtimes[&showtime_id()].line;
        for number in
            [1, 1_024, 1_025, 3_000, 4_097, 7_168, 7_169, 12_289, 16_385, 20_481, 28_673, 32_769, 35_840, count]
                .map(TicketNumber)
        {
            let receipt = line.receipt(number).unwrap();
            let root = line.head.draw.as_ref().unwrap().merkle_root;
            assert!(merkle::verify(&receipt.leaf, number.0 - 1, count, &receipt.proof, &root), "{number}");
            // The same proof, counting what is asked for and not known.
            let mut unknown = 0;
            let proof = merkle::proof(number.0 - 1, count, &mut |from, count| {
                let known = line.known_root(from, count);
                unknown += u64::from(known.is_none());
                let leaf = |owner| {
                    let subject = merkle::subject_hash(owner);
                    merkle::leaf_hash(&merkle::leaf_data(TicketNumber(from + 1), &subject))
                };
                known.or_else(|| line.owner(TicketNumber(from + 1)).filter(|_| count == 1).map(leaf))
            });
            assert_eq!(proof, receipt.proof);
            // At most the other leaves of its page, and the nodes between them.
            assert!(unknown <= 1_023 + 1_013, "{number} needs {unknown} hashes");
        }
    }
}

/// Under test a step looks four times who stands where: twice at the next places, while more than four are to be found.
#[test]
fn many_who_left_are_found_in_steps() {
    let mut shard = opened(300, 2);
    shard.apply(Timestamp(10_000), &[]);
    let active = |shard: &Shard| {
        let ShardAnswer::Showtime(Some(view)) = shard.query(&ShardQuery::Showtime(showtime_id())) else { panic!() };
        view.active
    };
    let (mut before, mut most) = (0, Vec::new());
    while active(&shard) < 150 {
        most.push(active(&shard) - before);
        before = active(&shard);
        shard.audit().unwrap();
        let loaded = Shard::load(GROUP, shard.rows().into_iter()).unwrap();
        assert_eq!(loaded.rows(), shard.rows());
        shard.apply(shard.next_due().unwrap(), &[]);
        assert!(most.len() < 300, "the line stands still");
    }
    assert!(most[..20].iter().all(|&called| called <= 2) && most[..20].iter().sum::<u64>() > 10, "{most:?}");
    for number in (1..=300).map(TicketNumber) {
        let query = ShardQuery::Ticket { showtime: showtime_id(), number };
        let ShardAnswer::Ticket(Some(view)) = shard.query(&query) else { panic!() };
        assert_eq!(view.state, if number.0 % 2 == 0 { TicketState::Left } else { TicketState::Called });
    }
}

#[test]
fn the_ticket_of_a_place_is_known_once_the_line_is_open() {
    check(expect![[r#"
        0s org show place1                            => no ticket
        0s org sale draw opens=10s prequeue=0s rate=1 => created 1
        1s ann join                                   => #1 prequeue
        1s bob join                                   => #2 prequeue
        1s cat join                                   => #3 prequeue
        2s bob leave                                  => done
        2s org show place1                            => no ticket
        10s org show place0                           => no ticket
        10s org show place1                           => #2 of bob
        10s org show place2                           => #3 of cat
        10s org show place3                           => #1 of ann
        10s org show place4                           => no ticket
        11s dan join                                  => #4 waiting, place 4, 2 ahead, eta 120s
        11s org show place3                           => #1 of ann
        11s org show place4                           => #4 of dan
        11s org show place5                           => no ticket
        12s org restart                               => restarted
        12s org show place2                           => #3 of cat
        12s org show place4                           => #4 of dan
    "#]]);
    check(expect![[r#"
        0s org sale fifo   => created 1
        0s ann join        => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join        => #2 waiting, place 2, 1 ahead, eta 1s
        0s org show place0 => no ticket
        0s org show place1 => #1 of ann
        0s org show place2 => #2 of bob
        0s org show place3 => no ticket
        1s org close       => done
        1s org show place2 => #2 of bob
    "#]]);
    check(expect![[r#"
        0s org sale passthrough => created 1
        0s org show place1      => no ticket
    "#]]);
}

#[test]
fn in_a_long_line_places_and_tickets_belong_together() {
    let mut shard = opened(3_000, 700);
    let showtime = showtime_id();
    shard.apply(Timestamp(10_000), &[]);
    let joined: Vec<_> = (3_001..=3_005)
        .map(|user| ShardCommand::JoinQueue(JoinQueue { showtime, user: UserId(user) }))
        .map(|command| Envelope { request: None, command })
        .collect();
    shard.apply(Timestamp(10_001), &joined);
    for place in 1..=3_005 {
        let query = ShardQuery::TicketAt { showtime, place };
        let ShardAnswer::Ticket(Some(at_place)) = shard.query(&query) else { panic!("place {place} is nobody's") };
        let query = ShardQuery::Ticket { showtime, number: at_place.number };
        assert_eq!(shard.query(&query), ShardAnswer::Ticket(Some(at_place.clone())));
        assert_eq!(at_place.place, Some(place));
    }
    for place in [0, 3_006, u64::MAX] {
        assert_eq!(shard.query(&ShardQuery::TicketAt { showtime, place }), ShardAnswer::Ticket(None));
    }
}

//! The waitlist: first come, nobody overtakes.

use super::check;
use expect_test::expect;

#[test]
fn freed_seats_go_to_the_first_entry_they_satisfy() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8 hold=100s total=100s => created 1
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                                            => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 100s
        1s bob hold B1 B2 B3 B4                                                        => h2 of bob: B1 B2 B3 B4, 12000 until 101s
        1s cat hold B5 B6 B7 B8                                                        => h3 of cat: B5 B6 B7 B8, 12000 until 101s
        2s dan hold floor x8                                                           => h4 of dan: floor x8, 8000 until 102s
        2s eve hold floor x2                                                           => h5 of eve: floor x2, 2000 until 102s
        3s fay waitlist 2 together category=front                                      => w1 with 0 ahead
        3s gus waitlist 2 category=back                                                => w2 with 1 ahead
        3s hal waitlist 2                                                              => w3 with 2 ahead
        3s fay waitlist 2 together category=front                                      => w1 with 0 ahead
        3s fay waitlist 3                                                              => refused: it exists already with another content
        3s hal show w3                                                                 => w3 waiting for 2, 2 ahead
        4s cat release h3                                                              => done
        4s gus show w2                                                                 => w2 offered h6
        4s hal show w3                                                                 => w3 offered h7
        4s ivy hold B7                                                                 => refused: B7 not available
        4s gus extend h6                                                               => refused: the hold cannot be extended any further
        5s gus order h6                                                                => o1 pendingPayment until 605s: B5 B6, 6000
        5s gus show w2                                                                 => no entry
        104s hal show w3                                                               => no entry
        104s fay show w1                                                               => w1 offered h8
        104s org show seats                                                            => A ..hh.... B ....hh.. floor 0 held 0 sold of 10
        104s org show events                                                           => showtimes.created queue.opened inventory.hold.created inventory.hold.created inventory.hold.created inventory.hold.created inventory.hold.created waitlist.joined waitlist.joined waitlist.joined inventory.hold.released inventory.hold.created waitlist.offered inventory.hold.created waitlist.offered orders.created waitlist.accepted inventory.hold.expired inventory.hold.created waitlist.offered inventory.hold.expired inventory.hold.expired inventory.hold.expired inventory.hold.expired waitlist.expired
    "#]]);
}

/// Three at a time under test. What is still to be offered is for nobody else: not for who comes to the line, nor for an order
/// that is paid late.
#[test]
fn much_that_comes_free_is_offered_in_steps() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8 hold=100s total=100s => created 1
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                                            => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 100s
        0s bob hold B1 B2 B3 B4 B5 B6 B7 B8                                            => h2 of bob: B1 B2 B3 B4 B5 B6 B7 B8, 24000 until 100s
        0s ann order h1                                                                => o1 pendingPayment until 600s: A1 A2 A3 A4 A5 A6 A7 A8, 40000
        0s cat hold floor x8                                                           => h3 of cat: floor x8, 8000 until 100s
        0s dan hold floor x2                                                           => h4 of dan: floor x2, 2000 until 100s
        1s eve waitlist 1 category=front                                               => w1 with 0 ahead
        1s fay waitlist 1 category=front                                               => w2 with 1 ahead
        1s gus waitlist 1 category=front                                               => w3 with 2 ahead
        1s hal waitlist 1 category=front                                               => w4 with 3 ahead
        1s joe waitlist 1 category=front                                               => w5 with 4 ahead
        2s ann cancel o1                                                               => o1 canceled: A1 A2 A3 A4 A5 A6 A7 A8, 40000
        2s joe show w5                                                                 => w5 waiting for 1, 1 ahead
        2s kim hold A8                                                                 => refused: A8 not available
        2s kim hold best 1                                                             => refused: no seats fit the wish
        2s kim waitlist 1 category=front                                               => w6 with 2 ahead
        2s ann pay o1 p1 ok 40000                                                      => o1 refundDue: A1 A2 A3 A4 A5 A6 A7 A8, 40000, captured 40000, due 40000
        2s bob release h2                                                              => done
        2s kim hold B8                                                                 => h8 of kim: B8, 3000 until 102s
        2s org restart                                                                 => restarted
        2s kim hold A8                                                                 => refused: A8 not available
        3s joe show w5                                                                 => w5 offered h10
        3s kim show w6                                                                 => w6 offered h11
        3s kim hold A8                                                                 => h12 of kim: A8, 5000 until 103s
    "#]]);
}

#[test]
fn declined_and_expired_offers_go_on() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8 hold=100s total=100s => created 1
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                                            => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 100s
        0s bob hold B1 B2 B3 B4 B5 B6 B7 B8                                            => h2 of bob: B1 B2 B3 B4 B5 B6 B7 B8, 24000 until 100s
        0s cat hold floor x8                                                           => h3 of cat: floor x8, 8000 until 100s
        0s dan hold floor x2                                                           => h4 of dan: floor x2, 2000 until 100s
        0s eve waitlist 2 category=floor                                               => w1 with 0 ahead
        0s fay waitlist 2 category=floor                                               => w2 with 1 ahead
        0s gus waitlist 2 category=floor                                               => w3 with 2 ahead
        0s hal waitlist 1                                                              => w4 with 3 ahead
        0s fay unwait w1                                                               => refused: there is no such waitlist entry
        1s hal unwait w4                                                               => done
        1s hal show w4                                                                 => no entry
        1s dan release h4                                                              => done
        1s eve show w1                                                                 => w1 offered h5
        2s eve unwait w1                                                               => done
        2s fay show w2                                                                 => w2 offered h6
        100s org tick                                                                  => done
        101s fay show w2                                                               => w2 offered h6
        102s gus show w3                                                               => w3 offered h7
        103s gus release h7                                                            => done
        103s org show events                                                           => showtimes.created queue.opened inventory.hold.created inventory.hold.created inventory.hold.created inventory.hold.created waitlist.joined waitlist.joined waitlist.joined waitlist.joined waitlist.left inventory.hold.released inventory.hold.created waitlist.offered inventory.hold.released waitlist.left inventory.hold.created waitlist.offered inventory.hold.expired inventory.hold.expired inventory.hold.expired inventory.hold.created waitlist.offered inventory.hold.expired waitlist.expired inventory.hold.released waitlist.left
    "#]]);
}

#[test]
fn the_waitlist_is_for_what_cannot_be_had() {
    check(expect![[r#"
        0s org sale passthrough          => created 1
        0s ann waitlist 2                => refused: the sale has no waitlist
        0s org update waitlist=yes       => updated
        0s ann waitlist 2                => refused: free seats fit the wish: they are to be held
        0s ann waitlist 0                => refused: quantity is out of bounds: 0 is not between 1 and 6
        0s ann waitlist 7                => refused: quantity is out of bounds: 7 is not between 1 and 6
        0s ann waitlist 2 category=stage => refused: category is out of bounds: there is none of this name
        0s ann unwait w1                 => refused: there is no such waitlist entry
        0s org pause                     => done
        0s org close                     => done
        0s ann waitlist 2                => refused: the line is closed
    "#]]);
}

#[test]
fn a_refund_frees_seats_for_those_who_wait() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8 => created 1
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                       => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 300s
        0s ann order h1                                           => o1 pendingPayment until 600s: A1 A2 A3 A4 A5 A6 A7 A8, 40000
        0s ann pay o1 p1 ok 40000                                 => o1 completed: A1 A2 A3 A4 A5 A6 A7 A8, 40000, captured 40000
        0s bob waitlist 2 category=front together                 => w1 with 0 ahead
        0s cat waitlist 1 category=front                          => w2 with 1 ahead
        1s org refund o1 A4                                       => o1 completed: A1 A2 A3 A5 A6 A7 A8, 40000, captured 40000, due 5000
        1s bob show w1                                            => w1 waiting for 2, 0 ahead
        1s cat show w2                                            => w2 offered h2
        2s org refund o1 A5                                       => o1 completed: A1 A2 A3 A6 A7 A8, 40000, captured 40000, due 10000
        2s bob show w1                                            => w1 waiting for 2, 0 ahead
        3s org refund o1 A6                                       => o1 completed: A1 A2 A3 A7 A8, 40000, captured 40000, due 15000
        3s bob show w1                                            => w1 offered h3
        3s bob order h3                                           => o2 pendingPayment until 603s: A5 A6, 10000
        3s org show seats                                         => A SSShhhSS B ........ floor 0 held 0 sold of 10
        3s org update waitlist=no                                 => updated
        4s org refund o1 A7 A8                                    => o1 completed: A1 A2 A3, 40000, captured 40000, due 25000
        4s org show seats                                         => A SSShhh.. B ........ floor 0 held 0 sold of 10
        5s dan hold A7                                            => h4 of dan: A7, 5000 until 305s
    "#]]);
}

#[test]
fn a_buyer_at_the_limit_is_passed_over() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8 => created 1
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                       => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 300s
        0s bob hold B1 B2 B3 B4 B5 B6                             => h2 of bob: B1 B2 B3 B4 B5 B6, 18000 until 300s
        0s bob waitlist 2 category=front                          => w1 with 0 ahead
        0s cat waitlist 2 category=front                          => w2 with 1 ahead
        0s bob hold B7 B8                                         => h3 of bob: B7 B8, 6000 until 300s
        1s ann release h1                                         => done
        1s bob show w1                                            => w1 waiting for 2, 0 ahead
        1s cat show w2                                            => w2 offered h4
        2s bob release h3                                         => done
        2s bob show w1                                            => w1 offered h5
    "#]]);
}

#[test]
fn who_waits_longest_is_served_first_and_everybody_knows_where_they_stand() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8 hold=100s => created 1
        0s org block A1 A2 A3 A4 A5 A6 A7 A8 B1 B2 B3 B4 B5 B6 B7 B8        => done
        0s ann hold floor x8                                                => h1 of ann: floor x8, 8000 until 100s
        0s bob hold floor x2                                                => h2 of bob: floor x2, 2000 until 100s
        1s cat waitlist 1 category=front                                    => w1 with 0 ahead
        2s dan waitlist 1 category=front                                    => w2 with 1 ahead
        3s eve waitlist 1 category=front                                    => w3 with 2 ahead
        4s fay waitlist 1                                                   => w4 with 3 ahead
        5s org unblock A1                                                   => done
        5s cat show w1                                                      => w1 offered h3
        5s dan show w2                                                      => w2 waiting for 1, 0 ahead
        5s eve show w3                                                      => w3 waiting for 1, 1 ahead
        5s fay show w4                                                      => w4 waiting for 1, 2 ahead
        6s cat release h3                                                   => done
        6s cat show w1                                                      => no entry
        6s dan show w2                                                      => w2 offered h4
        6s eve show w3                                                      => w3 waiting for 1, 0 ahead
        6s fay show w4                                                      => w4 waiting for 1, 1 ahead
        7s cat waitlist 1 category=front                                    => w5 with 2 ahead
        7s eve unwait w3                                                    => done
        7s fay show w4                                                      => w4 waiting for 1, 0 ahead
        7s cat show w5                                                      => w5 waiting for 1, 1 ahead
        105s org tick                                                       => done
        106s dan show w2                                                    => no entry
        106s fay show w4                                                    => w4 offered h5
        106s cat show w5                                                    => w5 offered h6
        107s fay order h5                                                   => o1 pendingPayment until 707s: floor x1, 1000
        107s fay show w4                                                    => no entry
        107s cat show w5                                                    => w5 offered h6
        108s fay cancel o1                                                  => o1 canceled: floor x1, 1000
        108s cat show w5                                                    => w5 offered h6
        108s cat order h6                                                   => o2 pendingPayment until 708s: A1, 5000
        108s org show seats                                                 => A h####### B ######## floor 0 held 0 sold of 10
    "#]]);
}

#[test]
fn an_entry_is_passed_over_only_while_the_free_seats_do_not_satisfy_it() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8    => created 1
        0s org block A1 A2 A3 A4 A5 A6 A7 A8 B1 B2 B3 B4 B5 B6 B7 B8 => done
        0s ann hold floor x8                                         => h1 of ann: floor x8, 8000 until 300s
        0s bob hold floor x2                                         => h2 of bob: floor x2, 2000 until 300s
        0s cat waitlist 4 category=front together                    => w1 with 0 ahead
        0s dan waitlist 2 category=front together                    => w2 with 1 ahead
        0s eve waitlist 2 category=front                             => w3 with 2 ahead
        0s fay waitlist 1 category=back                              => w4 with 3 ahead
        1s org unblock A1 A8                                         => done
        1s cat show w1                                               => w1 waiting for 4, 0 ahead
        1s dan show w2                                               => w2 waiting for 2, 1 ahead
        1s eve show w3                                               => w3 offered h3
        1s fay show w4                                               => w4 waiting for 1, 2 ahead
        2s org unblock A2 A3                                         => done
        2s cat show w1                                               => w1 waiting for 4, 0 ahead
        2s dan show w2                                               => w2 offered h4
        2s fay show w4                                               => w4 waiting for 1, 1 ahead
        3s org unblock A5 A6 A7                                      => done
        3s cat show w1                                               => w1 waiting for 4, 0 ahead
        4s eve release h3                                            => done
        4s cat show w1                                               => w1 offered h5
        4s fay show w4                                               => w4 waiting for 1, 0 ahead
        5s org unblock B1                                            => done
        5s fay show w4                                               => w4 offered h6
        5s org show seats                                            => A .hh#hhhh B h####### floor 10 held 0 sold of 10
    "#]]);
}

#[test]
fn walk_ins_take_nothing_that_somebody_waits_for() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8 hold=100s total=100s => created 1
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                                            => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 100s
        0s org block B1 B2 B3 B4 B5 B6 B7 B8                                           => done
        0s bob hold floor x8                                                           => h2 of bob: floor x8, 8000 until 100s
        0s cat hold floor x2                                                           => h3 of cat: floor x2, 2000 until 100s
        1s dan waitlist 8 category=front                                               => w1 with 0 ahead
        1s eve waitlist 2 category=floor                                               => w2 with 1 ahead
        1s fay waitlist 1 category=back                                                => w3 with 2 ahead
        2s gus hold A1                                                                 => refused: A1 not available
        3s cat release h3                                                              => done
        3s gus hold floor x1                                                           => refused: the area has 0 places left
        4s org unblock B4                                                              => done
        4s gus hold B4                                                                 => refused: B4 not available
        4s gus hold best 1 category=back                                               => refused: no seats fit the wish
        4s gus hold best 1                                                             => refused: no seats fit the wish
        100s gus hold A1                                                               => refused: A1 not available
        100s gus hold best 1 category=front                                            => refused: no seats fit the wish
        100s dan show w1                                                               => w1 offered h6
        100s gus hold floor x8                                                         => h7 of gus: floor x8, 8000 until 200s
        100s gus hold floor x1                                                         => refused: one buyer takes 8 at most, and has 8
    "#]]);
}

#[test]
fn nothing_is_kept_for_an_entry_that_wants_more_than_came_free() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8    => created 1
        0s org block A1 A2 A3 A4 A5 A6 A7 A8 B1 B2 B3 B4 B5 B6 B7 B8 => done
        0s ann hold floor x8                                         => h1 of ann: floor x8, 8000 until 300s
        0s bob hold floor x2                                         => h2 of bob: floor x2, 2000 until 300s
        0s cat waitlist 3 category=front                             => w1 with 0 ahead
        1s org unblock A1 A2                                         => done
        1s cat show w1                                               => w1 waiting for 3, 0 ahead
        1s dan hold A1                                               => h3 of dan: A1, 5000 until 301s
        2s org unblock A7                                            => done
        2s cat show w1                                               => w1 waiting for 3, 0 ahead
        3s dan release h3                                            => done
        3s cat show w1                                               => w1 offered h4
        4s cat order h4                                              => o1 pendingPayment until 604s: A1 A2 A7, 15000
        4s org show seats                                            => A hh####h# B ######## floor 10 held 0 sold of 10
    "#]]);
}

#[test]
fn no_offer_is_made_while_the_line_is_not_open_and_pausing_does_not_matter() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=8 perbuyer=8    => created 1
        0s org block A1 A2 A3 A4 A5 A6 A7 A8 B1 B2 B3 B4 B5 B6 B7 B8 => done
        0s ann hold floor x8                                         => h1 of ann: floor x8, 8000 until 300s
        0s bob hold floor x2                                         => h2 of bob: floor x2, 2000 until 300s
        0s cat waitlist 1                                            => w1 with 0 ahead
        0s dan waitlist 1                                            => w2 with 1 ahead
        1s org pause                                                 => done
        1s org unblock A1                                            => done
        1s cat show w1                                               => w1 offered h3
        2s org close                                                 => done
        2s org unblock A2                                            => done
        2s dan show w2                                               => no entry
        2s dan hold A2                                               => refused: the line is closed
        3s cat order h3                                              => o1 pendingPayment until 603s: A1, 5000
        3s org show seats                                            => A h.###### B ######## floor 10 held 0 sold of 10
    "#]]);
}

#[test]
fn seats_and_places_together_satisfy_nobody_and_places_alone_do() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=10 perbuyer=20 => created 1
        0s org block A1 A2 A3 A4 A5 A6 A7 A8 B1 B2 B3 B4 B5 B6      => done
        0s ann hold floor x7                                        => h1 of ann: floor x7, 7000 until 300s
        0s ann hold floor x2                                        => h2 of ann: floor x2, 2000 until 300s
        1s bob waitlist 3                                           => w1 with 0 ahead
        1s cat waitlist 3 category=back                             => w2 with 1 ahead
        2s bob show w1                                              => w1 waiting for 3, 0 ahead
        3s ann release h2                                           => done
        3s bob show w1                                              => w1 offered h3
        3s cat show w2                                              => w2 waiting for 3, 0 ahead
    "#]]);
}

/// Under test three entries end in a step.
#[test]
fn closing_ends_what_still_waits_in_steps() {
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=10 perbuyer=10 hold=100s => created 1
        0s ann hold floor x9                                                  => h1 of ann: floor x9, 9000 until 100s
        0s bob hold floor x1                                                  => h2 of bob: floor x1, 1000 until 100s
        1s cat waitlist 1 category=floor                                      => w1 with 0 ahead
        1s dan waitlist 2 category=floor                                      => w2 with 1 ahead
        1s eve waitlist 1 category=floor                                      => w3 with 2 ahead
        1s fay waitlist 3 category=floor                                      => w4 with 3 ahead
        1s gus waitlist 1 category=floor                                      => w5 with 4 ahead
        1s hal waitlist 2 category=floor                                      => w6 with 5 ahead
        1s ida waitlist 1 category=floor                                      => w7 with 6 ahead
        1s jim waitlist 1 category=floor                                      => w8 with 7 ahead
        2s bob release h2                                                     => done
        2s cat show w1                                                        => w1 offered h3
        2s cat show events                                                    => showtimes.created queue.opened inventory.hold.created inventory.hold.created waitlist.joined waitlist.joined waitlist.joined waitlist.joined waitlist.joined waitlist.joined waitlist.joined waitlist.joined inventory.hold.released inventory.hold.created waitlist.offered
        3s org close                                                          => done
        3s org show events                                                    => queue.closed waitlist.expired waitlist.expired waitlist.expired
        3s fay show w4                                                        => no entry
        3s gus show w5                                                        => w5 waiting for 1, 0 ahead
        3s gus show due                                                       => due at 3020ms
        3s hal unwait w6                                                      => done
        3s hal unwait w7                                                      => refused: there is no such waitlist entry
        3s org restart                                                        => restarted
        3020ms org show events                                                => waitlist.left waitlist.expired waitlist.expired waitlist.expired
        3020ms jim show w8                                                    => no entry
        3020ms jim show due                                                   => due at 100s
        4s cat show w1                                                        => w1 offered h3
        4s cat order h3                                                       => o1 pendingPayment until 604s: floor x1, 1000
    "#]]);
    // On time, and the last of those left takes the next step with it.
    check(expect![[r#"
        0s org sale fifo waitlist=yes perhold=10 perbuyer=10 closes=50s room=1 => created 1
        0s ann join                                                            => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                                                           => #1 shopping until 600s, place 1, 0 ahead
        0s ann hold floor x10                                                  => h1 of ann: floor x10, 10000 until 300s
        1s bob waitlist 1 category=floor                                       => w1 with 0 ahead
        1s cat waitlist 1 category=floor                                       => w2 with 1 ahead
        1s dan waitlist 1 category=floor                                       => w3 with 2 ahead
        1s eve waitlist 1 category=floor                                       => w4 with 3 ahead
        50s eve show w4                                                        => w4 waiting for 1, 0 ahead
        50s eve show due                                                       => due at 50020ms
        50s eve unwait w4                                                      => done
        50s eve show due                                                       => due at 120s
        301s eve show seats                                                    => A ........ B ........ floor 0 held 0 sold of 10
    "#]]);
}

#[test]
fn who_may_have_nothing_is_passed_over_and_keeps_the_place() {
    // The organiser allows less than some wait for, and later more again.
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=10 perbuyer=10 => created 1
        0s ann hold floor x9                                        => h1 of ann: floor x9, 9000 until 300s
        0s bob hold floor x1                                        => h2 of bob: floor x1, 1000 until 300s
        1s cat waitlist 3 category=floor                            => w1 with 0 ahead
        1s dan waitlist 1 category=floor                            => w2 with 1 ahead
        1s eve waitlist 2 category=floor                            => w3 with 2 ahead
        2s org update perhold=2                                     => updated
        3s bob release h2                                           => done
        3s dan show w2                                              => w2 offered h3
        4s ann release h1                                           => done
        4s cat show w1                                              => w1 waiting for 3, 0 ahead
        4s eve show w3                                              => w3 offered h4
        5s org update perhold=3                                     => updated
        5s cat show w1                                              => w1 offered h5
    "#]]);
    // Buyers reach their limit and fall below it again while they wait.
    check(expect![[r#"
        0s org sale passthrough waitlist=yes perhold=4 perbuyer=4 => created 1
        0s ann hold floor x4                                      => h1 of ann: floor x4, 4000 until 300s
        0s bob hold floor x4                                      => h2 of bob: floor x4, 4000 until 300s
        0s cat hold floor x2                                      => h3 of cat: floor x2, 2000 until 300s
        1s cat waitlist 2 category=floor                          => w1 with 0 ahead
        1s dan waitlist 1 category=floor                          => w2 with 1 ahead
        2s cat hold A1 A2                                         => h4 of cat: A1 A2, 10000 until 302s
        3s bob release h2                                         => done
        3s dan show w2                                            => w2 offered h5
        3s cat show w1                                            => w1 waiting for 2, 0 ahead
        4s cat release h4                                         => done
        4s cat show w1                                            => w1 offered h6
    "#]]);
}

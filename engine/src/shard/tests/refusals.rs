//! What is refused, and which reason comes first.

use super::check;
use expect_test::expect;

#[test]
fn holds_are_refused_in_the_documented_order() {
    check(expect![[r#"
        0s ann hold A1                   => refused: there is no such showtime
        0s org sale fifo opens=100s      => created 1
        0s ann hold A9 ticket=1          => refused: there is no such ticket
        0s ann hold A1                   => refused: the line is scheduled
        0s ann hold floor x0             => refused: quantity is out of bounds: 0 is not between 1 and 100
        0s ann hold floor x101           => refused: quantity is out of bounds: 101 is not between 1 and 100
        0s org update opens=1s           => updated
        1s ann hold A1                   => refused: the ticket has not been admitted
        1s ann join                      => #1 called, place 1, 0 ahead, claim by 121s
        1s bob join                      => #2 waiting, place 2, 1 ahead, eta 1s
        1s ann hold A1                   => refused: the ticket has not been admitted
        1s ann hold A1 ticket=2          => refused: there is no such ticket
        1s ann claim                     => #1 shopping until 601s, place 1, 0 ahead
        1s bob hold A1 ticket=1          => refused: there is no such ticket
        1s ann hold A1 A2 A3 A4 A5 A6 A7 => refused: one hold takes 6 at most
        1s ann hold C1                   => refused: there is no seat number 16
    "#]]);
}

#[test]
fn a_sale_without_a_line_has_no_tickets() {
    check(expect![[r#"
        0s org sale passthrough => created 1
        0s ann join             => refused: the sale has no line
        0s ann leave            => refused: there is no such ticket
        0s ann claim            => refused: there is no such ticket
        0s org pause            => done
        0s ann hold A1          => refused: the line is paused
    "#]]);
}

#[test]
fn a_sale_may_let_nobody_in() {
    check(expect![[r#"
        0s org sale reject        => created 1
        0s ann join               => refused: the sale lets nobody in
        0s ann hold A1            => refused: the sale lets nobody in
        0s org update method=fifo => refused: method is out of bounds: it is too late to change it
    "#]]);
}

#[test]
fn tickets_belong_to_their_owners() {
    check(expect![[r#"
        0s org sale fifo room=1 => created 1
        0s ann join             => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join             => #2 waiting, place 2, 1 ahead, eta 1s
        0s bob claim ticket=1   => refused: there is no such ticket
        0s bob leave ticket=1   => refused: there is no such ticket
        0s bob claim ticket=3   => refused: there is no such ticket
        0s bob claim            => refused: the ticket is not called yet, 1 ahead
        120s ann claim          => refused: the ticket is over
        120s ann leave          => refused: the ticket is over
    "#]]);
}

#[test]
fn bounds_are_refused_by_name() {
    check(expect![[r#"
        0s org sale fifo rate=0      => refused: admission.ratePerMinute is out of bounds: 0 is not between 1 and 60000000
        0s org sale fifo hold=0s     => refused: holdSeconds is out of bounds: 0 is not between 1000 and 86400000
        0s org sale fifo total=10s   => refused: holdTotalSeconds is out of bounds: 10000 is not between 300000 and 86400000
        0s org sale fifo prequeue=5s => refused: opensAt is out of bounds: prequeueAt, opensAt and closesAt must follow each other
        0s org sale fifo perhold=101 => refused: maxSeatsPerHold is out of bounds: 101 is not between 1 and 100
        0s org sale passthrough      => created 1
        0s org update session=0s     => refused: admission.sessionSeconds is out of bounds: 0 is not between 1000 and 86400000
        0s ann hold A1               => h1 of ann: A1, 5000 until 300s
        0s ann order h1 nobody       => refused: email is out of bounds: it is no address
        0s ann order h1 @            => refused: email is out of bounds: 1 bytes are not between 3 and 254
        0s ann pay o1 p1 ok 1        => refused: there is no such order
        0s ann order h1              => o1 pendingPayment until 600s: A1, 5000
        0s ann pay o1 p1 ok -1       => refused: amount is out of bounds: -1 is not between 0 and 1000000000000000
        0s ann pay o1 p1 ok 1 eur    => refused: amount.currency is out of bounds: it is no ISO 4217 code
        0s ann refund o1             => refused: the order is pendingPayment
        0s bob cancel o1             => refused: there is no such order
        0s org show report           => revenue 0, captured 0, due 0, refunded 0, 1 holds, orders: 1 pendingPayment
    "#]]);
}

/// Every reason a hold can be refused for, each one while all that come after it apply as well.
#[test]
fn reasons_for_refusing_a_hold_yield_to_those_before() {
    check(expect![[r#"
        0s org sale fifo perhold=2 perbuyer=3 orphans=refused opens=100s prequeue=100s rate=6000 => created 1
        0s ann hold floor x0 showtime=2                                                          => refused: quantity is out of bounds: 0 is not between 1 and 100
        0s ann hold C1 A1 A2 A3 showtime=2                                                       => refused: there is no such showtime
        0s ann hold C1 A1 A2 A3                                                                  => refused: there is no seat number 16
        0s ann hold A1 A2 A3                                                                     => refused: the line is scheduled
        100s ann join                                                                            => #1 called, place 1, 0 ahead, claim by 220s
        100s bob join                                                                            => #2 waiting, place 2, 1 ahead, eta 1s
        101s bob claim                                                                           => #2 shopping until 701s, place 2, 0 ahead
        101s bob hold A1 A2                                                                      => h1 of bob: A1 A2, 10000 until 401s
        101s ann hold A1 A2 A3                                                                   => refused: the ticket has not been admitted
        101s ann claim                                                                           => #1 shopping until 701s, place 1, 0 ahead
        101s ann hold A1 A2 A3                                                                   => refused: one hold takes 2 at most
        101s ann hold B1 B2                                                                      => h2 of ann: B1 B2, 6000 until 401s
        101s ann hold A1 A4                                                                      => refused: one buyer takes 3 at most, and has 2
        102s ann release h2                                                                      => done
        102s ann hold A1 A4                                                                      => refused: A1 not available
        102s ann hold A4                                                                         => refused: would leave A3 alone
        102s ann hold best 1 category=stage                                                      => refused: best.category is out of bounds: there is none of this name
        102s ann hold best 2 category=floor together                                             => refused: no seats fit the wish
        102s ann hold A3 A4                                                                      => h3 of ann: A3 A4, 10000 until 402s
    "#]]);
}

#[test]
fn nobody_let_in_comes_before_the_state_of_the_line() {
    check(expect![[r#"
        0s org sale reject opens=100s => created 1
        0s ann hold C1                => refused: there is no seat number 16
        0s ann hold A1                => refused: the sale lets nobody in
        0s ann join                   => refused: the sale lets nobody in
    "#]]);
}

#[test]
fn reasons_for_refusing_the_rest_yield_to_those_before() {
    check(expect![[r#"
        0s org sale fifo room=1 hold=10s total=10s payment=10s opens=10s prequeue=0s => created 1
        0s ann claim showtime=2                                                      => refused: there is no such showtime
        0s ann join                                                                  => #1 prequeue
        0s bob join                                                                  => #2 prequeue
        0s bob claim ticket=1                                                        => refused: there is no such ticket
        0s bob claim                                                                 => refused: the line is prequeue
        10s bob claim                                                                => refused: the ticket is not called yet, 1 ahead
        10s ann claim                                                                => #1 shopping until 610s, place 1, 0 ahead
        11s ann hold A1                                                              => h1 of ann: A1, 5000 until 21s
        11s ann extend h1                                                            => refused: the hold cannot be extended any further
        11s ann order h9 bad                                                         => refused: email is out of bounds: it is no address
        11s ann order h9                                                             => refused: there is no such hold
        12s bob order h1                                                             => refused: there is no such hold
        12s ann order h1                                                             => o1 pendingPayment until 22s: A1, 5000
        12s ann order h1                                                             => refused: the hold has an order already
        12s ann extend h1                                                            => refused: the hold has an order already
        13s ann pay o9 p1 ok -5                                                      => refused: amount is out of bounds: -5 is not between 0 and 1000000000000000
        13s ann pay o9 p1 ok 5                                                       => refused: there is no such order
        13s ann pay o1 p1 no 5000                                                    => o1 pendingPayment until 22s: A1, 5000
        13s ann pay o1 p1 no 4000                                                    => refused: the payment id was used before with another content
        13s org refund o1 A2                                                         => refused: there is no seat number 1
        13s org refund o1 A1                                                         => refused: the order is pendingPayment
        13s bob cancel o1                                                            => refused: there is no such order
        22s ann cancel o1                                                            => refused: the order is expired
        22s ann extend h1                                                            => refused: the hold is gone
        22s ann leave ticket=2                                                       => refused: there is no such ticket
        22s ann leave                                                                => done
        22s ann claim                                                                => refused: the ticket is over
        22s org close                                                                => done
        22s ann claim                                                                => refused: the line is closed
        22s bob claim                                                                => refused: the line is closed
    "#]]);
}

#[test]
fn a_full_line_takes_no_more() {
    check(expect![[r#"
        0s org sale fifo                => created 1
        0s org limits tickets=0         => refused: ticketsMax is out of bounds: 0 is not between 1 and 100000000
        0s org limits tickets=100000001 => refused: ticketsMax is out of bounds: 100000001 is not between 1 and 100000000
        0s org limits tickets=2         => done
        0s ann join                     => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join                     => #2 waiting, place 2, 1 ahead, eta 1s
        0s cat join                     => refused: the line is full
        0s ann leave                    => done
        0s cat join                     => refused: the line is full
        0s ann join                     => #1 left, place 1, 0 ahead (as before)
        1s org restart                  => restarted
        1s cat join                     => refused: the line is full
        1s org limits tickets=1         => done
        1s bob show ticket              => #2 called, place 2, 0 ahead, claim by 121s
        1s cat join                     => refused: the line is full
        1s org limits tickets=3         => done
        1s cat join                     => #3 waiting, place 3, 1 ahead, eta 1s
        1s dan join                     => refused: the line is full
    "#]]);
}

#[test]
fn there_is_an_end_to_amounts_and_sinks() {
    check(expect![[r#"
        0s org sale passthrough                          => created 1
        0s ann hold A1                                   => h1 of ann: A1, 5000 until 300s
        0s ann order h1                                  => o1 pendingPayment until 600s: A1, 5000
        1s ann repeat 100 pay o1 p{} ok 1000000000000000 => o1 pendingPayment until 600s: A1, 5000, captured 100000000000000000, due 100000000000000000
        1s ann pay o1 p101 ok 1                          => refused: amounts of the order are at their bound
        1s ann pay o1 p102 no 1                          => o1 pendingPayment until 600s: A1, 5000, captured 100000000000000000, due 100000000000000000
        1s ann pay o1 p103 ok 5000 USD                   => o1 pendingPayment until 600s: A1, 5000, captured 100000000000000000, due 100000000000000000, foreign 5000 USD refunded 0
        1s ann repay o1 r104 ok 1                        => o1 pendingPayment until 600s: A1, 5000, captured 100000000000000000, due 99999999999999999, refunded 1, foreign 5000 USD refunded 0
        2s org repeat 100 register s{}                   => done
        2s org register s100                             => done
        2s org register s101                             => refused: sinks are at their bound
        2s org unregister s1                             => done
        2s org register s101                             => done
    "#]]);
}

#[test]
fn an_area_must_be_there_and_have_room() {
    check(expect![[r#"
        0s org sale passthrough perbuyer=20 => created 1
        0s ann hold floor x1 area=1         => refused: there is no area number 1
        0s ann hold floor x6                => h1 of ann: floor x6, 6000 until 300s
        0s ann hold floor x5                => refused: the area has 4 places left
        0s ann hold floor x4                => h2 of ann: floor x4, 4000 until 300s
        0s ann hold floor x1                => refused: the area has 0 places left
    "#]]);
}

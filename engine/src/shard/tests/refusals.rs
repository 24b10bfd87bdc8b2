//! What is refused, and which reason comes first.

use super::check;
use expect_test::expect;

#[test]
fn holds_are_refused_in_the_documented_order() {
    check(expect![[r#"
        0s ann hold A1                   => refused: there is no such showtime
        0s org sale fifo opens=100s      => created 1
        0s ann hold A9 ticket=1          => refused: the line is scheduled
        0s ann hold A1                   => refused: the line is scheduled
        0s ann hold floor x0             => refused: quantity is out of bounds: 0 is not between 1 and 100
        0s ann hold floor x101           => refused: quantity is out of bounds: 101 is not between 1 and 100
        0s org update opens=1s           => updated
        1s ann hold A1                   => refused: the ticket has not been admitted
        1s ann join                      => #1 called, place 1, 0 ahead, claim by 121s
        1s bob join                      => #2 waiting, place 2, 1 ahead, eta 1s
        1s ann hold A1                   => refused: the ticket has not been admitted
        1s ann hold A1 ticket=2          => refused: the ticket has not been admitted
        1s ann claim                     => #1 shopping until 601s, place 1, 0 ahead
        1s bob hold A1 ticket=1          => refused: the ticket has not been admitted
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

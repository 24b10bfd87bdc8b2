//! Orders, payments and refunds.

use super::{GROUP, World, check};
use crate::{Event, OrderId, ShardAnswer, ShardQuery, StateMachine, codec};
use expect_test::expect;

#[test]
fn an_order_is_paid_in_time() {
    check(expect![[r#"
        0s org sale passthrough payment=60s => created 1
        0s ann hold A1 B1                   => h1 of ann: A1 B1, 8000 until 300s
        1s ann order h1                     => o1 pendingPayment until 61s: A1 B1, 8000
        1s ann show h1                      => h1 of ann: A1 B1, 8000 until 61s for o1
        1s ann order h1                     => refused: the hold has an order already
        1s ann release h1                   => refused: the hold has an order already
        1s ann extend h1                    => refused: the hold has an order already
        2s ann pay o1 p1 no 8000            => o1 pendingPayment until 61s: A1 B1, 8000
        3s ann pay o1 p2 ok 8000            => o1 completed: A1 B1, 8000, captured 8000
        3s ann show h1                      => gone
        3s ann show seats                   => A S....... B S....... floor 0 held 0 sold of 10
        3s ann cancel o1                    => refused: the order is completed
        61s ann show seats                  => A S....... B S....... floor 0 held 0 sold of 10
        61s ann show report                 => revenue 8000, captured 8000, due 0, refunded 0, 0 holds, orders: 1 completed
        61s ann show events                 => showtimes.created queue.opened inventory.hold.created orders.created payments.failed payments.succeeded inventory.seats.purchased orders.completed
    "#]]);
}

#[test]
fn an_unpaid_order_expires_with_its_hold() {
    check(expect![[r#"
        0s org sale passthrough payment=60s => created 1
        0s ann hold A1                      => h1 of ann: A1, 5000 until 300s
        1s ann order h1                     => o1 pendingPayment until 61s: A1, 5000
        61s ann show o1                     => o1 expired: A1, 5000
        61s ann show h1                     => gone
        61s ann show seats                  => A ........ B ........ floor 0 held 0 sold of 10
        61s ann cancel o1                   => refused: the order is expired
        61s ann show events                 => showtimes.created queue.opened inventory.hold.created orders.created orders.expired inventory.hold.expired
    "#]]);
}

#[test]
fn a_late_success_books_again_if_the_seats_are_free() {
    check(expect![[r#"
        0s org sale passthrough payment=60s => created 1
        0s ann hold A1                      => h1 of ann: A1, 5000 until 300s
        1s ann order h1                     => o1 pendingPayment until 61s: A1, 5000
        70s ann pay o1 p1 ok 5000           => o1 completed: A1, 5000, captured 5000
        70s ann show seats                  => A S....... B ........ floor 0 held 0 sold of 10
        70s ann show events                 => showtimes.created queue.opened inventory.hold.created orders.created orders.expired inventory.hold.expired payments.succeeded inventory.seats.purchased orders.completed
    "#]]);
}

#[test]
fn a_late_success_is_owed_if_the_seats_are_gone() {
    check(expect![[r#"
        0s org sale passthrough payment=60s => created 1
        0s ann hold A1 A2                   => h1 of ann: A1 A2, 10000 until 300s
        1s ann order h1                     => o1 pendingPayment until 61s: A1 A2, 10000
        2s ann cancel o1                    => o1 canceled: A1 A2, 10000
        2s ann cancel o1                    => o1 canceled: A1 A2, 10000
        3s bob hold A2                      => h2 of bob: A2, 5000 until 303s
        4s ann pay o1 p1 ok 10000           => o1 refundDue: A1 A2, 10000, captured 10000, due 10000
        4s ann pay o1 p1 ok 10000           => p1 known, o1 refundDue: A1 A2, 10000, captured 10000, due 10000
        5s ann repay o1 r11 no 10000        => o1 refundDue: A1 A2, 10000, captured 10000, due 10000
        6s ann repay o1 r2 ok 4000          => o1 refundDue: A1 A2, 10000, captured 10000, due 6000, refunded 4000
        6s ann repay o1 r3 ok 7000          => refused: 6000 has to go back
        6s ann repay o1 r11 ok 6000         => o1 refunded: A1 A2, 10000, captured 10000, refunded 10000
        6s ann repay o1 r11 ok 6000         => p11 known, o1 refunded: A1 A2, 10000, captured 10000, refunded 10000
        6s ann repay o1 r11 ok 6001         => refused: the payment id was used before with another content
        7s ann show events                  => showtimes.created queue.opened inventory.hold.created orders.created orders.canceled inventory.hold.released inventory.hold.created payments.succeeded payments.refund.due payments.refund.failed payments.refunded payments.refunded
    "#]]);
}

#[test]
fn double_wrong_and_foreign_payments_are_owed() {
    check(expect![[r#"
        0s org sale passthrough        => created 1
        0s ann hold A1                 => h1 of ann: A1, 5000 until 300s
        1s ann order h1                => o1 pendingPayment until 601s: A1, 5000
        2s ann pay o1 p1 ok 4999       => o1 pendingPayment until 601s: A1, 5000, captured 4999, due 4999
        2s ann pay o1 p2 ok 5000 USD   => o1 pendingPayment until 601s: A1, 5000, captured 4999, due 4999, foreign 5000 USD refunded 0
        3s ann pay o1 p3 ok 5000       => o1 completed: A1, 5000, captured 9999, due 4999, foreign 5000 USD refunded 0
        4s ann pay o1 p4 ok 5000       => o1 completed: A1, 5000, captured 14999, due 9999, foreign 5000 USD refunded 0
        4s ann pay o1 p4 no 5000       => p4 known, o1 completed: A1, 5000, captured 14999, due 9999, foreign 5000 USD refunded 0
        4s ann pay o1 p4 ok 5001       => refused: the payment id was used before with another content
        5s ann repay o1 r4 ok 9999     => refused: the payment id was used before with another content
        5s ann repay o1 r5 ok 5000 USD => o1 completed: A1, 5000, captured 14999, due 9999, foreign 5000 USD refunded 5000
        5s ann repay o1 p4 ok 5000     => refused: the payment id was used before with another content
        6s ann show report             => revenue 5000, captured 14999, due 9999, refunded 0, 0 holds, orders: 1 completed
    "#]]);
}

#[test]
fn refunds_are_whole_or_by_the_seat() {
    check(expect![[r#"
        0s org sale passthrough      => created 1
        0s ann hold A1 A2 A3         => h1 of ann: A1 A2 A3, 15000 until 300s
        1s ann order h1              => o1 pendingPayment until 601s: A1 A2 A3, 15000
        1s ann refund o1             => refused: the order is pendingPayment
        2s ann pay o1 p1 ok 15000    => o1 completed: A1 A2 A3, 15000, captured 15000
        3s org refund o1 A2          => o1 completed: A1 A3, 15000, captured 15000, due 5000
        3s org refund o1 A2          => refused: there is no seat number 1
        3s bob hold A2               => h2 of bob: A2, 5000 until 303s
        4s org repay o1 r11 ok 5000  => o1 completed: A1 A3, 15000, captured 15000, refunded 5000
        5s org refund o1             => o1 refundDue: , 15000, captured 15000, due 10000, refunded 5000
        5s org show seats            => A .h...... B ........ floor 0 held 0 sold of 10
        6s org repay o1 r12 ok 10000 => o1 refunded: , 15000, captured 15000, refunded 15000
        6s ann pay o1 p9 ok 15000    => o1 refundDue: , 15000, captured 30000, due 15000, refunded 15000
        6s org show report           => revenue 0, captured 30000, due 15000, refunded 15000, 1 holds, orders: 1 refundDue
        6s org show events           => showtimes.created queue.opened inventory.hold.created orders.created payments.succeeded inventory.seats.purchased orders.completed inventory.seats.released payments.refund.due inventory.hold.created payments.refunded inventory.seats.released payments.refund.due payments.refunded payments.succeeded payments.refund.due
    "#]]);
}

/// Also when the order no longer names the refund, and also after a restart.
#[test]
fn a_refund_that_bounces_is_owed_again() {
    check(expect![[r#"
        0s org sale passthrough       => created 1
        0s ann hold A1                => h1 of ann: A1, 5000 until 300s
        1s ann order h1               => o1 pendingPayment until 601s: A1, 5000
        2s ann pay o1 p1 ok 5000      => o1 completed: A1, 5000, captured 5000
        3s org refund o1              => o1 refundDue: , 5000, captured 5000, due 5000
        4s org repay o1 p2 ok 5000    => o1 refunded: , 5000, captured 5000, refunded 5000
        5s org repay o1 p2 no 4999    => refused: the payment id was used before with another content
        5s org repay o1 p2 no 5000    => o1 refundDue: , 5000, captured 5000, due 5000
        5s org show events            => showtimes.created queue.opened inventory.hold.created orders.created payments.succeeded inventory.seats.purchased orders.completed inventory.seats.released payments.refund.due payments.refunded payments.refund.failed
        6s org repay o1 p2 ok 5000    => p2 known, o1 refundDue: , 5000, captured 5000, due 5000
        6s org repay o1 p2 ok 4999    => refused: the payment id was used before with another content
        6s org repay o1 p2 no 5000    => p2 known, o1 refundDue: , 5000, captured 5000, due 5000
        7s org restart                => restarted
        7s org repay o1 p2 ok 5000    => p2 known, o1 refundDue: , 5000, captured 5000, due 5000
        7s org show report            => revenue 0, captured 5000, due 5000, refunded 0, 0 holds, orders: 1 refundDue
        8s org repay o1 p3 ok 5000    => o1 refunded: , 5000, captured 5000, refunded 5000
        9s ann pay o1 p4 ok 700       => o1 refundDue: , 5000, captured 5700, due 700, refunded 5000
        9s ann pay o1 p5 ok 5 USD     => o1 refundDue: , 5000, captured 5700, due 700, refunded 5000, foreign 5 USD refunded 0
        9s org repay o1 p6 ok 5 USD   => o1 refundDue: , 5000, captured 5700, due 700, refunded 5000, foreign 5 USD refunded 5
        9s org repay o1 p7 ok 100     => o1 refundDue: , 5000, captured 5700, due 600, refunded 5100, foreign 5 USD refunded 5
        9s org repay o1 p8 ok 200     => o1 refundDue: , 5000, captured 5700, due 400, refunded 5300, foreign 5 USD refunded 5
        9s org repay o1 p9 ok 300     => o1 refundDue: , 5000, captured 5700, due 100, refunded 5600, foreign 5 USD refunded 5
        9s org repay o1 p10 ok 100    => o1 refunded: , 5000, captured 5700, refunded 5700, foreign 5 USD refunded 5
        10s org restart               => restarted
        10s org repay o1 p6 no 5 USD  => o1 refundDue: , 5000, captured 5700, refunded 5700, foreign 5 USD refunded 0
        10s org repay o1 p6 ok 5 USD  => p6 known, o1 refundDue: , 5000, captured 5700, refunded 5700, foreign 5 USD refunded 0
        11s org repay o1 p9 no 300    => o1 refundDue: , 5000, captured 5700, due 300, refunded 5400, foreign 5 USD refunded 0
        11s org restart               => restarted
        11s org repay o1 p6 ok 5 USD  => p6 known, o1 refundDue: , 5000, captured 5700, due 300, refunded 5400, foreign 5 USD refunded 0
        11s org repay o1 p9 ok 300    => p9 known, o1 refundDue: , 5000, captured 5700, due 300, refunded 5400, foreign 5 USD refunded 0
        12s org repay o1 p11 ok 300   => o1 refundDue: , 5000, captured 5700, refunded 5700, foreign 5 USD refunded 0
        12s org repay o1 p12 ok 5 USD => o1 refunded: , 5000, captured 5700, refunded 5700, foreign 5 USD refunded 5
    "#]]);
}

/// However many failures an order names, a bounce is booked and known for good.
#[test]
fn a_refund_bounces_also_after_any_number_of_failures() {
    check(expect![[r#"
        0s org sale passthrough                  => created 1
        0s ann hold A1                           => h1 of ann: A1, 5000 until 300s
        1s ann order h1                          => o1 pendingPayment until 601s: A1, 5000
        2s ann pay o1 p1 ok 5000                 => o1 completed: A1, 5000, captured 5000
        2s ann repeat 100 pay o1 p1000{} no 5000 => o1 completed: A1, 5000, captured 5000
        3s org refund o1                         => o1 refundDue: , 5000, captured 5000, due 5000
        4s org repay o1 p2 ok 5000               => o1 refunded: , 5000, captured 5000, refunded 5000
        5s org repay o1 p2 no 5000               => o1 refundDue: , 5000, captured 5000, due 5000
        6s org restart                           => restarted
        6s org repay o1 p2 ok 5000               => p2 known, o1 refundDue: , 5000, captured 5000, due 5000
        6s org repeat 249 repay o1 p2000{} ok 1  => o1 refundDue: , 5000, captured 5000, due 4751, refunded 249
        7s org repay o1 p3 ok 1                  => refused: refunds of the order are at their bound
    "#]]);
}

#[test]
fn an_order_of_places_is_refunded_whole() {
    check(expect![[r#"
        0s org sale passthrough  => created 1
        0s ann hold floor x3     => h1 of ann: floor x3, 3000 until 300s
        0s ann order h1          => o1 pendingPayment until 600s: floor x3, 3000
        0s ann pay o1 p1 ok 3000 => o1 completed: floor x3, 3000, captured 3000
        0s org show counts       => front 8/0/0/0, back 8/0/0/0, floor 7/0/3/0
        0s org refund o1         => o1 refundDue: , 3000, captured 3000, due 3000
        0s org show counts       => front 8/0/0/0, back 8/0/0/0, floor 10/0/0/0
    "#]]);
}

#[test]
fn a_late_success_books_again_through_the_channel_of_the_order() {
    check(expect![[r#"
        0s org sale passthrough payment=60s perbuyer=20 => created 1
        0s org block A1 A2 A3 via=press                 => done
        0s ann hold A1 A2 via=press                     => h1 of ann: A1 A2, 10000 until 300s
        1s ann order h1                                 => o1 pendingPayment until 61s: A1 A2, 10000
        1s org restart                                  => restarted
        61s ann show seats                              => A ###..... B ........ floor 0 held 0 sold of 10
        62s bob hold A1                                 => refused: A1 not available
        70s ann pay o1 p1 ok 10000                      => o1 completed: A1 A2, 10000, captured 10000
        70s ann show seats                              => A SS#..... B ........ floor 0 held 0 sold of 10
        70s ann show counts                             => front 5/0/2/1, back 8/0/0/0, floor 10/0/0/0
        71s org refund o1                               => o1 refundDue: , 10000, captured 10000, due 10000
        71s ann show seats                              => A ..#..... B ........ floor 0 held 0 sold of 10
        72s cat hold A3 B1 via=press                    => h2 of cat: A3 B1, 8000 until 372s
        72s cat order h2                                => o2 pendingPayment until 132s: A3 B1, 8000
        73s cat cancel o2                               => o2 canceled: A3 B1, 8000
        73s org unblock A3                              => done
        73s org block A3 via=radio                      => done
        74s cat pay o2 p2 ok 8000                       => o2 refundDue: A3 B1, 8000, captured 8000, due 8000
        75s dan hold A3 via=radio                       => h3 of dan: A3, 5000 until 375s
        75s dan order h3                                => o3 pendingPayment until 135s: A3, 5000
        76s dan cancel o3                               => o3 canceled: A3, 5000
        76s org unblock A3                              => done
        77s dan pay o3 p3 ok 5000                       => o3 completed: A3, 5000, captured 5000
        77s ann show seats                              => A ..S..... B ........ floor 0 held 0 sold of 10
    "#]]);
}

/// Failures are bounded, money that has moved is not: it is booked whatever was told before.
#[test]
fn money_is_booked_after_any_number_of_failures() {
    check(expect![[r#"
        0s org sale passthrough                    => created 1
        0s ann hold A1                             => h1 of ann: A1, 5000 until 300s
        0s ann order h1                            => o1 pendingPayment until 600s: A1, 5000
        1s ann repeat 99 pay o1 p{} no 5000        => o1 pendingPayment until 600s: A1, 5000
        1s ann repay o1 p200 no 5000               => o1 pendingPayment until 600s: A1, 5000
        1s ann pay o1 p201 no 5000                 => o1 pendingPayment until 600s: A1, 5000
        1s ann pay o1 p201 no 5000                 => o1 pendingPayment until 600s: A1, 5000
        1s ann repay o1 p202 no 5000               => o1 pendingPayment until 600s: A1, 5000
        1s ann pay o1 p201 ok 5000                 => o1 completed: A1, 5000, captured 5000
        1s ann pay o1 p201 no 5000                 => p201 known, o1 completed: A1, 5000, captured 5000
        1s ann pay o1 p7 ok 5000                   => o1 completed: A1, 5000, captured 10000, due 5000
        1s ann repeat 150 pay o1 p1000{} ok 5000   => o1 completed: A1, 5000, captured 760000, due 755000
        2s ann repeat 150 repay o1 p2000{} ok 5000 => o1 completed: A1, 5000, captured 760000, due 5000, refunded 750000
        2s ann repay o1 p202 no 5000               => o1 completed: A1, 5000, captured 760000, due 5000, refunded 750000
        2s ann repay o1 p202 ok 5000               => o1 completed: A1, 5000, captured 760000, refunded 755000
        2s ann repay o1 p203 ok 1                  => refused: 0 has to go back
    "#]]);
}

#[test]
fn a_late_success_books_again_when_wrong_money_is_owed() {
    check(expect![[r#"
        0s org sale passthrough payment=60s => created 1
        0s ann hold A1 A2                   => h1 of ann: A1 A2, 10000 until 300s
        1s ann order h1                     => o1 pendingPayment until 61s: A1 A2, 10000
        2s ann pay o1 p1 ok 9999            => o1 pendingPayment until 61s: A1 A2, 10000, captured 9999, due 9999
        3s ann pay o1 p2 ok 10000 USD       => o1 pendingPayment until 61s: A1 A2, 10000, captured 9999, due 9999, foreign 10000 USD refunded 0
        61s ann show o1                     => o1 refundDue: A1 A2, 10000, captured 9999, due 9999, foreign 10000 USD refunded 0
        62s ann pay o1 p3 ok 10000          => o1 completed: A1 A2, 10000, captured 19999, due 9999, foreign 10000 USD refunded 0
        62s ann show seats                  => A SS...... B ........ floor 0 held 0 sold of 10
        63s org repay o1 r4 ok 9999         => o1 completed: A1 A2, 10000, captured 19999, refunded 9999, foreign 10000 USD refunded 0
        64s org refund o1                   => o1 refundDue: , 10000, captured 19999, due 10000, refunded 9999, foreign 10000 USD refunded 0
        65s ann pay o1 p5 ok 10000          => o1 refundDue: , 10000, captured 29999, due 20000, refunded 9999, foreign 10000 USD refunded 0
        66s bob hold B1                     => h2 of bob: B1, 3000 until 366s
        66s bob order h2                    => o2 pendingPayment until 126s: B1, 3000
        66s bob pay o2 p6 ok 1              => o2 pendingPayment until 126s: B1, 3000, captured 1, due 1
        66s bob cancel o2                   => o2 refundDue: B1, 3000, captured 1, due 1
        66s org repay o2 r7 ok 1            => o2 refunded: B1, 3000, captured 1, refunded 1
        67s bob pay o2 p8 ok 3000           => o2 completed: B1, 3000, captured 3001, refunded 1
        67s bob show report                 => revenue 3000, captured 33000, due 20000, refunded 10000, 0 holds, orders: 1 completed, 1 refundDue
    "#]]);
}

/// Whoever reads why money has to go back reads what was so.
#[test]
fn money_that_has_to_go_back_says_why() {
    let mut world = World::new();
    let mut told = Vec::new();
    for (line, reason) in [
        ("0s org sale passthrough perbuyer=2", ""),
        ("0s ann hold A1", ""),
        ("0s ann order h1", ""),
        ("1s ann pay o1 p1 ok 4999", "the amount is not that of the order"),
        ("1s ann cancel o1", ""),
        ("2s bob hold A1", ""),
        ("2s ann pay o1 p2 ok 5000", "the seats were gone"),
        ("3s bob release h2", ""),
        ("3s ann hold B1 B2", ""),
        ("3s ann pay o1 p3 ok 5000", "the buyer has as many seats as the sale allows"),
        // The seats first: who may have no more would not get them anyway.
        ("4s bob hold A1", ""),
        ("4s ann pay o1 p4 ok 5000", "the seats were gone"),
        ("4s bob release h4", ""),
        ("4s ann release h3", ""),
        ("5s ann pay o1 p5 ok 5000", ""),
        ("5s ann pay o1 p6 ok 5000", "the order was paid already"),
        ("6s org refund o1", "asked"),
        ("6s ann pay o1 p7 ok 5000", "the order was refunded"),
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
        let events = world.shard.events(1, 100).unwrap();
        let reasons = events.into_iter().filter_map(|record| match record.event {
            Event::RefundDue { reason, .. } => Some(reason),
            _ => None,
        });
        told.extend((!reason.is_empty()).then_some(reason));
        assert_eq!(reasons.collect::<Vec<_>>(), told, "{line}");
    }
    let nothing = "refused: amount is out of bounds: 0 is not between 1 and 1000000000000000";
    assert_eq!(world.run("7s ann repay o1 r8 ok 0"), nothing);
    assert_eq!(world.run("7s ann repay o1 r8 no 0"), nothing);
}

/// An order names few of its payments. The others are known all the same, up to a number that no provider reaches.
#[test]
fn an_order_that_is_paid_without_end_stays_small() {
    check(expect![[r#"
        0s org sale passthrough                    => created 1
        0s ann hold A1                             => h1 of ann: A1, 5000 until 300s
        0s ann order h1                            => o1 pendingPayment until 600s: A1, 5000
        1s ann pay o1 p6 no 5000                   => o1 pendingPayment until 600s: A1, 5000
        1s ann repeat 249 pay o1 p1000{} ok 5000   => o1 completed: A1, 5000, captured 1245000, due 1240000
        1s ann pay o1 p6 ok 5000                   => o1 completed: A1, 5000, captured 1250000, due 1245000
        1s ann pay o1 p7 ok 5000                   => refused: payments of the order are at their bound
        1s ann pay o1 p7 no 5000                   => o1 completed: A1, 5000, captured 1250000, due 1245000
        1s ann pay o1 p6 ok 5000                   => p6 known, o1 completed: A1, 5000, captured 1250000, due 1245000
        2s org restart                             => restarted
        2s ann pay o1 p10001 ok 5000               => p10001 known, o1 completed: A1, 5000, captured 1250000, due 1245000
        2s ann pay o1 p10001 no 7                  => p10001 known, o1 completed: A1, 5000, captured 1250000, due 1245000
        2s ann pay o1 p10001 ok 4999               => refused: the payment id was used before with another content
        2s org repay o1 p10001 ok 5000             => refused: the payment id was used before with another content
        3s org repeat 250 repay o1 p2000{} ok 4000 => o1 completed: A1, 5000, captured 1250000, due 245000, refunded 1000000
        3s org repay o1 p8 ok 4000                 => refused: refunds of the order are at their bound
        3s org repay o1 p8 no 4000                 => o1 completed: A1, 5000, captured 1250000, due 245000, refunded 1000000
        3s org repay o1 p20001 ok 4000             => p20001 known, o1 completed: A1, 5000, captured 1250000, due 245000, refunded 1000000
        3s org repay o1 p20001 ok 4001             => refused: the payment id was used before with another content
        3s ann pay o1 p20001 ok 4000               => refused: the payment id was used before with another content
        3s org show report                         => revenue 5000, captured 1250000, due 245000, refunded 1000000, 0 holds, orders: 1 completed
    "#]]);

    let mut world = World::new();
    for line in ["0s org sale passthrough", "0s ann hold A1", "0s ann order h1"] {
        world.run(line);
    }
    let (mut lens, mut order_lens) = (Vec::new(), Vec::new());
    for number in 100..300 {
        world.run(&format!("1s ann pay o1 p{number} ok 5000"));
        let query = ShardQuery::Order(OrderId::new(GROUP, 1));
        let ShardAnswer::Order(Some(order)) = world.shard.query(&query) else { panic!("it was made") };
        order_lens.push(order.payments.len());
        lens.push(codec::encode(&order).len());
    }
    assert_eq!(order_lens.iter().max(), Some(&3));
    // But for the sums, which have more digits.
    assert!(lens[199] <= lens[2] + 12, "{lens:?}");
}

#[test]
fn an_order_is_paid_in_so_many_currencies_and_no_more() {
    let mut world = World::new();
    for line in ["0s org sale passthrough", "0s ann hold A1", "0s ann order h1"] {
        world.run(line);
    }
    let currency = |number: u8| format!("X{}{}", char::from(b'A' + number / 26), char::from(b'A' + number % 26));
    for number in 0..200 {
        let answer = world.run(&format!("1s ann pay o1 p1{number} ok 5 {}", currency(number)));
        assert!(answer.starts_with("o1 "), "{answer}");
    }
    let full = "refused: currencies of the order are at their bound";
    assert_eq!(world.run(&format!("1s ann pay o1 p2000 ok 5 {}", currency(200))), full);
    for line in ["p2000 ok 5 XAA", "p2001 ok 4999", "p2002 ok 5000"] {
        assert!(world.run(&format!("2s ann pay o1 {line}")).starts_with("o1 "), "{line}");
    }
}

#[test]
fn a_buyer_makes_so_many_orders_and_no_more() {
    let mut world = World::new();
    world.run("0s org sale passthrough perbuyer=2");
    for number in 1..=12 {
        assert!(!world.run("1s ann hold A1").starts_with("refused"));
        assert!(!world.run(&format!("1s ann order h{number}")).starts_with("refused"));
        assert!(!world.run(&format!("1s ann cancel o{number}")).starts_with("refused"));
    }
    assert!(world.run("1s ann hold A1").starts_with("h13"));
    assert_eq!(world.run("1s ann order h13"), "refused: orders of the buyer are at their bound");
    world.run("1s org restart");
    assert_eq!(world.run("1s ann order h13"), "refused: orders of the buyer are at their bound");
    // Others are not concerned, and a sale that allows more seats allows more orders.
    assert!(world.run("1s bob hold A2").starts_with("h14"));
    assert!(world.run("1s bob order h14").starts_with("o13"));
    world.run("1s org update perbuyer=3");
    assert!(world.run("1s ann order h13").starts_with("o14"));
}

/// A debt of nothing could never be settled, and there would be no end of them.
#[test]
fn nothing_is_owed_when_nothing_was_taken() {
    check(expect![[r#"
        0s org sale passthrough   => created 1
        0s ann hold A1            => h1 of ann: A1, 5000 until 300s
        0s ann order h1           => o1 pendingPayment until 600s: A1, 5000
        1s ann show events        => showtimes.created queue.opened inventory.hold.created orders.created
        2s ann pay o1 p1 ok 0     => refused: amount is out of bounds: 0 pays for nothing but a free order, in its currency
        2s ann pay o1 p1 ok 0 USD => refused: amount is out of bounds: 0 pays for nothing but a free order, in its currency
        2s ann pay o1 p1 no 0     => o1 pendingPayment until 600s: A1, 5000
        2s ann pay o1 p1 ok 0     => refused: amount is out of bounds: 0 pays for nothing but a free order, in its currency
        3s ann show events        => payments.failed
    "#]]);
    check(expect![[r#"
        0s org sale passthrough price=0 payment=60s => created 1
        0s ann hold A1 A2                           => h1 of ann: A1 A2, 0 until 300s
        0s ann order h1                             => o1 pendingPayment until 60s: A1 A2, 0
        1s ann pay o1 p1 ok 0 USD                   => refused: amount is out of bounds: 0 pays for nothing but a free order, in its currency
        1s ann pay o1 p1 ok 0                       => o1 completed: A1 A2, 0
        1s ann show events                          => showtimes.created queue.opened inventory.hold.created orders.created payments.succeeded inventory.seats.purchased orders.completed
        2s ann pay o1 p1 ok 0                       => p1 known, o1 completed: A1 A2, 0
        2s ann pay o1 p2 ok 0                       => o1 completed: A1 A2, 0
        2s ann pay o1 p3 ok 7                       => o1 completed: A1 A2, 0, captured 7, due 7
        2s ann show events                          => payments.succeeded payments.refund.due
        3s org refund o1 A1                         => o1 completed: A2, 0, captured 7, due 7
        3s ann repay o1 r4 ok 7                     => o1 completed: A2, 0, captured 7, refunded 7
        3s org refund o1                            => o1 refunded: , 0, captured 7, refunded 7
        3s ann pay o1 p5 ok 0                       => o1 refunded: , 0, captured 7, refunded 7
        3s ann show events                          => inventory.seats.released payments.refunded inventory.seats.released
        4s bob hold B1                              => h2 of bob: B1, 0 until 304s
        4s bob order h2                             => o2 pendingPayment until 64s: B1, 0
        65s cat hold B1                             => h3 of cat: B1, 0 until 365s
        66s bob pay o2 p6 ok 0                      => o2 expired: B1, 0
        67s cat release h3                          => done
        67s bob pay o2 p6 ok 0                      => o2 completed: B1, 0
    "#]]);
}

/// What succeeds under the id of a failure is news: it is named as what came last, and not forgotten before what came before.
#[test]
fn a_success_after_a_failure_is_named_as_the_newest() {
    let mut world = World::new();
    for line in [
        "0s org sale passthrough",
        "1s b hold A1",
        "1s b order h1",
        "2s b pay o1 p1 no 5000",
        "3s b pay o1 p2 ok 100",
        "4s b pay o1 p3 ok 100",
        "5s b pay o1 p4 ok 100",
        "6s b pay o1 p1 ok 5000",
        "7s b repay o1 r5 no 100",
        "8s b repay o1 r6 ok 100",
        "9s b repay o1 r5 ok 100",
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
        world.shard.audit().unwrap();
    }
    let ShardAnswer::Order(Some(order)) = world.shard.query(&ShardQuery::Order(OrderId::new(GROUP, 1))) else {
        panic!()
    };
    let named: Vec<_> = order.payments.iter().map(|payment| (payment.payment.0, payment.at.0 / 1_000)).collect();
    assert_eq!(named, [(1, 6), (6, 8), (5, 9)]);
}

//! The line: joining, calling, claiming, leaving, pausing.

use super::check;
use expect_test::expect;

#[test]
fn buyers_are_called_in_join_order_within_the_room() {
    check(expect![[r#"
        0s org sale fifo rate=6000 room=2 => created 1
        0s ann join                       => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join                       => #2 waiting, place 2, 1 ahead, eta 1s
        0s cat join                       => #3 waiting, place 3, 2 ahead, eta 1s
        0s dan join                       => #4 waiting, place 4, 3 ahead, eta 1s
        0s ann show line                  => open, 4 joined, 0 entrants, cursor 1, 1 active
        0s cat claim                      => refused: the ticket is not called yet, 2 ahead
        1s ann claim                      => #1 shopping until 601s, place 1, 0 ahead
        1s ann claim                      => #1 shopping until 601s, place 1, 0 ahead
        2s ann leave                      => done
        2s cat show ticket                => #3 called, place 3, 0 ahead, claim by 122s
        2s cat claim                      => #3 shopping until 602s, place 3, 0 ahead
        2s dan show ticket                => #4 waiting, place 4, 1 ahead, eta 1s
        2s ann join                       => #1 left, place 1, 0 ahead (as before)
        120s bob show ticket              => #2 called, place 2, 0 ahead, claim by 121s
        120s dan show ticket              => #4 waiting, place 4, 1 ahead, eta 60s
        121s bob claim                    => refused: the ticket is over
        121s dan show line                => open, 4 joined, 0 entrants, cursor 4, 2 active
        121s dan show events              => showtimes.created queue.opened queue.joined queue.admitted queue.joined queue.joined queue.joined queue.admitted queue.claimed queue.left queue.admitted queue.claimed queue.unclaimed queue.admitted
    "#]]);
}

#[test]
fn the_rate_is_kept_exactly() {
    check(expect![[r#"
        0s org sale fifo rate=60 room=100 opens=10s prequeue=0s => created 1
        1s ann join                                             => #1 prequeue
        1s bob join                                             => #2 prequeue
        1s cat join                                             => #3 prequeue
        9s ann show line                                        => prequeue, 3 joined, 0 entrants, cursor 0, 0 active
        9s ann claim                                            => refused: the line is prequeue
        10s ann show line                                       => open, 3 joined, 3 entrants, cursor 1, 1 active
        10s ann show due                                        => due at 11s
        10999ms ann show line                                   => open, 3 joined, 3 entrants, cursor 1, 1 active
        11s ann show line                                       => open, 3 joined, 3 entrants, cursor 2, 2 active
        11500ms org update rate=120                             => updated
        11750ms org show line                                   => open, 3 joined, 3 entrants, cursor 3, 3 active
        11750ms org show due                                    => due at 130s
    "#]]);
}

#[test]
fn credit_does_not_pile_up_while_nobody_waits() {
    check(expect![[r#"
        0s org sale fifo rate=120 room=100 => created 1
        600s ann join                      => #1 called, place 1, 0 ahead, claim by 720s
        600s bob join                      => #2 waiting, place 2, 1 ahead, eta 1s
        600s cat join                      => #3 waiting, place 3, 2 ahead, eta 1s
        600s cat show line                 => open, 3 joined, 0 entrants, cursor 1, 1 active
        600500ms cat show line             => open, 3 joined, 0 entrants, cursor 3, 3 active
        600500ms cat show due              => due at 720s
    "#]]);
}

#[test]
fn a_session_ends_by_time_and_its_holds_live_on() {
    check(expect![[r#"
        0s org sale fifo room=1 session=60s => created 1
        0s ann join                         => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join                         => #2 waiting, place 2, 1 ahead, eta 1s
        0s ann claim                        => #1 shopping until 60s, place 1, 0 ahead
        30s ann hold A1                     => h1 of ann: A1, 5000 until 330s
        60s ann hold A2                     => refused: the ticket has not been admitted
        60s ann show ticket                 => #1 expired, place 1, 0 ahead
        60s bob show ticket                 => #2 called, place 2, 0 ahead, claim by 180s
        60s ann show h1                     => h1 of ann: A1, 5000 until 330s
        60s ann order h1                    => o1 pendingPayment until 660s: A1, 5000
        61s ann pay o1 p1 ok 5000           => o1 completed: A1, 5000, captured 5000
        61s ann show ticket                 => #1 expired, place 1, 0 ahead
        61s ann show events                 => showtimes.created queue.opened queue.joined queue.admitted queue.joined queue.claimed inventory.hold.created queue.expired queue.admitted orders.created payments.succeeded inventory.seats.purchased orders.completed
    "#]]);
}

#[test]
fn a_session_with_a_purchase_that_runs_out_is_done() {
    check(expect![[r#"
        0s org sale fifo room=1 session=60s => created 1
        0s ann join                         => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join                         => #2 waiting, place 2, 1 ahead, eta 1s
        0s ann claim                        => #1 shopping until 60s, place 1, 0 ahead
        1s ann hold A1                      => h1 of ann: A1, 5000 until 301s
        1s ann hold A2                      => h2 of ann: A2, 5000 until 301s
        1s ann order h1                     => o1 pendingPayment until 601s: A1, 5000
        1s ann pay o1 p1 ok 5000            => o1 completed: A1, 5000, captured 5000
        59s ann show ticket                 => #1 shopping until 60s, place 1, 0 ahead
        60s ann show ticket                 => #1 done, place 1, 0 ahead
        60s bob show ticket                 => #2 called, place 2, 0 ahead, claim by 180s
        60s ann show h2                     => h2 of ann: A2, 5000 until 301s
        60s ann hold A3                     => refused: the ticket has not been admitted
        61s ann release h2                  => done
        61s ann show ticket                 => #1 done, place 1, 0 ahead
        61s org show report                 => revenue 5000, captured 5000, due 0, refunded 0, 0 holds, orders: 1 completed
        61s ann show events                 => showtimes.created queue.opened queue.joined queue.admitted queue.joined queue.claimed inventory.hold.created inventory.hold.created orders.created payments.succeeded inventory.seats.purchased orders.completed queue.done queue.admitted inventory.hold.released
    "#]]);
}

#[test]
fn a_purchase_ends_the_admission_unless_something_is_left_to_pay() {
    check(expect![[r#"
        0s org sale fifo room=1  => created 1
        0s ann join              => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join              => #2 waiting, place 2, 1 ahead, eta 1s
        0s ann claim             => #1 shopping until 600s, place 1, 0 ahead
        0s ann hold A1           => h1 of ann: A1, 5000 until 300s
        0s ann hold A2           => h2 of ann: A2, 5000 until 300s
        1s ann order h1          => o1 pendingPayment until 601s: A1, 5000
        1s ann pay o1 p1 ok 5000 => o1 completed: A1, 5000, captured 5000
        1s ann show ticket       => #1 shopping until 600s, place 1, 0 ahead
        2s ann order h2          => o2 pendingPayment until 602s: A2, 5000
        2s ann pay o2 p2 ok 5000 => o2 completed: A2, 5000, captured 5000
        2s ann show ticket       => #1 done, place 1, 0 ahead
        2s ann hold A3           => refused: the ticket has not been admitted
        2s bob show ticket       => #2 called, place 2, 0 ahead, claim by 122s
    "#]]);
}

#[test]
fn an_offer_is_nothing_left_to_pay_of_the_admission() {
    check(expect![[r#"
        0s org sale fifo room=2 waitlist=yes perhold=8 perbuyer=10 => created 1
        0s ann join                                                => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                                               => #1 shopping until 600s, place 1, 0 ahead
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                        => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 300s
        1s bob join                                                => #2 called, place 2, 0 ahead, claim by 121s
        1s bob claim                                               => #2 shopping until 601s, place 2, 0 ahead
        1s bob hold B1                                             => h2 of bob: B1, 3000 until 301s
        1s bob waitlist 1 category=front                           => w1 with 0 ahead
        2s ann release h1                                          => done
        2s bob show w1                                             => w1 offered h3
        2s bob order h2                                            => o1 pendingPayment until 602s: B1, 3000
        2s bob pay o1 p1 ok 3000                                   => o1 completed: B1, 3000, captured 3000
        2s bob show ticket                                         => #2 done, place 2, 0 ahead
        3s bob order h3                                            => o2 pendingPayment until 603s: A4, 5000
        3s bob pay o2 p2 ok 5000                                   => o2 completed: A4, 5000, captured 5000
    "#]]);
}

#[test]
fn an_offer_that_was_bought_does_not_end_the_admission() {
    check(expect![[r#"
        0s org sale fifo room=2 waitlist=yes perhold=8 perbuyer=10 => created 1
        0s ann join                                                => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                                               => #1 shopping until 600s, place 1, 0 ahead
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                        => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 300s
        1s bob join                                                => #2 called, place 2, 0 ahead, claim by 121s
        1s bob claim                                               => #2 shopping until 601s, place 2, 0 ahead
        1s bob hold B1                                             => h2 of bob: B1, 3000 until 301s
        1s bob waitlist 1 category=front                           => w1 with 0 ahead
        2s ann release h1                                          => done
        2s bob order h3                                            => o1 pendingPayment until 602s: A4, 5000
        2s bob pay o1 p1 ok 5000                                   => o1 completed: A4, 5000, captured 5000
        2s bob release h2                                          => done
        2s bob show ticket                                         => #2 shopping until 601s, place 2, 0 ahead
    "#]]);
}

/// A payment that comes after the order has expired, and books its seats again, is a purchase like any other.
#[test]
fn a_late_payment_that_books_again_ends_the_admission() {
    check(expect![[r#"
        0s org sale fifo room=1 payment=10s => created 1
        1s ann join                         => #1 called, place 1, 0 ahead, claim by 121s
        1s ann claim                        => #1 shopping until 601s, place 1, 0 ahead
        1s bob join                         => #2 waiting, place 2, 1 ahead, eta 1s
        2s ann hold A1                      => h1 of ann: A1, 5000 until 302s
        2s ann order h1                     => o1 pendingPayment until 12s: A1, 5000
        13s ann show o1                     => o1 expired: A1, 5000
        13s org restart                     => restarted
        14s ann pay o1 p1 ok 5000           => o1 completed: A1, 5000, captured 5000
        14s ann show ticket                 => #1 done, place 1, 0 ahead
        14s bob show ticket                 => #2 called, place 2, 0 ahead, claim by 134s
    "#]]);
    // Another hold of the ticket is something left to pay.
    check(expect![[r#"
        0s org sale fifo room=1 payment=10s => created 1
        1s ann join                         => #1 called, place 1, 0 ahead, claim by 121s
        1s ann claim                        => #1 shopping until 601s, place 1, 0 ahead
        2s ann hold A1                      => h1 of ann: A1, 5000 until 302s
        2s ann order h1                     => o1 pendingPayment until 12s: A1, 5000
        3s ann hold A3                      => h2 of ann: A3, 5000 until 303s
        14s ann pay o1 p1 ok 5000           => o1 completed: A1, 5000, captured 5000
        14s ann show ticket                 => #1 shopping until 601s, place 1, 0 ahead
        15s ann release h2                  => done
        15s ann show ticket                 => #1 done, place 1, 0 ahead
    "#]]);
    // What was offered by the waitlist is not bought with the ticket, early or late.
    check(expect![[r#"
        0s org sale fifo room=2 payment=10s waitlist=yes perhold=8 perbuyer=10 => created 1
        0s ann join                                                            => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                                                           => #1 shopping until 600s, place 1, 0 ahead
        0s ann hold A1 A2 A3 A4 A5 A6 A7 A8                                    => h1 of ann: A1 A2 A3 A4 A5 A6 A7 A8, 40000 until 300s
        1s bob join                                                            => #2 called, place 2, 0 ahead, claim by 121s
        1s bob claim                                                           => #2 shopping until 601s, place 2, 0 ahead
        1s bob waitlist 1 category=front                                       => w1 with 0 ahead
        2s ann release h1                                                      => done
        2s bob order h2                                                        => o1 pendingPayment until 12s: A4, 5000
        14s bob pay o1 p1 ok 5000                                              => o1 completed: A4, 5000, captured 5000
        14s bob show ticket                                                    => #2 shopping until 601s, place 2, 0 ahead
    "#]]);
    // A session that is over stays what it was.
    check(expect![[r#"
        0s org sale fifo room=1 payment=10s session=60s => created 1
        1s ann join                                     => #1 called, place 1, 0 ahead, claim by 121s
        1s ann claim                                    => #1 shopping until 61s, place 1, 0 ahead
        2s ann hold A1                                  => h1 of ann: A1, 5000 until 302s
        2s ann order h1                                 => o1 pendingPayment until 12s: A1, 5000
        70s ann pay o1 p1 ok 5000                       => o1 completed: A1, 5000, captured 5000
        70s ann show ticket                             => #1 expired, place 1, 0 ahead
    "#]]);
}

#[test]
fn after_a_purchase_the_last_hold_to_go_ends_the_admission() {
    check(expect![[r#"
        0s org sale fifo room=1 session=2000s => created 1
        0s ann join                           => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join                           => #2 waiting, place 2, 1 ahead, eta 1s
        0s ann claim                          => #1 shopping until 2000s, place 1, 0 ahead
        0s ann hold A1                        => h1 of ann: A1, 5000 until 300s
        0s ann hold A2                        => h2 of ann: A2, 5000 until 300s
        1s ann order h1                       => o1 pendingPayment until 601s: A1, 5000
        1s ann pay o1 p1 ok 5000              => o1 completed: A1, 5000, captured 5000
        1s ann show ticket                    => #1 shopping until 2000s, place 1, 0 ahead
        1s org restart                        => restarted
        2s ann release h2                     => done
        2s ann show ticket                    => #1 done, place 1, 0 ahead
        2s bob show ticket                    => #2 called, place 2, 0 ahead, claim by 122s
        2s bob show events                    => showtimes.created queue.opened queue.joined queue.admitted queue.joined queue.claimed inventory.hold.created inventory.hold.created orders.created payments.succeeded inventory.seats.purchased orders.completed inventory.hold.released queue.done queue.admitted
    "#]]);
    check(expect![[r#"
        0s org sale fifo room=1 session=2000s => created 1
        0s ann join                           => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                          => #1 shopping until 2000s, place 1, 0 ahead
        0s ann hold A1                        => h1 of ann: A1, 5000 until 300s
        0s ann hold A2                        => h2 of ann: A2, 5000 until 300s
        1s ann order h1                       => o1 pendingPayment until 601s: A1, 5000
        1s ann pay o1 p1 ok 5000              => o1 completed: A1, 5000, captured 5000
        299s ann show ticket                  => #1 shopping until 2000s, place 1, 0 ahead
        300s ann show ticket                  => #1 done, place 1, 0 ahead
    "#]]);
    check(expect![[r#"
        0s org sale fifo room=1 session=2000s => created 1
        0s ann join                           => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                          => #1 shopping until 2000s, place 1, 0 ahead
        0s ann hold A1                        => h1 of ann: A1, 5000 until 300s
        0s ann hold A2                        => h2 of ann: A2, 5000 until 300s
        0s ann hold A3                        => h3 of ann: A3, 5000 until 300s
        1s ann order h1                       => o1 pendingPayment until 601s: A1, 5000
        1s ann order h2                       => o2 pendingPayment until 601s: A2, 5000
        1s ann order h3                       => o3 pendingPayment until 601s: A3, 5000
        1s ann pay o1 p1 ok 5000              => o1 completed: A1, 5000, captured 5000
        2s ann cancel o2                      => o2 canceled: A2, 5000
        2s ann show ticket                    => #1 shopping until 2000s, place 1, 0 ahead
        601s ann show ticket                  => #1 done, place 1, 0 ahead
        601s ann show events                  => showtimes.created queue.opened queue.joined queue.admitted queue.claimed inventory.hold.created inventory.hold.created inventory.hold.created orders.created orders.created orders.created payments.succeeded inventory.seats.purchased orders.completed orders.canceled inventory.hold.released orders.expired inventory.hold.expired queue.done
    "#]]);
    check(expect![[r#"
        0s org sale fifo room=1 session=2000s => created 1
        0s ann join                           => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                          => #1 shopping until 2000s, place 1, 0 ahead
        0s ann hold A1                        => h1 of ann: A1, 5000 until 300s
        0s ann hold A2                        => h2 of ann: A2, 5000 until 300s
        1s ann order h1                       => o1 pendingPayment until 601s: A1, 5000
        1s ann order h2                       => o2 pendingPayment until 601s: A2, 5000
        1s ann pay o1 p1 ok 5000              => o1 completed: A1, 5000, captured 5000
        2s ann cancel o2                      => o2 canceled: A2, 5000
        2s ann show ticket                    => #1 done, place 1, 0 ahead
    "#]]);
    check(expect![[r#"
        0s org sale fifo room=1 session=100s => created 1
        0s ann join                          => #1 called, place 1, 0 ahead, claim by 120s
        0s ann claim                         => #1 shopping until 100s, place 1, 0 ahead
        0s ann hold A1                       => h1 of ann: A1, 5000 until 300s
        0s ann hold A2                       => h2 of ann: A2, 5000 until 300s
        1s ann order h1                      => o1 pendingPayment until 601s: A1, 5000
        1s ann pay o1 p1 ok 5000             => o1 completed: A1, 5000, captured 5000
        100s ann show ticket                 => #1 done, place 1, 0 ahead
        101s ann release h2                  => done
        101s ann show ticket                 => #1 done, place 1, 0 ahead
    "#]]);
}

#[test]
fn leaving_frees_the_slot_and_the_holds() {
    check(expect![[r#"
        0s org sale fifo room=1 => created 1
        0s ann join             => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join             => #2 waiting, place 2, 1 ahead, eta 1s
        0s cat join             => #3 waiting, place 3, 2 ahead, eta 1s
        0s bob leave            => done
        0s bob leave            => done
        0s bob join             => #2 left, place 2, 1 ahead (as before)
        1s ann claim            => #1 shopping until 601s, place 1, 0 ahead
        1s ann hold A1 A2       => h1 of ann: A1 A2, 10000 until 301s
        1s ann hold A3          => h2 of ann: A3, 5000 until 301s
        1s ann order h2         => o1 pendingPayment until 601s: A3, 5000
        2s ann leave            => done
        2s ann show seats       => A ..h..... B ........ floor 0 held 0 sold of 10
        2s cat show ticket      => #3 called, place 3, 0 ahead, claim by 122s
        2s cat show line        => open, 3 joined, 0 entrants, cursor 3, 1 active
    "#]]);
}

#[test]
fn pausing_stops_calls_but_not_shoppers() {
    check(expect![[r#"
        0s org sale fifo room=1 => created 1
        0s ann join             => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join             => #2 waiting, place 2, 1 ahead, eta 1s
        0s org pause            => done
        0s org pause            => done
        1s ann claim            => #1 shopping until 601s, place 1, 0 ahead
        1s ann hold A1          => h1 of ann: A1, 5000 until 301s
        2s ann leave            => done
        2s bob show ticket      => #2 waiting, place 2, 1 ahead
        2s org show due         => due at 120s
        2s dan join             => #3 waiting, place 3, 2 ahead
        3s org resume           => done
        3s bob show ticket      => #2 called, place 2, 0 ahead, claim by 123s
        4s org close            => done
        4s org close            => done
        4s org resume           => refused: the line is closed
        4s bob claim            => refused: the line is closed
        4s bob join             => #2 called, place 2, 0 ahead, claim by 123s (as before)
        4s eve join             => refused: the line is closed
        4s org show events      => showtimes.created queue.opened queue.joined queue.admitted queue.joined queue.paused queue.claimed inventory.hold.created queue.left inventory.hold.released queue.joined queue.resumed queue.admitted queue.closed
    "#]]);
}

#[test]
fn the_schedule_is_kept_by_log_time() {
    check(expect![[r#"
        0s org sale fifo prequeue=10s opens=20s closes=30s => created 1
        5s ann join                                        => refused: the line is scheduled
        10s ann join                                       => #1 prequeue
        10s ann show line                                  => prequeue, 1 joined, 0 entrants, cursor 0, 0 active
        19s org show due                                   => due at 20s
        20s ann show ticket                                => #1 called, place 1, 0 ahead, claim by 140s
        29s org update opens=40s                           => refused: closesAt is out of bounds: prequeueAt, opensAt and closesAt must follow each other
        29s org update closes=35s                          => updated
        30s bob join                                       => #2 called, place 2, 0 ahead, claim by 150s
        35s cat join                                       => refused: the line is closed
        35s org show line                                  => closed, 2 joined, 1 entrants, cursor 2, 2 active
        35s org update closes=50s                          => refused: closesAt is out of bounds: it is too late to change it
        35s org show due                                   => due at 140s
    "#]]);
}

#[test]
fn opening_by_command_forgets_the_schedule() {
    check(expect![[r#"
        0s org sale fifo opens=never  => created 1
        0s ann join                   => refused: the line is scheduled
        1s org pause                  => refused: the line is scheduled
        1s org open                   => done
        1s org open                   => done
        1s ann join                   => #1 called, place 1, 0 ahead, claim by 121s
        1s org show due               => due at 121s
        1s org message doors at seven => done
        1s org message doors at seven => done
        1s org show line              => open, 1 joined, 0 entrants, cursor 1, 1 active, message "doors at seven"
        1s org message                => done
        1s org show events            => showtimes.created queue.opened queue.joined queue.admitted queue.message queue.message
        1s ann show events            => 
    "#]]);
}

#[test]
fn a_clock_behind_never_runs_time_backwards() {
    check(expect![[r#"
        10s org sale passthrough hold=5s => created 1
        10s ann hold A1                  => h1 of ann: A1, 5000 until 15s
        3s bob hold A2                   => h2 of bob: A2, 5000 until 15s
        15s bob show seats               => A ........ B ........ floor 0 held 0 sold of 10
    "#]]);
}

#[test]
fn admission_steps_have_a_floor_between_them() {
    check(expect![[r#"
        0s org sale fifo rate=60000 room=1 => created 1
        0s ann join                        => #1 called, place 1, 0 ahead, claim by 120s
        0s bob join                        => #2 waiting, place 2, 1 ahead, eta 1s
        0s cat join                        => #3 waiting, place 3, 2 ahead, eta 1s
        5ms ann leave                      => done
        5ms bob show ticket                => #2 waiting, place 2, 1 ahead, eta 1s
        5ms bob show due                   => due at 20ms
        20ms bob show ticket               => #2 called, place 2, 0 ahead, claim by 120020ms
        25ms bob leave                     => done
        25ms bob show due                  => due at 40ms
        40ms cat show ticket               => #3 called, place 3, 0 ahead, claim by 120040ms
    "#]]);
}

/// The promise of [`Admission`](crate::Admission), checked on what was really called.
#[test]
fn rate_and_room_are_never_exceeded() {
    use super::hostile::created;
    use super::*;
    for (rate, room) in [(1, 5), (59, 3), (60, 1_000), (601, 50), (6_000, 7), (60_000, 400), (6_000_000, 100_000)] {
        let admission = Admission { rate_per_minute: rate, active_max: room, ..Admission::default() };
        let sale = Sale { method: Method::Fifo, opens_at: Some(Timestamp(0)), admission, ..Sale::default() };
        let mut shard = Shard::new(GROUP);
        let ask = |shard: &mut Shard, at: u64, command: ShardCommand| {
            shard.apply(Timestamp(at), &[Envelope { request: None, command }]);
            let ShardAnswer::Showtime(Some(view)) = shard.query(&ShardQuery::Showtime(showtime_id())) else { panic!() };
            assert!(view.active <= u64::from(room));
            view.cursor
        };
        ask(&mut shard, 0, created(sale));
        let (mut at, mut state, mut called) = (0_u64, 7_u64, vec![(0_u64, 0_u64)]);
        for user in 1..700_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            at += [0, 0, 1, 20, 333, 5_000, 130_000][(state >> 61) as usize % 7];
            let (showtime, user) = (showtime_id(), UserId(user.into()));
            let due = shard.next_due().map_or(at, |due| due.0.max(at));
            let cursor = match state >> 40 & 3 {
                0 => {
                    let ticket = TicketNumber((state >> 20) % called.len() as u64);
                    ask(
                        &mut shard,
                        at,
                        ShardCommand::LeaveQueue(LeaveQueue { showtime, user: UserId(ticket.0.into()), ticket }),
                    )
                }
                1 => ask(&mut shard, due, ShardCommand::Tick),
                _ => ask(&mut shard, at, ShardCommand::JoinQueue(JoinQueue { showtime, user })),
            };
            at = shard.now().0;
            called.push((at, cursor));
        }
        let burst = u64::from(rate / 60).max(1);
        for (index, &(from, before)) in called.iter().enumerate() {
            for &(to, after) in &called[index..] {
                let (span, count) = (to - from, after - before);
                let bound = u128::from(rate) * u128::from(span) + u128::from(burst + 1) * 60_000;
                assert!(u128::from(count) * 60_000 < bound, "{count} called in {span} ms at {rate} a minute");
            }
        }
        assert!(called.last().unwrap().1 > 5, "hardly anybody was called");
    }
}

#[test]
fn changing_the_room_takes_effect_exactly() {
    check(expect![[r#"
        0s org sale fifo rate=60000 room=2 => created 1
        0s a join                          => #1 called, place 1, 0 ahead, claim by 120s
        0s b join                          => #2 waiting, place 2, 1 ahead, eta 1s
        0s c join                          => #3 waiting, place 3, 2 ahead, eta 1s
        0s d join                          => #4 waiting, place 4, 3 ahead, eta 1s
        0s e join                          => #5 waiting, place 5, 4 ahead, eta 1s
        1s org show line                   => open, 5 joined, 0 entrants, cursor 2, 2 active
        1s a claim                         => #1 shopping until 601s, place 1, 0 ahead
        2s org update room=3               => updated
        2s org show line                   => open, 5 joined, 0 entrants, cursor 3, 3 active
        3s org update room=1               => updated
        3s org show line                   => open, 5 joined, 0 entrants, cursor 3, 3 active
        3s a leave                         => done
        3s org show line                   => open, 5 joined, 0 entrants, cursor 3, 2 active
        120s org show line                 => open, 5 joined, 0 entrants, cursor 3, 2 active
        120s org show due                  => due at 121s
        121s org update room=4             => updated
        121s org show line                 => open, 5 joined, 0 entrants, cursor 5, 3 active
    "#]]);
}

#[test]
fn changing_the_rate_takes_effect_exactly() {
    check(expect![[r#"
        0s org sale fifo rate=60 room=100 opens=10s prequeue=0s => created 1
        1s a join                                               => #1 prequeue
        1s b join                                               => #2 prequeue
        1s c join                                               => #3 prequeue
        1s d join                                               => #4 prequeue
        1s e join                                               => #5 prequeue
        1s f join                                               => #6 prequeue
        10s org show line                                       => open, 6 joined, 6 entrants, cursor 1, 1 active
        10500ms org update rate=30                              => updated
        10500ms org show due                                    => due at 11500ms
        11499ms org show line                                   => open, 6 joined, 6 entrants, cursor 1, 1 active
        11500ms org show line                                   => open, 6 joined, 6 entrants, cursor 2, 2 active
        11500ms org show due                                    => due at 13500ms
        12s org update rate=6000                                => updated
        12s org show due                                        => due at 12008ms
        12008ms org show line                                   => open, 6 joined, 6 entrants, cursor 3, 3 active
        12027ms org show line                                   => open, 6 joined, 6 entrants, cursor 3, 3 active
        12028ms org show line                                   => open, 6 joined, 6 entrants, cursor 5, 5 active
    "#]]);
}

#[test]
fn the_wait_is_told_by_the_rate_really_achieved() {
    check(expect![[r#"
        0s org sale fifo rate=60 room=2 opens=10s prequeue=0s claim=1000s => created 1
        1s a join                                                         => #1 prequeue
        1s b join                                                         => #2 prequeue
        1s c join                                                         => #3 prequeue
        1s d join                                                         => #4 prequeue
        1s e join                                                         => #5 prequeue
        1s f join                                                         => #6 prequeue
        1s g join                                                         => #7 prequeue
        1s h join                                                         => #8 prequeue
        1s i join                                                         => #9 prequeue
        1s j join                                                         => #10 prequeue
        1s k join                                                         => #11 prequeue
        1s l join                                                         => #12 prequeue
        2s l show ticket                                                  => #12 prequeue
        10s l show ticket                                                 => #12 waiting, place 12, 11 ahead, eta 11s
        14999ms l show ticket                                             => #12 waiting, place 12, 10 ahead, eta 25s
        15s l show ticket                                                 => #12 waiting, place 12, 10 ahead, eta 25s
        20s l show ticket                                                 => #12 waiting, place 12, 10 ahead, eta 50s
        21s a leave                                                       => done
        21s l show ticket                                                 => #12 waiting, place 12, 9 ahead, eta 33s
        31s b leave                                                       => done
        31s l show ticket                                                 => #12 waiting, place 12, 8 ahead, eta 42s
        41s c leave                                                       => done
        41s l show ticket                                                 => #12 waiting, place 12, 7 ahead, eta 44s
        42s org pause                                                     => done
        42s l show ticket                                                 => #12 waiting, place 12, 7 ahead
        600s org resume                                                   => done
        600s l show ticket                                                => #12 waiting, place 12, 7 ahead, eta 7s
        600s d leave                                                      => done
        600s l show ticket                                                => #12 waiting, place 12, 6 ahead, eta 6s
        610s e leave                                                      => done
        610s l show ticket                                                => #12 waiting, place 12, 5 ahead, eta 25s
        611s org update rate=6                                            => updated
        611s l show ticket                                                => #12 waiting, place 12, 5 ahead, eta 50s
        620s f leave                                                      => done
        620s l show ticket                                                => #12 waiting, place 12, 4 ahead, eta 40s
        625s l show ticket                                                => #12 waiting, place 12, 4 ahead, eta 56s
        626s org update rate=600                                          => updated
        626s l show ticket                                                => #12 waiting, place 12, 4 ahead, eta 1s
        626s g leave                                                      => done
        627s h leave                                                      => done
        628s l show ticket                                                => #12 waiting, place 12, 2 ahead, eta 2s
        631s org restart                                                  => restarted
        631s l show ticket                                                => #12 waiting, place 12, 2 ahead, eta 5s
    "#]]);
}

#[test]
fn the_time_told_is_measured_anew_when_the_line_is_steered() {
    check(expect![[r#"
        0s org sale fifo rate=600 room=2 session=3600s => created 1
        0s ann join                                    => #1 called, place 1, 0 ahead, claim by 120s
        1s bob join                                    => #2 called, place 2, 0 ahead, claim by 121s
        2s cat join                                    => #3 waiting, place 3, 1 ahead, eta 1s
        2s dan join                                    => #4 waiting, place 4, 2 ahead, eta 1s
        3s ann claim                                   => #1 shopping until 3603s, place 1, 0 ahead
        3s bob claim                                   => #2 shopping until 3603s, place 2, 0 ahead
        500s cat show ticket                           => #3 waiting, place 3, 1 ahead, eta 498s
        500s org show line                             => open, 4 joined, 0 entrants, cursor 2, 2 active
        1000s org pause                                => done
        1001s org resume                               => done
        1001s org restart                              => restarted
        1006s cat show ticket                          => #3 waiting, place 3, 1 ahead, eta 5s
        3000s org update rate=60                       => updated
        3010s cat show ticket                          => #3 waiting, place 3, 1 ahead, eta 10s
        3603s cat show ticket                          => #3 called, place 3, 0 ahead, claim by 3723s
        3603s dan show ticket                          => #4 waiting, place 4, 1 ahead, eta 603s
        3623s eve join                                 => #5 waiting, place 5, 1 ahead, eta 1s
        3623s eve show ticket                          => #5 waiting, place 5, 1 ahead, eta 1s
        3623s org close                                => done
        3623s eve show ticket                          => #5 waiting, place 5, 1 ahead
    "#]]);
}

#[test]
fn the_time_that_is_told_grows_while_nobody_is_called() {
    check(expect![[r#"
        0s org sale fifo rate=60 room=2 session=3600s opens=10s prequeue=0s => created 1
        1s ann join                                                         => #1 prequeue
        1s bob join                                                         => #2 prequeue
        1s cat join                                                         => #3 prequeue
        1s dan join                                                         => #4 prequeue
        10s dan show ticket                                                 => #4 waiting, place 4, 3 ahead, eta 3s
        11s dan show ticket                                                 => #4 waiting, place 4, 2 ahead, eta 2s
        20s dan show ticket                                                 => #4 waiting, place 4, 2 ahead, eta 10s
        100s dan show ticket                                                => #4 waiting, place 4, 2 ahead, eta 90s
        100s org show line                                                  => open, 4 joined, 4 entrants, cursor 2, 2 active
    "#]]);
}

//! Holding, extending, releasing, expiring.

use super::check;
use expect_test::expect;

#[test]
fn expired_hold_returns_the_seat() {
    check(expect![[r#"
        0s org sale passthrough hold=120s total=120s => created 1
        2s ann hold A1 A2                            => h1 of ann: A1 A2, 10000 until 122s
        3s bob hold A1                               => refused: A1 not available
        122s bob hold A1                             => h2 of bob: A1, 5000 until 242s
        122s bob show seats                          => A h....... B ........ floor 0 held 0 sold of 10
        122s bob show h1                             => gone
        122s bob show events                         => showtimes.created queue.opened inventory.hold.created inventory.hold.expired inventory.hold.created
    "#]]);
}

#[test]
fn a_refusal_lists_exactly_the_seats_in_the_way() {
    check(expect![[r#"
        0s org sale passthrough    => created 1
        0s ann hold A2 A4          => h1 of ann: A2 A4, 10000 until 300s
        1s bob hold A5 A4 A3 A2 A2 => refused: A2 A4 not available
        1s bob hold A3 A5 A3       => h2 of bob: A3 A5, 10000 until 301s
        1s bob show seats          => A .hhhh... B ........ floor 0 held 0 sold of 10
        1s bob show counts         => front 4/4/0/0, back 8/0/0/0, floor 10/0/0/0
    "#]]);
}

#[test]
fn holds_are_extended_up_to_their_total() {
    check(expect![[r#"
        0s org sale passthrough hold=100s total=150s => created 1
        0s ann hold A1                               => h1 of ann: A1, 5000 until 100s
        10s ann extend h1                            => h1 of ann: A1, 5000 until 110s
        10s ann extend h1                            => h1 of ann: A1, 5000 until 110s
        60s ann extend h1                            => h1 of ann: A1, 5000 until 150s
        61s ann extend h1                            => refused: the hold cannot be extended any further
        61s bob extend h1                            => refused: there is no such hold
        149s ann show h1                             => h1 of ann: A1, 5000 until 150s
        150s ann extend h1                           => refused: the hold is gone
        150s ann extend h2                           => refused: there is no such hold
        150s ann show events                         => showtimes.created queue.opened inventory.hold.created inventory.hold.extended inventory.hold.extended inventory.hold.expired
    "#]]);
}

#[test]
fn a_released_hold_is_gone() {
    check(expect![[r#"
        0s org sale passthrough => created 1
        0s ann hold A1          => h1 of ann: A1, 5000 until 300s
        1s bob release h1       => refused: there is no such hold
        1s ann release h1       => done
        1s ann release h1       => refused: the hold is gone
        1s ann release h2       => refused: there is no such hold
        1s bob hold A1          => h2 of bob: A1, 5000 until 301s
    "#]]);
}

#[test]
fn places_of_an_area_are_counted() {
    check(expect![[r#"
        0s org sale passthrough => created 1
        0s ann hold floor x6    => h1 of ann: floor x6, 6000 until 300s
        0s bob hold floor x5    => refused: the area has 4 places left
        0s bob hold floor x4    => h2 of bob: floor x4, 4000 until 300s
        0s cat hold floor x1    => refused: the area has 0 places left
        1s ann release h1       => done
        1s cat hold floor x1    => h3 of cat: floor x1, 1000 until 301s
        1s cat show seats       => A ........ B ........ floor 5 held 0 sold of 10
        1s cat show counts      => front 8/0/0/0, back 8/0/0/0, floor 5/5/0/0
    "#]]);
}

#[test]
fn limits_hold_per_hold_and_per_buyer() {
    check(expect![[r#"
        0s org sale passthrough perhold=3 perbuyer=4 => created 1
        0s ann hold A1 A2 A3 A4                      => refused: one hold takes 3 at most
        0s ann hold A1 A2 A3                         => h1 of ann: A1 A2 A3, 15000 until 300s
        0s ann hold B1 B2                            => refused: one buyer takes 4 at most, and has 3
        0s ann hold B1                               => h2 of ann: B1, 3000 until 300s
        1s ann order h1                              => o1 pendingPayment until 601s: A1 A2 A3, 15000
        1s ann pay o1 p1 ok 15000                    => o1 completed: A1 A2 A3, 15000, captured 15000
        1s ann release h2                            => done
        1s ann hold B1 B2                            => refused: one buyer takes 4 at most, and has 3
        1s ann hold floor x1                         => h3 of ann: floor x1, 1000 until 301s
    "#]]);
}

#[test]
fn an_unblocked_seat_that_is_held_does_not_fall_under_its_block_again() {
    check(expect![[r#"
        0s org sale passthrough         => created 1
        0s org block A1 A2 A3 via=press => done
        0s ann hold A1 A2 via=press     => h1 of ann: A1 A2, 10000 until 300s
        1s org unblock A1 A3            => done
        1s org show seats               => A hh...... B ........ floor 0 held 0 sold of 10
        1s org show events              => showtimes.created queue.opened inventory.seats.blocked inventory.hold.created inventory.seats.released
        2s org unblock A1 A3            => done
        2s org unblock A4               => done
        2s org show events              => 
        2s org restart                  => restarted
        3s ann release h1               => done
        3s org show seats               => A .#...... B ........ floor 0 held 0 sold of 10
        3s org show events              => inventory.hold.released inventory.seats.blocked
        4s bob hold A1                  => h2 of bob: A1, 5000 until 304s
    "#]]);
}

#[test]
fn blocked_seats_are_for_their_channel_alone() {
    check(expect![[r#"
        0s org sale passthrough      => created 1
        0s org block A1 A2 via=press => done
        0s org block A3              => done
        0s ann hold A1               => refused: A1 not available
        0s ann hold A1 via=fans      => refused: A1 not available
        0s ann hold A1 A3 via=press  => refused: A3 not available
        0s ann hold A1 A4 via=press  => h1 of ann: A1 A4, 10000 until 300s
        0s org block A4 A5           => refused: A4 not available
        0s org show seats            => A h##h.... B ........ floor 0 held 0 sold of 10
        1s ann release h1            => done
        1s org show seats            => A ###..... B ........ floor 0 held 0 sold of 10
        1s ann hold A1 via=press     => h2 of ann: A1, 5000 until 301s
        1s ann order h2              => o1 pendingPayment until 601s: A1, 5000
        1s ann pay o1 p1 ok 5000     => o1 completed: A1, 5000, captured 5000
        1s org show seats            => A S##..... B ........ floor 0 held 0 sold of 10
        1s org unblock A1 A2 A3 A4   => done
        1s org unblock A1 A2 A3 A4   => done
        1s org show counts           => front 7/0/1/0, back 8/0/0/0, floor 10/0/0/0
        1s org show events           => showtimes.created queue.opened inventory.seats.blocked inventory.seats.blocked inventory.hold.created inventory.hold.released inventory.seats.blocked inventory.hold.created orders.created payments.succeeded inventory.seats.purchased orders.completed inventory.seats.released
    "#]]);
}

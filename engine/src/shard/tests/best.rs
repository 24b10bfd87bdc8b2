//! The best seats, and seats left alone.

use super::check;
use expect_test::expect;

#[test]
fn the_best_are_nearest_to_the_middle_of_the_front() {
    check(expect![[r#"
        0s org sale passthrough perbuyer=100            => created 1
        0s ann hold best 2                              => h1 of ann: A3 A4, 10000 until 300s
        0s bob hold best 2                              => h2 of bob: A5 A6, 10000 until 300s
        0s cat hold best 2 category=back                => h3 of cat: B4 B5, 6000 until 300s
        0s dan hold best 3 section=Stalls category=back => h4 of dan: B1 B2 B3, 9000 until 300s
        0s eve hold best 1                              => h5 of eve: B6, 3000 until 300s
        0s eve hold best 1 category=stage               => refused: best.category is out of bounds: there is none of this name
        0s eve hold best 1 section=Circle               => refused: best.section is out of bounds: there is none of this name
        0s eve hold best 7                              => refused: one hold takes 6 at most
        0s eve hold best 0                              => refused: best.quantity is out of bounds: 0 is not between 1 and 100
        0s eve show seats                               => A ..hhhh.. B hhhhhh.. floor 0 held 0 sold of 10
    "#]]);
}

#[test]
fn no_free_seat_is_left_alone_while_that_can_be() {
    check(expect![[r#"
        0s org sale passthrough perbuyer=100       => created 1
        0s ann hold B4 B5                          => h1 of ann: B4 B5, 6000 until 300s
        0s ann hold best 2 category=back           => h2 of ann: B2 B3, 6000 until 300s
        0s ann show seats                          => A ........ B .hhhh... floor 0 held 0 sold of 10
        0s bob hold best 3 category=front together => h3 of bob: A2 A3 A4, 15000 until 300s
        0s bob hold best 3 category=front together => h4 of bob: A5 A6 A7, 15000 until 300s
        0s bob show seats                          => A .hhhhhh. B .hhhh... floor 0 held 0 sold of 10
        0s bob hold best 2 category=back together  => h5 of bob: B6 B7, 6000 until 300s
        0s bob show seats                          => A .hhhhhh. B .hhhhhh. floor 0 held 0 sold of 10
    "#]]);
}

#[test]
fn a_wish_is_split_only_where_it_allows() {
    check(expect![[r#"
        0s org sale passthrough perbuyer=100 => created 1
        0s ann hold A1 A3 A6 A7              => h1 of ann: A1 A3 A6 A7, 20000 until 300s
        0s ann hold B1 B2 B5 B8              => h2 of ann: B1 B2 B5 B8, 12000 until 300s
        0s ann show seats                    => A h.h..hh. B hh..h..h floor 0 held 0 sold of 10
        0s bob hold best 4 together          => refused: no seats fit the wish
        0s bob hold best 4                   => h3 of bob: A4 A5 B3 B4, 16000 until 300s
        0s bob show seats                    => A h.hhhhh. B hhhhh..h floor 0 held 0 sold of 10
        0s cat hold best 4                   => h4 of cat: A2 A8 B6 B7, 16000 until 300s
        0s cat show seats                    => A hhhhhhhh B hhhhhhhh floor 0 held 0 sold of 10
        0s dan hold best 1                   => refused: no seats fit the wish
    "#]]);
}

#[test]
fn a_pick_that_leaves_a_seat_alone_is_refused() {
    check(expect![[r#"
        0s org sale passthrough orphans=refused perbuyer=100 => created 1
        0s ann hold A2                                       => refused: would leave A1 alone
        0s ann hold A3                                       => refused: would leave A4 alone
        0s ann hold A1 A3                                    => refused: would leave A2 A4 alone
        0s ann hold A1                                       => h1 of ann: A1, 5000 until 300s
        0s ann hold A3 A4                                    => refused: would leave A2 alone
        0s bob hold A2                                       => h2 of bob: A2, 5000 until 300s
        0s bob hold B2 B4 B7                                 => refused: would leave B1 B3 B8 alone
        0s bob hold B1 B2 B3                                 => h3 of bob: B1 B2 B3, 9000 until 300s
        0s bob hold B5 B6 B7                                 => refused: would leave B4 B8 alone
        0s bob hold B6                                       => h4 of bob: B6, 3000 until 300s
        0s bob hold B4 B5                                    => h5 of bob: B4 B5, 6000 until 300s
        0s bob show seats                                    => A hh...... B hhhhhh.. floor 0 held 0 sold of 10
    "#]]);
}

/// What is kept for a channel is free to those who hold through it, and to nobody else.
#[test]
fn seats_of_a_channel_are_left_alone_by_its_own_buyers_only() {
    check(expect![[r#"
        0s org sale passthrough orphans=refused perbuyer=100 => created 1
        0s org block A1 A2 A3 A4 via=press                   => done
        0s org block B1 B2 B3                                => done
        0s ann hold A2 via=press                             => refused: would leave A1 alone
        0s ann hold A3 via=press                             => refused: would leave A4 alone
        0s ann hold A6                                       => refused: would leave A5 alone
        0s ann hold A6 via=fans                              => refused: would leave A5 alone
        0s ann hold A6 via=press                             => refused: would leave A5 alone
        0s ann hold A2 A3 via=press                          => refused: would leave A1 A4 alone
        0s ann hold A5 via=press                             => h1 of ann: A5, 5000 until 300s
    "#]]);
}

#[test]
fn a_channel_that_cannot_avoid_it_may_leave_a_seat_alone() {
    check(expect![[r#"
        0s org sale passthrough orphans=refused perbuyer=100 => created 1
        0s org block A1 A2 A3 via=press                      => done
        0s org block A5 A6 A7 A8 B1 B2 B3 B4 B5 B6 B7 B8     => done
        0s ann hold A4                                       => h1 of ann: A4, 5000 until 300s
        0s ann release h1                                    => done
        0s ann hold A1 A2 A3 via=press                       => h2 of ann: A1 A2 A3, 15000 until 300s
        0s ann hold A2 A3 A4 via=press                       => refused: A2 A3 not available
        0s org unblock B1 B2 B3                              => done
        0s ann release h2                                    => done
        0s ann hold A1 A2 A3 via=press                       => refused: would leave A4 alone
    "#]]);
}

#[test]
fn where_no_pick_can_avoid_it_it_is_allowed() {
    check(expect![[r#"
        0s org sale passthrough orphans=refused perbuyer=100 => created 1
        0s ann hold A1 A2 A3 A4                              => h1 of ann: A1 A2 A3 A4, 20000 until 300s
        0s ann hold A5 A6 A7 A8                              => h2 of ann: A5 A6 A7 A8, 20000 until 300s
        0s ann hold B1 B2 B3 B4                              => h3 of ann: B1 B2 B3 B4, 12000 until 300s
        0s ann hold B5 B6                                    => h4 of ann: B5 B6, 6000 until 300s
        0s bob hold B7                                       => h5 of bob: B7, 3000 until 300s
        0s bob show seats                                    => A hhhhhhhh B hhhhhhh. floor 0 held 0 sold of 10
    "#]]);
}

#[test]
fn the_best_through_a_channel_include_its_seats() {
    check(expect![[r#"
        0s org sale passthrough perbuyer=100  => created 1
        0s org block A4 A5 A3 via=press       => done
        0s ann hold best 1                    => h1 of ann: B4, 3000 until 300s
        0s ann hold best 1 via=press          => h2 of ann: A4, 5000 until 300s
        0s ann hold best 2 via=press together => h3 of ann: A5 A6, 10000 until 300s
        0s ann show seats                     => A ..#hhh.. B ...h.... floor 0 held 0 sold of 10
    "#]]);
}

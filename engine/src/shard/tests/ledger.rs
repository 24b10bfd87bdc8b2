//! Requests are answered once.

use super::check;
use expect_test::expect;

#[test]
fn a_repeated_request_gets_the_same_answer() {
    check(expect![[r#"
        0s org sale passthrough  => created 1
        0s ann hold A1 key=k1    => h1 of ann: A1, 5000 until 300s
        1s ann hold A1 key=k1    => h1 of ann: A1, 5000 until 300s (replayed)
        1s org restart           => restarted
        1s ann hold A1 key=k1    => h1 of ann: A1, 5000 until 300s (replayed)
        1s ann hold A2 key=k1    => refused: the request id was used before with another body
        1s bob hold A1 key=k2    => refused: A1 not available
        2s ann release h1 key=k3 => done
        2s bob hold A1 key=k2    => refused: A1 not available (replayed)
        2s bob hold A1 key=k4    => h2 of bob: A1, 5000 until 302s
        2s bob hold A1 key=k4    => h2 of bob: A1, 5000 until 302s (replayed)
    "#]]);
}

#[test]
fn a_request_is_forgotten_after_a_while() {
    check(expect![[r#"
        0s org sale passthrough      => created 1
        0s org limits age=10s        => done
        0s org limits age=999999999s => refused: requestAgeMax is out of bounds: 999999999000 is not between 1000 and 2592000000
        1s ann hold A1 key=k1        => h1 of ann: A1, 5000 until 301s
        10999ms ann hold A1 key=k1   => h1 of ann: A1, 5000 until 301s (replayed)
        11s ann hold A1 key=k1       => refused: A1 not available
        11s org show events          => showtimes.created queue.opened limits.changed inventory.hold.created
    "#]]);
}

#[test]
fn a_showtime_is_created_once() {
    check(expect![[r#"
        0s org sale passthrough => created 1
        0s org sale passthrough => created 1
        0s org sale fifo        => refused: it exists already with another content
        0s org show events      => showtimes.created queue.opened
    "#]]);
}

#[test]
fn the_oldest_request_is_forgotten_beyond_the_bound() {
    check(expect![[r#"
        0s org sale passthrough       => created 1
        0s org limits requests=999    => refused: requestsMax is out of bounds: 999 is not between 1000 and 100000000
        0s org limits requests=1000   => done
        0s ann hold A1 key=k1         => h1 of ann: A1, 5000 until 300s
        0s bob hold A2 key=k2         => h2 of bob: A2, 5000 until 300s
        0s org repeat 998 tick key={} => done
        0s ann hold A1 key=k1         => h1 of ann: A1, 5000 until 300s (replayed)
        0s bob hold A2 key=k2         => h2 of bob: A2, 5000 until 300s (replayed)
        0s org tick key=1             => done (replayed)
        0s org tick key=new           => done
        0s ann hold A1 key=k1         => refused: A1 not available
        0s bob hold A2 key=k2         => refused: A2 not available
        0s org restart                => restarted
        0s org tick key=3             => done (replayed)
        0s org tick key=1             => done
        0s ann hold A1 key=k1         => refused: A1 not available (replayed)
    "#]]);
}

#[test]
fn a_request_is_remembered_for_a_day() {
    check(expect![[r#"
        0s org sale passthrough       => created 1
        1s ann hold A1 key=k1         => h1 of ann: A1, 5000 until 301s
        2s ann hold A2 key=k1         => refused: the request id was used before with another body
        2s ann release h1 key=k1      => refused: the request id was used before with another body
        301s org restart              => restarted
        86400999ms ann hold A1 key=k1 => h1 of ann: A1, 5000 until 301s (replayed)
        86400999ms ann hold A2 key=k1 => refused: the request id was used before with another body
        86401s ann hold A2 key=k1     => h2 of ann: A2, 5000 until 86701s
        86401s ann hold A1 key=k1     => refused: the request id was used before with another body
        86402s org restart            => restarted
        86402s ann hold A2 key=k1     => h2 of ann: A2, 5000 until 86701s (replayed)
        86402s ann hold A1 key=k1     => refused: the request id was used before with another body
    "#]]);
}

/// Four by a command under test. What has had its time is unknown at once.
#[test]
fn requests_are_forgotten_a_few_at_a_time() {
    check(expect![[r#"
        0s org sale passthrough      => created 1
        0s org limits age=100s       => done
        0s org repeat 20 tick key={} => done
        0s ann hold A1 key=k1        => h1 of ann: A1, 5000 until 300s
        1s ann release h1 key=k2     => done
        1s org tick key=20           => done (replayed)
        100s org tick                => done
        100s org tick key=20         => done
        100s ann hold A1 key=k1      => h2 of ann: A1, 5000 until 400s
        100s org restart             => restarted
        100s ann hold A1 key=k1      => h2 of ann: A1, 5000 until 400s (replayed)
        100s org tick key=20         => done (replayed)
        101s ann release h2 key=k2   => done
        102s org repeat 6 tick       => done
        103s org restart             => restarted
        103s ann release h2 key=k2   => done (replayed)
        103s ann hold A1 key=k1      => h2 of ann: A1, 5000 until 400s (replayed)
    "#]]);
}

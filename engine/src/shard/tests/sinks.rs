//! Who reads the events, and what becomes of those who do not.

use super::hostile::created;
use super::{GROUP, check, showtime_id};
use crate::*;
use expect_test::expect;

#[test]
fn events_are_kept_until_every_sink_has_acknowledged_them() {
    check(expect![[r#"
        0s org sale passthrough         => created 1
        0s org limits events=0s         => done
        0s org register                 => refused: sink is out of bounds: 0 bytes are not between 1 and 100
        0s org register broker          => done
        0s org register broker          => done
        0s org register books           => done
        0s org acknowledge nobody 1     => refused: there is no such sink
        0s org acknowledge broker 9     => refused: sequence is out of bounds: the last event is 3
        0s org repeat 600 message at {} => done
        1s org show log                 => events 1 to 603
        1s org acknowledge broker 603   => done
        1s org show log                 => events 1 to 603
        1s org acknowledge books 300    => done
        1s org show log                 => events 257 to 603
        2s org restart                  => restarted
        2s org acknowledge books 200    => done
        2s org acknowledge books 512    => done
        2s org show log                 => events 513 to 603
        3s org unregister books         => done
        3s org unregister books         => done
        3s org acknowledge books 603    => refused: there is no such sink
        3s org repeat 200 message at {} => done
        3s org show log                 => events 513 to 803
        4s org unregister broker        => done
        4s org show log                 => events 769 to 803
    "#]]);
}

#[test]
fn events_are_kept_for_a_while() {
    check(expect![[r#"
        0s org sale passthrough         => created 1
        0s org limits events=60s        => done
        1s org repeat 600 message at {} => done
        60999ms org show log            => events 1 to 603
        61s org show log                => events 513 to 603
    "#]]);
}

#[test]
fn a_sink_that_falls_too_far_behind_lapses_and_is_told() {
    check(expect![[r#"
        0s org sale passthrough          => created 1
        0s org limits eventsmax=999      => refused: eventsMax is out of bounds: 999 is not between 1000 and 100000000
        0s org limits eventsmax=1000     => done
        0s org register broker           => done
        0s org register books            => done
        0s org repeat 900 message at {}  => done
        0s org acknowledge broker 600    => done
        0s org show last                 => QueueMessageSet { text: Some("at 898") }, QueueMessageSet { text: Some("at 899") }, QueueMessageSet { text: Some("at 900") }
        0s org repeat 97 message at {}   => done
        0s org show log                  => events 1 to 1000
        0s org message one more          => done
        0s org show log                  => events 257 to 1002
        1s org show last                 => QueueMessageSet { text: Some("at 97") }, QueueMessageSet { text: Some("one more") }, SinkLapsed { sink: "books", acknowledged: 0 }
        1s org acknowledge books 500     => refused: the sink fell behind, and the events before 257 are gone
        1s org acknowledge broker 1000   => done
        2s org restart                   => restarted
        2s org acknowledge books 500     => refused: the sink fell behind, and the events before 257 are gone
        2s org register books            => done
        2s org acknowledge books 1002    => done
        2s org limits eventsmax=2000     => done
        3s org repeat 1300 message at {} => done
        3s org show log                  => events 513 to 2303
        3s org acknowledge broker 1500   => done
        3s org limits eventsmax=1000     => done
        3s org show log                  => events 1537 to 2306
        3s org acknowledge broker 2000   => refused: the sink fell behind, and the events before 1537 are gone
        3s org acknowledge books 2000    => refused: the sink fell behind, and the events before 1537 are gone
    "#]]);
}

/// A lapse is an event like any other: which sinks lapse, and where, may not show how a batch was cut.
#[test]
fn no_cut_of_a_batch_shows_in_what_lapses() {
    let showtime = showtime_id();
    let mut commands = vec![
        created(Sale { method: Method::Passthrough, opens_at: Some(Timestamp(0)), ..Sale::default() }),
        ShardCommand::SetLimits(SetLimits { events_max: Some(1_000), ..SetLimits::default() }),
        ShardCommand::RegisterSink(RegisterSink { sink: "broker".into() }),
    ];
    for number in 0..2_500_u64 {
        if number == 700 {
            commands.push(ShardCommand::RegisterSink(RegisterSink { sink: "books".into() }));
        }
        if number % 300 == 299 && number < 1_300 {
            let acknowledge = AcknowledgeEvents { sink: "broker".into(), sequence: number };
            commands.push(ShardCommand::AcknowledgeEvents(acknowledge));
        }
        let text = Some(number.to_string());
        commands.push(ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text }));
    }
    let play = |batch_max: usize, with_empty: bool| {
        let mut shard = Shard::new(GROUP);
        let mut kinds = Vec::new();
        for batch in commands.chunks(batch_max) {
            let batch: Vec<_> =
                batch.iter().map(|command| Envelope { request: None, command: command.clone() }).collect();
            shard.apply(Timestamp(5), &batch);
            if with_empty {
                shard.apply(Timestamp(5), &[]);
            }
        }
        shard.audit().unwrap();
        let oldest = shard.events(1, 1).unwrap_err();
        kinds.extend(shard.events(oldest, usize::MAX).unwrap().iter().map(|record| record.event.kind()));
        let lapsed = kinds.iter().filter(|kind| **kind == "sinks.lapsed").count();
        (shard.rows(), oldest, lapsed)
    };
    let wanted = play(1, false);
    assert_eq!(wanted.2, 1, "the broker lapses late, the books long before");
    for (batch_max, with_empty) in [(1, true), (2, false), (7, true), (256, false), (1_000, true), (usize::MAX, false)]
    {
        assert!(play(batch_max, with_empty) == wanted, "batches of {batch_max}");
    }
}

/// A sink that lapses may have been the last that wanted older events: they go with it, not with the next command.
#[test]
fn no_cut_of_a_batch_shows_in_what_goes_with_a_lapse() {
    let showtime = showtime_id();
    let limits = SetLimits { events_max: Some(1_000), event_age_min: Some(Millis(0)), ..SetLimits::default() };
    let register = |sink: &str| ShardCommand::RegisterSink(RegisterSink { sink: sink.into() });
    let mut commands = vec![
        created(Sale { method: Method::Passthrough, opens_at: Some(Timestamp(0)), ..Sale::default() }),
        ShardCommand::SetLimits(limits),
        register("lazy"),
    ];
    for number in 0..998_u64 {
        let text = Some(number.to_string());
        commands.push(ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text }));
    }
    // Both tell what is kept: one in the state, the other in its reply.
    commands.push(register("late"));
    commands.push(ShardCommand::AcknowledgeEvents(AcknowledgeEvents { sink: "lazy".into(), sequence: 500 }));
    let play = |batch_max: usize| {
        let mut shard = Shard::new(GROUP);
        let mut replies = Vec::new();
        for batch in commands.chunks(batch_max) {
            let batch: Vec<_> =
                batch.iter().map(|command| Envelope { request: None, command: command.clone() }).collect();
            replies.extend(shard.apply(Timestamp(5), &batch));
        }
        shard.audit().unwrap();
        (replies, shard.rows(), shard.digest())
    };
    let wanted = play(1);
    assert_eq!(wanted.0.last().unwrap().result, Err(Refusal::SinkLapsed { oldest: 769 }));
    for batch_max in [2, 7, 256, 1_000, usize::MAX] {
        assert!(play(batch_max) == wanted, "batches of {batch_max}");
    }
}

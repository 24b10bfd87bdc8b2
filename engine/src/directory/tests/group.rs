//! What every group has: remembered requests, bounds and sinks.

use super::script::check;
use crate::*;
use expect_test::expect;

#[test]
fn a_request_is_answered_once() {
    check(expect![[r#"
        0s found Opera key=a  => org1
        0s found Opera key=a  => org1 (replayed)
        0s found House key=a  => refused: the request id was used before with another body
        0s tick key=a         => refused: the request id was used before with another body
        0s found x*0 key=b    => refused: name is out of bounds: 0 bytes are not between 1 and 200
        0s found x*0 key=b    => refused: name is out of bounds: 0 bytes are not between 1 and 200 (replayed)
        0s restart            => restarted
        0s found Opera key=a  => org1 (replayed)
        0s limits age=1s      => done
        1s found Opera key=a  => org2
        1s show organisations => org1 Opera v1; org2 Opera v1
    "#]]);
}

#[test]
fn bounds_are_bounded() {
    check(expect![[r#"
        0s limits requests=999                                            => refused: requestsMax is out of bounds: 999 is not between 1000 and 100000000
        0s limits age=999                                                 => refused: requestAgeMax is out of bounds: 999 is not between 1000 and 2592000000
        0s limits events=31536001s                                        => refused: eventAgeMin is out of bounds: 31536001000 is not between 0 and 31536000000
        0s limits eventsmax=999                                           => refused: eventsMax is out of bounds: 999 is not between 1000 and 100000000
        0s limits tickets=0                                               => refused: ticketsMax is out of bounds: 0 is not between 1 and 100000000
        0s limits requests=1000 age=1s events=0s eventsmax=1000 tickets=1 => done
        0s limits requests=1000                                           => done
        0s show facts                                                     => limits.changed
    "#]]);
}

#[test]
fn sinks_follow_until_they_fall_behind() {
    check(expect![[r#"
        0s follow x*0               => refused: sink is out of bounds: 0 bytes are not between 1 and 100
        0s follow x*101             => refused: sink is out of bounds: 101 bytes are not between 1 and 100
        0s follow broker            => done
        0s follow broker            => done
        0s acknowledge broker 1     => refused: sequence is out of bounds: the last event is 0
        0s acknowledge other 0      => refused: there is no such sink
        0s groups 1                 => done
        0s acknowledge broker 1     => done
        0s acknowledge broker 0     => done
        0s acknowledge x*0 0        => refused: sink is out of bounds: 0 bytes are not between 1 and 100
        0s unfollow x*101           => refused: sink is out of bounds: 101 bytes are not between 1 and 100
        0s unfollow other           => done
        0s limits eventsmax=1000    => done
        0s follow lazy              => done
        0s repeat 1023 groups {}    => done
        0s show log                 => facts 257 to 1026
        0s acknowledge broker 2     => refused: the sink fell behind, and the events before 257 are gone
        0s acknowledge lazy 1000    => refused: the sink fell behind, and the events before 257 are gone
        0s follow broker            => done
        0s acknowledge broker 1000  => done
        0s restart                  => restarted
        0s acknowledge lazy 1000    => refused: the sink fell behind, and the events before 257 are gone
        0s unfollow lazy            => done
        0s acknowledge lazy 1000    => refused: there is no such sink
        0s repeat 100 follow sink{} => refused: sinks are at their bound
        0s follow one-more          => refused: sinks are at their bound
    "#]]);
}

/// A sink that lapses may have been the last that wanted older events: they go with it, not with the next command.
#[test]
fn no_cut_of_a_batch_shows_in_what_goes_with_a_lapse() {
    let limits = SetLimits { events_max: Some(1_000), event_age_min: Some(Millis(0)), ..SetLimits::default() };
    let register = |sink: &str| DirectoryCommand::RegisterSink(RegisterSink { sink: sink.into() });
    let mut commands = vec![DirectoryCommand::SetLimits(limits), register("lazy")];
    commands.extend((1..=1_000).map(|count| DirectoryCommand::SetGroups(SetGroups { count, expected_version: None })));
    // Both tell what is kept: one in the state, the other in its reply.
    commands.push(register("late"));
    commands.push(DirectoryCommand::AcknowledgeEvents(AcknowledgeEvents { sink: "lazy".into(), sequence: 500 }));
    let play = |batch_max: usize| {
        let mut directory = Directory::new(GroupId::DIRECTORY);
        let mut replies = Vec::new();
        for batch in commands.chunks(batch_max) {
            let batch: Vec<_> =
                batch.iter().map(|command| Envelope { request: None, command: command.clone() }).collect();
            replies.extend(directory.apply(Timestamp(5), &batch));
        }
        directory.audit().unwrap();
        (replies, directory.rows(), directory.digest())
    };
    let wanted = play(1);
    assert_eq!(wanted.0.last().unwrap().result, Err(Refusal::SinkLapsed { oldest: 769 }));
    for batch_max in [2, 7, 256, 1_000, usize::MAX] {
        assert!(play(batch_max) == wanted, "batches of {batch_max}");
    }
}

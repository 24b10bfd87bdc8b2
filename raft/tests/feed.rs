//! The feed of a group's events and its readers: slow ones, and such as come too late.

mod support;

use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{GROUPS, PATIENCE, World, create, eventually};
use tonic::Code;
use tonic::transport::Endpoint;
use vestibule_engine::{
    Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, Event, EventRecord, GroupId,
    OrganisationId, SetLimits, codec,
};
use vestibule_proto::v1;
use vestibule_proto::v1::access_client::AccessClient;
use vestibule_raft::cluster::{Cluster, Consistency, WatchError};

const GROUP: GroupId = GroupId::DIRECTORY;

/// Makes organisations, many at a time, and says how long it took.
async fn create_many(cluster: &dyn Cluster, requests: std::ops::Range<u128>) -> Duration {
    let begun = Instant::now();
    futures::stream::iter(requests)
        .for_each_concurrent(512, |request| async move {
            assert!(create(cluster, request).await.result.is_ok());
        })
        .await;
    begun.elapsed()
}

fn events(item: v1::WatchItem) -> Vec<EventRecord> {
    let Some(v1::watch_item::Body::Events(events)) = item.body else { panic!("{item:?} has no events") };
    events.records.iter().map(|record| codec::decode(record).expect("an event")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_reading_slows_nobody_and_resumes() {
    let world = World::of(1).await;
    let cluster = world.client();
    eventually("a leader", || async { world.nodes[&1].node.leader(GROUP) }).await;
    // More than all buffers on the way can hold.
    create_many(&*cluster, 1..16_001).await;
    let alone = create_many(&*cluster, 16_001..18_001).await;

    let endpoint = Endpoint::from_shared(format!("http://{}", world.addresses[&1])).expect("an address");
    let small = endpoint.initial_stream_window_size(64 << 10).initial_connection_window_size(64 << 10);
    let mut client = AccessClient::new(small.connect().await.expect("it connects"));
    let mut reader = client.watch(v1::WatchRequest { group: GROUP.0, from: 1 }).await.expect("it begins").into_inner();
    let mut read = events(reader.message().await.expect("events come").expect("the feed has no end"));

    let watched = create_many(&*cluster, 18_001..20_001).await;
    assert!(watched < alone * 3 + Duration::from_secs(2), "{watched:?} with the reader, {alone:?} without");
    eventually("the reader is cut off", || async {
        world.nodes[&1].node.metrics().render().contains("vestibule_node_watches_cut_off_total 1\n").then_some(())
    })
    .await;

    // It gets what was on its way, and then is told why there is no more.
    let status = loop {
        match reader.message().await {
            Ok(item) => read.extend(events(item.expect("an error comes first"))),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let last = world.nodes[&1].node.state(GROUP).expect("it is here").progress().last_sequence;
    let next = read.last().expect("events were read").sequence + 1;
    assert!(next < last, "it was cut off at {next} of {last}");
    let rest = usize::try_from(last + 1 - next).expect("some thousands");
    let rest: Vec<_> = cluster.watch(GROUP, next).take(rest).try_collect().await.expect("events come");
    read.extend(rest);
    let mut chain = None;
    for (sequence, event) in (1..=last).zip(&read) {
        assert_eq!(event.sequence, sequence, "a gap or a duplicate");
        assert_ne!(chain.replace(event.chain), Some(event.chain));
    }
    assert_eq!(read.len() as u64, last);
    world.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_group_that_is_given_up_is_told_and_does_not_keep_it() {
    let mut world = World::of(3).await;
    let mut readers = Vec::new();
    for (id, running) in &world.nodes {
        for group in (1..=GROUPS).map(GroupId) {
            let state = eventually("every node has every group", || async { running.node.state(group) }).await;
            let endpoint = Endpoint::from_shared(format!("http://{}", world.addresses[id])).expect("an address");
            let mut client = AccessClient::new(endpoint.connect().await.expect("it connects"));
            let watch = client.watch(v1::WatchRequest { group: group.0, from: 1 });
            readers.push((*id, group, Arc::downgrade(&state), watch.await.expect("it begins").into_inner()));
        }
    }

    world.join(4).await;
    let moved = eventually("groups are to move", || async {
        world.admin().rebalance().await.ok().filter(|moved| !moved.changed.is_empty())
    });
    let moved = moved.await.changed.len();
    let is_gone = |id: &u64, group: &GroupId| world.nodes[id].node.state(*group).is_none();
    eventually("they have moved", || async {
        (readers.iter().filter(|(id, group, ..)| is_gone(id, group)).count() >= moved).then_some(())
    })
    .await;
    for (id, group, state, mut reader) in readers {
        if world.nodes[&id].node.state(group).is_some() {
            continue;
        }
        let ended = async {
            loop {
                match reader.message().await {
                    Ok(item) => item.expect("an error comes first"),
                    Err(status) => break status,
                };
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let status = ended.unwrap_or_else(|_| panic!("the reader of {group} on node {id} waits for ever"));
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(status.message().contains("no longer"), "{status}");
        eventually("nothing holds what was given up", || async { state.upgrade().is_none().then_some(()) }).await;
    }
    world.stop_all().await;
}

async fn organisations(cluster: &dyn Cluster, consistency: Consistency) -> BTreeSet<OrganisationId> {
    let answer = cluster.query::<Directory>(GROUP, &DirectoryQuery::Organisations, consistency, PATIENCE).await;
    match answer.expect("an answer comes").0 {
        DirectoryAnswer::Organisations(all) => all.iter().map(|record| record.organisation).collect(),
        other => panic!("{other:?} is no answer to that"),
    }
}

/// Organisations that are made in all.
const ALL: usize = 2_590;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_too_late_begins_with_the_state_and_misses_nothing() {
    let world = World::of(3).await;
    let leader = world.leader(GROUP).await;
    let all = world.client_of_all();
    let limits = SetLimits { events_max: Some(1_000), ..SetLimits::default() };
    let envelope = Envelope { request: None, command: DirectoryCommand::SetLimits(limits) };
    let cluster: &dyn Cluster = &*all;
    cluster.propose::<Directory>(GROUP, &envelope, PATIENCE).await.expect("it is limited").0.result.expect("it may be");
    create_many(cluster, 1..2_501).await;
    let follower = *world.nodes.keys().find(|id| **id != leader).expect("there are followers");
    let state = world.nodes[&follower].node.state(GROUP).expect("every node hosts the directory");
    eventually("the follower has them", || async { (state.progress().last_sequence > 2_500).then_some(()) }).await;

    let mut from = 1;
    let mut times_late = 0;
    let (mut known, mut read) = (BTreeSet::new(), Vec::<EventRecord>::new());
    let mut more = None;
    let deadline = Instant::now() + PATIENCE;
    while known.len() < ALL {
        assert!(Instant::now() < deadline, "{} of {ALL} are known", known.len());
        let mut feed = cluster.watch(GROUP, from);
        loop {
            if known.len() == ALL {
                break;
            }
            match feed.next().await.expect("an error comes first") {
                Ok(event) => {
                    assert_eq!(event.sequence, from, "a gap or a duplicate");
                    from += 1;
                    if let Event::OrganisationCreated { organisation } = &event.event {
                        known.insert(*organisation);
                    }
                    read.push(event);
                    // More are made while it reads; it is not overtaken by as few as that.
                    if read.len() == 100 {
                        let all = all.clone();
                        more = Some(tokio::spawn(async move { create_many(&*all, 2_501..2_591).await }));
                    }
                }
                Err(WatchError::TooOld(oldest)) => {
                    assert!(oldest > from);
                    times_late += 1;
                    // Read after being told, and by nobody who is behind the one that told: so everything before the
                    // oldest event is in it.
                    known.extend(organisations(cluster, Consistency::Linearizable).await);
                    from = oldest;
                    break;
                }
                Err(WatchError::Interrupted(_)) => break,
            }
        }
    }
    more.expect("it has read that far").await.expect("they are made");
    assert_eq!(times_late, 1);
    assert!(read.len() > 1_000, "{} events", read.len());
    assert_eq!(known, organisations(cluster, Consistency::Linearizable).await);
    world.stop_all().await;
}

//! One clock for all groups of a node that are at rest, in place of one a group.
//!
//! openraft gives every group a clock that ticks every 20 ms on every node, and every heartbeat a call of its own: much for
//! groups in which nothing happens. So once a heartbeat two nodes say to each other, in one call, which quiet groups they lead
//! that the other is a member of, and which of the other's they agree on; [`crate::rest`] says what that means.
//!
//! ```text
//! lower number ──▶ beats, and what it agrees on of the last answer ──▶ higher number
//!              ◀── what it agrees on of these, and its own beats   ◀──
//! ```
//!
//! A call costs more than all that is in it, so the node with the lower number makes the only one. They say what time they
//! have as well, so that [`crate::clock_watch`] need not ask them. The clocks of groups that are not at rest run as ever.

use crate::clock_watch::Reading;
use crate::hosting::Host;
use crate::types::NodeId;
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use vestibule_engine::GroupId;
use vestibule_proto::v1;

/// In which rounds nodes are called that neither of the two has anything to say to.
const SPARE_ROUNDS: u64 = 5;

/// What was last said to each node that calls this one, until it says what it agrees on.
#[derive(Debug, Default)]
pub(crate) struct Said {
    answers: Mutex<Answers>,
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().expect("no holder of this lock panics")
    }
}

#[derive(Debug, Default)]
struct Answers {
    count: u64,
    last: BTreeMap<NodeId, Answer>,
}

#[derive(Debug)]
struct Answer {
    number: u64,
    at: Instant,
    groups: Vec<u32>,
}

/// What was last heard of a node that this one calls.
#[derive(Debug, Default)]
struct Heard {
    answer: u64,
    leads: bool,
    agreed: Vec<u32>,
    ahead_ms: Option<i64>,
}

/// Once a heartbeat stops and starts the clocks of groups, and calls the others, until the node stops.
pub(crate) async fn run(host: Host) {
    let mut stop = host.stop.clone();
    tokio::select! {
        () = beat(&host) => {}
        () = stop.stopped() => {}
    }
}

async fn beat(host: &Host) {
    let mut clock = interval(host.config.timing.heartbeat);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = BTreeMap::new();
    for round in 0_u64.. {
        clock.tick().await;
        let now = Instant::now();
        host.groups.all().iter().for_each(|group| group.tend_clock(now));
        heard = call_all(host, heard, round.is_multiple_of(SPARE_ROUNDS)).await;
    }
}

/// What is to be said to each node. All groups that are quiet here are asked by that.
fn beats(host: &Host, now: Instant) -> BTreeMap<NodeId, Vec<v1::Beat>> {
    let mut beats: BTreeMap<NodeId, Vec<v1::Beat>> = BTreeMap::new();
    for (beat, others) in host.groups.all().into_iter().filter_map(|group| group.beat(now)) {
        others.into_iter().for_each(|other| beats.entry(other).or_default().push(beat));
    }
    beats
}

/// Of what `from` says that it leads, the groups of which the very same is known here.
fn agree(host: &Host, from: NodeId, beats: &[v1::Beat]) -> Vec<u32> {
    let now = Instant::now();
    let agrees = |beat: &&v1::Beat| {
        let group = host.groups.get(GroupId(beat.group));
        group.is_ok_and(|group| group.hear_beat(now, from, beat.term, beat.last_index))
    };
    beats.iter().filter(agrees).map(|beat| beat.group).collect()
}

/// Notes what `member` thinks of what was said to it of `groups`.
fn note_agreement(host: &Host, member: NodeId, said: Instant, groups: &[u32], agreed: &[u32]) {
    let agreed: BTreeSet<u32> = agreed.iter().copied().collect();
    for id in groups {
        if let Ok(group) = host.groups.get(GroupId(*id)) {
            group.rest.note_agreement(member, agreed.contains(id).then_some(said));
        }
    }
}

/// Calls every node with a higher number; gives what was heard of those that answered. Those with nothing to say on either
/// side are left out, but for `all`.
async fn call_all(host: &Host, mut heard: BTreeMap<NodeId, Heard>, all: bool) -> BTreeMap<NodeId, Heard> {
    let now = Instant::now();
    let mut beats = beats(host, now);
    let higher = host.roster.present().into_keys().filter(|node| *node > host.config.id);
    let mut next = BTreeMap::new();
    let mut calls = Vec::new();
    for node in higher {
        let (beats, last) = (beats.remove(&node).unwrap_or_default(), heard.remove(&node));
        if all || !beats.is_empty() || last.as_ref().is_some_and(|last| last.leads) {
            calls.push(async move { Some((node, call(host, node, now, beats, last.unwrap_or_default()).await?)) });
        } else if let Some(last) = last {
            next.insert(node, last);
        }
    }
    next.extend(join_all(calls).await.into_iter().flatten());
    next
}

/// Calls a node; gives what was heard of it.
async fn call(host: &Host, node: NodeId, now: Instant, beats: Vec<v1::Beat>, last: Heard) -> Option<Heard> {
    let groups: Vec<u32> = beats.iter().map(|beat| beat.group).collect();
    let Heard { answer, agreed, ahead_ms, .. } = last;
    let reading = Reading::begin(&*host.clock);
    let patience = host.config.timing.heartbeat * 9 / 10;
    let asked = host.peers.beat(node, v1::BeatRequest { beats, agreed, answer, ahead_ms });
    // Whoever gives no answer in time agrees to nothing.
    let answer = timeout(patience, asked).await.ok().flatten();
    note_agreement(host, node, now, &groups, answer.as_ref().map_or(&[], |answer| &answer.agreed));
    let answer = answer?;
    let ahead_ms = if answer.now > 0 { reading.end(&*host.clock, answer.now) } else { None };
    host.clock_watch.note(node, ahead_ms);
    let agreed = agree(host, node, &answer.beats);
    Some(Heard { answer: answer.answer, leads: !answer.beats.is_empty(), agreed, ahead_ms })
}

/// What this node says to one that calls it.
pub(crate) fn answer(host: &Host, from: NodeId, request: v1::BeatRequest) -> v1::BeatResponse {
    host.clock_watch.note_told(from, request.ahead_ms.map(i64::saturating_neg));
    let agreed = agree(host, from, &request.beats);
    if let Some(last) = host.said.lock().last.remove(&from) {
        let agreed: &[u32] = if last.number == request.answer { &request.agreed } else { &[] };
        note_agreement(host, from, last.at, &last.groups, agreed);
    }
    let now = host.clock.now().0;
    if from > host.config.id {
        // This node calls that one.
        return v1::BeatResponse { agreed, now, beats: Vec::new(), answer: 0 };
    }
    let at = Instant::now();
    let beats = beats(host, at).remove(&from).unwrap_or_default();
    let groups = beats.iter().map(|beat| beat.group).collect();
    let mut answers = host.said.lock();
    answers.count += 1;
    let number = answers.count;
    answers.last.insert(from, Answer { number, at, groups });
    v1::BeatResponse { agreed, now, beats, answer: number }
}

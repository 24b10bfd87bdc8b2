//! Who looks after what groups keep: changes how much they remember, and reads their events as systems outside do, which
//! register a sink, follow the feed and acknowledge what they have.

use super::{Client, Shop, Stage};
use crate::checkers::Sent;
use crate::dice::Dice;
use crate::options::Options;
use futures::StreamExt as _;
use std::time::Duration;
use vestibule_engine::{
    AcknowledgeEvents, DirectoryCommand, GroupId, Millis, Outcome, Refusal, RegisterSink, RemoveSink, SetLimits,
    ShardCommand,
};
use vestibule_raft::cluster::WatchError;

/// How long a sink waits for one more event before it acknowledges what it has.
const PATIENCE: Duration = Duration::from_millis(700);

/// What a command to any group is called in both kinds of them.
macro_rules! in_group {
    ($client:expr, $group:expr, $kind:ident, $ask:expr) => {
        match $group {
            GroupId::DIRECTORY => $client.directory(DirectoryCommand::$kind($ask)).await,
            group => $client.shard(group, ShardCommand::$kind($ask)).await,
        }
    };
}

/// Changes how much groups remember, until the run closes.
pub async fn bound(client: Client, options: Options, shop: Shop, mut dice: Dice) {
    let Some(tight) = options.retention.clone() else { return };
    // As it is at first, but for a line that was full: that stays as it is.
    let usual = SetLimits {
        requests_max: Some(1_000_000),
        request_age_max: Some(Millis(24 * 60 * 60 * 1_000)),
        event_age_min: Some(Millis(60 * 60 * 1_000)),
        events_max: Some(4_000_000),
        tickets_max: None,
    };
    // Lines have room until enough was sold.
    let roomy = SetLimits { tickets_max: None, ..tight.clone() };
    for group in (0..=options.groups).map(GroupId) {
        while in_group!(client, group, SetLimits, roomy.clone()).is_none() && shop.stage() < Stage::Closing {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    while shop.stage() < Stage::Closing {
        tokio::time::sleep(dice.millis(1_000..=6_000)).await;
        let group = GroupId(dice.within(0..=u64::from(options.groups)) as u32);
        let tight = if shop.has_sold() { &tight } else { &roomy };
        let limits = if dice.percent(70) { tight.clone() } else { usual.clone() };
        let _ = in_group!(client, group, SetLimits, limits);
    }
}

/// Reads the events of one group after the other, until the run closes.
pub async fn relay(client: Client, sink: String, options: Options, shop: Shop, mut dice: Dice) {
    while shop.stage() < Stage::Closing {
        let group = GroupId(dice.within(0..=u64::from(options.groups)) as u32);
        let rounds = dice.within(2..=8);
        read_events(&client, group, &sink, rounds, &shop, &mut dice).await;
        tokio::time::sleep(dice.millis(200..=1_500)).await;
    }
}

async fn read_events(client: &Client, group: GroupId, sink: &str, rounds: u64, shop: &Shop, dice: &mut Dice) {
    let register = RegisterSink { sink: sink.to_owned() };
    let Some(Ok(Outcome::Done)) = in_group!(client, group, RegisterSink, register.clone()) else { return };
    let mut next = 1;
    for _ in 0..rounds {
        let mut events = client.cluster.watch(group, next);
        for _ in 0..dice.within(1..=120) {
            match tokio::time::timeout(PATIENCE, events.next()).await {
                Ok(Some(Ok(record))) => {
                    let after = record.sequence + 1;
                    shop.note_sent(Sent { group, next, record });
                    next = after;
                }
                // What is not kept any more was acknowledged, or this sink has lapsed: it goes on from there.
                Ok(Some(Err(WatchError::TooOld(oldest)))) => next = oldest,
                Ok(Some(Err(WatchError::Interrupted(_))) | None) | Err(_) => break,
            }
        }
        drop(events);
        if shop.stage() >= Stage::Closing {
            return;
        }
        if dice.percent(85) {
            let ask = AcknowledgeEvents { sink: sink.to_owned(), sequence: next - 1 };
            match in_group!(client, group, AcknowledgeEvents, ask) {
                Some(Err(Refusal::SinkLapsed { oldest })) => {
                    next = oldest;
                    let _ = in_group!(client, group, RegisterSink, register.clone());
                }
                Some(_) => {}
                None => tokio::time::sleep(dice.millis(100..=500)).await,
            }
        }
    }
    if dice.percent(60) {
        let _ = in_group!(client, group, RemoveSink, RemoveSink { sink: sink.to_owned() });
    }
}

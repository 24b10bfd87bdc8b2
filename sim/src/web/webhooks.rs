//! Counts what is rare among the notices of the payment provider: those that came again, and payments that the cluster learned
//! from them when their order had expired or been cancelled.

use super::provider;
use crate::checkers::Look;
use crate::history::{Answer, Ask, Happening};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::{Event, GroupId, OrderId, PaymentId, RequestId, ShardCommand};

/// See the file's head.
#[derive(Default)]
pub struct Webhooks {
    /// Requests by which the provider tells of payments.
    requests: BTreeSet<(GroupId, RequestId)>,
    /// The last call in which each payment was told of, and taken in.
    told: BTreeMap<PaymentId, usize>,
    /// Orders that have expired or been cancelled.
    ended: BTreeSet<OrderId>,
    counts: BTreeMap<&'static str, u64>,
}

impl Webhooks {
    /// Looks at what happened in a step, once its entries have been played.
    pub fn observe(&mut self, look: &Look) {
        for happening in &look.happenings {
            let (Happening::Called(call) | Happening::Answered { call, .. }) = happening;
            let Ask::Shard(command) = &call.ask else { continue };
            let ShardCommand::RecordPayment(ask) = &**command else { continue };
            if call.by != provider::NAME {
                continue;
            }
            self.requests.insert((call.group, call.request));
            if let Happening::Answered { answer: Answer::Reply(..), .. } = happening
                && self.told.insert(ask.payment, call.number).is_some_and(|before| before != call.number)
            {
                self.count("repeated");
            }
        }
        for played in &look.played {
            played.due.iter().for_each(|record| self.take(&record.event, false));
            for told in &played.commands {
                let is_notice = told.request.is_some_and(|request| self.requests.contains(&(played.group, request)));
                told.events.iter().for_each(|record| self.take(&record.event, is_notice));
            }
        }
    }

    fn take(&mut self, event: &Event, is_notice: bool) {
        match event {
            Event::OrderExpired { order, .. } | Event::OrderCanceled { order, .. } => drop(self.ended.insert(*order)),
            // Its seats were free, and it has them again.
            Event::OrderCompleted { order, .. } => drop(self.ended.remove(order)),
            Event::PaymentSucceeded { order, .. } if is_notice && self.ended.contains(order) => self.count("late"),
            _ => {}
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// How many came again, and how many late.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Call;
    use crate::player::{Played, Told};
    use std::sync::Arc;
    use std::time::Duration;
    use vestibule_engine::{
        Currency, EventRecord, Money, Outcome, PaymentOutcome, Places, RecordPayment, Reply, Timestamp, UserId,
    };
    use vestibule_raft::cluster::Position;
    use vestibule_raft::wal::LogPosition;

    const GROUP: GroupId = GroupId(1);
    const ORDER: OrderId = OrderId::new(GROUP, 1);
    const TOTAL: Money = Money { amount: 2_500, currency: Currency(*b"EUR") };

    /// A payment of the order is told of for the first time, and makes these events.
    fn told(by: &str, number: usize, payment: u64, events: Vec<Event>) -> Look {
        let (payment, outcome, amount) = (PaymentId(payment), PaymentOutcome::Succeeded, TOTAL);
        let ask = RecordPayment { order: ORDER, payment, outcome, amount };
        let ask = Ask::Shard(Box::new(ShardCommand::RecordPayment(ask)));
        let (request, at, index) = (RequestId(number as u128), Duration::ZERO, number as u64);
        let call = Arc::new(Call { number, by: by.to_owned(), group: GROUP, request, ask: ask.clone(), at });
        let reply = Reply { result: Ok(Outcome::Done), replayed: false };
        let answer = Answer::Reply(reply.clone(), Position { term: 1, index });
        let record = |event| EventRecord { sequence: 1, at: Timestamp(1), showtime: None, event, chain: [0; 32] };
        let events = events.into_iter().map(record).collect();
        let told = Told { request: Some(request), ask, reply, is_anew: false, events };
        let played = Played {
            group: GROUP,
            position: LogPosition { term: 1, node: 1, index },
            at: None,
            due: Vec::new(),
            commands: vec![told],
            digest: [0; 32],
            audit: Ok(()),
        };
        let happenings = vec![Happening::Called(call.clone()), Happening::Answered { call, answer, at }];
        Look { happenings, played: vec![played], ..Look::default() }
    }

    fn paid(payment: u64) -> Event {
        Event::PaymentSucceeded { order: ORDER, payment: PaymentId(payment), amount: TOTAL }
    }

    #[test]
    fn a_notice_that_comes_again_is_counted() {
        let mut webhooks = Webhooks::default();
        let first = told(provider::NAME, 1, 41, vec![paid(41)]);
        webhooks.observe(&first);
        webhooks.observe(&first);
        webhooks.observe(&told("buyer", 2, 41, Vec::new()));
        assert_eq!(webhooks.counts(), BTreeMap::new(), "the same request, and somebody else");
        webhooks.observe(&told(provider::NAME, 3, 41, Vec::new()));
        assert_eq!(webhooks.counts(), BTreeMap::from([("repeated", 1)]));
    }

    #[test]
    fn a_notice_of_an_order_that_has_ended_is_counted() {
        let expired = Event::OrderExpired { order: ORDER, user: UserId(7), places: Places::default(), total: TOTAL };
        let mut webhooks = Webhooks::default();
        webhooks.observe(&told(provider::NAME, 1, 41, vec![paid(41), expired]));
        webhooks.observe(&told("gateway-1", 2, 42, vec![paid(42)]));
        assert_eq!(webhooks.counts(), BTreeMap::new(), "in time, and told by somebody else");
        webhooks.observe(&told(provider::NAME, 3, 43, vec![paid(43)]));
        assert_eq!(webhooks.counts(), BTreeMap::from([("late", 1)]));
    }
}

//! Commands that wait for a group's proposer: bounded, and fair between those who ask.
//!
//! Each asker (a session) has a lane of its own, and the proposer takes from the lanes in turn: whoever asks for little
//! waits for one round, not for all that others have asked for before. When there is no room, the longest lane gives way:
//! its newest command is refused, of which nothing was done yet. So an asker who floods is refused, and nobody else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// Who asks. What the node asks of itself comes from [`Asker::NODE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asker(pub(crate) u64);

impl Asker {
    pub(crate) const NODE: Self = Self(0);
}

/// Something that waits for its turn.
pub(crate) trait Waiting {
    /// Its length in bytes.
    fn bytes(&self) -> usize;
    /// Whether nobody waits for its answer any more.
    fn is_forsaken(&self) -> bool;
}

/// Bounds of a queue and of what is taken from it at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) len_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) batch_len_max: usize,
    /// A single one may be longer.
    pub(crate) batch_bytes_max: usize,
}

pub(crate) struct ProposalQueue<T> {
    bounds: Bounds,
    lanes: Mutex<Lanes<T>>,
    arrived: Notify,
}

struct Lanes<T> {
    /// None of them is empty.
    lanes: BTreeMap<Asker, Lane<T>>,
    /// Every asker that has a lane, once, in the order in which they are served.
    turns: VecDeque<Asker>,
    len: usize,
    bytes: usize,
    is_closed: bool,
}

struct Lane<T> {
    waiting: VecDeque<T>,
    bytes: usize,
}

impl<T: Waiting> ProposalQueue<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let lanes = Lanes { lanes: BTreeMap::new(), turns: VecDeque::new(), len: 0, bytes: 0, is_closed: false };
        Self { bounds, lanes: Mutex::new(lanes), arrived: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes<T>> {
        self.lanes.lock().expect("no holder of this lock panics")
    }

    /// Number of those that wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().len
    }

    /// Queues `item`. Gives those for which there is no room: that may be `item` itself, or some of a longer lane.
    #[must_use = "what is refused has to be told so"]
    pub(crate) fn push(&self, asker: Asker, item: T) -> Vec<T> {
        let Bounds { len_max, bytes_max, .. } = self.bounds;
        let mut lanes = self.lock();
        let mut refused = Vec::new();
        if lanes.is_closed || item.bytes() > bytes_max {
            return vec![item];
        }
        let (own_len, own_bytes) = lanes.lanes.get(&asker).map_or((0, 0), |lane| (lane.waiting.len(), lane.bytes));
        while lanes.len >= len_max || lanes.bytes + item.bytes() > bytes_max {
            let longest = if lanes.len >= len_max {
                let longest = lanes.lanes.iter().max_by_key(|(_, lane)| lane.waiting.len());
                longest.filter(|(_, lane)| lane.waiting.len() > own_len + 1)
            } else {
                let longest = lanes.lanes.iter().max_by_key(|(_, lane)| lane.bytes);
                longest.filter(|(_, lane)| lane.bytes > own_bytes + item.bytes())
            };
            match longest.map(|(asker, _)| *asker) {
                Some(longest) => refused.extend(lanes.take_newest(longest)),
                None => {
                    refused.push(item);
                    return refused;
                }
            }
        }
        lanes.add(asker, item);
        drop(lanes);
        self.arrived.notify_one();
        refused
    }

    /// What is to be proposed next, as soon as there is something: the lanes in turn, those that nobody waits for any
    /// more left out. `None` once the queue is closed. There is one caller.
    pub(crate) async fn next_batch(&self) -> Option<Vec<T>> {
        loop {
            {
                let mut lanes = self.lock();
                if lanes.is_closed {
                    return None;
                }
                let batch = lanes.take_batch(self.bounds);
                if !batch.is_empty() {
                    return Some(batch);
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Refuses everything from now on. Gives what was still waiting.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut lanes = self.lock();
        lanes.is_closed = true;
        lanes.turns.clear();
        (lanes.len, lanes.bytes) = (0, 0);
        let left = std::mem::take(&mut lanes.lanes).into_values().flat_map(|lane| lane.waiting).collect();
        drop(lanes);
        self.arrived.notify_one();
        left
    }
}

impl<T: Waiting> Lanes<T> {
    fn add(&mut self, asker: Asker, item: T) {
        self.len += 1;
        self.bytes += item.bytes();
        let turns = &mut self.turns;
        let lane = self.lanes.entry(asker).or_insert_with(|| {
            turns.push_back(asker);
            Lane { waiting: VecDeque::new(), bytes: 0 }
        });
        lane.bytes += item.bytes();
        lane.waiting.push_back(item);
    }

    fn take_newest(&mut self, asker: Asker) -> Option<T> {
        let lane = self.lanes.get_mut(&asker)?;
        let item = lane.waiting.pop_back()?;
        lane.bytes -= item.bytes();
        self.len -= 1;
        self.bytes -= item.bytes();
        if lane.waiting.is_empty() {
            self.lanes.remove(&asker);
            self.turns.retain(|turn| *turn != asker);
        }
        Some(item)
    }

    /// Takes the oldest of the lane whose turn it is, if it has at most `bytes_max`.
    fn take_next(&mut self, bytes_max: usize) -> Option<T> {
        let asker = *self.turns.front()?;
        let lane = self.lanes.get_mut(&asker).expect("every turn has a lane");
        if lane.waiting.front().is_some_and(|item| item.bytes() > bytes_max) {
            return None;
        }
        let item = lane.waiting.pop_front().expect("no lane is empty");
        lane.bytes -= item.bytes();
        self.len -= 1;
        self.bytes -= item.bytes();
        self.turns.pop_front();
        if lane.waiting.is_empty() {
            self.lanes.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        Some(item)
    }

    fn take_batch(&mut self, bounds: Bounds) -> Vec<T> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < bounds.batch_len_max {
            let bytes_max = if batch.is_empty() { usize::MAX } else { bounds.batch_bytes_max.saturating_sub(bytes) };
            let Some(item) = self.take_next(bytes_max) else { break };
            if item.is_forsaken() {
                continue;
            }
            bytes += item.bytes();
            batch.push(item);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[derive(Debug, PartialEq, Eq)]
    struct Item {
        asker: u64,
        number: usize,
        bytes: usize,
        is_forsaken: bool,
    }

    impl Waiting for Item {
        fn bytes(&self) -> usize {
            self.bytes
        }
        fn is_forsaken(&self) -> bool {
            self.is_forsaken
        }
    }

    fn item(asker: u64, number: usize) -> Item {
        Item { asker, number, bytes: 10, is_forsaken: false }
    }

    const BOUNDS: Bounds = Bounds { len_max: 100, bytes_max: 10_000, batch_len_max: 8, batch_bytes_max: 1_000 };

    fn push(queue: &ProposalQueue<Item>, item: Item) -> Vec<(u64, usize)> {
        queue.push(Asker(item.asker), item).into_iter().map(|item| (item.asker, item.number)).collect()
    }

    fn batch(queue: &ProposalQueue<Item>) -> Vec<(u64, usize)> {
        let batch = queue.next_batch().now_or_never().flatten().unwrap_or_default();
        batch.into_iter().map(|item| (item.asker, item.number)).collect()
    }

    #[test]
    fn lanes_are_served_in_turn_and_each_in_order() {
        let queue = ProposalQueue::new(BOUNDS);
        for number in 0..50 {
            assert_eq!(push(&queue, item(1, number)), []);
        }
        for number in 0..2 {
            assert_eq!(push(&queue, item(2, number)), []);
            assert_eq!(push(&queue, item(3, number)), []);
        }
        assert_eq!(batch(&queue), [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]);
        assert_eq!(queue.len(), 46);
        assert_eq!(batch(&queue).len(), 8);
    }

    #[test]
    fn who_floods_is_refused_and_gives_way_to_others() {
        let queue = ProposalQueue::new(BOUNDS);
        for number in 0..100 {
            assert_eq!(push(&queue, item(1, number)), []);
        }
        assert_eq!(push(&queue, item(1, 100)), [(1, 100)], "there is no room for more of it");
        // Others get what they need, up to an equal share.
        for number in 0..49 {
            assert_eq!(push(&queue, item(2, number)), [(1, 99 - number)]);
        }
        assert_eq!(push(&queue, item(2, 49)), [(1, 50)]);
        assert_eq!(push(&queue, item(2, 50)), [(2, 50)]);
        assert_eq!(queue.len(), 100);
        let mut served = Vec::new();
        while let more @ [_, ..] = &batch(&queue)[..] {
            served.extend_from_slice(more);
        }
        assert_eq!(served.iter().filter(|(asker, _)| *asker == 1).count(), 50);
        assert!(served.is_sorted_by_key(|(_, number)| *number));
        let lanes = queue.lock();
        assert_eq!((lanes.len, lanes.bytes, lanes.turns.len(), lanes.lanes.len()), (0, 0, 0, 0));
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let queue = ProposalQueue::new(BOUNDS);
        let long = |asker, number| Item { bytes: 3_000, ..item(asker, number) };
        for number in 0..3 {
            assert_eq!(push(&queue, long(1, number)), []);
        }
        assert_eq!(push(&queue, long(1, 3)), [(1, 3)]);
        assert_eq!(push(&queue, long(2, 0)), [(1, 2)]);
        assert_eq!(push(&queue, Item { bytes: 10_001, ..item(3, 0) }), [(3, 0)], "longer than the queue");
        // Longer than a batch: it goes alone, and the short one behind it does not wait for ever.
        assert_eq!(push(&queue, item(3, 1)), []);
        assert_eq!(batch(&queue), [(1, 0)]);
        assert_eq!(batch(&queue), [(2, 0)]);
        assert_eq!(batch(&queue), [(3, 1)]);
        assert_eq!(batch(&queue), [(1, 1)]);
        assert_eq!(batch(&queue), []);
    }

    #[test]
    fn what_nobody_waits_for_is_not_proposed() {
        let queue = ProposalQueue::new(BOUNDS);
        for number in 0..10 {
            assert_eq!(push(&queue, Item { is_forsaken: number % 2 == 0, ..item(1, number) }), []);
        }
        assert_eq!(batch(&queue), [(1, 1), (1, 3), (1, 5), (1, 7), (1, 9)]);
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test]
    async fn an_arrival_wakes_the_proposer_and_so_does_the_end() {
        let queue = std::sync::Arc::new(ProposalQueue::new(BOUNDS));
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { (queue.next_batch().await.map(|batch| batch.len()), queue.next_batch().await) }
        });
        tokio::task::yield_now().await;
        assert_eq!(push(&queue, item(1, 0)), []);
        while queue.len() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.close(), []);
        assert_eq!(waiter.await.expect("it does not panic"), (Some(1), None));
        assert_eq!(push(&queue, item(1, 1)), [(1, 1)]);
    }
}

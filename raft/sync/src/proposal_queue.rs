//! Commands that wait for a group's proposer: bounded, and fair between those who ask.
//!
//! Each asker (a session) has a lane of its own, and the proposer takes from the lanes in turn: whoever asks for little
//! waits for one round, not for all that others have asked for before. When there is no room, the longest lane gives way:
//! its newest command is refused, of which nothing was done yet. So an asker who floods is refused, and nobody else.

use crate::monitor::Monitor;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Who asks. What the node asks of itself comes from [`Asker::NODE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker(pub u64);

impl Asker {
    /// The node itself.
    pub const NODE: Self = Self(0);
}

/// Something that waits for its turn.
pub trait Waiting {
    /// Its length in bytes.
    fn bytes(&self) -> usize;
    /// Whether nobody waits for its answer any more.
    fn is_forsaken(&self) -> bool;
}

/// Bounds of a queue and of what is taken from it at a time.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many may wait.
    pub len_max: usize,
    /// How many bytes of them may wait.
    pub bytes_max: usize,
    /// How many are taken at a time.
    pub batch_len_max: usize,
    /// How many bytes are taken at a time. A single one may be longer.
    pub batch_bytes_max: usize,
}

/// Those that wait, and what is to be taken next.
pub struct ProposalQueue<T> {
    bounds: Bounds,
    lanes: Monitor<Lanes<T>>,
}

impl<T> fmt::Debug for ProposalQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProposalQueue").field("bounds", &self.bounds).finish_non_exhaustive()
    }
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
    /// An empty queue.
    pub fn new(bounds: Bounds) -> Self {
        let lanes = Lanes { lanes: BTreeMap::new(), turns: VecDeque::new(), len: 0, bytes: 0, is_closed: false };
        Self { bounds, lanes: Monitor::new(lanes) }
    }

    /// Number of those that wait.
    pub fn len(&self) -> usize {
        self.lanes.look(|lanes| lanes.len)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues `item`. Gives those for which there is no room: that may be `item` itself, or some of a longer lane.
    #[must_use = "what is refused has to be told so"]
    pub fn push(&self, asker: Asker, item: T) -> Vec<T> {
        self.lanes.change(|lanes| lanes.push(self.bounds, asker, item))
    }

    /// What is to be proposed next, as soon as there is something: the lanes in turn, those that nobody waits for any
    /// more left out. `None` once the queue is closed. There is one caller.
    pub async fn next_batch(&self) -> Option<Vec<T>> {
        self.lanes
            .wait_for(|lanes| {
                if lanes.is_closed {
                    return Some(None);
                }
                let batch = lanes.take_batch(self.bounds);
                (!batch.is_empty()).then_some(Some(batch))
            })
            .await
    }

    /// Refuses everything from now on. Gives what was still waiting.
    pub fn close(&self) -> Vec<T> {
        self.lanes.change(|lanes| {
            lanes.is_closed = true;
            lanes.turns.clear();
            (lanes.len, lanes.bytes) = (0, 0);
            std::mem::take(&mut lanes.lanes).into_values().flat_map(|lane| lane.waiting).collect()
        })
    }
}

impl<T: Waiting> Lanes<T> {
    fn push(&mut self, bounds: Bounds, asker: Asker, item: T) -> Vec<T> {
        let Bounds { len_max, bytes_max, .. } = bounds;
        let mut refused = Vec::new();
        if self.is_closed || item.bytes() > bytes_max {
            return vec![item];
        }
        let (own_len, own_bytes) = self.lanes.get(&asker).map_or((0, 0), |lane| (lane.waiting.len(), lane.bytes));
        while self.len >= len_max || self.bytes + item.bytes() > bytes_max {
            let longest = if self.len >= len_max {
                let longest = self.lanes.iter().max_by_key(|(_, lane)| lane.waiting.len());
                longest.filter(|(_, lane)| lane.waiting.len() > own_len + 1)
            } else {
                let longest = self.lanes.iter().max_by_key(|(_, lane)| lane.bytes);
                longest.filter(|(_, lane)| lane.bytes > own_bytes + item.bytes())
            };
            match longest.map(|(asker, _)| *asker) {
                Some(longest) => refused.extend(self.take_newest(longest)),
                None => {
                    refused.push(item);
                    return refused;
                }
            }
        }
        self.add(asker, item);
        refused
    }

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

#[cfg(all(test, not(loom)))]
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
        let left = queue.lanes.look(|lanes| (lanes.len, lanes.bytes, lanes.turns.len(), lanes.lanes.len()));
        assert_eq!(left, (0, 0, 0, 0));
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
        while !queue.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.close(), []);
        assert_eq!(waiter.await.expect("it does not panic"), (Some(1), None));
        assert_eq!(push(&queue, item(1, 1)), [(1, 1)]);
    }
}

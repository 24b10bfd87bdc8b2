//! Which entries stay in memory: one budget for the node, whatever the number of its groups. The oldest go first, so a
//! group in which nothing happens keeps nothing that a busy one could use.

use super::group_log::GroupLog;
use super::{Shared, WalConfig, lock};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// The budget is looked after whenever this part of it was added, and that much is left free each time: all groups have
/// to be looked at.
const PART: usize = 8;

impl Shared {
    /// Bytes were appended. No lock of a group may be held.
    pub(super) fn note_resident(&self, bytes: usize) {
        let (budget, part) = budget(&self.config);
        let added = self.added_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if added < part {
            return;
        }
        self.added_bytes.store(0, Ordering::Relaxed);
        let logs: Vec<_> = lock(&self.groups).values().cloned().collect();
        evict(&logs, budget);
    }
}

/// How many bytes of entries may stay, and how many may then be added before that is looked after again.
pub(super) fn budget(config: &WalConfig) -> (usize, usize) {
    let part = config.resident_bytes_max / PART;
    (config.resident_bytes_max - part, part)
}

/// Lets go of the oldest entries of all logs that are on disk, until at most `bytes_max` stay.
pub(super) fn evict(logs: &[Arc<Mutex<GroupLog>>], bytes_max: usize) {
    let mut resident: usize = logs.iter().map(|log| lock(log).resident_bytes()).sum();
    if resident <= bytes_max {
        return;
    }
    let oldest = |at: usize| lock(&logs[at]).oldest_resident().map(|stamp| Reverse((stamp, at)));
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> = (0..logs.len()).filter_map(oldest).collect();
    while resident > bytes_max
        && let Some(Reverse((_, at))) = heap.pop()
    {
        // As long as this log's are older than every other's.
        let until = heap.peek().map_or(u64::MAX, |Reverse((stamp, _))| *stamp);
        let freed = lock(&logs[at]).evict(resident - bytes_max, until);
        resident = resident.saturating_sub(freed);
        if freed > 0 {
            heap.extend(oldest(at));
        }
    }
}

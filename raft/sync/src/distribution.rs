//! Counts of how often something was how large, cheap enough for the hottest path: three atomic additions, no lock.

use crate::primitives::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets: up to 1, up to 2, up to 4 and so on; the last takes the rest.
const BUCKETS: usize = 25;

/// How often something was how large, by powers of two.
#[derive(Debug)]
pub struct Distribution {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

/// A distribution as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// For each bucket, how many fell into it and no smaller one.
    pub counts: [u64; BUCKETS],
    /// The sum of all that was observed.
    pub sum: u64,
}

impl Distribution {
    /// Notes one value.
    pub fn observe(&self, value: u64) {
        // The bucket whose bound is the next power of two: 1 belongs to the first, 2 to the second, 3 and 4 to the third.
        let bucket = value.max(1).next_power_of_two().trailing_zeros() as usize;
        self.counts[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Notes a time, in microseconds.
    pub fn observe_duration(&self, took: Duration) {
        self.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 1));
    }

    /// What was noted so far. Values that are noted meanwhile may be in the counts and not in the sum.
    pub fn observed(&self) -> Observed {
        let counts = std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed));
        Observed { counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

impl Observed {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bucket's upper bound, times `unit`, and its count.
    pub fn buckets(&self, unit: f64) -> Vec<(f64, u64)> {
        let bound = |bucket: usize| if bucket + 1 == BUCKETS { f64::MAX } else { (1_u64 << bucket) as f64 * unit };
        (0..BUCKETS).map(|bucket| (bound(bucket), self.counts[bucket])).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_the_first_bucket_that_is_large_enough() {
        let values = [0, 1, 2, 3, 4, 5, 1 << 23, (1 << 23) + 1, 1 << 40];
        for value in values {
            let distribution = Distribution::default();
            distribution.observe(value);
            let observed = distribution.observed();
            assert_eq!((observed.count(), observed.sum), (1, value));
            let buckets = observed.buckets(1.0);
            let found = buckets.iter().position(|(_, count)| *count == 1).expect("it was counted");
            assert!(value as f64 <= buckets[found].0, "{value}");
            assert!(found == 0 || buckets[found - 1].0 < value as f64, "{value}");
        }
    }

    #[test]
    fn times_are_microseconds() {
        let distribution = Distribution::default();
        distribution.observe_duration(Duration::from_millis(3));
        let observed = distribution.observed();
        assert_eq!(observed.sum, 3_000);
        let (bound, _) = observed.buckets(1e-6).into_iter().find(|(_, count)| *count == 1).expect("it was counted");
        assert!((0.003..0.006).contains(&bound), "{bound}");
    }
}

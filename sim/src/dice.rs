//! Where all chance of a run comes from: streams of numbers, each drawn from the seed and a name.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use std::ops::RangeInclusive;
use std::time::Duration;

/// One stream of chance. Streams with different names do not depend on each other, so that a new use of one changes
/// nothing about the others.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream called `name` of a seed.
    pub fn new(seed: u64, name: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update(seed.to_le_bytes());
        digest.update(name.as_bytes());
        Self(ChaCha8Rng::from_seed(digest.finalize().into()))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 128 bits.
    pub fn wide(&mut self) -> u128 {
        u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64())
    }

    /// A number of the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let span = range.end() - range.start() + 1;
        range.start() + self.0.next_u64() % span
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        (self.0.next_u64() % len as u64) as usize
    }

    /// Whether something happens that happens `percent` times in a hundred.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.0.next_u64() % 100 < percent
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// A span between two numbers of milliseconds.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// One of several that come as often as their weights say; at least one weight is not 0.
    pub fn weighted<'a, T>(&mut self, from: &'a [(T, u64)]) -> &'a T {
        let sum: u64 = from.iter().map(|(_, weight)| weight).sum();
        let mut left = self.within(0..=sum - 1);
        for (item, weight) in from {
            if left < *weight {
                return item;
            }
            left -= weight;
        }
        unreachable!("the number drawn is below the sum of the weights")
    }
}

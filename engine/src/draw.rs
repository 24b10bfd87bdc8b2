//! The draw: a permutation that anybody can compute from published data.
//!
//! Entrants are numbered 0 to n - 1 in join order. With `seed = SHA-256(secret ‖ merkle root ‖ beacon)` the place of an
//! entrant is the swap-or-not shuffle of the Ethereum consensus specification (`compute_shuffled_index`) with
//! [`ROUNDS`] rounds. It is computed for one entrant at a time, in either direction, so that opening a line of any
//! length costs nothing.

use sha2::{Digest, Sha256};

/// Rounds of the shuffle.
pub const ROUNDS: u8 = 90;

/// A shuffle of `count` entrants under one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shuffle {
    seed: [u8; 32],
    count: u64,
    /// One pivot a round: they depend on seed and count alone.
    pivots: Vec<u64>,
}

/// The seed of a draw.
pub fn seed(secret: &[u8; 32], merkle_root: &[u8; 32], beacon: Option<&[u8]>) -> [u8; 32] {
    let beacon = beacon.unwrap_or_default();
    Sha256::new().chain_update(secret).chain_update(merkle_root).chain_update(beacon).finalize().into()
}

impl Shuffle {
    /// The shuffle of `count` entrants, at most 2^40, under this seed.
    pub fn new(seed: [u8; 32], count: u64) -> Self {
        let pivot = |round: u8| {
            let hash: [u8; 32] = Sha256::new().chain_update(seed).chain_update([round]).finalize().into();
            u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes")) % count.max(1)
        };
        Self { seed, count, pivots: (0..ROUNDS).map(pivot).collect() }
    }

    /// How many entrants.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The shuffled position of the entrant with this index, both from 0. `None` when there is no such entrant.
    pub fn position_of(&self, index: u64) -> Option<u64> {
        (index < self.count).then(|| (0..ROUNDS).fold(index, |index, round| self.swap_or_not(index, round)))
    }

    /// The index of the entrant at this shuffled position, both from 0. `None` when there is no such position.
    pub fn index_at(&self, position: u64) -> Option<u64> {
        // Each round swaps in pairs, so it is undone by itself.
        (position < self.count).then(|| (0..ROUNDS).rev().fold(position, |index, round| self.swap_or_not(index, round)))
    }

    fn swap_or_not(&self, index: u64, round: u8) -> u64 {
        let pivot = self.pivots[usize::from(round)];
        let flip = if pivot >= index { pivot - index } else { pivot + self.count - index };
        let position = index.max(flip);
        let mut input = [0; 37];
        input[..32].copy_from_slice(&self.seed);
        input[32] = round;
        input[33..].copy_from_slice(&((position / 256) as u32).to_le_bytes());
        let source: [u8; 32] = Sha256::digest(input).into();
        let bit = source[(position % 256 / 8) as usize] >> (position % 8) & 1;
        if bit == 1 { flip } else { index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Vectors {
        vectors: Vec<Vector>,
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        seed: String,
        count: u64,
        rounds: u8,
        mapping: Vec<u64>,
    }

    fn bytes(hex: &str) -> [u8; 32] {
        let byte = |index: usize| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap();
        std::array::from_fn(byte)
    }

    #[test]
    fn it_is_the_shuffle_of_the_consensus_specification() {
        let file = include_str!("../tests/fixtures/draw-vectors.json");
        let Vectors { vectors } = serde_json::from_str(file).unwrap();
        assert!(vectors.len() > 3);
        for vector in vectors {
            assert_eq!(vector.rounds, ROUNDS);
            let shuffle = Shuffle::new(bytes(&vector.seed), vector.count);
            for (index, &position) in vector.mapping.iter().enumerate() {
                assert_eq!(shuffle.position_of(index as u64), Some(position));
                assert_eq!(shuffle.index_at(position), Some(index as u64));
            }
        }
    }

    #[test]
    fn it_is_a_permutation() {
        let powers = (1..10).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1]);
        for count in (0..70).chain(powers).chain([1_000]) {
            let shuffle = Shuffle::new([count as u8; 32], count);
            let mut seen = vec![false; count as usize];
            for index in 0..count {
                let position = shuffle.position_of(index).unwrap();
                assert!(!std::mem::replace(&mut seen[position as usize], true), "{position} of {count} twice");
                assert_eq!(shuffle.index_at(position), Some(index));
            }
            assert_eq!((shuffle.position_of(count), shuffle.index_at(count)), (None, None));
        }
    }

    /// `compute_shuffled_index` of the consensus specification (phase 0), line by line.
    fn compute_shuffled_index(mut index: u64, index_count: u64, seed: &[u8]) -> u64 {
        let hash = |data: Vec<u8>| Sha256::digest(data).to_vec();
        assert!(index < index_count);
        for current_round in 0..90_u8 {
            let mut of_round = seed.to_vec();
            of_round.push(current_round);
            let eight = hash(of_round.clone())[0..8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            let pivot = eight % index_count;
            let flip = (pivot + index_count - index) % index_count;
            let position = u64::max(index, flip);
            for shift in [0, 8, 16, 24] {
                of_round.push(((position / 256) >> shift) as u8);
            }
            let source = hash(of_round);
            let byte = source[((position % 256) / 8) as usize];
            let bit = (byte >> (position % 8)) % 2;
            index = if bit == 1 { flip } else { index };
        }
        index
    }

    /// The vectors of the specification end at 100 entrants: below the first step to a second hash of a round.
    #[test]
    fn it_is_the_specification_also_for_many() {
        for (count, step) in [(1, 1), (100, 1), (257, 1), (1_000, 1), (65_537, 97), (10_000_000, 9_973)] {
            for seed in [[0; 32], [7; 32], Sha256::digest([1]).into()] {
                let shuffle = Shuffle::new(seed, count);
                for index in (0..count).step_by(step).chain([count - 1]) {
                    let wanted = compute_shuffled_index(index, count, &seed);
                    assert_eq!(shuffle.position_of(index), Some(wanted), "{index} of {count}");
                }
            }
        }
    }

    #[test]
    fn of_ten_million_any_can_be_computed() {
        let shuffle = Shuffle::new([7; 32], 10_000_000);
        for index in (0..10_000_000).step_by(9_999_991 / 500).chain([9_999_999]) {
            let position = shuffle.position_of(index).unwrap();
            assert!(position < 10_000_000);
            assert_eq!(shuffle.index_at(position), Some(index));
        }
    }
}

//! What a buyer sets out to do.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The most seats that a buyer wants.
const PARTY_MAX: u32 = 4;

/// A buyer's intentions, drawn before it moves, and the dice for what only shows on the way.
pub(super) struct Script {
    /// How many seats it wants.
    pub(super) party: usize,
    /// What it does once it holds them.
    pub(super) ending: Ending,
    /// For pauses and the choice of seats.
    pub(super) dice: Dice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Pays.
    Pay,
    /// Its card is declined, then it pays with another one.
    DeclinedThenPay,
    /// Its card is declined, then it cancels the order.
    DeclinedThenCancel,
    /// Gives the seats back.
    Release,
    /// Is not heard of again.
    Vanish,
}

impl Script {
    /// The intentions of the buyer of this number: always the same for a seed and shares.
    pub(super) fn draw(seed: u64, buyer: u32, abandon: f64, decline: f64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(buyer));
        let mut dice = Dice(rng);
        let party = 1 + dice.below(PARTY_MAX as usize);
        let roll = dice.roll();
        let first_half = dice.roll() < 0.5;
        let ending = match roll {
            roll if roll < abandon && first_half => Ending::Release,
            roll if roll < abandon => Ending::Vanish,
            roll if roll < abandon + decline && first_half => Ending::DeclinedThenPay,
            roll if roll < abandon + decline => Ending::DeclinedThenCancel,
            _ => Ending::Pay,
        };
        Self { party, ending, dice }
    }
}

pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// From 0 up to, but not including, 1.
    pub(super) fn roll(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    /// From 0 up to, but not including, `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.roll() * bound as f64) as usize
    }

    pub(super) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_seed_gives_the_same_scripts_and_the_wanted_shares() {
        let draw = |seed, buyer| {
            let script = Script::draw(seed, buyer, 0.10, 0.06);
            (script.party, script.ending)
        };
        let mut endings = BTreeMap::new();
        let mut parties = [0; 5];
        for buyer in 0..10_000 {
            assert_eq!(draw(7, buyer), draw(7, buyer));
            let (party, ending) = draw(7, buyer);
            parties[party] += 1;
            *endings.entry(format!("{ending:?}")).or_insert(0) += 1;
        }
        assert!((0..100).any(|buyer| draw(7, buyer) != draw(8, buyer)));
        assert!(parties[0] == 0 && parties[1..].iter().all(|&count| (2_300..2_700).contains(&count)), "{parties:?}");
        for (ending, share) in
            [("Vanish", 500), ("Release", 500), ("DeclinedThenPay", 300), ("DeclinedThenCancel", 300), ("Pay", 8_400)]
        {
            let count = endings[ending];
            assert!((share * 8 / 10..share * 12 / 10).contains(&count), "{ending}: {count}");
        }
    }
}

//! How many seats there are for a wish, and how many of them side by side, kept up to date stretch by stretch: a house in
//! which ten thousand seats come free one after the other is not looked through for each of them.

use std::collections::BTreeMap;

/// What is free of one category, or of all, of seats that anybody may have. Derived.
#[derive(Debug)]
pub(crate) struct FreeRoom {
    /// By stretch, the nearest first: how many, and the most side by side.
    stretches: Vec<(u32, u32)>,
    seats: u32,
    /// How many stretches have so many side by side.
    runs: BTreeMap<u32, u32>,
    /// A bit for each stretch that has changed since.
    stale: Vec<u64>,
    is_stale: bool,
}

impl FreeRoom {
    /// Nothing is known yet.
    pub(super) fn new(stretches: usize) -> Self {
        let mut room = Self {
            stretches: vec![(0, 0); stretches],
            seats: 0,
            runs: BTreeMap::from([(0, stretches as u32)]),
            stale: vec![0; stretches.div_ceil(64)],
            is_stale: true,
        };
        (0..stretches).for_each(|stretch| room.forget(stretch));
        room
    }

    /// A seat of this stretch has changed.
    #[inline]
    pub(super) fn forget(&mut self, stretch: usize) {
        self.stale[stretch / 64] |= 1 << (stretch % 64);
        self.is_stale = true;
    }

    /// Looks at the stretches that have changed.
    pub(super) fn refresh(&mut self, look: impl Fn(usize) -> (u32, u32)) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        for word in 0..self.stale.len() {
            let mut bits = std::mem::take(&mut self.stale[word]);
            while bits != 0 {
                let stretch = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let now = look(stretch);
                let before = std::mem::replace(&mut self.stretches[stretch], now);
                self.seats = self.seats - before.0 + now.0;
                let of_before = self.runs.get_mut(&before.1).expect("every stretch is counted");
                *of_before -= 1;
                if *of_before == 0 {
                    self.runs.remove(&before.1);
                }
                *self.runs.entry(now.1).or_default() += 1;
            }
        }
    }

    /// How many seats, and the most of them side by side; nothing while that is not known.
    pub(super) fn get(&self) -> Option<(u32, u32)> {
        let longest = self.runs.last_key_value().map_or(0, |(&longest, _)| longest);
        (!self.is_stale).then_some((self.seats, longest))
    }
}

//! The best run of so many seats in each stretch, remembered until a seat of the stretch changes: most wishes for the best
//! seats are for few seats and nothing special, and find most stretches as the one before left them.

/// The most seats of a wish for which runs are remembered.
pub(super) const REMEMBERED_MAX: u32 = 8;

/// Seats side by side, with how far they are away together. The least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) distance: u64,
    pub(super) first: u32,
}

/// The best runs of one quantity, by stretch, the nearest stretch first, of seats anybody may have. Derived.
#[derive(Debug)]
pub(crate) struct BestRuns {
    pub(super) quantity: u32,
    /// Whether they leave no free seat alone.
    pub(super) spare_alone: bool,
    /// How far each is away; the highest number where there is none.
    distances: Vec<u64>,
    /// Where each begins.
    firsts: Vec<u32>,
    /// A bit for each stretch that has changed since.
    stale: Vec<u64>,
}

impl BestRuns {
    /// Nothing is known yet.
    pub(super) fn new(quantity: u32, spare_alone: bool, stretches: usize) -> Self {
        let mut runs = Self {
            quantity,
            spare_alone,
            distances: vec![u64::MAX; stretches],
            firsts: vec![0; stretches],
            stale: vec![0; stretches.div_ceil(64)],
        };
        (0..stretches).for_each(|stretch| runs.forget(stretch));
        runs
    }

    /// A seat of this stretch has changed.
    #[inline]
    pub(super) fn forget(&mut self, stretch: usize) {
        self.stale[stretch / 64] |= 1 << (stretch % 64);
    }

    /// Finds what is not known.
    pub(super) fn refresh(&mut self, find: impl Fn(usize) -> Option<Run>) {
        for word in 0..self.stale.len() {
            let mut bits = std::mem::take(&mut self.stale[word]);
            while bits != 0 {
                let stretch = 64 * word + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let run = find(stretch).unwrap_or(Run { distance: u64::MAX, first: 0 });
                (self.distances[stretch], self.firsts[stretch]) = (run.distance, run.first);
            }
        }
    }

    /// How far the best run of each stretch is away, 64 stretches at a time, and which of them have changed since.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (&[u64], u64)> {
        self.distances.chunks(64).zip(self.stale.iter().copied())
    }

    /// The best run of a stretch that has one and has not changed.
    pub(super) fn run(&self, stretch: usize) -> Run {
        Run { distance: self.distances[stretch], first: self.firsts[stretch] }
    }

    /// Checks what is known against what is found now.
    pub(super) fn check(&self, find: impl Fn(usize) -> Option<Run>) -> Result<(), String> {
        for stretch in (0..self.distances.len()).filter(|stretch| self.stale[stretch / 64] >> (stretch % 64) & 1 == 0) {
            let known = Some(self.run(stretch)).filter(|run| run.distance != u64::MAX);
            if known != find(stretch) {
                return Err(format!("the best {} of stretch {stretch} are others than remembered", self.quantity));
            }
        }
        Ok(())
    }
}

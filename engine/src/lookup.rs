//! The hashers of the look-up maps. Their seeds are fixed, and the maps are only looked up, never walked: no seed shows.

use foldhash::quality::FixedState;

/// The hasher of one kind of map.
pub(crate) fn hasher(seed: u64) -> FixedState {
    #[cfg(test)]
    let seed = seed ^ OTHER.get();
    FixedState::with_seed(seed)
}

#[cfg(test)]
thread_local! {
    static OTHER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Works with other seeds than the fixed ones. A machine must stay within the seeds it was made with.
#[cfg(test)]
pub(crate) fn with_other_seeds<T>(other: u64, work: impl FnOnce() -> T) -> T {
    let before = OTHER.replace(other);
    let result = work();
    OTHER.set(before);
    result
}

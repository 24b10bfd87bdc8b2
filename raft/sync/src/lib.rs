//! What the threads of a node share, each small enough that every interleaving of its users can be tried.
//!
//! - [`monitor`]: a value behind a lock, and the one task that waits for it. The rest is built on it.
//! - [`hand_off`]: work for one worker, until an end that loses nothing. The log's syncer is fed by it.
//! - [`proposal_queue`]: commands on their way to a group's proposer, fair between those who ask.
//! - [`distribution`]: counters that any number of threads add to.
//!
//! `just loom` tries the interleavings: it builds this crate with `--cfg loom`, which puts loom's lock and atomics in place
//! of the standard library's, and runs `tests/loom.rs`.
//!
//! What else threads share on a node is a value behind one lock, or tokio's own channels, whose interleavings tokio tries
//! itself. So it is with the feed of events, of which there is no ring to be modelled: events lie in the applied state behind
//! its lock, a `watch` channel tells how far they go, and every reader asks from the sequence on that it has come to. One that
//! is too slow is told which is the oldest that is kept.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod distribution;
pub mod hand_off;
pub mod monitor;
pub mod proposal_queue;

/// The standard library's primitives, or loom's.
mod primitives {
    #[cfg(loom)]
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };
    #[cfg(not(loom))]
    pub(crate) use std::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };
}

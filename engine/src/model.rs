//! Naive models of the machines, written to be obviously right and to share nothing with them but their vocabulary and
//! their bounds. Tests of the engine play millions of random commands to a machine and its model; the simulator plays every
//! entry of a run's log to both. Only for checks: a model scans all it has for every command.

pub use crate::directory::model::Model as DirectoryModel;
pub use crate::shard::model::Model as ShardModel;

use crate::{Envelope, EventRecord, Reply, Timestamp};

/// What a checker asks of a model.
pub trait Model {
    /// What it is told to do.
    type Command;

    /// The time comes; what was due by then happens.
    fn advance(&mut self, at: Timestamp);

    /// Executes a command at a time.
    fn apply(&mut self, at: Timestamp, envelope: &Envelope<Self::Command>) -> Reply;

    /// All facts there ever were, forgotten ones among them: number n is at n - 1.
    fn records(&self) -> &[EventRecord];

    /// How many facts are forgotten: those before all others.
    fn forgotten(&self) -> u64;
}

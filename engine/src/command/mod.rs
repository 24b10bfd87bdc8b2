//! What the state machines can be told to do. Both lists only grow at their ends: old logs must stay readable.
//!
//! A command carries who asks and what is wanted, nothing that the engine can find out itself, so that a client which
//! repeats its request repeats its command. Ids of what a command makes are assigned as it is applied.

mod directory;
mod group;
mod shard;

pub use directory::*;
pub use group::*;
pub use shard::*;

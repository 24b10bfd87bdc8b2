//! The deterministic state machines of Vestibule: the line, the seats, the holds, the orders and the draw.
//!
//! The engine is a value with one door. [`StateMachine::apply`] takes a batch of commands and the log time at which it
//! was proposed, changes the state, and gives one reply a command. Nothing else changes the state, and nothing else
//! enters it: no clock, no randomness, no files, no threads. A replay next year gives today's answers.
//!
//! ```text
//!   Envelope<Command> ──▶ apply ──▶ Reply = Result<Outcome, Refusal>    to whoever asked
//!                           ├─────▶ EventRecord, numbered and chained   to everybody else
//!                           └─────▶ DirtyRows                           to the disk
//! ```
//!
//! There are two machines: the [`Directory`] (group 0: organisations, venues, events, and which group holds which
//! showtime) and the [`Shard`] (every other group: everything of the showtimes placed there).
//!
//! In reading order:
//!
//! - [`machine`]: the door. [`envelope`]: what goes through it. [`command`], [`outcome`], [`refusal`], [`event`],
//!   [`query`]: the vocabulary. [`sale`] and [`status`]: the settings of a sale and the states of things.
//! - [`ids`], [`money`], [`time`]: the smallest parts. [`seat_map`]: the layout of a house, imported by [`plan`].
//! - [`shard`] and [`directory`]: the machines.
//! - [`draw`] and [`merkle`]: what an outsider needs to check a draw.
//! - [`row`] and [`codec`]: how a machine is stored. [`planted`]: bugs that the simulator has to catch. `model`: what the
//!   machines are checked by, under the feature of that name.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod codec;
pub mod command;
#[cfg(test)]
mod dice;
pub mod directory;
pub mod draw;
pub mod envelope;
pub mod event;
#[cfg(test)]
mod golden;
mod group_state;
pub mod ids;
mod journal;
mod ledger;
mod lookup;
pub mod machine;
pub mod merkle;
#[cfg(any(test, feature = "model"))]
pub mod model;
pub mod money;
pub mod outcome;
pub mod plan;
pub mod planted;
#[cfg(test)]
mod precedence;
pub mod query;
mod record_log;
pub mod refusal;
pub mod row;
pub mod sale;
pub mod seat_map;
pub mod shard;
pub mod status;
mod table;
pub mod time;
#[cfg(test)]
mod transcript;

pub use command::*;
pub use directory::Directory;
pub use envelope::*;
pub use event::*;
pub use ids::*;
pub use machine::{Loader, StateMachine};
pub use money::*;
pub use outcome::Outcome;
pub use query::*;
pub use refusal::Refusal;
pub use row::*;
pub use sale::*;
pub use seat_map::*;
pub use shard::Shard;
pub use status::*;
pub use time::*;

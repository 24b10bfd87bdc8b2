//! Raft groups, and everything under and around them on one node.
//!
//! ```text
//!  gateway ─▶ access_service ─▶ group (proposer) ─▶ openraft ─▶ log_store ─▶ wal ─▶ Disk
//!                 ▲                                    │  ▲
//!                 └────── replies, answers, events ◀── state ◀─┘  transport ◀─▶ consensus_service of peers
//!                                                      └─▶ checkpoint ─▶ CheckpointStore
//! ```
//!
//! In reading order:
//!
//! - [`seams`]: all that a node takes from the world outside. [`std_disk`], [`sled_store`], [`data_dir`]: the real ones.
//! - [`wal`]: one log for all groups, one sync for everything in flight.
//! - [`state`], [`checkpoint`]: what a group has applied, and how that is kept on disk.
//! - [`types`], [`log_store`], [`state_machine`], [`transport`]: openraft's view of types, log, state and peers.
//! - [`tls`]: who may speak to whom.
//! - `group`: one group on one node, with its proposer. `unfit`: what a full disk or a wild clock means for it.
//!   `consensus_service`, `access_service`: what a node answers.
//! - `rest`, `pacemaker`: how groups in which nothing happens cost next to nothing.
//! - `roster`: which nodes there are. `clock_watch`: whether ours may stamp. `hosting`: which groups are here.
//! - [`controller`]: brings groups to where the directory wants them, one of the `steps` at a time.
//! - [`metrics`]: what is measured on the way.
//! - [`node`]: wires it all. [`cluster`]: the way in from outside. [`admin`]: what operators do. [`backup`]: a whole
//!   cluster in a file, and back.
//! - The crate `vestibule-sync`, in `sync/`: what threads share, tried in every interleaving.
//! - [`verify`]: looks through the data of a stopped node. [`inspect`]: looks at a running one.
//!
//! *Invariant:* commands of shards are not interpreted here. They travel as encoded bytes from the gateway through log
//! and wire to the machine, so the engine can change without this crate. What the directory says of nodes and placements
//! is read, and acted on, by `hosting` and [`controller`] alone.
//!
//! *Invariant:* an append or a vote is acknowledged only after the sync that covers it; the first error of a disk stops
//! the node.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

mod access_service;
pub mod admin;
pub mod backup;
pub mod checkpoint;
mod clock_watch;
pub mod cluster;
mod consensus_service;
pub mod controller;
mod convert;
#[expect(clippy::disallowed_methods, reason = "the directory that the real disk and store are in")]
pub mod data_dir;
mod group;
mod hosting;
mod in_motion;
pub mod inspect;
mod log_length;
pub mod log_store;
mod machine;
pub mod metrics;
pub mod node;
mod pacemaker;
mod rest;
mod roster;
pub mod seams;
#[expect(clippy::disallowed_methods, reason = "the real store")]
pub mod sled_store;
mod snapshot;
pub mod state;
pub mod state_machine;
#[expect(clippy::disallowed_methods, reason = "the real disk")]
pub mod std_disk;
mod steps;
mod stop;
pub mod tls;
pub mod transport;
pub mod types;
mod unfit;
#[expect(clippy::disallowed_methods, reason = "it reads the files of a node that does not run")]
pub mod verify;
pub mod wal;

//! The world outside a node, simulated from one seed.
//!
//! What stands so far is the disk: [`disk::SimDisk`] behaves as a file system does when the power fails, and the real
//! log runs on it in this crate's tests; so do the checkpoints on [`store::SimStore`]. Network, time, workloads and
//! checkers join it here.

pub mod disk;
pub mod spawner;
pub mod store;

//! The world outside a node, simulated from one seed.
//!
//! ```text
//!   options ──▶ world ──▶ machines, each with a real node ◀── faults
//!                 │  └──▶ gateways, each with real clients ──▶ history
//!                 └──▶ checkers look at all of it after every step
//! ```
//!
//! In reading order:
//!
//! - [`options`]: what a seed expands to. [`dice`]: where all chance comes from. [`trace`]: what happened.
//! - [`power`], [`disk`], [`store`], [`spawner`], [`clock`], [`net`]: what stands behind a node's seams. [`host`]: a machine.
//! - [`workload`]: what clients do. [`history`]: what they know.
//! - [`web`]: real gateways over HTTP, with real clients.
//! - [`gateway`]: a machine with a gateway and clients of the cluster on it. [`operator`]: who adds nodes and takes them out.
//!   [`plant`]: all machines and the network. [`faults`]: what goes wrong with them.
//! - [`player`]: the log, played once more. [`checkers`]: what must hold, one invariant a file.
//! - [`scan`]: what is on the disks in the end. [`scenario`]: runs that are written down. [`world`]: a run from its beginning
//!   to its end.
//!
//! The binary plays one run in a process: some libraries count across runs, and what comes from the operating system is
//! replaced for the whole process.

pub mod checkers;
pub mod clock;
pub mod dice;
pub mod disk;
pub mod faults;
pub mod gateway;
pub mod history;
pub mod host;
pub mod net;
pub mod operator;
pub mod options;
pub mod plant;
pub mod player;
pub mod power;
pub mod scan;
pub mod scenario;
pub mod spawner;
pub mod store;
pub mod trace;
pub mod web;
pub mod workload;
pub mod world;

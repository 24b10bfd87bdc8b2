//! Benchmarks of Vestibule, each with its baseline in the same run: machines differ, ratios carry over.
//!
//! Run one with `cargo bench -p vestibule-benches --bench NAME`.
//!
//! - `engine_speed`, `engine_footprint`: the state machine on one core, and what ten million waiting buyers cost.
//! - `engine_longest`: how long the longest single commands take.
//! - `wal`: an append that is durable, beside the bare `fdatasync` of the same disk.
//! - `cluster`: three processes of the binary of this tree, which it builds. Durable holds, from the death of a leader to the
//!   next hold, the CPU of idle groups, and disk use.

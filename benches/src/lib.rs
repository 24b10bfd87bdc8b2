//! Benchmarks of Vestibule, each with its baseline in the same run: machines differ, ratios carry over.
//!
//! Run one with `cargo bench -p vestibule-benches --bench NAME`.
//!
//! - `wal`: an append that is durable, beside the bare `fdatasync` of the same disk.

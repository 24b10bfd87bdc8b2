//! stub
pub mod checkpoint;
pub mod cluster;
pub mod log_store;
mod machine;
pub mod seams;
pub mod sled_store;
pub mod state;
pub mod state_machine;
pub mod std_disk;
pub mod types;
pub mod wal;

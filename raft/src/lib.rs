//! stub
pub mod cluster;
pub mod seams;
pub mod std_disk;
pub mod wal;

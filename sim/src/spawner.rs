//! Runs what a node would give a thread of its own as tasks of the simulation's one thread.

use futures::future::BoxFuture;
use std::io;
use vestibule_raft::seams::Spawner;

/// Tasks of the current tokio runtime in place of threads: simulated devices block nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskSpawner;

impl Spawner for TaskSpawner {
    fn spawn_blocking_task(&self, _name: &str, task: BoxFuture<'static, ()>) -> io::Result<()> {
        tokio::spawn(task);
        Ok(())
    }
}

//! Entries that are on disk only are read by a task of its own, where its blocking harms nobody: a peer or a group that
//! catches up must not hold up the threads that answer everybody else.

use super::segment::Segment;
use std::io;
use tokio::sync::{mpsc, oneshot};

/// Reads that may wait.
const JOBS_MAX: usize = 64;

/// A place in a segment.
pub(super) struct Spot {
    pub(super) segment: Segment,
    pub(super) offset: u64,
    pub(super) len: usize,
}

struct Job {
    spots: Vec<Spot>,
    answer: oneshot::Sender<Vec<io::Result<Vec<u8>>>>,
}

/// What is at each of the spots, as long as it is wanted.
pub(super) async fn read_all(spots: Vec<Spot>, is_wanted: impl Fn() -> bool) -> Vec<io::Result<Vec<u8>>> {
    let mut found = Vec::with_capacity(spots.len());
    for Spot { segment, offset, len } in spots {
        if !is_wanted() {
            break;
        }
        found.push(segment.file.read_at(offset, len).await);
    }
    found
}

/// A handle to the reader. When the last is gone, so is the reader.
pub(super) struct ColdReader(mpsc::Sender<Job>);

impl ColdReader {
    /// A handle, and the task that has to be run for it to work.
    pub(super) fn new() -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (jobs, mut received) = mpsc::channel::<Job>(JOBS_MAX);
        let task = async move {
            while let Some(Job { spots, answer }) = received.recv().await {
                let found = read_all(spots, || !answer.is_closed()).await;
                // Whoever asked may have gone.
                let _ = answer.send(found);
            }
        };
        (Self(jobs), task)
    }

    /// What is at each of the spots.
    pub(super) async fn read(&self, spots: Vec<Spot>) -> io::Result<Vec<io::Result<Vec<u8>>>> {
        let ended = || io::Error::other("the reader of the log has ended");
        let (answer, answered) = oneshot::channel();
        self.0.send(Job { spots, answer }).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }
}

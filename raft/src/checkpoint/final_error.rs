//! A store whose first error is its last.

use super::outage::can_be_survived;
use super::pulse::Condition;
use crate::seams::{CheckpointStore, StoredChanges, StoredRows};
use futures::future::BoxFuture;
use std::io;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// Stops the node at the first change that the store could not make, whoever it was for. A flush that failed may have been for
/// rows of every group, and the next one would succeed without them. A full disk and damage are not meant: the store is made anew
/// then.
pub(super) struct FinalError {
    store: Arc<dyn CheckpointStore>,
    fail: watch::Sender<Condition>,
    first: OnceLock<String>,
}

impl FinalError {
    pub(super) fn new(store: Arc<dyn CheckpointStore>, fail: watch::Sender<Condition>) -> Self {
        Self { store, fail, first: OnceLock::new() }
    }

    async fn change(&self, change: BoxFuture<'_, io::Result<()>>) -> io::Result<()> {
        self.check()?;
        change.await.inspect_err(|error| {
            if !can_be_survived(error) {
                let reason = self.first.get_or_init(|| error.to_string()).clone();
                self.fail.send_replace(Condition::Failed(reason));
            }
        })
    }

    fn check(&self) -> io::Result<()> {
        match self.first.get() {
            Some(reason) => Err(io::Error::other(format!("the checkpoints failed before: {reason}"))),
            None => Ok(()),
        }
    }
}

impl CheckpointStore for FinalError {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(self.store.write(namespace, changes)))
    }

    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        self.store.get(namespace, key)
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&'a [u8]>,
        bytes_max: usize,
    ) -> BoxFuture<'a, io::Result<StoredRows>> {
        self.store.scan(namespace, after, bytes_max)
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.change(self.store.flush()))
    }

    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.change(self.store.clear(namespace)))
    }

    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.change(self.store.begin_anew()))
    }

    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.change(self.store.abandon_anew()))
    }

    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.change(self.store.commit_anew()))
    }
}

//! The real [`CheckpointStore`]: a sled database, behind a fence.
//!
//! sled flushes only when told to. One tree a namespace; trees are cleared, never dropped, because sled's
//! recovery counts dropped trees as damage. Opening happens on a thread of its own with a time limit,
//! because damaged files can make sled panic or hang there.

use crate::seams::{CheckpointStore, StoredChanges, StoredRows};
use futures::future::BoxFuture;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Leaves of this many entries: a flush rewrites every touched leaf, so they are kept small.
const LEAF_FANOUT: usize = 128;
/// Bytes of memory sled may cache: it is written much and read rarely.
const CACHE_BYTES: usize = 32 << 20;
/// Rows removed in one write when a namespace is cleared.
const CLEAR_BATCH_LEN: usize = 4_096;

type Db = sled::Db<LEAF_FANOUT>;

/// A sled database. Its calls block the thread they are polled on.
pub struct SledStore {
    /// Behind a lock because a sled handle is not shared between threads; there is only one user anyway.
    db: Mutex<Db>,
}

/// Why a sled database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SledOpenError {
    /// It said so.
    #[error("sled cannot open its database: {0}")]
    Io(#[from] io::Error),
    /// It panicked.
    #[error("sled panicked while opening its database")]
    Panicked,
    /// It took longer than it may.
    #[error("sled did not open its database within {0:?}")]
    Hung(Duration),
}

impl SledStore {
    /// Opens or makes the database in `directory`. Blocks, for at most `patience`.
    pub fn open(directory: &Path, patience: Duration) -> Result<Self, SledOpenError> {
        let path: PathBuf = directory.into();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name("sled-open".to_owned()).spawn(move || {
            let opened = std::panic::catch_unwind(|| {
                sled::Config::new()
                    .path(&path)
                    .flush_every_ms(None)
                    .cache_capacity_bytes(CACHE_BYTES)
                    .zstd_compression_level(1)
                    .open::<LEAF_FANOUT>()
            });
            // Nobody listens once the time is up.
            let _ = tell.send(opened);
        })?;
        match told.recv_timeout(patience) {
            Ok(Ok(Ok(db))) => Ok(Self { db: Mutex::new(db) }),
            Ok(Ok(Err(error))) => Err(SledOpenError::Io(error)),
            Ok(Err(_)) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(SledOpenError::Panicked),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Err(SledOpenError::Hung(patience)),
        }
    }
}

impl SledStore {
    fn db(&self) -> MutexGuard<'_, Db> {
        self.db.lock().expect("sled does not panic once it is open")
    }

    /// The names of all namespaces. Damaged files can make sled panic here.
    pub fn namespaces(&self) -> Vec<String> {
        let db = self.db();
        db.export().into_iter().filter_map(|(_, name, _)| String::from_utf8(name).ok()).collect()
    }

    fn write_now(&self, namespace: &str, changes: StoredChanges) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.db().open_tree(namespace)?.apply_batch(batch)
    }

    fn get_now(&self, namespace: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let db = self.db();
        if !db.contains_tree(namespace)? {
            return Ok(None);
        }
        Ok(db.open_tree(namespace)?.get(key)?.map(|value| value.to_vec()))
    }

    fn scan_now(&self, namespace: &str, after: Option<&[u8]>, bytes_max: usize) -> io::Result<StoredRows> {
        let db = self.db();
        if !db.contains_tree(namespace)? {
            return Ok(Vec::new());
        }
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec()));
        let mut rows = Vec::new();
        let mut bytes = 0;
        for row in db.open_tree(namespace)?.range((from, Bound::Unbounded)) {
            let (key, value) = row?;
            bytes += key.len() + value.len();
            rows.push((key.to_vec(), value.to_vec()));
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(rows)
    }

    fn clear_now(&self, namespace: &str) -> io::Result<()> {
        let db = self.db();
        if !db.contains_tree(namespace)? {
            return Ok(());
        }
        let tree = db.open_tree(namespace)?;
        loop {
            let mut batch = sled::Batch::default();
            let mut count = 0;
            for key in tree.iter().keys().take(CLEAR_BATCH_LEN) {
                batch.remove(key?);
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            tree.apply_batch(batch)?;
        }
    }
}

impl CheckpointStore for SledStore {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.write_now(namespace, changes) })
    }

    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        Box::pin(async move { self.get_now(namespace, key) })
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&'a [u8]>,
        bytes_max: usize,
    ) -> BoxFuture<'a, io::Result<StoredRows>> {
        Box::pin(async move { self.scan_now(namespace, after, bytes_max) })
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.db().flush().map(drop) })
    }

    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.clear_now(namespace) })
    }
}

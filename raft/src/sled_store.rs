//! The real [`CheckpointStore`]: a sled database, behind a fence.
//!
//! sled flushes when it is told to: by [`CheckpointStore::flush`], and when much has been written since. One tree a
//! namespace; trees are cleared, never dropped, because sled's recovery counts dropped trees as damage. Opening happens
//! on a thread of its own, which is given up when it reads nothing any more, because damaged files can make sled panic or
//! hang there.

use crate::node::is_damage;
use crate::seams::{CheckpointStore, StoredChanges, StoredRows};
use futures::future::BoxFuture;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Leaves of this many entries: a flush rewrites every touched leaf, so they are kept small.
const LEAF_FANOUT: usize = 128;
/// Bytes of memory sled may cache: it is written much and read rarely.
const CACHE_BYTES: usize = 32 << 20;
/// How many times over the patience sled may take to open in all, however much it reads: it could read in a circle.
const PATIENCES_MAX: u32 = 20;
/// How many times it is looked within the patience whether sled gets on.
const LOOKS: u32 = 12;
/// Fewer bytes read between two looks are none: a process that waits reads a little, too.
const READ_MIN: u64 = 4_096;
/// Rows removed in one write when a namespace is cleared.
const CLEAR_BATCH_LEN: usize = 4_096;
/// Bytes written after which sled flushes though nobody asked for it: what is not flushed stays in memory.
const UNFLUSHED_BYTES_MAX: usize = 8 << 20;
/// How often a database is flushed before it is closed, until nothing is left to be written.
const LAST_FLUSHES_MAX: u32 = 8;
/// How often sled flushes by itself, in milliseconds: never. Without any such time each handle to a tree would flush
/// when it is dropped, tell nobody of a failure, and leave the next flush waiting for ever.
const FLUSH_EVERY_MS: usize = usize::MAX;

type Db = sled::Db<LEAF_FANOUT>;

/// A sled database. Its calls block the thread they are polled on.
pub struct SledStore {
    directory: PathBuf,
    patience: Duration,
    /// Behind a lock because a sled handle is not shared between threads; there is only one user anyway.
    database: Mutex<Database>,
}

/// An open database, or none after one could not be opened.
struct Database {
    db: Option<Db>,
    /// Bytes written since the last flush.
    unflushed: usize,
    /// The first error of a call: no later one can succeed, and a flush would wait for ever behind one that failed.
    failed: Option<(io::ErrorKind, String)>,
}

impl Database {
    fn new(db: Option<Db>) -> Self {
        Self { db, unflushed: 0, failed: None }
    }

    fn open_db(&self) -> io::Result<&Db> {
        if let Some((kind, reason)) = &self.failed {
            return Err(io::Error::new(*kind, format!("the database has failed before: {reason}")));
        }
        self.db.as_ref().ok_or_else(|| io::Error::other("the database is not open"))
    }

    fn call<T>(&mut self, work: impl FnOnce(&Db) -> io::Result<T>) -> io::Result<T> {
        work(self.open_db()?).inspect_err(|error| self.failed = Some((error.kind(), error.to_string())))
    }

    /// Gives how many leaves were written.
    fn flush(&mut self) -> io::Result<u64> {
        let flushed = self.call(|db| db.flush())?;
        self.unflushed = 0;
        Ok(flushed.objects_flushed)
    }

    fn note_written(&mut self, bytes: usize) -> io::Result<()> {
        self.unflushed += bytes;
        if self.unflushed < UNFLUSHED_BYTES_MAX { Ok(()) } else { self.flush().map(drop) }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The destructor flushes, which ends the process when it fails. So nothing is left for it to write, though each flush
        // moves some leaves that the one before left scattered; and a database that has failed is left as it is.
        for _ in 0..LAST_FLUSHES_MAX {
            match self.flush() {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        std::mem::forget(self.db.take().filter(|_| self.failed.is_some()));
    }
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
    /// It did not get on for so long.
    #[error("sled opened its database for {0:?} without getting on")]
    Hung(Duration),
}

impl SledOpenError {
    /// Whether the files may be damaged. They may be good, and the only ones, when not.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io(error) => is_damage(error),
            Self::Panicked | Self::Hung(_) => true,
        }
    }
}

impl SledStore {
    /// Opens or makes the database in `directory`. Blocks, for as long as that takes: it is given up when nothing is read
    /// for `patience`, however long it takes on a slow disk.
    pub fn open(directory: &Path, patience: Duration) -> Result<Self, SledOpenError> {
        settle(directory)?;
        let database = Mutex::new(open(directory, patience)?);
        Ok(Self { directory: directory.into(), patience, database })
    }

    fn lock(&self) -> MutexGuard<'_, Database> {
        self.database.lock().expect("sled does not panic once it is open")
    }

    fn with<T>(&self, work: impl FnOnce(&Db) -> io::Result<T>) -> io::Result<T> {
        self.lock().call(work)
    }

    /// The names of all namespaces. Damaged files can make sled panic here.
    pub fn namespaces(&self) -> Vec<String> {
        let database = self.lock();
        let trees = database.db.as_ref().map(Db::export).unwrap_or_default();
        trees.into_iter().filter_map(|(_, name, _)| String::from_utf8(name).ok()).collect()
    }

    fn write_now(&self, namespace: &str, changes: StoredChanges) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        let mut bytes = 0;
        for (key, value) in changes {
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        let mut database = self.lock();
        database.call(|db| db.open_tree(namespace)?.apply_batch(batch))?;
        database.note_written(bytes)
    }

    fn get_now(&self, namespace: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.with(|db| {
            if !db.contains_tree(namespace)? {
                return Ok(None);
            }
            Ok(db.open_tree(namespace)?.get(key)?.map(|value| value.to_vec()))
        })
    }

    fn scan_now(&self, namespace: &str, after: Option<&[u8]>, bytes_max: usize) -> io::Result<StoredRows> {
        self.with(|db| {
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
        })
    }

    fn clear_now(&self, namespace: &str) -> io::Result<()> {
        let mut database = self.lock();
        while database.call(|db| remove_some(db, namespace))? {
            database.flush()?;
        }
        Ok(())
    }

    fn begin_anew_now(&self) -> io::Result<()> {
        let mut database = self.lock();
        settle(&self.directory)?;
        *database = open(&beside(&self.directory, NEW), self.patience).map_err(to_io)?;
        Ok(())
    }

    fn abandon_anew_now(&self) -> io::Result<()> {
        *self.lock() = Database::new(None);
        settle(&self.directory)
    }

    fn commit_anew_now(&self) -> io::Result<()> {
        let mut database = self.lock();
        // sled makes files by their paths, so it must be gone before these change.
        *database = Database::new(None);
        let (new, old) = (beside(&self.directory, NEW), beside(&self.directory, OLD));
        remove(&old)?;
        std::fs::rename(&self.directory, &old)?;
        std::fs::rename(&new, &self.directory)?;
        sync_parent(&self.directory)?;
        remove(&old)?;
        *database = open(&self.directory, self.patience).map_err(to_io)?;
        Ok(())
    }
}

/// Removes rows of a namespace, up to [`CLEAR_BATCH_LEN`]. Says whether there were any.
fn remove_some(db: &Db, namespace: &str) -> io::Result<bool> {
    if !db.contains_tree(namespace)? {
        return Ok(false);
    }
    let tree = db.open_tree(namespace)?;
    let mut batch = sled::Batch::default();
    let mut count = 0;
    for key in tree.iter().keys().take(CLEAR_BATCH_LEN) {
        batch.remove(key?);
        count += 1;
    }
    tree.apply_batch(batch)?;
    Ok(count > 0)
}

/// What a directory is called that takes this one's place when it is complete, and what this one is called then.
const NEW: &str = ".new";
const OLD: &str = ".old";

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Finishes a replacement that a crash cut short between its two renamings, and clears away any other.
fn settle(directory: &Path) -> io::Result<()> {
    let found = standing(directory);
    if found != directory {
        std::fs::rename(&found, directory)?;
        sync_parent(directory)?;
    }
    remove(&beside(directory, NEW))?;
    remove(&beside(directory, OLD))
}

/// Where the database of `directory` lies: elsewhere after a crash between the two renamings of a replacement.
pub(crate) fn standing(directory: &Path) -> PathBuf {
    let (new, old) = (beside(directory, NEW), beside(directory, OLD));
    match (directory.exists(), old.exists(), new.exists()) {
        (false, true, true) => new,
        (false, true, false) => old,
        _ => directory.into(),
    }
}

/// Removes a directory and its files, if there is one. The files are cut off first: a database that failed keeps them
/// open, and the disk would keep their contents.
fn remove(directory: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        } else {
            File::options().write(true).open(entry.path())?.set_len(0)?;
        }
    }
    std::fs::remove_dir_all(directory)
}

fn sync_parent(directory: &Path) -> io::Result<()> {
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn to_io(error: SledOpenError) -> io::Error {
    match error {
        SledOpenError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// On a thread of its own, which is left behind when it hangs.
fn open(directory: &Path, patience: Duration) -> Result<Database, SledOpenError> {
    let path: PathBuf = directory.into();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("sled-open".to_owned()).spawn(move || {
        let opened = std::panic::catch_unwind(|| {
            sled::Config::new()
                .path(&path)
                .flush_every_ms(Some(FLUSH_EVERY_MS))
                .cache_capacity_bytes(CACHE_BYTES)
                .zstd_compression_level(1)
                .open::<LEAF_FANOUT>()
        });
        // Nobody listens once the time is up.
        let _ = tell.send(opened);
    })?;
    let (mut read, mut looks, mut idle_looks) = (bytes_read(), 0, 0);
    loop {
        match told.recv_timeout(patience / LOOKS) {
            Ok(Ok(Ok(db))) => return Ok(Database::new(Some(db))),
            Ok(Ok(Err(error))) => return Err(SledOpenError::Io(error)),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => return Err(SledOpenError::Panicked),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = bytes_read();
        looks += 1;
        idle_looks = if now.saturating_sub(read) < READ_MIN { idle_looks + 1 } else { 0 };
        if idle_looks == LOOKS || looks == LOOKS * PATIENCES_MAX {
            return Err(SledOpenError::Hung(patience * looks / LOOKS));
        }
        read = now;
        if looks % LOOKS == 0 {
            let waited = patience * looks / LOOKS;
            tracing::warn!(directory = %directory.display(), ?waited, "sled still opens its database");
        }
    }
}

/// Bytes that this process has read so far, with whichever of its threads: sled uses several. 0 where that is not to be
/// known.
fn bytes_read() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let read = counters.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok());
    read.unwrap_or(0)
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
        Box::pin(async move { self.lock().flush().map(drop) })
    }

    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.clear_now(namespace) })
    }

    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.begin_anew_now() })
    }

    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.abandon_anew_now() })
    }

    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.commit_anew_now() })
    }
}

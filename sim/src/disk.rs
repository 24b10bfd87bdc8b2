//! A disk whose power can be cut.
//!
//! Writes go to a page cache; a sync copies a file's cache to the platter, a directory sync the names. When the power
//! goes, each write that was not synced reaches the platter whole, in part, or not at all, sector by sector and in any
//! order. Of the changes to names a first part survives, in their order and each whole, as in a journal. What was synced
//! stays. A disk may be given a capacity; a file that would exceed it is refused. Syncs may be slow, and one may fail:
//! then, as with real ones, part of what it was for is lost without a further word.

use futures::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use vestibule_raft::seams::{Disk, DiskFile};

/// Bytes that reach the platter together or not at all.
const SECTOR_LEN: usize = 512;

/// A simulated disk. Clones share it, and it outlives the node that uses it.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
}

type FileId = u64;

struct Inner {
    random: ChaCha8Rng,
    files: BTreeMap<FileId, FileState>,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    /// What the names were after each change since the last directory sync.
    unsynced_names: Vec<BTreeMap<String, FileId>>,
    next_file: FileId,
    /// Changing operations left until the power goes; `None` while it stays on.
    fuse: Option<u64>,
    /// Counts power cuts: handles from before one are dead.
    life: u64,
    operations: u64,
    lost_sectors: u64,
    /// Bytes that all named files may have together.
    capacity: u64,
    /// Syncs left until one fails.
    syncs_left: Option<u64>,
    sync_delay: Duration,
}

#[derive(Default)]
struct FileState {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl SimDisk {
    /// An empty disk; what a power cut spares is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            random: ChaCha8Rng::seed_from_u64(seed),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_file: 0,
            fuse: None,
            life: 0,
            operations: 0,
            lost_sectors: 0,
            capacity: u64::MAX,
            syncs_left: None,
            sync_delay: Duration::ZERO,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// The power goes after `operations` more changing operations; every one behind them fails.
    pub fn cut_power_after(&self, operations: u64) {
        self.lock().fuse = Some(operations);
    }

    /// Whether the power is on.
    pub fn has_power(&self) -> bool {
        self.lock().fuse != Some(0)
    }

    /// Nothing is wrong with the disk any more, and nothing is going to be.
    pub fn mend(&self) {
        let mut inner = self.lock();
        (inner.fuse, inner.syncs_left, inner.sync_delay, inner.capacity) = (None, None, Duration::ZERO, u64::MAX);
    }

    /// What the platter holds after the power went is what the disk holds from now on. Open handles are dead.
    pub fn restore_power(&self) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.fuse = None;
        inner.syncs_left = None;
        inner.life += 1;
        for state in inner.files.values_mut() {
            inner.lost_sectors += state.settle_some(&mut inner.random);
            state.cached.clone_from(&state.durable);
        }
        let survivors = inner.random.next_u32() as usize % (inner.unsynced_names.len() + 1);
        let mut changes = std::mem::take(&mut inner.unsynced_names);
        changes.truncate(survivors);
        inner.names = changes.pop().unwrap_or_else(|| inner.durable_names.clone());
        inner.durable_names = inner.names.clone();
    }

    /// From now on there is room for this many bytes of files, those that are there included.
    pub fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = capacity;
    }

    /// After `syncs` more of them a sync of a file's data fails.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.lock().syncs_left = Some(syncs);
    }

    /// From now on a sync takes this long.
    pub fn set_sync_delay(&self, delay: Duration) {
        self.lock().sync_delay = delay;
    }

    /// What would be found after a power cut that spares nothing: every file that has a durable name, as it is on the platter.
    pub fn durable_files(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.lock();
        inner.durable_names.iter().map(|(name, file)| (name.clone(), inner.files[file].durable.clone())).collect()
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Sectors that power cuts have lost so far.
    pub fn lost_sectors(&self) -> u64 {
        self.lock().lost_sectors
    }

    /// Flips one bit of a file, on the platter and in the cache.
    pub fn flip(&self, name: &str, offset: usize, mask: u8) -> io::Result<()> {
        let mut inner = self.lock();
        let file = inner.file_id(name)?;
        let state = inner.files.get_mut(&file).ok_or_else(not_found)?;
        state.cached[offset] ^= mask;
        state.durable[offset] ^= mask;
        Ok(())
    }
}

impl FileState {
    /// Brings what was written since the last sync to the platter.
    fn settle(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            self.durable[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// The same for some sectors only; gives the number of those that are lost.
    fn settle_some(&mut self, random: &mut ChaCha8Rng) -> u64 {
        let mut lost = 0;
        self.durable.resize(self.cached.len(), 0);
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            for (at, sector) in sectors(offset, &bytes) {
                if random.next_u32().is_multiple_of(2) {
                    self.durable[at..at + sector.len()].copy_from_slice(sector);
                } else {
                    lost += 1;
                }
            }
        }
        lost
    }
}

/// The parts of a write that lie in one sector each, with where they go.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = (SECTOR_LEN - at % SECTOR_LEN).min(rest.len());
        let (sector, tail) = rest.split_at(len);
        let found = (at, sector);
        at += len;
        rest = tail;
        Some(found)
    })
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Inner {
    fn file_id(&self, name: &str) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or_else(not_found)
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|file| self.files[file].cached.len() as u64).sum()
    }

    fn free_bytes(&self) -> u64 {
        self.capacity.saturating_sub(self.used_bytes())
    }

    fn note_names(&mut self) {
        self.unsynced_names.push(self.names.clone());
    }

    /// Counts a changing operation; fails once the power is gone.
    fn spend(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.fuse {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

struct SimFile {
    disk: SimDisk,
    file: FileId,
    life: u64,
}

impl SimFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inner, FileId) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.lock();
        if inner.life != self.life {
            return Err(io::Error::other("the handle is from before a power cut"));
        }
        act(&mut inner, self.file)
    }
}

impl Disk for SimDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        Box::pin(async move { Ok(self.lock().names.keys().cloned().collect()) })
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.spend()?;
            if inner.names.contains_key(name) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            if len > inner.free_bytes() {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            let file = inner.next_file;
            inner.next_file += 1;
            let zeroes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            inner.files.insert(file, FileState { cached: zeroes, ..FileState::default() });
            inner.names.insert(name.to_owned(), file);
            inner.note_names();
            let life = inner.life;
            Ok(Arc::new(SimFile { disk: self.clone(), file, life }) as Arc<dyn DiskFile>)
        })
    }

    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let inner = self.lock();
            let (file, life) = (inner.file_id(name)?, inner.life);
            Ok(Arc::new(SimFile { disk: self.clone(), file, life }) as Arc<dyn DiskFile>)
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.spend()?;
            let file = inner.names.remove(from).ok_or_else(not_found)?;
            inner.names.insert(to.to_owned(), file);
            inner.note_names();
            Ok(())
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.spend()?;
            inner.names.remove(name).ok_or_else(not_found)?;
            inner.note_names();
            Ok(())
        })
    }

    fn sync_directory(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.spend()?;
            inner.durable_names = inner.names.clone();
            inner.unsynced_names.clear();
            Ok(())
        })
    }

    fn free_bytes(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move { Ok(self.lock().free_bytes()) })
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move { self.with(|inner, file| Ok(inner.files[&file].cached.len() as u64)) })
    }

    fn write_at<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.with(|inner, file| {
                inner.spend()?;
                let free = inner.free_bytes();
                let state = inner.files.get_mut(&file).ok_or_else(not_found)?;
                let len = state.cached.len();
                let offset = usize::try_from(offset).map_err(io::Error::other)?;
                let end = offset + bytes.len();
                if (end.saturating_sub(len)) as u64 > free {
                    return Err(io::Error::from(io::ErrorKind::StorageFull));
                }
                if state.cached.len() < end {
                    state.cached.resize(end, 0);
                }
                state.cached[offset..end].copy_from_slice(bytes);
                state.unsynced.push((offset, bytes.to_vec()));
                Ok(())
            })
        })
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            self.with(|inner, file| {
                let offset = usize::try_from(offset).map_err(io::Error::other)?;
                let bytes = inner.files[&file].cached.get(offset..offset + len);
                bytes.map(<[u8]>::to_vec).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
            })
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let delay = self.disk.lock().sync_delay;
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            self.with(|inner, file| {
                inner.spend()?;
                let state = inner.files.get_mut(&file).ok_or_else(not_found)?;
                match &mut inner.syncs_left {
                    Some(0) => {
                        inner.syncs_left = None;
                        // The pages count as clean from now on, whether they were written or not.
                        inner.lost_sectors += state.settle_some(&mut inner.random);
                        return Err(io::Error::other("the device failed to sync"));
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
                state.settle();
                Ok(())
            })
        })
    }
}

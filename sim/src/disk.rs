//! A disk whose power can be cut.
//!
//! Writes go to a page cache; a sync copies a file's cache to the platter, a directory sync the names. When the power
//! goes, each write that was not synced reaches the platter whole, in part, or not at all, sector by sector and in any
//! order; a file that was made or grew without a sync may have its old length. Of the changes to names a first part survives, in their order and each whole, as in a journal. What was synced
//! stays. A disk may be given a capacity; a file that would exceed it is refused. Operations may be slow, and one may fail:
//! a failed write leaves part of it behind, and of what a failed sync was for part is lost without a further word, as with
//! real disks.

mod file;
#[cfg(test)]
mod tests;

use crate::faults::{Kind, Tally};
use crate::power::{Edge, End, Fuse, Pass, Power};
use file::FileState;
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

/// What a segment says of itself at its beginning has so many bytes.
const SEGMENT_STAMP_LEN: usize = 56;
/// Where frames begin in a segment, and how.
const FRAMES_START: usize = 4096;
const FRAME_MAGIC: [u8; 4] = 0x4c57_5356_u32.to_le_bytes();
/// The headers of frames and records, and in the latter's the kinds that void entries and purge them.
const FRAME_HEADER_LEN: usize = 32;
const RECORD_HEADER_LEN: usize = 48;
const RECORD_KIND_AT: usize = 12;
const KIND_TRUNCATE: u8 = 6;
const KIND_PURGE: u8 = 7;

/// What may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// A write to a file.
    Write,
    /// A read from one.
    Read,
    /// A sync of one.
    Sync,
    /// A sync of names.
    SyncDirectory,
    /// The making of a file.
    Create,
    /// Giving one another name.
    Rename,
    /// Doing away with one.
    Remove,
}

impl Op {
    /// The kind of fault that it is when this fails.
    fn kind(self) -> Kind {
        match self {
            Self::Write => Kind::WriteError,
            Self::Read => Kind::ReadError,
            Self::Sync => Kind::SyncError,
            Self::SyncDirectory => Kind::DirectorySyncError,
            Self::Create => Kind::CreateError,
            Self::Rename | Self::Remove => Kind::NameError,
        }
    }
}

/// A simulated disk. Clones share it, and it outlives the node that uses it.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    power: Power,
    tally: Tally,
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
    /// Counts power cuts: handles from before one are dead.
    life: u64,
    operations: u64,
    lost_sectors: u64,
    /// Bytes that all named files may have together.
    capacity: u64,
    /// Whether it has been noticed that there is too little room.
    was_full: bool,
    /// Operations left until one fails, by kind.
    failures: BTreeMap<Op, u64>,
    sync_delay: Duration,
    /// What writes and reads take.
    delay: Duration,
    /// Whether something has waited since the times were set.
    was_slow: bool,
}

impl SimDisk {
    /// An empty disk with a power of its own; what a power cut spares is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::of_machine(seed, Power::default(), Tally::default())
    }

    /// An empty disk in a machine.
    pub fn of_machine(seed: u64, power: Power, tally: Tally) -> Self {
        let inner = Inner {
            random: ChaCha8Rng::seed_from_u64(seed),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_file: 0,
            life: 0,
            operations: 0,
            lost_sectors: 0,
            capacity: u64::MAX,
            was_full: false,
            failures: BTreeMap::new(),
            sync_delay: Duration::ZERO,
            delay: Duration::ZERO,
            was_slow: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)), power, tally }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// The power goes after `operations` more changing operations; every one behind them fails.
    pub fn cut_power_after(&self, operations: u64) {
        self.power.arm(Fuse { edge: None, passes: operations, takes_effect: false, end: End::Power });
    }

    /// The power is back, after [`Self::settle`]; nothing is going to fail.
    pub fn restore_power(&self) {
        self.settle();
        self.power.disarm();
        self.power.restore();
        self.lock().failures.clear();
    }

    /// Nothing is going to fail, and operations take no time.
    pub fn mend(&self) {
        let mut inner = self.lock();
        inner.failures.clear();
        (inner.sync_delay, inner.delay, inner.capacity) = (Duration::ZERO, Duration::ZERO, u64::MAX);
    }

    /// What the platter holds after the power went is what the disk holds from now on. Open handles are dead.
    pub fn settle(&self) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.life += 1;
        for state in inner.files.values_mut() {
            inner.lost_sectors += state.settle_some(state.now(), &mut inner.random);
            state.cached.clone_from(&state.durable);
        }
        let survivors = inner.random.next_u32() as usize % (inner.unsynced_names.len() + 1);
        let mut changes = std::mem::take(&mut inner.unsynced_names);
        changes.truncate(survivors);
        inner.names = changes.pop().unwrap_or_else(|| inner.durable_names.clone());
        inner.durable_names = inner.names.clone();
    }

    /// Everything on it is gone.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        inner.life += 1;
        inner.files.clear();
        inner.names.clear();
        inner.durable_names.clear();
        inner.unsynced_names.clear();
    }

    /// Somebody has removed a file.
    pub fn lose_file(&self, name: &str) {
        let mut inner = self.lock();
        inner.names.remove(name);
        inner.durable_names.remove(name);
        for names in &mut inner.unsynced_names {
            names.remove(name);
        }
    }

    /// From now on there is room for this many bytes of files, those that are there included.
    pub fn set_capacity(&self, capacity: u64) {
        let mut inner = self.lock();
        (inner.capacity, inner.was_full) = (capacity, false);
    }

    /// After `syncs` more of them a sync of a file's data fails.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.fail_after(Op::Sync, syncs);
    }

    /// After `count` more of its kind an operation fails.
    pub fn fail_after(&self, op: Op, count: u64) {
        self.lock().failures.insert(op, count);
    }

    /// From now on a sync takes this long.
    pub fn set_sync_delay(&self, delay: Duration) {
        let mut inner = self.lock();
        (inner.sync_delay, inner.was_slow) = (delay, false);
    }

    /// From now on a write or a read takes this long.
    pub fn set_delay(&self, delay: Duration) {
        let mut inner = self.lock();
        (inner.delay, inner.was_slow) = (delay, false);
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

    /// Flips one bit of what had become durable of the log: of a frame of a segment, behind which another stands, now and then
    /// of that segment's header. Gives where, if there is one.
    pub fn rot(&self) -> Option<(String, usize)> {
        let (name, offset, mask) = {
            let mut guard = self.lock();
            let inner = &mut *guard;
            let whole = |file: &FileId| inner.files.get(file).is_some_and(|state| state.frames.len() > 1);
            let mut segments: Vec<(&String, &FileId)> =
                inner.names.iter().filter(|(name, file)| name.ends_with(".wal") && whole(file)).collect();
            if segments.len() > 1 {
                // The oldest may be on its way out already: then nobody reads it.
                segments.remove(0);
            }
            let (name, file) = *segments.get(inner.random.next_u32() as usize % segments.len().max(1))?;
            let frames = &inner.files[file].frames;
            let below = frames.len() - 1;
            let nth = inner.random.next_u32() as usize % below;
            let (start, len) = match inner.random.next_u32().is_multiple_of(8) {
                true => (0, SEGMENT_STAMP_LEN),
                false => frames.iter().nth(nth).map(|(start, len)| (*start, *len))?,
            };
            let offset = start + inner.random.next_u32() as usize % len;
            (name.clone(), offset, 1 << (inner.random.next_u32() % 8))
        };
        self.flip(&name, offset, mask).ok()?;
        Some((name, offset))
    }

    /// Flips one bit of what the manifest says in one of its slots. Gives where, if it says anything.
    pub fn rot_manifest(&self) -> Option<usize> {
        const NAME: &str = "manifest";
        let (offset, mask) = {
            let mut guard = self.lock();
            let inner = &mut *guard;
            let file = inner.names.get(NAME)?;
            let durable = &inner.files[file].durable;
            let said: Vec<usize> = (0..durable.len()).filter(|at| durable[*at] != 0).collect();
            let offset = *said.get(inner.random.next_u32() as usize % said.len().max(1))?;
            (offset, 1 << (inner.random.next_u32() % 8))
        };
        self.flip(NAME, offset, mask).ok()?;
        Some(offset)
    }

    /// Waits as long as the operation takes. Whoever looks from outside any runtime does not wait.
    async fn wait(&self, op: Op) {
        let (delay, kind) = {
            let inner = self.lock();
            match op {
                Op::Sync if inner.sync_delay >= STALL => (inner.sync_delay, Kind::StalledSync),
                Op::Sync => (inner.sync_delay, Kind::SlowSync),
                Op::Write | Op::Read => (inner.delay, Kind::SlowDisk),
                Op::SyncDirectory | Op::Create | Op::Rename | Op::Remove => (Duration::ZERO, Kind::SlowDisk),
            }
        };
        if !delay.is_zero() && tokio::runtime::Handle::try_current().is_ok() {
            tokio::time::sleep(delay).await;
            if !std::mem::replace(&mut self.lock().was_slow, true) {
                self.tally.happened(kind);
            }
        }
    }

    /// Does something that changes the disk, if there is power and it is not to fail. Of what fails `spoil` may leave something
    /// behind.
    async fn step<T>(
        &self,
        op: Option<Op>,
        edge: impl FnOnce(&Inner) -> Edge,
        spoil: impl FnOnce(&mut Inner),
        act: impl FnOnce(&mut Inner) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(op) = op {
            self.wait(op).await;
        }
        let edge = edge(&self.lock());
        let pass = self.power.pass(edge);
        if pass == Pass::Off {
            return Err(self.power.gone().await);
        }
        let done = {
            let mut inner = self.lock();
            inner.operations += 1;
            match op.filter(|op| inner.is_failing(*op)) {
                Some(op) => {
                    self.tally.happened(op.kind());
                    self.power.note_failure();
                    spoil(&mut inner);
                    Err(io::Error::other(format!("the device failed: {op:?}")))
                }
                None => act(&mut inner),
            }
        };
        if let Err(error) = &done
            && error.kind() == io::ErrorKind::StorageFull
        {
            self.note_full();
        }
        match pass {
            Pass::Last => Err(self.power.gone().await),
            _ => done,
        }
    }

    /// It has been noticed that there is too little room.
    fn note_full(&self) {
        if !std::mem::replace(&mut self.lock().was_full, true) {
            self.tally.happened(Kind::DiskFull);
        }
    }
}

/// A sync that takes this long is longer than any election.
pub(crate) const STALL: Duration = Duration::from_secs(2);

/// The edge at which a file is written, by its name, where, and what.
fn write_edge(name: &str, offset: u64, bytes: &[u8]) -> Edge {
    if name.starts_with("manifest") {
        return Edge::ManifestWrite;
    }
    if (offset as usize) < FRAMES_START {
        return Edge::SegmentHeader;
    }
    let kinds = record_kinds(bytes);
    match () {
        () if kinds.contains(&KIND_TRUNCATE) => Edge::TruncateWrite,
        () if kinds.contains(&KIND_PURGE) => Edge::PurgeWrite,
        () => Edge::FrameWrite,
    }
}

/// The kinds of the records in a frame.
fn record_kinds(frame: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut rest = frame.strip_prefix(&FRAME_MAGIC).and_then(|_| frame.get(FRAME_HEADER_LEN..)).unwrap_or_default();
    while let Some(record) = rest.get(..RECORD_HEADER_LEN) {
        kinds.push(record[RECORD_KIND_AT]);
        let payload = u32::from_le_bytes(record[..4].try_into().expect("four bytes")) as usize;
        rest = rest.get(RECORD_HEADER_LEN + payload.next_multiple_of(8)..).unwrap_or_default();
    }
    kinds
}

fn sync_edge(name: &str) -> Edge {
    match name {
        _ if name.starts_with("manifest") => Edge::ManifestSync,
        _ if name.ends_with(".wal") => Edge::FrameSync,
        _ => Edge::FileSync,
    }
}

fn rename_edge(from: &str) -> Edge {
    if from.ends_with(".draft") { Edge::FileName } else { Edge::Recycle }
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

    /// Counts an operation that may be made to fail.
    fn is_failing(&mut self, op: Op) -> bool {
        match self.failures.get_mut(&op) {
            Some(0) => self.failures.remove(&op).is_some(),
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn name_of(&self, file: FileId) -> &str {
        self.names.iter().find(|(_, of)| **of == file).map_or("", |(name, _)| name)
    }
}

struct SimFile {
    disk: SimDisk,
    file: FileId,
    life: u64,
}

impl SimFile {
    fn check_life(&self, inner: &Inner) -> io::Result<()> {
        if inner.life == self.life { Ok(()) } else { Err(io::Error::other("the handle is from before a power cut")) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner, FileId) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.lock();
        self.check_life(&inner)?;
        act(&mut inner, self.file)
    }
}

impl Disk for SimDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        Box::pin(async move {
            self.power.check().await;
            Ok(self.lock().names.keys().cloned().collect())
        })
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let create = |inner: &mut Inner| {
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
                Ok((file, inner.life))
            };
            let (file, life) = self.step(Some(Op::Create), |_| Edge::FileCreate, |_| {}, create).await?;
            Ok(Arc::new(SimFile { disk: self.clone(), file, life }) as Arc<dyn DiskFile>)
        })
    }

    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            self.power.check().await;
            let inner = self.lock();
            let (file, life) = (inner.file_id(name)?, inner.life);
            Ok(Arc::new(SimFile { disk: self.clone(), file, life }) as Arc<dyn DiskFile>)
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let rename = |inner: &mut Inner| {
                let file = inner.names.remove(from).ok_or_else(not_found)?;
                inner.names.insert(to.to_owned(), file);
                inner.note_names();
                Ok(())
            };
            self.step(Some(Op::Rename), |_| rename_edge(from), |_| {}, rename).await
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let remove = |inner: &mut Inner| {
                inner.names.remove(name).ok_or_else(not_found)?;
                inner.note_names();
                Ok(())
            };
            self.step(Some(Op::Remove), |_| Edge::FileRemove, |_| {}, remove).await
        })
    }

    fn sync_directory(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let sync = |inner: &mut Inner| {
                inner.durable_names = inner.names.clone();
                inner.unsynced_names.clear();
                Ok(())
            };
            self.step(Some(Op::SyncDirectory), |_| Edge::DirectorySync, |_| {}, sync).await
        })
    }

    fn free_bytes(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move {
            self.power.check().await;
            let (free, is_short) = {
                let inner = self.lock();
                let free = inner.free_bytes();
                // A node counts the disk as full when less is free than its ballast takes.
                let ballast = inner.names.get("ballast").map(|file| inner.files[file].cached.len() as u64);
                (free, ballast.is_some_and(|ballast| free < ballast))
            };
            if is_short {
                self.note_full();
            }
            Ok(free)
        })
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move { self.with(|inner, file| Ok(inner.files[&file].cached.len() as u64)) })
    }

    fn write_at<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let write = |inner: &mut Inner| {
                self.check_life(inner)?;
                let free = inner.free_bytes();
                let state = inner.files.get_mut(&self.file).ok_or_else(not_found)?;
                let offset = usize::try_from(offset).map_err(io::Error::other)?;
                if (offset + bytes.len()).saturating_sub(state.cached.len()) as u64 > free {
                    return Err(io::Error::from(io::ErrorKind::StorageFull));
                }
                state.write(offset, bytes);
                Ok(())
            };
            // A first part of it is in the cache, in whole sectors.
            let spoil = |inner: &mut Inner| {
                let part = inner.random.next_u32() as usize % (bytes.len() / SECTOR_LEN + 1) * SECTOR_LEN;
                if let Some(state) = inner.files.get_mut(&self.file) {
                    state.write(usize::try_from(offset).unwrap_or(0), &bytes[..part]);
                }
            };
            let edge = |inner: &Inner| write_edge(inner.name_of(self.file), offset, bytes);
            self.disk.step(Some(Op::Write), edge, spoil, write).await
        })
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            self.disk.wait(Op::Read).await;
            if turmoil::sim_elapsed().is_some() {
                self.disk.power.check().await;
                if self.disk.lock().is_failing(Op::Read) {
                    self.disk.tally.happened(Kind::ReadError);
                    self.disk.power.note_failure();
                    return Err(io::Error::other("the device failed: Read"));
                }
            }
            self.with(|inner, file| {
                let offset = usize::try_from(offset).map_err(io::Error::other)?;
                let bytes = inner.files[&file].cached.get(offset..offset + len);
                bytes.map(<[u8]>::to_vec).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
            })
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            // What is written while it takes its time is for the next one.
            let extent = self.disk.lock().files.get(&self.file).map(FileState::now).unwrap_or_default();
            let sync = |inner: &mut Inner| {
                self.check_life(inner)?;
                inner.files.get_mut(&self.file).ok_or_else(not_found)?.settle(extent);
                Ok(())
            };
            // The pages count as clean from now on, whether they were written or not.
            let spoil = |inner: &mut Inner| {
                if let Some(state) = inner.files.get_mut(&self.file) {
                    inner.lost_sectors += state.settle_some(extent, &mut inner.random);
                }
            };
            self.disk.step(Some(Op::Sync), |inner| sync_edge(inner.name_of(self.file)), spoil, sync).await
        })
    }
}

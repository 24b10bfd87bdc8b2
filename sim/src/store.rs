//! A checkpoint store whose power can be cut, and whose disk can be full.
//!
//! Writes are remembered in their order. A flush makes them durable; when the power goes, a first part of those since
//! the last flush survives, each whole. A store that has met a full disk fails from then on, until it is begun anew.

use futures::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use vestibule_raft::seams::{CheckpointStore, StoredChanges, StoredRows};

/// A simulated store. Clones share it, and it outlives the node that uses it.
#[derive(Clone)]
pub struct SimStore {
    inner: Arc<Mutex<Inner>>,
}

type Rows = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// One database: what a reader sees, what is durable, and the writes in between.
#[derive(Default)]
struct Image {
    cached: Rows,
    durable: Rows,
    unflushed: Vec<(String, StoredChanges)>,
    has_failed: bool,
}

struct Inner {
    random: ChaCha8Rng,
    image: Image,
    /// The one that is to take its place.
    anew: Option<Image>,
    /// Changing operations left until the power goes; `None` while it stays on.
    fuse: Option<u64>,
    /// Changing operations left until the disk is full; `None` while it has room.
    room: Option<u64>,
    operations: u64,
}

fn change(rows: &mut Rows, namespace: &str, changes: &StoredChanges) {
    let rows = rows.entry(namespace.to_owned()).or_default();
    for (key, value) in changes {
        match value {
            Some(value) => drop(rows.insert(key.clone(), value.clone())),
            None => drop(rows.remove(key)),
        }
    }
}

impl Image {
    fn write(&mut self, namespace: &str, changes: StoredChanges) {
        change(&mut self.cached, namespace, &changes);
        self.unflushed.push((namespace.to_owned(), changes));
    }

    /// Makes the first `count` unflushed writes durable.
    fn settle(&mut self, count: usize) {
        for (namespace, changes) in self.unflushed.drain(..count) {
            change(&mut self.durable, &namespace, &changes);
        }
    }
}

impl Inner {
    fn image(&mut self) -> &mut Image {
        self.anew.as_mut().unwrap_or(&mut self.image)
    }

    fn check_power(&self) -> io::Result<()> {
        if self.fuse == Some(0) { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    /// Passes one changing operation, if there is power and room for it.
    fn step(&mut self) -> io::Result<()> {
        self.check_power()?;
        self.fuse = self.fuse.map(|left| left - 1);
        self.operations += 1;
        match &mut self.room {
            Some(0) => self.image().has_failed = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.check_failed()
    }

    fn check_failed(&mut self) -> io::Result<()> {
        if self.image().has_failed { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random.next_u32() as usize % below
    }
}

impl SimStore {
    /// An empty store; what a power cut spares is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            random: ChaCha8Rng::seed_from_u64(seed),
            image: Image::default(),
            anew: None,
            fuse: None,
            room: None,
            operations: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// The power goes after `operations` more changing operations; every operation behind them fails.
    pub fn cut_power_after(&self, operations: u64) {
        self.lock().fuse = Some(operations);
    }

    /// Whether the power is on.
    pub fn has_power(&self) -> bool {
        self.lock().fuse != Some(0)
    }

    /// Nothing is going to go wrong any more.
    pub fn mend(&self) {
        let mut inner = self.lock();
        (inner.fuse, inner.room) = (None, None);
    }

    /// What survived is what the store holds from now on.
    pub fn restore_power(&self) {
        let mut inner = self.lock();
        inner.fuse = None;
        inner.anew = None;
        let survivors = inner.image.unflushed.len() + 1;
        let survivors = inner.draw(survivors);
        let image = &mut inner.image;
        image.settle(survivors);
        image.unflushed.clear();
        image.cached = image.durable.clone();
        image.has_failed = false;
    }

    /// The disk is full after `operations` more changing operations; `None` makes room.
    pub fn fill_after(&self, operations: Option<u64>) {
        self.lock().room = operations;
    }

    /// An operator has put the store away and an empty one in its place.
    pub fn wipe(&self) {
        let mut inner = self.lock();
        (inner.image, inner.anew) = (Image::default(), None);
    }

    /// Flips a bit of one durable value; gives whether there was any.
    pub fn rot(&self) -> bool {
        let mut inner = self.lock();
        let keys: Vec<(String, Vec<u8>)> = inner
            .image
            .durable
            .iter()
            .flat_map(|(namespace, rows)| rows.keys().map(move |key| (namespace.clone(), key.clone())))
            .collect();
        if keys.is_empty() {
            return false;
        }
        let (namespace, key) = &keys[inner.draw(keys.len())];
        let bit = inner.draw(8);
        let len = inner.image.durable[namespace][key].len();
        if len == 0 {
            return false;
        }
        let byte = inner.draw(len);
        let Image { cached, durable, .. } = &mut inner.image;
        for rows in [cached, durable] {
            if let Some(value) =
                rows.get_mut(namespace).and_then(|rows| rows.get_mut(key)).filter(|value| byte < value.len())
            {
                value[byte] ^= 1 << bit;
            }
        }
        true
    }

    /// The names under which there are rows.
    pub fn namespaces(&self) -> Vec<String> {
        self.lock().image().cached.keys().cloned().collect()
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }
}

impl CheckpointStore for SimStore {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.step()?;
            inner.image().write(namespace, changes);
            Ok(())
        })
    }

    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.check_power()?;
            inner.check_failed()?;
            Ok(inner.image().cached.get(namespace).and_then(|rows| rows.get(key)).cloned())
        })
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&'a [u8]>,
        bytes_max: usize,
    ) -> BoxFuture<'a, io::Result<StoredRows>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.check_power()?;
            inner.check_failed()?;
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut found = Vec::new();
            let mut bytes = 0;
            for (key, value) in inner
                .image()
                .cached
                .get(namespace)
                .into_iter()
                .flat_map(|rows| rows.range::<[u8], _>((from, Bound::Unbounded)))
            {
                bytes += key.len() + value.len();
                found.push((key.clone(), value.clone()));
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.step()?;
            let image = inner.image();
            let count = image.unflushed.len();
            image.settle(count);
            Ok(())
        })
    }

    /// A few rows at a time, so that a power cut can leave some.
    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            loop {
                let rows = self.scan(namespace, None, 256).await?;
                if rows.is_empty() {
                    return Ok(());
                }
                self.write(namespace, rows.into_iter().map(|(key, _)| (key, None)).collect()).await?;
            }
        })
    }

    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut inner = self.lock();
            inner.anew = Some(Image::default());
            inner.step()
        })
    }

    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let mut inner = self.lock();
            let stepped = inner.step();
            // A power cut in the middle of it leaves either.
            if stepped.is_err() && inner.draw(2) == 0 {
                return stepped;
            }
            if let Some(image) = inner.anew.take() {
                inner.image = image;
            }
            stepped
        })
    }
}

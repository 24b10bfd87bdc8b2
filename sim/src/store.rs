//! A checkpoint store whose power can be cut, and whose disk can be full.
//!
//! Writes are remembered in their order. A flush makes them durable; when the power goes, a first part of those since
//! the last flush survives, each whole. A store that has met a full disk fails from then on, until it is begun anew. Of what a
//! failed flush was for, a last part is lost without a further word. A read may fail, too. Operations may be slow.

use crate::faults::{Kind, Tally};
use crate::power::{Edge, End, Fuse, Pass, Power};
use futures::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use vestibule_raft::seams::{CheckpointStore, StoredChanges, StoredRows};

/// A simulated store. Clones share it, and it outlives the node that uses it.
#[derive(Clone)]
pub struct SimStore {
    inner: Arc<Mutex<Inner>>,
    power: Power,
    tally: Tally,
}

/// The namespace that says where the others' contents are, and the key of whose they are.
const CATALOG: &str = "catalog";
const IDENTITY_KEY: &[u8] = b"identity";
/// The key of the row that describes a checkpoint.
const META_KEY: &[u8] = &[0];

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
    /// Changing operations left until the disk is full; `None` while it has room.
    room: Option<u64>,
    /// Changing operations left until one fails.
    failure: Option<u64>,
    /// Reads left until one fails.
    read_failure: Option<u64>,
    operations: u64,
    /// What a write takes, and what a flush takes.
    delay: Duration,
    flush_delay: Duration,
    /// The edge of the last write, and its namespace.
    last: Option<(Edge, String)>,
}

/// Counts an operation down to the one that fails, once.
fn count_down(left: &mut Option<u64>, tally: &Tally) -> io::Result<()> {
    if *left == Some(0) {
        *left = None;
        tally.happened(Kind::CheckpointError);
        return Err(io::Error::other("the device failed under the checkpoints"));
    }
    *left = left.map(|left| left - 1);
    Ok(())
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

    /// Counts a changing operation, if there is room for it.
    fn step(&mut self, tally: &Tally) -> io::Result<()> {
        self.operations += 1;
        count_down(&mut self.failure, tally)?;
        if self.room == Some(0) && !std::mem::replace(&mut self.image().has_failed, true) {
            tally.happened(Kind::DiskFull);
        }
        self.room = self.room.map(|left| left.saturating_sub(1));
        self.check_failed()
    }

    /// Counts a read, if it can be done. Whoever looks from outside the simulation always can.
    fn read(&mut self, tally: &Tally) -> io::Result<()> {
        if turmoil::sim_elapsed().is_some() {
            count_down(&mut self.read_failure, tally)?;
        }
        self.check_failed()
    }

    /// The edge at which something is written.
    fn write_edge(&self, namespace: &str, changes: &StoredChanges) -> Edge {
        if self.anew.is_some() {
            return Edge::StoreAnew;
        }
        if namespace == CATALOG {
            return if changes.iter().any(|(key, _)| key == IDENTITY_KEY) {
                Edge::CheckpointBatch
            } else {
                Edge::SnapshotSwap
            };
        }
        let is_meta = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| key == META_KEY && value.is_some();
        if !changes.iter().any(is_meta) {
            return if changes.iter().all(|(_, value)| value.is_none()) { Edge::SlotClear } else { Edge::SnapshotPage };
        }
        let follows_snapshot =
            self.last.as_ref().is_some_and(|(edge, of)| *edge == Edge::SnapshotPage && of == namespace);
        if changes.len() == 1 && follows_snapshot { Edge::SnapshotMeta } else { Edge::CheckpointBatch }
    }

    /// The edge at which what was written is flushed.
    fn flush_edge(&self) -> Edge {
        match &self.last {
            _ if self.anew.is_some() => Edge::StoreAnew,
            Some((Edge::SnapshotPage, _)) => Edge::SnapshotFlush,
            Some((Edge::SnapshotSwap, _)) => Edge::SwapFlush,
            _ => Edge::CheckpointFlush,
        }
    }

    fn check_failed(&mut self) -> io::Result<()> {
        if self.image().has_failed { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random.next_u32() as usize % below
    }
}

impl SimStore {
    /// An empty store with a power of its own; what a power cut spares is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::of_machine(seed, Power::default(), Tally::default())
    }

    /// An empty store in a machine.
    pub fn of_machine(seed: u64, power: Power, tally: Tally) -> Self {
        let inner = Inner {
            random: ChaCha8Rng::seed_from_u64(seed),
            image: Image::default(),
            anew: None,
            room: None,
            failure: None,
            read_failure: None,
            operations: 0,
            delay: Duration::ZERO,
            flush_delay: Duration::ZERO,
            last: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)), power, tally }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// The power goes after `operations` more changing operations; every operation behind them fails.
    pub fn cut_power_after(&self, operations: u64) {
        self.power.arm(Fuse { edge: None, passes: operations, takes_effect: false, end: End::Power });
    }

    /// Nothing is going to go wrong any more, and operations take no time.
    pub fn mend(&self) {
        let mut inner = self.lock();
        (inner.room, inner.failure, inner.read_failure) = (None, None, None);
        (inner.delay, inner.flush_delay) = (Duration::ZERO, Duration::ZERO);
    }

    /// From now on a write takes this long.
    pub fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// From now on a flush takes this long.
    pub fn set_flush_delay(&self, delay: Duration) {
        self.lock().flush_delay = delay;
    }

    /// Whoever looks from outside any runtime does not wait.
    async fn wait(&self, delay: Duration) {
        if !delay.is_zero() && tokio::runtime::Handle::try_current().is_ok() {
            tokio::time::sleep(delay).await;
        }
    }

    /// The power is back, after [`Self::settle`].
    pub fn restore_power(&self) {
        self.settle();
        self.power.disarm();
        self.power.restore();
    }

    /// What survived is what the store holds from now on.
    pub fn settle(&self) {
        let mut inner = self.lock();
        inner.anew = None;
        inner.last = None;
        let survivors = inner.image.unflushed.len() + 1;
        let survivors = inner.draw(survivors);
        let image = &mut inner.image;
        image.settle(survivors);
        image.unflushed.clear();
        image.cached = image.durable.clone();
        image.has_failed = false;
    }

    /// After `operations` more changing operations one fails.
    pub fn fail_after(&self, operations: u64) {
        self.lock().failure = Some(operations);
    }

    /// After `reads` more of them a read fails. A node may go on from there: nothing that it has written is in doubt.
    pub fn fail_read_after(&self, reads: u64) {
        self.lock().read_failure = Some(reads);
    }

    /// Does something that changes the store, if there is power.
    async fn step<T>(
        &self,
        edge: impl FnOnce(&Inner) -> Edge,
        act: impl FnOnce(&mut Inner, io::Result<()>) -> io::Result<T>,
    ) -> io::Result<T> {
        let edge = edge(&self.lock());
        let pass = self.power.pass(edge);
        if pass == Pass::Off {
            return Err(self.power.gone().await);
        }
        let done = {
            let mut inner = self.lock();
            let stepped = inner.step(&self.tally);
            if stepped.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::StorageFull) {
                self.power.note_failure();
            }
            act(&mut inner, stepped)
        };
        match pass {
            Pass::Last => Err(self.power.gone().await),
            _ => done,
        }
    }

    /// Reading needs power, too.
    async fn check_power(&self) -> io::Result<()> {
        if self.power.is_on() { Ok(()) } else { Err(self.power.gone().await) }
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

    /// Flips a bit of one durable value; gives in which namespace, if there was any.
    pub fn rot(&self) -> Option<String> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let keys: Vec<(String, Vec<u8>)> = inner
            .image
            .durable
            .iter()
            // What is being received, or cleared, is no checkpoint.
            .filter(|(namespace, rows)| *namespace == CATALOG || rows.contains_key(META_KEY))
            .flat_map(|(namespace, rows)| rows.iter().map(move |(key, value)| (namespace, key, value)))
            .filter(|(.., value)| !value.is_empty())
            .map(|(namespace, key, _)| (namespace.clone(), key.clone()))
            .collect();
        if keys.is_empty() {
            return None;
        }
        let (namespace, key) = &keys[inner.draw(keys.len())];
        let bit = inner.draw(8);
        let byte = inner.draw(inner.image.durable[namespace][key].len());
        let Image { cached, durable, .. } = &mut inner.image;
        for rows in [cached, durable] {
            if let Some(value) =
                rows.get_mut(namespace).and_then(|rows| rows.get_mut(key)).filter(|value| byte < value.len())
            {
                value[byte] ^= 1 << bit;
            }
        }
        Some(namespace.clone())
    }

    /// The names under which there are rows.
    pub fn namespaces(&self) -> Vec<String> {
        self.lock().image().cached.keys().cloned().collect()
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        let len =
            |rows: &BTreeMap<Vec<u8>, Vec<u8>>| rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        self.lock().image().cached.values().map(len).sum()
    }

    /// Changing operations so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }
}

impl CheckpointStore for SimStore {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let delay = self.lock().delay;
            self.wait(delay).await;
            let edge = self.lock().write_edge(namespace, &changes);
            let write = |inner: &mut Inner, stepped: io::Result<()>| {
                stepped?;
                inner.last = Some((edge, namespace.to_owned()));
                inner.image().write(namespace, changes);
                Ok(())
            };
            self.step(|_| edge, write).await
        })
    }

    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        Box::pin(async move {
            self.check_power().await?;
            let mut inner = self.lock();
            inner.read(&self.tally)?;
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
            self.check_power().await?;
            let mut inner = self.lock();
            inner.read(&self.tally)?;
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
            let delay = self.lock().flush_delay;
            self.wait(delay).await;
            let flush = |inner: &mut Inner, stepped: io::Result<()>| {
                let count = inner.image().unflushed.len();
                let Err(error) = stepped else {
                    inner.image().settle(count);
                    return Ok(());
                };
                if error.kind() != io::ErrorKind::StorageFull {
                    // What it was for counts as flushed from now on, whether it was or not.
                    let part = inner.draw(count + 1);
                    inner.image().settle(part);
                    inner.image().unflushed.clear();
                }
                Err(error)
            };
            self.step(Inner::flush_edge, flush).await
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
        let begin = |inner: &mut Inner, stepped: io::Result<()>| {
            if let Err(error) = stepped
                && error.kind() != io::ErrorKind::StorageFull
            {
                return Err(error);
            }
            // What has met a full disk is not used any more; the new one may meet it, too.
            inner.anew = Some(Image { has_failed: inner.room == Some(0), ..Image::default() });
            inner.check_failed()
        };
        Box::pin(self.step(|_| Edge::StoreAnew, begin))
    }

    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        let abandon = |inner: &mut Inner, stepped: io::Result<()>| {
            inner.anew = Some(Image { has_failed: true, ..Image::default() });
            // To remove files takes no room.
            stepped.or_else(|error| if error.kind() == io::ErrorKind::StorageFull { Ok(()) } else { Err(error) })
        };
        Box::pin(self.step(|_| Edge::StoreAnew, abandon))
    }

    /// A power cut in the middle of it leaves either.
    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        let commit = |inner: &mut Inner, stepped: io::Result<()>| {
            if stepped.is_err() && inner.draw(2) == 0 {
                return stepped;
            }
            if let Some(image) = inner.anew.take() {
                inner.image = image;
            }
            stepped
        };
        Box::pin(self.step(|_| Edge::StoreAnew, commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_fails_once_where_it_is_to() {
        let (tally, mut sim) = (Tally::default(), turmoil::Builder::new().build());
        let store = SimStore::of_machine(1, Power::default(), tally.clone());
        store.fail_read_after(1);
        sim.client("reader", async move {
            store.get(CATALOG, IDENTITY_KEY).await.expect("it is the next that fails");
            let error = store.scan(CATALOG, None, 1).await.expect_err("it is to fail");
            assert!(error.to_string().contains("the device failed"), "{error}");
            store.get(CATALOG, IDENTITY_KEY).await.expect("it fails once");
            Ok(())
        });
        sim.run().expect("it ends");
        assert_eq!(tally.of(Kind::CheckpointError), 1);
    }

    #[tokio::test]
    async fn a_full_disk_counts_once_it_is_met() {
        let tally = Tally::default();
        let store = SimStore::of_machine(1, Power::default(), tally.clone());
        store.fill_after(Some(1));
        store.write("a", Vec::new()).await.expect("there is room");
        assert_eq!(tally.of(Kind::DiskFull), 0);
        for _ in 0..2 {
            store.flush().await.expect_err("there is none");
        }
        assert_eq!(tally.of(Kind::DiskFull), 1);
    }
}

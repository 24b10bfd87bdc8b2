//! A disk whose syncs take as long, and which has as much room, as a test wants.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vestibule_raft::seams::{Disk, DiskFile};

/// How much longer every sync takes, in milliseconds.
pub(crate) type Delay = Arc<AtomicU64>;

/// The most room that there seems to be, in bytes.
pub(crate) type Room = Arc<AtomicU64>;

pub(crate) struct SlowDisk {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) room: Room,
    pub(crate) delay: Delay,
}

struct SlowFile {
    file: Arc<dyn DiskFile>,
    delay: Delay,
}

/// Blocks the thread, which is the log's own, as a slow disk does.
fn delayed<'a, T>(delay: &'a Delay, work: BoxFuture<'a, T>) -> BoxFuture<'a, T>
where
    T: Send + 'a,
{
    async {
        std::thread::sleep(Duration::from_millis(delay.load(Ordering::SeqCst)));
        work.await
    }
    .boxed()
}

impl SlowDisk {
    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SlowFile { file, delay: self.delay.clone() })
    }
}

impl Disk for SlowDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        self.disk.list()
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        async move {
            if self.room.load(Ordering::SeqCst) < len {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(self.wrap(self.disk.create(name, len).await?))
        }
        .boxed()
    }

    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        async move { Ok(self.wrap(self.disk.open(name).await?)) }.boxed()
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.disk.rename(from, to)
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.disk.remove(name)
    }

    fn sync_directory(&self) -> BoxFuture<'_, io::Result<()>> {
        delayed(&self.delay, self.disk.sync_directory())
    }

    fn free_bytes(&self) -> BoxFuture<'_, io::Result<u64>> {
        async { Ok(self.disk.free_bytes().await?.min(self.room.load(Ordering::SeqCst))) }.boxed()
    }
}

impl DiskFile for SlowFile {
    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.file.size()
    }

    fn write_at<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        self.file.read_at(offset, len)
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        delayed(&self.delay, self.file.sync_data())
    }
}

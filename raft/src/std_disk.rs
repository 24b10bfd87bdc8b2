//! The real [`Disk`]: a directory of the file system.

use crate::seams::{Disk, DiskFile};
use futures::future::BoxFuture;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Zeroes are written in pieces of this many bytes.
const ZERO_CHUNK_LEN: usize = 1 << 20;

/// A directory of the file system. Its calls block the thread they are polled on.
#[derive(Debug, Clone)]
pub struct StdDisk {
    directory: PathBuf,
}

impl StdDisk {
    /// Opens the directory, making it and its parents durable first if they are not there.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        create_directory_durably(&directory)?;
        Ok(Self { directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Makes a directory and every missing parent, and syncs each directory that gained an entry.
pub(crate) fn create_directory_durably(directory: &std::path::Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    create_directory_durably(&parent)?;
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}

/// Writes zeroes, rather than only reserving space: a sync after a write into reserved space has to change the file's
/// extents too, which costs a journal commit each time.
fn fill(file: &File, len: u64) -> io::Result<()> {
    let zeroes = vec![0; ZERO_CHUNK_LEN];
    let mut offset = 0;
    while offset < len {
        let piece = usize::try_from(len - offset).unwrap_or(usize::MAX).min(ZERO_CHUNK_LEN);
        file.write_all_at(&zeroes[..piece], offset)?;
        offset += piece as u64;
    }
    file.sync_all()
}

impl Disk for StdDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        Box::pin(async move {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&self.directory)? {
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        })
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path(name))?;
            if let Err(error) = fill(&file, len) {
                if error.kind() == io::ErrorKind::StorageFull {
                    std::fs::remove_file(self.path(name))?;
                }
                return Err(error);
            }
            Ok(Arc::new(StdFile(file)) as Arc<dyn DiskFile>)
        })
    }

    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
            Ok(Arc::new(StdFile(file)) as Arc<dyn DiskFile>)
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { std::fs::rename(self.path(from), self.path(to)) })
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { std::fs::remove_file(self.path(name)) })
    }

    fn sync_directory(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { File::open(&self.directory)?.sync_all() })
    }

    fn free_bytes(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move {
            let found = rustix::fs::statvfs(&self.directory)?;
            Ok(found.f_bavail.saturating_mul(found.f_frsize))
        })
    }
}

struct StdFile(File);

impl DiskFile for StdFile {
    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move { Ok(self.0.metadata()?.len()) })
    }

    fn write_at<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.0.write_all_at(bytes, offset) })
    }

    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        Box::pin(async move {
            let mut bytes = vec![0; len];
            self.0.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        })
    }

    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.0.sync_data() })
    }
}

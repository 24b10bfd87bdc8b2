//! A real sled database on a small disk that fills up: it fails in bounded time, is begun anew, and gives its room back.

use futures::FutureExt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use vestibule_raft::seams::CheckpointStore;
use vestibule_raft::sled_store::SledStore;

const PATIENCE: Duration = Duration::from_secs(30);

/// A small file system in memory, unmounted at the end.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None` where mounting is not allowed.
    fn mount(mib: u32) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves no room but for `free` bytes.
    fn fill(&self, free: u64) {
        let found = rustix::fs::statvfs(self.path()).expect("there is a file system");
        let len = (found.f_bavail * found.f_frsize).saturating_sub(free);
        let file = std::fs::File::create(self.filler()).expect("a filler");
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len).expect("there was as much room");
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).expect("there is a file system");
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn now<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    work.now_or_never().expect("a SledStore blocks and never waits")
}

/// Writes rows that do not compress, from `from` on, in so many writes, and flushes; 4 MB.
fn write_in(store: &SledStore, from: u64, pages: u64) -> io::Result<()> {
    let rows_a_page = 4_096 / pages;
    for page in 0..pages {
        let rows = (0..rows_a_page).map(|row| {
            let number = from + page * rows_a_page + row;
            let mut noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let value = std::iter::repeat_with(|| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise.to_le_bytes()
            });
            (number.to_be_bytes().to_vec(), Some(value.take(128).flatten().collect()))
        });
        now(store.write("rows", rows.collect()))?;
    }
    now(store.flush())
}

fn write(store: &SledStore, from: u64) -> io::Result<()> {
    write_in(store, from, 16)
}

fn count(store: &SledStore) -> usize {
    now(store.scan("rows", None, usize::MAX)).expect("it can be read").len()
}

#[test]
fn a_full_disk_costs_a_database_and_nothing_else() {
    let Some(disk) = Tmpfs::mount(64) else {
        eprintln!("SKIPPED: a tmpfs cannot be mounted here (not root?); sled on a full disk was NOT tested");
        return;
    };
    let (tell, told) = std::sync::mpsc::channel();
    // On a thread, because sled may wait for ever.
    std::thread::spawn(move || {
        let directory = disk.path().join("checkpoint");
        let store = SledStore::open(&directory, PATIENCE).expect("it opens");
        write(&store, 0).expect("there is room");
        disk.fill(1 << 20);
        let error = write(&store, 1 << 32).expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        assert!(now(store.get("rows", &[0])).is_err() || write(&store, 1 << 33).is_err(), "it is of no use any more");

        // As a node that is stopped meanwhile.
        drop(store);
        std::fs::remove_file(disk.filler()).expect("the filler can be removed");
        // The one that failed still holds its lock, as far as this process lives.
        let store = SledStore::open(&disk.path().join("other"), PATIENCE).expect("another opens");
        write(&store, 0).expect("there is room");
        disk.fill(1 << 20);
        // Met by the one write that there is, so that only the flush can tell.
        let error = write_in(&store, 1 << 32, 1).expect_err("there is none");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
        std::fs::remove_file(disk.filler()).expect("the filler can be removed");
        let before = disk.free();
        // Full again on the way, and then not.
        now(store.begin_anew()).expect("there is room");
        disk.fill(1 << 20);
        write(&store, 1 << 34).expect_err("there is none");
        std::fs::remove_file(disk.filler()).expect("the filler can be removed");
        now(store.begin_anew()).expect("there is room");
        write(&store, 1 << 35).expect("there is room");
        now(store.commit_anew()).expect("it takes the other's place");
        assert_eq!(count(&store), 4_096);
        assert!(disk.free() + (6 << 20) > before, "{} bytes were free, and {} are", before, disk.free());
        write(&store, 1 << 36).expect("it goes on");
        drop(store);
        let store = SledStore::open(&disk.path().join("other"), PATIENCE).expect("it opens again");
        assert_eq!(count(&store), 8_192);
        assert!(!disk.path().join("other.new").exists() && !disk.path().join("other.old").exists());
        tell.send(()).expect("the test waits");
    });
    told.recv_timeout(4 * PATIENCE).expect("it comes to its end, without a panic and in time");
}

#[test]
fn a_replacement_that_was_cut_short_is_finished_or_undone() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let [here, new, old] = ["store", "store.new", "store.old"].map(|name| root.path().join(name));
    let make = |path: &Path, from: u64| write(&SledStore::open(path, PATIENCE).expect("it opens"), from).expect("room");
    let first_key = |path: &Path| {
        let store = SledStore::open(path, PATIENCE).expect("it opens");
        now(store.scan("rows", None, 1)).expect("it can be read").remove(0).0
    };
    // Before the first renaming.
    make(&here, 1);
    make(&root.path().join("a"), 2);
    std::fs::rename(root.path().join("a"), &new).expect("directories can be renamed");
    assert_eq!(first_key(&here), 1u64.to_be_bytes());
    assert!(!new.exists());
    // Between the two.
    make(&root.path().join("b"), 2);
    std::fs::rename(root.path().join("b"), &new).expect("directories can be renamed");
    std::fs::rename(&here, &old).expect("directories can be renamed");
    assert_eq!(first_key(&here), 2u64.to_be_bytes());
    assert!(!new.exists() && !old.exists());
}

//! A durable append to the log, beside the bare write and `fdatasync` that it cannot do without: first in turn, so that
//! both meet the same disk, with medians and their ratio; then what criterion makes of it.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use vestibule_engine::GroupId;
use vestibule_raft::seams::ThreadSpawner;
use vestibule_raft::std_disk::StdDisk;
use vestibule_raft::wal::{EntryBody, LogPosition, Owner, Wal, WalConfig, WalGroup};

/// Bytes of an entry: about one hold in a batch of its own.
const ENTRY_LEN: usize = 160;
/// Bytes written before the bare sync: what such an entry takes in the log.
const FRAME_LEN: usize = 240;
/// How often the two take turns, and how many of either there are in a turn.
const TURNS: usize = 100;
const IN_A_TURN: usize = 20;

/// A directory on the disk that holds the build, since `/tmp` is memory on some machines.
fn directory() -> tempfile::TempDir {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::fs::create_dir_all(&target).expect("the target directory can be made");
    tempfile::tempdir_in(target).expect("a temporary directory")
}

/// A file that is written and synced piece by piece.
struct Bare {
    file: File,
    offset: u64,
    _dir: tempfile::TempDir,
}

impl Bare {
    const LEN: u64 = 64 << 20;

    fn new() -> Self {
        let dir = directory();
        let file = OpenOptions::new().write(true).create_new(true).open(dir.path().join("bare")).expect("a file");
        file.write_all_at(&vec![0; Self::LEN as usize], 0).expect("it can be filled");
        file.sync_all().expect("it can be synced");
        Self { file, offset: 0, _dir: dir }
    }

    fn write(&mut self) {
        self.file.write_all_at(&[7; FRAME_LEN], self.offset).expect("it can be written");
        self.file.sync_data().expect("it can be synced");
        self.offset = (self.offset + FRAME_LEN as u64) % (Self::LEN - 4096);
    }
}

/// An empty log, and the runtime that it is used from.
fn open() -> (Wal, tokio::runtime::Runtime, tempfile::TempDir) {
    let dir = directory();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let disk = Arc::new(StdDisk::open(dir.path()).expect("a disk"));
    let owner = Owner { cluster: 1, node: 1, incarnation: 1 };
    let opened = runtime.block_on(Wal::open(disk, owner, WalConfig::default(), &ThreadSpawner));
    let (wal, _) = opened.expect("an empty log opens");
    (wal, runtime, dir)
}

/// The smallest time that is not below the given share of `sorted`, in milliseconds.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.max(1) - 1].as_secs_f64() * 1_000.0
}

/// Bare syncs and appends in turn, a few of either at a time.
fn side_by_side() {
    let (mut bare, (wal, runtime, _dir)) = (Bare::new(), open());
    let (mut of_bare, mut of_append) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for _ in 0..IN_A_TURN {
            let begun = Instant::now();
            bare.write();
            of_bare.push(begun.elapsed());
        }
        runtime.block_on(async {
            for _ in 0..IN_A_TURN {
                let begun = Instant::now();
                append_and_wait(&wal, 1).await;
                of_append.push(begun.elapsed());
            }
        });
    }
    of_bare.sort_unstable();
    of_append.sort_unstable();
    for (what, times) in [("bare write and fdatasync", &of_bare), ("append, durable", &of_append)] {
        let (p50, p99, count) = (quantile(times, 0.5), quantile(times, 0.99), times.len());
        println!("{what}: p50 {p50:.3} ms, p99 {p99:.3} ms ({count} in turn with the other)");
    }
    let ratio = |share| quantile(&of_append, share) / quantile(&of_bare, share);
    println!("append beside bare: p50 {:.2} times, p99 {:.2} times", ratio(0.5), ratio(0.99));
    runtime.block_on(wal.close());
}

/// How many entries share a sync when each of so many groups has one on its way all the time. Commit points are none.
fn entries_per_sync() {
    for groups in [1, 8, 64] {
        let (wal, runtime, _dir) = open();
        let (begun, frames) = (Instant::now(), wal.stats().frames);
        let entries: u64 = runtime.block_on(async {
            let appending = (0..groups).map(|number| {
                let wal = wal.clone();
                tokio::spawn(async move {
                    let mut count = 0;
                    while begun.elapsed() < Duration::from_secs(2) {
                        append_to(&wal, number).await.await.expect("it is told").expect("the disk works");
                        count += 1;
                    }
                    count
                })
            });
            let appending: Vec<_> = appending.collect();
            let mut sum = 0;
            for task in appending {
                sum += task.await.expect("it does not panic");
            }
            sum
        });
        let syncs = wal.stats().frames - frames;
        println!(
            "{groups:>3} groups with an entry on its way each: {:.1} entries a sync over all groups, {:.0} entries/s",
            entries as f64 / syncs as f64,
            entries as f64 / begun.elapsed().as_secs_f64(),
        );
        runtime.block_on(wal.close());
    }
}

fn bare(criterion: &mut Criterion) {
    let mut bare = Bare::new();
    criterion.bench_function("bare write and fdatasync", |bencher| bencher.iter(|| bare.write()));
}

fn append(criterion: &mut Criterion) {
    let (wal, runtime, _dir) = open();
    let mut group = criterion.benchmark_group("wal append, durable");
    for in_flight in [1u64, 16, 256] {
        group.throughput(Throughput::Elements(in_flight));
        group.bench_with_input(BenchmarkId::new("in flight", in_flight), &in_flight, |bencher, &in_flight| {
            bencher.iter_custom(|iterations| {
                let begun = Instant::now();
                runtime.block_on(async {
                    for _ in 0..iterations {
                        append_and_wait(&wal, in_flight).await;
                    }
                });
                begun.elapsed()
            });
        });
    }
    group.finish();
    runtime.block_on(wal.close());
}

/// One entry in each of `groups` groups at once, as concurrent groups do; returns when all are durable.
async fn append_and_wait(wal: &Wal, groups: u64) {
    let mut waiting = Vec::new();
    for number in 0..groups {
        waiting.push(append_to(wal, number).await);
    }
    for told in waiting {
        told.await.expect("it is told").expect("the disk works");
    }
}

/// Appends an entry in a group; what it gives resolves when the entry is durable.
async fn append_to(wal: &Wal, group: u64) -> oneshot::Receiver<io::Result<()>> {
    let log: WalGroup = wal.group(GroupId(u32::try_from(group).expect("few groups")));
    let index = log.last().map_or(0, |last| last.index + 1);
    if index > 4_000 && index.is_multiple_of(1_000) {
        let upto = LogPosition { term: 1, node: 1, index: index - 1_000 };
        log.purge(upto).await.expect("it purges");
    }
    let (tell, told) = oneshot::channel();
    let body = EntryBody::Batch(Bytes::from_static(&[7; ENTRY_LEN]));
    let on_flushed = Box::new(|result| tell.send(result).expect("it is waited for"));
    log.append(vec![(LogPosition { term: 1, node: 1, index }, body)], on_flushed).await.expect("it appends");
    told
}

criterion_group!(benches, bare, append);

fn main() {
    side_by_side();
    entries_per_sync();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

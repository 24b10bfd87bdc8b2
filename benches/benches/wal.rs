//! A durable append to the log, beside the bare write and `fdatasync` that it cannot do without.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use vestibule_engine::GroupId;
use vestibule_raft::seams::ThreadSpawner;
use vestibule_raft::std_disk::StdDisk;
use vestibule_raft::wal::{EntryBody, LogPosition, Owner, Wal, WalConfig, WalGroup};

/// Bytes of an entry: about one hold in a batch of its own.
const ENTRY_LEN: usize = 160;
/// Bytes written before the bare sync: what such an entry takes in the log.
const FRAME_LEN: usize = 240;

/// A directory on the disk that holds the build, since `/tmp` is memory on some machines.
fn directory() -> tempfile::TempDir {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::fs::create_dir_all(&target).expect("the target directory can be made");
    tempfile::tempdir_in(target).expect("a temporary directory")
}

fn bare(criterion: &mut Criterion) {
    let dir = directory();
    let file = OpenOptions::new().write(true).create_new(true).open(dir.path().join("bare")).expect("a file");
    let len = 64 << 20;
    file.write_all_at(&vec![0; len], 0).expect("it can be filled");
    file.sync_all().expect("it can be synced");
    let mut offset = 0;
    criterion.bench_function("bare write and fdatasync", |bencher| {
        bencher.iter(|| {
            file.write_all_at(&[7; FRAME_LEN], offset).expect("it can be written");
            file.sync_data().expect("it can be synced");
            offset = (offset + FRAME_LEN as u64) % (len as u64 - 4096);
        });
    });
}

fn append(criterion: &mut Criterion) {
    let dir = directory();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let disk = Arc::new(StdDisk::open(dir.path()).expect("a disk"));
    let owner = Owner { cluster: 1, node: 1, incarnation: 1 };
    let opened = runtime.block_on(Wal::open(disk, owner, WalConfig::default(), &ThreadSpawner));
    let (wal, _) = opened.expect("an empty log opens");
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
        let log: WalGroup = wal.group(GroupId(u32::try_from(number).expect("few groups")));
        let index = log.last().map_or(0, |last| last.index + 1);
        if index > 4_000 && index.is_multiple_of(1_000) {
            let upto = LogPosition { term: 1, node: 1, index: index - 1_000 };
            log.purge(upto).await.expect("it purges");
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let body = EntryBody::Batch(Bytes::from_static(&[7; ENTRY_LEN]));
        let on_flushed = Box::new(|result| tell.send(result).expect("it is waited for"));
        log.append(vec![(LogPosition { term: 1, node: 1, index }, body)], on_flushed).await.expect("it appends");
        waiting.push(told);
    }
    for told in waiting {
        told.await.expect("it is told").expect("the disk works");
    }
}

criterion_group!(benches, bare, append);
criterion_main!(benches);

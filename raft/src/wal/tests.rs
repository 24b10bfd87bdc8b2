//! The log against the real file system: what is written is found again, what is torn is cut, what is damaged is named.

use super::record::RecordBody;
use super::*;
use crate::seams::ThreadSpawner;
use crate::std_disk::StdDisk;
use bytes::Bytes;
use std::path::Path;

const OWNER: Owner = Owner { cluster: 7, node: 1 };
const GROUP: GroupId = GroupId(3);

fn small() -> WalConfig {
    WalConfig { segment_len: 64 << 10, resident_bytes_max: 4 << 10, queue_bytes_max: 1 << 20, frame_bytes_max: 8 << 10 }
}

async fn open(dir: &Path) -> Result<(Wal, RecoveryReport), OpenError> {
    open_as(dir, OWNER).await
}

async fn open_as(dir: &Path, owner: Owner) -> Result<(Wal, RecoveryReport), OpenError> {
    let disk = Arc::new(StdDisk::open(dir).expect("a temporary directory can be opened"));
    Wal::open(disk, owner, small(), &ThreadSpawner).await
}

fn at(index: u64) -> LogPosition {
    LogPosition { term: 1 + index / 100, node: 1, index }
}

fn body(index: u64, len: usize) -> EntryBody {
    EntryBody::Batch(Bytes::from(vec![u8::try_from(index % 251).expect("below 251"); len]))
}

async fn append(log: &WalGroup, indices: std::ops::Range<u64>, len: usize) {
    let (tell, told) = oneshot::channel();
    let entries = indices.map(|index| (at(index), body(index, len))).collect();
    let on_flushed: OnFlushed = Box::new(|result| tell.send(result).expect("the test waits"));
    log.append(entries, on_flushed).await.expect("the log takes entries");
    told.await.expect("the callback is called").expect("the disk works");
}

async fn read_all(log: &WalGroup) -> Vec<(LogPosition, EntryBody)> {
    let mut entries = Vec::new();
    let mut next = log.purged().map_or(0, |purged| purged.index + 1);
    loop {
        let more = log.read(next, u64::MAX, 1 << 10).await.expect("the log can be read");
        let Some((last, _)) = more.last() else { return entries };
        next = last.index + 1;
        entries.extend(more);
    }
}

fn segment_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .expect("the directory is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .collect();
    files.sort();
    files
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).expect("the segment can be read");
    bytes[offset] ^= 0x10;
    std::fs::write(path, bytes).expect("the segment can be written");
}

/// The offset behind the last frame of the segment.
fn end_of_frames(path: &Path, number: u64) -> usize {
    let bytes = std::fs::read(path).expect("the segment can be read");
    let mut offset = segment::SEGMENT_HEADER_LEN as usize;
    while let Some(header) = record::decode_frame_header(&bytes[offset..], number) {
        offset += record::FRAME_HEADER_LEN + header.body_len;
    }
    offset
}

#[tokio::test]
async fn what_was_written_is_found_again_over_many_segments() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (wal, report) = open(dir.path()).await.expect("an empty directory is a log");
    assert_eq!(report, RecoveryReport::default());
    let (log, other) = (wal.group(GROUP), wal.group(GroupId(4)));
    for start in (0..400).step_by(10) {
        append(&log, start..start + 10, 700).await;
        append(&other, start / 10..start / 10 + 1, 30).await;
    }
    let ballot = Ballot { term: 9, node: 2, committed: true };
    log.save_vote(ballot).await.expect("votes are saved");
    log.save_committed(Some(at(390))).expect("commit points are noted");
    let expected = read_all(&log).await;
    assert_eq!(expected.len(), 400);
    assert_eq!(expected[123], (at(123), body(123, 700)));
    wal.close().await;

    let (wal, report) = open(dir.path()).await.expect("the log opens again");
    assert!(report.segments > 3, "{report:?}");
    assert_eq!(report.trimmed, None);
    let log = wal.group(GROUP);
    assert_eq!((log.vote(), log.committed(), log.last()), (Some(ballot), Some(at(390)), Some(at(399))));
    assert_eq!(read_all(&log).await, expected);
    assert_eq!(read_all(&wal.group(GroupId(4))).await.len(), 40);
    append(&log, 400..401, 10).await;
}

#[tokio::test]
async fn truncated_and_purged_entries_stay_gone_and_segments_are_reused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (wal, _) = open(dir.path()).await.expect("an empty directory is a log");
    let log = wal.group(GROUP);
    for start in (0..2000).step_by(20) {
        append(&log, start..start + 20, 500).await;
        if start >= 100 && start % 100 == 0 {
            log.purge(at(start - 50)).await.expect("the log purges");
        }
    }
    log.truncate(Some(at(1989))).await.expect("the log truncates");
    append(&log, 1990..1995, 20).await;
    assert!(segment_files(dir.path()).len() < 5, "{:?}", segment_files(dir.path()));
    let expected = read_all(&log).await;
    wal.close().await;

    let (wal, _) = open(dir.path()).await.expect("the log opens again");
    let log = wal.group(GROUP);
    assert_eq!((log.purged(), log.last()), (Some(at(1850)), Some(at(1994))));
    assert_eq!(read_all(&log).await, expected);
    assert_eq!(expected.first().map(|entry| entry.0.index), Some(1851));
    assert_eq!(expected[1990 - 1851], (at(1990), body(1990, 20)));
}

#[tokio::test]
async fn a_frame_cut_short_is_trimmed_and_the_log_goes_on() {
    for cut in [1, 30, 100, 500] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (wal, _) = open(dir.path()).await.expect("an empty directory is a log");
        append(&wal.group(GROUP), 0..5, 100).await;
        let first = segment_files(dir.path())[0].clone();
        let whole = end_of_frames(&first, 1);
        append(&wal.group(GROUP), 5..10, 100).await;
        wal.close().await;
        // As a power cut leaves it: the end of the last frame never reached the disk.
        let mut bytes = std::fs::read(&first).expect("the segment can be read");
        let end = end_of_frames(&first, 1);
        assert!(end > whole + cut);
        bytes[end - cut..end].fill(0);
        // Padding is zero anyway; make sure that something real was lost.
        bytes[end - 200] ^= 1;
        std::fs::write(&first, bytes).expect("the segment can be written");

        let (wal, report) = open(dir.path()).await.expect("a torn tail is no damage");
        assert_eq!(report.trimmed, Some((1, whole as u64)));
        assert_eq!(wal.group(GROUP).last(), Some(at(4)));
        append(&wal.group(GROUP), 5..8, 50).await;
        wal.close().await;
        let (wal, report) = open(dir.path()).await.expect("the log opens again");
        assert_eq!((report.trimmed, wal.group(GROUP).last()), (None, Some(at(7))));
    }
}

#[tokio::test]
async fn a_flipped_bit_before_the_tail_stops_the_node_and_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (wal, _) = open(dir.path()).await.expect("an empty directory is a log");
    for start in (0..300).step_by(10) {
        append(&wal.group(GROUP), start..start + 10, 700).await;
    }
    wal.close().await;
    let files = segment_files(dir.path());
    assert!(files.len() >= 3);
    let ends: Vec<usize> = (1..).zip(&files).map(|(number, file)| end_of_frames(file, number)).collect();
    for (number, file) in (1u64..).zip(&files) {
        let end = ends[number as usize - 1];
        let is_last = number as usize == files.len();
        for offset in [3, 20, 4100, 4096 + 33, 4096 + 80, 9000, end - 20] {
            // The last frame of all cannot be told from a torn one; nothing was written behind it.
            if is_last && offset >= end - 7 * 760 {
                continue;
            }
            flip(file, offset);
            match open(dir.path()).await {
                Err(OpenError::Damaged { segment, .. }) => {
                    let next = number + 1;
                    assert!(segment == number || segment == next, "byte {offset} of {number}: named {segment}");
                }
                Err(other) => panic!("byte {offset} of segment {number}: {other}"),
                Ok(_) => panic!("byte {offset} of segment {number} went unnoticed"),
            }
            flip(file, offset);
        }
    }
    open(dir.path()).await.expect("mended, it opens");
}

#[tokio::test]
async fn missing_and_foreign_segments_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (wal, _) = open(dir.path()).await.expect("an empty directory is a log");
    for start in (0..300).step_by(10) {
        append(&wal.group(GROUP), start..start + 10, 700).await;
    }
    wal.close().await;
    let stranger = Owner { cluster: 7, node: 2 };
    assert!(matches!(open_as(dir.path(), stranger).await, Err(OpenError::Foreign { segment: 1, .. })));
    let files = segment_files(dir.path());
    let hidden = dir.path().join("hidden");
    std::fs::rename(&files[1], &hidden).expect("files can be renamed");
    assert!(matches!(open(dir.path()).await, Err(OpenError::MissingSegment(2))));
    std::fs::rename(&hidden, &files[1]).expect("files can be renamed");
    // The first segment of an unpurged log cannot be missing either: its entries are.
    std::fs::rename(&files[0], &hidden).expect("files can be renamed");
    assert!(matches!(open(dir.path()).await, Err(OpenError::Hole { group: GROUP, index: 0 })));
}

#[tokio::test]
async fn an_error_of_the_disk_is_final() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(FailingDisk { inner: StdDisk::open(dir.path()).expect("opens"), fail: Arc::default() });
    let (wal, _) = Wal::open(disk.clone(), OWNER, small(), &ThreadSpawner).await.expect("opens");
    append(&wal.group(GROUP), 0..3, 10).await;
    disk.fail.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(wal.group(GROUP).save_vote(Ballot { term: 1, node: 1, committed: false }).await.is_err());
    disk.fail.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(wal.failed().await.contains("planted"));
    let after = wal.group(GROUP).append(vec![(at(3), body(3, 10))], Box::new(|_| {})).await;
    assert!(after.is_err(), "nothing is taken after an error, whatever the disk does now");
}

#[test]
fn records_survive_their_encoding() {
    let position = LogPosition { term: 3, node: 2, index: 77 };
    let bodies = [
        RecordBody::Entry(position, EntryBody::Blank),
        RecordBody::Entry(position, EntryBody::Batch(Bytes::from_static(b"hello"))),
        RecordBody::Entry(position, EntryBody::Membership(Bytes::from_static(b"12345678"))),
        RecordBody::Vote(Ballot { term: 4, node: 1, committed: true }),
        RecordBody::Committed(None),
        RecordBody::Committed(Some(position)),
        RecordBody::Truncate(None),
        RecordBody::Truncate(Some(position)),
        RecordBody::Purge(position),
    ];
    for body in bodies {
        let mut bytes = Vec::new();
        let next = record::encode_record(GROUP, 42, &body, &mut bytes);
        assert_eq!(bytes.len(), record::record_len(record::payload_len(&body)));
        let (record, len, link) = record::decode_record(&Bytes::from(bytes.clone())).expect("decodes");
        assert_eq!((record.group, record.link, &record.body, len, link), (GROUP, 42, &body, bytes.len(), next));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert!(record::decode_record(&bad.into()).is_err(), "byte {at} of {body:?} is not covered");
        }
    }
}

struct FailingDisk {
    inner: StdDisk,
    fail: Arc<std::sync::atomic::AtomicBool>,
}

struct FailingFile {
    inner: Arc<dyn crate::seams::DiskFile>,
    fail: Arc<std::sync::atomic::AtomicBool>,
}

type Io<'a, T> = futures::future::BoxFuture<'a, io::Result<T>>;

impl Disk for FailingDisk {
    fn list(&self) -> Io<'_, Vec<String>> {
        self.inner.list()
    }
    fn create<'a>(&'a self, name: &'a str, len: u64) -> Io<'a, Arc<dyn crate::seams::DiskFile>> {
        Box::pin(async move {
            let inner = self.inner.create(name, len).await?;
            Ok(Arc::new(FailingFile { inner, fail: self.fail.clone() }) as Arc<dyn crate::seams::DiskFile>)
        })
    }
    fn open<'a>(&'a self, name: &'a str) -> Io<'a, Arc<dyn crate::seams::DiskFile>> {
        Box::pin(async move {
            let inner = self.inner.open(name).await?;
            Ok(Arc::new(FailingFile { inner, fail: self.fail.clone() }) as Arc<dyn crate::seams::DiskFile>)
        })
    }
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> Io<'a, ()> {
        self.inner.rename(from, to)
    }
    fn remove<'a>(&'a self, name: &'a str) -> Io<'a, ()> {
        self.inner.remove(name)
    }
    fn sync_directory(&self) -> Io<'_, ()> {
        self.inner.sync_directory()
    }
}

impl crate::seams::DiskFile for FailingFile {
    fn size(&self) -> Io<'_, u64> {
        self.inner.size()
    }
    fn write_at<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> Io<'a, ()> {
        self.inner.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, len: usize) -> Io<'_, Vec<u8>> {
        self.inner.read_at(offset, len)
    }
    fn sync_data(&self) -> Io<'_, ()> {
        Box::pin(async move {
            if self.fail.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(io::Error::other("planted"));
            }
            self.inner.sync_data().await
        })
    }
}

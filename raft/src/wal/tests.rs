//! The log against the real file system: what is written is found again, what is torn is cut, what is damaged is named.

use super::record::{FRAME_HEADER_LEN, RecordBody};
use super::*;
use crate::seams::{DiskFile, ThreadSpawner};
use crate::std_disk::StdDisk;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::path::Path;

const OWNER: Owner = Owner { cluster: 7, node: 1, incarnation: 77 };
pub(super) const GROUP: GroupId = GroupId(3);

fn small() -> WalConfig {
    WalConfig {
        segment_len: 64 << 10,
        resident_bytes_max: 4 << 10,
        queue_bytes_max: 1 << 20,
        frame_bytes_max: 8 << 10,
        ballast_len: 64 << 10,
    }
}

pub(super) async fn open(dir: &Path) -> Result<(Wal, RecoveryReport), OpenError> {
    open_as(dir, OWNER).await
}

async fn open_as(dir: &Path, owner: Owner) -> Result<(Wal, RecoveryReport), OpenError> {
    let disk = Arc::new(StdDisk::open(dir).expect("a temporary directory can be opened"));
    Wal::open(disk, owner, small(), &ThreadSpawner).await
}

pub(super) fn at(index: u64) -> LogPosition {
    LogPosition { term: 1 + index / 100, node: 1, index }
}

fn body(index: u64, len: usize) -> EntryBody {
    EntryBody::Batch(Bytes::from(vec![u8::try_from(index % 251).expect("below 251"); len]))
}

pub(super) async fn append(log: &WalGroup, indices: std::ops::Range<u64>, len: usize) {
    let (tell, told) = oneshot::channel();
    let entries = indices.map(|index| (at(index), body(index, len))).collect();
    let on_flushed: OnFlushed = Box::new(|result| tell.send(result).expect("the test waits"));
    log.append(entries, on_flushed).await.expect("the log takes entries");
    told.await.expect("the callback is called").expect("the disk works");
}

pub(super) async fn read_all(log: &WalGroup) -> Vec<(LogPosition, EntryBody)> {
    let mut entries = Vec::new();
    let mut next = log.purged().map_or(0, |purged| purged.index + 1);
    loop {
        let more = log.read(next, u64::MAX, 1 << 10).await.expect("the log can be read");
        let Some((last, _)) = more.last() else { return entries };
        next = last.index + 1;
        entries.extend(more);
    }
}

pub(super) fn segment_files(dir: &Path) -> Vec<std::path::PathBuf> {
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

/// A copy of what is in the directory now, as a node that is killed leaves it.
pub(super) fn copied(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for entry in std::fs::read_dir(dir).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        let to = copy.path().join(path.file_name().expect("files have names"));
        // The spare may get its name at this moment.
        let _ = std::fs::copy(&path, to);
    }
    copy
}

/// The offset behind the last frame of the segment.
pub(super) fn end_of_frames(path: &Path, number: u64) -> usize {
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
        let dir = copied(dir.path());
        wal.close().await;
        let first = segment_files(dir.path())[0].clone();
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
async fn a_flipped_bit_in_the_header_of_the_last_frame_is_said() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (wal, _) = open(dir.path()).await.expect("an empty directory is a log");
    append(&wal.group(GROUP), 0..5, 100).await;
    let whole = end_of_frames(&segment_files(dir.path())[0], 1);
    append(&wal.group(GROUP), 5..10, 100).await;
    for offset in whole..whole + FRAME_HEADER_LEN {
        // As a crash leaves it: what was on disk, the manifest does not know yet.
        let dir = copied(dir.path());
        flip(&segment_files(dir.path())[0], offset);
        let mut report = crate::verify::Report::default();
        verify(dir.path(), None, &mut report).expect("it can be read");
        assert!(report.has_torn_tail, "byte {offset}: {report:?}");
        let (wal, report) = open(dir.path()).await.expect("it may have been a write that was not finished");
        assert_eq!((report.trimmed, wal.group(GROUP).last()), (Some((1, whole as u64)), Some(at(4))), "byte {offset}");
    }
    wal.close().await;
}

#[tokio::test]
async fn a_flipped_bit_stops_the_node_and_is_named() {
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
        // The end of the last segment as well: the log was closed, so it is known that its last frame was whole.
        for offset in [3, 20, 35, 50, 4100, 4096 + 33, 4096 + 80, 9000, end - 20] {
            flip(file, offset);
            match open(dir.path()).await {
                Err(OpenError::Damaged { file, .. }) => {
                    let named = segment::parse_segment_name(&file).expect("a segment is named");
                    assert_eq!(named, number, "byte {offset}");
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
async fn missing_segments_are_noticed_wherever_they_were() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (wal, _) = open(dir.path()).await.expect("an empty directory is a log");
    let log = wal.group(GROUP);
    for start in (0..300).step_by(10) {
        append(&log, start..start + 10, 700).await;
    }
    // So that the first segment is not number 1.
    log.purge(at(150)).await.expect("the log purges");
    append(&log, 300..301, 10).await;
    wal.close().await;
    let files = segment_files(dir.path());
    assert!(files.len() >= 3, "{files:?}");
    let hidden = dir.path().join("hidden");
    for file in &files {
        std::fs::rename(file, &hidden).expect("files can be renamed");
        let name = file.file_name().and_then(|name| name.to_str()).expect("segments have names");
        let number = segment::parse_segment_name(name).expect("it is a segment");
        let refused = open(dir.path()).await.err();
        assert!(
            matches!(refused, Some(OpenError::MissingSegment(missing)) if missing == number),
            "{name}: {refused:?}"
        );
        std::fs::rename(&hidden, file).expect("files can be renamed");
    }
    let manifest = dir.path().join("manifest");
    std::fs::rename(&manifest, &hidden).expect("files can be renamed");
    assert!(matches!(open(dir.path()).await, Err(OpenError::NoManifest)));
    std::fs::rename(&hidden, &manifest).expect("files can be renamed");
    // One too many: the next one may have been begun, one behind that was not.
    let last = files.last().expect("there are some");
    let strange = dir.path().join("00000000000000ff.wal");
    std::fs::copy(last, &strange).expect("files can be copied");
    assert!(matches!(open(dir.path()).await, Err(OpenError::Damaged { .. })));
    std::fs::remove_file(strange).expect("files can be removed");
    let name = last.file_stem().and_then(|name| name.to_str()).expect("segments have names");
    let next = u64::from_str_radix(name, 16).expect("it is a number") + 1;
    std::fs::copy(last, dir.path().join(segment::segment_name(next))).expect("files can be copied");
    drop(open(dir.path()).await.expect("it holds no frame of its own"));
    assert_eq!(segment_files(dir.path()), files, "it was removed");
}

#[tokio::test]
async fn files_of_others_are_refused() {
    let fill = async |owner| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (wal, _) = open_as(dir.path(), owner).await.expect("an empty directory is a log");
        for start in (0..300).step_by(10) {
            append(&wal.group(GROUP), start..start + 10, 700).await;
        }
        wal.close().await;
        dir
    };
    let own = fill(OWNER).await;
    let others = [Owner { cluster: 8, ..OWNER }, Owner { node: 2, ..OWNER }, Owner { incarnation: 78, ..OWNER }];
    for other in others {
        let refused = open_as(own.path(), other).await.err();
        assert!(matches!(&refused, Some(OpenError::Foreign { found: OWNER, .. })), "{refused:?}");
        // A single file that was copied in.
        let strange = fill(other).await;
        let name = |file: &Path| file.file_name().expect("files have names").to_owned();
        let mut files = segment_files(own.path());
        files.push(own.path().join("manifest"));
        for file in files {
            let kept = std::fs::read(&file).expect("files can be read");
            std::fs::copy(strange.path().join(name(&file)), &file).expect("files can be copied");
            let refused = open(own.path()).await.err();
            assert!(matches!(&refused, Some(OpenError::Foreign { found, .. }) if *found == other), "{refused:?}");
            std::fs::write(&file, kept).expect("files can be written");
        }
    }
    open(own.path()).await.expect("with its own files it opens");
}

#[tokio::test]
async fn the_manifest_outlives_damage_to_its_older_half() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (wal, _) = open(dir.path()).await.expect("an empty directory is a log");
    for start in (0..200).step_by(10) {
        append(&wal.group(GROUP), start..start + 10, 700).await;
    }
    wal.close().await;
    let path = dir.path().join("manifest");
    let bytes = std::fs::read(&path).expect("the manifest can be read");
    let slots = manifest::Slots::decode(&bytes, OWNER).0.map(|slot| slot.expect("both are good").0);
    let (older, newer) = if slots[0] < slots[1] { (0, 4096) } else { (4096, 0) };
    // Opening mends the damaged one, so each look is at the file as it was.
    let damage = |slots: &[usize]| {
        let mut damaged = bytes.clone();
        slots.iter().for_each(|slot| damaged[slot + 50] ^= 1);
        std::fs::write(&path, damaged).expect("files can be written");
    };
    damage(&[older]);
    open(dir.path()).await.expect("the newer half is enough").0.close().await;
    // Without the newer one, the word of the clean stop is lost, but the segments are still known.
    damage(&[newer]);
    open(dir.path()).await.expect("the older half is enough").0.close().await;
    let mended = std::fs::read(&path).expect("the manifest can be read");
    assert!(manifest::Slots::decode(&mended, OWNER).0.iter().all(Result::is_ok), "both are good again");
    damage(&[older, newer]);
    assert!(matches!(open(dir.path()).await, Err(OpenError::Damaged { file, .. }) if file == "manifest"));
}

#[tokio::test]
async fn a_spare_of_another_length_is_made_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("spare"), [0; 4096]).expect("files can be written");
    let (wal, _) = open(dir.path()).await.expect("it opens");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::fs::metadata(dir.path().join("spare")).map_or(0, |spare| spare.len()) != small().segment_len {
        assert!(std::time::Instant::now() < deadline, "the spare is still of the wrong length");
        tokio::task::yield_now().await;
    }
    append(&wal.group(GROUP), 0..3, 700).await;
    wal.close().await;
    open(dir.path()).await.expect("it opens again");
}

/// A disk on which another spare takes the place of the one that was just looked at.
struct SwappingDisk(StdDisk);

impl Disk for SwappingDisk {
    fn list(&self) -> Io<'_, Vec<String>> {
        self.0.list()
    }
    fn create<'a>(&'a self, name: &'a str, len: u64) -> Io<'a, Arc<dyn crate::seams::DiskFile>> {
        self.0.create(name, len)
    }
    fn open<'a>(&'a self, name: &'a str) -> Io<'a, Arc<dyn crate::seams::DiskFile>> {
        Box::pin(async move {
            let file = self.0.open(name).await?;
            if name == segment::SPARE_NAME {
                self.0.create("swap", file.size().await?).await?;
                self.0.rename("swap", name).await?;
            }
            Ok(file)
        })
    }
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> Io<'a, ()> {
        self.0.rename(from, to)
    }
    fn remove<'a>(&'a self, name: &'a str) -> Io<'a, ()> {
        self.0.remove(name)
    }
    fn sync_directory(&self) -> Io<'_, ()> {
        self.0.sync_directory()
    }
    fn free_bytes(&self) -> Io<'_, u64> {
        self.0.free_bytes()
    }
}

#[tokio::test]
async fn a_segment_is_written_where_its_name_points() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = SwappingDisk(StdDisk::open(dir.path()).expect("opens"));
    segment::keep_file(&disk, segment::SPARE_NAME, small().segment_len).await.expect("a spare is made");
    let made = segment::make_segment(&disk, 1, OWNER, small().segment_len).await.expect("a segment is made");
    made.file.write_at(5000, b"frame").await.expect("it can be written");
    let bytes = std::fs::read(dir.path().join(segment::segment_name(1))).expect("it can be read");
    assert_eq!(&bytes[5000..5005], b"frame");
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
    fn free_bytes(&self) -> Io<'_, u64> {
        self.inner.free_bytes()
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

/// A disk that notes which threads read from it, and how many files are being made, which takes a while.
struct WatchedDisk {
    disk: Arc<dyn Disk>,
    readers: Arc<Mutex<Vec<String>>>,
    in_making: Arc<AtomicUsize>,
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    readers: Arc<Mutex<Vec<String>>>,
}

impl WatchedDisk {
    fn watch(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { file, readers: self.readers.clone() })
    }
}

impl Disk for WatchedDisk {
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>> {
        self.disk.list()
    }
    fn create<'a>(&'a self, name: &'a str, len: u64) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            self.in_making.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(100));
            let made = self.disk.create(name, len).await;
            self.in_making.fetch_sub(1, Ordering::SeqCst);
            Ok(self.watch(made?))
        })
    }
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move { Ok(self.watch(self.disk.open(name).await?)) })
    }
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.disk.rename(from, to)
    }
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.disk.remove(name)
    }
    fn sync_directory(&self) -> BoxFuture<'_, io::Result<()>> {
        self.disk.sync_directory()
    }
    fn free_bytes(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.disk.free_bytes()
    }
}

impl DiskFile for WatchedFile {
    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.file.size()
    }
    fn write_at<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        self.file.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, io::Result<Vec<u8>>> {
        lock(&self.readers).push(std::thread::current().name().unwrap_or_default().to_owned());
        self.file.read_at(offset, len)
    }
    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>> {
        self.file.sync_data()
    }
}

#[tokio::test]
async fn what_is_on_disk_only_is_read_by_a_thread_of_its_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let readers = Arc::<Mutex<Vec<String>>>::default();
    let disk = Arc::new(StdDisk::open(dir.path()).expect("a temporary directory can be opened"));
    let disk = Arc::new(WatchedDisk { disk, readers: readers.clone(), in_making: Arc::default() });
    let (wal, _) = Wal::open(disk, OWNER, small(), &ThreadSpawner).await.expect("an empty log");
    let log = wal.group(GROUP);
    append(&log, 0..50, 1_000).await;
    // Only what is on disk is let go of.
    append(&log, 50..60, 1_000).await;
    lock(&readers).clear();
    let read = log.read(0, 20, usize::MAX).await.expect("the log can be read");
    assert_eq!(read, (0..20).map(|index| (at(index), body(index, 1_000))).collect::<Vec<_>>());
    let by = std::mem::take(&mut *lock(&readers));
    assert_eq!(by, vec!["wal-reader"; 20], "not the threads that answer others");
    log.read(59, 60, usize::MAX).await.expect("the log can be read");
    assert!(lock(&readers).is_empty(), "what is in memory is not read");
    wal.close().await;
}

/// How many of a group's entries are in memory.
fn resident_len(wal: &Wal, group: u32) -> usize {
    let found = lock(&wal.group(GroupId(group)).log).find(0, u64::MAX, usize::MAX);
    found.iter().filter(|entry| matches!(entry, Found::Here(..))).count()
}

#[tokio::test]
async fn all_groups_together_keep_what_the_node_may_and_the_newest_of_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wal = open(dir.path()).await.expect("an empty log").0;
    // 20 groups with 1,000 bytes each, one after the other: the node may keep 4 KiB.
    for group in 0..20 {
        append(&wal.group(GroupId(group)), 0..10, 100).await;
    }
    // The last entries of all are given a place when they are on disk, and let go of with the next.
    append(&wal.group(GroupId(20)), 0..6, 100).await;
    let bytes = |wal: &Wal| (0..=20).map(|group| 100 * resident_len(wal, group)).sum::<usize>();
    assert!(bytes(&wal) <= small().resident_bytes_max, "{} bytes in memory", bytes(&wal));
    assert!(bytes(&wal) > small().resident_bytes_max / 2, "{} bytes in memory", bytes(&wal));
    for group in 0..15 {
        assert_eq!(resident_len(&wal, group), 0, "group {group} had its entries long ago");
    }
    assert_eq!(resident_len(&wal, 19), 10);
    wal.close().await;
    // The same holds for what is found when the log is opened.
    let wal = open(dir.path()).await.expect("it opens").0;
    assert!(bytes(&wal) <= small().resident_bytes_max, "{} bytes in memory", bytes(&wal));
    assert!(bytes(&wal) > small().resident_bytes_max / 2, "{} bytes in memory", bytes(&wal));
    assert_eq!(resident_len(&wal, 0), 0);
    wal.close().await;
}

#[tokio::test]
async fn nothing_is_made_any_more_once_the_log_is_closed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(StdDisk::open(dir.path()).expect("opens"));
    let in_making = Arc::<AtomicUsize>::default();
    let disk = Arc::new(WatchedDisk { disk, readers: Arc::default(), in_making: in_making.clone() });
    let (wal, _) = Wal::open(disk, OWNER, small(), &ThreadSpawner).await.expect("an empty log");
    while in_making.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // As a node does that puts its checkpoints aside and begins again.
    wal.close().await;
    assert_eq!(in_making.load(Ordering::SeqCst), 0, "another log may be opened there now");
}

//! Looks through the data directory of a node that does not run, and names everything that cannot be vouched for.
//!
//! Nothing is changed. The log is read as it lies; the checkpoints are copied first, because opening a sled database
//! writes to it, and damage may make it hang or panic.

use crate::checkpoint;
use crate::data_dir;
use crate::seams::{CheckpointStore, StoredChanges, StoredRows};
use crate::sled_store::{SledStore, standing};
use crate::wal;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::Duration;
use vestibule_engine::GroupId;

/// Something that cannot be vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether something that had been durable is wrong. What a crash leaves behind is not.
    pub is_damage: bool,
    /// The file, or the part of the directory where files do not show what is where.
    pub file: String,
    /// Where in the file.
    pub offset: Option<u64>,
    /// The group concerned.
    pub group: Option<GroupId>,
    /// The index of the log entry concerned.
    pub index: Option<u64>,
    /// The key of the row concerned, in hexadecimal.
    pub key: Option<String>,
    /// What is wrong.
    pub reason: String,
}

impl Finding {
    pub(crate) fn damage(file: impl Into<String>, reason: impl Into<String>) -> Self {
        let (file, reason) = (file.into(), reason.into());
        Self { is_damage: true, file, offset: None, group: None, index: None, key: None, reason }
    }

    pub(crate) fn note(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { is_damage: false, ..Self::damage(file, reason) }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What cannot be vouched for, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// Segments of the log that were read.
    pub segments: u64,
    /// Good frames in them.
    pub frames: u64,
    /// Good records in them.
    pub records: u64,
    /// Rows of the checkpoints that were read.
    pub rows: u64,
    /// For each group, up to where (exclusively) its checkpoint contains the log.
    pub checkpoints: BTreeMap<GroupId, u64>,
    /// Groups whose checkpoint came from another node as it is: the log here need not have had what it contains.
    pub received: BTreeSet<GroupId>,
    /// For each group whose entries are known to their end, the index of the entry that is due next.
    pub log_ends: BTreeMap<GroupId, u64>,
    /// Whether the log ends in a write that was not finished.
    pub has_torn_tail: bool,
    /// For each group whose log was purged, the last entry that was.
    pub purged: BTreeMap<GroupId, u64>,
}

impl Report {
    /// Whether nothing that had been durable is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| !finding.is_damage)
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(crate) fn add_error(&mut self, result: io::Result<()>, finding: impl FnOnce(String) -> Finding) {
        if let Err(error) = result {
            self.add(finding(error.to_string()));
        }
    }
}

/// Why a directory cannot be looked through.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A node uses it, so what is read would change meanwhile.
    #[error("{0} is in use: stop the node first")]
    InUse(PathBuf),
    /// It is none.
    #[error("{0} is not the data directory of a node")]
    NoData(PathBuf),
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// Looks through the data directory at `path`. `scratch` is an empty directory that the checkpoints are copied to. Where
/// nothing more is read of them for `patience`, they count as damaged: damage can make sled hang. Blocks.
pub fn verify(path: &Path, scratch: &Path, patience: Duration) -> Result<Report, VerifyError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| VerifyError::Io { path, source }
    };
    let (wal_path, checkpoint_path) = (path.join("wal"), path.join("checkpoint"));
    if !path.join("identity").exists() && !wal_path.exists() && !standing(&checkpoint_path).exists() {
        return Err(VerifyError::NoData(path.into()));
    }
    let _lock = lock(path)?;
    let checkpoint_path = standing(&checkpoint_path);
    let mut report = Report::default();
    let owner = match data_dir::read_identity(path) {
        Ok(owner) => Some(owner),
        Err(reason) => {
            report.add(Finding::damage("identity", reason));
            None
        }
    };
    let owner = if wal_path.try_exists().map_err(io(&wal_path))? {
        wal::verify(&wal_path, owner, &mut report).map_err(io(&wal_path))?
    } else {
        report.add(Finding::damage("wal", "the log is missing"));
        owner
    };
    if checkpoint_path.try_exists().map_err(io(&checkpoint_path))? {
        copy_files(&checkpoint_path, scratch).map_err(io(&checkpoint_path))?;
        report = verify_checkpoints(scratch, owner, patience, report);
    } else if !report.purged.is_empty() {
        report.add(Finding::damage(
            "checkpoint",
            "the checkpoints are missing, and the log no longer has all that was in them",
        ));
    }
    compare(&mut report);
    Ok(report)
}

/// Looks through a log that lies in a directory, and through the checkpoints in `namespaces` of an open store.
pub async fn verify_parts(
    wal_path: &Path,
    store: &dyn CheckpointStore,
    namespaces: &[String],
    owner: wal::Owner,
) -> io::Result<Report> {
    let mut report = Report::default();
    wal::verify(wal_path, Some(owner), &mut report)?;
    checkpoint::verify(store, namespaces, Some(owner), &mut report).await?;
    compare(&mut report);
    Ok(report)
}

/// Whether log and checkpoints belong together.
fn compare(report: &mut Report) {
    // Sled takes some damage for a write that was not finished, and goes back to an older state: a good checkpoint, as
    // long as the log has the rest.
    for (group, purged) in report.purged.clone() {
        let next = report.checkpoints.get(&group).copied().unwrap_or(0);
        let is_empty = report.log_ends.get(&group).is_none_or(|end| *end <= purged + 1);
        if next == 0 && is_empty && group != GroupId::DIRECTORY {
            // What a node leaves of a group that it gives up: it must not forget whom it voted for. Where it is wanted again,
            // there may be an empty checkpoint, until a peer's has come. The directory is never given up.
            let reason = format!("there is nothing of it but its vote and that it was purged up to entry {purged}");
            report.add(Finding { group: Some(group), ..Finding::note("checkpoint", reason) });
        } else if next <= purged {
            let reason = format!("the checkpoint ends before entry {next}, and the log begins behind entry {purged}");
            report.add(Finding { group: Some(group), ..Finding::damage("checkpoint", reason) });
        }
    }
    // A checkpoint is written only once the entries that it contains are on disk, or has come from another node.
    for (group, end) in report.log_ends.clone() {
        let next = report.checkpoints.get(&group).copied().unwrap_or(0);
        if next > end {
            let finding = match report.has_torn_tail && !report.received.contains(&group) {
                true => {
                    let reason = format!("entries {end} to {} were on disk, and the log has lost them", next - 1);
                    Finding::damage("wal", reason)
                }
                false => {
                    let reason = format!(
                        "the checkpoint ends before entry {next}, and the log before entry {end}: a snapshot was being installed, \
                         or the log is older than the checkpoint"
                    );
                    Finding::note("checkpoint", reason)
                }
            };
            report.add(Finding { group: Some(group), ..finding });
        }
    }
}

/// Keeps nodes out meanwhile. A directory without a lock file has no node.
fn lock(path: &Path) -> Result<Option<File>, VerifyError> {
    let lock_path = path.join("lock");
    let lock = match File::open(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(VerifyError::Io { path: lock_path, source }),
    };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(std::fs::TryLockError::WouldBlock) => Err(VerifyError::InUse(path.into())),
        Err(std::fs::TryLockError::Error(source)) => Err(VerifyError::Io { path: lock_path, source }),
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_files(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// What whoever reads the checkpoints tells whoever waits.
enum Told {
    /// Some of it was read.
    GotOn,
    Done(Report),
}

/// A store that tells whenever it was read.
struct Watched {
    store: SledStore,
    tell: Sender<Told>,
}

impl Watched {
    fn note<T>(&self, read: io::Result<T>) -> io::Result<T> {
        // Nobody listens once the time is up.
        let _ = self.tell.send(Told::GotOn);
        read
    }
}

impl CheckpointStore for Watched {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        self.store.write(namespace, changes)
    }

    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        Box::pin(async move { self.note(self.store.get(namespace, key).await) })
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&'a [u8]>,
        bytes_max: usize,
    ) -> BoxFuture<'a, io::Result<StoredRows>> {
        Box::pin(async move {
            let rows = self.store.scan(namespace, after, bytes_max).await?;
            // It would be read in a circle, which looks like getting on.
            if rows.last().is_some_and(|(last, _)| after.is_some_and(|after| last.as_slice() <= after)) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its rows are not in order"));
            }
            self.note(Ok(rows))
        })
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.flush()
    }

    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.store.clear(namespace)
    }

    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.begin_anew()
    }

    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.abandon_anew()
    }

    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.commit_anew()
    }
}

fn verify_checkpoints(copy: &Path, owner: Option<wal::Owner>, patience: Duration, report: Report) -> Report {
    // It sees by itself that it gets on.
    let opened = SledStore::open(copy, patience).map_err(|error| error.to_string());
    read_watched(patience, report, move |report, tell| {
        let store = Watched { store: opened?, tell };
        let names = store.store.namespaces();
        futures::FutureExt::now_or_never(checkpoint::verify(&store, &names, owner, report))
            .expect("a SledStore blocks and never waits")
            .map_err(|error| error.to_string())
    })
}

/// Runs `read` on a thread of its own: with a damaged database it may panic, or hang at any point. It is given up when it has
/// told nothing for `patience`.
fn read_watched<F>(patience: Duration, report: Report, read: F) -> Report
where
    F: FnOnce(&mut Report, Sender<Told>) -> Result<(), String> + Send + 'static,
{
    let (tell, told) = std::sync::mpsc::channel();
    let so_far = report.clone();
    let work = move || {
        let mut report = report;
        if let Err(reason) = read(&mut report, tell.clone()) {
            report.add(Finding::damage("checkpoint", reason));
        }
        let _ = tell.send(Told::Done(report));
    };
    let failed = |reason: String| {
        let mut report = so_far.clone();
        report.add(Finding::damage("checkpoint", reason));
        report
    };
    if std::thread::Builder::new().name("verify-checkpoints".to_owned()).spawn(work).is_err() {
        return failed("no thread could be started to read it".to_owned());
    }
    loop {
        match told.recv_timeout(patience) {
            Ok(Told::GotOn) => {}
            Ok(Told::Done(report)) => break report,
            Err(RecvTimeoutError::Disconnected) => break failed("sled panicked while it was read".to_owned()),
            Err(RecvTimeoutError::Timeout) => {
                break failed(format!("nothing more was read of it for {patience:?}: sled hangs"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(checkpoint: Option<u64>, purged: u64, log_end: u64) -> bool {
        let group = GroupId(1);
        let mut report = Report { purged: [(group, purged)].into(), ..Report::default() };
        report.checkpoints.extend(checkpoint.map(|next| (group, next)));
        report.log_ends.insert(group, log_end);
        compare(&mut report);
        report.is_clean()
    }

    #[test]
    fn what_was_given_up_is_no_damage() {
        assert!(compared(None, 455, 456), "a group that lives elsewhere now");
        assert!(!compared(None, 455, 457), "an entry is left that nothing comes before");
        assert!(!compared(Some(100), 455, 456), "its checkpoint is behind");
        assert!(compared(Some(0), 455, 456), "it is wanted again, and waits for a peer's checkpoint");
        assert!(!compared(Some(0), 455, 457), "an entry is left that nothing comes before");
        assert!(compared(Some(456), 455, 456));
    }

    #[test]
    fn the_directory_is_never_given_up() {
        let mut report = Report { purged: [(GroupId::DIRECTORY, 455)].into(), ..Report::default() };
        report.log_ends.insert(GroupId::DIRECTORY, 456);
        compare(&mut report);
        assert!(!report.is_clean(), "it is lost");
    }

    #[test]
    fn checkpoints_may_take_as_long_as_they_need_while_they_are_read() {
        const PATIENCE: Duration = Duration::from_secs(1);
        let slow = read_watched(PATIENCE, Report::default(), |report, tell| {
            for _ in 0..15 {
                std::thread::sleep(PATIENCE / 10);
                tell.send(Told::GotOn).map_err(|error| error.to_string())?;
            }
            report.rows = 15;
            Ok(())
        });
        assert!(slow.is_clean() && slow.rows == 15, "{slow:?}");
        let hung = read_watched(PATIENCE / 10, Report::default(), |_, _tell| {
            std::thread::sleep(PATIENCE);
            Ok(())
        });
        assert!(hung.findings.iter().any(|found| found.reason.contains("nothing more was read")), "{hung:?}");
        let broken = read_watched(PATIENCE, Report::default(), |_, _tell| panic!("planted"));
        assert!(broken.findings.iter().any(|found| found.reason.contains("panicked")), "{broken:?}");
    }

    /// Found by seed 752 of the simulator: the power was cut behind a snapshot that was in place, before the log was purged.
    #[test]
    fn a_checkpoint_ahead_of_a_torn_log_is_damage_unless_it_was_received() {
        let group = GroupId(1);
        let mut report = Report { has_torn_tail: true, ..Report::default() };
        report.checkpoints.insert(group, 33);
        report.log_ends.insert(group, 3);
        let is_clean = |mut report: Report| {
            compare(&mut report);
            report.is_clean()
        };
        assert!(!is_clean(report.clone()), "the log has lost what was in it");
        assert!(is_clean(Report { has_torn_tail: false, ..report.clone() }));
        assert!(is_clean(Report { received: [group].into(), ..report }));
    }
}

//! The directory that a node keeps its data in.
//!
//! ```text
//! identity      whose directory this is: format, cluster, node, incarnation
//! lock          held by the running node
//! wal/          the write-ahead log
//! checkpoint/   the sled database
//! checkpoint.broken.1/, …  earlier ones that could not be used, see [`Aside`]
//! ```
//!
//! The incarnation is drawn once, when the directory is made. It stands in every file of the log and in the checkpoints,
//! so nothing that was copied in from elsewhere is taken for the node's own. A node whose directory is lost cannot have
//! it again, by which the cluster knows that it has forgotten its votes.
//!
//! The identity is the last thing made, so a directory that has one had a log too.

use crate::seams::{CheckpointStore, Disk, IdSource};
use crate::sled_store::{SledOpenError, SledStore};
use crate::std_disk::{StdDisk, create_directory_durably};
use crate::types::NodeId;
use crate::wal::{FORMAT, MANIFEST_NAME, Owner, Wal};
use futures::FutureExt;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long sled may read nothing while it opens its database.
const SLED_PATIENCE: Duration = Duration::from_secs(60);
/// Checkpoints that may lie aside. Each is as large as the state was.
const ASIDE_MAX: usize = 3;
/// What the directories are called, before a number.
const ASIDE_PREFIX: &str = "checkpoint.broken";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// It belongs to another node or cluster, or to another version.
    #[error("{path} belongs to {found}, not to {expected}")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What its identity file says.
        found: String,
        /// What this node is.
        expected: String,
    },
    /// The identity file makes no sense.
    #[error("{0} is not an identity file, or is damaged")]
    BadIdentity(PathBuf),
    /// There is data, and nothing that says whose.
    #[error("{0} holds data but no identity file")]
    NoIdentity(PathBuf),
    /// There is an identity and no log. The votes that were in it are lost, and with them the right to vote.
    #[error(
        "{0} has lost its log: wal/manifest is missing. If the log is on a volume of its own, mount that first, and nothing is \
         lost. If it is gone, remove the directory, and let the node join under a new id"
    )]
    LostLog(PathBuf),
    /// The checkpoints cannot be opened.
    #[error(transparent)]
    Checkpoints(#[from] SledOpenError),
    /// The checkpoints failed again and again, and nothing has come in their place.
    #[error(
        "{ASIDE_MAX} checkpoints lie aside already as {0}.*, and no group has got another since: bring back a copy that is \
         good as `checkpoint`, or remove those that are not"
    )]
    TooManyAside(PathBuf),
}

/// An open data directory. It stays locked while this lives.
pub struct DataDir {
    path: PathBuf,
    owner: Owner,
    _lock: File,
}

impl DataDir {
    /// Opens the directory of a node, making it if there is none.
    pub fn open(path: &Path, cluster: &str, node: NodeId, ids: &dyn IdSource) -> Result<Self, DataDirError> {
        let io = |path: PathBuf| move |source| DataDirError::Io { path, source };
        create_directory_durably(path).map_err(io(path.into()))?;
        let lock = lock(path)?;
        let identity_path = path.join("identity");
        let wal_path = path.join("wal");
        let incarnation = match std::fs::read_to_string(&identity_path) {
            Ok(text) => {
                let incarnation = check_identity(path, &text, cluster, node)?;
                let manifest_path = wal_path.join(MANIFEST_NAME);
                // Not being able to look is another matter: whoever is told that the log is lost may remove what is there.
                if !manifest_path.try_exists().map_err(io(manifest_path))? {
                    return Err(DataDirError::LostLog(path.into()));
                }
                incarnation
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_data(path)?;
                let incarnation = ids.draw();
                // A manifest that is there already is of a first start that did not come to its end.
                match std::fs::remove_dir_all(&wal_path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(wal_path)(error)),
                    _ => {}
                }
                let disk = StdDisk::open(&wal_path).map_err(io(wal_path.clone()))?;
                let created = Wal::create(&disk, owner(cluster, node, incarnation)).now_or_never();
                created.expect("a StdDisk blocks and never waits").map_err(io(wal_path))?;
                write_identity(path, &identity(cluster, node, incarnation)).map_err(io(identity_path))?;
                incarnation
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(DataDirError::BadIdentity(identity_path));
            }
            Err(error) => return Err(io(identity_path)(error)),
        };
        Ok(Self { path: path.into(), owner: owner(cluster, node, incarnation), _lock: lock })
    }

    /// Drawn when the directory was made: a node that lost its directory never has this one again.
    pub fn incarnation(&self) -> u128 {
        self.owner.incarnation
    }

    /// What stands in every file of the log.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The disk under the log.
    pub fn wal_disk(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(StdDisk::open(self.path.join("wal"))?))
    }

    /// The store under the checkpoints.
    pub fn checkpoint_store(&self) -> Result<Arc<dyn CheckpointStore>, SledOpenError> {
        let store = SledStore::open(&self.checkpoint_path(), SLED_PATIENCE)?;
        // sled syncs its files, and not the name of the directory that it made for them.
        File::open(&self.path)?.sync_all()?;
        Ok(Arc::new(store))
    }

    /// Puts a checkpoint store that failed out of the way and opens an empty one. The log is not touched. What is put
    /// aside may be the only copy of what the log has purged, so nothing of it is removed here.
    pub fn replace_checkpoint_store(&self) -> Result<Arc<dyn CheckpointStore>, DataDirError> {
        let io = |source| DataDirError::Io { path: self.checkpoint_path(), source };
        let aside = self.aside();
        let there = aside.list().map_err(io)?;
        if there.len() >= ASIDE_MAX {
            return Err(DataDirError::TooManyAside(self.path.join(ASIDE_PREFIX)));
        }
        let number = there.keys().last().map_or(1, |last| last + 1);
        std::fs::rename(self.checkpoint_path(), aside.path(number)).map_err(io)?;
        File::open(&self.path).and_then(|directory| directory.sync_all()).map_err(io)?;
        Ok(self.checkpoint_store()?)
    }

    /// The checkpoints that were put aside.
    pub fn aside(&self) -> Aside {
        Aside { directory: self.path.clone() }
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint")
    }
}

/// Checkpoint stores that failed and were put out of the way. They are kept until what was in them has come back.
#[derive(Debug, Clone)]
pub struct Aside {
    directory: PathBuf,
}

impl Aside {
    fn path(&self, number: u32) -> PathBuf {
        self.directory.join(format!("{ASIDE_PREFIX}.{number}"))
    }

    /// Where they lie, by number.
    pub fn list(&self) -> io::Result<BTreeMap<u32, PathBuf>> {
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix(ASIDE_PREFIX)?.strip_prefix('.')?.parse().ok());
            if let Some(number) = number {
                found.insert(number, entry.path());
            }
        }
        Ok(found)
    }

    /// Removes them all.
    pub fn remove(&self) -> io::Result<()> {
        self.list()?.values().try_for_each(std::fs::remove_dir_all)
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join("lock");
    let io = |source| DataDirError::Io { path: lock_path.clone(), source };
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(DataDirError::InUse(path.into())),
        Err(std::fs::TryLockError::Error(source)) => Err(io(source)),
    }
}

/// The file says what it is, whose, and that no bit of it has changed.
fn identity(cluster: &str, node: NodeId, incarnation: u128) -> String {
    let text = format!("vestibule-data {FORMAT}\ncluster {cluster}\nnode {node}\nincarnation {incarnation:032x}\n");
    let crc = crc32c::crc32c(text.as_bytes());
    format!("{text}checksum {crc:08x}\n")
}

/// The incarnation in an identity file.
fn check_identity(path: &Path, text: &str, cluster: &str, node: NodeId) -> Result<u128, DataDirError> {
    let describe = |text: &str| text.lines().take(3).collect::<Vec<_>>().join(", ");
    let foreign = || {
        let (found, expected) = (describe(text), describe(&identity(cluster, node, 0)));
        DataDirError::Foreign { path: path.into(), found, expected }
    };
    let format = text.lines().next().and_then(|line| line.strip_prefix("vestibule-data "));
    if format.and_then(|format| format.parse::<u32>().ok()).is_some_and(|format| format != FORMAT) {
        return Err(foreign());
    }
    let (found_cluster, found_node, incarnation) =
        parse_identity(text).ok_or_else(|| DataDirError::BadIdentity(path.join("identity")))?;
    if (found_cluster, found_node) == (cluster, node) { Ok(incarnation) } else { Err(foreign()) }
}

/// Cluster, node and incarnation in an undamaged identity file.
fn parse_identity(text: &str) -> Option<(&str, NodeId, u128)> {
    let mut lines = text.lines().skip(1);
    let cluster = lines.next()?.strip_prefix("cluster ")?;
    let node = lines.next()?.strip_prefix("node ")?.parse().ok()?;
    let incarnation = u128::from_str_radix(lines.next()?.strip_prefix("incarnation ")?, 16).ok()?;
    // The checksum with all the rest.
    (text == identity(cluster, node, incarnation)).then_some((cluster, node, incarnation))
}

/// Whose directory it is, from its identity file alone; `Err` says what is wrong with that.
pub(crate) fn read_identity(path: &Path) -> Result<Owner, String> {
    let text = std::fs::read_to_string(path.join("identity")).map_err(|error| error.to_string())?;
    let (cluster, node, incarnation) =
        parse_identity(&text).ok_or("the file is damaged, or of another version of the data")?;
    Ok(owner(cluster, node, incarnation))
}

fn write_identity(directory: &Path, text: &str) -> io::Result<()> {
    let draft = directory.join("identity.draft");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, directory.join("identity"))?;
    File::open(directory)?.sync_all()
}

/// Fails when a directory without an identity holds more than a first start that was cut short leaves behind, or when that
/// cannot be seen.
fn refuse_data(path: &Path) -> Result<(), DataDirError> {
    let (wal_path, checkpoint_path) = (path.join("wal"), path.join("checkpoint"));
    let has_segments = has_segments(&wal_path).map_err(|source| DataDirError::Io { path: wal_path, source })?;
    let has_checkpoint = checkpoint_path.try_exists();
    if has_segments || has_checkpoint.map_err(|source| DataDirError::Io { path: checkpoint_path, source })? {
        return Err(DataDirError::NoIdentity(path.into()));
    }
    Ok(())
}

fn has_segments(wal_path: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(wal_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        if entry?.file_name().to_str().is_some_and(|name| name.ends_with(".wal")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What stands in every file of a node's log.
fn owner(cluster: &str, node: NodeId, incarnation: u128) -> Owner {
    let digest = Sha256::digest(cluster.as_bytes());
    let cluster = u64::from_le_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"));
    Owner { cluster, node, incarnation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::SystemIds;
    use std::time::Duration;
    use tokio::time::Instant;

    /// Opens a directory that nobody uses. sled of another test may have begun a process (`sync`), which has the lock too until it
    /// runs its own program.
    fn open(path: &Path, cluster: &str, node: NodeId) -> Result<DataDir, DataDirError> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match DataDir::open(path, cluster, node, &SystemIds) {
                Err(DataDirError::InUse(_)) if Instant::now() < deadline => std::thread::yield_now(),
                opened => return opened,
            }
        }
    }

    #[test]
    fn a_directory_belongs_to_one_node_and_one_process() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a/b/node1");
        let first = open(&path, "north", 1).expect("a new directory opens");
        assert!(matches!(DataDir::open(&path, "north", 1, &SystemIds), Err(DataDirError::InUse(_))));
        let incarnation = first.incarnation();
        drop(first);
        assert_eq!(open(&path, "north", 1).expect("the same node opens it again").incarnation(), incarnation);
        for (cluster, node) in [("north", 2), ("south", 1), ("north", 11)] {
            assert!(matches!(open(&path, cluster, node), Err(DataDirError::Foreign { .. })), "{cluster} {node}");
        }
        let other = open(&dir.path().join("b"), "north", 1).expect("a new directory opens");
        assert_ne!(other.incarnation(), incarnation);
    }

    #[test]
    fn checkpoints_that_fail_are_kept_up_to_a_number() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = open(dir.path(), "north", 1).expect("a new directory opens");
        for round in 0..ASIDE_MAX {
            drop(data.checkpoint_store().expect("sled opens"));
            std::fs::write(data.checkpoint_path().join("mark"), round.to_string()).expect("files can be written");
            drop(data.replace_checkpoint_store().expect("there is room for another"));
        }
        let marks = || {
            let there = data.aside().list().expect("it can be listed");
            there.values().map(|path| std::fs::read_to_string(path.join("mark")).expect("a mark")).collect::<Vec<_>>()
        };
        assert_eq!(marks(), ["0", "1", "2"]);
        let refused = data.replace_checkpoint_store().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("checkpoint.broken.*"), "{refused}");
        assert!(data.checkpoint_path().exists() && marks().len() == ASIDE_MAX, "nothing was touched");
        data.aside().remove().expect("they can be removed");
        assert!(marks().is_empty());
        drop(data.replace_checkpoint_store().expect("there is room again"));
    }

    #[test]
    fn every_flipped_bit_of_the_identity_is_noticed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        drop(open(dir.path(), "north", 1).expect("a new directory opens"));
        let path = dir.path().join("identity");
        let good = std::fs::read(&path).expect("the identity can be read");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bad).expect("files can be written");
            let refused = open(dir.path(), "north", 1);
            assert!(
                matches!(refused, Err(DataDirError::BadIdentity(_) | DataDirError::Foreign { .. })),
                "bit {bit} went unnoticed: {:?}",
                refused.err()
            );
        }
        std::fs::write(&path, "vestibule-data 1\ncluster north\nnode 1\n").expect("files can be written");
        let refused = open(dir.path(), "north", 1).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("vestibule-data 1"), "{refused}");
    }

    #[test]
    fn a_directory_that_lost_its_identity_or_its_log_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, identity) = (dir.path().join("node1"), dir.path().join("node1/identity"));
        drop(open(&path, "north", 1).expect("a new directory opens"));
        // As after a crash in the middle of the first start.
        std::fs::remove_file(&identity).expect("files can be removed");
        drop(open(&path, "north", 1).expect("there was nothing in it"));
        std::fs::write(path.join("wal/0000000000000001.wal"), "a segment").expect("files can be written");
        std::fs::remove_file(&identity).expect("files can be removed");
        assert!(matches!(open(&path, "north", 1), Err(DataDirError::NoIdentity(_))));
        std::fs::remove_dir_all(&path).expect("directories can be removed");
        drop(open(&path, "north", 1).expect("a new directory opens"));
        std::fs::remove_dir_all(path.join("wal")).expect("directories can be removed");
        let refused = open(&path, "north", 1).err();
        assert!(matches!(refused, Some(DataDirError::LostLog(_))), "{refused:?}");
        let refused = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains("wal/manifest is missing") && refused.contains("mount"), "{refused}");
    }

    #[test]
    fn a_log_that_cannot_be_looked_at_is_not_taken_for_lost() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("node1");
        drop(open(&path, "north", 1).expect("a new directory opens"));
        std::fs::remove_dir_all(path.join("wal")).expect("directories can be removed");
        // What is behind a link to itself cannot be looked at, by root neither.
        std::os::unix::fs::symlink(path.join("wal"), path.join("wal")).expect("links can be made");
        let refused = open(&path, "north", 1).err();
        assert!(
            matches!(&refused, Some(DataDirError::Io { path, .. }) if path.ends_with("wal/manifest")),
            "{refused:?}"
        );
        std::fs::remove_file(path.join("identity")).expect("files can be removed");
        let refused = open(&path, "north", 1).err();
        assert!(matches!(&refused, Some(DataDirError::Io { path, .. }) if path.ends_with("wal")), "{refused:?}");
    }
}

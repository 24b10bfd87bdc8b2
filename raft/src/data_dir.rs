//! The directory that a node keeps its data in.
//!
//! ```text
//! identity      whose directory this is: format, cluster, node, incarnation
//! lock          held by the running node
//! wal/          the write-ahead log
//! checkpoint/   the sled database
//! ```

use crate::seams::{CheckpointStore, Disk, IdSource};
use crate::sled_store::{SledOpenError, SledStore};
use crate::std_disk::{StdDisk, create_directory_durably};
use crate::types::NodeId;
use crate::wal::Owner;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The version of the layout and of everything in it.
const FORMAT: u32 = 1;
/// How long sled may take to open its database.
const SLED_PATIENCE: Duration = Duration::from_secs(30);

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
    #[error("{0} is not an identity file")]
    BadIdentity(PathBuf),
}

/// An open data directory. It stays locked while this lives.
pub struct DataDir {
    path: PathBuf,
    cluster: String,
    node: NodeId,
    _lock: File,
}

impl DataDir {
    /// Opens the directory of a node, making it if there is none.
    pub fn open(path: &Path, cluster: &str, node: NodeId, ids: &dyn IdSource) -> Result<Self, DataDirError> {
        let io = |path: PathBuf| move |source| DataDirError::Io { path, source };
        create_directory_durably(path).map_err(io(path.into()))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(io(lock_path.clone()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(DataDirError::InUse(path.into())),
            Err(std::fs::TryLockError::Error(source)) => return Err(io(lock_path)(source)),
        }
        let directory = Self { path: path.into(), cluster: cluster.to_owned(), node, _lock: lock };
        let identity_path = path.join("identity");
        match std::fs::read_to_string(&identity_path) {
            Ok(text) => directory.check_identity(&identity_path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                directory.write_identity(&identity_path, ids.draw()).map_err(io(identity_path))?;
            }
            Err(error) => return Err(io(identity_path)(error)),
        }
        Ok(directory)
    }

    fn identity(&self) -> String {
        format!("vestibule-data {FORMAT}\ncluster {}\nnode {}\n", self.cluster, self.node)
    }

    fn check_identity(&self, path: &Path, text: &str) -> Result<(), DataDirError> {
        let expected = self.identity();
        if text.starts_with(&expected) && text[expected.len()..].starts_with("incarnation ") {
            return Ok(());
        }
        if !text.starts_with("vestibule-data ") {
            return Err(DataDirError::BadIdentity(path.into()));
        }
        let describe = |text: &str| text.lines().take(3).collect::<Vec<_>>().join(", ");
        let (found, expected) = (describe(text), describe(&expected));
        Err(DataDirError::Foreign { path: self.path.clone(), found, expected })
    }

    fn write_identity(&self, path: &Path, incarnation: u128) -> io::Result<()> {
        let draft = path.with_extension("draft");
        let mut file = File::create(&draft)?;
        writeln!(file, "{}incarnation {incarnation:032x}", self.identity())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(&self.path)?.sync_all()
    }

    /// What stands in every file of the log.
    pub fn owner(&self) -> Owner {
        owner(&self.cluster, self.node)
    }

    /// The disk under the log.
    pub fn wal_disk(&self) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(StdDisk::open(self.path.join("wal"))?))
    }

    /// The store under the checkpoints.
    pub fn checkpoint_store(&self) -> Result<Arc<dyn CheckpointStore>, SledOpenError> {
        Ok(Arc::new(SledStore::open(&self.checkpoint_path(), SLED_PATIENCE)?))
    }

    /// Puts a checkpoint store that failed out of the way and opens an empty one. The log is not touched.
    pub fn replace_checkpoint_store(&self) -> Result<Arc<dyn CheckpointStore>, SledOpenError> {
        let broken = self.path.join("checkpoint.broken");
        match std::fs::remove_dir_all(&broken) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        std::fs::rename(self.checkpoint_path(), &broken)?;
        File::open(&self.path)?.sync_all()?;
        self.checkpoint_store()
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint")
    }
}

/// What stands in every file of a node's log.
pub fn owner(cluster: &str, node: NodeId) -> Owner {
    let digest = Sha256::digest(cluster.as_bytes());
    Owner { cluster: u64::from_le_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes")), node }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::SystemIds;

    #[test]
    fn a_directory_belongs_to_one_node_and_one_process() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a/b/node1");
        let first = DataDir::open(&path, "north", 1, &SystemIds).expect("a new directory opens");
        assert!(matches!(DataDir::open(&path, "north", 1, &SystemIds), Err(DataDirError::InUse(_))));
        drop(first);
        drop(DataDir::open(&path, "north", 1, &SystemIds).expect("the same node opens it again"));
        for (cluster, node) in [("north", 2), ("south", 1), ("north", 11)] {
            let refused = DataDir::open(&path, cluster, node, &SystemIds);
            assert!(matches!(refused, Err(DataDirError::Foreign { .. })), "{cluster} {node}");
        }
        std::fs::write(path.join("identity"), "nonsense").expect("files can be written");
        let refused = DataDir::open(&path, "north", 1, &SystemIds);
        assert!(matches!(refused, Err(DataDirError::BadIdentity(_))));
    }
}

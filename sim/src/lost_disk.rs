//! A machine whose disks were exchanged for empty ones. No node may come back on it under its old number: what it had promised
//! is forgotten. That is what one planted bug does.

use crate::disk::SimDisk;
use crate::store::SimStore;
use std::io;
use vestibule_raft::seams::Disk;

/// Takes everything off the disks of a machine that does not run.
pub async fn lose(disk: &SimDisk, store: &SimStore) -> io::Result<()> {
    for name in disk.list().await? {
        disk.remove(&name).await?;
    }
    disk.sync_directory().await?;
    store.wipe();
    Ok(())
}

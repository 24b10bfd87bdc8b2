//! What lies on the disks of a machine that does not run, looked through by what `vestibule ctl verify-data` does.

use crate::disk::SimDisk;
use crate::host::Machine;
use crate::store::SimStore;
use futures::FutureExt;
use std::io;
use vestibule_raft::verify::{Report, verify_parts};
use vestibule_raft::wal::Owner;

/// Looks through log and checkpoints; `Err` is the first thing that was durable once and cannot be vouched for.
pub fn look_through(machine: &Machine) -> Result<(), String> {
    let found = match verify(&machine.disk, &machine.store, machine.owner()) {
        Ok(report) => {
            report.findings.into_iter().find(|finding| finding.is_damage).map(|finding| format!("{finding:?}"))
        }
        Err(error) => Some(error.to_string()),
    };
    found.map_or(Ok(()), |what| Err(format!("on the disks of node {}: {what}", machine.id)))
}

/// Looks through a machine of which the power was cut; `Err` is something that is wrong and that nobody did.
pub fn look_after_cut(machine: &Machine) -> Result<(), String> {
    if machine.has_data() { machine.judge_look(look_through(machine)) } else { Ok(()) }
}

fn verify(disk: &SimDisk, store: &SimStore, owner: Owner) -> io::Result<Report> {
    // It is named for this process and thread, so nobody else has anything there.
    let name = format!("vestibule-sim-{}-{:?}-scan", std::process::id(), std::thread::current().id());
    let directory = std::env::temp_dir().join(name);
    let verified = || {
        std::fs::create_dir_all(&directory)?;
        for (name, bytes) in disk.durable_files() {
            std::fs::write(directory.join(name), bytes)?;
        }
        let names = store.namespaces();
        verify_parts(&directory, store, &names, owner).now_or_never().expect("a simulated store never waits")
    };
    let report = verified();
    std::fs::remove_dir_all(&directory)?;
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawner::TaskSpawner;
    use bytes::Bytes;
    use std::sync::Arc;
    use tokio::sync::oneshot;
    use vestibule_engine::GroupId;
    use vestibule_raft::wal::{EntryBody, LogPosition, Wal, WalConfig};

    const OWNER: Owner = Owner { cluster: 3, node: 1, incarnation: 9 };

    /// A disk with ten entries of a group, of which the first were purged if `purged` says up to where.
    async fn disk(purged: Option<u64>) -> SimDisk {
        let disk = SimDisk::new(1);
        Wal::create(&disk, OWNER).await.unwrap();
        let config = WalConfig { segment_len: 24 << 10, ballast_len: 24 << 10, ..WalConfig::default() };
        let (wal, _) = Wal::open(Arc::new(disk.clone()), OWNER, config, &TaskSpawner).await.unwrap();
        let log = wal.group(GroupId(1));
        let position = |index| LogPosition { term: 1, node: 1, index };
        for index in 0..10 {
            let (tell, told) = oneshot::channel();
            let entry = (position(index), EntryBody::Batch(Bytes::from_static(b"something")));
            log.append(vec![entry], Box::new(|done| drop(tell.send(done)))).await.unwrap();
            told.await.unwrap().unwrap();
        }
        if let Some(purged) = purged {
            log.purge(position(purged)).await.unwrap();
        }
        disk.settle();
        disk
    }

    async fn damage(disk: &SimDisk) -> Vec<String> {
        let report = verify(disk, &SimStore::new(1), OWNER).unwrap();
        report.findings.into_iter().filter(|finding| finding.is_damage).map(|finding| finding.reason).collect()
    }

    #[tokio::test]
    async fn what_is_whole_is_not_complained_of_and_a_flipped_bit_is() {
        let disk = disk(None).await;
        assert_eq!(damage(&disk).await, [""; 0]);
        disk.rot().expect("there is something to flip a bit of");
        assert_ne!(damage(&disk).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_log_that_begins_behind_the_checkpoint_is_damage() {
        let found = damage(&disk(Some(5)).await).await;
        assert_eq!(found, ["the checkpoint ends before entry 0, and the log begins behind entry 5"]);
    }
}

//! Damage of every kind in every file of a data directory is named, or proven to harm nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use vestibule_engine::{CreateOrganisation, Directory, DirectoryCommand, Envelope, GroupId, RequestId, UserId};
use vestibule_raft::cluster::{Cluster, GrpcCluster};
use vestibule_raft::data_dir::DataDir;
use vestibule_raft::node::{Node, NodeConfig, NodeSeams};
use vestibule_raft::seams::{SystemClock, SystemIds, TcpConnector, ThreadSpawner};
use vestibule_raft::verify::{Report, VerifyError, verify};
use vestibule_raft::wal::{LogPosition, Wal, WalConfig};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a node of its own for a while: a log of several segments, and checkpoints. Purges behind `snapshot_entries`.
async fn fill(path: &Path, snapshot_entries: u64, commands: u128) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    let data = DataDir::open(path, "test", 1, &SystemIds).expect("a data directory");
    let mut config = NodeConfig::new(1, "test", BTreeMap::from([(1, address.clone())]), 2);
    config.wal.segment_len = 48 << 10;
    config.wal.ballast_len = 64 << 10;
    config.checkpoint_interval = Duration::from_millis(30);
    config.snapshot_entries = snapshot_entries;
    let seams = NodeSeams {
        clock: Arc::new(SystemClock),
        connector: Arc::new(TcpConnector),
        spawner: Arc::new(ThreadSpawner),
        disk: data.wal_disk().expect("a disk"),
        store: data.checkpoint_store().expect("sled opens"),
        owner: data.owner(),
    };
    let node = Node::start(config, seams, TcpListenerStream::new(listener)).await.expect("the node starts");
    assert!(matches!(look(path), Err(VerifyError::InUse(_))), "a node that runs must be left alone");
    let cluster: Arc<dyn Cluster> = GrpcCluster::new(vec![address], Arc::new(TcpConnector));
    for request in 1..commands {
        let name = format!("House {request} {}", "x".repeat(150));
        let command = DirectoryCommand::CreateOrganisation(CreateOrganisation { by: UserId(7), name });
        let envelope = Envelope { request: Some(RequestId(request)), command };
        let reply = cluster.propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await.expect("a reply");
        assert!(reply.0.result.is_ok(), "{reply:?}");
    }
    node.shutdown().await.expect("it stops cleanly");
}

fn look(path: &Path) -> Result<Report, VerifyError> {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    verify(path, scratch.path(), Duration::from_secs(5))
}

fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).expect("files can be read"));
        }
    }
    found
}

/// Flips a bit, looks, and flips it back. Gives what was found.
fn with_flip(path: &Path, file: &Path, bytes: &[u8], offset: usize) -> Report {
    let mut bad = bytes.to_vec();
    bad[offset] ^= 0x10;
    std::fs::write(file, bad).expect("files can be written");
    let report = look(path).expect("it can be looked through");
    std::fs::write(file, bytes).expect("files can be written");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_named_or_harms_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node1");
    fill(&path, 5_000, 150).await;
    let before = files(&path);
    let whole = look(&path).expect("it can be looked through");
    assert_eq!(whole.findings, []);
    assert!(whole.segments >= 2 && whole.records > 150 && whole.rows > 150, "{whole:?}");
    assert_eq!(whole.checkpoints.len(), 3, "the directory and two shards");
    let after = files(&path);
    let changed: Vec<_> =
        before.iter().filter(|(file, bytes)| after.get(*file) != Some(bytes)).map(|(file, _)| file).collect();
    assert!(changed.is_empty() && after.len() == before.len(), "looking changes nothing: {changed:?}");

    let (logs, checkpoints): (Vec<_>, Vec<_>) =
        before.iter().partition(|(file, _)| !file.starts_with(path.join("checkpoint")));
    for (file, bytes) in checkpoints {
        // One place of each of sled's files. Many are tried with processes, where a hang can be ended.
        let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let Some(offset) = used.get(used.len() / 2) else { continue };
        let report = with_flip(&path, file, bytes, *offset);
        let is_named = report.findings.iter().any(|found| found.is_damage && found.file == "checkpoint");
        // Sled may take it for an unfinished write and go back to an older checkpoint: nothing is lost, as long as the
        // log has the rest, which is looked at as well.
        assert!(is_named || report.findings.is_empty(), "byte {offset} of {}: {report:?}", file.display());
    }

    // Without its checkpoints the node has only the log, which has everything here. And it is looked through faster.
    std::fs::rename(path.join("checkpoint"), dir.path().join("elsewhere")).expect("directories can be renamed");
    let whole = look(&path).expect("it can be looked through");
    assert_eq!((&whole.findings, whole.rows), (&vec![], 0));
    for (file, bytes) in logs {
        let name = file.strip_prefix(&path).expect("it is in there").to_str().expect("plain names").to_owned();
        let report_of = |offset| with_flip(&path, file, bytes, offset);
        if name == "identity" {
            for offset in (0..bytes.len()).step_by(7) {
                assert_eq!(report_of(offset).findings[0].file, "identity", "byte {offset}");
            }
        } else if name == "wal/manifest" {
            for offset in [0, 9, 13, 20, 30, 40, 50, 60, 70, 79, 4096, 4096 + 79] {
                let found = report_of(offset).findings;
                assert!(found.iter().all(|found| found.file == name) && found.len() == 1, "{offset}: {found:?}");
                assert_eq!(found[0].offset, Some(offset as u64 / 4096 * 4096));
            }
            // Between and behind the slots there is nothing.
            assert_eq!(report_of(2000), whole);
            assert_eq!(report_of(8191), whole);
        } else if name.ends_with(".wal") {
            let end = bytes.iter().rposition(|byte| *byte != 0).expect("there are frames");
            // Every region of the first frames, and some of all others, down to the last byte that says anything.
            let offsets = (0..56).step_by(5).chain((4096..4096 + 600).step_by(7)).chain((5000..end).step_by(1999));
            for offset in offsets.chain([end]) {
                let report = report_of(offset);
                let found = report.findings.iter().find(|found| found.file == name);
                let found = found.unwrap_or_else(|| panic!("byte {offset} of {name}: {:?}", report.findings));
                assert!(found.is_damage, "{found:?}");
                let at = found.offset.expect("in a file") as usize;
                assert!(at <= offset && offset - at < 4096, "byte {offset}: {found:?}");
            }
            assert_eq!(report_of(2000), whole, "the header's page is empty behind the header");
            // Unless it is the end of the last frame, which may be zeroes.
            if end + 2 * 4096 < bytes.len() {
                assert_eq!(report_of(bytes.len() - 1), whole, "no frame has come there yet");
            }
        } else if name == "wal/spare" || name == "wal/ballast" || name == "lock" {
            if !bytes.is_empty() {
                assert_eq!(report_of(bytes.len() / 2), whole, "nobody reads it");
            }
        } else {
            panic!("{name} is not expected");
        }
    }

    // Files that are gone.
    for name in ["identity", "wal/manifest", "wal/0000000000000001.wal"] {
        let bytes = std::fs::read(path.join(name)).expect("it is there");
        std::fs::remove_file(path.join(name)).expect("files can be removed");
        let report = look(&path).expect("it can be looked through");
        assert!(report.findings.iter().any(|found| found.is_damage && found.file == name), "{name}: {report:?}");
        std::fs::write(path.join(name), bytes).expect("files can be written");
    }
    assert_eq!(look(&path).expect("it can be looked through"), whole);
    assert!(matches!(look(dir.path()), Err(VerifyError::NoData(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_several_damages_are_named_with_group_and_entry() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fill(dir.path(), 5_000, 150).await;
    let first = dir.path().join("wal/0000000000000001.wal");
    let mut bytes = std::fs::read(&first).expect("it can be read");
    // The names of three organisations, as they lie in their entries.
    let mut flipped = Vec::new();
    for wanted in ["House 20 ", "House 40 ", "House 60 "] {
        let at = bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes()).expect("it is in the log");
        bytes[at + 30] ^= 1;
        flipped.push(at);
    }
    std::fs::write(&first, bytes).expect("it can be written");
    let report = look(dir.path()).expect("it can be looked through");
    let entries: Vec<_> = report.findings.iter().filter(|found| found.index.is_some()).collect();
    assert_eq!(entries.len(), 3, "{:?}", report.findings);
    for (found, at) in entries.iter().zip(flipped) {
        assert_eq!(found.group, Some(GroupId::DIRECTORY), "{found:?}");
        let offset = found.offset.expect("in a file") as usize;
        assert!(offset < at && at - offset < 200, "{found:?} for byte {at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_the_log_does_not_reach_back_to_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fill(dir.path(), 20, 600).await;
    let report = look(dir.path()).expect("it can be looked through");
    assert_eq!(report.findings, []);
    assert!(report.purged.contains_key(&GroupId::DIRECTORY), "{report:?}");
    std::fs::remove_dir_all(dir.path().join("checkpoint")).expect("directories can be removed");
    let report = look(dir.path()).expect("it can be looked through");
    assert!(
        report.findings.iter().any(|found| found.is_damage && found.group == Some(GroupId::DIRECTORY)),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_before_the_checkpoint_is_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node1");
    fill(&path, 5_000, 20).await;
    let earlier = files(&path.join("wal"));
    fill(&path, 5_000, 60).await;
    assert_eq!(look(&path).expect("it can be looked through").findings, []);
    // The log as it was, under the checkpoint as it is.
    std::fs::remove_dir_all(path.join("wal")).expect("directories can be removed");
    std::fs::create_dir(path.join("wal")).expect("directories can be made");
    for (file, bytes) in earlier {
        std::fs::write(file, bytes).expect("files can be written");
    }
    let report = look(&path).expect("it can be looked through");
    let (end, next) = (report.log_ends[&GroupId::DIRECTORY], report.checkpoints[&GroupId::DIRECTORY]);
    assert!(end < next, "{report:?}");
    let of_group = report.findings.iter().filter(|found| found.group == Some(GroupId::DIRECTORY));
    let reasons: Vec<_> = of_group.map(|found| &found.reason).collect();
    assert!(reasons.iter().any(|reason| reason.contains(&format!("before entry {end}"))), "{reasons:?}");
}

/// After a restore, every group's log is a purge point and nothing else.
#[tokio::test]
async fn missing_checkpoints_of_a_purged_log_are_damage() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = DataDir::open(dir.path(), "test", 1, &SystemIds).expect("a data directory");
    let disk = data.wal_disk().expect("a disk");
    let open = Wal::open(disk, data.owner(), WalConfig::default(), &ThreadSpawner);
    let (wal, _) = open.await.expect("an empty log");
    drop(data);
    assert_eq!(look(dir.path()).expect("it can be looked through").findings, [], "it was never started");
    let data = DataDir::open(dir.path(), "test", 1, &SystemIds).expect("a data directory");
    wal.group(GroupId(3)).purge(LogPosition { term: 0, node: 0, index: 77 }).await.expect("it is written");
    wal.close().await;
    drop(data);
    let report = look(dir.path()).expect("it can be looked through");
    assert!(report.findings.iter().any(|found| found.is_damage && found.reason.contains("missing")), "{report:?}");
}

/// A checkpoint is made anew beside the old one, which then makes room for it: a crash may come between the renamings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_are_found_where_a_replacement_was_cut_short() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("node1");
    fill(&path, 20, 600).await;
    let whole = look(&path).expect("it can be looked through");
    assert!(whole.findings.is_empty() && whole.rows > 600, "{whole:?}");

    let (there, old, new) = (path.join("checkpoint"), path.join("checkpoint.old"), path.join("checkpoint.new"));
    std::fs::rename(&there, &old).expect("directories can be renamed");
    assert_eq!(look(&path).expect("it can be looked through"), whole, "the new one is gone, the old one counts");
    std::fs::rename(&old, &new).expect("directories can be renamed");
    std::fs::create_dir(&old).expect("directories can be made");
    assert_eq!(look(&path).expect("it can be looked through"), whole, "the new one is complete");

    // A start takes the same one, and clears away the other.
    std::fs::remove_dir(&old).expect("directories can be removed");
    std::fs::rename(&new, &old).expect("directories can be renamed");
    let data = DataDir::open(&path, "test", 1, &SystemIds).expect("a data directory");
    drop(data.checkpoint_store().expect("sled opens"));
    drop(data);
    assert!(there.exists() && !old.exists());
    assert_eq!(look(&path).expect("it can be looked through"), whole);
}

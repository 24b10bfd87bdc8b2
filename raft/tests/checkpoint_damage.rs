//! Flipped bytes in a real sled database: what is served is a state that the group has had, or nothing.

use futures::stream;
use openraft::storage::RaftStateMachine;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{CreateOrganisation, DirectoryCommand, Envelope, GroupId, RequestId, Timestamp, UserId, codec};
use vestibule_raft::checkpoint::Checkpoints;
use vestibule_raft::seams::ThreadSpawner;
use vestibule_raft::sled_store::SledStore;
use vestibule_raft::state::GroupState;
use vestibule_raft::state_machine::MachineStore;
use vestibule_raft::std_disk::StdDisk;
use vestibule_raft::types::{Batch, to_entry};
use vestibule_raft::wal::{EntryBody, LogPosition, Owner, Wal, WalConfig};

const OWNER: Owner = Owner { cluster: 1, node: 1, incarnation: 100 };
const GROUP: GroupId = GroupId::DIRECTORY;
const FLIPS: u64 = 60;
/// How long sled may take to open, and a checkpoint to load.
const PATIENCE: Duration = Duration::from_secs(5);
/// The next entry after the last one in a checkpoint, and the digest there.
type Loaded = (u64, [u8; 32]);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Writes checkpoints into a new database. Gives the digest at each.
fn fill(directory: &Path, log: &Path) -> BTreeMap<u64, [u8; 32]> {
    runtime().block_on(async {
        let disk = Arc::new(StdDisk::open(log).expect("a directory"));
        let config = WalConfig { segment_len: 256 << 10, ballast_len: 0, ..WalConfig::default() };
        let (wal, _) = Wal::open(disk, OWNER, config, &ThreadSpawner).await.expect("an empty log");
        let store = SledStore::open(directory, PATIENCE).expect("sled opens");
        let (checkpoints, task) = Checkpoints::new(Arc::new(store), OWNER, Duration::from_secs(1_000));
        let task = tokio::spawn(task);
        let state = Arc::new(GroupState::open(GROUP, &checkpoints).await.expect("it is empty"));
        checkpoints.attach(state.clone(), wal.group(GROUP)).await.expect("it attaches");
        let mut machine = MachineStore::new(state.clone(), checkpoints.clone());
        let mut digests = BTreeMap::from([(0, state.digest().1)]);
        for index in 0..400 {
            let ask = CreateOrganisation { by: UserId(7), name: format!("House {index} {}", "x".repeat(100)) };
            let envelope =
                Envelope { request: Some(RequestId(index.into())), command: DirectoryCommand::CreateOrganisation(ask) };
            let batch = Batch::new(Timestamp(1_000 + index), &[codec::encode(&envelope).into()]);
            let position = LogPosition { term: 1, node: 1, index };
            let entry = to_entry(position, EntryBody::Batch(batch.bytes().clone())).map(|entry| (entry, None));
            machine.apply(stream::iter([entry])).await.expect("it applies");
            if index % 20 == 19 {
                checkpoints.save(GROUP).await.expect("it is saved");
                digests.insert(index + 1, state.digest().1);
            }
        }
        checkpoints.close().await.expect("it closes");
        task.await.expect("it has ended");
        wal.close().await;
        digests
    })
}

/// What a node would start with; `Err` says why it would put the database aside.
fn load(directory: PathBuf) -> Result<Loaded, String> {
    let store = SledStore::open(&directory, PATIENCE).map_err(|error| error.to_string())?;
    let (tell, told) = std::sync::mpsc::channel();
    // As on a node: the checkpointer has a thread of its own, which may hang or die.
    std::thread::spawn(move || {
        runtime().block_on(async {
            let (checkpoints, task) = Checkpoints::new(Arc::new(store), OWNER, Duration::from_secs(1_000));
            let load = async {
                let state = GroupState::open(GROUP, &checkpoints).await.map_err(|error| error.to_string())?;
                let (last, digest) = state.digest();
                Ok((last.map_or(0, |last| last.index + 1), digest))
            };
            tokio::select! {
                loaded = load => drop(tell.send(loaded)),
                () = task => {}
            }
        });
    });
    told.recv_timeout(PATIENCE).unwrap_or_else(|error| Err(format!("loading: {error}")))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("directories can be made");
    for entry in std::fs::read_dir(from).expect("it can be listed").map(|entry| entry.expect("it can be listed")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("files can be copied");
        }
    }
}

/// Every byte of the files that is not zero: flips elsewhere hit what nobody has written.
fn used(directory: &Path) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("it can be listed").map(|entry| entry.expect("it can be listed")) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(used(&path));
        } else {
            let bytes = std::fs::read(&path).expect("files can be read");
            found.extend((0..bytes.len()).filter(|at| bytes[*at] != 0).map(|at| (path.clone(), at)));
        }
    }
    found.sort();
    found
}

#[test]
fn flipped_bytes_are_never_served() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let whole = root.path().join("whole");
    let digests = fill(&whole, &root.path().join("log"));
    let last = (400, digests[&400]);
    copy(&whole, &root.path().join("untouched"));
    assert_eq!(load(root.path().join("untouched")), Ok(last));

    let used = used(&whole);
    let (mut refused, mut older, mut exact) = (0, 0, 0);
    let mut seed = 0x5eed_u64;
    for flip in 0..FLIPS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (file, at) = &used[usize::try_from(seed >> 33).expect("31 bits") % used.len()];
        let copied = root.path().join(format!("flip{flip}"));
        copy(&whole, &copied);
        let target = copied.join(file.strip_prefix(&whole).expect("it is in there"));
        let mut bytes = std::fs::read(&target).expect("files can be read");
        bytes[*at] ^= 1 << (flip % 8);
        std::fs::write(&target, bytes).expect("files can be written");
        match load(copied) {
            Ok(loaded) if loaded == last => exact += 1,
            // Sled may take damage for a write that was not finished. The log has the rest, or a peer is asked.
            Ok((next, digest)) => {
                assert_eq!(digests.get(&next), Some(&digest), "flip {flip}, byte {at} of {}: served", file.display());
                older += 1;
            }
            Err(_) => refused += 1,
        }
    }
    println!("{refused} of {FLIPS} were refused, {older} gave an older state, {exact} changed nothing");
    assert!(refused > 0, "no flip was noticed");
}

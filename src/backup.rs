//! `vestibule ctl backup`, `verify-backup` and `restore`: a whole cluster in one file, and a new cluster made of it.

use crate::cli::{BackupArgs, RestoreArgs};
use crate::security;
use anyhow::{Context, anyhow, bail, ensure};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_engine::{Directory, DirectoryAnswer, DirectoryQuery, GroupId};
use vestibule_raft::backup::{self, BackupHead, BackupWriter, GroupHead, Verified};
use vestibule_raft::cluster::{Cluster, Consistency, GrpcCluster};
use vestibule_raft::data_dir::DataDir;
use vestibule_raft::node::{NodeConfig, NodeSeams};
use vestibule_raft::seams::{Clock, SystemClock, SystemIds, TcpConnector, ThreadSpawner};

/// How long the cluster may be without an answer before the backup is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before a group is asked for again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a group may break off after some of its rows have come.
const ATTEMPTS_MAX: u32 = 20;

/// Takes a backup. It has its name only once it is whole, on disk and verified.
pub(crate) async fn take(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    ensure!(!args.out.exists(), "{} is there already", args.out.display());
    let cluster = security::cluster(&args.nodes)?;
    let draft = with_ending(&args.out, "draft");
    let verified = match write(&cluster, &draft).await.and_then(|()| read(&draft)) {
        Ok(verified) => verified,
        Err(error) => {
            // What is left of it is of use to nobody, and may be large.
            let _ = std::fs::remove_file(&draft);
            return Err(error);
        }
    };
    std::fs::rename(&draft, &args.out).with_context(|| format!("cannot name it {}", args.out.display()))?;
    sync_parent(&args.out)?;
    report(&args.out, &verified, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a backup to its end and says what is in it, or where it is bad.
pub(crate) fn verify(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    report(file, &read(file)?, json)?;
    Ok(ExitCode::SUCCESS)
}

/// Prepares the data directory of one node of a new cluster. It is there whole or not at all.
pub(crate) async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let (data, from) = (&args.data, &args.from);
    let is_free = std::fs::read_dir(data).map_or(true, |mut entries| entries.next().is_none());
    ensure!(is_free, "{} is not empty: a new node needs a directory of its own", data.display());
    let verified = read(from)?;
    ensure!(
        verified.head.cluster != args.cluster,
        "the backup is of a cluster called {:?}: the new one needs another name, so that nodes of the two never talk",
        args.cluster
    );
    let config = NodeConfig::new(args.id, &args.cluster, args.peers.0, verified.head.groups);
    config.check()?;

    let draft = with_ending(data, "restoring");
    match std::fs::remove_dir_all(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", draft.display()));
        }
        _ => {}
    }
    let directory = DataDir::open(&draft, &args.cluster, args.id, &SystemIds)?;
    let seams = NodeSeams {
        clock: Arc::new(SystemClock),
        connector: Arc::new(TcpConnector),
        spawner: Arc::new(ThreadSpawner),
        disk: directory.wal_disk()?,
        store: directory.checkpoint_store()?,
        owner: directory.owner(),
    };
    backup::restore(open(from)?, &verified, &config, seams).await.with_context(|| format!("{}", from.display()))?;
    drop(directory);
    // An empty directory gives way.
    std::fs::rename(&draft, data).with_context(|| format!("cannot name it {}", data.display()))?;
    sync_parent(data)?;
    println!(
        "{} is node {} of cluster {:?} with {} groups. Start it with the same --id, --cluster, --peers and --groups {}.",
        data.display(),
        args.id,
        args.cluster,
        verified.head.groups,
        verified.head.groups
    );
    Ok(ExitCode::SUCCESS)
}

async fn write(cluster: &GrpcCluster, draft: &Path) -> anyhow::Result<()> {
    let name = cluster.cluster_name(&[]).await.map_err(|status| anyhow!("{}", status.message()))?;
    let query = DirectoryQuery::Groups;
    let asked: &dyn Cluster = cluster;
    let answer = asked.query::<Directory>(GroupId::DIRECTORY, &query, Consistency::Linearizable, PATIENCE).await?;
    let DirectoryAnswer::Groups(groups) = answer.0 else { bail!("asked for groups, the directory gave {answer:?}") };
    let head = BackupHead { cluster: name, begun_at: SystemClock.now(), groups: u32::try_from(groups.len())? };

    // It holds the keys that tokens are signed with.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft);
    let file = file.with_context(|| format!("cannot write {}", draft.display()))?;
    let mut writer = BackupWriter::new(file, &head)?;
    for group in (0..=head.groups).map(GroupId) {
        let mark = writer.mark();
        let mut deadline = Instant::now() + PATIENCE;
        let (mut attempts, mut has_rows) = (0, false);
        while let Err(error) = take_group(cluster, group, &mut writer, &mut has_rows).await {
            // A leader may have moved in the middle of it.
            if std::mem::take(&mut has_rows) {
                attempts += 1;
                deadline = Instant::now() + PATIENCE;
            }
            if Instant::now() > deadline || attempts == ATTEMPTS_MAX || error.downcast_ref::<io::Error>().is_some() {
                return Err(error).with_context(|| format!("no backup of {group}"));
            }
            tracing::info!(%group, error = format!("{error:#}"), "the group is asked for again");
            tokio::time::sleep(PAUSE).await;
            writer.rewind(mark.clone(), |file, len| {
                file.set_len(len)?;
                file.seek(SeekFrom::Start(len)).map(drop)
            })?;
        }
    }
    writer.finish()?.sync_all()?;
    Ok(())
}

/// Writes a group, and notes whether any of its rows came.
async fn take_group(
    cluster: &GrpcCluster,
    group: GroupId,
    writer: &mut BackupWriter<File>,
    has_rows: &mut bool,
) -> anyhow::Result<()> {
    let explain = |status: tonic::Status| anyhow::anyhow!("{}", status.message().to_owned());
    let mut taken = cluster.backup(group).await.map_err(explain)?;
    writer.begin_group(&GroupHead { group, last: taken.last })?;
    while let Some(rows) = taken.rows().await.map_err(explain)? {
        writer.rows(&rows)?;
        *has_rows = true;
    }
    writer.end_group()?;
    Ok(())
}

fn open(file: &Path) -> anyhow::Result<BufReader<File>> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(BufReader::with_capacity(1 << 20, opened))
}

fn read(file: &Path) -> anyhow::Result<Verified> {
    backup::verify(open(file)?).with_context(|| format!("{} cannot be relied on", file.display()))
}

fn report(file: &Path, verified: &Verified, json: bool) -> anyhow::Result<()> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let head = &verified.head;
    if json {
        let groups = verified.groups.iter().map(|group| {
            let last = group.head.last;
            serde_json::json!({
                "group": group.head.group.0,
                "term": last.map(|last| last.term), "index": last.map(|last| last.index),
                "rows": group.end.row_count, "digest": hex(&group.end.digest), "lastSequence": group.last_sequence,
            })
        });
        let line = serde_json::json!({
            "file": file, "cluster": head.cluster, "begunAt": head.begun_at.0, "groups": groups.collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string(&line)?);
        return Ok(());
    }
    println!("{}: cluster {:?}, {} groups and the directory", file.display(), head.cluster, head.groups);
    println!("{:>6} {:>6} {:>12} {:>10} {:>12}  state", "group", "term", "index", "rows", "events");
    for group in &verified.groups {
        let (term, index) = group.head.last.map_or((0, 0), |last| (last.term, last.index));
        println!(
            "{:>6} {term:>6} {index:>12} {:>10} {:>12}  {}",
            group.head.group.to_string(),
            group.end.row_count,
            group.last_sequence,
            hex(&group.end.digest[..8])
        );
    }
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn sync_parent(path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(|| format!("cannot sync {}", parent.display()))
}

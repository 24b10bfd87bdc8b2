//! Backups: the state of every group in one file, and a new cluster made of it.
//!
//! Groups are taken one after another, the directory first, each from its leader once that has made sure that it still
//! leads: whatever was acknowledged before the backup was begun is in it. See `docs/decisions/0008-backups-group-by-group.md` for what
//! that means between groups, and for how a cluster is made of a backup.

mod format;
#[cfg(test)]
mod tests;

pub use format::{BackupError, BackupHead, BackupReader, BackupWriter, GroupEnd, GroupHead, Part, Written};

use crate::checkpoint::Checkpoints;
use crate::controller::placing::first_voters;
use crate::machine::{self, Machine};
use crate::node::{NodeConfig, NodeSeams};
use crate::types::{Membership, NodeId, StoredMembership, to_log_id};
use crate::wal::{LogPosition, Wal};
use openraft::impls::BasicNode;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use vestibule_engine::{Directory, GroupId, Row, Sequence, ShardAnswer, ShardQuery, ShowtimeId, StateMachine, codec};

/// Rows of the directory are put back in pages of this many.
const PAGE_LEN: usize = 256;

/// A group of a backup that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedGroup {
    /// Which, and where it stood.
    pub head: GroupHead,
    /// Rows and digest.
    pub end: GroupEnd,
    /// The sequence of its last event.
    pub last_sequence: Sequence,
    showtimes: Vec<ShowtimeId>,
}

/// A backup that was read to its end, every group loaded and audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What stands at its beginning.
    pub head: BackupHead,
    /// Its groups, the directory first.
    pub groups: Vec<VerifiedGroup>,
}

impl Verified {
    /// The highest counter that the id of any showtime has.
    fn last_showtime(&self) -> u64 {
        let showtimes = self.groups.iter().flat_map(|group| &group.showtimes);
        showtimes.map(|showtime| showtime.counter()).max().unwrap_or(0)
    }
}

/// The rows of one group, on their way from a reader to a machine. What went wrong, or how the group ended, is found here
/// afterwards.
struct GroupRows<'a, R> {
    reader: &'a mut BackupReader<R>,
    page: std::vec::IntoIter<Row>,
    ended: Option<Result<GroupEnd, BackupError>>,
}

impl<R: Read> Iterator for GroupRows<'_, R> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(row);
            }
            if self.ended.is_some() {
                return None;
            }
            match self.reader.next_part() {
                Ok(Some(Part::Rows(rows))) => self.page = rows.into_iter(),
                Ok(Some(Part::End(end))) => self.ended = Some(Ok(end)),
                Ok(Some(Part::Group(_)) | None) => unreachable!("the reader ends a group before anything else comes"),
                Err(error) => self.ended = Some(Err(error)),
            }
        }
    }
}

/// Makes the machine of the group whose rows come next.
fn load<R: Read>(reader: &mut BackupReader<R>, group: GroupId) -> Result<(Box<dyn Machine>, GroupEnd), BackupError> {
    let mut rows = GroupRows { reader, page: Vec::new().into_iter(), ended: None };
    let loaded = machine::load(group, &mut rows);
    // A machine that gave up has left rows behind.
    rows.by_ref().for_each(drop);
    let end = rows.ended.expect("rows end only when the group does")?;
    let unsound = |reason: String| BackupError::Unsound { group, reason };
    Ok((loaded.map_err(|error| unsound(error.to_string()))?, end))
}

/// The showtimes of a group.
fn showtimes(machine: &dyn Machine, group: GroupId) -> Result<Vec<ShowtimeId>, String> {
    if group == GroupId::DIRECTORY {
        return Ok(Vec::new());
    }
    let answer = machine.query(&codec::encode(&ShardQuery::Showtimes)).map_err(|error| error.to_string())?.encode();
    match codec::decode(&answer) {
        Ok(ShardAnswer::Showtimes(showtimes)) => Ok(showtimes),
        other => Err(format!("asked for its showtimes, it gave {other:?}")),
    }
}

/// Reads a whole backup, loads every group and audits it, one at a time.
pub fn verify<R: Read>(input: R) -> Result<Verified, BackupError> {
    let mut reader = BackupReader::open(input)?;
    let mut groups = Vec::new();
    while let Some(part) = reader.next_part()? {
        let Part::Group(head) = part else { unreachable!("`load` has read the whole group") };
        let unsound = |reason: String| BackupError::Unsound { group: head.group, reason };
        let (machine, end) = load(&mut reader, head.group)?;
        machine.audit().map_err(unsound)?;
        if machine.digest() != end.digest {
            return Err(unsound("its state is not what its rows say".to_owned()));
        }
        let showtimes = showtimes(&*machine, head.group).map_err(unsound)?;
        groups.push(VerifiedGroup { head, end, last_sequence: machine.last_sequence(), showtimes });
    }
    Ok(Verified { head: reader.head().clone(), groups })
}

/// Why a cluster cannot be made of a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is bad.
    #[error("the backup cannot be used: {0}")]
    Backup(#[from] BackupError),
    /// The new data cannot be written.
    #[error("the data cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// What a restored group begins with: the backup's state as if it were the first entry of a new log.
///
/// Term 0 is what a group is formed in, before any election: every leader of the new cluster comes after it. The index
/// goes on where it was, so that positions which clients remember stay behind them.
fn beginning(head: &GroupHead) -> LogPosition {
    LogPosition { term: 0, node: 0, index: head.last.map_or(0, |last| last.index) }
}

/// Prepares the data of one node of a new cluster: its log and its checkpoints, both empty before. `verified` is what
/// [`verify`] gave for the same backup. Every node of the new cluster is to be prepared with the same backup and the
/// same `config.peers`.
pub async fn restore<R: Read>(
    input: R,
    verified: &Verified,
    config: &NodeConfig,
    seams: NodeSeams,
) -> Result<(), RestoreError> {
    let (checkpoints, task) = Checkpoints::new(seams.store, seams.owner, config.checkpoint_interval);
    seams.spawner.spawn_blocking_task("checkpointer", Box::pin(task))?;
    let members: BTreeSet<NodeId> = config.peers.keys().copied().collect();
    let hosted: BTreeSet<GroupId> = verified
        .groups
        .iter()
        .map(|group| group.head.group)
        .filter(|group| first_voters(*group, &members).contains(&config.id))
        .collect();
    let mut reader = BackupReader::open(input)?;
    while let Some(part) = reader.next_part()? {
        let Part::Group(head) = part else { continue };
        if hosted.contains(&head.group) {
            put_group(&mut reader, &head, verified, config, &checkpoints).await?;
        }
    }
    checkpoints.close().await?;

    // The log begins behind the checkpoints; it names the groups that are hosted here.
    let (wal, _) = Wal::open(seams.disk, seams.owner, config.wal.clone(), &*seams.spawner)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?;
    for group in verified.groups.iter().filter(|group| hosted.contains(&group.head.group)) {
        wal.group(group.head.group).purge(beginning(&group.head)).await?;
    }
    wal.close().await;
    Ok(())
}

/// Puts the group whose rows come next into its checkpoint.
async fn put_group<R: Read>(
    reader: &mut BackupReader<R>,
    head: &GroupHead,
    verified: &Verified,
    config: &NodeConfig,
    checkpoints: &Checkpoints,
) -> Result<(), RestoreError> {
    let group = head.group;
    let mut receiving = checkpoints.begin_receive(group).await?;
    if group == GroupId::DIRECTORY {
        for page in refounded(reader, verified.last_showtime())?.chunks(PAGE_LEN) {
            receiving = checkpoints.put_page(receiving, page.to_vec()).await?;
        }
    } else {
        while let Some(Part::Rows(rows)) = reader.next_part()? {
            receiving = checkpoints.put_page(receiving, rows).await?;
        }
    }
    let members: BTreeSet<NodeId> = config.peers.keys().copied().collect();
    let nodes: BTreeMap<u64, BasicNode> = first_voters(group, &members)
        .into_iter()
        .filter_map(|node| Some((node, BasicNode::new(config.peers.get(&node)?))))
        .collect();
    let last = to_log_id(beginning(head));
    let voters: BTreeSet<u64> = nodes.keys().copied().collect();
    let membership = Membership::new(vec![voters], nodes).map_err(|error| io::Error::other(error.to_string()))?;
    let membership = StoredMembership::new(Some(last), membership);
    Ok(checkpoints.install(receiving, Some(last), membership).await?)
}

/// The directory as it is to be in a new cluster.
fn refounded<R: Read>(reader: &mut BackupReader<R>, last_showtime: u64) -> Result<Vec<Row>, BackupError> {
    let group = GroupId::DIRECTORY;
    let mut rows = GroupRows { reader, page: Vec::new().into_iter(), ended: None };
    let loaded = Directory::load(group, &mut rows);
    rows.by_ref().for_each(drop);
    rows.ended.expect("rows end only when the group does")?;
    let mut directory = loaded.map_err(|error| BackupError::Unsound { group, reason: error.to_string() })?;
    directory.refound(last_showtime);
    Ok(directory.rows())
}

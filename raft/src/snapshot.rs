//! Checkpoints on their way between nodes: a header, pages of rows, and at the end how many rows there were and a digest
//! over them.

use crate::checkpoint::{CheckpointMeta, Checkpoints, Reading, Receiving};
use crate::convert;
use crate::types::{LogId, SnapshotMeta, Vote};
use futures::{Stream, StreamExt};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{GroupId, Row};
use vestibule_proto::v1;

/// The table of the remembered replies, which one planted bug leaves out.
const TABLE_REQUESTS: u8 = 0x71;
/// How long either side of a transfer may keep the other waiting.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// What a receiver has to take at least, in bytes a second, once it has had [`IDLE_MAX`] to begin with. The checkpoint does
/// not change while it is sent, and the log grows.
const TAKEN_A_SECOND_MIN: u64 = 256 << 10;

/// What the header of a snapshot says.
pub(crate) fn header(group: GroupId, vote: Option<&Vote>, meta: &CheckpointMeta) -> v1::SnapshotHeader {
    v1::SnapshotHeader {
        group: group.0,
        vote: vote.map(convert::vote_out),
        last: meta.last.as_ref().map(convert::log_id_out),
        membership: convert::membership_out(&meta.membership),
    }
}

/// Sends a checkpoint page by page, as fast as the node may. Memory holds a few pages at a time.
#[tracing::instrument(level = "debug", skip_all, fields(group = header.group))]
pub(crate) async fn send(
    mut reading: Reading,
    header: v1::SnapshotHeader,
    chunks: &mpsc::Sender<v1::SnapshotChunk>,
) -> Result<(), Status> {
    let mut header = Some(header);
    let (mut taken_bytes, mut waited) = (0, Duration::ZERO);
    loop {
        let rows = reading.next_page().await.map_err(|error| Status::internal(error.to_string()))?;
        let is_last = rows.is_empty();
        let bytes: usize = rows.iter().map(|row| row.key.len() + row.value.len()).sum();
        reading.pace(bytes).await;
        let rows = rows.into_iter().map(|row| v1::Row { key: row.key.into(), value: row.value.into() });
        let row_count = is_last.then_some(reading.meta().row_count);
        let digest = is_last.then(|| reading.meta().digest().to_vec().into());
        let chunk = v1::SnapshotChunk { header: header.take(), rows: rows.collect(), row_count, digest };
        // What this side takes, for reading and for its own pace, is not the receiver's fault.
        let begun = Instant::now();
        let patience = (IDLE_MAX + Duration::from_secs(taken_bytes / TAKEN_A_SECOND_MIN)).saturating_sub(waited);
        match tokio::time::timeout(patience.min(IDLE_MAX), chunks.send(chunk)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Status::unavailable("the receiver of the snapshot has gone")),
            Err(_) => {
                let reason = format!(
                    "the receiver of the snapshot is too slow: {taken_bytes} bytes taken in {:?}, where \
                     {TAKEN_A_SECOND_MIN} a second are the least",
                    waited + begun.elapsed()
                );
                return Err(Status::deadline_exceeded(reason));
            }
        }
        waited += begun.elapsed();
        taken_bytes += bytes as u64;
        if is_last {
            return Ok(());
        }
    }
}

/// A snapshot that has arrived whole.
pub(crate) struct Received {
    pub(crate) group: GroupId,
    pub(crate) vote: Option<Vote>,
    pub(crate) meta: SnapshotMeta,
    pub(crate) receiving: Receiving,
}

/// Receives a checkpoint into the group's other slot. Refuses one that `is_wanted` does not want, by its group and its last
/// entry, before anything is touched.
#[tracing::instrument(level = "debug", skip_all)]
pub(crate) async fn receive(
    checkpoints: &Checkpoints,
    mut chunks: impl Stream<Item = Result<v1::SnapshotChunk, Status>> + Unpin,
    is_wanted: impl FnOnce(GroupId, Option<LogId>) -> Result<(), Status>,
) -> Result<Received, Status> {
    // Whatever it is, a store that has failed ends the node by itself; a full disk has room again some time.
    let failed = |error: io::Error| Status::unavailable(error.to_string());
    let mut chunk = next(&mut chunks).await?;
    let header = chunk.header.take().ok_or_else(|| Status::invalid_argument("the snapshot has no header"))?;
    let group = GroupId(header.group);
    let last_log_id = header.last.map(convert::log_id_in).transpose()?;
    is_wanted(group, last_log_id)?;
    let vote = header.vote.map(|vote| convert::vote_in(Some(vote))).transpose()?;
    let meta = SnapshotMeta { last_log_id, last_membership: convert::membership_in(&header.membership)? };
    let mut receiving = checkpoints.begin_receive(group).await.map_err(failed)?;
    loop {
        let (row_count, digest) = (chunk.row_count, chunk.digest);
        let rows = chunk.rows.into_iter().map(|row| Row { key: row.key.into(), value: row.value.into() });
        let rows =
            rows.filter(|row| !planted::is(Bug::LeaveLedger) || row.key.first() != Some(&TABLE_REQUESTS)).collect();
        receiving = checkpoints.put_page(receiving, rows).await.map_err(failed)?;
        if let Some(row_count) = row_count {
            check_whole(receiving.meta(), row_count, digest.as_deref())
                .or_else(|status| if planted::is(Bug::LeaveLedger) { Ok(()) } else { Err(status) })?;
            let receiving = checkpoints.finish_receive(receiving).await.map_err(failed)?;
            return Ok(Received { group, vote, meta, receiving });
        }
        chunk = next(&mut chunks).await?;
    }
}

/// Refuses rows that are not those that were sent.
pub(crate) fn check_whole(received: &CheckpointMeta, row_count: u64, digest: Option<&[u8]>) -> Result<(), Status> {
    if received.row_count != row_count {
        return Err(Status::data_loss(format!("{} of {row_count} rows arrived", received.row_count)));
    }
    if digest != Some(received.digest().as_slice()) {
        return Err(Status::data_loss(format!("the {row_count} rows that arrived are not those that were sent")));
    }
    Ok(())
}

async fn next(
    chunks: &mut (impl Stream<Item = Result<v1::SnapshotChunk, Status>> + Unpin),
) -> Result<v1::SnapshotChunk, Status> {
    match tokio::time::timeout(IDLE_MAX, chunks.next()).await {
        Ok(Some(chunk)) => chunk,
        Ok(None) => Err(Status::invalid_argument("the snapshot is cut short")),
        Err(_) => Err(Status::deadline_exceeded("the snapshot's sender fell silent")),
    }
}

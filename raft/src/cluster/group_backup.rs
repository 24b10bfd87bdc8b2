//! The state of one group on its way from the node that leads it.

use crate::checkpoint::CheckpointMeta;
use crate::convert;
use crate::snapshot::check_whole;
use crate::types::to_position;
use crate::wal::LogPosition;
use std::time::Duration;
use vestibule_engine::{GroupId, Row};
use vestibule_proto::v1;

/// How long a node may take to begin a backup, or to go on with one.
pub(super) const BACKUP_PATIENCE: Duration = Duration::from_secs(60);

/// The state of one group on its way from a node.
pub struct GroupBackup {
    /// The last entry that the rows contain.
    pub last: Option<LogPosition>,
    stream: tonic::Streaming<v1::SnapshotChunk>,
    /// What has arrived and was not handed out yet.
    chunk: Option<v1::SnapshotChunk>,
    received: CheckpointMeta,
}

impl GroupBackup {
    pub(super) async fn open(
        group: GroupId,
        mut stream: tonic::Streaming<v1::SnapshotChunk>,
    ) -> Result<Self, tonic::Status> {
        let malformed = |what: &str| tonic::Status::internal(format!("a backup of {group} {what}"));
        let mut chunk = next_chunk(&mut stream).await?;
        let header = chunk.header.take().ok_or_else(|| malformed("has no header"))?;
        if header.group != group.0 {
            return Err(malformed("is of another"));
        }
        let last = header.last.map(convert::log_id_in).transpose()?.map(|last| to_position(&last));
        Ok(Self { last, stream, chunk: Some(chunk), received: CheckpointMeta::default() })
    }

    /// The next rows; nothing when all have come.
    pub async fn rows(&mut self) -> Result<Option<Vec<Row>>, tonic::Status> {
        let Some(chunk) = self.chunk.take() else { return Ok(None) };
        let rows = chunk.rows.into_iter().map(|row| Row { key: row.key.into(), value: row.value.into() });
        let rows: Vec<Row> = rows.inspect(|row| self.received.add_row(row)).collect();
        match chunk.row_count {
            None => self.chunk = Some(next_chunk(&mut self.stream).await?),
            Some(row_count) => check_whole(&self.received, row_count, chunk.digest.as_deref())?,
        }
        Ok(Some(rows))
    }
}

async fn next_chunk(stream: &mut tonic::Streaming<v1::SnapshotChunk>) -> Result<v1::SnapshotChunk, tonic::Status> {
    match tokio::time::timeout(BACKUP_PATIENCE, stream.message()).await {
        Ok(Ok(Some(chunk))) => Ok(chunk),
        Ok(Ok(None)) => Err(tonic::Status::unavailable("the node ended the backup too early")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(tonic::Status::deadline_exceeded("the node fell silent")),
    }
}

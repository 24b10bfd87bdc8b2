//! Queries that any replica may answer, as long as nothing goes back in time.

use super::{Attempt, GrpcCluster, PAUSE_LAST, Position, QUERY_ATTEMPT_MAX, Unanswered, lock};
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::GroupId;
use vestibule_proto::v1;
use vestibule_proto::v1::failure::Kind;

/// Which replica answers the queries of a group, and how far it must have come: as far as any answer or reply so far.
/// Staying with one and asking any other for at least as much keeps what is read from going back in time, as it would on a
/// replica that is just catching up.
#[derive(Debug, Clone)]
pub(super) struct ReadPoint {
    address: String,
    index: u64,
}

impl GrpcCluster {
    fn read_point(&self, group: GroupId) -> ReadPoint {
        lock(&self.readings).entry(group).or_insert_with(|| self.first_read_point()).clone()
    }

    fn first_read_point(&self) -> ReadPoint {
        ReadPoint { address: self.next_seed(), index: 0 }
    }

    /// The replica at `point` did not answer: another one is to be asked, unless somebody has seen to that.
    fn leave_read_point(&self, group: GroupId, point: &ReadPoint) {
        let next = self.seed_after(&point.address);
        if let Some(current) = lock(&self.readings).get_mut(&group)
            && current.address == point.address
        {
            current.address = next;
        }
    }

    /// The group was told here to have come to `position`: no query is answered from before it any more.
    pub(super) fn note_position(&self, group: GroupId, position: Position) {
        let mut readings = lock(&self.readings);
        let current = readings.entry(group).or_insert_with(|| self.first_read_point());
        // What was answered is agreed on, so that the index alone says which is later.
        current.index = current.index.max(position.index);
    }

    /// Sends a query to one replica after another until one has applied enough, and at least as much as the last answer
    /// was made from, or `patience` is at its end.
    pub(super) async fn ask_any(
        &self,
        group: GroupId,
        query: bytes::Bytes,
        applied_min: u64,
        patience: Duration,
    ) -> Result<(Vec<u8>, Position), Unanswered> {
        let deadline = Instant::now() + patience;
        let mut tried = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unanswered::NoLeader);
            }
            let point = self.read_point(group);
            let consistency = v1::query::Consistency::AppliedMin(applied_min.max(point.index));
            let body = v1::request::Body::Query(v1::Query { query: query.clone(), consistency: Some(consistency) });
            // A replica that lags is not waited for while others may be ahead.
            let share = left.min(QUERY_ATTEMPT_MAX);
            match self.attempt(&point.address, group, body, share).await {
                Attempt::Answered(answer, position) => {
                    self.note_position(group, position);
                    return Ok((answer, position));
                }
                Attempt::Failed(failure) if failure.kind() == Kind::Malformed => {
                    return Err(Unanswered::Malformed(failure.detail));
                }
                _ => self.leave_read_point(group, &point),
            }
            tried += 1;
            if tried % lock(&self.seeds).len().max(1) == 0 {
                tokio::time::sleep(PAUSE_LAST.min(deadline.saturating_duration_since(Instant::now()))).await;
            }
        }
    }
}

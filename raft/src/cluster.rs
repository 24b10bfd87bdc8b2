//! The way in from outside: a client of the whole cluster, used by gateways and tools.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::time::Duration;
use vestibule_engine::{Envelope, EventRecord, GroupId, Reply, Sequence, StateMachine, codec};

/// The whole cluster as its users see it. Requests find the leader, follow it when it moves, and are sent again under
/// the same request id while that is safe and `patience` lasts.
pub trait Cluster: Send + Sync + 'static {
    /// Has the group apply an encoded envelope; gives its reply and the position at which it was applied.
    fn propose_bytes(
        &self,
        group: GroupId,
        envelope: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(Reply, Position), ProposeError>>;

    /// Asks the group an encoded query; gives the encoded answer and the position as of which it holds.
    fn query_bytes(
        &self,
        group: GroupId,
        query: Vec<u8>,
        consistency: Consistency,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(Vec<u8>, Position), QueryError>>;

    /// The events of the group from `from` on, in order, without end; an error is the last item.
    fn watch(&self, group: GroupId, from: Sequence) -> BoxStream<'static, Result<EventRecord, WatchError>>;
}

impl dyn Cluster {
    /// Has the group apply a command; gives its reply and the position at which it was applied.
    pub async fn propose<M: StateMachine>(
        &self,
        group: GroupId,
        envelope: &Envelope<M::Command>,
        patience: Duration,
    ) -> Result<(Reply, Position), ProposeError> {
        self.propose_bytes(group, codec::encode(envelope), patience).await
    }

    /// Asks the group a question; gives the answer and the position as of which it holds.
    pub async fn query<M: StateMachine>(
        &self,
        group: GroupId,
        query: &M::Query,
        consistency: Consistency,
        patience: Duration,
    ) -> Result<(M::Answer, Position), QueryError> {
        let (answer, position) = self.query_bytes(group, codec::encode(query), consistency, patience).await?;
        let answer = codec::decode(&answer).map_err(|error| QueryError::Malformed(error.to_string()))?;
        Ok((answer, position))
    }
}

/// Where a group stood when it answered: the entry with this index was applied, in this term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The Raft term of the entry.
    pub term: u64,
    /// The index of the entry.
    pub index: u64,
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// As of now: the leader confirms that it still leads before it answers.
    Linearizable,
    /// From any replica that has applied at least this index. 0 takes what is there.
    AppliedMin(u64),
}

/// Why a command got no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was done: no leader was found in the time given.
    #[error("group {0} has no leader that answers")]
    NoLeader(GroupId),
    /// Nothing was done: the queue of the group is full.
    #[error("group {0} is overloaded")]
    Overloaded(GroupId),
    /// The command may yet take effect: ask again under the same request id.
    #[error("group {0} gave no answer in time; the command may take effect yet")]
    UnknownOutcome(GroupId),
    /// Nothing was done: node and asker disagree about the encoding. A mistake of ours.
    #[error("malformed command or query: {0}")]
    Malformed(String),
}

/// Why a query got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No replica that is fresh enough answered in the time given.
    #[error("group {0} gave no answer in time")]
    Unavailable(GroupId),
    /// Node and asker disagree about the encoding. A mistake of ours.
    #[error("malformed query or answer: {0}")]
    Malformed(String),
}

/// Why a watch ended. Watching again from the next sequence resumes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The sequence asked for is no longer kept; this is the oldest that is.
    #[error("events before {0} are no longer kept")]
    TooOld(Sequence),
    /// The connection broke, or this reader was too slow.
    #[error("the watch was interrupted: {0}")]
    Interrupted(String),
}

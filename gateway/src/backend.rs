//! The cluster as the handlers see it: one call a command or question, problems instead of errors, everything counted.

use crate::error::Problem;
use crate::metrics::Metrics;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{
    Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, EventRecord, GroupId, Outcome, Refusal,
    RequestId, Sequence, Shard, ShardAnswer, ShardCommand, ShardQuery, StateMachine,
};
use vestibule_raft::cluster::{Cluster, Consistency, Position, WatchError};

/// A cheap handle on the cluster.
#[derive(Clone)]
pub(crate) struct Backend {
    cluster: Arc<dyn Cluster>,
    metrics: Metrics,
    write_patience: Duration,
    read_patience: Duration,
}

/// A command that was carried out, or refused.
pub(crate) struct Applied {
    pub(crate) result: Result<Outcome, Refusal>,
    /// Whether this is the remembered answer to an earlier command of the same request id.
    pub(crate) replayed: bool,
    pub(crate) position: Position,
}

impl Applied {
    /// The outcome, or the problem that a refusal is where no seats are named.
    pub(crate) fn outcome(self) -> Result<Outcome, Problem> {
        let replayed = self.replayed;
        self.result.map_err(|refusal| Problem::of_refusal(&refusal, None).replayed(replayed))
    }
}

impl Backend {
    pub(crate) fn new(
        cluster: Arc<dyn Cluster>,
        metrics: Metrics,
        write_patience: Duration,
        read_patience: Duration,
    ) -> Self {
        Self { cluster, metrics, write_patience, read_patience }
    }

    /// Has a shard group apply a command.
    pub(crate) async fn shard(
        &self,
        group: GroupId,
        request: RequestId,
        command: ShardCommand,
    ) -> Result<Applied, Problem> {
        self.propose::<Shard>(group, request, command).await
    }

    /// Has the directory apply a command.
    pub(crate) async fn directory(&self, request: RequestId, command: DirectoryCommand) -> Result<Applied, Problem> {
        self.propose::<Directory>(GroupId::DIRECTORY, request, command).await
    }

    async fn propose<M: StateMachine>(
        &self,
        group: GroupId,
        request: RequestId,
        command: M::Command,
    ) -> Result<Applied, Problem> {
        let envelope = Envelope { request: Some(request), command };
        match self.cluster.propose::<M>(group, &envelope, self.write_patience).await {
            Ok((reply, position)) => {
                self.metrics.proposed(if reply.result.is_ok() { "done" } else { "refused" });
                Ok(Applied { result: reply.result, replayed: reply.replayed, position })
            }
            Err(error) => {
                let problem = Problem::from(error);
                self.metrics.proposed(problem.code());
                Err(problem)
            }
        }
    }

    /// Asks a shard group.
    pub(crate) async fn ask_shard(
        &self,
        group: GroupId,
        query: &ShardQuery,
        consistency: Consistency,
    ) -> Result<(ShardAnswer, Position), Problem> {
        self.ask::<Shard>(group, query, consistency).await
    }

    /// Asks the directory.
    pub(crate) async fn ask_directory(
        &self,
        query: &DirectoryQuery,
        consistency: Consistency,
    ) -> Result<DirectoryAnswer, Problem> {
        Ok(self.ask::<Directory>(GroupId::DIRECTORY, query, consistency).await?.0)
    }

    async fn ask<M: StateMachine>(
        &self,
        group: GroupId,
        query: &M::Query,
        consistency: Consistency,
    ) -> Result<(M::Answer, Position), Problem> {
        let answer = self.cluster.query::<M>(group, query, consistency, self.read_patience).await;
        self.metrics.queried(answer.is_ok());
        Ok(answer?)
    }

    /// What `pick` finds in the answer of any replica that has come as far as `index`, and as of where. One that lags may not
    /// know it yet: what is not found there is asked for once more, as of now.
    pub(crate) async fn find_in_shard<T>(
        &self,
        group: GroupId,
        query: &ShardQuery,
        index: u64,
        pick: impl Fn(ShardAnswer) -> Option<T>,
    ) -> Result<Option<(T, Position)>, Problem> {
        self.find::<Shard, T>(group, query, index, pick).await
    }

    /// The same of the directory.
    pub(crate) async fn find_in_directory<T>(
        &self,
        query: &DirectoryQuery,
        pick: impl Fn(DirectoryAnswer) -> Option<T>,
    ) -> Result<Option<(T, Position)>, Problem> {
        self.find::<Directory, T>(GroupId::DIRECTORY, query, 0, pick).await
    }

    async fn find<M: StateMachine, T>(
        &self,
        group: GroupId,
        query: &M::Query,
        index: u64,
        pick: impl Fn(M::Answer) -> Option<T>,
    ) -> Result<Option<(T, Position)>, Problem> {
        for consistency in [Consistency::AppliedMin(index), Consistency::Linearizable] {
            let (answer, position) = self.ask::<M>(group, query, consistency).await?;
            if let Some(found) = pick(answer) {
                return Ok(Some((found, position)));
            }
            if planted::is(Bug::DenyUnheard) {
                break;
            }
        }
        Ok(None)
    }

    /// The events of a group from `from` on.
    pub(crate) fn watch(
        &self,
        group: GroupId,
        from: Sequence,
    ) -> futures::stream::BoxStream<'static, Result<EventRecord, WatchError>> {
        self.cluster.watch(group, from)
    }
}

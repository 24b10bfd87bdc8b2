//! A cluster that notes what a gateway asks of it, so that what holds for all clients is checked for gateways too.

use crate::history::{Answer, Ask, History};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{
    Directory, Envelope, EventRecord, GroupId, Reply, RequestId, Sequence, Shard, StateMachine, codec,
};
use vestibule_raft::cluster::{Cluster, Consistency, Position, ProposeError, QueryError, WatchError};

/// The real cluster's client, with everybody listening in.
pub struct Recorder {
    /// Of the gateway.
    name: String,
    cluster: Arc<dyn Cluster>,
    history: History,
}

impl Recorder {
    /// Notes what is asked of `cluster` under this name.
    pub fn new(name: String, cluster: Arc<dyn Cluster>, history: History) -> Self {
        Self { name, cluster, history }
    }

    /// What an encoded envelope asks, and under which id.
    fn asked<M: StateMachine>(envelope: &[u8], ask: fn(M::Command) -> Ask) -> Option<(RequestId, Ask)> {
        let envelope: Envelope<M::Command> = codec::decode(envelope).ok()?;
        Some((envelope.request?, ask(envelope.command)))
    }
}

impl Cluster for Recorder {
    fn propose_bytes(
        &self,
        group: GroupId,
        envelope: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(Reply, Position), ProposeError>> {
        let asked = if group == GroupId::DIRECTORY {
            Self::asked::<Directory>(&envelope, |command| Ask::Directory(Box::new(command)))
        } else {
            Self::asked::<Shard>(&envelope, |command| Ask::Shard(Box::new(command)))
        };
        let (request, ask) = asked.expect("a gateway proposes commands, each under an id");
        Box::pin(async move {
            let attempt = self.history.attempt(&self.name, group, request, ask);
            let proposed = self.cluster.propose_bytes(group, envelope, patience).await;
            attempt.end(match &proposed {
                Ok((reply, position)) => Answer::Reply(reply.clone(), *position),
                Err(ProposeError::UnknownOutcome(_)) => Answer::Unknown,
                Err(error) => Answer::NotDone(error.to_string()),
            });
            proposed
        })
    }

    fn query_bytes(
        &self,
        group: GroupId,
        query: Vec<u8>,
        consistency: Consistency,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(Vec<u8>, Position), QueryError>> {
        let is_directory = group == GroupId::DIRECTORY;
        let ask = if is_directory {
            codec::decode(&query).ok().map(|query| Ask::LookUp(query, consistency))
        } else {
            codec::decode(&query).ok().map(|query| Ask::Read(query, consistency))
        };
        let ask = ask.expect("a gateway asks questions that can be read");
        Box::pin(async move {
            let call = self.history.call(&self.name, group, RequestId(0), ask);
            let answered = self.cluster.query_bytes(group, query, consistency, patience).await;
            let malformed = "an answer of the cluster can be read";
            let answer = match &answered {
                Ok((bytes, at)) if is_directory => {
                    Answer::LookUp(Box::new(codec::decode(bytes).expect(malformed)), *at)
                }
                Ok((bytes, at)) => Answer::Read(Box::new(codec::decode(bytes).expect(malformed)), *at),
                Err(error) => Answer::NotDone(error.to_string()),
            };
            self.history.answer(&call, answer);
            answered
        })
    }

    fn watch(&self, group: GroupId, from: Sequence) -> BoxStream<'static, Result<EventRecord, WatchError>> {
        self.cluster.watch(group, from)
    }
}

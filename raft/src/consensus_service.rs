//! What a node answers to its peers.

use crate::checkpoint::Checkpoints;
use crate::convert;
use crate::group::Groups;
use crate::state_machine::SnapshotHandle;
use crate::stop::Stop;
use crate::transport::{CLUSTER_KEY, FROM_KEY, TO_KEY};
use crate::types::{NodeId, SnapshotMeta};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status, Streaming};
use vestibule_engine::{GroupId, Row};
use vestibule_proto::v1;
use vestibule_proto::v1::consensus_server::Consensus;

/// How long the sender of a snapshot may keep this node waiting.
const SNAPSHOT_IDLE_MAX: Duration = Duration::from_secs(30);

pub(crate) struct ConsensusService {
    pub(crate) cluster: String,
    pub(crate) node: NodeId,
    pub(crate) groups: Arc<Groups>,
    pub(crate) checkpoints: Checkpoints,
    /// Turns when the node stops: append streams end then, which their senders would keep open.
    pub(crate) stop: Stop,
}

fn stopped(error: impl ToString) -> Status {
    Status::unavailable(error.to_string())
}

impl ConsensusService {
    /// Refuses calls that are meant for another node or another cluster.
    fn check_meant<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let metadata = request.metadata();
        let value = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (cluster, from, to) = (value(CLUSTER_KEY), value(FROM_KEY), value(TO_KEY));
        if cluster == self.cluster && to == self.node.to_string() {
            return Ok(());
        }
        let (own_cluster, own) = (&self.cluster, self.node);
        Err(Status::permission_denied(format!(
            "this is node {own} of cluster {own_cluster:?}, not node {to:?} of cluster {cluster:?} that node {from:?} calls"
        )))
    }

    async fn receive(
        &self,
        mut inbound: Streaming<v1::SnapshotChunk>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        let late = |_| Status::deadline_exceeded("the snapshot's sender fell silent");
        let cut_short = || Status::invalid_argument("the snapshot is cut short");
        let first = tokio::time::timeout(SNAPSHOT_IDLE_MAX, inbound.message()).await.map_err(late)??;
        let mut chunk = first.ok_or_else(cut_short)?;
        let header = chunk.header.take().ok_or_else(cut_short)?;
        let group = self.groups.get(GroupId(header.group))?;
        let vote = convert::vote_in(header.vote)?;
        let last_log_id = header.last.map(convert::log_id_in).transpose()?;
        let last_membership = convert::membership_in(&header.membership)?;
        let failed = |error: std::io::Error| Status::internal(error.to_string());
        let mut receiving = self.checkpoints.begin_receive(group.id).await.map_err(failed)?;
        loop {
            let is_last = chunk.row_count;
            let rows = chunk.rows.into_iter().map(|row| Row { key: row.key.into(), value: row.value.into() }).collect();
            receiving = self.checkpoints.put_page(receiving, rows).await.map_err(failed)?;
            if let Some(row_count) = is_last {
                if row_count != receiving.row_count() {
                    let got = receiving.row_count();
                    return Err(Status::invalid_argument(format!("{got} of {row_count} rows arrived")));
                }
                break;
            }
            let next = tokio::time::timeout(SNAPSHOT_IDLE_MAX, inbound.message()).await.map_err(late)??;
            chunk = next.ok_or_else(cut_short)?;
        }
        let meta = SnapshotMeta { last_log_id, last_membership };
        let snapshot = crate::state_machine::Snapshot { meta, snapshot: SnapshotHandle::Received(receiving) };
        let response = group.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(v1::SnapshotResponse { vote: Some(convert::vote_out(&response.vote)) }))
    }
}

type AppendAnswers = Pin<Box<dyn Stream<Item = Result<v1::AppendResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Consensus for ConsensusService {
    type AppendStream = AppendAnswers;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.check_meant(&request)?;
        let groups = self.groups.clone();
        let mut inbound = request.into_inner();
        // The first request says which group; the answer to the call must not wait for it.
        let answers = async move {
            let first = match inbound.message().await {
                Ok(Some(first)) => first,
                Ok(None) => return futures::stream::empty().boxed(),
                Err(status) => return futures::stream::iter([Err(status)]).boxed(),
            };
            let group = match groups.get(GroupId(first.group)) {
                Ok(group) => group,
                Err(status) => return futures::stream::iter([Err(status)]).boxed(),
            };
            let id = first.group;
            let requests = futures::stream::iter([Ok(first)])
                .chain(inbound)
                // A stream that turns bad ends; the sender sees it end and begins anew.
                .map(move |request: Result<v1::AppendRequest, Status>| {
                    let request = request.ok().filter(|request| request.group == id)?;
                    convert::append_in(request).ok()
                })
                .take_while(|request| std::future::ready(request.is_some()))
                .filter_map(std::future::ready);
            let results = group.raft.stream_append(requests);
            let answers: BoxStream<'static, Result<v1::AppendResponse, Status>> = results
                .map(|result| match result {
                    Ok(result) => Ok(convert::append_result_out(&result)),
                    Err(fatal) => Err(stopped(fatal)),
                })
                .boxed();
            answers
        };
        let mut stop = self.stop.clone();
        let answers = futures::stream::once(answers).flatten();
        Ok(Response::new(answers.take_until(async move { stop.stopped().await }).boxed()))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        self.check_meant(&request)?;
        let request = request.into_inner();
        let group = self.groups.get(GroupId(request.group))?;
        let response = group.raft.vote(convert::vote_request_in(request)?).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_out(&response)))
    }

    async fn pre_vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        self.check_meant(&request)?;
        let request = request.into_inner();
        let group = self.groups.get(GroupId(request.group))?;
        let response = group.raft.pre_vote(convert::vote_request_in(request)?).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_out(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        self.check_meant(&request)?;
        self.receive(request.into_inner()).await
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.check_meant(&request)?;
        let request = request.into_inner();
        let group = self.groups.get(GroupId(request.group))?;
        let answer = group.raft.handle_transfer_leader(convert::transfer_in(request)?).await.map_err(stopped)?;
        let refusal = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(v1::TransferLeaderResponse { refusal }))
    }
}

//! What a node answers to its peers.

use crate::convert;
use crate::hosting::Host;
use crate::pacemaker;
use crate::snapshot;
use crate::state_machine::{Snapshot, SnapshotHandle};
use crate::steps;
use crate::transport::{CLUSTER_KEY, FROM_ADDRESS_KEY, FROM_INCARNATION_KEY, FROM_KEY, TO_INCARNATION_KEY, TO_KEY};
use crate::types::NodeId;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};
use vestibule_engine::GroupId;
use vestibule_proto::v1;
use vestibule_proto::v1::consensus_server::Consensus;

pub(crate) struct ConsensusService {
    pub(crate) host: Host,
}

fn stopped(error: impl ToString) -> Status {
    Status::unavailable(error.to_string())
}

impl ConsensusService {
    /// Refuses calls that are meant for another node or another cluster, and nodes that are not what they were. Gives
    /// who calls.
    fn check_meant<T>(&self, request: &Request<T>) -> Result<NodeId, Status> {
        let metadata = request.metadata();
        let value = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (cluster, from, to) = (value(CLUSTER_KEY), value(FROM_KEY), value(TO_KEY));
        let (own_cluster, own) = (&self.host.config.cluster, self.host.config.id);
        if cluster != own_cluster || to != own.to_string() {
            return Err(Status::permission_denied(format!(
                "this is node {own} of cluster {own_cluster:?}, not node {to:?} of cluster {cluster:?} that node \
                 {from:?} calls"
            )));
        }
        let incarnation = |key: &str| u128::from_str_radix(value(key), 16).ok();
        if let Some(meant) = incarnation(TO_INCARNATION_KEY) {
            self.host.roster.check_meant(meant)?;
        }
        match (from.parse(), incarnation(FROM_INCARNATION_KEY)) {
            (Ok(from), Some(incarnation)) => {
                self.host.roster.check_caller(from, incarnation)?;
                self.host.roster.hear_of(from, value(FROM_ADDRESS_KEY));
                Ok(from)
            }
            _ => Err(Status::invalid_argument("the caller does not say who it is")),
        }
    }

    async fn receive(&self, inbound: Streaming<v1::SnapshotChunk>) -> Result<Response<v1::SnapshotResponse>, Status> {
        let is_wanted = |group, _| self.host.groups.get(group).map(drop);
        let received = snapshot::receive(&self.host.checkpoints, inbound, is_wanted).await?;
        let group = self.host.groups.get(received.group)?;
        let vote = received.vote.ok_or_else(|| Status::invalid_argument("the snapshot has no vote"))?;
        let snapshot = Snapshot { meta: received.meta, snapshot: SnapshotHandle::Received(received.receiving) };
        let response = group.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(v1::SnapshotResponse { vote: Some(convert::vote_out(&response.vote)) }))
    }
}

type AppendAnswers = Pin<Box<dyn Stream<Item = Result<v1::AppendResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Consensus for ConsensusService {
    type AppendStream = AppendAnswers;
    type FetchSnapshotStream = BoxStream<'static, Result<v1::SnapshotChunk, Status>>;

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.check_meant(&request)?;
        let groups = self.host.groups.clone();
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
            let heard = group.clone();
            let requests = futures::stream::iter([Ok(first)])
                .chain(inbound)
                // A stream that turns bad ends; the sender sees it end and begins anew.
                .map(move |request: Result<v1::AppendRequest, Status>| {
                    heard.note_heard();
                    let request = request.ok().filter(|request| request.group == id)?;
                    // Refused here, because openraft takes an entry that cannot be written for the end of the disk.
                    if heard.log.is_out_of_room() && !request.entries.is_empty() {
                        return None;
                    }
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
        let mut stop = self.host.stop.clone();
        let answers = futures::stream::once(answers).flatten();
        Ok(Response::new(answers.take_until(async move { stop.stopped().await }).boxed()))
    }

    async fn beat(&self, request: Request<v1::BeatRequest>) -> Result<Response<v1::BeatResponse>, Status> {
        let from = self.check_meant(&request)?;
        Ok(Response::new(pacemaker::answer(&self.host, from, request.into_inner())))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        self.check_meant(&request)?;
        let request = request.into_inner();
        let group = self.host.groups.get(GroupId(request.group))?;
        if !request.leadership_transfer {
            group.renew_lease().await;
        }
        let response = group.raft.vote(convert::vote_request_in(request)?).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_out(&response)))
    }

    async fn pre_vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteResponse>, Status> {
        self.check_meant(&request)?;
        let request = request.into_inner();
        let group = self.host.groups.get(GroupId(request.group))?;
        group.renew_lease().await;
        let response = group.raft.pre_vote(convert::vote_request_in(request)?).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_out(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        self.check_meant(&request)?;
        let begun = Instant::now();
        let received = self.receive(request.into_inner()).await;
        self.host.instruments.transferred(&self.host.instruments.snapshot_receive, begun, &received);
        received
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.check_meant(&request)?;
        let request = request.into_inner();
        let group = self.host.groups.get(GroupId(request.group))?;
        let answer = group.raft.handle_transfer_leader(convert::transfer_in(request)?).await.map_err(stopped)?;
        let refusal = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(v1::TransferLeaderResponse { refusal }))
    }

    async fn fetch_snapshot(
        &self,
        request: Request<v1::FetchSnapshotRequest>,
    ) -> Result<Response<Self::FetchSnapshotStream>, Status> {
        self.check_meant(&request)?;
        let group = self.host.groups.get(GroupId(request.into_inner().group))?;
        let failed = |error: std::io::Error| Status::internal(error.to_string());
        // As fresh as it can be: the asker's log has to reach back to it.
        self.host.checkpoints.save(group.id).await.map_err(failed)?;
        let reading = self.host.checkpoints.begin_read(group.id).await.map_err(failed)?;
        let header = snapshot::header(group.id, None, reading.meta());
        let (chunks, outbound) = tokio::sync::mpsc::channel(2);
        let instruments = self.host.instruments.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let sent = snapshot::send(reading, header, &chunks).await;
            instruments.transferred(&instruments.snapshot_send, begun, &sent);
            if let Err(status) = sent {
                tracing::info!(group = %group.id, %status, "a snapshot was not fetched to its end");
            }
        });
        Ok(Response::new(tokio_stream::wrappers::ReceiverStream::new(outbound).map(Ok).boxed()))
    }
    async fn ping(&self, request: Request<v1::PingRequest>) -> Result<Response<v1::PingResponse>, Status> {
        self.check_meant(&request)?;
        Ok(Response::new(v1::PingResponse { now: self.host.clock.now().0 }))
    }

    async fn change_group(
        &self,
        request: Request<v1::ChangeGroupRequest>,
    ) -> Result<Response<v1::ChangeGroupResponse>, Status> {
        self.check_meant(&request)?;
        let request = request.into_inner();
        let step = request.step.ok_or_else(|| Status::invalid_argument("the step is missing"))?;
        steps::take(&self.host, GroupId(request.group), step).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(v1::ChangeGroupResponse {}))
    }
}

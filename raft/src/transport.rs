//! The way from one node to its peers: openraft's network over gRPC.
//!
//! A peer has two connections: one for the appends, votes and heartbeats of all groups, another for snapshots, so that
//! bulk never delays a heartbeat. Appends of a group travel on a stream of their own, pipelined. Every call has a
//! deadline; an append stream that owes an answer for several deadlines is closed. A peer that is gone is noticed earlier,
//! by the probes of its connection.

use crate::checkpoint::Checkpoints;
use crate::convert;
use crate::metrics::Instruments;
use crate::roster::Roster;
use crate::seams::Connector;
use crate::snapshot::{self, Received};
use crate::state_machine::{Snapshot, SnapshotHandle};
use crate::types::{LogId, NodeId, TypeConfig, Vote};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption, RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status};
use vestibule_engine::GroupId;
use vestibule_engine::planted::{self, Bug};
use vestibule_proto::v1;
use vestibule_proto::v1::access_client::AccessClient;
use vestibule_proto::v1::consensus_client::ConsensusClient;

/// The largest message on a connection between nodes, in bytes.
pub const MESSAGE_LEN_MAX: usize = 64 << 20;
/// Metadata of every call between nodes: the cluster's name.
pub(crate) const CLUSTER_KEY: &str = "vestibule-cluster";
/// Metadata of every call between nodes: who calls.
pub(crate) const FROM_KEY: &str = "vestibule-from";
/// Metadata of every call between nodes: where the caller listens. A node that has lost what it knew of the cluster comes to
/// its peers by that.
pub(crate) const FROM_ADDRESS_KEY: &str = "vestibule-from-address";
/// Metadata of every call between nodes: who is meant.
pub(crate) const TO_KEY: &str = "vestibule-to";
/// Metadata of every call between nodes: which life of its data the caller lives, in hexadecimal.
pub(crate) const FROM_INCARNATION_KEY: &str = "vestibule-from-incarnation";
/// Metadata of a call between nodes: the life of its data that the one who is meant has to live, where that is known.
pub(crate) const TO_INCARNATION_KEY: &str = "vestibule-to-incarnation";
/// How long a peer may take to say what time it is, or how it is.
const LOOK_PATIENCE: Duration = Duration::from_millis(1_000);
/// How long a step of the controller may take: a membership is agreed on twice in it.
const STEP_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer may take to begin with the checkpoint that it is asked for. It makes a new one first, for which its own
/// log may have to catch up.
const FETCH_PATIENCE: Duration = Duration::from_secs(45);
/// How many deadlines a peer may owe the answer to an append: its disk may be slow, and what it has been sent would only
/// have to be sent again.
const APPEND_DEADLINES: u32 = 8;
/// Delays between attempts to reach a peer that cannot be reached.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200)];

/// Metadata of a refusal that is for good: the caller takes part no longer.
pub(crate) const SHUT_OUT_KEY: &str = "vestibule-shut-out";

fn hexadecimal(incarnation: u128) -> MetadataValue<Ascii> {
    format!("{incarnation:032x}").parse().expect("hexadecimal digits make metadata")
}

/// Connections to the peers of a node, shared by its groups.
pub struct Peers {
    cluster: MetadataValue<Ascii>,
    address: MetadataValue<Ascii>,
    roster: Arc<Roster>,
    connector: Arc<dyn Connector>,
    /// How long a peer may take to answer.
    deadline: Duration,
    channels: Mutex<BTreeMap<(NodeId, String, Lane), Channel>>,
    /// Members to whom no more of the log is to be sent on the stream that is open.
    broken_off: Mutex<BTreeSet<(GroupId, NodeId)>>,
    instruments: Arc<Instruments>,
}

/// Which of the two connections to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Appends,
    /// What is long or may wait: snapshots, and the controller's calls.
    Bulk,
}

impl Peers {
    /// Connections to the nodes of `roster`, which are of `cluster`, made as they are needed; for the node at `address`.
    pub(crate) fn new(
        cluster: &str,
        address: &str,
        roster: Arc<Roster>,
        connector: Arc<dyn Connector>,
        deadline: Duration,
    ) -> Result<Self, tonic::metadata::errors::InvalidMetadataValue> {
        let (channels, instruments) = (Mutex::default(), Arc::default());
        let (cluster, address) = (cluster.parse()?, address.parse()?);
        let broken_off = Mutex::default();
        Ok(Self { cluster, address, roster, connector, deadline, channels, broken_off, instruments })
    }

    /// Notes how long snapshots take.
    pub(crate) fn measured(self, instruments: Arc<Instruments>) -> Self {
        Self { instruments, ..self }
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Ends the stream on which a member of a group is sent the log, if there is one. openraft keeps all that is on its way on
    /// it; without it, it purges what it may, and sends a snapshot to whoever lacks that.
    pub(crate) fn break_off(&self, group: GroupId, to: NodeId) {
        self.broken_off.lock().expect("no holder of this lock panics").insert((group, to));
    }

    fn is_broken_off(&self, group: GroupId, to: NodeId) -> bool {
        self.broken_off.lock().expect("no holder of this lock panics").remove(&(group, to))
    }

    fn channel(&self, to: NodeId, address: &str, lane: Lane) -> Result<Channel, String> {
        let mut channels = self.channels.lock().expect("no holder of this lock panics");
        let key = (to, address.to_owned(), lane);
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let channel = self.connector.channel_to_node(to, address).map_err(|error| error.to_string())?;
        // A node that moved is not reached where it was.
        channels.retain(|(node, at, _), _| *node != to || at == address);
        channels.insert(key, channel.clone());
        Ok(channel)
    }

    fn peer(self: &Arc<Self>, group: GroupId, to: NodeId, address: String) -> Peer {
        Peer { peers: self.clone(), group, to, address, unopened: 0 }
    }

    /// What time it is at a node, in milliseconds since the Unix epoch.
    pub(crate) async fn ping(self: &Arc<Self>, node: NodeId, patience: Duration) -> Option<u64> {
        let peer = self.peer(GroupId::DIRECTORY, node, String::new());
        let mut client = peer.client(Lane::Appends).ok()?;
        let asked = client.ping(peer.request(v1::PingRequest {}));
        match tokio::time::timeout(patience, asked).await.ok()? {
            Ok(response) => Some(response.into_inner().now),
            Err(status) => {
                peer.note_refusal(&status);
                None
            }
        }
    }

    /// Says to a node which quiet groups this one leads, and hears the same of it: see [`crate::pacemaker`].
    pub(crate) async fn beat(self: &Arc<Self>, node: NodeId, request: v1::BeatRequest) -> Option<v1::BeatResponse> {
        let peer = self.peer(GroupId::DIRECTORY, node, String::new());
        let mut client = peer.client(Lane::Appends).ok()?;
        let asked = client.beat(peer.request(request));
        peer.within(asked).await.ok()
    }

    /// How a node is, and its groups.
    pub(crate) async fn status(self: &Arc<Self>, node: NodeId) -> Option<v1::StatusResponse> {
        let address = self.roster.address(node)?;
        let mut client = AccessClient::new(self.channel(node, &address, Lane::Bulk).ok()?);
        let asked = client.status(v1::StatusRequest {});
        let status = tokio::time::timeout(LOOK_PATIENCE, asked).await.ok()?.ok()?.into_inner();
        // Whoever else listens there now does not speak for the node; nor is one of another cluster of any use.
        (status.node == node && self.cluster == status.cluster).then_some(status)
    }

    /// Has a node take a step with a group.
    pub(crate) async fn change_group(
        self: &Arc<Self>,
        node: NodeId,
        group: GroupId,
        step: v1::change_group_request::Step,
    ) -> Result<(), String> {
        let peer = self.peer(group, node, String::new());
        let mut client = peer.client(Lane::Bulk).map_err(|error| error.to_string())?;
        let request = peer.request(v1::ChangeGroupRequest { group: group.0, step: Some(step) });
        match tokio::time::timeout(STEP_PATIENCE, client.change_group(request)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("no answer in the time given".to_owned()),
        }
    }

    /// Fetches the durable checkpoint of a group from a peer.
    pub(crate) async fn fetch_snapshot(
        self: &Arc<Self>,
        group: GroupId,
        from: NodeId,
        address: &str,
        purged: Option<u64>,
        checkpoints: &Checkpoints,
    ) -> Result<Received, Status> {
        let peer = self.peer(group, from, address.to_owned());
        let mut client = peer.client(Lane::Bulk).map_err(|error| Status::unavailable(error.to_string()))?;
        let request = peer.request(v1::FetchSnapshotRequest { group: group.0 });
        let opened = tokio::time::timeout(FETCH_PATIENCE, client.fetch_snapshot(request)).await;
        let silent = |_| Status::deadline_exceeded(format!("no checkpoint was begun in {FETCH_PATIENCE:?}"));
        let chunks = opened.map_err(silent)??.into_inner();
        let is_wanted = |found: GroupId, last: Option<LogId>| {
            if found != group {
                return Err(Status::internal(format!("{found} came for {group}")));
            }
            if last.map(|last| last.index) < purged {
                return Err(Status::unavailable("its checkpoint is older than what is left of the log here"));
            }
            Ok(())
        };
        snapshot::receive(checkpoints, chunks, is_wanted).await
    }

    /// The network of one group.
    pub fn network(self: &Arc<Self>, group: GroupId) -> GroupNetwork {
        GroupNetwork { peers: self.clone(), group }
    }
}

/// The network of one group, for openraft.
pub struct GroupNetwork {
    peers: Arc<Peers>,
    group: GroupId,
}

impl RaftNetworkFactory<TypeConfig> for GroupNetwork {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Peer {
        self.peers.peer(self.group, target, node.addr.clone())
    }
}

/// One peer in one group, for openraft.
pub struct Peer {
    peers: Arc<Peers>,
    group: GroupId,
    to: NodeId,
    /// Where the group's membership has it; the roster may know better.
    address: String,
    /// Append streams in a row that could not be opened.
    unopened: usize,
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

fn unreachable(reason: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::from_string(reason))
}

fn failed(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        tonic::Code::Unavailable
        | tonic::Code::Unimplemented
        | tonic::Code::PermissionDenied
        | tonic::Code::FailedPrecondition => unreachable(status.message()),
        _ => RPCError::Network(NetworkError::from_string(status.message())),
    }
}

/// What a peer says that votes for the one who asks: one planted bug puts it into the mouth of those who are silent.
fn granted(request: &VoteRequest<TypeConfig>) -> VoteResponse<TypeConfig> {
    VoteResponse { vote: request.vote, vote_granted: true, last_log_id: request.last_log_id }
}

impl Peer {
    fn client(&self, lane: Lane) -> Rpc<ConsensusClient<Channel>> {
        let address = self.peers.roster.address(self.to).unwrap_or_else(|| self.address.clone());
        let channel = self.peers.channel(self.to, &address, lane).map_err(unreachable)?;
        Ok(ConsensusClient::new(channel)
            .max_decoding_message_size(MESSAGE_LEN_MAX)
            .max_encoding_message_size(MESSAGE_LEN_MAX))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(CLUSTER_KEY, self.peers.cluster.clone());
        metadata.insert(FROM_KEY, self.peers.roster.own().into());
        metadata.insert(FROM_ADDRESS_KEY, self.peers.address.clone());
        metadata.insert(TO_KEY, self.to.into());
        metadata.insert(FROM_INCARNATION_KEY, hexadecimal(self.peers.roster.incarnation()));
        if let Some(incarnation) = self.peers.roster.registered(self.to) {
            metadata.insert(TO_INCARNATION_KEY, hexadecimal(incarnation));
        }
        request
    }

    /// Some refusals are for good, and about this node.
    fn note_refusal(&self, status: &Status) {
        if let Some(reason) = status.metadata().get(SHUT_OUT_KEY).map(|_| status.message()) {
            self.peers.roster.shut(format!("node {} refuses this one: {reason}", self.to));
        }
    }

    async fn within<T>(&self, call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Rpc<T> {
        match tokio::time::timeout(self.peers.deadline, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                self.note_refusal(&status);
                Err(failed(&status))
            }
            Err(_) => Err(unreachable(format!("node {} gave no answer in {:?}", self.to, self.peers.deadline))),
        }
    }

    async fn open_append<S>(&self, input: S) -> Rpc<BoxStream<'static, Rpc<StreamAppendResult<TypeConfig>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let sent = Arc::new(Sent::default());
        let (group, to, peers) = (self.group, self.to, self.peers.clone());
        // What was said of an earlier stream does not hold for this one.
        peers.is_broken_off(group, to);
        let noted = sent.clone();
        let outbound = input.scan(LastSent::default(), move |last, request| {
            let is_over = last.is_stuck_with(&request) || peers.is_broken_off(group, to);
            match is_over {
                true => noted.is_broken_off.store(true, Ordering::Relaxed),
                false => drop(noted.count.fetch_add(1, Ordering::Relaxed)),
            }
            std::future::ready((!is_over).then(|| convert::append_out(group, &request)))
        });
        let mut client = self.client(Lane::Appends)?;
        let answers = self.within(client.append(self.request(outbound))).await?;
        let deadline = self.peers.deadline * APPEND_DEADLINES;
        let watched = Answers { inbound: answers, sent, received: 0, to: self.to, deadline, done: false };
        Ok(futures::stream::unfold(watched, Answers::next).boxed())
    }

    async fn stream_snapshot(&self, vote: Vote, snapshot: Snapshot) -> Result<SnapshotResponse<TypeConfig>, Status> {
        let SnapshotHandle::Own(own) = snapshot.snapshot else {
            return Err(Status::internal("a snapshot that is being received cannot be sent on"));
        };
        let reading = own.open().await.map_err(|error| Status::unavailable(error.to_string()))?;
        // What is sent may be newer than what was asked for, and says so.
        let header = snapshot::header(self.group, Some(&vote), reading.meta());
        let (chunks, outbound) = tokio::sync::mpsc::channel(2);
        let feed = async move { snapshot::send(reading, header, &chunks).await };
        let mut client = self.client(Lane::Bulk).map_err(|error| Status::unavailable(error.to_string()))?;
        let outbound = tokio_stream::wrappers::ReceiverStream::new(outbound);
        let (fed, answer) = tokio::join!(feed, client.install_snapshot(self.request(outbound)));
        // What the receiver says explains more than that it has gone.
        let answer = answer?.into_inner();
        fed?;
        Ok(SnapshotResponse::new(convert::vote_in(answer.vote)?))
    }
}

/// What went out on an append stream.
#[derive(Default)]
struct Sent {
    count: AtomicU64,
    /// Whether it was broken off: because it said the same again and again, or because the log grew meanwhile.
    is_broken_off: AtomicBool,
}

/// The last request of an append stream, as far as it tells whether the stream gets anywhere.
#[derive(Default)]
struct LastSent(Option<(Option<LogId>, Option<LogId>)>);

impl LastSent {
    /// Whether a request says what the last one said, which had no entries either. openraft does so without end where the
    /// entries that are due have been purged: only an error has it send a snapshot.
    fn is_stuck_with(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let says = request.entries.is_empty().then_some((request.prev_log_id, request.leader_commit));
        let is_stuck = says.is_some() && self.0 == says;
        self.0 = says;
        is_stuck
    }
}

/// The answers on an append stream, with an eye on whether any is overdue.
struct Answers {
    inbound: tonic::Streaming<v1::AppendResponse>,
    sent: Arc<Sent>,
    received: u64,
    to: NodeId,
    deadline: Duration,
    done: bool,
}

impl Answers {
    async fn next(mut self) -> Option<(Rpc<StreamAppendResult<TypeConfig>>, Self)> {
        if self.done {
            return None;
        }
        let mut owed_before = false;
        loop {
            let answer = tokio::time::timeout(self.deadline, self.inbound.next()).await;
            // Whatever else comes back: a member that is slow to take it is slow to answer.
            if self.sent.is_broken_off.load(Ordering::Relaxed) {
                self.done = true;
                let reason = format!("node {} is not sent what the log no longer holds, or is not to hold", self.to);
                return Some((Err(unreachable(reason)), self));
            }
            match answer {
                Ok(None) => return None,
                Ok(Some(Ok(response))) => {
                    self.received += 1;
                    let result = convert::append_result_in(response).map_err(|status| failed(&status));
                    self.done = result.is_err();
                    return Some((result, self));
                }
                Ok(Some(Err(status))) => {
                    self.done = true;
                    return Some((Err(failed(&status)), self));
                }
                Err(_) => {
                    // An answer that was owed through the whole of a deadline is overdue.
                    if owed_before {
                        self.done = true;
                        let reason = format!("node {} owes an answer for {:?}", self.to, self.deadline);
                        return Some((Err(unreachable(reason)), self));
                    }
                    owed_before = self.sent.count.load(Ordering::Relaxed) > self.received;
                }
            }
        }
    }
}

impl NetStreamAppend<TypeConfig> for Peer {
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let opened = self.open_append(input).await;
            if opened.is_ok() {
                self.unopened = 0;
            } else {
                // openraft takes its breaks between requests, and of a stream that was not opened it makes none: where
                // connections are refused at once it would try as fast as it can.
                let pause = BACKOFF[self.unopened.min(BACKOFF.len() - 1)];
                self.unopened += 1;
                tokio::time::sleep(pause).await;
            }
            let answers = opened?;
            Ok(answers as BoxStream<'s, _>)
        })
    }
}

impl NetVote<TypeConfig> for Peer {
    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, _option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let mut client = self.client(Lane::Appends)?;
        let request = self.request(convert::vote_request_out(self.group, &rpc));
        let response = match self.within(client.vote(request)).await {
            Err(_) if planted::is(Bug::HalfQuorum) => return Ok(granted(&rpc)),
            other => other?,
        };
        convert::vote_response_in(response).map_err(|status| failed(&status))
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, _option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        let mut client = self.client(Lane::Appends)?;
        let request = self.request(convert::vote_request_out(self.group, &rpc));
        let response = match self.within(client.pre_vote(request)).await {
            Err(_) if planted::is(Bug::HalfQuorum) => return Ok(granted(&rpc)),
            other => other?,
        };
        convert::vote_response_in(response).map_err(|status| failed(&status))
    }
}

impl NetSnapshot<TypeConfig> for Peer {
    type SnapshotData = SnapshotHandle;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let begun = Instant::now();
        let limit = option.hard_ttl();
        let late = || Status::deadline_exceeded(format!("the snapshot was not installed within {limit:?}"));
        let streamed = tokio::time::timeout(limit, self.stream_snapshot(vote, snapshot));
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            result = streamed => {
                let result = result.unwrap_or_else(|_| Err(late()));
                let instruments = &self.peers.instruments;
                instruments.transferred(&instruments.snapshot_send, begun, &result);
                result.map_err(|status| StreamingError::from(failed(&status)))
            }
        }
    }
}

impl NetTransferLeader<TypeConfig> for Peer {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let mut client = self.client(Lane::Appends)?;
        let request = self.request(convert::transfer_out(self.group, &request));
        let response = self.within(client.transfer_leader(request)).await?;
        if response.refusal.is_empty() { Ok(Ok(())) } else { Err(unreachable(response.refusal)) }
    }
}

impl NetBackoff<TypeConfig> for Peer {
    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF[BACKOFF.len() - 1];
        Some(Backoff::new(BACKOFF.into_iter().chain(std::iter::repeat(last))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::to_log_id;
    use crate::wal::LogPosition;

    #[test]
    fn a_stream_that_says_the_same_again_without_entries_is_stuck() {
        let at = |index| Some(to_log_id(LogPosition { term: 1, node: 1, index }));
        let request = |prev_log_id, leader_commit| AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id,
            entries: Vec::new(),
            leader_commit,
        };
        let mut last = LastSent::default();
        assert!(!last.is_stuck_with(&request(None, None)));
        assert!(last.is_stuck_with(&request(None, None)));
        assert!(!last.is_stuck_with(&request(at(7), at(5))), "from elsewhere");
        assert!(!last.is_stuck_with(&request(at(7), at(6))), "more is agreed on");
        assert!(last.is_stuck_with(&request(at(7), at(6))));
    }
}

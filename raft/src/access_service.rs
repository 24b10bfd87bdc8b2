//! What a node answers to gateways and tools.

use crate::checkpoint::Reading;
use crate::clock_watch::Distrust;
use crate::convert;
use crate::group::{Group, Groups, Unproposed};
use crate::hosting::Host;
use crate::machine;
use crate::metrics::Instruments;
use crate::roster::Known;
use crate::snapshot;
use crate::steps;
use crate::tls::Guard;
use crate::types::{LogId, NodeId};
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::{Instant as _, ReadPolicy};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{GroupId, Reply, codec};
use vestibule_proto::v1;
use vestibule_proto::v1::access_server::Access;
use vestibule_proto::v1::failure::Kind;
use vestibule_sync::proposal_queue::Asker;

/// Requests of one session that may be under way at once.
const SESSION_LEN_MAX: usize = 16_384;
/// Bytes of those requests after which no further one is taken.
const SESSION_BYTES_MAX: usize = 256 << 20;
/// Answers of a session that may wait for the network.
const ANSWERS_MAX: usize = 1_024;
/// The longest a request may be worked on, whatever patience its sender has.
const PATIENCE_MAX: Duration = Duration::from_secs(30);
/// The longest request id that is written to the log.
const REQUEST_ID_LEN_MAX: usize = 64;
/// Events in one message of a watch.
const EVENTS_MAX: usize = 512;
/// How long the reader of a watch may keep this node waiting before it is cut off.
const READER_PATIENCE: Duration = Duration::from_secs(5);

/// How long ago the leader of a group may have been heard of by a replica that answers queries which need not be
/// linearizable: nobody is told for longer than that what others know to be past.
const TOUCH_MAX: Duration = Duration::from_secs(5);
/// How long a backup of a group may take to begin.
const BACKUP_PATIENCE: Duration = Duration::from_secs(30);
/// How long to leave a checkpoint to its readers before looking again.
const PINNED_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct AccessService {
    pub(crate) host: Host,
    pub(crate) guard: Guard,
    /// Sessions so far.
    pub(crate) sessions: AtomicU64,
    /// What keeps the controller of this node from going on.
    pub(crate) obstacles: watch::Receiver<Vec<String>>,
}

fn failure(kind: Kind, detail: impl Into<String>) -> v1::Failure {
    v1::Failure { kind: kind.into(), detail: detail.into(), ..v1::Failure::default() }
}

fn not_leader(leader: Option<(NodeId, String)>) -> v1::Failure {
    let (leader, leader_address) = leader.unwrap_or_default();
    v1::Failure { leader, leader_address, ..failure(Kind::NotLeader, "this node does not lead the group") }
}

type Answered = Result<(Vec<u8>, v1::Position), v1::Failure>;

fn position(id: &LogId) -> v1::Position {
    v1::Position { term: id.leader_id.term, index: id.index }
}

/// Has the group apply a command, and notes what came of it.
async fn propose(group: &Group, command: bytes::Bytes, asked: &Asked, limits: &Limits) -> Answered {
    let proposed = try_propose(group, command, asked.patience, limits).await;
    let outcome = proposed.as_ref().map(|(reply, _)| &reply.result).map_err(v1::Failure::kind);
    let result = limits.instruments.proposed(outcome);
    let (request, group) = (&*asked.request_id, group.id);
    match &proposed {
        Ok((reply, at)) => {
            let (term, index, replayed) = (at.leader_id.term, at.index, reply.replayed);
            tracing::debug!(request, %group, result, term, index, replayed, "a command was applied");
        }
        Err(failure) => tracing::debug!(request, %group, result, reason = failure.detail, "a command was not applied"),
    }
    proposed.map(|(reply, log_id)| (codec::encode(&reply), position(&log_id)))
}

async fn try_propose(
    group: &Group,
    command: bytes::Bytes,
    patience: Duration,
    limits: &Limits,
) -> Result<(Reply, LogId), v1::Failure> {
    if command.len() > limits.command_len_max {
        let (len, len_max) = (command.len(), limits.command_len_max);
        let detail = format!("the command has {len} bytes, and the log takes {len_max} at most");
        return Err(failure(Kind::TooLarge, detail));
    }
    let is_for_operators =
        machine::check_envelope(group.id, &command).map_err(|error| failure(Kind::Malformed, error.to_string()))?;
    if is_for_operators && !limits.may_change_cluster {
        return Err(failure(Kind::Forbidden, "only nodes and operators change the cluster itself"));
    }
    if !group.is_leader() {
        return Err(not_leader(group.leader()));
    }
    let explain = |why: Unproposed| match why {
        Unproposed::NotLeader(leader) => not_leader(leader),
        Unproposed::NoTime(Distrust::Wild) => failure(Kind::Unavailable, "the clock of this node is off"),
        Unproposed::NoTime(Distrust::Unjudged) => {
            failure(Kind::Unavailable, "the clock of this node has not been held against those of the others yet")
        }
        Unproposed::DiskFull => failure(Kind::DiskFull, format!("the disk of node {} is full", group.node)),
        Unproposed::Overloaded => failure(Kind::Overloaded, "the group's queue is full"),
        Unproposed::Unknown(detail) => failure(Kind::UnknownOutcome, detail),
    };
    let answered = group.propose_for(limits.asker, command).map_err(explain)?;
    match tokio::time::timeout(patience, answered).await {
        Ok(Ok(Ok(applied))) => Ok(applied),
        Ok(Ok(Err(why))) => Err(explain(why)),
        Ok(Err(_)) => Err(failure(Kind::UnknownOutcome, "the node is stopping")),
        Err(_) => Err(failure(Kind::UnknownOutcome, "no reply in the time given")),
    }
}

async fn query(group: &Group, query: v1::Query, patience: Duration) -> Answered {
    let unavailable = |detail: String| failure(Kind::Unavailable, detail);
    match query.consistency {
        Some(v1::query::Consistency::Linearizable(true)) if planted::is(Bug::ReadWithoutIndex) => {}
        Some(v1::query::Consistency::Linearizable(true)) => {
            let confirmed = tokio::time::timeout(patience, group.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
            match confirmed {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.forward_to_leader().is_some() => return Err(not_leader(group.leader())),
                Ok(Err(error)) => return Err(unavailable(error.to_string())),
                Err(_) => return Err(unavailable("leadership was not confirmed in the time given".to_owned())),
            }
        }
        Some(v1::query::Consistency::AppliedMin(_)) if !group.is_in_touch(TOUCH_MAX) => {
            return Err(unavailable(format!("node {} has not heard of a leader for {TOUCH_MAX:?}", group.node)));
        }
        Some(v1::query::Consistency::AppliedMin(_)) if group.log.is_out_of_room() && !group.is_leader() => {
            return Err(unavailable(format!("node {} has no room for new entries, and falls behind", group.node)));
        }
        Some(v1::query::Consistency::AppliedMin(index)) if index > 0 => {
            let mut progress = group.state.watch();
            let reached = tokio::time::timeout(patience, progress.wait_for(|now| now.next_index > index)).await;
            if !matches!(reached, Ok(Ok(_))) {
                return Err(unavailable(format!("entry {index} was not applied here in the time given")));
            }
        }
        Some(_) => {}
        None => return Err(failure(Kind::Malformed, "a query must say how fresh its answer has to be")),
    }
    let (answer, at) = group.state.query(&query.query).map_err(|error| failure(Kind::Malformed, error))?;
    Ok((answer, v1::Position { term: at.term, index: at.next_index.saturating_sub(1) }))
}

/// What every request brings along.
struct Asked {
    patience: Duration,
    /// The id that the HTTP request has in the gateway's log, if it makes sense in ours.
    request_id: String,
}

/// What bounds requests, and where they are counted.
#[derive(Clone)]
struct Limits {
    /// The session, as which all its commands share a turn at the proposers.
    asker: Asker,
    /// Whether its commands may change the cluster itself.
    may_change_cluster: bool,
    command_len_max: usize,
    instruments: Arc<Instruments>,
}

impl Asked {
    fn of(request: &mut v1::Request) -> Self {
        let mut request_id = std::mem::take(&mut request.request_id);
        // A log is no place for whatever somebody sends.
        if request_id.len() > REQUEST_ID_LEN_MAX || !request_id.chars().all(|c| c.is_ascii_graphic()) {
            request_id.clear();
        }
        Self { patience: Duration::from_millis(request.patience_ms.into()).min(PATIENCE_MAX), request_id }
    }
}

async fn serve(groups: &Groups, mut request: v1::Request, limits: &Limits) -> v1::Response {
    let asked = Asked::of(&mut request);
    let answered = match groups.get(GroupId(request.group)) {
        Err(status) => Err(failure(Kind::NoSuchGroup, status.message())),
        Ok(group) => match request.body {
            Some(v1::request::Body::Propose(command)) => propose(&group, command, &asked, limits).await,
            Some(v1::request::Body::Query(body)) => query(&group, body, asked.patience).await,
            None => Err(failure(Kind::Malformed, "the request is empty")),
        },
    };
    if let Err(failure) = &answered {
        let (kind, reason) = (failure.kind().as_str_name(), &failure.detail);
        tracing::debug!(request = asked.request_id, group = request.group, kind, reason, "a request failed");
    }
    match answered {
        Ok((answer, position)) => v1::Response {
            id: request.id,
            body: Some(v1::response::Body::Answer(answer.into())),
            position: Some(position),
        },
        Err(failure) => {
            v1::Response { id: request.id, body: Some(v1::response::Body::Failure(failure)), position: None }
        }
    }
}

#[tonic::async_trait]
impl Access for AccessService {
    type SessionStream = ReceiverStream<Result<v1::Response, Status>>;
    type WatchStream = BoxStream<'static, Result<v1::WatchItem, Status>>;
    type BackupStream = BoxStream<'static, Result<v1::SnapshotChunk, Status>>;

    async fn session(&self, request: Request<Streaming<v1::Request>>) -> Result<Response<Self::SessionStream>, Status> {
        let may_change_cluster = self.guard.may_change_cluster(&request);
        let mut inbound = request.into_inner();
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        let groups = self.host.groups.clone();
        let asker = Asker(self.sessions.fetch_add(1, Ordering::Relaxed) + 1);
        let command_len_max = self.host.wal.entry_len_max() - 64;
        let instruments = self.host.instruments.clone();
        let limits = Limits { asker, may_change_cluster, command_len_max, instruments };
        let mut stop = self.host.stop.clone();
        tokio::spawn(async move {
            let mut under_way = FuturesUnordered::new();
            let (mut open, mut bytes) = (true, 0);
            while open || !under_way.is_empty() {
                tokio::select! {
                    // Refusals wait for the network, too: without room for one, nothing more is read.
                    message = inbound.message(), if open && under_way.len() < SESSION_LEN_MAX + ANSWERS_MAX => match message {
                        Ok(Some(request)) if under_way.len() < SESSION_LEN_MAX && bytes < SESSION_BYTES_MAX => {
                            let groups = groups.clone();
                            let limits = limits.clone();
                            let len = request.encoded_len();
                            bytes += len;
                            let served = async move { (len, serve(&groups, request, &limits).await) };
                            under_way.push(served.boxed());
                        }
                        Ok(Some(request)) => {
                            let refused = failure(Kind::Overloaded, "too many requests of this session are under way");
                            let body = Some(v1::response::Body::Failure(refused));
                            let response = v1::Response { id: request.id, body, position: None };
                            under_way.push(async move { (0, response) }.boxed());
                        }
                        _ => open = false,
                    },
                    () = stop.stopped() => return,
                    // Whoever asked has gone: what has not been proposed yet never will be.
                    () = answers.closed() => return,
                    Some((len, response)) = under_way.next() => {
                        bytes -= len;
                        if answers.send(Ok(response)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let id = GroupId(request.group);
        // Not the group itself: a reader must not keep alive what is given up.
        let (state, mut given_up) = {
            let group = self.host.groups.get(id)?;
            (group.state.clone(), group.given_up())
        };
        let (items, outbound) = mpsc::channel(4);
        let mut stop = self.host.stop.clone();
        let instruments = self.host.instruments.clone();
        let (end, ended) = oneshot::channel();
        tokio::spawn(async move {
            let mut progress = state.watch();
            let mut next = request.from.max(1);
            loop {
                let last_sequence = progress.borrow_and_update().last_sequence;
                if last_sequence < next {
                    tokio::select! {
                        changed = progress.changed() => if changed.is_err() { return },
                        () = given_up.stopped() => {
                            let reason = format!("{id} is hosted here no longer: watch it on another node");
                            let _ = end.send(Status::unavailable(reason));
                            return;
                        }
                        () = stop.stopped() => return,
                        () = items.closed() => return,
                    }
                    continue;
                }
                let body = match state.events(next, EVENTS_MAX) {
                    Ok(mut records) => {
                        next += records.len() as u64;
                        if planted::is(Bug::SkipEvent) && next.is_multiple_of(8) {
                            records.remove(0);
                        }
                        v1::watch_item::Body::Events(v1::Events { records, last_sequence })
                    }
                    Err(oldest) => v1::watch_item::Body::Oldest(oldest),
                };
                let is_end = matches!(body, v1::watch_item::Body::Oldest(_));
                let item = v1::WatchItem { body: Some(body) };
                match tokio::time::timeout(READER_PATIENCE, items.send(Ok(item))).await {
                    Ok(Ok(())) if !is_end => {}
                    // Gone, or told to begin anew.
                    Ok(_) => return,
                    // Nothing is kept for it but what is on its way: it resumes behind the last event that arrives.
                    Err(_) => {
                        instruments.watches_cut_off.fetch_add(1, Ordering::Relaxed);
                        let reason =
                            format!("nothing was read for {READER_PATIENCE:?}: watch again from where you are");
                        let _ = end.send(Status::resource_exhausted(reason));
                        return;
                    }
                }
            }
        });
        let last = futures::stream::once(ended).filter_map(|status| async { status.ok().map(Err) });
        Ok(Response::new(ReceiverStream::new(outbound).chain(last).boxed()))
    }

    async fn backup(&self, request: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        self.guard.check_operator(&request)?;
        let group = self.host.groups.get(GroupId(request.into_inner().group))?;
        let confirmed =
            tokio::time::timeout(BACKUP_PATIENCE, group.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
        match confirmed {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Status::failed_precondition(error.to_string())),
            Err(_) => return Err(Status::unavailable("leadership was not confirmed in time")),
        }
        let reading = self.checkpoint_from(&group).await?;
        let header = snapshot::header(group.id, None, reading.meta());
        let (chunks, outbound) = mpsc::channel(2);
        let (id, instruments) = (group.id, self.host.instruments.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let sent = snapshot::send(reading, header, &chunks).await;
            instruments.transferred(&instruments.snapshot_send, begun, &sent);
            if let Err(status) = sent {
                tracing::info!(group = %id, %status, "a backup did not come to its end");
            }
        });
        Ok(Response::new(ReceiverStream::new(outbound).map(Ok).boxed()))
    }

    async fn status(&self, _request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let host = &self.host;
        let groups = host.groups.all().iter().map(|group| self.group_status(group)).collect();
        let member = |(node, known): (NodeId, Known)| v1::Member {
            node,
            address: known.address,
            state: known.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        };
        let clock = host.clock_watch.verdict();
        Ok(Response::new(v1::StatusResponse {
            node: host.config.id,
            cluster: host.config.cluster.clone(),
            groups,
            members: host.roster.all().into_iter().map(member).collect(),
            incarnation: format!("{:032x}", host.roster.incarnation()),
            clock_ahead_ms: clock.ahead_ms,
            clock_is_wild: clock.is_wild,
            obstacles: self.obstacles.borrow().clone(),
            disk_full: *host.wal.watch_full().borrow(),
            log_sync_micros: host.wal.stats().sync_mean_nanos / 1_000,
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::HandOverRequest>,
    ) -> Result<Response<v1::HandOverResponse>, Status> {
        self.guard.check_operator(&request)?;
        let request = request.into_inner();
        let group = self.host.groups.get(GroupId(request.group))?;
        steps::transfer(&group, request.to).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(v1::HandOverResponse {}))
    }
}

impl AccessService {
    /// The group's checkpoint with everything that it has applied by now. One that is being read stays as it is, so
    /// that an older one may have to be waited for.
    async fn checkpoint_from(&self, group: &Group) -> Result<Reading, Status> {
        let failed = |error: std::io::Error| Status::internal(error.to_string());
        let wanted = group.state.progress().next_index;
        let deadline = Instant::now() + BACKUP_PATIENCE;
        loop {
            self.host.checkpoints.save(group.id).await.map_err(failed)?;
            let reading = self.host.checkpoints.begin_read(group.id).await.map_err(failed)?;
            if reading.meta().last.map_or(0, |last| last.index + 1) >= wanted {
                return Ok(reading);
            }
            drop(reading);
            if Instant::now() > deadline {
                return Err(Status::unavailable("an older checkpoint of the group is still being read"));
            }
            tokio::time::sleep(PINNED_PAUSE).await;
        }
    }

    fn group_status(&self, group: &Group) -> v1::GroupStatus {
        let metrics = group.raft.metrics().borrow_watched().clone();
        let stored = &metrics.membership_config;
        let membership = stored.membership();
        let progress = group.state.progress();
        let heard = metrics.heartbeat.unwrap_or_default();
        let agreed_ago = group.rest.agreed_ago(Instant::now());
        let follower = |(node, matched): (u64, Option<LogId>)| v1::Follower {
            node,
            matched_index: matched.map_or(0, |matched| matched.index),
            silent_ms: heard
                .get(&node)
                .copied()
                .flatten()
                .map(|heard| heard.elapsed())
                .into_iter()
                .chain(agreed_ago)
                .min()
                .map_or(u64::MAX, |silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
        };
        v1::GroupStatus {
            group: group.id.0,
            leader: metrics.current_leader.unwrap_or(0),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: progress.next_index.saturating_sub(1),
            last_sequence: progress.last_sequence,
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            purged_index: metrics.purged.map_or(0, |purged| purged.index),
            checkpointed_index: self.host.checkpoints.saved_next_index(group.id).saturating_sub(1),
            is_formed: group.is_forming() || metrics.last_log_index.is_some() || metrics.current_term > 0,
            membership: stored.log_id().as_ref().map(convert::log_id_out),
            is_joint: membership.get_joint_config().len() > 1,
            followers: metrics.replication.unwrap_or_default().into_iter().map(follower).collect(),
        }
    }
}

//! The way in from outside: a client of the whole cluster, used by gateways and tools.

mod group_backup;
mod members;
mod reading;
mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use group_backup::GroupBackup;

use crate::seams::Connector;
use crate::transport::MESSAGE_LEN_MAX;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use group_backup::BACKUP_PATIENCE;
use members::follow_members;
use reading::ReadPoint;
use session::{SESSION_TIMEOUT, Session, SessionError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use vestibule_engine::{Envelope, EventRecord, GroupId, Reply, Sequence, StateMachine, codec};
use vestibule_proto::v1;
use vestibule_proto::v1::access_client::AccessClient;
use vestibule_proto::v1::failure::Kind;

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

tokio::task_local! {
    /// The id of the request that this task works on.
    static REQUEST_ID: Arc<str>;
}

/// Works on the request that the logs of the gateway know by `id`: what is asked of a cluster meanwhile carries the id, so
/// that the logs of the nodes know it by the same.
pub async fn on_behalf_of<F: Future>(id: Arc<str>, work: F) -> F::Output {
    REQUEST_ID.scope(id, work).await
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
    /// From any replica that has applied at least this index; 0 takes what is there. Answers of one [`Cluster`] to such
    /// queries never go back in time, nor behind what it was told as of now, nor behind the replies to its own commands,
    /// whichever replica gives them.
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
    /// Nothing was done: the disk of the node that leads the group is full, and no other took over in the time given.
    #[error("group {0} has no room left on its disk")]
    DiskFull(GroupId),
    /// The command may yet take effect: ask again under the same request id.
    #[error("group {0} gave no answer in time; the command may take effect yet")]
    UnknownOutcome(GroupId),
    /// Nothing was done: the command is longer than the log takes.
    #[error("the request is too large: {0}")]
    TooLarge(String),
    /// Nothing was done: the asker's certificate does not let it give this command.
    #[error("the command is forbidden: {0}")]
    Forbidden(String),
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

/// The cluster over gRPC: one session a node, made when it is first needed.
pub struct GrpcCluster {
    /// The addresses that were given. One may be a name for several nodes, so that no node calls it its own.
    given: Vec<String>,
    /// Addresses of nodes: those that were given, and those that the nodes named since.
    seeds: Mutex<Vec<String>>,
    /// The entry of the directory as of which members were last taken over.
    members_as_of: AtomicU64,
    connector: Arc<dyn Connector>,
    sessions: Mutex<BTreeMap<String, Session>>,
    /// Where each group's leader was last seen.
    leaders: Mutex<BTreeMap<GroupId, String>>,
    /// The group whose leader was found last, after it had to be looked for.
    found: watch::Sender<GroupId>,
    /// Where each group is read.
    readings: Mutex<BTreeMap<GroupId, ReadPoint>>,
    turn: AtomicUsize,
}

/// Sessions to nodes that were not named as seeds but met as leaders.
const SESSIONS_MAX: usize = 256;
/// How long one attempt to have a command applied may take before another node is tried.
const ATTEMPT_MAX: Duration = Duration::from_millis(2_000);
/// The same for a query, which is asked again without harm. Who waits 2 s for an answer has time to be told by a second
/// and a third node, also when the first is silent without a word.
const QUERY_ATTEMPT_MAX: Duration = Duration::from_millis(500);
/// Pauses between attempts: doubling from the first to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LAST: Duration = Duration::from_millis(160);
/// How many different pauses are made of one.
const TURNS: usize = 8;
/// What one attempt to have a request served came to.
enum Attempt {
    Answered(Vec<u8>, Position),
    Failed(v1::Failure),
    NotSent,
    Lost,
}

impl GrpcCluster {
    /// The cluster that the nodes at `seeds` (host and port) belong to. While it lives it follows which nodes there are.
    pub fn new(seeds: Vec<String>, connector: Arc<dyn Connector>) -> Arc<Self> {
        let cluster = Arc::new(Self {
            given: seeds.clone(),
            seeds: Mutex::new(seeds),
            members_as_of: AtomicU64::new(0),
            connector,
            sessions: Mutex::default(),
            leaders: Mutex::default(),
            found: watch::Sender::new(GroupId::DIRECTORY),
            readings: Mutex::default(),
            turn: AtomicUsize::new(0),
        });
        tokio::spawn(follow_members(Arc::downgrade(&cluster)));
        cluster
    }

    /// What a node says of itself and of its groups.
    pub async fn status(&self, address: &str, patience: Duration) -> Result<v1::StatusResponse, tonic::Status> {
        let channel =
            self.connector.channel(address).map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
        let mut client = AccessClient::new(channel);
        let status = tokio::time::timeout(patience, client.status(v1::StatusRequest {})).await;
        Ok(status.map_err(|_| tonic::Status::deadline_exceeded("the node gave no answer in time"))??.into_inner())
    }

    /// Begins to take the whole state of a group from the node that leads it: encoded rows in key order, and the position
    /// that they stand at.
    pub async fn backup(&self, group: GroupId) -> Result<GroupBackup, tonic::Status> {
        let mut last = tonic::Status::unavailable(format!("no node says who leads {group}"));
        for address in self.leader_addresses(group).await {
            let channel =
                self.connector.channel(&address).map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
            let mut client = AccessClient::new(channel).max_decoding_message_size(MESSAGE_LEN_MAX);
            let opened =
                tokio::time::timeout(BACKUP_PATIENCE, client.backup(v1::BackupRequest { group: group.0 })).await;
            match opened {
                Ok(Ok(stream)) => return GroupBackup::open(group, stream.into_inner()).await,
                Ok(Err(status)) => last = status,
                Err(_) => last = tonic::Status::deadline_exceeded(format!("{address} gave no answer in time")),
            }
        }
        Err(last)
    }

    /// Addresses of those who lead a group, according to the nodes it was told of.
    async fn leader_addresses(&self, group: GroupId) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for seed in self.seeds() {
            let Ok(status) = self.status(&seed, SESSION_TIMEOUT).await else { continue };
            let leader = status.groups.iter().find(|entry| entry.group == group.0).map_or(0, |entry| entry.leader);
            let address = status.members.iter().find(|member| member.node == leader).map(|member| &member.address);
            found.extend(address.filter(|address| !found.contains(address)).cloned());
        }
        found
    }

    /// Has the node at `address`, which leads the group, hand that to another.
    pub async fn transfer_leader(
        &self,
        address: &str,
        group: GroupId,
        to: u64,
        patience: Duration,
    ) -> Result<(), tonic::Status> {
        let channel =
            self.connector.channel(address).map_err(|error| tonic::Status::invalid_argument(error.to_string()))?;
        let mut client = AccessClient::new(channel);
        let asked = client.transfer_leader(v1::HandOverRequest { group: group.0, to });
        let answered = tokio::time::timeout(patience, asked).await;
        answered.map_err(|_| tonic::Status::deadline_exceeded("the node gave no answer in time"))?.map(drop)
    }

    fn session(&self, address: &str) -> Option<Session> {
        let mut sessions = lock(&self.sessions);
        if let Some(session) = sessions.get(address) {
            return Some(session.clone());
        }
        if sessions.len() >= SESSIONS_MAX {
            return None;
        }
        let session = Session::start(self.connector.channel(address).ok()?);
        sessions.insert(address.to_owned(), session.clone());
        Some(session)
    }

    fn leader(&self, group: GroupId) -> Option<String> {
        lock(&self.leaders).get(&group).cloned()
    }

    fn note_leader(&self, group: GroupId, address: Option<String>) {
        let mut leaders = lock(&self.leaders);
        match address {
            Some(address) => leaders.insert(group, address),
            None => leaders.remove(&group),
        };
    }

    async fn attempt(&self, address: &str, group: GroupId, body: v1::request::Body, patience: Duration) -> Attempt {
        let Some(session) = self.session(address) else { return Attempt::NotSent };
        // The node gives up a little earlier, so that its answer arrives in time.
        let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let request_id = REQUEST_ID.try_with(|id| id.to_string()).unwrap_or_default();
        let request = v1::Request { id: 0, group: group.0, patience_ms, request_id, body: Some(body) };
        match session.ask(request, patience + Duration::from_millis(100)).await {
            Err(SessionError::NotSent) => Attempt::NotSent,
            Err(SessionError::Lost) => Attempt::Lost,
            Ok(response) => match response.body {
                Some(v1::response::Body::Answer(answer)) => {
                    let position = response.position.unwrap_or_default();
                    Attempt::Answered(answer.into(), Position { term: position.term, index: position.index })
                }
                Some(v1::response::Body::Failure(failure)) => Attempt::Failed(failure),
                None => Attempt::Lost,
            },
        }
    }

    /// Sends a request to the group's leader until it is answered, refused for good, or `patience` is at its end.
    async fn ask_leader(
        &self,
        group: GroupId,
        body: v1::request::Body,
        patience: Duration,
    ) -> Result<(Vec<u8>, Position), Unanswered> {
        let deadline = Instant::now() + patience;
        let attempt_max = match &body {
            v1::request::Body::Query(_) => QUERY_ATTEMPT_MAX,
            v1::request::Body::Propose(_) => ATTEMPT_MAX,
        };
        let mut pause = PAUSE_FIRST;
        let (mut lost, mut full, mut has_rested) = (false, false, false);
        let mut seed = self.next_seed();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(match (lost, full) {
                    (true, _) => Unanswered::Lost,
                    (false, true) => Unanswered::DiskFull,
                    (false, false) => Unanswered::NoLeader,
                });
            }
            let known = self.leader(group);
            let address = known.clone().unwrap_or_else(|| {
                seed = self.seed_after(&seed);
                seed.clone()
            });
            match self.attempt(&address, group, body.clone(), left.min(attempt_max)).await {
                Attempt::Answered(answer, position) => {
                    if known.is_none() {
                        self.note_leader(group, Some(address));
                    }
                    if has_rested {
                        self.found.send_replace(group);
                    }
                    return Ok((answer, position));
                }
                Attempt::Failed(failure) => match failure.kind() {
                    // An earlier attempt may take effect yet: that this one will not says nothing of it.
                    Kind::Overloaded if !lost => return Err(Unanswered::Overloaded),
                    Kind::Malformed if !lost => return Err(Unanswered::Malformed(failure.detail)),
                    Kind::TooLarge if !lost => return Err(Unanswered::TooLarge(failure.detail)),
                    Kind::Forbidden if !lost => return Err(Unanswered::Forbidden(failure.detail)),
                    Kind::NotLeader if !failure.leader_address.is_empty() && failure.leader_address != address => {
                        self.add_seeds([failure.leader_address.clone()]);
                        self.note_leader(group, Some(failure.leader_address));
                        // Straight there, unless nodes send us in circles.
                        if pause == PAUSE_FIRST {
                            pause *= 2;
                            continue;
                        }
                    }
                    // It is about to hand over to a node that has room, if there is one.
                    Kind::DiskFull => full = true,
                    Kind::UnknownOutcome => {
                        lost = true;
                        self.note_leader(group, None);
                    }
                    _ => self.note_leader(group, None),
                },
                Attempt::NotSent => self.note_leader(group, None),
                Attempt::Lost => {
                    lost = true;
                    self.note_leader(group, None);
                }
            }
            self.rest(group, pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(PAUSE_LAST);
            has_rested = true;
        }
    }

    /// Waits for about `pause` before the leader is looked for again, or until another request has found it. All that lost
    /// the leader did so at once: they do not all look at once.
    async fn rest(&self, group: GroupId, pause: Duration) {
        let mut found = self.found.subscribe();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % TURNS;
        let pause = pause / 2 + pause * (turn as u32) / (2 * TURNS as u32);
        let elsewhere = async {
            while found.changed().await.is_ok() {
                if *found.borrow_and_update() == group {
                    return;
                }
            }
        };
        // Either way it is looked for now.
        let _ = tokio::time::timeout(pause, elsewhere).await;
    }
}

enum Unanswered {
    NoLeader,
    Overloaded,
    DiskFull,
    Lost,
    TooLarge(String),
    Forbidden(String),
    Malformed(String),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

impl Cluster for GrpcCluster {
    fn propose_bytes(
        &self,
        group: GroupId,
        envelope: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(Reply, Position), ProposeError>> {
        Box::pin(async move {
            let body = v1::request::Body::Propose(envelope.into());
            let answered = self.ask_leader(group, body, patience).await;
            // What any replica answers from now on contains it.
            let (answer, position) =
                answered.inspect(|(_, position)| self.note_position(group, *position)).map_err(|unanswered| {
                    match unanswered {
                        Unanswered::NoLeader => ProposeError::NoLeader(group),
                        Unanswered::Overloaded => ProposeError::Overloaded(group),
                        Unanswered::DiskFull => ProposeError::DiskFull(group),
                        Unanswered::Lost => ProposeError::UnknownOutcome(group),
                        Unanswered::TooLarge(detail) => ProposeError::TooLarge(detail),
                        Unanswered::Forbidden(detail) => ProposeError::Forbidden(detail),
                        Unanswered::Malformed(detail) => ProposeError::Malformed(detail),
                    }
                })?;
            let reply = codec::decode(&answer).map_err(|error| ProposeError::Malformed(error.to_string()))?;
            Ok((reply, position))
        })
    }

    fn query_bytes(
        &self,
        group: GroupId,
        query: Vec<u8>,
        consistency: Consistency,
        patience: Duration,
    ) -> BoxFuture<'_, Result<(Vec<u8>, Position), QueryError>> {
        Box::pin(async move {
            let explain = |unanswered| match unanswered {
                Unanswered::Malformed(detail) => QueryError::Malformed(detail),
                _ => QueryError::Unavailable(group),
            };
            let query = bytes::Bytes::from(query);
            let answered = match consistency {
                Consistency::Linearizable => {
                    let consistency = Some(v1::query::Consistency::Linearizable(true));
                    let body = v1::request::Body::Query(v1::Query { query, consistency });
                    // What any replica answers from now on does not go back behind it.
                    let answered = self.ask_leader(group, body, patience).await;
                    answered.inspect(|(_, position)| self.note_position(group, *position))
                }
                Consistency::AppliedMin(index) => self.ask_any(group, query, index, patience).await,
            };
            answered.map_err(explain)
        })
    }

    fn watch(&self, group: GroupId, from: Sequence) -> BoxStream<'static, Result<EventRecord, WatchError>> {
        let channel = self.connector.channel(&self.next_seed());
        let interrupted = |reason: String| futures::stream::iter([Err(WatchError::Interrupted(reason))]).boxed();
        let channel = match channel {
            Ok(channel) => channel,
            Err(error) => return interrupted(error.to_string()),
        };
        let opened = async move {
            let mut client = AccessClient::new(channel).max_decoding_message_size(MESSAGE_LEN_MAX);
            let request = v1::WatchRequest { group: group.0, from };
            match tokio::time::timeout(SESSION_TIMEOUT, client.watch(request)).await {
                Ok(Ok(stream)) => {
                    stream.into_inner().map(Some).chain(futures::stream::iter([None])).flat_map(unpack).boxed()
                }
                Ok(Err(status)) => interrupted(status.message().to_owned()),
                Err(_) => interrupted("the node gave no answer in time".to_owned()),
            }
        };
        futures::stream::once(opened).flatten().boxed()
    }
}

/// The events of one message of a watch; `None` stands for its end.
fn unpack(item: Option<Result<v1::WatchItem, tonic::Status>>) -> BoxStream<'static, Result<EventRecord, WatchError>> {
    let interrupted = |reason: &str| Err(WatchError::Interrupted(reason.to_owned()));
    let items = match item {
        Some(Ok(item)) => match item.body {
            Some(v1::watch_item::Body::Events(events)) => events
                .records
                .iter()
                .map(|record| codec::decode(record).map_err(|error| WatchError::Interrupted(error.to_string())))
                .collect(),
            Some(v1::watch_item::Body::Oldest(oldest)) => vec![Err(WatchError::TooOld(oldest))],
            None => vec![interrupted("an empty message")],
        },
        Some(Err(status)) => vec![interrupted(status.message())],
        None => vec![interrupted("the node ended the watch")],
    };
    futures::stream::iter(items).boxed()
}

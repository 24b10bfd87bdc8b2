use super::members::MEMBERS_INTERVAL;
use super::*;
use crate::seams::TcpConnector;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use vestibule_engine::{
    CreateOrganisation, Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, RequestId, Timestamp, UserId,
};
use vestibule_proto::v1::access_server::{Access, AccessServer};

/// A node that plays a part: of the directory, and of nothing else.
#[derive(Clone)]
pub(crate) struct Actor(Arc<Mutex<Part>>);

pub(crate) struct Part {
    pub(crate) directory: Directory,
    /// How far it has come.
    pub(crate) index: u64,
    /// Who leads, if not the node itself.
    pub(crate) leader: Option<String>,
    /// Whether it takes requests and answers none.
    pub(crate) is_silent: bool,
    /// So many commands more are applied without an answer: the session breaks.
    pub(crate) answers_lost: usize,
    pub(crate) status: v1::StatusResponse,
}

impl Actor {
    /// One that leads, and listens at the address.
    pub(crate) async fn start() -> (Self, String) {
        let actor = Self(Arc::new(Mutex::new(Part {
            directory: Directory::new(GroupId::DIRECTORY),
            index: 0,
            leader: None,
            is_silent: false,
            answers_lost: 0,
            status: v1::StatusResponse::default(),
        })));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        let service = AccessServer::new(actor.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        (actor, address)
    }

    /// What it plays.
    pub(crate) fn part(&self) -> std::sync::MutexGuard<'_, Part> {
        lock(&self.0)
    }
}

impl Part {
    /// What becomes of a request: no answer, an answer, or the end of the session.
    fn serve(&mut self, request: v1::Request) -> Option<Result<v1::Response, Status>> {
        if self.is_silent {
            return None;
        }
        let failed = |kind: Kind, leader: &str| {
            let failure =
                v1::Failure { kind: kind.into(), leader_address: leader.to_owned(), ..v1::Failure::default() };
            v1::response::Body::Failure(failure)
        };
        let body = match request.body.expect("a request has a body") {
            v1::request::Body::Propose(command) => match &self.leader {
                Some(leader) => failed(Kind::NotLeader, leader),
                None => {
                    let envelope = codec::decode(&command).expect("a command of the directory");
                    let replies = self.directory.apply(Timestamp(self.index), &[envelope]);
                    self.index += 1;
                    if self.answers_lost > 0 {
                        self.answers_lost -= 1;
                        return Some(Err(Status::unavailable("the answer is lost")));
                    }
                    v1::response::Body::Answer(codec::encode(&replies[0]).into())
                }
            },
            v1::request::Body::Query(v1::Query { query, consistency }) => {
                let query = codec::decode(&query).expect("a query of the directory");
                let answer = || v1::response::Body::Answer(codec::encode(&self.directory.query(&query)).into());
                match (consistency, &self.leader) {
                    (Some(v1::query::Consistency::Linearizable(_)), Some(leader)) => failed(Kind::NotLeader, leader),
                    (Some(v1::query::Consistency::AppliedMin(index)), _) if index > self.index => {
                        failed(Kind::Unavailable, "")
                    }
                    _ => answer(),
                }
            }
        };
        let position = Some(v1::Position { term: 1, index: self.index });
        Some(Ok(v1::Response { id: request.id, body: Some(body), position }))
    }
}

#[tonic::async_trait]
impl Access for Actor {
    type SessionStream = BoxStream<'static, Result<v1::Response, Status>>;
    type WatchStream = BoxStream<'static, Result<v1::WatchItem, Status>>;
    type BackupStream = BoxStream<'static, Result<v1::SnapshotChunk, Status>>;

    async fn session(&self, request: Request<Streaming<v1::Request>>) -> Result<Response<Self::SessionStream>, Status> {
        let actor = self.clone();
        let answers = request.into_inner().filter_map(move |request| {
            let answer = request.ok().and_then(|request| actor.part().serve(request));
            async { answer }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn watch(&self, _request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("it plays no such part"))
    }

    async fn status(&self, _request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(self.part().status.clone()))
    }

    async fn backup(&self, _request: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        Err(Status::unimplemented("it plays no such part"))
    }

    async fn transfer_leader(
        &self,
        _request: Request<v1::HandOverRequest>,
    ) -> Result<Response<v1::HandOverResponse>, Status> {
        Err(Status::unimplemented("it plays no such part"))
    }
}

/// Reaches nobody, and notes whom it was to reach.
#[derive(Default)]
struct Deserted(Mutex<BTreeMap<String, usize>>);

impl Connector for Deserted {
    fn channel(&self, address: &str) -> std::io::Result<Channel> {
        *lock(&self.0).entry(address.to_owned()).or_default() += 1;
        Err(std::io::Error::other("nobody is there"))
    }
}

/// Found by seed 1180 of the simulator: all nodes that a gateway knew had been replaced before it heard of any other.
#[tokio::test(start_paused = true)]
async fn nodes_that_are_gone_do_not_keep_it_from_hearing_of_others() {
    let connector = Arc::new(Deserted::default());
    let _cluster = GrpcCluster::new(["a", "b", "c"].map(str::to_owned).to_vec(), connector.clone());
    tokio::time::sleep(MEMBERS_INTERVAL / 2).await;
    let asked = lock(&connector.0).clone();
    assert!(asked.len() == 3 && asked.values().all(|count| *count >= 2), "{asked:?}");
}

/// Requests that look for a leader at the same time once took turns so that each asked the same nodes again and again.
#[tokio::test(start_paused = true)]
async fn whoever_looks_for_a_leader_comes_to_every_node() {
    for requests in 1..=4 {
        let connector = Arc::new(Deserted::default());
        let cluster = GrpcCluster::new(["a", "b", "c", "d"].map(str::to_owned).to_vec(), connector.clone());
        let ask = || cluster.propose_bytes(GroupId(1), Vec::new(), Duration::from_secs(1));
        futures::future::join_all((0..requests).map(|_| ask())).await;
        let asked = lock(&connector.0).clone();
        assert!(asked.len() == 4 && asked.values().all(|count| *count >= 2), "{requests}: {asked:?}");
    }
}

/// What a node says that has applied so much of the directory and knows these members.
fn members_as_of(applied_index: u64, members: &[(u64, &str, &str)]) -> v1::StatusResponse {
    let directory = v1::GroupStatus { applied_index, ..v1::GroupStatus::default() };
    let member = |(node, address, state): &(u64, &str, &str)| v1::Member {
        node: *node,
        address: (*address).to_owned(),
        state: (*state).to_owned(),
    };
    let members = members.iter().map(member).collect();
    v1::StatusResponse { groups: vec![directory], members, ..v1::StatusResponse::default() }
}

#[tokio::test]
async fn addresses_at_which_no_node_is_any_more_are_forgotten() {
    let given = ["any:1", "b:1"].map(str::to_owned).to_vec();
    let cluster = GrpcCluster::new(given, Arc::new(Deserted::default()));
    cluster.note_members(&members_as_of(5, &[(1, "a:1", "active"), (2, "b:1", "active"), (3, "c:1", "draining")]));
    assert_eq!(cluster.seeds(), ["any:1", "b:1", "a:1", "c:1"]);
    // One has another address now, one was removed. What was given may stand for several nodes.
    let moved = [(1, "a:2", "active"), (2, "b:1", "removed"), (3, "c:1", "active")];
    cluster.note_members(&members_as_of(8, &moved));
    assert_eq!(cluster.seeds(), ["any:1", "c:1", "a:2"]);
    // Neither who is behind nor who has not read the directory takes anything away.
    cluster.note_members(&members_as_of(7, &[(1, "a:1", "active")]));
    cluster.note_members(&members_as_of(9, &[(4, "d:1", "")]));
    assert_eq!(cluster.seeds(), ["any:1", "c:1", "a:2", "a:1", "d:1"]);
    // However often addresses change, there is room for the next.
    for turn in 0..2 * SESSIONS_MAX as u64 {
        let address = format!("a:{}", turn + 3);
        cluster.note_members(&members_as_of(10 + turn, &[(1, &address, "active"), (3, "c:1", "active")]));
        assert_eq!(cluster.seeds(), ["any:1", "c:1", &address]);
    }
}

/// How many organisations there are as of which entry, according to whoever is asked.
async fn organisations(cluster: &GrpcCluster, consistency: Consistency) -> Result<(usize, u64), QueryError> {
    let (cluster, patience): (&dyn Cluster, _) = (cluster, Duration::from_secs(2));
    let query = DirectoryQuery::Organisations;
    let (answer, position) = cluster.query::<Directory>(GroupId::DIRECTORY, &query, consistency, patience).await?;
    match answer {
        DirectoryAnswer::Organisations(organisations) => Ok((organisations.len(), position.index)),
        other => panic!("{other:?} is no answer to that"),
    }
}

#[tokio::test]
async fn whatever_is_read_contains_what_was_done_before() {
    let (late, late_at) = Actor::start().await;
    let (_leader, leader_at) = Actor::start().await;
    late.part().leader = Some(leader_at.clone());
    let cluster = GrpcCluster::new(vec![late_at, leader_at], Arc::new(TcpConnector));
    assert_eq!(organisations(&cluster, Consistency::AppliedMin(0)).await, Ok((0, 0)), "the late one is read");
    let command = DirectoryCommand::CreateOrganisation(CreateOrganisation { by: UserId(7), name: "House".to_owned() });
    let envelope = Envelope { request: Some(RequestId(1)), command };
    let done = (&*cluster as &dyn Cluster).propose::<Directory>(GroupId::DIRECTORY, &envelope, Duration::from_secs(2));
    assert_eq!(done.await.expect("it is done").1.index, 1);
    assert_eq!(organisations(&cluster, Consistency::AppliedMin(0)).await, Ok((1, 1)));
}

#[tokio::test]
async fn a_leader_that_falls_silent_does_not_use_up_the_patience_of_a_query() {
    let (first, first_at) = Actor::start().await;
    let (_second, second_at) = Actor::start().await;
    let cluster = GrpcCluster::new(vec![second_at, first_at.clone()], Arc::new(TcpConnector));
    cluster.note_leader(GroupId::DIRECTORY, Some(first_at));
    assert_eq!(organisations(&cluster, Consistency::Linearizable).await, Ok((0, 0)));
    // The other has led for long when the patience of 2 s ends.
    first.part().is_silent = true;
    assert_eq!(organisations(&cluster, Consistency::Linearizable).await, Ok((0, 0)));
}

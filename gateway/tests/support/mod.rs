//! A whole cluster in one value, made of the real state machines, and a browser without a socket.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RsaKeyPair};
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tower::ServiceExt;
use vestibule_engine::{
    Directory, DirectoryCommand, Envelope, EventRecord, GroupId, KeyAlgorithm, OrderId, PaymentId, PaymentOutcome,
    RecordPayment, Reply, RequestId, SeatId, Sequence, SetGroups, Shard, ShardAnswer, ShardCommand, ShardQuery,
    ShowtimeId, StateMachine, Timestamp, TokenKey, codec,
};
use vestibule_gateway::{Gateway, GatewayConfig, HeavyWork};
use vestibule_raft::cluster::{Cluster, Consistency, Position, ProposeError, QueryError, WatchError};
use vestibule_raft::seams::{Clock, IdSource};

/// 2026-11-20T09:00:00Z.
pub const START: u64 = 1_795_165_200_000;

/// A clock that a test moves.
pub struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Ids one after the other.
pub struct TestIds(AtomicU64);

impl IdSource for TestIds {
    fn draw(&self) -> u128 {
        u128::from(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// What goes wrong with the next command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is applied, and the answer is lost.
    LostAnswer,
    /// It is not applied, and nobody knows.
    LostCommand,
    /// There is no leader.
    NoLeader,
    /// The queue is full.
    Overloaded,
    /// The command is longer than the log takes.
    TooLarge,
}

/// Groups applied at once, in one process.
pub struct LocalCluster {
    clock: Arc<TestClock>,
    machines: Mutex<Machines>,
    changed: watch::Sender<u64>,
    /// Commands that go wrong, by how many good ones come first.
    pub fault: Mutex<Option<(u32, Fault)>>,
    pub down: AtomicBool,
    /// How many questions were asked.
    pub queries: AtomicU64,
    /// A watch that is broken off once, when it is next asked for.
    pub too_old: AtomicBool,
    /// Whether every invariant is recounted after every command.
    pub audits: AtomicBool,
    /// Watches up to this one, counted from 1, tell nothing.
    pub silent: AtomicU64,
    pub watches: AtomicU64,
    /// Commands wait while this is set.
    pub stalled: watch::Sender<bool>,
    /// Replicas have nothing of their groups yet, but for the leader.
    pub behind: AtomicBool,
}

struct Machines {
    directory: Directory,
    shards: BTreeMap<GroupId, Shard>,
    index: u64,
}

impl Machines {
    fn apply<M: StateMachine>(machine: &mut M, at: Timestamp, envelope: &[u8], audits: bool) -> Reply {
        let envelope: Envelope<M::Command> = codec::decode(envelope).unwrap();
        let reply = machine.apply(at, &[envelope]).pop().unwrap();
        if audits {
            machine.audit().unwrap();
        }
        reply
    }

    fn tick<M: StateMachine>(machine: &mut M, at: Timestamp) {
        for _ in 0..1_000 {
            if machine.next_due().is_none_or(|due| due > at) {
                return;
            }
            machine.apply(at, &[Envelope { request: None, command: M::tick() }]);
        }
        panic!("something is always due at {at}");
    }

    fn events(&self, group: GroupId, from: Sequence) -> Result<Vec<EventRecord>, Sequence> {
        match self.shards.get(&group) {
            Some(shard) => shard.events(from, 64),
            None => self.directory.events(from, 64),
        }
    }
}

impl LocalCluster {
    pub fn new(clock: Arc<TestClock>, groups: u32) -> Arc<Self> {
        let mut directory = Directory::new(GroupId::DIRECTORY);
        let command = DirectoryCommand::SetGroups(SetGroups { expected_version: None, count: groups });
        let reply = directory.apply(clock.now(), &[Envelope { request: Some(RequestId(u128::MAX)), command }]);
        reply[0].result.as_ref().unwrap();
        let shards = (1..=groups).map(GroupId).map(|group| (group, Shard::new(group))).collect();
        Arc::new(Self {
            clock,
            machines: Mutex::new(Machines { directory, shards, index: 1 }),
            changed: watch::Sender::new(0),
            fault: Mutex::new(None),
            down: AtomicBool::new(false),
            queries: AtomicU64::new(0),
            behind: AtomicBool::new(false),
            too_old: AtomicBool::new(false),
            audits: AtomicBool::new(true),
            silent: AtomicU64::new(0),
            watches: AtomicU64::new(0),
            stalled: watch::Sender::new(false),
        })
    }

    /// Lets due things happen.
    pub fn tick(&self) {
        let at = self.clock.now();
        let mut machines = self.machines.lock();
        machines.shards.values_mut().for_each(|shard| Machines::tick(shard, at));
        machines.index += 1;
        self.changed.send_modify(|version| *version += 1);
    }

    /// Watches up to this one tell nothing; 0 lets all tell everything.
    pub fn silence(&self, watches: u64) {
        self.silent.store(watches, Ordering::SeqCst);
        self.changed.send_modify(|version| *version += 1);
    }

    pub fn audit(&self) {
        let machines = self.machines.lock();
        machines.directory.audit().unwrap();
        machines.shards.values().for_each(|shard| shard.audit().unwrap());
    }

    fn fault(&self) -> Option<Fault> {
        let mut fault = self.fault.lock();
        match &mut *fault {
            Some((0, _)) => fault.take().map(|(_, fault)| fault),
            Some((good, _)) => {
                *good -= 1;
                None
            }
            None => None,
        }
    }
}

impl Cluster for LocalCluster {
    fn propose_bytes(
        &self,
        group: GroupId,
        envelope: Vec<u8>,
        _: Duration,
    ) -> BoxFuture<'_, Result<(Reply, Position), ProposeError>> {
        Box::pin(async move {
            if self.down.load(Ordering::SeqCst) {
                return Err(ProposeError::NoLeader(group));
            }
            self.stalled.subscribe().wait_for(|stalled| !stalled).await.unwrap();
            let fault = self.fault();
            match fault {
                Some(Fault::NoLeader) => return Err(ProposeError::NoLeader(group)),
                Some(Fault::Overloaded) => return Err(ProposeError::Overloaded(group)),
                Some(Fault::TooLarge) => return Err(ProposeError::TooLarge("the log takes 7 bytes at most".into())),
                Some(Fault::LostCommand) => return Err(ProposeError::UnknownOutcome(group)),
                Some(Fault::LostAnswer) | None => {}
            }
            let at = self.clock.now();
            let (reply, position) = {
                let audits = self.audits.load(Ordering::SeqCst);
                let mut machines = self.machines.lock();
                machines.index += 1;
                let position = Position { term: 1, index: machines.index };
                let reply = if group == GroupId::DIRECTORY {
                    Machines::apply(&mut machines.directory, at, &envelope, audits)
                } else {
                    let shard = machines.shards.get_mut(&group).ok_or(ProposeError::NoLeader(group))?;
                    let reply = Machines::apply(shard, at, &envelope, audits);
                    Machines::tick(shard, at);
                    reply
                };
                (reply, position)
            };
            self.changed.send_modify(|version| *version += 1);
            match fault {
                Some(_) => Err(ProposeError::UnknownOutcome(group)),
                None => Ok((reply, position)),
            }
        })
    }

    fn query_bytes(
        &self,
        group: GroupId,
        query: Vec<u8>,
        consistency: Consistency,
        _: Duration,
    ) -> BoxFuture<'_, Result<(Vec<u8>, Position), QueryError>> {
        Box::pin(async move {
            if self.down.load(Ordering::SeqCst) {
                return Err(QueryError::Unavailable(group));
            }
            self.queries.fetch_add(1, Ordering::SeqCst);
            let machines = self.machines.lock();
            let position = Position { term: 1, index: machines.index };
            // One that lags waits until it has come as far as it is asked to.
            let is_behind = self.behind.load(Ordering::SeqCst) && consistency == Consistency::AppliedMin(0);
            let answer = if group == GroupId::DIRECTORY {
                let query = codec::decode(&query).unwrap();
                let directory = if is_behind { &Directory::new(group) } else { &machines.directory };
                codec::encode(&directory.query(&query))
            } else {
                let query = codec::decode(&query).unwrap();
                let shard = machines.shards.get(&group).ok_or(QueryError::Unavailable(group))?;
                let shard = if is_behind { &Shard::new(group) } else { shard };
                codec::encode(&shard.query(&query))
            };
            Ok((answer, if is_behind { Position { term: 0, index: 0 } } else { position }))
        })
    }

    fn watch(&self, group: GroupId, from: Sequence) -> BoxStream<'static, Result<EventRecord, WatchError>> {
        if self.too_old.swap(false, Ordering::SeqCst) {
            return stream::iter([Err(WatchError::TooOld(from + 1))]).boxed();
        }
        // The stream outlives the borrow, so it reads through a handle of its own.
        let cluster = LOCAL.with(|local| local.borrow().clone()).unwrap();
        let changed = self.changed.subscribe();
        let number = self.watches.fetch_add(1, Ordering::SeqCst) + 1;
        stream::unfold(
            (cluster, changed, from, Vec::<EventRecord>::new()),
            move |(cluster, mut changed, next, rest)| async move {
                let mut rest = rest;
                loop {
                    if !rest.is_empty() {
                        let record = rest.remove(0);
                        let next = record.sequence + 1;
                        return Some((Ok(record), (cluster, changed, next, rest)));
                    }
                    changed.mark_unchanged();
                    let is_silent = cluster.silent.load(Ordering::SeqCst) >= number;
                    let events = if is_silent { Ok(Vec::new()) } else { cluster.machines.lock().events(group, next) };
                    match events {
                        Ok(events) if !events.is_empty() => rest = events,
                        Ok(_) => {
                            if cluster.down.load(Ordering::SeqCst) {
                                let error = WatchError::Interrupted("down".to_owned());
                                return Some((Err(error), (cluster, changed, next, rest)));
                            }
                            changed.changed().await.ok()?;
                        }
                        Err(oldest) => return Some((Err(WatchError::TooOld(oldest)), (cluster, changed, next, rest))),
                    }
                }
            },
        )
        .boxed()
    }
}

thread_local! {
    static LOCAL: std::cell::RefCell<Option<Arc<LocalCluster>>> = const { std::cell::RefCell::new(None) };
}

/// One pair of keys for all tests of a process: making them takes a while.
pub fn keys() -> Vec<TokenKey> {
    static KEYS: OnceLock<Vec<TokenKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa: Pkcs8V1Der<'static> = rsa.as_der().unwrap();
        let ed = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
        let key = |kid: &str, algorithm, der: &[u8]| TokenKey {
            kid: kid.to_owned(),
            algorithm,
            der: der.to_vec(),
            created_at: Timestamp(START),
        };
        vec![key("rs-test", KeyAlgorithm::Rs256, rsa.as_ref()), key("ed-test", KeyAlgorithm::Ed25519, ed.as_ref())]
    })
    .clone()
}

/// A cluster with a gateway before it.
pub struct World {
    pub cluster: Arc<LocalCluster>,
    pub clock: Arc<TestClock>,
    pub ids: Arc<TestIds>,
    pub gateway: Gateway,
    pub router: Router,
}

pub fn config() -> GatewayConfig {
    GatewayConfig { heavy_work: HeavyWork::Inline, first_token_keys: Some(keys()), ..GatewayConfig::default() }
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: GatewayConfig) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(START)));
        let cluster = LocalCluster::new(Arc::clone(&clock), 2);
        LOCAL.with(|local| *local.borrow_mut() = Some(Arc::clone(&cluster)));
        let ids = Arc::new(TestIds(AtomicU64::new(1)));
        let gateway = Gateway::new(config, cluster.clone(), clock.clone(), ids.clone());
        let router = gateway.router();
        Self { cluster, clock, ids, gateway, router }
    }

    /// Another gateway to the same cluster.
    pub fn another_gateway(&self) -> Self {
        let gateway = Gateway::new(config(), self.cluster.clone(), self.clock.clone(), self.ids.clone());
        let router = gateway.router();
        let (cluster, clock, ids) = (self.cluster.clone(), self.clock.clone(), self.ids.clone());
        Self { cluster, clock, ids, gateway, router }
    }

    /// Lets time pass, for the cluster and for timers.
    pub async fn pass(&self, span: Duration) {
        self.clock.0.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
        self.cluster.tick();
        tokio::time::advance(span).await;
        // Lets the feeds take in what happened.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    pub async fn organizer(&self) -> String {
        self.gateway.organizer_token("Theatre Royal").await.unwrap().token
    }

    pub async fn guest(&self) -> String {
        let answer = self.post("/auth/guest").send().await;
        answer.expect(StatusCode::CREATED)["accessToken"].as_str().unwrap().to_owned()
    }

    /// A venue, an event and a showtime on sale with these settings; gives the showtime's id.
    pub async fn showtime(&self, sale: Value) -> String {
        self.showtime_in(venue(), sale).await
    }

    /// The same in a venue of its own, with the categories of [`venue`].
    pub async fn showtime_in(&self, venue: Value, sale: Value) -> String {
        let token = self.organizer().await;
        let venue = self.post("/venues").token(&token).json(venue).send().await.expect(StatusCode::CREATED);
        let event = self.post("/events").token(&token).json(json!({"title": "Hamlet"})).send().await;
        let event = event.expect(StatusCode::CREATED);
        let body = json!({
            "eventId": event["eventId"],
            "venueId": venue["venueId"],
            "startsAt": "2026-12-24T19:30:00+01:00",
            "prices": {"Stalls": eur(5_000), "Circle": eur(2_500)},
            "sale": sale,
        });
        let showtime = self.post("/showtimes").token(&token).json(body).send().await.expect(StatusCode::CREATED);
        showtime["showtimeId"].as_str().unwrap().to_owned()
    }

    /// A guest who has joined, was called and has claimed: access token, ticket id, admission token.
    pub async fn admitted(&self, showtime: &str) -> (String, String, String) {
        let access = self.guest().await;
        let entries = format!("/showtimes/{showtime}/queue/entries");
        let ticket = self.post(&entries).token(&access).send().await.expect(StatusCode::CREATED);
        let ticket = ticket["ticketId"].as_str().unwrap().to_owned();
        let claim = format!("{entries}/{ticket}/claim");
        for _ in 0..100 {
            let answer = self.post(&claim).token(&access).send().await;
            if answer.status == StatusCode::OK {
                let admission = answer.json()["admissionToken"].as_str().unwrap().to_owned();
                return (access, ticket, admission);
            }
            assert_eq!(answer.code(), "not_called_yet");
            self.pass(Duration::from_secs(1)).await;
        }
        panic!("never called");
    }

    /// The money for an order comes by another way, whatever has become of it.
    pub async fn pay_late(&self, order: &str, payment: u64) {
        let order: OrderId = order.parse().unwrap();
        let cluster: &dyn Cluster = &*self.cluster;
        let patience = Duration::from_secs(1);
        let query = ShardQuery::Order(order);
        let answer =
            cluster.query::<Shard>(order.group(), &query, Consistency::Linearizable, patience).await.unwrap().0;
        let ShardAnswer::Order(Some(view)) = answer else { panic!("no order {order}") };
        let (payment, outcome) = (PaymentId(payment), PaymentOutcome::Succeeded);
        let command = ShardCommand::RecordPayment(RecordPayment { order, payment, outcome, amount: view.total });
        let envelope = Envelope { request: Some(RequestId(self.ids.draw())), command };
        cluster.propose::<Shard>(order.group(), &envelope, patience).await.unwrap().0.result.unwrap();
    }

    /// The seats as the group itself has them, in the form in which they are shown.
    pub fn seats_in_truth(&self, showtime: &str) -> Value {
        let showtime: ShowtimeId = showtime.parse().unwrap();
        let machines = self.cluster.machines.lock();
        let shard = &machines.shards[&showtime.group()];
        let ShardAnswer::Seats(Some(seats)) = shard.query(&ShardQuery::Seats(showtime)) else { panic!("no seats") };
        let ShardAnswer::SeatMap(Some(map)) = shard.query(&ShardQuery::SeatMap(showtime)) else { panic!("no map") };
        let names = ["available", "held", "sold", "blocked"];
        let states = seats.states.iter().enumerate();
        let states =
            states.map(|(seat, &state)| (map.label(SeatId(seat as u32)).unwrap(), names[usize::from(state)].into()));
        let counts = (0..4_u8).map(|state| {
            let count = seats.states.iter().filter(|&&other| other == state).count();
            (names[usize::from(state)].to_owned(), count.into())
        });
        let areas = map.areas.iter().zip(&seats.areas).map(|(area, counts)| {
            let body = json!({
                "capacity": counts.capacity,
                "available": counts.available(),
                "held": counts.held,
                "sold": counts.sold,
            });
            (area.name.clone(), body)
        });
        json!({
            "states": states.collect::<serde_json::Map<_, _>>(),
            "counts": counts.collect::<serde_json::Map<_, _>>(),
            "areas": areas.collect::<serde_json::Map<_, _>>(),
        })
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub fn post(&self, path: &str) -> Call<'_> {
        self.call("POST", path)
    }

    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        let uri = if path.starts_with("/showtimes")
            || ["/auth", "/venues", "/events", "/holds", "/orders"].iter().any(|p| path.starts_with(p))
        {
            format!("/api/v1{path}")
        } else {
            path.to_owned()
        };
        Call { world: self, request: Request::builder().method(method).uri(uri), body: Bytes::new() }
    }
}

pub fn eur(amount: i64) -> Value {
    json!({"amount": amount, "currency": "EUR"})
}

/// Six seats in the stalls, four in the circle, a standing area of five.
pub fn venue() -> Value {
    let row = |section: &str, row: &str, count: usize| {
        let seats: Vec<Value> = (1..=count)
            .map(|number| {
                json!({
                    "seat_guid": format!("{section}-{row}-{number}"),
                    "seat_number": number.to_string(),
                    "position": {"x": number * 10, "y": 0},
                    "category": section,
                    "x-vestibule": {"stepFree": row == "A"},
                })
            })
            .collect();
        json!({"row_number": row, "position": {"x": 0, "y": 0}, "seats": seats})
    };
    let zone = |name: &str, y: i64, rows: Value| json!({"name": name, "zone_id": name, "position": {"x": 0, "y": y}, "rows": rows, "areas": []});
    json!({
        "name": "Theatre Royal",
        "city": "London",
        "country": "GB",
        "plan": {
            "name": "Small house",
            "categories": [{"name": "Stalls", "color": "#ff0000"}, {"name": "Circle", "color": "#0000ff"}],
            "zones": [
                zone("Stalls", 0, json!([row("Stalls", "A", 3), row("Stalls", "B", 3)])),
                zone("Circle", 100, json!([row("Circle", "A", 4)])),
            ],
            "size": {"width": 100, "height": 200},
        },
        "areas": [{"name": "Standing", "capacity": 5, "category": "Circle"}],
    })
}

/// A request in the making.
pub struct Call<'a> {
    world: &'a World,
    request: http::request::Builder,
    body: Bytes,
}

impl Call<'_> {
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub fn json(self, body: Value) -> Self {
        self.body(body.to_string())
    }

    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub async fn send(self) -> Answer {
        let request = self.request.body(Body::from(self.body)).unwrap();
        let response = self.world.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?} is not JSON", self.body))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks that it is a problem as RFC 9457 and the contract want it.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status.as_u16(), &*self.code()), (status, code), "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:vestibule:problem:{code}"));
        assert!(!body["title"].as_str().unwrap().is_empty());
        assert!(!body["detail"].as_str().unwrap().is_empty());
        assert_eq!(body["requestId"], self.header("x-request-id"));
        assert_eq!(self.headers.contains_key("retry-after"), matches!(status, 429 | 503));
        body
    }

    /// One line: status, replayed or not, the body without tokens.
    pub fn line(&self) -> String {
        let mut line = self.status.as_u16().to_string();
        if self.header("idempotency-replayed") == "true" {
            line.push_str(" replayed");
        }
        if !self.body.is_empty() {
            let mut body = self.json();
            for token in ["accessToken", "ticketToken", "admissionToken"] {
                if let Some(token) = body.get_mut(token) {
                    *token = "…".into();
                }
            }
            line.push_str(&format!(" {body}"));
        }
        line
    }
}

//! A seller in memory that keeps to the contract, or breaks it in one chosen way.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How the seller breaks the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every second hold does not look whether its seats are free.
    SellsTwice,
    /// Places do not follow numbers.
    ShufflesPlaces,
    /// Numbers do not follow the order of joining.
    ShufflesNumbers,
    /// Two tickets get one number.
    RepeatsNumbers,
    /// Any token opens the seats.
    LeavesTheDoorOpen,
    /// The ticket token opens the seats.
    TakesTicketTokens,
    /// Tickets far behind are called.
    CallsOutOfTurn,
    /// The cursor goes back now and then.
    TurnsTheCursorBack,
    /// A ticket's place changes while it waits.
    MovesPlaces,
    /// Some paid seats are on sale again.
    ForgetsSales,
    /// Some paid orders are not found.
    ForgetsOrders,
    /// Some paid orders lose a seat.
    ShrinksOrders,
    /// A declined card buys all the same.
    SellsUnpaid,
    /// Holds that should expire do not.
    NeverExpires,
    /// Released seats stay held.
    KeepsReleased,
    /// The hold is on other seats than asked for.
    GivesOtherSeats,
    /// `counts` is off by one.
    Miscounts,
    /// Some payments are answered with 500.
    Stumbles,
    /// A change is missing from `?since=`.
    SwallowsChanges,
    /// The status has a number for its method.
    AnswersNonsense,
}

/// The house and its rules.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub fault: Fault,
    pub seats: usize,
    pub method: &'static str,
    /// Places called a millisecond.
    pub calls_per_ms: f64,
    pub active_max: u64,
    pub hold_ttl: Duration,
    /// Every so many requests are answered 503 before, or after, being carried out, or cut off. 0 is never.
    pub trouble_every: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            fault: Fault::None,
            seats: 100,
            method: "fifo",
            calls_per_ms: 1.0,
            active_max: 50,
            hold_ttl: Duration::from_secs(2),
            trouble_every: 0,
        }
    }
}

/// A running seller.
pub(crate) struct Seller {
    pub(crate) url: String,
    world: Arc<Mutex<World>>,
    server: tokio::task::JoinHandle<()>,
}

impl Seller {
    pub(crate) async fn start(settings: Settings) -> Self {
        let world = Arc::new(Mutex::new(World::new(settings)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handle).with_state(world.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, world, server }
    }

    /// Requests per call, like `POST holds`.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        self.world.lock().unwrap().requests.clone()
    }

    /// The longest the line has been.
    pub(crate) fn longest_line(&self) -> u64 {
        self.world.lock().unwrap().longest_line
    }
}

impl Drop for Seller {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct World {
    settings: Settings,
    started: Instant,
    ticked: Instant,
    users: u64,
    tickets: Vec<Ticket>,
    by_user: HashMap<u64, usize>,
    cursor: u64,
    longest_line: u64,
    sequence: u64,
    seats: BTreeMap<String, Seat>,
    holds: Vec<Hold>,
    orders: Vec<Order>,
    answers: HashMap<(String, String), (String, Answer)>,
    requests: BTreeMap<String, u64>,
    count: u64,
}

type Answer = (u16, Value);

struct Ticket {
    user: u64,
    number: u64,
    place: u64,
    state: &'static str,
    polls: u64,
}

struct Seat {
    state: &'static str,
    changed_at: u64,
    hold: Option<usize>,
}

struct Hold {
    user: u64,
    seats: Vec<String>,
    expires_at: Instant,
    state: &'static str,
}

struct Order {
    user: u64,
    hold: usize,
    state: &'static str,
}

async fn handle(State(world): State<Arc<Mutex<World>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = head.uri.path().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let (status, value, trouble) = {
        let mut world = world.lock().unwrap();
        world.count += 1;
        let (every, count) = (world.settings.trouble_every, world.count);
        let trouble = if every > 0 && count % every == 0 { (count / every) % 3 + 1 } else { 0 };
        if trouble == 1 {
            (503, problem(503, "no_leader"), trouble)
        } else {
            let (status, value) = world.answer(&head.method, &path, &query, &head.headers, &body);
            (status, value, trouble)
        }
    };
    match trouble {
        2 => respond(503, &problem(503, "outcome_unknown")),
        3 => {
            // Says how long the answer is, and breaks off in its middle.
            let half = futures::stream::iter([Ok(bytes::Bytes::from("{")), Err(std::io::Error::other("cut off"))]);
            Response::builder().header("content-length", 1_000).body(Body::from_stream(half)).unwrap()
        }
        _ => respond(status, &value),
    }
}

fn respond(status: u16, value: &Value) -> Response {
    let kind = if status >= 400 { "application/problem+json" } else { "application/json" };
    let retry_after = if status == 503 { "0" } else { "" };
    let body = if status == 204 { String::new() } else { value.to_string() };
    let headers = [("content-type", kind), ("retry-after", retry_after)];
    let headers = headers.into_iter().filter(|(_, value)| !value.is_empty());
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn problem(status: u16, code: &str) -> Value {
    json!({"type": "about:blank", "title": code, "status": status, "detail": code, "code": code, "requestId": "r"})
}

fn refuse(status: u16, code: &str) -> Answer {
    (status, problem(status, code))
}

fn price() -> Value {
    json!({"amount": 1_000, "currency": "EUR"})
}

impl World {
    fn new(settings: Settings) -> Self {
        let label = |seat: usize| format!("Stalls-{}-{}", seat / 20 + 1, seat % 20 + 1);
        let free = || Seat { state: "available", changed_at: 0, hold: None };
        let mut seats: BTreeMap<_, _> = (0..settings.seats).map(|seat| (label(seat), free())).collect();
        // Some were sold before, and some are kept back.
        seats.insert("Box-1-1".to_owned(), Seat { state: "sold", ..free() });
        seats.insert("Box-1-2".to_owned(), Seat { state: "blocked", ..free() });
        Self {
            settings,
            started: Instant::now(),
            ticked: Instant::now(),
            users: 0,
            tickets: Vec::new(),
            by_user: HashMap::new(),
            cursor: 0,
            longest_line: 0,
            sequence: 1,
            seats,
            holds: Vec::new(),
            orders: Vec::new(),
            answers: HashMap::new(),
            requests: BTreeMap::new(),
            count: 0,
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.settings.fault == fault
    }

    fn set(&mut self, seat: &str, state: &'static str, hold: Option<usize>) {
        self.sequence += 1;
        let changed_at = self.sequence;
        *self.seats.get_mut(seat).unwrap() = Seat { state, changed_at, hold };
    }

    /// What is due: holds expire, and the line moves.
    fn tick(&mut self) {
        if self.ticked.elapsed() < Duration::from_millis(3) {
            return;
        }
        self.ticked = Instant::now();
        for hold in 0..self.holds.len() {
            let due = self.holds[hold].state == "live" && self.holds[hold].expires_at <= Instant::now();
            if due && !self.is(Fault::NeverExpires) {
                self.end(hold, "expired");
            }
        }
        let active = self.tickets.iter().filter(|ticket| matches!(ticket.state, "called" | "shopping")).count() as u64;
        let rate_allows = (self.started.elapsed().as_millis() as f64 * self.settings.calls_per_ms) as u64;
        let joined = self.tickets.len() as u64;
        let room = self.settings.active_max.saturating_sub(active);
        let target = joined.min(self.cursor + room).min(rate_allows).max(self.cursor);
        if target > self.cursor {
            self.sequence += 1;
        }
        let (cursor, out_of_turn) = (self.cursor, self.is(Fault::CallsOutOfTurn));
        for ticket in &mut self.tickets {
            let far_behind = out_of_turn && ticket.number % 17 == 0 && ticket.place > cursor + 30;
            if ticket.state == "waiting" && (ticket.place <= target || far_behind) {
                ticket.state = "called";
            }
        }
        self.cursor = target;
        self.longest_line = self.longest_line.max(joined - self.cursor);
    }

    fn end(&mut self, hold: usize, state: &'static str) {
        self.holds[hold].state = state;
        for seat in self.holds[hold].seats.clone() {
            if self.seats[&seat].hold == Some(hold) && self.seats[&seat].state == "held" {
                self.set(&seat, "available", None);
            }
        }
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Answer {
        self.tick();
        let Some(path) = path.strip_prefix("/api/v1/") else { return refuse(404, "no_such_path") };
        let parts: Vec<&str> = path.split('/').collect();
        let name = parts.iter().filter(|part| !part.contains('_')).copied().collect::<Vec<_>>().join(" ");
        *self.requests.entry(format!("{method} {name}")).or_default() += 1;

        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let token = header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        let key = header("idempotency-key");
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let holds_or_orders = matches!(parts[0], "orders" | "holds") || parts.last() == Some(&"holds");
        let keyed = *method == Method::POST && holds_or_orders;
        if !keyed {
            return self.carry_out(method, &parts, query, &token, &body);
        }
        let Some(key) = key else { return refuse(400, "idempotency_key_required") };
        let asked = format!("{path} {body}");
        let name = (token.clone(), key);
        if let Some((before, answer)) = self.answers.get(&name) {
            return if *before == asked { answer.clone() } else { refuse(422, "idempotency_key_reused") };
        }
        let answer = self.carry_out(method, &parts, query, &token, &body);
        self.answers.insert(name, (asked, answer.clone()));
        answer
    }

    fn carry_out(&mut self, method: &Method, parts: &[&str], query: &str, token: &str, body: &Value) -> Answer {
        let user = token.strip_prefix("access_").and_then(|user| user.parse::<u64>().ok());
        let index = |id: &str| id.rsplit('_').next().and_then(|id| id.parse::<usize>().ok()).unwrap_or(usize::MAX);
        match (method.as_str(), parts) {
            ("POST", ["auth", "guest"]) => {
                self.users += 1;
                (201, json!({"accessToken": format!("access_{}", self.users), "expiresIn": 3600}))
            }
            ("GET", ["showtimes", _, "queue"]) => self.status(),
            ("GET", ["showtimes", _, "seats"]) => self.show_seats(query),
            ("POST", ["showtimes", _, "holds"]) => self.hold_seats(token, body),
            (_, _) => {
                let admitted = token.strip_prefix("admission_").and_then(|ticket| ticket.parse::<usize>().ok());
                let admitted = admitted.map(|ticket| self.tickets[ticket].user);
                let Some(user) = user.or(admitted) else { return refuse(401, "token_invalid") };
                match (method.as_str(), parts) {
                    ("POST", ["showtimes", _, "queue", "entries"]) => self.join(user),
                    ("GET", ["showtimes", _, "queue", "entries", id]) => {
                        let ticket = index(id);
                        self.tickets[ticket].polls += 1;
                        self.show_ticket(200, ticket)
                    }
                    ("POST", ["showtimes", _, "queue", "entries", id, "claim"]) => self.claim(index(id)),
                    ("DELETE", ["showtimes", _, "queue", "entries", id]) => {
                        let ticket = &mut self.tickets[index(id)];
                        if matches!(ticket.state, "left" | "done") {
                            return refuse(410, "ticket_over");
                        }
                        ticket.state = "left";
                        (204, Value::Null)
                    }
                    (_, ["holds", id]) => self.on_hold(method, user, index(id)),
                    ("POST", ["orders"]) => self.place_order(user, body),
                    (_, ["orders", id, rest @ ..]) => self.on_order(user, index(id), rest, body),
                    _ => refuse(404, "no_such_path"),
                }
            }
        }
    }

    fn status(&mut self) -> Answer {
        let active = self.tickets.iter().filter(|ticket| matches!(ticket.state, "called" | "shopping")).count();
        let mut cursor = self.cursor;
        if self.is(Fault::TurnsTheCursorBack) && self.requests["GET showtimes queue"].is_multiple_of(2) {
            cursor = cursor.saturating_sub(20);
        }
        let available = self.seats.values().filter(|seat| seat.state == "available").count();
        let method = if self.is(Fault::AnswersNonsense) { json!(7) } else { json!(self.settings.method) };
        let status = json!({
            "showtimeId": "showtime_1", "state": "open", "method": method, "opensAt": null,
            "entrants": 0, "joined": self.tickets.len(), "cursor": cursor, "active": active, "ratePerMinute": 60_000,
            "message": null, "availability": [{"category": "Stalls", "available": available, "price": price()}],
            "sequence": self.sequence, "lastUpdated": time_text(SystemTime::now()), "refreshIntervalSeconds": 5
        });
        (200, status)
    }

    fn join(&mut self, user: u64) -> Answer {
        if let Some(&ticket) = self.by_user.get(&user) {
            return self.show_ticket(200, ticket);
        }
        let ticket = self.tickets.len();
        let place = ticket as u64 + 1;
        let number = match self.settings.fault {
            Fault::ShufflesNumbers => (ticket as u64 ^ 63) + 1,
            Fault::RepeatsNumbers if ticket % 50 == 49 => place - 1,
            _ => place,
        };
        let place = if self.is(Fault::ShufflesPlaces) { (ticket as u64 ^ 1) + 1 } else { place };
        self.tickets.push(Ticket { user, number, place, state: "waiting", polls: 0 });
        self.by_user.insert(user, ticket);
        self.sequence += 1;
        self.tick();
        self.show_ticket(201, ticket)
    }

    fn show_ticket(&self, status: u16, ticket: usize) -> Answer {
        let Some(Ticket { number, place, state, polls, .. }) = self.tickets.get(ticket) else {
            return refuse(404, "no_such_ticket");
        };
        let place = if self.is(Fault::MovesPlaces) { place + polls % 2 } else { *place };
        let ticket = json!({
            "ticketId": format!("ticket_{ticket}"), "showtimeId": "showtime_1", "number": number, "state": state,
            "place": place, "ahead": place.saturating_sub(self.cursor), "etaSeconds": 1, "claimBy": null,
            "pollAfterSeconds": 0.3, "ticketToken": format!("line_{ticket}")
        });
        (status, ticket)
    }

    fn claim(&mut self, ticket: usize) -> Answer {
        match self.tickets.get_mut(ticket) {
            None => refuse(404, "no_such_ticket"),
            Some(found) if matches!(found.state, "called" | "shopping") => {
                found.state = "shopping";
                let expires_at = time_text(SystemTime::now() + Duration::from_secs(600));
                (200, json!({"admissionToken": format!("admission_{ticket}"), "expiresAt": expires_at}))
            }
            Some(found) if found.state == "waiting" => refuse(409, "not_called_yet"),
            Some(_) => refuse(410, "ticket_over"),
        }
    }

    fn show_seats(&self, query: &str) -> Answer {
        let since: u64 = query.strip_prefix("since=").and_then(|since| since.parse().ok()).unwrap_or(0);
        let mut counts: BTreeMap<&str, u64> = ["available", "held", "sold", "blocked"].map(|state| (state, 0)).into();
        let mut states = Map::new();
        for (label, seat) in &self.seats {
            *counts.get_mut(seat.state).unwrap() += 1;
            let swallowed = self.is(Fault::SwallowsChanges) && since > 0 && seat.changed_at % 13 == 0;
            if (query.is_empty() || seat.changed_at > since) && !swallowed {
                states.insert(label.clone(), json!(seat.state));
            }
        }
        if self.is(Fault::Miscounts) {
            *counts.get_mut("sold").unwrap() += 1;
        }
        (200, json!({"sequence": self.sequence, "counts": counts, "states": states, "areas": {}}))
    }

    fn hold_seats(&mut self, token: &str, body: &Value) -> Answer {
        let line = self.settings.method != "passthrough";
        let ticket = |prefix: &str| token.strip_prefix(prefix).and_then(|ticket| ticket.parse::<usize>().ok());
        let access = token.strip_prefix("access_").and_then(|user| user.parse::<u64>().ok());
        let user = match (ticket("admission_"), ticket("line_"), access) {
            (Some(ticket), ..) if self.tickets[ticket].state == "shopping" => self.tickets[ticket].user,
            (Some(_), ..) => return refuse(403, "not_admitted"),
            (_, _, Some(user)) if !line || self.is(Fault::LeavesTheDoorOpen) => user,
            (_, Some(ticket), _) if self.is(Fault::TakesTicketTokens) => self.tickets[ticket].user,
            (_, Some(_), _) | (_, _, Some(_)) => return refuse(403, "admission_token_required"),
            _ => return refuse(401, "token_invalid"),
        };
        let mut seats: Vec<String> = serde_json::from_value(body["seats"].clone()).unwrap();
        if let Some(other) = self.seats.iter().find(|(_, seat)| seat.state == "available").map(|(label, _)| label)
            && self.is(Fault::GivesOtherSeats)
            && self.holds.len().is_multiple_of(5)
        {
            seats = vec![other.clone()];
        }
        let taken: Vec<_> = seats.iter().filter(|seat| self.seats[*seat].state != "available").cloned().collect();
        let blind = self.is(Fault::SellsTwice) && self.count.is_multiple_of(2);
        if !taken.is_empty() && !blind {
            let mut answer = problem(409, "seats_unavailable");
            answer["seats"] = json!(taken);
            return (409, answer);
        }
        let hold = self.holds.len();
        for seat in &seats {
            self.set(seat, "held", Some(hold));
        }
        self.holds.push(Hold { user, seats, expires_at: Instant::now() + self.settings.hold_ttl, state: "live" });
        self.show_hold(201, hold)
    }

    fn priced(&self, seats: &[String]) -> Vec<Value> {
        seats.iter().map(|seat| json!({"id": seat, "category": "Stalls", "price": price()})).collect()
    }

    fn total(&self, seats: &[String]) -> Value {
        json!({"amount": 1_000 * seats.len(), "currency": "EUR"})
    }

    fn show_hold(&self, status: u16, hold: usize) -> Answer {
        let Hold { seats, expires_at, .. } = &self.holds[hold];
        let left = expires_at.saturating_duration_since(Instant::now());
        let late = Instant::now().saturating_duration_since(*expires_at);
        let hold = json!({
            "holdId": format!("hold_{hold}"), "showtimeId": "showtime_1", "seats": self.priced(seats), "areas": [],
            "total": self.total(seats), "expiresAt": time_text(SystemTime::now() + left - late)
        });
        (status, hold)
    }

    fn on_hold(&mut self, method: &Method, user: u64, hold: usize) -> Answer {
        match self.holds.get(hold) {
            Some(found) if found.user != user => refuse(404, "no_such_hold"),
            None => refuse(404, "no_such_hold"),
            Some(found) if found.state != "live" => refuse(410, "hold_gone"),
            Some(_) if *method == Method::GET => self.show_hold(200, hold),
            Some(_) if self.is(Fault::KeepsReleased) => {
                self.holds[hold].state = "released";
                (204, Value::Null)
            }
            Some(_) => {
                self.end(hold, "released");
                (204, Value::Null)
            }
        }
    }

    fn place_order(&mut self, user: u64, body: &Value) -> Answer {
        let hold: usize = body["holdId"].as_str().unwrap().strip_prefix("hold_").unwrap().parse().unwrap();
        match self.holds.get(hold) {
            Some(found) if found.user == user && found.state == "live" => {
                self.holds[hold].state = "ordered";
                self.orders.push(Order { user, hold, state: "pendingPayment" });
                self.show_order(201, self.orders.len() - 1)
            }
            Some(found) if found.user == user => refuse(410, "hold_gone"),
            _ => refuse(404, "no_such_hold"),
        }
    }

    fn show_order(&self, status: u16, order: usize) -> Answer {
        let Order { hold, state, .. } = self.orders[order];
        let mut seats = self.holds[hold].seats.clone();
        if self.is(Fault::ShrinksOrders) && order % 10 == 3 && state == "completed" {
            seats.pop();
        }
        let order = json!({
            "orderId": format!("order_{order}"), "showtimeId": "showtime_1", "holdId": format!("hold_{hold}"),
            "state": state, "seats": self.priced(&seats), "areas": [], "total": self.total(&seats)
        });
        (status, order)
    }

    fn on_order(&mut self, user: u64, order: usize, rest: &[&str], body: &Value) -> Answer {
        let forgotten = self.is(Fault::ForgetsOrders) && order % 10 == 5;
        let found = self.orders.get(order).filter(|found| found.user == user);
        let Some(&Order { hold, state, .. }) = found.filter(|found| !forgotten || found.state == "pendingPayment")
        else {
            return refuse(404, "no_such_order");
        };
        match (rest, state) {
            ([], _) => self.show_order(200, order),
            (["cancel"], "pendingPayment") => {
                self.orders[order].state = "canceled";
                self.end(hold, "released");
                self.show_order(200, order)
            }
            (["payments"], _) if self.is(Fault::Stumbles) && order % 10 == 2 => refuse(500, "internal"),
            (["payments"], "pendingPayment") => {
                let good = body["method"]["token"] == json!("tok_ok");
                if good || self.is(Fault::SellsUnpaid) {
                    let owner = good.then_some(hold);
                    for (position, seat) in self.holds[hold].seats.clone().iter().enumerate() {
                        if self.is(Fault::ForgetsSales) && order % 10 == 4 && position == 0 {
                            self.set(seat, "available", None);
                        } else {
                            self.set(seat, "sold", owner);
                        }
                    }
                }
                if good {
                    self.orders[order].state = "completed";
                    if let Some(&ticket) = self.by_user.get(&user) {
                        self.tickets[ticket].state = "done";
                    }
                }
                let status = if good { "succeeded" } else { "failed" };
                (
                    200,
                    json!({"paymentId": format!("pay_{order}"), "orderId": format!("order_{order}"), "status": status}),
                )
            }
            _ => refuse(409, "wrong_order_state"),
        }
    }
}

fn time_text(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap()
}

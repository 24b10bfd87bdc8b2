//! One call in good and bad weather: repetition, deadlines, bounds, failover.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vestibule_client::{Client, Error, HoldRequest, IdempotencyKey, Settings, Token};

/// What the server does with a request.
enum Deed {
    Answer(u16, &'static str),
    /// With `Retry-After`, in seconds.
    TurnAway(u16, &'static str),
    /// Takes its time.
    Stall(Duration),
    /// Breaks off in the middle of the answer.
    CutOff,
}

struct Server {
    deeds: Mutex<VecDeque<Deed>>,
    /// Method, path, idempotency key and authorization of each request.
    seen: Mutex<Vec<String>>,
}

async fn serve(deeds: impl IntoIterator<Item = Deed>) -> (String, Arc<Server>) {
    let server = Arc::new(Server { deeds: Mutex::new(deeds.into_iter().collect()), seen: Mutex::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(handle).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, server)
}

async fn handle(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let header = |name: &str| head.headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
    let (key, authorization) = (header("idempotency-key"), header("authorization"));
    server.seen.lock().unwrap().push(format!("{} {} {key} {authorization}", head.method, head.uri));
    let deed = server.deeds.lock().unwrap().pop_front().unwrap_or(Deed::Answer(200, "{}"));
    let status = |status| StatusCode::from_u16(status).unwrap();
    match deed {
        Deed::Answer(code, body) => (status(code), body).into_response(),
        Deed::TurnAway(code, after) => {
            let body = format!(r#"{{"status": {code}, "code": "overloaded", "detail": "later"}}"#);
            (status(code), [("retry-after", after)], body).into_response()
        }
        Deed::Stall(span) => {
            tokio::time::sleep(span).await;
            "{}".into_response()
        }
        Deed::CutOff => {
            let half = futures::stream::iter([Ok(bytes::Bytes::from("{")), Err(std::io::Error::other("cut off"))]);
            let body = axum::body::Body::from_stream(half);
            Response::builder().header("content-length", 1_000).body(body).unwrap()
        }
    }
}

fn settings() -> Settings {
    Settings {
        attempt_timeout: Duration::from_millis(300),
        call_timeout: Duration::from_secs(5),
        attempts_max: 4,
        pause_min: Duration::from_millis(10),
        ..Settings::default()
    }
}

const HOLD: &str = r#"{"holdId": "hold_1", "showtimeId": "showtime_1", "seats": [{"id": "A-1-1", "category": "A",
    "price": {"amount": 5, "currency": "EUR"}}], "areas": [], "total": {"amount": 5, "currency": "EUR"},
    "expiresAt": "2026-11-20T10:00:00.123Z", "news": 1}"#;

async fn hold(client: &Client) -> Result<vestibule_client::Hold, Error> {
    let request = HoldRequest::Seats { seats: vec!["A-1-1".to_owned()] };
    let key = IdempotencyKey::new("key-1").unwrap();
    client.hold(&Token::new("secret"), &"showtime_1".into(), &request, &key).await
}

#[tokio::test]
async fn a_call_is_repeated_under_its_key_until_it_is_answered() {
    let deeds = [Deed::TurnAway(503, "0"), Deed::Stall(Duration::from_secs(9)), Deed::CutOff, Deed::Answer(201, HOLD)];
    let (url, server) = serve(deeds).await;
    let client = Client::new([&url], settings(), 1).unwrap();
    let hold = hold(&client).await.unwrap();
    assert_eq!((hold.seats[0].id.as_str(), hold.total.amount), ("A-1-1", 5));
    let seen = server.seen.lock().unwrap();
    assert_eq!(*seen, vec!["POST /api/v1/showtimes/showtime_1/holds key-1 Bearer secret"; 4]);
    let figures = client.figures();
    assert_eq!((figures.attempts, figures.turned_away, figures.unanswered), (4, 1, 2));
}

#[tokio::test]
async fn attempts_are_counted_and_an_unknown_outcome_is_called_so() {
    let (url, server) = serve((0..9).map(|_| Deed::CutOff)).await;
    let client = Client::new([&url], settings(), 1).unwrap();
    let error = hold(&client).await.unwrap_err();
    assert!(matches!(&error, Error::OutcomeUnknown { last } if matches!(**last, Error::Lost { .. })), "{error:?}");
    assert!(error.is_outcome_unknown());
    assert_eq!(server.seen.lock().unwrap().len(), 4);

    // The first attempt may have been carried out, whatever the last one met.
    let (url, _) =
        serve([Deed::CutOff, Deed::TurnAway(503, "0"), Deed::TurnAway(503, "0"), Deed::TurnAway(503, "0")]).await;
    let error = hold(&Client::new([&url], settings(), 1).unwrap()).await.unwrap_err();
    assert!(matches!(&error, Error::OutcomeUnknown { .. }), "{error:?}");
    // Nothing was, if the server turned everything away.
    let (url, _) = serve((0..4).map(|_| Deed::TurnAway(503, "0"))).await;
    let error = hold(&Client::new([&url], settings(), 1).unwrap()).await.unwrap_err();
    assert!(!error.is_outcome_unknown() && error.code() == Some("overloaded"), "{error:?}");
    // A question has no outcome.
    let (url, _) = serve((0..4).map(|_| Deed::CutOff)).await;
    let error = Client::new([&url], settings(), 1).unwrap().queue_status(&"showtime_1".into()).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_is_final_and_says_everything() {
    let body = r#"{"type": "t", "title": "T", "status": 409, "detail": "taken", "code": "seats_unavailable",
        "requestId": "r1", "seats": ["A-1-1"], "ahead": 7}"#;
    let (url, server) = serve([Deed::Answer(409, body)]).await;
    let error = hold(&Client::new([&url], settings(), 1).unwrap()).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!((problem.status, problem.seats(), problem.ahead()), (409, vec!["A-1-1"], Some(7)));
    assert_eq!(error.to_string(), "409 seats_unavailable: taken");
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_server_is_left_alone_as_long_as_it_wishes() {
    let (url, _) = serve([Deed::TurnAway(429, "1"), Deed::Answer(201, HOLD)]).await;
    let started = Instant::now();
    hold(&Client::new([&url], settings(), 1).unwrap()).await.unwrap();
    let waited = started.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_millis(1_500)).contains(&waited), "{waited:?}");

    // Longer than the call may take: the refusal comes back at once, with the wish.
    let (url, server) = serve([Deed::TurnAway(503, "60")]).await;
    let started = Instant::now();
    let error = hold(&Client::new([&url], settings(), 1).unwrap()).await.unwrap_err();
    assert_eq!(error.problem().unwrap().retry_after, Some(Duration::from_secs(60)));
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(server.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn every_call_ends_by_its_deadline() {
    let (url, _) = serve((0..9).map(|_| Deed::Stall(Duration::from_secs(60)))).await;
    let settings = Settings { call_timeout: Duration::from_millis(700), attempts_max: 99, ..settings() };
    let client = Client::new([&url], settings, 1).unwrap();
    let started = Instant::now();
    let error = hold(&client).await.unwrap_err();
    assert!(matches!(&error, Error::OutcomeUnknown { last } if matches!(**last, Error::TimedOut { .. })), "{error:?}");
    assert!(started.elapsed() < Duration::from_millis(1_000), "{:?}", started.elapsed());
}

#[tokio::test]
async fn answers_are_bounded_and_have_to_fit() {
    let (url, _) = serve([Deed::Answer(200, HOLD)]).await;
    let client = Client::new([&url], Settings { answer_len_max: 50, ..settings() }, 1).unwrap();
    let error = client.get_hold(&Token::new("t"), &"hold_1".into()).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 50 }), "{error:?}");

    for (status, body) in [(200, "<html>"), (200, "{}"), (404, "<html>")] {
        let (url, _) = serve([Deed::Answer(status, body)]).await;
        let client = Client::new([&url], settings(), 1).unwrap();
        let error = client.get_hold(&Token::new("t"), &"hold_1".into()).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    }
    // A proxy in front that is overloaded speaks HTML.
    let (url, _) = serve([Deed::Answer(503, "<html>"), Deed::Answer(200, HOLD)]).await;
    let client = Client::new([&url], settings(), 1).unwrap();
    client.get_hold(&Token::new("t"), &"hold_1".into()).await.unwrap();
}

#[tokio::test]
async fn the_next_gateway_is_asked_when_one_is_gone() {
    let (url, server) = serve([Deed::Answer(200, HOLD), Deed::Answer(200, HOLD)]).await;
    let client = Client::new(["http://127.0.0.1:1", &url], settings(), 1).unwrap();
    for _ in 0..2 {
        client.get_hold(&Token::new("t"), &"hold_1".into()).await.unwrap();
    }
    let figures = client.figures();
    assert_eq!((figures.attempts, figures.failovers), (3, 1));
    assert_eq!(server.seen.lock().unwrap().len(), 2);

    let error = Client::new(["http://127.0.0.1:1"], settings(), 1).unwrap().guest().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn ids_from_elsewhere_stay_in_their_place() {
    let (url, server) = serve([]).await;
    let client = Client::new([&url], settings(), 1).unwrap();
    for id in ["a/b", "..", "a?b#c", "a b", "ä"] {
        let _ = client.get_hold(&Token::new("t"), &id.into()).await;
    }
    let seen = server.seen.lock().unwrap().clone();
    let paths: Vec<_> = seen.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["a%2Fb", "%2E%2E", "a%3Fb%23c", "a%20b", "%C3%A4"].map(|id| format!("/api/v1/holds/{id}")));
    let error = client.get_hold(&Token::new("a\nb"), &"hold_1".into()).await.unwrap_err();
    assert!(matches!(error, Error::BadCall(_)), "{error:?}");
    assert!(IdempotencyKey::new("").is_err() && IdempotencyKey::new("a b").is_err());
}

#[tokio::test]
async fn a_seed_gives_the_same_keys_and_another_seed_others() {
    let client = |seed| Client::new(["http://127.0.0.1:1"], settings(), seed).unwrap();
    let (a, b) = (client(1), client(1));
    let (first, second) = (a.new_key(), a.new_key());
    assert_eq!((b.new_key(), b.new_key()), (first.clone(), second.clone()));
    assert_ne!(first, second);
    assert_ne!(client(2).new_key(), first);
    assert_eq!(a.reseeded(2).new_key(), client(2).new_key());
    assert!(Client::new(Vec::<&str>::new(), settings(), 1).is_err());
}

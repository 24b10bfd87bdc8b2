//! How fast it is, without sockets and without a cluster to wait for. Run with
//! `cargo test --release -p vestibule-gateway --test figures -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;
use support::{World, eur};
use tokio::time::Instant;
use vestibule_gateway::{GatewayConfig, HeavyWork};

fn say(what: &str, count: u32, took: Duration) {
    let each = took / count;
    println!("{what:48} {:>10.0}/s {each:>12?} each", f64::from(count) / took.as_secs_f64());
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "measures"]
async fn figures() {
    let world = World::with(GatewayConfig { heavy_work: HeavyWork::Pool(2), ..support::config() });
    let token = world.organizer().await;
    let plan: Value = serde_json::from_str(&vestibule_engine::plan::arena(20_000).unwrap()).unwrap();
    world.cluster.audits.store(false, std::sync::atomic::Ordering::SeqCst);
    let prices: serde_json::Map<_, _> = plan["categories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|category| (category["name"].as_str().unwrap().to_owned(), eur(5_000)))
        .collect();
    let body = json!({"name": "Arena", "city": "London", "country": "GB", "plan": plan}).to_string();
    let started = Instant::now();
    let venue = world.post("/venues").token(&token).body(body).send().await.expect(StatusCode::CREATED);
    say("import a venue of 20,000 seats", 1, started.elapsed());
    let event = world.post("/events").token(&token).json(json!({"title": "Cup final"})).send().await.json();
    let body = json!({
        "eventId": event["eventId"],
        "venueId": venue["venueId"],
        "startsAt": "2026-12-24T19:30:00Z",
        "prices": prices,
        "sale": {"method": "passthrough", "opensAt": "2026-11-20T09:00:00Z"},
    });
    let showtime = world.post("/showtimes").token(&token).json(body).send().await.expect(StatusCode::CREATED);
    let showtime = showtime["showtimeId"].as_str().unwrap().to_owned();

    let count = 4_000;
    let started = Instant::now();
    futures::future::join_all((0..count).map(|_| world.guest())).await;
    say("guests", count, started.elapsed());
    let guest = world.guest().await;

    let status = format!("/showtimes/{showtime}/queue");
    world.get(&status).send().await.expect(StatusCode::OK);
    let count = 100_000;
    let started = Instant::now();
    for _ in 0..count {
        assert_eq!(world.get(&status).send().await.status, StatusCode::OK);
    }
    say("public status", count, started.elapsed());
    let started = Instant::now();
    for _ in 0..count {
        assert_eq!(world.get("/health/live").send().await.status, StatusCode::OK);
    }
    say("health (the edge alone)", count, started.elapsed());

    let seats = format!("/showtimes/{showtime}/seats");
    let all = world.get(&seats).send().await;
    let labels: Vec<String> = all.json()["states"].as_object().unwrap().keys().cloned().collect();
    println!("all seats: {} bytes", all.body.len());
    let started = Instant::now();
    for _ in 0..count {
        assert_eq!(world.get(&seats).send().await.body.len(), all.body.len());
    }
    say("all seats, unchanged", count, started.elapsed());
    let holds = format!("/showtimes/{showtime}/holds");
    let hold = async |n: u32| {
        let token = world.guest().await;
        let body = json!({"seats": [labels[n as usize]]});
        let started = Instant::now();
        let answer = world.post(&holds).token(&token).key("k").json(body).send().await;
        assert_eq!(answer.status, StatusCode::CREATED);
        started.elapsed()
    };
    let count = 1_000;
    let (mut held, mut looked) = (Duration::ZERO, Duration::ZERO);
    for n in 0..count {
        held += hold(n).await;
        let started = Instant::now();
        assert_eq!(world.get(&seats).send().await.status, StatusCode::OK);
        looked += started.elapsed();
    }
    say("hold a seat", count, held);
    say("all seats, just changed", count, looked);
    let started = Instant::now();
    for n in 0..count {
        let path = format!("{seats}?since={n}");
        assert_eq!(world.get(&path).send().await.status, StatusCode::OK);
    }
    say("changed seats since some time", count, started.elapsed());
    let started = Instant::now();
    for _ in 0..count {
        let answer = world.get("/holds/hold_0000000000000").token(&guest).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    say("a token checked, and a problem written", count, started.elapsed());
}

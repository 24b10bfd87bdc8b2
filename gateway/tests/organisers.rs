//! What organisers do, and what goes wrong on the way.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use expect_test::expect;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Fault, World, eur, venue};

#[tokio::test(start_paused = true)]
async fn from_a_plan_to_a_sale() {
    let world = World::new();
    let token = world.organizer().await;
    let mut lines = Vec::new();
    let made = world.post("/venues").token(&token).key("venue").json(venue()).send().await;
    lines.push(made.line());
    lines.push(world.post("/venues").token(&token).key("venue").json(venue()).send().await.line());
    let venue_id = made.json()["venueId"].as_str().unwrap().to_owned();
    let event = json!({"title": "Hamlet", "category": "theatre", "city": "London", "performers": ["A. Actor"]});
    let made = world.post("/events").token(&token).key("event").json(event).send().await;
    lines.push(made.line());
    let event_id = made.json()["eventId"].as_str().unwrap().to_owned();
    let path = format!("/events/{event_id}");
    let patch = json!({"description": "Not to be"});
    lines.push(world.call("PATCH", &path).token(&token).json(patch.clone()).send().await.line());
    let guarded = world.call("PATCH", &path).token(&token).header("if-match", "\"1\"").json(patch).send().await;
    guarded.expect_problem(412, "version_mismatch");

    let body = json!({
        "eventId": event_id,
        "venueId": venue_id,
        "startsAt": "2026-12-24T19:30:00+01:00",
        "prices": {"Stalls": eur(5_000), "Circle": eur(2_500)},
        "sale": {"method": "fifo", "opensAt": "2026-11-20T12:00:00Z", "admission": {"maxActive": 7}},
    });
    let made = world.post("/showtimes").token(&token).key("showtime").json(body.clone()).send().await;
    lines.push(made.line());
    lines.push(world.post("/showtimes").token(&token).key("showtime").json(body).send().await.line());
    let showtime = made.json()["showtimeId"].as_str().unwrap().to_owned();
    let path = format!("/showtimes/{showtime}");
    lines.push(world.get(&path).send().await.line());
    lines.push(world.get(&format!("/events/{event_id}")).send().await.line());
    lines.push(world.get("/events?q=hamlet&city=london&limit=1").send().await.line());
    lines.push(world.get("/events?q=macbeth").send().await.line());
    let patch = json!({"opensAt": null, "holdSeconds": 60, "admission": {"ratePerMinute": 120}});
    lines.push(world.call("PATCH", &format!("{path}/sale")).token(&token).json(patch).send().await.line());
    for word in ["open", "pause", "resume", "close"] {
        let answer = world.post(&format!("{path}/queue/{word}")).token(&token).send().await;
        lines.push(format!("{word}: {} {}", answer.status.as_u16(), answer.json()["state"]));
        let seen = world.get(&format!("{path}/queue")).send().await.expect(StatusCode::OK);
        assert_eq!(seen["state"], answer.json()["state"]);
    }
    let message = format!("{path}/queue/message");
    let text = json!({"text": "Doors at seven"});
    lines.push(world.post(&message).token(&token).json(text).send().await.json()["message"].to_string());
    lines.push(
        world.post(&message).token(&token).json(json!({"text": null})).send().await.json()["message"].to_string(),
    );
    lines.push(world.get(&format!("{path}/report")).token(&token).send().await.line());
    lines.push(world.get(&format!("{path}/queue/draw")).send().await.status.to_string());
    expect![[r#"
        201 {"areas":[{"capacity":5,"category":"Circle","name":"Standing"}],"categories":["Stalls","Circle"],"seats":10,"venueId":"venue_0000000000001","version":1}
        201 replayed {"areas":[{"capacity":5,"category":"Circle","name":"Standing"}],"categories":["Stalls","Circle"],"seats":10,"venueId":"venue_0000000000001","version":1}
        201 {"eventId":"event_0000000000001","version":1}
        200 {"category":"theatre","city":"London","description":"Not to be","eventId":"event_0000000000001","organisationId":"org_0000000000001","performers":["A. Actor"],"title":"Hamlet","version":2}
        201 {"group":1,"showtimeId":"showtime_0008000000001"}
        201 replayed {"group":1,"showtimeId":"showtime_0008000000001"}
        200 {"eventId":"event_0000000000001","group":1,"organisationId":"org_0000000000001","prices":{"Circle":{"amount":2500,"currency":"EUR"},"Stalls":{"amount":5000,"currency":"EUR"}},"sale":{"admission":{"claimSeconds":120,"maxActive":7,"ratePerMinute":600,"sessionSeconds":600},"beacon":null,"closesAt":null,"holdSeconds":300,"holdTotalSeconds":900,"maxSeatsPerBuyer":6,"maxSeatsPerHold":6,"method":"fifo","opensAt":"2026-11-20T12:00:00Z","paymentSeconds":600,"prequeueAt":null,"preventOrphans":false,"waitlist":false},"seatMapVersion":1,"seats":10,"showtimeId":"showtime_0008000000001","startsAt":"2026-12-24T18:30:00Z","state":"scheduled","venueId":"venue_0000000000001"}
        200 {"category":"theatre","city":"London","description":"Not to be","eventId":"event_0000000000001","organisationId":"org_0000000000001","performers":["A. Actor"],"showtimes":[{"opensAt":"2026-11-20T12:00:00Z","showtimeId":"showtime_0008000000001","startsAt":"2026-12-24T18:30:00Z","state":"active","venueId":"venue_0000000000001"}],"title":"Hamlet","version":2}
        200 {"items":[{"category":"theatre","city":"London","description":"Not to be","eventId":"event_0000000000001","organisationId":"org_0000000000001","performers":["A. Actor"],"title":"Hamlet","version":2}],"nextCursor":null}
        200 {"items":[],"nextCursor":null}
        200 {"admission":{"claimSeconds":120,"maxActive":7,"ratePerMinute":120,"sessionSeconds":600},"beacon":null,"closesAt":null,"holdSeconds":60,"holdTotalSeconds":900,"maxSeatsPerBuyer":6,"maxSeatsPerHold":6,"method":"fifo","opensAt":null,"paymentSeconds":600,"prequeueAt":null,"preventOrphans":false,"waitlist":false}
        open: 200 "open"
        pause: 200 "paused"
        resume: 200 "open"
        close: 200 "closed"
        "Doors at seven"
        null
        200 {"captured":{"amount":0,"currency":"EUR"},"categories":[{"available":6,"blocked":0,"category":"Stalls","held":0,"price":{"amount":5000,"currency":"EUR"},"revenue":{"amount":0,"currency":"EUR"},"sold":0},{"available":9,"blocked":0,"category":"Circle","held":0,"price":{"amount":2500,"currency":"EUR"},"revenue":{"amount":0,"currency":"EUR"},"sold":0}],"holds":0,"orders":{},"queue":{"called":0,"claimed":0,"done":0,"expired":0,"joined":0,"left":0,"missed":0},"refundDue":{"amount":0,"currency":"EUR"},"refunded":{"amount":0,"currency":"EUR"},"showtimeId":"showtime_0008000000001"}
        200 OK"#]].assert_eq(&lines.join("\n"));

    world.call("DELETE", &format!("/events/{event_id}")).token(&token).send().await.expect_problem(409, "in_use");
    let made = world.post("/events").token(&token).json(json!({"title": "Lear"})).send().await.json();
    let path = format!("/events/{}", made["eventId"].as_str().unwrap());
    world.call("DELETE", &path).token(&token).send().await.expect(StatusCode::NO_CONTENT);
    world.get(&path).send().await.expect_problem(404, "no_such_event");
    world.cluster.audit();
}

#[tokio::test(start_paused = true)]
async fn a_showtime_is_finished_whoever_retries() {
    let world = World::new();
    let token = world.organizer().await;
    let venue = world.post("/venues").token(&token).json(venue()).send().await.expect(StatusCode::CREATED);
    let event = world.post("/events").token(&token).json(json!({"title": "Hamlet"})).send().await.json();
    let body = json!({
        "eventId": event["eventId"],
        "venueId": venue["venueId"],
        "startsAt": "2026-12-24T19:30:00Z",
        "prices": {"Stalls": eur(5_000), "Circle": eur(2_500)},
    });
    let mut made = Vec::new();
    for good in 0..3 {
        for fault in [Fault::LostAnswer, Fault::LostCommand, Fault::NoLeader] {
            let key = format!("{good} {fault:?}");
            *world.cluster.fault.lock() = Some((good, fault));
            let answer = world.post("/showtimes").token(&token).key(&key).json(body.clone()).send().await;
            let code = if fault == Fault::NoLeader { "no_leader" } else { "outcome_unknown" };
            answer.expect_problem(503, code);
            let other = world.another_gateway();
            let answer = other.post("/showtimes").token(&token).key(&key).json(body.clone()).send().await;
            let showtime = answer.expect(StatusCode::CREATED)["showtimeId"].as_str().unwrap().to_owned();
            other.get(&format!("/showtimes/{showtime}/queue")).send().await.expect(StatusCode::OK);
            made.push(showtime);
        }
    }
    made.dedup();
    assert_eq!(made.len(), 9);
    let all = world.get(&format!("/events/{}", event["eventId"].as_str().unwrap())).send().await.json();
    assert_eq!(all["showtimes"].as_array().unwrap().len(), 9, "a retry made another showtime");

    let key = "0 LostAnswer";
    let mut other = body.clone();
    other["prices"]["Stalls"] = eur(1);
    let answer = world.post("/showtimes").token(&token).key(key).json(other).send().await;
    answer.expect_problem(422, "idempotency_key_reused");
    let mut short = body.clone();
    short["prices"].as_object_mut().unwrap().remove("Circle");
    let problem = world.post("/showtimes").token(&token).json(short).send().await.expect_problem(422, "price_missing");
    assert_eq!(problem["field"], "prices.Circle");
    let mut long = body.clone();
    long["prices"]["Gods"] = eur(1);
    world.post("/showtimes").token(&token).json(long).send().await.expect_problem(422, "no_such_category");
    let mut bad = body.clone();
    bad["sale"] = json!({"holdSeconds": 0});
    let problem = world.post("/showtimes").token(&token).json(bad).send().await.expect_problem(422, "out_of_bounds");
    assert_eq!(problem["field"], "holdSeconds");
    let mut none = body;
    none["venueId"] = "venue_zzzz".into();
    world.post("/showtimes").token(&token).json(none).send().await.expect_problem(404, "no_such_venue");
}

#[tokio::test(start_paused = true)]
async fn a_bad_plan_is_refused_with_its_place() {
    let world = World::new();
    let token = world.organizer().await;
    let send = async |body: String| world.post("/venues").token(&token).body(body).send().await;
    let mut bad = venue();
    bad["plan"]["zones"][0]["rows"][1]["seats"][2]["category"] = "Gods".into();
    let problem = send(bad.to_string()).await.expect_problem(422, "invalid_plan");
    assert_eq!(problem["path"], "plan.zones[0].rows[1].seats[2].category");
    let mut bad = venue();
    bad["areas"][0]["capacity"] = 0.into();
    let problem = send(bad.to_string()).await.expect_problem(422, "invalid_plan");
    assert_eq!(problem["path"], "areas[0].capacity");
    let mut bad = venue();
    bad["plan"] = json!(17);
    send(bad.to_string()).await.expect_problem(422, "invalid_plan");
    let mut bad = venue();
    bad["plans"] = json!({});
    assert_eq!(send(bad.to_string()).await.expect_problem(400, "unknown_field")["field"], "plans");
    let mut bad = venue();
    bad["areas"][0]["price"] = json!(5);
    assert_eq!(send(bad.to_string()).await.expect_problem(400, "unknown_field")["field"], "areas[0].price");
    let nan = venue().to_string().replacen(r#""x":10"#, r#""x":NaN"#, 1);
    assert!(nan.contains("NaN"));
    let problem = send(nan).await.expect_problem(400, "malformed_request");
    assert_eq!(problem["field"], "plan");
    send("the stalls are to the left".to_owned()).await.expect_problem(400, "malformed_request");
    send("[".repeat(1 << 20)).await.expect_problem(400, "malformed_request");
    send("x".repeat((16 << 20) + 1)).await.expect_problem(413, "body_too_large");
    let mut long = venue();
    long["plan"]["padding"] = "x".repeat(15 << 20).into();
    send(long.to_string()).await.expect(StatusCode::CREATED);
}

#[tokio::test(start_paused = true)]
async fn layouts_never_change() {
    let world = World::new();
    let token = world.organizer().await;
    let made = world.post("/venues").token(&token).json(venue()).send().await.expect(StatusCode::CREATED);
    let path = format!("/venues/{}/seatmap", made["venueId"].as_str().unwrap());
    let map = world.get(&path).send().await;
    let etag = map.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'));
    for tags in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".to_owned()] {
        let same = world.get(&path).header("if-none-match", &tags).send().await;
        assert_eq!((same.status, same.body.len(), same.header("etag")), (StatusCode::NOT_MODIFIED, 0, &*etag));
    }
    let other = world.another_gateway().get(&path).header("if-none-match", "\"other\"").send().await;
    assert_eq!((other.status, other.header("etag")), (StatusCode::OK, &*etag));
    let map = map.expect(StatusCode::OK);
    expect![[r#"{"accessibility":["stepFree"],"category":"Stalls","gapAfter":false,"id":"Stalls-A-1","label":"1","x":10.0,"y":0.0}"#]]
        .assert_eq(&map["sections"][0]["rows"][0]["seats"][0].to_string());
    assert_eq!(map["areas"], json!([{"id": "Standing", "capacity": 5, "category": "Circle"}]));
    world.get("/venues/venue_0000000000000/seatmap").send().await.expect_problem(404, "no_such_venue");
}

#[tokio::test(start_paused = true)]
async fn a_draw_takes_the_randomness_that_was_planned_and_no_other() {
    let world = World::new();
    let showtime = world
        .showtime(json!({
            "method": "draw", "prequeueAt": "2026-11-20T09:00:00Z", "opensAt": "2026-11-20T09:01:00Z",
            "beacon": {"source": "https://beacon.example/rounds", "round": 71},
        }))
        .await;
    let path = format!("/showtimes/{showtime}/queue");
    let (ann, organiser) = (world.guest().await, world.organizer().await);
    world.post(&format!("{path}/entries")).token(&ann).send().await.expect(StatusCode::CREATED);
    let record =
        async |token: &str, body: Value| world.post(&format!("{path}/beacon")).token(token).json(body).send().await;
    let good = json!({"round": 71, "randomness": "00fFa5"});
    record(&organiser, good.clone()).await.expect_problem(409, "wrong_queue_state");

    world.pass(Duration::from_secs(61)).await;
    assert_eq!(world.get(&path).send().await.json()["state"], "prequeue", "it waits for the randomness");
    for bad in [json!("0"), json!("0g"), json!(" 00"), json!("+100"), json!("é"), json!(7), json!(null)] {
        let body = json!({"round": 71, "randomness": bad});
        record(&organiser, body).await.expect_problem(400, "malformed_request");
    }
    record(&organiser, json!({"round": 71, "randomness": ""})).await.expect_problem(422, "out_of_bounds");
    record(&organiser, json!({"round": 70, "randomness": "00ffa5"})).await.expect_problem(422, "out_of_bounds");
    record(&ann, good.clone()).await.expect_problem(403, "wrong_role");
    let opened = record(&organiser, good.clone()).await.expect(StatusCode::OK);
    assert_eq!(opened["state"], "open");
    let draw = world.get(&format!("{path}/draw")).send().await.json();
    assert_eq!((&draw["beacon"], &draw["entrants"]), (&json!("00ffa5"), &json!(1)));

    // Told again it is the same, and another one comes too late.
    record(&organiser, good).await.expect(StatusCode::OK);
    record(&organiser, json!({"round": 71, "randomness": "01"})).await.expect_problem(409, "already_exists");
    world.cluster.audit();
}

#[tokio::test(start_paused = true)]
async fn organisers_keep_to_their_own() {
    let world = World::new();
    let showtime = world.showtime(json!({"opensAt": "2026-11-20T09:00:00Z"})).await;
    let event = world.get("/events").send().await.json()["items"][0]["eventId"].as_str().unwrap().to_owned();
    let rival = world.gateway.organizer_token("Globe").await.unwrap().token;
    let guest = world.guest().await;
    let calls: &[(&str, String, Value)] = &[
        ("PATCH", format!("/events/{event}"), json!({"title": "Macbeth"})),
        ("DELETE", format!("/events/{event}"), json!({})),
        ("PATCH", format!("/showtimes/{showtime}/sale"), json!({"holdSeconds": 60})),
        ("POST", format!("/showtimes/{showtime}/queue/pause"), json!({})),
        ("POST", format!("/showtimes/{showtime}/queue/message"), json!({"text": "Go away"})),
        ("POST", format!("/showtimes/{showtime}/blocks"), json!({"seats": ["Stalls-A-1"], "reason": "mine"})),
        ("DELETE", format!("/showtimes/{showtime}/blocks"), json!({"seats": ["Stalls-A-1"]})),
        ("GET", format!("/showtimes/{showtime}/report"), json!({})),
    ];
    for (method, path, body) in calls {
        let send = async |token: &str| world.call(method, path).token(token).json(body.clone()).send().await;
        send(&rival).await.expect_problem(403, "wrong_organisation");
        send(&guest).await.expect_problem(403, "wrong_role");
        world.call(method, path).json(body.clone()).send().await.expect_problem(401, "token_required");
    }
    for path in ["/venues", "/events", "/showtimes"] {
        let answer = world.post(path).token(&guest).json(json!({"title": "Mine"})).send().await;
        assert!(matches!(answer.status.as_u16(), 400 | 403), "{path}: {}", answer.line());
    }
    let token = world.organizer().await;
    assert_eq!(world.gateway.organizer_token("Globe").await.unwrap().token.split('.').count(), 3);

    let blocks = format!("/showtimes/{showtime}/blocks");
    let seats = json!({"seats": ["Stalls-A-1"], "reason": "the camera"});
    world.post(&blocks).token(&token).json(seats).send().await.expect(StatusCode::OK);
    let seats = world.get(&format!("/showtimes/{showtime}/seats")).send().await.expect(StatusCode::OK);
    assert_eq!(seats["states"]["Stalls-A-1"], "blocked");
    let back = json!({"seats": ["Stalls-A-1"]});
    world.call("DELETE", &blocks).token(&token).json(back).send().await.expect(StatusCode::OK);
    world.pass(Duration::from_secs(1)).await;
    let seats = world.get(&format!("/showtimes/{showtime}/seats")).send().await.expect(StatusCode::OK);
    assert_eq!(seats["states"]["Stalls-A-1"], "available");
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_a_problem() {
    let world = World::new();
    let showtime = world.showtime(json!({"opensAt": "2026-11-20T12:00:00Z"})).await;
    let ann = world.guest().await;
    let entries = format!("/showtimes/{showtime}/queue/entries");
    let problem = world.post(&entries).token(&ann).send().await.expect_problem(409, "wrong_queue_state");
    assert_eq!((&problem["state"], &problem["opensAt"]), (&json!("scheduled"), &json!("2026-11-20T12:00:00Z")));

    world.get("/nowhere").send().await.expect_problem(404, "not_found");
    world.get("/api/v1/nowhere").send().await.expect_problem(404, "not_found");
    let answer = world.call("PUT", &entries).send().await;
    assert_eq!(answer.header("allow"), "POST");
    answer.expect_problem(405, "method_not_allowed");
    world.post("/orders").token(&ann).key("k").body("{").send().await.expect_problem(400, "malformed_request");
    let body = json!({"holdId": 5, "email": "a@b"});
    let problem = world.post("/orders").token(&ann).key("k").json(body).send().await;
    assert_eq!(problem.expect_problem(400, "malformed_request")["field"], "holdId");
    let body = json!({"holdId": "hold_0", "email": "a@b", "seats": []});
    let problem = world.post("/orders").token(&ann).key("k").json(body).send().await;
    assert_eq!(problem.expect_problem(400, "unknown_field")["field"], "seats");
    let body = json!({"best": {"quantity": 2, "rows": 1}});
    let holds = format!("/showtimes/{showtime}/holds");
    let problem = world.post(&holds).token(&ann).key("k").json(body).send().await;
    assert_eq!(problem.expect_problem(400, "unknown_field")["field"], "best.rows");
    let problem = world.post(&entries).token(&ann).json(json!({"place": 1})).send().await;
    assert_eq!(problem.expect_problem(400, "unknown_field")["field"], "place");
    let body = json!({"method": {"type": "card", "token": "tok_ok", "cvc": "123"}});
    let problem = world.post("/orders/order_0000000000000/payments").token(&ann).key("k").json(body).send().await;
    problem.expect_problem(400, "unknown_field");
    let body = json!({"method": {"type": "cash"}});
    let problem = world.post("/orders/order_0000000000000/payments").token(&ann).key("k").json(body).send().await;
    problem.expect_problem(400, "malformed_request");
    let long = "x".repeat((1 << 20) + 1);
    world.post("/orders").token(&ann).key("k").body(long).send().await.expect_problem(413, "body_too_large");
    for id in ["hold_0000000000000", "hold_1zzzzzzzzzzzz", "hold_", "x", "hold_%00", "..%2f.."] {
        world.get(&format!("/holds/{id}")).token(&ann).send().await.expect_problem(404, "no_such_hold");
    }

    let answer = world.get("/nowhere").header("x-request-id", "my-id.7").send().await;
    assert_eq!(answer.header("x-request-id"), "my-id.7");
    answer.expect_problem(404, "not_found");
    for id in ["", "with space", &"x".repeat(65), "ü"] {
        let answer = world.get("/nowhere").header("x-request-id", id).send().await;
        assert_ne!(answer.header("x-request-id"), id);
        answer.expect_problem(404, "not_found");
    }

    *world.cluster.fault.lock() = Some((0, Fault::Overloaded));
    world.post(&entries).token(&ann).send().await.expect_problem(503, "overloaded");
    *world.cluster.fault.lock() = Some((0, Fault::TooLarge));
    let refused = world.post(&entries).token(&ann).send().await.expect_problem(413, "command_too_large");
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("takes 7 bytes at most")), "{refused}");
    world.cluster.down.store(true, Ordering::SeqCst);
    world.post(&entries).token(&ann).send().await.expect_problem(503, "no_leader");
    world.get("/holds/hold_0008000000001").token(&ann).send().await.expect_problem(503, "unavailable");
    world.get("/health/ready").send().await.expect_problem(503, "not_ready");
    world.get("/health/live").send().await.expect(StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn health_and_figures() {
    let world = World::new();
    world.get("/health/ready").send().await.expect(StatusCode::OK);
    let showtime = world.showtime(json!({"opensAt": "2026-11-20T09:00:00Z"})).await;
    world.get(&format!("/showtimes/{showtime}/seats")).send().await.expect(StatusCode::OK);
    world.get(&format!("/api/v1/{}", "x".repeat(100))).send().await.expect_problem(404, "not_found");
    let metrics = world.get("/metrics").send().await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        r#"vestibule_gateway_requests_total{method="GET",route="/api/v1/showtimes/{showtime}/seats",status="200"} 1"#,
        r#"vestibule_gateway_requests_total{method="GET",route="none",status="404"} 1"#,
        "vestibule_gateway_requests_in_flight 1",
        "vestibule_gateway_mirror_showtimes 1",
        r#"vestibule_gateway_proposals_total{result="done"}"#,
        "vestibule_gateway_mirror_age_seconds 0",
        r#"vestibule_gateway_request_duration_seconds_bucket{le="0.00025",method="GET""#,
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(!text.contains("xxxx"));

    let full = World::with(vestibule_gateway::GatewayConfig { requests_max: 0, ..support::config() });
    full.get("/health/live").send().await.expect_problem(503, "overloaded");
}

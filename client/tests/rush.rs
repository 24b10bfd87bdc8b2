//! The load generator against an honest seller, a troubled one, and one that breaks each promise in turn: a check that
//! cannot fail is no check.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use futures::stream::{self, StreamExt};
use indicatif::ProgressBar;
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Fault, Seller, Settings};
use vestibule_client::Client;
use vestibule_client::rush::{Outcome, RushOptions, RushReport, run};

fn options(buyers: u32) -> RushOptions {
    RushOptions {
        buyers,
        concurrency: 32,
        abandon: 0.2,
        decline: 0.1,
        seed: 11,
        wait_expiry: Duration::from_secs(15),
        time_limit: Duration::from_secs(60),
        outage_max: Duration::from_secs(5),
        staleness_max: Duration::from_millis(400),
        ..RushOptions::new("showtime_1".into())
    }
}

async fn rush(seller: &Seller, options: RushOptions) -> RushReport {
    let client = Client::new([&seller.url], options.client_settings(), options.seed).unwrap();
    run(client, options, ProgressBar::hidden()).await.unwrap()
}

fn violated(report: &RushReport) -> BTreeSet<&'static str> {
    report.violations.iter().map(|violation| violation.check).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rush_on_an_honest_seller_leaves_the_books_in_order() {
    let seller = Seller::start(Settings { seats: 300, ..Settings::default() }).await;
    let report = rush(&seller, options(400)).await;
    assert!(report.is_clean(), "{report}");
    // Everybody stood in line at once, though only 32 requests were in flight and 50 buyers fit inside.
    assert!(seller.longest_line() > 200, "{}", seller.longest_line());
    for check in &report.checks {
        assert!(check.looked_at > 0, "nothing to look at: {report}");
    }
    assert_eq!(report.outcomes.values().sum::<u64>(), 400);
    for outcome in [
        Outcome::Bought,
        Outcome::BoughtAfterDecline,
        Outcome::Canceled,
        Outcome::Released,
        Outcome::Vanished,
        Outcome::SoldOut,
    ] {
        assert!(report.outcomes.contains_key(&outcome), "{outcome:?}: {report}");
    }
    let after = report.seats.after;
    assert_eq!((after.sold, after.available, after.held, after.blocked), (301, 0, 0, 1), "{report}");
    assert!(report.conflicts > 0, "{report}");
    assert_eq!(seller.requests()["POST showtimes queue entries"], 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_on_the_way_breaks_nothing() {
    let settings = Settings { seats: 200, trouble_every: 7, ..Settings::default() };
    let seller = Seller::start(settings).await;
    let report = rush(&seller, options(300)).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.http.turned_away > 50 && report.http.unanswered > 50, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_without_a_line() {
    let seller = Seller::start(Settings { method: "passthrough", ..Settings::default() }).await;
    let report = rush(&seller, options(100)).await;
    assert!(report.is_clean(), "{report}");
    assert!(!seller.requests().contains_key("POST showtimes queue entries"));
    assert_eq!(report.seats.after.available + report.seats.after.sold, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_gateway_is_passed_over() {
    let seller = Seller::start(Settings::default()).await;
    let options = options(50);
    let urls = ["http://127.0.0.1:1", &seller.url];
    let client = Client::new(urls, options.client_settings(), 1).unwrap();
    let report = run(client, options, ProgressBar::hidden()).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.http.failovers >= 1, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_that_outlive_the_rush_are_named_and_are_no_violation() {
    let seller =
        Seller::start(Settings { seats: 400, hold_ttl: Duration::from_secs(300), ..Settings::default() }).await;
    let report = rush(&seller, RushOptions { wait_expiry: Duration::ZERO, ..options(100) }).await;
    assert!(report.is_clean(), "{report}");
    assert!(report.seats.holds_still_running > 0 && report.seats.after.held > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buyers_still_in_line_at_the_time_limit_are_sent_home() {
    let seller = Seller::start(Settings { calls_per_ms: 0.02, ..Settings::default() }).await;
    let report = rush(&seller, RushOptions { time_limit: Duration::from_secs(2), ..options(200) }).await;
    assert_eq!(violated(&report), ["every buyer comes to an end"].into(), "{report}");
    assert_eq!(report.outcomes.values().sum::<u64>(), 200);
}

/// Each promise that the seller breaks, and the checks that have to see it.
const FAULTS: &[(Fault, &[&str])] = &[
    (Fault::SellsTwice, &["a seat is in one order", "a seat is in one hold at a time"]),
    (Fault::ShufflesPlaces, &["places follow numbers"]),
    (Fault::ShufflesNumbers, &["numbers follow the order of joining"]),
    (Fault::RepeatsNumbers, &["every number and place is given once"]),
    (Fault::LeavesTheDoorOpen, &["seats open to admitted buyers only"]),
    (Fault::TakesTicketTokens, &["seats open to admitted buyers only"]),
    (Fault::CallsOutOfTurn, &["who shops was called", "nobody is called before a smaller place"]),
    (Fault::TurnsTheCursorBack, &["the cursor never goes back"]),
    (Fault::MovesPlaces, &["a ticket keeps its number and place"]),
    (Fault::ForgetsSales, &["sold is what was paid"]),
    (Fault::ForgetsOrders, &["a paid order has its seats"]),
    (Fault::ShrinksOrders, &["a paid order has its seats"]),
    (Fault::SellsUnpaid, &["sold is what was paid"]),
    (Fault::NeverExpires, &["holds expire when they should"]),
    (Fault::KeepsReleased, &["every seat is sold, free, or in a known hold"]),
    (Fault::GivesOtherSeats, &["a hold is on the seats asked for"]),
    (Fault::Miscounts, &["counts are those of the states"]),
    (Fault::Stumbles, &["every call is answered as the contract says"]),
    (Fault::SwallowsChanges, &["changes add up to the whole"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_promise_is_caught() {
    let runs = stream::iter(FAULTS).map(|&(fault, checks)| async move {
        // Where sales are forgotten, there are seats enough that none of them is sold again.
        let seats = if fault == Fault::ForgetsSales { 1_000 } else { 150 };
        let hold_ttl = Duration::from_secs(1);
        let seller = Seller::start(Settings { fault, seats, hold_ttl, ..Settings::default() }).await;
        let report = rush(&seller, options(250)).await;
        let violated = violated(&report);
        let missed: Vec<_> = checks.iter().filter(|check| !violated.contains(**check)).collect();
        assert!(missed.is_empty(), "{fault:?} escaped {missed:?}: {report}");
        assert!(!report.is_clean());
    });
    runs.buffer_unordered(6).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn an_answer_out_of_contract_stops_a_rush_before_it_starts() {
    let seller = Seller::start(Settings { fault: Fault::AnswersNonsense, ..Settings::default() }).await;
    let options = options(1);
    let client = Client::new([&seller.url], options.client_settings(), 1).unwrap();
    let error = run(client, options, ProgressBar::hidden()).await.unwrap_err();
    assert!(error.to_string().contains("does not fit the contract"), "{error}");
}

#[tokio::test]
async fn nobody_there_stops_a_rush_before_it_starts() {
    let options = options(1);
    let client = Client::new(["http://127.0.0.1:1"], options.client_settings(), 1).unwrap();
    let error = run(client, options, ProgressBar::hidden()).await.unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

/// How much the crowd itself costs: run with `--release --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute"]
async fn ten_thousand_buyers_in_an_arena() {
    let settings = Settings { seats: 20_000, calls_per_ms: 2.0, active_max: 500, ..Settings::default() };
    let seller = Seller::start(settings).await;
    let options = RushOptions { concurrency: 200, abandon: 0.1, decline: 0.05, ..options(10_000) };
    let report = rush(&seller, RushOptions { staleness_max: Duration::from_secs(3), ..options }).await;
    println!("{report}");
    assert!(report.is_clean());
    assert!(seller.longest_line() > 5_000, "{}", seller.longest_line());
}

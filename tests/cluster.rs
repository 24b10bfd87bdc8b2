//! Nodes and gateways as processes of their own, and what happens when some of them die.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use support::{Cluster, clean_report, eventually};
use vestibule_client::{Client, HoldRequest, IdempotencyKey, OrderState, PaymentStatus, Settings, Token};

/// The group of a showtime: it stands in the id.
fn group_of(showtime: &str) -> u64 {
    let id: vestibule_engine::ShowtimeId = showtime.parse().expect("a showtime's id");
    id.group().0.into()
}

#[test]
fn a_rush_goes_on_when_the_leader_is_killed_and_the_node_comes_back() {
    let mut cluster = Cluster::start(3, 2);
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    let leader = cluster.leader(group_of(&showtime));
    let rush = cluster.start_rush(&showtime, "600", &["--concurrency", "60", "--seed", "11"]);
    // In the middle of it: some have bought.
    let before = applied(&cluster, group_of(&showtime));
    eventually("the rush is under way", || (applied(&cluster, group_of(&showtime)) > before + 40).then_some(()));
    cluster.kill_node(leader);
    let report = clean_report(rush.finish());
    assert_eq!(report["buyers"], 600, "{report}");

    cluster.start_node(leader);
    let target = applied(&cluster, group_of(&showtime));
    eventually("the node has caught up", || {
        let node = cluster.status().into_iter().find(|node| node["node"] == leader)?;
        let groups = node["groups"].as_array()?.clone();
        let found = groups.into_iter().find(|group| group["group"] == group_of(&showtime))?;
        (found["appliedIndex"].as_u64()? >= target).then_some(())
    });
    let rush = cluster.start_rush(&showtime, "60", &["--seed", "12"]);
    clean_report(rush.finish());
}

/// The highest index that any node has applied in the group.
fn applied(cluster: &Cluster, group: u64) -> u64 {
    let of_node = |node: &Value| {
        let groups = node["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().find(|entry| entry["group"] == group).and_then(|entry| entry["appliedIndex"].as_u64())
    };
    cluster.status().iter().filter_map(of_node).max().unwrap_or(0)
}

#[test]
fn what_was_acknowledged_is_there_after_everything_was_killed() {
    let mut cluster = Cluster::start(3, 1);
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--method", "passthrough", "--hold-seconds", "3600"]);
    let urls = cluster.urls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let client = || Client::new(&urls, Settings::default(), 5).expect("a client");

    // Ten buyers hold, seven of them order, four of them pay.
    let acknowledged = runtime.block_on(async {
        let client = client();
        let seats: Vec<String> =
            client.seats(&showtime.as_str().into(), None).await.expect("seats").states.into_keys().collect();
        let mut acknowledged = BTreeMap::new();
        for (buyer, pair) in seats.chunks(2).take(10).enumerate() {
            let guest = client.guest().await.expect("a guest").access_token;
            let wish = HoldRequest::Seats { seats: pair.to_vec() };
            let key = key(buyer, "hold");
            let hold = client.hold(&guest, &showtime.as_str().into(), &wish, &key).await.expect("a hold");
            let order = if buyer < 7 {
                Some(
                    client
                        .order(&guest, &hold.hold_id, "ann@example.org", &self::key(buyer, "order"))
                        .await
                        .expect("an order"),
                )
            } else {
                None
            };
            if let (Some(order), true) = (&order, buyer < 4) {
                let paid =
                    client.pay(&guest, &order.order_id, "tok_ok", &self::key(buyer, "pay")).await.expect("an answer");
                assert_eq!(paid.status, PaymentStatus::Succeeded);
            }
            acknowledged.insert(buyer, (guest, wish, hold, order));
        }
        acknowledged
    });

    cluster.kill_all_and_restart();
    runtime.block_on(async {
        let client = client();
        for (buyer, (guest, wish, hold, order)) in acknowledged {
            check(&client, &showtime, buyer, &guest, &wish, &hold, order.as_ref()).await;
        }
    });
}

fn key(buyer: usize, step: &str) -> IdempotencyKey {
    IdempotencyKey::new(format!("{step}-{buyer}")).expect("a key")
}

async fn check(
    client: &Client,
    showtime: &str,
    buyer: usize,
    guest: &Token,
    wish: &HoldRequest,
    hold: &vestibule_client::Hold,
    order: Option<&vestibule_client::Order>,
) {
    // The same request again: the same answer, not a second hold.
    let again = loop {
        match client.hold(guest, &showtime.into(), wish, &key(buyer, "hold")).await {
            Ok(again) => break again,
            // The cluster elects its leaders.
            Err(error) if error.is_worth_repeating() => {}
            Err(error) => panic!("buyer {buyer}: {error}"),
        }
    };
    assert_eq!(again.hold_id, hold.hold_id, "buyer {buyer}");
    assert_eq!(again.seats, hold.seats, "buyer {buyer}");
    let Some(order) = order else { return };
    let found = client.get_order(guest, &order.order_id).await.expect("the order is there");
    let expected = if buyer < 4 { OrderState::Completed } else { OrderState::PendingPayment };
    assert_eq!(found.state, expected, "buyer {buyer}");
    assert_eq!(found.seats, order.seats, "buyer {buyer}");
    if buyer >= 4 {
        let paid = client.pay(guest, &order.order_id, "tok_ok", &key(buyer, "late")).await.expect("an answer");
        assert_eq!(paid.status, PaymentStatus::Succeeded, "buyer {buyer}");
    }
}

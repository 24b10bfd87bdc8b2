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
    catches_up(&cluster, leader, group_of(&showtime));
    let rush = cluster.start_rush(&showtime, "60", &["--seed", "12"]);
    clean_report(rush.finish());
}

/// Waits until a node has applied what the others have.
fn catches_up(cluster: &Cluster, node: usize, group: u64) {
    let target = applied(cluster, group);
    eventually("the node has caught up", || {
        let node = cluster.status().into_iter().find(|found| found["node"] == node)?;
        let groups = node["groups"].as_array()?.clone();
        let found = groups.into_iter().find(|found| found["group"] == group)?;
        (found["appliedIndex"].as_u64()? >= target).then_some(())
    });
}

#[test]
fn damage_is_named_and_what_can_be_made_again_is() {
    let mut cluster = Cluster::start(3, 1);
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    clean_report(cluster.start_rush(&showtime, "100", &["--seed", "21"]).finish());
    catches_up(&cluster, 2, group_of(&showtime));
    cluster.kill_node(2);

    // A checkpoint is never trusted: damaged, it is put aside and made again from the log.
    for file in files(&cluster.node_data(2).join("checkpoint")) {
        flip_in_the_middle(&file);
    }
    cluster.start_node(2);
    catches_up(&cluster, 2, group_of(&showtime));
    clean_report(cluster.start_rush(&showtime, "60", &["--seed", "22"]).finish());
    // What was damaged is kept until everything is here again.
    let aside = cluster.node_data(2).join("checkpoint.broken.1");
    eventually("what was put aside is removed", || (!aside.exists()).then_some(()));
    cluster.kill_node(2);

    // One that cannot be read may be good: it is left where it is. As an error of the disk would, this says nothing of it.
    let (checkpoint, elsewhere) = (cluster.node_data(2).join("checkpoint"), cluster.node_data(2).join("elsewhere"));
    std::fs::rename(&checkpoint, &elsewhere).expect("it can be renamed");
    std::fs::write(&checkpoint, "not a directory").expect("it can be written");
    let says = cluster.start_in_vain(2);
    assert!(says.contains("may be good: nothing is touched"), "{says}");
    assert!(!aside.exists() && checkpoint.is_file(), "nothing is touched");
    std::fs::remove_file(&checkpoint).expect("it can be removed");
    std::fs::rename(&elsewhere, &checkpoint).expect("it can be renamed");

    // The log is: damaged, the node says where and does not start. Neither does it on another's data.
    let segment = files(&cluster.node_data(2).join("wal")).into_iter().find(|file| file.extension().is_some());
    let segment = segment.expect("there is a segment");
    let mut bytes = std::fs::read(&segment).expect("it can be read");
    bytes[4096 + 200] ^= 1;
    std::fs::write(&segment, &bytes).expect("it can be written");
    let says = cluster.start_in_vain(2);
    assert!(says.contains("damaged in 0000000000000001.wal at byte"), "{says}");
    std::fs::rename(cluster.node_data(2), cluster.node_data(20)).expect("it can be renamed");
    cluster.kill_node(1);
    std::fs::rename(cluster.node_data(1), cluster.node_data(2)).expect("it can be renamed");
    let says = cluster.start_in_vain(2);
    assert!(says.contains("node 1, not to") && says.contains("node 2"), "{says}");
}

fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn flip_in_the_middle(file: &std::path::Path) {
    let mut bytes = std::fs::read(file).expect("it can be read");
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x20;
    }
    // Where a file is sparse the middle may hold nothing: damage something that counts, too.
    if let Some(byte) = bytes.iter_mut().find(|byte| **byte != 0) {
        *byte ^= 0x20;
    }
    std::fs::write(file, bytes).expect("it can be written");
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

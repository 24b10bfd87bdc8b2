//! A cluster is backed up while it sells, and others are made of the backup.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use support::{Cluster, clean_report, eventually, refusal, vestibule};
use vestibule_client::{Client, HoldRequest, IdempotencyKey, Order, OrderState, PaymentStatus, Settings, Token};

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn key(buyer: usize, step: &str) -> IdempotencyKey {
    IdempotencyKey::new(format!("{step}-{buyer}")).expect("a key")
}

/// Eight buyers order, and all but two of them pay.
async fn buy(client: &Client, showtime: &str) -> BTreeMap<usize, (Token, Order)> {
    let seats: Vec<String> = client.seats(&showtime.into(), None).await.expect("seats").states.into_keys().collect();
    let mut bought = BTreeMap::new();
    for (buyer, pair) in seats.chunks(2).take(8).enumerate() {
        let guest = client.guest().await.expect("a guest").access_token;
        let wish = HoldRequest::Seats { seats: pair.to_vec() };
        let hold = client.hold(&guest, &showtime.into(), &wish, &key(buyer, "hold")).await.expect("a hold");
        let order = client.order(&guest, &hold.hold_id, "ann@example.org", &key(buyer, "order")).await;
        let order = order.expect("an order");
        if buyer >= 2 {
            let paid = client.pay(&guest, &order.order_id, "tok_ok", &key(buyer, "pay")).await.expect("an answer");
            assert_eq!(paid.status, PaymentStatus::Succeeded);
        }
        bought.insert(buyer, (guest, order));
    }
    bought
}

/// Every order is there as it was acknowledged, and who had not paid may still pay.
async fn check(client: &Client, bought: &BTreeMap<usize, (Token, Order)>) {
    for (buyer, (guest, order)) in bought {
        let found = loop {
            match client.get_order(guest, &order.order_id).await {
                Ok(found) => break found,
                // The cluster elects its leaders.
                Err(error) if error.is_worth_repeating() => {}
                Err(error) => panic!("buyer {buyer}: {error}"),
            }
        };
        let expected = if *buyer >= 2 { OrderState::Completed } else { OrderState::PendingPayment };
        assert_eq!(found.state, expected, "buyer {buyer}");
        assert_eq!(found.seats, order.seats, "buyer {buyer}");
        if *buyer < 2 {
            let paid = client.pay(guest, &order.order_id, "tok_ok", &key(*buyer, "late")).await.expect("an answer");
            assert_eq!(paid.status, PaymentStatus::Succeeded, "buyer {buyer}");
        }
        // Paying again, under the key of the first time, takes no money twice.
        if *buyer >= 2 {
            let again = client.pay(guest, &order.order_id, "tok_ok", &key(*buyer, "pay")).await.expect("an answer");
            assert_eq!(again.status, PaymentStatus::Succeeded, "buyer {buyer}");
        }
    }
}

fn client(cluster: &Cluster) -> Client {
    Client::new(cluster.urls(), Settings::default(), 5).expect("a client")
}

#[test]
fn a_cluster_is_backed_up_while_it_sells_and_made_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let root = tempfile::tempdir().expect("a temporary directory");
    let file = root.path().join("backup");
    let old = Cluster::start(3, 1);
    let token = old.token();
    let showtime = old.sell(&token, &["--method", "passthrough", "--hold-seconds", "3600"]);
    let busy = old.sell(&token, &["--hold-seconds", "5"]);
    let bought = runtime.block_on(async { buy(&client(&old), &showtime).await });

    // In the middle of a rush.
    let rush = old.start_rush(&busy, "300", &["--concurrency", "30", "--seed", "41"]);
    let sold_of = |cluster: &Cluster, showtime: &str| {
        runtime.block_on(async {
            client(cluster).report(&Token::new(token.clone()), &showtime.into()).await.expect("a report")
        })
    };
    eventually("the rush is under way", || (seats_sold(&sold_of(&old, &busy)) > 10).then_some(()));
    let sold_before = seats_sold(&sold_of(&old, &busy));
    let made = old.ctl(&["backup", "--json", "--out", text(&file)]).output().expect("the binary runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: Value = serde_json::from_slice(&made.stdout).expect("one line of JSON");
    assert_eq!(made["groups"].as_array().map(Vec::len), Some(5), "{made}");
    clean_report(rush.finish());
    assert_eq!(
        old.ctl(&["backup", "--out", text(&file)]).status().expect("it runs").code(),
        Some(1),
        "never over another"
    );

    // What is damaged is refused, and says where.
    let verified = vestibule(&["ctl", "verify-backup", text(&file), "--json"]).output().expect("the binary runs");
    assert_eq!(serde_json::from_slice::<Value>(&verified.stdout).expect("one line of JSON"), made);
    let whole = std::fs::read(&file).expect("it is there");
    let bad = root.path().join("bad");
    for part in 0..16 {
        let mut bytes = whole.clone();
        let at = (bytes.len() - 1) * part / 15;
        bytes[at] ^= 0x10;
        std::fs::write(&bad, &bytes).expect("it can be written");
        let says = refusal(&["ctl", "verify-backup", text(&bad)]);
        assert!(says.contains(text(&bad)), "{says}");
        bytes.truncate(at);
        std::fs::write(&bad, &bytes).expect("it can be written");
        let says = refusal(&["ctl", "verify-backup", text(&bad)]);
        assert!(says.contains(text(&bad)) && says.contains("cut short"), "{says}");
    }
    let data = root.path().join("never");
    let restore = |from: &Path, cluster: &str| {
        refusal(&[
            "ctl",
            "restore",
            "--from",
            text(from),
            "--data",
            text(&data),
            "--id",
            "1",
            "--peers",
            "1=127.0.0.1:1",
            "--cluster",
            cluster,
        ])
    };
    assert!(restore(&bad, "second").contains("cut short"));
    let says = restore(&file, "vestibule");
    assert!(says.contains("needs another name"), "{says}");
    assert!(!data.exists());
    drop(old);

    // What is restored is data that can be vouched for; it is not put over anything.
    let id = ["--id", "1", "--peers", "1=127.0.0.1:1", "--cluster", "second"];
    let once = [&["ctl", "restore", "--from", text(&file), "--data", text(&data)][..], &id].concat();
    assert!(vestibule(&once).output().expect("the binary runs").status.success());
    let checked = vestibule(&["ctl", "verify-data", text(&data)]).output().expect("the binary runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let says = refusal(&once);
    assert!(says.contains("is not empty"), "{says}");

    // A cluster of three, and one of one.
    for (name, nodes) in [("second", 3), ("third", 1)] {
        let new = Cluster::restore(&file, name, nodes);
        assert_eq!(new.token().split('.').count(), 3);
        runtime.block_on(async { check(&client(&new), &bought).await });
        let sold = seats_sold(&sold_of(&new, &busy));
        assert!(sold >= sold_before, "{name}: {sold} seats are sold where {sold_before} were before the backup");
        let rush = new.start_rush(&busy, "40", &["--seed", "42"]);
        clean_report(rush.finish());
        // Its own backup is whole, and another cluster's.
        let again = root.path().join(format!("backup-{name}"));
        assert!(new.ctl(&["backup", "--out", text(&again)]).status().expect("it runs").success());
    }
}

fn seats_sold(report: &Value) -> u64 {
    let categories = report["categories"].as_array().unwrap_or_else(|| panic!("no categories in {report}"));
    categories.iter().map(|category| category["sold"].as_u64().expect("a number")).sum()
}

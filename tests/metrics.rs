//! What nodes and gateways tell whoever watches over them.

mod support;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use support::{Cluster, PATIENCE, clean_report, eventually, vestibule};

/// Sends one HTTP request and gives the whole answer.
fn ask(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let len = body.len();
    write!(stream, "{head}\r\nHost: test\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}")
        .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn figures(address: SocketAddr) -> Figures {
    let answer = ask(address, "GET /metrics HTTP/1.1", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("# EOF"), "it is whole");
    let samples = answer.lines().filter(|line| line.starts_with("vestibule_"));
    let samples = samples.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    let types = answer.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let names = types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned()));
    Figures { samples: samples.collect(), names: names.collect() }
}

struct Figures {
    samples: BTreeMap<String, f64>,
    names: BTreeSet<String>,
}

impl Figures {
    fn of(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} among {:?}", self.samples.keys()))
    }
}

/// Whether `ctl health` finds a node or gateway live or ready.
fn health(address: SocketAddr, what: &str) -> bool {
    let url = format!("http://{address}/health/{what}");
    vestibule(&["ctl", "health", &url]).output().expect("the binary runs").status.success()
}

/// The names in the tables of the page.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../docs/operations/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `vestibule_"));
    rows.map(|row| format!("vestibule_{}", row.split('`').next().expect("a name"))).collect()
}

#[test]
fn figures_are_documented_and_tell_what_happened() {
    let mut cluster = Cluster::start(3, 1);
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    let report = clean_report(cluster.start_rush(&showtime, "80", &["--seed", "51"]).finish());
    assert_eq!(report["buyers"], 80);

    let nodes: Vec<Figures> = (1..=3).map(|id| figures(cluster.metrics_address(id))).collect();
    let gateway = figures(cluster.http_address());
    let mut names = gateway.names.clone();
    nodes.iter().for_each(|node| names.extend(node.names.iter().cloned()));
    assert_eq!(names, documented(), "docs/operations/metrics.md lists other names than the code");

    let sum = |sample: &str| nodes.iter().map(|node| node.of(sample)).sum::<f64>();
    for group in 0..=4 {
        assert_eq!(sum(&format!("vestibule_node_group_leads{{group=\"{group}\"}}")), 1.0, "g{group}");
    }
    let applied = sum("vestibule_node_proposals_total{result=\"applied\"}");
    assert!(applied >= 160.0, "80 buyers joined and claimed at least, {applied} commands were applied");
    assert!(sum("vestibule_node_batch_commands_sum") >= applied, "ticks are commands too");
    // Every entry is appended and applied on all three nodes, and at most as many syncs were made.
    let entries = sum("vestibule_node_batch_commands_count");
    assert!(sum("vestibule_node_apply_seconds_count") >= entries * 2.0);
    assert!(sum("vestibule_node_log_append_seconds_count") >= entries);
    assert!(sum("vestibule_node_log_sync_seconds_count") >= 1.0);
    assert!(sum("vestibule_node_log_sync_records_sum") >= sum("vestibule_node_log_sync_records_count"));
    assert!(sum("vestibule_node_log_sync_seconds_sum") > 0.0);
    assert!(sum("vestibule_node_checkpoint_flush_seconds_count") > 0.0);
    for node in &nodes {
        assert!(node.of("vestibule_node_log_written_bytes_total") > 10_000.0);
        assert_eq!(node.of("vestibule_node_groups_waiting"), 0.0);
        let led = (0..=4).filter(|group| node.of(&format!("vestibule_node_group_leads{{group=\"{group}\"}}")) == 1.0);
        let peers = node.samples.keys().filter(|name| name.starts_with("vestibule_node_group_replication_lag{"));
        assert_eq!(peers.count(), led.count() * 2, "a leader knows how far its two followers are");
    }

    // Alone, a node lives on and is not ready: nobody leads.
    for id in 1..=3 {
        assert!(health(cluster.metrics_address(id), "live"));
        eventually("the node is ready", || health(cluster.metrics_address(id), "ready").then_some(()));
    }
    assert!(health(cluster.http_address(), "ready"));
    cluster.kill_node(2);
    cluster.kill_node(3);
    eventually("the node notices", || (!health(cluster.metrics_address(1), "ready")).then_some(()));
    assert!(health(cluster.metrics_address(1), "live"));
    assert!(!health(cluster.metrics_address(2), "live"), "nobody answers");
}

#[test]
fn a_request_has_one_id_from_the_gateway_to_the_group() {
    let cluster = Cluster::start_logging(1, "error,openraft=off,vestibule_raft=debug");
    let token = cluster.token();
    let body = r#"{"title":"Aida","description":"","category":"opera","city":"Linz","performers":[]}"#;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: one\r\n\
         X-Request-Id: from-the-box-office-7\r\nContent-Type: application/json"
    );
    let answer = ask(cluster.http_address(), &head, body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let found = eventually("the log names the request", || {
        let log = std::fs::read_to_string(cluster.node_log(1)).expect("a log");
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| {
            line["fields"]["request"] == "from-the-box-office-7" && line["fields"]["message"] == "a command was applied"
        })
    });
    assert_eq!(found["fields"]["group"], "g0", "{found}");
    assert_eq!(found["fields"]["result"], "applied", "{found}");
    assert!(found["fields"]["index"].as_u64() > Some(0), "{found}");
}

//! The demo as a user runs it: one process, nothing to install or configure.

mod support;

use serde_json::Value;
use support::{Process, clean_report, eventually, vestibule};

fn ready(demo: &mut Process) -> (String, String, Value) {
    let line: Value = serde_json::from_str(&demo.first_line()).expect("one line of JSON");
    let text = |key: &str| line[key].as_str().unwrap_or_else(|| panic!("{key} in {line}")).to_owned();
    (text("url"), text("showtimeId"), line.clone())
}

#[test]
fn a_rush_on_the_demo_ends_with_the_books_in_order() {
    let mut demo =
        Process::start("demo", &["demo", "--ephemeral", "--http", "127.0.0.1:0", "--json", "--hold-seconds", "5"]);
    let (url, showtime, line) = ready(&mut demo);
    assert_eq!(line["nodes"].as_array().map(Vec::len), Some(3));
    assert!(line["organizerToken"].as_str().is_some_and(|token| token.split('.').count() == 3));
    let data = std::path::PathBuf::from(line["nodes"][0]["data"].as_str().expect("a path"));
    assert!(data.join("wal").is_dir());

    let rush = Process::start(
        "rush",
        &[
            "rush",
            "--url",
            &url,
            "--showtime",
            &showtime,
            "--buyers",
            "400",
            "--concurrency",
            "60",
            "--seed",
            "7",
            "--json",
        ],
    );
    let report = clean_report(rush.finish());
    assert_eq!(report["buyers"], 400, "{report}");

    demo.interrupt();
    assert!(demo.wait().success());
    assert!(!data.exists(), "a temporary directory is removed");
}

#[test]
fn the_demo_goes_on_where_it_was() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let data = root.path().join("data");
    let args =
        ["demo", "--http", "127.0.0.1:0", "--json", "--hold-seconds", "5", "--data", data.to_str().expect("plain")];
    let mut demo = Process::start("demo", &args);
    let (url, showtime, _) = ready(&mut demo);
    let rush = Process::start("rush", &["rush", "--url", &url, "--showtime", &showtime, "--buyers", "60", "--json"]);
    clean_report(rush.finish());
    let sold_before = sold(&url, &showtime);
    assert!(sold_before > 0);
    demo.interrupt();
    assert!(demo.wait().success());

    let mut demo = Process::start("demo", &args);
    let (url, same, _) = ready(&mut demo);
    assert_eq!(same, showtime);
    assert_eq!(eventually("the seats are shown", || Some(sold(&url, &showtime))), sold_before);
    let rush = Process::start("rush", &["rush", "--url", &url, "--showtime", &showtime, "--buyers", "60", "--json"]);
    clean_report(rush.finish());
    assert!(sold(&url, &showtime) > sold_before);
    demo.interrupt();
    assert!(demo.wait().success());
}

fn sold(url: &str, showtime: &str) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let settings = vestibule_client::Settings::default();
        let client = vestibule_client::Client::new([url], settings, 1).expect("a client");
        client.seats(&showtime.into(), None).await.expect("the seats are shown").counts.sold
    })
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let cases: [(&[&str], &str); 6] = [
        (
            &["demo", "--ephemeral", "--plan", "/nonexistent/plan.json", "--http", "127.0.0.1:0"],
            "/nonexistent/plan.json",
        ),
        (&["demo", "--nodes", "0"], "--nodes"),
        (&["plan", "check", "Cargo.toml"], "Cargo.toml"),
        (&["node", "--id", "1", "--listen", "127.0.0.1:0", "--data", "/tmp/x", "--peers", "1=a"], "id=host:port"),
        (&["rush", "--url", "ftp://nowhere", "--showtime", "showtime_1"], "ftp"),
        (&["rush", "--url", "http://127.0.0.1:1", "--showtime", "showtime_1", "--abandon", "110%"], "110%"),
    ];
    for (args, named) in cases {
        let output = vestibule(args).output().expect("the binary runs");
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(says.contains(named), "{args:?} says {says}");
    }
}

#[test]
fn plans_are_made_and_checked() {
    let root = tempfile::tempdir().expect("a temporary directory");
    for (args, seats) in [(vec!["plan", "theatre"], 1_204), (vec!["plan", "arena", "--seats", "20000"], 20_000)] {
        let made = vestibule(&args).output().expect("the binary runs");
        let file = root.path().join("plan.json");
        std::fs::write(&file, &made.stdout).expect("files can be written");
        let checked = vestibule(&["plan", "check", file.to_str().expect("plain")]).output().expect("the binary runs");
        let says = String::from_utf8_lossy(&checked.stdout);
        assert!(says.contains(&format!("{seats} seats")), "{says}");
    }
}

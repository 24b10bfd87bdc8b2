//! `docker-compose.yml` says only what the binary understands, and wires its parts to each other.

mod support;

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::process::Command;
use support::vestibule;

/// A document as JSON, with its merge keys (`<<`) carried out.
fn plain(yaml: &Yaml<'_>) -> Value {
    if let Some(entries) = yaml.as_mapping() {
        let mut plain_entries = Map::new();
        let mut merged = Map::new();
        for (key, value) in entries {
            match (key.as_str().expect("keys are text"), plain(value)) {
                ("<<", Value::Object(others)) => merged.extend(others),
                ("<<", other) => panic!("{other} cannot be merged"),
                (key, value) => drop(plain_entries.insert(key.to_owned(), value)),
            }
        }
        for (key, value) in merged {
            plain_entries.entry(key).or_insert(value);
        }
        return Value::Object(plain_entries);
    }
    if let Some(items) = yaml.as_sequence() {
        return items.iter().map(plain).collect();
    }
    let text = yaml.as_str().map(Value::from);
    let number = || yaml.as_integer().map(Value::from);
    let truth = || yaml.as_bool().map(Value::from);
    text.or_else(number).or_else(truth).unwrap_or(Value::Null)
}

fn compose() -> Value {
    let text = include_str!("../docker-compose.yml");
    let documents = Yaml::load_from_str(text).expect("it is YAML");
    assert_eq!(documents.len(), 1);
    plain(&documents[0])
}

fn words(value: &Value) -> Vec<String> {
    let items = value.as_array().unwrap_or_else(|| panic!("{value} is no list"));
    items.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("{item} is no text")).to_owned()).collect()
}

fn services(compose: &Value) -> Vec<(&String, &Value)> {
    compose["services"].as_object().expect("services").iter().collect()
}

fn environment(service: &Value) -> Map<String, Value> {
    service["environment"].as_object().cloned().unwrap_or_default()
}

/// The help of the command that `command` is.
fn help(command: &[String]) -> String {
    let depth = if command[0] == "ctl" { 2 } else { 1 };
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule")).args(&command[..depth]).arg("--help").output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{:?} is no command", &command[..depth]);
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_option_and_variable_is_one_of_the_program() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let command = words(&service["command"]);
        let help = help(&command);
        for flag in command.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(&format!("{flag} ")), "{name}: {flag} is unknown");
        }
        for (variable, value) in environment(service) {
            // `VESTIBULE_URL` is for `ctl sell`, which whoever uses the service may name.
            let is_known =
                help.contains(&format!("[env: {variable}=")) || (name == "ctl" && variable == "VESTIBULE_URL");
            assert!(is_known, "{name}: {variable} is unknown");
            assert!(value.is_string(), "{name}: {variable} is not text");
        }
    }
    let sell = help(&["ctl".to_owned(), "sell".to_owned()]);
    assert!(sell.contains("[env: VESTIBULE_URL="));
}

#[test]
fn what_is_started_reads_its_command_line_and_looks_for_its_certificate() {
    assert!(!std::path::Path::new("/certs").exists(), "this test needs a machine without /certs");
    let compose = compose();
    for (name, service) in services(&compose) {
        let command = words(&service["command"]);
        if name == "certs" {
            continue;
        }
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let variables = environment(service);
        let variables = variables.iter().map(|(variable, value)| (variable, value.as_str().expect("text")));
        let output = vestibule(&command).envs(variables).output().expect("the binary runs");
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {says}");
        assert!(says.contains("cannot read /certs/ca.pem"), "{name}: {says}");
    }
}

#[test]
fn the_parts_fit_together() {
    let compose = compose();
    let made = words(&compose["services"]["certs"]["command"]);
    let volumes: BTreeSet<&String> = compose["volumes"].as_object().expect("volumes").keys().collect();
    let networks = compose["networks"].as_object().expect("networks");
    let (mut ids, mut data, mut ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (name, service) in services(&compose) {
        let variables = environment(service);
        let text = |variable: &str| variables.get(variable).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mounts = words(&service["volumes"]);
        for mount in &mounts {
            let (volume, _) = mount.split_once(':').expect("volume:path");
            assert!(volumes.contains(&volume.to_owned()), "{name}: there is no volume {volume}");
        }
        for network in service["networks"].as_array().into_iter().flatten() {
            assert!(networks.contains_key(network.as_str().expect("text")), "{name}: there is no network {network}");
        }
        if name == "certs" {
            continue;
        }
        let who = text("VESTIBULE_TLS_CERT");
        let who = who.strip_prefix("/certs/").and_then(|file| file.strip_suffix(".pem")).expect("a certificate");
        assert_eq!(text("VESTIBULE_TLS_KEY"), format!("/certs/{who}.key"), "{name}");
        let probe = service.get("healthcheck").map(|check| words(&check["test"])).unwrap_or_default();
        if let Some(id) = name.strip_prefix("node-") {
            assert_eq!(who, format!("node-{id}"));
            assert!(made.windows(2).any(|pair| pair == ["--node", id]), "no certificate is made for {name}");
            assert_eq!(text("VESTIBULE_NODE_ID"), id);
            let port = text("VESTIBULE_LISTEN").rsplit_once(':').expect("a port").1.to_owned();
            let address = format!("{name}:{port}");
            assert!(text("VESTIBULE_PEERS").split(',').any(|peer| peer == format!("{id}={address}")), "{name}");
            let own = mounts.iter().find(|mount| mount.ends_with(":/data")).expect("a volume for the data");
            assert!(data.insert(own.clone()), "{name} shares its data");
            assert!(text("VESTIBULE_DATA").starts_with("/data/"));
            assert!(ids.insert(address));
            let port = text("VESTIBULE_METRICS").rsplit_once(':').expect("a port").1.to_owned();
            assert_eq!(probe.last(), Some(&format!("http://127.0.0.1:{port}/health/ready")));
        } else {
            assert!(made.iter().any(|word| word == who), "no certificate is made for {name}");
        }
        if name.starts_with("gateway-") {
            let port = text("VESTIBULE_HTTP").rsplit_once(':').expect("a port").1.to_owned();
            assert_eq!(probe.last(), Some(&format!("http://127.0.0.1:{port}/health/ready")));
            let published = words(&service["ports"]).remove(0);
            assert!(published.starts_with("127.0.0.1:") && published.ends_with(&format!(":{port}")), "{published}");
            assert!(ports.insert(published));
        }
        if name != "ctl" {
            // The path of the binary in the image.
            assert_eq!(probe[..2], ["CMD", "/usr/local/bin/vestibule"], "{name}");
            help(&probe[2..]);
            for wanted in ["restart", "stop_grace_period", "cap_drop"] {
                assert!(!service[wanted].is_null(), "{name} has no {wanted}");
            }
        }
    }
    assert_eq!((ids.len(), data.len(), ports.len()), (3, 3, 2));
    for (name, service) in services(&compose) {
        let nodes = environment(service).get("VESTIBULE_NODES").and_then(Value::as_str).map(str::to_owned);
        if let Some(nodes) = nodes {
            assert_eq!(nodes.split(',').map(str::to_owned).collect::<BTreeSet<_>>(), ids, "{name}");
        }
    }
    assert!(include_str!("../Dockerfile").contains("ENTRYPOINT [\"/usr/local/bin/vestibule\"]"));
}

//! One byte of one file of one node is flipped, for each kind of file.

use crate::buyers::Crowd;
use crate::support::{Cluster, Origin, eventually, files, vestibule};
use crate::{often, turn};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The node whose files are damaged.
const VICTIM: usize = 2;

/// What has to come of damage to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The node says which file it is, and does not start.
    Refused,
    /// Nothing is lost with it: the node starts and catches up.
    MadeGood,
    /// One or the other, as it depends on the byte.
    Either,
}

/// What kind of file it is, by its path in the data directory.
fn kind(path: &Path) -> (&'static str, Expected) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_under = |directory: &str| path.starts_with(directory);
    match name {
        "identity" => ("identity", Expected::Refused),
        "lock" => ("lock", Expected::MadeGood),
        // It has two slots, of which one suffices.
        "manifest" => ("manifest", Expected::Either),
        "spare" | "ballast" => ("reserve", Expected::MadeGood),
        _ if name.ends_with(".wal") => ("segment", Expected::Refused),
        _ if is_under("checkpoint") => ("checkpoint", Expected::MadeGood),
        _ => panic!("{} is of no kind that this test knows", path.display()),
    }
}

/// Bytes of a file that are worth flipping: some of those that are not zero, if there are any.
fn spots(path: &Path, bytes: &[u8], count: usize) -> Vec<usize> {
    if path.extension().is_some_and(|extension| extension == "wal") {
        // Within the first records: a byte of the last one may just as well be of a write that was cut off.
        return (0..count).map(|at| 4096 + 200 + at).filter(|at| *at < bytes.len()).collect();
    }
    let mut used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if used.is_empty() && !bytes.is_empty() {
        used.push(bytes.len() / 2);
    }
    used.iter().copied().step_by((used.len() / count).max(1)).take(count).collect()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("it can be read");
    bytes[at] ^= 0x20;
    std::fs::write(file, &bytes).expect("it can be written");
}

/// Starts the victim. It catches up, or ends and says why.
fn start(cluster: &mut Cluster) -> Result<(), String> {
    let targets = cluster.targets();
    let log = cluster.node_log(VICTIM);
    let before = std::fs::read_to_string(&log).unwrap_or_default().len();
    cluster.start_node(VICTIM);
    eventually("the node catches up or refuses to start", || {
        if !cluster.node(VICTIM).is_running() {
            let says = std::fs::read_to_string(&log).expect("there is a log");
            return Some(Err(says[before..].to_owned()));
        }
        cluster.has_reached(VICTIM, &targets).then_some(Ok(()))
    })
}

/// Whether `ctl verify-data` vouches for the victim's data.
fn is_vouched_for(cluster: &Cluster) -> bool {
    let args = ["ctl", "verify-data", "--patience-seconds", "10"];
    let output = vestibule(&args).arg(cluster.node_data(VICTIM)).output().expect("the binary runs");
    output.status.success()
}

#[test]
fn a_flipped_byte_in_any_file_is_named_or_made_good() {
    let _turn = turn();
    let mut cluster = Cluster::without_nodes(3, 2, &["--segment-mib", "4", "--ballast-mib", "1"]);
    cluster.log_nodes("error");
    (1..=3).for_each(|id| cluster.start_node(id));
    let token = cluster.token();
    let showtime = cluster.sell_arena(&token, often(12_000, 40_000));
    let crowd = Crowd::start(&cluster, &showtime);
    crowd.goes_on(100);
    cluster.wait_until_caught_up(VICTIM);
    cluster.kill_node(VICTIM);

    let data = cluster.node_data(VICTIM);
    let mut seen: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for file in files(&data) {
        let path = file.strip_prefix(&data).expect("it is below").to_owned();
        let (kind, expected) = kind(&path);
        let (tried, ..) = *seen.entry(kind).or_default();
        if tried >= often(1, usize::MAX) {
            continue;
        }
        // A start may have done away with it, as with a spare that was needed.
        let Ok(bytes) = std::fs::read(&file) else { continue };
        let spots = spots(&path, &bytes, often(1, 4));
        if spots.is_empty() {
            continue;
        }
        for at in spots {
            flip(&file, at);
            let is_vouched_for = is_vouched_for(&cluster);
            let (_, refused, made_good) = seen.get_mut(kind).expect("it was entered");
            match start(&mut cluster) {
                Ok(()) => {
                    assert_ne!(expected, Expected::Refused, "byte {at} of {} was not noticed", path.display());
                    *made_good += 1;
                    crowd.goes_on(5);
                    cluster.kill_node(VICTIM);
                }
                Err(says) => {
                    assert_ne!(expected, Expected::MadeGood, "byte {at} of {}: {says}", path.display());
                    let name = path.file_name().and_then(|name| name.to_str()).expect("text");
                    assert!(says.contains(name), "byte {at} of {}: {says}", path.display());
                    assert!(!is_vouched_for, "byte {at} of {} is vouched for", path.display());
                    *refused += 1;
                    flip(&file, at);
                    // The others do not miss it.
                    crowd.goes_on(5);
                }
            }
        }
        seen.get_mut(kind).expect("it was entered").0 += 1;
    }
    eprintln!("(files, refused, made good) by kind: {seen:?}");
    let kinds = ["checkpoint", "identity", "manifest", "reserve", "segment"];
    assert!(kinds.iter().all(|kind| seen.get(kind).is_some_and(|(_, refused, good)| refused + good > 0)), "{seen:?}");

    // Whose log is damaged for good is replaced by another, which takes everything from its peers.
    let is_segment = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wal");
    let segment = files(&data).into_iter().find(is_segment).expect("there is a segment");
    flip(&segment, 4096 + 200);
    assert!(start(&mut cluster).is_err());
    let id = cluster.start_another(Origin::Joins);
    eventually("the node is known", || cluster.status().iter().any(|node| node["node"] == id).then_some(()));
    let removed = cluster.ctl(&["remove-node", &VICTIM.to_string(), "--timeout-seconds", "100"]).output();
    let removed = removed.expect("the binary runs");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    cluster.wait_until_caught_up(id);
    let leader = cluster.leader(0);
    if leader != id {
        // With another gone, nothing works without the new one.
        let other = if leader == 1 { 3 } else { 1 };
        cluster.kill_node(other);
    }
    crowd.goes_on(20);
    crowd.finish().check(&cluster);
}

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

/// Bytes of a file that are worth flipping, and what has to come of it: some of those that are not zero, if there are any.
fn spots(expected: Expected, bytes: &[u8], count: usize) -> Vec<(usize, Expected)> {
    if bytes.is_empty() {
        // A lock is a file without content, and nobody reads what is written to it.
        return vec![(0, expected)];
    }
    let mut used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if used.is_empty() {
        used.push(bytes.len() / 2);
    }
    let used = used.iter().copied().step_by((used.len() / count).max(1)).take(count);
    used.map(|at| (at, expected)).collect()
}

/// The same of a segment of the log: of its first page, and of its first, a middle and the last frame.
fn spots_of_segment(bytes: &[u8], is_newest: bool) -> Vec<(usize, Expected)> {
    let frames = frames(bytes);
    // In the page of the header there is nothing behind the header.
    let mut spots = vec![(20, Expected::Refused), (2_048, Expected::MadeGood)];
    if let (Some(first), Some(last)) = (frames.first(), frames.last()) {
        // Of the last frame of all, damage may just as well be a write that was cut off when the power went.
        let of_last = if is_newest { Expected::Either } else { Expected::Refused };
        spots.extend([(*first, Expected::Refused), (frames[frames.len() / 2], Expected::Refused), (*last, of_last)]);
    }
    spots
}

/// Where the bodies of a segment's frames begin. What a segment that was used before has behind its last frame is of
/// another number.
fn frames(bytes: &[u8]) -> Vec<usize> {
    const PAGE_LEN: usize = 4_096;
    const HEADER_LEN: usize = 32;
    let number = &bytes[48..56];
    let (mut frames, mut at) = (Vec::new(), PAGE_LEN);
    while let Some(header) = bytes.get(at..at + HEADER_LEN).filter(|header| &header[8..16] == number) {
        frames.push(at + HEADER_LEN);
        at += HEADER_LEN + u32::from_le_bytes(header[24..28].try_into().expect("four bytes")) as usize;
    }
    frames
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("it can be read");
    if at == bytes.len() {
        bytes.push(0);
    }
    bytes[at] ^= 0x20;
    std::fs::write(file, &bytes).expect("it can be written");
}

/// Removes the checkpoints that the node put aside, as it does itself a little later: with three of them it does not start.
fn clear_aside(data: &Path) {
    for entry in std::fs::read_dir(data).expect("it is there").map(|entry| entry.expect("it can be read")) {
        if entry.file_name().to_string_lossy().starts_with("checkpoint.broken.") {
            std::fs::remove_dir_all(entry.path()).expect("it can be removed");
        }
    }
}

/// Starts the victim after `what` was flipped. It catches up, or ends. Gives what it says meanwhile.
fn start(cluster: &mut Cluster, what: &str) -> Result<String, String> {
    let targets = cluster.targets();
    let log = cluster.node_log(VICTIM);
    let before = std::fs::read_to_string(&log).unwrap_or_default().len();
    cluster.start_node(VICTIM);
    eventually(&format!("the node catches up or refuses to start, {what} being flipped"), || {
        let is_running = cluster.node(VICTIM).is_running();
        let says = || std::fs::read_to_string(&log).expect("there is a log")[before..].to_owned();
        match is_running {
            false => Some(Err(says())),
            true => cluster.has_reached(VICTIM, &targets).then(|| Ok(says())),
        }
    })
}

/// The segments of the log, oldest first.
fn segments(data: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    files(data).into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "wal"))
}

fn newest_segment(data: &Path) -> PathBuf {
    segments(data).next_back().expect("there is a segment")
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
    cluster.log_nodes("warn");
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
        for nth in 0.. {
            // A start may have changed it, or done away with it, as with a spare that was needed.
            let Ok(bytes) = std::fs::read(&file) else { break };
            let spots = match kind {
                "segment" => spots_of_segment(&bytes, file == newest_segment(&data)),
                _ => spots(expected, &bytes, often(1, 4)),
            };
            let Some(&(at, expected)) = spots.get(nth) else { break };
            flip(&file, at);
            let is_vouched_for = is_vouched_for(&cluster);
            let (_, refused, made_good) = seen.get_mut(kind).expect("it was entered");
            match start(&mut cluster, &format!("byte {at} of {}", path.display())) {
                Ok(says) => {
                    assert_ne!(expected, Expected::Refused, "byte {at} of {} was not noticed", path.display());
                    // Made good, but never in silence. What it damages is vouched for where nobody reads that byte, or
                    // where sled goes back to an older checkpoint, which the log brings up to date.
                    let is_named = says.contains(kind);
                    assert!(
                        is_vouched_for || is_named,
                        "byte {at} of {} was made good in silence: {says}",
                        path.display()
                    );
                    *made_good += 1;
                    crowd.goes_on(5);
                    cluster.kill_node(VICTIM);
                    clear_aside(&data);
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
    let kinds = ["checkpoint", "identity", "lock", "manifest", "reserve", "segment"];
    assert!(kinds.iter().all(|kind| seen.get(kind).is_some_and(|(_, refused, good)| refused + good > 0)), "{seen:?}");

    // Whose log is damaged for good is replaced by another, which takes everything from its peers.
    let segment = segments(&data).next().expect("there is a segment");
    flip(&segment, 4096 + 200);
    assert!(start(&mut cluster, "a byte of the log").is_err());
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

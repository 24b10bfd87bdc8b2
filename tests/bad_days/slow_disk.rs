//! The disk of one node is slow, under more load than that node can keep up with.

use crate::buyers::Crowd;
use crate::session::Session;
use crate::support::{Cluster, eventually, vestibule_with_slow_disk};
use crate::{group_of, often, turn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use vestibule_engine::{SetQueueMessage, ShardCommand, ShowtimeId};

/// How much longer a sync of the slow disk takes: longer than a leader waits for the answer to one append.
const DELAY: Duration = Duration::from_millis(300);
/// Holds of one measurement.
const HOLDS: usize = 21;
/// Commands of the load that are under way at once, and how long each is: they fill a segment of the log in no time.
const LOAD_IN_FLIGHT: usize = 4;
const LOAD_LEN: usize = 100_000;
/// The time from one to the next: several come within a sync of the slow disk, and yet it can catch up afterwards.
const LOAD_GAP: Duration = Duration::from_millis(25);

/// The median time of holds, one after the other.
fn median(crowd: &Crowd) -> Duration {
    let mut times: Vec<Duration> = (0..HOLDS)
        .map(|_| {
            let began = Instant::now();
            crowd.hold_one();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[HOLDS / 2]
}

/// Tells the load to stop when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Has the group write long commands to its log, which it then refuses, until it is told to stop. Counts them.
fn load(cluster: &Cluster, showtime: &str, is_over: &AtomicBool, count: &AtomicUsize) {
    let (group, showtime): (u64, ShowtimeId) = (group_of(showtime), showtime.parse().expect("a showtime's id"));
    let text = Some("x".repeat(LOAD_LEN));
    let command = || ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text: text.clone() });
    while !is_over.load(Ordering::SeqCst) {
        let mut session = Session::open(&cluster.node_address(cluster.leader(group)));
        (0..LOAD_IN_FLIGHT).for_each(|_| session.propose(group, command()));
        while !is_over.load(Ordering::SeqCst) {
            match session.next() {
                Some(Ok(_)) => drop(count.fetch_add(1, Ordering::SeqCst)),
                // Another leads now.
                Some(Err(_)) | None => break,
            }
            std::thread::sleep(LOAD_GAP);
            session.propose(group, command());
        }
    }
}

#[test]
fn a_slow_disk_of_one_follower_slows_nobody_and_ends_nobody() {
    let _turn = turn();
    let probe = vestibule_with_slow_disk(Duration::from_millis(1), &["--version"]).output();
    let works = probe.as_ref().is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("SKIPPED: strace cannot slow a process's disk down here ({probe:?}); a slow disk was NOT tested");
        return;
    }
    let mut cluster = Cluster::without_nodes(3, 2, &["--segment-mib", "4", "--ballast-mib", "1"]);
    cluster.log_nodes("error");
    (1..=3).for_each(|id| cluster.start_node(id));
    let token = cluster.token();
    let showtime = cluster.sell_arena(&token, often(40_000, 80_000));
    let group = group_of(&showtime);
    let crowd = Crowd::start(&cluster, &showtime);
    crowd.goes_on(50);
    let usual = median(&crowd);

    let leader = cluster.leader(group);
    let slow = leader % 3 + 1;
    cluster.kill_node(slow);
    cluster.start_node_with_slow_disk(slow, DELAY);
    cluster.wait_until_caught_up(slow);
    // Leaders are spread over all that run; the load is to be on a group of another's.
    if cluster.leader(group) == slow {
        let moved = cluster.ctl(&["transfer", &format!("g{group}"), &leader.to_string()]).output();
        assert!(moved.expect("the binary runs").status.success());
    }
    let with_slow = median(&crowd);
    eprintln!("median hold: {usual:?}, with a slow follower {with_slow:?}");
    assert!(with_slow < usual + DELAY * 2 / 3, "{with_slow:?} with a slow follower, {usual:?} without");

    // For longer than anything of the node's may wait for its disk.
    let span = Duration::from_secs(often(45, 150) as u64);
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // The load ends with this scope, however that is left.
        let _over = Over(&is_over);
        scope.spawn(|| load(&cluster, &showtime, &is_over, &count));
        let began = Instant::now();
        while began.elapsed() < span {
            crowd.goes_on(5);
        }
    });
    let says = std::fs::read_to_string(cluster.node_log(slow)).unwrap_or_default();
    assert!(cluster.node(slow).is_running(), "the node with the slow disk ended: {says}");
    let count = count.load(Ordering::SeqCst);
    eprintln!("{count} commands of {LOAD_LEN} bytes in {span:?}, beside the crowd");
    assert!(count * LOAD_LEN > 8 << 20, "{count} commands are no load");
    // It catches up as soon as it is let.
    eventually("the slow node has what the others have", || {
        cluster.has_reached(slow, &cluster.targets()).then_some(())
    });
    crowd.goes_on(20);
    crowd.finish().check(&cluster);
}

//! A group in which millions wait: how long its node takes to restart, and how long applying pauses while its checkpoint
//! streams to a node that joins.
//!
//! The places are not made by millions of round trips. A node makes the group and is stopped; the engine takes its state
//! and lets everybody join; the rows of that are put in place of the group's checkpoint as a snapshot from another node
//! would be, as of a position ahead of the log. What is measured after that is an ordinary node on the real files.

use crate::buyers::{Buyer, house, next_request, open_showtime};
use crate::millis;
use crate::processes::{PATIENCE, cpu_time, directory, disk_use};
use clap::Args;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use vestibule_engine::*;
use vestibule_raft::checkpoint::Checkpoints;
use vestibule_raft::cluster::{Cluster, Consistency, GrpcCluster};
use vestibule_raft::data_dir::DataDir;
use vestibule_raft::node::{Node, NodeConfig, NodeSeams};
use vestibule_raft::seams::{Clock, Spawner, SystemClock, SystemIds, TcpConnector, ThreadSpawner};

const CLUSTER: &str = "bench";
const GROUP: GroupId = GroupId(1);
/// The showtime that everybody waits for; [`open_showtime`] makes another one, whose seats are held meanwhile.
const AWAITED: ShowtimeId = ShowtimeId::new(GROUP, 2);
/// How many join in one entry.
const BATCH: u64 = 1_000;
/// How far ahead of the log the checkpoint is put: nothing of the log is left to send to another node.
const AHEAD: u64 = 1_000_000;
/// Rows handed to the checkpointer at a time.
const PAGE_ROWS: usize = 512;
/// How long after a stream what it left to do is still watched.
const AFTERMATH: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(crate) struct Sizes {
    /// Waiting places.
    #[arg(long, default_value_t = 5_000_000)]
    places: u64,
    /// How often the node is restarted.
    #[arg(long, default_value_t = 3)]
    restarts: u32,
    /// Buyers who hold seats, and give them back, while the checkpoint streams.
    #[arg(long, default_value_t = 16)]
    buyers: u32,
    /// How long these are watched without a stream first.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

struct Running {
    node: Node,
    _data: DataDir,
}

/// How long the parts of a start took.
struct Times {
    open: Duration,
    start: Duration,
}

async fn start(directory: &Path, config: NodeConfig) -> (Running, Times) {
    let listener = TcpListener::bind(&config.address).await.expect("the port is free");
    let begun = Instant::now();
    let data = DataDir::open(directory, CLUSTER, config.id, &SystemIds).expect("the directory is the node's");
    let seams = NodeSeams {
        clock: Arc::new(SystemClock),
        connector: Arc::new(TcpConnector),
        spawner: Arc::new(ThreadSpawner),
        disk: data.wal_disk().expect("the log's directory can be made"),
        store: data.checkpoint_store().expect("the checkpoints can be opened"),
        owner: data.owner(),
    };
    let open = begun.elapsed();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let node = Node::start(config, seams, incoming).await.expect("the node starts");
    (Running { node, _data: data }, Times { open, start: begun.elapsed() - open })
}

/// How many the group says have joined, as of now.
async fn place_count(cluster: &GrpcCluster) -> u64 {
    let cluster: &dyn Cluster = cluster;
    let asked =
        cluster.query::<Shard>(GROUP, &ShardQuery::Showtime(AWAITED), Consistency::Linearizable, PATIENCE).await;
    match asked.expect("the group answers").0 {
        ShardAnswer::Showtime(Some(view)) => view.joined,
        other => panic!("the showtime is answered by {other:?}"),
    }
}

/// Lets `places` join in the stopped node's checkpoint.
async fn fill(directory: &Path, places: u64, is_remembered: bool) {
    let data = DataDir::open(directory, CLUSTER, 1, &SystemIds).expect("the directory is the node's");
    let store = data.checkpoint_store().expect("the checkpoints can be opened");
    let (checkpoints, task) = Checkpoints::new(store, data.owner(), Duration::from_secs(1));
    ThreadSpawner.spawn_blocking_task("checkpointer", Box::pin(task)).expect("a thread");
    let mut reading = checkpoints.begin_read(GROUP).await.expect("there is a checkpoint");
    let (mut last, membership) = (reading.meta().last.expect("it has entries"), reading.meta().membership.clone());
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let page = reading.next_page().await.expect("it can be read");
        if page.is_empty() {
            break;
        }
        rows.extend(page);
    }
    drop(reading);
    let mut shard = Shard::load(GROUP, rows.into_iter()).expect("a node wrote it");
    if !is_remembered {
        // Nothing but the line: neither facts nor the replies to requests.
        let limits = SetLimits {
            requests_max: Some(1_000),
            event_age_min: Some(Millis(0)),
            events_max: Some(1_000),
            ..SetLimits::default()
        };
        shard.apply(SystemClock.now(), &[Envelope { request: None, command: ShardCommand::SetLimits(limits) }]);
    }
    for first in (0..places).step_by(BATCH as usize) {
        let join = |number: u64| {
            let user = UserId(u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
            let command = ShardCommand::JoinQueue(JoinQueue { showtime: AWAITED, user });
            Envelope { request: is_remembered.then(next_request), command }
        };
        let batch: Vec<_> = (first..places.min(first + BATCH)).map(join).collect();
        for reply in shard.apply(SystemClock.now(), &batch) {
            reply.result.expect("everybody may join");
        }
        // As a checkpoint would, now and then.
        if (first / BATCH).is_multiple_of(64) {
            shard.drain_dirty();
        }
    }
    let mut rows = shard.rows();
    drop(shard);
    let mut receiving = checkpoints.begin_receive(GROUP).await.expect("the other slot is free");
    while !rows.is_empty() {
        let page = rows.split_off(rows.len().saturating_sub(PAGE_ROWS));
        receiving = checkpoints.put_page(receiving, page).await.expect("the rows are written");
    }
    let receiving = checkpoints.finish_receive(receiving).await.expect("the rows are flushed");
    last.index += AHEAD;
    checkpoints.install(receiving, Some(last), membership).await.expect("the checkpoint loads");
    checkpoints.close().await.expect("the store closes");
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(1).collect()
}

/// A free port of loopback.
async fn address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    listener.local_addr().expect("it is bound").to_string()
}

/// How often a node noted no more than so many seconds, for each bound of the histogram.
fn buckets(node: &Node, name: &str) -> Vec<(f64, u64)> {
    let prefix = format!("{name}_bucket{{le=\"");
    let bucket = |line: &str| {
        let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
        Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
    };
    node.metrics().render().lines().filter_map(bucket).collect()
}

/// The bound below which all were that were added between the two.
fn slowest(before: &[(f64, u64)], after: &[(f64, u64)]) -> f64 {
    let added: Vec<(f64, u64)> =
        after.iter().zip(before).map(|((bound, after), (_, before))| (*bound, after - before)).collect();
    let all = added.last().map_or(0, |(_, count)| *count);
    added.iter().find(|(_, count)| *count == all).map_or(0.0, |(bound, _)| *bound)
}

/// Notes the longest time between two entries applied, in microseconds, on a thread of its own, as long as the group's
/// state is there.
fn watch_gaps(node: &Node) -> Arc<AtomicU64> {
    let mut progress = node.state(GROUP).expect("the node hosts the group").watch();
    let longest = Arc::<AtomicU64>::default();
    let noted = longest.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let mut last = Instant::now();
            while progress.changed().await.is_ok() {
                noted.fetch_max(u64::try_from(last.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                last = Instant::now();
            }
        });
    });
    longest
}

/// Notes, in microseconds, the longest that the machine kept a thread that had work to do off the processor: what part of
/// any pause is not ours. The thread works for a third of a millisecond, two hundred times a second, as long as somebody
/// wants to know.
fn watch_scheduler() -> Arc<AtomicU64> {
    let longest = Arc::<AtomicU64>::default();
    let noted = Arc::downgrade(&longest);
    std::thread::spawn(move || {
        while let Some(longest) = noted.upgrade() {
            let begun = Instant::now();
            let mut last = begun;
            while last - begun < Duration::from_micros(333) {
                let now = Instant::now();
                longest.fetch_max(u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                last = now;
            }
            drop(longest);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    longest
}

/// The longest pauses so far, in microseconds.
struct Pauses {
    /// From one entry applied to the next.
    gap: Arc<AtomicU64>,
    /// Of a thread that has work to do and waits for nothing but the processor.
    scheduler: Arc<AtomicU64>,
}

/// What became of the entries applied in a span of time.
fn report(what: &str, span: Duration, pauses: &Pauses, before: &[(f64, u64)], node: &Node) -> Vec<(f64, u64)> {
    let after = buckets(node, "vestibule_node_apply_seconds");
    let longest = |pause: &AtomicU64| millis(Duration::from_micros(pause.swap(0, Ordering::Relaxed)));
    let last = |buckets: &[(f64, u64)]| buckets.last().map_or(0, |(_, count)| *count);
    let count = last(&after) - last(before);
    println!(
        "  {what}: {:.1} s, {count} entries, slowest apply below {:.2} ms, longest from one to the next {:.1} ms; off the \
         processor with work to do {:.1} ms (load {})",
        span.as_secs_f64(),
        slowest(before, &after) * 1_000.0,
        longest(&pauses.gap),
        longest(&pauses.scheduler),
        load()
    );
    after
}

async fn stream(root: &Path, running: &Running, cluster: &Arc<GrpcCluster>, args: &Sizes) {
    let showtime = ShowtimeId::new(GROUP, 1);
    let is_over = Arc::new(AtomicBool::new(false));
    let buyers: Vec<_> = (0..args.buyers)
        .map(|number| {
            let (cluster, is_over): (Arc<dyn Cluster>, _) = (cluster.clone(), is_over.clone());
            tokio::spawn(async move {
                let buyer = Buyer::new(cluster, showtime, number);
                while !is_over.load(Ordering::Relaxed) {
                    let (hold, _) = buyer.hold().await.expect("the seat is held");
                    buyer.release(hold).await.expect("the hold is given back");
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pauses = Pauses { gap: watch_gaps(&running.node), scheduler: watch_scheduler() };
    tokio::time::sleep(Duration::from_millis(100)).await;
    pauses.gap.store(0, Ordering::Relaxed);
    pauses.scheduler.store(0, Ordering::Relaxed);
    let span = Duration::from_secs(args.seconds);
    let before = buckets(&running.node, "vestibule_node_apply_seconds");
    tokio::time::sleep(span).await;
    let before = report("without a stream", span, &pauses, &before, &running.node);

    let begun = Instant::now();
    let own = &running.node.config().address;
    let config = NodeConfig::joining(2, CLUSTER, address().await, vec![own.clone()]);
    let (other, _) = start(&root.join("node2"), config).await;
    let sent = || buckets(&running.node, "vestibule_node_snapshot_send_seconds").last().map_or(0, |(_, count)| *count);
    let deadline = Instant::now() + 2 * PATIENCE;
    let before_sent = sent();
    // The directory goes over as a log: this is the awaited group.
    while sent() == before_sent {
        assert!(Instant::now() < deadline, "the checkpoint does not reach the other node");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = report("while it is sent and installed", begun.elapsed(), &pauses, &before, &running.node);
    tokio::time::sleep(AFTERMATH).await;
    report("right after", AFTERMATH, &pauses, &before, &running.node);
    let there = other.node.state(GROUP).expect("the other node hosts the group").progress().next_index;
    assert!(there > AHEAD, "the other node has come to {there} only");

    is_over.store(true, Ordering::Relaxed);
    for buyer in buyers {
        buyer.await.expect("a buyer does not panic");
    }
    other.node.shutdown().await.expect("it stops cleanly");
}

async fn measure(args: &Sizes, is_remembered: bool) {
    let root = directory();
    let directory = root.path().join("node1");
    let own = address().await;
    let config = NodeConfig::new(1, CLUSTER, BTreeMap::from([(1, own.clone())]), 1);
    let client = || GrpcCluster::new(vec![own.clone()], Arc::new(TcpConnector));
    let (running, _) = start(&directory, config.clone()).await;
    let cluster = client();
    open_showtime(&*cluster, GROUP).await;
    let opens_at = Timestamp(SystemClock.now().0 + 86_400_000);
    let sale =
        Sale { method: Method::Draw, prequeue_at: Some(Timestamp(1)), opens_at: Some(opens_at), ..Sale::default() };
    let command = ShardCommand::CreateShowtime(CreateShowtime {
        showtime: AWAITED,
        organisation: OrganisationId(1),
        seat_map: house(),
        prices: vec![Money { amount: 5_000, currency: Currency(*b"EUR") }],
        sale,
        draw_secret: [7; 32],
    });
    let envelope = Envelope { request: Some(next_request()), command };
    let ask: &dyn Cluster = &*cluster;
    let created = ask.propose::<Shard>(GROUP, &envelope, PATIENCE).await.expect("the group answers");
    created.0.result.expect("the showtime is new");
    drop(cluster);
    running.node.shutdown().await.expect("it stops cleanly");
    drop(running._data);

    let begun = Instant::now();
    fill(&directory, args.places, is_remembered).await;
    let mib = disk_use(&directory.join("checkpoint")) as f64 / f64::from(1 << 20);
    let with = if is_remembered { "what a group remembers of them" } else { "nothing else remembered" };
    println!("{} places, {with}: a checkpoint of {mib:.0} MiB, made in {:.0?}", args.places, begun.elapsed());
    for round in 1..=args.restarts {
        let (begun, cpu_before) = (Instant::now(), cpu_time(std::process::id()));
        let (running, times) = start(&directory, config.clone()).await;
        let (loaded, cpu) = (begun.elapsed(), cpu_time(std::process::id()) - cpu_before);
        let cluster = client();
        assert_eq!(place_count(&cluster).await, args.places, "everybody waits");
        println!(
            "  restart: state loaded and verified after {:.0} ms (files opened {:.0}, node started {:.0}), on \
             the processor {:.0} ms; first answer after {:.0} ms (load {})",
            millis(loaded),
            millis(times.open),
            millis(times.start),
            millis(cpu),
            millis(begun.elapsed()),
            load()
        );
        if round == args.restarts {
            stream(root.path(), &running, &cluster, args).await;
        }
        drop(cluster);
        running.node.shutdown().await.expect("it stops cleanly");
        drop(running._data);
    }
}

/// Measures and prints.
pub(crate) async fn run(args: &Sizes) {
    println!("floors: a restart in 3 s; applying pauses for 10 ms at most while a checkpoint streams");
    for is_remembered in [false, true] {
        measure(args, is_remembered).await;
    }
}

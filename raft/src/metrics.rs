//! What a node measures, as Prometheus reads it. `docs/operations/metrics.md` says what each figure means.
//!
//! Hot paths note into [`Distribution`]s and atomic counters; whatever can be read off the node's parts is read when
//! somebody asks.

use crate::checkpoint::Checkpoints;
use crate::clock_watch::ClockWatch;
use crate::group::{Group, Groups};
use crate::hosting::read_plan;
use crate::seams::{CheckpointStore, StoredChanges, StoredRows};
use crate::wal::Wal;
use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::GroupId;
use vestibule_proto::v1::failure::Kind;
use vestibule_sync::distribution::Distribution;

/// What the parts of a node note as they work.
#[derive(Debug, Default)]
pub(crate) struct Instruments {
    /// From an append to its sync.
    pub(crate) append: Distribution,
    /// Applying one entry.
    pub(crate) apply: Distribution,
    /// Commands in one entry.
    pub(crate) batch_commands: Distribution,
    /// Writing the changes of one group to the checkpoint store.
    pub(crate) checkpoint_write: Distribution,
    /// Making the checkpoint store durable.
    pub(crate) checkpoint_flush: Distribution,
    pub(crate) snapshot_send: Distribution,
    pub(crate) snapshot_receive: Distribution,
    pub(crate) snapshots_failed: AtomicU64,
    /// Checkpoints that were found damaged when the node started, and begun anew.
    pub(crate) checkpoints_remade: AtomicU64,
    /// Groups that cannot start before a peer has given them its checkpoint.
    pub(crate) groups_waiting: AtomicU64,
    /// Readers of events that were too slow.
    pub(crate) watches_cut_off: AtomicU64,
    proposals: [AtomicU64; RESULTS.len()],
}

/// What can come of a command that was proposed.
const RESULTS: [&str; 9] = [
    "applied",
    "refused",
    "not_leader",
    "overloaded",
    "unknown_outcome",
    "malformed",
    "too_large",
    "forbidden",
    "unavailable",
];

impl Instruments {
    /// A command was proposed. Says in a word what came of it: `Ok` is the machine's answer, an outcome or a refusal.
    pub(crate) fn proposed<T, E>(&self, result: Result<&Result<T, E>, Kind>) -> &'static str {
        let index = match result {
            Ok(Ok(_)) => 0,
            Ok(Err(_)) => 1,
            Err(Kind::NotLeader) => 2,
            Err(Kind::Overloaded) => 3,
            Err(Kind::UnknownOutcome) => 4,
            Err(Kind::Malformed) => 5,
            Err(Kind::TooLarge) => 6,
            Err(Kind::Forbidden) => 7,
            Err(_) => 8,
        };
        self.proposals[index].fetch_add(1, Ordering::Relaxed);
        RESULTS[index]
    }

    /// Notes how long a transfer of a snapshot took, or that it failed.
    pub(crate) fn transferred<T, E>(&self, times: &Distribution, begun: Instant, result: &Result<T, E>) {
        match result {
            Ok(_) => times.observe_duration(begun.elapsed()),
            Err(_) => drop(self.snapshots_failed.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// A store whose writes and flushes are timed.
pub(crate) struct TimedStore {
    pub(crate) store: Arc<dyn CheckpointStore>,
    pub(crate) instruments: Arc<Instruments>,
}

impl CheckpointStore for TimedStore {
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let begun = Instant::now();
            let written = self.store.write(namespace, changes).await;
            self.instruments.checkpoint_write.observe_duration(begun.elapsed());
            written
        })
    }

    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>> {
        self.store.get(namespace, key)
    }

    fn scan<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&'a [u8]>,
        bytes_max: usize,
    ) -> BoxFuture<'a, io::Result<StoredRows>> {
        self.store.scan(namespace, after, bytes_max)
    }

    fn flush(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let begun = Instant::now();
            let flushed = self.store.flush().await;
            self.instruments.checkpoint_flush.observe_duration(begun.elapsed());
            flushed
        })
    }

    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>> {
        self.store.clear(namespace)
    }

    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.begin_anew()
    }

    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.abandon_anew()
    }

    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>> {
        self.store.commit_anew()
    }
}

/// What a node measures. Clones share it.
#[derive(Clone)]
pub struct NodeMetrics {
    registry: Arc<Registry>,
    parts: Arc<Measured>,
}

/// Where the figures come from.
pub(crate) struct Measured {
    pub(crate) wal: Wal,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) groups: Arc<Groups>,
    pub(crate) clock_watch: Arc<ClockWatch>,
    pub(crate) instruments: Arc<Instruments>,
    /// How long the leader of a group may be silent before it counts as gone.
    pub(crate) silence_max: Duration,
}

impl fmt::Debug for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Measured")
    }
}

impl NodeMetrics {
    pub(crate) fn new(parts: Measured) -> Self {
        let parts = Arc::new(parts);
        let mut registry = Registry::with_prefix("vestibule_node");
        registry.register_collector(Box::new(parts.clone()));
        Self { registry: Arc::new(registry), parts }
    }

    /// Everything in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                String::new()
            }
        }
    }

    /// Why the node is not ready to serve every group that it hosts, if it is not.
    pub fn not_ready(&self) -> Option<String> {
        let waiting = self.parts.instruments.groups_waiting.load(Ordering::Relaxed);
        if waiting > 0 {
            return Some(format!("{waiting} groups wait for a peer's checkpoint"));
        }
        let groups = self.parts.groups.all();
        let leaderless = groups.iter().find(|group| !group.has_leader(self.parts.silence_max));
        leaderless.map(|group| format!("{} has no leader that is heard of", group.id))
    }

    /// What this node should have and has neither in its log nor in its checkpoints, if there is anything.
    pub fn missing(&self) -> Option<String> {
        self.not_ready().or_else(|| self.parts.missing())
    }
}

/// One scrape.
struct Scrape<'a>(DescriptorEncoder<'a>);

/// A figure with its labels.
type Labelled<L> = (L, i64);

impl Scrape<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<L: EncodeLabelSet>(&mut self, name: &str, help: &str, values: Vec<Labelled<L>>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        values.iter().try_for_each(|(labels, value)| metric.encode_family(labels)?.encode_gauge(value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        prometheus_client::metrics::counter::ConstCounter::new(value).encode(metric)
    }

    fn counters<L: EncodeLabelSet>(&mut self, name: &str, help: &str, values: &[(L, u64)]) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.iter().try_for_each(|(labels, value)| {
            metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(value, None)
        })
    }

    fn distribution(&mut self, name: &str, help: &str, values: &Distribution) -> fmt::Result {
        self.histogram(name, help, None, values, 1.0)
    }

    fn times(&mut self, name: &str, help: &str, values: &Distribution) -> fmt::Result {
        self.histogram(name, help, Some(&Unit::Seconds), values, 1e-6)
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: &Distribution,
        scale: f64,
    ) -> fmt::Result {
        let observed = values.observed();
        #[expect(clippy::disallowed_types, reason = "the library asks for one, and gets none")]
        let no_exemplars = None::<&std::collections::HashMap<usize, Exemplar<NoLabelSet, f64>>>;
        self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?.encode_histogram(
            observed.sum as f64 * scale,
            observed.count(),
            &observed.buckets(scale),
            no_exemplars,
        )
    }
}

/// How far one position is ahead of another.
fn lag(ahead: u64, behind: u64) -> i64 {
    i64::try_from(ahead.saturating_sub(behind)).unwrap_or(i64::MAX)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Collector for Measured {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut scrape = Scrape(encoder);
        self.encode_log(&mut scrape)?;
        self.encode_work(&mut scrape)?;
        self.encode_groups(&mut scrape)
    }
}

impl Measured {
    fn encode_log(&self, scrape: &mut Scrape<'_>) -> fmt::Result {
        let stats = self.wal.stats();
        scrape.times("log_append", "From an append to the end of the sync that covers it", &self.instruments.append)?;
        scrape.times("log_sync", "One sync of the log", &self.wal.instruments().sync)?;
        scrape.distribution("log_sync_records", "Records in one sync", &self.wal.instruments().records)?;
        scrape.counter("log_written_bytes", "Bytes written to the log", stats.bytes)?;
        scrape.gauge("log_segments", "Segment files of the log", signed(self.wal.oldest_segment_holders().0 as u64))?;
        scrape.gauge("log_queue_bytes", "Bytes that wait to be written to the log", signed(self.wal.queued_bytes()))?;
        scrape.gauge("disk_full", "Whether the disk is full", i64::from(*self.wal.watch_full().borrow()))?;
        scrape.gauge(
            "log_out_of_room",
            "Whether entries of other leaders are refused",
            i64::from(self.wal.is_out_of_room()),
        )
    }

    fn encode_work(&self, scrape: &mut Scrape<'_>) -> fmt::Result {
        let instruments = &self.instruments;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        scrape.distribution("batch_commands", "Commands in one entry", &instruments.batch_commands)?;
        let proposals = RESULTS.into_iter().zip(&instruments.proposals);
        let proposals: Vec<_> = proposals.map(|(result, counter)| ([("result", result)], count(counter))).collect();
        scrape.counters("proposals", "Commands proposed here, by what came of them", &proposals)?;
        scrape.times("apply", "Applying one entry", &instruments.apply)?;
        scrape.times(
            "checkpoint_write",
            "Writing a batch of rows to the checkpoints",
            &instruments.checkpoint_write,
        )?;
        scrape.times("checkpoint_flush", "Making the checkpoints durable", &instruments.checkpoint_flush)?;
        let help = "Whether no checkpoint can be written, because the disk was full or a row was damaged";
        scrape.gauge("checkpoints_out", help, i64::from(self.checkpoints.pulse().is_without_store()))?;
        let queue_len = signed(self.checkpoints.queue_len() as u64);
        scrape.gauge("checkpoint_queue_requests", "Requests that wait for the checkpointer", queue_len)?;
        let pulse = self.checkpoints.pulse();
        scrape.times("checkpoint_wait", "From a request to the checkpointer to its beginning", &pulse.waits)?;
        let help = "The longest that a request has waited for the checkpointer, in milliseconds";
        let longest = i64::try_from(pulse.longest_wait().as_millis()).unwrap_or(i64::MAX);
        scrape.gauge("checkpoint_wait_longest_milliseconds", help, longest)?;
        scrape.times("snapshot_send", "Sending a snapshot", &instruments.snapshot_send)?;
        scrape.times("snapshot_receive", "Receiving and installing a snapshot", &instruments.snapshot_receive)?;
        scrape.counter("snapshots_failed", "Snapshots that did not arrive", count(&instruments.snapshots_failed))?;
        let cut_off = count(&instruments.watches_cut_off);
        scrape.counter("watches_cut_off", "Readers of events that were cut off because they were too slow", cut_off)?;
        let remade = count(&instruments.checkpoints_remade);
        scrape.counter("checkpoints_remade", "Checkpoints that were found damaged and made again", remade)?;
        let clock = self.clock_watch.verdict();
        let help = "How far the clock is ahead of the median of all, in milliseconds";
        scrape.gauge("clock_ahead_milliseconds", help, clock.ahead_ms)?;
        scrape.gauge("clock_off", "Whether the clock is too far off to be used", i64::from(clock.is_wild))?;
        let waiting = signed(count(&instruments.groups_waiting));
        scrape.gauge("groups_waiting", "Groups that wait for a peer's checkpoint", waiting)
    }

    /// The first group that is wanted here and is not, or whose checkpoint does not reach what is left of its log.
    fn missing(&self) -> Option<String> {
        let Ok(directory) = self.groups.get(GroupId::DIRECTORY) else {
            return Some("the directory is not here yet".to_owned());
        };
        let plan = read_plan(&directory.state);
        let wanted = plan.placements.keys().filter(|group| plan.wants(**group, directory.node));
        if let Some(group) = wanted.into_iter().find(|group| self.groups.get(**group).is_err()) {
            return Some(format!("{group} is wanted here, and is not here yet"));
        }
        let has_gap = |group: &&Arc<Group>| {
            let purged = group.log.purged();
            purged.is_some_and(|purged| self.checkpoints.saved_next_index(group.id) <= purged.index)
        };
        let groups = self.groups.all();
        groups.iter().find(has_gap).map(|group| format!("the checkpoint of {} is behind its log", group.id))
    }

    fn encode_groups(&self, scrape: &mut Scrape<'_>) -> fmt::Result {
        let groups: Vec<_> = self.groups.all().into_iter().map(|group| self.figures(&group)).collect();
        let each = |figure: fn(&Figures) -> i64| {
            groups.iter().map(|group| ([("group", group.id)], figure(group))).collect::<Vec<_>>()
        };
        scrape.gauges("group_leader", "The node that leads the group, 0 if unknown", each(|group| group.leader))?;
        scrape.gauges("group_leads", "Whether this node leads the group", each(|group| group.leads))?;
        scrape.gauges("group_term", "The group's term", each(|group| group.term))?;
        scrape.gauges("group_applied_index", "The last entry applied here", each(|group| group.applied))?;
        scrape.gauges("group_apply_lag", "Entries in the log that are not applied", each(|group| group.apply_lag))?;
        let help = "Entries applied that are not in a durable checkpoint";
        scrape.gauges("group_checkpoint_lag", help, each(|group| group.checkpoint_lag))?;
        let help = "Entries that are not purged from the log";
        scrape.gauges("group_log_entries", help, each(|group| group.log_entries))?;
        let help = "Whether the group is at rest, so that it needs neither a clock nor heartbeats of its own";
        scrape.gauges("group_rests", help, each(|group| group.rests))?;
        scrape.gauges("group_queue_commands", "Commands that wait for the proposer", each(|group| group.queue))?;
        let replication = groups.iter().flat_map(|group| {
            let labels = |peer: u64| [("group", u64::from(group.id)), ("peer", peer)];
            group.replication.iter().map(move |(peer, lag)| (labels(*peer), *lag))
        });
        let help = "Entries that a peer lacks, as this node sees it while it leads";
        scrape.gauges("group_replication_lag", help, replication.collect())
    }

    fn figures(&self, group: &Group) -> Figures {
        let metrics = group.raft.metrics().borrow_watched().clone();
        let next_applied = group.state.progress().next_index;
        let next_log = metrics.last_log_index.map_or(0, |last| last + 1);
        let next_purged = metrics.purged.map_or(0, |purged| purged.index + 1);
        let replication = metrics.replication.into_iter().flatten();
        Figures {
            id: group.id.0,
            leader: signed(metrics.current_leader.unwrap_or(0)),
            leads: i64::from(metrics.current_leader == Some(group.node)),
            term: signed(metrics.current_term),
            applied: signed(next_applied.saturating_sub(1)),
            apply_lag: lag(next_log, next_applied),
            checkpoint_lag: lag(next_applied, self.checkpoints.saved_next_index(group.id)),
            log_entries: lag(next_log, next_purged),
            rests: i64::from(group.rests(Instant::now())),
            queue: signed(group.queue_len() as u64),
            replication: replication
                .filter(|(peer, _)| *peer != group.node)
                .map(|(peer, matched)| (peer, lag(next_log, matched.map_or(0, |matched| matched.index + 1))))
                .collect(),
        }
    }
}

/// What is told of one group.
struct Figures {
    id: u32,
    leader: i64,
    leads: i64,
    term: i64,
    applied: i64,
    apply_lag: i64,
    checkpoint_lag: i64,
    log_entries: i64,
    rests: i64,
    queue: i64,
    replication: Vec<(u64, i64)>,
}

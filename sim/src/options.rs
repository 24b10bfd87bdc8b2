//! What a run is made of: everything that its seed decides beforehand.

use crate::dice::Dice;
use crate::faults::{Kind, Mix};
use crate::web::options::WebOptions;
use crate::workload::Market;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use vestibule_engine::{GroupId, Millis, SetLimits};
use vestibule_raft::node::{Bounds, NodeConfig};

/// The most showtimes of a run.
const SHOWTIMES_MAX: usize = 2;

/// By how many milliseconds a clock may always be off: two of them differ by less than what counts as wrong.
const BASE_SKEW_MAX: u64 = 120;

/// Bounds and sizes of nodes that are the usual ones in some runs and tight in others.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// What may wait for a group's proposer, and what shares an entry.
    pub proposals: Bounds,
    /// Bytes that may wait for the log's syncer.
    pub queue_bytes_max: usize,
    /// Bytes after which nothing more joins a frame.
    pub frame_bytes_max: usize,
    /// How fast snapshots leave a node.
    pub snapshot_bytes_per_second: u64,
    /// Bytes of rows that are sent of a snapshot at a time.
    pub checkpoint_page_bytes: usize,
    /// Segments of the log above which groups are made to purge.
    pub segments_max: usize,
    /// How long a showtime may be in the making before the controller finishes it.
    pub showtime_patience: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        let node = NodeConfig::new(1, "usual", BTreeMap::new(), 1);
        Self {
            proposals: node.proposals,
            queue_bytes_max: node.wal.queue_bytes_max,
            frame_bytes_max: node.wal.frame_bytes_max,
            snapshot_bytes_per_second: node.snapshot_bytes_per_second,
            checkpoint_page_bytes: node.checkpoint_page_bytes,
            segments_max: node.segments_max,
            showtime_patience: node.showtime_patience,
        }
    }
}

impl Tuning {
    fn draw(dice: &mut Dice, longest: usize) -> Self {
        let mut tuning = Self::default();
        let mut is_tight = || dice.percent(30);
        let tight: [bool; 9] = std::array::from_fn(|_| is_tight());
        if tight[0] {
            tuning.proposals.len_max = *dice.pick(&[2, 5, 20]);
        }
        if tight[1] {
            // Room for the longest command that the log takes.
            tuning.proposals.bytes_max = longest;
        }
        if tight[2] {
            tuning.proposals.batch_len_max = dice.within(1..=3) as usize;
        }
        if tight[3] {
            tuning.queue_bytes_max = *dice.pick(&[64, 1 << 10, 16 << 10]);
        }
        if tight[4] {
            tuning.frame_bytes_max = *dice.pick(&[1, 256, 4 << 10]);
        }
        if tight[5] {
            tuning.snapshot_bytes_per_second = *dice.pick(&[60_000, 200_000]);
        }
        if tight[6] {
            tuning.checkpoint_page_bytes = *dice.pick(&[1, 200, 4 << 10]);
        }
        if tight[7] {
            tuning.segments_max = *dice.pick(&[1, 2]);
        }
        if tight[8] {
            tuning.showtime_patience = dice.millis(1..=2_000);
        }
        tuning
    }
}

/// So many requests have to be under way, all in all, for the stops of gateways to show anything.
const DRAINED_MIN: u64 = 5;

/// What has to hold in a run beside the invariants.
#[derive(Debug, Clone, Default)]
pub struct Demands {
    /// Everything asked during the sale is answered.
    pub answers: bool,
    /// Nothing that was asked over HTTP breaks off because a gateway is stopped.
    pub outcomes: bool,
    /// From so long after the sale's beginning to the end of the faults nobody else comes to lead anything.
    pub calm_after: Option<Duration>,
}

impl Demands {
    /// Whether they are met, when so many calls got no answer, so many over HTTP that were under way as gateways were stopped were
    /// answered and so many broke off, and groups were led in these terms once it was calm, and now.
    pub fn check(
        &self,
        unanswered: usize,
        (drained, broken_off): (u64, u64),
        calm: &BTreeMap<GroupId, u64>,
        now: &BTreeMap<GroupId, u64>,
    ) -> Result<(), String> {
        if self.answers && unanswered > 0 {
            return Err(format!("{unanswered} requests got no answer"));
        }
        if self.outcomes && broken_off > 0 {
            return Err(format!("{broken_off} requests over HTTP broke off"));
        }
        if self.outcomes && drained < DRAINED_MIN {
            return Err(format!("only {drained} requests were under way when gateways were stopped"));
        }
        if self.calm_after.is_some() && calm != now {
            return Err(format!("terms were {calm:?} and are {now:?}"));
        }
        Ok(())
    }
}

/// The options of a run, expanded from its seed.
#[derive(Debug, Clone)]
pub struct Options {
    /// What everything follows from.
    pub seed: u64,
    /// The scenario that it is, if it is one.
    pub scenario: Option<&'static str>,
    /// Nodes, 3 to 5.
    pub nodes: u64,
    /// Machines that nodes may be added on.
    pub spares: u64,
    /// Whether nodes on them join by themselves, and do not wait to be added.
    pub spares_join: bool,
    /// By how many milliseconds the clock of each machine with a node is always off.
    pub base_skew_ms: Vec<i64>,
    /// Shard groups, the directory not counted.
    pub groups: u32,
    /// Showtimes on sale.
    pub showtimes: usize,
    /// Seats of the house that all of them are in.
    pub seats: usize,
    /// Gateways.
    pub gateways: usize,
    /// Buyers at each gateway.
    pub buyers: usize,
    /// The most time that a buyer thinks between two steps.
    pub think_max: Duration,
    /// How long a hold lives.
    pub hold_ttl: Duration,
    /// How long an order waits for its payment.
    pub payment_ttl: Duration,
    /// How much time passes in a step of the simulation.
    pub tick: Duration,
    /// The least and the most time that a packet takes.
    pub latency: (Duration, Duration),
    /// Raft's heartbeat, the least and the most wait for an election.
    pub heartbeat: Duration,
    /// See [`Options::heartbeat`].
    pub election: (Duration, Duration),
    /// Bytes of a segment of the log.
    pub segment_len: u64,
    /// Bytes of entries that a group keeps in memory.
    pub resident_bytes: usize,
    /// Entries after which a snapshot is declared.
    pub snapshot_entries: u64,
    /// How often checkpoints are written.
    pub checkpoint_interval: Duration,
    /// Bytes of applied log after which they are written earlier.
    pub checkpoint_bytes: u64,
    /// Other bounds and sizes.
    pub tuning: Tuning,
    /// How little groups are made to remember, if they are.
    pub retention: Option<SetLimits>,
    /// What has to hold beside the invariants.
    pub demands: Demands,
    /// How seats are sold.
    pub market: Market,
    /// Gateways over HTTP, and their clients.
    pub web: WebOptions,
    /// What goes wrong.
    pub faults: Mix,
    /// How long faults go on, at least.
    pub chaos: Duration,
    /// How long the cluster may take afterwards to converge and serve.
    pub calm_max: Duration,
}

impl Options {
    /// The options that a seed stands for.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "options");
        let heartbeat = *dice.pick(&[50, 100, 150]);
        let election_min = heartbeat * dice.within(2..=4);
        let latency_max = *dice.pick(&[1, 2, 5, 20]);
        let mut options = Self {
            seed,
            scenario: None,
            tuning: Tuning::default(),
            retention: draw_retention(&mut Dice::new(seed, "retention")),
            demands: Demands::default(),
            nodes: *dice.weighted(&[(3, 6), (4, 1), (5, 3)]),
            spares: 0,
            spares_join: false,
            base_skew_ms: Vec::new(),
            groups: u32::try_from(dice.within(1..=3)).unwrap_or(1),
            showtimes: dice.within(1..=SHOWTIMES_MAX as u64) as usize,
            seats: *dice.pick(&[60, 120, 300]),
            gateways: dice.within(1..=2) as usize,
            buyers: dice.within(3..=8) as usize,
            think_max: dice.millis(50..=600),
            hold_ttl: Duration::from_secs(dice.within(3..=8)),
            payment_ttl: Duration::from_secs(dice.within(2..=8)),
            tick: Duration::from_millis(*dice.weighted(&[(1, 3), (2, 1)])),
            latency: (Duration::ZERO, Duration::from_millis(latency_max)),
            heartbeat: Duration::from_millis(heartbeat),
            election: (
                Duration::from_millis(election_min),
                Duration::from_millis(election_min + heartbeat * dice.within(1..=3)),
            ),
            segment_len: *dice.pick(&[128 << 10, 256 << 10, 1 << 20]),
            resident_bytes: *dice.pick(&[4 << 10, 64 << 10, 1 << 20]),
            snapshot_entries: *dice.pick(&[20, 50, 200, 2_000]),
            checkpoint_interval: dice.millis(20..=400),
            checkpoint_bytes: *dice.pick(&[4 << 10, 64 << 10, 16 << 20]),
            market: Market::draw(&mut Dice::new(seed, "sale"), SHOWTIMES_MAX),
            web: WebOptions::draw(&mut Dice::new(seed, "web")),
            faults: Mix::draw(&mut Dice::new(seed, "faults of the run")),
            chaos: Duration::from_secs(dice.within(8..=20)),
            calm_max: Duration::from_secs(60),
        };
        options.market.methods.truncate(options.showtimes);
        options.market.openings.truncate(options.showtimes);
        let longest = usize::try_from(options.segment_len / 2).unwrap_or(usize::MAX);
        options.tuning = Tuning::draw(&mut Dice::new(seed, "tuning"), longest);
        options.faults.draw_edge(seed);
        if options.faults.edge.is_some() {
            // The more often logs are purged and snapshots sent, the sooner it is passed.
            options.snapshot_entries = 20;
            options.segment_len = 128 << 10;
        }
        if options.faults.kinds().any(|kind| kind == Kind::LongOutage) {
            // So that whoever comes back needs a snapshot.
            options.snapshot_entries = options.snapshot_entries.min(50);
        }
        if options.faults.kinds().any(|kind| kind == Kind::Overload) {
            // Otherwise nothing is too much.
            options.tuning.proposals.len_max = options.tuning.proposals.len_max.min(20);
        }
        let mut dice = Dice::new(seed, "spares");
        let takers = options.faults.kinds().filter(|kind| kind.takes_spare()).count() as u64;
        options.spares = takers + if takers > 0 { dice.within(0..=1) } else { 0 };
        options.spares_join = dice.percent(50);
        let mut dice = Dice::new(seed, "clocks");
        let far = *dice.weighted(&[(0, 1), (20, 2), (BASE_SKEW_MAX, 1)]);
        let mut skew = || dice.within(0..=2 * far) as i64 - far as i64;
        options.base_skew_ms = (0..options.nodes + options.spares).map(|_| skew()).collect();
        options
    }
}

/// Bounds near to the least that there may be: requests are forgotten soon after their clients have given up, events by the
/// page. A line may be full.
fn draw_retention(dice: &mut Dice) -> Option<SetLimits> {
    let limits = SetLimits {
        requests_max: Some(1_000),
        request_age_max: Some(Millis(*dice.pick(&[3_000, 8_000, 20_000]))),
        event_age_min: Some(Millis(*dice.pick(&[0, 300, 3_000]))),
        events_max: Some(1_000),
        tickets_max: *dice.weighted(&[(None, 3), (Some(120), 1), (Some(20), 1)]),
    };
    dice.percent(40).then_some(limits)
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scenario) = self.scenario {
            write!(f, "scenario {scenario}, ")?;
        }
        let Self { seed, nodes, groups, showtimes, seats, gateways, buyers, .. } = self;
        writeln!(
            f,
            "seed {seed}: {nodes} nodes, {groups} groups, {showtimes} showtimes of {seats} seats, {gateways} gateways with {buyers} buyers each"
        )?;
        writeln!(
            f,
            "  raft: heartbeat {:?}, election {:?} to {:?}, snapshot after {} entries",
            self.heartbeat, self.election.0, self.election.1, self.snapshot_entries
        )?;
        writeln!(
            f,
            "  storage: segments of {} bytes, {} bytes resident, checkpoints every {:?} or {} bytes",
            self.segment_len, self.resident_bytes, self.checkpoint_interval, self.checkpoint_bytes
        )?;
        writeln!(
            f,
            "  buyers: think up to {:?}, holds live {:?}, orders {:?}",
            self.think_max, self.hold_ttl, self.payment_ttl
        )?;
        writeln!(
            f,
            "  machines: {} spare, which {}; clocks off by {:?} ms",
            self.spares,
            if self.spares_join { "join" } else { "are added" },
            self.base_skew_ms
        )?;
        let Tuning { proposals, .. } = &self.tuning;
        writeln!(
            f,
            "  bounds: {} proposals of {} bytes wait, {} share an entry; {} bytes wait for the log, {} share a frame",
            proposals.len_max,
            proposals.bytes_max,
            proposals.batch_len_max,
            self.tuning.queue_bytes_max,
            self.tuning.frame_bytes_max
        )?;
        writeln!(
            f,
            "  also: snapshots at {} bytes a second in pages of {}, {} segments, showtimes finished after {:?}",
            self.tuning.snapshot_bytes_per_second,
            self.tuning.checkpoint_page_bytes,
            self.tuning.segments_max,
            self.tuning.showtime_patience
        )?;
        if let Some(SetLimits { request_age_max, event_age_min, tickets_max, .. }) = &self.retention {
            let millis = |span: &Option<Millis>| span.map_or(0, |span| span.0);
            let tickets = tickets_max.map_or("usual".to_owned(), |count| count.to_string());
            writeln!(
                f,
                "  kept: requests for {} ms, events for {} ms and no more than 1000 of either; tickets of a line: {tickets}",
                millis(request_age_max),
                millis(event_age_min)
            )?;
        }
        writeln!(f, "  sale: {}", self.market)?;
        writeln!(f, "  web: {}", self.web)?;
        let Demands { answers, outcomes, calm_after } = &self.demands;
        writeln!(
            f,
            "  demands: everything is answered: {answers}, nothing breaks off over HTTP: {outcomes}; leaders stay once {calm_after:?} have gone by"
        )?;
        writeln!(f, "  faults: {}", self.faults)?;
        write!(
            f,
            "  time: ticks of {:?}, packets take {:?} to {:?}, faults for {:?}, then at most {:?}",
            self.tick, self.latency.0, self.latency.1, self.chaos, self.calm_max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_are_met_or_not() {
        let (first, second) = (BTreeMap::from([(GroupId(1), 3)]), BTreeMap::from([(GroupId(1), 4)]));
        let none = Demands::default();
        assert_eq!(none.check(7, (0, 7), &first, &second), Ok(()));
        let answers = Demands { answers: true, ..none.clone() };
        assert_eq!(answers.check(0, (0, 7), &first, &second), Ok(()));
        assert!(answers.check(1, (0, 0), &first, &first).is_err());
        let outcomes = Demands { outcomes: true, ..none.clone() };
        assert_eq!(outcomes.check(7, (DRAINED_MIN, 0), &first, &second), Ok(()));
        assert!(outcomes.check(0, (DRAINED_MIN, 1), &first, &first).is_err());
        assert!(outcomes.check(0, (DRAINED_MIN - 1, 0), &first, &first).is_err());
        let calm = Demands { calm_after: Some(Duration::ZERO), ..none };
        assert_eq!(calm.check(7, (0, 7), &first, &first), Ok(()));
        assert!(calm.check(0, (0, 0), &first, &second).is_err());
    }
}

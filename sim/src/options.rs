//! What a run is made of: everything that its seed decides beforehand.

use crate::dice::Dice;
use crate::faults::Mix;
use crate::web::options::WebOptions;
use crate::workload::Market;
use std::fmt;
use std::time::Duration;

/// The most showtimes of a run.
const SHOWTIMES_MAX: usize = 2;

/// The options of a run, expanded from its seed.
#[derive(Debug, Clone)]
pub struct Options {
    /// What everything follows from.
    pub seed: u64,
    /// Nodes, 3 to 5.
    pub nodes: u64,
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
            nodes: *dice.weighted(&[(3, 6), (4, 1), (5, 3)]),
            groups: u32::try_from(dice.within(1..=3)).unwrap_or(1),
            showtimes: dice.within(1..=SHOWTIMES_MAX as u64) as usize,
            seats: *dice.pick(&[60, 120, 300]),
            gateways: dice.within(1..=2) as usize,
            buyers: dice.within(3..=8) as usize,
            think_max: dice.millis(50..=600),
            hold_ttl: Duration::from_secs(dice.within(2..=8)),
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
        options
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        writeln!(f, "  sale: {}", self.market)?;
        writeln!(f, "  web: {}", self.web)?;
        writeln!(f, "  faults: {}", self.faults)?;
        write!(
            f,
            "  time: ticks of {:?}, packets take {:?} to {:?}, faults for {:?}, then at most {:?}",
            self.tick, self.latency.0, self.latency.1, self.chaos, self.calm_max
        )
    }
}

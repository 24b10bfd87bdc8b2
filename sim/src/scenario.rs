//! Runs that are written down: which faults come when, and what has to hold beside the invariants.
//!
//! A seed draws its options and faults, so what it shows changes whenever one more thing is drawn. A scenario says what it is
//! about, and goes on showing it.

use crate::faults::{Kind, Mix};
use crate::options::{Demands, Options};
use crate::power::Edge;
use std::time::Duration;
use vestibule_raft::types::NodeId;

/// A run that is written down.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What all that it does not say is drawn from.
    seed: u64,
    set: fn(&mut Options),
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "failed-sync",
        about: "a frame whose sync had failed was vouched for after a restart, and was gone after a power cut (found by seed 11)",
        seed: 11,
        set: |options| {
            let syncs = [1, 4, 7, 10].map(|at| (at, Kind::SyncError, Some(1)));
            let cuts = [3, 6, 9, 12].map(|at| (at, Kind::PowerCut, Some(1)));
            script(options, &[syncs, cuts].concat());
        },
    },
    Scenario {
        name: "refusing-peer",
        about: "a leader whose peer refused connections tried again without a break, until there were no ports left (found by seed 15)",
        seed: 15,
        set: |options| {
            options.nodes = 3;
            script(options, &[(1, Kind::LongOutage, Some(3)), (14, Kind::LongOutage, Some(2))]);
        },
    },
    Scenario {
        name: "rotten-checkpoints",
        about: "checkpoints of all nodes rotted one after the other, faster than peers could replace them (found by seed 153)",
        seed: 153,
        set: |options| {
            options.snapshot_entries = 20;
            let rot: Vec<_> = (0..10).map(|turn| (1 + turn, Kind::CheckpointRot, None)).collect();
            script(options, &rot);
        },
    },
    Scenario {
        name: "rolling-restart",
        about: "every node is restarted in turn; no request is lost by it",
        seed: 3,
        set: |options| {
            calm(options);
            options.demands.answers = true;
            script(options, &[(3, Kind::RollingRestart, None)]);
        },
    },
    Scenario {
        name: "stopped-gateway",
        about: "the only gateway is stopped and started again in mid-sale, six times; no request under way is cut off",
        seed: 8,
        set: |options| {
            calm(options);
            options.gateways = 1;
            options.demands.outcomes = true;
            // So that something is always under way, and nobody asks again where it breaks off.
            options.web.client.attempts_max = 1;
            options.latency = (Duration::from_millis(5), Duration::from_millis(20));
            (options.web.provider.slow, options.web.provider.slow_max) = (100, 1_500);
            (options.web.hosts, options.web.visitors) = (2, 8);
            options.web.gateway.requests_max = 200;
            options.web.gateway.write_patience = Duration::from_secs(6);
            options.web.gateway.request_timeout = Duration::from_secs(8);
            options.web.gateway.drain_timeout = Duration::from_secs(10);
            options.web.client.attempt_timeout = Duration::from_secs(10);
            options.web.client.call_timeout = Duration::from_secs(12);
            let stops: Vec<_> = (0..6).map(|turn| (3 + 3 * turn, Kind::GatewayStop, None)).collect();
            script(options, &stops);
        },
    },
    Scenario {
        name: "scale-out",
        about: "a node comes in mid-sale, gets its share, and one of the first goes",
        seed: 4,
        set: |options| {
            calm(options);
            options.demands.answers = true;
            script(options, &[(2, Kind::AddNode, None), (5, Kind::Rebalance, None), (8, Kind::RemoveNode, Some(1))]);
        },
    },
    Scenario {
        name: "lost-disk",
        about: "a node loses its disks, is refused under its old number, and another takes its place",
        seed: 5,
        set: |options| script(options, &[(3, Kind::DiskLoss, Some(2)), (9, Kind::Kill, Some(3))]),
    },
    Scenario {
        name: "rotten-log",
        about: "a bit of a node's log flips: it names the place, does not start, and another takes its place",
        seed: 6,
        set: |options| script(options, &[(5, Kind::LogRot, Some(2)), (11, Kind::Kill, Some(3))]),
    },
    Scenario {
        name: "given-up",
        about: "nodes die while they give groups up: what is left is never a gap (found by seeds 30, 40 and 203)",
        seed: 40,
        set: |options| {
            let steps = [
                (1, Kind::AddNode, None),
                (3, Kind::KillInWrite, Some(1)),
                (3, Kind::Drain, Some(1)),
                (8, Kind::PowerCut, Some(1)),
                (9, Kind::PowerCutInWrite, Some(2)),
                (9, Kind::Drain, Some(2)),
                (14, Kind::Blackout, None),
            ];
            options.snapshot_entries = 20;
            script(options, &steps);
            options.faults.edge = Some(Edge::SnapshotSwap);
        },
    },
    Scenario {
        name: "overload",
        about: "far more is asked than a small queue takes: it is refused early, and no election comes of it",
        seed: 7,
        set: |options| {
            calm(options);
            options.tuning.proposals.len_max = 4;
            options.demands.calm_after = Some(Duration::from_secs(6));
            script(options, &[(7, Kind::Overload, None), (10, Kind::Overload, None)]);
        },
    },
];

/// The options of a scenario.
pub fn find(name: &str) -> Option<Options> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name)?;
    let mut options = Options::of(scenario.seed);
    options.scenario = Some(scenario.name);
    options.nodes = 3;
    options.spares = 2;
    (scenario.set)(&mut options);
    options.base_skew_ms = vec![0; (options.nodes + options.spares) as usize];
    Some(options)
}

/// What comes in which second.
fn script(options: &mut Options, steps: &[(u64, Kind, Option<NodeId>)]) {
    let mut script: Vec<_> = steps.iter().map(|(at, kind, node)| (Duration::from_secs(*at), *kind, *node)).collect();
    script.sort_by_key(|(at, ..)| *at);
    options.chaos = options.chaos.max(script.last().map_or(Duration::ZERO, |(at, ..)| *at + Duration::from_secs(3)));
    options.faults = Mix { script, ..Mix::default() };
}

/// The usual sizes and times, on a network and with a payment provider that are as they should be.
fn calm(options: &mut Options) {
    options.heartbeat = Duration::from_millis(100);
    options.election = (Duration::from_millis(200), Duration::from_millis(350));
    options.latency = (Duration::ZERO, Duration::from_millis(2));
    options.snapshot_entries = 200;
    options.tuning = Default::default();
    options.retention = None;
    options.web.provider = Default::default();
    options.demands = Demands::default();
}

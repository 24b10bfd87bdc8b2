//! `vestibule-sim sweep`: plays many seeds, each in a process of its own.

use super::play::{self, Playing, now};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, stderr};
use std::ops::Range;
use std::process::{ExitCode, Output};
use std::time::Duration;
use vestibule_sim::faults::{EDGE_EVERY, KINDS};
use vestibule_sim::power::EDGES;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many are played at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Begins no further seed after so many minutes, and says which were not played. That is no failure.
    #[arg(long)]
    minutes: Option<u64>,
    /// A seed that takes longer than this many seconds, of the real time, has failed.
    #[arg(long, default_value_t = 300)]
    seed_seconds: u64,
}

/// So many seeds do everything: a kind of fault or a call that never came is missing.
const COMPLETE_MIN: u64 = 60;
/// So many seeds in a row are about every edge twice.
const EDGES_MIN: u64 = 2 * EDGE_EVERY * EDGES.len() as u64;
/// Where there is no terminal, a line is printed every so many seeds.
const LINE_EVERY: u64 = 10;
/// What has to be done for clients.
const OPERATIONS: &[&str] = &[
    "AcknowledgeEvents",
    "ActivateShowtime",
    "ArchiveShowtime",
    "BlockSeats",
    "CancelOrder",
    "ClaimAdmission",
    "CloseQueue",
    "CreateEvent",
    "CreateOrganisation",
    "CreateShowtime",
    "CreateUser",
    "CreateVenue",
    "DeleteEvent",
    "ExtendHold",
    "GrantRole",
    "HoldSeats",
    "JoinQueue",
    "JoinWaitlist",
    "LeaveQueue",
    "LeaveWaitlist",
    "LookUpAnywhere",
    "LookUpLinearizable",
    "OpenQueue",
    "PauseQueue",
    "PlaceOrder",
    "ReadAnywhere",
    "ReadLinearizable",
    "RecordBeacon",
    "RecordPayment",
    "RecordRefund",
    "RefundOrder",
    "RegisterSink",
    "ReleaseHold",
    "RemoveSink",
    "ResumeQueue",
    "RevokeRole",
    "RotateTokenKey",
    "ScheduleShowtime",
    "SetLimits",
    "SetQueueMessage",
    "UnblockSeats",
    "UpdateEvent",
    "UpdateOrganisation",
    "UpdateSale",
    "UpdateUser",
    "UpdateVenue",
];

/// What has to be answered over HTTP.
const VISITS: &[&str] = &[
    "Cancel",
    "Claim",
    "DeafEar",
    "Extend",
    "Guest",
    "Hold",
    "Join",
    "Leave",
    "Order",
    "Organise",
    "Pay",
    "Refund",
    "Release",
    "Rush",
    "SeeDraw",
    "SeeHealth",
    "SeeHold",
    "SeeLine",
    "SeeOrder",
    "SeeReceipt",
    "SeeSeats",
    "SeeTicket",
    "SlowBody",
    "SlowHead",
];

/// What is counted, by the word that `run` prints before it.
const COUNTED: [&str; 10] = [
    "done",
    "refused",
    "unanswered",
    "visits",
    "visits unanswered",
    "faults",
    "edges passed",
    "edges",
    "forgotten",
    "webhooks",
];

/// What has to be forgotten.
const FORGOTTEN: &[&str] = &["events", "requests-asked-again"];

/// How notices of the payment provider have to come.
const WEBHOOKS: &[&str] = &["late", "repeated"];

/// What all seeds came to, together.
struct Totals {
    bar: ProgressBar,
    of: u64,
    begun: Duration,
    played: u64,
    simulated_ms: u64,
    /// By what is counted, then by name.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    failures: Vec<(u64, String)>,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let deadline = args.minutes.map(|minutes| now() + Duration::from_secs(60 * minutes));
    let patience = Duration::from_secs(args.seed_seconds);
    let mut seeds = args.first..args.first.saturating_add(args.seeds);
    let mut playing: Vec<(u64, Playing)> = Vec::new();
    let mut totals = Totals::new(args.seeds);
    loop {
        while playing.len() < args.jobs.max(1) && deadline.is_none_or(|deadline| now() < deadline) {
            let Some(seed) = seeds.next() else { break };
            match play::elsewhere(seed).and_then(Playing::begin) {
                Ok(begun) => playing.push((seed, begun)),
                Err(error) => totals.fail(seed, error.to_string()),
            }
        }
        if playing.is_empty() {
            break;
        }
        let mut left = Vec::new();
        for (seed, one) in playing {
            match one.poll(patience) {
                Err(still) => left.push((seed, still)),
                Ok(Ok(output)) => totals.take(seed, &output),
                Ok(Err(error)) => totals.fail(seed, error.to_string()),
            }
        }
        playing = left;
        std::thread::sleep(play::PAUSE);
    }
    totals.report(seeds)
}

impl Totals {
    fn new(of: u64) -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::new(of) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {elapsed} of {duration}  {msg}");
        bar.set_style(style.expect("the template is right"));
        Self { bar, of, begun: now(), played: 0, simulated_ms: 0, counts: BTreeMap::new(), failures: Vec::new() }
    }

    fn take(&mut self, seed: u64, output: &Output) {
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let why = text.lines().find_map(|line| line.strip_prefix("FAILED ")).map(str::to_owned);
            let last = || String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no word of why").to_owned();
            return self.fail(seed, why.unwrap_or_else(last));
        }
        self.played += 1;
        for line in text.lines() {
            if let Some(passed) = line.strip_prefix("passed: ") {
                self.simulated_ms += passed.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            }
            let Some((what, counts)) = line.split_once(':').filter(|(what, _)| COUNTED.contains(what)) else {
                continue;
            };
            let totals = self.counts.entry(what.to_owned()).or_default();
            for (name, count) in counts.split_whitespace().filter_map(|word| word.split_once('=')) {
                *totals.entry(name.to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
            }
        }
        self.progress();
    }

    fn fail(&mut self, seed: u64, why: String) {
        self.bar.suspend(|| say!("seed {seed}: FAILED {why}"));
        self.failures.push((seed, why));
        self.progress();
    }

    fn done(&self) -> u64 {
        self.played + self.failures.len() as u64
    }

    fn progress(&self) {
        self.bar.set_position(self.done());
        self.bar.set_message(match self.failures.len() {
            0 => String::new(),
            failed => format!("{failed} failed"),
        });
        if self.bar.is_hidden() && self.done().is_multiple_of(LINE_EVERY) {
            say!("{} of {} seeds after {:.0} s", self.done(), self.of, (now() - self.begun).as_secs_f64());
        }
    }

    /// What never came, of all that has to come when so many seeds are played.
    fn missing(&self) -> Vec<String> {
        let kinds = KINDS.iter().map(|(_, name, _)| ("faults", *name));
        let edges = EDGES.iter().filter(|_| self.played >= EDGES_MIN).map(|(_, name)| ("edges", *name));
        let passed = EDGES.iter().map(|(_, name)| ("edges passed", *name));
        let calls = OPERATIONS.iter().map(|name| ("done", *name));
        let count = |what: &str, name: &str| self.counts.get(what).and_then(|counts| counts.get(name)).copied();
        let visits = VISITS.iter().map(|name| ("visits", *name));
        let forgotten = FORGOTTEN.iter().map(|name| ("forgotten", *name));
        let webhooks = WEBHOOKS.iter().map(|name| ("webhooks", *name));
        let wanted = kinds.chain(passed).chain(edges).chain(calls).chain(visits).chain(forgotten).chain(webhooks);
        wanted
            .filter(|(what, name)| count(what, name).unwrap_or(0) == 0)
            .map(|(what, name)| format!("{what}: {name}"))
            .collect()
    }

    fn report(&self, not_played: Range<u64>) -> ExitCode {
        self.bar.finish_and_clear();
        let took = (now() - self.begun).as_secs_f64();
        for (what, counts) in &self.counts {
            say!("{what}");
            counts.iter().for_each(|(name, count)| say!("  {count:>9}  {name}"));
        }
        let missing = self.missing();
        missing.iter().for_each(|what| say!("          0  {what}"));
        let simulated = self.simulated_ms as f64 / 1e3;
        say!(
            "{} seeds passed, {} failed; {simulated:.0} simulated seconds in {took:.0} s, {:.1} a second",
            self.played,
            self.failures.len(),
            simulated / took.max(0.001)
        );
        let mut wrong = String::new();
        if !not_played.is_empty() {
            let (first, last, count) = (not_played.start, not_played.end - 1, not_played.end - not_played.start);
            say!("NOT PLAYED, for the time was up: {count} seeds, {first} to {last}");
        }
        if self.played == 0 {
            wrong.push_str("no seed passed\n");
        }
        if self.played >= COMPLETE_MIN && !missing.is_empty() {
            let _ = writeln!(
                wrong,
                "{} seeds have to do everything, and this never came: {}",
                self.played,
                missing.join(", ")
            );
        }
        for (seed, why) in &self.failures {
            let _ = writeln!(wrong, "seed {seed}: {why}\n    {}", play::replay(*seed));
        }
        if wrong.is_empty() {
            return ExitCode::SUCCESS;
        }
        say!("FAILED at commit {}\n{wrong}", play::commit());
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::Error;
    use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
    use vestibule_engine::{DirectoryCommand, ShardCommand};

    /// Commands that are not made by clients whose calls are counted.
    const BY_OTHERS: [&str; 7] = [
        // By nodes, as time goes by.
        "Tick",
        // By gateways, before they serve.
        "PutTokenKeys",
        // By nodes and the operator; what they come to is counted among the faults.
        "RegisterNode",
        "RetireNode",
        "SetGroups",
        "SetNodeState",
        "SetPlacement",
    ];

    /// Has nothing to give, but hears which variants there are.
    struct Names<'a>(&'a mut Vec<&'static str>);

    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("this is for enums"))
        }

        fn deserialize_enum<V: Visitor<'de>>(
            self,
            _: &'static str,
            variants: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(variants);
            Err(Error::custom("there is none"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }

    #[test]
    fn every_command_is_asked_for() {
        let mut all = Vec::new();
        ShardCommand::deserialize(Names(&mut all)).expect_err("it has nothing to give");
        DirectoryCommand::deserialize(Names(&mut all)).expect_err("it has nothing to give");
        assert!(all.contains(&"HoldSeats") && all.contains(&"CreateVenue"), "{all:?}");
        let is_known = |name: &&str| OPERATIONS.contains(name) || BY_OTHERS.contains(name);
        let unknown: Vec<_> = all.iter().filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "a sweep does not ask for {unknown:?}");
        assert!(OPERATIONS.is_sorted());
    }
}

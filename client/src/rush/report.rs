//! What a rush has to say in the end.

use super::RushOptions;
use super::reconcile::Books;
use super::record::HoldEnd;
use crate::{Counts, Figures, SeatState};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The outcome of a rush. It went well if [`violations`](Self::violations) is empty.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RushReport {
    /// Of which showtime.
    pub showtime_id: String,
    /// What everything was drawn from.
    pub seed: u64,
    /// How many buyers came.
    pub buyers: u32,
    /// How many requests were in flight at once.
    pub concurrency: u32,
    /// From the first buyer's first step to the last one's last.
    pub buying_seconds: f64,
    /// The same, and until what was left behind had expired.
    pub elapsed_seconds: f64,
    /// How many buyers ended in which way.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Holds refused because a seat was taken.
    pub conflicts: u64,
    /// Looks at the seats.
    pub looks: u64,
    /// Orders paid.
    pub orders_paid: u64,
    /// What was paid, in minor units by currency.
    pub paid: BTreeMap<String, i64>,
    /// The seats.
    pub seats: SeatFigures,
    /// Requests and what they met.
    pub http: Figures,
    /// How long each step took.
    pub steps: BTreeMap<Step, StepFigures>,
    /// What was checked.
    pub checks: Vec<Check>,
    /// What does not fit; the first 200.
    pub violations: Vec<Violation>,
    /// How many things do not fit.
    pub violation_count: u64,
}

/// The most violations listed.
const VIOLATIONS_MAX: usize = 200;

/// The seats before and after.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeatFigures {
    /// Before the first buyer.
    pub before: Counts,
    /// When all was over.
    pub after: Counts,
    /// In orders paid during the rush.
    pub paid: u64,
    /// Holds left behind by those who vanished.
    pub holds_left_behind: u64,
    /// Of these, how many still have time left.
    pub holds_still_running: u64,
}

/// One check and how much it had to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What has to hold.
    pub check: &'static str,
    /// How many facts it looked at: with none it proves nothing.
    pub looked_at: u64,
    /// How many of them do not fit.
    pub violations: u64,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What should hold.
    pub check: &'static str,
    /// What was found instead.
    pub detail: String,
    /// Whether a later look may find it in order.
    #[serde(skip)]
    pub(super) may_pass: bool,
}

/// How a buyer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Paid.
    Bought,
    /// Paid with the second card.
    BoughtAfterDecline,
    /// Was declined and canceled the order.
    Canceled,
    /// Gave the seats back.
    Released,
    /// Left the seats to expire.
    Vanished,
    /// Found no seat.
    SoldOut,
    /// Was too late for too many seats.
    GaveUp,
    /// Did not claim in time.
    Missed,
    /// The time to shop was over.
    SessionOver,
    /// The hold ran out before it was paid.
    HoldRanOut,
    /// The time limit came first.
    Unfinished,
    /// Got an answer that the contract does not foresee, or none.
    Failed,
}

/// A step whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Becoming a guest.
    Guest,
    /// Joining the line.
    Join,
    /// Asking how far the line is.
    Poll,
    /// From joining to admission: not a call, but what the buyer feels.
    Line,
    /// Claiming.
    Claim,
    /// Looking at the seats.
    Look,
    /// Asking for seats, got or not.
    Hold,
    /// Ordering.
    Order,
    /// Paying, declined or not.
    Pay,
    /// Giving a hold back.
    Release,
    /// Canceling an order.
    Cancel,
    /// Leaving the line.
    Leave,
    /// The public status.
    Status,
    /// Trying what is not allowed.
    Probe,
    /// Looking at orders and holds afterwards.
    Check,
}

/// How long a step took, repetitions included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepFigures {
    /// How often.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// All but one in a hundred took no longer.
    pub p99_ms: f64,
    /// None took longer.
    pub max_ms: f64,
}

/// Measured times by step.
#[derive(Default)]
pub(super) struct Steps(BTreeMap<Step, Histogram<u64>>);

impl Steps {
    pub(super) fn add(&mut self, step: Step, span: Duration) {
        let histogram = self.0.entry(step).or_insert_with(|| {
            Histogram::new_with_bounds(1, 86_400_000_000, 3)
                .expect("microseconds of a day with three digits are in bounds")
        });
        histogram.saturating_record(u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    pub(super) fn figures(&self) -> BTreeMap<Step, StepFigures> {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        let figures = self.0.iter().map(|(step, histogram)| {
            let figures = StepFigures {
                count: histogram.len(),
                p50_ms: ms(histogram.value_at_quantile(0.5)),
                p99_ms: ms(histogram.value_at_quantile(0.99)),
                max_ms: ms(histogram.max()),
            };
            (*step, figures)
        });
        figures.collect()
    }
}

impl RushReport {
    #[expect(clippy::too_many_arguments, reason = "it gathers what everybody else made")]
    pub(super) fn new(
        options: &RushOptions,
        [buying, elapsed]: [Duration; 2],
        books: &Books,
        http: Figures,
        outcomes: BTreeMap<Outcome, u64>,
        steps: BTreeMap<Step, StepFigures>,
        checks: Vec<Check>,
        mut violations: Vec<Violation>,
    ) -> Self {
        let record = &books.record;
        let mut paid = BTreeMap::new();
        for order in &record.orders {
            *paid.entry(order.paid.currency.clone()).or_default() += order.paid.amount;
        }
        let vanished = || {
            record.holds.iter().filter_map(|hold| match &hold.end {
                HoldEnd::Vanished(vanished) => Some(vanished),
                _ => None,
            })
        };
        let unfinished = outcomes.get(&Outcome::Unfinished).copied().unwrap_or(0);
        let mut checks = checks;
        checks.push(Check {
            check: "every buyer comes to an end",
            looked_at: outcomes.values().sum(),
            violations: unfinished,
        });
        if unfinished > 0 {
            let detail = format!("{unfinished} buyers were sent home at the time limit");
            violations.push(Violation { check: "every buyer comes to an end", detail, may_pass: false });
        }
        let violation_count = violations.len() as u64;
        violations.truncate(VIOLATIONS_MAX);
        Self {
            showtime_id: options.showtime.0.clone(),
            seed: options.seed,
            buyers: options.buyers,
            concurrency: options.concurrency,
            buying_seconds: buying.as_secs_f64(),
            elapsed_seconds: elapsed.as_secs_f64(),
            outcomes,
            conflicts: record.conflicts,
            looks: record.looks,
            orders_paid: record.orders.len() as u64,
            paid,
            seats: SeatFigures {
                before: tally(&record.before),
                after: tally(&books.last.states),
                paid: record.orders.iter().map(|order| order.seats.len() as u64).sum(),
                holds_left_behind: vanished().count() as u64,
                holds_still_running: vanished().filter(|vanished| !vanished.gone).count() as u64,
            },
            http,
            steps,
            checks,
            violations,
            violation_count,
        }
    }

    /// Whether everything fits.
    pub fn is_clean(&self) -> bool {
        self.violation_count == 0
    }
}

fn tally(states: &BTreeMap<String, SeatState>) -> Counts {
    let mut counts = Counts::default();
    for state in states.values() {
        match state {
            SeatState::Available => counts.available += 1,
            SeatState::Held => counts.held += 1,
            SeatState::Sold => counts.sold += 1,
            SeatState::Blocked => counts.blocked += 1,
        }
    }
    counts
}

impl fmt::Display for RushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { buyers, concurrency, seed, buying_seconds, elapsed_seconds, .. } = self;
        write!(f, "{buyers} buyers, {concurrency} requests at once, seed {seed}: ")?;
        writeln!(f, "{buying_seconds:.1} s, {elapsed_seconds:.1} s until all holds were over")?;
        writeln!(f)?;
        for (outcome, count) in &self.outcomes {
            writeln!(f, "  {:<22}{count:>9}", words(outcome))?;
        }
        writeln!(f)?;
        let SeatFigures { before, after, paid, holds_left_behind, holds_still_running } = self.seats;
        writeln!(f, "  {:<22}{:>9}{:>9}{:>9}{:>9}", "seats", "free", "held", "sold", "blocked")?;
        for (when, counts) in [("before", before), ("after", after)] {
            let Counts { available, held, sold, blocked } = counts;
            writeln!(f, "  {when:<22}{available:>9}{held:>9}{sold:>9}{blocked:>9}")?;
        }
        let money: Vec<_> = self.paid.iter().map(|(currency, amount)| format!("{amount} {currency} (minor)")).collect();
        writeln!(f, "  {} orders paid for {paid} seats: {}", self.orders_paid, money.join(", "))?;
        writeln!(f, "  {holds_left_behind} holds left behind, {holds_still_running} of them still running")?;
        writeln!(f, "  {} holds refused because a seat was taken", self.conflicts)?;
        let Figures { attempts, turned_away, unanswered, failovers } = self.http;
        writeln!(
            f,
            "  {attempts} requests, {turned_away} turned away, {unanswered} unanswered, {failovers} changes of gateway"
        )?;
        writeln!(f)?;
        writeln!(f, "  {:<22}{:>9}{:>12}{:>12}{:>12}", "step", "count", "p50 ms", "p99 ms", "max ms")?;
        for (step, StepFigures { count, p50_ms, p99_ms, max_ms }) in &self.steps {
            let step = words(step);
            writeln!(f, "  {step:<22}{count:>9}{p50_ms:>12.2}{p99_ms:>12.2}{max_ms:>12.2}")?;
        }
        writeln!(f)?;
        for Check { check, looked_at, violations } in &self.checks {
            let verdict = match (violations, looked_at) {
                (0, 0) => "nothing to look at",
                (0, _) => "ok",
                _ => "VIOLATED",
            };
            writeln!(f, "  {check:<46}{looked_at:>9}  {verdict}")?;
        }
        for Violation { check, detail, .. } in self.violations.iter().take(20) {
            writeln!(f, "  ! {check}: {detail}")?;
        }
        if self.violation_count > 20 {
            writeln!(f, "  ! {} violations in all", self.violation_count)?;
        }
        let verdict = if self.is_clean() { "The books are in order." } else { "THE BOOKS ARE NOT IN ORDER." };
        write!(f, "\n{verdict}")
    }
}

/// `BoughtAfterDecline` as people read it.
fn words(name: &impl fmt::Debug) -> String {
    let mut words = String::new();
    for (position, letter) in format!("{name:?}").char_indices() {
        if letter.is_uppercase() && position > 0 {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

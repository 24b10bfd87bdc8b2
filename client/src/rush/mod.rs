//! The load generator: a crowd of real HTTP clients, and the books it keeps on the seller.
//!
//! ```text
//!   buyers ─┬─ guest ─ join ─ poll … poll ─ claim ─ look ─ hold ─ order ─ pay     each a task over HTTP
//!           └──────────────── record of what each was told ──┐
//!   monitor ── public status, twice a second ───────────────┼──▶ reconcile ──▶ RushReport
//!   before and after ── every seat, every paid order ────────┘
//! ```
//!
//! Everybody comes at once, and **`concurrency` is how many requests are in flight at once**, not how many buyers exist:
//! who waits in line between two polls holds nothing but its place. So 10,000 buyers make a line of 10,000 however small
//! the concurrency is, as in an on-sale. Time spent waiting for a free slot is not counted in a step's time.
//!
//! What a buyer sets out to do (how many seats, whether to pay, be declined or walk away) is drawn from the seed and its
//! number alone; what comes of it depends on the others. Whoever vanishes leaves hold and session to expire.
//!
//! When the rush is over, what the buyers were told is compared with what the public API says now. Each check reports
//! how many facts it looked at, so that one that saw nothing does not pass for one that found nothing.
//!
//! In reading order: [`options`](RushOptions), `script` (what a buyer wants), `buyer` (how it goes about it), `house` (the
//! seats as far as known), `record` (what was said), `reconcile` (whether it fits together), `report`.

mod args;
mod buyer;
mod house;
mod monitor;
mod reconcile;
mod record;
mod report;
mod script;
mod settle;

pub use args::{Percent, RushArgs};
pub use report::{Check, Outcome, RushReport, SeatFigures, Step, StepFigures, Violation};

use crate::client::Connector;
use crate::{Client, Error, Settings, ShowtimeId};
use house::House;
use indicatif::{ProgressBar, ProgressStyle};
use record::Record;
use report::Steps;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Between two looks before the first buyer comes.
const LOOK_BEFORE_PAUSE: Duration = Duration::from_secs(1);

/// What kind of rush.
#[derive(Debug, Clone)]
pub struct RushOptions {
    /// For which showtime.
    pub showtime: ShowtimeId,
    /// How many buyers come.
    pub buyers: u32,
    /// How many requests are in flight at once.
    pub concurrency: u32,
    /// The share of buyers, 0 to 1, who walk away once they hold seats: half release them, half just vanish.
    pub abandon: f64,
    /// The share of buyers, 0 to 1, whose card is declined: half try another one, half give up the order.
    pub decline: f64,
    /// Everything is drawn from it.
    pub seed: u64,
    /// How long buyers, and the rush at its end, wait for seats that others hold to come back.
    pub wait_expiry: Duration,
    /// When buyers still on their way are sent home.
    pub time_limit: Duration,
    /// How long a buyer insists when nobody answers.
    pub outage_max: Duration,
    /// How far a gateway may be behind when it answers a question; what is decided is never behind.
    pub staleness_max: Duration,
    /// Somebody else buys too: seats held or sold to others are no violation.
    pub not_alone: bool,
}

impl RushOptions {
    /// A rush of 2,000 for a showtime.
    pub fn new(showtime: ShowtimeId) -> Self {
        Self {
            showtime,
            buyers: 2_000,
            concurrency: 200,
            abandon: 0.10,
            decline: 0.05,
            seed: 1,
            wait_expiry: Duration::from_secs(90),
            time_limit: Duration::from_secs(1_800),
            outage_max: Duration::from_secs(60),
            staleness_max: Duration::from_secs(10),
            not_alone: false,
        }
    }

    /// Settings of a client that is patient enough to see a leader change through.
    pub fn client_settings(&self) -> Settings {
        Settings {
            attempt_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            attempts_max: 10,
            idle_connections_max: self.concurrency as usize,
            ..Settings::default()
        }
    }
}

/// A progress bar for [`run`]; `ProgressBar::hidden()` shows nothing.
pub fn progress_bar(buyers: u32) -> ProgressBar {
    let bar = ProgressBar::new(u64::from(buyers));
    // The template is a constant: should it not parse, the bar looks plainer.
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} buyers done  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Runs a rush and checks the books. `Err` means that it could not even start; whatever goes wrong later is in the report.
pub async fn run<C: Connector>(
    client: Client<C>,
    options: RushOptions,
    progress: ProgressBar,
) -> Result<RushReport, Error> {
    let rush = Rush::start(client, options, progress).await?;
    buyer::probe_the_door(&rush).await?;
    let monitor = tokio::spawn(monitor::watch(rush.clone()));
    rush.let_buyers_in().await;
    let buying = rush.started.elapsed();
    settle::settle(&rush).await;
    rush.stop.send_replace(true);
    if let Err(panic) = monitor.await {
        rush.record().unexpected(format!("the monitor failed: {panic}"));
    }
    let report = settle::close_the_books(&rush, buying).await;
    rush.progress.finish_and_clear();
    Ok(report)
}

/// What everybody in a rush shares.
struct Rush<C> {
    client: Client<C>,
    options: RushOptions,
    progress: ProgressBar,
    started: Instant,
    /// Whether there is a line to stand in.
    has_line: bool,
    /// Whether places follow numbers.
    fifo: bool,
    gate: Semaphore,
    house: Mutex<House>,
    record: Mutex<Record>,
    steps: Mutex<Steps>,
    outcomes: Mutex<BTreeMap<Outcome, u64>>,
    /// The time limit is reached: whoever waits goes home.
    closing: watch::Sender<bool>,
    /// The rush is over: the monitor stops.
    stop: watch::Sender<bool>,
}

impl<C: Connector> Rush<C> {
    /// Looks at the house before anybody comes.
    async fn start(client: Client<C>, options: RushOptions, progress: ProgressBar) -> Result<Arc<Self>, Error> {
        let status = client.queue_status(&options.showtime).await?;
        let house = Self::look_before(&client, &options).await?;
        let record = Record { before: house.states(), ..Record::default() };
        Ok(Arc::new(Self {
            has_line: status.method != "passthrough",
            fifo: status.method == "fifo",
            gate: Semaphore::new(options.concurrency.max(1) as usize),
            client,
            options,
            progress,
            started: Instant::now(),
            house: Mutex::new(house),
            record: Mutex::new(record),
            steps: Mutex::new(Steps::default()),
            outcomes: Mutex::new(BTreeMap::new()),
            closing: watch::Sender::new(false),
            stop: watch::Sender::new(false),
        }))
    }

    /// Looks until two looks agree: what was sold a moment ago may not show yet.
    async fn look_before(client: &Client<C>, options: &RushOptions) -> Result<House, Error> {
        let mut house = House::new(&client.seats_bytes(&options.showtime, None).await?)?;
        let patience = Instant::now() + options.staleness_max;
        while Instant::now() < patience {
            sleep(LOOK_BEFORE_PAUSE.min(options.staleness_max)).await;
            let again = House::new(&client.seats_bytes(&options.showtime, None).await?)?;
            let same = again.states() == house.states();
            house = again;
            if same {
                break;
            }
        }
        Ok(house)
    }

    /// Runs all buyers to their end, or to the time limit.
    async fn let_buyers_in(self: &Arc<Self>) {
        let mut buyers = JoinSet::new();
        for number in 0..self.options.buyers {
            buyers.spawn(buyer::run(self.clone(), number));
        }
        let limit = sleep(self.options.time_limit);
        tokio::pin!(limit);
        loop {
            tokio::select! {
                done = buyers.join_next() => match done {
                    None => break,
                    Some(Ok(outcome)) => self.count(outcome),
                    Some(Err(error)) if error.is_cancelled() => self.count(Outcome::Unfinished),
                    Some(Err(panic)) => self.record().unexpected(format!("a buyer failed: {panic}")),
                },
                () = &mut limit => {
                    // Whoever is in the middle of a purchase may still finish it.
                    if self.closing.send_replace(true) {
                        buyers.abort_all();
                    }
                    limit.as_mut().reset(Instant::now() + self.options.outage_max);
                }
            }
        }
    }

    fn count(&self, outcome: Outcome) {
        *lock(&self.outcomes).entry(outcome).or_default() += 1;
        self.progress.inc(1);
    }

    /// Makes one call of a step: waits for a slot, then measures. Gives the answer and when it was asked and answered.
    async fn step<T>(&self, step: Step, call: impl Future<Output = T>) -> (T, Instant, Instant) {
        // The gate is never closed.
        let slot = self.gate.acquire().await;
        let sent = Instant::now();
        let answer = call.await;
        let acked = Instant::now();
        drop(slot);
        lock(&self.steps).add(step, acked - sent);
        (answer, sent, acked)
    }

    /// Like [`step`](Self::step), and insists while nobody answers: the first asking counts as the asking.
    async fn insist<T, F>(&self, step: Step, mut call: impl FnMut() -> F) -> (Result<T, Error>, Instant, Instant)
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (mut answer, first_sent, mut last_acked) = self.step(step, call()).await;
        while let Err(error) = &answer {
            let again = error.is_outcome_unknown() || error.is_worth_repeating();
            if !again || first_sent.elapsed() > self.options.outage_max {
                break;
            }
            sleep(Duration::from_millis(500)).await;
            (answer, _, last_acked) = self.step(step, call()).await;
        }
        (answer, first_sent, last_acked)
    }

    /// Sleeps, but not past the time limit. Says whether to go on.
    async fn pause(&self, span: Duration) -> bool {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = sleep(span) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        !*self.closing.borrow()
    }

    fn house(&self) -> MutexGuard<'_, House> {
        lock(&self.house)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    /// Whether waiting for a seat has become pointless: all are sold, or none has come free for as long as anybody waits.
    fn is_hopeless(&self) -> bool {
        let house = self.house();
        let counts = house.counts();
        let none_for = house.none_since().map(|since| since.elapsed());
        counts.available == 0 && (counts.held == 0 || none_for.is_some_and(|span| span >= self.options.wait_expiry))
    }
}

/// A panic elsewhere does not make a record of facts untrue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

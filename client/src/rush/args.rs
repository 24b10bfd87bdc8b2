//! The command line of `vestibule rush`.

use super::{RushOptions, RushReport, progress_bar, run};
use crate::{Client, entropy_seed};
use indicatif::ProgressBar;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Sends a crowd of buyers to a showtime and checks the books afterwards.
#[derive(Debug, Clone, clap::Args)]
pub struct RushArgs {
    /// URL of a gateway; several make the buyers fail over from one to the next.
    #[arg(long = "url", required = true, env = "VESTIBULE_URL", value_delimiter = ',')]
    pub urls: Vec<String>,
    /// Id of the showtime.
    #[arg(long, env = "VESTIBULE_SHOWTIME")]
    pub showtime: String,
    /// How many buyers come.
    #[arg(long, default_value_t = 2_000)]
    pub buyers: u32,
    /// How many requests are in flight at once; buyers waiting in line do not count.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub concurrency: u32,
    /// Share of buyers who walk away from their seats: half release them, half leave them to expire.
    #[arg(long, default_value = "10%")]
    pub abandon: Percent,
    /// Share of buyers whose card is declined: half try another one, half cancel.
    #[arg(long, default_value = "5%")]
    pub decline: Percent,
    /// The same seed makes buyers want the same; drawn and reported if left out.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Seconds to wait for held seats to come back, while buying and at the end; 0 does not wait.
    #[arg(long, default_value_t = 90)]
    pub wait_expiry: u64,
    /// Seconds after which buyers still on their way are sent home.
    #[arg(long, default_value_t = 1_800)]
    pub time_limit: u64,
    /// Others buy at the same time: seats held or sold to them are no violation.
    #[arg(long)]
    pub not_alone: bool,
    /// Print the report as one JSON object, and no progress bar.
    #[arg(long)]
    pub json: bool,
}

impl RushArgs {
    /// The options that these arguments mean.
    pub fn options(&self) -> RushOptions {
        RushOptions {
            buyers: self.buyers,
            concurrency: self.concurrency,
            abandon: self.abandon.0 / 100.0,
            decline: self.decline.0 / 100.0,
            seed: self.seed.unwrap_or_else(|| entropy_seed() >> 16),
            wait_expiry: Duration::from_secs(self.wait_expiry),
            time_limit: Duration::from_secs(self.time_limit),
            not_alone: self.not_alone,
            ..RushOptions::new(self.showtime.as_str().into())
        }
    }

    /// Runs the rush over TCP, with a progress bar unless JSON is wanted. `Err` if it could not start.
    pub async fn execute(&self) -> Result<RushReport, Box<dyn std::error::Error + Send + Sync>> {
        let options = self.options();
        let client = Client::new(&self.urls, options.client_settings(), options.seed)?;
        let progress = if self.json { ProgressBar::hidden() } else { progress_bar(self.buyers) };
        let limit = options.time_limit + options.wait_expiry + RECONCILE_MAX;
        match tokio::time::timeout(limit, run(client, options, progress)).await {
            Ok(report) => Ok(report?),
            Err(_) => Err(format!("no end after {} s: the books could not be checked", limit.as_secs()).into()),
        }
    }
}

/// How long the books may take once the buyers have come to an end. A cluster that answers nobody is not waited for.
const RECONCILE_MAX: Duration = Duration::from_secs(180);

/// A share in per cent, 0 to 100; the sign may be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share: f64 = text.trim_end_matches('%').parse().map_err(|_| format!("{text:?} is not a share like 10%"))?;
        if (0.0..=100.0).contains(&share) { Ok(Self(share)) } else { Err("a share is from 0% to 100%".to_owned()) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

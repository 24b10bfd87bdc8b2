//! How the showtimes of a run are sold: by line or without, how fast, to how many at once.

use crate::dice::Dice;
use std::fmt;
use std::time::Duration;
use vestibule_engine::{Admission, Method, Millis};

/// How a line comes to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The organiser opens it.
    ByCommand,
    /// It opens by itself, so long after it was put on sale.
    After(Duration),
    /// Its entrants are fixed then, and it opens once public randomness is known.
    Beacon(Duration),
}

/// The round of the public randomness that draws wait for.
pub(super) const BEACON_ROUND: u64 = 7;

/// Drawn once a run.
#[derive(Debug, Clone)]
pub struct Market {
    /// How buyers get to the seats, for each showtime.
    pub methods: Vec<Method>,
    /// How the lines come to be open, for each showtime.
    pub openings: Vec<Opening>,
    /// Whether seats that come free are offered to those who wait for them.
    pub waitlist: bool,
    /// Speed and room of the lines, to begin with.
    pub admission: Admission,
    /// Whether most buyers want the same few seats.
    pub storm: bool,
    /// How many in a hundred want the best seats, not certain ones.
    pub best: u64,
    /// How many commands in a hundred are sent again after they were answered.
    pub again: u64,
}

impl Market {
    /// Draws one for so many showtimes.
    pub fn draw(dice: &mut Dice, showtimes: usize) -> Self {
        let millis = |span: Duration| Millis(span.as_millis() as u64);
        let methods = [(Method::Passthrough, 4), (Method::Fifo, 3), (Method::Draw, 3)];
        let methods: Vec<Method> = (0..showtimes).map(|_| *dice.weighted(&methods)).collect();
        let mut opening = |method: &Method| match (dice.within(0..=3), method) {
            (0 | 1, _) => Opening::ByCommand,
            (2, Method::Draw) => Opening::Beacon(dice.millis(500..=4_000)),
            _ => Opening::After(dice.millis(500..=4_000)),
        };
        Self {
            openings: methods.iter().map(&mut opening).collect(),
            methods,
            waitlist: dice.percent(50),
            admission: Admission {
                rate_per_minute: *dice.pick(&RATES),
                active_max: *dice.pick(&[2, 5, 20]),
                claim_ttl: millis(dice.millis(1_000..=3_000)),
                session_ttl: millis(dice.millis(1_500..=6_000)),
            },
            storm: dice.percent(70),
            best: *dice.pick(&[10, 40, 90]),
            again: *dice.pick(&[0, 5, 20]),
        }
    }
}

/// Rates of a line per minute that are met in runs.
const RATES: [u32; 5] = [30, 120, 600, 1_200, 6_000];

/// How fast a line moves from now on, and how many may shop at once: no slower than that something is sold, as long as there is
/// not enough.
pub(crate) fn pace(dice: &mut Dice, has_sold: bool) -> (u32, u32) {
    let rate = if has_sold { *dice.pick(&RATES) } else { RATES[RATES.len() - 1] };
    let active_max = dice.within(if has_sold { 1..=12 } else { 8..=20 });
    (rate, active_max as u32)
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = self.methods.iter().zip(&self.openings).map(|(method, opening)| match (method, opening) {
            (Method::Passthrough, _) | (_, Opening::ByCommand) => method.to_string(),
            (_, Opening::After(span)) => format!("{method} (opens after {span:?})"),
            (_, Opening::Beacon(span)) => format!("{method} (its beacon comes after {span:?})"),
        });
        let methods: Vec<String> = methods.collect();
        let Admission { rate_per_minute, active_max, claim_ttl, session_ttl } = self.admission;
        write!(
            f,
            "{}, {rate_per_minute} a minute, {active_max} at once, {} ms to claim, {} ms to shop, {}{}{} % best seats, {} % asked again",
            methods.join(" and "),
            claim_ttl.0,
            session_ttl.0,
            if self.waitlist { "waitlist, " } else { "" },
            if self.storm { "storm, " } else { "" },
            self.best,
            self.again
        )
    }
}

//! The settings of a sale: how the line moves, how long holds live, how much a buyer may take.

use crate::{Millis, Refusal, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How buyers get to the seats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Those who join before the opening are drawn by lot; later ones follow in join order.
    Draw,
    /// In join order.
    #[default]
    Fifo,
    /// No line: whoever asks may hold, without a ticket.
    Passthrough,
    /// Nobody gets in.
    Reject,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draw => "draw",
            Self::Fifo => "fifo",
            Self::Passthrough => "passthrough",
            Self::Reject => "reject",
        })
    }
}

/// How fast the line moves and how many are inside at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Buyers called per minute, 1 to 60,000,000. In any interval of t ms fewer than `rate_per_minute * t / 60,000 + b + 1`
    /// are called, where b is a burst of one second's worth, `max(1, rate_per_minute / 60)`. Default 600.
    pub rate_per_minute: u32,
    /// Buyers called or shopping at once, 1 to 10,000,000. Default 500.
    pub active_max: u32,
    /// How long a called buyer has to claim, 1 s to 24 h. Default 120 s.
    pub claim_ttl: Millis,
    /// How long a buyer shops after claiming, 1 s to 24 h. Default 600 s.
    pub session_ttl: Millis,
}

/// Public randomness that goes into the draw, fixed before anybody can know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeaconPlan {
    /// Where the randomness is published, at most 200 bytes.
    pub source: String,
    /// The round of that source.
    pub round: u64,
}

/// The settings of a sale. Mirrors `sale` of the HTTP contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// How buyers get to the seats. Default FIFO. Fixed once the line has opened.
    pub method: Method,
    /// When joining begins; nothing means at the opening. Fixed once reached.
    pub prequeue_at: Option<Timestamp>,
    /// When the line opens; nothing means by command. Fixed once reached.
    pub opens_at: Option<Timestamp>,
    /// When the sale closes; nothing means by command.
    pub closes_at: Option<Timestamp>,
    /// Speed and room of the line.
    pub admission: Admission,
    /// How long a hold lives, 1 s to 24 h. Default 300 s.
    pub hold_ttl: Millis,
    /// How long a hold may live with all its extensions, `hold_ttl` to 24 h. Default 900 s.
    pub hold_total_max: Millis,
    /// How long an order waits for its payment, 1 s to 7 days. Default 600 s.
    pub payment_ttl: Millis,
    /// Seats and places in one hold, 1 to 100. Default 6.
    pub seats_per_hold_max: u32,
    /// Seats and places of one buyer in this showtime, held and sold, 1 to 10,000. Default 6.
    pub seats_per_buyer_max: u32,
    /// Refuse hand-picked seats that would leave alone one seat free to the buyer, through the channel named or without one.
    /// Default false.
    pub prevent_orphans: bool,
    /// Offer freed seats to a waitlist. Default false.
    pub waitlist: bool,
    /// Public randomness for the draw, published after `opens_at`, which it requires and fixes once somebody has joined. At
    /// that time the entrants are fixed; the line opens once the randomness is known. Default none.
    pub beacon: Option<BeaconPlan>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            rate_per_minute: 600,
            active_max: 500,
            claim_ttl: Millis::from_secs(120),
            session_ttl: Millis::from_secs(600),
        }
    }
}

impl Default for Sale {
    fn default() -> Self {
        Self {
            method: Method::Fifo,
            prequeue_at: None,
            opens_at: None,
            closes_at: None,
            admission: Admission::default(),
            hold_ttl: Millis::from_secs(300),
            hold_total_max: Millis::from_secs(900),
            payment_ttl: Millis::from_secs(600),
            seats_per_hold_max: 6,
            seats_per_buyer_max: 6,
            prevent_orphans: false,
            waitlist: false,
            beacon: None,
        }
    }
}

const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

/// The most seats and places that any sale lets one hold take.
pub const SEATS_PER_HOLD_MAX: u32 = 100;

impl Sale {
    /// Refuses settings outside the bounds that the fields document, naming the first field at fault.
    pub fn validate(&self) -> Result<(), Refusal> {
        self.validate_each()?;
        self.validate_together()
    }

    /// Refuses a setting outside the bounds that hold for it whatever the others are.
    fn validate_each(&self) -> Result<(), Refusal> {
        let bounds = [
            ("admission.ratePerMinute", u64::from(self.admission.rate_per_minute), 1, 60_000_000),
            ("admission.maxActive", u64::from(self.admission.active_max), 1, 10_000_000),
            ("admission.claimSeconds", self.admission.claim_ttl.0, SECOND, DAY),
            ("admission.sessionSeconds", self.admission.session_ttl.0, SECOND, DAY),
            ("holdSeconds", self.hold_ttl.0, SECOND, DAY),
            ("holdTotalSeconds", self.hold_total_max.0, SECOND, DAY),
            ("paymentSeconds", self.payment_ttl.0, SECOND, 7 * DAY),
            ("maxSeatsPerHold", u64::from(self.seats_per_hold_max), 1, u64::from(SEATS_PER_HOLD_MAX)),
            ("maxSeatsPerBuyer", u64::from(self.seats_per_buyer_max), 1, 10_000),
        ];
        bounds.into_iter().try_for_each(check_bounds)?;
        if self.beacon.as_ref().is_some_and(|beacon| beacon.source.is_empty() || beacon.source.len() > 200) {
            return Err(Refusal::out_of_bounds("beacon.source", "must have 1 to 200 bytes"));
        }
        Ok(())
    }

    /// Refuses settings that contradict each other.
    fn validate_together(&self) -> Result<(), Refusal> {
        check_bounds(("holdTotalSeconds", self.hold_total_max.0, self.hold_ttl.0, DAY))?;
        let mut last = None;
        for (field, at) in [("prequeueAt", self.prequeue_at), ("opensAt", self.opens_at), ("closesAt", self.closes_at)]
        {
            if at.is_some() && at < last {
                return Err(Refusal::out_of_bounds(field, "prequeueAt, opensAt and closesAt must follow each other"));
            }
            last = last.max(at);
        }
        if self.method == Method::Draw && self.beacon.is_some() && self.opens_at.is_none() {
            // Everybody can see that the round comes after this time, and that the entrants were fixed before it.
            return Err(Refusal::out_of_bounds("beacon", "a draw with planned randomness needs opensAt"));
        }
        Ok(())
    }
}

/// A change to any part of the settings: what is `None` stays as it is. For the times, `Some(None)` clears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalePatch {
    /// See [`Sale::method`].
    pub method: Option<Method>,
    /// See [`Sale::prequeue_at`].
    pub prequeue_at: Option<Option<Timestamp>>,
    /// See [`Sale::opens_at`].
    pub opens_at: Option<Option<Timestamp>>,
    /// See [`Sale::closes_at`].
    pub closes_at: Option<Option<Timestamp>>,
    /// See [`Admission::rate_per_minute`].
    pub rate_per_minute: Option<u32>,
    /// See [`Admission::active_max`].
    pub active_max: Option<u32>,
    /// See [`Admission::claim_ttl`].
    pub claim_ttl: Option<Millis>,
    /// See [`Admission::session_ttl`].
    pub session_ttl: Option<Millis>,
    /// See [`Sale::hold_ttl`].
    pub hold_ttl: Option<Millis>,
    /// See [`Sale::hold_total_max`].
    pub hold_total_max: Option<Millis>,
    /// See [`Sale::payment_ttl`].
    pub payment_ttl: Option<Millis>,
    /// See [`Sale::seats_per_hold_max`].
    pub seats_per_hold_max: Option<u32>,
    /// See [`Sale::seats_per_buyer_max`].
    pub seats_per_buyer_max: Option<u32>,
    /// See [`Sale::prevent_orphans`].
    pub prevent_orphans: Option<bool>,
    /// See [`Sale::waitlist`].
    pub waitlist: Option<bool>,
    /// See [`Sale::beacon`].
    pub beacon: Option<Option<BeaconPlan>>,
}

/// Refuses a value outside its bounds.
fn check_bounds((field, value, min, max): (&str, u64, u64, u64)) -> Result<(), Refusal> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(Refusal::out_of_bounds(field, format!("{value} is not between {min} and {max}")))
    }
}

impl SalePatch {
    /// Refuses a setting that no sale may have, whatever its others are.
    pub fn validate(&self) -> Result<(), Refusal> {
        self.apply(&Sale::default()).validate_each()
    }

    /// The settings after this change; not yet validated.
    pub fn apply(&self, sale: &Sale) -> Sale {
        let admission = &sale.admission;
        Sale {
            method: self.method.unwrap_or(sale.method),
            prequeue_at: self.prequeue_at.unwrap_or(sale.prequeue_at),
            opens_at: self.opens_at.unwrap_or(sale.opens_at),
            closes_at: self.closes_at.unwrap_or(sale.closes_at),
            admission: Admission {
                rate_per_minute: self.rate_per_minute.unwrap_or(admission.rate_per_minute),
                active_max: self.active_max.unwrap_or(admission.active_max),
                claim_ttl: self.claim_ttl.unwrap_or(admission.claim_ttl),
                session_ttl: self.session_ttl.unwrap_or(admission.session_ttl),
            },
            hold_ttl: self.hold_ttl.unwrap_or(sale.hold_ttl),
            hold_total_max: self.hold_total_max.unwrap_or(sale.hold_total_max),
            payment_ttl: self.payment_ttl.unwrap_or(sale.payment_ttl),
            seats_per_hold_max: self.seats_per_hold_max.unwrap_or(sale.seats_per_hold_max),
            seats_per_buyer_max: self.seats_per_buyer_max.unwrap_or(sale.seats_per_buyer_max),
            prevent_orphans: self.prevent_orphans.unwrap_or(sale.prevent_orphans),
            waitlist: self.waitlist.unwrap_or(sale.waitlist),
            beacon: self.beacon.clone().unwrap_or_else(|| sale.beacon.clone()),
        }
    }
}

//! Ids, tokens, money and the bodies of the contract, named as `API.md` names them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use time::OffsetDateTime;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }
    )*};
}

ids! {
    /// `venue_…`
    VenueId
    /// `event_…`
    EventId
    /// `showtime_…`
    ShowtimeId
    /// `ticket_…`
    TicketId
    /// `hold_…`
    HoldId
    /// `order_…`
    OrderId
    /// `pay_…`
    PaymentId
    /// The id of a waitlist entry, `offer_…`
    EntryId
}

/// A bearer token. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// A token as it came.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token as it goes into the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// An amount in minor units: cents, pence, yen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// How many minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

/// `POST /auth/guest`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guest {
    /// Opens everything but the seats.
    pub access_token: Token,
    /// For so many seconds.
    pub expires_in: u64,
}

/// A ticket in a line, as it is now.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// Its id.
    pub ticket_id: TicketId,
    /// In the line of which showtime.
    pub showtime_id: ShowtimeId,
    /// Dense, in join order, from 1.
    pub number: u64,
    /// Its state.
    pub state: TicketState,
    /// Its place in line; none in the prequeue.
    #[serde(default)]
    pub place: Option<u64>,
    /// How many places are called before it; none in the prequeue.
    #[serde(default)]
    pub ahead: Option<u64>,
    /// Seconds until it is called, as far as can be told.
    #[serde(default)]
    pub eta_seconds: Option<u64>,
    /// Until when to claim, while called.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub claim_by: Option<OffsetDateTime>,
    /// When to ask again.
    #[serde(default)]
    pub poll_after_seconds: Option<f64>,
    /// Comes with joining.
    #[serde(default)]
    pub ticket_token: Option<Token>,
}

/// Where a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TicketState {
    /// The line has not opened.
    Prequeue,
    /// In line.
    Waiting,
    /// May claim.
    Called,
    /// Has claimed.
    Shopping,
    /// Has bought.
    Done,
    /// Given up.
    Left,
    /// Not claimed, or not finished, in time.
    Expired,
    /// A state that this client does not know.
    #[serde(other)]
    Unknown,
}

/// What claiming gives.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Admission {
    /// Opens the seats.
    pub admission_token: Token,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// The public status of a line.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Of which showtime.
    pub showtime_id: ShowtimeId,
    /// `scheduled`, `prequeue`, `open`, `paused` or `closed`.
    pub state: String,
    /// `draw`, `fifo`, `passthrough` or `reject`.
    pub method: String,
    /// When it opens.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub opens_at: Option<OffsetDateTime>,
    /// Tickets in the draw.
    pub entrants: u64,
    /// Tickets taken.
    pub joined: u64,
    /// The last place called; places count from 1.
    pub cursor: u64,
    /// Buyers called or shopping.
    pub active: u64,
    /// How many are called a minute.
    #[serde(default)]
    pub rate_per_minute: Option<f64>,
    /// A message to everybody in line.
    #[serde(default)]
    pub message: Option<String>,
    /// What is left.
    #[serde(default)]
    pub availability: Vec<Availability>,
    /// The last event that this takes account of.
    pub sequence: u64,
    /// When it last changed.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_updated: Option<OffsetDateTime>,
    /// When to ask again.
    #[serde(default)]
    pub refresh_interval_seconds: Option<f64>,
}

/// What is left in one category.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Availability {
    /// The category's name.
    pub category: String,
    /// Seats and places free to be held.
    pub available: u64,
    /// The price of one.
    pub price: Money,
}

/// Where a seat stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeatState {
    /// Free to be held.
    Available,
    /// In somebody's hold.
    Held,
    /// Sold.
    Sold,
    /// Kept back.
    Blocked,
}

/// The seats of a showtime, or what changed since a sequence.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seats {
    /// The last event that this takes account of: what to pass as `since` next time.
    pub sequence: u64,
    /// How many seats are in which state.
    pub counts: Counts,
    /// By seat id.
    pub states: BTreeMap<String, SeatState>,
    /// General-admission areas.
    #[serde(default)]
    pub areas: Value,
}

/// How many seats are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Free to be held.
    pub available: u64,
    /// In holds.
    pub held: u64,
    /// Sold.
    pub sold: u64,
    /// Kept back.
    pub blocked: u64,
}

/// What to hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum HoldRequest {
    /// These seats, all or none.
    Seats {
        /// Their ids.
        seats: Vec<String>,
    },
    /// The best seats there are.
    Best {
        /// How many, and which.
        best: BestSeats,
    },
    /// Places in an area.
    Area {
        /// Its name.
        area: String,
        /// How many places.
        quantity: u32,
    },
}

/// A wish for the best seats.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BestSeats {
    /// How many.
    pub quantity: u32,
    /// Only of this category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Only in this section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// With at least one wheelchair space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessible: Option<bool>,
    /// With a wheelchair space and a companion seat directly beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub companion: Option<bool>,
    /// Only side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<bool>,
}

/// A hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Its id.
    pub hold_id: HoldId,
    /// In which showtime.
    pub showtime_id: ShowtimeId,
    /// The seats.
    pub seats: Vec<PricedSeat>,
    /// Places in areas.
    #[serde(default)]
    pub areas: Vec<Value>,
    /// What it costs.
    pub total: Money,
    /// Until when it lives.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// A seat with its price.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PricedSeat {
    /// What people call it: `Stalls-C-12`.
    pub id: String,
    /// Its price category.
    pub category: String,
    /// Its price.
    pub price: Money,
}

/// An order.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: OrderId,
    /// Its state.
    #[serde(alias = "status")]
    pub state: OrderState,
    /// What it is for.
    #[serde(default)]
    pub seats: Vec<PricedSeat>,
    /// Places in areas.
    #[serde(default)]
    pub areas: Vec<Value>,
    /// What it costs.
    pub total: Money,
    /// Whatever else came along.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OrderState {
    /// To be paid.
    PendingPayment,
    /// Paid, the seats are sold.
    Completed,
    /// Given up by its buyer.
    Canceled,
    /// Not paid in time.
    Expired,
    /// Money has to go back.
    RefundDue,
    /// Money went back.
    Refunded,
    /// A state that this client does not know.
    #[serde(other)]
    Unknown,
}

/// A payment.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// Its id.
    #[serde(default)]
    pub payment_id: Option<PaymentId>,
    /// How it stands.
    #[serde(alias = "state")]
    pub status: PaymentStatus,
    /// Where the buyer has to confirm it.
    #[serde(default)]
    pub redirect_url: Option<String>,
    /// Whatever else came along.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PaymentStatus {
    /// The money is taken.
    Succeeded,
    /// The card was declined.
    Failed,
    /// The buyer has to confirm.
    RequiresAction,
    /// A state that this client does not know.
    #[serde(other)]
    Unknown,
}

/// `POST /venues`
#[derive(Debug, Clone, Serialize)]
pub struct NewVenue<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it stands.
    pub city: &'a str,
    /// ISO 3166.
    pub country: &'a str,
    /// Seating-plan JSON, passed through as it is.
    pub plan: &'a serde_json::value::RawValue,
    /// Areas beside those of the plan.
    #[serde(skip_serializing_if = "<[NewArea]>::is_empty")]
    pub areas: &'a [NewArea],
}

/// A general-admission area.
#[derive(Debug, Clone, Serialize)]
pub struct NewArea {
    /// Its name.
    pub name: String,
    /// Places on sale.
    pub capacity: u32,
    /// Its price category.
    pub category: String,
}

/// A venue as it was made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Venue {
    /// Its id.
    pub venue_id: VenueId,
    /// The version of its seat map.
    pub version: u64,
    /// How many seats it has.
    pub seats: u64,
    /// Its areas.
    #[serde(default)]
    pub areas: Value,
    /// Its price categories.
    #[serde(default)]
    pub categories: Value,
}

/// `POST /events`
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewEvent {
    /// What it is called.
    pub title: String,
    /// What it is.
    pub description: String,
    /// Its kind: concert, theatre.
    pub category: String,
    /// Where it is.
    pub city: String,
    /// Who is on stage.
    pub performers: Vec<String>,
}

/// `POST /showtimes`
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewShowtime {
    /// Of which event.
    pub event_id: EventId,
    /// Where.
    pub venue_id: VenueId,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub starts_at: OffsetDateTime,
    /// By category.
    pub prices: BTreeMap<String, Money>,
    /// How it is sold; what is left out has its default.
    pub sale: Sale,
}

/// A showtime as it was made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewShowtimeAnswer {
    /// Its id.
    pub showtime_id: ShowtimeId,
    /// The group that sells it.
    #[serde(default)]
    pub group: Value,
}

/// How a showtime is sold, or a change to that: what is `None` is not sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the settings are documented where they are decided, in the engine's `Sale`")]
pub struct Sale {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub prequeue_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub opens_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    pub closes_at: Option<OffsetDateTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admission: Option<AdmissionSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_total_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seats_per_hold: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seats_per_buyer: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prevent_orphans: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waitlist: Option<bool>,
}

/// How a line lets buyers in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the settings are documented where they are decided, in the engine's `Admission`")]
pub struct AdmissionSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_active: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_seconds: Option<u64>,
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// What it lists.
    pub items: Vec<Value>,
    /// Where the next page begins, if there is one.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Which events are wanted. What is `None` is not asked for.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// In title, description or performers.
    pub q: Option<String>,
    /// In which city.
    pub city: Option<String>,
    /// Of which kind.
    pub category: Option<String>,
    /// From when on, RFC 3339.
    pub from: Option<String>,
    /// Until when, RFC 3339.
    pub to: Option<String>,
    /// How many a page.
    pub limit: Option<u32>,
    /// Where the page begins.
    pub cursor: Option<String>,
}

/// What an organiser can tell a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOrder {
    /// Call nobody for now.
    Pause,
    /// Go on.
    Resume,
    /// Open it now.
    Open,
    /// Close it.
    Close,
}

/// `POST /showtimes/{id}/waitlist`
#[derive(Debug, Clone, Serialize)]
pub struct WaitlistRequest {
    /// How many seats.
    pub quantity: u32,
    /// Only of this category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Only side by side.
    pub together: bool,
}

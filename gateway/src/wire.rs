//! The JSON of the contract: how times, money, tickets, holds and orders are written and read.

use crate::layout::Layout;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::collections::BTreeMap;
use std::fmt::Write;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use vestibule_engine::{
    Admission, BeaconPlan, Currency, EventEntry, HoldView, Method, Millis, Money, OrderView, PaymentOutcome, Places,
    Sale, SalePatch, ShowtimeView, TicketId, TicketView, Timestamp,
};

/// The last instant that RFC 3339 can write: the end of the year 9999.
const TIME_MAX_MS: u64 = 253_402_300_799_999;

/// A time in RFC 3339, UTC. A time that never comes is written as the last one there is.
pub(crate) fn time_text(at: Timestamp) -> String {
    let nanos = i128::from(at.0.min(TIME_MAX_MS)) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// A time given in RFC 3339, in any offset, from 1970 on; cut to milliseconds.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(Timestamp)
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes given as hex, two digits each, in either case.
pub(crate) fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
    };
    let bytes = digits.len().is_multiple_of(2).then(|| digits.chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>());
    bytes.flatten().ok_or_else(|| de::Error::custom("bytes are given in hex, two digits each"))
}

/// A time as a member of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time_text(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_time(&text).map(Self).ok_or_else(|| de::Error::custom("not a time in RFC 3339 from 1970 on"))
    }
}

/// Tells an absent member (`None`) from `null` (`Some(None)`).
fn clearable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Money as a member of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MoneyBody {
    amount: i64,
    currency: String,
}

impl From<Money> for MoneyBody {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency.to_string() }
    }
}

/// Money as it is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoneyInput {
    amount: i64,
    #[serde(deserialize_with = "currency")]
    currency: Currency,
}

impl From<MoneyInput> for Money {
    fn from(input: MoneyInput) -> Self {
        Self { amount: input.amount, currency: input.currency }
    }
}

fn currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
    let code = String::deserialize(deserializer)?;
    Currency::new(&code).ok_or_else(|| de::Error::custom("not an ISO 4217 code: three upper-case letters"))
}

/// A ticket.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TicketBody {
    ticket_id: String,
    showtime_id: String,
    number: u64,
    state: &'static str,
    place: Option<u64>,
    ahead: Option<u64>,
    eta_seconds: Option<u64>,
    claim_by: Option<Time>,
    session_expires_at: Option<Time>,
    poll_after_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_token: Option<String>,
}

impl TicketBody {
    /// `wait` is how long the ticket can expect nothing to happen, if it is known otherwise than by its own ETA.
    pub(crate) fn new(ticket: &TicketView, wait: Option<Millis>, ticket_token: Option<String>) -> Self {
        Self {
            ticket_id: TicketId { showtime: ticket.showtime, number: ticket.number }.to_string(),
            showtime_id: ticket.showtime.to_string(),
            number: ticket.number.0,
            state: ticket.state.as_str(),
            place: ticket.place,
            ahead: ticket.ahead,
            eta_seconds: ticket.eta_secs,
            claim_by: ticket.claim_by.map(Time),
            session_expires_at: ticket.session_expires_at.map(Time),
            poll_after_seconds: poll_after_secs(ticket, wait),
            ticket_token,
        }
    }
}

/// When to ask about a ticket again, 1 to 30 s: the sooner its turn comes the oftener, and not all tickets at once.
fn poll_after_secs(ticket: &TicketView, wait: Option<Millis>) -> u64 {
    use vestibule_engine::TicketState as State;
    let secs = match ticket.state {
        State::Prequeue => wait.map_or(5, |wait| (wait.0 / 1_000) / 2),
        State::Waiting => ticket.eta_secs.map_or(10, |eta| eta / 4),
        State::Called => 1,
        State::Shopping => 10,
        State::Done | State::Left | State::Expired => 30,
    };
    if secs <= 4 {
        return secs.max(1);
    }
    // Between four fifths and six fifths of it, by ticket number: Knuth's multiplicative hash spreads neighbours.
    let spread = (ticket.number.0.wrapping_mul(2_654_435_761) >> 8) % 401;
    (secs.min(30) * (800 + spread) / 1_000).clamp(1, 30)
}

/// The public status of a line. The same for everybody, on every gateway that has seen as much.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusBody<'a> {
    showtime_id: String,
    state: &'static str,
    method: String,
    prequeue_at: Option<Time>,
    opens_at: Option<Time>,
    closes_at: Option<Time>,
    entrants: u64,
    joined: u64,
    cursor: u64,
    active: u64,
    rate_per_minute: u32,
    rate_achieved: u32,
    message: Option<&'a str>,
    availability: Vec<AvailabilityBody<'a>>,
    commitment: String,
    sequence: u64,
    last_updated: Time,
    refresh_interval_seconds: u64,
}

#[derive(Debug, Serialize)]
struct AvailabilityBody<'a> {
    category: &'a str,
    available: u32,
    price: MoneyBody,
}

impl<'a> StatusBody<'a> {
    pub(crate) fn new(view: &'a ShowtimeView) -> Self {
        use vestibule_engine::QueueState as State;
        let refresh_interval_seconds = match view.state {
            State::Scheduled => 15,
            State::Prequeue | State::Open | State::Paused => 5,
            State::Closed => 30,
        };
        let availability = view.availability.iter().map(|counts| AvailabilityBody {
            category: &counts.name,
            available: counts.available,
            price: counts.price.into(),
        });
        Self {
            showtime_id: view.showtime.to_string(),
            state: view.state.as_str(),
            method: view.sale.method.to_string(),
            prequeue_at: view.sale.prequeue_at.map(Time),
            opens_at: view.sale.opens_at.map(Time),
            closes_at: view.sale.closes_at.map(Time),
            entrants: view.entrants,
            joined: view.joined,
            cursor: view.cursor,
            active: view.active,
            rate_per_minute: view.sale.admission.rate_per_minute,
            rate_achieved: view.rate_achieved,
            message: view.message.as_deref(),
            availability: availability.collect(),
            commitment: hex(&view.commitment),
            sequence: view.sequence,
            last_updated: Time(view.updated_at),
            refresh_interval_seconds,
        }
    }
}

/// Seats and places with their prices.
#[derive(Debug, Serialize)]
pub(crate) struct PlacesBody {
    seats: Vec<SeatBody>,
    areas: Vec<AreaBody>,
}

#[derive(Debug, Serialize)]
struct SeatBody {
    id: String,
    category: String,
    price: Option<MoneyBody>,
}

#[derive(Debug, Serialize)]
struct AreaBody {
    area: String,
    quantity: u32,
    category: String,
    price: Option<MoneyBody>,
}

impl PlacesBody {
    fn new(places: &Places, layout: &Layout, prices: &[Money]) -> Self {
        let category = |id: vestibule_engine::CategoryId| {
            let name = layout.map.category(id).map(|category| category.name.clone()).unwrap_or_default();
            (name, prices.get(usize::from(id.0)).map(|&price| price.into()))
        };
        let seats = places.seats.iter().filter_map(|&seat| {
            let (category, price) = category(layout.index.category(seat)?);
            Some(SeatBody { id: layout.index.label(seat)?.to_owned(), category, price })
        });
        let areas = places.areas.iter().filter_map(|&(id, quantity)| {
            let area = layout.map.area(id)?;
            let (category, price) = category(area.category);
            Some(AreaBody { area: area.name.clone(), quantity, category, price })
        });
        Self { seats: seats.collect(), areas: areas.collect() }
    }
}

/// A hold.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HoldBody {
    hold_id: String,
    showtime_id: String,
    #[serde(flatten)]
    places: PlacesBody,
    total: MoneyBody,
    expires_at: Time,
    order_id: Option<String>,
}

impl HoldBody {
    pub(crate) fn new(hold: &HoldView, layout: &Layout, prices: &[Money]) -> Self {
        Self {
            hold_id: hold.hold.to_string(),
            showtime_id: hold.showtime.to_string(),
            places: PlacesBody::new(&hold.places, layout, prices),
            total: hold.total.into(),
            expires_at: Time(hold.expires_at),
            order_id: hold.order.map(|order| order.to_string()),
        }
    }
}

/// An order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderBody {
    order_id: String,
    hold_id: String,
    showtime_id: String,
    state: &'static str,
    email: String,
    #[serde(flatten)]
    places: PlacesBody,
    total: MoneyBody,
    placed_at: Time,
    pay_by: Time,
    captured: MoneyBody,
    refund_due: MoneyBody,
    refunded: MoneyBody,
    payments: Vec<PaymentBody>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentBody {
    payment_id: String,
    status: &'static str,
    amount: MoneyBody,
    at: Time,
    refund: bool,
}

/// The name of how a payment ended.
pub(crate) const fn payment_status(outcome: PaymentOutcome) -> &'static str {
    match outcome {
        PaymentOutcome::Succeeded => "succeeded",
        PaymentOutcome::Failed => "failed",
    }
}

impl OrderBody {
    pub(crate) fn new(order: &OrderView, layout: &Layout, prices: &[Money]) -> Self {
        let payments = order.payments.iter().map(|payment| PaymentBody {
            payment_id: payment.payment.to_string(),
            status: payment_status(payment.outcome),
            amount: payment.amount.into(),
            at: Time(payment.at),
            refund: payment.refund,
        });
        Self {
            order_id: order.order.to_string(),
            hold_id: order.hold.to_string(),
            showtime_id: order.showtime.to_string(),
            state: order.state.as_str(),
            email: order.email.clone(),
            places: PlacesBody::new(&order.places, layout, prices),
            total: order.total.into(),
            placed_at: Time(order.placed_at),
            pay_by: Time(order.pay_by),
            captured: order.captured.into(),
            refund_due: order.refund_due.into(),
            refunded: order.refunded.into(),
            payments: payments.collect(),
        }
    }
}

/// An event of the catalogue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventBody<'a> {
    event_id: String,
    organisation_id: String,
    version: u64,
    title: &'a str,
    description: &'a str,
    category: &'a str,
    city: &'a str,
    performers: &'a [String],
}

impl<'a> EventBody<'a> {
    pub(crate) fn new(entry: &'a EventEntry) -> Self {
        Self {
            event_id: entry.event.to_string(),
            organisation_id: entry.organisation.to_string(),
            version: entry.version,
            title: &entry.details.title,
            description: &entry.details.description,
            category: &entry.details.category,
            city: &entry.details.city,
            performers: &entry.details.performers,
        }
    }
}

/// The settings of a sale, all of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SaleBody {
    method: String,
    prequeue_at: Option<Time>,
    opens_at: Option<Time>,
    closes_at: Option<Time>,
    admission: AdmissionBody,
    hold_seconds: u64,
    hold_total_seconds: u64,
    payment_seconds: u64,
    max_seats_per_hold: u32,
    max_seats_per_buyer: u32,
    prevent_orphans: bool,
    waitlist: bool,
    beacon: Option<BeaconBody>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionBody {
    rate_per_minute: u32,
    max_active: u32,
    claim_seconds: u64,
    session_seconds: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeaconBody {
    source: String,
    round: u64,
}

impl From<&Admission> for AdmissionBody {
    fn from(admission: &Admission) -> Self {
        Self {
            rate_per_minute: admission.rate_per_minute,
            max_active: admission.active_max,
            claim_seconds: admission.claim_ttl.0 / 1_000,
            session_seconds: admission.session_ttl.0 / 1_000,
        }
    }
}

impl From<&Sale> for SaleBody {
    fn from(sale: &Sale) -> Self {
        Self {
            method: sale.method.to_string(),
            prequeue_at: sale.prequeue_at.map(Time),
            opens_at: sale.opens_at.map(Time),
            closes_at: sale.closes_at.map(Time),
            admission: AdmissionBody::from(&sale.admission),
            hold_seconds: sale.hold_ttl.0 / 1_000,
            hold_total_seconds: sale.hold_total_max.0 / 1_000,
            payment_seconds: sale.payment_ttl.0 / 1_000,
            max_seats_per_hold: sale.seats_per_hold_max,
            max_seats_per_buyer: sale.seats_per_buyer_max,
            prevent_orphans: sale.prevent_orphans,
            waitlist: sale.waitlist,
            beacon: sale.beacon.as_ref().map(|b| BeaconBody { source: b.source.clone(), round: b.round }),
        }
    }
}

/// Any part of the settings of a sale. `null` clears a time or the beacon and is refused elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SaleInput {
    #[serde(deserialize_with = "some")]
    method: Option<MethodInput>,
    #[serde(deserialize_with = "clearable")]
    prequeue_at: Option<Option<Time>>,
    #[serde(deserialize_with = "clearable")]
    opens_at: Option<Option<Time>>,
    #[serde(deserialize_with = "clearable")]
    closes_at: Option<Option<Time>>,
    #[serde(deserialize_with = "some")]
    admission: Option<AdmissionInput>,
    #[serde(deserialize_with = "some")]
    hold_seconds: Option<u64>,
    #[serde(deserialize_with = "some")]
    hold_total_seconds: Option<u64>,
    #[serde(deserialize_with = "some")]
    payment_seconds: Option<u64>,
    #[serde(deserialize_with = "some")]
    max_seats_per_hold: Option<u32>,
    #[serde(deserialize_with = "some")]
    max_seats_per_buyer: Option<u32>,
    #[serde(deserialize_with = "some")]
    prevent_orphans: Option<bool>,
    #[serde(deserialize_with = "some")]
    waitlist: Option<bool>,
    #[serde(deserialize_with = "clearable")]
    beacon: Option<Option<BeaconBody>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AdmissionInput {
    #[serde(deserialize_with = "some")]
    rate_per_minute: Option<u32>,
    #[serde(deserialize_with = "some")]
    max_active: Option<u32>,
    #[serde(deserialize_with = "some")]
    claim_seconds: Option<u64>,
    #[serde(deserialize_with = "some")]
    session_seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum MethodInput {
    Draw,
    Fifo,
    Passthrough,
    Reject,
}

/// A member that may be absent but not `null`.
fn some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<SaleInput> for SalePatch {
    fn from(input: SaleInput) -> Self {
        let time = |time: Option<Option<Time>>| time.map(|time| time.map(|time| time.0));
        let span = |secs: Option<u64>| secs.map(Millis::from_secs);
        let admission = input.admission.unwrap_or_default();
        Self {
            method: input.method.map(|method| match method {
                MethodInput::Draw => Method::Draw,
                MethodInput::Fifo => Method::Fifo,
                MethodInput::Passthrough => Method::Passthrough,
                MethodInput::Reject => Method::Reject,
            }),
            prequeue_at: time(input.prequeue_at),
            opens_at: time(input.opens_at),
            closes_at: time(input.closes_at),
            rate_per_minute: admission.rate_per_minute,
            active_max: admission.max_active,
            claim_ttl: span(admission.claim_seconds),
            session_ttl: span(admission.session_seconds),
            hold_ttl: span(input.hold_seconds),
            hold_total_max: span(input.hold_total_seconds),
            payment_ttl: span(input.payment_seconds),
            seats_per_hold_max: input.max_seats_per_hold,
            seats_per_buyer_max: input.max_seats_per_buyer,
            prevent_orphans: input.prevent_orphans,
            waitlist: input.waitlist,
            beacon: input.beacon.map(|beacon| beacon.map(|b| BeaconPlan { source: b.source, round: b.round })),
        }
    }
}

/// Prices by category name.
pub(crate) type Prices<T> = BTreeMap<String, T>;

/// Prices in the order of a layout's categories, by name.
pub(crate) fn price_list(layout: &Layout, prices: &[Money]) -> Prices<MoneyBody> {
    let names = layout.map.categories.iter().map(|category| category.name.clone());
    names.zip(prices.iter().map(|&price| price.into())).collect()
}

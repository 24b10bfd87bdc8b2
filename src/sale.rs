//! Puts a showtime on sale through a gateway, as an organiser would.

use crate::cli::SaleArgs;
use anyhow::Context;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use vestibule_client::{
    AdmissionSettings, Client, Money, NewEvent, NewShowtime, NewVenue, QueueOrder, Sale, Token, VenueId,
};
use vestibule_engine::plan;

/// The first category's price in minor units; each further one costs less.
const FIRST_PRICE: i64 = 12_000;
/// The last category's price at least.
const LAST_PRICE: i64 = 1_500;

/// Seconds that a hold may live with its extensions, unless it lives longer without.
const HOLD_TOTAL_SECONDS: u64 = 900;

/// What was put on sale.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OnSale {
    /// The showtime's id.
    pub(crate) showtime_id: String,
    /// The venue's name.
    pub(crate) venue: String,
    /// Seats on sale.
    pub(crate) seats: u64,
}

/// Makes a venue, an event and a showtime, and opens its line.
pub(crate) async fn put_on_sale(client: &Client, token: &Token, args: &SaleArgs) -> anyhow::Result<OnSale> {
    let json = match &args.plan {
        Some(file) => String::from_utf8(crate::plan::read(file)?).with_context(|| format!("{}", file.display()))?,
        None => plan::theatre(),
    };
    let map = plan::import(json.as_bytes()).map_err(|error| match &args.plan {
        Some(file) => anyhow::anyhow!("{}: {error}", file.display()),
        None => anyhow::anyhow!("{error}"),
    })?;
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&json)?;
    let venue = NewVenue { name: &map.name, city: "Vienna", country: "AT", plan: &raw, areas: &[] };
    let venue = client.create_venue(token, &venue, &client.new_key()).await.context("the venue was refused")?;

    let event = NewEvent {
        title: "First light".to_owned(),
        description: "An evening to try the whole way from the line to the ticket.".to_owned(),
        category: "concert".to_owned(),
        city: "Vienna".to_owned(),
        performers: vec!["The Early Birds".to_owned()],
    };
    let event_id = client.create_event(token, &event, &client.new_key()).await.context("the event was refused")?;

    let step = (FIRST_PRICE - LAST_PRICE) / i64::try_from(map.categories.len().max(1))?;
    let prices: BTreeMap<String, Money> = (0..)
        .zip(&map.categories)
        .map(|(rank, category)| {
            (category.name.clone(), Money { amount: FIRST_PRICE - rank * step, currency: "EUR".to_owned() })
        })
        .collect();
    let sale = Sale {
        method: Some(args.method.clone()),
        admission: Some(AdmissionSettings {
            rate_per_minute: Some(args.rate_per_minute),
            max_active: Some(args.max_active),
            ..AdmissionSettings::default()
        }),
        hold_seconds: Some(args.hold_seconds.into()),
        hold_total_seconds: Some(HOLD_TOTAL_SECONDS.max(args.hold_seconds.into())),
        ..Sale::default()
    };
    let showtime = NewShowtime {
        event_id,
        venue_id: VenueId(venue.venue_id.0.clone()),
        starts_at: (SystemTime::now() + Duration::from_secs(30 * 24 * 3_600)).into(),
        prices,
        sale,
    };
    let made = client.create_showtime(token, &showtime, &client.new_key()).await.context("the showtime was refused")?;
    let order = client.order_queue(token, &made.showtime_id, QueueOrder::Open, &client.new_key()).await;
    order.context("the line could not be opened")?;
    Ok(OnSale { showtime_id: made.showtime_id.0, venue: map.name.clone(), seats: venue.seats })
}

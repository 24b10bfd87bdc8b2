//! The organiser: puts showtimes on sale.

use super::market::{BEACON_ROUND, Opening};
use super::{Client, Shop};
use crate::clock::EPOCH;
use crate::dice::Dice;
use crate::options::Options;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{
    ActivateShowtime, BeaconPlan, CreateEvent, CreateOrganisation, CreateShowtime, CreateVenue, Currency,
    DirectoryCommand, EventDetails, EventId, Method, Millis, Money, OrganisationId, Outcome, Sale, ScheduleShowtime,
    SeatMap, ShardCommand, ShowtimeId, Timestamp, UserId, VenueId,
    plan::{self, ExtraArea},
};

/// Areas beside the seats of the plan: name, places, category. They are small, so that they are full now and then.
const AREAS: [(&str, u32, &str); 2] = [("Terrace", 12, "Lower"), ("Gallery", 6, "Upper")];

/// The organisation that sells.
pub const ORGANISATION: &str = "The House";

/// What is on sale.
#[derive(Debug)]
pub struct House {
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The venue.
    pub venue: VenueId,
    /// What is on.
    pub event: EventId,
    /// The layout, the same for all.
    pub seat_map: Arc<SeatMap>,
    /// The showtimes, with their groups inside.
    pub showtimes: Vec<ShowtimeId>,
}

/// A house of so many seats, which has areas too.
pub(crate) fn layout(seats: usize) -> SeatMap {
    let plan = plan::arena(seats).expect("the options name sizes that there are plans for");
    let areas = AREAS.map(|(name, capacity, category)| {
        let (name, category) = (name.to_owned(), category.to_owned());
        ExtraArea { name, capacity, category }
    });
    plan::import_with_areas(plan.as_bytes(), &areas).expect("a plan that was drawn by rule")
}

/// The prices of a house: another one for each category, so that one that is taken for another shows.
pub(crate) fn prices(map: &SeatMap) -> Vec<Money> {
    let amounts = (2_400..).step_by(100).take(map.categories.len());
    amounts.map(|amount| Money { amount, currency: Currency(*b"EUR") }).collect()
}

/// Puts everything on sale, trying again whatever does not come to an end.
pub(super) async fn open_house(client: Client, options: Options, shop: Shop) {
    let seat_map = Arc::new(layout(options.seats));
    let by = UserId(1);
    let organisation = loop {
        let ask = CreateOrganisation { by, name: ORGANISATION.to_owned() };
        if let Some(Ok(Outcome::OrganisationCreated { organisation })) =
            client.directory(DirectoryCommand::CreateOrganisation(ask)).await
        {
            break organisation;
        }
        pause().await;
    };
    let venue = loop {
        let ask = CreateVenue {
            by,
            organisation,
            name: "The Hall".to_owned(),
            city: "Here".to_owned(),
            country: "There".to_owned(),
            map: seat_map.clone(),
        };
        if let Some(Ok(Outcome::VenueCreated { venue, .. })) =
            client.directory(DirectoryCommand::CreateVenue(ask)).await
        {
            break venue;
        }
        pause().await;
    };
    let event = loop {
        let details = EventDetails { title: "The Play".to_owned(), ..EventDetails::default() };
        let ask = CreateEvent { by, organisation, details };
        if let Some(Ok(Outcome::EventStored { event, .. })) = client.directory(DirectoryCommand::CreateEvent(ask)).await
        {
            break event;
        }
        pause().await;
    };
    let prices = prices(&seat_map);
    let mut dice = Dice::new(options.seed, "house");
    let mut showtimes = Vec::new();
    while showtimes.len() < options.showtimes {
        let sale = sale(&options, showtimes.len(), *dice.pick(&[4, 200]));
        let mut draw_secret = [0; 32];
        draw_secret[..16].copy_from_slice(&dice.wide().to_le_bytes());
        let ask = ScheduleShowtime {
            by,
            event,
            venue,
            seat_map_version: None,
            starts_at: Timestamp((EPOCH + Duration::from_secs(86_400)).as_millis() as u64),
            prices: prices.clone(),
            sale: sale.clone(),
            draw_secret,
        };
        let Some(Ok(Outcome::ShowtimeStored { showtime: record })) =
            client.directory(DirectoryCommand::ScheduleShowtime(ask)).await
        else {
            pause().await;
            continue;
        };
        let showtime = record.showtime;
        loop {
            let ask = CreateShowtime {
                showtime,
                organisation,
                seat_map: seat_map.clone(),
                prices: prices.clone(),
                sale: sale.clone(),
                draw_secret,
            };
            let created = client.shard(showtime.group(), ShardCommand::CreateShowtime(ask)).await;
            if let Some(Ok(_)) = created {
                break;
            }
            pause().await;
        }
        loop {
            let ask = ActivateShowtime { showtime, expected_version: None };
            if let Some(Ok(_)) = client.directory(DirectoryCommand::ActivateShowtime(ask)).await {
                break;
            }
            pause().await;
        }
        showtimes.push(showtime);
    }
    shop.set_house(House { organisation, venue, event, seat_map, showtimes });
}

fn sale(options: &Options, number: usize, seats_per_buyer_max: u32) -> Sale {
    let millis = |span: Duration| Millis(span.as_millis() as u64);
    let start = Timestamp(EPOCH.as_millis() as u64);
    let (method, opening) = (options.market.methods[number], options.market.openings[number]);
    let now = EPOCH + turmoil::sim_elapsed().unwrap_or_default();
    let after = |span: Duration| Some(Timestamp((now + span).as_millis() as u64));
    Sale {
        method,
        prequeue_at: Some(start),
        opens_at: match opening {
            _ if method == Method::Passthrough => Some(start),
            Opening::ByCommand => None,
            Opening::After(span) | Opening::Beacon(span) => after(span),
        },
        beacon: matches!(opening, Opening::Beacon(_) if method == Method::Draw)
            .then(|| BeaconPlan { source: "a public beacon".to_owned(), round: BEACON_ROUND }),
        admission: options.market.admission,
        hold_ttl: millis(options.hold_ttl),
        hold_total_max: millis(options.hold_ttl * 3),
        payment_ttl: millis(options.payment_ttl),
        seats_per_buyer_max,
        waitlist: options.market.waitlist,
        ..Sale::default()
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

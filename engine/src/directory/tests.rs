//! The directory: transcripts of what is made and who is refused, a model beside it, and that rows give it back.

mod audits;
mod catalogue;
mod cluster;
mod coverage;
mod equal;
pub(super) mod golden;
mod group;
mod people;
pub(crate) mod precedence;
mod script;

use super::*;
use crate::*;
use std::sync::Arc;

const ADMIN: UserId = UserId(1);

pub(super) fn map() -> Arc<SeatMap> {
    let category = Category { name: "all".into(), color: String::new() };
    let area = Area { name: "floor".into(), capacity: 10, category: CategoryId(0) };
    Arc::new(SeatMap::new("Hall".into(), vec![category], Vec::new(), vec![area]).unwrap())
}

pub(super) fn new_map(seats: u32) -> Arc<SeatMap> {
    Arc::new((*map()).clone().with_area("balcony", seats, "all").unwrap())
}

fn create_venue(organisation: OrganisationId) -> DirectoryCommand {
    DirectoryCommand::CreateVenue(CreateVenue {
        by: ADMIN,
        organisation,
        name: "Hall".into(),
        city: "Linz".into(),
        country: "AT".into(),
        map: map(),
    })
}

fn create_event(organisation: OrganisationId, title: &str) -> DirectoryCommand {
    let details = EventDetails { title: title.into(), city: "Linz".into(), ..EventDetails::default() };
    DirectoryCommand::CreateEvent(CreateEvent { by: ADMIN, organisation, details })
}

fn schedule(event: u64, amount: i64, secret: u8) -> DirectoryCommand {
    DirectoryCommand::ScheduleShowtime(ScheduleShowtime {
        by: ADMIN,
        event: EventId(event),
        venue: VenueId(1),
        seat_map_version: None,
        starts_at: Timestamp(5_000),
        prices: vec![Money { amount, currency: Currency(*b"EUR") }],
        sale: Sale::default(),
        draw_secret: [secret; 32],
    })
}

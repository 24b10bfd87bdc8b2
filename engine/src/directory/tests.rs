//! The directory: what is made, who is refused, and that rows give it back.

use super::*;
use crate::*;
use std::sync::Arc;

const ADMIN: UserId = UserId(1);

struct World {
    directory: Directory,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl World {
    fn new() -> Self {
        Self { directory: Directory::new(GroupId::DIRECTORY), stored: BTreeMap::new() }
    }

    fn ask(&mut self, request: Option<u128>, command: DirectoryCommand) -> Reply {
        let envelope = Envelope { request: request.map(RequestId), command };
        let reply = self.directory.apply(Timestamp(1_000), &[envelope]).remove(0);
        self.directory.audit().unwrap();
        for (key, value) in self.directory.drain_dirty().0 {
            match value {
                Some(value) => self.stored.insert(key, value),
                None => self.stored.remove(&key),
            };
        }
        let rows = self.directory.rows();
        let stored: Vec<Row> =
            self.stored.iter().map(|(key, value)| Row { key: key.clone(), value: value.clone() }).collect();
        assert_eq!(stored, rows, "the drained rows are not the rows");
        let loaded = Directory::load(GroupId::DIRECTORY, rows.into_iter()).unwrap();
        assert_eq!(loaded.digest(), self.directory.digest());
        reply
    }

    fn run(&mut self, command: DirectoryCommand) -> Result<Outcome, Refusal> {
        self.ask(None, command).result
    }

    /// A world with two groups, an organisation, a venue and an event.
    fn furnished() -> Self {
        let mut world = Self::new();
        world.run(DirectoryCommand::SetGroups(SetGroups { count: 2 })).unwrap();
        world
            .run(DirectoryCommand::CreateOrganisation(CreateOrganisation { by: ADMIN, name: "Opera".into() }))
            .unwrap();
        world.run(create_venue(OrganisationId(1))).unwrap();
        world.run(create_event(OrganisationId(1), "Aida")).unwrap();
        world
    }
}

fn map() -> Arc<SeatMap> {
    let category = Category { name: "all".into(), color: String::new() };
    let area = Area { name: "floor".into(), capacity: 10, category: CategoryId(0) };
    Arc::new(SeatMap::new("Hall".into(), vec![category], Vec::new(), vec![area]).unwrap())
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
        starts_at: Timestamp(5_000),
        prices: vec![Money { amount, currency: Currency(*b"EUR") }],
        sale: Sale::default(),
        draw_secret: [secret; 32],
    })
}

#[test]
fn showtimes_go_to_the_group_with_the_fewest() {
    let mut world = World::furnished();
    let mut groups = Vec::new();
    for _ in 0..5 {
        let Ok(Outcome::ShowtimeStored { showtime }) = world.run(schedule(1, 100, 1)) else { panic!() };
        groups.push(showtime.showtime.group().0);
        assert_eq!(showtime.state, ShowtimeState::Provisioning);
    }
    assert_eq!(groups, [1, 2, 1, 2, 1]);
    world.run(DirectoryCommand::SetGroups(SetGroups { count: 3 })).unwrap();
    let Ok(Outcome::ShowtimeStored { showtime }) = world.run(schedule(1, 100, 1)) else { panic!() };
    assert_eq!(showtime.showtime.group(), GroupId(3));

    let activate = DirectoryCommand::ActivateShowtime(ActivateShowtime { showtime: showtime.showtime });
    for _ in 0..2 {
        let Ok(Outcome::ShowtimeStored { showtime }) = world.run(activate.clone()) else { panic!() };
        assert_eq!(showtime.state, ShowtimeState::Active);
    }
    let DirectoryAnswer::Showtimes(left) = world.directory.query(&DirectoryQuery::Provisioning) else { panic!() };
    assert_eq!(left.len(), 5);
}

#[test]
fn the_first_secret_and_the_first_keys_stay() {
    let mut world = World::furnished();
    let first = world.ask(Some(7), schedule(1, 100, 1));
    let again = world.ask(Some(7), schedule(1, 100, 2));
    assert!(again.replayed && first.result == again.result);
    assert_eq!(world.ask(Some(7), schedule(1, 101, 1)).result, Err(Refusal::RequestIdReused));

    let keys = |kid: &str| {
        let (kid, der) = (kid.to_owned(), vec![1]);
        let keys = vec![TokenKey { kid, algorithm: KeyAlgorithm::Ed25519, der, created_at: Timestamp(1) }];
        DirectoryCommand::PutTokenKeys(PutTokenKeys { keys })
    };
    for kid in ["a", "b"] {
        let Ok(Outcome::TokenKeys { keys }) = world.run(keys(kid)) else { panic!() };
        assert_eq!(keys[0].kid, "a");
    }
}

#[test]
fn what_is_refused() {
    let mut world = World::new();
    assert_eq!(world.run(create_venue(OrganisationId(1))), Err(Refusal::NoSuchOrganisation));
    assert_eq!(world.run(create_event(OrganisationId(1), "Aida")), Err(Refusal::NoSuchOrganisation));
    assert!(matches!(world.run(create_event(OrganisationId(1), "")), Err(Refusal::OutOfBounds { .. })));
    for count in [0, 1_025] {
        let refused = world.run(DirectoryCommand::SetGroups(SetGroups { count }));
        assert!(matches!(refused, Err(Refusal::OutOfBounds { .. })));
    }
    world.run(DirectoryCommand::CreateOrganisation(CreateOrganisation { by: ADMIN, name: "Opera".into() })).unwrap();
    world.run(create_event(OrganisationId(1), "Aida")).unwrap();
    assert_eq!(world.run(schedule(2, 100, 1)), Err(Refusal::NoSuchEvent));
    assert_eq!(world.run(schedule(1, 100, 1)), Err(Refusal::NoSuchVenue));
    world.run(create_venue(OrganisationId(1))).unwrap();
    assert_eq!(world.run(schedule(1, 100, 1)), Err(Refusal::NoGroups));
    assert!(matches!(world.run(schedule(1, -1, 1)), Err(Refusal::OutOfBounds { .. })));
    let missing = DirectoryCommand::ActivateShowtime(ActivateShowtime { showtime: ShowtimeId(1) });
    assert_eq!(world.run(missing), Err(Refusal::NoSuchShowtime));
}

#[test]
fn events_are_found_changed_and_removed() {
    let mut world = World::furnished();
    for title in ["Tosca", "Norma", "Carmen"] {
        world.run(create_event(OrganisationId(1), title)).unwrap();
    }
    let find = |world: &World, filter: EventFilter| {
        let DirectoryAnswer::Events { events, next } = world.directory.query(&DirectoryQuery::Events(filter)) else {
            panic!()
        };
        (events.into_iter().map(|entry| entry.details.title).collect::<Vec<_>>(), next)
    };
    let (titles, next) = find(&world, EventFilter { limit: 3, ..EventFilter::default() });
    assert_eq!((titles.join(" "), next), ("Aida Tosca Norma".into(), Some(EventId(3))));
    let (titles, next) = find(&world, EventFilter { after: next, ..EventFilter::default() });
    assert_eq!((titles.join(" "), next), ("Carmen".into(), None));
    let (titles, _) = find(&world, EventFilter { text: Some("OS".into()), ..EventFilter::default() });
    assert_eq!(titles, ["Tosca"]);
    world.run(schedule(1, 100, 1)).unwrap();
    let (titles, _) = find(&world, EventFilter { from: Some(Timestamp(5_000)), ..EventFilter::default() });
    assert_eq!(titles, ["Aida"]);
    let (titles, _) = find(&world, EventFilter { to: Some(Timestamp(5_000)), ..EventFilter::default() });
    assert!(titles.is_empty());

    let update = |expected_version, title: &str| {
        DirectoryCommand::UpdateEvent(UpdateEvent {
            by: ADMIN,
            event: EventId(2),
            expected_version,
            title: Some(title.into()),
            description: None,
            category: None,
            city: None,
            performers: None,
        })
    };
    let stored = Outcome::EventStored { event: EventId(2), version: 2 };
    assert_eq!(world.run(update(Some(1), "Turandot")), Ok(stored.clone()));
    assert_eq!(world.run(update(Some(1), "Aida")), Err(Refusal::VersionMismatch { expected: 1, actual: 2 }));
    assert_eq!(world.run(update(None, "Turandot")), Ok(stored));
    let delete =
        |event| DirectoryCommand::DeleteEvent(DeleteEvent { by: ADMIN, event: EventId(event), expected_version: None });
    assert_eq!(world.run(delete(1)), Err(Refusal::InUse));
    assert_eq!(world.run(delete(2)), Ok(Outcome::Done));
    assert_eq!(world.run(delete(2)), Err(Refusal::NoSuchEvent));
}

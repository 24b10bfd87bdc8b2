//! The directory: what is made, who is refused, and that rows give it back.

mod golden;
mod model;
mod precedence;

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
        world.run(DirectoryCommand::SetGroups(SetGroups { expected_version: None, count: 2 })).unwrap();
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

fn new_map(seats: u32) -> Arc<SeatMap> {
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
    world.run(DirectoryCommand::SetGroups(SetGroups { expected_version: None, count: 3 })).unwrap();
    let Ok(Outcome::ShowtimeStored { showtime }) = world.run(schedule(1, 100, 1)) else { panic!() };
    assert_eq!(showtime.showtime.group(), GroupId(3));

    let activate =
        DirectoryCommand::ActivateShowtime(ActivateShowtime { expected_version: None, showtime: showtime.showtime });
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
        let Ok(Outcome::TokenKeys { keys, .. }) = world.run(keys(kid)) else { panic!() };
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
        let refused = world.run(DirectoryCommand::SetGroups(SetGroups { expected_version: None, count }));
        assert!(matches!(refused, Err(Refusal::OutOfBounds { .. })));
    }
    world.run(DirectoryCommand::CreateOrganisation(CreateOrganisation { by: ADMIN, name: "Opera".into() })).unwrap();
    world.run(create_event(OrganisationId(1), "Aida")).unwrap();
    assert_eq!(world.run(schedule(2, 100, 1)), Err(Refusal::NoSuchVenue));
    world.run(create_venue(OrganisationId(1))).unwrap();
    assert_eq!(world.run(schedule(2, 100, 1)), Err(Refusal::NoSuchEvent));
    assert_eq!(world.run(schedule(1, 100, 1)), Err(Refusal::NoGroups));
    assert!(matches!(world.run(schedule(1, -1, 1)), Err(Refusal::OutOfBounds { .. })));
    let missing =
        DirectoryCommand::ActivateShowtime(ActivateShowtime { expected_version: None, showtime: ShowtimeId(1) });
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

#[test]
fn layouts_have_versions_and_showtimes_keep_theirs() {
    let mut world = World::furnished();
    world.run(schedule(1, 100, 1)).unwrap();
    let larger = Arc::new((*map()).clone().with_area("balcony", 5, "all").unwrap());
    let update = |expected_version, map: Option<Arc<SeatMap>>, name: Option<&str>| {
        DirectoryCommand::UpdateVenue(UpdateVenue {
            by: ADMIN,
            venue: VenueId(1),
            expected_version,
            name: name.map(str::to_owned),
            city: None,
            country: None,
            map,
        })
    };
    assert_eq!(world.run(update(None, Some(map()), None)), Ok(Outcome::Stored { version: 1 }));
    assert_eq!(world.run(update(Some(1), Some(larger.clone()), None)), Ok(Outcome::Stored { version: 2 }));
    let stale = world.run(update(Some(1), None, Some("Old hall")));
    assert_eq!(stale, Err(Refusal::VersionMismatch { expected: 1, actual: 2 }));
    assert_eq!(world.run(update(Some(2), None, Some("Great hall"))), Ok(Outcome::Stored { version: 3 }));
    for (version, wanted) in [(1, Some(map())), (2, Some(larger)), (3, None)] {
        let answer = world.directory.query(&DirectoryQuery::SeatMap { venue: VenueId(1), version });
        assert_eq!(answer, DirectoryAnswer::SeatMap(wanted));
    }
}

#[test]
fn users_are_one_an_address_with_a_role_an_organisation() {
    let mut world = World::furnished();
    let create = |user, email: &str, hash: &str| {
        let (email, password_hash, name) = (email.to_owned(), hash.to_owned(), String::new());
        DirectoryCommand::CreateUser(CreateUser { user: UserId(user), email, password_hash, name })
    };
    let first = world.ask(Some(1), create(10, "Ann@example.org", "salt1"));
    assert_eq!(first.result, Ok(Outcome::UserCreated { user: UserId(10) }));
    assert_eq!(world.ask(Some(1), create(11, "Ann@example.org", "salt2")).result, first.result);
    assert_eq!(world.run(create(12, "ann@EXAMPLE.org", "")), Err(Refusal::AlreadyExists));
    assert_eq!(world.run(create(10, "bob@example.org", "")), Err(Refusal::AlreadyExists));
    assert!(matches!(world.run(create(13, "nobody", "")), Err(Refusal::OutOfBounds { .. })));
    world.run(create(14, "bob@example.org", "")).unwrap();

    let update = |expected_version, email: Option<&str>, is_active| {
        DirectoryCommand::UpdateUser(UpdateUser {
            user: UserId(10),
            expected_version,
            email: email.map(str::to_owned),
            password_hash: None,
            name: None,
            is_active,
        })
    };
    assert_eq!(world.run(update(Some(1), Some("ann@b.example"), None)), Ok(Outcome::Stored { version: 2 }));
    assert_eq!(world.run(update(None, Some("bob@example.org"), None)), Err(Refusal::AlreadyExists));
    assert_eq!(world.run(update(Some(2), None, Some(false))), Ok(Outcome::Stored { version: 3 }));
    let find = |world: &World, email: &str| world.directory.query(&DirectoryQuery::UserByEmail(email.into()));
    assert_eq!(find(&world, "ann@example.org"), DirectoryAnswer::User(None));
    let DirectoryAnswer::User(Some(ann)) = find(&world, "ANN@b.example") else { panic!() };
    assert!(!ann.is_active);

    let grant = |organisation: Option<u64>, role| {
        let organisation = organisation.map(OrganisationId);
        DirectoryCommand::GrantRole(GrantRole {
            expected_version: None,
            by: ADMIN,
            user: UserId(10),
            organisation,
            role,
        })
    };
    assert_eq!(world.run(grant(Some(1), Role::Staff)), Ok(Outcome::Stored { version: 4 }));
    assert_eq!(world.run(grant(Some(1), Role::Organizer)), Ok(Outcome::Stored { version: 5 }));
    assert_eq!(world.run(grant(Some(1), Role::Organizer)), Ok(Outcome::Stored { version: 5 }));
    assert_eq!(world.run(grant(None, Role::Admin)), Ok(Outcome::Stored { version: 6 }));
    assert_eq!(world.run(grant(Some(2), Role::Admin)), Err(Refusal::NoSuchOrganisation));
    assert!(matches!(world.run(grant(None, Role::Guest)), Err(Refusal::OutOfBounds { .. })));
    let revoke = RevokeRole { expected_version: None, by: ADMIN, user: UserId(10), organisation: None };
    world.run(DirectoryCommand::RevokeRole(revoke)).unwrap();
    let DirectoryAnswer::User(Some(ann)) = world.directory.query(&DirectoryQuery::User(UserId(10))) else { panic!() };
    assert_eq!(ann.roles, BTreeMap::from([(Some(OrganisationId(1)), Role::Organizer)]));
}

#[test]
fn nodes_come_drain_and_never_come_back() {
    let mut world = World::furnished();
    let register = |node, address: &str| {
        DirectoryCommand::RegisterNode(RegisterNode {
            expected_version: None,
            node: NodeNumber(node),
            address: address.into(),
            incarnation: u128::from(node),
        })
    };
    let state = |node, state| {
        DirectoryCommand::SetNodeState(SetNodeState { expected_version: None, node: NodeNumber(node), state })
    };
    let place = |expected_version, voters: &[u64]| {
        let voters = voters.iter().copied().map(NodeNumber).collect();
        DirectoryCommand::SetPlacement(SetPlacement { group: GroupId(1), expected_version, voters })
    };
    for node in 1..=4 {
        assert_eq!(world.run(register(node, "a:1")), Ok(Outcome::Stored { version: 1 }));
    }
    assert_eq!(world.run(register(4, "b:1")), Ok(Outcome::Stored { version: 2 }));
    assert!(world.run(register(0, "a:1")).is_err());
    // Other data under the same number is another node.
    let lost = RegisterNode { expected_version: None, node: NodeNumber(4), address: "b:1".into(), incarnation: 5 };
    assert_eq!(world.run(DirectoryCommand::RegisterNode(lost)), Err(Refusal::AlreadyExists));
    assert_eq!(world.run(place(Some(0), &[3, 1, 2])), Ok(Outcome::Stored { version: 1 }));
    assert_eq!(world.run(place(Some(0), &[1])), Err(Refusal::VersionMismatch { expected: 0, actual: 1 }));
    assert_eq!(world.run(place(None, &[9])), Err(Refusal::NoSuchNode));
    for voters in [&[1_u64, 1][..], &[]] {
        assert!(matches!(world.run(place(None, voters)), Err(Refusal::OutOfBounds { .. })));
    }
    assert_eq!(world.run(state(3, NodeState::Removed)), Err(Refusal::InUse));
    assert_eq!(world.run(state(3, NodeState::Draining)), Ok(Outcome::Stored { version: 2 }));
    assert!(world.run(place(None, &[1, 2, 3])).is_err(), "a draining node takes no group");
    assert_eq!(world.run(place(Some(1), &[1, 2, 4])), Ok(Outcome::Stored { version: 2 }));
    assert_eq!(world.run(state(3, NodeState::Leaving)), Ok(Outcome::Stored { version: 3 }));
    assert!(world.run(place(None, &[1, 2, 3])).is_err(), "a leaving node takes no group");
    assert_eq!(world.run(state(3, NodeState::Removed)), Ok(Outcome::Stored { version: 4 }));
    assert_eq!(world.run(state(3, NodeState::Active)), Err(Refusal::AlreadyExists));
    assert_eq!(world.run(register(3, "a:1")), Err(Refusal::AlreadyExists));
}

#[test]
fn showtimes_end_and_keys_turn_over() {
    let mut world = World::furnished();
    let Ok(Outcome::ShowtimeStored { showtime }) = world.run(schedule(1, 100, 1)) else { panic!() };
    let showtime = showtime.showtime;
    let archive = DirectoryCommand::ArchiveShowtime(ArchiveShowtime { expected_version: None, showtime });
    assert_eq!(world.run(archive.clone()), Err(Refusal::InUse));
    world.run(DirectoryCommand::ActivateShowtime(ActivateShowtime { expected_version: None, showtime })).unwrap();
    for _ in 0..2 {
        let Ok(Outcome::ShowtimeStored { showtime }) = world.run(archive.clone()) else { panic!() };
        assert_eq!(showtime.state, ShowtimeState::Archived);
    }
    let DirectoryAnswer::Groups(groups) = world.directory.query(&DirectoryQuery::Groups) else { panic!() };
    assert!(groups.iter().all(|group| group.showtimes == 0));

    let key = |kid: &str, algorithm| {
        let (kid, der) = (kid.to_owned(), vec![1]);
        TokenKey { kid, algorithm, der, created_at: Timestamp(1) }
    };
    let put = PutTokenKeys { keys: vec![key("r1", KeyAlgorithm::Rs256), key("e1", KeyAlgorithm::Ed25519)] };
    world.run(DirectoryCommand::PutTokenKeys(put)).unwrap();
    let rotate = |add: Option<TokenKey>, retire: Option<&str>| {
        DirectoryCommand::RotateTokenKey(RotateTokenKey {
            expected_version: None,
            add,
            retire: retire.map(str::to_owned),
        })
    };
    assert_eq!(world.run(rotate(None, Some("e1"))), Err(Refusal::InUse));
    assert!(world.run(rotate(Some(key("e1", KeyAlgorithm::Rs256)), None)).is_err());
    for _ in 0..2 {
        let rotated = world.run(rotate(Some(key("e2", KeyAlgorithm::Ed25519)), Some("e1")));
        let Ok(Outcome::TokenKeys { keys, .. }) = rotated else { panic!() };
        assert_eq!(keys.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["r1", "e2"]);
    }
}

#[test]
fn neither_seeds_nor_cuts_show() {
    // Everything, and everything again.
    let log = || (1..).map(RequestId).zip(golden::samples());
    let log: Vec<_> =
        log().chain(log()).map(|(request, command)| Envelope { request: Some(request), command }).collect();
    let play = |batch_max: usize| {
        let mut directory = Directory::new(GroupId::DIRECTORY);
        let replies: Vec<Reply> =
            log.chunks(batch_max).flat_map(|batch| directory.apply(Timestamp(1_000), batch)).collect();
        directory.audit().unwrap();
        (
            replies,
            directory.events(1, usize::MAX).unwrap(),
            directory.rows(),
            directory.drain_dirty(),
            directory.digest(),
        )
    };
    let wanted = play(1);
    assert!(wanted.0[log.len() / 2..].iter().all(|reply| reply.replayed));
    for (other, batch_max) in [(0, 7), (0, usize::MAX), (1, 1), (u64::MAX, 3)] {
        let got = crate::lookup::with_other_seeds(other, || play(batch_max));
        assert!(got == wanted, "seed {other}, batches of {batch_max}");
    }
}

#[test]
fn a_directory_that_is_restored_knows_no_nodes_and_makes_no_id_twice() {
    fn made(world: &mut World) -> u64 {
        match world.run(schedule(1, 100, 1)).unwrap() {
            Outcome::ShowtimeStored { showtime } => showtime.showtime.counter(),
            other => panic!("{other:?}"),
        }
    }
    let mut world = World::furnished();
    let address = "node-1:7101".to_owned();
    let node = RegisterNode { node: NodeNumber(1), address, expected_version: None, incarnation: 1 };
    world.run(DirectoryCommand::RegisterNode(node)).unwrap();
    let voters = vec![NodeNumber(1)];
    let placement = SetPlacement { group: GroupId(1), voters, expected_version: None };
    world.run(DirectoryCommand::SetPlacement(placement)).unwrap();
    assert_eq!(made(&mut world), 1);
    let (sequence, chain) = (world.directory.last_sequence(), world.directory.state.chain);

    world.directory.refound(7);
    // The rows that went are drained as removed; `ask` compares what is stored with what is there.
    assert_eq!(made(&mut world), 8);
    assert_eq!(world.directory.query(&DirectoryQuery::Nodes), DirectoryAnswer::Nodes(Vec::new()));
    assert_eq!(world.directory.query(&DirectoryQuery::Placements), DirectoryAnswer::Placements(Vec::new()));
    let events = world.directory.events(sequence + 1, 1).unwrap();
    assert_eq!(events[0].link(&chain), events[0].chain, "the chain goes on where it was");
    // Groups that are older than the directory take nothing back.
    world.directory.refound(3);
    assert_eq!(made(&mut world), 9);
}

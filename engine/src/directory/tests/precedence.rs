//! Every command, every reason to refuse it, and every two of them at once.

use super::*;
use crate::precedence::{Case, Row, check};

type Prepare = fn(&mut Directory);
type DirectoryRow = Row<Directory, DirectoryCommand>;
type DirectoryCase = Case<Directory, DirectoryCommand>;

/// A row whose reason lies in the command: `row!(CreateVenue, "OutOfBounds", |ask| ask.name.clear())`, with what has to
/// be done to the state before, if anything.
macro_rules! row {
    ($command:ident, $wanted:literal, |$ask:ident| $bend:expr) => {
        row!($command, $wanted, |_world| {}, |$ask| $bend)
    };
    ($command:ident, $wanted:literal, |$world:ident| $setup:expr, |$ask:ident| $bend:expr) => {
        DirectoryRow {
            wanted: $wanted,
            setup: |$world: &mut Directory| {
                let _ = $setup;
            },
            bend: |command: &mut DirectoryCommand| {
                let DirectoryCommand::$command($ask) = command else { unreachable!("another command") };
                let _ = $bend;
            },
            is_dependent: false,
            apart: &[],
        }
    };
}

fn dependent(row: DirectoryRow) -> DirectoryRow {
    DirectoryRow { is_dependent: true, ..row }
}

fn apart(row: DirectoryRow, apart: &'static [&'static str]) -> DirectoryRow {
    DirectoryRow { apart, ..row }
}

fn ask(directory: &mut Directory, request: Option<RequestId>, command: DirectoryCommand) -> Result<Outcome, Refusal> {
    directory.apply(Timestamp(1_000), &[Envelope { request, command }]).remove(0).result
}

fn run(directory: &mut Directory, command: DirectoryCommand) -> Result<Outcome, Refusal> {
    ask(directory, None, command)
}

fn key(kid: &str, algorithm: KeyAlgorithm) -> TokenKey {
    TokenKey { kid: kid.into(), algorithm, der: vec![1], created_at: Timestamp(1) }
}

fn organisation() -> DirectoryCommand {
    DirectoryCommand::CreateOrganisation(CreateOrganisation { by: ADMIN, name: "Opera".into() })
}

fn user(id: u128) -> DirectoryCommand {
    let (email, password_hash, name) = (format!("u{id}@example.org"), String::new(), String::new());
    DirectoryCommand::CreateUser(CreateUser { user: UserId(id), email, password_hash, name })
}

fn grant(organisation: u64) -> DirectoryCommand {
    DirectoryCommand::GrantRole(GrantRole {
        by: ADMIN,
        user: UserId(10),
        expected_version: None,
        organisation: Some(OrganisationId(organisation)),
        role: Role::Staff,
    })
}

fn node(id: u64) -> DirectoryCommand {
    let node = NodeNumber(id);
    DirectoryCommand::RegisterNode(RegisterNode { node, expected_version: None, address: "a:1".into(), incarnation: 1 })
}

fn node_state(node: u64, state: NodeState) -> DirectoryCommand {
    let node = NodeNumber(node);
    DirectoryCommand::SetNodeState(SetNodeState { node, expected_version: None, state })
}

fn place(group: u32, voters: &[u64]) -> DirectoryCommand {
    let voters = voters.iter().copied().map(NodeNumber).collect();
    DirectoryCommand::SetPlacement(SetPlacement { group: GroupId(group), expected_version: None, voters })
}

fn update_venue(map: Option<Arc<SeatMap>>) -> DirectoryCommand {
    let (by, venue) = (ADMIN, VenueId(1));
    let (name, city, country) = (None, None, None);
    DirectoryCommand::UpdateVenue(UpdateVenue { by, venue, expected_version: None, name, city, country, map })
}

fn rotate(add: Option<TokenKey>) -> DirectoryCommand {
    DirectoryCommand::RotateTokenKey(RotateTokenKey { expected_version: None, add, retire: None })
}

fn put_keys(directory: &mut Directory) {
    let keys = vec![key("r1", KeyAlgorithm::Rs256), key("e1", KeyAlgorithm::Ed25519)];
    run(directory, DirectoryCommand::PutTokenKeys(PutTokenKeys { keys })).unwrap();
}

fn sink(name: &str) -> DirectoryCommand {
    DirectoryCommand::RegisterSink(RegisterSink { sink: name.into() })
}

/// Runs commands until one is refused for want of room.
fn fill(directory: &mut Directory, command: impl Fn(u64) -> DirectoryCommand) {
    for number in 1_000..1_200 {
        if let Err(refusal) = run(directory, command(number)) {
            assert!(matches!(refusal, Refusal::AtCapacity { .. }), "{refusal:?}");
            return;
        }
    }
    panic!("there is no end to {:?}", command(0));
}

/// Two organisations, the first with a venue, two events and a showtime; two users; three nodes.
fn base() -> Directory {
    let mut directory = Directory::new(GroupId::DIRECTORY);
    let groups = DirectoryCommand::SetGroups(SetGroups { expected_version: Some(0), count: 2 });
    let (first, second) = (OrganisationId(1), OrganisationId(2));
    let commands = [groups, organisation(), organisation(), create_venue(first), create_venue(second)];
    let events = [create_event(first, "Aida"), create_event(first, "Tosca"), schedule(1, 100, 1)];
    let rest = [user(10), user(11), node(1), node(2), node(3), place(1, &[1]), sink("broker")];
    for command in commands.into_iter().chain(events).chain(rest) {
        run(&mut directory, command).unwrap();
    }
    directory
}

fn long(len: usize) -> String {
    "x".repeat(len)
}

/// The reasons to refuse a command. A new command needs an arm here, and a sample below.
fn rows(command: &DirectoryCommand) -> Vec<DirectoryRow> {
    match command {
        DirectoryCommand::Tick => Vec::new(),
        DirectoryCommand::SetGroups(_) => vec![
            row!(SetGroups, "OutOfBounds", |ask| ask.count = 1),
            row!(SetGroups, "VersionMismatch", |ask| ask.expected_version = Some(1)),
        ],
        DirectoryCommand::PutTokenKeys(_) => vec![row!(PutTokenKeys, "OutOfBounds", |ask| ask.keys.clear())],
        DirectoryCommand::CreateOrganisation(_) => vec![
            row!(CreateOrganisation, "OutOfBounds", |ask| ask.name.clear()),
            row!(CreateOrganisation, "AtCapacity", |world| fill(world, |_| organisation()), |_ask| {}),
        ],
        DirectoryCommand::CreateVenue(_) => vec![
            row!(CreateVenue, "OutOfBounds", |ask| ask.country = long(201)),
            row!(CreateVenue, "NoSuchOrganisation", |ask| ask.organisation = OrganisationId(9)),
            row!(CreateVenue, "AtCapacity", |world| fill(world, |_| create_venue(OrganisationId(1))), |_ask| {}),
        ],
        DirectoryCommand::CreateEvent(_) => vec![
            row!(CreateEvent, "OutOfBounds", |ask| ask.details.performers = vec![String::new()]),
            row!(CreateEvent, "NoSuchOrganisation", |ask| ask.organisation = OrganisationId(9)),
            row!(CreateEvent, "AtCapacity", |world| fill(world, |_| create_event(OrganisationId(1), "x")), |_ask| {}),
        ],
        DirectoryCommand::UpdateEvent(_) => vec![
            row!(UpdateEvent, "OutOfBounds", |ask| ask.category = Some(long(101))),
            row!(UpdateEvent, "NoSuchEvent", |ask| ask.event = EventId(9)),
            row!(UpdateEvent, "VersionMismatch", |ask| ask.expected_version = Some(9)),
        ],
        DirectoryCommand::DeleteEvent(_) => vec![
            apart(row!(DeleteEvent, "NoSuchEvent", |ask| ask.event = EventId(9)), &["InUse"]),
            row!(DeleteEvent, "VersionMismatch", |ask| ask.expected_version = Some(9)),
            row!(DeleteEvent, "InUse", |ask| ask.event = EventId(1)),
        ],
        DirectoryCommand::ScheduleShowtime(_) => vec![
            row!(ScheduleShowtime, "OutOfBounds", |ask| ask.sale.admission.rate_per_minute = 0),
            row!(ScheduleShowtime, "OutOfBounds", |ask| ask.prices[0].amount = -1),
            row!(ScheduleShowtime, "NoSuchVenue", |ask| ask.venue = VenueId(9)),
            row!(ScheduleShowtime, "NoSuchEvent", |ask| ask.event = EventId(9)),
            dependent(row!(ScheduleShowtime, "OutOfBounds", |ask| ask.prices.push(ask.prices[0]))),
            row!(ScheduleShowtime, "VersionMismatch", |ask| ask.seat_map_version = Some(9)),
            apart(row!(ScheduleShowtime, "NoGroups", |world| world.group_count = 0, |_ask| {}), &[]),
            row!(
                ScheduleShowtime,
                "AtCapacity",
                |world| {
                    let groups = std::mem::replace(&mut world.group_count, 2);
                    fill(world, |_| schedule(1, 100, 1));
                    world.group_count = groups;
                },
                |_ask| {}
            ),
        ],
        DirectoryCommand::ActivateShowtime(_) => vec![
            row!(ActivateShowtime, "NoSuchShowtime", |ask| ask.showtime = ShowtimeId(9)),
            row!(ActivateShowtime, "VersionMismatch", |ask| ask.expected_version = Some(9)),
        ],
        DirectoryCommand::ArchiveShowtime(_) => vec![
            apart(row!(ArchiveShowtime, "NoSuchShowtime", |ask| ask.showtime = ShowtimeId(9)), &["InUse"]),
            row!(ArchiveShowtime, "VersionMismatch", |ask| ask.expected_version = Some(9)),
            row!(ArchiveShowtime, "InUse", |world| run(world, schedule(1, 100, 1)).unwrap(), |ask| ask.showtime =
                ShowtimeId::new(GroupId(2), 2)),
        ],
        DirectoryCommand::UpdateOrganisation(_) => vec![
            row!(UpdateOrganisation, "OutOfBounds", |ask| ask.name = long(201)),
            row!(UpdateOrganisation, "NoSuchOrganisation", |ask| ask.organisation = OrganisationId(9)),
            row!(UpdateOrganisation, "VersionMismatch", |ask| ask.expected_version = Some(9)),
        ],
        DirectoryCommand::UpdateVenue(_) => vec![
            row!(UpdateVenue, "OutOfBounds", |ask| ask.name = Some(String::new())),
            row!(UpdateVenue, "NoSuchVenue", |ask| ask.venue = VenueId(9)),
            row!(UpdateVenue, "VersionMismatch", |ask| ask.expected_version = Some(9)),
            row!(
                UpdateVenue,
                "AtCapacity",
                |world| fill(world, |number| update_venue(Some(new_map(number as u32)))),
                |_ask| {}
            ),
        ],
        DirectoryCommand::CreateUser(_) => vec![
            row!(CreateUser, "OutOfBounds", |ask| ask.name = long(201)),
            row!(CreateUser, "AlreadyExists", |ask| ask.email = "U10@example.org".into()),
            row!(CreateUser, "AtCapacity", |world| fill(world, |number| user(number.into())), |_ask| {}),
        ],
        DirectoryCommand::UpdateUser(_) => vec![
            row!(UpdateUser, "OutOfBounds", |ask| ask.password_hash = Some(long(501))),
            row!(UpdateUser, "NoSuchUser", |ask| ask.user = UserId(9)),
            row!(UpdateUser, "AlreadyExists", |ask| ask.email = Some("u11@EXAMPLE.org".into())),
            row!(UpdateUser, "VersionMismatch", |ask| ask.expected_version = Some(9)),
        ],
        DirectoryCommand::GrantRole(_) => vec![
            row!(GrantRole, "OutOfBounds", |ask| ask.role = Role::Guest),
            apart(row!(GrantRole, "NoSuchOrganisation", |ask| ask.organisation = Some(OrganisationId(99))), &[]),
            row!(GrantRole, "NoSuchUser", |ask| ask.user = UserId(9)),
            row!(GrantRole, "VersionMismatch", |ask| ask.expected_version = Some(9)),
            row!(
                GrantRole,
                "AtCapacity",
                |world| (1..=3).for_each(|id| {
                    let _ = run(world, organisation());
                    run(world, grant(id)).unwrap();
                }),
                |_ask| {}
            ),
        ],
        DirectoryCommand::RevokeRole(_) => vec![
            row!(RevokeRole, "NoSuchUser", |ask| ask.user = UserId(9)),
            row!(RevokeRole, "VersionMismatch", |ask| ask.expected_version = Some(9)),
        ],
        DirectoryCommand::RegisterNode(_) => vec![
            row!(RegisterNode, "OutOfBounds", |ask| ask.address.clear()),
            apart(
                row!(
                    RegisterNode,
                    "AlreadyExists",
                    |world| run(world, node_state(3, NodeState::Removed)).unwrap(),
                    |ask| ask.node = NodeNumber(3)
                ),
                &["AtCapacity"],
            ),
            row!(RegisterNode, "VersionMismatch", |ask| ask.expected_version = Some(9)),
            row!(RegisterNode, "AtCapacity", |world| fill(world, node), |_ask| {}),
        ],
        DirectoryCommand::SetNodeState(_) => vec![
            row!(SetNodeState, "NoSuchNode", |ask| ask.node = NodeNumber(9)),
            // A node that is removed is in no placement.
            apart(
                row!(
                    SetNodeState,
                    "AlreadyExists",
                    |world| run(world, node_state(3, NodeState::Removed)).unwrap(),
                    |ask| ask.node = NodeNumber(3)
                ),
                &["InUse", "NoSuchNode"],
            ),
            row!(SetNodeState, "VersionMismatch", |ask| ask.expected_version = Some(9)),
            apart(
                row!(SetNodeState, "InUse", |ask| (ask.node, ask.state) = (NodeNumber(1), NodeState::Removed)),
                &["NoSuchNode"],
            ),
        ],
        DirectoryCommand::SetPlacement(_) => vec![
            row!(SetPlacement, "OutOfBounds", |ask| ask.voters.push(ask.voters[0])),
            row!(SetPlacement, "NoSuchNode", |ask| ask.voters.push(NodeNumber(9))),
            row!(SetPlacement, "NoSuchGroup", |ask| ask.group = GroupId(9)),
            dependent(row!(
                SetPlacement,
                "OutOfBounds",
                |world| run(world, node_state(3, NodeState::Draining)).unwrap(),
                |ask| ask.voters.push(NodeNumber(3))
            )),
            row!(SetPlacement, "VersionMismatch", |ask| ask.expected_version = Some(9)),
        ],
        DirectoryCommand::RotateTokenKey(_) => vec![
            row!(RotateTokenKey, "OutOfBounds", |ask| ask.add.as_mut().unwrap().der.clear()),
            row!(RotateTokenKey, "AlreadyExists", |ask| {
                let key = ask.add.as_mut().unwrap();
                (key.kid, key.algorithm) = ("r1".into(), KeyAlgorithm::Ed25519);
            }),
            row!(RotateTokenKey, "VersionMismatch", |ask| ask.expected_version = Some(99)),
            // The one key of its kind goes, and the others fill all the room there is.
            row!(RotateTokenKey, "InUse", |ask| ask.retire = Some("e1".into())),
            apart(
                row!(
                    RotateTokenKey,
                    "AtCapacity",
                    |world| fill(world, |number| rotate(Some(key(&number.to_string(), KeyAlgorithm::Rs256)))),
                    |_ask| {}
                ),
                &[],
            ),
        ],
        DirectoryCommand::SetLimits(_) => vec![row!(SetLimits, "OutOfBounds", |ask| ask.requests_max = Some(1))],
        DirectoryCommand::RegisterSink(_) => vec![
            row!(RegisterSink, "OutOfBounds", |ask| ask.sink.clear()),
            row!(RegisterSink, "AtCapacity", |world| fill(world, |number| sink(&number.to_string())), |_ask| {}),
        ],
        DirectoryCommand::AcknowledgeEvents(_) => vec![
            row!(AcknowledgeEvents, "OutOfBounds", |ask| ask.sequence = 1_000_000),
            row!(AcknowledgeEvents, "NoSuchSink", |ask| ask.sink = "other".into()),
            row!(
                AcknowledgeEvents,
                "SinkLapsed",
                |world| world.state.journal.sinks.get_mut("broker").unwrap().is_lapsed = true,
                |_ask| {}
            ),
        ],
        DirectoryCommand::RetireNode(_) => vec![
            row!(RetireNode, "OutOfBounds", |ask| ask.state = NodeState::Removed),
            row!(RetireNode, "NoSuchNode", |ask| ask.node = NodeNumber(9)),
            // A node that is removed is not active.
            apart(
                row!(
                    RetireNode,
                    "AlreadyExists",
                    |world| run(world, node_state(3, NodeState::Removed)).unwrap(),
                    |ask| ask.node = NodeNumber(3)
                ),
                &["NoSuchNode"],
            ),
            row!(RetireNode, "VersionMismatch", |ask| ask.expected_version = Some(9)),
            row!(RetireNode, "TooFewNodes", |ask| ask.active_min = 9),
        ],
        DirectoryCommand::RemoveSink(_) => vec![row!(RemoveSink, "OutOfBounds", |ask| ask.sink = long(101))],
    }
}

/// Every command as it would be granted.
fn cases() -> Vec<DirectoryCase> {
    let (by, user, nothing) = (ADMIN, UserId(10), |_: &mut Directory| {});
    let showtime = ShowtimeId::new(GroupId(1), 1);
    let activate = DirectoryCommand::ActivateShowtime(ActivateShowtime { showtime, expected_version: Some(1) });
    let event = |event| EventId(event);
    let commands: Vec<(DirectoryCommand, Prepare)> = vec![
        (DirectoryCommand::Tick, nothing),
        (DirectoryCommand::SetGroups(SetGroups { expected_version: Some(2), count: 3 }), nothing),
        (DirectoryCommand::PutTokenKeys(PutTokenKeys { keys: vec![key("a", KeyAlgorithm::Rs256)] }), nothing),
        (organisation(), nothing),
        (create_venue(OrganisationId(1)), nothing),
        (create_event(OrganisationId(1), "Norma"), nothing),
        (
            DirectoryCommand::UpdateEvent(UpdateEvent {
                by,
                event: event(1),
                expected_version: Some(1),
                title: Some("Carmen".into()),
                description: None,
                category: None,
                city: None,
                performers: None,
            }),
            nothing,
        ),
        (DirectoryCommand::DeleteEvent(DeleteEvent { by, event: event(2), expected_version: Some(1) }), nothing),
        (schedule(1, 100, 1), nothing),
        (activate, nothing),
        (
            DirectoryCommand::ArchiveShowtime(ArchiveShowtime { showtime, expected_version: None }),
            |directory: &mut Directory| {
                let showtime = ShowtimeId::new(GroupId(1), 1);
                let activate = ActivateShowtime { showtime, expected_version: None };
                run(directory, DirectoryCommand::ActivateShowtime(activate)).unwrap();
            },
        ),
        (
            DirectoryCommand::UpdateOrganisation(UpdateOrganisation {
                by,
                organisation: OrganisationId(1),
                expected_version: Some(1),
                name: "House".into(),
            }),
            nothing,
        ),
        (update_venue(Some(new_map(5))), nothing),
        (self::user(12), nothing),
        (
            DirectoryCommand::UpdateUser(UpdateUser {
                user,
                expected_version: Some(1),
                email: None,
                password_hash: None,
                name: Some("Ann".into()),
                is_active: None,
            }),
            nothing,
        ),
        (
            DirectoryCommand::GrantRole(GrantRole {
                by,
                user,
                expected_version: None,
                organisation: None,
                role: Role::Admin,
            }),
            nothing,
        ),
        (DirectoryCommand::RevokeRole(RevokeRole { by, user, expected_version: Some(1), organisation: None }), nothing),
        (node(4), nothing),
        (node_state(2, NodeState::Draining), nothing),
        (place(1, &[1, 2]), nothing),
        (rotate(Some(key("r2", KeyAlgorithm::Rs256))), put_keys),
        (DirectoryCommand::SetLimits(SetLimits { requests_max: Some(5_000), ..SetLimits::default() }), nothing),
        (sink("archive"), nothing),
        (DirectoryCommand::AcknowledgeEvents(AcknowledgeEvents { sink: "broker".into(), sequence: 1 }), nothing),
        (DirectoryCommand::RemoveSink(RemoveSink { sink: "broker".into() }), nothing),
        (
            DirectoryCommand::RetireNode(RetireNode {
                node: NodeNumber(2),
                expected_version: Some(1),
                state: NodeState::Draining,
                active_min: 1,
            }),
            nothing,
        ),
    ];
    commands.into_iter().map(|(command, prepare)| Case { rows: rows(&command), command, prepare }).collect()
}

/// Every command with every reason to refuse it.
pub(crate) fn reasons() -> Vec<(String, String)> {
    crate::precedence::reasons(&cases())
}

#[test]
fn every_two_reasons_yield_the_one_listed_first() {
    let sink = RemoveSink { sink: "nobody".into() };
    let harmless = [DirectoryCommand::Tick, DirectoryCommand::RemoveSink(sink)];
    check(cases(), harmless, base, ask);
}

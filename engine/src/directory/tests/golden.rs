//! The bytes of version 1: what was written once must be read for ever.

use super::*;
use crate::golden::{self, command_line, row_line, rows_of};

const ROWS: &str = include_str!("../../../tests/fixtures/directory-rows-v1.txt");

/// Every command, in an order in which all are granted.
pub(in crate::directory) fn samples() -> Vec<DirectoryCommand> {
    let (by, organisation, venue, event) = (ADMIN, OrganisationId(1), VenueId(1), EventId(1));
    let user = UserId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let showtime = ShowtimeId::new(GroupId(1), 1);
    let text = || "some text".to_owned();
    let key = |kid: &str, algorithm| TokenKey { kid: kid.into(), algorithm, der: vec![1, 2], created_at: Timestamp(9) };
    let node = |node, address: &str| {
        DirectoryCommand::RegisterNode(RegisterNode {
            expected_version: None,
            node: NodeNumber(node),
            address: address.into(),
            incarnation: 0x0123_4567_89ab_cdef,
        })
    };
    let sink = |sink: &str| DirectoryCommand::RegisterSink(RegisterSink { sink: sink.into() });
    let larger = (*map()).clone().with_area("balcony", 5, "all").unwrap();
    vec![
        DirectoryCommand::Tick,
        DirectoryCommand::SetGroups(SetGroups { expected_version: Some(0), count: 2 }),
        DirectoryCommand::SetLimits(SetLimits { requests_max: Some(5_000), ..SetLimits::default() }),
        sink("broker"),
        sink("archive"),
        DirectoryCommand::PutTokenKeys(PutTokenKeys {
            keys: vec![key("r1", KeyAlgorithm::Rs256), key("e1", KeyAlgorithm::Ed25519)],
        }),
        DirectoryCommand::RotateTokenKey(RotateTokenKey {
            expected_version: Some(1),
            add: Some(key("e2", KeyAlgorithm::Ed25519)),
            retire: Some("e1".into()),
        }),
        DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: "Opera".into() }),
        DirectoryCommand::UpdateOrganisation(UpdateOrganisation {
            by,
            organisation,
            expected_version: Some(1),
            name: "Old opera".into(),
        }),
        create_venue(organisation),
        create_event(organisation, "Aida"),
        create_event(organisation, "Tosca"),
        DirectoryCommand::UpdateEvent(UpdateEvent {
            by,
            event,
            expected_version: Some(1),
            title: None,
            description: Some(text()),
            category: Some("opera".into()),
            city: None,
            performers: Some(vec!["Ann".into(), "Bob".into()]),
        }),
        DirectoryCommand::DeleteEvent(DeleteEvent { by, event: EventId(2), expected_version: None }),
        schedule(1, 12_345, 7),
        schedule(1, 100, 8),
        DirectoryCommand::ActivateShowtime(ActivateShowtime { expected_version: Some(1), showtime }),
        DirectoryCommand::ArchiveShowtime(ArchiveShowtime { expected_version: Some(2), showtime }),
        DirectoryCommand::UpdateVenue(UpdateVenue {
            by,
            venue,
            expected_version: Some(1),
            name: Some("Great hall".into()),
            city: None,
            country: None,
            map: Some(Arc::new(larger)),
        }),
        DirectoryCommand::CreateUser(CreateUser {
            user,
            email: "Ann@b.example".into(),
            password_hash: "salted".into(),
            name: "Ann".into(),
        }),
        DirectoryCommand::UpdateUser(UpdateUser {
            user,
            expected_version: Some(1),
            email: None,
            password_hash: Some("salted again".into()),
            name: None,
            is_active: Some(false),
        }),
        DirectoryCommand::GrantRole(GrantRole {
            expected_version: None,
            by,
            user,
            organisation: Some(organisation),
            role: Role::Staff,
        }),
        DirectoryCommand::GrantRole(GrantRole {
            expected_version: None,
            by,
            user,
            organisation: None,
            role: Role::Admin,
        }),
        DirectoryCommand::RevokeRole(RevokeRole { expected_version: None, by, user, organisation: None }),
        node(1, "a:1"),
        node(2, "b:1"),
        DirectoryCommand::SetNodeState(SetNodeState {
            expected_version: None,
            node: NodeNumber(2),
            state: NodeState::Draining,
        }),
        DirectoryCommand::SetPlacement(SetPlacement {
            group: GroupId(1),
            expected_version: Some(0),
            voters: vec![NodeNumber(1)],
        }),
        DirectoryCommand::AcknowledgeEvents(AcknowledgeEvents { sink: "broker".into(), sequence: 3 }),
        DirectoryCommand::RemoveSink(RemoveSink { sink: "archive".into() }),
        DirectoryCommand::RetireNode(RetireNode {
            expected_version: None,
            node: NodeNumber(2),
            state: NodeState::Draining,
            active_min: 3,
        }),
    ]
}

fn full() -> Directory {
    let mut directory = Directory::new(GroupId::DIRECTORY);
    for (command, at) in samples().into_iter().zip(1_u64..) {
        let envelope = Envelope { request: Some(RequestId(at.into())), command };
        let reply = directory.apply(Timestamp(at * 10), &[envelope]).remove(0);
        assert!(reply.result.is_ok(), "command {at}: {reply:?}");
    }
    directory.audit().unwrap();
    directory
}

#[test]
fn rows_are_written_as_version_1_was() {
    let directory = full();
    let tables: BTreeSet<u8> = directory.rows().iter().map(|row| row.key[0]).collect();
    let wanted = [0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x70, 0x71];
    assert_eq!(tables.into_iter().collect::<Vec<_>>(), wanted, "a table without a row is a table untested");
    golden::check("directory-rows-v1.txt", ROWS, &directory.rows().iter().map(row_line).collect::<Vec<_>>());
}

#[test]
fn rows_of_version_1_are_read() {
    let directory = Directory::load(GroupId::DIRECTORY, rows_of(ROWS).into_iter()).unwrap();
    directory.audit().unwrap();
    assert_eq!(directory.digest(), full().digest());
}

#[test]
fn commands_are_written_as_version_1_was() {
    let lines: Vec<String> = samples().into_iter().map(command_line).collect();
    golden::check_complete::<DirectoryCommand>("directory-commands-v1.txt", &lines);
    let fixture = include_str!("../../../tests/fixtures/directory-commands-v1.txt");
    golden::check("directory-commands-v1.txt", fixture, &lines);
}

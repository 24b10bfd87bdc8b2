//! The audit notices what it recounts: each part of a directory is bent once.

use super::golden::samples;
use super::*;

/// Something of everything: two showtimes of an event, a venue with an older layout, users with roles, placed nodes.
fn full() -> Directory {
    let mut directory = Directory::new(GroupId::DIRECTORY);
    let more = [
        DirectoryCommand::CreateOrganisation(CreateOrganisation { by: ADMIN, name: "Circus".into() }),
        create_event(OrganisationId(2), "Clowns"),
        create_venue(OrganisationId(2)),
    ];
    for command in samples().into_iter().chain(more) {
        directory.apply(Timestamp(1), &[Envelope { request: None, command }]).remove(0).result.unwrap();
    }
    directory
}

#[test]
fn what_is_named_exists_and_fits() {
    type Bend = fn(&mut Directory);
    const SHOWTIME: ShowtimeId = ShowtimeId::new(GroupId(1), 1);
    fn showtime(directory: &mut Directory) -> &mut ShowtimeRecord {
        directory.showtimes.get_mut(&SHOWTIME).unwrap()
    }
    fn user(directory: &mut Directory) -> &mut UserRecord {
        directory.users.values_mut().next().unwrap()
    }
    fn placement(directory: &mut Directory) -> &mut PlacementRecord {
        directory.placements.get_mut(&GroupId(1)).unwrap()
    }
    let bends: &[(&str, Bend)] = &[
        ("keys", |directory| directory.keys_version = 0),
        ("an organisation", |directory| drop(directory.organisations.remove(&OrganisationId(1)))),
        ("an organisation's id", |directory| {
            directory.organisations.get_mut(&OrganisationId(1)).unwrap().organisation = OrganisationId(2);
        }),
        ("an organisation that was never made", |directory| directory.counters.organisation = 1),
        ("a venue", |directory| drop(directory.venues.remove(&VenueId(1)))),
        ("a venue's version", |directory| directory.venues.get_mut(&VenueId(1)).unwrap().version = 1),
        ("an event", |directory| drop(directory.events.remove(&EventId(1)))),
        ("an event's version", |directory| directory.events.get_mut(&EventId(1)).unwrap().version = 0),
        ("an event that was never made", |directory| directory.counters.event = 2),
        ("a showtime's id", |directory| showtime(directory).showtime = ShowtimeId::new(GroupId(1), 2)),
        ("a showtime's version", |directory| showtime(directory).version = 2),
        ("a showtime that was never made", |directory| directory.counters.showtime = 1),
        ("a showtime's organisation", |directory| showtime(directory).organisation = OrganisationId(2)),
        ("the organisation of a showtime's event", |directory| {
            directory.events.get_mut(&EventId(1)).unwrap().organisation = OrganisationId(2);
        }),
        ("the organisation of a showtime's venue", |directory| {
            directory.venues.get_mut(&VenueId(1)).unwrap().organisation = OrganisationId(2);
        }),
        ("a showtime's event", |directory| showtime(directory).event = EventId(3)),
        ("a showtime's venue", |directory| showtime(directory).venue = VenueId(2)),
        ("no layout", |directory| showtime(directory).seat_map_version = 0),
        ("a layout to come", |directory| showtime(directory).seat_map_version = 3),
        ("an older layout is gone", |directory| directory.seat_maps.clear()),
        ("a layout too many", |directory| drop(directory.seat_maps.insert((VenueId(1), 2), map()))),
        ("a layout of no version", |directory| drop(directory.seat_maps.insert((VenueId(1), 0), map()))),
        ("groups", |directory| directory.group_count = 0),
        ("showtimes of a group", |directory| {
            let record = showtime(directory).clone();
            for number in 3..=crate::shard::GROUP_SHOWTIMES_MAX as u64 + 1 {
                let showtime = ShowtimeId::new(GroupId(1), number);
                directory.showtimes.insert(showtime, ShowtimeRecord { showtime, ..record.clone() });
                directory.counters.showtime = number;
            }
            // One more than there may be: the first two are in two groups.
            directory.audit().unwrap();
            let showtime = ShowtimeId::new(GroupId(1), 99);
            directory.showtimes.insert(showtime, ShowtimeRecord { showtime, ..record });
            directory.counters.showtime = 99;
        }),
        ("a user's version", |directory| user(directory).version = 0),
        ("a user's address", |directory| user(directory).email = "x@y.example".into()),
        ("a user who is not found", |directory| directory.users_by_email.clear()),
        ("a role in no organisation", |directory| {
            user(directory).roles.insert(Some(OrganisationId(9)), Role::Staff);
        }),
        ("a node", |directory| drop(directory.nodes.remove(&NodeNumber(1)))),
        ("a node's version", |directory| directory.nodes.get_mut(&NodeNumber(2)).unwrap().version = 0),
        ("a removed node", |directory| {
            directory.nodes.get_mut(&NodeNumber(1)).unwrap().state = NodeState::Removed;
        }),
        ("a placement's group", |directory| placement(directory).group = GroupId(2)),
        ("a placement's version", |directory| placement(directory).version = 0),
        ("a placement's voters", |directory| placement(directory).voters.push(NodeNumber(9))),
    ];
    let mut unseen = Vec::new();
    for (name, bend) in bends {
        let mut directory = full();
        directory.audit().unwrap();
        bend(&mut directory);
        if directory.audit().is_ok() {
            unseen.push(name);
        }
    }
    assert!(unseen.is_empty(), "bent, and the audit says nothing: {unseen:?}");
}

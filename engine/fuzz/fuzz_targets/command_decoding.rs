//! Any bytes that decode as commands, to a shard or to the directory, are answered and leave every invariant standing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use vestibule_engine::*;

/// That of the golden commands, of which the seeds are made.
const GROUP: GroupId = GroupId(7);

fn house() -> Arc<SeatMap> {
    let category = |name: &str| Category { name: name.into(), color: String::new() };
    let seat = |number: u32| Seat {
        number: number.to_string(),
        guid: number.to_string(),
        x: number as i32 * 500,
        y: 0,
        category: CategoryId((number % 2) as u16),
        flags: (number % 32) as u8,
    };
    let row = SeatRow { name: "A".into(), seats: (1..=20).map(seat).collect() };
    let section = Section { name: "S".into(), rows: vec![row] };
    let area = Area { name: "floor".into(), capacity: 10, category: CategoryId(1) };
    Arc::new(SeatMap::new("Fuzz".into(), vec![category("a"), category("b")], vec![section], vec![area]).expect("sound"))
}

/// A shard with one showtime on sale.
fn shard(method: Method) -> Shard {
    let sale = Sale { method, opens_at: Some(Timestamp(0)), waitlist: true, prevent_orphans: true, ..Sale::default() };
    let euro = Money { amount: 100, currency: Currency(*b"EUR") };
    let create = ShardCommand::CreateShowtime(CreateShowtime {
        showtime: ShowtimeId(7 << 48 | 1),
        organisation: OrganisationId(1),
        seat_map: house(),
        prices: vec![euro, euro],
        sale,
        draw_secret: [1; 32],
    });
    let mut shard = Shard::new(GROUP);
    shard.apply(Timestamp(0), &[Envelope { request: None, command: create }]);
    shard
}

/// A directory with an organisation, a venue and an event.
fn directory() -> Directory {
    let (by, organisation) = (UserId(1), OrganisationId(1));
    let venue = CreateVenue {
        by,
        organisation,
        name: "Hall".into(),
        city: String::new(),
        country: String::new(),
        map: house(),
    };
    let details = EventDetails { title: "Aida".into(), ..EventDetails::default() };
    let mut directory = Directory::new(GroupId::DIRECTORY);
    for command in [
        DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: "Opera".into() }),
        DirectoryCommand::CreateVenue(venue),
        DirectoryCommand::CreateEvent(CreateEvent { by, organisation, details }),
    ] {
        directory.apply(Timestamp(0), &[Envelope { request: None, command }]);
    }
    directory
}

/// Applies whatever decodes. Each command comes with its time, its length in two bytes, and as many bytes as that says.
fn play<M: StateMachine>(group: GroupId, mut machine: M, mut rest: &[u8]) {
    while let Some((head, tail)) = rest.split_at_checked(6) {
        let at = u32::from_le_bytes(head[..4].try_into().expect("four bytes"));
        let len = u16::from_le_bytes([head[4], head[5]]);
        let (bytes, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        if let Ok(envelope) = codec::decode::<Envelope<M::Command>>(bytes) {
            machine.apply(Timestamp(at.into()), &[envelope]);
            machine.audit().expect("every invariant stands");
        }
    }
    let loaded = M::load(group, machine.rows().into_iter()).expect("its own rows load");
    assert_eq!(loaded.rows(), machine.rows());
}

fuzz_target!(|data: &[u8]| {
    let Some((&machine, data)) = data.split_first() else { return };
    match machine % 4 {
        0 => play(GROUP, shard(Method::Passthrough), data),
        1 => play(GROUP, shard(Method::Fifo), data),
        2 => play(GROUP, shard(Method::Draw), data),
        _ => play(GroupId::DIRECTORY, directory(), data),
    }
});

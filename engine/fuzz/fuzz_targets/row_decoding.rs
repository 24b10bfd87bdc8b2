//! Any bytes as rows of either machine are loaded or refused, and what is loaded is audited without a panic.
//!
//! The rows are made of the bytes alone, or they are those of a machine with something of everything in it, some of them
//! bent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use vestibule_engine::*;

fn apply<M: StateMachine>(machine: &mut M, at: u64, commands: Vec<M::Command>) {
    for (command, number) in commands.into_iter().zip(u128::from(at) * 100..) {
        let reply = machine.apply(Timestamp(at), &[Envelope { request: Some(RequestId(number)), command }]).remove(0);
        reply.result.expect("what is asked for is there");
    }
}

fn house() -> Arc<SeatMap> {
    let seat = |number: u32| Seat {
        number: number.to_string(),
        guid: number.to_string(),
        x: number as i32 * 500,
        y: 0,
        category: CategoryId(0),
        flags: 0,
    };
    let row = SeatRow { name: "A".into(), seats: (1..=12).map(seat).collect() };
    let section = Section { name: "S".into(), rows: vec![row] };
    let area = Area { name: "floor".into(), capacity: 10, category: CategoryId(0) };
    let category = Category { name: "a".into(), color: String::new() };
    Arc::new(SeatMap::new("Fuzz".into(), vec![category], vec![section], vec![area]).expect("a sound map"))
}

/// A drawn line, holds, a paid order, a block, an entry of the waitlist, a sink.
static SHARD_ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let showtime = ShowtimeId(1 << 48 | 1);
    let euro = Money { amount: 100, currency: Currency(*b"EUR") };
    let (prequeue_at, opens_at) = (Some(Timestamp(0)), Some(Timestamp(100)));
    let sale = Sale { method: Method::Draw, prequeue_at, opens_at, waitlist: true, ..Sale::default() };
    let (organisation, prices, draw_secret) = (OrganisationId(1), vec![euro], [1; 32]);
    let create = CreateShowtime { showtime, organisation, seat_map: house(), prices, sale, draw_secret };
    let mut shard = Shard::new(GroupId(1));
    let join = |user| ShardCommand::JoinQueue(JoinQueue { showtime, user: UserId(user) });
    apply(&mut shard, 1, vec![ShardCommand::CreateShowtime(create)]);
    apply(&mut shard, 10, vec![join(1), join(2), join(3), join(4)]);
    let claim = |user: u64| {
        let (ticket, user) = (TicketNumber(user), UserId(user.into()));
        ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket })
    };
    apply(&mut shard, 200, vec![claim(1), claim(2), claim(3)]);
    let hold = |user: u64, choice| {
        let (ticket, user) = (Some(TicketNumber(user)), UserId(user.into()));
        ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket, channel: None, choice })
    };
    let block = BlockSeats {
        showtime,
        seats: vec![SeatId(10), SeatId(11)],
        reason: "camera".into(),
        channel: Some("press".into()),
    };
    let place = |hold: u64, user: u128| {
        let (hold, user) = (HoldId(1 << 48 | hold), UserId(user));
        ShardCommand::PlaceOrder(PlaceOrder { hold, user, email: "a@b.example".into() })
    };
    let amount = Money { amount: 200, ..euro };
    let order = OrderId(1 << 48 | 1);
    let pay = RecordPayment { order, payment: PaymentId(1), outcome: PaymentOutcome::Succeeded, amount };
    let waits = JoinWaitlist { showtime, user: UserId(9), quantity: 6, category: None, together: true };
    let commands = vec![
        ShardCommand::BlockSeats(block),
        hold(1, SeatChoice::Named(vec![SeatId(0), SeatId(1)])),
        hold(2, SeatChoice::Named((2..8).map(SeatId).collect())),
        hold(3, SeatChoice::Area { area: AreaId(0), quantity: 5 }),
        place(1, 1),
        place(3, 3),
        ShardCommand::RecordPayment(pay),
        ShardCommand::JoinWaitlist(waits),
        ShardCommand::RegisterSink(RegisterSink { sink: "broker".into() }),
    ];
    apply(&mut shard, 300, commands);
    shard.rows()
});

static DIRECTORY_ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let (by, organisation) = (UserId(1), OrganisationId(1));
    let (name, city, country) = ("Hall".into(), "Berlin".into(), "DE".into());
    let details = EventDetails { title: "Aida".into(), ..EventDetails::default() };
    let (user, email) = (UserId(2), "a@b.example".into());
    let (password_hash, address) = (String::new(), "127.0.0.1:1".into());
    let mut directory = Directory::new(GroupId::DIRECTORY);
    let commands = vec![
        DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: "Opera".into() }),
        DirectoryCommand::CreateVenue(CreateVenue { by, organisation, name, city, country, map: house() }),
        DirectoryCommand::CreateEvent(CreateEvent { by, organisation, details }),
        DirectoryCommand::CreateUser(CreateUser { user, email, password_hash, name: "Ann".into() }),
        DirectoryCommand::RegisterNode(RegisterNode {
            node: NodeNumber(1),
            expected_version: None,
            address,
            incarnation: 1,
        }),
    ];
    apply(&mut directory, 1, commands);
    directory.rows()
});

/// Rows as length of key, length of value (two bytes), key, value.
fn rows_of(mut rest: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some((head, tail)) = rest.split_at_checked(3) {
        let (key, tail) = tail.split_at(usize::from(head[0]).min(tail.len()));
        let (value, tail) = tail.split_at(usize::from(u16::from_le_bytes([head[1], head[2]])).min(tail.len()));
        rows.push(Row { key: key.to_vec(), value: value.to_vec() });
        rest = tail;
    }
    rows
}

/// The rows of a machine, bent five bytes a time: what, which row, where (two bytes), to what. Past its end a value is cut,
/// and a key grows by one number.
fn bent(rows: &[Row], data: &[u8]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    for &[what, row, low, high, byte] in data.as_chunks::<5>().0 {
        let mut row = usize::from(row) % rows.len();
        if what % 4 == 3 {
            // One more, like another but for its key.
            rows.push(rows[row].clone());
            row = rows.len() - 1;
        }
        let place = usize::from(u16::from_le_bytes([low, high]));
        let Row { key, value } = &mut rows[row];
        if what % 4 < 2 {
            let at = place % (value.len() + value.len() / 8 + 1);
            match value.get_mut(at) {
                Some(old) => *old = byte,
                None => value.truncate(usize::from(byte)),
            }
            continue;
        }
        let len = key.len();
        let at = place % (len + 2);
        match key.get_mut(at) {
            Some(old) => *old = byte,
            None if at == len => key.extend(u64::from(byte).to_be_bytes()),
            None => key.truncate(usize::from(byte)),
        }
    }
    // In order, as the storage gives them, so that it is the rows themselves that are looked at.
    rows.sort();
    rows.dedup_by(|one, other| one.key == other.key);
    rows
}

/// What stands the audit goes on working.
fn load<M: StateMachine>(group: GroupId, rows: Vec<Row>) {
    let Ok(mut machine) = M::load(group, rows.into_iter()) else { return };
    if machine.audit().is_ok() {
        let loaded = M::load(group, machine.rows().into_iter()).expect("its own rows load");
        assert_eq!(loaded.digest(), machine.digest());
        let at = machine.next_due().unwrap_or_default();
        machine.apply(at, &[Envelope { request: None, command: M::tick() }]);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => load::<Shard>(GroupId(1), rows_of(data)),
        1 => load::<Directory>(GroupId::DIRECTORY, rows_of(data)),
        2 => load::<Shard>(GroupId(1), bent(&SHARD_ROWS, data)),
        _ => load::<Directory>(GroupId::DIRECTORY, bent(&DIRECTORY_ROWS, data)),
    }
});

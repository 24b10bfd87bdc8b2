//! What is remembered and kept is bounded by bytes too, and so is what one command names.

use super::*;
use crate::shard::model::Model;

/// A machine, its model, and the time.
struct Pair {
    shard: Shard,
    model: Model,
}

impl Pair {
    /// A group that remembers 1,000 requests and keeps 1,000 events, with a showtime of 1,200 seats.
    fn new() -> Self {
        let seat = |n: usize| Seat {
            number: n.to_string(),
            guid: format!("g{n}"),
            x: n as i32,
            y: 0,
            category: CategoryId(0),
            flags: 0,
        };
        let row = SeatRow { name: "A".into(), seats: (0..1_200).map(seat).collect() };
        let category = Category { name: "all".into(), color: String::new() };
        let section = Section { name: "all".into(), rows: vec![row] };
        let seat_map = Arc::new(SeatMap::new("Row".into(), vec![category], vec![section], vec![]).unwrap());
        let mut pair = Self { shard: Shard::new(GROUP), model: Model::new(GROUP) };
        let sale = Sale {
            method: Method::Passthrough,
            opens_at: Some(Timestamp(0)),
            seats_per_hold_max: 100,
            seats_per_buyer_max: 100,
            ..Sale::default()
        };
        let (showtime, organisation, prices) = (showtime_id(), OrganisationId(1), vec![eur(1)]);
        pair.done(ShardCommand::CreateShowtime(CreateShowtime {
            showtime,
            organisation,
            seat_map,
            prices,
            sale,
            draw_secret: [1; 32],
        }));
        pair.done(ShardCommand::SetLimits(SetLimits {
            requests_max: Some(1_000),
            events_max: Some(1_000),
            ..SetLimits::default()
        }));
        pair
    }

    fn apply(&mut self, request: Option<u128>, command: ShardCommand) -> Reply {
        let envelope = Envelope { request: request.map(RequestId), command };
        let reply = self.shard.apply(Timestamp(1), std::slice::from_ref(&envelope)).remove(0);
        assert_eq!(reply, self.model.apply(Timestamp(1), &envelope));
        assert_eq!(self.shard.events(1, 1).err(), self.model.events(1).err());
        reply
    }

    fn done(&mut self, command: ShardCommand) {
        self.apply(None, command).result.unwrap();
    }

    fn restart(&mut self) {
        let loaded = Shard::load(GROUP, self.shard.rows().into_iter()).unwrap();
        assert_eq!(loaded.digest(), self.shard.digest());
        loaded.audit().unwrap();
        self.shard = loaded;
    }
}

fn block(seats: Vec<SeatId>) -> ShardCommand {
    ShardCommand::BlockSeats(BlockSeats { showtime: showtime_id(), seats, reason: "x".into(), channel: None })
}

fn first(count: u32) -> Vec<SeatId> {
    (0..count).map(SeatId).collect()
}

#[test]
fn replies_are_remembered_up_to_so_many_bytes() {
    let mut pair = Pair::new();
    for user in 0..5_u32 {
        let choice = SeatChoice::Named((user * 100..(user + 1) * 100).map(SeatId).collect());
        let (showtime, user) = (showtime_id(), UserId(user.into()));
        pair.done(ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket: None, channel: None, choice }));
    }
    let reply = pair.apply(Some(0), block(first(500)));
    let fit = 512_000 / (40 + codec::encode(&reply.result).len() as u128);
    assert!((300..500).contains(&fit), "{fit}");
    for request in 1..900 {
        if request % 301 == 0 {
            pair.restart();
        }
        assert!(!pair.apply(Some(request), block(first(500))).replayed);
    }
    for request in 900 - fit..900 {
        assert!(pair.apply(Some(request), block(first(500))).replayed, "{request} of 900, {fit} fit");
    }
    // This one is remembered anew, and so the oldest of those is not.
    assert!(!pair.apply(Some(899 - fit), block(first(500))).replayed);
    assert!(!pair.apply(Some(900 - fit), block(first(500))).replayed);
    assert!(pair.apply(Some(902 - fit), block(first(500))).replayed);
    pair.shard.audit().unwrap();
}

#[test]
fn events_are_kept_up_to_so_many_bytes() {
    let mut pair = Pair::new();
    pair.done(ShardCommand::RegisterSink(RegisterSink { sink: "broker".into() }));
    let mut dropped_at = Vec::new();
    for _ in 0..1_030 {
        let before = pair.shard.events(1, 1).err();
        if pair.shard.last_sequence().is_multiple_of(301) {
            pair.restart();
        }
        pair.done(block(first(500)));
        if pair.shard.events(1, 1).err() != before {
            dropped_at.push(pair.shard.last_sequence());
        }
    }
    // A block of 500 seats takes somewhat more than 1 kB: 512,000 bytes hold less than 500 of them, a page 256.
    assert_eq!(dropped_at.len(), 3, "{dropped_at:?}");
    assert!((480..500).contains(&dropped_at[0]), "{dropped_at:?}");
    assert!((250..=256).contains(&(dropped_at[2] - dropped_at[1])), "{dropped_at:?}");
    let record = pair.shard.events(pair.shard.last_sequence() - 3, 1).unwrap().remove(0);
    assert!((1_000..1_100).contains(&codec::encode(&record).len()));
    let acknowledge = AcknowledgeEvents { sink: "broker".into(), sequence: 600 };
    let lapsed = pair.apply(None, ShardCommand::AcknowledgeEvents(acknowledge)).result;
    assert_eq!(lapsed, Err(Refusal::SinkLapsed { oldest: 3 * 256 + 1 }));
    pair.restart();
}

#[test]
fn a_page_of_events_that_is_not_full_stays() {
    let mut pair = Pair::new();
    pair.done(ShardCommand::RegisterSink(RegisterSink { sink: "broker".into() }));
    // A block of 1,200 seats takes 3 kB: a page is beyond the bound when two thirds of it are written.
    while pair.shard.last_sequence() < 255 {
        pair.done(block(first(1_200)));
    }
    let acknowledge = AcknowledgeEvents { sink: "broker".into(), sequence: 255 };
    pair.done(ShardCommand::AcknowledgeEvents(acknowledge));
    assert_eq!(pair.shard.events(1, 1).unwrap().len(), 1);
    pair.restart();
    pair.done(block(first(1_200)));
    assert_eq!(pair.shard.events(1, 1), Err(257));
    let told = pair.shard.events(257, 9).unwrap().remove(0).event;
    assert_eq!(told, Event::SinkLapsed { sink: "broker".into(), acknowledged: 255 });
    pair.restart();
}

#[test]
fn one_command_names_so_many_seats() {
    let mut pair = Pair::new();
    for count in [0, 10_001] {
        let seats = vec![SeatId(0); count];
        let refused = Err(Refusal::out_of_bounds("seats", format!("{count} is not between 1 and 10000")));
        let unblock = UnblockSeats { showtime: showtime_id(), seats: seats.clone() };
        let apply = |shard: &mut Shard, command| {
            shard.apply(Timestamp(1), &[Envelope { request: None, command }]).remove(0).result
        };
        assert_eq!(apply(&mut pair.shard, block(seats)), refused);
        assert_eq!(apply(&mut pair.shard, ShardCommand::UnblockSeats(unblock)), refused);
    }
    pair.done(block(vec![SeatId(0); 10_000]));
}

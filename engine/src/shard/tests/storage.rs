//! Rows and batches.

use super::*;

/// A long script with a little of everything, as commands with their times.
fn mixed() -> Vec<(Timestamp, Envelope<ShardCommand>)> {
    let showtime = showtime_id();
    let mut commands = vec![(
        0,
        ShardCommand::CreateShowtime(CreateShowtime {
            showtime,
            organisation: OrganisationId(1),
            seat_map: small_house(),
            prices: vec![eur(5_000), eur(3_000), eur(1_000)],
            sale: Sale { opens_at: Some(Timestamp(0)), ..Sale::default() },
            draw_secret: [1; 32],
        }),
    )];
    for buyer in 1..=40 {
        let (user, ticket) = (UserId(buyer), TicketNumber(buyer as u64));
        let at = buyer as u64 * 50;
        commands.push((at, ShardCommand::JoinQueue(JoinQueue { showtime, user })));
        commands.push((at + 1_000, ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket })));
        let choice = SeatChoice::Named(vec![SeatId(buyer as u32 % 16)]);
        let hold = HoldSeats { showtime, user, ticket: Some(ticket), channel: None, choice };
        commands.push((at + 1_500, ShardCommand::HoldSeats(hold)));
    }
    commands.sort_by_key(|(at, _)| *at);
    let envelope = |(number, (at, command)): (usize, (u64, ShardCommand))| {
        (Timestamp(at), Envelope { request: Some(RequestId(number as u128)), command })
    };
    commands.into_iter().enumerate().map(envelope).collect()
}

#[test]
fn batches_cut_differently_give_the_same_state() {
    let script = mixed();
    let mut one_by_one = Shard::new(GROUP);
    let mut replies = Vec::new();
    for (at, envelope) in &script {
        replies.extend(one_by_one.apply(*at, std::slice::from_ref(envelope)));
    }
    let mut in_batches = Shard::new(GROUP);
    let mut batched = Vec::new();
    for batch in script.chunk_by(|a, b| a.0 == b.0) {
        let envelopes: Vec<_> = batch.iter().map(|(_, envelope)| envelope.clone()).collect();
        batched.extend(in_batches.apply(batch[0].0, &envelopes));
    }
    assert_eq!(replies, batched);
    assert_eq!(one_by_one.rows(), in_batches.rows());
    assert!(replies.iter().filter(|reply| matches!(reply.result, Ok(Outcome::Held { .. }))).count() > 10);
}

#[test]
fn rows_drained_now_and_then_add_up() {
    let mut shard = Shard::new(GROUP);
    let mut stored = DirtyRows::default();
    for (number, (at, envelope)) in mixed().iter().enumerate() {
        shard.apply(*at, std::slice::from_ref(envelope));
        if number % 7 == 0 {
            stored.merge(shard.drain_dirty());
        }
    }
    stored.merge(shard.drain_dirty());
    assert!(shard.drain_dirty().is_empty());
    let rows: Vec<Row> = stored.0.into_iter().filter_map(|(key, value)| Some(Row { key, value: value? })).collect();
    assert_eq!(rows, shard.rows());
}

#[test]
fn damaged_rows_are_found() {
    let mut shard = Shard::new(GROUP);
    for (at, envelope) in mixed() {
        shard.apply(at, &[envelope]);
    }
    let rows = shard.rows();
    assert!(Shard::load(GroupId(8), rows.clone().into_iter()).is_err(), "rows of another group");
    assert!(Shard::load(GROUP, rows.iter().rev().cloned()).is_err(), "rows out of order");
    for index in 0..rows.len() {
        let without = rows.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, row)| row.clone());
        assert!(Shard::load(GROUP, without).is_err(), "row {index} is missing: {:02x?}", rows[index].key);
        let mut cut = rows.clone();
        cut[index].value.pop();
        assert!(Shard::load(GROUP, cut.into_iter()).is_err(), "row {index} is cut");
        let mut versioned = rows.clone();
        versioned[index].value[0] = 9;
        assert!(Shard::load(GROUP, versioned.into_iter()).is_err(), "row {index} has another version");
    }
}

/// A table has keys of one form: what is there once for a showtime has no pages, and a page is one of a showtime's.
#[test]
fn keys_of_another_form_are_found() {
    let mut shard = Shard::new(GROUP);
    for (at, envelope) in mixed() {
        shard.apply(at, &[envelope]);
    }
    let mut sold = super::audits::sold().shard;
    sold.showtimes.get_mut(&showtime_id()).unwrap().set_offers_due(Some(Timestamp(1_010)));
    let mut tables = std::collections::BTreeSet::new();
    for rows in [shard.rows(), sold.rows()] {
        Shard::load(GROUP, rows.clone().into_iter()).unwrap();
        for row in &rows {
            tables.insert(row.key[0]);
            let longer = [0, 1, 7].map(|page: u64| [&row.key[..], &page.to_be_bytes()].concat());
            let shorter =
                [row.key[..row.key.len() - 1].to_vec(), row.key[..row.key.len().saturating_sub(8).max(1)].to_vec()];
            for key in longer.into_iter().chain(shorter).filter(|key| rows.iter().all(|other| other.key != *key)) {
                for keep in [true, false] {
                    // Beside the row that it was made of, or in its place.
                    let mut bent: Vec<Row> = rows.iter().filter(|other| keep || *other != row).cloned().collect();
                    bent.push(Row { key: key.clone(), value: row.value.clone() });
                    bent.sort();
                    assert!(Shard::load(GROUP, bent.into_iter()).is_err(), "{key:02x?}, made of {:02x?}", row.key);
                }
            }
        }
    }
    assert!(tables.len() == 17, "{tables:02x?}");
}

#[test]
fn a_flipped_bit_never_panics() {
    let mut shard = Shard::new(GROUP);
    for (at, envelope) in mixed() {
        shard.apply(at, &[envelope]);
    }
    let rows = shard.rows();
    for index in 0..rows.len() {
        for bit in (0..rows[index].value.len() * 8).step_by(97) {
            let mut flipped = rows.clone();
            flipped[index].value[bit / 8] ^= 1 << (bit % 8);
            // What loads all the same is found by the checksum that the storage keeps of each row.
            let _ = Shard::load(GROUP, flipped.into_iter());
        }
    }
}

#[test]
fn the_empty_machine_has_no_rows() {
    let mut shard = Shard::new(GROUP);
    assert!(shard.rows().is_empty() && shard.drain_dirty().is_empty());
    let loaded = Shard::load(GROUP, std::iter::empty()).unwrap();
    assert_eq!(loaded.digest(), shard.digest());
}

#[test]
fn the_event_chain_can_be_followed() {
    let mut shard = Shard::new(GROUP);
    for (at, envelope) in mixed() {
        shard.apply(at, &[envelope]);
    }
    let mut chain = [0; 32];
    for (record, sequence) in shard.events(1, usize::MAX).unwrap().iter().zip(1..) {
        assert_eq!(record.sequence, sequence);
        chain = record.link(&chain);
        assert_eq!(record.chain, chain);
    }
    let ShardAnswer::Showtime(Some(view)) = shard.query(&ShardQuery::Showtime(showtime_id())) else { panic!() };
    assert_eq!(view.chain, chain);
    assert_eq!(view.sequence, shard.last_sequence());
}

#[test]
fn events_are_kept_for_sinks_and_for_a_while_and_never_without_end() {
    let ask = |shard: &mut Shard, at: u64, command: ShardCommand| {
        let reply = shard.apply(Timestamp(at), &[Envelope { request: None, command }]).remove(0);
        shard.audit().unwrap();
        reply.result
    };
    let message = |number: u64| {
        let text = Some(number.to_string());
        ShardCommand::SetQueueMessage(SetQueueMessage { showtime: showtime_id(), text })
    };
    let mut shard = Shard::new(GROUP);
    for (at, envelope) in mixed().into_iter().take(1) {
        shard.apply(at, &[envelope]);
    }
    let limits = SetLimits { event_age_min: Some(Millis(10_000)), events_max: Some(4_096), ..SetLimits::default() };
    ask(&mut shard, 1, ShardCommand::SetLimits(limits)).unwrap();
    let sink = || "broker".to_owned();
    let acknowledge = |sequence| ShardCommand::AcknowledgeEvents(AcknowledgeEvents { sink: sink(), sequence });
    assert!(ask(&mut shard, 1, acknowledge(1)).is_err(), "an unknown sink");
    ask(&mut shard, 1, ShardCommand::RegisterSink(RegisterSink { sink: sink() })).unwrap();
    for number in 0..1_000 {
        ask(&mut shard, 2, message(number)).unwrap();
    }
    assert!(ask(&mut shard, 2, acknowledge(5_000)).is_err(), "events to come");
    // Old enough, and not acknowledged.
    ask(&mut shard, 20_000, ShardCommand::Tick).unwrap();
    assert_eq!(shard.events(1, 1).map(|events| events.len()), Ok(1));
    // Acknowledged in part: whole pages go.
    ask(&mut shard, 20_000, acknowledge(600)).unwrap();
    ask(&mut shard, 20_000, ShardCommand::Tick).unwrap();
    assert_eq!(shard.events(1, 1), Err(513));
    assert_eq!(shard.events(513, 2).map(|events| events.len()), Ok(2));
    let loaded = Shard::load(GROUP, shard.rows().into_iter()).unwrap();
    assert_eq!(loaded.events(1, 1), Err(513));
    // Acknowledged and young.
    ask(&mut shard, 20_001, message(1_000_000)).unwrap();
    ask(&mut shard, 20_001, acknowledge(1_000)).unwrap();
    for number in 0..300 {
        ask(&mut shard, 20_002, message(number)).unwrap();
    }
    assert_eq!(shard.events(769, 1).map(|events| events.len()), Ok(1));
    // A sink that never answers keeps no more than the bound.
    for number in 0..5_000 {
        shard.apply(Timestamp(20_003), &[Envelope { request: None, command: message(number) }]);
    }
    shard.audit().unwrap();
    let Err(oldest) = shard.events(1, 1) else { panic!() };
    assert!((3_800..=4_096).contains(&(shard.last_sequence() - oldest)));
    ask(&mut shard, 20_003, ShardCommand::RemoveSink(RemoveSink { sink: sink() })).unwrap();
    ask(&mut shard, 40_000, ShardCommand::Tick).unwrap();
    let Err(oldest) = shard.events(1, 1) else { panic!() };
    assert!(shard.last_sequence() - oldest < 256);
}

#[test]
fn rows_far_apart_load() {
    // An order may wait a week for its money, while a thousand holds a second come and go.
    let mut world = World::new();
    world.run("0s org sale passthrough payment=604800s");
    world.run("1s ann hold A1");
    world.run("1s ann order h1");
    for counter in [64 * 10_000_010, (1 << 48) - 2] {
        world.shard.counters.hold = counter;
        assert!(world.run("2s bob hold A2").starts_with('h'));
        let rows = world.shard.rows();
        let loaded = Shard::load(GROUP, rows.clone().into_iter()).unwrap();
        loaded.audit().unwrap();
        assert_eq!(loaded.rows(), rows);
        world.run(&format!("2s bob release h{}", counter + 1));
        world.shard.audit().unwrap();
    }
}

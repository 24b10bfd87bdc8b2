//! How fast the engine is on one core: commands applied (facts, chains, remembered requests and dirty rows included),
//! the best seats found, the draw, the line. What a mean does not tell (a 99th percentile, memory, ten million tickets) is
//! in `engine_footprint`.

use criterion::{BatchSize, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::draw::Shuffle;
use vestibule_engine::*;

/// That of the binary, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GROUP: GroupId = GroupId(1);
const SHOWTIME: ShowtimeId = ShowtimeId::new(GROUP, 1);

/// A house of `rows` rows of `across` seats, all of one category.
fn house(rows: usize, across: usize) -> Arc<SeatMap> {
    let seat = |row: usize, number: usize| Seat {
        number: number.to_string(),
        guid: format!("{row}-{number}"),
        x: number as i32 * 500,
        y: row as i32 * 900,
        category: CategoryId(0),
        flags: if number == across / 2 { SEAT_GAP_AFTER } else { 0 },
    };
    let row =
        |row: usize| SeatRow { name: row.to_string(), seats: (1..=across).map(|number| seat(row, number)).collect() };
    let section = Section { name: "Stalls".into(), rows: (1..=rows).map(row).collect() };
    let category = Category { name: "Stalls".into(), color: String::new() };
    Arc::new(SeatMap::new("Bench".into(), vec![category], vec![section], Vec::new()).expect("a sound plan"))
}

/// A shard with one showtime on sale.
fn shard(seat_map: Arc<SeatMap>, sale: Sale) -> Shard {
    let mut shard = Shard::new(GROUP);
    let command = ShardCommand::CreateShowtime(CreateShowtime {
        showtime: SHOWTIME,
        organisation: OrganisationId(1),
        seat_map,
        prices: vec![Money { amount: 5_000, currency: Currency(*b"EUR") }],
        sale,
        draw_secret: [7; 32],
    });
    apply(&mut shard, 1, vec![command]);
    shard.drain_dirty();
    shard
}

fn open_sale(method: Method) -> Sale {
    Sale { method, opens_at: Some(Timestamp(1)), seats_per_buyer_max: 10_000, ..Sale::default() }
}

fn apply(shard: &mut Shard, at: u64, commands: Vec<ShardCommand>) {
    let batch: Vec<_> = commands.into_iter().map(|command| Envelope { request: None, command }).collect();
    for reply in shard.apply(Timestamp(at), &batch) {
        reply.result.expect("the benchmark asks for what is there");
    }
}

fn hold(user: u64, seat: u32) -> ShardCommand {
    ShardCommand::HoldSeats(HoldSeats {
        showtime: SHOWTIME,
        user: UserId(user.into()),
        ticket: None,
        channel: None,
        choice: SeatChoice::Named(vec![SeatId(seat)]),
    })
}

fn envelope(request: u128, command: ShardCommand) -> Envelope<ShardCommand> {
    Envelope { request: Some(RequestId(request.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))), command }
}

/// Commands by the batch of 64, as they come out of the log; dirty rows are drained once at the end.
fn commands(criterion: &mut Criterion) {
    const COUNT: usize = 60_000;
    const BATCH: usize = 64;
    let map = house(600, 100);
    let mut group = criterion.benchmark_group("commands");
    group.throughput(Throughput::Elements(COUNT as u64)).sample_size(20);

    let holds: Vec<_> = (0..COUNT).map(|n| envelope(n as u128 + 1, hold(n as u64 + 1, n as u32))).collect();
    group.bench_function("hold", |bencher| {
        let setup = || shard(map.clone(), open_sale(Method::Passthrough));
        let routine = |mut shard: Shard| {
            for (batch, at) in holds.chunks(BATCH).zip(2..) {
                black_box(shard.apply(Timestamp(at), batch));
            }
            (shard.drain_dirty(), shard)
        };
        bencher.iter_batched(setup, routine, BatchSize::PerIteration);
    });

    // Hold, order, pay: three commands a seat.
    let buys: Vec<_> = (0..COUNT / 3)
        .flat_map(|n| {
            let (user, number) = (UserId(n as u128 + 1), n as u64 + 1);
            let order = OrderId::new(GROUP, number);
            let place = PlaceOrder { hold: HoldId::new(GROUP, number), user, email: "someone@example.org".into() };
            let amount = Money { amount: 5_000, currency: Currency(*b"EUR") };
            let outcome = PaymentOutcome::Succeeded;
            let pay = RecordPayment { order, payment: PaymentId(number), outcome, amount };
            [hold(number, n as u32), ShardCommand::PlaceOrder(place), ShardCommand::RecordPayment(pay)]
        })
        .zip(1..)
        .map(|(command, request)| envelope(request, command))
        .collect();
    group.bench_function("hold, order, pay", |bencher| {
        let setup = || shard(map.clone(), open_sale(Method::Passthrough));
        let routine = |mut shard: Shard| {
            for (batch, at) in buys.chunks(BATCH).zip(2..) {
                black_box(shard.apply(Timestamp(at), batch));
            }
            (shard.drain_dirty(), shard)
        };
        bencher.iter_batched(setup, routine, BatchSize::PerIteration);
    });

    let joins: Vec<_> = (0..COUNT)
        .map(|n| {
            let join = JoinQueue { showtime: SHOWTIME, user: UserId(n as u128 + 1) };
            envelope(n as u128 + 1, ShardCommand::JoinQueue(join))
        })
        .collect();
    group.bench_function("join", |bencher| {
        let setup = || shard(map.clone(), open_sale(Method::Fifo));
        let routine = |mut shard: Shard| {
            for (batch, at) in joins.chunks(BATCH).zip(2..) {
                black_box(shard.apply(Timestamp(at), batch));
            }
            (shard.drain_dirty(), shard)
        };
        bencher.iter_batched(setup, routine, BatchSize::PerIteration);
    });
    group.finish();
}

/// The best four of 60,000 seats, half of them sold at random.
fn best(criterion: &mut Criterion) {
    let mut shard = shard(house(600, 100), open_sale(Method::Passthrough));
    let mut state = 1_u64;
    let mut taken: Vec<u32> = (0..60_000)
        .filter(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 63 == 1
        })
        .collect();
    taken.dedup();
    for (batch, at) in taken.chunks(64).zip(2..) {
        apply(&mut shard, at, batch.iter().map(|&seat| hold(u64::from(seat) + 1, seat)).collect());
    }
    let wish =
        BestSeats { quantity: 4, category: None, section: None, accessible: false, companion: false, together: true };
    let command = ShardCommand::HoldSeats(HoldSeats {
        showtime: SHOWTIME,
        user: UserId(1 << 100),
        ticket: None,
        channel: None,
        choice: SeatChoice::Best(wish),
    });
    let mut next = taken.len() as u64;
    criterion.bench_function("best 4 of 60,000 half sold, held and released", |bencher| {
        bencher.iter(|| {
            next += 1;
            let release = ReleaseHold { hold: HoldId::new(GROUP, next), user: UserId(1 << 100) };
            apply(&mut shard, 2_000, vec![command.clone(), ShardCommand::ReleaseHold(release)]);
        });
    });
}

fn draw(criterion: &mut Criterion) {
    let shuffle = Shuffle::new([7; 32], 10_000_000);
    let mut index = 0;
    criterion.bench_function("place of one of 10,000,000", |bencher| {
        bencher.iter(|| {
            index = (index + 7_654_321) % 10_000_000;
            black_box(shuffle.position_of(index))
        });
    });
}

/// The best 100 of 200,000 seats, every second of them taken, through a channel: four steps fail before the last one finds.
fn scattered(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("best 100 of 200,000, every second taken");
    group.sample_size(10);
    for (name, is_carried) in [("no channel", None), ("no block carries it", Some(false)), ("a block does", Some(true))]
    {
        let mut shard = shard(house(2_000, 100), Sale { seats_per_hold_max: 100, ..open_sale(Method::Passthrough) });
        let block = |seats: Vec<SeatId>, channel: &str| {
            let (reason, channel) = ("kept".to_owned(), Some(channel.to_owned()));
            ShardCommand::BlockSeats(BlockSeats { showtime: SHOWTIME, seats, reason, channel })
        };
        let press: Vec<SeatId> = (0..200_000).step_by(2).map(SeatId).collect();
        apply(&mut shard, 2, press.chunks(10_000).map(|seats| block(seats.to_vec(), "press")).collect());
        if is_carried == Some(true) {
            apply(&mut shard, 3, vec![block((1..200_000).step_by(20).map(SeatId).collect(), "club")]);
        }
        let (category, section, accessible, companion, together) = (None, None, false, false, false);
        let wish = BestSeats { quantity: 100, category, section, accessible, companion, together };
        let command = ShardCommand::HoldSeats(HoldSeats {
            showtime: SHOWTIME,
            user: UserId(1),
            ticket: None,
            channel: is_carried.map(|_| "club".to_owned()),
            choice: SeatChoice::Best(wish),
        });
        let mut next = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                next += 1;
                let release = ReleaseHold { hold: HoldId::new(GROUP, next), user: UserId(1) };
                apply(&mut shard, 2_000, vec![command.clone(), ShardCommand::ReleaseHold(release)]);
            });
        });
    }
    group.finish();
}

/// Opening a draw of a million, and calling 100,000 of them at once: neither depends on how many there are.
fn line(criterion: &mut Criterion) {
    const ENTRANTS: u64 = 1_000_000;
    let update = |active_max: u32| {
        let patch = SalePatch { active_max: Some(active_max), ..SalePatch::default() };
        ShardCommand::UpdateSale(UpdateSale { showtime: SHOWTIME, patch })
    };
    let joined = || {
        let admission = Admission { rate_per_minute: 60_000_000, active_max: 1, ..Admission::default() };
        let (prequeue_at, opens_at) = (Some(Timestamp(0)), Some(Timestamp(1_000_000_000)));
        let sale = Sale { method: Method::Draw, prequeue_at, opens_at, admission, ..Sale::default() };
        let mut shard = shard(house(10, 10), sale);
        for first in (1..=ENTRANTS).step_by(1_000) {
            let join = |user: u64| ShardCommand::JoinQueue(JoinQueue { showtime: SHOWTIME, user: UserId(user.into()) });
            apply(&mut shard, 2, (first..first + 1_000).map(join).collect());
        }
        shard.drain_dirty();
        shard
    };
    let open = |shard: &mut Shard| {
        apply(shard, 1_999_999, vec![ShardCommand::OpenQueue(OpenQueue { showtime: SHOWTIME })]);
    };
    let mut group = criterion.benchmark_group("line");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(1));
    group.bench_function("a draw of 1,000,000 opened, the first called", |bencher| {
        let routine = |mut shard: Shard| {
            open(&mut shard);
            shard
        };
        bencher.iter_batched(joined, routine, BatchSize::PerIteration);
    });
    group.bench_function("room made, 99,999 called", |bencher| {
        let setup = || {
            let mut shard = joined();
            open(&mut shard);
            shard
        };
        let routine = |mut shard: Shard| {
            apply(&mut shard, 2_000_100, vec![update(100_000)]);
            shard
        };
        bencher.iter_batched(setup, routine, BatchSize::PerIteration);
    });
    group.finish();
}

/// Places that nobody stands at any more: 400,000 given up in a row, and 100,000 given up before the draw whose places are
/// not known when the line opens.
fn gaps(criterion: &mut Criterion) {
    let joined = |method: Method, count: u64, left: std::ops::Range<u64>, step: usize| {
        let admission = Admission { rate_per_minute: 60_000_000, active_max: 1, ..Admission::default() };
        let (prequeue_at, opens_at) = (Some(Timestamp(0)), Some(Timestamp(1_000_000_000)));
        let mut shard = shard(house(10, 10), Sale { method, prequeue_at, opens_at, admission, ..Sale::default() });
        let join = |user: u64| ShardCommand::JoinQueue(JoinQueue { showtime: SHOWTIME, user: UserId(user.into()) });
        let leave = |number: u64| {
            let (user, ticket) = (UserId(number.into()), TicketNumber(number));
            ShardCommand::LeaveQueue(LeaveQueue { showtime: SHOWTIME, user, ticket })
        };
        apply(&mut shard, 2, (1..=count).map(join).collect());
        apply(&mut shard, 2, left.step_by(step).map(leave).collect());
        shard.drain_dirty();
        shard
    };
    let open = || ShardCommand::OpenQueue(OpenQueue { showtime: SHOWTIME });
    let update = |active_max: u32| {
        let patch = SalePatch { active_max: Some(active_max), ..SalePatch::default() };
        ShardCommand::UpdateSale(UpdateSale { showtime: SHOWTIME, patch })
    };
    let mut group = criterion.benchmark_group("gaps");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(1));
    group.bench_function("one called behind 400,000 that were given up", |bencher| {
        let setup = || {
            let mut shard = joined(Method::Fifo, 400_010, 2..400_002, 1);
            apply(&mut shard, 3, vec![open()]);
            shard
        };
        let routine = |mut shard: Shard| {
            apply(&mut shard, 100, vec![update(2)]);
            shard
        };
        bencher.iter_batched(setup, routine, BatchSize::PerIteration);
    });
    group.bench_function("a step of a draw of which 100,000 of 200,000 left", |bencher| {
        let setup = || joined(Method::Draw, 200_000, 1..200_000, 2);
        let routine = |mut shard: Shard| {
            apply(&mut shard, 3, vec![update(100_000), open()]);
            shard
        };
        bencher.iter_batched(setup, routine, BatchSize::PerIteration);
    });
    group.finish();
}

/// A seat comes free and is held again, while 100,000 wait who cannot have it.
fn waitlist(criterion: &mut Criterion) {
    let sale = Sale { waitlist: true, ..open_sale(Method::Passthrough) };
    let mut shard = shard(house(10, 100), sale);
    apply(&mut shard, 2, (0..1_000).map(|seat| hold(u64::from(seat) + 1, seat)).collect());
    let join = |user: u64| {
        let (category, together) = (None, true);
        let user = UserId(u128::from(user) + 1_000_000);
        ShardCommand::JoinWaitlist(JoinWaitlist { showtime: SHOWTIME, user, quantity: 4, category, together })
    };
    apply(&mut shard, 2, (0..100_000).map(join).collect());
    let mut last = 1;
    let mut again = |shard: &mut Shard| {
        let release = ReleaseHold { hold: HoldId::new(GROUP, last), user: UserId(1) };
        last = last.max(1_000) + 1;
        // The seat is free for an instant, in which those who wait are asked.
        apply(shard, 2, vec![ShardCommand::ReleaseHold(release), hold(1, 0)]);
    };
    let mut group = criterion.benchmark_group("a seat free and held again, 100,000 wait");
    group.bench_function("for four together", |bencher| bencher.iter(|| again(&mut shard)));
    let patch = SalePatch { seats_per_hold_max: Some(1), ..SalePatch::default() };
    apply(&mut shard, 2, vec![ShardCommand::UpdateSale(UpdateSale { showtime: SHOWTIME, patch })]);
    group.bench_function("for more than one may hold now", |bencher| bencher.iter(|| again(&mut shard)));
    group.finish();
}

criterion_group!(benches, commands, best, scattered, draw, line, gaps, waitlist);
criterion_main!(benches);

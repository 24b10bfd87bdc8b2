//! Figures that a mean does not tell: commands a second by processor time, the 99th percentile of finding the best four
//! seats, and what 10,000,000 waiting buyers cost: memory a place, opening their draw, calling 100,000 of them at once.
//! Prints one line each; Linux only, for the resident set and the processor time.

use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_engine::*;

/// That of the binary, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GROUP: GroupId = GroupId(1);
const SHOWTIME: ShowtimeId = ShowtimeId::new(GROUP, 1);
const BUYERS: u64 = 10_000_000;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

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

fn ask(shard: &mut Shard, at: u64, commands: Vec<ShardCommand>) {
    let batch: Vec<_> = commands.into_iter().map(|command| Envelope { request: None, command }).collect();
    for reply in shard.apply(Timestamp(at), &batch) {
        reply.result.expect("the benchmark asks for what is there");
    }
}

fn create(seat_map: Arc<SeatMap>, sale: Sale) -> Shard {
    let mut shard = Shard::new(GROUP);
    let command = ShardCommand::CreateShowtime(CreateShowtime {
        showtime: SHOWTIME,
        organisation: OrganisationId(1),
        seat_map,
        prices: vec![Money { amount: 5_000, currency: Currency(*b"EUR") }],
        sale,
        draw_secret: [7; 32],
    });
    // Facts are dropped at once: this measures the line, not its history.
    let limits = SetLimits { event_age_min: Some(Millis(0)), ..SetLimits::default() };
    ask(&mut shard, 0, vec![command, ShardCommand::SetLimits(limits)]);
    shard
}

fn line() {
    let admission = Admission { rate_per_minute: 60_000_000, active_max: 100_000, ..Admission::default() };
    let (prequeue_at, opens_at) = (Some(Timestamp(0)), Some(Timestamp(1_000_000_000)));
    let sale = Sale { method: Method::Draw, prequeue_at, opens_at, admission, ..Sale::default() };
    let mut shard = create(house(10, 10), sale);
    let before = resident();
    let started = Instant::now();
    for batch in 0..BUYERS / 1_000 {
        let user =
            |n: u64| UserId(u128::from(batch * 1_000 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let joins = (0..1_000).map(|n| ShardCommand::JoinQueue(JoinQueue { showtime: SHOWTIME, user: user(n) }));
        ask(&mut shard, 1 + batch, joins.collect());
        // Rows are written now and then, as a checkpoint would.
        if batch % 100 == 99 {
            shard.drain_dirty();
        }
    }
    let joined = started.elapsed();
    shard.drain_dirty();
    println!("joined: {BUYERS} in {joined:?}, {:.0} ns each", joined.as_nanos() as f64 / BUYERS as f64);
    println!("memory: {:.1} bytes a place, all told", (resident() - before) as f64 / BUYERS as f64);

    // Opening and calling are told apart: between the two the room for the first burst is made.
    let update = |active_max: u32| {
        let patch = SalePatch { active_max: Some(active_max), ..SalePatch::default() };
        ShardCommand::UpdateSale(UpdateSale { showtime: SHOWTIME, patch })
    };
    let cursor = |shard: &Shard| match shard.query(&ShardQuery::Showtime(SHOWTIME)) {
        ShardAnswer::Showtime(Some(view)) => view.cursor,
        _ => 0,
    };
    ask(&mut shard, 1_999_998, vec![update(1)]);
    let started = (Instant::now(), on_processor());
    ask(&mut shard, 1_999_999, vec![ShardCommand::OpenQueue(OpenQueue { showtime: SHOWTIME })]);
    let opened = (started.0.elapsed(), on_processor() - started.1);
    assert_eq!(cursor(&shard), 1);
    println!("opened the draw of {BUYERS} and called 1: {:?}, {} ns on the processor", opened.0, opened.1);
    let started = (Instant::now(), on_processor());
    ask(&mut shard, 2_000_100, vec![update(100_000)]);
    let called = (started.0.elapsed(), on_processor() - started.1);
    assert_eq!(cursor(&shard), 100_000);
    println!("made room and called 99,999 at once: {:?}, {} ns on the processor", called.0, called.1);
    for step in 1..=3 {
        // All of them miss their claim, and the next 100,000 are called.
        let started = Instant::now();
        ask(&mut shard, 2_000_000 + step * 120_000, vec![ShardCommand::Tick]);
        println!("ended 100,000 claims and called 100,000: {:?}", started.elapsed());
    }
    let rows = Instant::now();
    let all = shard.rows();
    println!("rows: {} in {:?}", all.len(), rows.elapsed());
    drop(shard);
    let loading = Instant::now();
    let shard = Shard::load(GROUP, all.into_iter()).expect("its own rows");
    println!("loaded: {:?}, {} joined", loading.elapsed(), BUYERS);
    drop(shard);
}

fn best() {
    let sale = Sale {
        method: Method::Passthrough,
        opens_at: Some(Timestamp(0)),
        seats_per_buyer_max: 10_000,
        ..Sale::default()
    };
    let mut shard = create(house(600, 100), sale);
    let mut state = 1_u64;
    let mut coin = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state >> 63 == 1
    };
    let hold = |user: u64, choice: SeatChoice| {
        ShardCommand::HoldSeats(HoldSeats {
            showtime: SHOWTIME,
            user: UserId(user.into()),
            ticket: None,
            channel: None,
            choice,
        })
    };
    for seat in (0..60_000).filter(|_| coin()) {
        ask(&mut shard, 1, vec![hold(1 + u64::from(seat), SeatChoice::Named(vec![SeatId(seat)]))]);
    }
    // The near seats go one wish after the other, so the search reaches further and further.
    let mut times: Vec<Duration> = Vec::new();
    for user in 0..2_500 {
        let wish = BestSeats {
            quantity: 4,
            category: None,
            section: None,
            accessible: false,
            companion: false,
            together: true,
        };
        let envelope = Envelope { request: None, command: hold(100_000 + user, SeatChoice::Best(wish)) };
        let started = Instant::now();
        let reply = shard.apply(Timestamp(2), std::slice::from_ref(&envelope)).remove(0);
        times.push(started.elapsed());
        if reply.result.is_err() {
            break;
        }
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "best 4 of 60,000 half sold: p50 {:?}, p99 {:?}, max {:?} over {} wishes",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
}

/// Nanoseconds this thread has spent on a processor: what others run beside us does not count.
fn on_processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

fn commands() {
    const COUNT: u64 = 60_000;
    let map = house(600, 100);
    let kinds: [(&str, &dyn Fn(u64) -> ShardCommand); 2] = [
        ("hold", &|n| {
            let choice = SeatChoice::Named(vec![SeatId(n as u32)]);
            let (user, ticket, channel) = (UserId(u128::from(n) + 1), None, None);
            ShardCommand::HoldSeats(HoldSeats { showtime: SHOWTIME, user, ticket, channel, choice })
        }),
        ("hold, order, pay", &|n| {
            let (user, number) = (UserId(u128::from(n / 3) + 1), n / 3 + 1);
            match n % 3 {
                0 => {
                    let choice = SeatChoice::Named(vec![SeatId(n as u32 / 3)]);
                    ShardCommand::HoldSeats(HoldSeats { showtime: SHOWTIME, user, ticket: None, channel: None, choice })
                }
                1 => {
                    let email = "someone@example.org".to_owned();
                    ShardCommand::PlaceOrder(PlaceOrder { hold: HoldId::new(GROUP, number), user, email })
                }
                _ => ShardCommand::RecordPayment(RecordPayment {
                    order: OrderId::new(GROUP, number),
                    payment: PaymentId(number),
                    outcome: PaymentOutcome::Succeeded,
                    amount: Money { amount: 5_000, currency: Currency(*b"EUR") },
                }),
            }
        }),
    ];
    for (name, command) in kinds {
        let envelopes: Vec<_> = (0..COUNT)
            .map(|n| Envelope {
                request: Some(RequestId(u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))),
                command: command(n),
            })
            .collect();
        let mut fastest = u64::MAX;
        for _ in 0..10 {
            let sale = Sale { method: Method::Passthrough, opens_at: Some(Timestamp(0)), ..Sale::default() };
            let mut shard = create(map.clone(), sale);
            shard.drain_dirty();
            let started = on_processor();
            for (batch, at) in envelopes.chunks(64).zip(2..) {
                let replies = shard.apply(Timestamp(at), batch);
                assert!(replies.iter().all(|reply| reply.result.is_ok()));
            }
            let rows = shard.drain_dirty();
            fastest = fastest.min(on_processor() - started);
            drop(rows);
        }
        let each = fastest as f64 / COUNT as f64;
        println!("{name}: {each:.0} ns a command on the processor, {:.2} M/s", 1_000.0 / each);
    }
}

fn main() {
    commands();
    best();
    line();
}

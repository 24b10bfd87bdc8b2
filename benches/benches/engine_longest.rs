//! The longest single commands, by wall time: what much is waiting for, or what finds nothing, must not hold the group up.
//! `cargo bench -p vestibule-benches --bench engine_longest [-- waitlist | joins | wheelchair | requests]`; all of them without a
//! name. Prints one line each; a busy machine shows in the longest, so give it real-time priority (`chrt -f 1`).

use std::sync::Arc;
use std::time::{Duration, Instant};
use vestibule_engine::*;

/// That of the binary, so that what is measured is what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GROUP: GroupId = GroupId(1);
const SHOWTIME: ShowtimeId = ShowtimeId::new(GROUP, 1);
const CATEGORIES: u16 = 4;
const SEATS_A_ROW: u32 = 40;
const ROWS_A_SECTION: u32 = 75;
const SEATS: u32 = 60_000;
/// Seats that are blocked, or given free, by one command.
const SEATS_A_COMMAND: usize = 10_000;
const JOINS: u128 = 4_000_000;
const REQUESTS: u128 = 1_000_000;

/// Rows of 40 in sections of 75, the sections in a grid; the first seat of each row has `flags`.
fn house(seats: u32, flags: u8) -> Arc<SeatMap> {
    let seat = |section: u32, row: u32, number: u32| Seat {
        number: number.to_string(),
        guid: format!("{section}-{row}-{number}"),
        x: (number * 1_000 + 50_000 * (section % 5)) as i32,
        y: (row * 1_000 + 80_000 * (section / 5)) as i32,
        category: CategoryId(section as u16 % CATEGORIES),
        flags: if number == 1 { flags } else { 0 },
    };
    let row = |section: u32, row: u32| SeatRow {
        name: row.to_string(),
        seats: (1..=SEATS_A_ROW).map(|number| seat(section, row, number)).collect(),
    };
    let section = |section: u32| Section {
        name: format!("S{section}"),
        rows: (1..=ROWS_A_SECTION).map(|number| row(section, number)).collect(),
    };
    let sections = (0..seats.div_ceil(SEATS_A_ROW * ROWS_A_SECTION)).map(section).collect();
    let category = |number: u16| Category { name: format!("C{number}"), color: String::new() };
    let categories = (0..CATEGORIES).map(category).collect();
    Arc::new(SeatMap::new("Bench".into(), categories, sections, Vec::new()).expect("a sound plan"))
}

/// A sale to anybody, with a waitlist.
fn sale() -> Sale {
    Sale {
        method: Method::Passthrough,
        opens_at: Some(Timestamp(0)),
        waitlist: true,
        seats_per_hold_max: 100,
        seats_per_buyer_max: 100,
        ..Sale::default()
    }
}

struct Group {
    shard: Shard,
    now: Timestamp,
}

impl Group {
    fn new(seat_map: Arc<SeatMap>, sale: Sale) -> Self {
        let mut group = Self { shard: Shard::new(GROUP), now: Timestamp(1_000) };
        group.ask(ShardCommand::CreateShowtime(CreateShowtime {
            showtime: SHOWTIME,
            organisation: OrganisationId(1),
            seat_map,
            prices: vec![Money { amount: 5_000, currency: Currency(*b"EUR") }; usize::from(CATEGORIES)],
            sale,
            draw_secret: [7; 32],
        }));
        group
    }

    fn apply(&mut self, request: Option<RequestId>, command: ShardCommand) -> (Duration, Result<Outcome, Refusal>) {
        let begun = Instant::now();
        let reply = self.shard.apply(self.now, &[Envelope { request, command }]).remove(0);
        (begun.elapsed(), reply.result)
    }

    fn ask(&mut self, command: ShardCommand) -> Duration {
        let (took, result) = self.apply(None, command);
        result.expect("the benchmark asks for what is there");
        took
    }

    /// What is due within a second of log time of what was due before, step by step.
    fn work_off(&mut self) -> String {
        let mut steps = Vec::new();
        while let Some(due) = self.shard.next_due().filter(|due| due.0 <= self.now.0 + 1_000) {
            self.now = due;
            steps.push(self.ask(ShardCommand::Tick));
        }
        let mean = steps.iter().sum::<Duration>() / (steps.len() as u32).max(1);
        format!(
            "then {} steps, mean {mean:.2?}, longest {:.2?}",
            steps.len(),
            steps.iter().max().copied().unwrap_or_default()
        )
    }
}

/// Blocks seats, as many as a command takes at a time.
fn block(group: &mut Group, seats: impl Iterator<Item = u32>) {
    let seats: Vec<SeatId> = seats.map(SeatId).collect();
    for some in seats.chunks(SEATS_A_COMMAND) {
        let (seats, reason) = (some.to_vec(), "kept".to_owned());
        group.ask(ShardCommand::BlockSeats(BlockSeats { showtime: SHOWTIME, seats, reason, channel: None }));
    }
}

fn unblock(seats: impl Iterator<Item = u32>) -> ShardCommand {
    ShardCommand::UnblockSeats(UnblockSeats { showtime: SHOWTIME, seats: seats.map(SeatId).collect() })
}

/// A house of which nothing is free, and as many who wait as there are seats.
fn full_house(quantity: u32, is_by_category: bool) -> Group {
    let mut group = Group::new(house(SEATS, 0), sale());
    block(&mut group, 0..SEATS);
    for user in 1..=u128::from(SEATS) {
        let category = is_by_category.then(|| format!("C{}", user % u128::from(CATEGORIES)));
        let (user, together) = (UserId(user), false);
        group.ask(ShardCommand::JoinWaitlist(JoinWaitlist { showtime: SHOWTIME, user, quantity, category, together }));
    }
    group
}

fn waitlist() {
    let mut group = full_house(1, false);
    let took = group.ask(unblock(0..SEATS_A_COMMAND as u32));
    println!("{SEATS_A_COMMAND} seats come free, {SEATS} wait for one: {took:.2?}, {}", group.work_off());
    group.now.0 += 400_000;
    let took = group.ask(ShardCommand::Tick);
    println!("all those offers expire: {took:.2?}, {}", group.work_off());

    let mut group = full_house(2, true);
    let took = group.ask(unblock((0..SEATS_A_COMMAND as u32).map(|seat| 2 * seat)));
    println!("every other seat of {} comes free, two wanted: {took:.2?}, {}", 2 * SEATS_A_COMMAND, group.work_off());

    let mut group = full_house(1, false);
    let offers = |waitlist| {
        let patch = SalePatch { waitlist: Some(waitlist), ..SalePatch::default() };
        ShardCommand::UpdateSale(UpdateSale { showtime: SHOWTIME, patch })
    };
    group.ask(offers(false));
    for from in (0..SEATS).step_by(SEATS_A_COMMAND) {
        group.ask(unblock(from..from + SEATS_A_COMMAND as u32));
    }
    let took = group.ask(offers(true));
    println!("the waitlist begins, {SEATS} wait and all is free: {took:.2?}, {}", group.work_off());
}

fn joins() {
    let sale = Sale { method: Method::Draw, prequeue_at: Some(Timestamp(0)), opens_at: None, ..Sale::default() };
    let mut group = Group::new(house(3_000, 0), sale);
    let (mut all, mut longest) = (Duration::ZERO, (Duration::ZERO, 0));
    for number in 1..=JOINS {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let join = ShardCommand::JoinQueue(JoinQueue { showtime: SHOWTIME, user: UserId(id) });
        let (took, result) = group.apply(Some(RequestId(id)), join);
        result.expect("anybody may join");
        all += took;
        longest = longest.max((took, number));
        // Rows are written now and then, as a checkpoint would.
        if number % 100_000 == 0 {
            group.shard.drain_dirty();
        }
    }
    println!("{JOINS} join: mean {:.2?}, longest {:.2?}, number {}", all / JOINS as u32, longest.0, longest.1);
}

fn wheelchair() {
    let wish = |quantity| {
        let (accessible, together) = (true, false);
        let best = BestSeats { quantity, category: None, section: None, accessible, companion: false, together };
        let (user, choice) = (UserId(5), SeatChoice::Best(best));
        ShardCommand::HoldSeats(HoldSeats { showtime: SHOWTIME, user, ticket: None, channel: None, choice })
    };
    let cases = [
        ("half taken, no wheelchair space", SEATS, 0, true, 2),
        ("half taken, all wheelchair spaces taken", SEATS, SEAT_WHEELCHAIR, true, 2),
        ("all free, no wheelchair space", 198_000, 0, false, 100),
    ];
    for (what, seats, flags, is_half_taken, quantity) in cases {
        let mut group = Group::new(house(seats, flags), sale());
        if is_half_taken {
            block(&mut group, (0..seats).step_by(2));
        }
        // The first search is the one that nothing is remembered for.
        let (took, result) = group.apply(None, wish(quantity));
        assert!(matches!(result, Err(Refusal::NoSeatsFit)), "{result:?}");
        println!("best {quantity} of {seats} with a wheelchair space, {what}: {took:.2?}");
    }
}

fn requests() {
    let mut group = Group::new(house(3_000, 0), sale());
    for number in 1..=REQUESTS {
        group.apply(Some(RequestId(number)), ShardCommand::Tick).1.expect("a tick is never refused");
    }
    group.now.0 += 25 * 3_600_000;
    let took: Vec<Duration> = (0..600).map(|_| group.ask(ShardCommand::Tick)).collect();
    let longest = took.iter().max().copied().unwrap_or_default();
    println!("a tick 25 h after {REQUESTS} remembered requests: {:.2?}; longest of 600: {longest:.2?}", took[0]);
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let benches: [(&str, fn()); 4] =
        [("waitlist", waitlist), ("joins", joins), ("wheelchair", wheelchair), ("requests", requests)];
    let chosen: Vec<_> =
        benches.iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name)).collect();
    assert!(!chosen.is_empty(), "there is no {wanted:?}");
    chosen.into_iter().for_each(|(_, bench)| bench());
}

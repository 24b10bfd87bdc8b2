//! Random commands to machine and model; a failure shrinks to a short list.

use super::model::{Model, create, describe};
use super::{GROUP, eur, showtime_id};
use crate::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeMap;

/// How often each answer was given and each fact happened: a run that never saw something has not tested it.
type Tally = BTreeMap<String, u64>;

pub(super) type Step = (Timestamp, Envelope<ShardCommand>);

/// Draws small numbers.
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn sale(dice: &mut Dice) -> Sale {
    Sale {
        method: dice.pick(&[Method::Fifo, Method::Draw, Method::Passthrough]),
        prequeue_at: dice.pick(&[None, Some(Timestamp(0))]),
        opens_at: dice.pick(&[None, Some(Timestamp(0)), Some(Timestamp(5_000)), Some(Timestamp(20_000))]),
        closes_at: dice.pick(&[None, None, None, Some(Timestamp(300_000))]),
        admission: Admission {
            rate_per_minute: dice.pick(&[1, 60, 600, 6_000, 600_000]),
            active_max: dice.pick(&[1, 2, 5]),
            claim_ttl: Millis(dice.pick(&[1_000, 20_000])),
            session_ttl: Millis(dice.pick(&[5_000, 60_000])),
        },
        hold_ttl: Millis(dice.pick(&[2_000, 30_000])),
        hold_total_max: Millis(45_000),
        payment_ttl: Millis(dice.pick(&[3_000, 30_000])),
        seats_per_hold_max: dice.pick(&[2, 4, 8]),
        seats_per_buyer_max: dice.pick(&[4, 8, 16]),
        prevent_orphans: dice.one_in(2),
        waitlist: dice.one_in(2),
        ..Sale::default()
    }
}

/// A command that mostly makes sense to the model as it stands, and now and then does not.
fn command(dice: &mut Dice, model: &Model) -> ShardCommand {
    let showtime = showtime_id();
    let tickets = model.summary().1;
    // Live tickets are looked for first: those called or shopping are the ones that something can be done with.
    let mut user = UserId(u128::from(1 + dice.below(tickets + 3)));
    let mut ticket = TicketNumber(dice.below(tickets + 2));
    if !dice.one_in(8) {
        let views = model.ticket_views();
        let live: Vec<&TicketView> = views
            .iter()
            .filter(|view| matches!(view.state, TicketState::Called | TicketState::Shopping | TicketState::Waiting))
            .collect();
        if !live.is_empty() {
            let view = live[dice.below(live.len() as u64) as usize];
            (user, ticket) = (view.user, view.number);
        }
    }
    let (holds_made, orders_made) = model.counters();
    let mut hold = HoldId::new(GROUP, (holds_made + 2).saturating_sub(dice.below(6)));
    let mut hold_user = user;
    let holds = model.hold_views();
    if !holds.is_empty() && !dice.one_in(8) {
        let view = &holds[dice.below(holds.len() as u64) as usize];
        (hold, hold_user) = (view.hold, if dice.one_in(12) { user } else { view.user });
    }
    let mut order = OrderId::new(GROUP, (orders_made + 2).saturating_sub(dice.below(6)));
    let mut order_user = user;
    let (mut total, mut due, mut order_seats) = (eur(5_000), 1_000, vec![SeatId(dice.below(16) as u32)]);
    if orders_made > 0 && !dice.one_in(10) {
        // Mostly recent orders, sometimes one of long ago.
        let back = if dice.one_in(5) { dice.below(orders_made) } else { dice.below(orders_made.min(5)) };
        let view = &model.orders()[(orders_made - 1 - back) as usize];
        (order, order_user, total, due) = (view.order, view.user, view.total, view.refund_due.amount);
        if !view.places.seats.is_empty() {
            order_seats = vec![view.places.seats[dice.below(view.places.seats.len() as u64) as usize]];
        }
    }
    let seats = |dice: &mut Dice| (0..=dice.below(3)).map(|_| SeatId(dice.below(16) as u32)).collect::<Vec<_>>();
    let channel = |dice: &mut Dice| dice.one_in(3).then(|| "press".to_owned());
    let amount = |dice: &mut Dice| match dice.below(10) {
        0 => eur(dice.pick(&[0, 1_000, 3_000, 5_000, 8_000])),
        1 => Money { currency: Currency(*b"USD"), ..total },
        _ => total,
    };
    let outcome = |dice: &mut Dice| if dice.one_in(4) { PaymentOutcome::Failed } else { PaymentOutcome::Succeeded };
    match dice.below(46) {
        0..5 => ShardCommand::JoinQueue(JoinQueue { showtime, user }),
        5 => ShardCommand::LeaveQueue(LeaveQueue { showtime, user, ticket }),
        6..12 => ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket }),
        12..20 => {
            let choice = match dice.below(5) {
                0 => SeatChoice::Area { area: AreaId(0), quantity: 1 + dice.below(8) as u32 },
                2 => SeatChoice::Best(BestSeats {
                    quantity: 1 + dice.below(5) as u32,
                    category: dice.pick(&[None, None, Some("front"), Some("back")]).map(str::to_owned),
                    section: None,
                    accessible: false,
                    companion: false,
                    together: dice.one_in(2),
                }),
                1 if dice.one_in(10) => SeatChoice::Named(vec![SeatId(16)]),
                _ => SeatChoice::Named(seats(dice)),
            };
            let channel = channel(dice);
            ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket: Some(ticket), channel, choice })
        }
        20 => ShardCommand::ExtendHold(ExtendHold { hold, user: hold_user }),
        21 => ShardCommand::ReleaseHold(ReleaseHold { hold, user: hold_user }),
        22..26 => ShardCommand::PlaceOrder(PlaceOrder { hold, user: hold_user, email: "a@b.example".into() }),
        26 => ShardCommand::CancelOrder(CancelOrder { order, user: order_user }),
        27..32 => {
            let payment = PaymentId(dice.below(6));
            ShardCommand::RecordPayment(RecordPayment { order, payment, outcome: outcome(dice), amount: amount(dice) })
        }
        32 => {
            let seats = dice.one_in(2).then_some(order_seats);
            ShardCommand::RefundOrder(RefundOrder { order, seats, reason: "asked".into() })
        }
        33 => {
            let refund = PaymentId(5 + dice.below(6));
            let amount = |dice: &mut Dice| if dice.one_in(3) { amount(dice) } else { eur(due) };
            ShardCommand::RecordRefund(RecordRefund { order, refund, outcome: outcome(dice), amount: amount(dice) })
        }
        34 if dice.one_in(6) => {
            let seats = vec![SeatId(dice.below(16) as u32), SeatId(dice.below(16) as u32)];
            ShardCommand::BlockSeats(BlockSeats { showtime, seats, reason: "camera".into(), channel: channel(dice) })
        }
        35 if dice.one_in(4) => ShardCommand::UnblockSeats(UnblockSeats {
            showtime,
            seats: seats(dice).into_iter().map(|seat| SeatId(seat.0 % 16)).collect(),
        }),
        36 => match dice.below(40) {
            0 if dice.one_in(5) => ShardCommand::CloseQueue(CloseQueue { showtime }),
            1..10 => ShardCommand::PauseQueue(PauseQueue { showtime }),
            _ => ShardCommand::ResumeQueue(ResumeQueue { showtime }),
        },
        37 => ShardCommand::OpenQueue(OpenQueue { showtime }),
        38 => ShardCommand::UpdateSale(UpdateSale {
            showtime,
            patch: SalePatch {
                rate_per_minute: dice.one_in(2).then(|| dice.pick(&[0, 1, 60, 6_000])),
                active_max: dice.one_in(2).then(|| dice.pick(&[1, 3, 6])),
                ..SalePatch::default()
            },
        }),
        39..44 => ShardCommand::JoinWaitlist(JoinWaitlist {
            showtime,
            user,
            quantity: dice.below(4) as u32,
            category: dice.pick(&[None, None, Some("front"), Some("back"), Some("floor")]).map(str::to_owned),
            together: dice.one_in(2),
        }),
        44 => {
            let entries = model.entry_views();
            let mut entry = OfferId::new(GROUP, dice.below(20));
            if !entries.is_empty() {
                let view = &entries[dice.below(entries.len() as u64) as usize];
                (entry, user) = (view.entry, if dice.one_in(10) { user } else { view.user });
            }
            ShardCommand::LeaveWaitlist(LeaveWaitlist { entry, user })
        }
        _ => ShardCommand::Tick,
    }
}

fn masked(mut reply: Reply) -> Reply {
    if let Ok(Outcome::Queued { ticket, .. } | Outcome::Claimed { ticket, .. }) = &mut reply.result {
        ticket.eta_secs = None;
    }
    reply
}

/// A machine and a model side by side.
struct Pair {
    shard: Shard,
    model: Model,
    sequence: Sequence,
}

impl Pair {
    fn new(sale: &Sale) -> Self {
        let mut shard = Shard::new(GROUP);
        let envelope = Envelope { request: None, command: create(sale) };
        assert!(shard.apply(Timestamp(0), &[envelope])[0].result.is_ok());
        let mut model = Model::new(sale.clone());
        model.apply(Timestamp(0), &Envelope { request: None, command: ShardCommand::Tick });
        let sequence = shard.last_sequence();
        model.take_events();
        Self { shard, model, sequence }
    }

    fn step(&mut self, (at, envelope): &Step, tally: &mut Tally) -> Result<(), String> {
        let reply = masked(self.shard.apply(*at, std::slice::from_ref(envelope)).remove(0));
        let wanted = masked(self.model.apply(*at, envelope));
        let same = |what: &str, got: &dyn std::fmt::Debug, wanted: &dyn std::fmt::Debug| {
            let (got, wanted) = (format!("{got:?}"), format!("{wanted:?}"));
            if got == wanted { Ok(()) } else { Err(format!("{what}\n  machine {got}\n  model   {wanted}")) }
        };
        same("reply", &reply, &wanted)?;
        let name = match &reply.result {
            Ok(outcome) => format!("{outcome:?}"),
            Err(refusal) => format!("{refusal:?}"),
        };
        let name: String = name.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        *tally.entry(if reply.replayed { "replayed".into() } else { name }).or_insert(0) += 1;
        let records =
            self.shard.events(self.sequence + 1, usize::MAX).map_err(|oldest| format!("events from {oldest}"))?;
        self.sequence = self.shard.last_sequence();
        let events: Vec<Event> = records.into_iter().map(|record| record.event).collect();
        for event in &events {
            *tally.entry(event.kind().to_owned()).or_insert(0) += 1;
        }
        same("facts", &events, &self.model.take_events())?;
        self.shard.audit_showtimes()?;
        same("due", &self.shard.next_due(), &self.model.next_due())
    }

    /// Everything that can be asked.
    fn compare_state(&self) -> Result<(), String> {
        let same = |what: &str, got: &dyn std::fmt::Debug, wanted: &dyn std::fmt::Debug| {
            let (got, wanted) = (format!("{got:?}"), format!("{wanted:?}"));
            if got == wanted { Ok(()) } else { Err(format!("{what}\n  machine {got}\n  model   {wanted}")) }
        };
        let ShardAnswer::Seats(Some(seats)) = self.shard.query(&ShardQuery::Seats(showtime_id())) else { panic!() };
        let wanted: Vec<u8> = (0..16).map(|seat| self.model.seat_state(SeatId(seat)) as u8).collect();
        same("seats", &seats.states, &wanted)?;
        same("areas", &seats.areas, &vec![self.model.area()])?;
        for mut wanted in self.model.ticket_views() {
            let query = ShardQuery::Ticket { showtime: showtime_id(), number: wanted.number };
            let ShardAnswer::Ticket(Some(view)) = self.shard.query(&query) else { panic!() };
            wanted.eta_secs = view.eta_secs;
            same("ticket", &view, &wanted)?;
        }
        for wanted in self.model.orders() {
            let ShardAnswer::Order(Some(view)) = self.shard.query(&ShardQuery::Order(wanted.order)) else { panic!() };
            same("order", &*view, wanted)?;
        }
        for wanted in self.model.hold_views() {
            let answer = self.shard.query(&ShardQuery::Hold(wanted.hold));
            same("hold", &answer, &ShardAnswer::Hold(HoldAnswer::Live(Box::new(wanted))))?;
        }
        for wanted in self.model.entry_views() {
            let answer = self.shard.query(&ShardQuery::Waitlist(wanted.entry));
            same("entry", &answer, &ShardAnswer::Waitlist(Some(wanted)))?;
        }
        let ShardAnswer::Showtime(Some(view)) = self.shard.query(&ShardQuery::Showtime(showtime_id())) else {
            panic!()
        };
        same("line", &(view.state, view.joined, view.entrants, view.cursor, view.active), &self.model.summary())
    }

    /// Goes on with a machine rebuilt from its rows.
    fn restart(&mut self) -> Result<(), String> {
        self.shard.audit()?;
        let rows = self.shard.rows();
        let loaded = Shard::load(GROUP, rows.into_iter()).map_err(|error| error.to_string())?;
        if loaded.rows() != self.shard.rows() {
            return Err("the rebuilt machine is another".into());
        }
        self.shard = loaded;
        Ok(())
    }
}

/// Plays a list; the index of the first step that goes wrong.
fn play(sale: &Sale, steps: &[Step]) -> Result<(), (usize, String)> {
    let mut pair = Pair::new(sale);
    for (index, step) in steps.iter().enumerate() {
        let failed = |reason| (index, reason);
        pair.step(step, &mut Tally::new()).map_err(failed)?;
        if index % 16 == 0 || index + 1 == steps.len() {
            pair.compare_state().map_err(failed)?;
        }
        if index % 97 == 96 {
            pair.restart().map_err(failed)?;
        }
    }
    Ok(())
}

/// Leaves steps out as long as it still goes wrong.
fn shrink(sale: &Sale, mut steps: Vec<Step>) -> (Vec<Step>, String) {
    let mut reason = String::new();
    if let Err((index, why)) = play(sale, &steps) {
        steps.truncate(index + 1);
        reason = why;
    }
    let mut chunk = steps.len().div_ceil(2);
    loop {
        let mut from = 0;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + chunk).min(steps.len()));
            match play(sale, &fewer) {
                Err((index, why)) => {
                    fewer.truncate(index + 1);
                    (steps, reason) = (fewer, why);
                }
                Ok(()) => from += chunk,
            }
        }
        if chunk == 1 {
            return (steps, reason);
        }
        chunk = chunk.div_ceil(2);
    }
}

/// The step that comes after those before it.
fn next_step(dice: &mut Dice, model: &Model, at: &mut u64, is_scarce: bool, steps: &[Step]) -> Step {
    *at += match dice.below(10) {
        0..5 => 0,
        5..8 => dice.below(200),
        8 => dice.below(2_000),
        _ => dice.below(30_000) * u64::from(dice.one_in(8)),
    };
    let fresh = Envelope {
        request: dice.one_in(2).then(|| RequestId(u128::from(dice.below(1 << 40)))),
        command: match steps.len() {
            // Where seats are few, orphans, waitlists and splits come up.
            0 if is_scarce => ShardCommand::BlockSeats(BlockSeats {
                showtime: showtime_id(),
                seats: (0..12).map(|_| SeatId(dice.below(16) as u32)).collect(),
                reason: "scarce".into(),
                channel: None,
            }),
            _ => command(dice, model),
        },
    };
    // Sometimes a request comes again, now and then with another body.
    let envelope = match dice.below(20) {
        0 if !steps.is_empty() => steps[dice.below(steps.len() as u64) as usize].1.clone(),
        1 if !steps.is_empty() && dice.one_in(5) => {
            Envelope { request: steps[dice.below(steps.len() as u64) as usize].1.request, ..fresh }
        }
        _ => fresh,
    };
    // A clock behind must not matter.
    let stamped = if dice.one_in(50) { *at / 2 } else { *at };
    (Timestamp(stamped), envelope)
}

/// A log of random commands from one seed, with the creation of its showtime in front.
pub(super) fn log(seed: u64, count: usize) -> Vec<Step> {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let sale = sale(&mut dice);
    let mut model = Model::new(sale.clone());
    model.apply(Timestamp(0), &Envelope { request: None, command: ShardCommand::Tick });
    let mut steps = Vec::new();
    let mut at = 0;
    let is_scarce = dice.one_in(2);
    for _ in 0..count {
        let step = next_step(&mut dice, &model, &mut at, is_scarce, &steps);
        model.apply(step.0, &step.1);
        steps.push(step);
    }
    steps.insert(0, (Timestamp(0), Envelope { request: None, command: create(&sale) }));
    steps
}

/// Plays random commands from one seed; a failure panics with its shortest list.
fn run(seed: u64, count: usize, tally: &mut Tally) {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let sale = sale(&mut dice);
    let mut pair = Pair::new(&sale);
    let mut steps: Vec<Step> = Vec::new();
    let mut at = 0;
    let is_scarce = dice.one_in(2);
    for index in 0..count {
        let step = next_step(&mut dice, &pair.model, &mut at, is_scarce, &steps);
        steps.push(step);
        let result =
            pair.step(&steps[index], tally).and_then(|()| if index % 16 == 0 { pair.compare_state() } else { Ok(()) });
        let result = result.and_then(|()| if index % 97 == 96 { pair.restart() } else { Ok(()) });
        if let Err(reason) = result {
            let (steps, shrunk) = shrink(&sale, steps);
            let reason = if shrunk.is_empty() { reason } else { shrunk };
            let list: Vec<String> = steps.iter().map(|(at, envelope)| describe(*at, envelope)).collect();
            panic!("seed {seed}: {reason}\n{sale:?}\n{}", list.join("\n"));
        }
    }
}

/// A quarter of the seeds; the quarters run side by side. Together they play a million commands.
fn quarter(number: u64) {
    let mut tally = Tally::new();
    for seed in (number..2_000).step_by(4) {
        run(seed, 500, &mut tally);
    }
    // A run in which something hardly happened has not tested it.
    for name in [
        "AreaFull",
        "BuyerLimit",
        "Claimed",
        "HoldGone",
        "HoldHasOrder",
        "LeavesOrphan",
        "NoSeatsFit",
        "NotAdmitted",
        "NotCalledYet",
        "PaymentIdReused",
        "PaymentKnown",
        "RequestIdReused",
        "SeatsUnavailable",
        "TicketOver",
        "TooManySeats",
        "WrongOrderState",
        "WrongQueueState",
        "inventory.hold.expired",
        "inventory.hold.extended",
        "inventory.seats.purchased",
        "inventory.seats.released",
        "orders.canceled",
        "orders.expired",
        "payments.refund.due",
        "payments.refunded",
        "queue.done",
        "queue.draw.published",
        "queue.expired",
        "queue.left",
        "queue.unclaimed",
        "replayed",
        "waitlist.accepted",
        "waitlist.expired",
        "waitlist.left",
        "waitlist.offered",
    ] {
        assert!(tally.get(name).is_some_and(|&count| count >= 5), "{name} hardly happened: {tally:?}");
    }
}

#[test]
fn machine_and_model_agree_1() {
    quarter(0);
}

#[test]
fn machine_and_model_agree_2() {
    quarter(1);
}

#[test]
fn machine_and_model_agree_3() {
    quarter(2);
}

#[test]
fn machine_and_model_agree_4() {
    quarter(3);
}

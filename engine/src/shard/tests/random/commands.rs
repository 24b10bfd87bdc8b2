//! Random commands that mostly make sense to the model as it stands, and now and then do not.

use super::kinds::CommandKind;
use crate::dice::Dice;
use crate::shard::model::{At, Model, ModelTicket};
use crate::shard::tests::{GROUP, eur, small_house};
use crate::*;
use std::sync::{Arc, LazyLock};

/// Three sections, aisles, spaces for wheelchairs with companion seats beside them, rows of mixed categories, two areas.
static MIXED_HOUSE: LazyLock<Arc<SeatMap>> = LazyLock::new(|| {
    let (wheelchair, companion, gap) = (SEAT_WHEELCHAIR, SEAT_COMPANION, SEAT_GAP_AFTER);
    let row = |name: &str, x: i32, y: i32, seats: &[(u16, u8)]| SeatRow {
        name: name.into(),
        seats: (seats.iter().zip(1..))
            .map(|(&(category, flags), number)| Seat {
                number: number.to_string(),
                guid: format!("{name}{number}"),
                x: x + number * 600,
                y,
                category: CategoryId(category),
                flags,
            })
            .collect(),
    };
    let rows = vec![
        row("A", 0, 0, &[(0, wheelchair), (0, companion), (0, gap), (0, 0), (1, 0)]),
        row("B", 0, 900, &[(1, 0), (1, 0), (1, 0), (1, companion), (1, wheelchair)]),
    ];
    let stalls = Section { name: "Stalls".into(), rows };
    let side = Section { name: "Side".into(), rows: vec![row("C", 4_000, 300, &[(1, 0), (0, 0)])] };
    let tier = Section { name: "Tier".into(), rows: vec![row("D", 300, 2_500, &[(1, 0), (1, gap), (1, 0), (1, 0)])] };
    let category = |name: &str| Category { name: name.into(), color: String::new() };
    let categories = vec![category("front"), category("back"), category("floor")];
    let area = |name: &str, capacity, category| Area { name: name.into(), capacity, category: CategoryId(category) };
    let areas = vec![area("gallery", 3, 1), area("floor", 5, 2)];
    Arc::new(SeatMap::new("Mixed".into(), categories, vec![stalls, side, tier], areas).unwrap())
});

static SMALL_HOUSE: LazyLock<Arc<SeatMap>> = LazyLock::new(small_house);

fn beacon(dice: &mut Dice) -> Option<BeaconPlan> {
    dice.one_in(4).then(|| BeaconPlan { source: "drand".into(), round: 7 + dice.below(2) })
}

fn sale(dice: &mut Dice) -> Sale {
    Sale {
        method: match dice.below(20) {
            0 => Method::Reject,
            1..7 => Method::Fifo,
            7..13 => Method::Draw,
            _ => Method::Passthrough,
        },
        prequeue_at: dice.pick(&[None, Some(Timestamp(0))]),
        opens_at: match dice.below(10) {
            0 => None,
            1 => Some(Timestamp(2_000)),
            2 | 3 => Some(Timestamp(300)),
            _ => Some(Timestamp(0)),
        },
        closes_at: dice.pick(&[None, None, None, None, Some(Timestamp(100_000))]),
        admission: Admission {
            rate_per_minute: dice.pick(&[1, 60, 600, 6_000, 6_000, 600_000, 600_000]),
            active_max: dice.pick(&[1, 2, 5]),
            claim_ttl: Millis(dice.pick(&[1_000, 20_000])),
            session_ttl: Millis(dice.pick(&[5_000, 60_000])),
        },
        hold_ttl: Millis(dice.pick(&[2_000, 30_000])),
        hold_total_max: Millis(dice.pick(&[30_000, 45_000])),
        payment_ttl: Millis(dice.pick(&[3_000, 30_000])),
        seats_per_hold_max: dice.pick(&[2, 4, 8]),
        seats_per_buyer_max: dice.pick(&[4, 8, 16]),
        prevent_orphans: dice.one_in(2),
        waitlist: !dice.one_in(3),
        beacon: beacon(dice),
    }
}

/// A change to any part of the settings, each part one time in a few.
fn patch(dice: &mut Dice, now: Timestamp) -> SalePatch {
    fn maybe<T>(dice: &mut Dice, value: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        dice.one_in(6).then(|| value(dice))
    }
    let time = |dice: &mut Dice| {
        let soon = Timestamp(now.0 + dice.below(3_000));
        dice.pick(&[None, Some(Timestamp(0)), Some(soon), Some(soon)])
    };
    SalePatch {
        method: maybe(dice, |dice| dice.pick(&[Method::Draw, Method::Fifo, Method::Passthrough, Method::Reject])),
        prequeue_at: maybe(dice, time),
        opens_at: maybe(dice, time),
        closes_at: maybe(dice, |dice| time(dice).map(|at| at + Millis(20_000))),
        rate_per_minute: maybe(dice, |dice| dice.pick(&[0, 1, 60, 6_000])),
        active_max: maybe(dice, |dice| dice.pick(&[1, 3, 6])),
        claim_ttl: maybe(dice, |dice| Millis(dice.pick(&[1_000, 10_000]))),
        session_ttl: maybe(dice, |dice| Millis(dice.pick(&[4_000, 50_000]))),
        hold_ttl: maybe(dice, |dice| Millis(dice.pick(&[500, 1_000, 20_000, 29_000]))),
        hold_total_max: maybe(dice, |dice| Millis(dice.pick(&[30_000, 60_000]))),
        payment_ttl: maybe(dice, |dice| Millis(dice.pick(&[1_000, 20_000]))),
        seats_per_hold_max: maybe(dice, |dice| dice.pick(&[1, 3, 6])),
        seats_per_buyer_max: maybe(dice, |dice| dice.pick(&[2, 6, 12])),
        prevent_orphans: maybe(dice, |dice| dice.one_in(2)),
        waitlist: maybe(dice, |dice| dice.one_in(2)),
        beacon: maybe(dice, beacon),
    }
}

/// The creation of one of the showtimes: mostly as it should be.
pub(super) fn create(dice: &mut Dice, number: u64) -> CreateShowtime {
    CreateShowtime {
        showtime: ShowtimeId::new(GROUP, number),
        organisation: OrganisationId(1),
        seat_map: dice.pick(&[SMALL_HOUSE.clone(), MIXED_HOUSE.clone()]),
        // Something is free in one of them.
        prices: vec![eur(5_000), eur(3_000), eur(if number == 2 { 0 } else { 1_000 })],
        sale: sale(dice),
        draw_secret: [number as u8; 32],
    }
}

/// How often each kind is drawn.
fn weight(kind: CommandKind) -> u64 {
    use CommandKind::*;
    match kind {
        HoldSeats => 160,
        JoinQueue | ClaimAdmission | RecordPayment => 90,
        PlaceOrder | JoinWaitlist => 70,
        Tick => 30,
        ExtendHold | ReleaseHold | CancelOrder | RefundOrder | RecordRefund | UnblockSeats => 20,
        LeaveQueue | OpenQueue | ResumeQueue | UpdateSale | AcknowledgeEvents => 14,
        BlockSeats | PauseQueue | RecordBeacon => 10,
        SetQueueMessage | CreateShowtime | SetLimits | RegisterSink | RemoveSink | LeaveWaitlist => 6,
        CloseQueue => 2,
    }
}

fn any_kind(dice: &mut Dice) -> CommandKind {
    let all: u64 = CommandKind::ALL.iter().map(|&kind| weight(kind)).sum();
    let mut drawn = dice.below(all);
    for &kind in CommandKind::ALL {
        match drawn.checked_sub(weight(kind)) {
            Some(rest) => drawn = rest,
            None => return kind,
        }
    }
    unreachable!("what was drawn is below the sum of the weights")
}

/// Whether there is anything that a command of this kind could do.
fn may_matter(kind: CommandKind, model: &Model, showtime: ShowtimeId) -> bool {
    use CommandKind::*;
    let Some(show) = model.shows.get(&showtime) else { return false };
    let has = |wanted: &dyn Fn(&At) -> bool| show.tickets.iter().any(|ticket| wanted(&ticket.at));
    let is_shopping = has(&|at| matches!(at, At::Shopping(_)));
    let order = |state: OrderState| model.orders.iter().any(|order| order.state == state);
    let is_ahead = matches!(show.state, QueueState::Scheduled | QueueState::Prequeue);
    let is_open = show.state == QueueState::Open;
    match kind {
        JoinQueue => matches!(show.sale.method, Method::Fifo | Method::Draw) && show.tickets.len() < 12,
        ClaimAdmission => has(&|at| matches!(at, At::Called(_))) || is_open && has(&|at| *at == At::InLine),
        LeaveQueue => has(&|at| matches!(at, At::InLine | At::Called(_) | At::Shopping(_))),
        HoldSeats => is_shopping || show.sale.method == Method::Passthrough && is_open,
        ExtendHold | ReleaseHold | PlaceOrder => model.holds.values().any(|hold| hold.order.is_none()),
        CancelOrder => order(OrderState::PendingPayment),
        RecordPayment => !model.orders.is_empty(),
        RefundOrder => order(OrderState::Completed),
        RecordRefund => model.orders.iter().any(|order| order.refund_due.amount > 0 || !order.foreign.is_empty()),
        JoinWaitlist => show.sale.waitlist && !is_ahead,
        LeaveWaitlist => !model.entry_views().is_empty(),
        OpenQueue => is_ahead,
        RecordBeacon => show.sale.beacon.is_some() && is_ahead,
        ResumeQueue => show.state == QueueState::Paused,
        AcknowledgeEvents => !model.sinks.is_empty(),
        CreateShowtime => model.shows.len() < 3,
        Tick | UpdateSale | PauseQueue | CloseQueue | SetQueueMessage | BlockSeats | UnblockSeats | SetLimits
        | RegisterSink | RemoveSink => true,
    }
}

/// Who and what a command may be about.
struct Subject {
    seats: u64,
    user: UserId,
    ticket: TicketNumber,
    hold: (HoldId, UserId),
    order: (OrderId, UserId),
    /// What that order costs, and what it owes.
    total: Money,
    due: i64,
    /// A refund of it that was told.
    refund: Option<(PaymentId, Money)>,
    order_seats: Vec<SeatId>,
    entry: (OfferId, UserId),
}

impl Subject {
    /// What is there, mostly: live tickets, live holds, recent orders.
    fn draw(dice: &mut Dice, model: &Model, kind: CommandKind, showtime: ShowtimeId) -> Self {
        let seats = model.shows.get(&showtime).map_or(16, |show| show.house.spots.len() as u64);
        let tickets = model.shows.get(&showtime).map_or(&[][..], |show| &show.tickets);
        let mut user = UserId(u128::from(1 + dice.below(tickets.len() as u64 + 3)));
        let mut ticket = TicketNumber(dice.below(tickets.len() as u64 + 2));
        if !dice.one_in(8) {
            // Mostly a ticket with which the command can be done, or at least a live one.
            let is_it = |at: &At| match kind {
                CommandKind::ClaimAdmission => matches!(at, At::Called(_)),
                CommandKind::HoldSeats => matches!(at, At::Shopping(_)),
                _ => matches!(at, At::InLine | At::Called(_) | At::Shopping(_)),
            };
            let live: Vec<(&ModelTicket, u64)> = tickets.iter().zip(1..).filter(|(it, _)| is_it(&it.at)).collect();
            if !live.is_empty() {
                let (found, number) = dice.pick(&live);
                (user, ticket) = (found.user, TicketNumber(number));
            }
        }
        let mut hold = (HoldId::new(GROUP, (model.holds_made() + 2).saturating_sub(dice.below(6))), user);
        let holds: Vec<HoldId> = model.holds.keys().copied().collect();
        if !holds.is_empty() && !dice.one_in(8) {
            hold.0 = dice.pick(&holds);
            hold.1 = if dice.one_in(12) { user } else { model.holds[&hold.0].user };
        }
        let made = model.orders.len() as u64;
        let mut order = (OrderId::new(GROUP, (made + 2).saturating_sub(dice.below(6))), user);
        let (mut total, mut due, mut order_seats) = (eur(5_000), 1_000, vec![SeatId(dice.below(seats) as u32)]);
        let mut refund = None;
        if made > 0 && !dice.one_in(10) {
            let back = if dice.one_in(5) { dice.below(made) } else { dice.below(made.min(5)) };
            let view = &model.orders[(made - 1 - back) as usize];
            (order, total, due) = ((view.order, view.user), view.total, view.refund_due.amount);
            let refunds: Vec<&PaymentView> = view.payments.iter().filter(|payment| payment.refund).collect();
            refund = (!refunds.is_empty()).then(|| dice.pick(&refunds)).map(|refund| (refund.payment, refund.amount));
            if !view.places.seats.is_empty() {
                order_seats = vec![dice.pick(&view.places.seats)];
            }
        }
        let entries = model.entry_views();
        let mut entry = (OfferId::new(GROUP, dice.below(20)), user);
        if !entries.is_empty() {
            let view = dice.pick(&entries);
            entry = (view.entry, if dice.one_in(10) { user } else { view.user });
        }
        Self { seats, user, ticket, hold, order, total, due, refund, order_seats, entry }
    }

    fn seats(&self, dice: &mut Dice) -> Vec<SeatId> {
        let beyond = u64::from(dice.one_in(40));
        (0..=dice.below(3)).map(|_| SeatId(dice.below(self.seats + beyond) as u32)).collect()
    }

    fn choice(&self, dice: &mut Dice) -> SeatChoice {
        match dice.below(5) {
            0 => {
                let area = AreaId(if dice.one_in(30) { 2 } else { dice.below(2) as u16 });
                SeatChoice::Area { area, quantity: dice.below(7) as u32 }
            }
            1 | 2 => SeatChoice::Best(BestSeats {
                quantity: if dice.one_in(40) { dice.pick(&[0, 101]) } else { 1 + dice.below(5) as u32 },
                category: category(dice),
                section: dice.pick(&[None, None, None, Some("Stalls"), Some("Tier"), Some("Side")]).map(str::to_owned),
                accessible: dice.one_in(4),
                companion: dice.one_in(8),
                together: dice.one_in(2),
            }),
            _ => SeatChoice::Named(self.seats(dice)),
        }
    }

    fn amount(&self, dice: &mut Dice) -> Money {
        match dice.below(12) {
            0 => eur(dice.pick(&[-1, 0, 1_000, 3_000, 5_000, 8_000])),
            1 => Money { currency: Currency(*b"USD"), ..self.total },
            _ => self.total,
        }
    }
}

fn category(dice: &mut Dice) -> Option<String> {
    dice.pick(&[None, None, Some("front"), Some("front"), Some("back"), Some("back"), Some("floor"), Some("none")])
        .map(str::to_owned)
}

fn channel(dice: &mut Dice) -> Option<String> {
    dice.pick(&[None, None, None, Some("press"), Some("club")]).map(str::to_owned)
}

fn outcome(dice: &mut Dice) -> PaymentOutcome {
    if dice.one_in(4) { PaymentOutcome::Failed } else { PaymentOutcome::Succeeded }
}

fn sink(dice: &mut Dice) -> String {
    dice.pick(&["broker", "broker", "mirror", ""]).into()
}

/// A command of a random kind: mostly one that can do something, to a showtime that is there.
pub(super) fn command(dice: &mut Dice, model: &Model) -> ShardCommand {
    let known: Vec<ShowtimeId> = model.shows.keys().copied().collect();
    let unknown = ShowtimeId::new(GROUP, 9);
    loop {
        let showtime = if known.is_empty() || dice.one_in(100) { unknown } else { dice.pick(&known) };
        let kind = any_kind(dice);
        if may_matter(kind, model, showtime) || dice.one_in(12) {
            return command_of(kind, dice, model, showtime);
        }
    }
}

fn command_of(kind: CommandKind, dice: &mut Dice, model: &Model, showtime: ShowtimeId) -> ShardCommand {
    let of = Subject::draw(dice, model, kind, showtime);
    let (user, ticket) = (of.user, of.ticket);
    match kind {
        CommandKind::Tick => ShardCommand::Tick,
        CommandKind::CreateShowtime => {
            let known: Vec<u64> = model.shows.keys().map(|id| id.counter()).collect();
            let number = 1 + dice.below(3);
            let mut ask = create(dice, number);
            if !known.is_empty() && dice.one_in(3) {
                // The same once more.
                ask = model.creation(ShowtimeId::new(GROUP, dice.pick(&known)));
            }
            match dice.below(12) {
                0 => ask.showtime = ShowtimeId::new(GroupId(8), 1),
                1 => drop(ask.prices.pop()),
                2 => ask.sale.hold_ttl = Millis(1),
                _ => {}
            }
            ShardCommand::CreateShowtime(ask)
        }
        CommandKind::UpdateSale => {
            let patch = patch(dice, model.now);
            ShardCommand::UpdateSale(UpdateSale { showtime, patch })
        }
        CommandKind::OpenQueue => ShardCommand::OpenQueue(OpenQueue { showtime }),
        CommandKind::PauseQueue => ShardCommand::PauseQueue(PauseQueue { showtime }),
        CommandKind::ResumeQueue => ShardCommand::ResumeQueue(ResumeQueue { showtime }),
        CommandKind::CloseQueue => ShardCommand::CloseQueue(CloseQueue { showtime }),
        CommandKind::SetQueueMessage => {
            let long = "x".repeat(501);
            let text = dice.pick(&[None, Some("soon"), Some("sorry"), Some(&*long)]).map(str::to_owned);
            ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text })
        }
        CommandKind::RecordBeacon => {
            let randomness = dice.pick(&[vec![1; 8], vec![1; 8], vec![1; 8], vec![2; 32], vec![]]);
            ShardCommand::RecordBeacon(RecordBeacon { showtime, round: 7 + dice.below(2), randomness })
        }
        CommandKind::JoinQueue => {
            let user = if dice.one_in(4) { user } else { UserId(1 + u128::from(dice.below(12))) };
            ShardCommand::JoinQueue(JoinQueue { showtime, user })
        }
        CommandKind::LeaveQueue => ShardCommand::LeaveQueue(LeaveQueue { showtime, user, ticket }),
        CommandKind::ClaimAdmission => ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket }),
        CommandKind::HoldSeats => {
            let ticket = (!dice.one_in(12)).then_some(ticket);
            let (channel, choice) = (channel(dice), of.choice(dice));
            ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket, channel, choice })
        }
        CommandKind::ExtendHold => ShardCommand::ExtendHold(ExtendHold { hold: of.hold.0, user: of.hold.1 }),
        CommandKind::ReleaseHold => ShardCommand::ReleaseHold(ReleaseHold { hold: of.hold.0, user: of.hold.1 }),
        CommandKind::PlaceOrder => {
            let email = if dice.one_in(30) { "nobody" } else { "a@b.example" }.into();
            ShardCommand::PlaceOrder(PlaceOrder { hold: of.hold.0, user: of.hold.1, email })
        }
        CommandKind::CancelOrder => ShardCommand::CancelOrder(CancelOrder { order: of.order.0, user: of.order.1 }),
        CommandKind::RecordPayment => {
            let payment = PaymentId(dice.below(6));
            let (order, outcome, amount) = (of.order.0, outcome(dice), of.amount(dice));
            ShardCommand::RecordPayment(RecordPayment { order, payment, outcome, amount })
        }
        CommandKind::RefundOrder => {
            let seats = match dice.below(8) {
                0..4 => None,
                4 => Some(Vec::new()),
                _ => Some(of.order_seats.clone()),
            };
            ShardCommand::RefundOrder(RefundOrder { order: of.order.0, seats, reason: "asked".into() })
        }
        CommandKind::RecordRefund => {
            let order = of.order.0;
            if let Some(refund) = of.refund.filter(|_| dice.one_in(3)) {
                let (refund, amount) = refund;
                return ShardCommand::RecordRefund(RecordRefund { order, refund, outcome: outcome(dice), amount });
            }
            let refund = PaymentId(5 + dice.below(6));
            let amount = if dice.one_in(3) { of.amount(dice) } else { eur(of.due) };
            ShardCommand::RecordRefund(RecordRefund { order, refund, outcome: outcome(dice), amount })
        }
        CommandKind::BlockSeats => {
            let reason = if dice.one_in(20) { "" } else { "camera" }.into();
            let (seats, channel) = (of.seats(dice), channel(dice));
            ShardCommand::BlockSeats(BlockSeats { showtime, seats, reason, channel })
        }
        CommandKind::UnblockSeats => {
            let mut seats = of.seats(dice);
            if dice.one_in(20) {
                seats.clear();
            }
            ShardCommand::UnblockSeats(UnblockSeats { showtime, seats })
        }
        CommandKind::JoinWaitlist => {
            let quantity = if dice.one_in(20) { 0 } else { 1 + dice.below(4) as u32 };
            let (category, together) = (category(dice), dice.one_in(2));
            ShardCommand::JoinWaitlist(JoinWaitlist { showtime, user, quantity, category, together })
        }
        CommandKind::LeaveWaitlist => {
            ShardCommand::LeaveWaitlist(LeaveWaitlist { entry: of.entry.0, user: of.entry.1 })
        }
        CommandKind::SetLimits => ShardCommand::SetLimits(SetLimits {
            requests_max: dice.pick(&[None, None, Some(1_000), Some(1)]),
            request_age_max: dice.pick(&[None, Some(Millis(1_000)), Some(Millis(60_000))]),
            event_age_min: dice.pick(&[None, Some(Millis(0)), Some(Millis(5_000))]),
            events_max: dice.pick(&[None, None, Some(1_000), Some(999)]),
            tickets_max: dice.pick(&[None, Some(3), Some(20)]),
        }),
        CommandKind::RegisterSink => ShardCommand::RegisterSink(RegisterSink { sink: sink(dice) }),
        CommandKind::AcknowledgeEvents => {
            let sequence = (model.last_sequence() + 1).saturating_sub(dice.below(40));
            ShardCommand::AcknowledgeEvents(AcknowledgeEvents { sink: sink(dice), sequence })
        }
        CommandKind::RemoveSink => ShardCommand::RemoveSink(RemoveSink { sink: sink(dice) }),
    }
}

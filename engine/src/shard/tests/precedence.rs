//! Every command, every reason to refuse it, and every two of them at once.

use super::*;
use crate::precedence::{Case, Row, check as check_precedence};

type ShardRow = Row<World, ShardCommand>;
type Prepare = fn(&mut World);

/// A row: what has to be done before, as a script, and how the command is bent.
macro_rules! row {
    ($command:ident, $wanted:literal, |$ask:ident| $bend:expr) => {
        row!($command, $wanted, "", |$ask| $bend)
    };
    ($command:ident, $wanted:literal, $script:literal, |$ask:ident| $bend:expr) => {
        ShardRow {
            wanted: $wanted,
            setup: |world: &mut World| script(world, $script),
            bend: |command: &mut ShardCommand| {
                let ShardCommand::$command($ask) = command else { unreachable!("another command") };
                let _ = $bend;
            },
            is_dependent: false,
            apart: &[],
        }
    };
}

fn dependent(row: ShardRow) -> ShardRow {
    ShardRow { is_dependent: true, ..row }
}

fn apart(row: ShardRow, apart: &'static [&'static str]) -> ShardRow {
    ShardRow { apart, ..row }
}

/// A row whose state takes more than a script.
fn prepared(row: ShardRow, setup: fn(&mut World)) -> ShardRow {
    ShardRow { setup, ..row }
}

fn script(world: &mut World, lines: &str) {
    for line in lines.split(';').map(str::trim).filter(|line| !line.is_empty()) {
        let right = world.run(line);
        assert!(!right.starts_with("refused"), "{line} => {right}");
    }
}

fn ask(world: &mut World, request: Option<RequestId>, command: ShardCommand) -> Result<Outcome, Refusal> {
    world.shard.apply(world.shard.now(), &[Envelope { request, command }]).remove(0).result
}

/// A line with a waitlist. Ann shops, with a hold of A1; Bob waits; Dan has a ticket that is over, and Eve shops with a
/// hold of A3 and A4 that is ordered.
fn base() -> World {
    let mut world = World { is_checked: false, ..World::new() };
    script(
        &mut world,
        "0s org sale fifo waitlist=yes room=3 perhold=4 perbuyer=6 rate=6000; 0s ann join; 1s ann claim; 1s dan join; \
         1s dan leave; 2s eve join; 3s eve claim; 3s fay join; 3s bob join; 4s ann hold A1; 4s eve hold A3 A4; \
         4s eve order h2; 5s org tick",
    );
    world
}

/// Nothing is left in the back, and Gus waits for something there.
fn sell_out(world: &mut World) {
    script(world, "5s org block B1 B2 B3 B4 B5 B6 B7 B8; 5s gus waitlist 1 category=back");
}

fn nobody() -> HoldId {
    HoldId::new(GROUP, 99)
}

fn another() -> ShowtimeId {
    ShowtimeId::new(GROUP, 9)
}

fn seats(labels: &[&str]) -> Vec<SeatId> {
    labels.iter().map(|label| seat_id(label)).collect()
}

fn long(len: usize) -> String {
    "x".repeat(len)
}

fn set_method(world: &mut World, method: Method) {
    let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
    let sale = Sale { method, ..showtime.sale().clone() };
    showtime.set_sale(sale);
}

fn best(quantity: u32) -> BestSeats {
    BestSeats { quantity, category: None, section: None, accessible: false, companion: false, together: true }
}

/// The reasons to refuse a command. A new command needs an arm here, and a sample below.
fn rows(command: &ShardCommand) -> Vec<ShardRow> {
    match command {
        ShardCommand::Tick => Vec::new(),
        ShardCommand::CreateShowtime(_) => vec![
            row!(CreateShowtime, "OutOfBounds", |ask| ask.prices[0].amount = -1),
            row!(CreateShowtime, "AlreadyExists", |ask| ask.showtime = showtime_id()),
            prepared(row!(CreateShowtime, "AtCapacity", |_ask| {}), |world| {
                for counter in 100..200 {
                    script(world, &format!("5s org sale fifo showtime={counter}"));
                    if world.shard.showtimes.len() == 7 {
                        return;
                    }
                }
            }),
        ],
        ShardCommand::UpdateSale(_) => vec![
            row!(UpdateSale, "OutOfBounds", |ask| ask.patch.rate_per_minute = Some(0)),
            row!(UpdateSale, "NoSuchShowtime", |ask| ask.showtime = another()),
            dependent(row!(UpdateSale, "OutOfBounds", |ask| ask.patch.method = Some(Method::Draw))),
        ],
        ShardCommand::OpenQueue(_) => vec![
            row!(OpenQueue, "NoSuchShowtime", |ask| ask.showtime = another()),
            row!(OpenQueue, "WrongQueueState", "5s org close showtime=2", |_ask| {}),
            // It is missing for good once the line is closed.
            prepared(row!(OpenQueue, "BeaconMissing", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&ShowtimeId::new(GROUP, 2)).unwrap();
                showtime.line.await_beacon();
            }),
        ],
        ShardCommand::PauseQueue(_) => vec![
            row!(PauseQueue, "NoSuchShowtime", |ask| ask.showtime = another()),
            row!(PauseQueue, "WrongQueueState", "5s org close", |_ask| {}),
        ],
        ShardCommand::ResumeQueue(_) => vec![
            row!(ResumeQueue, "NoSuchShowtime", |ask| ask.showtime = another()),
            row!(ResumeQueue, "WrongQueueState", "5s org close", |_ask| {}),
        ],
        ShardCommand::CloseQueue(_) => vec![row!(CloseQueue, "NoSuchShowtime", |ask| ask.showtime = another())],
        ShardCommand::SetQueueMessage(_) => vec![
            row!(SetQueueMessage, "OutOfBounds", |ask| ask.text = Some(long(501))),
            row!(SetQueueMessage, "NoSuchShowtime", |ask| ask.showtime = another()),
        ],
        ShardCommand::JoinQueue(_) => vec![
            row!(JoinQueue, "NoSuchShowtime", |ask| ask.showtime = another()),
            // A sale has one method.
            apart(
                prepared(row!(JoinQueue, "SaleRejects", |_ask| {}), |world| set_method(world, Method::Reject)),
                &["NoLine"],
            ),
            prepared(row!(JoinQueue, "NoLine", |_ask| {}), |world| set_method(world, Method::Passthrough)),
            row!(JoinQueue, "WrongQueueState", "5s org close", |_ask| {}),
            prepared(row!(JoinQueue, "QueueFull", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
                showtime.line.head.joined = crate::group_state::TICKETS_MAX;
            }),
        ],
        ShardCommand::LeaveQueue(_) => vec![
            row!(LeaveQueue, "NoSuchShowtime", |ask| ask.showtime = another()),
            // Whoever is named, one of the two is true.
            apart(row!(LeaveQueue, "NoSuchTicket", |ask| ask.ticket = TicketNumber(99)), &["TicketOver"]),
            prepared(row!(LeaveQueue, "TicketOver", |_ask| {}), |world| {
                script(world, "5s org update session=1s; 5s org tick; 604s org tick");
            }),
        ],
        ShardCommand::ClaimAdmission(_) => vec![
            row!(ClaimAdmission, "NoSuchShowtime", |ask| ask.showtime = another()),
            apart(
                row!(ClaimAdmission, "NoSuchTicket", |ask| ask.ticket = TicketNumber(99)),
                &["NotCalledYet", "TicketOver"],
            ),
            row!(ClaimAdmission, "WrongQueueState", "5s org close", |_ask| {}),
            // A ticket is in one state.
            apart(
                row!(ClaimAdmission, "NotCalledYet", |ask| {
                    (ask.user, ask.ticket) = (user_id("bob"), TicketNumber(5))
                }),
                &["TicketOver"],
            ),
            row!(ClaimAdmission, "TicketOver", |ask| (ask.user, ask.ticket) = (user_id("dan"), TicketNumber(2))),
        ],
        ShardCommand::HoldSeats(HoldSeats { choice: SeatChoice::Named(_), .. }) => {
            let mut rows = hold_rows();
            rows.extend([
                row!(HoldSeats, "OutOfBounds", |ask| ask.choice = SeatChoice::Named(vec![])),
                row!(HoldSeats, "NoSuchSeat", |ask| {
                    let SeatChoice::Named(seats) = &mut ask.choice else { return };
                    seats.push(SeatId(999));
                }),
                row!(HoldSeats, "TooManySeats", |ask| {
                    let SeatChoice::Named(named) = &mut ask.choice else { return };
                    named.extend(seats(&["B1", "B2", "B3", "B4", "B5"]));
                }),
                row!(HoldSeats, "SeatsUnavailable", |ask| {
                    let SeatChoice::Named(named) = &mut ask.choice else { return };
                    named.push(seat_id("A3"));
                }),
                row!(HoldSeats, "LeavesOrphan", "5s org update orphans=refused", |ask| {
                    let SeatChoice::Named(named) = &mut ask.choice else { return };
                    named.push(seat_id("A7"));
                }),
            ]);
            // Nothing named is nothing else that is wrong.
            for row in &mut rows {
                if row.wanted == "OutOfBounds" {
                    row.apart = &["NoSuchSeat", "TooManySeats", "SeatsUnavailable", "LeavesOrphan"];
                }
            }
            rows
        }
        ShardCommand::HoldSeats(HoldSeats { choice: SeatChoice::Best(_), .. }) => {
            let mut rows = hold_rows();
            rows.extend([
                row!(HoldSeats, "OutOfBounds", |ask| ask.channel = Some(long(101))),
                dependent(row!(HoldSeats, "OutOfBounds", |ask| {
                    let SeatChoice::Best(best) = &mut ask.choice else { return };
                    best.section = Some("Balcony".into());
                })),
                row!(HoldSeats, "TooManySeats", |ask| {
                    let SeatChoice::Best(best) = &mut ask.choice else { return };
                    best.quantity = 5;
                }),
                prepared(row!(HoldSeats, "NoSeatsFit", |_ask| {}), |world| {
                    script(world, "5s org block A2 A5 A6 A7 A8 B1 B2 B3 B4 B5 B6 B7 B8");
                }),
            ]);
            rows
        }
        ShardCommand::HoldSeats(HoldSeats { choice: SeatChoice::Area { .. }, .. }) => {
            let mut rows = hold_rows();
            rows.extend([
                row!(HoldSeats, "OutOfBounds", |ask| ask.channel = Some(long(101))),
                row!(HoldSeats, "NoSuchArea", |ask| {
                    let SeatChoice::Area { area, .. } = &mut ask.choice else { return };
                    *area = AreaId(9);
                }),
                row!(HoldSeats, "TooManySeats", |ask| {
                    let SeatChoice::Area { quantity, .. } = &mut ask.choice else { return };
                    *quantity = 5;
                }),
                prepared(row!(HoldSeats, "AreaFull", |_ask| {}), |world| {
                    world.shard.showtimes.get_mut(&showtime_id()).unwrap().areas[0].sold = 10;
                }),
            ]);
            rows
        }
        ShardCommand::ExtendHold(_) => vec![
            // A hold is there or not, and it has an order or may be extended.
            apart(row!(ExtendHold, "NoSuchHold", |ask| ask.hold = nobody()), &["HoldGone", "HoldHasOrder"]),
            apart(row!(ExtendHold, "NoSuchHold", |ask| ask.user = user_id("bob")), &["HoldGone"]),
            row!(ExtendHold, "HoldGone", "5s ann release h1", |_ask| {}),
            apart(row!(ExtendHold, "HoldHasOrder", "5s ann order h1", |_ask| {}), &["HoldGone"]),
            row!(ExtendHold, "HoldTotalReached", "5s org update hold=4s total=4s; 5s ann tick", |_ask| {}),
        ],
        ShardCommand::ReleaseHold(_) => vec![
            apart(row!(ReleaseHold, "NoSuchHold", |ask| ask.user = user_id("bob")), &["HoldGone"]),
            row!(ReleaseHold, "HoldGone", "5s ann release h1", |_ask| {}),
            apart(row!(ReleaseHold, "HoldHasOrder", "5s ann order h1", |_ask| {}), &["HoldGone"]),
        ],
        ShardCommand::PlaceOrder(_) => vec![
            row!(PlaceOrder, "OutOfBounds", |ask| ask.email = "nobody".into()),
            apart(row!(PlaceOrder, "NoSuchHold", |ask| ask.user = user_id("bob")), &["HoldGone"]),
            row!(PlaceOrder, "HoldGone", "5s ann release h1", |_ask| {}),
            apart(row!(PlaceOrder, "HoldHasOrder", "5s ann order h1", |_ask| {}), &["HoldGone", "AtCapacity"]),
            prepared(row!(PlaceOrder, "AtCapacity", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
                let orders = (100..200).map(|counter| OrderId::new(GROUP, counter));
                showtime.buyers.entry(user_id("ann")).or_default().orders.extend(orders);
            }),
        ],
        ShardCommand::CancelOrder(_) => vec![
            row!(CancelOrder, "NoSuchOrder", |ask| ask.user = user_id("bob")),
            row!(CancelOrder, "WrongOrderState", "5s eve pay o1 p1 ok 10000", |_ask| {}),
        ],
        ShardCommand::RecordPayment(_) => vec![
            row!(RecordPayment, "OutOfBounds", |ask| ask.amount.amount = -1),
            row!(RecordPayment, "NoSuchOrder", |ask| ask.order = OrderId::new(GROUP, 9)),
            dependent(row!(RecordPayment, "OutOfBounds", |ask| ask.amount.amount = 0)),
            // A payment that is known needs no room.
            apart(
                row!(RecordPayment, "PaymentIdReused", "5s eve pay o1 p500 ok 4000", |ask| {
                    ask.payment = PaymentId(500)
                }),
                &["AtCapacity"],
            ),
            prepared(row!(RecordPayment, "AtCapacity", |_ask| {}), |world| {
                for payment in 1_000..1_100 {
                    world.run(&format!("5s eve pay o1 p{payment} ok 1000000000000000"));
                }
            }),
        ],
        ShardCommand::RefundOrder(_) => vec![
            row!(RefundOrder, "OutOfBounds", |ask| ask.reason = long(201)),
            row!(RefundOrder, "NoSuchOrder", |ask| ask.order = OrderId::new(GROUP, 9)),
            row!(RefundOrder, "NoSuchSeat", |ask| ask.seats = Some(seats(&["B8"]))),
            row!(RefundOrder, "WrongOrderState", "5s org refund o1", |_ask| {}),
        ],
        ShardCommand::RecordRefund(_) => vec![
            row!(RecordRefund, "OutOfBounds", |ask| ask.amount.currency = Currency(*b"eur")),
            row!(RecordRefund, "NoSuchOrder", |ask| ask.order = OrderId::new(GROUP, 9)),
            row!(RecordRefund, "PaymentIdReused", |ask| ask.refund = PaymentId(1)),
            row!(RecordRefund, "MoreThanDue", |ask| ask.amount.amount = 100_000),
            // A refund that is known needs no room.
            apart(
                prepared(row!(RecordRefund, "AtCapacity", |_ask| {}), |world| {
                    script(world, "5s eve pay o1 p900 ok 10000; 5s org repeat 250 repay o1 p1000{} ok 1");
                }),
                &["PaymentIdReused"],
            ),
        ],
        ShardCommand::BlockSeats(_) => vec![
            row!(BlockSeats, "OutOfBounds", |ask| ask.reason.clear()),
            row!(BlockSeats, "NoSuchShowtime", |ask| ask.showtime = another()),
            row!(BlockSeats, "NoSuchSeat", |ask| ask.seats.push(SeatId(999))),
            row!(BlockSeats, "SeatsUnavailable", |ask| ask.seats.push(seat_id("A1"))),
            prepared(row!(BlockSeats, "AtCapacity", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
                showtime.block(&seats(&["A8"]), "lamp", None);
                let (_, block) = showtime.blocks.iter().next().map(|(id, block)| (*id, block.clone())).unwrap();
                for id in 0..crate::shard::seats::BLOCKS_MAX as u16 {
                    showtime.blocks.insert(id + 1, block.clone());
                }
            }),
        ],
        ShardCommand::UnblockSeats(_) => vec![
            row!(UnblockSeats, "OutOfBounds", |ask| ask.seats = vec![SeatId(999); 10_001]),
            row!(UnblockSeats, "NoSuchShowtime", |ask| ask.showtime = another()),
            row!(UnblockSeats, "NoSuchSeat", |ask| ask.seats.push(SeatId(999))),
        ],
        ShardCommand::JoinWaitlist(_) => vec![
            row!(JoinWaitlist, "OutOfBounds", |ask| ask.category = Some(long(401))),
            row!(JoinWaitlist, "NoSuchShowtime", |ask| ask.showtime = another()),
            dependent(row!(JoinWaitlist, "OutOfBounds", |ask| ask.quantity = 5)),
            row!(JoinWaitlist, "AlreadyExists", |ask| ask.user = user_id("gus")),
            prepared(row!(JoinWaitlist, "SaleRejects", |_ask| {}), |world| set_method(world, Method::Reject)),
            prepared(row!(JoinWaitlist, "NoWaitlist", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
                let sale = Sale { waitlist: false, ..showtime.sale().clone() };
                showtime.set_sale(sale);
            }),
            // Closing ends the entries that wait.
            apart(row!(JoinWaitlist, "WrongQueueState", "5s org close", |_ask| {}), &["AlreadyExists"]),
            prepared(row!(JoinWaitlist, "BuyerLimit", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
                for name in ["fay", "gus"] {
                    showtime.buyers.entry(user_id(name)).or_default().taken = 6;
                }
            }),
            prepared(row!(JoinWaitlist, "SeatsFit", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
                showtime.unblock(seat_id("B1"));
                showtime.unblock(seat_id("B2"));
            }),
            prepared(row!(JoinWaitlist, "AtCapacity", |_ask| {}), |world| {
                for number in 0..500 {
                    let (user, category) = (UserId(1 << 100 | number), Some("back".into()));
                    let (showtime, quantity) = (showtime_id(), 4);
                    let wish = JoinWaitlist { showtime, user, quantity, category, together: true };
                    let _ = ask(world, None, ShardCommand::JoinWaitlist(wish));
                }
            }),
        ],
        ShardCommand::LeaveWaitlist(_) => {
            vec![row!(LeaveWaitlist, "NoSuchEntry", |ask| ask.user = user_id("bob"))]
        }
        ShardCommand::RecordBeacon(_) => vec![
            row!(RecordBeacon, "OutOfBounds", |ask| ask.randomness.clear()),
            row!(RecordBeacon, "NoSuchShowtime", |ask| ask.showtime = another()),
            dependent(row!(RecordBeacon, "OutOfBounds", |ask| ask.round = 8)),
            prepared(row!(RecordBeacon, "AlreadyExists", |_ask| {}), |world| {
                let showtime = world.shard.showtimes.get_mut(&ShowtimeId::new(GROUP, 3)).unwrap();
                showtime.set_beacon(b"other".to_vec());
            }),
            row!(RecordBeacon, "WrongQueueState", "5s org close showtime=3", |_ask| {}),
        ],
        ShardCommand::SetLimits(_) => vec![row!(SetLimits, "OutOfBounds", |ask| ask.requests_max = Some(1))],
        ShardCommand::RegisterSink(_) => vec![
            row!(RegisterSink, "OutOfBounds", |ask| ask.sink.clear()),
            prepared(row!(RegisterSink, "AtCapacity", |_ask| {}), |world| {
                for number in 0..100 {
                    let sink = format!("sink{number}");
                    let _ = ask(world, None, ShardCommand::RegisterSink(RegisterSink { sink }));
                }
            }),
        ],
        ShardCommand::AcknowledgeEvents(_) => vec![
            row!(AcknowledgeEvents, "OutOfBounds", |ask| ask.sequence = 1_000_000),
            row!(AcknowledgeEvents, "NoSuchSink", |ask| ask.sink = "other".into()),
            prepared(row!(AcknowledgeEvents, "SinkLapsed", |_ask| {}), |world| {
                world.shard.state.journal.sinks.get_mut("broker").unwrap().is_lapsed = true;
            }),
        ],
        ShardCommand::RemoveSink(_) => vec![row!(RemoveSink, "OutOfBounds", |ask| ask.sink = long(101))],
    }
}

/// What can be wrong with any hold.
fn hold_rows() -> Vec<ShardRow> {
    vec![
        row!(HoldSeats, "NoSuchShowtime", |ask| ask.showtime = another()),
        // A ticket of somebody else is not asked where it stands, and a sale without a line looks at none.
        apart(
            row!(HoldSeats, "NoSuchTicket", |ask| ask.ticket = Some(TicketNumber(3))),
            &["SaleRejects", "NotAdmitted"],
        ),
        apart(
            prepared(row!(HoldSeats, "SaleRejects", |_ask| {}), |world| set_method(world, Method::Reject)),
            &["NoSuchTicket"],
        ),
        row!(HoldSeats, "WrongQueueState", "5s org close", |_ask| {}),
        row!(HoldSeats, "NotAdmitted", |ask| ask.ticket = None),
        prepared(row!(HoldSeats, "BuyerLimit", |_ask| {}), |world| {
            let showtime = world.shard.showtimes.get_mut(&showtime_id()).unwrap();
            showtime.buyers.get_mut(&user_id("ann")).unwrap().taken = 6;
        }),
    ]
}

/// Every command as it would be granted.
fn cases() -> Vec<Case<World, ShardCommand>> {
    let (showtime, user, hold, order) = (showtime_id(), user_id("ann"), HoldId::new(GROUP, 1), OrderId::new(GROUP, 1));
    let nothing = |_: &mut World| {};
    let second = ShowtimeId::new(GROUP, 2);
    let third = ShowtimeId::new(GROUP, 3);
    let ticket = TicketNumber(1);
    let hold_seats =
        |choice| ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket: Some(ticket), channel: None, choice });
    let refund = RefundOrder { order, seats: None, reason: "asked".into() };
    let record =
        RecordPayment { order, payment: PaymentId(7), outcome: PaymentOutcome::Succeeded, amount: eur(10_000) };
    let back = RecordRefund { order, refund: PaymentId(7), outcome: PaymentOutcome::Succeeded, amount: eur(5_000) };
    let wait =
        JoinWaitlist { showtime, user: user_id("fay"), quantity: 2, category: Some("back".into()), together: false };
    let commands: Vec<(ShardCommand, Prepare)> = vec![
        (ShardCommand::Tick, nothing),
        (
            ShardCommand::CreateShowtime(CreateShowtime {
                showtime: second,
                organisation: OrganisationId(1),
                seat_map: small_house(),
                prices: vec![eur(5_000), eur(3_000), eur(1_000)],
                sale: Sale::default(),
                draw_secret: [1; 32],
            }),
            nothing,
        ),
        (ShardCommand::UpdateSale(UpdateSale { showtime, patch: patch(&["rate=60"]) }), nothing),
        (ShardCommand::OpenQueue(OpenQueue { showtime: second }), |world: &mut World| {
            script(world, "5s org sale fifo opens=never showtime=2")
        }),
        (ShardCommand::PauseQueue(PauseQueue { showtime }), nothing),
        (ShardCommand::ResumeQueue(ResumeQueue { showtime }), nothing),
        (ShardCommand::CloseQueue(CloseQueue { showtime }), nothing),
        (ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text: Some("soon".into()) }), nothing),
        (ShardCommand::JoinQueue(JoinQueue { showtime, user: user_id("gus") }), nothing),
        (ShardCommand::LeaveQueue(LeaveQueue { showtime, user, ticket }), nothing),
        (ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket }), nothing),
        (hold_seats(SeatChoice::Named(seats(&["B1"]))), nothing),
        (hold_seats(SeatChoice::Best(best(2))), nothing),
        (hold_seats(SeatChoice::Area { area: AreaId(0), quantity: 2 }), nothing),
        (ShardCommand::ExtendHold(ExtendHold { hold, user }), nothing),
        (ShardCommand::ReleaseHold(ReleaseHold { hold, user }), nothing),
        (ShardCommand::PlaceOrder(PlaceOrder { hold, user, email: "a@b.example".into() }), nothing),
        (ShardCommand::CancelOrder(CancelOrder { order, user: user_id("eve") }), nothing),
        (ShardCommand::RecordPayment(record), nothing),
        (ShardCommand::RefundOrder(refund), |world: &mut World| script(world, "5s eve pay o1 p1 ok 10000")),
        (ShardCommand::RecordRefund(back), |world: &mut World| {
            script(world, "5s eve pay o1 p1 ok 10000; 5s org refund o1 A3")
        }),
        (
            ShardCommand::BlockSeats(BlockSeats {
                showtime,
                seats: seats(&["B1"]),
                reason: "camera".into(),
                channel: None,
            }),
            nothing,
        ),
        (ShardCommand::UnblockSeats(UnblockSeats { showtime, seats: seats(&["B1"]) }), nothing),
        (ShardCommand::JoinWaitlist(wait), sell_out),
        (
            ShardCommand::LeaveWaitlist(LeaveWaitlist { entry: OfferId::new(GROUP, 1), user: user_id("fay") }),
            |world: &mut World| {
                script(world, "5s org block A2 A5 A6 A7 A8; 5s fay waitlist 2 category=front");
            },
        ),
        (
            ShardCommand::RecordBeacon(RecordBeacon { showtime: third, round: 7, randomness: vec![1] }),
            |world: &mut World| script(world, "5s org sale draw showtime=3 opens=5s beacon=7"),
        ),
        (ShardCommand::SetLimits(SetLimits { requests_max: Some(5_000), ..SetLimits::default() }), nothing),
        (ShardCommand::RegisterSink(RegisterSink { sink: "broker".into() }), nothing),
        (
            ShardCommand::AcknowledgeEvents(AcknowledgeEvents { sink: "broker".into(), sequence: 1 }),
            |world: &mut World| {
                ask(world, None, ShardCommand::RegisterSink(RegisterSink { sink: "broker".into() })).unwrap();
            },
        ),
        (ShardCommand::RemoveSink(RemoveSink { sink: "broker".into() }), nothing),
    ];
    commands.into_iter().map(|(command, prepare)| Case { rows: rows(&command), command, prepare }).collect()
}

/// Every command with every reason to refuse it.
pub(super) fn reasons() -> Vec<(String, String)> {
    crate::precedence::reasons(&cases())
}

#[test]
fn every_two_reasons_yield_the_one_listed_first() {
    let sink = RemoveSink { sink: "nobody".into() };
    let harmless = [ShardCommand::Tick, ShardCommand::RemoveSink(sink)];
    check_precedence(cases(), harmless, base, ask);
}

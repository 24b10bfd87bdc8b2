//! Every sequence of payment news up to five long, and of news of refunds of an order that was paid, against the table in
//! `docs/engine/payments.md`.

use super::*;

const TABLE: &str = include_str!("../../../../docs/engine/payments.md");

/// News of the table, and one more: somebody else takes a seat if it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Success(u64),
    Failure(u64),
    WrongAmount,
    OtherCurrency,
    TimeRunsOut,
    BuyerCancels,
    OrganiserRefunds,
    OrganiserRefundsSeat,
    RefundConfirmed,
    RefundOfOtherCurrency,
    RefundFailed,
    /// Of those two that are confirmed, the last one.
    RefundBounces,
    SeatTaken,
    /// Of so much, under this id, whatever is owed.
    Refund(u64, PaymentOutcome, i64),
}

const ALL: [News; 14] = [
    News::Success(1),
    News::Success(2),
    News::Failure(1),
    News::WrongAmount,
    News::OtherCurrency,
    News::TimeRunsOut,
    News::BuyerCancels,
    News::OrganiserRefunds,
    News::OrganiserRefundsSeat,
    News::RefundConfirmed,
    News::RefundOfOtherCurrency,
    News::RefundFailed,
    News::RefundBounces,
    News::SeatTaken,
];

/// What is told of refunds, under ids that come again: of one of them in two amounts, one that is the payment's, and one
/// that a payment can have as well.
const REFUNDS: [News; 11] = [
    News::Refund(20, PaymentOutcome::Succeeded, SEAT_PRICE),
    News::Refund(20, PaymentOutcome::Succeeded, PRICE),
    News::Refund(20, PaymentOutcome::Failed, SEAT_PRICE),
    News::Refund(20, PaymentOutcome::Failed, PRICE),
    News::Refund(21, PaymentOutcome::Succeeded, SEAT_PRICE),
    News::Refund(21, PaymentOutcome::Failed, SEAT_PRICE),
    News::Refund(1, PaymentOutcome::Succeeded, SEAT_PRICE),
    News::Success(2),
    News::Success(20),
    News::OrganiserRefunds,
    News::OrganiserRefundsSeat,
];

/// Of the whole order: two seats.
const PRICE: i64 = 5_000;
const SEAT_PRICE: i64 = PRICE / 2;

/// Rows of the table by state and news: what then, and the money.
fn table() -> BTreeMap<(String, String), (String, String)> {
    let rows = TABLE.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| order is"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        ((cells[0].to_owned(), cells[1].to_owned()), (cells[2].to_owned(), cells[3].to_owned()))
    })
    .collect()
}

/// What is answered to news.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    /// The order, in this state.
    Order(String),
    /// It repeats what is known.
    Known,
    Done,
    /// The order is in this state.
    WrongState(String),
    /// So much does not have to go back.
    MoreThanDue,
    /// The id stands for something else.
    IdReused,
    /// The table is not about it: another buyer, or seats that nobody can name any more.
    OfNoConcern,
}

impl Reply {
    fn of(result: Result<Outcome, Refusal>) -> Self {
        match result {
            Ok(Outcome::Ordered { order }) => Self::Order(order.state.as_str().to_owned()),
            Ok(Outcome::PaymentKnown { .. }) => Self::Known,
            Ok(Outcome::Done) => Self::Done,
            Err(Refusal::WrongOrderState { state }) => Self::WrongState(state.as_str().to_owned()),
            Err(Refusal::MoreThanDue { .. }) => Self::MoreThanDue,
            Err(Refusal::PaymentIdReused) => Self::IdReused,
            other => panic!("the table knows no such answer: {other:?}"),
        }
    }
}

/// What the table says of an order: its state, its money, and what was told before.
#[derive(Debug, Clone)]
struct Expected {
    state: String,
    captured: i64,
    owed: i64,
    refunded: i64,
    foreign_owed: i64,
    seats_left: i64,
    seat_is_free: bool,
    other_has_it: bool,
    succeeded: Vec<u64>,
    failed: Vec<u64>,
    /// What was told last of each refund that is told by its id.
    refunds: BTreeMap<u64, (PaymentOutcome, i64)>,
    /// Refunds that failed after they had succeeded.
    bounced: Vec<u64>,
    /// What the last refund came to that is told under an id of its own, and whether it was of the other currency, until it
    /// bounces.
    confirmed: Option<(i64, bool)>,
}

impl Expected {
    fn new() -> Self {
        Self {
            state: "pendingPayment".into(),
            captured: 0,
            owed: 0,
            refunded: 0,
            foreign_owed: 0,
            seats_left: 2,
            seat_is_free: false,
            other_has_it: false,
            succeeded: Vec::new(),
            failed: Vec::new(),
            refunds: BTreeMap::new(),
            bounced: Vec::new(),
            confirmed: None,
        }
    }

    /// Why a refund is no news, if it is none.
    fn no_news(&self, id: u64, outcome: PaymentOutcome, amount: i64) -> Option<Reply> {
        if self.succeeded.contains(&id) || self.failed.contains(&id) {
            return Some(Reply::IdReused);
        }
        match (self.refunds.get(&id), outcome) {
            (None, _) => None,
            (Some((PaymentOutcome::Failed, _)), PaymentOutcome::Succeeded) if !self.bounced.contains(&id) => None,
            (Some((PaymentOutcome::Succeeded, known)), PaymentOutcome::Failed) if *known == amount => None,
            (Some((_, known)), _) if *known == amount => Some(Reply::Known),
            _ => Some(Reply::IdReused),
        }
    }

    /// Gives what is answered.
    fn tell(&mut self, table: &BTreeMap<(String, String), (String, String)>, news: News) -> Reply {
        if news == News::TimeRunsOut {
            // For the other buyer's hold too.
            self.seat_is_free |= std::mem::take(&mut self.other_has_it);
        }
        let is_lost = !matches!(self.state.as_str(), "pendingPayment" | "completed");
        let (text, amount) = match news {
            News::Success(id) if self.succeeded.contains(&id) => return Reply::Known,
            News::Success(id) if self.refunds.contains_key(&id) => return Reply::IdReused,
            News::Success(id) => {
                self.succeeded.push(id);
                let text = match (is_lost, self.seat_is_free) {
                    (false, _) => "success",
                    (true, true) => "success, seats free",
                    (true, false) => "success, seats gone",
                };
                (text, PRICE)
            }
            News::Failure(id) if self.succeeded.contains(&id) || self.failed.contains(&id) => return Reply::Known,
            News::Failure(id) => {
                self.failed.push(id);
                ("failure", 0)
            }
            News::WrongAmount if self.succeeded.contains(&3) => return Reply::Known,
            News::WrongAmount => {
                self.succeeded.push(3);
                ("wrong amount", PRICE - 1)
            }
            News::OtherCurrency if self.succeeded.contains(&4) => return Reply::Known,
            News::OtherCurrency => {
                self.succeeded.push(4);
                ("other currency", 0)
            }
            News::TimeRunsOut => ("time runs out", 0),
            News::BuyerCancels => ("buyer cancels", 0),
            News::OrganiserRefunds => ("organiser refunds all", self.seats_left * SEAT_PRICE),
            News::OrganiserRefundsSeat if self.seats_left > 1 => ("organiser refunds one seat of several", SEAT_PRICE),
            News::OrganiserRefundsSeat => ("organiser refunds the last seat", SEAT_PRICE),
            // Of nothing there is nothing to confirm.
            News::RefundConfirmed if self.owed == 0 => return Reply::MoreThanDue,
            News::RefundConfirmed => {
                self.confirmed = Some((self.owed, false));
                ("refund confirmed", self.owed)
            }
            News::RefundOfOtherCurrency if self.foreign_owed == 0 => return Reply::MoreThanDue,
            News::RefundOfOtherCurrency => {
                self.confirmed = Some((PRICE, true));
                ("refund confirmed", 0)
            }
            News::RefundFailed => ("refund failed", 0),
            News::RefundBounces => match self.confirmed.take() {
                Some((_, true)) => {
                    self.foreign_owed = PRICE;
                    ("refund bounces", 0)
                }
                Some((amount, false)) => ("refund bounces", amount),
                None => return Reply::OfNoConcern,
            },
            News::Refund(id, outcome, amount) => {
                if let Some(reply) = self.no_news(id, outcome, amount) {
                    return reply;
                }
                if outcome == PaymentOutcome::Succeeded && amount > self.owed {
                    return Reply::MoreThanDue;
                }
                let before = self.refunds.insert(id, (outcome, amount));
                match (before, outcome) {
                    (_, PaymentOutcome::Succeeded) => ("refund confirmed", amount),
                    (Some((PaymentOutcome::Succeeded, _)), _) => {
                        self.bounced.push(id);
                        ("refund bounces", amount)
                    }
                    _ => ("refund failed", 0),
                }
            }
            News::SeatTaken => {
                self.other_has_it |= std::mem::take(&mut self.seat_is_free);
                return Reply::OfNoConcern;
            }
        };
        let Some((then, money)) = table.get(&(self.state.clone(), text.to_owned())) else {
            return match news {
                News::TimeRunsOut => Reply::Done,
                News::BuyerCancels if self.state == "canceled" => Reply::Order(self.state.clone()),
                News::OrganiserRefundsSeat if self.seats_left == 0 => Reply::OfNoConcern,
                _ => Reply::WrongState(self.state.clone()),
            };
        };
        if matches!(news, News::Success(_) | News::WrongAmount) {
            self.captured += amount;
        }
        match (money.as_str(), news) {
            ("owed", News::OtherCurrency) => self.foreign_owed += PRICE,
            ("returned", News::RefundOfOtherCurrency) => self.foreign_owed = 0,
            ("owed" | "price owed", _) => self.owed += amount,
            ("returned", _) => {
                self.owed -= amount;
                self.refunded += amount;
            }
            ("owed again", _) => {
                self.owed += amount;
                self.refunded -= amount;
            }
            ("kept" | "–", _) => {}
            other => panic!("the table does not say {other:?}"),
        }
        match news {
            News::OrganiserRefunds => self.seats_left = 0,
            News::OrganiserRefundsSeat => self.seats_left -= 1,
            _ => {}
        }
        let then = match then.split_once(" / ") {
            Some((_, owing)) if self.owed > 0 || self.foreign_owed > 0 => owing,
            Some((settled, _)) => settled,
            None => then,
        };
        if matches!(text, "time runs out" | "buyer cancels" | "organiser refunds all") {
            self.seat_is_free = true;
        } else if then == "completed" {
            self.seat_is_free = false;
        }
        // Of an order that was refunded no seats are left to be free.
        self.seat_is_free &= self.seats_left > 0;
        self.state = then.to_owned();
        if news == News::TimeRunsOut { Reply::Done } else { Reply::Order(self.state.clone()) }
    }
}

/// One order for both seats of a house, and what is told about it.
struct Played {
    shard: Shard,
    at: u64,
    /// The allocation through which everybody holds; the seats are for nobody else.
    channel: Option<&'static str>,
    /// The last refund under an id of its own, until it bounces.
    confirmed: Option<(PaymentId, Money)>,
}

impl Played {
    fn new(channel: Option<&'static str>) -> Self {
        let mut played = Self { shard: Shard::new(GROUP), at: 0, channel, confirmed: None };
        let category = Category { name: "all".into(), color: String::new() };
        let seat = |number: i32| Seat {
            number: number.to_string(),
            guid: format!("A{number}"),
            x: number,
            y: 0,
            category: CategoryId(0),
            flags: 0,
        };
        let row = SeatRow { name: "A".into(), seats: vec![seat(1), seat(2)] };
        let section = Section { name: "S".into(), rows: vec![row] };
        let seat_map = Arc::new(SeatMap::new("Two".into(), vec![category], vec![section], Vec::new()).unwrap());
        let created = ShardCommand::CreateShowtime(CreateShowtime {
            showtime: showtime_id(),
            organisation: OrganisationId(1),
            seat_map,
            prices: vec![eur(SEAT_PRICE)],
            sale: Sale { method: Method::Passthrough, opens_at: Some(Timestamp(0)), ..Sale::default() },
            draw_secret: [0; 32],
        });
        played.ask(created).unwrap();
        if let Some(channel) = channel {
            played.block(channel);
        }
        played.hold(UserId(1), vec![SeatId(0), SeatId(1)]);
        let (hold, user) = (HoldId::new(GROUP, 1), UserId(1));
        played.ask(ShardCommand::PlaceOrder(PlaceOrder { hold, user, email: "a@b".into() })).unwrap();
        played
    }

    fn ask(&mut self, command: ShardCommand) -> Result<Outcome, Refusal> {
        self.shard.apply(Timestamp(self.at), &[Envelope { request: None, command }]).remove(0).result
    }

    fn block(&mut self, channel: &str) {
        let (seats, channel) = (vec![SeatId(0), SeatId(1)], Some(channel.to_owned()));
        let block = BlockSeats { showtime: showtime_id(), seats, reason: "kept".into(), channel };
        self.ask(ShardCommand::BlockSeats(block)).unwrap();
    }

    fn hold(&mut self, user: UserId, seats: Vec<SeatId>) {
        let channel = self.channel.map(str::to_owned);
        let choice = SeatChoice::Named(seats);
        let ask = HoldSeats { showtime: showtime_id(), user, ticket: None, channel, choice };
        let _ = self.ask(ShardCommand::HoldSeats(ask));
    }

    fn order(&self) -> OrderView {
        match self.shard.query(&ShardQuery::Order(OrderId::new(GROUP, 1))) {
            ShardAnswer::Order(Some(order)) => *order,
            other => panic!("{other:?}"),
        }
    }

    fn tell(&mut self, news: News, step: u64) -> Reply {
        let order = OrderId::new(GROUP, 1);
        let pay = |payment, outcome, amount| {
            ShardCommand::RecordPayment(RecordPayment { order, payment: PaymentId(payment), outcome, amount })
        };
        let repay = |refund, outcome, amount| {
            ShardCommand::RecordRefund(RecordRefund { order, refund: PaymentId(refund), outcome, amount })
        };
        let usd = |amount| Money { amount, currency: Currency(*b"USD") };
        let before = self.order();
        let command = match news {
            News::Success(id) => pay(id, PaymentOutcome::Succeeded, eur(PRICE)),
            News::Failure(id) => pay(id, PaymentOutcome::Failed, eur(PRICE)),
            News::WrongAmount => pay(3, PaymentOutcome::Succeeded, eur(PRICE - 1)),
            News::OtherCurrency => pay(4, PaymentOutcome::Succeeded, usd(PRICE)),
            News::TimeRunsOut => {
                // Long enough for an order, and for the hold of somebody else.
                self.at += 600_000;
                ShardCommand::Tick
            }
            News::BuyerCancels => ShardCommand::CancelOrder(CancelOrder { order, user: UserId(1) }),
            News::OrganiserRefunds => {
                ShardCommand::RefundOrder(RefundOrder { order, seats: None, reason: String::new() })
            }
            News::OrganiserRefundsSeat => {
                let seats = before.places.seats.first().map(|&seat| vec![seat]);
                if seats.is_none() {
                    return Reply::OfNoConcern;
                }
                ShardCommand::RefundOrder(RefundOrder { order, seats, reason: String::new() })
            }
            News::RefundConfirmed if before.refund_due.amount == 0 => {
                repay(20 + step, PaymentOutcome::Succeeded, eur(10))
            }
            News::RefundConfirmed => repay(20 + step, PaymentOutcome::Succeeded, before.refund_due),
            News::RefundOfOtherCurrency => repay(30 + step, PaymentOutcome::Succeeded, usd(PRICE)),
            News::RefundFailed => repay(40 + step, PaymentOutcome::Failed, eur(PRICE)),
            News::RefundBounces => match self.confirmed.take() {
                Some((PaymentId(refund), amount)) => repay(refund, PaymentOutcome::Failed, amount),
                None => return Reply::OfNoConcern,
            },
            News::Refund(id, outcome, amount) => repay(id, outcome, eur(amount)),
            News::SeatTaken => {
                self.hold(UserId(2), vec![SeatId(0)]);
                return Reply::OfNoConcern;
            }
        };
        let confirmed = match (&command, news) {
            (ShardCommand::RecordRefund(ask), News::RefundConfirmed | News::RefundOfOtherCurrency) => {
                Some((ask.refund, ask.amount))
            }
            _ => None,
        };
        let reply = Reply::of(self.ask(command));
        if let Reply::Order(_) = reply {
            self.confirmed = confirmed.or(self.confirmed);
        }
        reply
    }
}

/// Plays one sequence and compares after its last step. Its beginnings are sequences themselves.
fn play(table: &BTreeMap<(String, String), (String, String)>, sequence: &[News], channel: Option<&'static str>) {
    let mut played = Played::new(channel);
    let mut expected = Expected::new();
    for (news, step) in sequence.iter().zip(0..) {
        let wanted = expected.tell(table, *news);
        assert_eq!(played.tell(*news, step), wanted, "step {step} of {sequence:?} through {channel:?}");
    }
    let order = played.order();
    let foreign: i64 = order.foreign.iter().map(|foreign| foreign.captured.amount - foreign.refunded.amount).sum();
    let got = (order.state.as_str(), order.captured.amount, order.refund_due.amount, order.refunded.amount, foreign);
    let Expected { state, captured, owed, refunded, foreign_owed, .. } = &expected;
    assert_eq!(got, (state.as_str(), *captured, *owed, *refunded, *foreign_owed), "{sequence:?} through {channel:?}");
    played.shard.audit_showtimes().unwrap();
    // In whatever state: a success of nothing is none.
    let (id, sequence_len) = (PaymentId(50), played.shard.last_sequence());
    let nothing = RecordPayment { order: order.order, payment: id, outcome: PaymentOutcome::Succeeded, amount: eur(0) };
    let refusal = played.ask(ShardCommand::RecordPayment(nothing)).unwrap_err();
    assert!(matches!(refusal, Refusal::OutOfBounds { .. }), "{refusal} after {sequence:?}");
    assert_eq!((played.order(), played.shard.last_sequence()), (order, sequence_len), "{sequence:?}");
}

/// Plays every sequence of these, each after a beginning.
fn play_all(beginning: &[News], news: &[News], len_max: u32, channel: Option<&'static str>) {
    let table = table();
    assert!(table.len() > 30, "the table was not found");
    for len in 1..=len_max {
        for code in 0..news.len().pow(len) {
            let rest = (0..len).map(|place| news[code / news.len().pow(place) % news.len()]);
            let sequence: Vec<News> = beginning.iter().copied().chain(rest).collect();
            play(&table, &sequence, channel);
        }
    }
}

#[test]
fn every_sequence_up_to_five_ends_as_the_table_says() {
    play_all(&[], &ALL, 5, None);
}

/// Seats that are kept for a channel are free to the orders that were held through it.
#[test]
fn every_sequence_up_to_four_through_a_channel_ends_as_the_table_says() {
    play_all(&[], &ALL, 4, Some("press"));
}

#[test]
fn every_sequence_of_refunds_up_to_five_ends_as_the_table_says() {
    play_all(&[News::Success(1)], &REFUNDS, 5, None);
}

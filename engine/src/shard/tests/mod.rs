//! Transcripts: a script in, a transcript out.
//!
//! A line is `time who verb words…`; [`check`] replays the left side of every line and compares the right, or rewrites
//! it under `UPDATE_EXPECT=1`. After every line the machine is audited, rebuilt from its rows, and its drained rows are
//! compared with all its rows.

mod admission;
mod audits;
mod best;
mod best_oracle;
mod bounds;
mod coverage;
mod drawing;
mod equal;
mod golden;
mod holds;
mod hostile;
mod ledger;
mod money;
mod payments;
mod precedence;
mod random;
mod refusals;
mod sinks;
mod storage;
mod waitlist;

use crate::*;
use expect_test::Expect;
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUP: GroupId = GroupId(7);

/// A house of two rows of eight and a floor of ten: A costs 50.00, B 30.00, the floor 10.00. The aisle is after A4.
pub(super) fn small_house() -> Arc<SeatMap> {
    let category = |name: &str| Category { name: name.into(), color: String::new() };
    let row = |name: &str, y: i32, category: u16, gap: usize| SeatRow {
        name: name.into(),
        seats: (1..=8)
            .map(|number| Seat {
                number: number.to_string(),
                guid: format!("{name}{number}"),
                x: number * 1_000,
                y,
                category: CategoryId(category),
                flags: if number as usize == gap { SEAT_GAP_AFTER } else { 0 },
            })
            .collect(),
    };
    let stalls = Section { name: "Stalls".into(), rows: vec![row("A", 0, 0, 4), row("B", 1_000, 1, 0)] };
    let floor = Area { name: "floor".into(), capacity: 10, category: CategoryId(2) };
    let categories = vec![category("front"), category("back"), category("floor")];
    Arc::new(SeatMap::new("Small".into(), categories, vec![stalls], vec![floor]).unwrap())
}

pub(super) fn eur(amount: i64) -> Money {
    Money { amount, currency: Currency(*b"EUR") }
}

pub(super) fn showtime_id() -> ShowtimeId {
    ShowtimeId::new(GROUP, 1)
}

fn user_id(name: &str) -> UserId {
    UserId(name.bytes().fold(0, |id, byte| id << 8 | u128::from(byte)))
}

fn user_name(user: UserId) -> String {
    let bytes = user.0.to_be_bytes();
    String::from_utf8(bytes.into_iter().skip_while(|&byte| byte == 0).collect()).unwrap()
}

fn seat_id(label: &str) -> SeatId {
    let row = label.as_bytes()[0] - b'A';
    SeatId(u32::from(row) * 8 + label[1..].parse::<u32>().unwrap() - 1)
}

fn seat_name(seat: SeatId) -> String {
    format!("{}{}", char::from(b'A' + (seat.0 / 8) as u8), seat.0 % 8 + 1)
}

fn seat_names(seats: &[SeatId]) -> String {
    seats.iter().map(|&seat| seat_name(seat)).collect::<Vec<_>>().join(" ")
}

fn places_name(places: &Places) -> String {
    let areas = places.areas.iter().map(|(_, count)| format!("floor x{count}"));
    let seats = places.seats.iter().map(|&seat| seat_name(seat));
    seats.chain(areas).collect::<Vec<_>>().join(" ")
}

fn time(at: Timestamp) -> String {
    if at.0.is_multiple_of(1_000) { format!("{}s", at.0 / 1_000) } else { format!("{}ms", at.0) }
}

fn parse_time(text: &str) -> u64 {
    match text.strip_suffix("ms") {
        Some(millis) => millis.parse().unwrap(),
        None => text.strip_suffix('s').unwrap_or(text).parse::<u64>().unwrap() * 1_000,
    }
}

/// A shard under test, its stored rows, and the names that a script uses.
struct World {
    shard: Shard,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    seen: Sequence,
    /// Whether the repetitions of a line go on: audit and storage are checked after the last.
    is_repeating: bool,
    /// Whether every step is audited and stored: not where a test puts the state together by hand.
    is_checked: bool,
}

impl World {
    fn new() -> Self {
        Self { shard: Shard::new(GROUP), stored: BTreeMap::new(), seen: 0, is_repeating: false, is_checked: true }
    }

    fn apply(&mut self, at: u64, request: Option<RequestId>, command: ShardCommand) -> String {
        let replies = self.shard.apply(Timestamp(at), &[Envelope { request, command }]);
        let reply = &replies[0];
        let text = match &reply.result {
            Ok(outcome) => outcome_text(outcome),
            Err(Refusal::SeatsUnavailable { seats }) => format!("refused: {} not available", seat_names(seats)),
            Err(Refusal::LeavesOrphan { seats }) => format!("refused: would leave {} alone", seat_names(seats)),
            Err(refusal) => format!("refused: {refusal}"),
        };
        if self.is_checked && !self.is_repeating {
            self.check_storage();
        }
        if reply.replayed { format!("{text} (replayed)") } else { text }
    }

    /// Every invariant, and that rows give the machine back.
    fn check_storage(&mut self) {
        self.shard.audit().unwrap();
        for (key, value) in self.shard.drain_dirty().0 {
            match value {
                Some(value) => self.stored.insert(key, value),
                None => self.stored.remove(&key),
            };
        }
        let rows = self.shard.rows();
        let stored: Vec<Row> =
            self.stored.iter().map(|(key, value)| Row { key: key.clone(), value: value.clone() }).collect();
        assert_eq!(stored, rows, "the drained rows are not the rows");
        let loaded = Shard::load(GROUP, rows.into_iter()).unwrap();
        assert_eq!(loaded.digest(), self.shard.digest());
        assert_eq!(loaded.next_due(), self.shard.next_due());
    }

    /// Goes on with a machine rebuilt from its rows.
    fn restart(&mut self) -> String {
        self.shard = Shard::load(GROUP, self.shard.rows().into_iter()).unwrap();
        "restarted".into()
    }

    /// Runs a line many times with each number from 1 in place of `{}`. Gives the last answer.
    fn repeat(&mut self, left: &str) -> String {
        let (head, rest) = left.split_once(" repeat ").unwrap();
        let (count, rest) = rest.split_once(' ').unwrap();
        let count: u64 = count.parse().unwrap();
        let mut answer = String::new();
        for number in 1..=count {
            self.is_repeating = number < count;
            answer = self.run(&format!("{head} {rest}").replace("{}", &number.to_string()));
        }
        answer
    }

    fn run(&mut self, left: &str) -> String {
        if left.contains(" repeat ") {
            return self.repeat(left);
        }
        let words: Vec<&str> = left.split_whitespace().collect();
        let (at, who, verb, mut words) = (parse_time(words[0]), words[1], words[2], words[3..].to_vec());
        let mut request = None;
        if let Some(index) = words.iter().position(|word| word.starts_with("key=")) {
            let key = words.remove(index);
            request = Some(RequestId(user_id(key.strip_prefix("key=").unwrap()).0));
        }
        let mut option = |name: &str| {
            let prefix = format!("{name}=");
            let index = words.iter().position(|word| word.starts_with(&prefix))?;
            Some(words.remove(index)[prefix.len()..].to_owned())
        };
        let channel = option("via");
        let price = option("price").map(|price| eur(price.parse().unwrap()));
        let area = option("area").map_or(AreaId(0), |number| AreaId(number.parse().unwrap()));
        let mut ticket = option("ticket").map(|number| TicketNumber(number.parse().unwrap()));
        let showtime = match option("showtime") {
            Some(number) => ShowtimeId::new(GROUP, number.parse().unwrap()),
            None => showtime_id(),
        };
        let user = user_id(who);
        if ticket.is_none()
            && let ShardAnswer::Ticket(Some(view)) = self.shard.query(&ShardQuery::TicketOf { showtime, user })
        {
            ticket = Some(view.number);
        }
        let known = ticket.unwrap_or(TicketNumber(99));
        let hold = || HoldId::new(GROUP, words[0][1..].parse().unwrap());
        let order = || OrderId::new(GROUP, words[0][1..].parse().unwrap());
        let command = match verb {
            "sale" => {
                let mut sale = Sale { method: method(words[0]), ..Sale::default() };
                sale.opens_at = Some(Timestamp(0));
                let sale = patch(&words[1..]).apply(&sale);
                let prices = price.map_or(vec![eur(5_000), eur(3_000), eur(1_000)], |price| vec![price; 3]);
                ShardCommand::CreateShowtime(CreateShowtime {
                    showtime,
                    organisation: OrganisationId(1),
                    seat_map: small_house(),
                    prices,
                    sale,
                    draw_secret: [9; 32],
                })
            }
            "update" => ShardCommand::UpdateSale(UpdateSale { showtime, patch: patch(&words) }),
            "open" => ShardCommand::OpenQueue(OpenQueue { showtime }),
            "pause" => ShardCommand::PauseQueue(PauseQueue { showtime }),
            "resume" => ShardCommand::ResumeQueue(ResumeQueue { showtime }),
            "close" => ShardCommand::CloseQueue(CloseQueue { showtime }),
            "message" => {
                let text = (!words.is_empty()).then(|| words.join(" "));
                ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text })
            }
            "join" => ShardCommand::JoinQueue(JoinQueue { showtime, user }),
            "leave" => ShardCommand::LeaveQueue(LeaveQueue { showtime, user, ticket: known }),
            "claim" => ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket: known }),
            "hold" => {
                let choice = match words.first().copied() {
                    Some("floor") => SeatChoice::Area { area, quantity: words[1][1..].parse().unwrap() },
                    Some("best") => {
                        let value = |name: &str| {
                            let prefix = format!("{name}=");
                            words.iter().find_map(|word| word.strip_prefix(&prefix)).map(str::to_owned)
                        };
                        SeatChoice::Best(BestSeats {
                            quantity: words[1].parse().unwrap(),
                            category: value("category"),
                            section: value("section"),
                            accessible: words.contains(&"accessible"),
                            companion: words.contains(&"companion"),
                            together: words.contains(&"together"),
                        })
                    }
                    _ => SeatChoice::Named(words.iter().map(|label| seat_id(label)).collect()),
                };
                ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket, channel, choice })
            }
            "extend" => ShardCommand::ExtendHold(ExtendHold { hold: hold(), user }),
            "release" => ShardCommand::ReleaseHold(ReleaseHold { hold: hold(), user }),
            "order" => {
                let email = words.get(1).map_or(format!("{who}@example.org"), |email| (*email).to_owned());
                ShardCommand::PlaceOrder(PlaceOrder { hold: hold(), user, email })
            }
            "cancel" => ShardCommand::CancelOrder(CancelOrder { order: order(), user }),
            "pay" | "repay" => {
                let payment = PaymentId(words[1][1..].parse().unwrap());
                let outcome = if words[2] == "ok" { PaymentOutcome::Succeeded } else { PaymentOutcome::Failed };
                let currency = Currency::new(words.get(4).copied().unwrap_or("EUR")).unwrap_or(Currency(*b"???"));
                let amount = Money { amount: words[3].parse().unwrap(), currency };
                if verb == "pay" {
                    ShardCommand::RecordPayment(RecordPayment { order: order(), payment, outcome, amount })
                } else {
                    ShardCommand::RecordRefund(RecordRefund { order: order(), refund: payment, outcome, amount })
                }
            }
            "refund" => {
                let seats = (words.len() > 1).then(|| words[1..].iter().map(|label| seat_id(label)).collect());
                ShardCommand::RefundOrder(RefundOrder { order: order(), seats, reason: "asked".into() })
            }
            "block" => {
                let seats = words.iter().map(|label| seat_id(label)).collect();
                ShardCommand::BlockSeats(BlockSeats { showtime, seats, reason: "camera".into(), channel })
            }
            "unblock" => {
                let seats = words.iter().map(|label| seat_id(label)).collect();
                ShardCommand::UnblockSeats(UnblockSeats { showtime, seats })
            }
            "beacon" => ShardCommand::RecordBeacon(RecordBeacon {
                showtime,
                round: words[0].parse().unwrap(),
                randomness: words[1].bytes().collect(),
            }),
            "waitlist" => ShardCommand::JoinWaitlist(JoinWaitlist {
                showtime,
                user,
                quantity: words[0].parse().unwrap(),
                category: words.iter().find_map(|word| word.strip_prefix("category=")).map(str::to_owned),
                together: words.contains(&"together"),
            }),
            "unwait" => {
                let entry = OfferId::new(GROUP, words[0][1..].parse().unwrap());
                ShardCommand::LeaveWaitlist(LeaveWaitlist { entry, user })
            }
            "limits" => ShardCommand::SetLimits(SetLimits {
                requests_max: words.iter().find_map(|word| word.strip_prefix("requests=")?.parse().ok()),
                request_age_max: words.iter().find_map(|w| Some(Millis(parse_time(w.strip_prefix("age=")?)))),
                event_age_min: words.iter().find_map(|w| Some(Millis(parse_time(w.strip_prefix("events=")?)))),
                events_max: words.iter().find_map(|word| word.strip_prefix("eventsmax=")?.parse().ok()),
                tickets_max: words.iter().find_map(|word| word.strip_prefix("tickets=")?.parse().ok()),
            }),
            "register" => ShardCommand::RegisterSink(RegisterSink { sink: words.concat() }),
            "unregister" => ShardCommand::RemoveSink(RemoveSink { sink: words.concat() }),
            "acknowledge" => ShardCommand::AcknowledgeEvents(AcknowledgeEvents {
                sink: words[0].to_owned(),
                sequence: words[1].parse().unwrap(),
            }),
            "tick" => ShardCommand::Tick,
            "restart" => return self.restart(),
            "show" => {
                self.apply(at, None, ShardCommand::Tick);
                return self.show(words[0], user);
            }
            other => panic!("no such verb: {other}"),
        };
        self.apply(at, request, command)
    }

    fn show(&mut self, what: &str, user: UserId) -> String {
        let showtime = showtime_id();
        match what {
            "line" => {
                let ShardAnswer::Showtime(Some(view)) = self.shard.query(&ShardQuery::Showtime(showtime)) else {
                    return "nothing".into();
                };
                let message = view.message.map_or(String::new(), |text| format!(", message {text:?}"));
                format!(
                    "{}, {} joined, {} entrants, cursor {}, {} active{message}",
                    view.state, view.joined, view.entrants, view.cursor, view.active
                )
            }
            "ticket" => match self.shard.query(&ShardQuery::TicketOf { showtime, user }) {
                ShardAnswer::Ticket(Some(view)) => ticket_text(&view),
                _ => "no ticket".into(),
            },
            place if place.starts_with("place") => {
                let place = place["place".len()..].parse().unwrap();
                match self.shard.query(&ShardQuery::TicketAt { showtime, place }) {
                    ShardAnswer::Ticket(Some(view)) => {
                        assert_eq!(view.place, Some(place), "the ticket there says it is elsewhere");
                        format!("{} of {}", view.number, user_name(view.user))
                    }
                    _ => "no ticket".into(),
                }
            }
            "seats" => {
                let ShardAnswer::Seats(Some(view)) = self.shard.query(&ShardQuery::Seats(showtime)) else {
                    return "nothing".into();
                };
                let letters: String =
                    view.states.iter().map(|&state| char::from(b".hS#"[usize::from(state)])).collect();
                let area = view.areas[0];
                let (a, b) = letters.split_at(8);
                format!("A {a} B {b} floor {} held {} sold of {}", area.held, area.sold, area.capacity)
            }
            "counts" => {
                let ShardAnswer::Showtime(Some(view)) = self.shard.query(&ShardQuery::Showtime(showtime)) else {
                    return "nothing".into();
                };
                let counts = view.availability.iter();
                let texts = counts.map(|c| format!("{} {}/{}/{}/{}", c.name, c.available, c.held, c.sold, c.blocked));
                texts.collect::<Vec<_>>().join(", ")
            }
            "events" => {
                let events = self.shard.events(self.seen + 1, 1_000).unwrap();
                self.seen = self.shard.last_sequence();
                events.iter().map(|record| record.event.kind()).collect::<Vec<_>>().join(" ")
            }
            "last" => {
                let from = self.shard.last_sequence().saturating_sub(2).max(1);
                let events = self.shard.events(from, 3).unwrap();
                events.iter().map(|record| format!("{:?}", record.event)).collect::<Vec<_>>().join(", ")
            }
            "log" => {
                let oldest = self.shard.events(1, 1).map_or_else(|oldest| oldest, |_| 1);
                format!("events {oldest} to {}", self.shard.last_sequence())
            }
            "due" => self.shard.next_due().map_or("nothing due".into(), |at| format!("due at {}", time(at))),
            "draw" => match self.shard.query(&ShardQuery::Draw(showtime)) {
                ShardAnswer::Draw(Some(DrawView { bundle: Some(bundle), commitment })) => {
                    assert_eq!(bundle.commitment, commitment);
                    assert_eq!(bundle.seed, draw::seed(&bundle.secret, &bundle.merkle_root, bundle.beacon.as_deref()));
                    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                    format!("{} entrants, seed {}…", bundle.entrants, hex(&bundle.seed[..4]))
                }
                ShardAnswer::Draw(Some(_)) => "not drawn".into(),
                _ => "nothing".into(),
            },
            "receipt" => {
                let ShardAnswer::Ticket(Some(ticket)) = self.shard.query(&ShardQuery::TicketOf { showtime, user })
                else {
                    return "no ticket".into();
                };
                let number = ticket.number;
                match self.shard.query(&ShardQuery::Receipt { showtime, number }) {
                    ShardAnswer::Receipt(Some(receipt)) => {
                        let ShardAnswer::Draw(Some(view)) = self.shard.query(&ShardQuery::Draw(showtime)) else {
                            panic!()
                        };
                        let bundle = view.bundle.unwrap();
                        let data = merkle::leaf_data(number, &merkle::subject_hash(user));
                        assert_eq!(receipt.leaf, merkle::leaf_hash(&data));
                        let (index, root) = (number.0 - 1, &bundle.merkle_root);
                        assert!(merkle::verify(&receipt.leaf, index, bundle.entrants, &receipt.proof, root));
                        let shuffle = draw::Shuffle::new(bundle.seed, bundle.entrants);
                        assert_eq!(shuffle.position_of(index), Some(receipt.place - 1));
                        assert_eq!(ticket.place, Some(receipt.place));
                        format!("{number} proved by {} hashes, place {}", receipt.proof.len(), receipt.place)
                    }
                    _ => "no receipt".into(),
                }
            }
            "report" => {
                let ShardAnswer::Report(Some(report)) = self.shard.query(&ShardQuery::Report(showtime)) else {
                    return "nothing".into();
                };
                let orders: Vec<String> = report.orders.iter().map(|(state, n)| format!("{n} {state}")).collect();
                format!(
                    "revenue {}, captured {}, due {}, refunded {}, {} holds, orders: {}",
                    report.revenue.iter().map(|money| money.amount).sum::<i64>(),
                    report.captured.amount,
                    report.refund_due.amount,
                    report.refunded.amount,
                    report.holds,
                    orders.join(", ")
                )
            }
            entry if entry.starts_with('w') => {
                match self.shard.query(&ShardQuery::Waitlist(OfferId::new(GROUP, entry[1..].parse().unwrap()))) {
                    ShardAnswer::Waitlist(Some(view)) => match view.hold {
                        Some(hold) => format!("{entry} offered h{}", hold.counter()),
                        None => format!("{entry} waiting for {}, {} ahead", view.quantity, view.ahead.unwrap()),
                    },
                    _ => "no entry".into(),
                }
            }
            hold if hold.starts_with('h') => {
                match self.shard.query(&ShardQuery::Hold(HoldId::new(GROUP, hold[1..].parse().unwrap()))) {
                    ShardAnswer::Hold(HoldAnswer::Live(view)) => hold_text(&view),
                    ShardAnswer::Hold(answer) => format!("{answer:?}").to_lowercase(),
                    _ => unreachable!(),
                }
            }
            order => match self.shard.query(&ShardQuery::Order(OrderId::new(GROUP, order[1..].parse().unwrap()))) {
                ShardAnswer::Order(Some(view)) => order_text(&view),
                _ => "no order".into(),
            },
        }
    }
}

fn method(text: &str) -> Method {
    match text {
        "draw" => Method::Draw,
        "fifo" => Method::Fifo,
        "passthrough" => Method::Passthrough,
        "reject" => Method::Reject,
        other => panic!("no such method: {other}"),
    }
}

fn patch(words: &[&str]) -> SalePatch {
    let mut patch = SalePatch::default();
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        let number = || value.parse::<u32>().unwrap();
        let span = || Some(Millis(parse_time(value)));
        let at = || Some((value != "never").then(|| Timestamp(parse_time(value))));
        match name {
            "method" => patch.method = Some(method(value)),
            "rate" => patch.rate_per_minute = Some(number()),
            "room" => patch.active_max = Some(number()),
            "claim" => patch.claim_ttl = span(),
            "session" => patch.session_ttl = span(),
            "hold" => patch.hold_ttl = span(),
            "total" => patch.hold_total_max = span(),
            "payment" => patch.payment_ttl = span(),
            "perhold" => patch.seats_per_hold_max = Some(number()),
            "perbuyer" => patch.seats_per_buyer_max = Some(number()),
            "orphans" => patch.prevent_orphans = Some(value == "refused"),
            "waitlist" => patch.waitlist = Some(value == "yes"),
            "beacon" => {
                let plan = |round| BeaconPlan { source: "drand".into(), round };
                patch.beacon = Some((value != "none").then(|| plan(value.parse().unwrap())));
            }
            "prequeue" => patch.prequeue_at = at(),
            "opens" => patch.opens_at = at(),
            "closes" => patch.closes_at = at(),
            other => panic!("no such setting: {other}"),
        }
    }
    patch
}

fn ticket_text(view: &TicketView) -> String {
    let place = match (view.place, view.ahead) {
        (Some(place), Some(ahead)) => format!(", place {place}, {ahead} ahead"),
        _ => String::new(),
    };
    let eta = view.eta_secs.map_or(String::new(), |secs| format!(", eta {secs}s"));
    let claim = view.claim_by.map_or(String::new(), |at| format!(", claim by {}", time(at)));
    let session = view.session_expires_at.map_or(String::new(), |at| format!(" until {}", time(at)));
    format!("{} {}{session}{place}{eta}{claim}", view.number, view.state)
}

fn hold_text(view: &HoldView) -> String {
    let order = view.order.map_or(String::new(), |order| format!(" for o{}", order.counter()));
    let (hold, places) = (view.hold.counter(), places_name(&view.places));
    format!(
        "h{hold} of {}: {places}, {} until {}{order}",
        user_name(view.user),
        view.total.amount,
        time(view.expires_at)
    )
}

fn order_text(view: &OrderView) -> String {
    let due =
        if view.state == OrderState::PendingPayment { format!(" until {}", time(view.pay_by)) } else { String::new() };
    let mut text =
        format!("o{} {}{due}: {}, {}", view.order.counter(), view.state, places_name(&view.places), view.total.amount);
    for (name, money) in [("captured", view.captured), ("due", view.refund_due), ("refunded", view.refunded)] {
        if money.amount != 0 {
            text += &format!(", {name} {}", money.amount);
        }
    }
    for foreign in &view.foreign {
        text += &format!(", foreign {} refunded {}", foreign.captured, foreign.refunded.amount);
    }
    text
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".into(),
        Outcome::ShowtimeCreated { showtime, .. } => format!("created {}", showtime.counter()),
        Outcome::SaleUpdated { .. } => "updated".into(),
        Outcome::Queued { ticket, joined } => {
            format!("{}{}", ticket_text(ticket), if *joined { "" } else { " (as before)" })
        }
        Outcome::Claimed { ticket, .. } => ticket_text(ticket),
        Outcome::Held { hold } => hold_text(hold),
        Outcome::Waitlisted { entry, ahead } => format!("w{} with {ahead} ahead", entry.counter()),
        Outcome::Ordered { order } => order_text(order),
        Outcome::PaymentKnown { payment, order } => format!("p{} known, {}", payment.0, order_text(order)),
        other => format!("{other:?}"),
    }
}

/// Replays the left side of a transcript and compares the right.
#[track_caller]
fn check(expect: Expect) {
    let mut world = World::new();
    crate::transcript::check(expect, |left| world.run(left));
}

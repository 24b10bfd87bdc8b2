//! The same random commands to the machine and to a naive model, written to be obviously right: plain vectors, scanned
//! from end to end, nothing counted in advance. Replies, facts and state must agree after every command.

use super::{eur, seat_names, showtime_id, small_house, time};
use crate::*;
use std::collections::BTreeMap;

/// What the model knows of a ticket: its state, spelled out.
#[derive(Debug, Clone, PartialEq)]
enum At {
    InLine,
    Called(Timestamp),
    Shopping(Timestamp),
    Done,
    Left,
    Expired,
}

#[derive(Debug, Clone)]
struct ModelTicket {
    user: UserId,
    at: At,
}

#[derive(Debug, Clone)]
struct ModelHold {
    user: UserId,
    ticket: Option<TicketNumber>,
    places: Places,
    channel: Option<String>,
    held_at: Timestamp,
    expires_at: Timestamp,
    order: Option<OrderId>,
}

#[derive(Debug, Clone)]
struct ModelEntry {
    id: OfferId,
    user: UserId,
    wish: (u32, Option<u16>, bool),
    hold: Option<HoldId>,
}

#[derive(Debug, Clone)]
struct ModelBlock {
    seats: Vec<SeatId>,
    channel: Option<String>,
    reason: String,
}

/// One showtime, as plainly as it can be said.
#[derive(Debug, Clone)]
pub(super) struct Model {
    now: Timestamp,
    sale: Sale,
    state: QueueState,
    entrants: u64,
    /// Ticket numbers by place, once places are known.
    line: Vec<u64>,
    tickets: Vec<ModelTicket>,
    cursor: u64,
    /// Steps of admission whose time to claim is not over.
    calls: Vec<(u64, u64, Timestamp)>,
    credit: u128,
    credit_at: Timestamp,
    stepped_at: Option<Timestamp>,
    holds: BTreeMap<HoldId, ModelHold>,
    holds_made: u64,
    orders: Vec<OrderView>,
    blocks: Vec<ModelBlock>,
    entries: Vec<ModelEntry>,
    entries_made: u64,
    answered: BTreeMap<RequestId, (ShardCommand, Reply)>,
    events: Vec<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ModelDue {
    Prequeue,
    Opening,
    Closing,
    Order(OrderId),
    Hold(HoldId),
    Session(TicketNumber),
    Claims(u64, u64),
    Admission,
}

const CALL: u128 = 60_000;

fn size(places: &Places) -> u32 {
    places.seats.len() as u32 + places.areas.iter().map(|area| area.1).sum::<u32>()
}

fn price(places: &Places) -> Money {
    let seats = places.seats.iter().map(|seat| if seat.0 < 8 { 5_000 } else { 3_000 }).sum::<i64>();
    eur(seats + places.areas.iter().map(|area| i64::from(area.1) * 1_000).sum::<i64>())
}

impl Model {
    pub(super) fn new(sale: Sale) -> Self {
        Self {
            now: Timestamp(0),
            sale,
            state: QueueState::Scheduled,
            entrants: 0,
            line: Vec::new(),
            tickets: Vec::new(),
            cursor: 0,
            calls: Vec::new(),
            credit: 0,
            credit_at: Timestamp(0),
            stepped_at: None,
            holds: BTreeMap::new(),
            holds_made: 0,
            orders: Vec::new(),
            blocks: Vec::new(),
            entries: Vec::new(),
            entries_made: 0,
            answered: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn burst(&self) -> u128 {
        u128::from(self.sale.admission.rate_per_minute / 60).max(1) * CALL
    }

    fn credit_now(&self, now: Timestamp) -> u128 {
        let grown = u128::from((now - self.credit_at).0) * u128::from(self.sale.admission.rate_per_minute);
        (self.credit + grown).min(self.burst() + CALL - 1)
    }

    fn active(&self) -> u64 {
        self.tickets.iter().filter(|ticket| matches!(ticket.at, At::Called(_) | At::Shopping(_))).count() as u64
    }

    /// Places that wait, in order.
    fn waiting(&self) -> Vec<u64> {
        let places =
            self.line.iter().zip(1..).filter(|(number, _)| self.tickets[**number as usize - 1].at == At::InLine);
        places.map(|(_, place)| place).collect()
    }

    fn at_place(&mut self, place: u64) -> &mut ModelTicket {
        let number = self.line[place as usize - 1];
        &mut self.tickets[number as usize - 1]
    }

    fn has_line(&self) -> bool {
        matches!(self.sale.method, Method::Fifo | Method::Draw)
    }

    fn step_at(&self) -> Option<Timestamp> {
        let is_full = self.active() >= u64::from(self.sale.admission.active_max);
        if !self.has_line() || self.state != QueueState::Open || self.waiting().is_empty() || is_full {
            return None;
        }
        // The first millisecond at which the credit is there.
        let mut at = self.credit_at;
        if self.credit < CALL {
            let missing = (CALL - self.credit).div_ceil(u128::from(self.sale.admission.rate_per_minute));
            at = at + Millis(missing as u64);
        }
        Some(match self.stepped_at {
            Some(stepped) => at.max(stepped + Millis(20)),
            None => at,
        })
    }

    fn dues(&self) -> Vec<(Timestamp, ModelDue)> {
        let mut dues = Vec::new();
        if self.state == QueueState::Scheduled {
            dues.extend(self.sale.prequeue_at.map(|at| (at, ModelDue::Prequeue)));
        }
        if self.state != QueueState::Closed {
            dues.extend(self.sale.closes_at.map(|at| (at, ModelDue::Closing)));
        }
        if matches!(self.state, QueueState::Scheduled | QueueState::Prequeue) {
            dues.extend(self.sale.opens_at.map(|at| (at, ModelDue::Opening)));
        }
        for (&id, hold) in &self.holds {
            dues.push((hold.expires_at, hold.order.map_or(ModelDue::Hold(id), ModelDue::Order)));
        }
        for (ticket, number) in self.tickets.iter().zip(1..) {
            if let At::Shopping(until) = ticket.at {
                dues.push((until, ModelDue::Session(TicketNumber(number))));
            }
        }
        dues.extend(self.calls.iter().map(|&(from, to, by)| (by, ModelDue::Claims(from, to))));
        dues.extend(self.step_at().map(|at| (at, ModelDue::Admission)));
        dues
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.dues().into_iter().map(|due| due.0).min()
    }

    fn settle(&mut self) {
        while let Some((_, due)) = self.dues().into_iter().filter(|due| due.0 <= self.now).min() {
            match due {
                ModelDue::Prequeue => {
                    self.state = QueueState::Prequeue;
                    self.events.push(Event::PrequeueStarted);
                }
                ModelDue::Opening => self.open(),
                ModelDue::Closing => {
                    self.state = QueueState::Closed;
                    self.events.push(Event::QueueClosed);
                }
                ModelDue::Order(id) => {
                    let hold = self.drop_order_hold(id);
                    let order = &mut self.orders[id.counter() as usize - 1];
                    order.state = if owes(order) { OrderState::RefundDue } else { OrderState::Expired };
                    let (user, places, total) = (order.user, order.places.clone(), order.total);
                    self.events.push(Event::OrderExpired { order: id, user, places: places.clone(), total });
                    self.events.push(Event::HoldExpired { hold, places: places.clone() });
                    self.blocked_again(&places);
                }
                ModelDue::Hold(id) => {
                    let hold = self.holds.remove(&id).unwrap();
                    self.events.push(Event::HoldExpired { hold: id, places: hold.places.clone() });
                    self.blocked_again(&hold.places);
                    if let Some(entry) = self.take_offer(id) {
                        self.events.push(Event::WaitlistExpired { entry: entry.id, user: entry.user });
                    }
                }
                ModelDue::Session(number) => {
                    self.tickets[number.0 as usize - 1].at = At::Expired;
                    self.events.push(Event::AdmissionExpired { ticket: number });
                }
                ModelDue::Claims(from, to) => {
                    self.calls.retain(|call| call.0 != from);
                    let mut count = 0;
                    for place in from..=to {
                        let ticket = self.at_place(place);
                        if matches!(ticket.at, At::Called(_)) {
                            ticket.at = At::Expired;
                            count += 1;
                        }
                    }
                    if count > 0 {
                        self.events.push(Event::ClaimsMissed { from, to, count });
                    }
                }
                ModelDue::Admission => self.admit(),
            }
            self.offer();
        }
    }

    fn open(&mut self) {
        self.state = QueueState::Open;
        self.entrants = self.tickets.len() as u64;
        let numbers = 1..=self.entrants;
        self.line = numbers.clone().collect();
        if self.sale.method == Method::Draw {
            let leaf = |index: u64| {
                let user = self.tickets[index as usize].user;
                merkle::leaf_hash(&merkle::leaf_data(TicketNumber(index + 1), &merkle::subject_hash(user)))
            };
            let mut leaves = |from: u64, count: u64| (count == 1).then(|| leaf(from));
            let merkle_root = merkle::root(0, self.entrants, &mut leaves);
            let secret = [9; 32];
            let seed = draw::seed(&secret, &merkle_root, None);
            let shuffle = draw::Shuffle::new(seed, self.entrants);
            self.line.sort_by_key(|number| shuffle.position_of(number - 1));
            let commitment = <sha2::Sha256 as sha2::Digest>::digest(secret).into();
            let (entrants, beacon, rounds) = (self.entrants, None, 90);
            let bundle = DrawBundle { entrants, commitment, secret, merkle_root, beacon, seed, rounds };
            self.events.push(Event::DrawPublished(Box::new(bundle)));
        }
        self.credit = self.burst();
        self.credit_at = self.now;
        self.events.push(Event::QueueOpened);
    }

    fn admit(&mut self) {
        self.credit = self.credit_now(self.now);
        self.credit_at = self.now;
        let room = u64::from(self.sale.admission.active_max) - self.active();
        let count = (self.credit / CALL).min(u128::from(room));
        let called: Vec<u64> = self.waiting().into_iter().take(count as usize).collect();
        let claim_by = self.now + self.sale.admission.claim_ttl;
        for place in &called {
            self.at_place(*place).at = At::Called(claim_by);
        }
        let (from, to) = (self.cursor + 1, *called.last().unwrap());
        self.credit -= called.len() as u128 * CALL;
        self.stepped_at = Some(self.now);
        self.cursor = to;
        self.calls.push((from, to, claim_by));
        self.events.push(Event::QueueAdmitted { from, to, claim_by });
    }

    fn drop_order_hold(&mut self, order: OrderId) -> HoldId {
        let id = *self.holds.iter().find(|(_, hold)| hold.order == Some(order)).unwrap().0;
        self.holds.remove(&id);
        id
    }

    /// Seats as everybody sees them.
    pub(super) fn seat_state(&self, seat: SeatId) -> SeatState {
        if self.holds.values().any(|hold| hold.places.seats.contains(&seat)) {
            return SeatState::Held;
        }
        let completed = self.orders.iter().filter(|order| order.state == OrderState::Completed);
        if completed.into_iter().any(|order| order.places.seats.contains(&seat)) {
            return SeatState::Sold;
        }
        match self.block_of(seat) {
            Some(_) => SeatState::Blocked,
            None => SeatState::Available,
        }
    }

    fn block_of(&self, seat: SeatId) -> Option<&ModelBlock> {
        self.blocks.iter().find(|block| block.seats.contains(&seat))
    }

    pub(super) fn area(&self) -> AreaCounts {
        let in_area = |places: &Places| places.areas.iter().map(|area| area.1).sum::<u32>();
        let sold = self.orders.iter().filter(|order| order.state == OrderState::Completed);
        AreaCounts {
            capacity: 10,
            held: self.holds.values().map(|hold| in_area(&hold.places)).sum(),
            sold: sold.map(|order| in_area(&order.places)).sum(),
        }
    }

    fn taken(&self, user: UserId) -> u32 {
        let held = self.holds.values().filter(|hold| hold.user == user).map(|hold| size(&hold.places)).sum::<u32>();
        let bought = self.orders.iter().filter(|order| order.user == user && order.state == OrderState::Completed);
        held + bought.map(|order| size(&order.places)).sum::<u32>()
    }

    fn place_of(&self, number: u64) -> Option<u64> {
        let is_known = !matches!(self.state, QueueState::Scheduled | QueueState::Prequeue);
        // Closed without ever having opened, the line is in join order.
        let place = self.line.iter().position(|other| *other == number).map_or(number, |index| index as u64 + 1);
        is_known.then_some(place)
    }

    fn ticket_view(&self, number: u64) -> TicketView {
        let ticket = &self.tickets[number as usize - 1];
        let is_known = !matches!(self.state, QueueState::Scheduled | QueueState::Prequeue);
        TicketView {
            showtime: showtime_id(),
            number: TicketNumber(number),
            user: ticket.user,
            state: match ticket.at {
                At::InLine if !is_known => TicketState::Prequeue,
                At::InLine => TicketState::Waiting,
                At::Called(_) => TicketState::Called,
                At::Shopping(_) => TicketState::Shopping,
                At::Done => TicketState::Done,
                At::Left => TicketState::Left,
                At::Expired => TicketState::Expired,
            },
            place: self.place_of(number),
            ahead: self.place_of(number).map(|place| place.saturating_sub(self.cursor)),
            eta_secs: None,
            claim_by: if let At::Called(by) = ticket.at { Some(by) } else { None },
            session_expires_at: if let At::Shopping(until) = ticket.at { Some(until) } else { None },
        }
    }

    pub(super) fn ticket_views(&self) -> Vec<TicketView> {
        (1..=self.tickets.len() as u64).map(|number| self.ticket_view(number)).collect()
    }

    fn wrong_state(&self) -> Refusal {
        let is_ahead = matches!(self.state, QueueState::Scheduled | QueueState::Prequeue);
        Refusal::WrongQueueState { state: self.state, opens_at: self.sale.opens_at.filter(|_| is_ahead) }
    }

    fn ticket_of(&self, ticket: TicketNumber, user: UserId) -> Result<usize, Refusal> {
        let index = (ticket.0 as usize).wrapping_sub(1);
        match self.tickets.get(index) {
            Some(found) if found.user == user => Ok(index),
            _ => Err(Refusal::NoSuchTicket),
        }
    }

    fn hold_of(&self, id: HoldId, user: UserId) -> Result<ModelHold, Refusal> {
        match self.holds.get(&id) {
            Some(hold) if hold.user == user => Ok(hold.clone()),
            None if (1..=self.holds_made).contains(&id.counter()) => Err(Refusal::HoldGone),
            _ => Err(Refusal::NoSuchHold),
        }
    }

    fn hold_view(&self, id: HoldId) -> HoldView {
        let hold = &self.holds[&id];
        HoldView {
            hold: id,
            showtime: showtime_id(),
            user: hold.user,
            places: hold.places.clone(),
            total: price(&hold.places),
            expires_at: hold.expires_at,
            order: hold.order,
        }
    }

    fn in_the_way(&self, seats: &[SeatId], channel: Option<&String>) -> Vec<SeatId> {
        let is_free = |seat: SeatId| match self.seat_state(seat) {
            SeatState::Available => true,
            SeatState::Blocked => channel.is_some() && self.block_of(seat).unwrap().channel.as_ref() == channel,
            _ => false,
        };
        seats.iter().copied().filter(|seat| !is_free(*seat)).collect()
    }

    pub(super) fn apply(&mut self, at: Timestamp, envelope: &Envelope<ShardCommand>) -> Reply {
        self.now = self.now.max(at);
        self.settle();
        if let Some((command, reply)) = envelope.request.and_then(|id| self.answered.get(&id)) {
            if *command != envelope.command {
                return Reply { result: Err(Refusal::RequestIdReused), replayed: false };
            }
            return Reply { result: reply.result.clone(), replayed: true };
        }
        let reply = Reply { result: self.execute(&envelope.command), replayed: false };
        self.offer();
        self.settle();
        if let Some(id) = envelope.request {
            self.answered.insert(id, (envelope.command.clone(), reply.clone()));
        }
        reply
    }

    fn execute(&mut self, command: &ShardCommand) -> Result<Outcome, Refusal> {
        match command {
            ShardCommand::Tick => Ok(Outcome::Done),
            ShardCommand::OpenQueue(_) => match self.state {
                QueueState::Open => Ok(Outcome::Done),
                QueueState::Scheduled | QueueState::Prequeue => {
                    self.open();
                    Ok(Outcome::Done)
                }
                _ => Err(self.wrong_state()),
            },
            ShardCommand::PauseQueue(_) => self.switch(QueueState::Open, QueueState::Paused, Event::QueuePaused),
            ShardCommand::ResumeQueue(_) => self.switch(QueueState::Paused, QueueState::Open, Event::QueueResumed),
            ShardCommand::CloseQueue(_) => {
                if self.state != QueueState::Closed {
                    self.state = QueueState::Closed;
                    self.events.push(Event::QueueClosed);
                }
                Ok(Outcome::Done)
            }
            ShardCommand::UpdateSale(ask) => {
                let sale = ask.patch.apply(&self.sale);
                sale.validate()?;
                if sale != self.sale {
                    self.credit = self.credit_now(self.now);
                    self.credit_at = self.now;
                    self.sale = sale.clone();
                    self.credit = self.credit.min(self.burst() + CALL - 1);
                    self.events.push(Event::SaleUpdated);
                }
                Ok(Outcome::SaleUpdated { sale: Box::new(sale) })
            }
            ShardCommand::JoinQueue(ask) => self.join(ask),
            ShardCommand::LeaveQueue(ask) => self.leave(ask),
            ShardCommand::ClaimAdmission(ask) => self.claim(ask),
            ShardCommand::HoldSeats(ask) => self.hold(ask),
            ShardCommand::ExtendHold(ask) => {
                let hold = self.hold_of(ask.hold, ask.user)?;
                if hold.order.is_some() {
                    return Err(Refusal::HoldHasOrder);
                }
                if self.entries.iter().any(|entry| entry.hold == Some(ask.hold)) {
                    return Err(Refusal::HoldTotalReached);
                }
                let latest = hold.held_at + self.sale.hold_total_max;
                let expires_at = (self.now + self.sale.hold_ttl).min(latest).max(hold.expires_at);
                if expires_at == hold.expires_at && hold.expires_at >= latest {
                    return Err(Refusal::HoldTotalReached);
                }
                if expires_at != hold.expires_at {
                    self.holds.get_mut(&ask.hold).unwrap().expires_at = expires_at;
                    self.events.push(Event::HoldExtended { hold: ask.hold, expires_at });
                }
                Ok(Outcome::Held { hold: self.hold_view(ask.hold) })
            }
            ShardCommand::ReleaseHold(ask) => {
                if self.hold_of(ask.hold, ask.user)?.order.is_some() {
                    return Err(Refusal::HoldHasOrder);
                }
                self.give_back(ask.hold);
                Ok(Outcome::Done)
            }
            ShardCommand::PlaceOrder(ask) => self.order(ask),
            ShardCommand::CancelOrder(ask) => {
                let index = self.order_index(ask.order)?;
                let order = self.orders[index].clone();
                if order.user != ask.user {
                    return Err(Refusal::NoSuchOrder);
                }
                match order.state {
                    OrderState::Canceled => return Ok(Outcome::Ordered { order: Box::new(order) }),
                    OrderState::PendingPayment => {}
                    state => return Err(Refusal::WrongOrderState { state }),
                }
                let hold = self.drop_order_hold(ask.order);
                let order = &mut self.orders[index];
                order.state = if owes(order) { OrderState::RefundDue } else { OrderState::Canceled };
                let order = order.clone();
                let (user, places, total) = (order.user, order.places.clone(), order.total);
                self.events.push(Event::OrderCanceled { order: ask.order, user, places: places.clone(), total });
                self.events.push(Event::HoldReleased { hold, places: places.clone() });
                self.blocked_again(&places);
                Ok(Outcome::Ordered { order: Box::new(order) })
            }
            ShardCommand::RecordPayment(ask) => self.pay(ask),
            ShardCommand::RefundOrder(ask) => {
                let index = self.order_index(ask.order)?;
                let order = &mut self.orders[index];
                if let Some(seat) = ask.seats.iter().flatten().find(|seat| !order.places.seats.contains(seat)) {
                    return Err(Refusal::NoSuchSeat(*seat));
                }
                if order.state != OrderState::Completed {
                    return Err(Refusal::WrongOrderState { state: order.state });
                }
                let mut back = order.places.clone();
                if let Some(seats) = &ask.seats {
                    back.areas.clear();
                    back.seats.retain(|seat| seats.contains(seat));
                    order.places.seats.retain(|seat| !seats.contains(seat));
                } else {
                    order.places = Places::default();
                }
                let amount = price(&back);
                order.refund_due.amount += amount.amount;
                if order.places == Places::default() {
                    order.state = if owes(order) { OrderState::RefundDue } else { OrderState::Refunded };
                }
                let order = order.clone();
                self.events.push(Event::SeatsReleased { places: back, reason: ask.reason.clone() });
                self.events.push(Event::RefundDue { order: ask.order, amount, reason: ask.reason.clone() });
                Ok(Outcome::Ordered { order: Box::new(order) })
            }
            ShardCommand::RecordRefund(ask) => self.repay(ask),
            ShardCommand::BlockSeats(ask) => {
                let mut seats = ask.seats.clone();
                seats.sort();
                seats.dedup();
                let is_taken = |seat: &SeatId| matches!(self.seat_state(*seat), SeatState::Held | SeatState::Sold);
                let taken: Vec<SeatId> = seats.iter().copied().filter(is_taken).collect();
                if !taken.is_empty() {
                    return Err(Refusal::SeatsUnavailable { seats: taken });
                }
                self.lift(&seats);
                self.blocks.push(ModelBlock {
                    seats: seats.clone(),
                    channel: ask.channel.clone(),
                    reason: ask.reason.clone(),
                });
                self.events.push(Event::SeatsBlocked { seats, reason: ask.reason.clone() });
                Ok(Outcome::Done)
            }
            ShardCommand::UnblockSeats(ask) => {
                let mut seats = ask.seats.clone();
                seats.sort();
                seats.dedup();
                seats.retain(|seat| self.seat_state(*seat) == SeatState::Blocked);
                if !seats.is_empty() {
                    self.lift(&seats);
                    let places = Places { seats, areas: Vec::new() };
                    self.events.push(Event::SeatsReleased { places, reason: "unblocked".into() });
                }
                Ok(Outcome::Done)
            }
            ShardCommand::JoinWaitlist(ask) => self.join_waitlist(ask),
            ShardCommand::LeaveWaitlist(ask) => {
                let mine = |entry: &&ModelEntry| entry.id == ask.entry && entry.user == ask.user;
                let entry = self.entries.iter().find(mine).cloned().ok_or(Refusal::NoSuchEntry)?;
                match entry.hold {
                    Some(hold) => self.give_back(hold),
                    None => {
                        self.entries.retain(|other| other.id != entry.id);
                        self.events.push(Event::WaitlistLeft { entry: entry.id, user: entry.user });
                    }
                }
                Ok(Outcome::Done)
            }
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn lift(&mut self, seats: &[SeatId]) {
        for block in &mut self.blocks {
            block.seats.retain(|seat| !seats.contains(seat));
        }
    }

    fn switch(&mut self, from: QueueState, to: QueueState, event: Event) -> Result<Outcome, Refusal> {
        if self.state == from {
            self.state = to;
            self.events.push(event);
        } else if self.state != to {
            return Err(self.wrong_state());
        }
        Ok(Outcome::Done)
    }

    fn join(&mut self, ask: &JoinQueue) -> Result<Outcome, Refusal> {
        match self.sale.method {
            Method::Passthrough => return Err(Refusal::NoLine),
            Method::Reject => return Err(Refusal::SaleRejects),
            _ => {}
        }
        if let Some(index) = self.tickets.iter().position(|ticket| ticket.user == ask.user) {
            return Ok(Outcome::Queued { ticket: self.ticket_view(index as u64 + 1), joined: false });
        }
        if matches!(self.state, QueueState::Scheduled | QueueState::Closed) {
            return Err(self.wrong_state());
        }
        self.tickets.push(ModelTicket { user: ask.user, at: At::InLine });
        let number = self.tickets.len() as u64;
        if self.state != QueueState::Prequeue {
            self.line.push(number);
        }
        self.events.push(Event::QueueJoined { ticket: TicketNumber(number), user: ask.user });
        if self.step_at().is_some_and(|at| at <= self.now) {
            self.admit();
        }
        Ok(Outcome::Queued { ticket: self.ticket_view(number), joined: true })
    }

    fn leave(&mut self, ask: &LeaveQueue) -> Result<Outcome, Refusal> {
        let index = self.ticket_of(ask.ticket, ask.user)?;
        match self.tickets[index].at {
            At::Done | At::Expired => return Err(Refusal::TicketOver),
            At::Left => return Ok(Outcome::Done),
            _ => {}
        }
        self.tickets[index].at = At::Left;
        self.events.push(Event::QueueLeft { ticket: ask.ticket });
        let mine = |hold: &ModelHold| hold.ticket == Some(ask.ticket) && hold.order.is_none();
        let holds: Vec<HoldId> = self.holds.iter().filter(|(_, hold)| mine(hold)).map(|(id, _)| *id).collect();
        for id in holds {
            self.give_back(id);
        }
        Ok(Outcome::Done)
    }

    /// Tells which seats fell under their blocks again, block by block in order of their first seats.
    fn blocked_again(&mut self, places: &Places) {
        let mut left = places.seats.clone();
        while let Some(&first) = left.first() {
            let together: Vec<SeatId> = match self.block_of(first) {
                Some(block) => left.iter().copied().filter(|seat| block.seats.contains(seat)).collect(),
                None => vec![first],
            };
            left.retain(|seat| !together.contains(seat));
            if let Some(block) = self.block_of(first) {
                let reason = block.reason.clone();
                self.events.push(Event::SeatsBlocked { seats: together, reason });
            }
        }
    }

    fn give_back(&mut self, id: HoldId) {
        let hold = self.holds.remove(&id).unwrap();
        self.events.push(Event::HoldReleased { hold: id, places: hold.places.clone() });
        self.blocked_again(&hold.places);
        if let Some(entry) = self.take_offer(id) {
            self.events.push(Event::WaitlistLeft { entry: entry.id, user: entry.user });
        }
    }

    /// Takes out the entry that this hold was offered to.
    fn take_offer(&mut self, hold: HoldId) -> Option<ModelEntry> {
        let index = self.entries.iter().position(|entry| entry.hold == Some(hold))?;
        Some(self.entries.remove(index))
    }

    fn offers(&self) -> bool {
        self.sale.waitlist
            && self.sale.method != Method::Reject
            && matches!(self.state, QueueState::Open | QueueState::Paused)
    }

    fn satisfy(&self, (quantity, category, together): (u32, Option<u16>, bool)) -> Option<Places> {
        if let Some(seats) = self.best(quantity, category, together, None) {
            return Some(Places { seats, areas: Vec::new() });
        }
        let fits = category.is_none_or(|category| category == 2) && self.area().available() >= quantity;
        fits.then(|| Places { seats: Vec::new(), areas: vec![(AreaId(0), quantity)] })
    }

    fn may_take(&self, user: UserId, quantity: u32) -> bool {
        quantity <= self.sale.seats_per_hold_max && self.taken(user) + quantity <= self.sale.seats_per_buyer_max
    }

    /// Offers what is free to the first who waits for it, again and again.
    fn offer(&mut self) {
        loop {
            let waits = |entry: &&ModelEntry| entry.hold.is_none() && self.may_take(entry.user, entry.wish.0);
            let found = if self.offers() {
                self.entries.iter().filter(waits).find_map(|entry| Some((entry.id, self.satisfy(entry.wish)?)))
            } else {
                None
            };
            let Some((id, places)) = found else { return };
            let user = self.entries.iter().find(|entry| entry.id == id).unwrap().user;
            let hold = self.make_hold(user, None, places.clone());
            self.entries.iter_mut().find(|entry| entry.id == id).unwrap().hold = Some(hold);
            let expires_at = self.now + self.sale.hold_ttl;
            self.events.push(Event::WaitlistOffered { entry: id, user, hold, places, expires_at });
        }
    }

    fn join_waitlist(&mut self, ask: &JoinWaitlist) -> Result<Outcome, Refusal> {
        let max = self.sale.seats_per_hold_max;
        if ask.quantity == 0 || ask.quantity > max {
            return Err(Refusal::out_of_bounds("quantity", format!("{} is not between 1 and {max}", ask.quantity)));
        }
        let category = match ask.category.as_deref() {
            None => None,
            Some("front") => Some(0),
            Some("back") => Some(1),
            Some("floor") => Some(2),
            Some(_) => return Err(Refusal::out_of_bounds("category", "there is none of this name")),
        };
        let wish = (ask.quantity, category, ask.together);
        let ahead_of = |entries: &[ModelEntry], id: OfferId| {
            entries.iter().filter(|entry| entry.hold.is_none() && entry.id < id).count() as u64
        };
        if let Some(entry) = self.entries.iter().find(|entry| entry.user == ask.user) {
            if entry.wish != wish {
                return Err(Refusal::AlreadyExists);
            }
            return Ok(Outcome::Waitlisted { entry: entry.id, ahead: ahead_of(&self.entries, entry.id) });
        }
        if !self.sale.waitlist {
            return Err(Refusal::NoWaitlist);
        }
        if !self.offers() {
            return Err(self.wrong_state());
        }
        if !self.may_take(ask.user, ask.quantity) {
            return Err(Refusal::BuyerLimit { max: self.sale.seats_per_buyer_max, taken: self.taken(ask.user) });
        }
        if self.satisfy(wish).is_some() {
            return Err(Refusal::SeatsFit);
        }
        self.entries_made += 1;
        let id = OfferId::new(showtime_id().group(), self.entries_made);
        self.entries.push(ModelEntry { id, user: ask.user, wish, hold: None });
        self.events.push(Event::WaitlistJoined { entry: id, user: ask.user });
        Ok(Outcome::Waitlisted { entry: id, ahead: ahead_of(&self.entries, id) })
    }

    /// The two neighbours of a seat; rows have eight seats, and the aisle is after A4.
    fn neighbours(seat: SeatId) -> Vec<SeatId> {
        let same_part = |a: u32, b: u32| a / 8 == b / 8 && !(a.min(b) == 3 && a.max(b) == 4);
        let candidates = [seat.0.checked_sub(1), Some(seat.0 + 1)];
        candidates.into_iter().flatten().filter(|other| *other < 16 && same_part(seat.0, *other)).map(SeatId).collect()
    }

    /// Open seats that would have no open neighbour after this pick, and had one before it.
    fn alone_after(&self, pick: &[SeatId], is_open: &dyn Fn(SeatId) -> bool) -> Vec<SeatId> {
        let stays_open = |seat: SeatId| is_open(seat) && !pick.contains(&seat);
        let alone = |seat: &SeatId| {
            let neighbours = Self::neighbours(*seat);
            stays_open(*seat)
                && !neighbours.iter().any(|other| stays_open(*other))
                && neighbours.iter().any(|other| pick.contains(other))
        };
        (0..16).map(SeatId).filter(alone).collect()
    }

    /// Whether any set of so many available seats leaves none alone: all of them are tried.
    fn can_spare(&self, quantity: u32) -> bool {
        let is_open = |seat: SeatId| self.seat_state(seat) == SeatState::Available;
        let open: u32 = (0..16).filter(|seat| is_open(SeatId(*seat))).fold(0, |bits, seat| bits | 1 << seat);
        (0..1_u32 << 16).filter(|bits| bits.count_ones() == quantity && bits & !open == 0).any(|bits| {
            let pick: Vec<SeatId> = (0..16).filter(|seat| bits >> seat & 1 == 1).map(SeatId).collect();
            let stays = |seat: u32| (open & !bits) >> seat & 1 == 1;
            !(0..16).any(|seat| {
                let neighbours = Self::neighbours(SeatId(seat));
                stays(seat)
                    && !neighbours.iter().any(|other| stays(other.0))
                    && neighbours.iter().any(|other| pick.contains(other))
            })
        })
    }

    /// How far a seat is from the middle of the front: x goes from 1,000 to 8,000, row B is 1,000 behind.
    fn distance(seat: u32) -> u64 {
        let dx = (1_000 * i64::from(seat % 8 + 1) - 4_500).unsigned_abs();
        let dy = u64::from(seat / 8) * 1_000;
        (dx * dx + dy * dy).isqrt()
    }

    /// The best seats: every candidate is looked at.
    fn best(
        &self,
        quantity: u32,
        category: Option<u16>,
        together: bool,
        channel: Option<&String>,
    ) -> Option<Vec<SeatId>> {
        let is_open = |seat: SeatId| self.in_the_way(&[seat], channel).is_empty();
        let fits = |seat: u32| is_open(SeatId(seat)) && category.is_none_or(|category| u32::from(category) == seat / 8);
        let runs = |quantity: u32, row: Option<u32>| {
            let mut runs: Vec<(u64, u32)> = Vec::new();
            for first in 0..=16_u32.saturating_sub(quantity) {
                let seats: Vec<u32> = (first..first + quantity).collect();
                let is_run = seats.windows(2).all(|pair| Self::neighbours(SeatId(pair[0])).contains(&SeatId(pair[1])));
                if is_run && seats.iter().all(|seat| fits(*seat)) && row.is_none_or(|row| row == first / 8) {
                    runs.push((seats.iter().map(|seat| Self::distance(*seat)).sum(), first));
                }
            }
            runs.sort();
            runs
        };
        let seats = |first: u32, quantity: u32| (first..first + quantity).map(SeatId).collect::<Vec<_>>();
        let whole = runs(quantity, None);
        let kind = whole.iter().find(|(_, first)| self.alone_after(&seats(*first, quantity), &is_open).is_empty());
        if let Some((_, first)) = kind.or(whole.first()) {
            return Some(seats(*first, quantity));
        }
        if together {
            return None;
        }
        for larger in (quantity.div_ceil(2)..quantity).rev() {
            let smaller = quantity - larger;
            let best_in = |quantity: u32, row: u32| runs(quantity, Some(row)).first().copied();
            let pairs = [(0, 1), (1, 0)].into_iter();
            let pairs = pairs.filter_map(|(large, small)| Some((best_in(larger, large)?, best_in(smaller, small)?)));
            let splits = pairs.map(|(large, small)| {
                let mut picked = [seats(large.1, larger), seats(small.1, smaller)].concat();
                picked.sort();
                (large.0 + small.0, picked)
            });
            if let Some((_, picked)) = splits.min() {
                return Some(picked);
            }
        }
        let mut single: Vec<u32> = (0..16).filter(|seat| fits(*seat)).collect();
        single.sort_by_key(|seat| (Self::distance(*seat), *seat));
        single.truncate(quantity as usize);
        single.sort();
        (single.len() == quantity as usize).then(|| single.into_iter().map(SeatId).collect())
    }

    fn make_hold(&mut self, user: UserId, ticket: Option<TicketNumber>, places: Places) -> HoldId {
        self.holds_made += 1;
        let id = HoldId::new(showtime_id().group(), self.holds_made);
        let expires_at = self.now + self.sale.hold_ttl;
        self.events.push(Event::SeatsHeld { hold: id, user, places: places.clone(), expires_at });
        let hold = ModelHold { user, ticket, places, channel: None, held_at: self.now, expires_at, order: None };
        self.holds.insert(id, hold);
        id
    }

    fn claim(&mut self, ask: &ClaimAdmission) -> Result<Outcome, Refusal> {
        let index = self.ticket_of(ask.ticket, ask.user)?;
        let is_known = !matches!(self.state, QueueState::Scheduled | QueueState::Prequeue);
        let at = self.tickets[index].at.clone();
        if !is_known && at == At::InLine || self.state == QueueState::Closed {
            return Err(self.wrong_state());
        }
        match at {
            At::InLine => {
                let place = self.place_of(ask.ticket.0).unwrap();
                return Err(Refusal::NotCalledYet { ahead: place - self.cursor });
            }
            At::Called(_) => {
                let expires_at = self.now + self.sale.admission.session_ttl;
                self.tickets[index].at = At::Shopping(expires_at);
                self.events.push(Event::AdmissionClaimed { ticket: ask.ticket, expires_at });
            }
            At::Shopping(_) => {}
            _ => return Err(Refusal::TicketOver),
        }
        let At::Shopping(expires_at) = self.tickets[index].at else { unreachable!() };
        Ok(Outcome::Claimed { ticket: self.ticket_view(ask.ticket.0), expires_at })
    }

    fn hold(&mut self, ask: &HoldSeats) -> Result<Outcome, Refusal> {
        if let Some(number) = ask.ticket
            && self.has_line()
        {
            self.ticket_of(number, ask.user)?;
        }
        let mut places = match &ask.choice {
            SeatChoice::Named(seats) => {
                if let Some(seat) = seats.iter().find(|seat| seat.0 >= 16) {
                    return Err(Refusal::NoSuchSeat(*seat));
                }
                let mut seats = seats.clone();
                seats.sort();
                seats.dedup();
                Places { seats, areas: Vec::new() }
            }
            SeatChoice::Area { area, quantity } => Places { seats: Vec::new(), areas: vec![(*area, *quantity)] },
            SeatChoice::Best(_) => Places::default(),
        };
        let wanted = if let SeatChoice::Best(best) = &ask.choice { best.quantity } else { size(&places) };
        let mut ticket = None;
        if self.sale.method == Method::Reject {
            return Err(Refusal::SaleRejects);
        }
        if self.has_line() {
            if !matches!(self.state, QueueState::Open | QueueState::Paused) {
                return Err(self.wrong_state());
            }
            let number = ask.ticket.ok_or(Refusal::NotAdmitted)?;
            let index = self.ticket_of(number, ask.user)?;
            if !matches!(self.tickets[index].at, At::Shopping(_)) {
                return Err(Refusal::NotAdmitted);
            }
            ticket = Some(number);
        } else if self.state != QueueState::Open {
            return Err(self.wrong_state());
        }
        if wanted > self.sale.seats_per_hold_max {
            return Err(Refusal::TooManySeats { max: self.sale.seats_per_hold_max });
        }
        let taken = self.taken(ask.user);
        if taken + wanted > self.sale.seats_per_buyer_max {
            return Err(Refusal::BuyerLimit { max: self.sale.seats_per_buyer_max, taken });
        }
        let seats = self.in_the_way(&places.seats, ask.channel.as_ref());
        if !seats.is_empty() {
            return Err(Refusal::SeatsUnavailable { seats });
        }
        let available = self.area().available();
        if places.areas.iter().any(|area| area.1 > available) {
            return Err(Refusal::AreaFull { available });
        }
        if let SeatChoice::Best(best) = &ask.choice {
            let category = best.category.as_ref().map(|name| if name == "front" { 0 } else { 1 });
            let found = self.best(best.quantity, category, best.together, ask.channel.as_ref());
            places.seats = found.ok_or(Refusal::NoSeatsFit)?;
        }
        if self.sale.prevent_orphans && matches!(ask.choice, SeatChoice::Named(_)) {
            let is_open = |seat: SeatId| self.seat_state(seat) == SeatState::Available;
            let alone = self.alone_after(&places.seats, &is_open);
            if !alone.is_empty() && self.can_spare(size(&places)) {
                return Err(Refusal::LeavesOrphan { seats: alone });
            }
        }
        let id = self.make_hold(ask.user, ticket, places);
        self.holds.get_mut(&id).unwrap().channel = ask.channel.clone();
        Ok(Outcome::Held { hold: self.hold_view(id) })
    }

    fn order(&mut self, ask: &PlaceOrder) -> Result<Outcome, Refusal> {
        let hold = self.hold_of(ask.hold, ask.user)?;
        if hold.order.is_some() {
            return Err(Refusal::HoldHasOrder);
        }
        let id = OrderId::new(showtime_id().group(), self.orders.len() as u64 + 1);
        let pay_by = self.now + self.sale.payment_ttl;
        let total = price(&hold.places);
        let order = OrderView {
            order: id,
            hold: ask.hold,
            showtime: showtime_id(),
            user: ask.user,
            email: ask.email.clone(),
            places: hold.places.clone(),
            channel: hold.channel.clone(),
            total,
            state: OrderState::PendingPayment,
            placed_at: self.now,
            pay_by,
            captured: eur(0),
            refund_due: eur(0),
            refunded: eur(0),
            payments: Vec::new(),
            foreign: Vec::new(),
        };
        self.orders.push(order.clone());
        let held = self.holds.get_mut(&ask.hold).unwrap();
        held.order = Some(id);
        held.expires_at = pay_by;
        self.events.push(Event::OrderPlaced { order: id, user: ask.user, places: hold.places, total, pay_by });
        if let Some(entry) = self.take_offer(ask.hold) {
            self.events.push(Event::WaitlistAccepted { entry: entry.id, user: entry.user });
        }
        Ok(Outcome::Ordered { order: Box::new(order) })
    }

    fn order_index(&self, id: OrderId) -> Result<usize, Refusal> {
        self.orders.iter().position(|order| order.order == id).ok_or(Refusal::NoSuchOrder)
    }

    /// Whether this news of a payment changes anything, and where it is kept.
    fn payment_slot(
        order: &OrderView,
        id: PaymentId,
        outcome: PaymentOutcome,
        amount: Money,
        refund: bool,
    ) -> Result<Option<usize>, Refusal> {
        let Some(index) = order.payments.iter().position(|payment| payment.payment == id) else {
            return Ok(Some(order.payments.len()));
        };
        let known = &order.payments[index];
        if known.refund != refund || known.outcome == outcome && known.amount != amount {
            return Err(Refusal::PaymentIdReused);
        }
        let is_news = known.outcome == PaymentOutcome::Failed && outcome == PaymentOutcome::Succeeded;
        Ok(is_news.then_some(index))
    }

    fn pay(&mut self, ask: &RecordPayment) -> Result<Outcome, Refusal> {
        let index = self.order_index(ask.order)?;
        let order = self.orders[index].clone();
        let Some(slot) = Self::payment_slot(&order, ask.payment, ask.outcome, ask.amount, false)? else {
            return Ok(Outcome::PaymentKnown { payment: ask.payment, order: Box::new(order) });
        };
        let is_right = ask.amount == order.total;
        let lost = matches!(order.state, OrderState::Canceled | OrderState::Expired);
        let fits = self.in_the_way(&order.places.seats, order.channel.as_ref()).is_empty()
            && order.places.areas.iter().all(|area| area.1 <= self.area().available())
            && self.taken(order.user) + size(&order.places) <= self.sale.seats_per_buyer_max;
        let completes = is_right && (order.state == OrderState::PendingPayment || lost && fits);

        let payment =
            PaymentView { payment: ask.payment, outcome: ask.outcome, amount: ask.amount, at: self.now, refund: false };
        let (id, payment_id, amount) = (ask.order, ask.payment, ask.amount);
        let stored = &mut self.orders[index];
        stored.payments.truncate(stored.payments.len().max(slot));
        if slot == stored.payments.len() {
            stored.payments.push(payment);
        } else {
            stored.payments[slot] = payment;
        }
        if ask.outcome == PaymentOutcome::Failed {
            self.events.push(Event::PaymentFailed { order: id, payment: payment_id, amount });
            return Ok(Outcome::Ordered { order: Box::new(self.orders[index].clone()) });
        }
        self.events.push(Event::PaymentSucceeded { order: id, payment: payment_id, amount });
        if amount.currency == stored.total.currency {
            stored.captured.amount += amount.amount;
            if !completes {
                stored.refund_due.amount += amount.amount;
            }
        } else if let Some(foreign) = stored.foreign.iter_mut().find(|f| f.captured.currency == amount.currency) {
            foreign.captured.amount += amount.amount;
        } else {
            stored.foreign.push(ForeignMoney { captured: amount, refunded: Money { amount: 0, ..amount } });
        }
        if completes {
            stored.state = OrderState::Completed;
            let (user, places, total) = (order.user, order.places.clone(), order.total);
            self.events.push(Event::SeatsPurchased { order: id, places: places.clone() });
            self.events.push(Event::OrderCompleted { order: id, user, places: places.clone(), total });
            // Bought through its channel: the block is used up.
            self.lift(&places.seats);
            if order.state == OrderState::PendingPayment {
                let hold = self.holds[&order.hold].clone();
                self.drop_order_hold(id);
                if let Some(number) = hold.ticket
                    && !self.holds.values().any(|other| other.user == user)
                    && matches!(self.tickets[number.0 as usize - 1].at, At::Shopping(_))
                {
                    self.tickets[number.0 as usize - 1].at = At::Done;
                    self.events.push(Event::AdmissionDone { ticket: number });
                }
            }
        } else {
            if !matches!(stored.state, OrderState::PendingPayment | OrderState::Completed) && owes(stored) {
                stored.state = OrderState::RefundDue;
            }
            let reason = match order.state {
                _ if !is_right => "the amount is not that of the order",
                OrderState::Canceled | OrderState::Expired => "the seats were gone",
                _ => "the order was paid already",
            };
            self.events.push(Event::RefundDue { order: id, amount, reason: reason.into() });
        }
        Ok(Outcome::Ordered { order: Box::new(self.orders[index].clone()) })
    }

    fn repay(&mut self, ask: &RecordRefund) -> Result<Outcome, Refusal> {
        let index = self.order_index(ask.order)?;
        let order = self.orders[index].clone();
        let Some(slot) = Self::payment_slot(&order, ask.refund, ask.outcome, ask.amount, true)? else {
            return Ok(Outcome::PaymentKnown { payment: ask.refund, order: Box::new(order) });
        };
        let foreign = order.foreign.iter().position(|f| f.captured.currency == ask.amount.currency);
        let due = match foreign {
            _ if ask.amount.currency == order.total.currency => order.refund_due.amount,
            Some(f) => order.foreign[f].captured.amount - order.foreign[f].refunded.amount,
            None => 0,
        };
        if ask.outcome == PaymentOutcome::Succeeded && ask.amount.amount > due {
            return Err(Refusal::MoreThanDue { due });
        }
        let payment =
            PaymentView { payment: ask.refund, outcome: ask.outcome, amount: ask.amount, at: self.now, refund: true };
        let stored = &mut self.orders[index];
        if slot == stored.payments.len() {
            stored.payments.push(payment);
        } else {
            stored.payments[slot] = payment;
        }
        let (id, refund, amount) = (ask.order, ask.refund, ask.amount);
        if ask.outcome == PaymentOutcome::Failed {
            self.events.push(Event::RefundFailed { order: id, refund, amount });
        } else {
            if amount.currency == stored.total.currency {
                stored.refund_due.amount -= amount.amount;
                stored.refunded.amount += amount.amount;
            } else if let Some(f) = foreign {
                stored.foreign[f].refunded.amount += amount.amount;
            }
            if stored.state == OrderState::RefundDue && !owes(stored) {
                stored.state = OrderState::Refunded;
            }
            self.events.push(Event::PaymentRefunded { order: id, refund, amount });
        }
        Ok(Outcome::Ordered { order: Box::new(self.orders[index].clone()) })
    }

    pub(super) fn orders(&self) -> &[OrderView] {
        &self.orders
    }

    pub(super) fn hold_views(&self) -> Vec<HoldView> {
        self.holds.keys().map(|id| self.hold_view(*id)).collect()
    }

    pub(super) fn entry_views(&self) -> Vec<WaitlistView> {
        let ahead = |entry: &ModelEntry| {
            let before = self.entries.iter().filter(|other| other.hold.is_none() && other.id < entry.id);
            entry.hold.is_none().then(|| before.count() as u64)
        };
        let view = |entry: &ModelEntry| WaitlistView {
            entry: entry.id,
            showtime: showtime_id(),
            user: entry.user,
            quantity: entry.wish.0,
            category: entry.wish.1.map(CategoryId),
            together: entry.wish.2,
            ahead: ahead(entry),
            hold: entry.hold,
        };
        self.entries.iter().map(view).collect()
    }

    pub(super) fn summary(&self) -> (QueueState, u64, u64, u64, u64) {
        (self.state, self.tickets.len() as u64, self.entrants, self.cursor, self.active())
    }

    pub(super) fn counters(&self) -> (u64, u64) {
        (self.holds_made, self.orders.len() as u64)
    }
}

fn owes(order: &OrderView) -> bool {
    order.refund_due.amount > 0 || order.foreign.iter().any(|foreign| foreign.captured.amount > foreign.refunded.amount)
}

/// The command that puts the showtime of the model on sale.
pub(super) fn create(sale: &Sale) -> ShardCommand {
    ShardCommand::CreateShowtime(CreateShowtime {
        showtime: showtime_id(),
        organisation: OrganisationId(1),
        seat_map: small_house(),
        prices: vec![eur(5_000), eur(3_000), eur(1_000)],
        sale: sale.clone(),
        draw_secret: [9; 32],
    })
}

/// A command in few words, for the transcript of a failure.
pub(super) fn describe(at: Timestamp, envelope: &Envelope<ShardCommand>) -> String {
    let command = match &envelope.command {
        ShardCommand::HoldSeats(HoldSeats { user, choice: SeatChoice::Named(seats), .. }) => {
            format!("{user} holds {}", seat_names(seats))
        }
        other => format!("{other:?}"),
    };
    format!("{} {:?} {command}", time(at), envelope.request.map(|id| id.0))
}

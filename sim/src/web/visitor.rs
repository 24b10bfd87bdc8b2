//! Buyers who come over HTTP: they stand in line, look at seats, hold, order and pay as people do, ask again when nobody
//! answers, and now and then try what they must not.

use super::browser::{Browser, Reading, Way};
use super::visits::{Deed, HoldSeen, Said};
use crate::options::Options;
use crate::workload::{Shop, Stage};
use serde_json::Value;
use vestibule_client::{BestSeats, HoldRequest, TicketState, Token};
use vestibule_engine::{DrawBundle, HoldId, Method, OrderId, Receipt, SeatId, ShowtimeId, TicketId, TicketNumber};

/// How many times somebody looks whether it is their turn.
const LOOKS_MAX: usize = 20;

/// Buys until the run closes; then every gateway has to serve every showtime once more.
pub(super) async fn visit(browser: Browser, options: &Options, shop: &Shop) {
    let mut visitor = Visitor { browser, options, shop };
    while shop.stage() < Stage::Closing {
        let think_max = u64::try_from(options.think_max.as_millis()).unwrap_or(u64::MAX);
        visitor.browser.pause(0..=think_max).await;
        visitor.come_by().await;
    }
    visitor.come_last().await;
}

struct Visitor<'a> {
    browser: Browser,
    options: &'a Options,
    shop: &'a Shop,
}

fn id(showtime: ShowtimeId) -> vestibule_client::ShowtimeId {
    vestibule_client::ShowtimeId(showtime.to_string())
}

impl Visitor<'_> {
    fn percent(&mut self, percent: u64) -> bool {
        self.browser.dice.percent(percent)
    }

    async fn come_by(&mut self) {
        let Some(access) = self.browser.become_guest().await else { return };
        let index = self.browser.dice.index(self.browser.house.showtimes.len());
        let showtime = self.browser.house.showtimes[index];
        let way = self.browser.some_way();
        self.browser.see_line(way, showtime).await;
        if self.options.market.methods[index] == Method::Passthrough || self.percent(6) {
            // Where there is a line, this is somebody who tries to get past it.
            self.shop(&access, &access, showtime).await;
        } else {
            self.stand_in_line(&access, showtime).await;
        }
    }

    async fn stand_in_line(&mut self, access: &Token, showtime: ShowtimeId) {
        let Some((ticket, own)) = self.join(access, showtime).await else { return };
        if self.percent(15) {
            self.join(access, showtime).await;
        }
        // The ticket's own token will do, too.
        let token = if self.percent(50) { own } else { access.clone() };
        if !self.wait(&token, ticket).await {
            let (showtime, ticket_id) = (id(showtime), vestibule_client::TicketId(ticket.to_string()));
            let client = self.browser.client(Way::Any);
            let asked = client.leave(&token, &showtime, &ticket_id);
            self.browser.note(Way::Any, None, Deed::Leave(ticket), asked, |()| Some(Said::Done)).await;
            return;
        }
        self.see_draw(&token, ticket).await;
        let Some(admission) = self.claim(&token, ticket).await else { return };
        for _ in 0..self.browser.dice.within(1..=2) {
            self.shop(access, &admission, showtime).await;
        }
        self.see_ticket(&token, ticket).await;
    }

    async fn join(&mut self, access: &Token, showtime: ShowtimeId) -> Option<(TicketId, Token)> {
        let way = self.browser.some_way();
        let client = self.browser.client(way);
        let (browser, id) = (&self.browser, id(showtime));
        let asked = client.join(access, &id);
        let (said, ticket) =
            browser.note(way, None, Deed::Join(showtime), asked, |ticket| browser.read_ticket(ticket)).await;
        let Said::Ticket(seen) = said else { return None };
        Some((seen.ticket, ticket?.ticket_token?))
    }

    async fn see_ticket(&mut self, token: &Token, ticket: TicketId) -> Option<TicketState> {
        let way = self.browser.some_way();
        let client = self.browser.client(way);
        let (showtime, ticket_id) = (id(ticket.showtime), vestibule_client::TicketId(ticket.to_string()));
        let browser = &self.browser;
        let asked = client.ticket(token, &showtime, &ticket_id);
        let read = |ticket: &vestibule_client::Ticket| browser.read_ticket(ticket);
        match browser.note(way, None, Deed::SeeTicket(ticket), asked, read).await.0 {
            Said::Ticket(seen) => Some(seen.state),
            _ => None,
        }
    }

    /// Waits to be called. Some lose patience, and some try before it is their turn.
    async fn wait(&mut self, token: &Token, ticket: TicketId) -> bool {
        for _ in 0..LOOKS_MAX {
            if self.percent(4) || self.shop.stage() >= Stage::Closing {
                return false;
            }
            if self.percent(5) {
                return true;
            }
            let state = self.see_ticket(token, ticket).await;
            if state.is_some_and(|state| !matches!(state, TicketState::Prequeue | TicketState::Waiting)) {
                return true;
            }
            let way = self.browser.some_way();
            self.browser.see_line(way, ticket.showtime).await;
            self.browser.pause(100..=500).await;
        }
        false
    }

    async fn claim(&mut self, token: &Token, ticket: TicketId) -> Option<Token> {
        let way = self.browser.some_way();
        let client = self.browser.client(way);
        let (showtime, ticket_id) = (id(ticket.showtime), vestibule_client::TicketId(ticket.to_string()));
        let asked = client.claim(token, &showtime, &ticket_id);
        let read = |admission: &vestibule_client::Admission| {
            let until = u64::try_from(admission.expires_at.unix_timestamp_nanos() / 1_000_000).ok()?;
            Some(Said::Admitted(vestibule_engine::Timestamp(until)))
        };
        let (_, admission) = self.browser.note(way, None, Deed::Claim(ticket), asked, read).await;
        admission.map(|admission| admission.admission_token)
    }

    async fn see_draw(&mut self, token: &Token, ticket: TicketId) {
        if !self.percent(30) {
            return;
        }
        let client = self.browser.client(Way::Any);
        let (showtime, ticket_id) = (id(ticket.showtime), vestibule_client::TicketId(ticket.to_string()));
        let asked = client.draw(&showtime);
        self.browser.note(Way::Any, None, Deed::SeeDraw(ticket.showtime), asked, read_draw).await;
        let asked = client.receipt(token, &showtime, &ticket_id);
        self.browser.note(Way::Any, None, Deed::SeeReceipt(ticket), asked, read_receipt).await;
    }

    fn wish(&mut self) -> HoldRequest {
        let quantity = self.browser.dice.within(1..=4) as u32;
        if self.percent(10) {
            let area = self.browser.dice.pick(&self.browser.house.seat_map.areas).name.clone();
            return HoldRequest::Area { area, quantity };
        }
        if self.percent(self.options.market.best) {
            let together = Some(self.percent(50));
            return HoldRequest::Best { best: BestSeats { quantity, together, ..BestSeats::default() } };
        }
        let count = self.browser.house.seat_map.seat_count();
        let wanted = if self.options.market.storm && self.percent(80) { count.min(12) } else { count };
        let seats = (0..quantity).map(|_| SeatId(self.browser.dice.index(wanted) as u32)).collect::<Vec<_>>();
        HoldRequest::Seats { seats: seats.into_iter().map(|seat| self.browser.label(seat)).collect() }
    }

    async fn hold(
        &mut self,
        token: &Token,
        showtime: ShowtimeId,
        wish: &HoldRequest,
        key: &vestibule_client::IdempotencyKey,
    ) -> Said {
        let deed = Deed::Hold(showtime, serde_json::to_string(wish).expect("a wish can be written"));
        let (again, showtime) = (self.options.web.again, id(showtime));
        let ask = |client: vestibule_client::Client<_>| {
            let showtime = &showtime;
            async move { client.hold(token, showtime, wish, key).await }
        };
        self.browser.insist(again, key, deed, ask, |browser, hold| browser.read_hold(hold)).await
    }

    /// Looks around, holds, and goes on from there. `token` is what opens the seats.
    async fn shop(&mut self, access: &Token, token: &Token, showtime: ShowtimeId) {
        let (way, afresh) = (self.browser.some_way(), self.percent(30));
        self.browser.see_seats(way, showtime, afresh).await;
        let (wish, key) = (self.wish(), self.browser.client(Way::Any).new_key());
        let said = self.hold(token, showtime, &wish, &key).await;
        if self.percent(8) {
            // The key is spent: it must not do for anything else.
            let other = self.wish();
            self.hold(token, showtime, &other, &key).await;
        }
        let Said::Hold(hold) = said else { return };
        self.browser.see_seats(way, showtime, false).await;
        self.browser.pause(0..=400).await;
        if self.percent(20) {
            self.see_hold(token, hold.hold).await;
        }
        if self.percent(25) {
            self.extend(token, hold.hold).await;
        }
        match self.browser.dice.within(0..=99) {
            0..=69 => self.order(access, token, &hold).await,
            70..=86 => self.release(token, hold.hold).await,
            _ => {}
        }
    }

    async fn see_hold(&mut self, token: &Token, hold: HoldId) {
        let way = self.browser.some_way();
        let client = self.browser.client(way);
        let hold_id = vestibule_client::HoldId(hold.to_string());
        let (browser, asked) = (&self.browser, client.get_hold(token, &hold_id));
        browser.note(way, None, Deed::SeeHold(hold), asked, |hold| browser.read_hold(hold)).await;
    }

    async fn extend(&mut self, token: &Token, hold: HoldId) {
        let (key, again) = (self.browser.client(Way::Any).new_key(), self.options.web.again);
        let hold_id = vestibule_client::HoldId(hold.to_string());
        let ask = |client: vestibule_client::Client<_>| {
            let (hold_id, key) = (&hold_id, &key);
            async move { client.extend_hold(token, hold_id, key).await }
        };
        self.browser.insist(again, &key, Deed::Extend(hold), ask, |browser, hold| browser.read_hold(hold)).await;
    }

    async fn release(&mut self, token: &Token, hold: HoldId) {
        let way = self.browser.some_way();
        let client = self.browser.client(way);
        let hold_id = vestibule_client::HoldId(hold.to_string());
        let asked = client.release_hold(token, &hold_id);
        self.browser.note(way, None, Deed::Release(hold), asked, |()| Some(Said::Done)).await;
        self.browser.see_seats(way, hold_showtime(self, hold), false).await;
    }

    async fn order(&mut self, access: &Token, token: &Token, hold: &HoldSeen) {
        let (key, again) = (self.browser.client(Way::Any).new_key(), self.options.web.again);
        let hold_id = vestibule_client::HoldId(hold.hold.to_string());
        let ask = |client: vestibule_client::Client<_>| {
            let (hold_id, key) = (&hold_id, &key);
            async move { client.order(token, hold_id, "visitor@example.org", key).await }
        };
        let read = |browser: &Browser, order: &vestibule_client::Order| browser.read_order(order);
        let Said::Order(order) = self.browser.insist(again, &key, Deed::Order(hold.hold), ask, read).await else {
            return;
        };
        self.browser.pause(0..=400).await;
        match self.browser.dice.within(0..=99) {
            0..=59 => self.pay(access, order.order, "tok_ok").await,
            60..=74 => {
                self.pay(access, order.order, "tok_declined").await;
                self.pay(access, order.order, "tok_ok").await;
            }
            75..=80 => {
                tokio::time::sleep(self.options.payment_ttl).await;
                self.pay(access, order.order, "tok_ok").await;
            }
            81..=92 => self.cancel(access, order.order).await,
            _ => {}
        }
        self.browser.see_order(access, order.order).await;
        let way = self.browser.some_way();
        self.browser.see_seats(way, hold.showtime, false).await;
    }

    /// Pays. Some whom nobody told what became of it pay once more, and one of the two has to go back.
    async fn pay(&mut self, access: &Token, order: OrderId, card: &str) {
        if matches!(self.pay_once(access, order, card).await, Said::Unknown(_)) && self.percent(50) {
            self.pay_once(access, order, card).await;
        }
    }

    async fn pay_once(&mut self, access: &Token, order: OrderId, card: &str) -> Said {
        let (key, again) = (self.browser.client(Way::Any).new_key(), self.options.web.again);
        let order_id = vestibule_client::OrderId(order.to_string());
        let ask = |client: vestibule_client::Client<_>| {
            let (order_id, key) = (&order_id, &key);
            async move { client.pay(access, order_id, card, key).await }
        };
        let deed = Deed::Pay(order, card.to_owned());
        let said = self.browser.insist(again, &key, deed, ask, |browser, paid| browser.read_payment(paid)).await;
        if let Said::Payment(_, vestibule_client::PaymentStatus::Succeeded, seen) = &said
            && seen.state == vestibule_client::OrderState::Completed
        {
            self.browser.web.note_sold(order);
        }
        said
    }

    async fn cancel(&mut self, access: &Token, order: OrderId) {
        let (key, again) = (self.browser.client(Way::Any).new_key(), self.options.web.again);
        let order_id = vestibule_client::OrderId(order.to_string());
        let ask = |client: vestibule_client::Client<_>| {
            let (order_id, key) = (&order_id, &key);
            async move { client.cancel_order(access, order_id, key).await }
        };
        self.browser.insist(again, &key, Deed::Cancel(order), ask, |browser, order| browser.read_order(order)).await;
    }

    /// Nothing goes wrong any more: every gateway has to answer, about every showtime.
    async fn come_last(&mut self) {
        for gateway in 1..=self.browser.gateways() {
            let way = Way::Gateway(gateway);
            loop {
                let client = self.browser.client(way);
                let asked = client.health_ready();
                if self.browser.note(way, None, Deed::SeeHealth, asked, |()| Some(Said::Done)).await.0 == Said::Done {
                    break;
                }
                self.browser.pause(50..=200).await;
            }
            let access = loop {
                if let Some(access) = self.browser.become_guest().await {
                    break access;
                }
                self.browser.pause(50..=200).await;
            };
            for showtime in self.browser.house.showtimes.clone() {
                while !matches!(self.browser.see_line(way, showtime).await, Said::Line(_)) {
                    self.browser.pause(50..=200).await;
                }
                while !matches!(self.browser.see_seats(way, showtime, true).await, Said::Seats(_)) {
                    self.browser.pause(50..=200).await;
                }
                let (wish, key) = (self.wish(), self.browser.client(Way::Any).new_key());
                while matches!(self.hold(&access, showtime, &wish, &key).await, Said::Unknown(_) | Said::NotDone(_)) {
                    self.browser.pause(50..=200).await;
                }
            }
        }
    }
}

/// A draw as it is published.
fn read_draw(draw: &Value) -> Reading {
    let commitment = hash(draw.get("commitment")?)?;
    if draw.get("entrants").is_none() {
        return Some(Said::Draw(commitment, None));
    }
    let beacon = match draw.get("beacon")? {
        Value::Null => None,
        beacon => Some(bytes(beacon)?),
    };
    let bundle = DrawBundle {
        entrants: draw.get("entrants")?.as_u64()?,
        commitment,
        secret: hash(draw.get("secret")?)?,
        merkle_root: hash(draw.get("merkleRoot")?)?,
        beacon,
        seed: hash(draw.get("seed")?)?,
        rounds: u8::try_from(draw.get("rounds")?.as_u64()?).ok()?,
    };
    Some(Said::Draw(commitment, Some(Box::new(bundle))))
}

fn read_receipt(receipt: &Value) -> Reading {
    let proof = receipt.get("proof")?.as_array()?;
    Some(Said::Receipt(Box::new(Receipt {
        number: TicketNumber(receipt.get("number")?.as_u64()?),
        subject_hash: hash(receipt.get("subjectHash")?)?,
        leaf: hash(receipt.get("leaf")?)?,
        proof: proof.iter().map(hash).collect::<Option<_>>()?,
        merkle_root: hash(receipt.get("merkleRoot")?)?,
        place: receipt.get("place")?.as_u64()?,
    })))
}

fn hash(value: &Value) -> Option<[u8; 32]> {
    bytes(value)?.try_into().ok()
}

/// Bytes as hexadecimal digits.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    let pairs = value.as_str()?.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The showtime that a hold of this group may be in, for a look at the seats.
fn hold_showtime(visitor: &Visitor<'_>, hold: HoldId) -> ShowtimeId {
    let all = &visitor.browser.house.showtimes;
    all.iter().copied().find(|showtime| showtime.group() == hold.group()).unwrap_or(all[0])
}

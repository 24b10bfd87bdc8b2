//! The organiser over HTTP: changes the sale, pauses the line, keeps seats back, gives money back.

use super::browser::{Browser, Way};
use super::visits::{Deed, Said};
use crate::options::Options;
use crate::workload::{Shop, Stage, pace};
use std::time::Duration;
use vestibule_client::{AdmissionSettings, Client, Error, QueueOrder, Sale, Token};
use vestibule_engine::{Method, SeatId, ShowtimeId};

/// Runs the sale until the run closes.
pub(super) async fn promote(browser: Browser, options: &Options, shop: &Shop) {
    let mut promoter = Promoter { browser };
    let token = loop {
        if let Some(token) = shop.web.token() {
            break token;
        }
        if shop.stage() >= Stage::Closing {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    while shop.stage() < Stage::Closing {
        promoter.browser.pause(200..=1_500).await;
        let index = promoter.browser.dice.index(promoter.browser.house.showtimes.len());
        let showtime = promoter.browser.house.showtimes[index];
        promoter.act(&token, showtime, options.market.methods[index], shop.has_sold(), options).await;
    }
}

struct Promoter {
    browser: Browser,
}

impl Promoter {
    /// Has something done, and asks until that has an answer, if it must be.
    async fn have<T, F: Future<Output = Result<T, Error>>>(
        &mut self,
        showtime: ShowtimeId,
        what: &str,
        must_be: bool,
        ask: impl Fn(Client<super::net::HttpConnector>) -> F,
    ) {
        loop {
            let way = self.browser.some_way();
            let deed = Deed::Organise(showtime, what.to_owned());
            let asked = ask(self.browser.client(way));
            let (said, _) = self.browser.note(way, None, deed, asked, |_| Some(Said::Done)).await;
            if !must_be || matches!(said, Said::Done | Said::Refused(..)) {
                return;
            }
            self.browser.pause(50..=200).await;
        }
    }

    async fn act(&mut self, token: &Token, showtime: ShowtimeId, method: Method, has_sold: bool, options: &Options) {
        let id = vestibule_client::ShowtimeId(showtime.to_string());
        let id = &id;
        match self.browser.dice.within(0..=99) {
            0..=29 => {
                let (rate, active_max) = pace(&mut self.browser.dice, has_sold);
                let (rate_per_minute, max_active) = (Some(rate), Some(active_max));
                let admission = AdmissionSettings { rate_per_minute, max_active, ..AdmissionSettings::default() };
                let hold_max = options.hold_ttl.as_secs().max(1);
                let hold_seconds = self.browser.dice.percent(30).then(|| self.browser.dice.within(1..=hold_max));
                let change = Sale { admission: Some(admission), hold_seconds, ..Sale::default() };
                let change = &change;
                let ask = |client: Client<_>| async move { client.update_sale(token, id, change).await };
                self.have(showtime, "change the sale", false, ask).await;
            }
            30..=49 if method != Method::Passthrough => {
                let key = self.browser.client(Way::Any).new_key();
                let key = &key;
                let ask =
                    |client: Client<_>| async move { client.order_queue(token, id, QueueOrder::Pause, key).await };
                self.have(showtime, "pause", false, ask).await;
                self.browser.pause(100..=1_000).await;
                let key = self.browser.client(Way::Any).new_key();
                let key = &key;
                let ask =
                    |client: Client<_>| async move { client.order_queue(token, id, QueueOrder::Resume, key).await };
                // A line that stays paused would end the sale.
                self.have(showtime, "resume", true, ask).await;
            }
            50..=69 => {
                let count = self.browser.dice.within(1..=4);
                let all = self.browser.house.seat_map.seat_count();
                let chosen: Vec<SeatId> = (0..count).map(|_| SeatId(self.browser.dice.index(all) as u32)).collect();
                let seats: Vec<String> = chosen.into_iter().map(|seat| self.browser.label(seat)).collect();
                let (key, seats) = (&self.browser.client(Way::Any).new_key(), &seats);
                let ask =
                    |client: Client<_>| async move { client.block_seats(token, id, seats, "sound desk", key).await };
                self.have(showtime, "keep seats back", false, ask).await;
                self.browser.pause(100..=1_000).await;
                let ask = |client: Client<_>| async move { client.unblock_seats(token, id, seats).await };
                self.have(showtime, "put seats on sale again", true, ask).await;
            }
            70..=89 => {
                let Some(order) = self.browser.web.take_sold() else { return };
                let (key, order_id) =
                    (self.browser.client(Way::Any).new_key(), vestibule_client::OrderId(order.to_string()));
                let client = self.browser.client(Way::Any);
                let asked = client.refund(token, &order_id, None, "the singer is ill", &key);
                let browser = &self.browser;
                let read = |order: &vestibule_client::Order| browser.read_order(order);
                browser.note(Way::Any, Some(&key), Deed::Refund(order), asked, read).await;
            }
            _ => {
                let key = &self.browser.client(Way::Any).new_key();
                let ask = |client: Client<_>| async move { client.queue_message(token, id, "soon", key).await };
                self.have(showtime, "say something", false, ask).await;
            }
        }
    }
}

//! Whoever looks, once all is still, whether every gateway shows what has happened, to the last event of every showtime.

use super::browser::{Browser, Way};
use super::visits::Said;
use crate::workload::{Shop, Stage};
use std::time::Duration;

/// Waits until all is still, and then for as long as a gateway is behind.
pub(super) async fn inspect(mut browser: Browser, shop: &Shop) {
    while shop.stage() < Stage::Still {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let house = browser.house.clone();
    for way in (1..=browser.gateways()).map(Way::Gateway) {
        for &showtime in &house.showtimes {
            let last = shop.web.last_event(showtime);
            while !matches!(browser.see_seats(way, showtime, true).await, Said::Seats(seen) if seen.sequence >= last) {
                browser.pause(50..=200).await;
            }
            while !matches!(browser.see_line(way, showtime).await, Said::Line(seen) if seen.sequence >= last) {
                browser.pause(50..=200).await;
            }
        }
    }
    shop.web.note_inspected();
}

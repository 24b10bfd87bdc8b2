//! `CreateShowtime`: puts a showtime on sale.

use super::Shard;
use super::deadlines::Due;
use super::showtime::{Showtime, content_hash};
use crate::group_state::Events;
use crate::{CreateShowtime, Event, Money, Outcome, PRICE_MAX, Refusal, SeatMap};

/// The most showtimes that a group ever has: archived ones stay. The directory assigns no more to it. Lower under test, so
/// that a test reaches it.
pub(crate) const GROUP_SHOWTIMES_MAX: usize = if cfg!(test) { 7 } else { 10_000 };

/// Refuses a price list that does not fit the seat map.
pub(crate) fn check_prices(seat_map: &SeatMap, prices: &[Money]) -> Result<(), Refusal> {
    let (count, wanted) = (prices.len(), seat_map.categories.len());
    if count != wanted {
        return Err(Refusal::out_of_bounds("prices", format!("{count} prices for {wanted} categories")));
    }
    check_each_price(prices)
}

/// Refuses prices that no house can have.
pub(crate) fn check_each_price(prices: &[Money]) -> Result<(), Refusal> {
    let refuse = |reason: String| Err(Refusal::out_of_bounds("prices", reason));
    for price in prices {
        if !price.currency.is_valid() || price.currency != prices[0].currency {
            return refuse("one ISO 4217 currency for all prices".into());
        }
        if !(0..=PRICE_MAX).contains(&price.amount) {
            return refuse(format!("{} is not between 0 and {PRICE_MAX}", price.amount));
        }
    }
    Ok(())
}

impl Shard {
    pub(super) fn create_showtime(&mut self, ask: &CreateShowtime, events: &mut Events) -> Result<Outcome, Refusal> {
        if ask.showtime.group() != self.state.group {
            return Err(Refusal::out_of_bounds("showtimeId", format!("it belongs to {}", ask.showtime.group())));
        }
        let known = self.showtimes.get(&ask.showtime);
        if let Some(showtime) = known
            && *showtime.created_by() == content_hash(ask)
        {
            return Ok(Outcome::ShowtimeCreated { showtime: ask.showtime, commitment: showtime.commitment() });
        }
        ask.seat_map.check().map_err(|error| Refusal::out_of_bounds("plan", error.to_string()))?;
        check_prices(&ask.seat_map, &ask.prices)?;
        ask.sale.validate()?;
        if known.is_some() {
            return Err(Refusal::AlreadyExists);
        }
        if self.showtimes.len() >= GROUP_SHOWTIMES_MAX {
            return Err(Refusal::AtCapacity { what: "showtimes".into() });
        }

        let showtime = Showtime::new(ask);
        let commitment = showtime.commitment();
        self.showtimes.insert(ask.showtime, showtime);
        for (at, due) in [
            (ask.sale.prequeue_at, Due::Prequeue(ask.showtime)),
            (ask.sale.opens_at, Due::Opening(ask.showtime)),
            (ask.sale.closes_at, Due::Closing(ask.showtime)),
        ] {
            self.deadlines.replace(None, at, due);
        }

        events.push(ask.showtime, Event::ShowtimeCreated { organisation: ask.organisation, commitment });
        Ok(Outcome::ShowtimeCreated { showtime: ask.showtime, commitment })
    }
}

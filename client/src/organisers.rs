//! What organisers call: venues, events, showtimes, and orders to the line.

use crate::client::{Call, Connector};
use crate::{
    Client, Error, EventId, IdempotencyKey, NewEvent, NewShowtime, NewShowtimeAnswer, NewVenue, Order, OrderId,
    QueueOrder, QueueStatus, Sale, ShowtimeId, Token, Venue, VenueId, path::segments,
};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// Calls of organisers; `token` is an access token of that role.
impl<C: Connector> Client<C> {
    /// Makes a venue of a seating plan.
    pub async fn create_venue(
        &self,
        token: &Token,
        venue: &NewVenue<'_>,
        key: &IdempotencyKey,
    ) -> Result<Venue, Error> {
        self.ask(Call::post("/venues").token(token).key(key).json(venue)).await
    }

    /// The layout of a venue.
    pub async fn seat_map(&self, token: &Token, venue: &VenueId) -> Result<Value, Error> {
        self.ask(Call::get(segments!["venues", venue, "seatmap"]).token(token)).await
    }

    /// Makes an event.
    pub async fn create_event(&self, token: &Token, event: &NewEvent, key: &IdempotencyKey) -> Result<EventId, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Made {
            event_id: EventId,
        }
        let made: Made = self.ask(Call::post("/events").token(token).key(key).json(event)).await?;
        Ok(made.event_id)
    }

    /// Changes parts of an event.
    pub async fn update_event(&self, token: &Token, event: &EventId, change: &Value) -> Result<Value, Error> {
        self.ask(Call::new(Method::PATCH, segments!["events", event]).token(token).json(change)).await
    }

    /// Removes an event.
    pub async fn delete_event(&self, token: &Token, event: &EventId) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, segments!["events", event]).token(token)).await
    }

    /// Puts a showtime on sale.
    pub async fn create_showtime(
        &self,
        token: &Token,
        showtime: &NewShowtime,
        key: &IdempotencyKey,
    ) -> Result<NewShowtimeAnswer, Error> {
        self.ask(Call::post("/showtimes").token(token).key(key).json(showtime)).await
    }

    /// Changes parts of a sale and gives the settings then in force.
    pub async fn update_sale(&self, token: &Token, showtime: &ShowtimeId, change: &Sale) -> Result<Sale, Error> {
        self.ask(Call::new(Method::PATCH, segments!["showtimes", showtime, "sale"]).token(token).json(change)).await
    }

    /// Pauses, resumes, opens or closes a line.
    pub async fn order_queue(
        &self,
        token: &Token,
        showtime: &ShowtimeId,
        order: QueueOrder,
        key: &IdempotencyKey,
    ) -> Result<QueueStatus, Error> {
        let word = match order {
            QueueOrder::Pause => "pause",
            QueueOrder::Resume => "resume",
            QueueOrder::Open => "open",
            QueueOrder::Close => "close",
        };
        self.ask(Call::post(segments!["showtimes", showtime, "queue", word]).token(token).key(key)).await
    }

    /// Shows a message to everybody in line.
    pub async fn queue_message(
        &self,
        token: &Token,
        showtime: &ShowtimeId,
        text: &str,
        key: &IdempotencyKey,
    ) -> Result<QueueStatus, Error> {
        let path = segments!["showtimes", showtime, "queue", "message"];
        self.ask(Call::post(path).token(token).key(key).json(&json!({"text": text}))).await
    }

    /// Keeps seats back.
    pub async fn block_seats(
        &self,
        token: &Token,
        showtime: &ShowtimeId,
        seats: &[String],
        reason: &str,
        key: &IdempotencyKey,
    ) -> Result<Value, Error> {
        let body = json!({"seats": seats, "reason": reason});
        self.ask(Call::post(segments!["showtimes", showtime, "blocks"]).token(token).key(key).json(&body)).await
    }

    /// Puts seats that were kept back on sale.
    pub async fn unblock_seats(&self, token: &Token, showtime: &ShowtimeId, seats: &[String]) -> Result<Value, Error> {
        let call = Call::new(Method::DELETE, segments!["showtimes", showtime, "blocks"]);
        self.ask(call.token(token).json(&json!({"seats": seats}))).await
    }

    /// Refunds an order, or some seats of it.
    pub async fn refund(
        &self,
        token: &Token,
        order: &OrderId,
        seats: Option<&[String]>,
        reason: &str,
        key: &IdempotencyKey,
    ) -> Result<Order, Error> {
        let body = match seats {
            Some(seats) => json!({"seats": seats, "reason": reason}),
            None => json!({"reason": reason}),
        };
        self.ask(Call::post(segments!["orders", order, "refunds"]).token(token).key(key).json(&body)).await
    }

    /// Counts and revenue of a showtime.
    pub async fn report(&self, token: &Token, showtime: &ShowtimeId) -> Result<Value, Error> {
        self.ask(Call::get(segments!["showtimes", showtime, "report"]).token(token)).await
    }
}

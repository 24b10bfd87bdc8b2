//! What buyers call: in line, at the seats, at the till.

use crate::client::{Call, Connector};
use crate::{
    Admission, Client, EntryId, Error, EventFilter, EventId, Guest, Hold, HoldId, HoldRequest, IdempotencyKey, Order,
    OrderId, Page, Payment, QueueStatus, Seats, ShowtimeId, Ticket, TicketId, Token, WaitlistRequest,
    path::{self, segments},
};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

/// Calls of buyers. Where a key is taken it is required by the contract, and repeating a call under its key is safe, also
/// in another process; elsewhere the client draws one itself.
impl<C: Connector> Client<C> {
    /// Becomes a guest: a new one every time.
    pub async fn guest(&self) -> Result<Guest, Error> {
        self.ask(Call::post("/auth/guest")).await
    }

    /// The catalogue.
    pub async fn events(&self, filter: &EventFilter) -> Result<Page, Error> {
        let limit = filter.limit.map(|limit| limit.to_string());
        let pairs = [
            ("q", &filter.q),
            ("city", &filter.city),
            ("category", &filter.category),
            ("from", &filter.from),
            ("to", &filter.to),
            ("limit", &limit),
            ("cursor", &filter.cursor),
        ];
        let pairs = pairs.iter().filter_map(|(name, value)| value.as_ref().map(|value| (*name, value)));
        let query: Vec<_> = pairs.map(|(name, value)| format!("{name}={}", path::segment(value))).collect();
        self.ask(Call::get(format!("/events?{}", query.join("&")))).await
    }

    /// One event.
    pub async fn event(&self, event: &EventId) -> Result<Value, Error> {
        self.ask(Call::get(segments!["events", event])).await
    }

    /// One showtime.
    pub async fn showtime(&self, showtime: &ShowtimeId) -> Result<Value, Error> {
        self.ask(Call::get(segments!["showtimes", showtime])).await
    }

    /// Joins the line. Joining again gives the same ticket.
    pub async fn join(&self, access: &Token, showtime: &ShowtimeId) -> Result<Ticket, Error> {
        let key = self.new_key();
        self.ask(Call::post(segments!["showtimes", showtime, "queue", "entries"]).token(access).key(&key)).await
    }

    /// The ticket now.
    pub async fn ticket(&self, access: &Token, showtime: &ShowtimeId, ticket: &TicketId) -> Result<Ticket, Error> {
        self.ask(Call::get(segments!["showtimes", showtime, "queue", "entries", ticket]).token(access)).await
    }

    /// Claims admission once the ticket is called.
    pub async fn claim(&self, access: &Token, showtime: &ShowtimeId, ticket: &TicketId) -> Result<Admission, Error> {
        let key = self.new_key();
        let path = segments!["showtimes", showtime, "queue", "entries", ticket, "claim"];
        self.ask(Call::post(path).token(access).key(&key)).await
    }

    /// Gives up the place in line.
    pub async fn leave(&self, access: &Token, showtime: &ShowtimeId, ticket: &TicketId) -> Result<(), Error> {
        let path = segments!["showtimes", showtime, "queue", "entries", ticket];
        self.tell(Call::new(Method::DELETE, path).token(access)).await
    }

    /// The proof that a ticket was in the draw.
    pub async fn receipt(&self, access: &Token, showtime: &ShowtimeId, ticket: &TicketId) -> Result<Value, Error> {
        let path = segments!["showtimes", showtime, "queue", "entries", ticket, "receipt"];
        self.ask(Call::get(path).token(access)).await
    }

    /// The public status of the line, the same for everybody.
    pub async fn queue_status(&self, showtime: &ShowtimeId) -> Result<QueueStatus, Error> {
        self.ask(Call::get(segments!["showtimes", showtime, "queue"])).await
    }

    /// The draw, as far as it is published.
    pub async fn draw(&self, showtime: &ShowtimeId) -> Result<Value, Error> {
        self.ask(Call::get(segments!["showtimes", showtime, "queue", "draw"])).await
    }

    /// The seats, all of them or those that changed since a sequence.
    pub async fn seats(&self, showtime: &ShowtimeId, since: Option<u64>) -> Result<Seats, Error> {
        self.ask(seats_call(showtime, since)).await
    }

    /// The same as [`seats`](Self::seats), unread: for those who look often and read sparingly.
    pub async fn seats_bytes(&self, showtime: &ShowtimeId, since: Option<u64>) -> Result<Bytes, Error> {
        Ok(self.send(seats_call(showtime, since)).await?.body)
    }

    /// Holds seats, all or none. `token` is the admission token, or the access token where the sale has no line.
    pub async fn hold(
        &self,
        token: &Token,
        showtime: &ShowtimeId,
        request: &HoldRequest,
        key: &IdempotencyKey,
    ) -> Result<Hold, Error> {
        self.ask(Call::post(segments!["showtimes", showtime, "holds"]).token(token).key(key).json(request)).await
    }

    /// A hold while it lives.
    pub async fn get_hold(&self, token: &Token, hold: &HoldId) -> Result<Hold, Error> {
        self.ask(Call::get(segments!["holds", hold]).token(token)).await
    }

    /// Lets a hold live longer.
    pub async fn extend_hold(&self, token: &Token, hold: &HoldId, key: &IdempotencyKey) -> Result<Hold, Error> {
        self.ask(Call::post(segments!["holds", hold, "extend"]).token(token).key(key)).await
    }

    /// Gives the seats back.
    pub async fn release_hold(&self, token: &Token, hold: &HoldId) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, segments!["holds", hold]).token(token)).await
    }

    /// Orders what is held.
    pub async fn order(
        &self,
        access: &Token,
        hold: &HoldId,
        email: &str,
        key: &IdempotencyKey,
    ) -> Result<Order, Error> {
        let body = json!({"holdId": hold, "email": email});
        self.ask(Call::post("/orders").token(access).key(key).json(&body)).await
    }

    /// An order as it is now.
    pub async fn get_order(&self, access: &Token, order: &OrderId) -> Result<Order, Error> {
        self.ask(Call::get(segments!["orders", order]).token(access)).await
    }

    /// Gives up an order that is not paid.
    pub async fn cancel_order(&self, access: &Token, order: &OrderId, key: &IdempotencyKey) -> Result<Order, Error> {
        self.ask(Call::post(segments!["orders", order, "cancel"]).token(access).key(key)).await
    }

    /// Pays an order with a card that the payment provider knows as `card`.
    pub async fn pay(
        &self,
        access: &Token,
        order: &OrderId,
        card: &str,
        key: &IdempotencyKey,
    ) -> Result<Payment, Error> {
        let body = json!({"method": {"type": "card", "token": card}});
        self.ask(Call::post(segments!["orders", order, "payments"]).token(access).key(key).json(&body)).await
    }

    /// Waits for seats to come back.
    pub async fn join_waitlist(
        &self,
        access: &Token,
        showtime: &ShowtimeId,
        request: &WaitlistRequest,
        key: &IdempotencyKey,
    ) -> Result<Value, Error> {
        self.ask(Call::post(segments!["showtimes", showtime, "waitlist"]).token(access).key(key).json(request)).await
    }

    /// A waitlist entry now.
    pub async fn waitlist_entry(&self, access: &Token, showtime: &ShowtimeId, entry: &EntryId) -> Result<Value, Error> {
        self.ask(Call::get(segments!["showtimes", showtime, "waitlist", entry]).token(access)).await
    }

    /// Leaves the waitlist.
    pub async fn leave_waitlist(&self, access: &Token, showtime: &ShowtimeId, entry: &EntryId) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, segments!["showtimes", showtime, "waitlist", entry]).token(access)).await
    }

    /// Whether a gateway is there. Outside `/api/v1`.
    pub async fn health_live(&self) -> Result<(), Error> {
        self.tell(Call { path: "/health/live".to_owned(), ..Call::get("") }).await
    }

    /// Whether a gateway can serve. Outside `/api/v1`.
    pub async fn health_ready(&self) -> Result<(), Error> {
        self.tell(Call { path: "/health/ready".to_owned(), ..Call::get("") }).await
    }
}

fn seats_call(showtime: &ShowtimeId, since: Option<u64>) -> Call<'static> {
    let path = segments!["showtimes", showtime, "seats"];
    match since {
        Some(sequence) => Call::get(format!("{path}?since={sequence}")),
        None => Call::get(path),
    }
}

//! What came of a command.

use crate::{
    EventId, HoldView, OfferId, OrderView, OrganisationId, PaymentId, Sale, ShowtimeId, ShowtimeRecord, TicketView,
    Timestamp, TokenKey, UserId, VenueId,
};
use serde::{Deserialize, Serialize};

/// Where whoever asked now stands. One list for both machines; it only grows at its end.
///
/// What is large lies behind a pointer: a reply is moved several times on its way to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done, and there is nothing more to say.
    Done,
    /// The showtime is on sale in this group.
    ShowtimeCreated {
        /// Which.
        showtime: ShowtimeId,
        /// SHA-256 of the draw's secret.
        commitment: [u8; 32],
    },
    /// The settings in force from now on.
    SaleUpdated {
        /// All of them.
        sale: Box<Sale>,
    },
    /// In line.
    Queued {
        /// The ticket.
        ticket: Box<TicketView>,
        /// Whether it was made just now; otherwise the buyer had it before.
        joined: bool,
    },
    /// Admitted.
    Claimed {
        /// The ticket, shopping.
        ticket: Box<TicketView>,
        /// Until when.
        expires_at: Timestamp,
    },
    /// The seats are held. Extending a hold answers this too.
    Held {
        /// The hold.
        hold: Box<HoldView>,
    },
    /// The order as it now is.
    Ordered {
        /// The order.
        order: Box<OrderView>,
    },
    /// On the waitlist.
    Waitlisted {
        /// The entry.
        entry: OfferId,
        /// How many entries are before it.
        ahead: u64,
    },
    /// The payment or refund is known, and changed nothing the second time.
    PaymentKnown {
        /// Which.
        payment: PaymentId,
        /// The order as it now is.
        order: Box<OrderView>,
    },
    /// The token keys in force.
    TokenKeys {
        /// 1 for the first, one more at every change.
        version: u64,
        /// All of them.
        keys: Vec<TokenKey>,
    },
    /// The organisation is made.
    OrganisationCreated {
        /// Its id.
        organisation: OrganisationId,
    },
    /// The venue is made.
    VenueCreated {
        /// Its id.
        venue: VenueId,
        /// The version of its seat map.
        version: u32,
    },
    /// The event is made or changed.
    EventStored {
        /// Its id.
        event: EventId,
        /// Its version now.
        version: u64,
    },
    /// The showtime is planned, or activated.
    ShowtimeStored {
        /// The record, with its group inside its id.
        showtime: Box<ShowtimeRecord>,
    },
    /// The organisation, venue, user, node or placement as it now is has this version.
    Stored {
        /// Its version.
        version: u64,
    },
    /// The user is made.
    UserCreated {
        /// Its id: that of the first command, if this was a repetition.
        user: UserId,
    },
}

//! Why a command changed nothing.

use crate::{AreaId, QueueState, SeatId, Timestamp};
use serde::{Deserialize, Serialize};

/// Why a command changed nothing. A refusal is replicated and the same on every node.
///
/// The list only grows at its end: refusals are stored by their position. When several reasons apply, the one of the least
/// [`precedence`](Self::precedence) is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    // The request itself.
    /// The request id was used before with another body.
    #[error("the request id was used before with another body")]
    RequestIdReused,
    /// A part of the command is outside its documented bounds.
    #[error("{field} is out of bounds: {reason}")]
    OutOfBounds {
        /// The field, as the HTTP contract spells it.
        field: String,
        /// What is wrong with it.
        reason: String,
    },

    // What it names.
    /// There is no such showtime in this group.
    #[error("there is no such showtime")]
    NoSuchShowtime,
    /// There is no such ticket, or it is somebody else's.
    #[error("there is no such ticket")]
    NoSuchTicket,
    /// There never was such a hold, or it is somebody else's.
    #[error("there is no such hold")]
    NoSuchHold,
    /// The hold has expired, was released, or became a finished order.
    #[error("the hold is gone")]
    HoldGone,
    /// There is no such order, or it is somebody else's.
    #[error("there is no such order")]
    NoSuchOrder,
    /// There is no such seat in the seat map.
    #[error("there is no seat number {}", .0.0)]
    NoSuchSeat(SeatId),
    /// There is no such area in the seat map.
    #[error("there is no area number {}", .0.0)]
    NoSuchArea(AreaId),
    /// There is no such organisation.
    #[error("there is no such organisation")]
    NoSuchOrganisation,
    /// There is no such venue.
    #[error("there is no such venue")]
    NoSuchVenue,
    /// There is no such event.
    #[error("there is no such event")]
    NoSuchEvent,
    /// There is no such waitlist entry, or it is somebody else's.
    #[error("there is no such waitlist entry")]
    NoSuchEntry,
    /// There is no such user.
    #[error("there is no such user")]
    NoSuchUser,
    /// There is no such node.
    #[error("there is no such node")]
    NoSuchNode,
    /// There is no such group.
    #[error("there is no such group")]
    NoSuchGroup,
    /// There is no such sink.
    #[error("there is no such sink")]
    NoSuchSink,

    // The state of the sale.
    /// The same id is in use with another content.
    #[error("it exists already with another content")]
    AlreadyExists,
    /// Its version is not the one expected.
    #[error("its version is {actual}, not {expected}")]
    VersionMismatch {
        /// What the command expected.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// There is no group that could take a showtime.
    #[error("there is no group to take the showtime")]
    NoGroups,
    /// Something still depends on it.
    #[error("it is still in use")]
    InUse,
    /// The sale lets nobody in.
    #[error("the sale lets nobody in")]
    SaleRejects,
    /// The sale has no line: holding needs no ticket.
    #[error("the sale has no line")]
    NoLine,
    /// The sale has no waitlist.
    #[error("the sale has no waitlist")]
    NoWaitlist,
    /// The line is not in a state for this.
    #[error("the line is {state}")]
    WrongQueueState {
        /// What state it is in.
        state: QueueState,
        /// When it opens, if that is known.
        opens_at: Option<Timestamp>,
    },
    /// The planned public randomness is not known yet.
    #[error("the planned randomness is not known yet")]
    BeaconMissing,
    /// The line takes no more tickets.
    #[error("the line is full")]
    QueueFull,

    // The admission.
    /// The ticket is not called yet.
    #[error("the ticket is not called yet, {ahead} ahead")]
    NotCalledYet {
        /// How many places are called before this one.
        ahead: u64,
    },
    /// The ticket was given up, was finished, or its time ran out.
    #[error("the ticket is over")]
    TicketOver,
    /// Holding needs a ticket that was admitted and claimed.
    #[error("the ticket has not been admitted")]
    NotAdmitted,

    // The seats.
    /// More seats than one hold may take.
    #[error("one hold takes {max} at most")]
    TooManySeats {
        /// The most that one hold takes.
        max: u32,
    },
    /// More seats than one buyer may have, held and bought.
    #[error("one buyer takes {max} at most, and has {taken}")]
    BuyerLimit {
        /// The most that one buyer takes.
        max: u32,
        /// What the buyer has, held and bought.
        taken: u32,
    },
    /// Seats in the way: every wanted seat that is not available to this buyer, and no other.
    #[error("{} of the seats are not available", .seats.len())]
    SeatsUnavailable {
        /// In order of seat id.
        seats: Vec<SeatId>,
    },
    /// The pick would leave these free seats alone.
    #[error("the pick would leave {} free seats alone", .seats.len())]
    LeavesOrphan {
        /// In order of seat id.
        seats: Vec<SeatId>,
    },
    /// Nothing fits the wish for the best seats.
    #[error("no seats fit the wish")]
    NoSeatsFit,
    /// The area has not enough places left.
    #[error("the area has {available} places left")]
    AreaFull {
        /// Places left.
        available: u32,
    },
    /// Free seats fit the wish: they are to be held, not waited for.
    #[error("free seats fit the wish: they are to be held")]
    SeatsFit,

    // Holds, orders and money.
    /// The hold has an order already.
    #[error("the hold has an order already")]
    HoldHasOrder,
    /// The hold cannot be extended any further.
    #[error("the hold cannot be extended any further")]
    HoldTotalReached,
    /// The order is not in a state for this.
    #[error("the order is {state}")]
    WrongOrderState {
        /// What state it is in.
        state: crate::OrderState,
    },
    /// The payment id was used for this order before, with another amount or the other direction of money.
    #[error("the payment id was used before with another content")]
    PaymentIdReused,
    /// More money went back than had to.
    #[error("{due} has to go back")]
    MoreThanDue {
        /// What has to go back, in the currency of the refund.
        due: i64,
    },
    /// The group holds as much as it may; a bound of the engine is reached.
    #[error("{what} are at their bound")]
    AtCapacity {
        /// What there are too many of.
        what: String,
    },
    /// The sink fell too far behind: it is to register again and to start from the whole state.
    #[error("the sink fell behind, and the events before {oldest} are gone")]
    SinkLapsed {
        /// The oldest event that is still there.
        oldest: crate::Sequence,
    },

    // The nodes.
    /// Fewer nodes would be active than have to be.
    #[error("{left} nodes would be left active, too few")]
    TooFewNodes {
        /// How many others are active.
        left: u32,
    },
}

impl Refusal {
    /// A field outside its bounds.
    pub fn out_of_bounds(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::OutOfBounds { field: field.into(), reason: reason.into() }
    }

    /// Where it stands among the reasons to refuse a command: of several that apply the least is given. The numbers leave
    /// room for others between them and mean nothing else.
    ///
    /// There is one exception: a bound that depends on what the command names (the settings of a sale, the price list of
    /// a house) can only be looked at once that is found. It comes right after everything that may be missing.
    /// `tests/precedence.rs` of either machine holds every command to this.
    pub fn precedence(&self) -> u16 {
        match self {
            // The request itself.
            Self::RequestIdReused => 1000,
            Self::OutOfBounds { .. } => 1010,
            // What it names.
            Self::NoSuchShowtime => 2000,
            Self::NoSuchTicket => 2010,
            Self::NoSuchHold => 2020,
            Self::HoldGone => 2030,
            Self::NoSuchOrder => 2040,
            Self::NoSuchSeat(_) => 2050,
            Self::NoSuchArea(_) => 2060,
            Self::NoSuchOrganisation => 2070,
            Self::NoSuchVenue => 2080,
            Self::NoSuchEvent => 2090,
            Self::NoSuchEntry => 2100,
            Self::NoSuchUser => 2110,
            Self::NoSuchNode => 2120,
            Self::NoSuchGroup => 2130,
            Self::NoSuchSink => 2140,
            // The state of the sale.
            Self::AlreadyExists => 3000,
            Self::VersionMismatch { .. } => 3010,
            Self::NoGroups => 3020,
            Self::InUse => 3030,
            Self::TooFewNodes { .. } => 3035,
            Self::SaleRejects => 3040,
            Self::NoLine => 3050,
            Self::NoWaitlist => 3060,
            Self::WrongQueueState { .. } => 3070,
            Self::BeaconMissing => 3080,
            Self::QueueFull => 3090,
            // The admission.
            Self::NotCalledYet { .. } => 4000,
            Self::TicketOver => 4010,
            Self::NotAdmitted => 4020,
            // The seats.
            Self::TooManySeats { .. } => 5000,
            Self::BuyerLimit { .. } => 5010,
            Self::SeatsUnavailable { .. } => 5020,
            Self::LeavesOrphan { .. } => 5030,
            Self::NoSeatsFit => 5040,
            Self::AreaFull { .. } => 5050,
            Self::SeatsFit => 5060,
            // Holds, orders and money.
            Self::HoldHasOrder => 6000,
            Self::HoldTotalReached => 6010,
            Self::WrongOrderState { .. } => 6020,
            Self::PaymentIdReused => 6030,
            Self::MoreThanDue { .. } => 6040,
            Self::AtCapacity { .. } => 6050,
            Self::SinkLapsed { .. } => 6060,
        }
    }
}

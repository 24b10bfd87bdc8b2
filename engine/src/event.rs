//! Facts, for everybody else.

use crate::{AreaId, codec};
use crate::{
    EventId, GroupId, HoldId, Millis, Money, NodeNumber, NodeState, OfferId, OrderId, OrganisationId, PaymentId,
    SeatId, Sequence, ShowtimeId, TicketNumber, Timestamp, UserId, VenueId,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

/// A fact with its position, its time and its link in the chain of its showtime.
///
/// `chain = SHA-256(previous chain of the showtime ‖ codec::encode(sequence, at, showtime, event))`; the first link
/// follows 32 zero bytes. Events without a showtime have a chain of their own in each group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its position in the group.
    pub sequence: Sequence,
    /// Log time.
    pub at: Timestamp,
    /// The showtime it belongs to.
    pub showtime: Option<ShowtimeId>,
    /// What happened.
    pub event: Event,
    /// The link.
    pub chain: [u8; 32],
}

impl EventRecord {
    /// The link that belongs to this record after `previous`.
    pub fn link(&self, previous: &[u8; 32]) -> [u8; 32] {
        let bytes = codec::encode(&(self.sequence, self.at, self.showtime, &self.event));
        Sha256::new().chain_update(previous).chain_update(bytes).finalize().into()
    }
}

/// Seats that belong together. Most buyers take four at most, and those need no memory of their own: the list is copied
/// into every fact, reply and row of a purchase.
pub type SeatList = SmallVec<[SeatId; 4]>;

/// A [`SeatList`] is stored as any other list is. It is read by way of a vector, which trusts no length prefix.
mod seat_list {
    use super::{SeatId, SeatList};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(seats: &SeatList, serializer: S) -> Result<S::Ok, S::Error> {
        seats.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SeatList, D::Error> {
        Vec::<SeatId>::deserialize(deserializer).map(SeatList::from_vec)
    }
}

/// Seats and places, as far as a fact is about them.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// Seats, in order of id.
    #[serde(with = "seat_list")]
    pub seats: SeatList,
    /// Places in areas, in order of area.
    pub areas: Vec<(AreaId, u32)>,
}

/// Copied into every fact, reply and row of a purchase: the seats in one piece, not one by one as the list itself would.
impl Clone for Places {
    fn clone(&self) -> Self {
        Self { seats: SeatList::from_slice(&self.seats), areas: self.areas.clone() }
    }
}

/// The draw, published: everything that an outsider needs to compute every place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawBundle {
    /// Tickets in the draw: numbers 1 to this.
    pub entrants: u64,
    /// SHA-256 of the secret, published at creation.
    pub commitment: [u8; 32],
    /// The secret.
    pub secret: [u8; 32],
    /// RFC 6962 root over the entrants.
    pub merkle_root: [u8; 32],
    /// Public randomness, where planned.
    pub beacon: Option<Vec<u8>>,
    /// `SHA-256(secret ‖ merkle root ‖ beacon)`.
    pub seed: [u8; 32],
    /// Rounds of the shuffle.
    pub rounds: u8,
}

/// Something that happened. The list only grows at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// `showtimes.created`
    ShowtimeCreated {
        /// Whose showtime.
        organisation: OrganisationId,
        /// SHA-256 of the draw's secret.
        commitment: [u8; 32],
    },
    /// `showtimes.sale.updated`
    SaleUpdated,
    /// `queue.prequeue.started`
    PrequeueStarted,
    /// `queue.opened`
    QueueOpened,
    /// `queue.paused`
    QueuePaused,
    /// `queue.resumed`
    QueueResumed,
    /// `queue.closed`
    QueueClosed,
    /// `queue.message`
    QueueMessageSet {
        /// The message; nothing when cleared.
        text: Option<String>,
    },
    /// `queue.draw.published`
    DrawPublished(Box<DrawBundle>),
    /// `queue.joined`
    QueueJoined {
        /// The new ticket.
        ticket: TicketNumber,
        /// Whose.
        user: UserId,
    },
    /// `queue.left`
    QueueLeft {
        /// The ticket given up.
        ticket: TicketNumber,
    },
    /// `queue.admitted`: the places from `from` to `to`, both included, are called.
    QueueAdmitted {
        /// First place.
        from: u64,
        /// Last place.
        to: u64,
        /// Until when they can claim.
        claim_by: Timestamp,
    },
    /// `queue.claimed`
    AdmissionClaimed {
        /// The ticket.
        ticket: TicketNumber,
        /// Until when it may shop.
        expires_at: Timestamp,
    },
    /// `queue.expired`: a session ran out in which nothing was bought.
    AdmissionExpired {
        /// The ticket.
        ticket: TicketNumber,
    },
    /// `queue.unclaimed`: of the places called together, so many did not claim in time.
    ClaimsMissed {
        /// First place.
        from: u64,
        /// Last place.
        to: u64,
        /// How many of them.
        count: u64,
    },
    /// `queue.done`: a session ended in which something was bought.
    AdmissionDone {
        /// The ticket.
        ticket: TicketNumber,
    },
    /// `inventory.hold.created`
    SeatsHeld {
        /// The hold.
        hold: HoldId,
        /// Whose.
        user: UserId,
        /// What it holds.
        places: Places,
        /// Until when.
        expires_at: Timestamp,
    },
    /// `inventory.hold.extended`
    HoldExtended {
        /// The hold.
        hold: HoldId,
        /// Until when now.
        expires_at: Timestamp,
    },
    /// `inventory.hold.released`
    HoldReleased {
        /// The hold.
        hold: HoldId,
        /// What it held.
        places: Places,
    },
    /// `inventory.hold.expired`
    HoldExpired {
        /// The hold.
        hold: HoldId,
        /// What it held.
        places: Places,
    },
    /// `inventory.seats.purchased`
    SeatsPurchased {
        /// The order.
        order: OrderId,
        /// What was sold.
        places: Places,
    },
    /// `inventory.seats.blocked`
    SeatsBlocked {
        /// Which, in order of id.
        seats: Vec<SeatId>,
        /// Why.
        reason: String,
    },
    /// `inventory.seats.released`: blocked seats are free again, or sold seats were taken back.
    SeatsReleased {
        /// What came free.
        places: Places,
        /// Why.
        reason: String,
    },
    /// `orders.created`
    OrderPlaced {
        /// The order.
        order: OrderId,
        /// Whose.
        user: UserId,
        /// What it is for.
        places: Places,
        /// What it costs.
        total: Money,
        /// Until when it is to be paid.
        pay_by: Timestamp,
    },
    /// `orders.completed`
    OrderCompleted {
        /// The order.
        order: OrderId,
        /// Whose.
        user: UserId,
        /// What it is for.
        places: Places,
        /// What it cost.
        total: Money,
    },
    /// `orders.canceled`
    OrderCanceled {
        /// The order.
        order: OrderId,
        /// Whose.
        user: UserId,
        /// What it was for.
        places: Places,
        /// What it would have cost.
        total: Money,
    },
    /// `orders.expired`
    OrderExpired {
        /// The order.
        order: OrderId,
        /// Whose.
        user: UserId,
        /// What it was for.
        places: Places,
        /// What it would have cost.
        total: Money,
    },
    /// `payments.succeeded`
    PaymentSucceeded {
        /// For which order.
        order: OrderId,
        /// Which payment.
        payment: PaymentId,
        /// How much was taken.
        amount: Money,
    },
    /// `payments.failed`
    PaymentFailed {
        /// For which order.
        order: OrderId,
        /// Which payment.
        payment: PaymentId,
        /// How much was to be taken.
        amount: Money,
    },
    /// `payments.refund.due`: so much more has to go back.
    RefundDue {
        /// Of which order.
        order: OrderId,
        /// How much.
        amount: Money,
        /// Why.
        reason: String,
    },
    /// `payments.refunded`
    PaymentRefunded {
        /// Of which order.
        order: OrderId,
        /// Which refund.
        refund: PaymentId,
        /// How much went back.
        amount: Money,
    },
    /// `payments.refund.failed`: it is still due, or, when it had been told as refunded, due again.
    RefundFailed {
        /// Of which order.
        order: OrderId,
        /// Which refund.
        refund: PaymentId,
        /// How much was to go back.
        amount: Money,
    },
    /// `waitlist.joined`
    WaitlistJoined {
        /// The entry.
        entry: OfferId,
        /// Whose.
        user: UserId,
    },
    /// `waitlist.offered`
    WaitlistOffered {
        /// The entry.
        entry: OfferId,
        /// Whose.
        user: UserId,
        /// The hold made for it.
        hold: HoldId,
        /// What is offered.
        places: Places,
        /// Until when.
        expires_at: Timestamp,
    },
    /// `waitlist.accepted`
    WaitlistAccepted {
        /// The entry.
        entry: OfferId,
        /// Whose.
        user: UserId,
    },
    /// `waitlist.expired`: the offer was not taken in time, or the sale closed before there was one.
    WaitlistExpired {
        /// The entry.
        entry: OfferId,
        /// Whose.
        user: UserId,
    },
    /// `waitlist.left`
    WaitlistLeft {
        /// The entry.
        entry: OfferId,
        /// Whose.
        user: UserId,
    },
    /// `groups.changed`: so many shard groups there are.
    GroupsChanged {
        /// How many.
        count: u32,
    },
    /// `organisations.created`
    OrganisationCreated {
        /// Which.
        organisation: OrganisationId,
    },
    /// `venues.created`
    VenueCreated {
        /// Which.
        venue: VenueId,
    },
    /// `events.created`
    EventCreated {
        /// Which.
        event: EventId,
    },
    /// `events.updated`
    EventUpdated {
        /// Which.
        event: EventId,
    },
    /// `events.deleted`
    EventDeleted {
        /// Which.
        event: EventId,
    },
    /// `showtimes.scheduled`: the directory has given it an id and a group.
    ShowtimeScheduled {
        /// Which.
        showtime: ShowtimeId,
        /// Of which event.
        event: EventId,
    },
    /// `showtimes.activated`: its group serves it.
    ShowtimeActivated {
        /// Which.
        showtime: ShowtimeId,
    },
    /// `keys.installed`
    TokenKeysInstalled,
    /// `limits.changed`
    LimitsChanged {
        /// Requests remembered.
        requests_max: u64,
        /// For how long.
        request_age_max: Millis,
        /// How long events are kept at least.
        event_age_min: Millis,
        /// How many events are kept at most.
        events_max: u64,
        /// Tickets of one line.
        tickets_max: u64,
    },
    /// `organisations.updated`
    OrganisationUpdated {
        /// Which.
        organisation: OrganisationId,
    },
    /// `venues.updated`
    VenueUpdated {
        /// Which.
        venue: VenueId,
        /// The version of its seat map.
        version: u32,
    },
    /// `users.created`
    UserCreated {
        /// Who.
        user: UserId,
    },
    /// `users.updated`: name, address, password, roles, or whether the user may come in.
    UserUpdated {
        /// Who.
        user: UserId,
    },
    /// `nodes.changed`
    NodeChanged {
        /// Which.
        node: NodeNumber,
        /// What it now is.
        state: NodeState,
    },
    /// `groups.placed`
    PlacementChanged {
        /// Which group.
        group: GroupId,
        /// The nodes that are to vote.
        voters: Vec<NodeNumber>,
    },
    /// `showtimes.archived`
    ShowtimeArchived {
        /// Which.
        showtime: ShowtimeId,
    },
    /// `sinks.lapsed`: a sink fell behind by more than the group keeps. Events that it has not acknowledged are gone.
    SinkLapsed {
        /// Which.
        sink: String,
        /// The last event that it has.
        acknowledged: Sequence,
    },
}

impl Event {
    /// Its name in the HTTP contract.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ShowtimeCreated { .. } => "showtimes.created",
            Self::SaleUpdated => "showtimes.sale.updated",
            Self::PrequeueStarted => "queue.prequeue.started",
            Self::QueueOpened => "queue.opened",
            Self::QueuePaused => "queue.paused",
            Self::QueueResumed => "queue.resumed",
            Self::QueueClosed => "queue.closed",
            Self::QueueMessageSet { .. } => "queue.message",
            Self::DrawPublished(_) => "queue.draw.published",
            Self::QueueJoined { .. } => "queue.joined",
            Self::QueueLeft { .. } => "queue.left",
            Self::QueueAdmitted { .. } => "queue.admitted",
            Self::AdmissionClaimed { .. } => "queue.claimed",
            Self::AdmissionExpired { .. } => "queue.expired",
            Self::ClaimsMissed { .. } => "queue.unclaimed",
            Self::AdmissionDone { .. } => "queue.done",
            Self::SeatsHeld { .. } => "inventory.hold.created",
            Self::HoldExtended { .. } => "inventory.hold.extended",
            Self::HoldReleased { .. } => "inventory.hold.released",
            Self::HoldExpired { .. } => "inventory.hold.expired",
            Self::SeatsPurchased { .. } => "inventory.seats.purchased",
            Self::SeatsBlocked { .. } => "inventory.seats.blocked",
            Self::SeatsReleased { .. } => "inventory.seats.released",
            Self::OrderPlaced { .. } => "orders.created",
            Self::OrderCompleted { .. } => "orders.completed",
            Self::OrderCanceled { .. } => "orders.canceled",
            Self::OrderExpired { .. } => "orders.expired",
            Self::PaymentSucceeded { .. } => "payments.succeeded",
            Self::PaymentFailed { .. } => "payments.failed",
            Self::RefundDue { .. } => "payments.refund.due",
            Self::PaymentRefunded { .. } => "payments.refunded",
            Self::RefundFailed { .. } => "payments.refund.failed",
            Self::WaitlistJoined { .. } => "waitlist.joined",
            Self::WaitlistOffered { .. } => "waitlist.offered",
            Self::WaitlistAccepted { .. } => "waitlist.accepted",
            Self::WaitlistExpired { .. } => "waitlist.expired",
            Self::WaitlistLeft { .. } => "waitlist.left",
            Self::GroupsChanged { .. } => "groups.changed",
            Self::OrganisationCreated { .. } => "organisations.created",
            Self::VenueCreated { .. } => "venues.created",
            Self::EventCreated { .. } => "events.created",
            Self::EventUpdated { .. } => "events.updated",
            Self::EventDeleted { .. } => "events.deleted",
            Self::ShowtimeScheduled { .. } => "showtimes.scheduled",
            Self::ShowtimeActivated { .. } => "showtimes.activated",
            Self::TokenKeysInstalled => "keys.installed",
            Self::LimitsChanged { .. } => "limits.changed",
            Self::OrganisationUpdated { .. } => "organisations.updated",
            Self::VenueUpdated { .. } => "venues.updated",
            Self::UserCreated { .. } => "users.created",
            Self::UserUpdated { .. } => "users.updated",
            Self::NodeChanged { .. } => "nodes.changed",
            Self::PlacementChanged { .. } => "groups.placed",
            Self::ShowtimeArchived { .. } => "showtimes.archived",
            Self::SinkLapsed { .. } => "sinks.lapsed",
        }
    }
}

//! What a shard can be told to do.

use crate::{
    AcknowledgeEvents, AreaId, HoldId, Money, OfferId, OrderId, OrganisationId, PaymentId, RegisterSink, RemoveSink,
    Sale, SalePatch, SeatId, SeatMap, SetLimits, ShowtimeId, TicketNumber, UserId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A command to a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardCommand {
    /// Lets due things happen.
    Tick,
    /// See [`CreateShowtime`].
    CreateShowtime(CreateShowtime),
    /// See [`UpdateSale`].
    UpdateSale(UpdateSale),
    /// See [`OpenQueue`].
    OpenQueue(OpenQueue),
    /// See [`PauseQueue`].
    PauseQueue(PauseQueue),
    /// See [`ResumeQueue`].
    ResumeQueue(ResumeQueue),
    /// See [`CloseQueue`].
    CloseQueue(CloseQueue),
    /// See [`SetQueueMessage`].
    SetQueueMessage(SetQueueMessage),
    /// See [`JoinQueue`].
    JoinQueue(JoinQueue),
    /// See [`LeaveQueue`].
    LeaveQueue(LeaveQueue),
    /// See [`ClaimAdmission`].
    ClaimAdmission(ClaimAdmission),
    /// See [`HoldSeats`].
    HoldSeats(HoldSeats),
    /// See [`ExtendHold`].
    ExtendHold(ExtendHold),
    /// See [`ReleaseHold`].
    ReleaseHold(ReleaseHold),
    /// See [`PlaceOrder`].
    PlaceOrder(PlaceOrder),
    /// See [`CancelOrder`].
    CancelOrder(CancelOrder),
    /// See [`RecordPayment`].
    RecordPayment(RecordPayment),
    /// See [`RefundOrder`].
    RefundOrder(RefundOrder),
    /// See [`RecordRefund`].
    RecordRefund(RecordRefund),
    /// See [`BlockSeats`].
    BlockSeats(BlockSeats),
    /// See [`UnblockSeats`].
    UnblockSeats(UnblockSeats),
    /// See [`JoinWaitlist`].
    JoinWaitlist(JoinWaitlist),
    /// See [`LeaveWaitlist`].
    LeaveWaitlist(LeaveWaitlist),
    /// See [`RecordBeacon`].
    RecordBeacon(RecordBeacon),
    /// See [`SetLimits`].
    SetLimits(SetLimits),
    /// See [`RegisterSink`].
    RegisterSink(RegisterSink),
    /// See [`AcknowledgeEvents`].
    AcknowledgeEvents(AcknowledgeEvents),
    /// See [`RemoveSink`].
    RemoveSink(RemoveSink),
}

impl ShardCommand {
    /// Whether it changes what a group may keep: only whoever looks after the cluster may give it.
    pub fn is_for_operators(&self) -> bool {
        match self {
            Self::SetLimits(_) => true,
            Self::Tick
            | Self::CreateShowtime(_)
            | Self::UpdateSale(_)
            | Self::OpenQueue(_)
            | Self::PauseQueue(_)
            | Self::ResumeQueue(_)
            | Self::CloseQueue(_)
            | Self::SetQueueMessage(_)
            | Self::JoinQueue(_)
            | Self::LeaveQueue(_)
            | Self::ClaimAdmission(_)
            | Self::HoldSeats(_)
            | Self::ExtendHold(_)
            | Self::ReleaseHold(_)
            | Self::PlaceOrder(_)
            | Self::CancelOrder(_)
            | Self::RecordPayment(_)
            | Self::RefundOrder(_)
            | Self::RecordRefund(_)
            | Self::BlockSeats(_)
            | Self::UnblockSeats(_)
            | Self::JoinWaitlist(_)
            | Self::LeaveWaitlist(_)
            | Self::RecordBeacon(_)
            | Self::RegisterSink(_)
            | Self::AcknowledgeEvents(_)
            | Self::RemoveSink(_) => false,
        }
    }
}

/// Puts a showtime on sale. Repeated with the same content it changes nothing and gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateShowtime {
    /// Its id, made by the directory; its group must be this shard's.
    pub showtime: ShowtimeId,
    /// Who runs it.
    pub organisation: OrganisationId,
    /// The layout of the house.
    pub seat_map: Arc<SeatMap>,
    /// One price per category of the seat map, in its order, all of one currency, each 0 to
    /// [`PRICE_MAX`](crate::PRICE_MAX).
    pub prices: Vec<Money>,
    /// The settings of the sale.
    pub sale: Sale,
    /// The secret behind the draw's commitment. Kept from everybody until the line opens. From a good source of
    /// randomness, made by whoever proposed the showtime to the directory.
    pub draw_secret: [u8; 32],
}

/// Changes parts of a sale. Answers [`Outcome::SaleUpdated`](crate::Outcome::SaleUpdated).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateSale {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// What changes.
    pub patch: SalePatch,
}

/// Opens the line now, whatever its schedule says. An open line stays open. A draw that needs public randomness first has its
/// entrants fixed; it opens when the randomness is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenQueue {
    /// Which showtime.
    pub showtime: ShowtimeId,
}

/// Stops calling buyers; those inside go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseQueue {
    /// Which showtime.
    pub showtime: ShowtimeId,
}

/// Goes on calling buyers after a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeQueue {
    /// Which showtime.
    pub showtime: ShowtimeId,
}

/// Ends the line for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseQueue {
    /// Which showtime.
    pub showtime: ShowtimeId,
}

/// Shows a message to everybody in line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetQueueMessage {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// At most 500 bytes; nothing clears it.
    pub text: Option<String>,
}

/// Takes a ticket in the line. Who has one gets the same one again, whatever has become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinQueue {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Who joins.
    pub user: UserId,
}

/// Gives up a ticket, its admission, and its holds that have no order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveQueue {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Whose ticket.
    pub user: UserId,
    /// Which ticket.
    pub ticket: TicketNumber,
}

/// Takes up the admission of a called ticket. Repeated while shopping it gives the same session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimAdmission {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Whose ticket.
    pub user: UserId,
    /// Which ticket.
    pub ticket: TicketNumber,
}

/// What seats are wanted. All or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeatChoice {
    /// Exactly these, in any order; a seat named twice counts once.
    Named(Vec<SeatId>),
    /// The best there are.
    Best(BestSeats),
    /// Places without numbers.
    Area {
        /// In which area.
        area: AreaId,
        /// How many places, at least 1.
        quantity: u32,
    },
}

/// A wish for the best seats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BestSeats {
    /// How many, at least 1.
    pub quantity: u32,
    /// Only of this category, by name.
    pub category: Option<String>,
    /// Only in this section, by name.
    pub section: Option<String>,
    /// With at least one wheelchair space. Unless this or `companion` is asked for, wheelchair spaces and companion seats
    /// are left alone: only who picks them by hand, or asks, gets them.
    pub accessible: bool,
    /// With a wheelchair space and a companion seat directly beside it: next to each other, no aisle between. Asks for
    /// `accessible` too, and for at least 2 seats. The others may be any seats.
    pub companion: bool,
    /// Refuse rather than split over rows.
    pub together: bool,
}

/// Holds seats for a buyer. Answers [`Outcome::Held`](crate::Outcome::Held).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldSeats {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// For whom.
    pub user: UserId,
    /// The admitted ticket; not needed (and not looked at) when the sale has no line.
    pub ticket: Option<TicketNumber>,
    /// The allocation that may be touched, by name.
    pub channel: Option<String>,
    /// What is wanted.
    pub choice: SeatChoice,
}

/// Prolongs a hold: it lives `hold_ttl` from now, within `hold_total_max` from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendHold {
    /// Which hold.
    pub hold: HoldId,
    /// Whose hold.
    pub user: UserId,
}

/// Gives a hold back. A hold with an order is given back by cancelling the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseHold {
    /// Which hold.
    pub hold: HoldId,
    /// Whose hold.
    pub user: UserId,
}

/// Makes an order of a hold; its seats stay held until the payment deadline. A buyer makes as many orders in a showtime as the
/// sale allows seats, and 100 more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceOrder {
    /// Which hold.
    pub hold: HoldId,
    /// Whose hold.
    pub user: UserId,
    /// Where the tickets go: 3 to 254 bytes with an `@` inside.
    pub email: String,
}

/// Cancels an order that is not paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelOrder {
    /// Which order.
    pub order: OrderId,
    /// Whose order.
    pub user: UserId,
}

/// How a payment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PaymentOutcome {
    /// The money was taken.
    Succeeded,
    /// No money was taken.
    Failed,
}

/// Records how a payment ended, as the payment provider tells it: in any order, any number of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordPayment {
    /// For which order.
    pub order: OrderId,
    /// Which payment.
    pub payment: PaymentId,
    /// How it ended.
    pub outcome: PaymentOutcome,
    /// How much was taken, or was to be taken. 0 to 10^15 minor units.
    pub amount: Money,
}

/// Takes back sold seats and makes their price due to go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundOrder {
    /// Which order.
    pub order: OrderId,
    /// Which of its seats; nothing means the whole order.
    pub seats: Option<Vec<SeatId>>,
    /// Why, at most 200 bytes.
    pub reason: String,
}

/// Records how a refund ended, as the payment provider tells it. One that succeeded may fail later, when the buyer's bank sends
/// the money back: then it is owed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRefund {
    /// Of which order.
    pub order: OrderId,
    /// Which refund.
    pub refund: PaymentId,
    /// How it ended.
    pub outcome: PaymentOutcome,
    /// How much went back, or was to go back. 1 to 10^15 minor units.
    pub amount: Money,
}

/// Keeps seats back, or for a channel alone. Seats that are held or sold are in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSeats {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Which seats, 1 to 10,000.
    pub seats: Vec<SeatId>,
    /// Why, 1 to 200 bytes.
    pub reason: String,
    /// Commands that name this channel may take the seats; 1 to 100 bytes.
    pub channel: Option<String>,
}

/// Frees seats that were kept back. Those that are held through their channel stay held, and do not fall under their
/// block again afterwards. Seats without a block are left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnblockSeats {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Which seats, 1 to 10,000.
    pub seats: Vec<SeatId>,
}

/// Stands in line for seats, or places of one area, that come free. Wheelchair spaces and companion seats are never among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinWaitlist {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Who waits.
    pub user: UserId,
    /// How many seats or places, 1 to what one hold takes.
    pub quantity: u32,
    /// Only of this category, by name.
    pub category: Option<String>,
    /// Only seats side by side.
    pub together: bool,
}

/// Gives up an entry of the waitlist, or declines the offer made to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaveWaitlist {
    /// Which entry.
    pub entry: OfferId,
    /// Whose entry.
    pub user: UserId,
}

/// Makes the planned public randomness known to the draw, once its entrants are fixed: the line opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBeacon {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// The round, as planned.
    pub round: u64,
    /// What that round gave, 1 to 256 bytes.
    pub randomness: Vec<u8>,
}

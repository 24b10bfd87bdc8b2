//! What the state machines can be told to do. Both lists only grow at their ends: old logs must stay readable.
//!
//! A command carries who asks and what is wanted, nothing that the engine can find out itself, so that a client which
//! repeats its request repeats its command. Ids of what a command makes are assigned as it is applied.

use crate::{
    AreaId, EventId, GroupId, HoldId, Millis, Money, NodeNumber, NodeState, OfferId, OrderId, OrganisationId,
    PaymentId, Role, Sale, SalePatch, SeatId, SeatMap, ShowtimeId, TicketNumber, Timestamp, UserId, VenueId,
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

/// Opens the line now, whatever its schedule says. An open line stays open.
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
    /// With at least one wheelchair space and its companion seats; without it such seats are left alone.
    pub accessible: bool,
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

/// Makes an order of a hold; its seats stay held until the payment deadline.
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

/// Records how a refund ended, as the payment provider tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRefund {
    /// Of which order.
    pub order: OrderId,
    /// Which refund.
    pub refund: PaymentId,
    /// How it ended.
    pub outcome: PaymentOutcome,
    /// How much went back, or was to go back. 0 to 10^15 minor units.
    pub amount: Money,
}

/// Keeps seats back, or for a channel alone. Seats that are held or sold are in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSeats {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Which seats, 1 to 200,000.
    pub seats: Vec<SeatId>,
    /// Why, 1 to 200 bytes.
    pub reason: String,
    /// Commands that name this channel may take the seats; 1 to 100 bytes.
    pub channel: Option<String>,
}

/// Frees seats that were kept back. Seats that are not are left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnblockSeats {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Which seats, 1 to 200,000.
    pub seats: Vec<SeatId>,
}

/// Stands in line for seats that come free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinWaitlist {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// Who waits.
    pub user: UserId,
    /// How many seats, 1 to what one hold takes.
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

/// Makes the planned public randomness known to the draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBeacon {
    /// Which showtime.
    pub showtime: ShowtimeId,
    /// The round, as planned.
    pub round: u64,
    /// What that round gave, 1 to 256 bytes.
    pub randomness: Vec<u8>,
}

/// Changes the bounds of the group; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLimits {
    /// Remembered requests, 1,000 to 100,000,000. Default 1,000,000.
    pub requests_max: Option<u64>,
    /// How long a request is remembered, 1 s to 30 days. Default 24 h.
    pub request_age_max: Option<Millis>,
    /// How long an event is kept at least, up to 365 days. Default 1 h.
    pub event_age_min: Option<Millis>,
}

/// Keeps events until this sink has acknowledged them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterSink {
    /// Its name, 1 to 100 bytes.
    pub sink: String,
}

/// Says that a sink has all events up to a sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgeEvents {
    /// Which sink.
    pub sink: String,
    /// The last event it has.
    pub sequence: u64,
}

/// Keeps no more events for this sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveSink {
    /// Which sink.
    pub sink: String,
}

/// A command to the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryCommand {
    /// Lets due things happen.
    Tick,
    /// See [`SetGroups`].
    SetGroups(SetGroups),
    /// See [`PutTokenKeys`].
    PutTokenKeys(PutTokenKeys),
    /// See [`CreateOrganisation`].
    CreateOrganisation(CreateOrganisation),
    /// See [`CreateVenue`].
    CreateVenue(CreateVenue),
    /// See [`CreateEvent`].
    CreateEvent(CreateEvent),
    /// See [`UpdateEvent`].
    UpdateEvent(UpdateEvent),
    /// See [`DeleteEvent`].
    DeleteEvent(DeleteEvent),
    /// See [`ScheduleShowtime`].
    ScheduleShowtime(ScheduleShowtime),
    /// See [`ActivateShowtime`].
    ActivateShowtime(ActivateShowtime),
    /// See [`ArchiveShowtime`].
    ArchiveShowtime(ArchiveShowtime),
    /// See [`UpdateOrganisation`].
    UpdateOrganisation(UpdateOrganisation),
    /// See [`UpdateVenue`].
    UpdateVenue(UpdateVenue),
    /// See [`CreateUser`].
    CreateUser(CreateUser),
    /// See [`UpdateUser`].
    UpdateUser(UpdateUser),
    /// See [`GrantRole`].
    GrantRole(GrantRole),
    /// See [`RevokeRole`].
    RevokeRole(RevokeRole),
    /// See [`RegisterNode`].
    RegisterNode(RegisterNode),
    /// See [`SetNodeState`].
    SetNodeState(SetNodeState),
    /// See [`SetPlacement`].
    SetPlacement(SetPlacement),
    /// See [`RotateTokenKey`].
    RotateTokenKey(RotateTokenKey),
    /// See [`SetLimits`].
    SetLimits(SetLimits),
    /// See [`RegisterSink`].
    RegisterSink(RegisterSink),
    /// See [`AcknowledgeEvents`].
    AcknowledgeEvents(AcknowledgeEvents),
    /// See [`RemoveSink`].
    RemoveSink(RemoveSink),
}

/// Says how many shard groups there are: 1 to `count`. It never shrinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetGroups {
    /// 1 to 1,024.
    pub count: u32,
}

/// How a token key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// Ed25519.
    Ed25519,
}

/// A private key that signs tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Its public name, 1 to 64 bytes.
    pub kid: String,
    /// How it signs.
    pub algorithm: KeyAlgorithm,
    /// The private key as PKCS #8 DER, at most 8 KiB.
    pub der: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("kid", &self.kid).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Installs the first token keys. The first writer wins: where there are keys, those are the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutTokenKeys {
    /// 1 to 16 keys.
    pub keys: Vec<TokenKey>,
}

/// Makes an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateOrganisation {
    /// Who asks.
    pub by: UserId,
    /// Its name, 1 to 200 bytes.
    pub name: String,
}

/// Makes a venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVenue {
    /// Who asks.
    pub by: UserId,
    /// Whose venue.
    pub organisation: OrganisationId,
    /// Its name, 1 to 200 bytes.
    pub name: String,
    /// Its city, at most 200 bytes.
    pub city: String,
    /// Its country, at most 200 bytes.
    pub country: String,
    /// Its layout.
    pub map: Arc<SeatMap>,
}

/// What is told about an event of the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventDetails {
    /// 1 to 300 bytes.
    pub title: String,
    /// At most 20,000 bytes.
    pub description: String,
    /// At most 100 bytes.
    pub category: String,
    /// At most 200 bytes.
    pub city: String,
    /// At most 100 names of at most 200 bytes.
    pub performers: Vec<String>,
}

/// Makes an event of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateEvent {
    /// Who asks.
    pub by: UserId,
    /// Whose event.
    pub organisation: OrganisationId,
    /// What is told about it.
    pub details: EventDetails,
}

/// Changes what is told about an event; what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateEvent {
    /// Who asks.
    pub by: UserId,
    /// Which event.
    pub event: EventId,
    /// The version that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// See [`EventDetails::title`].
    pub title: Option<String>,
    /// See [`EventDetails::description`].
    pub description: Option<String>,
    /// See [`EventDetails::category`].
    pub category: Option<String>,
    /// See [`EventDetails::city`].
    pub city: Option<String>,
    /// See [`EventDetails::performers`].
    pub performers: Option<Vec<String>>,
}

/// Removes an event that has no showtimes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteEvent {
    /// Who asks.
    pub by: UserId,
    /// Which event.
    pub event: EventId,
    /// The version that is to be removed; nothing means whichever there is.
    pub expected_version: Option<u64>,
}

/// Plans a showtime: the directory gives it an id and the group with the fewest showtimes. It is then created in that
/// group and activated here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleShowtime {
    /// Who asks.
    pub by: UserId,
    /// Of which event.
    pub event: EventId,
    /// In which venue, of the same organisation.
    pub venue: VenueId,
    /// When the curtain rises.
    pub starts_at: Timestamp,
    /// One price per category of the venue's seat map, see [`CreateShowtime::prices`].
    pub prices: Vec<Money>,
    /// The settings of the sale.
    pub sale: Sale,
    /// See [`CreateShowtime::draw_secret`]. Not part of the request: a repetition may carry another one, and the first
    /// stays.
    pub draw_secret: [u8; 32],
}

/// Says that a showtime's group serves it. An active showtime stays active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivateShowtime {
    /// Which showtime.
    pub showtime: ShowtimeId,
}

/// Says that a showtime is over. It no longer counts for its group; an archived showtime stays archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveShowtime {
    /// Which showtime, active.
    pub showtime: ShowtimeId,
}

/// Renames an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateOrganisation {
    /// Who asks.
    pub by: UserId,
    /// Which organisation.
    pub organisation: OrganisationId,
    /// The version that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// Its name, 1 to 200 bytes.
    pub name: String,
}

/// Changes a venue; what is `None` stays as it is. A new layout gets a new version, and showtimes keep theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateVenue {
    /// Who asks.
    pub by: UserId,
    /// Which venue.
    pub venue: VenueId,
    /// The version of the seat map that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// See [`CreateVenue::name`].
    pub name: Option<String>,
    /// See [`CreateVenue::city`].
    pub city: Option<String>,
    /// See [`CreateVenue::country`].
    pub country: Option<String>,
    /// See [`CreateVenue::map`].
    pub map: Option<Arc<SeatMap>>,
}

/// Makes a user. One user an e-mail address, whatever its case.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateUser {
    /// The pseudonymous subject, drawn by whoever proposes it. Not part of the request: a repetition may carry another
    /// one, and the first stays.
    pub user: UserId,
    /// 3 to 254 bytes with an `@` inside.
    pub email: String,
    /// How the password is kept, at most 500 bytes. Not part of the request: its salt is drawn anew.
    pub password_hash: String,
    /// At most 200 bytes.
    pub name: String,
}

impl std::fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateUser").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Changes a user; what is `None` stays as it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateUser {
    /// Which user.
    pub user: UserId,
    /// The version that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// See [`CreateUser::email`].
    pub email: Option<String>,
    /// See [`CreateUser::password_hash`].
    pub password_hash: Option<String>,
    /// See [`CreateUser::name`].
    pub name: Option<String>,
    /// Whether the user may still come in.
    pub is_active: Option<bool>,
}

impl std::fmt::Debug for UpdateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateUser").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Gives a user a role. One role an organisation: the new one replaces the old.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRole {
    /// Who asks.
    pub by: UserId,
    /// Who gets it.
    pub user: UserId,
    /// Where; nothing means everywhere.
    pub organisation: Option<OrganisationId>,
    /// Staff, organizer or admin.
    pub role: Role,
}

/// Takes a user's role away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRole {
    /// Who asks.
    pub by: UserId,
    /// Who loses it.
    pub user: UserId,
    /// Where; nothing means the one that holds everywhere.
    pub organisation: Option<OrganisationId>,
}

/// Makes a node known, or tells its new address. The id of a removed node never comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterNode {
    /// Its number, at least 1.
    pub node: NodeNumber,
    /// Where it listens, 1 to 300 bytes.
    pub address: String,
}

/// Drains a node, takes it back in, or removes it for good. A node that a placement names cannot be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetNodeState {
    /// Which node.
    pub node: NodeNumber,
    /// What it is to be.
    pub state: NodeState,
}

/// Says which nodes are to vote in a group. The controller moves the group there step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetPlacement {
    /// Which group, the directory's included.
    pub group: GroupId,
    /// The version that is to be changed, 0 for the first; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// 1 to 9 active nodes, each once.
    pub voters: Vec<NodeNumber>,
}

/// Adds a token key that signs from now on, and retires one that is no longer accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateTokenKey {
    /// The new key; its name must be new.
    pub add: Option<TokenKey>,
    /// The name of the key to retire; one that is not there is gone already. The last key of its kind stays.
    pub retire: Option<String>,
}

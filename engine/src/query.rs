//! What the state machines can be asked, and what they answer. Both lists only grow at their ends.

use crate::{
    CategoryId, DrawBundle, EventDetails, EventId, GroupId, HoldId, Method, Money, NodeNumber, NodeState, OfferId,
    OrderId, OrderState, OrganisationId, PaymentId, PaymentOutcome, Places, QueueState, Role, Sale, SeatMap, Sequence,
    ShowtimeId, ShowtimeState, TicketNumber, TicketState, Timestamp, TokenKey, UserId, VenueId,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A question to a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardQuery {
    /// Everything public about a showtime, its settings and prices: [`ShardAnswer::Showtime`].
    Showtime(ShowtimeId),
    /// The state of every seat and area: [`ShardAnswer::Seats`].
    Seats(ShowtimeId),
    /// One ticket: [`ShardAnswer::Ticket`].
    Ticket {
        /// In the line of which showtime.
        showtime: ShowtimeId,
        /// Its number.
        number: TicketNumber,
    },
    /// The ticket of a buyer: [`ShardAnswer::Ticket`].
    TicketOf {
        /// In the line of which showtime.
        showtime: ShowtimeId,
        /// Whose.
        user: UserId,
    },
    /// A hold: [`ShardAnswer::Hold`].
    Hold(HoldId),
    /// An order: [`ShardAnswer::Order`].
    Order(OrderId),
    /// Figures for the organiser: [`ShardAnswer::Report`].
    Report(ShowtimeId),
    /// The layout: [`ShardAnswer::SeatMap`].
    SeatMap(ShowtimeId),
    /// Ids of all showtimes of the group, in order: [`ShardAnswer::Showtimes`].
    Showtimes,
    /// The draw, as far as it is published: [`ShardAnswer::Draw`].
    Draw(ShowtimeId),
    /// The proof that a ticket was in the draw: [`ShardAnswer::Receipt`].
    Receipt {
        /// In the line of which showtime.
        showtime: ShowtimeId,
        /// Its number.
        number: TicketNumber,
    },
    /// An entry of a waitlist: [`ShardAnswer::Waitlist`].
    Waitlist(OfferId),
    /// Live holds and orders of a buyer: [`ShardAnswer::Buyer`].
    Buyer {
        /// In which showtime.
        showtime: ShowtimeId,
        /// Whose.
        user: UserId,
    },
    /// The ticket at a place of the line: [`ShardAnswer::Ticket`]. There is none before the line has opened, because no
    /// place is final until then, and none before the first place or behind the last.
    TicketAt {
        /// In the line of which showtime.
        showtime: ShowtimeId,
        /// At which place, from 1.
        place: u64,
    },
}

/// The answer of a shard. What does not exist is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardAnswer {
    /// To [`ShardQuery::Showtime`].
    Showtime(Option<Box<ShowtimeView>>),
    /// To [`ShardQuery::Seats`].
    Seats(Option<Box<SeatsView>>),
    /// To [`ShardQuery::Ticket`], [`ShardQuery::TicketOf`] and [`ShardQuery::TicketAt`].
    Ticket(Option<TicketView>),
    /// To [`ShardQuery::Hold`].
    Hold(HoldAnswer),
    /// To [`ShardQuery::Order`].
    Order(Option<Box<OrderView>>),
    /// To [`ShardQuery::Report`].
    Report(Option<Box<Report>>),
    /// To [`ShardQuery::SeatMap`].
    SeatMap(Option<Arc<SeatMap>>),
    /// To [`ShardQuery::Showtimes`].
    Showtimes(Vec<ShowtimeId>),
    /// To [`ShardQuery::Draw`].
    Draw(Option<DrawView>),
    /// To [`ShardQuery::Receipt`]: `None` also for a ticket that was not in the draw.
    Receipt(Option<Box<Receipt>>),
    /// To [`ShardQuery::Waitlist`].
    Waitlist(Option<WaitlistView>),
    /// To [`ShardQuery::Buyer`].
    Buyer(Option<BuyerView>),
}

/// Everything public about a showtime on sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowtimeView {
    /// Which.
    pub showtime: ShowtimeId,
    /// Whose.
    pub organisation: OrganisationId,
    /// The state of its line.
    pub state: QueueState,
    /// Tickets in the draw; without a draw, tickets taken before the opening. 0 before the opening.
    pub entrants: u64,
    /// Tickets taken, given up or not.
    pub joined: u64,
    /// The last place called; places are called in order from 1.
    pub cursor: u64,
    /// Buyers called or shopping. In a sale without a line: 0.
    pub active: u64,
    /// Places really called per minute of late, at most the configured rate; 0 while nobody was called.
    pub rate_achieved: u32,
    /// The message to everybody in line.
    pub message: Option<String>,
    /// Per category of the seat map, in its order.
    pub availability: Vec<CategoryCounts>,
    /// The settings.
    pub sale: Sale,
    /// SHA-256 of the draw's secret.
    pub commitment: [u8; 32],
    /// The last event of the group when this was answered.
    pub sequence: Sequence,
    /// Log time of the last change of this showtime.
    pub updated_at: Timestamp,
    /// The chain over this showtime's events so far.
    pub chain: [u8; 32],
}

impl ShowtimeView {
    /// How buyers get to the seats.
    pub fn method(&self) -> Method {
        self.sale.method
    }
}

/// Seats and places of one category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryCounts {
    /// Which category.
    pub category: CategoryId,
    /// Its name.
    pub name: String,
    /// The price of one.
    pub price: Money,
    /// Free to be held.
    pub available: u32,
    /// In holds.
    pub held: u32,
    /// Sold.
    pub sold: u32,
    /// Kept back.
    pub blocked: u32,
}

/// The state of every seat and area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeatsView {
    /// The last event of the group when this was answered.
    pub sequence: Sequence,
    /// One byte a seat, indexed by [`SeatId`](crate::SeatId): 0 available, 1 held, 2 sold, 3 blocked.
    pub states: Vec<u8>,
    /// Per area of the seat map, in its order.
    pub areas: Vec<AreaCounts>,
}

/// Places of one area.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreaCounts {
    /// All of them.
    pub capacity: u32,
    /// In holds.
    pub held: u32,
    /// Sold.
    pub sold: u32,
}

impl AreaCounts {
    /// Free to be held.
    pub fn available(&self) -> u32 {
        self.capacity.saturating_sub(self.held).saturating_sub(self.sold)
    }
}

/// A ticket as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketView {
    /// In the line of which showtime.
    pub showtime: ShowtimeId,
    /// Its number.
    pub number: TicketNumber,
    /// Whose.
    pub user: UserId,
    /// Its state.
    pub state: TicketState,
    /// Its place in line, from 1; `None` before the opening.
    pub place: Option<u64>,
    /// Places still to be called before it; `None` before the opening.
    pub ahead: Option<u64>,
    /// Seconds until it is called, by how fast the line moved of late; `None` unless waiting in an open line.
    pub eta_secs: Option<u64>,
    /// Until when it can be claimed, while called.
    pub claim_by: Option<Timestamp>,
    /// Until when its owner may shop, while shopping.
    pub session_expires_at: Option<Timestamp>,
}

/// What is known about a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HoldAnswer {
    /// It lives.
    Live(Box<HoldView>),
    /// It lived.
    Gone,
    /// It was never made.
    Unknown,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// Its id.
    pub hold: HoldId,
    /// In which showtime.
    pub showtime: ShowtimeId,
    /// Whose.
    pub user: UserId,
    /// What it holds.
    pub places: Places,
    /// What that costs.
    pub total: Money,
    /// Until when.
    pub expires_at: Timestamp,
    /// Its order, if one was placed.
    pub order: Option<OrderId>,
}

/// A payment of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentView {
    /// Which.
    pub payment: PaymentId,
    /// How it ended.
    pub outcome: PaymentOutcome,
    /// How much.
    pub amount: Money,
    /// When it was recorded.
    pub at: Timestamp,
    /// Whether it is a refund: money that went back.
    pub refund: bool,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its id.
    pub order: OrderId,
    /// The hold it was made of, gone once the order is paid or given up.
    pub hold: HoldId,
    /// In which showtime.
    pub showtime: ShowtimeId,
    /// Whose.
    pub user: UserId,
    /// Where the tickets go.
    pub email: String,
    /// What it is for; shrinks when seats are refunded.
    pub places: Places,
    /// The allocation through which its places were held, by name.
    pub channel: Option<String>,
    /// The admitted ticket with which its places were held; none in a sale without a line, and for an offer of the waitlist.
    pub ticket: Option<TicketNumber>,
    /// What was ordered costs.
    pub total: Money,
    /// Its state.
    pub state: OrderState,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// Until when it is to be paid.
    pub pay_by: Timestamp,
    /// Money taken, refunds not subtracted.
    pub captured: Money,
    /// Money that has to go back and has not.
    pub refund_due: Money,
    /// Money that went back.
    pub refunded: Money,
    /// Payments and refunds in the order they were recorded: up to 100 that failed, refunds that
    /// succeeded first included, and the last 100 that succeeded.
    pub payments: Vec<PaymentView>,
    /// Money taken in other currencies by mistake; all of it has to go back.
    pub foreign: Vec<ForeignMoney>,
}

/// Money taken in a currency that is not the order's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignMoney {
    /// Money taken.
    pub captured: Money,
    /// Money that went back.
    pub refunded: Money,
}

/// Figures for the organiser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Per category of the seat map, in its order.
    pub categories: Vec<CategoryCounts>,
    /// Price of what is sold, per category.
    pub revenue: Vec<Money>,
    /// How many orders are in each state.
    pub orders: BTreeMap<OrderState, u64>,
    /// Money taken.
    pub captured: Money,
    /// Money that has to go back and has not.
    pub refund_due: Money,
    /// Money that went back.
    pub refunded: Money,
    /// Live holds.
    pub holds: u64,
    /// The line.
    pub queue: QueueReport,
}

/// Figures of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueReport {
    /// Tickets taken.
    pub joined: u64,
    /// Places called.
    pub called: u64,
    /// Tickets claimed.
    pub claimed: u64,
    /// Sessions that ended with a purchase.
    pub done: u64,
    /// Tickets given up.
    pub left: u64,
    /// Tickets not claimed in time.
    pub missed: u64,
    /// Sessions that ran out.
    pub expired: u64,
}

/// The draw, as far as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawView {
    /// SHA-256 of the secret.
    pub commitment: [u8; 32],
    /// The rest, once the line is open.
    pub bundle: Option<Box<DrawBundle>>,
}

/// The proof that a ticket was in the draw, checkable offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The ticket.
    pub number: TicketNumber,
    /// SHA-256 of its owner's subject, as it stands in the leaf.
    pub subject_hash: [u8; 32],
    /// RFC 6962 leaf hash.
    pub leaf: [u8; 32],
    /// RFC 6962 audit path, from the leaf up.
    pub proof: Vec<[u8; 32]>,
    /// RFC 6962 root.
    pub merkle_root: [u8; 32],
    /// Its place.
    pub place: u64,
}

/// An entry of a waitlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitlistView {
    /// Its id.
    pub entry: OfferId,
    /// In which showtime.
    pub showtime: ShowtimeId,
    /// Whose.
    pub user: UserId,
    /// How many seats.
    pub quantity: u32,
    /// Only of this category.
    pub category: Option<CategoryId>,
    /// Only side by side.
    pub together: bool,
    /// How many entries are before it; `None` while an offer is made to it.
    pub ahead: Option<u64>,
    /// The hold offered to it.
    pub hold: Option<HoldId>,
}

/// What a buyer has in a showtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuyerView {
    /// Seats and places held and bought.
    pub taken: u32,
    /// Live holds, in order.
    pub holds: Vec<HoldId>,
    /// Orders, in order.
    pub orders: Vec<OrderId>,
}

/// A question to the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryQuery {
    /// A venue with its layout: [`DirectoryAnswer::Venue`].
    Venue(VenueId),
    /// An event: [`DirectoryAnswer::Event`].
    Event(EventId),
    /// Events by filter, in order of id: [`DirectoryAnswer::Events`].
    Events(EventFilter),
    /// A showtime: [`DirectoryAnswer::Showtime`].
    Showtime(ShowtimeId),
    /// The showtimes of an event, by start: [`DirectoryAnswer::Showtimes`].
    Showtimes(EventId),
    /// Showtimes that are still provisioning, in order of id: [`DirectoryAnswer::Showtimes`].
    Provisioning,
    /// The shard groups: [`DirectoryAnswer::Groups`].
    Groups,
    /// The token keys: [`DirectoryAnswer::TokenKeys`].
    TokenKeys,
    /// An organisation: [`DirectoryAnswer::Organisation`].
    Organisation(OrganisationId),
    /// All organisations, in order of id: [`DirectoryAnswer::Organisations`].
    Organisations,
    /// One version of a venue's layout: [`DirectoryAnswer::SeatMap`].
    SeatMap {
        /// Of which venue.
        venue: VenueId,
        /// Which version.
        version: u32,
    },
    /// A user: [`DirectoryAnswer::User`].
    User(UserId),
    /// A user by e-mail address, whatever its case: [`DirectoryAnswer::User`].
    UserByEmail(String),
    /// All nodes, in order of number: [`DirectoryAnswer::Nodes`].
    Nodes,
    /// Wanted placements, in order of group: [`DirectoryAnswer::Placements`].
    Placements,
}

/// Which events are wanted. All conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Only of this organisation.
    pub organisation: Option<OrganisationId>,
    /// Found in title, description or a performer's name, whatever the case.
    pub text: Option<String>,
    /// The city, whatever the case.
    pub city: Option<String>,
    /// The category, whatever the case.
    pub category: Option<String>,
    /// With a showtime that starts at this time or later.
    pub from: Option<Timestamp>,
    /// With a showtime that starts before this time.
    pub to: Option<Timestamp>,
    /// Only after this id: where the last page ended.
    pub after: Option<EventId>,
    /// At most so many, 1 to 1,000; 0 means 100.
    pub limit: u32,
}

/// The answer of the directory. What does not exist is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryAnswer {
    /// To [`DirectoryQuery::Venue`].
    Venue(Option<Box<VenueRecord>>),
    /// To [`DirectoryQuery::Event`].
    Event(Option<Box<EventEntry>>),
    /// To [`DirectoryQuery::Events`].
    Events {
        /// At most as many as wanted.
        events: Vec<EventEntry>,
        /// Where the next page begins, if there is one.
        next: Option<EventId>,
    },
    /// To [`DirectoryQuery::Showtime`].
    Showtime(Option<Box<ShowtimeRecord>>),
    /// To [`DirectoryQuery::Showtimes`] and [`DirectoryQuery::Provisioning`].
    Showtimes(Vec<ShowtimeRecord>),
    /// To [`DirectoryQuery::Groups`].
    Groups(Vec<GroupRecord>),
    /// To [`DirectoryQuery::TokenKeys`].
    TokenKeys {
        /// 0 before the first, one more at every change.
        version: u64,
        /// All of them.
        keys: Vec<TokenKey>,
    },
    /// To [`DirectoryQuery::Organisation`].
    Organisation(Option<OrganisationRecord>),
    /// To [`DirectoryQuery::Organisations`].
    Organisations(Vec<OrganisationRecord>),
    /// To [`DirectoryQuery::SeatMap`].
    SeatMap(Option<Arc<SeatMap>>),
    /// To [`DirectoryQuery::User`] and [`DirectoryQuery::UserByEmail`].
    User(Option<Box<UserRecord>>),
    /// To [`DirectoryQuery::Nodes`].
    Nodes(Vec<NodeRecord>),
    /// To [`DirectoryQuery::Placements`].
    Placements(Vec<PlacementRecord>),
}

/// A user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The pseudonymous subject.
    pub user: UserId,
    /// As it was given.
    pub email: String,
    /// How the password is kept.
    pub password_hash: String,
    /// As it was given.
    pub name: String,
    /// Roles by organisation, `None` for everywhere.
    pub roles: BTreeMap<Option<OrganisationId>, Role>,
    /// Whether the user may come in.
    pub is_active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// 1 when made, one more at every change.
    pub version: u64,
}

impl std::fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRecord").field("user", &self.user).field("roles", &self.roles).finish_non_exhaustive()
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its number.
    pub node: NodeNumber,
    /// Where it listens.
    pub address: String,
    /// Which life of its data directory it lives.
    pub incarnation: u128,
    /// What it is.
    pub state: NodeState,
    /// 1 when made known, one more at every change.
    pub version: u64,
}

/// Which nodes are to vote in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRecord {
    /// Which group.
    pub group: GroupId,
    /// In order, each once.
    pub voters: Vec<NodeNumber>,
    /// 1 when placed first, one more at every change.
    pub version: u64,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganisationRecord {
    /// Its id.
    pub organisation: OrganisationId,
    /// Its name.
    pub name: String,
    /// 1 when made, one more at every change.
    pub version: u64,
}

/// A venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VenueRecord {
    /// Its id.
    pub venue: VenueId,
    /// Whose.
    pub organisation: OrganisationId,
    /// Its name.
    pub name: String,
    /// Its city.
    pub city: String,
    /// Its country.
    pub country: String,
    /// 1 when made, one more at every change.
    pub version: u64,
    /// The version of its seat map: 1 when made, one more with every new layout.
    pub seat_map_version: u32,
    /// Its layout.
    pub map: Arc<SeatMap>,
}

/// An event of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// Its id.
    pub event: EventId,
    /// Whose.
    pub organisation: OrganisationId,
    /// 1 when made, one more at every change.
    pub version: u64,
    /// What is told about it.
    pub details: EventDetails,
}

/// A showtime in the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowtimeRecord {
    /// Its id, with its group inside.
    pub showtime: ShowtimeId,
    /// Whose.
    pub organisation: OrganisationId,
    /// Of which event.
    pub event: EventId,
    /// In which venue.
    pub venue: VenueId,
    /// The version of the venue's seat map it was planned with.
    pub seat_map_version: u32,
    /// When the curtain rises.
    pub starts_at: Timestamp,
    /// One price per category of the seat map.
    pub prices: Vec<Money>,
    /// The settings it was planned with; its group has those in force.
    pub sale: Sale,
    /// Secret until the line opens; for its group alone, never for the public.
    pub draw_secret: [u8; 32],
    /// How far it has come.
    pub state: ShowtimeState,
    /// 1 when planned, one more at every change.
    pub version: u64,
}

/// A shard group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Which.
    pub group: GroupId,
    /// Showtimes placed there, archived ones not counted.
    pub showtimes: u64,
}

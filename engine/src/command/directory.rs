//! What the directory can be told to do.

use crate::{
    AcknowledgeEvents, EventId, GroupId, Money, NodeNumber, NodeState, OrganisationId, RegisterSink, RemoveSink, Role,
    Sale, SeatMap, SetLimits, ShowtimeId, Timestamp, UserId, VenueId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// See [`RetireNode`].
    RetireNode(RetireNode),
}

impl DirectoryCommand {
    /// Whether it changes the cluster itself: only its nodes and whoever looks after them may give it.
    pub fn is_for_operators(&self) -> bool {
        match self {
            Self::SetGroups(_)
            | Self::RegisterNode(_)
            | Self::SetNodeState(_)
            | Self::SetPlacement(_)
            | Self::RetireNode(_)
            | Self::SetLimits(_) => true,
            Self::Tick
            | Self::PutTokenKeys(_)
            | Self::CreateOrganisation(_)
            | Self::CreateVenue(_)
            | Self::CreateEvent(_)
            | Self::UpdateEvent(_)
            | Self::DeleteEvent(_)
            | Self::ScheduleShowtime(_)
            | Self::ActivateShowtime(_)
            | Self::ArchiveShowtime(_)
            | Self::UpdateOrganisation(_)
            | Self::UpdateVenue(_)
            | Self::CreateUser(_)
            | Self::UpdateUser(_)
            | Self::GrantRole(_)
            | Self::RevokeRole(_)
            | Self::RotateTokenKey(_)
            | Self::RegisterSink(_)
            | Self::AcknowledgeEvents(_)
            | Self::RemoveSink(_) => false,
        }
    }
}

/// Says how many shard groups there are: 1 to `count`. It never shrinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetGroups {
    /// How many there are so far, 0 at first: the count only grows, so it is its own version. Nothing means however
    /// many.
    pub expected_version: Option<u64>,
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

/// Plans a showtime: the directory gives it an id and the group with the fewest showtimes that are not archived, of the groups
/// that have not had 10,000 yet. It is then created in that group and activated here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleShowtime {
    /// Who asks.
    pub by: UserId,
    /// Of which event.
    pub event: EventId,
    /// In which venue, of the same organisation.
    pub venue: VenueId,
    /// The version of the venue's seat map that the prices are for; nothing means whichever there is. Not part of the
    /// request: a repetition may have seen another one.
    pub seat_map_version: Option<u32>,
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
    /// The version that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
}

/// Says that a showtime is over. It no longer counts for its group; an archived showtime stays archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveShowtime {
    /// Which showtime, active.
    pub showtime: ShowtimeId,
    /// The version that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
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
    /// The version of the venue that is to be changed; nothing means whichever there is.
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
    /// The version of the user that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
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
    /// The version of the user that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// Where; nothing means the one that holds everywhere.
    pub organisation: Option<OrganisationId>,
}

/// Makes a node known, or tells its new address. The id of a removed node never comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterNode {
    /// Its number, at least 1.
    pub node: NodeNumber,
    /// The version that is to be changed, 0 for a new node; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// Where it listens, 1 to 300 bytes.
    pub address: String,
    /// Which life of its data directory it lives. It never changes: a node that lost its data comes under a new number.
    pub incarnation: u128,
}

/// Drains a node, takes it back in, or removes it for good. A node that a placement names cannot be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetNodeState {
    /// Which node.
    pub node: NodeNumber,
    /// The version that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// What it is to be.
    pub state: NodeState,
}

/// Has a node give its groups away, if enough others stay active. It is looked at here and not by whoever asks: of two who
/// take a node out each at the same time, the second is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireNode {
    /// Which node.
    pub node: NodeNumber,
    /// The version that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// Draining or leaving.
    pub state: NodeState,
    /// How many others must be active for one that is active to go; 0 forces it.
    pub active_min: u32,
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
    /// The version of the keys that is to be changed; nothing means whichever there is.
    pub expected_version: Option<u64>,
    /// The new key; its name must be new.
    pub add: Option<TokenKey>,
    /// The name of the key to retire; one that is not there is gone already. The last key of its kind stays.
    pub retire: Option<String>,
}

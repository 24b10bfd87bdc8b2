//! The state machine of group 0: organisations, venues, events, and which group holds which showtime.
//!
//! One file a kind of thing: [`organisation`], [`venue`], [`event`], [`showtime`], [`user`],
//! [`node`] (nodes and placement), [`cluster`] (groups and token keys), [`refound`] (after a restore).

mod cluster;
mod event;
#[cfg(any(test, feature = "model"))]
pub(crate) mod model;
mod node;
mod organisation;
mod queries;
mod refound;
mod rows;
mod showtime;
mod user;
mod venue;

#[cfg(test)]
pub(crate) mod tests;

use crate::group_state::{Events, GroupState, Recalled};
use crate::row::{RowWriter, digest_rows};
use crate::{
    DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirtyRows, Envelope, EventEntry, EventId, EventRecord, GroupId,
    Loader, NodeNumber, NodeRecord, OrganisationId, OrganisationRecord, Outcome, PlacementRecord, Refusal, Reply, Row,
    ScheduleShowtime, SeatMap, Sequence, ShowtimeId, ShowtimeRecord, StateMachine, Timestamp, TokenKey, UserId,
    UserRecord, VenueId, VenueRecord, codec,
};
use rows::Dirty;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The state machine of group 0: who, what, and where.
#[derive(Debug)]
pub struct Directory {
    state: GroupState,
    /// How many shard groups there are: 1 to this.
    group_count: u32,
    keys: Vec<TokenKey>,
    /// 0 before the first keys, one more at every change of them.
    keys_version: u64,
    counters: Counters,
    organisations: BTreeMap<OrganisationId, OrganisationRecord>,
    venues: BTreeMap<VenueId, VenueRecord>,
    /// Earlier layouts of venues. Showtimes may have been planned with them.
    seat_maps: BTreeMap<(VenueId, u32), Arc<SeatMap>>,
    users: BTreeMap<UserId, UserRecord>,
    /// Users by address in lower case. Derived.
    users_by_email: BTreeMap<String, UserId>,
    nodes: BTreeMap<NodeNumber, NodeRecord>,
    placements: BTreeMap<GroupId, PlacementRecord>,
    events: BTreeMap<EventId, EventEntry>,
    showtimes: BTreeMap<ShowtimeId, ShowtimeRecord>,
    dirty: BTreeSet<Dirty>,
}

/// The counters of the ids made last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Counters {
    organisation: u64,
    venue: u64,
    event: u64,
    showtime: u64,
}

/// Writes what makes two requests the same: everything but what their proposer drew or saw.
fn write_body(command: &DirectoryCommand, bytes: &mut Vec<u8>) {
    match command {
        DirectoryCommand::ScheduleShowtime(ask) => {
            let ask = ScheduleShowtime { seat_map_version: None, draw_secret: [0; 32], ..ask.clone() };
            codec::encode_into(&DirectoryCommand::ScheduleShowtime(ask), bytes);
        }
        DirectoryCommand::CreateUser(ask) => {
            bytes.extend_from_slice(b"CreateUser");
            codec::encode_into(&(&ask.email, &ask.name), bytes);
        }
        // Keys are drawn anew by whoever asks; the first stay.
        DirectoryCommand::PutTokenKeys(_) => bytes.extend_from_slice(b"PutTokenKeys"),
        command => codec::encode_into(command, bytes),
    }
}

impl Directory {
    fn apply_one(&mut self, envelope: &Envelope<DirectoryCommand>) -> Reply {
        let command = &envelope.command;
        let reply = match self.state.recall(envelope.request, |bytes| write_body(command, bytes)) {
            Recalled::Answered(reply) => reply,
            Recalled::New(request) => {
                let result = self.execute(command);
                self.state.reply(request, result)
            }
        };
        self.state.forget_requests();
        self.state.forget_events();
        reply
    }

    fn execute(&mut self, command: &DirectoryCommand) -> Result<Outcome, Refusal> {
        let mut events = Events::default();
        let result = self.dispatch(command, &mut events);
        assert!(result.is_ok() || events.0.is_empty(), "a refused command leaves no trace");
        for (_, event) in events.0 {
            // One chain for the whole directory: showtimes have theirs in their groups.
            self.state.journal.append(self.state.now, None, &event, &mut self.state.chain);
        }
        result
    }

    fn dispatch(&mut self, command: &DirectoryCommand, events: &mut Events) -> Result<Outcome, Refusal> {
        match command {
            DirectoryCommand::Tick => Ok(Outcome::Done),
            DirectoryCommand::SetGroups(ask) => self.set_groups(ask, events),
            DirectoryCommand::PutTokenKeys(ask) => self.put_token_keys(ask, events),
            DirectoryCommand::CreateOrganisation(ask) => self.create_organisation(ask, events),
            DirectoryCommand::CreateVenue(ask) => self.create_venue(ask, events),
            DirectoryCommand::CreateEvent(ask) => self.create_event(ask, events),
            DirectoryCommand::UpdateEvent(ask) => self.update_event(ask, events),
            DirectoryCommand::DeleteEvent(ask) => self.delete_event(ask, events),
            DirectoryCommand::ScheduleShowtime(ask) => self.schedule_showtime(ask, events),
            DirectoryCommand::ActivateShowtime(ask) => self.activate_showtime(ask, events),
            DirectoryCommand::ArchiveShowtime(ask) => self.archive_showtime(ask, events),
            DirectoryCommand::UpdateOrganisation(ask) => self.update_organisation(ask, events),
            DirectoryCommand::UpdateVenue(ask) => self.update_venue(ask, events),
            DirectoryCommand::CreateUser(ask) => self.create_user(ask, events),
            DirectoryCommand::UpdateUser(ask) => self.update_user(ask, events),
            DirectoryCommand::GrantRole(ask) => self.grant_role(ask, events),
            DirectoryCommand::RevokeRole(ask) => self.revoke_role(ask, events),
            DirectoryCommand::RegisterNode(ask) => self.register_node(ask, events),
            DirectoryCommand::SetNodeState(ask) => self.set_node_state(ask, events),
            DirectoryCommand::SetPlacement(ask) => self.set_placement(ask, events),
            DirectoryCommand::RotateTokenKey(ask) => self.rotate_token_key(ask, events),
            DirectoryCommand::SetLimits(ask) => self.state.set_limits(ask, events),
            DirectoryCommand::RegisterSink(ask) => self.state.register_sink(ask),
            DirectoryCommand::AcknowledgeEvents(ask) => self.state.acknowledge_events(ask),
            DirectoryCommand::RemoveSink(ask) => self.state.remove_sink(ask),
            DirectoryCommand::RetireNode(ask) => self.retire_node(ask, events),
        }
    }
}

/// Refuses one more where there are as many as may be.
fn check_room(what: &str, len: usize, max: usize) -> Result<(), Refusal> {
    if len < max { Ok(()) } else { Err(Refusal::AtCapacity { what: what.to_owned() }) }
}

/// Refuses a change of another version than the one expected.
fn check_version(expected: Option<u64>, actual: u64) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != actual => Err(Refusal::VersionMismatch { expected, actual }),
        _ => Ok(()),
    }
}

impl StateMachine for Directory {
    type Command = DirectoryCommand;
    type Query = DirectoryQuery;
    type Answer = DirectoryAnswer;

    fn new(group: GroupId) -> Self {
        Self {
            state: GroupState::new(group),
            group_count: 0,
            keys: Vec::new(),
            keys_version: 0,
            counters: Counters::default(),
            organisations: BTreeMap::new(),
            venues: BTreeMap::new(),
            seat_maps: BTreeMap::new(),
            users: BTreeMap::new(),
            users_by_email: BTreeMap::new(),
            nodes: BTreeMap::new(),
            placements: BTreeMap::new(),
            events: BTreeMap::new(),
            showtimes: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    fn apply(&mut self, at: Timestamp, batch: &[Envelope<DirectoryCommand>]) -> Vec<Reply> {
        self.state.advance(at);
        self.state.forget_events();
        batch.iter().map(|envelope| self.apply_one(envelope)).collect()
    }

    fn query(&self, query: &DirectoryQuery) -> DirectoryAnswer {
        self.answer(query)
    }

    fn tick() -> DirectoryCommand {
        DirectoryCommand::Tick
    }

    fn next_due(&self) -> Option<Timestamp> {
        None
    }

    fn now(&self) -> Timestamp {
        self.state.now
    }

    fn last_sequence(&self) -> Sequence {
        self.state.journal.last_sequence()
    }

    fn events(&self, from: Sequence, count_max: usize) -> Result<Vec<EventRecord>, Sequence> {
        self.state.journal.events(from, count_max)
    }

    fn drain_dirty(&mut self) -> DirtyRows {
        let mut rows = RowWriter::default();
        self.write_dirty(&mut rows);
        rows.0
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = RowWriter::default();
        self.write_all(&mut rows);
        rows.into_rows()
    }

    fn loader(group: GroupId) -> impl Loader<Self> + Send + 'static {
        rows::DirectoryLoader::new(group)
    }

    fn digest(&self) -> [u8; 32] {
        digest_rows(&self.rows())
    }

    fn audit(&self) -> Result<(), String> {
        self.audit_all()
    }
}

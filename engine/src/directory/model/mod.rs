//! A naive model of the directory, written to be obviously right: plain lists and maps, scanned from end to end, nothing
//! derived and nothing counted in advance. Replies, facts, answers and audit of the machine must be those of the model
//! after every command.
//!
//! The commands stand by topic in [`catalogue`], [`people`], [`cluster`] and [`group`]. Under test, `answers` answers
//! questions, and `random` plays machine and model side by side with the commands that `commands` makes.

#![allow(clippy::unwrap_used, reason = "a model that breaks fails whatever asked it")]
#![cfg_attr(not(test), allow(dead_code, reason = "tests look at the rest of it"))]

#[cfg(test)]
mod answers;
mod catalogue;
mod cluster;
#[cfg(test)]
mod commands;
mod group;
mod people;
#[cfg(test)]
mod random;

use crate::*;
use group::{Answered, ModelSink};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A venue with every layout that it ever had: version n is at n - 1.
#[derive(Debug, Clone)]
struct ModelVenue {
    record: VenueRecord,
    maps: Vec<Arc<SeatMap>>,
}

impl crate::model::Model for Model {
    type Command = DirectoryCommand;

    fn advance(&mut self, at: Timestamp) {
        self.advance(at);
    }

    fn apply(&mut self, at: Timestamp, envelope: &Envelope<DirectoryCommand>) -> Reply {
        self.apply(at, envelope)
    }

    fn records(&self) -> &[EventRecord] {
        &self.records
    }

    fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// The whole directory.
#[derive(Debug, Clone)]
pub struct Model {
    now: Timestamp,
    groups: u32,
    keys: Vec<TokenKey>,
    keys_version: u64,
    /// Organisations and venues are never removed: number n is at n - 1.
    organisations: Vec<OrganisationRecord>,
    venues: Vec<ModelVenue>,
    events: BTreeMap<EventId, EventEntry>,
    /// The number of the event made last, removed or not.
    events_made: u64,
    showtimes: Vec<ShowtimeRecord>,
    /// No showtime is made under this number or a lower one.
    showtimes_made: u64,
    users: Vec<UserRecord>,
    nodes: BTreeMap<NodeNumber, NodeRecord>,
    placements: BTreeMap<GroupId, PlacementRecord>,
    /// Remembered requests, oldest first.
    answered: Vec<Answered>,
    limits: [u64; 5],
    sinks: BTreeMap<String, ModelSink>,
    /// All facts there ever were: number n is at n - 1.
    records: Vec<EventRecord>,
    /// The bytes that each fact takes.
    record_lens: Vec<u64>,
    /// So many of them are no longer kept.
    forgotten: u64,
}

fn bounds(field: &str, reason: impl Into<String>) -> Refusal {
    Refusal::out_of_bounds(field, reason)
}

/// A text has to be so many bytes long.
fn check_len(field: &str, text: &str, min: usize, max: usize) -> Result<(), Refusal> {
    let len = text.len();
    if len < min || len > max {
        return Err(bounds(field, format!("{len} bytes are not between {min} and {max}")));
    }
    Ok(())
}

/// A text that is given has to be so many bytes long.
fn check_given(field: &str, text: Option<&String>, min: usize, max: usize) -> Result<(), Refusal> {
    text.map_or(Ok(()), |text| check_len(field, text, min, max))
}

fn check_version(expected: Option<u64>, actual: u64) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != actual => Err(Refusal::VersionMismatch { expected, actual }),
        _ => Ok(()),
    }
}

fn check_room(what: &str, len: usize, max: usize) -> Result<(), Refusal> {
    if len >= max { Err(Refusal::AtCapacity { what: what.to_owned() }) } else { Ok(()) }
}

impl Default for Model {
    fn default() -> Self {
        const DAY: u64 = 86_400_000;
        Self {
            now: Timestamp(0),
            groups: 0,
            keys: Vec::new(),
            keys_version: 0,
            organisations: Vec::new(),
            venues: Vec::new(),
            events: BTreeMap::new(),
            events_made: 0,
            showtimes: Vec::new(),
            showtimes_made: 0,
            users: Vec::new(),
            nodes: BTreeMap::new(),
            placements: BTreeMap::new(),
            answered: Vec::new(),
            limits: [1_000_000, DAY, DAY / 24, 4_000_000, 100_000_000],
            sinks: BTreeMap::new(),
            records: Vec::new(),
            record_lens: Vec::new(),
            forgotten: 0,
        }
    }
}

impl Model {
    fn apply(&mut self, at: Timestamp, envelope: &Envelope<DirectoryCommand>) -> Reply {
        self.advance(at);
        let reply = self.answer_again(envelope).unwrap_or_else(|| {
            let reply = Reply { result: self.execute(&envelope.command), replayed: false };
            self.remember(envelope, &reply);
            reply
        });
        self.forget_requests();
        self.forget();
        reply
    }

    fn advance(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        self.forget();
    }

    fn execute(&mut self, command: &DirectoryCommand) -> Result<Outcome, Refusal> {
        match command {
            DirectoryCommand::Tick => Ok(Outcome::Done),
            DirectoryCommand::SetGroups(ask) => self.set_groups(ask),
            DirectoryCommand::PutTokenKeys(ask) => self.put_token_keys(ask),
            DirectoryCommand::CreateOrganisation(ask) => self.create_organisation(ask),
            DirectoryCommand::CreateVenue(ask) => self.create_venue(ask),
            DirectoryCommand::CreateEvent(ask) => self.create_event(ask),
            DirectoryCommand::UpdateEvent(ask) => self.update_event(ask),
            DirectoryCommand::DeleteEvent(ask) => self.delete_event(ask),
            DirectoryCommand::ScheduleShowtime(ask) => self.schedule_showtime(ask),
            DirectoryCommand::ActivateShowtime(ask) => self.activate_showtime(ask),
            DirectoryCommand::ArchiveShowtime(ask) => self.archive_showtime(ask),
            DirectoryCommand::UpdateOrganisation(ask) => self.update_organisation(ask),
            DirectoryCommand::UpdateVenue(ask) => self.update_venue(ask),
            DirectoryCommand::CreateUser(ask) => self.create_user(ask),
            DirectoryCommand::UpdateUser(ask) => self.update_user(ask),
            DirectoryCommand::GrantRole(ask) => self.grant_role(ask),
            DirectoryCommand::RevokeRole(ask) => self.revoke_role(ask),
            DirectoryCommand::RegisterNode(ask) => self.register_node(ask),
            DirectoryCommand::SetNodeState(ask) => self.set_node_state(ask),
            DirectoryCommand::SetPlacement(ask) => self.set_placement(ask),
            DirectoryCommand::RotateTokenKey(ask) => self.rotate_token_key(ask),
            DirectoryCommand::SetLimits(ask) => self.set_limits(ask),
            DirectoryCommand::RegisterSink(ask) => self.register_sink(ask),
            DirectoryCommand::AcknowledgeEvents(ask) => self.acknowledge_events(ask),
            DirectoryCommand::RemoveSink(ask) => self.remove_sink(ask),
            DirectoryCommand::RetireNode(ask) => self.retire_node(ask),
        }
    }

    /// Writes down a fact and links it to the one before.
    fn tell(&mut self, event: Event) {
        let (sequence, at, showtime) = (self.records.len() as u64 + 1, self.now, None::<ShowtimeId>);
        let mut hash = Sha256::new();
        hash.update(self.records.last().map_or([0; 32], |last| last.chain));
        let bytes = codec::encode(&(sequence, at, showtime, &event));
        hash.update(&bytes);
        let chain: [u8; 32] = hash.finalize().into();
        self.record_lens.push((bytes.len() + chain.len()) as u64);
        self.records.push(EventRecord { sequence, at, showtime, event, chain });
    }

    /// A cluster restored from a backup: see [`Directory::refound`].
    fn refound(&mut self, last_showtime: u64) {
        self.nodes.clear();
        self.placements.clear();
        self.showtimes_made = self.showtimes_made.max(last_showtime);
    }
}

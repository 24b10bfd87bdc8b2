//! A group on a running node, as checkers see it between two steps of the simulation.

use futures::FutureExt;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use vestibule_engine::{
    DirectoryAnswer, DirectoryQuery, EventRecord, GroupId, Sequence, ShardAnswer, ShardQuery, codec,
};
use vestibule_raft::node::Node;
use vestibule_raft::state::GroupState;
use vestibule_raft::wal::{EntryBody, LogPosition, WalGroup};

/// What can be asked of it.
pub trait Replica {
    /// Asks its shard something.
    fn ask(&self, query: &ShardQuery) -> Result<ShardAnswer, String>;
    /// Whether the directory knows what this question is about.
    fn ask_directory(&self, query: &DirectoryQuery) -> Result<bool, String>;
    /// Has it recount its own invariants.
    fn audit(&self) -> Result<(), String>;
    /// The sequence of its last event.
    fn last_sequence(&self) -> Sequence;
    /// Its events from a sequence on; `Err` is the oldest that it keeps.
    fn events(&self, from: Sequence) -> Result<Vec<EventRecord>, Sequence>;
    /// Its log from one index to before another, as far as it is there; `Err` if it cannot be read.
    fn log(&self, from: u64, to: u64) -> Result<Vec<(LogPosition, EntryBody)>, String>;
}

impl fmt::Debug for dyn Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a replica at event {}", self.last_sequence())
    }
}

/// One of a real node.
pub struct Running {
    state: Arc<GroupState>,
    log: WalGroup,
}

impl Running {
    /// A group of this node, if the node hosts it.
    pub fn of(node: &Node, group: GroupId) -> Option<Rc<dyn Replica>> {
        let replica: Rc<dyn Replica> = Rc::new(Self { state: node.state(group)?, log: node.log(group) });
        Some(replica)
    }
}

impl Replica for Running {
    fn ask(&self, query: &ShardQuery) -> Result<ShardAnswer, String> {
        let (answer, _) = self.state.query(&codec::encode(query))?;
        codec::decode(&answer).map_err(|error| error.to_string())
    }

    fn ask_directory(&self, query: &DirectoryQuery) -> Result<bool, String> {
        let (answer, _) = self.state.query(&codec::encode(query))?;
        let answer = codec::decode::<DirectoryAnswer>(&answer).map_err(|error| error.to_string())?;
        Ok(is_there(&answer))
    }

    fn audit(&self) -> Result<(), String> {
        self.state.audit()
    }

    fn last_sequence(&self) -> Sequence {
        self.state.progress().last_sequence
    }

    fn events(&self, from: Sequence) -> Result<Vec<EventRecord>, Sequence> {
        let records = self.state.events(from, usize::MAX)?;
        Ok(records.iter().map(|record| codec::decode(record).expect("an event is encoded on the way out")).collect())
    }

    fn log(&self, from: u64, to: u64) -> Result<Vec<(LogPosition, EntryBody)>, String> {
        let read = self.log.read_here(from, to, usize::MAX).now_or_never();
        read.expect("reading from a simulated disk never waits").map_err(|error| error.to_string())
    }
}

/// Whether what was asked about is there.
fn is_there(answer: &DirectoryAnswer) -> bool {
    match answer {
        DirectoryAnswer::Venue(venue) => venue.is_some(),
        DirectoryAnswer::Event(event) => event.is_some(),
        DirectoryAnswer::Showtime(showtime) => showtime.is_some(),
        DirectoryAnswer::Organisation(organisation) => organisation.is_some(),
        DirectoryAnswer::SeatMap(seat_map) => seat_map.is_some(),
        DirectoryAnswer::User(user) => user.is_some(),
        DirectoryAnswer::Events { .. }
        | DirectoryAnswer::Showtimes(_)
        | DirectoryAnswer::Groups(_)
        | DirectoryAnswer::TokenKeys { .. }
        | DirectoryAnswer::Organisations(_)
        | DirectoryAnswer::Nodes(_)
        | DirectoryAnswer::Placements(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_engine::{
        CreateUser, Directory, DirectoryCommand, Envelope, EventId, OrganisationId, RequestId, ShowtimeId,
        StateMachine, Timestamp, UserId, VenueId,
    };

    #[test]
    fn what_a_directory_does_not_have_is_not_there() {
        let mut directory = Directory::new(GroupId::DIRECTORY);
        let user = UserId(7);
        let unknown = [
            DirectoryQuery::Organisation(OrganisationId(1)),
            DirectoryQuery::Venue(VenueId(1)),
            DirectoryQuery::Event(EventId(1)),
            DirectoryQuery::Showtime(ShowtimeId::new(GroupId(1), 1)),
            DirectoryQuery::User(user),
        ];
        for query in &unknown {
            assert!(!is_there(&directory.query(query)), "{query:?}");
        }
        let (email, name) = ("ann@example.org".to_owned(), "Ann".to_owned());
        let command = DirectoryCommand::CreateUser(CreateUser { user, email, password_hash: String::new(), name });
        directory.apply(Timestamp(1), &[Envelope { request: Some(RequestId(1)), command }]);
        assert!(is_there(&directory.query(&DirectoryQuery::User(user))));
    }
}

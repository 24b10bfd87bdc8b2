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
        let answer = codec::decode(&answer).map_err(|error| error.to_string())?;
        Ok(!matches!(
            answer,
            DirectoryAnswer::Organisation(None)
                | DirectoryAnswer::Venue(None)
                | DirectoryAnswer::Event(None)
                | DirectoryAnswer::Showtime(None)
        ))
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

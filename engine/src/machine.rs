//! The one door of a state machine.

use crate::{CorruptRow, DirtyRows, Envelope, EventRecord, GroupId, Reply, Row, Sequence, Timestamp};

/// A deterministic state machine: a value that changes only through [`apply`](StateMachine::apply).
///
/// Two machines fed the same batches in the same order are equal, byte for byte, however the batches were cut.
pub trait StateMachine: Sized + Send + Sync + 'static {
    /// What it can be told to do.
    type Command: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static;
    /// What it can be asked.
    type Query: serde::Serialize + serde::de::DeserializeOwned + Send + 'static;
    /// What it answers.
    type Answer: serde::Serialize + serde::de::DeserializeOwned + Send + 'static;

    /// The empty state of a group.
    fn new(group: GroupId) -> Self;

    /// Applies one replicated batch and gives one reply per envelope, in order. `at` is log time, stamped by the
    /// leader that proposed the batch; time never runs backwards inside, whatever `at` says.
    fn apply(&mut self, at: Timestamp, batch: &[Envelope<Self::Command>]) -> Vec<Reply>;

    /// Answers a question without changing anything, from the state as of the last batch applied.
    fn query(&self, query: &Self::Query) -> Self::Answer;

    /// The command that a leader proposes when something is due and nothing else arrives.
    fn tick() -> Self::Command;

    /// When the next thing falls due, if anything does. A leader proposes a tick then.
    fn next_due(&self) -> Option<Timestamp>;

    /// Log time of the last batch applied.
    fn now(&self) -> Timestamp;

    /// The sequence number of the last event, 0 before the first.
    fn last_sequence(&self) -> Sequence;

    /// Up to `count_max` retained events from `from` on, in order. `Err` gives the oldest sequence still retained when
    /// `from` is older than that.
    fn events(&self, from: Sequence, count_max: usize) -> Result<Vec<EventRecord>, Sequence>;

    /// Rows changed since the last call, for the storage shell to write.
    fn drain_dirty(&mut self) -> DirtyRows;

    /// Every row of the whole state, in key order: what [`load`](StateMachine::load) needs.
    fn rows(&self) -> Vec<Row>;

    /// Rebuilds the state from rows, given in key order; no rows give the empty state.
    fn load(group: GroupId, rows: impl Iterator<Item = Row>) -> Result<Self, CorruptRow> {
        let mut loader = Self::loader(group);
        for row in rows {
            loader.take(row)?;
        }
        loader.finish()
    }

    /// Rebuilds the state from rows that come one by one: what [`load`](StateMachine::load) does.
    fn loader(group: GroupId) -> impl Loader<Self> + Send + 'static;

    /// SHA-256 over the whole state: equal states have equal digests.
    fn digest(&self) -> [u8; 32];

    /// Recounts every invariant from scratch, and names the first that does not hold.
    fn audit(&self) -> Result<(), String>;
}

/// A state that is being rebuilt from its rows.
pub trait Loader<M> {
    /// Takes the next row in key order. Once one was refused nothing more is to be made of the others.
    fn take(&mut self, row: Row) -> Result<(), CorruptRow>;

    /// The state, all rows of which were taken.
    fn finish(self) -> Result<M, CorruptRow>;
}

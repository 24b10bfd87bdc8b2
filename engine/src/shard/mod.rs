//! The state machine of a shard: everything of the showtimes placed there.

use crate::{
    CorruptRow, DirtyRows, Envelope, EventRecord, GroupId, Outcome, Reply, Row, Sequence, ShardAnswer, ShardCommand,
    ShardQuery, StateMachine, Timestamp,
};

/// The state machine of a shard: everything of the showtimes placed there.
#[derive(Debug)]
pub struct Shard {
    group: GroupId,
    now: Timestamp,
}

impl StateMachine for Shard {
    type Command = ShardCommand;
    type Query = ShardQuery;
    type Answer = ShardAnswer;

    fn new(group: GroupId) -> Self {
        Self { group, now: Timestamp::default() }
    }
    fn apply(&mut self, at: Timestamp, batch: &[Envelope<Self::Command>]) -> Vec<Reply> {
        self.now = self.now.max(at);
        batch.iter().map(|_| Reply { result: Ok(Outcome::Done), replayed: false }).collect()
    }
    fn query(&self, _query: &Self::Query) -> Self::Answer {
        ShardAnswer::Showtimes(Vec::new())
    }
    fn tick() -> Self::Command {
        ShardCommand::Tick
    }
    fn next_due(&self) -> Option<Timestamp> {
        None
    }
    fn now(&self) -> Timestamp {
        self.now
    }
    fn last_sequence(&self) -> Sequence {
        0
    }
    fn events(&self, _from: Sequence, _count_max: usize) -> Result<Vec<EventRecord>, Sequence> {
        Ok(Vec::new())
    }
    fn drain_dirty(&mut self) -> DirtyRows {
        DirtyRows::default()
    }
    fn rows(&self) -> Vec<Row> {
        Vec::new()
    }
    fn load(group: GroupId, _rows: impl Iterator<Item = Row>) -> Result<Self, CorruptRow> {
        Ok(Self::new(group))
    }
    fn digest(&self) -> [u8; 32] {
        [self.group.0 as u8; 32]
    }
    fn audit(&self) -> Result<(), String> {
        Ok(())
    }
}

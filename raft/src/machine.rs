//! The state machine of a group behind one face, whichever machine it is.

use bytes::Bytes;
use vestibule_engine::codec::{self, DecodeError};
use vestibule_engine::{
    CorruptRow, Directory, DirtyRows, Envelope, GroupId, Reply, Row, Sequence, Shard, StateMachine, Timestamp,
};

/// A state machine that takes and gives encoded commands, queries and events.
pub(crate) trait Machine: Send + Sync {
    /// Applies a batch. Fails, having changed nothing, if a command does not decode.
    fn apply(&mut self, at: Timestamp, commands: &[Bytes]) -> Result<Vec<Reply>, DecodeError>;
    fn query(&self, query: &[u8]) -> Result<Unencoded<Vec<u8>>, DecodeError>;
    fn next_due(&self) -> Option<Timestamp>;
    fn last_sequence(&self) -> Sequence;
    fn events(&self, from: Sequence, count_max: usize) -> Result<Unencoded<Vec<Bytes>>, Sequence>;
    fn drain_dirty(&mut self) -> DirtyRows;
    fn rows(&self) -> Vec<Row>;
    fn digest(&self) -> [u8; 32];
    fn audit(&self) -> Result<(), String>;
}

/// What a machine gave, on its own: it is encoded without the machine, which others may change meanwhile.
pub(crate) struct Unencoded<T>(Box<dyn FnOnce() -> T + Send>);

impl<T> Unencoded<T> {
    pub(crate) fn encode(self) -> T {
        (self.0)()
    }
}

struct Typed<M>(M);

impl<M: StateMachine> Machine for Typed<M> {
    fn apply(&mut self, at: Timestamp, commands: &[Bytes]) -> Result<Vec<Reply>, DecodeError> {
        let batch: Vec<Envelope<M::Command>> =
            commands.iter().map(|command| codec::decode(command)).collect::<Result<_, _>>()?;
        Ok(self.0.apply(at, &batch))
    }

    fn query(&self, query: &[u8]) -> Result<Unencoded<Vec<u8>>, DecodeError> {
        let answer = self.0.query(&codec::decode(query)?);
        Ok(Unencoded(Box::new(move || codec::encode(&answer))))
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.0.next_due()
    }

    fn last_sequence(&self) -> Sequence {
        self.0.last_sequence()
    }

    fn events(&self, from: Sequence, count_max: usize) -> Result<Unencoded<Vec<Bytes>>, Sequence> {
        let events = self.0.events(from, count_max)?;
        Ok(Unencoded(Box::new(move || events.iter().map(|event| codec::encode(event).into()).collect())))
    }

    fn drain_dirty(&mut self) -> DirtyRows {
        self.0.drain_dirty()
    }

    fn rows(&self) -> Vec<Row> {
        self.0.rows()
    }

    fn digest(&self) -> [u8; 32] {
        self.0.digest()
    }

    fn audit(&self) -> Result<(), String> {
        self.0.audit()
    }
}

/// The machine of a group as its rows, given in key order, say.
pub(crate) fn load(group: GroupId, rows: impl Iterator<Item = Row>) -> Result<Box<dyn Machine>, CorruptRow> {
    Ok(if group == GroupId::DIRECTORY {
        Box::new(Typed(Directory::load(group, rows)?))
    } else {
        Box::new(Typed(Shard::load(group, rows)?))
    })
}

/// Whether the bytes are an envelope that the group's machine takes.
pub(crate) fn check_envelope(group: GroupId, bytes: &[u8]) -> Result<(), DecodeError> {
    if group == GroupId::DIRECTORY {
        codec::decode::<Envelope<<Directory as StateMachine>::Command>>(bytes).map(drop)
    } else {
        codec::decode::<Envelope<<Shard as StateMachine>::Command>>(bytes).map(drop)
    }
}

/// The envelope with which a leader lets the group's machine see that time has passed.
pub(crate) fn tick(group: GroupId) -> Bytes {
    let bytes = if group == GroupId::DIRECTORY {
        codec::encode(&Envelope { request: None, command: Directory::tick() })
    } else {
        codec::encode(&Envelope { request: None, command: Shard::tick() })
    };
    bytes.into()
}

//! The state machine of a group behind one face, whichever machine it is.

use bytes::Bytes;
use std::marker::PhantomData;
use vestibule_engine::codec::{self, DecodeError};
use vestibule_engine::{
    CorruptRow, Directory, DirtyRows, Envelope, GroupId, Loader, Reply, Row, Sequence, Shard, StateMachine, Timestamp,
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

/// A machine that is being made of its rows, which are given in key order.
pub(crate) trait MachineLoader: Send {
    fn take(&mut self, row: Row) -> Result<(), CorruptRow>;
    fn finish(self: Box<Self>) -> Result<Box<dyn Machine>, CorruptRow>;
}

struct TypedLoader<M, L> {
    loader: L,
    machine: PhantomData<fn() -> M>,
}

impl<M: StateMachine, L: Loader<M> + Send> MachineLoader for TypedLoader<M, L> {
    fn take(&mut self, row: Row) -> Result<(), CorruptRow> {
        self.loader.take(row)
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn Machine>, CorruptRow> {
        Ok(Box::new(Typed(self.loader.finish()?)))
    }
}

/// Begins to make the machine of a group.
pub(crate) fn loader(group: GroupId) -> Box<dyn MachineLoader> {
    if group == GroupId::DIRECTORY {
        Box::new(TypedLoader { loader: Directory::loader(group), machine: PhantomData })
    } else {
        Box::new(TypedLoader { loader: Shard::loader(group), machine: PhantomData })
    }
}

/// The machine of a group as its rows, given in key order, say.
pub(crate) fn load(group: GroupId, rows: impl Iterator<Item = Row>) -> Result<Box<dyn Machine>, CorruptRow> {
    let mut loader = loader(group);
    for row in rows {
        loader.take(row)?;
    }
    loader.finish()
}

/// Whether the bytes are an envelope that the group's machine takes. Gives whether the command changes the cluster itself,
/// which only operators and nodes may.
pub(crate) fn check_envelope(group: GroupId, bytes: &[u8]) -> Result<bool, DecodeError> {
    if group == GroupId::DIRECTORY {
        let envelope: Envelope<<Directory as StateMachine>::Command> = codec::decode(bytes)?;
        Ok(envelope.command.is_for_operators())
    } else {
        let envelope: Envelope<<Shard as StateMachine>::Command> = codec::decode(bytes)?;
        Ok(envelope.command.is_for_operators())
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

//! The types that openraft is used with, and how they map to the log and the wire.

use crate::wal::{Ballot, EntryBody, LogPosition};
use bytes::Bytes;
use openraft::impls::{BasicNode, leader_id_adv};
use openraft::vote::RaftVote;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use vestibule_engine::{Reply, Timestamp, codec};

openraft::declare_raft_types!(
    /// Vestibule's choice of openraft types.
    pub TypeConfig:
        D = Batch,
        R = Replies,
        NodeId = u64,
        Node = BasicNode,
        LeaderId = leader_id_adv::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

/// The number of a node, unique in its cluster and never given twice.
pub type NodeId = u64;
/// The position of an entry, as openraft has it.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A vote, as openraft has it.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// An entry, as openraft has it.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// A membership and where it was decided.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// A membership.
pub type Membership = openraft::Membership<NodeId, BasicNode>;
/// What a snapshot says of itself.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// Commands that share one log entry, with the log time at which they apply. What a gateway encoded travels in here
/// unchanged, through every log and to every replica.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch(Bytes);

/// Why bytes are no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a batch is cut short")]
pub struct CutShort;

impl Batch {
    /// Packs encoded envelopes.
    pub fn new(at: Timestamp, commands: &[Bytes]) -> Self {
        let len = 8 + commands.iter().map(|command| 4 + command.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&at.0.to_le_bytes());
        for command in commands {
            let len = u32::try_from(command.len()).expect("the proposer bounds a command far below 4 GiB");
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(command);
        }
        Self(bytes.into())
    }

    /// Takes the bytes of a batch as they lie in the log; [`Batch::unpack`] tells whether they are one.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes, as they lie in the log.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The log time and the encoded envelopes.
    pub fn unpack(&self) -> Result<(Timestamp, Vec<Bytes>), CutShort> {
        let (at, mut rest) = self.0.split_first_chunk::<8>().ok_or(CutShort)?;
        let at = Timestamp(u64::from_le_bytes(*at));
        let mut commands = Vec::new();
        while !rest.is_empty() {
            let (len, tail) = rest.split_first_chunk::<4>().ok_or(CutShort)?;
            let len = u32::from_le_bytes(*len) as usize;
            let command = tail.get(..len).ok_or(CutShort)?;
            commands.push(self.0.slice_ref(command));
            rest = &tail[len..];
        }
        Ok((at, commands))
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

/// The replies to a batch, one a command; none for entries without commands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies(pub Vec<Reply>);

/// A position of the log, as the log has it.
pub fn to_position(id: &LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// A position of the log, as openraft has it.
pub fn to_log_id(position: LogPosition) -> LogId {
    openraft::LogId {
        leader_id: leader_id_adv::LeaderId { term: position.term, node_id: position.node },
        index: position.index,
    }
}

/// A vote, as the log has it.
pub fn to_ballot(vote: &Vote) -> Ballot {
    let leader = vote.leader_id();
    Ballot { term: leader.term, node: leader.node_id, committed: vote.is_committed() }
}

/// A vote, as openraft has it.
pub fn to_vote(ballot: Ballot) -> Vote {
    Vote::from_leader_id(leader_id_adv::LeaderId { term: ballot.term, node_id: ballot.node }, ballot.committed)
}

/// An entry, as the log has it.
pub fn to_body(entry: &Entry) -> EntryBody {
    match &entry.payload {
        openraft::EntryPayload::Blank => EntryBody::Blank,
        openraft::EntryPayload::Normal(batch) => EntryBody::Batch(batch.bytes().clone()),
        openraft::EntryPayload::Membership(membership) => EntryBody::Membership(encode_membership(membership)),
    }
}

/// An entry, as openraft has it.
pub fn to_entry(position: LogPosition, body: EntryBody) -> io::Result<Entry> {
    let payload = match body {
        EntryBody::Blank => openraft::EntryPayload::Blank,
        EntryBody::Batch(bytes) => openraft::EntryPayload::Normal(Batch::from_bytes(bytes)),
        EntryBody::Membership(bytes) => openraft::EntryPayload::Membership(decode_membership(&bytes)?),
    };
    Ok(openraft::Entry { log_id: to_log_id(position), payload })
}

/// A membership, encoded as in the log.
pub fn encode_membership(membership: &Membership) -> Bytes {
    codec::encode(membership).into()
}

/// Decodes what [`encode_membership`] made.
pub fn decode_membership(bytes: &[u8]) -> io::Result<Membership> {
    codec::decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("a membership: {error}")))
}

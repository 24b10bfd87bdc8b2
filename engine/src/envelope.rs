//! What travels in the log: commands in envelopes, and the replies they get.

use crate::{Outcome, Refusal};
use serde::{Deserialize, Serialize};

/// Names one request of one client for ever: made from the subject and its idempotency key (or from the request itself).
/// A request id is answered once; asked again it gets the same reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u128);

/// A command on its way to a state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<C> {
    /// Present on every command of a client; absent on the ticks that a leader proposes.
    pub request: Option<RequestId>,
    /// What is to be done.
    pub command: C,
}

/// The replicated answer to one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What came of it.
    pub result: Result<Outcome, Refusal>,
    /// Whether this is the remembered answer to an earlier command of the same request id.
    pub replayed: bool,
}

/// The position of an event in its group: 1, 2, 3 … without gaps.
pub type Sequence = u64;

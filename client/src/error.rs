//! What can come instead of an answer.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// Why a call brought no answer. A [`Problem`] is the server's own word; everything else is an accident on the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered, and the answer is no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The call may have been carried out, and no answer came however often it was repeated. Ask again with the same
    /// [`IdempotencyKey`](crate::IdempotencyKey): the server does it once and remembers its answer.
    #[error("the outcome is unknown: {last}")]
    OutcomeUnknown {
        /// What the last attempt met.
        last: Box<Error>,
    },
    /// No answer within the deadline.
    #[error("no answer within {after:?}")]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// No connection: nothing was sent.
    #[error("{gateway} cannot be reached: {reason}")]
    Unreachable {
        /// Which gateway.
        gateway: String,
        /// Why.
        reason: String,
    },
    /// The connection broke with the call in flight.
    #[error("the connection to {gateway} broke: {reason}")]
    Lost {
        /// Which gateway.
        gateway: String,
        /// Why.
        reason: String,
    },
    /// The answer is longer than the client reads.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The answer is not what the contract promises.
    #[error("status {status} with an answer that does not fit the contract: {reason}")]
    Malformed {
        /// Its status.
        status: u16,
        /// What does not fit.
        reason: String,
    },
    /// The call itself makes no sense, nothing was sent.
    #[error("bad call: {0}")]
    BadCall(String),
}

impl Error {
    /// The server's refusal, if that is what came.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::OutcomeUnknown { last } => last.problem(),
            _ => None,
        }
    }

    /// The `code` of the server's refusal, if that is what came.
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// Whether the call may have been carried out all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            // 503 alone promises that nothing was done, unless its code says otherwise.
            Self::Refused(problem) => {
                problem.code == "outcome_unknown" || (problem.status >= 500 && problem.status != 503)
            }
            Self::OutcomeUnknown { .. } | Self::TimedOut { .. } | Self::Lost { .. } => true,
            Self::TooLarge { .. } => true,
            Self::Malformed { status, .. } => *status < 400 || *status >= 500,
            Self::Unreachable { .. } | Self::BadCall(_) => false,
        }
    }

    /// Whether the same call may fare better a moment later.
    pub fn is_worth_repeating(&self) -> bool {
        match self {
            Self::Refused(problem) => matches!(problem.status, 429 | 502 | 503 | 504),
            Self::TimedOut { .. } | Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::OutcomeUnknown { .. } | Self::TooLarge { .. } | Self::Malformed { .. } | Self::BadCall(_) => false,
        }
    }
}

/// A refusal as RFC 9457 writes it.
#[derive(Debug, Clone, PartialEq, Deserialize, thiserror::Error)]
#[error("{status} {code}: {detail}")]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A URI of the kind of problem.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The kind in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// What happened this time.
    #[serde(default)]
    pub detail: String,
    /// The kind as a stable name: `seats_unavailable`, `not_called_yet`.
    #[serde(default)]
    pub code: String,
    /// Names this request in the server's log.
    #[serde(default)]
    pub request_id: Option<String>,
    /// How long the server wants to be left alone, from the `Retry-After` header.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Everything else that came along, like `seats` and `ahead`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Problem {
    /// The seats in the way, with `seats_unavailable`.
    pub fn seats(&self) -> Vec<&str> {
        let seats = self.extra.get("seats").and_then(Value::as_array);
        seats.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// How many are ahead in line, with `not_called_yet`.
    pub fn ahead(&self) -> Option<u64> {
        self.extra.get("ahead").and_then(Value::as_u64)
    }
}

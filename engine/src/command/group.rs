//! What any group can be told to do: its bounds, and who reads its events.

use crate::Millis;
use serde::{Deserialize, Serialize};

/// Changes the bounds of the group; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLimits {
    /// Remembered requests, 1,000 to 100,000,000, and 512 bytes for each, all together. Default 1,000,000, so 512 MB.
    pub requests_max: Option<u64>,
    /// How long a request is remembered, 1 s to 30 days. Default 24 h.
    pub request_age_max: Option<Millis>,
    /// How long an event is kept at least, up to 365 days, within `events_max`. Default 1 h.
    pub event_age_min: Option<Millis>,
    /// Events kept at most, 1,000 to 100,000,000, and 512 bytes for each, all together. Default 4,000,000, so 2 GB at most,
    /// and some hundreds of megabytes as a rule. A sink that has not acknowledged what has to go beyond it lapses, see
    /// [`RegisterSink`].
    pub events_max: Option<u64>,
    /// Tickets of one line, 1 to 100,000,000. Default 100,000,000. A line that has more keeps them and takes no more.
    pub tickets_max: Option<u64>,
}

/// Keeps events until this sink has acknowledged them, from the oldest that is still there.
///
/// A sink that falls behind by more than [`SetLimits::events_max`] lapses: that is told by the event
/// [`SinkLapsed`](crate::Event::SinkLapsed), nothing is kept for it any more, and its acknowledgements are refused. It
/// registers again, reads the whole state, and goes on with the events after the sequence number of what it read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterSink {
    /// Its name, 1 to 100 bytes.
    pub sink: String,
}

/// Says that a sink has all events up to a sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcknowledgeEvents {
    /// Which sink.
    pub sink: String,
    /// The last event it has.
    pub sequence: u64,
}

/// Keeps no more events for this sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveSink {
    /// Which sink.
    pub sink: String,
}

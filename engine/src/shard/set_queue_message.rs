//! `SetQueueMessage`: shows a message to everybody in line.

use super::Shard;
use crate::group_state::{Events, check_text};
use crate::{Event, Outcome, Refusal, SetQueueMessage};

impl Shard {
    pub(super) fn set_queue_message(&mut self, ask: &SetQueueMessage, events: &mut Events) -> Result<Outcome, Refusal> {
        check_text("text", ask.text.as_deref().unwrap_or_default(), 0, 500)?;
        let showtime = self.showtime(ask.showtime)?;

        if showtime.message() != ask.text.as_ref() {
            self.showtime_mut(ask.showtime).set_message(ask.text.clone());
            events.push(ask.showtime, Event::QueueMessageSet { text: ask.text.clone() });
        }
        Ok(Outcome::Done)
    }
}

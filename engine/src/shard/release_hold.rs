//! `ReleaseHold`: gives a hold back.

use super::Shard;
use crate::group_state::Events;
use crate::{Outcome, Refusal, ReleaseHold};

impl Shard {
    pub(super) fn release_hold(&mut self, ask: &ReleaseHold, events: &mut Events) -> Result<Outcome, Refusal> {
        if self.hold_of(ask.hold, ask.user)?.order.is_some() {
            return Err(Refusal::HoldHasOrder);
        }

        self.give_back(ask.hold, events);
        Ok(Outcome::Done)
    }
}

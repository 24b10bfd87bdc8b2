//! `ReleaseHold`: gives a hold back.

use super::Shard;
use crate::group_state::Events;
use crate::planted::{self, Bug};
use crate::{Outcome, Refusal, ReleaseHold};

impl Shard {
    pub(super) fn release_hold(&mut self, ask: &ReleaseHold, events: &mut Events) -> Result<Outcome, Refusal> {
        let owner = self.live_hold(ask.hold).map(|hold| hold.user).filter(|_| planted::is(Bug::ReleaseForeign));
        if self.hold_of(ask.hold, owner.unwrap_or(ask.user))?.order.is_some() {
            return Err(Refusal::HoldHasOrder);
        }

        self.give_back(ask.hold, events);
        Ok(Outcome::Done)
    }
}

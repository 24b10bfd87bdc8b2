//! `ExtendHold`: prolongs a hold.

use super::Shard;
use super::deadlines::Due;
use crate::group_state::Events;
use crate::{Event, ExtendHold, Outcome, Refusal};

impl Shard {
    pub(super) fn extend_hold(&mut self, ask: &ExtendHold, events: &mut Events) -> Result<Outcome, Refusal> {
        let hold = self.hold_of(ask.hold, ask.user)?;
        if hold.order.is_some() {
            return Err(Refusal::HoldHasOrder);
        }
        if hold.offer.is_some() {
            // Others wait for these seats.
            return Err(Refusal::HoldTotalReached);
        }
        let sale = self.showtime(hold.showtime)?.sale();
        let (before, latest) = (hold.expires_at, hold.held_at + sale.hold_total_max);
        let expires_at = (self.state.now + sale.hold_ttl).min(latest);
        if expires_at <= before && before >= latest {
            return Err(Refusal::HoldTotalReached);
        }

        let expires_at = expires_at.max(before);
        self.deadlines.replace(Some(before), Some(expires_at), Due::Hold(ask.hold));
        let hold = self.holds.get_mut(ask.hold.counter()).expect("it was found above");
        hold.expires_at = expires_at;

        let view = Box::new(hold.view(ask.hold));
        if expires_at != before {
            events.push(view.showtime, Event::HoldExtended { hold: ask.hold, expires_at });
        }
        Ok(Outcome::Held { hold: view })
    }
}

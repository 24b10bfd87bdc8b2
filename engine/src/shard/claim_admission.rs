//! `ClaimAdmission`: takes up the admission of a called ticket.

use super::Shard;
use super::deadlines::Due;
use super::leave_queue::standing_of;
use super::line::Standing;
use crate::group_state::Events;
use crate::{ClaimAdmission, Event, Outcome, QueueState, Refusal};

impl Shard {
    pub(super) fn claim_admission(&mut self, ask: &ClaimAdmission, events: &mut Events) -> Result<Outcome, Refusal> {
        let showtime = self.showtime(ask.showtime)?;
        let standing = standing_of(showtime, ask.ticket, ask.user)?;
        if matches!(standing, Standing::Prequeue) || showtime.line.head.state == QueueState::Closed {
            return Err(self.wrong_queue_state(ask.showtime));
        }
        let segment = match standing {
            Standing::Prequeue | Standing::Waiting => {
                let place = showtime.line.public_place(ask.ticket, showtime.sale().method).unwrap_or(u64::MAX);
                return Err(Refusal::NotCalledYet { ahead: place.saturating_sub(showtime.line.head.cursor) });
            }
            Standing::Called { segment, .. } => segment,
            Standing::Shopping { until } => {
                let ticket = Box::new(self.ticket_view(showtime, ask.ticket));
                return Ok(Outcome::Claimed { ticket, expires_at: until });
            }
            Standing::Done | Standing::Left | Standing::Expired => return Err(Refusal::TicketOver),
        };

        let expires_at = self.state.now + showtime.sale().admission.session_ttl;
        self.showtime_mut(ask.showtime).line.claim(ask.ticket, segment, expires_at);
        self.deadlines.insert(expires_at, Due::Session(ask.showtime, ask.ticket));

        events.push(ask.showtime, Event::AdmissionClaimed { ticket: ask.ticket, expires_at });
        let ticket = Box::new(self.ticket_view(self.showtime(ask.showtime)?, ask.ticket));
        Ok(Outcome::Claimed { ticket, expires_at })
    }
}

//! `JoinQueue`: takes a ticket in the line.

use super::Shard;
use crate::group_state::Events;
use crate::{Event, JoinQueue, Method, Outcome, QueueState, Refusal};

impl Shard {
    pub(super) fn join_queue(&mut self, ask: &JoinQueue, events: &mut Events) -> Result<Outcome, Refusal> {
        let showtime = self.showtime(ask.showtime)?;
        match showtime.sale().method {
            Method::Draw | Method::Fifo => {}
            Method::Passthrough => return Err(Refusal::NoLine),
            Method::Reject => return Err(Refusal::SaleRejects),
        }
        if let Some(number) = showtime.line.ticket_of(ask.user) {
            return Ok(Outcome::Queued { ticket: Box::new(self.ticket_view(showtime, number)), joined: false });
        }
        if matches!(showtime.line.head.state, QueueState::Scheduled | QueueState::Closed) {
            return Err(self.wrong_queue_state(ask.showtime));
        }
        if showtime.line.head.joined >= self.state.limits.tickets_max {
            return Err(Refusal::QueueFull);
        }

        let now = self.state.now;
        let is_drawn = showtime.sale().method == Method::Draw;
        let ticket = self.showtime_mut(ask.showtime).line.join(ask.user, is_drawn, now);
        self.schedule_step(ask.showtime);

        events.push(ask.showtime, Event::QueueJoined { ticket, user: ask.user });
        // Where nobody waits and there is room, the answer is that the buyer is called.
        self.admit_if_due(ask.showtime, events);
        let showtime = self.showtime(ask.showtime)?;
        Ok(Outcome::Queued { ticket: Box::new(self.ticket_view(showtime, ticket)), joined: true })
    }
}

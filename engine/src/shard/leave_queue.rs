//! `LeaveQueue`: gives up a ticket.

use super::Shard;
use super::deadlines::Due;
use super::line::Standing;
use super::showtime::Showtime;
use crate::group_state::Events;
use crate::{Event, HoldId, LeaveQueue, Outcome, Refusal, TicketNumber, UserId};

/// Where this buyer's ticket stands.
pub(super) fn standing_of(showtime: &Showtime, ticket: TicketNumber, user: UserId) -> Result<Standing, Refusal> {
    match showtime.line.owner(ticket) {
        Some(owner) if owner == user => Ok(showtime.line.standing(ticket)),
        _ => Err(Refusal::NoSuchTicket),
    }
}

impl Shard {
    pub(super) fn leave_queue(&mut self, ask: &LeaveQueue, events: &mut Events) -> Result<Outcome, Refusal> {
        let showtime = self.showtime(ask.showtime)?;
        match standing_of(showtime, ask.ticket, ask.user)? {
            Standing::Done | Standing::Expired => return Err(Refusal::TicketOver),
            Standing::Left => return Ok(Outcome::Done),
            Standing::Prequeue | Standing::Waiting | Standing::Called { .. } | Standing::Shopping { .. } => {}
        }

        let holds: Vec<HoldId> =
            showtime.buyers.get(&ask.user).map_or(Vec::new(), |buyer| buyer.holds.iter().collect());
        if let Some(until) = self.showtime_mut(ask.showtime).line.leave(ask.ticket) {
            self.deadlines.remove(until, Due::Session(ask.showtime, ask.ticket));
        }
        events.push(ask.showtime, Event::QueueLeft { ticket: ask.ticket });
        for id in holds {
            if self.live_hold(id).is_some_and(|hold| hold.order.is_none() && hold.ticket == Some(ask.ticket)) {
                self.give_back(id, events);
            }
        }
        self.schedule_step(ask.showtime);
        Ok(Outcome::Done)
    }
}

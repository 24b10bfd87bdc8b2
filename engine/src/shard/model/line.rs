//! Tickets: joining, leaving, being called, claiming.

use super::Model;
use super::show::{At, CALL, Call, ModelTicket};
use crate::*;

impl Model {
    pub(super) fn join(&mut self, ask: &JoinQueue) -> Result<Outcome, Refusal> {
        let (id, now) = (ask.showtime, self.now);
        let show = self.show(id)?;
        match show.sale.method {
            Method::Passthrough => return Err(Refusal::NoLine),
            Method::Reject => return Err(Refusal::SaleRejects),
            Method::Draw | Method::Fifo => {}
        }
        if let Some(index) = show.tickets.iter().position(|ticket| ticket.user == ask.user) {
            return Ok(Outcome::Queued { ticket: Box::new(self.ticket_view(id, index as u64 + 1)), joined: false });
        }
        if matches!(show.state, QueueState::Scheduled | QueueState::Closed) {
            return Err(show.wrong_state());
        }
        if show.tickets.len() as u64 >= self.tickets_max {
            return Err(Refusal::QueueFull);
        }
        let show = self.show_mut(id);
        if show.count_at(At::InLine) == 0 {
            show.count_anew(now);
        }
        show.tickets.push(ModelTicket { user: ask.user, at: At::InLine, has_bought: false });
        let number = show.tickets.len() as u64;
        if show.state != QueueState::Prequeue {
            show.line.push(number);
        }
        let steps = show.step_at().is_some_and(|at| at <= now);
        self.tell_of(id, Event::QueueJoined { ticket: TicketNumber(number), user: ask.user });
        if steps {
            self.admit(id);
        }
        Ok(Outcome::Queued { ticket: Box::new(self.ticket_view(id, number)), joined: true })
    }

    pub(super) fn leave(&mut self, ask: &LeaveQueue) -> Result<Outcome, Refusal> {
        let show = self.show(ask.showtime)?;
        let index = show.ticket_of(ask.ticket, ask.user)?;
        match show.tickets[index].at {
            At::Done | At::Missed | At::Expired => return Err(Refusal::TicketOver),
            At::Left => return Ok(Outcome::Done),
            At::InLine | At::Called(_) | At::Shopping(_) => {}
        }
        let show = self.show_mut(ask.showtime);
        show.tickets[index].at = At::Left;
        let is_entrant = !show.awaits_beacon || ask.ticket.0 <= show.entrants;
        if show.is_ahead() && show.sale.method == Method::Draw && is_entrant {
            show.unplaced.insert(ask.ticket.0);
        }
        self.tell_of(ask.showtime, Event::QueueLeft { ticket: ask.ticket });
        let holds: Vec<HoldId> = self.holds.keys().copied().collect();
        for id in holds {
            let hold = &self.holds[&id];
            if (hold.showtime, hold.ticket, hold.order) == (ask.showtime, Some(ask.ticket), None) {
                self.give_back(id);
            }
        }
        Ok(Outcome::Done)
    }

    pub(super) fn claim(&mut self, ask: &ClaimAdmission) -> Result<Outcome, Refusal> {
        let id = ask.showtime;
        let show = self.show(id)?;
        let index = show.ticket_of(ask.ticket, ask.user)?;
        let at = show.tickets[index].at.clone();
        if show.is_ahead() && at == At::InLine || show.state == QueueState::Closed {
            return Err(show.wrong_state());
        }
        let expires_at = match at {
            At::InLine => {
                return Err(Refusal::NotCalledYet { ahead: show.place_of(ask.ticket.0).unwrap() - show.cursor });
            }
            At::Called(_) => {
                let expires_at = self.now + show.sale.admission.session_ttl;
                let show = self.show_mut(id);
                show.tickets[index].at = At::Shopping(expires_at);
                show.claimed += 1;
                self.tell_of(id, Event::AdmissionClaimed { ticket: ask.ticket, expires_at });
                expires_at
            }
            At::Shopping(expires_at) => expires_at,
            At::Done | At::Left | At::Missed | At::Expired => return Err(Refusal::TicketOver),
        };
        Ok(Outcome::Claimed { ticket: Box::new(self.ticket_view(id, ask.ticket.0)), expires_at })
    }

    /// Calls the next places, as many as credit and room allow.
    pub(super) fn admit(&mut self, id: ShowtimeId) {
        let now = self.now;
        let show = self.show_mut(id);
        show.settle_credit(now);
        let room = u64::from(show.sale.admission.active_max) - show.active();
        let count = (show.credit / CALL).min(u128::from(room));
        let called = show.next_called(count as usize);
        show.stepped_at = Some(now);
        if called.is_empty() {
            return;
        }
        let claim_by = now + show.sale.admission.claim_ttl;
        for place in &called {
            show.at_place(*place).at = At::Called(claim_by);
        }
        show.steps.push((now, show.cursor));
        let (from, to) = (show.cursor + 1, *called.last().unwrap());
        show.credit -= called.len() as u128 * CALL;
        show.cursor = to;
        show.called += called.len() as u64;
        show.calls.push(Call { from, to, claim_by });
        self.tell_of(id, Event::QueueAdmitted { from, to, claim_by });
    }

    /// The time to claim is over for those called together.
    pub(super) fn expire_claims(&mut self, id: ShowtimeId, from: u64) {
        let show = self.show_mut(id);
        let index = show.calls.iter().position(|call| call.from == from).unwrap();
        let to = show.calls.remove(index).to;
        let mut count = 0;
        for place in from..=to {
            let ticket = show.at_place(place);
            if matches!(ticket.at, At::Called(_)) {
                ticket.at = At::Missed;
                count += 1;
            }
        }
        if count > 0 {
            self.tell_of(id, Event::ClaimsMissed { from, to, count });
        }
    }
}

//! The line, kept once more by the facts of the log: the cursor never goes back and passes over nobody, admissions never exceed
//! the rate or the room over any interval, a ticket goes the way of tickets and nobody shops without one.

use super::draw::shuffled_index;
use super::{Checker, Look};
use crate::history::Ask;
use crate::player::{Played, Told};
use std::collections::BTreeMap;
use vestibule_engine::{
    Event, EventRecord, Method, Outcome, QueueState, Sale, ShardAnswer, ShardCommand, ShardQuery, ShowtimeId,
    TicketNumber, TicketState, Timestamp, UserId,
};

struct Ticket {
    user: UserId,
    state: TicketState,
    /// Until when it can be claimed, or used.
    until: Timestamp,
}

/// Calls made at one moment, with what the rate was then.
struct Call {
    at: Timestamp,
    count: u64,
    /// The burst that the sale allowed then.
    burst: u64,
    /// Calls that the rate has allowed since the beginning, in 60,000ths.
    allowed: u128,
}

struct Line {
    sale: Sale,
    state: QueueState,
    tickets: Vec<Ticket>,
    /// Entrants and seed, once drawn.
    draw: Option<(u64, [u8; 32])>,
    cursor: u64,
    active: u64,
    calls: Vec<Call>,
    allowed: u128,
    allowed_at: Timestamp,
}

fn burst(sale: &Sale) -> u64 {
    u64::from(sale.admission.rate_per_minute / 60).max(1)
}

impl Line {
    fn new(sale: Sale, at: Timestamp) -> Self {
        let (tickets, calls) = (Vec::new(), Vec::new());
        let state = QueueState::Scheduled;
        Self { sale, state, tickets, draw: None, cursor: 0, active: 0, calls, allowed: 0, allowed_at: at }
    }

    fn ticket(&mut self, number: TicketNumber) -> Result<&mut Ticket, String> {
        let index = usize::try_from(number.0).unwrap_or(0).wrapping_sub(1);
        self.tickets.get_mut(index).ok_or_else(|| format!("there is no ticket {number}"))
    }

    /// The place of a ticket, from 1.
    fn place(&self, number: u64) -> u64 {
        match self.draw {
            Some((entrants, seed)) if number <= entrants => shuffled_index(number - 1, entrants, &seed) + 1,
            _ => number,
        }
    }

    fn grow(&mut self, at: Timestamp) {
        let elapsed = at.0.saturating_sub(self.allowed_at.0);
        self.allowed += u128::from(elapsed) * u128::from(self.sale.admission.rate_per_minute);
        self.allowed_at = at.max(self.allowed_at);
    }

    fn admit(&mut self, at: Timestamp, from: u64, to: u64, claim_by: Timestamp) -> Result<(), String> {
        if self.state != QueueState::Open {
            return Err(format!("somebody was called while the line was {}", self.state));
        }
        if from != self.cursor + 1 || to < from || to > self.tickets.len() as u64 {
            return Err(format!("places {from} to {to} were called after {}", self.cursor));
        }
        self.cursor = to;
        let mut count = 0;
        for number in 1..=self.tickets.len() as u64 {
            let place = self.place(number);
            if !(from..=to).contains(&place) {
                continue;
            }
            let ticket = self.ticket(TicketNumber(number))?;
            if ticket.state == TicketState::Waiting {
                (ticket.state, ticket.until) = (TicketState::Called, claim_by);
                count += 1;
            } else if ticket.state != TicketState::Left {
                return Err(format!("ticket {number} was called when it was {}", ticket.state));
            }
        }
        self.active += count;
        self.grow(at);
        self.calls.push(Call { at, count, burst: burst(&self.sale), allowed: self.allowed });
        let mut sum = 0;
        for call in self.calls.iter().rev() {
            sum += u128::from(call.count);
            let allowed = u128::from(call.burst + 1) * 60_000 + self.allowed - call.allowed;
            if sum * 60_000 >= allowed {
                return Err(format!("{sum} were called from {:?} to {at:?}, which is more than the rate", call.at));
            }
        }
        let max = u64::from(self.sale.admission.active_max);
        if self.active > max {
            return Err(format!("{} are inside, of at most {max}", self.active));
        }
        Ok(())
    }

    /// A ticket leaves one of these states for another.
    fn step(&mut self, number: TicketNumber, from: &[TicketState], to: TicketState) -> Result<&mut Ticket, String> {
        let is_active = |state| matches!(state, TicketState::Called | TicketState::Shopping);
        let ticket = self.ticket(number)?;
        let before = ticket.state;
        if !from.contains(&before) {
            return Err(format!("ticket {number} became {to} when it was {before}"));
        }
        ticket.state = to;
        if is_active(before) && !is_active(to) {
            self.active = self.active.checked_sub(1).ok_or("nobody was inside")?;
        }
        self.ticket(number)
    }

    fn event(&mut self, record: &EventRecord) -> Result<(), String> {
        let at = record.at;
        match &record.event {
            Event::PrequeueStarted => self.state = QueueState::Prequeue,
            Event::DrawPublished(bundle) => self.draw = Some((bundle.entrants, bundle.seed)),
            Event::QueueOpened => {
                self.state = QueueState::Open;
                for ticket in self.tickets.iter_mut().filter(|ticket| ticket.state == TicketState::Prequeue) {
                    ticket.state = TicketState::Waiting;
                }
            }
            Event::QueuePaused => self.state = QueueState::Paused,
            Event::QueueResumed => self.state = QueueState::Open,
            Event::QueueClosed => self.state = QueueState::Closed,
            Event::QueueJoined { ticket, user } => {
                if ticket.0 != self.tickets.len() as u64 + 1 {
                    return Err(format!("ticket {ticket} follows {}", self.tickets.len()));
                }
                if self.tickets.iter().any(|other| other.user == *user) {
                    return Err(format!("{user} has two tickets"));
                }
                let state = match self.state {
                    QueueState::Scheduled | QueueState::Closed => return Err(format!("the line was {}", self.state)),
                    QueueState::Prequeue => TicketState::Prequeue,
                    QueueState::Open | QueueState::Paused => TicketState::Waiting,
                };
                self.tickets.push(Ticket { user: *user, state, until: Timestamp(0) });
            }
            Event::QueueLeft { ticket } => {
                use TicketState::{Called, Prequeue, Shopping, Waiting};
                self.step(*ticket, &[Prequeue, Waiting, Called, Shopping], TicketState::Left)?;
            }
            Event::QueueAdmitted { from, to, claim_by } => self.admit(at, *from, *to, *claim_by)?,
            Event::AdmissionClaimed { ticket, expires_at } => {
                let claimed = self.step(*ticket, &[TicketState::Called], TicketState::Shopping)?;
                let claim_by = std::mem::replace(&mut claimed.until, *expires_at);
                if at >= claim_by {
                    return Err(format!("ticket {ticket} was claimed at {at:?}, after {claim_by:?}"));
                }
            }
            Event::ClaimsMissed { from, to, count } => {
                let missed: Vec<u64> = (1..=self.tickets.len() as u64)
                    .filter(|&number| (*from..=*to).contains(&self.place(number)))
                    .filter(|&number| self.tickets[number as usize - 1].state == TicketState::Called)
                    .collect();
                if missed.len() as u64 != *count {
                    return Err(format!("{count} of the places {from} to {to} were missed, not {missed:?}"));
                }
                for number in missed {
                    let ticket = self.step(TicketNumber(number), &[TicketState::Called], TicketState::Expired)?;
                    if at < ticket.until {
                        return Err(format!("ticket {number} could be claimed until {:?}", ticket.until));
                    }
                }
            }
            Event::AdmissionExpired { ticket } => {
                let over = self.step(*ticket, &[TicketState::Shopping], TicketState::Expired)?;
                if at < over.until {
                    return Err(format!("ticket {ticket} could shop until {:?}", over.until));
                }
            }
            Event::AdmissionDone { ticket } => {
                self.step(*ticket, &[TicketState::Shopping], TicketState::Done)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// See the file's head.
#[derive(Default)]
pub struct Lines {
    lines: BTreeMap<ShowtimeId, Line>,
}

impl Lines {
    fn entry(&mut self, played: &Played) -> Result<(), String> {
        played.due.iter().try_for_each(|record| self.event(record))?;
        played.commands.iter().try_for_each(|told| self.command(told))
    }

    fn event(&mut self, record: &EventRecord) -> Result<(), String> {
        let Some(line) = record.showtime.and_then(|showtime| self.lines.get_mut(&showtime)) else { return Ok(()) };
        line.event(record).map_err(|what| format!("event {}: {what}", record.sequence))
    }

    fn command(&mut self, told: &Told) -> Result<(), String> {
        let Ask::Shard(command) = &told.ask else { return Ok(()) };
        for record in &told.events {
            match (&**command, &record.event) {
                (ShardCommand::CreateShowtime(ask), Event::ShowtimeCreated { .. }) => {
                    self.lines.insert(ask.showtime, Line::new(ask.sale.clone(), record.at));
                }
                (ShardCommand::UpdateSale(ask), Event::SaleUpdated) => {
                    if let (Some(line), Ok(Outcome::SaleUpdated { sale })) =
                        (self.lines.get_mut(&ask.showtime), &told.reply.result)
                    {
                        line.grow(record.at);
                        line.sale = (**sale).clone();
                    }
                }
                (ShardCommand::HoldSeats(ask), Event::SeatsHeld { user, .. }) if *user == ask.user => {
                    self.check_shopper(ask.showtime, ask.user, ask.ticket)?;
                }
                (ShardCommand::ClaimAdmission(ask), Event::AdmissionClaimed { .. }) => {
                    let line = self.lines.get_mut(&ask.showtime).ok_or("an unknown showtime")?;
                    let owner = line.ticket(ask.ticket)?.user;
                    if owner != ask.user {
                        return Err(format!("{} claimed the ticket of {owner}", ask.user));
                    }
                }
                _ => {}
            }
            self.event(record)?;
        }
        Ok(())
    }

    fn check_shopper(&mut self, id: ShowtimeId, user: UserId, ticket: Option<TicketNumber>) -> Result<(), String> {
        let line = self.lines.get_mut(&id).ok_or("an unknown showtime")?;
        if matches!(line.sale.method, Method::Passthrough) {
            return Ok(());
        }
        let number = ticket.ok_or_else(|| format!("{user} holds seats without a ticket"))?;
        let ticket = line.ticket(number)?;
        if ticket.user != user || ticket.state != TicketState::Shopping {
            return Err(format!("{user} holds seats with ticket {number} of {}, {}", ticket.user, ticket.state));
        }
        Ok(())
    }
}

impl Checker for Lines {
    fn name(&self) -> &'static str {
        "line"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        look.played.iter().try_for_each(|played| self.entry(played))
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for (&showtime, line) in &self.lines {
            for ((node, _), replica) in last.replicas.iter().filter(|((_, group), _)| *group == showtime.group()) {
                let said = |what: String| format!("{showtime} on node {node}: {what}");
                let ShardAnswer::Showtime(Some(view)) = replica.ask(&ShardQuery::Showtime(showtime))? else {
                    return Err(said("it is not known".to_owned()));
                };
                let (joined, there) = (line.tickets.len() as u64, (view.state, view.cursor, view.active, view.joined));
                if there != (line.state, line.cursor, line.active, joined) {
                    return Err(said(format!(
                        "its line is {there:?}, not {:?}",
                        (line.state, line.cursor, line.active, joined)
                    )));
                }
                for (ticket, number) in line.tickets.iter().zip(1..) {
                    let query = ShardQuery::Ticket { showtime, number: TicketNumber(number) };
                    let ShardAnswer::Ticket(Some(view)) = replica.ask(&query)? else {
                        return Err(said(format!("ticket {number} is not known")));
                    };
                    let place = view.place.unwrap_or_else(|| line.place(number));
                    if (view.user, view.state, place) != (ticket.user, ticket.state, line.place(number)) {
                        return Err(said(format!("ticket {number} is {view:?}, but {} by the log", ticket.state)));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Puppet, Stage, joined};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::{Admission, ClaimAdmission, JoinQueue, Millis};

    /// Ten join a line in which two are called at once and one a second, three at most inside; the first claims.
    fn queue() -> (Stage, Look) {
        let admission =
            Admission { rate_per_minute: 60, active_max: 3, claim_ttl: Millis(5_000), session_ttl: Millis(9_000) };
        let mut stage = Stage::new(Sale { admission, ..Sale::default() });
        let showtime = stage.showtime();
        let mut looks = vec![stage.open()];
        for user in (1..=10).map(UserId) {
            looks.push(stage.run(ShardCommand::JoinQueue(JoinQueue { showtime, user })));
        }
        let claim = ClaimAdmission { showtime, user: UserId(1), ticket: TicketNumber(1) };
        looks.push(stage.run(ShardCommand::ClaimAdmission(claim)));
        looks.extend((1..20).map(|second| stage.tick(second * 1_000)));
        let look = joined(looks);
        (stage, look)
    }

    fn check(change: impl FnOnce(&mut Vec<&mut EventRecord>)) -> Result<(), String> {
        let (_, mut look) = queue();
        let events = look.played.iter_mut().flat_map(|played| {
            let due = played.due.iter_mut();
            due.chain(played.commands.iter_mut().flat_map(|told| &mut told.events))
        });
        change(&mut events.filter(|record| record.event.kind().starts_with("queue.")).collect());
        Lines::default().observe(&look)
    }

    fn find<'a, 'b>(events: &'a mut [&'b mut EventRecord], kind: &str, nth: usize) -> &'a mut &'b mut EventRecord {
        events.iter_mut().filter(|record| record.event.kind() == kind).nth(nth).expect("it is part of the line")
    }

    #[test]
    fn a_line_that_goes_wrong_is_noticed() {
        check(|_| {}).expect("as it was");
        check(|events| {
            let Event::QueueAdmitted { from, to, .. } = &mut find(events, "queue.admitted", 1).event else { return };
            (*from, *to) = (*from + 1, *to + 1);
        })
        .expect_err("somebody was passed over");
        check(|events| {
            let Event::QueueAdmitted { to, .. } = &mut find(events, "queue.admitted", 1).event else { return };
            *to += 1;
        })
        .expect_err("more than rate and room");
        check(|events| find(events, "queue.admitted", 1).at = Timestamp(1)).expect_err("too early for the rate");
        check(|events| find(events, "queue.unclaimed", 0).at.0 -= 1_000).expect_err("too early for the claim");
        check(|events| find(events, "queue.expired", 0).at.0 -= 1_000).expect_err("too early for the session");
        check(|events| find(events, "queue.claimed", 0).at.0 += 6_000).expect_err("claimed too late");
        check(|events| {
            let Event::QueueJoined { ticket, .. } = &mut find(events, "queue.joined", 3).event else { return };
            ticket.0 += 1;
        })
        .expect_err("a number was left out");
        check(|events| find(events, "queue.opened", 0).event = Event::QueueClosed).expect_err("it was closed");
    }

    #[test]
    fn seats_for_those_who_do_not_shop_are_noticed() {
        let (stage, look) = queue();
        let mut checker = Lines::default();
        checker.observe(&look).expect("as it was");
        let showtime = stage.showtime();
        checker.check_shopper(showtime, UserId(9), None).expect_err("no ticket");
        checker.check_shopper(showtime, UserId(9), Some(TicketNumber(9))).expect_err("it waits");
        checker.check_shopper(showtime, UserId(9), Some(TicketNumber(1))).expect_err("another's");
    }

    #[test]
    fn a_line_of_a_replica_that_is_not_that_of_the_log_is_noticed() {
        let (mut stage, look) = queue();
        let mut checker = Lines::default();
        checker.observe(&look).expect("as it was");
        let mut last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect("as it was");
        let showtime = stage.showtime();
        stage.run(ShardCommand::JoinQueue(JoinQueue { showtime, user: UserId(99) }));
        checker.finish(&last).expect_err("one more has joined there");
        last.replicas.insert((1, stage.group()), Rc::new(Puppet::default()));
        checker.finish(&last).expect_err("it knows nothing");
    }
}

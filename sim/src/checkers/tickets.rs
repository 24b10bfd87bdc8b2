//! The line as people see it: a ticket is one person's, its number and its place never change and are nobody else's, and the
//! line never goes back: what takes account of more has called at least as many.
//!
//! A gateway may be behind another one. So a look is compared with looks of the same gateway in the same life, which must not
//! go back, and with all others by the last event that they take account of.

use super::{Checker, Look};
use crate::web::visits::{Deed, Event, LineSeen, Said, TicketSeen, Visit};
use std::collections::BTreeMap;
use vestibule_client::TicketState;
use vestibule_engine::{ShowtimeId, TicketId, UserId};

/// Who looked, through which gateway in which of its lives, at which showtime.
type Looker = (String, (usize, u64), ShowtimeId);

/// See the file's head.
#[derive(Default)]
pub struct Tickets {
    owners: BTreeMap<TicketId, UserId>,
    tickets: BTreeMap<(ShowtimeId, UserId), TicketId>,
    places: BTreeMap<TicketId, u64>,
    taken: BTreeMap<(ShowtimeId, u64), TicketId>,
    /// Looks at each line, by sequence.
    lines: BTreeMap<ShowtimeId, BTreeMap<u64, LineSeen>>,
    last: BTreeMap<Looker, u64>,
}

impl Tickets {
    fn ticket(&mut self, seen: &TicketSeen, user: UserId) -> Result<(), String> {
        let id = seen.ticket;
        if seen.number != id.number.0 || seen.number == 0 {
            return Err(format!("{id} has the number {}", seen.number));
        }
        let (owner, own) =
            (*self.owners.entry(id).or_insert(user), *self.tickets.entry((id.showtime, user)).or_insert(id));
        if owner != user || own != id {
            return Err(format!("{id} is {user}'s, who had {own}, and was {owner}'s"));
        }
        let Some(place) = seen.place else {
            let has_turn = matches!(seen.state, TicketState::Called | TicketState::Shopping | TicketState::Done);
            return if has_turn { Err(format!("{id} is {:?} without a place", seen.state)) } else { Ok(()) };
        };
        let known = *self.places.entry(id).or_insert(place);
        if known != place {
            return Err(format!("{id} was at place {known} and is at {place}"));
        }
        let other = *self.taken.entry((id.showtime, place)).or_insert(id);
        if other != id {
            return Err(format!("{id} and {other} are both at place {place}"));
        }
        Ok(())
    }

    fn line(&mut self, visit: &Visit, through: Option<(usize, u64)>, seen: &LineSeen) -> Result<(), String> {
        let looks = self.lines.entry(seen.showtime).or_default();
        // Who takes part in a draw that waits for public randomness is fixed without an event.
        let is_before = |one: &LineSeen, other: &LineSeen| {
            one.cursor <= other.cursor
                && one.joined <= other.joined
                && (one.entrants <= other.entrants || one.sequence == other.sequence)
        };
        let before = looks.range(..=seen.sequence).next_back().map(|(_, look)| look);
        let after = looks.range(seen.sequence..).next().map(|(_, look)| look);
        if let Some(before) = before.filter(|before| !is_before(before, seen)) {
            return Err(format!("the line went back from {before:?} to {seen:?}"));
        }
        if let Some(after) = after.filter(|after| !is_before(seen, after)) {
            return Err(format!("the line went back from {seen:?} to {after:?}"));
        }
        if seen.cursor > seen.joined || seen.entrants > seen.joined {
            return Err(format!("more were called than are there: {seen:?}"));
        }
        looks.insert(seen.sequence, seen.clone());
        if let Some(through) = through {
            let last = self.last.entry((visit.by.clone(), through, seen.showtime)).or_default();
            if seen.sequence < *last {
                return Err(format!("gateway {} went back from {last} to {}", through.0, seen.sequence));
            }
            *last = seen.sequence;
        }
        Ok(())
    }
}

impl Checker for Tickets {
    fn name(&self) -> &'static str {
        "tickets"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for event in &look.visits {
            let Event::Ended { visit, said, through, .. } = event else { continue };
            let checked = match (&visit.deed, said, visit.user) {
                (Deed::SeeTicket(asked), Said::Ticket(seen), _) if *asked != seen.ticket => {
                    Err(format!("{asked} was asked for, and {} came", seen.ticket))
                }
                (Deed::Join(_) | Deed::SeeTicket(_), Said::Ticket(seen), Some(user)) => self.ticket(seen, user),
                (Deed::SeeLine(showtime), Said::Line(seen), _) if *showtime == seen.showtime => {
                    self.line(visit, *through, seen)
                }
                (Deed::SeeLine(showtime), Said::Line(seen), _) => Err(format!("{showtime} was asked for: {seen:?}")),
                _ => Ok(()),
            };
            checked.map_err(|what| format!("visit @{}: {what}", visit.number))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{blank_visit, visit_of, visited};
    use super::*;
    use vestibule_engine::{GroupId, TicketNumber};

    const SHOWTIME: ShowtimeId = ShowtimeId::new(GroupId(1), 1);

    fn seen(user: u128, number: u64, place: Option<u64>) -> (Option<UserId>, Deed, Said) {
        let ticket = TicketId { showtime: SHOWTIME, number: TicketNumber(number) };
        let said = Said::Ticket(TicketSeen { ticket, number, state: TicketState::Waiting, place });
        (Some(UserId(user)), Deed::SeeTicket(ticket), said)
    }

    #[test]
    fn a_ticket_that_changes_is_noticed() {
        let check = |visits: &[_]| Tickets::default().observe(&visited(visits));
        check(&[seen(1, 1, None), seen(1, 1, Some(4)), seen(1, 1, None), seen(2, 2, Some(1))]).expect("as it may be");
        check(&[seen(1, 1, Some(4)), seen(1, 1, Some(3))]).expect_err("the place changed");
        check(&[seen(1, 1, None), seen(1, 2, None)]).expect_err("a second ticket");
        check(&[seen(1, 1, None), seen(2, 1, None)]).expect_err("another's ticket");
        check(&[seen(1, 1, Some(4)), seen(2, 2, Some(4))]).expect_err("another's place");
        let (user, deed, said) = seen(1, 1, None);
        let Said::Ticket(mut other) = said else { unreachable!("it is a ticket") };
        other.number = 2;
        check(&[(user, deed.clone(), Said::Ticket(other.clone()))]).expect_err("another number");
        (other.number, other.state) = (1, TicketState::Called);
        check(&[(user, deed, Said::Ticket(other))]).expect_err("called, but to no place");
    }

    #[test]
    fn a_line_that_goes_back_is_noticed() {
        let check = |looks: &[(u64, u64, u64)]| {
            let mut look = Look::default();
            for (number, &(life, sequence, cursor)) in looks.iter().enumerate() {
                let line = LineSeen { showtime: SHOWTIME, sequence, cursor, joined: 9, entrants: 0 };
                let (through, deed) = (Some((1, life)), Deed::SeeLine(SHOWTIME));
                look.visits.extend(visit_of(Visit { number, through, deed, ..blank_visit() }, Said::Line(line)));
            }
            Tickets::default().observe(&look)
        };
        check(&[(1, 10, 2), (1, 10, 2), (1, 12, 3), (2, 11, 2)]).expect("as it may be");
        check(&[(1, 10, 2), (1, 9, 2)]).expect_err("the same gateway went back");
        check(&[(1, 10, 2), (2, 11, 1)]).expect_err("the cursor went back");
        check(&[(1, 10, 2), (2, 9, 3)]).expect_err("the cursor went back");
        check(&[(1, 10, 2), (2, 10, 3)]).expect_err("two cursors at once");
        check(&[(1, 10, 10)]).expect_err("more than there are");
    }
}

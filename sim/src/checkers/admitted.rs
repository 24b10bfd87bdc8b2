//! Where there is a line, seats are held only by those who were let in before, and not after their time was over: as far as
//! buyers over HTTP know.

use super::{Checker, Look};
use crate::history::{Ask, Happening};
use crate::web::visits::{Deed, Event, Said};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vestibule_engine::{Method, Millis, ShardCommand, ShowtimeId, Timestamp, UserId};

/// See the file's head.
#[derive(Default)]
pub struct Admitted {
    lines: BTreeSet<ShowtimeId>,
    /// The longest life of holds that a showtime ever had.
    hold_ttl: BTreeMap<ShowtimeId, Millis>,
    /// When buyers heard that they are let in, and until when.
    admissions: BTreeMap<(ShowtimeId, UserId), (Duration, Timestamp)>,
}

impl Checker for Admitted {
    fn name(&self) -> &'static str {
        "admitted"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            let Happening::Called(call) = happening else { continue };
            let Ask::Shard(command) = &call.ask else { continue };
            let (showtime, ttl) = match &**command {
                ShardCommand::CreateShowtime(ask) => {
                    if ask.sale.method != Method::Passthrough {
                        self.lines.insert(ask.showtime);
                    }
                    (ask.showtime, Some(ask.sale.hold_ttl))
                }
                ShardCommand::UpdateSale(ask) => (ask.showtime, ask.patch.hold_ttl),
                _ => continue,
            };
            let longest = self.hold_ttl.entry(showtime).or_default();
            *longest = ttl.unwrap_or_default().max(*longest);
        }
        for event in &look.visits {
            let Event::Ended { visit, said, at } = event else { continue };
            let Some(user) = visit.user else { continue };
            match (&visit.deed, said) {
                (Deed::Claim(ticket), Said::Admitted(until)) => {
                    self.admissions.entry((ticket.showtime, user)).or_insert((*at, *until));
                }
                (Deed::Hold(showtime, _), Said::Hold(hold)) if self.lines.contains(showtime) => {
                    let said = |what: String| format!("visit @{}: {user} holds {}: {what}", visit.number, hold.hold);
                    let Some((heard, until)) = self.admissions.get(&(*showtime, user)) else {
                        return Err(said("nobody has let them in".to_owned()));
                    };
                    let ttl = self.hold_ttl.get(showtime).copied().unwrap_or_default();
                    let made_at = Timestamp(hold.expires_at.0.saturating_sub(ttl.0));
                    if *heard > visit.at || made_at >= *until {
                        return Err(said(format!("they were let in at {heard:?} until {until:?}, not at {made_at:?}")));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::visited;
    use super::*;
    use crate::web::visits::HoldSeen;
    use vestibule_engine::{GroupId, HoldId, SeatId, TicketId, TicketNumber};

    const SHOWTIME: ShowtimeId = ShowtimeId::new(GroupId(1), 1);
    const TTL: u64 = 5_000;

    fn check(is_line: bool, visits: &[(Option<UserId>, Deed, Said)]) -> Result<(), String> {
        let mut checker = Admitted::default();
        checker.hold_ttl.insert(SHOWTIME, Millis(TTL));
        if is_line {
            checker.lines.insert(SHOWTIME);
        }
        checker.observe(&visited(visits))
    }

    #[test]
    fn a_hold_of_one_who_was_not_let_in_is_noticed() {
        let claim = |user: u128| {
            let ticket = TicketId { showtime: SHOWTIME, number: TicketNumber(1) };
            (Some(UserId(user)), Deed::Claim(ticket), Said::Admitted(Timestamp(1_000)))
        };
        let hold = |user: u128, made_at: u64| {
            let (hold, expires_at) = (HoldId::new(GroupId(1), 1), Timestamp(made_at + TTL));
            let seen = HoldSeen { hold, showtime: SHOWTIME, seats: vec![SeatId(1)], total: 1, expires_at };
            (Some(UserId(user)), Deed::Hold(SHOWTIME, String::new()), Said::Hold(seen))
        };
        check(false, &[hold(1, 0)]).expect("there is no line");
        check(true, &[claim(1), hold(1, 999)]).expect("they were let in");
        check(true, &[hold(1, 999), claim(1)]).expect_err("not yet");
        check(true, &[claim(2), hold(1, 999)]).expect_err("somebody else was");
        check(true, &[claim(1), hold(1, 1_000)]).expect_err("their time was over");
    }
}

//! What follows a call: the claim, the session, and both when their time is over.

use super::ticket::Flag;
use super::{Line, Standing};
use crate::{TicketNumber, Timestamp};

impl Line {
    /// Takes up the admission of a called ticket.
    pub(crate) fn claim(&mut self, number: TicketNumber, segment: u64, until: Timestamp) {
        let segment = self.segments.get_mut(segment).expect("a called ticket has a live segment");
        segment.called -= 1;
        self.head.report.claimed += 1;
        self.head_dirty = true;
        self.ticket_mut(number).set(Flag::Shopping, until.0);
    }

    fn end_session(&mut self, number: TicketNumber, flag: Flag) {
        assert!(matches!(self.standing(number), Standing::Shopping { .. }), "ended a session that was none");
        self.head.active -= 1;
        self.head_dirty = true;
        self.ticket_mut(number).set(flag, 0);
    }

    /// Notes that a purchase was made in a session, if the session goes on.
    pub(crate) fn mark_bought(&mut self, number: TicketNumber) {
        if let Standing::Shopping { until } = self.standing(number) {
            self.ticket_mut(number).set(Flag::ShoppingBought, until.0);
        }
    }

    /// Whether a purchase was made in a session that goes on.
    pub(crate) fn has_bought(&self, number: TicketNumber) -> bool {
        self.ticket(number).is_some_and(|ticket| ticket.flag() == Flag::ShoppingBought)
    }

    /// Ends a session in which something was bought.
    pub(crate) fn finish(&mut self, number: TicketNumber) {
        self.end_session(number, Flag::Done);
        self.head.report.done += 1;
    }

    /// Ends a session whose time is over and in which nothing was bought.
    pub(crate) fn expire_session(&mut self, number: TicketNumber) {
        self.end_session(number, Flag::Expired);
        self.head.report.expired += 1;
    }

    /// The time to claim in a segment is over. Gives how many missed it.
    pub(crate) fn end_segment(&mut self, number: u64) -> u64 {
        let segment = self.segments.get_mut(number).expect("a live segment has a deadline");
        let missed = std::mem::take(&mut segment.called);
        segment.is_over = true;
        self.head.active -= missed;
        self.head.report.missed += missed;
        while let Some(segment) = self.segments.get(self.head.first_segment)
            && segment.is_over
        {
            self.head.settled = segment.to;
            self.segments.remove(self.head.first_segment);
            self.head.first_segment += 1;
        }
        self.head_dirty = true;
        missed
    }
}

//! One showtime, as plainly as it can be said.

use super::house::House;
use crate::shard::line::admission::LOOK_UPS_PER_STEP;
use crate::*;
use std::collections::BTreeSet;

/// Where a ticket stands, spelled out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum At {
    InLine,
    Called(Timestamp),
    Shopping(Timestamp),
    Done,
    Left,
    /// Called, and not claimed in time.
    Missed,
    /// Its session ran out.
    Expired,
}

#[derive(Debug, Clone)]
pub(crate) struct ModelTicket {
    pub(crate) user: UserId,
    pub(crate) at: At,
    /// Whether something held with it was bought.
    pub(super) has_bought: bool,
}

/// A step of admission whose time to claim is not over.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) claim_by: Timestamp,
}

#[derive(Debug, Clone)]
pub(super) struct ModelBlock {
    pub(super) seats: Vec<SeatId>,
    pub(super) channel: Option<String>,
    pub(super) reason: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Show {
    pub(super) created: CreateShowtime,
    pub(crate) house: House,
    pub(crate) sale: Sale,
    pub(crate) state: QueueState,
    pub(super) message: Option<String>,
    pub(crate) beacon: Option<Vec<u8>>,
    /// The time to open has come, and the randomness has not: who joins now is not drawn.
    pub(crate) awaits_beacon: bool,
    pub(super) bundle: Option<DrawBundle>,
    pub(super) entrants: u64,
    /// Ticket numbers by place, once places are known.
    pub(super) line: Vec<u64>,
    pub(crate) tickets: Vec<ModelTicket>,
    pub(super) cursor: u64,
    /// Entrants who gave up before the draw, and of whom no step has found out where they would stand.
    pub(super) unplaced: BTreeSet<u64>,
    pub(super) calls: Vec<Call>,
    pub(super) called: u64,
    pub(super) claimed: u64,
    pub(super) credit: u128,
    pub(super) credit_at: Timestamp,
    pub(super) stepped_at: Option<Timestamp>,
    /// When it was last told to some who waited for seats that the sale is closed.
    pub(super) ended_at: Timestamp,
    /// When the waitlist is offered more, while there is more.
    pub(super) offers_due: Option<Timestamp>,
    /// Since when calls are counted for waiting times, and every step since: its time, and the cursor before it.
    pub(super) counted_since: Option<Timestamp>,
    pub(super) steps: Vec<(Timestamp, u64)>,
    pub(super) blocks: Vec<ModelBlock>,
}

/// What one call costs, in the units in which credit grows by the rate every millisecond.
pub(super) const CALL: u128 = 60_000;

impl Show {
    pub(super) fn new(created: &CreateShowtime) -> Self {
        Self {
            created: created.clone(),
            house: House::new(&created.seat_map),
            sale: created.sale.clone(),
            state: QueueState::Scheduled,
            message: None,
            beacon: None,
            awaits_beacon: false,
            bundle: None,
            entrants: 0,
            line: Vec::new(),
            tickets: Vec::new(),
            cursor: 0,
            unplaced: BTreeSet::new(),
            calls: Vec::new(),
            called: 0,
            claimed: 0,
            credit: 0,
            credit_at: Timestamp(0),
            stepped_at: None,
            ended_at: Timestamp(0),
            offers_due: None,
            counted_since: None,
            steps: Vec::new(),
            blocks: Vec::new(),
        }
    }

    pub(super) fn is_ahead(&self) -> bool {
        matches!(self.state, QueueState::Scheduled | QueueState::Prequeue)
    }

    pub(super) fn has_line(&self) -> bool {
        matches!(self.sale.method, Method::Fifo | Method::Draw)
    }

    pub(super) fn lacks_beacon(&self) -> bool {
        self.sale.method == Method::Draw && self.sale.beacon.is_some() && self.beacon.is_none()
    }

    pub(super) fn wrong_state(&self) -> Refusal {
        Refusal::WrongQueueState { state: self.state, opens_at: self.sale.opens_at.filter(|_| self.is_ahead()) }
    }

    /// What one seat of each category costs.
    pub(super) fn price(&self, places: &Places) -> Money {
        let map = &self.created.seat_map;
        let seats = places.seats.iter().map(|seat| (self.house.spots[seat.0 as usize].category, 1));
        let areas = places.areas.iter().map(|&(area, count)| (map.areas[usize::from(area.0)].category.0, count));
        let sum = seats
            .chain(areas)
            .map(|(category, count)| self.created.prices[usize::from(category)].amount * i64::from(count));
        Money { amount: sum.sum(), currency: self.created.prices[0].currency }
    }

    pub(super) fn block_of(&self, seat: SeatId) -> Option<&ModelBlock> {
        self.blocks.iter().find(|block| block.seats.contains(&seat))
    }

    /// No block lies over these seats any more.
    pub(super) fn lift(&mut self, seats: &[SeatId]) {
        for block in &mut self.blocks {
            block.seats.retain(|seat| !seats.contains(seat));
        }
    }

    pub(super) fn category_named(&self, name: &str) -> Option<u16> {
        self.created.seat_map.categories.iter().position(|category| category.name == name).map(|at| at as u16)
    }

    pub(super) fn section_named(&self, name: &str) -> Option<usize> {
        self.created.seat_map.sections.iter().position(|section| section.name == name)
    }

    /// The category and the section that are wished for.
    pub(super) fn best_named(&self, best: &BestSeats) -> Result<(Option<u16>, Option<usize>), Refusal> {
        let missing = |field: &str| super::bounds(field, "there is none of this name");
        let (mut category, mut section) = (None, None);
        if let Some(name) = &best.category {
            category = Some(self.category_named(name).ok_or_else(|| missing("best.category"))?);
        }
        if let Some(name) = &best.section {
            section = Some(self.section_named(name).ok_or_else(|| missing("best.section"))?);
        }
        Ok((category, section))
    }

    fn burst(&self) -> u128 {
        u128::from(self.sale.admission.rate_per_minute / 60).max(1) * CALL
    }

    /// Counts the credit up to now.
    pub(super) fn settle_credit(&mut self, now: Timestamp) {
        let grown = u128::from((now - self.credit_at).0) * u128::from(self.sale.admission.rate_per_minute);
        self.credit += grown;
        self.credit_at = now;
        self.clamp_credit();
    }

    /// Less than one call above a burst.
    pub(super) fn clamp_credit(&mut self) {
        self.credit = self.credit.min(self.burst() + CALL - 1);
    }

    pub(super) fn full_burst(&mut self, now: Timestamp) {
        (self.credit, self.credit_at) = (self.burst(), now);
    }

    pub(super) fn active(&self) -> u64 {
        self.tickets.iter().filter(|ticket| matches!(ticket.at, At::Called(_) | At::Shopping(_))).count() as u64
    }

    pub(super) fn count_at(&self, at: At) -> u64 {
        self.tickets.iter().filter(|ticket| ticket.at == at).count() as u64
    }

    /// Places that wait, in order.
    pub(super) fn waiting(&self) -> Vec<u64> {
        let places =
            self.line.iter().zip(1..).filter(|(number, _)| self.tickets[**number as usize - 1].at == At::InLine);
        places.map(|(_, place)| place).collect()
    }

    /// The places that the next step calls, at most so many: fewer where many gave up before the draw, because a step
    /// looks only so often who stands where.
    pub(super) fn next_called(&mut self, count: usize) -> Vec<u64> {
        let mut called = self.waiting();
        let mut left = LOOK_UPS_PER_STEP;
        if self.unplaced.len() > left {
            called.clear();
            for place in self.cursor + 1.. {
                if called.len() == count || left == LOOK_UPS_PER_STEP / 2 {
                    break;
                }
                let number = self.line[place as usize - 1];
                let is_waiting = self.tickets[number as usize - 1].at == At::InLine;
                let is_news = self.unplaced.remove(&number);
                if is_waiting {
                    called.push(place);
                }
                if is_waiting || is_news {
                    left -= 1;
                }
            }
        }
        for _ in 0..left {
            self.unplaced.pop_first();
        }
        called.truncate(count);
        called
    }

    pub(super) fn at_place(&mut self, place: u64) -> &mut ModelTicket {
        let number = self.line[place as usize - 1];
        &mut self.tickets[number as usize - 1]
    }

    /// When the next places can be called.
    pub(super) fn step_at(&self) -> Option<Timestamp> {
        let is_full = self.active() >= u64::from(self.sale.admission.active_max);
        if !self.has_line() || self.state != QueueState::Open || is_full || self.waiting().is_empty() {
            return None;
        }
        // The first millisecond at which the credit is there.
        let missing = CALL.saturating_sub(self.credit).div_ceil(u128::from(self.sale.admission.rate_per_minute));
        let at = self.credit_at + Millis(missing as u64);
        Some(self.stepped_at.map_or(at, |stepped| at.max(stepped + Millis(20))))
    }

    /// The place of a ticket, once places are known.
    pub(super) fn place_of(&self, number: u64) -> Option<u64> {
        // Closed without ever having opened, the line is in join order; and nobody has drawn who was to be drawn.
        let place = self.line.iter().position(|other| *other == number).map_or(number, |index| index as u64 + 1);
        let is_undrawn = self.sale.method == Method::Draw && self.bundle.is_none();
        (!self.is_ahead() && !is_undrawn).then_some(place)
    }

    pub(super) fn ticket_of(&self, ticket: TicketNumber, user: UserId) -> Result<usize, Refusal> {
        let index = (ticket.0 as usize).wrapping_sub(1);
        match self.tickets.get(index) {
            Some(found) if found.user == user => Ok(index),
            _ => Err(Refusal::NoSuchTicket),
        }
    }

    /// Calls are counted for waiting times from now on.
    pub(super) fn count_anew(&mut self, now: Timestamp) {
        self.counted_since = Some(now);
        self.steps.clear();
    }

    /// Milliseconds that count, and the places called in them. Marks are set where counting begins and before each step
    /// that comes 5 s after a mark or later; the thirteenth mark from the end is where the time begins that counts.
    fn counted(&self, now: Timestamp) -> (u64, u64) {
        let Some(since) = self.counted_since else { return (0, 0) };
        let first = self.steps.first().map_or(self.cursor, |step| step.1);
        let mut marks = vec![(since, first)];
        for &step in &self.steps {
            if step.0.0 >= marks.last().unwrap().0.0 + 5_000 {
                marks.push(step);
            }
        }
        let (at, cursor) = marks[marks.len().saturating_sub(13)];
        (now.0 - at.0, self.cursor - cursor)
    }

    /// Places a minute, never more than the rate.
    pub(super) fn rate_achieved(&self, now: Timestamp) -> u32 {
        let (millis, called) = self.counted(now);
        (called * 60_000 / millis.max(1)).min(u64::from(self.sale.admission.rate_per_minute)) as u32
    }

    /// The first whole second by which so many places are called, at the pace that was counted and within the rate. Where
    /// nobody was called yet, somebody is called this very moment.
    pub(super) fn eta(&self, ahead: u64, now: Timestamp) -> u64 {
        let (millis, called) = match self.counted(now) {
            (millis, 0) => (millis, 1),
            counted => counted,
        };
        let rate = u64::from(self.sale.admission.rate_per_minute);
        let is_enough = |secs: u64| secs * 1_000 * called >= ahead * millis && secs * rate >= ahead * 60;
        let guess = (ahead * millis / (called * 1_000)).max(ahead * 60 / rate);
        (guess..).find(|&secs| is_enough(secs)).unwrap()
    }
}

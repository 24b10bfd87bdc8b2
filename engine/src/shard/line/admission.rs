//! Admission: an exact leaky bucket, the room inside, and one segment a step.

use super::ticket::Flag;
use super::{Line, Segment};
use crate::planted::{self, Bug};
use crate::{Millis, QueueState, Sale, TicketNumber, Timestamp};

/// The least time between two steps of admission: keeps a line that trickles from being all ticks.
const ADMISSION_STEP_MIN: Millis = Millis(20);

/// How often one step of admission computes which ticket stands where, to find out who of those that gave up before the
/// draw is not there. Lower under test, so that a test reaches it.
pub(crate) const LOOK_UPS_PER_STEP: usize = if cfg!(test) { 4 } else { 512 };

/// What one call costs, in the units in which credit grows by the rate per minute every millisecond.
const CALL_COST: u64 = 60_000;

/// The least time between two samples of the cursor.
const SAMPLE_EVERY: Millis = Millis(5_000);
/// Samples kept.
const SAMPLES_MAX: usize = 13;

/// The most credit there is: less than one call above a burst, so that a step made late loses nothing of the rate.
pub(super) fn credit_max(sale: &Sale) -> u64 {
    burst(sale) + CALL_COST - 1
}

/// Credit for one second's worth of calls, at least one call.
pub(super) fn burst(sale: &Sale) -> u64 {
    u64::from(sale.admission.rate_per_minute / 60).max(1) * CALL_COST
}

impl Line {
    /// Counts the credit up to `now`, before the rate changes.
    pub(crate) fn settle_credit(&mut self, now: Timestamp, sale: &Sale) {
        let grown = u128::from((now - self.head.credit_at).0) * u128::from(sale.admission.rate_per_minute);
        let grown = u64::try_from(grown).unwrap_or(u64::MAX);
        self.head.credit = self.head.credit.saturating_add(grown).min(credit_max(sale));
        self.head.credit_at = self.head.credit_at.max(now);
        self.head_dirty = true;
    }

    /// Keeps the credit within a burst of a rate that was changed.
    pub(crate) fn clamp_credit(&mut self, sale: &Sale) {
        self.head.credit = self.head.credit.min(credit_max(sale));
        self.head_dirty = true;
    }

    /// When the next step of admission can be made, if one can: a function of the state alone.
    pub(crate) fn next_step(&self, sale: &Sale) -> Option<Timestamp> {
        let head = &self.head;
        if head.state != QueueState::Open || self.waiting() == 0 || head.active >= u64::from(sale.admission.active_max)
        {
            return None;
        }
        let missing = CALL_COST.saturating_sub(head.credit);
        let at = head.credit_at + Millis(missing.div_ceil(u64::from(sale.admission.rate_per_minute.max(1))));
        Some(head.stepped_at.map_or(at, |stepped| at.max(stepped + ADMISSION_STEP_MIN)))
    }

    /// Calls the next places, as many as credit and room allow. Gives the number of the segment made.
    pub(crate) fn step(&mut self, now: Timestamp, sale: &Sale) -> Option<u64> {
        if self.next_step(sale).is_none_or(|at| at > now) {
            return None;
        }
        self.settle_credit(now, sale);
        let room = u64::from(sale.admission.active_max) - self.head.active;
        let room = room + u64::from(planted::is(Bug::IgnoreRoom));
        let wanted = (self.head.credit / CALL_COST).min(room).min(self.waiting());
        assert!(wanted > 0, "a step was due and calls nobody");
        let count = self.find_gaps(wanted);
        if count == 0 {
            self.head.stepped_at = Some(now);
            return None;
        }

        // The last place called is that of the last ticket called: gaps before it are passed over.
        let from = self.head.cursor + 1;
        let to = self.gaps.pass(self.head.cursor, count);

        self.head.credit -= if planted::is(Bug::CallTooFast) { count * CALL_COST / 2 } else { count * CALL_COST };
        self.head.stepped_at = Some(now);
        self.sample(now);
        self.head.cursor = to;
        self.head.active += count;
        self.head.report.called += count;
        self.head_dirty = true;
        let number = self.head.next_segment;
        self.head.next_segment += 1;
        let claim_by = now + sale.admission.claim_ttl;
        self.segments.insert(number, Segment { from, to, claim_by, called: count, is_over: false });
        Some(number)
    }

    /// Finds out who is not there among the next `wanted` of those in line. Gives of how many of them it is known.
    ///
    /// The places of those that gave up before the draw are known once they are computed. Where those are few, all of
    /// them are; where they are many, it is looked who stands at the next places instead, so that calling does not wait,
    /// and what remains of the step goes to the others.
    fn find_gaps(&mut self, wanted: u64) -> u64 {
        let (mut left, mut known) = (LOOK_UPS_PER_STEP, wanted);
        if self.unplaced.len() > LOOK_UPS_PER_STEP {
            let mut place = self.head.cursor;
            known = 0;
            while known < wanted && left > LOOK_UPS_PER_STEP / 2 {
                place = self.gaps.next_taken(place);
                left -= 1;
                let number = self.number_at(place);
                if self.unplaced.remove(&number.0) {
                    self.place_gap(number, place);
                } else {
                    known += 1;
                }
            }
        }
        for _ in 0..left {
            let Some(number) = self.unplaced.pop_first().map(TicketNumber) else { break };
            self.place_gap(number, self.place_of(number));
        }
        known
    }

    /// The place of a ticket that was given up before the draw is found.
    fn place_gap(&mut self, number: TicketNumber, place: u64) {
        self.gaps.insert(place);
        self.ticket_mut(number).set(Flag::Left, place);
    }

    /// Notes a step that calls nobody, after the line has closed.
    pub(crate) fn note_step(&mut self, now: Timestamp) {
        self.head.stepped_at = Some(now);
        self.head_dirty = true;
    }

    /// When the step after the last one can be made, whatever it does.
    pub(crate) fn after_last_step(&self) -> Option<Timestamp> {
        self.head.stepped_at.map(|stepped| stepped + ADMISSION_STEP_MIN)
    }

    /// Measures from now on: how fast the line moved before says nothing about how fast it moves from here.
    pub(crate) fn measure_anew(&mut self, now: Timestamp) {
        self.head.samples = vec![(now, self.head.cursor)];
        self.head_dirty = true;
    }

    fn sample(&mut self, now: Timestamp) {
        let samples = &mut self.head.samples;
        if samples.last().is_none_or(|&(at, _)| (now - at).0 >= SAMPLE_EVERY.0) {
            samples.push((now, self.head.cursor));
            if samples.len() > SAMPLES_MAX {
                samples.remove(0);
            }
        }
    }

    /// How long was measured, in ms, and how many places were called in that time.
    fn measured(&self, now: Timestamp) -> Option<(u64, u64)> {
        let &(from, cursor) = self.head.samples.first()?;
        Some(((now - from).0, self.head.cursor.saturating_sub(cursor)))
    }

    /// Places called per minute of late, never more than the rate allows; none while nobody was called.
    pub(crate) fn rate_achieved(&self, now: Timestamp, sale: &Sale) -> u32 {
        let Some((elapsed, called)) = self.measured(now) else { return 0 };
        let rate = u128::from(called) * 60_000 / u128::from(elapsed.max(1));
        u32::try_from(rate).unwrap_or(u32::MAX).min(sale.admission.rate_per_minute)
    }

    /// Seconds until so many places are called, as fast as the line moved of late but no faster than its rate. While
    /// nobody was called since it is measured, the next call is reckoned to come now, so the longer it does not come, the
    /// longer the time told. Nobody knows while the line is not open.
    pub(crate) fn eta_secs(&self, ahead: u64, now: Timestamp, sale: &Sale) -> Option<u64> {
        let (elapsed, called) = self.measured(now)?;
        if self.head.state != QueueState::Open {
            return None;
        }
        let ahead = u128::from(ahead);
        let measured = (ahead * u128::from(elapsed)).div_ceil(u128::from(called.max(1)) * 1_000);
        let at_best = (ahead * 60).div_ceil(u128::from(sale.admission.rate_per_minute.max(1)));
        u64::try_from(measured.max(at_best)).ok()
    }
}

//! `OpenQueue`, `PauseQueue`, `ResumeQueue`, `CloseQueue`, and what the line does by itself: opening and closing on time,
//! calling the next places, ending claims and sessions.

use super::Shard;
use super::deadlines::Due;
use super::line::Standing;
use super::showtime::Showtime;
use crate::group_state::Events;
use crate::{
    CloseQueue, Event, Method, OpenQueue, Outcome, PauseQueue, QueueState, Refusal, ResumeQueue, ShowtimeId,
    TicketNumber, Timestamp,
};

impl Shard {
    pub(super) fn open_queue(&mut self, ask: &OpenQueue, events: &mut Events) -> Result<Outcome, Refusal> {
        let head = &self.showtime(ask.showtime)?.line.head;
        match head.state {
            QueueState::Scheduled | QueueState::Prequeue => {}
            QueueState::Open => return Ok(Outcome::Done),
            QueueState::Paused | QueueState::Closed => return Err(self.wrong_queue_state(ask.showtime)),
        }
        if head.awaits_beacon {
            return Err(Refusal::BeaconMissing);
        }

        self.forget_schedule(ask.showtime, true);
        self.open_or_await(ask.showtime, events);
        Ok(Outcome::Done)
    }

    pub(super) fn pause_queue(&mut self, ask: &PauseQueue, events: &mut Events) -> Result<Outcome, Refusal> {
        match self.showtime(ask.showtime)?.line.head.state {
            QueueState::Open => {}
            QueueState::Paused => return Ok(Outcome::Done),
            _ => return Err(self.wrong_queue_state(ask.showtime)),
        }

        self.showtime_mut(ask.showtime).line.set_state(QueueState::Paused);
        self.schedule_step(ask.showtime);
        events.push(ask.showtime, Event::QueuePaused);
        Ok(Outcome::Done)
    }

    pub(super) fn resume_queue(&mut self, ask: &ResumeQueue, events: &mut Events) -> Result<Outcome, Refusal> {
        match self.showtime(ask.showtime)?.line.head.state {
            QueueState::Paused => {}
            QueueState::Open => return Ok(Outcome::Done),
            _ => return Err(self.wrong_queue_state(ask.showtime)),
        }

        let now = self.state.now;
        let line = &mut self.showtime_mut(ask.showtime).line;
        line.set_state(QueueState::Open);
        // Nobody was called during the pause, and that is not the rate of the line.
        line.measure_anew(now);
        self.schedule_step(ask.showtime);
        events.push(ask.showtime, Event::QueueResumed);
        Ok(Outcome::Done)
    }

    pub(super) fn close_queue(&mut self, ask: &CloseQueue, events: &mut Events) -> Result<Outcome, Refusal> {
        if self.showtime(ask.showtime)?.line.head.state == QueueState::Closed {
            return Ok(Outcome::Done);
        }

        self.close_line(ask.showtime, events);
        Ok(Outcome::Done)
    }

    /// The line is not in a state for this.
    pub(super) fn wrong_queue_state(&self, id: ShowtimeId) -> Refusal {
        match self.showtimes.get(&id) {
            Some(showtime) => {
                let state = showtime.line.head.state;
                let is_ahead = matches!(state, QueueState::Scheduled | QueueState::Prequeue);
                Refusal::WrongQueueState { state, opens_at: showtime.sale().opens_at.filter(|_| is_ahead) }
            }
            None => Refusal::NoSuchShowtime,
        }
    }

    /// Takes times that lie ahead out of the deadlines.
    fn forget_schedule(&mut self, id: ShowtimeId, closing_stays: bool) {
        let showtime = &self.showtimes[&id];
        let (state, sale) = (showtime.line.head.state, showtime.sale());
        let (prequeue_at, opens_at, closes_at) = (sale.prequeue_at, sale.opens_at, sale.closes_at);
        if state == QueueState::Scheduled {
            self.deadlines.replace(prequeue_at, None, Due::Prequeue(id));
        }
        let awaits_beacon = showtime.line.head.awaits_beacon;
        if matches!(state, QueueState::Scheduled | QueueState::Prequeue) && !awaits_beacon {
            self.deadlines.replace(opens_at, None, Due::Opening(id));
        }
        if state != QueueState::Closed && !closing_stays {
            self.deadlines.replace(closes_at, None, Due::Closing(id));
        }
    }

    pub(super) fn open_line(&mut self, id: ShowtimeId, events: &mut Events) {
        let now = self.state.now;
        let showtime = self.showtime_mut(id);
        let (sale, secret, beacon) = (showtime.sale().clone(), *showtime.draw_secret(), showtime.beacon().cloned());
        showtime.line.open(now, &sale, &secret, beacon.as_ref());
        if let Some(bundle) = showtime.draw_bundle() {
            events.push(id, Event::DrawPublished(Box::new(bundle)));
        }
        self.freed.insert(id);
        self.schedule_step(id);
        events.push(id, Event::QueueOpened);
    }

    fn close_line(&mut self, id: ShowtimeId, events: &mut Events) {
        self.forget_schedule(id, false);
        self.showtime_mut(id).line.set_state(QueueState::Closed);
        events.push(id, Event::QueueClosed);
        self.end_waiting(id, events);
        self.schedule_step(id);
    }

    /// Joining begins. The deadline is taken out already.
    pub(super) fn start_prequeue(&mut self, id: ShowtimeId, events: &mut Events) {
        self.showtime_mut(id).line.set_state(QueueState::Prequeue);
        events.push(id, Event::PrequeueStarted);
    }

    /// The line opens. The deadline is taken out already.
    pub(super) fn open_on_time(&mut self, id: ShowtimeId, events: &mut Events) {
        let showtime = &self.showtimes[&id];
        if showtime.line.head.state == QueueState::Scheduled {
            let prequeue_at = showtime.sale().prequeue_at;
            self.deadlines.replace(prequeue_at, None, Due::Prequeue(id));
        }
        self.open_or_await(id, events);
    }

    /// Its time has come: the line opens, or its entrants are fixed and it opens when the randomness is known.
    fn open_or_await(&mut self, id: ShowtimeId, events: &mut Events) {
        let showtime = self.showtime_mut(id);
        if !showtime.lacks_beacon() {
            self.open_line(id, events);
            return;
        }
        showtime.line.await_beacon();
        if showtime.line.head.state == QueueState::Scheduled {
            self.start_prequeue(id, events);
        }
    }

    /// The sale closes. The deadline is taken out already.
    pub(super) fn close_on_time(&mut self, id: ShowtimeId, events: &mut Events) {
        let closes_at = self.showtimes[&id].sale().closes_at;
        self.deadlines.replace(None, closes_at, Due::Closing(id));
        self.close_line(id, events);
    }

    /// When the next step is due, by the state alone: of admission, or once the line is closed of ending its waitlist.
    pub(super) fn wanted_step(showtime: &Showtime) -> Option<Timestamp> {
        if showtime.line.head.state == QueueState::Closed {
            return showtime.line.after_last_step().filter(|_| showtime.waitlist.len() > 0);
        }
        match showtime.sale().method {
            Method::Draw | Method::Fifo => showtime.line.next_step(showtime.sale()),
            Method::Passthrough | Method::Reject => None,
        }
    }

    /// Puts the next step among the deadlines, after anything that may have moved it.
    pub(super) fn schedule_step(&mut self, id: ShowtimeId) {
        let showtime = self.showtimes.get_mut(&id).expect("the caller found the showtime");
        let wanted = Self::wanted_step(showtime);
        let before = std::mem::replace(&mut showtime.step_due, wanted);
        self.deadlines.replace(before, wanted, Due::Admission(id));
    }

    /// Calls the next places, if their time has come.
    pub(super) fn admit_if_due(&mut self, id: ShowtimeId, events: &mut Events) {
        if let Some(at) = self.showtimes[&id].step_due
            && at <= self.state.now
        {
            self.deadlines.remove(at, Due::Admission(id));
            self.admit(id, events);
        }
    }

    /// Calls the next places, or ends the next entries of the waitlist. The deadline is taken out already.
    pub(super) fn admit(&mut self, id: ShowtimeId, events: &mut Events) {
        let now = self.state.now;
        let showtime = self.showtime_mut(id);
        showtime.step_due = None;
        if showtime.line.head.state == QueueState::Closed {
            self.end_waiting(id, events);
            self.schedule_step(id);
            return;
        }
        let sale = showtime.sale().clone();
        if let Some(number) = showtime.line.step(now, &sale) {
            let segment = showtime.line.segment(number).expect("it was made just now");
            let (from, to, claim_by) = (segment.from, segment.to, segment.claim_by);
            self.deadlines.insert(claim_by, Due::Claims(id, number));
            events.push(id, Event::QueueAdmitted { from, to, claim_by });
        }
        self.schedule_step(id);
    }

    /// The time to claim is over for the places of one step. The deadline is taken out already.
    pub(super) fn expire_claims(&mut self, id: ShowtimeId, number: u64, events: &mut Events) {
        let showtime = self.showtime_mut(id);
        let segment = showtime.line.segment(number).expect("a live segment has a deadline");
        let (from, to) = (segment.from, segment.to);
        let count = showtime.line.end_segment(number);
        if count > 0 {
            events.push(id, Event::ClaimsMissed { from, to, count });
        }
        self.schedule_step(id);
    }

    /// The time to shop is over; who has bought in it has done. The deadline is taken out already.
    pub(super) fn expire_session(&mut self, id: ShowtimeId, ticket: TicketNumber, events: &mut Events) {
        let line = &mut self.showtime_mut(id).line;
        let has_bought = line.has_bought(ticket);
        if has_bought {
            line.finish(ticket);
        } else {
            line.expire_session(ticket);
        }
        self.schedule_step(id);
        events.push(id, if has_bought { Event::AdmissionDone { ticket } } else { Event::AdmissionExpired { ticket } });
    }

    /// Ends the admission of a buyer who has bought and has nothing left to pay.
    pub(super) fn finish_admission(&mut self, id: ShowtimeId, ticket: TicketNumber, events: &mut Events) {
        let showtime = self.showtimes.get_mut(&id).expect("the caller found the showtime");
        let Standing::Shopping { until } = showtime.line.standing(ticket) else { return };
        showtime.line.finish(ticket);
        self.deadlines.remove(until, Due::Session(id, ticket));
        self.schedule_step(id);
        events.push(id, Event::AdmissionDone { ticket });
    }
}

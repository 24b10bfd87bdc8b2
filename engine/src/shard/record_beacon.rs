//! `RecordBeacon`: makes the planned public randomness known to the draw.

use super::Shard;
use crate::group_state::Events;
use crate::{Outcome, QueueState, RecordBeacon, Refusal};

/// The longest randomness, in bytes.
const RANDOMNESS_LEN_MAX: usize = 256;

impl Shard {
    pub(super) fn record_beacon(&mut self, ask: &RecordBeacon, events: &mut Events) -> Result<Outcome, Refusal> {
        if !(1..=RANDOMNESS_LEN_MAX).contains(&ask.randomness.len()) {
            let reason = format!("{} bytes are not between 1 and {RANDOMNESS_LEN_MAX}", ask.randomness.len());
            return Err(Refusal::out_of_bounds("randomness", reason));
        }
        let showtime = self.showtime(ask.showtime)?;
        match &showtime.sale().beacon {
            None => return Err(Refusal::out_of_bounds("beacon", "the sale plans none")),
            Some(plan) if plan.round != ask.round => {
                return Err(Refusal::out_of_bounds("round", format!("round {} is planned", plan.round)));
            }
            Some(_) => {}
        }
        if let Some(beacon) = showtime.beacon() {
            return if *beacon == ask.randomness { Ok(Outcome::Done) } else { Err(Refusal::AlreadyExists) };
        }
        // Known while entrants may still join, it would let them be chosen by the order that they lead to.
        let head = &showtime.line.head;
        if head.state != QueueState::Prequeue || !head.awaits_beacon {
            return Err(self.wrong_queue_state(ask.showtime));
        }

        self.showtime_mut(ask.showtime).set_beacon(ask.randomness.clone());
        self.open_line(ask.showtime, events);
        Ok(Outcome::Done)
    }
}

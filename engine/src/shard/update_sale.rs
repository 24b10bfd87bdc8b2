//! `UpdateSale`: changes parts of a sale.

use super::Shard;
use super::deadlines::Due;
use crate::group_state::Events;
use crate::{Event, Method, Outcome, QueueState, Refusal, UpdateSale};

impl Shard {
    pub(super) fn update_sale(&mut self, ask: &UpdateSale, events: &mut Events) -> Result<Outcome, Refusal> {
        ask.patch.validate()?;
        let showtime = self.showtime(ask.showtime)?;
        let before = showtime.sale().clone();
        let sale = ask.patch.apply(&before);
        sale.validate()?;
        let head = &showtime.line.head;
        let is_ahead = matches!(head.state, QueueState::Scheduled | QueueState::Prequeue);
        let has_plan = before.method == Method::Draw && before.beacon.is_some();
        for (field, changes, is_late) in [
            ("method", sale.method != before.method, !is_ahead || head.joined > 0 || head.awaits_beacon),
            (
                "beacon",
                sale.beacon != before.beacon,
                // A line whose time has come waits for this very round: without it nothing would ever open the line.
                !is_ahead || head.joined > 0 || head.awaits_beacon || showtime.beacon().is_some(),
            ),
            ("prequeueAt", sale.prequeue_at != before.prequeue_at, head.state != QueueState::Scheduled),
            // The round of a beacon was planned for after this time: put off, the entrants could be fixed knowing it.
            (
                "opensAt",
                sale.opens_at != before.opens_at,
                !is_ahead || head.awaits_beacon || has_plan && head.joined > 0,
            ),
            ("closesAt", sale.closes_at != before.closes_at, head.state == QueueState::Closed),
        ] {
            if changes && is_late {
                return Err(Refusal::out_of_bounds(field, "it is too late to change it"));
            }
        }

        let id = ask.showtime;
        for (from, to, due) in [
            (before.prequeue_at, sale.prequeue_at, Due::Prequeue(id)),
            (before.opens_at, sale.opens_at, Due::Opening(id)),
            (before.closes_at, sale.closes_at, Due::Closing(id)),
        ] {
            self.deadlines.replace(from, to, due);
        }
        let now = self.state.now;
        if sale != before {
            let showtime = self.showtime_mut(id);
            showtime.line.settle_credit(now, &before);
            showtime.line.clamp_credit(&sale);
            if sale.admission.rate_per_minute != before.admission.rate_per_minute {
                showtime.line.measure_anew(now);
            }
            showtime.set_sale(sale.clone());
            self.schedule_step(id);
            self.freed.insert(id);
            events.push(id, Event::SaleUpdated);
        }
        Ok(Outcome::SaleUpdated { sale: Box::new(sale) })
    }
}

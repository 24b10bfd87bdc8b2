//! Questions and their answers: nothing here changes anything.

use super::Shard;
use super::line::Standing;
use super::showtime::Showtime;
use crate::{
    BuyerView, DrawView, HoldAnswer, HoldId, Method, OrderView, Report, SeatsView, ShardAnswer, ShardQuery,
    ShowtimeView, TicketNumber, TicketView,
};
use std::collections::BTreeMap;

impl Shard {
    pub(super) fn answer(&self, query: &ShardQuery) -> ShardAnswer {
        let of = |id| self.showtimes.get(id);
        match query {
            ShardQuery::Showtime(id) => {
                ShardAnswer::Showtime(of(id).map(|showtime| Box::new(self.showtime_view(showtime))))
            }
            ShardQuery::Seats(id) => ShardAnswer::Seats(of(id).map(|showtime| {
                let states = showtime.seats.states();
                Box::new(SeatsView {
                    sequence: self.state.journal.last_sequence(),
                    states,
                    areas: showtime.areas.clone(),
                })
            })),
            ShardQuery::Ticket { showtime, number } => ShardAnswer::Ticket(
                of(showtime)
                    .filter(|showtime| showtime.line.owner(*number).is_some())
                    .map(|showtime| self.ticket_view(showtime, *number)),
            ),
            ShardQuery::TicketOf { showtime, user } => ShardAnswer::Ticket(
                of(showtime).and_then(|showtime| Some(self.ticket_view(showtime, showtime.line.ticket_of(*user)?))),
            ),
            ShardQuery::TicketAt { showtime, place } => ShardAnswer::Ticket(of(showtime).and_then(|showtime| {
                Some(self.ticket_view(showtime, showtime.line.ticket_at(*place, showtime.sale().method)?))
            })),
            ShardQuery::Hold(id) => ShardAnswer::Hold(self.hold_answer(*id)),
            ShardQuery::Order(id) => ShardAnswer::Order(self.order(*id).ok().cloned().map(Box::new)),
            ShardQuery::Report(id) => ShardAnswer::Report(of(id).map(|showtime| Box::new(self.report(showtime)))),
            ShardQuery::SeatMap(id) => ShardAnswer::SeatMap(of(id).map(|showtime| showtime.seat_map.clone())),
            ShardQuery::Showtimes => ShardAnswer::Showtimes(self.showtimes.keys().copied().collect()),
            ShardQuery::Draw(id) => ShardAnswer::Draw(of(id).map(|showtime| DrawView {
                commitment: showtime.commitment(),
                bundle: showtime.draw_bundle().map(Box::new),
            })),
            ShardQuery::Receipt { showtime, number } => {
                ShardAnswer::Receipt(of(showtime).and_then(|showtime| showtime.line.receipt(*number)).map(Box::new))
            }
            ShardQuery::Waitlist(id) => ShardAnswer::Waitlist(self.waitlist_view(*id)),
            ShardQuery::Buyer { showtime, user } => ShardAnswer::Buyer(of(showtime).map(|showtime| {
                let buyer = showtime.buyers.get(user).cloned().unwrap_or_default();
                BuyerView { taken: buyer.taken, holds: buyer.holds.iter().collect(), orders: buyer.orders.to_vec() }
            })),
        }
    }

    /// A ticket as it is now; it must exist.
    pub(super) fn ticket_view(&self, showtime: &Showtime, number: TicketNumber) -> TicketView {
        let standing = showtime.line.standing(number);
        let place = showtime.line.public_place(number, showtime.sale().method);
        let ahead = place.map(|place| place.saturating_sub(showtime.line.head.cursor));
        let eta = |ahead| showtime.line.eta_secs(ahead, self.state.now, showtime.sale());
        TicketView {
            showtime: showtime.id,
            number,
            user: showtime.line.owner(number).unwrap_or_default(),
            state: standing.state(),
            place,
            ahead,
            eta_secs: ahead.filter(|_| standing == Standing::Waiting).and_then(eta),
            claim_by: if let Standing::Called { claim_by, .. } = standing { Some(claim_by) } else { None },
            session_expires_at: if let Standing::Shopping { until } = standing { Some(until) } else { None },
        }
    }

    fn hold_answer(&self, id: HoldId) -> HoldAnswer {
        match self.live_hold(id) {
            Some(hold) => HoldAnswer::Live(Box::new(hold.view(id))),
            None if self.was_held(id) => HoldAnswer::Gone,
            None => HoldAnswer::Unknown,
        }
    }

    fn showtime_view(&self, showtime: &Showtime) -> ShowtimeView {
        let line = &showtime.line.head;
        let has_line = matches!(showtime.sale().method, Method::Draw | Method::Fifo);
        ShowtimeView {
            showtime: showtime.id,
            organisation: showtime.organisation(),
            state: line.state,
            entrants: line.entrants,
            joined: line.joined,
            cursor: line.cursor,
            active: if has_line { line.active } else { 0 },
            rate_achieved: showtime.line.rate_achieved(self.state.now, showtime.sale()),
            message: showtime.message().cloned(),
            availability: showtime.category_counts(),
            sale: showtime.sale().clone(),
            commitment: showtime.commitment(),
            sequence: self.state.journal.last_sequence(),
            updated_at: showtime.updated_at,
            chain: showtime.chain,
        }
    }

    fn report(&self, showtime: &Showtime) -> Report {
        let categories = showtime.category_counts();
        let revenue = categories.iter().map(|category| crate::Money {
            amount: category.price.amount.saturating_mul(i64::from(category.sold)),
            currency: category.price.currency,
        });
        let orders = self.orders.iter().map(|(_, order)| order).filter(|order| order.showtime == showtime.id);
        let mut report = Report {
            revenue: revenue.collect(),
            categories,
            orders: BTreeMap::new(),
            captured: showtime.no_money(),
            refund_due: showtime.no_money(),
            refunded: showtime.no_money(),
            holds: self.holds.iter().filter(|(_, hold)| hold.showtime == showtime.id).count() as u64,
            queue: showtime.line.head.report,
        };
        for order in orders {
            let OrderView { state, captured, refund_due, refunded, .. } = order;
            *report.orders.entry(*state).or_insert(0) += 1;
            report.captured.amount = report.captured.amount.saturating_add(captured.amount);
            report.refund_due.amount = report.refund_due.amount.saturating_add(refund_due.amount);
            report.refunded.amount = report.refunded.amount.saturating_add(refunded.amount);
        }
        report
    }
}

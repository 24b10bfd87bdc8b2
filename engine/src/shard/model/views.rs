//! Everything that can be asked of the model.

use super::Model;
use super::show::{At, Show};
use crate::*;
use std::collections::BTreeMap;

impl Model {
    pub(crate) fn ticket_view(&self, id: ShowtimeId, number: u64) -> TicketView {
        let show = &self.shows[&id];
        let ticket = &show.tickets[number as usize - 1];
        let place = show.place_of(number);
        let ahead = place.map(|place| place.saturating_sub(show.cursor));
        let moves = ticket.at == At::InLine && show.state == QueueState::Open;
        TicketView {
            showtime: id,
            number: TicketNumber(number),
            user: ticket.user,
            state: match ticket.at {
                At::InLine if show.is_ahead() => TicketState::Prequeue,
                At::InLine => TicketState::Waiting,
                At::Called(_) => TicketState::Called,
                At::Shopping(_) => TicketState::Shopping,
                At::Done => TicketState::Done,
                At::Left => TicketState::Left,
                At::Missed | At::Expired => TicketState::Expired,
            },
            place,
            ahead,
            eta_secs: ahead.filter(|_| moves).map(|ahead| show.eta(ahead, self.now)),
            claim_by: if let At::Called(by) = ticket.at { Some(by) } else { None },
            session_expires_at: if let At::Shopping(until) = ticket.at { Some(until) } else { None },
        }
    }

    pub(crate) fn ticket_views(&self, id: ShowtimeId) -> Vec<TicketView> {
        (1..=self.shows[&id].tickets.len() as u64).map(|number| self.ticket_view(id, number)).collect()
    }

    pub(crate) fn hold_view(&self, id: HoldId) -> HoldView {
        let hold = &self.holds[&id];
        HoldView {
            hold: id,
            showtime: hold.showtime,
            user: hold.user,
            places: hold.places.clone(),
            total: self.shows[&hold.showtime].price(&hold.places),
            expires_at: hold.expires_at,
            order: hold.order,
        }
    }

    pub(crate) fn hold_answer(&self, id: HoldId) -> HoldAnswer {
        match self.holds.contains_key(&id) {
            true => HoldAnswer::Live(Box::new(self.hold_view(id))),
            false if self.was_held(id) => HoldAnswer::Gone,
            false => HoldAnswer::Unknown,
        }
    }

    /// The command that made a showtime.
    pub(crate) fn creation(&self, id: ShowtimeId) -> CreateShowtime {
        self.shows[&id].created.clone()
    }

    pub(crate) fn holds_made(&self) -> u64 {
        self.holds_made
    }

    pub(crate) fn entry_views(&self) -> Vec<WaitlistView> {
        let views = self.entries.iter().map(|entry| WaitlistView {
            entry: entry.id,
            showtime: entry.showtime,
            user: entry.user,
            quantity: entry.wish.quantity,
            category: entry.wish.category.map(CategoryId),
            together: entry.wish.together,
            ahead: entry.hold.is_none().then(|| self.ahead(entry.showtime, entry.id)),
            hold: entry.hold,
        });
        views.collect()
    }

    pub(crate) fn seats_view(&self, id: ShowtimeId) -> SeatsView {
        let show = &self.shows[&id];
        let seats = (0..show.house.spots.len() as u32).map(SeatId);
        let areas = (0..show.created.seat_map.areas.len() as u16).map(AreaId);
        SeatsView {
            sequence: self.last_sequence(),
            states: seats.map(|seat| self.seat_state(id, seat) as u8).collect(),
            areas: areas.map(|area| self.area(id, area)).collect(),
        }
    }

    pub(crate) fn buyer_view(&self, id: ShowtimeId, user: UserId) -> BuyerView {
        let holds = self.holds.iter().filter(|(_, hold)| hold.showtime == id && hold.user == user);
        let orders = self.orders.iter().filter(|order| order.showtime == id && order.user == user);
        BuyerView {
            taken: self.taken(id, user),
            holds: holds.map(|(id, _)| *id).collect(),
            orders: orders.map(|order| order.order).collect(),
        }
    }

    fn category_counts(&self, id: ShowtimeId) -> Vec<CategoryCounts> {
        let show = &self.shows[&id];
        let map = &show.created.seat_map;
        let view = self.seats_view(id);
        let count = |category: u16, state: SeatState| {
            let seats = show.house.spots.iter().zip(&view.states);
            let seats = seats.filter(|(spot, of)| spot.category == category && **of == state as u8).count() as u32;
            let areas = map.areas.iter().zip(&view.areas).filter(|(area, _)| area.category.0 == category);
            let areas = areas.map(|(_, counts)| match state {
                SeatState::Available => counts.available(),
                SeatState::Held => counts.held,
                SeatState::Sold => counts.sold,
                SeatState::Blocked => 0,
            });
            seats + areas.sum::<u32>()
        };
        let categories = map.categories.iter().zip(&show.created.prices).zip(0..);
        let counts = categories.map(|((category, price), number)| CategoryCounts {
            category: CategoryId(number),
            name: category.name.clone(),
            price: *price,
            available: count(number, SeatState::Available),
            held: count(number, SeatState::Held),
            sold: count(number, SeatState::Sold),
            blocked: count(number, SeatState::Blocked),
        });
        counts.collect()
    }

    pub(crate) fn showtime_view(&self, id: ShowtimeId) -> ShowtimeView {
        let show = &self.shows[&id];
        let last = self.events_of(id).last().unwrap();
        ShowtimeView {
            showtime: id,
            organisation: show.created.organisation,
            state: show.state,
            entrants: show.entrants,
            joined: show.tickets.len() as u64,
            cursor: show.cursor,
            active: show.active(),
            rate_achieved: show.rate_achieved(self.now),
            message: show.message.clone(),
            availability: self.category_counts(id),
            sale: show.sale.clone(),
            commitment: show.commitment(),
            sequence: self.last_sequence(),
            updated_at: last.at,
            chain: last.chain,
        }
    }

    fn events_of(&self, id: ShowtimeId) -> impl Iterator<Item = &EventRecord> {
        self.records.iter().filter(move |record| record.showtime == Some(id))
    }

    pub(crate) fn report(&self, id: ShowtimeId) -> Report {
        let show = &self.shows[&id];
        let money = |amount| Money { amount, currency: show.created.prices[0].currency };
        let categories = self.category_counts(id);
        let revenue = categories.iter().map(|category| money(category.price.amount * i64::from(category.sold)));
        let orders = || self.orders.iter().filter(|order| order.showtime == id);
        let sum = |of: fn(&OrderView) -> Money| money(orders().map(|order| of(order).amount).sum());
        let mut by_state = BTreeMap::new();
        orders().for_each(|order| *by_state.entry(order.state).or_insert(0) += 1);
        Report {
            revenue: revenue.collect(),
            categories,
            orders: by_state,
            captured: sum(|order| order.captured),
            refund_due: sum(|order| order.refund_due),
            refunded: sum(|order| order.refunded),
            holds: self.holds.values().filter(|hold| hold.showtime == id).count() as u64,
            queue: QueueReport {
                joined: show.tickets.len() as u64,
                called: show.called,
                claimed: show.claimed,
                done: show.count_at(At::Done),
                left: show.count_at(At::Left),
                missed: show.count_at(At::Missed),
                expired: show.count_at(At::Expired),
            },
        }
    }

    pub(crate) fn draw_view(&self, id: ShowtimeId) -> DrawView {
        let show = &self.shows[&id];
        DrawView { commitment: show.commitment(), bundle: show.bundle.clone().map(Box::new) }
    }
}

impl Show {
    fn commitment(&self) -> [u8; 32] {
        <sha2::Sha256 as sha2::Digest>::digest(self.created.draw_secret).into()
    }

    /// Whether this is the receipt that a ticket should have.
    pub(crate) fn check_receipt(&self, number: TicketNumber, receipt: Option<&Receipt>) -> bool {
        match (&self.bundle, receipt) {
            (Some(bundle), Some(receipt)) => {
                let leaf = self.leaf(number.0 - 1);
                number.0 <= bundle.entrants
                    && (receipt.number, receipt.leaf, receipt.merkle_root) == (number, leaf, bundle.merkle_root)
                    && Some(receipt.place) == self.place_of(number.0)
                    && merkle::verify(&leaf, number.0 - 1, bundle.entrants, &receipt.proof, &bundle.merkle_root)
            }
            (Some(bundle), None) => number.0 > bundle.entrants,
            (None, receipt) => receipt.is_none(),
        }
    }
}

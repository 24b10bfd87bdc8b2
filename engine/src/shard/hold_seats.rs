//! `HoldSeats`: holds seats for a buyer, all or nothing.

use super::Shard;
use super::hold::count;
use super::leave_queue::standing_of;
use super::line::Standing;
use crate::group_state::{Events, check_text};
use crate::planted::{self, Bug};
use crate::{HoldSeats, Method, Outcome, Places, QueueState, Refusal, SEATS_PER_HOLD_MAX, SeatChoice, SeatList};

impl Shard {
    pub(super) fn hold_seats(&mut self, ask: &HoldSeats, events: &mut Events) -> Result<Outcome, Refusal> {
        check_choice(ask)?;
        let showtime = self.showtime(ask.showtime)?;
        let sale = showtime.sale();
        let standing = match (sale.method, ask.ticket) {
            (Method::Draw | Method::Fifo, Some(ticket)) => match standing_of(showtime, ticket, ask.user)? {
                _ if planted::is(Bug::HoldUncalled) => Some(Standing::Shopping { until: self.state.now }),
                standing => Some(standing),
            },
            _ => None,
        };
        let wanted = match &ask.choice {
            SeatChoice::Named(seats) => {
                if let Some(&seat) = seats.iter().find(|&&seat| !showtime.seats.contains(seat)) {
                    return Err(Refusal::NoSuchSeat(seat));
                }
                let mut seats = SeatList::from_slice(seats);
                seats.sort_unstable();
                seats.dedup();
                Places { seats, areas: Vec::new() }
            }
            &SeatChoice::Area { area, quantity } => {
                if usize::from(area.0) >= showtime.areas.len() {
                    return Err(Refusal::NoSuchArea(area));
                }
                Places { seats: SeatList::new(), areas: vec![(area, quantity)] }
            }
            // Which they are is decided once it is clear that the buyer may have any.
            SeatChoice::Best(best) => {
                showtime.best_named(best)?;
                Places::default()
            }
        };

        let is_open = match (sale.method, showtime.line.head.state) {
            (Method::Reject, _) => return Err(Refusal::SaleRejects),
            (_, QueueState::Open) => true,
            (Method::Draw | Method::Fifo, QueueState::Paused) => true,
            _ => false,
        };
        if !is_open {
            return Err(self.wrong_queue_state(ask.showtime));
        }
        let ticket = match sale.method {
            Method::Passthrough | Method::Reject => None,
            Method::Draw | Method::Fifo => {
                if !matches!(standing, Some(Standing::Shopping { .. })) {
                    return Err(Refusal::NotAdmitted);
                }
                ask.ticket
            }
        };

        let wanted_count = match &ask.choice {
            SeatChoice::Best(best) => best.quantity,
            SeatChoice::Named(_) | SeatChoice::Area { .. } => count(&wanted),
        };
        if wanted_count > sale.seats_per_hold_max {
            return Err(Refusal::TooManySeats { max: sale.seats_per_hold_max });
        }
        let taken = showtime.buyers.get(&ask.user).map_or(0, |buyer| buyer.taken);
        if taken.saturating_add(wanted_count) > sale.seats_per_buyer_max {
            return Err(Refusal::BuyerLimit { max: sale.seats_per_buyer_max, taken });
        }
        let in_the_way = showtime.in_the_way(&wanted.seats, ask.channel.as_deref());
        if !in_the_way.is_empty() {
            return Err(Refusal::SeatsUnavailable { seats: in_the_way });
        }
        for &(area, quantity) in &wanted.areas {
            let available = showtime.free_places(area);
            if available < quantity {
                return Err(Refusal::AreaFull { available });
            }
        }

        if let SeatChoice::Best(best) = &ask.choice
            && !best.accessible
            && !best.companion
        {
            self.showtime_mut(ask.showtime).remember_best(best.quantity);
        }
        let showtime = self.showtime(ask.showtime)?;
        let sale = showtime.sale();
        let wanted = match &ask.choice {
            SeatChoice::Best(best) => {
                let seats = showtime.best_seats(best, ask.channel.as_deref())?;
                // There may be others, but the next steps, in no time, tell which.
                let promised = showtime.promised();
                if seats.iter().any(|&seat| showtime.is_promised(&promised, seat)) {
                    return Err(Refusal::NoSeatsFit);
                }
                Places { seats: seats.into(), areas: Vec::new() }
            }
            SeatChoice::Named(_) | SeatChoice::Area { .. } => wanted,
        };
        if sale.prevent_orphans && matches!(ask.choice, SeatChoice::Named(_)) {
            let channel = ask.channel.as_deref();
            let alone = showtime.left_alone(&wanted.seats, channel);
            if !alone.is_empty() && showtime.can_spare_alone(wanted_count, channel) {
                return Err(Refusal::LeavesOrphan { seats: alone });
            }
        }

        let ttl = sale.hold_ttl;
        let id = self.make_hold(ask.showtime, ask.user, ticket, wanted, ttl, events);
        if ask.channel.is_some() {
            self.holds.get_mut(id.counter()).expect("it was made just now").channel.clone_from(&ask.channel);
        }
        let hold = Box::new(self.live_hold(id).expect("it was made just now").view(id));
        Ok(Outcome::Held { hold })
    }
}

/// Refuses a wish outside the bounds of any sale.
fn check_choice(ask: &HoldSeats) -> Result<(), Refusal> {
    let (field, wanted) = match &ask.choice {
        SeatChoice::Named(seats) => ("seats", seats.len() as u64),
        SeatChoice::Best(best) => ("best.quantity", u64::from(best.quantity)),
        SeatChoice::Area { quantity, .. } => ("quantity", u64::from(*quantity)),
    };
    if !(1..=u64::from(SEATS_PER_HOLD_MAX)).contains(&wanted) {
        return Err(Refusal::out_of_bounds(field, format!("{wanted} is not between 1 and {SEATS_PER_HOLD_MAX}")));
    }
    if let SeatChoice::Best(best) = &ask.choice {
        if best.companion && best.quantity < 2 {
            return Err(Refusal::out_of_bounds("best.quantity", "a wheelchair space and its companion seat are two"));
        }
        check_text("best.category", best.category.as_deref().unwrap_or_default(), 0, 400)?;
        check_text("best.section", best.section.as_deref().unwrap_or_default(), 0, 400)?;
    }
    check_text("channel", ask.channel.as_deref().unwrap_or_default(), 0, 100)
}

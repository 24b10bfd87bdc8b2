//! The real HTTP client, noting what it asks and hears.

use super::Web;
use super::net::{HttpConnector, PORT};
use super::visits::{Deed, HoldSeen, LineSeen, OrderSeen, Said, SeatsSeen, TicketSeen, Visit};
use crate::dice::Dice;
use crate::gateway::gateway_name;
use crate::options::Options;
use crate::trace::Trace;
use crate::workload::{House, Shop};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use vestibule_client::{Client, Error, IdempotencyKey, PricedSeat, SeatState, Token};
use vestibule_engine::{HoldId, OrderId, SeatId, ShowtimeId, TicketId, Timestamp, UserId};

/// How often a command of unknown outcome is sent again under its key.
const REPEATS_MAX: usize = 4;

/// Through which gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Whichever answers.
    Any,
    /// This one, counted from 1 on.
    Gateway(usize),
}

/// What a client makes of an answer: what to note, if it is fit.
pub(super) type Reading = Option<Said>;

/// One person's client.
pub(super) struct Browser {
    name: String,
    pub(super) web: Web,
    /// Through all gateways.
    roaming: Client<HttpConnector>,
    /// Through one gateway each.
    pinned: Vec<Client<HttpConnector>>,
    pub(super) house: Arc<House>,
    seats: BTreeMap<String, SeatId>,
    /// Who this is, for the gateways.
    pub(super) user: Option<UserId>,
    /// The seats as this client last saw them, and as of which sequence.
    seen: BTreeMap<ShowtimeId, (u64, BTreeMap<SeatId, SeatState>)>,
    pub(super) dice: Dice,
}

impl Browser {
    /// One that has called nobody yet.
    pub(super) fn new(
        name: String,
        options: &Options,
        shop: &Shop,
        house: Arc<House>,
        trace: &Trace,
        mut dice: Dice,
    ) -> Self {
        let urls: Vec<String> =
            (1..=options.gateways).map(|number| format!("http://{}:{PORT}", gateway_name(number))).collect();
        let mut client = |urls: &[String]| {
            let connector = HttpConnector::new(trace.clone());
            Client::with_connector(connector, urls, options.web.client.clone(), dice.number())
                .expect("the URLs were written here")
        };
        let mut around = urls.clone();
        around.rotate_left(name.len() % urls.len());
        let roaming = client(&around);
        let pinned = urls.iter().map(|url| client(std::slice::from_ref(url))).collect();
        let map = &house.seat_map;
        let ids = (0..map.seat_count() as u32).map(SeatId);
        let seats = ids.filter_map(|seat| Some((map.label(seat)?, seat))).collect();
        let web = shop.web.clone();
        Self { name, web, roaming, pinned, house, seats, user: None, seen: BTreeMap::new(), dice }
    }

    pub(super) fn client(&self, way: Way) -> Client<HttpConnector> {
        match way {
            Way::Any => self.roaming.clone(),
            Way::Gateway(number) => self.pinned[number - 1].clone(),
        }
    }

    /// How many gateways there are.
    pub(super) fn gateways(&self) -> usize {
        self.pinned.len()
    }

    /// Some gateway in particular, or any.
    pub(super) fn some_way(&mut self) -> Way {
        if self.dice.percent(50) { Way::Any } else { Way::Gateway(1 + self.dice.index(self.pinned.len())) }
    }

    pub(super) async fn pause(&mut self, millis: std::ops::RangeInclusive<u64>) {
        tokio::time::sleep(self.dice.millis(millis)).await;
    }

    /// What people call a seat.
    pub(super) fn label(&self, seat: SeatId) -> String {
        self.house.seat_map.label(seat).unwrap_or_default()
    }

    /// Makes a call and notes it.
    pub(super) async fn note<T>(
        &self,
        way: Way,
        key: Option<&IdempotencyKey>,
        deed: Deed,
        asked: impl Future<Output = Result<T, Error>>,
        read: impl FnOnce(&T) -> Reading,
    ) -> (Said, Option<T>) {
        let through = match way {
            Way::Any => None,
            Way::Gateway(number) => self.web.life(number).map(|life| (number, life)),
        };
        let visit = self.web.visits.begin(Visit {
            number: 0,
            by: self.name.clone(),
            user: self.user,
            key: key.map(|key| key.as_str().to_owned()),
            through,
            deed,
            at: Duration::ZERO,
        });
        let answered = asked.await;
        let said = match &answered {
            Ok(answer) => read(answer).unwrap_or_else(|| Said::Unfit("it cannot be read".to_owned())),
            Err(error) => said(error),
        };
        self.web.visits.end(&visit, said.clone());
        (said, answered.ok())
    }

    /// Has something done under a key: asks again while the outcome is unknown, and now and then also afterwards, through
    /// another gateway maybe. Gives what was heard first.
    pub(super) async fn insist<T, F: Future<Output = Result<T, Error>>>(
        &mut self,
        again: u64,
        key: &IdempotencyKey,
        deed: Deed,
        ask: impl Fn(Client<HttpConnector>) -> F,
        read: impl Fn(&Self, &T) -> Reading,
    ) -> Said {
        let mut way = Way::Any;
        for _ in 0..=REPEATS_MAX {
            let (first, _) =
                self.note(way, Some(key), deed.clone(), ask(self.client(way)), |answer| read(self, answer)).await;
            way = self.some_way();
            if matches!(first, Said::Unknown(_)) {
                self.pause(10..=300).await;
                continue;
            }
            if self.dice.percent(again) {
                self.note(way, Some(key), deed, ask(self.client(way)), |answer| read(self, answer)).await;
            }
            return first;
        }
        Said::Unknown("it stays unknown".to_owned())
    }

    /// Becomes somebody new.
    pub(super) async fn become_guest(&mut self) -> Option<Token> {
        self.user = None;
        let client = self.client(Way::Any);
        let subject = |token: &Token| subject(token.as_str());
        let read = |guest: &vestibule_client::Guest| subject(&guest.access_token).map(Said::Guest);
        let (said, guest) = self.note(Way::Any, None, Deed::Guest, client.guest(), read).await;
        if let Said::Guest(user) = said {
            self.user = Some(user);
        }
        guest.filter(|_| self.user.is_some()).map(|guest| guest.access_token)
    }

    /// Looks at the seats: at all of them, or at what has changed since the last look.
    pub(super) async fn see_seats(&mut self, way: Way, showtime: ShowtimeId, afresh: bool) -> Said {
        let known = self.seen.get(&showtime).filter(|_| !afresh).cloned();
        let since = known.as_ref().map(|(sequence, _)| *sequence);
        let mut states = known.map(|(_, states)| states).unwrap_or_default();
        let client = self.client(way);
        let id = vestibule_client::ShowtimeId(showtime.to_string());
        let read = |seats: &vestibule_client::Seats| {
            for (label, state) in &seats.states {
                states.insert(*self.seats.get(label)?, *state);
            }
            let counts = [seats.counts.available, seats.counts.held, seats.counts.sold, seats.counts.blocked];
            let counts = (seats.states.len() == self.seats.len()).then_some(counts);
            Some(Said::Seats(SeatsSeen { showtime, sequence: seats.sequence, states, counts }))
        };
        let deed = Deed::SeeSeats(showtime, since);
        let (said, _) = self.note(way, None, deed, client.seats(&id, since), read).await;
        if let Said::Seats(seen) = &said {
            self.seen.insert(showtime, (seen.sequence, seen.states.clone()));
        }
        said
    }

    /// Looks at the line.
    pub(super) async fn see_line(&mut self, way: Way, showtime: ShowtimeId) -> Said {
        let client = self.client(way);
        let id = vestibule_client::ShowtimeId(showtime.to_string());
        let read = |line: &vestibule_client::QueueStatus| {
            let (sequence, cursor) = (line.sequence, line.cursor);
            let showtime = line.showtime_id.0.parse().ok()?;
            Some(Said::Line(LineSeen { showtime, sequence, cursor, joined: line.joined, entrants: line.entrants }))
        };
        self.note(way, None, Deed::SeeLine(showtime), client.queue_status(&id), read).await.0
    }

    pub(super) fn read_ticket(&self, ticket: &vestibule_client::Ticket) -> Reading {
        let id: TicketId = ticket.ticket_id.0.parse().ok()?;
        let (number, place) = (ticket.number, ticket.place);
        Some(Said::Ticket(TicketSeen { ticket: id, number, state: ticket.state, place }))
    }

    pub(super) fn read_hold(&self, hold: &vestibule_client::Hold) -> Reading {
        let id: HoldId = hold.hold_id.0.parse().ok()?;
        let seats = self.read_seats(&hold.seats)?;
        let expires_at = Timestamp(u64::try_from(hold.expires_at.unix_timestamp_nanos() / 1_000_000).ok()?);
        let (showtime, total) = (hold.showtime_id.0.parse().ok()?, hold.total.amount);
        Some(Said::Hold(HoldSeen { hold: id, showtime, seats, total, expires_at }))
    }

    pub(super) fn read_order(&self, order: &vestibule_client::Order) -> Reading {
        self.order_seen(order).map(Said::Order)
    }

    fn order_seen(&self, order: &vestibule_client::Order) -> Option<OrderSeen> {
        let text = |name: &str| order.extra.get(name).and_then(|value| value.as_str());
        Some(OrderSeen {
            order: order.order_id.0.parse().ok()?,
            hold: text("holdId")?.parse().ok()?,
            showtime: text("showtimeId")?.parse().ok()?,
            state: order.state,
            seats: self.read_seats(&order.seats)?,
            total: order.total.amount,
        })
    }

    pub(super) fn read_payment(&self, payment: &vestibule_client::Payment) -> Reading {
        let id = payment.payment_id.as_ref()?.0.parse().ok()?;
        let order: vestibule_client::Order = serde_json::from_value(payment.extra.get("order")?.clone()).ok()?;
        Some(Said::Payment(id, payment.status, self.order_seen(&order)?))
    }

    fn read_seats(&self, seats: &[PricedSeat]) -> Option<Vec<SeatId>> {
        let mut seats: Vec<SeatId> =
            seats.iter().map(|seat| self.seats.get(&seat.id).copied()).collect::<Option<_>>()?;
        seats.sort_unstable();
        Some(seats)
    }

    /// Looks at an order.
    pub(super) async fn see_order(&mut self, token: &Token, order: OrderId) -> Said {
        let way = self.some_way();
        let client = self.client(way);
        let id = vestibule_client::OrderId(order.to_string());
        let asked = client.get_order(token, &id);
        self.note(way, None, Deed::SeeOrder(order), asked, |order| self.read_order(order)).await.0
    }
}

/// Whose token this is, as it says itself.
fn subject(token: &str) -> Option<UserId> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims.get("sub")?.as_str()?.parse().ok()
}

/// What an error says of the call.
fn said(error: &Error) -> Said {
    if let Some(problem) = error.problem()
        && (problem.status == 500 || problem.code.is_empty())
    {
        return Said::Unfit(problem.to_string());
    }
    match error {
        Error::Refused(problem) if problem.status < 500 && problem.status != 429 => {
            Said::Refused(problem.status, problem.code.clone())
        }
        Error::Malformed { .. } | Error::TooLarge { .. } | Error::BadCall(_) => Said::Unfit(error.to_string()),
        error if error.is_outcome_unknown() => Said::Unknown(error.to_string()),
        error => Said::NotDone(error.to_string()),
    }
}

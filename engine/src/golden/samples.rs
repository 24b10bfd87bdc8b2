//! One of each outcome and of each fact, every part of it filled in.

use crate::*;

const GROUP: GroupId = GroupId(7);
const SHOWTIME: ShowtimeId = ShowtimeId::new(GROUP, 1);
const USER: UserId = UserId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
const HOLD: HoldId = HoldId::new(GROUP, 2);
const ORDER: OrderId = OrderId::new(GROUP, 3);
const ENTRY: OfferId = OfferId::new(GROUP, 4);
const TICKET: TicketNumber = TicketNumber(5);
const PAYMENT: PaymentId = PaymentId(6);
const AT: Timestamp = Timestamp(1_800_000_000_000);

fn eur(amount: i64) -> Money {
    Money { amount, currency: Currency(*b"EUR") }
}

fn text() -> String {
    "some text".into()
}

fn places() -> Places {
    Places { seats: vec![SeatId(1), SeatId(70_000)].into(), areas: vec![(AreaId(1), 300)] }
}

/// A sale with everything set.
pub(crate) fn sale() -> Sale {
    Sale {
        method: Method::Draw,
        prequeue_at: Some(AT),
        opens_at: Some(AT + Millis(1)),
        closes_at: Some(AT + Millis(2)),
        admission: Admission {
            rate_per_minute: 1_000,
            active_max: 2_000,
            claim_ttl: Millis(3_000),
            session_ttl: Millis(4_000),
        },
        hold_ttl: Millis(5_000),
        hold_total_max: Millis(6_000),
        payment_ttl: Millis(7_000),
        seats_per_hold_max: 8,
        seats_per_buyer_max: 9,
        prevent_orphans: true,
        waitlist: true,
        beacon: Some(BeaconPlan { source: text(), round: 10 }),
    }
}

fn order() -> Box<OrderView> {
    let payment = |outcome, refund| PaymentView { payment: PAYMENT, outcome, amount: eur(-1), at: AT, refund };
    Box::new(OrderView {
        order: ORDER,
        hold: HOLD,
        showtime: SHOWTIME,
        user: USER,
        email: text(),
        places: places(),
        channel: Some(text()),
        ticket: Some(TicketNumber(300)),
        total: eur(1_000),
        state: OrderState::RefundDue,
        placed_at: AT,
        pay_by: AT + Millis(1),
        captured: eur(2_000),
        refund_due: eur(300),
        refunded: eur(40),
        payments: vec![payment(PaymentOutcome::Succeeded, false), payment(PaymentOutcome::Failed, true)],
        foreign: vec![ForeignMoney { captured: eur(5), refunded: eur(6) }],
    })
}

fn ticket() -> TicketView {
    TicketView {
        showtime: SHOWTIME,
        number: TICKET,
        user: USER,
        state: TicketState::Shopping,
        place: Some(1),
        ahead: Some(2),
        eta_secs: Some(3),
        claim_by: Some(AT),
        session_expires_at: Some(AT + Millis(1)),
    }
}

fn showtime_record() -> Box<ShowtimeRecord> {
    Box::new(ShowtimeRecord {
        showtime: SHOWTIME,
        organisation: OrganisationId(1),
        event: EventId(2),
        venue: VenueId(3),
        seat_map_version: 4,
        starts_at: AT,
        prices: vec![eur(5)],
        sale: sale(),
        draw_secret: [6; 32],
        state: ShowtimeState::Archived,
        version: 7,
    })
}

/// Refusals that say of their case what the others do not.
pub(super) fn refusals() -> Vec<Refusal> {
    let seats = || vec![SeatId(1), SeatId(70_000)];
    vec![
        Refusal::SeatsUnavailable { seats: seats() },
        Refusal::LeavesOrphan { seats: seats() },
        Refusal::WrongQueueState { state: QueueState::Closed, opens_at: Some(AT) },
    ]
}

pub(super) fn outcomes() -> Vec<Outcome> {
    let hold = HoldView {
        hold: HOLD,
        showtime: SHOWTIME,
        user: USER,
        places: places(),
        total: eur(1),
        expires_at: AT,
        order: Some(ORDER),
    };
    let key = TokenKey { kid: text(), algorithm: KeyAlgorithm::Ed25519, der: vec![1, 2], created_at: AT };
    vec![
        Outcome::Done,
        Outcome::ShowtimeCreated { showtime: SHOWTIME, commitment: [1; 32] },
        Outcome::SaleUpdated { sale: Box::new(sale()) },
        Outcome::Queued { ticket: Box::new(ticket()), joined: true },
        Outcome::Claimed { ticket: Box::new(ticket()), expires_at: AT },
        Outcome::Held { hold: Box::new(hold) },
        Outcome::Ordered { order: order() },
        Outcome::Waitlisted { entry: ENTRY, ahead: 1_000 },
        Outcome::PaymentKnown { payment: PAYMENT, order: order() },
        Outcome::TokenKeys { version: 1, keys: vec![key] },
        Outcome::OrganisationCreated { organisation: OrganisationId(1) },
        Outcome::VenueCreated { venue: VenueId(1), version: 2 },
        Outcome::EventStored { event: EventId(1), version: 2 },
        Outcome::ShowtimeStored { showtime: showtime_record() },
        Outcome::Stored { version: 1 },
        Outcome::UserCreated { user: USER },
    ]
}

pub(super) fn events() -> Vec<Event> {
    let draw = DrawBundle {
        entrants: 1_000,
        commitment: [1; 32],
        secret: [2; 32],
        merkle_root: [3; 32],
        beacon: Some(vec![4, 5]),
        seed: [6; 32],
        rounds: 90,
    };
    let (order, payment, refund, entry, hold, ticket, user) = (ORDER, PAYMENT, PAYMENT, ENTRY, HOLD, TICKET, USER);
    let (places, total, amount, expires_at) = (places(), eur(1_000), eur(-2), AT);
    let (organisation, venue, event, showtime) = (OrganisationId(1), VenueId(2), EventId(3), SHOWTIME);
    vec![
        Event::ShowtimeCreated { organisation, commitment: [1; 32] },
        Event::SaleUpdated,
        Event::PrequeueStarted,
        Event::QueueOpened,
        Event::QueuePaused,
        Event::QueueResumed,
        Event::QueueClosed,
        Event::QueueMessageSet { text: Some(text()) },
        Event::DrawPublished(Box::new(draw)),
        Event::QueueJoined { ticket, user },
        Event::QueueLeft { ticket },
        Event::QueueAdmitted { from: 1, to: 1_000, claim_by: AT },
        Event::AdmissionClaimed { ticket, expires_at },
        Event::AdmissionExpired { ticket },
        Event::ClaimsMissed { from: 1, to: 1_000, count: 300 },
        Event::AdmissionDone { ticket },
        Event::SeatsHeld { hold, user, places: places.clone(), expires_at },
        Event::HoldExtended { hold, expires_at },
        Event::HoldReleased { hold, places: places.clone() },
        Event::HoldExpired { hold, places: places.clone() },
        Event::SeatsPurchased { order, places: places.clone() },
        Event::SeatsBlocked { seats: places.seats.to_vec(), reason: text() },
        Event::SeatsReleased { places: places.clone(), reason: text() },
        Event::OrderPlaced { order, user, places: places.clone(), total, pay_by: AT },
        Event::OrderCompleted { order, user, places: places.clone(), total },
        Event::OrderCanceled { order, user, places: places.clone(), total },
        Event::OrderExpired { order, user, places: places.clone(), total },
        Event::PaymentSucceeded { order, payment, amount },
        Event::PaymentFailed { order, payment, amount },
        Event::RefundDue { order, amount, reason: text() },
        Event::PaymentRefunded { order, refund, amount },
        Event::RefundFailed { order, refund, amount },
        Event::WaitlistJoined { entry, user },
        Event::WaitlistOffered { entry, user, hold, places, expires_at },
        Event::WaitlistAccepted { entry, user },
        Event::WaitlistExpired { entry, user },
        Event::WaitlistLeft { entry, user },
        Event::GroupsChanged { count: 1_000 },
        Event::OrganisationCreated { organisation },
        Event::VenueCreated { venue },
        Event::EventCreated { event },
        Event::EventUpdated { event },
        Event::EventDeleted { event },
        Event::ShowtimeScheduled { showtime, event },
        Event::ShowtimeActivated { showtime },
        Event::TokenKeysInstalled,
        Event::LimitsChanged {
            requests_max: 1,
            request_age_max: Millis(2),
            event_age_min: Millis(3),
            events_max: 4,
            tickets_max: 5,
        },
        Event::OrganisationUpdated { organisation },
        Event::VenueUpdated { venue, version: 4 },
        Event::UserCreated { user },
        Event::UserUpdated { user },
        Event::NodeChanged { node: NodeNumber(1), state: NodeState::Removed },
        Event::PlacementChanged { group: GROUP, voters: vec![NodeNumber(1), NodeNumber(2)] },
        Event::ShowtimeArchived { showtime },
        Event::SinkLapsed { sink: text(), acknowledged: 1_000 },
    ]
}

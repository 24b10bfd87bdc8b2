//! Nothing that decodes makes the machine panic or breaks an invariant.

use super::*;

/// One of each command, most of them sensible.
pub(super) fn samples() -> Vec<ShardCommand> {
    let showtime = showtime_id();
    let (user, ticket) = (UserId(1), TicketNumber(1));
    let (hold, order) = (HoldId::new(GROUP, 1), OrderId::new(GROUP, 1));
    let (payment, refund, outcome) = (PaymentId(1), PaymentId(2), PaymentOutcome::Succeeded);
    let seats = vec![SeatId(1), SeatId(2)];
    let best =
        BestSeats { quantity: 2, category: None, section: None, accessible: false, companion: false, together: true };
    let held = |choice| HoldSeats { showtime, user, ticket: Some(ticket), channel: None, choice };
    let text = || "some text".to_owned();
    vec![
        ShardCommand::JoinQueue(JoinQueue { showtime, user }),
        ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket }),
        ShardCommand::HoldSeats(held(SeatChoice::Named(seats.clone()))),
        ShardCommand::HoldSeats(held(SeatChoice::Best(best))),
        ShardCommand::HoldSeats(held(SeatChoice::Area { area: AreaId(0), quantity: 2 })),
        ShardCommand::ExtendHold(ExtendHold { hold, user }),
        ShardCommand::PlaceOrder(PlaceOrder { hold, user, email: "a@b.example".into() }),
        ShardCommand::RecordPayment(RecordPayment { order, payment, outcome, amount: eur(10_000) }),
        ShardCommand::RefundOrder(RefundOrder { order, seats: Some(vec![SeatId(1)]), reason: text() }),
        ShardCommand::RecordRefund(RecordRefund { order, refund, outcome, amount: eur(5_000) }),
        ShardCommand::CancelOrder(CancelOrder { order, user }),
        ShardCommand::ReleaseHold(ReleaseHold { hold: HoldId::new(GROUP, 2), user }),
        ShardCommand::BlockSeats(BlockSeats { showtime, seats: seats.clone(), reason: text(), channel: Some(text()) }),
        ShardCommand::UnblockSeats(UnblockSeats { showtime, seats }),
        ShardCommand::JoinWaitlist(JoinWaitlist { showtime, user, quantity: 3, category: None, together: true }),
        ShardCommand::LeaveWaitlist(LeaveWaitlist { entry: OfferId::new(GROUP, 1), user }),
        ShardCommand::SetQueueMessage(SetQueueMessage { showtime, text: Some(text()) }),
        ShardCommand::UpdateSale(UpdateSale {
            showtime,
            patch: SalePatch {
                rate_per_minute: Some(6_000),
                active_max: Some(50),
                claim_ttl: Some(Millis(5_000)),
                closes_at: Some(Some(Timestamp(1 << 40))),
                beacon: Some(None),
                ..SalePatch::default()
            },
        }),
        ShardCommand::RecordBeacon(RecordBeacon { showtime, round: 7, randomness: vec![1, 2, 3] }),
        ShardCommand::SetLimits(SetLimits { requests_max: Some(5_000), ..SetLimits::default() }),
        ShardCommand::RegisterSink(RegisterSink { sink: text() }),
        ShardCommand::AcknowledgeEvents(AcknowledgeEvents { sink: text(), sequence: 1 }),
        ShardCommand::RemoveSink(RemoveSink { sink: text() }),
        ShardCommand::PauseQueue(PauseQueue { showtime }),
        ShardCommand::ResumeQueue(ResumeQueue { showtime }),
        ShardCommand::OpenQueue(OpenQueue { showtime }),
        ShardCommand::LeaveQueue(LeaveQueue { showtime, user, ticket }),
        ShardCommand::CloseQueue(CloseQueue { showtime }),
        ShardCommand::Tick,
    ]
}

pub(super) fn created(sale: Sale) -> ShardCommand {
    ShardCommand::CreateShowtime(CreateShowtime {
        showtime: showtime_id(),
        organisation: OrganisationId(1),
        seat_map: small_house(),
        prices: vec![eur(5_000), eur(3_000), eur(1_000)],
        sale,
        draw_secret: [9; 32],
    })
}

fn shard(method: Method) -> Shard {
    let sale = Sale { method, opens_at: Some(Timestamp(0)), waitlist: true, prevent_orphans: true, ..Sale::default() };
    let mut shard = Shard::new(GROUP);
    shard.apply(Timestamp(0), &[Envelope { request: None, command: created(sale) }]);
    shard
}

#[test]
fn bent_commands_are_answered() {
    let mut decoded = 0;
    for (method, stride) in [(Method::Fifo, 1), (Method::Passthrough, 3), (Method::Draw, 7)] {
        // Every sample with one byte bent, after the samples before it.
        for (index, sample) in samples().iter().enumerate() {
            let bytes = codec::encode(&Envelope { request: Some(RequestId(1_000)), command: sample.clone() });
            for position in (index % stride..bytes.len()).step_by(stride) {
                for bend in [0x00, 0x01, 0x7f, 0xfa, 0xfb, 0xfd, 0xff, bytes[position] ^ 0x01, bytes[position] ^ 0x80] {
                    let mut bent = bytes.clone();
                    bent[position] = bend;
                    let Ok(envelope) = codec::decode::<Envelope<ShardCommand>>(&bent) else { continue };
                    decoded += 1;
                    let mut shard = shard(method);
                    for (before, at) in samples()[..index].iter().zip(1..) {
                        shard.apply(Timestamp(at * 100), &[Envelope { request: None, command: before.clone() }]);
                    }
                    shard.apply(Timestamp(5_000), &[envelope]);
                    shard.audit_showtimes().unwrap();
                }
            }
        }
    }
    assert!(decoded > 3_000, "only {decoded} bent commands decoded");
}

#[test]
fn a_wild_clock_stops_at_the_end_of_time() {
    for method in [Method::Fifo, Method::Draw, Method::Passthrough] {
        for end in [u64::MAX, u64::MAX - 1, 1 << 60, 1 << 53] {
            let mut shard = shard(method);
            for (sample, index) in samples().into_iter().zip(0..) {
                let at = if index < 3 { 100 } else { end };
                shard.apply(Timestamp(at), &[Envelope { request: None, command: sample }]);
                shard.audit().unwrap();
            }
            for _ in 0..10 {
                shard.apply(Timestamp(end), &[]);
            }
            shard.audit().unwrap();
        }
    }
}

#[test]
fn far_times_and_great_numbers_are_bounded() {
    let sale = Sale {
        prequeue_at: Some(Timestamp(u64::MAX - 2)),
        opens_at: Some(Timestamp(u64::MAX - 1)),
        closes_at: Some(Timestamp(u64::MAX)),
        ..Sale::default()
    };
    let mut shard = Shard::new(GROUP);
    shard.apply(Timestamp(0), &[Envelope { request: None, command: created(sale) }]);
    shard.apply(Timestamp(u64::MAX), &[]);
    shard.audit().unwrap();
    let ShardAnswer::Showtime(Some(view)) = shard.query(&ShardQuery::Showtime(showtime_id())) else { panic!() };
    assert_eq!(view.state, QueueState::Scheduled);
}

//! The audit notices what it recounts: each count is bent once.

use super::*;
use crate::shard::showtime::{Showtime, TABLE_PROGRESS};

/// A drawn line in which somebody waits, was called, missed it, shops, has bought, was too late, and has left at each of
/// these stages.
fn busy() -> World {
    let mut world = World::new();
    for line in [
        "0s org sale draw opens=10s prequeue=0s room=100 rate=6000 claim=20s session=30s beacon=7",
        "1s a join",
        "1s b join",
        "1s c join",
        "1s d join",
        "1s e join",
        "1s f join",
        "1s g join",
        "2s g leave",
        "10s org beacon 7 abc",
        "11s a claim",
        "11s b claim",
        "11s c claim",
        "11s d leave",
        "12s a leave",
        "12s b hold A1",
        "12s b order h1",
        "12s b pay o1 p1 ok 5000",
        "31s x join",
        "42s y join",
        "42s y claim",
        "42s z join",
        "42s org pause",
        "42s late join",
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
    }
    world
}

type Bend = fn(&mut Shard);

/// Bends a shard in each of these ways, of which the audit is to see every one.
fn audit_sees(shard: &Shard, bends: &[(&str, Bend)]) {
    let mut unseen = Vec::new();
    for (name, bend) in bends {
        let mut shard = Shard::load(GROUP, shard.rows().into_iter()).unwrap();
        shard.audit().unwrap();
        bend(&mut shard);
        if shard.audit().is_ok() {
            unseen.push(name);
        }
    }
    assert!(unseen.is_empty(), "bent, and the audit says nothing: {unseen:?}");
}

#[test]
fn what_the_line_counts_and_what_was_drawn_is_recounted() {
    let world = busy();
    let report = world.shard.showtimes[&showtime_id()].line.head.report;
    let QueueReport { joined, called, claimed, done, left, missed, expired } = report;
    let counts = [joined, called, claimed, done, left, missed, expired];
    assert!(counts.iter().all(|count| *count > 0), "a count that is 0 is not tested: {report:?}");
    type Bend = fn(&mut Showtime);
    let bends: [(&str, Bend); 15] = [
        ("joined", |showtime| showtime.line.head.report.joined += 1),
        ("called", |showtime| showtime.line.head.report.called += 1),
        ("claimed", |showtime| showtime.line.head.report.claimed += 1),
        ("done", |showtime| showtime.line.head.report.done += 1),
        ("left", |showtime| showtime.line.head.report.left += 1),
        ("missed", |showtime| showtime.line.head.report.missed += 1),
        ("expired", |showtime| showtime.line.head.report.expired += 1),
        ("tickets", |showtime| {
            showtime.line.head.joined += 1;
            showtime.line.head.report.joined += 1;
        }),
        ("entrants", |showtime| showtime.line.head.entrants += 1),
        ("active", |showtime| showtime.line.head.active += 1),
        ("seed", |showtime| showtime.line.head.draw.as_mut().unwrap().seed[0] ^= 1),
        ("root", |showtime| showtime.line.head.draw.as_mut().unwrap().merkle_root[0] ^= 1),
        ("the draw's beacon", |showtime| showtime.line.head.draw.as_mut().unwrap().beacon = None),
        ("beacon", |showtime| showtime.set_beacon(b"abd".to_vec())),
        ("draw", |showtime| showtime.line.head.draw = None),
    ];
    for (name, bend) in bends {
        let mut shard = Shard::load(GROUP, world.shard.rows().into_iter()).unwrap();
        shard.audit().unwrap();
        bend(shard.showtimes.get_mut(&showtime_id()).unwrap());
        assert!(shard.audit().is_err(), "{name} was bent, and the audit says nothing");
    }
}

/// A house with a hold through a channel, a paid order with money of another currency, a pending one, places of an area
/// and somebody who waits.
pub(super) fn sold() -> World {
    let mut world = World::new();
    for line in [
        "0s org sale passthrough waitlist=yes perhold=8 perbuyer=100",
        "0s org block A7 A8 via=press",
        "0s org block B7 B8 via=club",
        "1s a hold A7 via=press",
        "1s b hold A1 key=one",
        "1s b order h2",
        "1s b pay o1 p1 ok 5000 key=two",
        "1s b pay o1 p2 ok 700",
        "1s b pay o1 p3 ok 300 USD",
        "1s b repay o1 r4 ok 200",
        "1s c hold A2",
        "1s c order h3",
        "1s d hold floor x3",
        "1s e hold floor x7",
        "1s f waitlist 1 category=floor",
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
    }
    world
}

#[test]
fn who_has_what_and_what_was_paid_is_recounted() {
    fn order(shard: &mut Shard) -> &mut OrderView {
        shard.orders.get_mut(1).unwrap()
    }
    fn showtime(shard: &mut Shard) -> &mut Showtime {
        shard.showtimes.get_mut(&showtime_id()).unwrap()
    }
    let bends: [(&str, Bend); 20] = [
        ("captured and owed", |shard| {
            order(shard).captured.amount += 1;
            order(shard).refund_due.amount += 1;
        }),
        ("refunded and owed", |shard| {
            order(shard).refunded.amount += 1;
            order(shard).refund_due.amount -= 1;
        }),
        ("owed", |shard| order(shard).refund_due.amount += 1),
        ("foreign captured", |shard| order(shard).foreign[0].captured.amount += 1),
        ("foreign refunded", |shard| order(shard).foreign[0].refunded.amount = 301),
        ("more back than taken", |shard| {
            // With a payment for each, so that nothing but the comparison of the two tells.
            let order = order(shard);
            let mut refund = order.payments.iter().find(|payment| payment.refund).unwrap().clone();
            (refund.payment, refund.amount) = (PaymentId(5), Money { amount: 301, currency: Currency(*b"USD") });
            order.payments.push(refund);
            order.foreign[0].refunded.amount = 301;
        }),
        ("foreign refunded in another currency", |shard| {
            order(shard).foreign[0].refunded.currency = Currency(*b"CHF");
        }),
        ("foreign", |shard| order(shard).foreign.clear()),
        ("payments", |shard| order(shard).payments.clear()),
        ("order's state", |shard| order(shard).state = OrderState::Refunded),
        ("hold's channel", |shard| shard.holds.get_mut(1).unwrap().channel = Some("club".into())),
        ("no channel", |shard| shard.holds.get_mut(1).unwrap().channel = None),
        ("hold's price", |shard| shard.holds.get_mut(1).unwrap().total.amount += 1),
        ("block's channel", |shard| showtime(shard).blocks.get_mut(&1).unwrap().channel = None),
        ("seat", |shard| showtime(shard).seats.hold(SeatId(3))),
        ("area", |shard| showtime(shard).areas[0].held += 1),
        ("buyer", |shard| showtime(shard).buyers.get_mut(&user_id("a")).unwrap().taken += 1),
        ("waitlist", |shard| showtime(shard).waitlist = Default::default()),
        ("deadlines", |shard| shard.deadlines = Default::default()),
        ("limits", |shard| shard.state.limits.events_max = 1),
    ];
    let world = sold();
    audit_sees(&world.shard, &bends);
}

#[test]
fn what_orders_cost_and_when_things_happened_is_recounted() {
    const LATER: Timestamp = Timestamp(1 << 40);
    fn order(shard: &mut Shard, counter: u64) -> &mut OrderView {
        shard.orders.get_mut(counter).unwrap()
    }
    fn showtime(shard: &mut Shard) -> &mut Showtime {
        shard.showtimes.get_mut(&showtime_id()).unwrap()
    }
    let mut world = sold();
    for line in [
        "1s g hold A4 A5",
        "1s g order h6",
        "1s g cancel o3",
        "1s h hold B1 B2",
        "1s h order h7",
        "1s h pay o4 p9 ok 6000",
        "1s org refund o4 B1",
        "1s i hold B4",
        "1s i order h8",
        "1s i pay o5 p10 ok 3000",
        "1s org refund o5",
        "1s i repay o5 r11 ok 3000",
    ] {
        let answer = world.run(line);
        assert!(!answer.starts_with("refused"), "{line}: {answer}");
    }
    let bends: [(&str, Bend); 17] = [
        ("a pending order's total", |shard| order(shard, 2).total.amount += 1),
        ("a pending order's currency", |shard| order(shard, 2).total.currency = Currency(*b"USD")),
        ("a pending order's total and its hold's", |shard| {
            order(shard, 2).total.amount += 1;
            shard.holds.get_mut(3).unwrap().total.amount += 1;
        }),
        ("a completed order's total", |shard| order(shard, 1).total.amount -= 1),
        ("a canceled order's total", |shard| order(shard, 3).total.amount += 1),
        ("a canceled order's places", |shard| order(shard, 3).places.seats.push(SeatId(9))),
        ("a partly refunded order's total", |shard| order(shard, 4).total.amount -= 1),
        ("a refunded order's total", |shard| order(shard, 5).total.amount += 1),
        ("a payment twice", |shard| {
            // Of an order that names few, so that their number is no reason.
            let order = order(shard, 4);
            order.captured.amount += 6_000;
            order.refund_due.amount += 6_000;
            order.payments.push(order.payments[0].clone());
        }),
        ("when it was held", |shard| shard.holds.get_mut(4).unwrap().held_at = LATER),
        ("when it was placed", |shard| order(shard, 1).placed_at = LATER),
        ("when the credit was counted", |shard| showtime(shard).line.settle_credit(LATER, &Sale::default())),
        ("when the last step was", |shard| {
            showtime(shard).line.note_step(LATER);
            shard.schedule_step(showtime_id());
        }),
        ("when the line was measured", |shard| showtime(shard).line.measure_anew(LATER)),
        ("when it changed", |shard| showtime(shard).updated_at = LATER),
        ("when the last event was", |shard| shard.state.now = Timestamp(999)),
        ("offers", |shard| {
            let (at, due) = (Some(Timestamp(99_000)), crate::shard::Due::Offers(showtime_id()));
            showtime(shard).set_offers_due(at);
            shard.deadlines.replace(None, at, due);
        }),
    ];
    audit_sees(&world.shard, &bends);
}

#[test]
fn offers_before_the_line_opens_are_not_due() {
    let mut world = World::new();
    world.run("0s org sale fifo opens=60s waitlist=yes");
    let (at, due) = (Some(Timestamp(10)), crate::shard::Due::Offers(showtime_id()));
    world.shard.showtimes.get_mut(&showtime_id()).unwrap().set_offers_due(at);
    world.shard.deadlines.replace(None, at, due);
    assert!(world.shard.audit().is_err());
}

#[test]
fn an_entry_of_the_waitlist_that_contradicts_a_hold_is_not_loaded() {
    let mut world = sold();
    world.shard.entries.get_mut(1).unwrap().hold = Some(HoldId::new(GROUP, 1));
    let error = Shard::load(GROUP, world.shard.rows().into_iter()).unwrap_err();
    assert_eq!(error.reason, format!("{} and its hold contradict each other", OfferId::new(GROUP, 1)));
}

#[test]
fn two_holds_of_one_order_are_not_loaded() {
    let mut world = World::new();
    for line in ["0s org sale passthrough", "1s ann hold A1", "1s ann order h1", "1s ann hold A3"] {
        assert!(!world.run(line).starts_with("refused"), "{line}");
    }
    let mut shard = world.shard;
    let first = shard.holds.get(1).unwrap().clone();
    let second = shard.holds.get_mut(2).unwrap();
    (second.order, second.expires_at) = (first.order, first.expires_at);
    let error = Shard::load(GROUP, shard.rows().into_iter()).unwrap_err();
    assert!(error.reason.ends_with("contradict each other"), "{error}");
}

#[test]
fn a_hold_of_a_number_that_no_id_has_is_not_loaded() {
    let mut shard = sold().shard;
    let hold = shard.holds.iter().next().unwrap().1.clone();
    shard.holds.insert(1 << 48 | 1, hold);
    let error = Shard::load(GROUP, shard.rows().into_iter()).unwrap_err();
    assert_eq!(error.reason, format!("there is no hold of number {}", 1_u64 << 48 | 1));
}

#[test]
fn an_entry_of_the_waitlist_for_what_cannot_be_waited_for_is_not_loaded() {
    let world = sold();
    type Wish = (u32, Option<u16>);
    let wishes: [Wish; 6] = [(0, None), (0, Some(2)), (101, None), (u32::MAX, None), (5, Some(3)), (0, Some(60_000))];
    for ((quantity, category), together) in wishes.into_iter().flat_map(|wish| [(wish, true), (wish, false)]) {
        let mut shard = Shard::load(GROUP, world.shard.rows().into_iter()).unwrap();
        let wish = (quantity, category, together);
        let entry = codec::encode(&(showtime_id(), user_id("z"), wish, None::<HoldId>));
        shard.counters.offer += 1;
        shard.entries.insert(shard.counters.offer, codec::decode(&entry).unwrap());
        let error = Shard::load(GROUP, shard.rows().into_iter()).unwrap_err();
        assert!(error.reason.starts_with("entry 2 of the waitlist: "), "{wish:?}: {error}");
    }
}

#[test]
fn more_entrants_than_tickets_are_not_loaded() {
    let mut world = busy();
    world.shard.showtimes.get_mut(&showtime_id()).unwrap().line.head.entrants = 1 << 41;
    let error = Shard::load(GROUP, world.shard.rows().into_iter()).unwrap_err();
    assert!(error.reason.ends_with("there are more entrants than tickets"), "{error}");
}

#[test]
fn a_bent_head_of_a_line_never_panics() {
    let mut world = busy();
    // When all claims are over no segment is left, and nothing but their count tells that it is wrong.
    world.run("200s org tick");
    let rows = world.shard.rows();
    let heads: Vec<usize> = (0..rows.len()).filter(|&row| rows[row].key[0] == TABLE_PROGRESS).collect();
    assert_eq!(heads.len(), 1);
    for byte in 1..rows[heads[0]].value.len() {
        for bend in [0, 1, 7, 249, rows[heads[0]].value[byte] ^ 0x40] {
            let mut bent = rows.clone();
            bent[heads[0]].value[byte] = bend;
            // What loads all the same is found by the checksum that the storage keeps of each row.
            let _ = Shard::load(GROUP, bent.into_iter());
        }
    }
}

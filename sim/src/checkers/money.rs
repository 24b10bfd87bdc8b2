//! Money comes out, at every moment: what was captured, less what went back and what is due to go back, is the price of the
//! seats sold; no payment counts twice, no order completes twice, and what was captured in excess is due to go back. At rest
//! nothing is due any more.

use super::{Checker, Look};
use crate::history::Ask;
use crate::player::{Played, Told};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use vestibule_engine::{
    Currency, Event, Money, OrderId, PaymentId, Places, SeatMap, ShardAnswer, ShardCommand, ShardQuery, ShowtimeId,
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Account {
    captured: i64,
    due: i64,
    refunded: i64,
    /// The price of the seats that are sold for it.
    sold: i64,
}

struct Order {
    currency: Currency,
    completed: bool,
    accounts: BTreeMap<Currency, Account>,
}

/// See the file's head.
#[derive(Default)]
pub struct MoneyAtRest {
    houses: BTreeMap<ShowtimeId, (Arc<SeatMap>, Vec<Money>)>,
    orders: BTreeMap<OrderId, Order>,
    payments: BTreeSet<(OrderId, PaymentId)>,
    /// Refunds that were told as done, with what went back, and whether they bounced since.
    refunds: BTreeMap<(OrderId, PaymentId), (Money, bool)>,
}

impl MoneyAtRest {
    fn price(&self, showtime: ShowtimeId, places: &Places) -> Result<i64, String> {
        let (map, prices) = self.houses.get(&showtime).ok_or_else(|| format!("nobody knows {showtime}"))?;
        let categories: Vec<usize> = map
            .sections
            .iter()
            .flat_map(|section| &section.rows)
            .flat_map(|row| &row.seats)
            .map(|seat| usize::from(seat.category.0))
            .collect();
        let seats = places.seats.iter().map(|seat| prices[categories[seat.0 as usize]].amount);
        let areas = places.areas.iter().map(|&(area, count)| {
            prices[usize::from(map.areas[usize::from(area.0)].category.0)].amount * i64::from(count)
        });
        Ok(seats.chain(areas).sum())
    }

    fn account(&mut self, order: OrderId, currency: Currency) -> Result<&mut Account, String> {
        let order = self.orders.get_mut(&order).ok_or_else(|| format!("nobody placed {order}"))?;
        Ok(order.accounts.entry(currency).or_default())
    }

    fn command(&mut self, told: &Told) -> Result<(), String> {
        if let Ask::Shard(command) = &told.ask
            && let ShardCommand::CreateShowtime(ask) = &**command
        {
            self.houses.entry(ask.showtime).or_insert_with(|| (ask.seat_map.clone(), ask.prices.clone()));
        }
        for record in &told.events {
            let showtime = record.showtime.unwrap_or_default();
            self.event(showtime, &record.event, told).map_err(|what| format!("event {}: {what}", record.sequence))?;
        }
        Ok(())
    }

    fn event(&mut self, showtime: ShowtimeId, event: &Event, told: &Told) -> Result<(), String> {
        match event {
            Event::OrderPlaced { order, places, total, .. } => {
                let price = self.price(showtime, places)?;
                if total.amount != price {
                    return Err(format!("{order} costs {}, but its seats {price}", total.amount));
                }
                let fresh = Order { currency: total.currency, completed: false, accounts: BTreeMap::new() };
                self.orders.insert(*order, fresh);
            }
            Event::OrderCompleted { order, places, .. } => {
                let price = self.price(showtime, places)?;
                let known = self.orders.get_mut(order).ok_or_else(|| format!("nobody placed {order}"))?;
                if std::mem::replace(&mut known.completed, true) {
                    return Err(format!("{order} completed twice"));
                }
                let currency = known.currency;
                self.account(*order, currency)?.sold += price;
            }
            Event::SeatsReleased { places, .. } => {
                let Ask::Shard(command) = &told.ask else { return Ok(()) };
                let ShardCommand::RefundOrder(ask) = &**command else { return Ok(()) };
                let price = self.price(showtime, places)?;
                let currency = self.orders.get(&ask.order).map(|order| order.currency).ok_or("nobody placed it")?;
                self.account(ask.order, currency)?.sold -= price;
            }
            Event::PaymentSucceeded { order, payment, amount } => {
                if !self.payments.insert((*order, *payment)) {
                    return Err(format!("{payment} was captured twice for {order}"));
                }
                self.account(*order, amount.currency)?.captured += amount.amount;
            }
            Event::RefundDue { order, amount, .. } => self.account(*order, amount.currency)?.due += amount.amount,
            Event::PaymentRefunded { order, refund, amount } => {
                if self.refunds.insert((*order, *refund), (*amount, false)).is_some() {
                    return Err(format!("{refund} of {order} went back twice"));
                }
                let account = self.account(*order, amount.currency)?;
                account.refunded += amount.amount;
                account.due -= amount.amount;
            }
            // Of one that was told as done it means that the money came back, and is due once more.
            Event::RefundFailed { order, refund, amount } => {
                let Some((gone, has_bounced)) = self.refunds.get_mut(&(*order, *refund)) else { return Ok(()) };
                if std::mem::replace(has_bounced, true) || gone != amount {
                    return Err(format!("{refund} of {order} bounced twice, or another sum than went back"));
                }
                let account = self.account(*order, amount.currency)?;
                account.refunded -= amount.amount;
                account.due += amount.amount;
            }
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, played: &Played) -> Result<(), String> {
        played.commands.iter().try_for_each(|told| self.command(told))?;
        for (id, order) in self.orders.iter().filter(|(id, _)| id.group() == played.group) {
            for (currency, account) in &order.accounts {
                let Account { captured, due, refunded, sold } = *account;
                if captured - refunded - due != sold || due < 0 || sold < 0 {
                    return Err(format!("{id} after entry {}: {account:?} of {currency:?}", played.position.index));
                }
            }
        }
        Ok(())
    }
}

impl Checker for MoneyAtRest {
    fn name(&self) -> &'static str {
        "money"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        look.played.iter().try_for_each(|played| self.entry(played))
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for (id, order) in &self.orders {
            for (currency, account) in &order.accounts {
                if account.due != 0 || account.captured - account.refunded != account.sold {
                    return Err(format!("{id} is not at rest: {account:?} of {currency:?}"));
                }
            }
        }
        for (&id, order) in &self.orders {
            let account = order.accounts.get(&order.currency).copied().unwrap_or_default();
            for ((node, _), replica) in last.replicas.iter().filter(|((_, group), _)| *group == id.group()) {
                let ShardAnswer::Order(Some(view)) = replica.ask(&ShardQuery::Order(id))? else {
                    return Err(format!("node {node} does not know {id}"));
                };
                let sold = self.price(view.showtime, &view.places)?;
                let there = Account {
                    captured: view.captured.amount,
                    due: view.refund_due.amount,
                    refunded: view.refunded.amount,
                    sold: if order.completed { sold } else { 0 },
                };
                if there != account {
                    return Err(format!("{id} on node {node}: {there:?}, but the log makes it {account:?}"));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Puppet, Stage, joined};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::{AreaId, PaymentOutcome, RecordRefund, RefundOrder, SeatId, UserId};

    const ANN: UserId = UserId(7);

    /// An order that is paid twice and once wrongly, and refunded; all of it goes back, but for `left`.
    fn sale(left: i64) -> (Stage, Look) {
        let mut stage = Stage::without_line();
        let mut looks = vec![stage.open(), stage.hold(ANN, &[SeatId(4)]), stage.place(ANN, 1)];
        looks.extend([stage.pay(1, 1, 7), stage.pay(1, 2, 2_500), stage.pay(1, 2, 2_500), stage.pay(1, 3, 2_500)]);
        let (order, reason) = (OrderId::new(stage.group(), 1), String::new());
        looks.push(stage.run(ShardCommand::RefundOrder(RefundOrder { order, seats: None, reason })));
        let (refund, outcome) = (PaymentId(4), PaymentOutcome::Succeeded);
        let amount = Money { amount: 5_007 - left, ..super::super::stage::PRICE };
        looks.push(stage.run(ShardCommand::RecordRefund(RecordRefund { order, refund, outcome, amount })));
        let look = joined(looks);
        (stage, look)
    }

    #[test]
    fn money_that_does_not_come_out_is_noticed() {
        let (_, look) = sale(0);
        MoneyAtRest::default().observe(&look).expect("as it was");
        let kinds = ["payments.succeeded", "payments.refund.due", "orders.completed"];
        for kind in kinds {
            let (_, mut look) = sale(0);
            let commands = look.played.iter_mut().flat_map(|played| &mut played.commands);
            let told = { commands }.find(|told| told.events.iter().any(|record| record.event.kind() == kind));
            told.expect("it is part of the sale").events.retain(|record| record.event.kind() != kind);
            MoneyAtRest::default().observe(&look).expect_err(kind);
        }
        for kind in ["payments.succeeded", "orders.completed"] {
            let (_, mut look) = sale(0);
            let commands = look.played.iter_mut().flat_map(|played| &mut played.commands);
            let told = { commands }.find(|told| told.events.iter().any(|record| record.event.kind() == kind));
            let told = told.expect("it is part of the sale");
            told.events.extend(told.events.clone());
            MoneyAtRest::default().observe(&look).expect_err(kind);
        }
    }

    #[test]
    fn a_price_of_another_category_is_noticed() {
        let mut stage = Stage::without_line();
        let gallery = AreaId(1);
        let looks = [
            stage.open(),
            stage.hold(ANN, &[SeatId(4)]),
            stage.hold_area(ANN, gallery, 2),
            stage.place(ANN, 1),
            stage.place(ANN, 2),
        ];
        let look = joined(looks);
        let check = |entry: usize, price: i64| {
            let mut look = look.clone();
            let mut events = look.played[entry].commands[0].events.iter_mut();
            let placed = events.find_map(|record| match &mut record.event {
                Event::OrderPlaced { total, .. } => Some(total),
                _ => None,
            });
            placed.expect("an order was placed").amount = price;
            MoneyAtRest::default().observe(&look)
        };
        let (seat, places) = (4, 5);
        check(seat, 2_500).expect("a seat of the floor");
        check(places, 2 * 2_700).expect("two places of the gallery");
        let wrong = check(seat, 2_700).expect_err("the price of the gallery");
        assert!(wrong.contains("costs 2700, but its seats 2500"), "{wrong}");
        check(places, 2 * 2_500).expect_err("the price of the floor");
    }

    #[test]
    fn a_refund_that_bounces_is_due_again() {
        let (mut stage, look) = sale(0);
        let mut checker = MoneyAtRest::default();
        checker.observe(&look).expect("as it was");
        let (order, refund, outcome) = (OrderId::new(stage.group(), 1), PaymentId(4), PaymentOutcome::Failed);
        let amount = Money { amount: 5_007, ..super::super::stage::PRICE };
        let ask = RecordRefund { order, refund, outcome, amount };
        checker.observe(&stage.run(ShardCommand::RecordRefund(ask.clone()))).expect("it is due again");
        let last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect_err("it is still due");
        let ask = RecordRefund { refund: PaymentId(5), outcome: PaymentOutcome::Succeeded, ..ask };
        checker.observe(&stage.run(ShardCommand::RecordRefund(ask))).expect("it went back again");
        let last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect("nothing is due");
    }

    #[test]
    fn what_is_due_at_rest_is_noticed() {
        let (stage, look) = sale(7);
        let mut checker = MoneyAtRest::default();
        checker.observe(&look).expect("it is due");
        let last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect_err("it is still due");
    }

    #[test]
    fn accounts_of_a_replica_that_are_not_those_of_the_log_are_noticed() {
        let (mut stage, look) = sale(0);
        let mut checker = MoneyAtRest::default();
        checker.observe(&look).expect("as it was");
        let last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect("as it was");
        stage.pay(1, 9, 5);
        checker.finish(&last).expect_err("the replica has taken more");
        let (stage, mut look) = sale(0);
        for told in look.played.iter_mut().flat_map(|played| &mut played.commands) {
            told.events.retain(|record| record.event.kind() != "payments.refunded");
        }
        let mut checker = MoneyAtRest::default();
        checker.observe(&look).expect("it is still due");
        let mut last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect_err("the replica has given it back");
        let lost = Puppet { answer: Some(ShardAnswer::Order(None)), ..Puppet::default() };
        last.replicas.insert((1, stage.group()), Rc::new(lost));
        checker.finish(&last).expect_err("the order is lost");
    }
}

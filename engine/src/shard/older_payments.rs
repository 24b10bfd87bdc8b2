//! Payments and refunds that succeeded and that their orders no longer name, and refunds that bounced.
//!
//! What was told of an order is never forgotten: told again, it must not be booked again. But an order is in every answer
//! about it and its page is written whole, so it names its last successes alone. The others are here, by id.
//!
//! A refund that is here as failed had succeeded before: the bank sent the money back. That is the last that can become of
//! it, while one that only its order names as failed may yet succeed. Its order names it, too, while there is room.

use super::Shard;
use super::order::FAILURES_MAX;
use crate::row::{CorruptRow, Row, RowWriter};
use crate::table::Table;
use crate::{OrderId, OrderView, PaymentId, PaymentOutcome, PaymentView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most successes that an order names, of payments and refunds together. Lower under test, so that tests meet more.
pub(super) const NAMED_MAX: usize = if cfg!(test) { 3 } else { 100 };

/// The most payments of an order that succeed, and the most refunds. Money that moved has to be booked, and what is booked
/// has to be known when it is told again; a provider that takes money for one order so often does not do what it should,
/// and somebody has to be told. Lower under test, so that a test reaches it.
pub(super) const SUCCESSES_MAX: u64 = if cfg!(test) { 250 } else { 10_000 };

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OlderPayment {
    pub(super) order: OrderId,
    pub(super) payment: PaymentView,
}

/// All of them, numbered from 1 as they came, and where to find each.
#[derive(Debug, Default)]
pub(super) struct OlderPayments {
    table: Table<OlderPayment>,
    /// Derived.
    of_orders: BTreeMap<OrderId, OfOrder>,
}

/// Where to find those of an order.
#[derive(Debug, Default)]
struct OfOrder {
    numbers: BTreeMap<PaymentId, u64>,
    /// How many of them are refunds.
    refunds: u64,
    /// How many of those have bounced.
    bounced: u64,
}

impl OlderPayments {
    fn number(&self, order: OrderId, payment: PaymentId) -> Option<u64> {
        self.of_orders.get(&order)?.numbers.get(&payment).copied()
    }

    fn get(&self, order: OrderId, payment: PaymentId) -> Option<&PaymentView> {
        Some(&self.table.get(self.number(order, payment)?)?.payment)
    }

    /// Notes that a refund that is here has bounced.
    fn bounce(&mut self, order: OrderId, refund: &PaymentView) {
        let number = self.number(order, refund.payment).expect("the caller found it");
        self.table.get_mut(number).expect("every number is one of the table").payment = refund.clone();
        self.of_orders.get_mut(&order).expect("the caller found it").bounced += 1;
    }

    fn push(&mut self, order: OrderId, payment: PaymentView) {
        let number = self.table.len() + 1;
        assert_eq!(self.number(order, payment.payment), None, "{} of {order} is here already", payment.payment);
        let older = OlderPayment { order, payment };
        self.find(number, &older);
        self.table.insert(number, older);
    }

    /// Has one found by its id.
    fn find(&mut self, number: u64, older: &OlderPayment) {
        let of_order = self.of_orders.entry(older.order).or_default();
        of_order.numbers.insert(older.payment.payment, number);
        of_order.refunds += u64::from(older.payment.refund);
        of_order.bounced += u64::from(older.payment.outcome == PaymentOutcome::Failed);
    }

    /// Whether this refund is known to have bounced.
    fn has_bounced(&self, order: OrderId, refund: PaymentId) -> bool {
        self.get(order, refund).is_some_and(|older| older.outcome == PaymentOutcome::Failed)
    }

    /// How many payments of an order are here, or refunds.
    fn count(&self, order: OrderId, refund: bool) -> u64 {
        let Some(of_order) = self.of_orders.get(&order) else { return 0 };
        if refund { of_order.refunds } else { of_order.numbers.len() as u64 - of_order.refunds }
    }

    /// Those of an order.
    pub(super) fn of(&self, order: OrderId) -> impl Iterator<Item = &PaymentView> {
        let numbers = self.of_orders.get(&order).into_iter().flat_map(|of_order| of_order.numbers.values());
        numbers.filter_map(|&number| self.table.get(number)).map(|older| &older.payment)
    }

    pub(super) fn write_all(&self, table: u8, rows: &mut RowWriter) {
        self.table.write_all(table, &[], rows);
    }

    pub(super) fn write_dirty(&mut self, table: u8, rows: &mut RowWriter) {
        self.table.write_dirty(table, &[], rows);
    }

    pub(super) fn load_page(&mut self, page: u64, row: &Row) -> Result<(), CorruptRow> {
        self.table.load_page(page, row)
    }

    /// Finds them anew.
    pub(super) fn finish_load(&mut self) {
        let table = std::mem::take(&mut self.table);
        table.iter().for_each(|(number, older)| self.find(number, older));
        self.table = table;
    }

    /// Recounts: they are numbered without gaps, each is found and is a success or a refund that bounced, and the orders are
    /// those given.
    pub(super) fn audit(&self, orders: &Table<OrderView>) -> Result<(), String> {
        for ((number, older), wanted) in self.table.iter().zip(1..) {
            let OlderPayment { order, payment } = older;
            if number != wanted || self.number(*order, payment.payment) != Some(number) {
                return Err(format!("older payment {wanted} is not where it should be"));
            }
            let has_bounced = payment.outcome == PaymentOutcome::Failed;
            if has_bounced && !payment.refund {
                return Err(format!("older payment {number} is a failure"));
            }
            let named = orders.get(order.counter()).filter(|found| found.order == *order).map(|order| &order.payments);
            let Some(named) = named else { return Err(format!("{order} has older payments and is missing")) };
            // Of the newest some may have bounced since they were named.
            let is_short = self.of_orders[order].bounced == 0 && successes(named).count() != NAMED_MAX;
            let is_named = |other: &PaymentView| other.payment == payment.payment && !(has_bounced && other == payment);
            if is_short || named.iter().any(is_named) {
                return Err(format!("{order} names what is older, or not all that is newer"));
            }
        }
        let (mut found, mut refunds, mut bounced) = (0, 0, 0);
        for of_order in self.of_orders.values() {
            found += of_order.numbers.len() as u64;
            (refunds, bounced) = (refunds + of_order.refunds, bounced + of_order.bounced);
        }
        let count =
            |is: fn(&PaymentView) -> bool| self.table.iter().filter(|(_, older)| is(&older.payment)).count() as u64;
        let counted = (count(|payment| payment.refund), count(|payment| payment.outcome == PaymentOutcome::Failed));
        if found != self.table.len() || (refunds, bounced) != counted {
            return Err(format!("{found} older payments are found, {refunds} of them refunds, {bounced} bounced"));
        }
        Ok(())
    }
}

/// The successes among the payments that an order names, and where they stand.
fn successes(payments: &[PaymentView]) -> impl Iterator<Item = (usize, &PaymentView)> {
    payments.iter().enumerate().filter(|(_, payment)| payment.outcome == PaymentOutcome::Succeeded)
}

/// How many failures an order names.
pub(super) fn failures(payments: &[PaymentView]) -> usize {
    payments.iter().filter(|payment| payment.outcome == PaymentOutcome::Failed).count()
}

/// Refuses an order that names more successes than it may.
pub(super) fn check_named(order: &OrderView) -> Result<(), String> {
    if successes(&order.payments).count() > NAMED_MAX { Err("it names too many payments".into()) } else { Ok(()) }
}

impl Shard {
    /// What is known of an id: where the order names it, if it does, and what was told.
    pub(super) fn known_payment<'a>(
        &'a self,
        order: &'a OrderView,
        id: PaymentId,
    ) -> Option<(Option<usize>, &'a PaymentView)> {
        let named = order.payments.iter().position(|payment| payment.payment == id);
        match named {
            Some(index) => Some((named, &order.payments[index])),
            None => Some((None, self.older_payments.get(order.order, id)?)),
        }
    }

    /// Whether a refund succeeded and then failed: that is the last that can become of it.
    pub(super) fn has_bounced(&self, order: OrderId, refund: PaymentId) -> bool {
        self.older_payments.has_bounced(order, refund)
    }

    /// Notes that a refund that succeeded has bounced: kept with what is older for good, and named by the order in its place
    /// as long as that has room for one more failure.
    pub(super) fn note_bounce(&mut self, id: OrderId, known: Option<usize>, refund: PaymentView) {
        let Some(index) = known else { return self.older_payments.bounce(id, &refund) };
        let order = self.order_mut(id);
        if failures(&order.payments) >= FAILURES_MAX {
            order.payments.remove(index);
        } else {
            order.payments[index] = refund.clone();
        }
        self.older_payments.push(id, refund);
    }

    /// Whether one more success of an order, of a payment or of a refund, would be more than there may be.
    pub(super) fn has_many_successes(&self, order: &OrderView, refund: bool) -> bool {
        let named = successes(&order.payments).filter(|(_, payment)| payment.refund == refund).count() as u64;
        named + self.older_payments.count(order.order, refund) >= SUCCESSES_MAX
    }

    /// Notes what was told of an order, as the last; what it named of the same id before was not the last word. The oldest of
    /// too many successes is named no longer.
    pub(super) fn note_payment(&mut self, id: OrderId, known: Option<usize>, payment: PaymentView) {
        let order = self.order_mut(id);
        if let Some(index) = known {
            order.payments.remove(index);
        }
        order.payments.push(payment);
        let mut named = successes(&order.payments);
        let oldest = named.next().map(|(index, _)| index).filter(|_| named.count() >= NAMED_MAX);
        if let Some(index) = oldest {
            let payment = order.payments.remove(index);
            self.older_payments.push(id, payment);
        }
    }
}

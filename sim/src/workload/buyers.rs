//! Buyers: they hold seats that others want too, order, pay (late, twice, not at all), cancel, and are refunded.

use super::house::{House, PRICE};
use super::{Client, Shop, Stage};
use crate::dice::Dice;
use crate::options::Options;
use std::time::Duration;
use vestibule_engine::{
    BestSeats, CancelOrder, ExtendHold, HoldSeats, HoldView, Money, OrderState, OrderView, Outcome, PaymentId,
    PaymentOutcome, PlaceOrder, RecordPayment, RecordRefund, RefundOrder, ReleaseHold, SeatChoice, SeatId,
    ShardCommand, UserId,
};

/// Buys until the run closes; then every group that sells has to answer once more.
pub async fn buy(client: Client, user: UserId, options: Options, shop: Shop, dice: Dice) {
    let mut buyer = Buyer { client, user, think_max: options.think_max, dice };
    let house = loop {
        if let Some(house) = shop.house() {
            break house;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    while shop.stage() < Stage::Closing {
        buyer.think().await;
        buyer.visit(&house, &options).await;
    }
    for &showtime in &house.showtimes {
        let choice = SeatChoice::Named(vec![SeatId(0)]);
        let ask = ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket: None, channel: None, choice });
        while buyer.client.shard(showtime.group(), ask.clone()).await.is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

struct Buyer {
    client: Client,
    user: UserId,
    think_max: Duration,
    dice: Dice,
}

impl Buyer {
    async fn think(&mut self) {
        let think_max = u64::try_from(self.think_max.as_millis()).unwrap_or(u64::MAX);
        tokio::time::sleep(self.dice.millis(0..=think_max)).await;
    }

    fn choice(&mut self, house: &House) -> SeatChoice {
        let seats = house.seat_map.seat_count();
        let quantity = self.dice.within(1..=4) as u32;
        if self.dice.percent(40) {
            let together = self.dice.percent(50);
            let best =
                BestSeats { quantity, category: None, section: None, accessible: false, companion: false, together };
            return SeatChoice::Best(best);
        }
        // Most want the same few seats.
        let wanted = if self.dice.percent(70) { seats.min(12) } else { seats };
        let named = (0..quantity).map(|_| SeatId(self.dice.index(wanted) as u32)).collect();
        SeatChoice::Named(named)
    }

    async fn visit(&mut self, house: &House, options: &Options) {
        let showtime = *self.dice.pick(&house.showtimes);
        let choice = self.choice(house);
        let ask = HoldSeats { showtime, user: self.user, ticket: None, channel: None, choice };
        let Some(Ok(Outcome::Held { hold })) = self.client.shard(showtime.group(), ShardCommand::HoldSeats(ask)).await
        else {
            return;
        };
        self.think().await;
        if self.dice.percent(20) {
            let ask = ExtendHold { hold: hold.hold, user: self.user };
            self.client.shard(showtime.group(), ShardCommand::ExtendHold(ask)).await;
        }
        match self.dice.within(0..=99) {
            0..=64 => self.order(hold, options).await,
            65..=84 => {
                let ask = ReleaseHold { hold: hold.hold, user: self.user };
                self.client.shard(showtime.group(), ShardCommand::ReleaseHold(ask)).await;
            }
            _ => {}
        }
    }

    async fn order(&mut self, hold: HoldView, options: &Options) {
        let group = hold.showtime.group();
        let ask = PlaceOrder { hold: hold.hold, user: self.user, email: "buyer@example.org".to_owned() };
        let Some(Ok(Outcome::Ordered { order })) = self.client.shard(group, ShardCommand::PlaceOrder(ask)).await else {
            return;
        };
        self.think().await;
        match self.dice.within(0..=99) {
            0..=59 => self.pay(&order, order.total, PaymentOutcome::Succeeded).await,
            60..=67 => {
                // Late: the order may have expired meanwhile.
                tokio::time::sleep(options.payment_ttl).await;
                self.pay(&order, order.total, PaymentOutcome::Succeeded).await;
            }
            68..=75 => {
                self.pay(&order, order.total, PaymentOutcome::Failed).await;
                self.pay(&order, order.total, PaymentOutcome::Succeeded).await;
            }
            76..=81 => {
                // Twice: one of the two has to go back.
                self.pay(&order, order.total, PaymentOutcome::Succeeded).await;
                self.pay(&order, order.total, PaymentOutcome::Succeeded).await;
            }
            82..=85 => {
                let wrong = Money { amount: PRICE.amount + 1, ..PRICE };
                self.pay(&order, wrong, PaymentOutcome::Succeeded).await;
            }
            86..=92 => {
                let ask = CancelOrder { order: order.order, user: self.user };
                self.client.shard(group, ShardCommand::CancelOrder(ask)).await;
            }
            _ => {}
        }
    }

    async fn pay(&mut self, order: &OrderView, amount: Money, outcome: PaymentOutcome) {
        let group = order.showtime.group();
        let payment = PaymentId(self.dice.number());
        let ask = RecordPayment { order: order.order, payment, outcome, amount };
        let paid = self.client.shard(group, ShardCommand::RecordPayment(ask.clone())).await;
        if self.dice.percent(20) {
            // The provider tells it again.
            self.client.shard(group, ShardCommand::RecordPayment(ask)).await;
        }
        let Some(Ok(Outcome::PaymentKnown { order, .. })) = paid else { return };
        if order.state == OrderState::Completed && self.dice.percent(50) {
            self.think().await;
            let ask = RefundOrder { order: order.order, seats: None, reason: "ill".to_owned() };
            let refunded = self.client.shard(group, ShardCommand::RefundOrder(ask)).await;
            if let Some(Ok(Outcome::Ordered { order })) = refunded {
                self.give_back(&order).await;
            }
        } else if order.refund_due.amount > 0 {
            self.give_back(&order).await;
        }
    }

    async fn give_back(&mut self, order: &OrderView) {
        let refund = PaymentId(self.dice.number());
        let outcome = PaymentOutcome::Succeeded;
        let ask = RecordRefund { order: order.order, refund, outcome, amount: order.refund_due };
        self.client.shard(order.showtime.group(), ShardCommand::RecordRefund(ask)).await;
    }
}

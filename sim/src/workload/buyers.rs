//! Buyers: they hold seats that others want too, order, pay (late, twice, not at all), cancel, and are refunded. Those who come to a line are in
//! [`crowd`](super::crowd).

use super::closing::due;
use super::house::House;
use super::{Client, Shop, Stage};
use crate::dice::Dice;
use crate::options::Options;
use std::time::Duration;
use vestibule_engine::{
    AreaId, BestSeats, CancelOrder, Currency, ExtendHold, HoldSeats, HoldView, Method, Money, OrderState, OrderView,
    Outcome, PaymentId, PaymentOutcome, PlaceOrder, RecordPayment, RecordRefund, RefundOrder, Refusal, ReleaseHold,
    SeatChoice, SeatId, ShardCommand, ShowtimeId, TicketNumber, UserId,
};

/// Buys until the run closes; then every group that sells has to answer once more.
pub async fn buy(client: Client, user: UserId, options: Options, shop: Shop, dice: Dice) {
    let mut buyer = Buyer { client, shop: shop.clone(), user, think_max: options.think_max, dice };
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

pub(super) struct Buyer {
    pub(super) client: Client,
    pub(super) shop: Shop,
    pub(super) user: UserId,
    think_max: Duration,
    pub(super) dice: Dice,
}

impl Buyer {
    async fn think(&mut self) {
        let think_max = u64::try_from(self.think_max.as_millis()).unwrap_or(u64::MAX);
        tokio::time::sleep(self.dice.millis(0..=think_max)).await;
    }

    fn choice(&mut self, house: &House, options: &Options) -> SeatChoice {
        let seats = house.seat_map.seat_count();
        let quantity = self.dice.within(1..=4) as u32;
        if self.dice.percent(10) {
            let area = AreaId(self.dice.index(house.seat_map.areas.len()) as u16);
            return SeatChoice::Area { area, quantity };
        }
        if self.dice.percent(options.market.best) {
            let together = self.dice.percent(50);
            let best =
                BestSeats { quantity, category: None, section: None, accessible: false, companion: false, together };
            return SeatChoice::Best(best);
        }
        // Most want the same few seats.
        let wanted = if options.market.storm && self.dice.percent(80) { seats.min(12) } else { seats };
        let named = (0..quantity).map(|_| SeatId(self.dice.index(wanted) as u32)).collect();
        SeatChoice::Named(named)
    }

    async fn visit(&mut self, house: &House, options: &Options) {
        let index = self.dice.index(house.showtimes.len());
        let showtime = house.showtimes[index];
        if options.market.waitlist && self.dice.percent(15) {
            self.wait_for_seats(showtime, house, options).await;
        } else if options.market.methods[index] == Method::Passthrough {
            self.shop(showtime, None, house, options).await;
        } else if self.dice.percent(5) {
            // Somebody tries without a ticket, or with one that is not theirs.
            let number = self.dice.within(1..=20);
            let ticket = self.dice.percent(80).then_some(TicketNumber(number));
            self.shop(showtime, ticket, house, options).await;
        } else {
            self.stand_in_line(showtime, house, options).await;
        }
    }

    /// Holds seats, and goes on from there.
    pub(super) async fn shop(
        &mut self,
        showtime: ShowtimeId,
        ticket: Option<TicketNumber>,
        house: &House,
        options: &Options,
    ) {
        let choice = self.choice(house, options);
        let ask = HoldSeats { showtime, user: self.user, ticket, channel: None, choice };
        let hold = match self.client.shard(showtime.group(), ShardCommand::HoldSeats(ask)).await {
            Some(Ok(Outcome::Held { hold })) => hold,
            Some(Err(Refusal::BuyerLimit { .. })) => {
                // They have what they may have; the next one comes.
                self.user = UserId(self.dice.wide());
                return;
            }
            _ => return,
        };
        if let Some(other) = self.shop.show_hold(hold.hold).filter(|_| self.dice.percent(10)) {
            // Somebody tries to get rid of another's hold, or of one of their own that may have ended.
            let ask = ReleaseHold { hold: other, user: self.user };
            self.client.shard(other.group(), ShardCommand::ReleaseHold(ask)).await;
        }
        self.think().await;
        if self.dice.percent(20) {
            let ask = ExtendHold { hold: hold.hold, user: self.user };
            self.client.shard(showtime.group(), ShardCommand::ExtendHold(ask)).await;
        }
        match self.dice.within(0..=99) {
            0..=64 => self.order(*hold, options).await,
            65..=84 => {
                let ask = ReleaseHold { hold: hold.hold, user: self.user };
                self.client.shard(showtime.group(), ShardCommand::ReleaseHold(ask)).await;
            }
            _ => {}
        }
    }

    pub(super) async fn order(&mut self, hold: HoldView, options: &Options) {
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
                let wrong = Money { amount: order.total.amount + 1, ..order.total };
                self.pay(&order, wrong, PaymentOutcome::Succeeded).await;
            }
            86..=92 => {
                let ask = CancelOrder { order: order.order, user: self.user };
                self.client.shard(group, ShardCommand::CancelOrder(ask)).await;
            }
            93..=95 => {
                // In another currency: all of it has to go back.
                let foreign = Money { currency: Currency(*b"USD"), ..order.total };
                self.pay(&order, foreign, PaymentOutcome::Succeeded).await;
                if self.dice.percent(50) {
                    self.pay(&order, order.total, PaymentOutcome::Succeeded).await;
                }
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
        let Some(Ok(Outcome::Ordered { order } | Outcome::PaymentKnown { order, .. })) = paid else { return };
        if order.state == OrderState::Completed && self.dice.percent(50) {
            self.think().await;
            // One seat, or all.
            let one = order.places.seats.iter().take(1).copied().collect();
            let seats = Some(one).filter(|one: &Vec<SeatId>| !one.is_empty() && self.dice.percent(40));
            let ask = RefundOrder { order: order.order, seats, reason: "ill".to_owned() };
            let refunded = self.client.shard(group, ShardCommand::RefundOrder(ask)).await;
            if let Some(Ok(Outcome::Ordered { order })) = refunded {
                self.give_back(&order).await;
            }
        } else {
            self.give_back(&order).await;
        }
    }

    async fn give_back(&mut self, order: &OrderView) {
        for amount in due(order) {
            self.refund(order, amount).await;
        }
    }

    async fn refund(&mut self, order: &OrderView, amount: Money) {
        let (group, refund) = (order.showtime.group(), PaymentId(self.dice.number()));
        let ask = |outcome| ShardCommand::RecordRefund(RecordRefund { order: order.order, refund, outcome, amount });
        let (gone, failed) = (ask(PaymentOutcome::Succeeded), ask(PaymentOutcome::Failed));
        if self.dice.percent(20) {
            // The provider fails at first.
            if self.client.shard(group, failed.clone()).await.is_none() {
                // It may yet be recorded, and after the success that would mean that the money came back.
                return;
            }
        }
        let recorded = self.client.shard(group, gone.clone()).await;
        if self.dice.percent(20) {
            self.client.shard(group, gone).await;
        }
        if matches!(recorded, Some(Ok(_))) && self.dice.percent(15) {
            // The buyer's bank does not take it: it is owed as before, and the last to leave gives it back. An outcome
            // that stays unknown could be recorded after that one has looked.
            self.think().await;
            while self.client.shard(group, failed.clone()).await.is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

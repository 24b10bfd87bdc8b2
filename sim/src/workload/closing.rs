//! The end of the sale: the directory has to serve once more, and money that has to go back does, whoever left it.

use super::{Client, Shop};
use crate::dice::Dice;
use std::collections::BTreeSet;
use std::time::Duration;
use vestibule_engine::{
    CreateOrganisation, DirectoryCommand, GroupId, Money, OrderId, OrderView, PaymentId, PaymentOutcome, RecordRefund,
    ShardAnswer, ShardCommand, ShardQuery, UserId,
};

/// Comes once buyers have made an end.
pub async fn close(client: Client, shop: Shop, mut dice: Dice) {
    let ask = CreateOrganisation { by: UserId(1), name: "The House, another year".to_owned() };
    while client.directory(DirectoryCommand::CreateOrganisation(ask.clone())).await.is_none() {
        pause().await;
    }
    // Whoever comes over HTTP may still pay, and be due something.
    while shop.web.is_busy() {
        pause().await;
    }
    let Some(house) = shop.house() else { return };
    let groups: BTreeSet<GroupId> = house.showtimes.iter().map(|showtime| showtime.group()).collect();
    for group in groups {
        for counter in 1.. {
            let id = OrderId::new(group, counter);
            let Some(order) = order(&client, id).await else { break };
            for amount in due(&order) {
                let (refund, outcome) = (PaymentId(dice.number()), PaymentOutcome::Succeeded);
                let ask = ShardCommand::RecordRefund(RecordRefund { order: id, refund, outcome, amount });
                // Somebody else may have been faster; then it is refused.
                while client.shard(group, ask.clone()).await.is_none() {
                    pause().await;
                }
            }
        }
    }
}

/// What has to go back of an order, by currency.
pub(super) fn due(order: &OrderView) -> Vec<Money> {
    let foreign = order.foreign.iter().map(|foreign| {
        let amount = foreign.captured.amount - foreign.refunded.amount;
        Money { amount, ..foreign.captured }
    });
    std::iter::once(order.refund_due).chain(foreign).filter(|due| due.amount > 0).collect()
}

async fn order(client: &Client, id: OrderId) -> Option<Box<OrderView>> {
    loop {
        match client.read(id.group(), ShardQuery::Order(id), true).await {
            Some(ShardAnswer::Order(order)) => return order,
            _ => pause().await,
        }
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

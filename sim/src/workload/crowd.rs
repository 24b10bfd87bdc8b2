//! Those who come to a showtime with a line: they join, wait, claim and shop, or give up on the way; and those who wait for
//! seats of a house that is full.

use super::Stage;
use super::buyers::Buyer;
use super::house::House;
use crate::options::Options;
use std::time::Duration;
use vestibule_engine::{
    ClaimAdmission, GroupId, HoldAnswer, JoinQueue, JoinWaitlist, LeaveQueue, LeaveWaitlist, OfferId, Outcome,
    ShardAnswer, ShardCommand, ShardQuery, ShowtimeId, TicketNumber, TicketState, UserId,
};

/// How many times somebody looks whether it is their turn.
const LOOKS_MAX: usize = 25;

impl Buyer {
    /// Another person comes: a line gives everybody one ticket only.
    pub(super) async fn stand_in_line(&mut self, showtime: ShowtimeId, house: &House, options: &Options) {
        self.user = UserId(self.dice.wide());
        let user = self.user;
        let join = ShardCommand::JoinQueue(JoinQueue { showtime, user });
        let joined = self.client.shard(showtime.group(), join.clone()).await;
        let Some(Ok(Outcome::Queued { ticket, .. })) = joined else { return };
        if self.dice.percent(10) {
            self.client.shard(showtime.group(), join).await;
        }
        if !self.wait(showtime, ticket.number).await {
            let leave = LeaveQueue { showtime, user, ticket: ticket.number };
            self.client.shard(showtime.group(), ShardCommand::LeaveQueue(leave)).await;
            return;
        }
        let claim = ShardCommand::ClaimAdmission(ClaimAdmission { showtime, user, ticket: ticket.number });
        let claimed = self.client.shard(showtime.group(), claim).await;
        if !matches!(claimed, Some(Ok(Outcome::Claimed { .. }))) {
            return;
        }
        for _ in 0..self.dice.within(1..=2) {
            self.shop(showtime, Some(ticket.number), house, options).await;
        }
        if self.dice.percent(15) {
            let leave = LeaveQueue { showtime, user, ticket: ticket.number };
            self.client.shard(showtime.group(), ShardCommand::LeaveQueue(leave)).await;
        }
    }

    /// Waits to be called. Some lose patience, and some try before it is their turn.
    async fn wait(&mut self, showtime: ShowtimeId, number: TicketNumber) -> bool {
        for _ in 0..LOOKS_MAX {
            if self.dice.percent(4) || self.shop.stage() >= Stage::Closing {
                return false;
            }
            if self.dice.percent(5) {
                return true;
            }
            let is_linearizable = self.dice.percent(40);
            let query = ShardQuery::Ticket { showtime, number };
            if let Some(ShardAnswer::Ticket(Some(ticket))) =
                self.client.read(showtime.group(), query, is_linearizable).await
                && !matches!(ticket.state, TicketState::Prequeue | TicketState::Waiting)
            {
                return true;
            }
            let pause = self.dice.millis(100..=600);
            tokio::time::sleep(pause).await;
        }
        false
    }

    /// Waits for seats that come free, and buys those that are offered.
    pub(super) async fn wait_for_seats(&mut self, showtime: ShowtimeId, house: &House, options: &Options) {
        let (group, user) = (showtime.group(), self.user);
        let (quantity, together) = (self.dice.within(1..=3) as u32, self.dice.percent(50));
        // Some categories have no areas: of those nothing is left soonest.
        let category = self.dice.percent(50).then(|| self.dice.pick(&house.seat_map.categories).name.clone());
        let ask = JoinWaitlist { showtime, user, quantity, category, together };
        let Some(entry) = self.join_waitlist(ask.clone()).await else { return };
        // Others wait for the same: who of them is offered seats first has to be who came first.
        let mut others = Vec::new();
        for _ in 0..self.dice.within(0..=2) {
            let user = UserId(self.dice.wide());
            others.extend(self.join_waitlist(JoinWaitlist { user, ..ask.clone() }).await.map(|entry| (entry, user)));
        }
        self.wait_for_offer(group, entry, options).await;
        for (entry, user) in std::iter::once((entry, user)).chain(others) {
            self.client.shard(group, ShardCommand::LeaveWaitlist(LeaveWaitlist { entry, user })).await;
        }
    }

    async fn join_waitlist(&self, ask: JoinWaitlist) -> Option<OfferId> {
        match self.client.shard(ask.showtime.group(), ShardCommand::JoinWaitlist(ask)).await {
            Some(Ok(Outcome::Waitlisted { entry, .. })) => Some(entry),
            _ => None,
        }
    }

    /// Waits for an offer, and mostly buys it.
    async fn wait_for_offer(&mut self, group: GroupId, entry: OfferId, options: &Options) {
        for _ in 0..self.dice.within(1..=10) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let Some(ShardAnswer::Waitlist(view)) = self.client.read(group, ShardQuery::Waitlist(entry), false).await
            else {
                continue;
            };
            let Some(hold) = view.and_then(|view| view.hold) else { continue };
            if let Some(ShardAnswer::Hold(HoldAnswer::Live(hold))) =
                self.client.read(group, ShardQuery::Hold(hold), true).await
                && self.dice.percent(80)
            {
                self.order(*hold, options).await;
            }
            return;
        }
    }
}

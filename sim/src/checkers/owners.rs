//! What is a buyer's is changed by that buyer alone.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Happening};
use std::collections::BTreeMap;
use vestibule_engine::{HoldId, OrderId, Outcome, ShardCommand, UserId};

/// See the file's head.
#[derive(Default)]
pub struct Owners {
    holds: BTreeMap<HoldId, UserId>,
    orders: BTreeMap<OrderId, UserId>,
}

impl Owners {
    /// What a command is about, who says it, and whose the thing is as far as is known.
    fn stranger(&self, command: &ShardCommand) -> Option<String> {
        let (what, user, owner) = match command {
            ShardCommand::ExtendHold(ask) => (ask.hold.to_string(), ask.user, self.holds.get(&ask.hold)?),
            ShardCommand::ReleaseHold(ask) => (ask.hold.to_string(), ask.user, self.holds.get(&ask.hold)?),
            ShardCommand::PlaceOrder(ask) => (ask.hold.to_string(), ask.user, self.holds.get(&ask.hold)?),
            ShardCommand::CancelOrder(ask) => (ask.order.to_string(), ask.user, self.orders.get(&ask.order)?),
            _ => return None,
        };
        (user != *owner).then(|| format!("{user} was let to change {what}, which is {owner}'s"))
    }
}

impl Checker for Owners {
    fn name(&self) -> &'static str {
        "owners"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            let Happening::Answered { call, answer: Answer::Reply(reply, _), .. } = happening else { continue };
            let (Ask::Shard(command), Ok(outcome)) = (&call.ask, &reply.result) else { continue };
            if let Some(what) = self.stranger(command) {
                return Err(what);
            }
            match outcome {
                Outcome::Held { hold } => drop(self.holds.insert(hold.hold, hold.user)),
                Outcome::Ordered { order } => drop(self.orders.insert(order.order, order.user)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;
    use vestibule_engine::{GroupId, ReleaseHold, Reply, RequestId};
    use vestibule_raft::cluster::Position;

    #[test]
    fn a_stranger_who_gets_a_hold_released_is_noticed() {
        let hold = HoldId::new(GroupId(1), 1);
        let release = |user| {
            let ask = Ask::Shard(Box::new(ShardCommand::ReleaseHold(ReleaseHold { hold, user: UserId(user) })));
            let (by, group, request, at) = (String::new(), GroupId(1), RequestId(1), Duration::ZERO);
            let call = Arc::new(crate::history::Call { number: 0, by, group, request, ask, at });
            let reply = Reply { result: Ok(Outcome::Done), replayed: false };
            let answer = Answer::Reply(reply, Position { term: 1, index: 1 });
            let happenings = vec![Happening::Answered { call, answer, at }];
            let mut owners = Owners { holds: [(hold, UserId(1))].into(), ..Owners::default() };
            owners.observe(&Look { happenings, ..Look::default() })
        };
        release(1).expect("their own");
        release(2).expect_err("another's");
    }
}

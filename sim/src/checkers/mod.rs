//! What must hold, whatever happens: one invariant a file, each with a test that it notices when it does not.
//!
//! A checker is shown a [`Look`] after every step of the simulation. To add one, write a file with a type that
//! implements [`Checker`], and name it in [`all`].

pub mod acknowledged;
pub mod admitted;
pub mod agreement;
pub mod audits;
pub mod chains;
pub mod contract;
pub mod draw;
pub mod durability;
pub mod elections;
pub mod inventory;
pub mod kept;
pub mod line;
pub mod linearizable;
pub mod log_time;
pub mod logs;
pub mod money;
pub mod monotony;
pub mod one_answer;
pub mod one_holder;
pub mod outcomes;
pub mod owners;
pub mod provider;
pub mod reads;
pub mod replay;
pub mod replica;
pub mod seats;
pub mod served;
pub mod tickets;
pub mod views;

#[cfg(test)]
mod stage;
pub mod waitlist;

use crate::history::Happening;
use crate::player::{Played, Player};
use crate::web::visits;
use replica::Replica;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use vestibule_engine::{EventRecord, GroupId, Sequence};
use vestibule_raft::inspect::GroupView;
use vestibule_raft::types::NodeId;
use vestibule_raft::wal::{EntryBody, LogPosition};

/// An entry that a node was first seen to have applied.
#[derive(Debug, Clone)]
pub struct AppliedEntry {
    /// Which node.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// Where in the log.
    pub position: LogPosition,
    /// What it says.
    pub body: EntryBody,
}

/// The state of a group on a node after an entry was applied.
#[derive(Debug, Clone)]
pub struct StateDigest {
    /// Which node.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// The last entry applied.
    pub applied: LogPosition,
    /// SHA-256 over the whole state.
    pub digest: [u8; 32],
}

/// An event that a sink was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// By which group.
    pub group: GroupId,
    /// The number that had to come next.
    pub next: Sequence,
    /// What came.
    pub record: EventRecord,
}

/// A running node, as it stands now.
#[derive(Debug, Clone, Default)]
pub struct NodeLook {
    /// How many times it has been started.
    pub life: u64,
    /// Its groups.
    pub groups: BTreeMap<GroupId, GroupView>,
    /// The last entry in the log of each of its groups.
    pub last: BTreeMap<GroupId, LogPosition>,
}

/// The world after a step of the simulation.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Simulated time.
    pub at: Duration,
    /// The nodes that run.
    pub nodes: BTreeMap<NodeId, NodeLook>,
    /// What nodes were seen to apply in this step, in order for each.
    pub applied: Vec<AppliedEntry>,
    /// The states that this led to.
    pub digests: Vec<StateDigest>,
    /// What clients asked and heard in this step, in order.
    pub happenings: Vec<Happening>,
    /// What those asked and heard who come over HTTP, and what the payment provider took, in order.
    pub visits: Vec<visits::Event>,
    /// Events that sinks were sent in this step, in order for each.
    pub sent: Vec<Sent>,
    /// The groups on running nodes, to be asked anything.
    pub replicas: BTreeMap<(NodeId, GroupId), Rc<dyn Replica>>,
    /// What the entries did that were first applied by anybody, in the order of each group's log.
    pub played: Vec<Played>,
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{checker}: {what}")]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

/// Watches one invariant.
pub trait Checker {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Looks at the world after a step; `Err` says what is wrong with it.
    fn observe(&mut self, look: &Look) -> Result<(), String>;

    /// The run is over and nothing happens any more; what is still open is wrong. All nodes run, and all replicas are equal.
    fn finish(&mut self, _last: &Look) -> Result<(), String> {
        Ok(())
    }
}

/// All checkers, and what they share.
#[derive(Default)]
pub struct Panel {
    player: Player,
    checkers: Vec<Box<dyn Checker>>,
}

/// Every checker there is.
pub fn all() -> Panel {
    let checkers: Vec<Box<dyn Checker>> = vec![
        Box::new(elections::Elections::default()),
        Box::new(logs::Logs::default()),
        Box::new(log_time::LogTime),
        Box::new(monotony::Monotony::default()),
        Box::new(acknowledged::Acknowledged),
        Box::new(agreement::Agreement::default()),
        Box::new(replay::Replay::default()),
        Box::new(reads::Reads::default()),
        Box::new(chains::Chains::default()),
        Box::new(audits::Audits::default()),
        Box::new(outcomes::Outcomes::default()),
        Box::new(seats::Seats::default()),
        Box::new(owners::Owners::default()),
        Box::new(inventory::Inventory::default()),
        Box::new(money::MoneyAtRest::default()),
        Box::new(line::Lines::default()),
        Box::new(draw::Draw::default()),
        Box::new(waitlist::Waitlist::default()),
        Box::new(linearizable::Linearizable::default()),
        Box::new(durability::Durability::default()),
        Box::new(contract::Contract),
        Box::new(served::Served),
        Box::new(one_answer::OneAnswer::default()),
        Box::new(one_holder::OneHolder::default()),
        Box::new(tickets::Tickets::default()),
        Box::new(admitted::Admitted::default()),
        Box::new(views::Views::default()),
        Box::new(kept::Kept::default()),
        Box::new(provider::Provider::default()),
    ];
    Panel { player: Player::default(), checkers }
}

/// Shows a look to all checkers; gives the first violation.
pub fn observe(panel: &mut Panel, look: &mut Look) -> Result<(), Violation> {
    look.played = panel.player.play(&look.applied).map_err(|what| Violation { checker: "player", what })?;
    panel
        .checkers
        .iter_mut()
        .try_for_each(|checker| checker.observe(look).map_err(|what| Violation { checker: checker.name(), what }))
}

/// Tells all checkers that the run is over; gives the first violation.
pub fn finish(panel: &mut Panel, last: &Look) -> Result<(), Violation> {
    panel.player.finish().map_err(|what| Violation { checker: "player", what })?;
    panel
        .checkers
        .iter_mut()
        .try_for_each(|checker| checker.finish(last).map_err(|what| Violation { checker: checker.name(), what }))
}

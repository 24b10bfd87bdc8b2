//! What the clients of a run do, through the real client of the cluster.

mod buyers;
mod caretaker;
mod closing;
mod crowd;
mod house;
mod market;
mod organiser;
mod registrar;

pub use buyers::buy;
pub use caretaker::{bound, relay};
pub use closing::close;
pub use house::{House, ORGANISATION};
#[cfg(test)]
pub(crate) use house::{layout, prices};
pub use market::Market;
pub(crate) use market::pace;
pub use organiser::organise;
pub use registrar::keep_catalogue;

use crate::checkers::Sent;
use crate::dice::Dice;
use crate::history::{Answer, Ask, Call, History};
use crate::web::Web;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vestibule_engine::{
    Directory, DirectoryCommand, Envelope, GroupId, HoldId, Outcome, Refusal, Reply, RequestId, Shard, ShardAnswer,
    ShardCommand, ShardQuery,
};
use vestibule_raft::cluster::{Cluster, Consistency, Position, ProposeError};

/// How long a call may take before its outcome counts as unknown, for now.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many times a call of unknown outcome is made again under the same id.
const REPEATS_MAX: usize = 3;

/// How far a run has come, for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing is on sale yet.
    Opening,
    /// Buyers buy, and things break.
    Selling,
    /// Buyers make an end of it; each group has to serve once more.
    Closing,
    /// Nothing happens any more, and gateways have to show all that has.
    Still,
}

/// What the clients of a run share.
#[derive(Clone)]
pub struct Shop {
    /// What they know.
    pub history: History,
    /// What those share who come over HTTP.
    pub web: Web,
    house: Arc<Mutex<Option<Arc<House>>>>,
    stage: Arc<AtomicU8>,
    /// Whether enough was sold for the run to show something.
    has_sold: Arc<AtomicBool>,
    /// A hold that somebody has.
    some_hold: Arc<Mutex<Option<HoldId>>>,
    /// Events that sinks were sent and that nobody has looked at yet, of each group.
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Shop {
    /// One that is about to open.
    pub fn new(history: History) -> Self {
        let web = Web::new(history.trace());
        let (house, stage, has_sold, some_hold, sent) = Default::default();
        Self { history, web, house, stage, has_sold, some_hold, sent }
    }

    /// How far the run has come.
    pub fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Opening,
            1 => Stage::Selling,
            2 => Stage::Closing,
            _ => Stage::Still,
        }
    }

    /// The run has come this far.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    /// Enough was sold: what brings a sale to its end may come.
    pub fn note_has_sold(&self) {
        self.has_sold.store(true, Ordering::SeqCst);
    }

    /// Whether enough was sold already.
    pub(crate) fn has_sold(&self) -> bool {
        self.has_sold.load(Ordering::SeqCst)
    }

    /// What is on sale.
    pub fn house(&self) -> Option<Arc<House>> {
        self.house.lock().expect("no holder of this lock panics").clone()
    }

    /// Puts a hold where others see it; gives the one that was seen there before.
    fn show_hold(&self, hold: HoldId) -> Option<HoldId> {
        self.some_hold.lock().expect("no holder of this lock panics").replace(hold)
    }

    /// A sink was sent this.
    fn note_sent(&self, sent: Sent) {
        self.history.trace().note("sink", format!("{} sent event {}", sent.group, sent.record.sequence));
        self.sent.lock().expect("no holder of this lock panics").push(sent);
    }

    /// What sinks were sent since this was asked.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.sent.lock().expect("no holder of this lock panics"))
    }

    fn set_house(&self, house: House) {
        *self.house.lock().expect("no holder of this lock panics") = Some(Arc::new(house));
    }
}

/// A client of the cluster that notes what it does.
#[derive(Clone)]
pub struct Client {
    name: String,
    cluster: Arc<dyn Cluster>,
    history: History,
    dice: Arc<Mutex<Dice>>,
    /// How many commands in a hundred are sent again after they were answered.
    again: u64,
}

impl Client {
    /// One called `name`, which draws its request ids from `dice` and sends so many commands in a hundred again.
    pub fn new(name: String, cluster: Arc<dyn Cluster>, history: History, dice: Dice, again: u64) -> Self {
        Self { name, cluster, history, dice: Arc::new(Mutex::new(dice)), again }
    }

    /// Has a shard do something. `None` if that was refused, not done, or its outcome is unknown.
    pub(crate) async fn shard(&self, group: GroupId, command: ShardCommand) -> Option<Result<Outcome, Refusal>> {
        let request = self.draw();
        let envelope = Envelope { request: Some(request), command: command.clone() };
        let ask = Ask::Shard(Box::new(command));
        self.note(group, request, ask, || self.cluster.propose::<Shard>(group, &envelope, PATIENCE)).await
    }

    /// Has the directory do something.
    async fn directory(&self, command: DirectoryCommand) -> Option<Result<Outcome, Refusal>> {
        let request = self.draw();
        let envelope = Envelope { request: Some(request), command: command.clone() };
        let (group, ask) = (GroupId::DIRECTORY, Ask::Directory(Box::new(command)));
        self.note(group, request, ask, || self.cluster.propose::<Directory>(group, &envelope, PATIENCE)).await
    }

    /// Asks a shard a question. `None` if nobody answered in time.
    async fn read(&self, group: GroupId, query: ShardQuery, is_linearizable: bool) -> Option<ShardAnswer> {
        let consistency = if is_linearizable { Consistency::Linearizable } else { Consistency::AppliedMin(0) };
        let call = self.history.call(&self.name, group, self.draw(), Ask::Read(query.clone(), consistency));
        match self.cluster.query::<Shard>(group, &query, consistency, PATIENCE).await {
            Ok((answer, position)) => {
                self.history.answer(&call, Answer::Read(Box::new(answer.clone()), position));
                Some(answer)
            }
            Err(error) => {
                self.history.answer(&call, Answer::NotDone(error.to_string()));
                None
            }
        }
    }

    fn draw(&self) -> RequestId {
        RequestId(self.dice.lock().expect("no holder of this lock panics").wide())
    }

    async fn note<F>(
        &self,
        group: GroupId,
        request: RequestId,
        ask: Ask,
        attempt: impl Fn() -> F,
    ) -> Option<Result<Outcome, Refusal>>
    where
        F: Future<Output = Result<(Reply, Position), ProposeError>>,
    {
        let call = self.history.call(&self.name, group, request, ask);
        // Once an attempt may have taken effect, a later one that was not done says nothing about it.
        let mut is_open = false;
        for _ in 0..=REPEATS_MAX {
            match attempt().await {
                Ok((reply, position)) => {
                    self.history.answer(&call, Answer::Reply(reply.clone(), position));
                    self.send_again(&call, &attempt).await;
                    return Some(reply.result);
                }
                Err(ProposeError::UnknownOutcome(_)) => is_open = true,
                Err(_) if is_open => {}
                Err(error) => {
                    self.history.answer(&call, Answer::NotDone(error.to_string()));
                    return None;
                }
            }
        }
        self.history.answer(&call, Answer::Unknown);
        None
    }

    /// Now and then a client sends what was answered once more: it did not see the answer.
    async fn send_again<F>(&self, call: &Arc<Call>, attempt: &impl Fn() -> F)
    where
        F: Future<Output = Result<(Reply, Position), ProposeError>>,
    {
        if !self.dice.lock().expect("no holder of this lock panics").percent(self.again) {
            return;
        }
        if let Ok((reply, position)) = attempt().await {
            self.history.answer(call, Answer::Reply(reply, position));
        }
    }
}

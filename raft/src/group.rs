//! One group on one node: its Raft, its state, and the proposer that feeds it.

use crate::clock_watch::{ClockWatch, Distrust};
use crate::hosting::Host;
use crate::machine;
use crate::metrics::Instruments;
use crate::rest::{Rest, Sight};
use crate::roster::Roster;
use crate::seams::Clock;
use crate::state::GroupState;
use crate::state_machine::MachineStore;
use crate::stop::{self, Stop};
use crate::types::{Batch, LogId, NodeId, TypeConfig};
use crate::wal::WalGroup;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ForwardReason;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::raft::AppendEntriesRequest;
use openraft::{Instant as _, Raft, ReadPolicy, ServerState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;
use tonic::Status;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{GroupId, Reply};
use vestibule_proto::v1;
use vestibule_sync::proposal_queue::{Asker, ProposalQueue, Waiting};

/// How long an entry may take to be applied. A leader that has lost its majority must not keep its proposer for ever.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// How long a tick may take before another is proposed.
const TICK_PATIENCE: Duration = Duration::from_secs(5);
/// Entries of a group that may be on their way at once. More would make batches smaller, not faster.
const IN_FLIGHT_MAX: usize = 2;
/// How long a node that is asked for its vote may take to make sure that there is no leader.
const LEASE_PATIENCE: Duration = Duration::from_millis(50);
/// Ticks are at least this far apart.
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(5);
/// How long to wait before another tick is proposed when one was refused: while the node's clock is off, or its disk or its
/// queue is full, the next is refused as well.
const TICK_REFUSED_PAUSE: Duration = Duration::from_millis(250);

/// A group hosted by this node.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft<TypeConfig, MachineStore>,
    pub(crate) state: Arc<GroupState>,
    roster: Arc<Roster>,
    pub(crate) log: WalGroup,
    proposals: Arc<ProposalQueue<Proposal>>,
    pub(crate) rest: Rest,
    heard: Heard,
    /// How many times this node has begun to form it, and not found that it may not.
    forming: AtomicUsize,
    given_up: (watch::Sender<bool>, Stop),
}

/// When a group's leader was last heard of.
struct Heard {
    begun: Instant,
    /// In milliseconds since `begun`; [`Heard::NEVER`] before the first time.
    millis: AtomicU64,
}

impl Heard {
    const NEVER: u64 = u64::MAX;

    fn new() -> Self {
        Self { begun: Instant::now(), millis: AtomicU64::new(Self::NEVER) }
    }

    fn note(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(Self::NEVER);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Whether that was within the last `span`.
    fn is_within(&self, span: Duration) -> bool {
        let millis = self.millis.load(Ordering::Relaxed);
        millis != Self::NEVER && self.begun.elapsed().saturating_sub(Duration::from_millis(millis)) < span
    }
}

/// The groups hosted by this node.
#[derive(Default)]
pub(crate) struct Groups {
    groups: RwLock<BTreeMap<GroupId, Arc<Group>>>,
}

impl Groups {
    pub(crate) fn insert(&self, group: Arc<Group>) {
        self.groups.write().expect("no holder of this lock panics").insert(group.id, group);
    }

    pub(crate) fn remove(&self, id: GroupId) {
        self.groups.write().expect("no holder of this lock panics").remove(&id);
    }

    pub(crate) fn get(&self, id: GroupId) -> Result<Arc<Group>, Status> {
        let found = self.groups.read().expect("no holder of this lock panics").get(&id).cloned();
        found.ok_or_else(|| Status::unavailable(format!("this node does not host {id}")))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        self.groups.read().expect("no holder of this lock panics").values().cloned().collect()
    }
}

/// Why a proposal came to nothing, or may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unproposed {
    /// Nothing was done: another node leads, as far as is known.
    NotLeader(Option<(NodeId, String)>),
    /// Nothing was done: the queue is full.
    Overloaded,
    /// Nothing was done: the disk of this node is full.
    DiskFull,
    /// Nothing was done: this node's clock is not to be trusted, so it must not stamp.
    NoTime(Distrust),
    /// It may take effect yet.
    Unknown(String),
}

/// What became of a proposal: its reply and the entry that it was applied with.
pub(crate) type Proposed = Result<(Reply, LogId), Unproposed>;

struct Proposal {
    command: Bytes,
    answer: oneshot::Sender<Proposed>,
}

impl Waiting for Proposal {
    fn bytes(&self) -> usize {
        self.command.len()
    }

    fn is_forsaken(&self) -> bool {
        self.answer.is_closed()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.proposals.close());
    }
}

impl Group {
    /// Starts the proposer and the ticker of a group of `host`.
    pub(crate) fn start(
        id: GroupId,
        raft: Raft<TypeConfig, MachineStore>,
        state: Arc<GroupState>,
        host: &Host,
    ) -> Arc<Self> {
        let proposals = Arc::new(ProposalQueue::new(host.config.proposals));
        let queue = proposals.clone();
        let (node, roster, log) = (host.config.id, host.roster.clone(), host.wal.group(id));
        let (rest, heard, given_up) = (Rest::new(host.config.timing), Heard::new(), stop::switch());
        let forming = AtomicUsize::new(0);
        let group = Arc::new(Self { id, node, raft, state, roster, log, proposals, rest, heard, forming, given_up });
        let weak = Arc::downgrade(&group);
        let stamps = Stamps {
            clock: host.clock.clone(),
            clock_watch: host.clock_watch.clone(),
            instruments: host.instruments.clone(),
        };
        tokio::spawn(propose(weak.clone(), queue, stamps));
        tokio::spawn(tick(weak, host.clock.clone()));
        group
    }

    /// Queues a command of this node's own.
    pub(crate) fn propose(&self, command: Bytes) -> Result<oneshot::Receiver<Proposed>, Unproposed> {
        self.propose_for(Asker::NODE, command)
    }

    /// Queues a command. When there is no room, whoever has the most waiting is refused: at once, or a little later.
    pub(crate) fn propose_for(&self, asker: Asker, command: Bytes) -> Result<oneshot::Receiver<Proposed>, Unproposed> {
        if self.log.is_disk_full() {
            return Err(Unproposed::DiskFull);
        }
        let (answer, answered) = oneshot::channel();
        for refused in self.proposals.push(asker, Proposal { command, answer }) {
            let _ = refused.answer.send(Err(Unproposed::Overloaded));
        }
        Ok(answered)
    }

    /// Notes that this node forms the group. That shows in its log only once it is on disk.
    pub(crate) fn begin_forming(&self) {
        self.forming.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes that back: it was not formed this time.
    pub(crate) fn end_forming(&self) {
        self.forming.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether this node is forming the group, or has since it took it on.
    pub(crate) fn is_forming(&self) -> bool {
        self.forming.load(Ordering::SeqCst) > 0
    }

    /// The group's leader was heard of.
    pub(crate) fn note_heard(&self) {
        self.heard.note();
    }

    /// Whether there is a leader, as far as can be known here: a majority followed this node within `span` if it leads,
    /// and the leader was heard of within it otherwise. Raft itself goes on naming a leader that has gone silent.
    pub(crate) fn has_leader(&self, span: Duration) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        match metrics.current_leader {
            None => false,
            Some(leader) if leader == self.node => {
                metrics.membership_config.membership().voter_ids().count() == 1
                    || metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < span)
                    || self.rest.agreed_ago(Instant::now()).is_some_and(|agreed| agreed < span)
            }
            Some(_) => self.heard.is_within(span),
        }
    }

    /// Whether what is applied here was the group's newest within `span`, as far as can be known here: it leads, or its
    /// leader was heard of. While others elect a leader that stays true for a while.
    pub(crate) fn is_in_touch(&self, span: Duration) -> bool {
        self.heard.is_within(span) || self.has_leader(span)
    }

    /// Tells those who follow the group that it is hosted here no longer. They must not hold the group itself meanwhile,
    /// which would keep it alive.
    pub(crate) fn give_up(&self) {
        self.given_up.0.send_replace(true);
    }

    /// Turns when the group is given up.
    pub(crate) fn given_up(&self) -> Stop {
        self.given_up.1.clone()
    }

    /// Commands that wait for the proposer.
    pub(crate) fn queue_len(&self) -> usize {
        self.proposals.len()
    }

    /// The node that leads, as far as this one knows, and its address.
    pub(crate) fn leader(&self) -> Option<(NodeId, String)> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let leader = metrics.current_leader?;
        let as_formed = || metrics.membership_config.membership().get_node(&leader).map(|node| node.addr.clone());
        let address = self.roster.address(leader).or_else(as_formed);
        Some((leader, address.unwrap_or_default()))
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raft.metrics().borrow_watched().current_leader == Some(self.node)
    }

    fn sight(&self) -> Sight {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let is_voter = || {
            let configs = metrics.membership_config.membership().get_joint_config();
            configs.iter().any(|voters| voters.contains(&self.node))
        };
        Sight {
            vote: metrics.vote,
            term: metrics.current_term,
            leads: metrics.state == ServerState::Leader && is_voter(),
            last_index: metrics.last_log_index,
            applied: metrics.last_applied,
        }
    }

    /// Which turn is this voter's among those that do not lead. Not the same voter comes first in every group.
    fn rank(&self) -> u32 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().voter_ids();
        let others: Vec<NodeId> = voters.filter(|voter| Some(*voter) != metrics.current_leader).collect();
        let place = others.iter().position(|voter| *voter == self.node).unwrap_or(others.len());
        u32::try_from((place + self.id.0 as usize) % others.len().max(1)).unwrap_or(u32::MAX)
    }

    /// What to say to which other members, if the group is led here and quiet. They are asked by that.
    pub(crate) fn beat(&self, now: Instant) -> Option<(v1::Beat, BTreeSet<NodeId>)> {
        let sight = self.sight();
        let last_index = self.rest.beat(now, &sight)?;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership().nodes().map(|(node, _)| *node);
        let others = members.filter(|node| *node != self.node).collect();
        self.rest.ask(now, &others);
        Some((v1::Beat { group: self.id.0, term: sight.term, last_index }, others))
    }

    /// The node `from` says that it leads the group in `term`, and that the log ends at `last_index`. Gives whether this
    /// is how it is known here.
    pub(crate) fn hear_beat(&self, now: Instant, from: NodeId, term: u64, last_index: u64) -> bool {
        let agrees = self.rest.hear(now, from, term, last_index, &self.sight());
        if agrees {
            self.note_heard();
        }
        agrees
    }

    /// Whether the group is at rest, as far as this member goes.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.rest.may_stop_clock(now, &self.sight(), || self.rank())
    }

    /// Stops the group's own clock while the group is at rest.
    pub(crate) fn tend_clock(&self, now: Instant) {
        self.raft.runtime_config().tick(!self.rests(now));
    }

    /// Lets openraft know what it was not told of while the group was at rest: that there is a leader. To be called before it
    /// decides whether to vote for another.
    pub(crate) async fn renew_lease(&self) {
        let sight = self.sight();
        if self.rest.recently_heard(Instant::now(), &sight) {
            let heartbeat = AppendEntriesRequest {
                vote: sight.vote,
                prev_log_id: sight.applied,
                entries: Vec::new(),
                leader_commit: None,
            };
            // Without it the vote may be given away, which is safe.
            let _ = tokio::time::timeout(LEASE_PATIENCE, self.raft.append_entries(heartbeat)).await;
        } else if self.rest.agreed_ago(Instant::now()).is_some() {
            let _ = tokio::time::timeout(LEASE_PATIENCE, self.raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
        }
    }
}

/// What the proposer needs of its node. Not all of it: that would keep the group alive that ends the proposer.
struct Stamps {
    clock: Arc<dyn Clock>,
    clock_watch: Arc<ClockWatch>,
    instruments: Arc<Instruments>,
}

/// Turns whatever has arrived while earlier entries were on their way into one entry.
async fn propose(group: std::sync::Weak<Group>, queue: Arc<ProposalQueue<Proposal>>, stamps: Stamps) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    loop {
        let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
        let Some(proposals) = queue.next_batch().await else { return };
        let Some(group) = group.upgrade() else { return };
        let (raft, roster) = (group.raft.clone(), group.roster.clone());
        drop(group);
        let now = match stamps.clock_watch.stamp(&*stamps.clock) {
            Ok(now) => now,
            Err(why) => {
                refuse(proposals, &Unproposed::NoTime(why));
                continue;
            }
        };
        let commands: Vec<Bytes> = proposals.iter().map(|proposal| proposal.command.clone()).collect();
        stamps.instruments.batch_commands.observe(commands.len() as u64);
        let batch = Batch::new(now, &commands);
        tokio::spawn(async move {
            let written = tokio::time::timeout(WRITE_PATIENCE, write(&raft, batch)).await;
            drop(permit);
            match written {
                Ok(written) => answer(proposals, written, &roster),
                Err(_) => refuse(proposals, &Unproposed::Unknown("the entry was not applied in time".to_owned())),
            }
        });
    }
}

type Written =
    Result<openraft::raft::ClientWriteResponse<TypeConfig>, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

/// Writes an entry. A leader whose lease is over, as after a rest, is confirmed first.
async fn write(raft: &Raft<TypeConfig, MachineStore>, batch: Batch) -> Written {
    let written = raft.client_write(batch.clone()).await;
    match &written {
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))
            if forward.reason == ForwardReason::LeaseExpired =>
        {
            match raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                Ok(_) => raft.client_write(batch).await,
                Err(_) => written,
            }
        }
        _ => written,
    }
}

fn answer(proposals: Vec<Proposal>, written: Written, roster: &Roster) {
    match written {
        Ok(response) => {
            for (proposal, reply) in proposals.into_iter().zip(response.data.0) {
                // Whoever asked may have gone.
                let _ = proposal.answer.send(Ok((reply, response.log_id)));
            }
        }
        Err(error) => {
            let why = match error {
                RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                    let leader = forward.leader_id;
                    let address = leader.and_then(|leader| roster.address(leader));
                    let address = address.or_else(|| forward.leader_node.map(|node| node.addr));
                    Unproposed::NotLeader(leader.zip(address))
                }
                other => Unproposed::Unknown(other.to_string()),
            };
            refuse(proposals, &why);
        }
    }
}

fn refuse(proposals: Vec<Proposal>, why: &Unproposed) {
    for proposal in proposals {
        // Whoever asked may have gone.
        let _ = proposal.answer.send(Err(why.clone()));
    }
}

/// Proposes a tick whenever something is due in a group that this node leads.
async fn tick(group: std::sync::Weak<Group>, clock: Arc<dyn Clock>) {
    let Some(strong) = group.upgrade() else { return };
    let mut progress = strong.state.watch();
    let mut leadership = strong.raft.server_metrics();
    drop(strong);
    loop {
        let due = tokio::sync::watch::Receiver::borrow_and_update(&mut progress).next_due;
        let Some(strong) = group.upgrade() else { return };
        let is_leader = WatchReceiver::borrow_and_update(&mut leadership).current_leader == Some(strong.node);
        let wait = due.filter(|_| is_leader).map(|due| Duration::from_millis((due - clock.now()).0));
        let arrived = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let id = strong.id;
        drop(strong);
        tokio::select! {
            changed = tokio::sync::watch::Receiver::changed(&mut progress) => if changed.is_err() { return },
            changed = WatchReceiver::changed(&mut leadership) => if changed.is_err() { return },
            () = arrived => {
                let Some(strong) = group.upgrade() else { return };
                if planted::is(Bug::ExpireByTimer) {
                    strong.state.expire(clock.now());
                }
                let proposed = strong.propose(machine::tick(id));
                drop(strong);
                settle_tick(proposed).await;
            }
        }
    }
}

/// Returns when another tick may be proposed. Whatever became of this one: what is still due is seen in the next round.
async fn settle_tick(proposed: Result<oneshot::Receiver<Proposed>, Unproposed>) {
    let pause = match proposed {
        Ok(answered) => match tokio::time::timeout(TICK_PATIENCE, answered).await {
            Ok(Ok(Ok(_))) | Err(_) => TICK_INTERVAL_MIN,
            Ok(Ok(Err(_)) | Err(_)) => TICK_REFUSED_PAUSE,
        },
        Err(_) => TICK_REFUSED_PAUSE,
    };
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::tests::lone_node_with;
    use crate::types::to_log_id;
    use crate::wal::LogPosition;
    use vestibule_engine::Outcome;

    async fn wait_after(proposed: Result<Proposed, Unproposed>) -> Duration {
        let begun = Instant::now();
        settle_tick(proposed.map(|answer| {
            let (tell, answered) = oneshot::channel();
            tell.send(answer).expect("it is received");
            answered
        }))
        .await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_was_never_heard_of_does_not_count_as_heard_of_at_the_start() {
        let (heard, span) = (Heard::new(), Duration::from_secs(1));
        assert!(!heard.is_within(span));
        heard.note();
        assert!(heard.is_within(span));
        tokio::time::advance(span).await;
        assert!(!heard.is_within(span));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_that_is_refused_is_not_proposed_again_at_once() {
        let applied = Reply { result: Ok(Outcome::Done), replayed: false };
        let at = to_log_id(LogPosition { term: 1, node: 1, index: 1 });
        assert!(
            wait_after(Ok(Ok((applied, at)))).await < TICK_INTERVAL_MIN * 2,
            "what is due next is not kept waiting"
        );
        let refusals = [
            Unproposed::NoTime(Distrust::Wild),
            Unproposed::DiskFull,
            Unproposed::Overloaded,
            Unproposed::NotLeader(None),
        ];
        for why in refusals {
            assert!(wait_after(Ok(Err(why.clone()))).await >= TICK_REFUSED_PAUSE, "{why:?}");
            assert!(wait_after(Err(why.clone())).await >= TICK_REFUSED_PAUSE, "{why:?}");
        }
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_leader_whose_disk_is_full_proposes_no_ticks() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // No disk has so much room.
        let (node, _data) = lone_node_with(directory.path(), |config| config.wal.ballast_len = 1 << 60).await;
        let mut full = node.host.wal.watch_full();
        let is_full = full.wait_for(|is_full| *is_full);
        tokio::time::timeout(Duration::from_secs(60), is_full).await.expect("it is seen").expect("the log is open");
        let group = node.host.groups.get(GroupId::DIRECTORY).expect("every node has it");
        assert_eq!(group.propose(machine::tick(group.id)).err(), Some(Unproposed::DiskFull));
        drop(group);
        assert!(node.shutdown().await.is_ok());
    }
}

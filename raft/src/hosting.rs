//! Which groups this node hosts, and how it takes one on and gives one up.
//!
//! ```text
//!            the directory wants it here, or data of it is here
//!   not hosted ────────────────────────────────────────────────▶ hosted
//!       ▲        (first a peer's checkpoint, where the own one      │
//!       │         does not reach what is left of the log)          │
//!       └──── the controller says drop, and nothing contradicts ◀──┘
//! ```
//!
//! The directory is hosted by every node. What is given up leaves its vote and its purge point behind: a node that
//! comes back to a group must not have forgotten whom it voted for.

use crate::checkpoint::{Checkpoints, is_damage_of_group};
use crate::clock_watch::ClockWatch;
use crate::group::{Group, Groups};
use crate::in_motion::InMotion;
use crate::log_store::LogStore;
use crate::metrics::Instruments;
use crate::node::{NodeConfig, StartError};
use crate::pacemaker::Said;
use crate::roster::Roster;
use crate::seams::Clock;
use crate::state::GroupState;
use crate::state_machine::MachineStore;
use crate::stop::Stop;
use crate::transport::Peers;
use crate::types::{LogId, NodeId, to_position};
use crate::wal::{LogPosition, Wal, WalGroup};
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Config, Raft};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use vestibule_engine::{
    Directory, DirectoryAnswer, DirectoryQuery, GroupId, NodeNumber, NodeRecord, PlacementRecord, StateMachine, codec,
};

/// How long a group that lacks a checkpoint waits before it asks its peers again.
const FETCH_INTERVAL: Duration = Duration::from_millis(500);
/// How long the log may take to be written to its end when the node stops: a disk can hang.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a node waits for its own copy of the directory to come as far as the controller's.
const DIRECTORY_PATIENCE: Duration = Duration::from_secs(5);

/// What the tasks of a node share.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) config: NodeConfig,
    pub(crate) raft_config: Arc<Config>,
    pub(crate) wal: Wal,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) peers: Arc<Peers>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) clock_watch: Arc<ClockWatch>,
    pub(crate) said: Arc<Said>,
    pub(crate) groups: Arc<Groups>,
    /// Groups that wait for a peer's checkpoint, or are being given up.
    pub(crate) in_motion: Arc<InMotion>,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) stop: Stop,
    pub(crate) fail: watch::Sender<Option<String>>,
}

/// What the directory says of nodes and placements, as one node has it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<NodeRecord>,
    pub(crate) placements: BTreeMap<GroupId, PlacementRecord>,
}

/// What the directory, as applied here, answers.
pub(crate) fn ask_directory(state: &GroupState, query: &DirectoryQuery) -> Option<DirectoryAnswer> {
    let (answer, _) = state.query(&codec::encode(query)).ok()?;
    codec::decode::<<Directory as StateMachine>::Answer>(&answer).ok()
}

/// What the directory, as applied here, says of nodes and placements.
pub(crate) fn read_plan(state: &GroupState) -> Plan {
    let mut plan = Plan::default();
    if let Some(DirectoryAnswer::Nodes(nodes)) = ask_directory(state, &DirectoryQuery::Nodes) {
        plan.nodes = nodes;
    }
    if let Some(DirectoryAnswer::Placements(placements)) = ask_directory(state, &DirectoryQuery::Placements) {
        plan.placements = placements.into_iter().map(|placement| (placement.group, placement)).collect();
    }
    plan
}

impl Plan {
    /// Whether a group is wanted on a node.
    pub(crate) fn wants(&self, group: GroupId, node: NodeId) -> bool {
        group == GroupId::DIRECTORY
            || self.placements.get(&group).is_some_and(|placement| placement.voters.contains(&NodeNumber(node)))
    }
}

impl Host {
    /// Takes on the directory, and then every group that is wanted here or has data here.
    pub(crate) async fn take_on_all(&self) -> Result<(), StartError> {
        let directory = self.open_state(GroupId::DIRECTORY).await?;
        let plan = read_plan(&directory);
        self.roster.update(&plan.nodes);
        self.take_on_state(directory).await?;
        let here = plan.placements.keys().copied().filter(|group| plan.wants(*group, self.config.id));
        let groups: BTreeSet<GroupId> = here.chain(self.wal.groups()).collect();
        for group in groups.into_iter().filter(|group| *group != GroupId::DIRECTORY) {
            let state = self.open_state(group).await?;
            // Otherwise it is what was left when the group was given up, or the directory will tell.
            if !self.has_gap(&state) || plan.wants(group, self.config.id) || self.has_rest(group) {
                self.take_on_state(state).await?;
            }
        }
        self.checkpoints.note_all_attached();
        Ok(())
    }

    /// Takes on a group, unless it is here or on its way. Gives whether it was in motion: then it is to be seen again.
    pub(crate) async fn take_on(&self, group: GroupId) -> Result<bool, StartError> {
        if self.in_motion.contains(group) {
            return Ok(true);
        }
        if self.groups.get(group).is_err() {
            self.take_on_state(self.open_state(group).await?).await?;
        }
        Ok(false)
    }

    /// The state of a group as its checkpoint has it. One that is damaged is begun anew, and those of the other groups stay:
    /// the log has what this one had, or a peer does. Until the peer's has come, the damaged one is the only copy here.
    async fn open_state(&self, group: GroupId) -> Result<Arc<GroupState>, StartError> {
        let opened = match GroupState::open(group, &self.checkpoints).await {
            Err(error) if is_damage_of_group(&error) => {
                let is_only_copy = self.wal.group(group).purged().is_some();
                self.checkpoints.set_aside(group, is_only_copy).await.map_err(StartError::of_checkpoint)?;
                tracing::error!(node = self.config.id, %group, %error, is_only_copy, "the checkpoint is made again");
                self.instruments.checkpoints_remade.fetch_add(1, Ordering::Relaxed);
                GroupState::open(group, &self.checkpoints).await
            }
            opened => opened,
        };
        Ok(Arc::new(opened.map_err(StartError::of_checkpoint)?))
    }

    async fn take_on_state(&self, state: Arc<GroupState>) -> Result<(), StartError> {
        let id = state.group();
        self.checkpoints.attach(state.clone(), self.wal.group(id)).await.map_err(StartError::of_checkpoint)?;
        if !self.has_gap(&state) {
            return self.start_group(state).await;
        }
        self.in_motion.begin(id);
        self.instruments.groups_waiting.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(self.clone().close_gap(state));
        Ok(())
    }

    fn has_gap(&self, state: &GroupState) -> bool {
        let purged = self.wal.group(state.group()).purged();
        purged.is_some_and(|purged| state.progress().next_index <= purged.index)
    }

    /// Whether the log has entries of a group. Where its checkpoint is gone, the group has to be started on a peer's once more even
    /// if nobody wants it here: it is then given up in good order, and until that is done its entries keep segments of the log.
    fn has_rest(&self, group: GroupId) -> bool {
        let log = self.wal.group(group);
        log.last() > log.purged()
    }

    async fn start_group(&self, state: Arc<GroupState>) -> Result<(), StartError> {
        let id = state.group();
        let applied = state.applied().0.as_ref().map(to_position);
        drop_superseded(&self.wal.group(id), applied).await?;
        let log = LogStore::new(self.wal.group(id)).measured(self.instruments.clone());
        let store = MachineStore::new(state.clone(), self.checkpoints.clone()).measured(self.instruments.clone());
        let raft = Raft::new(self.config.id, self.raft_config.clone(), self.peers.network(id), log, store)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;
        let group = Group::start(id, raft, state, self);
        self.groups.insert(group.clone());
        tokio::spawn(self.clone().tend(group));
        Ok(())
    }

    /// Fetches the checkpoint of a group from one peer after another until one reaches what is left of the log, and
    /// starts the group on it. The vote and the log are our own, so nothing that this node has promised is forgotten.
    async fn close_gap(self, state: Arc<GroupState>) {
        let id = state.group();
        tracing::warn!(node = self.config.id, group = %id, "the checkpoint is behind the log; asking the peers for theirs");
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.fetch_from_any(&state) => {}
            // However long a peer takes.
            () = stop.stopped() => return,
        }
        self.instruments.groups_waiting.fetch_sub(1, Ordering::Relaxed);
        let started = if self.has_gap(&state) { Ok(()) } else { self.start_group(state).await };
        self.in_motion.end(id);
        if let Err(error) = started {
            self.fail.send_replace(Some(format!("{id} cannot start on a peer's checkpoint: {error}")));
        }
    }

    /// Asks the peers in turn until the gap is closed, or the group is not wanted here any more and has left nothing.
    async fn fetch_from_any(&self, state: &GroupState) {
        let id = state.group();
        loop {
            for (peer, known) in self.roster.present() {
                if peer == self.config.id || !self.has_gap(state) {
                    continue;
                }
                if let Err(error) = self.fetch(id, peer, &known.address).await {
                    tracing::info!(group = %id, peer, error, "no checkpoint from this peer");
                }
            }
            // What the directory was thought to want may have been long ago.
            let is_wanted = || {
                let directory = self.groups.get(GroupId::DIRECTORY);
                directory.map_or(true, |directory| read_plan(&directory.state).wants(id, self.config.id))
            };
            if !self.has_gap(state) || !self.has_rest(id) && !is_wanted() {
                return;
            }
            tokio::time::sleep(FETCH_INTERVAL).await;
        }
    }

    async fn fetch(&self, id: GroupId, peer: NodeId, address: &str) -> Result<(), String> {
        let purged = self.wal.group(id).purged().map(|purged| purged.index);
        let fetched = self.peers.fetch_snapshot(id, peer, address, purged, &self.checkpoints).await;
        let received = fetched.map_err(|status| status.message().to_owned())?;
        let (last, membership) = (received.meta.last_log_id, received.meta.last_membership);
        let installed = self.checkpoints.install(received.receiving, last, membership).await;
        installed.map_err(|error| error.to_string())
    }

    /// Gives a group up, if this node is in no membership of it that is newer than `seen`, and the directory, having
    /// come at least to `directory_applied`, does not want it here.
    pub(crate) async fn give_up(&self, id: GroupId, seen: LogId, directory_applied: u64) -> Result<(), String> {
        if id == GroupId::DIRECTORY {
            return Err("the directory is hosted by every node".to_owned());
        }
        let directory = self.groups.get(GroupId::DIRECTORY).map_err(|status| status.message().to_owned())?;
        let mut progress = directory.state.watch();
        let reached = progress.wait_for(|now| now.next_index > directory_applied);
        if !matches!(tokio::time::timeout(DIRECTORY_PATIENCE, reached).await, Ok(Ok(_))) {
            return Err("the directory here is behind".to_owned());
        }
        let group = self.groups.get(id).map_err(|status| status.message().to_owned())?;
        let metrics = group.raft.metrics().borrow_watched().clone();
        let is_member = metrics.membership_config.membership().get_node(&self.config.id).is_some();
        if metrics.membership_config.log_id().is_some_and(|here| here.index > seen.index) && is_member {
            return Err("this node has become a member again".to_owned());
        }

        self.in_motion.begin_if(id, || match read_plan(&directory.state).wants(id, self.config.id) {
            true => Err("the directory wants the group here".to_owned()),
            false => Ok(()),
        })?;
        tracing::info!(node = self.config.id, group = %id, "the group lives elsewhere now; what is here of it is given up");
        let forgotten = self.forget(&group).await;
        self.in_motion.end(id);
        forgotten
    }

    async fn forget(&self, group: &Group) -> Result<(), String> {
        self.groups.remove(group.id);
        group.give_up();
        group.raft.shutdown().await.map_err(|error| error.to_string())?;
        let applied = group.state.applied().0.as_ref().map(to_position);
        let is_forgotten = forget_data(&self.wal.group(group.id), &self.checkpoints, applied).await;
        if is_forgotten.map_err(|error| error.to_string())? {
            return Ok(());
        }
        self.start_group(group.state.clone()).await.map_err(|error| error.to_string())?;
        Err("what it has applied cannot be written now: the disk is full, or too slow".to_owned())
    }

    /// Keeps up with the directory: which nodes there are, and which groups are wanted here.
    pub(crate) async fn follow_directory(mut self) {
        let mut last_sequence = None;
        let mut again = false;
        let mut moved = self.in_motion.follow();
        loop {
            let Ok(directory) = self.groups.get(GroupId::DIRECTORY) else {
                // It waits for a peer's checkpoint.
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(50)) => continue,
                    () = self.stop.stopped() => return,
                }
            };
            let mut progress = directory.state.watch();
            let sequence = progress.borrow_and_update().last_sequence;
            if last_sequence.replace(sequence) != Some(sequence) || std::mem::take(&mut again) {
                let plan = read_plan(&directory.state);
                self.roster.update(&plan.nodes);
                for group in plan.placements.keys().filter(|group| plan.wants(**group, self.config.id)) {
                    match self.take_on(*group).await {
                        Ok(is_in_motion) => again |= is_in_motion,
                        // There are no checkpoints until the disk has room, or until it is less slow.
                        Err(error) if error.may_pass() => {
                            tracing::warn!(%group, %error, "the group cannot be taken on yet");
                            again = true;
                        }
                        Err(error) => {
                            self.fail.send_replace(Some(format!("{group} cannot be taken on: {error}")));
                            return;
                        }
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(FETCH_INTERVAL), if again => {}
                // The sender lives in `self`.
                _ = moved.changed() => again = true,
                changed = progress.changed() => if changed.is_err() { return },
                () = self.stop.stopped() => return,
            }
        }
    }

    /// Looks after a group while it runs: purges its log behind the snapshots that openraft declares, and tells the node
    /// when its Raft has failed. One that was stopped on purpose has not.
    async fn tend(mut self, group: Arc<Group>) {
        let entries = self.config.snapshot_entries;
        let mut metrics = group.raft.metrics();
        let mut asked = None;
        let mut is_gone = false;
        let reason = loop {
            let (snapshot, purged) = {
                let metrics = metrics.borrow_watched();
                match &metrics.running_state {
                    Err(Fatal::Stopped) => return,
                    Err(fatal) => break fatal.to_string(),
                    // Whoever ends without a word has panicked.
                    Ok(()) if is_gone => break "it panicked".to_owned(),
                    Ok(()) => {}
                }
                (metrics.snapshot.map(|last| last.index), metrics.purged.map(|last| last.index))
            };
            let due = purge_due(snapshot, purged, entries).filter(|due| asked < Some(*due));
            // A Raft that takes no requests any more says so in its metrics, or has dropped them.
            if let Some(upto) = due
                && group.raft.trigger().purge_log(upto).await.is_ok()
            {
                asked = Some(upto);
            }
            is_gone = tokio::select! {
                changed = metrics.changed() => changed.is_err(),
                () = self.stop.stopped() => return,
            };
        };
        self.fail.send_replace(Some(format!("{} stopped: {reason}", group.id)));
    }

    /// Stops the groups and closes the files.
    pub(crate) async fn close(&self) -> io::Result<()> {
        let stops = self.groups.all().into_iter().map(|group| async move {
            // Its task may wait for a disk that hangs.
            match tokio::time::timeout(CLOSE_PATIENCE, group.raft.shutdown()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(group = %group.id, %error, "the group did not stop cleanly"),
                Err(_) => tracing::warn!(group = %group.id, "the group has not stopped in {CLOSE_PATIENCE:?}"),
            }
        });
        futures::future::join_all(stops).await;
        let saved = self.checkpoints.close().await;
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the log has not closed in {CLOSE_PATIENCE:?}"));
        let closed = tokio::time::timeout(CLOSE_PATIENCE, self.wal.close()).await.map_err(|_| late());
        saved.and(closed)
    }
}

/// Gives up what is on disk of a group that has applied so far and runs no longer. Whenever this is broken off, the checkpoint
/// that is left reaches what is left of the log. Gives `false`, and changes nothing, where such a checkpoint cannot be written now.
pub(crate) async fn forget_data(
    log: &WalGroup,
    checkpoints: &Checkpoints,
    applied: Option<LogPosition>,
) -> io::Result<bool> {
    // Nobody needs to read it: there are those who host the group.
    checkpoints.unpin(log.id()).await?;
    let saved = match checkpoints.save(log.id()).await {
        Ok(meta) => meta.last.as_ref().map(to_position),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => None,
        Err(error) => return Err(error),
    };
    if saved < applied {
        return Ok(false);
    }
    // Entries that were never agreed on must not hide behind the purge point.
    log.truncate(applied).await?;
    if let Some(applied) = applied {
        log.purge(applied).await?;
    }
    checkpoints.forget(log.id()).await?;
    Ok(true)
}

/// Drops what a snapshot has superseded. A crash between a snapshot that is installed and the purge behind it can leave entries of
/// an earlier leader in the log, where the snapshot contains others: nobody agreed on those, nor on any that follow them.
async fn drop_superseded(log: &WalGroup, applied: Option<LogPosition>) -> io::Result<()> {
    let Some(applied) = applied else { return Ok(()) };
    let Some(found) = log.position(applied.index).filter(|found| *found != applied) else { return Ok(()) };
    tracing::warn!(group = %log.id(), ?found, ?applied, "the log has entries that a snapshot superseded; they are dropped");
    log.truncate(Some(found)).await?;
    log.purge(applied).await
}

/// Up to where a log can be purged behind a snapshot that ends at entry `snapshot`. With one declared every `entries` entries,
/// the last fifth of so many stays, for members that are a little behind; nothing goes while it is less than a twentieth.
fn purge_due(snapshot: Option<u64>, purged: Option<u64>, entries: u64) -> Option<u64> {
    let upto = snapshot?.checked_sub(entries / 5)?;
    let left = purged.map_or(0, |purged| purged + 1);
    (upto + 1 >= left + (entries / 20).max(1)).then_some(upto)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;
    use crate::data_dir::DataDir;
    use crate::node::tests::lone_node;
    use crate::seams::{SystemIds, ThreadSpawner};
    use crate::steps;
    use crate::types::to_log_id;
    use crate::wal::{EntryBody, WalConfig};
    use vestibule_proto::v1;
    use vestibule_proto::v1::change_group_request::Step;

    #[tokio::test]
    async fn what_a_snapshot_superseded_is_dropped_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(directory.path(), "north", 1, &SystemIds).expect("a data directory");
        let config = WalConfig { segment_len: 1 << 20, ..WalConfig::default() };
        let disk = data.wal_disk().expect("a disk");
        let (wal, _) = Wal::open(disk, data.owner(), config, &ThreadSpawner).await.expect("the log opens");
        let log = wal.group(GroupId(1));
        let at = |term, index| LogPosition { term, node: 1, index };
        let entries = (0..6).map(|index| (at(6, index), EntryBody::Blank)).collect();
        log.append(entries, Box::new(|_| {})).await.expect("the log takes entries");

        for harmless in [None, Some(at(6, 3)), Some(at(7, 9))] {
            drop_superseded(&log, harmless).await.expect("the disk is good");
            assert_eq!((log.last(), log.purged(), log.len()), (Some(at(6, 5)), None, 6), "{harmless:?}");
        }
        drop_superseded(&log, Some(at(7, 3))).await.expect("the disk is good");
        assert_eq!((log.last(), log.purged(), log.len()), (Some(at(7, 3)), Some(at(7, 3)), 0));
        wal.close().await;
    }

    /// Found by seed 596 of the simulator: the node never took the group on again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_group_is_given_up_to_the_end_though_nobody_waits_for_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (node, _data) = lone_node(directory.path()).await;
        let group = GroupId(7);
        // The directory does not want it here.
        node.host.take_on(group).await.expect("it is empty");
        let eventually = async |is_so: &dyn Fn() -> bool| {
            let come_true = async {
                while !is_so() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), come_true).await.is_ok()
        };
        let directory = node.state(GroupId::DIRECTORY).expect("every node has it");
        assert!(eventually(&|| directory.progress().next_index > 0).await, "the directory is formed");
        let seen = convert::log_id_out(&to_log_id(LogPosition { term: 1, node: 1, index: 0 }));
        let drop_it = Step::Drop(v1::Drop { seen: Some(seen), directory_applied: 0 });
        let mut asked = Box::pin(steps::take(&node.host, group, drop_it));
        while !node.host.in_motion.contains(group) {
            assert!(futures::poll!(&mut asked).is_pending(), "it takes a while");
            tokio::task::yield_now().await;
        }
        drop(asked);
        assert!(eventually(&|| !node.host.in_motion.contains(group)).await, "it is given up half");
        assert!(node.state(group).is_none());
        assert!(!node.host.take_on(group).await.expect("it is empty"), "it can come back");
        node.shutdown().await.expect("it stops cleanly");
    }

    /// Found by seed 50 of the simulator: entries of a group that had moved on stayed in the log of a node whose checkpoint had rotted.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_has_lost_the_checkpoint_of_a_group_that_has_moved_on_gets_it_as_long_as_there_are_entries() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (node, _data) = lone_node(directory.path()).await;
        let (host, group) = (&node.host, GroupId(7));
        let log = host.wal.group(group);
        let at = |index| LogPosition { term: 6, node: 1, index };
        let entries = (0..6).map(|index| (at(index), EntryBody::Blank)).collect();
        log.append(entries, Box::new(|_| {})).await.expect("the log takes entries");
        log.purge(at(3)).await.expect("the disk is good");

        let state = host.open_state(group).await.expect("there is none");
        assert!(host.has_gap(&state) && host.has_rest(group));
        let mut fetching = Box::pin(host.fetch_from_any(&state));
        assert!(futures::poll!(&mut fetching).is_pending(), "nobody wants it here, but there are entries of it");
        log.purge(at(5)).await.expect("the disk is good");
        assert!(!host.has_rest(group));
        tokio::time::timeout(Duration::from_secs(60), fetching).await.expect("nothing is left to be done");
        node.shutdown().await.expect("it stops cleanly");
    }

    #[test]
    fn a_log_is_purged_behind_a_snapshot_once_it_is_worth_it() {
        assert_eq!(purge_due(None, None, 5_000), None);
        assert_eq!(purge_due(Some(1_248), None, 5_000), None);
        assert_eq!(purge_due(Some(1_249), None, 5_000), Some(249));
        assert_eq!(purge_due(Some(999), None, 5_000), None);
        assert_eq!(purge_due(Some(1_249), Some(0), 5_000), None);
        assert_eq!(purge_due(Some(5_000), Some(3_750), 5_000), Some(4_000));
        assert_eq!(purge_due(Some(5_000), Some(3_751), 5_000), None);
        assert_eq!(purge_due(Some(5_000), Some(4_500), 5_000), None);
        assert_eq!(purge_due(Some(20), Some(15), 20), Some(16));
    }
}

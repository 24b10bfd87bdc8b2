//! The controller: it brings what is to where the directory wants it.
//!
//! It runs on every node and acts on the one that leads the directory. In each round it asks all nodes how they are,
//! puts that beside the directory's wishes ([`view`]), decides on a few steps ([`decide`]) and takes them. It keeps
//! nothing that matters between rounds: whoever leads the directory next sees the same and goes on.

mod decide;
pub mod placing;
mod unfinished;
mod view;

use crate::cluster::{Cluster, GrpcCluster, Position, ProposeError};
use crate::group::Group;
use crate::hosting::{Host, ask_directory, read_plan};
use crate::types::NodeId;
use decide::{Decision, Step};
use futures::future::join_all;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use unfinished::Unfinished;
use vestibule_engine::{
    ActivateShowtime, CreateShowtime, Directory, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Envelope, GroupId,
    NodeNumber, NodeState, Reply, SetGroups, SetNodeState, SetPlacement, Shard, ShardCommand, ShowtimeRecord,
};
use vestibule_proto::v1;
use view::View;

/// How long a round waits for the next when there was nothing to do.
const IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// After so many such rounds in a row it is quiet: then looking costs more than it finds.
const IDLE_ROUNDS: u32 = 10;
/// How much longer the next round waits then, unless the directory changes.
const QUIET_PAUSE: Duration = Duration::from_millis(1_500);
/// How long a node that does not lead the directory waits before it looks whether it does, unless it hears that it does.
const FOLLOWER_PAUSE: Duration = Duration::from_secs(1);
/// How long when there was, or when something is awaited.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// How long the first placement waits for those of the first nodes that do not answer.
const FIRST_PLACEMENT_PATIENCE: Duration = Duration::from_secs(10);
/// How long the directory or a group may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a group may take to create a showtime that is being finished. One without a majority has a leader all the same,
/// and nothing else is done meanwhile; the next try is as good.
const FINISH_PATIENCE: Duration = Duration::from_millis(500);

/// The controller of one node.
pub(crate) struct Controller {
    host: Host,
    cluster: Arc<GrpcCluster>,
    obstacles: watch::Sender<Vec<String>>,
    /// Since when this node has led the directory.
    leading_since: Option<Instant>,
    unfinished: Unfinished,
    /// Rounds in a row in which there was nothing to do.
    idle_rounds: u32,
}

impl Controller {
    /// The controller of `host`, which speaks to the groups through `cluster`; and where it says what holds it up.
    pub(crate) fn new(host: Host, cluster: Arc<GrpcCluster>) -> (Self, watch::Receiver<Vec<String>>) {
        let (obstacles, seen) = watch::channel(Vec::new());
        (
            Self { host, cluster, obstacles, leading_since: None, unfinished: Unfinished::default(), idle_rounds: 0 },
            seen,
        )
    }

    /// Controls while this node leads the directory, until the node stops.
    pub(crate) async fn run(mut self) {
        let mut stop = self.host.stop.clone();
        loop {
            let one = async {
                let pause = self.round().await;
                self.rest(pause).await;
            };
            tokio::select! {
                () = one => {}
                () = stop.stopped() => return,
            }
        }
    }

    /// Waits for the next round. Where nothing has been to do for a while, longer: until the directory changes.
    async fn rest(&mut self, pause: Duration) {
        let directory = self.host.groups.get(GroupId::DIRECTORY).ok();
        let Some(directory) = directory else { return tokio::time::sleep(pause).await };
        if self.leading_since.is_none() {
            let mut leadership = directory.raft.server_metrics();
            drop(directory);
            if leadership.borrow_and_update().current_leader != Some(self.host.config.id) {
                // An error means that the directory has stopped.
                let _ = tokio::time::timeout(FOLLOWER_PAUSE, leadership.changed()).await;
            }
            return tokio::time::sleep(pause).await;
        }
        let mut progress = directory.state.watch();
        drop(directory);
        tokio::time::sleep(pause).await;
        let is_idle = pause == IDLE_INTERVAL && self.unfinished.is_empty();
        self.idle_rounds = if is_idle { self.idle_rounds.saturating_add(1) } else { 0 };
        if self.idle_rounds >= IDLE_ROUNDS {
            let _ = tokio::time::timeout(QUIET_PAUSE, progress.changed()).await;
        }
    }

    /// One round; gives how long to wait before the next.
    async fn round(&mut self) -> Duration {
        let directory = self.host.groups.get(GroupId::DIRECTORY).ok().filter(|directory| directory.is_leader());
        let Some(directory) = directory else {
            self.leading_since = None;
            self.unfinished.clear();
            self.obstacles.send_replace(Vec::new());
            return BUSY_INTERVAL;
        };
        let leading_since = *self.leading_since.get_or_insert_with(Instant::now);
        let view = self.look(&directory).await;
        if view.group_count == 0 {
            let command =
                DirectoryCommand::SetGroups(SetGroups { expected_version: Some(0), count: self.host.config.groups });
            self.tell_directory("set groups", command).await;
            return BUSY_INTERVAL / 5;
        }
        let everyone_is_here = self.host.config.peers.keys().all(|peer| view.nodes.contains_key(peer));
        let everyone_answers = self.host.config.peers.keys().all(|peer| view.answers(*peer));
        let may_place = everyone_answers || leading_since.elapsed() > FIRST_PLACEMENT_PATIENCE;
        let Decision { steps, obstacles } = decide::decide(&view, may_place);
        let is_idle = steps.is_empty() && obstacles.is_empty();
        self.obstacles.send_if_modified(|known| {
            let is_news = *known != obstacles;
            for obstacle in obstacles.iter().filter(|obstacle| !known.contains(obstacle)) {
                tracing::info!(obstacle, "the controller waits");
            }
            *known = obstacles;
            is_news
        });
        join_all(steps.into_iter().map(|step| self.take(&view, step))).await;
        let tried = self.finish_a_showtime(&directory, &view).await;
        if is_idle && everyone_is_here && !tried { IDLE_INTERVAL } else { BUSY_INTERVAL }
    }

    async fn look(&self, directory: &Group) -> View {
        let plan = read_plan(&directory.state);
        let directory_applied = directory.state.progress().next_index.saturating_sub(1);
        let group_count = match ask_directory(&directory.state, &DirectoryQuery::Groups) {
            Some(DirectoryAnswer::Groups(groups)) => u32::try_from(groups.len()).unwrap_or(u32::MAX),
            _ => 0,
        };
        let present = plan.nodes.iter().filter(|node| node.state != NodeState::Removed);
        let asked = present.map(|node| async {
            let id = node.node.0;
            Some((id, self.host.peers.status(id).await?))
        });
        let reports: BTreeMap<NodeId, v1::StatusResponse> = join_all(asked).await.into_iter().flatten().collect();
        View::new(plan, &reports, group_count, directory_applied)
    }

    async fn take(&self, view: &View, step: Step) {
        use v1::change_group_request::Step as Wire;
        let address = |node: NodeId| view.nodes.get(&node).map(|node| node.address.clone()).unwrap_or_default();
        tracing::info!(?step, "the controller takes a step");
        let (group, on, wire) = match step {
            Step::Place { group, voters, expected } => {
                let voters = voters.into_iter().map(NodeNumber).collect();
                let ask = SetPlacement { group, voters, expected_version: Some(expected) };
                return self.tell_directory("place a group", DirectoryCommand::SetPlacement(ask)).await;
            }
            Step::Remove { node, expected } => {
                let ask = SetNodeState {
                    node: NodeNumber(node),
                    state: NodeState::Removed,
                    expected_version: Some(expected),
                };
                return self.tell_directory("remove a node", DirectoryCommand::SetNodeState(ask)).await;
            }
            Step::Form { group, on, voters, placement } => {
                let voters = voters.into_iter().map(|node| (node, address(node))).collect();
                (group, on, Wire::Form(v1::Form { voters, placement }))
            }
            Step::AddLearner { group, leader, node, seen } => {
                (group, leader, Wire::AddLearner(v1::AddLearner { node, address: address(node), seen: Some(seen) }))
            }
            Step::SetVoters { group, leader, voters, seen } => {
                let retain = group == GroupId::DIRECTORY;
                let voters = voters.into_iter().collect();
                (group, leader, Wire::SetVoters(v1::SetVoters { voters, retain, seen: Some(seen) }))
            }
            Step::RemoveLearner { group, leader, node, seen } => {
                (group, leader, Wire::RemoveLearner(v1::RemoveLearner { node, seen: Some(seen) }))
            }
            Step::Transfer { group, leader, to } => (group, leader, Wire::TransferTo(to)),
            Step::Drop { group, on, seen } => {
                let directory_applied = view.directory_applied;
                (group, on, Wire::Drop(v1::Drop { seen: Some(seen), directory_applied }))
            }
        };
        if let Err(error) = self.host.peers.change_group(on, group, wire).await {
            // What is still wanted in the next round is tried again.
            tracing::info!(%group, node = on, error, "a step of the controller was not taken");
        }
    }

    async fn tell_directory(&self, what: &str, command: DirectoryCommand) {
        let envelope = Envelope { request: None, command };
        let told: Result<(Reply, Position), ProposeError> =
            (&*self.cluster as &dyn Cluster).propose::<Directory>(GroupId::DIRECTORY, &envelope, PATIENCE).await;
        match told {
            Ok((Reply { result: Err(refusal), .. }, _)) => tracing::info!(what, %refusal, "the directory refuses"),
            Ok(_) => {}
            Err(error) => tracing::info!(what, %error, "the directory gave no answer"),
        }
    }

    /// Finishes one of the showtimes that whoever scheduled them did not: the group creates it, the directory activates it.
    /// One a round, since a group may take its time to answer. Gives whether there was one to finish.
    async fn finish_a_showtime(&mut self, directory: &Group, view: &View) -> bool {
        let Some(DirectoryAnswer::Showtimes(records)) = ask_directory(&directory.state, &DirectoryQuery::Provisioning)
        else {
            return false;
        };
        let now = Instant::now();
        self.unfinished.note(now, &records.iter().map(|record| record.showtime).collect());
        let is_led = |id: GroupId| view.groups.get(&id).is_some_and(|group| group.led.is_some());
        let due = self.unfinished.due(now, self.host.config.showtime_patience, |showtime| is_led(showtime.group()));
        let Some(record) = records.into_iter().find(|record| Some(record.showtime) == due) else { return false };
        let showtime = record.showtime;
        self.finish_showtime(directory, record).await;
        self.unfinished.tried(Instant::now(), showtime);
        true
    }

    async fn finish_showtime(&self, directory: &Group, record: ShowtimeRecord) {
        let (showtime, group) = (record.showtime, record.showtime.group());
        let query = DirectoryQuery::SeatMap { venue: record.venue, version: record.seat_map_version };
        let Some(DirectoryAnswer::SeatMap(Some(seat_map))) = ask_directory(&directory.state, &query) else {
            tracing::error!(%showtime, "a showtime in the making has no seat map");
            return;
        };
        let create = CreateShowtime {
            showtime,
            organisation: record.organisation,
            seat_map,
            prices: record.prices,
            sale: record.sale,
            draw_secret: record.draw_secret,
        };
        let envelope = Envelope { request: None, command: ShardCommand::CreateShowtime(create) };
        let created = (&*self.cluster as &dyn Cluster).propose::<Shard>(group, &envelope, FINISH_PATIENCE).await;
        match created {
            Ok((Reply { result: Ok(_), .. }, _)) => {
                tracing::warn!(%showtime, "a showtime was left half made; it is finished now");
                let activate = ActivateShowtime { showtime, expected_version: None };
                self.tell_directory("activate a showtime", DirectoryCommand::ActivateShowtime(activate)).await;
            }
            Ok((Reply { result: Err(refusal), .. }, _)) => {
                tracing::error!(%showtime, %refusal, "a showtime in the making is refused by its group");
            }
            Err(error) => tracing::info!(%showtime, %error, "a showtime in the making has to wait"),
        }
    }
}

//! Which nodes a client of the cluster knows, and how it hears of others.

use super::session::SESSION_TIMEOUT;
use super::{GrpcCluster, SESSIONS_MAX, lock};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vestibule_engine::{GroupId, NodeState};
use vestibule_proto::v1;

/// How often a node is asked which nodes there are.
pub(super) const MEMBERS_INTERVAL: Duration = Duration::from_secs(5);
/// How long after one gave no answer the next is asked. While all nodes are replaced by others, those that have gone must not
/// keep this side from hearing of the others before the last that it knows is gone too.
const MEMBERS_RETRY: Duration = Duration::from_millis(200);

impl GrpcCluster {
    /// The addresses of the nodes it knows of.
    pub fn seeds(&self) -> Vec<String> {
        lock(&self.seeds).clone()
    }

    /// What the nodes that it knows of, and that answer, call their cluster; who listens at `except` is not asked. Of several
    /// names none is right.
    pub async fn cluster_name(&self, except: &[&str]) -> Result<String, tonic::Status> {
        let seeds = self.seeds().into_iter().filter(|seed| !except.contains(&seed.as_str()));
        let asked = seeds.map(async |seed| (self.status(&seed, SESSION_TIMEOUT).await, seed));
        let mut found: Option<(String, String)> = None;
        let mut last = tonic::Status::unavailable("no node is known");
        for (answer, seed) in join_all(asked).await {
            match (answer, &found) {
                (Err(status), _) => last = tonic::Status::new(status.code(), format!("{seed}: {}", status.message())),
                (Ok(status), None) => found = Some((status.cluster, seed)),
                (Ok(status), Some((name, other))) if status.cluster != *name => {
                    let reason = format!("{other} is of the cluster {name:?}, and {seed} of {:?}", status.cluster);
                    return Err(tonic::Status::failed_precondition(reason));
                }
                (Ok(_), Some(_)) => {}
            }
        }
        found.map(|(name, _)| name).ok_or(last)
    }

    /// Learns of more nodes.
    pub fn add_seeds(&self, addresses: impl IntoIterator<Item = String>) {
        let mut seeds = lock(&self.seeds);
        for address in addresses {
            if !address.is_empty() && !seeds.contains(&address) && seeds.len() < SESSIONS_MAX {
                seeds.push(address);
            }
        }
    }

    /// Takes over which nodes there are from one that says so: new ones are known from now on, and addresses at which no node
    /// is to be found any more are forgotten. What was given stays until the node that it belonged to is removed.
    pub(super) fn note_members(&self, status: &v1::StatusResponse) {
        let is_removed = |member: &&v1::Member| member.state == NodeState::Removed.as_str();
        let addresses = |members: Vec<&v1::Member>| members.into_iter().map(|member| member.address.clone()).collect();
        let (gone, present) = status.members.iter().partition::<Vec<_>, _>(is_removed);
        // One that has not read the directory knows what it was told at its start, which may be long ago.
        let is_read = present.iter().any(|member| !member.state.is_empty());
        let (gone, present): (BTreeSet<String>, BTreeSet<String>) = (addresses(gone), addresses(present));
        if is_read && self.is_latest(status) {
            let is_kept =
                |address: &String| present.contains(address) || self.given.contains(address) && !gone.contains(address);
            lock(&self.seeds).retain(is_kept);
            lock(&self.sessions).retain(|address, _| is_kept(address));
        }
        self.add_seeds(present);
    }

    /// Whether a node that says how it is has come as far in the directory as any that said so before. One that is behind
    /// may not know of nodes that have come since.
    fn is_latest(&self, status: &v1::StatusResponse) -> bool {
        let directory = status.groups.iter().find(|group| group.group == GroupId::DIRECTORY.0);
        directory.is_some_and(|directory| {
            let applied = directory.applied_index;
            self.members_as_of.fetch_max(applied, Ordering::Relaxed) <= applied
        })
    }

    /// The address that it is somebody's turn to begin with.
    pub(super) fn next_seed(&self) -> String {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let seeds = lock(&self.seeds);
        seeds.get(turn % seeds.len().max(1)).cloned().unwrap_or_default()
    }

    /// The address to be asked after this one. Whoever goes on from the last that failed comes to every node, which is not
    /// so for several who take turns with each other.
    pub(super) fn seed_after(&self, address: &str) -> String {
        let seeds = lock(&self.seeds);
        let next = seeds.iter().position(|seed| seed == address).map_or(0, |at| (at + 1) % seeds.len());
        seeds.get(next).cloned().unwrap_or_default()
    }
}

/// Asks one node after another which nodes there are, for as long as the cluster's client lives.
pub(super) async fn follow_members(cluster: Weak<GrpcCluster>) {
    let mut seed = String::new();
    loop {
        let Some(known) = cluster.upgrade() else { return };
        seed = known.seed_after(&seed);
        let pause = match known.status(&seed, SESSION_TIMEOUT).await {
            Ok(status) => {
                known.note_members(&status);
                MEMBERS_INTERVAL
            }
            Err(_) => MEMBERS_RETRY,
        };
        drop(known);
        tokio::time::sleep(pause).await;
    }
}

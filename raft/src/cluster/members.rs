//! Which nodes a client of the cluster knows, and how it hears of others.

use super::session::SESSION_TIMEOUT;
use super::{GrpcCluster, SESSIONS_MAX, lock};
use futures::future::join_all;
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;
use vestibule_engine::NodeState;
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

    /// Takes over which nodes there are from one that says so: removed ones are forgotten, new ones known.
    fn note_members(&self, members: &[v1::Member]) {
        let is_removed = |member: &&v1::Member| member.state == NodeState::Removed.as_str();
        let present: Vec<&v1::Member> = members.iter().filter(|member| !is_removed(member)).collect();
        let gone: Vec<&str> = members.iter().filter(is_removed).map(|member| member.address.as_str()).collect();
        // A node that took over the address of a removed one is there all the same.
        let is_gone = |address: &String| {
            gone.contains(&address.as_str()) && !present.iter().any(|member| member.address == *address)
        };
        lock(&self.seeds).retain(|address| !is_gone(address));
        lock(&self.sessions).retain(|address, _| !is_gone(address));
        self.add_seeds(present.into_iter().map(|member| member.address.clone()));
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
                known.note_members(&status.members);
                MEMBERS_INTERVAL
            }
            Err(_) => MEMBERS_RETRY,
        };
        drop(known);
        tokio::time::sleep(pause).await;
    }
}

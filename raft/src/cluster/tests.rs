use super::members::MEMBERS_INTERVAL;
use super::*;
use tonic::transport::Channel;

/// Reaches nobody, and notes whom it was to reach.
#[derive(Default)]
struct Deserted(Mutex<BTreeMap<String, usize>>);

impl Connector for Deserted {
    fn channel(&self, address: &str) -> std::io::Result<Channel> {
        *lock(&self.0).entry(address.to_owned()).or_default() += 1;
        Err(std::io::Error::other("nobody is there"))
    }
}

/// Found by seed 1180 of the simulator: all nodes that a gateway knew had been replaced before it heard of any other.
#[tokio::test(start_paused = true)]
async fn nodes_that_are_gone_do_not_keep_it_from_hearing_of_others() {
    let connector = Arc::new(Deserted::default());
    let _cluster = GrpcCluster::new(["a", "b", "c"].map(str::to_owned).to_vec(), connector.clone());
    tokio::time::sleep(MEMBERS_INTERVAL / 2).await;
    let asked = lock(&connector.0).clone();
    assert!(asked.len() == 3 && asked.values().all(|count| *count >= 2), "{asked:?}");
}

/// Requests that look for a leader at the same time once took turns so that each asked the same nodes again and again.
#[tokio::test(start_paused = true)]
async fn whoever_looks_for_a_leader_comes_to_every_node() {
    for requests in 1..=4 {
        let connector = Arc::new(Deserted::default());
        let cluster = GrpcCluster::new(["a", "b", "c", "d"].map(str::to_owned).to_vec(), connector.clone());
        let ask = || cluster.propose_bytes(GroupId(1), Vec::new(), Duration::from_secs(1));
        futures::future::join_all((0..requests).map(|_| ask())).await;
        let asked = lock(&connector.0).clone();
        assert!(asked.len() == 4 && asked.values().all(|count| *count >= 2), "{requests}: {asked:?}");
    }
}

//! One row of one group's checkpoint is damaged: that checkpoint is made again, and those of the other groups stay.

mod support;

use std::time::Duration;
use support::{World, create, eventually};
use vestibule_engine::GroupId;
use vestibule_raft::seams::CheckpointStore;
use vestibule_raft::sled_store::SledStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_of_one_group_costs_the_others_nothing() {
    let mut world = World::of(3).await;
    let cluster = world.client_of_all();
    // Long enough for the log to be purged: without its checkpoint the directory could not be made again by one node alone.
    for request in 1..400 {
        assert!(create(&*cluster, request).await.result.is_ok());
    }
    eventually("a purged log", || async {
        world.nodes[&2].node.log(GroupId::DIRECTORY).purged().filter(|purged| purged.index > 20)
    })
    .await;
    for id in 1..=3 {
        world.stop(id).await;
    }
    {
        let store =
            SledStore::open(&world.directory_of(2).join("checkpoint"), Duration::from_secs(30)).expect("sled opens");
        let row = (vec![1, 0x55], Some(b"this is no row that was written".to_vec()));
        store.write("g1.0", vec![row]).await.expect("it can be written to");
        store.flush().await.expect("it can be written to");
    }
    world.start_again(2).await;
    let alone = world.nodes[&2].node.state(GroupId::DIRECTORY).expect("its own checkpoint reaches the log").progress();
    assert!(alone.next_index > 20, "{alone:?}");
    world.start_again(1).await;
    world.start_again(3).await;
    let remade = |id: u64| world.nodes[&id].node.checkpoints_remade();
    assert_eq!((remade(1), remade(2), remade(3)), (0, 1, 0));
    let state = |id: u64, group: u32| world.nodes[&id].node.state(GroupId(group));
    for group in [0, 1] {
        eventually("the same state everywhere", || async {
            (state(2, group)?.digest() == state(1, group)?.digest()).then_some(())
        })
        .await;
    }
    world.stop_all().await;
}

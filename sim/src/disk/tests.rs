//! What a sync covers, and when a disk counts as full.

use super::*;

async fn with_file() -> (SimDisk, Tally, Arc<dyn DiskFile>) {
    let tally = Tally::default();
    let disk = SimDisk::of_machine(1, Power::default(), tally.clone());
    let file = disk.create("ballast", 4).await.expect("there is room");
    disk.sync_directory().await.expect("it syncs");
    (disk, tally, file)
}

#[tokio::test(start_paused = true)]
async fn what_is_written_during_a_sync_is_for_the_next_one() {
    let (disk, _, file) = with_file().await;
    file.write_at(0, b"ab").await.expect("it is written");
    disk.set_sync_delay(Duration::from_millis(100));
    let later = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        file.write_at(1, b"cdefg").await.expect("it is written");
    };
    let (synced, ()) = tokio::join!(file.sync_data(), later);
    synced.expect("it syncs");
    assert_eq!(disk.durable_files()["ballast"], b"ab\0\0");
    file.sync_data().await.expect("it syncs");
    assert_eq!(disk.durable_files()["ballast"], b"acdefg");
}

#[tokio::test]
async fn a_disk_is_full_where_less_is_free_than_the_ballast_takes() {
    let (disk, tally, _file) = with_file().await;
    for (capacity, count) in [(8, 0), (7, 1)] {
        disk.set_capacity(capacity);
        disk.free_bytes().await.expect("it is told");
        assert_eq!(tally.of(Kind::DiskFull), count, "{capacity} bytes, 4 of them taken");
    }
}

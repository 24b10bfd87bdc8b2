//! Nodes whose disks are full: they hand over, refuse what they may, and go on when there is room.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Cluster, clean_report, eventually};
use vestibule_client::{Client, HoldRequest, IdempotencyKey, Settings};

/// A small file system in memory, unmounted at the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where mounting is not allowed.
    fn mount(path: PathBuf, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(&path).expect("directories can be made");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    /// Leaves no room on it.
    fn fill(&self) {
        let filler = self.0.join("filler");
        // It fails when the disk is full, which is what is wanted.
        let _ = Command::new("dd").args(["if=/dev/zero", "bs=64k", "status=none"]).arg(of(&filler)).status();
        assert!(filler.exists(), "there is no filler");
    }

    /// Takes what room there is again.
    fn fill_up(&self) {
        let more = self.0.join("more");
        let mut command = Command::new("dd");
        command.args(["if=/dev/zero", "bs=4k", "status=none", "oflag=append", "conv=notrunc"]);
        // It fails when the disk is full, which is what is wanted.
        let _ = command.arg(of(&more)).status();
    }

    /// Gives back what [`fill_up`](Self::fill_up) took, if it took anything.
    fn make_some_room(&self) {
        let removed = std::fs::remove_file(self.0.join("more"));
        let is_gone = removed.as_ref().map_or_else(|error| error.kind() == std::io::ErrorKind::NotFound, |()| true);
        assert!(is_gone, "{removed:?}");
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("the filler can be removed");
    }
}

fn of(path: &Path) -> String {
    format!("of={}", path.display())
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the nodes may still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Whether each node says that its disk is full.
fn full(cluster: &Cluster) -> Vec<Option<bool>> {
    cluster.status().iter().map(|node| node["diskFull"].as_bool()).collect()
}

#[test]
fn a_full_disk_costs_no_sale_and_three_of_them_cost_nothing_but_time() {
    let mut cluster = Cluster::without_nodes(3, 1, &["--segment-mib", "1", "--ballast-mib", "8"]);
    let mut disks = Vec::new();
    for id in 1..=3 {
        let Some(disk) = Tmpfs::mount(cluster.node_data(id), 96) else {
            eprintln!("SKIPPED: a tmpfs cannot be mounted here (not root?); full disks were NOT tested");
            return;
        };
        disks.push(disk);
        cluster.start_node(id);
    }
    let token = cluster.token();
    let queued = cluster.sell(&token, &["--hold-seconds", "5"]);
    let open = cluster.sell(&token, &["--method", "passthrough", "--hold-seconds", "3600"]);
    let group = |showtime: &str| {
        let id: vestibule_engine::ShowtimeId = showtime.parse().expect("a showtime's id");
        u64::from(id.group().0)
    };

    // One disk is full: others take over what that node leads, and buyers see nothing of it.
    let leader = cluster.leader(group(&queued));
    disks[leader - 1].fill();
    eventually("the node notices", || (full(&cluster)[leader - 1] == Some(true)).then_some(()));
    eventually("another node leads", || (cluster.leader(group(&queued)) != leader).then_some(()));
    clean_report(cluster.start_rush(&queued, "200", &["--seed", "31"]).finish());

    // All are: new commands are refused with a reason, and reading goes on.
    disks.iter().enumerate().filter(|(at, _)| at + 1 != leader).for_each(|(_, disk)| disk.fill());
    eventually("all nodes notice", || full(&cluster).iter().all(|full| *full == Some(true)).then_some(()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::new(cluster.urls(), Settings::default(), 5).expect("a client");
        let seats = client.seats(&open.as_str().into(), None).await.expect("reading goes on").states;
        let guest = client.guest().await.expect("a guest").access_token;
        let wish = HoldRequest::Seats { seats: seats.into_keys().take(1).collect() };
        let key = IdempotencyKey::new("hold").expect("a key");
        let refused = client.hold(&guest, &open.as_str().into(), &wish, &key).await.expect_err("it is refused");
        assert!(format!("{refused:?}").contains("disk_full"), "{refused:?}");

        // With room again the same request is served.
        disks.iter().for_each(Tmpfs::make_room);
        eventually("there is room", || full(&cluster).iter().all(|full| *full == Some(false)).then_some(()));
        client.hold(&guest, &open.as_str().into(), &wish, &key).await.expect("a hold");
    });
    clean_report(cluster.start_rush(&queued, "60", &["--seed", "32"]).finish());
    // All on the same files.
    cluster.kill_all_and_restart();
    clean_report(cluster.start_rush(&queued, "60", &["--seed", "33"]).finish());
    // Before their disks go.
    (1..=3).for_each(|id| cluster.kill_node(id));
}

#[test]
fn a_node_that_is_restarted_on_a_full_disk_takes_part_and_loses_no_checkpoint() {
    let mut cluster = Cluster::without_nodes(3, 1, &["--segment-mib", "1", "--ballast-mib", "8"]);
    let Some(disk) = Tmpfs::mount(cluster.node_data(1), 96) else {
        eprintln!("SKIPPED: a tmpfs cannot be mounted here (not root?); a restart on a full disk was NOT tested");
        return;
    };
    (1..=3).for_each(|id| cluster.start_node(id));
    let token = cluster.token();
    let showtime = cluster.sell(&token, &["--hold-seconds", "5"]);
    clean_report(cluster.start_rush(&showtime, "100", &["--seed", "41"]).finish());
    cluster.wait_until_caught_up(1);

    disk.fill();
    eventually("the node notices", || (full(&cluster)[0] == Some(true)).then_some(()));
    // What giving the ballast up has freed is gone, too.
    disk.fill_up();
    for (what, seed) in [("killed", "42"), ("stopped", "43")] {
        match what {
            "killed" => cluster.kill_node(1),
            _ => cluster.stop_node(1),
        }
        disk.fill_up();
        cluster.start_node(1);
        let is_full = |node: &serde_json::Value| node["node"] == 1 && node["diskFull"] == true;
        let is_up = eventually("it is up, and says that its disk is full, or it has ended", || {
            let is_up = cluster.status().iter().any(is_full);
            (is_up || !cluster.node(1).is_running()).then_some(is_up)
        });
        if !is_up {
            // Its checkpoints cannot be opened without a byte to spare. They are left as they are, until there is some room.
            eprintln!("{what}: it ended for want of room");
            disk.make_some_room();
            cluster.start_node(1);
        }
        clean_report(cluster.start_rush(&showtime, "40", &["--seed", seed]).finish());
        cluster.wait_until_caught_up(1);
        assert!(cluster.node(1).is_running(), "{what}: it goes on");
        let aside = std::fs::read_dir(cluster.node_data(1)).expect("it can be listed");
        let is_aside = |name: std::ffi::OsString| name.to_string_lossy().starts_with("checkpoint.broken");
        assert!(!aside.flatten().any(|entry| is_aside(entry.file_name())), "{what}: its checkpoint was not damaged");
    }

    disk.make_room();
    disk.make_some_room();
    eventually("there is room", || (full(&cluster)[0] == Some(false)).then_some(()));
    clean_report(cluster.start_rush(&showtime, "40", &["--seed", "44"]).finish());
    cluster.kill_all_and_restart();
    clean_report(cluster.start_rush(&showtime, "40", &["--seed", "45"]).finish());
    // Before the disk goes.
    cluster.kill_node(1);
}

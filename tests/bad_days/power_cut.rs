//! The power goes while all nodes write.

use crate::buyers::Crowd;
use crate::support::{Cluster, eventually, vestibule};
use crate::{group_of, often, run, turn};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Has ext4 stop at once, its journal unwritten (`EXT4_IOC_SHUTDOWN`, no flush): all that was not made durable is lost.
const CUT: &str = r#"sysopen(my $root, $ARGV[0], 0) or die "$!"; my $how = pack("L", 2);
    ioctl($root, 0x8004587D, $how) or die "$!";"#;

/// A file system in a file.
struct Disk {
    directory: tempfile::TempDir,
    mount: PathBuf,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have plain names")
}

impl Disk {
    fn make() -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (image, mount) = (directory.path().join("image"), directory.path().join("mount"));
        std::fs::create_dir(&mount).expect("a directory");
        let file = std::fs::File::create(&image).expect("a file");
        file.set_len(768 << 20).expect("files can have holes");
        run(&["mkfs.ext4", "-q", "-F", text(&image)])?;
        let disk = Self { directory, mount };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run(&["mount", "-o", "loop", text(&self.directory.path().join("image")), text(&self.mount)])
    }

    fn cut(&self) {
        run(&["perl", "-e", CUT, text(&self.mount)]).expect("the power can be cut");
    }

    /// What is left is copied, and the copy takes the place of the disk.
    fn replace(&self) {
        let (image, copy) = (self.directory.path().join("image"), self.directory.path().join("copy"));
        run(&["cp", "--sparse=always", text(&image), text(&copy)]).expect("the image can be copied");
        run(&["umount", text(&self.mount)]).expect("nobody uses it any more");
        std::fs::rename(&copy, &image).expect("it can be renamed");
        self.mount().expect("the copy can be mounted");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the nodes may still be there.
        let _ = run(&["umount", "-l", text(&self.mount)]);
    }
}

#[test]
fn what_was_acknowledged_outlives_a_power_cut_of_all_nodes() {
    let _turn = turn();
    let disk = match Disk::make() {
        Ok(disk) => disk,
        Err(reason) => {
            eprintln!("SKIPPED: an image cannot be mounted here ({reason}); power cuts were NOT tested");
            return;
        }
    };
    if let Err(reason) = run(&["perl", "-v"]) {
        eprintln!("SKIPPED: nothing to cut the power with ({reason}); power cuts were NOT tested");
        return;
    }
    let mut cluster = Cluster::with_data_at(3, 2, disk.mount.clone());
    (1..=3).for_each(|id| cluster.start_node(id));
    let token = cluster.token();
    let showtime = cluster.sell_arena(&token, often(12_000, 40_000));
    let crowd = Crowd::start(&cluster, &showtime);
    for _ in 0..often(2, 15) {
        crowd.goes_on(60);
        let group = group_of(&showtime);
        // So that there is a checkpoint to be lost.
        eventually("something of the group is saved", || {
            let leader = cluster.leader(group);
            let status = cluster.status().into_iter().find(|node| node["node"] == leader)?;
            let saved = status["groups"].as_array()?.iter().find(|one| one["group"] == group)?;
            (saved["checkpointedIndex"].as_u64() > Some(0)).then_some(())
        });
        disk.cut();
        for id in 1..=3 {
            // They notice by themselves, unless they are killed first.
            cluster.kill_node(id);
        }
        disk.replace();
        for id in 1..=3 {
            let data = cluster.node_data(id);
            let output = vestibule(&["ctl", "verify-data", text(&data), "--json"]).output().expect("the binary runs");
            let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert!(output.status.success(), "node {id}: {report}");
            let (records, rows) = (report["records"].as_u64(), report["rows"].as_u64());
            assert!(records > Some(0) && rows > Some(20), "node {id}: {report}");
            eprintln!("node {id} has {records:?} records and {rows:?} rows");
        }
        (1..=3).for_each(|id| cluster.start_node(id));
        crowd.goes_on(20);
        (1..=3).for_each(|id| cluster.wait_until_caught_up(id));
    }
    crowd.finish().check(&cluster);
    // Before their disk goes.
    (1..=3).for_each(|id| cluster.kill_node(id));
}

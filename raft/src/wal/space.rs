//! Room on the disk: the spare segment, the ballast, and what happens when the disk is full.
//!
//! ```text
//!            free < ballast, or a file has no room: the ballast is removed
//!   roomy ───────────────────────────────────────────────────────────────▶ full
//!         ◀───────────────────────────────────────────────────────────────
//!            free ≥ 3 × ballast: the ballast and the spare are made again
//! ```
//!
//! While the disk is full, the node proposes nothing, for others or of its own. What the ballast gave up is for votes, for the entries
//! of other leaders, and for the checkpoints without which nothing can be purged. In steady state none of these needs
//! new room: segments are used again. The two bounds are far apart, so that the ballast does not come and go. Where
//! checkpoints find no room, or the log grows faster than it is purged, it comes to the last segment that there is room for: of
//! that a quarter is for votes, and entries of other leaders are refused. What can be purged then is.

use super::segment::{self, SPARE_NAME};
use super::syncer::Head;
use super::{Shared, WalConfig};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A file that holds room for the day when there is none.
pub(crate) const BALLAST_NAME: &str = "ballast";
/// How often the room is looked at when it may soon be short.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often when there is [`PLENTY`] beyond what counts as room.
const PLENTY_INTERVAL: Duration = Duration::from_secs(2);
/// More than a fast disk takes in that time.
const PLENTY: u64 = 16 << 30;

impl Shared {
    fn set_full(&self, is_full: bool) {
        self.full.send_if_modified(|now| std::mem::replace(now, is_full) != is_full);
    }

    /// Notes how much of the segment is left.
    pub(crate) fn note_head(&self, head: &Head) {
        self.head_left.store(head.left(self.config.segment_len), Ordering::Relaxed);
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.config.queue_bytes_max.saturating_sub(self.queue_space.available_permits()) as u64
    }

    /// Whether what is left of the last segment is kept for votes: a quarter of it, and what has been taken already.
    pub(crate) fn is_out_of_room(&self) -> bool {
        let reserve = self.config.segment_len / 4 + self.queued_bytes();
        self.is_last_segment.load(Ordering::Relaxed) && self.head_left.load(Ordering::Relaxed) < reserve
    }

    /// Whether a checkpoint of about so many bytes may be written: its store should not meet a full disk. Looked up anew,
    /// because a disk may fill within milliseconds.
    pub(crate) async fn has_room_for_checkpoint(&self, bytes: u64) -> io::Result<bool> {
        let ballast_len = self.config.ballast_len;
        Ok(ballast_len == 0 || self.disk.free_bytes().await? >= (ballast_len / 2).saturating_add(bytes))
    }
}

/// Gives the ballast up: from now on the disk counts as full.
pub(crate) async fn give_up_ballast(shared: &Shared) -> io::Result<()> {
    shared.set_full(true);
    match shared.disk.remove(BALLAST_NAME).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    shared.disk.sync_directory().await
}

async fn make_files(shared: &Shared) -> io::Result<()> {
    let WalConfig { segment_len, ballast_len, .. } = shared.config;
    if ballast_len > 0 {
        segment::keep_file(&*shared.disk, BALLAST_NAME, ballast_len).await?;
    }
    segment::keep_file(&*shared.disk, SPARE_NAME, segment_len).await
}

async fn has_spare(shared: &Shared) -> io::Result<bool> {
    segment::has_file(&*shared.disk, SPARE_NAME, shared.config.segment_len).await
}

fn note_last_segment(shared: &Shared, is_last: bool) {
    match (shared.is_last_segment.swap(is_last, Ordering::Relaxed), is_last) {
        (false, true) => tracing::warn!("the disk is full, and the log has no room for another segment"),
        (true, false) => tracing::info!("the log has room for another segment again"),
        _ => {}
    }
}

/// When to look again at a disk with so many bytes free.
fn pause(free: u64, ballast_len: u64) -> Duration {
    let is_plenty = free >= ballast_len.saturating_mul(3).saturating_add(PLENTY);
    if is_plenty { PLENTY_INTERVAL } else { INTERVAL }
}

/// Looks at the room once, and does what is due. Gives when to look again.
async fn tend(shared: &Shared) -> io::Result<Duration> {
    let free = shared.disk.free_bytes().await?;
    let ballast_len = shared.config.ballast_len;
    let is_full = *shared.full.borrow();
    note_last_segment(shared, is_full && free < shared.config.segment_len && !has_spare(shared).await?);
    let pause = pause(free, ballast_len);
    if is_full && free < ballast_len.saturating_mul(3) {
        return Ok(pause);
    }
    if !is_full && free < ballast_len {
        return give_up_ballast(shared).await.map(|()| pause);
    }
    match make_files(shared).await {
        Ok(()) => {
            shared.set_full(false);
            note_last_segment(shared, false);
            Ok(pause)
        }
        Err(error) if error.kind() == io::ErrorKind::StorageFull => give_up_ballast(shared).await.map(|()| pause),
        Err(error) => Err(error),
    }
}

/// Keeps a zeroed spare file ready, so that beginning a segment stalls nobody, and watches the room on the disk. A spare
/// that was taken is replaced soon.
pub(crate) async fn keep_room(shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    while !*stopping.borrow() {
        let pause = match tend(&shared).await {
            Ok(pause) => pause,
            Err(error) => {
                shared.fail(&error);
                return;
            }
        };
        let taken = async {
            shared.spare_taken.notified().await;
            // A segment that is dropped meanwhile becomes the spare for nothing.
            tokio::time::sleep(INTERVAL).await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = taken => {}
            _ = stopping.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_looked_at_often_when_it_may_soon_be_full_and_seldom_when_not() {
        const BALLAST: u64 = 32 << 20;
        assert_eq!(pause(0, BALLAST), INTERVAL);
        assert_eq!(pause(3 * BALLAST, BALLAST), INTERVAL);
        assert_eq!(pause(8 << 30, BALLAST), INTERVAL, "a fast disk takes that in a few seconds");
        assert_eq!(pause(100 << 30, BALLAST), PLENTY_INTERVAL);
        assert_eq!(pause(u64::MAX, BALLAST), PLENTY_INTERVAL);
    }
}

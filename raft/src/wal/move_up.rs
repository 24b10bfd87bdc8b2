//! Entries that cannot be purged are written once more at the end of the log, so that the segments before can go.
//!
//! Segments go in order, so a group that cannot purge keeps everything that the others write after its entries. What is
//! written says nothing new: it voids the entries of the group and has them all again behind that, in one frame. A crash
//! leaves that frame whole or not at all, and only when it is on disk do the segments go in which the entries were before.

use super::group_log::{Found, Place};
use super::record::{self, EntryBody, FRAME_HEADER_LEN, LogPosition, RecordBody};
use super::{ColdReader, Item, Wal, WalGroup, lock, wait_flushed, waiter};
use std::io;

/// What became of moving a group's entries up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovedUp {
    /// They are at the end of the log.
    Done,
    /// The disk is full, or the group's log was changed meanwhile.
    NotNow,
    /// They are more than one frame takes, so that they stay where they are.
    TooLong,
}

impl Wal {
    /// Whether more than half of the log on disk is needed no longer. Only then is moving up worth it: otherwise the groups
    /// that cannot purge would be written again and again.
    pub fn is_mostly_purged(&self) -> bool {
        let groups: Vec<_> = lock(&self.shared.groups).values().cloned().collect();
        let needed: u64 = groups.iter().map(|log| lock(log).bytes_on_disk()).sum();
        let segments = lock(&self.shared.segments).len() as u64;
        needed < segments.saturating_mul(self.shared.config.segment_len) / 2
    }
}

impl WalGroup {
    /// Writes all entries of the group once more at the end of the log, and returns once they are on disk there.
    pub async fn move_up(&self) -> io::Result<MovedUp> {
        let config = &self.shared.config;
        let frame_len_max = usize::try_from(config.frame_len_max()).unwrap_or(usize::MAX);
        let last = self.last();
        if lock(&self.log).bytes_on_disk() > config.frame_len_max() {
            return Ok(MovedUp::TooLong);
        }
        let entries = self.read(0, u64::MAX, frame_len_max).await?;
        let Some((read, _)) = entries.last() else { return Ok(MovedUp::NotNow) };
        let entries_len: usize = entries.iter().map(|(_, body)| record::record_len(body.bytes().len())).sum();
        let bytes = record::record_len(1) + entries_len;
        if FRAME_HEADER_LEN + bytes > frame_len_max || last.is_some_and(|last| last.index > read.index) {
            return Ok(MovedUp::TooLong);
        }
        let want = u32::try_from(bytes.min(config.queue_bytes_max)).unwrap_or(u32::MAX);
        let space = self.shared.queue_space.clone().acquire_many_owned(want).await.map_err(io::Error::other)?;
        let flushed = {
            let log = lock(&self.log);
            // What is left of a full disk is for votes.
            if !log.holds_just(&entries) || *self.shared.full.borrow() {
                return Ok(MovedUp::NotNow);
            }
            self.shared.check_open()?;
            let entries = entries.into_iter().map(|(position, body)| RecordBody::Entry(position, body));
            let bodies = [RecordBody::Truncate(log.purged)].into_iter().chain(entries).collect();
            let (on_flushed, flushed) = waiter();
            let (group, on_flushed, space) = (self.group, Some(on_flushed), Some(space));
            self.enqueue(Item { group, bodies, bytes, is_whole: true, on_flushed, space })?;
            flushed
        };
        wait_flushed(flushed).await.map(|()| MovedUp::Done)
    }

    /// Reads an entry that was looked for at `place` and has been moved up since. `None` when it has not.
    pub(super) async fn read_moved(
        &self,
        reader: Option<&ColdReader>,
        position: LogPosition,
        place: Place,
    ) -> io::Result<Option<EntryBody>> {
        let found = lock(&self.log).find(position.index, position.index + 1, usize::MAX).pop();
        match found {
            Some(Found::Here(found, body)) if found == position => Ok(Some(body)),
            Some(Found::OnDisk(found, now)) if found == position && now != place => {
                let bytes = self.read_spots(reader, vec![self.spot(position, now)]).await?.pop();
                bytes.map(|bytes| self.check_place(position, now, bytes?)).transpose()
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{GROUP, append, at, copied, end_of_frames, open, read_all, segment_files};
    use super::*;
    use crate::node::tests::lone_node_with;
    use crate::wal::{Ballot, GroupId};
    use std::time::Duration;

    const BUSY: GroupId = GroupId(9);

    /// A log of several segments, of which one group without a purge holds the first.
    async fn held_back(wal: &Wal) {
        let (log, busy) = (wal.group(GROUP), wal.group(BUSY));
        append(&log, 0..4, 700).await;
        log.save_vote(Ballot { term: 9, node: 2, committed: true }).await.expect("votes are saved");
        log.save_committed(Some(at(2))).expect("commit points are noted");
        append(&log, 4..8, 700).await;
        for start in (0..400).step_by(10) {
            append(&busy, start..start + 10, 700).await;
        }
        busy.purge(at(395)).await.expect("purges are saved");
    }

    #[tokio::test]
    async fn a_group_that_cannot_purge_keeps_no_segments_once_it_was_moved_up() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wal = open(dir.path()).await.expect("an empty log").0;
        held_back(&wal).await;
        let (segments, holders) = wal.oldest_segment_holders();
        assert!(segments > 4 && holders == [GROUP], "{segments} {holders:?}");
        assert!(wal.is_mostly_purged());
        let log = wal.group(GROUP);
        let (before, vote, committed) = (read_all(&log).await, log.vote(), log.committed());
        assert_eq!(log.move_up().await.expect("the disk works"), MovedUp::Done);
        append(&wal.group(BUSY), 400..401, 10).await;
        assert!(wal.oldest_segment_holders().0 <= 2, "{:?}", wal.oldest_segment_holders());
        assert_eq!(read_all(&log).await, before);
        append(&log, 8..9, 700).await;
        wal.close().await;

        let wal = open(dir.path()).await.expect("it opens").0;
        let log = wal.group(GROUP);
        let found = read_all(&log).await;
        assert_eq!((&found[..8], found.len(), log.vote(), log.committed()), (&before[..], 9, vote, committed));
        // Behind a purge as well.
        log.purge(at(5)).await.expect("purges are saved");
        assert_eq!(log.move_up().await.expect("the disk works"), MovedUp::Done);
        wal.close().await;
        let wal = open(dir.path()).await.expect("it opens").0;
        assert_eq!(read_all(&wal.group(GROUP)).await, found[6..]);
        wal.close().await;
    }

    /// Whoever has looked an entry up, and has not read it yet, finds it where it is now.
    #[tokio::test]
    async fn an_entry_that_moves_while_it_is_read_is_found() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wal = open(dir.path()).await.expect("an empty log").0;
        held_back(&wal).await;
        let log = wal.group(GROUP);
        let Some(Found::OnDisk(position, place)) = lock(&log.log).find(3, 4, usize::MAX).pop() else {
            panic!("it is on disk only");
        };
        assert_eq!(log.read_moved(None, position, place).await.expect("it is looked up"), None);
        let before = read_all(&log).await;
        assert_eq!(log.move_up().await.expect("the disk works"), MovedUp::Done);
        append(&wal.group(BUSY), 400..401, 10).await;
        assert!(log.spot(position, place).is_err(), "its segment is gone");
        let found = log.read_moved(None, position, place).await.expect("it is read");
        assert_eq!(found.as_ref(), Some(&before[3].1));
        wal.close().await;
    }

    #[tokio::test]
    async fn a_crash_at_any_byte_leaves_the_entries() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wal = open(dir.path()).await.expect("an empty log").0;
        held_back(&wal).await;
        let before = read_all(&wal.group(GROUP)).await;
        let files = segment_files(dir.path());
        let (last, number) = (files.last().expect("there are segments"), files.len() as u64);
        let (bytes, end) = (std::fs::read(last).expect("it can be read"), end_of_frames(last, number));
        let dir_before = copied(dir.path());
        assert_eq!(wal.group(GROUP).move_up().await.expect("the disk works"), MovedUp::Done);
        let written = std::fs::read(last).expect("it can be read");
        let new_end = end_of_frames(last, number);
        assert!(new_end > end + 8 * 700, "it went into the same segment");
        wal.close().await;
        for cut in (end..new_end).step_by(41).chain([new_end - 1, new_end]) {
            let mut torn = bytes.clone();
            torn[end..cut].copy_from_slice(&written[end..cut]);
            let crashed = copied(dir_before.path());
            let file = crashed.path().join(last.file_name().expect("segments have names"));
            std::fs::write(file, torn).expect("segments can be written");
            let wal = open(crashed.path()).await.unwrap_or_else(|error| panic!("cut at {cut}: {error}")).0;
            assert_eq!(read_all(&wal.group(GROUP)).await, before, "cut at {cut}");
            wal.close().await;
        }
    }

    #[tokio::test]
    async fn what_one_frame_does_not_take_stays_where_it_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wal = open(dir.path()).await.expect("an empty log").0;
        let log = wal.group(GROUP);
        append(&log, 0..100, 700).await;
        assert_eq!(log.move_up().await.expect("the disk works"), MovedUp::TooLong);
        assert!(!wal.is_mostly_purged());
        assert_eq!(read_all(&log).await.len(), 100);
        wal.close().await;
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_whose_log_is_far_too_long_moves_up_what_keeps_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (node, _data) = lone_node_with(directory.path(), |config| {
            (config.wal.segment_len, config.wal.ballast_len, config.segments_max) = (64 << 10, 64 << 10, 1);
        })
        .await;
        let wal = &node.host.wal;
        // Of a group that is not hosted, as one that waits for a checkpoint.
        append(&wal.group(GROUP), 0..4, 700).await;
        let busy = wal.group(BUSY);
        for start in (0..2_000).step_by(10) {
            append(&busy, start..start + 10, 700).await;
        }
        busy.purge(at(1_999)).await.expect("purges are saved");
        assert!(wal.oldest_segment_holders().0 > 16, "{:?}", wal.oldest_segment_holders());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while wal.oldest_segment_holders().0 > 2 {
            assert!(tokio::time::Instant::now() < deadline, "{:?}", wal.oldest_segment_holders());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(read_all(&wal.group(GROUP)).await.len(), 4);
        assert!(node.shutdown().await.is_ok());
    }
}

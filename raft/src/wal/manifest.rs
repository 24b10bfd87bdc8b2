//! Which segments the log is made of.
//!
//! A log whose first or last segments are gone looks whole, because nothing in the others says that they were there. So
//! a small file says it: the first and the last segment, and a frame up to which the log is known to be on disk. It has
//! two slots, written in turn and each in a sector of its own, so that one of them is good at any time.
//!
//! ```text
//! begin segment n   file n made, headed and durable ─▶ manifest says n ─▶ first frame of n
//! drop segment k    purge durable ─▶ manifest says k + 1 ─▶ file k removed
//! ```
//!
//! A crash between two steps therefore leaves at most one segment too many at the end, without a frame in it, or some
//! too many at the beginning. Both are removed on opening. A segment too few was never left by a crash.

use super::recover::OpenError;
use super::stamp::{self, BadStamp, Owner};
use crate::seams::{Disk, DiskFile};
use std::io;
use std::sync::Arc;

pub(crate) const MANIFEST_NAME: &str = "manifest";
const DRAFT_NAME: &str = "manifest.draft";
const MAGIC: [u8; 8] = *b"VSTBWALM";
const WORDS: usize = 4;
/// A slot has a page of its own.
pub(super) const SLOT_LEN: u64 = 4096;
/// Length of the file.
pub(crate) const MANIFEST_LEN: u64 = 2 * SLOT_LEN;

/// What the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first segment.
    pub(crate) oldest: u64,
    /// The last segment; one less than the first when there is none.
    pub(crate) newest: u64,
    /// Frames below this sequence are known to be on disk.
    pub(crate) synced: u64,
}

impl Extent {
    const EMPTY: Self = Self { oldest: 1, newest: 0, synced: 1 };
}

/// The open manifest of a log.
pub(crate) struct Manifest {
    file: Arc<dyn DiskFile>,
    owner: Owner,
    generation: u64,
    pub(crate) extent: Extent,
}

/// The slots as they were found.
pub(crate) struct Slots(pub(crate) [Result<(u64, Extent), BadStamp>; 2]);

impl Slots {
    pub(crate) fn decode(bytes: &[u8], owner: Owner) -> Self {
        let slot = |at: u64| {
            let bytes = bytes.get(usize::try_from(at * SLOT_LEN).unwrap_or(usize::MAX)..).unwrap_or_default();
            let [generation, oldest, newest, synced] = stamp::decode::<WORDS>(MAGIC, owner, bytes)?;
            Ok((generation, Extent { oldest, newest, synced }))
        };
        Self([slot(0), slot(1)])
    }

    /// The newer of the good ones. A bad one beside a good one was being written, or is the older: what it would have
    /// said is checked against the segments either way.
    pub(crate) fn newest(&self) -> Result<(u64, Extent), BadStamp> {
        match (self.0[0], self.0[1]) {
            (Ok(first), Ok(second)) => Ok(if first.0 > second.0 { first } else { second }),
            // Of another owner is worth more than damaged: it was written whole.
            (Err(foreign @ (BadStamp::Foreign(_) | BadStamp::OtherFormat(_))), _)
            | (_, Err(foreign @ (BadStamp::Foreign(_) | BadStamp::OtherFormat(_)))) => Err(foreign),
            (Ok(good), Err(_)) | (Err(_), Ok(good)) => Ok(good),
            (Err(bad), Err(_)) => Err(bad),
        }
    }
}

impl Manifest {
    /// Makes the manifest of an empty log.
    pub(crate) async fn create(disk: &dyn Disk, owner: Owner) -> io::Result<Self> {
        if disk.list().await?.iter().any(|name| name == DRAFT_NAME) {
            disk.remove(DRAFT_NAME).await?;
        }
        let file = disk.create(DRAFT_NAME, MANIFEST_LEN).await?;
        let mut manifest = Self { file, owner, generation: 0, extent: Extent::EMPTY };
        manifest.set(Extent::EMPTY).await?;
        manifest.set(Extent::EMPTY).await?;
        disk.rename(DRAFT_NAME, MANIFEST_NAME).await?;
        disk.sync_directory().await?;
        Ok(manifest)
    }

    pub(crate) async fn open(disk: &dyn Disk, owner: Owner) -> Result<Self, OpenError> {
        let file = disk.open(MANIFEST_NAME).await.map_err(OpenError::Io)?;
        let len = file.size().await.map_err(OpenError::Io)?.min(MANIFEST_LEN);
        let bytes = file.read_at(0, usize::try_from(len).unwrap_or(usize::MAX)).await.map_err(OpenError::Io)?;
        let slots = Slots::decode(&bytes, owner);
        for (slot, found) in slots.0.iter().enumerate() {
            if let Err(bad) = found {
                tracing::warn!(
                    slot,
                    ?bad,
                    "a slot of the log's manifest is damaged; the other one is taken if it is good"
                );
            }
        }
        let (generation, extent) = slots
            .newest()
            .map_err(|bad| OpenError::of_stamp(bad, MANIFEST_NAME, owner, "neither of its slots is good"))?;
        Ok(Self { file, owner, generation, extent })
    }

    /// Says something else from now on, durably.
    pub(crate) async fn set(&mut self, extent: Extent) -> io::Result<()> {
        let generation = self.generation + 1;
        let words = [generation, extent.oldest, extent.newest, extent.synced];
        let slot = stamp::encode(MAGIC, self.owner, &words);
        self.file.write_at(generation % 2 * SLOT_LEN, &slot).await?;
        self.file.sync_data().await?;
        self.generation = generation;
        self.extent = extent;
        Ok(())
    }
}

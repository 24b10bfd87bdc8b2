//! The power of a machine, which its disk and its checkpoints share, and the moments at which it, or the node's process, may
//! end.
//!
//! Whatever is made durable passes an [`Edge`]. A [`Fuse`] burns at one of them, before or after it took effect; from then
//! on every operation of the machine hangs, as nothing that runs on it comes any further. The world takes the machine down
//! in the same step.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

macro_rules! edges {
    ($($(#[$doc:meta])* $edge:ident $name:literal,)*) => {
        /// A step towards durability.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Edge {
            $($(#[$doc])* $edge,)*
        }

        /// Every edge and its name.
        pub const EDGES: &[(Edge, &str)] = &[$((Edge::$edge, $name),)*];
    };
}

edges! {
    /// A frame of entries, votes and commit points is written.
    FrameWrite "frame-write",
    /// A frame that voids entries is written.
    TruncateWrite "truncate-write",
    /// A frame that purges entries is written.
    PurgeWrite "purge-write",
    /// A frame is synced.
    FrameSync "frame-sync",
    /// The header of a segment is written.
    SegmentHeader "segment-header",
    /// A file for a segment is made, or the spare one, or the ballast.
    FileCreate "file-create",
    /// Zeroes of a new file are synced.
    FileSync "file-sync",
    /// A new file gets its name.
    FileName "file-name",
    /// A file that was used before becomes a segment or the spare.
    Recycle "recycle",
    /// A file is removed.
    FileRemove "file-remove",
    /// Names are synced.
    DirectorySync "directory-sync",
    /// The manifest is written.
    ManifestWrite "manifest-write",
    /// The manifest is synced.
    ManifestSync "manifest-sync",
    /// A batch of a checkpoint is written.
    CheckpointBatch "checkpoint-batch",
    /// Checkpoints are flushed.
    CheckpointFlush "checkpoint-flush",
    /// What was in a slot is removed.
    SlotClear "slot-clear",
    /// Rows of a snapshot are received.
    SnapshotPage "snapshot-page",
    /// A snapshot that has arrived is flushed.
    SnapshotFlush "snapshot-flush",
    /// A snapshot that has arrived is described.
    SnapshotMeta "snapshot-meta",
    /// The catalog points to the other slot.
    SnapshotSwap "snapshot-swap",
    /// That is flushed.
    SwapFlush "swap-flush",
    /// A store is begun anew, written and put in place.
    StoreAnew "store-anew",
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = EDGES.iter().find(|(edge, _)| edge == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

/// What ends at an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The machine, and with it what was not synced.
    Power,
    /// The node's process; its kernel still has what was not synced.
    Process,
}

/// When it ends.
#[derive(Debug, Clone, Copy)]
pub struct Fuse {
    /// At which edge; nothing means any.
    pub edge: Option<Edge>,
    /// How many times that edge is passed before.
    pub passes: u64,
    /// Whether what happens there takes effect.
    pub takes_effect: bool,
    /// What ends.
    pub end: End,
}

/// Whether an operation may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It is done.
    On,
    /// It is done, and nobody hears of it.
    Last,
    /// It is not done.
    Off,
}

/// The power of one machine. Clones share it.
#[derive(Clone, Default)]
pub struct Power {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// Whether operations hang once it is gone. They fail otherwise: for tests that go on without a machine.
    hangs: bool,
    fuse: Option<Fuse>,
    is_gone: bool,
    burnt: Option<(Edge, End)>,
    /// Whether an operation of its devices failed since the node's process began.
    has_failed: bool,
    /// How many times each edge was passed.
    passed: BTreeMap<Edge, u64>,
    /// How many times something ended at each edge.
    ends: BTreeMap<Edge, u64>,
}

impl Power {
    /// The power of a machine.
    pub fn of_machine() -> Self {
        let power = Self::default();
        power.lock().hangs = true;
        power
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Sets a fuse in place of any other.
    pub fn arm(&self, fuse: Fuse) {
        self.lock().fuse = Some(fuse);
    }

    /// Takes the fuse out.
    pub fn disarm(&self) {
        self.lock().fuse = None;
    }

    /// Whether a fuse is set.
    pub fn is_armed(&self) -> bool {
        self.lock().fuse.is_some()
    }

    /// It is gone, now.
    pub fn cut(&self) {
        self.lock().is_gone = true;
    }

    /// It is back. A fuse that has not burnt stays.
    pub fn restore(&self) {
        let mut inner = self.lock();
        inner.is_gone = false;
        inner.burnt = None;
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        !self.lock().is_gone
    }

    /// An operation of its devices has failed.
    pub(crate) fn note_failure(&self) {
        self.lock().has_failed = true;
    }

    /// A process begins, which knows of no failure.
    pub fn forget_failure(&self) {
        self.lock().has_failed = false;
    }

    /// Whether an operation of its devices failed since the node's process began.
    pub fn has_failed(&self) -> bool {
        self.lock().has_failed
    }

    /// What has ended and at which edge, told once.
    pub fn take_burnt(&self) -> Option<(Edge, End)> {
        self.lock().burnt.take()
    }

    /// How many times something ended at each edge.
    pub fn ends(&self) -> BTreeMap<Edge, u64> {
        self.lock().ends.clone()
    }

    /// How many times each edge was passed.
    pub fn passed(&self) -> BTreeMap<Edge, u64> {
        self.lock().passed.clone()
    }

    pub(crate) fn pass(&self, edge: Edge) -> Pass {
        let mut inner = self.lock();
        if inner.is_gone {
            return Pass::Off;
        }
        *inner.passed.entry(edge).or_default() += 1;
        let Some(fuse) = &mut inner.fuse else { return Pass::On };
        if fuse.edge.is_some_and(|wanted| wanted != edge) {
            return Pass::On;
        }
        if fuse.passes > 0 {
            fuse.passes -= 1;
            return Pass::On;
        }
        let fuse = *fuse;
        inner.fuse = None;
        inner.is_gone = true;
        inner.burnt = Some((edge, fuse.end));
        *inner.ends.entry(edge).or_default() += 1;
        if fuse.takes_effect { Pass::Last } else { Pass::Off }
    }

    /// What comes of an operation while there is none.
    pub(crate) async fn gone(&self) -> io::Error {
        if self.lock().hangs {
            std::future::pending::<()>().await;
        }
        io::Error::other("the power is gone")
    }

    /// Waits for ever if the machine has none.
    pub(crate) async fn check(&self) {
        let hangs = {
            let inner = self.lock();
            inner.is_gone && inner.hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuse_burns_at_its_edge_and_not_before() {
        let power = Power::default();
        power.arm(Fuse { edge: Some(Edge::FrameSync), passes: 1, takes_effect: true, end: End::Power });
        assert_eq!(power.pass(Edge::FrameWrite), Pass::On);
        assert_eq!(power.pass(Edge::FrameSync), Pass::On);
        assert_eq!(power.pass(Edge::FrameWrite), Pass::On);
        assert_eq!(power.pass(Edge::FrameSync), Pass::Last);
        assert_eq!(power.pass(Edge::CheckpointFlush), Pass::Off, "the checkpoints have the same power");
        assert_eq!(power.take_burnt(), Some((Edge::FrameSync, End::Power)));
        assert_eq!(power.take_burnt(), None);
        assert_eq!(power.ends(), BTreeMap::from([(Edge::FrameSync, 1)]));
        assert_eq!(power.passed(), BTreeMap::from([(Edge::FrameWrite, 2), (Edge::FrameSync, 2)]));
        power.restore();
        assert_eq!(power.pass(Edge::FrameSync), Pass::On);
    }
}

//! Bugs to be caught: each can be switched on where the simulator is built to see whether it notices.
//!
//! Without the feature `planted` every one of them is compiled away, and with it nothing compiles in a release build.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("planted bugs are for simulations, never for a release build");

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        /// Every bug, with its name.
        pub const BUGS: &[(Bug, &str)] = &[$((Bug::$bug, $name),)*];
    };
}

bugs! {
    /// A frame of the log counts as durable without a sync.
    SkipSync = "skip-sync",
    /// So it does when the sync failed.
    IgnoreSyncError = "ignore-sync-error",
    /// An append is acknowledged before it is written.
    AcknowledgeEarly = "acknowledge-early",
    /// The name of a new segment is not made durable.
    SkipDirectorySync = "skip-directory-sync",
    /// What is found in the page cache on opening is vouched for as it is.
    VouchForCache = "vouch-for-cache",
    /// A vote is given, and not written down.
    ForgetVote = "forget-vote",
    /// One entry too many survives when the log is cut back.
    TruncateLess = "truncate-less",
    /// A checkpoint's rows are written, the position that they stand for is not.
    ForgetPosition = "forget-position",
    /// The log is purged up to a checkpoint that is not durable yet.
    PurgeEarly = "purge-early",
    /// Checksums of a checkpoint are not looked at.
    IgnoreChecksums = "ignore-checksums",
    /// A snapshot leaves the remembered replies behind.
    LeaveLedger = "leave-ledger",
    /// A read is answered from what is there, whoever leads now.
    ReadWithoutIndex = "read-without-index",
    /// A request that comes again is carried out again.
    ForgetReplies = "forget-replies",
    /// Whoever knows a hold can release it.
    ReleaseForeign = "release-foreign",
}

#[cfg(feature = "planted")]
static PLANTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Switches a bug on, for the whole process.
#[cfg(feature = "planted")]
pub fn plant(bug: Bug) {
    PLANTED.store(bug as usize, std::sync::atomic::Ordering::SeqCst);
}

/// Whether a bug is switched on.
#[cfg(feature = "planted")]
pub fn is(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::SeqCst) == bug as usize
}

/// Whether a bug is switched on: never.
#[cfg(not(feature = "planted"))]
pub const fn is(_bug: Bug) -> bool {
    false
}

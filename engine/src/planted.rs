//! Bugs to be caught: each can be switched on where the simulator is built to see whether it notices.
//!
//! Without the feature `planted` every one of them is compiled away, and with it nothing compiles in a release build.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("planted bugs are for simulations, never for a release build");

/// A bug, for those who look for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Which.
    pub bug: Bug,
    /// What it is called on the command line.
    pub name: &'static str,
    /// What goes wrong.
    pub what: &'static str,
}

macro_rules! bugs {
    ($(#[doc = $what:literal] $bug:ident = $name:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        /// Every bug there is.
        pub const BUGS: &[Known] = &[$(Known { bug: Bug::$bug, name: $name, what: $what },)*];
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
    /// A vote reaches the disk behind the entries that follow it, and counts as written before.
    VoteAfterLog = "vote-after-log",
    /// Checksums of the log are not looked at.
    IgnoreLogChecksums = "ignore-log-checksums",
    /// Whoever cannot be reached counts as having voted for the one who asks: half of the voters are enough.
    HalfQuorum = "half-quorum",
    /// A machine that was restarted has lost its disks, and comes back under its number.
    ReuseNode = "reuse-node",
    /// What is due happens when a node's own timer says so, not in the log.
    ExpireByTimer = "expire-by-timer",
    /// Rows that are gone from the state stay in the checkpoint.
    KeepRows = "keep-rows",
    /// A snapshot is installed on the disk, and the state stays what it was.
    KeepState = "keep-state",
    /// What was admitted is forgotten when a node loads its state: the line begins with a full burst and nobody inside.
    ResetAdmissions = "reset-admissions",
    /// More are called than there is room for.
    IgnoreRoom = "ignore-room",
    /// Calls cost less than the rate allows for.
    CallTooFast = "call-too-fast",
    /// Places of a line without a draw are those of arrival at two gateways, not of the log.
    PlaceByArrival = "place-by-arrival",
    /// Who joins after the draw is not behind those who joined before.
    LateOvertake = "late-overtake",
    /// The draw is over one ticket too few.
    DrawWithoutLast = "draw-without-last",
    /// Whoever has a ticket of their own may hold seats, called or not.
    HoldUncalled = "hold-uncalled",
    /// The last to wait for seats is offered them first.
    OfferToLast = "offer-to-last",
    /// A hold whose time is over leaves no trace in the log of events.
    ExpireSilently = "expire-silently",
    /// An order whose hold has expired is completed, whoever has its seats.
    CompleteExpired = "complete-expired",
    /// An order that is paid once more is completed once more.
    CompleteTwice = "complete-twice",
    /// What was captured in excess is kept.
    KeepExcess = "keep-excess",
    /// What goes back of an order is due twice.
    RefundTwice = "refund-twice",
    /// The hold of a completed order stays, and its time runs out.
    HoldAfterSale = "hold-after-sale",
    /// Every eighth event of a group passes by the seats that a gateway shows.
    DropEvents = "drop-events",
    /// A request that comes again under its key is another request.
    IgnoreKeys = "ignore-keys",
    /// Every fourth payment is not recorded, and its buyer hears that it is.
    PayUnrecorded = "pay-unrecorded",
    /// What a replica that lags has not heard of does not exist.
    DenyUnheard = "deny-unheard",
    /// A connection that does not begin is waited for.
    AwaitSilent = "await-silent",
    /// Who asks what has changed since an event is not told of the event that follows it.
    ChangesWithoutFirst = "changes-without-first",
    /// A leader stamps although its clock has stepped since it was judged.
    StampStepped = "stamp-stepped",
    /// Whoever follows a group's events is not sent the first of some.
    SkipEvent = "skip-event",
}

#[cfg(feature = "planted")]
static PLANTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Switches a bug on, for the whole process.
#[cfg(feature = "planted")]
pub fn plant(bug: Bug) {
    PLANTED.store(bug as usize, std::sync::atomic::Ordering::SeqCst);
}

/// What is switched on.
#[cfg(feature = "planted")]
pub fn planted() -> Option<&'static Known> {
    BUGS.iter().find(|known| is(known.bug))
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

/// What is switched on: nothing.
#[cfg(not(feature = "planted"))]
pub const fn planted() -> Option<&'static Known> {
    None
}

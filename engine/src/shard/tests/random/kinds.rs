//! Every kind of command, refusal and fact, so that none is forgotten: a new one does not compile until it stands here.

use crate::*;

macro_rules! kinds {
    ($(#[$doc:meta])* $kind:ident of $type:ident: $($name:ident)* $(; elsewhere: $($other:ident)*)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum $kind {
            $($name,)*
            $($($other,)*)?
        }

        impl $kind {
            /// Those that a random run must meet.
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            pub(super) fn of(value: &$type) -> Self {
                match value {
                    $($type::$name { .. } => Self::$name,)*
                    $($($type::$other { .. } => Self::$other,)*)?
                }
            }
        }
    };
}

kinds! {
    /// What a shard can be told.
    CommandKind of ShardCommand:
    Tick CreateShowtime UpdateSale OpenQueue PauseQueue ResumeQueue CloseQueue SetQueueMessage JoinQueue LeaveQueue
    ClaimAdmission HoldSeats ExtendHold ReleaseHold PlaceOrder CancelOrder RecordPayment RefundOrder RecordRefund
    BlockSeats UnblockSeats JoinWaitlist LeaveWaitlist RecordBeacon SetLimits RegisterSink AcknowledgeEvents RemoveSink
}

kinds! {
    /// Why a command changed nothing. Elsewhere: those of the directory, and a line of a hundred million.
    RefusalKind of Refusal:
    RequestIdReused OutOfBounds NoSuchShowtime NoSuchTicket NoSuchHold HoldGone NoSuchOrder NoSuchSeat NoSuchArea
    NoSuchEntry NoSuchSink AlreadyExists SaleRejects NoLine NoWaitlist WrongQueueState BeaconMissing NotCalledYet TicketOver NotAdmitted TooManySeats
    BuyerLimit SeatsUnavailable LeavesOrphan NoSeatsFit AreaFull SeatsFit HoldHasOrder HoldTotalReached WrongOrderState
    PaymentIdReused MoreThanDue AtCapacity SinkLapsed QueueFull;
    elsewhere: NoSuchOrganisation NoSuchVenue NoSuchEvent NoSuchUser NoSuchNode NoSuchGroup VersionMismatch NoGroups
    InUse TooFewNodes
}

kinds! {
    /// What happened. Elsewhere: the facts of the directory.
    EventKind of Event:
    ShowtimeCreated SaleUpdated PrequeueStarted QueueOpened QueuePaused QueueResumed QueueClosed QueueMessageSet
    DrawPublished QueueJoined QueueLeft QueueAdmitted AdmissionClaimed AdmissionExpired ClaimsMissed AdmissionDone
    SeatsHeld HoldExtended HoldReleased HoldExpired SeatsPurchased SeatsBlocked SeatsReleased OrderPlaced
    OrderCompleted OrderCanceled OrderExpired PaymentSucceeded PaymentFailed RefundDue PaymentRefunded RefundFailed
    WaitlistJoined WaitlistOffered WaitlistAccepted WaitlistExpired WaitlistLeft LimitsChanged SinkLapsed;
    elsewhere: GroupsChanged OrganisationCreated VenueCreated EventCreated EventUpdated EventDeleted ShowtimeScheduled
    ShowtimeActivated TokenKeysInstalled OrganisationUpdated VenueUpdated UserCreated UserUpdated NodeChanged
    PlacementChanged ShowtimeArchived
}

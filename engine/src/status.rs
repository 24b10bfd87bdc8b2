//! The states that things pass through, as everybody sees them.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$state_doc:meta])* $state:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$state_doc])* $state,)* }

        impl $name {
            /// Its name in the HTTP contract.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$state => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

states! {
    /// The state of a line.
    ///
    /// ```text
    /// scheduled ──▶ prequeue ──▶ open ◀──▶ paused
    ///     └──────────────┴─────────┴──────────┴──▶ closed
    /// ```
    QueueState {
        /// Nobody may join yet.
        Scheduled => "scheduled",
        /// Buyers join; nobody is called yet.
        Prequeue => "prequeue",
        /// Buyers join and are called.
        Open => "open",
        /// Buyers join; nobody is called; those inside go on.
        Paused => "paused",
        /// Nobody joins, claims or holds any more; what is held can still be bought.
        Closed => "closed",
    }
}

states! {
    /// The state of a ticket.
    ///
    /// ```text
    /// prequeue ──▶ waiting ──called──▶ called ──claim──▶ shopping ──▶ done
    ///                 │                   │  └claim_ttl──▶ expired ◀──┘ session_ttl
    ///                 └─────────leave─────┴─────────leave──▶ left
    /// ```
    TicketState {
        /// In line before the opening; its place is not known yet.
        Prequeue => "prequeue",
        /// In line.
        Waiting => "waiting",
        /// Its turn has come: to be claimed in time.
        Called => "called",
        /// Claimed: its owner may hold seats.
        Shopping => "shopping",
        /// Its owner has bought and has nothing left to pay.
        Done => "done",
        /// Given up.
        Left => "left",
        /// Not claimed, or not used, in time.
        Expired => "expired",
    }
}

states! {
    /// The state of an order.
    ///
    /// ```text
    /// pendingPayment ──▶ completed ──▶ refundDue ──▶ refunded  (back again when a refund bounces)
    ///        ├──▶ canceled  (a late success: completed again, or refundDue)
    ///        └──▶ expired   (a late success: completed again, or refundDue)
    /// ```
    OrderState {
        /// Its seats are held until its deadline.
        PendingPayment => "pendingPayment",
        /// Paid, its seats are sold.
        Completed => "completed",
        /// Given up before it was paid.
        Canceled => "canceled",
        /// Not paid in time.
        Expired => "expired",
        /// Money was taken that has to go back.
        RefundDue => "refundDue",
        /// All its money went back.
        Refunded => "refunded",
    }
}

states! {
    /// The state of a showtime in the directory.
    ShowtimeState {
        /// Known to the directory; its group may not know it yet.
        Provisioning => "provisioning",
        /// Its group serves it.
        Active => "active",
        /// Over; kept for the books.
        Archived => "archived",
    }
}

states! {
    /// What a user may do. The last three within an organisation, or everywhere.
    Role {
        /// Passing through without an account.
        Guest => "guest",
        /// Buys.
        Customer => "customer",
        /// Serves at the door and the box office.
        Staff => "staff",
        /// Runs events.
        Organizer => "organizer",
        /// Runs the organisation; everywhere: the cluster.
        Admin => "admin",
    }
}

states! {
    /// The state of a node.
    ///
    /// ```text
    /// active ◀──▶ draining ◀──▶ leaving ◀──▶ active
    ///    └────────────┴────────────┴──▶ removed
    /// ```
    ///
    /// A node is removed from any state, once no group is placed on it.
    NodeState {
        /// Takes groups.
        Active => "active",
        /// Gives its groups away, and may take some again later.
        Draining => "draining",
        /// Gives its groups away, and is removed once it has none.
        Leaving => "leaving",
        /// Gone for good: its id never comes back.
        Removed => "removed",
    }
}

states! {
    /// The state of a seat. As a byte in [`SeatsView`](crate::SeatsView): its position in this list, from 0.
    SeatState {
        /// Free to be held by whoever is admitted.
        Available => "available",
        /// In a hold.
        Held => "held",
        /// Sold.
        Sold => "sold",
        /// Kept back by the organiser.
        Blocked => "blocked",
    }
}

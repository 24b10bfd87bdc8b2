//! What is stored of a ticket.

use crate::UserId;

/// What is stored of a ticket: its owner, a flag, and a time or a place. 24 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) user: [u8; 16],
    /// The flag in the low three bits; above, by flag: nothing, the end of the session, or the place given up.
    pub(super) packed: u64,
}

/// What is stored of a ticket's state; the rest follows from place and segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    /// Waiting, called, or not claimed in time.
    InLine = 0,
    Shopping = 1,
    Done = 2,
    /// Given up before it was called.
    Left = 3,
    Expired = 4,
    /// Given up between call and claim.
    LeftCalled = 5,
    /// Given up inside.
    LeftShopping = 6,
    /// Shopping, with a purchase made: the session ends with the last hold.
    ShoppingBought = 7,
}

impl Ticket {
    pub(super) fn new(user: UserId) -> Self {
        Self { user: user.0.to_le_bytes(), packed: 0 }
    }

    pub(super) fn user(&self) -> UserId {
        UserId(u128::from_le_bytes(self.user))
    }

    pub(super) fn flag(&self) -> Flag {
        match self.packed & 7 {
            0 => Flag::InLine,
            1 => Flag::Shopping,
            2 => Flag::Done,
            3 => Flag::Left,
            4 => Flag::Expired,
            5 => Flag::LeftCalled,
            6 => Flag::LeftShopping,
            _ => Flag::ShoppingBought,
        }
    }

    /// End of the session, or the place given up.
    pub(super) fn detail(&self) -> u64 {
        self.packed >> 3
    }

    pub(super) fn set(&mut self, flag: Flag, detail: u64) {
        self.packed = detail.min(u64::MAX >> 3) << 3 | flag as u64;
    }
}

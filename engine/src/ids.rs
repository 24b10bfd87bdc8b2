//! Names of things: newtypes that print the way they travel over HTTP and parse back.
//!
//! A public id is a prefix, an underscore and the number in lower-case Crockford base32 of fixed width, so ids sort as
//! their numbers do and every id has exactly one spelling. Ids made by a shard carry the shard's group in the top
//! 16 bits and a counter below, so whoever holds an id knows which group to ask.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Bits of the counter below the group number.
const COUNTER_BITS: u32 = 48;

/// The highest group number that fits into an id.
pub const GROUP_MAX: u32 = u16::MAX as u32;

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {prefix}_ and {width} characters of lower-case Crockford base32")]
pub struct ParseIdError {
    /// What the id starts with, before the underscore.
    pub prefix: &'static str,
    /// How many characters follow the underscore.
    pub width: usize,
}

/// A Raft group: 0 is the directory, 1 and up are shards. Prints as `g7`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group of the directory.
    pub const DIRECTORY: Self = Self(0);
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

fn write_base32(f: &mut fmt::Formatter<'_>, value: u128, width: u32) -> fmt::Result {
    for index in (0..width).rev() {
        let digit = (value >> (5 * index)) as usize & 31;
        fmt::Write::write_char(f, char::from(ALPHABET[digit]))?;
    }
    Ok(())
}

/// The number spelled by exactly `width` digits, if it fits into `bits`.
fn parse_base32(text: &str, width: usize, bits: u32) -> Option<u128> {
    if text.len() != width {
        return None;
    }
    let mut value = 0u128;
    for (index, byte) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)? as u128;
        if index == 0 && digit >> (bits - 5 * (width as u32 - 1)) != 0 {
            return None;
        }
        value = value << 5 | digit;
    }
    Some(value)
}

macro_rules! public_id {
    ($(#[$doc:meta])* $name:ident, $number:ty, $prefix:literal, $width:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                write_base32(f, u128::from(self.0), $width)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|digits| parse_base32(digits, $width, <$number>::BITS))
                    .and_then(|number| <$number>::try_from(number).ok())
                    .map(Self)
                    .ok_or(ParseIdError { prefix: $prefix, width: $width })
            }
        }
    };
}

macro_rules! grouped_id {
    ($name:ident) => {
        impl $name {
            /// The id with this counter in this group. The group fits 16 bits and the counter 48; higher bits are cut.
            pub const fn new(group: GroupId, counter: u64) -> Self {
                Self((group.0 as u64 & 0xffff) << COUNTER_BITS | counter & ((1 << COUNTER_BITS) - 1))
            }

            /// The group that made it and answers for it.
            pub const fn group(self) -> GroupId {
                GroupId((self.0 >> COUNTER_BITS) as u32)
            }

            /// The counter within its group.
            pub const fn counter(self) -> u64 {
                self.0 & ((1 << COUNTER_BITS) - 1)
            }
        }
    };
}

/// A node of the cluster, named by whoever starts it. Prints as `n3`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeNumber(pub u64);

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

public_id! {
    /// An organisation that runs events.
    OrganisationId, u64, "org", 13
}
public_id! {
    /// A buyer or operator, by pseudonymous subject.
    UserId, u128, "user", 26
}
public_id! {
    /// A venue.
    VenueId, u64, "venue", 13
}
public_id! {
    /// An event of the catalogue (a play, a concert), with one or more showtimes. Not to be confused with
    /// [`Event`](crate::Event), a fact that happened.
    EventId, u64, "event", 13
}
public_id! {
    /// One performance on sale. Carries its group.
    ShowtimeId, u64, "showtime", 13
}
public_id! {
    /// A hold on seats. Carries its group.
    HoldId, u64, "hold", 13
}
public_id! {
    /// An order. Carries its group.
    OrderId, u64, "order", 13
}
public_id! {
    /// A payment or refund, named by whoever made it (the gateway, for the payment provider).
    PaymentId, u64, "pay", 13
}
public_id! {
    /// An entry of a waitlist and the offer made to it. Carries its group.
    OfferId, u64, "offer", 13
}
grouped_id!(ShowtimeId);
grouped_id!(HoldId);
grouped_id!(OrderId);
grouped_id!(OfferId);

/// A ticket's number in the line of its showtime: dense, in join order, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TicketNumber(pub u64);

impl fmt::Display for TicketNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A ticket's public id: its showtime and its number, `ticket_` and 26 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TicketId {
    /// The showtime whose line it stands in.
    pub showtime: ShowtimeId,
    /// Its number there.
    pub number: TicketNumber,
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ticket_")?;
        write_base32(f, u128::from(self.showtime.0), 13)?;
        write_base32(f, u128::from(self.number.0), 13)
    }
}

impl FromStr for TicketId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let parse = || {
            let digits = text.strip_prefix("ticket_")?;
            let (showtime, number) = digits.split_at_checked(13)?;
            let showtime = u64::try_from(parse_base32(showtime, 13, u64::BITS)?).ok()?;
            let number = u64::try_from(parse_base32(number, 13, u64::BITS)?).ok()?;
            Some(Self { showtime: ShowtimeId(showtime), number: TicketNumber(number) })
        };
        parse().ok_or(ParseIdError { prefix: "ticket", width: 26 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_back() {
        for number in [0, 1, 31, 32, u64::MAX, 0x0007_0000_0000_002a] {
            let id = HoldId(number);
            assert_eq!(id.to_string().parse(), Ok(id));
            let ticket = TicketId { showtime: ShowtimeId(number), number: TicketNumber(!number) };
            assert_eq!(ticket.to_string().parse(), Ok(ticket));
        }
        for number in [0, u128::MAX, 1 << 127] {
            assert_eq!(UserId(number).to_string().parse(), Ok(UserId(number)));
        }
        let id = HoldId::new(GroupId(7), 42);
        assert_eq!((id.group(), id.counter()), (GroupId(7), 42));
        assert_eq!(GroupId(7).to_string(), "g7");
    }

    #[test]
    fn every_id_has_one_spelling() {
        for text in [
            "hold_",
            "hold_0",
            "hold_000000000000A",
            "hold_000000000000o",
            "hold_g000000000000",
            "order_0000000000000",
            "hold_00000000000000",
            "hold0000000000000",
            "höld_000000000000",
            "hold_00000000000é",
        ] {
            assert!(text.parse::<HoldId>().is_err(), "{text}");
        }
        assert!("ticket_ééééééééééééé".parse::<TicketId>().is_err());
        assert!("user_80000000000000000000000000".parse::<UserId>().is_err());
    }
}

//! Money: integer minor units and a currency, never a float.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An ISO 4217 currency code: three upper-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Currency(pub [u8; 3]);

impl Currency {
    /// The currency of this code, if it is three upper-case ASCII letters.
    pub fn new(code: &str) -> Option<Self> {
        let code: [u8; 3] = code.as_bytes().try_into().ok()?;
        Some(Self(code)).filter(|currency| currency.is_valid())
    }

    /// Whether it is three upper-case ASCII letters; a decoded one may be anything.
    pub fn is_valid(self) -> bool {
        self.0.iter().all(u8::is_ascii_uppercase)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
    }
}

/// An amount of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Money {
    /// In minor units: 12050 is 120.50 EUR, or 12,050 JPY.
    pub amount: i64,
    /// Its currency.
    pub currency: Currency,
}

/// The highest price of one seat, in minor units. Sums of prices stay far from overflow.
pub const PRICE_MAX: i64 = 1_000_000_000_000;

impl Money {
    /// Nothing, in this currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

//! Payment providers: whoever takes the money.

use futures::future::BoxFuture;
use vestibule_engine::{Money, OrderId, PaymentId, PaymentOutcome};

/// Takes money for orders. A charge under a payment id known already is not made again: it gives the first answer.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Charges a card that the provider knows as `card`.
    fn charge<'a>(&'a self, charge: Charge<'a>) -> BoxFuture<'a, Result<PaymentOutcome, ChargeError>>;
}

/// What is to be charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge<'a> {
    /// Names this charge for ever.
    pub payment: PaymentId,
    /// What it is for.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
    /// The provider's name of the card.
    pub card: &'a str,
}

/// Why no charge was attempted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// The provider does not know the card.
    #[error("the card is not known")]
    UnknownCard,
    /// The provider does not answer. Whether the money was taken is not known: ask again under the same payment id.
    #[error("the payment provider does not answer")]
    NoAnswer,
}

/// The sandbox: `tok_ok` pays, `tok_declined` does not, no other card is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sandbox;

impl PaymentProvider for Sandbox {
    fn charge<'a>(&'a self, charge: Charge<'a>) -> BoxFuture<'a, Result<PaymentOutcome, ChargeError>> {
        let outcome = match charge.card {
            "tok_ok" => Ok(PaymentOutcome::Succeeded),
            "tok_declined" => Ok(PaymentOutcome::Failed),
            _ => Err(ChargeError::UnknownCard),
        };
        Box::pin(async move { outcome })
    }
}

//! A typed client of Vestibule's HTTP API.
//!
//! ```text
//!   Client ──▶ one call ──▶ attempt, attempt … under one idempotency key ──▶ a gateway, or the next one
//! ```
//!
//! A [`Client`] speaks to one deployment through one or more gateways, over any connector that hyper knows: TCP, or a
//! simulated network. Every call has a deadline, every answer a bound, and what comes instead of an answer is an
//! [`Error`]: the server's [`Problem`] apart from accidents on the way.
//!
//! In reading order: [`client`], the one call; [`buyers`] and [`organisers`], the calls; [`types`], what they carry.
//! `examples/buy_a_ticket.rs` shows a whole purchase; [`rush`] sends a crowd and checks the books.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

mod base_url;
pub mod buyers;
pub mod client;
mod error;
pub mod organisers;
mod path;
pub mod rush;
pub mod types;

pub use base_url::{BadUrl, BaseUrl};
pub use client::{Client, Connector, Figures, IdempotencyKey, Settings, entropy_seed};
pub use error::{Error, Problem};
pub use types::*;

//! The HTTP edge of Vestibule: the public contract on one side, a [`Cluster`](vestibule_raft::cluster::Cluster) on the
//! other.
//!
//! A gateway keeps nothing that matters: any number of them run side by side, and any of them may die. What it keeps in
//! memory (layouts, seats, public status, keys) is read from the cluster again when somebody asks.
//!
//! ```text
//!   request ─▶ edge ─▶ routes ─▶ backend ─▶ Cluster ─▶ leaders       commands, and questions that decide
//!               │        └─────▶ mirror ◀── feeds ◀─── any replica   what many look at
//!               └ ids, limits, problems, figures
//! ```
//!
//! In reading order:
//!
//! - [`Gateway`], [`GatewayConfig`] and [`serve`] are all that the outside uses; [`PaymentProvider`] is the seam for
//!   whoever takes the money.
//! - `routes`: one file a noun, one function a call. `extract`: what they take from a request. `wire`: the JSON.
//! - `error`: the one match from refusals and accidents to status and code. `edge`: what every request passes; `begun`
//!   and `write_timeout`: what every connection passes before it.
//! - `tokens`: who somebody is. `mirror`: what is kept in memory. `layout`: a venue's seats and their names.
//! - `backend`: the cluster with everything counted. `metrics`: the counters.

#![warn(clippy::disallowed_methods, clippy::disallowed_types)]

mod app;
mod backend;
mod begun;
mod config;
mod edge;
mod error;
mod extract;
mod gateway;
mod layout;
mod metrics;
mod mirror;
mod payment;
mod routes;
mod serve;
mod tokens;
mod wire;
mod write_timeout;

pub use config::{GatewayConfig, HeavyWork};
pub use gateway::{Gateway, GatewayError, OrganizerToken};
pub use payment::{Charge, ChargeError, PaymentProvider, Sandbox};
pub use serve::serve;

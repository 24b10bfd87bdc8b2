//! What comes over HTTP: real gateways on simulated listeners, real clients on simulated connections.
//!
//! ```text
//!   visitors ──Client──▶ HttpConnector ~~~▶ HttpListener ──▶ serve, Gateway ──▶ Recorder ──▶ GrpcCluster ~~~▶ nodes
//!       └──▶ visits: what they know                                                └──▶ history: what gateways know
//! ```
//!
//! In reading order:
//!
//! - [`net`]: listener and connector. `keys`: the cluster's token keys. [`recorder`]: a cluster that everybody listens in to.
//! - [`options`]: what a seed decides about it. [`serve`]: a gateway's process. [`provider`]: who takes the money. [`webhooks`]:
//!   its notices, counted.
//! - [`visits`]: what clients know. `browser`: the real client, noting. `visitor`, `promoter`: those who buy, and
//!   who sells. [`offender`]: slow clients, and too many. `inspector`: whether gateways catch up in the end.
//! - [`host`]: a machine with clients on it.

mod browser;
pub mod host;
mod inspector;
mod keys;
pub mod net;
pub mod offender;
pub mod options;
mod promoter;
pub mod provider;
pub mod recorder;
pub mod serve;
mod visitor;
pub mod visits;
pub mod webhooks;

pub(crate) use keys::another_token_key;

use crate::trace::Trace;
use provider::Books;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use vestibule_client::Token;
use vestibule_engine::{OrderId, Sequence, ShowtimeId};
use visits::{Offence, Visits};

/// Orders that the organiser may refund are remembered, so many of them.
const SOLD_MAX: usize = 64;

/// What everybody shares who has to do with HTTP.
#[derive(Clone)]
pub struct Web {
    /// What clients know.
    pub visits: Visits,
    /// What the payment provider knows.
    books: Books,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// The organiser's access token, once a gateway has made it.
    token: Option<Token>,
    /// How many times each gateway was started, and whether it runs.
    gateways: BTreeMap<usize, (u64, bool)>,
    /// Visitors that have not made an end.
    busy: usize,
    /// Offences that are to be committed, at which gateway.
    wanted: VecDeque<(Offence, usize)>,
    sold: VecDeque<OrderId>,
    /// The last event of each showtime, once nothing happens any more.
    last_events: BTreeMap<ShowtimeId, Sequence>,
    /// Whether every gateway has shown all of them.
    is_inspected: bool,
}

impl Web {
    /// One in which nothing has happened.
    pub fn new(trace: Trace) -> Self {
        let visits = Visits::new(trace.clone());
        Self { books: Books::new(trace, visits.clone()), visits, inner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Whether some visitors have not made an end yet.
    pub fn is_busy(&self) -> bool {
        self.lock().busy > 0
    }

    /// Whether nobody but one has yet to make an end.
    fn is_last(&self) -> bool {
        self.lock().busy == 1
    }

    /// So many visitors come.
    fn expect_visitors(&self, count: usize) {
        self.lock().busy += count;
    }

    /// One of them has made an end.
    fn leave(&self) {
        self.lock().busy -= 1;
    }

    /// The gateway runs as long as what this gives lives.
    pub fn enter(&self, gateway: usize) -> Presence {
        let mut inner = self.lock();
        let (lives, is_up) = inner.gateways.entry(gateway).or_default();
        (*lives, *is_up) = (*lives + 1, true);
        drop(inner);
        Presence { web: self.clone(), gateway }
    }

    /// How many times the gateway was started, if it runs.
    pub fn life(&self, gateway: usize) -> Option<u64> {
        self.lock().gateways.get(&gateway).filter(|(_, is_up)| *is_up).map(|(lives, _)| *lives)
    }

    /// Somebody is to harm this gateway. `false` if it does not run, or harm enough is under way.
    pub fn want(&self, offence: Offence, gateway: usize) -> bool {
        let is_up = self.life(gateway).is_some();
        let mut inner = self.lock();
        let is_taken = is_up && inner.wanted.is_empty();
        if is_taken {
            inner.wanted.push_back((offence, gateway));
        }
        is_taken
    }

    fn take_wanted(&self) -> Option<(Offence, usize)> {
        self.lock().wanted.pop_front()
    }

    fn token(&self) -> Option<Token> {
        self.lock().token.clone()
    }

    fn set_token(&self, token: Token) {
        self.lock().token = Some(token);
    }

    /// An order was paid.
    fn note_sold(&self, order: OrderId) {
        let mut inner = self.lock();
        if inner.sold.len() >= SOLD_MAX {
            inner.sold.pop_front();
        }
        inner.sold.push_back(order);
    }

    /// Nothing happens any more: these were the last events.
    pub fn set_last_events(&self, last_events: BTreeMap<ShowtimeId, Sequence>) {
        self.lock().last_events = last_events;
    }

    fn last_event(&self, showtime: ShowtimeId) -> Sequence {
        self.lock().last_events.get(&showtime).copied().unwrap_or(0)
    }

    fn note_inspected(&self) {
        self.lock().is_inspected = true;
    }

    /// Whether every gateway has shown the last event of every showtime.
    pub fn is_inspected(&self) -> bool {
        self.lock().is_inspected
    }

    fn take_sold(&self) -> Option<OrderId> {
        self.lock().sold.pop_front()
    }
}

/// A gateway that runs.
pub struct Presence {
    web: Web,
    gateway: usize,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some((_, is_up)) = self.web.lock().gateways.get_mut(&self.gateway) {
            *is_up = false;
        }
    }
}

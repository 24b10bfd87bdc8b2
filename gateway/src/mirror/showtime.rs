//! One showtime in memory: what never changes, its seats as the feed tells them, its public status.

use super::awaited::{AWAIT_MAX, Awaited, Fact};
use super::seats::Seats;
use crate::backend::Backend;
use crate::config::GatewayConfig;
use crate::error::Problem;
use crate::layout::Layout;
use crate::wire::StatusBody;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use vestibule_engine::{
    EventId, EventRecord, GroupId, Money, OrganisationId, SeatsView, Sequence, ShardAnswer, ShardQuery, ShowtimeId,
    ShowtimeRecord, ShowtimeView, Timestamp, VenueId,
};
use vestibule_raft::cluster::{Consistency, Position};

/// A status of up to this many times its normal age is given out while a new one is fetched.
const STALE_FACTOR: u32 = 4;
/// Events kept back while a snapshot is under way; more than that, and the snapshot is taken anew.
const BUFFER_MAX: usize = 100_000;

/// What never changes about a showtime.
#[derive(Debug)]
pub(crate) struct ShowtimeInfo {
    pub(crate) showtime: ShowtimeId,
    pub(crate) organisation: OrganisationId,
    pub(crate) event: EventId,
    pub(crate) venue: VenueId,
    pub(crate) seat_map_version: u32,
    pub(crate) starts_at: Timestamp,
    pub(crate) prices: Vec<Money>,
}

impl From<&ShowtimeRecord> for ShowtimeInfo {
    fn from(record: &ShowtimeRecord) -> Self {
        Self {
            showtime: record.showtime,
            organisation: record.organisation,
            event: record.event,
            venue: record.venue,
            seat_map_version: record.seat_map_version,
            starts_at: record.starts_at,
            prices: record.prices.clone(),
        }
    }
}

/// One showtime in memory.
pub(crate) struct Showtime {
    pub(crate) info: ShowtimeInfo,
    pub(crate) layout: Arc<Layout>,
    backend: Backend,
    config: Arc<GatewayConfig>,
    seats: Mutex<Followed>,
    /// Whether `seats` can be asked.
    ready: watch::Sender<bool>,
    /// Told whenever an awaited fact may have been told.
    told: Notify,
    status: Mutex<Option<Status>>,
    fetching: Arc<tokio::sync::Mutex<()>>,
    /// The log index that the next status must take account of.
    index_min: Mutex<u64>,
}

#[derive(Default)]
struct Followed {
    seats: Option<Seats>,
    loading: Option<Loading>,
    followed: bool,
    awaited: Awaited,
}

/// A snapshot is under way: events from `from` on are kept for it.
struct Loading {
    from: Sequence,
    buffer: Vec<EventRecord>,
}

/// The public status, as of when it was fetched.
#[derive(Clone)]
pub(crate) struct Status {
    pub(crate) view: Arc<ShowtimeView>,
    pub(crate) body: Bytes,
    fetched_at: Instant,
}

impl Showtime {
    pub(crate) fn new(
        info: ShowtimeInfo,
        layout: Arc<Layout>,
        backend: Backend,
        config: Arc<GatewayConfig>,
    ) -> Arc<Self> {
        Arc::new(Self {
            info,
            layout,
            backend,
            config,
            seats: Mutex::default(),
            ready: watch::Sender::new(false),
            told: Notify::new(),
            status: Mutex::new(None),
            fetching: Arc::default(),
            index_min: Mutex::new(0),
        })
    }

    pub(crate) fn id(&self) -> ShowtimeId {
        self.info.showtime
    }

    pub(crate) fn group(&self) -> GroupId {
        self.info.showtime.group()
    }

    /// The public status, no older than it may be while anybody asks: however many ask, one question is under way.
    pub(crate) async fn status(self: &Arc<Self>) -> Result<Status, Problem> {
        let age_max = self.config.status_age_max;
        let known = self.status.lock().clone();
        if let Some(status) = known {
            let age = status.fetched_at.elapsed();
            if age < age_max {
                return Ok(status);
            }
            if age < age_max * STALE_FACTOR {
                if let Ok(turn) = Arc::clone(&self.fetching).try_lock_owned() {
                    let showtime = Arc::clone(self);
                    tokio::spawn(async move {
                        let _turn = turn;
                        if let Err(problem) = showtime.fetch().await {
                            tracing::debug!(showtime = %showtime.id(), code = problem.code(), "no new status");
                        }
                    });
                }
                return Ok(status);
            }
        }
        let _turn = self.fetching.lock().await;
        let known = self.status.lock().clone();
        if let Some(status) = known
            && status.fetched_at.elapsed() < age_max
        {
            return Ok(status);
        }
        self.fetch().await
    }

    /// The status as of now.
    pub(crate) async fn status_now(&self) -> Result<Status, Problem> {
        let query = ShardQuery::Showtime(self.id());
        match self.backend.ask_shard(self.group(), &query, Consistency::Linearizable).await? {
            (ShardAnswer::Showtime(Some(view)), position) => self.keep(view, position),
            _ => Err(no_such_showtime()),
        }
    }

    async fn fetch(&self) -> Result<Status, Problem> {
        let query = ShardQuery::Showtime(self.id());
        let index = *self.index_min.lock();
        let pick = |answer| if let ShardAnswer::Showtime(view) = answer { view } else { None };
        let (view, position) =
            self.backend.find_in_shard(self.group(), &query, index, pick).await?.ok_or_else(no_such_showtime)?;
        self.keep(view, position)
    }

    fn keep(&self, view: Box<ShowtimeView>, position: Position) -> Result<Status, Problem> {
        let body = serde_json::to_vec(&StatusBody::new(&view)).map_err(Problem::internal)?;
        let status = Status { view: Arc::from(view), body: Bytes::from(body), fetched_at: Instant::now() };
        let mut index_min = self.index_min.lock();
        if position.index >= *index_min {
            *index_min = position.index;
            *self.status.lock() = Some(status.clone());
        }
        Ok(status)
    }

    /// A command through this gateway changed the showtime: the next status takes account of it.
    pub(crate) fn changed(&self, index: u64) {
        let mut index_min = self.index_min.lock();
        *index_min = index.max(*index_min);
        *self.status.lock() = None;
    }

    /// What is still to come before the line opens, as far as a recent status tells.
    pub(crate) fn opens_at(&self) -> Option<Timestamp> {
        self.status.lock().as_ref().and_then(|status| status.view.sale.opens_at)
    }

    /// Waits until the seats are there, for as long as a question may take.
    pub(crate) async fn seats_ready(&self, patience: Duration) -> Result<(), Problem> {
        let mut ready = self.ready.subscribe();
        match tokio::time::timeout(patience, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Problem::unavailable("unavailable", "the seats of this showtime are not loaded yet")),
        }
    }

    /// This gateway has answered a command with `fact`: whoever looks at the seats from now on finds it.
    pub(crate) fn answered(&self, fact: Fact) {
        let mut followed = self.seats.lock();
        if followed.seats.is_some() {
            followed.awaited.answered(fact);
        }
    }

    /// Waits until the feed has told what this gateway has answered so far, but not for long.
    pub(crate) async fn caught_up(&self) {
        let turn = self.seats.lock().awaited.turn();
        let caught_up = async {
            loop {
                let told = self.told.notified();
                if self.seats.lock().awaited.is_told(turn) {
                    return;
                }
                told.await;
            }
        };
        // A feed that lags for so long is no reason to show nothing.
        let _ = tokio::time::timeout(AWAIT_MAX, caught_up).await;
    }

    /// The body that shows all seats, or those that changed after `since`.
    pub(crate) fn seats_body(&self, since: Option<Sequence>) -> Option<Bytes> {
        let mut followed = self.seats.lock();
        // Whoever has seen as much from another gateway is not sent back in time by a body written before.
        let sequence_min = followed.awaited.sequence().max(since.unwrap_or(0));
        let seats = followed.seats.as_mut()?;
        let changed = since.and_then(|since| seats.body_since(since));
        Some(changed.unwrap_or_else(|| seats.body(sequence_min, self.config.seats_age_max)))
    }

    /// Whether this call is the first to ask for the seats to be followed.
    pub(super) fn start_following(&self) -> bool {
        !std::mem::replace(&mut self.seats.lock().followed, true)
    }

    /// The group does not know the showtime: the next to ask for the seats begins anew.
    pub(super) fn stop_following(&self) {
        self.seats.lock().followed = false;
    }

    /// A snapshot is under way; events from `from` on will be given to `apply`.
    pub(super) fn start_loading(&self, from: Sequence) {
        self.seats.lock().loading = Some(Loading { from, buffer: Vec::new() });
    }

    /// Takes over a snapshot. `false` when it is too old to be joined to the events since: another is needed.
    pub(super) fn finish_loading(&self, view: SeatsView) -> bool {
        let mut followed = self.seats.lock();
        let Followed { seats, loading, awaited, .. } = &mut *followed;
        let buffer = match loading.take() {
            Some(Loading { from, buffer }) if view.sequence + 1 < from => {
                *loading = Some(Loading { from, buffer });
                return false;
            }
            Some(Loading { buffer, .. }) => buffer,
            None => Vec::new(),
        };
        match seats {
            Some(seats) => seats.replace(view),
            None => {
                let layout = Arc::clone(&self.layout);
                *seats = Some(Seats::new(self.id(), layout, view, self.config.changes_max));
            }
        }
        if let Some(seats) = seats {
            buffer.iter().for_each(|record| seats.apply(record));
        }
        awaited.clear(seats.as_ref().map_or(0, Seats::sequence));
        drop(followed);
        self.ready.send_replace(true);
        self.told.notify_waiters();
        true
    }

    /// Takes account of an event of this showtime.
    pub(super) fn apply(&self, record: &EventRecord) {
        let mut followed = self.seats.lock();
        if let Some(loading) = &mut followed.loading {
            if loading.buffer.len() >= BUFFER_MAX {
                loading.buffer.clear();
                loading.from = record.sequence;
            }
            loading.buffer.push(record.clone());
        } else {
            if let Some(seats) = &mut followed.seats {
                seats.apply(record);
            }
            followed.awaited.told(record);
            drop(followed);
            self.told.notify_waiters();
        }
    }

    /// The last event that the seats take account of; nothing before they are loaded.
    pub(super) fn sequence(&self) -> Option<Sequence> {
        self.seats.lock().seats.as_ref().map(Seats::sequence)
    }
}

pub(crate) fn no_such_showtime() -> Problem {
    Problem::not_found("no_such_showtime", "there is no such showtime")
}

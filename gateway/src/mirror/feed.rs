//! Follows the events of one group and keeps the seats of its showtimes.
//!
//! ```text
//!            ┌────────────── TooOld ──────────────┐
//!            ▼                                    │
//!   snapshot of one showtime ──▶ watch from there on ──▶ events, each to its showtime
//!                                  ▲          └─ Interrupted ─┐
//!                                  └──────────────────────────┘
//!   a showtime that comes later: its events are kept back from now on ─▶ snapshot ─▶ joined
//! ```

use super::showtime::Showtime;
use crate::backend::Backend;
use crate::error::Problem;
use crate::metrics::Metrics;
use futures::StreamExt;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{GroupId, SeatsView, Sequence, ShardAnswer, ShardQuery, ShowtimeId};
use vestibule_raft::cluster::{Consistency, WatchError};

/// The pause before a broken watch or a failed snapshot is tried again; it doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a watch is checked against the group's leader.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// A cheap handle on the task that follows a group.
#[derive(Clone)]
pub(super) struct Feed {
    newcomers: mpsc::UnboundedSender<Arc<Showtime>>,
    /// When the feed was last known to be complete.
    complete_at: Arc<Mutex<Instant>>,
}

impl Feed {
    pub(super) fn start(group: GroupId, backend: Backend, metrics: Metrics) -> Self {
        let (newcomers, arriving) = mpsc::unbounded_channel();
        let complete_at = Arc::new(Mutex::new(Instant::now()));
        let task = Task {
            group,
            backend,
            metrics,
            arriving,
            followed: BTreeMap::new(),
            next: None,
            complete_at: Arc::clone(&complete_at),
        };
        tokio::spawn(task.run());
        Self { newcomers, complete_at }
    }

    /// Follows one more showtime. `false` when the task is gone.
    pub(super) fn follow(&self, showtime: Arc<Showtime>) -> bool {
        self.newcomers.send(showtime).is_ok()
    }

    /// How long ago the feed was last known to be complete.
    pub(super) fn age(&self) -> Duration {
        self.complete_at.lock().elapsed()
    }
}

struct Task {
    group: GroupId,
    backend: Backend,
    metrics: Metrics,
    arriving: mpsc::UnboundedReceiver<Arc<Showtime>>,
    followed: BTreeMap<ShowtimeId, Weak<Showtime>>,
    /// The next event, once there was a snapshot.
    next: Option<Sequence>,
    complete_at: Arc<Mutex<Instant>>,
}

/// A snapshot that was asked for on the side.
struct Loaded {
    showtime: ShowtimeId,
    answer: Result<Option<Box<SeatsView>>, Problem>,
    pause: Duration,
}

impl Task {
    /// Runs until nobody holds a handle.
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let from = match self.next {
                Some(next) => next,
                None => {
                    let Some(from) = self.begin().await else {
                        return;
                    };
                    from
                }
            };
            match self.watch(from, &mut pause).await {
                Ended::Nobody => return,
                Ended::Broken(error) => {
                    tracing::debug!(group = %self.group, %error, "a feed broke");
                    if let WatchError::TooOld(_) = error {
                        self.next = None;
                    } else {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                }
            }
        }
    }

    /// Takes the snapshot that the watch begins with. Nothing when nobody is left to serve.
    async fn begin(&mut self) -> Option<Sequence> {
        let mut pause = PAUSE_MIN;
        loop {
            self.followed.retain(|_, showtime| showtime.strong_count() > 0);
            let first = match self.followed.values().find_map(Weak::upgrade) {
                Some(showtime) => showtime,
                None => {
                    let showtime = self.arriving.recv().await?;
                    self.followed.insert(showtime.id(), Arc::downgrade(&showtime));
                    showtime
                }
            };
            match snapshot(&self.backend, &first).await {
                Ok(Some(view)) => {
                    let next = view.sequence + 1;
                    self.next = Some(next);
                    self.metrics.snapshot_loaded();
                    first.start_loading(next);
                    first.finish_loading(*view);
                    return Some(next);
                }
                Ok(None) => {
                    self.followed.remove(&first.id());
                    first.stop_following();
                }
                Err(problem) => {
                    tracing::debug!(group = %self.group, code = problem.code(), "no snapshot of the seats");
                    drop(first);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Follows the group from `from` on until that breaks.
    async fn watch(&mut self, from: Sequence, pause: &mut Duration) -> Ended {
        let mut next = from;
        let mut events = self.backend.watch(self.group, from);
        let (loads, mut loaded) = mpsc::unbounded_channel::<Loaded>();
        // Whoever has no snapshot that joins `from` needs one.
        for showtime in self.followed.values().filter_map(Weak::upgrade) {
            if showtime.sequence().is_none_or(|sequence| sequence + 1 < from) {
                self.load(&showtime, from, &loads, Duration::ZERO);
            }
        }
        let (checks, mut checked) = mpsc::channel::<Sequence>(1);
        let mut silent = tokio::time::interval_at(Instant::now() + SILENCE_MAX, SILENCE_MAX);
        silent.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = None;
        loop {
            tokio::select! {
                _ = silent.tick() => self.check(&checks),
                Some(last) = checked.recv() => {
                    if last < next {
                        *self.complete_at.lock() = Instant::now();
                        missed = None;
                    } else if missed.replace(next) == Some(next) {
                        // It was due a while ago, and nothing has come since.
                        return Ended::Broken(WatchError::Interrupted(format!("event {next} does not come")));
                    }
                }
                newcomer = self.arriving.recv() => {
                    let Some(showtime) = newcomer else { return Ended::Nobody };
                    self.followed.retain(|_, showtime| showtime.strong_count() > 0);
                    self.followed.insert(showtime.id(), Arc::downgrade(&showtime));
                    self.load(&showtime, next, &loads, Duration::ZERO);
                }
                Some(load) = loaded.recv() => {
                    let Some(showtime) = self.followed.get(&load.showtime).and_then(Weak::upgrade) else { continue };
                    let joined = match load.answer {
                        Ok(Some(view)) => showtime.finish_loading(*view),
                        Ok(None) => {
                            self.followed.remove(&load.showtime);
                            showtime.stop_following();
                            true
                        }
                        Err(_) => false,
                    };
                    if joined {
                        self.metrics.snapshot_loaded();
                    } else {
                        self.ask(&showtime, &loads, (load.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX));
                    }
                }
                event = events.next() => match event {
                    Some(Ok(record)) if record.sequence < next => {}
                    Some(Ok(record)) if record.sequence > next => {
                        let gap = format!("event {next} is missing before {}", record.sequence);
                        return Ended::Broken(WatchError::Interrupted(gap));
                    }
                    Some(Ok(record)) => {
                        *pause = PAUSE_MIN;
                        next = record.sequence + 1;
                        self.next = Some(next);
                        let showtime = record.showtime.and_then(|showtime| self.followed.get(&showtime));
                        let is_dropped = planted::is(Bug::DropEvents) && next.is_multiple_of(8);
                        if let Some(showtime) = showtime.and_then(Weak::upgrade).filter(|_| !is_dropped) {
                            showtime.apply(&record);
                        }
                    }
                    Some(Err(error)) => return Ended::Broken(error),
                    None => return Ended::Broken(WatchError::Interrupted("the stream ended".to_owned())),
                }
            }
        }
    }

    /// Asks on the side which event is the last, of the leader: a watch that is silent may be quiet, or come from a
    /// replica that gets nothing itself. What is read from any replica afterwards is no older than that.
    fn check(&self, checks: &mpsc::Sender<Sequence>) {
        let Some(showtime) = self.followed.values().find_map(Weak::upgrade) else {
            // Nobody sees what has become old.
            *self.complete_at.lock() = Instant::now();
            return;
        };
        // One check at a time.
        let Ok(place) = checks.clone().try_reserve_owned() else { return };
        let backend = self.backend.clone();
        tokio::spawn(async move {
            let query = ShardQuery::Showtime(showtime.id());
            let answer = backend.ask_shard(showtime.group(), &query, Consistency::Linearizable).await;
            if let Ok((ShardAnswer::Showtime(Some(view)), _)) = answer {
                place.send(view.sequence);
            }
        });
    }

    /// Keeps the events of a showtime from `next` on and asks for the snapshot they are joined to.
    fn load(&self, showtime: &Arc<Showtime>, next: Sequence, loads: &mpsc::UnboundedSender<Loaded>, pause: Duration) {
        showtime.start_loading(next);
        self.ask(showtime, loads, pause);
    }

    fn ask(&self, showtime: &Arc<Showtime>, loads: &mpsc::UnboundedSender<Loaded>, pause: Duration) {
        let (backend, loads) = (self.backend.clone(), loads.clone());
        let (id, showtime) = (showtime.id(), Arc::downgrade(showtime));
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            let Some(showtime) = showtime.upgrade() else { return };
            let answer = snapshot(&backend, &showtime).await;
            // When the watch is over, whoever begins the next one asks again.
            let _ = loads.send(Loaded { showtime: id, answer, pause });
        });
    }
}

/// Why a watch is over.
enum Ended {
    /// Nobody holds a handle any more.
    Nobody,
    /// It has to be taken up again.
    Broken(WatchError),
}

async fn snapshot(backend: &Backend, showtime: &Showtime) -> Result<Option<Box<SeatsView>>, Problem> {
    let query = ShardQuery::Seats(showtime.id());
    let pick = |answer| if let ShardAnswer::Seats(view) = answer { view } else { None };
    let found = backend.find_in_shard(showtime.group(), &query, 0, pick).await?;
    Ok(found.map(|(view, _)| view))
}

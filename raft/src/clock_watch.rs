//! Watches this node's clock against those of the others.
//!
//! Log time is what a leader stamps, and everything that expires does so by it: one wild clock could expire every hold.
//! So nodes ask each other for the time, and one whose clock is ahead of or behind the median of them all by more than
//! [`WILD_MS`] stamps nothing and hands its leaderships over, until it is within [`TAME_MS`] again.
//!
//! With only one other clock known nobody can tell which of two is wrong. The lower of the middle two counts as the
//! median, so that it is the clock that is ahead that is distrusted: a time that is too late can never be taken back,
//! one that is too early expires nothing.
//!
//! Between two judgements the clock is held against the monotonic one: one that has stepped by more than [`WILD_MS`] since it was
//! judged stamps nothing until it is judged anew, not even once.
//!
//! The answers to the beats of groups at rest say the time, too ([`crate::pacemaker`]): only nodes that no such answer came
//! from lately are asked.

use crate::seams::Clock;
use crate::stop::Stop;
use crate::transport::Peers;
use crate::types::NodeId;
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use vestibule_engine::Timestamp;

/// How far a clock may be off, in milliseconds.
pub(crate) const WILD_MS: i64 = 500;
/// How near it must have come to be trusted again, in milliseconds.
const TAME_MS: i64 = 250;
/// How often the clock is judged, and how old a sample may be before another is asked for.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long what another said counts.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(10);
/// An answer that took longer says too little.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(400);

/// What is thought of this node's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How far it is ahead of the median, in milliseconds.
    pub(crate) ahead_ms: i64,
    /// Whether it must not be used.
    pub(crate) is_wild: bool,
}

/// The watch on one node's clock.
pub(crate) struct ClockWatch {
    /// By how many milliseconds each other clock is ahead of ours, and when that was seen.
    samples: Mutex<BTreeMap<NodeId, (i64, Instant)>>,
    verdict: watch::Sender<Verdict>,
    /// What our clock said, and when, as it was judged last.
    judged: Mutex<Option<Judged>>,
    /// Somebody saw that it has stepped.
    stepped: Notify,
}

/// Our clock as it was judged.
#[derive(Debug, Clone, Copy)]
struct Judged {
    said: Timestamp,
    at: Instant,
}

impl Judged {
    fn now(clock: &dyn Clock) -> Self {
        Self { said: clock.now(), at: Instant::now() }
    }

    /// Whether the clock has gone much more, or much less, than time has gone by.
    fn has_stepped(&self, clock: &dyn Clock) -> bool {
        let gone_by = i64::try_from(self.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        let gone = clock.now().0.cast_signed().saturating_sub(self.said.0.cast_signed());
        gone.saturating_sub(gone_by).saturating_abs() > WILD_MS
    }
}

impl ClockWatch {
    pub(crate) fn new() -> Self {
        let (samples, judged, stepped) = Default::default();
        Self { samples, verdict: watch::Sender::new(Verdict::default()), judged, stepped }
    }

    /// The time to stamp, unless the clock is wild, or has stepped since it was judged.
    pub(crate) fn stamp(&self, clock: &dyn Clock) -> Option<Timestamp> {
        if self.has_stepped(clock) {
            self.stepped.notify_one();
            return None;
        }
        (!self.verdict().is_wild).then(|| clock.now())
    }

    fn has_stepped(&self, clock: &dyn Clock) -> bool {
        self.lock_judged().is_some_and(|judged| judged.has_stepped(clock))
    }

    fn lock_judged(&self) -> MutexGuard<'_, Option<Judged>> {
        self.judged.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn verdict(&self) -> Verdict {
        *self.verdict.borrow()
    }

    /// Follows what is thought of the clock.
    pub(crate) fn follow(&self) -> watch::Receiver<Verdict> {
        self.verdict.subscribe()
    }

    /// Notes by how much the clock of a node is ahead of ours, if that could be told.
    pub(crate) fn note(&self, node: NodeId, ahead: Option<i64>) {
        if let Some(ahead) = ahead {
            self.lock_samples().insert(node, (ahead, Instant::now()));
        }
    }

    fn lock_samples(&self) -> MutexGuard<'_, BTreeMap<NodeId, (i64, Instant)>> {
        self.samples.lock().expect("no holder of this lock panics")
    }

    /// Those of whom nothing was heard lately.
    fn overdue(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let (samples, now) = (self.lock_samples(), Instant::now());
        let is_fresh = |node: &NodeId| samples.get(node).is_some_and(|(_, seen)| now.duration_since(*seen) < INTERVAL);
        nodes.filter(|node| !is_fresh(node)).collect()
    }

    /// Asks the others for the time, again and again, until the node stops.
    pub(crate) async fn run(self: Arc<Self>, peers: Arc<Peers>, clock: Arc<dyn Clock>, mut stop: Stop) {
        loop {
            if self.has_stepped(&*clock) {
                // They say how far the others were ahead of what ours was.
                self.lock_samples().clear();
            }
            let begun = Judged::now(&*clock);
            let others = peers.roster().present().into_keys().filter(|node| *node != peers.roster().own());
            let asked = self.overdue(others).into_iter().map(async |node| {
                let reading = Reading::begin(&*clock);
                let there = peers.ping(node).await;
                (node, there.and_then(|there| reading.end(&*clock, there)))
            });
            for (node, ahead) in join_all(asked).await {
                self.note(node, ahead);
            }
            let now = Instant::now();
            self.lock_samples().retain(|_, (_, seen)| now.duration_since(*seen) < SAMPLE_AGE_MAX);
            if begun.has_stepped(&*clock) {
                // In the middle of it.
                continue;
            }
            self.judge();
            *self.lock_judged() = Some(begun);
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.stepped.notified() => {}
                () = stop.stopped() => return,
            }
        }
    }

    fn judge(&self) {
        let samples = self.lock_samples();
        let others: Vec<i64> = samples.values().map(|(ahead, _)| *ahead).collect();
        drop(samples);
        self.verdict.send_if_modified(|verdict| {
            let next = judge(&others, verdict.is_wild);
            if next.is_wild != verdict.is_wild {
                let ahead_ms = next.ahead_ms;
                if next.is_wild {
                    tracing::error!(ahead_ms, "this node's clock is off: it leads no group until that is mended");
                } else {
                    tracing::warn!(ahead_ms, "this node's clock is right again");
                }
            }
            std::mem::replace(verdict, next) != next
        });
    }
}

/// A question for the time that is under way.
pub(crate) struct Reading {
    started: Instant,
    sent: u64,
}

impl Reading {
    /// It is about to be asked.
    pub(crate) fn begin(clock: &dyn Clock) -> Self {
        Self { started: Instant::now(), sent: clock.now().0 }
    }

    /// By how many milliseconds the clock that says `there` is ahead of ours; `None` when its answer took too long to say.
    pub(crate) fn end(self, clock: &dyn Clock, there: u64) -> Option<i64> {
        if self.started.elapsed() > ROUND_TRIP_MAX {
            return None;
        }
        let received = clock.now().0;
        let here = self.sent / 2 + received / 2;
        Some(there.cast_signed().saturating_sub(here.cast_signed()))
    }
}

/// Judges our clock by how far the others are ahead of it.
fn judge(others_ahead: &[i64], was_wild: bool) -> Verdict {
    let mut ahead: Vec<i64> = others_ahead.iter().copied().chain([0]).collect();
    ahead.sort_unstable();
    let median = ahead[(ahead.len() - 1) / 2];
    let ahead_ms = median.saturating_neg();
    let limit = if was_wild { TAME_MS } else { WILD_MS };
    Verdict { ahead_ms, is_wild: ahead_ms.saturating_abs() > limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[test]
    fn the_clock_that_is_off_is_the_one_distrusted() {
        for (others, is_wild) in [
            (&[][..], false),
            (&[0, 1], false),
            (&[400, 450], false),
            // Ours is an hour behind, or ahead, of two that agree.
            (&[3_600_000, 3_600_010], true),
            (&[-3_600_000, -3_600_010], true),
            // One of the others is off.
            (&[3_600_000, 3], false),
            (&[-3_600_000, 3], false),
            // Of two, the one that is ahead.
            (&[3_600_000], false),
            (&[-3_600_000], true),
            (&[5, -5, 3_600_000, -3_600_000], false),
            (&[i64::MIN, i64::MIN], true),
        ] {
            assert_eq!(judge(others, false).is_wild, is_wild, "{others:?}");
        }
    }

    struct Wall(Instant, AtomicI64);

    impl Clock for Wall {
        fn now(&self) -> Timestamp {
            let steps = self.1.load(Ordering::SeqCst);
            Timestamp((1_000_000 + self.0.elapsed().as_millis() as u64).saturating_add_signed(steps))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_has_stepped_stamps_nothing_until_it_is_judged_anew() {
        let (watch, clock) = (ClockWatch::new(), Wall(Instant::now(), AtomicI64::new(0)));
        *watch.lock_judged() = Some(Judged::now(&clock));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(watch.stamp(&clock), Some(Timestamp(1_003_000)));
        for (step, is_small) in [(WILD_MS, true), (WILD_MS + 1, false), (-WILD_MS, true), (-WILD_MS - 1, false)] {
            clock.1.store(step, Ordering::SeqCst);
            assert_eq!(watch.stamp(&clock).is_some(), is_small, "{step}");
        }
        // Whoever watches is woken.
        watch.stepped.notified().await;
        *watch.lock_judged() = Some(Judged::now(&clock));
        assert!(watch.stamp(&clock).is_some(), "the others agree");
        watch.verdict.send_replace(Verdict { ahead_ms: 700, is_wild: true });
        assert_eq!(watch.stamp(&clock), None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_nodes_that_said_no_time_lately_are_asked_for_it() {
        let watch = ClockWatch::new();
        watch.note(2, Some(7));
        watch.note(3, None);
        assert_eq!(watch.overdue([2, 3, 4].into_iter()), [3, 4]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(watch.overdue([2, 3, 4].into_iter()), [2, 3, 4]);
    }

    #[test]
    fn a_clock_is_trusted_again_only_when_it_is_well_within_the_limit() {
        assert!(judge(&[-501, -501], false).is_wild);
        assert!(!judge(&[-499, -499], false).is_wild);
        assert!(judge(&[-251, -251], true).is_wild);
        assert!(!judge(&[-250, -250], true).is_wild);
        assert_eq!(judge(&[-251, -251], true).ahead_ms, 251);
    }
}

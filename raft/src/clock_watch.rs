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
//! judged stamps nothing until it is judged anew, by what others say of it as it is now; and so does a node that has just
//! started. Only where nobody answers for [`SAMPLE_AGE_MAX`] there is nothing to go by.
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
use vestibule_engine::planted::{self, Bug};

/// How far a clock may be off, in milliseconds.
pub(crate) const WILD_MS: i64 = 500;
/// How near it must have come to be trusted again, in milliseconds.
const TAME_MS: i64 = 250;
/// How often the clock is judged, and how old a sample may be before another is asked for.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often others are asked while nothing is known.
const RETRY: Duration = Duration::from_millis(100);
/// How long what another said counts.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(10);
/// An answer that takes longer says too little, and is not waited for.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(400);

/// What is thought of this node's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How far it is ahead of the median, in milliseconds.
    pub(crate) ahead_ms: i64,
    /// Whether it must not be used.
    pub(crate) is_wild: bool,
}

/// Why nothing may be stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// The clock is off.
    Wild,
    /// It has not been held against the others' since the node began, or since it stepped.
    Unjudged,
}

/// The watch on one node's clock.
pub(crate) struct ClockWatch {
    seen: Mutex<Seen>,
    verdict: watch::Sender<Verdict>,
    /// Somebody saw that it has stepped.
    stepped: Notify,
}

/// What was seen of the clocks.
struct Seen {
    /// By how many milliseconds each other clock is ahead of ours, and when that was seen.
    samples: BTreeMap<NodeId, (i64, Instant)>,
    /// Our clock as it was judged last; nothing since the node began, or the clock has stepped, until it is judged.
    judged: Option<Judged>,
    /// When that was.
    lost: Instant,
    /// Whether it was judged while there were no others.
    was_alone: bool,
}

impl Seen {
    /// What was said of our clock until now says nothing any more.
    fn lose(&mut self) {
        *self = Self::default();
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self { samples: BTreeMap::new(), judged: None, lost: Instant::now(), was_alone: false }
    }
}

/// Our clock as it was judged: what it said, and when that was.
#[derive(Debug, Clone, Copy)]
struct Judged {
    said: Timestamp,
    at: Instant,
}

impl Judged {
    fn now(clock: &dyn Clock) -> Self {
        Self { said: clock.now(), at: Instant::now() }
    }

    /// Whether the clock, which says `now`, has gone much more, or much less, than time has gone by.
    fn has_stepped(&self, now: Timestamp) -> bool {
        has_stepped(self.said, self.at, now)
    }
}

fn has_stepped(said: Timestamp, at: Instant, now: Timestamp) -> bool {
    let gone_by = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
    let gone = now.0.cast_signed().saturating_sub(said.0.cast_signed());
    gone.saturating_sub(gone_by).saturating_abs() > WILD_MS
}

impl ClockWatch {
    pub(crate) fn new() -> Self {
        let (seen, verdict) = (Mutex::default(), watch::Sender::new(Verdict::default()));
        Self { seen, verdict, stepped: Notify::new() }
    }

    /// The time to stamp, if it may be trusted.
    pub(crate) fn stamp(&self, clock: &dyn Clock) -> Result<Timestamp, Distrust> {
        let now = clock.now();
        let is_judged = self.lock().judged.is_some_and(|judged| !judged.has_stepped(now));
        if !is_judged && !planted::is(Bug::StampStepped) {
            self.stepped.notify_one();
            return Err(Distrust::Unjudged);
        }
        if self.verdict().is_wild { Err(Distrust::Wild) } else { Ok(now) }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of this lock panics")
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
            self.lock().samples.insert(node, (ahead, Instant::now()));
        }
    }

    /// The same as that node saw it, which was a while ago: before our clock stepped, maybe.
    pub(crate) fn note_told(&self, node: NodeId, ahead: Option<i64>) {
        if self.lock().lost.elapsed() > SAMPLE_AGE_MAX {
            self.note(node, ahead);
        }
    }

    /// Those of whom nothing was heard lately.
    fn overdue(&self, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let (seen, now) = (self.lock(), Instant::now());
        let is_fresh = |node: &NodeId| seen.samples.get(node).is_some_and(|(_, at)| now.duration_since(*at) < INTERVAL);
        nodes.filter(|node| !is_fresh(node)).collect()
    }

    /// Asks the others for the time, again and again, until the node stops.
    pub(crate) async fn run(self: Arc<Self>, peers: Arc<Peers>, clock: Arc<dyn Clock>, mut stop: Stop) {
        loop {
            let begun = Judged::now(&*clock);
            if self.lock().judged.is_some_and(|judged| judged.has_stepped(begun.said)) {
                self.lock().lose();
            }
            let others: Vec<NodeId> =
                peers.roster().present().into_keys().filter(|node| *node != peers.roster().own()).collect();
            let asked = self.overdue(others.iter().copied()).into_iter().map(async |node| {
                let reading = Reading::begin(&*clock);
                let there = peers.ping(node, ROUND_TRIP_MAX).await;
                (node, there.and_then(|there| reading.end(&*clock, there)))
            });
            for (node, ahead) in join_all(asked).await {
                self.note(node, ahead);
            }
            let is_judged = self.close_round(begun, clock.now(), others.is_empty());
            // Others may come at any time.
            let pause = if is_judged && !others.is_empty() { INTERVAL } else { RETRY };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stepped.notified(), if pause == INTERVAL => {}
                () = stop.stopped() => return,
            }
        }
    }

    /// Judges the clock after the others were asked, if anything is known of them. Gives whether it counts as judged.
    fn close_round(&self, begun: Judged, now: Timestamp, is_alone: bool) -> bool {
        let mut seen = self.lock();
        if begun.has_stepped(now) {
            // In the middle of it.
            seen.lose();
            return false;
        }
        if seen.was_alone && !is_alone {
            seen.lose();
            return false;
        }
        seen.was_alone = is_alone;
        seen.samples.retain(|_, (_, at)| at.elapsed() < SAMPLE_AGE_MAX);
        let is_told = is_alone || !seen.samples.is_empty();
        // Where nobody answers in time for as long as that, as over a very long line, there is nothing to go by.
        let is_given_up = !is_told && seen.judged.is_none() && seen.lost.elapsed() > SAMPLE_AGE_MAX;
        // The verdict comes before the mark: whoever sees the mark sees the verdict.
        if is_told {
            self.judge(seen.samples.values().map(|(ahead, _)| *ahead).collect());
        } else if is_given_up {
            self.verdict.send_replace(Verdict::default());
        }
        if is_told || is_given_up || seen.judged.is_some() {
            seen.judged = Some(begun);
        }
        seen.judged.is_some()
    }

    fn judge(&self, others: Vec<i64>) {
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
        if has_stepped(Timestamp(self.sent), self.started, Timestamp(received)) {
            return None;
        }
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

    fn close(watch: &ClockWatch, clock: &Wall, is_alone: bool) -> bool {
        watch.close_round(Judged::now(clock), clock.now(), is_alone)
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_has_stepped_stamps_nothing_until_it_is_judged_anew() {
        let (watch, clock) = (ClockWatch::new(), Wall(Instant::now(), AtomicI64::new(0)));
        assert_eq!(watch.stamp(&clock), Err(Distrust::Unjudged));
        assert!(!close(&watch, &clock, false), "nobody has said anything");
        watch.note(2, Some(0));
        assert!(close(&watch, &clock, false));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(watch.stamp(&clock), Ok(Timestamp(1_003_000)));
        for (step, is_small) in [(WILD_MS, true), (WILD_MS + 1, false), (-WILD_MS, true), (-WILD_MS - 1, false)] {
            clock.1.store(step, Ordering::SeqCst);
            assert_eq!(watch.stamp(&clock).is_ok(), is_small, "{step}");
        }
        // Whoever watches is woken, and forgets what was said of the clock as it was.
        watch.stepped.notified().await;
        let now = clock.now();
        assert!(watch.lock().judged.is_some_and(|judged| judged.has_stepped(now)));
        watch.lock().lose();
        watch.note_told(3, Some(0));
        assert!(!close(&watch, &clock, false), "nobody has said anything of the clock as it is");
        assert_eq!(watch.stamp(&clock), Err(Distrust::Unjudged));
        watch.note(2, Some(600));
        assert!(close(&watch, &clock, false));
        assert_eq!(watch.stamp(&clock), Ok(clock.now()), "of two the one that is behind counts");
        watch.note(2, Some(-600));
        close(&watch, &clock, false);
        assert_eq!(watch.stamp(&clock), Err(Distrust::Wild));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_nobody_judges_counts_after_a_while_and_a_lone_one_at_once() {
        let (watch, clock) = (ClockWatch::new(), Wall(Instant::now(), AtomicI64::new(0)));
        tokio::time::advance(SAMPLE_AGE_MAX).await;
        assert!(!close(&watch, &clock, false));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(close(&watch, &clock, false) && watch.stamp(&clock).is_ok());
        let alone = ClockWatch::new();
        assert!(close(&alone, &clock, true) && alone.stamp(&clock).is_ok());
        alone.note(2, Some(-600));
        assert!(!close(&alone, &clock, false) && alone.stamp(&clock).is_err(), "it is alone no longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wild_clock_that_was_mended_counts_again_though_nobody_says_the_time() {
        let (watch, clock) = (ClockWatch::new(), Wall(Instant::now(), AtomicI64::new(0)));
        watch.note(2, Some(-600));
        assert!(close(&watch, &clock, false) && watch.verdict().is_wild);
        watch.lock().lose();
        tokio::time::advance(SAMPLE_AGE_MAX + Duration::from_millis(1)).await;
        assert!(close(&watch, &clock, false) && watch.stamp(&clock).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_wild_stays_so_while_nobody_says_the_time() {
        let (watch, clock) = (ClockWatch::new(), Wall(Instant::now(), AtomicI64::new(0)));
        watch.note(2, Some(-600));
        assert!(close(&watch, &clock, false) && watch.verdict().is_wild);
        tokio::time::advance(SAMPLE_AGE_MAX).await;
        assert!(close(&watch, &clock, false) && watch.verdict().is_wild);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_steps_while_it_is_read_says_nothing() {
        let clock = Wall(Instant::now(), AtomicI64::new(0));
        let reading = Reading::begin(&clock);
        clock.1.store(3_600_000, Ordering::SeqCst);
        assert_eq!(reading.end(&clock, 1_000_000), None);
        assert_eq!(Reading::begin(&clock).end(&clock, 4_600_007), Some(7));
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

//! When a group is at rest, so that its own clock and heartbeats may stand still.
//!
//! A group in which nothing happens needs no heartbeats of its own: it is enough that its leader's node says to the others,
//! for all such groups at once, "of this group I am the leader in this term, and its log ends here". That is a *beat*: see
//! [`crate::pacemaker`], which also says who sends it when. A member agrees only if that very leader and that very end of
//! the log are what it knows itself, applied. A group rests at its leader while all other members agreed in the last round; as
//! soon as one does not, openraft's own heartbeats go on, and tell it what it has to know. So a beat never stands for more
//! than what an openraft heartbeat would have said: it carries no vote, moves no commit point, and confirms no read.
//!
//! A follower that agreed does not stand for election while beats come, and longer by [`patience`] than the last one. Then
//! its clock runs again, and what it has been owed for long is due at once: so patience lasts as long as a lease, and
//! differs from member to member, as elections that begin together fail together.
//!
//! openraft's leases run out meanwhile. On a follower that would let a member vote that has lost its connection to the leader
//! alone; so whoever asks for a vote is answered only after openraft was told of the beats: [`Rest::recently_heard`]. A
//! leader is refused writes by its own openraft until a round of heartbeats has confirmed it, which the proposer sees to.

use crate::node::Timing;
use crate::types::{LogId, NodeId, Vote, to_vote};
use crate::wal::Ballot;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// For how long nothing must have happened in a group before it may rest.
const QUIET: Duration = Duration::from_secs(1);

/// What a group's Raft says of itself, as far as it matters here.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) vote: Vote,
    pub(crate) term: u64,
    /// Whether this node leads, and is a voter.
    pub(crate) leads: bool,
    pub(crate) last_index: Option<u64>,
    pub(crate) applied: Option<LogId>,
}

impl Sight {
    /// Where the log ends, if all of it is applied.
    fn end(&self) -> Option<u64> {
        let applied = self.applied.as_ref().map(|applied| applied.index);
        applied.filter(|applied| Some(*applied) == self.last_index)
    }
}

/// What one member knows of a group's rest.
#[derive(Debug)]
pub(crate) struct Rest {
    timing: Timing,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Where the log ended when it was last looked at, in which term, and since when.
    still: Option<(u64, u64, Instant)>,
    /// When the last round began in which all other members agreed; nothing since one did not.
    agreed: Option<Instant>,
    /// The last term in which this node offered its leadership to another. openraft sends no heartbeats from then on, so that
    /// an election comes if the offer fails; beats must not prevent it.
    offered: Option<u64>,
    /// The leader that this member last agreed with, and when.
    heard: Option<(Vote, Instant)>,
}

impl Rest {
    pub(crate) fn new(timing: Timing) -> Self {
        Self { timing, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }

    /// Where the log ends, if the group is led here and has been quiet: then the others are to be asked to agree.
    pub(crate) fn beat(&self, now: Instant, sight: &Sight) -> Option<u64> {
        let mut known = self.known();
        let own_term = sight.applied.as_ref().is_some_and(|applied| applied.leader_id.term == sight.term);
        let end = sight.end().filter(|_| sight.leads && own_term && known.offered != Some(sight.term));
        let since = match (known.still, end) {
            (Some((term, index, since)), Some(end)) if (term, index) == (sight.term, end) => since,
            _ => now,
        };
        known.still = end.map(|end| (sight.term, end, since));
        let end = end.filter(|_| now.duration_since(since) >= QUIET);
        if end.is_none() {
            known.agreed = None;
        }
        end
    }

    /// Notes whether all other members agreed in the round that began at `round`.
    pub(crate) fn conclude(&self, round: Instant, all_agreed: bool) {
        self.known().agreed = all_agreed.then_some(round);
    }

    /// This node offers its leadership in `term` to another: the group rests no more in that term.
    pub(crate) fn offer(&self, term: u64) {
        let mut known = self.known();
        known.offered = Some(term);
        known.agreed = None;
    }

    /// Whether this member agrees with the node `from`, which says that it leads the group in `term`, and that the log
    /// ends at `end`.
    pub(crate) fn hear(&self, now: Instant, from: NodeId, term: u64, end: u64, sight: &Sight) -> bool {
        let leader = to_vote(Ballot { term, node: from, committed: true });
        let agrees = !sight.leads && sight.vote == leader && sight.end() == Some(end);
        if agrees {
            self.known().heard = Some((leader, now));
        }
        agrees
    }

    /// Whether the group's own clock may stand still. `rank` says when this voter's turn to stand for election is, among
    /// those that do not lead; it is asked only when that matters.
    pub(crate) fn may_stop_clock(&self, now: Instant, sight: &Sight, rank: impl FnOnce() -> u32) -> bool {
        let known = self.known();
        if sight.leads {
            // A round may be late, but one that does not come has stopped.
            return known.agreed.is_some_and(|agreed| now.duration_since(agreed) < self.timing.election_min);
        }
        let Some((_, heard)) = known.heard.filter(|(leader, _)| *leader == sight.vote) else { return false };
        let silence = now.duration_since(heard);
        silence < patience(&self.timing, 0) || silence < patience(&self.timing, rank())
    }

    /// Whether a leader's lease is still running because of beats.
    pub(crate) fn recently_heard(&self, now: Instant, sight: &Sight) -> bool {
        let heard = self.known().heard.filter(|(leader, _)| *leader == sight.vote && !sight.leads);
        heard.is_some_and(|(_, heard)| now.duration_since(heard) < self.timing.election_max)
    }

    /// How long ago all other members agreed that this node leads; nothing unless they did in the last round.
    pub(crate) fn agreed_ago(&self, now: Instant) -> Option<Duration> {
        Some(now.duration_since(self.known().agreed?))
    }
}

/// How long a member waits for the next beat: until the leader's lease is surely over at the other members too, and then
/// in turn.
fn patience(timing: &Timing, rank: u32) -> Duration {
    timing.election_max + timing.heartbeat / 2 + (timing.election_max - timing.election_min) * rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::to_log_id;
    use crate::wal::LogPosition;

    const LEADER: NodeId = 1;
    const TERM: u64 = 4;

    fn sight(leads: bool) -> Sight {
        Sight {
            vote: to_vote(Ballot { term: TERM, node: LEADER, committed: true }),
            term: TERM,
            leads,
            last_index: Some(10),
            applied: Some(to_log_id(LogPosition { term: TERM, node: LEADER, index: 10 })),
        }
    }

    fn rest() -> (Rest, Instant) {
        (Rest::new(Timing::default()), Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_asks_for_rest_when_all_is_applied_and_quiet() {
        let (rest, now) = rest();
        let later = now + QUIET;
        assert_eq!(rest.beat(now, &sight(true)), None, "it was not quiet for long");
        assert_eq!(rest.beat(later, &sight(true)), Some(10));
        // Something is written.
        assert_eq!(rest.beat(later, &Sight { last_index: Some(11), ..sight(true) }), None);
        assert_eq!(rest.beat(later, &sight(true)), None);
        assert_eq!(rest.beat(later + QUIET, &sight(true)), Some(10));

        for not_yet in [
            sight(false),
            // Nothing of its own term is agreed on, so it cannot know what is.
            Sight { term: TERM + 1, ..sight(true) },
            Sight { applied: None, ..sight(true) },
            Sight { last_index: None, applied: None, ..sight(true) },
        ] {
            let (rest, now) = self::rest();
            assert_eq!(rest.beat(now, &not_yet), None);
            assert_eq!(rest.beat(now + QUIET, &not_yet), None, "{not_yet:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_offered_its_place_does_not_keep_elections_from_coming() {
        let (rest, now) = rest();
        rest.beat(now, &sight(true));
        rest.conclude(now, true);
        rest.offer(TERM);
        assert!(!rest.may_stop_clock(now, &sight(true), || 0));
        assert_eq!(rest.beat(now + QUIET, &sight(true)), None);
        // In another term it may again.
        let mut next = sight(true);
        next.term = TERM + 1;
        next.applied = Some(to_log_id(LogPosition { term: TERM + 1, node: LEADER, index: 10 }));
        assert_eq!(rest.beat(now, &next), None);
        assert_eq!(rest.beat(now + QUIET, &next), Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leaders_clock_stands_still_only_while_all_agree() {
        let (rest, now) = rest();
        assert!(!rest.may_stop_clock(now, &sight(true), || 0));
        rest.conclude(now, true);
        assert!(rest.may_stop_clock(now, &sight(true), || 0));
        assert_eq!(rest.agreed_ago(now), Some(Duration::ZERO));
        assert!(!rest.may_stop_clock(now + Timing::default().election_min, &sight(true), || 0), "rounds do not come");
        assert!(!rest.may_stop_clock(now, &sight(false), || 0), "it leads no more, and hears of nobody");
        rest.conclude(now, false);
        assert!(!rest.may_stop_clock(now, &sight(true), || 0));
        assert_eq!(rest.agreed_ago(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_agrees_with_what_it_knows_and_with_nothing_else() {
        let (rest, now) = rest();
        let candidate = Sight { vote: Vote::new(TERM, LEADER), ..sight(false) };
        let behind = Sight { applied: Some(to_log_id(LogPosition { term: 3, node: 2, index: 9 })), ..sight(false) };
        let longer = Sight { last_index: Some(11), ..sight(false) };
        for (from, term, end, sight) in [
            (2, TERM, 10, sight(false)),
            (LEADER, TERM - 1, 10, sight(false)),
            (LEADER, TERM + 1, 10, sight(false)),
            (LEADER, TERM, 9, sight(false)),
            (LEADER, TERM, 11, sight(false)),
            (LEADER, TERM, 10, sight(true)),
            (LEADER, TERM, 10, candidate),
            (LEADER, TERM, 10, behind),
            (LEADER, TERM, 10, longer),
        ] {
            assert!(!rest.hear(now, from, term, end, &sight), "{from} in {term} at {end}: {sight:?}");
            assert!(!rest.may_stop_clock(now, &sight, || 0));
            assert!(!rest.recently_heard(now, &sight));
        }
        assert!(rest.hear(now, LEADER, TERM, 10, &sight(false)));
        assert!(rest.may_stop_clock(now, &sight(false), || 0));
        assert!(rest.recently_heard(now, &sight(false)));
        // It has voted for another since.
        let elsewhere = Sight { vote: Vote::new(TERM + 1, 2), ..sight(false) };
        assert!(!rest.may_stop_clock(now, &elsewhere, || 0));
        assert!(!rest.recently_heard(now, &elsewhere));
    }

    #[tokio::test(start_paused = true)]
    async fn members_lose_patience_one_after_another_and_only_when_the_lease_is_over() {
        let timing = Timing::default();
        let (rest, now) = rest();
        assert!(rest.hear(now, LEADER, TERM, 10, &sight(false)));
        for rank in 0..3 {
            let sight = sight(false);
            let end = now + patience(&timing, rank);
            assert!(rest.may_stop_clock(end - Duration::from_millis(1), &sight, || rank));
            assert!(!rest.may_stop_clock(end, &sight, || rank));
            assert!(!rest.recently_heard(end, &sight), "whoever stands finds the others willing");
            let turn = patience(&timing, rank + 1) - patience(&timing, rank);
            assert!(turn > timing.heartbeat, "beats come to all, but not at the same time");
        }
    }
}

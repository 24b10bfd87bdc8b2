//! When a group is at rest, so that its own clock and heartbeats may stand still.
//!
//! A group in which nothing happens needs no heartbeats of its own: it is enough that its leader's node says to the others,
//! for all such groups at once, "of this group I am the leader in this term, and its log ends here". That is a *beat*: see
//! [`crate::pacemaker`], which also says who sends it when. A member agrees only if that very leader and that very end of
//! the log are what it knows itself, applied. A group rests at its leader while all other members agreed when last asked; as
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
use std::collections::{BTreeMap, BTreeSet};
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
    /// When the group was last found led here and quiet, and all its other members; nothing since it was not.
    asked: Option<(Instant, BTreeSet<NodeId>)>,
    /// When it was said here what a member agreed to last. None that has not agreed since.
    agreed: BTreeMap<NodeId, Instant>,
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
            known.disturb();
        }
        end
    }

    /// Notes that these are all other members of a group that was just found quiet.
    pub(crate) fn ask(&self, now: Instant, others: &BTreeSet<NodeId>) {
        let mut known = self.known();
        known.agreed.retain(|member, _| others.contains(member));
        match &mut known.asked {
            Some((at, known)) if known == others => *at = now,
            asked => *asked = Some((now, others.clone())),
        }
    }

    /// Notes when it was said here what a member agrees to now, or that it does not agree.
    pub(crate) fn note_agreement(&self, member: NodeId, said: Option<Instant>) {
        let mut known = self.known();
        match said {
            Some(said) if known.asked.is_some() => drop(known.agreed.insert(member, said)),
            _ => drop(known.agreed.remove(&member)),
        }
    }

    /// This node offers its leadership in `term` to another: the group rests no more in that term.
    pub(crate) fn offer(&self, term: u64) {
        let mut known = self.known();
        known.offered = Some(term);
        known.disturb();
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
            // What members say may be late; what does not come has stopped. Those who call have it from the last time but one.
            return known.agreed_ago(now).is_some_and(|ago| ago < self.timing.election_max);
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

    /// How long ago it was said here what all other members last agreed to; nothing if one does not.
    pub(crate) fn agreed_ago(&self, now: Instant) -> Option<Duration> {
        self.known().agreed_ago(now)
    }
}

impl Known {
    fn disturb(&mut self) {
        self.asked = None;
        self.agreed.clear();
    }

    fn agreed_ago(&self, now: Instant) -> Option<Duration> {
        let (asked, others) = self.asked.as_ref()?;
        let oldest = others.iter().try_fold(*asked, |oldest, member| Some(oldest.min(*self.agreed.get(member)?)))?;
        Some(now.duration_since(oldest))
    }
}

/// How long a member waits for the next beat: until the leader's lease is surely over at the other members too, which hear
/// beats up to one heartbeat later, and then in turn.
fn patience(timing: &Timing, rank: u32) -> Duration {
    timing.election_max + timing.heartbeat * 3 / 2 + (timing.election_max - timing.election_min) * rank
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
        agree(&rest, now);
        assert!(rest.may_stop_clock(now, &sight(true), || 0));
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

    /// Both other members agree to what is said now.
    fn agree(rest: &Rest, now: Instant) {
        rest.ask(now, &BTreeSet::from([2, 3]));
        [2, 3].into_iter().for_each(|member| rest.note_agreement(member, Some(now)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leaders_clock_stands_still_only_while_all_agree() {
        let (rest, now) = rest();
        let may_stop = |at: Instant| rest.may_stop_clock(at, &sight(true), || 0);
        rest.note_agreement(2, Some(now));
        assert!(!may_stop(now), "nobody was asked");
        agree(&rest, now);
        assert!(may_stop(now));
        assert_eq!(rest.agreed_ago(now), Some(Duration::ZERO));
        assert!(!rest.may_stop_clock(now, &sight(false), || 0), "it leads no more, and hears of nobody");

        // One is not heard of any more.
        let late = now + Timing::default().election_max;
        rest.ask(late, &BTreeSet::from([2, 3]));
        rest.note_agreement(2, Some(late));
        assert!(may_stop(late - Duration::from_millis(1)));
        assert!(!may_stop(late));
        rest.note_agreement(3, Some(late));
        assert!(may_stop(late));

        // One does not agree, then there is one that has not been asked, and then something is written.
        rest.note_agreement(3, None);
        assert!(!may_stop(late));
        assert_eq!(rest.agreed_ago(late), None);
        agree(&rest, late);
        rest.ask(late, &BTreeSet::from([2, 3, 4]));
        assert!(!may_stop(late));
        agree(&rest, late);
        assert!(may_stop(late));
        rest.beat(late, &Sight { last_index: Some(11), ..sight(true) });
        assert!(!may_stop(late));
        rest.ask(late, &BTreeSet::from([2, 3]));
        assert!(!may_stop(late), "what they agreed to before counts no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_without_others_rests_alone() {
        let (rest, now) = rest();
        rest.ask(now, &BTreeSet::new());
        assert!(rest.may_stop_clock(now, &sight(true), || 0));
        let late = now + Timing::default().election_max;
        assert!(!rest.may_stop_clock(late, &sight(true), || 0), "nobody has looked since");
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
        // One that heard a heartbeat later finds its lease over all the same.
        let later = now + timing.heartbeat;
        assert!(rest.hear(later, LEADER, TERM, 10, &sight(false)));
        assert!(!rest.recently_heard(now + patience(&timing, 0), &sight(false)));
    }
}

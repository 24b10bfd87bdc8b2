//! Linearizability of what changes things: replies are what a machine of our own gives when it is fed the log.
//!
//! See [`player`](crate::player) for the machine. Each reply that a client got must be the one that this machine gave at the
//! position the reply names; it must stand in the log behind whatever anybody had heard of or read when it was called; the
//! states of nodes must be this machine's at the same index; and its recount of its own invariants must come out.

use super::{Checker, Look, StateDigest};
use crate::history::{Answer, Call, Happening};
use crate::player::Played;
use std::collections::BTreeMap;
use std::sync::Arc;
use vestibule_engine::{GroupId, Reply, RequestId};
use vestibule_raft::cluster::Position;

/// See the file's head.
#[derive(Default)]
pub struct Replay {
    groups: BTreeMap<GroupId, Replayed>,
    /// For each group the index of the latest entry that a client has heard of, or has seen the effect of.
    heard: BTreeMap<GroupId, u64>,
    /// What had been heard of when a call began.
    floors: BTreeMap<usize, u64>,
}

#[derive(Default)]
struct Replayed {
    /// The term of each entry, and the state after it.
    states: BTreeMap<u64, (u64, [u8; 32])>,
    replies: BTreeMap<(u64, RequestId), Vec<Reply>>,
    /// What cannot be judged before more of the log is known.
    open_replies: Vec<(Arc<Call>, Reply, Position)>,
    open_states: Vec<StateDigest>,
}

impl Replayed {
    fn take(&mut self, played: &Played) -> Result<(), String> {
        let index = played.position.index;
        played.audit.clone().map_err(|what| format!("{} after entry {index}: {what}", played.group))?;
        for told in &played.commands {
            if let Some(request) = told.request {
                self.replies.entry((index, request)).or_default().push(told.reply.clone());
            }
        }
        self.states.insert(index, (played.position.term, played.digest));
        Ok(())
    }

    fn judge(&mut self) -> Result<(), String> {
        let open = std::mem::take(&mut self.open_replies);
        for (call, reply, at) in open {
            let Some((term, _)) = self.states.get(&at.index) else {
                self.open_replies.push((call, reply, at));
                continue;
            };
            let told =
                || format!("call #{} ({}) was answered at {}.{}", call.number, call.ask.name(), at.term, at.index);
            if *term != at.term {
                return Err(format!("{}, where the entry is of term {term}", told()));
            }
            let given = self.replies.get(&(at.index, call.request)).map_or(&[][..], Vec::as_slice);
            if !given.contains(&reply) {
                return Err(format!("{} with {reply:?}, but the log gives {given:?}", told()));
            }
        }
        let open = std::mem::take(&mut self.open_states);
        for state in open {
            match self.states.get(&state.applied.index) {
                Some((_, digest)) if *digest == state.digest => {}
                Some(_) => {
                    return Err(format!(
                        "{}: the state of node {} after entry {} is not what the log gives",
                        state.group, state.node, state.applied.index
                    ));
                }
                None => self.open_states.push(state),
            }
        }
        Ok(())
    }
}

impl Checker for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for played in &look.played {
            self.groups.entry(played.group).or_default().take(played)?;
        }
        for state in &look.digests {
            self.groups.entry(state.group).or_default().open_states.push(state.clone());
        }
        for happening in &look.happenings {
            match happening {
                Happening::Called(call) => {
                    let heard = self.heard.get(&call.group).copied().unwrap_or(0);
                    self.floors.insert(call.number, heard);
                }
                Happening::Answered { call, answer, .. } => {
                    let floor = self.floors.remove(&call.number).unwrap_or(0);
                    let (Answer::Reply(_, at) | Answer::Read(_, at) | Answer::LookUp(_, at)) = answer else { continue };
                    let heard = self.heard.entry(call.group).or_default();
                    *heard = at.index.max(*heard);
                    let Answer::Reply(reply, at) = answer else { continue };
                    if at.index <= floor {
                        return Err(format!(
                            "call #{} was answered at {}.{}, though {floor} had been heard of before it began",
                            call.number, at.term, at.index
                        ));
                    }
                    self.groups.entry(call.group).or_default().open_replies.push((call.clone(), reply.clone(), *at));
                }
            }
        }
        self.groups.values_mut().try_for_each(Replayed::judge)
    }

    fn finish(&mut self, _last: &Look) -> Result<(), String> {
        for (id, group) in &self.groups {
            if let Some((call, _, at)) = group.open_replies.first() {
                return Err(format!(
                    "{id}: call #{} was answered at {}.{}, which nobody applied",
                    call.number, at.term, at.index
                ));
            }
            if let Some(state) = group.open_states.first() {
                return Err(format!(
                    "{id}: node {} has applied entry {}, which was not seen",
                    state.node, state.applied.index
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;
    use crate::history::Ask;
    use std::time::Duration;
    use vestibule_engine::{Refusal, SeatId, ShardAnswer, ShardQuery, UserId};
    use vestibule_raft::cluster::Consistency;
    use vestibule_raft::wal::LogPosition;

    /// Puts a showtime on sale and has somebody ask for a seat; gives that call's look.
    fn asked() -> (Replay, Look) {
        let mut stage = Stage::without_line();
        let mut checker = Replay::default();
        checker.observe(&stage.open()).expect("as it was");
        (checker, stage.hold(UserId(7), &[SeatId(4)]))
    }

    #[test]
    fn a_reply_that_the_log_does_not_give_is_noticed() {
        let change = |change: fn(&mut Reply, &mut Position)| {
            let (mut checker, mut look) = asked();
            for happening in &mut look.happenings {
                if let Happening::Answered { answer: Answer::Reply(reply, at), .. } = happening {
                    change(reply, at);
                }
            }
            checker.observe(&look)
        };
        change(|_, _| {}).expect("as it was");
        change(|reply, _| reply.result = Err(Refusal::NoSuchShowtime)).expect_err("another reply");
        change(|_, at| at.term = 9).expect_err("another term");
    }

    #[test]
    fn an_answer_from_the_past_is_noticed() {
        let (mut checker, mut look) = asked();
        for happening in &mut look.happenings {
            if let Happening::Answered { answer: Answer::Reply(_, at), .. } = happening {
                at.index = 1;
            }
        }
        checker.observe(&look).expect_err("the call before had ended at 1");
    }

    #[test]
    fn an_answer_behind_what_was_read_before_is_noticed() {
        let check = |index| {
            let (mut checker, look) = asked();
            let ask = Ask::Read(ShardQuery::Showtimes, Consistency::AppliedMin(0));
            let (at, by, group) = (Duration::ZERO, String::new(), look.played[0].group);
            let call = Arc::new(Call { number: 99, by, group, request: RequestId(0), ask, at });
            let answer = Answer::Read(Box::new(ShardAnswer::Showtimes(Vec::new())), Position { term: 1, index });
            let happenings = vec![Happening::Called(call.clone()), Happening::Answered { call, answer, at }];
            checker.observe(&Look { happenings, ..Look::default() }).expect("whoever reads may see anything");
            checker.observe(&look)
        };
        let held = asked().1.played[0].position.index;
        check(held - 1).expect("it was called after that, and stands behind it");
        check(held).expect_err("it was seen before it was asked for");
    }

    #[test]
    fn what_stays_open_is_noticed() {
        let (mut checker, mut look) = asked();
        look.played.clear();
        checker.observe(&look).expect("the entry may be seen yet");
        checker.finish(&look).expect_err("it never was");
    }

    #[test]
    fn a_state_that_the_log_does_not_give_is_noticed() {
        let state = |look: &Look, digest| {
            let (group, index) = (look.played[0].group, look.played[0].position.index);
            vec![StateDigest { node: 1, group, applied: LogPosition { term: 1, node: 1, index }, digest }]
        };
        let (mut checker, mut look) = asked();
        look.digests = state(&look, look.played[0].digest);
        checker.observe(&look).expect("what the log gives");
        let (mut checker, mut look) = asked();
        look.digests = state(&look, [0; 32]);
        checker.observe(&look).expect_err("something else");
    }

    #[test]
    fn books_that_do_not_come_out_are_noticed() {
        let (mut checker, mut look) = asked();
        look.played[0].audit = Err("one seat too many".to_owned());
        checker.observe(&look).expect_err("the audit failed");
    }
}

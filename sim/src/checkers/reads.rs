//! A linearizable read shows at least what anybody had heard of when it began.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Happening};
use std::collections::BTreeMap;
use vestibule_engine::GroupId;
use vestibule_raft::cluster::Consistency;

/// See the file's head.
#[derive(Default)]
pub struct Reads {
    /// For each group the latest entry that somebody has heard of.
    heard: BTreeMap<GroupId, u64>,
    /// What had been heard of when a read began.
    floors: BTreeMap<usize, u64>,
}

impl Checker for Reads {
    fn name(&self) -> &'static str {
        "reads"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            match happening {
                Happening::Called(call) => {
                    if let Ask::Read(_, Consistency::Linearizable) | Ask::LookUp(_, Consistency::Linearizable) =
                        call.ask
                    {
                        let heard = self.heard.get(&call.group).copied().unwrap_or(0);
                        self.floors.insert(call.number, heard);
                    }
                }
                Happening::Answered { call, answer, .. } => {
                    let floor = self.floors.remove(&call.number);
                    let at = match (answer, floor) {
                        (Answer::Reply(_, at), _) => *at,
                        (Answer::Read(_, at) | Answer::LookUp(_, at), Some(floor)) => {
                            if at.index < floor {
                                return Err(format!(
                                    "call #{} was read as of {}.{}, though {floor} had been heard of before",
                                    call.number, at.term, at.index
                                ));
                            }
                            *at
                        }
                        _ => continue,
                    };
                    let heard = self.heard.entry(call.group).or_default();
                    *heard = at.index.max(*heard);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;
    use crate::history::Call;
    use std::sync::Arc;
    use std::time::Duration;
    use vestibule_engine::{RequestId, ShardAnswer, ShardQuery};
    use vestibule_raft::cluster::Position;

    #[test]
    fn a_stale_read_is_noticed() {
        let mut stage = Stage::without_line();
        let read = |consistency, index| {
            let ask = Ask::Read(ShardQuery::Showtimes, consistency);
            let (at, by) = (Duration::ZERO, String::new());
            let call = Call { number: 99, by, group: GroupId(1), request: RequestId(0), ask, at };
            let call = Arc::new(call);
            let answer = Answer::Read(Box::new(ShardAnswer::Showtimes(Vec::new())), Position { term: 1, index });
            let happenings = vec![Happening::Called(call.clone()), Happening::Answered { call, answer, at }];
            Look { happenings, ..Look::default() }
        };
        let mut checker = Reads::default();
        checker.observe(&stage.open()).expect("it was heard that entry 2 is there");
        checker.observe(&read(Consistency::Linearizable, 2)).expect("as of then");
        checker.observe(&read(Consistency::AppliedMin(0), 1)).expect("it may be behind");
        checker.observe(&read(Consistency::Linearizable, 1)).expect_err("it must not be behind");
    }
}

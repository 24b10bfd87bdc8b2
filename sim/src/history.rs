//! What the clients of a run know: what they asked, when, and what came back.

use crate::trace::Trace;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use vestibule_engine::{
    DirectoryAnswer, DirectoryCommand, DirectoryQuery, GroupId, Reply, RequestId, ShardAnswer, ShardCommand, ShardQuery,
};
use vestibule_raft::cluster::{Consistency, Position};

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Of the directory.
    Directory(Box<DirectoryCommand>),
    /// Of a shard.
    Shard(Box<ShardCommand>),
    /// A question to a shard, and how fresh the answer has to be.
    Read(ShardQuery, Consistency),
    /// A question to the directory, and how fresh the answer has to be.
    LookUp(DirectoryQuery, Consistency),
}

impl Ask {
    /// The command's name.
    pub fn name(&self) -> String {
        let text = match self {
            Self::Directory(command) => format!("{command:?}"),
            Self::Shard(command) => format!("{command:?}"),
            Self::Read(_, Consistency::Linearizable) => "ReadLinearizable".to_owned(),
            Self::Read(_, Consistency::AppliedMin(_)) => "ReadAnywhere".to_owned(),
            Self::LookUp(_, Consistency::Linearizable) => "LookUpLinearizable".to_owned(),
            Self::LookUp(_, Consistency::AppliedMin(_)) => "LookUpAnywhere".to_owned(),
        };
        text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
    }
}

/// One call of a client. It may have been sent several times, under one request id.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counts calls.
    pub number: usize,
    /// Who called.
    pub by: String,
    /// Whom.
    pub group: GroupId,
    /// Under which id.
    pub request: RequestId,
    /// What for.
    pub ask: Ask,
    /// When, in simulated time.
    pub at: Duration,
}

/// What a call came to.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A reply, with the position at which it was applied.
    Reply(Reply, Position),
    /// The answer to a question, with the position as of which it holds.
    Read(Box<ShardAnswer>, Position),
    /// The same from the directory.
    LookUp(Box<DirectoryAnswer>, Position),
    /// It may have taken effect, or may do so yet.
    Unknown,
    /// It certainly has not taken effect. Says why.
    NotDone(String),
}

/// The beginning or the end of a call.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A call begins.
    Called(Arc<Call>),
    /// A call ends.
    Answered {
        /// Which.
        call: Arc<Call>,
        /// With what.
        answer: Answer,
        /// When, in simulated time.
        at: Duration,
    },
}

/// The history of a run. Clones share it.
#[derive(Clone)]
pub struct History {
    trace: Trace,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    calls: usize,
    happenings: Vec<Happening>,
    /// Requests that gateways made, see [`History::attempt`].
    tried: BTreeMap<(GroupId, RequestId), Vec<Tried>>,
}

/// What is known of a request that gateways make as often as their clients ask for it.
struct Tried {
    call: Arc<Call>,
    /// Attempts that have not ended.
    under_way: usize,
    /// Whether an attempt ended without a word.
    may_be_done: bool,
    is_answered: bool,
}

impl History {
    /// An empty one, noted in `trace` too.
    pub fn new(trace: Trace) -> Self {
        Self { trace, inner: Arc::default() }
    }

    /// Where it is noted, too.
    pub(crate) fn trace(&self) -> Trace {
        self.trace.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// A call begins.
    pub fn call(&self, by: &str, group: GroupId, request: RequestId, ask: Ask) -> Arc<Call> {
        let mut inner = self.lock();
        let call = Call { number: inner.calls, by: by.to_owned(), group, request, ask, at: self.trace.now() };
        let call = Arc::new(call);
        inner.calls += 1;
        inner.happenings.push(Happening::Called(call.clone()));
        drop(inner);
        self.trace.note(by, format!("#{} asks {group}: {}", call.number, describe(&call.ask)));
        call
    }

    /// A gateway makes a request, be it for the first time or again: the same gateway or another one may have made it before,
    /// or be at it. All of that is one call, which began with the first attempt: whatever takes effect late is explained by it.
    pub fn attempt(&self, by: &str, group: GroupId, request: RequestId, ask: Ask) -> Attempt {
        let mut inner = self.lock();
        let known = inner.tried.entry((group, request)).or_default().iter_mut().find(|tried| tried.call.ask == ask);
        let known = known.map(|tried| {
            tried.under_way += 1;
            tried.call.clone()
        });
        drop(inner);
        let call = match known {
            Some(call) => {
                self.trace.note(by, format!("#{} is asked again", call.number));
                call
            }
            None => {
                let call = self.call(by, group, request, ask);
                let tried = Tried { call: call.clone(), under_way: 1, may_be_done: false, is_answered: false };
                self.lock().tried.entry((group, request)).or_default().push(tried);
                call
            }
        };
        Attempt { history: self.clone(), call, is_open: true }
    }

    fn end_attempt(&self, call: &Arc<Call>, answer: Answer) {
        let mut inner = self.lock();
        let all = inner.tried.entry((call.group, call.request)).or_default();
        let position = all.iter().position(|tried| tried.call.number == call.number);
        let tried = &mut all[position.expect("an attempt that ends has begun")];
        tried.under_way -= 1;
        match &answer {
            Answer::NotDone(_) if tried.under_way == 0 && !tried.may_be_done && !tried.is_answered => {
                // Certainly none of its attempts was done. If it is made again, that is a call of its own.
                let certain = position.expect("it was found");
                all.remove(certain);
            }
            // Another attempt may have been done, or will be.
            Answer::NotDone(_) => {
                drop(inner);
                return self.trace.note(&call.by, format!("#{} is not done this time", call.number));
            }
            Answer::Unknown => {
                tried.may_be_done = true;
                if tried.is_answered || tried.under_way > 0 {
                    return;
                }
            }
            _ => tried.is_answered = true,
        }
        drop(inner);
        self.answer(call, answer);
    }

    /// A call ends.
    pub fn answer(&self, call: &Arc<Call>, answer: Answer) {
        let number = call.number;
        let what = match &answer {
            Answer::Reply(reply, Position { term, index }) => {
                let replayed = if reply.replayed { " (again)" } else { "" };
                match &reply.result {
                    Ok(outcome) => format!("#{number} at {term}.{index}{replayed}: {outcome:?}"),
                    Err(refusal) => format!("#{number} at {term}.{index}{replayed}: refused: {refusal}"),
                }
            }
            Answer::Read(answer, at) => as_of(number, *at, &format!("{answer:?}")),
            Answer::LookUp(answer, at) => as_of(number, *at, &format!("{answer:?}")),
            Answer::Unknown => format!("#{number}: outcome unknown"),
            Answer::NotDone(why) => format!("#{number}: not done: {why}"),
        };
        self.trace.note(&call.by, what);
        let at = self.trace.now();
        self.lock().happenings.push(Happening::Answered { call: call.clone(), answer, at });
    }

    /// What happened since so many happenings.
    pub fn since(&self, count: usize) -> Vec<Happening> {
        self.lock().happenings.get(count..).unwrap_or_default().to_vec()
    }
}

/// One attempt of a gateway to have something done. Without an [`end`](Attempt::end) nobody knows what it came to: the client
/// went away, or the gateway died.
pub struct Attempt {
    history: History,
    call: Arc<Call>,
    is_open: bool,
}

impl Attempt {
    /// What it came to.
    pub fn end(mut self, answer: Answer) {
        self.is_open = false;
        self.history.end_attempt(&self.call, answer);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_open {
            self.history.end_attempt(&self.call, Answer::Unknown);
        }
    }
}

/// What was read; of long answers the beginning.
fn as_of(number: usize, at: Position, answer: &str) -> String {
    let Position { term, index } = at;
    match answer.char_indices().nth(400) {
        Some((end, _)) => format!("#{number} as of {term}.{index}: {}… ({} bytes)", &answer[..end], answer.len()),
        None => format!("#{number} as of {term}.{index}: {answer}"),
    }
}

/// The command in words; layouts of houses are left out.
fn describe(ask: &Ask) -> String {
    let text = match ask {
        Ask::Directory(command) => format!("{command:?}"),
        Ask::Shard(command) => format!("{command:?}"),
        Ask::Read(query, consistency) => format!("{query:?}, {consistency:?}"),
        Ask::LookUp(query, consistency) => format!("{query:?}, {consistency:?}"),
    };
    if text.len() > 400 { format!("{} ({} bytes)", ask.name(), text.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_engine::{JoinQueue, Outcome, ShowtimeId, UserId};

    const GROUP: GroupId = GroupId(1);

    fn ask(user: u128) -> Ask {
        let showtime = ShowtimeId::new(GROUP, 1);
        Ask::Shard(Box::new(ShardCommand::JoinQueue(JoinQueue { showtime, user: UserId(user) })))
    }

    fn done() -> Answer {
        let reply = Reply { result: Ok(Outcome::Done), replayed: false };
        Answer::Reply(reply, Position { term: 1, index: 1 })
    }

    fn told(history: &History) -> Vec<String> {
        let tell = |happening: Happening| match happening {
            Happening::Called(call) => format!("{} called", call.number),
            Happening::Answered { call, answer: Answer::Reply(..), .. } => format!("{} done", call.number),
            Happening::Answered { call, answer: Answer::Unknown, .. } => format!("{} unknown", call.number),
            Happening::Answered { call, .. } => format!("{} not done", call.number),
        };
        history.since(0).into_iter().map(tell).collect()
    }

    #[test]
    fn what_gateways_repeat_is_one_call_from_the_first_attempt_on() {
        let history = History::new(Trace::default());
        let attempt = |user| history.attempt("gateway-1", GROUP, RequestId(1), ask(user));
        drop(attempt(1));
        attempt(1).end(Answer::NotDone("no leader".to_owned()));
        attempt(1).end(done());
        assert_eq!(told(&history), ["0 called", "0 unknown", "0 done"], "the first attempt may have done it");
        attempt(2).end(done());
        assert_eq!(told(&history)[3..], ["1 called", "1 done"], "something else under the same id");
    }

    #[test]
    fn only_what_no_attempt_may_have_done_is_not_done() {
        let history = History::new(Trace::default());
        let attempt = || history.attempt("gateway-1", GROUP, RequestId(1), ask(1));
        let no = || Answer::NotDone("no leader".to_owned());
        let (one, other) = (attempt(), attempt());
        one.end(no());
        assert_eq!(told(&history), ["0 called"], "the other attempt is still under way");
        other.end(no());
        attempt().end(no());
        assert_eq!(told(&history), ["0 called", "0 not done", "1 called", "1 not done"]);
    }
}

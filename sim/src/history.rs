//! What the clients of a run know: what they asked, when, and what came back.

use crate::trace::Trace;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use vestibule_engine::{DirectoryCommand, GroupId, Reply, RequestId, ShardAnswer, ShardCommand, ShardQuery};
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
}

impl Ask {
    /// The command's name.
    pub fn name(&self) -> String {
        let text = match self {
            Self::Directory(command) => format!("{command:?}"),
            Self::Shard(command) => format!("{command:?}"),
            Self::Read(_, Consistency::Linearizable) => "ReadLinearizable".to_owned(),
            Self::Read(_, Consistency::AppliedMin(_)) => "ReadAnywhere".to_owned(),
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
}

impl History {
    /// An empty one, noted in `trace` too.
    pub fn new(trace: Trace) -> Self {
        Self { trace, inner: Arc::default() }
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
            Answer::Read(answer, Position { term, index }) => format!("#{number} as of {term}.{index}: {answer:?}"),
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

/// The command in words; layouts of houses are left out.
fn describe(ask: &Ask) -> String {
    let text = match ask {
        Ask::Directory(command) => format!("{command:?}"),
        Ask::Shard(command) => format!("{command:?}"),
        Ask::Read(query, consistency) => format!("{query:?}, {consistency:?}"),
    };
    if text.len() > 400 { format!("{} ({} bytes)", ask.name(), text.len()) } else { text }
}

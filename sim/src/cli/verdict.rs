//! What a run in a process of its own came to.

use super::play::{self, Playing};
use std::io;
use std::time::Duration;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was wrong.
    Passed,
    /// A checker saw an invariant that does not hold.
    Violation { checker: String },
    /// The code under test fell over: at this place, if that was told.
    Panic(String),
    /// Something did not come true in time.
    TooLate(String),
    /// It failed otherwise: it was void, or could not be played.
    Other(String),
    /// It did not end.
    Killed,
}

impl Verdict {
    /// What `run` has printed, and whether it succeeded, in short.
    fn of(is_success: bool, text: &str) -> Self {
        if is_success && text.lines().any(|line| line.starts_with("passed: ")) {
            return Self::Passed;
        }
        let failed = text.lines().find_map(|line| line.strip_prefix("FAILED ")).unwrap_or("without a word");
        match failed.split_once(": ") {
            Some(("violation", what)) => {
                Self::Violation { checker: what.split(':').next().unwrap_or_default().to_owned() }
            }
            Some(("panic", what)) => Self::Panic(place(what)),
            Some(("not in time", what)) => Self::TooLate(what.to_owned()),
            _ => Self::Other(failed.to_owned()),
        }
    }
}

/// Where the code under test fell over.
fn place(what: &str) -> String {
    let place = what.strip_prefix("panicked at ").unwrap_or(what).trim_end_matches(':');
    let file = place.split(':').next().unwrap_or(place);
    file.rsplit_once("/src/").map_or(file, |(start, _)| &file[start.rfind('/').map_or(0, |at| at + 1)..]).to_owned()
}

/// Plays a seed with a bug, or without one. A run that takes longer than `patience` is ended.
pub(super) fn judge(seed: u64, bug: Option<&str>, patience: Duration) -> io::Result<Verdict> {
    let mut command = play::elsewhere(seed)?;
    command.args(bug.into_iter().flat_map(|name| ["--plant", name]));
    match Playing::begin(command)?.wait(patience) {
        Ok(output) => Ok(Verdict::of(output.status.success(), &String::from_utf8_lossy(&output.stdout))),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Verdict::Killed),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_counts_as_seen() {
        let violation = Verdict::of(false, "seed 7\nFAILED violation: money: it does not come out\nreplay: …");
        assert_eq!(violation, Verdict::Violation { checker: "money".to_owned() });
        let panic = "FAILED panic: panicked at /work/engine/src/shard/seats.rs:7:9:\nheld A1, which was not free";
        assert_eq!(Verdict::of(false, panic), Verdict::Panic("engine/src/shard/seats.rs".to_owned()));
        let late = Verdict::of(false, "FAILED not in time: all replicas are equal (waited 60s)");
        assert!(matches!(late, Verdict::TooLate(_)), "{late:?}");
        for (is_success, text) in
            [(false, "FAILED void: only 3 calls"), (false, ""), (true, ""), (false, "passed: 7 s")]
        {
            let other = Verdict::of(is_success, text);
            assert!(matches!(other, Verdict::Other(_)), "{text:?}: {other:?}");
        }
        assert_eq!(Verdict::of(true, "passed: 7 simulated milliseconds"), Verdict::Passed);
    }
}

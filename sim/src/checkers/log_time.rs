//! Log time is never far ahead of the true time: what expires by it would expire too early, and until the true time has come up
//! with it nothing would. Of the clocks of a run one at most is ever far off, so that the others can tell.

use super::{Checker, Look};
use crate::clock::{EPOCH, LOG_TIME_AHEAD_MAX};
use std::time::Duration;

/// See the file's head.
pub struct LogTime;

impl Checker for LogTime {
    fn name(&self) -> &'static str {
        "log time"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        let latest = EPOCH + look.at + LOG_TIME_AHEAD_MAX;
        let ahead = look.played.iter().find(|played| played.at.is_some_and(|at| Duration::from_millis(at.0) > latest));
        match ahead {
            Some(played) => {
                let at = played.at.unwrap_or_default();
                let ahead = Duration::from_millis(at.0).saturating_sub(EPOCH + look.at);
                Err(format!("{}: entry {} is stamped {ahead:?} ahead of the time", played.group, played.position.index))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;

    #[test]
    fn a_stamp_that_is_far_ahead_is_noticed() {
        let mut stage = Stage::without_line();
        let latest = (EPOCH + LOG_TIME_AHEAD_MAX).as_millis() as u64;
        stage.set_time(latest);
        let mut look = stage.create();
        look.at = Duration::ZERO;
        LogTime.observe(&look).expect("as far as clocks may be off");
        stage.set_time(latest + 1);
        let mut look = stage.tick(latest + 1);
        look.at = Duration::ZERO;
        LogTime.observe(&look).expect_err("it is later than that");
    }
}

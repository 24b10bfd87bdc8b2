//! One idempotency key, one outcome: whoever sends the same again under its key, through whatever gateway, hears what was said
//! the first time; and a key does for one thing only. What was done under it for longer than groups may have to remember, is as if it
//! had never been.

use super::{Checker, Look};
use crate::clock::{EPOCH, LOG_TIME_AHEAD_MAX};
use crate::web::visits::{Deed, Event, Said};
use std::collections::BTreeMap;
use std::time::Duration;
use vestibule_engine::{Event as Fact, UserId};

/// What was asked under a key.
struct Asked {
    /// When that began.
    since: Duration,
    /// Each thing that was asked, and the first answer that settles anything.
    all: Vec<(Deed, Said)>,
}

/// See the file's head.
#[derive(Default)]
pub struct OneAnswer {
    /// What was asked under each key of each buyer.
    keys: BTreeMap<(UserId, String), Asked>,
    /// The least time that any group ever had to remember requests, if that was ever changed.
    age_max: Option<Duration>,
    /// How far log time ever was behind the true time: it may have caught up since at once.
    lag_max: Duration,
}

/// Whether something was done.
fn is_done(said: &Said) -> bool {
    matches!(said, Said::Hold(_) | Said::Order(_) | Said::Payment(..) | Said::Done)
}

/// Whether this answer is for ever.
fn settles(deed: &Deed, said: &Said) -> bool {
    match said {
        // A token that has run out says nothing of what was asked.
        Said::Refused(status, _) => {
            // The state of an order is looked at before its payment is made, while an earlier attempt may still be under way.
            *status != 401 && !matches!(deed, Deed::Pay(..))
        }
        said => is_done(said),
    }
}

impl OneAnswer {
    fn note(
        &mut self,
        user: UserId,
        key: &str,
        deed: &Deed,
        said: &Said,
        (begun, at): (Duration, Duration),
    ) -> Result<(), String> {
        let first = || Asked { since: begun, all: Vec::new() };
        let Asked { since, all } = self.keys.entry((user, key.to_owned())).or_insert_with(first);
        // Log time may be a little ahead.
        if self.age_max.is_some_and(|age_max| at + LOG_TIME_AHEAD_MAX + self.lag_max > *since + age_max) {
            return Ok(());
        }
        let known = all.iter().find(|(known, _)| known == deed);
        if let Some((_, first)) = known {
            let is_denied = matches!(said, Said::Refused(status, _) if *status != 401) && is_done(first);
            if (settles(deed, said) || is_denied) && first != said {
                return Err(format!("the same under {key} was answered with {first:?}, then {said:?}"));
            }
            return Ok(());
        }
        if is_done(said)
            && let Some((other, first)) = all.iter().find(|(_, first)| is_done(first))
        {
            return Err(format!("under {key} {other:?} was done ({first:?}), then {deed:?} ({said:?})"));
        }
        if settles(deed, said) {
            all.push((deed.clone(), said.clone()));
        }
        Ok(())
    }
}

impl Checker for OneAnswer {
    fn name(&self) -> &'static str {
        "one answer"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for record in look.played.iter().flat_map(|played| played.events()) {
            if let Fact::LimitsChanged { request_age_max, .. } = record.event {
                let age = Duration::from_millis(request_age_max.0);
                self.age_max = Some(self.age_max.map_or(age, |least| least.min(age)));
            }
        }
        for at in look.played.iter().filter_map(|played| played.at) {
            self.lag_max = self.lag_max.max((EPOCH + look.at).saturating_sub(Duration::from_millis(at.0)));
        }
        for event in &look.visits {
            let Event::Ended { visit, said, at, .. } = event else { continue };
            if let (Some(user), Some(key)) = (visit.user, &visit.key) {
                self.note(user, key, &visit.deed, said, (visit.at, *at))
                    .map_err(|what| format!("visit @{}: {what}", visit.number))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{blank_visit, visit_of};
    use super::*;
    use crate::web::visits::{HoldSeen, Visit};
    use vestibule_engine::{GroupId, HoldId, SeatId, ShowtimeId, Timestamp};

    const SHOWTIME: ShowtimeId = ShowtimeId::new(GroupId(1), 1);

    fn held(number: u64) -> Said {
        let (hold, showtime) = (HoldId::new(GroupId(1), number), SHOWTIME);
        Said::Hold(HoldSeen { hold, showtime, seats: vec![SeatId(4)], total: 1, expires_at: Timestamp(5) })
    }

    fn refused(status: u16) -> Said {
        Said::Refused(status, "no".to_owned())
    }

    fn check(asked: &[(u128, &str, &str, Said)]) -> Result<(), String> {
        let mut look = Look::default();
        for (number, (user, key, wish, said)) in asked.iter().enumerate() {
            let (user, key) = (Some(UserId(*user)), Some((*key).to_owned()));
            let deed = Deed::Hold(SHOWTIME, (*wish).to_owned());
            look.visits.extend(visit_of(Visit { number, user, key, deed, ..blank_visit() }, said.clone()));
        }
        OneAnswer::default().observe(&look)
    }

    #[test]
    fn a_second_answer_under_one_key_is_noticed() {
        check(&[(1, "k", "A", held(1)), (1, "k", "A", held(1))]).expect("the same again");
        check(&[(1, "k", "A", held(1)), (1, "k", "A", held(2))]).expect_err("another hold");
        check(&[(1, "k", "A", held(1)), (2, "k", "A", held(2))]).expect("another buyer's key");
        check(&[(1, "k", "A", held(1)), (1, "l", "A", held(2))]).expect("another key");
        check(&[(1, "k", "A", refused(409)), (1, "k", "A", held(1))]).expect_err("it had been refused");
        check(&[(1, "k", "A", held(1)), (1, "k", "A", refused(409))]).expect_err("it had been done");
        check(&[(1, "k", "A", held(1)), (1, "k", "A", refused(401))]).expect("the token ran out");
        check(&[(1, "k", "A", Said::Unknown(String::new())), (1, "k", "A", held(1))]).expect("now it is known");
    }

    /// Whether another answer to what was asked at `since` is allowed at `at`, where requests are remembered for five minutes
    /// and log time was late by a minute.
    fn is_forgotten(since: u64, at: u64) -> bool {
        let (since, at) = (Duration::from_secs(since), Duration::from_secs(at));
        let mut checker = OneAnswer {
            age_max: Some(Duration::from_mins(5)),
            lag_max: Duration::from_mins(1),
            ..OneAnswer::default()
        };
        let deed = Deed::Hold(SHOWTIME, String::new());
        checker.note(UserId(1), "k", &deed, &held(1), (since, since)).expect("it is the first");
        checker.note(UserId(1), "k", &deed, &held(2), (at, at)).is_ok()
    }

    #[test]
    fn another_answer_is_allowed_once_the_first_may_be_forgotten_and_no_sooner() {
        // Log time may be ahead, and may have made up for having been late.
        let soonest = 7 + 5 * 60 - 60 - LOG_TIME_AHEAD_MAX.as_secs();
        assert!(!is_forgotten(7, soonest - 1));
        assert!(is_forgotten(7, soonest + 1));
        check(&[(1, "k", "A", held(1)), (1, "k", "A", held(2))]).expect_err("nothing says how long is remembered");
    }

    #[test]
    fn a_key_that_does_for_two_things_is_noticed() {
        check(&[(1, "k", "A", held(1)), (1, "k", "B", refused(422)), (1, "k", "A", held(1))]).expect("it was refused");
        check(&[(1, "k", "A", held(1)), (1, "k", "B", held(2))]).expect_err("both were done");
        check(&[(1, "k", "A", held(1)), (1, "k", "B", held(1))]).expect_err("something else was asked");
    }
}

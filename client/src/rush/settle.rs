//! After the last buyer: waits for what was left behind, and looks at everything once more.

use super::reconcile::{Books, reconcile};
use super::record::{HoldEnd, Record, Vanished};
use super::report::{RushReport, Step};
use super::{Rush, house, lock};
use crate::client::Connector;
use crate::{Counts, Error, HoldId, SeatState};
use futures::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

/// How long after its `expiresAt` a hold may still be there: for the clock of this machine, and for an idle leader to
/// notice that something is due.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5);
/// Between two last looks, as long as a gateway may be behind.
const FINAL_LOOK_PAUSE: Duration = Duration::from_millis(500);

/// Waits until the holds of those who vanished are gone, as long as the options allow.
pub(super) async fn settle<C: Connector>(rush: &Rush<C>) {
    let give_up = Instant::now() + rush.options.wait_expiry;
    loop {
        look_after_vanished(rush).await;
        let (count, next) = next_to_expire(&rush.record());
        let Some(next) = next else { return };
        let wait = Duration::try_from(next - now()).unwrap_or_default().max(Duration::from_millis(300));
        if Instant::now() + wait > give_up {
            return;
        }
        rush.progress.set_message(format!("waiting for {count} holds left behind to expire"));
        sleep(wait.min(EXPIRY_MARGIN)).await;
    }
}

/// Asks for every hold left behind whose time has come.
async fn look_after_vanished<C: Connector>(rush: &Rush<C>) {
    let due: Vec<(usize, HoldId, Vanished)> = {
        let record = rush.record();
        let due = vanished(&record).filter(|(_, vanished)| !vanished.gone && vanished.expires_at <= now());
        due.filter_map(|(position, vanished)| Some((position, record.holds[position].hold.clone()?, vanished.clone())))
            .collect()
    };
    let answers = stream::iter(due).map(|(position, hold, vanished)| async move {
        let (answer, ..) = rush.insist(Step::Check, || rush.client.get_hold(&vanished.access, &hold)).await;
        let gone = matches!(&answer, Err(Error::Refused(problem)) if matches!(problem.status, 404 | 410));
        let overdue = answer.is_ok() && now() > vanished.expires_at + EXPIRY_MARGIN;
        (position, gone, overdue)
    });
    let mut answers = answers.buffer_unordered(rush.options.concurrency.max(1) as usize);
    while let Some((position, gone, overdue)) = answers.next().await {
        if let HoldEnd::Vanished(vanished) = &mut rush.record().holds[position].end {
            vanished.gone = gone;
            vanished.overdue = overdue;
        }
    }
}

/// How many holds left behind are still there, and when the next of them is due.
fn next_to_expire(record: &Record) -> (usize, Option<OffsetDateTime>) {
    let open = vanished(record).filter(|(_, vanished)| !vanished.gone && !vanished.overdue);
    let due: Vec<_> = open.map(|(_, vanished)| vanished.expires_at).collect();
    (due.len(), due.into_iter().min())
}

fn vanished(record: &Record) -> impl Iterator<Item = (usize, &Vanished)> {
    record.holds.iter().enumerate().filter_map(|(position, hold)| match &hold.end {
        HoldEnd::Vanished(vanished) => Some((position, vanished)),
        _ => None,
    })
}

/// Looks at every paid order and every seat, and compares.
pub(super) async fn close_the_books<C: Connector>(rush: &Rush<C>, buying: Duration) -> RushReport {
    let elapsed = rush.started.elapsed();
    rush.progress.set_message("checking the books");
    look_at_orders(rush).await;
    let patience = Instant::now() + rush.options.staleness_max;
    loop {
        let last_time = Instant::now() >= patience;
        let mut record = rush.record().clone();
        let last = match last_look(rush).await {
            Ok(last) => last,
            Err(error) => {
                record.unexpected(format!("the last look: {error}"));
                LastLook::default()
            }
        };
        let books = Books {
            fifo: rush.fifo,
            has_line: rush.has_line,
            not_alone: rush.options.not_alone,
            staleness_max: rush.options.staleness_max,
            record,
            last,
        };
        let (checks, violations) = reconcile(&books);
        let may_pass = !books.last.complete || violations.iter().any(|violation| violation.may_pass);
        if !may_pass || last_time {
            let (outcomes, steps) = (lock(&rush.outcomes).clone(), lock(&rush.steps).figures());
            let http = rush.client.figures();
            return RushReport::new(
                &rush.options,
                [buying, elapsed],
                &books,
                http,
                outcomes,
                steps,
                checks,
                violations,
            );
        }
        sleep(FINAL_LOOK_PAUSE).await;
    }
}

/// What the public API says when everything is over.
#[derive(Debug, Clone)]
pub(super) struct LastLook {
    /// Whether there was one.
    pub(super) complete: bool,
    pub(super) states: BTreeMap<String, SeatState>,
    /// The counts that came with the states, unless they include places in areas.
    pub(super) counts: Option<Counts>,
    pub(super) cursor: u64,
    /// What the changes add up to, if that is known for the same sequence.
    pub(super) followed: Option<BTreeMap<String, SeatState>>,
    pub(super) now: OffsetDateTime,
}

impl Default for LastLook {
    fn default() -> Self {
        Self {
            complete: false,
            states: BTreeMap::new(),
            counts: None,
            cursor: 0,
            followed: None,
            now: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

async fn last_look<C: Connector>(rush: &Rush<C>) -> Result<LastLook, Error> {
    let showtime = &rush.options.showtime;
    let since = rush.house().sequence();
    let changes = rush.client.seats_bytes(showtime, Some(since)).await?;
    rush.house().apply(&changes)?;
    let all = rush.client.seats_bytes(showtime, None).await?;
    let status = rush.client.queue_status(showtime).await?;
    let answer = house::parse(&all)?;
    let (sequence, counts) = (answer.sequence, Some(answer.counts).filter(|_| !answer.has_areas()));
    let states = answer.states.into_iter().map(|(label, state)| (label.into_owned(), state)).collect();
    let followed = {
        let house = rush.house();
        (house.sequence() == sequence).then(|| house.states())
    };
    Ok(LastLook { complete: true, states, counts, cursor: status.cursor, followed, now: now() })
}

async fn look_at_orders<C: Connector>(rush: &Rush<C>) {
    let orders: Vec<_> = rush.record().orders.iter().map(|paid| (paid.order.clone(), paid.access.clone())).collect();
    let answers = stream::iter(orders.into_iter().enumerate()).map(|(position, (order, access))| async move {
        let (answer, ..) = rush.insist(Step::Check, || rush.client.get_order(&access, &order)).await;
        let found = answer
            .map(|order| (order.state, order.seats.into_iter().map(|seat| seat.id).collect()))
            .map_err(|error| error.to_string());
        (position, found)
    });
    let mut answers = answers.buffer_unordered(rush.options.concurrency.max(1) as usize);
    while let Some((position, found)) = answers.next().await {
        rush.record().orders[position].found = Some(found);
    }
}

/// Wall time, to compare with the server's `expiresAt` only.
#[expect(clippy::disallowed_methods, reason = "it is compared with what a real server says")]
fn now() -> OffsetDateTime {
    SystemTime::now().into()
}

//! What the gateway keeps in memory so that reads do not touch the leaders: layouts, seats, public status.
//!
//! Everything in here can be thrown away: it is read from the cluster again when somebody asks.

mod awaited;
mod feed;
mod seats;
mod showtime;

use crate::backend::Backend;
use crate::config::GatewayConfig;
use crate::error::Problem;
use crate::layout::Layout;
use crate::metrics::Metrics;
pub(crate) use awaited::Fact;
use feed::Feed;
use lru::LruCache;
use parking_lot::Mutex;
pub(crate) use showtime::{Showtime, ShowtimeInfo, no_such_showtime};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use vestibule_engine::{
    DirectoryAnswer, DirectoryQuery, GroupId, HoldId, ShowtimeId, ShowtimeState, TicketId, VenueId, VenueRecord,
};

/// Showtimes known not to exist are remembered for this long, so that wild guesses do not reach the directory.
const ABSENT_AGE_MAX: Duration = Duration::from_secs(1);
const ABSENT_MAX: usize = 10_000;
/// Tickets whose last change through this gateway is remembered.
const POSITIONS_MAX: usize = 200_000;
/// Holds whose showtime is remembered.
const HOLDS_MAX: usize = 100_000;
/// How often the number of groups is asked for at most when somebody names one that is not known.
const GROUPS_AGE_MIN: Duration = Duration::from_secs(1);

/// The memory of a gateway.
pub(crate) struct Mirror {
    backend: Backend,
    config: Arc<GatewayConfig>,
    metrics: Metrics,
    showtimes: Mutex<LruCache<ShowtimeId, Arc<Showtime>>>,
    absent: Mutex<LruCache<ShowtimeId, Instant>>,
    layouts: Mutex<LruCache<VenueId, Arc<Layout>>>,
    loading: tokio::sync::Mutex<()>,
    feeds: Mutex<BTreeMap<GroupId, Feed>>,
    groups: Mutex<Option<(u32, Instant)>>,
    /// The log index of the last change of a ticket made through this gateway.
    positions: Mutex<LruCache<TicketId, u64>>,
    /// In which showtimes the holds are that were made through this gateway.
    holds: Mutex<LruCache<HoldId, ShowtimeId>>,
}

fn bounded<K: std::hash::Hash + Eq, V>(max: usize) -> Mutex<LruCache<K, V>> {
    Mutex::new(LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN)))
}

impl Mirror {
    pub(crate) fn new(backend: Backend, config: Arc<GatewayConfig>, metrics: Metrics) -> Self {
        Self {
            backend,
            metrics,
            showtimes: bounded(config.showtimes_max),
            absent: bounded(ABSENT_MAX),
            layouts: bounded(config.layouts_max),
            loading: tokio::sync::Mutex::new(()),
            feeds: Mutex::default(),
            groups: Mutex::new(None),
            positions: bounded(POSITIONS_MAX),
            holds: bounded(HOLDS_MAX),
            config,
        }
    }

    /// A showtime that is on sale, or was.
    pub(crate) async fn showtime(&self, id: ShowtimeId) -> Result<Arc<Showtime>, Problem> {
        if let Some(showtime) = self.showtimes.lock().get(&id) {
            return Ok(Arc::clone(showtime));
        }
        if self.absent.lock().get(&id).is_some_and(|since| since.elapsed() < ABSENT_AGE_MAX) {
            return Err(no_such_showtime());
        }
        // One at a time: a rush on a showtime nobody asked for before loads it once.
        let _turn = self.loading.lock().await;
        if let Some(showtime) = self.showtimes.lock().get(&id) {
            return Ok(Arc::clone(showtime));
        }
        let on_sale = |answer| match answer {
            DirectoryAnswer::Showtime(found) => found.filter(|record| record.state != ShowtimeState::Provisioning),
            _ => None,
        };
        let Some((record, _)) = self.backend.find_in_directory(&DirectoryQuery::Showtime(id), on_sale).await? else {
            self.absent.lock().put(id, Instant::now());
            return Err(no_such_showtime());
        };
        let layout = self.layout(record.venue).await?;
        let (backend, config) = (self.backend.clone(), Arc::clone(&self.config));
        let showtime = Showtime::new(ShowtimeInfo::from(&*record), layout, backend, config);
        self.showtimes.lock().put(id, Arc::clone(&showtime));
        Ok(showtime)
    }

    /// The layout of a venue.
    pub(crate) async fn layout(&self, venue: VenueId) -> Result<Arc<Layout>, Problem> {
        if let Some(layout) = self.layouts.lock().get(&venue) {
            return Ok(Arc::clone(layout));
        }
        let pick = |answer| match answer {
            DirectoryAnswer::Venue(found) => found,
            _ => None,
        };
        let found = self.backend.find_in_directory(&DirectoryQuery::Venue(venue), pick).await?;
        let (record, _) = found.ok_or_else(|| Problem::not_found("no_such_venue", "there is no such venue"))?;
        Ok(self.keep_layout(&record))
    }

    /// The layout of a venue has changed: it is asked for anew.
    pub(crate) fn forget_layout(&self, venue: VenueId) {
        self.layouts.lock().pop(&venue);
    }

    fn keep_layout(&self, record: &VenueRecord) -> Arc<Layout> {
        let layout = Arc::new(Layout::new(record));
        self.layouts.lock().put(record.venue, Arc::clone(&layout));
        layout
    }

    /// A showtime whose seats are in memory.
    pub(crate) async fn seats(&self, id: ShowtimeId) -> Result<Arc<Showtime>, Problem> {
        let showtime = self.showtime(id).await?;
        if showtime.start_following() {
            let group = showtime.group();
            let mut feeds = self.feeds.lock();
            let feed =
                feeds.entry(group).or_insert_with(|| Feed::start(group, self.backend.clone(), self.metrics.clone()));
            if !feed.follow(Arc::clone(&showtime)) {
                let feed = Feed::start(group, self.backend.clone(), self.metrics.clone());
                feed.follow(Arc::clone(&showtime));
                feeds.insert(group, feed);
            }
        }
        showtime.seats_ready(self.config.read_patience).await?;
        Ok(showtime)
    }

    /// This gateway has made a hold.
    pub(crate) fn hold_made(&self, hold: HoldId, showtime: &Showtime) {
        self.holds.lock().put(hold, showtime.id());
        showtime.answered(Fact::Held(hold));
    }

    /// This gateway has given a hold back.
    pub(crate) fn hold_released(&self, hold: HoldId) {
        let showtime = self.holds.lock().pop(&hold);
        let showtime = showtime.and_then(|id| self.showtimes.lock().get(&id).cloned());
        if let Some(showtime) = showtime {
            showtime.answered(Fact::Released(hold));
        }
    }

    /// Refuses a group that does not exist: nobody could answer for it.
    pub(crate) async fn check_group(&self, group: GroupId, absent: fn() -> Problem) -> Result<(), Problem> {
        if group == GroupId::DIRECTORY {
            return Err(absent());
        }
        let known = *self.groups.lock();
        let (mut count, age) = known.map_or((0, Duration::MAX), |(count, at)| (count, at.elapsed()));
        if group.0 > count && age > GROUPS_AGE_MIN {
            let enough = |answer| match answer {
                DirectoryAnswer::Groups(groups) => {
                    groups.iter().map(|record| record.group.0).max().filter(|last| *last >= group.0)
                }
                _ => None,
            };
            let found = self.backend.find_in_directory(&DirectoryQuery::Groups, enough).await?;
            count = found.map_or(count, |(last, _)| last);
            *self.groups.lock() = Some((count, Instant::now()));
        }
        if group.0 > count { Err(absent()) } else { Ok(()) }
    }

    /// Remembers that a ticket was changed through this gateway.
    pub(crate) fn ticket_changed(&self, ticket: TicketId, index: u64) {
        let mut positions = self.positions.lock();
        let index = positions.get(&ticket).map_or(index, |&known| known.max(index));
        positions.put(ticket, index);
    }

    /// The log index of the last change of a ticket made through this gateway, 0 if there was none.
    pub(crate) fn ticket_position(&self, ticket: TicketId) -> u64 {
        self.positions.lock().get(&ticket).copied().unwrap_or(0)
    }

    /// Brings the figures about this memory up to date.
    pub(crate) fn measure(&self) {
        let age = self.feeds.lock().values().map(Feed::age).max().unwrap_or_default();
        self.metrics.mirror(age, self.showtimes.lock().len());
    }
}

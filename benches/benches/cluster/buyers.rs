//! Showtimes, and buyers who hold their seats and give them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vestibule_engine::*;
use vestibule_raft::cluster::{Cluster, ProposeError};

/// Seats of a showtime: more than there ever are buyers.
const ROWS: usize = 200;
const ACROSS: usize = 100;
/// How long a request may take, leaders lost and found again included.
const PATIENCE: Duration = Duration::from_secs(30);

/// A house of one category.
pub(crate) fn house() -> Arc<SeatMap> {
    let seat = |row: usize, number: usize| Seat {
        number: number.to_string(),
        guid: format!("{row}-{number}"),
        x: number as i32 * 500,
        y: row as i32 * 900,
        category: CategoryId(0),
        flags: 0,
    };
    let row =
        |row: usize| SeatRow { name: row.to_string(), seats: (1..=ACROSS).map(|number| seat(row, number)).collect() };
    let section = Section { name: "Stalls".into(), rows: (1..=ROWS).map(row).collect() };
    let category = Category { name: "Stalls".into(), color: String::new() };
    Arc::new(SeatMap::new("Bench".into(), vec![category], vec![section], Vec::new()).expect("a sound plan"))
}

/// Puts a showtime on sale in a group, without a line.
pub(crate) async fn open_showtime(cluster: &dyn Cluster, group: GroupId) -> ShowtimeId {
    let showtime = ShowtimeId::new(group, 1);
    let sale = Sale { method: Method::Passthrough, opens_at: Some(Timestamp(1)), ..Sale::default() };
    let command = ShardCommand::CreateShowtime(CreateShowtime {
        showtime,
        organisation: OrganisationId(1),
        seat_map: house(),
        prices: vec![Money { amount: 5_000, currency: Currency(*b"EUR") }],
        sale,
        draw_secret: [7; 32],
    });
    let envelope = Envelope { request: Some(next_request()), command };
    let (reply, _) = cluster.propose::<Shard>(group, &envelope, PATIENCE).await.expect("the group answers");
    reply.result.expect("the showtime is new");
    showtime
}

/// A request id that no other run of a program uses.
pub(crate) fn next_request() -> RequestId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    RequestId((time << 40 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// A buyer who wants one seat, holds it and gives it back.
pub(crate) struct Buyer {
    cluster: Arc<dyn Cluster>,
    showtime: ShowtimeId,
    number: u32,
}

impl Buyer {
    /// Buyer number `number` of a showtime. Those of one showtime do not want the same seats.
    pub(crate) fn new(cluster: Arc<dyn Cluster>, showtime: ShowtimeId, number: u32) -> Self {
        assert!((number as usize) < ROWS * ACROSS, "there is a seat for everybody");
        Self { cluster, showtime, number }
    }

    /// Holds the seat; gives the hold, and how long that took.
    pub(crate) async fn hold(&self) -> Result<(HoldId, Duration), ProposeError> {
        let command = ShardCommand::HoldSeats(HoldSeats {
            showtime: self.showtime,
            user: UserId(u128::from(self.number) + 1),
            ticket: None,
            channel: None,
            choice: SeatChoice::Named(vec![SeatId(self.number)]),
        });
        let (outcome, took) = self.ask(command).await?;
        match outcome {
            Outcome::Held { hold } => Ok((hold.hold, took)),
            other => panic!("a hold was answered by {other:?}"),
        }
    }

    /// Gives the seat back; gives how long that took.
    pub(crate) async fn release(&self, hold: HoldId) -> Result<Duration, ProposeError> {
        let release = ReleaseHold { hold, user: UserId(u128::from(self.number) + 1) };
        Ok(self.ask(ShardCommand::ReleaseHold(release)).await?.1)
    }

    async fn ask(&self, command: ShardCommand) -> Result<(Outcome, Duration), ProposeError> {
        let begun = Instant::now();
        let envelope = Envelope { request: Some(next_request()), command };
        let (reply, _) = self.cluster.propose::<Shard>(self.showtime.group(), &envelope, PATIENCE).await?;
        let outcome = reply.result.unwrap_or_else(|refusal| panic!("nobody else wants the seat: {refusal}"));
        Ok((outcome, begun.elapsed()))
    }
}

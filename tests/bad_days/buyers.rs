//! A crowd that writes down everything it was told, and looks for all of it when the bad day is over.

use crate::support::{Cluster, PATIENCE, eventually};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vestibule_client::{
    Client, Error, Hold, HoldRequest, IdempotencyKey, Order, OrderState, PaymentStatus, PricedSeat, SeatState,
    Settings, Token,
};

/// Buyers who are busy at the same time.
const BUYERS: usize = 8;
/// How long a buyer rests when nobody serves it, and the next one waits before it comes: the house has to last.
const REST: Duration = Duration::from_millis(100);

/// One seat that somebody was told is theirs.
struct Purchase {
    guest: Token,
    hold: Hold,
    /// With whether it was paid.
    order: Option<(Order, bool)>,
}

/// What the buyers share.
struct Stall {
    client: Client,
    showtime: String,
    seats: Vec<String>,
    next: AtomicUsize,
    /// Purchases made for the test itself, of seats from the other end of the house.
    extra: Mutex<Vec<Purchase>>,
    acknowledged: AtomicUsize,
    closing: AtomicBool,
}

/// Buyers at work, on a thread of their own. Each takes seats that nobody else wants, so that every refusal is a fault.
pub(crate) struct Crowd {
    urls: Vec<String>,
    stall: Arc<Stall>,
    thread: JoinHandle<Vec<Purchase>>,
}

impl Crowd {
    /// Lets them at a showtime without a line.
    pub(crate) fn start(cluster: &Cluster, showtime: &str) -> Self {
        let settings = Settings { attempt_timeout: Duration::from_secs(10), ..Settings::default() };
        let client = Client::new(cluster.urls(), settings, 5).expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let id = showtime.into();
        let seats = runtime.block_on(insist("look", || client.seats(&id, None))).states;
        let stall = Arc::new(Stall {
            client,
            showtime: showtime.to_owned(),
            seats: seats.into_keys().collect(),
            next: AtomicUsize::new(0),
            extra: Mutex::default(),
            acknowledged: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let shared = stall.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let buyers: Vec<_> = (0..BUYERS).map(|_| tokio::spawn(buy(shared.clone()))).collect();
                let mut purchases = Vec::new();
                for buyer in buyers {
                    purchases.extend(buyer.await.expect("no buyer was told anything wrong"));
                }
                purchases
            })
        });
        Self { urls: cluster.urls(), stall, thread }
    }

    /// Waits until this many more answers have come.
    pub(crate) fn goes_on(&self, more: usize) {
        let target = self.stall.acknowledged.load(Ordering::SeqCst) + more;
        eventually("the crowd is served", || {
            assert!(!self.thread.is_finished(), "the crowd has ended before its time");
            (self.stall.acknowledged.load(Ordering::SeqCst) >= target).then_some(())
        });
    }

    /// Has one more buyer hold one more seat, and gives the hold's id once it is acknowledged.
    pub(crate) fn hold_one(&self) -> String {
        let Stall { seats, showtime, extra, .. } = &*self.stall;
        let mut extra = extra.lock().expect("no holder of this lock panics");
        let seat = seats.iter().rev().nth(extra.len()).expect("the house is large enough for the test");
        let key = IdempotencyKey::new(format!("extra-{}", extra.len())).expect("a key");
        let (wish, showtime) = (HoldRequest::Seats { seats: vec![seat.clone()] }, showtime.as_str().into());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (guest, hold) = runtime.block_on(async {
            // Connections belong to the runtime that made them.
            let client = Client::new(&self.urls, Settings::default(), 7).expect("a client");
            let guest = insist("guest", || client.guest()).await.access_token;
            let hold = insist("hold", || client.hold(&guest, &showtime, &wish, &key)).await;
            (guest, hold)
        });
        let id = hold.hold_id.to_string();
        extra.push(Purchase { guest, hold, order: None });
        id
    }

    /// Lets everybody finish what they are at.
    pub(crate) fn finish(self) -> Books {
        self.stall.closing.store(true, Ordering::SeqCst);
        let mut purchases = self.thread.join().expect("no buyer was told anything wrong");
        purchases.append(&mut self.stall.extra.lock().expect("no holder of this lock panics"));
        Books { purchases, stall: self.stall }
    }
}

/// One buyer after another: every fourth only holds, another one only orders, the others pay.
async fn buy(stall: Arc<Stall>) -> Vec<Purchase> {
    let mut purchases = Vec::new();
    let client = &stall.client;
    let told = || stall.acknowledged.fetch_add(1, Ordering::SeqCst);
    while !stall.closing.load(Ordering::SeqCst) {
        let number = stall.next.fetch_add(1, Ordering::SeqCst);
        let seat = stall.seats.get(number).expect("the house is large enough for the test");
        let key = |step: &str| IdempotencyKey::new(format!("{step}-{number}")).expect("a key");
        let guest = insist("guest", || client.guest()).await.access_token;
        let wish = HoldRequest::Seats { seats: vec![seat.clone()] };
        let showtime = stall.showtime.as_str().into();
        let hold_key = key("hold");
        let hold = insist("hold", || client.hold(&guest, &showtime, &wish, &hold_key)).await;
        assert_eq!(names(&hold.seats), [seat]);
        told();
        let mut order = None;
        let steps = number % 4;
        if steps > 0 {
            let order_key = key("order");
            let placed = insist("order", || client.order(&guest, &hold.hold_id, "ann@example.org", &order_key)).await;
            told();
            if steps > 1 {
                let pay_key = key("pay");
                let paid = insist("pay", || client.pay(&guest, &placed.order_id, "tok_ok", &pay_key)).await;
                assert_eq!(paid.status, PaymentStatus::Succeeded, "{number}");
                told();
            }
            order = Some((placed, steps > 1));
        }
        purchases.push(Purchase { guest, hold, order });
        tokio::time::sleep(REST).await;
    }
    purchases
}

/// Asks until there is an answer, which must not be a refusal.
async fn insist<T, F: Future<Output = Result<T, Error>>>(step: &str, mut call: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) if error.is_worth_repeating() || error.is_outcome_unknown() => {
                assert!(Instant::now() < deadline, "{step}: not within {PATIENCE:?}: {error}");
            }
            Err(error) => panic!("{step}: {error}"),
        }
        tokio::time::sleep(REST).await;
    }
}

fn names(seats: &[PricedSeat]) -> Vec<&str> {
    seats.iter().map(|seat| &*seat.id).collect()
}

/// What the crowd was told.
pub(crate) struct Books {
    stall: Arc<Stall>,
    purchases: Vec<Purchase>,
}

impl Books {
    /// Finds everything that was acknowledged, and nothing that was not.
    pub(crate) fn check(&self, cluster: &Cluster) {
        assert!(self.purchases.len() > BUYERS, "only {} buyers were served", self.purchases.len());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Through whichever gateways there are now.
        let client = Client::new(cluster.urls(), Settings::default(), 6).expect("a client");
        runtime.block_on(async {
            let all = futures::stream::iter(&self.purchases);
            all.for_each_concurrent(BUYERS, |purchase| find(&client, purchase)).await;
            self.count(&client).await;
        });
        eprintln!("{} purchases were acknowledged, and all of them found", self.purchases.len());
    }

    /// Whether the house agrees: seats that were paid are sold, seats that were held are held, all others are free.
    async fn count(&self, client: &Client) {
        let free = self.stall.seats.iter().map(|seat| (seat.clone(), SeatState::Available));
        let mut expected: BTreeMap<String, SeatState> = free.collect();
        for Purchase { hold, order, .. } in &self.purchases {
            let is_paid = matches!(order, Some((_, true)));
            let state = if is_paid { SeatState::Sold } else { SeatState::Held };
            expected.extend(names(&hold.seats).into_iter().map(|seat| (seat.to_owned(), state)));
        }
        let showtime = self.stall.showtime.as_str().into();
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A replica that is catching up may answer: what is lost never comes, what is late does.
            let found = insist("look again", || client.seats(&showtime, None)).await.states;
            let wrong = expected.iter().find(|(seat, state)| found.get(*seat) != Some(*state));
            let Some((seat, state)) = wrong else { return };
            assert!(Instant::now() < deadline, "seat {seat} is {:?}, not {state:?}", found.get(seat));
            tokio::time::sleep(REST).await;
        }
    }
}

/// Finds what one buyer was told.
async fn find(client: &Client, purchase: &Purchase) {
    let Purchase { guest, hold, order } = purchase;
    let Some((order, is_paid)) = order else {
        let found = insist("hold again", || client.get_hold(guest, &hold.hold_id)).await;
        assert_eq!((&found.hold_id, &found.seats), (&hold.hold_id, &hold.seats));
        return;
    };
    let expected = if *is_paid { OrderState::Completed } else { OrderState::PendingPayment };
    let found = insist("order again", || client.get_order(guest, &order.order_id)).await;
    assert_eq!(found.state, expected, "{order:?}");
    assert_eq!(found.seats, hold.seats, "{order:?}");
}

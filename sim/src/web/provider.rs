//! The payment provider of a run: one for all gateways, and it goes on when they die. It is slow at times, takes money and does
//! not say so, or neither takes it nor says anything. Of whatever it decided it tells the cluster later, as webhooks do: the
//! gateway that heard the answer may have died with it. Gateways have no webhooks yet, so it tells through a client of the
//! cluster. Once a run closes it answers at once and loses nothing.
//!
//! ```text
//!   gateway ──charge──▶ SimProvider ──▶ Books ──▶ notify ──RecordPayment──▶ cluster
//! ```

use super::visits::{Charged, Visits};
use crate::dice::Dice;
use crate::trace::Trace;
use crate::workload::{Client, Shop, Stage};
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use vestibule_engine::{PaymentId, PaymentOutcome, RecordPayment, ShardCommand};
use vestibule_gateway::{Charge, ChargeError, PaymentProvider, Sandbox};

/// As whom it tells.
pub const NAME: &str = "provider";

/// How long a charge takes on its way there, and back, in milliseconds, when it is not slow.
const USUAL_MAX: u64 = 50;

/// How reliable the provider is.
#[derive(Debug, Clone, Default)]
pub struct ProviderOptions {
    /// How many charges in a hundred it decides without giving an answer.
    pub lost: u64,
    /// How many in a hundred it loses before it decides them.
    pub missed: u64,
    /// How many in a hundred are slow.
    pub slow: u64,
    /// How long a slow one takes on its way there, and back, in milliseconds. May be more than gateways and clients wait.
    pub slow_max: u64,
    /// How long after a charge it tells of it, in milliseconds.
    pub notice_max: u64,
    /// How many notices in a hundred it sends again.
    pub again: u64,
}

impl ProviderOptions {
    /// Draws them: far worse than any provider is, as a run has but a few charges.
    pub fn draw(dice: &mut Dice) -> Self {
        Self {
            lost: *dice.pick(&[10, 30, 60]),
            missed: *dice.pick(&[5, 20]),
            slow: *dice.pick(&[10, 40]),
            slow_max: *dice.pick(&[500, 2_000, 12_000]),
            notice_max: *dice.pick(&[200, 3_000, 12_000]),
            again: *dice.pick(&[5, 30]),
        }
    }
}

impl fmt::Display for ProviderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, missed, slow, slow_max, notice_max, again } = self;
        write!(
            f,
            "{lost} % of charges unanswered, {missed} % missed, {slow} % slow by up to {slow_max} ms each way; notices after up to {notice_max} ms, {again} % again"
        )
    }
}

/// What the provider has decided, and of what it has yet to tell. Clones share it.
#[derive(Clone)]
pub(super) struct Books {
    trace: Trace,
    visits: Visits,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    charges: BTreeMap<PaymentId, Charged>,
    /// When to tell of what.
    notices: Vec<(Duration, Charged)>,
    is_closed: bool,
}

impl Books {
    /// Empty ones. What comes into them is shown in `visits`.
    pub(super) fn new(trace: Trace, visits: Visits) -> Self {
        Self { trace, visits, inner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// Decides a charge, and tells of it after so long. One that is known already is not made again, whatever it is for: it is
    /// what it was. Gives what it is; nothing once the books are closed.
    fn decide(&self, charged: Charged, notice_after: Duration) -> Option<PaymentOutcome> {
        let mut inner = self.lock();
        if inner.is_closed {
            return None;
        }
        let known = inner.charges.get(&charged.payment).copied();
        if known.is_none() {
            inner.charges.insert(charged.payment, charged);
            inner.notices.push((self.trace.now() + notice_after, charged));
        }
        drop(inner);
        let outcome = known.map_or(charged.outcome, |known| known.outcome);
        let asked = Charged { outcome, ..charged };
        if known != Some(asked) {
            self.visits.note_charge(NAME, asked);
        }
        Some(outcome)
    }

    fn add_notice(&self, charged: Charged, after: Duration) {
        self.lock().notices.push((self.trace.now() + after, charged));
    }

    /// What is to be told by now, or all there is.
    fn take_due(&self, all: bool) -> Vec<Charged> {
        let now = self.trace.now();
        let due = self.lock().notices.extract_if(.., |(at, _)| all || *at <= now).collect::<Vec<_>>();
        due.into_iter().map(|(_, charged)| charged).collect()
    }

    /// Nothing is decided any more, if everything was told.
    fn close(&self) -> bool {
        let mut inner = self.lock();
        inner.is_closed = inner.notices.is_empty();
        inner.is_closed
    }
}

/// The provider as one gateway reaches it.
pub(super) struct SimProvider {
    options: ProviderOptions,
    shop: Shop,
    dice: Mutex<Dice>,
}

/// What becomes of one charge.
struct Fate {
    way_there: Duration,
    way_back: Duration,
    is_missed: bool,
    is_lost: bool,
    notice_after: Duration,
}

impl SimProvider {
    /// One that keeps the books of this shop.
    pub(super) fn new(options: ProviderOptions, shop: Shop, dice: Dice) -> Self {
        Self { options, shop, dice: Mutex::new(dice) }
    }

    fn draw(&self) -> Fate {
        let reliable = ProviderOptions::default();
        let options = if self.shop.stage() >= Stage::Closing { &reliable } else { &self.options };
        let mut dice = self.dice.lock().expect("no holder of this lock panics");
        let way_max = if dice.percent(options.slow) { options.slow_max } else { USUAL_MAX };
        Fate {
            way_there: dice.millis(0..=way_max),
            way_back: dice.millis(0..=way_max),
            is_missed: dice.percent(options.missed),
            is_lost: dice.percent(options.lost),
            notice_after: dice.millis(0..=options.notice_max),
        }
    }
}

impl PaymentProvider for SimProvider {
    fn charge<'a>(&'a self, charge: Charge<'a>) -> BoxFuture<'a, Result<PaymentOutcome, ChargeError>> {
        Box::pin(async move {
            let fate = self.draw();
            // Its cards mean here what they mean there.
            let outcome = Sandbox.charge(charge).await?;
            tokio::time::sleep(fate.way_there).await;
            let Charge { payment, order, amount, .. } = charge;
            let decided = if fate.is_missed {
                None
            } else {
                self.shop.web.books.decide(Charged { payment, order, amount, outcome }, fate.notice_after)
            };
            tokio::time::sleep(fate.way_back).await;
            decided.filter(|_| !fate.is_lost).ok_or(ChargeError::NoAnswer)
        })
    }
}

/// Tells the cluster of everything that was decided, until visitors have made an end and nothing is left to tell.
pub(super) async fn notify(client: &Client, options: &ProviderOptions, shop: &Shop, mut dice: Dice) {
    let books = &shop.web.books;
    loop {
        // Money that has to go back is given back when everybody has made an end: it is told of before.
        let is_closing = shop.stage() >= Stage::Closing;
        let due = books.take_due(is_closing);
        if due.is_empty() && is_closing && shop.web.is_last() && books.close() {
            return;
        }
        futures::future::join_all(due.iter().map(|charged| tell(client, *charged))).await;
        if !is_closing {
            for charged in due {
                if dice.percent(options.again) {
                    books.add_notice(charged, dice.millis(0..=options.notice_max));
                }
            }
        }
        pause().await;
    }
}

async fn tell(client: &Client, charged: Charged) {
    let Charged { payment, order, amount, outcome } = charged;
    let notice = ShardCommand::RecordPayment(RecordPayment { order, payment, outcome, amount });
    while client.shard(order.group(), notice.clone()).await.is_none() {
        pause().await;
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[cfg(test)]
mod tests {
    use super::super::visits::Event;
    use super::*;
    use crate::history::History;
    use vestibule_engine::{Currency, GroupId, Money, OrderId};

    const ORDER: OrderId = OrderId::new(GroupId(1), 1);
    const AMOUNT: Money = Money { amount: 2_500, currency: Currency(*b"EUR") };

    fn shop() -> Shop {
        Shop::new(History::new(Trace::default()))
    }

    fn seen(books: &Books) -> Vec<Charged> {
        let charged = |event| match event {
            Event::Charged(charged) => Some(charged),
            _ => None,
        };
        books.visits.since(0).into_iter().filter_map(charged).collect()
    }

    fn provider(shop: &Shop, options: ProviderOptions, name: &str) -> SimProvider {
        SimProvider::new(options, shop.clone(), Dice::new(1, name))
    }

    fn charge(card: &str) -> Charge<'_> {
        Charge { payment: PaymentId(7), order: ORDER, amount: AMOUNT, card }
    }

    #[tokio::test(start_paused = true)]
    async fn a_charge_is_made_once_whichever_gateway_asks() {
        let shop = shop();
        let books = &shop.web.books;
        let (one, other) = (provider(&shop, ProviderOptions::default(), "1"), provider(&shop, Default::default(), "2"));
        assert_eq!(one.charge(charge("tok_ok")).await, Ok(PaymentOutcome::Succeeded));
        drop(one);
        assert_eq!(other.charge(charge("tok_ok")).await, Ok(PaymentOutcome::Succeeded));
        assert_eq!(
            other.charge(charge("tok_declined")).await,
            Ok(PaymentOutcome::Succeeded),
            "it gives the first answer"
        );
        assert_eq!(seen(books).len(), 1);
        assert_eq!(books.take_due(true).len(), 1, "it is told once");
        let more = Charge { amount: Money { amount: 1, ..AMOUNT }, ..charge("tok_ok") };
        assert_eq!(other.charge(more).await, Ok(PaymentOutcome::Succeeded));
        assert_eq!(seen(books).len(), 2, "another sum under the same id is shown");
        assert_eq!(books.take_due(true), [], "but is not taken");
    }

    #[tokio::test(start_paused = true)]
    async fn cards_mean_what_they_mean_in_the_sandbox() {
        let shop = shop();
        let provider = provider(&shop, ProviderOptions::default(), "1");
        assert_eq!(provider.charge(charge("tok_other")).await, Err(ChargeError::UnknownCard));
        assert_eq!(seen(&shop.web.books), []);
        assert_eq!(provider.charge(charge("tok_declined")).await, Ok(PaymentOutcome::Failed));
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_says_nothing_about_the_money() {
        let shop = shop();
        let books = &shop.web.books;
        let missed = provider(&shop, ProviderOptions { missed: 100, ..Default::default() }, "1");
        assert_eq!(missed.charge(charge("tok_ok")).await, Err(ChargeError::NoAnswer));
        assert_eq!(seen(books), []);
        let lost = provider(&shop, ProviderOptions { lost: 100, ..Default::default() }, "2");
        assert_eq!(lost.charge(charge("tok_ok")).await, Err(ChargeError::NoAnswer));
        assert_eq!(seen(books).len(), 1);
        assert!(!books.close(), "it has to be told");
        assert_eq!(books.take_due(true), seen(books));
        assert!(books.close());
        let other = Charge { payment: PaymentId(8), ..charge("tok_ok") };
        assert_eq!(missed.charge(other).await, Err(ChargeError::NoAnswer));
        assert_eq!(seen(books).len(), 1, "nothing is taken any more");
    }

    #[tokio::test(start_paused = true)]
    async fn once_a_run_closes_every_charge_is_answered_at_once() {
        let shop = shop();
        let bad = ProviderOptions { lost: 100, missed: 100, slow: 100, slow_max: 12_000, ..Default::default() };
        let provider = provider(&shop, bad, "1");
        assert_eq!(provider.charge(charge("tok_ok")).await, Err(ChargeError::NoAnswer));
        shop.set_stage(Stage::Closing);
        let asked = tokio::time::Instant::now();
        assert_eq!(provider.charge(charge("tok_ok")).await, Ok(PaymentOutcome::Succeeded));
        assert!(asked.elapsed() <= Duration::from_millis(2 * USUAL_MAX), "{:?}", asked.elapsed());
    }
}

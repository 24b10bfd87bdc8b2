//! What those know who come over HTTP: what they asked, when, and what came back; and what the payment provider took. Nothing
//! else is in here: not what a gateway did about it, and not what the cluster says.

use crate::trace::Trace;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use vestibule_client::{OrderState, PaymentStatus, SeatState, TicketState};
use vestibule_engine::{
    DrawBundle, HoldId, Money, OrderId, PaymentId, PaymentOutcome, Receipt, SeatId, ShowtimeId, TicketId, Timestamp,
    UserId,
};

/// What was asked of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// To become a guest.
    Guest,
    /// To stand in line.
    Join(ShowtimeId),
    /// How a ticket stands.
    SeeTicket(TicketId),
    /// To be let in.
    Claim(TicketId),
    /// To give a place in line up.
    Leave(TicketId),
    /// How a line stands.
    SeeLine(ShowtimeId),
    /// The seats, or what changed since a sequence.
    SeeSeats(ShowtimeId, Option<u64>),
    /// To hold seats: these, or the best there are.
    Hold(ShowtimeId, String),
    /// How a hold stands.
    SeeHold(HoldId),
    /// To hold for longer.
    Extend(HoldId),
    /// To give a hold up.
    Release(HoldId),
    /// To order what is held.
    Order(HoldId),
    /// To pay an order with a card.
    Pay(OrderId, String),
    /// To give an order up.
    Cancel(OrderId),
    /// How an order stands.
    SeeOrder(OrderId),
    /// The draw.
    SeeDraw(ShowtimeId),
    /// The proof that a ticket was drawn.
    SeeReceipt(TicketId),
    /// To give money back; only organisers may.
    Refund(OrderId),
    /// Something else that only organisers may.
    Organise(ShowtimeId, String),
    /// Whether a gateway can serve.
    SeeHealth,
    /// What no good client does.
    Offend(Offence),
}

impl Deed {
    /// Its name.
    pub fn name(&self) -> String {
        match self {
            Self::Offend(offence) => format!("{offence:?}"),
            _ => format!("{self:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether it is to change something that is sold, and not to look, nor only to come in.
    pub fn is_business(&self) -> bool {
        match self {
            Self::Join(_)
            | Self::Claim(_)
            | Self::Leave(_)
            | Self::Hold(..)
            | Self::Extend(_)
            | Self::Release(_)
            | Self::Order(_)
            | Self::Pay(..)
            | Self::Cancel(_)
            | Self::Refund(_)
            | Self::Organise(..) => true,
            Self::Guest
            | Self::SeeTicket(_)
            | Self::SeeLine(_)
            | Self::SeeSeats(..)
            | Self::SeeHold(_)
            | Self::SeeOrder(_)
            | Self::SeeDraw(_)
            | Self::SeeReceipt(_)
            | Self::SeeHealth
            | Self::Offend(_) => false,
        }
    }
}

/// What harms a gateway and those who are served by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Heads that come a byte at a time and never end.
    SlowHead,
    /// Bodies that come a byte at a time and never end.
    SlowBody,
    /// Request after request on a connection that nobody reads from.
    DeafEar,
    /// More requests at once than there is room for.
    Rush,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Who one is now.
    Guest(UserId),
    /// A ticket.
    Ticket(TicketSeen),
    /// Let in, until then.
    Admitted(Timestamp),
    /// A line.
    Line(LineSeen),
    /// The seats, with everything that this client had been told before.
    Seats(SeatsSeen),
    /// A hold.
    Hold(HoldSeen),
    /// An order.
    Order(OrderSeen),
    /// A payment, and the order it was for.
    Payment(PaymentId, PaymentStatus, OrderSeen),
    /// A draw: what was committed to, and the rest once it is published.
    Draw([u8; 32], Option<Box<DrawBundle>>),
    /// The proof that a ticket was drawn.
    Receipt(Box<Receipt>),
    /// Done, with nothing to read.
    Done,
    /// No, for a reason that has a name.
    Refused(u16, String),
    /// Perhaps.
    Unknown(String),
    /// Nothing was done, for now.
    NotDone(String),
    /// What the contract does not allow.
    Unfit(String),
    /// What became of an offence.
    Endured(Endured),
}

/// A ticket as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketSeen {
    /// Its id.
    pub ticket: TicketId,
    /// Its number, as the body says.
    pub number: u64,
    /// Its state.
    pub state: TicketState,
    /// Its place in line.
    pub place: Option<u64>,
}

/// A line as everybody sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineSeen {
    /// Of which showtime.
    pub showtime: ShowtimeId,
    /// The last event it takes account of.
    pub sequence: u64,
    /// The last place called.
    pub cursor: u64,
    /// Tickets taken.
    pub joined: u64,
    /// Tickets in the draw.
    pub entrants: u64,
}

/// Seats as a client sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatsSeen {
    /// Of which showtime.
    pub showtime: ShowtimeId,
    /// The last event they take account of.
    pub sequence: u64,
    /// Every seat.
    pub states: BTreeMap<SeatId, SeatState>,
    /// How many are available, held, sold and blocked, where the answer showed all of them.
    pub counts: Option<[u64; 4]>,
}

/// A hold as its buyer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldSeen {
    /// Its id.
    pub hold: HoldId,
    /// In which showtime.
    pub showtime: ShowtimeId,
    /// Its seats, in order.
    pub seats: Vec<SeatId>,
    /// What they cost together.
    pub total: i64,
    /// Until when it lives.
    pub expires_at: Timestamp,
}

/// An order as its buyer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSeen {
    /// Its id.
    pub order: OrderId,
    /// The hold it was made of.
    pub hold: HoldId,
    /// In which showtime.
    pub showtime: ShowtimeId,
    /// How it stands.
    pub state: OrderState,
    /// Its seats, in order.
    pub seats: Vec<SeatId>,
    /// What they cost together.
    pub total: i64,
}

/// How a gateway stood an offence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endured {
    /// How long the gateway put up with it at most, and how long it may.
    pub borne: Option<(Duration, Duration)>,
    /// Requests that were turned away, and how many have to be at least.
    pub turned_away: (u64, u64),
    /// How long after its end somebody else was served, and how long that may take. `None` if it was not, though it could
    /// have been all the time.
    pub served_after: Option<Duration>,
    /// How long that may take.
    pub served_max: Duration,
}

/// One call over HTTP. The client may have sent it several times, under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Counts visits.
    pub number: usize,
    /// Who asked.
    pub by: String,
    /// As whom, once that is known.
    pub user: Option<UserId>,
    /// Under which idempotency key.
    pub key: Option<String>,
    /// The one gateway that was asked, and its life at the beginning; nothing where any gateway may have answered.
    pub through: Option<(usize, u64)>,
    /// For what.
    pub deed: Deed,
    /// When, in simulated time.
    pub at: Duration,
}

/// A charge that the payment provider decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charged {
    /// Under which id.
    pub payment: PaymentId,
    /// What for.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
    /// Whether it took the money.
    pub outcome: PaymentOutcome,
}

/// The beginning or the end of a visit, or a charge.
#[derive(Debug, Clone)]
pub enum Event {
    /// It begins.
    Began(Arc<Visit>),
    /// It ends.
    Ended {
        /// Which.
        visit: Arc<Visit>,
        /// With what.
        said: Said,
        /// The one gateway that was asked, if it lived all the time.
        through: Option<(usize, u64)>,
        /// When, in simulated time.
        at: Duration,
    },
    /// The payment provider decided a charge, or was asked for another one under the id of one that it had decided.
    Charged(Charged),
}

/// All visits of a run. Clones share them.
#[derive(Clone)]
pub struct Visits {
    trace: Trace,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    count: usize,
    events: Vec<Event>,
}

impl Visits {
    /// None yet; they are noted in `trace` too.
    pub fn new(trace: Trace) -> Self {
        Self { trace, inner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// A visit begins; its number and its time are filled in.
    pub fn begin(&self, visit: Visit) -> Arc<Visit> {
        let mut inner = self.lock();
        let visit = Arc::new(Visit { number: inner.count, at: self.trace.now(), ..visit });
        inner.count += 1;
        inner.events.push(Event::Began(visit.clone()));
        drop(inner);
        let mut what = format!("@{} {:?}", visit.number, visit.deed);
        if let Some((gateway, _)) = visit.through {
            what += &format!(" at gateway {gateway}");
        }
        if let Some(key) = &visit.key {
            what += &format!(" under {key}");
        }
        self.trace.note(visit.by.as_str(), what);
        visit
    }

    /// A visit ends; `life` is that of the one gateway that was asked, if there was one and it runs.
    pub fn end(&self, visit: &Arc<Visit>, life: Option<u64>, said: Said) {
        let what = match &said {
            Said::Seats(SeatsSeen { sequence, counts, .. }) => format!("seats as of {sequence}, counts {counts:?}"),
            Said::Draw(_, shown) => format!("a draw of {:?}", shown.as_ref().map(|bundle| bundle.entrants)),
            Said::Receipt(receipt) => format!("a receipt of place {}", receipt.place),
            said => format!("{said:?}"),
        };
        self.trace.note(visit.by.as_str(), format!("@{}: {what}", visit.number));
        let at = self.trace.now();
        let through = visit.through.filter(|(_, before)| life == Some(*before));
        self.lock().events.push(Event::Ended { visit: visit.clone(), said, through, at });
    }

    /// The payment provider, as this name, decided a charge.
    pub fn note_charge(&self, by: &str, charged: Charged) {
        let Charged { payment, order, amount, outcome } = charged;
        self.trace.note(by, format!("{payment} of {order}, {amount:?}: {outcome:?}"));
        self.lock().events.push(Event::Charged(charged));
    }

    /// What happened since so many events.
    pub fn since(&self, count: usize) -> Vec<Event> {
        self.lock().events.get(count..).unwrap_or_default().to_vec()
    }
}

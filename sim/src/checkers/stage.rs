//! For tests of checkers: one showtime on a real machine, and puppets that stand for replicas which went wrong.

use super::replica::Replica;
use super::{AppliedEntry, Look};
use crate::history::{Answer, Ask, Call, Happening};
use crate::player::Player;
use crate::web::visits::{Deed, Event, Said, Visit};
use crate::workload::{layout, prices};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{
    AreaId, CreateShowtime, Currency, DirectoryQuery, Envelope, EventRecord, GroupId, HoldId, HoldSeats, Method, Money,
    OpenQueue, OrderId, OrganisationId, PaymentId, PaymentOutcome, PlaceOrder, RecordPayment, RequestId, Sale,
    SeatChoice, SeatId, Sequence, Shard, ShardAnswer, ShardCommand, ShardQuery, ShowtimeId, StateMachine, Timestamp,
    UserId, codec,
};
use vestibule_raft::cluster::Position;
use vestibule_raft::types::{Batch, NodeId};
use vestibule_raft::wal::{EntryBody, LogPosition};

const GROUP: GroupId = GroupId(1);

/// What a seat of the floor costs: those numbered 0 to 8.
pub(super) const PRICE: Money = Money { amount: 2_500, currency: Currency(*b"EUR") };

/// A showtime of 60 seats and some areas, whose log grows by one command an entry.
pub(super) struct Stage {
    player: Player,
    shard: Rc<RefCell<Shard>>,
    sale: Sale,
    next: u64,
    at: u64,
    last: Option<Envelope<ShardCommand>>,
}

impl Stage {
    pub(super) fn new(sale: Sale) -> Self {
        let shard = Rc::new(RefCell::new(Shard::new(GROUP)));
        let mut player = Player::default();
        let position = LogPosition { term: 1, node: 1, index: 0 };
        let first = AppliedEntry { node: 1, group: GROUP, position, body: EntryBody::Blank };
        player.play(&[first]).expect("it has nothing to decode");
        Self { player, shard, sale, next: 1, at: 1, last: None }
    }

    /// One at which whoever asks may hold.
    pub(super) fn without_line() -> Self {
        Self::new(Sale { method: Method::Passthrough, ..Sale::default() })
    }

    pub(super) fn group(&self) -> GroupId {
        GROUP
    }

    pub(super) fn showtime(&self) -> ShowtimeId {
        ShowtimeId::new(GROUP, 1)
    }

    /// From now on commands come at this log time.
    pub(super) fn set_time(&mut self, at: u64) {
        self.at = at;
    }

    pub(super) fn run(&mut self, command: ShardCommand) -> Look {
        let envelope = Envelope { request: Some(RequestId(u128::from(self.next))), command };
        self.apply(envelope)
    }

    /// The last command, asked again under its id.
    pub(super) fn repeat(&mut self) -> Look {
        let envelope = self.last.clone().expect("something was asked");
        self.apply(envelope)
    }

    fn apply(&mut self, envelope: Envelope<ShardCommand>) -> Look {
        let index = self.next;
        self.next += 1;
        self.last = Some(envelope.clone());
        let batch = Batch::new(Timestamp(self.at), &[codec::encode(&envelope).into()]);
        self.shard.borrow_mut().apply(Timestamp(self.at), std::slice::from_ref(&envelope));
        let position = LogPosition { term: 1, node: 1, index };
        let body = EntryBody::Batch(batch.bytes().clone());
        let applied = vec![AppliedEntry { node: 1, group: GROUP, position, body }];
        let played = self.player.play(&applied).expect("it decodes");
        let reply = played[0].commands[0].reply.clone();
        let (ask, request) = (Ask::Shard(Box::new(envelope.command)), envelope.request.unwrap_or(RequestId(0)));
        let number = usize::try_from(index).expect("tests are short");
        let at = Duration::from_millis(self.at).saturating_sub(crate::clock::EPOCH);
        let call = Arc::new(Call { number, by: String::new(), group: GROUP, request, ask, at });
        let answer = Answer::Reply(reply, Position { term: 1, index });
        let happenings = vec![Happening::Called(call.clone()), Happening::Answered { call, answer, at }];
        Look { at, applied, happenings, played, ..Look::default() }
    }

    pub(super) fn tick(&mut self, at: u64) -> Look {
        self.at = at;
        self.run(ShardCommand::Tick)
    }

    pub(super) fn create(&mut self) -> Look {
        let seat_map = Arc::new(layout(60));
        let prices = prices(&seat_map);
        let (showtime, sale) = (self.showtime(), self.sale.clone());
        let organisation = OrganisationId(1);
        self.run(ShardCommand::CreateShowtime(CreateShowtime {
            showtime,
            organisation,
            seat_map,
            prices,
            sale,
            draw_secret: [5; 32],
        }))
    }

    /// Puts the showtime on sale and opens its line, all in one look.
    pub(super) fn open(&mut self) -> Look {
        let created = self.create();
        let showtime = self.showtime();
        let opened = self.run(ShardCommand::OpenQueue(OpenQueue { showtime }));
        joined([created, opened])
    }

    pub(super) fn hold(&mut self, user: UserId, seats: &[SeatId]) -> Look {
        self.choose(user, SeatChoice::Named(seats.to_vec()))
    }

    /// Places of an area.
    pub(super) fn hold_area(&mut self, user: UserId, area: AreaId, quantity: u32) -> Look {
        self.choose(user, SeatChoice::Area { area, quantity })
    }

    /// Strangers hold all places of all areas.
    pub(super) fn fill_areas(&mut self) -> Look {
        joined([(201, 0), (202, 0), (203, 1)].map(|(user, area)| self.hold_area(UserId(user), AreaId(area), 6)))
    }

    fn choose(&mut self, user: UserId, choice: SeatChoice) -> Look {
        let showtime = self.showtime();
        self.run(ShardCommand::HoldSeats(HoldSeats { showtime, user, ticket: None, channel: None, choice }))
    }

    pub(super) fn place(&mut self, user: UserId, hold: u64) -> Look {
        let email = "ann@example.org".to_owned();
        self.run(ShardCommand::PlaceOrder(PlaceOrder { hold: HoldId::new(GROUP, hold), user, email }))
    }

    pub(super) fn pay(&mut self, order: u64, payment: u64, amount: i64) -> Look {
        let (order, payment) = (OrderId::new(GROUP, order), PaymentId(payment));
        let (outcome, amount) = (PaymentOutcome::Succeeded, Money { amount, ..PRICE });
        self.run(ShardCommand::RecordPayment(RecordPayment { order, payment, outcome, amount }))
    }

    /// Replicas on these nodes that stand where the stage does.
    pub(super) fn replicas(&self, nodes: &[NodeId]) -> BTreeMap<(NodeId, GroupId), Rc<dyn Replica>> {
        let replica = || -> Rc<dyn Replica> { Rc::new(Faithful(self.shard.clone())) };
        nodes.iter().map(|&node| ((node, GROUP), replica())).collect()
    }
}

/// Several looks as one.
pub(super) fn joined(looks: impl IntoIterator<Item = Look>) -> Look {
    let mut all = Look::default();
    for look in looks {
        all.at = look.at;
        all.applied.extend(look.applied);
        all.happenings.extend(look.happenings);
        all.visits.extend(look.visits);
        all.played.extend(look.played);
    }
    all
}

/// Visits one after the other, each over before the next begins, a millisecond later: as whom, for what, and what was said.
pub(super) fn visited(visits: &[(Option<UserId>, Deed, Said)]) -> Look {
    let mut look = Look::default();
    for (number, (user, deed, said)) in visits.iter().enumerate() {
        let visit = Visit { number, user: *user, deed: deed.clone(), ..blank_visit() };
        look.visits.extend(visit_of(visit, said.clone()));
    }
    look
}

/// A visit of nobody for nothing.
pub(super) fn blank_visit() -> Visit {
    let (by, deed) = ("visitor-11".to_owned(), Deed::SeeHealth);
    Visit { number: 0, by, user: None, key: None, through: None, deed, at: Duration::ZERO }
}

/// The beginning and the end of a visit; its number gives the times.
pub(super) fn visit_of(visit: Visit, said: Said) -> [Event; 2] {
    let began = Duration::from_millis(2 * visit.number as u64);
    let visit = Arc::new(Visit { at: began, ..visit });
    let (through, at) = (visit.through, began + Duration::from_millis(1));
    [Event::Began(visit.clone()), Event::Ended { visit, said, through, at }]
}

/// A replica that is as it should be.
struct Faithful(Rc<RefCell<Shard>>);

impl Replica for Faithful {
    fn ask(&self, query: &ShardQuery) -> Result<ShardAnswer, String> {
        Ok(self.0.borrow().query(query))
    }

    fn ask_directory(&self, query: &DirectoryQuery) -> Result<bool, String> {
        Err(format!("this is no directory to be asked {query:?}"))
    }

    fn audit(&self) -> Result<(), String> {
        self.0.borrow().audit()
    }

    fn last_sequence(&self) -> Sequence {
        self.0.borrow().last_sequence()
    }

    fn events(&self, from: Sequence) -> Result<Vec<EventRecord>, Sequence> {
        self.0.borrow().events(from, usize::MAX)
    }

    fn log(&self, _from: u64, _to: u64) -> Result<Vec<(LogPosition, EntryBody)>, String> {
        Ok(Vec::new())
    }
}

/// A replica that says what a test tells it to.
pub(super) struct Puppet {
    pub(super) audit: Result<(), String>,
    pub(super) events: Vec<EventRecord>,
    pub(super) log: Vec<(LogPosition, EntryBody)>,
    pub(super) answer: Option<ShardAnswer>,
    /// Whether, as the directory, it knows what it is asked about.
    pub(super) knows: bool,
}

impl Default for Puppet {
    fn default() -> Self {
        Self { audit: Ok(()), events: Vec::new(), log: Vec::new(), answer: None, knows: false }
    }
}

impl Replica for Puppet {
    fn ask(&self, query: &ShardQuery) -> Result<ShardAnswer, String> {
        self.answer.clone().ok_or_else(|| format!("nobody told the puppet about {query:?}"))
    }

    fn ask_directory(&self, _query: &DirectoryQuery) -> Result<bool, String> {
        Ok(self.knows)
    }

    fn audit(&self) -> Result<(), String> {
        self.audit.clone()
    }

    fn last_sequence(&self) -> Sequence {
        self.events.last().map_or(0, |record| record.sequence)
    }

    fn events(&self, from: Sequence) -> Result<Vec<EventRecord>, Sequence> {
        Ok(self.events.iter().filter(|record| record.sequence >= from).cloned().collect())
    }

    fn log(&self, from: u64, to: u64) -> Result<Vec<(LogPosition, EntryBody)>, String> {
        Ok(self.log.iter().filter(|(position, _)| (from..to).contains(&position.index)).cloned().collect())
    }
}

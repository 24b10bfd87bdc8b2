//! What a client was told stays true: every hold, order, ticket, entry of the waitlist, payment and refund that was acknowledged is
//! found at the end on all replicas, or the log says how it ended. So are seats that were blocked, the sale as the organiser last
//! changed it, and what the directory has taken in. Calls of unknown outcome promise nothing; where one may have undone what
//! another did, nothing is demanded.

use super::{Checker, Look};
use crate::history::{Answer, Ask, Call, Happening};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::{
    DirectoryCommand, DirectoryQuery, Event, EventId, GroupId, HoldAnswer, HoldId, OfferId, OrderId, OrderState,
    Outcome, PaymentId, Reply, Sale, SeatId, ShardAnswer, ShardCommand, ShardQuery, ShowtimeId, TicketNumber, UserId,
};

/// How a blocked seat stands in [`vestibule_engine::SeatsView`].
const BLOCKED: u8 = 3;

/// A call that unblocks seats, or changes the sale if it names none.
struct Undoing {
    showtime: ShowtimeId,
    seats: Vec<SeatId>,
    /// Whether no other one for the showtime was under way meanwhile.
    is_alone: bool,
}

/// See the file's head.
#[derive(Default)]
pub struct Durability {
    holds: BTreeMap<HoldId, UserId>,
    orders: BTreeMap<OrderId, UserId>,
    /// Orders that were acknowledged as completed.
    completed: BTreeSet<OrderId>,
    payments: BTreeSet<(OrderId, PaymentId)>,
    tickets: BTreeMap<(ShowtimeId, TicketNumber), UserId>,
    waiting: BTreeMap<OfferId, UserId>,
    /// Seats that are blocked for all that the organiser knows.
    blocked: BTreeSet<(ShowtimeId, SeatId)>,
    /// What the last change of a sale made of it.
    sales: BTreeMap<ShowtimeId, Sale>,
    /// Calls without a reply that may undo what others did: they unblock these seats, or change the sale.
    undoing: BTreeMap<usize, Undoing>,
    /// What the directory was told, and must know.
    directory: Vec<(String, DirectoryQuery)>,
    /// Events of the catalogue that were taken out of it, by the log.
    deleted: BTreeSet<EventId>,
    /// Holds that ended, by the log.
    ended: BTreeSet<HoldId>,
    /// Entries of the waitlist that ended, by the log.
    ended_waiting: BTreeSet<OfferId>,
    /// Orders of which seats went back, by the log.
    refunded: BTreeSet<OrderId>,
}

impl Durability {
    fn acknowledge(&mut self, call: &Call, reply: &Reply, is_alone: bool) {
        let Ok(outcome) = &reply.result else { return };
        match outcome {
            Outcome::Held { hold } => drop(self.holds.insert(hold.hold, hold.user)),
            Outcome::Queued { ticket, .. } | Outcome::Claimed { ticket, .. } => {
                self.tickets.insert((ticket.showtime, ticket.number), ticket.user);
            }
            Outcome::Ordered { order } | Outcome::PaymentKnown { order, .. } => {
                self.holds.insert(order.hold, order.user);
                self.orders.insert(order.order, order.user);
                if order.state == OrderState::Completed {
                    self.completed.insert(order.order);
                }
                if let Ask::Shard(command) = &call.ask {
                    match &**command {
                        ShardCommand::RecordPayment(ask) => drop(self.payments.insert((ask.order, ask.payment))),
                        ShardCommand::RecordRefund(ask) => drop(self.payments.insert((ask.order, ask.refund))),
                        _ => {}
                    }
                }
            }
            Outcome::Waitlisted { entry, .. } => {
                if let Ask::Shard(command) = &call.ask
                    && let ShardCommand::JoinWaitlist(ask) = &**command
                {
                    self.waiting.insert(*entry, ask.user);
                }
            }
            Outcome::SaleUpdated { sale } => {
                if let Ask::Shard(command) = &call.ask
                    && let ShardCommand::UpdateSale(ask) = &**command
                    && is_alone
                {
                    self.sales.insert(ask.showtime, (**sale).clone());
                }
            }
            Outcome::OrganisationCreated { organisation } => {
                self.directory.push((organisation.to_string(), DirectoryQuery::Organisation(*organisation)));
            }
            Outcome::VenueCreated { venue, .. } => {
                self.directory.push((venue.to_string(), DirectoryQuery::Venue(*venue)));
            }
            Outcome::EventStored { event, .. } => {
                self.directory.push((event.to_string(), DirectoryQuery::Event(*event)));
            }
            Outcome::UserCreated { user } => {
                self.directory.push((user.to_string(), DirectoryQuery::User(*user)));
            }
            Outcome::ShowtimeStored { showtime } => {
                let showtime = showtime.showtime;
                self.directory.push((showtime.to_string(), DirectoryQuery::Showtime(showtime)));
            }
            Outcome::Done => {
                if let Ask::Shard(command) = &call.ask
                    && let ShardCommand::BlockSeats(ask) = &**command
                    && ask.channel.is_none()
                {
                    self.blocked.extend(ask.seats.iter().map(|seat| (ask.showtime, *seat)));
                }
            }
            _ => {}
        }
    }

    /// What was asked may be done from now on, and undo what was done before.
    fn note_call(&mut self, call: &Call) {
        let Ask::Shard(command) = &call.ask else { return };
        let (showtime, seats) = match &**command {
            ShardCommand::UnblockSeats(ask) => (ask.showtime, ask.seats.clone()),
            ShardCommand::UpdateSale(ask) => (ask.showtime, Vec::new()),
            _ => return,
        };
        let is_like = |other: &&mut Undoing| other.showtime == showtime && other.seats.is_empty() == seats.is_empty();
        let others = self.undoing.values_mut().filter(is_like);
        let is_alone = others.map(|other| other.is_alone = false).count() == 0;
        let undoing = Undoing { showtime, seats, is_alone };
        self.undo(&undoing);
        self.undoing.insert(call.number, undoing);
    }

    fn undo(&mut self, undoing: &Undoing) {
        for seat in &undoing.seats {
            self.blocked.remove(&(undoing.showtime, *seat));
        }
        if undoing.seats.is_empty() {
            self.sales.remove(&undoing.showtime);
        }
    }

    /// It has been done, or will not be; gives whether nothing like it can have come between.
    fn end_call(&mut self, call: &Call) -> bool {
        let Some(undoing) = self.undoing.remove(&call.number) else { return false };
        self.undo(&undoing);
        undoing.is_alone
    }

    /// Whether a call of unknown outcome may yet change a seat, or the sale.
    fn may_change(&self, showtime: ShowtimeId, seat: Option<SeatId>) -> bool {
        self.undoing.values().any(|undoing| {
            undoing.showtime == showtime && seat.map_or(undoing.seats.is_empty(), |seat| undoing.seats.contains(&seat))
        })
    }

    fn check_order(&self, id: OrderId, user: UserId, answer: &ShardAnswer) -> Result<(), String> {
        let ShardAnswer::Order(Some(order)) = answer else { return Err(format!("{id} is lost")) };
        if order.user != user {
            return Err(format!("{id} was {user}'s and is {}'s", order.user));
        }
        if self.completed.contains(&id) && order.state != OrderState::Completed && !self.refunded.contains(&id) {
            return Err(format!("{id} was completed and is {} without a refund", order.state));
        }
        let known: BTreeSet<PaymentId> = order.payments.iter().map(|payment| payment.payment).collect();
        match self.payments.iter().find(|(order, payment)| *order == id && !known.contains(payment)) {
            Some((_, payment)) => Err(format!("{payment} of {id} is lost")),
            None => Ok(()),
        }
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for happening in &look.happenings {
            match happening {
                Happening::Called(call) => self.note_call(call),
                Happening::Answered { call, answer: Answer::Reply(reply, _), .. } => {
                    let is_alone = self.end_call(call);
                    self.acknowledge(call, reply, is_alone);
                }
                Happening::Answered { call, answer: Answer::NotDone(_), .. } => drop(self.end_call(call)),
                Happening::Answered { .. } => {}
            }
        }
        for told in look.played.iter().flat_map(|played| &played.commands) {
            let command = match &told.ask {
                Ask::Shard(command) => command,
                Ask::Directory(command) => {
                    if let DirectoryCommand::DeleteEvent(ask) = &**command
                        && told.reply.result.is_ok()
                    {
                        self.deleted.insert(ask.event);
                    }
                    continue;
                }
                Ask::Read(..) | Ask::LookUp(..) => continue,
            };
            match &**command {
                ShardCommand::RefundOrder(ask) if told.reply.result.is_ok() => drop(self.refunded.insert(ask.order)),
                // A late attempt, the first being forgotten: it undoes what came between.
                ShardCommand::UnblockSeats(ask) if told.is_anew => {
                    self.blocked.retain(|(showtime, seat)| *showtime != ask.showtime || !ask.seats.contains(seat));
                }
                ShardCommand::UpdateSale(ask) if told.is_anew => drop(self.sales.remove(&ask.showtime)),
                _ => {}
            }
            if let Ok(Outcome::Ordered { order }) = &told.reply.result
                && order.state == OrderState::Completed
            {
                self.ended.insert(order.hold);
            }
        }
        for record in look.played.iter().flat_map(|played| played.events()) {
            if let Event::HoldReleased { hold, .. } | Event::HoldExpired { hold, .. } = &record.event {
                self.ended.insert(*hold);
            }
            if let Event::WaitlistAccepted { entry, .. }
            | Event::WaitlistExpired { entry, .. }
            | Event::WaitlistLeft { entry, .. } = &record.event
            {
                self.ended_waiting.insert(*entry);
            }
        }
        Ok(())
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for ((node, group), replica) in &last.replicas {
            let said = |what: String| format!("node {node}: {what}");
            for (&id, &user) in self.holds.iter().filter(|(id, _)| id.group() == *group) {
                match replica.ask(&ShardQuery::Hold(id))? {
                    ShardAnswer::Hold(HoldAnswer::Live(hold)) if hold.user == user => {}
                    ShardAnswer::Hold(HoldAnswer::Gone) if self.ended.contains(&id) => {}
                    answer => return Err(said(format!("{id} was acknowledged, and nothing ended it: {answer:?}"))),
                }
            }
            for (&id, &user) in self.orders.iter().filter(|(id, _)| id.group() == *group) {
                self.check_order(id, user, &replica.ask(&ShardQuery::Order(id))?).map_err(said)?;
            }
            for (&(showtime, number), &user) in self.tickets.iter().filter(|((id, _), _)| id.group() == *group) {
                match replica.ask(&ShardQuery::Ticket { showtime, number })? {
                    ShardAnswer::Ticket(Some(ticket)) if ticket.user == user => {}
                    answer => return Err(said(format!("ticket {number} of {user} is lost: {answer:?}"))),
                }
            }
            let waiting =
                self.waiting.iter().filter(|(id, _)| id.group() == *group && !self.ended_waiting.contains(id));
            for (&id, &user) in waiting {
                match replica.ask(&ShardQuery::Waitlist(id))? {
                    ShardAnswer::Waitlist(Some(view)) if view.user == user => {}
                    answer => {
                        return Err(said(format!("{id} of {user} was acknowledged, and nothing ended it: {answer:?}")));
                    }
                }
            }
            let blocked = self.blocked.iter().filter(|(id, seat)| !self.may_change(*id, Some(*seat)));
            for &(showtime, seat) in blocked.filter(|(id, _)| id.group() == *group) {
                let ShardAnswer::Seats(Some(seats)) = replica.ask(&ShardQuery::Seats(showtime))? else {
                    return Err(said(format!("{showtime} is lost")));
                };
                if seats.states.get(seat.0 as usize) != Some(&BLOCKED) {
                    return Err(said(format!("seat {} of {showtime} was blocked, and nobody unblocked it", seat.0)));
                }
            }
            let sales = self.sales.iter().filter(|(id, _)| !self.may_change(**id, None));
            for (&showtime, sale) in sales.filter(|(id, _)| id.group() == *group) {
                match replica.ask(&ShardQuery::Showtime(showtime))? {
                    ShardAnswer::Showtime(Some(view)) if view.sale == *sale => {}
                    answer => return Err(said(format!("{showtime} was to be sold by {sale:?}, and is {answer:?}"))),
                }
            }
            if *group == GroupId::DIRECTORY {
                let is_deleted =
                    |query: &DirectoryQuery| matches!(query, DirectoryQuery::Event(id) if self.deleted.contains(id));
                for (what, query) in self.directory.iter().filter(|(_, query)| !is_deleted(query)) {
                    if !replica.ask_directory(query)? {
                        return Err(said(format!("the directory has lost {what}")));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Puppet, Stage, joined};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::{
        BlockSeats, JoinQueue, JoinWaitlist, LeaveWaitlist, Method, OrganisationId, SalePatch, UnblockSeats, UpdateSale,
    };

    const ANN: UserId = UserId(7);

    fn ends_with(stage: &Stage, checker: &mut Durability, answer: ShardAnswer) -> Result<(), String> {
        let puppet: Rc<dyn super::super::Replica> = Rc::new(Puppet { answer: Some(answer), ..Puppet::default() });
        checker.finish(&Look { replicas: [((1, stage.group()), puppet)].into(), ..Look::default() })
    }

    #[test]
    fn a_lost_hold_is_noticed() {
        let mut stage = Stage::without_line();
        let mut checker = Durability::default();
        checker.observe(&joined([stage.open(), stage.hold(ANN, &[SeatId(4)])])).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("it lives");
        ends_with(&stage, &mut checker, ShardAnswer::Hold(HoldAnswer::Gone)).expect_err("nothing ended it");
        checker.observe(&stage.tick(400_000)).expect("it expires");
        ends_with(&stage, &mut checker, ShardAnswer::Hold(HoldAnswer::Gone)).expect("it expired");
        ends_with(&stage, &mut checker, ShardAnswer::Hold(HoldAnswer::Unknown)).expect_err("it had been made");
    }

    #[test]
    fn a_lost_order_or_payment_is_noticed() {
        let mut stage = Stage::without_line();
        let mut checker = Durability::default();
        let looks = [stage.open(), stage.hold(ANN, &[SeatId(4)]), stage.place(ANN, 1)];
        checker.observe(&joined(looks)).expect("as it was");
        let id = OrderId::new(stage.group(), 1);
        let placed = stage.replicas(&[1])[&(1, stage.group())].ask(&ShardQuery::Order(id)).expect("it answers");
        checker.observe(&stage.pay(1, 5, 2_500)).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("all is there");
        let ShardAnswer::Order(Some(mut order)) = placed else { unreachable!("it was placed") };
        checker.check_order(id, ANN, &ShardAnswer::Order(None)).expect_err("the order is lost");
        checker.check_order(id, ANN, &ShardAnswer::Order(Some(order.clone()))).expect_err("it was completed");
        order.state = OrderState::Completed;
        checker.check_order(id, ANN, &ShardAnswer::Order(Some(order))).expect_err("the payment is lost");
    }

    #[test]
    fn a_lost_ticket_is_noticed() {
        let mut stage = Stage::new(Sale::default());
        let mut checker = Durability::default();
        let showtime = stage.showtime();
        let looks = [stage.open(), stage.run(ShardCommand::JoinQueue(JoinQueue { showtime, user: ANN }))];
        checker.observe(&joined(looks)).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("it is there");
        ends_with(&stage, &mut checker, ShardAnswer::Ticket(None)).expect_err("it is lost");
    }

    #[test]
    fn a_forgotten_entry_of_the_waitlist_is_noticed() {
        let mut stage = Stage::new(Sale { method: Method::Passthrough, waitlist: true, ..Sale::default() });
        let mut checker = Durability::default();
        let showtime = stage.showtime();
        let ask = JoinWaitlist { showtime, user: ANN, quantity: 1, category: None, together: false };
        let join = ShardCommand::JoinWaitlist(ask);
        let mut looks = vec![stage.open(), stage.fill_areas()];
        looks.extend((0..60).map(|seat| stage.hold(UserId(u128::from(seat) + 100), &[SeatId(seat)])));
        looks.push(stage.run(join));
        checker.observe(&joined(looks)).expect("as it was");
        let blank = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&blank).expect("she waits");
        checker.holds.clear();
        ends_with(&stage, &mut checker, ShardAnswer::Waitlist(None)).expect_err("she is forgotten");
        let entry = OfferId::new(stage.group(), 1);
        let left = stage.run(ShardCommand::LeaveWaitlist(LeaveWaitlist { entry, user: ANN }));
        checker.observe(&left).expect("as it was");
        ends_with(&stage, &mut checker, ShardAnswer::Waitlist(None)).expect("she has gone");
    }

    #[test]
    fn what_the_organiser_did_is_not_forgotten() {
        let mut stage = Stage::without_line();
        let mut checker = Durability::default();
        let (showtime, seats, reason) = (stage.showtime(), vec![SeatId(4)], "camera".to_owned());
        let before = stage.open();
        checker.observe(&before).expect("as it was");
        let ask = |stage: &Stage, query: &ShardQuery| {
            stage.replicas(&[1])[&(1, stage.group())].ask(query).expect("it answers")
        };
        let free = ask(&stage, &ShardQuery::Seats(showtime));
        let block = BlockSeats { showtime, seats: seats.clone(), reason, channel: None };
        checker.observe(&stage.run(ShardCommand::BlockSeats(block))).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("it is blocked");
        ends_with(&stage, &mut checker, free.clone()).expect_err("nobody unblocked it");
        let mut unblocked = stage.run(ShardCommand::UnblockSeats(UnblockSeats { showtime, seats }));
        unblocked.happenings.truncate(1);
        checker.observe(&unblocked).expect("nobody heard what came of it");
        ends_with(&stage, &mut checker, free).expect("it may have been unblocked");

        let patch = SalePatch { rate_per_minute: Some(77), ..SalePatch::default() };
        let before = ask(&stage, &ShardQuery::Showtime(showtime));
        checker.observe(&stage.run(ShardCommand::UpdateSale(UpdateSale { showtime, patch }))).expect("as it was");
        checker.finish(&Look { replicas: stage.replicas(&[1]), ..Look::default() }).expect("it was changed");
        ends_with(&stage, &mut checker, before).expect_err("the change is forgotten");
    }

    #[test]
    fn what_the_directory_forgets_is_noticed() {
        let mut checker = Durability::default();
        let id = OrganisationId(1);
        checker.directory.push((id.to_string(), DirectoryQuery::Organisation(id)));
        let mut end = |knows| {
            let puppet: Rc<dyn super::super::Replica> = Rc::new(Puppet { knows, ..Puppet::default() });
            checker.finish(&Look { replicas: [((1, GroupId::DIRECTORY), puppet)].into(), ..Look::default() })
        };
        end(true).expect("it is known");
        end(false).expect_err("it is lost");
    }
}

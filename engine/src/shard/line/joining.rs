//! Taking a ticket, and giving it up.

use super::drawing::leaf_of;
use super::ticket::{Flag, Ticket};
use super::{Line, PAGE_LEN, Standing};
use crate::{TicketNumber, Timestamp, UserId};
use std::hash::BuildHasher;

/// Where a buyer stands in the index of tickets.
pub(super) fn hash_of(user: UserId) -> u64 {
    crate::lookup::hasher(0x6c69_6e65).hash_one(user.0)
}

impl Line {
    /// Takes a new ticket. The caller has decided: the owner has none, and there is room.
    pub(crate) fn join(&mut self, user: UserId, is_drawn: bool, now: Timestamp) -> TicketNumber {
        self.head_dirty = true;
        if self.waiting() == 0 {
            // How fast the line moved while nobody waited says nothing about how fast it moves.
            self.measure_anew(now);
        }
        self.head.joined += 1;
        self.head.report.joined += 1;
        let number = TicketNumber(self.head.joined);
        let index = (number.0 - 1) as usize;
        if index.is_multiple_of(PAGE_LEN) {
            self.pages.push(Vec::new());
        }
        self.pages[index / PAGE_LEN].push(Ticket::new(user));
        self.dirty.insert((index / PAGE_LEN) as u64);
        let is_new = self.insert_index(number.0 as u32, user);
        assert!(is_new, "{user} has a ticket already");
        if is_drawn && !self.is_drawn() && !self.head.awaits_beacon {
            let page = self.head.frontier.count() / PAGE_LEN as u64;
            if let Some(root) = self.head.frontier.push(leaf_of(number, user), PAGE_LEN.trailing_zeros()) {
                self.roots.insert(page, root);
                self.add_root_above(page, root);
            }
        }
        number
    }

    /// Makes a ticket known as that of its owner, unless the owner has one.
    pub(super) fn insert_index(&mut self, number: u32, user: UserId) -> bool {
        let pages = &self.pages;
        let owner = |&number: &u32| {
            let index = number as usize - 1;
            pages[index / PAGE_LEN][index % PAGE_LEN].user()
        };
        let hash = hash_of(user);
        if self.index.find(hash, |number| owner(number) == user).is_some() {
            return false;
        }
        self.index.insert(hash, number, |number| hash_of(owner(number)));
        true
    }

    /// Gives a ticket up. Gives the end of the session that ends with it.
    pub(crate) fn leave(&mut self, number: TicketNumber) -> Option<Timestamp> {
        let mut place = self.place_of(number);
        let mut flag = Flag::Left;
        let mut session = None;
        match self.standing(number) {
            Standing::Prequeue if number.0 <= self.head.frontier.count() => {
                // The draw will tell its place.
                self.unplaced.insert(number.0);
                place = 0;
            }
            Standing::Prequeue | Standing::Waiting => {
                self.gaps.insert(place);
            }
            Standing::Called { segment, .. } => {
                self.segments.get_mut(segment).expect("a called ticket has a live segment").called -= 1;
                self.head.active -= 1;
                flag = Flag::LeftCalled;
            }
            Standing::Shopping { until } => {
                session = Some(until);
                flag = Flag::LeftShopping;
                self.head.active -= 1;
            }
            over => panic!("left with a ticket that is {}", over.state()),
        }
        self.head.report.left += 1;
        self.head_dirty = true;
        self.ticket_mut(number).set(flag, place);
        session
    }
}

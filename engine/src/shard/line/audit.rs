//! Recounts what the line counts.

use super::admission::credit_max;
use super::drawing::leaf_of;
use super::gaps::Gaps;
use super::ticket::Flag;
use super::{Line, PAGE_LEN, Standing};
use crate::draw::{self, Shuffle};
use crate::merkle::{Frontier, Hash, node_hash};
use crate::{Method, QueueReport, QueueState, Sale, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

impl Line {
    /// Recounts what is small: segments follow each other, credit is within a burst.
    pub(super) fn check_segments(&self) -> Result<(), String> {
        let head = &self.head;
        let mut next = head.settled.saturating_add(1);
        for number in head.first_segment..head.next_segment {
            let segment = self.segments.get(number).ok_or("a segment is missing")?;
            if segment.from != next || segment.to < segment.from {
                return Err(format!("segment {number} does not follow the one before"));
            }
            next = segment.to.saturating_add(1);
        }
        // A head from damaged rows may count backwards.
        let count = head.next_segment.checked_sub(head.first_segment);
        if next != head.cursor + 1 || count != Some(self.segments.len()) {
            return Err("the segments do not end at the cursor".into());
        }
        Ok(())
    }

    /// Recounts everything that is counted. `secret` and `beacon` are what the draw, if there was one, had to be made of.
    pub(crate) fn audit(&self, sale: &Sale, secret: &[u8; 32], beacon: Option<&Vec<u8>>) -> Result<(), String> {
        let head = &self.head;
        let mut report = QueueReport { joined: head.joined, ..QueueReport::default() };
        let (mut active, mut waiting) = (0, 0);
        let mut called_in = BTreeMap::new();
        let (mut gaps, mut unplaced) = (Gaps::default(), BTreeSet::new());
        for (number, ticket) in self.tickets() {
            if self.ticket_of(ticket.user()) != Some(number) {
                return Err(format!("ticket {number} is not found by its owner"));
            }
            let place = self.place_of(number);
            match self.standing(number) {
                Standing::Prequeue | Standing::Waiting => waiting += 1,
                Standing::Called { segment, .. } => {
                    active += 1;
                    *called_in.entry(segment).or_insert(0) += 1;
                }
                Standing::Shopping { .. } => {
                    active += 1;
                    report.claimed += 1;
                }
                Standing::Done => {
                    report.done += 1;
                    report.claimed += 1;
                }
                Standing::Left => {
                    report.left += 1;
                    let is_inside = ticket.flag() == Flag::LeftShopping;
                    report.claimed += u64::from(is_inside);
                    report.called += u64::from(is_inside || ticket.flag() == Flag::LeftCalled);
                    if ticket.flag() != Flag::Left && place > head.cursor {
                        return Err(format!(
                            "ticket {number} was given up after its call, and its place was not called"
                        ));
                    }
                    if ticket.detail() == 0 {
                        if self.is_drawn() && place <= head.cursor {
                            return Err(format!("ticket {number} was given up, and its place was called"));
                        }
                        unplaced.insert(number.0);
                    } else if ticket.detail() != place {
                        return Err(format!("ticket {number} was given up at place {}", ticket.detail()));
                    } else if place > head.cursor {
                        gaps.insert(place);
                    }
                }
                Standing::Expired if ticket.flag() == Flag::Expired => {
                    report.expired += 1;
                    report.claimed += 1;
                }
                Standing::Expired => report.missed += 1,
            }
        }
        // Who was called is inside now or was, waits to claim, missed it, or gave up one or the other.
        report.called += active + report.done + report.expired + report.missed;
        if report != head.report {
            return Err(format!("the line counts {:?}, recounted {report:?}", head.report));
        }
        let same_gaps = gaps == self.gaps && unplaced == self.unplaced;
        if active != head.active || waiting != self.waiting() || !same_gaps {
            return Err(format!(
                "{} active and {} waiting, recounted {active} and {waiting}",
                head.active,
                self.waiting()
            ));
        }
        if (head.active > 0 || head.entrants > 0 && !head.awaits_beacon || head.cursor > 0) && !self.is_drawn() {
            return Err("somebody is inside, called or drawn before the opening".into());
        }
        if head.entrants > head.joined || head.joined != self.tickets().count() as u64 {
            return Err(format!("{} entrants of {} tickets", head.entrants, head.joined));
        }
        self.check_segments()?;
        for number in head.first_segment..head.next_segment {
            let segment = self.segments.get(number).ok_or("a segment is missing")?;
            if segment.called != called_in.remove(&number).unwrap_or(0) {
                return Err(format!("segment {number} counts {} called", segment.called));
            }
        }
        let mut frontier = Frontier::default();
        for (number, ticket) in self.tickets().take(head.frontier.count() as usize) {
            let page = frontier.count() / PAGE_LEN as u64;
            if let Some(root) = frontier.push(leaf_of(number, ticket.user()), PAGE_LEN.trailing_zeros())
                && self.roots.get(page) != Some(&root)
            {
                return Err(format!("the root over page {page} of the entrants is another"));
            }
        }
        if !self.has_roots_above() {
            return Err("the roots over several pages of the entrants are others".into());
        }
        let drawn_of = match sale.method {
            Method::Draw if head.draw.is_some() || head.awaits_beacon => head.entrants,
            Method::Draw => head.joined,
            Method::Fifo | Method::Passthrough | Method::Reject => 0,
        };
        if frontier != head.frontier || frontier.count() != drawn_of {
            return Err("the tree over the entrants is another".into());
        }
        self.audit_draw(&frontier, sale, secret, beacon)?;
        if head.credit > credit_max(sale) && head.credit_at > Timestamp::default() {
            return Err("more credit than a burst".into());
        }
        Ok(())
    }

    /// Makes the roots over two pages, four, and so on again, of those over one.
    fn has_roots_above(&self) -> bool {
        let mut below: Vec<Hash> = self.roots.iter().map(|(_, root)| *root).collect();
        for above in &self.roots_above {
            below = below.as_chunks().0.iter().map(|[left, right]| node_hash(left, right)).collect();
            if *above != below {
                return false;
            }
        }
        below.len() < 2
    }

    /// Makes the draw again, of the tree over the entrants that was counted anew.
    fn audit_draw(
        &self,
        frontier: &Frontier,
        sale: &Sale,
        secret: &[u8; 32],
        beacon: Option<&Vec<u8>>,
    ) -> Result<(), String> {
        let head = &self.head;
        let Some(drawn) = &head.draw else {
            let is_open = matches!(head.state, QueueState::Open | QueueState::Paused);
            return if is_open && sale.method == Method::Draw || self.shuffle.is_some() {
                Err("the line is open, and its draw is missing".into())
            } else {
                Ok(())
            };
        };
        if sale.method != Method::Draw || !self.is_drawn() {
            return Err("there is a draw, and the line has none".into());
        }
        let merkle_root = frontier.root();
        let seed = draw::seed(secret, &merkle_root, drawn.beacon.as_deref());
        if drawn.beacon.as_ref() != beacon || drawn.merkle_root != merkle_root || drawn.seed != seed {
            return Err("the draw was made of another secret, tree or beacon".into());
        }
        if self.shuffle != Some(Shuffle::new(seed, head.entrants)) {
            return Err("the places are not those of the draw".into());
        }
        Ok(())
    }
}

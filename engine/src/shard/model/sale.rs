//! Showtimes: how they are made, their settings, and how their lines open and close.

use super::{Model, Show, bounds, check_len};
use crate::*;
use sha2::{Digest, Sha256};

impl Model {
    pub(super) fn create(&mut self, ask: &CreateShowtime) -> Result<Outcome, Refusal> {
        let id = ask.showtime;
        if id.group() != self.group {
            return Err(bounds("showtimeId", format!("it belongs to {}", id.group())));
        }
        let commitment = Sha256::digest(ask.draw_secret).into();
        if self.shows.get(&id).is_some_and(|show| show.created == *ask) {
            return Ok(Outcome::ShowtimeCreated { showtime: id, commitment });
        }
        let (prices, categories) = (ask.prices.len(), ask.seat_map.categories.len());
        if prices != categories {
            return Err(bounds("prices", format!("{prices} prices for {categories} categories")));
        }
        ask.sale.validate()?;
        if self.shows.contains_key(&id) {
            return Err(Refusal::AlreadyExists);
        }
        self.shows.insert(id, Show::new(ask));
        self.tell_of(id, Event::ShowtimeCreated { organisation: ask.organisation, commitment });
        Ok(Outcome::ShowtimeCreated { showtime: id, commitment })
    }

    pub(super) fn update_sale(&mut self, ask: &UpdateSale) -> Result<Outcome, Refusal> {
        let now = self.now;
        ask.patch.validate()?;
        let show = self.show(ask.showtime)?;
        let (old, new) = (&show.sale, ask.patch.apply(&show.sale));
        new.validate()?;
        let is_begun = !show.is_ahead() || !show.tickets.is_empty();
        let is_promised = !show.tickets.is_empty() && old.method == Method::Draw && old.beacon.is_some();
        for (field, changes, is_late) in [
            ("method", old.method != new.method, is_begun || show.awaits_beacon),
            ("beacon", old.beacon != new.beacon, is_begun || show.awaits_beacon || show.beacon.is_some()),
            ("prequeueAt", old.prequeue_at != new.prequeue_at, show.state != QueueState::Scheduled),
            ("opensAt", old.opens_at != new.opens_at, !show.is_ahead() || show.awaits_beacon || is_promised),
            ("closesAt", old.closes_at != new.closes_at, show.state == QueueState::Closed),
        ] {
            if changes && is_late {
                return Err(bounds(field, "it is too late to change it"));
            }
        }
        if *old != new {
            let show = self.show_mut(ask.showtime);
            show.settle_credit(now);
            if show.sale.admission.rate_per_minute != new.admission.rate_per_minute {
                show.count_anew(now);
            }
            show.sale = new.clone();
            show.clamp_credit();
            self.tell_of(ask.showtime, Event::SaleUpdated);
        }
        Ok(Outcome::SaleUpdated { sale: Box::new(new) })
    }

    pub(super) fn set_message(&mut self, ask: &SetQueueMessage) -> Result<Outcome, Refusal> {
        check_len("text", ask.text.as_deref().unwrap_or_default(), 0, 500)?;
        if self.show(ask.showtime)?.message != ask.text {
            self.show_mut(ask.showtime).message = ask.text.clone();
            self.tell_of(ask.showtime, Event::QueueMessageSet { text: ask.text.clone() });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn record_beacon(&mut self, ask: &RecordBeacon) -> Result<Outcome, Refusal> {
        let len = ask.randomness.len();
        if len == 0 || len > 256 {
            return Err(bounds("randomness", format!("{len} bytes are not between 1 and 256")));
        }
        let show = self.show(ask.showtime)?;
        let Some(plan) = &show.sale.beacon else { return Err(bounds("beacon", "the sale plans none")) };
        if plan.round != ask.round {
            return Err(bounds("round", format!("round {} is planned", plan.round)));
        }
        match &show.beacon {
            Some(known) if *known == ask.randomness => return Ok(Outcome::Done),
            Some(_) => return Err(Refusal::AlreadyExists),
            // Nobody may know it who could still add an entrant.
            None if !show.is_ahead() || !show.awaits_beacon => return Err(show.wrong_state()),
            None => {}
        }
        self.show_mut(ask.showtime).beacon = Some(ask.randomness.clone());
        self.open(ask.showtime);
        Ok(Outcome::Done)
    }

    pub(super) fn start_prequeue(&mut self, id: ShowtimeId) {
        self.show_mut(id).state = QueueState::Prequeue;
        self.tell_of(id, Event::PrequeueStarted);
    }

    /// The time to open has come.
    pub(super) fn open_on_time(&mut self, id: ShowtimeId) {
        let show = self.show_mut(id);
        if !show.lacks_beacon() {
            self.open(id);
            return;
        }
        show.awaits_beacon = true;
        show.entrants = show.tickets.len() as u64;
        if show.state == QueueState::Scheduled {
            self.start_prequeue(id);
        }
    }

    pub(super) fn open_now(&mut self, id: ShowtimeId) -> Result<Outcome, Refusal> {
        let show = self.show(id)?;
        if show.is_ahead() {
            if show.awaits_beacon {
                return Err(Refusal::BeaconMissing);
            }
            self.open_on_time(id);
        } else if show.state != QueueState::Open {
            return Err(show.wrong_state());
        }
        Ok(Outcome::Done)
    }

    /// Fixes the places and lets the first burst in.
    fn open(&mut self, id: ShowtimeId) {
        let now = self.now;
        let show = self.show_mut(id);
        show.state = QueueState::Open;
        if !show.awaits_beacon {
            show.entrants = show.tickets.len() as u64;
        }
        show.awaits_beacon = false;
        show.line = (1..=show.tickets.len() as u64).collect();
        show.full_burst(now);
        show.count_anew(now);
        if show.sale.method == Method::Draw {
            let bundle = show.draw();
            let shuffle = draw::Shuffle::new(bundle.seed, bundle.entrants);
            show.line[..bundle.entrants as usize].sort_by_key(|number| shuffle.position_of(number - 1));
            show.bundle = Some(bundle.clone());
            self.tell_of(id, Event::DrawPublished(Box::new(bundle)));
        }
        self.tell_of(id, Event::QueueOpened);
    }

    pub(super) fn close(&mut self, id: ShowtimeId) {
        self.show_mut(id).state = QueueState::Closed;
        self.tell_of(id, Event::QueueClosed);
        self.end_waiting(id);
    }

    pub(super) fn switch(
        &mut self,
        id: ShowtimeId,
        from: QueueState,
        to: QueueState,
        event: Event,
    ) -> Result<Outcome, Refusal> {
        let show = self.show(id)?;
        if show.state == from {
            let now = self.now;
            let show = self.show_mut(id);
            show.state = to;
            if to == QueueState::Open {
                show.count_anew(now);
            }
            self.tell_of(id, event);
        } else if show.state != to {
            return Err(show.wrong_state());
        }
        Ok(Outcome::Done)
    }
}

impl Show {
    /// The leaf of an entrant, counted from 0.
    pub(super) fn leaf(&self, index: u64) -> [u8; 32] {
        let subject = merkle::subject_hash(self.tickets[index as usize].user);
        merkle::leaf_hash(&merkle::leaf_data(TicketNumber(index + 1), &subject))
    }

    /// The root over so many leaves, by the definition of RFC 6962.
    fn root(&self, from: u64, count: u64) -> [u8; 32] {
        match count {
            0 => merkle::empty_root(),
            1 => self.leaf(from),
            _ => {
                let half = count.next_power_of_two() / 2;
                merkle::node_hash(&self.root(from, half), &self.root(from + half, count - half))
            }
        }
    }

    fn draw(&self) -> DrawBundle {
        let (secret, beacon) = (self.created.draw_secret, self.beacon.clone());
        let merkle_root = self.root(0, self.entrants);
        let seed = [&secret[..], &merkle_root[..], beacon.as_deref().unwrap_or_default()].concat();
        DrawBundle {
            entrants: self.entrants,
            commitment: Sha256::digest(secret).into(),
            secret,
            merkle_root,
            beacon,
            seed: Sha256::digest(seed).into(),
            rounds: 90,
        }
    }
}

//! Who keeps the catalogue: events that come, change and go, venues, users and their roles, token keys, and a showtime that is
//! called off. None of it is sold.

use super::{Client, House, Shop, Stage};
use crate::clock::EPOCH;
use crate::dice::Dice;
use crate::options::Options;
use std::sync::Arc;
use std::time::Duration;
use vestibule_engine::{
    ActivateShowtime, ArchiveShowtime, CreateEvent, CreateOrganisation, CreateShowtime, CreateUser, DeleteEvent,
    DirectoryCommand, EventDetails, GrantRole, OrganisationId, Outcome, RevokeRole, Role, RotateTokenKey, Sale,
    ScheduleShowtime, ShardCommand, Timestamp, UpdateEvent, UpdateOrganisation, UpdateUser, UpdateVenue, UserId,
};

/// More token keys than these are not made.
const KEYS_MAX: usize = 3;

/// Changes the catalogue until the run closes.
pub async fn keep_catalogue(client: Client, options: Options, shop: Shop, dice: Dice) {
    let house = loop {
        match shop.house() {
            Some(house) => break house,
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let mut registrar = Registrar { client, dice, house, users: Vec::new(), keys: Vec::new() };
    while shop.stage() < Stage::Closing {
        tokio::time::sleep(registrar.dice.millis(300..=2_000)).await;
        registrar.act(&options).await;
    }
}

struct Registrar {
    client: Client,
    dice: Dice,
    house: Arc<House>,
    users: Vec<UserId>,
    /// Names of keys that were added and not retired.
    keys: Vec<String>,
}

const BY: UserId = UserId(1);

impl Registrar {
    async fn ask(&self, command: DirectoryCommand) -> Option<Outcome> {
        self.client.directory(command).await?.ok()
    }

    async fn act(&mut self, options: &Options) {
        let organisation = self.house.organisation;
        match self.dice.within(0..=99) {
            0..=24 => self.stage_event(organisation).await,
            25..=34 => {
                // Another one: whoever sells is known by its name.
                let create = CreateOrganisation { by: BY, name: "The Annex".to_owned() };
                let created = self.ask(DirectoryCommand::CreateOrganisation(create)).await;
                let Some(Outcome::OrganisationCreated { organisation }) = created else { return };
                let name = format!("The Annex {}", self.dice.within(1..=99));
                let ask = UpdateOrganisation { by: BY, organisation, expected_version: None, name };
                self.ask(DirectoryCommand::UpdateOrganisation(ask)).await;
            }
            35..=49 => {
                // The same layout again is another version of it; showtimes keep theirs.
                let map = self.dice.percent(10).then(|| self.house.seat_map.clone());
                let city = Some(format!("Town {}", self.dice.within(1..=99)));
                let (venue, country) = (self.house.venue, None);
                let ask = UpdateVenue { by: BY, venue, expected_version: None, name: None, city, country, map };
                self.ask(DirectoryCommand::UpdateVenue(ask)).await;
            }
            50..=79 => self.employ(organisation).await,
            // Rarely: every showtime has a house full of seats, and each state is hashed after every entry.
            80..=84 => self.call_off(options).await,
            _ => self.rotate_key().await,
        }
    }

    /// An event comes, changes, and goes again as a rule.
    async fn stage_event(&mut self, organisation: OrganisationId) {
        let title = format!("Gala {}", self.dice.within(1..=999));
        let details = EventDetails { title, ..EventDetails::default() };
        let ask = CreateEvent { by: BY, organisation, details };
        let Some(Outcome::EventStored { event, version }) = self.ask(DirectoryCommand::CreateEvent(ask)).await else {
            return;
        };
        let update = |expected_version| UpdateEvent {
            by: BY,
            event,
            expected_version,
            title: None,
            description: Some("With a surprise".to_owned()),
            category: None,
            city: None,
            performers: Some(vec!["Ann".to_owned()]),
        };
        self.ask(DirectoryCommand::UpdateEvent(update(Some(version)))).await;
        if self.dice.percent(50) {
            // Of a version that is gone.
            self.ask(DirectoryCommand::UpdateEvent(update(Some(version)))).await;
        }
        if self.dice.percent(70) {
            self.ask(DirectoryCommand::DeleteEvent(DeleteEvent { by: BY, event, expected_version: None })).await;
        }
    }

    /// A user comes, changes, gets a role and loses it.
    async fn employ(&mut self, organisation: OrganisationId) {
        let user = UserId(self.dice.wide());
        let email = format!("staff{}@example.org", self.dice.within(1..=12));
        let (password_hash, name) = ("$argon2id$none".to_owned(), "Staff".to_owned());
        let ask = CreateUser { user, email, password_hash, name };
        if let Some(Outcome::UserCreated { user }) = self.ask(DirectoryCommand::CreateUser(ask)).await {
            self.users.push(user);
        }
        if self.users.is_empty() {
            return;
        }
        let user = *self.dice.pick(&self.users);
        let (expected_version, organisation) = (None, Some(organisation));
        let is_active = Some(self.dice.percent(80));
        let (email, password_hash, name) = (None, None, Some("Crew".to_owned()));
        let ask = UpdateUser { user, expected_version, email, password_hash, name, is_active };
        self.ask(DirectoryCommand::UpdateUser(ask)).await;
        let grant = GrantRole { by: BY, user, expected_version, organisation, role: Role::Staff };
        self.ask(DirectoryCommand::GrantRole(grant)).await;
        if self.dice.percent(60) {
            let revoke = RevokeRole { by: BY, user, expected_version, organisation };
            self.ask(DirectoryCommand::RevokeRole(revoke)).await;
        }
    }

    /// A showtime is planned, made and called off. Whatever of that is not done, the controller finishes.
    async fn call_off(&mut self, options: &Options) {
        let mut draw_secret = [0; 32];
        draw_secret[..16].copy_from_slice(&self.dice.wide().to_le_bytes());
        let (prices, sale) = (super::house::prices(&self.house.seat_map), Sale::default());
        let ask = ScheduleShowtime {
            by: BY,
            event: self.house.event,
            venue: self.house.venue,
            seat_map_version: Some(1),
            starts_at: Timestamp((EPOCH + Duration::from_secs(90_000)).as_millis() as u64),
            prices: prices.clone(),
            sale: sale.clone(),
            draw_secret,
        };
        let Some(Outcome::ShowtimeStored { showtime: record }) =
            self.ask(DirectoryCommand::ScheduleShowtime(ask)).await
        else {
            return;
        };
        let showtime = record.showtime;
        let (organisation, seat_map) = (self.house.organisation, self.house.seat_map.clone());
        let ask = CreateShowtime { showtime, organisation, seat_map, prices, sale, draw_secret };
        let created = self.client.shard(showtime.group(), ShardCommand::CreateShowtime(ask)).await;
        tokio::time::sleep(options.think_max).await;
        if matches!(created, Some(Ok(_))) {
            let ask = ActivateShowtime { showtime, expected_version: None };
            self.ask(DirectoryCommand::ActivateShowtime(ask)).await;
        }
        // If nobody has yet made it, this is refused.
        let ask = ArchiveShowtime { showtime, expected_version: None };
        self.ask(DirectoryCommand::ArchiveShowtime(ask)).await;
    }

    /// A new key signs tokens, or one that was added goes. The first ones stay.
    async fn rotate_key(&mut self) {
        let is_over = self.keys.len() >= KEYS_MAX || self.dice.percent(40);
        let retire = if is_over { self.keys.pop() } else { None };
        let add = match &retire {
            Some(_) => None,
            None => {
                let kid = format!("simulator-only-{}", self.dice.number());
                self.keys.push(kid.clone());
                Some(crate::web::another_token_key(kid))
            }
        };
        self.ask(DirectoryCommand::RotateTokenKey(RotateTokenKey { expected_version: None, add, retire })).await;
    }
}

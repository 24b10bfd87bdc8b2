//! Random commands: most make sense to the model as it stands, some are refused for one reason or another.

use super::Model;
use crate::dice::Dice;
use crate::directory::tests::{map, new_map};
use crate::*;
use std::sync::Arc;

impl Dice {
    /// The number of one of so many things, now and then of none.
    fn number(&mut self, made: u64) -> u64 {
        if self.one_in(12) { self.pick(&[0, made + 1, 99]) } else { 1 + self.below(made.max(1)) }
    }

    /// A text, now and then as long as it may be, or longer or shorter.
    fn text(&mut self, min: usize, max: usize) -> String {
        match self.below(40) {
            0 => "x".repeat(max),
            1 => "x".repeat(max + 1),
            2 => "x".repeat(min),
            3 => "x".repeat(min.saturating_sub(1)),
            4 => "é".repeat(max / 2),
            _ => self.pick(&["a", "b", "aé"]).to_owned(),
        }
    }

    /// Nothing, or mostly the version that there is.
    fn version(&mut self, actual: Option<u64>) -> Option<u64> {
        match self.below(12) {
            0 => Some(self.below(4)),
            1..6 => actual,
            _ => None,
        }
    }

    fn email(&mut self) -> String {
        match self.below(60) {
            0 => self.pick(&["", "ab", "@@@", "@ab", "ab@", "a b@c", "a\u{7f}b@c", "a\u{a0}@c"]).to_owned(),
            1 => format!("{}@b", "a".repeat(self.pick(&[252, 253]))),
            2 => "@@a@b@@".to_owned(),
            _ => format!("{}{}@example.org", self.pick(&["u", "U"]), self.below(9)),
        }
    }

    fn user(&mut self, model: &Model) -> UserId {
        match model.users.len() as u64 {
            0 => UserId(self.below(9).into()),
            _ if self.one_in(15) => UserId(self.below(9).into()),
            len => model.users[self.below(len) as usize].user,
        }
    }

    fn map(&mut self) -> Arc<SeatMap> {
        match self.below(20) {
            // A house with nothing in it, which no house may be.
            0 => Arc::new(SeatMap { name: "None".into(), categories: vec![], sections: vec![], areas: vec![] }),
            1..4 => two_categories(),
            4..8 => map(),
            _ => new_map(1 + self.below(4) as u32),
        }
    }

    fn key(&mut self) -> TokenKey {
        let kid = match self.below(30) {
            0 => self.text(1, 64),
            _ => format!("k{}", self.below(24)),
        };
        let der = match self.below(60) {
            0 => Vec::new(),
            1 => vec![0; 8_193],
            2 => vec![0; 8_192],
            _ => vec![self.pick(&[1, 1, 1, 2])],
        };
        let algorithm = self.pick(&[KeyAlgorithm::Rs256, KeyAlgorithm::Ed25519]);
        TokenKey { kid, algorithm, der, created_at: Timestamp(1) }
    }

    fn node(&mut self, model: &Model) -> NodeNumber {
        let known: Vec<NodeNumber> = model.nodes.keys().copied().collect();
        match self.below(10) {
            0..6 if !known.is_empty() => self.pick(&known),
            _ if self.one_in(30) => NodeNumber(0),
            _ => NodeNumber(1 + self.below(14)),
        }
    }

    fn sink(&mut self) -> String {
        if self.one_in(6) { self.text(1, 100) } else { format!("sink {}", self.below(4)) }
    }
}

fn two_categories() -> Arc<SeatMap> {
    let category = |name: &str| Category { name: name.into(), color: String::new() };
    let area = Area { name: "floor".into(), capacity: 10, category: CategoryId(1) };
    Arc::new(SeatMap::new("Two".into(), vec![category("dear"), category("cheap")], vec![], vec![area]).unwrap())
}

fn details(dice: &mut Dice) -> EventDetails {
    EventDetails {
        title: dice.text(1, 300),
        description: dice.text(0, 20_000),
        category: dice.text(0, 100),
        city: dice.text(0, 200),
        performers: performers(dice),
    }
}

fn performers(dice: &mut Dice) -> Vec<String> {
    match dice.below(40) {
        0 => vec!["x".into(); 100],
        1 => vec!["x".into(); 101],
        _ => (0..dice.below(3)).map(|_| dice.text(1, 200)).collect(),
    }
}

fn schedule(dice: &mut Dice, model: &Model) -> ScheduleShowtime {
    let event = match dice.one_in(10) {
        true => EventId(dice.number(model.events_made)),
        false => {
            let events: Vec<EventId> = model.events.keys().copied().chain([EventId(1)]).collect();
            dice.pick(&events)
        }
    };
    let organisation = model.events.get(&event).map(|entry| entry.organisation);
    let of_the_same = model.venues.iter().filter(|venue| Some(venue.record.organisation) == organisation);
    let of_the_same: Vec<VenueId> = of_the_same.map(|venue| venue.record.venue).collect();
    let venue = match of_the_same.is_empty() || dice.one_in(6) {
        true => VenueId(dice.number(model.venues.len() as u64)),
        false => dice.pick(&of_the_same),
    };
    let record = model.venue(venue).map(|venue| &venue.record);
    let count = match dice.below(20) {
        0 => dice.below(4) as usize,
        _ => record.map_or(1, |record| record.map.categories.len()),
    };
    let mut prices: Vec<Money> =
        (0..count).map(|_| Money { amount: dice.pick(&[0, 100]), currency: Currency(*b"EUR") }).collect();
    if let Some(price) = prices.last_mut() {
        match dice.below(30) {
            0 => price.amount = dice.pick(&[-1, PRICE_MAX + 1]),
            1 => price.currency = Currency(*b"USD"),
            2 => price.currency = Currency(*b"eur"),
            3 => price.amount = PRICE_MAX,
            _ => {}
        }
    }
    let mut sale = Sale { waitlist: dice.one_in(2), ..Sale::default() };
    if dice.one_in(20) {
        sale.admission.rate_per_minute = 0;
    }
    ScheduleShowtime {
        by: UserId(1),
        event,
        venue,
        seat_map_version: dice
            .version(record.map(|record| record.seat_map_version.into()))
            .map(|version| version as u32),
        starts_at: Timestamp(dice.below(4)),
        prices,
        sale,
        draw_secret: [dice.below(3) as u8; 32],
    }
}

/// A showtime that may be there, with its version.
fn showtime(dice: &mut Dice, model: &Model) -> (ShowtimeId, Option<u64>) {
    if model.showtimes.is_empty() || dice.one_in(15) {
        return (ShowtimeId::new(GroupId(dice.below(4) as u32), dice.below(14)), None);
    }
    let record = dice.pick(&model.showtimes);
    (record.showtime, Some(record.version))
}

/// A command of the same kind as this one. A new command does not compile until it stands here.
pub(super) fn command(like: &DirectoryCommand, dice: &mut Dice, model: &Model) -> DirectoryCommand {
    let by = UserId(1);
    let some = |dice: &mut Dice| dice.one_in(2);
    match like {
        DirectoryCommand::Tick => DirectoryCommand::Tick,
        DirectoryCommand::SetGroups(_) => {
            let count = match dice.below(40) {
                0 => dice.pick(&[0, 1_025, 1_024]),
                1..5 => dice.below(4) as u32,
                _ => (model.groups + dice.below(2) as u32).clamp(1, 5),
            };
            let expected_version = dice.version(Some(model.groups.into()));
            DirectoryCommand::SetGroups(SetGroups { expected_version, count })
        }
        DirectoryCommand::PutTokenKeys(_) => {
            let count = dice.pick(&[0, 1, 2, 2, 2, 3, 16, 16, 17]);
            let mut keys: Vec<TokenKey> = (0..count).map(|_| dice.key()).collect();
            if !dice.one_in(8) {
                keys.iter_mut().zip(0..).for_each(|(key, number)| key.kid = format!("k{number}"));
            }
            DirectoryCommand::PutTokenKeys(PutTokenKeys { keys })
        }
        DirectoryCommand::RotateTokenKey(_) => {
            let known = |dice: &mut Dice| (!model.keys.is_empty()).then(|| dice.pick(&model.keys));
            let add = match dice.below(8) {
                0 => known(dice),
                1..5 => Some(dice.key()),
                _ => None,
            };
            let retire = match dice.below(8) {
                0 => Some(dice.key().kid),
                1..4 => known(dice).map(|key| key.kid),
                _ => None,
            };
            let expected_version = dice.version(Some(model.keys_version));
            DirectoryCommand::RotateTokenKey(RotateTokenKey { expected_version, add, retire })
        }
        DirectoryCommand::CreateOrganisation(_) => {
            DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: dice.text(1, 200) })
        }
        DirectoryCommand::UpdateOrganisation(_) => {
            let organisation = OrganisationId(dice.number(model.organisations.len() as u64));
            let actual = model.organisations.iter().find(|record| record.organisation == organisation);
            let expected_version = dice.version(actual.map(|record| record.version));
            let name = dice.text(1, 200);
            DirectoryCommand::UpdateOrganisation(UpdateOrganisation { by, organisation, expected_version, name })
        }
        DirectoryCommand::CreateVenue(_) => DirectoryCommand::CreateVenue(CreateVenue {
            by,
            organisation: OrganisationId(dice.number(model.organisations.len() as u64)),
            name: dice.text(1, 200),
            city: dice.text(0, 200),
            country: dice.text(0, 200),
            map: dice.map(),
        }),
        DirectoryCommand::UpdateVenue(_) => {
            let venue = VenueId(dice.number(model.venues.len() as u64));
            DirectoryCommand::UpdateVenue(UpdateVenue {
                by,
                venue,
                expected_version: dice.version(model.venue(venue).map(|venue| venue.record.version)),
                name: some(dice).then(|| dice.text(1, 200)),
                city: some(dice).then(|| dice.text(0, 200)),
                country: some(dice).then(|| dice.text(0, 200)),
                map: some(dice).then(|| dice.map()),
            })
        }
        DirectoryCommand::CreateEvent(_) => {
            let organisation = OrganisationId(dice.number(model.organisations.len() as u64));
            DirectoryCommand::CreateEvent(CreateEvent { by, organisation, details: details(dice) })
        }
        DirectoryCommand::UpdateEvent(_) => {
            let event = EventId(dice.number(model.events_made));
            DirectoryCommand::UpdateEvent(UpdateEvent {
                by,
                event,
                expected_version: dice.version(model.events.get(&event).map(|entry| entry.version)),
                title: some(dice).then(|| dice.text(1, 300)),
                description: some(dice).then(|| dice.text(0, 20_000)),
                category: some(dice).then(|| dice.text(0, 100)),
                city: some(dice).then(|| dice.text(0, 200)),
                performers: some(dice).then(|| performers(dice)),
            })
        }
        DirectoryCommand::DeleteEvent(_) => {
            let event = EventId(dice.number(model.events_made));
            let expected_version = dice.version(model.events.get(&event).map(|entry| entry.version));
            DirectoryCommand::DeleteEvent(DeleteEvent { by, event, expected_version })
        }
        DirectoryCommand::ScheduleShowtime(_) => DirectoryCommand::ScheduleShowtime(schedule(dice, model)),
        DirectoryCommand::ActivateShowtime(_) => {
            let (showtime, version) = showtime(dice, model);
            let expected_version = dice.version(version);
            DirectoryCommand::ActivateShowtime(ActivateShowtime { showtime, expected_version })
        }
        DirectoryCommand::ArchiveShowtime(_) => {
            let (showtime, version) = showtime(dice, model);
            let expected_version = dice.version(version);
            DirectoryCommand::ArchiveShowtime(ArchiveShowtime { showtime, expected_version })
        }
        DirectoryCommand::CreateUser(_) => DirectoryCommand::CreateUser(CreateUser {
            user: UserId(dice.below(9).into()),
            email: dice.email(),
            password_hash: dice.text(0, 500),
            name: dice.text(0, 200),
        }),
        DirectoryCommand::UpdateUser(_) => {
            let user = dice.user(model);
            let actual = model.users.iter().find(|record| record.user == user);
            DirectoryCommand::UpdateUser(UpdateUser {
                user,
                expected_version: dice.version(actual.map(|record| record.version)),
                email: some(dice).then(|| dice.email()),
                password_hash: some(dice).then(|| dice.text(0, 500)),
                name: some(dice).then(|| dice.text(0, 200)),
                is_active: some(dice).then(|| dice.one_in(2)),
            })
        }
        DirectoryCommand::GrantRole(_) => {
            let user = dice.user(model);
            let actual = model.users.iter().find(|record| record.user == user);
            DirectoryCommand::GrantRole(GrantRole {
                by,
                user,
                expected_version: dice.version(actual.map(|record| record.version)),
                organisation: (!dice.one_in(4)).then(|| OrganisationId(dice.number(model.organisations.len() as u64))),
                role: match dice.below(10) {
                    0 => dice.pick(&[Role::Guest, Role::Customer]),
                    _ => dice.pick(&[Role::Staff, Role::Organizer, Role::Admin]),
                },
            })
        }
        DirectoryCommand::RevokeRole(_) => {
            let user = dice.user(model);
            let actual = model.users.iter().find(|record| record.user == user);
            let roles: Vec<_> = actual.into_iter().flat_map(|record| record.roles.keys().copied()).collect();
            DirectoryCommand::RevokeRole(RevokeRole {
                by,
                user,
                expected_version: dice.version(actual.map(|record| record.version)),
                organisation: match roles.is_empty() || dice.one_in(3) {
                    true => Some(OrganisationId(dice.below(4))),
                    false => dice.pick(&roles),
                },
            })
        }
        DirectoryCommand::RegisterNode(_) => {
            let node = dice.node(model);
            let actual = model.nodes.get(&node);
            DirectoryCommand::RegisterNode(RegisterNode {
                node,
                expected_version: dice.version(Some(actual.map_or(0, |record| record.version))),
                address: dice.text(1, 300),
                incarnation: if dice.one_in(10) { 1 } else { 0 },
            })
        }
        DirectoryCommand::SetNodeState(_) => {
            let node = dice.node(model);
            let expected_version = dice.version(model.nodes.get(&node).map(|record| record.version));
            let states = [NodeState::Active, NodeState::Active, NodeState::Draining, NodeState::Leaving];
            let state = if dice.one_in(4) { NodeState::Removed } else { dice.pick(&states) };
            DirectoryCommand::SetNodeState(SetNodeState { node, expected_version, state })
        }
        DirectoryCommand::RetireNode(_) => {
            let node = dice.node(model);
            let expected_version = dice.version(model.nodes.get(&node).map(|record| record.version));
            let states = [NodeState::Draining, NodeState::Leaving];
            let state = if dice.one_in(10) { NodeState::Removed } else { dice.pick(&states) };
            let active_min = dice.pick(&[0, 1, 3]);
            DirectoryCommand::RetireNode(RetireNode { node, expected_version, state, active_min })
        }
        DirectoryCommand::SetPlacement(_) => {
            let group = GroupId(dice.below(u64::from(model.groups) + 2) as u32);
            let nodes: Vec<NodeNumber> = match dice.one_in(4) {
                true => (1..=14).map(NodeNumber).collect(),
                false => {
                    let is_active = |record: &&NodeRecord| record.state == NodeState::Active;
                    model.nodes.values().filter(is_active).map(|record| record.node).chain([NodeNumber(1)]).collect()
                }
            };
            let mut voters: Vec<NodeNumber> =
                (0..dice.pick(&[0, 1, 1, 2, 3, 3, 10])).map(|_| dice.pick(&nodes)).collect();
            if !dice.one_in(4) {
                voters.sort();
                voters.dedup();
                voters.reverse();
            }
            let version = model.placements.get(&group).map_or(0, |placement| placement.version);
            let expected_version = dice.version(Some(version));
            DirectoryCommand::SetPlacement(SetPlacement { group, expected_version, voters })
        }
        DirectoryCommand::SetLimits(_) => DirectoryCommand::SetLimits(SetLimits {
            requests_max: dice.pick(&[None, None, Some(999), Some(1_000), Some(100_000_000), Some(100_000_001)]),
            request_age_max: dice.pick(&[None, None, Some(999), Some(1_000), Some(60_000)]).map(Millis),
            event_age_min: dice.pick(&[None, None, Some(0), Some(365 * 86_400_000), Some(u64::MAX)]).map(Millis),
            events_max: dice.pick(&[None, None, None, Some(999), Some(1_000)]),
            tickets_max: dice.pick(&[None, None, Some(0), Some(1), Some(100_000_000)]),
        }),
        DirectoryCommand::RegisterSink(_) => DirectoryCommand::RegisterSink(RegisterSink { sink: dice.sink() }),
        DirectoryCommand::AcknowledgeEvents(_) => {
            let sequence = dice.below(model.last_sequence() + 2);
            DirectoryCommand::AcknowledgeEvents(AcknowledgeEvents { sink: dice.sink(), sequence })
        }
        DirectoryCommand::RemoveSink(_) => DirectoryCommand::RemoveSink(RemoveSink { sink: dice.sink() }),
    }
}

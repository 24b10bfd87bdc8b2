//! Transcripts: a script in, a transcript out.
//!
//! A line is `time verb words…`; `c*N` in a word is N times the letter c. After every line the directory is audited,
//! rebuilt from its rows, and its drained rows are compared with all its rows.

use super::{ADMIN, map, new_map};
use crate::*;
use expect_test::Expect;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A directory under test, and its stored rows.
pub(super) struct World {
    pub(super) directory: Directory,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    seen: Sequence,
}

/// The words of a line after its verb: `name=value` ones are options.
struct Words {
    plain: Vec<String>,
    options: Vec<(String, String)>,
}

impl Words {
    fn parse(words: &[&str]) -> Self {
        let mut parsed = Self { plain: Vec::new(), options: Vec::new() };
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => parsed.options.push((name.to_owned(), spell_out(value))),
                None => parsed.plain.push(spell_out(word)),
            }
        }
        parsed
    }

    fn option(&self, name: &str) -> Option<String> {
        self.options.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.options.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.option(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
    }

    /// The number in the first word of this shape: `org2` with `org` is 2.
    fn id(&self, prefix: &str) -> u64 {
        self.find_id(prefix).unwrap_or_else(|| panic!("a word like {prefix}1 is missing"))
    }

    fn find_id(&self, prefix: &str) -> Option<u64> {
        self.plain.iter().find_map(|word| word.strip_prefix(prefix)?.parse().ok())
    }

    fn name(&self) -> String {
        self.plain.first().cloned().unwrap_or_default()
    }
}

/// `x*3` is `xxx`.
fn spell_out(word: &str) -> String {
    let repeated = word.split_once('*').and_then(|(letter, count)| Some(letter.repeat(count.parse().ok()?)));
    repeated.unwrap_or_else(|| word.to_owned())
}

fn user_id(name: &str) -> UserId {
    UserId(name.bytes().fold(0, |id, byte| id << 8 | u128::from(byte)))
}

fn user_name(user: UserId) -> String {
    user.0.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).map(char::from).collect()
}

fn millis(text: &str) -> u64 {
    match text.strip_suffix('s') {
        Some(secs) => secs.parse::<u64>().unwrap() * 1_000,
        None => text.parse().unwrap(),
    }
}

/// `hall` has 10 places, `hall5` 5 more on a balcony, `none` has nothing.
fn layout(name: &str) -> Arc<SeatMap> {
    match name.strip_prefix("hall") {
        None => Arc::new(SeatMap { name: name.into(), categories: vec![], sections: vec![], areas: vec![] }),
        Some("") => map(),
        Some(seats) => new_map(seats.parse().unwrap()),
    }
}

/// `r1/rs256`, or `r1/rs256/` with an empty key.
fn key(text: &str) -> TokenKey {
    let mut parts = text.split('/');
    let (kid, algorithm) = (parts.next().unwrap_or_default(), parts.next());
    let algorithm = match algorithm {
        Some("rs256") => KeyAlgorithm::Rs256,
        Some("ed25519") => KeyAlgorithm::Ed25519,
        other => panic!("no such algorithm: {other:?}"),
    };
    let der = parts.next().unwrap_or("k").as_bytes().to_vec();
    TokenKey { kid: spell_out(kid), algorithm, der, created_at: Timestamp(1) }
}

fn role(text: &str) -> Role {
    let roles = [Role::Guest, Role::Customer, Role::Staff, Role::Organizer, Role::Admin];
    roles.into_iter().find(|role| role.as_str() == text).unwrap_or_else(|| panic!("no such role: {text}"))
}

fn state(text: &str) -> NodeState {
    let states = [NodeState::Active, NodeState::Draining, NodeState::Leaving, NodeState::Removed];
    states.into_iter().find(|state| state.as_str() == text).unwrap_or_else(|| panic!("no such state: {text}"))
}

/// `g2/3`: the third showtime, in the second group.
fn showtime_id(text: &str) -> ShowtimeId {
    let (group, counter) =
        text.strip_prefix('g').and_then(|text| text.split_once('/')).expect("a showtime is like g1/1");
    ShowtimeId::new(GroupId(group.parse().unwrap()), counter.parse().unwrap())
}

/// What a line tells the directory to do.
fn command(verb: &str, words: &Words) -> DirectoryCommand {
    let by = ADMIN;
    let expected_version = words.number("version");
    let event = || EventId(words.id("event"));
    let venue = || VenueId(words.id("venue"));
    let organisation = || OrganisationId(words.id("org"));
    let user = || user_id(&words.name());
    let node = || NodeNumber(words.id("n"));
    let voters = |words: &Words| {
        let numbers = words.plain.iter().filter_map(|word| word.strip_prefix('n')?.parse().ok());
        numbers.map(NodeNumber).collect()
    };
    match verb {
        "tick" => DirectoryCommand::Tick,
        "groups" => DirectoryCommand::SetGroups(SetGroups { expected_version, count: words.name().parse().unwrap() }),
        "install" => {
            DirectoryCommand::PutTokenKeys(PutTokenKeys { keys: words.plain.iter().map(|word| key(word)).collect() })
        }
        "rotate" => DirectoryCommand::RotateTokenKey(RotateTokenKey {
            expected_version,
            add: words.option("add").map(|text| key(&text)),
            retire: words.option("retire"),
        }),
        "found" => DirectoryCommand::CreateOrganisation(CreateOrganisation { by, name: words.name() }),
        "rename" => DirectoryCommand::UpdateOrganisation(UpdateOrganisation {
            by,
            organisation: organisation(),
            expected_version,
            name: words.option("name").unwrap_or_default(),
        }),
        "build" => DirectoryCommand::CreateVenue(CreateVenue {
            by,
            organisation: organisation(),
            name: words.option("name").unwrap_or("Hall".into()),
            city: words.option("city").unwrap_or_default(),
            country: words.option("country").unwrap_or_default(),
            map: layout(&words.option("map").unwrap_or("hall".into())),
        }),
        "rebuild" => DirectoryCommand::UpdateVenue(UpdateVenue {
            by,
            venue: venue(),
            expected_version,
            name: words.option("name"),
            city: words.option("city"),
            country: words.option("country"),
            map: words.option("map").map(|name| layout(&name)),
        }),
        "announce" => DirectoryCommand::CreateEvent(CreateEvent {
            by,
            organisation: organisation(),
            details: EventDetails {
                title: words.option("title").unwrap_or_default(),
                description: words.option("description").unwrap_or_default(),
                category: words.option("category").unwrap_or_default(),
                city: words.option("city").unwrap_or_default(),
                performers: words.all("performer"),
            },
        }),
        "edit" => DirectoryCommand::UpdateEvent(UpdateEvent {
            by,
            event: event(),
            expected_version,
            title: words.option("title"),
            description: words.option("description"),
            category: words.option("category"),
            city: words.option("city"),
            performers: Some(words.all("performer")).filter(|performers| !performers.is_empty()),
        }),
        "delete" => DirectoryCommand::DeleteEvent(DeleteEvent { by, event: event(), expected_version }),
        "schedule" => {
            let mut sale = Sale::default();
            sale.admission.rate_per_minute = words.number("rate").unwrap_or(sale.admission.rate_per_minute);
            let price = |amount: String| Money { amount: amount.parse().unwrap(), currency: Currency(*b"EUR") };
            DirectoryCommand::ScheduleShowtime(ScheduleShowtime {
                by,
                event: event(),
                venue: venue(),
                seat_map_version: words.number("map"),
                starts_at: Timestamp(words.option("starts").map_or(5_000, |text| millis(&text))),
                prices: words.all("price").into_iter().map(price).collect(),
                sale,
                draw_secret: [words.number("secret").unwrap_or(1); 32],
            })
        }
        "activate" => {
            let showtime = showtime_id(&words.name());
            DirectoryCommand::ActivateShowtime(ActivateShowtime { showtime, expected_version })
        }
        "archive" => {
            let showtime = showtime_id(&words.name());
            DirectoryCommand::ArchiveShowtime(ArchiveShowtime { showtime, expected_version })
        }
        "enrol" => DirectoryCommand::CreateUser(CreateUser {
            user: user(),
            email: words.option("email").unwrap_or_else(|| format!("{}@example.org", words.name())),
            password_hash: words.option("hash").unwrap_or_default(),
            name: words.option("name").unwrap_or_default(),
        }),
        "change" => DirectoryCommand::UpdateUser(UpdateUser {
            user: user(),
            expected_version,
            email: words.option("email"),
            password_hash: words.option("hash"),
            name: words.option("name"),
            is_active: words.option("active").map(|text| text == "yes"),
        }),
        "grant" => DirectoryCommand::GrantRole(GrantRole {
            by,
            user: user(),
            expected_version,
            organisation: words.find_id("org").map(OrganisationId),
            role: role(words.plain.last().expect("a role")),
        }),
        "revoke" => DirectoryCommand::RevokeRole(RevokeRole {
            by,
            user: user(),
            expected_version,
            organisation: words.find_id("org").map(OrganisationId),
        }),
        "register" => DirectoryCommand::RegisterNode(RegisterNode {
            node: node(),
            expected_version,
            address: words.option("at").unwrap_or("a:1".into()),
            incarnation: words.number("data").unwrap_or(1),
        }),
        "turn" => DirectoryCommand::SetNodeState(SetNodeState {
            node: node(),
            expected_version,
            state: state(words.plain.last().expect("a state")),
        }),
        "place" => {
            let group = GroupId(words.id("g") as u32);
            DirectoryCommand::SetPlacement(SetPlacement { group, expected_version, voters: voters(words) })
        }
        "limits" => DirectoryCommand::SetLimits(SetLimits {
            requests_max: words.number("requests"),
            request_age_max: words.option("age").map(|text| Millis(millis(&text))),
            event_age_min: words.option("events").map(|text| Millis(millis(&text))),
            events_max: words.number("eventsmax"),
            tickets_max: words.number("tickets"),
        }),
        "follow" => DirectoryCommand::RegisterSink(RegisterSink { sink: words.name() }),
        "acknowledge" => {
            let sequence = words.plain[1].parse().unwrap();
            DirectoryCommand::AcknowledgeEvents(AcknowledgeEvents { sink: words.name(), sequence })
        }
        "retire" => DirectoryCommand::RetireNode(RetireNode {
            node: node(),
            expected_version,
            state: state(words.plain.last().expect("a state")),
            active_min: words.number("min").unwrap_or(0),
        }),
        "unfollow" => DirectoryCommand::RemoveSink(RemoveSink { sink: words.name() }),
        other => panic!("no such verb: {other}"),
    }
}

fn show_showtime(record: &ShowtimeRecord) -> String {
    let (group, number) = (record.showtime.group(), record.showtime.counter());
    let ShowtimeRecord { venue, event, seat_map_version, state, version, .. } = record;
    let (venue, event, secret) = (venue.0, event.0, record.draw_secret[0]);
    format!(
        "{group}/{number} of event{event} in venue{venue} as of {seat_map_version}, secret {secret}, {state} v{version}"
    )
}

fn show_event(entry: &EventEntry) -> String {
    let EventDetails { title, description, category, city, performers } = &entry.details;
    let parts = [title.as_str(), description, category, city, &performers.join("+")].join("|");
    format!("event{} {parts} v{}", entry.event.0, entry.version)
}

fn show_list<T>(list: &[T], show: impl Fn(&T) -> String) -> String {
    if list.is_empty() { "none".into() } else { list.iter().map(show).collect::<Vec<_>>().join("; ") }
}

fn show_keys(version: u64, keys: &[TokenKey]) -> String {
    let kids: Vec<&str> = keys.iter().map(|key| key.kid.as_str()).collect();
    format!("keys v{version}: {}", kids.join(" "))
}

/// An answer in few words.
fn show(answer: &DirectoryAnswer) -> String {
    match answer {
        DirectoryAnswer::Venue(venue) => venue.as_ref().map_or("none".into(), |venue| {
            let VenueRecord { venue, organisation, name, city, country, version, seat_map_version, map } = &**venue;
            let (venue, organisation, areas) = (venue.0, organisation.0, map.areas.len());
            format!("venue{venue} of org{organisation} {name}|{city}|{country} map {seat_map_version}, {areas} areas, v{version}")
        }),
        DirectoryAnswer::Event(event) => event.as_ref().map_or("none".into(), |event| show_event(event)),
        DirectoryAnswer::Events { events, next } => {
            let more = next.map_or(String::new(), |next| format!(", more after event{}", next.0));
            show_list(events, |entry| entry.details.title.clone()) + &more
        }
        DirectoryAnswer::Showtime(showtime) => showtime.as_ref().map_or("none".into(), |found| show_showtime(found)),
        DirectoryAnswer::Showtimes(found) => show_list(found, show_showtime),
        DirectoryAnswer::Groups(groups) => {
            show_list(groups, |record| format!("{} has {}", record.group, record.showtimes))
        }
        DirectoryAnswer::TokenKeys { version, keys } => show_keys(*version, keys),
        DirectoryAnswer::Organisation(found) => found.as_ref().map_or("none".into(), show_organisation),
        DirectoryAnswer::Organisations(found) => show_list(found, show_organisation),
        DirectoryAnswer::SeatMap(map) => map.as_ref().map_or("none".into(), |map| format!("{} areas", map.areas.len())),
        DirectoryAnswer::User(user) => user.as_ref().map_or("none".into(), |user| {
            let UserRecord { user, email, name, password_hash, is_active, version, .. } = &**user;
            let place = |place: &Option<OrganisationId>| place.map_or("everywhere".into(), |id| format!("org{}", id.0));
            let roles: Vec<_> = user_roles(answer).map(|(at, role)| format!(", {role} {}", place(at))).collect();
            let out = if *is_active { "" } else { ", shut out" };
            format!("{} {email}|{name}|{password_hash}{}{out} v{version}", user_name(*user), roles.concat())
        }),
        DirectoryAnswer::Nodes(nodes) => {
            show_list(nodes, |node| format!("{} at {} {} v{}", node.node, node.address, node.state, node.version))
        }
        DirectoryAnswer::Placements(placements) => show_list(placements, |placement| {
            let voters: Vec<String> = placement.voters.iter().map(ToString::to_string).collect();
            format!("{} on {} v{}", placement.group, voters.join(" "), placement.version)
        }),
    }
}

fn show_organisation(record: &OrganisationRecord) -> String {
    format!("org{} {} v{}", record.organisation.0, record.name, record.version)
}

fn user_roles(answer: &DirectoryAnswer) -> impl Iterator<Item = (&Option<OrganisationId>, &Role)> {
    let DirectoryAnswer::User(Some(user)) = answer else { unreachable!("only users have roles") };
    user.roles.iter()
}

fn show_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".into(),
        Outcome::TokenKeys { version, keys } => show_keys(*version, keys),
        Outcome::OrganisationCreated { organisation } => format!("org{}", organisation.0),
        Outcome::VenueCreated { venue, version } => format!("venue{} map {version}", venue.0),
        Outcome::EventStored { event, version } => format!("event{} v{version}", event.0),
        Outcome::ShowtimeStored { showtime } => show_showtime(showtime),
        Outcome::Stored { version } => format!("v{version}"),
        Outcome::UserCreated { user } => user_name(*user),
        other => format!("{other:?}"),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self { directory: Directory::new(GroupId::DIRECTORY), stored: BTreeMap::new(), seen: 0 }
    }

    fn apply(&mut self, at: u64, request: Option<RequestId>, command: DirectoryCommand) -> String {
        let reply = self.directory.apply(Timestamp(at), &[Envelope { request, command }]).remove(0);
        let text = match &reply.result {
            Ok(outcome) => show_outcome(outcome),
            Err(refusal) => format!("refused: {refusal}"),
        };
        if reply.replayed { format!("{text} (replayed)") } else { text }
    }

    /// Every invariant, and that rows give the directory back.
    fn check_storage(&mut self) {
        self.directory.audit().unwrap();
        for (key, value) in self.directory.drain_dirty().0 {
            match value {
                Some(value) => self.stored.insert(key, value),
                None => self.stored.remove(&key),
            };
        }
        let rows = self.directory.rows();
        let stored: Vec<Row> =
            self.stored.iter().map(|(key, value)| Row { key: key.clone(), value: value.clone() }).collect();
        assert_eq!(stored, rows, "the drained rows are not the rows");
        let loaded = Directory::load(GroupId::DIRECTORY, rows.into_iter()).unwrap();
        assert_eq!(loaded.digest(), self.directory.digest());
    }

    /// Plays one line.
    fn run(&mut self, left: &str) -> String {
        let words: Vec<&str> = left.split_whitespace().collect();
        let (at, verb) = (millis(words[0]), words[1]);
        if verb == "repeat" {
            // `0s repeat 3 found {}`: each number from 1 in place of the braces; the last answer counts.
            let count: u64 = words[2].parse().unwrap();
            let line = |number: u64| words[3..].join(" ").replace("{}", &number.to_string());
            return (1..=count).map(|number| self.run_once(at, &line(number))).last().unwrap_or_default();
        }
        let right = self.run_once(at, &words[1..].join(" "));
        self.check_storage();
        right
    }

    fn run_once(&mut self, at: u64, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = (words[0], Words::parse(&words[1..]));
        match verb {
            "show" => self.show(&words),
            "restart" => {
                self.directory = Directory::load(GroupId::DIRECTORY, self.directory.rows().into_iter()).unwrap();
                "restarted".into()
            }
            "refound" => {
                self.directory.refound(words.name().parse().unwrap());
                "another cluster".into()
            }
            verb => {
                let request = words.option("key").map(|key| RequestId(user_id(&key).0));
                self.apply(at, request, command(verb, &words))
            }
        }
    }

    fn show(&mut self, words: &Words) -> String {
        let name = words.name();
        let time = |name: &str| words.option(name).map(|text| Timestamp(millis(&text)));
        let query = match name.as_str() {
            "facts" => {
                let events = self.directory.events(self.seen + 1, usize::MAX).unwrap();
                self.seen = self.directory.last_sequence();
                return events.iter().map(|record| record.event.kind()).collect::<Vec<_>>().join(" ");
            }
            "log" => {
                let oldest = self.directory.events(1, 1).map_or_else(|oldest| oldest, |_| 1);
                return format!("facts {oldest} to {}", self.directory.last_sequence());
            }
            "groups" => DirectoryQuery::Groups,
            "keys" => DirectoryQuery::TokenKeys,
            "organisations" => DirectoryQuery::Organisations,
            "nodes" => DirectoryQuery::Nodes,
            "placements" => DirectoryQuery::Placements,
            "provisioning" => DirectoryQuery::Provisioning,
            "events" => DirectoryQuery::Events(EventFilter {
                organisation: words.find_id("org").map(OrganisationId),
                text: words.option("text"),
                city: words.option("city"),
                category: words.option("category"),
                from: time("from"),
                to: time("to"),
                after: words.number("after").map(EventId),
                limit: words.number("limit").unwrap_or(0),
            }),
            "showtimes" => DirectoryQuery::Showtimes(EventId(words.id("event"))),
            "map" => {
                let (venue, version) = (VenueId(words.id("venue")), words.number("version").unwrap_or(1));
                DirectoryQuery::SeatMap { venue, version }
            }
            "user" => DirectoryQuery::User(user_id(&words.plain[1])),
            "email" => DirectoryQuery::UserByEmail(words.plain[1].clone()),
            name if name.starts_with("org") => DirectoryQuery::Organisation(OrganisationId(words.id("org"))),
            name if name.starts_with("venue") => DirectoryQuery::Venue(VenueId(words.id("venue"))),
            name if name.starts_with("event") => DirectoryQuery::Event(EventId(words.id("event"))),
            name => DirectoryQuery::Showtime(showtime_id(name)),
        };
        show(&self.directory.query(&query))
    }
}

/// Replays the left side of a transcript and compares the right, or rewrites it under `UPDATE_EXPECT=1`.
#[track_caller]
pub(super) fn check(expect: Expect) {
    let mut world = World::new();
    crate::transcript::check(expect, |left| world.run(left));
}

//! What a gateway can be told.

use std::time::Duration;
use vestibule_engine::TokenKey;

/// The settings of a gateway. All gateways of a cluster need the same `issuer`; the rest is each one's own.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Who issues the tokens: the claim `iss`, the same on every gateway of the cluster. A URL where OpenID discovery is
    /// wanted.
    pub issuer: String,
    /// Whether anybody may become a guest.
    pub guests: bool,
    /// How long the access token of a guest or organiser lives. Whole seconds.
    pub access_ttl: Duration,
    /// How long a `ticketToken` lives. Whole seconds.
    pub ticket_token_ttl: Duration,
    /// How far clocks may be apart when a token is checked. Whole seconds.
    pub token_leeway: Duration,
    /// The keys to install where the cluster has none, in place of freshly made ones. For tests and simulations, which
    /// must not depend on the randomness inside the cryptography.
    pub first_token_keys: Option<Vec<TokenKey>>,
    /// Where work is done that would hold up other requests: RSA signatures, reading large plans.
    pub heavy_work: HeavyWork,
    /// How long a command may take to find its leader and its answer.
    pub write_patience: Duration,
    /// How long a question may take.
    pub read_patience: Duration,
    /// How long any request may take, reading its body included.
    pub request_timeout: Duration,
    /// Requests under way at once; more are turned away with 503.
    pub requests_max: usize,
    /// Connections open at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long a connection may take to send the head of a request.
    pub head_timeout: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what is written to it. An answer may take longer in all.
    pub write_timeout: Duration,
    /// The longest body, in bytes.
    pub body_len_max: usize,
    /// The longest body of a new venue, in bytes.
    pub plan_len_max: usize,
    /// How old the public status of a line may get while somebody asks for it.
    pub status_age_max: Duration,
    /// How often the body that shows all seats is written anew, at most.
    pub seats_age_max: Duration,
    /// Showtimes whose seats and status are kept in memory; the least asked for goes first.
    pub showtimes_max: usize,
    /// Venue layouts kept in memory, each a few MB for a large arena; the least asked for goes first.
    pub layouts_max: usize,
    /// Seat changes remembered per showtime, for `?since=`.
    pub changes_max: usize,
    /// How long open connections have to finish once the gateway is told to stop.
    pub drain_timeout: Duration,
}

/// Where work is done that takes a quarter of a millisecond or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeavyWork {
    /// On tokio's blocking threads, this many at once: other requests are not held up.
    Pool(usize),
    /// Where the request is handled. For simulations, which have one thread.
    Inline,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            issuer: "https://vestibule.local".to_owned(),
            guests: true,
            access_ttl: Duration::from_secs(12 * 60 * 60),
            ticket_token_ttl: Duration::from_secs(24 * 60 * 60),
            token_leeway: Duration::from_secs(5),
            first_token_keys: None,
            heavy_work: HeavyWork::Pool(2),
            write_patience: Duration::from_secs(5),
            read_patience: Duration::from_secs(2),
            request_timeout: Duration::from_secs(20),
            requests_max: 4_096,
            connections_max: 20_000,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(30),
            body_len_max: 1 << 20,
            plan_len_max: 16 << 20,
            status_age_max: Duration::from_millis(250),
            seats_age_max: Duration::from_millis(100),
            showtimes_max: 1_024,
            layouts_max: 64,
            changes_max: 65_536,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

//! What a seed decides about gateways and their clients. Bounds and time-outs shrink at random, far below what anybody would
//! run with: what a bound cuts off has to come out right all the same.

use super::provider::ProviderOptions;
use crate::dice::Dice;
use std::fmt;
use std::time::Duration;
use vestibule_client::Settings;
use vestibule_gateway::{GatewayConfig, HeavyWork};

/// See the file's head.
#[derive(Debug, Clone)]
pub struct WebOptions {
    /// Machines with visitors on them.
    pub hosts: usize,
    /// Visitors at each.
    pub visitors: usize,
    /// How gateways are set up.
    pub gateway: GatewayConfig,
    /// How far a gateway's clock may be off, in milliseconds. Well within what tokens allow.
    pub skew_max_ms: u64,
    /// How patient clients are.
    pub client: Settings,
    /// How many commands in a hundred are sent again under their key after they were answered.
    pub again: u64,
    /// How the payment provider is.
    pub provider: ProviderOptions,
}

impl WebOptions {
    /// Draws them.
    pub fn draw(dice: &mut Dice) -> Self {
        let (hosts, visitors) = (dice.within(1..=2) as usize, dice.within(2..=4) as usize);
        // Every visitor has a place, also while an attempt that its client gave up on is still under way.
        let places = hosts * visitors * 3;
        let gateway = GatewayConfig {
            first_token_keys: Some(super::keys::token_keys()),
            heavy_work: HeavyWork::Inline,
            write_patience: dice.millis(1_000..=4_000),
            read_patience: dice.millis(500..=2_000),
            request_timeout: dice.millis(3_000..=10_000),
            requests_max: places + dice.within(4..=24) as usize,
            connections_max: 512,
            head_timeout: dice.millis(500..=3_000),
            body_timeout: dice.millis(500..=3_000),
            body_len_max: *dice.pick(&[4 << 10, 1 << 20]),
            status_age_max: dice.millis(0..=500),
            seats_age_max: dice.millis(0..=500),
            showtimes_max: *dice.pick(&[1, 2, 1_024]),
            layouts_max: 1,
            changes_max: *dice.pick(&[1, 8, 64, 65_536]),
            drain_timeout: Duration::from_secs(1),
            ..GatewayConfig::default()
        };
        let client = Settings {
            attempt_timeout: dice.millis(1_000..=5_000),
            call_timeout: dice.millis(5_000..=15_000),
            attempts_max: dice.within(2..=6) as u32,
            pause_min: dice.millis(10..=50),
            pause_max: dice.millis(200..=1_000),
            idle_connections_max: *dice.pick(&[1, 32]),
            ..Settings::default()
        };
        let again = *dice.pick(&[5, 20, 40]);
        Self { hosts, visitors, gateway, skew_max_ms: 2_000, client, again, provider: ProviderOptions::draw(dice) }
    }
}

impl fmt::Display for WebOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, visitors, gateway, client, again, provider, .. } = self;
        writeln!(f, "{hosts} hosts with {visitors} visitors each, {again} % asked again under their key")?;
        writeln!(
            f,
            "  gateways: {} requests at most, {:?} for a head, {:?} for a body, {:?} for all; {} showtimes and {} changes kept",
            gateway.requests_max,
            gateway.head_timeout,
            gateway.body_timeout,
            gateway.request_timeout,
            gateway.showtimes_max,
            gateway.changes_max
        )?;
        writeln!(
            f,
            "  gateways: commands take {:?}, reads {:?}, bodies have {} bytes at most, status is {:?} old, seats {:?}; clocks off by up to {} ms",
            gateway.write_patience,
            gateway.read_patience,
            gateway.body_len_max,
            gateway.status_age_max,
            gateway.seats_age_max,
            self.skew_max_ms
        )?;
        writeln!(f, "  payments: {provider}")?;
        write!(
            f,
            "  clients: {} attempts of {:?}, {:?} in all, {:?} to {:?} apart, {} connections kept",
            client.attempts_max,
            client.attempt_timeout,
            client.call_timeout,
            client.pause_min,
            client.pause_max,
            client.idle_connections_max
        )
    }
}

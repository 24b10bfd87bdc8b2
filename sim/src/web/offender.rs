//! Those who harm a gateway: slow ones, deaf ones, and too many at once. What the gateway owes is that it gets rid of them in
//! time, turns away what it has no room for, and then serves others as if nothing had been.

use super::Web;
use super::net::{PORT, connect};
use super::visits::{Deed, Endured, Offence, Said, Visit};
use crate::dice::Dice;
use crate::gateway::gateway_name;
use crate::net::Connection;
use crate::options::Options;
use crate::trace::Trace;
use crate::workload::{House, Shop, Stage};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

/// How much longer than its time-out a gateway may put up with somebody: packets take a while.
const SLACK: Duration = Duration::from_millis(1_000);
/// How soon after an offence others have to be served.
const SERVED_MAX: Duration = Duration::from_millis(2_000);

/// Commits what is wanted until the run closes.
pub(super) async fn offend(options: &Options, shop: &Shop, house: Arc<House>, trace: &Trace) {
    let dice = Dice::new(options.seed, "offender");
    let mut offender = Offender { options, web: shop.web.clone(), house, trace: trace.clone(), dice };
    while shop.stage() < Stage::Closing {
        match shop.web.take_wanted() {
            Some((offence, gateway)) => offender.commit(offence, gateway).await,
            None => sleep(Duration::from_millis(50)).await,
        }
    }
}

struct Offender<'a> {
    options: &'a Options,
    web: Web,
    house: Arc<House>,
    trace: Trace,
    dice: Dice,
}

impl Offender<'_> {
    async fn commit(&mut self, offence: Offence, gateway: usize) {
        let Some(life) = self.web.life(gateway) else { return };
        let visit = self.web.visits.begin(Visit {
            number: 0,
            by: "offender".to_owned(),
            user: None,
            key: None,
            through: Some((gateway, life)),
            deed: Deed::Offend(offence),
            at: Duration::ZERO,
        });
        let host = gateway_name(gateway);
        let endured = match offence {
            Offence::SlowHead => self.slow_heads(&host).await,
            Offence::SlowBody => self.slow_bodies(&host).await,
            Offence::DeafEar => self.deaf_ear(&host).await,
            Offence::Rush => self.rush(&host).await,
        };
        let served_after = self.is_served(&host).await;
        let said = match endured {
            _ if self.web.life(gateway) != Some(life) => Said::NotDone("the gateway died meanwhile".to_owned()),
            Ok((borne, turned_away)) => {
                Said::Endured(Endured { borne, turned_away, served_after, served_max: SERVED_MAX })
            }
            Err(error) => Said::Unfit(format!("it lives and takes no connections: {error}")),
        };
        self.web.visits.end(&visit, said);
    }

    async fn connect(&self, host: &str) -> io::Result<Connection> {
        timeout(SERVED_MAX, connect(host, PORT, self.trace.clone())).await?
    }

    /// Some say nothing at all, some begin a head and never end it.
    async fn slow_heads(&mut self, host: &str) -> io::Result<Outcome> {
        let limit = self.options.web.gateway.head_timeout + SLACK;
        let mut all = Vec::new();
        for _ in 0..self.dice.within(2..=6) {
            let connection = self.connect(host).await?;
            let text = *self.dice.pick(&["", "P", "PRI * HTTP/2.0\r\n", "GET /api/v1/events HTTP/1.1\r\nx-slow: "]);
            let gap = self.dice.millis(20..=200);
            all.push(drip(connection, Vec::new(), text.as_bytes().to_vec(), gap, limit));
        }
        let borne = futures::future::join_all(all).await.into_iter().map(|(borne, _)| borne).max();
        Ok((borne.map(|borne| (borne, limit)), (0, 0)))
    }

    /// A body is announced and comes a byte at a time.
    async fn slow_bodies(&mut self, host: &str) -> io::Result<Outcome> {
        let limit = self.options.web.gateway.body_timeout + SLACK;
        let mut all = Vec::new();
        for _ in 0..self.dice.within(1..=4) {
            let connection = self.connect(host).await?;
            let gap = self.dice.millis(20..=200);
            all.push(drip(connection, announce(host), b"{".to_vec(), gap, limit));
        }
        let borne = futures::future::join_all(all).await.into_iter().map(|(borne, _)| borne).max();
        Ok((borne.map(|borne| (borne, limit)), (0, 0)))
    }

    /// Asks for all seats time and again, and reads nothing.
    async fn deaf_ear(&mut self, host: &str) -> io::Result<Outcome> {
        let mut connection = self.connect(host).await?;
        let showtime = *self.dice.pick(&self.house.showtimes);
        let request = format!("GET /api/v1/showtimes/{showtime}/seats HTTP/1.1\r\nhost: {host}\r\n\r\n");
        for _ in 0..self.dice.within(16..=64) {
            if connection.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
        sleep(self.dice.millis(200..=2_000)).await;
        Ok((None, (0, 0)))
    }

    /// Takes every place for requests that there is, and asks for more.
    async fn rush(&mut self, host: &str) -> io::Result<Outcome> {
        let room = self.options.web.gateway.requests_max as u64;
        let extra = self.dice.within(4..=16);
        let limit = self.options.web.gateway.body_timeout + SLACK;
        let mut all = Vec::new();
        for _ in 0..room + extra {
            let connection = self.connect(host).await?;
            all.push(drip(connection, announce(host), Vec::new(), limit, limit));
        }
        let ended = futures::future::join_all(all).await;
        let turned_away = ended.iter().filter(|(_, answer)| answer.starts_with(b"HTTP/1.1 503")).count() as u64;
        let borne = ended.into_iter().map(|(borne, _)| borne).max();
        Ok((borne.map(|borne| (borne, limit)), (turned_away, extra)))
    }

    /// How long it takes until somebody else is served.
    async fn is_served(&self, host: &str) -> Option<Duration> {
        let start = Instant::now();
        while start.elapsed() <= SERVED_MAX {
            let left = SERVED_MAX.saturating_sub(start.elapsed()) + Duration::from_millis(1);
            if timeout(left, self.probe(host)).await.is_ok_and(|probed| probed.is_ok_and(|is_served| is_served)) {
                return Some(start.elapsed());
            }
            sleep(Duration::from_millis(20)).await;
        }
        None
    }

    async fn probe(&self, host: &str) -> io::Result<bool> {
        let mut connection = self.connect(host).await?;
        let request = format!("GET /health/live HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    }
}

/// How long the gateway bore it and how long it may; how many were turned away and how many have to be.
type Outcome = (Option<(Duration, Duration)>, (u64, u64));

/// The head of a request that has a body.
fn announce(host: &str) -> Vec<u8> {
    format!("POST /api/v1/auth/guest HTTP/1.1\r\nhost: {host}\r\ncontent-length: 4096\r\n\r\n").into_bytes()
}

/// Sends `at_once`, then `slowly` a byte at a time and its last byte again and again, until there is an answer, or the
/// connection is closed, or the gateway has borne it for twice as long as it may. Gives how long that was, and the answer.
async fn drip(
    mut connection: Connection,
    at_once: Vec<u8>,
    slowly: Vec<u8>,
    gap: Duration,
    limit: Duration,
) -> (Duration, Vec<u8>) {
    let start = Instant::now();
    let mut answer = vec![0; 64];
    if connection.write_all(&at_once).await.is_err() {
        return (start.elapsed(), Vec::new());
    }
    let mut next = 0;
    while start.elapsed() < limit * 2 {
        if let Some(&byte) = slowly.get(next).or(slowly.last().filter(|_| !slowly.ends_with(b"\n")))
            && connection.write_all(&[byte]).await.is_err()
        {
            break;
        }
        next += 1;
        match timeout(gap, connection.read(&mut answer)).await {
            Ok(Ok(len)) => {
                answer.truncate(len);
                return (start.elapsed(), answer);
            }
            Ok(Err(_)) => break,
            Err(_) => {}
        }
    }
    (start.elapsed(), Vec::new())
}

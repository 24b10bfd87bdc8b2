//! One call: deadline, repetition, failover, and the reading of the answer.

use crate::{BadUrl, BaseUrl, Error, Problem, Token};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// What opens connections: [`HttpConnector`], or a simulated network's own.
pub trait Connector: Connect + Clone + Send + Sync + 'static {}

impl<C: Connect + Clone + Send + Sync + 'static> Connector for C {}

/// How patient a client is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long one attempt may take, its answer read to the end.
    pub attempt_timeout: Duration,
    /// How long a call may take with all its repetitions and pauses.
    pub call_timeout: Duration,
    /// How often a call is tried at most.
    pub attempts_max: u32,
    /// The pause before the first repetition; it doubles with each, and is shortened by up to half at random.
    pub pause_min: Duration,
    /// The longest such pause. A longer `Retry-After` is honoured as long as the call's deadline allows.
    pub pause_max: Duration,
    /// The longest answer that is read, in bytes.
    pub answer_len_max: usize,
    /// Idle connections kept open a gateway.
    pub idle_connections_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            attempts_max: 6,
            pause_min: Duration::from_millis(50),
            pause_max: Duration::from_secs(2),
            answer_len_max: 32 << 20,
            idle_connections_max: 32,
        }
    }
}

/// Names one request for ever. Whatever is repeated with the same key is done once, and answered alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key of the caller's own making: visible ASCII, 1 to 255 characters.
    pub fn new(key: impl Into<String>) -> Result<Self, Error> {
        let key = key.into();
        let fits = (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(key))
        } else {
            Err(Error::BadCall("an idempotency key is 1 to 255 visible ASCII".to_owned()))
        }
    }

    /// The key as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client met so far, see [`Client::figures`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Requests sent, repetitions included.
    pub attempts: u64,
    /// Answers 429 and 503.
    pub turned_away: u64,
    /// Attempts without an answer: no connection, a broken one, or time out.
    pub unanswered: u64,
    /// Changes to another gateway.
    pub failovers: u64,
}

#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    turned_away: AtomicU64,
    unanswered: AtomicU64,
    failovers: AtomicU64,
}

/// A client of one deployment. Cheap to clone; clones share connections and dice.
///
/// Calls go to the first gateway of the list until it cannot be reached, then to the next, round and round. A call that
/// was turned away with 429 or 503, or got no answer, is repeated with the same idempotency key.
pub struct Client<C = HttpConnector> {
    shared: Arc<Shared<C>>,
    dice: Arc<Mutex<ChaCha8Rng>>,
}

struct Shared<C> {
    http: legacy::Client<C, Full<Bytes>>,
    gateways: Vec<BaseUrl>,
    /// Index of the gateway that is asked first.
    preferred: AtomicUsize,
    settings: Settings,
    counters: Counters,
}

impl<C> Clone for Client<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), dice: self.dice.clone() }
    }
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("gateways", &self.shared.gateways).finish_non_exhaustive()
    }
}

impl Client<HttpConnector> {
    /// A client of these gateways over TCP. Pauses and idempotency keys are drawn from `seed`: two clients of one buyer
    /// must not share a seed, see [`entropy_seed`].
    pub fn new<U: AsRef<str>>(
        gateways: impl IntoIterator<Item = U>,
        settings: Settings,
        seed: u64,
    ) -> Result<Self, BadUrl> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(settings.attempt_timeout));
        Self::with_connector(connector, gateways, settings, seed)
    }
}

impl<C: Connector> Client<C> {
    /// A client that opens connections in its own way.
    pub fn with_connector<U: AsRef<str>>(
        connector: C,
        gateways: impl IntoIterator<Item = U>,
        settings: Settings,
        seed: u64,
    ) -> Result<Self, BadUrl> {
        let gateways: Vec<BaseUrl> = gateways.into_iter().map(|url| url.as_ref().parse()).collect::<Result<_, _>>()?;
        if gateways.is_empty() {
            return Err(BadUrl::none_given());
        }
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(settings.idle_connections_max)
            .build(connector);
        let counters = Counters::default();
        let shared = Arc::new(Shared { http, gateways, preferred: AtomicUsize::new(0), settings, counters });
        Ok(Self { shared, dice: Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))) })
    }

    /// A client over the same connections with dice of its own.
    pub fn reseeded(&self, seed: u64) -> Self {
        Self { shared: self.shared.clone(), dice: Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed))) }
    }

    /// A key for a new request, drawn from the seed.
    pub fn new_key(&self) -> IdempotencyKey {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        IdempotencyKey(format!("{:016x}{:016x}", dice.next_u64(), dice.next_u64()))
    }

    /// What all clients over these connections met so far.
    pub fn figures(&self) -> Figures {
        let counters = &self.shared.counters;
        Figures {
            attempts: counters.attempts.load(Ordering::Relaxed),
            turned_away: counters.turned_away.load(Ordering::Relaxed),
            unanswered: counters.unanswered.load(Ordering::Relaxed),
            failovers: counters.failovers.load(Ordering::Relaxed),
        }
    }

    /// The gateways, in the order given.
    pub fn gateways(&self) -> &[BaseUrl] {
        &self.shared.gateways
    }

    /// Carries out a call and reads its answer as JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Error> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error::Malformed { status: answer.status.as_u16(), reason: error.to_string() })
    }

    /// Carries out a call whose answer has nothing to read.
    pub(crate) async fn tell(&self, call: Call<'_>) -> Result<(), Error> {
        self.send(call).await.map(|_| ())
    }

    /// Carries out a call: repeats it as long as that may help, and gives the first answer that is none of 429 and 5xx.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer, Error> {
        let settings = &self.shared.settings;
        let counters = &self.shared.counters;
        let deadline = Instant::now() + settings.call_timeout;
        let body = call.body?;
        let gateway_count = self.shared.gateways.len();
        let mut maybe_done = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            counters.attempts.fetch_add(1, Ordering::Relaxed);
            let position = self.shared.preferred.load(Ordering::Relaxed) % gateway_count;
            let gateway = &self.shared.gateways[position];
            let request = Self::request(gateway, &call.method, &call.path, call.token, call.key.as_ref(), &body)?;
            let attempt_deadline = deadline.min(Instant::now() + settings.attempt_timeout);
            let error = match timeout_at(attempt_deadline, self.attempt(gateway, request)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => Error::TimedOut { after: settings.attempt_timeout },
            };
            maybe_done |= call.method != Method::GET && error.is_outcome_unknown();
            let unanswered = matches!(error, Error::TimedOut { .. } | Error::Unreachable { .. } | Error::Lost { .. });
            if unanswered {
                counters.unanswered.fetch_add(1, Ordering::Relaxed);
                let next = (position + 1) % gateway_count;
                let moved =
                    self.shared.preferred.compare_exchange(position, next, Ordering::Relaxed, Ordering::Relaxed);
                if moved.is_ok() && next != position {
                    counters.failovers.fetch_add(1, Ordering::Relaxed);
                }
            } else if error.problem().is_some_and(|problem| matches!(problem.status, 429 | 503)) {
                counters.turned_away.fetch_add(1, Ordering::Relaxed);
            }

            let pause = if unanswered && (attempt as usize) < gateway_count {
                Duration::ZERO // Another gateway may well be there.
            } else {
                self.pause(attempt, error.problem().and_then(|problem| problem.retry_after))
            };
            let again =
                error.is_worth_repeating() && attempt < settings.attempts_max && Instant::now() + pause < deadline;
            if !again {
                // An answer such as 404 to a repetition settles nothing about the first attempt, but it is an answer.
                let settled = error.problem().is_some_and(|problem| problem.status < 500 && problem.status != 429);
                let unknown = maybe_done && !settled;
                return Err(if unknown { Error::OutcomeUnknown { last: Box::new(error) } } else { error });
            }
            sleep(pause).await;
        }
    }

    /// One attempt at one gateway. An answer is a status below 400, whatever else came is an error.
    async fn attempt(&self, gateway: &BaseUrl, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        let response = self.shared.http.request(request).await.map_err(|error| {
            let (gateway, reason) = (gateway.to_string(), chain_of(&error));
            if error.is_connect() { Error::Unreachable { gateway, reason } } else { Error::Lost { gateway, reason } }
        })?;
        let (head, body) = response.into_parts();
        let limit = self.shared.settings.answer_len_max;
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Error::TooLarge { limit }
            } else {
                Error::Lost { gateway: gateway.to_string(), reason: error.to_string() }
            }
        })?;
        let answer = Answer { status: head.status, headers: head.headers, body: body.to_bytes() };
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            Ok(answer)
        } else {
            Err(answer.into_error())
        }
    }

    fn request(
        gateway: &BaseUrl,
        method: &Method,
        path: &str,
        token: Option<&Token>,
        key: Option<&IdempotencyKey>,
        body: &Option<Bytes>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let uri = gateway.join(path).ok_or_else(|| Error::BadCall(format!("{path} is not a path")))?;
        let mut request = Request::builder().method(method).uri(uri).header(header::HOST, gateway.host());
        request = request.header(header::ACCEPT, "application/json, application/problem+json");
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
                .map_err(|_| Error::BadCall("the token has characters that no token has".to_owned()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(key) = key {
            request = request.header(HeaderName::from_static("idempotency-key"), key.as_str());
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::new(body.clone().unwrap_or_default());
        request.body(body).map_err(|error| Error::BadCall(error.to_string()))
    }

    /// How long to wait after the `attempt`th attempt.
    fn pause(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let settings = &self.shared.settings;
        let doubled = settings.pause_min.saturating_mul(1 << (attempt - 1).min(20)).min(settings.pause_max);
        // Between half and the whole. A wish of the server is never cut short, and spread by up to a quarter.
        match retry_after {
            Some(wish) if wish >= doubled => wish + wish.mul_f64(self.roll() / 4.0),
            _ => doubled.mul_f64(0.5 + self.roll() / 2.0),
        }
    }

    /// A number from 0 up to, but not including, 1.
    fn roll(&self) -> f64 {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        f64::from(dice.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

/// A seed from the system's randomness.
#[expect(clippy::disallowed_types, reason = "a seed for those who bring none")]
pub fn entropy_seed() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// What is to be asked.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) token: Option<&'a Token>,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) body: Result<Option<Bytes>, Error>,
}

impl<'a> Call<'a> {
    /// A call to `path` below `/api/v1`.
    pub(crate) fn new(method: Method, path: impl AsRef<str>) -> Self {
        Self { method, path: format!("/api/v1{}", path.as_ref()), token: None, key: None, body: Ok(None) }
    }

    pub(crate) fn get(path: impl AsRef<str>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl AsRef<str>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn token(mut self, token: &'a Token) -> Self {
        self.token = Some(token);
        self
    }

    pub(crate) fn key(mut self, key: &IdempotencyKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    pub(crate) fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        self.body = match serde_json::to_vec(body) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(Error::BadCall(error.to_string())),
        };
        self
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    fn into_error(self) -> Error {
        let status = self.status.as_u16();
        // Seconds only: our servers send no dates.
        let retry_after = self.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let mut problem = match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => problem,
            // A proxy in between has its own way of saying that it is overloaded.
            Err(_) if matches!(status, 429 | 502 | 503 | 504) => Problem {
                kind: String::new(),
                title: String::new(),
                status,
                detail: "not a problem+json".to_owned(),
                code: String::new(),
                request_id: None,
                retry_after: None,
                extra: serde_json::Map::new(),
            },
            Err(error) => return Error::Malformed { status, reason: error.to_string() },
        };
        problem.status = status;
        problem.retry_after = retry_after;
        Error::Refused(Box::new(problem))
    }
}

/// An error with all its causes: hyper's own text alone is "client error (Connect)".
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

//! What handlers take from a request, and the problems there are when it is not there.

use crate::app::App;
use crate::error::Problem;
use crate::tokens::{Caller, Grant, Role};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::str::FromStr;
use std::sync::Arc;
use vestibule_engine::planted::{self, Bug};
use vestibule_engine::{OrganisationId, RequestId, TicketId, UserId};

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        app.tokens.verify(bearer(&parts.headers)?).await
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let missing = || Problem::unauthenticated("token_required", "this needs a token: Authorization: Bearer …");
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(Problem::unauthenticated("invalid_token", "there is more than one Authorization header"));
    }
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(missing()) }
}

impl Caller {
    /// A buyer: anybody with an access token, or with the admission token made of it.
    pub(crate) fn buyer(&self) -> Result<UserId, Problem> {
        match self.grant {
            Grant::Access { .. } | Grant::Admission { .. } => Ok(self.user),
            Grant::Ticket { .. } => Err(Problem::forbidden("wrong_token", "a ticket token only opens its ticket")),
        }
    }

    /// Whoever may act on this ticket, as far as the token says: a ticket or admission token must be of this very one.
    pub(crate) fn holder_of(&self, ticket: TicketId) -> Result<UserId, Problem> {
        match self.grant {
            Grant::Access { .. } => Ok(self.user),
            Grant::Ticket { showtime, number, .. } | Grant::Admission { showtime, number } => {
                if (TicketId { showtime, number }) == ticket {
                    Ok(self.user)
                } else {
                    Err(Problem::not_found("no_such_ticket", "there is no such ticket"))
                }
            }
        }
    }

    /// An organiser, with the organisation acted for; an admin acts for every one.
    pub(crate) fn organiser(&self) -> Result<Organiser, Problem> {
        match self.grant {
            Grant::Access { role: Role::Admin, organisation } => {
                Ok(Organiser { user: self.user, organisation, admin: true })
            }
            Grant::Access { role: Role::Organizer, organisation: Some(organisation) } => {
                Ok(Organiser { user: self.user, organisation: Some(organisation), admin: false })
            }
            _ => Err(Problem::forbidden("wrong_role", "this needs the access token of an organiser")),
        }
    }
}

/// Whoever acts for an organisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Organiser {
    pub(crate) user: UserId,
    organisation: Option<OrganisationId>,
    admin: bool,
}

impl Organiser {
    /// The organisation that new things belong to.
    pub(crate) fn organisation(&self) -> Result<OrganisationId, Problem> {
        self.organisation.ok_or_else(|| Problem::forbidden("wrong_role", "this token names no organisation"))
    }

    /// Refuses to touch what belongs to another organisation.
    pub(crate) fn must_own(&self, owner: OrganisationId) -> Result<(), Problem> {
        if self.admin || self.organisation == Some(owner) {
            Ok(())
        } else {
            Err(Problem::forbidden("wrong_organisation", "this belongs to another organisation"))
        }
    }
}

/// An id in the path. One that is not spelled like an id is the id of nothing: 404.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr + Named, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let absent = || Problem::not_found(T::ABSENT, "there is no such thing");
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| absent())?;
        let text = params.iter().find(|&(name, _)| name == T::PARAM).map(|(_, value)| value);
        text.and_then(|text| text.parse().ok()).map(Self).ok_or_else(absent)
    }
}

/// An id that stands in paths.
pub(crate) trait Named {
    /// The name of the path's part.
    const PARAM: &'static str;
    /// The code of the problem when there is none of this id.
    const ABSENT: &'static str;
}

macro_rules! named {
    ($($id:ident: $param:literal, $absent:literal;)*) => {
        $(impl Named for vestibule_engine::$id {
            const PARAM: &'static str = $param;
            const ABSENT: &'static str = $absent;
        })*
    };
}

named! {
    ShowtimeId: "showtime", "no_such_showtime";
    TicketId: "ticket", "no_such_ticket";
    HoldId: "hold", "no_such_hold";
    OrderId: "order", "no_such_order";
    VenueId: "venue", "no_such_venue";
    EventId: "event", "no_such_event";
}

/// The idempotency key of a request, if it has one.
#[derive(Debug, Clone)]
pub(crate) struct IdempotencyKey(Option<String>);

/// The longest key.
const KEY_LEN_MAX: usize = 255;

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let key = value.to_str().ok().filter(|key| {
            (1..=KEY_LEN_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        });
        match key {
            Some(key) if values.next().is_none() => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "invalid_idempotency_key",
                format!("an Idempotency-Key is 1 to {KEY_LEN_MAX} printable ASCII characters, given once"),
            )),
        }
    }
}

impl IdempotencyKey {
    /// The request id that belongs to this subject and key: the same for ever, on every gateway. The engine compares
    /// what is asked under it, so a key used again for something else is found out. Without a key: a fresh one.
    pub(crate) fn request(&self, app: &App, subject: UserId) -> RequestId {
        match &self.0 {
            Some(key) if !planted::is(Bug::IgnoreKeys) => derive(&[subject.to_string().as_bytes(), key.as_bytes()]),
            _ => RequestId(app.ids.draw()),
        }
    }

    /// The same, where a key is required.
    pub(crate) fn required(&self) -> Result<&str, Problem> {
        self.0.as_deref().ok_or_else(|| {
            let detail = "this needs an Idempotency-Key header, so that repeating it is safe";
            Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_required", detail)
        })
    }
}

/// The request id of a later step of a request with several.
pub(crate) fn step(request: RequestId, name: &str) -> RequestId {
    derive(&[&request.0.to_be_bytes(), name.as_bytes()])
}

/// The first 16 bytes of SHA-256 over the parts with a zero byte between them.
fn derive(parts: &[&[u8]]) -> RequestId {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(parts)[..16]);
    RequestId(u128::from_be_bytes(bytes))
}

/// SHA-256 over the parts with a zero byte between them.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (position, part) in parts.iter().enumerate() {
        if position > 0 {
            hash.update([0]);
        }
        hash.update(part);
    }
    hash.finalize().into()
}

/// A body of JSON. Unknown members are refused by the types read from it.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        read_json(&read_body(request, app, app.config.body_len_max).await?).map(Self)
    }
}

/// No body, or an empty object.
pub(crate) struct NoBody;

impl FromRequest<Arc<App>> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Empty {}
        let body = read_body(request, app, app.config.body_len_max).await?;
        if !body.is_empty() {
            read_json::<Empty>(&body)?;
        }
        Ok(Self)
    }
}

/// The whole body, unless it is longer than `len_max` or does not arrive in time.
pub(crate) async fn read_body(request: Request, app: &App, len_max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is longer than {len_max} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    if announced.is_some_and(|len: u64| len > len_max as u64) {
        return Err(too_large());
    }
    let body = Limited::new(request.into_body(), len_max).collect();
    match tokio::time::timeout(app.config.body_timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::malformed(format!("the body broke off: {error}"))),
        Err(_) => {
            let detail = "the body did not arrive in time; nothing was done";
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail))
        }
    }
}

/// Reads JSON; a problem names the member at fault.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.inner().to_string();
        let detail = if path == "." { reason.clone() } else { format!("{path}: {reason}") };
        // serde says: unknown field `seat`, expected …
        let unknown = reason.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        match unknown {
            Some(name) => {
                let field = match path.as_str() {
                    "." => name.to_owned(),
                    path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
                    path => format!("{path}.{name}"),
                };
                Problem::new(StatusCode::BAD_REQUEST, "unknown_field", detail).with("field", field)
            }
            None if path == "." => Problem::malformed(detail),
            None => Problem::malformed(detail).with("field", path),
        }
    })?;
    deserializer.end().map_err(|error| Problem::malformed(error.to_string()))?;
    Ok(value)
}

/// A parameter of the query string, percent-decoded; of several the first.
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        pairs.map(|pairs| Self(pairs.0)).map_err(|error| Problem::malformed(error.body_text()))
    }
}

impl Query {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A parameter that has to be spelled like a `T`.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let fault = || Problem::malformed(format!("the parameter {name} is not what it should be")).with("field", name);
        self.text(name).map(|text| text.parse().map_err(|_| fault())).transpose()
    }

    /// A parameter that is a time in RFC 3339.
    pub(crate) fn time(&self, name: &str) -> Result<Option<vestibule_engine::Timestamp>, Problem> {
        let fault = || Problem::malformed(format!("the parameter {name} is not a time")).with("field", name);
        self.text(name).map(|text| crate::wire::parse_time(text).ok_or_else(fault)).transpose()
    }
}

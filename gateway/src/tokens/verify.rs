//! The one place where a token is believed.

use super::{ACCESS, ADMISSION, Caller, Claims, Grant, KeyRing, Role, TICKET};
use crate::error::Problem;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use std::time::Duration;
use vestibule_engine::{KeyAlgorithm, TicketNumber, Timestamp};

/// The longest token that is looked at, in bytes.
const TOKEN_LEN_MAX: usize = 4_096;
/// The longest a token may live, in seconds: 400 days.
const LIFE_SECS_MAX: u64 = 400 * 24 * 60 * 60;

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    #[error("the token is not a signed token of ours")]
    Malformed,
    #[error("the token is signed with a key that is not known here")]
    UnknownKey,
    #[error("the signature of the token does not hold")]
    BadSignature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token is for somebody else")]
    WrongAudience,
}

impl TokenFault {
    pub(crate) fn problem(self) -> Problem {
        let code = if self == Self::Expired { "token_expired" } else { "invalid_token" };
        Problem::unauthenticated(code, self.to_string())
    }
}

/// The header: exactly these members. Every other hint at a key, and `crit`, makes the token one that is not ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
}

/// Whose token this is, if it holds at `now`, in the time of our clock.
///
/// The key is looked up by `kid` among the keys we know and has one algorithm; `exp nbf iat aud iss sub jti` must be
/// there; `leeway` is the only tolerance.
pub(crate) fn verify(
    token: &str,
    ring: &KeyRing,
    issuer: &str,
    now: Timestamp,
    leeway: Duration,
) -> Result<Caller, TokenFault> {
    if token.len() > TOKEN_LEN_MAX {
        return Err(TokenFault::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(TokenFault::Malformed)?;
    if claims.contains('.') || signature.is_empty() {
        return Err(TokenFault::Malformed);
    }

    let header: Header = part(header)?;
    if header.typ.is_some_and(|typ| typ != "JWT") {
        return Err(TokenFault::Malformed);
    }
    let key = ring.public(&header.kid).ok_or(TokenFault::UnknownKey)?;
    let (name, algorithm) = key.named_algorithm();
    if header.alg != name {
        return Err(TokenFault::BadSignature);
    }
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.key, algorithm) {
        Ok(true) => {}
        Ok(false) | Err(_) => return Err(TokenFault::BadSignature),
    }

    let claims: Claims = part(claims)?;
    let (now, leeway) = (now.0 / 1_000, leeway.as_secs());
    if claims.iss != issuer {
        return Err(TokenFault::WrongAudience);
    }
    if claims.exp.saturating_sub(claims.iat) > LIFE_SECS_MAX || claims.jti.is_empty() {
        return Err(TokenFault::Malformed);
    }
    if claims.nbf > now.saturating_add(leeway) || claims.iat > now.saturating_add(leeway) {
        return Err(TokenFault::NotYet);
    }
    if claims.exp.saturating_add(leeway) <= now {
        return Err(TokenFault::Expired);
    }
    grant(&claims, key.algorithm)
}

/// What the claims say: exactly what their audience is for, signed by the algorithm it is for.
fn grant(claims: &Claims, algorithm: KeyAlgorithm) -> Result<Caller, TokenFault> {
    let user = claims.sub.parse().map_err(|_| TokenFault::Malformed)?;
    let ticket = || {
        let showtime = claims.showtime.as_ref()?.parse().ok()?;
        let plain = claims.role.is_none() && claims.org.is_none();
        plain.then_some((showtime, TicketNumber(claims.ticket?)))
    };
    let grant = match (claims.aud.as_str(), algorithm) {
        (ACCESS, KeyAlgorithm::Rs256) => {
            let role = claims.role.as_deref().and_then(Role::parse).ok_or(TokenFault::Malformed)?;
            let organisation = claims.org.as_ref().map(|org| org.parse()).transpose();
            let organisation = organisation.map_err(|_| TokenFault::Malformed)?;
            if claims.showtime.is_some() || claims.ticket.is_some() || claims.position.is_some() {
                return Err(TokenFault::Malformed);
            }
            Grant::Access { role, organisation }
        }
        (TICKET, KeyAlgorithm::Ed25519) => {
            let (showtime, number) = ticket().ok_or(TokenFault::Malformed)?;
            let position = claims.position.ok_or(TokenFault::Malformed)?;
            Grant::Ticket { showtime, number, position }
        }
        (ADMISSION, KeyAlgorithm::Ed25519) => {
            let (showtime, number) = ticket().ok_or(TokenFault::Malformed)?;
            Grant::Admission { showtime, number }
        }
        _ => return Err(TokenFault::WrongAudience),
    };
    Ok(Caller { user, grant })
}

fn part<T: serde::de::DeserializeOwned>(encoded: &str) -> Result<T, TokenFault> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenFault::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenFault::Malformed)
}

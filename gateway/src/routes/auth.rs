//! Who somebody is.

use super::{json, json_bytes};
use crate::app::App;
use crate::error::Problem;
use crate::extract::{IdempotencyKey, NoBody};
use crate::tokens::Role;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use std::sync::Arc;
use vestibule_engine::UserId;

/// `POST /auth/guest`
pub(super) async fn guest(State(app): State<Arc<App>>, _: IdempotencyKey, _: NoBody) -> Result<Response, Problem> {
    if !app.config.guests {
        return Err(Problem::forbidden("guests_not_allowed", "this deployment knows no guests"));
    }
    let (token, expires_in) = app.tokens.access(UserId(app.ids.draw()), Role::Guest, None).await?;
    json(StatusCode::CREATED, &json!({"accessToken": token, "expiresIn": expires_in}))
}

/// `GET /.well-known/jwks.json`
pub(super) async fn jwks(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let ring = app.tokens.ring().await?;
    let body = Bytes::copy_from_slice(ring.jwks().as_bytes());
    Ok(json_bytes(StatusCode::OK, body, HeaderValue::from_static("public, max-age=60")))
}

/// `GET /.well-known/openid-configuration`
pub(super) async fn openid_configuration(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let issuer = app.config.issuer.trim_end_matches('/');
    json(
        StatusCode::OK,
        &json!({
            "issuer": app.config.issuer,
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "token_endpoint": format!("{issuer}/api/v1/auth/guest"),
            "response_types_supported": ["token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claims_supported": ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "role", "org"],
        }),
    )
}

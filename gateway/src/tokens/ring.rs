//! The keys: made once for the whole cluster, read from the directory, used to sign and to check.

use super::Claims;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use vestibule_engine::{KeyAlgorithm, Timestamp, TokenKey};

/// Keys that cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("token keys: {0}")]
pub(crate) struct KeyError(String);

/// Fresh keys, one of each algorithm. Takes a tenth of a second or more: not for an async worker.
pub(crate) fn make_keys(now: Timestamp) -> Result<Vec<TokenKey>, KeyError> {
    let failed = |error: aws_lc_rs::error::Unspecified| KeyError(error.to_string());
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    let rsa_der: Pkcs8V1Der<'static> = rsa.as_der().map_err(failed)?;
    let ed = Ed25519KeyPair::generate().map_err(failed)?;
    let ed_der = ed.to_pkcs8v1().map_err(failed)?;
    let key = |algorithm, prefix, public: &[u8], der: &[u8]| TokenKey {
        kid: format!("{prefix}-{}", crate::wire::hex(&Sha256::digest(public)[..8])),
        algorithm,
        der: der.to_vec(),
        created_at: now,
    };
    Ok(vec![
        key(KeyAlgorithm::Rs256, "rs", rsa.public_key().as_ref(), rsa_der.as_ref()),
        key(KeyAlgorithm::Ed25519, "ed", ed.public_key().as_ref(), ed_der.as_ref()),
    ])
}

/// All keys, ready for use.
pub(crate) struct KeyRing {
    public: BTreeMap<String, PublicKey>,
    rsa: SigningKey<RsaKeyPair>,
    ed: SigningKey<Ed25519KeyPair>,
    jwks: String,
}

/// What tokens under one `kid` are checked with: one algorithm, no other.
pub(crate) struct PublicKey {
    pub(crate) algorithm: KeyAlgorithm,
    pub(crate) key: DecodingKey,
}

impl PublicKey {
    /// The name that the header must give, and the algorithm it stands for.
    pub(crate) fn named_algorithm(&self) -> (&'static str, Algorithm) {
        match self.algorithm {
            KeyAlgorithm::Rs256 => ("RS256", Algorithm::RS256),
            KeyAlgorithm::Ed25519 => ("EdDSA", Algorithm::EdDSA),
        }
    }
}

struct SigningKey<K> {
    pair: K,
    created_at: Timestamp,
    /// The encoded header of every token it signs, with the dot after it.
    head: String,
}

impl<K> SigningKey<K> {
    fn new(pair: K, key: &TokenKey, algorithm: &str) -> Self {
        let header = json!({"alg": algorithm, "kid": key.kid, "typ": "JWT"});
        let head = BASE64_URL_SAFE_NO_PAD.encode(header.to_string()) + ".";
        Self { pair, created_at: key.created_at, head }
    }

    fn message(&self, claims: &Claims) -> Result<String, KeyError> {
        let claims = serde_json::to_vec(claims).map_err(|error| KeyError(error.to_string()))?;
        let mut message = String::with_capacity(self.head.len() + claims.len() * 4 / 3 + 352);
        message.push_str(&self.head);
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut message);
        Ok(message)
    }
}

impl KeyRing {
    /// Reads keys. There must be one of each algorithm; the newest signs, all are accepted.
    pub(crate) fn new(keys: &[TokenKey]) -> Result<Self, KeyError> {
        let mut public = BTreeMap::new();
        let (mut rsa, mut ed) = (None::<SigningKey<RsaKeyPair>>, None::<SigningKey<Ed25519KeyPair>>);
        let mut jwks = Vec::new();
        for key in keys {
            let unfit = |error: &dyn std::fmt::Display| KeyError(format!("key {} cannot be read: {error}", key.kid));
            let (decoding, mut jwk) = match key.algorithm {
                KeyAlgorithm::Rs256 => {
                    let pair = RsaKeyPair::from_pkcs8(&key.der).map_err(|error| unfit(&error))?;
                    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                    let jwk = json!({
                        "kty": "RSA",
                        "alg": "RS256",
                        "n": BASE64_URL_SAFE_NO_PAD.encode(&parts.n),
                        "e": BASE64_URL_SAFE_NO_PAD.encode(&parts.e),
                    });
                    let signing = SigningKey::new(pair, key, "RS256");
                    if rsa.as_ref().is_none_or(|old| old.created_at < signing.created_at) {
                        rsa = Some(signing);
                    }
                    (DecodingKey::from_rsa_raw_components(&parts.n, &parts.e), jwk)
                }
                KeyAlgorithm::Ed25519 => {
                    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.der).map_err(|error| unfit(&error))?;
                    let point = pair.public_key().as_ref().to_vec();
                    let jwk = json!({
                        "kty": "OKP",
                        "crv": "Ed25519",
                        "alg": "EdDSA",
                        "x": BASE64_URL_SAFE_NO_PAD.encode(&point),
                    });
                    let signing = SigningKey::new(pair, key, "EdDSA");
                    if ed.as_ref().is_none_or(|old| old.created_at < signing.created_at) {
                        ed = Some(signing);
                    }
                    (DecodingKey::from_ed_der(&point), jwk)
                }
            };
            if let Value::Object(jwk) = &mut jwk {
                jwk.insert("use".to_owned(), "sig".into());
                jwk.insert("kid".to_owned(), key.kid.as_str().into());
            }
            jwks.push(jwk);
            public.insert(key.kid.clone(), PublicKey { algorithm: key.algorithm, key: decoding });
        }
        let missing = |name| KeyError(format!("there is no {name} key"));
        Ok(Self {
            public,
            rsa: rsa.ok_or_else(|| missing("RS256"))?,
            ed: ed.ok_or_else(|| missing("Ed25519"))?,
            jwks: json!({"keys": jwks}).to_string(),
        })
    }

    /// The key of this name.
    pub(crate) fn public(&self, kid: &str) -> Option<&PublicKey> {
        self.public.get(kid)
    }

    /// All public keys as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Signs the claims of an access token, RS256. Takes a quarter of a millisecond.
    pub(crate) fn sign_access(&self, claims: &Claims) -> Result<String, KeyError> {
        let mut message = self.rsa.message(claims)?;
        let mut signature = vec![0; self.rsa.pair.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        self.rsa
            .pair
            .sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
            .map_err(|error| KeyError(error.to_string()))?;
        message.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(&signature, &mut message);
        Ok(message)
    }

    /// Signs the claims of a ticket or admission token, EdDSA. Takes ten microseconds.
    pub(crate) fn sign_ticket(&self, claims: &Claims) -> Result<String, KeyError> {
        let mut message = self.ed.message(claims)?;
        let signature = self.ed.pair.try_sign(message.as_bytes()).map_err(|error| KeyError(error.to_string()))?;
        message.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut message);
        Ok(message)
    }
}

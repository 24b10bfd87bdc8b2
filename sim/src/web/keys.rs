//! The token keys of simulated clusters: made once, so that no run depends on the randomness inside the cryptography.
//!
//! They lie in the repository for everybody to read. **They are for the simulator only**: whoever installs them in a real
//! cluster lets anybody make tokens for it.

use crate::clock::EPOCH;
use vestibule_engine::{KeyAlgorithm, Timestamp, TokenKey};

/// An RSA key of 2048 bits in PKCS #8, from `openssl genpkey -algorithm RSA` and `openssl pkcs8 -topk8 -nocrypt -outform DER`.
const RSA: &[u8] = include_bytes!("keys/simulator-only-rs256.der");
/// An Ed25519 key in PKCS #8, from `openssl genpkey -algorithm ED25519 -outform DER`.
const ED25519: &[u8] = include_bytes!("keys/simulator-only-ed25519.der");

fn key(kid: String, algorithm: KeyAlgorithm, der: &[u8]) -> TokenKey {
    TokenKey { kid, algorithm, der: der.to_vec(), created_at: Timestamp(EPOCH.as_millis() as u64) }
}

/// What the first gateway installs.
pub(super) fn token_keys() -> Vec<TokenKey> {
    vec![
        key("simulator-only-rs".to_owned(), KeyAlgorithm::Rs256, RSA),
        key("simulator-only-ed".to_owned(), KeyAlgorithm::Ed25519, ED25519),
    ]
}

/// One more, under another name. What it signs is the same; gateways have to look for it under its name.
pub(crate) fn another_token_key(kid: String) -> TokenKey {
    key(kid, KeyAlgorithm::Ed25519, ED25519)
}

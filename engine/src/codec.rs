//! The one place where values become bytes and bytes become values.
//!
//! bincode 2 in its standard configuration: variable-length integers, little endian, no floats in stored types. Reading is
//! bincode's; [`encoder`] writes the same bytes.

mod encoder;

use encoder::Encoder;
use serde::{Serialize, de::DeserializeOwned};

/// Bytes that are not the encoding of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed encoding: {0}")]
pub struct DecodeError(pub String);

/// The most bytes a decoded value may claim: a lying length prefix allocates no more than this.
const DECODE_LEN_MAX: usize = 64 << 20;

/// Encodes a value. Equal values have equal encodings.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

/// Encodes a value at the end of `bytes`.
pub fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    value.serialize(&mut Encoder(bytes)).expect("types of the engine have no unserialisable parts");
}

/// Decodes a value from the whole of `bytes`; anything left over is an error.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::standard().with_limit::<DECODE_LEN_MAX>();
    let (value, read) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|error| DecodeError(error.to_string()))?;
    if read == bytes.len() { Ok(value) } else { Err(DecodeError(format!("{} bytes left over", bytes.len() - read))) }
}

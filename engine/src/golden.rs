//! The bytes of version 1 as text, for the tests that pin them.

use crate::{Envelope, RequestId, Row, codec};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A long value is told by its length and its hash.
pub(crate) fn row_line(row: &Row) -> String {
    let value = if row.value.len() <= 400 {
        hex(&row.value)
    } else {
        let hash: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&row.value).into();
        format!("{} bytes, sha256 {}", row.value.len(), hex(&hash))
    };
    format!("{} = {value}\n", hex(&row.key))
}

/// The name and the bytes of a command, which must decode again.
pub(crate) fn command_line<C>(command: C) -> String
where
    C: serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let bytes = codec::encode(&Envelope { request: Some(RequestId(1)), command });
    let decoded: Envelope<C> = codec::decode(&bytes).unwrap();
    let name: String = format!("{:?}", decoded.command).chars().take_while(|c| c.is_alphanumeric()).collect();
    format!("{name} = {}\n", hex(&bytes))
}

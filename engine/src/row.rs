//! Rows: the shape in which a state machine is stored and streamed.
//!
//! A row is a key and a value. The first byte of a key names the table, the rest orders the rows within it so that
//! what changes together lies together. The first byte of a value is the version of its encoding.

/// One stored row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Table byte, then the key within the table; at most [`ROW_KEY_LEN_MAX`] bytes.
    pub key: Vec<u8>,
    /// Version byte, then the encoded value.
    pub value: Vec<u8>,
}

/// The longest row key, in bytes.
pub const ROW_KEY_LEN_MAX: usize = 64;

/// What changed since the last drain, in key order: `Some` is the new value of a row, `None` its removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirtyRows(pub std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl DirtyRows {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lays `later` over these changes: for a key in both, the later one wins.
    pub fn merge(&mut self, later: DirtyRows) {
        self.0.extend(later.0);
    }
}

/// A row that does not decode, or contradicts the others. The state cannot be rebuilt from these rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {key} is corrupt: {reason}")]
pub struct CorruptRow {
    /// The key, in hex.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The version that leads every value written today.
pub(crate) const ROW_VERSION: u8 = 1;

/// A key: the table, then numbers in an order that sorts as they do.
pub(crate) fn row_key(table: u8, parts: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 * parts.len());
    key.push(table);
    parts.iter().for_each(|part| key.extend_from_slice(&part.to_be_bytes()));
    key
}

/// A value: the version, then the encoding.
pub(crate) fn row_value<T: serde::Serialize>(value: &T) -> Vec<u8> {
    row_value_of(value, 256)
}

/// A value whose encoding will have about so many bytes.
pub(crate) fn row_value_of<T: serde::Serialize>(value: &T, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    bytes.push(ROW_VERSION);
    crate::codec::encode_into(value, &mut bytes);
    bytes
}

impl Row {
    /// This row is corrupt for this reason.
    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> CorruptRow {
        let key = self.key.iter().map(|byte| format!("{byte:02x}")).collect();
        CorruptRow { key, reason: reason.into() }
    }

    /// The table it belongs to.
    pub(crate) fn table(&self) -> Result<u8, CorruptRow> {
        self.key.first().copied().ok_or_else(|| self.corrupt("the key is empty"))
    }

    /// The numbers of its key, exactly `N` of them.
    pub(crate) fn key_parts<const N: usize>(&self) -> Result<[u64; N], CorruptRow> {
        let (parts, rest) = self.key.get(1..).unwrap_or_default().as_chunks::<8>();
        match <[[u8; 8]; N]>::try_from(parts) {
            Ok(parts) if rest.is_empty() => Ok(parts.map(u64::from_be_bytes)),
            _ => Err(self.corrupt(format!("the key does not hold {N} numbers"))),
        }
    }

    /// What follows the version byte.
    pub(crate) fn payload(&self) -> Result<&[u8], CorruptRow> {
        match self.value.split_first() {
            Some((&ROW_VERSION, payload)) => Ok(payload),
            Some((version, _)) => Err(self.corrupt(format!("version {version} is unknown"))),
            None => Err(self.corrupt("the value is empty")),
        }
    }

    /// The decoded value.
    pub(crate) fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, CorruptRow> {
        crate::codec::decode(self.payload()?).map_err(|error| self.corrupt(error.to_string()))
    }
}

/// Gathers rows that changed, or every row there is.
#[derive(Debug, Default)]
pub(crate) struct RowWriter(pub(crate) DirtyRows);

impl RowWriter {
    /// A row and its new value.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.0.insert(key, Some(value));
    }

    /// A row that is no more.
    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.0.0.insert(key, None);
    }

    /// The rows that are, in key order.
    pub(crate) fn into_rows(self) -> Vec<Row> {
        self.0.0.into_iter().filter_map(|(key, value)| value.map(|value| Row { key, value })).collect()
    }
}

/// The digest of a state, made row by row.
#[derive(Debug, Clone, Default)]
pub struct RowDigest(sha2::Sha256);

impl RowDigest {
    /// Takes the next row in key order.
    pub fn add(&mut self, row: &Row) {
        use sha2::Digest;
        self.0.update((row.key.len() as u64).to_be_bytes());
        self.0.update((row.value.len() as u64).to_be_bytes());
        self.0.update(&row.key);
        self.0.update(&row.value);
    }

    /// What a machine made of these rows gives as its [`digest`](crate::StateMachine::digest).
    pub fn finish(self) -> [u8; 32] {
        sha2::Digest::finalize(self.0).into()
    }
}

/// SHA-256 over rows in key order, each led by the lengths of its key and its value.
pub(crate) fn digest_rows(rows: &[Row]) -> [u8; 32] {
    let mut digest = RowDigest::default();
    rows.iter().for_each(|row| digest.add(row));
    digest.finish()
}

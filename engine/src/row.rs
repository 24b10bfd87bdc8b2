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

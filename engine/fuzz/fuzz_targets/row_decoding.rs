//! Any bytes as rows are loaded or refused, and what is loaded stands the audit of its parts without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_engine::*;

fuzz_target!(|data: &[u8]| {
    // Rows as length of key, length of value (two bytes), key, value.
    let mut rows = Vec::new();
    let mut rest = data;
    while let Some((head, tail)) = rest.split_at_checked(3) {
        let (key, tail) = tail.split_at(usize::from(head[0]).min(tail.len()));
        let (value, tail) = tail.split_at(usize::from(u16::from_le_bytes([head[1], head[2]])).min(tail.len()));
        rows.push(Row { key: key.to_vec(), value: value.to_vec() });
        rest = tail;
    }
    if let Ok(shard) = Shard::load(GroupId(1), rows.clone().into_iter()) {
        let _ = shard.audit();
    }
    if let Ok(directory) = Directory::load(GroupId::DIRECTORY, rows.into_iter()) {
        directory.audit().expect("a directory is audited as it is loaded");
    }
});

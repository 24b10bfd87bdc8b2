//! Looks through all checkpoints of a store for rows that cannot be vouched for.

use super::meta::{self, CheckpointMeta, IDENTITY_KEY, META_KEY, check_identity, unseal};
use super::{CATALOG, PAGE_BYTES};
use crate::machine;
use crate::seams::CheckpointStore;
use crate::verify::{Finding, Report};
use crate::wal::Owner;
use std::collections::BTreeMap;
use std::io;
use vestibule_engine::{GroupId, Row};

/// Where findings are said to be: sled's files do not show which row is where.
const PLACE: &str = "checkpoint";

fn finding(group: Option<GroupId>, key: Option<&[u8]>, reason: impl Into<String>) -> Finding {
    let key = key.map(|key| key.iter().map(|byte| format!("{byte:02x}")).collect());
    Finding { group, key, ..Finding::damage(PLACE, reason) }
}

/// Reads every row in `namespaces`, and adds to the report what is wrong with any.
pub(crate) async fn verify(
    store: &dyn CheckpointStore,
    namespaces: &[String],
    owner: Option<Owner>,
    report: &mut Report,
) -> io::Result<()> {
    let mut active = BTreeMap::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = store.scan(CATALOG, after.as_deref(), PAGE_BYTES).await?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        for (key, value) in rows {
            report.rows += 1;
            if key == IDENTITY_KEY {
                let checked = owner.map_or(Ok(()), |owner| check_identity(&value, owner));
                report.add_error(checked, |reason| finding(None, Some(&key), reason));
                continue;
            }
            match (parse_group(&key), unseal(GroupId(0), &key, &value)) {
                (Some(group), Ok(&[slot @ (0 | 1)])) => drop(active.insert(group, slot)),
                (group, Ok(_)) => report.add(finding(group, Some(&key), "a row of the catalog makes no sense")),
                (group, Err(error)) => report.add(finding(group, Some(&key), error.to_string())),
            }
        }
    }
    for name in namespaces.iter().filter(|name| *name != CATALOG) {
        let parsed = name.split_once('.').and_then(|(group, slot)| Some((parse_group(group.as_bytes())?, slot)));
        match parsed {
            Some((group, slot @ ("0" | "1"))) => {
                let is_active = active.get(&group).copied().unwrap_or(0).to_string() == slot;
                verify_slot(store, name, group, is_active, owner, report).await?;
            }
            _ => {
                if !store.scan(name, None, 1).await?.is_empty() {
                    report.add(finding(None, None, format!("{name:?} is no group's namespace, and holds rows")));
                }
            }
        }
    }
    Ok(())
}

fn parse_group(name: &[u8]) -> Option<GroupId> {
    let id = std::str::from_utf8(name).ok()?.strip_prefix('g')?.parse().ok()?;
    (GroupId(id).to_string().as_bytes() == name).then_some(GroupId(id))
}

async fn verify_slot(
    store: &dyn CheckpointStore,
    name: &str,
    group: GroupId,
    is_active: bool,
    owner: Option<Owner>,
    report: &mut Report,
) -> io::Result<()> {
    let mut found = CheckpointMeta::default();
    let mut rows = Vec::new();
    let mut are_good = true;
    let mut after: Option<Vec<u8>> = Some(META_KEY.to_vec());
    loop {
        let page = store.scan(name, after.as_deref(), PAGE_BYTES).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (key, sealed) in page {
            report.rows += 1;
            found.add(&key, &sealed);
            match unseal(group, &key, &sealed) {
                Ok(value) => rows.push(Row { key: key[1..].to_vec(), value: value.to_vec() }),
                Err(error) => {
                    are_good = false;
                    // Nothing is read from the other slot: a snapshot that was being received, a checkpoint that was being
                    // cleared, or a damaged one that is kept until a peer's has taken its place.
                    report.add(Finding { is_damage: is_active, ..finding(Some(group), Some(&key), error.to_string()) });
                }
            }
        }
    }
    let meta = store.get(name, &META_KEY).await?;
    if !is_active {
        return Ok(());
    }
    let Some(sealed) = meta else {
        if !rows.is_empty() {
            report.add(finding(Some(group), Some(&META_KEY), "there are rows, but not what they stand for"));
        }
        return Ok(());
    };
    report.rows += 1;
    let expected = match owner.map(|owner| CheckpointMeta::decode(group, &sealed, owner)) {
        Some(Ok(expected)) => expected,
        Some(Err(error)) => {
            report.add(finding(Some(group), Some(&META_KEY), error.to_string()));
            return Ok(());
        }
        None => return Ok(()),
    };
    report.checkpoints.insert(group, expected.last.map_or(0, |last| last.index + 1));
    if expected.is_received {
        report.received.insert(group);
    }
    if (found.row_count, found.digest) != (expected.row_count, expected.digest) {
        let reason = format!(
            "{} rows are there where {} were written, or others than those",
            found.row_count, expected.row_count
        );
        report.add(finding(Some(group), None, reason));
    } else if are_good {
        let audited = machine::load(group, rows.into_iter())
            .map_err(|error| meta::damaged(group, &error.to_string()))
            .and_then(|machine| machine.audit().map_err(|error| meta::damaged(group, &error)));
        report.add_error(audited, |reason| finding(Some(group), None, reason));
    }
    Ok(())
}

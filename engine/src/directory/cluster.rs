//! `SetGroups`, `PutTokenKeys`, `RotateTokenKey`: what the whole cluster shares.

use super::rows::Dirty;
use super::{Directory, check_version};
use crate::group_state::{Events, check_text};
use crate::{Event, Outcome, PutTokenKeys, Refusal, RotateTokenKey, SetGroups, TokenKey};

/// The most shard groups.
const GROUPS_MAX: u32 = 1_024;
/// The most token keys.
const KEYS_MAX: usize = 16;
/// The longest token key, in bytes.
const KEY_LEN_MAX: usize = 8 << 10;

impl Directory {
    pub(super) fn set_groups(&mut self, ask: &SetGroups, events: &mut Events) -> Result<Outcome, Refusal> {
        if !(1..=GROUPS_MAX).contains(&ask.count) {
            return Err(Refusal::out_of_bounds("count", format!("{} is not between 1 and {GROUPS_MAX}", ask.count)));
        }
        if ask.count < self.group_count {
            return Err(Refusal::out_of_bounds("count", format!("there are {} groups already", self.group_count)));
        }
        check_version(ask.expected_version, u64::from(self.group_count))?;

        if ask.count > self.group_count {
            self.group_count = ask.count;
            self.dirty.insert(Dirty::Cluster);
            events.push_group(Event::GroupsChanged { count: ask.count });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn put_token_keys(&mut self, ask: &PutTokenKeys, events: &mut Events) -> Result<Outcome, Refusal> {
        if self.keys.is_empty() {
            if !(1..=KEYS_MAX).contains(&ask.keys.len()) {
                return Err(Refusal::out_of_bounds(
                    "keys",
                    format!("{} is not between 1 and {KEYS_MAX}", ask.keys.len()),
                ));
            }
            for (index, key) in ask.keys.iter().enumerate() {
                check_key(key)?;
                if ask.keys[..index].iter().any(|other| other.kid == key.kid) {
                    return Err(Refusal::out_of_bounds("kid", "two keys of one name"));
                }
            }

            self.store_keys(ask.keys.clone(), events);
        }
        Ok(self.token_keys())
    }

    pub(super) fn rotate_token_key(&mut self, ask: &RotateTokenKey, events: &mut Events) -> Result<Outcome, Refusal> {
        let mut keys = self.keys.clone();
        if let Some(key) = &ask.add
            && !keys.contains(key)
        {
            check_key(key)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(Refusal::AlreadyExists);
            }
            keys.push(key.clone());
        }
        check_version(ask.expected_version, self.keys_version)?;
        if let Some(kid) = &ask.retire
            && let Some(index) = keys.iter().position(|key| key.kid == *kid)
        {
            let retired = keys.remove(index);
            if !keys.iter().any(|key| key.algorithm == retired.algorithm) {
                return Err(Refusal::InUse);
            }
        }
        if keys.len() > KEYS_MAX {
            return Err(Refusal::AtCapacity { what: "token keys".into() });
        }

        if keys != self.keys {
            self.store_keys(keys, events);
        }
        Ok(self.token_keys())
    }

    /// Stores keys as a new version.
    fn store_keys(&mut self, keys: Vec<TokenKey>, events: &mut Events) {
        self.keys = keys;
        self.keys_version += 1;
        self.dirty.insert(Dirty::Cluster);
        events.push_group(Event::TokenKeysInstalled);
    }

    fn token_keys(&self) -> Outcome {
        Outcome::TokenKeys { version: self.keys_version, keys: self.keys.clone() }
    }
}

/// Refuses a key outside its bounds.
fn check_key(key: &TokenKey) -> Result<(), Refusal> {
    check_text("kid", &key.kid, 1, 64)?;
    if key.der.is_empty() || key.der.len() > KEY_LEN_MAX {
        return Err(Refusal::out_of_bounds("der", format!("not between 1 and {KEY_LEN_MAX} bytes")));
    }
    Ok(())
}

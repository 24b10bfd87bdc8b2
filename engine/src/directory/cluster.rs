//! `SetGroups`, `PutTokenKeys`, `RotateTokenKey`: what the whole cluster shares.

use super::rows::Dirty;
use super::{Directory, check_room};
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
                check_key(key, &ask.keys[..index])?;
            }

            self.keys = ask.keys.clone();
            self.dirty.insert(Dirty::Cluster);
            events.push_group(Event::TokenKeysInstalled);
        }
        Ok(Outcome::TokenKeys { keys: self.keys.clone() })
    }

    pub(super) fn rotate_token_key(&mut self, ask: &RotateTokenKey, events: &mut Events) -> Result<Outcome, Refusal> {
        let mut keys = self.keys.clone();
        if let Some(key) = &ask.add
            && !keys.contains(key)
        {
            check_key(key, &keys)?;
            check_room("token keys", keys.len(), KEYS_MAX)?;
            keys.push(key.clone());
        }
        if let Some(kid) = &ask.retire
            && let Some(index) = keys.iter().position(|key| key.kid == *kid)
        {
            let retired = keys.remove(index);
            if !keys.iter().any(|key| key.algorithm == retired.algorithm) {
                return Err(Refusal::InUse);
            }
        }

        if keys != self.keys {
            self.keys = keys;
            self.dirty.insert(Dirty::Cluster);
            events.push_group(Event::TokenKeysInstalled);
        }
        Ok(Outcome::TokenKeys { keys: self.keys.clone() })
    }
}

/// Refuses a key outside its bounds, or of a name that another has.
fn check_key(key: &TokenKey, others: &[TokenKey]) -> Result<(), Refusal> {
    check_text("kid", &key.kid, 1, 64)?;
    if key.der.is_empty() || key.der.len() > KEY_LEN_MAX {
        return Err(Refusal::out_of_bounds("der", format!("not between 1 and {KEY_LEN_MAX} bytes")));
    }
    if others.iter().any(|other| other.kid == key.kid) {
        return Err(Refusal::out_of_bounds("kid", "two keys of one name"));
    }
    Ok(())
}

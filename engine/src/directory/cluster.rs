//! `SetGroups` and `PutTokenKeys`: what the whole cluster shares.

use super::Directory;
use super::rows::Dirty;
use crate::group_state::{Events, check_text};
use crate::{Event, Outcome, PutTokenKeys, Refusal, SetGroups};

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
                check_text("kid", &key.kid, 1, 64)?;
                if key.der.is_empty() || key.der.len() > KEY_LEN_MAX {
                    return Err(Refusal::out_of_bounds("der", format!("not between 1 and {KEY_LEN_MAX} bytes")));
                }
                if ask.keys[..index].iter().any(|other| other.kid == key.kid) {
                    return Err(Refusal::out_of_bounds("kid", "two keys of one name"));
                }
            }

            self.keys = ask.keys.clone();
            self.dirty.insert(Dirty::Cluster);
            events.push_group(Event::TokenKeysInstalled);
        }
        Ok(Outcome::TokenKeys { keys: self.keys.clone() })
    }
}

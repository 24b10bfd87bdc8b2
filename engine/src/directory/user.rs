//! `CreateUser`, `UpdateUser`, `GrantRole`, `RevokeRole`.

use super::rows::Dirty;
use super::{Directory, check_room, check_version};
use crate::group_state::{Events, check_email, check_text};
use crate::{CreateUser, Event, GrantRole, Outcome, Refusal, RevokeRole, Role, UpdateUser, UserId, UserRecord};
use std::collections::BTreeMap;

/// The most users.
pub(super) const USERS_MAX: usize = if cfg!(test) { 6 } else { 20_000_000 };
/// The most roles of a user.
pub(super) const ROLES_MAX: usize = if cfg!(test) { 3 } else { 1_000 };

impl Directory {
    pub(super) fn create_user(&mut self, ask: &CreateUser, events: &mut Events) -> Result<Outcome, Refusal> {
        check_email(&ask.email)?;
        check_text("passwordHash", &ask.password_hash, 0, 500)?;
        check_text("name", &ask.name, 0, 200)?;
        let email = ask.email.to_lowercase();
        if self.users_by_email.contains_key(&email) || self.users.contains_key(&ask.user) {
            return Err(Refusal::AlreadyExists);
        }
        check_room("users", self.users.len(), USERS_MAX)?;

        let record = UserRecord {
            user: ask.user,
            email: ask.email.clone(),
            password_hash: ask.password_hash.clone(),
            name: ask.name.clone(),
            roles: BTreeMap::new(),
            is_active: true,
            created_at: self.state.now,
            version: 1,
        };
        self.users_by_email.insert(email, ask.user);
        self.users.insert(ask.user, record);
        self.dirty.insert(Dirty::User(ask.user));
        events.push_group(Event::UserCreated { user: ask.user });
        Ok(Outcome::UserCreated { user: ask.user })
    }

    pub(super) fn update_user(&mut self, ask: &UpdateUser, events: &mut Events) -> Result<Outcome, Refusal> {
        if let Some(email) = &ask.email {
            check_email(email)?;
        }
        check_text("passwordHash", ask.password_hash.as_deref().unwrap_or_default(), 0, 500)?;
        check_text("name", ask.name.as_deref().unwrap_or_default(), 0, 200)?;
        let before = self.users.get(&ask.user).ok_or(Refusal::NoSuchUser)?;
        let mut user = before.clone();
        user.email = ask.email.clone().unwrap_or(user.email);
        user.password_hash = ask.password_hash.clone().unwrap_or(user.password_hash);
        user.name = ask.name.clone().unwrap_or(user.name);
        user.is_active = ask.is_active.unwrap_or(user.is_active);
        let email = user.email.to_lowercase();
        if self.users_by_email.get(&email).is_some_and(|&other| other != ask.user) {
            return Err(Refusal::AlreadyExists);
        }
        check_version(ask.expected_version, before.version)?;

        self.users_by_email.remove(&before.email.to_lowercase());
        self.users_by_email.insert(email, ask.user);
        Ok(self.store_user(user, events))
    }

    pub(super) fn grant_role(&mut self, ask: &GrantRole, events: &mut Events) -> Result<Outcome, Refusal> {
        if matches!(ask.role, Role::Guest | Role::Customer) {
            return Err(Refusal::out_of_bounds("role", "staff, organizer or admin"));
        }
        if ask.organisation.is_some_and(|organisation| !self.organisations.contains_key(&organisation)) {
            return Err(Refusal::NoSuchOrganisation);
        }
        let mut user = self.users.get(&ask.user).cloned().ok_or(Refusal::NoSuchUser)?;
        check_version(ask.expected_version, user.version)?;
        if !user.roles.contains_key(&ask.organisation) {
            check_room("roles of the user", user.roles.len(), ROLES_MAX)?;
        }

        user.roles.insert(ask.organisation, ask.role);
        Ok(self.store_user(user, events))
    }

    pub(super) fn revoke_role(&mut self, ask: &RevokeRole, events: &mut Events) -> Result<Outcome, Refusal> {
        let mut user = self.users.get(&ask.user).cloned().ok_or(Refusal::NoSuchUser)?;
        check_version(ask.expected_version, user.version)?;

        user.roles.remove(&ask.organisation);
        Ok(self.store_user(user, events))
    }

    /// Stores a user, as a new version if anything changed.
    fn store_user(&mut self, mut user: UserRecord, events: &mut Events) -> Outcome {
        let id: UserId = user.user;
        if self.users.get(&id) != Some(&user) {
            user.version += 1;
            self.dirty.insert(Dirty::User(id));
            events.push_group(Event::UserUpdated { user: id });
        }
        let version = user.version;
        self.users.insert(id, user);
        Outcome::Stored { version }
    }
}

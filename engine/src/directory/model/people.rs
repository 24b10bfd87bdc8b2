//! Users and their roles.

use super::{Model, bounds, check_given, check_len, check_room, check_version};
use crate::directory::user::{ROLES_MAX, USERS_MAX};
use crate::*;
use std::collections::BTreeMap;

fn check_email(email: &str) -> Result<(), Refusal> {
    check_len("email", email, 3, 254)?;
    // Something, an at sign, something: whatever else, and nothing that cannot be seen.
    let is_inside = email.char_indices().any(|(index, letter)| {
        let (before, after) = (&email[..index], &email[index + letter.len_utf8()..]);
        letter == '@' && before.chars().any(|c| c != '@') && after.chars().any(|c| c != '@')
    });
    if !is_inside || email.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err(bounds("email", "it is no address"));
    }
    Ok(())
}

impl Model {
    fn find_user(&self, id: UserId) -> Result<usize, Refusal> {
        self.users.iter().position(|user| user.user == id).ok_or(Refusal::NoSuchUser)
    }

    pub(super) fn user_by_email(&self, email: &str) -> Option<&UserRecord> {
        self.users.iter().find(|user| user.email.to_lowercase() == email.to_lowercase())
    }

    pub(super) fn create_user(&mut self, ask: &CreateUser) -> Result<Outcome, Refusal> {
        check_email(&ask.email)?;
        check_len("passwordHash", &ask.password_hash, 0, 500)?;
        check_len("name", &ask.name, 0, 200)?;
        if self.find_user(ask.user).is_ok() || self.user_by_email(&ask.email).is_some() {
            return Err(Refusal::AlreadyExists);
        }
        check_room("users", self.users.len(), USERS_MAX)?;
        self.users.push(UserRecord {
            user: ask.user,
            email: ask.email.clone(),
            password_hash: ask.password_hash.clone(),
            name: ask.name.clone(),
            roles: BTreeMap::new(),
            is_active: true,
            created_at: self.now,
            version: 1,
        });
        self.tell(Event::UserCreated { user: ask.user });
        Ok(Outcome::UserCreated { user: ask.user })
    }

    /// Puts a user in place of an older one.
    fn replace_user(&mut self, index: usize, mut new: UserRecord) -> Outcome {
        if new != self.users[index] {
            new.version += 1;
            self.tell(Event::UserUpdated { user: new.user });
        }
        let version = new.version;
        self.users[index] = new;
        Outcome::Stored { version }
    }

    pub(super) fn update_user(&mut self, ask: &UpdateUser) -> Result<Outcome, Refusal> {
        ask.email.as_ref().map_or(Ok(()), |email| check_email(email))?;
        check_given("passwordHash", ask.password_hash.as_ref(), 0, 500)?;
        check_given("name", ask.name.as_ref(), 0, 200)?;
        let index = self.find_user(ask.user)?;
        let is_other = |email| self.user_by_email(email).is_some_and(|other| other.user != ask.user);
        if ask.email.as_ref().is_some_and(|email| is_other(email)) {
            return Err(Refusal::AlreadyExists);
        }
        let mut user = self.users[index].clone();
        check_version(ask.expected_version, user.version)?;
        ask.email.iter().for_each(|email| user.email = email.clone());
        ask.password_hash.iter().for_each(|hash| user.password_hash = hash.clone());
        ask.name.iter().for_each(|name| user.name = name.clone());
        ask.is_active.iter().for_each(|is_active| user.is_active = *is_active);
        Ok(self.replace_user(index, user))
    }

    pub(super) fn grant_role(&mut self, ask: &GrantRole) -> Result<Outcome, Refusal> {
        if ask.role == Role::Guest || ask.role == Role::Customer {
            return Err(bounds("role", "staff, organizer or admin"));
        }
        let is_known = |wanted| self.organisations.iter().any(|organisation| organisation.organisation == wanted);
        if ask.organisation.is_some_and(|organisation| !is_known(organisation)) {
            return Err(Refusal::NoSuchOrganisation);
        }
        let index = self.find_user(ask.user)?;
        let mut user = self.users[index].clone();
        check_version(ask.expected_version, user.version)?;
        user.roles.insert(ask.organisation, ask.role);
        if user.roles.len() > ROLES_MAX {
            return Err(Refusal::AtCapacity { what: "roles of the user".into() });
        }
        Ok(self.replace_user(index, user))
    }

    pub(super) fn revoke_role(&mut self, ask: &RevokeRole) -> Result<Outcome, Refusal> {
        let index = self.find_user(ask.user)?;
        let mut user = self.users[index].clone();
        check_version(ask.expected_version, user.version)?;
        user.roles.remove(&ask.organisation);
        Ok(self.replace_user(index, user))
    }
}

//! `CreateOrganisation` and `UpdateOrganisation`.

use super::rows::Dirty;
use super::{Directory, check_room, check_version};
use crate::group_state::{Events, check_text};
use crate::{CreateOrganisation, Event, OrganisationId, OrganisationRecord, Outcome, Refusal, UpdateOrganisation};

/// The most organisations.
pub(super) const ORGANISATIONS_MAX: usize = if cfg!(test) { 6 } else { 100_000 };

impl Directory {
    pub(super) fn create_organisation(
        &mut self,
        ask: &CreateOrganisation,
        events: &mut Events,
    ) -> Result<Outcome, Refusal> {
        check_text("name", &ask.name, 1, 200)?;
        check_room("organisations", self.organisations.len(), ORGANISATIONS_MAX)?;

        self.counters.organisation += 1;
        let organisation = OrganisationId(self.counters.organisation);
        let record = OrganisationRecord { organisation, name: ask.name.clone(), version: 1 };
        self.organisations.insert(organisation, record);
        self.dirty.extend([Dirty::Cluster, Dirty::Organisation(organisation)]);
        events.push_group(Event::OrganisationCreated { organisation });
        Ok(Outcome::OrganisationCreated { organisation })
    }

    pub(super) fn update_organisation(
        &mut self,
        ask: &UpdateOrganisation,
        events: &mut Events,
    ) -> Result<Outcome, Refusal> {
        check_text("name", &ask.name, 1, 200)?;
        let record = self.organisations.get_mut(&ask.organisation).ok_or(Refusal::NoSuchOrganisation)?;
        check_version(ask.expected_version, record.version)?;

        if record.name != ask.name {
            record.name = ask.name.clone();
            record.version += 1;
            self.dirty.insert(Dirty::Organisation(ask.organisation));
            events.push_group(Event::OrganisationUpdated { organisation: ask.organisation });
        }
        Ok(Outcome::Stored { version: record.version })
    }
}

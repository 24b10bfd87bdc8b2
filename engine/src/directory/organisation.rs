//! `CreateOrganisation`.

use super::rows::Dirty;
use super::{Directory, check_room};
use crate::group_state::{Events, check_text};
use crate::{CreateOrganisation, Event, OrganisationId, OrganisationRecord, Outcome, Refusal};

/// The most organisations.
const ORGANISATIONS_MAX: usize = 100_000;

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
}

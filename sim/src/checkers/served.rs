//! Slow clients and too many of them are got rid of in time, and everybody else is served afterwards.

use super::{Checker, Look};
use crate::web::visits::{Event, Said};

/// See the file's head.
pub struct Served;

impl Checker for Served {
    fn name(&self) -> &'static str {
        "served"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for event in &look.visits {
            let Event::Ended { visit, said: Said::Endured(endured), .. } = event else { continue };
            let asked = format!("visit @{} ({:?})", visit.number, visit.deed);
            if let Some((borne, limit)) = endured.borne
                && borne > limit
            {
                return Err(format!("{asked}: the gateway put up with it for {borne:?}, which may be {limit:?}"));
            }
            let (turned_away, least) = endured.turned_away;
            if turned_away < least {
                return Err(format!("{asked}: {turned_away} were turned away, and there was no room for {least}"));
            }
            if endured.served_after.is_none_or(|after| after > endured.served_max) {
                return Err(format!("{asked}: nobody was served within {:?} afterwards", endured.served_max));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::visited;
    use super::*;
    use crate::web::visits::{Deed, Endured, Offence};
    use std::time::Duration;

    #[test]
    fn a_gateway_that_suffers_is_noticed() {
        let secs = Duration::from_secs;
        let well = Endured {
            borne: Some((secs(1), secs(2))),
            turned_away: (4, 4),
            served_after: Some(secs(1)),
            served_max: secs(2),
        };
        let check =
            |endured: Endured| Served.observe(&visited(&[(None, Deed::Offend(Offence::Rush), Said::Endured(endured))]));
        check(well.clone()).expect("as it should be");
        check(Endured { borne: Some((secs(3), secs(2))), ..well.clone() }).expect_err("too long");
        check(Endured { turned_away: (3, 4), ..well.clone() }).expect_err("no room");
        check(Endured { served_after: None, ..well.clone() }).expect_err("not served");
        check(Endured { served_after: Some(secs(3)), ..well }).expect_err("served too late");
    }
}

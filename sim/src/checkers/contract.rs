//! Whatever happens to the cluster, a gateway says over HTTP what the contract knows: no mistakes of its own (500), no body that
//! is not what it should be, no id or seat that does not exist, no refusal of an honest question.

use super::{Checker, Look};
use crate::web::visits::{Deed, Event, Said};

/// See the file's head.
pub struct Contract;

/// What may be refused to whom asks this, by status.
fn may_refuse(deed: &Deed, status: u16) -> bool {
    match deed {
        Deed::Guest | Deed::SeeLine(_) | Deed::SeeSeats(..) | Deed::SeeDraw(_) | Deed::SeeHealth => false,
        Deed::Join(_) => status == 409,
        Deed::SeeTicket(_) | Deed::SeeOrder(_) => false,
        // It is their own, and may be over.
        Deed::Claim(_) | Deed::Leave(_) => matches!(status, 409 | 410),
        // It was in no draw.
        Deed::SeeReceipt(_) => status == 404,
        // The admission with which they come may be over, too.
        Deed::Hold(..) => matches!(status, 401 | 403 | 409 | 422),
        Deed::SeeHold(_) | Deed::Extend(_) | Deed::Release(_) => matches!(status, 401 | 409 | 410),
        Deed::Order(_) => matches!(status, 401 | 409 | 410),
        Deed::Pay(..) | Deed::Cancel(_) => status == 409,
        Deed::Refund(_) => matches!(status, 409 | 422),
        Deed::Organise(..) => matches!(status, 409 | 422),
        Deed::Offend(_) => false,
    }
}

impl Checker for Contract {
    fn name(&self) -> &'static str {
        "contract"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        for event in &look.visits {
            let Event::Ended { visit, said, .. } = event else { continue };
            let asked = || format!("visit @{} ({:?})", visit.number, visit.deed);
            match said {
                Said::Unfit(what) => return Err(format!("{} met {what}", asked())),
                Said::Refused(status, code) if !may_refuse(&visit.deed, *status) => {
                    return Err(format!("{} was refused with {status} {code}", asked()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::visited;
    use super::*;
    use vestibule_engine::{GroupId, ShowtimeId};

    #[test]
    fn what_is_not_in_the_contract_is_noticed() {
        let showtime = ShowtimeId::new(GroupId(1), 1);
        let check = |deed, said| Contract.observe(&visited(&[(None, deed, said)]));
        let refused = |status, code: &str| Said::Refused(status, code.to_owned());
        let hold = || Deed::Hold(showtime, String::new());
        check(hold(), refused(409, "seats_unavailable")).expect("somebody else has them");
        check(hold(), Said::NotDone("503".to_owned())).expect("not now");
        check(hold(), refused(404, "no_such_showtime")).expect_err("it is there");
        check(Deed::SeeLine(showtime), refused(404, "no_such_showtime")).expect_err("it is there");
        check(hold(), Said::Unfit("500 internal".to_owned())).expect_err("a mistake");
    }
}

//! The draw, checked as an outsider would: nothing of the engine's arithmetic is used. The commitment holds, the root is that
//! of all who had joined, the seed follows from both, places are a permutation, and every entrant's receipt verifies. No line
//! that is to be drawn opens without. Whoever asks a gateway is shown the same.

use super::{Checker, Look};
use crate::history::Ask;
use crate::player::Played;
use crate::web::visits::{Deed, Event as Step, Said};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use vestibule_engine::{
    DrawBundle, Event, EventRecord, Method, Receipt, ShardAnswer, ShardCommand, ShardQuery, ShowtimeId, TicketNumber,
    UserId,
};

type Hash = [u8; 32];

/// The rounds that the contract names.
const ROUNDS: u8 = 90;

fn sha256(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part)).finalize().into()
}

/// `compute_shuffled_index` of the Ethereum consensus specification (phase 0, "Misc"), line by line.
pub(super) fn shuffled_index(index: u64, count: u64, seed: &Hash) -> u64 {
    let mut index = index;
    for round in 0..ROUNDS {
        let hash = sha256(&[seed, &[round]]);
        let pivot = u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes")) % count;
        let flip = (pivot + count - index) % count;
        let position = index.max(flip);
        let block = u32::try_from(position / 256).expect("lines of a simulation are short");
        let source = sha256(&[seed, &[round], &block.to_le_bytes()]);
        let byte = source[usize::try_from(position % 256 / 8).expect("at most 31")];
        if byte >> (position % 8) & 1 == 1 {
            index = flip;
        }
    }
    index
}

/// The leaf of an entrant: the ticket's number and the hash of its owner, as the contract has it.
fn leaf(number: u64, user: UserId) -> Hash {
    sha256(&[&[0], &number.to_be_bytes(), &sha256(&[&user.0.to_be_bytes()])])
}

/// MTH of RFC 6962, section 2.1.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let split = 1 << (leaves.len() - 1).ilog2();
            sha256(&[&[1], &tree_hash(&leaves[..split]), &tree_hash(&leaves[split..])])
        }
    }
}

/// Verification of an inclusion proof by RFC 9162, section 2.1.3.2.
fn verifies(leaf: &Hash, index: u64, count: u64, path: &[Hash], root: &Hash) -> bool {
    let (mut node, mut last, mut hash) = (index, count.wrapping_sub(1), *leaf);
    if index >= count {
        return false;
    }
    for other in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = sha256(&[&[1], other, &hash]);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = sha256(&[&[1], &hash, other]);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

#[derive(Default)]
struct Line {
    /// How places are given, as the sale says.
    method: Method,
    commitment: Hash,
    joined: Vec<UserId>,
    bundle: Option<DrawBundle>,
}

/// See the file's head.
#[derive(Default)]
pub struct Draw {
    lines: BTreeMap<ShowtimeId, Line>,
}

impl Draw {
    fn entry(&mut self, played: &Played) -> Result<(), String> {
        played.due.iter().try_for_each(|record| self.event(record))?;
        for told in &played.commands {
            if let Ask::Shard(command) = &told.ask
                && !told.reply.replayed
                && told.reply.result.is_ok()
            {
                let (showtime, method) = match &**command {
                    ShardCommand::CreateShowtime(ask) => (ask.showtime, Some(ask.sale.method)),
                    ShardCommand::UpdateSale(ask) => (ask.showtime, ask.patch.method),
                    _ => (ShowtimeId::default(), None),
                };
                if let Some(method) = method {
                    self.lines.entry(showtime).or_default().method = method;
                }
            }
            told.events.iter().try_for_each(|record| self.event(record))?;
        }
        Ok(())
    }

    fn event(&mut self, record: &EventRecord) -> Result<(), String> {
        let Some(showtime) = record.showtime else { return Ok(()) };
        let line = self.lines.entry(showtime).or_default();
        match &record.event {
            Event::ShowtimeCreated { commitment, .. } => line.commitment = *commitment,
            Event::QueueJoined { user, .. } => line.joined.push(*user),
            Event::DrawPublished(bundle) => {
                check_bundle(line, bundle).map_err(|what| format!("the draw of {showtime}: {what}"))?;
                if line.bundle.replace((**bundle).clone()).is_some() {
                    return Err(format!("{showtime} was drawn twice"));
                }
            }
            Event::QueueOpened if line.method == Method::Draw && line.bundle.is_none() => {
                return Err(format!("the line of {showtime} opened without its draw"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What a gateway showed of a draw. Nobody is shown it before the log has it.
fn check_visit(
    lines: &BTreeMap<ShowtimeId, Line>,
    deed: &Deed,
    user: Option<UserId>,
    said: &Said,
) -> Result<(), String> {
    let line = |showtime| lines.get(showtime).ok_or_else(|| format!("nobody knows {showtime}"));
    match (deed, said) {
        (Deed::SeeDraw(showtime), Said::Draw(commitment, shown)) => {
            let line = line(showtime)?;
            if *commitment != line.commitment || shown.is_some() && shown.as_deref() != line.bundle.as_ref() {
                return Err(format!("the draw of {showtime} is shown as {shown:?}, and is {:?}", line.bundle));
            }
            Ok(())
        }
        (Deed::SeeReceipt(ticket), Said::Receipt(receipt)) => {
            let line = line(&ticket.showtime)?;
            let bundle = line.bundle.as_ref().ok_or_else(|| format!("{} was not drawn", ticket.showtime))?;
            if ticket.number.0 > bundle.entrants {
                return Err(format!("ticket {} was not in the draw", ticket.number));
            }
            let owner = line.joined[usize::try_from(ticket.number.0 - 1).expect("it is an entrant")];
            if user != Some(owner) || receipt.subject_hash != sha256(&[&owner.0.to_be_bytes()]) {
                return Err(format!("the receipt of {owner} is shown to {user:?}, or names another"));
            }
            check_receipt(line, bundle, ticket.number.0, receipt)
        }
        _ => Ok(()),
    }
}

fn check_bundle(line: &Line, bundle: &DrawBundle) -> Result<(), String> {
    if bundle.commitment != line.commitment || sha256(&[&bundle.secret]) != line.commitment {
        return Err("the secret is not the one that was committed to".to_owned());
    }
    // Without a planned beacon the entrants are all who had joined; with one, those who had when its time came.
    let count = usize::try_from(bundle.entrants).unwrap_or(usize::MAX);
    if count > line.joined.len() || bundle.beacon.is_none() && count != line.joined.len() {
        return Err(format!("{count} are in it, but {} had joined", line.joined.len()));
    }
    let leaves: Vec<Hash> = line.joined[..count].iter().zip(1..).map(|(&user, number)| leaf(number, user)).collect();
    if tree_hash(&leaves) != bundle.merkle_root {
        return Err("the root is not that of the entrants".to_owned());
    }
    if sha256(&[&bundle.secret, &bundle.merkle_root, bundle.beacon.as_deref().unwrap_or_default()]) != bundle.seed {
        return Err("the seed does not follow from secret, root and beacon".to_owned());
    }
    if bundle.rounds != ROUNDS {
        return Err(format!("{} rounds", bundle.rounds));
    }
    let places: BTreeSet<u64> =
        (0..bundle.entrants).map(|index| shuffled_index(index, bundle.entrants, &bundle.seed)).collect();
    if places != (0..bundle.entrants).collect() {
        return Err("the places are no permutation".to_owned());
    }
    Ok(())
}

fn check_receipt(line: &Line, bundle: &DrawBundle, number: u64, receipt: &Receipt) -> Result<(), String> {
    let user = line.joined[usize::try_from(number - 1).expect("it is an entrant")];
    let is_right = receipt.number == TicketNumber(number)
        && receipt.leaf == leaf(number, user)
        && receipt.merkle_root == bundle.merkle_root
        && verifies(&receipt.leaf, number - 1, bundle.entrants, &receipt.proof, &bundle.merkle_root);
    if !is_right {
        return Err(format!("the receipt of ticket {number} does not verify"));
    }
    let place = shuffled_index(number - 1, bundle.entrants, &bundle.seed) + 1;
    if receipt.place != place {
        return Err(format!("ticket {number} has place {}, but drew {place}", receipt.place));
    }
    Ok(())
}

impl Checker for Draw {
    fn name(&self) -> &'static str {
        "draw"
    }

    fn observe(&mut self, look: &Look) -> Result<(), String> {
        look.played.iter().try_for_each(|played| self.entry(played))?;
        look.visits.iter().try_for_each(|step| match step {
            Step::Ended { visit, said, .. } => check_visit(&self.lines, &visit.deed, visit.user, said)
                .map_err(|what| format!("visit @{}: {what}", visit.number)),
            Step::Began(_) | Step::Charged(_) => Ok(()),
        })
    }

    fn finish(&mut self, last: &Look) -> Result<(), String> {
        for (&showtime, line) in &self.lines {
            let Some(bundle) = &line.bundle else { continue };
            for ((node, _), replica) in last.replicas.iter().filter(|((_, group), _)| *group == showtime.group()) {
                let said = |what: String| format!("{showtime} on node {node}: {what}");
                match replica.ask(&ShardQuery::Draw(showtime))? {
                    ShardAnswer::Draw(Some(view)) if view.bundle.as_deref() == Some(bundle) => {}
                    _ => return Err(said("it publishes another draw".to_owned())),
                }
                for number in 1..=bundle.entrants {
                    let query = ShardQuery::Receipt { showtime, number: TicketNumber(number) };
                    let ShardAnswer::Receipt(Some(receipt)) = replica.ask(&query)? else {
                        return Err(said(format!("ticket {number} has no receipt")));
                    };
                    check_receipt(line, bundle, number, &receipt).map_err(said)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Puppet, Stage, joined, visited};
    use super::*;
    use std::rc::Rc;
    use vestibule_engine::{JoinQueue, OpenQueue, Sale, SalePatch, TicketId, Timestamp, UpdateSale};

    fn drawn() -> (Stage, Look) {
        let mut stage = Stage::new(Sale { method: Method::Draw, prequeue_at: Some(Timestamp(1)), ..Sale::default() });
        let showtime = stage.showtime();
        let mut looks = vec![stage.create(), stage.tick(1)];
        for user in (1..=11).map(UserId) {
            looks.push(stage.run(ShardCommand::JoinQueue(JoinQueue { showtime, user })));
        }
        looks.push(stage.run(ShardCommand::OpenQueue(OpenQueue { showtime })));
        let look = joined(looks);
        (stage, look)
    }

    fn check(change: impl FnOnce(&mut DrawBundle)) -> Result<(), String> {
        let (_, mut look) = drawn();
        let commands = look.played.iter_mut().flat_map(|played| &mut played.commands);
        let mut events = commands.flat_map(|told| &mut told.events);
        let found = events.find_map(|record| match &mut record.event {
            Event::DrawPublished(bundle) => Some(bundle),
            _ => None,
        });
        change(found.expect("it was drawn"));
        Draw::default().observe(&look)
    }

    #[test]
    fn a_draw_that_was_tampered_with_is_noticed() {
        check(|_| {}).expect("as it was");
        check(|bundle| bundle.secret[0] ^= 1).expect_err("another secret");
        check(|bundle| bundle.merkle_root[0] ^= 1).expect_err("another root");
        check(|bundle| bundle.seed[0] ^= 1).expect_err("another seed");
        check(|bundle| bundle.entrants -= 1).expect_err("one too few");
        check(|bundle| bundle.rounds -= 1).expect_err("fewer rounds");
    }

    #[test]
    fn a_line_that_opens_without_its_draw_is_noticed() {
        let opened = |method: Method, patched: Option<Method>| {
            let mut stage = Stage::new(Sale { method, prequeue_at: Some(Timestamp(1)), ..Sale::default() });
            let showtime = stage.showtime();
            let mut looks = vec![stage.create()];
            if let Some(method) = patched {
                let patch = SalePatch { method: Some(method), ..SalePatch::default() };
                looks.push(stage.run(ShardCommand::UpdateSale(UpdateSale { showtime, patch })));
            }
            looks.push(stage.run(ShardCommand::OpenQueue(OpenQueue { showtime })));
            let mut look = joined(looks);
            Draw::default().observe(&look).expect("as it was");
            for told in look.played.iter_mut().flat_map(|played| &mut played.commands) {
                told.events.retain(|record| !matches!(record.event, Event::DrawPublished(_)));
            }
            Draw::default().observe(&look)
        };
        opened(Method::Fifo, None).expect("there is nothing to draw");
        opened(Method::Draw, None).expect_err("it was to be drawn");
        opened(Method::Fifo, Some(Method::Draw)).expect_err("it was to be drawn after all");
        opened(Method::Draw, Some(Method::Fifo)).expect("it was not to be drawn any more");
    }

    #[test]
    fn a_receipt_that_does_not_verify_is_noticed() {
        let (stage, look) = drawn();
        let mut checker = Draw::default();
        checker.observe(&look).expect("as it was");
        let mut last = Look { replicas: stage.replicas(&[1]), ..Look::default() };
        checker.finish(&last).expect("all verify");
        let line = &checker.lines[&stage.showtime()];
        let bundle = line.bundle.clone().expect("it was drawn");
        let query = ShardQuery::Receipt { showtime: stage.showtime(), number: TicketNumber(5) };
        let replica = stage.replicas(&[1]).remove(&(1, stage.group())).expect("node 1");
        let Ok(ShardAnswer::Receipt(Some(receipt))) = replica.ask(&query) else { unreachable!("it has one") };
        check_receipt(line, &bundle, 5, &receipt).expect("as it was");
        check_receipt(line, &bundle, 6, &receipt).expect_err("of another ticket");
        let mut wrong = receipt.clone();
        wrong.proof[1][0] ^= 1;
        check_receipt(line, &bundle, 5, &wrong).expect_err("another path");
        let mut wrong = receipt;
        wrong.place += 1;
        check_receipt(line, &bundle, 5, &wrong).expect_err("another place");
        last.replicas
            .insert((1, stage.group()), Rc::new(Puppet { answer: Some(ShardAnswer::Draw(None)), ..Puppet::default() }));
        checker.finish(&last).expect_err("the draw is not published there");
    }
    #[test]
    fn what_a_gateway_shows_wrong_is_noticed() {
        let (stage, look) = drawn();
        let (showtime, replica) = (stage.showtime(), stage.replicas(&[1]).remove(&(1, stage.group())).expect("node 1"));
        let query = ShardQuery::Receipt { showtime, number: TicketNumber(5) };
        let Ok(ShardAnswer::Receipt(Some(receipt))) = replica.ask(&query) else { unreachable!("it has one") };
        let Ok(ShardAnswer::Draw(Some(draw))) = replica.ask(&ShardQuery::Draw(showtime)) else {
            unreachable!("it was drawn")
        };
        let bundle = draw.bundle.expect("the line is open");
        let shown = |user, deed, said| {
            Draw::default().observe(&joined([look.clone(), visited(&[(Some(UserId(user)), deed, said)])]))
        };
        let draw = |bundle: &DrawBundle| {
            shown(5, Deed::SeeDraw(showtime), Said::Draw(bundle.commitment, Some(Box::new(bundle.clone()))))
        };
        draw(&bundle).expect("as it was");
        draw(&DrawBundle { rounds: 9, ..(*bundle).clone() }).expect_err("fewer rounds");
        draw(&DrawBundle { commitment: [9; 32], ..(*bundle).clone() }).expect_err("another commitment");
        let receipt_of = |user, receipt: &Receipt| {
            let deed = Deed::SeeReceipt(TicketId { showtime, number: TicketNumber(5) });
            shown(user, deed, Said::Receipt(Box::new(receipt.clone())))
        };
        receipt_of(5, &receipt).expect("as it was");
        receipt_of(6, &receipt).expect_err("to another buyer");
        receipt_of(5, &Receipt { place: receipt.place + 1, ..(*receipt).clone() }).expect_err("another place");
        receipt_of(5, &Receipt { subject_hash: [9; 32], ..(*receipt).clone() }).expect_err("another owner");
        receipt_of(5, &Receipt { proof: Vec::new(), ..(*receipt).clone() }).expect_err("without a path");
    }
}

//! Holds the commands of a machine to the documented order of refusals, for the tests of both machines.
//!
//! A command has a row for each refusal it can get: what makes that reason true. Alone every row must give its refusal;
//! any two of them together must give the one whose [`precedence`](Refusal::precedence) is least. A request id that another body used comes
//! before them all.

use crate::{Outcome, Refusal, RequestId};
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor, value};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// One reason to refuse a command.
pub(crate) struct Row<W, C> {
    /// The name of the refusal.
    pub(crate) wanted: &'static str,
    /// Makes the reason true in the state…
    pub(crate) setup: fn(&mut W),
    /// …or in the command.
    pub(crate) bend: fn(&mut C),
    /// Whether it is a bound that depends on what the command names.
    pub(crate) is_dependent: bool,
    /// Rows that cannot be true at the same time.
    pub(crate) apart: &'static [&'static str],
}

/// A command that is granted as it stands, and every reason to refuse it.
pub(crate) struct Case<W, C> {
    pub(crate) command: C,
    /// What the command needs to be granted.
    pub(crate) prepare: fn(&mut W),
    pub(crate) rows: Vec<Row<W, C>>,
}

/// The name of a value's variant.
pub(crate) fn name_of(value: &impl Debug) -> String {
    format!("{value:?}").chars().take_while(|letter| letter.is_alphanumeric()).collect()
}

/// Every command with every reason to refuse it, by name.
pub(crate) fn reasons<W, C: Debug>(cases: &[Case<W, C>]) -> Vec<(String, String)> {
    let of_case = |case: &Case<W, C>| {
        let name = name_of(&case.command);
        case.rows.iter().map(|row| (name.clone(), row.wanted.to_owned())).collect::<Vec<_>>()
    };
    cases.iter().flat_map(of_case).collect()
}

/// Those of the commands and refusals observed for which there is no row. A request id that another body used is a reason
/// for every command.
pub(crate) fn unknown(observed: &BTreeSet<(String, String)>, rows: &[(String, String)]) -> Vec<(String, String)> {
    let is_known = |reason: &&(String, String)| reason.1 == "RequestIdReused" || rows.contains(reason);
    observed.iter().filter(|reason| !is_known(reason)).cloned().collect()
}

/// Where a refusal stands among the others: bounds that depend on something after all that may be missing.
fn place(refusal: &Refusal, is_dependent: bool) -> (u16, bool) {
    if is_dependent { (Refusal::NoSuchSink.precedence(), true) } else { (refusal.precedence(), false) }
}

/// The names of an enumeration's variants, in the order in which they are numbered when stored.
pub(crate) fn variants<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names = Names::default();
    T::deserialize(&mut names).map(drop).expect_err("it is only asked for its variants");
    names.0
}

/// Asks a type for the names of its variants and gives it nothing.
#[derive(Default)]
struct Names(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Names {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("it is no enumeration"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, value::Error> {
        self.0 = variants;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Asks a machine for something at the time it has.
type Ask<W, C> = fn(&mut W, Option<RequestId>, C) -> Result<Outcome, Refusal>;

/// Checks every row alone, and every two of a command together. The harmless commands change nothing.
pub(crate) fn check<W, C>(cases: Vec<Case<W, C>>, harmless: [C; 2], base: fn() -> W, ask: Ask<W, C>)
where
    C: Clone + Debug + DeserializeOwned,
{
    const USED: RequestId = RequestId(1);
    let mut covered = BTreeSet::new();
    let mut faults = Vec::new();
    for Case { command, prepare, rows } in cases {
        let name = name_of(&command);
        let another = harmless.iter().find(|other| name_of(other) != name).expect("the two are of two kinds");
        let play = |chosen: &[&Row<W, C>], request: Option<RequestId>| {
            let (mut world, mut command) = (base(), command.clone());
            ask(&mut world, Some(USED), another.clone()).expect("it is harmless");
            prepare(&mut world);
            for row in chosen {
                (row.setup)(&mut world);
                (row.bend)(&mut command);
            }
            ask(&mut world, request, command)
        };
        if let Err(refusal) = play(&[], None) {
            faults.push(format!("{name} as it stands: {refusal:?}"));
        }
        for row in rows.iter().map(Some).chain([None]) {
            let reply = play(row.as_slice(), Some(USED));
            if reply != Err(Refusal::RequestIdReused) {
                let wanted = row.map_or("nothing else", |row| row.wanted);
                faults.push(format!("{name} under a used request id with {wanted}: {reply:?}"));
            }
        }
        let mut placed = Vec::new();
        for row in &rows {
            match play(&[row], None) {
                Err(refusal) if name_of(&refusal) == row.wanted => {
                    placed.push((place(&refusal, row.is_dependent), row))
                }
                other => faults.push(format!("{name} with {}: {other:?}", row.wanted)),
            }
        }
        placed.sort_by_key(|(place, _)| *place);
        for (index, (first_place, first)) in placed.iter().enumerate() {
            for (second_place, second) in &placed[index + 1..] {
                let are_apart = first.apart.contains(&second.wanted) || second.apart.contains(&first.wanted);
                if first_place == second_place || are_apart {
                    continue;
                }
                for chosen in [[*first, *second], [*second, *first]] {
                    let reply = play(&chosen, None);
                    if reply.as_ref().map_err(name_of).err().as_deref() != Some(first.wanted) {
                        faults.push(format!("{name} with {} and {}: {reply:?}", first.wanted, second.wanted));
                    }
                }
            }
        }
        covered.insert(name);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(covered.len(), variants::<C>().len(), "commands with rows: {covered:?}");
}

#[test]
fn no_two_refusals_stand_in_one_place() {
    let places: BTreeSet<u16> = crate::transcript::refusals().map(|refusal| refusal.precedence()).collect();
    assert_eq!(places.len(), variants::<Refusal>().len());
}

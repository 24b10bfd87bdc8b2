//! Bad days: real processes that are stopped, killed, frozen, cut off and damaged while a crowd buys.
//! `docs/operations/bad-days.md` says what each test does and what was seen.

mod buyers;
mod session;
#[path = "../support/mod.rs"]
mod support;

mod coming_and_going;
mod damaged;
mod frozen;
mod killed;
mod partition;
mod power_cut;
mod restarts;
mod slow_disk;

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// Bad days come one at a time: each has several processes to feed, and times things.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a test does its worst: `VESTIBULE_BAD_DAYS=full`, which `just bad-days` sets, makes it as often as the full
/// run asks for.
fn often(usually: usize, in_full: usize) -> usize {
    match std::env::var("VESTIBULE_BAD_DAYS") {
        Ok(how) if how == "full" => in_full,
        Ok(how) => panic!("VESTIBULE_BAD_DAYS is {how:?}; it can be \"full\""),
        Err(_) => usually,
    }
}

/// Runs a tool of the system; `Err` says what it has to say.
fn run(command: &[&str]) -> Result<(), String> {
    let output =
        Command::new(command[0]).args(&command[1..]).output().map_err(|error| format!("{command:?}: {error}"))?;
    let says = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(says()) }
}

/// The group of a showtime: it stands in the id.
fn group_of(showtime: &str) -> u64 {
    let id: vestibule_engine::ShowtimeId = showtime.parse().expect("a showtime's id");
    id.group().0.into()
}

//! `vestibule-sim explain`: what happened in a run, a line an event.

use super::play;
use std::collections::BTreeMap;
use std::process::ExitCode;
use vestibule_sim::trace::{Line, Trace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which run.
    #[arg(required_unless_present = "scenario")]
    seed: Option<u64>,
    /// A run that is written down; `run --scenario list` names them.
    #[arg(long, conflicts_with = "seed")]
    scenario: Option<String>,
    /// Only what happened on hosts whose names begin like this; several may be given.
    #[arg(long)]
    host: Vec<String>,
    /// Only lines with this text, as they are printed.
    #[arg(long)]
    with: Option<String>,
    /// Characters of a line above which its end is left out; 0 for none.
    #[arg(long, default_value_t = 180)]
    width: usize,
    /// Everything as it is in the trace: ids in full, and lines again that a host has just said.
    #[arg(long)]
    verbatim: bool,
    #[command(flatten)]
    planting: play::Planting,
}

pub(crate) fn main(args: &Args) -> ExitCode {
    let options = match play::options(args.seed, args.scenario.as_deref()) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let replay = play::replay_of(&options);
    say!("{options}");
    if let Err(error) = args.planting.apply() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trace = Trace::default();
    let teller = || Teller {
        hosts: args.host.clone(),
        with: args.with.clone(),
        width: args.width,
        is_verbatim: args.verbatim,
        said: BTreeMap::new(),
    };
    // Also if the code under test falls over: then its last lines are what is looked for.
    let at_fall = std::sync::Mutex::new(teller());
    let outcome = play::here(options, &trace, move |trace| {
        if let Ok(mut teller) = at_fall.lock() {
            teller.show(trace);
        }
    });
    teller().show(&trace);
    match outcome {
        Ok(_) => {
            say!("passed");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            play::tell_failure(&replay, failure);
            ExitCode::FAILURE
        }
    }
}

/// Makes lines of a trace readable.
struct Teller {
    hosts: Vec<String>,
    with: Option<String>,
    width: usize,
    is_verbatim: bool,
    /// What each host said last, and how many times more.
    said: BTreeMap<String, (String, u64)>,
}

impl Teller {
    fn show(&mut self, trace: &Trace) {
        for line in trace.lines() {
            self.tell(line).iter().for_each(|line| say!("{line}"));
        }
        let rest: Vec<_> = self.said.iter().filter(|(_, (_, more))| *more > 0).collect();
        rest.iter().for_each(|(host, (what, more))| say!("in the end {host} said {more} times more: {what}"));
    }

    /// What is printed for a line: nothing for what the host has just said. How many times more it did is told before its
    /// next line.
    fn tell(&mut self, mut line: Line) -> Vec<String> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| line.host.starts_with(host)) {
            return Vec::new();
        }
        if !self.is_verbatim {
            line.what = brief(&line.what);
        }
        if self.with.as_ref().is_some_and(|with| !line.what.contains(with)) {
            return Vec::new();
        }
        let mut told = Vec::new();
        if !self.is_verbatim {
            let (last, more) = self.said.entry(line.host.clone()).or_default();
            if *last == line.what {
                *more += 1;
                return Vec::new();
            }
            let more = *more;
            if more > 0 {
                told.push(self.cut(&Line { what: format!("(the same {more} times more)"), ..line.clone() }));
            }
            self.said.insert(line.host.clone(), (line.what.clone(), 0));
        }
        told.push(self.cut(&line));
        told
    }

    fn cut(&self, line: &Line) -> String {
        let line = line.to_string();
        match line.char_indices().nth(self.width).filter(|_| self.width > 0) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// The text with short ids: `HoldId(281474976710843)`, number 187 of group 1, is `Hold(g1.187)`, and of long random ones there
/// are the last digits.
fn brief(text: &str) -> String {
    const COUNTER_BITS: u32 = 48;
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("Id(") {
        let (before, tail) = (&rest[..at], &rest[at + 3..]);
        let len = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let id = tail[..len].parse::<u128>().ok().filter(|_| tail[len..].starts_with(')'));
        out.push_str(before);
        match id {
            Some(id) if id >> COUNTER_BITS == 0 => out.push_str(&format!("({id})")),
            Some(id) if id >> 64 == 0 && !before.ends_with("Payment") => {
                out.push_str(&format!("(g{}.{})", id >> COUNTER_BITS, id & ((1 << COUNTER_BITS) - 1)));
            }
            Some(id) => out.push_str(&format!("(…{:06})", id % 1_000_000)),
            None => {
                out.push_str("Id(");
                rest = tail;
                continue;
            }
        }
        rest = &tail[len + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ids_are_short() {
        assert_eq!(brief("hold: HoldId(281474976710843), SeatId(44)"), "hold: Hold(g1.187), Seat(44)");
        assert_eq!(brief("UserId(187828988803519728029106163914744161052) x"), "User(…161052) x");
        assert_eq!(brief("PaymentId(2393435617063861033)"), "Payment(…861033)");
        assert_eq!(brief("Id(x) and Id("), "Id(x) and Id(");
    }

    #[test]
    fn what_a_host_says_again_is_counted() {
        let mut teller =
            Teller { hosts: vec!["node".to_owned()], with: None, width: 0, is_verbatim: false, said: BTreeMap::new() };
        let line = |host: &str, what: &str| Line { at: Duration::ZERO, host: host.to_owned(), what: what.to_owned() };
        assert_eq!(teller.tell(line("node-1", "warn: no")).len(), 1);
        assert!(teller.tell(line("node-1", "warn: no")).is_empty());
        assert_eq!(teller.tell(line("node-2", "warn: no")).len(), 1, "another host");
        assert!(teller.tell(line("buyer-1", "asks")).is_empty(), "not wanted");
        let told = teller.tell(line("node-1", "yes"));
        assert!(told.len() == 2 && told[0].contains("1 times more"), "{told:?}");
    }
}

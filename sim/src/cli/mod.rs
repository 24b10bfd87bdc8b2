//! The commands.

/// Prints a line. That nobody reads on, as behind `head`, is no reason to fall over.
macro_rules! say {
    ($($what:tt)*) => {
        $crate::cli::play::say(format_args!($($what)*))
    };
}

mod explain;
mod meta;
#[cfg(feature = "planted")]
mod mutants;
mod play;
mod run;
mod sweep;
#[cfg(feature = "planted")]
mod verdict;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Plays a Vestibule cluster, its buyers and its bad days, all from one seed.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays one seed.
    Run(run::Args),
    /// Plays each seed in two processes, and compares the traces byte for byte.
    Meta(meta::Args),
    /// Plays many seeds, each in a process of its own, and counts what happened in them.
    Sweep(sweep::Args),
    /// Plays one seed and tells what happened, a line an event.
    Explain(explain::Args),
    /// Plants one bug after another, and plays seeds until it is caught.
    #[cfg(feature = "planted")]
    Mutants(mutants::Args),
    /// Plants bugs: not in this build. Build with `--features planted` for it.
    #[cfg(not(feature = "planted"))]
    Mutants {
        /// Whatever was asked for.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _rest: Vec<String>,
    },
}

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::main(&args),
        Command::Meta(args) => meta::main(&args),
        Command::Sweep(args) => sweep::main(&args),
        Command::Explain(args) => explain::main(&args),
        #[cfg(feature = "planted")]
        Command::Mutants(args) => mutants::main(&args),
        #[cfg(not(feature = "planted"))]
        Command::Mutants { .. } => {
            eprintln!("no bug can be planted in this build: cargo run -p vestibule-sim --features planted -- mutants");
            ExitCode::FAILURE
        }
    }
}

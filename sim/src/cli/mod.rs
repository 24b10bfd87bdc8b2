//! The commands.

mod meta;
mod run;

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
}

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::main(&args),
        Command::Meta(args) => meta::main(&args),
    }
}

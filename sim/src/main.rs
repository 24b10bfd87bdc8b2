//! `vestibule-sim`: plays runs of a simulated cluster.

mod cli;

use std::process::ExitCode;

#[cfg(not(tokio_unstable))]
compile_error!(
    "without `--cfg tokio_unstable` turmoil cannot seed tokio's own randomness, and no run could be played again: \
     build in the repository, where .cargo/config.toml sets it"
);

fn main() -> ExitCode {
    cli::main()
}

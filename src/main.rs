//! The binary: it reads the command line and wires the crates together.
//!
//! - [`cli`]: what can be said on the command line.
//! - [`demo`]: a whole cluster in this process. [`node`], [`gateway`]: its parts as processes of their own.
//! - [`metrics`]: what a node tells whoever watches over it.
//! - [`sale`]: puts a showtime on sale through a gateway. [`plan`]: venue plans. [`ctl`]: looks after a cluster.
//! - [`security`]: how a process proves who it is to the others. [`certs`]: makes certificates.
//! - [`backup`]: a whole cluster in one file, and back.
//! - [`verify`]: looks through the data of a stopped node.

mod backup;
mod certs;
mod cli;
mod cluster_admin;
mod ctl;
mod demo;
mod gateway;
mod metrics;
mod node;
mod plan;
mod sale;
mod security;
mod verify;

use clap::Parser;
use cli::{Cli, Command, LogFormat};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A tenth faster for the engine than that of the C library: docs/decisions/0013.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = start_logging(&cli.log, cli.log_format) {
        eprintln!("vestibule: {error}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vestibule: {error}");
            return ExitCode::FAILURE;
        }
    };
    let command = cli.command.unwrap_or_else(|| match Cli::parse_from(["vestibule", "demo"]).command {
        Some(command) => command,
        None => unreachable!("`demo` was named"),
    });
    let done = runtime.block_on(run(command));
    // Whatever still runs in the background has nothing left to say.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vestibule: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Node(args) => node::run(args).await,
        Command::Gateway(args) => gateway::run(args).await,
        Command::Rush(args) => {
            let report = args.execute().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            if args.json {
                println!("{}", serde_json::to_string(&report)?);
            } else {
                println!("{report}");
            }
            Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Plan(command) => plan::run(command),
        Command::Ctl(command) => ctl::run(command).await,
    }
}

fn start_logging(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// Resolves when the process is asked to stop: Ctrl-C or SIGTERM.
async fn asked_to_stop() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

//! Plays a run, in this process or in one of its own.

use mad_turmoil::rand::set_rng;
use mad_turmoil::time::SimClocksGuard;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::time::{ClockId, clock_gettime};
use std::backtrace::Backtrace;
use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use vestibule_engine::planted;
use vestibule_sim::options::Options;
use vestibule_sim::scenario;
use vestibule_sim::trace::{Journal, Trace};
use vestibule_sim::world::{Failure, Summary, World};

/// Plays one run here. Only once in a process: some of what libraries count is never reset. If the code under test falls
/// over, the trace goes to `show`, this says how it failed and ends the process: what is left of the run must not be
/// touched any more.
pub(super) fn here(
    options: Options,
    trace: &Trace,
    show: impl Fn(&Trace) + Send + Sync + 'static,
) -> Result<Summary, Failure> {
    tracing_subscriber::registry().with(Journal::new(trace.clone())).init();
    let (replay, seen) = (replay_of(&options), trace.clone());
    std::panic::set_hook(Box::new(move |panic| {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "{}", Backtrace::force_capture());
        show(&seen);
        tell_failure(&replay, format_args!("panic: {panic}"));
        std::process::exit(1);
    }));
    // What comes from the operating system comes from the seed, and time is the simulation's.
    set_rng(StdRng::seed_from_u64(options.seed));
    let _clocks = SimClocksGuard::init();
    World::new(options, trace.clone()).run()
}

/// The options of a seed, or of a scenario if one is named.
pub(super) fn options(seed: Option<u64>, scenario: Option<&str>) -> Result<Options, String> {
    match scenario {
        None => Ok(Options::of(seed.unwrap_or_default())),
        Some(name) => scenario::find(name)
            .ok_or_else(|| format!("there is no scenario called {name}; `run --scenario list` names them")),
    }
}

/// Prints a line, if anybody reads it.
pub(super) fn say(line: fmt::Arguments<'_>) {
    // An error means that nobody does; the exit status tells them.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes a trace to a file.
pub(super) fn write(trace: &Trace, path: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(std::fs::File::create(path)?);
    trace.lines().iter().try_for_each(|line| writeln!(file, "{line}"))?;
    file.flush()
}

/// A command that plays a seed in a process of its own.
pub(super) fn elsewhere(seed: u64) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--seed", &seed.to_string()]).stdin(Stdio::null());
    Ok(command)
}

/// Says how a run has failed, what it was a run of, and how it is played again. Its options were printed before.
pub(super) fn tell_failure(replay: &str, failure: impl Display) {
    say!("FAILED {failure}");
    say!("commit: {}", commit());
    say!("replay: {replay}");
}

/// The time, of which the simulation knows nothing.
pub(super) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A process that plays a run, and since when.
pub(super) struct Playing {
    child: Child,
    /// They read what it prints, so that it never waits for that.
    readers: [JoinHandle<io::Result<Vec<u8>>>; 2],
    since: Duration,
}

/// Reads everything, on a thread of its own.
fn read_all(mut from: impl io::Read + Send + 'static) -> JoinHandle<io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).map(|_| all)
    })
}

impl Playing {
    /// Begins.
    pub(super) fn begin(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, readers: [read_all(stdout), read_all(stderr)], since: now() })
    }

    /// What came of it, if it has ended or has to: it is given up after `patience`.
    pub(super) fn poll(mut self, patience: Duration) -> Result<io::Result<Output>, Self> {
        let is_late = now() - self.since > patience;
        match self.child.try_wait() {
            Ok(None) if !is_late => return Err(self),
            Ok(None) => {
                // It may have ended in this very moment.
                let _ = self.child.kill();
                let _ = self.child.wait();
                let reason = format!("it took longer than {} s", patience.as_secs());
                return Ok(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
            }
            _ => {}
        }
        Ok(self.child.wait().and_then(|status| {
            let [stdout, stderr] = self.readers.map(|reader| reader.join().unwrap_or_else(|_| Ok(Vec::new())));
            Ok(Output { status, stdout: stdout?, stderr: stderr? })
        }))
    }

    /// Waits for it, but no longer than `patience`.
    pub(super) fn wait(mut self, patience: Duration) -> io::Result<Output> {
        loop {
            match self.poll(patience) {
                Ok(output) => return output,
                Err(still) => self = still,
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// How long to wait before the next look at processes.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// How a seed is played again, with what is planted now.
pub(super) fn replay(seed: u64) -> String {
    replay_run(&format!("--seed {seed}"))
}

fn replay_run(which: &str) -> String {
    // Assertions that only builds for development have may end a run, or change it.
    let profile = if cfg!(debug_assertions) { "" } else { " --release" };
    match planted::planted() {
        Some(known) => {
            let name = known.name;
            format!("cargo run{profile} -p vestibule-sim --features planted -- run {which} --plant {name}")
        }
        None => format!("cargo run{profile} -p vestibule-sim -- run {which}"),
    }
}

/// A bug to be planted before a run.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Planting {
    /// Switches a bug on, which is to be caught.
    #[cfg(feature = "planted")]
    #[arg(long)]
    plant: Option<String>,
}

impl Planting {
    /// Plants it, if there is one. `Err` says that nobody knows it.
    pub(super) fn apply(&self) -> Result<(), String> {
        #[cfg(feature = "planted")]
        if let Some(name) = &self.plant {
            let known = planted::BUGS.iter().find(|known| known.name == name);
            planted::plant(known.ok_or_else(|| format!("there is no bug called {name}"))?.bug);
            say!("planted: {name}");
        }
        Ok(())
    }
}

/// How a run is played again.
pub(super) fn replay_of(options: &Options) -> String {
    match options.scenario {
        Some(name) => replay_run(&format!("--scenario {name}")),
        None => replay(options.seed),
    }
}

/// The commit that this was built from, and whether anything was changed since, as far as it can be told.
pub(super) fn commit() -> &'static str {
    env!("VESTIBULE_COMMIT")
}

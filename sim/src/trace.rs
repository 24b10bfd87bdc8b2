//! What happened in a run, in order: one line an event, and a digest over all lines and all bytes on the wire.
//!
//! Two runs of one seed are the same run exactly if their traces are.

use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Simulated time since the beginning.
    pub at: Duration,
    /// Where.
    pub host: String,
    /// What.
    pub what: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>11.3}s  {:<10} {}", self.at.as_secs_f64(), self.host, self.what)
    }
}

/// The trace of a run. Clones share it.
#[derive(Clone, Default)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    now: Duration,
    lines: Vec<Line>,
    /// Over all bytes that were read from the network, in order.
    wire: u32,
    wire_bytes: u64,
}

impl Trace {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// It is this time now, outside all hosts.
    pub fn set_now(&self, now: Duration) {
        self.lock().now = now;
    }

    /// Simulated time since the beginning.
    pub fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.lock().now)
    }

    /// Something happened at a host.
    pub fn note(&self, host: impl Into<String>, what: impl Into<String>) {
        let line = Line { at: self.now(), host: host.into(), what: what.into() };
        self.lock().lines.push(line);
    }

    /// Bytes came from the network.
    pub(crate) fn note_wire(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.wire = crc32c::crc32c_append(inner.wire, bytes);
        inner.wire_bytes += bytes.len() as u64;
    }

    /// Bytes that came from the network so far.
    pub fn wire_bytes(&self) -> u64 {
        self.lock().wire_bytes
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lock().lines.clone()
    }

    /// A digest over everything so far, as hexadecimal.
    pub fn digest(&self) -> String {
        let inner = self.lock();
        let mut digest = Sha256::new();
        for line in &inner.lines {
            digest.update(line.at.as_nanos().to_le_bytes());
            digest.update(line.host.as_bytes());
            digest.update([0]);
            digest.update(line.what.as_bytes());
            digest.update([0]);
        }
        digest.update(inner.wire.to_le_bytes());
        digest.update(inner.wire_bytes.to_le_bytes());
        hexadecimal(&digest.finalize()[..16])
    }
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

thread_local! {
    /// The host whose turn it is.
    static HOST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// It is no host's turn.
pub(crate) fn leave_host() {
    HOST.with_borrow_mut(|host| {
        host.clear();
        host.push_str("world");
    });
}

/// Puts what the code under test logs into the trace.
pub struct Journal {
    trace: Trace,
}

impl Journal {
    /// Into this trace.
    pub fn new(trace: Trace) -> Self {
        Self { trace }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _context: Context<'_, S>) -> bool {
        let target = metadata.target();
        if metadata.is_span() {
            // With this one turmoil says whose turn it is.
            return metadata.name() == "node" && target.starts_with("turmoil");
        }
        let level = *metadata.level();
        target.starts_with("vestibule") && level <= Level::INFO
            || target.starts_with("openraft") && level <= Level::WARN
    }

    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _id: &tracing::Id, _context: Context<'_, S>) {
        struct Name;
        impl Visit for Name {
            fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "name" {
                    HOST.with_borrow_mut(|host| {
                        host.clear();
                        host.push_str(value);
                    });
                }
            }
        }
        attributes.record(&mut Name);
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        #[derive(Default)]
        struct Words {
            message: String,
            fields: String,
        }
        impl Visit for Words {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let written = match field.name() {
                    "message" => write!(self.message, "{value:?}"),
                    name => write!(self.fields, " {name}={value:?}"),
                };
                written.expect("a string takes everything");
            }
        }
        let mut words = Words::default();
        event.record(&mut words);
        let level = event.metadata().level().as_str().to_lowercase();
        let what = format!("{level}: {}{}", words.message, words.fields);
        self.trace.note(HOST.with_borrow(String::clone), what);
    }
}

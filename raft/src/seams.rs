//! Seams: everything a node takes from the world outside comes through one of these.
//!
//! Each has a real implementation beside it; the simulator brings its own. No other code of this crate reads a clock,
//! draws randomness, touches a file or starts a thread.

use crate::types::NodeId;
use futures::future::BoxFuture;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::transport::{Channel, Endpoint};
use vestibule_engine::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now, as milliseconds since the Unix epoch.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the real clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Draws ids that nobody can guess or meet twice.
pub trait IdSource: Send + Sync + 'static {
    /// 128 fresh random bits.
    fn draw(&self) -> u128;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the real randomness")]
    fn draw(&self) -> u128 {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system hands out randomness once it has booted");
        u128::from_le_bytes(bytes)
    }
}

/// Runs a task that may block on a device.
pub trait Spawner: Send + Sync + 'static {
    /// Starts `task` where its blocking harms nobody. `name` is for people.
    fn spawn_blocking_task(&self, name: &str, task: BoxFuture<'static, ()>) -> io::Result<()>;
}

/// A thread of its own for each task.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadSpawner;

impl Spawner for ThreadSpawner {
    #[expect(clippy::disallowed_methods, reason = "the real threads")]
    fn spawn_blocking_task(&self, name: &str, task: BoxFuture<'static, ()>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(task))?;
        Ok(())
    }
}

/// One directory of files that a log may be kept in.
///
/// A write is durable once [`DiskFile::sync_data`] returned after it; a created, renamed or removed name once
/// [`Disk::sync_directory`] did. Any error may leave anything of the failed call behind.
pub trait Disk: Send + Sync + 'static {
    /// Names of the files in the directory, in order.
    fn list(&self) -> BoxFuture<'_, io::Result<Vec<String>>>;
    /// Makes a new file of `len` zero bytes, all of it allocated. Fails when the name is taken; leaves nothing of a file
    /// that the disk has no room for.
    fn create<'a>(&'a self, name: &'a str, len: u64) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>>;
    /// Opens an existing file for reading and writing.
    fn open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>>;
    /// Gives a file another name, replacing whatever had it. Open handles stay good.
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> BoxFuture<'a, io::Result<()>>;
    /// Removes a file.
    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<()>>;
    /// Makes created, renamed and removed names durable.
    fn sync_directory(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Bytes that new files may still take.
    fn free_bytes(&self) -> BoxFuture<'_, io::Result<u64>>;
}

/// An open file of a [`Disk`].
pub trait DiskFile: Send + Sync + 'static {
    /// The length in bytes.
    fn size(&self) -> BoxFuture<'_, io::Result<u64>>;
    /// Writes all of `bytes` at `offset`.
    fn write_at<'a>(&'a self, offset: u64, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;
    /// Reads exactly `len` bytes at `offset`.
    fn read_at(&self, offset: u64, len: usize) -> BoxFuture<'_, io::Result<Vec<u8>>>;
    /// Makes everything written so far durable.
    fn sync_data(&self) -> BoxFuture<'_, io::Result<()>>;
}

/// Rows as a store holds them: keys and values, in key order.
pub type StoredRows = Vec<(Vec<u8>, Vec<u8>)>;

/// Changes to one namespace: for each key the new value, or its removal.
pub type StoredChanges = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// An ordered store of rows in namespaces. It has one user, which writes to it and reads from it in turn.
///
/// Nothing is durable before [`CheckpointStore::flush`] returned; what is durable then is a prefix of the writes, each
/// whole. Any error may leave any of the failed call's work behind.
pub trait CheckpointStore: Send + Sync + 'static {
    /// Writes all changes or, after a crash, none of them.
    fn write<'a>(&'a self, namespace: &'a str, changes: StoredChanges) -> BoxFuture<'a, io::Result<()>>;
    /// The value of a key.
    fn get<'a>(&'a self, namespace: &'a str, key: &'a [u8]) -> BoxFuture<'a, io::Result<Option<Vec<u8>>>>;
    /// Rows behind `after` in key order: about `bytes_max` bytes of them, at least one if there is one.
    fn scan<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&'a [u8]>,
        bytes_max: usize,
    ) -> BoxFuture<'a, io::Result<StoredRows>>;
    /// Makes everything written so far durable.
    fn flush(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Removes all rows of a namespace, in whatever number of writes.
    fn clear<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, io::Result<()>>;
    /// Goes on with an empty store in place of this one, which may have failed. Until [`CheckpointStore::commit_anew`]
    /// returned, a crash brings back what was durable of the old one.
    fn begin_anew(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Gives up the store that was begun anew, so that it takes no room. Until another is begun there is none.
    fn abandon_anew(&self) -> BoxFuture<'_, io::Result<()>>;
    /// Gives the old store up for the one that was begun anew, as far as that was flushed.
    fn commit_anew(&self) -> BoxFuture<'_, io::Result<()>>;
}

/// Makes connections to nodes.
pub trait Connector: Send + Sync + 'static {
    /// A channel to whichever node is at `address` (host and port). It connects when it is first used, and again when
    /// it breaks.
    fn channel(&self, address: &str) -> io::Result<Channel>;

    /// A channel to one node, which must prove that it is that one where connections prove anything.
    fn channel_to_node(&self, node: NodeId, address: &str) -> io::Result<Channel> {
        let _ = node;
        self.channel(address)
    }
}

/// Connections over TCP in plain text, within this machine only.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn channel(&self, address: &str) -> io::Result<Channel> {
        if !is_loopback(address) {
            let reason = format!("{address} is not on this machine, and plain text may not leave it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        Ok(endpoint("http", address)?.connect_lazy())
    }
}

/// Connections over TCP in plain text to anywhere: for networks that nobody else can listen to or speak on.
#[derive(Debug, Clone, Copy, Default)]
pub struct InsecureConnector;

impl Connector for InsecureConnector {
    fn channel(&self, address: &str) -> io::Result<Channel> {
        Ok(endpoint("http", address)?.connect_lazy())
    }
}

/// Whether an address (host and port) is of this machine. A name other than `localhost` is not looked up: what it means
/// tomorrow is not known today.
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Refuses what is not `host:port` of one machine that can be connected to, with the reason.
pub fn check_address(address: &str) -> Result<(), String> {
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    if host.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!("{address:?} is not of the form host:port, with a port from 1 to 65535"));
    }
    if host.contains(['/', '@']) || host.contains(char::is_whitespace) || host.contains(':') && !host.starts_with('[') {
        return Err(format!("{address:?} is not of the form host:port: {host:?} is no host"));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            Err(format!("{address:?} stands for all addresses of a machine: name one of them"))
        }
        _ => Ok(()),
    }
}

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How often an idle connection is probed, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Bytes in flight on a stream: bulk must not wait for window updates.
pub(crate) const STREAM_WINDOW_LEN: u32 = 8 << 20;
/// Bytes in flight on a connection: streams whose receivers are slow must not keep others from going on.
pub(crate) const CONNECTION_WINDOW_LEN: u32 = 4 * STREAM_WINDOW_LEN;

/// How a node at `address` is connected to, whatever the connection is made of.
pub fn endpoint(scheme: &str, address: &str) -> io::Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(io::Error::other)?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_connection_window_size(CONNECTION_WINDOW_LEN)
        .initial_stream_window_size(STREAM_WINDOW_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_one_machine_and_a_port() {
        for good in ["127.0.0.1:7101", "[::1]:1", "node-1:65535", "localhost:7101"] {
            assert_eq!(check_address(good), Ok(()));
        }
        for (bad, says) in [
            ("", "host:port"),
            ("node-1", "host:port"),
            ("node-1:", "host:port"),
            (":7101", "host:port"),
            ("node-1:0", "from 1"),
            ("node-1:65536", "to 65535"),
            ("http://node-1:80", "no host"),
            ("a b:1", "no host"),
            ("::1:7101", "no host"),
            ("0.0.0.0:7101", "name one"),
            ("[::]:7101", "name one"),
        ] {
            let refused = check_address(bad).expect_err(bad);
            assert!(refused.contains(says), "{refused}");
        }
    }

    #[tokio::test]
    async fn plain_text_stays_on_this_machine() {
        for here in ["127.0.0.1:7101", "127.9.9.9:1", "[::1]:7101", "localhost:7101"] {
            assert!(is_loopback(here), "{here}");
            assert!(TcpConnector.channel(here).is_ok(), "{here}");
        }
        for there in ["0.0.0.0:7101", "10.0.0.1:7101", "[::]:7101", "[fe80::1]:1", "node-1:7101", "localhost.example:1"]
        {
            assert!(!is_loopback(there), "{there}");
            let refused = TcpConnector.channel(there).expect_err(there);
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{there}");
            assert!(InsecureConnector.channel(there).is_ok(), "{there}");
        }
    }
}

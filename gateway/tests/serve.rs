//! A gateway behind a real socket: what comes before a request is one, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use support::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use vestibule_gateway::{GatewayConfig, serve};

struct Served {
    world: World,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

/// Connections without a network.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(pipe) => (pipe, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

async fn served(config: GatewayConfig) -> Served {
    let world = World::with(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(serve(listener, world.gateway.clone(), async {
        let _ = stopped.await;
    }));
    Served { world, address, stop, done }
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn all(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that is reset has said what it had to say.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

const GUEST: &str = "POST /api/v1/auth/guest HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn heads_are_bounded_in_time_and_size() {
    let served = served(GatewayConfig { head_timeout: Duration::from_millis(100), ..support::config() }).await;
    assert!(all(send(served.address, GUEST).await).await.starts_with("HTTP/1.1 201"));
    // Half a head, and then nothing: it is not waited for.
    let slow = send(served.address, "GET /health/live HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    assert!(!all(slow).await.starts_with("HTTP/1.1 200"));
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = send(served.address, &format!("GET /health/live HTTP/1.1\r\nhost: x\r\n{many}\r\n")).await;
    assert!(all(many).await.starts_with("HTTP/1.1 431"));
    let long = format!("GET /health/live HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(100 << 10));
    assert!(!all(send(served.address, &long).await).await.starts_with("HTTP/1.1 200"));
    assert!(!all(send(served.address, "nonsense\r\n\r\n").await).await.starts_with("HTTP/1.1 200"));
    assert!(all(send(served.address, GUEST).await).await.starts_with("HTTP/1.1 201"));
    served.stop.send(()).unwrap();
    served.done.await.unwrap();
}

/// Found by `vestibule-sim run --seed 17`: whoever said nothing, or began like HTTP/2 and went no further, kept a connection.
#[tokio::test]
async fn a_connection_that_does_not_begin_is_not_waited_for() {
    let served = served(GatewayConfig { head_timeout: Duration::from_millis(100), ..support::config() }).await;
    for begin in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let silent = send(served.address, begin).await;
        let closed = tokio::time::timeout(Duration::from_secs(10), all(silent)).await;
        assert!(closed.is_ok(), "{begin:?} is still waited for");
    }
    assert!(all(send(served.address, GUEST).await).await.starts_with("HTTP/1.1 201"));
    served.stop.send(()).unwrap();
    served.done.await.unwrap();
}

#[tokio::test]
async fn what_is_under_way_ends_well() {
    let served = served(GatewayConfig { first_token_keys: None, ..support::config() }).await;
    // The keys are not there yet, so the guest waits.
    served.world.cluster.stalled.send_replace(true);
    let waiting = send(served.address, GUEST).await;
    let idle = send(served.address, "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let metrics = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    while !all(send(served.address, metrics).await).await.contains("requests_in_flight 2") {
        tokio::task::yield_now().await;
    }
    served.stop.send(()).unwrap();
    while TcpStream::connect(served.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!served.done.is_finished());
    served.world.cluster.stalled.send_replace(false);
    assert!(all(waiting).await.starts_with("HTTP/1.1 201"));
    assert!(all(idle).await.starts_with("HTTP/1.1 200"));
    served.done.await.unwrap();
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let config = GatewayConfig { drain_timeout: Duration::from_millis(50), ..support::config() };
    let served = served(config).await;
    let silent = TcpStream::connect(served.address).await.unwrap();
    let half = send(served.address, "POST /api/v1/auth/guest HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{").await;
    assert!(all(send(served.address, GUEST).await).await.starts_with("HTTP/1.1 201"));
    let half_answered = all(half);
    served.stop.send(()).unwrap();
    served.done.await.unwrap();
    assert!(!half_answered.await.starts_with("HTTP/1.1 2"));
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_given_up() {
    let world = World::new();
    let guest = world.guest().await;
    let showtime = world.showtime(serde_json::json!({"opensAt": "2026-11-20T09:00:00Z"})).await;
    world.cluster.stalled.send_replace(true);
    let entries = format!("/showtimes/{showtime}/queue/entries");
    world.post(&entries).token(&guest).send().await.expect_problem(503, "outcome_unknown");
}

#[tokio::test]
async fn half_a_body_is_not_waited_for() {
    let served = served(GatewayConfig { body_timeout: Duration::from_millis(50), ..support::config() }).await;
    let head = "POST /api/v1/auth/guest HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{";
    let answer = all(send(served.address, head).await).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_too_slow"), "{answer}");
    served.stop.send(()).unwrap();
    served.done.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_read_loses_the_place() {
    let config = GatewayConfig { connections_max: 1, ..support::config() };
    let write_timeout = config.write_timeout;
    let world = World::with(config);
    let (pipes, listener) = mpsc::unbounded_channel();
    let serving = tokio::spawn(serve(Pipes(listener), world.gateway.clone(), std::future::pending()));
    let connect = async |request: &str| {
        let (near, far) = duplex(1_024);
        pipes.send(far).unwrap();
        let mut near = near;
        near.write_all(request.as_bytes()).await.unwrap();
        near
    };

    // Its answers do not fit into the pipe, and it takes none of them.
    let start = Instant::now();
    let deaf = connect(&"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2)).await;
    let mut next = connect("GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    timeout(write_timeout * 10, next.read_to_string(&mut answer)).await.expect("the place is free").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let waited = start.elapsed();
    assert!(waited >= write_timeout && waited < write_timeout + Duration::from_secs(1), "after {waited:?}");
    drop(deaf);
    serving.abort();
}

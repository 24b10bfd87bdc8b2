//! The simulated network under the real transport: turmoil's sockets behind the node's seams.

use crate::trace::Trace;
use futures::Stream;
use hyper_util::rt::TokioIo;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Uri};
use turmoil::net::{TcpListener, TcpStream};
use vestibule_raft::seams::{Connector, endpoint};

/// A connection on the simulated network. What is read from it goes into the trace's digest.
pub struct Connection {
    stream: TcpStream,
    trace: Trace,
}

impl Connection {
    /// One over this stream.
    pub(crate) fn new(stream: TcpStream, trace: Trace) -> Self {
        Self { stream, trace }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.trace.note_wire(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// The connections that arrive at a port of this host.
pub async fn listen(port: u16, trace: Trace) -> io::Result<impl Stream<Item = io::Result<Connection>> + Send> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    Ok(futures::stream::unfold((listener, trace), |(listener, trace)| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Connection { stream, trace: trace.clone() });
        Some((accepted, (listener, trace)))
    }))
}

/// Makes connections on the simulated network.
#[derive(Clone)]
pub struct SimConnector {
    trace: Trace,
}

impl SimConnector {
    /// Connections whose bytes go into this trace.
    pub fn new(trace: Trace) -> Self {
        Self { trace }
    }
}

impl Connector for SimConnector {
    fn channel(&self, address: &str) -> io::Result<Channel> {
        let trace = self.trace.clone();
        let connect = move |uri: Uri| {
            let trace = trace.clone();
            async move {
                let host = uri.host().unwrap_or_default().to_owned();
                let stream = TcpStream::connect((host, uri.port_u16().unwrap_or_default())).await?;
                Ok::<_, io::Error>(TokioIo::new(Connection { stream, trace }))
            }
        };
        Ok(endpoint("http", address)?.connect_with_connector_lazy(tower::service_fn(connect)))
    }
}

//! HTTP on the simulated network: a listener for the real gateway, a connector for the real client.

use crate::net::Connection;
use crate::trace::Trace;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection as Connects};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;
use turmoil::net::{TcpListener, TcpStream};

/// The port that gateways listen on.
pub const PORT: u16 = 8080;

/// How long a listener that cannot accept rests.
const REST: Duration = Duration::from_millis(10);

/// Takes connections that arrive at a port of this host.
pub struct HttpListener {
    listener: TcpListener,
    trace: Trace,
}

impl HttpListener {
    /// At [`PORT`].
    pub async fn bind(trace: Trace) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        Ok(Self { listener, trace })
    }
}

impl axum::serve::Listener for HttpListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => return (Connection::new(stream, self.trace.clone()), from),
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Opens a connection to a gateway.
pub(crate) async fn connect(host: &str, port: u16, trace: Trace) -> io::Result<Connection> {
    Ok(Connection::new(TcpStream::connect((host.to_owned(), port)).await?, trace))
}

/// Opens connections for an HTTP client.
#[derive(Clone)]
pub struct HttpConnector {
    trace: Trace,
}

impl HttpConnector {
    /// Connections whose bytes go into this trace.
    pub fn new(trace: Trace) -> Self {
        Self { trace }
    }
}

impl Connects for Connection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl tower::Service<Uri> for HttpConnector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Connection>>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let trace = self.trace.clone();
        Box::pin(async move {
            let port = uri.port_u16().unwrap_or(PORT);
            Ok(TokioIo::new(connect(uri.host().unwrap_or_default(), port, trace).await?))
        })
    }
}

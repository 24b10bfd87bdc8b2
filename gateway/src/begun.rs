//! Connections of which it is not known yet what they will be.
//!
//! HTTP/1 and HTTP/2 are told apart by their first bytes, and hyper waits for those without a limit. So this notes whether they
//! have come, and [`serve`](crate::serve) lets go of a connection that does not begin in time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that notes whether it has begun.
pub(crate) struct Begun<Io> {
    io: Io,
    /// So many bytes are those of the preface.
    matched: usize,
    has_begun: Arc<AtomicBool>,
}

impl<Io> Begun<Io> {
    pub(crate) fn new(io: Io) -> Self {
        Self { io, matched: 0, has_begun: Arc::default() }
    }

    /// Becomes true once it is known which protocol is spoken.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_begun)
    }

    fn note(&mut self, bytes: &[u8]) {
        if self.matched == PREFACE.len() {
            return;
        }
        let same = bytes.iter().zip(&PREFACE[self.matched..]).take_while(|(byte, wanted)| byte == wanted).count();
        self.matched += same;
        if same < bytes.len() || self.matched == PREFACE.len() {
            self.matched = PREFACE.len();
            self.has_begun.store(true, Ordering::Relaxed);
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Begun<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(&buf.filled()[before..]);
        polled
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Begun<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_begun_once_its_protocol_is_known() {
        let begun = |parts: &[&[u8]]| {
            let mut connection = Begun::new(());
            parts.iter().for_each(|part| connection.note(part));
            connection.flag().load(Ordering::Relaxed)
        };
        assert!(!begun(&[]));
        assert!(!begun(&[b"P", b"", b"RI * HTTP/2.0\r\n\r\n"]));
        assert!(begun(&[b"P", b"O"]));
        assert!(begun(&[b"GET / HTTP/1.1"]));
        assert!(begun(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"\r\n", b"more"]));
    }
}

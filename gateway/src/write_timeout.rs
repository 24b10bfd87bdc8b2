//! Connections whose other end may take nothing for a while, but not for ever.
//!
//! What a client does not read fills the buffers on the way to it, and then nothing more can be written. hyper waits for that
//! without a limit, and the connection would keep its place until the gateway stops. So a write that does not come forward in
//! time fails. How long an answer takes in all does not count.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection whose writes fail with [`TimedOut`](io::ErrorKind::TimedOut) once nothing was taken for so long.
pub(crate) struct WriteTimeout<Io> {
    io: Io,
    limit: Duration,
    /// Runs while something waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<Io> WriteTimeout<Io> {
    pub(crate) fn new(io: Io, limit: Duration) -> Self {
        Self { io, limit, stalled: None }
    }

    /// What came of a write, or of its end: whatever is ready has come forward.
    fn limited<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        stalled.as_mut().poll(cx).map(|()| {
            let what = format!("the other end took nothing for {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, what))
        })
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for WriteTimeout<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.limited(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.limited(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.limited(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.limited(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter, duplex};
    use tokio::time::{Instant, timeout};

    const LIMIT: Duration = Duration::from_secs(30);
    /// What a test waits for, if it would wait for ever.
    const FOR_EVER: Duration = Duration::from_secs(3_600);

    /// Asserts that this failed when the limit was reached, and not before.
    async fn times_out(write: impl Future<Output = io::Result<()>>) {
        let start = Instant::now();
        let error = timeout(FOR_EVER, write).await.expect("it is not waited for ever").expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let waited = start.elapsed();
        assert!(waited >= LIMIT && waited < LIMIT + Duration::from_secs(1), "after {waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_fails() {
        let (mut near, _far) = duplex(16);
        near.write_all(&[0; 16]).await.expect("there is room");
        let mut connection = WriteTimeout::new(near, LIMIT);
        // Silence in which there is nothing to write does not count.
        sleep(LIMIT * 2).await;
        times_out(connection.write_all(&[0; 16])).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_or_an_end_that_nobody_reads_fails() {
        let full = || {
            let (near, far) = duplex(16);
            (WriteTimeout::new(BufWriter::new(near), LIMIT), far)
        };
        let (mut connection, _far) = full();
        connection.write_all(&[0; 64]).await.expect("there is room");
        times_out(connection.flush()).await;
        let (mut connection, _far) = full();
        connection.write_all(&[0; 64]).await.expect("there is room");
        times_out(connection.shutdown()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_a_little_now_and_then_is_waited_for() {
        let (near, mut far) = duplex(16);
        let mut connection = WriteTimeout::new(near, LIMIT);
        let reader = async {
            for _ in 0..16 {
                sleep(LIMIT - Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 4]).await?;
            }
            Ok(())
        };
        tokio::try_join!(connection.write_all(&[0; 64]), reader).expect("something was taken all the time");
    }
}

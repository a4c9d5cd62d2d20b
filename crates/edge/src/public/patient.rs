//! A client's stream whose writes do not wait for ever.
//!
//! ```text
//! write ──taken──► going
//!   │ not taken      ▲
//!   ▼                │ taken
//! stalled ───────────┘
//!   │ nothing taken within the limit
//!   ▼
//! `TimedOut`, as if the connection had broken
//! ```
//! A client that stops reading leaves the kernel's buffer full. Without a limit it would hold its lease, and
//! with that the instance, for as long as it likes. A slow one is not meant: whatever it takes starts the
//! clock anew.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::public::deadline::Deadline;

/// A stream with a limit on the time that a write may stall.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    limit: Duration,
    stalled: bool,
    /// Made at the first stall: most connections never need one.
    deadline: Option<Deadline>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, stalled: false, deadline: None }
    }

    /// Passes on what a write came to, unless it has stalled for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        let at = Instant::now() + self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Deadline::new(at));
        if !self.stalled {
            self.stalled = true;
            deadline.set(at);
        }
        deadline.poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.judge(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_write_that_stalls_for_the_limit_fails() {
        let (stream, _reader) = tokio::io::duplex(4);
        let started = Instant::now();
        let error = Patient::new(stream, LIMIT).write_all(b"too much").await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_taken_starts_the_clock_anew() {
        let (stream, mut reader) = tokio::io::duplex(4);
        let mut stream = Patient::new(stream, LIMIT);
        let written = tokio::spawn(async move { stream.write_all(&[7; 20]).await });
        for _ in 0..20 {
            tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
            assert_eq!(reader.read_u8().await.unwrap(), 7);
        }
        written.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_written_does_not_count() {
        let (stream, mut reader) = tokio::io::duplex(4);
        let mut stream = Patient::new(stream, LIMIT);
        for _ in 0..3 {
            let mut taken = [0; 8];
            let (written, read) = tokio::join!(stream.write_all(&[7; 8]), reader.read_exact(&mut taken));
            assert!(written.is_ok() && read.is_ok());
            tokio::time::sleep(LIMIT * 2).await;
        }
    }
}

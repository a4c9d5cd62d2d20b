//! Bandwidth: bytes of one direction of one instance, so many a second over all of its connections.
//!
//! ```text
//! read ──► charge: these bytes take n / rate ──► the next read waits until then
//! ```
//! What is read is paid for afterwards, so that there is no store of unused time: a stream that begins may be one read
//! ahead, never more. Whoever waits longest reads first, since everybody is told their own moment.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use insula_spec::Outside;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// Part of a second that one read may take at most.
const PARTS: u64 = 10;
/// Least bytes of one read.
const READ_MIN: u64 = 512;

/// One direction of one instance.
#[derive(Debug)]
pub(crate) struct Pace {
    outside: watch::Receiver<Outside>,
    /// When everything read so far is paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(outside: watch::Receiver<Outside>) -> Self {
        Self { outside, paid: Mutex::new(Instant::now()) }
    }

    /// Bytes a second that hold now.
    fn rate(&self) -> Option<u64> {
        self.outside.borrow().bandwidth.map(|rate| rate.0.max(1))
    }

    /// Charges these bytes; the moment from which more may be read.
    pub(crate) fn charge(&self, bytes: usize) -> Option<Instant> {
        let rate = self.rate()?;
        let nanos =
            u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(rate);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // A single assignment is all that happens under the lock.
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(Instant::now()) + time;
        Some(*paid)
    }
}

/// A stream whose reads keep to a pace.
#[derive(Debug)]
pub(crate) struct Paced<'a, S> {
    stream: S,
    pace: &'a Pace,
    wait: Option<Pin<Box<Sleep>>>,
}

impl<'a, S> Paced<'a, S> {
    pub(crate) fn new(stream: S, pace: &'a Pace) -> Self {
        Self { stream, pace, wait: None }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(wait) = &mut this.wait {
            ready!(wait.as_mut().poll(cx));
            this.wait = None;
        }
        let Some(rate) = this.pace.rate() else { return Pin::new(&mut this.stream).poll_read(cx, buf) };
        let most = usize::try_from((rate / PARTS).max(READ_MIN)).unwrap_or(usize::MAX);
        let mut part = buf.take(most);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        // What `part` filled is at the beginning of what `buf` had not filled.
        let bytes = part.filled().to_vec();
        buf.put_slice(&bytes);
        if let Some(until) = this.pace.charge(read)
            && until > Instant::now()
        {
            this.wait = Some(Box::pin(sleep_until(until)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
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
    use insula_spec::{ByteSize, NetPolicy};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn outside(bandwidth: Option<u64>) -> Outside {
        Outside { net: NetPolicy::none(), bandwidth: bandwidth.map(ByteSize) }
    }

    /// How long so many bytes take over this many streams at once, in the time of the test.
    async fn time(bytes: usize, streams: usize, rate: Option<u64>) -> Duration {
        let (_keep, watched) = watch::channel(outside(rate));
        let pace = Pace::new(watched);
        let begin = Instant::now();
        let read = async |pace| {
            let (mut near, far) = tokio::io::duplex(1 << 20);
            near.write_all(&vec![7; bytes]).await.unwrap();
            drop(near);
            let mut all = Vec::new();
            Paced::new(far, pace).read_to_end(&mut all).await.unwrap();
            assert_eq!(all, vec![7; bytes]);
        };
        match streams {
            1 => read(&pace).await,
            _ => drop(tokio::join!(read(&pace), read(&pace))),
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_takes_its_time_and_an_unbounded_one_takes_none() {
        assert_eq!(time(100_000, 1, None).await, Duration::ZERO);
        let took = time(100_000, 1, Some(10_000)).await;
        assert!((Duration::from_secs(9)..Duration::from_secs(12)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn streams_of_one_instance_share_what_there_is() {
        let took = time(50_000, 2, Some(10_000)).await;
        assert!((Duration::from_secs(9)..Duration::from_secs(12)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bound_holds_from_the_moment_that_it_is_set() {
        let (set, watched) = watch::channel(outside(None));
        let pace = Pace::new(watched);
        assert_eq!(pace.charge(1_000_000), None);
        set.send_replace(outside(Some(1000)));
        assert_eq!(pace.charge(500), Some(Instant::now() + Duration::from_millis(500)));
    }
}

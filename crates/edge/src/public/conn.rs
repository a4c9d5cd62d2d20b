//! One client connection, from accept to close.
//!
//! ```text
//!            first byte             whole head              answered, kept
//! waiting ───────────────► reading ────────────► exchange ─────────────────┐
//!    ▲  │                     │                     │ must close           │
//!    │  └─ idle / drained ──► closed ◄── linger ◄───┘                      │
//!    └─────────────────────────────────────────────────────────────────────┘
//! ```
//! While it waits the connection holds no buffer. For a moment it also holds the connection to the
//! workload that it used last; then that one goes back to the pool of the instance.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use insula_services::Upstream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::public::body::{Body, Pipe};
use crate::public::buffer::{Buffer, PIECE, Pool};
use crate::public::deadline::Deadline;
use crate::public::head::{HEAD_MAX, end_of_head};
use crate::public::observe::{Observer, RequestIds};
use crate::public::plan::LastHost;
use crate::public::respond::Failure;
use crate::public::settings::Settings;
use crate::public::tenants::Tenants;

/// How long an idle connection keeps the connection to the workload to itself.
const HOLD: Duration = Duration::from_secs(1);

/// How long a client may go on sending after it was told that the connection closes. Closing at once
/// would reset the connection and could take the answer with it (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// What all connections of a proxy share.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    pub(crate) tenants: T,
    pub(crate) settings: Settings,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) ids: Arc<RequestIds>,
}

/// What follows an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Next,
    Close,
    /// Close, but let the client finish what it is sending.
    Linger,
    /// Nothing was read yet but the preface of HTTP/2, and it is still there.
    Http2,
}

/// One client connection.
#[derive(Debug)]
pub(crate) struct Connection<C, T> {
    pub(crate) shared: Arc<Shared<T>>,
    pub(crate) stream: C,
    pub(crate) peer: IpAddr,
    pub(crate) input: Buffer,
    pub(crate) deadline: Deadline,
    pub(crate) last: LastHost,
    pub(crate) held: Option<Upstream>,
    pub(crate) drain: CancellationToken,
}

/// What came of waiting for a request.
#[derive(Debug)]
enum Arrived {
    /// A head of so many bytes.
    Head(usize),
    /// Nobody wants anything more.
    Over,
}

impl<C, T> Connection<C, T>
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    T: Tenants,
{
    pub(crate) fn new(shared: Arc<Shared<T>>, stream: C, peer: IpAddr, drain: CancellationToken) -> Self {
        let input = Buffer::new(&shared.pool);
        let deadline = Deadline::new(Instant::now() + shared.settings.header_timeout);
        let last = LastHost::default();
        Self { shared, stream, peer, input, deadline, last, held: None, drain }
    }

    /// Serves requests until one side has had enough. A connection that begins HTTP/2 is given back.
    pub(crate) async fn run(mut self) -> Option<Self> {
        let drain = self.drain.clone();
        let mut drained = pin!(drain.cancelled());
        let mut after = After::Next;
        while after == After::Next {
            after = match self.next_head(drained.as_mut()).await {
                Ok(Arrived::Head(end)) => self.exchange(end).await,
                Ok(Arrived::Over) => After::Close,
                Err(failure) => {
                    let id = self.shared.ids.next();
                    self.refuse(id, &failure).await
                }
            };
            let idle = Instant::now() + HOLD.min(self.shared.settings.idle_timeout);
            self.deadline.set(idle);
        }
        if let Some(upstream) = self.held.take() {
            upstream.keep();
        }
        match after {
            After::Http2 => return Some(self),
            After::Linger => self.linger().await,
            After::Next | After::Close => {}
        }
        None
    }

    /// Waits for a whole head, at most as long as the settings allow.
    async fn next_head(
        &mut self,
        mut drained: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Result<Arrived, Failure> {
        let mut wait = Wait { scanned: 0, reading: false, draining: false, fresh: true };
        poll_fn(|cx| self.poll_next_head(cx, &mut wait, drained.as_mut())).await
    }

    fn poll_next_head(
        &mut self,
        cx: &mut Context<'_>,
        wait: &mut Wait,
        drained: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> Poll<Result<Arrived, Failure>> {
        loop {
            if wait.fresh && self.input.bytes().starts_with(b"\r\n") {
                // Some clients send an empty line after a body (RFC 9112, section 2.2).
                self.input.consume(2);
                wait.fresh = false;
            }
            let end = end_of_head(self.input.bytes(), &mut wait.scanned);
            match end.map_err(|bad| Failure::Refused(bad.into()))? {
                Some(end) => return Poll::Ready(Ok(Arrived::Head(end))),
                None => self.begin_reading(wait),
            }
            match self.input.poll_fill(cx, &mut self.stream, HEAD_MAX) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Ok(Arrived::Over)),
                Poll::Pending => break,
            }
        }
        let retiring = self.shared.settings.retiring.is_cancelled();
        if !wait.reading && !wait.draining && !retiring && self.poll_drained(cx, drained) {
            wait.draining = true;
            self.deadline.set(Instant::now() + self.shared.settings.drain_grace);
        }
        self.poll_patience(cx, wait)
    }

    /// From its first byte on a head has only so much time.
    fn begin_reading(&mut self, wait: &mut Wait) {
        if !wait.reading && !self.input.is_empty() {
            wait.reading = true;
            self.deadline.set(Instant::now() + self.shared.settings.header_timeout);
        }
    }

    fn poll_drained(&self, cx: &mut Context<'_>, drained: Pin<&mut WaitForCancellationFuture<'_>>) -> bool {
        self.drain.is_cancelled() || drained.poll(cx).is_ready()
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>, wait: &Wait) -> Poll<Result<Arrived, Failure>> {
        ready!(self.deadline.poll(cx));
        if wait.reading {
            return Poll::Ready(Err(Failure::SlowRequest));
        }
        if wait.draining || self.held.is_none() {
            return Poll::Ready(Ok(Arrived::Over));
        }
        if let Some(upstream) = self.held.take() {
            upstream.keep();
        }
        self.deadline.set(Instant::now() + self.shared.settings.idle_timeout.saturating_sub(HOLD));
        // Asked once more, so that the new deadline wakes this task.
        self.deadline.poll(cx).map(|()| Ok(Arrived::Over))
    }

    /// Writes a response of our own; a client that does not take it is left alone.
    pub(crate) async fn send(&mut self, bytes: Vec<u8>) -> bool {
        self.deadline.set(Instant::now() + self.shared.settings.header_timeout);
        let mut pipe = Pipe::new(bytes, Body::Done);
        let (mut nothing, mut none) = (tokio::io::empty(), self.input.sibling());
        poll_fn(|cx| match pipe.poll(cx, &mut nothing, &mut none, &mut self.stream) {
            Poll::Ready(result) => Poll::Ready(result.is_ok()),
            Poll::Pending => self.deadline.poll(cx).map(|()| false),
        })
        .await
    }

    /// Closes our half, then throws away what still comes, for a while.
    async fn linger(&mut self) {
        self.deadline.set(Instant::now() + LINGER);
        let mut shut = false;
        poll_fn(|cx| {
            if !shut {
                shut = ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_ok();
                if !shut {
                    return Poll::Ready(());
                }
            }
            loop {
                self.input.consume(self.input.len());
                match self.input.poll_fill(cx, &mut self.stream, PIECE) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.deadline.poll(cx),
                }
            }
        })
        .await;
    }
}

/// How far waiting for a request has come.
#[derive(Debug)]
struct Wait {
    scanned: usize,
    /// Whether the head has begun.
    reading: bool,
    /// Whether only the grace of a drain is left.
    draining: bool,
    /// Whether an empty line may still be skipped.
    fresh: bool,
}

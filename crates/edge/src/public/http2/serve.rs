//! One client connection that speaks HTTP/2.
//!
//! ```text
//! preface ──► settings ──► streams, each on a task of its own ──► idle / drained ──► GOAWAY ──► closed
//!                              │                                                        ▲
//!                              └── cancelled far more than answered ────────────────────┘
//! ```
//! The connection itself holds no lease: only its streams do. Its windows bound what a client can make this process
//! hold, and a stream whose task is still busy keeps its place even if the client has cancelled it.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use super::face::Face;
use super::prefixed::Prefixed;
use super::tally::Tally;
use super::{CONNECTION_WINDOW, HEADER_LIST_MAX, SEND_BUFFER, STREAM_WINDOW, STREAMS_MAX};
use crate::public::conn::{Connection, Shared};
use crate::public::deadline::Deadline;
use crate::public::patient::Patient;
use crate::public::tenants::Tenants;

/// Serves a connection of which nothing but the preface was read, until one side has had enough.
pub(crate) async fn serve<C, T>(connection: Connection<C, T>)
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    T: Tenants,
{
    let Connection { shared, stream, peer, input, drain, .. } = connection;
    let stream = Prefixed::new(input, stream);
    let wire = match timeout(shared.settings.header_timeout, settings().handshake(stream)).await {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection began HTTP/2 and broke it off"),
        Err(_) => return tracing::debug!("a connection began HTTP/2 and said no more"),
    };
    let drained = drain.clone();
    let mut drained = pin!(drained.cancelled());
    let mut session = Session::new(wire, shared, peer, drain);
    poll_fn(|cx| session.poll(cx, drained.as_mut())).await;
    // Their streams are closed, so they end; what they were is still told.
    let mut streams = session.streams;
    drop(session.wire);
    while streams.join_next().await.is_some() {}
}

fn settings() -> server::Builder {
    let mut settings = server::Builder::new();
    settings
        .max_concurrent_streams(u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX))
        .max_header_list_size(HEADER_LIST_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    settings
}

/// A connection and its streams.
struct Session<C, T> {
    wire: server::Connection<C, Bytes>,
    shared: Arc<Shared<T>>,
    peer: IpAddr,
    drain: CancellationToken,
    streams: JoinSet<()>,
    tally: Arc<Tally>,
    /// When a connection without streams has waited enough.
    idle: Deadline,
    /// Whether the client was told that no more streams are taken.
    leaving: bool,
}

impl<C, T> Session<C, T>
where
    C: AsyncRead + AsyncWrite + Unpin,
    T: Tenants,
{
    fn new(
        wire: server::Connection<C, Bytes>,
        shared: Arc<Shared<T>>,
        peer: IpAddr,
        drain: CancellationToken,
    ) -> Self {
        let idle = Deadline::new(Instant::now() + shared.settings.idle_timeout);
        let (streams, tally) = (JoinSet::new(), Arc::new(Tally::new()));
        Self { wire, shared, peer, drain, streams, tally, idle, leaving: false }
    }

    /// Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>, drained: Pin<&mut WaitForCancellationFuture<'_>>) -> Poll<()> {
        self.reap(cx);
        if !self.leaving && (self.drain.is_cancelled() || drained.poll(cx).is_ready()) {
            self.leave();
        }
        loop {
            match self.poll_wire(cx) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.poll_idle(cx)
    }

    /// Takes note of the streams that have ended.
    fn reap(&mut self, cx: &mut Context<'_>) {
        let before = self.streams.len();
        while let Poll::Ready(Some(ended)) = self.streams.poll_join_next(cx) {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a stream ended badly");
            }
        }
        if self.tally.is_spent() {
            tracing::debug!(peer = %self.peer, "a client cancels its requests without end");
            self.wire.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.leaving = true;
        }
        if before > 0 && self.streams.is_empty() && !self.leaving {
            self.idle.set(Instant::now() + self.shared.settings.idle_timeout);
        }
    }

    /// Moves the connection on; `false` when it is over, `true` if a stream has begun.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.streams.len() >= STREAMS_MAX {
            return self.wire.poll_closed(cx).map(|_| false);
        }
        match ready!(self.wire.poll_accept(cx)) {
            Some(Ok((request, respond))) => {
                self.begin(request, respond);
                // Asked again, so that the end of this one wakes the connection.
                self.reap(cx);
                Poll::Ready(true)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, peer = %self.peer, "a connection of HTTP/2 broke");
                Poll::Ready(false)
            }
            None => Poll::Ready(false),
        }
    }

    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let Some(face) = Face::new(request, respond, Arc::clone(&self.tally)) else { return };
        let face = Patient::new(face, self.shared.settings.write_timeout);
        let stream = Connection::new(Arc::clone(&self.shared), face, self.peer, self.drain.clone());
        self.streams.spawn(async move { drop(stream.run().await) });
    }

    /// Tells the client that no more streams are taken; those it has are served to their end.
    fn leave(&mut self) {
        self.leaving = true;
        self.wire.graceful_shutdown();
        self.idle.set(Instant::now() + self.shared.settings.drain_grace);
    }

    /// A connection without streams is told to end, and cut if it does not.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.streams.is_empty() && self.idle.poll(cx).is_ready() {
            if self.leaving {
                return Poll::Ready(());
            }
            self.leave();
            if let Poll::Ready(more) = self.poll_wire(cx)
                && !more
            {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

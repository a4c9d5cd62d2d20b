//! One exchange with a workload.
//!
//! ```text
//!            ┌──────────── upload (head, body) ────────────┐
//! client ────┤                                             ├──── workload
//!            └─ interim ◄─┬─ answer: head, body ◄──────────┘
//!                         └─ 101: tunnel
//! ```
//! Both directions run on the connection's own task and are polled together, so an answer passes while
//! the upload goes on, and a client that leaves ends the exchange at whatever point it is.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use insula_services::Upstream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::public::body::{Body, Pipe, PipeError};
use crate::public::buffer::{Buffer, PIECE};
use crate::public::deadline::Deadline;
use crate::public::head::{HEAD_MAX, Version, end_of_head};
use crate::public::link::Link;
use crate::public::plan::{self, Asked, Final, Reply, Response};
use crate::public::respond::{self, BadAnswer, Failure};
use crate::public::tunnel::{self, Carried};

/// Most interim responses before the answer.
const INTERIM_MAX: usize = 32;

/// Most bytes read ahead from a client while its current request is being answered.
const AHEAD_MAX: usize = PIECE / 2;

/// How the upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    Going,
    Done,
    /// The workload takes no more of it; it may still answer.
    Refused,
}

/// The client's side of an exchange.
#[derive(Debug)]
pub(crate) struct Client<'a, C> {
    pub(crate) stream: &'a mut C,
    pub(crate) input: &'a mut Buffer,
    pub(crate) deadline: &'a mut Deadline,
}

/// One exchange, from the first byte to the workload to the last byte to the client.
#[derive(Debug)]
pub(crate) struct Exchange<'a, C> {
    client: Client<'a, C>,
    upstream: Link,
    output: Buffer,
    upload: Pipe,
    state: Upload,
    scanned: usize,
    /// Whether the workload has sent anything.
    heard: bool,
    timeout: Duration,
}

/// An exchange that brought an answer, whole or not.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: u16,
    pub(crate) carried: Carried,
    /// Whether the client's connection can take another request.
    pub(crate) next: bool,
    /// Whether the client may still be sending.
    pub(crate) linger: bool,
    /// The connection to the workload, if it can take another request.
    pub(crate) upstream: Option<Upstream>,
    /// What cut the answer short.
    pub(crate) error: Option<&'static str>,
}

impl<'a, C: AsyncRead + AsyncWrite + Unpin> Exchange<'a, C> {
    pub(crate) fn new(client: Client<'a, C>, upstream: Link, upload: Pipe, timeout: Duration) -> Self {
        let output = client.input.sibling();
        Self { client, upstream, output, upload, state: Upload::Going, scanned: 0, heard: false, timeout }
    }

    /// Bytes of the request's body that went to the workload so far.
    pub(crate) fn uploaded(&self) -> u64 {
        self.upload.moved()
    }

    /// The client, while something else is waited for.
    pub(crate) fn client(&mut self) -> &mut Client<'a, C> {
        &mut self.client
    }

    /// Starts over on another connection. Only for requests without a body.
    pub(crate) fn restart(&mut self, upstream: Link) {
        self.upstream = upstream;
        self.upload.rewind();
        self.state = Upload::Going;
        self.output = self.output.sibling();
        self.scanned = 0;
    }

    /// Whether the connection to the workload ended before any byte of an answer.
    pub(crate) fn is_unanswered(&self, failure: &Failure) -> bool {
        !self.heard && matches!(failure, Failure::BadAnswer(BadAnswer::Closed))
    }

    /// Sends the request and waits for the answer's head, passing interim responses on. Nothing of an
    /// answer has gone to the client when this fails.
    pub(crate) async fn answer(&mut self, asked: &Asked<'_>) -> Result<Reply, Failure> {
        for _ in 0..INTERIM_MAX {
            let end = poll_fn(|cx| self.poll_head(cx)).await?;
            let asked = Asked { close: asked.close || self.state != Upload::Done, ..*asked };
            let response = plan::response(&self.output.bytes()[..end], &asked)?;
            self.output.consume(end);
            self.scanned = 0;
            match response {
                Response::Interim(head) => self.interim(head, &asked).await?,
                Response::Reply(reply) => return Ok(reply),
            }
        }
        Err(BadAnswer::Interim.into())
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Failure>> {
        let before = self.upload.moved();
        self.poll_upload(cx)?;
        if self.state == Upload::Done && poll_gone(cx, &mut self.client).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        loop {
            match end_of_head(self.output.bytes(), &mut self.scanned).map_err(BadAnswer::from)? {
                Some(end) => return Poll::Ready(Ok(end)),
                None => match self.output.poll_fill(cx, &mut self.upstream, HEAD_MAX) {
                    Poll::Ready(Ok(1..)) => self.heard = true,
                    Poll::Ready(_) => return Poll::Ready(Err(BadAnswer::Closed.into())),
                    Poll::Pending => break,
                },
            }
        }
        self.poll_timeout(cx, self.upload.moved() > before)
    }

    /// The time to answer counts from the last byte of the upload that got through.
    fn poll_timeout(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<Result<usize, Failure>> {
        if moved {
            self.client.deadline.set(Instant::now() + self.timeout);
        }
        if self.client.deadline.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let starved = self.state == Upload::Going && self.upload.is_starved();
        Poll::Ready(Err(if starved { Failure::SlowRequest } else { Failure::TimedOut }))
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if self.state != Upload::Going {
            return Ok(());
        }
        let Client { stream, input, .. } = &mut self.client;
        match self.upload.poll(cx, *stream, input, &mut self.upstream) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.state = Upload::Done,
            Poll::Ready(Err(PipeError::Sink(_))) => self.state = Upload::Refused,
            Poll::Ready(Err(PipeError::Source(_))) => return Err(Failure::ClientGone),
            Poll::Ready(Err(PipeError::Body(bad))) => return Err(respond::of_body(bad)),
        }
        Ok(())
    }

    /// Passes an interim response on, unless the client does not know them.
    async fn interim(&mut self, head: Vec<u8>, asked: &Asked<'_>) -> Result<(), Failure> {
        if asked.version == Version::Http10 {
            return Ok(());
        }
        let mut pipe = Pipe::new(head, Body::Done);
        let sent = poll_fn(|cx| {
            // The deadline of the answer bounds this too: a client that does not read gets nothing.
            if self.client.deadline.poll(cx).is_ready() {
                return Poll::Ready(Err(Failure::TimedOut));
            }
            let written = pipe.poll(cx, &mut self.upstream, &mut self.output, self.client.stream);
            written.map(|result| result.map_err(|_| Failure::ClientGone))
        });
        sent.await
    }

    /// Passes the answer on to its last byte. Nothing of it has gone to the client when this fails.
    pub(crate) async fn deliver(mut self, reply: Final) -> Result<Ended, Failure> {
        let Final { status, head, body, close, keep_upstream } = reply;
        let mut download = Pipe::new(head, body);
        let result = poll_fn(|cx| self.poll_both(cx, &mut download)).await;
        let error = match result {
            Ok(()) => None,
            Err(failure) if !download.begun() => return Err(failure),
            Err(Failure::BadAnswer(_)) => Some("answer_cut_short"),
            Err(failure) => Some(failure.answer().code),
        };
        let carried = Carried { up: self.upload.moved(), down: download.moved() };
        let (whole, sent) = (error.is_none(), self.state == Upload::Done);
        let clean = whole && keep_upstream && sent && self.output.is_empty();
        Ok(Ended {
            status,
            carried,
            next: whole && !close && sent,
            linger: whole && !(sent && self.client.input.is_empty()),
            upstream: clean.then_some(self.upstream).and_then(Link::into_upstream),
            error,
        })
    }

    fn poll_both(&mut self, cx: &mut Context<'_>, download: &mut Pipe) -> Poll<Result<(), Failure>> {
        self.poll_upload(cx)?;
        let client = &mut self.client;
        match download.poll(cx, &mut self.upstream, &mut self.output, client.stream) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(PipeError::Sink(_))) => return Poll::Ready(Err(Failure::ClientGone)),
            Poll::Ready(Err(PipeError::Source(_))) => return Poll::Ready(Err(BadAnswer::Closed.into())),
            Poll::Ready(Err(PipeError::Body(bad))) => return Poll::Ready(Err(BadAnswer::Body(bad).into())),
            Poll::Pending => {}
        }
        match self.state == Upload::Done && poll_gone(cx, client).is_ready() {
            true => Poll::Ready(Err(Failure::ClientGone)),
            false => Poll::Pending,
        }
    }

    /// Becomes a tunnel, after the client was told `head`.
    pub(crate) async fn switch(mut self, head: Vec<u8>, linger: Duration) -> Ended {
        let client = tunnel::End { stream: self.client.stream, input: self.client.input };
        let workload = tunnel::End { stream: &mut self.upstream, input: &mut self.output };
        let carried = tunnel::carry(client, workload, head, linger).await;
        Ended { status: 101, carried, next: false, linger: false, upstream: None, error: None }
    }
}

/// Waits for something, unless the client leaves or its deadline passes first.
pub(crate) async fn attended<C, F>(client: &mut Client<'_, C>, awaited: F) -> Result<F::Output, Failure>
where
    C: AsyncRead + Unpin,
    F: Future,
{
    let mut awaited = pin!(awaited);
    poll_fn(|cx| {
        if let Poll::Ready(output) = awaited.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        if poll_gone(cx, client).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        client.deadline.poll(cx).map(|()| Err(Failure::TimedOut))
    })
    .await
}

/// Ready once the client has closed its side. What it sends meanwhile is kept for the next request, up to
/// a bound, beyond which nothing is read and a leave is noticed only by writing.
fn poll_gone<C: AsyncRead + Unpin>(cx: &mut Context<'_>, client: &mut Client<'_, C>) -> Poll<()> {
    while client.input.len() < AHEAD_MAX {
        match client.input.poll_fill(cx, client.stream, PIECE) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(_) => return Poll::Ready(()),
        }
    }
    Poll::Pending
}

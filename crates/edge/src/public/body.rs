//! A body on its way through: checked, never held.
//!
//! ```text
//! source ──poll_fill──► Buffer ──Body::step──► lead + first n bytes ──writev──► sink
//! ```
//! A [`Pipe`] reads the next piece only after the last one was written, so a slow reader slows the sender
//! and one buffer per direction is all that is ever in flight.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::public::buffer::{Buffer, PIECE};
use crate::public::chunked::{BadBody, ChunkDecoder, Piece};
use crate::public::forward;
use crate::public::text::push_hex;

/// How a body is carried from one side to the other.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing, or nothing more.
    Done,
    /// So many bytes are left.
    Length(u64),
    /// Chunked, forwarded as it came once checked; only the trailer section is written anew.
    Chunked(ChunkDecoder),
    /// Chunked, for a reader that does not know the coding: only the data passes.
    Unchunked(ChunkDecoder),
    /// Until the source closes, unchanged.
    UntilClose,
    /// Until the source closes, chunked on the way.
    Chunking,
}

/// What to do with the bytes at hand: forget `skip`, then send `pass`, then the bytes of our own after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    skip: usize,
    pass: usize,
    tail: &'static [u8],
}

impl Step {
    fn of(skip: usize, pass: usize) -> Self {
        Self { skip, pass, tail: b"" }
    }
}

impl Body {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Looks at `input`, which is not empty. What must be sent before the bytes passed goes to `lead`.
    fn step(&mut self, input: &[u8], lead: &mut Vec<u8>) -> Result<Step, BadBody> {
        let all = input.len();
        match self {
            Self::Done => Ok(Step::of(0, 0)),
            Self::UntilClose => Ok(Step::of(0, all)),
            Self::Length(left) => {
                let pass = usize::try_from(*left).map_or(all, |left| left.min(all));
                *left -= pass as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Step::of(0, pass))
            }
            Self::Chunking => {
                push_hex(lead, all as u64);
                lead.extend_from_slice(b"\r\n");
                Ok(Step { tail: b"\r\n", ..Step::of(0, all) })
            }
            Self::Chunked(decoder) => {
                let step = verbatim(decoder, input, lead)?;
                self.finish();
                Ok(step)
            }
            Self::Unchunked(decoder) => {
                let step = data_only(decoder, input)?;
                self.finish();
                Ok(step)
            }
        }
    }

    fn finish(&mut self) {
        if matches!(self, Self::Chunked(d) | Self::Unchunked(d) if d.is_done()) {
            *self = Self::Done;
        }
    }

    /// The source has closed.
    fn closed(&mut self, lead: &mut Vec<u8>) -> Result<(), BadBody> {
        match self {
            Self::UntilClose => {}
            Self::Chunking => lead.extend_from_slice(b"0\r\n\r\n"),
            Self::Done | Self::Length(_) | Self::Chunked(_) | Self::Unchunked(_) => {
                return Err(BadBody::Truncated);
            }
        }
        *self = Self::Done;
        Ok(())
    }
}

/// Frames and data pass as they came, up to the trailer section, which passes field by field.
fn verbatim(decoder: &mut ChunkDecoder, input: &[u8], lead: &mut Vec<u8>) -> Result<Step, BadBody> {
    let mut pass = 0;
    while pass < input.len() {
        match decoder.next_before_trailers(&input[pass..])? {
            Piece::Frame(n) | Piece::Data(n) => pass += n,
            Piece::More | Piece::Done | Piece::Trailers(_) => break,
        }
    }
    if pass > 0 {
        return Ok(Step::of(0, pass));
    }
    match decoder.next(input)? {
        Piece::Trailers(n) => {
            forward::trailers(&input[..n], lead)?;
            Ok(Step::of(n, 0))
        }
        _ => Ok(Step::of(0, 0)),
    }
}

fn data_only(decoder: &mut ChunkDecoder, input: &[u8]) -> Result<Step, BadBody> {
    let mut skip = 0;
    loop {
        match decoder.next(&input[skip..])? {
            Piece::Frame(n) => skip += n,
            Piece::Data(pass) => return Ok(Step::of(skip, pass)),
            Piece::Trailers(n) => return Ok(Step::of(skip + n, 0)),
            Piece::More | Piece::Done => return Ok(Step::of(skip, 0)),
        }
    }
}

/// Why a pipe broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipeError {
    #[error("cannot read the body")]
    Source(#[source] io::Error),
    #[error("cannot write the body")]
    Sink(#[source] io::Error),
    #[error(transparent)]
    Body(#[from] BadBody),
}

/// One direction of an exchange: a head that is already written out, then a body.
#[derive(Debug)]
pub(crate) struct Pipe {
    body: Body,
    /// Bytes of our own that go out before `pass`: a head, a chunk size, trailers.
    lead: Vec<u8>,
    lead_sent: usize,
    /// How much of the lead stays after it was sent, so that it can be sent again.
    lead_kept: usize,
    /// How many bytes at the front of the source's buffer may go out.
    pass: usize,
    /// Bytes of our own that follow them.
    tail: &'static [u8],
    /// Whether something was written since the last flush.
    dirty: bool,
    /// Whether anything was written at all.
    begun: bool,
    /// Bytes of the source written so far.
    moved: u64,
}

impl Pipe {
    pub(crate) fn new(lead: Vec<u8>, body: Body) -> Self {
        Self {
            body,
            lead,
            lead_sent: 0,
            lead_kept: 0,
            pass: 0,
            tail: b"",
            dirty: false,
            begun: false,
            moved: 0,
        }
    }

    /// A pipe that remembers its head for [`Self::rewind`].
    pub(crate) fn remembering(head: Vec<u8>, body: Body) -> Self {
        Self { lead_kept: head.len(), ..Self::new(head, body) }
    }

    /// Whether everything at hand was written: the sender is the one to wait for.
    pub(crate) fn is_starved(&self) -> bool {
        self.pass == 0 && self.tail.is_empty() && self.lead_sent == self.lead.len()
    }

    /// Sends the head again, to another sink. Only for pipes without a body.
    pub(crate) fn rewind(&mut self) {
        self.lead_sent = 0;
    }

    /// Bytes of the body written so far, framing included.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether anything was written at all.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// Moves on as far as possible; ready when everything is written and flushed.
    pub(crate) fn poll<S, D>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        buffer: &mut Buffer,
        sink: &mut D,
    ) -> Poll<Result<(), PipeError>>
    where
        S: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        loop {
            let mut stepped = false;
            if self.pass == 0 && self.tail.is_empty() && !self.body.is_done() && !buffer.is_empty() {
                let step = self.body.step(buffer.bytes(), &mut self.lead)?;
                buffer.consume(step.skip);
                (self.pass, self.tail) = (step.pass, step.tail);
                stepped = step.skip > 0;
            }
            if !self.is_starved() {
                ready!(self.poll_write(cx, buffer, sink)).map_err(PipeError::Sink)?;
                continue;
            }
            if stepped {
                continue;
            }
            if self.dirty {
                ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(PipeError::Sink)?;
                self.dirty = false;
            }
            if self.body.is_done() {
                return Poll::Ready(Ok(()));
            }
            if ready!(buffer.poll_fill(cx, source, PIECE)).map_err(PipeError::Source)? == 0 {
                self.body.closed(&mut self.lead)?;
            }
        }
    }

    /// Writes once: what is left of the lead, the bytes that may pass and the tail, in one call.
    fn poll_write<D: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
        sink: &mut D,
    ) -> Poll<io::Result<()>> {
        let (lead, body) = (&self.lead[self.lead_sent..], &buffer.bytes()[..self.pass]);
        let sink = Pin::new(sink);
        let written = match (lead, body, self.tail) {
            (lead, [], []) => ready!(sink.poll_write(cx, lead))?,
            ([], body, []) => ready!(sink.poll_write(cx, body))?,
            _ => {
                let slices = [IoSlice::new(lead), IoSlice::new(body), IoSlice::new(self.tail)];
                ready!(sink.poll_write_vectored(cx, &slices))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_lead = written.min(lead.len());
        let of_body = (written - of_lead).min(body.len());
        self.lead_sent += of_lead;
        if self.lead_sent == self.lead.len() {
            self.lead.truncate(self.lead_kept);
            self.lead_sent = self.lead_kept;
        }
        buffer.consume(of_body);
        self.pass -= of_body;
        self.tail = &self.tail[written - of_lead - of_body..];
        self.moved += of_body as u64;
        (self.dirty, self.begun) = (true, true);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use super::*;
    use crate::public::buffer::Pool;

    async fn run(body: Body, input: &[u8]) -> Result<(String, String), PipeError> {
        let mut buffer = Buffer::new(&Arc::new(Pool::default()));
        let mut source = tokio_test_reader(input);
        let mut sink = Vec::new();
        let mut pipe = Pipe::new(b"HEAD ".to_vec(), body);
        poll_fn(|cx| pipe.poll(cx, &mut source, &mut buffer, &mut sink)).await?;
        Ok((String::from_utf8(sink).unwrap(), String::from_utf8(buffer.bytes().to_vec()).unwrap()))
    }

    /// Gives three bytes at a time, so that every state is entered from a fresh read.
    fn tokio_test_reader(input: &[u8]) -> impl AsyncRead + Unpin + use<> {
        struct Slow(Vec<u8>, usize);
        impl AsyncRead for Slow {
            fn poll_read(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                let to = (self.1 + 3.min(buf.remaining())).min(self.0.len());
                buf.put_slice(&self.0[self.1..to]);
                self.1 = to;
                Poll::Ready(Ok(()))
            }
        }
        Slow(input.to_vec(), 0)
    }

    const CHUNKED: &[u8] = b"5\r\nhello\r\n3;x\r\n, w\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\nnext";

    #[tokio::test]
    async fn lengths_end_where_they_say() {
        let (out, _) = run(Body::Length(5), b"helloEXTRA").await.unwrap();
        assert_eq!(out, "HEAD hello");
        let short = run(Body::Length(6), b"hello").await;
        assert!(matches!(short, Err(PipeError::Body(BadBody::Truncated))));
    }

    #[tokio::test]
    async fn chunks_pass_as_they_came_but_for_forbidden_trailers() {
        let (out, _) = run(Body::Chunked(ChunkDecoder::new()), CHUNKED).await.unwrap();
        assert_eq!(out, "HEAD 5\r\nhello\r\n3;x\r\n, w\r\n0\r\nA: b\r\n\r\n");
    }

    #[tokio::test]
    async fn an_old_reader_gets_the_data_alone() {
        let (out, _) = run(Body::Unchunked(ChunkDecoder::new()), CHUNKED).await.unwrap();
        assert_eq!(out, "HEAD hello, w");
    }

    #[tokio::test]
    async fn a_close_becomes_a_last_chunk() {
        let (out, _) = run(Body::Chunking, b"hello").await.unwrap();
        assert_eq!(out, "HEAD 3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
        assert_eq!(run(Body::Chunking, b"").await.unwrap().0, "HEAD 0\r\n\r\n");
        assert_eq!(run(Body::UntilClose, b"hello").await.unwrap().0, "HEAD hello");
    }

    /// Always has more, and counts what was taken.
    struct Endless(usize);

    impl AsyncRead for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let room = buf.remaining();
            buf.put_slice(&vec![b'x'; room]);
            self.0 += room;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_sink_that_takes_nothing_leaves_one_piece_in_flight() {
        let (mut sink, _never_read) = tokio::io::duplex(1024);
        let mut buffer = Buffer::new(&Arc::new(Pool::default()));
        let (mut source, mut pipe) = (Endless(0), Pipe::new(Vec::new(), Body::Length(1 << 40)));
        for _ in 0..10 {
            let polled = poll_fn(|cx| Poll::Ready(pipe.poll(cx, &mut source, &mut buffer, &mut sink)));
            assert!(polled.await.is_pending());
        }
        assert_eq!((pipe.moved(), source.0), (1024, PIECE), "more was read than one buffer holds");
    }
}

//! From frames to bytes: one message of HTTP/2 as HTTP/1.1.
//!
//! ```text
//! head ──► data ──► (last chunk, trailers) ──► end
//!           ▲  │
//!           └──┘ each DATA frame is a chunk, or raw bytes where the length is known
//! ```
//! What was handed on is given back to the sender's window, and nothing before: a reader that stops, stops the
//! sender. Whether a length was kept is checked by `h2`; a stream that breaks it is an error here.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::RecvStream;
use tokio::io::ReadBuf;

use super::broken;
use crate::public::text::push_hex;

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// There is none.
    Empty,
    /// As it is: the head tells its length.
    Raw,
    /// Chunked.
    Chunked,
}

/// One message of HTTP/2, read as HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Inbound {
    body: RecvStream,
    coding: Coding,
    /// The head, a chunk size, or the end of a chunked body.
    lead: Bytes,
    data: Bytes,
    tail: &'static [u8],
    ended: bool,
}

impl Inbound {
    /// A message whose head is `head`.
    pub(crate) fn new(head: Vec<u8>, body: RecvStream, coding: Coding) -> Self {
        let ended = coding == Coding::Empty;
        Self { body, coding, lead: head.into(), data: Bytes::new(), tail: b"", ended }
    }

    /// Whether all of it was read.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.lead.is_empty() && self.data.is_empty() && self.tail.is_empty()
    }

    /// Reads on; nothing is read once it is over.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            if self.give(buf)? {
                continue;
            }
            if self.ended {
                break;
            }
            match self.poll_next(cx) {
                Poll::Pending if buf.filled().len() > before => break,
                next => ready!(next)?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Hands on what is at hand; whether there was anything.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        if !self.lead.is_empty() {
            take(&mut self.lead, buf);
        } else if !self.data.is_empty() {
            let n = take(&mut self.data, buf);
            self.body.flow_control().release_capacity(n).map_err(broken)?;
        } else if !self.tail.is_empty() {
            let n = self.tail.len().min(buf.remaining());
            buf.put_slice(&self.tail[..n]);
            self.tail = &self.tail[n..];
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Waits for the next piece, or for the end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.body.poll_data(cx)) {
            Some(data) => {
                self.data = data.map_err(broken)?;
                if self.coding == Coding::Chunked && !self.data.is_empty() {
                    let mut size = Vec::with_capacity(8);
                    push_hex(&mut size, self.data.len() as u64);
                    size.extend_from_slice(b"\r\n");
                    (self.lead, self.tail) = (size.into(), b"\r\n");
                }
            }
            None => {
                let trailers = ready!(self.body.poll_trailers(cx)).map_err(broken)?;
                if self.coding == Coding::Chunked {
                    self.lead = last_chunk(trailers.as_ref()).into();
                }
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The end of a chunked body. Which trailers may pass is decided by whoever reads it.
fn last_chunk(trailers: Option<&http::HeaderMap>) -> Vec<u8> {
    let mut out = b"0\r\n".to_vec();
    for (name, value) in trailers.into_iter().flatten() {
        field(&mut out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Appends a field line.
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn take(from: &mut Bytes, buf: &mut ReadBuf<'_>) -> usize {
    let n = from.len().min(buf.remaining());
    buf.put_slice(&from[..n]);
    from.advance(n);
    n
}

//! From bytes to frames: the body of a message of HTTP/1.1 as DATA frames and trailers.
//!
//! A byte is taken only when the window of the other side has room for it, so the writer waits as it would on a
//! full socket.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use super::{broken, lines};
use crate::public::buffer::PIECE;
use crate::public::chunked::{ChunkDecoder, Piece};

/// How the body comes.
#[derive(Debug)]
enum Coding {
    /// So many bytes are left.
    Length(u64),
    /// Chunked; so many bytes of data come next, then trailers of which a part is here.
    Chunked { decoder: ChunkDecoder, data: usize, trailers: Vec<u8> },
    /// It is over.
    Over,
}

/// The body of one message on its way out.
#[derive(Debug)]
pub(crate) struct Outbound {
    stream: SendStream<Bytes>,
    coding: Coding,
}

impl Outbound {
    /// A body of `length` bytes, chunked if that is not known. What has no body does not come here.
    pub(crate) fn new(stream: SendStream<Bytes>, length: Option<u64>) -> Self {
        let chunked = || Coding::Chunked { decoder: ChunkDecoder::new(), data: 0, trailers: Vec::new() };
        Self { stream, coding: length.map_or_else(chunked, Coding::Length) }
    }

    /// One whose message ended with its head.
    pub(crate) fn over(stream: SendStream<Bytes>) -> Self {
        Self { stream, coding: Coding::Over }
    }

    /// Whether the other side was told the end.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.coding, Coding::Over)
    }

    pub(crate) fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// Takes some bytes of the body.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.coding {
            Coding::Over => Poll::Ready(Err(lines::invalid("bytes after the end of a body"))),
            Coding::Length(left) => {
                let most = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                let n = ready!(poll_room(&mut self.stream, cx, most))?;
                *left -= n as u64;
                let last = *left == 0;
                self.send(&input[..n], last)?;
                Poll::Ready(Ok(n))
            }
            Coding::Chunked { .. } => self.poll_chunked(cx, input),
        }
    }

    fn poll_chunked(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while let Coding::Chunked { decoder, data, trailers } = &mut self.coding {
            let rest = &input[taken..];
            if *data > 0 && !rest.is_empty() {
                let room = poll_room(&mut self.stream, cx, rest.len().min(*data));
                let n = match room {
                    Poll::Pending if taken > 0 => break,
                    room => ready!(room)?,
                };
                *data -= n;
                self.send(&rest[..n], false)?;
                taken += n;
                continue;
            }
            let whole = if trailers.is_empty() { Vec::new() } else { [trailers.as_slice(), rest].concat() };
            let seen = if trailers.is_empty() { rest } else { &whole };
            match decoder.next(seen).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
                Piece::Frame(n) => taken += n,
                Piece::Data(n) => *data = n,
                Piece::Trailers(n) => {
                    taken += n - trailers.len();
                    let section = seen[..n].to_vec();
                    self.trailers(&section)?;
                }
                Piece::More => {
                    trailers.extend_from_slice(rest);
                    taken = input.len();
                    break;
                }
                Piece::Done => break,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn trailers(&mut self, section: &[u8]) -> io::Result<()> {
        let mut map = HeaderMap::new();
        for (_, name, value) in lines::fields(section) {
            lines::add(&mut map, name, value)?;
        }
        if map.is_empty() {
            return self.send(b"", true);
        }
        self.coding = Coding::Over;
        self.stream.send_trailers(map).map_err(broken)
    }

    fn send(&mut self, data: &[u8], last: bool) -> io::Result<()> {
        if last {
            self.coding = Coding::Over;
        }
        self.stream.send_data(Bytes::copy_from_slice(data), last).map_err(broken)
    }
}

/// Waits until at least one of `most` bytes may be sent; how many of them may. At most one piece at a time.
fn poll_room(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
    let most = most.min(PIECE);
    stream.reserve_capacity(most);
    let mut room = stream.capacity();
    while room == 0 {
        room = match ready!(stream.poll_capacity(cx)) {
            Some(room) => room.map_err(broken)?,
            None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        };
    }
    Poll::Ready(Ok(room.min(most)))
}

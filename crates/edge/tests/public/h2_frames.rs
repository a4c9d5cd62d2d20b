//! Frames of HTTP/2 put together by hand, to send what no client library would.

use std::net::SocketAddr;

use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::harness::within;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame (RFC 9113, section 4.1).
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: Vec<u8>) -> Self {
        Self { kind, flags, stream, payload }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut out = length[1..].to_vec();
        out.extend([self.kind, self.flags]);
        out.extend(self.stream.to_be_bytes());
        out.extend(&self.payload);
        out
    }

    /// The code that a RST_STREAM or GOAWAY carries.
    fn reason(&self) -> Reason {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap()).into()
    }
}

/// A field, neither indexed nor compressed (RFC 7541, section 6.2.2).
pub(crate) fn literal(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name.as_bytes(), value] {
        string_length(&mut out, text.len());
        out.extend(text);
    }
    out
}

fn string_length(out: &mut Vec<u8>, length: usize) {
    if let Ok(short @ 0..127) = u8::try_from(length) {
        return out.push(short);
    }
    out.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// A header block of these fields.
pub(crate) fn block(fields: &[(String, Vec<u8>)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A GET of the one instance that is there.
pub(crate) fn get(stream: u32, flags: u8) -> Frame {
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":authority", "alice.notes.localhost"), (":path", "/")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    Frame::new(HEADERS, END_HEADERS | flags, stream, block(&fields))
}

/// A client that sends what it likes.
#[derive(Debug)]
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
}

impl Raw {
    /// Connects and says the preface and empty settings.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let mut raw = Self { stream: TcpStream::connect(address).await.unwrap() };
        raw.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        raw.send(&Frame::new(SETTINGS, 0, 0, Vec::new())).await;
        raw
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        within(self.stream.write_all(&frame.bytes())).await.unwrap();
    }

    pub(crate) fn split(self) -> (Raw<OwnedReadHalf>, OwnedWriteHalf) {
        let (read, write) = self.stream.into_split();
        (Raw { stream: read }, write)
    }
}

impl<S: tokio::io::AsyncRead + Unpin> Raw<S> {
    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.stream.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        within(self.stream.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Some(Frame::new(head[3], head[4], stream, payload))
    }

    /// The next frame of this kind; `None` if the connection ends first.
    pub(crate) async fn frame(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Why the server sends the connection away.
    pub(crate) async fn goaway(&mut self) -> Option<Reason> {
        self.frame(|f| f.kind == GOAWAY).await.map(|f| f.reason())
    }

    /// The first stream that is reset, and why.
    pub(crate) async fn reset(&mut self) -> Option<(u32, Reason)> {
        self.frame(|f| f.kind == RST_STREAM).await.map(|f| (f.stream, f.reason()))
    }
}
